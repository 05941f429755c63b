//! One slot file's connections: a pool of readers, one writer, and the watch over other processes' commits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::gate::Inside;
use crate::os::{self, WalWatch, fork_epoch};

/// Idle readers kept.
const IDLE: usize = 8;

/// A connection, and which file under the path it was opened on.
pub struct Pooled {
    pub connection: Connection,
    /// Format of its tables.
    pub tables: i32,
    incarnation: u64,
    /// [`os::thread_place`] of who used it last, and has it in the processor's cache.
    place: usize,
}

#[derive(Default)]
pub struct Connections {
    readers: Mutex<Vec<Pooled>>,
    writer: Mutex<Option<Pooled>>,
    watches: OnceLock<Box<Watched>>,
    /// Counts the files that have stood under the path.
    incarnation: AtomicU64,
}

/// One link of the chain of watches. It grows by a link in each generation of forks that uses the token and with each
/// replaced file; only the last link counts. Links stay as long as the token is open, so reading needs no lock.
pub struct Watched {
    pub watch: Option<WalWatch>,
    pub incarnation: u64,
    pub fork: u64,
    next: OnceLock<Box<Watched>>,
}

impl Connections {
    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// The path leads to another file: connections to the old one will not be used again.
    pub fn replaced(&self) {
        self.incarnation.fetch_add(1, Ordering::AcqRel);
    }

    /// An idle reader, if there is one: the calling thread's own if that is.
    pub fn take_reader(&self, _: &Inside) -> Option<Pooled> {
        let (current, place) = (self.incarnation(), os::thread_place());
        let mut readers = lock(&self.readers);
        while let Some(last) = readers.len().checked_sub(1) {
            let own = readers.iter().position(|reader| reader.place == place);
            let reader = readers.swap_remove(own.unwrap_or(last));
            if reader.incarnation == current {
                return Some(Pooled { place, ..reader });
            }
            reader.close_quietly();
        }
        None
    }

    pub fn give_back(&self, _: &Inside, reader: Pooled) {
        let mut readers = lock(&self.readers);
        if readers.len() < IDLE {
            readers.push(reader);
        }
    }

    /// The place of the writer: empty until opened, and after its file was replaced.
    pub fn writer(&self, _: &Inside) -> MutexGuard<'_, Option<Pooled>> {
        let mut writer = lock(&self.writer);
        if writer.as_ref().is_some_and(|w| w.incarnation != self.incarnation())
            && let Some(old) = writer.take()
        {
            old.close_quietly();
        }
        writer
    }

    pub fn pooled(&self, (connection, tables): (Connection, i32)) -> Pooled {
        Pooled { connection, tables, incarnation: self.incarnation(), place: os::thread_place() }
    }

    #[inline]
    pub fn watched(&self) -> Option<&Watched> {
        let mut last = self.watches.get()?;
        while let Some(next) = last.next.get() {
            last = next;
        }
        Some(last)
    }

    /// The watch for this process and file; `open` makes its connection where there is none yet.
    pub fn watch<E>(&self, _: &Inside, open: impl FnOnce() -> Result<Connection, E>) -> Result<&Watched, E> {
        // The pool's lock keeps two threads from adding a link each.
        let _one = lock(&self.readers);
        let (fork, incarnation) = (fork_epoch(), self.incarnation());
        if let Some(last) = self.watched()
            && (last.fork, last.incarnation) == (fork, incarnation)
        {
            return Ok(last);
        }
        let fresh = Box::new(Watched { watch: WalWatch::new(open()?), incarnation, fork, next: OnceLock::new() });
        let place = self.watched().map_or(&self.watches, |last| &last.next);
        Ok(place.get_or_init(|| fresh))
    }

    /// In a child, inside the gate: closes everything, without the checkpoint that closing would try.
    pub fn close_inherited(&self) {
        lock(&self.readers).drain(..).for_each(Pooled::close_quietly);
        if let Some(writer) = lock(&self.writer).take() {
            writer.close_quietly();
        }
        let mut link = self.watches.get();
        while let Some(watched) = link {
            if let Some(watch) = &watched.watch {
                watch.close_inherited();
            }
            link = watched.next.get();
        }
    }

    /// At the end: closes readers and writer in the ordinary way.
    pub fn close(&self, _: &Inside) {
        lock(&self.readers).clear();
        lock(&self.writer).take();
    }
}

impl Pooled {
    fn close_quietly(self) {
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
