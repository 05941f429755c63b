//! The record in other forms, and what its report says.

use std::fs;
use std::os::unix::net::UnixDatagram;

use crate::place::*;

#[test]
fn json_lines_are_the_record_itself_and_a_cursor_goes_on_where_it_stood() {
    let place = Place::ready("");
    place.work("open; sign tls 3");
    let out = place.keyward("audit export --cursor at");
    assert_eq!(shown(&out.stdout), text(&place.record()));
    assert!(place.keyward("audit export --cursor at").stdout.is_empty());
    place.work("open; sign tls");
    let more = shown(&place.keyward("audit export --cursor at").stdout);
    assert!(more.contains("\"sign\"") && text(&place.record()).ends_with(&more));
}

#[test]
fn syslog_messages_reach_the_local_socket() {
    let place = Place::ready("");
    place.work("open; sign tls");
    let path = place.0.join("log.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    let out = place.keyward("audit export --format syslog --socket log.sock --operation sign");
    assert!(out.status.success(), "{}", shown(&out.stderr));
    let mut room = [0; 4096];
    let len = socket.recv(&mut room).unwrap();
    let message = shown(&room[..len]);
    assert!(message.starts_with("<86>1 2"), "{message}");
    assert!(
        message.contains(" keyward ") && message.contains("label=\"tls\"") && message.contains("CKM_ECDSA"),
        "{message}"
    );
    let gone = place.keyward("audit export --format syslog --socket nowhere.sock");
    assert_eq!(gone.status.code(), Some(1));
}

#[test]
fn cef_has_its_header_and_its_fields() {
    let place = Place::ready("");
    place.try_work("open; lame dumb; sign dumb");
    let out = shown(&place.keyward("audit export --format cef --operation sign").stdout);
    assert!(out.starts_with("CEF:0|Keyward|Keyward|"), "{out}");
    assert!(out.contains("|sign|sign|6|rt="), "refused, so it weighs more: {out}");
    assert!(out.contains("outcome=CKR_KEY_FUNCTION_NOT_PERMITTED"), "{out}");
}

#[test]
fn the_report_names_users_and_what_is_unusual() {
    let place = Place::ready("");
    place.work("open; sign tls 12");
    let (quiet, exit) = place.json("audit report --key tls");
    assert_eq!(exit, 0, "{quiet:#}");
    let uses = quiet["uses"].as_array().unwrap();
    let signed = uses.iter().find(|one| one["operation"] == "sign").unwrap();
    assert_eq!(signed["done"], 12);
    place.try_work("open; lame dumb; sign dumb; secret kek; secret data; wrap kek data");
    // Another program: the same one under another name.
    fs::copy(std::env::current_exe().unwrap(), place.0.join("other")).unwrap();
    let other = std::process::Command::new(place.0.join("other"))
        .args(["worker::works_by_its_script", "--exact", "--nocapture"])
        .env("KEYWARD_CONF", place.conf())
        .env("KEYWARD_TEST_SCRIPT", "open; sign tls")
        .output()
        .unwrap();
    assert!(other.status.success());
    let (found, exit) = place.json("audit report");
    assert_eq!(exit, 7);
    let rules: Vec<_> =
        found["anomalies"].as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["refused_use", "export", "new_executable"], "{found:#}");
    let before = place.json("audit report --until 2020-01-01").0;
    assert!(before["anomalies"].as_array().unwrap().is_empty());
}

#[test]
fn show_has_filters_and_wrong_times_are_refused() {
    let place = Place::ready("");
    place.work("open; sign tls 3");
    let (shown, exit) = place.json("audit show --operation sign --last 2");
    assert_eq!((shown.as_array().unwrap().len(), exit), (2, 0));
    assert_eq!(place.keyward("audit show --since yesterday").status.code(), Some(2));
    assert!(place.json("audit show --refused").0.as_array().unwrap().is_empty());
}

#[test]
fn elsewhere_the_public_key_is_enough() {
    let place = Place::ready("");
    place.work("open; sign tls 3");
    let kept = place.0.join("collected");
    fs::create_dir(&kept).unwrap();
    for name in ["audit.log", "audit.pub"] {
        fs::copy(place.0.join("audit").join(name), kept.join(name)).unwrap();
    }
    let (found, exit) = place.json("audit verify --directory collected");
    assert_eq!((exit, &found["anchored"]), (0, &false.into()));
    assert!(found["checkpoints"].as_u64().unwrap() >= 1, "{found:#}");
    // Another key vouches for nothing of it.
    fs::write(kept.join("audit.pub"), "00".repeat(32)).unwrap();
    assert_eq!(place.json("audit verify --directory collected").1, 7);
}
