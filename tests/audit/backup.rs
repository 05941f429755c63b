//! Backups under shares: made while in use, checked, restored on another machine.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::place::*;

/// A token with keys, its backup `b` for 2 of three printed shares.
fn backed_up() -> Place {
    let place = Place::ready("");
    place.work("open; secret data; generate other");
    let out =
        place.keyward("backup create b --threshold 2 --custodian x=print --custodian y=print --custodian z=print");
    assert!(out.status.success(), "{}", shown(&out.stderr));
    place
}

/// Another machine: another configuration and device secret, with the backup and its shares.
fn elsewhere(place: &Place) -> Place {
    let other = Place::new("");
    for name in ["b", "b.share-1-x.txt", "b.share-2-y.txt", "b.share-3-z.txt"] {
        fs::copy(place.0.join(name), other.0.join(name)).unwrap();
    }
    other
}

const PINS: &str = "--so-pin-file pin --pin-file pin";

fn objects(place: &Place) -> Vec<Value> {
    let (list, exit) = place.json("object list --pin-file pin");
    assert_eq!(exit, 0, "{list:#}");
    let mut all = list.as_array().unwrap().clone();
    all.sort_by_key(|one| one["unique_id"].to_string());
    all
}

#[test]
fn two_of_three_restore_the_token_on_another_machine() {
    let place = backed_up();
    let other = elsewhere(&place);
    let (restored, exit) =
        other.json(&format!("backup restore b --share b.share-3-z.txt --share b.share-1-x.txt {PINS}"));
    assert_eq!(exit, 0, "{restored:#}");
    assert_eq!(objects(&place), objects(&other), "unique IDs, labels and all");
    assert_ne!(fs::read(place.0.join("device")).unwrap(), fs::read(other.0.join("device")).unwrap());
    other.work("open; sign tls; sign other; value data; generate more");
    let (sound, exit) = other.json("token verify --pin-file pin");
    assert_eq!(exit, 0, "{sound:#}");
    assert!(other.operations().contains(&"restore".to_owned()));
    assert!(place.operations().contains(&"backup".to_owned()));
    // The same slot file is not restored over.
    let again = other.keyward(&format!("backup restore b --share b.share-3-z.txt --share b.share-1-x.txt {PINS}"));
    assert!(!again.status.success() && shown(&again.stderr).contains("is there already"), "{}", shown(&again.stderr));
    assert!(
        fs::read_dir(&other.0).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with('.'))
    );
}

#[test]
fn a_restored_token_has_its_policy_which_still_governs() {
    let place = Place::ready("");
    let policy = "version = 1\nname = 'kept'\n[[class]]\nname = 'none'\nmatch = { label = ['tls'] }\nmechanisms = ['CKM_ECDSA_SHA256']\n";
    fs::write(place.0.join("policy.toml"), policy).unwrap();
    assert!(place.keyward("policy apply policy.toml --so-pin-file pin").status.success());
    let (shown_before, _) = place.json("policy show");
    assert_eq!(place.try_work("open; sign tls").last().unwrap(), "sign tls: CKR_KEY_FUNCTION_NOT_PERMITTED");
    let made =
        place.keyward("backup create b --threshold 2 --custodian x=print --custodian y=print --custodian z=print");
    assert!(made.status.success(), "{}", shown(&made.stderr));
    let other = elsewhere(&place);
    let (restored, exit) =
        other.json(&format!("backup restore b --share b.share-3-z.txt --share b.share-1-x.txt {PINS}"));
    assert_eq!(exit, 0, "{restored:#}");
    let (shown_after, exit) = other.json("policy show");
    assert_eq!((exit, &shown_after["policy"]), (0, &shown_before["policy"]), "{shown_after:#}");
    assert_eq!(other.try_work("open; sign tls").last().unwrap(), "sign tls: CKR_KEY_FUNCTION_NOT_PERMITTED");
}

#[test]
fn after_the_loss_of_the_slot_file_the_same_machine_restores_it() {
    let place = backed_up();
    place.work("open; generate later");
    fs::remove_dir_all(place.0.join("tokens")).unwrap();
    let (restored, exit) =
        place.json(&format!("backup restore b --share b.share-1-x.txt --share b.share-2-y.txt {PINS}"));
    assert_eq!(exit, 0, "{restored:#}");
    let answers = place.work("open; sign tls; count later");
    assert_eq!(answers.last().unwrap(), "0");
}

#[test]
fn too_few_wrong_and_foreign_shares_are_told_apart() {
    let place = backed_up();
    let other = elsewhere(&place);
    let says = |shares: &str, words: &str| {
        let out = other.keyward(&format!("backup restore b {shares} {PINS}"));
        assert!(!out.status.success());
        assert!(shown(&out.stderr).contains(words), "{}", shown(&out.stderr));
    };
    says("--share b.share-1-x.txt", "1 different shares are given, 2 are needed");
    says("--share b.share-1-x.txt --share b.share-1-x.txt", "1 different shares");
    says("--share pin --share b.share-1-x.txt", "the share cannot be read");
    let mut text = text(&other.0.join("b.share-1-x.txt"));
    text.replace_range(60..61, if &text[60..61] == "0" { "1" } else { "0" });
    fs::write(other.0.join("typo"), text).unwrap();
    says("--share typo --share b.share-2-y.txt", "check digits");
    let foreign = place.keyward("backup create c --threshold 1 --custodian x=print");
    assert!(foreign.status.success());
    fs::copy(place.0.join("c.share-1-x.txt"), other.0.join("foreign")).unwrap();
    says("--share foreign --share b.share-2-y.txt", "belongs to backup");
    let wrong =
        other.keyward("backup restore b --share b.share-1-x.txt --share b.share-2-y.txt --so-pin-env W --pin-env W");
    assert_eq!(wrong.status.code(), Some(5));
    assert!(!other.0.join("tokens").exists(), "nothing was made");
}

#[test]
fn verification_finds_any_damage_without_and_with_shares() {
    let place = backed_up();
    let (found, exit) = place.json("backup verify b");
    assert_eq!((exit, &found["opened"]), (0, &false.into()), "{found:#}");
    let shares = "--share b.share-1-x.txt --share b.share-2-y.txt";
    let (found, exit) = place.json(&format!("backup verify b {shares} --pin-file pin"));
    assert_eq!((exit, found["unchecked"].as_u64()), (0, Some(0)), "{found:#}");
    assert_eq!(found["objects"].as_u64().unwrap() as usize, objects(&place).len());
    let whole = fs::read(place.0.join("b")).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(place.0.join("b"), &flipped).unwrap();
        assert!(!place.keyward("backup verify b").status.success(), "byte {at}");
        fs::write(place.0.join("b"), &whole[..at]).unwrap();
        assert!(!place.keyward("backup verify b").status.success(), "cut at {at}");
    }
    // An edit with a checksum made right: only the seal shows it.
    let mut edited = whole.clone();
    let end = edited.len() - 32;
    edited[end / 2] ^= 1;
    let sum = openssl::sha::sha256(&edited[..end]);
    edited[end..].copy_from_slice(&sum);
    fs::write(place.0.join("b"), &edited).unwrap();
    assert!(place.keyward("backup verify b").status.success());
    let out = place.keyward(&format!("backup verify b {shares}"));
    assert!(shown(&out.stderr).contains("was altered"), "{}", shown(&out.stderr));
}

#[test]
fn a_drill_leaves_nothing_behind() {
    let place = backed_up();
    let before: Vec<_> = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let (found, exit) = place.json(&format!("backup drill b --share b.share-2-y.txt --share b.share-3-z.txt {PINS}"));
    assert_eq!((exit, &found["drill"]), (0, &true.into()), "{found:#}");
    let after: Vec<_> = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before.len(), after.len(), "{after:?}");
}

#[test]
fn into_an_empty_token_and_never_over_a_full_one() {
    let place = backed_up();
    let other = elsewhere(&place);
    fs::write(other.0.join("pins2"), "87654321\n4321\n").unwrap();
    let made = other.keyward("token init --label fresh --so-pin-file pins2 --pin-file pins2");
    assert!(made.status.success(), "{}", shown(&made.stderr));
    fs::write(other.0.join("new"), "4321\n").unwrap();
    let line = "backup restore b --share b.share-1-x.txt --share b.share-2-y.txt --token fresh --pin-file pin --new-pin-file new";
    let out = other.keyward(line);
    assert!(out.status.success(), "{}", shown(&out.stderr));
    let (list, _) = other.json("object list --token fresh --pin-file new");
    assert_eq!(list.as_array().unwrap().len(), objects(&place).len());
    let again = other.keyward(line);
    assert_eq!(again.status.code(), Some(6), "{}", shown(&again.stderr));
}

#[test]
fn a_backup_is_whole_while_others_write() {
    let place = Place::ready("login = 'off'");
    let mut writer = place.start(&(0..400).fold("open".to_owned(), |script, n| script + &format!("; secret s{n}")));
    std::thread::sleep(std::time::Duration::from_millis(300));
    for n in 0..3 {
        let out = place.keyward(&format!("backup create b{n} --threshold 1 --custodian x=print"));
        assert!(out.status.success(), "{}", shown(&out.stderr));
        let (found, exit) = place.json(&format!("backup verify b{n} --share b{n}.share-1-x.txt --pin-file pin"));
        assert_eq!(exit, 0, "{found:#}");
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
}

#[test]
fn what_is_wrong_with_the_order_is_said_before_anything_is_made() {
    let place = Place::ready("");
    for (order, exit) in [
        ("--threshold 3 --custodian x=print --custodian y=print", 2),
        ("--threshold 0 --custodian x=print", 2),
        ("--threshold 1 --custodian x=age1qqq", 2),
        ("--threshold 1 --custodian x=missing.pem", 2),
        ("--threshold 1 --custodian ../x=print", 2),
        ("--threshold 1 --custodian x=print --custodian x=print", 2),
        ("--threshold 1", 2),
    ] {
        let out = place.keyward(&format!("backup create b {order}"));
        assert_eq!(out.status.code(), Some(exit), "{order}: {}", shown(&out.stderr));
    }
    assert!(place.keyward("backup create b --threshold 1 --custodian x=print --dry-run").status.success());
    assert!(!place.0.join("b").exists());
    fs::write(place.0.join("b.share-1-x.txt"), "kept").unwrap();
    assert_eq!(place.keyward("backup create b --threshold 1 --custodian x=print").status.code(), Some(6));
    assert!(!place.0.join("b").exists() && !place.0.join("b.snapshot").exists());
    assert_eq!(text(&place.0.join("b.share-1-x.txt")), "kept");
}

/// The output of a program that may not be installed.
fn other_program(name: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(name).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| eprintln!("not compared with {name}: {error}")).ok()?;
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{name}");
    Some(out.stdout)
}

#[test]
fn shares_for_age_recipients_and_rsa_keys_are_opened_by_age_and_openssl() {
    let place = Place::ready("");
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    fs::write(place.0.join("bob.key"), key.private_key_to_pem().unwrap()).unwrap();
    fs::write(place.0.join("bob.pem"), key.public_key_to_pem().unwrap()).unwrap();
    // Any 32 bytes are a key; this pair is that of the library's own tests.
    let recipient = "age1vch25scsudac8tzxn3alqjkf98dr3c35zkdh2x578ysfrq332f9sxc4vra";
    let identity = "AGE-SECRET-KEY-1MPDP28HVE7KPUNXGGUGUE97HD0QZ25GR2AUKYXTAWKRUYQDMZE6QU5KA5U";
    fs::write(place.0.join("ada.key"), identity).unwrap();
    let order = format!("backup create b --threshold 2 --custodian ada={recipient} --custodian bob=bob.pem");
    let out = place.keyward(&order);
    assert!(out.status.success(), "{}", shown(&out.stderr));
    let rsa = fs::read(place.0.join("b.share-2-bob.rsa")).unwrap();
    let key = openssl::pkey::PKey::from_rsa(key).unwrap();
    let mut decrypter = openssl::encrypt::Decrypter::new(&key).unwrap();
    decrypter.set_rsa_padding(openssl::rsa::Padding::PKCS1_OAEP).unwrap();
    decrypter.set_rsa_oaep_md(openssl::hash::MessageDigest::sha256()).unwrap();
    let mut plain = vec![0; rsa.len()];
    let len = decrypter.decrypt(&rsa, &mut plain).unwrap();
    fs::write(place.0.join("bob.txt"), &plain[..len]).unwrap();
    let drill = "backup drill b --share b.share-1-ada.age --share bob.txt";
    let (found, exit) = place.json(&format!("{drill} --identity ada.key {PINS}"));
    assert_eq!(exit, 0, "{found:#}");
    assert!(shown(&place.keyward(&format!("{drill} {PINS}")).stderr).contains("--identity"));
    let encrypted = fs::read(place.0.join("b.share-1-ada.age")).unwrap();
    let path = place.0.join("ada.key");
    if let Some(opened) = other_program("age", &["-d", "-i", path.to_str().unwrap()], &encrypted) {
        assert!(shown(&opened).starts_with("KEYWARD-SHARE-1:"));
        let theirs = other_program("age", &["-r", recipient], &opened).unwrap();
        fs::write(place.0.join("theirs.age"), theirs).unwrap();
        let line = format!("backup drill b --share theirs.age --share bob.txt --identity ada.key {PINS}");
        assert_eq!(place.json(&line).1, 0);
    }
}
