//! A token of many objects beside one of ten, through the C functions. Figures are printed, and held against what is
//! promised where the build is one that is shipped.

use std::io::Write;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use keyward::config::Config;
use keyward::token::{Attribute, Caller, SessionId, User};

use crate::harness::*;
use crate::ok;
use crate::store_common::{again, processor_time, setting};
use crate::world::*;

const FEW: u64 = 10;

/// All of one class and type: what finds one of them is its label or its ID.
fn template(n: u64) -> Vec<Attribute> {
    vec![
        Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
        Attribute::ulong(CKA_KEY_TYPE, CKK_AES),
        Attribute::bool(CKA_TOKEN, true),
        Attribute::bool(CKA_PRIVATE, true),
        Attribute::bytes(CKA_VALUE, &[n.to_be_bytes(); 4].concat()),
        Attribute::bytes(CKA_ID, &n.to_be_bytes()),
        Attribute::bytes(CKA_LABEL, format!("label-{n}").as_bytes()),
    ]
}

/// Fills a token by what `keyward object import` goes by; objects a second, and a second of processor time.
fn fill(slot: CK_SLOT_ID, objects: u64) -> (f64, f64) {
    let config = Config::load().unwrap();
    let slots = keyward::module::open_slots(Arc::new(config)).unwrap();
    let token = slots.iter().find(|one| one.id == slot).unwrap().token.clone();
    let caller = Caller { session: SessionId(1), read_write: true };
    token.login(caller, User::User, USER_PIN).unwrap();
    let (began, began_work) = (Instant::now(), processor_time());
    let batch = 20_000.min(objects);
    for start in (0..objects).step_by(batch as usize) {
        token.create_all(caller, (start..start + batch).map(template).collect()).unwrap();
    }
    let rate = |time: Duration| objects as f64 / time.as_secs_f64();
    (rate(began.elapsed()), rate(processor_time() - began_work))
}

fn scale(name: &str, objects: u64) {
    if let Some(setting) = setting() {
        return measure(setting[0].parse().unwrap(), setting[1].parse().unwrap(), objects);
    }
    let world = World::new();
    world.configuration("keyward.toml", "always");
    ok!(C_Initialize, null_mut());
    let mut made = Vec::new();
    for count in [FEW, objects] {
        let free = slots(CK_FALSE).into_iter().find(|slot| !made.contains(slot)).unwrap();
        let slot = make_token(free);
        let rate = fill(slot, count);
        key_pair(logged_in(slot), b"signer");
        made.push(slot);
        if count == objects {
            println!("{objects} objects imported, {:.0} a second, {:.0} a second of processor time", rate.0, rate.1);
            assert!(cfg!(debug_assertions) || rate.1 >= 5000.0, "{rate:?}");
        }
    }
    ok!(C_Finalize, null_mut());
    let mut child = again(name, &format!("{}|{}", made[0], made[1]));
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    std::io::stdout().write_all(out.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The mean processor time of `rounds` calls, after one that is not counted.
fn mean(rounds: u64, mut work: impl FnMut(u64)) -> Duration {
    work(0);
    let began = processor_time();
    (0..rounds).for_each(&mut work);
    (processor_time() - began) / rounds as u32
}

fn measure(few: CK_SLOT_ID, many: CK_SLOT_ID, objects: u64) {
    let opened = || {
        let began = processor_time();
        ok!(C_Initialize, null_mut());
        let session = open(many);
        (processor_time() - began, session)
    };
    let _ = opened();
    ok!(C_Finalize, null_mut());
    let (open_both, session) = opened();
    ok!(C_Login, session, CKU_USER, ptr(USER_PIN), len(USER_PIN));
    let small = logged_in(few);
    let one = |template| assert_eq!(find_up_to_two(session, template), 1);
    let spread = |n: u64| n.wrapping_mul(7919) % objects;
    let by_label = mean(2000, |n| one(by(CKA_LABEL, format!("label-{}", spread(n)).as_bytes())));
    let by_id = mean(2000, |n| one(by(CKA_ID, &spread(n).to_be_bytes())));
    let by_id_and_class = mean(2000, |n| {
        one(Template::new().number(CKA_CLASS, CKO_SECRET_KEY).bytes(CKA_ID, &spread(n).to_be_bytes()));
    });

    let key = |session| find(session, Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_ID, b"signer"))[0];
    let (small_key, large_key) = (key(small), key(session));
    let sign = |session, key| {
        mean(2000, |n| {
            try_sign(session, key, &[n as u8; 32]).unwrap();
        })
    };
    // In turns, and the best of each: what else the machine does strikes both.
    let rounds: Vec<(Duration, Duration)> =
        (0..7).map(|_| (sign(small, small_key), sign(session, large_key))).collect();
    let (few_sign, many_sign) =
        (rounds.iter().map(|both| both.0).min().unwrap(), rounds.iter().map(|both| both.1).min().unwrap());

    let before_listing = resident();
    let began = Instant::now();
    let listed = {
        ok!(C_FindObjectsInit, session, null_mut(), 0);
        let (mut handles, mut all) = ([0; 100], 0);
        loop {
            let mut found = 0;
            ok!(C_FindObjects, session, handles.as_mut_ptr(), 100, &raw mut found);
            all += found;
            if found == 0 {
                break all;
            }
        }
    };
    ok!(C_FindObjectsFinal, session);
    let listing = began.elapsed();
    let began = Instant::now();
    for n in 0..50 {
        create(session, kept(b"single", &n.to_string()));
    }
    let create = began.elapsed() / 50;
    println!(
        "processor time to initialise and open {open_both:?}; find by label {by_label:?}, by ID {by_id:?}, by ID and class {by_id_and_class:?}; \
         sign {many_sign:?}, beside {FEW} objects {few_sign:?}; list all {listing:?}; durable create {create:?}; \
         resident {before_listing} MiB, {} MiB after the listing",
        resident()
    );
    assert_eq!(listed, objects + 2);
    assert!(resident() < 64, "{} MiB", resident());
    if !cfg!(debug_assertions) {
        let most = Duration::from_micros(50);
        assert!(
            by_label < most && by_id < most && by_id_and_class < most,
            "{by_label:?} {by_id:?} {by_id_and_class:?}"
        );
        assert!(many_sign <= few_sign + few_sign / 20, "{many_sign:?} against {few_sign:?}");
    }
}

/// How many fit, counted no further than two.
fn find_up_to_two(session: CK_SESSION_HANDLE, mut template: Template) -> CK_ULONG {
    let raw = template.raw();
    ok!(C_FindObjectsInit, session, raw.as_mut_ptr(), len(raw));
    let (mut handles, mut count) = ([0; 2], 0);
    ok!(C_FindObjects, session, handles.as_mut_ptr(), 2, &raw mut count);
    ok!(C_FindObjectsFinal, session);
    count
}

#[test]
fn twenty_thousand_objects_are_no_burden() {
    scale("scale::twenty_thousand_objects_are_no_burden", 20_000);
}

#[test]
#[ignore = "minutes: a million objects"]
fn a_million_objects_are_no_burden() {
    scale("scale::a_million_objects_are_no_burden", 1_000_000);
}
