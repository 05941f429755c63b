//! What a storage engine must do. It sees sealed rows only: it can lose them, not read them, and not change them unseen.

use std::any::Any;
use std::path::Path;

use crate::error::Result;

/// What an attribute's value is found by (docs/slot-file.md, "Index").
pub type Tag = [u8; 16];

/// The one row of the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaRow {
    pub header: Vec<u8>,
    pub label: Vec<u8>,
    pub public_state: Vec<u8>,
    pub private_state: Vec<u8>,
}

/// A role's login record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRow {
    pub record: Vec<u8>,
    pub failures: u32,
    /// When the last wrong one was tried, in milliseconds since 1970; 0: none since the last good one.
    pub tried: u64,
    pub mac: Vec<u8>,
}

/// The token and its records by number: login records under their role's, and the others of `store::rotate`. As of one
/// moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRows {
    pub meta: MetaRow,
    pub auth: Vec<(u8, AuthRow)>,
}

/// An object without its secret. Ids and versions are below 2^63.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    pub id: u64,
    pub version: u64,
    pub key_version: u32,
    pub private: bool,
    /// The version in which the secret was sealed; 0: there is none.
    pub secret_version: u64,
    pub attrs: Vec<u8>,
}

/// An object's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    pub key_version: u32,
    pub private: bool,
    pub secret_version: u64,
    pub sealed: Option<Vec<u8>>,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// It survives a power cut before it is acknowledged.
    Before,
    /// It is visible to all at once, and may be lost to a power cut, together with nothing else.
    Later,
}

/// Which login tries may run beside this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    Together,
    Alone,
}

/// An open token of a storage engine. Any thread may call at any time; readers never wait for writers.
pub trait Store: Send + Sync {
    fn token(&self) -> Result<TokenRows>;

    fn get(&self, id: u64) -> Result<Option<ObjectRow>>;

    fn secret(&self, id: u64) -> Result<Option<SecretRow>>;

    /// Runs `work`, which only reads, on one snapshot: several readings for the price of one.
    fn read(&self, work: &mut dyn FnMut(&dyn Batch) -> Result<()>) -> Result<()>;

    /// Runs `work` in one transaction that excludes all other writers: committed if it succeeds, else without a trace.
    /// `CKR_TOKEN_WRITE_PROTECTED`, `CKR_DEVICE_MEMORY` (disk full), `CKR_DEVICE_REMOVED` (the file is gone).
    fn write(&self, flush: Flush, work: &mut dyn FnMut(&dyn Batch) -> Result<()>) -> Result<()>;

    /// Visits all objects of one snapshot with their secrets; returns the token of the same snapshot and the number of
    /// index entries. For checks: a `fork` elsewhere in the process waits until it is through.
    fn scan(&self, visit: &mut dyn FnMut(&dyn Batch, u64) -> Result<()>) -> Result<(TokenRows, u64)>;

    /// Keeps tries of PINs, in all processes, together or apart until the result is dropped.
    fn tries(&self, mode: Tries) -> Result<Box<dyn Any>>;

    /// Writes a consistent copy of the whole token as a new file, 0600, whole and durable or not at all. Others read and
    /// write meanwhile. `CKR_FUNCTION_FAILED`: the name is taken; `CKR_DEVICE_MEMORY`, `CKR_DEVICE_ERROR`.
    fn backup(&self, to: &Path) -> Result<()>;

    /// Gives the space of removed objects back; returns the bytes used before and after. Writers wait, readers do not.
    fn compact(&self) -> Result<(u64, u64)>;

    /// Brings the log into the file and cuts it to nothing, so that no older state is left in it. `CKR_FUNCTION_FAILED` where
    /// readers of older states kept it from that.
    fn cut_log(&self) -> Result<()>;

    /// What the engine finds wrong with its own structure; nothing where all is well.
    fn check(&self) -> Result<Vec<String>>;

    /// Counts the files that have stood under the token's name since it was opened.
    fn incarnation(&self) -> u64;

    /// Differs from its last value once any process has committed or the file was replaced.
    fn epoch(&self) -> u64;

    fn is_writable(&self) -> bool;
}

/// A transaction of [`Store::write`] (in [`Store::read`] and [`Store::scan`]: its reading half).
pub trait Batch {
    fn token(&self) -> Result<TokenRows>;
    fn get(&self, id: u64) -> Result<Option<ObjectRow>>;
    fn secret(&self, id: u64) -> Result<Option<SecretRow>>;
    /// Ids above `after` of public or of private objects that carry all of `tags` (at least one), ascending, at most `limit`.
    fn find(&self, private: bool, tags: &[Tag], after: u64, limit: usize) -> Result<Vec<u64>>;
    /// Ids above `after` with their private flag, ascending, at most `limit`; private ones only if asked.
    fn list(&self, private: bool, after: u64, limit: usize) -> Result<Vec<(u64, bool)>>;
    /// The lowest id above `after`.
    fn next_object(&self, after: u64) -> Result<Option<u64>>;
    fn has_tag(&self, private: bool, tag: &Tag, id: u64) -> Result<bool>;

    fn set_meta(&self, meta: &MetaRow) -> Result<()>;
    fn set_auth(&self, role: u8, row: &AuthRow) -> Result<()>;
    fn drop_auth(&self, role: u8) -> Result<()>;

    /// The id that no object of this token ever had; not taken until inserted.
    fn next_id(&self) -> Result<u64>;
    fn insert(&self, row: &ObjectRow, secret: Option<&[u8]>) -> Result<()>;
    /// Writes all columns but the secret; that one too where `secret` says so.
    fn update(&self, row: &ObjectRow, secret: Option<Option<&[u8]>>) -> Result<()>;
    fn delete(&self, id: u64) -> Result<()>;
    fn add_tag(&self, private: bool, tag: &Tag, id: u64) -> Result<()>;
    fn drop_tag(&self, private: bool, tag: &Tag, id: u64) -> Result<()>;
    /// Without knowing them: reads the whole index.
    fn drop_all_tags(&self, id: u64) -> Result<()>;
    /// Removes objects, index and login records; the ids used so far stay used.
    fn wipe(&self) -> Result<()>;
}
