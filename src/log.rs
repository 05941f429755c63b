//! What people read when a call did not work: one line per event on standard error, or in a file.
//!
//! The configuration, or `KEYWARD_LOG` and `KEYWARD_LOG_FILE`, choose the level (`off`, `error`, `warn`, `info`, `debug`;
//! `warn` without a choice) and a file. No payload, PIN or key ever comes here. Nothing is held open and writing waits on
//! no lock, so that a forked child and the exit handlers of a host may log as well.

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    fn parse(word: &str) -> Option<Level> {
        [Level::Error, Level::Warn, Level::Info, Level::Debug]
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(word.trim()))
    }
}

const OFF: u8 = 0;
const UNSET: u8 = u8::MAX;

static LEVEL: AtomicU8 = AtomicU8::new(UNSET);
static FILE: Mutex<Option<PathBuf>> = Mutex::new(None);

/// What the configuration says: the least level that is written (`None`: nothing is), and a file to append to in place of
/// standard error.
pub fn configure(level: Option<Level>, file: Option<PathBuf>) {
    LEVEL.store(level.map_or(OFF, |level| level as u8), Ordering::Relaxed);
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

/// Whether a line of this level is wanted. One load: ask before formatting.
pub fn enabled(level: Level) -> bool {
    let wanted = match LEVEL.load(Ordering::Relaxed) {
        UNSET => from_environment(),
        wanted => wanted,
    };
    level as u8 <= wanted
}

/// Until a configuration is read. Its own reader complains of a word that is no level.
#[cold]
fn from_environment() -> u8 {
    let word = std::env::var("KEYWARD_LOG").unwrap_or_default();
    let level =
        if word.trim().eq_ignore_ascii_case("off") { OFF } else { Level::parse(&word).unwrap_or(Level::Warn) as u8 };
    LEVEL.store(level, Ordering::Relaxed);
    level
}

/// Writes one line. What cannot be written is lost: a log never makes a call fail.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if !enabled(level) {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (pid, name) = (std::process::id(), level.name());
    // One write, so that the lines of several processes do not mix.
    let line = format!("keyward[{pid}] {}.{:03} {name}: {message}\n", now.as_secs(), now.subsec_millis());
    if !append(line.as_bytes()) {
        let _ = write_stderr(line.as_bytes());
    }
}

/// Past the standard library's lock, which a thread may have held that did not come along to a child.
fn write_stderr(line: &[u8]) -> std::io::Result<()> {
    let stderr = std::io::stderr();
    std::fs::File::from(stderr.as_fd().try_clone_to_owned()?).write_all(line)
}

/// To the configured file; `false` where there is none, or it cannot be written.
fn append(line: &[u8]) -> bool {
    // Not to be had in a child whose parent's other thread was just configuring: then standard error must do.
    let Some(path) = FILE.try_lock().ok().and_then(|file| file.clone()) else { return false };
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    // A named pipe that nobody reads must not hold the host up.
    options.mode(0o600).custom_flags(libc::O_NONBLOCK);
    options.open(path).and_then(|mut file| file.write_all(line)).is_ok()
}

/// `log!(Warn, "...")`: formats only where the level is on.
#[macro_export]
macro_rules! log {
    ($level:ident, $($message:tt)+) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, format_args!($($message)+));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_levels_and_others_do_not() {
        assert_eq!(Level::parse(" Debug "), Some(Level::Debug));
        assert_eq!(Level::parse("error"), Some(Level::Error));
        assert_eq!(Level::parse("verbose"), None);
        assert!(Level::Error < Level::Debug);
    }
}
