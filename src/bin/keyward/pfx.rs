//! Files under a passphrase: PKCS#12 (RFC 7292), and encrypted PKCS#8 (RFC 5958).
//!
//! PBES2 is the crate `pkcs5`'s; what is older than that stands in `old`, what is written in `write`. The older schemes of PKCS#12 itself stand here: no release of a crate has them without
//! bringing thirty others into the library's dependencies.

pub mod old;
pub mod write;

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use keyward::crypto::digest::{Digest, Hash, Hasher};
use keyward::crypto::hmac::HmacKey;
use keyward::crypto::kdf;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::spki::der::Decode;
use zeroize::Zeroizing;

use crate::pem::{Block, Element, element};

/// What can be wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    Passphrase,
    /// It is none, is damaged, or has what is not supported.
    File(String),
}

type Result<T> = std::result::Result<T, Wrong>;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const CONTEXT_0: u8 = 0x80;
const EXPLICIT_0: u8 = 0xa0;

/// 1.2.840.113549.1, under which all that follows stands.
const PKCS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01];
const DATA: &[u8] = &[7, 1];
const ENCRYPTED_DATA: &[u8] = &[7, 6];
const X509_CERTIFICATE: &[u8] = &[9, 22, 1];
const FRIENDLY_NAME: &[u8] = &[9, 20];
const PBKDF2: &[u8] = &[5, 12];
const PBES2: &[u8] = &[5, 13];
const PBMAC1: &[u8] = &[5, 14];
const KEY_BAG: &[u8] = &[12, 10, 1, 1];
const SHROUDED_KEY_BAG: &[u8] = &[12, 10, 1, 2];
const CERTIFICATE_BAG: &[u8] = &[12, 10, 1, 3];
const CONTENTS_BAG: &[u8] = &[12, 10, 1, 6];

/// Who asks for a passphrase may have to be told again; more costs minutes and is an attack.
const MOST_ITERATIONS: u32 = 10_000_000;

/// Whether this DER may be a PKCS#12 file.
pub fn is_pfx(der: &[u8]) -> bool {
    let version = element(der).filter(|outer| outer.tag == SEQUENCE).and_then(|outer| element(outer.content));
    // In BER, the outer length may be left open.
    let open = der.strip_prefix(&[SEQUENCE, 0x80]).and_then(element);
    version.or(open).is_some_and(|version| version.tag == INTEGER && version.content == [3])
}

/// Whether this DER may be an encrypted PKCS#8 key.
pub fn is_encrypted_key(der: &[u8]) -> bool {
    let mut parts = Parts(element(der).filter(|outer| outer.tag == SEQUENCE).map_or(&[], |outer| outer.content));
    let (algorithm, data) = (parts.next(SEQUENCE), parts.next(OCTETS));
    algorithm.is_ok_and(|algorithm| element(algorithm.content).is_some_and(|first| first.tag == OID)) && data.is_ok()
}

/// PKCS#8 out of an encrypted one.
pub fn decrypt_key(der: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut parts = Parts(inside(der, SEQUENCE)?);
    let algorithm = parts.next(SEQUENCE)?;
    let key = decrypt(algorithm.whole, passphrase, parts.next(OCTETS)?.content)?;
    // A wrong passphrase passes the padding once in some 256 times.
    match element(&key) {
        Some(outer) if outer.tag == SEQUENCE && outer.rest.is_empty() => Ok(key),
        _ => Err(Wrong::Passphrase),
    }
}

/// The keys (PKCS#8) and certificates of a PKCS#12 file, with their friendly names.
pub fn open(file: &[u8], passphrase: &[u8]) -> Result<Vec<Block>> {
    let der = whole(file)?;
    let mut parts = Parts(inside(&der, SEQUENCE)?);
    parts.next(INTEGER)?;
    let mut content = Parts(parts.next(SEQUENCE)?.content);
    if !is(content.next(OID)?.content, DATA) {
        return Err(wrong("is protected by a public key instead of a passphrase, which is not supported"));
    }
    let safe = inside(content.next(EXPLICIT_0)?.content, OCTETS)?;
    if !parts.0.is_empty() {
        check_mac(parts.next(SEQUENCE)?.content, passphrase, safe)?;
    }
    let mut found = Vec::new();
    let safe = whole(safe)?;
    let mut safes = Parts(inside(&safe, SEQUENCE)?);
    while !safes.0.is_empty() {
        let mut content = Parts(safes.next(SEQUENCE)?.content);
        let kind = content.next(OID)?.content;
        let body = content.next(EXPLICIT_0)?.content;
        if is(kind, DATA) {
            bags(inside(body, OCTETS)?, passphrase, &mut found, 0)?;
        } else if is(kind, ENCRYPTED_DATA) {
            let mut encrypted = Parts(inside(body, SEQUENCE)?);
            encrypted.next(INTEGER)?;
            let mut info = Parts(encrypted.next(SEQUENCE)?.content);
            info.next(OID)?;
            let algorithm = info.next(SEQUENCE)?.whole;
            let data = implicit_octets(info.0).ok_or_else(|| wrong("has an encrypted part without content"))?;
            bags(&decrypt(algorithm, passphrase, &data)?, passphrase, &mut found, 0)?;
        } else {
            return Err(wrong("has a part that is encrypted by a public key, which is not supported"));
        }
    }
    Ok(found)
}

/// `SafeContents`. Bags of other kinds (CRLs, secrets) are passed over.
fn bags(contents: &[u8], passphrase: &[u8], found: &mut Vec<Block>, depth: u32) -> Result<()> {
    if depth > 8 {
        return Err(wrong("has bags in bags without end"));
    }
    let contents = whole(contents).map_err(|_| Wrong::Passphrase)?;
    let mut all = Parts(inside(&contents, SEQUENCE).map_err(|_| Wrong::Passphrase)?);
    while !all.0.is_empty() {
        let mut bag = Parts(all.next(SEQUENCE)?.content);
        let kind = bag.next(OID)?.content;
        let value = bag.next(EXPLICIT_0)?.content;
        let name = || friendly_name(bag.0);
        let block = |label: &str, der| Block { label: label.into(), der, name: name(), sealed: None };
        if is(kind, KEY_BAG) {
            found.push(block("PRIVATE KEY", Zeroizing::new(value.to_vec())));
        } else if is(kind, SHROUDED_KEY_BAG) {
            found.push(block("PRIVATE KEY", decrypt_key(value, passphrase)?));
        } else if is(kind, CERTIFICATE_BAG) {
            let mut parts = Parts(inside(value, SEQUENCE)?);
            if is(parts.next(OID)?.content, X509_CERTIFICATE) {
                let der = inside(parts.next(EXPLICIT_0)?.content, OCTETS)?;
                found.push(block("CERTIFICATE", Zeroizing::new(der.to_vec())));
            }
        } else if is(kind, CONTENTS_BAG) {
            bags(value, passphrase, found, depth.saturating_add(1))?;
        }
    }
    Ok(())
}

fn friendly_name(attributes: &[u8]) -> Option<String> {
    let mut all = Parts(inside(attributes, SET).ok()?);
    while let Ok(attribute) = all.next(SEQUENCE) {
        let mut parts = Parts(attribute.content);
        let (ty, values) = (parts.next(OID).ok()?, parts.next(SET).ok()?);
        if is(ty.content, FRIENDLY_NAME) {
            let text = inside(values.content, BMP_STRING).ok()?;
            let units: Vec<u16> = text.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            return Some(String::from_utf16_lossy(&units)).filter(|name| !name.is_empty());
        }
    }
    None
}

/// RFC 7292, 4: HMAC under a key from the passphrase.
fn check_mac(mac_data: &[u8], passphrase: &[u8], safe: &[u8]) -> Result<()> {
    let mut parts = Parts(mac_data);
    let mut info = Parts(parts.next(SEQUENCE)?.content);
    let mut algorithm = Parts(info.next(SEQUENCE)?.content);
    let expected = info.next(OCTETS)?.content;
    let kind = algorithm.next(OID)?.content;
    if is(kind, PBMAC1) {
        let found = pbmac1(inside(algorithm.0, SEQUENCE)?, passphrase, safe)?;
        return if *found == *expected { Ok(()) } else { Err(Wrong::Passphrase) };
    }
    let salt = parts.next(OCTETS)?.content;
    let rounds = if parts.0.is_empty() { 1 } else { iterations(parts.next(INTEGER)?.content)? };
    let digest = match kind {
        [0x2b, 14, 3, 2, 26] => Digest::Sha1,
        [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1] => Digest::Sha256,
        [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2] => Digest::Sha384,
        [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3] => Digest::Sha512,
        _ => return Err(wrong("has a MAC of an unknown kind: export it with a MAC by SHA-256")),
    };
    let mut key = Zeroizing::new(vec![0; digest.len()]);
    derive(digest, Purpose::Mac, (passphrase, salt, rounds), &mut key);
    let found = HmacKey::new(digest, &key).mac(safe);
    // What it is compared with stands in the file, and whoever can try this has the file: no secret, no constant time.
    if *found == *expected { Ok(()) } else { Err(Wrong::Passphrase) }
}

/// RFC 9579: HMAC under a key that PBKDF2 makes, both with the functions that `parameters` names.
fn pbmac1(parameters: &[u8], passphrase: &[u8], safe: &[u8]) -> Result<Hash> {
    let unsupported = || wrong("has a MAC by PBMAC1 of a kind that is not supported");
    let mut parts = Parts(parameters);
    let (mut function, mut scheme) = (Parts(parts.next(SEQUENCE)?.content), Parts(parts.next(SEQUENCE)?.content));
    if !is(function.next(OID)?.content, PBKDF2) {
        return Err(unsupported());
    }
    let mut of_key = Parts(inside(function.0, SEQUENCE)?);
    let salt = of_key.next(OCTETS)?.content;
    let rounds = iterations(of_key.next(INTEGER)?.content)?;
    // RFC 9579 wants the length said, and at least 20 bytes.
    let length = match of_key.next(INTEGER)?.content {
        [length @ 20..=127] => usize::from(*length),
        _ => return Err(unsupported()),
    };
    let hmac = |parts: &mut Parts| hmac_digest(parts.next(OID)?.content).ok_or_else(unsupported);
    let prf = if of_key.0.is_empty() { Digest::Sha1 } else { hmac(&mut Parts(of_key.next(SEQUENCE)?.content))? };
    let mut key = Zeroizing::new(vec![0; length]);
    kdf::pbkdf2(&HmacKey::new(prf, passphrase), salt, u64::from(rounds), &mut key);
    Ok(HmacKey::new(hmac(&mut scheme)?, &key).mac(safe))
}

/// `id-hmacWith...` of RFC 8018, B.1.
fn hmac_digest(oid: &[u8]) -> Option<Digest> {
    match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 7] => Some(Digest::Sha1),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 8] => Some(Digest::Sha224),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9] => Some(Digest::Sha256),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 10] => Some(Digest::Sha384),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 11] => Some(Digest::Sha512),
        _ => None,
    }
}

/// `algorithm`: a whole `AlgorithmIdentifier`.
fn decrypt(algorithm: &[u8], passphrase: &[u8], data: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut parts = Parts(inside(algorithm, SEQUENCE)?);
    let oid = parts.next(OID)?.content;
    if is(oid, PBES2) {
        let scheme = AlgorithmIdentifierRef::from_der(algorithm).and_then(EncryptionScheme::try_from);
        let scheme = scheme.map_err(|error| wrong(&format!("is encrypted in a way that is not supported: {error}")))?;
        return scheme.decrypt(passphrase, data).map(Zeroizing::new).map_err(|_| Wrong::Passphrase);
    }
    if let Some([5, arc]) = oid.strip_prefix(PKCS) {
        let mut parameters = Parts(parts.next(SEQUENCE)?.content);
        let salt = parameters.next(OCTETS)?.content;
        let rounds = iterations(parameters.next(INTEGER)?.content)?;
        if let Some(opened) = old::pbes1(*arc, (passphrase, salt, rounds), data) {
            return opened;
        }
    }
    let arc = oid.strip_prefix(PKCS).and_then(|rest| rest.strip_prefix(&[12, 1])).and_then(|rest| rest.first());
    let scheme = SCHEMES.iter().find(|scheme| Some(&scheme.arc) == arc);
    let scheme = scheme.ok_or_else(|| wrong("is encrypted in a way that is not supported"))?;
    let mut parameters = Parts(parts.next(SEQUENCE)?.content);
    let salt = parameters.next(OCTETS)?.content;
    let rounds = iterations(parameters.next(INTEGER)?.content)?;
    let mut key = Zeroizing::new(vec![0; scheme.key]);
    let mut iv = Zeroizing::new([0; 8]);
    derive(Digest::Sha1, Purpose::Key, (passphrase, salt, rounds), &mut key);
    derive(Digest::Sha1, Purpose::Iv, (passphrase, salt, rounds), &mut *iv);
    (scheme.decrypt)(&key, &iv, data).ok_or(Wrong::Passphrase)
}

/// Key, IV, and what to decrypt.
type Decrypt = fn(&[u8], &[u8; 8], &[u8]) -> Option<Zeroizing<Vec<u8>>>;

/// A scheme of RFC 7292, appendix C: the last arc of its OID, and the length of its key in bytes.
struct Scheme {
    arc: u8,
    key: usize,
    decrypt: Decrypt,
}

const SCHEMES: [Scheme; 4] = [
    Scheme { arc: 3, key: 24, decrypt: |key, iv, data| cbc(des::TdesEde3::new_from_slice(key).ok()?, iv, data) },
    Scheme { arc: 4, key: 16, decrypt: |key, iv, data| cbc(des::TdesEde2::new_from_slice(key).ok()?, iv, data) },
    Scheme { arc: 5, key: 16, decrypt: |key, iv, data| cbc(rc2::Rc2::new_with_eff_key_len(key, 128), iv, data) },
    Scheme { arc: 6, key: 5, decrypt: |key, iv, data| cbc(rc2::Rc2::new_with_eff_key_len(key, 40), iv, data) },
];

fn cbc<C: BlockCipherDecrypt>(cipher: C, iv: &[u8], data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let decryptor = cbc::Decryptor::<C>::inner_iv_slice_init(cipher, iv).ok()?;
    decryptor.decrypt_padded_vec::<Pkcs7>(data).ok().map(Zeroizing::new)
}

fn iterations(number: &[u8]) -> Result<u32> {
    let value = number.iter().try_fold(0u32, |sum, byte| sum.checked_mul(256)?.checked_add(u32::from(*byte)));
    value
        .filter(|count| (1..=MOST_ITERATIONS).contains(count))
        .ok_or_else(|| wrong("names an absurd number of iterations"))
}

#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// RFC 7292, appendix B.2.
fn derive(digest: Digest, purpose: Purpose, (passphrase, salt, rounds): (&[u8], &[u8], u32), out: &mut [u8]) {
    let block = digest.block_len();
    let text = String::from_utf8_lossy(passphrase);
    // UTF-16 with an end of its own.
    let units = text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes);
    let passphrase = Zeroizing::new(units.collect::<Vec<u8>>());
    let mut input = Zeroizing::new(filled(salt, block));
    input.extend_from_slice(&Zeroizing::new(filled(&passphrase, block)));
    for part in out.chunks_mut(digest.len()) {
        let mut hasher = Hasher::new(digest);
        hasher.update(&vec![purpose as u8; block]);
        hasher.update(&input);
        let mut hash = hasher.finish();
        for _ in 1..rounds {
            hasher.reset();
            hasher.update(&hash);
            hash = hasher.finish();
        }
        part.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
        // Each block of the input grows by the hash, repeated, and one.
        let step: Vec<u8> = hash.iter().copied().cycle().take(block).collect();
        for chunk in input.chunks_mut(block) {
            let mut carry = 1u16;
            for (byte, add) in chunk.iter_mut().zip(&step).rev() {
                let [high, low] = (u16::from(*byte) + u16::from(*add) + carry).to_be_bytes();
                *byte = low;
                carry = u16::from(high);
            }
        }
    }
}

/// `bytes`, repeated until whole blocks are full.
fn filled(bytes: &[u8], block: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(bytes.len().div_ceil(block) * block).collect()
}

/// The elements of a sequence, one after the other.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn next(&mut self, tag: u8) -> Result<Element<'a>> {
        let found = element(self.0).filter(|found| found.tag == tag).ok_or_else(|| wrong("is cut off or damaged"))?;
        self.0 = found.rest;
        Ok(found)
    }
}

/// The content of the one element that `der` is to be.
fn inside(der: &[u8], tag: u8) -> Result<&[u8]> {
    Parts(der).next(tag).map(|found| found.content)
}

fn is(oid: &[u8], under_pkcs: &[u8]) -> bool {
    oid.strip_prefix(PKCS) == Some(under_pkcs)
}

fn wrong(what: &str) -> Wrong {
    Wrong::File(format!("it {what}"))
}

/// [0] OCTET STRING, in one piece or in several.
fn implicit_octets(der: &[u8]) -> Option<Vec<u8>> {
    let found = element(der)?;
    match found.tag {
        CONTEXT_0 => Some(found.content.to_vec()),
        EXPLICIT_0 => {
            let mut pieces = Parts(found.content);
            let mut whole = Vec::new();
            while !pieces.0.is_empty() {
                whole.extend_from_slice(pieces.next(OCTETS).ok()?.content);
            }
            Some(whole)
        }
        _ => None,
    }
}

/// The one element of `input`, by [`definite`].
fn whole(input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (der, _) =
        definite(input, 0).filter(|(_, rest)| rest.is_empty()).ok_or_else(|| wrong("is cut off or damaged"))?;
    Ok(der)
}

/// An element of BER in the form of DER, and what follows it: lengths are definite and octet strings in one piece. NSS
/// writes its files without lengths.
fn definite(input: &[u8], depth: u32) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    const CONSTRUCTED: u8 = 0x20;
    let [tag, first, after @ ..] = input else { return None };
    if depth > 32 || tag & 0x1f == 0x1f {
        return None;
    }
    if tag & CONSTRUCTED == 0 {
        let found = element(input)?;
        return Some((Zeroizing::new(found.whole.to_vec()), found.rest));
    }
    let open = *first == 0x80;
    let (mut rest, after) =
        if open { (after, after) } else { element(input).map(|found| (found.content, found.rest))? };
    let mut content = Zeroizing::new(Vec::new());
    let end = loop {
        match rest {
            [] if !open => break after,
            [0, 0, end @ ..] if open => break end,
            _ => {}
        }
        let (inner, next) = definite(rest, depth.saturating_add(1))?;
        match *tag == OCTETS | CONSTRUCTED {
            true => content.extend_from_slice(inside(&inner, OCTETS).ok()?),
            false => content.extend_from_slice(&inner),
        }
        rest = next;
    };
    let tag = if *tag == OCTETS | CONSTRUCTED { OCTETS } else { *tag };
    Some((crate::pem::wrapped(tag, &content), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_pkcs12_are_derived_as_openssl_does() {
        let expected = |digest: &str, len: usize, id: u8| {
            let parameters = [
                ("digest".to_owned(), digest.to_owned()),
                ("hexpass".to_owned(), "0073006d006500670000".to_owned()),
                ("hexsalt".to_owned(), "0a58cf64530d823f".to_owned()),
                ("iter".to_owned(), "17".to_owned()),
                ("id".to_owned(), id.to_string()),
            ];
            let options = parameters.iter().flat_map(|(name, value)| ["-kdfopt".to_owned(), format!("{name}:{value}")]);
            let out = std::process::Command::new("openssl")
                .args(["kdf", "-binary", "-keylen", &len.to_string()])
                .args(options)
                .arg("PKCS12KDF")
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            out.stdout
        };
        let salt = [0x0a, 0x58, 0xcf, 0x64, 0x53, 0x0d, 0x82, 0x3f];
        for (digest, name) in [(Digest::Sha1, "SHA1"), (Digest::Sha256, "SHA256"), (Digest::Sha512, "SHA512")] {
            for (purpose, len) in [(Purpose::Key, 24), (Purpose::Iv, 8), (Purpose::Mac, 64)] {
                let mut found = vec![0; len];
                derive(digest, purpose, (b"smeg", &salt, 17), &mut found);
                assert_eq!(found, expected(name, len, purpose as u8), "{name} {len}");
            }
        }
    }

    #[test]
    fn open_lengths_are_closed_and_pieces_joined() {
        let open = [0x30, 0x80, 0x02, 1, 3, 0x24, 0x80, 4, 1, 7, 4, 2, 8, 9, 0, 0, 0xa0, 0x80, 5, 0, 0, 0, 0, 0, 0x55];
        let (closed, rest) = definite(&open, 0).unwrap();
        assert_eq!(**closed, [0x30, 12, 2, 1, 3, 4, 3, 7, 8, 9, 0xa0, 2, 5, 0]);
        assert_eq!(rest, [0x55]);
        for len in 0..open.len() - 1 {
            assert!(definite(&open[..len], 0).is_none(), "{len}");
        }
        assert!(definite(&[0x30, 0x80].repeat(100), 0).is_none(), "no depth without end");
    }
}
