//! Pseudo-random functions keyed once, and the ways in which derivations iterate them.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::block::BlockCipher;
use super::cmac::{BlockMac, Subkeys};
use super::digest::Hasher;
use super::hmac::HmacKey;

/// A keyed function of any input to [`Prf::len`] bytes.
#[derive(Clone)]
pub enum Prf {
    Hmac(Arc<HmacKey>),
    /// CMAC or XCBC: the subkeys say which.
    Block(Arc<dyn BlockCipher>, Arc<Subkeys>),
}

/// An input on its way.
#[allow(clippy::large_enum_variant)] // The large one is the usual one.
pub enum Running<'a> {
    Hmac(&'a HmacKey, Hasher),
    Block(BlockMac),
}

/// A value of a PRF; it may become key.
pub type Value = Zeroizing<Vec<u8>>;

#[allow(clippy::len_without_is_empty)]
impl Prf {
    /// Length of a value in bytes.
    pub fn len(&self) -> usize {
        match self {
            Prf::Hmac(key) => key.digest().len(),
            Prf::Block(key, _) => key.block_len(),
        }
    }

    pub fn start(&self) -> Running<'_> {
        match self {
            Prf::Hmac(key) => Running::Hmac(key, key.start()),
            Prf::Block(key, subkeys) => Running::Block(BlockMac::new(key.clone(), subkeys.clone())),
        }
    }

    /// The value of the parts in a row.
    pub fn over(&self, parts: &[&[u8]]) -> Value {
        let mut running = self.start();
        parts.iter().for_each(|part| running.update(part));
        running.finish()
    }

    /// Fills `out` with one value after the other, the last one cut. `input` feeds the value of a number, counted from 1,
    /// and is given the value before it: none at first.
    pub fn fill(&self, out: &mut [u8], mut input: impl FnMut(&mut Running<'_>, u32, &[u8])) {
        let mut previous = Value::default();
        for (number, chunk) in (1u32..).zip(out.chunks_mut(self.len())) {
            let mut running = self.start();
            input(&mut running, number, &previous);
            previous = running.finish();
            chunk.iter_mut().zip(previous.iter()).for_each(|(to, from)| *to = *from);
        }
    }

    /// The chain of values of values that starts from `seed`: A(1), A(2) ... of TLS and of SP 800-108's double pipeline.
    pub fn chain(&self, seed: &[u8]) -> impl FnMut() -> Value + use<'_> {
        let mut last = Zeroizing::new(seed.to_vec());
        move || {
            last = self.over(&[&last]);
            last.clone()
        }
    }
}

impl Running<'_> {
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Running::Hmac(_, hasher) => hasher.update(data),
            Running::Block(mac) => mac.update(data),
        }
    }

    pub fn finish(self) -> Value {
        match self {
            Running::Hmac(key, mut hasher) => Zeroizing::new(key.finish(&mut hasher).to_vec()),
            Running::Block(mut mac) => Zeroizing::new(mac.finish().to_vec()),
        }
    }
}
