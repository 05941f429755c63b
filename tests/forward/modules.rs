//! Modules that are missing, no modules at all, of a wrong version, or ourselves; and who else has them.

use std::path::Path;
use std::process::Command;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{c, ok};

/// What the log says of a module that cannot be had; the other tokens stay.
fn refused(module: &Path) -> String {
    let running = Scene::new().start(module, "token = 'hsm'");
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot(), &raw mut info);
    assert_eq!(info.flags & CKF_TOKEN_INITIALIZED, 0, "the software token's free slot alone");
    running.scene.log()
}

#[test]
fn a_module_that_cannot_be_had_costs_its_slot_and_a_line() {
    assert!(refused(Path::new("/nowhere/module.so")).contains("cannot be looked at"));
    assert!(refused(Path::new("/etc/hostname")).contains("cannot be loaded"));
    let math = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6", "/lib64/libm.so.6"];
    let math = math.into_iter().map(Path::new).find(|path| path.exists()).unwrap();
    assert!(refused(math).contains("no PKCS#11 module"));
}

#[test]
fn a_module_of_an_unknown_version_is_refused() {
    // SAFETY: this test's process sets it before the module is loaded, and removes it again.
    unsafe { std::env::set_var("FAULTY_VERSION", "7") };
    let log = refused(faulty());
    // SAFETY: as above.
    unsafe { std::env::remove_var("FAULTY_VERSION") };
    assert!(log.contains("known version"), "{log}");
}

/// In another process, whose module is this very library.
#[test]
fn our_own_library_is_refused() {
    let scene = Scene::new();
    scene.configure(&library(), "index = 0");
    let output = Command::new("pkcs11-tool").arg("--module").arg(library()).arg("-L").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(scene.log().contains("Keyward's own library"), "{}", scene.log());
}

/// Keyward behind Keyward: a configuration of its own with a token of that label, and the lines of a slot that leads to it.
pub fn inner(scene: &Scene, name: &str) -> String {
    let inner = scene.place.join(format!("{name}.toml"));
    std::fs::write(&inner, format!("tokens = '{name}-tokens'\ndevice_secret = '{name}-secret/device'\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.arg("--config").arg(&inner).args(["token", "init", "--label", name]);
    command.args(["--so-pin-env", "OFFICER", "--pin-env", "USER_PIN"]).env("OFFICER", SO_PIN).env("USER_PIN", PIN);
    assert!(command.status().unwrap().success());
    format!("token = '{name}'\nisolate = true\nenvironment = {{ KEYWARD_CONF = '{}' }}", inner.display())
}

/// Further users of an inner one, whose PINs are their names and -1234.
pub fn add_users(scene: &Scene, inner: &str, names: &[&str]) {
    for name in names {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.arg("--config").arg(scene.place.join(format!("{inner}.toml")));
        command.args(["user", "add", name, "--role", "user", "--role", "operator", "--token", inner]);
        command.args(["--so-pin-env", "OFFICER", "--new-pin-env", "NEW"]);
        let added = command.env("OFFICER", SO_PIN).env("NEW", format!("{name}-1234")).output().unwrap();
        assert!(added.status.success(), "{added:?}");
    }
}

pub fn login_as(session: CK_SESSION_HANDLE, name: &str, pin: &str) -> CK_RV {
    let (name, pin) = (name.as_bytes(), pin.as_bytes());
    c!(C_LoginUser, session, CKU_USER, ptr(pin), len(pin), ptr(name), len(name))
}

/// The name goes on to the module, and once more after a loss.
#[test]
fn a_user_of_the_module_logs_in_by_name() {
    let scene = Scene::new();
    let lines = inner(&scene, "inner");
    add_users(&scene, "inner", &["anna"]);
    let running = scene.start(&library(), &lines);
    let session = running.open();
    assert_eq!(login_as(session, "anna", "anna-4321"), CKR_PIN_INCORRECT);
    assert_eq!(login_as(session, "anna", "anna-1234"), CKR_OK);
    assert_eq!(login_as(session, "anna", "anna-1234"), CKR_USER_ALREADY_LOGGED_IN);
    assert_eq!(login_as(session, "bert", "bert-1234"), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    assert_eq!(login(session, CKU_USER, PIN), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    let (public, private) = ec_pair(session, "key", 1);
    let log = running.scene.log();
    let helper: i32 = log.lines().find_map(|line| line.split_once(": in process ")?.1.trim().parse().ok()).unwrap();
    // SAFETY: the helper's own number, from the log.
    unsafe { libc::kill(helper, libc::SIGKILL) };
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
    assert!(running.scene.log().contains("connected again"));
    ok!(C_Logout, session);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK, "the user without a name");
}

#[test]
fn a_module_without_names_is_told_none() {
    let running = Scene::new().start(faulty(), "token = 'hsm'");
    let session = running.open();
    assert_eq!(login_as(session, "anna", PIN), CKR_USER_TYPE_INVALID);
    assert_eq!(running.scene.calls("C_Login"), 0);
    assert_eq!(login_as(session, "", PIN), CKR_OK);
}

/// Each slot has the environment, the deadline and the arguments that it says, though the module and the token's label are the same.
#[test]
fn slots_that_say_other_things_of_one_isolated_module_have_a_process_each() {
    let scene = Scene::new();
    let (one, two) = (inner(&scene, "one"), inner(&scene, "two"));
    let head = format!("[[slot]]\nkind = 'forward'\nmodule = '{}'\n", library().display());
    let running = scene.start(&library(), &format!("{one}\n{head}{two}\n{head}{two}\ndeadline = 5"));
    let slots = slots();
    assert_eq!(slots.len(), 3);
    let [first, second, third] = slots[..] else { unreachable!() };
    let session = open(first, CKF_RW_SESSION);
    assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
    ec_pair(session, "here", 1);
    let seen = |slot| {
        let session = open(slot, CKF_RW_SESSION);
        assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
        find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).len()
    };
    assert_eq!((seen(second), seen(third)), (0, 0));
    assert_eq!(running.scene.log().matches(": in process ").count(), 3);
}

/// In the application a module is initialised once: two slots cannot have it in two ways.
#[test]
fn slots_that_contradict_each_other_are_refused_where_the_configuration_is_read() {
    let scene = Scene::new();
    let other = scene.place.join("another-name.so");
    std::os::unix::fs::symlink(SOFTHSM, &other).unwrap();
    let second =
        format!("init_args = 'a'\n[[slot]]\nkind = 'forward'\nmodule = '{}'\ninit_args = 'b'", other.display());
    scene.configure(Path::new(SOFTHSM), &second);
    assert_eq!(c!(C_Initialize, null_mut()), CKR_GENERAL_ERROR);
    for words in [&["doctor"][..], &["config", "show"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_keyward")).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            !output.status.success() && said.contains("init_args is not what an earlier slot says"),
            "{words:?}: {said}"
        );
    }
    scene.configure(Path::new(SOFTHSM), &format!("{second}\nisolate = true"));
    ok!(C_Initialize, null_mut());
    ok!(C_Finalize, null_mut());
}

#[test]
fn keyward_stands_behind_keyward_with_a_configuration_of_its_own() {
    let scene = Scene::new();
    let lines = inner(&scene, "inner");
    let running = scene.start(&library(), &lines);
    let session = running.user();
    let (public, private) = ec_pair(session, "key", 1);
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot(), &raw mut info);
    assert_eq!(&info.label[..6], b"inner ");
}

/// The flags are the module's, of the last operation of just that session.
#[test]
fn what_the_module_says_of_an_operations_validation_comes_through() {
    let scene = Scene::new();
    let lines = inner(&scene, "inner");
    let configuration = scene.place.join("inner.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, format!("mechanisms = 'approved'\n{text}")).unwrap();
    let running = scene.start(&library(), &lines);
    let (session, other) = (running.user(), running.open());
    let flags = |session| {
        let mut flags = 99;
        ok!(C_GetSessionValidationFlags, session, CKS_LAST_VALIDATION_OK, &raw mut flags);
        flags
    };
    let (public, private) = ec_pair(session, "key", 1);
    assert_eq!((flags(session), flags(other)), (1, 0), "the key pair");
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert_eq!((flags(session), flags(session), flags(other)), (1, 1, 0));
    assert_eq!(value(session, public, CKA_LABEL).unwrap(), b"key");
    assert_eq!(flags(session), 1, "what is no operation alters nothing");
    assert_eq!(verify(session, public, &[2; 32], &signature), CKR_SIGNATURE_INVALID);
    assert_eq!(flags(session), 0);
    try_sign(session, private, &[1; 32]).unwrap();
    try_sign(other, private, &[1; 32]).unwrap();
    assert_eq!(flags(other), 1);
    let mut unknown = 0;
    assert_eq!(c!(C_GetSessionValidationFlags, session, 99, &raw mut unknown), CKR_ARGUMENTS_BAD);
}

#[test]
fn keyward_behind_keyward_without_a_configuration_of_its_own_is_refused() {
    let scene = Scene::new();
    scene.configure(&library(), "index = 0\nisolate = true");
    let output = Command::new("pkcs11-tool").arg("--module").arg(library()).arg("-L").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(scene.log().contains("KEYWARD_CONF"), "{}", scene.log());
}

#[test]
fn a_configuration_that_leads_to_itself_ends() {
    let scene = Scene::new();
    let lines = format!("isolate = true\nenvironment = {{ KEYWARD_CONF = '{}/keyward.toml' }}", scene.place.display());
    scene.configure(&library(), &lines);
    let output = Command::new("pkcs11-tool").arg("--module").arg(library()).arg("-L").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = scene.log();
    assert!(log.contains("within one another without end"), "{log}");
    assert!(log.matches(": in process ").count() <= 4, "{log}");
}

/// In this process, and of another name: another library, which reads the same configuration, and stops there.
#[test]
fn a_copy_of_our_library_is_another_module() {
    let scene = Scene::new();
    let copy = scene.place.join("libother.so");
    std::fs::copy(library(), &copy).unwrap();
    scene.configure(&copy, "token = 'soft'");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["token", "init", "--label", "soft", "--so-pin-env", "OFFICER", "--pin-env", "USER_PIN"]);
    assert!(command.env("OFFICER", SO_PIN).env("USER_PIN", PIN).status().unwrap().success());
    let mut tool = Command::new("pkcs11-tool");
    let output = tool.arg("--module").arg(library()).arg("-L").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said.matches("soft").count(), 2, "itself, and through its copy: {said}");
    assert!(scene.log().contains("Keyward's own library"), "{}", scene.log());
}

#[test]
fn parameters_of_a_vendors_mechanism_go_through_as_they_are() {
    for how in ["", "\nisolate = true"] {
        let lines = format!("token = 'hsm'\nvendor_mechanisms = ['0x80000001']{how}");
        let running = Scene::new().start(faulty(), &lines);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        let parameter = [0xde_u8, 0xad, 0xbe, 0xef, 0x01];
        let init = |ty| {
            let mechanism = [with(ty, &parameter)];
            c!(C_SignInit, session, ptr(&mechanism), private)
        };
        assert_eq!(init(0x8000_0001), CKR_MECHANISM_INVALID, "the module's own answer");
        assert_eq!(running.scene.calls("deadbeef01"), 1);
        assert_eq!(init(0x8000_0002), CKR_MECHANISM_INVALID, "ours");
        assert_eq!(running.scene.calls("deadbeef01"), 1);
    }
}

/// SoftHSM's list is made of its exported symbols: bound to ours, it would lead back to us without end.
#[test]
fn symbols_of_ours_in_the_host_are_not_the_modules() {
    let scene = Scene::new();
    scene.configure(Path::new(SOFTHSM), "token = 'hsm'");
    let mut tool = Command::new("pkcs11-tool");
    tool.env("LD_PRELOAD", library()).arg("--module").arg(library());
    let output = tool.args(["--login", "--pin", PIN, "--keypairgen", "--key-type", "EC:prime256v1"]).output().unwrap();
    assert!(output.status.success(), "{output:?}\n{}", scene.log());
}

#[test]
fn a_failing_initialise_is_no_failure_of_ours() {
    let scene = Scene::new();
    scene.faults("C_Initialize rv 0x30");
    let running = scene.start(faulty(), "token = 'hsm'");
    assert_eq!(slots().len(), 1);
    assert!(running.scene.log().contains("C_Initialize answered 0x30"));
    // The HSM comes back, and its slot with it.
    running.scene.faults("");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut count = 0;
    ok!(C_GetSlotList, CK_TRUE, null_mut(), &raw mut count);
    let session = running.user();
    ec_pair(session, "key", 1);
}

#[test]
fn a_module_that_the_application_has_initialised_stays_so() {
    let scene = Scene::new();
    // SAFETY: as an application does; the library stays loaded.
    let other = unsafe { Pkcs11::new(SOFTHSM).unwrap() };
    // SAFETY: as above.
    assert_eq!(unsafe { other.C_Initialize(null_mut()) }, CKR_OK);
    let running = scene.start(Path::new(SOFTHSM), "token = 'hsm'");
    ec_pair(running.user(), "key", 1);
    drop(running);
    let mut info = CK_INFO::default();
    // SAFETY: as above.
    assert_eq!(unsafe { other.C_GetInfo(&raw mut info) }, CKR_OK, "not finalised");
    // SAFETY: as above.
    unsafe { other.C_Finalize(null_mut()) };
}

#[test]
fn two_tokens_of_a_module_are_two_slots() {
    let scene = Scene::new();
    scene.token("second");
    let second = format!("token = 'hsm'\n[[slot]]\nkind = 'forward'\nmodule = '{SOFTHSM}'\ntoken = 'second'");
    let running = scene.start(Path::new(SOFTHSM), &second);
    let slots = slots();
    assert_eq!(slots.len(), 2);
    let (one, two) = (open(slots[0], CKF_RW_SESSION), open(slots[1], CKF_RW_SESSION));
    assert_eq!((login(one, CKU_USER, PIN), login(two, CKU_USER, PIN)), (CKR_OK, CKR_OK));
    ec_pair(one, "here", 1);
    assert_eq!((find(one, &[]).len(), find(two, &[]).len()), (2, 0));
    let key = find(one, &[number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
    let mechanism = [plain(CKM_ECDSA)];
    assert_eq!(c!(C_SignInit, two, ptr(&mechanism), key), CKR_KEY_HANDLE_INVALID);
    drop(running);
}

#[test]
fn two_slots_on_one_token_are_one_too_many() {
    let second =
        format!("token = 'hsm'\n[[slot]]\nkind = 'forward'\nmodule = '{SOFTHSM}'\ntoken = 'hsm'\nread_only = true");
    let running = Scene::new().start(Path::new(SOFTHSM), &second);
    assert_eq!(slots().len(), 1);
    assert!(running.scene.log().contains("another slot"), "{}", running.scene.log());
}

#[test]
fn a_child_of_a_fork_has_the_hsm_to_itself() {
    let running = Scene::new().start(Path::new(SOFTHSM), "token = 'hsm'");
    let session = running.user();
    let (public, private) = ec_pair(session, "key", 1);
    // SAFETY: the child calls the module and exits without returning.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut code = 0;
        if c!(C_GetSlotList, CK_TRUE, null_mut(), null_mut()) != CKR_CRYPTOKI_NOT_INITIALIZED {
            code = 1;
        } else if c!(C_Initialize, null_mut()) != CKR_OK {
            code = 2;
        } else {
            let session = running.user();
            let keys = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
            if keys.len() != 1 || try_sign(session, keys[0], &[1; 32]).is_err() {
                code = 3;
            }
        }
        // SAFETY: no destructors of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "exit status of the child");
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
}
