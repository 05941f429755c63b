//! Several processes, threads and forks write one chain.

use std::fs;
use std::time::Duration;

use crate::place::*;

fn signs(place: &Place) -> usize {
    place.operations().iter().filter(|operation| *operation == "sign").count()
}

#[test]
fn processes_and_threads_write_one_chain() {
    let place = Place::ready("");
    let children: Vec<_> = (0..3).map(|_| place.start("open; threads tls 3 60; quietly tls 20")).collect();
    for child in children {
        answers(child);
    }
    assert_eq!(signs(&place), 3 * (3 * 60 + 20));
    place.whole();
}

#[test]
fn a_fork_writes_on_with_its_own_hand() {
    let place = Place::ready("key_use = 'required'");
    let answers = place.work("open; sign tls; fork tls 40");
    assert_eq!(answers.last().unwrap(), "child 0");
    assert_eq!(signs(&place), 81);
    let pids: std::collections::HashSet<_> =
        place.lines().iter().filter(|line| line["op"] == "sign").map(|line| line["pid"].as_u64()).collect();
    assert_eq!(pids.len(), 2);
    place.whole();
}

#[test]
fn what_a_killed_process_had_recorded_stays_and_others_go_on() {
    let place = Place::ready("key_use = 'required'");
    for round in 0..4 {
        let mut child = place.start("open; quietly tls 100000");
        std::thread::sleep(Duration::from_millis(250 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        place.work("open; sign tls");
    }
    assert!(signs(&place) > 10);
    place.whole();
}

#[test]
fn durable_events_of_many_threads_are_flushed_together() {
    let place = Place::ready("key_use = 'durable'");
    place.work("open; threads tls 8 10");
    assert_eq!(signs(&place), 80);
    place.whole();
}

#[test]
fn full_files_are_put_aside_and_the_chain_goes_on() {
    let place = Place::ready("max_size = 8192");
    let children: Vec<_> = (0..2).map(|_| place.start("open; quietly tls 100")).collect();
    for child in children {
        answers(child);
    }
    let mut names: Vec<_> = fs::read_dir(place.0.join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("audit-"))
        .collect();
    names.sort();
    assert!(names.len() > 5, "{names:?}");
    let found = place.whole();
    assert_eq!(found["first"], 1);
    // Put away, the oldest are named; one from the middle is missed.
    fs::rename(place.0.join("audit").join(&names[0]), place.0.join("kept")).unwrap();
    assert!(place.whole()["first"].as_u64().unwrap() > 1);
    fs::remove_file(place.0.join("audit").join(&names[2])).unwrap();
    let (found, exit) = place.verified();
    assert_eq!(exit, 7, "{found:#}");
    assert!(found["findings"][0]["what"].as_str().unwrap().contains("are missing"), "{found:#}");
}

#[test]
fn a_rotation_cut_short_is_finished() {
    let place = Place::ready("");
    place.work("open; sign tls");
    let rotated = place.keyward("audit rotate");
    assert!(rotated.status.success(), "{}", shown(&rotated.stderr));
    // As it was before the new file was made and the head written.
    let before = place.lines().len();
    assert_eq!(before, 0);
    fs::remove_file(place.record()).unwrap();
    place.work("open; sign tls");
    assert_eq!(signs(&place), 1);
}
