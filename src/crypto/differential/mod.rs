//! Each algorithm by AWS-LC and by the pure-Rust libraries, one against the other: the same answers to the same questions,
//! what the one makes the other takes, and what the one refuses the other refuses. Runs with both features:
//! `cargo test --features pure-rust --lib differential`.

mod asymmetric;
mod curves;
mod lattices;
mod symmetric;

use super::digest::{Digest, hash};
use super::refused::Result;

/// Bytes that look random and are the same in each run.
struct Inputs(Vec<u8>);

impl Inputs {
    fn new(name: &str) -> Inputs {
        Inputs(name.as_bytes().to_vec())
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < len {
            self.0 = hash(Digest::Sha512, &self.0).to_vec();
            out.extend_from_slice(&hash(Digest::Sha256, &self.0));
        }
        out.truncate(len);
        out
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap()
    }

    fn below(&mut self, limit: usize) -> usize {
        u32::from_le_bytes(self.array()) as usize % limit
    }
}

/// Both refuse or both do not.
fn same_verdict<A, B>(aws: &Result<A>, rust: &Result<B>, about: &str) {
    assert_eq!(aws.is_ok(), rust.is_ok(), "{about}: AWS-LC {}, pure Rust {}", aws.is_ok(), rust.is_ok());
}

/// `bytes` with one bit the other way.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at / 8] ^= 1 << (at % 8);
    out
}
