//! ECDSA with `ecdsa_nonces = "deterministic"` (RFC 6979): NIST's answers and another program's, OpenSSL's verdict, and that without it nothing repeats.

use std::path::Path;

use cryptoki_sys::*;
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};

use crate::acvp_common;
use crate::asymmetric::{ECDSA, HASHES, Pair, generated};
use crate::module::{Module, bytes, no, plain, ulong};

/// By the names of the vectors, with the DER of their OIDs.
const CURVES: [(&str, &[u8]); 11] = [
    ("P224", b"\x06\x05\x2b\x81\x04\x00\x21"),
    ("P256", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
    ("P384", b"\x06\x05\x2b\x81\x04\x00\x22"),
    ("P521", b"\x06\x05\x2b\x81\x04\x00\x23"),
    ("secp256k1", b"\x06\x05\x2b\x81\x04\x00\x0a"),
    ("brainpoolP256r1", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x07"),
    ("brainpoolP256t1", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x08"),
    ("brainpoolP384r1", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0b"),
    ("brainpoolP384t1", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0c"),
    ("brainpoolP512r1", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0d"),
    ("brainpoolP512t1", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0e"),
];

fn imported(module: &Module, curve: &str, value: &[u8]) -> CK_OBJECT_HANDLE {
    let (_, oid) = CURVES.into_iter().find(|(name, _)| *name == curve).unwrap();
    module.create(&[
        ulong(CKA_CLASS, CKO_PRIVATE_KEY),
        ulong(CKA_KEY_TYPE, CKK_EC),
        no(CKA_TOKEN),
        bytes(CKA_EC_PARAMS, oid),
        bytes(CKA_VALUE, value),
    ])
}

/// The row of a hash, and the hash. SHA-3 has the same lengths as SHA-2: given raw, its digests are taken for that one's.
fn row(name: &str) -> Option<(CK_MECHANISM_TYPE, MessageDigest)> {
    let at = HASHES.into_iter().position(|(_, _, known)| known == name)?;
    Some((ECDSA[at], MessageDigest::from_name(name).unwrap()))
}

/// That every way to sign gives this signature.
fn signs(module: &Module, key: CK_OBJECT_HANDLE, name: &str, message: &[u8], expected: &[u8]) {
    let (ty, digest) = row(name).unwrap();
    assert_eq!(hex::encode(module.sign(plain(ty), key, message)), hex::encode(expected), "{name}");
    assert_eq!(module.sign_parts(plain(ty), key, message), expected, "{name} in parts");
    assert_eq!(module.sign_messages(plain(ty), key, &[message, message]), [expected, expected], "{name}, messages");
    if !name.starts_with("SHA3") {
        let digest = hash(digest, message).unwrap();
        assert_eq!(module.sign(plain(CKM_ECDSA), key, &digest), expected, "the digest of {name}");
        assert_eq!(module.sign_messages(plain(CKM_ECDSA), key, &[&digest]), [expected], "the digest of {name}");
    }
}

fn examples(module: &Module) {
    let (mut key, mut count) = (0, 0);
    for line in include_str!("../vectors/rfc6979.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["key", curve, value] => key = imported(module, curve, &hex::decode(value).unwrap()),
            [_, name, message, r, s] => {
                signs(module, key, name, message.as_bytes(), &hex::decode([r, s].concat()).unwrap());
                count += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(count, 61);
}

/// Deterministic ECDSA of FIPS 186-5, with SHA-2 and SHA-3.
fn nist(module: &Module) {
    let Some(set) = acvp_common::load("DetECDSA-SigGen-FIPS186-5") else { return };
    let mut count = 0;
    for group in set["testGroups"].as_array().unwrap() {
        let curve = group["curve"].as_str().unwrap().replace('-', "");
        let name = group["hashAlg"].as_str().unwrap().replace("SHA2-", "SHA");
        if !curve.starts_with('P') || row(&name).is_none() || group.get("conformance").is_some() {
            continue;
        }
        let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
        let key = imported(module, &curve, &bytes(&group["d"]));
        for test in group["tests"].as_array().unwrap().iter().take(3) {
            signs(module, key, &name, &bytes(&test["message"]), &[bytes(&test["r"]), bytes(&test["s"])].concat());
            count += 1;
        }
    }
    assert_eq!(count, 128);
}

fn verified(pair: &Pair, digest: &[u8], signature: &[u8]) -> bool {
    let (r, s) = signature.split_at(signature.len() / 2);
    let (r, s) = (BigNum::from_slice(r).unwrap(), BigNum::from_slice(s).unwrap());
    let signature = EcdsaSig::from_private_components(r, s).unwrap();
    signature.verify(digest, &pair.openssl.ec_key().unwrap()).unwrap()
}

/// Whether each row's signatures repeat, as far as the data do; OpenSSL accepts them in any case.
fn every_row(module: &Module, curves: &[(&str, &[u8])], repeats: bool) {
    for (name, oid) in curves {
        let pair = generated(module, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, oid));
        for (at, ty) in ECDSA.into_iter().enumerate() {
            let signature = module.sign(plain(ty), pair.private, b"some data");
            let (_, digest) = row(HASHES[at].2).unwrap();
            assert!(verified(&pair, &hash(digest, b"some data").unwrap(), &signature), "{name}, {ty:#x}");
            let again = [
                module.sign(plain(ty), pair.private, b"some data"),
                module.sign_parts(plain(ty), pair.private, b"some data"),
                module.sign_messages(plain(ty), pair.private, &[b"some data"]).remove(0),
            ];
            assert!(again.iter().all(|again| (*again == signature) == repeats), "{name}, {ty:#x}");
            let other = module.sign(plain(ty), pair.private, b"other data");
            let half = other.len() / 2;
            assert_ne!(other[..half], signature[..half], "{name}, {ty:#x}: one nonce for two messages");
        }
        // Digests that are no hash's too: of any length, the empty one among them.
        for len in [0, 1, 20, 28, 31, 32, 36, 48, 64, 66, 100] {
            let digest = vec![0xe5; len];
            let signature = module.sign(plain(CKM_ECDSA), pair.private, &digest);
            assert!(verified(&pair, &digest, &signature), "{name}, {len} bytes");
            assert_eq!(
                module.sign(plain(CKM_ECDSA), pair.private, &digest) == signature,
                repeats,
                "{name}, {len} bytes"
            );
        }
    }
}

/// Before and after a restart with the option.
pub fn ecdsa(module: Module, directory: &Path) {
    every_row(&module, &CURVES[1..2], false);
    let module = module.restarted(directory, "ecdsa_nonces = 'deterministic'");
    every_row(&module, &CURVES, true);
    examples(&module);
    nist(&module);
}
