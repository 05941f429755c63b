//! Approvals of exports and restores: of one act, once, by others than who asks for it.

use crate::login::pin_file;
use crate::place::*;
use crate::*;

/// A token whose extractable key `gold` leaves with two approvals, and three approvers.
pub fn guarded(more: &str) -> Place {
    let place = staffed(&[("dave", "user operator")]);
    place.work("named user dave dave-1234; extractable gold; extractable plain");
    let mut approvers = String::new();
    for name in ["alice", "bob", "dave"] {
        let made = done(&place, &format!("approval new-key {name}.key --name {name}"));
        approvers.push_str(&format!("{name} = '{}'\n", made["public_key"].as_str().unwrap()));
    }
    let text = format!(
        "version = 1\nname = 'p'\n{more}\n[approvers]\n{approvers}[protection]\nallow_any_wrapping = true\n\
         [[class]]\nname = 'gold'\nmatch = {{ label = ['gold*'] }}\napprove_export = 2\n"
    );
    std::fs::write(place.0.join("policy.toml"), text).unwrap();
    done(&place, "policy apply policy.toml --so-pin-file pin");
    place
}

pub fn serial(place: &Place) -> String {
    let listed = done(place, "token list");
    listed[0]["serial"].as_str().unwrap().trim_end().to_owned()
}

fn unique_id(place: &Place, label: &str) -> String {
    let listed = done(place, "object list --pin-file pin");
    let all = listed.as_array().unwrap();
    let found =
        all.iter().find(|one| one["label"] == label && one["class"].to_string().to_lowercase().contains("private"));
    found.unwrap_or_else(|| panic!("{listed:#}"))["unique_id"].as_str().unwrap().to_owned()
}

pub fn sign(place: &Place, request: &str, name: &str) -> String {
    let output = format!("{name}-{}.approval", std::fs::read_dir(&place.0).unwrap().count());
    done(place, &format!("approval sign --request {request} --key {name}.key --name {name} --output {output}"));
    output
}

#[test]
fn a_class_may_be_for_named_users() {
    let place = staffed(&[("anna", "user"), ("bert", "user")]);
    place.work("login user 1234-abcd; generate other");
    let policy = |who: &str| {
        let class = format!("[[class]]\nname = 'tls'\nmatch = {{ label = ['tls'] }}\nwho = {{ {who} }}\n");
        std::fs::write(place.0.join("policy.toml"), format!("version = 1\nname = 'p'\n{class}")).unwrap();
        done(&place, "policy apply policy.toml --so-pin-file pin");
    };
    policy("names = ['anna', 'carl']");
    let uses = |login: &str| {
        let answers = place.try_work(&format!("{login}; sign tls; sign tls; sign other"));
        answers[1..].iter().map(|answer| answer.rsplit(": ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (ok, no) = ("CKR_OK", "CKR_KEY_FUNCTION_NOT_PERMITTED");
    assert_eq!(uses("named user anna anna-1234"), [ok, ok, ok]);
    assert_eq!(uses("named user bert bert-1234"), [no, no, ok]);
    assert_eq!(uses("login user 1234-abcd"), [no, no, ok], "the user without a name is nobody's name");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    policy(&format!("names = ['anna'], users = ['{uid}']"));
    assert_eq!(uses("named user bert bert-1234"), [ok, ok, ok], "one that fits is enough");
    // In one process, from one login to the next.
    policy("names = ['anna']");
    let steps = "named user bert bert-1234; sign tls; logout; named user anna anna-1234; sign tls; logout; named user bert bert-1234; sign tls";
    let answers = place.try_work(steps);
    let signed: Vec<_> = answers.iter().filter(|answer| answer.starts_with("sign")).collect();
    assert!(signed[0].ends_with(no) && signed[1].ends_with(ok) && signed[2].ends_with(no), "{answers:?}");
}

#[test]
fn a_guarded_key_leaves_with_two_approvals_once() {
    let place = guarded("");
    let dave = format!("--user dave --pin-file {}", pin_file(&place, "dave"));
    let serial = serial(&place);
    let gold = unique_id(&place, "gold");
    done(&place, &format!("approval request --serial {serial} --requester dave --export {gold} --output gold.request"));
    let shown = done(&place, "approval show gold.request");
    assert_eq!(
        (&shown["act"], &shown["requester"], &shown["signed"]),
        (&"export".into(), &"dave".into(), &false.into())
    );
    let export = |n: &str, approvals: &[&str]| {
        let approvals: String = approvals.iter().map(|file| format!(" --approval {file}")).collect();
        format!("key export --label gold --format pkcs8-plain --yes --output {n}.pem {dave}{approvals}")
    };
    refused(&place, &export("0", &[]), 1, "2 approvals");
    refused(&place, "approval sign --request gold.request --key dave.key --name dave", 6, "somebody else must approve");
    let (alice, bob) = (sign(&place, "gold.request", "alice"), sign(&place, "gold.request", "bob"));
    refused(&place, &export("0", &[&alice, &alice]), 1, "1 are there");
    // For looking whether it may leave nothing is used up.
    done(&place, &format!("{} --dry-run", export("0", &[&alice, &bob])));
    done(&place, &export("1", &[&alice, &bob]));
    assert!(text(&place.0.join("1.pem")).contains("PRIVATE KEY"));
    refused(&place, &export("2", &[&alice, &bob]), 1, "has been used");
    assert!(!place.0.join("2.pem").exists());
    // Another user than the one who asked: the token's own has no name, and is whom the approvals do not name.
    let (alice, bob) = (sign(&place, "gold.request", "alice"), sign(&place, "gold.request", "bob"));
    add(&place, "erin", "user operator");
    let erin =
        export("3", &[&alice, &bob]).replace(&dave, &format!("--user erin --pin-file {}", pin_file(&place, "erin")));
    refused(&place, &erin, 1, "for dave, not for erin");
    done(&place, &export("4", &[&alice, &bob]));
    // A key of no such class leaves as before.
    done(&place, &format!("key export --label plain --format pkcs8-plain --yes --output plain.pem {dave}"));
}

#[test]
fn an_application_neither_wraps_reads_renames_nor_copies_a_guarded_key_out_of_its_class() {
    let place = guarded("");
    let answers = place.try_work(
        "named user dave dave-1234; secret gold-aes; secret plain-aes; wrap plain-aes gold-aes; value gold-aes; \
         value plain-aes; rename gold silver; rename plain brass",
    );
    let codes: Vec<&str> = answers[3..].iter().map(|answer| answer.rsplit(": ").next().unwrap()).collect();
    let expected = ["CKR_KEY_NOT_WRAPPABLE", "CKR_ATTRIBUTE_SENSITIVE", "CKR_OK", "CKR_ACTION_PROHIBITED", "CKR_OK"];
    assert_eq!(codes, expected, "{answers:?}");
}

#[test]
fn a_restore_waits_for_approvals_each_of_which_counts_once() {
    let place = guarded("approve_restore = 1");
    let backup = done(&place, "backup create b --threshold 1 --custodian x=print");
    let id = backup["id"].as_str().unwrap();
    let serial = serial(&place);
    let restore = "backup restore b --share b.share-1-x.txt --so-pin-file pin --pin-file pin";
    std::fs::remove_dir_all(place.0.join("tokens")).unwrap();
    refused(&place, restore, 6, "1 approvals");
    done(&place, &format!("approval request --serial {serial} --requester dave --restore {id} --output r.request"));
    let alice = sign(&place, "r.request", "alice");
    done(&place, &format!("{restore} --approval {alice}"));
    std::fs::remove_dir_all(place.0.join("tokens")).unwrap();
    refused(&place, &format!("{restore} --approval {alice}"), 6, "has been used");
    let bob = sign(&place, "r.request", "bob");
    done(&place, &format!("{restore} --approval {bob}"));
}
