//! Processes that log in, write and sign at once.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::harness::*;
use crate::ok;
use crate::store_common::{again, setting};
use crate::world::*;

/// What a writer has acknowledged, for the others to hold it against what they read.
struct Acknowledged(std::fs::File);

impl Acknowledged {
    fn open(directory: &Path, writer: usize) -> Acknowledged {
        let path = directory.join(format!("acknowledged-{writer}"));
        let options = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        Acknowledged(options.unwrap())
    }

    fn say(&self, count: u64) {
        self.0.write_all_at(&count.to_be_bytes(), 0).unwrap();
    }

    fn heard(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 0).map_or(0, |()| u64::from_be_bytes(bytes))
    }
}

fn shared(writer: usize) -> Vec<u8> {
    format!("shared-{writer}").into_bytes()
}

fn crowd(name: &str, (openers, writers, signers): (usize, usize, usize), last: Duration) {
    if let Some(setting) = setting() {
        let writers = setting[2].parse().unwrap();
        return member(
            &setting[0],
            &PathBuf::from(&setting[1]),
            writers,
            Duration::from_millis(setting[3].parse().unwrap()),
        );
    }
    let (world, slot) = World::with_token();
    let session = logged_in(slot);
    key_pair(session, b"signer");
    for writer in 0..writers {
        create(session, kept(&shared(writer), "0"));
    }
    let before = find(session, by(CKA_KEY_TYPE, &CKK_GENERIC_SECRET.to_ne_bytes())).len() as u64;
    let directory = world.path("");
    let roles = ["open", "write", "sign"].into_iter().zip([openers, writers, signers]);
    let mut children: Vec<(String, Child)> = roles
        .flat_map(|(what, count)| (0..count).map(move |n| format!("{what} {n}")))
        .map(|who| {
            let setting = format!("{who}|{}|{writers}|{}", directory.display(), last.as_millis());
            (who, again(name, &setting))
        })
        .collect();
    let mut done: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (who, child) in &mut children {
        let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        assert!(child.wait().unwrap().success(), "{who}: {out}");
        let at = out.find("did ").unwrap_or_else(|| panic!("{who}: {out}"));
        let numbers: Vec<u64> = out[at..].lines().next().unwrap().split(' ').filter_map(|n| n.parse().ok()).collect();
        assert!(numbers[0] > 0, "{who} never had its turn");
        let sum = done.entry(who.split(' ').next().unwrap().to_owned()).or_default();
        *sum = (sum.0 + numbers[0], sum.1.max(numbers[1]));
    }
    println!("rounds of all, and the longest of one in ms: {done:?}");
    let after = count(session, CKO_SECRET_KEY);
    assert_eq!(after, before + done["write"].0, "this process, which slept meanwhile, sees them all");
    assert!(keyward_verifies(&world));
}

fn count(session: CK_SESSION_HANDLE, class: CK_OBJECT_CLASS) -> u64 {
    let mut template = Template::new().number(CKA_CLASS, class);
    let raw = template.raw();
    ok!(C_FindObjectsInit, session, raw.as_mut_ptr(), len(raw));
    let (mut handles, mut all) = (vec![0; 500], 0);
    loop {
        let mut found = 0;
        ok!(C_FindObjects, session, handles.as_mut_ptr(), 500, &raw mut found);
        all += found;
        if found == 0 {
            break;
        }
    }
    ok!(C_FindObjectsFinal, session);
    all
}

fn keyward_verifies(world: &World) -> bool {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.env("PIN", std::str::from_utf8(USER_PIN).unwrap()).args(["token", "verify", "--pin-env", "PIN"]);
    let done = command.output().unwrap();
    println!("{}: {}", world.slot_file().display(), String::from_utf8_lossy(&done.stdout));
    done.status.success()
}

fn member(who: &str, directory: &Path, writers: usize, last: Duration) {
    let (what, number) = who.split_once(' ').unwrap();
    let number: usize = number.parse().unwrap();
    let acknowledged: Vec<Acknowledged> = (0..writers).map(|writer| Acknowledged::open(directory, writer)).collect();
    let session = attach();
    let one = |template| match find(session, template)[..] {
        [one] => one,
        ref other => panic!("{} found", other.len()),
    };
    let objects: Vec<CK_OBJECT_HANDLE> = match what {
        "open" => Vec::new(),
        _ => (0..writers).map(|writer| one(by(CKA_ID, &shared(writer)))).collect(),
    };
    let (end, mut rounds, mut longest) = (Instant::now() + last, 0u64, Duration::ZERO);
    while Instant::now() < end {
        let began = Instant::now();
        match what {
            "open" => {
                ok!(C_Finalize, null_mut());
                attach();
            }
            "write" => {
                let label = format!("{number}-{rounds}");
                create(session, kept(b"crowd", &label));
                one(by(CKA_LABEL, label.as_bytes()));
                let mut change = by(CKA_LABEL, (rounds + 1).to_string().as_bytes());
                let raw = change.raw();
                ok!(C_SetAttributeValue, session, objects[number], raw.as_mut_ptr(), 1);
                acknowledged[number].say(rounds + 1);
            }
            _ => {
                let private = Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_ID, b"signer");
                let public = Template::new().number(CKA_CLASS, CKO_PUBLIC_KEY).bytes(CKA_ID, b"signer");
                let hash = [rounds.to_be_bytes(); 4].concat();
                let signature = try_sign(session, one(private), &hash).unwrap();
                assert!(verifies(session, one(public), &hash, &signature));
                for (object, writer) in objects.iter().zip(&acknowledged) {
                    let known = writer.heard();
                    let label = value(session, *object, CKA_LABEL).unwrap();
                    let now: u64 = String::from_utf8(label).unwrap().parse().unwrap();
                    assert!(now >= known, "stale: read {now} after {known} was acknowledged");
                }
            }
        }
        longest = longest.max(began.elapsed());
        rounds += 1;
    }
    println!("did {rounds} {}", longest.as_millis());
}

#[test]
fn a_crowd_logs_in_writes_and_signs_without_an_error() {
    crowd("crowd::a_crowd_logs_in_writes_and_signs_without_an_error", (4, 2, 3), Duration::from_secs(3));
}

#[test]
#[ignore = "a minute and 88 processes"]
fn a_crowd_of_eighty_eight_meets_no_error_for_a_minute() {
    crowd("crowd::a_crowd_of_eighty_eight_meets_no_error_for_a_minute", (64, 8, 16), Duration::from_secs(60));
}
