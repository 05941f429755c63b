//! A process that works by a script through the C functions, one step after the other, and says how each went.

use std::path::Path;
use std::ptr::null_mut;
use std::time::Duration;

use cryptoki_sys::*;
use keyward::error::Code;

use crate::place::PIN;

macro_rules! c {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        // SAFETY: the steps pass what each function may be passed.
        unsafe { (keyward::abi::function_list_3_2().$name.unwrap())($($arg),*) }
    };
}

#[test]
fn works_by_its_script() {
    let Ok(script) = std::env::var("KEYWARD_TEST_SCRIPT") else { return };
    let mut worker = Worker::default();
    for step in script.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        worker.step(step);
    }
    c!(C_Finalize, null_mut());
}

#[derive(Default)]
struct Worker {
    slot: CK_SLOT_ID,
    session: CK_SESSION_HANDLE,
    held: CK_OBJECT_HANDLE,
}

fn said(step: &str, rv: CK_RV) {
    println!("> {step}: {}", if rv == CKR_OK { "CKR_OK" } else { Code::from_ckr(rv).map_or("?", Code::name) });
}

fn ptr<T>(slice: &[T]) -> *mut T {
    slice.as_ptr().cast_mut()
}

fn len<T>(slice: &[T]) -> CK_ULONG {
    slice.len() as CK_ULONG
}

fn attribute<T: ?Sized>(ty: CK_ATTRIBUTE_TYPE, value: &T) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: ty,
        pValue: (&raw const *value).cast_mut().cast(),
        ulValueLen: size_of_val(value) as CK_ULONG,
    }
}

fn mechanism(ty: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: ty, pParameter: null_mut(), ulParameterLen: 0 }
}

fn kind(word: &str) -> CK_USER_TYPE {
    match word {
        "so" => CKU_SO,
        "user" => CKU_USER,
        "again" => CKU_CONTEXT_SPECIFIC,
        other => other.parse().unwrap(),
    }
}

impl Worker {
    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        let arg = |at: usize| words.get(at).copied().unwrap_or_default();
        if self.session == 0 {
            self.start();
        }
        match words[0] {
            "init" => self.init(),
            "login" => said(step, self.login(kind(arg(1)), arg(2))),
            "named" => said(step, self.named(kind(arg(1)), arg(2), arg(3))),
            "logout" => said(step, c!(C_Logout, self.session)),
            "state" => println!("> {}", self.state()),
            "setpin" => {
                let (old, new) = (arg(1).as_bytes(), arg(2).as_bytes());
                said(step, c!(C_SetPIN, self.session, ptr(old), len(old), ptr(new), len(new)));
            }
            "initpin" => said(step, c!(C_InitPIN, self.session, ptr(PIN.as_bytes()), len(PIN.as_bytes()))),
            "generate" => said(step, self.generate(arg(1), true)),
            "extractable" => said(step, self.make(arg(1), true, true)),
            "secret" => said(step, self.secret(arg(1))),
            "transport" => said(step, self.transport(arg(1))),
            "generate-rsa" => said(step, self.rsa(arg(1))),
            "wrap" => said(step, self.wrap(arg(1), arg(2))),
            "value" => said(step, self.value(arg(1))),
            "passing" => said(step, self.generate(arg(1), false)),
            "hold" => self.held = self.find(arg(1), CKO_PRIVATE_KEY),
            "use" => said(step, self.sign_with(self.held)),
            "sign" => said(step, self.sign_with(self.find(arg(1), CKO_PRIVATE_KEY))),
            "destroy" => said(step, c!(C_DestroyObject, self.session, self.find(arg(1), CKO_PRIVATE_KEY))),
            "rename" => {
                let template = [attribute(CKA_LABEL, arg(2))];
                let key = self.find(arg(1), CKO_PRIVATE_KEY);
                said(step, c!(C_SetAttributeValue, self.session, key, ptr(&template), 1));
            }
            "count" => println!("> {}", self.count(arg(1))),
            "wait" => {
                while !Path::new(arg(1)).exists() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            "touch" => std::fs::write(arg(1), b"").unwrap(),
            other => panic!("no step {other}"),
        }
    }

    fn start(&mut self) {
        let rv = c!(C_Initialize, null_mut());
        assert!(rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
        let (mut slots, mut count) = ([0; 4], 4);
        assert_eq!(c!(C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &raw mut count), CKR_OK);
        self.slot = slots[0];
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        let rv = c!(C_OpenSession, self.slot, flags, null_mut(), None, &raw mut self.session);
        assert!(rv == CKR_OK || rv == CKR_TOKEN_NOT_RECOGNIZED);
    }

    fn init(&mut self) {
        let rv = c!(C_InitToken, self.slot, ptr(PIN.as_bytes()), len(PIN.as_bytes()), ptr(&[b' '; 32]));
        said("init", rv);
        self.start();
        said("init so", self.login(CKU_SO, PIN));
        self.step("initpin");
        self.step("logout");
    }

    fn login(&self, who: CK_USER_TYPE, pin: &str) -> CK_RV {
        c!(C_Login, self.session, who, ptr(pin.as_bytes()), len(pin.as_bytes()))
    }

    fn named(&self, who: CK_USER_TYPE, name: &str, pin: &str) -> CK_RV {
        let (name, pin) = (name.as_bytes(), pin.as_bytes());
        c!(C_LoginUser, self.session, who, ptr(pin), len(pin), ptr(name), len(name))
    }

    fn state(&self) -> &'static str {
        let mut info = CK_SESSION_INFO::default();
        assert_eq!(c!(C_GetSessionInfo, self.session, &raw mut info), CKR_OK);
        match info.state {
            CKS_RW_PUBLIC_SESSION => "CKS_RW_PUBLIC_SESSION",
            CKS_RW_USER_FUNCTIONS => "CKS_RW_USER_FUNCTIONS",
            CKS_RW_SO_FUNCTIONS => "CKS_RW_SO_FUNCTIONS",
            _ => "another",
        }
    }

    fn generate(&self, label: &str, on_token: bool) -> CK_RV {
        self.make(label, on_token, false)
    }

    fn secret(&self, label: &str) -> CK_RV {
        let (length, no): (CK_ULONG, _) = (32, CK_FALSE);
        let template = [
            attribute(CKA_VALUE_LEN, &length),
            attribute(CKA_TOKEN, &CK_TRUE),
            attribute(CKA_EXTRACTABLE, &CK_TRUE),
            attribute(CKA_SENSITIVE, &no),
            attribute(CKA_WRAP, &CK_TRUE),
            attribute(CKA_DECRYPT, &no),
            attribute(CKA_LABEL, label),
        ];
        let (by, mut key) = ([mechanism(CKM_AES_KEY_GEN)], 0);
        c!(C_GenerateKey, self.session, ptr(&by), ptr(&template), len(&template), &raw mut key)
    }

    /// An AES key of 32 times 5a, to unwrap with.
    fn transport(&self, label: &str) -> CK_RV {
        let (class, ty, value) = (CKO_SECRET_KEY, CKK_AES, [0x5au8; 32]);
        let template = [
            attribute(CKA_CLASS, &class),
            attribute(CKA_KEY_TYPE, &ty),
            attribute(CKA_VALUE, &value),
            attribute(CKA_TOKEN, &CK_TRUE),
            attribute(CKA_UNWRAP, &CK_TRUE),
            attribute(CKA_LABEL, label),
        ];
        let mut key = 0;
        c!(C_CreateObject, self.session, ptr(&template), len(&template), &raw mut key)
    }

    fn rsa(&self, label: &str) -> CK_RV {
        let bits: CK_ULONG = 2048;
        let public = [
            attribute(CKA_MODULUS_BITS, &bits),
            attribute(CKA_TOKEN, &CK_TRUE),
            attribute(CKA_WRAP, &CK_TRUE),
            attribute(CKA_LABEL, label),
        ];
        let private = [attribute(CKA_TOKEN, &CK_TRUE), attribute(CKA_UNWRAP, &CK_TRUE), attribute(CKA_LABEL, label)];
        let (by, mut one, mut other) = ([mechanism(CKM_RSA_PKCS_KEY_PAIR_GEN)], 0, 0);
        let (publics, privates) = (len(&public), len(&private));
        let (one, other) = (&raw mut one, &raw mut other);
        c!(C_GenerateKeyPair, self.session, ptr(&by), ptr(&public), publics, ptr(&private), privates, one, other)
    }

    fn wrap(&self, wrapping: &str, key: &str) -> CK_RV {
        let by = [mechanism(CKM_AES_KEY_WRAP)];
        let (mut out, mut len) = ([0u8; 128], 128);
        let (wrapping, key) = (self.find(wrapping, CKO_SECRET_KEY), self.find(key, CKO_SECRET_KEY));
        c!(C_WrapKey, self.session, ptr(&by), wrapping, key, out.as_mut_ptr(), &raw mut len)
    }

    fn value(&self, label: &str) -> CK_RV {
        let mut room = [0u8; 64];
        let mut wanted =
            [CK_ATTRIBUTE { type_: CKA_VALUE, pValue: room.as_mut_ptr().cast(), ulValueLen: room.len() as CK_ULONG }];
        c!(C_GetAttributeValue, self.session, self.find(label, CKO_SECRET_KEY), wanted.as_mut_ptr(), 1)
    }

    fn make(&self, label: &str, on_token: bool, extractable: bool) -> CK_RV {
        // P-256.
        let curve = [0x06u8, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let (token, extractable) = (CK_BBOOL::from(on_token), CK_BBOOL::from(extractable));
        let public = [attribute(CKA_EC_PARAMS, &curve), attribute(CKA_TOKEN, &token), attribute(CKA_LABEL, label)];
        let private = [
            attribute(CKA_TOKEN, &token),
            attribute(CKA_SIGN, &CK_TRUE),
            attribute(CKA_EXTRACTABLE, &extractable),
            attribute(CKA_LABEL, label),
        ];
        let by = [mechanism(CKM_EC_KEY_PAIR_GEN)];
        let (mut one, mut other) = (0, 0);
        let (publics, privates) = (len(&public), len(&private));
        c!(
            C_GenerateKeyPair,
            self.session,
            ptr(&by),
            ptr(&public),
            publics,
            ptr(&private),
            privates,
            &raw mut one,
            &raw mut other
        )
    }

    fn find_all(&self, label: &str, class: CK_OBJECT_CLASS) -> Vec<CK_OBJECT_HANDLE> {
        let mut template = [attribute(CKA_LABEL, label), attribute(CKA_CLASS, &class)];
        let (mut found, mut count) = ([0; 16], 0);
        assert_eq!(c!(C_FindObjectsInit, self.session, template.as_mut_ptr(), 2), CKR_OK);
        assert_eq!(c!(C_FindObjects, self.session, found.as_mut_ptr(), 16, &raw mut count), CKR_OK);
        assert_eq!(c!(C_FindObjectsFinal, self.session), CKR_OK);
        found[..count as usize].to_vec()
    }

    fn find(&self, label: &str, class: CK_OBJECT_CLASS) -> CK_OBJECT_HANDLE {
        self.find_all(label, class).first().copied().unwrap_or(CK_INVALID_HANDLE)
    }

    fn count(&self, label: &str) -> usize {
        self.find_all(label, CKO_PRIVATE_KEY).len()
    }

    fn sign_with(&self, key: CK_OBJECT_HANDLE) -> CK_RV {
        let by = [mechanism(CKM_ECDSA)];
        let rv = c!(C_SignInit, self.session, ptr(&by), key);
        if rv != CKR_OK {
            return rv;
        }
        let (mut out, mut len) = ([0u8; 64], 64);
        c!(C_Sign, self.session, ptr(&[7u8; 32]), 32, out.as_mut_ptr(), &raw mut len)
    }
}
