//! What a helper process does to stand apart from the process that started it.

use std::io::{Error, Result};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the socket goes: modules that tidy up the standard descriptors do not meet it there.
const HIGH: RawFd = 64;

/// The socket that last words go to.
static LAST_WORDS: AtomicI32 = AtomicI32::new(-1);

/// Takes standard input, which is a socket, and parts with the starter: its child has ended at once, so that it has no child to
/// wait for and no signal of one; not of its process group; with none of its descriptors but standard error. Call it
/// before any thread is started.
pub fn part_from_starter() -> Result<UnixStream> {
    // SAFETY: numbers alone. No other thread is there yet that a fork could leave behind; the parent leaves without running
    // anything. The high descriptor is new, and ours.
    unsafe {
        if libc::fcntl(0, libc::F_GETFD) < 0 || !is_socket(0) {
            return Err(Error::from_raw_os_error(libc::ENOTSOCK));
        }
        match libc::fork() {
            -1 => return Err(Error::last_os_error()),
            0 => {}
            _ => libc::_exit(0),
        }
        libc::setsid();
        let high = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, HIGH);
        if high < 0 {
            return Err(Error::last_os_error());
        }
        let nowhere = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        libc::dup2(nowhere, 0);
        libc::dup2(nowhere, 1);
        close_all_but(high);
        LAST_WORDS.store(high, Ordering::Release);
        Ok(UnixStream::from_raw_fd(high))
    }
}

/// # Safety
/// As `getsockopt`, of any number.
unsafe fn is_socket(descriptor: RawFd) -> bool {
    let (mut kind, mut len) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: a live number of that length.
    let rv =
        unsafe { libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut len) };
    rv == 0 && kind == libc::SOCK_STREAM
}

/// # Safety
/// Nobody else in this process has a descriptor above 2.
unsafe fn close_all_but(kept: RawFd) {
    let (kept, last) = (kept as libc::c_uint, libc::c_uint::MAX);
    // SAFETY: numbers alone.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, 3, kept - 1, 0) == 0
            && libc::syscall(libc::SYS_close_range, kept + 1, last, 0) == 0
    };
    if !done {
        // Before Linux 5.9.
        for number in (3..4096).filter(|number| *number != kept as RawFd) {
            // SAFETY: as above.
            unsafe { libc::close(number) };
        }
    }
}

/// A byte to the starter when the process dies of a fault, or by `exit`: the signal's number, or 0. Then it dies as it would.
pub fn leave_last_words() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTERM] {
        // SAFETY: the handler calls nothing but `send`; after it the signal has its own effect (SA_RESETHAND).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = of_signal as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    // SAFETY: a function that lives as long as the process.
    unsafe { libc::atexit(of_exit) };
}

extern "C" fn of_signal(signal: libc::c_int) {
    last_word(signal);
    // SAFETY: the default action now; what faulted faults again, and what was raised is raised again.
    unsafe { libc::raise(signal) };
}

extern "C" fn of_exit() {
    last_word(0);
}

fn last_word(word: libc::c_int) {
    let byte = [u8::try_from(word).unwrap_or(u8::MAX)];
    let socket = LAST_WORDS.load(Ordering::Acquire);
    // SAFETY: one live byte; `send` may be called in a signal handler.
    unsafe { libc::send(socket, byte.as_ptr().cast(), 1, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
}

/// Ends the process without a last word, and without what it would do at its exit.
pub fn leave(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

/// The name of a signal that kills by a fault.
pub fn signal_name(number: u8) -> &'static str {
    match i32::from(number) {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => "SIGABRT",
        libc::SIGTERM => "SIGTERM",
        _ => "a signal",
    }
}
