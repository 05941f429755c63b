//! `keyward object import-softhsm`: all objects of a SoftHSM token directory, of either of its back ends.
//!
//! Byte strings of private objects are encrypted (AES-256 in CBC mode, the IV before them) under a key that the token
//! keeps under the PIN.

mod database;
mod files;

use std::path::PathBuf;

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use clap::Args;
use cryptoki_sys::*;
use keyward::crypto::digest::{Digest, hash};
use keyward::token::{Attribute, Value as Stored};
use zeroize::Zeroizing;

use super::load::{Foreign, load, would_load};
use super::transfer::writer;
use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{Reader, SourcePin, UserPin};
use crate::report::Report;

#[derive(Args, Debug)]
#[command(after_help = "DIRECTORY is one token's: the one with token.object or sqlite3.db in it. Nothing in it is \
changed. Objects that this token refuses are named, and the others imported.")]
pub struct Import {
    directory: PathBuf,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    source_pin: SourcePin,
    /// Read the directory, say what would be imported, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// An attribute's value as SoftHSM keeps it.
#[derive(Debug)]
enum Value {
    Bool(bool),
    Number(u64),
    Bytes(Zeroizing<Vec<u8>>),
    Template(Vec<(u64, Value)>),
    Mechanisms(Vec<u64>),
}

type Attributes = Vec<(u64, Value)>;

/// What a token directory holds, as it stands there.
struct Contents {
    token: Attributes,
    /// Each with what messages call it.
    objects: Vec<(String, Attributes)>,
}

type Key = Zeroizing<[u8; 32]>;

const TOKEN_USER_PIN: u64 = 0x8000_534d;

pub fn import(context: &Context, arguments: &Import) -> Result<Report> {
    let directory = &arguments.directory;
    let read = if directory.join(database::NAME).exists() { database::read } else { files::read };
    let contents = read(directory).map_err(|why| Failure::new(Exit::Failed, why))?;
    let pin = Reader::default().read(&arguments.source_pin.source(), "User PIN of the SoftHSM token")?;
    let sealed = contents.token.iter().find_map(|(ty, value)| match value {
        Value::Bytes(bytes) if *ty == TOKEN_USER_PIN => Some(bytes),
        _ => None,
    });
    let no_pin = || Failure::new(Exit::Failed, format!("{}: that token has no user PIN", directory.display()));
    let key = unseal(&pin, sealed.ok_or_else(no_pin)?);
    let key = key.ok_or_else(|| Failure::new(Exit::Pin, "the PIN of the SoftHSM token is wrong"))?;
    let mut objects = Vec::new();
    for (name, attributes) in contents.objects {
        let undecipherable = || Failure::new(Exit::Failed, format!("{name}: an attribute does not decrypt"));
        let attributes = opened(attributes, &key).ok_or_else(undecipherable)?;
        objects.push(Foreign { name, attributes });
    }
    if arguments.dry_run {
        return would_load(context, &arguments.choice, &objects);
    }
    load(&writer(context, &arguments.choice, &arguments.pin.source())?, objects)
}

/// The token's key: salt (8 bytes), IV, and under the PIN's key three letters and the key itself.
fn unseal(pin: &[u8], sealed: &[u8]) -> Option<Key> {
    let (salt, rest) = sealed.split_first_chunk::<8>()?;
    let rounds = 1500u32.checked_add(u32::from(*salt.last()?))?;
    let mut stretched = Zeroizing::new(hash(Digest::Sha256, &Zeroizing::new([salt.as_slice(), pin].concat())).to_vec());
    for _ in 1..rounds {
        stretched = Zeroizing::new(hash(Digest::Sha256, &stretched).to_vec());
    }
    let plain = decrypt(&Zeroizing::new(stretched.as_slice().try_into().ok()?), rest)?;
    Some(Zeroizing::new(plain.strip_prefix(b"RJR")?.try_into().ok()?))
}

/// IV, then ciphertext.
fn decrypt(key: &Key, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (iv, body) = sealed.split_first_chunk::<16>()?;
    let decryptor = cbc::Decryptor::<Aes256>::new((&**key).into(), iv.into());
    decryptor.decrypt_padded_vec::<Pkcs7>(body).ok().map(Zeroizing::new)
}

/// In the form of the C ABI, byte strings of private objects decrypted.
fn opened(attributes: Vec<(u64, Value)>, key: &Key) -> Option<Vec<Attribute>> {
    let private = attributes.iter().any(|(ty, value)| *ty == CKA_PRIVATE && matches!(value, Value::Bool(true)));
    let key = private.then_some(key);
    attributes.into_iter().map(|(ty, value)| attribute(ty, value, key)).collect()
}

fn attribute(ty: u64, value: Value, key: Option<&Key>) -> Option<Attribute> {
    Some(match value {
        Value::Bool(value) => Attribute::bool(ty, value),
        Value::Number(value) => Attribute::ulong(ty, value),
        Value::Bytes(bytes) if bytes.is_empty() => Attribute::bytes(ty, &[]),
        Value::Bytes(bytes) => match key {
            Some(key) => Attribute { ty, value: Stored::Bytes(decrypt(key, &bytes)?) },
            None => Attribute { ty, value: Stored::Bytes(bytes) },
        },
        Value::Template(inner) => {
            let inner: Option<Vec<Attribute>> =
                inner.into_iter().map(|(ty, value)| attribute(ty, value, None)).collect();
            Attribute { ty, value: Stored::Template(inner?) }
        }
        Value::Mechanisms(list) => {
            let bytes: Vec<u8> = list.iter().flat_map(|mechanism| mechanism.to_ne_bytes()).collect();
            Attribute::bytes(ty, &bytes)
        }
    })
}
