//! ECDSA's nonces from the key and the message instead of chance (RFC 6979, 3.2; FIPS 186-5, A.3.3). A nonce, or how many leading
//! zeros it has, is as good as the key: all is in constant time, and wiped. (The crate `rfc6979` frees its numbers as they are.)

use super::digest::{Digest, Hash};
use super::hmac::HmacKey;
use crate::secret::SecretBytes;

/// How many bits a number has that begins with a byte other than zero.
fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    number.len().saturating_mul(8).saturating_sub(zeros as usize)
}

/// The leftmost bits of `bytes`, as many as `order` has, as a number of that length (RFC 6979, 2.3.2). In place of `out`, which is
/// as long as the order.
pub(super) fn leftmost(bytes: &[u8], order_bits: usize, out: &mut [u8]) {
    let taken = bytes.get(..out.len()).unwrap_or(bytes);
    let (zeros, rest) = out.split_at_mut(out.len().saturating_sub(taken.len()));
    zeros.fill(0);
    let surplus = taken.len().saturating_mul(8).saturating_sub(order_bits);
    let mut before = 0u8;
    for (to, from) in rest.iter_mut().zip(taken) {
        *to = (u16::from_be_bytes([before, *from]) >> surplus) as u8;
        before = *from;
    }
}

/// The first number less the second, modulo their equal length, and whether it is negative.
fn difference(one: &[u8], other: &[u8]) -> (SecretBytes, bool) {
    let mut out = SecretBytes::copy_from(one);
    let mut borrow = 0u16;
    for (to, from) in out.expose_mut().iter_mut().zip(other).rev() {
        let [high, low] = u16::from(*to).wrapping_sub(u16::from(*from)).wrapping_sub(borrow).to_be_bytes();
        (*to, borrow) = (low, u16::from(high & 1));
    }
    (out, borrow == 1)
}

/// What ECDSA signs of a hash: its leftmost bits modulo the order, and as long as that (RFC 6979, 2.3.4).
pub(super) fn reduced(hash: &[u8], order: &[u8]) -> Vec<u8> {
    let mut out = vec![0; order.len()];
    leftmost(hash, bits(order), &mut out);
    match difference(&out, order) {
        (_, true) => out,
        (less, false) => less.expose().clone(),
    }
}

/// The nonces of one key and one message: the first one, unless it gives no signature.
pub(super) struct Nonces<'a> {
    order: &'a [u8],
    key: HmacKey,
    value: Hash,
}

impl Nonces<'_> {
    /// `order` has no leading zero bytes; `scalar` and `hashed` (see [`reduced`]) are as long.
    pub fn new<'a>(digest: Digest, order: &'a [u8], scalar: &[u8], hashed: &[u8]) -> Nonces<'a> {
        let key = HmacKey::new(digest, &Hash::filled(digest, 0));
        let mut nonces = Nonces { order, key, value: Hash::filled(digest, 1) };
        nonces.stir(&[&[0], scalar, hashed]);
        nonces.stir(&[&[1], scalar, hashed]);
        nonces
    }

    /// A new key from the value and `parts`, and a new value under it.
    fn stir(&mut self, parts: &[&[u8]]) {
        let mut message = self.key.start();
        message.update(&self.value);
        parts.iter().for_each(|part| message.update(part));
        self.key = HmacKey::new(self.key.digest(), &self.key.finish(&mut message));
        self.value = self.key.mac(&self.value);
    }

    /// The next, above zero and below the order; as long as the order.
    pub fn next(&mut self) -> SecretBytes {
        let (mut drawn, mut nonce) = (SecretBytes::zeroed(self.order.len()), SecretBytes::zeroed(self.order.len()));
        loop {
            for chunk in drawn.expose_mut().chunks_mut(self.key.digest().len()) {
                self.value = self.key.mac(&self.value);
                chunk.iter_mut().zip(self.value.iter()).for_each(|(to, from)| *to = *from);
            }
            leftmost(drawn.expose(), bits(self.order), nonce.expose_mut());
            let zero = nonce.expose().iter().fold(0, |seen, byte| seen | byte) == 0;
            // That one is thrown away says nothing of the next.
            self.stir(&[&[0]]);
            if !zero & difference(nonce.expose(), self.order).1 {
                return nonce;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::hash;

    /// RFC 6979, A.1: the order of K-163, whose 163 bits fill no bytes, and a first candidate that is too large.
    #[test]
    fn the_detailed_example() {
        let hex = |text: &str| hex::decode(text).unwrap();
        let order = hex("04000000000000000000020108a2e0cc0d99f8a5ef");
        let scalar = hex("009a4d6792295a7f730fc3f2b49cbc0f62e862272f");
        let hashed = reduced(&hash(Digest::Sha256, b"sample"), &order);
        assert_eq!(hashed, hex("01795edf0d54db760f156d0dac04c0322b3a204224"));
        let mut nonces = Nonces::new(Digest::Sha256, &order, &scalar, &hashed);
        let first = nonces.next();
        assert_eq!(*first.expose(), hex("023af4074c90a02b3fe61d286d5c87f425e6bdd81b"));
        assert!(nonces.next() != first);
    }

    #[test]
    fn a_short_hash_keeps_its_bits_and_of_a_long_one_the_first_count() {
        for (bits, expected) in
            [(&[][..], 0), (&[3], 0), (&[0x30], 3), (&[0xb0], 0), (&[0xaf, 0xff], 10), (&[0xf1, 0xff], 4)]
        {
            assert_eq!(reduced(bits, &[0x0b]), [expected], "{bits:02x?}");
        }
        for (bits, expected) in [(&[0x42][..], [0, 0x42]), (&[0x42, 0x43], [0, 0x84]), (&[0xff, 0xff, 1], [0, 0xff])] {
            assert_eq!(reduced(bits, &[1, 0]), expected, "{bits:02x?}");
        }
    }
}
