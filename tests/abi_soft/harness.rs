//! A token in a temporary directory, and short ways to call the C functions.

use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki_sys::*;

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

#[path = "../gcm/mod.rs"]
pub mod gcm;
#[path = "../through_slot/mod.rs"]
mod through_slot;

const PIN: &[u8] = b"1234-abcd";

/// A logged-in session of this test's own; only one test at a time has the module.
pub struct Running {
    pub session: CK_SESSION_HANDLE,
    pub slot: CK_SLOT_ID,
    _alone: MutexGuard<'static, ()>,
}

/// One token for all tests of the process: its making costs a key derivation.
fn token() -> &'static PathBuf {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = std::env::temp_dir().join(format!("keyward-abi-soft-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let conf = place.join("keyward.toml");
        let text =
            format!("tokens = '{0}/tokens'\ndevice_secret = '{0}/device'\nfree_slot = 'auto'\n", place.display());
        std::fs::write(&conf, text).unwrap();
        let pin = std::str::from_utf8(PIN).unwrap();
        let conf = through_slot::in_front_of(&conf, &library(), pin, pin).unwrap_or(conf);
        // SAFETY: behind the tests' one lock, before any other thread of the module's reads it.
        unsafe { std::env::set_var("KEYWARD_CONF", &conf) };
        place
    })
}

fn library() -> PathBuf {
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let built = |path: PathBuf| path.metadata().and_then(|m| m.modified()).ok().map(|at| (at, path));
    let places = [beside.join("libkeyward.so"), beside.parent().unwrap().join("libkeyward.so")];
    places.into_iter().filter_map(built).max().expect("cargo builds libkeyward.so with the tests").1
}

pub fn ptr<T>(slice: &[T]) -> *mut T {
    slice.as_ptr().cast_mut()
}

pub fn len<T>(slice: &[T]) -> CK_ULONG {
    slice.len() as CK_ULONG
}

pub fn open(slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
    let mut session = 0;
    ok!(C_OpenSession, slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, null_mut(), None, &raw mut session);
    session
}

pub fn login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE) -> CK_RV {
    c!(C_Login, session, user, ptr(PIN), len(PIN))
}

pub fn start() -> Running {
    static ONE: Mutex<()> = Mutex::new(());
    let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    token();
    ok!(C_Initialize, null_mut());
    let (mut slots, mut count) = ([0; 4], 4);
    ok!(C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &raw mut count);
    let slot = slots[0];
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, slot, &raw mut info);
    if info.flags & CKF_TOKEN_INITIALIZED == 0 {
        ok!(C_InitToken, slot, ptr(PIN), len(PIN), ptr(&[b' '; 32]));
        let session = open(slot);
        assert_eq!(login(session, CKU_SO), CKR_OK);
        ok!(C_InitPIN, session, ptr(PIN), len(PIN));
        ok!(C_CloseSession, session);
    }
    let session = open(slot);
    assert_eq!(login(session, CKU_USER), CKR_OK);
    Running { session, slot, _alone: alone }
}

impl Drop for Running {
    fn drop(&mut self) {
        c!(C_Finalize, null_mut());
    }
}

/// Attributes with values of their own.
#[derive(Default)]
pub struct Template(Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>, Vec<CK_ATTRIBUTE>);

impl Template {
    pub fn new() -> Template {
        Template::default()
    }

    pub fn bytes(mut self, ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Template {
        self.0.push((ty, value.to_vec()));
        self
    }

    pub fn number(self, ty: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Template {
        self.bytes(ty, &value.to_ne_bytes())
    }

    pub fn yes(self, ty: CK_ATTRIBUTE_TYPE) -> Template {
        self.bytes(ty, &[CK_TRUE])
    }

    pub fn no(self, ty: CK_ATTRIBUTE_TYPE) -> Template {
        self.bytes(ty, &[CK_FALSE])
    }

    /// A template as a value: `inner` must outlive the call.
    pub fn template(mut self, ty: CK_ATTRIBUTE_TYPE, inner: &mut Template) -> Template {
        let inner = inner.raw();
        // SAFETY: plain structures, read as bytes.
        let bytes = unsafe { std::slice::from_raw_parts(inner.as_ptr().cast::<u8>(), size_of_val(inner)) };
        self.0.push((ty, bytes.to_vec()));
        self
    }

    pub fn raw(&mut self) -> &mut [CK_ATTRIBUTE] {
        let entry = |(ty, value): &(CK_ATTRIBUTE_TYPE, Vec<u8>)| CK_ATTRIBUTE {
            type_: *ty,
            pValue: ptr(value).cast(),
            ulValueLen: len(value),
        };
        self.1 = self.0.iter().map(entry).collect();
        &mut self.1
    }
}

/// A secret key that may be read and does everything.
pub fn secret(key_type: CK_KEY_TYPE) -> Template {
    let uses = [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP, CKA_EXTRACTABLE];
    let template = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, key_type).no(CKA_SENSITIVE);
    uses.into_iter().fold(template, Template::yes)
}

pub fn create(session: CK_SESSION_HANDLE, mut template: Template) -> CK_OBJECT_HANDLE {
    let mut handle = 0;
    let raw = template.raw();
    ok!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut handle);
    handle
}

pub fn aes_key(session: CK_SESSION_HANDLE, value: &[u8]) -> CK_OBJECT_HANDLE {
    create(session, secret(CKK_AES).bytes(CKA_VALUE, value))
}

pub fn pair(
    session: CK_SESSION_HANDLE,
    ty: CK_MECHANISM_TYPE,
    mut public: Template,
    mut private: Template,
) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let mut handles = (0, 0);
    let mechanism = [mechanism(ty)];
    let (public, private) = (public.raw(), private.raw());
    ok!(
        C_GenerateKeyPair,
        session,
        ptr(&mechanism),
        public.as_mut_ptr(),
        len(public),
        private.as_mut_ptr(),
        len(private),
        &raw mut handles.0,
        &raw mut handles.1
    );
    handles
}

/// OID of P-256.
pub const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

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

pub fn mechanism(ty: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: ty, pParameter: null_mut(), ulParameterLen: 0 }
}

#[allow(non_snake_case)]
pub fn with<P>(ty: CK_MECHANISM_TYPE, params: &P) -> CK_MECHANISM {
    let pParameter = (&raw const *params).cast_mut().cast();
    CK_MECHANISM { mechanism: ty, pParameter, ulParameterLen: size_of::<P>() as CK_ULONG }
}

/// Every object that a search finds.
pub fn find(session: CK_SESSION_HANDLE, mut template: Template) -> Vec<CK_OBJECT_HANDLE> {
    let raw = template.raw();
    ok!(C_FindObjectsInit, session, raw.as_mut_ptr(), len(raw));
    let (mut handles, mut count) = (vec![0; 1000], 0);
    ok!(C_FindObjects, session, handles.as_mut_ptr(), 1000, &raw mut count);
    ok!(C_FindObjectsFinal, session);
    handles.truncate(count as usize);
    handles
}

/// Calls a function with output as an application does: for the length first, then with a buffer too small, then right.
pub fn output(mut call: impl FnMut(*mut u8, *mut CK_ULONG) -> CK_RV) -> Result<Vec<u8>, CK_RV> {
    let mut needed = 0;
    match call(null_mut(), &raw mut needed) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let mut out = vec![0xee; needed as usize];
    if needed > 0 {
        let mut less = needed - 1;
        assert_eq!(call(out.as_mut_ptr(), &raw mut less), CKR_BUFFER_TOO_SMALL);
        assert_eq!(less, needed, "the length asked for");
        assert!(out.iter().all(|byte| *byte == 0xee), "nothing written");
    }
    match call(out.as_mut_ptr(), &raw mut needed) {
        CKR_OK => out.truncate(needed as usize),
        rv => return Err(rv),
    }
    Ok(out)
}
