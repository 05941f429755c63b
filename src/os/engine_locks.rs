//! The storage engine's locks, by `parking_lot`: who finds one held waits awake for a moment before it sleeps.
//!
//! The engine holds its lock over a file's shared memory through a call of the system, twice in each search. With its own locks two
//! threads that search send each other to sleep and wake each other, which takes longer than that call.

use std::ffi::c_int;
use std::ptr;
use std::sync::Once;

use parking_lot::lock_api::RawReentrantMutex;
use parking_lot::{RawMutex, RawThreadId};
use rusqlite::ffi;

type Lock = RawReentrantMutex<RawMutex, RawThreadId>;

/// `SQLITE_MUTEX_STATIC_MAIN` to `SQLITE_MUTEX_STATIC_VFS3`, which are never freed.
static OWN: [Lock; 12] = [const { Lock::INIT }; 12];
const FIRST_OWN: c_int = ffi::SQLITE_MUTEX_STATIC_MAIN;

/// How often a lock that is held is looked at before the thread sleeps, and pauses between: some 3 µs.
const LOOKS: u32 = 20;
const PAUSES: u32 = 8;

/// Gives the engine these locks; before its first use in the process, else it keeps its own.
pub fn give_engine_locks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let methods = ffi::sqlite3_mutex_methods {
            xMutexInit: Some(nothing),
            xMutexEnd: Some(nothing),
            xMutexAlloc: Some(alloc),
            xMutexFree: Some(free),
            xMutexEnter: Some(enter),
            xMutexTry: Some(attempt),
            xMutexLeave: Some(leave),
            // Asked by debug builds of the engine alone.
            xMutexHeld: None,
            xMutexNotheld: None,
        };
        // SAFETY: the engine copies the table, of functions that live as long as it does. Once in use it refuses: `SQLITE_MISUSE`.
        let _ = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MUTEX, &raw const methods) };
    });
}

extern "C" fn nothing() -> c_int {
    ffi::SQLITE_OK
}

extern "C" fn alloc(kind: c_int) -> *mut ffi::sqlite3_mutex {
    let lock = match kind {
        ffi::SQLITE_MUTEX_FAST | ffi::SQLITE_MUTEX_RECURSIVE => Box::into_raw(Box::new(Lock::INIT)).cast_const(),
        _ => {
            let own = usize::try_from(kind.wrapping_sub(FIRST_OWN)).ok().and_then(|at| OWN.get(at));
            own.map_or(ptr::null(), ptr::from_ref)
        }
    };
    lock.cast_mut().cast()
}

// SAFETY: the engine alone calls it, by the table above, with a lock that `alloc` gave it and that is alive.
unsafe extern "C" fn free(lock: *mut ffi::sqlite3_mutex) {
    // SAFETY: the engine frees each lock of the first two kinds once, when nobody uses it any more, and none of the others.
    drop(unsafe { Box::from_raw(lock.cast::<Lock>()) });
}

/// # Safety
/// A lock that `alloc` gave and that was not freed since.
unsafe fn lock_of<'a>(lock: *mut ffi::sqlite3_mutex) -> &'a Lock {
    // SAFETY: as promised above; all access is through the lock's own atomics.
    unsafe { &*lock.cast::<Lock>() }
}

// SAFETY: the engine alone calls it, by the table above, with a lock that `alloc` gave it and that is alive.
unsafe extern "C" fn enter(lock: *mut ffi::sqlite3_mutex) {
    // SAFETY: the engine passes its live locks.
    let lock = unsafe { lock_of(lock) };
    for _ in 0..LOOKS {
        if lock.try_lock() {
            return;
        }
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
    }
    lock.lock();
}

// SAFETY: the engine alone calls it, by the table above, with a lock that `alloc` gave it and that is alive.
unsafe extern "C" fn attempt(lock: *mut ffi::sqlite3_mutex) -> c_int {
    // SAFETY: the engine passes its live locks.
    match unsafe { lock_of(lock) }.try_lock() {
        true => ffi::SQLITE_OK,
        false => ffi::SQLITE_BUSY,
    }
}

// SAFETY: the engine alone calls it, by the table above, with a lock that `alloc` gave it and that is alive.
unsafe extern "C" fn leave(lock: *mut ffi::sqlite3_mutex) {
    // SAFETY: the engine passes its live locks, and leaves those that this thread has entered.
    unsafe { lock_of(lock).unlock() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_its_threads_alone_until_it_has_left_as_often_as_it_entered() {
        for kind in [ffi::SQLITE_MUTEX_RECURSIVE, ffi::SQLITE_MUTEX_FAST, FIRST_OWN, ffi::SQLITE_MUTEX_STATIC_VFS3] {
            // SAFETY: locks of `alloc`, left as often as entered, freed once if they are of the first two kinds.
            unsafe {
                let lock = alloc(kind);
                let elsewhere = |lock: usize| {
                    let other = std::thread::spawn(move || {
                        let told = attempt(lock as *mut ffi::sqlite3_mutex);
                        if told == ffi::SQLITE_OK {
                            leave(lock as *mut ffi::sqlite3_mutex);
                        }
                        told
                    });
                    other.join().unwrap()
                };
                enter(lock);
                assert_eq!(attempt(lock), ffi::SQLITE_OK);
                assert_eq!(elsewhere(lock as usize), ffi::SQLITE_BUSY, "{kind}");
                leave(lock);
                assert_eq!(elsewhere(lock as usize), ffi::SQLITE_BUSY, "{kind}");
                leave(lock);
                assert_eq!(elsewhere(lock as usize), ffi::SQLITE_OK, "{kind}");
                if matches!(kind, ffi::SQLITE_MUTEX_FAST | ffi::SQLITE_MUTEX_RECURSIVE) {
                    free(lock);
                }
            }
        }
        assert!(alloc(99).is_null() && alloc(-1).is_null());
    }

    #[test]
    fn who_waits_gets_the_lock_in_the_end() {
        let lock = alloc(ffi::SQLITE_MUTEX_FAST) as usize;
        struct Shared(std::cell::UnsafeCell<u64>);
        // SAFETY: the count is touched under the lock alone.
        unsafe impl Sync for Shared {}
        let count = Shared(0.into());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let (lock, count) = (lock as *mut ffi::sqlite3_mutex, &count);
                    for round in 0..2000 {
                        // SAFETY: between `enter` and `leave`.
                        unsafe {
                            enter(lock);
                            *count.0.get() += 1;
                            if round % 100 == 0 {
                                std::thread::sleep(std::time::Duration::from_micros(50));
                            }
                            leave(lock);
                        }
                    }
                });
            }
        });
        // SAFETY: the threads are done.
        unsafe {
            assert_eq!(*count.0.get(), 8000);
            free(lock as *mut ffi::sqlite3_mutex);
        }
    }
}
