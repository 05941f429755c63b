//! The life of keys that SoftHSM holds: states, dates, policy, versions and audit by an overlay file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::token::*;
use serde_json::Value as Json;

use crate::scene::*;
use crate::{c, ok};

pub const OVERLAY_PIN: &str = "overlay-admin";
const LINES: &str = "token = 'hsm'\noverlay = 'hsm'";
pub const REFUSED: CK_RV = CKR_KEY_FUNCTION_NOT_PERMITTED;

pub fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["--json", "--yes"]).args(words).env("USER_PIN", PIN).env("OVERLAY_PIN", OVERLAY_PIN);
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn keyward(words: &[&str]) -> Json {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn refused(words: &[&str]) -> String {
    let output = run(words);
    assert!(!output.status.success(), "{words:?} did not fail: {}", said(&output));
    said(&output)
}

/// `keyward key COMMAND --label LABEL`, in another process, as the HSM's user.
fn key(command: &str, label: &str, more: &[&str]) -> Json {
    keyward(&[&["key", command, "--label", label, "--token", "hsm", "--pin-env", "USER_PIN"], more].concat())
}

fn init(scene: &Scene, module: &Path, more: &str) {
    scene.configure(module, &format!("{LINES}\n{more}"));
    keyward(&["overlay", "init", "--token", "hsm", "--so-pin-env", "OVERLAY_PIN"]);
}

fn governed_by(module: &Path, more: &str) -> Running {
    let scene = Scene::new();
    init(&scene, module, more);
    scene.start(module, &format!("{LINES}\n{more}"))
}

fn governed() -> Running {
    governed_by(Path::new(SOFTHSM), "")
}

fn apply(running: &Running, policy: &str) {
    let path = running.scene.place.join("policy.toml");
    std::fs::write(&path, format!("version = 1\nname = 'test'\n{policy}")).unwrap();
    keyward(&["policy", "apply", path.to_str().unwrap(), "--token", "hsm", "--so-pin-env", "OVERLAY_PIN"]);
}

fn restart(running: &Running) -> CK_SESSION_HANDLE {
    ok!(C_Finalize, null_mut());
    ok!(C_Initialize, null_mut());
    running.user()
}

/// pkcs11-tool over our library: another application.
fn tool(words: &[&str]) -> Output {
    let mut command = Command::new("pkcs11-tool");
    command.arg("--module").arg(library()).args(["--token-label", "hsm", "--login", "--pin", PIN]).args(words);
    command.output().unwrap()
}

fn signs_elsewhere(running: &Running, id: &str) -> bool {
    let path = |name: &str| running.scene.place.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("data"), [7; 32]).unwrap();
    let output = tool(&["--sign", "-m", "ECDSA", "--id", id, "-i", &path("data"), "-o", &path("signature")]);
    let told = said(&output);
    assert!(output.status.success() || told.contains("CKR_") || told.contains("not found"), "{told}");
    output.status.success()
}

/// What a forwarded SoftHSM does without us: the module by itself, by the same tool.
fn directly(words: &[&str]) {
    let mut command = Command::new("pkcs11-tool");
    command.args(["--module", SOFTHSM, "--token-label", "hsm", "--login", "--pin", PIN]).args(words);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", said(&output));
}

pub fn ulong(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Option<u64> {
    value(session, object, ty).ok().map(|bytes| CK_ULONG::from_ne_bytes(bytes.try_into().unwrap()))
}

pub fn named(session: CK_SESSION_HANDLE, label: &str) -> Vec<CK_OBJECT_HANDLE> {
    find(session, &[bytes(CKA_LABEL, label.as_bytes())])
}

pub fn signs(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
    try_sign(session, key, &[1; 32]).err().unwrap_or(CKR_OK)
}

fn overlay(running: &Running) -> PathBuf {
    running.scene.place.join("keyward/hsm.overlay")
}

pub fn encrypts(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
    let iv = [0u8; 16];
    let mechanism = [with(CKM_AES_CBC_PAD, &iv)];
    let (mut out, mut out_len) = ([0u8; 64], 64);
    match c!(C_EncryptInit, session, ptr(&mechanism), key) {
        CKR_OK => c!(C_Encrypt, session, ptr(&iv), 16, out.as_mut_ptr(), &raw mut out_len),
        rv => rv,
    }
}

#[test]
fn a_suspended_key_signs_in_no_process_and_still_verifies() {
    let running = governed();
    let session = running.user();
    let (public, private) = ec_pair(session, "web", 1);
    let signature = try_sign(session, private, &[1; 32]).unwrap();
    assert!(signs_elsewhere(&running, "01"));
    assert_eq!(ulong(session, private, CKA_KEYWARD_STATE), Some(2));
    assert_eq!(ulong(session, private, CKA_KEYWARD_VERSION), Some(1));
    assert!(ulong(session, private, CKA_KEYWARD_CREATION_DATE).is_some());
    key("suspend", "web", &["--reason", "under inquiry"]);
    assert_eq!(signs(session, private), REFUSED, "a handle that was found before");
    assert!(!signs_elsewhere(&running, "01"));
    assert_eq!(verify(session, public, &[1; 32], &signature), CKR_OK);
    for half in [public, private] {
        assert_eq!(ulong(session, half, CKA_KEYWARD_STATE), Some(6), "both halves");
        assert_eq!(value(session, half, CKA_KEYWARD_STATE_REASON).unwrap(), b"under inquiry");
    }
    assert_eq!(find(session, &[number(CKA_KEYWARD_STATE, 6), number(CKA_CLASS, CKO_PRIVATE_KEY)]), [private]);
    let session = restart(&running);
    let private = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
    assert_eq!(signs(session, private), REFUSED, "after a restart");
    key("resume", "web", &["--reason", "closed"]);
    assert_eq!(signs(session, private), CKR_OK);
    assert!(signs_elsewhere(&running, "01"));
    key("revoke", "web", &["--compromised", "--reason", "host taken over"]);
    let public = find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)])[0];
    assert_eq!(signs(session, private), REFUSED);
    assert_eq!(verify(session, public, &[1; 32], &signature), REFUSED);
    assert!(
        refused(&["key", "resume", "--label", "web", "--token", "hsm", "--pin-env", "USER_PIN"])
            .contains("compromised")
    );
}

#[test]
fn dates_of_a_template_act_and_what_is_the_tokens_own_is_not_set() {
    let running = governed();
    let session = running.user();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let later = aes_template(&[
        yes(CKA_TOKEN),
        bytes(CKA_LABEL, b"later"),
        bytes(CKA_ID, b"l"),
        number(CKA_KEYWARD_ACTIVATION_DATE, now + 3600),
    ]);
    let later = try_generate(session, CKM_AES_KEY_GEN, &later).unwrap();
    assert_eq!(ulong(session, later, CKA_KEYWARD_STATE), Some(1));
    assert_eq!(value(session, later, CKA_START_DATE).unwrap().len(), 8);
    assert_eq!(encrypts(session, later), REFUSED);
    let ended = [yes(CKA_TOKEN), bytes(CKA_ID, b"e"), number(CKA_KEYWARD_PROTECT_STOP_DATE, now - 10)];
    let ended = try_generate(session, CKM_AES_KEY_GEN, &aes_template(&ended)).unwrap();
    assert_eq!(encrypts(session, ended), REFUSED);
    let state = [yes(CKA_TOKEN), number(CKA_KEYWARD_STATE, 2)];
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &aes_template(&state)), Err(CKR_ATTRIBUTE_READ_ONLY));
    let crossed = [number(CKA_KEYWARD_ACTIVATION_DATE, now), number(CKA_KEYWARD_DEACTIVATION_DATE, now - 1)];
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &aes_template(&crossed)), Err(CKR_TEMPLATE_INCONSISTENT));
    // A session object has its life too, for as long as it lives.
    let session_key = aes(session, &[number(CKA_KEYWARD_PROTECT_STOP_DATE, now - 10)]);
    assert_eq!(encrypts(session, session_key), REFUSED);
    assert_eq!(encrypts(session, aes(session, &[])), CKR_OK);
    let mut set = raw(&[number(CKA_KEYWARD_STATE, 2)]);
    assert_eq!(c!(C_SetAttributeValue, session, later, set.as_mut_ptr(), 1), CKR_ATTRIBUTE_READ_ONLY);
    key("schedule", "later", &["--activation", "-1h"]);
    assert_eq!(encrypts(session, later), CKR_OK);
}

#[test]
fn the_policy_of_the_overlay_governs_making_and_using() {
    let running = governed();
    let session = running.user();
    apply(
        &running,
        "[[class]]\nname = 'few'\nmatch = { label = ['few*'] }\nusage_limit = 3\nmin_bits = { AES = 256 }\n\
         [[class]]\nname = 'gcm'\nmatch = { label = ['gcm'] }\nmechanisms = ['CKM_AES_GCM']\n",
    );
    let plain = |label: &str, id: u8| {
        let uses = [yes(CKA_ENCRYPT), yes(CKA_DECRYPT), yes(CKA_TOKEN)];
        [&uses[..], &[number(CKA_VALUE_LEN, 32), bytes(CKA_LABEL, label.as_bytes()), bytes(CKA_ID, &[id])]].concat()
    };
    let few = try_generate(session, CKM_AES_KEY_GEN, &plain("few", 1)).unwrap();
    let uses: Vec<CK_RV> = (0..2).map(|_| encrypts(session, few)).collect();
    assert_eq!(uses, [CKR_OK, CKR_OK]);
    // The third use is another process's; then there is none left for anybody.
    let file = |name: &str| running.scene.place.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("plain"), [1; 16]).unwrap();
    let elsewhere = || {
        let words = ["--encrypt", "-m", "AES-CBC-PAD", "--iv", "00000000000000000000000000000000", "--id", "01"];
        tool(&[&words[..], &["-i", &file("plain"), "-o", &file("cipher")]].concat())
    };
    let third = elsewhere();
    assert!(third.status.success(), "{}", said(&third));
    assert_eq!(encrypts(session, few), REFUSED);
    assert!(!elsewhere().status.success());
    assert_eq!(ulong(session, few, CKA_KEYWARD_USES), Some(3));
    let short = [&plain("few-2", 2)[..5], &[bytes(CKA_ID, &[2])]].concat();
    let mut short: Vec<Attr> = short.into_iter().filter(|(ty, _)| *ty != CKA_VALUE_LEN).collect();
    short.push(number(CKA_VALUE_LEN, 16));
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &short), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    let gcm = try_generate(session, CKM_AES_KEY_GEN, &plain("gcm", 3)).unwrap();
    assert_eq!(encrypts(session, gcm), REFUSED);
    let both = try_generate(session, CKM_AES_KEY_GEN, &aes_template(&[yes(CKA_TOKEN)]));
    assert_eq!(both, Err(CKR_TEMPLATE_INCONSISTENT), "no key both wraps and decrypts");
    let shown = keyward(&["policy", "show", "--token", "hsm"]);
    assert!(shown["number"] == 1 && shown["policy"].as_str().unwrap().contains("'few'"), "{shown}");
    let wrong = refused(&["policy", "apply", &file("policy.toml"), "--token", "hsm", "--so-pin-env", "USER_PIN"]);
    assert!(wrong.contains("PIN"), "{wrong}");
}

#[test]
fn a_key_is_hidden_recovered_and_destroyed_in_the_hsm_with_a_tombstone() {
    let running = governed();
    let session = running.user();
    let (_, private) = ec_pair(session, "gone", 1);
    ec_pair(session, "stays", 2);
    key("destroy", "gone", &["--reason", "end of contract"]);
    assert!(named(session, "gone").is_empty());
    assert_eq!(find(session, &[]).len(), 2, "the others are there");
    assert_eq!(signs(session, private), CKR_KEY_HANDLE_INVALID);
    assert_eq!(value(session, private, CKA_LABEL), Err(CKR_OBJECT_HANDLE_INVALID));
    assert_eq!(c!(C_DestroyObject, session, private), CKR_OBJECT_HANDLE_INVALID);
    key("recover", "gone", &[]);
    assert_eq!(signs(session, private), CKR_OK);
    let id = key("show", "gone", &[])["key"]["unique_id"].as_str().unwrap().to_owned();
    key("purge", "gone", &["--reason", "done"]);
    assert!(named(session, "gone").is_empty());
    let tombs = find(session, &[bytes(CKA_LABEL, b"gone"), number(CKA_KEYWARD_STATE, 5)]);
    assert_eq!(tombs.len(), 2);
    assert_eq!(signs(session, tombs[0]), CKR_KEY_HANDLE_INVALID);
    let shown = keyward(&["key", "show", "--unique-id", &id, "--token", "hsm", "--pin-env", "USER_PIN"]);
    assert_eq!((shown["key"]["state"].as_str(), shown["key"]["reason"].as_str()), (Some("destroyed"), Some("done")));
    // In the HSM itself it is gone too.
    ok!(C_Finalize, null_mut());
    running.scene.configure(Path::new(SOFTHSM), "token = 'hsm'");
    ok!(C_Initialize, null_mut());
    let session = running.user();
    assert_eq!(find(session, &[]).len(), 2);
    assert!(named(session, "gone").is_empty());
}

#[test]
fn secret_keys_rotate_in_the_hsm_and_a_search_by_label_finds_the_newest() {
    let running = governed();
    let session = running.user();
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"db"), bytes(CKA_ID, b"1")]);
    let first = try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
    let rotated = key("rotate", "db", &[]);
    assert_eq!(rotated["key"]["version"], 2, "{rotated}");
    let found = named(session, "db");
    assert_eq!(found.len(), 1);
    let second = found[0];
    assert_ne!(second, first);
    assert_eq!((encrypts(session, first), encrypts(session, second)), (REFUSED, CKR_OK));
    assert_eq!(value(session, first, CKA_LABEL).unwrap(), b"db#v1");
    assert_eq!(value(session, second, CKA_LABEL).unwrap(), b"db");
    assert_eq!(named(session, "db#v1"), [first]);
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"db"), bytes(CKA_ID, b"1")]), [first], "an ID names its version");
    assert_eq!(ulong(session, second, CKA_KEYWARD_VERSION), Some(2));
    key("rotate", "db", &[]);
    assert_eq!(named(session, "db").len(), 1);
    // It has findings: one key that wraps and decrypts.
    let list = run(&["key", "list", "--token", "hsm", "--pin-env", "USER_PIN"]);
    let list: Json = serde_json::from_slice(&list.stdout).unwrap();
    let states: Vec<_> =
        list.as_array().unwrap().iter().map(|key| (key["version"].as_u64(), key["state"].as_str())).collect();
    assert!(states.contains(&(Some(3), Some("active"))) && states.contains(&(Some(1), Some("deactivated"))), "{list}");
    let report = said(&run(&["report", "compliance", "--token", "hsm", "--pin-env", "USER_PIN"]));
    assert!(report.contains("SoftHSM") && !report.contains("AES-256-GCM"), "what seals the keys is the HSM: {report}");
    let mut label = raw(&[bytes(CKA_LABEL, b"other")]);
    assert_eq!(c!(C_SetAttributeValue, session, first, label.as_mut_ptr(), 1), CKR_ACTION_PROHIBITED);
}

#[test]
fn a_pair_is_staged_certified_and_takes_over() {
    let running = governed();
    let session = running.user();
    let (_, old) = ec_pair(session, "web", 1);
    let csr = running.scene.place.join("web.csr");
    key("rotate", "web", &["--stage", "--subject", "CN=web", "--csr", csr.to_str().unwrap()]);
    let checked = Command::new("openssl").args(["req", "-verify", "-noout", "-in"]).arg(&csr).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    let staged = find(session, &[bytes(CKA_LABEL, b"web#v2"), number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    assert_eq!(staged.len(), 1);
    assert_eq!((signs(session, old), signs(session, staged[0])), (CKR_OK, REFUSED));
    let file = |name: &str| running.scene.place.join(name).to_str().unwrap().to_owned();
    let (ca, ca_key, crt) = (file("ca.crt"), file("ca.key"), file("web.crt"));
    let openssl = |words: &[&str]| {
        let output = Command::new("openssl").args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    };
    let of_ca = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ca", "-days", "1"];
    openssl(&[&["req", "-x509", "-keyout", &ca_key, "-out", &ca], &of_ca[..]].concat());
    openssl(&["x509", "-req", "-in", &file("web.csr"), "-CA", &ca, "-CAkey", &ca_key, "-days", "1", "-out", &crt]);
    let words = ["key", "certify", "--label", "web#v2", "--token", "hsm", "--pin-env", "USER_PIN", &ca];
    assert!(refused(&words).contains("another key"));
    key("certify", "web#v2", &["--dry-run", &crt]);
    let certificates = || find(session, &[number(CKA_CLASS, CKO_CERTIFICATE)]);
    assert!(certificates().is_empty());
    // By any version's name: it is of the one whose key it has.
    let certified = key("certify", "web", &[&crt]);
    assert_eq!(certified["key"]["version"], 2, "{certified}");
    let certificate = certificates()[0];
    assert_eq!(value(session, certificate, CKA_LABEL).unwrap(), b"web#v2");
    assert_eq!(value(session, certificate, CKA_ID), value(session, staged[0], CKA_ID));
    key("activate", "web#v2", &["--overlap", "1h"]);
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"web"), number(CKA_CLASS, CKO_PRIVATE_KEY)]), staged);
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"web"), number(CKA_CLASS, CKO_CERTIFICATE)]), [certificate]);
    assert_eq!((signs(session, old), signs(session, staged[0])), (CKR_OK, CKR_OK), "the old one signs for the overlap");
    assert_eq!(value(session, old, CKA_LABEL).unwrap(), b"web#v1");
}

/// All of it happens in the HSM: what is wrapped is never here.
#[test]
fn what_is_wrapped_under_an_older_version_is_rewrapped_in_the_hsm() {
    let running = governed();
    let session = running.user();
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"kek"), bytes(CKA_ID, b"k")]);
    let kek = try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
    let secret = [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        yes(CKA_EXTRACTABLE),
        no(CKA_SENSITIVE),
    ];
    let target = crate::several::try_create(session, &[&secret[..], &[bytes(CKA_VALUE, &[5; 32])]].concat()).unwrap();
    let (by, mut out, mut out_len) = ([plain(CKM_AES_KEY_WRAP)], [0u8; 64], 64);
    ok!(C_WrapKey, session, ptr(&by), kek, target, out.as_mut_ptr(), &raw mut out_len);
    let wrapped = out[..out_len as usize].to_vec();
    let path = running.scene.place.join("wrapped");
    std::fs::write(&path, &wrapped).unwrap();
    key("rotate", "kek", &[]);
    let rewrap = |by: &str| key("rewrap", "kek", &["--by", by, path.to_str().unwrap()]);
    let done = rewrap("kw");
    assert_eq!((&done["rewrapped"][0]["from"], &done["rewrapped"][0]["to"]), (&1.into(), &2.into()), "{done}");
    let anew = std::fs::read(&path).unwrap();
    assert_ne!(anew, wrapped);
    let newest = named(session, "kek")[0];
    let (mut template, mut made) = (raw(&secret), 0);
    let count = len(&template);
    let (at, anew_len) = (template.as_mut_ptr(), len(&anew));
    ok!(C_UnwrapKey, session, ptr(&by), newest, ptr(&anew), anew_len, at, count, &raw mut made);
    assert_eq!(value(session, made, CKA_VALUE).unwrap(), [5; 32]);
    assert!(rewrap("kw")["rewrapped"].as_array().unwrap().is_empty(), "idempotent");
    let words = ["key", "rewrap", "--label", "kek", "--token", "hsm", "--pin-env", "USER_PIN"];
    let with = |more: &[&str]| refused(&[&words[..], more, &[path.to_str().unwrap()]].concat());
    assert!(with(&[]).contains("the token has no CKM_AES_KEY_WRAP_KWP"), "SoftHSM knows it under an older number");
    std::fs::write(&path, [9; 40]).unwrap();
    assert!(with(&["--by", "kw"]).contains("no version of this key unwraps it"));
    assert_eq!(std::fs::read(&path).unwrap(), [9; 40]);
}

#[test]
fn a_policy_that_an_hsm_cannot_keep_is_refused_when_it_is_applied() {
    let running = governed();
    let session = running.user();
    let (_, private) = ec_pair(session, "web", 1);
    let path = running.scene.place.join("policy.toml");
    let policy = "version = 1\nname = 'test'\n[[class]]\nname = 'kept'\nmatch = { all = true }\nbackup = 'required'\n";
    std::fs::write(&path, policy).unwrap();
    let path = path.to_str().unwrap();
    for words in [
        &["policy", "check", path, "--token", "hsm"][..],
        &["policy", "apply", path, "--token", "hsm", "--so-pin-env", "OVERLAY_PIN"],
    ] {
        let told = refused(words);
        assert!(told.contains("class kept has backup") && told.contains("its maker's tools"), "{told}");
    }
    assert_eq!(keyward(&["policy", "show", "--token", "hsm"])["policy"], Json::Null);
    assert_eq!(signs(session, private), CKR_OK);
    apply(&running, "[[class]]\nname = 'kept'\nmatch = { all = true }\nbackup = 'optional'\n");
    assert_eq!(signs(session, private), CKR_OK);
}

#[test]
fn an_overlay_that_is_gone_older_cut_or_edited_stops_every_use() {
    let running = governed();
    let session = running.user();
    let (_, private) = ec_pair(session, "web", 1);
    let path = overlay(&running);
    let copies = |to: &str| {
        let to = running.scene.place.join(to);
        keyward(&["token", "backup-file", "--token", "hsm", to.to_str().unwrap()]);
        to
    };
    let older = copies("older");
    key("suspend", "web", &["--reason", "test"]);
    let newest = copies("newest");
    let put = |from: &Path| {
        for ending in ["overlay-wal", "overlay-shm"] {
            let _ = std::fs::remove_file(path.with_extension(ending));
        }
        let _ = std::fs::remove_file(&path);
        std::fs::copy(from, &path).unwrap();
    };
    let fails = |what: &str| {
        let session = restart(&running);
        let private = find_quietly(session);
        let rv = private.map_or_else(|rv| rv, |key| signs(session, key));
        assert_eq!(rv, CKR_DEVICE_ERROR, "{what}");
        assert!(!signs_elsewhere(&running, "01"), "{what}");
    };
    put(&older);
    fails("an older copy");
    assert!(running.scene.log().contains("older copy"), "{}", running.scene.log());
    let (bytes, mut cut) = (std::fs::read(&newest).unwrap(), running.scene.place.join("cut"));
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    put(&cut);
    fails("cut in half");
    cut = running.scene.place.join("edited");
    std::fs::copy(&newest, &cut).unwrap();
    let edit = |sql: &str| {
        std::fs::copy(&newest, &cut).unwrap();
        let connection = rusqlite::Connection::open(&cut).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        put(&cut);
    };
    edit("DELETE FROM obj; DELETE FROM tags;");
    fails("its records removed");
    edit("DELETE FROM tags;");
    fails("its index removed");
    edit("UPDATE obj SET attrs = zeroblob(length(attrs));");
    fails("its records overwritten");
    let _ = std::fs::remove_file(&path);
    fails("gone");
    put(&newest);
    let session = restart(&running);
    let key_again = find_quietly(session).unwrap();
    assert_eq!(signs(session, key_again), REFUSED, "the newest one put back: suspended");
    // Under a process that runs: taken away, and an older one put there.
    let _ = std::fs::remove_file(&path);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(4);
    while signs(session, key_again) != CKR_DEVICE_ERROR {
        assert!(std::time::Instant::now() < until, "it is not noticed that the overlay is gone");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let _ = private;
}

fn find_quietly(session: CK_SESSION_HANDLE) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut template = raw(&[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    match c!(C_FindObjectsInit, session, template.as_mut_ptr(), 1) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let (mut object, mut found) = (0, 0);
    let rv = c!(C_FindObjects, session, &raw mut object, 1, &raw mut found);
    ok!(C_FindObjectsFinal, session);
    if rv == CKR_OK { Ok(object) } else { Err(rv) }
}

#[test]
fn a_state_follows_its_key_through_a_loss_a_new_id_and_a_return() {
    let running = governed_by(faulty(), "");
    let session = running.user();
    let (_, private) = ec_pair(session, "web", 1);
    let (_, other) = ec_pair(session, "other", 2);
    key("suspend", "web", &["--reason", "test"]);
    running.scene.faults("C_SignInit rv 0x32 1\nC_OpenSession rv 0x30 1");
    assert_eq!(signs(session, other), CKR_OK, "the HSM was lost and is back");
    assert_eq!(signs(session, private), REFUSED);
    // Another application gives the key another ID: it is known by its public key.
    ok!(C_Finalize, null_mut());
    directly(&["--set-id", "09", "--id", "01", "-y", "privkey"]);
    directly(&["--set-id", "09", "--id", "01", "-y", "pubkey"]);
    ok!(C_Initialize, null_mut());
    let session = running.user();
    let moved = find(session, &[bytes(CKA_ID, &[9]), number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
    assert_eq!(ulong(session, moved, CKA_KEYWARD_STATE), Some(6));
    assert_eq!(signs(session, moved), REFUSED);
    // Another key in the place of the old one is another key.
    key("suspend", "other", &["--reason", "test"]);
    ok!(C_Finalize, null_mut());
    directly(&["--delete-object", "-y", "privkey", "--id", "02"]);
    directly(&["--delete-object", "-y", "pubkey", "--id", "02"]);
    directly(&["--keypairgen", "--key-type", "EC:prime256v1", "--label", "other", "--id", "02"]);
    ok!(C_Initialize, null_mut());
    let session = running.user();
    let replaced = find(session, &[bytes(CKA_ID, &[2]), number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
    assert_eq!(ulong(session, replaced, CKA_KEYWARD_STATE), Some(2));
    assert_eq!(signs(session, replaced), CKR_OK);
}

#[test]
fn a_destroyed_key_that_comes_back_stays_destroyed() {
    let running = governed();
    let file = |name: &str| running.scene.place.join(name).to_str().unwrap().to_owned();
    let openssl = |words: &[&str]| assert!(Command::new("openssl").args(words).output().unwrap().status.success());
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    openssl(&[&["genpkey", "-outform", "DER", "-out", &file("key")], &curve[..]].concat());
    openssl(&["pkey", "-inform", "DER", "-in", &file("key"), "-pubout", "-outform", "DER", "-out", &file("pub")]);
    let write = |by: &dyn Fn(&[&str])| {
        for (kind, name) in [("privkey", "key"), ("pubkey", "pub")] {
            by(&["--write-object", &file(name), "-y", kind, "--id", "07", "--label", "back"]);
        }
    };
    write(&|words| {
        let output = tool(words);
        assert!(output.status.success(), "{}", said(&output));
    });
    assert!(signs_elsewhere(&running, "07"));
    key("purge", "back", &["--reason", "done"]);
    write(&|words| directly(words));
    assert!(!signs_elsewhere(&running, "07"));
    let session = restart(&running);
    assert!(find(session, &[bytes(CKA_ID, &[7])]).is_empty());
    let tombs = find(session, &[bytes(CKA_ID, &[7]), number(CKA_KEYWARD_STATE, 5), number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    assert_eq!(tombs.len(), 1, "for the key that is there again stands its tombstone");
    key("purge", "back", &[]);
    ok!(C_Finalize, null_mut());
    running.scene.configure(Path::new(SOFTHSM), "token = 'hsm'");
    ok!(C_Initialize, null_mut());
    assert!(find(running.user(), &[]).is_empty(), "purged once more, both halves are gone from the HSM again");
}

#[test]
fn keys_that_nothing_tells_apart_are_refused_once_it_matters() {
    let running = governed();
    let session = running.user();
    // Without check value and ID, secret keys of one label are the same to everybody.
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"twin"), bytes(CKA_ID, b"t")]);
    let twins = [(); 2].map(|()| try_generate(session, CKM_AES_KEY_GEN, &template).unwrap());
    assert_eq!(twins.map(|key| encrypts(session, key)), [CKR_OK; 2]);
    let told_apart = value(session, twins[0], CKA_CHECK_VALUE).is_ok_and(|check| !check.is_empty());
    let ids = twins.map(|key| value(session, key, CKA_UNIQUE_ID).unwrap());
    assert_eq!(ids[0] != ids[1], told_apart);
    let suspend = |id: &[u8]| {
        let id = String::from_utf8(id.to_vec()).unwrap();
        let words =
            ["key", "suspend", "--unique-id", &id, "--token", "hsm", "--pin-env", "USER_PIN", "--reason", "test"];
        run(&words)
    };
    let suspended = suspend(&ids[0]);
    match told_apart {
        true => {
            assert!(suspended.status.success(), "{}", said(&suspended));
            assert_eq!(twins.map(|key| encrypts(session, key)), [REFUSED, CKR_OK], "one of them, and not the other");
        }
        false => assert!(!suspended.status.success(), "which one?"),
    }
}

#[test]
fn keys_that_others_made_are_adopted_as_the_policy_says() {
    let running = governed();
    ok!(C_Finalize, null_mut());
    directly(&["--keypairgen", "--key-type", "EC:prime256v1", "--label", "theirs", "--id", "05"]);
    ok!(C_Initialize, null_mut());
    let session = running.user();
    let theirs = find(session, &[bytes(CKA_LABEL, b"theirs"), number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
    assert_eq!((ulong(session, theirs, CKA_KEYWARD_STATE), signs(session, theirs)), (Some(2), CKR_OK));
    apply(&running, "adopt = 'pre-active'\n");
    assert_eq!((ulong(session, theirs, CKA_KEYWARD_STATE), signs(session, theirs)), (Some(1), REFUSED));
    assert!(!signs_elsewhere(&running, "05"));
    let words = ["overlay", "adopt", "--token", "hsm", "--pin-env", "USER_PIN"];
    let adopted = keyward(&words);
    assert_eq!(adopted["adopted"].as_array().unwrap().len(), 2, "{adopted}");
    assert_eq!(keyward(&words)["adopted"].as_array().unwrap().len(), 0);
    assert_eq!(signs(session, theirs), CKR_OK);
}

#[test]
fn the_record_names_the_key_of_the_hsm_also_where_the_gate_refuses() {
    let audit = "[audit]\nkey_use = 'required'";
    let scene = Scene::new();
    init(&scene, Path::new(SOFTHSM), audit);
    let running = scene.start(Path::new(SOFTHSM), &format!("{LINES}\n{audit}"));
    let session = running.user();
    let (_, private) = ec_pair(session, "web", 1);
    assert_eq!(signs(session, private), CKR_OK);
    let unique = String::from_utf8(value(session, private, CKA_UNIQUE_ID).unwrap()).unwrap();
    key("suspend", "web", &["--reason", "under inquiry"]);
    assert_eq!(signs(session, private), REFUSED);
    ok!(C_Finalize, null_mut());
    let verified = keyward(&["audit", "verify"]);
    assert_eq!(verified["findings"].as_array().map(Vec::len), Some(0), "{verified}");
    let lines = std::fs::read_to_string(running.scene.place.join("audit/audit.log")).unwrap();
    let events: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |op: &str, result: &str| {
        events.iter().find(|e| e["op"] == op && e["result"] == result && e["key"] == unique.as_str()).cloned()
    };
    assert!(of("sign", "CKR_OK").is_some(), "{lines}");
    let denied = of("sign", "CKR_KEY_FUNCTION_NOT_PERMITTED").unwrap_or_else(|| panic!("{lines}"));
    assert!(denied["rule"].as_str().unwrap().contains("suspended") && denied["label"] == "web", "{denied}");
    assert_eq!(of("suspend", "CKR_OK").unwrap()["rule"], "under inquiry");
    ok!(C_Initialize, null_mut());
}

#[test]
fn without_its_overlay_a_governed_slot_uses_no_key_and_says_what_to_do() {
    let scene = Scene::new();
    let running = scene.start(Path::new(SOFTHSM), "token = 'hsm'");
    ec_pair(running.user(), "web", 1);
    ok!(C_Finalize, null_mut());
    running.scene.configure(Path::new(SOFTHSM), LINES);
    ok!(C_Initialize, null_mut());
    let session = running.user();
    assert_eq!(find_quietly(session), Err(CKR_DEVICE_ERROR));
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &aes_template(&[])), Err(CKR_DEVICE_ERROR));
    assert!(running.scene.log().contains("keyward overlay init"), "{}", running.scene.log());
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot(), &raw mut info);
    assert_ne!(info.flags & CKF_ERROR_STATE, 0);
    let doctor = run(&["doctor"]);
    assert!(said(&doctor).contains("overlay hsm"), "{}", said(&doctor));
    keyward(&["overlay", "init", "--token", "hsm", "--so-pin-env", "OVERLAY_PIN"]);
    let key = find_quietly(session).unwrap();
    assert_eq!(signs(session, key), CKR_OK, "made by another process, it counts at once");
    assert!(refused(&["overlay", "init", "--token", "hsm", "--so-pin-env", "OVERLAY_PIN"]).contains("there already"));
}

#[test]
fn records_of_keys_that_others_deleted_are_listed_and_removed_and_no_others() {
    let running = governed();
    let session = running.user();
    for (label, id) in [("gone", 1), ("held", 2), ("stays", 3)] {
        ec_pair(session, label, id);
    }
    key("suspend", "held", &["--reason", "under inquiry"]);
    ok!(C_Finalize, null_mut());
    let delete = |id: &str| ["privkey", "pubkey"].map(|kind| directly(&["--delete-object", "-y", kind, "--id", id]));
    let prune = |more: &[&str]| {
        let found = keyward(&[&["overlay", "prune", "--token", "hsm", "--pin-env", "USER_PIN"], more].concat());
        let mut told: Vec<String> = found["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| {
                let kept = if record["kept"].is_null() { "" } else { " kept" };
                format!("{} {}{kept}", record["label"].as_str().unwrap(), record["class"].as_str().unwrap())
            })
            .collect();
        told.sort();
        (told, found["removed"].as_u64().unwrap())
    };
    assert_eq!(prune(&[]), (vec![], 0));
    delete("01");
    delete("02");
    // What the slot does not show is there all the same.
    running.scene.configure(Path::new(SOFTHSM), &format!("{LINES}\nobjects = ['pkcs11:object=gone']"));
    let pair =
        |label: &str, kept: &str| vec![format!("{label} private-key{kept}"), format!("{label} public-key{kept}")];
    let all = [pair("gone", ""), pair("held", " kept")].concat();
    assert_eq!(prune(&["--dry-run"]), (all.clone(), 0));
    let words = ["overlay", "prune", "--token", "hsm", "--pin-env", "OVERLAY_PIN"];
    assert!(refused(&words).contains("CKR_PIN_INCORRECT"), "without the login private keys would seem to be gone");
    assert_eq!(prune(&[]), (all, 2));
    assert_eq!(prune(&["--dry-run"]), (pair("held", " kept"), 0));
    assert_eq!(prune(&["--any-state"]), (pair("held", ""), 2));
    assert_eq!(prune(&["--any-state"]), (vec![], 0));
    running.scene.configure(Path::new(SOFTHSM), LINES);
    ok!(C_Initialize, null_mut());
    let session = running.user();
    let stays = find(session, &[bytes(CKA_ID, &[3]), number(CKA_CLASS, CKO_PRIVATE_KEY)])[0];
    assert!(ulong(session, stays, CKA_KEYWARD_CREATION_DATE).is_some(), "its record is there");
    // A tombstone is no record too many.
    key("purge", "stays", &["--reason", "done"]);
    assert_eq!(prune(&["--any-state"]), (vec![], 0));
}
