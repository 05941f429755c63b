//! Single keys out of a token, and from token to token.

use std::fs;

use serde_json::Value;

use crate::place::*;

/// With an extractable EC, RSA and Ed25519 key made by OpenSSL; their PEM.
fn imported() -> (Place, Vec<(&'static str, openssl::pkey::PKey<openssl::pkey::Private>)>) {
    let place = Place::ready("");
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let keys = vec![
        ("ec", openssl::pkey::PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap()),
        ("rsa", openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap()),
        ("ed", openssl::pkey::PKey::generate_ed25519().unwrap()),
    ];
    for (label, key) in &keys {
        fs::write(place.0.join("in.pem"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let out = place.keyward(&format!("object import in.pem --label {label} --extractable --pin-file pin"));
        assert!(out.status.success(), "{}", shown(&out.stderr));
    }
    (place, keys)
}

#[test]
fn openssl_reads_what_is_exported_and_it_is_the_same_key() {
    let (place, keys) = imported();
    fs::write(place.0.join("pass"), "correct horse\ncorrect horse\n").unwrap();
    for (label, key) in &keys {
        let line = format!("key export --label {label} --output {label}.pem --pin-file pin --new-pin-file pass");
        let out = place.keyward(&line);
        assert!(out.status.success(), "{}", shown(&out.stderr));
        let pem = fs::read(place.0.join(format!("{label}.pem"))).unwrap();
        let read = openssl::pkey::PKey::private_key_from_pem_passphrase(&pem, b"correct horse").unwrap();
        assert!(read.public_eq(key), "{label}");
        assert!(openssl::pkey::PKey::private_key_from_pem_passphrase(&pem, b"wrong").is_err());
        assert_eq!(place.keyward(&line).status.code(), Some(6), "never over a file");
    }
    let wraps = place.lines().iter().filter(|line| line["op"] == "wrap" && line["result"] == "CKR_OK").count();
    assert_eq!(wraps, 2 * keys.len(), "each is on record, also the one that was not written");
}

#[test]
fn a_jwk_holds_the_numbers_of_the_key() {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let (place, keys) = imported();
    for (label, key) in &keys {
        let line = format!("key export --label {label} --format jwk --output {label}.jwk --pin-file pin");
        assert_eq!(place.keyward(&line).status.code(), Some(8), "asks first");
        let out = place.keyward(&format!("{line} --yes"));
        assert!(out.status.success(), "{}", shown(&out.stderr));
        let jwk: Value = serde_json::from_str(&text(&place.0.join(format!("{label}.jwk")))).unwrap();
        let bytes = |name: &str| Base64UrlUnpadded::decode_vec(jwk[name].as_str().unwrap()).unwrap();
        match *label {
            "rsa" => {
                let rsa = key.rsa().unwrap();
                assert_eq!((bytes("n"), bytes("d")), (rsa.n().to_vec(), rsa.d().to_vec()));
                assert_eq!(bytes("qi"), rsa.iqmp().unwrap().to_vec());
            }
            "ec" => {
                assert_eq!((&jwk["kty"], &jwk["crv"]), (&"EC".into(), &"P-256".into()));
                assert_eq!(bytes("d"), key.ec_key().unwrap().private_key().to_vec_padded(32).unwrap());
            }
            _ => {
                assert_eq!((&jwk["kty"], &jwk["crv"]), (&"OKP".into(), &"Ed25519".into()));
                assert_eq!((bytes("d"), bytes("x")), (key.raw_private_key().unwrap(), key.raw_public_key().unwrap()));
            }
        }
    }
}

#[test]
fn what_may_not_leave_stays() {
    let place = Place::ready("");
    let out = place.keyward("key export --label tls --output tls.pem --pin-file pin --new-pin-file pin");
    assert!(!out.status.success() && shown(&out.stderr).contains("CKR_KEY_UNEXTRACTABLE"), "{}", shown(&out.stderr));
    assert!(!place.0.join("tls.pem").exists());
    place.work("open; secret data");
    let out = place.keyward("key export --label data --output data.pem --pin-file pin");
    assert_eq!(out.status.code(), Some(6), "no PKCS#8 of a secret key");
}

#[test]
fn a_key_moves_to_another_token_and_signs_there() {
    let (place, keys) = imported();
    fs::write(place.0.join("pins2"), "87654321\n4321\n").unwrap();
    let made = place.keyward("token init --label second --so-pin-file pins2 --pin-file pins2");
    assert!(made.status.success(), "{}", shown(&made.stderr));
    fs::write(place.0.join("pin2"), "4321\n").unwrap();
    let (tokens, _) = place.json("token list");
    let first = tokens.as_array().unwrap().iter().find(|token| token["label"] != "second").unwrap();
    let first = first["serial"].as_str().unwrap();
    for (label, key) in &keys {
        let line = format!(
            "key transfer --serial {first} --label {label} --to-token second --pin-file pin --to-pin-file pin2"
        );
        let dry = place.keyward(&format!("{line} --dry-run"));
        assert!(dry.status.success(), "{}", shown(&dry.stderr));
        let out = place.keyward(&line);
        assert!(out.status.success(), "{}", shown(&out.stderr));
        let line = format!("object export --token second --label {label} --class private-key --pin-file pin2");
        let pem = place.keyward(&line).stdout;
        let there = openssl::pkey::PKey::public_key_from_pem(&pem).unwrap();
        assert!(there.public_eq(key), "{label}");
    }
    let (list, _) = place.json("object list --token second --pin-file pin2");
    let moved = list.as_array().unwrap();
    assert_eq!(moved.len(), keys.len(), "nothing of the call is left: {list:#}");
    assert!(moved.iter().all(|one| one["sensitive"] == true && one["extractable"] == false), "{list:#}");
}
