//! `keyward object import` and `export`: keys and certificates from files and to files.

use std::path::{Path, PathBuf};

use clap::Args;
use cryptoki_sys::*;
use keyward::crypto::digest::{Digest, hash};
use keyward::mechanism::key;
use keyward::object::Attributes;
use keyward::token::{Answer, Attribute, ObjectId, User, Value as Stored};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Chosen, HexBytes, hex_bytes};
use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pem::{self, Block};
use crate::pfx::{self, Wrong};
use crate::pins::{Pin, Reader, Source, SourcePin, UserPin};
use crate::report::Report;
use crate::session::Session;

#[derive(Args, Debug, Default)]
#[command(
    after_help = "Reads PEM (PRIVATE KEY, ENCRYPTED PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY, CERTIFICATE; several \
in one file, also encrypted in the traditional way), DER (PKCS#8, certificates) and PKCS#12 (.pfx, .p12), whose friendly names become labels. All objects \
are made, or none. A private key comes with its public key; without --id, keys and certificates that belong together \
get the same ID. The passphrase of an encrypted file is asked for, or given as a PIN is; two files under different \
ones take two commands."
)]
pub struct Import {
    /// The files to read
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The label of the new objects
    #[arg(long)]
    label: Option<String>,
    /// The CKA_ID of the new objects, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = hex_bytes)]
    id: Option<HexBytes>,
    /// Let private keys be wrapped out of the token again
    #[arg(long)]
    extractable: bool,
    /// Read the files, say what would be imported, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    source_pin: SourcePin,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Certificates are written as CERTIFICATE, keys as PUBLIC KEY: of a private key only its public \
half leaves the token."
)]
pub struct Export {
    #[command(flatten)]
    chosen: Chosen,
    /// Write to this file, which must not exist yet, instead of printing
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write DER instead of PEM: one object, and --output
    #[arg(long, requires = "output")]
    der: bool,
}

/// A session in which objects can be made.
pub(super) fn writer(context: &Context, choice: &TokenChoice, pin: &Source) -> Result<Session> {
    let (slot, _) = choice.of(context.slots()?)?;
    let pin = Reader::default().read(pin, "User PIN")?;
    let mut session = Session::open(&slot.token, true)?;
    session.login(User::User, &pin)?;
    Ok(session)
}

pub fn import(context: &Context, arguments: &Import) -> Result<Report> {
    import_by(context, arguments, &arguments.pin.source(), arguments.source_pin.source())
}

/// With the user PIN and the files' passphrase from where the caller says.
pub fn import_by(context: &Context, arguments: &Import, pin: &Source, passphrase: Source) -> Result<Report> {
    // All files are read before anything is made.
    let mut passphrase = Passphrase::new(passphrase);
    let mut templates = Vec::new();
    for path in &arguments.files {
        let wrong = |why: String| Failure::new(Exit::Failed, format!("{}: {why}", path.display()));
        for block in passphrase.opened(path, read(path).map_err(wrong)?)? {
            templates.extend(arguments.templates(&block).map_err(wrong)?);
        }
    }
    let made = templates.len();
    if arguments.dry_run {
        arguments.choice.of(context.slots()?)?;
        let text = format!("{made} objects would be imported");
        return Ok(Report::new(text, json!({ "would_import": made, "done": false })));
    }
    let session = writer(context, &arguments.choice, pin)?;
    session.token.create_all(session.caller, templates).map_err(Failure::of("nothing was imported"))?;
    Ok(Report::new(format!("{made} objects imported"), json!({ "imported": made })))
}

/// What stands in a file, as it stands there.
enum Found {
    Blocks(Vec<Block>),
    /// PKCS#12, which opens under a passphrase alone.
    Pfx(Zeroizing<Vec<u8>>),
}

fn read(path: &Path) -> Result<Found, String> {
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| error.to_string())?;
    let block = |label: &str, der| Found::Blocks(vec![Block { label: label.into(), der, name: None, sealed: None }]);
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN ") => Found::Blocks(pem::blocks(text)?),
        _ if pfx::is_pfx(&bytes) => Found::Pfx(bytes),
        _ if pem::certificate(&bytes).is_some() => block("CERTIFICATE", bytes),
        _ if pfx::is_encrypted_key(&bytes) => block(ENCRYPTED, bytes),
        _ => block("PRIVATE KEY", bytes),
    })
}

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The passphrase of all files of one command, asked for with the first that needs it.
struct Passphrase {
    source: Source,
    known: Option<Pin>,
}

impl Passphrase {
    fn new(source: Source) -> Passphrase {
        Passphrase { source, known: None }
    }

    fn get(&mut self, path: &Path) -> Result<&Pin> {
        if self.known.is_none() {
            let prompt = format!("Passphrase of {}", path.display());
            self.known = Some(Reader::default().read(&self.source, &prompt)?);
        }
        self.known.as_ref().ok_or_else(|| Failure::new(Exit::Pin, "there is no passphrase"))
    }

    /// What a file holds, decrypted.
    fn opened(&mut self, path: &Path, found: Found) -> Result<Vec<Block>> {
        let failed = |wrong: Wrong| match wrong {
            Wrong::Passphrase => Failure::new(Exit::Pin, format!("{}: the passphrase is wrong", path.display())),
            Wrong::File(why) => Failure::new(Exit::Failed, format!("{}: {why}", path.display())),
        };
        let mut blocks = match found {
            Found::Pfx(file) => return pfx::open(&file, self.get(path)?).map_err(failed),
            Found::Blocks(blocks) => blocks,
        };
        for block in &mut blocks {
            if let Some(sealed) = block.sealed.take() {
                block.der = pfx::old::open_pem(&sealed, &block.der, self.get(path)?).map_err(failed)?;
            }
        }
        for block in blocks.iter_mut().filter(|block| block.label == ENCRYPTED) {
            block.der = pfx::decrypt_key(&block.der, self.get(path)?).map_err(failed)?;
            block.label = "PRIVATE KEY".into();
        }
        Ok(blocks)
    }
}

impl Import {
    /// Of one file.
    pub fn one(file: PathBuf, label: Option<String>, id: Option<HexBytes>, choice: TokenChoice) -> Import {
        Import { files: vec![file], label, id, choice, ..Import::default() }
    }

    fn templates(&self, block: &Block) -> Result<Vec<Vec<Attribute>>, String> {
        match block.label.as_str() {
            "PRIVATE KEY" => self.pair(&block.der, block),
            "RSA PRIVATE KEY" => self.pair(&pem::pkcs1_to_pkcs8(&block.der), block),
            "EC PRIVATE KEY" => self.pair(&pem::sec1_to_pkcs8(&block.der).ok_or("the EC key names no curve")?, block),
            "CERTIFICATE" | "X509 CERTIFICATE" => Ok(vec![self.certificate(block)?]),
            // Written by `openssl ecparam -genkey` before the key.
            "EC PARAMETERS" => Ok(Vec::new()),
            other => Err(format!("it holds {other}; expected private keys and certificates")),
        }
    }

    fn named(&self, class: CK_OBJECT_CLASS, private: bool, public_key: &[u8], block: &Block) -> Vec<Attribute> {
        let id = match &self.id {
            Some(HexBytes(id)) => id.clone(),
            None => hash(Digest::Sha256, public_key).iter().take(20).copied().collect(),
        };
        let label = self.label.iter().chain(self.label.is_none().then_some(&block.name).into_iter().flatten());
        let label = label.map(|label| Attribute::bytes(CKA_LABEL, label.as_bytes()));
        let fixed = [
            Attribute::ulong(CKA_CLASS, class),
            Attribute::bool(CKA_TOKEN, true),
            Attribute::bool(CKA_PRIVATE, private),
            Attribute::bytes(CKA_ID, &id),
        ];
        fixed.into_iter().chain(label).collect()
    }

    /// The private key, and its public key.
    fn pair(&self, der: &[u8], block: &Block) -> Result<Vec<Vec<Attribute>>, String> {
        let wrong = |error: keyward::error::Error| format!("it holds no private key that can be used here: {error}");
        let own = key::pkcs8_to_attributes(der).map_err(wrong)?;
        let mut whole: Attributes = own.iter().cloned().collect();
        whole.put(Attribute::ulong(CKA_CLASS, CKO_PRIVATE_KEY));
        let public_key = key::public_key_info(&whole).map_err(wrong)?;
        let ty = whole.ulong(CKA_KEY_TYPE).unwrap_or_default();
        let (private_uses, public_uses) = uses(ty);
        let mut private = self.named(CKO_PRIVATE_KEY, true, &public_key, block);
        private.push(Attribute::bool(CKA_SENSITIVE, true));
        private.push(Attribute::bool(CKA_EXTRACTABLE, self.extractable));
        private.extend(private_uses.iter().map(|ty| Attribute::bool(*ty, true)));
        private.extend(own);
        let mut public = self.named(CKO_PUBLIC_KEY, false, &public_key, block);
        public.push(Attribute::ulong(CKA_KEY_TYPE, ty));
        public.extend(public_uses.iter().map(|ty| Attribute::bool(*ty, true)));
        // A number that follows from another is not given at C_CreateObject.
        let own = key::public_of(&whole).map_err(wrong)?;
        public.extend(own.into_iter().filter(|attribute| attribute.ty != CKA_MODULUS_BITS));
        Ok(vec![private, public])
    }

    fn certificate(&self, block: &Block) -> Result<Vec<Attribute>, String> {
        let parts = pem::certificate(&block.der).ok_or("it holds no certificate")?;
        let mut template = self.named(CKO_CERTIFICATE, false, parts.public_key, block);
        template.extend([
            Attribute::ulong(CKA_CERTIFICATE_TYPE, CKC_X_509),
            Attribute::bytes(CKA_SUBJECT, parts.subject),
            Attribute::bytes(CKA_ISSUER, parts.issuer),
            Attribute::bytes(CKA_SERIAL_NUMBER, parts.serial),
            Attribute::bytes(CKA_VALUE, &block.der),
        ]);
        Ok(template)
    }
}

/// What an imported pair may be used for: all that its type can.
fn uses(key_type: CK_KEY_TYPE) -> (&'static [CK_ATTRIBUTE_TYPE], &'static [CK_ATTRIBUTE_TYPE]) {
    match key_type {
        CKK_RSA => (&[CKA_SIGN, CKA_DECRYPT, CKA_UNWRAP], &[CKA_VERIFY, CKA_ENCRYPT, CKA_WRAP]),
        CKK_EC => (&[CKA_SIGN, CKA_DERIVE], &[CKA_VERIFY]),
        CKK_EC_MONTGOMERY => (&[CKA_DERIVE], &[]),
        CKK_ML_KEM => (&[CKA_DECAPSULATE], &[CKA_ENCAPSULATE]),
        _ => (&[CKA_SIGN], &[CKA_VERIFY]),
    }
}

pub fn export(context: &Context, arguments: &Export) -> Result<Report> {
    let session = arguments.chosen.reach.open(context, false)?;
    let mut blocks = Vec::new();
    for object in arguments.chosen.objects(&session)? {
        blocks.push(exported(&session, object)?);
    }
    let text: String = blocks.iter().map(|(label, der)| pem::encode(label, der)).collect();
    let Some(path) = &arguments.output else {
        let json = json!({ "exported": blocks.len(), "pem": text });
        return Ok(Report::new(text, json));
    };
    let bytes = match (arguments.der, blocks.as_slice()) {
        (false, _) => text.as_bytes(),
        (true, [(_, der)]) => der.as_slice(),
        (true, many) => {
            return Err(Failure::new(Exit::Refused, format!("{} objects fit; DER is for one", many.len())));
        }
    };
    let created = std::fs::File::create_new(path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
    created.map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
    Ok(Report::new(
        format!("{} objects written to {}", blocks.len(), path.display()),
        json!({ "exported": blocks.len() }),
    ))
}

/// Label and bytes of an object's block.
fn exported(session: &Session, object: ObjectId) -> Result<(&'static str, Vec<u8>)> {
    let types = [CKA_CLASS, CKA_VALUE, CKA_PUBLIC_KEY_INFO];
    let answers = session.token.get(session.caller, object, &types).map_err(Failure::of("cannot read the object"))?;
    let bytes = |at: usize| match answers.get(at) {
        Some(Answer::Value(Stored::Bytes(bytes))) if !bytes.is_empty() => Some(bytes.to_vec()),
        _ => None,
    };
    let class = bytes(0).and_then(|class| Some(CK_OBJECT_CLASS::from_ne_bytes(class.try_into().ok()?)));
    let block = match class {
        Some(CKO_CERTIFICATE) => bytes(1).map(|der| ("CERTIFICATE", der)),
        Some(CKO_PUBLIC_KEY | CKO_PRIVATE_KEY) => bytes(2).map(|der| ("PUBLIC KEY", der)),
        _ => None,
    };
    block.ok_or_else(|| {
        Failure::new(Exit::Refused, "an object that fits is neither a certificate nor a key with a public half")
    })
}
