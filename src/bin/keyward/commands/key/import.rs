//! `keyward key import`: a key that was wrapped elsewhere, for a key that the token holds.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cryptoki_sys::*;
use keyward::object::names;
use keyward::token::*;
use serde_json::json;

use crate::choice::TokenChoice;
use crate::commands::object::{HexBytes, find, hex_bytes};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{Reader, UserPin};
use crate::report::{Report, shown};
use crate::session::Session;

/// How a key was wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wrapping {
    /// AES key wrap with padding (RFC 5649, CKM_AES_KEY_WRAP_KWP)
    Kwp,
    /// AES key wrap (RFC 3394, CKM_AES_KEY_WRAP)
    Kw,
    /// A random AES key under RSA-OAEP, and the key under that by RFC 5649 (CKM_RSA_AES_KEY_WRAP)
    RsaAes,
    /// RSA-OAEP: a secret key
    RsaOaep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Args, Debug)]
#[command(
    after_help = "FILE holds the wrapped key as it is, in binary: a secret key's value, or a private key's PKCS#8, under --wrapping. \
The key with the label --wrapped-by unwraps it and must allow that (CKA_UNWRAP): an AES key for kwp and kw, an RSA private key for \
the others. The new key is private and sensitive, and extractable only with --extractable. A private key comes without its \
public key or certificate: `object import` brings those.

Examples:
  keyward key import wrapped.bin --wrapped-by transport --wrapping rsa-aes --key-type RSA --label tls
  keyward key import data.kwp --wrapped-by kek --wrapping kwp --key-type AES --label data --use encrypt --use decrypt"
)]
pub struct Import {
    /// The wrapped key
    file: PathBuf,
    /// The label of the key that unwraps it
    #[arg(long, value_name = "LABEL")]
    wrapped_by: String,
    #[arg(long, value_enum)]
    wrapping: Wrapping,
    /// The hash of OAEP and of its mask
    #[arg(long, value_enum, default_value = "sha256")]
    oaep: Hash,
    /// The type of the key, as `keyward mechanisms` names them: AES, RSA, EC, GENERIC_SECRET ...
    #[arg(long, value_name = "TYPE")]
    key_type: String,
    /// The label of the new key
    #[arg(long)]
    label: String,
    /// The CKA_ID of the new key, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = hex_bytes)]
    id: Option<HexBytes>,
    /// What the key may do: sign, verify, encrypt, decrypt, wrap, unwrap, derive; once for each. Without it, what its type is for
    #[arg(long = "use", value_name = "USE", value_parser = usage)]
    uses: Vec<CK_ATTRIBUTE_TYPE>,
    /// Let the key be wrapped out of the token again
    #[arg(long)]
    extractable: bool,
    /// Only look whether the unwrapping key is there
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
}

const USES: [(&str, CK_ATTRIBUTE_TYPE); 7] = [
    ("sign", CKA_SIGN),
    ("verify", CKA_VERIFY),
    ("encrypt", CKA_ENCRYPT),
    ("decrypt", CKA_DECRYPT),
    ("wrap", CKA_WRAP),
    ("unwrap", CKA_UNWRAP),
    ("derive", CKA_DERIVE),
];

fn usage(text: &str) -> std::result::Result<CK_ATTRIBUTE_TYPE, String> {
    let found = USES.iter().find(|(name, _)| *name == text).map(|(_, ty)| *ty);
    found.ok_or_else(|| "expected sign, verify, encrypt, decrypt, wrap, unwrap or derive".to_owned())
}

impl Import {
    fn mechanism(&self) -> Mechanism {
        let (hash, mgf) = match self.oaep {
            Hash::Sha1 => (CKM_SHA_1, CKG_MGF1_SHA1),
            Hash::Sha256 => (CKM_SHA256, CKG_MGF1_SHA256),
            Hash::Sha384 => (CKM_SHA384, CKG_MGF1_SHA384),
            Hash::Sha512 => (CKM_SHA512, CKG_MGF1_SHA512),
        };
        let oaep = OaepParams { hash, mgf, label: Bytes::new() };
        let (ty, params) = match self.wrapping {
            Wrapping::Kwp => (CKM_AES_KEY_WRAP_KWP, Params::None),
            Wrapping::Kw => (CKM_AES_KEY_WRAP, Params::None),
            Wrapping::RsaAes => (CKM_RSA_AES_KEY_WRAP, Params::RsaAesWrap { aes_bits: 256, oaep }),
            Wrapping::RsaOaep => (CKM_RSA_PKCS_OAEP, Params::Oaep(oaep)),
        };
        Mechanism { ty, params }
    }

    fn template(&self) -> Result<Vec<Attribute>> {
        let key_type = names::key_type_number(&self.key_type);
        let key_type = key_type
            .ok_or_else(|| Failure::new(Exit::Usage, format!("{:?} is no type of key", shown(&self.key_type))))?;
        let secret = !matches!(
            key_type,
            CKK_RSA
                | CKK_EC
                | CKK_EC_EDWARDS
                | CKK_EC_MONTGOMERY
                | CKK_DSA
                | CKK_DH
                | CKK_ML_DSA
                | CKK_ML_KEM
                | CKK_SLH_DSA
        );
        let mut template = vec![
            Attribute::ulong(CKA_CLASS, if secret { CKO_SECRET_KEY } else { CKO_PRIVATE_KEY }),
            Attribute::ulong(CKA_KEY_TYPE, key_type),
            Attribute::bytes(CKA_LABEL, self.label.as_bytes()),
            Attribute::bool(CKA_TOKEN, true),
            Attribute::bool(CKA_PRIVATE, true),
            Attribute::bool(CKA_SENSITIVE, true),
            Attribute::bool(CKA_EXTRACTABLE, self.extractable),
        ];
        template.extend(self.id.as_ref().map(|id| Attribute::bytes(CKA_ID, &id.0)));
        template.extend(self.uses.iter().map(|ty| Attribute::bool(*ty, true)));
        Ok(template)
    }

    fn unwrapping(&self, session: &Session) -> Result<ObjectId> {
        let class =
            if matches!(self.wrapping, Wrapping::Kwp | Wrapping::Kw) { CKO_SECRET_KEY } else { CKO_PRIVATE_KEY };
        let wanted = vec![Attribute::ulong(CKA_CLASS, class), Attribute::bytes(CKA_LABEL, self.wrapped_by.as_bytes())];
        let name = shown(&self.wrapped_by);
        match find(session, wanted)?.as_slice() {
            [one] => Ok(*one),
            [] => Err(Failure::new(Exit::NotFound, format!("the token has no key {name} that could unwrap it"))),
            _ => Err(Failure::new(Exit::Refused, format!("more than one key has the label {name}"))),
        }
    }
}

pub fn import(context: &Context, arguments: &Import) -> Result<Report> {
    let template = arguments.template()?;
    let wrapped = std::fs::read(&arguments.file)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", arguments.file.display())))?;
    let (slot, _) = arguments.choice.of(context.slots()?)?;
    let pin = Reader::default().read(&arguments.pin.source(), "User PIN")?;
    let mut session = Session::open(&slot.token, true)?;
    session.login(User::User, &pin)?;
    let unwrapping = arguments.unwrapping(&session)?;
    let label = shown(&arguments.label);
    if arguments.dry_run {
        let text = format!("key \"{label}\" would be unwrapped by \"{}\"", shown(&arguments.wrapped_by));
        return Ok(Report::new(text, json!({ "label": label, "imported": false })));
    }
    let made = session.token.unwrap(session.caller, &arguments.mechanism(), unwrapping, &wrapped, template);
    made.map_err(Failure::of("the key cannot be unwrapped"))?;
    Ok(Report::new(format!("key \"{label}\" is imported"), json!({ "label": label, "imported": true })))
}
