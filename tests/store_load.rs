//! Many processes, many objects, many sudden deaths. Each test has a short form for every run, and a long one that
//! `scripts/test --all` runs.

mod store_common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward::secret::SecretBytes;
use keyward::store::*;
use store_common::*;

/// Says what is written, once it is.
fn write_for_ever(file: &SlotFile, keys: &Arc<Keys>, who: &str) {
    for n in 0.. {
        let label = format!("{who}-{n}");
        let mut changes = vec![insert(true, &label, "pair"), insert(false, &label, "pair")];
        if n % 7 == 3 {
            changes.push(insert(true, &format!("{label}-{}", "long".repeat(3000)), "long"));
        }
        let ids = file.commit_together(keys, changes).unwrap();
        println!("acknowledged {} {label}", ids[0]);
    }
}

/// Two writers are killed at random moments, one after the other and both at once; what they said to have written is
/// there, whole, and the token opens each time.
fn kill_writers(name: &str, kills: u64) {
    if let Some(setting) = setting() {
        let file = open(setting[0].as_ref());
        let keys = file.unlock(Role::User, PIN).unwrap();
        // Two threads, whose changes may go into one transaction.
        std::thread::scope(|threads| {
            for thread in ["one", "two"] {
                let (file, keys, who) = (&file, &keys, format!("{}-{thread}", setting[1]));
                threads.spawn(move || write_for_ever(file, keys, &who));
            }
        });
    }
    let place = Place::new();
    let (file, keys) = place.ready();
    let (mut lost, mut acknowledged) = (0, 0u64);
    let mut seed = 0x0123_4567_89AB_CDEF_u64;
    for kill in 0..kills / 2 {
        let mut children: Vec<Child> =
            ["a", "b"].iter().map(|who| again(name, &format!("{}|{who}{kill}", place.slot().display()))).collect();
        let mut readers: Vec<_> =
            children.iter_mut().map(|c| BufReader::new(c.stdout.take().unwrap()).lines().map(Result::unwrap)).collect();
        let firsts: Vec<String> =
            readers.iter_mut().map(|lines| lines.find(|l| l.contains("acknowledged")).unwrap()).collect();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_micros(seed % 20_000));
        for child in &mut children {
            child.kill().unwrap();
            if seed & 0x1_0000_0000 != 0 {
                std::thread::sleep(Duration::from_micros(seed % 1_000));
            }
        }
        for child in &mut children {
            child.wait().unwrap();
        }
        for line in firsts.into_iter().chain(readers.into_iter().flatten()) {
            // The last line may be cut off: then it was not read as a whole by anybody.
            let Some(at) = line.find("acknowledged ") else { continue };
            let words: Vec<&str> = line[at..].split(' ').collect();
            let [_, id, label] = words[..] else { continue };
            acknowledged += 1;
            let record = file.read(&keys, id.parse().unwrap()).unwrap();
            lost += u64::from(record.is_none_or(|r| !r.attrs.starts_with(label.as_bytes())));
        }
        let fresh = open(&place.slot());
        let (count, report) = (fresh.count().unwrap(), fresh.verify(&keys).unwrap());
        assert!(report.is_clean() && report.objects == count, "{report:?}");
    }
    let public = file.public_keys().unwrap();
    let mut private = 0;
    let mut after = 0;
    loop {
        let page = file.find(&keys, &[(ID, b"pair")], after, 1000).unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        private += page.iter().map(|entry| if entry.private { 1i64 } else { -1 }).sum::<i64>();
    }
    println!("{kills} kills, {acknowledged} transactions acknowledged, {lost} lost");
    assert_eq!((lost, private), (0, 0), "transactions are whole");
    assert!(file.verify(&public).unwrap().is_clean());
}

#[test]
fn two_writers_killed_lose_nothing() {
    kill_writers("two_writers_killed_lose_nothing", 16);
}

#[test]
#[ignore = "minutes: 300 kills"]
fn two_writers_killed_three_hundred_times_lose_nothing() {
    kill_writers("two_writers_killed_three_hundred_times_lose_nothing", 300);
}

/// Openers, writers and readers at once: no error, and no stale read after an acknowledged write.
fn crowd(name: &str, (openers, writers, readers): (usize, usize, usize), last: Duration) {
    if let Some(setting) = setting() {
        return in_the_crowd(setting[0].as_ref(), &setting[1], Duration::from_millis(setting[2].parse().unwrap()));
    }
    let place = Place::new();
    let (file, keys) = place.ready();
    let shared = (0..writers).map(|n| insert(true, &format!("shared-{n}"), "shared")).collect();
    file.commit(&keys, shared).unwrap();
    let roles = ["open", "write", "read"].into_iter().zip([openers, writers, readers]);
    let mut children: Vec<(String, Child)> = roles
        .flat_map(|(what, count)| (0..count).map(move |n| format!("{what} {n}")))
        .map(|who| (who.clone(), again(name, &format!("{}|{who}|{}", place.slot().display(), last.as_millis()))))
        .collect();
    let mut done: BTreeMap<String, u64> = BTreeMap::new();
    for (who, child) in &mut children {
        let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        assert!(child.wait().unwrap().success(), "{who}: {out}");
        let at = out.find("did ").unwrap_or_else(|| panic!("{who}: {out}")) + 4;
        let count: u64 = out[at..].lines().next().unwrap().trim().parse().unwrap();
        assert!(count > 0, "{who} never had its turn");
        *done.entry(who.split(' ').next().unwrap().to_owned()).or_default() += count;
    }
    println!("{done:?}");
    assert_eq!(file.count().unwrap(), writers as u64 + done["write"]);
    assert!(file.verify(&keys).unwrap().is_clean());
}

fn in_the_crowd(path: &Path, who: &str, last: Duration) {
    let (what, number) = who.split_once(' ').unwrap();
    let mut file = open(path);
    let mut keys = file.unlock(Role::User, PIN).unwrap();
    let (end, mut count) = (Instant::now() + last, 0u64);
    while Instant::now() < end {
        match what {
            "open" => {
                drop(file);
                file = open(path);
                keys = file.unlock(Role::User, PIN).unwrap();
            }
            "write" => {
                let label = format!("{number}-{count}");
                let [id] = file.commit(&keys, vec![insert(true, &label, "crowd")]).unwrap()[..] else { panic!() };
                // What is acknowledged is there at once, through any door.
                assert_eq!(find(&file, &keys, &[(LABEL, label.as_bytes())]), [id]);
                let shared = find(&file, &keys, &[(LABEL, format!("shared-{number}").as_bytes())]);
                let [shared] = shared[..] else { panic!() };
                let record = file.read(&keys, shared).unwrap().unwrap();
                let change = Change::Update {
                    id: shared,
                    version: record.version,
                    private: true,
                    attrs: count.to_string().into_bytes(),
                    secret: SecretChange::Set(Some(SecretBytes::copy_from(&[7; 32]))),
                    index: vec![(LABEL, format!("shared-{number}").into_bytes()), (ID, b"shared".to_vec())],
                };
                file.commit(&keys, vec![change]).unwrap();
                assert!(file.read(&keys, shared).unwrap().unwrap().version > record.version);
            }
            _ => {
                for id in find(&file, &keys, &[(ID, b"shared")]) {
                    file.epoch();
                    let record = file.read(&keys, id).unwrap().unwrap();
                    // Another process may change it between the two: then it is read again, as `soft` does.
                    match file.secret(&keys, &record) {
                        Ok(secret) => assert!(secret.is_some()),
                        Err(e) => assert_eq!(e.code(), keyward::error::Code::FunctionFailed),
                    }
                }
            }
        }
        count += 1;
    }
    println!("did {count}");
}

#[test]
fn a_crowd_of_processes_meets_no_error() {
    crowd("a_crowd_of_processes_meets_no_error", (4, 2, 4), Duration::from_secs(3));
}

#[test]
#[ignore = "a minute and 88 processes"]
fn sixty_four_processes_meet_no_error() {
    crowd("sixty_four_processes_meet_no_error", (64, 8, 16), Duration::from_secs(60));
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// A token of many objects: filled, opened, searched, listed. Times are printed, and asserted where the build is one that
/// is shipped.
fn scale(name: &str, objects: u64) {
    if let Some(setting) = setting() {
        return in_a_large_token(setting[0].as_ref(), objects);
    }
    let place = Place::new();
    let (file, keys) = place.ready();
    let began = Instant::now();
    let batch = 5000.min(objects);
    for start in (0..objects).step_by(batch as usize) {
        let label = |n| format!("label-{n}");
        let changes = (start..start + batch).map(|n| Change::Insert {
            private: true,
            attrs: vec![b'a'; 300],
            secret: Some(SecretBytes::copy_from(&[7; 150])),
            index: vec![(LABEL, label(n).into()), (ID, n.to_be_bytes().to_vec()), (0, b"class".to_vec())],
        });
        file.commit(&keys, changes.collect()).unwrap();
    }
    let rate = objects as f64 / began.elapsed().as_secs_f64();
    println!("{objects} objects imported, {rate:.0} a second");
    drop((file, keys));
    if !cfg!(debug_assertions) {
        assert!(rate >= 5000.0, "{rate}");
    }
    // Memory and times of a process that has not made them.
    let mut child = again(name, &place.slot().display().to_string());
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    std::io::stdout().write_all(out.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
}

fn in_a_large_token(path: &Path, objects: u64) {
    drop(open(path));
    let before = resident();
    let began = Instant::now();
    let file = open(path);
    let opened = began.elapsed();
    let keys = file.unlock(Role::User, PIN).unwrap();
    let after_login = resident();
    let time = |what: &dyn Fn(u64)| {
        what(0);
        let began = Instant::now();
        (0..2000u64).for_each(|n| what(n.wrapping_mul(7919) % objects));
        began.elapsed() / 2000
    };
    let by_label = time(&|n| assert_eq!(find(&file, &keys, &[(LABEL, format!("label-{n}").as_bytes())]).len(), 1));
    let by_id = time(&|n| assert_eq!(find(&file, &keys, &[(ID, &n.to_be_bytes())]).len(), 1));
    let by_both = time(&|n| assert_eq!(find(&file, &keys, &[(ID, &n.to_be_bytes()), (0, b"class")]).len(), 1));
    let (mut listed, mut after) = (0, 0);
    let began = Instant::now();
    loop {
        let page = file.find(&keys, &[(0, b"class")], after, 64).unwrap();
        listed += page.len() as u64;
        after = match page.last() {
            Some(last) if page.len() == 64 => last.id,
            _ => break,
        };
    }
    let listing = began.elapsed();
    let (create, rounds) = (Instant::now(), 50);
    for n in 0..rounds {
        file.commit(&keys, vec![insert(true, &format!("single-{n}"), "single")]).unwrap();
    }
    let (create, memory) = (create.elapsed() / rounds, resident());
    println!(
        "open {opened:?}, by label {by_label:?}, by ID {by_id:?}, by ID and class {by_both:?}, listing {listing:?}, durable create \
         {create:?}, resident {memory} MiB ({before} before opening, {after_login} after the login)"
    );
    assert_eq!(listed, objects);
    assert!(memory < 64 + 19, "with what Argon2 leaves in the allocator: {memory} MiB");
    if !cfg!(debug_assertions) {
        assert!(opened < Duration::from_millis(1), "{opened:?}");
        assert!(by_label < Duration::from_micros(50) && by_id < Duration::from_micros(50), "{by_label:?} {by_id:?}");
    }
}

#[test]
fn twenty_thousand_objects_are_found_by_index() {
    scale("twenty_thousand_objects_are_found_by_index", 20_000);
}

#[test]
#[ignore = "minutes: a million objects"]
fn a_million_objects_are_found_by_index() {
    scale("a_million_objects_are_found_by_index", 1_000_000);
}
