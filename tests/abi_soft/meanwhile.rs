//! What takes long in one session delays no other: while keys are made, signatures that take long, or derivations, others sign, digest,
//! search, make objects, log out and log in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cryptoki_sys::*;

use crate::harness::*;
use crate::ok;

/// A thing that takes long, done again and again by a thread of its own.
#[derive(Default)]
struct Long {
    /// Which one is under way; 0 between two.
    under_way: AtomicU64,
    enough: AtomicBool,
}

impl Long {
    /// Until it is enough, or so many times. What it works with is not private, so that a logout does not concern it.
    fn again_and_again(&self, slot: CK_SLOT_ID, most: u64, work: impl Fn(CK_SESSION_HANDLE)) {
        let session = open(slot);
        for number in 1..=most {
            self.under_way.store(number, Ordering::SeqCst);
            work(session);
            self.under_way.store(0, Ordering::SeqCst);
            if self.enough.load(Ordering::SeqCst) {
                break;
            }
        }
        ok!(C_CloseSession, session);
    }

    /// Whether `work` began and ended within one of them.
    fn outlasts(&self, work: impl FnOnce()) -> bool {
        let before = self.under_way.load(Ordering::SeqCst);
        work();
        before != 0 && self.under_way.load(Ordering::SeqCst) == before
    }
}

fn pair_of(
    session: CK_SESSION_HANDLE,
    by: CK_MECHANISM,
    mut public: Template,
    mut private: Template,
) -> CK_OBJECT_HANDLE {
    let (public, private, mut made) = (public.raw(), private.raw(), [0; 2]);
    let [one, other] = &mut made;
    let (a, b) = (public.as_mut_ptr(), private.as_mut_ptr());
    ok!(C_GenerateKeyPair, session, ptr(&[by]), a, len(public), b, len(private), one, other);
    made[1]
}

fn sign(session: CK_SESSION_HANDLE, ty: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) {
    let mut out = vec![0u8; 50_000];
    let mut size = len(&out);
    ok!(C_SignInit, session, ptr(&[mechanism(ty)]), key);
    ok!(C_Sign, session, ptr(b"data"), 4, out.as_mut_ptr(), &raw mut size);
}

fn round(slot: CK_SLOT_ID, key: CK_OBJECT_HANDLE, session: CK_SESSION_HANDLE) {
    let (mut out, mut size) = ([0u8; 64], 64);
    sign(session, CKM_SHA256_HMAC, key);
    ok!(C_DigestInit, session, ptr(&[mechanism(CKM_SHA256)]));
    ok!(C_Digest, session, ptr(b"data"), 4, out.as_mut_ptr(), &raw mut size);
    assert!(find(session, Template::new().bytes(CKA_LABEL, b"meanwhile")).contains(&key));
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, slot, &raw mut info);
    ok!(C_GenerateRandom, session, out.as_mut_ptr(), 64);
    let other = open(slot);
    let mut data = Template::new().number(CKA_CLASS, CKO_DATA).no(CKA_PRIVATE).bytes(CKA_VALUE, b"x");
    let (data, mut made) = (data.raw(), 0);
    ok!(C_CreateObject, other, data.as_mut_ptr(), len(data), &raw mut made);
    ok!(C_DestroyObject, other, made);
    ok!(C_CloseSession, other);
}

/// A key that signs, and is not private.
fn signer(session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
    let mut template = Template::new()
        .number(CKA_CLASS, CKO_SECRET_KEY)
        .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .bytes(CKA_VALUE, &[7; 32])
        .bytes(CKA_LABEL, b"meanwhile")
        .no(CKA_PRIVATE)
        .yes(CKA_SIGN);
    let (raw, mut key) = (template.raw(), 0);
    ok!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut key);
    key
}

/// While `work` is done, so many rounds of other things are, each within one time of it; then `last` is.
fn meanwhile(
    running: &Running,
    what: &str,
    wanted: usize,
    work: impl Fn(CK_SESSION_HANDLE) + Sync,
    last: impl Fn(&Long) -> bool,
) {
    let (slot, session) = (running.slot, running.session);
    let (key, long, mut rounds, mut ended) = (signer(session), Long::default(), 0, false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| long.again_and_again(slot, 100, &work));
        while !other.is_finished() && !ended {
            rounds += usize::from(long.outlasts(|| round(slot, key, session)));
            ended = ended || rounds >= wanted && last(&long);
        }
        long.enough.store(true, Ordering::SeqCst);
    });
    ok!(C_DestroyObject, session, key);
    assert!(ended, "{what}: {rounds} rounds within one; the last: {ended}");
}

#[test]
fn the_making_of_a_long_key_delays_nobody() {
    let running = start();
    let make = |session| {
        let public = Template::new().number(CKA_MODULUS_BITS, 4096);
        let private = Template::new().no(CKA_PRIVATE).yes(CKA_SIGN);
        pair_of(session, mechanism(CKM_RSA_PKCS_KEY_PAIR_GEN), public, private);
    };
    let login_again = |long: &Long| {
        long.outlasts(|| {
            ok!(C_Logout, running.session);
            assert_eq!(login(running.session, CKU_USER), CKR_OK);
        })
    };
    meanwhile(&running, "an RSA key", 10, make, login_again);
}

#[test]
fn long_signatures_trees_and_derivations_delay_nobody() {
    let running = start();
    let session = running.session;
    let private = || Template::new().no(CKA_PRIVATE).yes(CKA_SIGN);
    let slow = || Template::new().number(CKA_PARAMETER_SET, CKP_SLH_DSA_SHA2_192S);
    let slh_dsa = pair_of(session, mechanism(CKM_SLH_DSA_KEY_PAIR_GEN), slow(), private());
    let tree = || {
        let ulongs = |number: CK_ULONG| number.to_ne_bytes();
        // LMS_SHA256_M32_H10 over LMOTS_SHA256_N32_W4.
        private().number(CKA_HSS_LEVELS, 1).bytes(CKA_HSS_LMS_TYPES, &ulongs(6)).bytes(CKA_HSS_LMOTS_TYPES, &ulongs(3))
    };
    let derive = |session| {
        let (mut password, mut salt) = (*b"password", [1u8; 16]);
        let mut params = CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: salt.as_mut_ptr().cast(),
            ulSaltSourceDataLen: 16,
            iterations: 1_000_000,
            prf: CKP_PKCS5_PBKD2_HMAC_SHA512,
            pPrfData: std::ptr::null_mut(),
            ulPrfDataLen: 0,
            pPassword: password.as_mut_ptr(),
            ulPasswordLen: 8,
        };
        let by = CK_MECHANISM {
            mechanism: CKM_PKCS5_PBKD2,
            pParameter: (&raw mut params).cast(),
            ulParameterLen: size_of::<CK_PKCS5_PBKD2_PARAMS2>() as CK_ULONG,
        };
        let mut template =
            Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES).number(CKA_VALUE_LEN, 32);
        let (raw, mut key) = (template.raw(), 0);
        ok!(C_GenerateKey, session, ptr(&[by]), raw.as_mut_ptr(), len(raw), &raw mut key);
    };
    let done = |_: &Long| true;
    meanwhile(&running, "signatures of SLH-DSA", 3, |session| sign(session, CKM_SLH_DSA, slh_dsa), done);
    let make = |session| {
        pair_of(session, mechanism(CKM_HSS_KEY_PAIR_GEN), Template::new(), tree());
    };
    meanwhile(&running, "keys of HSS", 3, make, done);
    meanwhile(&running, "PBKDF2", 3, derive, done);
}
