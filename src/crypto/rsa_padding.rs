//! The paddings of RFC 8017, over blocks as long as the modulus. What unpads a decrypted block runs in constant time.

use smallvec::SmallVec;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroize;

use super::digest::{Digest, Hash, Hasher, hash};
use super::hmac::HmacKey;
use super::random;
use crate::error::{Code, Result};

/// The longest modulus, in bytes.
pub const MAX_LEN: usize = 2048;
/// What PKCS #1 v1.5 takes of a block: two marks, eight bytes of padding, a separator.
pub const PKCS1_OVERHEAD: usize = 11;

/// A block as long as a modulus, on the stack, wiped when dropped. Made empty and filled in place: a move would leave a
/// copy behind.
pub struct Block {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Block {
    pub fn new(len: usize) -> Result<Block> {
        if len > MAX_LEN {
            Err(Code::GeneralError)?;
        }
        Ok(Block { bytes: [0; MAX_LEN], len })
    }

    /// `data` as the block's end, zeros before it; `CKR_DATA_LEN_RANGE` where it is longer.
    pub fn end_with(&mut self, data: &[u8]) -> Result<()> {
        let start = self.len.checked_sub(data.len()).ok_or(Code::DataLenRange)?;
        let (zeros, end) = self.bytes_mut().split_at_mut(start);
        zeros.fill(0);
        end.copy_from_slice(data);
        Ok(())
    }

    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
    }
}

/// The DER of `DigestInfo` before the digest itself (RFC 8017, 9.2). `CKR_MECHANISM_PARAM_INVALID` for a digest that
/// signatures have no object identifier of.
pub fn digest_info(digest: Digest) -> Result<SmallVec<[u8; 24]>> {
    const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
    const MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05];
    const RIPEMD160: &[u8] = &[0x2b, 0x24, 0x03, 0x02, 0x01];
    // 2.16.840.1.101.3.4.2, the arc of NIST's hash functions.
    const fn nist(last: u8) -> [u8; 9] {
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last]
    }
    let nist = digest.nist_arc().map(nist);
    let oid = match (&nist, digest) {
        (Some(nist), _) => nist.as_slice(),
        (None, Digest::Sha1) => SHA1,
        (None, Digest::Md5) => MD5,
        (None, Digest::Ripemd160) => RIPEMD160,
        _ => return Err(Code::MechanismParamInvalid.into()),
    };
    // All lengths are below 128: one byte each.
    let (oid_len, hash_len) = (oid.len() as u8, digest.len() as u8);
    let mut out = SmallVec::new();
    out.extend_from_slice(&[0x30, oid_len + 8 + hash_len, 0x30, oid_len + 4, 0x06, oid_len]);
    out.extend_from_slice(oid);
    out.extend_from_slice(&[0x05, 0x00, 0x04, hash_len]);
    Ok(out)
}

/// EMSA-PKCS1-v1_5 over `prefix` and `data`; `CKR_DATA_LEN_RANGE` where both exceed the block less 11 bytes.
pub fn pkcs1_sign(prefix: &[u8], data: &[u8], block: &mut Block) -> Result<()> {
    let text_len = prefix.len().saturating_add(data.len());
    let separator = block.len.checked_sub(text_len).and_then(|left| left.checked_sub(1)).ok_or(Code::DataLenRange)?;
    if separator < PKCS1_OVERHEAD - 1 {
        Err(Code::DataLenRange)?;
    }
    let (padding, text) = block.bytes_mut().split_at_mut(separator + 1);
    padding.fill(0xff);
    if let [zero, mark, .., end] = padding {
        (*zero, *mark, *end) = (0, 1, 0);
    }
    let (to_prefix, to_data) = text.split_at_mut(prefix.len());
    to_prefix.copy_from_slice(prefix);
    to_data.copy_from_slice(data);
    Ok(())
}

/// What a PKCS #1 v1.5 signature block holds; `CKR_SIGNATURE_INVALID`. Nothing here is secret.
pub fn pkcs1_recover(block: &[u8]) -> Result<&[u8]> {
    let rest = block.strip_prefix(&[0, 1]).ok_or(Code::SignatureInvalid)?;
    let separator = rest.iter().position(|&byte| byte != 0xff).ok_or(Code::SignatureInvalid)?;
    let (_, text) = rest.split_at(separator);
    if separator < 8 {
        Err(Code::SignatureInvalid)?;
    }
    Ok(text.strip_prefix(&[0]).ok_or(Code::SignatureInvalid)?)
}

/// EME-PKCS1-v1_5; `CKR_DATA_LEN_RANGE` where `data` exceeds the block less 11 bytes.
pub fn pkcs1_encrypt(data: &[u8], block: &mut Block) -> Result<()> {
    pkcs1_sign(&[], data, block)?;
    let separator = block.len - data.len() - 1;
    let padding = block.bytes_mut().get_mut(1..separator).ok_or(Code::GeneralError)?;
    let Some((mark, padding)) = padding.split_first_mut() else { Err(Code::GeneralError)? };
    *mark = 2;
    random::fill(padding)?;
    for byte in padding {
        while *byte == 0 {
            random::fill(std::slice::from_mut(byte))?;
        }
    }
    Ok(())
}

/// The pseudo-random function of implicit rejection: HMAC-SHA256 in counter mode (draft-irtf-cfrg-rsa-guidance).
fn rejection_prf(key: &HmacKey, label: &[u8], out: &mut [u8]) {
    let bits = (out.len().saturating_mul(8) as u16).to_be_bytes();
    for (counter, chunk) in (0u16..).zip(out.chunks_mut(32)) {
        let mut message = key.start();
        message.update(&counter.to_be_bytes());
        message.update(label);
        message.update(&bits);
        for (to, from) in chunk.iter_mut().zip(key.finish(&mut message).iter()) {
            *to = *from;
        }
    }
}

/// The message to give where the padding is wrong: the same one each time for the same key and ciphertext, and its
/// length. It stands at the end of the block.
fn substitute(key_digest: &[u8], ciphertext: &[u8], block: &mut Block) -> Result<u16> {
    let key = HmacKey::new(Digest::Sha256, &HmacKey::new(Digest::Sha256, key_digest).mac(ciphertext));
    rejection_prf(&key, b"message", block.bytes_mut());
    let mut candidates = [0; 256];
    rejection_prf(&key, b"length", &mut candidates);
    let longest = u16::try_from(block.len.saturating_sub(PKCS1_OVERHEAD)).map_err(|_| Code::GeneralError)?;
    let mask = u16::MAX.checked_shr(longest.leading_zeros()).unwrap_or(0);
    let mut chosen = 0u16;
    for pair in candidates.as_chunks().0 {
        let candidate = u16::from_be_bytes(*pair) & mask;
        chosen.conditional_assign(&candidate, !candidate.ct_gt(&longest));
    }
    candidates.zeroize();
    Ok(chosen)
}

/// Where in a decrypted PKCS #1 v1.5 block the message begins, and whether the padding is right. Constant time.
fn pkcs1_message_start(block: &[u8]) -> (u16, Choice) {
    let mut separator = 0u16;
    let mut found = Choice::from(0);
    let mut right = Choice::from(1);
    for (at, byte) in (0u16..).zip(block) {
        match at {
            0 => right &= byte.ct_eq(&0),
            1 => right &= byte.ct_eq(&2),
            _ => {
                let here = byte.ct_eq(&0) & !found;
                separator.conditional_assign(&at, here);
                found |= here;
            }
        }
    }
    right &= found & separator.ct_gt(&9);
    (separator.wrapping_add(1), right)
}

/// EME-PKCS1-v1_5 decoding with implicit rejection (draft-irtf-cfrg-rsa-guidance): where the padding of `block` is wrong,
/// the result is a message that only the key's holder could tell from a real one, not an error that Bleichenbacher's
/// attack could use. `key_digest` is the SHA-256 of the private exponent, as long as the modulus. Writes the message to
/// `out`, which has room for the block less 11 bytes, and returns its length.
pub fn pkcs1_decrypt(block: &Block, key_digest: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
    let mut message = Block::new(block.len)?;
    let length = substitute(key_digest, ciphertext, &mut message)?;
    let (start, right) = pkcs1_message_start(block.bytes());
    for (to, from) in message.bytes_mut().iter_mut().zip(block.bytes()) {
        to.conditional_assign(from, right);
    }
    let whole = u16::try_from(block.len).map_err(|_| Code::GeneralError)?;
    let start = u16::conditional_select(&whole.wrapping_sub(length), &start, right);
    // From here on it is a message like any other, of a length that the caller learns.
    let message = message.bytes().get(usize::from(start)..).ok_or(Code::GeneralError)?;
    out.get_mut(..message.len()).ok_or(Code::GeneralError)?.copy_from_slice(message);
    Ok(message.len())
}

/// MGF1 (RFC 8017, B.2.1), combined with `out` by exclusive or.
fn mask(digest: Digest, seed: &[u8], out: &mut [u8]) {
    let mut hasher = Hasher::new(digest);
    for (counter, chunk) in (0u32..).zip(out.chunks_mut(digest.len())) {
        hasher.update(seed);
        hasher.update(&counter.to_be_bytes());
        for (to, from) in chunk.iter_mut().zip(hasher.finish().iter()) {
            *to ^= from;
        }
    }
}

/// OAEP's parameters, the label hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct Oaep {
    label: Hash,
    mgf: Digest,
}

impl Oaep {
    pub fn new(hash_with: Digest, mgf: Digest, label: &[u8]) -> Oaep {
        Oaep { label: hash(hash_with, label), mgf }
    }

    /// What OAEP takes of a block, in bytes.
    pub fn overhead(&self) -> usize {
        2 * self.label.len() + 2
    }

    /// EME-OAEP; `CKR_DATA_LEN_RANGE` where `data` exceeds the block less [`Oaep::overhead`].
    pub fn encode(&self, data: &[u8], block: &mut Block) -> Result<()> {
        if data.len() > block.len.checked_sub(self.overhead()).ok_or(Code::KeySizeRange)? {
            Err(Code::DataLenRange)?;
        }
        block.end_with(data)?;
        let (head, masked) = block.bytes_mut().split_at_mut(1 + self.label.len());
        let (_, seed) = head.split_at_mut(1);
        let (label, _) = masked.split_at_mut(self.label.len());
        label.copy_from_slice(&self.label);
        let separator = masked.len() - data.len() - 1;
        if let Some(byte) = masked.get_mut(separator) {
            *byte = 1;
        }
        random::fill(seed)?;
        mask(self.mgf, seed, masked);
        mask(self.mgf, masked, seed);
        Ok(())
    }

    /// EME-OAEP decoding, in constant time: `CKR_ENCRYPTED_DATA_INVALID` says nothing of what was wrong. Writes the
    /// message to `out`, which has room for the block less [`Oaep::overhead`], and returns its length.
    pub fn decode(&self, block: &mut Block, out: &mut [u8]) -> Result<usize> {
        if block.len < self.overhead() {
            Err(Code::KeySizeRange)?;
        }
        let (head, masked) = block.bytes_mut().split_at_mut(1 + self.label.len());
        let (zero, seed) = head.split_at_mut(1);
        mask(self.mgf, masked, seed);
        mask(self.mgf, seed, masked);
        let (label, text) = masked.split_at(self.label.len());
        let mut right = (*zero).ct_eq(&[0]) & label.ct_eq(&self.label);
        let mut found = Choice::from(0);
        let mut separator = 0u16;
        for (at, byte) in (0u16..).zip(text) {
            let here = byte.ct_eq(&1) & !found;
            separator.conditional_assign(&at, here);
            found |= here;
            right &= found | byte.ct_eq(&0);
        }
        if !bool::from(right & found) {
            Err(Code::EncryptedDataInvalid)?;
        }
        let message = text.get(usize::from(separator) + 1..).ok_or(Code::GeneralError)?;
        out.get_mut(..message.len()).ok_or(Code::GeneralError)?.copy_from_slice(message);
        Ok(message.len())
    }
}

/// PSS's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pss {
    pub hash: Digest,
    pub mgf: Digest,
    /// In bytes.
    pub salt_len: usize,
}

impl Pss {
    /// Length in bytes of the encoded message for a modulus of `bits` bits (RFC 8017, 9.1.1).
    fn encoded_len(bits: usize) -> usize {
        bits.saturating_sub(1).div_ceil(8)
    }

    /// Whether a modulus of `bits` bits has room for hash and salt.
    pub fn fits(&self, bits: usize) -> bool {
        self.salt_len.saturating_add(self.hash.len()).saturating_add(2) <= Pss::encoded_len(bits)
    }

    /// H of RFC 8017, 9.1.1, step 6.
    fn tie(&self, digest: &[u8], salt: &[u8]) -> Hash {
        let mut hasher = Hasher::new(self.hash);
        hasher.update(&[0; 8]);
        hasher.update(digest);
        hasher.update(salt);
        hasher.finish()
    }

    /// The bits of the first encoded byte that the modulus has no room for.
    fn top_mask(bits: usize) -> u8 {
        0xffu8.checked_shr((Pss::encoded_len(bits) * 8 - bits.saturating_sub(1)) as u32).unwrap_or(0)
    }

    /// EMSA-PSS into an empty block; `CKR_DATA_LEN_RANGE` where `digest` is not as long as the hash, `CKR_KEY_SIZE_RANGE` where a modulus of
    /// `bits` bits has no room.
    pub fn encode(&self, digest: &[u8], bits: usize, block: &mut Block) -> Result<()> {
        if digest.len() != self.hash.len() {
            Err(Code::DataLenRange)?;
        }
        if !self.fits(bits) {
            Err(Code::KeySizeRange)?;
        }
        let lead = block.len - Pss::encoded_len(bits);
        let (_, encoded) = block.bytes_mut().split_at_mut(lead);
        let (masked, tail) = encoded.split_at_mut(encoded.len() - self.hash.len() - 1);
        let (body, salt) = masked.split_at_mut(masked.len() - self.salt_len);
        random::fill(salt)?;
        let tie = self.tie(digest, salt);
        if let Some(separator) = body.last_mut() {
            *separator = 1;
        }
        mask(self.mgf, &tie, masked);
        if let Some(first) = masked.first_mut() {
            *first &= Pss::top_mask(bits);
        }
        let (to, end) = tail.split_at_mut(self.hash.len());
        to.copy_from_slice(&tie);
        end.fill(0xbc);
        Ok(())
    }

    /// EMSA-PSS verification of a decrypted signature block; `CKR_SIGNATURE_INVALID`, and `CKR_DATA_LEN_RANGE` where
    /// `digest` is not as long as the hash.
    pub fn verify(&self, digest: &[u8], block: &mut Block, bits: usize) -> Result<()> {
        if digest.len() != self.hash.len() {
            Err(Code::DataLenRange)?;
        }
        if !self.fits(bits) {
            Err(Code::KeySizeRange)?;
        }
        let lead = block.len - Pss::encoded_len(bits);
        let (zeros, encoded) = block.bytes_mut().split_at_mut(lead);
        let (masked, tail) = encoded.split_at_mut(encoded.len() - self.hash.len() - 1);
        let (tie, end) = tail.split_at(self.hash.len());
        let first = masked.first().copied().unwrap_or(0);
        let mut right = zeros.iter().all(|&byte| byte == 0) && end == [0xbc] && first & !Pss::top_mask(bits) == 0;
        mask(self.mgf, tie, masked);
        if let Some(first) = masked.first_mut() {
            *first &= Pss::top_mask(bits);
        }
        let (body, salt) = masked.split_at(masked.len() - self.salt_len);
        right &= body.split_last().is_some_and(|(mark, zeros)| *mark == 1 && zeros.iter().all(|&byte| byte == 0));
        right &= *self.tie(digest, salt) == *tie;
        if right { Ok(()) } else { Err(Code::SignatureInvalid)? }
    }
}
