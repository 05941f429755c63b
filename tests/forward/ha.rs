//! One slot over several HSMs: who is asked, what happens when one goes and comes back (docs/ha.md).

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::several::*;
use crate::{c, ok};

pub const WRAP: &str = "mirror = 'wrap'\nwrapping_key = 'shared'\n";

fn started(count: usize, lines: &str) -> (Together, CK_SESSION_HANDLE) {
    let together = Several::new(count, &format!("{QUICK}{lines}")).start();
    let session = together.user();
    if lines.contains(WRAP) {
        shared_key(session);
    }
    (together, session)
}

#[test]
fn signatures_go_on_while_a_member_dies_and_it_is_used_again_when_it_is_back() {
    let (together, session) = started(2, WRAP);
    let several = &together.several;
    let (public, private) = ec_pair(session, "key", 1);
    let sign = |count: usize| {
        for _ in 0..count {
            let signature = try_sign(session, private, &[1; 32]).expect("no error is seen");
            assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
        }
    };
    sign(10);
    assert_eq!(several.calls("west", "C_Sign"), 0, "the first of the list serves");
    several.dies("east");
    sign(20);
    assert!(several.calls("west", "C_Sign") >= 20);
    let tried = several.calls("east", "C_SignInit");
    several.lives("east");
    let before = several.calls("west", "C_Sign");
    sign(20);
    assert_eq!(several.calls("west", "C_Sign"), before, "the first serves again");
    assert!(several.calls("east", "C_SignInit") >= tried + 20);
    let log = several.scene.log();
    assert!(log.contains("member east is left alone") && log.contains("member east is back"), "{log}");
}

/// Each call is answered within the deadline of the member that hangs, by the other one; from then on it is left alone.
#[test]
fn a_member_that_hangs_in_its_own_process_costs_its_deadline_once() {
    let several = Several::new(2, "");
    several.configure_members(&format!("{QUICK}{WRAP}"), "isolate = true\ndeadline = 0.7");
    let together = several.start();
    let session = together.user();
    shared_key(session);
    let (public, private) = ec_pair(session, "key", 1);
    let sign = || {
        let begun = std::time::Instant::now();
        let signature = try_sign(session, private, &[1; 32]).expect("no error is seen");
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
        begun.elapsed().as_millis()
    };
    sign();
    let several = &together.several;
    several.faults("east", "C_Sign hang 60000\nC_SignInit hang 60000\nC_GetTokenInfo hang 60000\nC_GetSlotList hang 60000\nC_Initialize hang 60000");
    let first = sign();
    assert!((600..4000).contains(&first), "{first} ms");
    assert!(several.calls("west", "C_Sign") >= 1);
    let hung = several.calls("east", "C_Sign") + several.calls("east", "C_SignInit");
    for _ in 0..10 {
        sign();
    }
    let log = several.scene.log();
    assert!(log.contains("did not return within 0.7 s") && log.contains("member east is left alone"), "{log}");
    assert!(several.calls("east", "C_Sign") + several.calls("east", "C_SignInit") <= hung + 2);
    several.lives("east");
    std::thread::sleep(std::time::Duration::from_millis(700));
    let before = several.calls("east", "C_Sign");
    sign();
    assert_eq!(several.calls("east", "C_Sign"), before + 1, "it serves again");
}

#[test]
fn one_call_in_flight_is_made_once_more_and_parts_are_not() {
    let (together, session) = started(2, "");
    let key = try_create(
        session,
        &[
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_AES),
            bytes(CKA_VALUE, &[3; 32]),
            bytes(CKA_ID, b"k"),
            yes(CKA_TOKEN),
            yes(CKA_ENCRYPT),
            yes(CKA_DECRYPT),
        ],
    );
    let key = key.unwrap();
    let several = &together.several;
    let iv = [0u8; 16];
    let mechanism = [with(CKM_AES_CBC_PAD, &iv)];
    let (mut out, mut out_len) = ([0u8; 64], 64);
    // Begun on the one, finished on the other.
    ok!(C_EncryptInit, session, ptr(&mechanism), key);
    several.dies("east");
    ok!(C_Encrypt, session, ptr(&[1u8; 20]), 20, out.as_mut_ptr(), &raw mut out_len);
    let encrypted = out[..out_len as usize].to_vec();
    assert_eq!(encrypted.len(), 32);
    several.lives("east");
    ok!(C_EncryptInit, session, ptr(&mechanism), key);
    out_len = 64;
    ok!(C_EncryptUpdate, session, ptr(&[1u8; 20]), 20, out.as_mut_ptr(), &raw mut out_len);
    several.dies("east");
    out_len = 64;
    let rv = c!(C_EncryptUpdate, session, ptr(&[1u8; 20]), 20, out.as_mut_ptr(), &raw mut out_len);
    assert_eq!(rv, CKR_DEVICE_REMOVED);
    out_len = 64;
    assert_eq!(c!(C_EncryptFinal, session, out.as_mut_ptr(), &raw mut out_len), CKR_OPERATION_NOT_INITIALIZED);
    // The next one is on the other from its beginning.
    ok!(C_DecryptInit, session, ptr(&mechanism), key);
    out_len = 64;
    ok!(C_Decrypt, session, ptr(&encrypted), len(&encrypted), out.as_mut_ptr(), &raw mut out_len);
    assert_eq!(out[..out_len as usize], [1; 20]);
}

#[test]
fn a_generated_key_is_on_both_and_as_hard_to_get_out_as_it_was_asked_for() {
    let (together, session) = started(2, WRAP);
    let (_, private) = ec_pair(session, "pair", 1);
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"aes"), no(CKA_EXTRACTABLE), yes(CKA_SENSITIVE)]);
    let aes = try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
    for name in ["east", "west"] {
        assert_eq!(together.several.keys(name), ["aes", "pair", "shared"], "{name}");
    }
    for key in [private, aes] {
        assert_eq!(value(session, key, CKA_EXTRACTABLE).unwrap(), [CK_FALSE]);
        assert_eq!(value(session, key, CKA_SENSITIVE).unwrap(), [CK_TRUE]);
    }
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"pair")]).len(), 2, "the pair, each half once");
    together.several.dies("east");
    let session = together.again();
    for label in ["pair", "aes"] {
        let key = find(session, &[bytes(CKA_LABEL, label.as_bytes()), yes(CKA_PRIVATE)])[0];
        assert_eq!(value(session, key, CKA_EXTRACTABLE).unwrap(), [CK_FALSE], "{label} on the other");
    }
}

#[test]
fn a_key_that_would_be_on_one_member_alone_is_not_made() {
    let (together, session) = started(2, WRAP);
    together.several.dies("west");
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"alone")]);
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &template), Err(CKR_DEVICE_REMOVED));
    assert_eq!(together.several.keys("east"), ["shared"]);
    together.several.lives("west");
    // It fails in the middle: what was made on the first is gone again.
    together.several.faults("west", "C_UnwrapKey rv 0x6");
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &template), Err(CKR_DEVICE_REMOVED));
    assert_eq!(together.several.keys("east"), ["shared"]);
    together.several.faults("west", "");
    try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
    assert_eq!(together.several.keys("west"), ["alone", "shared"]);
}

/// Nothing but making is asked for: that alone finds out that the member is back.
#[test]
fn a_key_is_made_again_once_the_member_that_was_missing_is_back() {
    let (together, session) = started(2, WRAP);
    let template = |id: u8| aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"new"), bytes(CKA_ID, &[id])]);
    together.several.dies("west");
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &template(1)), Err(CKR_DEVICE_REMOVED));
    together.several.lives("west");
    let made = try_generate(session, CKM_AES_KEY_GEN, &template(2));
    assert!(made.is_ok(), "{made:x?}\n{}", together.several.scene.log());
    assert_eq!(together.several.keys("west"), ["new", "shared"]);
}

#[test]
fn a_pinned_key_fails_with_one_code_while_its_member_is_away() {
    let (together, session) = started(2, "");
    let (public, private) = ec_pair(session, "pinned", 1);
    assert_eq!(together.several.keys("west"), Vec::<String>::new());
    together.several.dies("east");
    for _ in 0..3 {
        assert_eq!(try_sign(session, private, &[1; 32]), Err(CKR_DEVICE_REMOVED));
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    // Others are served meanwhile.
    let (_, other) = ec_pair(session, "other", 2);
    try_sign(session, other, &[1; 32]).unwrap();
    together.several.lives("east");
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
}

#[test]
fn a_generation_is_never_made_twice() {
    let (together, session) = started(2, "");
    together.several.faults("east", "C_GenerateKey after 0x30");
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"once")]);
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &template), Err(CKR_DEVICE_ERROR));
    let calls = |name| together.several.calls(name, "C_GenerateKey");
    assert_eq!((calls("east"), calls("west")), (1, 0));
}

#[test]
fn what_is_destroyed_while_a_member_is_away_stays_destroyed() {
    let (together, session) = started(2, WRAP);
    let several = &together.several;
    ec_pair(session, "doomed", 1);
    let (_, stays) = ec_pair(session, "stays", 2);
    several.dies("west");
    for object in find(session, &[bytes(CKA_LABEL, b"doomed")]) {
        ok!(C_DestroyObject, session, object);
    }
    assert_eq!(several.keys("west"), ["doomed", "shared", "stays"], "nobody has told it yet");
    // Another process, before which the member comes back.
    several.lives("west");
    let session = together.again();
    assert!(find(session, &[bytes(CKA_LABEL, b"doomed")]).is_empty());
    assert_eq!(several.keys("west"), ["shared", "stays"], "and gone there too");
    assert_eq!(several.keys("east"), ["shared", "stays"]);
    several.dies("east");
    let stays_now = find(session, &[bytes(CKA_LABEL, b"stays"), yes(CKA_PRIVATE)]);
    try_sign(session, stays_now[0], &[1; 32]).unwrap();
    assert_ne!(stays, 0);
}

#[test]
fn a_member_that_comes_back_to_a_running_application_forgets_what_was_destroyed() {
    let (together, session) = started(2, WRAP);
    let several = &together.several;
    ec_pair(session, "doomed", 1);
    several.dies("west");
    find(session, &[bytes(CKA_LABEL, b"doomed")]).into_iter().for_each(|key| ok!(C_DestroyObject, session, key));
    several.lives("west");
    assert!(find(session, &[bytes(CKA_LABEL, b"doomed")]).is_empty());
    assert_eq!(several.keys("west"), ["shared"]);
    // A new key of the same name lives.
    ec_pair(session, "doomed", 1);
    let session = together.again();
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"doomed")]).len(), 2);
    assert_eq!(several.keys("west"), ["doomed", "shared"]);
}

#[test]
fn round_robin_spreads_the_work() {
    let (together, session) = started(3, &format!("order = 'round_robin'\n{WRAP}copies = 3\n"));
    let (public, private) = ec_pair(session, "key", 1);
    let before: Vec<usize> = NAMES.iter().map(|name| together.several.calls(name, "C_Sign")).collect();
    for _ in 0..30 {
        let signature = try_sign(session, private, &[1; 32]).unwrap();
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
    }
    for (name, before) in NAMES.iter().zip(before) {
        let calls = together.several.calls(name, "C_Sign") - before;
        assert!((5..=25).contains(&calls), "{name}: {calls} of 30");
    }
    // With one of the three gone the others share it.
    together.several.dies("west");
    (0..10).for_each(|_| drop(try_sign(session, private, &[1; 32]).unwrap()));
}

#[test]
fn a_member_that_comes_later_is_logged_in_without_being_asked() {
    let several = Several::new(2, QUICK);
    several.dies("east");
    let together = several.start();
    let session = together.user();
    assert_eq!(together.several.calls("west", "C_Login"), 1);
    let (_, west) = ec_pair(session, "west's", 1);
    together.several.lives("east");
    let (_, east) = ec_pair(session, "east's", 2);
    assert_eq!(together.several.keys("east"), ["east's"]);
    for key in [west, east] {
        try_sign(session, key, &[1; 32]).unwrap();
    }
    assert_eq!(together.several.calls("east", "C_Login"), 1);
}

#[test]
fn a_wrong_pin_is_tried_on_one_member_alone() {
    let together = Several::new(2, QUICK).start();
    let session = open(slots()[0], CKF_RW_SESSION);
    assert_eq!(login(session, CKU_USER, "9999"), CKR_PIN_INCORRECT);
    let calls = |name| together.several.calls(name, "C_Login");
    assert_eq!((calls("east"), calls("west")), (1, 0));
    assert_eq!(login(session, CKU_SO, SO_PIN), CKR_USER_TYPE_INVALID);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    assert_eq!((calls("east"), calls("west")), (2, 1));
}

#[test]
fn a_member_that_refuses_the_pin_is_asked_once_and_the_other_serves() {
    let several = Several::new(2, QUICK);
    several.faults("west", "C_Login rv 0xa0");
    let together = several.start();
    let session = together.user();
    let (_, private) = ec_pair(session, "key", 1);
    (0..5).for_each(|_| drop(try_sign(session, private, &[1; 32]).unwrap()));
    find(session, &[]);
    assert_eq!(together.several.calls("west", "C_Login"), 1, "never a second time");
    assert!(together.several.scene.log().contains("member west refuses the login"));
}

#[test]
fn what_the_token_says_of_itself_is_true() {
    let (together, session) = started(2, "");
    let slot = slots()[0];
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, slot, &raw mut info);
    assert_eq!(&info.label, b"both                            ");
    let wanted = CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED | CKF_RNG;
    assert_eq!(info.flags & wanted, wanted);
    assert_eq!(info.flags & (CKF_WRITE_PROTECTED | CKF_PROTECTED_AUTHENTICATION_PATH | CKF_USER_PIN_LOCKED), 0);
    let mut state = CK_SESSION_INFO::default();
    ok!(C_GetSessionInfo, session, &raw mut state);
    assert_eq!((state.slotID, state.state), (slot, CKS_RW_USER_FUNCTIONS));
    // A member's loss is no event of the slot: it is still there.
    let mut event = 0;
    while c!(C_WaitForSlotEvent, CKF_DONT_BLOCK, &raw mut event, null_mut()) == CKR_OK {}
    together.several.dies("east");
    assert_eq!(c!(C_WaitForSlotEvent, CKF_DONT_BLOCK, &raw mut event, null_mut()), CKR_NO_EVENT);
    ok!(C_GetTokenInfo, slot, &raw mut info);
    assert_eq!(slots(), [slot]);
    let pin = SO_PIN.as_bytes();
    ok!(C_CloseSession, session);
    assert_eq!(c!(C_InitToken, slot, ptr(pin), len(pin), ptr(&[b' '; 32])), CKR_TOKEN_WRITE_PROTECTED);
}

#[test]
fn a_member_that_nobody_uses_is_looked_at_in_passing() {
    let (together, session) = started(2, "check = 0.2\n");
    let (_, private) = ec_pair(session, "key", 1);
    let lost = |log: &str| log.contains("member west is left alone");
    together.several.dies("west");
    assert!(!lost(&together.several.scene.log()));
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        try_sign(session, private, &[1; 32]).unwrap();
    }
    assert!(lost(&together.several.scene.log()), "before it was needed");
}

#[test]
fn with_all_members_away_calls_fail_quickly_and_the_handles_outlive_it() {
    let (together, session) = started(2, WRAP);
    let (_, private) = ec_pair(session, "key", 1);
    together.several.dies("east");
    together.several.dies("west");
    let start = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(try_sign(session, private, &[1; 32]), Err(CKR_DEVICE_REMOVED));
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
    together.several.lives("west");
    try_sign(session, private, &[1; 32]).unwrap();
}
