//! The stream ciphers Salsa20 and ChaCha20 in their variants, Poly1305, and the authenticated encryption made of them
//! (RFC 8439). RustCrypto stands behind the primitives.

use chacha20::variants::Ietf;
use chacha20::{ChaCha20LegacyCore, ChaChaCore, R20, hchacha};
use poly1305::Poly1305 as Polynomial;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use salsa20::cipher::array::Array;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher, StreamCipherCore, StreamCipherCoreWrapper, StreamCipherSeekCore};
use salsa20::{SalsaCore, hsalsa};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::aes::Direction;
use super::block::same_length;
use crate::error::{Code, Result};

/// Length of a key in bytes, of the ciphers and of Poly1305.
pub const KEY: usize = 32;
/// Length of Poly1305's tag in bytes.
pub const TAG: usize = 16;
/// Length of a block of key stream in bytes.
const BLOCK: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    ChaCha20,
    Salsa20,
}

enum State {
    ChaCha(StreamCipherCoreWrapper<ChaCha20LegacyCore>),
    Ietf(StreamCipherCoreWrapper<ChaChaCore<R20, Ietf>>),
    Salsa(StreamCipherCoreWrapper<SalsaCore<U10>>),
}

/// A key stream; wiped on drop.
pub struct Stream {
    state: State,
    /// Bytes until the block counter would run over. The libraries give the last block up.
    left: u128,
}

/// `$core` under a key and nonce, from a block on.
macro_rules! stream {
    ($variant:ident, $core:ty, $key:expr, $nonce:expr, $block:expr) => {{
        let mut core = <$core>::new_from_slices($key, $nonce).map_err(|_| Code::KeySizeRange)?;
        core.set_block_pos($block);
        let blocks = core.remaining_blocks().map_or(u128::from(u64::MAX), |blocks| blocks as u128);
        Stream { state: State::$variant(StreamCipherCoreWrapper::from_core(core)), left: blocks * BLOCK as u128 }
    }};
}

impl Stream {
    /// Nonces of 8 bytes with a block counter of 64 bits, of 24 bytes (XChaCha20, XSalsa20: the same under a derived
    /// key), and for ChaCha20 of 12 bytes with a block counter of 32 bits (RFC 8439). `CKR_KEY_SIZE_RANGE` unless the key
    /// has 32 bytes, `CKR_MECHANISM_PARAM_INVALID` for other nonces and a `block` beyond the counter.
    pub fn new(family: Family, key: &[u8], nonce: &[u8], block: u64) -> Result<Stream> {
        let full: &[u8; KEY] = key.try_into().map_err(|_| Code::KeySizeRange)?;
        if let Some((head, tail)) = nonce.split_first_chunk::<16>().filter(|(_, tail)| tail.len() == 8) {
            let (full, head) = (full.into(), head.into());
            let mut derived: Array<u8, _> = match family {
                Family::ChaCha20 => hchacha::<R20>(full, head),
                Family::Salsa20 => hsalsa::<U10>(full, head),
            };
            let stream = Stream::new(family, &derived, tail, block);
            derived.zeroize();
            return stream;
        }
        Ok(match (family, nonce.len()) {
            (Family::ChaCha20, 8) => stream!(ChaCha, ChaCha20LegacyCore, key, nonce, block),
            (Family::ChaCha20, 12) => {
                let block = u32::try_from(block).map_err(|_| Code::MechanismParamInvalid)?;
                stream!(Ietf, ChaChaCore<R20, Ietf>, key, nonce, block)
            }
            (Family::Salsa20, 8) => stream!(Salsa, SalsaCore<U10>, key, nonce, block),
            _ => return Err(Code::MechanismParamInvalid.into()),
        })
    }

    /// Whether `len` further bytes can be had before the block counter runs over.
    pub fn has(&self, len: usize) -> bool {
        len as u128 <= self.left
    }

    /// Encrypts or decrypts; `out` is as long as `input`. `CKR_DATA_LEN_RANGE` where the counter would run over.
    pub fn apply(&mut self, input: &[u8], out: &mut [u8]) -> Result<()> {
        same_length(input, out)?;
        if !self.has(input.len()) {
            return Err(Code::DataLenRange.into());
        }
        self.left = self.left.saturating_sub(input.len() as u128);
        let done = match &mut self.state {
            State::ChaCha(stream) => stream.try_apply_keystream_b2b(input, out).is_ok(),
            State::Ietf(stream) => stream.try_apply_keystream_b2b(input, out).is_ok(),
            State::Salsa(stream) => stream.try_apply_keystream_b2b(input, out).is_ok(),
        };
        if done { Ok(()) } else { Err(Code::GeneralError.into()) }
    }
}

/// A running Poly1305. Its key may be used for one message only.
#[derive(Clone)]
pub struct Poly1305 {
    state: Polynomial,
    kept: [u8; TAG],
    have: usize,
}

impl Poly1305 {
    /// `key` of 32 bytes; `CKR_KEY_SIZE_RANGE`.
    pub fn new(key: &[u8]) -> Result<Poly1305> {
        let state = Polynomial::new_from_slice(key).map_err(|_| Code::KeySizeRange)?;
        Ok(Poly1305 { state, kept: [0; TAG], have: 0 })
    }

    pub fn update(&mut self, mut data: &[u8]) {
        if self.have > 0 {
            let (now, later) = data.split_at(data.len().min(TAG - self.have));
            self.keep(now);
            data = later;
            if self.have < TAG {
                return;
            }
            self.state.update(&[self.kept.into()]);
            self.have = 0;
        }
        let (blocks, rest) = Array::slice_as_chunks(data);
        self.state.update(blocks);
        self.keep(rest);
    }

    /// Zeros up to a whole block.
    fn pad(&mut self) {
        if self.have > 0 {
            self.update([0; TAG].get(self.have..).unwrap_or_default());
        }
    }

    fn keep(&mut self, data: &[u8]) {
        self.kept.iter_mut().skip(self.have).zip(data).for_each(|(to, from)| *to = *from);
        self.have += data.len();
    }

    /// The tag. The state stays as it was.
    pub fn tag(&self) -> [u8; TAG] {
        self.state.clone().compute_unpadded(self.kept.get(..self.have).unwrap_or_default()).into()
    }
}

impl Drop for Poly1305 {
    fn drop(&mut self) {
        self.kept.zeroize();
    }
}

/// Authenticated encryption: a message by its key and nonce, then `update`s, then `tag` or `check`.
///
/// With nonces of 12 and 24 bytes it is RFC 8439's construction; with 8 bytes the older one (draft-agl-tls-chacha20poly1305),
/// in which no part is filled up and each length follows its part. Salsa20 stands in ChaCha20's place.
pub struct Sealed {
    stream: Stream,
    mac: Poly1305,
    original: bool,
    aad_len: u64,
    len: u64,
}

impl Sealed {
    /// The codes of [`Stream::new`].
    pub fn new(family: Family, key: &[u8], nonce: &[u8], aad: &[u8]) -> Result<Sealed> {
        let mut stream = Stream::new(family, key, nonce, 0)?;
        let mut first = Zeroizing::new([0; BLOCK]);
        stream.apply(&[0; BLOCK], &mut *first)?;
        let mac = Poly1305::new(first.get(..KEY).ok_or(Code::GeneralError)?)?;
        let original = nonce.len() == 8;
        let mut sealed = Sealed { stream, mac, original, aad_len: aad.len() as u64, len: 0 };
        sealed.mac.update(aad);
        sealed.end_part(sealed.aad_len);
        Ok(sealed)
    }

    fn end_part(&mut self, len: u64) {
        if self.original { self.mac.update(&len.to_le_bytes()) } else { self.mac.pad() }
    }

    /// Whether `len` further bytes can be had.
    pub fn has(&self, len: usize) -> bool {
        self.stream.has(len)
    }

    /// Encrypts or decrypts further bytes; `out` is as long as `input`. What is decrypted is not yet authentic.
    /// `CKR_DATA_LEN_RANGE` beyond what the block counter can do.
    pub fn update(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.stream.apply(input, out)?;
        self.mac.update(if direction == Direction::Encrypt { out } else { input });
        self.len = self.len.saturating_add(input.len() as u64);
        Ok(())
    }

    pub fn tag(&mut self) -> [u8; TAG] {
        self.end_part(self.len);
        if !self.original {
            self.mac.update(&self.aad_len.to_le_bytes());
            self.mac.update(&self.len.to_le_bytes());
        }
        self.mac.tag()
    }

    /// `CKR_ENCRYPTED_DATA_INVALID` unless `tag` is the message's, compared in constant time.
    pub fn check(&mut self, tag: &[u8]) -> Result<()> {
        if self.tag().ct_eq(tag).into() { Ok(()) } else { Err(Code::EncryptedDataInvalid.into()) }
    }
}
