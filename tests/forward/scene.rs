//! A SoftHSM token in a temporary directory, Keyward in front of it, and short ways to call the C functions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki_sys::*;

pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const PIN: &str = "1234";
pub const SO_PIN: &str = "12345678";

#[macro_export]
macro_rules! c {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        // SAFETY: the tests pass what each function may be passed, wrong on purpose or not.
        unsafe { (keyward::abi::function_list_3_2().$name.unwrap())($($arg),*) }
    };
}

/// As `c!`, and it must be `CKR_OK`.
#[macro_export]
macro_rules! ok {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        assert_eq!($crate::c!($name $(, $arg)*), CKR_OK, stringify!($name))
    };
}

/// A test of a slot, on a module in this process and on one in a process of its own; its parameter are the slot's lines.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* fn $name:ident($how:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            fn run($how: &str) $body

            #[test]
            $(#[$meta])*
            fn directly() {
                run("token = 'hsm'");
            }

            #[test]
            $(#[$meta])*
            fn isolated() {
                run("token = 'hsm'\nisolate = true");
            }
        }
    )*};
}

pub fn ptr<T>(slice: &[T]) -> *mut T {
    slice.as_ptr().cast_mut()
}

pub fn len<T>(slice: &[T]) -> CK_ULONG {
    slice.len() as CK_ULONG
}

/// The module that does wrong on demand, compiled once per process.
pub fn faulty() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile_faulty(""))
}

/// With a suffix, which ends the names of the environment's variables that it reads.
pub fn compile_faulty(suffix: &str) -> PathBuf {
    let built = std::env::temp_dir().join(format!("keyward-faulty-{}{suffix}.so", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/faulty.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-w", "-O1", "-o"]).arg(&built).arg(&source).arg(format!("-DSUFFIX=\"{suffix}\""));
    assert!(cc.status().unwrap().success(), "cc {}", source.display());
    built
}

/// One at a time: the environment and the C functions are the process's.
pub struct Scene {
    pub place: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

pub fn set_env(name: &str, value: impl AsRef<std::ffi::OsStr>) {
    // SAFETY: behind the tests' one lock; no other thread of a test reads the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
}

impl Scene {
    /// A token "hsm" of SoftHSM's.
    pub fn new() -> Scene {
        static ONE: Mutex<()> = Mutex::new(());
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("keyward-forward-{}-{number}", std::process::id()));
        std::fs::create_dir_all(place.join("tokens")).unwrap();
        let conf = place.join("softhsm.conf");
        let text = format!(
            "directories.tokendir = {}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
            place.display()
        );
        std::fs::write(&conf, text).unwrap();
        set_env("SOFTHSM2_CONF", &conf);
        set_env("FAULTY_MODULE", SOFTHSM);
        set_env("FAULTY_CONTROL", place.join("control"));
        set_env("FAULTY_TRACE", place.join("trace"));
        set_env("KEYWARD_CONF", place.join("keyward.toml"));
        set_env("KEYWARD_LOG_FILE", place.join("log"));
        let scene = Scene { place, _alone: alone };
        scene.token("hsm");
        scene
    }

    pub fn token(&self, label: &str) {
        let words = ["--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN];
        let output = Command::new("softhsm2-util").args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A forwarded slot over `module`, with further lines, and initialised.
    pub fn start(self, module: &Path, lines: &str) -> Running {
        self.configure(module, lines);
        ok!(C_Initialize, null_mut());
        Running { scene: self }
    }

    pub fn configure(&self, module: &Path, lines: &str) {
        let text = format!(
            "tokens = 'keyward'\ndevice_secret = 'device'\n[log]\nlevel = 'debug'\n[[slot]]\nkind = 'forward'\nmodule = '{}'\n{lines}\n",
            module.display()
        );
        std::fs::write(self.place.join("keyward.toml"), text).unwrap();
    }

    /// What the faulty module is to do wrong from now on.
    pub fn faults(&self, lines: &str) {
        let _ = std::fs::remove_file(self.place.join("control.seen"));
        std::fs::write(self.place.join("control"), lines).unwrap();
    }

    /// How often a function of the faulty module was called.
    pub fn calls(&self, name: &str) -> usize {
        let trace = std::fs::read_to_string(self.place.join("trace")).unwrap_or_default();
        trace.lines().filter(|line| *line == name).count()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.join("log")).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

pub struct Running {
    pub scene: Scene,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.scene.faults("");
        c!(C_Finalize, null_mut());
    }
}

pub fn slots() -> Vec<CK_SLOT_ID> {
    let (mut slots, mut count) = ([0; 8], 8);
    ok!(C_GetSlotList, CK_TRUE, null_mut(), &raw mut count);
    count = 8;
    ok!(C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &raw mut count);
    slots[..count as usize].to_vec()
}

impl Running {
    pub fn slot(&self) -> CK_SLOT_ID {
        slots()[0]
    }

    pub fn open(&self) -> CK_SESSION_HANDLE {
        open(self.slot(), CKF_RW_SESSION)
    }

    /// A read-write session of the user's.
    pub fn user(&self) -> CK_SESSION_HANDLE {
        let session = self.open();
        assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
        session
    }
}

pub fn open(slot: CK_SLOT_ID, flags: CK_FLAGS) -> CK_SESSION_HANDLE {
    let mut session = 0;
    ok!(C_OpenSession, slot, CKF_SERIAL_SESSION | flags, null_mut(), None, &raw mut session);
    session
}

pub fn login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &str) -> CK_RV {
    c!(C_Login, session, user, ptr(pin.as_bytes()), len(pin.as_bytes()))
}

/// The library as cargo has built it for the tests.
pub fn library() -> PathBuf {
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let built = |path: PathBuf| path.metadata().and_then(|m| m.modified()).ok().map(|at| (at, path));
    let places = [beside.join("libkeyward.so"), beside.parent().unwrap().join("libkeyward.so")];
    places.into_iter().filter_map(built).max().expect("cargo builds libkeyward.so with the tests").1
}

pub type Attr = (CK_ATTRIBUTE_TYPE, Vec<u8>);

pub fn bytes(ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Attr {
    (ty, value.to_vec())
}

pub fn number(ty: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Attr {
    (ty, value.to_ne_bytes().to_vec())
}

pub fn yes(ty: CK_ATTRIBUTE_TYPE) -> Attr {
    (ty, vec![CK_TRUE])
}

pub fn no(ty: CK_ATTRIBUTE_TYPE) -> Attr {
    (ty, vec![CK_FALSE])
}

/// A template as C reads it, with its values.
pub struct Raw(Vec<CK_ATTRIBUTE>, #[allow(dead_code)] Vec<Attr>);

impl std::ops::Deref for Raw {
    type Target = [CK_ATTRIBUTE];

    fn deref(&self) -> &[CK_ATTRIBUTE] {
        &self.0
    }
}

impl std::ops::DerefMut for Raw {
    fn deref_mut(&mut self) -> &mut [CK_ATTRIBUTE] {
        &mut self.0
    }
}

pub fn raw(template: &[Attr]) -> Raw {
    let values = template.to_vec();
    let attribute = |(ty, value): &Attr| CK_ATTRIBUTE { type_: *ty, pValue: ptr(value).cast(), ulValueLen: len(value) };
    Raw(values.iter().map(attribute).collect(), values)
}

pub fn plain(ty: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: ty, pParameter: null_mut(), ulParameterLen: 0 }
}

#[allow(non_snake_case)]
pub fn with<P>(ty: CK_MECHANISM_TYPE, params: &P) -> CK_MECHANISM {
    let pParameter = (&raw const *params).cast_mut().cast();
    CK_MECHANISM { mechanism: ty, pParameter, ulParameterLen: size_of::<P>() as CK_ULONG }
}

pub fn try_generate(
    session: CK_SESSION_HANDLE,
    ty: CK_MECHANISM_TYPE,
    template: &[Attr],
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let (mut template, mut key, mechanism) = (raw(template), 0, [plain(ty)]);
    let count = len(&template);
    match c!(C_GenerateKey, session, ptr(&mechanism), template.as_mut_ptr(), count, &raw mut key) {
        CKR_OK => Ok(key),
        rv => Err(rv),
    }
}

/// A session AES key that does everything.
pub fn aes(session: CK_SESSION_HANDLE, more: &[Attr]) -> CK_OBJECT_HANDLE {
    try_generate(session, CKM_AES_KEY_GEN, &aes_template(more)).unwrap()
}

pub fn aes_template(more: &[Attr]) -> Vec<Attr> {
    let uses = [CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP, CKA_SIGN, CKA_VERIFY];
    let mut template: Vec<Attr> = uses.into_iter().map(yes).collect();
    template.push(number(CKA_VALUE_LEN, 32));
    template.extend_from_slice(more);
    template
}

/// A P-256 token key pair under a label and an ID.
pub fn ec_pair(session: CK_SESSION_HANDLE, label: &str, id: u8) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    try_pair(session, &[yes(CKA_TOKEN), bytes(CKA_LABEL, label.as_bytes()), bytes(CKA_ID, &[id])]).unwrap()
}

pub fn try_session_pair(session: CK_SESSION_HANDLE) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), CK_RV> {
    try_pair(session, &[])
}

fn try_pair(session: CK_SESSION_HANDLE, named: &[Attr]) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), CK_RV> {
    const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let public = [named, &[bytes(CKA_EC_PARAMS, P256), yes(CKA_VERIFY)]].concat();
    let private = [named, &[yes(CKA_SIGN), yes(CKA_PRIVATE), yes(CKA_SENSITIVE)]].concat();
    let (mut public, mut private, mut keys) = (raw(&public), raw(&private), (0, 0));
    let mechanism = [plain(CKM_EC_KEY_PAIR_GEN)];
    let (public_count, private_count) = (len(&public), len(&private));
    let rv = c!(
        C_GenerateKeyPair,
        session,
        ptr(&mechanism),
        public.as_mut_ptr(),
        public_count,
        private.as_mut_ptr(),
        private_count,
        &raw mut keys.0,
        &raw mut keys.1
    );
    if rv == CKR_OK { Ok(keys) } else { Err(rv) }
}

pub fn try_sign(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, digest: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let mechanism = [plain(CKM_ECDSA)];
    match c!(C_SignInit, session, ptr(&mechanism), key) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let (mut out, mut out_len) = (vec![0; 256], 256);
    match c!(C_Sign, session, ptr(digest), len(digest), out.as_mut_ptr(), &raw mut out_len) {
        CKR_OK => {
            out.truncate(out_len as usize);
            Ok(out)
        }
        rv => Err(rv),
    }
}

pub fn verify(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, digest: &[u8], signature: &[u8]) -> CK_RV {
    let mechanism = [plain(CKM_ECDSA)];
    match c!(C_VerifyInit, session, ptr(&mechanism), key) {
        CKR_OK => c!(C_Verify, session, ptr(digest), len(digest), ptr(signature), len(signature)),
        rv => rv,
    }
}

pub fn find(session: CK_SESSION_HANDLE, template: &[Attr]) -> Vec<CK_OBJECT_HANDLE> {
    let mut template = raw(template);
    let count = len(&template);
    ok!(C_FindObjectsInit, session, template.as_mut_ptr(), count);
    let (mut handles, mut found) = (vec![0; 100], 0);
    ok!(C_FindObjects, session, handles.as_mut_ptr(), 100, &raw mut found);
    ok!(C_FindObjectsFinal, session);
    handles.truncate(found as usize);
    handles
}

pub fn value(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, CK_RV> {
    let mut out = vec![0; 4096];
    let mut entry = [CK_ATTRIBUTE { type_: ty, pValue: out.as_mut_ptr().cast(), ulValueLen: len(&out) }];
    match c!(C_GetAttributeValue, session, object, entry.as_mut_ptr(), 1) {
        CKR_OK => {
            out.truncate(entry[0].ulValueLen as usize);
            Ok(out)
        }
        rv => Err(rv),
    }
}
