//! What the house asks of the operating system beyond `std`: forks, locks between processes, private files, and a look
//! into the storage engine's shared memory. Unsafe code is allowed here; each block says why it is sound.

#![allow(unsafe_code)]

mod channel;
mod detached;
mod engine_locks;
mod files;
mod fork;
mod lock;
mod mapped;
mod shared;

pub use channel::{Process, maker, receive, send, wait_for_end};
pub use detached::{leave, leave_last_words, part_from_starter, signal_name};
pub use engine_locks::give_engine_locks;
pub use files::{
    FileSystem, check_private, create_private, create_private_dirs, failed, file_system, is_writable, length,
    length_and_names, not_a_file, open_private, reserve, sync_dir, write_private_new,
};
pub use fork::{at_fork, fork_epoch};
pub use lock::{LockFile, Mode, RangeLock};
pub use mapped::Mapped;
pub use shared::WalWatch;

use crate::error::{Code, Result};

/// Fills `out` from the system's generator, which no fork repeats. `CKR_RANDOM_NO_RNG` where the system has none.
pub fn random(out: &mut [u8]) -> Result<()> {
    let mut rest = out;
    while !rest.is_empty() {
        // SAFETY: the pointer and length are those of one live, writable slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => rest = rest.get_mut(got..).ok_or(Code::RandomNoRng)?,
            Err(_) => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(Code::RandomNoRng.because(format!("the system's random generator failed: {error}")));
                }
            }
        }
    }
    Ok(())
}

/// `N` random bytes; see [`random`].
pub fn random_array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random(&mut bytes)?;
    Ok(bytes)
}

/// The user as whom this thread acts. It may change in the life of a process.
pub fn effective_user() -> u32 {
    // SAFETY: no argument, cannot fail.
    unsafe { libc::geteuid() }
}

/// Numbers that [`thread_place`] gives.
pub const PLACES: usize = 64;

/// A number below [`PLACES`], mostly another one in each thread, mostly the same in one. A thread's own variable would cost more
/// in a shared library: but the stacks of two threads lie apart, and where something lies on it tells the thread.
#[inline]
pub fn thread_place() -> usize {
    let here = 0u8;
    let stack = (&raw const here as usize as u64 >> 16).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (stack >> 58) as usize
}

/// Milliseconds of a clock that never goes back, read without a system call, a few milliseconds coarse.
pub fn coarse_millis() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live timespec; the clock exists since Linux 2.6.32, and a failure leaves the zeros.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}
