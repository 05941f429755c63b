//! Backups of tokens with users and a policy, what waits for one, and custodians with keys of every kind.

use crate::place::*;
use crate::*;

const PINS: &str = "--so-pin-file pin --pin-file pin";

fn openssl(place: &Place, line: &str) {
    let mut command = std::process::Command::new("openssl");
    let done = command.args(line.split_whitespace()).current_dir(&place.0).output().unwrap();
    assert!(done.status.success(), "{line}: {}", shown(&done.stderr));
}

fn elsewhere(place: &Place, names: &[&str]) -> Place {
    let other = Place::new("");
    for name in names {
        std::fs::copy(place.0.join(name), other.0.join(name)).unwrap();
    }
    other
}

#[test]
fn users_roles_and_policy_come_back_on_another_machine() {
    let place = staffed(&[("anna", "user"), ("olga", "officer"), ("max", "auditor")]);
    std::fs::write(place.0.join("policy.toml"), "version = 1\nname = 'kept'\n").unwrap();
    done(&place, "policy apply policy.toml --so-pin-file pin");
    place.try_work("named user anna wrong-1");
    done(&place, "backup create b --threshold 1 --custodian x=print");
    let other = elsewhere(&place, &["b", "b.share-1-x.txt"]);
    done(&other, &format!("backup restore b --share b.share-1-x.txt {PINS}"));
    assert_eq!(done(&place, "user list"), done(&other, "user list"), "with roles and wrong tries");
    assert!(done(&other, "policy show")["policy"].as_str().unwrap().contains("kept"));
    other.work(
        "named user anna anna-1234; sign tls; logout; named so olga olga-1234; initpin; logout; named user max max-1234",
    );
    assert_ne!(std::fs::read(place.0.join("device")).unwrap(), std::fs::read(other.0.join("device")).unwrap());
    done(&other, "token verify --pin-file pin");
    done(&other, &format!("token rotate-key {PINS}"));
    other.work("named user anna anna-1234; sign tls");
    // Over a token that is there nothing is restored.
    refused(&other, &format!("backup restore b --share b.share-1-x.txt {PINS}"), 1, "is there already");
    let serial = approvals::serial(&other);
    let into = format!("backup restore b --share b.share-1-x.txt --serial {serial} --new-pin-file pin {PINS}");
    refused(&other, &into, 6, "the token holds objects");
}

#[test]
fn a_key_that_needs_a_backup_is_not_used_before_it_is_in_a_verified_one() {
    let place = staffed(&[]);
    let text =
        "version = 1\nname = 'p'\n[[class]]\nname = 'vital'\nmatch = { label = ['vital*'] }\nbackup = 'required'\n";
    std::fs::write(place.0.join("policy.toml"), text).unwrap();
    done(&place, "policy apply policy.toml --so-pin-file pin");
    place.work("login user 1234-abcd; generate vital-1");
    let tried = |label: &str| place.try_work(&format!("login user 1234-abcd; sign {label}")).pop().unwrap();
    let refusal = "CKR_KEY_FUNCTION_NOT_PERMITTED";
    assert!(tried("vital-1").ends_with(refusal));
    place.work("login user 1234-abcd; sign tls; passing vital-passing; sign vital-passing");
    done(&place, "backup create b --threshold 1 --custodian x=print");
    assert!(tried("vital-1").ends_with(refusal), "made, not verified");
    done(&place, "backup verify b");
    done(&place, "backup verify b --share b.share-1-x.txt");
    assert!(tried("vital-1").ends_with(refusal), "its checksum, or its public objects alone");
    // A process that runs already uses it at once.
    let (ready, go) = (place.0.join("ready"), place.0.join("go"));
    let running = place.start(&format!(
        "login user 1234-abcd; hold vital-1; use; touch {}; wait {}; use",
        ready.display(),
        go.display()
    ));
    while !ready.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    place.work("login user 1234-abcd; generate vital-2");
    done(&place, "backup verify b --share b.share-1-x.txt --pin-file pin");
    std::fs::write(&go, b"").unwrap();
    let running = answers(running);
    assert!(running[1].ends_with(refusal) && running[2].ends_with("CKR_OK"), "{running:?}");
    assert!(tried("vital-2").ends_with(refusal), "made since");
    // A restored token's keys are in the backup that they came from.
    let other = elsewhere(&place, &["b", "b.share-1-x.txt"]);
    done(&other, &format!("backup restore b --share b.share-1-x.txt {PINS}"));
    other.work("login user 1234-abcd; sign vital-1");
}

#[test]
fn a_custodian_with_an_x25519_key_opens_their_share() {
    let place = staffed(&[]);
    for name in ["ada", "bob"] {
        openssl(&place, &format!("genpkey -algorithm X25519 -out {name}.key"));
    }
    openssl(&place, "pkey -in ada.key -pubout -out ada.pem");
    done(&place, "backup create b --threshold 1 --custodian ada=ada.pem");
    let verify = "backup verify b --share b.share-1-ada.age --pin-file pin --identity";
    let verified = done(&place, &format!("{verify} ada.key"));
    assert_eq!((&verified["sound"], &verified["unchecked"]), (&true.into(), &0.into()), "{verified:#}");
    refused(&place, &format!("{verify} bob.key"), 1, "no --identity opens this share");
    openssl(&place, "genpkey -algorithm ED25519 -out ed.key");
    openssl(&place, "pkey -in ed.key -pubout -out ed.pem");
    refused(&place, "backup create c --threshold 1 --custodian ed=ed.pem", 2, "only RSA, X25519 and EC");
}
