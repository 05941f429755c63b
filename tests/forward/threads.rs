//! What the application says of threads and locks at `C_Initialize`, and what the module behind hears of it.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

use cryptoki_sys::*;

use crate::scene::*;
use crate::{both, c, ok};

const BOTH: CK_FLAGS = CKF_LIBRARY_CANT_CREATE_OS_THREADS | CKF_OS_LOCKING_OK;

/// How many threads this process has ever started, whoever did.
static STARTED: AtomicUsize = AtomicUsize::new(0);

type Create = unsafe extern "C" fn(*mut libc::pthread_t, *const c_void, *mut c_void, *mut c_void) -> c_int;

/// Before the C library's own, for all that is linked into this test.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const c_void,
    start: *mut c_void,
    argument: *mut c_void,
) -> c_int {
    STARTED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the next of that name is the C library's.
    let own: Create = unsafe { std::mem::transmute(libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr())) };
    // SAFETY: the caller's own arguments.
    unsafe { own(thread, attributes, start, argument) }
}

extern "C" fn create(place: *mut *mut c_void) -> CK_RV {
    // SAFETY: the place for the new mutex.
    unsafe { *place = std::ptr::dangling_mut::<u8>().cast() };
    CKR_OK
}

extern "C" fn nothing(_: *mut c_void) -> CK_RV {
    CKR_OK
}

fn arguments(flags: CK_FLAGS, functions: bool) -> CK_C_INITIALIZE_ARGS {
    let mutex: CK_UNLOCKMUTEX = functions.then_some(nothing);
    CK_C_INITIALIZE_ARGS {
        CreateMutex: functions.then_some(create),
        DestroyMutex: mutex,
        LockMutex: mutex,
        UnlockMutex: mutex,
        flags,
        pReserved: null_mut(),
    }
}

fn initialize(flags: CK_FLAGS, functions: bool) -> CK_RV {
    let mut arguments = arguments(flags, functions);
    c!(C_Initialize, (&raw mut arguments).cast())
}

/// The flags that the module behind was initialised with, one after the other.
fn heard(scene: &Scene) -> Vec<String> {
    let trace = std::fs::read_to_string(scene.place.join("trace")).unwrap_or_default();
    let _ = std::fs::remove_file(scene.place.join("trace"));
    trace.lines().filter_map(|line| line.strip_prefix("flags ")).map(str::to_owned).collect()
}

/// The module is locked by the system's means whatever the application chose, since threads of ours may come from any of its own; its
/// mutexes are never called.
#[test]
fn the_module_hears_that_it_may_start_no_thread() {
    let scene = Scene::new();
    scene.configure(faulty(), "token = 'hsm'");
    for (flags, functions, expected) in [
        (0, false, "2"),
        (CKF_OS_LOCKING_OK, false, "2"),
        (CKF_OS_LOCKING_OK, true, "2"),
        (CKF_LIBRARY_CANT_CREATE_OS_THREADS, false, "3"),
        (BOTH, false, "3"),
        (BOTH, true, "3"),
    ] {
        assert_eq!(initialize(flags, functions), CKR_OK);
        ec_pair(user_of(slots()[0]), "key", 1);
        ok!(C_Finalize, null_mut());
        assert_eq!(heard(&scene), [expected], "{flags} {functions}");
    }
    assert_eq!(initialize(CKF_LIBRARY_CANT_CREATE_OS_THREADS, true), CKR_CANT_LOCK);
    assert!(heard(&scene).is_empty());
}

fn user_of(slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
    let session = open(slot, CKF_RW_SESSION);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    session
}

/// A module that takes no locks of the system's is called by one thread at a time, and still starts none.
#[test]
fn a_module_that_cannot_lock_hears_it_too() {
    let scene = Scene::new();
    scene.configure(faulty(), "token = 'hsm'");
    scene.faults("C_Initialize no-locks 10");
    assert_eq!(initialize(BOTH, false), CKR_OK);
    ec_pair(user_of(slots()[0]), "key", 1);
    ok!(C_Finalize, null_mut());
    assert_eq!(heard(&scene), ["3", "1"]);
}

#[test]
fn a_module_that_needs_threads_is_an_answer_to_initialise() {
    let scene = Scene::new();
    scene.configure(faulty(), "token = 'hsm'");
    scene.faults("C_Initialize no-threads 9");
    assert_eq!(initialize(BOTH, false), CKR_NEED_TO_CREATE_THREADS);
    assert!(scene.log().contains("isolate = true"), "{}", scene.log());
    ok_uninitialised();
    // The application may allow them after all.
    assert_eq!(initialize(CKF_OS_LOCKING_OK, false), CKR_OK);
    ec_pair(user_of(slots()[0]), "key", 1);
    ok!(C_Finalize, null_mut());
    assert_eq!(heard(&scene), ["3", "2"]);
    // In a process of its own it may start what it likes.
    scene.configure(faulty(), "token = 'hsm'\nisolate = true");
    assert_eq!(initialize(BOTH, false), CKR_OK);
    ec_pair(user_of(slots()[0]), "key", 2);
    ok!(C_Finalize, null_mut());
    assert_eq!(heard(&scene), ["2"]);
}

fn ok_uninitialised() {
    let mut count = 0;
    assert_eq!(c!(C_GetSlotList, CK_TRUE, null_mut(), &raw mut count), CKR_CRYPTOKI_NOT_INITIALIZED);
}

/// A module that is only ill costs its slot, as without the flag, and is tried again.
#[test]
fn a_module_that_fails_otherwise_costs_its_slot_alone() {
    let scene = Scene::new();
    scene.configure(faulty(), "token = 'hsm'");
    scene.faults("C_Initialize rv 0x30");
    assert_eq!(initialize(BOTH, false), CKR_OK);
    assert_eq!(slots().len(), 1, "the free slot");
    ok!(C_Finalize, null_mut());
}

both! {
    /// Not of ours, not of the standard library's, and not for a moment: keys, a loss, a deadline, an event.
    fn no_thread_is_started(how) {
        std::thread::spawn(|| ()).join().unwrap();
        assert_ne!(STARTED.load(Ordering::SeqCst), 0, "they are counted");
        let scene = Scene::new();
        scene.configure(faulty(), &format!("{how}\n{}", if how.contains("isolate") { "deadline = 0.5" } else { "" }));
        let before = STARTED.load(Ordering::SeqCst);
        assert_eq!(initialize(BOTH, false), CKR_OK);
        let slot = slots()[0];
        let session = user_of(slot);
        let (public, private) = ec_pair(session, "key", 1);
        let signature = try_sign(session, private, &[1; 32]).unwrap();
        scene.faults("C_Sign rv 0x32 1");
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
        assert!(try_sign(session, private, &[1; 32]).is_ok(), "lost, and connected again");
        if how.contains("isolate") {
            scene.faults("C_Sign hang 5000 1");
            assert_eq!(try_sign(session, private, &[1; 32]), Err(CKR_DEVICE_ERROR));
            scene.faults("");
            assert!(try_sign(session, private, &[1; 32]).is_ok());
        }
        let mut event = 0;
        assert_eq!(c!(C_WaitForSlotEvent, CKF_DONT_BLOCK, &raw mut event, null_mut()), CKR_NO_EVENT);
        ok!(C_Finalize, null_mut());
        assert_eq!(STARTED.load(Ordering::SeqCst), before);
    }
}
