//! Backups of whole tokens: a consistent snapshot, sealed under a random key that custodians hold in shares, M of N of which
//! give it back (docs/backup.md).
//!
//! Making one needs no PIN, and opening one gives no private key: who restores must know the token's PINs as well. Within
//! the seal stands the device secret of the machine, without which the slot file could be read nowhere else.

mod age;
mod archive;
mod cms;
mod custodian;
mod restore;
mod shamir;
mod share;

pub use age::{Identity, Recipient};
pub use archive::{Archive, Header, Maker};
pub use custodian::{Custodian, Kind};
pub use restore::{Opened, Restored, Target};
pub use shamir::MOST;
pub use share::Share;
