//! What each role may do, and that duties are kept apart.

use crate::login::pin_file;
use crate::place::*;
use crate::*;

#[test]
fn each_role_does_its_own_and_no_more() {
    let place = staffed(&[
        ("anna", "user"),
        ("otto", "operator"),
        ("both", "user operator"),
        ("max", "auditor"),
        ("bea", "backup"),
        ("pia", "approver"),
    ]);
    let tried = |name: &str| {
        let steps = "sign tls; passing p; sign p; generate new-NAME; rename tls tls; destroy new-NAME; count tls";
        let answers = place.try_work(&format!("named user {name} {name}-1234; {}", steps.replace("NAME", name)));
        answers[1..].iter().map(|answer| answer.rsplit(": ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (ok, no, handle) = ("CKR_OK", "CKR_USER_NOT_LOGGED_IN", "CKR_OBJECT_HANDLE_INVALID");
    assert_eq!(tried("anna"), [ok, ok, ok, no, no, handle, "1"], "uses keys, makes none that stay");
    assert_eq!(tried("otto"), [no, ok, no, ok, ok, ok, "1"], "makes and ends keys, uses none");
    assert_eq!(tried("both"), [ok, ok, ok, ok, ok, ok, "1"]);
    for name in ["max", "bea", "pia"] {
        let key = "CKR_KEY_HANDLE_INVALID";
        assert_eq!(tried(name), [key, no, key, no, handle, handle, "0"], "{name} sees no private object");
    }
    let answers = place.try_work("named user anna anna-1234; destroy tls");
    assert!(answers[1].ends_with("CKR_ACTION_PROHIBITED"), "{answers:?}");
    refused(&place, &format!("policy apply none --user anna --so-pin-file {}", pin_file(&place, "anna")), 2, "--user");
}

#[test]
fn roles_are_given_and_taken_at_once() {
    let place = staffed(&[("anna", "user")]);
    let (ready, go) = (place.0.join("ready"), place.0.join("go"));
    let (ready, go) = (ready.display(), go.display());
    let anna = place.start(&format!(
        "named user anna anna-1234; hold tls; use; touch {ready}; wait {go}; use; generate more; state"
    ));
    while !place.0.join("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    done(&place, "user role anna --role operator --so-pin-file pin");
    std::fs::write(place.0.join("go"), b"").unwrap();
    let anna = answers(anna);
    assert_eq!(anna[2..], ["use: CKR_USER_NOT_LOGGED_IN", "generate more: CKR_OK", "CKS_RW_USER_FUNCTIONS"]);
    // Without the master key, and with it again: no PIN was needed.
    done(&place, "user role anna --role auditor --so-pin-file pin");
    let answers = place.try_work("named user anna anna-1234; count tls");
    assert_eq!(answers[1], "0");
    done(&place, "user role anna --role user --so-pin-file pin");
    place.work("named user anna anna-1234; sign tls");
}

#[test]
fn duties_that_are_kept_apart_are_not_given_together() {
    let place = staffed(&[]);
    std::fs::write(place.0.join("new"), "anna-1234\n").unwrap();
    let add = "user add anna --so-pin-file pin --new-pin-file new";
    for roles in ["--role officer --role user", "--role auditor --role operator", "--role approver --role backup"] {
        refused(&place, &format!("{add} {roles}"), 2, "kept apart");
    }
    refused(&place, &format!("{add} --role root"), 2, "expected officer");
    for name in ["so", "user", "a:b"] {
        refused(&place, &format!("{add} --role user").replace("anna", name), 1, "a user's name");
    }
    done(&place, &format!("{add} --role user"));
    refused(&place, &format!("{add} --role user"), 1, "there is a user anna already");
    // Nobody but an officer.
    let by_user = format!("user add bert --role user --so-pin-file {} --new-pin-file new", pin_file(&place, "anna"));
    refused(&place, &by_user, 5, "cannot log in as the SO");
    let by_user = format!("{by_user} --officer anna");
    refused(&place, &by_user, 1, "CKR_USER_TYPE_INVALID");
    assert_eq!(done(&place, "user list")["users"].as_array().unwrap().len(), 1);
}

#[test]
fn a_named_officer_keeps_the_users_and_is_named_in_the_record() {
    let place = staffed(&[("olga", "officer")]);
    let olga = format!("--officer olga --so-pin-file {}", pin_file(&place, "olga"));
    std::fs::write(place.0.join("new"), "anna-1234\n").unwrap();
    done(&place, &format!("user add anna --role user {olga} --new-pin-file new"));
    place.work("named user anna anna-1234; sign tls");
    let line = place.lines().into_iter().rfind(|line| line["op"] == "user_add").unwrap();
    assert_eq!((&line["user"], &line["rule"]), (&"olga".into(), &"anna: user".into()), "{line:#}");
    let answers = place.try_work("named so olga olga-1234; sign tls; generate more; count tls");
    assert_eq!(answers[1], "sign tls: CKR_KEY_HANDLE_INVALID", "an officer never uses a key");
    assert!(answers[2].ends_with("CKR_USER_NOT_LOGGED_IN") && answers[3] == "0", "{answers:?}");
}

#[test]
fn the_record_is_read_by_auditors_and_backups_are_made_by_who_has_that_role() {
    let place = staffed(&[("anna", "user"), ("max", "auditor"), ("bea", "backup")]);
    let by = |name: &str| format!("--by {name} --by-pin-file {}", pin_file(&place, name));
    for command in ["show", "verify", "report", "export", "rotate"] {
        let line = format!("audit {command}");
        refused(&place, &line, 5, "its users of the role auditor (max)");
        refused(&place, &format!("{line} {}", by("anna")), 6, "its users of the role auditor (max)");
        let read = place.keyward(&format!("{line} {}", by("max")));
        assert!(matches!(read.status.code(), Some(0 | 7)), "{line}: {}", shown(&read.stderr));
    }
    refused(&place, "audit verify --by max --by-pin-file pin", 5, "wrong PIN");
    // What is made of the record is made for auditors too, whoever logs in to the token.
    for (at, command) in
        ["key list", "report compliance", "report html --output", "report metrics --output"].into_iter().enumerate()
    {
        let line = |again: usize| match command.strip_suffix(" --output") {
            Some(command) => format!("{command} --pin-file pin --output {at}{again}.prom"),
            None => format!("{command} --pin-file pin"),
        };
        refused(&place, &line(0), 5, "its users of the role auditor (max)");
        let made = place.keyward(&format!("{} {}", line(1), by("max")));
        assert!(matches!(made.status.code(), Some(0 | 7)), "{command}: {}", shown(&made.stderr));
    }
    refused(&place, &format!("key list --pin-file pin {}", by("anna")), 6, "its users of the role auditor (max)");
    let count = |words: &str| place.json(&format!("key list --pin-file pin {words}")).0[0]["use_count"].clone();
    assert_eq!((count(&by("max")), count("--no-record")), (0.into(), serde_json::Value::Null));
    let found = place.json("report compliance --pin-file pin --no-record --framework pci").0;
    assert!(found.to_string().contains("was left out (--no-record)"), "{found:#}");
    // Its name is no way around; a copy elsewhere is nobody's but whose file it is.
    refused(&place, &format!("audit show --directory {}", place.0.join("audit").display()), 5, "auditor");
    let copy = place.0.join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(place.0.join("audit")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    done(&place, &format!("audit show --directory {}", copy.display()));

    let create = "backup create b --threshold 1 --custodian x=print";
    done(&place, &format!("{create} --dry-run"));
    refused(&place, create, 5, "its users of the role backup (bea)");
    refused(&place, &format!("{create} {}", by("max")), 6, "its users of the role backup (bea)");
    assert!(!place.0.join("b").exists());
    done(&place, &format!("{create} {}", by("bea")));
    refused(&place, "token backup-file c", 5, "its users of the role backup (bea)");
    done(&place, &format!("token backup-file c {}", by("bea")));
    let verify = "backup verify b --share b.share-1-x.txt --pin-file pin";
    let noted = |line: &str| shown(&place.keyward(line).stdout);
    assert!(noted(verify).contains("NOT noted with the token"), "{}", noted(verify));
    assert!(noted(&format!("{verify} {}", by("bea"))).contains("count as backed up"));
    let lines: Vec<String> = text(&place.record()).lines().map(str::to_owned).collect();
    let told = |operation: &str| lines.iter().any(|line| line.contains(operation) && line.contains("\"user\":\"bea\""));
    assert!(told("\"backup\"") && told("\"verify_backup\""), "{lines:#?}");
}
