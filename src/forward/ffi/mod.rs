//! Another PKCS#11 module in this process: loaded, initialised, called. The only unsafe code of this room.
//!
//! What is promised for every call (`SAFETY` below, "the call's promise"): the function comes from a function list of the
//! version that the list itself states; each pointer leads to a live value of at least the length passed beside it; the
//! session handle is one that no other thread uses meanwhile (see `pool`). That the module keeps its own side is what its
//! owner answers for by naming it in the configuration.

#![allow(unsafe_code)]

mod calls;
mod encode;
mod operations;
mod template;

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cryptoki_sys::*;
use parking_lot::Mutex;

use super::call::{Call, Driver, Reply, Rv};
use super::module::Threads;
use super::quirks::Quirks;
use crate::error::{Code, Error, Result};
use crate::log;
use crate::os::fork_epoch;

/// A loaded module. It stays loaded to the end of the process: what it registered with the process may be called then.
pub struct Local {
    path: PathBuf,
    init_args: Option<CString>,
    quirks: Quirks,
    threads: Threads,
    table: CK_FUNCTION_LIST_3_2,
    /// Of the list that the module gave.
    version: (u8, u8),
    /// `C_Initialize` was ours, so that `C_Finalize` is.
    ours: AtomicBool,
    /// The process that initialised it last.
    epoch: AtomicU64,
    /// For a module that may not be called by two threads at once.
    one_at_a_time: AtomicBool,
    turn: Mutex<()>,
}

// SAFETY: the table holds addresses of functions, which the specification makes callable from any thread once the module is
// initialised with CKF_OS_LOCKING_OK; where a module refuses that, `turn` keeps its callers apart.
unsafe impl Send for Local {}
// SAFETY: as above.
unsafe impl Sync for Local {}

type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
type GetInterface = unsafe extern "C" fn(*mut u8, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

const INTERFACE_NAME: &CStr = c"PKCS 11";

fn failed(path: &Path, what: &str) -> Error {
    Code::LibraryLoadFailed.because(format!("the module {}: {what}", path.display()))
}

impl Local {
    /// Loads the module. `CKR_LIBRARY_LOAD_FAILED` with what is wrong: no such file, no PKCS#11 module, an unknown version, or
    /// this very library.
    pub fn load(path: &Path, init_args: Option<&str>, quirks: Quirks, threads: Threads) -> Result<Local> {
        refuse_ourselves(path)?;
        let library = open(path)?;
        let (table, version) = interface(library).or_else(|| function_list(library)).ok_or_else(|| {
            failed(path, "it is no PKCS#11 module: neither C_GetInterface nor C_GetFunctionList gives a list of a known version; name the HSM maker's PKCS#11 library")
        })?;
        let init_args = init_args.map(CString::new).transpose();
        Ok(Local {
            path: path.to_owned(),
            init_args: init_args.map_err(|_| failed(path, "its init_args hold a NUL"))?,
            quirks,
            threads,
            table,
            version,
            ours: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            one_at_a_time: AtomicBool::new(quirks.one_at_a_time),
            turn: Mutex::new(()),
        })
    }

    pub fn version(&self) -> (u8, u8) {
        self.version
    }

    fn initialize(&self, locking: CK_FLAGS) -> CK_RV {
        let reserved = self.init_args.as_ref().map_or(null_mut(), |args| args.as_ptr().cast_mut().cast());
        /// NSS has its string where others have `pReserved`, and that after it.
        #[repr(C)]
        struct WithNss(CK_C_INITIALIZE_ARGS, *mut std::ffi::c_void);
        let args = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: locking | self.threads.flags(),
            pReserved: reserved,
        };
        let mut args = WithNss(args, null_mut());
        let Some(function) = self.table.C_Initialize else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the call's promise; the string lives as long as `self`.
        unsafe { function((&raw mut args).cast()) }
    }

    fn finalize(&self) {
        if let Some(function) = self.table.C_Finalize {
            // SAFETY: the call's promise.
            let rv = unsafe { function(null_mut()) };
            if rv != CKR_OK && rv != CKR_CRYPTOKI_NOT_INITIALIZED {
                log!(Info, "{}: C_Finalize answered {rv:#x}", self.path.display());
            }
        }
    }
}

impl Driver for Local {
    /// The application itself, or another slot, may have initialised the module already; then it is theirs to finalise.
    fn start(&self) -> Result<()> {
        let inherited = initialised_by_a_parent(&self.path);
        let mut rv = self.initialize(CKF_OS_LOCKING_OK);
        if rv == CKR_CRYPTOKI_ALREADY_INITIALIZED && inherited {
            // What a forked child inherited is not usable in it; the parent's own state is untouched by this.
            self.finalize();
            rv = self.initialize(CKF_OS_LOCKING_OK);
        }
        if matches!(rv, CKR_CANT_LOCK | CKR_ARGUMENTS_BAD) {
            self.one_at_a_time.store(true, Ordering::Release);
            rv = self.initialize(0);
        }
        match rv {
            CKR_OK => {
                self.ours.store(true, Ordering::Release);
                note_initialised(&self.path);
            }
            CKR_CRYPTOKI_ALREADY_INITIALIZED => self.ours.store(false, Ordering::Release),
            CKR_NEED_TO_CREATE_THREADS => {
                let why = "it must start threads, which the application forbids; say isolate = true, so that it starts them in a process of its own";
                return Err(Code::NeedToCreateThreads.because(format!("the module {}: {why}", self.path.display())));
            }
            _ => {
                let code = Code::from_ckr(rv).unwrap_or(Code::DeviceError);
                return Err(code.because(format!("the module {}: C_Initialize answered {rv:#x}", self.path.display())));
            }
        }
        self.epoch.store(fork_epoch(), Ordering::Release);
        Ok(())
    }

    fn stop(&self) {
        if self.epoch.load(Ordering::Acquire) == fork_epoch() && self.ours.swap(false, Ordering::AcqRel) {
            self.finalize();
        }
    }

    fn call(&self, call: &Call<'_>, out: Option<&mut [u8]>) -> Rv<Reply> {
        let _turn = self.one_at_a_time.load(Ordering::Relaxed).then(|| self.turn.lock());
        self.dispatch(call, out)
    }
}

/// The modules that we have initialised, each with the process that we were. A child inherits the list. It may be locked
/// there, by a thread that did not come along: then nothing is known.
static INITIALISED: Mutex<Vec<(PathBuf, u64)>> = Mutex::new(Vec::new());

fn note_initialised(path: &Path) {
    if let Some(mut list) = INITIALISED.try_lock_for(Duration::from_millis(100)) {
        list.retain(|(known, _)| known != path);
        list.push((path.to_owned(), fork_epoch()));
    }
}

fn initialised_by_a_parent(path: &Path) -> bool {
    let list = INITIALISED.try_lock_for(Duration::from_millis(100));
    list.is_some_and(|list| list.iter().any(|(known, epoch)| known == path && *epoch != fork_epoch()))
}

/// A module that is this library would call itself without end.
fn refuse_ourselves(path: &Path) -> Result<()> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(failed(path, &format!("it cannot be looked at: {error}; correct `module` in the configuration")));
    }
    if is_ourselves(path) {
        return Err(failed(path, "it is Keyward's own library; name the HSM maker's PKCS#11 library"));
    }
    Ok(())
}

/// Whether the file is this library, or the program that this code is part of.
pub fn is_ourselves(path: &Path) -> bool {
    let Ok(file) = std::fs::metadata(path) else { return false };
    let own = own_path().and_then(|own| std::fs::metadata(own).ok());
    own.is_some_and(|own| (own.dev(), own.ino()) == (file.dev(), file.ino()))
}

/// The file that this code was loaded from: the library, or a program.
pub fn own_path() -> Option<PathBuf> {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: null_mut(),
    };
    let here: fn() -> Option<PathBuf> = own_path;
    // SAFETY: any address may be asked for; the answer is a NUL-terminated name that lives as long as the library.
    let own = unsafe {
        match libc::dladdr(here as *const c_void, &raw mut info) {
            0 => None,
            _ => NonNull::new(info.dli_fname.cast_mut()).map(|name| CStr::from_ptr(name.as_ptr())),
        }
    };
    let own = own.map(|own| PathBuf::from(std::ffi::OsStr::from_bytes(own.to_bytes())));
    // A program is called by whatever name its starter gave it.
    own.and_then(|own| own.canonicalize().ok()).or_else(|| std::env::current_exe().ok())
}

fn open(path: &Path) -> Result<NonNull<c_void>> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(path, "its name holds a NUL"))?;
    // Where the host has given everybody C_ symbols, by linking a module or by RTLD_GLOBAL, the module's calls to its own
    // exported functions would be bound to those.
    // SAFETY: a search by name.
    let exposed = !unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"C_Initialize".as_ptr()) }.is_null();
    let deep = if exposed { libc::RTLD_DEEPBIND } else { 0 };
    // SAFETY: a NUL-terminated name. The module's constructors run; that they may is what naming the module means.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL | deep) };
    NonNull::new(library).ok_or_else(|| {
        // SAFETY: after a failure `dlerror` gives NULL or a string of this thread's.
        let why = unsafe {
            let why = libc::dlerror();
            if why.is_null() { "unknown".to_owned() } else { CStr::from_ptr(why).to_string_lossy().into_owned() }
        };
        failed(path, &format!("it cannot be loaded: {why}"))
    })
}

fn symbol(library: NonNull<c_void>, name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: a handle of `dlopen` that is never closed.
    NonNull::new(unsafe { libc::dlsym(library.as_ptr(), name.as_ptr()) })
}

/// The functions of a list, in the largest of its layouts: each is the beginning of the next.
///
/// # Safety
/// `list` leads to a function list of a version that it states.
unsafe fn known(list: NonNull<CK_VERSION>) -> Option<(CK_FUNCTION_LIST_3_2, (u8, u8))> {
    // SAFETY: each list begins with its version.
    let version = unsafe { list.as_ptr().read() };
    let size = match (version.major, version.minor) {
        (2, ..=40) => size_of::<CK_FUNCTION_LIST>(),
        (3, 0 | 1) => size_of::<CK_FUNCTION_LIST_3_0>(),
        (3, 2..) => size_of::<CK_FUNCTION_LIST_3_2>(),
        _ => return None,
    };
    let mut table = CK_FUNCTION_LIST_3_2::default();
    // SAFETY: the list has that size at least, and a function that is not there is a zero word.
    unsafe { std::ptr::copy_nonoverlapping(list.as_ptr().cast::<u8>(), (&raw mut table).cast::<u8>(), size) };
    Some((table, (version.major, version.minor)))
}

/// By `C_GetInterface`: 3.2, else 3.0, else what the module thinks best.
fn interface(library: NonNull<c_void>) -> Option<(CK_FUNCTION_LIST_3_2, (u8, u8))> {
    let found = symbol(library, c"C_GetInterface")?;
    // SAFETY: the specification gives the symbol this type.
    let get: GetInterface = unsafe { std::mem::transmute(found.as_ptr()) };
    for wanted in [Some((3, 2)), Some((3, 0)), None] {
        let mut version = wanted.map(|(major, minor)| CK_VERSION { major, minor });
        let mut interface: *mut CK_INTERFACE = null_mut();
        let wanted = version.as_mut().map_or(null_mut(), std::ptr::from_mut);
        // SAFETY: the call's promise; this function may be called before C_Initialize.
        let rv = unsafe { get(INTERFACE_NAME.as_ptr().cast_mut().cast(), wanted, &raw mut interface, 0) };
        // SAFETY: the interface that the module gave, and its list.
        let list = unsafe { interface.as_ref() }.and_then(|interface| NonNull::new(interface.pFunctionList));
        if let (CKR_OK, Some(list)) = (rv, list)
            // SAFETY: as above.
            && let Some(known) = unsafe { known(list.cast()) }
        {
            return Some(known);
        }
    }
    None
}

fn function_list(library: NonNull<c_void>) -> Option<(CK_FUNCTION_LIST_3_2, (u8, u8))> {
    let found = symbol(library, c"C_GetFunctionList")?;
    // SAFETY: the specification gives the symbol this type.
    let get: GetFunctionList = unsafe { std::mem::transmute(found.as_ptr()) };
    let mut list = null_mut();
    // SAFETY: the call's promise; this function may be called before C_Initialize.
    let rv = unsafe { get(&raw mut list) };
    let list = NonNull::new(list).filter(|_| rv == CKR_OK)?;
    // SAFETY: the module's own list; of a later version than 2.40 only that part is there.
    let (mut table, version) = unsafe { known(list.cast()) }?;
    if version.0 > 2 {
        // SAFETY: as above.
        let old = unsafe { list.as_ptr().read() };
        table = CK_FUNCTION_LIST_3_2::default();
        // SAFETY: the shorter layout is the beginning of the longer.
        unsafe { (&raw mut table).cast::<CK_FUNCTION_LIST>().write(old) };
    }
    Some((table, (version.0.min(2), if version.0 > 2 { 40 } else { version.1 })))
}
