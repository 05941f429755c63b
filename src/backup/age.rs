//! Files of the `age` format (age-encryption.org/v1) with X25519 recipients, for what fits one chunk: shares.
//!
//! Written here over the house's own primitives: the format is small and fixed, and the `age` crate would bring some sixty
//! others along. The tests exchange files with the `age` program where it is installed.

use base64ct::{Base64Unpadded, Encoding};
use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::crypto::block::Direction;
use crate::crypto::digest::Digest;
use crate::crypto::hmac::HmacKey;
use crate::crypto::kdf::{hkdf_expand, hkdf_extract};
use crate::crypto::random;
use crate::crypto::salsa::{Family, Sealed};
use crate::crypto::x25519::PrivateKey;
use crate::error::{Code, Error, Result};
use crate::mechanism::key;
use crate::object::Attributes;

const VERSION: &str = "age-encryption.org/v1";
const X25519: &str = "age-encryption.org/v1/X25519";
const TAG: usize = 16;
/// Plaintext of one chunk.
const CHUNK: usize = 64 << 10;
/// The counter of the only chunk, and the mark of the last one.
const ONLY_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// `age1...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

/// `AGE-SECRET-KEY-1...`
pub struct Identity(PrivateKey);

impl Recipient {
    pub fn parse(text: &str) -> Option<Recipient> {
        Some(Recipient(bech32_key("age", text)?))
    }

    /// An X25519 public key.
    pub fn of_key(key: [u8; 32]) -> Recipient {
        Recipient(key)
    }

    /// Encrypts at most 64 KiB. `CKR_DATA_LEN_RANGE`.
    pub fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>> {
        if plain.len() > CHUNK {
            return Err(Code::DataLenRange.into());
        }
        let mut file_key = Zeroizing::new([0u8; 16]);
        random::fill(&mut *file_key)?;
        let ephemeral = PrivateKey::generate()?;
        let share = ephemeral.public();
        let wrapping = wrapping_key(ephemeral.agree(&self.0)?.expose(), &share, &self.0)?;
        let body = seal(&wrapping, &[0; 12], &*file_key)?;
        let mut text = format!("{VERSION}\n-> X25519 {}\n{}\n---", base64(&share), base64(&body));
        let mac = header_mac(&file_key, text.as_bytes())?;
        text.push_str(&format!(" {}\n", base64(&mac)));
        let mut nonce = [0u8; 16];
        random::fill(&mut nonce)?;
        let payload = seal(&*payload_key(&file_key, &nonce)?, &ONLY_CHUNK, plain)?;
        Ok([text.as_bytes(), &nonce, &payload].concat())
    }
}

impl Identity {
    /// The first key of an identity file, or a bare key.
    pub fn parse(text: &str) -> Option<Identity> {
        let line = text.lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-1"))?;
        let scalar = Zeroizing::new(bech32_key("age-secret-key-", line)?);
        Some(Identity(PrivateKey::new(&*scalar).ok()?))
    }

    /// From a PKCS#8 PrivateKeyInfo for X25519; `None`: another kind of key.
    pub fn from_pkcs8(der: &[u8]) -> Option<Identity> {
        let key: Attributes = key::pkcs8_to_attributes(der).ok()?.into_iter().collect();
        let x25519 = key.ulong(CKA_KEY_TYPE)? == CKK_EC_MONTGOMERY;
        x25519.then(|| PrivateKey::new(key.bytes(CKA_VALUE)?).ok().map(Identity)).flatten()
    }

    /// `CKR_ENCRYPTED_DATA_INVALID`: the file is damaged, or for others.
    pub fn decrypt(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let header = Header::parse(file)?;
        let public = self.0.public();
        for (share, body) in &header.stanzas {
            let Ok(agreed) = self.0.agree(share) else { continue };
            let wrapping = wrapping_key(agreed.expose(), share, &public)?;
            let Ok(file_key) = open(&wrapping, &[0; 12], body) else { continue };
            let file_key: Zeroizing<[u8; 16]> =
                Zeroizing::new(file_key.as_slice().try_into().map_err(|_| malformed())?);
            let expected = header_mac(&file_key, header.signed)?;
            if !bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), header.mac.as_slice())) {
                return Err(malformed());
            }
            let (nonce, payload) = header.rest.split_first_chunk::<16>().ok_or_else(malformed)?;
            return open(&*payload_key(&file_key, nonce)?, &ONLY_CHUNK, payload);
        }
        Err(Code::EncryptedDataInvalid.because("the age file is for another recipient"))
    }
}

/// A file's header, of which other recipients' stanzas are passed over.
struct Header<'a> {
    stanzas: Vec<([u8; 32], Vec<u8>)>,
    /// From the first byte to the three dashes.
    signed: &'a [u8],
    mac: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(file: &'a [u8]) -> Result<Header<'a>> {
        let mut at = 0usize;
        let mut line = || -> Result<(&'a str, usize)> {
            let rest = file.get(at..).ok_or_else(malformed)?;
            let len = rest.iter().position(|byte| *byte == b'\n').ok_or_else(malformed)?;
            let text = rest.get(..len).and_then(|line| std::str::from_utf8(line).ok()).ok_or_else(malformed)?;
            at = at.saturating_add(len).saturating_add(1);
            Ok((text, at))
        };
        if line()?.0 != VERSION {
            return Err(malformed());
        }
        let mut stanzas = Vec::new();
        let mut current: Option<[u8; 32]> = None;
        loop {
            let (text, end) = line()?;
            if let Some(mac) = text.strip_prefix("--- ") {
                let start = end.checked_sub(text.len()).and_then(|start| start.checked_sub(1)).ok_or_else(malformed)?;
                return Ok(Header {
                    stanzas,
                    signed: file.get(..start.saturating_add(3)).ok_or_else(malformed)?,
                    mac: unbase64(mac)?,
                    rest: file.get(end..).unwrap_or_default(),
                });
            }
            if let Some(arguments) = text.strip_prefix("-> ") {
                let share = arguments.strip_prefix("X25519 ").and_then(|share| unbase64(share).ok());
                current = share.and_then(|share| share.try_into().ok());
            } else if let Some(share) = current.take() {
                stanzas.push((share, unbase64(text)?));
            }
        }
    }
}

fn malformed() -> Error {
    Code::EncryptedDataInvalid.because("this is no age file, or it is damaged")
}

fn base64(bytes: &[u8]) -> String {
    Base64Unpadded::encode_string(bytes)
}

fn unbase64(text: &str) -> Result<Vec<u8>> {
    Base64Unpadded::decode_vec(text).map_err(|_| malformed())
}

fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf_expand(Digest::Sha256, &hkdf_extract(Digest::Sha256, salt, secret), info, &mut *key)?;
    Ok(key)
}

fn wrapping_key(agreed: &[u8], share: &[u8; 32], recipient: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>> {
    hkdf(agreed, &[share.as_slice(), recipient].concat(), X25519.as_bytes())
}

fn payload_key(file_key: &[u8; 16], nonce: &[u8; 16]) -> Result<Zeroizing<[u8; 32]>> {
    hkdf(file_key, nonce, b"payload")
}

fn header_mac(file_key: &[u8; 16], header: &[u8]) -> Result<Vec<u8>> {
    Ok(HmacKey::new(Digest::Sha256, &*hkdf(file_key, &[], b"header")?).mac(header).to_vec())
}

/// ChaCha20-Poly1305 (RFC 8439) without additional data.
fn seal(key: &[u8; 32], nonce: &[u8; 12], plain: &[u8]) -> Result<Vec<u8>> {
    let mut sealed = Sealed::new(Family::ChaCha20, key, nonce, &[])?;
    let mut out = vec![0; plain.len()];
    sealed.update(Direction::Encrypt, plain, &mut out)?;
    out.extend(sealed.tag());
    Ok(out)
}

fn open(key: &[u8; 32], nonce: &[u8; 12], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (text, tag) = sealed.split_at_checked(sealed.len().wrapping_sub(TAG)).ok_or_else(malformed)?;
    let mut opened = Sealed::new(Family::ChaCha20, key, nonce, &[])?;
    let mut plain = Zeroizing::new(vec![0; text.len()]);
    opened.update(Direction::Decrypt, text, &mut plain)?;
    opened.check(tag).map_err(|_| malformed())?;
    Ok(plain)
}

/// 32 bytes in Bech32 (BIP 173) under a human-readable part; upper or lower case, not both.
fn bech32_key(prefix: &str, text: &str) -> Option<[u8; 32]> {
    const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    if *lower != text && text.to_ascii_uppercase() != text {
        return None;
    }
    let data = lower.strip_prefix(prefix)?.strip_prefix('1')?;
    let values: Option<Zeroizing<Vec<u8>>> = data
        .bytes()
        .map(|c| CHARSET.iter().position(|known| *known == c)?.try_into().ok())
        .collect::<Option<Vec<u8>>>()
        .map(Zeroizing::new);
    let values = values?;
    let expanded = prefix.bytes().map(|c| c >> 5).chain([0]).chain(prefix.bytes().map(|c| c & 31));
    if polymod(expanded.chain(values.iter().copied())) != 1 {
        return None;
    }
    let (data, _) = values.split_at_checked(values.len().checked_sub(6)?)?;
    let mut key = [0u8; 32];
    let (mut bits, mut have, mut bytes) = (0u32, 0u32, key.iter_mut());
    for value in data {
        bits = (bits << 5) | u32::from(*value);
        have += 5;
        if have >= 8 {
            have -= 8;
            *bytes.next()? = (bits >> have) as u8;
            bits &= (1 << have) - 1;
        }
    }
    // What is left over is padding: short, and zero.
    (bytes.next().is_none() && have < 5 && bits == 0).then_some(key)
}

fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let sum = ((sum & 0x1ff_ffff) << 5) ^ u32::from(value);
        GENERATOR.iter().enumerate().fold(sum, |sum, (bit, g)| if top >> bit & 1 == 1 { sum ^ g } else { sum })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by `age-keygen`.
    const SECRET: &str = "AGE-SECRET-KEY-1MPDP28HVE7KPUNXGGUGUE97HD0QZ25GR2AUKYXTAWKRUYQDMZE6QU5KA5U";
    const PUBLIC: &str = "age1vch25scsudac8tzxn3alqjkf98dr3c35zkdh2x578ysfrq332f9sxc4vra";

    #[test]
    fn keys_are_read_and_mistyped_ones_are_not() {
        let identity = Identity::parse(&format!("# a comment\n{SECRET}\n")).unwrap();
        assert_eq!(Recipient::parse(PUBLIC), Some(Recipient(identity.0.public())));
        for at in 5..PUBLIC.len() {
            let mut wrong = PUBLIC.to_owned();
            let other = if PUBLIC.as_bytes()[at] == b'q' { "p" } else { "q" };
            wrong.replace_range(at..=at, other);
            assert_eq!(Recipient::parse(&wrong), None, "{at}");
        }
        assert!(Recipient::parse("age1").is_none() && Recipient::parse(SECRET).is_none());
    }

    #[test]
    fn what_is_encrypted_opens_for_its_recipient_alone() {
        let (recipient, identity) = (Recipient::parse(PUBLIC).unwrap(), Identity::parse(SECRET).unwrap());
        for plain in [&b""[..], b"a share", &[7; CHUNK]] {
            let file = recipient.encrypt(plain).unwrap();
            assert_eq!(*identity.decrypt(&file).unwrap(), plain);
        }
        let file = recipient.encrypt(b"a share").unwrap();
        for at in 0..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 1;
            assert!(identity.decrypt(&flipped).is_err(), "byte {at}");
            assert!(identity.decrypt(&file[..at]).is_err(), "cut at {at}");
        }
        let other = Identity(PrivateKey::generate().unwrap());
        assert!(other.decrypt(&file).is_err());
        assert_eq!(recipient.encrypt(&[0; CHUNK + 1]).unwrap_err().code(), Code::DataLenRange);
    }
}
