//! An HSM's module in a process of its own, a helper, so that its crash, hang or leak does not touch the application.
//!
//! ```text
//! application: Apart (a Driver) --- control: one socket, orders and last words --- helper: `serve`, over ffi::Local
//!                               \-- lanes: a socket per call at a time, calls and answers --/
//! ```
//! The helper is the program `keyward`, run as `keyward apart` with the control socket as its standard input. It says who it is;
//! a helper of another version is refused. It leaves when the application does: it watches the process that made its socket.
//! It is nobody's child: its first process has gone on in a child and ended, so that the application neither waits for it nor
//! gets a signal of it.
//!
//! A helper that is gone, that answers what cannot be, or that is over its time, is killed, and from then on every call fails
//! until [`Driver::start`] has another. To what stands above that is an HSM that was lost: it connects again, logs in again,
//! finds its objects again, and repeats what may be repeated.

mod client;
mod frame;
mod served;
mod started;
mod wire;

use std::borrow::Cow;
use std::path::PathBuf;

use cryptoki_sys::*;

pub use client::Apart;
pub use served::serve;
use wire::{Reader, Wire};

use super::call::{Call, Reply};

/// Raised with every change of what goes over the sockets; both sides come from one build.
const PROTOCOL: u64 = 3;

const MAGIC: [u8; 8] = *b"keyward\0";

/// The word after which `keyward` is a helper.
pub const COMMAND: &str = "apart";

/// How many helpers stand above this one: ours in front of ours in front of ... would not end.
const DEPTH: &str = "KEYWARD_APART";

/// Helpers above one another that are believed to be meant.
const DEEPEST: u32 = 3;

/// What a helper says first.
#[derive(Debug, PartialEq)]
struct Hello {
    magic: [u8; 8],
    protocol: u64,
    version: String,
    process: u64,
}

/// What a helper is told on the control socket.
#[derive(Debug, PartialEq)]
enum Order<'a> {
    /// Loads the module, once, and initialises it. Answered by [`Done`].
    Start { module: Cow<'a, [u8]>, init_args: Option<String>, quirks: String },
    /// A lane's socket comes with this.
    Lane,
    /// Finalises the module and ends. Answered by [`Done`].
    Stop,
}

/// Or the code and what to say of it.
type Done = Result<u8, (u64, String)>;

/// What goes over a lane: the room for output where the call has an output buffer, and the call.
type Asked<'a> = (Option<usize>, Call<'a>);

/// The reply, and what is in the output buffer.
type Answered<'a> = Result<(Reply, &'a [u8]), u64>;

impl<'a> Wire<'a> for Hello {
    fn put(&self, to: &mut Vec<u8>) {
        let Hello { magic, protocol, version, process } = self;
        magic.put(to);
        protocol.put(to);
        version.put(to);
        process.put(to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        let magic = Wire::take(from).filter(|magic| *magic == MAGIC)?;
        Some(Hello { magic, protocol: Wire::take(from)?, version: Wire::take(from)?, process: Wire::take(from)? })
    }
}

impl<'a> Wire<'a> for Order<'a> {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Order::Start { module, init_args, quirks } => {
                to.push(0);
                module.put(to);
                init_args.put(to);
                quirks.put(to);
            }
            Order::Lane => to.push(1),
            Order::Stop => to.push(2),
        }
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        Some(match u8::take(from)? {
            0 => Order::Start { module: Wire::take(from)?, init_args: Wire::take(from)?, quirks: Wire::take(from)? },
            1 => Order::Lane,
            2 => Order::Stop,
            _ => return None,
        })
    }
}

/// Where the helper's program is, if the configuration does not say: in the directory of this library or near it, else where
/// programs are installed.
fn program() -> Option<PathBuf> {
    let own = super::ffi::own_path();
    let beside = own.iter().flat_map(|own| {
        let above = own.ancestors().skip(1).take(5);
        above.flat_map(|place| [place.join("keyward"), place.join("bin/keyward")])
    });
    let usual = ["/usr/bin/keyward", "/usr/local/bin/keyward"].map(PathBuf::from);
    beside.chain(usual).find(|path| path.is_file())
}

/// Whether a call carries what must not stay in memory: PINs, keys, templates. Payloads are the application's to look after.
fn is_secret(call: &Call<'_>) -> bool {
    !matches!(
        call,
        Call::Run { .. }
            | Call::Feed { .. }
            | Call::Verify { .. }
            | Call::Message { .. }
            | Call::SignedMessage { .. }
            | Call::Random { .. }
            | Call::Found { .. }
    )
}

/// How many of the deadlines a call has: more where a person, or a search for primes, is waited for.
fn patience(call: &Call<'_>) -> u32 {
    match call {
        Call::Generate { .. } | Call::GeneratePair { .. } | Call::Initialize { .. } => 10,
        Call::Login { pin: None, .. } => 10,
        _ => 1,
    }
}

/// Ours alone: the helper was over its time. Never an HSM's own code (PKCS#11 knows none above 32 bits).
pub const OVERDUE: CK_RV = 0x6b65_7977_6f76_6572;

#[cfg(test)]
mod tests;
