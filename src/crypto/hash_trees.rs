//! What the stateful hash-based schemes (LMS, XMSS) share: their hash functions, the nodes of their trees, and the reading of
//! signatures. RustCrypto stands behind the hashes.

use ::shake::{ExtendableOutput, Shake128, Shake256, XofReader};
use sha2::digest::{FixedOutput, Update};
use zeroize::Zeroize;

/// The longest node, in bytes (XMSS with SHA-512).
pub(super) const MAX_NODE: usize = 64;

/// A hash value of the scheme's own length, in memory: no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(super) struct Node {
    bytes: [u8; MAX_NODE],
    len: usize,
}

impl Node {
    /// `None` beyond [`MAX_NODE`] bytes.
    pub fn new(from: &[u8]) -> Option<Node> {
        let mut bytes = [0; MAX_NODE];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Node { bytes, len: from.len() })
    }

    /// The leading `len` bytes of a hash.
    fn leading(from: &[u8], len: usize) -> Node {
        let mut node = Node { bytes: [0; MAX_NODE], len: len.min(from.len()).min(MAX_NODE) };
        node.bytes.iter_mut().zip(from.iter().take(node.len)).for_each(|(to, from)| *to = *from);
        node
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Exclusive or, over the shorter one's length.
    pub fn xor(mut self, mask: &Node) -> Node {
        self.bytes.iter_mut().zip(mask.bytes()).for_each(|(to, mask)| *to ^= mask);
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Sha256,
    Sha512,
    Shake128,
    Shake256,
}

/// A running hash.
pub(super) enum Running {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Shake128(Shake128),
    Shake256(Shake256),
}

impl Function {
    pub fn start(self) -> Running {
        match self {
            Function::Sha256 => Running::Sha256(sha2::Sha256::default()),
            Function::Sha512 => Running::Sha512(sha2::Sha512::default()),
            Function::Shake128 => Running::Shake128(Shake128::default()),
            Function::Shake256 => Running::Shake256(Shake256::default()),
        }
    }
}

impl Running {
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Running::Sha256(state) => state.update(data),
            Running::Sha512(state) => state.update(data),
            Running::Shake128(state) => state.update(data),
            Running::Shake256(state) => state.update(data),
        }
    }

    pub fn finish(self, len: usize) -> Node {
        let mut out = [0; MAX_NODE];
        match self {
            Running::Sha256(state) => return Node::leading(&state.finalize_fixed(), len),
            Running::Sha512(state) => return Node::leading(&state.finalize_fixed(), len),
            Running::Shake128(state) => state.finalize_xof().read(&mut out),
            Running::Shake256(state) => state.finalize_xof().read(&mut out),
        }
        Node::leading(&out, len)
    }
}

/// The digits of `bytes` to the base 2^`w`, the most significant first; `w` is 1, 2, 4 or 8.
pub(super) fn digits(bytes: &[u8], w: u32) -> impl Iterator<Item = u32> + '_ {
    let mask = (1u32 << w) - 1;
    bytes.iter().flat_map(move |byte| (0..8 / w).rev().map(move |at| u32::from(*byte) >> (at * w) & mask))
}

/// Takes a signature or a key apart from the front. `None`: it is too short.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn node(&mut self, len: usize) -> Option<Node> {
        Node::new(self.take(len)?)
    }

    /// `count` nodes of `len` bytes.
    pub fn nodes(&mut self, count: usize, len: usize) -> Option<Vec<Node>> {
        (0..count).map(|_| self.node(len)).collect()
    }

    /// A number of `len` bytes (at most 8), most significant first.
    pub fn number(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    pub fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.number(4)?).ok()
    }

    pub fn finished(&self) -> bool {
        self.0.is_empty()
    }
}
