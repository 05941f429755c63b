//! LM-OTS one-time signatures and LMS trees over them (RFC 8554, sections 4 and 5; the further parameter sets are those of
//! SP 800-208, section 4). [`super::hss`] stacks the trees.
//!
//! Our own, over the hash functions alone: of the crates one lets go of no state of its own before it has signed, the other
//! makes no tree of trees.

use zeroize::{Zeroize, Zeroizing};

use super::hash_trees::{Function, Node, Reader, digits};
use super::random;
use crate::error::{Code, Result};

const D_PUBLIC: [u8; 2] = [0x80, 0x80];
const D_MESSAGE: [u8; 2] = [0x81, 0x81];
const D_LEAF: [u8; 2] = [0x82, 0x82];
const D_INNER: [u8; 2] = [0x83, 0x83];

/// A tree's identifier I.
pub(super) const ID_LEN: usize = 16;

/// A tree keeps the roots of its subtrees of this height; what is below them is made anew for each signature, some tens of
/// milliseconds of work at most.
const SUBTREE: u32 = 5;

/// The tallest tree that is generated: 15 takes seconds, 20 a quarter of an hour (several levels reach as far).
const MAX_GENERATED: u32 = 15;

/// An LMS parameter set with an LM-OTS one of the same hash function and length, as SP 800-208 has them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Number of the LMS parameter set (`lms_algorithm_type`).
    pub tree: u32,
    /// Number of the LM-OTS one (`lmots_algorithm_type`).
    pub one_time: u32,
    function: Function,
    /// Length of a node in bytes: n, which is m.
    n: usize,
    /// Width of a Winternitz digit in bits.
    w: u32,
    height: u32,
}

impl Kind {
    /// `None`: no such sets, or not of one kind.
    pub fn new(tree: u32, one_time: u32) -> Option<Kind> {
        let (function, n) = match one_time.checked_sub(1)? / 4 {
            0 => (Function::Sha256, 32),
            1 => (Function::Sha256, 24),
            2 => (Function::Shake256, 32),
            3 => (Function::Shake256, 24),
            _ => return None,
        };
        let family = tree.checked_sub(5)?;
        let same = family / 5 == (one_time - 1) / 4;
        let (w, height) = (1 << ((one_time - 1) % 4), (family % 5 + 1) * 5);
        same.then_some(Kind { tree, one_time, function, n, w, height })
    }

    pub(super) fn leaves(self) -> u64 {
        1 << self.height
    }

    /// Number of digits of the hash (u) and, with its checksum, in all (p); how far the checksum is shifted (ls).
    fn chains(self) -> (usize, usize, u32) {
        let (w, u) = (self.w, (8 * self.n) as u32 / self.w);
        let most = ((1u32 << w) - 1) * u;
        let v = (most.ilog2() + 1).div_ceil(w);
        (u as usize, (u + v) as usize, 16 - v * w)
    }

    fn one_time_len(self) -> usize {
        4 + self.n * (1 + self.chains().1)
    }

    pub(super) fn signature_len(self) -> usize {
        4 + self.one_time_len() + 4 + self.height as usize * self.n
    }

    pub(super) const fn public_len(self) -> usize {
        8 + ID_LEN + self.n
    }

    /// How far along its chain each digit of a message's hash stands.
    fn steps(self, hash: &Node) -> Vec<u32> {
        let (u, p, shift) = self.chains();
        let whole = (1u32 << self.w) - 1;
        let sum: u32 = digits(hash.bytes(), self.w).take(u).map(|digit| whole - digit).sum();
        let checksum = ((sum << shift) as u16).to_be_bytes();
        digits(hash.bytes(), self.w).chain(digits(&checksum, self.w)).take(p).collect()
    }
}

/// Where in a tree a hash is made: I and the number of the leaf or node.
#[derive(Clone, Copy)]
struct Place<'a> {
    kind: Kind,
    id: &'a [u8; ID_LEN],
    number: u32,
}

impl Place<'_> {
    fn hash(self, parts: &[&[u8]]) -> Node {
        let mut running = self.kind.function.start();
        running.update(self.id);
        running.update(&self.number.to_be_bytes());
        parts.iter().for_each(|part| running.update(part));
        running.finish(self.kind.n)
    }

    /// Along chain `i` from its place `from` to `to`.
    fn chain(self, i: u16, from: u32, to: u32, start: Node) -> Node {
        (from..to).fold(start, |node, at| self.hash(&[&i.to_be_bytes(), &[at as u8], node.bytes()]))
    }

    /// The one-time public key whose chains end here.
    fn one_time_public(self, ends: &[Node]) -> Node {
        let mut running = self.kind.function.start();
        running.update(self.id);
        running.update(&self.number.to_be_bytes());
        running.update(&D_PUBLIC);
        ends.iter().for_each(|end| running.update(end.bytes()));
        running.finish(self.kind.n)
    }

    /// The hash of a message that the one-time key signs.
    fn message(self, randomizer: &[u8], message: &[&[u8]]) -> Node {
        let mut running = self.kind.function.start();
        running.update(self.id);
        running.update(&self.number.to_be_bytes());
        running.update(&D_MESSAGE);
        running.update(randomizer);
        message.iter().for_each(|part| running.update(part));
        running.finish(self.kind.n)
    }

    /// The tree's node over a leaf's one-time public key.
    fn leaf(self, one_time: &Node) -> Node {
        self.hash(&[&D_LEAF, one_time.bytes()])
    }

    fn inner(self, left: &Node, right: &Node) -> Node {
        self.hash(&[&D_INNER, left.bytes(), right.bytes()])
    }
}

/// One layer up from a whole layer, or part of one, whose first node has the number `first`.
fn above(kind: Kind, id: &[u8; ID_LEN], first: u32, layer: &[Node]) -> Vec<Node> {
    let pairs = layer.chunks_exact(2).zip(first / 2..);
    let parent = |(pair, number): (&[Node], u32)| match pair {
        [left, right] => Some(Place { kind, id, number }.inner(left, right)),
        _ => None,
    };
    pairs.filter_map(parent).collect()
}

/// The public key of a tree.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    id: [u8; ID_LEN],
    root: Node,
}

impl PublicKey {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// From the front of `reader`; `None` where there is none.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<PublicKey> {
        let kind = Kind::new(reader.u32()?, reader.u32()?)?;
        let id = reader.take(ID_LEN)?.try_into().ok()?;
        Some(PublicKey { kind, id, root: reader.node(kind.n)? })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [self.kind.tree.to_be_bytes(), self.kind.one_time.to_be_bytes()].concat();
        [&numbers, &self.id[..], self.root.bytes()].concat()
    }

    /// Whether the signature that `reader` holds is this key's for `message`; `None` where its form alone shows that it is not.
    pub(super) fn verify(&self, message: &[&[u8]], reader: &mut Reader<'_>) -> Option<bool> {
        let kind = self.kind;
        let leaf = reader.u32().filter(|leaf| u64::from(*leaf) < kind.leaves())?;
        if reader.u32()? != kind.one_time {
            return None;
        }
        let randomizer = reader.take(kind.n)?;
        let place = Place { kind, id: &self.id, number: leaf };
        let steps = kind.steps(&place.message(randomizer, message));
        let starts = reader.nodes(steps.len(), kind.n)?;
        if reader.u32()? != kind.tree {
            return None;
        }
        let whole = (1u32 << kind.w) - 1;
        let chains = (0u16..).zip(&steps).zip(starts);
        let ends: Vec<Node> = chains.map(|((i, step), start)| place.chain(i, *step, whole, start)).collect();
        let mut number = (kind.leaves() as u32) + leaf;
        let mut node = Place { number, ..place }.leaf(&place.one_time_public(&ends));
        for other in reader.nodes(kind.height as usize, kind.n)? {
            let (left, right) = if number & 1 == 0 { (node, other) } else { (other, node) };
            number /= 2;
            node = Place { number, ..place }.inner(&left, &right);
        }
        Some(node == self.root)
    }
}

/// A tree that signs.
pub(super) struct Tree {
    kind: Kind,
    id: [u8; ID_LEN],
    seed: Zeroizing<Vec<u8>>,
    /// How many leaves are used up: those from the left.
    pub used: u32,
    /// The roots of the subtrees of height [`SUBTREE`], from the left.
    roots: Vec<Node>,
}

impl Tree {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` for one that is too tall to make.
    pub fn generate(kind: Kind) -> Result<Tree> {
        if kind.height > MAX_GENERATED {
            Err(Code::AttributeValueInvalid
                .because("trees of height 20 and 25 take too long to make: use several levels of height 10 or 15"))?;
        }
        let (mut id, mut seed) = ([0; ID_LEN], Zeroizing::new(vec![0; kind.n]));
        random::fill(&mut id)?;
        random::fill(&mut seed)?;
        let mut tree = Tree { kind, id, seed, used: 0, roots: Vec::new() };
        let count = 1u32 << (kind.height - SUBTREE);
        tree.roots = (0..count).filter_map(|at| tree.subtree(at).pop()?.pop()).collect();
        Ok(tree)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Leaves not yet used.
    pub fn left(&self) -> u64 {
        self.kind.leaves().saturating_sub(u64::from(self.used))
    }

    /// Uses a leaf up. `false`: there is none left.
    pub fn take(&mut self) -> bool {
        let any = self.left() > 0;
        self.used = self.used.saturating_add(u32::from(any));
        any
    }

    fn place(&self, number: u32) -> Place<'_> {
        Place { kind: self.kind, id: &self.id, number }
    }

    /// The beginning of a leaf's chain (RFC 8554, appendix A).
    fn secret(&self, leaf: u32, i: u16) -> Node {
        self.place(leaf).hash(&[&i.to_be_bytes(), &[0xff], &self.seed])
    }

    fn leaf_node(&self, leaf: u32) -> Node {
        let (whole, p) = ((1u32 << self.kind.w) - 1, self.kind.chains().1 as u16);
        let place = self.place(leaf);
        let end = |i| {
            let mut secret = self.secret(leaf, i);
            let end = place.chain(i, 0, whole, secret);
            secret.zeroize();
            end
        };
        let ends: Vec<Node> = (0..p).map(end).collect();
        self.place(self.kind.leaves() as u32 + leaf).leaf(&place.one_time_public(&ends))
    }

    /// The layers of a subtree, from its leaves to its root.
    fn subtree(&self, at: u32) -> Vec<Vec<Node>> {
        let leaves = at << SUBTREE..(at + 1) << SUBTREE;
        let first = self.kind.leaves() as u32 + leaves.start;
        self.layers(first, leaves.map(|leaf| self.leaf_node(leaf)).collect(), SUBTREE)
    }

    /// `layer`, and `more` layers above it.
    fn layers(&self, first: u32, layer: Vec<Node>, more: u32) -> Vec<Vec<Node>> {
        let mut layers = vec![layer];
        for height in 0..more {
            let up = above(self.kind, &self.id, first >> height, layers.last().map_or(&[], |layer| layer));
            layers.push(up);
        }
        layers
    }

    /// The layers over the subtrees' roots, these first.
    fn crown(&self) -> Vec<Vec<Node>> {
        self.layers(1 << (self.kind.height - SUBTREE), self.roots.clone(), self.kind.height - SUBTREE)
    }

    pub fn public(&self) -> Result<PublicKey> {
        let root = self.crown().pop().and_then(|mut layer| layer.pop()).ok_or(Code::GeneralError)?;
        Ok(PublicKey { kind: self.kind, id: self.id, root })
    }

    /// The signature by the leaf that was used up last. A second message under the same leaf would give the key away: the
    /// caller signs once for each [`Tree::take`].
    pub fn sign(&self, message: &[&[u8]]) -> Result<Vec<u8>> {
        let kind = self.kind;
        let leaf = self.used.checked_sub(1).ok_or(Code::GeneralError)?;
        let place = self.place(leaf);
        let mut randomizer = vec![0; kind.n];
        random::fill(&mut randomizer)?;
        let steps = kind.steps(&place.message(&randomizer, message));
        let mut out = Vec::with_capacity(kind.signature_len());
        out.extend(leaf.to_be_bytes());
        out.extend(kind.one_time.to_be_bytes());
        out.extend(&randomizer);
        for (i, step) in (0u16..).zip(steps) {
            let mut secret = self.secret(leaf, i);
            out.extend(place.chain(i, 0, step, secret).bytes());
            secret.zeroize();
        }
        out.extend(kind.tree.to_be_bytes());
        let mut layers = self.subtree(leaf >> SUBTREE);
        layers.truncate(SUBTREE as usize);
        let within =
            layers.iter().zip(0u32..).map(|(layer, up)| layer.get(((leaf % (1 << SUBTREE)) >> up ^ 1) as usize));
        let crown = self.crown();
        let over = crown.iter().zip(SUBTREE..kind.height).map(|(layer, up)| layer.get((leaf >> up ^ 1) as usize));
        for node in within.chain(over) {
            out.extend(node.ok_or(Code::GeneralError)?.bytes());
        }
        Ok(out)
    }

    /// All of it, for [`Tree::read`].
    pub fn write(&self, out: &mut Zeroizing<Vec<u8>>) {
        for number in [self.kind.tree, self.kind.one_time, self.used] {
            out.extend(number.to_be_bytes());
        }
        out.extend(&self.id);
        out.extend(self.seed.iter());
        self.roots.iter().for_each(|root| out.extend(root.bytes()));
    }

    /// How many bytes [`Tree::write`] writes.
    pub fn written_len(kind: Kind) -> usize {
        12 + ID_LEN + kind.n * (1 + (1 << (kind.height - SUBTREE)))
    }

    pub fn read(reader: &mut Reader<'_>) -> Option<Tree> {
        let kind = Kind::new(reader.u32()?, reader.u32()?).filter(|kind| kind.height <= MAX_GENERATED)?;
        let used = reader.u32().filter(|used| u64::from(*used) <= kind.leaves())?;
        let id = reader.take(ID_LEN)?.try_into().ok()?;
        let seed = Zeroizing::new(reader.take(kind.n)?.to_vec());
        let roots = reader.nodes(1 << (kind.height - SUBTREE), kind.n)?;
        Some(Tree { kind, id, seed, used, roots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_have_the_numbers_of_the_standards() {
        // (LMS, LM-OTS), p, ls, length of a signature: RFC 8554, table 1 and section 5.4; SP 800-208, tables 1 to 8.
        let sets = [
            ((5, 1), 265, 7, 8684),
            ((5, 2), 133, 6, 4460),
            ((6, 3), 67, 4, 2508),
            ((9, 4), 34, 0, 1932),
            ((10, 5), 200, 8, 4956),
            ((11, 6), 101, 6, 2700),
            ((12, 7), 51, 4, 1620),
            ((13, 8), 26, 0, 1140),
            ((19, 9), 265, 7, 9324),
            ((24, 16), 26, 0, 1260),
        ];
        for ((tree, one_time), p, shift, len) in sets {
            let kind = Kind::new(tree, one_time).unwrap();
            assert_eq!((kind.chains().1, kind.chains().2), (p, shift), "{tree} {one_time}");
            assert_eq!(kind.signature_len(), len, "{tree} {one_time}");
        }
        for (tree, one_time) in [(0, 1), (4, 1), (5, 0), (5, 5), (25, 17), (5, 9), (15, 1), (u32::MAX, 1)] {
            assert!(Kind::new(tree, one_time).is_none(), "{tree} {one_time}");
        }
    }
}
