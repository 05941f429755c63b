//! The system's random bytes as the crates ask for them.

use std::fmt;

use crypto_bigint::rand_core::{TryCryptoRng, TryRng};

use crate::crypto::random;

/// [`random::fill`]'s source.
pub(super) struct System;

/// The system gave no random bytes.
#[derive(Debug)]
pub(super) struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the system gave no random bytes")
    }
}

impl std::error::Error for NoRandomness {}

impl TryRng for System {
    type Error = NoRandomness;

    fn try_next_u32(&mut self) -> Result<u32, NoRandomness> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandomness> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        random::fill(out).map_err(|_| NoRandomness)
    }
}

impl TryCryptoRng for System {}
