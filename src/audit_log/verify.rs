//! Finding what was changed in a record, and where.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::chain::digest;
use super::event::hex;
use super::head::{Head, Tail};
use super::keys::{AuditKeys, is_signed};
use super::line::{CHECKPOINT, GAP, Line};
use super::{CURRENT, PUBLIC_KEY};
use crate::error::{Code, Result};
use crate::os;

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    /// In the file, from 1; 0: the file as a whole.
    pub line: u64,
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub lines: u64,
    /// Numbers of the first and of the last line.
    pub first: u64,
    pub last: u64,
    pub checkpoints: u64,
    /// The last line that a good checkpoint covers.
    pub covered: u64,
    /// Whether the end was held against what this machine remembers.
    pub anchored: bool,
    pub findings: Vec<Finding>,
}

/// The record's files, oldest first.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).map_err(|e| os::failed("read", directory, &e))?;
    let mut full = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| os::failed("read", directory, &e))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let number = name.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".log"));
        if let Some(number) = number.and_then(|digits| digits.parse::<u64>().ok()) {
            full.push((number, directory.join(name)));
        }
    }
    full.sort();
    let mut files: Vec<PathBuf> = full.into_iter().map(|(_, path)| path).collect();
    files.extend(Some(directory.join(CURRENT)).filter(|path| path.exists()));
    Ok(files)
}

/// Every line that can be read, in order: as it stands there, and what it says.
pub fn lines(directory: &Path, mut each: impl FnMut(&str, Line) -> Result<()>) -> Result<()> {
    for path in files(directory)? {
        let file = File::open(&path).map_err(|e| os::failed("open", &path, &e))?;
        for text in BufReader::new(file).lines() {
            let text = text.map_err(|e| os::failed("read", &path, &e))?;
            if let Some(line) = Line::parse(&text) {
                each(&text, line)?;
            }
        }
    }
    Ok(())
}

/// Checks the whole record. `keys`: on the machine that writes it, with the directory of the head; else the public key
/// beside the record counts, or `public`.
pub fn verify(directory: &Path, keys: Option<(&AuditKeys, &Path)>, public: Option<[u8; 32]>) -> Result<Verified> {
    let public = match (public, keys) {
        (Some(public), _) => public,
        (None, Some((keys, _))) => keys.public(),
        (None, None) => read_public(&directory.join(PUBLIC_KEY))?,
    };
    let mut walk = Walk { public, found: Verified::default(), hash: None, time: 0 };
    let files = files(directory)?;
    for path in &files {
        walk.file(path)?;
    }
    let end = files.last().cloned().unwrap_or_else(|| directory.join(CURRENT));
    if let Some((keys, head)) = keys {
        walk.end(keys, head, &end)?;
    }
    Ok(walk.found)
}

/// 64 hexadecimal digits.
pub fn read_public(path: &Path) -> Result<[u8; 32]> {
    let text = std::fs::read_to_string(path).map_err(|e| os::failed("read", path, &e))?;
    let bytes = unhex(text.trim()).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Code::GeneralError.because(format!("{} holds no public key of a record", path.display())))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect()
}

struct Walk {
    public: [u8; 32],
    found: Verified,
    /// Of the line before.
    hash: Option<[u8; 32]>,
    time: u64,
}

impl Walk {
    fn tell(&mut self, file: &Path, line: u64, what: String) {
        self.found.findings.push(Finding { file: file.to_owned(), line, what });
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|e| os::failed("open", path, &e))?;
        let mut reader = BufReader::new(file);
        let (mut text, mut number) = (Vec::new(), 0u64);
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(|e| os::failed("read", path, &e))?;
            if read == 0 {
                return Ok(());
            }
            number = number.saturating_add(1);
            match text.strip_suffix(b"\n") {
                Some(line) => self.line(path, number, line),
                None => self.tell(path, number, "the last line is not whole".to_owned()),
            }
        }
    }

    fn line(&mut self, path: &Path, number: u64, text: &[u8]) {
        let hash = digest(text);
        let Some(line) = std::str::from_utf8(text).ok().and_then(Line::parse) else {
            self.tell(path, number, "this is no line of the record: it was changed or slipped in".to_owned());
            self.hash = Some(hash);
            return;
        };
        self.found.lines = self.found.lines.saturating_add(1);
        if self.found.first == 0 {
            self.found.first = line.seq;
        }
        self.follows(path, number, &line);
        let time = line.micros().unwrap_or(0);
        if time == 0 {
            self.tell(path, number, format!("line {} has no time", line.seq));
        }
        self.time = time;
        match line.op.as_str() {
            CHECKPOINT => self.checkpoint(path, number, &line),
            GAP => self.tell(path, number, format!("the writer found here: {}", line.rule)),
            _ => {}
        }
        self.found.last = line.seq;
        self.hash = Some(hash);
    }

    fn follows(&mut self, path: &Path, number: u64, line: &Line) {
        let mut expected = String::new();
        hex(&mut expected, &self.hash.unwrap_or_default());
        let last = self.found.last;
        let next = last.saturating_add(1);
        match self.hash {
            // Earlier files may have been put away; then the first line's number says how much.
            None if line.seq > 1 => {}
            _ if line.seq == next && line.prev == expected => {}
            _ if line.seq == next => self.tell(
                path,
                number,
                format!("line {last} was changed after it was written, or line {next} was: they do not fit each other"),
            ),
            _ if line.seq > next => {
                let gone = line.seq.saturating_sub(1);
                self.tell(path, number, format!("lines {next} to {gone} are missing before this one"));
            }
            _ => self.tell(path, number, format!("line {} stands here where {next} was expected", line.seq)),
        }
    }

    fn checkpoint(&mut self, path: &Path, number: u64, line: &Line) {
        self.found.checkpoints = self.found.checkpoints.saturating_add(1);
        let good =
            unhex(&line.signature).is_some_and(|signature| is_signed(&self.public, line.seq, &line.prev, &signature));
        if good {
            self.found.covered = line.seq;
        } else {
            let since = self.found.covered.saturating_add(1);
            let what = format!("the checkpoint's signature is wrong: lines {since} to {} were written anew", line.seq);
            self.tell(path, number, what);
        }
    }

    /// What this machine remembers of the end.
    fn end(&mut self, keys: &AuditKeys, directory: &Path, path: &Path) -> Result<()> {
        let read = Head::open(directory)?.read(&keys.head);
        let (last, hash) = (self.found.last, self.hash.unwrap_or_default());
        let what = match read {
            Err(why) => Some(why),
            Ok(None) if last == 0 => None,
            Ok(None) => Some("what this machine remembered of the record's end is gone".to_owned()),
            Ok(Some((Tail { seq, hash: known, .. }, _))) => {
                self.found.anchored = true;
                match last {
                    // One more: its writer died before it was remembered, and the next event accepts it.
                    _ if last == seq.saturating_add(1) => None,
                    _ if last < seq => Some(format!("lines {} to {seq} were cut off its end", last.saturating_add(1))),
                    _ if last > seq => Some(format!("lines {} to {last} were added", seq.saturating_add(1))),
                    _ if hash != known => {
                        let since = self.found.covered.saturating_add(1);
                        Some(format!("the last line was changed: nothing vouches for lines {since} to {last}"))
                    }
                    _ => None,
                }
            }
        };
        if let Some(what) = what {
            self.tell(path, 0, what);
        }
        Ok(())
    }
}
