//! Block ciphers by one shape, so that a mode is written once. AES brings its own faster ways; RustCrypto stands behind the
//! others, but SEED, which is our own.

use std::sync::Arc;

use aes::cipher::array::Array;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aes::Aes;
use super::seed::Seed;
use crate::error::{Code, Result};

/// The longest block, in bytes.
pub const MAX_BLOCK: usize = 16;

/// Room for a block of any of the ciphers; one of 8 bytes stands at the front.
pub type Block = [u8; MAX_BLOCK];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Encrypt,
    Decrypt,
}

/// A cipher by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    Aes,
    Des,
    /// Two or three keys, by the length of what is given.
    TripleDes,
    Camellia,
    Aria,
    Seed,
}

impl Cipher {
    /// Length of a block in bytes, 8 or 16.
    pub const fn block_len(self) -> usize {
        match self {
            Cipher::Des | Cipher::TripleDes => 8,
            Cipher::Aes | Cipher::Camellia | Cipher::Aria | Cipher::Seed => 16,
        }
    }

    /// The schedule of `key`; `CKR_KEY_SIZE_RANGE` where the cipher has no keys of that length.
    pub fn key(self, key: &[u8]) -> Result<Arc<dyn BlockCipher>> {
        match (self, key.len()) {
            (Cipher::Aes, _) => Ok(Arc::new(Aes::new(key)?)),
            (Cipher::Des, _) => library::<des::Des>(key),
            (Cipher::TripleDes, 16) => library::<des::TdesEde2>(key),
            (Cipher::TripleDes, _) => library::<des::TdesEde3>(key),
            (Cipher::Camellia, 16) => library::<camellia::Camellia128>(key),
            (Cipher::Camellia, 24) => library::<camellia::Camellia192>(key),
            (Cipher::Camellia, _) => library::<camellia::Camellia256>(key),
            (Cipher::Aria, 16) => library::<aria::Aria128>(key),
            (Cipher::Aria, 24) => library::<aria::Aria192>(key),
            (Cipher::Aria, _) => library::<aria::Aria256>(key),
            (Cipher::Seed, _) => Ok(Arc::new(Seed::new(key)?)),
        }
    }
}

/// A key of a block cipher, ready for both directions; wiped on drop.
pub trait BlockCipher: Send + Sync {
    /// Length of a block in bytes, 8 or 16.
    fn block_len(&self) -> usize;

    /// Encrypts the block at the front.
    fn encrypt_block(&self, block: &mut Block);

    /// ECB over whole blocks; `out` is as long as `input`. `CKR_GENERAL_ERROR` where the caller keeps not to that.
    fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()>;

    /// CBC over whole blocks; `chain` is the IV, and after it what the next block chains to. As [`BlockCipher::ecb`].
    fn cbc(&self, direction: Direction, chain: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
        match direction {
            Direction::Encrypt => cbc_encrypt(self, chain, input, out),
            Direction::Decrypt => cbc_decrypt(self, chain, input, out),
        }
    }

    /// Adds the key stream of counter mode; `out` is as long as `input`. For ciphers with blocks of 16 bytes.
    fn ctr(&self, stream: &mut CounterStream, input: &[u8], out: &mut [u8]) -> Result<()> {
        same_length(input, out)?;
        for (to, from) in out.iter_mut().zip(input) {
            if stream.used == 0 {
                stream.pad = stream.block;
                self.encrypt_block(&mut stream.pad);
                stream.block = u128::from_be_bytes(stream.block).wrapping_add(1).to_be_bytes();
            }
            *to = from ^ stream.pad.get(stream.used as usize).ok_or(Code::GeneralError)?;
            stream.used = (stream.used + 1) % MAX_BLOCK as u32;
        }
        Ok(())
    }
}

fn cbc_encrypt<C: BlockCipher + ?Sized>(cipher: &C, chain: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
    let len = cipher.block_len();
    whole_blocks(len, input, out)?;
    for (from, to) in input.chunks(len).zip(out.chunks_mut(len)) {
        mix(chain, from);
        cipher.encrypt_block(chain);
        to.copy_from_slice(chain.get(..len).ok_or(Code::GeneralError)?);
    }
    Ok(())
}

fn cbc_decrypt<C: BlockCipher + ?Sized>(cipher: &C, chain: &mut Block, input: &[u8], out: &mut [u8]) -> Result<()> {
    let len = cipher.block_len();
    cipher.ecb(Direction::Decrypt, input, out)?;
    for (from, to) in input.chunks(len).zip(out.chunks_mut(len)) {
        mix(to, chain);
        chain.get_mut(..len).ok_or(Code::GeneralError)?.copy_from_slice(from);
    }
    Ok(())
}

/// Adds `other` to `block`, as far as both go.
pub(super) fn mix(block: &mut [u8], other: &[u8]) {
    for (to, from) in block.iter_mut().zip(other) {
        *to ^= from;
    }
}

pub(super) fn same_length(input: &[u8], out: &[u8]) -> Result<()> {
    if input.len() == out.len() { Ok(()) } else { Err(Code::GeneralError.into()) }
}

pub(super) fn whole_blocks(block: usize, input: &[u8], out: &[u8]) -> Result<()> {
    same_length(input, out)?;
    if input.len().is_multiple_of(block) { Ok(()) } else { Err(Code::GeneralError.into()) }
}

/// A cipher of the libraries.
struct Library<C>(C);

fn library<C>(key: &[u8]) -> Result<Arc<dyn BlockCipher>>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + ZeroizeOnDrop + Send + Sync + 'static,
{
    Ok(Arc::new(Library(C::new_from_slice(key).map_err(|_| Code::KeySizeRange)?)))
}

impl<C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser + Send + Sync> BlockCipher for Library<C> {
    fn block_len(&self) -> usize {
        C::block_size()
    }

    fn encrypt_block(&self, block: &mut Block) {
        if let Some(first) = Array::slice_as_chunks_mut(block).0.first_mut() {
            self.0.encrypt_block(first);
        }
    }

    fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        whole_blocks(C::block_size(), input, out)?;
        let (input, out) = (Array::slice_as_chunks(input).0, Array::slice_as_chunks_mut(out).0);
        let done = match direction {
            Direction::Encrypt => self.0.encrypt_blocks_b2b(input, out),
            Direction::Decrypt => self.0.decrypt_blocks_b2b(input, out),
        };
        Ok(done.map_err(|_| Code::GeneralError)?)
    }
}

/// Where a key stream of counter mode stands: the next counter block, the present one encrypted, and how much of that is
/// used up (0: a new one is due).
#[derive(Clone)]
pub struct CounterStream {
    pub(super) block: Block,
    pub(super) pad: Block,
    pub(super) used: u32,
}

impl CounterStream {
    /// From this counter block on.
    pub fn new(block: Block) -> CounterStream {
        CounterStream { block, pad: [0; MAX_BLOCK], used: 0 }
    }
}

impl Drop for CounterStream {
    fn drop(&mut self) {
        self.pad.zeroize();
    }
}

/// A counter-mode stream whose counter has so many bits, and never runs over them.
#[derive(Clone)]
pub struct Counter {
    stream: CounterStream,
    /// Bytes until the counter's bits would run over.
    left: Option<u128>,
}

impl Counter {
    /// The `bits` lowest bits of `block` count; `None` where `bits` is not in 1..=128.
    pub fn new(block: Block, bits: u64) -> Option<Counter> {
        let bits = u32::try_from(bits).ok().filter(|bits| (1..=128).contains(bits))?;
        let highest = u128::MAX >> (128 - bits);
        let count = u128::from_be_bytes(block) & highest;
        // Blocks beyond the present one. Where the product is too large for 128 bits no caller will ever get there.
        let block_len = MAX_BLOCK as u128;
        let left = (highest - count).checked_mul(block_len).and_then(|left| left.checked_add(block_len));
        Some(Counter { stream: CounterStream::new(block), left })
    }

    /// Whether `len` further bytes can be had under this counter.
    pub fn has(&self, len: usize) -> bool {
        self.left.is_none_or(|left| len as u128 <= left)
    }

    /// Encrypts or decrypts; `out` is as long as `input`. `CKR_DATA_LEN_RANGE` where the counter would run over.
    pub fn apply(&mut self, key: &dyn BlockCipher, input: &[u8], out: &mut [u8]) -> Result<()> {
        if !self.has(input.len()) {
            return Err(Code::DataLenRange.into());
        }
        key.ctr(&mut self.stream, input, out)?;
        self.left = self.left.map(|left| left.saturating_sub(input.len() as u128));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// One block each of: FIPS 197 C.3; FIPS 81 table B1's key; RFC 3713 A; RFC 5794 A; RFC 4269 B.1.
    #[test]
    fn one_block_of_each_standard() {
        let counting = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let camellia = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff";
        let sixteen = "00112233445566778899aabbccddeeff";
        for (cipher, key, plain, sealed) in [
            (Cipher::Aes, counting, sixteen, "8ea2b7ca516745bfeafc49904b496089"),
            (Cipher::Des, "0123456789abcdef", "4e6f772069732074", "3fa40e8a984d4815"),
            (Cipher::Camellia, &camellia[..32], &camellia[..32], "67673138549669730857065648eabe43"),
            (Cipher::Camellia, &camellia[..48], &camellia[..32], "b4993401b3e996f84ee5cee7d79b09b9"),
            (Cipher::Camellia, camellia, &camellia[..32], "9acc237dff16d76c20ef7c919e3a7509"),
            (Cipher::Aria, &counting[..32], sixteen, "d718fbd6ab644c739da95f3be6451778"),
            (Cipher::Aria, &counting[..48], sixteen, "26449c1805dbe7aa25a468ce263a9e79"),
            (Cipher::Aria, counting, sixteen, "f92bd7c79fb72e2f2b8f80c1972d24fc"),
            (Cipher::Seed, "00000000000000000000000000000000", &counting[..32], "5ebac6e0054e166819aff1cc6d346cdb"),
        ] {
            let (key, plain, sealed) = (cipher.key(&hex(key)).unwrap(), hex(plain), hex(sealed));
            let mut out = vec![0; plain.len()];
            key.ecb(Direction::Encrypt, &plain, &mut out).unwrap();
            assert_eq!(out, sealed, "{cipher:?}");
            let mut block = [0; MAX_BLOCK];
            block[..plain.len()].copy_from_slice(&plain);
            key.encrypt_block(&mut block);
            assert_eq!(block[..plain.len()], sealed, "{cipher:?}");
            key.ecb(Direction::Decrypt, &sealed, &mut out).unwrap();
            assert_eq!(out, plain, "{cipher:?}");
            assert_eq!((key.block_len(), cipher.block_len()), (plain.len(), plain.len()), "{cipher:?}");
        }
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        for (cipher, lengths) in [
            (Cipher::Aes, &[16, 24, 32][..]),
            (Cipher::Des, &[8]),
            (Cipher::TripleDes, &[16, 24]),
            (Cipher::Camellia, &[16, 24, 32]),
            (Cipher::Aria, &[16, 24, 32]),
            (Cipher::Seed, &[16]),
        ] {
            for len in 0..=40 {
                let refused = cipher.key(&vec![1; len]).err().map(|e| e.code());
                let expected = (!lengths.contains(&len)).then_some(Code::KeySizeRange);
                assert_eq!(refused, expected, "{cipher:?} {len}");
            }
        }
    }

    /// The ways that AES goes by its library are those of the common code.
    #[test]
    fn the_common_modes_are_those_of_the_aes_library() {
        struct Common(Aes);
        impl BlockCipher for Common {
            fn block_len(&self) -> usize {
                MAX_BLOCK
            }
            fn encrypt_block(&self, block: &mut Block) {
                self.0.encrypt_block(block);
            }
            fn ecb(&self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
                self.0.ecb(direction, input, out)
            }
        }
        let (library, common) = (Aes::new(&[7; 32]).unwrap(), Common(Aes::new(&[7; 32]).unwrap()));
        let data: Vec<u8> = (0..400u32).map(|i| (i * 11) as u8).collect();
        let run = |cipher: &dyn BlockCipher| {
            let mut outs = vec![vec![0; 400]; 3];
            let mut chain = [9; MAX_BLOCK];
            for direction in [Direction::Encrypt, Direction::Decrypt] {
                let out = &mut outs[direction as usize];
                cipher.cbc(direction, &mut chain, &data[..208], &mut out[..208]).unwrap();
                cipher.cbc(direction, &mut chain, &data[208..], &mut out[208..]).unwrap();
            }
            let mut counter = Counter::new([0xff; MAX_BLOCK].map(|byte| byte & 0x7f), 128).unwrap();
            for (from, to) in data.chunks(37).zip(outs[2].chunks_mut(37)) {
                counter.apply(cipher, from, to).unwrap();
            }
            outs
        };
        assert_eq!(run(&library), run(&common));
    }
}
