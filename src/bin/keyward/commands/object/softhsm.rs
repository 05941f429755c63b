//! `keyward object import-softhsm`: all objects of a SoftHSM token directory (its file back end).
//!
//! A directory holds `token.object` and one `.object` file for each object: a counter, then attributes, each a type, a
//! kind and a value, all numbers of eight bytes, the highest first. Byte strings of private objects are encrypted (AES-256
//! in CBC mode, the IV before them) under a key that `token.object` keeps under the PIN.

use std::path::{Path, PathBuf};

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use clap::Args;
use cryptoki_sys::*;
use keyward::crypto::digest::{Digest, hash};
use keyward::token::{Answer, Attribute, Value as Stored};
use serde_json::json;
use zeroize::Zeroizing;

use super::transfer::writer;
use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{Reader, SourcePin, UserPin};
use crate::report::Report;

#[derive(Args, Debug)]
#[command(after_help = "DIRECTORY is one token's: the one with token.object in it. Nothing in it is changed. Objects \
that this token refuses are named, and the others imported.")]
pub struct Import {
    directory: PathBuf,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    source_pin: SourcePin,
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

type Key = Zeroizing<[u8; 32]>;

const TOKEN_USER_PIN: u64 = 0x8000_534d;

pub fn import(context: &Context, arguments: &Import) -> Result<Report> {
    let directory = &arguments.directory;
    let wrong = |path: &Path, why: &str| Failure::new(Exit::Failed, format!("{}: {why}", path.display()));
    let token = directory.join("token.object");
    let about = read(&token).map_err(|why| wrong(&token, &why))?;
    let pin = Reader::default().read(&arguments.source_pin.source(), "User PIN of the SoftHSM token")?;
    let sealed = about.iter().find_map(|(ty, value)| match value {
        Value::Bytes(bytes) if *ty == TOKEN_USER_PIN => Some(bytes),
        _ => None,
    });
    let sealed = sealed.ok_or_else(|| wrong(&token, "that token has no user PIN"))?;
    let key = unseal(&pin, sealed).ok_or_else(|| Failure::new(Exit::Pin, "the PIN of the SoftHSM token is wrong"))?;
    let mut templates = Vec::new();
    for path in object_files(directory).map_err(|error| wrong(directory, &error.to_string()))? {
        let attributes = read(&path).map_err(|why| wrong(&path, &why))?;
        let opened = opened(attributes, &key).ok_or_else(|| wrong(&path, "an attribute does not decrypt"))?;
        templates.push((path, opened));
    }
    let session = writer(context, &arguments.choice, &arguments.pin)?;
    let (mut imported, mut refused) = (0u64, Vec::new());
    for (path, attributes) in templates {
        let check = attributes.iter().find(|a| a.ty == CKA_CHECK_VALUE).cloned();
        let template = attributes.into_iter().filter(settable).collect();
        let made = session.token.create(session.caller, template).and_then(|object| {
            let now = session.token.get(session.caller, object, &[CKA_CHECK_VALUE])?;
            match (check.map(|check| check.value), now.first()) {
                (Some(Stored::Bytes(was)), Some(Answer::Value(Stored::Bytes(is)))) if !was.is_empty() && was != *is => {
                    session.token.destroy(session.caller, object)?;
                    Err(keyward::error::Code::DataInvalid.because("its check value is not that of the key imported"))
                }
                _ => Ok(()),
            }
        });
        match made {
            Ok(()) => imported = imported.saturating_add(1),
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    let mut text = format!("{imported} objects imported");
    refused.iter().for_each(|line| text.push_str(&format!("\nrefused: {line}")));
    let exit = if refused.is_empty() { Exit::Done } else { Exit::Failed };
    Ok(Report { text, json: json!({ "imported": imported, "refused": refused }), exit })
}

fn object_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_object = path.extension().is_some_and(|end| end == "object");
        if is_object && path.file_stem().is_some_and(|stem| stem != "token") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<(u64, Value)>, String> {
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| error.to_string())?;
    let mut rest = bytes.as_slice();
    number(&mut rest)
        .and_then(|_| attributes(rest, 0))
        .ok_or_else(|| "no object file of SoftHSM, or cut off".to_owned())
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (head, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_be_bytes(*head))
}

fn attributes(mut rest: &[u8], depth: u32) -> Option<Vec<(u64, Value)>> {
    // A template does not hold templates that hold templates.
    if depth > 2 {
        return None;
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let ty = number(&mut rest)?;
        let value = match number(&mut rest)? {
            1 => {
                let (byte, tail) = rest.split_first()?;
                rest = tail;
                Value::Bool(*byte != 0)
            }
            2 => Value::Number(number(&mut rest)?),
            3 => Value::Bytes(Zeroizing::new(counted(&mut rest)?.to_vec())),
            4 => Value::Template(attributes(counted(&mut rest)?, depth + 1)?),
            5 => {
                let count = number(&mut rest)?;
                let listed = (0..count).map(|_| number(&mut rest));
                // Ends at the first that is missing, whatever the count says.
                Value::Mechanisms(listed.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        found.push((ty, value));
    }
    Some(found)
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
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

/// Whether `C_CreateObject` takes it: not what the token itself sets, and not what SoftHSM keeps for its own use or empty.
fn settable(attribute: &Attribute) -> bool {
    const OWN: [CK_ATTRIBUTE_TYPE; 9] = [
        CKA_LOCAL,
        CKA_KEY_GEN_MECHANISM,
        CKA_ALWAYS_SENSITIVE,
        CKA_NEVER_EXTRACTABLE,
        CKA_MODULUS_BITS,
        CKA_VALUE_LEN,
        CKA_CHECK_VALUE,
        CKA_PUBLIC_KEY_INFO,
        CKA_UNIQUE_ID,
    ];
    let empty = match &attribute.value {
        Stored::Bytes(bytes) => bytes.is_empty(),
        Stored::Template(inner) => inner.is_empty(),
    };
    // Only the SO may say that something is trusted; saying that it is not goes without saying.
    let untrusted = attribute.ty == CKA_TRUSTED;
    !empty && !untrusted && attribute.ty < 0x8000_0000 && !OWN.contains(&attribute.ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_refused_and_never_read_past() {
        let mut file = Vec::new();
        for number in [CKA_TOKEN, 1] {
            file.extend(number.to_be_bytes());
        }
        file.push(0xff);
        for number in [CKA_LABEL, 3, 2] {
            file.extend(number.to_be_bytes());
        }
        file.extend(b"ab");
        for number in [CKA_ALLOWED_MECHANISMS, 5, 1, CKM_SHA256] {
            file.extend(number.to_be_bytes());
        }
        assert_eq!(attributes(&file, 0).unwrap().len(), 3);
        let ends = [17, 17 + 26];
        for len in 1..file.len() {
            assert_eq!(attributes(&file[..len], 0).is_some(), ends.contains(&len), "{len}");
        }
        let mut huge = file.clone();
        let count = huge.len() - 16;
        huge[count..count + 8].fill(0xff);
        assert!(attributes(&huge, 0).is_none());
    }
}
