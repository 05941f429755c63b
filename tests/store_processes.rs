//! Several processes on one slot file: together, killed, forked.

mod store_common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyward::error::Code;
use keyward::store::*;
use store_common::*;

fn login(path: &Path) -> (SlotFile, std::sync::Arc<Keys>) {
    let file = open(path);
    let keys = file.unlock(Role::User, PIN).unwrap();
    (file, keys)
}

/// Forks; the child leaves with 0 if `work` comes through, without running anything of the parent's.
fn fork(work: impl FnOnce()) -> i32 {
    // SAFETY: the child runs `work` only, which takes no lock that another thread may have held, and leaves at once.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(i32::from(catch_unwind(AssertUnwindSafe(work)).is_err())),
            pid => pid,
        }
    }
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: a child of ours, waited for once.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

#[test]
fn two_processes_see_each_others_objects() {
    const EACH: usize = 40;
    if let Some(setting) = setting() {
        let (file, keys) = login(setting[0].as_ref());
        for n in 0..EACH {
            file.commit(&keys, vec![insert(n % 2 == 0, &format!("{}-{n}", setting[1]), "all")]).unwrap();
        }
        return;
    }
    let place = Place::new();
    let (file, keys) = place.ready();
    let name = "two_processes_see_each_others_objects";
    let path = place.slot().display().to_string();
    let mut children: Vec<_> = ["a", "b"].iter().map(|who| again(name, &format!("{path}|{who}"))).collect();
    // An epoch sampled before a search never hides what was committed after it.
    let (mut epoch, mut seen) = (0, 0);
    while seen < 2 * EACH {
        let now = file.epoch();
        if now != epoch {
            epoch = now;
            seen = find(&file, &keys, &[(ID, b"all")]).len();
        }
    }
    children.iter_mut().for_each(|c| assert!(c.wait().unwrap().success()));
    for who in ["a", "b"] {
        for n in 0..EACH {
            assert_eq!(find(&file, &keys, &[(LABEL, format!("{who}-{n}").as_bytes())]).len(), 1);
        }
    }
    assert!(file.verify(&keys).unwrap().is_clean());
}

#[test]
fn what_was_acknowledged_survives_kill() {
    if let Some(setting) = setting() {
        let (file, keys) = login(setting[0].as_ref());
        for n in 0.. {
            let label = format!("{}-{n}", setting[1]);
            let ids = file.commit(&keys, vec![insert(true, &label, "x"), insert(false, &label, "y")]).unwrap();
            println!("acknowledged {} {} {label}", ids[0], ids[1]);
        }
    }
    let place = Place::new();
    let (file, keys) = place.ready();
    for round in 0..12u64 {
        let setting = format!("{}|r{round}", place.slot().display());
        let mut child = again("what_was_acknowledged_survives_kill", &setting);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.by_ref().map(Result::unwrap).find(|l| l.contains("acknowledged")).unwrap();
        std::thread::sleep(Duration::from_micros(3000 * round + 777));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in std::iter::once(first).chain(lines.map(Result::unwrap)) {
            let Some(at) = line.find("acknowledged ") else { continue };
            let words: Vec<_> = line[at..].split(' ').collect();
            let [_, private, public, label] = words[..] else { continue };
            for (id, kind) in [(private, "x"), (public, "y")] {
                let record = file.read(&keys, id.parse().unwrap()).unwrap().expect("acknowledged");
                assert_eq!(record.attrs, format!("{label}/{kind}").into_bytes());
            }
        }
        assert!(file.verify(&keys).unwrap().is_clean());
        let (private, public) = (find(&file, &keys, &[(ID, b"x")]), find(&file, &keys, &[(ID, b"y")]));
        assert_eq!(private.len(), public.len(), "transactions are whole");
    }
}

#[test]
fn a_token_half_made_is_never_seen() {
    if let Some(setting) = setting() {
        for n in 0.. {
            let path = Path::new(&setting[0]).join(format!("{}-{n}.slot", setting[1]));
            SlotFile::create(&path, device(), RULES, SERIAL, "l", SO).unwrap();
            println!("made");
        }
    }
    let place = Place::new();
    let (mut whole, mut abandoned) = (0, 0);
    for round in 0..12u64 {
        let setting = format!("{}|r{round}", place.0.display());
        let mut child = again("a_token_half_made_is_never_seen", &setting);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !{
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line
        }
        .contains("made")
        {}
        std::thread::sleep(Duration::from_micros(4711 * round));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for entry in std::fs::read_dir(&place.0).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("slot") => {
                let file = open(&path);
                file.unlock(Role::SecurityOfficer, SO).unwrap();
                whole += 1;
            }
            Some(new) if new.starts_with("slot.new-") || new.starts_with("new-") => {
                // As if an hour old: the next creation removes it.
                let old = std::time::SystemTime::now() - Duration::from_secs(7200);
                std::fs::File::open(&path).unwrap().set_modified(old).unwrap();
                abandoned += 1;
            }
            _ => {}
        }
    }
    assert!(whole >= 12);
    std::fs::write(place.0.join("x.slot.new-0"), b"").unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::open(place.0.join("x.slot.new-0")).unwrap().set_modified(old).unwrap();
    drop(place.create());
    let left = std::fs::read_dir(&place.0).unwrap();
    let left = left.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".new-")).count();
    assert_eq!(left, 0, "{abandoned} were abandoned");
}

/// Parent and children write through the same `SlotFile`, while threads of the parent are inside the engine at each
/// fork; the parent closes first.
#[test]
fn a_forked_child_writes_and_nothing_is_lost() {
    const FORKS: usize = 12;
    const EACH: usize = 25;
    const NAME: &str = "a_forked_child_writes_and_nothing_is_lost";
    if let Some(setting) = setting() {
        let (file, keys) = login(setting[0].as_ref());
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut children = Vec::new();
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let (file, keys, stop, written) = (&file, &keys, &stop, &written);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let n = written.fetch_add(1, Ordering::Relaxed);
                        file.commit(keys, vec![insert(true, &format!("p{writer}-{n}"), "all")]).unwrap();
                        file.epoch();
                    }
                });
            }
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    find(&file, &keys, &[(LABEL, b"p0-0")]);
                }
            });
            for child in 0..FORKS {
                std::thread::sleep(Duration::from_millis(7));
                children.push(fork(|| {
                    let before = file.epoch();
                    for n in 0..EACH {
                        let label = format!("r{}c{child}-{n}", setting[1]);
                        file.commit(&keys, vec![insert(true, &label, "all")]).unwrap();
                        assert_eq!(find(&file, &keys, &[(LABEL, label.as_bytes())]).len(), 1);
                    }
                    assert_ne!(file.epoch(), before);
                    // A grandchild too.
                    assert_eq!(wait(fork(|| assert!(find(&file, &keys, &[(ID, b"all")]).len() >= EACH))), 0);
                }));
            }
            stop.store(true, Ordering::Relaxed);
        });
        drop((file, keys));
        children.into_iter().for_each(|pid| assert_eq!(wait(pid), 0));
        println!("written {}", written.load(Ordering::Relaxed));
        return;
    }
    let place = Place::new();
    drop(place.ready());
    for round in 0..3 {
        let (file, keys) = login(&place.slot());
        let before = file.count().unwrap() as usize;
        drop((file, keys));
        let mut child = again(NAME, &format!("{}|{round}", place.slot().display()));
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert!(child.wait().unwrap().success(), "{out}");
        let at = out.find("written ").unwrap() + "written ".len();
        let written: usize = out[at..].lines().next().unwrap().trim().parse().unwrap();
        let (file, keys) = login(&place.slot());
        assert_eq!(file.count().unwrap() as usize - before, written + FORKS * EACH);
        let mut listed = 0;
        let mut after = 0;
        while let Some(last) = file.find(&keys, &[], after, 500).unwrap().last() {
            listed += file.find(&keys, &[], after, 500).unwrap().len();
            after = last.id;
        }
        assert_eq!(listed as u64, file.count().unwrap());
        assert!(file.verify(&keys).unwrap().is_clean());
    }
}

#[test]
fn four_writers_share_fairly() {
    if let Some(setting) = setting() {
        let (file, keys) = login(setting[0].as_ref());
        println!("ready");
        let start = Path::new(&setting[1]);
        while !start.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (end, mut count) = (Instant::now() + Duration::from_secs(2), 0);
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            let began = Instant::now();
            file.commit(&keys, vec![insert(true, "x", "x")]).unwrap();
            longest = longest.max(began.elapsed());
            count += 1;
        }
        println!("wrote {count} {}", longest.as_millis());
        return;
    }
    let place = Place::new();
    let (file, _) = place.ready();
    let start = place.0.join("start");
    let setting = format!("{}|{}", place.slot().display(), start.display());
    let mut children: Vec<_> = (0..4).map(|_| again("four_writers_share_fairly", &setting)).collect();
    let mut outs: Vec<_> = children.iter_mut().map(|c| BufReader::new(c.stdout.take().unwrap())).collect();
    for out in &mut outs {
        while !{
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line
        }
        .contains("ready")
        {}
    }
    std::fs::write(&start, b"").unwrap();
    let counts: Vec<(u64, u64)> = outs
        .into_iter()
        .map(|out| {
            let lines: Vec<_> = out.lines().map(Result::unwrap).collect();
            let line = lines.iter().find(|l| l.starts_with("wrote ")).unwrap();
            let mut numbers = line.split(' ').skip(1).map(|n| n.parse().unwrap());
            (numbers.next().unwrap(), numbers.next().unwrap())
        })
        .collect();
    children.iter_mut().for_each(|c| assert!(c.wait().unwrap().success()));
    assert_eq!(file.count().unwrap(), counts.iter().map(|c| c.0).sum::<u64>());
    let (least, most) = (counts.iter().map(|c| c.0).min().unwrap(), counts.iter().map(|c| c.0).max().unwrap());
    println!("commits and longest wait in ms: {counts:?}");
    assert!(least * 2 >= most, "{counts:?}");
}

/// Where nothing can be written: cleanly closed files are read, with login; others are refused with a reason.
#[test]
fn an_unwritable_place_is_read_only() {
    const NAME: &str = "an_unwritable_place_is_read_only";
    if let Some(setting) = setting() {
        let path = Path::new(&setting[0]);
        if setting[1] == "unclean" {
            let refused = SlotFile::open(path, device(), RULES).err().unwrap();
            assert_eq!(refused.code(), Code::TokenWriteProtected);
            assert!(refused.why().unwrap().contains("-wal"), "{refused}");
            return;
        }
        let file = open(path);
        assert!(file.header().unwrap().read_only);
        let epoch = file.epoch();
        assert_eq!(file.unlock(Role::User, b"wrong").err().unwrap().code(), Code::PinIncorrect);
        let keys = file.unlock(Role::User, PIN).unwrap();
        assert_eq!(find(&file, &keys, &[(LABEL, b"kept")]).len(), 1);
        let refused = file.commit(&keys, vec![insert(true, "x", "x")]).unwrap_err();
        assert_eq!(refused.code(), Code::TokenWriteProtected);
        assert_eq!(file.set_pin(Role::User, PIN, b"n").err().unwrap().code(), Code::TokenWriteProtected);
        assert_eq!(file.epoch(), epoch);
        for _ in 0..RULES.max_failures {
            assert_eq!(file.unlock(Role::User, b"wrong").err().unwrap().code(), Code::PinIncorrect);
        }
        assert_eq!(file.unlock(Role::User, PIN).err().unwrap().code(), Code::PinLocked);
        return;
    }
    let place = Place::new();
    let (file, keys) = place.ready();
    file.commit(&keys, vec![insert(true, "kept", "1")]).unwrap();
    drop(file);
    as_nobody(&place, NAME, "clean");
    std::fs::write(place.0.join("t.slot-wal"), b"frames").unwrap();
    as_nobody(&place, NAME, "unclean");
}

#[test]
fn earlier_formats_are_read_where_they_cannot_be_written() {
    const NAME: &str = "earlier_formats_are_read_where_they_cannot_be_written";
    if let Some(setting) = setting() {
        let file = open(Path::new(&setting[0]));
        assert!(file.header().unwrap().read_only);
        let keys = file.unlock(Role::User, PIN).unwrap();
        assert_eq!(find(&file, &keys, &[(ID, b"sample")]), [1, 3, 4, 5, 6, 7, 8]);
        let both: [(u64, &[u8]); 2] = [(LABEL, b"private-3"), (ID, b"sample")];
        assert_eq!((find(&file, &keys, &both[..1]), find(&file, &keys, &both)), (vec![3], vec![3]));
        assert!(file.verify(&keys).unwrap().is_clean());
        return;
    }
    for name in SAMPLES {
        let place = Place::new();
        place.sample(name);
        let before = std::fs::read(place.slot()).unwrap();
        as_nobody(&place, NAME, name);
        assert_eq!(std::fs::read(place.slot()).unwrap(), before, "{name}");
    }
}

/// Runs this test in a child that may not write in the place.
fn as_nobody(place: &Place, test: &str, kind: &str) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command.env("KEYWARD_TEST_CHILD", format!("{}|{kind}", place.slot().display()));
    // The superuser may write anywhere: become nobody, who owns the files.
    // SAFETY: no argument.
    if unsafe { libc::geteuid() } == 0 {
        for name in std::fs::read_dir(&place.0).unwrap().map(|e| e.unwrap().path()).chain([place.0.clone()]) {
            std::os::unix::fs::chown(name, Some(65534), Some(65534)).unwrap();
        }
        command.uid(65534).gid(65534);
    }
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o500)).unwrap();
    let status = command.status().unwrap();
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(status.success(), "{kind}");
}
