//! The encrypted slot file (docs/slot-file.md): one token, with its PINs and its objects, durable and shared by processes.
//!
//! [`SlotFile`] is the whole of it to the outside. Underneath, `engine` is the trait of a storage engine, which sees
//! sealed rows only, and `sqlite` implements it; everything cryptographic stands above that trait, so that a second
//! engine gets it for nothing.

mod anchor;
mod auth;
mod device;
mod engine;
mod format;
mod group;
mod keys;
mod ledger;
mod newest;
mod objects;
mod probe;
mod rotate;
mod seal;
mod slot_file;
mod sqlite;
mod staff;
mod totp;
mod users;
mod verify;

pub use device::DeviceSecret;
pub use keys::{Keys, Role};
pub use objects::{Change, Entry, Record, SecretChange};
pub use probe::probe;
pub use slot_file::{Header, PinState, Rules, SlotFile};
pub use staff::{UserInfo, totp_uri};
pub use users::{Roles, Standing};
pub use verify::Report;
