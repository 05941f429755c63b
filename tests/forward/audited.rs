//! Audit in front of an HSM: what is on record, and what that costs in calls of the HSM.

use std::path::Path;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use serde_json::Value as Json;

use crate::scene::*;
use crate::{both, ok};

const AUDIT: &str = "[audit]\ndirectory = 'audit'\nkey_use = 'best_effort'";

fn wrapped(session: CK_SESSION_HANDLE, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE) {
    let (by, mut out, mut out_len) = ([plain(CKM_AES_KEY_WRAP)], [0u8; 64], 64);
    ok!(C_WrapKey, session, ptr(&by), wrapping, key, out.as_mut_ptr(), &raw mut out_len);
}

/// The functions of the module that some uses of keys call, once the keys are known; and how long it all took.
fn called(how: &str) -> (Vec<String>, Duration, Running) {
    let running = Scene::new().start(faulty(), how);
    let session = running.user();
    let (_, private) = ec_pair(session, "key", 1);
    let (wrapping, key) = (aes(session, &[]), aes(session, &[yes(CKA_EXTRACTABLE)]));
    let began = Instant::now();
    let trace = running.scene.place.join("trace");
    for round in 0..4 {
        if round == 1 {
            std::fs::write(&trace, "").unwrap();
        }
        try_sign(session, private, &[1; 32]).unwrap();
        wrapped(session, wrapping, key);
    }
    let trace = std::fs::read_to_string(&trace).unwrap();
    (trace.lines().map(str::to_owned).collect(), began.elapsed(), running)
}

/// The lines of the record with this operation.
fn recorded(running: &Running, operation: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(running.scene.place.join("audit/audit.log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    lines.filter(|line| line["op"] == operation).collect()
}

both! {
    fn a_use_on_record_asks_the_hsm_nothing_more(how) {
        let (alone, _, running) = called(how);
        drop(running);
        let (mut audited, took, running) = called(&format!("{how}\n{AUDIT}"));
        let asked = audited.len() - alone.len();
        // A key may be called otherwise after a second: three keys, on a machine that is slow.
        assert!(asked <= 3 * (took + Duration::from_millis(50)).as_secs() as usize, "{audited:?} in {took:?}, {alone:?} without");
        if asked > 0 {
            audited.retain(|name| name != "C_GetAttributeValue");
        }
        assert_eq!(audited, alone);
        assert_eq!((recorded(&running, "sign").len(), recorded(&running, "wrap").len()), (4, 4));
    }
}

/// Gives a private key another label, at the HSM's own module.
fn rename_beside_us(label: &str, new: &str) {
    // SAFETY: as an application does that has loaded the module too; its library stays loaded.
    let other = unsafe { Pkcs11::new(SOFTHSM).unwrap() };
    macro_rules! direct {
        ($name:ident $(, $arg:expr)*) => {
            // SAFETY: each pointer leads to what lives longer than the call.
            unsafe { other.$name($($arg),*) }
        };
    }
    let ours = direct!(C_Initialize, null_mut()) == CKR_OK;
    let (mut slot, mut count, mut session, mut key, mut found) = ([0; 4], 4, 0, 0, 0);
    assert_eq!(direct!(C_GetSlotList, CK_TRUE, slot.as_mut_ptr(), &raw mut count), CKR_OK);
    let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    assert_eq!(direct!(C_OpenSession, slot[0], flags, null_mut(), None, &raw mut session), CKR_OK);
    let pin = PIN.as_bytes();
    let logged_in = direct!(C_Login, session, CKU_USER, ptr(pin), len(pin));
    assert!(matches!(logged_in, CKR_OK | CKR_USER_ALREADY_LOGGED_IN), "{logged_in:#x}");
    let mut template = raw(&[bytes(CKA_LABEL, label.as_bytes()), number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    assert_eq!(direct!(C_FindObjectsInit, session, template.as_mut_ptr(), 2), CKR_OK);
    assert_eq!(direct!(C_FindObjects, session, &raw mut key, 1, &raw mut found), CKR_OK);
    assert_eq!((direct!(C_FindObjectsFinal, session), found), (CKR_OK, 1));
    let mut template = raw(&[bytes(CKA_LABEL, new.as_bytes())]);
    assert_eq!(direct!(C_SetAttributeValue, session, key, template.as_mut_ptr(), 1), CKR_OK);
    assert_eq!(direct!(C_CloseSession, session), CKR_OK);
    if ours {
        direct!(C_Finalize, null_mut());
    }
}

both! {
    fn the_record_tells_a_new_name_at_once_or_a_second_after_others_gave_it(how) {
        let running = Scene::new().start(Path::new(SOFTHSM), &format!("{how}\n{AUDIT}"));
        let session = running.user();
        let (_, private) = ec_pair(session, "first", 0xab);
        try_sign(session, private, &[1; 32]).unwrap();
        let mut label = raw(&[bytes(CKA_LABEL, b"second")]);
        ok!(C_SetAttributeValue, session, private, label.as_mut_ptr(), 1);
        try_sign(session, private, &[1; 32]).unwrap();
        rename_beside_us("second", "third");
        std::thread::sleep(Duration::from_millis(1100));
        try_sign(session, private, &[1; 32]).unwrap();
        let lines = recorded(&running, "sign");
        let named: Vec<_> = lines.iter().map(|line| (line["key"].as_str(), line["label"].as_str())).collect();
        // SoftHSM has no unique IDs.
        assert_eq!(named, ["first", "second", "third"].map(|label| (Some("id:ab"), Some(label))));
    }
}

/// By their IDs, where the HSM has no unique ones: they would else be left out of the report.
#[test]
fn a_report_counts_the_keys_of_an_hsm() {
    let scene = Scene::new();
    let running = scene.start(Path::new(SOFTHSM), &format!("token = 'hsm'\n{AUDIT}"));
    let session = running.user();
    let (_, private) = ec_pair(session, "key", 7);
    for _ in 0..3 {
        try_sign(session, private, &[1; 32]).unwrap();
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyward"));
    let output = command.args(["--json", "audit", "report"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("id:07"), "{text}");
}
