//! A share for the holder of an EC key: CMS enveloped data (RFC 5652) for one recipient by ECDH with a passing key (RFC 5753),
//! which `openssl cms -decrypt` opens. AES-256-CBC, its key wrapped by AES-256 under X9.63's function with SHA-256. The share has
//! check digits of its own.

use zeroize::Zeroizing;

use crate::crypto::aes::{Aes, Direction};
use crate::crypto::curve::Curve;
use crate::crypto::digest::{Digest, Hasher, hash};
use crate::crypto::ec::{PrivateKey, PublicKey};
use crate::crypto::{keywrap, random};
use crate::error::Result;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[n] EXPLICIT`, or IMPLICIT over something constructed.
const CONTEXT: u8 = 0xa0;

/// 1.2.840.113549.1.7.3
const ENVELOPED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// `id-ecPublicKey`
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// `dhSinglePass-stdDH-sha256kdf-scheme`
const AGREEMENT: &[u8] = &[0x2b, 0x81, 4, 1, 11, 1];
const AES_256_WRAP: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 45];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];

/// An element of these parts, one after the other.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let digits: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
    let mut out = vec![tag];
    match len {
        0..=0x7f => out.push(len.to_le_bytes()[0]),
        _ => {
            out.push(0x80 | digits.len().to_le_bytes()[0]);
            out.extend_from_slice(&digits);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn oid(content: &[u8]) -> Vec<u8> {
    element(OID, &[content])
}

/// `AlgorithmIdentifier`
fn algorithm(name: &[u8], parameters: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&oid(name), parameters])
}

/// Encrypts for the key whose point on `curve` is `encoded`; DER. `CKR_ATTRIBUTE_VALUE_INVALID`: it is no point of the curve.
pub(super) fn encrypt(curve: Curve, encoded: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let point = PublicKey::new(curve, encoded)?.point()?;
    let passing = PrivateKey::generate(curve)?;
    let shared = passing.agree(&point)?;
    let wrapping = algorithm(AES_256_WRAP, &[]);
    let kek = key_encryption_key(shared.expose(), &wrapping);
    let mut key = Zeroizing::new([0u8; 40]);
    let mut iv = [0u8; 16];
    random::fill(&mut iv)?;
    let content = {
        let (_, content_key) = key.split_at_mut(8);
        random::fill(content_key)?;
        sealed(content_key, iv, plain)?
    };
    keywrap::wrap(&Aes::new(&kek)?, &keywrap::KW_IV, &mut *key)?;

    let bits = element(BIT_STRING, &[&[0], &passing.public()?]);
    let originator = element(CONTEXT, &[&element(CONTEXT | 1, &[&algorithm(EC, &oid(curve.oid())), &bits])]);
    // RFC 5280, 4.2.1.2: the first way to make a key identifier.
    let identifier = element(CONTEXT, &[&element(OCTETS, &[&hash(Digest::Sha1, &point)])]);
    let recipient = element(SEQUENCE, &[&identifier, &element(OCTETS, &[&*key])]);
    let agreement = algorithm(AGREEMENT, &wrapping);
    let info =
        element(CONTEXT | 1, &[&element(INTEGER, &[&[3]]), &originator, &agreement, &element(SEQUENCE, &[&recipient])]);
    let cipher = algorithm(AES_256_CBC, &element(OCTETS, &[&iv]));
    let encrypted = element(SEQUENCE, &[&oid(DATA), &cipher, &element(0x80, &[&content])]);
    let enveloped = element(SEQUENCE, &[&element(INTEGER, &[&[2]]), &element(SET, &[&info]), &encrypted]);
    Ok(element(SEQUENCE, &[&oid(ENVELOPED_DATA), &element(CONTEXT, &[&enveloped])]))
}

/// X9.63 with SHA-256, to the one block that AES-256 needs (RFC 5753, 7.2).
fn key_encryption_key(shared: &[u8], wrapping: &[u8]) -> Zeroizing<Vec<u8>> {
    let bits = element(CONTEXT | 2, &[&element(OCTETS, &[&256u32.to_be_bytes()])]);
    let mut hasher = Hasher::new(Digest::Sha256);
    hasher.update(shared);
    hasher.update(&1u32.to_be_bytes());
    hasher.update(&element(SEQUENCE, &[wrapping, &bits]));
    Zeroizing::new(hasher.finish().to_vec())
}

/// In CBC mode, padded (RFC 5652, 6.3).
fn sealed(key: &[u8], mut iv: [u8; 16], plain: &[u8]) -> Result<Vec<u8>> {
    let padding = 16 - plain.len() % 16;
    let mut padded = Zeroizing::new(plain.to_vec());
    padded.resize(plain.len().saturating_add(padding), padding.to_le_bytes()[0]);
    let mut out = vec![0; padded.len()];
    Aes::new(key)?.cbc(Direction::Encrypt, &mut iv, &padded, &mut out)?;
    Ok(out)
}
