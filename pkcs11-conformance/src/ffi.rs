//! The module under test: loaded with `dlopen`, called through its function lists. The only file that calls it.

use std::ffi::{CString, c_void};
use std::fmt;
use std::mem::{size_of, transmute};
use std::path::Path;

use cryptoki_sys::*;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::data::{Mech, Template};
use crate::functions::{F, FUNCTIONS};
use crate::names::name_of;
use crate::process::note_call;

/// A return value of the API.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rv(pub CK_RV);

impl fmt::Display for Rv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_of("CKR_", self.0))
    }
}

impl fmt::Debug for Rv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A call that did not return `CKR_OK`.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    pub function: F,
    pub rv: Rv,
}

pub type Call<T> = Result<T, Refused>;

/// A function list: its version, and its address.
#[derive(Clone, Copy, Debug)]
pub struct List {
    pub version: (u8, u8),
    /// Address of the list.
    base: usize,
}

impl List {
    /// # Safety
    /// `base` points to a function list that lives as long as the module.
    unsafe fn new(base: *const u8) -> Self {
        // SAFETY: every function list starts with its version.
        let v = unsafe { *base.cast::<CK_VERSION>() };
        List { version: (v.major, v.minor), base: base as usize }
    }

    /// Length in bytes that the version promises.
    fn size(self) -> usize {
        match self.version {
            (2, _) => size_of::<CK_FUNCTION_LIST>(),
            (3, 0 | 1) => size_of::<CK_FUNCTION_LIST_3_0>(),
            (3, _) => size_of::<CK_FUNCTION_LIST_3_2>(),
            _ => 0,
        }
    }

    /// The function's address, unless the list is of a version before it or holds NULL there.
    pub fn pointer(self, f: F) -> Option<usize> {
        let offset = f.row().offset;
        if offset + size_of::<usize>() > self.size() {
            return None;
        }
        // SAFETY: the offset lies within the list that this version promises.
        let p = unsafe { *((self.base + offset) as *const usize) };
        (p != 0).then_some(p)
    }
}

/// An interface as `C_GetInterfaceList` tells it.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub list: List,
    pub flags: CK_FLAGS,
}

/// The loaded module.
pub struct Api {
    library: Library,
    /// The list that calls go through: the newest one that the module gives.
    pub list: List,
    /// What `C_GetFunctionList` gave.
    pub legacy: Option<List>,
    pub interfaces: Vec<Interface>,
}

impl Api {
    /// Loads the module and asks for its lists; calls no other function of it.
    pub fn open(path: &Path) -> Result<Api, String> {
        // SAFETY: loading runs the module's constructors, which is what the user asked for.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|e| format!("cannot load {}: {e}", path.display()))?;
        let legacy = legacy_list(&library)?;
        let interfaces = interfaces(&library)?;
        let list = interfaces
            .iter()
            .filter(|i| i.name == "PKCS 11" && i.list.size() > 0)
            .map(|i| i.list)
            .chain(legacy)
            .max_by_key(|l| l.version)
            .ok_or("the module gives neither C_GetFunctionList nor C_GetInterfaceList")?;
        Ok(Api { library, list, legacy, interfaces })
    }

    /// Unloads the module; says whether `dlclose` succeeded.
    pub fn close(self) -> bool {
        self.library.close().is_ok()
    }

    /// The address of an exported symbol.
    pub fn symbol(&self, name: &str) -> Option<usize> {
        symbol(&self.library, name)
    }

    pub fn has(&self, f: F) -> bool {
        self.pointer(f).is_some()
    }

    fn pointer(&self, f: F) -> Option<usize> {
        match f {
            F::C_GetInterfaceList | F::C_GetInterface => self.list.pointer(f).or_else(|| self.symbol(f.name())),
            _ => self.list.pointer(f),
        }
    }

    /// Calls a function with arguments as machine words; one that the module lacks is `CKR_FUNCTION_NOT_SUPPORTED`.
    ///
    /// # Safety
    /// The arguments are what the row of the function says; pointers among them are valid for the lengths given,
    /// or deliberately NULL.
    pub unsafe fn call(&self, f: F, args: &[usize]) -> Rv {
        match self.pointer(f) {
            // SAFETY: the caller's promise.
            Some(p) => unsafe { call_pointer(p, f, args) },
            None => Rv(CKR_FUNCTION_NOT_SUPPORTED),
        }
    }

    /// [`Api::call`] through a given list.
    ///
    /// # Safety
    /// As [`Api::call`].
    pub unsafe fn call_in(&self, list: List, f: F, args: &[usize]) -> Rv {
        match list.pointer(f) {
            // SAFETY: the caller's promise.
            Some(p) => unsafe { call_pointer(p, f, args) },
            None => Rv(CKR_FUNCTION_NOT_SUPPORTED),
        }
    }

    /// [`Api::call`], with anything but `CKR_OK` as an error.
    ///
    /// # Safety
    /// As [`Api::call`].
    pub unsafe fn ok(&self, f: F, args: &[usize]) -> Call<()> {
        // SAFETY: the caller's promise.
        check(f, unsafe { self.call(f, args) })
    }
}

/// Turns a return value into a result.
pub fn check(function: F, rv: Rv) -> Call<()> {
    if rv.0 == CKR_OK { Ok(()) } else { Err(Refused { function, rv }) }
}

/// # Safety
/// `p` is the address of function `f`; the arguments are as [`Api::call`] asks.
unsafe fn call_pointer(p: usize, f: F, a: &[usize]) -> Rv {
    note_call(f as u32);
    debug_assert_eq!(FUNCTIONS[f as usize].args.len(), a.len(), "{}", f.name());
    macro_rules! with {
        ($($i:literal)*) => {{
            // SAFETY: every argument of the API is an integer or a pointer of at most a machine word, which the C
            // calling conventions of all 64-bit systems pass as a word.
            let f = unsafe { transmute::<usize, unsafe extern "C" fn($(with!(@word $i)),*) -> CK_RV>(p) };
            // SAFETY: the caller's promise.
            Rv(unsafe { f($(a[$i]),*) })
        }};
        (@word $i:literal) => { usize };
    }
    match a.len() {
        1 => with!(0),
        2 => with!(0 1),
        3 => with!(0 1 2),
        4 => with!(0 1 2 3),
        5 => with!(0 1 2 3 4),
        6 => with!(0 1 2 3 4 5),
        7 => with!(0 1 2 3 4 5 6),
        8 => with!(0 1 2 3 4 5 6 7),
        9 => with!(0 1 2 3 4 5 6 7 8),
        10 => with!(0 1 2 3 4 5 6 7 8 9),
        n => panic!("no function takes {n} arguments"),
    }
}

fn symbol(library: &Library, name: &str) -> Option<usize> {
    // SAFETY: the symbol is only read as an address here.
    unsafe { library.get::<*const c_void>(name.as_bytes()) }.ok().map(|s| s.into_raw() as usize).filter(|p| *p != 0)
}

fn legacy_list(library: &Library) -> Result<Option<List>, String> {
    let Some(p) = symbol(library, "C_GetFunctionList") else { return Ok(None) };
    let mut list: *const u8 = std::ptr::null();
    // SAFETY: the symbol is the specification's function, and its argument is a place for a pointer.
    let rv = unsafe { call_pointer(p, F::C_GetFunctionList, &[&raw mut list as usize]) };
    if rv.0 != CKR_OK || list.is_null() {
        return Err(format!("C_GetFunctionList returned {rv}"));
    }
    // SAFETY: the module gave it with CKR_OK.
    Ok(Some(unsafe { List::new(list) }))
}

fn interfaces(library: &Library) -> Result<Vec<Interface>, String> {
    let Some(p) = symbol(library, "C_GetInterfaceList") else { return Ok(Vec::new()) };
    let empty = CK_INTERFACE { pInterfaceName: std::ptr::null_mut(), pFunctionList: std::ptr::null_mut(), flags: 0 };
    let mut found = [empty; 32];
    let mut count = found.len() as CK_ULONG;
    // SAFETY: the symbol is the specification's function; the array holds `count` interfaces.
    let rv = unsafe { call_pointer(p, F::C_GetInterfaceList, &[found.as_mut_ptr() as usize, &raw mut count as usize]) };
    if rv.0 != CKR_OK {
        return Err(format!("C_GetInterfaceList returned {rv}"));
    }
    Ok(found.iter().take(count as usize).filter_map(interface).collect())
}

/// Reads what the module filled in; `None` for NULL names or lists.
pub fn interface(raw: &CK_INTERFACE) -> Option<Interface> {
    if raw.pInterfaceName.is_null() || raw.pFunctionList.is_null() {
        return None;
    }
    // SAFETY: the name is NUL-terminated and the list starts with its version (section 3.1, CK_INTERFACE).
    let (name, list) = unsafe {
        (std::ffi::CStr::from_ptr(raw.pInterfaceName.cast()), List::new(raw.pFunctionList.cast_const().cast()))
    };
    Some(Interface { name: name.to_string_lossy().into_owned(), list, flags: raw.flags })
}

/// The place and length of an output: how a call asks.
#[derive(Clone, Copy, Debug)]
pub enum Room {
    /// NULL buffer: how long would it be?
    Query,
    /// A buffer of this many bytes.
    Bytes(usize),
}

/// What a call with output gave: its return value, the length it wrote, and the buffer cut to that length.
#[derive(Debug)]
pub struct Output {
    pub rv: Rv,
    pub len: usize,
    pub bytes: Vec<u8>,
    /// Whether anything was written beyond the room given.
    pub overrun: bool,
}

/// One attribute as `C_GetAttributeValue` left it: its length, unless that is unavailable, and its bytes.
pub type Answer = (Option<usize>, Vec<u8>);

const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xA7;

impl Api {
    /// Initialises with `CKF_OS_LOCKING_OK`, and with `reserved` as the module's own arguments, if any.
    pub fn initialize(&self, reserved: Option<&str>) -> Call<()> {
        let text = reserved.map(|s| CString::new(s).expect("initialisation arguments hold no NUL"));
        let mut args = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            pReserved: text.as_ref().map_or(std::ptr::null_mut(), |t| t.as_ptr().cast_mut().cast()),
            ..init_args()
        };
        // SAFETY: the structure and the text outlive the call.
        unsafe { self.ok(F::C_Initialize, &[&raw mut args as usize]) }
    }

    pub fn finalize(&self) -> Call<()> {
        // SAFETY: the reserved argument is NULL.
        unsafe { self.ok(F::C_Finalize, &[0]) }
    }

    /// Calls a function that stores one structure or value through its last argument.
    pub fn store<T: Copy>(&self, f: F, head: &[usize]) -> Call<T> {
        // SAFETY: all types asked for here are C structures of integers and byte arrays, for which zero is valid.
        let mut value: T = unsafe { std::mem::zeroed() };
        let mut args = head.to_vec();
        args.push(&raw mut value as usize);
        // SAFETY: the last argument is a place of the right type; the others are plain values.
        unsafe { self.ok(f, &args) }?;
        Ok(value)
    }

    /// Calls a function whose last arguments are an output buffer and its length, counted in `T`.
    pub fn list_of<T: Copy + Default>(&self, f: F, head: &[usize], room: Option<usize>) -> (Rv, usize, Vec<T>) {
        let mut items = vec![T::default(); room.unwrap_or(0)];
        let mut count = room.unwrap_or(0) as CK_ULONG;
        let place = if room.is_some() { items.as_mut_ptr() as usize } else { 0 };
        let mut args = head.to_vec();
        args.extend([place, &raw mut count as usize]);
        // SAFETY: the buffer holds `count` items.
        let rv = unsafe { self.call(f, &args) };
        items.truncate(if rv.0 == CKR_OK { count as usize } else { 0 });
        (rv, count as usize, items)
    }

    pub fn slots(&self, present: bool) -> Call<Vec<CK_SLOT_ID>> {
        let (rv, _, slots) = self.list_of(F::C_GetSlotList, &[usize::from(present)], Some(4096));
        check(F::C_GetSlotList, rv).map(|()| slots)
    }

    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Call<Vec<CK_MECHANISM_TYPE>> {
        let (rv, _, list) = self.list_of(F::C_GetMechanismList, &[slot as usize], Some(4096));
        check(F::C_GetMechanismList, rv).map(|()| list)
    }

    pub fn token_info(&self, slot: CK_SLOT_ID) -> Call<CK_TOKEN_INFO> {
        self.store(F::C_GetTokenInfo, &[slot as usize])
    }

    pub fn mechanism_info(&self, slot: CK_SLOT_ID, m: CK_MECHANISM_TYPE) -> Call<CK_MECHANISM_INFO> {
        self.store(F::C_GetMechanismInfo, &[slot as usize, m as usize])
    }

    pub fn init_token(&self, slot: CK_SLOT_ID, pin: &str, label: &str) -> Call<()> {
        let mut label: Vec<u8> = label.bytes().chain(std::iter::repeat(b' ')).take(32).collect();
        let args = [slot as usize, pin.as_ptr() as usize, pin.len(), label.as_mut_ptr() as usize];
        // SAFETY: the PIN has its length; the label is 32 bytes.
        unsafe { self.ok(F::C_InitToken, &args) }
    }

    pub fn open_session(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Call<CK_SESSION_HANDLE> {
        self.store(F::C_OpenSession, &[slot as usize, flags as usize, 0, 0])
    }

    pub fn close_all_sessions(&self, slot: CK_SLOT_ID) -> Call<()> {
        // SAFETY: a plain value.
        unsafe { self.ok(F::C_CloseAllSessions, &[slot as usize]) }
    }
}

/// All-zero initialisation arguments.
pub fn init_args() -> CK_C_INITIALIZE_ARGS {
    CK_C_INITIALIZE_ARGS {
        CreateMutex: None,
        DestroyMutex: None,
        LockMutex: None,
        UnlockMutex: None,
        flags: 0,
        pReserved: std::ptr::null_mut(),
    }
}

/// One session. Copies are the same session; it closes only by [`Session::close`] or with its process.
#[derive(Clone, Copy)]
pub struct Session {
    pub api: &'static Api,
    pub h: CK_SESSION_HANDLE,
}

impl Session {
    fn word(self) -> usize {
        self.h as usize
    }

    pub fn close(self) -> Call<()> {
        self.plain(F::C_CloseSession, &[])
    }

    /// A call whose arguments after the session are plain values.
    pub fn plain(self, f: F, rest: &[usize]) -> Call<()> {
        let args = [&[self.word()], rest].concat();
        // SAFETY: plain values only.
        unsafe { self.api.ok(f, &args) }
    }

    /// A call whose argument after the session and `head` is one string of bytes.
    pub fn feed(self, f: F, head: &[usize], data: &[u8]) -> Call<()> {
        let args = [&[self.word()], head, &[data.as_ptr() as usize, data.len()]].concat();
        // SAFETY: the bytes have their length.
        unsafe { self.api.ok(f, &args) }
    }

    /// A call with two strings of bytes: `C_Verify`, `C_SetPIN`.
    pub fn feed2(self, f: F, a: &[u8], b: &[u8]) -> Call<()> {
        self.feed(f, &[a.as_ptr() as usize, a.len()], b)
    }

    /// A call whose last arguments are an output buffer and its length (section 5.2).
    pub fn output(self, f: F, head: &[usize], room: Room) -> Output {
        let size = if let Room::Bytes(n) = room { n } else { 0 };
        let mut bytes = vec![GUARD_BYTE; size + GUARD];
        let mut len = if matches!(room, Room::Query) { CK_ULONG::MAX / 2 } else { size as CK_ULONG };
        let place = if matches!(room, Room::Query) { 0 } else { bytes.as_mut_ptr() as usize };
        let args = [&[self.word()], head, &[place, &raw mut len as usize]].concat();
        // SAFETY: the buffer holds `len` bytes and a guard zone.
        let rv = unsafe { self.api.call(f, &args) };
        let overrun = bytes[size..].iter().any(|b| *b != GUARD_BYTE);
        bytes.truncate(if rv.0 == CKR_OK { size.min(len as usize) } else { size });
        Output { rv, len: len as usize, bytes, overrun }
    }

    /// [`Session::output`] with input bytes before it.
    pub fn transform(self, f: F, data: &[u8], room: Room) -> Output {
        self.output(f, &[data.as_ptr() as usize, data.len()], room)
    }

    /// [`Session::transform`] with room enough for any mechanism.
    pub fn run(self, f: F, data: &[u8]) -> Call<Vec<u8>> {
        let out = self.transform(f, data, Room::Bytes(data.len() + (1 << 16)));
        check(f, out.rv).map(|()| out.bytes)
    }

    /// An output without input, with room enough: `C_SignFinal` and its siblings.
    pub fn end(self, f: F) -> Call<Vec<u8>> {
        let out = self.output(f, &[], Room::Bytes(1 << 17));
        check(f, out.rv).map(|()| out.bytes)
    }

    pub fn login(self, user: CK_USER_TYPE, pin: &str) -> Call<()> {
        self.feed(F::C_Login, &[user as usize], pin.as_bytes())
    }

    pub fn logout(self) -> Call<()> {
        self.plain(F::C_Logout, &[])
    }

    pub fn info(self) -> Call<CK_SESSION_INFO> {
        self.api.store(F::C_GetSessionInfo, &[self.word()])
    }

    /// Starts an operation: `C_SignInit` and its siblings.
    pub fn init(self, f: F, mech: &Mech, key: CK_OBJECT_HANDLE) -> Call<()> {
        let mut raw = mech.raw();
        let mut args = vec![self.word(), raw.pointer()];
        if f != F::C_DigestInit {
            args.push(key as usize);
        }
        // SAFETY: the mechanism and its parameter live in `raw` during the call.
        unsafe { self.api.ok(f, &args) }
    }

    /// A call with a template, `head` before it and a new object's handle after it.
    fn make(self, f: F, head: &[usize], t: &Template, tail: &[usize]) -> Call<CK_OBJECT_HANDLE> {
        let raw = t.raw();
        let mut handle: CK_OBJECT_HANDLE = 0;
        let args = [&[self.word()], head, &[raw.pointer(), raw.count()], tail, &[&raw mut handle as usize]].concat();
        // SAFETY: the template lives in `raw`; the handle is a place of the right type.
        unsafe { self.api.ok(f, &args) }?;
        Ok(handle)
    }

    pub fn create(self, t: &Template) -> Call<CK_OBJECT_HANDLE> {
        self.make(F::C_CreateObject, &[], t, &[])
    }

    pub fn copy(self, object: CK_OBJECT_HANDLE, t: &Template) -> Call<CK_OBJECT_HANDLE> {
        self.make(F::C_CopyObject, &[object as usize], t, &[])
    }

    pub fn destroy(self, object: CK_OBJECT_HANDLE) -> Call<()> {
        self.plain(F::C_DestroyObject, &[object as usize])
    }

    pub fn generate(self, m: &Mech, t: &Template) -> Call<CK_OBJECT_HANDLE> {
        let mut raw = m.raw();
        self.make(F::C_GenerateKey, &[raw.pointer()], t, &[])
    }

    pub fn generate_pair(
        self,
        m: &Mech,
        public: &Template,
        private: &Template,
    ) -> Call<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let (mut mech, public, private) = (m.raw(), public.raw(), private.raw());
        let mut keys: [CK_OBJECT_HANDLE; 2] = [0; 2];
        let [a, b] = &mut keys;
        let args = [
            self.word(),
            mech.pointer(),
            public.pointer(),
            public.count(),
            private.pointer(),
            private.count(),
            &raw mut *a as usize,
            &raw mut *b as usize,
        ];
        // SAFETY: mechanism and templates live during the call; two places for handles.
        unsafe { self.api.ok(F::C_GenerateKeyPair, &args) }?;
        Ok((keys[0], keys[1]))
    }

    pub fn derive(self, m: &Mech, base: CK_OBJECT_HANDLE, t: &Template) -> Call<CK_OBJECT_HANDLE> {
        let mut raw = m.raw();
        self.make(F::C_DeriveKey, &[raw.pointer(), base as usize], t, &[])
    }

    pub fn wrap_into(self, m: &Mech, with: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE, room: Room) -> Output {
        let mut raw = m.raw();
        self.output(F::C_WrapKey, &[raw.pointer(), with as usize, key as usize], room)
    }

    pub fn wrap(self, m: &Mech, with: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE) -> Call<Vec<u8>> {
        let out = self.wrap_into(m, with, key, Room::Bytes(1 << 16));
        check(F::C_WrapKey, out.rv).map(|()| out.bytes)
    }

    pub fn unwrap(self, m: &Mech, with: CK_OBJECT_HANDLE, data: &[u8], t: &Template) -> Call<CK_OBJECT_HANDLE> {
        let mut raw = m.raw();
        let head = [raw.pointer(), with as usize, data.as_ptr() as usize, data.len()];
        self.make(F::C_UnwrapKey, &head, t, &[])
    }

    /// Encapsulates with a public key: the ciphertext, and the new secret's handle.
    pub fn encapsulate(self, m: &Mech, key: CK_OBJECT_HANDLE, t: &Template) -> Call<(Vec<u8>, CK_OBJECT_HANDLE)> {
        let mut raw = m.raw();
        let mut bytes = vec![0u8; 1 << 16];
        let mut len = bytes.len() as CK_ULONG;
        let tail = [bytes.as_mut_ptr() as usize, &raw mut len as usize];
        let handle = self.make(F::C_EncapsulateKey, &[raw.pointer(), key as usize], t, &tail)?;
        bytes.truncate(len as usize);
        Ok((bytes, handle))
    }

    pub fn decapsulate(self, m: &Mech, key: CK_OBJECT_HANDLE, data: &[u8], t: &Template) -> Call<CK_OBJECT_HANDLE> {
        let mut raw = m.raw();
        let tail = [data.as_ptr() as usize, data.len()];
        self.make(F::C_DecapsulateKey, &[raw.pointer(), key as usize], t, &tail)
    }

    pub fn set(self, object: CK_OBJECT_HANDLE, t: &Template) -> Call<()> {
        let raw = t.raw();
        self.plain(F::C_SetAttributeValue, &[object as usize, raw.pointer(), raw.count()])
    }

    /// `C_GetAttributeValue` on several attributes, each with its own room: return value, and per attribute the
    /// length written (`None` for `CK_UNAVAILABLE_INFORMATION`) and the bytes.
    pub fn get_many(self, object: CK_OBJECT_HANDLE, ask: &[(CK_ATTRIBUTE_TYPE, Room)]) -> (Rv, Vec<Answer>) {
        let size = |room: &Room| if let Room::Bytes(n) = room { *n } else { 0 };
        let mut values: Vec<Vec<u8>> = ask.iter().map(|(_, r)| vec![GUARD_BYTE; size(r)]).collect();
        let mut raw: Vec<CK_ATTRIBUTE> = ask
            .iter()
            .zip(&mut values)
            .map(|((ty, room), v)| CK_ATTRIBUTE {
                type_: *ty,
                pValue: if matches!(room, Room::Query) { std::ptr::null_mut() } else { v.as_mut_ptr().cast() },
                ulValueLen: v.len() as CK_ULONG,
            })
            .collect();
        let args = [self.word(), object as usize, raw.as_mut_ptr() as usize, raw.len()];
        // SAFETY: each attribute's buffer has its length.
        let rv = unsafe { self.api.call(F::C_GetAttributeValue, &args) };
        let result = raw
            .iter()
            .zip(values)
            .map(|(a, mut v)| {
                let len = (a.ulValueLen != CK_UNAVAILABLE_INFORMATION).then_some(a.ulValueLen as usize);
                v.truncate(len.unwrap_or(0));
                (len, v)
            })
            .collect();
        (rv, result)
    }

    /// One attribute, by a length query and a second call.
    pub fn get(self, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Call<Vec<u8>> {
        let (rv, len) = self.get_many(object, &[(ty, Room::Query)]);
        check(F::C_GetAttributeValue, rv)?;
        let (rv, mut value) = self.get_many(object, &[(ty, Room::Bytes(len[0].0.unwrap_or(0)))]);
        check(F::C_GetAttributeValue, rv)?;
        Ok(value.swap_remove(0).1)
    }

    pub fn get_bool(self, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Call<bool> {
        Ok(self.get(object, ty)? == [CK_TRUE])
    }

    pub fn get_ulong(self, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Call<CK_ULONG> {
        let bytes = self.get(object, ty)?;
        Ok(bytes.try_into().map_or(CK_UNAVAILABLE_INFORMATION, CK_ULONG::from_ne_bytes))
    }

    pub fn find_init(self, t: &Template) -> Call<()> {
        let raw = t.raw();
        self.plain(F::C_FindObjectsInit, &[raw.pointer(), raw.count()])
    }

    /// The next handles of the search, at most `max`.
    pub fn find_next(self, max: usize) -> Call<Vec<CK_OBJECT_HANDLE>> {
        let mut found = vec![0; max];
        let head = [self.word(), found.as_mut_ptr() as usize, max];
        let count: CK_ULONG = self.api.store(F::C_FindObjects, &head)?;
        found.truncate(count as usize);
        Ok(found)
    }

    pub fn find_final(self) -> Call<()> {
        self.plain(F::C_FindObjectsFinal, &[])
    }

    /// All objects that match.
    pub fn find(self, t: &Template) -> Call<Vec<CK_OBJECT_HANDLE>> {
        self.find_init(t)?;
        let mut all = Vec::new();
        loop {
            match self.find_next(100) {
                Ok(some) if some.is_empty() => break,
                Ok(some) => all.extend(some),
                Err(e) => {
                    let _ = self.find_final();
                    return Err(e);
                }
            }
        }
        self.find_final()?;
        Ok(all)
    }

    /// `C_SetOperationState` without keys.
    pub fn restore(self, state: &[u8]) -> Call<()> {
        self.plain(F::C_SetOperationState, &[state.as_ptr() as usize, state.len(), 0, 0])
    }

    pub fn random(self, n: usize) -> Call<Vec<u8>> {
        let mut bytes = vec![0u8; n];
        self.plain(F::C_GenerateRandom, &[bytes.as_mut_ptr() as usize, n])?;
        Ok(bytes)
    }
}
