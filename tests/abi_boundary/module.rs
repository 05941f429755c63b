//! Initialising, finalising, forking; slots and what is said of them; interfaces.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use keyward::abi::{FUNCTIONS, function_list_2_40, function_list_3_0, function_list_3_2};

use crate::double::*;
use crate::{c, ok};

unsafe extern "C" fn create_mutex(_: *mut *mut c_void) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn use_mutex(_: *mut c_void) -> CK_RV {
    CKR_OK
}

fn args() -> CK_C_INITIALIZE_ARGS {
    CK_C_INITIALIZE_ARGS {
        CreateMutex: None,
        DestroyMutex: None,
        LockMutex: None,
        UnlockMutex: None,
        flags: 0,
        pReserved: null_mut(),
    }
}

fn initialize(mut args: CK_C_INITIALIZE_ARGS) -> CK_RV {
    let rv = c!(C_Initialize, (&raw mut args).cast());
    if rv == CKR_OK {
        ok!(C_Finalize, null_mut());
    }
    rv
}

#[test]
fn the_ways_to_initialise() {
    let _alone = alone();
    let callbacks = CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create_mutex),
        DestroyMutex: Some(use_mutex),
        LockMutex: Some(use_mutex),
        UnlockMutex: Some(use_mutex),
        ..args()
    };
    for flags in [0, CKF_OS_LOCKING_OK, CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS, 1] {
        assert_eq!(initialize(CK_C_INITIALIZE_ARGS { flags, ..args() }), CKR_OK, "flags {flags}");
    }
    assert_eq!(initialize(CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..callbacks }), CKR_OK);
    assert_eq!(initialize(callbacks), CKR_CANT_LOCK);
    assert_eq!(initialize(CK_C_INITIALIZE_ARGS { LockMutex: None, ..callbacks }), CKR_ARGUMENTS_BAD);
    let reserved = CK_C_INITIALIZE_ARGS { pReserved: ptr(b"x").cast(), ..args() };
    assert_eq!(initialize(reserved), CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_Finalize, null_mut()), CKR_CRYPTOKI_NOT_INITIALIZED);
}

#[test]
fn initialising_twice_and_finalising_wrongly() {
    let _running = start();
    assert_eq!(c!(C_Initialize, null_mut()), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    assert_eq!(c!(C_Finalize, ptr(b"x").cast()), CKR_ARGUMENTS_BAD);
    let mut info = blank_info();
    ok!(C_GetInfo, &raw mut info);
    assert_eq!((info.cryptokiVersion.major, info.cryptokiVersion.minor, info.flags), (3, 2, 0));
}

fn blank_info() -> CK_INFO {
    let version = CK_VERSION { major: 0, minor: 0 };
    CK_INFO {
        cryptokiVersion: version,
        manufacturerID: [0; 32],
        flags: 9,
        libraryDescription: [0; 32],
        libraryVersion: version,
    }
}

#[test]
fn two_threads_initialise_at_once_and_one_succeeds() {
    let _alone = alone();
    put(vec![(SLOT, Double::new(), false)]);
    for _ in 0..50 {
        let barrier = Barrier::new(4);
        let mut answers: Vec<CK_RV> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        c!(C_Initialize, null_mut())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        answers.sort_unstable();
        assert_eq!(answers[..2], [CKR_OK, CKR_CRYPTOKI_ALREADY_INITIALIZED]);
        assert_eq!(answers[2..], [CKR_CRYPTOKI_ALREADY_INITIALIZED; 2]);
        ok!(C_Finalize, null_mut());
    }
}

#[test]
fn finalising_ends_everything_and_nothing_comes_back() {
    let running = start();
    let session = open(0);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    let object = handle(session, PUBLIC_KEY);
    ok!(C_Finalize, null_mut());
    assert!(running.double.login.lock().unwrap().is_none());
    assert!(running.double.sessions.lock().unwrap().is_empty());
    assert_eq!(c!(C_CloseSession, session), CKR_CRYPTOKI_NOT_INITIALIZED);
    ok!(C_Initialize, null_mut());
    assert_eq!(c!(C_CloseSession, session), CKR_SESSION_HANDLE_INVALID, "a session's handle is not given again");
    let again = open(0);
    assert!(again > session);
    assert_eq!(handle(again, PUBLIC_KEY), object, "a slot keeps its part of a handle");
}

#[test]
fn handles_of_two_slots_never_meet() {
    let running = start();
    put(vec![(SLOT, std::sync::Arc::clone(&running.double), false), (OTHER_SLOT, Double::new(), false)]);
    let (here, there) = (open(0), open_in(OTHER_SLOT, 0));
    let (one, other) = (handle(here, PUBLIC_KEY), handle(there, PUBLIC_KEY));
    assert_ne!(one, other);
    let mut size = 0;
    ok!(C_GetObjectSize, there, other, &raw mut size);
    assert_eq!(c!(C_GetObjectSize, there, one, &raw mut size), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(c!(C_GetObjectSize, here, other, &raw mut size), CKR_OBJECT_HANDLE_INVALID);
}

/// Runs `child` in a forked process, with other threads at work in this one; its answer is the exit code.
fn in_child(child: impl FnOnce() -> bool) {
    // SAFETY: the child calls what the test gives, and leaves without running exit handlers.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: as above.
        unsafe { libc::_exit(if good { 0 } else { 1 }) };
    }
    let mut status = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    // SAFETY: our own child.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > deadline {
            // SAFETY: our own child.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child's status: {status:#x}");
}

#[test]
fn a_child_starts_clean_and_leaves_its_parent_alone() {
    let running = start();
    let session = open(0);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    in_child(|| {
        let mut slots = 0;
        let mut info = CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
        let stranger = c!(C_GetSlotList, 0, null_mut(), &raw mut slots) == CKR_CRYPTOKI_NOT_INITIALIZED
            && c!(C_GetSessionInfo, session, &raw mut info) == CKR_CRYPTOKI_NOT_INITIALIZED
            && c!(C_Finalize, null_mut()) == CKR_CRYPTOKI_NOT_INITIALIZED;
        put(vec![(SLOT, Double::new(), false)]);
        let mut fresh = 0;
        let own = c!(C_Initialize, null_mut()) == CKR_OK
            && c!(C_GetSessionInfo, session, &raw mut info) == CKR_SESSION_HANDLE_INVALID
            && c!(C_OpenSession, SLOT, CKF_SERIAL_SESSION, null_mut(), None, &raw mut fresh) == CKR_OK
            && c!(C_GetSessionInfo, fresh, &raw mut info) == CKR_OK
            && info.state == CKS_RO_PUBLIC_SESSION
            && login(fresh, CKU_USER, PIN) == CKR_OK;
        // And so does a child of the child.
        in_child(|| {
            c!(C_GetSessionInfo, fresh, &raw mut info) == CKR_CRYPTOKI_NOT_INITIALIZED
                && c!(C_Initialize, null_mut()) == CKR_OK
                && c!(C_Finalize, null_mut()) == CKR_OK
        });
        stranger && own && c!(C_Finalize, null_mut()) == CKR_OK && c!(C_Initialize, null_mut()) == CKR_OK
    });
    assert!(running.double.login.lock().unwrap().is_some(), "the parent is still logged in");
    ok!(C_CloseSession, session);
}

#[test]
fn a_fork_amid_the_work_of_other_threads_is_no_trap() {
    let _running = start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let session = open(0);
                    ok!(C_CloseSession, session);
                }
            });
        }
        for _ in 0..30 {
            in_child(|| {
                put(vec![(SLOT, Double::new(), false)]);
                let mut session = 0;
                c!(C_CloseSession, 1) == CKR_CRYPTOKI_NOT_INITIALIZED
                    && c!(C_Initialize, null_mut()) == CKR_OK
                    && c!(C_OpenSession, SLOT, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session) == CKR_OK
                    && login(session, CKU_USER, PIN) == CKR_OK
                    && c!(C_Finalize, null_mut()) == CKR_OK
            });
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn slots_appear_stay_and_go() {
    let running = start();
    let listed = |slots: &mut [CK_SLOT_ID]| {
        let mut count = slots.len() as CK_ULONG;
        let rv = c!(C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &raw mut count);
        (rv, count)
    };
    let refreshed = || {
        let mut count = 99;
        ok!(C_GetSlotList, CK_FALSE, null_mut(), &raw mut count);
        count
    };
    let mut slots = [0; 4];
    assert_eq!(refreshed(), 1);
    let here = (SLOT, std::sync::Arc::clone(&running.double), false);
    put(vec![here.clone(), (OTHER_SLOT, Double::new(), false)]);
    assert_eq!(listed(&mut slots), (CKR_OK, 1), "only asking for the number looks anew");
    assert_eq!(refreshed(), 2);
    assert_eq!(listed(&mut slots[..1]), (CKR_BUFFER_TOO_SMALL, 2));
    assert_eq!(listed(&mut slots), (CKR_OK, 2));
    assert_eq!(slots[..2], [SLOT, OTHER_SLOT]);
    assert_eq!(c!(C_GetSlotList, CK_FALSE, slots.as_mut_ptr(), null_mut()), CKR_ARGUMENTS_BAD);

    let mut event = 0;
    ok!(C_WaitForSlotEvent, CKF_DONT_BLOCK, &raw mut event, null_mut());
    assert_eq!(event, OTHER_SLOT);
    assert_eq!(c!(C_WaitForSlotEvent, CKF_DONT_BLOCK, &raw mut event, null_mut()), CKR_NO_EVENT);

    let session = open_in(OTHER_SLOT, 0);
    put(vec![here]);
    assert_eq!(refreshed(), 1);
    let mut info = slot_info(OTHER_SLOT).expect("known slots stay");
    assert_eq!(info.flags & CKF_TOKEN_PRESENT, 0);
    assert_eq!(token_info(OTHER_SLOT).unwrap_err(), CKR_TOKEN_NOT_PRESENT);
    let mut other = 0;
    let rv = c!(C_OpenSession, OTHER_SLOT, CKF_SERIAL_SESSION, null_mut(), None, &raw mut other);
    assert_eq!(rv, CKR_TOKEN_NOT_PRESENT);
    ok!(C_CloseSession, session);
    info = slot_info(SLOT).unwrap();
    assert_eq!(info.flags, CKF_TOKEN_PRESENT);
    assert_eq!(&info.slotDescription[..17], b"Keyward slot 4660");
    assert_eq!(slot_info(99).unwrap_err(), CKR_SLOT_ID_INVALID);
}

fn slot_info(slot: CK_SLOT_ID) -> Result<CK_SLOT_INFO, CK_RV> {
    let mut info = std::mem::MaybeUninit::<CK_SLOT_INFO>::zeroed();
    match c!(C_GetSlotInfo, slot, info.as_mut_ptr()) {
        // SAFETY: plain bytes.
        CKR_OK => Ok(unsafe { info.assume_init() }),
        rv => Err(rv),
    }
}

fn token_info(slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, CK_RV> {
    let mut info = std::mem::MaybeUninit::<CK_TOKEN_INFO>::zeroed();
    match c!(C_GetTokenInfo, slot, info.as_mut_ptr()) {
        // SAFETY: plain bytes.
        CKR_OK => Ok(unsafe { info.assume_init() }),
        rv => Err(rv),
    }
}

#[test]
fn a_token_is_described_and_its_sessions_counted() {
    let _running = start();
    let _sessions = (open(0), open(CKF_RW_SESSION), open(CKF_RW_SESSION));
    let info = token_info(SLOT).unwrap();
    assert_eq!(&info.label, b"Double                          ");
    assert_eq!(&info.model, b"Double          ");
    assert_eq!(&info.serialNumber, b"0001            ");
    assert_eq!((info.ulSessionCount, info.ulRwSessionCount), (3, 2));
    assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (4, 255));
    assert_eq!(info.ulFreePrivateMemory, CK_UNAVAILABLE_INFORMATION);
    assert_eq!((info.hardwareVersion.minor, info.firmwareVersion.minor), (2, 4));
    assert_ne!(info.flags & CKF_TOKEN_INITIALIZED, 0);
    let (mut list, mut count) = ([0; 2], 2);
    ok!(C_GetMechanismList, SLOT, list.as_mut_ptr(), &raw mut count);
    assert_eq!(list, [CKM_AES_CBC, CKM_SHA256]);
    let mut mechanism = CK_MECHANISM_INFO { ulMinKeySize: 0, ulMaxKeySize: 0, flags: 0 };
    ok!(C_GetMechanismInfo, SLOT, CKM_AES_CBC, &raw mut mechanism);
    assert_eq!((mechanism.ulMinKeySize, mechanism.ulMaxKeySize, mechanism.flags), (16, 32, CKF_ENCRYPT));
    assert_eq!(c!(C_GetMechanismInfo, SLOT, 5, &raw mut mechanism), CKR_MECHANISM_INVALID);
}

#[test]
fn a_blank_slot_is_filled_by_init_token() {
    let running = start();
    let blank = Double::blank();
    put(vec![(SLOT, std::sync::Arc::clone(&running.double), false), (OTHER_SLOT, blank, true)]);
    let mut session = 0;
    let mut try_open = |slot| c!(C_OpenSession, slot, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session);
    assert_eq!(try_open(OTHER_SLOT), CKR_TOKEN_NOT_RECOGNIZED);
    assert_eq!(token_info(OTHER_SLOT).unwrap().flags & CKF_TOKEN_INITIALIZED, 0);
    let label = b"New token                       ";
    let init = |slot, pin: &[u8]| c!(C_InitToken, slot, ptr(pin), len(pin), ptr(label));
    assert_eq!(init(OTHER_SLOT, b"wrong"), CKR_PIN_INCORRECT);
    assert_eq!(try_open(OTHER_SLOT), CKR_TOKEN_NOT_RECOGNIZED);
    assert_eq!(init(OTHER_SLOT, SO_PIN), CKR_OK);
    assert_eq!(&token_info(OTHER_SLOT).unwrap().label, label);
    assert_eq!(try_open(OTHER_SLOT), CKR_OK);
    assert_eq!(init(OTHER_SLOT, SO_PIN), CKR_SESSION_EXISTS);
    ok!(C_CloseAllSessions, OTHER_SLOT);
    assert_eq!(init(OTHER_SLOT, SO_PIN), CKR_OK);
    assert_eq!(init(99, SO_PIN), CKR_SLOT_ID_INVALID);
    assert_eq!(c!(C_InitToken, OTHER_SLOT, ptr(SO_PIN), 8, null_mut()), CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_InitToken, OTHER_SLOT, null_mut(), 0, ptr(label)), CKR_ARGUMENTS_BAD);
    assert_eq!(c!(C_InitToken, OTHER_SLOT, ptr(SO_PIN), 8, ptr(&[0xff; 32])), CKR_ARGUMENTS_BAD);
}

#[test]
fn who_waits_for_a_slot_is_woken_by_a_token_and_by_the_end() {
    let running = start();
    let mut count = 0;
    ok!(C_GetSlotList, CK_FALSE, null_mut(), &raw mut count);
    std::thread::scope(|scope| {
        let wait = || {
            let mut slot = 0;
            (c!(C_WaitForSlotEvent, 0, &raw mut slot, null_mut()), slot)
        };
        let waiting = scope.spawn(wait);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        put(vec![(SLOT, std::sync::Arc::clone(&running.double), false), (OTHER_SLOT, Double::new(), false)]);
        assert_eq!(waiting.join().unwrap(), (CKR_OK, OTHER_SLOT));
        let waiting = scope.spawn(wait);
        std::thread::sleep(Duration::from_millis(50));
        let before = Instant::now();
        ok!(C_Finalize, null_mut());
        assert_eq!(waiting.join().unwrap().0, CKR_CRYPTOKI_NOT_INITIALIZED);
        assert!(before.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn the_lists_have_every_function_and_their_versions() {
    let versions = [function_list_2_40().version, function_list_3_0().version, function_list_3_2().version];
    assert_eq!(versions.map(|version| (version.major, version.minor)), [(2, 40), (3, 0), (3, 2)]);
    let functions = |bytes: usize| (bytes - size_of::<usize>()) / size_of::<usize>();
    let up_to = |version| FUNCTIONS.iter().filter(|function| function.since <= version).count();
    assert_eq!(up_to((2, 40)), functions(size_of::<CK_FUNCTION_LIST>()));
    assert_eq!(up_to((3, 0)), functions(size_of::<CK_FUNCTION_LIST_3_0>()));
    assert_eq!(up_to((3, 2)), functions(size_of::<CK_FUNCTION_LIST_3_2>()));
    let mut list = null_mut();
    ok!(C_GetFunctionList, &raw mut list);
    assert!(std::ptr::eq(list, function_list_2_40()));
    assert_eq!(c!(C_GetFunctionList, null_mut()), CKR_ARGUMENTS_BAD);
}

#[test]
fn interfaces_are_given_by_name_version_and_flags() {
    let mut count = 0;
    ok!(C_GetInterfaceList, null_mut(), &raw mut count);
    assert_eq!(count, 3);
    let none = CK_INTERFACE { pInterfaceName: null_mut(), pFunctionList: null_mut(), flags: 0 };
    let mut list = [none; 3];
    count = 2;
    assert_eq!(c!(C_GetInterfaceList, list.as_mut_ptr(), &raw mut count), CKR_BUFFER_TOO_SMALL);
    assert_eq!(count, 3);
    ok!(C_GetInterfaceList, list.as_mut_ptr(), &raw mut count);
    let lists = [
        (&raw const *function_list_3_2()).cast::<c_void>(),
        (&raw const *function_list_3_0()).cast(),
        (&raw const *function_list_2_40()).cast(),
    ];
    assert_eq!(list.map(|interface| interface.pFunctionList.cast_const()), lists);

    let get = |name: Option<&[u8]>, version: Option<(u8, u8)>, flags| {
        let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
        let version = version.as_mut().map_or(null_mut(), |version| &raw mut *version);
        let mut interface = null_mut();
        match c!(C_GetInterface, name.map_or(null_mut(), ptr), version, &raw mut interface, flags) {
            // SAFETY: a success gives a pointer to a static.
            CKR_OK => Ok(lists.iter().position(|list| *list == unsafe { *interface }.pFunctionList).unwrap()),
            rv => Err(rv),
        }
    };
    let name = Some(&b"PKCS 11\0"[..]);
    assert_eq!(get(None, None, 0), Ok(0));
    assert_eq!(get(name, None, CKF_INTERFACE_FORK_SAFE), Ok(0));
    assert_eq!(get(name, Some((3, 0)), 0), Ok(1));
    assert_eq!(get(None, Some((2, 40)), 0), Ok(2));
    assert_eq!(get(name, Some((3, 1)), 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(get(name, None, 2), Err(CKR_ARGUMENTS_BAD));
    for other in [&b"PKCS 1\0"[..], b"PKCS 111\0", b"Vendor\0", b"\0"] {
        assert_eq!(get(Some(other), None, 0), Err(CKR_ARGUMENTS_BAD));
    }
    assert_eq!(c!(C_GetInterface, null_mut(), null_mut(), null_mut(), 0), CKR_ARGUMENTS_BAD);
}
