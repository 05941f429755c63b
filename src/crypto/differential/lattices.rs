//! ML-KEM and ML-DSA.

use super::{Inputs, flipped, same_verdict};
use crate::crypto::{aws, ml_dsa, ml_kem, rust};

#[test]
fn ml_kem_makes_the_same_keys_ciphertexts_and_secrets() {
    let mut inputs = Inputs::new("ml-kem");
    for &set in ml_kem::Set::ALL {
        for _ in 0..5 {
            let seed = inputs.bytes(ml_kem::SEED_LEN);
            let one = aws::ml_kem::PrivateKey::from_seed(set, &seed).unwrap();
            let other = rust::ml_kem::PrivateKey::from_seed(set, &seed).unwrap();
            let (mut value, mut value_other) = (vec![0; set.private_len()], vec![0; set.private_len()]);
            one.value(&mut value).unwrap();
            other.value(&mut value_other).unwrap();
            assert_eq!(value, value_other);
            let (mut public, mut public_other) = (vec![0; set.public_len()], vec![0; set.public_len()]);
            one.public(&mut public).unwrap();
            other.public(&mut public_other).unwrap();
            assert_eq!(public, public_other);
            let message = inputs.array();
            let (mut sent, mut sent_other) =
                ((vec![0; set.ciphertext_len()], [0; 32]), (vec![0; set.ciphertext_len()], [0; 32]));
            let public_one = aws::ml_kem::PublicKey::new(set, &public).unwrap();
            let public_other = rust::ml_kem::PublicKey::new(set, &public).unwrap();
            public_one.encapsulate(&message, &mut sent.0, &mut sent.1).unwrap();
            public_other.encapsulate(&message, &mut sent_other.0, &mut sent_other.1).unwrap();
            assert_eq!(sent, sent_other);
            // Good ones, and bad ones, of which implicit rejection makes the same secret too; by imported keys also.
            let imported = aws::ml_kem::PrivateKey::from_value(set, &value).unwrap();
            let imported_other = rust::ml_kem::PrivateKey::from_value(set, &value).unwrap();
            let bad = flipped(&sent.0, inputs.below(sent.0.len() * 8));
            for ciphertext in [&sent.0, &bad, &vec![0xff; sent.0.len()]] {
                let mut secrets = [[0; 32]; 4];
                one.decapsulate(ciphertext, &mut secrets[0]).unwrap();
                imported.decapsulate(ciphertext, &mut secrets[1]).unwrap();
                other.decapsulate(ciphertext, &mut secrets[2]).unwrap();
                imported_other.decapsulate(ciphertext, &mut secrets[3]).unwrap();
                assert!(secrets.iter().all(|secret| *secret == secrets[0]));
                assert_eq!(secrets[0] == sent.1, *ciphertext == sent.0);
            }
        }
    }
}

#[test]
fn ml_kem_refuses_the_same_keys() {
    let mut inputs = Inputs::new("ml-kem keys");
    for &set in ml_kem::Set::ALL {
        let seed = inputs.bytes(ml_kem::SEED_LEN);
        let mut value = vec![0; set.private_len()];
        rust::ml_kem::PrivateKey::from_seed(set, &seed).unwrap().value(&mut value).unwrap();
        let public = value[set.public_part()].to_vec();
        for len in [0, 32, 63, 65] {
            let seed = inputs.bytes(len);
            let one = aws::ml_kem::PrivateKey::from_seed(set, &seed);
            same_verdict(&one, &rust::ml_kem::PrivateKey::from_seed(set, &seed), &format!("a seed of {len} bytes"));
        }
        let publics = |key: &[u8], about: &str| {
            same_verdict(&aws::ml_kem::PublicKey::new(set, key), &rust::ml_kem::PublicKey::new(set, key), about);
        };
        let privates = |key: &[u8], about: &str| {
            let one = aws::ml_kem::PrivateKey::from_value(set, key);
            same_verdict(&one, &rust::ml_kem::PrivateKey::from_value(set, key), about);
        };
        publics(&public[1..], "a short public key");
        publics(&[&public[..], &[0]].concat(), "a long public key");
        privates(&value[1..], "a short private key");
        privates(&[&value[..], &[0]].concat(), "a long private key");
        // q is 3329 = 0xd01: a coefficient of q - 1 is good, one of q is not.
        for first in [0xd00u16, 0xd01, 0xfff] {
            let mut key = public.clone();
            key[0] = first as u8;
            key[1] = key[1] & 0xf0 | (first >> 8) as u8;
            publics(&key, &format!("a first coefficient of {first:#x}"));
            let mut key = value.clone();
            key[set.public_part()].copy_from_slice(
                &[&[first as u8, value[set.public_part().start + 1] & 0xf0 | (first >> 8) as u8][..], &public[2..]]
                    .concat(),
            );
            privates(&key, &format!("a first public coefficient of {first:#x} in a private key"));
        }
        // A bit in the public part, in H(ek), and in z, which can be anything.
        let end = set.public_part().end;
        for at in [set.public_part().start + 5, end - 1, end, end + 31, end + 32, end + 63] {
            privates(&flipped(&value, at * 8), &format!("a private key with byte {at} changed"));
        }
    }
}

#[test]
fn ml_dsa_makes_the_same_keys_and_signatures() {
    let mut inputs = Inputs::new("ml-dsa");
    for &set in ml_dsa::Set::ALL {
        for _ in 0..5 {
            let seed = inputs.bytes(ml_dsa::SEED_LEN);
            let one = aws::ml_dsa::PrivateKey::new(set, &seed).unwrap();
            let other = rust::ml_dsa::PrivateKey::new(set, &seed).unwrap();
            assert_eq!((one.value(), one.public()), (other.value(), other.public()));
            let imported = rust::ml_dsa::PrivateKey::new(set, one.value()).unwrap();
            assert_eq!(imported.public(), one.public());
            let (mu, random) = (inputs.array(), inputs.array());
            let mut signature = vec![0; set.signature_len()];
            let mut signature_other = signature.clone();
            one.sign(&mu, &random, &mut signature).unwrap();
            for key in [&other, &imported] {
                key.sign(&mu, &random, &mut signature_other).unwrap();
                assert_eq!(signature, signature_other);
            }
            let public = aws::ml_dsa::PublicKey::new(set, one.public()).unwrap();
            let public_other = rust::ml_dsa::PublicKey::new(set, one.public()).unwrap();
            public.verify(&mu, &signature).unwrap();
            public_other.verify(&mu, &signature).unwrap();
            let tail = signature.len() - inputs.below(80) - 1;
            let mut hints = signature.clone();
            hints[tail] = hints[tail].wrapping_add(1);
            for (mu, signature) in [
                (mu, flipped(&signature, inputs.below(signature.len() * 8))),
                (mu, hints),
                (mu, vec![0; signature.len()]),
                (mu, vec![0xff; signature.len()]),
                (inputs.array(), signature.clone()),
                (mu, signature[1..].to_vec()),
            ] {
                let verdicts = (public.verify(&mu, &signature), public_other.verify(&mu, &signature));
                same_verdict(&verdicts.0, &verdicts.1, "a bad signature");
                assert!(verdicts.0.is_err());
            }
            let mut short = vec![0; signature.len() - 1];
            same_verdict(&one.sign(&mu, &random, &mut short), &other.sign(&mu, &random, &mut short), "too little room");
        }
    }
}

#[test]
fn ml_dsa_refuses_the_same_keys() {
    let mut inputs = Inputs::new("ml-dsa keys");
    for &set in ml_dsa::Set::ALL {
        let key = rust::ml_dsa::PrivateKey::new(set, &inputs.bytes(ml_dsa::SEED_LEN)).unwrap();
        let privates = |key: &[u8], about: &str| {
            same_verdict(&aws::ml_dsa::PrivateKey::new(set, key), &rust::ml_dsa::PrivateKey::new(set, key), about);
        };
        for len in [0, 31, 33, set.private_len() - 1, set.private_len() + 1] {
            privates(&vec![0; len], &format!("a private key of {len} bytes"));
            let public = vec![0; len];
            let verdicts = (aws::ml_dsa::PublicKey::new(set, &public), rust::ml_dsa::PublicKey::new(set, &public));
            same_verdict(&verdicts.0, &verdicts.1, &format!("a public key of {len} bytes"));
        }
        // rho, K (which can be anything), tr, the beginning of s1, the end of t0.
        for at in [0, 31, 32, 63, 64, 127, 128, 129, 600, set.private_len() - 1, set.private_len() - 400] {
            privates(&flipped(key.value(), at * 8), &format!("a private key with byte {at} changed"));
        }
        privates(&[&key.value()[..128], &vec![0xff; set.private_len() - 128]].concat(), "coefficients out of range");
    }
}
