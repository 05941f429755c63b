//! The life of keys that several HSMs hold as one: an overlay over the slot.

use cryptoki_sys::*;
use serde_json::Value as Json;

use crate::ha::WRAP;
use crate::overlay::{REFUSED, encrypts, keyward, named, refused, signs, ulong};
use crate::scene::*;
use crate::several::*;

fn governed() -> (Together, CK_SESSION_HANDLE) {
    let several = Several::new(2, &format!("{QUICK}{WRAP}overlay = 'both'\n"));
    keyward(&["overlay", "init", "--token", "both", "--so-pin-env", "OVERLAY_PIN"]);
    let together = several.start();
    let session = together.user();
    shared_key(session);
    (together, session)
}

/// In another process, as the user.
fn key(command: &str, label: &str, more: &[&str]) -> Json {
    keyward(&[&["key", command, "--label", label, "--token", "both", "--pin-env", "USER_PIN"], more].concat())
}

fn private(session: CK_SESSION_HANDLE, label: &str) -> CK_OBJECT_HANDLE {
    let found = find(session, &[bytes(CKA_LABEL, label.as_bytes()), number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    assert_eq!(found.len(), 1, "{label}");
    found[0]
}

#[test]
fn a_suspended_key_signs_on_no_member_whichever_is_there() {
    let (together, session) = governed();
    let several = &together.several;
    let (_, web) = ec_pair(session, "web", 1);
    let (_, other) = ec_pair(session, "other", 2);
    assert_eq!(signs(session, web), CKR_OK);
    let unique = value(session, web, CKA_UNIQUE_ID).unwrap();
    assert!(unique.starts_with(b"kw-"), "none of a member's own");
    key("suspend", "web", &["--reason", "under inquiry"]);
    assert_eq!((signs(session, web), signs(session, other)), (REFUSED, CKR_OK));
    several.dies("east");
    assert_eq!((signs(session, web), signs(session, other)), (REFUSED, CKR_OK), "on the second member");
    // An application that has never met the first.
    let session = together.again();
    let (web, other) = (private(session, "web"), private(session, "other"));
    assert_eq!(value(session, web, CKA_UNIQUE_ID).unwrap(), unique);
    assert_eq!(ulong(session, web, CKA_KEYWARD_STATE), Some(6));
    assert_eq!((signs(session, web), signs(session, other)), (REFUSED, CKR_OK));
    several.lives("east");
    assert_eq!(signs(session, web), REFUSED);
    several.dies("west");
    assert_eq!(signs(session, web), REFUSED);
    key("resume", "web", &["--reason", "closed"]);
    assert_eq!(signs(session, web), CKR_OK);
}

const CKA_KEYWARD_STATE: CK_ATTRIBUTE_TYPE = keyward::token::CKA_KEYWARD_STATE;

#[test]
fn a_rotated_key_has_its_versions_on_every_member() {
    let (together, session) = governed();
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"db"), bytes(CKA_ID, b"1")]);
    let first = try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
    key("rotate", "db", &[]);
    let newest = named(session, "db");
    assert_eq!(newest.len(), 1);
    assert_eq!((encrypts(session, first), encrypts(session, newest[0])), (REFUSED, CKR_OK));
    for name in ["east", "west"] {
        assert_eq!(together.several.keys(name), ["db", "db#v2", "shared"], "{name}");
    }
    together.several.dies("east");
    assert_eq!((encrypts(session, first), encrypts(session, newest[0])), (REFUSED, CKR_OK));
    assert_eq!(value(session, first, CKA_LABEL).unwrap(), b"db#v1");
}

#[test]
fn a_key_that_is_purged_while_a_member_is_away_is_gone_there_too() {
    let (together, session) = governed();
    let several = &together.several;
    ec_pair(session, "gone", 1);
    ec_pair(session, "stays", 2);
    several.dies("west");
    key("purge", "gone", &["--reason", "end of contract"]);
    several.lives("west");
    several.dies("east");
    let session = together.again();
    assert!(named(session, "gone").is_empty());
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"gone"), number(CKA_KEYWARD_STATE, 5)]).len(), 2, "its tombstones");
    assert_eq!(signs(session, private(session, "stays")), CKR_OK);
    assert_eq!(several.keys("west"), ["shared", "stays"]);
}

#[test]
fn a_record_goes_only_where_no_member_has_the_key() {
    let (together, session) = governed();
    let several = &together.several;
    for (label, id) in [("one", 1), ("both", 2)] {
        ec_pair(session, label, id);
    }
    let delete = |name: &str, id: &str| {
        for kind in ["privkey", "pubkey"] {
            several.tool(name, &["--delete-object", "--type", kind, "--id", id]);
        }
    };
    delete("east", "01");
    delete("east", "02");
    delete("west", "02");
    let words = ["overlay", "prune", "--token", "both", "--pin-env", "USER_PIN"];
    several.dies("west");
    refused(&words);
    several.lives("west");
    let pruned = keyward(&words);
    let labels: Vec<_> = pruned["records"].as_array().unwrap().iter().map(|one| one["label"].as_str()).collect();
    assert_eq!((labels, &pruned["removed"]), (vec![Some("both"); 2], &2.into()), "{pruned}");
    let session = together.again();
    assert_eq!(signs(session, private(session, "one")), CKR_OK);
}
