//! Writing: PKCS#12 with a key and its certificates, and encrypted PKCS#8. PBES2 with PBKDF2-SHA256 and AES-256-CBC; the MAC
//! of PKCS#12 is HMAC-SHA256.

use keyward::crypto::digest::{Digest, hash};
use keyward::crypto::hmac::HmacKey;
use keyward::crypto::random;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Encode;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::pbes2;
use pkcs8::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::*;
use crate::failure::{Exit, Failure, Result};
use crate::pem::wrapped;

const ITERATIONS: u32 = 600_000;
const NULL: &[u8] = &[0x05, 0];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const LOCAL_KEY_ID: &[u8] = &[9, 21];

fn unencodable<E>(_: E) -> Failure {
    Failure::new(Exit::Failed, "the key cannot be encoded")
}

/// The algorithm, as a whole `AlgorithmIdentifier`, and the ciphertext.
fn encrypted(plain: &[u8], passphrase: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let wrong = |_| Failure::new(Exit::Failed, "the key cannot be encrypted");
    let (mut salt, mut iv) = ([0u8; 16], [0u8; 16]);
    let random = |out: &mut [u8]| random::fill(out).map_err(Failure::of("no randomness"));
    random(&mut salt)?;
    random(&mut iv)?;
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv).map_err(wrong)?;
    let text = parameters.encrypt(passphrase, plain).map_err(wrong)?;
    let scheme = EncryptionScheme::from(parameters);
    Ok((scheme.to_der().map_err(unencodable)?, text))
}

/// `EncryptedPrivateKeyInfo` of a PKCS#8 key.
pub fn key(plain: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (scheme, text) = encrypted(plain, passphrase)?;
    let scheme = AlgorithmIdentifierRef::from_der(&scheme).and_then(EncryptionScheme::try_from).map_err(unencodable)?;
    let data = OctetStringRef::new(&text).map_err(unencodable)?;
    let info = EncryptedPrivateKeyInfoRef { encryption_algorithm: scheme, encrypted_data: data };
    info.to_der().map(Zeroizing::new).map_err(unencodable)
}

type Der = Zeroizing<Vec<u8>>;

fn sequence(parts: &[&[u8]]) -> Der {
    wrapped(SEQUENCE, &Zeroizing::new(parts.concat()))
}

fn oid(under_pkcs: &[u8]) -> Der {
    wrapped(OID, &[PKCS, under_pkcs].concat())
}

fn octets(content: &[u8]) -> Der {
    wrapped(OCTETS, content)
}

fn content(kind: &[u8], body: &[u8]) -> Der {
    sequence(&[&oid(kind), &wrapped(EXPLICIT_0, body)])
}

fn number(value: u32) -> Der {
    let bytes: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let sign: &[u8] = if bytes.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    wrapped(INTEGER, &[sign, &bytes].concat())
}

/// Name and, so that key and certificate find each other, an identifier.
fn attributes(name: &str, id: &[u8]) -> Der {
    let text: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attribute = |ty: &[u8], value: &[u8]| sequence(&[&oid(ty), &wrapped(SET, value)]);
    let mut all = vec![attribute(LOCAL_KEY_ID, &octets(id))];
    if !text.is_empty() {
        all.push(attribute(FRIENDLY_NAME, &wrapped(BMP_STRING, &text)));
    }
    // DER has the elements of a set in order.
    all.sort_by(|one, other| one.as_slice().cmp(other));
    let all: Vec<&[u8]> = all.iter().map(|one| one.as_slice()).collect();
    wrapped(SET, &all.concat())
}

/// A PKCS#12 file: the key (PKCS#8), and its certificates, the key's own first.
pub fn file(name: &str, plain: &[u8], certificates: &[Vec<u8>], passphrase: &[u8]) -> Result<Der> {
    let id = hash(Digest::Sha256, certificates.first().map_or(name.as_bytes(), Vec::as_slice));
    let id = id.get(..20).unwrap_or_default();
    let bag =
        |kind: &[u8], value: &[u8], attributes: &[u8]| sequence(&[&oid(kind), &wrapped(EXPLICIT_0, value), attributes]);
    let named = attributes(name, id);
    let key = bag(SHROUDED_KEY_BAG, &key(plain, passphrase)?, &named);
    let mut safes = vec![content(DATA, &octets(&sequence(&[&key])))];
    if !certificates.is_empty() {
        let bags: Vec<Der> = certificates
            .iter()
            .enumerate()
            .map(|(at, der)| {
                let value = sequence(&[&oid(X509_CERTIFICATE), &wrapped(EXPLICIT_0, &octets(der))]);
                bag(CERTIFICATE_BAG, &value, if at == 0 { &named } else { &[] })
            })
            .collect();
        let bags: Vec<&[u8]> = bags.iter().map(|bag| bag.as_slice()).collect();
        let (scheme, text) = encrypted(&sequence(&bags), passphrase)?;
        let info = sequence(&[&oid(DATA), &scheme, &wrapped(CONTEXT_0, &text)]);
        safes.push(content(ENCRYPTED_DATA, &sequence(&[&number(0), &info])));
    }
    let safes: Vec<&[u8]> = safes.iter().map(|safe| safe.as_slice()).collect();
    let safe = sequence(&safes);
    let mac = mac(&safe, passphrase)?;
    Ok(sequence(&[&number(3), &content(DATA, &octets(&safe)), &mac]))
}

fn mac(safe: &[u8], passphrase: &[u8]) -> Result<Der> {
    let (mut salt, mut key) = ([0u8; 16], Zeroizing::new([0u8; 32]));
    random::fill(&mut salt).map_err(Failure::of("no randomness"))?;
    derive(Digest::Sha256, Purpose::Mac, (passphrase, &salt, ITERATIONS), &mut *key);
    let mac = HmacKey::new(Digest::Sha256, &*key).mac(safe);
    let algorithm = sequence(&[&wrapped(OID, SHA256), NULL]);
    Ok(sequence(&[&sequence(&[&algorithm, &octets(&mac)]), &octets(&salt), &number(ITERATIONS)]))
}
