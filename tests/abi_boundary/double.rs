//! A token whose cryptography anyone can do in his head, and the harness around it.
//!
//! - Encrypting XORs each byte with 0x55. Decrypting with `CKM_AES_CBC_PAD` keeps all until the end, and drops trailing
//!   `#`, so that only the result shows its length.
//! - A digest, signature or MAC is the sum of all bytes, as 4 bytes. `CKM_AES_CMAC` works in one call only;
//!   `CKM_AES_MAC` panics.
//! - Random bytes count up from the last seed byte.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;
use keyward::config::Config;
use keyward::error::{Code, Result};
use keyward::module::{self, Source};
use keyward::soft::Shelved;
use keyward::token::*;

pub const SLOT: CK_SLOT_ID = 0x1234;
pub const OTHER_SLOT: CK_SLOT_ID = 0x4321;
pub const PIN: &[u8] = b"1234";
pub const SO_PIN: &[u8] = b"87654321";

/// Objects that every double has.
pub const PUBLIC_KEY: u64 = 1;
pub const PRIVATE_KEY: u64 = 2;
/// `CKA_ALWAYS_AUTHENTICATE`.
pub const CAREFUL_KEY: u64 = 3;

#[derive(Default)]
pub struct Double {
    pub login: Mutex<Option<User>>,
    pub objects: Mutex<BTreeMap<u64, Vec<Attribute>>>,
    pub sessions: Mutex<Vec<SessionId>>,
    pub initialized: Mutex<Option<String>>,
    pub next: AtomicU64,
    /// How often an operation was begun out of a spare one.
    pub restarts: AtomicUsize,
    pub runs: Arc<AtomicUsize>,
    pub logouts: AtomicUsize,
}

fn key(private: bool, careful: bool) -> Vec<Attribute> {
    vec![
        Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
        Attribute::bool(CKA_PRIVATE, private),
        Attribute::bool(CKA_ALWAYS_AUTHENTICATE, careful),
        Attribute::bytes(CKA_LABEL, b"a label"),
        Attribute { ty: CKA_WRAP_TEMPLATE, value: Value::Template(vec![Attribute::bytes(CKA_ID, b"nested")]) },
    ]
}

impl Double {
    pub fn new() -> Arc<Double> {
        let double = Double { next: AtomicU64::new(100), ..Double::default() };
        *double.initialized.lock().unwrap() = Some("Double".into());
        double.objects.lock().unwrap().extend([
            (PUBLIC_KEY, key(false, false)),
            (PRIVATE_KEY, key(true, false)),
            (CAREFUL_KEY, key(true, true)),
        ]);
        Arc::new(double)
    }

    pub fn blank() -> Arc<Double> {
        Arc::new(Double { next: AtomicU64::new(1), ..Double::default() })
    }

    fn flag(&self, object: ObjectId, ty: CK_ATTRIBUTE_TYPE) -> Result<bool> {
        let objects = self.objects.lock().unwrap();
        let object = objects.get(&object.0).ok_or(Code::ObjectHandleInvalid)?;
        let is_true = |value: &Value| matches!(value, Value::Bytes(bytes) if ***bytes == [CK_TRUE]);
        Ok(object.iter().any(|attribute| attribute.ty == ty && is_true(&attribute.value)))
    }

    fn add(&self, template: Vec<Attribute>) -> ObjectId {
        let id = self.next.fetch_add(1, SeqCst);
        self.objects.lock().unwrap().insert(id, template);
        ObjectId(id)
    }
}

impl Token for Double {
    fn info(&self) -> Result<TokenInfo> {
        let label = self.initialized.lock().unwrap().clone();
        let flags = CKF_RNG | CKF_LOGIN_REQUIRED | if label.is_some() { CKF_TOKEN_INITIALIZED } else { 0 };
        Ok(TokenInfo {
            label: label.unwrap_or_default(),
            manufacturer: "Tests".into(),
            model: "Double".into(),
            serial: "0001".into(),
            flags,
            max_sessions: 0,
            pin_len: 4..=255,
            hardware: (1, 2),
            firmware: (3, 4),
        })
    }

    fn mechanisms(&self) -> Vec<CK_MECHANISM_TYPE> {
        vec![CKM_AES_CBC, CKM_SHA256]
    }

    fn mechanism_info(&self, ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo> {
        match ty {
            CKM_AES_CBC => Ok(MechanismInfo { min_key: 16, max_key: 32, flags: CKF_ENCRYPT }),
            _ => Err(Code::MechanismInvalid.into()),
        }
    }

    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        if so_pin != SO_PIN {
            Err(Code::PinIncorrect)?;
        }
        *self.initialized.lock().unwrap() = Some(label.into());
        Ok(())
    }

    fn open_session(&self, caller: Caller) -> Result<()> {
        self.sessions.lock().unwrap().push(caller.session);
        Ok(())
    }

    fn close_session(&self, session: SessionId) {
        self.sessions.lock().unwrap().retain(|open| *open != session);
    }

    fn login(&self, _: Caller, user: User, pin: &[u8]) -> Result<()> {
        if pin == b"panic" {
            panic!("a token that panics");
        }
        if pin != if user == User::User { PIN } else { SO_PIN } {
            Err(Code::PinIncorrect)?;
        }
        *self.login.lock().unwrap() = Some(user);
        Ok(())
    }

    fn reauthenticate(&self, _: Caller, pin: &[u8]) -> Result<()> {
        if pin == PIN { Ok(()) } else { Err(Code::PinIncorrect.into()) }
    }

    fn logout(&self) -> Result<()> {
        self.logouts.fetch_add(1, SeqCst);
        *self.login.lock().unwrap() = None;
        Ok(())
    }

    fn logged_in(&self) -> Option<User> {
        *self.login.lock().unwrap()
    }

    fn init_pin(&self, _: Caller, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn set_pin(&self, _: Caller, old: &[u8], _: &[u8]) -> Result<()> {
        if old == PIN { Ok(()) } else { Err(Code::PinIncorrect.into()) }
    }

    fn create(&self, _: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        Ok(self.add(template))
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        self.size(caller, object)?;
        Ok(self.add(template))
    }

    fn destroy(&self, _: Caller, object: ObjectId) -> Result<()> {
        self.objects.lock().unwrap().remove(&object.0).map(drop).ok_or(Code::ObjectHandleInvalid.into())
    }

    fn size(&self, _: Caller, object: ObjectId) -> Result<u64> {
        self.flag(object, CKA_PRIVATE).map(|_| 42)
    }

    fn get(&self, _: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let objects = self.objects.lock().unwrap();
        let object = objects.get(&object.0).ok_or(Code::ObjectHandleInvalid)?;
        let answer = |ty: &CK_ATTRIBUTE_TYPE| match object.iter().find(|attribute| attribute.ty == *ty) {
            _ if *ty == CKA_VALUE => Answer::Sensitive,
            Some(attribute) => Answer::Value(attribute.value.clone()),
            None => Answer::Absent,
        };
        Ok(types.iter().map(answer).collect())
    }

    fn set(&self, _: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        *self.objects.lock().unwrap().get_mut(&object.0).ok_or(Code::ObjectHandleInvalid)? = template;
        Ok(())
    }

    fn find(&self, _: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        let objects = self.objects.lock().unwrap();
        let matching = objects.iter().filter(|(_, object)| template.iter().all(|wanted| object.contains(wanted)));
        Ok(Box::new(Found(matching.map(|(id, _)| ObjectId(*id)).collect())))
    }

    fn begin(
        &self,
        _: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        let private = key.map_or(Ok(false), |key| self.flag(key, CKA_PRIVATE))?;
        let reauthenticate = key.map_or(Ok(false), |key| self.flag(key, CKA_ALWAYS_AUTHENTICATE))?;
        if private && self.logged_in().is_none() {
            Err(Code::KeyHandleInvalid)?;
        }
        let stamp = Stamp { mechanism: mechanism.ty, key, state: (0, 0) };
        if let Some(mut spare) = spare.filter(|spare| spare.stamp == stamp)
            && spare.operation.restart(&mechanism.params)
        {
            self.restarts.fetch_add(1, SeqCst);
            return Ok(spare);
        }
        let operation = Box::new(Work { what, ty: mechanism.ty, held: Vec::new(), runs: Arc::clone(&self.runs) });
        Ok(Begun { operation, reauthenticate, private, stamp, cleared_until: 0 })
    }

    fn digest_key(&self, _: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        self.flag(key, CKA_PRIVATE)?;
        digest.update(b"\x10", &mut []).map(|_| ())
    }

    fn restore(&self, _: Caller, what: Use, state: &[u8]) -> Result<Begun> {
        let operation = Box::new(Work { what, ty: CKM_SHA256, held: state.to_vec(), runs: Arc::default() });
        Ok(Begun { operation, reauthenticate: false, private: false, stamp: Stamp::default(), cleared_until: 0 })
    }

    fn generate_key(&self, _: Caller, _: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId> {
        Ok(self.add(template))
    }

    fn generate_key_pair(
        &self,
        _: Caller,
        _: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        Ok((self.add(public), self.add(private)))
    }

    fn wrap(&self, _: Caller, _: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.flag(wrapping, CKA_PRIVATE)?;
        self.flag(key, CKA_PRIVATE)?;
        Ok(b"wrapped".to_vec())
    }

    fn unwrap(
        &self,
        _: Caller,
        _: &Mechanism,
        unwrapping: ObjectId,
        _: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.flag(unwrapping, CKA_PRIVATE)?;
        Ok(self.add(template))
    }

    fn encapsulated_len(&self, _: Caller, _: &Mechanism, public: ObjectId) -> Result<usize> {
        self.flag(public, CKA_PRIVATE).map(|_| 6)
    }

    fn encapsulate(
        &self,
        _: Caller,
        _: &Mechanism,
        _: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        Ok((b"cipher".to_vec(), self.add(template)))
    }

    fn decapsulate(
        &self,
        _: Caller,
        _: &Mechanism,
        private: ObjectId,
        _: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.flag(private, CKA_PRIVATE)?;
        Ok(self.add(template))
    }

    fn derive(&self, _: Caller, _: &Mechanism, base: ObjectId, template: Vec<Attribute>) -> Result<Derived> {
        self.flag(base, CKA_PRIVATE)?;
        Ok(Derived { key: Some(self.add(template)), ..Derived::default() })
    }
}

struct Found(Vec<ObjectId>);

impl Search for Found {
    fn next(&mut self, max: usize) -> Result<Vec<ObjectId>> {
        let rest = self.0.split_off(max.min(self.0.len()));
        Ok(std::mem::replace(&mut self.0, rest))
    }
}

struct Work {
    what: Use,
    ty: CK_MECHANISM_TYPE,
    held: Vec<u8>,
    runs: Arc<AtomicUsize>,
}

impl Work {
    fn holds_back(&self) -> bool {
        self.ty == CKM_AES_CBC_PAD
    }
}

pub fn sum(bytes: &[u8]) -> [u8; 4] {
    bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>().to_be_bytes()
}

impl Operation for Work {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        let all = self.held.len() + input;
        Ok(match (self.what, step) {
            (Use::Encrypt | Use::Decrypt, Step::Update) if self.holds_back() => Size::Exactly(0),
            (Use::Encrypt | Use::Decrypt, _) if self.holds_back() => Size::AtMost(all),
            (Use::Encrypt | Use::Decrypt, Step::Finish) => Size::Exactly(0),
            (Use::Encrypt | Use::Decrypt | Use::VerifyRecover, _) => Size::Exactly(input),
            (_, Step::Update) => Size::Exactly(0),
            _ => Size::Exactly(4),
        })
    }

    fn multi_part(&self) -> bool {
        self.ty != CKM_AES_CMAC
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.runs.fetch_add(1, SeqCst);
        if self.ty == CKM_AES_MAC {
            panic!("an operation that panics");
        }
        if input == b"bad" {
            Err(Code::DataInvalid)?;
        }
        match self.what {
            Use::Encrypt | Use::Decrypt | Use::VerifyRecover if !self.holds_back() => {
                out.iter_mut().zip(input).for_each(|(out, byte)| *out = byte ^ 0x55);
                Ok(input.len())
            }
            _ => {
                self.held.extend_from_slice(input);
                Ok(0)
            }
        }
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        let sum = sum(&self.held);
        let result = match self.what {
            Use::Random => {
                let from = self.held.last().copied().unwrap_or(0);
                self.held.push(from.wrapping_add(1));
                out.fill(from);
                return Ok(out.len());
            }
            Use::Encrypt | Use::Decrypt | Use::VerifyRecover if !self.holds_back() => &[],
            Use::Encrypt | Use::Decrypt => {
                let text = self.held.iter().rposition(|byte| *byte != b'#').map_or(0, |at| at + 1);
                &self.held[..text]
            }
            _ => &sum[..],
        };
        out[..result.len()].copy_from_slice(result);
        Ok(result.len())
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.held.extend_from_slice(input.unwrap_or_default());
        match signature.len() {
            4 if *signature == sum(&self.held) => Ok(()),
            4 => Err(Code::SignatureInvalid.into()),
            _ => Err(Code::SignatureLenRange.into()),
        }
    }

    fn restart(&mut self, _: &Params) -> bool {
        self.held.clear();
        true
    }

    fn save(&self) -> Result<Vec<u8>> {
        if self.what == Use::Digest { Ok(self.held.clone()) } else { Err(Code::StateUnsaveable.into()) }
    }
}

/// What stands in the slots: ID, token, blank.
pub type Stand = Vec<(CK_SLOT_ID, Arc<Double>, bool)>;

static SHELF: Mutex<Stand> = Mutex::new(Vec::new());

struct DoubleShelf;

impl Source for DoubleShelf {
    fn list(&self) -> Result<Vec<Shelved>> {
        let shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |(slot, token, blank): &(CK_SLOT_ID, Arc<Double>, bool)| {
            Ok(Shelved { slot: *slot, token: Arc::clone(token) as Arc<dyn Token>, blank: *blank })
        };
        shelf.iter().map(entry).collect()
    }
}

fn opener(_: Arc<Config>, _: module::Threads) -> Result<Box<dyn Source>> {
    Ok(Box::new(DoubleShelf))
}

pub fn api() -> &'static CK_FUNCTION_LIST_3_2 {
    keyward::abi::function_list_3_2()
}

/// `c!(C_Sign, session, ...)`: the value that the C function returns.
#[macro_export]
macro_rules! c {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        // SAFETY: the tests pass what each function may be passed, wrong on purpose or not.
        unsafe { ($crate::double::api().$name.unwrap())($($arg),*) }
    };
}

/// As `c!`, and it must be `CKR_OK`.
#[macro_export]
macro_rules! ok {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        assert_eq!($crate::c!($name $(, $arg)*), CKR_OK, stringify!($name))
    };
}

/// The module is the process's: one test at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    module::set_opener(opener);
    guard
}

pub fn put(stand: Stand) {
    *SHELF.lock().unwrap_or_else(PoisonError::into_inner) = stand;
}

/// An initialised module with one double in [`SLOT`]; finalised at the end.
pub struct Running {
    pub double: Arc<Double>,
    _alone: MutexGuard<'static, ()>,
}

pub fn start() -> Running {
    let alone = alone();
    let double = Double::new();
    put(vec![(SLOT, Arc::clone(&double), false)]);
    ok!(C_Initialize, std::ptr::null_mut());
    Running { double, _alone: alone }
}

impl Drop for Running {
    fn drop(&mut self) {
        c!(C_Finalize, std::ptr::null_mut());
    }
}

pub fn open(flags: CK_FLAGS) -> CK_SESSION_HANDLE {
    open_in(SLOT, flags)
}

pub fn open_in(slot: CK_SLOT_ID, flags: CK_FLAGS) -> CK_SESSION_HANDLE {
    let mut session = 0;
    ok!(C_OpenSession, slot, flags | CKF_SERIAL_SESSION, std::ptr::null_mut(), None, &raw mut session);
    assert_ne!(session, CK_INVALID_HANDLE);
    session
}

pub fn ptr<T>(slice: &[T]) -> *mut T {
    slice.as_ptr().cast_mut()
}

pub fn len<T>(slice: &[T]) -> CK_ULONG {
    slice.len() as CK_ULONG
}

pub fn login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> CK_RV {
    c!(C_Login, session, user, ptr(pin), len(pin))
}

pub fn mechanism(ty: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    static IV: [u8; 16] = [0; 16];
    let iv: &[u8] = if matches!(ty, CKM_AES_CBC | CKM_AES_CBC_PAD) { &IV } else { &[] };
    CK_MECHANISM { mechanism: ty, pParameter: ptr(iv).cast(), ulParameterLen: len(iv) }
}

/// The handle that the double's object has in [`SLOT`], as a search gives it.
pub fn handle(session: CK_SESSION_HANDLE, object: u64) -> CK_OBJECT_HANDLE {
    let (mut handles, mut count) = ([0; 64], 0);
    ok!(C_FindObjectsInit, session, std::ptr::null_mut(), 0);
    ok!(C_FindObjects, session, handles.as_mut_ptr(), 64, &raw mut count);
    ok!(C_FindObjectsFinal, session);
    let found = handles[..count as usize].iter().find(|handle| **handle & ((1 << ObjectId::BITS) - 1) == object);
    *found.expect("the object")
}

/// Calls a function with output as an application does: for the length first.
pub fn output(mut call: impl FnMut(*mut u8, *mut CK_ULONG) -> CK_RV) -> Result<Vec<u8>, CK_RV> {
    let mut needed = 0;
    match call(std::ptr::null_mut(), &raw mut needed) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let mut out = vec![0xee; needed as usize];
    match call(out.as_mut_ptr(), &raw mut needed) {
        CKR_OK => out.truncate(needed as usize),
        rv => return Err(rv),
    }
    Ok(out)
}
