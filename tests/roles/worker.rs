//! A process that works by a script through the C functions.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::place::PIN;
use crate::script::*;

#[test]
fn works_by_its_script() {
    let mut worker = Worker::default();
    work(|step| worker.step(step));
}

#[derive(Default)]
struct Worker {
    slot: CK_SLOT_ID,
    with: With,
    held: CK_OBJECT_HANDLE,
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
        if self.with.0 == 0 {
            self.start();
        }
        match words[0] {
            "init" => self.init(),
            "login" => said(step, self.with.login(kind(arg(1)), arg(2))),
            "named" => said(step, self.named(kind(arg(1)), arg(2), arg(3))),
            "logout" => said(step, c!(C_Logout, self.with.0)),
            "state" => println!("> {}", self.state()),
            "setpin" => {
                let (old, new) = (arg(1).as_bytes(), arg(2).as_bytes());
                said(step, c!(C_SetPIN, self.with.0, ptr(old), len(old), ptr(new), len(new)));
            }
            "initpin" => said(step, c!(C_InitPIN, self.with.0, ptr(PIN.as_bytes()), len(PIN.as_bytes()))),
            "generate" => said(step, self.generate(arg(1), true)),
            "extractable" => said(step, self.make(arg(1), true, true)),
            "secret" => said(step, self.secret(arg(1))),
            "transport" => said(step, self.transport(arg(1))),
            "generate-rsa" => said(step, self.rsa(arg(1))),
            "wrap" => said(step, self.with.wrap(arg(1), arg(2))),
            "value" => said(step, self.with.value(arg(1))),
            "passing" => said(step, self.generate(arg(1), false)),
            "hold" => self.held = self.private(arg(1)),
            "use" => said(step, self.with.sign_with(self.held)),
            "sign" => said(step, self.with.sign_with(self.private(arg(1)))),
            "destroy" => said(step, c!(C_DestroyObject, self.with.0, self.private(arg(1)))),
            "rename" => said(step, self.with.rename(arg(1), arg(2))),
            "count" => println!("> {}", self.with.find_all(arg(1), Some(CKO_PRIVATE_KEY)).len()),
            _ if meets(step) => {}
            other => panic!("no step {other}"),
        }
    }

    fn start(&mut self) {
        self.slot = initialize();
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        let rv = c!(C_OpenSession, self.slot, flags, null_mut(), None, &raw mut self.with.0);
        assert!(rv == CKR_OK || rv == CKR_TOKEN_NOT_RECOGNIZED);
    }

    fn init(&mut self) {
        let rv = c!(C_InitToken, self.slot, ptr(PIN.as_bytes()), len(PIN.as_bytes()), ptr(&[b' '; 32]));
        said("init", rv);
        self.start();
        said("init so", self.with.login(CKU_SO, PIN));
        self.step("initpin");
        self.step("logout");
    }

    fn named(&self, who: CK_USER_TYPE, name: &str, pin: &str) -> CK_RV {
        let (name, pin) = (name.as_bytes(), pin.as_bytes());
        c!(C_LoginUser, self.with.0, who, ptr(pin), len(pin), ptr(name), len(name))
    }

    fn state(&self) -> &'static str {
        let mut info = CK_SESSION_INFO::default();
        assert_eq!(c!(C_GetSessionInfo, self.with.0, &raw mut info), CKR_OK);
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
        c!(C_GenerateKey, self.with.0, ptr(&by), ptr(&template), len(&template), &raw mut key)
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
        c!(C_CreateObject, self.with.0, ptr(&template), len(&template), &raw mut key)
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
        self.with.generate_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private)
    }

    fn make(&self, label: &str, on_token: bool, extractable: bool) -> CK_RV {
        let extractable = CK_BBOOL::from(extractable);
        let private = [attribute(CKA_SIGN, &CK_TRUE), attribute(CKA_EXTRACTABLE, &extractable)];
        self.with.generate_p256(label, on_token, &[], &private)
    }

    fn private(&self, label: &str) -> CK_OBJECT_HANDLE {
        self.with.find(label, Some(CKO_PRIVATE_KEY))
    }
}
