//! Locks between processes that wait instead of polling.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

use super::files::open_private;
use super::fork::at_fork;
use crate::error::{Code, Result};

/// Whether others may hold the same byte meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Shared,
    Exclusive,
}

/// One byte of a lock file, held until dropped.
///
/// An *open file description* lock: the classic `F_SETLKW` would not keep two threads of one process apart, and would
/// be lost when any part of the process closes the file; `flock` knows no bytes. Each lock opens the file anew, so that
/// it excludes whoever else asks, thread or process. Waiters sleep in the kernel, which wakes them in turn.
#[derive(Debug)]
pub struct RangeLock {
    file: File,
    noted: Option<&'static AtomicI32>,
}

impl RangeLock {
    /// Waits until it has byte `byte` of `path`, which is made (0600) where missing.
    /// `CKR_TOKEN_WRITE_PROTECTED` where the file cannot be made or opened, `CKR_DEVICE_ERROR` where it cannot be locked.
    pub fn wait(path: &Path, byte: u8, mode: Mode) -> Result<RangeLock> {
        let file = open_private(path).map_err(|e| {
            let advice = "let this account write there (chown, chmod)";
            Code::TokenWriteProtected.because(format!("cannot open the lock file {}: {e}; {advice}", path.display()))
        })?;
        let lock = RangeLock { noted: note(file.as_raw_fd()), file };
        let kind = match mode {
            Mode::Shared => libc::F_RDLCK,
            Mode::Exclusive => libc::F_WRLCK,
        };
        lock.apply(libc::F_OFD_SETLKW, kind, byte)
            .map_err(|e| Code::DeviceError.because(format!("cannot lock {}: {e}", path.display())))?;
        Ok(lock)
    }

    fn apply(&self, command: i32, kind: i32, byte: u8) -> io::Result<()> {
        apply(&self.file, command, kind, byte)
    }
}

fn apply(file: &File, command: i32, kind: i32, byte: u8) -> io::Result<()> {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: i64::from(byte),
        l_len: if kind == libc::F_UNLCK { 0 } else { 1 },
        l_pid: 0,
    };
    loop {
        // SAFETY: an open descriptor and a live `flock`.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &range) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A lock file that stays open, for a lock that is taken too often to open it each time. It keeps processes apart; the
/// threads of this one are the caller's to keep apart. A child of a fork must not use the one that it inherits.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    noted: Option<&'static AtomicI32>,
}

impl LockFile {
    /// Made (0600) where missing.
    pub fn open(path: &Path) -> io::Result<LockFile> {
        let file = super::open_private(path)?;
        Ok(LockFile { noted: note(file.as_raw_fd()), file })
    }

    /// Waits for the lock, holds it while `work` runs. `flock`: of the open description too, and half as dear as a lock on bytes.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        whole(&self.file, libc::LOCK_EX)?;
        let _held = Unlock(&self.file);
        Ok(work())
    }
}

struct Unlock<'a>(&'a File);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        let _ = whole(self.0, libc::LOCK_UN);
    }
}

fn whole(file: &File, operation: i32) -> io::Result<()> {
    loop {
        // SAFETY: an open descriptor.
        if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if let Some(noted) = self.noted {
            noted.store(-1, Ordering::Release);
        }
    }
}

impl Drop for RangeLock {
    fn drop(&mut self) {
        // Explicitly: closing alone would leave the lock with a child that has inherited the description.
        let _ = self.apply(libc::F_OFD_SETLK, libc::F_UNLCK, 0);
        if let Some(noted) = self.noted {
            noted.store(-1, Ordering::Release);
        }
    }
}

/// Descriptors of locks held or awaited, for a child to close: else a lock outlives its holder's sudden death as long
/// as a child lives. A lock that finds no room here only lacks that.
static OPEN: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];

fn note(fd: RawFd) -> Option<&'static AtomicI32> {
    static HANDLER: Once = Once::new();
    fn nothing() {}
    HANDLER.call_once(|| at_fork(nothing, nothing, close_inherited));
    OPEN.iter().find(|room| room.compare_exchange(-1, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok())
}

fn close_inherited() {
    for room in &OPEN {
        let fd = room.swap(-1, Ordering::AcqRel);
        if fd >= 0 {
            // SAFETY: it belonged to a thread that does not exist in this child, so no `File` will close it again.
            unsafe { libc::close(fd) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    #[test]
    fn a_lock_file_keeps_its_holders_apart() {
        let path = std::env::temp_dir().join(format!("keyward-lock-file-{}", std::process::id()));
        let inside = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (path, inside) = (path.clone(), inside.clone());
                std::thread::spawn(move || {
                    let lock = LockFile::open(&path).unwrap();
                    for _ in 0..50 {
                        let alone = || {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::sleep(Duration::from_micros(50));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        };
                        lock.during(alone).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn threads_exclude_each_other_and_bytes_do_not() {
        let path = std::env::temp_dir().join(format!("keyward-lock-{}", std::process::id()));
        let inside = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (path, inside) = (path.clone(), inside.clone());
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let _lock = RangeLock::wait(&path, 0, Mode::Exclusive).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::sleep(Duration::from_micros(50));
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        let _other = RangeLock::wait(&path, 0, Mode::Exclusive).unwrap();
        let _one = RangeLock::wait(&path, 1, Mode::Shared).unwrap();
        let _two = RangeLock::wait(&path, 1, Mode::Shared).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
