//! What takes long in one session delays no other: while an RSA key of 4096 bits is made, others sign, digest, search, make
//! objects, log out and log in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

/// Which generation is under way; 0 between two.
static UNDER_WAY: AtomicU64 = AtomicU64::new(0);
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// Makes pairs until it is enough, or eight. They are not private, so that a logout does not concern them.
fn generate(slot: CK_SLOT_ID) {
    let session = open(slot);
    for number in 1..=8 {
        let mut public = Template::new().number(CKA_MODULUS_BITS, 4096);
        let mut private = Template::new().no(CKA_PRIVATE).yes(CKA_SIGN);
        let (public, private, mut made) = (public.raw(), private.raw(), [0; 2]);
        let by = mechanism(CKM_RSA_PKCS_KEY_PAIR_GEN);
        let [one, other] = &mut made;
        UNDER_WAY.store(number, Ordering::SeqCst);
        let (a, b) = (public.as_mut_ptr(), private.as_mut_ptr());
        ok!(C_GenerateKeyPair, session, ptr(&[by]), a, len(public), b, len(private), one, other);
        UNDER_WAY.store(0, Ordering::SeqCst);
        if ENOUGH.load(Ordering::SeqCst) {
            break;
        }
    }
    ok!(C_CloseSession, session);
}

/// Whether `work` began and ended within one generation.
fn within(work: impl FnOnce()) -> bool {
    let before = UNDER_WAY.load(Ordering::SeqCst);
    work();
    before != 0 && UNDER_WAY.load(Ordering::SeqCst) == before
}

fn round(slot: CK_SLOT_ID, key: CK_OBJECT_HANDLE, session: CK_SESSION_HANDLE) {
    let (mut out, mut size) = ([0u8; 64], 64);
    ok!(C_SignInit, session, ptr(&[mechanism(CKM_SHA256_HMAC)]), key);
    ok!(C_Sign, session, ptr(b"data"), 4, out.as_mut_ptr(), &raw mut size);
    size = 64;
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

#[test]
fn the_making_of_a_long_key_delays_nobody() {
    let running = start();
    let (slot, session) = (running.slot, running.session);
    let mut template = Template::new()
        .number(CKA_CLASS, CKO_SECRET_KEY)
        .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .bytes(CKA_VALUE, &[7; 32])
        .bytes(CKA_LABEL, b"meanwhile")
        .no(CKA_PRIVATE)
        .yes(CKA_SIGN);
    let (raw, mut key) = (template.raw(), 0);
    ok!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut key);
    let (mut rounds, mut logins) = (0, 0);
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| generate(slot));
        while !maker.is_finished() && (rounds < 10 || logins < 1) {
            rounds += usize::from(within(|| round(slot, key, session)));
            let again = || {
                ok!(C_Logout, session);
                assert_eq!(login(session, CKU_USER), CKR_OK);
            };
            logins += usize::from(rounds >= 10 && within(again));
        }
        ENOUGH.store(true, Ordering::SeqCst);
    });
    assert!(rounds >= 10, "{rounds} rounds within generations");
    assert!(logins >= 1, "no login within a generation");
    assert_eq!(c!(C_Logout, session), CKR_OK);
}
