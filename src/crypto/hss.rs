//! HSS: LMS trees that sign the roots of further trees (RFC 8554, section 6; SP 800-208).
//!
//! A private key is its state. [`PrivateKey::spend`] takes the next one-time key and gives the state that must be kept before
//! the signature may leave; the one-time key then signs a single message, which its type ensures.

use zeroize::Zeroizing;

use super::hash_trees::Reader;
use super::lms::{self, Kind, Tree};
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// RFC 8554, section 6: L is at most 8.
pub const MAX_LEVELS: usize = 8;

/// The form of an encoded private key.
const VERSION: u32 = 1;

/// The public key: of the top tree, and how many levels stand under it.
pub struct PublicKey {
    levels: usize,
    top: lms::PublicKey,
}

impl PublicKey {
    /// From its XDR form. `CKR_ATTRIBUTE_VALUE_INVALID`.
    pub fn new(encoded: &[u8]) -> Result<PublicKey> {
        let mut reader = Reader(encoded);
        let levels = reader.u32().and_then(|levels| usize::try_from(levels).ok());
        let levels = levels.filter(|levels| (1..=MAX_LEVELS).contains(levels));
        let top = lms::PublicKey::read(&mut reader).filter(|_| reader.finished());
        match (levels, top) {
            (Some(levels), Some(top)) => Ok(PublicKey { levels, top }),
            _ => Err(Code::AttributeValueInvalid.because("no HSS public key of RFC 8554 or SP 800-208")),
        }
    }

    pub fn levels(&self) -> usize {
        self.levels
    }

    /// The sets of the top tree.
    pub fn kind(&self) -> Kind {
        self.top.kind()
    }

    /// `CKR_SIGNATURE_INVALID`, or `CKR_SIGNATURE_LEN_RANGE` where it ends too early or too late.
    pub fn verify(&self, message: &[&[u8]], signature: &[u8]) -> Result<()> {
        let mut reader = Reader(signature);
        let signed = reader.u32().ok_or(Code::SignatureLenRange)?;
        if usize::try_from(signed) != Ok(self.levels - 1) {
            Err(Code::SignatureInvalid)?;
        }
        let mut key = self.top.clone();
        for _ in 0..signed {
            let mut parts = Reader(reader.0);
            let of_key = parts.take(key.kind().signature_len()).ok_or(Code::SignatureLenRange)?;
            let next = lms::PublicKey::read(&mut Reader(parts.0)).ok_or(Code::SignatureInvalid)?;
            let encoded = parts.take(next.kind().public_len()).ok_or(Code::SignatureInvalid)?;
            check(&key, &[encoded], of_key)?;
            (key, reader) = (next, parts);
        }
        let rest = reader.0;
        if rest.len() != key.kind().signature_len() {
            Err(Code::SignatureLenRange)?;
        }
        check(&key, message, rest)
    }
}

fn check(key: &lms::PublicKey, message: &[&[u8]], signature: &[u8]) -> Result<()> {
    match key.verify(message, &mut Reader(signature)) {
        Some(true) => Ok(()),
        _ => Err(Code::SignatureInvalid.into()),
    }
}

/// A private key in a state.
pub struct PrivateKey {
    /// From the top down; at least one.
    trees: Vec<Tree>,
    /// The signature of each further tree's public key by the tree above.
    signed: Vec<Vec<u8>>,
}

impl PrivateKey {
    /// With a level for each kind, the top first. `CKR_ATTRIBUTE_VALUE_INVALID` for no or too many levels, or trees too tall to
    /// make.
    pub fn generate(kinds: &[Kind]) -> Result<PrivateKey> {
        if !(1..=MAX_LEVELS).contains(&kinds.len()) {
            Err(Code::AttributeValueInvalid.because("HSS has 1 to 8 levels"))?;
        }
        let trees = kinds.iter().map(|kind| Tree::generate(*kind)).collect::<Result<Vec<_>>>()?;
        let mut key = PrivateKey { trees, signed: Vec::new() };
        key.sign_below(0)?;
        Ok(key)
    }

    /// Has each tree from `top` on sign the one below it, with a fresh leaf.
    fn sign_below(&mut self, top: usize) -> Result<()> {
        self.signed.truncate(top);
        for at in top..self.trees.len() - 1 {
            let below = self.trees.get(at + 1).ok_or(Code::GeneralError)?.public()?.encode();
            let tree = self.trees.get_mut(at).filter(|tree| tree.left() > 0).ok_or(Code::KeyExhausted)?;
            tree.take();
            self.signed.push(tree.sign(&[&below])?);
        }
        Ok(())
    }

    pub fn public(&self) -> Result<Vec<u8>> {
        let top = self.trees.first().ok_or(Code::GeneralError)?.public()?.encode();
        Ok([&(self.trees.len() as u32).to_be_bytes()[..], &top].concat())
    }

    /// How many messages can still be signed.
    pub fn remaining(&self) -> u64 {
        let left = |(below, left): (u64, u64), tree: &Tree| {
            (below.saturating_mul(tree.kind().leaves()), left.saturating_add(below.saturating_mul(tree.left())))
        };
        self.trees.iter().rev().fold((1, 0), left).1
    }

    pub fn signature_len(&self) -> usize {
        let below = self.trees.iter().skip(1).map(|tree| tree.kind().public_len());
        4 + below.sum::<usize>() + self.trees.iter().map(|tree| tree.kind().signature_len()).sum::<usize>()
    }

    /// Takes the next one-time key. The key as it then is, which must be kept before [`OneTime::sign`] is called, is the one
    /// inside. `CKR_KEY_EXHAUSTED`.
    pub fn spend(mut self) -> Result<OneTime> {
        if !self.trees.last_mut().ok_or(Code::GeneralError)?.take() {
            // A tree above with a leaf left signs new trees in place of those below it.
            let above = self.trees.iter().rposition(|tree| tree.left() > 0).ok_or(Code::KeyExhausted)?;
            for tree in self.trees.iter_mut().skip(above + 1) {
                *tree = Tree::generate(tree.kind())?;
            }
            self.sign_below(above)?;
            self.trees.last_mut().ok_or(Code::GeneralError)?.take();
        }
        Ok(OneTime { key: self })
    }

    /// All of it, for [`PrivateKey::decode`].
    pub fn encode(&self) -> SecretBytes {
        let trees = self.trees.iter().map(|tree| Tree::written_len(tree.kind()));
        let len = 8 + trees.sum::<usize>() + self.signed.iter().map(Vec::len).sum::<usize>();
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.extend(VERSION.to_be_bytes());
        out.extend((self.trees.len() as u32).to_be_bytes());
        self.trees.iter().for_each(|tree| tree.write(&mut out));
        self.signed.iter().for_each(|signature| out.extend(signature));
        SecretBytes::new(std::mem::take(&mut out))
    }

    /// `CKR_DEVICE_ERROR` for what [`PrivateKey::encode`] has not made.
    pub fn decode(encoded: &[u8]) -> Result<PrivateKey> {
        let damaged = || Code::DeviceError.because("the state of an HSS key is damaged");
        Self::read(encoded).ok_or_else(damaged)
    }

    fn read(encoded: &[u8]) -> Option<PrivateKey> {
        let mut reader = Reader(encoded);
        let (VERSION, levels) = (reader.u32()?, reader.u32()? as usize) else { return None };
        if !(1..=MAX_LEVELS).contains(&levels) {
            return None;
        }
        let trees: Vec<Tree> = (0..levels).map(|_| Tree::read(&mut reader)).collect::<Option<_>>()?;
        let above = trees.iter().take(levels - 1).map(|tree| tree.kind().signature_len());
        let signed = above.map(|len| reader.take(len).map(<[u8]>::to_vec)).collect::<Option<_>>()?;
        reader.finished().then_some(PrivateKey { trees, signed })
    }
}

/// A one-time key, taken from its private key: it signs once.
pub struct OneTime {
    key: PrivateKey,
}

impl OneTime {
    /// The private key without this one-time key: its state from now on.
    pub fn state(&self) -> &PrivateKey {
        &self.key
    }

    /// The whole signature.
    pub fn sign(self, message: &[u8]) -> Result<Vec<u8>> {
        let PrivateKey { trees, signed } = &self.key;
        let mut out = Vec::with_capacity(self.key.signature_len());
        out.extend((signed.len() as u32).to_be_bytes());
        for (signature, tree) in signed.iter().zip(trees.iter().skip(1)) {
            out.extend(signature);
            out.extend(tree.public()?.encode());
        }
        out.extend(trees.last().ok_or(Code::GeneralError)?.sign(&[message])?);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn kinds(sets: &[(u32, u32)]) -> Vec<Kind> {
        sets.iter().map(|(tree, one_time)| Kind::new(*tree, *one_time).unwrap()).collect()
    }

    /// Two levels of 32 leaves: all 1024 signatures use different leaves, some are verified, and then the key is used up.
    #[test]
    fn every_leaf_serves_once() {
        let kinds = kinds(&[(5, 2), (5, 2)]);
        let mut key = PrivateKey::generate(&kinds).unwrap();
        let public = PublicKey::new(&key.public().unwrap()).unwrap();
        let mut seen = HashSet::new();
        // The trees are not made anew by the hundreds here: their leaves are skipped.
        for round in 0..3u64 {
            for leaf in 0..32u64 {
                assert_eq!(key.remaining(), 1024 - round * 32 - leaf);
                let next = key.spend().unwrap();
                key = PrivateKey::decode(next.state().encode().expose()).unwrap();
                if leaf % 31 == 0 {
                    let message = [round as u8, leaf as u8];
                    let signature = next.sign(&message).unwrap();
                    assert_eq!(signature.len(), key.signature_len());
                    public.verify(&[&message], &signature).unwrap();
                    assert_eq!(public.verify(&[b"other"], &signature).unwrap_err().code(), Code::SignatureInvalid);
                    // The lower tree's identifier and the leaf.
                    let lower = signature[4 + kinds[0].signature_len() + 8..][..16].to_vec();
                    assert!(seen.insert((lower, leaf)));
                }
            }
        }
        assert_eq!(seen.iter().map(|(tree, _)| tree).collect::<HashSet<_>>().len(), 3);
        key.trees[0].used = 32;
        key.trees[1].used = 31;
        let last = key.spend().unwrap();
        assert_eq!(last.state().remaining(), 0);
        let key = PrivateKey::decode(last.state().encode().expose()).unwrap();
        assert_eq!(key.spend().err().map(|e| e.code()), Some(Code::KeyExhausted));
    }

    #[test]
    fn every_family_of_parameter_sets_signs() {
        for sets in [&[(10, 8)][..], &[(15, 11)], &[(20, 15)], &[(5, 3), (20, 14), (10, 7)], &[(6, 1)]] {
            let kinds = kinds(sets);
            let one = PrivateKey::generate(&kinds).unwrap().spend().unwrap();
            let public = PublicKey::new(&one.state().public().unwrap()).unwrap();
            assert_eq!((public.levels(), public.kind()), (kinds.len(), kinds[0]));
            let signature = one.sign(b"message").unwrap();
            public.verify(&[b"mess", b"age"], &signature).unwrap();
            let cut = public.verify(&[b"message"], &signature[..signature.len() - 1]);
            assert_eq!(cut.unwrap_err().code(), Code::SignatureLenRange);
            for at in (0..signature.len()).step_by(signature.len() / 40) {
                let mut bad = signature.clone();
                bad[at] ^= 1;
                assert!(public.verify(&[b"message"], &bad).is_err(), "{sets:?} byte {at}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let code = |encoded: &[u8]| PublicKey::new(encoded).err().map(|e| e.code());
        let key = PrivateKey::generate(&kinds(&[(5, 4)])).unwrap();
        let good = key.public().unwrap();
        assert_eq!(code(&good), None);
        for (at, byte) in [(3, 0), (3, 9), (7, 4), (11, 5), (11, 17)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(code(&bad), Some(Code::AttributeValueInvalid), "byte {at}");
        }
        assert_eq!(code(&good[..good.len() - 1]), Some(Code::AttributeValueInvalid));
        assert_eq!(code(&[&good[..], &[0]].concat()), Some(Code::AttributeValueInvalid));
        assert!(PrivateKey::generate(&kinds(&[(8, 4)])).is_err(), "a tree of height 20");
        assert!(PrivateKey::generate(&[]).is_err() && PrivateKey::decode(&[]).is_err());
    }
}
