//! Noticing a fork for a nanosecond, and handlers around it.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The page that the kernel wipes in a child; its first word is the number of this process, 0 until asked for.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// Takes the page's place where the kernel has no `MADV_WIPEONFORK`; a fork handler wipes it.
static PLAIN: AtomicU64 = AtomicU64::new(0);

/// Inherited by a child, which so goes on counting where its parent stood.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A number, never 0, that stays the same for the life of this process and differs from those of its parent and of
/// every process between: who keeps something that a fork spoils keeps the number with it and compares.
///
/// About a nanosecond; safe in any thread and in the child of a process with many threads.
#[inline]
pub fn fork_epoch() -> u64 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: once published the page is never unmapped.
        let number = unsafe { &*page }.load(Ordering::Relaxed);
        if number != 0 {
            return number;
        }
    }
    first_asked()
}

#[cold]
fn first_asked() -> u64 {
    let cell = cell();
    let count = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
    let number = (u64::from(std::process::id()) << 32) | u64::from(count);
    match cell.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => number,
        Err(other) => other,
    }
}

/// The published page, which the first caller makes.
fn cell() -> &'static AtomicU64 {
    let fresh = match PAGE.load(Ordering::Acquire) {
        page if page.is_null() => wiped_page().unwrap_or_else(wiped_by_handler),
        page => page,
    };
    let published = match PAGE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh,
        // Another thread was first. Our page, one at most per racing thread, is left to the kernel: rare, 4 KiB.
        Err(other) => other,
    };
    // SAFETY: either the static `PLAIN` or a page that is never unmapped.
    unsafe { &*published }
}

fn wiped_page() -> Option<*mut AtomicU64> {
    // SAFETY: a new private anonymous mapping, of which nobody else knows.
    let page = unsafe {
        let (rw, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(ptr::null_mut(), PAGE_BYTES, rw, kind, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: exactly the mapping made above.
    if unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) } == 0 {
        return Some(page.cast());
    }
    // SAFETY: as above, and no reference into it was made.
    unsafe { libc::munmap(page, PAGE_BYTES) };
    None
}

/// The kernel rounds up to its own page size.
const PAGE_BYTES: usize = 4096;

fn wiped_by_handler() -> *mut AtomicU64 {
    fn nothing() {}
    fn wipe() {
        PLAIN.store(0, Ordering::Release);
    }
    at_fork(nothing, nothing, wipe);
    ptr::addr_of!(PLAIN).cast_mut()
}

struct Hooks {
    prepare: fn(),
    parent: fn(),
    child: fn(),
    /// The hooks that were there before.
    below: *const Hooks,
}

/// The newest hooks. A list that only grows: the handlers walk it without a lock, as a fork may come at any moment.
static NEWEST: AtomicPtr<Hooks> = AtomicPtr::new(ptr::null_mut());
static REGISTERED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The list as the running `prepare` saw it, so that hooks added meanwhile run on neither side of this fork.
    static SEEN: Cell<*const Hooks> = const { Cell::new(ptr::null()) };
}

/// Has `prepare` run before each `fork` of this process, and `parent` and `child` after it, in the thread that forks.
/// Later registrations prepare first and are released last, as with `pthread_atfork`. For good: call it once per
/// purpose. The functions must not fork, nor unwind; `child` should do little, since an `exec` mostly follows.
pub fn at_fork(prepare: fn(), parent: fn(), child: fn()) {
    let hooks = Box::leak(Box::new(Hooks { prepare, parent, child, below: ptr::null() }));
    let mut newest = NEWEST.load(Ordering::Acquire);
    loop {
        hooks.below = newest;
        match NEWEST.compare_exchange_weak(newest, hooks, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => break,
            Err(other) => newest = other,
        }
    }
    if !REGISTERED.swap(true, Ordering::AcqRel) {
        // SAFETY: three functions of this library, which is never unloaded (linked with `nodelete`).
        // It fails only without memory; then forks go unnoticed here but not by `fork_epoch`.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    }
}

extern "C" fn before() {
    let newest = NEWEST.load(Ordering::Acquire).cast_const();
    SEEN.with(|seen| seen.set(newest));
    let mut at = newest;
    // SAFETY: hooks are leaked, and unchanged once they are in the list.
    while let Some(hooks) = unsafe { at.as_ref() } {
        (hooks.prepare)();
        at = hooks.below;
    }
}

extern "C" fn in_parent() {
    oldest_first(SEEN.with(Cell::get), |hooks| hooks.parent);
}

extern "C" fn in_child() {
    oldest_first(SEEN.with(Cell::get), |hooks| hooks.child);
}

fn oldest_first(at: *const Hooks, which: fn(&Hooks) -> fn()) {
    // SAFETY: as in `before`.
    if let Some(hooks) = unsafe { at.as_ref() } {
        oldest_first(hooks.below, which);
        which(hooks)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PREPARED: AtomicU32 = AtomicU32::new(0);
    static CHILD: AtomicU32 = AtomicU32::new(0);

    /// Forks; the child leaves with what `child` returns, which is handed back.
    fn status_of(child: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child only runs `child` and leaves without running any destructor.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(child()),
                pid => {
                    assert!(pid > 0);
                    let mut status = 0;
                    assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
                    assert!(libc::WIFEXITED(status), "{status}");
                    libc::WEXITSTATUS(status)
                }
            }
        }
    }

    #[test]
    fn a_child_and_its_child_have_numbers_of_their_own() {
        let mine = fork_epoch();
        assert_eq!(fork_epoch(), mine);
        let status = status_of(|| {
            let childs = fork_epoch();
            let grandchilds_differ = status_of(|| i32::from(![mine, childs].contains(&fork_epoch())));
            i32::from(childs != mine && childs == fork_epoch()) + 2 * grandchilds_differ
        });
        assert_eq!(status, 3);
        assert_eq!(fork_epoch(), mine);
    }

    #[test]
    fn without_help_of_the_kernel_a_handler_wipes() {
        // SAFETY: `PLAIN` is static.
        let plain = unsafe { &*wiped_by_handler() };
        plain.store(7, Ordering::Relaxed);
        assert_eq!(status_of(|| i32::from(plain.load(Ordering::Relaxed) == 0)), 1);
        assert_eq!(plain.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn hooks_run_on_their_sides() {
        fn nothing() {}
        at_fork(|| _ = PREPARED.fetch_add(1, Ordering::SeqCst), nothing, || _ = CHILD.fetch_add(1, Ordering::SeqCst));
        let before = PREPARED.load(Ordering::SeqCst);
        assert_eq!(status_of(|| CHILD.load(Ordering::SeqCst) as i32), 1);
        assert!(PREPARED.load(Ordering::SeqCst) > before);
        assert_eq!(CHILD.load(Ordering::SeqCst), 0);
    }
}
