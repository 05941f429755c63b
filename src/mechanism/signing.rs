//! Signing and verifying with a key pair: one operation for what signs its input as it is, and one that hashes first.

use super::digest::of_row;
use super::table::Row;
use crate::crypto::digest::Hasher;
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step};

/// A signature scheme with its key and parameters, over one short input: a digest, or what the caller made itself.
pub(super) trait Scheme: Send {
    /// Length of a signature in bytes.
    fn signature_len(&self) -> Result<usize>;

    /// `out` has at least [`Scheme::signature_len`] bytes; returns how many were written.
    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize>;

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()>;

    /// Takes new parameters; `false` where they are not this scheme's.
    fn restart(&mut self, params: &Params) -> bool {
        *params == Params::None
    }
}

/// The operation of `row`: with its hash before the scheme, if it has one.
pub(super) fn begin<S: Scheme + 'static>(row: &Row, scheme: S) -> Result<Box<dyn Operation>> {
    Ok(match row.hash {
        Some(_) => Box::new(Hashed { scheme, hasher: Hasher::new(of_row(row)?) }),
        None => Box::new(Plain { scheme }),
    })
}

fn signature_size(scheme: &impl Scheme, step: Step) -> Result<Size> {
    Ok(Size::Exactly(match step {
        Step::Update => 0,
        Step::Whole | Step::Finish => scheme.signature_len()?,
    }))
}

/// Single-part: the scheme itself.
struct Plain<S> {
    scheme: S,
}

impl<S: Scheme> Operation for Plain<S> {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        signature_size(&self.scheme, step)
    }

    fn multi_part(&self) -> bool {
        false
    }

    fn update(&mut self, _: &[u8], _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.scheme.sign(input, out)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.scheme.verify(input.ok_or(Code::FunctionNotSupported)?, signature)
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.scheme.restart(params)
    }
}

/// Hash, then sign.
struct Hashed<S> {
    scheme: S,
    hasher: Hasher,
}

impl<S: Scheme> Operation for Hashed<S> {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        signature_size(&self.scheme, step)
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.hasher.update(input);
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.scheme.sign(&self.hasher.finish(), out)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.hasher.update(input.unwrap_or_default());
        self.scheme.verify(&self.hasher.finish(), signature)
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.hasher.reset();
        self.scheme.restart(params)
    }
}
