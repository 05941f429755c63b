//! A process that works by a script through the C functions.

use std::ptr::null_mut;
use std::time::Instant;

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
            "logout" => said(step, c!(C_Logout, self.with.0)),
            "generate" => said(step, self.generate(arg(1), true, true)),
            "lame" => said(step, self.generate(arg(1), true, false)),
            "passing" => said(step, self.generate(arg(1), false, true)),
            "secret" => said(step, self.secret(arg(1))),
            "sign" => (0..count(2)).for_each(|_| said(step, self.sign(arg(1)))),
            "quietly" => (0..count(2)).for_each(|_| assert_eq!(self.sign(arg(1)), CKR_OK)),
            "check" => said(step, self.check(arg(1))),
            "value" => said(step, self.with.value(arg(1))),
            "wrap" => said(step, self.with.wrap(arg(1), arg(2))),
            "rename" => said(step, self.with.rename(arg(1), arg(2))),
            "destroy" => said(step, c!(C_DestroyObject, self.with.0, self.with.find(arg(1), None))),
            "count" => println!("> {}", self.with.find_all(arg(1), None).len()),
            "die" => std::process::abort(),
            "threads" => self.threads(arg(1), count(2), count(3)),
            "fork" => self.fork(arg(1), count(2)),
            "time" => self.time(arg(1), count(2)),
            _ if meets(step) => {}
            other => panic!("no step {other}"),
        }
    }

    fn start(&mut self) {
        self.slot = initialize();
    }

    fn session(&mut self) {
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        assert_eq!(c!(C_OpenSession, self.slot, flags, null_mut(), None, &raw mut self.with.0), CKR_OK);
    }

    fn init(&mut self) {
        self.start();
        let rv = c!(C_InitToken, self.slot, ptr(PIN.as_bytes()), len(PIN.as_bytes()), ptr(&[b' '; 32]));
        said("init", rv);
        if rv == CKR_OK {
            self.session();
            said("init so", self.with.login(CKU_SO, PIN));
            said("init pin", c!(C_InitPIN, self.with.0, ptr(PIN.as_bytes()), len(PIN.as_bytes())));
            c!(C_CloseSession, self.with.0);
        }
    }

    fn open(&mut self, pin: &str) -> CK_RV {
        self.start();
        self.session();
        self.with.login(CKU_USER, pin)
    }

    fn generate(&self, label: &str, on_token: bool, signs: bool) -> CK_RV {
        let sign = CK_BBOOL::from(signs);
        self.with.generate_p256(label, on_token, &[attribute(CKA_VERIFY, &YES)], &[attribute(CKA_SIGN, &sign)])
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
        c!(C_GenerateKey, self.with.0, ptr(&by), ptr(&template), len(&template), &raw mut key)
    }

    fn sign(&self, label: &str) -> CK_RV {
        self.with.sign_with(self.with.find(label, Some(CKO_PRIVATE_KEY)))
    }

    fn check(&self, label: &str) -> CK_RV {
        let by = [mechanism(CKM_ECDSA)];
        c!(C_VerifyInit, self.with.0, ptr(&by), self.with.find(label, Some(CKO_PUBLIC_KEY)))
    }

    /// Several threads, each with a session of its own.
    fn threads(&self, label: &str, threads: usize, each: usize) {
        let key = self.with.find(label, Some(CKO_PRIVATE_KEY));
        let slot = self.slot;
        let work = move || {
            let mut worker = Worker { slot, with: With::default() };
            worker.session();
            (0..each).for_each(|_| assert_eq!(worker.with.sign_with(key), CKR_OK));
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
        let key = self.with.find(label, Some(CKO_PRIVATE_KEY));
        (0..100).for_each(|_| assert_eq!(self.with.sign_with(key), CKR_OK));
        let mut best = u128::MAX;
        for _ in 0..10 {
            let start = Instant::now();
            (0..count).for_each(|_| assert_eq!(self.with.sign_with(key), CKR_OK));
            best = best.min(start.elapsed().as_nanos() / count as u128);
        }
        println!("> {best} ns");
    }
}
