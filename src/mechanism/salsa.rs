//! ChaCha20, Salsa20, Poly1305, and the authenticated encryption made of them (PKCS#11 3.2, "ChaCha20", "Salsa20",
//! "Poly1305", "Chacha20/Poly1305 and Salsa20/Poly1305 Authenticated Encryption / Decryption").

use std::sync::Arc;

use cryptoki_sys::*;

use super::aead::{Aead, begin_aead};
use super::cipher::{CIPHER, MAC, begins, direction};
use super::generic::generate_fixed;
use super::key::Key;
use super::mac::{self, Length, Mac};
use super::messages::MESSAGES;
use super::secret_key::SecretKey;
use super::table::{Begin, Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::aes::Direction;
use crate::crypto::digest::MAX_LEN;
use crate::crypto::salsa::{Family, KEY, Poly1305, Sealed, Stream, TAG};
use crate::error::{Code, Result};
use crate::secret::SecretBytes;
use crate::token::{MessageParams, Operation, Params, Size, Step, Use};

const BYTES: (u64, u64) = (KEY as u64, KEY as u64);
/// The two stream ciphers give their key sizes in bits, other than their key generation.
const BITS: (u64, u64) = (8 * KEY as u64, 8 * KEY as u64);
/// The specification has no wrapping for these two.
const AEAD: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT | MESSAGES;

macro_rules! row {
    ($ty:ident, $key:ident, $size:expr, $flags:expr, $params:expr, $does:expr) => {
        Row {
            ty: $ty,
            name: stringify!($ty),
            keys: &[$key],
            size: $size,
            flags: $flags,
            params: $params,
            offer: Offer::On,
            approved: false,
            hash: None,
            does: $does,
        }
    };
}

const GENERATE: Does = Does { generate: Some(generate_fixed), ..NOTHING };
const STREAM: Does = begins(begin_stream);
const SEALED: Does = begins(begin_sealed);

pub const ROWS: &[Row] = &[
    row!(CKM_CHACHA20_KEY_GEN, CKK_CHACHA20, BYTES, CKF_GENERATE, ParamKind::None, GENERATE),
    row!(CKM_CHACHA20, CKK_CHACHA20, BITS, CIPHER, ParamKind::ChaCha20, STREAM),
    row!(CKM_CHACHA20_POLY1305, CKK_CHACHA20, BYTES, AEAD, ParamKind::SalsaAead, SEALED),
    row!(CKM_SALSA20_KEY_GEN, CKK_SALSA20, BYTES, CKF_GENERATE, ParamKind::None, GENERATE),
    row!(CKM_SALSA20, CKK_SALSA20, BITS, CIPHER, ParamKind::Salsa20, STREAM),
    row!(CKM_SALSA20_POLY1305, CKK_SALSA20, BYTES, AEAD, ParamKind::SalsaAead, SEALED),
    row!(CKM_POLY1305_KEY_GEN, CKK_POLY1305, BYTES, CKF_GENERATE, ParamKind::None, GENERATE),
    row!(CKM_POLY1305, CKK_POLY1305, BYTES, MAC, ParamKind::None, begins(begin_poly1305 as Begin)),
];

fn family(row: &Row) -> Family {
    if row.keys.contains(&CKK_SALSA20) { Family::Salsa20 } else { Family::ChaCha20 }
}

/// A key of 32 bytes; `CKR_KEY_SIZE_RANGE`.
fn key_bytes(key: Option<&Arc<Key>>) -> Result<SecretBytes> {
    let value = SecretKey::of(key)?.value();
    if value.len() == KEY { Ok(SecretBytes::copy_from(value)) } else { Err(Code::KeySizeRange.into()) }
}

fn begin_stream(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let (family, key) = (family(row), key_bytes(key)?);
    // Both directions are one.
    direction(what)?;
    let stream = start_stream(family, &key, params)?;
    Ok(Box::new(StreamOperation { family, key, stream }))
}

fn start_stream(family: Family, key: &SecretBytes, params: &Params) -> Result<Stream> {
    let Params::Salsa { block, nonce } = params else { return Err(Code::MechanismParamInvalid.into()) };
    Stream::new(family, key.expose(), nonce, *block)
}

struct StreamOperation {
    family: Family,
    key: SecretBytes,
    stream: Stream,
}

impl Operation for StreamOperation {
    /// `CKR_DATA_LEN_RANGE` where the block counter would run over.
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        match step {
            Step::Finish => Ok(Size::Exactly(0)),
            _ if !self.stream.has(input) => Err(Code::DataLenRange.into()),
            _ => Ok(Size::Exactly(input)),
        }
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.stream.apply(input, out.get_mut(..input.len()).ok_or(Code::GeneralError)?)?;
        Ok(input.len())
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn restart(&mut self, params: &Params) -> bool {
        start_stream(self.family, &self.key, params).map(|stream| self.stream = stream).is_ok()
    }
}

fn begin_sealed(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = SecretBytes::copy_from(SecretKey::of(key)?.value());
    begin_aead(what, params, |_| Ok(SealedAead { family: family(row), key, message: None }))
}

struct SealedAead {
    family: Family,
    key: SecretBytes,
    /// Nothing before the first start.
    message: Option<Sealed>,
}

impl SealedAead {
    fn message(&mut self) -> Result<&mut Sealed> {
        Ok(self.message.as_mut().ok_or(Code::GeneralError)?)
    }
}

impl Aead for SealedAead {
    fn start(&mut self, params: &Params) -> Result<()> {
        let Params::SalsaAead { nonce, aad } = params else { return Err(Code::MechanismParamInvalid.into()) };
        self.message = Some(Sealed::new(self.family, self.key.expose(), nonce, aad)?);
        Ok(())
    }

    fn start_message(&mut self, message: &MessageParams, aad: &[u8]) -> Result<()> {
        if message.tag_len != TAG {
            Err(Code::MechanismParamInvalid)?;
        }
        self.message = Some(Sealed::new(self.family, self.key.expose(), &message.iv, aad)?);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    /// RFC 8439, 2.8: what a block counter of 32 bits can do after its first block. A nonce of 8 or 24 bytes has a longer
    /// counter; one limit does for all.
    fn limit(&self) -> u64 {
        ((1 << 32) - 2) * 64
    }

    fn update(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.message()?.update(direction, input, out)
    }

    fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        let full = self.message()?.tag();
        tag.iter_mut().zip(full).for_each(|(to, from)| *to = from);
        Ok(())
    }

    fn check(&mut self, tag: &[u8]) -> Result<()> {
        self.message()?.check(tag)
    }
}

fn begin_poly1305(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let fresh = Poly1305::new(SecretKey::of(key)?.value())?;
    mac::begin_mac(Poly1305Mac { message: fresh.clone(), fresh }, Length::Always(TAG), what, params)
}

struct Poly1305Mac {
    fresh: Poly1305,
    message: Poly1305,
}

impl Mac for Poly1305Mac {
    fn update(&mut self, data: &[u8]) {
        self.message.update(data);
    }

    fn finish(&mut self, out: &mut [u8; MAX_LEN]) {
        out.iter_mut().zip(self.message.tag()).for_each(|(to, from)| *to = from);
        self.reset();
    }

    fn reset(&mut self) {
        self.message = self.fresh.clone();
    }
}

#[cfg(test)]
mod tests;
