//! The sample vectors of NIST's ACVP server (see `acvp_common`).
//!
//! Not run: the Monte Carlo tests of the AES modes, the large-data tests, messages that are no whole bytes, and
//! wrapping with the inverse cipher.

use cryptoki_sys::*;
use keyward::crypto::digest::{Digest, hash};
use keyward::error::Code;
use keyward::token::{Params, Use};
use serde_json::Value;

use super::acvp_common::load;
use super::{begin, step, verify, whole};

/// Every (group, test) of a type.
fn tests<'a>(set: &'a Value, ty: &'a str) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let groups = set["testGroups"].as_array().unwrap().iter().filter(move |group| group["testType"] == ty);
    groups.flat_map(|group| group["tests"].as_array().unwrap().iter().map(move |test| (group, test)))
}

/// The answers of a set that keeps them apart, by the number of the test.
fn by_number(answers: &Value) -> std::collections::HashMap<u64, &Value> {
    let tests = answers["testGroups"].as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap());
    tests.map(|answer| (answer["tcId"].as_u64().unwrap(), answer)).collect()
}

fn bytes(test: &Value, name: &str) -> Vec<u8> {
    let text = test[name].as_str().unwrap_or_else(|| panic!("{name} in {test}"));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn cipher_set(name: &str, ty: CK_MECHANISM_TYPE, params: impl Fn(&Value) -> Params) {
    let Some(set) = load(name) else { return };
    let mut count = 0;
    for (group, test) in tests(&set, "AFT") {
        let (what, from, to) = match group["direction"].as_str().unwrap() {
            "encrypt" => (Use::Encrypt, "pt", "ct"),
            _ => (Use::Decrypt, "ct", "pt"),
        };
        let mut out = whole(ty, what, &params(test), &bytes(test, "key"), &bytes(test, from)).unwrap();
        let mut expected = bytes(test, to);
        // Of a message that ends inside a byte only the leading bits are given.
        let odd = test["payloadLen"].as_u64().unwrap_or(0) % 8;
        if odd > 0 {
            for last in [out.last_mut(), expected.last_mut()].into_iter().flatten() {
                *last &= 0xffu8 << (8 - odd);
            }
        }
        assert_eq!(out, expected, "{name} {}", test["tcId"]);
        count += 1;
    }
    assert!(count > 100, "{name}: {count}");
}

fn iv(test: &Value) -> Params {
    Params::Iv(bytes(test, "iv").into())
}

#[test]
fn unauthenticated_modes() {
    cipher_set("ACVP-AES-ECB-1.0", CKM_AES_ECB, |_| Params::None);
    cipher_set("ACVP-AES-CBC-1.0", CKM_AES_CBC, iv);
    cipher_set("ACVP-AES-OFB-1.0", CKM_AES_OFB, iv);
    cipher_set("ACVP-AES-CFB1-1.0", CKM_AES_CFB1, iv);
    cipher_set("ACVP-AES-CFB8-1.0", CKM_AES_CFB8, iv);
    cipher_set("ACVP-AES-CFB128-1.0", CKM_AES_CFB128, iv);
    cipher_set("ACVP-AES-CTR-1.0", CKM_AES_CTR, |test| Params::Ctr {
        counter_bits: 128,
        block: bytes(test, "iv").try_into().unwrap(),
    });
}

#[test]
fn ciphertext_stealing() {
    let Some(set) = load("ACVP-AES-CBC-CS1-1.0") else { return };
    let mut count = 0;
    for (group, test) in tests(&set, "AFT").filter(|(_, test)| test["payloadLen"].as_u64().unwrap() % 8 == 0) {
        let (plain, sealed) = (bytes(test, "pt"), bytes(test, "ct"));
        let (what, from, to) = match group["direction"].as_str().unwrap() {
            "encrypt" => (Use::Encrypt, plain, sealed),
            _ => (Use::Decrypt, sealed, plain),
        };
        assert_eq!(whole(CKM_AES_CTS, what, &iv(test), &bytes(test, "key"), &from), Ok(to), "{}", test["tcId"]);
        count += 1;
    }
    assert!(count > 100, "{count}");
}

/// The three keys of a test as one; with keying option 2 as the two of CKK_DES2.
fn triple_des_key(test: &Value, two: bool) -> Vec<u8> {
    let names: &[&str] = if two { &["key1", "key2"] } else { &["key1", "key2", "key3"] };
    names.iter().flat_map(|name| bytes(test, name)).collect()
}

#[test]
fn triple_des() {
    for (name, ty) in [("ACVP-TDES-ECB-1.0", CKM_DES3_ECB), ("ACVP-TDES-CBC-1.0", CKM_DES3_CBC)] {
        let Some(set) = load(name) else { return };
        let mut count = 0;
        for (group, test) in tests(&set, "AFT") {
            let (what, from, to) = match group["direction"].as_str().unwrap() {
                "encrypt" => (Use::Encrypt, "pt", "ct"),
                _ => (Use::Decrypt, "ct", "pt"),
            };
            let params = if ty == CKM_DES3_CBC { iv(test) } else { Params::None };
            let two = group["keyingOption"] == 2;
            let out = whole(ty, what, &params, &triple_des_key(test, two), &bytes(test, from));
            assert_eq!(out, Ok(bytes(test, to)), "{name} {}", test["tcId"]);
            count += 1;
        }
        assert!(count > 100, "{name}: {count}");
    }
}

#[test]
fn xts() {
    let name = "ACVP-AES-XTS-2.0";
    let (Some(prompt), Some(answers)) = (load(&format!("{name}.prompt")), load(&format!("{name}.expectedResults")))
    else {
        return;
    };
    let answers = by_number(&answers);
    let mut count = 0;
    for (group, test) in tests(&prompt, "AFT") {
        let bits = test["payloadLen"].as_u64().unwrap();
        // Messages of several data units are several operations; the answers of one begin alike, but for the stealing.
        if bits % 8 != 0 || test["dataUnitLen"] != test["payloadLen"] {
            continue;
        }
        let unit = match test["sequenceNumber"].as_u64() {
            Some(number) => u128::from(number).to_le_bytes().to_vec(),
            None => bytes(test, "tweakValue"),
        };
        let (what, from, to) = match group["direction"].as_str().unwrap() {
            "encrypt" => (Use::Encrypt, "pt", "ct"),
            _ => (Use::Decrypt, "ct", "pt"),
        };
        let out = whole(CKM_AES_XTS, what, &Params::Iv(unit.into()), &bytes(test, "key"), &bytes(test, from));
        assert_eq!(out, Ok(bytes(answers[&test["tcId"].as_u64().unwrap()], to)), "{}", test["tcId"]);
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn ccm() {
    let Some(set) = load("ACVP-AES-CCM-1.0") else { return };
    let mut count = 0;
    for (group, test) in tests(&set, "AFT") {
        let mac_len = group["tagLen"].as_u64().unwrap() / 8;
        let data_len = group["payloadLen"].as_u64().unwrap() / 8;
        let (nonce, aad) = (bytes(test, "iv").into(), bytes(test, "aad").into());
        let params = Params::Ccm { data_len, nonce, aad, mac_len };
        let key = bytes(test, "key");
        if group["direction"] == "encrypt" {
            let sealed = whole(CKM_AES_CCM, Use::Encrypt, &params, &key, &bytes(test, "pt"));
            assert_eq!(sealed, Ok(bytes(test, "ct")), "{}", test["tcId"]);
        } else {
            let opened = whole(CKM_AES_CCM, Use::Decrypt, &params, &key, &bytes(test, "ct"));
            let passes = test["testPassed"].as_bool().unwrap();
            let expected = if passes { Ok(bytes(test, "pt")) } else { Err(Code::EncryptedDataInvalid) };
            assert_eq!(opened, expected, "{}", test["tcId"]);
        }
        count += 1;
    }
    assert!(count > 1000, "{count}");
}

#[test]
fn gmac() {
    let Some(set) = load("ACVP-AES-GMAC-1.0") else { return };
    for (group, test) in tests(&set, "AFT") {
        let tag_bits = group["tagLen"].as_u64().unwrap();
        let params = Params::Gcm { iv: bytes(test, "iv").into(), aad: Default::default(), tag_bits };
        let (key, data, tag) = (bytes(test, "key"), bytes(test, "aad"), bytes(test, "tag"));
        let passes = group["direction"] == "encrypt" || test["testPassed"].as_bool().unwrap();
        let expected = if passes { Ok(()) } else { Err(Code::SignatureInvalid) };
        assert_eq!(verify(CKM_AES_GMAC, &params, &key, &data, &tag), expected, "{}", test["tcId"]);
        assert_eq!(whole(CKM_AES_GMAC, Use::Sign, &params, &key, &data) == Ok(tag), passes, "{}", test["tcId"]);
    }
}

/// GMAC is GCM without plaintext.
#[test]
fn gcm() {
    for name in ["ACVP-AES-GCM-1.0", "ACVP-AES-GMAC-1.0"] {
        let Some(set) = load(name) else { return };
        for (group, test) in tests(&set, "AFT") {
            let tag_bits = group["tagLen"].as_u64().unwrap();
            let params = Params::Gcm { iv: bytes(test, "iv").into(), aad: bytes(test, "aad").into(), tag_bits };
            let (key, message) = (bytes(test, "key"), [bytes(test, "ct"), bytes(test, "tag")].concat());
            if group["direction"] == "encrypt" {
                assert_eq!(whole(CKM_AES_GCM, Use::Encrypt, &params, &key, &bytes(test, "pt")), Ok(message));
            } else {
                let opened = whole(CKM_AES_GCM, Use::Decrypt, &params, &key, &message);
                let passes = test["testPassed"].as_bool().unwrap();
                let expected = if passes { Ok(bytes(test, "pt")) } else { Err(Code::EncryptedDataInvalid) };
                assert_eq!(opened, expected, "{name} {}", test["tcId"]);
            }
        }
    }
}

#[test]
fn cmac() {
    for (name, ty) in [("CMAC-AES-1.0", CKM_AES_CMAC_GENERAL), ("CMAC-TDES-1.0", CKM_DES3_CMAC_GENERAL)] {
        let Some(set) = load(name) else { return };
        for (group, test) in tests(&set, "AFT") {
            let length = Params::MacLength(group["macLen"].as_u64().unwrap() / 8);
            let two = group["keyingOption"] == 2;
            let key = if ty == CKM_AES_CMAC_GENERAL { bytes(test, "key") } else { triple_des_key(test, two) };
            let (message, mac) = (bytes(test, "message"), bytes(test, "mac"));
            let made = whole(ty, Use::Sign, &length, &key, &message).unwrap();
            let passes = group["direction"] == "gen" || test["testPassed"].as_bool().unwrap();
            assert_eq!(made == mac, passes, "{name} {}", test["tcId"]);
            let expected = if passes { Ok(()) } else { Err(Code::SignatureInvalid) };
            assert_eq!(verify(ty, &length, &key, &message, &mac), expected, "{name} {}", test["tcId"]);
        }
    }
}

#[test]
fn hmac() {
    for (hash, ty) in [
        ("SHA-1", CKM_SHA_1_HMAC_GENERAL),
        ("SHA2-224", CKM_SHA224_HMAC_GENERAL),
        ("SHA2-256", CKM_SHA256_HMAC_GENERAL),
        ("SHA2-384", CKM_SHA384_HMAC_GENERAL),
        ("SHA2-512", CKM_SHA512_HMAC_GENERAL),
        ("SHA2-512-224", CKM_SHA512_224_HMAC_GENERAL),
        ("SHA2-512-256", CKM_SHA512_256_HMAC_GENERAL),
        ("SHA3-224", CKM_SHA3_224_HMAC_GENERAL),
        ("SHA3-256", CKM_SHA3_256_HMAC_GENERAL),
        ("SHA3-384", CKM_SHA3_384_HMAC_GENERAL),
        ("SHA3-512", CKM_SHA3_512_HMAC_GENERAL),
    ] {
        let Some(set) = load(&format!("HMAC-{hash}-2.0")) else { return };
        let mut count = 0;
        for (_, test) in tests(&set, "AFT").filter(|(_, test)| test["msgLen"].as_u64().unwrap() % 8 == 0) {
            let length = Params::MacLength(test["macLen"].as_u64().unwrap() / 8);
            let made = whole(ty, Use::Sign, &length, &bytes(test, "key"), &bytes(test, "msg"));
            assert_eq!(made, Ok(bytes(test, "mac")), "{hash} {}", test["tcId"]);
            count += 1;
        }
        assert!(count > 10, "{hash}: {count}");
    }
}

#[test]
fn key_wrapping() {
    for (name, ty) in [("ACVP-AES-KW-1.0", CKM_AES_KEY_WRAP), ("ACVP-AES-KWP-1.0", CKM_AES_KEY_WRAP_KWP)] {
        let (Some(prompt), Some(answers)) = (load(&format!("{name}.prompt")), load(&format!("{name}.expectedResults")))
        else {
            return;
        };
        let answers = by_number(&answers);
        let mut count = 0;
        for (group, test) in tests(&prompt, "AFT").filter(|(group, test)| {
            group["kwCipher"] == "cipher" && group["payloadLen"].as_u64().unwrap() % 8 == 0 && test["key"].is_string()
        }) {
            let (key, answer) = (bytes(test, "key"), answers[&test["tcId"].as_u64().unwrap()]);
            if group["direction"] == "encrypt" {
                let wrapped = whole(ty, Use::Encrypt, &Params::None, &key, &bytes(test, "pt"));
                assert_eq!(wrapped, Ok(bytes(answer, "ct")), "{name} {}", test["tcId"]);
            } else {
                let unwrapped = whole(ty, Use::Decrypt, &Params::None, &key, &bytes(test, "ct"));
                let passes = answer["testPassed"].as_bool().unwrap_or(true);
                let expected = if passes { Ok(bytes(answer, "pt")) } else { Err(Code::EncryptedDataInvalid) };
                assert_eq!(unwrapped, expected, "{name} {}", test["tcId"]);
            }
            count += 1;
        }
        assert!(count > 1000, "{name}: {count}");
    }
}

#[test]
fn digests() {
    for (name, ty, digest) in [
        ("SHA2-224-1.0", CKM_SHA224, Digest::Sha224),
        ("SHA2-256-1.0", CKM_SHA256, Digest::Sha256),
        ("SHA2-384-1.0", CKM_SHA384, Digest::Sha384),
        ("SHA2-512-1.0", CKM_SHA512, Digest::Sha512),
        ("SHA2-512-224-1.0", CKM_SHA512_224, Digest::Sha512_224),
        ("SHA2-512-256-1.0", CKM_SHA512_256, Digest::Sha512_256),
        ("SHA3-224-2.0", CKM_SHA3_224, Digest::Sha3_224),
        ("SHA3-256-2.0", CKM_SHA3_256, Digest::Sha3_256),
        ("SHA3-384-2.0", CKM_SHA3_384, Digest::Sha3_384),
        ("SHA3-512-2.0", CKM_SHA3_512, Digest::Sha3_512),
    ] {
        let Some(set) = load(name) else { return };
        let mut count = 0;
        for (_, test) in tests(&set, "AFT").filter(|(_, test)| test["len"].as_u64().unwrap() % 8 == 0) {
            let len = test["len"].as_u64().unwrap() as usize / 8;
            let made = whole(ty, Use::Digest, &Params::None, &[], &bytes(test, "msg")[..len]);
            assert_eq!(made, Ok(bytes(test, "md")), "{name} {}", test["tcId"]);
            count += 1;
        }
        assert!(count > 50, "{name}: {count}");
        for (group, test) in tests(&set, "MCT").filter(|(group, _)| group["mctVersion"] != "alternate") {
            monte_carlo(digest, &bytes(test, "msg"), test["resultsArray"].as_array().unwrap(), &group["function"]);
        }
    }
}

/// The "standard" Monte Carlo test: each message is the last three digests, for SHA-3 the last one.
fn monte_carlo(digest: Digest, seed: &[u8], results: &[Value], family: &Value) {
    let last = if digest.number() >= Digest::Sha3_224.number() { 1 } else { 3 };
    let mut seed = seed.to_vec();
    assert_eq!(results.len(), 100, "{family}");
    for (round, expected) in results.iter().enumerate() {
        let mut digests = vec![seed; 3];
        for _ in 0..1000 {
            let message = digests[digests.len() - last..].concat();
            digests.push(hash(digest, &message).to_vec());
        }
        seed = digests.pop().unwrap();
        assert_eq!(seed, bytes(expected, "md"), "{digest:?} round {round}");
    }
}

/// The saved state of a digest goes on in another operation.
#[test]
fn a_digest_saved_in_the_middle_of_a_vector() {
    let Some(set) = load("SHA2-256-1.0") else { return };
    let (_, test) = tests(&set, "AFT").find(|(_, test)| test["len"].as_u64().unwrap() > 4096).unwrap();
    let message = bytes(test, "msg");
    let mut first = begin(CKM_SHA256, Use::Digest, &Params::None, &[]).unwrap();
    step(&mut *first, keyward::token::Step::Update, &message[..300]).unwrap();
    let mut second = keyward::mechanism::digest::restore(&first.save().unwrap()).unwrap();
    let digest = step(&mut *second, keyward::token::Step::Whole, &message[300..]).unwrap();
    assert_eq!(digest, bytes(test, "md"));
}
