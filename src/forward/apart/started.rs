//! One helper that runs: started, spoken to, and its end.

use std::io::Read;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::frame::Frames;
use super::wire::{Reader, Wire};
use super::{COMMAND, DEEPEST, DEPTH, Done, Hello, Order, PROTOCOL};
use crate::config::IsolationRules;
use crate::error::{Code, Error, Result};
use crate::os;

/// For a helper to say who it is: it has done nothing yet.
const HELLO: Duration = Duration::from_secs(10);

/// Lanes that are kept for later calls.
const KEPT: usize = 64;

/// A socket on which one call at a time is made.
pub struct Lane {
    pub stream: UnixStream,
    pub frames: Frames,
    pub count: u32,
    /// The timeout that the socket has.
    pub timeout: Duration,
}

pub struct Helper {
    control: UnixStream,
    /// Held while an order is given.
    ordering: Mutex<()>,
    /// Its last word, where that came in the place of an answer.
    word: Mutex<Option<u8>>,
    process: Option<os::Process>,
    pub pid: u64,
    lanes: Mutex<Vec<Lane>>,
    /// Its end has been told.
    pub told: AtomicBool,
    epoch: u64,
    since: Instant,
}

fn device(why: String) -> Error {
    Code::DeviceError.because(why)
}

fn depth() -> u32 {
    std::env::var(DEPTH).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

fn bounded(stream: &UnixStream, timeout: Duration) -> Result<()> {
    let set = stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
    set.map_err(|error| device(format!("a socket to the helper takes no timeout: {error}")))
}

impl Helper {
    /// Starts the program. `CKR_DEVICE_ERROR` with what is wrong with it.
    pub fn new(program: &Path, rules: &IsolationRules) -> Result<Helper> {
        let failed = |what: String| device(format!("the helper {}: {what}", program.display()));
        let depth = depth();
        if depth >= DEEPEST {
            return Err(failed("helpers stand within one another without end: a module in a helper is Keyward again, with a configuration that leads to itself".into()));
        }
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(format!("no socket: {error}")))?;
        bounded(&ours, HELLO)?;
        // `posix_spawn`: no fork handlers of the host's run, and none of its memory is copied.
        let mut command = Command::new(program);
        command.arg(COMMAND).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).process_group(0);
        command.envs(&rules.environment);
        command.env(DEPTH, (depth + 1).to_string());
        let mut child = command
            .spawn()
            .map_err(|error| failed(format!("it cannot be run: {error}; say helper = \"/path/of/keyward\"")))?;
        // It ends at once, having gone on elsewhere. Where the host ignores its children there is nothing to wait for.
        let _ = child.wait();
        drop(command);
        let mut frames = Frames::default();
        let (_, body, _) = frames.receive(&ours, Some(Instant::now() + HELLO)).map_err(|error| {
            failed(format!("it does not say who it is: {error}; is it the program keyward of this version?"))
        })?;
        let hello: Hello = Reader::whole(body)
            .ok_or_else(|| failed("it is not the program keyward; say helper = \"/path/of/keyward\"".into()))?;
        if (hello.protocol, hello.version.as_str()) != (PROTOCOL, env!("CARGO_PKG_VERSION")) {
            let own = env!("CARGO_PKG_VERSION");
            return Err(failed(format!(
                "it is of version {}, this library of {own}; install both from one package",
                hello.version.escape_debug()
            )));
        }
        Ok(Helper {
            process: u32::try_from(hello.process).ok().and_then(os::Process::open),
            control: ours,
            ordering: Mutex::default(),
            word: Mutex::default(),
            pid: hello.process,
            lanes: Mutex::default(),
            told: AtomicBool::new(false),
            epoch: os::fork_epoch(),
            since: Instant::now(),
        })
    }

    /// Whether this is the process that started it. A forked child must leave it alone.
    pub fn is_ours(&self) -> bool {
        self.epoch == os::fork_epoch()
    }

    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// An order that is answered. `None`: it is gone, or over its time.
    pub fn order(&self, order: &Order<'_>, within: Duration) -> Option<Result<()>> {
        let _one_at_a_time = self.ordering.lock();
        bounded(&self.control, within).ok()?;
        let mut frames = Frames::default();
        frames.send(&self.control, 0, None, |to| order.put(to)).ok()?;
        let answered = frames.receive(&self.control, Some(Instant::now() + within)).is_ok();
        if !answered {
            *self.word.lock() = frames.fragment().first().copied();
            return None;
        }
        let done: Done = Reader::whole(frames.body())?;
        Some(done.map(drop).map_err(|(code, why)| {
            let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
            Code::from_ckr(code).unwrap_or(Code::DeviceError).because(why)
        }))
    }

    /// A lane nobody uses, or a new one.
    pub fn lane(&self) -> std::io::Result<Lane> {
        if let Some(lane) = self.lanes.lock().pop() {
            return Ok(lane);
        }
        let (ours, theirs) = UnixStream::pair()?;
        let _one_at_a_time = self.ordering.lock();
        Frames::default().send(&self.control, 0, Some(theirs.as_fd()), |to| Order::Lane.put(to))?;
        Ok(Lane { stream: ours, frames: Frames::default(), count: 0, timeout: Duration::ZERO })
    }

    pub fn give_back(&self, lane: Lane) {
        let mut lanes = self.lanes.lock();
        if lanes.len() < KEPT {
            lanes.push(lane);
        }
    }

    pub fn kill(&self) {
        if !self.is_ours() {
            return;
        }
        match &self.process {
            Some(process) => process.kill(),
            // It leaves when it sees that.
            None => drop(self.control.shutdown(Shutdown::Write)),
        }
    }

    /// How it ended, if it could say so: to be asked once it is gone.
    pub fn last_words(&self) -> String {
        let _one_at_a_time = self.ordering.lock();
        let _ = bounded(&self.control, Duration::from_millis(500));
        let mut word = [0u8; 1];
        let read = |word: &mut [u8; 1]| (&self.control).read(word).is_ok_and(|got| got == 1).then_some(word[0]);
        match self.word.lock().or_else(|| read(&mut word)) {
            Some(0) => "it has called exit".into(),
            Some(signal) => format!("it has died of signal {signal} ({})", os::signal_name(signal)),
            None => "it was killed".into(),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.told.store(true, Ordering::Relaxed);
        self.kill();
    }
}
