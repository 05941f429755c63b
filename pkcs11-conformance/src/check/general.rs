//! General-purpose functions, and what the library is in its process: versions, interfaces, initialisation, fork,
//! exit, unload.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use cryptoki_sys::*;

use super::{Need, Row};
use crate::context::{Outcome, RW, T, ensure, equal, fail, one_of, padded, refused, skip};
use crate::ffi::{Api, Interface, Rv, init_args, interface};
use crate::functions::{ALL, F};
use crate::process::in_child;

pub static ROWS: &[Row] = &[
    Row("function-list/version", "5.4.4", &[], legacy_version),
    Row("function-list/no-null-pointers", "3.6", &[], no_null_pointers),
    Row("function-list/symbols", "beyond 3.6", &[], exported_symbols),
    Row("function-list/all-work", "3.6", &[], lists_work),
    Row("interface-list/count-query", "5.4.5", &[Need::Fn(F::C_GetInterfaceList)], interface_count),
    Row("interface-list/too-small", "5.4.5", &[Need::Fn(F::C_GetInterfaceList)], interface_too_small),
    Row("interface-list/names-and-versions", "5.4.5", &[Need::Fn(F::C_GetInterfaceList)], interface_versions),
    Row("interface/default", "5.4.6", &[Need::Fn(F::C_GetInterface)], interface_default),
    Row("interface/by-name-and-version", "5.4.6", &[Need::Fn(F::C_GetInterface)], interface_by_version),
    Row("interface/unknown", "5.4.6", &[Need::Fn(F::C_GetInterface)], interface_unknown),
    Row("interface/flags-must-match", "5.4.6", &[Need::Fn(F::C_GetInterface)], interface_flags),
    Row("info/version-and-text", "3.1", &[], info),
    Row("initialize/null-args", "5.4.1", &[], initialize_null),
    Row("initialize/twice", "5.4.1", &[], initialize_twice),
    Row("initialize/reserved-not-null", "5.4.1", &[], initialize_reserved),
    Row("initialize/some-mutex-functions", "5.4.1", &[], initialize_some_mutexes),
    Row("initialize/own-mutex-functions", "5.4.1", &[], initialize_own_mutexes),
    Row("initialize/own-or-system-mutexes", "5.4.1", &[], initialize_either_mutexes),
    Row("initialize/no-threads-allowed", "5.4.1", &[], initialize_no_threads),
    Row("initialize/refused-then-right", "5.1", &[], initialize_after_refusal),
    Row("initialize/again-after-finalize", "5.4.2", &[], reinitialize),
    Row("finalize/reserved-not-null", "5.4.2", &[], finalize_reserved),
    Row("finalize/closes-sessions", "5.4.2", &[Need::Token], finalize_closes),
    Row("finalize/twice", "5.4.2", &[], finalize_twice),
    Row("process/fork-child-uninitialized", "5.4.1", &[Need::Token], fork_child),
    Row("process/fork-child-initializes", "5.4.1", &[Need::Token], fork_child_works),
    Row("process/fork-parent-unharmed", "5.4.1", &[Need::Token], fork_parent),
    Row("process/exit-without-finalize", "5.4.2", &[Need::Token], exit_initialized),
    Row("process/exit-after-finalize", "5.4.2", &[Need::Token], exit_finalized),
    Row("process/unload-and-reload", "5.4.2", &[], reload),
];

fn legacy_version(t: &mut T<'_>) -> Outcome {
    let Some(list) = t.api.legacy else { return fail("no C_GetFunctionList") };
    ensure(list.version.0 == 2 || list.version == (3, 0) || list.version == (3, 2), || {
        format!("C_GetFunctionList gives version {}.{}", list.version.0, list.version.1)
    })?;
    // A version above 2 promises a longer list than callers of C_GetFunctionList may know (section 3.6).
    ensure(list.version.0 == 2, || format!("C_GetFunctionList gives {}.{}, not 2.x", list.version.0, list.version.1))
}

fn no_null_pointers(t: &mut T<'_>) -> Outcome {
    let lists = t.api.interfaces.iter().filter(|i| i.name == "PKCS 11").map(|i| i.list).chain(t.api.legacy);
    for list in lists {
        let missing = ALL.iter().filter(|f| f.since() <= list.version && list.pointer(**f).is_none());
        let names: Vec<&str> = missing.map(|f| f.name()).collect();
        ensure(names.is_empty(), || {
            format!("list {}.{} has NULL for {}", list.version.0, list.version.1, names.join(", "))
        })?;
    }
    Ok(())
}

/// Each list reaches the same library: initialised through one, it is so through all.
fn lists_work(t: &mut T<'_>) -> Outcome {
    t.init()?;
    for list in t.api.interfaces.iter().filter(|i| i.name == "PKCS 11").map(|i| i.list).chain(t.api.legacy) {
        let mut info = [0u64; 64];
        // SAFETY: a place larger than CK_INFO.
        let rv = unsafe { t.api.call_in(list, F::C_GetInfo, &[info.as_mut_ptr() as usize]) };
        one_of(&format!("C_GetInfo of list {}.{}", list.version.0, list.version.1), rv, &[CKR_OK])?;
    }
    Ok(())
}

/// All functions are exported by name too.
fn exported_symbols(t: &mut T<'_>) -> Outcome {
    let version = t.api.list.version;
    let missing: Vec<&str> =
        ALL.iter().filter(|f| f.since() <= version && t.api.symbol(f.name()).is_none()).map(|f| f.name()).collect();
    ensure(missing.is_empty(), || format!("not exported: {}", missing.join(", ")))
}

/// `C_GetInterfaceList` with room for this many; return value, count written, and the interfaces.
fn interface_list(t: &T<'_>, room: Option<usize>) -> (Rv, usize, Vec<CK_INTERFACE>) {
    let empty = CK_INTERFACE { pInterfaceName: std::ptr::null_mut(), pFunctionList: std::ptr::null_mut(), flags: 0 };
    let mut found = vec![empty; room.unwrap_or(0).max(1)];
    let mut count = room.unwrap_or(0) as CK_ULONG;
    let place = if room.is_some() { found.as_mut_ptr() as usize } else { 0 };
    // SAFETY: room for `count` interfaces.
    let rv = unsafe { t.api.call(F::C_GetInterfaceList, &[place, &raw mut count as usize]) };
    found.truncate(count as usize);
    (rv, count as usize, found)
}

fn interface_count(t: &mut T<'_>) -> Outcome {
    let (rv, count, _) = interface_list(t, None);
    one_of("C_GetInterfaceList(NULL)", rv, &[CKR_OK])?;
    let (rv, again, list) = interface_list(t, Some(count));
    one_of("C_GetInterfaceList", rv, &[CKR_OK])?;
    equal("number of interfaces", (again, list.len()), (count, count))?;
    ensure(count > 0, || "no interface at all".into())
}

fn interface_too_small(t: &mut T<'_>) -> Outcome {
    let (_, count, _) = interface_list(t, None);
    let (rv, written, _) = interface_list(t, Some(0));
    one_of("C_GetInterfaceList with room for none", rv, &[CKR_BUFFER_TOO_SMALL])?;
    equal("count written", written, count)
}

fn interface_versions(t: &mut T<'_>) -> Outcome {
    for i in &t.api.interfaces {
        ensure(!i.name.is_empty(), || "an interface without name".into())?;
        if i.name == "PKCS 11" {
            ensure([(2, 40), (3, 0), (3, 1), (3, 2), (2, 20), (2, 30)].contains(&i.list.version), || {
                format!("interface PKCS 11 of version {}.{}", i.list.version.0, i.list.version.1)
            })?;
        }
    }
    ensure(t.api.interfaces.iter().any(|i| i.name == "PKCS 11" && i.list.version.0 >= 3), || {
        "no interface PKCS 11 of version 3".into()
    })
}

fn get_interface(
    t: &T<'_>,
    name: Option<&std::ffi::CStr>,
    v: Option<(u8, u8)>,
    flags: CK_FLAGS,
) -> Result<Interface, Rv> {
    let version = v.map(|(major, minor)| CK_VERSION { major, minor });
    let mut found: *const CK_INTERFACE = std::ptr::null();
    let words = [
        name.map_or(0, |n| n.as_ptr() as usize),
        version.as_ref().map_or(0, |v| std::ptr::from_ref(v) as usize),
        &raw mut found as usize,
        flags as usize,
    ];
    // SAFETY: a NUL-terminated name, a version, and a place for a pointer.
    let rv = unsafe { t.api.call(F::C_GetInterface, &words) };
    if rv.0 != CKR_OK || found.is_null() {
        return Err(rv);
    }
    // SAFETY: the module gave it with CKR_OK.
    interface(unsafe { &*found }).ok_or(rv)
}

fn interface_default(t: &mut T<'_>) -> Outcome {
    for name in [None, Some(c"PKCS 11")] {
        match get_interface(t, name, None, 0) {
            Ok(i) => equal("name of the default interface", i.name.as_str(), "PKCS 11")?,
            Err(rv) => return fail(format!("C_GetInterface({name:?}, NULL) returned {rv}")),
        }
    }
    Ok(())
}

fn interface_by_version(t: &mut T<'_>) -> Outcome {
    for i in t.api.interfaces.iter().filter(|i| i.name == "PKCS 11") {
        match get_interface(t, Some(c"PKCS 11"), Some(i.list.version), 0) {
            Ok(got) => equal("version", got.list.version, i.list.version)?,
            Err(rv) => return fail(format!("C_GetInterface of listed version {:?} returned {rv}", i.list.version)),
        }
    }
    Ok(())
}

fn interface_unknown(t: &mut T<'_>) -> Outcome {
    let unknown = [
        (Some(c"no such interface"), None, "name"),
        (Some(c"PKCS 11"), Some((99, 7)), "version"),
        (Some(c"PKCS 1"), None, "prefix of a name"),
    ];
    for (name, version, what) in unknown {
        if let Ok(i) = get_interface(t, name, version, 0) {
            return fail(format!("an unknown {what} gave {} {:?}", i.name, i.list.version));
        }
    }
    Ok(())
}

fn interface_flags(t: &mut T<'_>) -> Outcome {
    let all_fork_safe = t.api.interfaces.iter().any(|i| i.flags & CKF_INTERFACE_FORK_SAFE != 0);
    match get_interface(t, Some(c"PKCS 11"), None, CKF_INTERFACE_FORK_SAFE) {
        Ok(i) => ensure(i.flags & CKF_INTERFACE_FORK_SAFE != 0, || "an interface without the flag asked for".into()),
        Err(_) => ensure(!all_fork_safe, || "no interface for a flag that one lists".into()),
    }
}

fn info(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    let info: CK_INFO = api.store(F::C_GetInfo, &[])?;
    equal("flags", info.flags, 0)?;
    ensure(matches!(info.cryptokiVersion.major, 2 | 3), || format!("version {}", info.cryptokiVersion.major))?;
    for (what, field) in [("manufacturerID", &info.manufacturerID), ("libraryDescription", &info.libraryDescription)] {
        ensure(!field.contains(&0), || format!("{what} is not padded with blanks"))?;
        ensure(std::str::from_utf8(field).is_ok(), || format!("{what} is not UTF-8"))?;
        ensure(!padded(field).is_empty(), || format!("{what} is empty"))?;
    }
    Ok(())
}

fn initialize_with(t: &T<'_>, args: Option<&CK_C_INITIALIZE_ARGS>) -> Rv {
    // SAFETY: NULL or a structure that lives.
    unsafe { t.api.call(F::C_Initialize, &[args.map_or(0, |a| std::ptr::from_ref(a) as usize)]) }
}

fn without_own_args(t: &T<'_>) -> Outcome {
    if t.env.init_args.is_some() { skip("the module needs its own initialisation arguments") } else { Ok(()) }
}

fn initialize_null(t: &mut T<'_>) -> Outcome {
    without_own_args(t)?;
    one_of("C_Initialize(NULL)", initialize_with(t, None), &[CKR_OK])?;
    Ok(t.api.finalize()?)
}

fn initialize_twice(t: &mut T<'_>) -> Outcome {
    t.init()?;
    let again = t.api.initialize(t.env.init_args.as_deref());
    refused("second C_Initialize", again, &[CKR_CRYPTOKI_ALREADY_INITIALIZED])?;
    let _: CK_INFO = t.api.store(F::C_GetInfo, &[])?;
    Ok(())
}

fn initialize_reserved(t: &mut T<'_>) -> Outcome {
    without_own_args(t)?;
    let mut something = 0u64;
    let args = CK_C_INITIALIZE_ARGS { pReserved: (&raw mut something).cast(), ..init_args() };
    one_of("C_Initialize with pReserved", initialize_with(t, Some(&args)), &[CKR_ARGUMENTS_BAD])
}

static LOCKS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn create_mutex(place: *mut *mut c_void) -> CK_RV {
    LOCKS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the module gives a place for the mutex; a byte of our own stands for it.
    unsafe { *place = Box::into_raw(Box::new(0u8)).cast() };
    CKR_OK
}

unsafe extern "C" fn any_mutex(mutex: *mut c_void) -> CK_RV {
    LOCKS.fetch_add(1, Ordering::Relaxed);
    if mutex.is_null() { CKR_MUTEX_BAD } else { CKR_OK }
}

fn own_mutexes() -> CK_C_INITIALIZE_ARGS {
    CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create_mutex),
        DestroyMutex: Some(any_mutex),
        LockMutex: Some(any_mutex),
        UnlockMutex: Some(any_mutex),
        ..init_args()
    }
}

fn initialize_some_mutexes(t: &mut T<'_>) -> Outcome {
    without_own_args(t)?;
    let some = [
        CK_C_INITIALIZE_ARGS { CreateMutex: Some(create_mutex), ..init_args() },
        CK_C_INITIALIZE_ARGS { LockMutex: None, ..own_mutexes() },
        CK_C_INITIALIZE_ARGS { UnlockMutex: None, flags: CKF_OS_LOCKING_OK, ..own_mutexes() },
    ];
    for args in some {
        one_of("C_Initialize with some mutex functions", initialize_with(t, Some(&args)), &[CKR_ARGUMENTS_BAD])?;
    }
    Ok(())
}

fn initialize_own_mutexes(t: &mut T<'_>) -> Outcome {
    without_own_args(t)?;
    match initialize_with(t, Some(&own_mutexes())).0 {
        CKR_CANT_LOCK => Ok(()),
        rv => {
            one_of("C_Initialize with mutex functions", Rv(rv), &[CKR_OK])?;
            t.api.slots(false)?;
            Ok(t.api.finalize()?)
        }
    }
}

fn initialize_either_mutexes(t: &mut T<'_>) -> Outcome {
    without_own_args(t)?;
    let args = CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..own_mutexes() };
    one_of("C_Initialize with both kinds of locking", initialize_with(t, Some(&args)), &[CKR_OK])?;
    Ok(t.api.finalize()?)
}

fn initialize_no_threads(t: &mut T<'_>) -> Outcome {
    without_own_args(t)?;
    let flags = CKF_LIBRARY_CANT_CREATE_OS_THREADS | CKF_OS_LOCKING_OK;
    let args = CK_C_INITIALIZE_ARGS { flags, ..init_args() };
    let rv = initialize_with(t, Some(&args));
    one_of("C_Initialize without threads", rv, &[CKR_OK, CKR_NEED_TO_CREATE_THREADS])
}

/// A refused C_Initialize leaves the library as it was: uninitialised.
fn initialize_after_refusal(t: &mut T<'_>) -> Outcome {
    without_own_args(t)?;
    let bad = CK_C_INITIALIZE_ARGS { CreateMutex: Some(create_mutex), ..init_args() };
    let rv = initialize_with(t, Some(&bad));
    ensure(rv.0 != CKR_OK, || "C_Initialize took some mutex functions".into())?;
    refused("C_GetInfo", t.api.store::<CK_INFO>(F::C_GetInfo, &[]), &[CKR_CRYPTOKI_NOT_INITIALIZED])?;
    t.init()?;
    Ok(())
}

fn reinitialize(t: &mut T<'_>) -> Outcome {
    let mut before = None;
    for _ in 0..10 {
        let api = t.init()?;
        let slots = api.slots(false)?;
        equal("slots of this and an earlier time", before.get_or_insert_with(|| slots.clone()), &mut slots.clone())?;
        t.finalize()?;
    }
    Ok(())
}

fn finalize_reserved(t: &mut T<'_>) -> Outcome {
    t.init()?;
    let mut something = 0u64;
    // SAFETY: a pointer to something of ours, which the module must not follow.
    let rv = unsafe { t.api.call(F::C_Finalize, &[&raw mut something as usize]) };
    one_of("C_Finalize with pReserved", rv, &[CKR_ARGUMENTS_BAD])?;
    let _: CK_INFO = t.api.store(F::C_GetInfo, &[])?;
    Ok(())
}

fn finalize_closes(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    t.finalize()?;
    refused("C_GetSessionInfo", s.info(), &[CKR_CRYPTOKI_NOT_INITIALIZED])?;
    t.slot()?;
    refused("C_GetSessionInfo of an earlier life", s.info(), &[CKR_SESSION_HANDLE_INVALID])
}

fn finalize_twice(t: &mut T<'_>) -> Outcome {
    t.init()?;
    t.finalize()?;
    refused("second C_Finalize", t.api.finalize(), &[CKR_CRYPTOKI_NOT_INITIALIZED])
}

/// The exit status of a child that tells a return value.
fn told(rv: Rv) -> i32 {
    (rv.0 & 0xFF) as i32 ^ i32::from(rv.0 > 0xFF)
}

fn fork_child(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    let rv = |r: Result<CK_SESSION_INFO, crate::ffi::Refused>| r.map_or_else(|e| e.rv, |_| Rv(CKR_OK));
    let status = in_child(|| told(rv(s.info())));
    equal("C_GetSessionInfo in a forked child", status, told(Rv(CKR_CRYPTOKI_NOT_INITIALIZED)))
}

fn fork_child_works(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    let (api, args, slot) = (t.api, t.env.init_args.as_deref(), t.slot()?);
    let status = in_child(|| {
        if api.initialize(args).is_err() {
            return 1;
        }
        match api.open_session(slot, RW).or_else(|_| api.open_session(slot, CKF_SERIAL_SESSION)) {
            Err(_) => 2,
            Ok(_) if api.finalize().is_err() => 3,
            Ok(_) => 0,
        }
    });
    equal("a forked child that initialises, opens a session, finalises", status, 0)?;
    s.info()?;
    Ok(())
}

fn fork_parent(t: &mut T<'_>) -> Outcome {
    let s = t.ready()?;
    let before = s.info()?.state;
    let api = t.api;
    let status = in_child(|| {
        let _ = api.finalize();
        0
    });
    equal("status of the child", status, 0)?;
    equal("state of the parent's session after the child's C_Finalize", s.info()?.state, before)?;
    t.session()?.close()?;
    Ok(())
}

fn exits_well(work: impl FnOnce()) -> Outcome {
    let status = in_child(|| {
        work();
        // SAFETY: ends the child, running exit handlers and destructors, which is what is tested.
        unsafe { libc::exit(0) }
    });
    equal("status of a process that ends by exit()", status, 0)
}

/// A process that ends by `exit` with the library initialised, a session open and the user logged in.
fn exit_initialized(t: &mut T<'_>) -> Outcome {
    let env = t.env;
    exits_well(|| {
        if let Ok(mut t) = T::new(env) {
            let _ = t.ready();
        }
    })
}

fn exit_finalized(t: &mut T<'_>) -> Outcome {
    let env = t.env;
    exits_well(|| {
        if let Ok(mut t) = T::new(env) {
            let _ = t.ready();
            let _ = t.finalize();
        }
    })
}

/// `dlclose` and loading again, many times, each time initialising.
fn reload(t: &mut T<'_>) -> Outcome {
    for round in 0..20 {
        let api = Api::open(&t.env.module).map_err(crate::context::Stop::Fail)?;
        api.initialize(t.env.init_args.as_deref())?;
        api.slots(false)?;
        api.finalize()?;
        ensure(api.close(), || format!("dlclose failed in round {round}"))?;
    }
    Ok(())
}
