//! The head: what this machine remembers of the end of the record.
//!
//! It is written after each line, under the same lock, and lies where whoever edits the record does not reach. A process
//! killed between the two leaves it one line behind; one killed in the midst of it spoils one of two places, the older.

use std::io;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use crate::crypto::hmac::HmacKey;
use crate::error::Result;
use crate::os::{self, Mapped};

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

/// Where the second place begins; between the two is a byte that is set while a line and a place are written.
const SECOND: usize = 256;
const UNDER_WAY: usize = SECOND - 1;

pub struct Head {
    file: Mapped<{ SECOND + LEN }>,
    /// What this process last saw there, or wrote.
    seen: [u8; SECOND + LEN],
    pub path: PathBuf,
    boot: [u8; 8],
    /// The place that was written last lies here.
    newest: usize,
    /// The other one was altered.
    spoilt: bool,
}

impl Head {
    pub fn open(directory: &Path) -> Result<Head> {
        os::create_private_dirs(directory)?;
        let path = directory.join("audit.head");
        let file = os::open_private(&path).map_err(|e| os::failed("open", &path, &e))?;
        let file = Mapped::new(&path, file).map_err(|e| os::failed("map", &path, &e))?;
        Ok(Head { file, seen: [0; SECOND + LEN], path, boot: boot(), newest: 0, spoilt: false })
    }

    /// The tail, and whether it was written since the machine was started; `None`: nothing was ever written.
    /// `Err`: it is there and not this machine's.
    pub fn read(&mut self, mac: &HmacKey) -> Result<Option<(Tail, bool)>, String> {
        // Who only verifies holds no lock, and may see one half written.
        self.look(mac).or_else(|_| self.look(mac)).or_else(|_| self.look(mac))
    }

    fn look(&mut self, mac: &HmacKey) -> Result<Option<(Tail, bool)>, String> {
        let bytes = self.file.read().map_err(|e| format!("{}: {e}", self.path.display()))?;
        self.seen = bytes;
        self.spoilt = false;
        let (mut newest, mut spoilt) = (None, false);
        for at in [0, SECOND] {
            let place = bytes.get(at..at.saturating_add(LEN)).unwrap_or_default();
            match decode(place, mac) {
                // Beginning a new file writes no line.
                Some((tail, boot)) if newest.is_none_or(|(_, last, _)| order(&tail) > order(&last)) => {
                    newest = Some((at, tail, boot));
                }
                Some(_) => {}
                None => spoilt |= place.iter().any(|byte| *byte != 0),
            }
        }
        let cut_short = bytes.get(UNDER_WAY).is_some_and(|byte| *byte != 0);
        match newest {
            Some((at, tail, boot)) if !spoilt || cut_short => {
                self.newest = at;
                Ok(Some((tail, boot == self.boot)))
            }
            None if !spoilt => Ok(None),
            _ => {
                self.spoilt = true;
                Err(format!("{} was altered", self.path.display()))
            }
        }
    }

    /// Whether nobody has written it since this process did, or looked.
    pub fn is_as_seen(&mut self) -> bool {
        self.file.read().is_ok_and(|now| now == self.seen)
    }

    /// A line is about to be written, and its place here after it: who dies between leaves others something to see.
    pub fn begin(&mut self) -> io::Result<()> {
        self.file.write(&[(UNDER_WAY, &[1])])
    }

    /// What [`Head::read`] found, or this wrote before, is what others wrote last: the caller has looked.
    pub fn write(&mut self, tail: &Tail, mac: &HmacKey) -> io::Result<()> {
        let numbers = [tail.first, tail.size, tail.durable, tail.checkpoint, tail.checkpoint_at];
        let numbers: [[u8; 8]; 5] = numbers.map(u64::to_be_bytes);
        let (seq, flags) = (tail.seq.to_be_bytes(), u64::from(tail.damaged).to_be_bytes());
        let start: [&[u8]; 3] = [MAGIC, &seq, &tail.hash];
        let fields = start.into_iter().chain(numbers.iter().map(|n| n.as_slice())).chain([&flags[..], &self.boot]);
        let (mut bytes, mut at) = ([0; LEN], 0usize);
        for field in fields {
            let end = at.saturating_add(field.len());
            if let Some(place) = bytes.get_mut(at..end) {
                place.copy_from_slice(field);
            }
            at = end;
        }
        let (body, place) = bytes.split_at_mut(BODY);
        place.copy_from_slice(&mac.mac(body));
        let older = if self.newest == 0 { SECOND } else { 0 };
        // One that was altered goes, so that it is told of once.
        let gone: &[u8] = if std::mem::take(&mut self.spoilt) { &[0; LEN] } else { &[] };
        self.file.write(&[(UNDER_WAY, &[1]), (older, &bytes), (self.newest, gone), (UNDER_WAY, &[0])])?;
        for (offset, part) in [(older, &bytes[..]), (self.newest, gone), (UNDER_WAY, &[0])] {
            if let Some(place) = self.seen.get_mut(offset..offset.saturating_add(part.len())) {
                place.copy_from_slice(part);
            }
        }
        self.newest = older;
        Ok(())
    }
}

fn order(tail: &Tail) -> (u64, u64) {
    (tail.seq, tail.first)
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
        // A process killed in the midst of the next one: whatever it has spoilt, the last whole one counts.
        let begun = Tail { first: 8, size: 0, ..tail };
        head.write(&begun, &mac).unwrap();
        assert_eq!(Head::open(&directory).unwrap().read(&mac), Ok(Some((begun, true))));
        let whole = std::fs::read(&head.path).unwrap();
        for bit in (0..LEN * 8).step_by(13) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped[..LEN], &mac).is_none(), "bit {bit}");
            std::fs::write(&head.path, &flipped).unwrap();
            assert!(Head::open(&directory).unwrap().read(&mac).is_err(), "bit {bit}");
            flipped[UNDER_WAY] = 1;
            std::fs::write(&head.path, &flipped).unwrap();
            assert_eq!(Head::open(&directory).unwrap().read(&mac), Ok(Some((tail, true))), "bit {bit}");
        }
        std::fs::write(&head.path, [1; LEN]).unwrap();
        let mut head = Head::open(&directory).unwrap();
        assert!(head.read(&mac).is_err());
        head.write(&tail, &mac).unwrap();
        assert_eq!(Head::open(&directory).unwrap().read(&mac), Ok(Some((tail, true))), "damage is told once");
        std::fs::write(&head.path, b"").unwrap();
        assert_eq!(Head::open(&directory).unwrap().read(&mac), Ok(None));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
