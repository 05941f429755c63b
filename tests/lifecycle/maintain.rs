//! `keyward maintain`: what is due is done once, and what ends soon is told.

use cryptoki_sys::*;
use keyward::token::*;
use serde_json::Value;

use crate::harness::*;
use crate::program::{key, run};

fn maintain(more: &[&str]) -> (i32, Value) {
    let mut arguments = vec!["maintain", "--pin-env", "KEYWARD_TEST_PIN"];
    arguments.extend(more);
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.code().unwrap(), report)
}

/// What was said of a key.
fn of(report: &Value, label: &str) -> Vec<String> {
    let notes = report["notes"].as_array().unwrap().iter().filter(|note| note["key"]["label"] == label);
    notes.map(|note| note["what"].as_str().unwrap().to_owned()).collect()
}

fn aes(session: CK_SESSION_HANDLE, label: &str) -> CK_OBJECT_HANDLE {
    create(session, secret(CKK_AES).yes(CKA_TOKEN).bytes(CKA_LABEL, label.as_bytes()).bytes(CKA_VALUE, &[1; 16]))
}

fn number(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> CK_ULONG {
    CK_ULONG::from_ne_bytes(value(session, object, ty).unwrap().try_into().unwrap())
}

#[test]
fn what_is_due_is_done_once() {
    let running = start();
    let session = running.session;
    let ended = aes(session, "m-ended");
    key("schedule", "m-ended", &["--activation", "-2d", "--deactivation", "-1h"]);
    aes(session, "m-window");
    key("destroy", "m-window", &["--window", "0s"]);
    aes(session, "m-soon");
    key("schedule", "m-soon", &["--deactivation", "+10d"]);
    let (_, would) = maintain(&["--dry-run"]);
    assert_eq!((of(&would, "m-ended"), of(&would, "m-window")), (vec!["deactivated".into()], vec!["destroyed".into()]));
    assert_eq!(number(session, ended, CKA_KEYWARD_STATE), 2, "a dry run writes nothing");
    let (exit, done) = maintain(&[]);
    assert_eq!((of(&done, "m-ended"), of(&done, "m-window")), (vec!["deactivated".into()], vec!["destroyed".into()]));
    assert_eq!(of(&done, "m-soon"), ["warning"]);
    assert_eq!(exit, 9, "something needs a person");
    assert_eq!(number(session, ended, CKA_KEYWARD_STATE), 3);
    let (exit, again) = maintain(&[]);
    assert!(of(&again, "m-ended").is_empty() && of(&again, "m-window").is_empty(), "{again}");
    assert_eq!((exit, of(&again, "m-soon")), (9, vec!["warning".into()]));
    let (_, later) = maintain(&["--warn", "5d"]);
    assert!(of(&later, "m-soon").is_empty());
    key("deactivate", "m-soon", &[]);
}

#[test]
fn the_policy_has_keys_rotated_at_the_end_of_their_period_and_pairs_staged_ahead_of_it() {
    let running = start();
    let session = running.session;
    let old = aes(session, "auto-1");
    key("schedule", "auto-1", &["--activation", "-2d"]);
    let named = |template: Template| template.yes(CKA_TOKEN).bytes(CKA_LABEL, b"auto-pair").bytes(CKA_ID, b"ap");
    pair(session, CKM_EC_KEY_PAIR_GEN, named(Template::new().bytes(CKA_EC_PARAMS, P256)), named(Template::new()));
    let text = "[protection]\nallow_wrap_and_decrypt = true\nallow_unwrap_and_encrypt = true\n\
                [[class]]\nname = 'auto'\nmatch = { label = ['auto-1'] }\ncryptoperiod = '1d'\nrotation = 'automatic'\n\
                [[class]]\nname = 'pairs'\nmatch = { label = ['auto-pair'] }\ncryptoperiod = '10d'\nwarn = '30d'\n\
                rotation = 'automatic'\n";
    let _policy = crate::policy::in_force(text);
    let (exit, done) = maintain(&[]);
    assert_eq!(
        (of(&done, "auto-1"), of(&done, "auto-pair"), exit),
        (vec!["rotated".into()], vec!["staged".into()], 9),
        "{done}"
    );
    let newest = find(session, Template::new().bytes(CKA_LABEL, b"auto-1"));
    assert!(newest.len() == 1 && newest[0] != old);
    assert_eq!(number(session, newest[0], CKA_KEYWARD_VERSION), 2);
    let (_, again) = maintain(&[]);
    assert!(of(&again, "auto-1").is_empty(), "idempotent: {again}");
    assert_eq!(of(&again, "auto-pair"), ["warning"], "until a person activates what is staged");
    let request = key("request", "auto-pair#v2", &["--subject", "CN=auto"]);
    assert!(request["csr"].as_str().unwrap().contains("BEGIN CERTIFICATE REQUEST"));
    key("activate", "auto-pair#v2", &["--overlap", "0s"]);
}
