//! The chain of one process: appends under the lock between processes, and follows what others have appended.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::event::{Clock, Event, escape, field, hex};
use super::head::{Head, Tail};
use super::keys::AuditKeys;
use super::line::{BEGIN, CHECKPOINT, GAP, Line, ROTATE};
use super::{CURRENT, PUBLIC_KEY, time};
use crate::config::{AuditField, AuditRules};
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Error, Result};
use crate::os;

/// Lines from one checkpoint to the next, at most.
const LINES: u64 = 256;
/// Seconds from one checkpoint to the next, at most, while events come.
const SECONDS: u64 = 60;
/// How often it is looked whether the file under its name is still the one that is open, in milliseconds.
const LOOK: u64 = 1000;
/// Longer than any line.
const LONGEST: u64 = 64 << 10;
/// Room that is promised before something is done that cannot be undone.
const RESERVE: u64 = 64 << 10;

pub struct Chain {
    directory: PathBuf,
    max_size: u64,
    keys: Arc<AuditKeys>,
    file: Arc<File>,
    head: Head,
    tail: Tail,
    /// What was promised room, up to here.
    reserved: u64,
    looked: u64,
    clock: Clock,
    /// `","host":...,"pid":...` and `,"exe":...`, as they stand in each line. Asked once: a child of a fork has a chain of its
    /// own. The user is asked at each event, since a process may become another.
    origin: (String, String),
    line: String,
}

/// What of the record's end is not as the head says.
struct Damage {
    why: String,
    /// Where to go on.
    tail: Tail,
}

impl Chain {
    /// Makes the directory where it is missing. The caller holds the lock.
    pub fn open(rules: &AuditRules, keys: Arc<AuditKeys>, head: &Path) -> Result<Chain> {
        let origin = |which: AuditField, value: String| match rules.redact.contains(&which) {
            true => keys.hidden(&value),
            false => value,
        };
        let path = rules.directory.join(CURRENT);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let exe = std::env::current_exe().map(|exe| exe.display().to_string()).unwrap_or_default();
        let mut from = "\",\"host\":\"".to_owned();
        escape(&mut from, &origin(AuditField::Host, host.trim_end().to_owned()));
        from.push_str(&format!("\",\"pid\":{}", std::process::id()));
        let mut by = String::new();
        field(&mut by, "exe", &origin(AuditField::Exe, exe));
        let mut digits = String::new();
        hex(&mut digits, &keys.public());
        os::write_private_new(&rules.directory.join(PUBLIC_KEY), format!("{digits}\n").as_bytes())?;
        let mut chain = Chain {
            directory: rules.directory.clone(),
            max_size: rules.max_size,
            head: Head::open(head)?,
            // Until `load` has looked: one that lacks its name.
            file: Arc::new(open_existing(&path)?.map_or_else(|| File::open("/dev/null"), Ok).map_err(failed(&path))?),
            tail: Tail::default(),
            reserved: 0,
            looked: 0,
            clock: Clock::new(),
            origin: (from, by),
            line: String::new(),
            keys,
        };
        chain.load()?;
        Ok(chain)
    }

    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub fn seq(&self) -> u64 {
        self.tail.seq
    }

    /// Appends an event. `insist`: not to a record that was found damaged.
    pub fn append(&mut self, event: &Event<'_>, insist: bool, durable: u64) -> Result<u64> {
        self.follow(insist)?;
        self.check(insist)?;
        if self.tail.size >= self.max_size {
            self.rotate()?;
        }
        self.tail.durable = self.tail.durable.max(durable.min(self.tail.seq));
        let now = time::now();
        self.put(now, |line| event.write(line))?;
        let seq = self.tail.seq;
        let due = seq.saturating_sub(self.tail.checkpoint) >= LINES
            || (now / 1_000_000).abs_diff(self.tail.checkpoint_at) >= SECONDS;
        if due {
            self.checkpoint(now)?;
        }
        Ok(seq)
    }

    /// Whether an event could be recorded now, with room for it promised.
    pub fn ready(&mut self) -> Result<()> {
        self.follow(true)?;
        self.check(true)?;
        if self.reserved < self.tail.size.saturating_add(RESERVE / 2) {
            os::reserve(&self.file, self.tail.size, RESERVE).map_err(|e| self.fails("write", &e))?;
            self.reserved = self.tail.size.saturating_add(RESERVE);
        }
        Ok(())
    }

    /// Begins a new file. `accept`: also where the record is damaged, which from then on counts as known.
    pub fn rotate_now(&mut self, accept: bool) -> Result<()> {
        self.follow(true)?;
        self.check(!accept)?;
        if self.tail.damaged {
            self.tail.damaged = false;
            self.own(GAP, "the damage before this line was accepted")?;
        }
        self.rotate()
    }

    fn check(&self, insist: bool) -> Result<()> {
        if insist && self.tail.damaged {
            return Err(Code::DeviceError.because(format!(
                "the audit record in {} was found cut or changed: `keyward audit verify` says where; \
                 `keyward audit rotate --accept` goes on in a new file",
                self.directory.display()
            )));
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.join(CURRENT)
    }

    fn fails(&self, what: &str, error: &io::Error) -> Error {
        os::failed(what, &self.path(), error)
    }

    /// Brings the tail up to date with what other processes wrote. Mostly one look at the head; each [`LOOK`], and always where the
    /// event must be on record (`insist`), at the file, whose size and name only something else changes.
    fn follow(&mut self, insist: bool) -> Result<()> {
        let fresh = os::coarse_millis().saturating_sub(self.looked) < LOOK && self.tail.seq > 0;
        if fresh && self.head.is_as_seen() {
            if !insist {
                return Ok(());
            }
            let (length, names) = os::length_and_names(&self.file).map_err(|e| self.fails("look at", &e))?;
            if names > 0 && length == self.tail.size {
                return Ok(());
            }
        }
        self.load()
    }

    fn load(&mut self) -> Result<()> {
        let path = self.path();
        let head = self.head.read(&self.keys.head);
        let file = open_existing(&path)?;
        let (mut tail, damage) = match (head, file) {
            (Ok(None), None) => {
                self.create()?;
                return self.own(BEGIN, "");
            }
            (Ok(Some((tail, _))), None) => match self.is_half_rotated(&tail) {
                true => (Tail { first: tail.seq.saturating_add(1), size: 0, ..tail }, None),
                false => (Tail { size: 0, ..tail }, Some("the file was removed".to_owned())),
            },
            (head, Some(file)) => {
                self.file = Arc::new(file);
                let found = self.compare(head).map_err(|e| self.fails("read", &e))?;
                match found {
                    Ok(tail) => (tail, None),
                    Err(Damage { why, tail }) => (tail, Some(why)),
                }
            }
            (Err(why), None) => (Tail::default(), Some(why)),
        };
        if !path.exists() {
            self.create()?;
        }
        self.looked = os::coarse_millis();
        // Known already, and told when it was found.
        let told = tail.damaged;
        tail.damaged |= damage.is_some();
        self.tail = tail;
        match damage {
            Some(why) if !told => {
                crate::log!(Error, "audit record {}: {why}; see `keyward audit verify`", path.display());
                self.own(GAP, &why)
            }
            _ => Ok(()),
        }
    }

    fn create(&mut self) -> Result<()> {
        let path = self.path();
        self.file = Arc::new(os::open_private(&path).map_err(failed(&path))?);
        self.reserved = 0;
        self.looked = os::coarse_millis();
        os::sync_dir(&path)
    }

    /// A process died between renaming the full file and beginning the next.
    fn is_half_rotated(&self, tail: &Tail) -> bool {
        fs::metadata(self.full(tail.first)).is_ok_and(|meta| meta.len() == tail.size)
    }

    fn full(&self, first: u64) -> PathBuf {
        self.directory.join(format!("audit-{first:020}.log"))
    }

    /// Holds the file against the head.
    fn compare(&self, head: Result<Option<(Tail, bool)>, String>) -> io::Result<Result<Tail, Damage>> {
        let len = self.file.metadata()?.len();
        let damage = |why: &str, before: Tail| -> io::Result<Result<Tail, Damage>> {
            let last = last_line(&self.file, len)?;
            let mut tail = Tail { size: len, ..before };
            if let Some((line, digest)) = last {
                tail.hash = digest;
                tail.seq = tail.seq.max(Line::parse(&line).map_or(0, |line| line.seq));
            }
            Ok(Err(Damage { why: why.to_owned(), tail }))
        };
        let (tail, same_boot) = match head {
            Ok(Some(known)) => known,
            // Made and not written yet, by a process that died.
            Ok(None) if len == 0 => return Ok(Ok(Tail::default())),
            Ok(None) => return damage("what this machine remembered of its end is gone", Tail::default()),
            Err(why) => return damage(&why, Tail::default()),
        };
        if len < tail.size {
            // Not flushed before the machine went down: lost, and nobody's doing.
            let last = last_line(&self.file, len)?;
            if let Some((line, digest)) = last.filter(|_| !same_boot)
                && let Some(line) = Line::parse(&line).filter(|line| line.seq >= tail.durable)
            {
                let seq = line.seq;
                return Ok(Ok(Tail { seq, hash: digest, size: len, checkpoint: tail.checkpoint.min(seq), ..tail }));
            }
            return damage("lines at its end were cut off", tail);
        }
        let (seq, known) = (tail.seq, tail.hash);
        if tail.size > 0 && last_line(&self.file, tail.size)?.is_none_or(|(_, digest)| digest != known) {
            return damage(&format!("line {seq} or one before it was changed"), tail);
        }
        let mut tail = tail;
        let mut added = vec![0; usize::try_from((len - tail.size).min(LONGEST)).unwrap_or(0)];
        self.file.read_exact_at(&mut added, tail.size)?;
        for (count, line) in added.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let Some(text) = line.strip_suffix(b"\n") else {
                // Half a line, of a process that died or a disk that was full.
                self.file.set_len(tail.size)?;
                break;
            };
            let parsed = std::str::from_utf8(text).ok().and_then(Line::parse);
            let follows = parsed.is_some_and(|line| {
                let mut prev = String::new();
                hex(&mut prev, &tail.hash);
                line.seq == tail.seq.saturating_add(1) && line.prev == prev
            });
            if !follows || (count > 0 && same_boot) {
                return damage("lines were added to it by something else", tail);
            }
            tail = Tail {
                seq: tail.seq.saturating_add(1),
                hash: digest(text),
                size: tail.size + line.len() as u64,
                ..tail
            };
        }
        Ok(Ok(tail))
    }

    /// A line of the record's own.
    fn own(&mut self, operation: &str, why: &str) -> Result<()> {
        self.put(time::now(), |line| {
            field(line, "op", operation);
            if !why.is_empty() {
                field(line, "rule", why);
            }
        })
    }

    fn checkpoint(&mut self, now: u64) -> Result<()> {
        let mut prev = String::new();
        hex(&mut prev, &self.tail.hash);
        let signature = self.keys.sign(self.tail.seq.saturating_add(1), &prev)?;
        self.tail.checkpoint = self.tail.seq.saturating_add(1);
        self.tail.checkpoint_at = now / 1_000_000;
        self.put(now, |line| {
            field(line, "op", CHECKPOINT);
            line.push_str(",\"signature\":\"");
            hex(line, &signature);
            line.push('"');
        })
    }

    fn rotate(&mut self) -> Result<()> {
        self.own(ROTATE, "")?;
        self.checkpoint(time::now())?;
        self.file.sync_data().map_err(|e| self.fails("flush", &e))?;
        let (path, full) = (self.path(), self.full(self.tail.first.max(1)));
        fs::rename(&path, &full).map_err(|e| os::failed("rename", &path, &e))?;
        self.create()?;
        self.tail = Tail { first: self.tail.seq.saturating_add(1), size: 0, durable: self.tail.seq, ..self.tail };
        self.head.write(&self.tail, &self.keys.head).map_err(|e| os::failed("write", &self.head.path, &e))
    }

    /// One line, with what `content` writes between its beginning and its end.
    fn put(&mut self, now: u64, content: impl FnOnce(&mut String)) -> Result<()> {
        use std::fmt::Write;
        let seq = self.tail.seq.saturating_add(1);
        let line = &mut self.line;
        line.clear();
        let _ = write!(line, "{{\"seq\":{seq},\"time\":\"");
        self.clock.write(line, now);
        line.push_str(&self.origin.0);
        let _ = write!(line, ",\"uid\":{}", os::effective_user());
        line.push_str(&self.origin.1);
        content(line);
        line.push_str(",\"prev\":\"");
        hex(line, &self.tail.hash);
        line.push_str("\"}");
        let hash = digest(line.as_bytes());
        line.push('\n');
        self.head.begin().map_err(|e| os::failed("write", &self.head.path, &e))?;
        if let Err(error) = self.file.write_all_at(line.as_bytes(), self.tail.size) {
            // Half a line must not stay.
            let _ = self.file.set_len(self.tail.size);
            return Err(self.fails("write", &error));
        }
        let size = self.tail.size.saturating_add(self.line.len() as u64);
        let first = if self.tail.first == 0 { seq } else { self.tail.first };
        self.tail = Tail { seq, hash, size, first, ..self.tail };
        self.head.write(&self.tail, &self.keys.head).map_err(|e| os::failed("write", &self.head.path, &e))
    }
}

pub(super) fn digest(text: &[u8]) -> [u8; 32] {
    hash(Digest::Sha256, text).first_chunk().copied().unwrap_or_default()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |error| os::failed("open", path, &error)
}

fn open_existing(path: &Path) -> Result<Option<File>> {
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(os::failed("open", path, &error)),
    }
}

/// The line that ends at byte `end`, and its hash; `None`: no line ends there.
fn last_line(file: &File, end: u64) -> io::Result<Option<(String, [u8; 32])>> {
    let start = end.saturating_sub(LONGEST);
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    let Some(text) = bytes.strip_suffix(b"\n") else { return Ok(None) };
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text);
    Ok(std::str::from_utf8(line).ok().map(|line| (line.to_owned(), digest(line.as_bytes()))))
}
