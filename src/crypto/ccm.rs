//! CCM (SP 800-38C, RFC 3610) over AES.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aes::{Aes, BLOCK, Block, Direction};
use super::block::{BlockCipher, CounterStream, mix};
use super::cmac::{BlockMac, Subkeys};
use crate::error::{Code, Result};

/// One key, for one message after the other: `start`, `update`s, then `tag` or `check`.
pub struct Ccm {
    key: Arc<Aes>,
    /// CBC-MAC over the header blocks, the additional data and the plaintext.
    mac: BlockMac,
    stream: CounterStream,
    /// What the MAC is encrypted with.
    cover: Zeroizing<Block>,
    tag_len: usize,
}

/// Of how many bytes the length of a message may be, for this nonce; `None` unless the nonce has 7 to 13 bytes.
fn length_len(nonce: &[u8]) -> Option<usize> {
    (7..=13).contains(&nonce.len()).then(|| BLOCK - 1 - nonce.len())
}

/// A block of flags, nonce, and a number in the bytes that remain.
fn block(flags: u8, nonce: &[u8], number: u64) -> Block {
    let mut block = u128::from(number).to_be_bytes();
    block.iter_mut().zip([flags].iter().chain(nonce)).for_each(|(to, from)| *to = *from);
    block
}

impl Ccm {
    pub fn new(key: Arc<Aes>) -> Ccm {
        let mac = BlockMac::new(key.clone(), Arc::new(Subkeys::none()));
        Ccm { key, mac, stream: CounterStream::new([0; BLOCK]), cover: Zeroizing::new([0; BLOCK]), tag_len: 0 }
    }

    /// Begins a message of `len` bytes. `CKR_MECHANISM_PARAM_INVALID` unless the nonce has 7 to 13 bytes, the tag an even
    /// number from 4 to 16, and `len` has its place beside the nonce; also for 2^32 bytes of additional data and more.
    pub fn start(&mut self, nonce: &[u8], aad: &[u8], len: u64, tag_len: usize) -> Result<()> {
        let q = length_len(nonce).ok_or(Code::MechanismParamInvalid)?;
        let fits = q >= 8 || len >> (8 * q) == 0;
        if !fits || !matches!(tag_len, 4 | 6 | 8 | 10 | 12 | 14 | 16) {
            return Err(Code::MechanismParamInvalid.into());
        }
        let aad_len = u32::try_from(aad.len()).map_err(|_| Code::MechanismParamInvalid)?;
        self.tag_len = tag_len;
        let flags = (u8::from(!aad.is_empty()) << 6) | (((tag_len as u8 - 2) / 2) << 3) | (q as u8 - 1);
        self.mac.reset();
        self.mac.update(&block(flags, nonce, len));
        self.authenticate(aad, aad_len);
        *self.cover = block(q as u8 - 1, nonce, 0);
        self.key.encrypt_block(&mut self.cover);
        self.stream = CounterStream::new(block(q as u8 - 1, nonce, 1));
        Ok(())
    }

    /// The additional data with its length before it, filled up with zeros (SP 800-38C, A.2.2).
    fn authenticate(&mut self, aad: &[u8], len: u32) {
        let prefix: &[&[u8]] = match len {
            0 => return,
            1..0xff00 => &[&(len as u16).to_be_bytes()],
            _ => &[&[0xff, 0xfe], &len.to_be_bytes()],
        };
        let prefix_len: usize = prefix.iter().map(|part| part.len()).sum();
        prefix.iter().for_each(|part| self.mac.update(part));
        self.mac.update(aad);
        let beyond = (prefix_len + aad.len() % BLOCK) % BLOCK;
        self.mac.update([0; BLOCK].get(..(BLOCK - beyond) % BLOCK).unwrap_or_default());
    }

    /// Encrypts or decrypts further bytes; `out` is as long as `input`. What is decrypted is not yet authentic. That all add
    /// up to the length announced is the caller's to see to.
    pub fn update(&mut self, direction: Direction, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.key.ctr(&mut self.stream, input, out)?;
        self.mac.update(if direction == Direction::Encrypt { input } else { out });
        Ok(())
    }

    fn full_tag(&mut self) -> Zeroizing<Block> {
        let mut tag = self.mac.finish();
        mix(&mut *tag, &*self.cover);
        tag
    }

    /// Ends an encryption: `tag` is as long as announced.
    pub fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        let full = self.full_tag();
        tag.copy_from_slice(full.get(..self.tag_len).filter(|full| full.len() == tag.len()).ok_or(Code::GeneralError)?);
        Ok(())
    }

    /// Ends a decryption: `CKR_ENCRYPTED_DATA_INVALID` unless `tag` is the message's, compared in constant time.
    pub fn check(&mut self, tag: &[u8]) -> Result<()> {
        let good = self.full_tag().get(..self.tag_len).ok_or(Code::GeneralError)?.ct_eq(tag);
        if good.into() { Ok(()) } else { Err(Code::EncryptedDataInvalid.into()) }
    }
}
