//! What processes have in common that work by a script through the C functions, one step after the other, and say how each went.

// Not every test uses all of it.
#![allow(dead_code)]

use std::path::Path;
use std::ptr::null_mut;
use std::time::Duration;

use cryptoki_sys::*;
use keyward::error::Code;

macro_rules! c {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        // SAFETY: the steps pass what each function may be passed.
        unsafe { (keyward::abi::function_list_3_2().$name.unwrap())($($arg),*) }
    };
}
pub(crate) use c;

/// Takes each step of the script in the environment, if there is one.
pub fn work(mut step: impl FnMut(&str)) {
    let Ok(script) = std::env::var("KEYWARD_TEST_SCRIPT") else { return };
    script.split(';').map(str::trim).filter(|step| !step.is_empty()).for_each(&mut step);
    c!(C_Finalize, null_mut());
}

pub fn said(step: &str, rv: CK_RV) {
    println!("> {step}: {}", if rv == CKR_OK { "CKR_OK" } else { Code::from_ckr(rv).map_or("?", Code::name) });
}

/// The steps by which processes wait for one another; whether it was one.
pub fn meets(step: &str) -> bool {
    match step.split_whitespace().collect::<Vec<_>>()[..] {
        ["wait", file] => {
            while !Path::new(file).exists() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        ["touch", file] => std::fs::write(file, b"").unwrap(),
        _ => return false,
    }
    true
}

pub fn ptr<T>(slice: &[T]) -> *mut T {
    slice.as_ptr().cast_mut()
}

pub fn len<T>(slice: &[T]) -> CK_ULONG {
    slice.len() as CK_ULONG
}

pub fn attribute<T: ?Sized>(ty: CK_ATTRIBUTE_TYPE, value: &T) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: ty,
        pValue: (&raw const *value).cast_mut().cast(),
        ulValueLen: size_of_val(value) as CK_ULONG,
    }
}

pub fn mechanism(ty: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: ty, pParameter: null_mut(), ulParameterLen: 0 }
}

/// Initialises the module; its first slot.
pub fn initialize() -> CK_SLOT_ID {
    let rv = c!(C_Initialize, null_mut());
    assert!(rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
    let (mut slots, mut count) = ([0; 4], 4);
    assert_eq!(c!(C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &raw mut count), CKR_OK);
    slots[0]
}

/// A session with a token.
#[derive(Clone, Copy, Default)]
pub struct With(pub CK_SESSION_HANDLE);

impl With {
    pub fn login(self, who: CK_USER_TYPE, pin: &str) -> CK_RV {
        c!(C_Login, self.0, who, ptr(pin.as_bytes()), len(pin.as_bytes()))
    }

    pub fn find_all(self, label: &str, class: Option<CK_OBJECT_CLASS>) -> Vec<CK_OBJECT_HANDLE> {
        let class_is = class.unwrap_or_default();
        let mut template = vec![attribute(CKA_LABEL, label)];
        template.extend(class.map(|_| attribute(CKA_CLASS, &class_is)));
        let (mut found, mut count) = ([0; 16], 0);
        let wanted = len(&template);
        assert_eq!(c!(C_FindObjectsInit, self.0, template.as_mut_ptr(), wanted), CKR_OK);
        assert_eq!(c!(C_FindObjects, self.0, found.as_mut_ptr(), 16, &raw mut count), CKR_OK);
        assert_eq!(c!(C_FindObjectsFinal, self.0), CKR_OK);
        found[..count as usize].to_vec()
    }

    pub fn find(self, label: &str, class: Option<CK_OBJECT_CLASS>) -> CK_OBJECT_HANDLE {
        self.find_all(label, class).first().copied().unwrap_or(CK_INVALID_HANDLE)
    }

    pub fn sign_with(self, key: CK_OBJECT_HANDLE) -> CK_RV {
        let by = [mechanism(CKM_ECDSA)];
        let rv = c!(C_SignInit, self.0, ptr(&by), key);
        if rv != CKR_OK {
            return rv;
        }
        let (mut out, mut len) = ([0u8; 64], 64);
        c!(C_Sign, self.0, ptr(&[7u8; 32]), 32, out.as_mut_ptr(), &raw mut len)
    }

    /// Reads the value of a key.
    pub fn value(self, label: &str) -> CK_RV {
        let mut room = [0u8; 64];
        let mut wanted =
            [CK_ATTRIBUTE { type_: CKA_VALUE, pValue: room.as_mut_ptr().cast(), ulValueLen: room.len() as CK_ULONG }];
        c!(C_GetAttributeValue, self.0, self.find(label, None), wanted.as_mut_ptr(), 1)
    }

    pub fn wrap(self, wrapping: &str, key: &str) -> CK_RV {
        let by = [mechanism(CKM_AES_KEY_WRAP)];
        let (mut out, mut len) = ([0u8; 128], 128);
        let (wrapping, key) = (self.find(wrapping, None), self.find(key, None));
        c!(C_WrapKey, self.0, ptr(&by), wrapping, key, out.as_mut_ptr(), &raw mut len)
    }

    pub fn rename(self, label: &str, new: &str) -> CK_RV {
        let template = [attribute(CKA_LABEL, new)];
        c!(C_SetAttributeValue, self.0, self.find(label, Some(CKO_PRIVATE_KEY)), ptr(&template), 1)
    }

    pub fn generate_pair(self, ty: CK_MECHANISM_TYPE, public: &[CK_ATTRIBUTE], private: &[CK_ATTRIBUTE]) -> CK_RV {
        let (by, mut one, mut other) = ([mechanism(ty)], 0, 0);
        let (publics, privates) = (len(public), len(private));
        let (one, other) = (&raw mut one, &raw mut other);
        c!(C_GenerateKeyPair, self.0, ptr(&by), ptr(public), publics, ptr(private), privates, one, other)
    }

    /// A key pair of P-256 with further attributes.
    pub fn generate_p256(
        self,
        label: &str,
        on_token: bool,
        public: &[CK_ATTRIBUTE],
        private: &[CK_ATTRIBUTE],
    ) -> CK_RV {
        let curve = [0x06u8, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let token = CK_BBOOL::from(on_token);
        let named = [attribute(CKA_TOKEN, &token), attribute(CKA_LABEL, label)];
        let public = [&named[..], &[attribute(CKA_EC_PARAMS, &curve)], public].concat();
        self.generate_pair(CKM_EC_KEY_PAIR_GEN, &public, &[&named[..], private].concat())
    }
}
