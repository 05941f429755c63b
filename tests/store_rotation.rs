//! A new master key while others use the token, and processes that watch each other's commits.

mod store_common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyward::error::Code;
use keyward::store::*;
use store_common::*;

#[test]
fn rotation_seals_everything_anew_and_the_old_key_opens_nothing() {
    let place = Place::new();
    let (file, keys) = place.ready();
    let changes = (0..40).map(|n| insert(n % 3 != 0, &format!("k{n}"), "all")).collect();
    let ids = file.commit(&keys, changes).unwrap();
    let raw = rusqlite::Connection::open(place.slot()).unwrap();
    let dump = || -> Vec<(bool, Vec<u8>, Vec<u8>)> {
        let mut query = raw.prepare("SELECT private, attrs, secret FROM obj ORDER BY id").unwrap();
        query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap().map(Result::unwrap).collect()
    };
    let before = dump();
    let mut steps = Vec::new();
    file.rotate(SO, Some(PIN), &mut |done, total| steps.push((done, total))).unwrap();
    assert_eq!((steps.first(), steps.last(), steps.len()), (Some(&(1, 40)), Some(&(40, 40)), 40));
    for (old, new) in before.iter().zip(dump()) {
        assert_eq!(old.1 != new.1, old.0, "private records are sealed anew, public ones have another key");
        assert_eq!(old.2 != new.2, old.0);
    }
    // Both roles, fresh and old keys.
    let again = file.unlock(Role::User, PIN).unwrap();
    for keys in [&keys, &again] {
        assert_eq!(find(&file, keys, &[(ID, b"all")]), ids);
        for id in &ids {
            let record = file.read(keys, *id).unwrap().unwrap();
            let secret = file.secret(keys, &record).unwrap().unwrap();
            let label: Vec<u8> = secret.expose().iter().rev().copied().collect();
            assert!(record.attrs.starts_with(&label));
        }
        assert!(file.verify(keys).unwrap().is_clean());
    }
    let so = file.unlock(Role::SecurityOfficer, SO).unwrap();
    file.init_user_pin(&so, b"third").unwrap();
    let user = file.unlock(Role::User, b"third").unwrap();
    file.commit(&user, vec![insert(true, "new", "all")]).unwrap();
    file.commit(&keys, vec![insert(true, "new", "all")]).unwrap();
    assert_eq!(find(&file, &user, &[(LABEL, b"new")]).len(), 2);
    assert!(file.verify(&so).unwrap().is_clean());
}

#[test]
fn rotation_needs_both_pins_and_leaves_no_trace_where_it_fails() {
    let place = Place::new();
    let (file, keys) = place.ready();
    let [id] = file.commit(&keys, vec![insert(true, "k", "all")]).unwrap()[..] else { panic!() };
    let failed = |so: &[u8], user: Option<&[u8]>| file.rotate(so, user, &mut |_, _| {}).unwrap_err().code();
    assert_eq!(failed(b"wrong", Some(PIN)), Code::PinIncorrect);
    assert_eq!(failed(SO, Some(b"wrong")), Code::PinIncorrect);
    assert_eq!(failed(SO, None), Code::UserNotLoggedIn);
    assert!(file.read(&keys, id).unwrap().is_some());
    assert!(file.verify(&keys).unwrap().is_clean());
    file.unlock(Role::User, PIN).unwrap();
}

#[test]
fn keys_of_two_rotations_ago_must_log_in_again_and_are_told_so() {
    let place = Place::new();
    let (file, stale) = place.ready();
    let [id] = file.commit(&stale, vec![insert(true, "k", "all")]).unwrap()[..] else { panic!() };
    let followed = file.unlock(Role::User, PIN).unwrap();
    for _ in 0..2 {
        file.rotate(SO, Some(PIN), &mut |_, _| {}).unwrap();
        assert!(file.read(&followed, id).unwrap().is_some());
    }
    let refused = file.read(&stale, id).unwrap_err();
    assert_eq!(refused.code(), Code::UserNotLoggedIn);
    assert!(refused.why().unwrap().contains("log in again"), "{refused}");
    assert_eq!(file.commit(&stale, vec![insert(true, "x", "x")]).unwrap_err().code(), Code::UserNotLoggedIn);
    let keys = file.unlock(Role::User, PIN).unwrap();
    assert_eq!(find(&file, &keys, &[(ID, b"all")]), [id]);
}

#[test]
fn a_damaged_record_survives_rotation_and_costs_only_itself() {
    let place = Place::new();
    let (file, keys) = place.ready();
    let ids = file.commit(&keys, (0..4).map(|n| insert(true, &n.to_string(), "all")).collect()).unwrap();
    let raw = rusqlite::Connection::open(place.slot()).unwrap();
    raw.execute("UPDATE obj SET attrs = zeroblob(80) WHERE id = ?1", [ids[1] as i64]).unwrap();
    assert!(!file.header().unwrap().unsound, "nobody has met it yet");
    file.rotate(SO, Some(PIN), &mut |_, _| {}).unwrap();
    assert!(file.header().unwrap().unsound);
    let keys = file.unlock(Role::User, PIN).unwrap();
    assert_eq!(file.verify(&keys).unwrap().damaged, [ids[1]]);
    assert!(file.read(&keys, ids[2]).unwrap().is_some());
    file.commit(&keys, vec![Change::Delete { id: ids[1] }]).unwrap();
    assert!(file.verify(&keys).unwrap().damaged.is_empty());
}

/// Another process reads and opens secrets without a pause, and writes now and then, while the key is rotated.
#[test]
fn rotation_does_not_disturb_who_is_logged_in() {
    if let Some(setting) = setting() {
        let file = open(setting[0].as_ref());
        let keys = file.unlock(Role::User, PIN).unwrap();
        println!("ready");
        let (mut reads, stop) = (0u64, Path::new(&setting[1]));
        while !stop.exists() {
            for id in 1..=20 {
                let record = file.read(&keys, id).unwrap().unwrap();
                assert!(file.secret(&keys, &record).unwrap().is_some());
                assert_eq!(find(&file, &keys, &[(LABEL, format!("k{}", id - 1).as_bytes())]), [id]);
                reads += 1;
            }
            file.commit(&keys, vec![insert(true, "written", "w")]).unwrap();
        }
        println!("read {reads}");
        return;
    }
    let place = Place::new();
    let (file, keys) = place.ready();
    file.commit(&keys, (0..20).map(|n| insert(true, &format!("k{n}"), "all")).collect()).unwrap();
    let stop = place.0.join("stop");
    let setting = format!("{}|{}", place.slot().display(), stop.display());
    let mut child = again("rotation_does_not_disturb_who_is_logged_in", &setting);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("ready")));
    for _ in 0..6 {
        file.rotate(SO, Some(PIN), &mut |_, _| {}).unwrap();
        // It reads several times between two rotations, and so can follow each.
        std::thread::sleep(Duration::from_millis(300));
    }
    std::fs::write(&stop, b"").unwrap();
    let read = lines.find(|line| line.contains("read ")).expect("the other process came through");
    assert!(child.wait().unwrap().success());
    println!("{read}");
    let keys = file.unlock(Role::User, PIN).unwrap();
    assert!(file.verify(&keys).unwrap().is_clean());
}

/// Memory that a forked child shares with its parent.
fn shared() -> &'static AtomicU64 {
    // SAFETY: a new anonymous mapping of a page, zeroed, never unmapped.
    unsafe {
        let (rw, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), 4096, rw, kind, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        &*page.cast()
    }
}

/// Ten million looks at the epoch while another process commits: whatever was acknowledged before a look is seen by
/// whoever trusts the look.
#[test]
fn no_look_at_the_epoch_is_stale() {
    const LOOKS: u64 = 10_000_000;
    let place = Place::new();
    let (file, keys) = place.ready();
    let [id] = file.commit(&keys, vec![insert(true, "0", "n")]).unwrap()[..] else { panic!() };
    let (acknowledged, done) = (shared(), shared());
    // SAFETY: the child only works on its own and leaves without running anything of the parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut version = 1;
        while done.load(Ordering::Relaxed) == 0 {
            let attrs = (version + 1).to_string().into_bytes();
            let index = vec![(ID, b"n".to_vec())];
            let change = Change::Update { id, version, private: true, attrs, secret: SecretChange::Keep, index };
            if file.commit(&keys, vec![change]).is_err() {
                break;
            }
            version += 1;
            acknowledged.store(version, Ordering::Release);
        }
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    let (mut kept, mut at, mut stale, mut reads, mut looks) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let began = Instant::now();
    while looks < LOOKS || (reads < 100 && began.elapsed() < Duration::from_secs(60)) {
        looks += 1;
        let known = acknowledged.load(Ordering::Acquire);
        let epoch = file.epoch();
        if epoch != at {
            kept = file.read(&keys, id).unwrap().unwrap().version;
            at = epoch;
            reads += 1;
        }
        stale += u64::from(kept < known);
    }
    let each = began.elapsed().as_nanos() / u128::from(looks);
    done.store(1, Ordering::Relaxed);
    // SAFETY: the child made above.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    println!("{looks} looks, {reads} changes seen, {each} ns each with the reads");
    assert_eq!(stale, 0);
    assert!(reads >= 100, "the other process was to commit meanwhile: {reads}");
    let began = processor_time();
    let sum = (0..LOOKS).fold(0u64, |sum, _| sum ^ std::hint::black_box(&file).epoch());
    let look = (processor_time() - began).as_nanos() as f64 / LOOKS as f64;
    println!("{look:.1} ns of processor time a look ({sum})");
    assert!(cfg!(debug_assertions) || look < 15.0, "{look}");
}
