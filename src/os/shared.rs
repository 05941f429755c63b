//! The storage engine's shared memory: has any process committed anything?

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

use super::fork::fork_epoch;

/// Words of the WAL-index header: 48 bytes (SQLite, "WAL-mode File Format", 2.1).
const WORDS: usize = 6;
/// A block of the WAL index, the unit in which `xShmMap` maps it.
const BLOCK: i32 = 32 * 1024;

/// A connection kept open for the sake of its view of the WAL-index header, which every commit changes.
pub struct WalWatch {
    header: NonNull<[AtomicU64; WORDS]>,
    /// The process that opened the connection.
    fork: u64,
    connection: Mutex<Option<Connection>>,
}

// SAFETY: the header is shared memory read as atomics only; the connection stands behind a mutex.
unsafe impl Send for WalWatch {}
// SAFETY: as above.
unsafe impl Sync for WalWatch {}

impl WalWatch {
    /// `None`: the engine keeps no shared memory for this connection (rollback journal, `immutable`, nothing read yet).
    pub fn new(connection: Connection) -> Option<WalWatch> {
        let header = header_of(&connection)?;
        Some(WalWatch { header, fork: fork_epoch(), connection: Mutex::new(Some(connection)) })
    }

    /// A number that differs once any process has committed: a few loads, no call of the system. `fork` is the caller's
    /// `fork_epoch()`; `None` in a process that inherited this watch.
    #[inline]
    pub fn sample(&self, fork: u64) -> Option<u64> {
        if fork != self.fork {
            return None;
        }
        // SAFETY: the engine keeps the first block mapped, at one place, while the connection is open; the connection is
        // closed by `drop`, and by `close_inherited` only where the test above fails.
        let [_, changes, _, _, _, sum] = unsafe { self.header.as_ref() };
        // The count of commits, and the checksum over all the rest: the count alone starts anew when a log is recovered.
        // Torn reading gives a number that no whole header will give again.
        let mixed = changes.load(Ordering::Relaxed).wrapping_mul(SPREAD) ^ sum.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        Some(mixed)
    }

    /// In a child: closes the inherited connection, without the checkpoint that closing would try. Elsewhere: nothing.
    pub fn close_inherited(&self) {
        if fork_epoch() == self.fork {
            return;
        }
        if let Some(connection) = self.connection.lock().unwrap_or_else(|e| e.into_inner()).take() {
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

/// An odd number of even bit distribution.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

fn header_of(connection: &Connection) -> Option<NonNull<[AtomicU64; WORDS]>> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    let mut block: *mut c_void = ptr::null_mut();
    // SAFETY: the handle is open; FILE_POINTER writes one pointer, to a file object that lives as long as the connection.
    // `xShmMap` exists from version 2 of the methods on; asked not to extend, it hands out the mapping of block 0 or
    // null. Blocks are page-aligned, and never moved or unmapped before the connection is closed.
    unsafe {
        let op = ffi::SQLITE_FCNTL_FILE_POINTER;
        let told = ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), op, (&raw mut file).cast());
        let methods = file.as_ref()?.pMethods.as_ref()?;
        if told != ffi::SQLITE_OK || methods.iVersion < 2 {
            return None;
        }
        let map = methods.xShmMap?;
        let mapped = map(file, 0, BLOCK, 0, (&raw mut block).cast());
        // A read-only mapping answers with a code of its own and a good pointer.
        if mapped != ffi::SQLITE_OK && mapped != ffi::SQLITE_READONLY {
            return None;
        }
    }
    NonNull::new(block.cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t(a); SELECT * FROM t").unwrap();
        connection
    }

    #[test]
    fn each_commit_of_another_connection_changes_the_sample() {
        let path = std::env::temp_dir().join(format!("keyward-watch-{}", std::process::id()));
        let other = open(&path);
        let watch = WalWatch::new(open(&path)).unwrap();
        let fork = fork_epoch();
        let mut last = watch.sample(fork).unwrap();
        for n in 0..50 {
            assert_eq!(watch.sample(fork), Some(last));
            other.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
            assert_ne!(watch.sample(fork), Some(last));
            last = watch.sample(fork).unwrap();
            if n % 10 == 0 {
                other.pragma_update(None, "wal_checkpoint", "truncate").ok();
                last = watch.sample(fork).unwrap();
            }
        }
        drop((watch, other));
        std::fs::remove_file(&path).unwrap();
        assert!(WalWatch::new(Connection::open_in_memory().unwrap()).is_none());
    }
}
