//! AES-GCM over the `aes` and `ghash` crates (SP 800-38D).

use std::sync::Arc;

use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aes::Schedules;
use super::{Refused, Result};
use crate::crypto::block::{Block, BlockCipher, CounterStream, Direction, MAX_BLOCK, mix};

/// Length in bytes of the IVs that are taken as they are.
const SHORT_IV: usize = 12;

/// A key's schedule, and GHASH's key.
pub(in crate::crypto) struct Key {
    cipher: Arc<Schedules>,
    hash: GHash,
}

impl Key {
    /// Refused unless `key` has 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Key> {
        let cipher = Schedules::new(key).map_err(|_| Refused)?;
        let mut subkey = Zeroizing::new([0; MAX_BLOCK]);
        cipher.encrypt_block(&mut subkey);
        Ok(Key { cipher: Arc::new(cipher), hash: GHash::new(&(*subkey).into()) })
    }

    pub fn begin(&self, direction: Direction) -> Result<Message> {
        let stream = CounterStream::new([0; MAX_BLOCK]);
        let hashed = Hashed::new(&self.hash);
        Ok(Message {
            cipher: self.cipher.clone(),
            key: self.hash.clone(),
            direction,
            stream,
            first: [0; MAX_BLOCK],
            hashed,
        })
    }
}

/// GHASH over additional data, then ciphertext, each padded to whole blocks.
struct Hashed {
    state: GHash,
    /// What fills no block yet.
    part: Block,
    filled: usize,
    aad: u64,
    text: u64,
}

impl Hashed {
    fn new(key: &GHash) -> Hashed {
        Hashed { state: key.clone(), part: [0; MAX_BLOCK], filled: 0, aad: 0, text: 0 }
    }

    fn add(&mut self, data: &[u8]) {
        let (head, rest) = data.split_at(data.len().min((MAX_BLOCK - self.filled) % MAX_BLOCK));
        self.keep(head);
        let whole = rest.len() - rest.len() % MAX_BLOCK;
        let (whole, rest) = rest.split_at(whole);
        self.state.update_padded(whole);
        self.keep(rest);
    }

    /// At most what is missing from a block.
    fn keep(&mut self, data: &[u8]) {
        self.part.iter_mut().skip(self.filled).zip(data).for_each(|(to, from)| *to = *from);
        self.filled += data.len();
        if self.filled == MAX_BLOCK {
            self.pad();
        }
    }

    fn pad(&mut self) {
        if self.filled > 0 {
            self.state.update(&[self.part.into()]);
            (self.part, self.filled) = ([0; MAX_BLOCK], 0);
        }
    }

    /// Pads, and ends with both lengths in bits.
    fn finish(&mut self) -> Block {
        self.pad();
        let lengths = u128::from(self.aad.wrapping_mul(8)) << 64 | u128::from(self.text.wrapping_mul(8));
        self.state.update(&[lengths.to_be_bytes().into()]);
        self.state.clone().finalize().into()
    }
}

/// One message after the other under one key in one direction: `start`, `authenticate`s, `update`s, then `tag` or `check`.
pub(in crate::crypto) struct Message {
    cipher: Arc<Schedules>,
    key: GHash,
    direction: Direction,
    stream: CounterStream,
    /// J0, the counter block that the tag is encrypted with.
    first: Block,
    hashed: Hashed,
}

/// The 32 lowest bits count.
fn next(block: Block) -> Block {
    let block = u128::from_be_bytes(block);
    let counter = (block as u32).wrapping_add(1);
    (block & !u128::from(u32::MAX) | u128::from(counter)).to_be_bytes()
}

impl Message {
    /// A whole message at once, whatever was started; its tag. Refused as `start` and `update` are.
    pub fn seal(&mut self, iv: &[u8], aad: &[u8], input: &[u8], out: &mut [u8]) -> Result<[u8; MAX_BLOCK]> {
        self.start(iv)?;
        self.authenticate(aad)?;
        self.update(input, out)?;
        let mut tag = [0; MAX_BLOCK];
        self.tag(&mut tag)?;
        Ok(tag)
    }

    /// The reverse. Refused also unless the tag is the message's.
    pub fn open(&mut self, iv: &[u8], aad: &[u8], input: &[u8], tag: &[u8; MAX_BLOCK], out: &mut [u8]) -> Result<()> {
        self.start(iv)?;
        self.authenticate(aad)?;
        self.update(input, out)?;
        self.check(tag)
    }

    /// Refused where the IV is empty.
    pub fn start(&mut self, iv: &[u8]) -> Result<()> {
        self.first = match iv.len() {
            0 => return Err(Refused),
            SHORT_IV => {
                let mut first = [0; MAX_BLOCK];
                first.iter_mut().zip(iv.iter().chain(&[0, 0, 0, 1])).for_each(|(to, from)| *to = *from);
                first
            }
            len => {
                let mut hashed = Hashed::new(&self.key);
                hashed.add(iv);
                hashed.text = len as u64;
                hashed.finish()
            }
        };
        self.stream = CounterStream::new(next(self.first));
        self.hashed = Hashed::new(&self.key);
        Ok(())
    }

    /// Further additional data, while no other data has come.
    pub fn authenticate(&mut self, aad: &[u8]) -> Result<()> {
        if self.hashed.text > 0 {
            return Err(Refused);
        }
        self.hashed.add(aad);
        self.hashed.aad = self.hashed.aad.wrapping_add(aad.len() as u64);
        Ok(())
    }

    /// Refused unless `out` is as long as `input`.
    pub fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<()> {
        if input.is_empty() && out.is_empty() {
            return Ok(());
        }
        if self.hashed.text == 0 {
            self.hashed.pad();
        }
        if self.direction == Direction::Decrypt {
            self.hashed.add(input);
        }
        self.cipher.add_stream(&mut self.stream, next, input, out).map_err(|_| Refused)?;
        if self.direction == Direction::Encrypt {
            self.hashed.add(out);
        }
        self.hashed.text = self.hashed.text.wrapping_add(input.len() as u64);
        Ok(())
    }

    fn whole_tag(&mut self) -> Block {
        let mut tag = self.hashed.finish();
        let mut pad = self.first;
        self.cipher.encrypt_block(&mut pad);
        mix(&mut tag, &pad);
        tag
    }

    /// Ends an encryption: the leading bytes of the tag, at most 16.
    pub fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        let whole = self.whole_tag();
        tag.copy_from_slice(whole.get(..tag.len()).ok_or(Refused)?);
        Ok(())
    }

    /// Ends a decryption: refused unless `tag`, of at most 16 bytes, is the message's. The comparison takes constant time.
    pub fn check(&mut self, tag: &[u8]) -> Result<()> {
        let whole = self.whole_tag();
        let same = whole.get(..tag.len()).ok_or(Refused)?.ct_eq(tag);
        if bool::from(same) { Ok(()) } else { Err(Refused) }
    }
}
