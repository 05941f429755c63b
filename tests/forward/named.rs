//! Users with names (`C_LoginUser`) of what stands behind an overlay, or behind several as one: Keyward behind Keyward is the module that
//! knows of names.

use std::process::Command;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::modules::{add_users, inner, login_as};
use crate::overlay::{OVERLAY_PIN, REFUSED, keyward, signs};
use crate::scene::*;
use crate::several::try_create;
use crate::{c, ok};

/// Who an inner one has seen at work, from its own record.
fn users_of(scene: &Scene, inner: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.arg("--config").arg(scene.place.join(format!("{inner}.toml")));
    let output = command.args(["--json", "audit", "show", "--operation", "create"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = lines.as_array().unwrap_or_else(|| panic!("{lines}"));
    events.iter().map(|event| event["user"].as_str().unwrap_or_default().to_owned()).collect()
}

fn with_record(scene: &Scene, inner: &str) {
    let path = scene.place.join(format!("{inner}.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{text}[audit]\ndirectory = '{inner}-audit'\n")).unwrap();
}

fn private_data(session: CK_SESSION_HANDLE, label: &str) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let class = number(CKA_CLASS, CKO_DATA);
    try_create(session, &[class, yes(CKA_TOKEN), yes(CKA_PRIVATE), bytes(CKA_LABEL, label.as_bytes())])
}

#[test]
fn a_name_goes_through_an_overlay_to_the_module() {
    let scene = Scene::new();
    let lines = format!("{}\noverlay = 'hsm'", inner(&scene, "inner"));
    add_users(&scene, "inner", &["anna"]);
    scene.configure(&library(), &lines);
    keyward(&["overlay", "init", "--token", "inner", "--so-pin-env", "OVERLAY_PIN"]);
    let running = scene.start(&library(), &lines);
    let session = running.open();
    assert_eq!(login_as(session, "anna", "anna-4321"), CKR_PIN_INCORRECT);
    assert_eq!(login_as(session, "nobody", "anna-1234"), CKR_PIN_INCORRECT);
    assert_eq!(login_as(session, "anna", "anna-1234"), CKR_OK);
    assert_eq!(login_as(session, "anna", "anna-1234"), CKR_USER_ALREADY_LOGGED_IN);
    assert_eq!(login(session, CKU_USER, PIN), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    assert_eq!(login(session, CKU_SO, OVERLAY_PIN), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    let (public, private) = ec_pair(session, "key", 1);
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
    // A policy of the overlay may name the HSM's users.
    let policy = running.scene.place.join("policy.toml");
    let class = "[[class]]\nname = 'c'\nmatch = { all = true }\nwho = { names = ['bert'] }\n";
    let apply = |class: &str| {
        std::fs::write(&policy, format!("version = 1\nname = 'p'\n{class}")).unwrap();
        let policy = policy.to_str().unwrap();
        keyward(&["policy", "apply", policy, "--token", "inner", "--so-pin-env", "OVERLAY_PIN"]);
    };
    apply(class);
    assert_eq!(signs(session, private), REFUSED);
    apply(&class.replace("bert", "anna"));
    assert_eq!((signs(session, private), signs(session, private)), (CKR_OK, CKR_OK));
    // The program logs in to the same token without a name; the state counts for anna too.
    let words = ["key", "suspend", "--label", "key", "--token", "inner", "--pin-env", "USER_PIN", "--reason", "test"];
    keyward(&words);
    assert_eq!(signs(session, private), REFUSED);
    ok!(C_Logout, session);
    // The overlay's administrator has no name, whoever the module knows.
    let (name, pin) = (b"anna", OVERLAY_PIN.as_bytes());
    assert_eq!(c!(C_LoginUser, session, CKU_SO, ptr(pin), len(pin), ptr(name), 4), CKR_USER_TYPE_INVALID);
    assert_eq!(login(session, CKU_SO, OVERLAY_PIN), CKR_OK);
}

#[test]
fn a_name_goes_to_every_member_of_several_and_to_one_that_comes_back() {
    let scene = Scene::new();
    let mut text = "tokens = 'keyward'\ndevice_secret = 'device'\nfree_slot = 'never'\n[log]\nlevel = 'debug'\n[[slot]]\nkind = 'ha'\n\
                    label = 'both'\ncopies = 2\nfailures = 1\nretry = 0.1\n"
        .to_owned();
    for name in ["east", "west"] {
        let lines = inner(&scene, name);
        add_users(&scene, name, &["anna"]);
        with_record(&scene, name);
        let module = library();
        text.push_str(&format!("[[slot.member]]\nname = '{name}'\nmodule = '{}'\n{lines}\n", module.display()));
    }
    std::fs::write(scene.place.join("keyward.toml"), text).unwrap();
    ok!(C_Initialize, null_mut());
    let running = Running { scene };
    let session = running.open();
    assert_eq!(login_as(session, "anna", "anna-4321"), CKR_PIN_INCORRECT);
    assert_eq!(login_as(session, "anna", "anna-1234"), CKR_OK);
    assert_eq!(login_as(session, "bert", "bert-1234"), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    assert_eq!(login(session, CKU_USER, PIN), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    private_data(session, "both have it").unwrap_or_else(|rv| panic!("{rv:#x}\n{}", running.scene.log()));
    let log = running.scene.log();
    let helpers: Vec<i32> =
        log.lines().filter_map(|line| line.split_once(": in process ")?.1.trim().parse().ok()).collect();
    assert_eq!(helpers.len(), 2, "{log}");
    // An application that makes objects alone, and never reads, finds both of them again.
    // SAFETY: the helpers' own numbers, from the log.
    helpers.iter().for_each(|helper| assert_eq!(unsafe { libc::kill(*helper, libc::SIGKILL) }, 0));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while private_data(session, "and this").is_err() {
        assert!(std::time::Instant::now() < until, "{}", running.scene.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ok!(C_Logout, session);
    for name in ["east", "west"] {
        let users = users_of(&running.scene, name);
        assert!(users.len() >= 2 && users.iter().all(|user| user == "anna"), "{name}: {users:?}");
    }
}
