//! Opening and making the database: what it lies on, who may write it, how each connection is set up.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::engine::{AuthRow, MetaRow};
use super::batch::Transaction;
use super::gate::Inside;
use crate::error::{Code, Error, Result};
use crate::os;

/// The format of the tables, at offset 60 of the file; it and the format of what is sealed in them go their own ways.
/// 1: the first. 2: `auth.tried`. 3: named users, in `auth`; the tables are those of 2. 4: `tags` in place of `idx`.
pub const TABLES: i32 = 4;

/// Bytes of a page of the file, and the fewest that a slot file has.
const PAGE: u64 = 8192;

/// `KEYW`, at offset 68 of the file.
const APPLICATION_ID: i32 = 0x4B45_5957;

const SCHEMA: &str = "
    CREATE TABLE meta(one INTEGER PRIMARY KEY CHECK(one = 1), header BLOB NOT NULL, label BLOB NOT NULL,
        public_state BLOB NOT NULL, private_state BLOB NOT NULL) STRICT;
    CREATE TABLE auth(role INTEGER PRIMARY KEY, record BLOB NOT NULL, failures INTEGER NOT NULL,
        mac BLOB NOT NULL, tried INTEGER NOT NULL DEFAULT 0) STRICT;
    CREATE TABLE obj(id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, key_version INTEGER NOT NULL,
        private INTEGER NOT NULL, secret_version INTEGER NOT NULL, attrs BLOB NOT NULL, secret BLOB) STRICT;
";

/// Tags lie at random. Those of public objects lie apart, so that a search that must look in both halves, and a token that has
/// few objects in the one, does not read a page of a large index for nothing.
const INDEX: &str = "
    CREATE TABLE tags(private INTEGER NOT NULL, tag BLOB NOT NULL, id INTEGER NOT NULL,
        PRIMARY KEY(private, tag, id)) STRICT, WITHOUT ROWID;
";

/// An entry that belongs to no object stays one. The old table goes, so that an older program, still running, fails rather than
/// writes an object that no search will find.
const INDEX_ANEW: &str = "
    INSERT INTO tags SELECT coalesce(obj.private, 0), tag, id FROM idx LEFT JOIN obj USING (id);
    DROP TABLE idx;
";

/// How the file may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    /// Nobody can write it from here, and no log waits to be replayed.
    Immutable,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Read,
    Write,
    /// Reads this file, writes another.
    Copy,
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Lock file of the slot file: byte 0 for writers, byte 1 for tries of PINs, byte 2 for who waits for byte 1.
pub fn lock_path(path: &Path) -> PathBuf {
    beside(path, "-lock")
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Whether a file of this length has lost its end. What is shorter than a page the engine takes for nothing, and would
/// write a new database over it; a part of the last page it does not miss until it reads it. With a log beside it, the file
/// may just be growing, or be completed from the log.
fn cut_off(path: &Path, len: u64) -> bool {
    let length = |path: &Path| fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    // Asked for once more, since a log may have gone in between.
    len < PAGE
        || (!len.is_multiple_of(PAGE) && length(&beside(path, "-wal")) == 0 && !length(path).is_multiple_of(PAGE))
}

/// Decides how an existing file can be used, by looking at it from outside only.
pub fn access(path: &Path) -> Result<Access> {
    let no_slot_file = |what: &str, advice: &str| {
        let why = format!("{} is {what}, no slot file: {advice}move it out of the token directory", path.display());
        Err(Code::TokenNotRecognized.because(why))
    };
    match fs::metadata(path) {
        Ok(meta) => match os::not_a_file(&meta) {
            Some(kind) => return no_slot_file(kind, ""),
            None if meta.len() == 0 => return no_slot_file("empty", "put a backup in its place, or "),
            None if cut_off(path, meta.len()) => return no_slot_file("cut off", "put a backup in its place, or "),
            None => os::check_private(path)?,
        },
        Err(e) if e.kind() == Io::NotFound => {
            return Err(Code::DeviceRemoved.because(format!("the slot file {} is gone", path.display())));
        }
        Err(e) => return Err(os::failed("open", path, &e)),
    }
    let medium = local(path)?;
    if !medium.read_only && os::is_writable(path) && os::is_writable(directory(path)) {
        return Ok(Access::ReadWrite);
    }
    match fs::metadata(beside(path, "-wal")) {
        Ok(wal) if wal.len() > 0 => {
            let why = format!(
                "{} cannot be written from here, and was not closed cleanly: its newest changes stand in {}-wal; open it \
                 once where it can be written (it and its directory), then use it read-only",
                path.display(),
                path.display()
            );
            Err(Code::TokenWriteProtected.because(why))
        }
        _ => Ok(Access::Immutable),
    }
}

/// Refuses media on which the engine's locks and shared memory do not hold.
fn local(path: &Path) -> Result<os::FileSystem> {
    judged(path, os::file_system(path)?)
}

fn judged(path: &Path, medium: os::FileSystem) -> Result<os::FileSystem> {
    match medium.network {
        None => Ok(medium),
        Some(name) => {
            let why = format!(
                "{} lies on {name}, where locks and shared memory between processes cannot be trusted: keep slot files on \
                 a local disk",
                path.display()
            );
            Err(Code::DeviceError.because(why))
        }
    }
}

/// A connection, set up, and the format of its tables. Checks that it is a slot file of a format that we read, and brings
/// an older one to ours.
pub fn connect(_: &Inside, path: &Path, access: Access, purpose: Purpose) -> Result<(Connection, i32)> {
    let open = || -> rusqlite::Result<(Connection, i32, i32)> {
        let connection = match access {
            Access::ReadWrite => Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?,
            Access::Immutable => {
                let flags = FLAGS | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(immutable_uri(path), flags)?
            }
        };
        set_up(&connection)?;
        let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let format = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        // Not before it is known to be ours: this would change another program's database.
        if access == Access::ReadWrite && id == APPLICATION_ID {
            // A backup made by VACUUM INTO is not in WAL mode until first opened here; otherwise this does nothing.
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
        }
        Ok((connection, id, format))
    };
    let unreadable = |e| match failure(path, &e) {
        e if e.code() == Code::DeviceError && is_damage(&e) => e.recode(Code::TokenNotRecognized),
        e => e,
    };
    let (connection, id, mut format) = open().map_err(unreadable)?;
    let shown = path.display();
    if id != APPLICATION_ID {
        let why = format!(
            "{shown} is no slot file, or its beginning is damaged or cut off: put a backup in its place, or move it out of the token directory"
        );
        return Err(Code::TokenNotRecognized.because(why));
    }
    if !(1..=TABLES).contains(&format) {
        let why =
            format!("{shown} has tables of format {format}; this program reads 1 to {TABLES}: install a newer keyward");
        return Err(Code::TokenNotRecognized.because(why));
    }
    if format < TABLES && access == Access::ReadWrite {
        migrate(&connection).map_err(unreadable)?;
        format = TABLES;
    }
    settle(&connection, purpose).map_err(unreadable)?;
    Ok((connection, format))
}

/// Brings older tables to our format, in one transaction; another process may be at it too.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = (|| {
        let format: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if format < 2 {
            connection.execute_batch("ALTER TABLE auth ADD COLUMN tried INTEGER NOT NULL DEFAULT 0")?;
        }
        if format < 4 {
            connection.execute_batch(&format!("{INDEX} {INDEX_ANEW}"))?;
        }
        connection.pragma_update(None, "user_version", TABLES)?;
        connection.execute_batch("COMMIT")
    })();
    if migrated.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    migrated
}

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_EXRESCODE);

fn immutable_uri(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut uri = b"file:".to_vec();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(byte),
            _ => uri.extend(format!("%{byte:02X}").bytes()),
        }
    }
    uri.extend(b"?immutable=1");
    OsString::from_vec(uri)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    // Readers wait only where another process recovers the log or closes the file as the last.
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(32);
    // Plans that do not depend on bound values: 4 instead of 15 microseconds a look-up.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // The file may have been prepared by somebody else: nothing in its schema is run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch(
        "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; PRAGMA cache_size = -12288;",
    )
}

fn settle(connection: &Connection, purpose: Purpose) -> rusqlite::Result<()> {
    match purpose {
        Purpose::Copy => Ok(()),
        Purpose::Read => connection.pragma_update(None, "query_only", true),
        Purpose::Write => {
            // Pages of removed objects are overwritten; a log that grew by one large import is cut again.
            connection.execute_batch("PRAGMA secure_delete = ON; PRAGMA journal_size_limit = 16777216;")
        }
    }
}

/// Makes the file whole under another name, then gives it its own, unless that is taken (`CKR_FUNCTION_FAILED`).
pub fn create(inside: &Inside, path: &Path, meta: &MetaRow, auth: &[(u8, AuthRow)]) -> Result<()> {
    let dir = directory(path);
    local(dir)?;
    remove_abandoned(dir);
    let temporary = beside(path, &format!("{TEMPORARY}{:016x}", u64::from_be_bytes(os::random_array()?)));
    let made = fill(inside, &temporary, meta, auth).and_then(|()| place(&temporary, path));
    for rest in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(beside(&temporary, rest));
    }
    made
}

const TEMPORARY: &str = ".new-";

fn fill(_: &Inside, path: &Path, meta: &MetaRow, auth: &[(u8, AuthRow)]) -> Result<()> {
    os::create_private(path).map_err(|e| os::failed("make", path, &e))?;
    let fails = |e: rusqlite::Error| failure(path, &e);
    let connection = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fails)?;
    connection.execute_batch("PRAGMA page_size = 8192; PRAGMA synchronous = FULL;").map_err(fails)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(fails)?;
    connection.pragma_update(None, "user_version", TABLES).map_err(fails)?;
    connection.execute_batch(&format!("BEGIN; {SCHEMA} {INDEX}")).map_err(fails)?;
    let batch = Transaction::new(&connection, path, TABLES);
    batch.write_token(meta, auth)?;
    connection.execute_batch("COMMIT; PRAGMA journal_mode = WAL;").map_err(fails)?;
    // Checkpoints what the change of mode left and removes the log, so that this file alone is the token.
    connection.close().map_err(|(_, e)| fails(e))
}

/// See `Store::backup`: whole under another name first, as a new token is.
pub fn copy(from: &Transaction<'_>, path: &Path) -> Result<()> {
    let taken = || Code::FunctionFailed.because(format!("{} exists already; nothing was written", path.display()));
    if path.exists() {
        return Err(taken());
    }
    let temporary = beside(path, &format!("{TEMPORARY}{:016x}", u64::from_be_bytes(os::random_array()?)));
    let name = temporary.to_str().ok_or_else(|| Code::ArgumentsBad.because("the path of a backup must be UTF-8"))?;
    let made = (|| {
        os::create_private(&temporary).map_err(|e| os::failed("make", &temporary, &e))?;
        from.copy_into(name)?;
        fs::File::open(&temporary).and_then(|f| f.sync_all()).map_err(|e| os::failed("flush", &temporary, &e))?;
        match fs::hard_link(&temporary, path) {
            Ok(()) => os::sync_dir(path),
            Err(e) if e.kind() == Io::AlreadyExists => Err(taken()),
            Err(e) => Err(os::failed("make", path, &e)),
        }
    })();
    for rest in ["", "-journal"] {
        let _ = fs::remove_file(beside(&temporary, rest));
    }
    made
}

fn place(temporary: &Path, path: &Path) -> Result<()> {
    let taken = || Code::FunctionFailed.because(format!("{} exists already; nothing was changed", path.display()));
    if path.exists() {
        return Err(taken());
    }
    // Of a file that somebody removed without them: replayed over the new one they would destroy it.
    for stale in ["-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(path, stale)) {
            Err(e) if e.kind() != Io::NotFound => return Err(os::failed("remove the stale", &beside(path, stale), &e)),
            _ => {}
        }
    }
    match fs::hard_link(temporary, path) {
        Ok(()) => os::sync_dir(path),
        Err(e) if e.kind() == Io::AlreadyExists => Err(taken()),
        Err(e) => Err(os::failed("make", path, &e)),
    }
}

/// The file itself first: with that the token is gone, and what is left belongs to nothing.
pub fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal", "-lock"] {
        match fs::remove_file(beside(path, suffix)) {
            Err(e) if e.kind() != Io::NotFound => return Err(os::failed("remove", &beside(path, suffix), &e)),
            _ => {}
        }
    }
    os::sync_dir(path)
}

/// Removes what processes that died while making a token left behind more than an hour ago.
fn remove_abandoned(dir: &Path) {
    let old = |entry: &fs::DirEntry| {
        let age = entry.metadata().ok().and_then(|m| SystemTime::now().duration_since(m.modified().ok()?).ok());
        age.is_some_and(|age| age > Duration::from_secs(3600))
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(&format!(".slot{TEMPORARY}")) && old(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The engine's failure in our codes.
pub fn failure(path: &Path, error: &rusqlite::Error) -> Error {
    let code = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Code::DeviceMemory,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Code::TokenWriteProtected,
        Some(ErrorCode::OutOfMemory) => Code::HostMemory,
        Some(ErrorCode::NotADatabase) => Code::TokenNotRecognized,
        _ => Code::DeviceError,
    };
    let hint = match code {
        Code::DeviceMemory => ": the disk is full",
        Code::TokenWriteProtected => ": it and its directory must be writable by this account",
        Code::TokenNotRecognized => ": it is no slot file, or is damaged; put a backup in its place",
        _ if is_corruption(error) => ": the slot file is damaged; restore it from a backup",
        _ => "",
    };
    code.because(format!("{}: {error}{hint}", path.display()))
}

fn is_corruption(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

fn is_damage(error: &Error) -> bool {
    error.why().is_some_and(|why| why.contains("is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_refused_with_a_reason() {
        let path = Path::new("/far/away/t.slot");
        let refused = judged(path, os::FileSystem { network: Some("NFS"), read_only: false }).unwrap_err();
        assert_eq!(refused.code(), Code::DeviceError);
        let why = refused.why().unwrap();
        assert!(
            why.contains("/far/away/t.slot lies on NFS") && why.contains("keep slot files on a local disk"),
            "{why}"
        );
        assert!(judged(path, os::FileSystem { network: None, read_only: true }).unwrap().read_only);
    }
}
