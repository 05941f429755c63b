//! A module in a process of its own: what it does wrong does not touch the application.

use std::path::Path;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::scene::*;
use crate::{c, ok};

const ISOLATED: &str = "token = 'hsm'\nisolate = true";

fn started(more: &str) -> Running {
    Scene::new().start(faulty(), &format!("{ISOLATED}\n{more}"))
}

/// The helper's processes so far, from the log.
fn helpers(scene: &Scene) -> Vec<u32> {
    let log = scene.log();
    let number = |line: &str| line.split_once(": in process ")?.1.trim().parse().ok();
    log.lines().filter_map(number).collect()
}

fn lives(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// Waits for what another process does.
fn soon(what: impl Fn() -> bool) -> bool {
    (0..100).any(|_| {
        let there = what();
        if !there {
            std::thread::sleep(Duration::from_millis(50));
        }
        there
    })
}

/// The key still signs, and what it signs verifies.
fn all_is_well(session: CK_SESSION_HANDLE, (public, private): (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)) {
    let signature = try_sign(session, private, &[9; 32]).unwrap();
    assert_eq!(verify(session, public, &[9; 32], &signature), CKR_OK);
}

#[test]
fn the_module_is_in_another_process_and_the_application_has_no_child() {
    let running = started("");
    let session = running.user();
    all_is_well(session, ec_pair(session, "key", 1));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("keyward-faulty"), "not loaded here");
    let [helper] = helpers(&running.scene)[..] else { panic!("{}", running.scene.log()) };
    let maps = std::fs::read_to_string(format!("/proc/{helper}/maps")).unwrap();
    assert!(maps.contains("keyward-faulty"), "loaded there");
    let words = std::fs::read_to_string(format!("/proc/{helper}/cmdline")).unwrap();
    assert!(words.ends_with("keyward\0apart\0"), "{words:?}");
    let mut status = 0;
    // SAFETY: no child is waited for that anybody else has started.
    let waited = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    assert_eq!((waited, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)));
    drop(running);
    assert!(soon(|| !lives(helper)), "it ends with C_Finalize");
}

#[test]
fn nothing_of_the_applications_is_left_open_in_the_helper() {
    let scene = Scene::new();
    let path = std::ffi::CString::new(scene.place.join("open").to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path; without O_CLOEXEC, as many hosts do.
    let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600) };
    assert!(descriptor > 2);
    let running = scene.start(faulty(), ISOLATED);
    running.user();
    let helper = helpers(&running.scene)[0];
    for entry in std::fs::read_dir(format!("/proc/{helper}/fd")).unwrap() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap();
        assert!(!target.ends_with("open"), "{target:?}");
    }
    // SAFETY: the descriptor of above.
    unsafe { libc::close(descriptor) };
}

#[test]
fn a_crash_in_a_signature_is_an_error_and_the_next_one_is_made() {
    let running = started("");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    running.scene.faults("C_Sign crash");
    assert_eq!(try_sign(session, keys.1, &[1; 32]), Err(CKR_DEVICE_ERROR));
    let log = running.scene.log();
    assert!(log.contains("C_Sign: it has died of signal 11 (SIGSEGV)"), "{log}");
    running.scene.faults("");
    all_is_well(session, keys);
}

#[test]
fn a_crash_that_happens_once_is_not_noticed() {
    let running = started("");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    let logins = running.scene.calls("C_Login");
    running.scene.faults("C_Sign crash once");
    all_is_well(session, keys);
    assert_eq!(running.scene.calls("C_Login"), logins + 1, "logged in again");
    assert!(running.scene.log().contains("connected again"));
}

#[test]
fn a_key_is_not_made_twice_because_the_helper_has_died() {
    let running = started("");
    let session = running.user();
    running.scene.faults("C_GenerateKey crash");
    let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, b"once")]);
    assert_eq!(try_generate(session, CKM_AES_KEY_GEN, &template), Err(CKR_DEVICE_ERROR));
    assert_eq!(running.scene.calls("C_GenerateKey"), 1);
    running.scene.faults("");
    try_generate(session, CKM_AES_KEY_GEN, &template).unwrap();
    assert_eq!(find(session, &[bytes(CKA_LABEL, b"once")]).len(), 1);
}

#[test]
fn a_call_that_hangs_ends_at_its_deadline_and_is_not_waited_for_twice() {
    let running = started("deadline = 0.7");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    let helper = helpers(&running.scene)[0];
    running.scene.faults("C_Sign hang 60000");
    let begun = Instant::now();
    assert_eq!(try_sign(session, keys.1, &[1; 32]), Err(CKR_DEVICE_ERROR));
    assert!((600..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(running.scene.calls("C_Sign"), 1);
    let log = running.scene.log();
    assert!(log.contains("C_Sign: it did not return within 0.7 s"), "{log}");
    assert!(soon(|| !lives(helper)), "killed");
    running.scene.faults("");
    all_is_well(session, keys);
}

#[test]
fn other_threads_go_on_when_one_hangs() {
    let running = started("deadline = 1");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    let sessions: Vec<_> = (0..3).map(|_| running.open()).collect();
    running.scene.faults("C_Sign hang 60000 1");
    let begun = Instant::now();
    let outcomes = std::thread::scope(|threads| {
        let threads: Vec<_> = sessions
            .iter()
            .map(|session| {
                threads.spawn(move || {
                    (0..10).map(|_| try_sign(*session, keys.1, &[1; 32]).is_ok()).filter(|ok| *ok).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert!(outcomes >= 27, "{outcomes} of 30: one call hung, and what was under way with it was made once more");
    assert!(begun.elapsed() < Duration::from_secs(10));
    running.scene.faults("");
    all_is_well(session, keys);
}

#[test]
fn a_module_that_calls_exit_ends_its_own_process() {
    let running = started("");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    running.scene.faults("C_SignInit exit");
    assert_eq!(try_sign(session, keys.1, &[1; 32]), Err(CKR_DEVICE_ERROR));
    assert!(running.scene.log().contains("it has called exit"), "{}", running.scene.log());
    running.scene.faults("");
    all_is_well(session, keys);
}

#[test]
fn what_the_module_leaks_is_not_the_applications() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let running = started("");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    running.scene.faults("C_Sign leak 20");
    all_is_well(session, keys);
    let before = resident();
    for _ in 0..5 {
        all_is_well(session, keys);
    }
    assert!(resident() < before + (20 << 20), "a fifth of what was leaked");
}

/// The software token's free slot alone; the log says why.
fn refused(scene: Scene, lines: &str) -> String {
    let running = scene.start(faulty(), &format!("{ISOLATED}\n{lines}"));
    assert_eq!(slots().len(), 1);
    let mut info = CK_TOKEN_INFO::default();
    ok!(C_GetTokenInfo, running.slot(), &raw mut info);
    assert_eq!(info.flags & CKF_TOKEN_INITIALIZED, 0);
    running.scene.log()
}

#[test]
fn a_module_that_crashes_while_it_is_loaded_costs_its_slot() {
    let log = refused(Scene::new(), "environment = { FAULTY_LOAD = 'crash' }");
    assert!(log.contains("loading and initialising it: it has died of signal 11"), "{log}");
}

#[test]
fn a_module_that_crashes_or_hangs_in_initialise_comes_back_when_it_is_well() {
    for (fault, said) in [("crash", "died of signal 11"), ("hang 60000", "did not return within 0.5 s")] {
        let scene = Scene::new();
        scene.faults(&format!("C_Initialize {fault}"));
        let running = scene.start(faulty(), &format!("{ISOLATED}\ndeadline = 0.5"));
        assert_eq!(slots().len(), 1);
        assert!(running.scene.log().contains(said), "{}", running.scene.log());
        running.scene.faults("");
        std::thread::sleep(Duration::from_millis(1100));
        slots();
        let session = running.user();
        all_is_well(session, ec_pair(session, "key", 1));
    }
}

#[test]
fn a_crash_before_the_first_connection_is_got_over() {
    let scene = Scene::new();
    scene.faults("C_GetTokenInfo crash");
    let running = scene.start(faulty(), ISOLATED);
    assert_eq!(slots().len(), 1);
    running.scene.faults("");
    std::thread::sleep(Duration::from_millis(1100));
    slots();
    let session = running.user();
    all_is_well(session, ec_pair(session, "key", 1));
}

#[test]
fn helpers_that_die_one_after_the_other_are_not_started_without_end() {
    let running = started("");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    running.scene.faults("C_SignInit crash");
    for _ in 0..20 {
        assert_eq!(try_sign(session, keys.1, &[1; 32]), Err(CKR_DEVICE_ERROR));
    }
    let count = helpers(&running.scene).len();
    assert!(count <= 6, "{count} helpers");
    assert!(running.scene.log().contains("times in a row"), "{}", running.scene.log());
    running.scene.faults("");
    assert!(soon(|| try_sign(session, keys.1, &[1; 32]).is_ok()));
}

#[test]
fn a_helper_that_is_none_is_named() {
    for (program, said) in [("/bin/true", "does not say who it is"), ("/nowhere/keyward", "cannot be run")] {
        let log = refused(Scene::new(), &format!("helper = '{program}'"));
        assert!(log.contains(said) && log.contains(program), "{log}");
    }
}

#[test]
fn killing_the_helper_from_outside_is_a_loss_like_any_other() {
    let running = started("");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    let helper = helpers(&running.scene)[0];
    // SAFETY: the helper's own number, from the log.
    unsafe { libc::kill(helper as i32, libc::SIGKILL) };
    assert!(soon(|| !lives(helper)));
    all_is_well(session, keys);
    assert!(running.scene.log().contains("it was killed"), "{}", running.scene.log());
}

#[test]
fn a_helper_ends_when_its_application_is_killed() {
    let scene = Scene::new();
    scene.configure(faulty(), ISOLATED);
    // SAFETY: the child makes calls, waits, and is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        c!(C_Initialize, null_mut());
        slots();
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    assert!(soon(|| !helpers(&scene).is_empty()), "{}", scene.log());
    let helper = helpers(&scene)[0];
    assert!(lives(helper));
    // SAFETY: our own child.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, null_mut(), 0);
    }
    assert!(soon(|| !lives(helper)));
}

#[test]
fn a_forked_child_has_a_helper_of_its_own_and_leaves_its_parents_alone() {
    let running = started("");
    let session = running.user();
    let keys = ec_pair(session, "key", 1);
    // SAFETY: the child calls the module and exits without returning.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut code = 0;
        if c!(C_Initialize, null_mut()) != CKR_OK {
            code = 1;
        } else {
            let session = running.user();
            let keys = find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
            if keys.len() != 1 || try_sign(session, keys[0], &[1; 32]).is_err() {
                code = 2;
            }
            c!(C_Finalize, null_mut());
        }
        // SAFETY: no destructors of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "exit status of the child");
    all_is_well(session, keys);
    assert_eq!(helpers(&running.scene).len(), 2, "one of each");
}

#[test]
fn a_large_payload_goes_through_and_one_beyond_the_bound_is_refused() {
    let running = Scene::new().start(Path::new(SOFTHSM), ISOLATED);
    let session = running.user();
    let digest = |data: &[u8]| {
        let mechanism = [plain(CKM_SHA256)];
        let (mut out, mut out_len) = ([0u8; 32], 32);
        ok!(C_DigestInit, session, ptr(&mechanism));
        let rv = c!(C_Digest, session, ptr(data), len(data), out.as_mut_ptr(), &raw mut out_len);
        (rv, out)
    };
    let data = vec![5u8; 65 << 20];
    let (rv, hash) = digest(&data[..8 << 20]);
    assert_eq!(rv, CKR_OK);
    assert_eq!(hash, openssl::sha::sha256(&data[..8 << 20]));
    assert_eq!(digest(&data).0, CKR_DATA_LEN_RANGE);
    assert_eq!(digest(b"afterwards").0, CKR_OK);
}

/// `cargo nextest run --release --run-ignored all --no-capture forward cost_of_a_call`.
#[test]
#[ignore = "a measurement, of a release build: it prints, and asserts only the bound"]
fn cost_of_a_call() {
    let mut costs = Vec::new();
    for lines in ["token = 'hsm'", ISOLATED] {
        let running = Scene::new().start(Path::new(SOFTHSM), lines);
        let session = running.user();
        let (_, private) = ec_pair(session, "key", 1);
        let one = |times: u32| {
            let begun = Instant::now();
            for _ in 0..times {
                try_sign(session, private, &[1; 32]).unwrap();
            }
            begun.elapsed().as_secs_f64() * 1e6 / f64::from(times)
        };
        one(200);
        let best = (0..5).map(|_| one(1000)).fold(f64::INFINITY, f64::min);
        println!("{}: {best:.1} µs for C_SignInit and C_Sign", lines.replace('\n', ", "));
        costs.push(best);
    }
    println!("isolation costs {:.1} µs for the two calls", costs[1] - costs[0]);
    assert!(costs[1] - costs[0] < 200.0);
}
