//! The audit record: one JSON line per event, chained by SHA-256, with checkpoints signed by Ed25519.
//!
//! [`Log`] appends, [`verify`] says where a record was changed, [`export`] gives it to others, [`report`] finds what is
//! unusual in it. docs/audit.md has the format. Nothing here knows a token; who calls says what happened.
//!
//! Several processes write one chain: each line is written under a lock between processes, after looking whether others
//! have written since. Beside the device secret lies the *head*, which holds the length, number and hash of the last line under a
//! MAC: so a record that was cut, edited at its end or removed shows at the next event and to `verify`.

mod chain;
mod event;
pub mod export;
mod head;
mod keys;
mod line;
mod log;
pub mod report;
pub use crate::time;
mod verify;

pub use event::{Class, Event, KeyName};
pub use keys::AuditKeys;
pub use line::Line;
pub use log::Log;
pub use verify::{Finding, Verified, lines, read_public, verify};

/// The file that is written; full ones are `audit-<number of their first line>.log`.
pub const CURRENT: &str = "audit.log";
/// The public key of the checkpoints: 64 hexadecimal digits.
pub const PUBLIC_KEY: &str = "audit.pub";
