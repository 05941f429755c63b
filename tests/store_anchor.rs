//! The whole slot file put back: an older copy is noticed, located, refused, and accepted only by a person.

mod store_common;

use std::path::Path;
use std::sync::Arc;

use keyward::config::KdfPreset;
use keyward::error::Code;
use keyward::store::*;
use store_common::*;

fn device_at(place: &Place) -> Arc<DeviceSecret> {
    Arc::new(DeviceSecret::from_bytes([42; 32]).with_anchors(&place.0.join("anchors")))
}

fn create(place: &Place) -> SlotFile {
    let file = SlotFile::create(&place.slot(), device_at(place), RULES, SERIAL, "a label", SO).unwrap();
    let so = file.unlock(Role::SecurityOfficer, SO).unwrap();
    file.init_user_pin(&so, PIN).unwrap();
    file
}

fn open_at(place: &Place) -> SlotFile {
    SlotFile::open(&place.slot(), device_at(place), RULES).unwrap()
}

/// A copy of the token as it is, all in one file.
fn copy(file: &SlotFile, to: &Path) {
    let _ = std::fs::remove_file(to);
    file.backup(to).unwrap();
}

fn put_back(place: &Place, from: &Path) {
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{rest}", place.slot().display()));
    }
    std::fs::copy(from, place.0.join("copied")).unwrap();
    std::fs::rename(place.0.join("copied"), place.slot()).unwrap();
}

fn refused(file: &SlotFile) {
    assert!(file.header().unwrap().unsound);
    for (role, pin) in [(Role::User, PIN), (Role::SecurityOfficer, SO)] {
        let error = file.unlock(role, pin).err().unwrap();
        assert_eq!(error.code(), Code::DeviceError);
        assert!(error.why().unwrap().contains("older copy"), "{error}");
    }
    let public = file.public_keys().unwrap();
    assert_eq!(file.commit(&public, vec![insert(false, "x", "x")]).unwrap_err().code(), Code::DeviceError);
    assert!(file.verify(&public).unwrap().older.is_some());
}

#[test]
fn an_older_copy_is_refused_until_accepted() {
    let place = Place::new();
    let file = create(&place);
    let keys = file.unlock(Role::User, PIN).unwrap();
    file.commit(&keys, vec![insert(true, "one", "1")]).unwrap();
    let old = place.0.join("old.backup");
    copy(&file, &old);
    file.commit(&keys, vec![insert(true, "two", "2")]).unwrap();
    assert!(!file.header().unwrap().unsound);
    drop(file);

    put_back(&place, &old);
    let file = open_at(&place);
    refused(&file);
    file.accept(Role::User, PIN).unwrap();
    assert!(!file.header().unwrap().unsound);
    let keys = file.unlock(Role::User, PIN).unwrap();
    assert_eq!(find(&file, &keys, &[(ID, b"2")]), [0u64; 0]);
    file.commit(&keys, vec![insert(true, "three", "3")]).unwrap();
    assert!(file.verify(&keys).unwrap().is_clean());
    drop(file);
    // The same copy once more is older still.
    put_back(&place, &old);
    refused(&open_at(&place));
}

#[test]
fn a_copy_put_back_under_a_running_process_is_not_read() {
    let place = Place::new();
    let file = create(&place);
    let keys = file.unlock(Role::User, PIN).unwrap();
    let [id] = file.commit(&keys, vec![insert(true, "one", "1")]).unwrap()[..] else { panic!() };
    let old = place.0.join("old.backup");
    copy(&file, &old);
    file.commit(&keys, vec![insert(true, "two", "2")]).unwrap();
    assert!(file.read(&keys, id).unwrap().is_some());
    put_back(&place, &old);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(file.read(&keys, id).unwrap_err().code(), Code::DeviceError);
    assert_eq!(file.find(&keys, &[(ID, b"1")], 0, 10).unwrap_err().code(), Code::DeviceError);
    refused(&file);
}

#[test]
fn an_old_pin_and_an_old_count_of_wrong_pins_do_not_come_back() {
    let place = Place::new();
    let file = create(&place);
    let old = place.0.join("old.backup");
    copy(&file, &old);
    // Wrong tries after the copy was made: no commit of an object, and still remembered.
    for _ in 1..RULES.max_failures {
        assert_eq!(file.unlock(Role::User, b"wrong").err().unwrap().code(), Code::PinIncorrect);
    }
    drop(file);
    put_back(&place, &old);
    let file = open_at(&place);
    assert!(file.header().unwrap().user.final_try());
    assert_eq!(file.unlock(Role::User, b"wrong").err().unwrap().code(), Code::PinIncorrect);
    assert_eq!(file.unlock(Role::User, PIN).err().unwrap().code(), Code::PinLocked);
    drop(file);
    put_back(&place, &old);
    let file = open_at(&place);
    assert!(file.header().unwrap().user.locked());
    assert_eq!(file.unlock(Role::User, PIN).err().unwrap().code(), Code::PinLocked);
    let so = file.unlock(Role::SecurityOfficer, SO).unwrap();
    file.init_user_pin(&so, b"another").unwrap();
    file.unlock(Role::User, b"another").unwrap();
    drop(file);
    put_back(&place, &old);
    refused(&open_at(&place));
}

#[test]
fn a_crash_between_commit_and_anchor_is_no_false_alarm() {
    let place = Place::new();
    let file = create(&place);
    let keys = file.unlock(Role::User, PIN).unwrap();
    let anchor = place.0.join("anchors/t.anchor");
    // After each kind of write the anchor of before is put back, as if the process had died in between.
    let mut before = std::fs::read(&anchor).unwrap();
    let mut lag = |what: &str, work: &dyn Fn()| {
        work();
        let after = std::fs::read(&anchor).unwrap();
        assert_ne!(before, after, "{what}");
        std::fs::write(&anchor, &before).unwrap();
        assert!(!open_at(&place).header().unwrap().unsound, "{what}");
        open_at(&place).unlock(Role::SecurityOfficer, SO).unwrap();
        before = std::fs::read(&anchor).unwrap();
    };
    lag("insert", &|| drop(file.commit(&keys, vec![insert(true, "one", "1")]).unwrap()));
    lag("two", &|| {
        file.commit(&keys, vec![insert(true, "two", "1")]).unwrap();
        file.commit(&keys, vec![insert(true, "three", "1")]).unwrap();
    });
    lag("PIN", &|| file.set_pin(Role::User, PIN, b"changed").unwrap());
    lag("rotation", &|| file.rotate(SO, Some(b"changed"), &mut |_, _| {}).unwrap());
    lag("initialisation", &|| file.reinitialise(SO, "anew").unwrap());
    lag("torn", &|| {
        let public = file.public_keys().unwrap();
        file.commit(&public, vec![insert(false, "four", "1")]).unwrap();
        std::fs::write(&anchor, [0xEE; 700]).unwrap();
    });
}

#[test]
fn a_token_made_anew_under_the_same_name_is_no_older_copy() {
    let place = Place::new();
    let file = create(&place);
    let keys = file.unlock(Role::User, PIN).unwrap();
    for n in 0..5 {
        file.commit(&keys, vec![insert(true, &n.to_string(), "1")]).unwrap();
    }
    drop(file);
    std::fs::remove_file(place.slot()).unwrap();
    let file = create(&place);
    assert!(!file.header().unwrap().unsound);
    let keys = file.unlock(Role::User, PIN).unwrap();
    file.commit(&keys, vec![insert(true, "x", "1")]).unwrap();
    assert!(file.verify(&keys).unwrap().is_clean());
}

#[test]
fn a_weak_login_is_strengthened_by_the_next_one() {
    let place = Place::new();
    drop(create(&place));
    let strong = Rules { kdf: KdfPreset::Strong, ..RULES };
    let record = || -> Vec<u8> {
        let raw = rusqlite::Connection::open(place.slot()).unwrap();
        raw.query_row("SELECT record FROM auth WHERE role = 2", [], |row| row.get(0)).unwrap()
    };
    let memory = |record: &[u8]| u32::from_be_bytes(record[1..5].try_into().unwrap());
    let before = record();
    let file = SlotFile::open(&place.slot(), device_at(&place), strong).unwrap();
    file.unlock(Role::User, PIN).unwrap();
    let after = record();
    assert_eq!((memory(&before), memory(&after)), (19 * 1024, 64 * 1024));
    file.unlock(Role::User, PIN).unwrap();
    assert_eq!(record(), after, "once only");
    // A configuration that asks for less weakens nothing.
    open_at(&place).unlock(Role::User, PIN).unwrap();
    assert_eq!(record(), after);
}

#[test]
fn wrong_pins_wait_longer_and_longer() {
    let place = Place::new();
    let file = create(&place);
    let mut took = Vec::new();
    for _ in 0..3 {
        let began = std::time::Instant::now();
        assert!(file.unlock(Role::User, b"wrong").is_err());
        took.push(began.elapsed());
    }
    assert!(took[2] >= std::time::Duration::from_millis(450), "{took:?}");
    // The pause is kept in the file, and is the role's own.
    let (began, other) = (std::time::Instant::now(), open_at(&place));
    other.unlock(Role::SecurityOfficer, SO).unwrap();
    let so = began.elapsed();
    other.unlock(Role::User, PIN).unwrap();
    let user = began.elapsed() - so;
    assert!(user >= std::time::Duration::from_millis(700), "{user:?}");
    let began = std::time::Instant::now();
    other.unlock(Role::User, PIN).unwrap();
    assert!(began.elapsed() < user);
}

fn check_sample(file: &SlotFile) {
    let header = file.header().unwrap();
    assert_eq!((header.label.as_str(), header.serial.as_str(), header.user.failures), ("a label", SERIAL, 1));
    let keys = file.unlock(Role::User, PIN).unwrap();
    assert_eq!(find(file, &keys, &[(ID, b"sample")]), [1, 3, 4, 5, 6, 7, 8]);
    let record = file.read(&keys, 3).unwrap().unwrap();
    assert_eq!(record.attrs, b"private-3/sample");
    assert_eq!(file.secret(&keys, &record).unwrap().unwrap().expose(), b"3-etavirp");
    assert!(file.verify(&keys).unwrap().is_clean());
}

#[test]
fn files_of_earlier_formats_are_read_and_brought_forward() {
    for name in SAMPLES {
        let place = Place::new();
        place.sample(name);
        let file = open_at(&place);
        let users = file.users().unwrap();
        let with_users = !["format-1.slot.gz", "format-2.slot.gz"].contains(&name);
        let expected: &[_] = if with_users { &["anna", "max"] } else { &[] };
        assert_eq!(
            (users.0.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), users.1),
            (expected.to_vec(), 0)
        );
        if with_users {
            assert_eq!((users.0[0].roles, users.0[1].roles), (Roles::USER, Roles::AUDITOR));
            let anna = file.unlock_named(Role::User, "anna", b"anna-pin").unwrap();
            assert_eq!(find(&file, &anna, &[(ID, b"sample")]), [1, 3, 4, 5, 6, 7, 8]);
            let max = file.unlock(Role::User, b"max:max-pin").unwrap();
            assert!(!max.reads_private());
        }
        check_sample(&file);
        let keys = file.unlock(Role::User, PIN).unwrap();
        let [id] = file.commit(&keys, vec![insert(true, "new", "1")]).unwrap()[..] else { panic!("{name}") };
        assert_eq!(id, 9, "ids go on: {name}");
        file.rotate(SO, Some(PIN), &mut |_, _| {}).unwrap();
        assert!(file.unlock(Role::User, b"wrong").is_err());
        file.unlock(Role::User, PIN).unwrap();
        assert!(file.verify(&keys).unwrap().is_clean());
        drop(file);
        let raw = rusqlite::Connection::open(place.slot()).unwrap();
        let format: i32 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(format, 4, "{name}");
    }
}

/// How the sample of the present format was made, from that of the one before.
#[test]
#[ignore = "makes a sample, at KEYWARD_TEST_SAMPLE"]
fn makes_the_sample_of_this_format() {
    let place = Place::new();
    place.sample("format-3.slot.gz");
    open_at(&place).backup(Path::new(&std::env::var("KEYWARD_TEST_SAMPLE").unwrap())).unwrap();
}

#[test]
fn a_backup_made_while_others_write_is_whole() {
    let place = Place::new();
    let file = create(&place);
    let keys = file.unlock(Role::User, PIN).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                file.commit(&keys, vec![insert(true, "a", "pair"), insert(false, "b", "pair")]).unwrap();
            }
        });
        for n in 0..5 {
            let to = place.0.join(format!("backup-{n}"));
            file.backup(&to).unwrap();
            assert_eq!(file.backup(&to).unwrap_err().code(), Code::FunctionFailed);
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
            let copy = SlotFile::open(&to, device(), RULES).unwrap();
            let keys = copy.unlock(Role::User, PIN).unwrap();
            assert!(copy.verify(&keys).unwrap().is_clean());
            assert_eq!(copy.count().unwrap() % 2, 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let left = std::fs::read_dir(&place.0).unwrap();
    assert!(!left.flatten().any(|entry| entry.file_name().to_string_lossy().contains(".new-")));
}

#[test]
fn compacting_gives_space_back_while_others_read() {
    let place = Place::new();
    let file = create(&place);
    let keys = file.unlock(Role::User, PIN).unwrap();
    let many = (0..3000).map(|n| insert(true, &n.to_string(), "many")).collect();
    let ids = file.commit(&keys, many).unwrap();
    let gone = ids[10..].iter().map(|id| Change::Delete { id: *id }).collect();
    file.commit(&keys, gone).unwrap();
    let other = open_at(&place);
    let (before, after) = file.compact().unwrap();
    assert!(after * 2 < before, "{before} {after}");
    let keys = other.unlock(Role::User, PIN).unwrap();
    assert_eq!(find(&other, &keys, &[(ID, b"many")]), ids[..10]);
    assert!(other.verify(&keys).unwrap().is_clean());
    assert!(std::fs::metadata(place.slot()).unwrap().len() <= after);
}
