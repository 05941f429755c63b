//! What is recorded, and what the modes make of a record that cannot be written.

use std::os::unix::fs::PermissionsExt;

use crate::place::*;

#[test]
fn each_event_is_a_line_that_says_who_did_what_with_which_key() {
    let place = Place::ready("");
    place.work("open; sign tls 2; rename tls web; sign web");
    place.try_work("wrong");
    let operations = place.operations();
    let expected = [
        "init_token",
        "login",
        "init_pin",
        "logout",
        "login",
        "generate",
        "generate",
        "login",
        "sign",
        "sign",
        "set",
        "sign",
        "login",
    ];
    let said: Vec<&str> = operations.iter().map(String::as_str).filter(|op| *op != "logout").collect();
    let expected: Vec<&str> = expected.into_iter().filter(|op| *op != "logout").collect();
    assert_eq!(said, expected);
    let lines = place.lines();
    let generated = lines.iter().find(|line| line["op"] == "generate").unwrap();
    let signed: Vec<_> = lines.iter().filter(|line| line["op"] == "sign").collect();
    assert_eq!(signed[0]["key"], generated["key"], "the private key's unique ID");
    assert_eq!((&signed[0]["label"], &signed[2]["label"]), (&"tls".into(), &"web".into()), "the label of the moment");
    assert_eq!(signed[0]["mechanism"], "CKM_ECDSA");
    assert_eq!(signed[0]["user"], "user");
    assert_eq!(signed[0]["result"], "CKR_OK");
    assert_eq!(signed[0]["exe"], std::env::current_exe().unwrap().display().to_string());
    assert_eq!(lines.last().unwrap()["result"], "CKR_PIN_INCORRECT");
    let all = text(&place.record());
    assert!(!all.contains(PIN) && !all.contains("9999-zzzz"), "no PIN, right or wrong");
    assert_eq!(place.whole()["last"], lines.len());
}

#[test]
fn what_leaves_the_token_is_an_event() {
    let place = Place::ready("");
    place.work("open; secret kek; secret data; wrap kek data; value data; destroy data");
    let operations = place.operations();
    assert!(
        operations.ends_with(&["wrap", "read_value", "destroy"].map(str::to_owned)) || {
            let without: Vec<_> = operations.iter().filter(|op| *op != "logout").collect();
            without[without.len() - 3..] == ["wrap", "read_value", "destroy"]
        }
    );
    let lines = place.lines();
    let wrapped = lines.iter().find(|line| line["op"] == "wrap").unwrap();
    assert_eq!(wrapped["label"], "data");
    assert!(wrapped["with"].as_str().is_some_and(|with| !with.is_empty() && wrapped["key"] != with));
}

#[test]
fn refused_uses_are_on_record_and_public_ones_only_on_request() {
    let place = Place::ready("");
    let answers = place.try_work("open; lame dumb; sign dumb; check tls");
    assert!(answers[2].ends_with("CKR_KEY_FUNCTION_NOT_PERMITTED"), "{answers:?}");
    let refused = place.lines().into_iter().find(|line| line["op"] == "sign").unwrap();
    assert_eq!((&refused["result"], &refused["label"]), (&"CKR_KEY_FUNCTION_NOT_PERMITTED".into(), &"dumb".into()));
    assert!(!place.operations().contains(&"verify".to_owned()));
    place.configure("public_use = 'best_effort'");
    place.work("open; check tls");
    assert!(place.operations().contains(&"verify".to_owned()));
}

#[test]
fn session_objects_are_uses_and_without_use_nothing_of_them_is_recorded() {
    let place = Place::ready("key_use = 'off'\nlogin = 'off'");
    let before = place.operations();
    place.work("open; passing brief; sign brief; sign tls");
    assert_eq!(place.operations(), before);
    place.work("open; destroy tls");
    assert_eq!(place.operations().len(), before.len() + 1, "administrative events are always recorded");
}

#[test]
fn redacted_fields_are_hidden_and_still_tell_keys_apart() {
    let place = Place::ready("redact = ['label', 'host', 'exe']");
    place.work("open; sign tls 2; generate other; sign other");
    let lines = place.lines();
    let all = text(&place.record());
    assert!(!all.contains("\"tls\"") && !all.contains(&*std::env::current_exe().unwrap().to_string_lossy()));
    let labels: Vec<_> = lines.iter().filter(|line| line["op"] == "sign").map(|line| &line["label"]).collect();
    assert!(labels[0].as_str().unwrap().starts_with("redacted:"));
    assert!(labels[0] == labels[1] && labels[1] != labels[2]);
    place.whole();
}

/// Makes the record unwritable: a directory stands where the file should.
fn block(place: &Place) {
    std::fs::rename(place.record(), place.0.join("kept")).unwrap();
    std::fs::create_dir(place.record()).unwrap();
}

fn unblock(place: &Place) {
    std::fs::remove_dir(place.record()).unwrap();
    std::fs::rename(place.0.join("kept"), place.record()).unwrap();
}

#[test]
fn what_must_be_recorded_and_cannot_be_is_refused() {
    let place = Place::ready("key_use = 'required'");
    block(&place);
    let answers = place.try_work("open; sign tls; generate new; destroy tls");
    assert!(answers[1..].iter().all(|answer| answer.ends_with("CKR_DEVICE_ERROR")), "{answers:?}");
    unblock(&place);
    let answers = place.work("open; sign tls; count tls; count new");
    assert_eq!(answers[2..], ["2", "0"], "nothing was made, nothing was destroyed");
    place.whole();
}

#[test]
fn best_effort_goes_on_and_says_so_in_the_log() {
    let place = Place::ready("");
    block(&place);
    place.work("open; sign tls");
    assert!(place.log().contains("not on record"), "{}", place.log());
    let answers = place.try_work("open; destroy tls");
    assert!(answers[1].ends_with("CKR_DEVICE_ERROR"), "administrative events insist: {answers:?}");
    unblock(&place);
}

#[test]
fn a_full_disk_refuses_what_is_required_and_leaves_no_half_line() {
    // A tmpfs of its own needs root; the suite runs without it elsewhere.
    let place = Place::ready("key_use = 'required'");
    let small = place.0.join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"])
        .arg(&small)
        .output()
        .is_ok_and(|out| out.status.success());
    if !mounted {
        eprintln!("not run: no tmpfs can be mounted here");
        return;
    }
    place.configure(&format!("directory = '{}/audit'\nkey_use = 'required'", small.display()));
    // Another record, so another head.
    std::fs::remove_file(place.head()).unwrap();
    let answers = place.try_work("open; sign tls 400");
    let _unmount = Unmount(small.clone());
    let good = answers.iter().filter(|answer| answer.ends_with("CKR_OK")).count();
    let refused = answers.iter().filter(|answer| answer.ends_with("CKR_DEVICE_ERROR")).count();
    assert!(good > 20 && refused > 100, "{good} {refused}");
    let text = text(&small.join("audit/audit.log"));
    assert!(text.ends_with('\n') && text.lines().all(|line| line.ends_with('}')));
    place.whole();
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn the_record_is_for_its_account_alone() {
    let place = Place::ready("");
    for path in [place.record(), place.head(), place.0.join("audit/audit.lock")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

/// Not a test of right or wrong: prints what a use costs with and without a record.
#[test]
#[ignore = "a measurement"]
fn what_a_use_costs() {
    let place = Place::ready("key_use = 'off'");
    for mode in ["off", "best_effort", "required", "durable"] {
        place.configure(&format!("key_use = '{mode}'"));
        let count = if mode == "durable" { 50 } else { 2000 };
        println!("{mode}: {:?}", place.work(&format!("open; time tls {count}")).last().unwrap());
    }
}
