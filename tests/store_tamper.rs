//! An adversary who can write the slot file, and damage by accident.

mod store_common;

use keyward::error::Code;
use keyward::store::*;
use rusqlite::{Connection, params};
use store_common::*;

fn sql(place: &Place, statement: &str, with: impl rusqlite::Params) {
    let raw = Connection::open(place.slot()).unwrap();
    assert!(raw.execute(statement, with).unwrap() > 0, "{statement}");
}

/// A token with three private objects and one public one.
fn four() -> (Place, SlotFile, std::sync::Arc<Keys>) {
    let place = Place::new();
    let (file, keys) = place.ready();
    let mut changes: Vec<_> = (1..=3).map(|n| insert(true, &format!("k{n}"), "same")).collect();
    changes.push(insert(false, "k4", "same"));
    file.commit(&keys, changes).unwrap();
    (place, file, keys)
}

fn readable(file: &SlotFile, keys: &Keys) -> Vec<u64> {
    let whole = |id: &u64| match file.read(keys, *id) {
        Ok(Some(record)) => file.secret(keys, &record).is_ok(),
        Ok(None) => false,
        Err(e) => {
            assert_eq!(e.code(), Code::DeviceError);
            assert!(e.why().unwrap().contains(&format!("object {id}")), "{e}");
            false
        }
    };
    (1..=4).filter(whole).collect()
}

#[test]
fn a_flipped_bit_costs_its_record_only() {
    for column in ["attrs", "secret"] {
        for at in [0usize, 12, 20, 30] {
            let (place, file, keys) = four();
            let raw = Connection::open(place.slot()).unwrap();
            let query = format!("SELECT {column} FROM obj WHERE id = 2");
            let mut blob: Vec<u8> = raw.query_row(&query, [], |r| r.get(0)).unwrap();
            let at = at.min(blob.len() - 1);
            blob[at] ^= 0x10;
            raw.execute(&format!("UPDATE obj SET {column} = ?1 WHERE id = 2"), [&blob]).unwrap();
            drop(raw);
            assert_eq!(readable(&file, &keys), [1, 3, 4], "{column} {at}");
            assert_eq!(find(&file, &keys, &[(ID, b"same")]), [1, 2, 3, 4]);
            assert_eq!(file.verify(&keys).unwrap().damaged, [2]);
            // It can be removed, and the others still changed.
            file.commit(&keys, vec![Change::Delete { id: 2 }, insert(true, "k5", "same")]).unwrap();
            assert_eq!(find(&file, &keys, &[(ID, b"same")]), [1, 3, 4, 5]);
            assert!(file.verify(&keys).unwrap().damaged.is_empty());
        }
    }
}

#[test]
fn no_column_of_an_object_can_be_edited() {
    for edit in [
        "version = version + 1",
        "key_version = key_version + 1",
        "private = 0",
        "secret_version = 0",
        "secret_version = 2",
        "attrs = (SELECT attrs FROM obj WHERE id = 3)",
        "secret = (SELECT secret FROM obj WHERE id = 3)",
        "secret = NULL",
        "secret = x''",
        "attrs = x'00'",
    ] {
        let (place, file, keys) = four();
        sql(&place, &format!("UPDATE obj SET {edit} WHERE id = 2"), []);
        assert_eq!(readable(&file, &keys), [1, 3, 4], "{edit}");
        let report = file.verify(&keys).unwrap();
        assert_eq!(report.damaged, [2], "{edit}");
    }
}

#[test]
fn removed_replayed_and_copied_records_show() {
    let (place, file, keys) = four();
    assert!(file.verify(&keys).unwrap().is_clean());
    let raw = Connection::open(place.slot()).unwrap();
    raw.execute_batch("CREATE TEMP TABLE old AS SELECT * FROM obj WHERE id = 1").unwrap();
    let change = Change::Update {
        id: 1,
        version: 1,
        private: true,
        attrs: b"changed".to_vec(),
        secret: SecretChange::Keep,
        index: vec![(LABEL, b"k1".to_vec()), (ID, b"same".to_vec())],
    };
    file.commit(&keys, vec![change]).unwrap();
    assert!(file.verify(&keys).unwrap().is_clean());
    raw.execute_batch("INSERT OR REPLACE INTO obj SELECT * FROM temp.old").unwrap();
    let report = file.verify(&keys).unwrap();
    assert!(report.tampered && report.damaged.is_empty(), "an old version put back opens, and shows: {report:?}");
    file.accept_as_found(&keys).unwrap();
    assert!(file.verify(&keys).unwrap().is_clean());

    raw.execute_batch("DELETE FROM obj WHERE id = 3").unwrap();
    let report = file.verify(&keys).unwrap();
    assert!(report.tampered && report.stray_entries == 2, "{report:?}");
    // Without login a removed public object shows too.
    raw.execute_batch("DELETE FROM obj WHERE id = 4").unwrap();
    assert!(file.verify(&file.public_keys().unwrap()).unwrap().tampered);
}

#[test]
fn the_index_is_checked() {
    let (place, file, keys) = four();
    sql(&place, "DELETE FROM idx WHERE id = 2", []);
    let report = file.verify(&keys).unwrap();
    assert_eq!((report.unindexed.as_slice(), report.tampered), (&[2][..], false));
    let (place, file, keys) = four();
    sql(&place, "INSERT INTO idx SELECT zeroblob(16), 2", []);
    assert_eq!(file.verify(&keys).unwrap().stray_entries, 1);
}

#[test]
fn login_records_and_header_cannot_be_edited() {
    for edit in ["failures = 0", "record = zeroblob(97)", "mac = zeroblob(32)"] {
        let (place, file, _keys) = four();
        assert!(file.unlock(Role::User, b"wrong").is_err());
        sql(&place, &format!("UPDATE auth SET {edit} WHERE role = 2"), []);
        assert_eq!(file.unlock(Role::User, PIN).err().unwrap().code(), Code::DeviceError, "{edit}");
        // The security officer mends it.
        let so = file.unlock(Role::SecurityOfficer, SO).unwrap();
        file.init_user_pin(&so, PIN).unwrap();
        file.unlock(Role::User, PIN).unwrap();
    }
    // One role's record under the other's number.
    let (place, file, _keys) = four();
    sql(
        &place,
        "UPDATE auth SET (record, failures, mac) = (SELECT record, failures, mac FROM auth WHERE role = 1) \
                 WHERE role = 2",
        [],
    );
    assert_eq!(file.unlock(Role::User, SO).err().unwrap().code(), Code::DeviceError);

    let (place, file, keys) = four();
    let raw = Connection::open(place.slot()).unwrap();
    let header: Vec<u8> = raw.query_row("SELECT header FROM meta", [], |r| r.get(0)).unwrap();
    for at in 0..header.len() {
        let mut edited = header.clone();
        edited[at] ^= 1;
        raw.execute("UPDATE meta SET header = ?1", [&edited]).unwrap();
        assert!(SlotFile::open(&place.slot(), device(), RULES).is_err(), "byte {at}");
    }
    raw.execute("UPDATE meta SET header = ?1", [&header]).unwrap();
    raw.execute("UPDATE meta SET public_state = ?1", params![vec![0u8; 84]]).unwrap();
    assert_eq!(readable(&file, &keys), [1, 2, 3, 4], "records are read without it");
    assert!(file.verify(&keys).unwrap().tampered);
    assert_eq!(file.commit(&keys, vec![insert(true, "x", "x")]).err().unwrap().code(), Code::DeviceError);
    file.accept_as_found(&keys).unwrap();
    file.commit(&keys, vec![insert(true, "x", "x")]).unwrap();
    assert!(file.verify(&keys).unwrap().is_clean());
}
