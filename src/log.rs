//! What people read when a call did not work: one line per event on standard error, or in a file.
//!
//! `KEYWARD_LOG` is `error`, `warn` (the default), `info` or `debug`; `KEYWARD_LOG_FILE` names a file to append to. No
//! payload, PIN or key ever comes here. Nothing is held open and nothing waits on a lock, so that a forked child and the
//! exit handlers of a host may log as well.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
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

/// 0: the environment has not been read yet.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Reads `KEYWARD_LOG` again: at each `C_Initialize`.
pub fn configure() {
    let level = std::env::var("KEYWARD_LOG").ok().and_then(|word| Level::parse(&word)).unwrap_or(Level::Warn);
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether a line of this level is wanted. One load: ask before formatting.
pub fn enabled(level: Level) -> bool {
    if LEVEL.load(Ordering::Relaxed) == 0 {
        configure();
    }
    level as u8 <= LEVEL.load(Ordering::Relaxed)
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
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// To `KEYWARD_LOG_FILE`; `false` where there is none or it cannot be written.
fn append(line: &[u8]) -> bool {
    let Some(path) = std::env::var_os("KEYWARD_LOG_FILE").filter(|path| !path.is_empty()) else { return false };
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
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
