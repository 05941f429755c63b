//! Who can write the slot file, and has not the device secret.

use rusqlite::Connection;

use crate::place::*;
use crate::*;

fn slot(place: &Place) -> std::path::PathBuf {
    let all = std::fs::read_dir(place.0.join("tokens")).unwrap().map(|entry| entry.unwrap().path());
    all.into_iter().find(|path| path.extension().is_some_and(|e| e == "slot")).unwrap()
}

fn sql(place: &Place, statement: &str) {
    Connection::open(slot(place)).unwrap().execute_batch(statement).unwrap();
}

/// A table beside: what stood there once.
const KEEP: &str = "CREATE TABLE old AS SELECT * FROM auth;";

fn code_of(place: &Place, script: &str) -> String {
    place.try_work(script).last().unwrap().rsplit(": ").next().unwrap().to_owned()
}

#[test]
fn a_record_that_is_anothers_is_none() {
    let place = staffed(&[("anna", "user"), ("max", "auditor")]);
    sql(
        &place,
        "UPDATE auth SET role = 99 WHERE role = 32; UPDATE auth SET role = 32 WHERE role = 33; UPDATE auth SET role = 33 WHERE role = 99",
    );
    assert_eq!(code_of(&place, "named user anna anna-1234"), "CKR_PIN_INCORRECT");
    assert_eq!(code_of(&place, "named user anna max-1234"), "CKR_PIN_INCORRECT");
    let (listed, exit) = place.json("user list");
    assert_eq!((exit, &listed["damaged"]), (7, &2.into()), "{listed:#}");
    place.work("login user 1234-abcd; sign tls");
    done(&place, "user remove --damaged --so-pin-file pin --yes");
    assert_eq!(done(&place, "user list")["damaged"], 0);
}

#[test]
fn no_column_of_a_record_can_be_edited() {
    let place = staffed(&[("anna", "user")]);
    place.try_work("named user anna wrong-1");
    sql(&place, KEEP);
    for edit in [
        "failures = 0",
        "tried = 0",
        "record = CAST(substr(record, 1, 97) AS BLOB)",
        "record = CAST(record || x'00' AS BLOB)",
        "mac = x''",
    ] {
        sql(&place, &format!("UPDATE auth SET {edit} WHERE role = 32"));
        assert_eq!(code_of(&place, "named user anna anna-1234"), "CKR_PIN_INCORRECT", "{edit}");
        sql(&place, "INSERT OR REPLACE INTO auth SELECT * FROM old WHERE role = 32");
    }
    place.work("named user anna anna-1234; logout; login user 1234-abcd");
}

#[test]
fn wrong_tries_put_back_still_count() {
    let place = staffed(&[("anna", "user")]);
    let text = std::fs::read_to_string(place.conf()).unwrap();
    std::fs::write(place.conf(), format!("pin.max_failures = 3\n{text}")).unwrap();
    sql(&place, KEEP);
    for n in 1..=3 {
        assert_eq!(code_of(&place, &format!("named user anna wrong-{n}")), "CKR_PIN_INCORRECT");
        sql(
            &place,
            "UPDATE auth SET failures = 0, tried = 0, mac = (SELECT mac FROM old WHERE role = 32) WHERE role = 32",
        );
    }
    assert_eq!(code_of(&place, "named user anna anna-1234"), "CKR_PIN_LOCKED");
}

#[test]
fn a_removed_user_put_back_is_none_with_or_without_the_register() {
    let place = staffed(&[("anna", "user"), ("bert", "user")]);
    sql(&place, KEEP);
    done(&place, "user remove anna --so-pin-file pin --yes");
    sql(&place, "INSERT INTO auth SELECT * FROM old WHERE role = 32");
    assert_eq!(code_of(&place, "named user anna anna-1234"), "CKR_PIN_INCORRECT");
    place.work("named user bert bert-1234");
    // The register of then as well: an older copy, to which nobody logs in.
    sql(&place, "INSERT OR REPLACE INTO auth SELECT * FROM old WHERE role = 18");
    for script in ["named user anna anna-1234", "named user bert bert-1234", "login user 1234-abcd"] {
        assert_eq!(code_of(&place, script), "CKR_DEVICE_ERROR", "{script}");
    }
    assert!(place.log().contains("users that have been changed since"), "{}", place.log());
}

#[test]
fn a_former_pin_or_role_put_back_is_none() {
    let place = staffed(&[("anna", "user")]);
    sql(&place, KEEP);
    std::fs::write(place.0.join("new"), "anna-5678\n").unwrap();
    done(&place, "user pin anna --so-pin-file pin --new-pin-file new");
    done(&place, "user role anna --role auditor --so-pin-file pin");
    sql(&place, "INSERT OR REPLACE INTO auth SELECT * FROM old WHERE role = 32");
    assert_eq!(code_of(&place, "named user anna anna-1234"), "CKR_PIN_INCORRECT");
}

#[test]
fn a_second_factor_is_not_taken_off_by_an_older_record() {
    let place = staffed(&[]);
    sql(&place, KEEP);
    done(&place, "user totp enrol --so --so-pin-file pin");
    sql(&place, "INSERT OR REPLACE INTO auth SELECT * FROM old WHERE role = 1");
    assert_eq!(code_of(&place, &format!("login so {PIN}")), "CKR_DEVICE_ERROR");
    sql(&place, "DELETE FROM auth WHERE role = 18");
    assert_eq!(code_of(&place, &format!("login so {PIN}")), "CKR_DEVICE_ERROR");
}

#[test]
fn no_name_stands_in_the_file() {
    let place = staffed(&[("annabella", "user")]);
    sql(&place, "PRAGMA wal_checkpoint(TRUNCATE)");
    let bytes = std::fs::read(slot(&place)).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"annabella"));
}
