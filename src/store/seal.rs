//! Sealing: AES-256-GCM with a random nonce, and what each sealed part of the file is bound to.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::engine::ObjectRow;
use super::format::{FORMAT, MAGIC};
use crate::error::{Code, Result};
use crate::os;
use crate::secret::Secret;

pub const NONCE: usize = 12;
pub const TAG: usize = 16;
/// What sealing adds to a length.
#[cfg(test)]
pub const OVERHEAD: usize = NONCE + TAG;

pub type Key = Secret<[u8; 32]>;

/// An AES-256-GCM key, scheduled. Output: nonce, ciphertext, tag.
pub struct Sealer(Aes256Gcm);

impl Sealer {
    pub fn new(key: &Key) -> Sealer {
        Sealer(Aes256Gcm::new(key.expose().into()))
    }

    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let nonce = os::random_array::<NONCE>()?;
        // At its final length from the start: growing would leave copies of the plain text behind.
        let mut sealed = Vec::with_capacity(plain.len().saturating_add(NONCE + TAG));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let body = sealed.get_mut(NONCE..).ok_or(Code::GeneralError)?;
        let tag = self
            .0
            .encrypt_inout_detached(&Nonce::from(nonce), aad, body.into())
            .map_err(|_| Code::DataLenRange.because("more than AES-GCM can seal at once"))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// `None`: not sealed under this key and `aad`, or damaged.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (body, tag) = rest.split_last_chunk::<TAG>()?;
        let mut plain = Zeroizing::new(body.to_vec());
        let opened =
            self.0.decrypt_inout_detached(&Nonce::from(*nonce), aad, plain.as_mut_slice().into(), &(*tag).into());
        opened.ok().map(|()| plain)
    }
}

/// The authentication tag at the end of a sealed part; zeros where there is none.
pub fn tag_of(sealed: Option<&[u8]>) -> [u8; TAG] {
    sealed.and_then(|s| s.last_chunk::<TAG>()).copied().unwrap_or_default()
}

/// HKDF-SHA256: extract with `salt` (none: empty), expand with the parts of `info` one after the other.
pub fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> Result<Key> {
    let mut key = Key::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand_multi_info(info, key.expose_mut())
        .map_err(|_| Code::GeneralError.because("HKDF refused 32 bytes"))?;
    Ok(key)
}

/// HMAC-SHA256 over the parts, one after the other.
pub fn hmac(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    // A key of 32 bytes is never refused; `new` of the block-sized key is the infallible form of the same.
    let mut block = Zeroizing::new([0u8; 64]);
    block.iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Which part of an object is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    Attrs = 1,
    Secret = 2,
}

/// Bytes of [`aad`].
pub const AAD: usize = 56;

/// What an object's part is bound to: magic, format, token, key version, id, version, version of the secret, part,
/// private. The secret's version stands in both places for the secret itself, which so outlives changes of attributes.
pub fn aad(uuid: &[u8; 16], row: &ObjectRow, part: Part) -> [u8; AAD] {
    let version = match part {
        Part::Attrs => row.version,
        Part::Secret => row.secret_version,
    };
    let fields: [&[u8]; 9] = [
        MAGIC,
        &FORMAT.to_be_bytes(),
        uuid,
        &row.key_version.to_be_bytes(),
        &row.id.to_be_bytes(),
        &version.to_be_bytes(),
        &row.secret_version.to_be_bytes(),
        &[part as u8],
        &[u8::from(row.private)],
    ];
    let mut bytes = [0; AAD];
    bytes.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_and_any_other_binding_is_refused() {
        let sealer = Sealer::new(&Key::new([7; 32]));
        let sealed = sealer.seal(b"here", b"plain").unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(sealer.open(b"here", &sealed).unwrap().as_slice(), b"plain");
        assert!(sealer.open(b"there", &sealed).is_none());
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open(b"here", &flipped).is_none(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(sealer.open(b"here", &sealed[..len]).is_none());
        }
    }

    #[test]
    fn the_binding_has_its_stated_length_and_separates_every_field() {
        let row = ObjectRow { id: 1, version: 2, key_version: 3, private: false, secret_version: 4, attrs: vec![] };
        let plain = aad(&[9; 16], &row, Part::Attrs);
        assert_eq!(MAGIC.len() + 2 + 16 + 4 + 8 + 8 + 8 + 2, AAD);
        for other in [
            aad(&[8; 16], &row, Part::Attrs),
            aad(&[9; 16], &row, Part::Secret),
            aad(&[9; 16], &ObjectRow { id: 5, ..row.clone() }, Part::Attrs),
            aad(&[9; 16], &ObjectRow { version: 5, ..row.clone() }, Part::Attrs),
            aad(&[9; 16], &ObjectRow { key_version: 5, ..row.clone() }, Part::Attrs),
            aad(&[9; 16], &ObjectRow { secret_version: 5, ..row.clone() }, Part::Attrs),
            aad(&[9; 16], &ObjectRow { private: true, ..row.clone() }, Part::Attrs),
        ] {
            assert_ne!(plain, other);
        }
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        // Test case 1 has a key of 20 bytes; padding with zeros to 32 is the same key to HMAC.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = hmac(&Key::new(key), &[b"Hi ", b"There"]);
        assert_eq!(mac[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
    }
}
