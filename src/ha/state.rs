//! What outlives the process: tombstones of objects that were destroyed while a member was away, and what was seen of the
//! members, for `keyward ha status`.
//!
//! Two small JSON files, 0600, each replaced whole; a lock file keeps writers apart. The tombstones are durable before the
//! object is destroyed anywhere.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use cryptoki_sys::CK_ATTRIBUTE_TYPE;
use parking_lot::RwLock;
use serde_json::{Value as Json, json};

use super::identity::{Fingerprint, Identity};
use crate::error::{Code, Result};
use crate::log;
use crate::os::{self, Mode, RangeLock};
use crate::token::{Attribute, Value};

/// An object that a member still has to destroy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub member: String,
    pub identity: Identity,
    pub private: bool,
    /// Seconds since 1970.
    pub at: u64,
}

/// What was seen of a member when its breaker last opened or closed, by whatever process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub member: String,
    pub open: bool,
    /// Seconds since 1970.
    pub at: u64,
    pub why: String,
    pub process: u32,
}

/// How old what was read may be where nothing speaks of a change, in milliseconds.
const FRESH: u64 = 100;

pub struct State {
    tombstones: PathBuf,
    /// When they were looked at last, in milliseconds.
    looked: AtomicU64,
    notes: PathBuf,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// Device, file, length, time of change: another one, another content.
    version: Option<(u64, u64, u64, i64, i64)>,
    tombstones: Vec<Tombstone>,
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl State {
    /// Of a slot, in a directory that is made when there is something to write.
    pub fn new(directory: &Path, slot: u64) -> State {
        let file = |what: &str| directory.join(format!("{slot:08x}.{what}.json"));
        State {
            tombstones: file("tombstones"),
            looked: AtomicU64::new(0),
            notes: file("members"),
            known: RwLock::default(),
        }
    }

    /// Reads the tombstones, if they have changed. `CKR_DEVICE_ERROR` where that cannot be done: then no member is used, since
    /// what is destroyed might come back.
    pub fn refresh(&self) -> Result<()> {
        let version = std::fs::metadata(&self.tombstones).ok();
        let version = version.map(|meta| (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
        if self.known.read().version == version {
            return Ok(());
        }
        let tombstones = self.read()?;
        *self.known.write() = Known { version, tombstones };
        Ok(())
    }

    /// As [`State::refresh`], unless that was done a moment ago.
    pub fn refresh_if_old(&self) -> Result<()> {
        let now = os::coarse_millis();
        let looked = self.looked.load(Ordering::Relaxed);
        if looked > 0 && now.saturating_sub(looked) < FRESH {
            return Ok(());
        }
        self.refresh()?;
        self.looked.store(now, Ordering::Relaxed);
        Ok(())
    }

    pub fn pending(&self, member: &str) -> Vec<Tombstone> {
        let known = self.known.read();
        known.tombstones.iter().filter(|tombstone| tombstone.member == member).cloned().collect()
    }

    pub fn any(&self) -> bool {
        !self.known.read().tombstones.is_empty()
    }

    /// Whether a member's object of this identity is one that was destroyed.
    pub fn is_dead(&self, member: &str, fingerprint: &Fingerprint) -> bool {
        let known = self.known.read();
        known.tombstones.iter().any(|stone| stone.member == member && stone.identity.fingerprint == *fingerprint)
    }

    /// Durable when it returns.
    pub fn add(&self, more: Vec<Tombstone>) -> Result<()> {
        self.change(|all| {
            for stone in more {
                log!(Warn, "{}: {} is destroyed there when it is back", stone.member, stone.identity.name());
                all.retain(|old| old.member != stone.member || old.identity.fingerprint != stone.identity.fingerprint);
                all.push(stone);
            }
        })
    }

    pub fn remove(&self, member: &str, fingerprint: &Fingerprint) -> Result<()> {
        self.change(|all| all.retain(|old| old.member != member || old.identity.fingerprint != *fingerprint))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Tombstone>)) -> Result<()> {
        self.make_directory()?;
        let _alone = RangeLock::wait(&self.tombstones.with_extension("lock"), 0, Mode::Exclusive)?;
        let mut all = self.read()?;
        change(&mut all);
        let json: Vec<Json> = all.iter().map(written).collect();
        replace(&self.tombstones, &Json::Array(json), true)?;
        drop(_alone);
        self.refresh()
    }

    fn make_directory(&self) -> Result<()> {
        self.tombstones.parent().map_or(Ok(()), os::create_private_dirs)
    }

    fn read(&self) -> Result<Vec<Tombstone>> {
        let path = &self.tombstones;
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(os::failed("read", path, &error).recode(Code::DeviceError)),
        };
        // By this file keys are destroyed.
        os::check_private(path).map_err(|error| error.recode(Code::DeviceError))?;
        let json: Option<Vec<Json>> = serde_json::from_str(&text).ok();
        let stones = json.and_then(|all| all.iter().map(parsed).collect::<Option<Vec<_>>>());
        stones.ok_or_else(|| {
            Code::DeviceError.because(format!(
                "{} is damaged: it says which keys are still to be destroyed on a member that was away. Restore it, or move it \
                 away and destroy those keys on the member itself",
                path.display()
            ))
        })
    }

    /// Takes down what is seen of a member. That it cannot be written is no failure of the call.
    pub fn note(&self, note: &Note) {
        let write = || -> Result<()> {
            self.make_directory()?;
            let _alone = RangeLock::wait(&self.notes.with_extension("lock"), 0, Mode::Exclusive)?;
            let mut notes = self.notes();
            notes.retain(|old| old.member != note.member);
            notes.push(note.clone());
            let all = notes.iter().map(|note| {
                json!({ "member": note.member, "open": note.open, "at": note.at, "why": note.why, "process": note.process })
            });
            replace(&self.notes, &all.collect(), false)
        };
        if let Err(error) = write() {
            log!(Debug, "not noted for keyward ha status: {error}");
        }
    }

    pub fn notes(&self) -> Vec<Note> {
        let text = std::fs::read_to_string(&self.notes).unwrap_or_default();
        let all: Vec<Json> = serde_json::from_str(&text).unwrap_or_default();
        let note = |json: &Json| {
            Some(Note {
                member: json.get("member")?.as_str()?.to_owned(),
                open: json.get("open")?.as_bool()?,
                at: json.get("at")?.as_u64()?,
                why: json.get("why")?.as_str()?.to_owned(),
                process: u32::try_from(json.get("process")?.as_u64()?).ok()?,
            })
        };
        all.iter().filter_map(note).collect()
    }
}

/// The old file or the new one, never half of one.
fn replace(path: &Path, json: &Json, durable: bool) -> Result<()> {
    let suffix = u64::from_be_bytes(os::random_array::<8>()?);
    let temporary = path.with_extension(format!("new-{suffix:016x}"));
    let text = format!("{json:#}\n");
    let written = os::create_private(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if durable { file.sync_all() } else { Ok(()) }
    });
    let placed = written.and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = placed {
        let _ = std::fs::remove_file(&temporary);
        return Err(os::failed("write", path, &error));
    }
    if durable { os::sync_dir(path) } else { Ok(()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    if digits.len().is_multiple_of(2) { digits.chunks(2).map(pair).collect() } else { None }
}

fn written(stone: &Tombstone) -> Json {
    let attribute = |attribute: &Attribute| match &attribute.value {
        Value::Bytes(bytes) => Some(json!([format!("{:#x}", attribute.ty), hex(bytes)])),
        Value::Template(_) => None,
    };
    json!({
        "member": stone.member,
        "object": stone.identity.name(),
        "private": stone.private,
        "at": stone.at,
        "attributes": stone.identity.template.iter().filter_map(attribute).collect::<Vec<_>>(),
    })
}

fn parsed(json: &Json) -> Option<Tombstone> {
    let attribute = |pair: &Json| {
        let ty = pair.get(0)?.as_str()?.strip_prefix("0x")?;
        let ty: CK_ATTRIBUTE_TYPE = u64::from_str_radix(ty, 16).ok()?;
        Some(Attribute::bytes(ty, &unhex(pair.get(1)?.as_str()?)?))
    };
    let template: Option<Vec<Attribute>> = json.get("attributes")?.as_array()?.iter().map(attribute).collect();
    Some(Tombstone {
        member: json.get("member")?.as_str()?.to_owned(),
        identity: Identity::of(&template?)?,
        private: json.get("private")?.as_bool()?,
        at: json.get("at")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use cryptoki_sys::*;

    use super::*;

    fn stone(member: &str, label: &[u8]) -> Tombstone {
        let all = [Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY), Attribute::bytes(CKA_LABEL, label)];
        Tombstone { member: member.to_owned(), identity: Identity::of(&all).unwrap(), private: true, at: 7 }
    }

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("keyward-ha-state-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_one_process_writes_another_reads() {
        let place = place("shared");
        let (one, two) = (State::new(&place, 5), State::new(&place, 5));
        two.refresh().unwrap();
        one.add(vec![stone("a", b"x"), stone("b", b"x")]).unwrap();
        two.refresh().unwrap();
        assert_eq!(two.pending("a"), [stone("a", b"x")]);
        assert!(two.is_dead("b", &stone("b", b"x").identity.fingerprint));
        assert!(!two.is_dead("b", &stone("b", b"y").identity.fingerprint));
        two.remove("a", &stone("a", b"x").identity.fingerprint).unwrap();
        one.refresh().unwrap();
        assert_eq!((one.pending("a"), one.pending("b").len()), (Vec::new(), 1));
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_damaged_file_and_one_that_others_may_write_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let place = place("damaged");
        let state = State::new(&place, 5);
        state.add(vec![stone("a", b"x")]).unwrap();
        let file = place.join("00000005.tombstones.json");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(State::new(&place, 5).refresh().unwrap_err().why().unwrap().contains("chmod 600"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, "[{}]").unwrap();
        assert!(State::new(&place, 5).refresh().unwrap_err().why().unwrap().contains("damaged"));
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn the_last_note_of_a_member_stays() {
        let place = place("notes");
        let state = State::new(&place, 5);
        let note = |open, at| Note { member: "a".into(), open, at, why: "gone".into(), process: 3 };
        state.note(&note(true, 1));
        state.note(&note(false, 2));
        assert_eq!(state.notes(), [note(false, 2)]);
        std::fs::remove_dir_all(&place).unwrap();
    }
}
