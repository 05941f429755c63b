//! `keyward object import-kryoptic`: all objects of a Kryoptic token, out of its SQLite database.
//!
//! Table `objects` has a row for each attribute: numbers and truth values as INTEGER, texts and dates as TEXT, the rest as
//! BLOB. What is secret in a key is a `KPD1` (Kryoptic's doc/storage-encryption.md): AES-GCM with a tag of 8 bytes, under a key
//! that HKDF's expansion makes of the token's own key and the object's unique ID, which is also what is authenticated beside. The
//! token's own key is a `KPD1` in table `meta`, under a key that PBKDF2 makes of the PIN.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use cryptoki_sys::*;
use keyward::crypto::aes::Direction;
use keyward::crypto::digest::Digest;
use keyward::crypto::gcm::GcmKey;
use keyward::crypto::hmac::HmacKey;
use keyward::crypto::kdf;
use keyward::object::Attributes;
use keyward::object::row::Shape;
use keyward::object::schema;
use keyward::token::{Attribute, Value as Stored};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use zeroize::Zeroizing;

use super::load::{Foreign, load, would_load};
use super::transfer::writer;
use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pem::{Element, element};
use crate::pins::{Reader, SourcePin, UserPin};
use crate::report::Report;

#[derive(Args, Debug)]
#[command(
    after_help = "FILE is the database that Kryoptic's configuration names, of version v1. Nothing in it is changed. \
The PIN of that token's user is asked for, or given by --source-pin-.... Objects that this token refuses are named, and the \
others imported."
)]
pub struct Import {
    file: PathBuf,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    source_pin: SourcePin,
    /// Read the file, say what would be imported, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// The user's name, authenticated beside the token's key.
const USER: &str = "USER";
/// What stands in the place of the token's key where nothing is encrypted.
const NOTHING: &[u8] = b"NO ENCRYPTION";
/// Whoever asks for a PIN may have to be told again; more costs minutes and is an attack.
const MOST_ITERATIONS: u64 = 10_000_000;

/// What a key keeps secret.
const SECRETS: [CK_ATTRIBUTE_TYPE; 8] = [
    CKA_VALUE,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EXPONENT_1,
    CKA_EXPONENT_2,
    CKA_COEFFICIENT,
    CKA_SEED,
];

type Bytes = Zeroizing<Vec<u8>>;

/// A database's content, as it stands there.
struct Contents {
    sealed_key: Vec<u8>,
    objects: BTreeMap<i64, Attributes>,
}

pub fn import(context: &Context, arguments: &Import) -> Result<Report> {
    let path = &arguments.file;
    let failed = |why: String| Failure::new(Exit::Failed, format!("{}: {why}", path.display()));
    let contents = read(path).map_err(failed)?;
    let pin = Reader::default().read(&arguments.source_pin.source(), "User PIN of the Kryoptic token")?;
    let key = Protected::parse(&contents.sealed_key)
        .ok_or_else(|| failed("the record of its user is damaged, or of a newer version".into()))?
        .open(&Root::Pin(&pin), USER.as_bytes())
        .ok_or_else(|| Failure::new(Exit::Pin, "the PIN of the Kryoptic token is wrong"))?;
    let key = (key.as_slice() != NOTHING).then_some(key);
    let mut objects = Vec::new();
    for (id, attributes) in contents.objects {
        let name = format!("object {id}");
        let opened = opened(&attributes, key.as_deref());
        let attributes = opened.ok_or_else(|| failed(format!("a secret of {name} does not decrypt")))?;
        objects.push(Foreign { name, attributes });
    }
    if arguments.dry_run {
        return would_load(context, &arguments.choice, &objects);
    }
    load(&writer(context, &arguments.choice, &arguments.pin.source())?, objects)
}

fn read(path: &Path) -> Result<Contents, String> {
    let none = |error: rusqlite::Error| format!("no token of Kryoptic, or damaged: {error}");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(none)?;
    let version = "SELECT value FROM meta WHERE name = 'version'";
    let version: Option<String> = connection.query_row(version, [], |row| row.get(0)).optional().map_err(none)?;
    match version.as_deref() {
        Some("v1") => {}
        other => return Err(format!("its version is {}, expected v1", other.unwrap_or("unknown"))),
    }
    let user = "SELECT data FROM meta WHERE name = 'USER DATA' AND value = ?1";
    let sealed_key = connection.query_row(user, [USER], |row| row.get(0)).optional().map_err(none)?;
    let sealed_key = sealed_key.ok_or("that token has no user PIN")?;
    Ok(Contents { sealed_key, objects: all(&connection).map_err(none)? })
}

fn all(connection: &Connection) -> rusqlite::Result<BTreeMap<i64, Attributes>> {
    let mut objects: BTreeMap<i64, Attributes> = BTreeMap::new();
    let mut statement = connection.prepare("SELECT id, attr, val FROM objects ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let ty = row.get::<_, i64>(1)?.cast_unsigned();
        let object = objects.entry(row.get(0)?).or_default();
        if let Some(attribute) = attribute(ty, row.get_ref(2)?) {
            object.put(attribute);
        }
    }
    Ok(objects)
}

/// In the form of the C ABI, still sealed; `None` where there is no value.
fn attribute(ty: CK_ATTRIBUTE_TYPE, value: ValueRef<'_>) -> Option<Attribute> {
    let shape = schema::any_row(ty).map_or(Shape::Bytes, |row| row.kind.shape());
    match (value, shape) {
        (ValueRef::Integer(number), Shape::Bool) => Some(Attribute::bool(ty, number != 0)),
        // -1 is the form of CK_UNAVAILABLE_INFORMATION, which an object made here does not take over.
        (ValueRef::Integer(number), _) => u64::try_from(number).ok().map(|number| Attribute::ulong(ty, number)),
        (ValueRef::Text(text), Shape::Date) => {
            let digits: Vec<u8> = text.iter().copied().filter(u8::is_ascii_digit).collect();
            (digits.len() == 8).then(|| Attribute::bytes(ty, &digits))
        }
        (ValueRef::Text(bytes) | ValueRef::Blob(bytes), _) => Some(Attribute::bytes(ty, bytes)),
        (ValueRef::Null | ValueRef::Real(_), _) => None,
    }
}

/// With its secrets decrypted; without a key nothing was encrypted.
fn opened(object: &Attributes, key: Option<&Vec<u8>>) -> Option<Vec<Attribute>> {
    let is_key = matches!(object.ulong(CKA_CLASS), Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY | CKO_OTP_KEY));
    let name = object.bytes(CKA_UNIQUE_ID).unwrap_or_default();
    let open = |attribute: &Attribute| match (key, object.bytes(attribute.ty)) {
        (Some(key), Some(sealed)) if is_key && SECRETS.contains(&attribute.ty) && !sealed.is_empty() => {
            let plain = Protected::parse(sealed)?.open(&Root::Key(key), name)?;
            Some(Attribute { ty: attribute.ty, value: Stored::Bytes(plain) })
        }
        _ => Some(attribute.clone()),
    };
    object.iter().map(open).collect()
}

/// `KPD1`, as far as it is used.
struct Protected<'a> {
    derivation: Derivation<'a>,
    iv: &'a [u8],
    tag: &'a [u8],
    data: &'a [u8],
}

/// How its key comes to be.
enum Derivation<'a> {
    Pbkdf2 { salt: &'a [u8], iterations: u64, digest: Digest },
    Expanded { info: &'a [u8] },
}

/// What it comes from.
enum Root<'a> {
    Pin(&'a [u8]),
    Key(&'a [u8]),
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;

/// 1.3.6.1.4.1.2312.20.2.1
const KKBPS1: &[u8] = &[0x2b, 6, 1, 4, 1, 0x92, 8, 20, 2, 1];
/// 1.3.6.1.4.1.2312.20.1.1
const KKDF1: &[u8] = &[0x2b, 6, 1, 4, 1, 0x92, 8, 20, 1, 1];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 7];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
const AES_256_GCM: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 46];

/// The elements of a sequence, one after the other.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn of(whole: &'a [u8]) -> Option<Parts<'a>> {
        Some(Parts(element(whole).filter(|outer| outer.tag == SEQUENCE)?.content))
    }

    fn any(&mut self) -> Option<Element<'a>> {
        let found = element(self.0)?;
        self.0 = found.rest;
        Some(found)
    }

    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|found| found.tag == tag).map(|found| found.content)
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.next(INTEGER)?;
        digits.iter().try_fold(0u64, |sum, digit| sum.checked_mul(256)?.checked_add(u64::from(*digit)))
    }

    /// An `AlgorithmIdentifier`: its OID, and its parameters, which are to be a sequence.
    fn algorithm(&mut self) -> Option<(&'a [u8], Parts<'a>)> {
        let mut parts = Parts(self.next(SEQUENCE)?);
        let oid = parts.next(OID)?;
        let parameters = if parts.0.is_empty() { Parts(&[]) } else { Parts::of(parts.0).unwrap_or(Parts(&[])) };
        Some((oid, parameters))
    }
}

impl<'a> Protected<'a> {
    fn parse(der: &'a [u8]) -> Option<Protected<'a>> {
        let mut outer = Parts::of(der)?;
        let (scheme, mut parameters) = outer.algorithm()?;
        let data = outer.next(OCTETS)?;
        // The key's version: of several only the newest is kept.
        parameters.number()?;
        let (function, mut of_key) = parameters.algorithm()?;
        let (cipher, mut of_cipher) = parameters.algorithm()?;
        if scheme != KKBPS1 || cipher != AES_256_GCM {
            return None;
        }
        let derivation = match function {
            PBKDF2 => Derivation::pbkdf2(&mut of_key)?,
            KKDF1 => {
                of_key.algorithm().filter(|(prf, _)| *prf == HMAC_SHA256)?;
                Derivation::Expanded { info: of_key.next(OCTETS)? }
            }
            _ => return None,
        };
        Some(Protected { derivation, iv: of_cipher.next(OCTETS)?, tag: of_cipher.next(OCTETS)?, data })
    }

    fn open(&self, root: &Root<'_>, aad: &[u8]) -> Option<Bytes> {
        let mut key = Zeroizing::new([0; 32]);
        match (&self.derivation, root) {
            (Derivation::Pbkdf2 { salt, iterations, digest }, Root::Pin(pin)) => {
                kdf::pbkdf2(&HmacKey::new(*digest, pin), salt, *iterations, &mut *key);
            }
            (Derivation::Expanded { info }, Root::Key(root)) => {
                kdf::hkdf_expand(Digest::Sha256, root, info, &mut *key).ok()?;
            }
            _ => return None,
        }
        let mut message = GcmKey::new(&*key).and_then(|key| key.begin(Direction::Decrypt)).ok()?;
        let mut plain = Zeroizing::new(vec![0; self.data.len()]);
        message.start(self.iv, aad).and_then(|()| message.update(self.data, &mut plain)).ok()?;
        message.check(self.tag).ok().map(|()| plain)
    }
}

impl<'a> Derivation<'a> {
    /// RFC 8018, A.2. The length and the function may be left out.
    fn pbkdf2(parameters: &mut Parts<'a>) -> Option<Derivation<'a>> {
        let salt = parameters.next(OCTETS)?;
        let iterations = parameters.number().filter(|count| (1..=MOST_ITERATIONS).contains(count))?;
        if element(parameters.0).is_some_and(|next| next.tag == INTEGER) {
            parameters.number().filter(|length| *length == 32)?;
        }
        let digest = match parameters.algorithm() {
            None => Digest::Sha1,
            Some((HMAC_SHA1, _)) => Digest::Sha1,
            Some((HMAC_SHA256, _)) => Digest::Sha256,
            Some(_) => return None,
        };
        Some(Derivation::Pbkdf2 { salt, iterations, digest })
    }
}
