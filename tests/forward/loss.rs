//! The HSM goes and comes back.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{both, c, ok};

fn started(lines: &str) -> Running {
    Scene::new().start(faulty(), lines)
}

/// All sessions are gone, as after a restart of the HSM; `C_Sign` tells it first.
const LOST_AT_SIGN: &str = "C_Sign rv 0x32 1\n";

both! {
    fn a_signature_is_made_after_all_when_the_hsm_was_lost(how) {
        let running = started(how);
        let session = running.user();
        let (public, private) = ec_pair(session, "key", 1);
        running.scene.faults(LOST_AT_SIGN);
        let signature = try_sign(session, private, &[1; 32]).unwrap();
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK, "the handles of before the loss");
        assert!(running.scene.log().contains("connected again"));
    }
}

both! {
    fn the_module_is_initialised_anew_where_a_session_alone_does_not_help(how) {
        let running = started(how);
        let session = running.user();
        let (public, private) = ec_pair(session, "key", 1);
        let before = (running.scene.calls("C_Initialize"), running.scene.calls("C_Login"));
        // Twice: the last session is replaced before it is closed, and that too must not succeed.
        running.scene.faults("C_SignInit rv 0x30 1\nC_OpenSession rv 0x30 2");
        let signature = try_sign(session, private, &[1; 32]).unwrap();
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
        assert_eq!(running.scene.calls("C_Initialize"), before.0 + 1);
        assert_eq!(running.scene.calls("C_Login"), before.1 + 1, "logged in again with the caller's PIN");
    }
}

both! {
    fn an_object_is_found_again_by_what_it_is_and_ambiguity_is_a_failure(how) {
        let running = started(how);
        let session = running.user();
        let (_, same) = ec_pair(session, "same", 1);
        ec_pair(session, "same", 1);
        let (_, other) = ec_pair(session, "other", 2);
        running.scene.faults("C_SignInit rv 0x32 1\nC_OpenSession rv 0x30 1");
        let signature = try_sign(session, other, &[1; 32]);
        assert!(signature.is_ok());
        let mechanism = [plain(CKM_ECDSA)];
        assert_eq!(c!(C_SignInit, session, ptr(&mechanism), same), CKR_KEY_HANDLE_INVALID);
        assert!(running.scene.log().contains("two objects"), "{}", running.scene.log());
    }
}

both! {
    fn a_new_key_is_never_made_twice(how) {
        let running = started(how);
        let session = running.user();
        running.scene.faults("C_GenerateKey after 0x30 1");
        let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"once")]);
        assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &template), Err(CKR_DEVICE_ERROR));
        assert_eq!(running.scene.calls("C_GenerateKey"), 1);
        // The next call is answered by the HSM that has come back.
        assert_eq!(find(session, &[bytes(CKA_LABEL, b"once")]).len(), 1);
        try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
    }
}

both! {
    fn an_operation_in_parts_ends_with_the_hsm(how) {
        let running = started(how);
        let session = running.user();
        let key = aes(session, &[yes(CKA_TOKEN), bytes(CKA_ID, b"k")]);
        let iv = [0u8; 16];
        let mechanism = [with(CKM_AES_CBC_PAD, &iv)];
        let (mut out, mut out_len) = ([0u8; 64], 64);
        ok!(C_EncryptInit, session, ptr(&mechanism), key);
        ok!(C_EncryptUpdate, session, ptr(&iv), 16, out.as_mut_ptr(), &raw mut out_len);
        running.scene.faults("C_EncryptUpdate rv 0x32 1");
        out_len = 64;
        assert_eq!(c!(C_EncryptUpdate, session, ptr(&iv), 16, out.as_mut_ptr(), &raw mut out_len), CKR_DEVICE_REMOVED);
        assert_eq!(c!(C_EncryptFinal, session, out.as_mut_ptr(), &raw mut out_len), CKR_OPERATION_NOT_INITIALIZED);
        ok!(C_EncryptInit, session, ptr(&mechanism), key);
        out_len = 64;
        ok!(C_Encrypt, session, ptr(&iv), 16, out.as_mut_ptr(), &raw mut out_len);
    }
}

both! {
    fn a_pin_that_the_hsm_no_longer_takes_is_tried_once(how) {
        let running = started(how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        let before = running.scene.calls("C_Login");
        running.scene.faults("C_SignInit rv 0x32 1\nC_OpenSession rv 0x30 1\nC_Login rv 0xa0");
        for _ in 0..4 {
            assert!(try_sign(session, private, &[1; 32]).is_err());
        }
        assert_eq!(running.scene.calls("C_Login"), before + 1);
        let mut info = CK_SESSION_INFO::default();
        ok!(C_GetSessionInfo, session, &raw mut info);
        assert_eq!(info.state, CKS_RW_PUBLIC_SESSION);
    }
}

both! {
    fn a_login_that_the_hsm_forgets_is_made_again_and_nothing_seems_gone(how) {
        let running = started(how);
        let session = running.user();
        let (public, private) = ec_pair(session, "key", 1);
        for function in ["C_SignInit", "C_Sign", "C_FindObjectsInit", "C_GetSessionInfo", "C_GetAttributeValue", "C_GetObjectSize", "C_WrapKey"] {
            let before = running.scene.calls("C_Login");
            running.scene.faults(&format!("{function} logout 1"));
            let mut size = 0;
            ok!(C_GetObjectSize, session, private, &raw mut size);
            assert_eq!(value(session, private, CKA_LABEL).unwrap(), b"key", "{function}");
            let found = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
            assert_eq!(found.len(), 1, "{function}");
            for key in [private, found[0]] {
                let signature = try_sign(session, key, &[1; 32]).unwrap();
                assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK, "{function}");
            }
            let wrapping = aes(session, &[yes(CKA_EXTRACTABLE)]);
            let (by, mut out, mut out_len) = ([plain(CKM_AES_KEY_WRAP)], [0u8; 512], 512);
            let wrapped = c!(C_WrapKey, session, ptr(&by), wrapping, wrapping, out.as_mut_ptr(), &raw mut out_len);
            // A private session object ends with the login.
            let gone = matches!(wrapped, CKR_WRAPPING_KEY_HANDLE_INVALID | CKR_KEY_HANDLE_INVALID);
            assert!(wrapped == CKR_OK || gone && function == "C_WrapKey", "{function}: {wrapped:#x}");
            assert!(running.scene.calls("C_Login") <= before + 1, "{function}");
        }
        assert!(running.scene.log().contains("has forgotten the login"));
        // A PIN that it does not take any more is tried once.
        let before = running.scene.calls("C_Login");
        running.scene.faults("C_SignInit logout 1\nC_Login rv 0xa0");
        let rv = try_sign(session, private, &[1; 32]);
        assert!(matches!(rv, Err(CKR_USER_NOT_LOGGED_IN | CKR_KEY_HANDLE_INVALID)), "{}", running.scene.log());
        for _ in 0..3 {
            assert!(try_sign(session, private, &[1; 32]).is_err());
            assert!(find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).is_empty());
        }
        assert_eq!(running.scene.calls("C_Login"), before + 1);
        let mut info = CK_SESSION_INFO::default();
        ok!(C_GetSessionInfo, session, &raw mut info);
        assert_eq!(info.state, CKS_RW_PUBLIC_SESSION);
        running.scene.faults("");
        assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
        let private = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
        assert!(try_sign(session, private, &[1; 32]).is_ok());
    }
}

both! {
    fn threads_remind_an_hsm_of_the_login_once(how) {
        let running = started(how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        let sessions: Vec<_> = (0..4).map(|_| running.open()).collect();
        let before = running.scene.calls("C_Login");
        running.scene.faults("C_SignInit logout 1\nC_Login rv 0xa0");
        std::thread::scope(|threads| {
            for session in &sessions {
                threads.spawn(move || (0..5).for_each(|_| drop(try_sign(*session, private, &[1; 32]))));
            }
        });
        assert_eq!(running.scene.calls("C_Login"), before + 1, "one try of a wrong PIN");
        running.scene.faults("");
        assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
        let private = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
        running.scene.faults("C_SignInit logout 1");
        let signed = |session: CK_SESSION_HANDLE| (0..20).all(|_| try_sign(session, private, &[1; 32]).is_ok());
        let all = std::thread::scope(|threads| {
            let running: Vec<_> = sessions.iter().map(|session| threads.spawn(move || signed(*session))).collect();
            running.into_iter().all(|thread| thread.join().unwrap())
        });
        assert!(all, "{}", running.scene.log());
    }
}

both! {
    /// Another thread reminds the HSM between this one's failure and its question whether the HSM has forgotten.
    fn who_asks_late_whether_the_hsm_has_forgotten_the_login_goes_on_too(how) {
        let running = started(how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        let sessions: Vec<_> = (0..4).map(|_| running.open()).collect();
        let uses = |session| {
            let found = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
            found.len() == 1 && [private, found[0]].iter().all(|key| try_sign(session, *key, &[1; 32]).is_ok())
        };
        for function in ["C_SignInit", "C_Sign", "C_FindObjectsInit"] {
            running.scene.faults(&format!("{function} logout 1\nC_GetSessionInfo hang 100 1"));
            let all = std::thread::scope(|threads| {
                let uses = |session: &CK_SESSION_HANDLE| (0..10).all(|_| uses(*session));
                let running: Vec<_> = sessions.iter().map(|session| threads.spawn(move || uses(session))).collect();
                running.into_iter().all(|thread| thread.join().unwrap())
            });
            assert!(all, "{function}: {}", running.scene.log());
        }
    }
}

both! {
    fn while_the_hsm_is_away_calls_fail_quickly_and_afterwards_they_work(how) {
        let running = started(how);
        let session = running.user();
        let (public, private) = ec_pair(session, "key", 1);
        running.scene.faults("C_SignInit rv 0x32\nC_OpenSession rv 0xe0\nC_GetSlotList rv 0x30\nC_Initialize rv 0x30");
        for _ in 0..20 {
            assert!(matches!(try_sign(session, private, &[1; 32]), Err(CKR_DEVICE_ERROR | CKR_DEVICE_REMOVED)));
        }
        assert!(running.scene.calls("C_Initialize") <= 3, "not once per call");
        running.scene.faults("");
        std::thread::sleep(std::time::Duration::from_millis(1200));
        let signature = try_sign(session, private, &[1; 32]).unwrap();
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
    }
}

both! {
    fn a_token_that_is_taken_out_is_away_and_its_objects_are_there_again_with_it(how) {
        let running = started(how);
        let session = running.user();
        let (public, private) = ec_pair(session, "key", 1);
        let gone = "C_SignInit rv 0xe0\nC_OpenSession rv 0xe0\nC_GetTokenInfo rv 0xe0\nC_GetSlotList number 3 0";
        running.scene.faults(gone);
        for _ in 0..3 {
            assert_eq!(try_sign(session, private, &[1; 32]), Err(CKR_DEVICE_REMOVED));
        }
        assert_eq!(slots(), [running.slot()], "the slot stays");
        running.scene.faults("");
        std::thread::sleep(std::time::Duration::from_millis(1200));
        let signature = try_sign(session, private, &[1; 32]).unwrap();
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
        assert!(running.scene.log().contains("the module has 0 tokens"), "{}", running.scene.log());
    }
}

both! {
    fn a_search_that_finds_a_private_key_asks_nothing_else(how) {
        let running = started(how);
        let session = running.user();
        let (public, _) = ec_pair(session, "key", 1);
        let before = running.scene.calls("C_GetSessionInfo");
        for _ in 0..3 {
            assert_eq!(find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).len(), 1);
            assert_eq!(find(session, &[]).len(), 2);
        }
        assert_eq!(running.scene.calls("C_GetSessionInfo"), before);
        // Nothing private was found: the HSM may have forgotten who is logged in.
        assert_eq!(find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)]), [public]);
        assert_eq!(running.scene.calls("C_GetSessionInfo"), before + 1);
    }
}

both! {
    fn an_hsm_that_was_not_lost_after_all_keeps_no_sessions_and_no_login(how) {
        let running = started(how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        // Two operations at once, so that the HSM has two sessions.
        let (other, by) = (running.open(), [plain(CKM_ECDSA)]);
        for _ in 0..3 {
            ok!(C_SignInit, other, ptr(&by), private);
            running.scene.faults("C_Sign rv 0x30 1");
            try_sign(session, private, &[1; 32]).unwrap();
            let (mut out, mut out_len) = ([0u8; 64], 64);
            c!(C_Sign, other, ptr(&[1u8; 32]), 32, out.as_mut_ptr(), &raw mut out_len);
        }
        ok!(C_CloseSession, session);
        ok!(C_CloseSession, other);
        let (opened, closed) = (running.scene.calls("C_OpenSession"), running.scene.calls("C_CloseSession"));
        assert_eq!(opened, closed, "{}", running.scene.log());
        let session = running.open();
        assert_eq!(login(session, CKU_USER, PIN), CKR_OK, "nobody was logged in any more");
    }
}

both! {
    fn threads_connect_again_once_for_all(how) {
        let running = started(how);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        let sessions: Vec<_> = (0..4).map(|_| running.open()).collect();
        let before = running.scene.calls("C_Login");
        running.scene.faults("C_Sign rv 0x32 4\nC_OpenSession rv 0x30 1");
        std::thread::scope(|threads| {
            for session in &sessions {
                threads.spawn(move || (0..20).filter_map(|_| try_sign(*session, private, &[1; 32]).ok()).count() >= 16);
            }
        });
        try_sign(session, private, &[1; 32]).unwrap_or_else(|rv| panic!("{rv:#x}\n{}", running.scene.log()));
        assert!(running.scene.calls("C_Login") <= before + 4, "one login per loss at most");
    }
}

both! {
    fn what_cannot_change_is_not_asked_for_again_and_what_is_gone_shows_soon(how) {
        let running = started(how);
        let session = running.user();
        let (public, private) = ec_pair(session, "key", 1);
        let point = value(session, public, CKA_EC_POINT).unwrap();
        let before = running.scene.calls("C_GetAttributeValue");
        for _ in 0..10 {
            assert_eq!(value(session, public, CKA_EC_POINT).unwrap(), point);
            assert_eq!(value(session, public, CKA_MODULUS), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        }
        assert!(running.scene.calls("C_GetAttributeValue") <= before + 2);
        // Labels may change: each question goes to the HSM.
        let before = running.scene.calls("C_GetAttributeValue");
        value(session, private, CKA_LABEL).unwrap();
        value(session, private, CKA_LABEL).unwrap();
        assert_eq!(running.scene.calls("C_GetAttributeValue"), before + 2);
        // Destroyed by somebody else: believed in for a second at most.
        let output = std::process::Command::new("pkcs11-tool")
            .args(["--module", SOFTHSM, "--login", "--pin", PIN, "--delete-object", "--type", "pubkey", "--id", "01"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        std::thread::sleep(std::time::Duration::from_millis(1200));
        assert_eq!(value(session, public, CKA_EC_POINT), Err(CKR_OBJECT_HANDLE_INVALID));
        ok!(C_Logout, session);
        assert_eq!(c!(C_Finalize, null_mut()), CKR_OK);
        ok!(C_Initialize, null_mut());
    }
}

const MANY: u8 = 70;

both! {
    /// More than a search asks for at once, which is 64. SoftHSM's own searches grow with the square of it.
    fn each_of_many_objects_is_found_again(how) {
        let running = started(how);
        let session = running.user();
        for n in 0..MANY {
            let template = aes_template(&[yes(CKA_TOKEN), no(CKA_PRIVATE), bytes(CKA_ID, &[n]), bytes(CKA_LABEL, b"many")]);
            try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
        }
        // As another application, which has made none of them.
        ok!(C_Finalize, null_mut());
        ok!(C_Initialize, null_mut());
        let session = running.user();
        let mut template = raw(&[bytes(CKA_LABEL, b"many")]);
        ok!(C_FindObjectsInit, session, template.as_mut_ptr(), 1);
        let (mut keys, mut count) = ([0; 300], 0);
        ok!(C_FindObjects, session, keys.as_mut_ptr(), 300, &raw mut count);
        ok!(C_FindObjectsFinal, session);
        assert_eq!(count, CK_ULONG::from(MANY));
        running.scene.faults("C_GetAttributeValue rv 0x32 1\nC_OpenSession rv 0x30 1");
        assert!(value(session, keys[0], CKA_ID).is_ok());
        let ids: Vec<_> = keys[..usize::from(MANY)].iter().map(|key| value(session, *key, CKA_ID).unwrap()[0]).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        assert_eq!(sorted, (0..MANY).collect::<Vec<u8>>());
        let iv = [0u8; 16];
        let mechanism = [with(CKM_AES_CBC_PAD, &iv)];
        for key in &keys[60..usize::from(MANY)] {
            ok!(C_EncryptInit, session, ptr(&mechanism), *key);
            let (mut out, mut out_len) = ([0u8; 64], 64);
            ok!(C_Encrypt, session, ptr(&iv), 16, out.as_mut_ptr(), &raw mut out_len);
        }
    }
}
