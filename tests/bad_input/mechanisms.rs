//! Every mechanism, in every use that it offers, with parameters that are none: no crash, a code that the function may
//! answer, no operation under way after a refusal, and no key made.

use std::collections::BTreeMap;
use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::error::Code;
use keyward::mechanism::table::{self, Row};

use crate::harness::*;
use crate::place::*;
use crate::world::*;
use crate::{c, ok};

/// Where a word of garbage may point: each address in its first half, read as a length, stays within.
struct Arena(*mut u8);

const AT: usize = 0x10_0000;
const SIZE: usize = 0x40_0000;

impl Arena {
    fn new() -> Arena {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address that nothing else has, or none.
        let at = unsafe { libc::mmap(AT as *mut _, SIZE, rights, flags, -1, 0) };
        assert_eq!(at as usize, AT);
        Arena(at.cast())
    }

    /// A parameter of these words in the arena.
    fn hold(&self, words: &[u64]) -> *mut u8 {
        const PLACE: usize = 0x8_0000;
        // SAFETY: within the mapping.
        unsafe {
            let place = self.0.add(PLACE);
            std::ptr::copy_nonoverlapping(words.as_ptr().cast::<u8>(), place, size_of_val(words));
            place
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: mapped by ourselves, and nobody has anything in it any more.
        unsafe { libc::munmap(self.0.cast(), SIZE) };
    }
}

/// More words than any structure of the specification has.
const WORDS: usize = 16;

/// Kinds of garbage. A word is a number below 4096, which no address is, an address in the arena, or all ones.
fn garbage(kind: u64) -> [u64; WORDS] {
    const ADDRESS: u64 = AT as u64 + 64;
    std::array::from_fn(|n| match kind {
        0 => 0,
        1 => u64::MAX,
        2 => ADDRESS,
        // Like most structures: a pointer, then a length; and the other way about.
        3 => [ADDRESS, 16][n % 2],
        4 => [16, ADDRESS][n % 2],
        5 => [ADDRESS, u64::MAX][n % 2],
        6 => [1, 0, 0xfff][n % 3],
        _ => 7 * n as u64,
    })
}

/// Lengths in bytes; the last is absurd.
const LENGTHS: [CK_ULONG; 10] = [0, 1, 8, 16, 24, 40, 48, 64, 128, CK_ULONG::MAX];

/// What a function may answer to a mechanism and its parameter: said by the specification of each, and never that
/// something broke.
const FIT: &[Code] = &[
    Code::MechanismParamInvalid,
    Code::MechanismInvalid,
    Code::KeyTypeInconsistent,
    Code::KeyHandleInvalid,
    Code::KeySizeRange,
    Code::KeyFunctionNotPermitted,
    Code::KeyNotWrappable,
    Code::KeyUnextractable,
    Code::WrappingKeyTypeInconsistent,
    Code::WrappingKeySizeRange,
    Code::UnwrappingKeyTypeInconsistent,
    Code::UnwrappingKeySizeRange,
    Code::WrappedKeyInvalid,
    Code::WrappedKeyLenRange,
    Code::TemplateIncomplete,
    Code::TemplateInconsistent,
    Code::AttributeValueInvalid,
    Code::AttributeTypeInvalid,
    Code::DomainParamsInvalid,
    Code::CurveNotSupported,
    Code::PublicKeyInvalid,
];

fn key_of(session: CK_SESSION_HANDLE, ty: CK_KEY_TYPE) -> Option<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    let both = |mut template: Template, uses: &[CK_ATTRIBUTE_TYPE]| {
        template = uses.iter().fold(template, |template, usage| template.yes(*usage));
        template
    };
    let public = [CKA_ENCRYPT, CKA_VERIFY, CKA_WRAP, CKA_ENCAPSULATE];
    let private = [CKA_DECRYPT, CKA_SIGN, CKA_UNWRAP, CKA_DERIVE, CKA_DECAPSULATE];
    let curve = |oid: &[u8]| Template::new().bytes(CKA_EC_PARAMS, oid);
    let (how, first, public, private) = match ty {
        CKK_RSA => (
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            Template::new().number(CKA_MODULUS_BITS, 2048),
            &[CKA_ENCRYPT, CKA_VERIFY, CKA_WRAP][..],
            &[CKA_DECRYPT, CKA_SIGN, CKA_UNWRAP][..],
        ),
        CKK_EC => (CKM_EC_KEY_PAIR_GEN, curve(P256), &[CKA_VERIFY][..], &[CKA_SIGN, CKA_DERIVE][..]),
        CKK_EC_EDWARDS => {
            (CKM_EC_EDWARDS_KEY_PAIR_GEN, curve(&[6, 3, 0x2b, 0x65, 0x70]), &[CKA_VERIFY][..], &[CKA_SIGN][..])
        }
        CKK_EC_MONTGOMERY => {
            (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, curve(&[6, 3, 0x2b, 0x65, 0x6e]), &[][..], &[CKA_DERIVE][..])
        }
        CKK_ML_DSA => (
            CKM_ML_DSA_KEY_PAIR_GEN,
            Template::new().number(CKA_PARAMETER_SET, CKP_ML_DSA_44),
            &[CKA_VERIFY][..],
            &[CKA_SIGN][..],
        ),
        CKK_ML_KEM => (
            CKM_ML_KEM_KEY_PAIR_GEN,
            Template::new().number(CKA_PARAMETER_SET, CKP_ML_KEM_512),
            &public[3..],
            &private[4..],
        ),
        CKK_AES | CKK_GENERIC_SECRET | CKK_ARIA | CKK_CAMELLIA | CKK_SEED => {
            let key = create(session, secret(ty).yes(CKA_DERIVE).bytes(CKA_VALUE, &[3; 16]));
            return Some((key, key));
        }
        CKK_CHACHA20 | CKK_SALSA20 | CKK_POLY1305 | CKK_HKDF => {
            let uses = if ty == CKK_HKDF { &[CKA_DERIVE][..] } else { &[CKA_ENCRYPT, CKA_DECRYPT][..] };
            let uses = if ty == CKK_POLY1305 { &[CKA_SIGN, CKA_VERIFY][..] } else { uses };
            let template = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, ty);
            let key = create(session, both(template.bytes(CKA_VALUE, &[3; 32]), uses));
            return Some((key, key));
        }
        _ => return None,
    };
    Some(pair(session, how, both(first, public), both(Template::new(), private)))
}

struct Uses {
    session: CK_SESSION_HANDLE,
    keys: BTreeMap<CK_KEY_TYPE, (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)>,
    target: CK_OBJECT_HANDLE,
}

impl Uses {
    fn new(session: CK_SESSION_HANDLE) -> Uses {
        let types = table::all().flat_map(|row| row.keys).copied();
        let keys = types.filter_map(|ty| Some((ty, key_of(session, ty)?))).collect::<BTreeMap<_, _>>();
        assert!(keys.len() > 10, "{}", keys.len());
        Uses { session, keys, target: create(session, secret(CKK_AES).bytes(CKA_VALUE, &[5; 16])) }
    }

    fn count(&self) -> usize {
        find(self.session, Template::new()).len()
    }

    /// The public and the private key that the row takes; any, where there is none here of its types.
    fn key(&self, row: &Row) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        let own = row.keys.iter().find_map(|ty| self.keys.get(ty));
        *own.unwrap_or(&self.keys[&CKK_AES])
    }

    /// Begins each use that the row offers, or does it; the codes, by function.
    fn all(&self, row: &Row, mechanism: CK_MECHANISM) -> Vec<(&'static str, CK_RV)> {
        let session = self.session;
        let m = &raw const mechanism as *mut CK_MECHANISM;
        let (public, private) = self.key(row);
        let mut done = Vec::new();
        let mut out = [0; 2048];
        let mut made = (0, 0);
        macro_rules! when {
            ($flag:ident, $function:ident $(, $argument:expr)*) => {
                if row.offers() & $flag != 0 {
                    done.push((stringify!($function), c!($function, session $(, $argument)*)));
                }
            };
        }
        macro_rules! begin {
            ($flag:ident, $function:ident, $key:expr) => {
                when!($flag, $function, m, $key);
                // Whatever was begun ends; what was refused has not begun.
                c!(C_SessionCancel, session, $flag);
            };
        }
        begin!(CKF_ENCRYPT, C_EncryptInit, public);
        begin!(CKF_DECRYPT, C_DecryptInit, private);
        begin!(CKF_SIGN, C_SignInit, private);
        begin!(CKF_VERIFY, C_VerifyInit, public);
        begin!(CKF_SIGN_RECOVER, C_SignRecoverInit, private);
        begin!(CKF_VERIFY_RECOVER, C_VerifyRecoverInit, public);
        begin!(CKF_MESSAGE_ENCRYPT, C_MessageEncryptInit, public);
        begin!(CKF_MESSAGE_DECRYPT, C_MessageDecryptInit, private);
        begin!(CKF_MESSAGE_SIGN, C_MessageSignInit, private);
        begin!(CKF_MESSAGE_VERIFY, C_MessageVerifyInit, public);
        when!(CKF_DIGEST, C_DigestInit, m);
        c!(C_SessionCancel, session, CKF_DIGEST);
        let mut room = len(&out);
        when!(CKF_WRAP, C_WrapKey, m, public, self.target, out.as_mut_ptr(), &raw mut room);
        let mut of_it = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
        of_it = of_it.number(CKA_VALUE_LEN, 16);
        let (raw, count) = (of_it.raw().as_mut_ptr(), 3);
        when!(CKF_UNWRAP, C_UnwrapKey, m, private, ptr(&[9u8; 40]), 40, raw, 2, &raw mut made.0);
        when!(CKF_DERIVE, C_DeriveKey, m, private, raw, count, &raw mut made.0);
        when!(CKF_GENERATE, C_GenerateKey, m, null_mut(), 0, &raw mut made.0);
        if self.is_quick(row) {
            let none = null_mut();
            when!(CKF_GENERATE_KEY_PAIR, C_GenerateKeyPair, m, none, 0, none, 0, &raw mut made.0, &raw mut made.1);
        }
        let mut room = len(&out);
        let out = out.as_mut_ptr();
        when!(CKF_ENCAPSULATE, C_EncapsulateKey, m, public, raw, 2, out, &raw mut room, &raw mut made.0);
        when!(CKF_DECAPSULATE, C_DecapsulateKey, m, private, raw, 2, ptr(&[9u8; 768]), 768, &raw mut made.1);
        for handle in [made.0, made.1].into_iter().filter(|handle| *handle != 0) {
            ok!(C_DestroyObject, session, handle);
        }
        done
    }

    /// Key pairs that an empty template does not make anyway.
    fn is_quick(&self, row: &Row) -> bool {
        row.keys.iter().all(|ty| matches!(*ty, CKK_RSA | CKK_EC | CKK_DSA | CKK_DH))
    }
}

/// A token that offers them all, and says nothing of the thousands of refusals.
fn all_mechanisms() -> (Told, Uses) {
    let (told, slot) = Told::with_token();
    ok!(C_Finalize, null_mut());
    let conf = std::fs::read_to_string(told.path("keyward.toml")).unwrap();
    std::fs::write(told.path("keyward.toml"), format!("mechanisms = 'all'\n{conf}")).unwrap();
    // SAFETY: behind the world's lock.
    unsafe { std::env::set_var("KEYWARD_LOG", "warn") };
    ok!(C_Initialize, null_mut());
    let uses = Uses::new(logged_in(slot));
    (told, uses)
}

#[test]
fn no_mechanism_takes_garbage_for_a_parameter() {
    let (told, uses) = all_mechanisms();
    let (arena, before) = (Arena::new(), uses.count());
    let (mut calls, mut refused, mut wrong) = (0, 0, Vec::new());
    for row in table::all() {
        for (kind, length) in (0..8).flat_map(|kind| LENGTHS.map(|length| (kind, length))) {
            // The same words at less than their length say nothing new of those that read them all.
            let words = garbage(kind);
            let parameter = if kind == 1 && length == 0 { null_mut() } else { arena.hold(&words).cast() };
            let mechanism = CK_MECHANISM { mechanism: row.ty, pParameter: parameter, ulParameterLen: length };
            if costs_time(row, kind) {
                continue;
            }
            for (function, rv) in uses.all(row, mechanism) {
                calls += 1;
                refused += u32::from(rv != CKR_OK);
                if rv != CKR_OK && !FIT.iter().any(|code| code.ckr() == rv) {
                    let code = Code::from_ckr(rv).map_or("?", Code::name);
                    wrong.push(format!("{} {function}, {length} bytes of kind {kind}: {code}", row.name));
                }
                if length == CK_ULONG::MAX && rv == CKR_OK {
                    wrong.push(format!("{} {function}: takes a parameter of no length", row.name));
                }
            }
        }
        assert_eq!(uses.count(), before, "{} leaves a key behind", row.name);
    }
    println!("{calls} calls, {refused} refused");
    assert!(wrong.is_empty(), "{} codes do not fit:\n{}", wrong.len(), wrong.join("\n"));
    assert!(calls > 10_000 && refused > calls / 2);
    told.said();
}

/// PBKDF2 with an address for the number of rounds takes what it is told to.
fn costs_time(row: &Row, kind: u64) -> bool {
    row.ty == CKM_PKCS5_PBKD2 && (2..6).contains(&kind)
}

/// A NULL with a length, and a length with no room behind it in the address space.
#[test]
fn a_parameter_that_is_null_is_never_read() {
    let (_told, uses) = all_mechanisms();
    for row in table::all() {
        for length in [1, 48, CK_ULONG::MAX] {
            let mechanism = CK_MECHANISM { mechanism: row.ty, pParameter: null_mut(), ulParameterLen: length };
            for (function, rv) in uses.all(row, mechanism) {
                let fits = [CKR_MECHANISM_PARAM_INVALID, CKR_MECHANISM_INVALID].contains(&rv);
                assert!(fits, "{} {function}, {length}: {rv:#x}", row.name);
            }
        }
    }
}
