//! Keys that others have wrapped for a key of the token: OpenSSL wraps, the program imports.

use std::fs;

use crate::place::*;
use crate::*;

fn openssl(place: &Place, arguments: &[&str]) -> Vec<u8> {
    let done = std::process::Command::new("openssl").args(arguments).current_dir(&place.0).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", shown(&done.stderr));
    done.stdout
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 5649 by OpenSSL.
fn kwp(place: &Place, key: &[u8], name: &str) -> Vec<u8> {
    let key = hex(key);
    openssl(place, &["enc", "-id-aes256-wrap-pad", "-K", &key, "-iv", "A65959A6", "-in", name])
}

#[test]
fn keys_wrapped_by_openssl_are_imported_and_do_what_they_did() {
    let place = staffed(&[]);
    place.work("login user 1234-abcd; transport kek; generate-rsa transport");
    // An EC key under the token's AES key.
    openssl(&place, &["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "ec.pem"]);
    openssl(&place, &["pkcs8", "-topk8", "-nocrypt", "-in", "ec.pem", "-outform", "DER", "-out", "ec.der"]);
    fs::write(place.0.join("ec.kwp"), kwp(&place, &[0x5a; 32], "ec.der")).unwrap();
    let import =
        "key import ec.kwp --wrapped-by kek --wrapping kwp --key-type EC --label moved --use sign --pin-file pin";
    done(&place, &format!("{import} --dry-run"));
    done(&place, import);
    place.work("login user 1234-abcd; sign moved");
    // The same under a random AES key, and that under the token's RSA key.
    done(&place, "object export --label transport --class public-key --output transport.pem --pin-file pin");
    fs::write(place.0.join("aes"), [0x77; 32]).unwrap();
    let sealed = openssl(
        &place,
        &[
            "pkeyutl",
            "-encrypt",
            "-pubin",
            "-inkey",
            "transport.pem",
            "-in",
            "aes",
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            "rsa_oaep_md:sha256",
            "-pkeyopt",
            "rsa_mgf1_md:sha256",
        ],
    );
    let both = [sealed.clone(), kwp(&place, &[0x77; 32], "ec.der")].concat();
    fs::write(place.0.join("ec.rsaaes"), &both).unwrap();
    let by_rsa =
        "key import ec.rsaaes --wrapped-by transport --wrapping rsa-aes --key-type EC --use sign --pin-file pin";
    done(&place, &format!("{by_rsa} --label again"));
    place.work("login user 1234-abcd; sign again");
    // A secret key by OAEP alone.
    fs::write(place.0.join("aes.oaep"), &sealed).unwrap();
    let secret =
        "key import aes.oaep --wrapped-by transport --wrapping rsa-oaep --key-type AES --label data --pin-file pin";
    done(&place, &format!("{secret} --use encrypt --use decrypt"));
    // Without padding (RFC 3394); it is the key that OpenSSL has wrapped.
    let kek = hex(&[0x5a; 32]);
    let kw = openssl(&place, &["enc", "-id-aes256-wrap", "-K", &kek, "-iv", "A6A6A6A6A6A6A6A6", "-in", "aes"]);
    fs::write(place.0.join("aes.kw"), &kw).unwrap();
    let by_kw = "key import aes.kw --wrapped-by kek --wrapping kw --key-type AES --use encrypt --pin-file pin";
    done(&place, &format!("{by_kw} --label plain --extractable"));
    done(&place, "key export --label plain --format jwk --output plain.jwk --pin-file pin --yes");
    let exported: serde_json::Value = serde_json::from_slice(&fs::read(place.0.join("plain.jwk")).unwrap()).unwrap();
    assert_eq!(exported["k"], "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3c", "32 times 77 in base64url");
    fs::write(place.0.join("aes.kw"), kwp(&place, &[0x5a; 32], "aes")).unwrap();
    refused(&place, &format!("{by_kw} --label broken"), 1, "CKR_WRAPPED_KEY_INVALID");
    // What was changed on the way, what is another's, and what is not there is refused, and nothing is made.
    let mut flipped = both;
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(place.0.join("ec.rsaaes"), flipped).unwrap();
    refused(&place, &format!("{by_rsa} --label broken"), 1, "CKR_WRAPPED_KEY_INVALID");
    fs::write(place.0.join("ec.kwp"), kwp(&place, &[0x5b; 32], "ec.der")).unwrap();
    refused(&place, &import.replace("moved", "broken"), 1, "CKR_WRAPPED_KEY_INVALID");
    refused(&place, &import.replace("by kek", "by none"), 4, "no key none");
    refused(&place, &import.replace("by kek", "by tls"), 4, "no key tls");
    refused(&place, &import.replace("type EC", "type FOO"), 2, "no type of key");
    let listed = done(&place, "object list --pin-file pin");
    assert!(listed.as_array().unwrap().iter().all(|one| one["label"] != "broken"));
}
