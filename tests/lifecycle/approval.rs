//! M-of-N approvals: what the policy marks waits for the signatures of several people.

use std::path::{Path, PathBuf};

use cryptoki_sys::*;
use keyward::token::*;

use crate::harness::*;
use crate::policy::in_force;
use crate::program::{key, key_arguments, keyward, refused};
use crate::{c, ok};

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keyward-lifecycle-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A new approver: the key's file and the policy's line.
fn approver(name: &str) -> (PathBuf, String) {
    let file = scratch(&format!("{name}.key"));
    let made = keyward(&["approval", "new-key", file.to_str().unwrap(), "--name", name]);
    (file, format!("{name} = '{}'\n", made["public_key"].as_str().unwrap()))
}

fn serial(running: &Running) -> String {
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot, &raw mut info);
    String::from_utf8(info.serialNumber.to_vec()).unwrap().trim_end().to_owned()
}

fn sign(key: &Path, name: &str, serial: &str, what: [&str; 2]) -> PathBuf {
    let output = scratch(&format!("{name}.approval"));
    let key = key.to_str().unwrap();
    let out = output.to_str().unwrap();
    keyward(&["approval", "sign", "--key", key, "--name", name, "--serial", serial, what[0], what[1], "--output", out]);
    output
}

#[test]
fn a_destruction_waits_for_two_approvals_of_different_people() {
    let running = start();
    let session = running.session;
    let serial = serial(&running);
    let ((alice_key, alice), (bob_key, bob)) = (approver("alice"), approver("bob"));
    let text = format!(
        "[approvers]\n{alice}{bob}[[class]]\nname = 'vital'\nmatch = {{ label = ['vital-*'] }}\napprove_destroy = 2\n\
         [protection]\nallow_wrap_and_decrypt = true\nallow_unwrap_and_encrypt = true\n"
    );
    let _policy = in_force(&text);
    let template = secret(CKK_AES).yes(CKA_TOKEN).bytes(CKA_LABEL, b"vital-1").bytes(CKA_VALUE, &[1; 16]);
    let handle = create(session, template);
    let unique = String::from_utf8(value(session, handle, CKA_UNIQUE_ID).unwrap()).unwrap();
    assert_eq!(c!(C_DestroyObject, session, handle), CKR_ACTION_PROHIBITED, "nor by an application alone");
    let (exit, said) = refused(&key_arguments("purge", "vital-1", &[]));
    assert!(exit == 6 && said.contains("2 approvals"), "{said}");
    let by_alice = sign(&alice_key, "alice", &serial, ["--destroy", &unique]);
    let twice = ["--approval", by_alice.to_str().unwrap(), "--approval", by_alice.to_str().unwrap()];
    let (exit, said) = refused(&key_arguments("purge", "vital-1", &twice));
    assert!(exit == 6 && said.contains("1 are there"), "one person counts once: {said}");
    let of_other = sign(&bob_key, "bob", &serial, ["--destroy", "another-key"]);
    let both = |bob: &PathBuf| {
        ["--approval", by_alice.to_str().unwrap(), "--approval", bob.to_str().unwrap()].map(str::to_owned)
    };
    let arguments = both(&of_other);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (exit, said) = refused(&key_arguments("purge", "vital-1", &arguments));
    assert!(exit == 6 && said.contains("something else"), "{said}");
    assert_eq!(find(session, Template::new().bytes(CKA_LABEL, b"vital-1")), [handle]);
    let by_bob = sign(&bob_key, "bob", &serial, ["--destroy", &unique]);
    let arguments = both(&by_bob);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    key("purge", "vital-1", &arguments);
    assert!(find(session, Template::new().bytes(CKA_LABEL, b"vital-1")).is_empty());
    assert_eq!(find(session, Template::new().bytes(CKA_LABEL, b"vital-1").number(CKA_KEYWARD_STATE, 5)).len(), 1);
}

#[test]
fn so_does_one_of_a_class_that_is_matched_by_the_id() {
    let running = start();
    let session = running.session;
    let (key_file, dora) = approver("dora");
    let text = format!(
        "[approvers]\n{dora}[[class]]\nname = 'numbered'\nmatch = {{ id = ['a1*'] }}\napprove_destroy = 1\n\
         [protection]\nallow_wrap_and_decrypt = true\nallow_unwrap_and_encrypt = true\n"
    );
    let _policy = in_force(&text);
    let template = secret(CKK_AES).yes(CKA_TOKEN).bytes(CKA_LABEL, b"numbered").bytes(CKA_ID, &[0xa1, 2]);
    let handle = create(session, template.bytes(CKA_VALUE, &[1; 16]));
    assert_eq!(c!(C_DestroyObject, session, handle), CKR_ACTION_PROHIBITED);
    let (exit, said) = refused(&key_arguments("purge", "numbered", &[]));
    assert!(exit == 6 && said.contains("1 approvals"), "{said}");
    let unique = String::from_utf8(value(session, handle, CKA_UNIQUE_ID).unwrap()).unwrap();
    let by_dora = sign(&key_file, "dora", &serial(&running), ["--destroy", &unique]);
    key("purge", "numbered", &["--approval", by_dora.to_str().unwrap()]);
    assert!(find(session, Template::new().bytes(CKA_LABEL, b"numbered")).is_empty());
}

#[test]
fn the_next_policy_waits_for_approvals_where_this_one_says_so() {
    let running = start();
    let serial = serial(&running);
    let (carol_key, carol) = approver("carol");
    let policy = in_force(&format!("approve_policy = 1\n[approvers]\n{carol}"));
    let next = scratch("next.toml");
    std::fs::write(&next, crate::policy::NEUTRAL).unwrap();
    let next_text = next.to_str().unwrap();
    let apply = ["policy", "apply", next_text, "--so-pin-env", "KEYWARD_TEST_PIN"];
    let (exit, said) = refused(&apply);
    assert!(exit == 6 && said.contains("1 approvals"), "{said}");
    let by_carol = sign(&carol_key, "carol", &serial, ["--policy", next_text]);
    let with = [&apply[..], &["--approval", by_carol.to_str().unwrap()]].concat();
    keyward(&with);
    drop(policy);
}
