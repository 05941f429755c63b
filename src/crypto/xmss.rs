//! Verification of XMSS and XMSS^MT signatures (RFC 8391; the further parameter sets are those of SP 800-208, section 5). Our
//! own, over the hash functions alone.

use super::hash_trees::{Function, Node, Reader, Running, digits};
use crate::error::{Code, Result};

/// One tree, or trees upon trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Xmss,
    XmssMt,
}

/// A parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    pub scheme: Scheme,
    /// The algorithm OID of RFC 8391 and of IANA's registry.
    pub number: u32,
    function: Function,
    /// Length of a node in bytes.
    n: usize,
    /// Length of the number that keeps the hash functions apart.
    prefix: usize,
    /// Of all trees together.
    height: u32,
    layers: u32,
}

/// XMSS has three heights, XMSS^MT eight pairs of height and number of layers, in this order for each hash function.
const HEIGHTS: [(u32, u32); 3] = [(10, 1), (16, 1), (20, 1)];
const TREES: [(u32, u32); 8] = [(20, 2), (20, 4), (40, 2), (40, 4), (40, 8), (60, 3), (60, 6), (60, 12)];

/// Hash function, n, and length of the prefix; in the order of the numbers.
const FUNCTIONS: [(Function, usize, usize); 7] = [
    (Function::Sha256, 32, 32),
    (Function::Sha512, 64, 64),
    (Function::Shake128, 32, 32),
    (Function::Shake256, 64, 64),
    (Function::Sha256, 24, 4),
    (Function::Shake256, 32, 32),
    (Function::Shake256, 24, 4),
];

impl Set {
    pub fn new(scheme: Scheme, number: u32) -> Option<Set> {
        let shapes: &[(u32, u32)] = match scheme {
            Scheme::Xmss => &HEIGHTS,
            Scheme::XmssMt => &TREES,
        };
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        let (function, n, prefix) = *FUNCTIONS.get(at / shapes.len())?;
        let (height, layers) = *shapes.get(at % shapes.len())?;
        Some(Set { scheme, number, function, n, prefix, height, layers })
    }

    /// Length of a public key in bytes, its number included.
    pub const fn public_len(self) -> usize {
        4 + 2 * self.n
    }

    /// Digits of a hash, and with their checksum (w = 16).
    const fn chains(self) -> (usize, usize) {
        (2 * self.n, 2 * self.n + 3)
    }

    const fn index_len(self) -> usize {
        match self.scheme {
            Scheme::Xmss => 4,
            Scheme::XmssMt => self.height.div_ceil(8) as usize,
        }
    }

    pub const fn signature_len(self) -> usize {
        let nodes = 1 + self.layers as usize * self.chains().1 + self.height as usize;
        self.index_len() + nodes * self.n
    }

    /// The hash of this use: 0 is F, 1 is H, 2 is H_msg, 3 is PRF.
    fn start(self, what: u8) -> Running {
        let mut number = [0; 64];
        if let Some(last) = number.get_mut(self.prefix - 1) {
            *last = what;
        }
        let mut running = self.function.start();
        running.update(number.get(..self.prefix).unwrap_or_default());
        running
    }

    fn hash(self, what: u8, parts: &[&[u8]]) -> Node {
        let mut running = self.start(what);
        parts.iter().for_each(|part| running.update(part));
        running.finish(self.n)
    }
}

/// Where in the trees a hash is made (RFC 8391, 2.5): ADRS.
#[derive(Clone, Copy, Default)]
struct Address {
    layer: u32,
    tree: u64,
    ty: u32,
    /// The words between the type and keyAndMask.
    words: [u32; 3],
}

const ONE_TIME: u32 = 0;
const L_TREE: u32 = 1;
const HASH_TREE: u32 = 2;

impl Address {
    /// What the PRF makes of it.
    fn prf(self, key: &Key, key_and_mask: u32) -> Node {
        let [one, two, three] = self.words;
        let (high, low) = ((self.tree >> 32) as u32, self.tree as u32);
        let mut bytes = [0; 32];
        let words = [self.layer, high, low, self.ty, one, two, three, key_and_mask];
        bytes.chunks_exact_mut(4).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_be_bytes()));
        key.set.hash(3, &[key.seed.bytes(), &bytes])
    }

    /// RAND_HASH.
    fn join(self, key: &Key, left: &Node, right: &Node) -> Node {
        let (own, left, right) = (self.prf(key, 0), left.xor(&self.prf(key, 1)), right.xor(&self.prf(key, 2)));
        key.set.hash(1, &[own.bytes(), left.bytes(), right.bytes()])
    }
}

struct Key {
    set: Set,
    root: Node,
    seed: Node,
}

/// A public key.
pub struct PublicKey(Key);

impl PublicKey {
    /// From its number, the root and the public seed. `CKR_ATTRIBUTE_VALUE_INVALID`; `CKR_PARAMETER_SET_NOT_SUPPORTED` for a
    /// number of no set.
    pub fn new(scheme: Scheme, encoded: &[u8]) -> Result<PublicKey> {
        let mut reader = Reader(encoded);
        let number = reader.u32().ok_or(Code::AttributeValueInvalid)?;
        let set = Set::new(scheme, number).ok_or(Code::ParameterSetNotSupported)?;
        match (reader.node(set.n), reader.node(set.n)) {
            (Some(root), Some(seed)) if reader.finished() => Ok(PublicKey(Key { set, root, seed })),
            _ => Err(Code::AttributeValueInvalid.because("the public key's length is not that of its parameter set")),
        }
    }

    pub fn set(&self) -> Set {
        self.0.set
    }

    /// `CKR_SIGNATURE_INVALID`, `CKR_SIGNATURE_LEN_RANGE`.
    pub fn verify(&self, message: &[&[u8]], signature: &[u8]) -> Result<()> {
        if signature.len() != self.0.set.signature_len() {
            Err(Code::SignatureLenRange)?;
        }
        match self.0.root_of(message, &mut Reader(signature)) {
            Some(root) if root == self.0.root => Ok(()),
            _ => Err(Code::SignatureInvalid.into()),
        }
    }
}

impl Key {
    /// The root that a signature leads to. (RFC 8391, 4.1.10 and 4.2.5; XMSS is the case of one layer.)
    fn root_of(&self, message: &[&[u8]], signature: &mut Reader<'_>) -> Option<Node> {
        let set = self.set;
        let index = signature.number(set.index_len()).filter(|index| index >> set.height == 0)?;
        let randomizer = signature.node(set.n)?;
        let mut running = set.start(2);
        running.update(randomizer.bytes());
        running.update(self.root.bytes());
        let mut number = [0; 64];
        number.get_mut(set.n - 8..set.n)?.copy_from_slice(&index.to_be_bytes());
        running.update(number.get(..set.n)?);
        message.iter().for_each(|part| running.update(part));
        let mut node = running.finish(set.n);
        let height = set.height / set.layers;
        let mut tree = index;
        for layer in 0..set.layers {
            let leaf = (tree & ((1 << height) - 1)) as u32;
            tree >>= height;
            let address = Address { layer, tree, ..Address::default() };
            node = self.tree_root(address, leaf, height, &node, signature)?;
        }
        signature.finished().then_some(node)
    }

    /// XMSS_rootFromSig.
    fn tree_root(&self, at: Address, leaf: u32, height: u32, hash: &Node, signature: &mut Reader<'_>) -> Option<Node> {
        let starts = signature.nodes(self.set.chains().1, self.set.n)?;
        let ends = self.one_time_public(Address { ty: ONE_TIME, words: [leaf, 0, 0], ..at }, hash, &starts);
        let mut node = self.l_tree(Address { ty: L_TREE, words: [leaf, 0, 0], ..at }, ends)?;
        let mut number = leaf;
        for (up, other) in (0..height).zip(signature.nodes(height as usize, self.set.n)?) {
            let (left, right) = if number & 1 == 0 { (node, other) } else { (other, node) };
            number /= 2;
            node = Address { ty: HASH_TREE, words: [0, up, number], ..at }.join(self, &left, &right);
        }
        Some(node)
    }

    /// WOTS_pkFromSig: the ends of the chains.
    fn one_time_public(&self, at: Address, hash: &Node, starts: &[Node]) -> Vec<Node> {
        let sum: u32 = digits(hash.bytes(), 4).map(|digit| 15 - digit).sum();
        let checksum = ((sum << 4) as u16).to_be_bytes();
        let steps = digits(hash.bytes(), 4).chain(digits(&checksum, 4).take(3));
        let [leaf, ..] = at.words;
        let chains = steps.zip(starts).zip(0u32..);
        let end = |((from, start), chain): ((u32, &Node), u32)| {
            (from..15).fold(*start, |node, step| {
                let place = Address { words: [leaf, chain, step], ..at };
                let (own, mask) = (place.prf(self, 0), place.prf(self, 1));
                self.set.hash(0, &[own.bytes(), node.xor(&mask).bytes()])
            })
        };
        chains.map(end).collect()
    }

    /// The root over the ends of the chains; where a layer is odd the last one goes up as it is.
    fn l_tree(&self, at: Address, mut layer: Vec<Node>) -> Option<Node> {
        let [leaf, ..] = at.words;
        for height in 0.. {
            if layer.len() <= 1 {
                break;
            }
            let join = |(pair, number): (&[Node], u32)| match pair {
                [left, right] => Some(Address { words: [leaf, height, number], ..at }.join(self, left, right)),
                alone => alone.first().copied(),
            };
            layer = layer.chunks(2).zip(0u32..).filter_map(join).collect();
        }
        layer.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_have_the_numbers_and_lengths_of_the_standards() {
        // RFC 8391, 5.3 and 5.4, and SP 800-208, tables 10 to 17: n, height, layers, length of a signature.
        let xmss = [(1, 32, 10, 2500), (3, 32, 20, 2820), (4, 64, 10, 9092), (12, 64, 20, 9732), (13, 24, 10, 1492)];
        for (number, n, height, len) in xmss.into_iter().chain([(18, 32, 20, 2820), (21, 24, 20, 1732)]) {
            let set = Set::new(Scheme::Xmss, number).unwrap();
            assert_eq!((set.n, set.height, set.signature_len()), (n, height, len), "{number}");
        }
        let trees = [(1, 32, 20, 2, 4963), (8, 32, 60, 12, 27688), (32, 64, 60, 12, 104_520), (33, 24, 20, 2, 2955)];
        for (number, n, height, layers, len) in trees {
            let set = Set::new(Scheme::XmssMt, number).unwrap();
            assert_eq!((set.n, set.height, set.layers, set.signature_len()), (n, height, layers, len), "{number}");
        }
        for (scheme, number) in [(Scheme::Xmss, 0), (Scheme::Xmss, 22), (Scheme::XmssMt, 0), (Scheme::XmssMt, 57)] {
            assert!(Set::new(scheme, number).is_none());
        }
    }
}
