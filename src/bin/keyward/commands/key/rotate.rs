//! The next version of a key: rotation, certificate, and what is still wrapped under the version before.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cryptoki_sys::*;
use keyward::lifecycle::State;
use keyward::token::*;
use serde_json::json;

use super::change::versions;
use super::request::{Wish, signing_request};
use super::target::{Found, Target, authority, look};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names;
use crate::pem;
use crate::report::Report;
use crate::session::Session;

#[derive(Args, Debug)]
#[command(
    after_help = "A secret key is rotated at once: the new version takes the label and encrypts, the old one still \
decrypts. A key pair is rotated in stages, since its certificate must be there first:\n  \
keyward key rotate --label web --stage --subject CN=www.example.org --dns www.example.org --csr web.csr\n  \
keyward key certify --label web#v2 web.crt\n  \
keyward key activate --label web#v2 --overlap 7d"
)]
pub struct Rotate {
    #[command(flatten)]
    target: Target,
    /// Key pairs: make the next version pre-active, beside the one in force
    #[arg(long)]
    stage: bool,
    #[command(flatten)]
    wish: Wish,
    /// Write the certificate request of the staged key to this file, which must not exist yet
    #[arg(long, value_name = "FILE", requires = "stage")]
    csr: Option<PathBuf>,
    /// Why; it is kept with the key
    #[arg(long, default_value = "")]
    reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Request {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    wish: Wish,
}

#[derive(Args, Debug)]
pub struct Certify {
    /// The certificate, in PEM or DER
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Each file holds one wrapped key, as C_WrapKey gave it, and is replaced. What is already under the \
newest version stays as it is."
)]
pub struct Rewrap {
    /// The files to rewrap
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// How the keys are wrapped
    #[arg(long, value_enum, default_value = "kwp")]
    by: Wrapping,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wrapping {
    /// AES key wrap with padding (RFC 5649)
    Kwp,
    /// AES key wrap (RFC 3394)
    Kw,
}

impl Wrapping {
    fn mechanism(self) -> Mechanism {
        let ty = match self {
            Wrapping::Kwp => CKM_AES_KEY_WRAP_KWP,
            Wrapping::Kw => CKM_AES_KEY_WRAP,
        };
        Mechanism { ty, params: Params::None }
    }
}

pub fn rotate(context: &Context, arguments: &Rotate) -> Result<Report> {
    if arguments.wish.is_said() && !arguments.stage {
        return Err(Failure::new(Exit::Usage, "a certificate request comes with --stage"));
    }
    let session = arguments.target.session(context)?;
    let old = arguments.target.one(&session, &[])?;
    if arguments.dry_run {
        let text = format!("Key {} (version {}) would be rotated.", old.label(), old.version());
        return Ok(Report::new(text, json!({ "before": old.json(), "done": false })));
    }
    if let Some(path) = arguments.csr.as_deref().filter(|path| path.exists()) {
        return Err(Failure::new(Exit::Usage, format!("{} exists already; nothing was changed", path.display())));
    }
    let rotation = Rotation { key: old.object, stage: arguments.stage, by: authority("key rotate", &arguments.reason) };
    let failed = format!("cannot rotate key {}", old.label());
    let made = session.token.rotate(session.caller, &rotation).map_err(Failure::of(&failed))?;
    let new = look(&session, made.key)?;
    if !arguments.stage {
        let text =
            format!("Key {} is at version {}; version {} still decrypts.", new.label(), made.version, old.version());
        return Ok(Report::new(text, json!({ "key": new.json(), "before": old.json(), "done": true })));
    }
    let request = signing_request(&session, &new, &arguments.wish, &old)?;
    let text = pem::encode("CERTIFICATE REQUEST", &request);
    let json = json!({ "key": new.json(), "before": old.json(), "csr": text, "done": true });
    match &arguments.csr {
        None => Ok(Report::new(text, json)),
        Some(path) => {
            let written = std::fs::File::create_new(path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
            written.map_err(|e| Failure::new(Exit::Failed, format!("cannot write {}: {e}", path.display())))?;
            let text = format!(
                "Version {} is staged as {}; its certificate request is in {}.",
                made.version,
                new.label(),
                path.display()
            );
            Ok(Report::new(text, json))
        }
    }
}

pub fn request(context: &Context, arguments: &Request) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let key = arguments.target.one(&session, &[])?;
    let versions = versions(&session, &key)?;
    let present = versions.iter().rev().find(|one| one.state() == State::Active).unwrap_or(&key);
    let text = pem::encode("CERTIFICATE REQUEST", &signing_request(&session, &key, &arguments.wish, present)?);
    Ok(Report::new(text.clone(), json!({ "key": key.json(), "csr": text })))
}

pub fn certify(context: &Context, arguments: &Certify) -> Result<Report> {
    let wrong = |why: &str| Failure::new(Exit::Failed, format!("{}: {why}", arguments.file.display()));
    let der = certificate(&arguments.file).map_err(|why| wrong(&why))?;
    let parts = pem::certificate(&der).ok_or_else(|| wrong("it holds no certificate"))?;
    let session = arguments.target.session(context)?;
    let named = arguments.target.one(&session, &[])?;
    let mut candidates = versions(&session, &named)?;
    candidates.insert(0, named);
    let fits = |key: &Found| key.attributes.bytes(CKA_PUBLIC_KEY_INFO) == Some(parts.public_key);
    let key = candidates
        .iter()
        .find(|key| fits(key))
        .ok_or_else(|| Failure::new(Exit::Refused, "the certificate is of another key than any version of this one"))?;
    if !arguments.dry_run {
        let template = vec![
            Attribute::ulong(CKA_CLASS, CKO_CERTIFICATE),
            Attribute::ulong(CKA_CERTIFICATE_TYPE, CKC_X_509),
            Attribute::bool(CKA_TOKEN, true),
            Attribute::bool(CKA_PRIVATE, false),
            Attribute::bytes(CKA_LABEL, key.attributes.bytes(CKA_LABEL).unwrap_or_default()),
            Attribute::bytes(CKA_ID, key.attributes.bytes(CKA_ID).unwrap_or_default()),
            Attribute::bytes(CKA_SUBJECT, parts.subject),
            Attribute::bytes(CKA_ISSUER, parts.issuer),
            Attribute::bytes(CKA_SERIAL_NUMBER, parts.serial),
            Attribute::bytes(CKA_VALUE, &der),
        ];
        session.token.create(session.caller, template).map_err(Failure::of("cannot import the certificate"))?;
    }
    let verb = if arguments.dry_run { "would be" } else { "is" };
    let next = if key.state() == State::PreActive { "; `keyward key activate` puts it into force" } else { "" };
    let text = format!("The certificate of {} (version {}) {verb} imported{next}.", key.label(), key.version());
    Ok(Report::new(text, json!({ "key": key.json(), "done": !arguments.dry_run })))
}

fn certificate(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN ") => {
            let mut blocks = pem::blocks(text)?.into_iter();
            let found = blocks.find(|block| block.label.ends_with("CERTIFICATE"));
            found.map(|block| block.der.to_vec()).ok_or_else(|| "it holds no certificate".to_owned())
        }
        _ => Ok(bytes),
    }
}

pub fn rewrap(context: &Context, arguments: &Rewrap) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let newest = arguments.target.one(&session, &[])?;
    let mut older = versions(&session, &newest)?;
    older.retain(|key| key.version() != newest.version() && !key.state().hidden());
    older.reverse();
    let by = arguments.by.mechanism();
    if session.token.mechanism_info(by.ty).is_err() {
        let name = names::mechanism(by.ty);
        return Err(Failure::new(
            Exit::Refused,
            format!("the token has no {name}; --by says how the keys are wrapped"),
        ));
    }
    let (mut lines, mut done) = (Vec::new(), Vec::new());
    for path in &arguments.files {
        let wrong = |why: String| Failure::new(Exit::Failed, format!("{}: {why}; {} done", path.display(), done.len()));
        let wrapped = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        if let Some(key) = unwrapped(&session, &by, &newest, &wrapped) {
            forget(&session, key);
            lines.push(format!("{}: under version {} already", path.display(), newest.version()));
            continue;
        }
        let found = older.iter().find_map(|old| Some((old, unwrapped(&session, &by, old, &wrapped)?)));
        let (old, key) = found.ok_or_else(|| wrong("no version of this key unwraps it".to_owned()))?;
        let anew = session.token.wrap(session.caller, &by, newest.object, key);
        forget(&session, key);
        let anew = anew.map_err(Failure::of(&format!("cannot rewrap {}", path.display())))?;
        if !arguments.dry_run {
            replace(path, &anew).map_err(|error| wrong(error.to_string()))?;
        }
        lines.push(format!("{}: from version {} to {}", path.display(), old.version(), newest.version()));
        done.push(json!({ "file": path, "from": old.version(), "to": newest.version() }));
    }
    Ok(Report::new(lines.join("\n"), json!({ "rewrapped": done, "done": !arguments.dry_run })))
}

/// What is wrapped, as bytes of a session object that never leaves the token in clear.
fn unwrapped(session: &Session, by: &Mechanism, key: &Found, wrapped: &[u8]) -> Option<ObjectId> {
    let template = vec![
        Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
        Attribute::ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        Attribute::bool(CKA_TOKEN, false),
        Attribute::bool(CKA_SENSITIVE, true),
        Attribute::bool(CKA_EXTRACTABLE, true),
    ];
    session.token.unwrap(session.caller, by, key.object, wrapped, template).ok()
}

fn forget(session: &Session, key: ObjectId) {
    let _ = session.token.destroy(session.caller, key);
}

/// The file as a whole, or as it was.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let mut file = std::fs::File::create_new(&beside)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(std::fs::metadata(path)?.permissions()))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}
