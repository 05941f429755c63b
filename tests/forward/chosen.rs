//! Which token of which module, with which PIN: the keys of a `[[slot]]`.

use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{c, ok};

fn info(slot: CK_SLOT_ID) -> CK_TOKEN_INFO {
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, slot, &raw mut info);
    info
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

#[test]
fn a_token_is_chosen_by_serial_or_by_its_place() {
    let scene = Scene::new();
    scene.token("second");
    let running = scene.start(Path::new(SOFTHSM), "token = 'second'");
    let serial = text(&info(running.slot()).serialNumber);
    ok!(C_Finalize, null_mut());
    running.scene.configure(Path::new(SOFTHSM), &format!("serial = '{serial}'"));
    ok!(C_Initialize, null_mut());
    assert_eq!(text(&info(running.slot()).label), "second");
    let mut labels = Vec::new();
    for index in 0..2 {
        ok!(C_Finalize, null_mut());
        running.scene.configure(Path::new(SOFTHSM), &format!("index = {index}"));
        ok!(C_Initialize, null_mut());
        labels.push(text(&info(running.slot()).label));
    }
    labels.sort();
    assert_eq!(labels, ["hsm", "second"]);
    ok!(C_Finalize, null_mut());
    running.scene.configure(Path::new(SOFTHSM), "serial = 'nobody'");
    ok!(C_Initialize, null_mut());
    assert!(slots().iter().all(|slot| info(*slot).flags & CKF_TOKEN_INITIALIZED == 0), "a free software slot alone");
    assert!(running.scene.log().contains("and not this one"));
}

#[test]
fn a_pin_comes_from_the_environment_or_a_command() {
    set_env("HSM_PIN", PIN);
    let running = Scene::new().start(faulty(), "token = 'hsm'\npin = 'env:HSM_PIN'");
    let session = running.open();
    ok!(C_Login, session, CKU_USER, null_mut(), 0);
    ec_pair(session, "key", 1);
    for (source, expected) in [
        (format!("command:echo {PIN}; echo more"), CKR_OK),
        ("command:exit 3".to_owned(), CKR_PIN_INCORRECT),
        ("env:NOT_SET_ANYWHERE".to_owned(), CKR_PIN_INCORRECT),
    ] {
        ok!(C_Finalize, null_mut());
        running.scene.configure(faulty(), &format!("token = 'hsm'\npin = '{source}'"));
        ok!(C_Initialize, null_mut());
        let before = running.scene.calls("C_Login");
        let session = running.open();
        assert_eq!(c!(C_Login, session, CKU_USER, null_mut(), 0), expected, "{source}");
        let sent = usize::from(expected == CKR_OK);
        assert_eq!(running.scene.calls("C_Login"), before + sent, "{source}: without a PIN nothing is sent");
    }
}

#[test]
fn software_and_hsm_stand_side_by_side() {
    let scene = Scene::new();
    scene.configure(Path::new(SOFTHSM), "token = 'hsm'");
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_keyward"));
    program.args(["token", "init", "--label", "soft", "--so-pin-env", "OFFICER", "--pin-env", "USER_PIN"]);
    assert!(program.env("USER_PIN", "4321").env("OFFICER", SO_PIN).output().unwrap().status.success());
    let running = scene.start(Path::new(SOFTHSM), "token = 'hsm'");
    let of = |label: &str| slots().into_iter().find(|slot| text(&info(*slot).label) == label).unwrap();
    let (soft, hsm) = (open(of("soft"), CKF_RW_SESSION), open(of("hsm"), CKF_RW_SESSION));
    // Each has its own PIN, login and keys.
    assert_eq!(login(soft, CKU_USER, "4321"), CKR_OK);
    let mut state = CK_SESSION_INFO::default();
    ok!(C_GetSessionInfo, hsm, &raw mut state);
    assert_eq!(state.state, CKS_RW_PUBLIC_SESSION);
    assert_eq!(login(hsm, CKU_USER, PIN), CKR_OK);
    let (here, there) = (ec_pair(soft, "key", 1), ec_pair(hsm, "key", 1));
    for (session, (public, private)) in [(soft, here), (hsm, there)] {
        let signature = try_sign(session, private, &[1; 32]).unwrap();
        assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
        assert_eq!(find(session, &[bytes(CKA_LABEL, b"key")]).len(), 2);
    }
    assert_eq!(try_sign(soft, there.1, &[1; 32]), Err(CKR_KEY_HANDLE_INVALID));
    ok!(C_Logout, soft);
    try_sign(hsm, there.1, &[1; 32]).unwrap();
    drop(running);
}

#[test]
fn an_object_that_was_renamed_is_found_again_after_a_loss() {
    let running = Scene::new().start(faulty(), "token = 'hsm'");
    let session = running.user();
    let (_, private) = ec_pair(session, "old", 1);
    let mut label = raw(&[bytes(CKA_LABEL, b"new"), bytes(CKA_ID, b"other")]);
    ok!(C_SetAttributeValue, session, private, label.as_mut_ptr(), 2);
    running.scene.faults("C_SignInit rv 0x32 1\nC_OpenSession rv 0x30 1");
    try_sign(session, private, &[1; 32]).unwrap();
}

/// NSS's own module does nothing without such a string; that it has read this one shows in the database that it makes.
#[test]
fn a_module_gets_its_string_at_initialise() {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let softokn = places.into_iter().map(|place| Path::new(place).join("libsoftokn3.so")).find(|path| path.exists());
    let softokn = softokn.expect("NSS's libsoftokn3.so (libnss3)");
    let scene = Scene::new();
    let database = scene.place.join("nss");
    std::fs::create_dir_all(&database).unwrap();
    let args = format!("configdir=''sql:{}'' certPrefix='''' keyPrefix='''' secmod=''''", database.display());
    let args = args.replace("''", "'");
    let running = scene.start(&softokn, &format!("token = 'NSS Certificate DB'\ninit_args = \"{args}\""));
    assert_eq!(text(&info(running.slot()).label), "NSS Certificate DB", "{}", running.scene.log());
    assert!(database.join("cert9.db").exists() && database.join("key4.db").exists());
}
