//! The application's side: a [`Driver`] whose module is in a helper.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use parking_lot::{Mutex, RwLock};

use super::frame::LONGEST;
use super::frame::LONGEST_OUTPUT;
use super::started::{Helper, Lane};
use super::wire::{Reader, Wire};
use super::{Answered, OVERDUE, Order, is_secret, patience, program};
use crate::config::IsolationRules;
use crate::error::{Code, Error, Result};
use crate::forward::call::{Call, Driver, Reply, Rv};
use crate::forward::ffi::is_ourselves;
use crate::forward::quirks::Quirks;
use crate::log;

/// What a lost helper is to those above: a lost HSM.
const GONE: CK_RV = CKR_DEVICE_ERROR;

/// Helpers that may die young, one after the other, before the next one is waited for.
const AT_ONCE: u32 = 3;

/// A helper that lived so long did not die young.
const GROWN: Duration = Duration::from_secs(60);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// For a module to finalise itself.
const STOPPING: Duration = Duration::from_secs(5);

pub struct Apart {
    path: PathBuf,
    init_args: Option<String>,
    quirks: Quirks,
    rules: IsolationRules,
    program: PathBuf,
    helper: RwLock<Option<Arc<Helper>>>,
    deaths: Mutex<Deaths>,
}

/// Of helpers that died young, one after the other.
#[derive(Default)]
struct Deaths {
    count: u32,
    last: Option<Instant>,
}

/// Why a call had no answer.
enum Trouble {
    Gone,
    Overdue,
    Garbled,
    /// Nothing was asked.
    TooLong,
}

impl Apart {
    /// Nothing is started yet. `CKR_LIBRARY_LOAD_FAILED` for a module or a helper that is not there.
    pub fn new(path: &Path, init_args: Option<&str>, quirks: Quirks, rules: &IsolationRules) -> Result<Apart> {
        let failed = |what: String| Code::LibraryLoadFailed.because(format!("the module {}: {what}", path.display()));
        std::fs::metadata(path).map_err(|error| {
            failed(format!("it cannot be looked at: {error}; correct `module` in the configuration"))
        })?;
        if is_ourselves(path) && !rules.environment.iter().any(|(name, _)| name == "KEYWARD_CONF") {
            return Err(failed("it is Keyward's own library; name the HSM maker's PKCS#11 library, or give it a configuration of its own: environment = { KEYWARD_CONF = \"...\" }".into()));
        }
        let program = rules.helper.clone().or_else(program).ok_or_else(|| {
            failed("isolate = true needs the program keyward, which is not beside the library nor in /usr/bin; say helper = \"/path/of/keyward\"".into())
        })?;
        Ok(Apart {
            path: path.to_owned(),
            init_args: init_args.map(str::to_owned),
            quirks,
            rules: rules.clone(),
            program,
            helper: RwLock::default(),
            deaths: Mutex::default(),
        })
    }

    fn may_start(&self) -> Result<()> {
        let deaths = self.deaths.lock();
        let Some(last) = deaths.last.filter(|_| deaths.count > AT_ONCE) else { return Ok(()) };
        let doubled = deaths.count.saturating_sub(AT_ONCE + 1).min(10);
        let pause = Duration::from_secs(1 << doubled).min(LONGEST_PAUSE);
        match pause.checked_sub(last.elapsed()) {
            None => Ok(()),
            Some(rest) => Err(Code::DeviceError.because(format!(
                "the module {}: its helper has died {} times in a row; the next one is started in {} s",
                self.path.display(),
                deaths.count,
                rest.as_secs() + 1
            ))),
        }
    }

    fn died(&self, age: Duration) {
        let mut deaths = self.deaths.lock();
        deaths.count = if age < GROWN { deaths.count.saturating_add(1) } else { 1 };
        deaths.last = Some(Instant::now());
    }

    /// Of what no answer came: the helper is of no more use. Said once, by whoever finds out first.
    fn lost(&self, helper: &Helper, trouble: &Trouble, doing: &str) -> Error {
        helper.kill();
        let first = !helper.told.swap(true, Ordering::AcqRel);
        let how = match trouble {
            Trouble::Overdue => {
                format!("it did not return within {} s, and its process is killed", self.rules.deadline.as_secs_f32())
            }
            Trouble::Garbled => "its process answered what cannot be, and is killed".into(),
            _ => helper.last_words(),
        };
        let why = format!("the module {}, in process {}: {doing}: {how}", self.path.display(), helper.pid);
        if first {
            self.died(helper.age());
            log!(Warn, "{why}");
        }
        Code::DeviceError.because(why)
    }

    fn exchange(
        &self,
        lane: &mut Lane,
        call: &Call<'_>,
        out: Option<&mut [u8]>,
    ) -> std::result::Result<Rv<Reply>, Trouble> {
        let timeout = self.rules.deadline.saturating_mul(patience(call));
        if lane.timeout != timeout {
            let set = lane.stream.set_read_timeout(Some(timeout));
            set.and_then(|()| lane.stream.set_write_timeout(Some(timeout))).map_err(|_| Trouble::Gone)?;
            lane.timeout = timeout;
        }
        let until = Instant::now() + timeout;
        lane.count = lane.count.wrapping_add(1);
        let room = out.as_ref().map(|out| out.len().min(LONGEST_OUTPUT));
        let secret = is_secret(call);
        // As `Asked`, of which the call is only borrowed here.
        lane.frames
            .send(&lane.stream, lane.count, None, |to| {
                room.put(to);
                call.put(to);
            })
            .map_err(trouble)?;
        let (number, body, _) = lane.frames.receive(&lane.stream, Some(until)).map_err(trouble)?;
        if number != lane.count {
            return Err(Trouble::Garbled);
        }
        let answer = Reader::whole::<Answered<'_>>(body).ok_or(Trouble::Garbled)?;
        let answer = match answer {
            Ok((Reply::Needs(needs), &[]))
                if out.as_ref().is_some_and(|out| needs <= out.len() && needs > LONGEST_OUTPUT) =>
            {
                Err(CKR_DATA_LEN_RANGE)
            }
            Ok((reply, filled)) => Ok(believed(reply, filled, out)?),
            // Ours, and no HSM's.
            Err(CKR_OK | OVERDUE) => return Err(Trouble::Garbled),
            Err(code) => Err(code),
        };
        lane.frames.tidy(secret);
        Ok(answer)
    }
}

fn trouble(error: std::io::Error) -> Trouble {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Trouble::Overdue,
        ErrorKind::InvalidData => Trouble::Garbled,
        ErrorKind::InvalidInput => Trouble::TooLong,
        _ => Trouble::Gone,
    }
}

/// The reply with its bytes in their place, if they are as many as it says and there is room for them.
fn believed(reply: Reply, filled: &[u8], out: Option<&mut [u8]>) -> std::result::Result<Reply, Trouble> {
    let told = match &reply {
        Reply::Wrote(wrote) | Reply::Message(_, wrote) => *wrote,
        _ => 0,
    };
    if told != filled.len() {
        return Err(Trouble::Garbled);
    }
    let place = out.unwrap_or_default().get_mut(..told).ok_or(Trouble::Garbled)?;
    place.copy_from_slice(filled);
    Ok(reply)
}

impl Driver for Apart {
    /// A new helper, with the module loaded and initialised. `CKR_DEVICE_ERROR` where it dies of that.
    fn start(&self) -> Result<()> {
        self.may_start()?;
        let helper = Helper::new(&self.program, &self.rules)?;
        let order = Order::Start {
            module: Cow::Borrowed(self.path.as_os_str().as_bytes()),
            init_args: self.init_args.clone(),
            quirks: self.quirks.name.to_owned(),
        };
        let begun = Instant::now();
        match helper.order(&order, self.rules.deadline) {
            Some(done) => done?,
            None => {
                let late = begun.elapsed() >= self.rules.deadline;
                let trouble = if late { Trouble::Overdue } else { Trouble::Gone };
                return Err(self.lost(&helper, &trouble, "loading and initialising it"));
            }
        }
        log!(Debug, "the module {}: in process {}", self.path.display(), helper.pid);
        *self.helper.write() = Some(Arc::new(helper));
        Ok(())
    }

    fn stop(&self) {
        let Some(helper) = self.helper.write().take() else { return };
        if helper.is_ours() && !helper.told.load(Ordering::Acquire) {
            let _ = helper.order(&Order::Stop, STOPPING.min(self.rules.deadline));
        }
    }

    fn alive(&self) -> bool {
        self.helper.read().as_ref().is_some_and(|helper| helper.is_ours() && !helper.told.load(Ordering::Acquire))
    }

    fn call(&self, call: &Call<'_>, out: Option<&mut [u8]>) -> Rv<Reply> {
        let helper = self.helper.read().clone().filter(|helper| helper.is_ours()).ok_or(GONE)?;
        let Ok(mut lane) = helper.lane() else {
            self.lost(&helper, &Trouble::Gone, call.name());
            return Err(GONE);
        };
        match self.exchange(&mut lane, call, out) {
            Ok(answer) => {
                helper.give_back(lane);
                answer
            }
            Err(Trouble::TooLong) => {
                log!(
                    Warn,
                    "the module {}: more than {LONGEST} bytes do not go to another process at once; give them in parts",
                    self.path.display()
                );
                helper.give_back(lane);
                Err(CKR_DATA_LEN_RANGE)
            }
            Err(trouble) => {
                self.lost(&helper, &trouble, call.name());
                Err(if matches!(trouble, Trouble::Overdue) { OVERDUE } else { GONE })
            }
        }
    }
}
