//! The steady state: what a signature costs beyond itself, and many threads at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use cryptoki_sys::*;

use crate::double::*;
use crate::{c, ok};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator, and a count beside it that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn sign(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, data: &[u8]) -> [u8; 4] {
    let mechanism = mechanism(CKM_SHA256_HMAC);
    let (mut out, mut out_len) = ([0; 4], 4);
    ok!(C_SignInit, session, &raw const mechanism as *mut _, key);
    ok!(C_Sign, session, ptr(data), len(data), out.as_mut_ptr(), &raw mut out_len);
    out
}

/// What this thread has had of the processor: others do not count.
fn thread_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

#[test]
fn signing_again_allocates_nothing_and_costs_little() {
    const ROUNDS: u32 = 20_000;
    let _running = start();
    let session = open(0);
    let key = handle(session, PUBLIC_KEY);
    sign(session, key, b"abc");
    let before = ALLOCATIONS.get();
    let began = thread_time();
    for _ in 0..ROUNDS {
        sign(session, key, b"abc");
    }
    let each = (thread_time() - began) / ROUNDS;
    assert_eq!(ALLOCATIONS.get(), before, "the spare operation is begun again");
    println!("C_SignInit and C_Sign, the double's own work included: {each:?}");
    // Some 0.2 microseconds with optimisation; a loaded machine must not fail the test, a lock or a system call should.
    assert!(each.as_micros() < 20, "{each:?}");
}

#[test]
fn threads_do_not_disturb_each_other() {
    let _running = start();
    let login_session = open(0);
    let key = handle(login_session, PUBLIC_KEY);
    let private = handle(login_session, PRIVATE_KEY);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let signers: Vec<_> = (0..4u8)
            .map(|number| {
                scope.spawn(move || {
                    for round in 0..500u16 {
                        let session = open(0);
                        let data = [number, round.to_be_bytes()[0], round.to_be_bytes()[1]];
                        assert_eq!(sign(session, key, &data), sum(&data));
                        ok!(C_CloseSession, session);
                    }
                })
            })
            .collect();
        // Logins come and go meanwhile; an operation on a private key ends with them, and nothing else.
        scope.spawn(|| {
            let session = open(0);
            while !stop.load(Relaxed) {
                assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
                let mechanism = mechanism(CKM_SHA256_HMAC);
                ok!(C_SignInit, session, &raw const mechanism as *mut _, private);
                ok!(C_Logout, session);
                let mut out_len = 0;
                let rv = c!(C_Sign, session, ptr(b"a"), 1, std::ptr::null_mut(), &raw mut out_len);
                assert_eq!(rv, CKR_OPERATION_NOT_INITIALIZED);
            }
        });
        // Also when one failed.
        let ends: Vec<_> = signers.into_iter().map(|signer| signer.join()).collect();
        stop.store(true, Relaxed);
        assert!(ends.iter().all(Result::is_ok));
    });
}
