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
    sql(&place, "DELETE FROM tags WHERE id = 2", []);
    let report = file.verify(&keys).unwrap();
    assert_eq!((report.unindexed.as_slice(), report.tampered), (&[2][..], false));
    let (place, file, keys) = four();
    sql(&place, "INSERT INTO tags SELECT 1, zeroblob(16), 2", []);
    assert_eq!(file.verify(&keys).unwrap().stray_entries, 1);
    let (place, file, keys) = four();
    sql(&place, "UPDATE tags SET private = 1 - private WHERE id = 2", []);
    let report = file.verify(&keys).unwrap();
    assert_eq!((report.unindexed.as_slice(), report.stray_entries > 0), (&[2][..], true), "{report:?}");
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

/// A small generator: the same changes in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A slot file at rest, its keys, and what its objects were.
struct Resting {
    place: Place,
    bytes: Vec<u8>,
    keys: std::sync::Arc<Keys>,
    whole: Vec<(u64, Vec<u8>, Vec<u8>)>,
}

impl Resting {
    fn new() -> Resting {
        let (place, file, keys) = four();
        let more = (0..40).map(|n| insert(n % 3 == 0, &format!("more-{n}"), "more")).collect();
        file.commit(&keys, more).unwrap();
        file.commit(&keys, vec![Change::Delete { id: 10 }, Change::Delete { id: 11 }]).unwrap();
        let whole = contents(&file, &keys);
        assert_eq!(whole.len(), 42);
        drop(file);
        let bytes = std::fs::read(place.slot()).unwrap();
        Resting { place, bytes, keys, whole }
    }

    /// Of a changed file: refused, or each object is what it was or is not given out, and what is missing shows.
    fn judge(&self, bytes: &[u8], what: &str) {
        for rest in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{rest}", self.place.slot().display()));
        }
        std::fs::write(self.place.slot(), bytes).unwrap();
        let probed = probe(&self.place.slot(), device());
        let Ok(file) = SlotFile::open(&self.place.slot(), device(), RULES) else {
            assert!(probed.is_err(), "{what}");
            return;
        };
        let found = contents(&file, &self.keys);
        for one in &found {
            assert!(self.whole.contains(one), "{what}: object {} was changed and is believed", one.0);
        }
        let clean = file.verify(&self.keys).is_ok_and(|report| report.is_clean());
        assert!(
            !clean || found == self.whole,
            "{what}: {} objects are missing and nothing shows",
            self.whole.len() - found.len()
        );
    }
}

/// Every object that can be read whole, by its id.
fn contents(file: &SlotFile, keys: &Keys) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let read = |id: u64| {
        let record = file.read(keys, id).ok()??;
        let secret = file.secret(keys, &record).ok()??;
        Some((id, record.attrs.clone(), secret.expose().clone()))
    };
    (1..=60).filter_map(read).collect()
}

/// Flips, swaps, cuts and repeats of a file's bytes.
fn hostile(rounds: usize) {
    const PAGE: usize = 8192;
    let resting = Resting::new();
    resting.judge(&resting.bytes, "as it was");
    let (mut dice, len) = (Dice(0x5EED_1234_5678_9ABC), resting.bytes.len());
    for round in 0..rounds {
        let mut bytes = resting.bytes.clone();
        let what = match round % 8 {
            0..=3 => {
                let (at, bit) = (dice.below(len), dice.below(8));
                bytes[at] ^= 1 << bit;
                format!("bit {bit} of byte {at}")
            }
            4 => {
                let (one, other) = (dice.below(len / PAGE) * PAGE, dice.below(len / PAGE) * PAGE);
                let page = resting.bytes[one..one + PAGE].to_vec();
                bytes[other..other + PAGE].copy_from_slice(&page);
                format!("page at {one} over the one at {other}")
            }
            5 => {
                let (at, size) = (dice.below(len), 1 + dice.below(64));
                let end = (at + size).min(len);
                (at..end).for_each(|at| bytes[at] = dice.below(256) as u8);
                format!("{size} bytes at {at}")
            }
            6 => {
                bytes.truncate(dice.below(len));
                format!("cut to {}", bytes.len())
            }
            _ => {
                // Among the numbers that the engine itself believes: the heads of its pages.
                let (at, value) = (dice.below(len / PAGE) * PAGE + dice.below(16), dice.below(256) as u8);
                bytes[at] = value;
                format!("byte {at} to {value}")
            }
        };
        resting.judge(&bytes, &what);
    }
}

#[test]
fn whatever_the_bytes_nothing_changed_is_believed() {
    hostile(240);
}

#[test]
#[ignore = "minutes: twenty thousand changed files"]
fn whatever_the_bytes_in_twenty_thousand_files_nothing_changed_is_believed() {
    hostile(20_000);
}

#[test]
#[ignore = "minutes: every byte of a file"]
fn any_byte_that_is_flipped_shows_or_is_of_no_use() {
    let resting = Resting::new();
    for at in 0..resting.bytes.len() {
        let mut bytes = resting.bytes.clone();
        bytes[at] ^= 0xff;
        resting.judge(&bytes, &format!("byte {at}"));
    }
}
