//! `keyward key export` and `key transfer`: single keys out of a token that lets them go, and from token to token.
//!
//! An export wraps the key under a random AES key that lives for this one call (RFC 5649) and opens it here. A transfer never
//! has it in clear: the target token makes an RSA pair for the call, and the source wraps for it (`CKM_RSA_AES_KEY_WRAP`).

use std::path::PathBuf;

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::{Args, ValueEnum};
use cryptoki_sys::*;
use keyward::crypto::aes::Aes;
use keyward::crypto::keywrap;
use keyward::crypto::random;
use keyward::mechanism::key;
use keyward::object::Attributes;
use keyward::token::*;
use serde_json::{Map, Value as Json, json};
use zeroize::Zeroizing;

use super::target::{Found, Target};
use crate::choice::TokenChoice;
use crate::commands::approval::read_all;
use crate::commands::object::{find, read};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pem;
use crate::pfx;
use crate::pins::{NewPin, Reader, TargetPin};
use crate::report::Report;
use crate::session::Session;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// PKCS#8 in PEM, encrypted under a passphrase (PBES2: PBKDF2-SHA256, AES-256-CBC)
    Pkcs8,
    /// The same without encryption
    Pkcs8Plain,
    /// PKCS#12 (PFX) under a passphrase, with the key's certificate and those above it that the token has
    Pfx,
    /// JSON Web Key (RFC 7517), in clear
    Jwk,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The key must be extractable. The passphrase is given as a new PIN is: by --new-pin-file, --new-pin-fd, \
--new-pin-env, or at the terminal. Secret keys go as JWK alone: they have no PKCS#8 form, and \
no SecretBag is written into a PFX. The export is an event of the audit record.

Examples:
  keyward key export --label tls --output tls.pem
  keyward key export --label tls --format pfx --output tls.pfx
  keyward key export --label data --format jwk --output data.jwk --yes"
)]
pub struct Export {
    #[command(flatten)]
    target: Target,
    #[arg(long, value_enum, default_value = "pkcs8")]
    format: Format,
    /// Write DER instead of PEM
    #[arg(long)]
    der: bool,
    /// The file to write; it must not exist yet
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    passphrase: NewPin,
    /// An approval, where the policy asks for them; once for each
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
    /// Only check that the key may leave
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The key must be extractable in the source. In the target it is sensitive, and extractable only with \
--extractable. Label, ID and uses stay; the unique ID is the target's.

Examples:
  keyward key transfer --token web --label tls --to-token web2 --pin-file pin --to-pin-file pin2"
)]
pub struct Transfer {
    #[command(flatten)]
    target: Target,
    /// The token to transfer to, by its label
    #[arg(long, value_name = "LABEL")]
    to_token: String,
    #[command(flatten)]
    to_pin: TargetPin,
    /// Let the key be wrapped out of the target again
    #[arg(long)]
    extractable: bool,
    /// An approval, where the policy asks for them; once for each
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
    /// Only check that the key may leave
    #[arg(long)]
    dry_run: bool,
}

/// Gives the token the approvals for the wrapping that follows.
fn present(session: &Session, approvals: &[PathBuf]) -> Result<()> {
    match approvals {
        [] => Ok(()),
        _ => session.token.present(read_all(approvals)?).map_err(Failure::of("the token asks for no approvals")),
    }
}

/// Whether the key may leave, by the length that it would have wrapped: no approval is used up.
fn may_leave(session: &Session, object: ObjectId) -> Result<()> {
    let failed = Failure::of("the key cannot leave the token");
    let (wrapping, _) = wrapper(session).map_err(&failed)?;
    let len = session.token.wrapped_len(session.caller, &PADDED, wrapping, object);
    let _ = session.token.destroy(session.caller, wrapping);
    len.map(drop).map_err(&failed)
}

/// An AES key for one call, and its value.
fn wrapper(session: &Session) -> keyward::error::Result<(ObjectId, Zeroizing<[u8; 32]>)> {
    let mut value = Zeroizing::new([0u8; 32]);
    random::fill(&mut *value)?;
    let template = vec![
        Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
        Attribute::ulong(CKA_KEY_TYPE, CKK_AES),
        Attribute::bool(CKA_TOKEN, false),
        Attribute::bool(CKA_WRAP, true),
        Attribute::bool(CKA_UNWRAP, false),
        Attribute::bool(CKA_ENCRYPT, false),
        Attribute::bool(CKA_DECRYPT, false),
        Attribute::bytes(CKA_VALUE, &*value),
    ];
    Ok((session.token.create(session.caller, template)?, value))
}

const PADDED: Mechanism = Mechanism { ty: CKM_AES_KEY_WRAP_KWP, params: Params::None };
/// RFC 5649, 3.
const ALTERNATIVE_IV: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

/// What is carried over with a key.
const CARRIED: [CK_ATTRIBUTE_TYPE; 13] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_LABEL,
    CKA_ID,
    CKA_SIGN,
    CKA_DECRYPT,
    CKA_ENCRYPT,
    CKA_VERIFY,
    CKA_UNWRAP,
    CKA_WRAP,
    CKA_DERIVE,
    CKA_DECAPSULATE,
    CKA_EXTRACTABLE,
];

/// The key in clear: PKCS#8 of a private key, the value of a secret one.
fn opened(session: &Session, object: ObjectId) -> Result<Zeroizing<Vec<u8>>> {
    let failed = Failure::of("the key cannot leave the token");
    let (wrapping, value) = wrapper(session).map_err(&failed)?;
    let wrapped = session.token.wrap(session.caller, &PADDED, wrapping, object);
    let _ = session.token.destroy(session.caller, wrapping);
    let wrapped = wrapped.map_err(&failed)?;
    let mut plain = Zeroizing::new(vec![0; wrapped.len()]);
    let aes = Aes::new(&*value).map_err(&failed)?;
    let len = keywrap::unwrap_padded(&aes, &ALTERNATIVE_IV, &wrapped, &mut plain).map_err(&failed)?;
    plain.truncate(len);
    Ok(plain)
}

pub fn export(context: &Context, arguments: &Export) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let found = arguments.target.one(&session, &[])?;
    let label = found.label();
    let secret = found.attributes.ulong(CKA_CLASS) == Some(CKO_SECRET_KEY);
    if secret && arguments.format != Format::Jwk {
        return Err(Failure::new(Exit::Refused, "a secret key has no PKCS#8 form: say --format jwk"));
    }
    present(&session, &arguments.approval)?;
    if arguments.dry_run {
        may_leave(&session, found.object)?;
        return Ok(Report::new(format!("key \"{label}\" may leave"), json!({ "label": label, "exported": false })));
    }
    if !matches!(arguments.format, Format::Pkcs8 | Format::Pfx) {
        context.confirm(&format!("Key \"{label}\" will stand in {} in clear.", arguments.output.display()))?;
    }
    let plain = opened(&session, found.object)?;
    let passphrase = || {
        let source = arguments.passphrase.source();
        Reader::default().read_new(&source, "Passphrase of the exported key")
    };
    let (kind, bytes) = match arguments.format {
        Format::Pkcs8 => ("ENCRYPTED PRIVATE KEY", pfx::write::key(&plain, &passphrase()?)?),
        Format::Pfx => {
            let certificates = certificates(&session, &found)?;
            ("", pfx::write::file(&found.text(CKA_LABEL), &plain, &certificates, &passphrase()?)?)
        }
        Format::Pkcs8Plain => ("PRIVATE KEY", plain.clone()),
        Format::Jwk => ("", jwk(&found, &plain)?),
    };
    let text = match (arguments.format, arguments.der) {
        (Format::Jwk | Format::Pfx, _) | (_, true) => bytes,
        _ => Zeroizing::new(pem::encode(kind, &bytes).into_bytes()),
    };
    let written =
        keyward::os::write_private_new(&arguments.output, &text).map_err(Failure::of("cannot write the key"))?;
    if !written {
        let message = format!("{} is there already; nothing was written", arguments.output.display());
        return Err(Failure::new(Exit::Refused, message));
    }
    let text = format!("key \"{label}\" is exported to {}", arguments.output.display());
    Ok(Report::new(text, json!({ "label": label, "file": arguments.output, "exported": true })))
}

/// The certificates of a key that its token has: its own first, then each issuer's.
fn certificates(session: &Session, found: &Found) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for object in find(session, vec![Attribute::ulong(CKA_CLASS, CKO_CERTIFICATE)])? {
        if let Some(Answer::Value(Value::Bytes(der))) = read(session, object, &[CKA_VALUE])?.pop() {
            all.push(der.to_vec());
        }
    }
    let parsed = |der: &Vec<u8>| pem::certificate(der).map(|parts| [parts.subject, parts.issuer].map(<[u8]>::to_vec));
    let is_own =
        |der: &&Vec<u8>| pem::certificate(der).is_some_and(|parts| Some(parts.public_key) == found.public_key_info());
    let mut chain: Vec<Vec<u8>> = all.iter().find(is_own).cloned().into_iter().collect();
    while let Some([subject, issuer]) = chain.last().and_then(parsed).filter(|[subject, issuer]| subject != issuer) {
        let is_issuer = |der: &&Vec<u8>| parsed(der).is_some_and(|[name, _]| name == issuer && name != subject);
        match all.iter().find(|der| is_issuer(der) && !chain.contains(der)) {
            Some(next) => chain.push(next.clone()),
            None => break,
        }
    }
    Ok(chain)
}

/// RFC 7518, 6, and RFC 8037.
fn jwk(found: &Found, plain: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let wrong = || {
        Failure::new(
            Exit::Refused,
            "this kind of key has no JWK form here: RSA, EC, Ed25519, X25519 and secret keys have",
        )
    };
    let coded = |bytes: &[u8]| Json::from(Base64UrlUnpadded::encode_string(bytes));
    let mut fields = Map::new();
    let mut put = |name: &str, value: Json| drop(fields.insert(name.to_owned(), value));
    put("kid", found.text(CKA_UNIQUE_ID).into());
    if found.attributes.ulong(CKA_CLASS) == Some(CKO_SECRET_KEY) {
        put("kty", "oct".into());
        put("k", coded(plain));
        return Ok(Zeroizing::new(Json::Object(fields).to_string().into_bytes()));
    }
    let own = key::pkcs8_to_attributes(plain).map_err(|_| wrong())?;
    let mut whole: Attributes = own.into_iter().collect();
    whole.put(Attribute::ulong(CKA_CLASS, CKO_PRIVATE_KEY));
    let public: Attributes = key::public_of(&whole).map_err(|_| wrong())?.into_iter().collect();
    match whole.ulong(CKA_KEY_TYPE) {
        Some(CKK_RSA) => {
            put("kty", "RSA".into());
            let names = [
                (CKA_MODULUS, "n"),
                (CKA_PUBLIC_EXPONENT, "e"),
                (CKA_PRIVATE_EXPONENT, "d"),
                (CKA_PRIME_1, "p"),
                (CKA_PRIME_2, "q"),
                (CKA_EXPONENT_1, "dp"),
                (CKA_EXPONENT_2, "dq"),
                (CKA_COEFFICIENT, "qi"),
            ];
            for (ty, name) in names {
                let number = whole.bytes(ty).ok_or_else(wrong)?;
                let zeros = number.iter().take_while(|byte| **byte == 0).count();
                put(name, coded(number.get(zeros..).unwrap_or_default()));
            }
        }
        Some(CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY) => {
            let oid = whole.bytes(CKA_EC_PARAMS).and_then(|params| params.get(2..)).unwrap_or_default();
            let curve = keyward::crypto::curve::Curve::from_oid(oid).ok_or_else(wrong)?;
            let name = curve.names().iter().find(|name| JWK_CURVES.contains(name)).ok_or_else(wrong)?;
            // A DER OCTET STRING.
            let point = public.bytes(CKA_EC_POINT).ok_or_else(wrong)?;
            let point = pem::element(point).map_or(point, |element| element.content);
            put("crv", (*name).into());
            put("d", coded(whole.bytes(CKA_VALUE).ok_or_else(wrong)?));
            match point.split_first() {
                Some((4, both)) if name.starts_with("P-") => {
                    let (x, y) = both.split_at_checked(both.len() / 2).ok_or_else(wrong)?;
                    put("kty", "EC".into());
                    put("x", coded(x));
                    put("y", coded(y));
                }
                _ => {
                    put("kty", "OKP".into());
                    put("x", coded(point));
                }
            }
        }
        _ => return Err(wrong()),
    }
    Ok(Zeroizing::new(Json::Object(fields).to_string().into_bytes()))
}

const JWK_CURVES: [&str; 7] = ["P-256", "P-384", "P-521", "Ed25519", "Ed448", "X25519", "X448"];

pub fn transfer(context: &Context, arguments: &Transfer) -> Result<Report> {
    let source = arguments.target.session(context)?;
    let found = arguments.target.one(&source, &[])?;
    let label = found.label();
    let to = TokenChoice { token: Some(arguments.to_token.clone()), ..TokenChoice::default() };
    let (slot, _) = to.of(context.slots()?)?;
    let pin = Reader::default().read(&arguments.to_pin.source(), "User PIN of the target token")?;
    let mut target = Session::open(&slot.token, true)?;
    target.login(User::User, &pin)?;
    let failed = Failure::of("the key cannot be transferred");
    let (public, private) = pair(&target).map_err(&failed)?;
    let carried = carry(&source, &target, (public, private), &found, arguments);
    for object in [public, private] {
        let _ = target.token.destroy(target.caller, object);
    }
    let made = carried?;
    let done = if made { "is transferred" } else { "may be transferred" };
    let text = format!("key \"{label}\" {done} to token \"{}\"", arguments.to_token);
    Ok(Report::new(text, json!({ "label": label, "to": arguments.to_token, "transferred": made })))
}

/// For this call alone.
fn pair(target: &Session) -> keyward::error::Result<(ObjectId, ObjectId)> {
    let by = Mechanism { ty: CKM_RSA_PKCS_KEY_PAIR_GEN, params: Params::None };
    let public = vec![
        Attribute::bool(CKA_TOKEN, false),
        Attribute::ulong(CKA_MODULUS_BITS, 3072),
        Attribute::bool(CKA_WRAP, true),
    ];
    let private = vec![Attribute::bool(CKA_TOKEN, false), Attribute::bool(CKA_UNWRAP, true)];
    target.token.generate_key_pair(target.caller, &by, public, private)
}

fn carry(
    source: &Session,
    target: &Session,
    (public, private): (ObjectId, ObjectId),
    found: &Found,
    arguments: &Transfer,
) -> Result<bool> {
    let failed = Failure::of("the key cannot be transferred");
    let numbers = read(target, public, &[CKA_MODULUS, CKA_PUBLIC_EXPONENT])?;
    let mut template = vec![
        Attribute::ulong(CKA_CLASS, CKO_PUBLIC_KEY),
        Attribute::ulong(CKA_KEY_TYPE, CKK_RSA),
        Attribute::bool(CKA_TOKEN, false),
        Attribute::bool(CKA_WRAP, true),
    ];
    for (ty, answer) in [CKA_MODULUS, CKA_PUBLIC_EXPONENT].into_iter().zip(numbers) {
        if let Answer::Value(value) = answer {
            template.push(Attribute { ty, value });
        }
    }
    let wrapping = source.token.create(source.caller, template).map_err(&failed)?;
    let oaep = OaepParams { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, label: Bytes::new() };
    let by = Mechanism { ty: CKM_RSA_AES_KEY_WRAP, params: Params::RsaAesWrap { aes_bits: 256, oaep } };
    present(source, &arguments.approval)?;
    if arguments.dry_run {
        let may = source.token.wrapped_len(source.caller, &by, wrapping, found.object);
        let _ = source.token.destroy(source.caller, wrapping);
        return may.map(|_| false).map_err(&failed);
    }
    let wrapped = source.token.wrap(source.caller, &by, wrapping, found.object);
    let _ = source.token.destroy(source.caller, wrapping);
    let wrapped = wrapped.map_err(&failed)?;
    let answers = read(source, found.object, &CARRIED)?;
    let mut template: Vec<Attribute> = CARRIED
        .into_iter()
        .zip(answers)
        .filter(|(ty, _)| *ty != CKA_EXTRACTABLE)
        .filter_map(|(ty, answer)| match answer {
            Answer::Value(value) => Some(Attribute { ty, value }),
            _ => None,
        })
        .collect();
    template.extend([
        Attribute::bool(CKA_TOKEN, true),
        Attribute::bool(CKA_PRIVATE, true),
        Attribute::bool(CKA_SENSITIVE, true),
        Attribute::bool(CKA_EXTRACTABLE, arguments.extractable),
    ]);
    target.token.unwrap(target.caller, &by, private, &wrapped, template).map_err(&failed)?;
    Ok(true)
}
