//! The gate between this process's threads and the engine, which no fork may pass while one is inside.
//!
//! SQLite keeps a table of the files that it has open, with the locks that it believes to hold. A child inherits the
//! table and not the locks: what it would open anew beside an inherited connection would be unprotected. So a fork waits
//! until no thread is inside, and the child's first entry closes every inherited connection before it opens its own.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::Duration;

use super::connections::Connections;
use crate::os;

static INSIDE: AtomicU32 = AtomicU32::new(0);
static FORKING: AtomicU32 = AtomicU32::new(0);

/// The process that the open connections belong to; 0: none was opened yet.
static OWNER: AtomicU64 = AtomicU64::new(0);

/// Every open engine of this process. Locked inside the gate only, hence free in any child, as are all of its mutexes.
static OPEN: Mutex<Vec<Arc<Connections>>> = Mutex::new(Vec::new());

/// Proof of being inside. Never enter twice at a time in one thread: a fork between the two would wait for ever.
pub struct Inside(());

/// Waits while a fork is under way; in a child, the first entry closes what was inherited.
pub fn enter() -> Inside {
    static HANDLERS: Once = Once::new();
    HANDLERS.call_once(|| {
        os::give_engine_locks();
        os::at_fork(prepare, in_parent, in_child);
    });
    loop {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if FORKING.load(Ordering::SeqCst) == 0 {
            break;
        }
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        while FORKING.load(Ordering::SeqCst) != 0 {
            std::thread::sleep(PAUSE);
        }
    }
    let inside = Inside(());
    if OWNER.load(Ordering::Acquire) != os::fork_epoch() {
        close_inherited();
    }
    inside
}

/// Forks are rare and visits of the engine short: looking again is simpler than waking, and safe in a handler.
const PAUSE: Duration = Duration::from_micros(20);

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

fn prepare() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    while INSIDE.load(Ordering::SeqCst) != 0 {
        std::thread::sleep(PAUSE);
    }
}

fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// Other threads that were preparing a fork of their own, or had knocked in vain, do not exist here.
fn in_child() {
    INSIDE.store(0, Ordering::SeqCst);
    FORKING.store(0, Ordering::SeqCst);
}

#[cold]
fn close_inherited() {
    let open = open();
    let now = os::fork_epoch();
    if OWNER.load(Ordering::Acquire) != now {
        open.iter().for_each(|connections| connections.close_inherited());
        OWNER.store(now, Ordering::Release);
    }
}

fn open() -> MutexGuard<'static, Vec<Arc<Connections>>> {
    OPEN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Enters an engine into the list; before it opens anything.
pub fn register(_: &Inside, connections: &Arc<Connections>) {
    open().push(connections.clone());
}

/// Takes an engine off the list; after it has closed everything.
pub fn unregister(_: &Inside, connections: &Arc<Connections>) {
    open().retain(|other| !Arc::ptr_eq(other, connections));
}
