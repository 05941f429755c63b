//! A child process per test: a module that crashes, hangs or ends the process costs that test and nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a child gave no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Lost {
    /// Killed by this signal.
    Signal(i32),
    /// The process ended by itself, with this status.
    Exit(i32),
    /// Took longer than allowed; killed.
    Timeout,
    /// The check itself went wrong.
    Panic(String),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lost::Signal(n) => write!(f, "the module crashed: {}", signal_name(*n)),
            Lost::Exit(n) => write!(f, "the module ended the process with status {n}"),
            Lost::Timeout => f.write_str("no answer in the time allowed"),
            Lost::Panic(e) => write!(f, "error in the check itself: {e}"),
        }
    }
}

fn signal_name(n: i32) -> String {
    match n {
        libc::SIGSEGV => "segmentation fault".into(),
        libc::SIGABRT => "abort".into(),
        libc::SIGBUS => "bus error".into(),
        libc::SIGFPE => "arithmetic fault".into(),
        libc::SIGILL => "illegal instruction".into(),
        n => format!("signal {n}"),
    }
}

/// Runs `work` in a forked child and hands back what it returned.
///
/// The caller must be single-threaded. With `quiet`, the child's standard output and error go nowhere.
pub fn isolated<R>(limit: Duration, quiet: bool, work: impl FnOnce() -> R) -> Result<R, Lost>
where
    R: Serialize + DeserializeOwned,
{
    clear_notes();
    let (reader, writer) = pipe();
    // SAFETY: this process has one thread, so the child may do everything the parent may.
    match unsafe { libc::fork() } {
        -1 => panic!("cannot fork: {}", std::io::Error::last_os_error()),
        0 => {
            drop(reader);
            child(writer, quiet, work)
        }
        pid => {
            drop(writer);
            let answer = read_until(&reader, Instant::now() + limit);
            // SAFETY: the child leads its own process group, which holds only processes of this test.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
            let status = wait(pid, true);
            decode(answer, status)
        }
    }
}

/// Sends this process's standard output and error nowhere.
pub fn silence() {
    // SAFETY: plain system calls on our own descriptors.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        libc::dup2(null, 1);
        libc::dup2(null, 2);
    }
}

fn child<R: Serialize>(writer: OwnedFd, quiet: bool, work: impl FnOnce() -> R) -> ! {
    // SAFETY: a plain system call on our own process.
    unsafe { libc::setpgid(0, 0) };
    if quiet {
        silence();
    }
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work)).map_err(|e| {
        let text = e.downcast_ref::<String>().cloned();
        text.or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    });
    let text = serde_json::to_vec(&result).unwrap_or_default();
    let _ = File::from(writer).write_all(&text);
    // SAFETY: ends this process at once, without the module's exit handlers, which have their own test.
    unsafe { libc::_exit(0) }
}

fn decode<R: DeserializeOwned>(answer: Option<Vec<u8>>, status: i32) -> Result<R, Lost> {
    let Some(bytes) = answer else { return Err(Lost::Timeout) };
    match serde_json::from_slice::<Result<R, String>>(&bytes) {
        Ok(result) => result.map_err(Lost::Panic),
        Err(_) if libc::WIFSIGNALED(status) => Err(Lost::Signal(libc::WTERMSIG(status))),
        Err(_) => Err(Lost::Exit(libc::WEXITSTATUS(status))),
    }
}

/// Where the child is, in memory that both processes see: the function being called, and an argument of interest.
static PLACE: OnceLock<&'static [AtomicU32; 2]> = OnceLock::new();

/// Notes that this function is being called (an index of the table of functions).
pub fn note_call(function: u32) {
    if let Some(place) = PLACE.get() {
        place[0].store(function + 1, Ordering::Relaxed);
    }
}

/// Notes what the test is about to try, as a number of its own.
pub fn note_step(step: u32) {
    if let Some(place) = PLACE.get() {
        place[1].store(step + 1, Ordering::Relaxed);
    }
}

/// What the last child noted: function and step.
pub fn noted() -> (Option<u32>, Option<u32>) {
    let read = |i: usize| PLACE.get().and_then(|p| p[i].load(Ordering::Relaxed).checked_sub(1));
    (read(0), read(1))
}

fn clear_notes() {
    let place = PLACE.get_or_init(|| {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh shared page, never unmapped, zeroed and aligned for atomics.
        unsafe {
            let page = libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED, "cannot map a page");
            &*page.cast::<[AtomicU32; 2]>()
        }
    });
    place.iter().for_each(|p| p.store(0, Ordering::Relaxed));
}

/// Runs `work` in a forked child of the test and says how it ended: its exit status, or 256 and the signal.
pub fn in_child(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs only `work` and ends; the parent waits for its own child.
    let status = unsafe {
        match libc::fork() {
            0 => {
                let code = work();
                libc::_exit(code)
            }
            pid => {
                let mut status = 0;
                libc::waitpid(pid, &raw mut status, 0);
                status
            }
        }
    };
    if libc::WIFSIGNALED(status) { 256 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// A line between a test and its peer process, for taking turns.
pub struct Line {
    out: Option<File>,
    inp: File,
}

impl Line {
    /// Lets the other side go on.
    pub fn tell(&mut self) {
        let _ = self.send("\u{1}");
    }

    pub fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.out.as_mut().map_or(Ok(()), |out| out.write_all(text.as_bytes()))
    }

    /// Another handle on what comes in.
    pub fn reader(&self) -> std::io::Result<File> {
        self.inp.try_clone()
    }

    /// Own handles on both directions: out and in.
    ///
    /// # Panics
    /// When the process has no descriptors left.
    pub fn files(&mut self) -> (File, File) {
        let out = self.out.take().expect("a line that was not hung up");
        (out, self.inp.try_clone().expect("a descriptor"))
    }

    /// Waits for the other side; ends at once if that is gone.
    pub fn hear(&mut self) -> bool {
        self.inp.read_exact(&mut [0]).is_ok()
    }
}

/// A second process of a test.
pub struct Peer {
    pid: i32,
    pub line: Line,
}

impl Peer {
    /// Forks; the child does `work` and answers with its bytes.
    pub fn spawn(work: impl FnOnce(&mut Line) -> Vec<u8>) -> Peer {
        let ((child_in, out), (inp, child_out)) = (pipe(), pipe());
        // SAFETY: the child runs only `work` and ends.
        match unsafe { libc::fork() } {
            0 => {
                drop((out, inp));
                let mut line = Line { out: Some(File::from(child_out)), inp: File::from(child_in) };
                let answer = work(&mut line);
                let _ = line.out.as_mut().map(|out| out.write_all(&answer));
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(0) }
            }
            pid => Peer { pid, line: Line { out: Some(File::from(out)), inp: File::from(inp) } },
        }
    }

    /// Waits for the end of the process.
    pub fn wait(&self) {
        wait(self.pid, false);
    }

    /// Waits for the end and hands back the answer, after all turns were taken.
    pub fn answer(mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        let _ = self.line.inp.read_to_end(&mut answer);
        wait(self.pid, false);
        answer
    }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: the array holds two descriptors; on success they are ours.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0, "cannot make a pipe");
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

/// Reads until the end; `None` when the deadline comes first.
fn read_until(fd: &OwnedFd, deadline: Instant) -> Option<Vec<u8>> {
    let mut file = File::from(fd.try_clone().ok()?);
    let mut all = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left.as_millis().min(60_000) as i32 + 1) };
        if ready > 0 {
            match file.read(&mut part) {
                Ok(0) | Err(_) => return Some(all),
                Ok(n) => all.extend_from_slice(&part[..n]),
            }
        }
    }
}

fn wait(pid: i32, kill: bool) -> i32 {
    let mut status = 0;
    // SAFETY: our own child. When its answer is in or the deadline past it may be killed; a status that it already has
    // stays what it is.
    unsafe {
        if kill {
            libc::kill(pid, libc::SIGKILL);
        }
        libc::waitpid(pid, &raw mut status, 0);
    }
    status
}
