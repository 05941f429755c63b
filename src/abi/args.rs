//! The caller's memory: the only code that reads or writes through a pointer from outside.
//!
//! The types here wrap what a C function was given. To make one is `unsafe`: it repeats the caller's promise (PKCS#11
//! 3.2, section 5) that a pointer which is not NULL points to as much memory as the length beside it says, until the
//! call returns. Their methods check everything that can be checked and are safe to use. Caller's structures need not be
//! aligned.

use cryptoki_sys::*;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::error::{Code, Result};
use crate::session::{Done, Room};
use crate::token::Bytes;

/// A C structure of integers and pointers only: any bytes make a value.
///
/// # Safety
/// Every bit pattern of the size of the type must be a value of it, padding aside.
pub unsafe trait Plain: Copy {}

/// NULL, or anywhere in the first page: no program has memory there, but garbage often points there.
fn nowhere<T>(ptr: *const T) -> bool {
    (ptr as usize) < 4096
}

/// Checks that `count` elements from `ptr` lie in an address space. Without elements any address will do.
fn fits<T>(ptr: *const T, count: usize) -> Result<()> {
    let len = count.checked_mul(size_of::<T>()).filter(|len| *len <= isize::MAX as usize).ok_or(Code::ArgumentsBad)?;
    (ptr as usize).checked_add(len).filter(|_| len == 0 || !nowhere(ptr)).ok_or(Code::ArgumentsBad)?;
    Ok(())
}

fn length(len: CK_ULONG) -> Result<usize> {
    Ok(usize::try_from(len).map_err(|_| Code::ArgumentsBad)?)
}

/// Input: a pointer and how many elements it points to.
#[derive(Clone, Copy)]
pub struct In<T = u8> {
    ptr: *const T,
    len: CK_ULONG,
}

impl In {
    /// No input at all, for functions that take none.
    pub const NONE: In = In { ptr: std::ptr::null(), len: 0 };

    /// The bytes; `(NULL, 0)` is empty input. `CKR_ARGUMENTS_BAD` for `(NULL, n)` and for an impossible length.
    pub fn bytes(&self) -> Result<&[u8]> {
        let len = length(self.len)?;
        if len == 0 {
            return Ok(&[]);
        }
        fits(self.ptr, len)?;
        // SAFETY: not NULL, and of a possible length; `new` promised the rest.
        Ok(unsafe { std::slice::from_raw_parts(self.ptr, len) })
    }

    /// A PIN: `None` for `(NULL, 0)`, which leaves it to a protected authentication path.
    pub fn pin(&self) -> Result<Option<&[u8]>> {
        if self.ptr.is_null() && self.len == 0 { Ok(None) } else { self.bytes().map(Some) }
    }

    /// A copy, inline where it is short. `CKR_HOST_MEMORY`.
    pub fn copy(&self) -> Result<Bytes> {
        let bytes = self.bytes()?;
        let mut copy = Bytes::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| Code::HostMemory)?;
        copy.extend_from_slice(bytes);
        Ok(copy)
    }

    /// A copy that is wiped. `CKR_HOST_MEMORY`.
    pub fn secret_copy(&self) -> Result<Zeroizing<Vec<u8>>> {
        let bytes = self.bytes()?;
        let mut copy = Zeroizing::new(Vec::new());
        copy.try_reserve_exact(bytes.len()).map_err(|_| Code::HostMemory)?;
        copy.extend_from_slice(bytes);
        Ok(copy)
    }

    /// Exactly one structure; `None` for another length, and for NULL.
    pub fn structure<P: Plain>(&self) -> Option<P> {
        let bytes = self.bytes().ok().filter(|bytes| bytes.len() == size_of::<P>())?;
        // SAFETY: as many bytes as the type has, of which any make a value; read without asking for alignment.
        (!bytes.is_empty()).then(|| unsafe { bytes.as_ptr().cast::<P>().read_unaligned() })
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn len(&self) -> CK_ULONG {
        self.len
    }

    pub fn is_null(&self) -> bool {
        self.ptr.is_null()
    }
}

impl<T> In<T> {
    /// # Safety
    /// `ptr` is NULL, or `len` elements can be read there until the call returns (see the module).
    pub const unsafe fn new(ptr: *const T, len: CK_ULONG) -> In<T> {
        In { ptr, len }
    }

    /// The elements, at most `max` of them, copied. `CKR_ARGUMENTS_BAD` as for bytes, and for more.
    pub fn elements<const N: usize>(&self, max: usize) -> Result<SmallVec<[T; N]>>
    where
        T: Plain,
    {
        let len = length(self.len)?;
        if len > max {
            Err(Code::ArgumentsBad)?;
        }
        fits(self.ptr, len)?;
        // SAFETY: not NULL where there is an element, and `new` promised that all can be read.
        Ok((0..len).map(|at| unsafe { self.ptr.add(at).read_unaligned() }).collect())
    }

    /// Where an element that [`In::elements`] has read is answered in place.
    pub(super) fn place(&self, at: usize) -> Place<T> {
        Place { ptr: self.ptr.cast_mut().wrapping_add(at) }
    }
}

/// A single structure that may be NULL.
#[derive(Clone, Copy)]
pub struct Maybe<T>(*const T);

impl<T: Plain> Maybe<T> {
    /// # Safety
    /// `ptr` is NULL, or a `T` can be read there until the call returns.
    pub const unsafe fn new(ptr: *const T) -> Maybe<T> {
        Maybe(ptr)
    }

    pub fn get(&self) -> Option<T> {
        // SAFETY: not NULL, and `new` promised that it can be read.
        (!nowhere(self.0)).then(|| unsafe { self.0.read_unaligned() })
    }

    /// `CKR_ARGUMENTS_BAD` for NULL.
    pub fn required(&self) -> Result<T> {
        Ok(self.get().ok_or(Code::ArgumentsBad)?)
    }
}

/// Where one value goes.
#[derive(Clone, Copy)]
pub struct Place<T> {
    ptr: *mut T,
}

impl<T> Place<T> {
    /// # Safety
    /// `ptr` is NULL, or a `T` can be written there until the call returns.
    pub const unsafe fn new(ptr: *mut T) -> Place<T> {
        Place { ptr }
    }

    /// Before anything is done whose result must not be lost. `CKR_ARGUMENTS_BAD` for NULL.
    pub fn check(&self) -> Result<()> {
        if nowhere(self.ptr) { Err(Code::ArgumentsBad.into()) } else { Ok(()) }
    }

    /// `CKR_ARGUMENTS_BAD` for NULL.
    pub fn put(&self, value: T) -> Result<()> {
        self.check()?;
        // SAFETY: not NULL, and `new` promised that it can be written.
        unsafe { self.ptr.write_unaligned(value) };
        Ok(())
    }

    /// `CKR_ARGUMENTS_BAD` for NULL.
    pub(super) fn get(&self) -> Result<T>
    where
        T: Plain,
    {
        self.check()?;
        // SAFETY: not NULL; what `new` promised for writing holds for reading, as lengths go both ways.
        Ok(unsafe { self.ptr.read_unaligned() })
    }
}

/// Where output of a length not known before goes (PKCS#11 3.2, 5.2).
#[derive(Clone, Copy)]
pub struct Out {
    ptr: *mut u8,
    len: Place<CK_ULONG>,
}

impl Out {
    /// # Safety
    /// `len` is NULL or can be read and written; `ptr` is NULL or as many bytes as `len` says can be written there,
    /// until the call returns.
    pub const unsafe fn new(ptr: *mut u8, len: *mut CK_ULONG) -> Out {
        Out { ptr, len: Place { ptr: len } }
    }

    /// Hands input and output to `work` and reports the length. A NULL buffer asks for it; a buffer that is too small
    /// is told it, with `CKR_BUFFER_TOO_SMALL`. Input that overlaps the buffer is copied first. `CKR_ARGUMENTS_BAD`
    /// without a place for the length, and for an impossible length.
    pub fn produce(&self, input: &In, work: impl FnOnce(&[u8], Room<'_>) -> Result<Done>) -> Result<()> {
        self.produce_from([input], |[input], room| work(input, room))
    }

    /// As [`Out::produce`], from several inputs.
    pub fn produce_from<const N: usize>(
        &self,
        inputs: [&In; N],
        work: impl FnOnce([&[u8]; N], Room<'_>) -> Result<Done>,
    ) -> Result<()> {
        let room = self.len.get()?;
        let mut bytes: [&[u8]; N] = [&[]; N];
        for (bytes, input) in bytes.iter_mut().zip(inputs) {
            *bytes = input.bytes()?;
        }
        if self.ptr.is_null() {
            return self.report(work(bytes, Room::Ask)?, true);
        }
        let room = length(room)?;
        fits(self.ptr, room)?;
        let mut copies = [const { None }; N];
        for (copy, input) in copies.iter_mut().zip(inputs) {
            if !self.is_apart(input.bytes()?, room) {
                *copy = Some(input.secret_copy()?);
            }
        }
        for (bytes, copy) in bytes.iter_mut().zip(&copies) {
            *bytes = copy.as_ref().map_or(*bytes, |copy| copy.as_slice());
        }
        // SAFETY: not NULL, of a possible length, writable by the promise of `new`; the inputs that are read meanwhile
        // lie elsewhere or are copies.
        let out = unsafe { std::slice::from_raw_parts_mut(self.ptr, room) };
        self.report(work(bytes, Room::Fill(out))?, false)
    }

    /// Without even a place for the length.
    pub fn is_none(&self) -> bool {
        self.len.ptr.is_null()
    }

    /// Output that is at hand as a whole.
    pub fn fill(&self, make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>) -> Result<()> {
        self.produce(&In::NONE, |_, room| {
            let made = make()?;
            match room {
                Room::Fill(out) => match out.get_mut(..made.len()) {
                    Some(out) => {
                        out.copy_from_slice(&made);
                        Ok(Done::Wrote(made.len()))
                    }
                    None => Ok(Done::Needs(made.len())),
                },
                Room::Ask => Ok(Done::Needs(made.len())),
            }
        })
    }

    fn is_apart(&self, input: &[u8], room: usize) -> bool {
        let (out, from) = (self.ptr as usize, input.as_ptr() as usize);
        input.is_empty() || out >= from.saturating_add(input.len()) || from >= out.saturating_add(room)
    }

    fn report(&self, done: Done, asked: bool) -> Result<()> {
        let (Done::Wrote(len) | Done::Needs(len)) = done;
        self.len.put(CK_ULONG::try_from(len).map_err(|_| Code::GeneralError)?)?;
        match done {
            Done::Needs(_) if !asked => Err(Code::BufferTooSmall.into()),
            _ => Ok(()),
        }
    }
}

/// Where exactly as many bytes as the caller says go.
#[derive(Clone, Copy)]
pub struct OutExact {
    ptr: *mut u8,
    len: CK_ULONG,
}

impl OutExact {
    /// # Safety
    /// `ptr` is NULL, or `len` bytes can be written there until the call returns.
    pub const unsafe fn new(ptr: *mut u8, len: CK_ULONG) -> OutExact {
        OutExact { ptr, len }
    }

    /// Before anything is done whose result must not be lost. `CKR_ARGUMENTS_BAD` for `(NULL, n)`.
    pub fn check(&self) -> Result<()> {
        if self.len == 0 { Ok(()) } else { Place { ptr: self.ptr }.check() }
    }

    /// `CKR_ARGUMENTS_BAD` for `(NULL, n)` and for an impossible length.
    pub fn fill(&self, work: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        let len = length(self.len)?;
        if len == 0 {
            return work(&mut []);
        }
        fits(self.ptr, len)?;
        // SAFETY: not NULL, of a possible length, writable by the promise of `new`.
        work(unsafe { std::slice::from_raw_parts_mut(self.ptr, len) })
    }
}

/// Where a list goes, counted in elements: slots, mechanisms, interfaces.
#[derive(Clone, Copy)]
pub struct OutList<T> {
    ptr: *mut T,
    count: Place<CK_ULONG>,
}

impl<T: Copy> OutList<T> {
    /// # Safety
    /// As for [`Out::new`], in elements.
    pub const unsafe fn new(ptr: *mut T, count: *mut CK_ULONG) -> OutList<T> {
        OutList { ptr, count: Place { ptr: count } }
    }

    /// Whether only the count is asked for.
    pub fn asks(&self) -> bool {
        self.ptr.is_null()
    }

    /// `CKR_BUFFER_TOO_SMALL`, and `CKR_ARGUMENTS_BAD` without a place for the count.
    pub fn fill(&self, list: &[T]) -> Result<()> {
        let room = self.count.get()?;
        let count = CK_ULONG::try_from(list.len()).map_err(|_| Code::GeneralError)?;
        self.count.put(count)?;
        if self.asks() {
            return Ok(());
        }
        if room < count {
            Err(Code::BufferTooSmall)?;
        }
        fits(self.ptr, list.len())?;
        self.write(list.iter().copied());
        Ok(())
    }

    fn write(&self, list: impl Iterator<Item = T>) {
        for (at, value) in list.enumerate() {
            // SAFETY: callers have compared the number of elements with the room that `new` promised.
            unsafe { self.ptr.add(at).write_unaligned(value) };
        }
    }
}

/// Where up to `max` handles go, and their number.
#[derive(Clone, Copy)]
pub struct OutFound {
    ptr: *mut CK_OBJECT_HANDLE,
    max: CK_ULONG,
    count: Place<CK_ULONG>,
}

impl OutFound {
    /// # Safety
    /// As for [`Out::new`]: `max` handles can be written at `ptr`, one number at `count`.
    pub const unsafe fn new(ptr: *mut CK_OBJECT_HANDLE, max: CK_ULONG, count: *mut CK_ULONG) -> OutFound {
        OutFound { ptr, max, count: Place { ptr: count } }
    }

    /// Gives `search` the maximum and a way to write one handle after the other. `CKR_ARGUMENTS_BAD` for NULL and for
    /// an impossible maximum.
    pub fn fill(&self, search: impl FnOnce(usize, &mut dyn FnMut(CK_OBJECT_HANDLE)) -> Result<usize>) -> Result<()> {
        self.count.check()?;
        let max = length(self.max)?;
        fits(self.ptr, max)?;
        let mut at = 0;
        let found = search(max, &mut |handle| {
            if at < max {
                // SAFETY: below the number of handles that `new` promised room for.
                unsafe { self.ptr.add(at).write_unaligned(handle) };
                at += 1;
            }
        })?;
        self.count.put(CK_ULONG::try_from(found.min(max)).map_err(|_| Code::GeneralError)?)
    }
}

macro_rules! plain {
    ($($type:ty),* $(,)?) => {
        // SAFETY: integers, raw pointers and optional function pointers, for which any bytes that a caller may
        // rightly give make a value.
        $(unsafe impl Plain for $type {})*
    };
}

plain! {
    u8, CK_ULONG, CK_OTP_PARAMS, CK_OTP_PARAM, CK_VERSION, CK_ATTRIBUTE, CK_MECHANISM, CK_C_INITIALIZE_ARGS,
    CK_AES_CTR_PARAMS, CK_GCM_PARAMS, CK_RSA_PKCS_PSS_PARAMS, CK_RSA_PKCS_OAEP_PARAMS, CK_ECDH1_DERIVE_PARAMS,
    CK_EDDSA_PARAMS, CK_RSA_AES_KEY_WRAP_PARAMS, CK_ECDH_AES_KEY_WRAP_PARAMS, CK_KEY_DERIVATION_STRING_DATA,
    CK_AES_CBC_ENCRYPT_DATA_PARAMS, CK_DES_CBC_ENCRYPT_DATA_PARAMS, CK_SIGN_ADDITIONAL_CONTEXT, CK_HASH_SIGN_ADDITIONAL_CONTEXT,
    CK_HKDF_PARAMS, CK_PKCS5_PBKD2_PARAMS2, CK_SP800_108_KDF_PARAMS, CK_SP800_108_FEEDBACK_KDF_PARAMS,
    CK_PRF_DATA_PARAM, CK_DERIVED_KEY, CK_SP800_108_COUNTER_FORMAT, CK_SP800_108_DKM_LENGTH_FORMAT,
    CK_TLS12_MASTER_KEY_DERIVE_PARAMS, CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS, CK_TLS12_KEY_MAT_PARAMS,
    CK_SSL3_KEY_MAT_OUT, CK_TLS_KDF_PARAMS, CK_TLS_MAC_PARAMS, CK_IKE_PRF_DERIVE_PARAMS, CK_IKE1_PRF_DERIVE_PARAMS,
    CK_IKE1_EXTENDED_DERIVE_PARAMS, CK_IKE2_PRF_PLUS_DERIVE_PARAMS,
    CK_CCM_PARAMS, CK_CCM_WRAP_PARAMS, CK_CHACHA20_PARAMS, CK_SALSA20_PARAMS, CK_SALSA20_CHACHA20_POLY1305_PARAMS,
}

/// The bytes of a text, with blanks up to the length of its field; cut at a character's boundary.
pub fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let end = (0..=text.len().min(N)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    field.iter_mut().zip(text.bytes().take(end)).for_each(|(to, from)| *to = from);
    field
}

/// The 32 bytes of a token's label. `CKR_ARGUMENTS_BAD` for NULL and for what is no UTF-8.
pub fn label(text: &In) -> Result<String> {
    let bytes = text.bytes()?;
    // Some clients end it with NUL in place of blanks.
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| Code::ArgumentsBad)?;
    Ok(text.trim_end_matches(' ').to_owned())
}

/// A C string of at most `max` bytes without its NUL; `None` for NULL and for a longer one.
pub fn c_string(text: Maybe<u8>, max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    (!nowhere(text.0)).then_some(())?;
    for at in 0..=max {
        // SAFETY: `Maybe::new` promised a string; no byte behind its NUL is read.
        match unsafe { text.0.add(at).read() } {
            0 => return Some(bytes),
            byte => bytes.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> In {
        // SAFETY: a live slice.
        unsafe { In::new(bytes.as_ptr(), bytes.len() as CK_ULONG) }
    }

    #[test]
    fn texts_are_cut_at_a_character_and_padded() {
        assert_eq!(&padded::<6>("abc"), b"abc   ");
        assert_eq!(&padded::<3>("abcd"), b"abc");
        assert_eq!(&padded::<4>("abc\u{e9}"), b"abc ");
        assert_eq!(&padded::<5>("abc\u{e9}"), "abc\u{e9}".as_bytes());
    }

    #[test]
    fn labels_lose_their_padding_and_nothing_else() {
        assert_eq!(label(&input(b"  My token   ")).unwrap(), "  My token");
        assert_eq!(label(&input(b"My token\0\0 x")).unwrap(), "My token");
        assert_eq!(label(&input(b"    ")).unwrap(), "");
        assert_eq!(label(&input(b"\xff")).unwrap_err().code(), Code::ArgumentsBad);
    }

    #[test]
    fn output_that_touches_its_input_is_told_from_output_that_does_not() {
        let memory = [0u8; 16];
        let at = |from: usize, len: usize| &memory[from..from + len];
        let apart = |out: usize, room: usize, input: &[u8]| {
            let mut len = 0;
            // SAFETY: only addresses are compared.
            unsafe { Out::new(memory.as_ptr().cast_mut().wrapping_add(out), &raw mut len) }.is_apart(input, room)
        };
        assert!(apart(0, 8, at(8, 8)), "side by side");
        assert!(apart(8, 8, at(0, 8)));
        assert!(!apart(0, 9, at(8, 8)));
        assert!(!apart(7, 9, at(0, 8)));
        assert!(!apart(4, 2, at(0, 16)), "inside");
        assert!(apart(0, 16, at(4, 0)), "nothing touches nothing");
    }

    #[test]
    fn structures_need_not_be_aligned_but_of_their_length() {
        let bytes: Vec<u8> = (0..17).collect();
        let version: CK_VERSION = input(&bytes[1..3]).structure().unwrap();
        assert_eq!((version.major, version.minor), (1, 2));
        assert_eq!(
            input(&bytes[1..9]).structure::<CK_ULONG>(),
            Some(CK_ULONG::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]))
        );
        assert_eq!(input(&bytes[1..8]).structure::<CK_ULONG>(), None);
        assert_eq!(In::NONE.structure::<CK_ULONG>(), None);
    }
}
