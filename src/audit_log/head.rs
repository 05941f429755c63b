//! The head: what this machine remembers of the end of the record.
//!
//! It is written after each line, under the same lock, and lies where whoever edits the record does not reach. A process
//! killed between the two leaves it one line behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use crate::crypto::hmac::HmacKey;
use crate::error::Result;
use crate::os;

/// Where the record ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Of the last line; 0: there is none yet.
    pub seq: u64,
    pub hash: [u8; 32],
    /// Number of the first line of the current file.
    pub first: u64,
    /// Bytes of the current file.
    pub size: u64,
    /// The last line known to be on the medium.
    pub durable: u64,
    /// Of the last checkpoint.
    pub checkpoint: u64,
    /// Seconds since 1970 of the last checkpoint.
    pub checkpoint_at: u64,
    /// The record was found changed, and nobody has accepted that yet.
    pub damaged: bool,
}

const MAGIC: &[u8; 8] = b"KWAUDIT1";
const BODY: usize = 8 + 8 + 32 + 8 * 5 + 8 + 8;
const LEN: usize = BODY + 32;

pub struct Head {
    file: File,
    pub path: PathBuf,
    boot: [u8; 8],
    bytes: [u8; LEN],
}

impl Head {
    pub fn open(directory: &Path) -> Result<Head> {
        os::create_private_dirs(directory)?;
        let path = directory.join("audit.head");
        let file = os::open_private(&path).map_err(|e| os::failed("open", &path, &e))?;
        Ok(Head { file, path, boot: boot(), bytes: [0; LEN] })
    }

    /// The tail, and whether it was written since the machine was started; `None`: nothing was ever written.
    /// `Err`: it is there and not this machine's.
    pub fn read(&mut self, mac: &HmacKey) -> Result<Option<(Tail, bool)>, String> {
        let read = self.file.read_at(&mut self.bytes, 0).map_err(|e| format!("{}: {e}", self.path.display()))?;
        if read == 0 {
            return Ok(None);
        }
        let decoded = self.bytes.get(..read).and_then(|bytes| decode(bytes, mac));
        let (tail, boot) = decoded.ok_or_else(|| format!("{} was altered", self.path.display()))?;
        Ok(Some((tail, boot == self.boot)))
    }

    pub fn write(&mut self, tail: &Tail, mac: &HmacKey) -> io::Result<()> {
        let numbers = [tail.first, tail.size, tail.durable, tail.checkpoint, tail.checkpoint_at];
        let numbers: [[u8; 8]; 5] = numbers.map(u64::to_be_bytes);
        let (seq, flags) = (tail.seq.to_be_bytes(), u64::from(tail.damaged).to_be_bytes());
        let start: [&[u8]; 3] = [MAGIC, &seq, &tail.hash];
        let fields = start.into_iter().chain(numbers.iter().map(|n| n.as_slice())).chain([&flags[..], &self.boot]);
        let mut at = 0usize;
        for field in fields {
            let end = at.saturating_add(field.len());
            if let Some(place) = self.bytes.get_mut(at..end) {
                place.copy_from_slice(field);
            }
            at = end;
        }
        let (body, place) = self.bytes.split_at_mut(BODY);
        place.copy_from_slice(&mac.mac(body));
        self.file.write_all_at(&self.bytes, 0)
    }
}

fn decode(bytes: &[u8], mac: &HmacKey) -> Option<(Tail, [u8; 8])> {
    let (body, tag) = bytes.split_at_checked(BODY)?;
    let mut rest = body.strip_prefix(MAGIC)?;
    if !bool::from(mac.mac(body).ct_eq(tag)) {
        return None;
    }
    let mut number = || {
        let (number, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        Some(u64::from_be_bytes(*number))
    };
    let seq = number()?;
    let mut hash = [0; 32];
    for part in hash.chunks_exact_mut(8) {
        part.copy_from_slice(&number()?.to_be_bytes());
    }
    let [first, size, durable, checkpoint, checkpoint_at] = [number()?, number()?, number()?, number()?, number()?];
    let damaged = number()? != 0;
    Some((Tail { seq, hash, first, size, durable, checkpoint, checkpoint_at, damaged }, *rest.first_chunk()?))
}

/// This start of the machine: what was not flushed before it may be missing.
fn boot() -> [u8; 8] {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::Digest;

    #[test]
    fn it_comes_back_and_no_bit_of_it_can_be_flipped() {
        let directory = std::env::temp_dir().join(format!("keyward-head-{}", std::process::id()));
        let mac = HmacKey::new(Digest::Sha256, &[1; 32]);
        let mut head = Head::open(&directory).unwrap();
        assert_eq!(head.read(&mac), Ok(None));
        let tail = Tail {
            seq: 7,
            hash: [9; 32],
            first: 2,
            size: 3,
            durable: 4,
            checkpoint: 5,
            checkpoint_at: 6,
            damaged: true,
        };
        head.write(&tail, &mac).unwrap();
        assert_eq!(head.read(&mac), Ok(Some((tail, true))));
        let whole = std::fs::read(&head.path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, &mac).is_none(), "bit {bit}");
        }
        assert!(decode(&whole[..LEN - 1], &mac).is_none());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
