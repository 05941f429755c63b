//! The engine on SQLite in WAL mode: any number of processes and threads, one flush per commit.
//!
//! The five traps of docs/slot-file.md ("Traps") are closed here: forks in `gate`, fairness by the lock file in
//! [`Sqlite::write`], speed in `open`, change detection in [`Sqlite::epoch`], media in `open::access`.

mod batch;
mod connections;
mod gate;
mod open;

use std::any::Any;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use self::batch::Transaction;
use self::connections::{Connections, Pooled, Watched};
use self::gate::Inside;
use self::open::{Access, Purpose};
use super::engine::{AuthRow, Batch, Flush, MetaRow, ObjectRow, SecretRow, Store, TokenRows, Tries};
use crate::error::{Code, Result};
use crate::os::{self, Mode, RangeLock};

const WRITERS: u8 = 0;
const TRIES: u8 = 1;
const TRIES_DOOR: u8 = 2;

/// How often the path is looked at for a replaced file, in milliseconds.
const LOOK: u64 = 1000;

/// A slot file.
pub struct Sqlite {
    path: PathBuf,
    access: Access,
    connections: Arc<Connections>,
    /// When the path was last looked at, and what stood there.
    looked: AtomicU64,
    stamp: AtomicU64,
}

impl Sqlite {
    pub fn create(path: &Path, meta: &MetaRow, auth: &[(u8, AuthRow)]) -> Result<()> {
        if let Some(dir) = path.parent() {
            os::create_private_dirs(dir)?;
        }
        let _alone = RangeLock::wait(&open::lock_path(path), WRITERS, Mode::Exclusive)?;
        open::create(&gate::enter(), path, meta, auth)
    }

    /// Removes the file of a token that this process has not open. Others that have it open see it go.
    pub fn remove(path: &Path) -> Result<()> {
        let _alone = RangeLock::wait(&open::lock_path(path), WRITERS, Mode::Exclusive)?;
        open::remove(path)
    }

    pub fn open(path: &Path) -> Result<Arc<Sqlite>> {
        // Absolute, since the host may change its working directory.
        let path = std::path::absolute(path).map_err(|e| os::failed("open", path, &e))?;
        let inside = gate::enter();
        let access = open::access(&path)?;
        let connections = Arc::new(Connections::default());
        gate::register(&inside, &connections);
        let (looked, stamp) = (AtomicU64::new(os::coarse_millis()), AtomicU64::new(stamp(&path, access)));
        let engine = Sqlite { path, access, connections, looked, stamp };
        // Opens the first connection, which says what is wrong with the file, if anything.
        let watched = engine.watch(&inside).map(drop);
        drop(inside);
        watched.map(|()| Arc::new(engine))
    }

    fn connect(&self, inside: &Inside, purpose: Purpose) -> Result<(rusqlite::Connection, i32)> {
        open::connect(inside, &self.path, self.access, purpose)
    }

    /// Watches the file as it now stands there, if not done yet.
    fn watch(&self, inside: &Inside) -> Result<&Watched> {
        self.connections.watch(inside, || {
            let (connection, tables) = self.connect(inside, Purpose::Read)?;
            // The engine maps its shared memory with the first read.
            Transaction::new(&connection, &self.path, tables).token()?;
            Ok(connection)
        })
    }

    /// Looks whether the path still leads to the same file; `CKR_DEVICE_REMOVED` where it leads nowhere.
    fn look(&self, _: &Inside) -> Result<()> {
        self.looked.store(os::coarse_millis(), Ordering::Release);
        let now = stamp(&self.path, self.access);
        if self.stamp.swap(now, Ordering::AcqRel) != now {
            self.connections.replaced();
        }
        match now {
            GONE => Err(Code::DeviceRemoved.because(format!("the slot file {} is gone", self.path.display()))),
            _ => Ok(()),
        }
    }

    fn look_is_due(&self) -> bool {
        os::coarse_millis().saturating_sub(self.looked.load(Ordering::Relaxed)) >= LOOK
            || self.stamp.load(Ordering::Relaxed) == GONE
    }

    fn reading<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let inside = gate::enter();
        if self.look_is_due() {
            self.look(&inside)?;
        }
        let reader = match self.connections.take_reader(&inside) {
            Some(reader) => reader,
            None => self.connections.pooled(self.connect(&inside, Purpose::Read)?),
        };
        let done = work(&Transaction::new(&reader.connection, &self.path, reader.tables));
        self.connections.give_back(&inside, reader);
        done
    }

    /// Waits for this process's turn to write; the lock is outside the gate, as another process may keep us waiting, and a
    /// fork must not wait with us.
    fn turn(&self) -> Result<RangeLock> {
        if !self.is_writable() {
            let why = format!("{} can only be read: it or its directory is not writable here", self.path.display());
            return Err(Code::TokenWriteProtected.because(why));
        }
        RangeLock::wait(&open::lock_path(&self.path), WRITERS, Mode::Exclusive)
    }

    fn writing<T>(&self, flush: Flush, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let inside = gate::enter();
        self.look(&inside)?;
        let mut place = self.connections.writer(&inside);
        let writer = match &mut *place {
            Some(writer) => writer,
            empty => empty.insert(self.connections.pooled(self.connect(&inside, Purpose::Write)?)),
        };
        let transaction = Transaction::new(&writer.connection, &self.path, writer.tables);
        if flush == Flush::Later {
            transaction.set_flush("normal")?;
        }
        let done = transaction.begin("BEGIN IMMEDIATE").and_then(|()| transaction.end(work(&transaction)));
        if flush == Flush::Later && transaction.set_flush("full").is_err() {
            // Rather a new connection than one that does not flush.
            *place = None::<Pooled>;
        }
        done
    }

    #[cold]
    fn epoch_anew(&self) -> u64 {
        let inside = gate::enter();
        if self.look(&inside).is_err() {
            return GONE;
        }
        match self.watch(&inside) {
            Ok(watched) => self.epoch_of(watched, os::fork_epoch()).unwrap_or(GONE),
            Err(_) => GONE,
        }
    }

    #[inline]
    fn epoch_of(&self, watched: &Watched, fork: u64) -> Option<u64> {
        match &watched.watch {
            Some(watch) => Some(watch.sample(fork)?.wrapping_add(watched.incarnation)),
            None if watched.fork == fork => Some(self.stamp.load(Ordering::Acquire)),
            None => None,
        }
    }
}

/// About each sixteenth call in a thread. A look at the clock would cost the most of [`Sqlite::epoch`]; so would a counter that
/// the threads share.
#[inline]
fn now_and_then() -> bool {
    #[repr(align(64))]
    struct Place(AtomicU32);
    static PLACES: [Place; os::PLACES] = [const { Place(AtomicU32::new(0)) }; os::PLACES];
    let Some(Place(calls)) = PLACES.get(os::thread_place()) else { return true };
    // Two threads in one place may lose a count.
    let count = calls.load(Ordering::Relaxed).wrapping_add(1);
    calls.store(count, Ordering::Relaxed);
    count % 16 == 0
}

/// The stamp of no file.
const GONE: u64 = 0;

/// A number for the file that stands under the path: which one it is, and where nothing else would show a change
/// also its size and time.
fn stamp(path: &Path, access: Access) -> u64 {
    let Ok(meta) = fs::metadata(path) else { return GONE };
    let [mut size, mut seconds, mut nanos] = [0; 3];
    if access == Access::Immutable {
        (size, seconds, nanos) = (meta.len(), meta.mtime().unsigned_abs(), meta.mtime_nsec().unsigned_abs());
    }
    let fields = [meta.dev(), meta.ino(), size, seconds, nanos];
    let mixed = fields.into_iter().fold(1u64, |sum, f| (sum.rotate_left(23) ^ f).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed.max(1)
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // Entering closes what a fork left; what remains is this process's own.
        let inside = gate::enter();
        self.connections.close(&inside);
        gate::unregister(&inside, &self.connections);
        // The watch closes with the last reference to the connections: now, still inside.
        self.connections = Arc::default();
    }
}

impl Store for Sqlite {
    fn token(&self) -> Result<TokenRows> {
        self.reading(|t| {
            t.begin("BEGIN")?;
            t.end(t.token())
        })
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Batch) -> Result<()>) -> Result<()> {
        self.reading(|t| {
            t.begin("BEGIN")?;
            t.end(work(t))
        })
    }

    fn get(&self, id: u64) -> Result<Option<ObjectRow>> {
        self.reading(|t| t.get(id))
    }

    fn secret(&self, id: u64) -> Result<Option<SecretRow>> {
        self.reading(|t| t.secret(id))
    }

    fn write(&self, flush: Flush, work: &mut dyn FnMut(&dyn Batch) -> Result<()>) -> Result<()> {
        let _turn = self.turn()?;
        self.writing(flush, |t| work(t))
    }

    fn backup(&self, to: &Path) -> Result<()> {
        let inside = gate::enter();
        self.look(&inside)?;
        let (connection, tables) = self.connect(&inside, Purpose::Copy)?;
        open::copy(&Transaction::new(&connection, &self.path, tables), to)
    }

    fn compact(&self) -> Result<(u64, u64)> {
        let _turn = self.turn()?;
        let inside = gate::enter();
        self.look(&inside)?;
        let (connection, tables) = self.connect(&inside, Purpose::Copy)?;
        Transaction::new(&connection, &self.path, tables).compact()
    }

    fn cut_log(&self) -> Result<()> {
        let _turn = self.turn()?;
        let inside = gate::enter();
        self.look(&inside)?;
        let (connection, tables) = self.connect(&inside, Purpose::Copy)?;
        match Transaction::new(&connection, &self.path, tables).cut_log()? {
            true => Ok(()),
            false => Err(Code::FunctionFailed.because(
                "what was removed still lies in the slot file's log, since another process reads an older state: repeat it",
            )),
        }
    }

    fn check(&self) -> Result<Vec<String>> {
        self.reading(|t| t.faults())
    }

    fn incarnation(&self) -> u64 {
        self.connections.incarnation()
    }

    fn scan(&self, visit: &mut dyn FnMut(&dyn Batch, u64) -> Result<()>) -> Result<(TokenRows, u64)> {
        self.reading(|t| {
            t.begin("BEGIN")?;
            let scanned = (|| {
                let mut after = 0;
                while let Some(id) = t.next_object(after)? {
                    visit(t, id)?;
                    after = id;
                }
                Ok((t.token()?, t.index_entries()?))
            })();
            t.end(scanned)
        })
    }

    fn tries(&self, mode: Tries) -> Result<Box<dyn Any>> {
        let mode = match mode {
            Tries::Together => Mode::Shared,
            Tries::Alone => Mode::Exclusive,
        };
        let path = open::lock_path(&self.path);
        // Whoever wants to be alone stands in the door until the others are through: else a stream of them, each let in
        // beside the one before, would keep it waiting for ever.
        let _door = RangeLock::wait(&path, TRIES_DOOR, Mode::Exclusive)?;
        Ok(Box::new(RangeLock::wait(&path, TRIES, mode)?))
    }

    #[inline]
    fn epoch(&self) -> u64 {
        let fork = os::fork_epoch();
        if let Some(watched) = self.connections.watched()
            && watched.incarnation == self.connections.incarnation()
            && !(now_and_then() && self.look_is_due())
            && let Some(epoch) = self.epoch_of(watched, fork)
        {
            return epoch;
        }
        self.epoch_anew()
    }

    fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite
    }
}
