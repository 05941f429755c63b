//! The helper's side: the program `keyward`, run as `keyward apart` by the library.

use std::ffi::OsStr;
use std::io::Result;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::frame::{Frames, LONGEST_OUTPUT};
use super::wire::{Reader, Wire};
use super::{Answered, Asked, Done, Hello, MAGIC, Order, PROTOCOL, is_secret};
use crate::error::{Code, Error};
use crate::forward::call::{Call, Driver, Reply, Rv};
use crate::forward::ffi::Local;
use crate::forward::module::Threads;
use crate::forward::quirks;
use crate::os;

/// HSMs' modules are C, and were tried on main threads.
const STACK: usize = 8 << 20;

/// Output that is kept between calls, in bytes.
const KEPT: usize = 1 << 16;

/// Serves one application until it has gone. Returns only if this was not started by the library.
pub fn serve() -> Result<()> {
    let control = os::part_from_starter()?;
    os::leave_last_words();
    let watched = control.try_clone()?;
    std::thread::spawn(move || {
        let starter = os::maker(&watched).and_then(os::Process::open);
        os::wait_for_end(starter.as_ref(), &watched);
        os::leave(0);
    });
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let process = u64::from(std::process::id());
    say(&control, &Hello { magic: MAGIC, protocol: PROTOCOL, version, process })?;
    let _ = obey(&control);
    os::leave(0)
}

fn say<'a>(control: &UnixStream, what: &impl Wire<'a>) -> Result<()> {
    Frames::default().send(control, 0, None, |to| what.put(to))
}

fn obey(control: &UnixStream) -> Result<()> {
    let mut module: Option<(PathBuf, Arc<Local>)> = None;
    let mut frames = Frames::default();
    loop {
        let (_, body, with) = frames.receive(control, None)?;
        match Reader::whole::<Order<'_>>(body) {
            Some(Order::Start { module: path, init_args, quirks }) => {
                let path = Path::new(OsStr::from_bytes(&path)).to_owned();
                let done: Done = start(&mut module, &path, init_args.as_deref(), &quirks).map(|()| 0).map_err(told);
                say(control, &done)?;
            }
            Some(Order::Lane) => {
                if let (Some(lane), Some((_, module))) = (with, &module) {
                    serve_lane(lane, Arc::clone(module));
                }
            }
            Some(Order::Stop) => {
                if let Some((_, module)) = &module {
                    module.stop();
                }
                return say(control, &Done::Ok(0));
            }
            None => return Ok(()),
        }
    }
}

fn told(error: Error) -> (u64, String) {
    (error.code().ckr(), error.why().unwrap_or_default().to_owned())
}

fn start(
    module: &mut Option<(PathBuf, Arc<Local>)>,
    path: &Path,
    init_args: Option<&str>,
    quirks: &str,
) -> crate::error::Result<()> {
    let quirks = quirks::named(quirks).ok_or(Code::GeneralError)?;
    let local = match module {
        Some((_, local)) => Arc::clone(local),
        None => {
            let local = Arc::new(Local::load(path, init_args, quirks, Threads::Allowed)?);
            *module = Some((path.to_owned(), Arc::clone(&local)));
            local
        }
    };
    local.start()
}

/// A lane that cannot be served is closed, which the other side takes for the helper's end.
fn serve_lane(lane: OwnedFd, module: Arc<Local>) {
    let stream = UnixStream::from(lane);
    let _ = std::thread::Builder::new().stack_size(STACK).spawn(move || answer_all(&stream, &module));
}

fn answer_all(stream: &UnixStream, module: &Local) -> Result<()> {
    let (mut frames, mut answers) = (Frames::default(), Frames::default());
    let mut out = Zeroizing::new(Vec::new());
    loop {
        let (number, body, _) = frames.receive(stream, None)?;
        let Some((room, call)) = Reader::whole::<Asked<'_>>(body) else { return Ok(()) };
        let secret = is_secret(&call);
        let room = room.map(|room| room.min(LONGEST_OUTPUT));
        if let Some(room) = room
            && out.len() < room
        {
            // Fresh zeros cost nothing until they are written to.
            *out = vec![0; room];
        }
        let place = room.and_then(|room| out.get_mut(..room));
        let reply = module.call(&call, place);
        let filled = match &reply {
            Ok(Reply::Wrote(wrote) | Reply::Message(_, wrote)) => out.get(..*wrote).unwrap_or_default(),
            _ => &[],
        };
        let answer: Answered<'_> = in_bounds(&call, reply).map(|reply| (reply, filled));
        answers.send(stream, number, None, |to| answer.put(to))?;
        if out.len() > KEPT {
            *out = Vec::new();
        }
        drop(call);
        frames.tidy(secret);
        answers.tidy(secret);
    }
}

/// What no answer may be, or would be longer than one may be.
fn in_bounds(call: &Call<'_>, reply: Rv<Reply>) -> Rv<Reply> {
    match reply {
        Err(CKR_OK | super::OVERDUE) => Err(CKR_DEVICE_ERROR),
        Ok(Reply::Answers(answers)) if matches!(call, Call::Get { types, .. } if types.len() != answers.len()) => {
            Err(CKR_DEVICE_ERROR)
        }
        other => other,
    }
}
