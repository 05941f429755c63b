//! The slot file through its own door: initialisation, PINs, objects.

mod store_common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward::error::Code;
use keyward::secret::SecretBytes;
use keyward::store::*;
use store_common::*;

fn code<T>(result: Result<T, keyward::error::Error>) -> Code {
    result.err().expect("an error").code()
}

#[test]
fn a_new_token_is_private_and_has_its_header() {
    let place = Place::new();
    let file = place.create();
    let header = file.header().unwrap();
    assert_eq!((header.label.as_str(), header.serial.as_str()), ("a label", SERIAL));
    assert!(!header.user_pin_set && !header.read_only);
    assert_eq!((header.so.failures, header.so.max), (0, RULES.max_failures));
    file.commit(&file.public_keys().unwrap(), vec![insert(false, "x", "1")]).unwrap();
    for entry in std::fs::read_dir(&place.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
    let again = SlotFile::create(&place.slot(), device(), RULES, SERIAL, "other", b"other");
    assert_eq!(code(again), Code::FunctionFailed);
    assert_eq!(file.header().unwrap().label, "a label");
    for bad in ["", "0011", "+0112233445566aa", "zz112233445566aa"] {
        let made = SlotFile::create(&place.0.join("u.slot"), device(), RULES, bad, "l", SO);
        assert_eq!(code(made), Code::ArgumentsBad);
    }
    assert!(!place.0.join("u.slot").exists());
}

#[test]
fn nothing_of_a_token_stands_in_clear() {
    let place = Place::new();
    let (file, keys) = place.ready();
    file.commit(&keys, vec![insert(true, "hidden-private", "id-1"), insert(false, "hidden-public", "id-2")]).unwrap();
    drop(file);
    let bytes = std::fs::read(place.slot()).unwrap();
    assert!(!place.0.join("t.slot-wal").exists());
    for word in [&b"hidden"[..], b"etavirp", b"cilbup", b"id-1", b"a label", PIN, SO] {
        assert!(!bytes.windows(word.len()).any(|w| w == word), "{word:?}");
    }
}

#[test]
fn objects_are_found_read_changed_and_removed() {
    let place = Place::new();
    let (file, keys) = place.ready();
    let ids =
        file.commit(&keys, vec![insert(true, "a", "1"), insert(false, "a", "2"), insert(true, "b", "2")]).unwrap();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(file.count().unwrap(), 3);
    assert_eq!(find(&file, &keys, &[]), [1, 2, 3]);
    assert_eq!(find(&file, &keys, &[(LABEL, b"a")]), [1, 2]);
    assert_eq!(find(&file, &keys, &[(LABEL, b"a"), (ID, b"2")]), [2]);
    assert_eq!(find(&file, &keys, &[(ID, b"a")]), [0u64; 0], "the attribute's type belongs to the value");
    assert_eq!(file.find(&keys, &[], 1, 1).unwrap(), [Entry { id: 2, private: false }]);
    assert_eq!(file.find(&keys, &[(LABEL, b"a")], 1, 9).unwrap(), [Entry { id: 2, private: false }]);

    let public = file.public_keys().unwrap();
    assert_eq!(find(&file, &public, &[]), [2]);
    assert_eq!(find(&file, &public, &[(LABEL, b"a")]), [2]);
    assert!(file.read(&public, 1).unwrap().is_none());
    assert!(file.read(&keys, 77).unwrap().is_none() && file.read(&keys, u64::MAX).unwrap().is_none());
    assert_eq!(code(file.commit(&public, vec![Change::Delete { id: 1 }])), Code::ObjectHandleInvalid);
    assert_eq!(code(file.commit(&public, vec![insert(true, "p", "p")])), Code::UserNotLoggedIn);

    let record = file.read(&keys, 1).unwrap().unwrap();
    assert_eq!((record.attrs.as_slice(), record.version, record.private), (&b"a/1"[..], 1, true));
    let update = |secret, private, attrs: &str, version| Change::Update {
        id: 1,
        version,
        private,
        attrs: attrs.into(),
        secret,
        index: vec![(LABEL, b"c".to_vec())],
    };
    file.commit(&keys, vec![update(SecretChange::Keep, true, "new", 1)]).unwrap();
    // The secret was kept, so the record read before still leads to it.
    assert_eq!(file.secret(&keys, &record).unwrap().unwrap().expose(), b"a");
    assert_eq!(code(file.commit(&keys, vec![update(SecretChange::Keep, true, "late", 1)])), Code::FunctionFailed);
    assert_eq!(find(&file, &keys, &[(LABEL, b"a")]), [2]);
    assert_eq!(find(&file, &keys, &[(ID, b"1")]), [0u64; 0]);
    assert_eq!(find(&file, &keys, &[(LABEL, b"c")]), [1]);
    // To the public half and back, with the secret.
    file.commit(&keys, vec![update(SecretChange::Keep, false, "open", 2)]).unwrap();
    let open = file.read(&public, 1).unwrap().unwrap();
    assert_eq!(file.secret(&public, &open).unwrap().unwrap().expose(), b"a");
    assert_eq!(code(file.secret(&keys, &record)), Code::FunctionFailed, "sealed anew since");
    let other = SecretChange::Set(Some(SecretBytes::copy_from(b"other")));
    file.commit(&keys, vec![update(other, true, "back", 3)]).unwrap();
    let back = file.read(&keys, 1).unwrap().unwrap();
    assert_eq!(file.secret(&keys, &back).unwrap().unwrap().expose(), b"other");
    file.commit(&keys, vec![update(SecretChange::Set(None), true, "bare", 4)]).unwrap();
    let bare = file.read(&keys, 1).unwrap().unwrap();
    assert!(!bare.has_secret && file.secret(&keys, &bare).unwrap().is_none());
    assert!(file.verify(&keys).unwrap().is_clean());

    file.commit(&keys, vec![Change::Delete { id: 1 }, Change::Delete { id: 3 }]).unwrap();
    assert_eq!(find(&file, &keys, &[]), [2]);
    assert_eq!(find(&file, &keys, &[(LABEL, b"c")]), [0u64; 0]);
    assert_eq!(file.commit(&keys, vec![insert(true, "n", "n")]).unwrap(), [4], "ids are not reused");
    assert_eq!(file.count().unwrap(), 2);
    assert!(file.verify(&keys).unwrap().is_clean());
}

#[test]
fn a_transaction_happens_whole_or_not() {
    let place = Place::new();
    let (file, keys) = place.ready();
    let epoch = file.epoch();
    assert_eq!(
        code(file.commit(&keys, vec![insert(true, "a", "1"), Change::Delete { id: 9 }])),
        Code::ObjectHandleInvalid
    );
    assert_eq!((file.count().unwrap(), find(&file, &keys, &[])), (0, vec![]));
    assert_eq!(file.epoch(), epoch);
    file.commit(&keys, vec![insert(true, "a", "1")]).unwrap();
    assert_ne!(file.epoch(), epoch);
    assert!(file.verify(&keys).unwrap().is_clean());
}

#[test]
fn wrong_pins_are_counted_and_lock() {
    let place = Place::new();
    let file = place.create();
    assert_eq!(code(file.unlock(Role::User, PIN)), Code::UserPinNotInitialized);
    let so = file.unlock(Role::SecurityOfficer, SO).unwrap();
    file.init_user_pin(&so, PIN).unwrap();
    for tries in 1..RULES.max_failures {
        assert_eq!(code(file.unlock(Role::User, b"wrong")), Code::PinIncorrect);
        let state = open(&place.slot()).header().unwrap().user;
        assert_eq!(state.failures, tries, "on record for other processes");
        assert!(state.count_low() && !state.locked());
        assert_eq!(state.final_try(), tries + 1 == RULES.max_failures);
    }
    let keys = file.unlock(Role::User, PIN).unwrap();
    assert_eq!(file.header().unwrap().user.failures, 0);
    file.commit(&keys, vec![insert(true, "kept", "1")]).unwrap();
    for _ in 0..RULES.max_failures {
        assert_eq!(code(file.set_pin(Role::User, b"wrong", b"new")), Code::PinIncorrect);
    }
    assert!(file.header().unwrap().user.locked());
    assert_eq!(code(file.unlock(Role::User, PIN)), Code::PinLocked);
    assert_eq!(file.header().unwrap().so.failures, 0, "roles count apart");
    // Only the security officer helps, and private objects stay readable.
    assert_eq!(code(file.init_user_pin(&keys, b"own")), Code::UserNotLoggedIn);
    file.init_user_pin(&so, b"second").unwrap();
    assert_eq!(code(file.unlock(Role::User, PIN)), Code::PinIncorrect);
    let keys = file.unlock(Role::User, b"second").unwrap();
    assert_eq!(file.read(&keys, 1).unwrap().unwrap().attrs, b"kept/1");
    file.set_pin(Role::User, b"second", b"third").unwrap();
    assert_eq!(code(file.unlock(Role::User, b"second")), Code::PinIncorrect);
    let keys = file.unlock(Role::User, b"third").unwrap();
    assert_eq!(file.read(&keys, 1).unwrap().unwrap().attrs, b"kept/1");
    file.set_pin(Role::SecurityOfficer, SO, b"other-so").unwrap();
    assert_eq!(code(file.unlock(Role::SecurityOfficer, SO)), Code::PinIncorrect);
    let so = file.unlock(Role::SecurityOfficer, b"other-so").unwrap();
    assert!(!so.reads_private());
    assert!(file.read(&so, 1).unwrap().is_none(), "the security officer reads no private object");
    assert_eq!(find(&file, &so, &[]), [0u64; 0]);
}

#[test]
fn good_logins_at_once_do_not_lock_each_other_out() {
    let place = Place::new();
    let (file, _) = place.ready();
    let threads = RULES.max_failures as usize * 3;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(|| file.unlock(Role::User, PIN).map(drop))).collect();
        all.into_iter().for_each(|t| t.join().unwrap().unwrap());
    });
    assert_eq!(file.header().unwrap().user.failures, 0);
}

/// More good logins without end than there are tries: those that must wait for all others have their turn too.
#[test]
fn a_stream_of_good_logins_starves_nobody() {
    let place = Place::new();
    let (file, _) = place.ready();
    let end = Instant::now() + Duration::from_secs(4);
    let log_in_again_and_again = || {
        let (mut count, mut longest) = (0u32, Duration::ZERO);
        while Instant::now() < end {
            let began = Instant::now();
            file.unlock(Role::User, PIN).unwrap();
            longest = longest.max(began.elapsed());
            count += 1;
        }
        (count, longest)
    };
    let done: Vec<(u32, Duration)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..3 * RULES.max_failures).map(|_| scope.spawn(log_in_again_and_again)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    println!("logins and the longest wait: {done:?}");
    let (least, most) = (done.iter().map(|d| d.0).min().unwrap(), done.iter().map(|d| d.0).max().unwrap());
    assert!(least >= 1 && least * 4 >= most, "{done:?}");
}

#[test]
fn initialising_anew_ends_everything_but_the_ids() {
    let place = Place::new();
    let (file, keys) = place.ready();
    file.commit(&keys, vec![insert(true, "a", "1"), insert(false, "b", "2")]).unwrap();
    let (before, public) = (file.header().unwrap(), file.public_keys().unwrap());
    assert_eq!(code(file.reinitialise(b"wrong", "new")), Code::PinIncorrect);
    assert_eq!(file.header().unwrap().label, "a label");
    file.reinitialise(SO, "new").unwrap();
    let after = file.header().unwrap();
    assert_eq!((after.label.as_str(), after.user_pin_set, &after.serial), ("new", false, &before.serial));
    assert_ne!(after.uuid, before.uuid);
    assert_eq!(file.count().unwrap(), 0);
    for stale in [&keys, &public] {
        assert_eq!(code(file.commit(stale, vec![insert(false, "c", "3")])), Code::DeviceRemoved);
    }
    let fresh = file.public_keys().unwrap();
    assert_eq!(file.commit(&fresh, vec![insert(false, "c", "3")]).unwrap(), [3]);
    assert_eq!(code(file.read(&keys, 3)), Code::DeviceRemoved);
    let so = file.unlock(Role::SecurityOfficer, SO).unwrap();
    assert!(file.verify(&so).unwrap().is_clean());
}

#[test]
fn another_device_secret_is_told_from_damage() {
    let place = Place::new();
    drop(place.create());
    let other = Arc::new(DeviceSecret::from_bytes([43; 32]));
    let refused = SlotFile::open(&place.slot(), other, RULES).err().unwrap();
    assert_eq!(refused.code(), Code::TokenNotRecognized);
    assert!(refused.why().unwrap().contains("another device secret"), "{refused}");
}

#[test]
fn what_is_no_slot_file_is_refused_with_a_reason() {
    let place = Place::new();
    drop(place.create());
    let good = std::fs::read(place.slot()).unwrap();
    let refuse = |bytes: &[u8], mode: u32| {
        std::fs::write(place.slot(), bytes).unwrap();
        std::fs::set_permissions(place.slot(), std::fs::Permissions::from_mode(mode)).unwrap();
        SlotFile::open(&place.slot(), device(), RULES).err().expect("refused")
    };
    for cut in [0, 1, 99, 100, 4096, 8192, 16384, good.len() - 8192] {
        let refused = refuse(&good[..cut], 0o600);
        assert_eq!(refused.code(), Code::TokenNotRecognized, "{cut}: {refused}");
    }
    assert_eq!(refuse(&[b'x'; 9000], 0o600).code(), Code::TokenNotRecognized);
    let mut other = good.clone();
    other[68..72].fill(0);
    assert!(refuse(&other, 0o600).why().unwrap().contains("no slot file"));
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&7u32.to_be_bytes());
    let refused = refuse(&newer, 0o600);
    assert_eq!(refused.code(), Code::TokenNotRecognized);
    assert!(refused.why().unwrap().contains("newer"), "{refused}");
    let loose = refuse(&good, 0o644);
    assert!(loose.why().unwrap().contains("chmod 600"), "{loose}");
    std::fs::remove_file(place.slot()).unwrap();
    assert_eq!(code(SlotFile::open(&place.slot(), device(), RULES)), Code::DeviceRemoved);
    std::fs::write(place.slot(), &good).unwrap();
    std::fs::set_permissions(place.slot(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open(&place.slot()).header().unwrap().label, "a label");
}

#[test]
fn a_replaced_or_removed_file_is_noticed() {
    let place = Place::new();
    let (file, keys) = place.ready();
    file.commit(&keys, vec![insert(true, "old", "1")]).unwrap();
    let second = place.0.join("second.slot");
    drop(SlotFile::create(&second, device(), RULES, SERIAL, "second", SO).unwrap());
    let epoch = file.epoch();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(place.0.join(format!("t.slot{suffix}")));
    }
    std::fs::rename(&second, place.slot()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // The clock is looked at with each sixteenth call only.
    assert!((0..16).any(|_| file.epoch() != epoch));
    assert_eq!(file.header().unwrap().label, "second");
    assert_eq!(code(file.commit(&keys, vec![insert(true, "lost", "1")])), Code::DeviceRemoved);
    let fresh = file.public_keys().unwrap();
    file.commit(&fresh, vec![insert(false, "new", "1")]).unwrap();
    std::fs::remove_file(place.slot()).unwrap();
    assert_eq!(code(file.commit(&fresh, vec![insert(false, "lost", "2")])), Code::DeviceRemoved);
    assert_eq!(code(file.header()), Code::DeviceRemoved);
}

/// 0600 and 0700 whatever the umask: one that allows others everything, and one that forbids the owner.
#[test]
fn files_are_private_whatever_the_umask() {
    const NAME: &str = "files_are_private_whatever_the_umask";
    if let Some(setting) = setting() {
        // SAFETY: sets this process's mask, nothing else.
        unsafe { libc::umask(u32::from_str_radix(&setting[1], 8).unwrap() as libc::mode_t) };
        let path = std::path::Path::new(&setting[0]).join("new/tokens/00.slot");
        let device = DeviceSecret::load_or_create(&path.parent().unwrap().join("../secret/device")).unwrap();
        let file = SlotFile::create(&path, Arc::new(device), RULES, SERIAL, "l", SO).unwrap();
        file.unlock(Role::SecurityOfficer, SO).unwrap();
        // While it is open, the log and its index are there too.
        let mut seen = 0;
        for directory in ["new", "new/tokens", "new/secret", "new/secret/anchors"] {
            let directory = std::path::Path::new(&setting[0]).join(directory);
            for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
                let expected = if entry.metadata().unwrap().is_dir() { 0o700 } else { 0o600 };
                assert_eq!(mode, expected, "{}: {mode:o}", entry.path().display());
                seen += 1;
            }
        }
        assert!(seen >= 8, "{seen}");
        return;
    }
    for mask in ["0", "077", "0377"] {
        let place = Place::new();
        let mut child = again(NAME, &format!("{}|{mask}", place.0.display()));
        let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        assert!(child.wait().unwrap().success(), "{mask}: {out}");
    }
}
