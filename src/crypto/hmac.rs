//! HMAC (FIPS 198-1) over any [`Digest`], keyed once: each message starts from clones of the two keyed states.

use zeroize::Zeroizing;

use super::digest::{Digest, Hash, Hasher, MAX_BLOCK_LEN, hash};

/// A key's two states, ready to be cloned. The states are wiped on drop.
pub struct HmacKey {
    inner: Hasher,
    outer: Hasher,
}

impl HmacKey {
    /// A key of any length, the empty one too.
    pub fn new(digest: Digest, key: &[u8]) -> HmacKey {
        let long = (key.len() > digest.block_len()).then(|| hash(digest, key));
        let key = long.as_deref().unwrap_or(key);
        HmacKey { inner: keyed(digest, key, 0x36), outer: keyed(digest, key, 0x5c) }
    }

    pub fn digest(&self) -> Digest {
        self.inner.digest()
    }

    /// A new message.
    pub fn start(&self) -> Hasher {
        self.inner.clone()
    }

    /// The MAC of the message that went into `message`, which [`HmacKey::start`] gave; that then starts the next message.
    pub fn finish(&self, message: &mut Hasher) -> Hash {
        let inner = message.finish();
        *message = self.inner.clone();
        let mut outer = self.outer.clone();
        outer.update(&inner);
        outer.finish()
    }

    /// The MAC of `data`.
    pub fn mac(&self, data: &[u8]) -> Hash {
        let mut message = self.start();
        message.update(data);
        self.finish(&mut message)
    }
}

fn keyed(digest: Digest, key: &[u8], pad: u8) -> Hasher {
    let mut block = Zeroizing::new([pad; MAX_BLOCK_LEN]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    let mut hasher = Hasher::new(digest);
    hasher.update(block.get(..digest.block_len()).unwrap_or_default());
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, case 2: "Jefe".
    #[test]
    fn known_answer() {
        let mac = HmacKey::new(Digest::Sha256, b"Jefe").mac(b"what do ya want for nothing?");
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn agrees_with_another_implementation_at_every_key_length() {
        use hmac::{KeyInit, Mac};
        let data = [0xa5; 333];
        for len in 0..200usize {
            let key: Vec<u8> = (0..len).map(|i| i as u8).collect();
            macro_rules! same {
                ($($digest:ident $ty:ty),*) => {$(
                    let mut other = hmac::SimpleHmac::<$ty>::new_from_slice(&key).unwrap();
                    other.update(&data);
                    let ours = HmacKey::new(Digest::$digest, &key);
                    assert_eq!(ours.mac(&data)[..], other.finalize().into_bytes()[..], "{:?} {len}", Digest::$digest);
                )*};
            }
            same!(Sha1 sha1::Sha1, Sha256 sha2::Sha256, Sha384 sha2::Sha384, Sha512_224 sha2::Sha512_224,
                Sha3_224 sha3::Sha3_224, Sha3_512 sha3::Sha3_512);
        }
    }

    #[test]
    fn a_finished_message_starts_the_next() {
        let key = HmacKey::new(Digest::Sha512, b"key");
        let mut message = key.start();
        message.update(b"one");
        assert!(key.finish(&mut message) == key.mac(b"one"));
        message.update(b"two");
        assert!(key.finish(&mut message) == key.mac(b"two"));
    }
}
