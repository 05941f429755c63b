//! The anchor: what this machine remembers of a token, so that an older copy of its slot file shows.
//!
//! It lies beside the device secret, where whoever replaces slot files does not reach. It may lag behind the slot file (a
//! process died between the two, or another account wrote), and is never ahead of it: it is written once a commit is
//! durable, and read before the slot file is. So whatever order things happen in, and wherever they stop, an older slot
//! file is the only thing that stands behind its anchor.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::device::DeviceSecret;
use super::engine::MetaRow;
use super::format::Reader;
use super::keys::Account;
use super::seal::hmac;
use crate::error::{Code, Error, Result};
use crate::os::{self, Mode, RangeLock};

/// What is remembered of a role's PIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Of the login record.
    pub generation: u32,
    pub failures: u32,
}

/// What is remembered of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub uuid: [u8; 16],
    pub commits: u64,
    /// [`state_hash`] after that many commits.
    pub state: [u8; 32],
    /// Of the security officer, of the user.
    pub tries: [Tries; 2],
    /// Version of the register of users.
    pub register: u64,
    /// Of the named users with wrong tries, by number: how many, 255 at most.
    pub named: Vec<(u8, u8)>,
}

impl Mark {
    /// A named user's are those of the register's version, whatever generation the PIN has.
    pub fn of(&self, account: Account, generation: u32) -> Tries {
        let [so, user] = self.tries;
        match account.0 {
            1 => so,
            2 => user,
            number => {
                let failures = self.named.iter().find(|(known, _)| *known == number).map_or(0, |(_, count)| *count);
                Tries { generation, failures: u32::from(failures) }
            }
        }
    }
}

/// What the token's row is: each commit makes another.
pub fn state_hash(meta: &MetaRow) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"keyward state");
    for field in [&meta.header, &meta.public_state, &meta.private_state] {
        hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

/// One token's anchor file: two records a sector apart, of which the one with the higher number counts, so that a record
/// cut off by a power failure leaves the one before.
pub struct Anchor<'a> {
    device: &'a DeviceSecret,
    path: PathBuf,
}

/// Of records without users, and with them.
const FIRST_MAGIC: &[u8; 8] = b"KWANCHOR";
const MAGIC: &[u8; 8] = b"KWANCHR2";
const SECTOR: usize = 512;
/// Magic, number, UUID, commits, state, two times generation and failures, MAC. Since users: before the MAC the register's
/// version, the number of named users with wrong tries, and for each number and tries, a byte each.
const RECORD: usize = 8 + 8 + 16 + 8 + 32 + 16 + 32;

impl<'a> Anchor<'a> {
    /// The anchor of the slot file `slot`; `None` where the device secret has no place for one.
    pub fn new(device: &'a DeviceSecret, slot: &Path) -> Option<Anchor<'a>> {
        let mut name = slot.file_stem()?.to_owned();
        name.push(".anchor");
        Some(Anchor { device, path: device.anchors()?.join(name) })
    }

    /// What is remembered; `None`: nothing, or nothing that can be read.
    pub fn read(&self) -> Option<Mark> {
        let file = File::open(&self.path).ok()?;
        self.newest(&file).map(|(_, mark)| mark)
    }

    fn newest(&self, file: &File) -> Option<(u64, Mark)> {
        let mut sectors = [0u8; 2 * SECTOR];
        let mut len = 0usize;
        while let Some(room) = sectors.get_mut(len..).filter(|room| !room.is_empty()) {
            match file.read_at(room, u64::try_from(len).ok()?) {
                Ok(0) => break,
                Ok(read) => len = len.saturating_add(read),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        sectors.chunks_exact(SECTOR).filter_map(|sector| self.decode(sector)).max_by_key(|(number, _)| *number)
    }

    /// Rewrites what is remembered, from what is. What cannot be written is left: an anchor that lags is no fault.
    pub fn update(&self, change: impl FnOnce(Option<Mark>) -> Option<Mark>) {
        if let Err(error) = self.try_update(change) {
            crate::log!(Debug, "the anchor {} cannot be written: {error}", self.path.display());
        }
    }

    fn try_update(&self, change: impl FnOnce(Option<Mark>) -> Option<Mark>) -> Result<()> {
        if let Some(dir) = self.path.parent() {
            os::create_private_dirs(dir)?;
        }
        let _alone = RangeLock::wait(&self.path, 0, Mode::Exclusive)?;
        let file = os::open_private(&self.path).map_err(|e| os::failed("open", &self.path, &e))?;
        let now = self.newest(&file);
        let number = now.as_ref().map_or(1, |(number, _)| number.wrapping_add(1));
        match change(now.map(|(_, mark)| mark)) {
            Some(mark) => {
                let at = (number & 1).wrapping_mul(SECTOR as u64);
                let record = self.encode(number, &mark)?;
                file.write_all_at(&record, at).map_err(|e| os::failed("write", &self.path, &e))
            }
            None => Ok(()),
        }
    }

    /// Before a new token takes the name: what was remembered belongs to one that is gone.
    pub fn forget(&self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(os::failed("remove", &self.path, &e)),
            _ => Ok(()),
        }
    }

    fn encode(&self, number: u64, mark: &Mark) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(RECORD);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&mark.uuid);
        bytes.extend_from_slice(&mark.commits.to_be_bytes());
        bytes.extend_from_slice(&mark.state);
        for tries in &mark.tries {
            bytes.extend_from_slice(&tries.generation.to_be_bytes());
            bytes.extend_from_slice(&tries.failures.to_be_bytes());
        }
        bytes.extend_from_slice(&mark.register.to_be_bytes());
        // As many as there can be: all fit into the sector.
        let named = mark.named.iter().take(usize::from(Account::NAMED));
        bytes.push(u8::try_from(named.len()).unwrap_or(Account::NAMED));
        named.for_each(|(number, count)| bytes.extend_from_slice(&[*number, *count]));
        let mac = self.mac(&mark.uuid, &bytes)?;
        bytes.extend_from_slice(&mac);
        Ok(bytes)
    }

    fn decode(&self, sector: &[u8]) -> Option<(u64, Mark)> {
        let mut from = Reader(sector);
        let users = match &from.array::<8>().ok()? {
            FIRST_MAGIC => false,
            MAGIC => true,
            _ => return None,
        };
        let number = from.u64().ok()?;
        let mut mark =
            Mark { uuid: from.array().ok()?, commits: from.u64().ok()?, state: from.array().ok()?, ..Mark::default() };
        for tries in &mut mark.tries {
            *tries = Tries { generation: from.u32().ok()?, failures: from.u32().ok()? };
        }
        if users {
            mark.register = from.u64().ok()?;
            let [count] = from.array().ok()?;
            mark.named =
                (0..count).map(|_| from.array().map(|[number, count]| (number, count))).collect::<Result<_>>().ok()?;
        }
        let body = sector.get(..sector.len().checked_sub(from.0.len())?)?;
        let mac: [u8; 32] = from.array().ok()?;
        let expected = self.mac(&mark.uuid, body).ok()?;
        bool::from(expected.ct_eq(&mac)).then_some((number, mark))
    }

    fn mac(&self, uuid: &[u8; 16], body: &[u8]) -> Result<[u8; 32]> {
        Ok(hmac(&self.device.derive(b"keyward anchor", uuid)?, &[body]))
    }
}

/// A token as its slot file shows it, to be held against a mark that was read before.
pub struct Found<'a> {
    pub mark: &'a Mark,
    /// `state_hash` one commit earlier; `None`: the last one was made by a program that did not keep it.
    pub before: Option<[u8; 32]>,
}

impl Found<'_> {
    /// Why the slot file is not the newest that this machine has seen; `None`: nothing speaks against it.
    pub fn against(&self, anchor: &Mark) -> Option<Error> {
        let Mark { uuid, commits, state, .. } = self.mark;
        if *commits < anchor.commits {
            return Some(older(*commits, anchor.commits));
        }
        let same_token = *uuid == anchor.uuid;
        let follows = match commits.saturating_sub(anchor.commits) {
            0 => same_token && *state == anchor.state,
            1 => self.before.is_none_or(|before| before == anchor.state),
            // The anchor lags: another account wrote, or it could not be written.
            _ => true,
        };
        if !follows {
            return Some(other_line(*commits));
        }
        let mut roles = self.mark.tries.iter().zip(&anchor.tries);
        let old_pin = same_token && roles.any(|(found, known)| found.generation < known.generation);
        if old_pin {
            return Some(changed_back("it holds a PIN that has been replaced since"));
        }
        let old_users = same_token && self.mark.register < anchor.register;
        old_users.then(|| changed_back("it holds users that have been changed since"))
    }
}

fn older(found: u64, known: u64) -> Error {
    changed_back(&format!("it has {found} commits, and had {known} when this machine last wrote it"))
}

fn other_line(commits: u64) -> Error {
    changed_back(&format!("its commit {commits} does not follow the last one that this machine made"))
}

fn changed_back(how: &str) -> Error {
    Code::DeviceError.because(format!(
        "the slot file was replaced by an older copy: {how}. Put the newest one back; if this one was restored on purpose, \
         say so with `keyward token accept`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(commits: u64, state: u8) -> Mark {
        Mark {
            uuid: [1; 16],
            commits,
            state: [state; 32],
            tries: [Tries { generation: 1, failures: 0 }; 2],
            ..Mark::default()
        }
    }

    #[test]
    fn a_record_cut_off_leaves_the_one_before() {
        let dir = std::env::temp_dir().join(format!("keyward-anchor-{}", std::process::id()));
        let device = DeviceSecret::from_bytes([3; 32]).with_anchors(&dir);
        let anchor = Anchor::new(&device, Path::new("/x/00.slot")).unwrap();
        assert_eq!(anchor.read(), None);
        for n in 1..=5 {
            anchor.update(|old| {
                assert_eq!(old.map(|o| o.commits), (n > 1).then(|| n - 1));
                Some(mark(n, n as u8))
            });
            assert_eq!(anchor.read(), Some(mark(n, n as u8)));
        }
        let whole = std::fs::read(&anchor.path).unwrap();
        // The newest of five records stands in the second sector.
        for cut in [0, 1, RECORD / 2, RECORD - 1] {
            let mut torn = whole.clone();
            torn[SECTOR + cut..].fill(0xEE);
            std::fs::write(&anchor.path, &torn).unwrap();
            assert_eq!(anchor.read(), Some(mark(4, 4)), "{cut}");
        }
        std::fs::write(&anchor.path, &whole).unwrap();
        let other = DeviceSecret::from_bytes([4; 32]).with_anchors(&dir);
        assert_eq!(Anchor::new(&other, Path::new("/x/00.slot")).unwrap().read(), None);
        anchor.forget().unwrap();
        assert_eq!(anchor.read(), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn only_an_older_file_or_another_line_stands_behind_its_anchor() {
        let judge = |found: &Mark, before: Option<u8>, anchor: &Mark| {
            Found { mark: found, before: before.map(|b| [b; 32]) }.against(anchor).is_some()
        };
        let anchor = mark(7, 7);
        assert!(!judge(&mark(7, 7), Some(6), &anchor), "as it was left");
        assert!(!judge(&mark(8, 8), Some(7), &anchor), "died before the anchor was written");
        assert!(!judge(&mark(8, 8), None, &anchor), "written by a program that keeps no chain");
        assert!(!judge(&mark(30, 9), Some(1), &anchor), "another account wrote");
        assert!(judge(&mark(6, 6), Some(5), &anchor), "an older copy");
        assert!(judge(&mark(7, 8), Some(6), &anchor), "an older copy that was written since");
        assert!(judge(&mark(8, 9), Some(8), &anchor), "likewise, one further");
        let anew = Mark { uuid: [2; 16], ..mark(8, 8) };
        assert!(!judge(&anew, Some(7), &anchor), "initialised anew");
        assert!(judge(&Mark { commits: 7, ..anew }, Some(7), &anchor));
        let mut newer_pin = anchor.clone();
        newer_pin.tries[1].generation = 2;
        assert!(judge(&mark(7, 7), Some(6), &newer_pin), "the old PIN put back");
        let newer_users = Mark { register: 3, ..anchor.clone() };
        assert!(judge(&Mark { register: 2, ..anchor.clone() }, Some(6), &newer_users), "an old register put back");
        assert!(!judge(&newer_users, Some(6), &anchor), "and a newer one than remembered");
    }
}
