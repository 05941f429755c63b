//! Forks, as nginx, OpenSSH and Python's multiprocessing make them.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::harness::*;
use crate::ok;
use crate::store_common::{again, setting};
use crate::world::*;

/// How a child ends.
#[derive(Clone, Copy)]
enum End {
    /// Without exit handlers.
    AtOnce,
    /// With them.
    Exit,
}

/// Forks; the child ends with 0 if `work` comes through.
fn fork(end: End, work: impl FnOnce()) -> i32 {
    // SAFETY: the child runs `work` alone, and leaves. What other threads of the test hold at the fork, it does not touch.
    unsafe {
        match libc::fork() {
            0 => {
                let failed = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
                match end {
                    End::AtOnce => libc::_exit(failed),
                    End::Exit => libc::exit(failed),
                }
            }
            pid => pid,
        }
    }
}

fn wait(pid: i32) {
    let (mut status, deadline) = (0, Instant::now() + Duration::from_secs(60));
    // SAFETY: a child of ours.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == 0 {
        assert!(Instant::now() < deadline, "the child hangs");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(status, 0, "the child's status: {status:#x}");
}

/// Numbers that a child leaves for its parent.
fn board(len: usize) -> &'static [AtomicU64] {
    // SAFETY: a fresh anonymous mapping, shared with children, never unmapped; zeros are a value.
    unsafe {
        let (rw, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let page = libc::mmap(null_mut(), len * 8, rw, kind, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        std::slice::from_raw_parts(page.cast(), len)
    }
}

fn random(session: CK_SESSION_HANDLE) -> u64 {
    let mut bytes = [0; 8];
    ok!(C_GenerateRandom, session, bytes.as_mut_ptr(), 8);
    u64::from_ne_bytes(bytes)
}

/// What a worker finds that was forked from a master who is logged in, and does.
fn worker(inherited: (CK_SESSION_HANDLE, CK_OBJECT_HANDLE), slot: CK_SLOT_ID, number: usize, board: &AtomicU64) {
    const EACH: usize = 10;
    let (session, key) = inherited;
    assert_eq!(try_sign(session, key, &[1; 32]), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
    ok!(C_Initialize, null_mut());
    assert_eq!(try_sign(session, key, &[1; 32]), Err(CKR_SESSION_HANDLE_INVALID));
    let own = open(slot);
    let mut info = CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
    ok!(C_GetSessionInfo, own, &raw mut info);
    assert_eq!(info.state, CKS_RW_PUBLIC_SESSION, "the master's login is not the worker's");
    let private = || Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_ID, b"tls");
    assert!(find(own, private()).is_empty());
    assert_ne!(try_sign(own, key, &[1; 32]).err(), None, "nor is its key");
    board.store(random(own), Ordering::Release);
    ok!(C_Login, own, CKU_USER, ptr(USER_PIN), len(USER_PIN));
    let (private, public) =
        (find(own, private())[0], Template::new().number(CKA_CLASS, CKO_PUBLIC_KEY).bytes(CKA_ID, b"tls"));
    let public = find(own, public)[0];
    for n in 0..EACH {
        let hash = [n as u8; 32];
        assert!(verifies(own, public, &hash, &try_sign(own, private, &hash).unwrap()));
        create(own, kept(b"worker", &format!("{number}-{n}")));
    }
    ok!(C_Finalize, null_mut());
}

/// nginx: the master initialises and logs in (its configuration names a key), forks workers, and goes on; at each reload it
/// forks others. Its threads are busy at each fork. The workers start anew.
#[test]
fn workers_of_nginx_start_anew_and_their_master_goes_on() {
    const RELOADS: usize = 3;
    const WORKERS: usize = 4;
    let (_world, slot) = World::with_token();
    let session = logged_in(slot);
    let (_, key) = key_pair(session, b"tls");
    let (board, stop, written) = (board(RELOADS * WORKERS), AtomicBool::new(false), AtomicU64::new(0));
    let mut drawn = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let busy = open(slot);
            while !stop.load(Ordering::Acquire) {
                create(busy, kept(b"master", &written.load(Ordering::Acquire).to_string()));
                written.fetch_add(1, Ordering::AcqRel);
                try_sign(busy, key, &[2; 32]).unwrap();
            }
        });
        let mut workers = Vec::new();
        for (number, board) in board.iter().enumerate() {
            workers.push(fork(End::AtOnce, || worker((session, key), slot, number, board)));
            drawn.push(random(session));
            try_sign(session, key, &[3; 32]).unwrap();
            if number % WORKERS == WORKERS - 1 {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        workers.into_iter().for_each(wait);
        stop.store(true, Ordering::Release);
    });
    try_sign(session, key, &[4; 32]).unwrap();
    assert_eq!(find(session, by(CKA_ID, b"worker")).len(), RELOADS * WORKERS * 10);
    assert_eq!(find(session, by(CKA_ID, b"master")).len() as u64, written.load(Ordering::Acquire));
    drawn.extend(board.iter().map(|number| number.load(Ordering::Acquire)));
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 2 * RELOADS * WORKERS, "no number was drawn twice");
}

/// OpenSSH: ssh-agent becomes a daemon after a fork whose parent leaves, and runs a helper by `exec`, which must inherit
/// nothing of the token; sshd's children leave by `exit` without ever having asked for anything.
#[test]
fn daemons_and_helpers_of_openssh_inherit_nothing() {
    const NAME: &str = "forks::daemons_and_helpers_of_openssh_inherit_nothing";
    if setting().is_some() {
        let session = attach();
        create(session, kept(b"agent", "before"));
        let slot = slots(CK_TRUE)[0];
        let daemon = fork(End::Exit, || {
            ok!(C_Initialize, null_mut());
            create(logged_in(slot), kept(b"agent", "daemon"));
            // It ends without finalising, by way of the exit handlers.
        });
        println!("daemon {daemon}");
        return;
    }
    let (world, slot) = World::with_token();
    let session = logged_in(slot);
    create(session, kept(b"agent", "parent"));
    let helper = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listed = String::from_utf8_lossy(&helper.stdout).into_owned();
    assert!(helper.status.success() && listed.contains("/proc/"), "{listed}");
    let place = world.path("").display().to_string();
    assert!(!listed.contains(place.trim_end_matches('/')), "{listed}");

    for _ in 0..5 {
        wait(fork(End::Exit, || {}));
    }
    assert_eq!(find(session, by(CKA_LABEL, b"parent")).len(), 1);

    let mut agent = again(NAME, "agent");
    // The output ends when the daemon, which inherited it, has ended too.
    let said = std::io::read_to_string(agent.stdout.take().unwrap()).unwrap();
    assert!(agent.wait().unwrap().success() && said.contains("daemon "), "{said}");
    let mut labels: Vec<Vec<u8>> =
        find(session, by(CKA_ID, b"agent")).iter().map(|one| value(session, *one, CKA_LABEL).unwrap()).collect();
    labels.sort();
    assert_eq!(labels, [&b"before"[..], b"daemon", b"parent"]);
}

/// Python's multiprocessing, by all three of its ways to start a process, over the library itself.
#[test]
fn pools_of_python_sign_under_each_way_to_start_a_process() {
    let (world, slot) = World::with_token();
    key_pair(logged_in(slot), b"py");
    ok!(C_Finalize, null_mut());
    let library = std::env::current_exe().unwrap().parent().unwrap().join("libkeyward.so");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store_c_abi/pool.py");
    for way in ["fork", "spawn", "forkserver"] {
        let done = Command::new("python3").args([script, way]).arg(&library).arg(slot.to_string()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && out.trim() == "64 signatures, 64 distinct", "{way}: {out} {err}");
    }
    drop(world);
}
