//! A process that works by a script through the C functions, one step after the other, and says how each went.

use std::path::Path;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

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
}

fn said(step: &str, rv: CK_RV) {
    println!("> {step}: {}", if rv == CKR_OK { "CKR_OK" } else { Code::from_ckr(rv).map_or("?", Code::name) });
}

fn ptr<T>(slice: &[T]) -> *mut T {
    slice.as_ptr().cast_mut()
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

const YES: CK_BBOOL = CK_TRUE;
const NO: CK_BBOOL = CK_FALSE;

impl Worker {
    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        let arg = |at: usize| words.get(at).copied().unwrap_or_default();
        let count = |at: usize| words.get(at).map_or(1, |word| word.parse::<usize>().unwrap());
        match words[0] {
            "init" => self.init(),
            "open" => said(step, self.open(PIN)),
            "wrong" => said(step, self.open("9999-zzzz")),
            "logout" => said(step, c!(C_Logout, self.session)),
            "generate" => said(step, self.generate(arg(1), true, true)),
            "lame" => said(step, self.generate(arg(1), true, false)),
            "passing" => said(step, self.generate(arg(1), false, true)),
            "secret" => said(step, self.secret(arg(1))),
            "sign" => (0..count(2)).for_each(|_| said(step, self.sign(arg(1)))),
            "quietly" => (0..count(2)).for_each(|_| assert_eq!(self.sign(arg(1)), CKR_OK)),
            "check" => said(step, self.check(arg(1))),
            "value" => said(step, self.value(arg(1))),
            "wrap" => said(step, self.wrap(arg(1), arg(2))),
            "rename" => said(step, self.rename(arg(1), arg(2))),
            "destroy" => said(step, c!(C_DestroyObject, self.session, self.find(arg(1), None))),
            "count" => println!("> {}", self.find_all(arg(1), None).len()),
            "wait" => {
                while !Path::new(arg(1)).exists() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            "touch" => std::fs::write(arg(1), b"").unwrap(),
            "die" => std::process::abort(),
            "threads" => self.threads(arg(1), count(2), count(3)),
            "fork" => self.fork(arg(1), count(2)),
            "time" => self.time(arg(1), count(2)),
            other => panic!("no step {other}"),
        }
    }

    fn start(&mut self) {
        let rv = c!(C_Initialize, null_mut());
        assert!(rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
        let (mut slots, mut count) = ([0; 4], 4);
        assert_eq!(c!(C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &raw mut count), CKR_OK);
        self.slot = slots[0];
    }

    fn session(&mut self) {
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        assert_eq!(c!(C_OpenSession, self.slot, flags, null_mut(), None, &raw mut self.session), CKR_OK);
    }

    fn login(&self, who: CK_USER_TYPE, pin: &str) -> CK_RV {
        c!(C_Login, self.session, who, ptr(pin.as_bytes()), pin.len() as CK_ULONG)
    }

    fn init(&mut self) {
        self.start();
        let rv = c!(C_InitToken, self.slot, ptr(PIN.as_bytes()), PIN.len() as CK_ULONG, ptr(&[b' '; 32]));
        said("init", rv);
        if rv == CKR_OK {
            self.session();
            said("init so", self.login(CKU_SO, PIN));
            said("init pin", c!(C_InitPIN, self.session, ptr(PIN.as_bytes()), PIN.len() as CK_ULONG));
            c!(C_CloseSession, self.session);
        }
    }

    fn open(&mut self, pin: &str) -> CK_RV {
        self.start();
        self.session();
        self.login(CKU_USER, pin)
    }

    fn generate(&self, label: &str, on_token: bool, signs: bool) -> CK_RV {
        // P-256.
        let curve = [0x06u8, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let (token, sign) = (CK_BBOOL::from(on_token), CK_BBOOL::from(signs));
        let public = [
            attribute(CKA_EC_PARAMS, &curve),
            attribute(CKA_TOKEN, &token),
            attribute(CKA_VERIFY, &YES),
            attribute(CKA_LABEL, label),
        ];
        let private = [attribute(CKA_TOKEN, &token), attribute(CKA_SIGN, &sign), attribute(CKA_LABEL, label)];
        let by = [mechanism(CKM_EC_KEY_PAIR_GEN)];
        let (mut one, mut other) = (0, 0);
        let (publics, privates) = (public.len() as CK_ULONG, private.len() as CK_ULONG);
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

    fn secret(&self, label: &str) -> CK_RV {
        let length: CK_ULONG = 32;
        let template = [
            attribute(CKA_VALUE_LEN, &length),
            attribute(CKA_TOKEN, &YES),
            attribute(CKA_EXTRACTABLE, &YES),
            attribute(CKA_SENSITIVE, &NO),
            attribute(CKA_WRAP, &YES),
            attribute(CKA_LABEL, label),
        ];
        let (by, mut key) = ([mechanism(CKM_AES_KEY_GEN)], 0);
        c!(C_GenerateKey, self.session, ptr(&by), ptr(&template), template.len() as CK_ULONG, &raw mut key)
    }

    fn find_all(&self, label: &str, class: Option<CK_OBJECT_CLASS>) -> Vec<CK_OBJECT_HANDLE> {
        let class_is = class.unwrap_or_default();
        let mut template = vec![attribute(CKA_LABEL, label)];
        template.extend(class.map(|_| attribute(CKA_CLASS, &class_is)));
        let (mut found, mut count) = ([0; 16], 0);
        let wanted = template.len() as CK_ULONG;
        assert_eq!(c!(C_FindObjectsInit, self.session, template.as_mut_ptr(), wanted), CKR_OK);
        assert_eq!(c!(C_FindObjects, self.session, found.as_mut_ptr(), 16, &raw mut count), CKR_OK);
        assert_eq!(c!(C_FindObjectsFinal, self.session), CKR_OK);
        found[..count as usize].to_vec()
    }

    fn find(&self, label: &str, class: Option<CK_OBJECT_CLASS>) -> CK_OBJECT_HANDLE {
        self.find_all(label, class).first().copied().unwrap_or(CK_INVALID_HANDLE)
    }

    fn sign(&self, label: &str) -> CK_RV {
        self.sign_with(self.find(label, Some(CKO_PRIVATE_KEY)))
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

    fn check(&self, label: &str) -> CK_RV {
        let by = [mechanism(CKM_ECDSA)];
        c!(C_VerifyInit, self.session, ptr(&by), self.find(label, Some(CKO_PUBLIC_KEY)))
    }

    fn value(&self, label: &str) -> CK_RV {
        let mut room = [0u8; 64];
        let mut wanted =
            [CK_ATTRIBUTE { type_: CKA_VALUE, pValue: room.as_mut_ptr().cast(), ulValueLen: room.len() as CK_ULONG }];
        c!(C_GetAttributeValue, self.session, self.find(label, None), wanted.as_mut_ptr(), 1)
    }

    fn wrap(&self, wrapping: &str, key: &str) -> CK_RV {
        let by = [mechanism(CKM_AES_KEY_WRAP)];
        let (mut out, mut len) = ([0u8; 128], 128);
        let (wrapping, key) = (self.find(wrapping, None), self.find(key, None));
        c!(C_WrapKey, self.session, ptr(&by), wrapping, key, out.as_mut_ptr(), &raw mut len)
    }

    fn rename(&self, label: &str, new: &str) -> CK_RV {
        let template = [attribute(CKA_LABEL, new)];
        c!(C_SetAttributeValue, self.session, self.find(label, Some(CKO_PRIVATE_KEY)), ptr(&template), 1)
    }

    /// Several threads, each with a session of its own.
    fn threads(&self, label: &str, threads: usize, each: usize) {
        let key = self.find(label, Some(CKO_PRIVATE_KEY));
        let slot = self.slot;
        let work = move || {
            let mut worker = Worker { slot, session: 0 };
            worker.session();
            (0..each).for_each(|_| assert_eq!(worker.sign_with(key), CKR_OK));
        };
        let running: Vec<_> = (0..threads).map(|_| std::thread::spawn(work)).collect();
        running.into_iter().for_each(|thread| thread.join().unwrap());
    }

    /// The child signs by a module of its own, while the parent goes on.
    fn fork(&mut self, label: &str, each: usize) {
        // SAFETY: one thread runs here; the child leaves without the parent's destructors.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut worker = Worker::default();
            let good = worker.open(PIN) == CKR_OK && (0..each).all(|_| worker.sign(label) == CKR_OK);
            // SAFETY: no destructor is to run.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        (0..each).for_each(|_| assert_eq!(self.sign(label), CKR_OK));
        let mut status = 0;
        // SAFETY: a child of ours, waited for once.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        println!("> child {status}");
    }

    fn time(&self, label: &str, count: usize) {
        let key = self.find(label, Some(CKO_PRIVATE_KEY));
        (0..100).for_each(|_| assert_eq!(self.sign_with(key), CKR_OK));
        let mut best = u128::MAX;
        for _ in 0..10 {
            let start = Instant::now();
            (0..count).for_each(|_| assert_eq!(self.sign_with(key), CKR_OK));
            best = best.min(start.elapsed().as_nanos() / count as u128);
        }
        println!("> {best} ns");
    }
}
