//! Logical keys: versions, the search rule, rotation at once and in stages, and what is wrapped under an older version.

use std::path::PathBuf;
use std::process::Command;

use cryptoki_sys::*;
use keyward::token::*;

use crate::harness::*;
use crate::program::{key, key_arguments, refused};
use crate::{c, ok};

fn by_label(label: &str) -> Template {
    Template::new().bytes(CKA_LABEL, label.as_bytes())
}

fn number(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> CK_ULONG {
    CK_ULONG::from_ne_bytes(value(session, object, ty).unwrap().try_into().unwrap())
}

fn aes(session: CK_SESSION_HANDLE, label: &str, id: &[u8]) -> CK_OBJECT_HANDLE {
    let mut template = secret(CKK_AES).yes(CKA_TOKEN).number(CKA_VALUE_LEN, 32).bytes(CKA_LABEL, label.as_bytes());
    template = template.bytes(CKA_ID, id);
    let (by, raw, mut made) = ([mechanism(CKM_AES_KEY_GEN)], template.raw(), 0);
    ok!(C_GenerateKey, session, ptr(&by), raw.as_mut_ptr(), len(raw), &raw mut made);
    made
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keyward-lifecycle-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn crypt(init: CK_RV, call: impl FnMut(*mut u8, *mut CK_ULONG) -> CK_RV) -> Result<Vec<u8>, CK_RV> {
    if init == CKR_OK { output(call) } else { Err(init) }
}

fn encrypt(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let by = [mechanism(CKM_AES_ECB)];
    let init = c!(C_EncryptInit, session, ptr(&by), key);
    crypt(init, |out, out_len| c!(C_Encrypt, session, ptr(data), len(data), out, out_len))
}

fn decrypt(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let by = [mechanism(CKM_AES_ECB)];
    let init = c!(C_DecryptInit, session, ptr(&by), key);
    crypt(init, |out, out_len| c!(C_Decrypt, session, ptr(data), len(data), out, out_len))
}

#[test]
fn a_secret_key_rotates_and_an_unchanged_client_moves_on_at_its_next_search() {
    let running = start();
    let session = running.session;
    let v1 = aes(session, "db", b"first");
    let old_text = encrypt(session, v1, &[8; 16]).unwrap();
    key("rotate", "db", &["--reason", "yearly"]);
    let found = find(session, by_label("db"));
    assert_eq!(found.len(), 1, "the label alone is the newest");
    let v2 = found[0];
    assert_ne!(v1, v2);
    assert_eq!((number(session, v2, CKA_KEYWARD_VERSION), number(session, v2, CKA_VALUE_LEN)), (2, 32));
    assert_ne!(value(session, v2, CKA_ID).unwrap(), b"first");
    assert_ne!(value(session, v1, CKA_UNIQUE_ID), value(session, v2, CKA_UNIQUE_ID));
    assert_eq!(value(session, v1, CKA_LABEL).unwrap(), b"db#v1");
    assert_eq!(encrypt(session, v1, &[8; 16]), Err(CKR_KEY_FUNCTION_NOT_PERMITTED), "the handle found earlier");
    assert_eq!(decrypt(session, v1, &old_text).unwrap(), [8; 16]);
    let new_text = encrypt(session, v2, &[8; 16]).unwrap();
    assert_ne!(new_text, old_text, "a key of its own");
    // By ID or unique ID that version, under the bare and under the archived label.
    let unique = value(session, v1, CKA_UNIQUE_ID).unwrap();
    for label in ["db", "db#v1"] {
        assert_eq!(find(session, by_label(label).bytes(CKA_ID, b"first")), [v1], "{label}");
        assert_eq!(find(session, by_label(label).bytes(CKA_UNIQUE_ID, &unique)), [v1], "{label}");
    }
    assert!(find(session, by_label("db#v2").bytes(CKA_ID, b"first")).is_empty());
    assert_eq!(find(session, Template::new().bytes(CKA_ID, b"first")), [v1]);
    assert_eq!(find(session, by_label("db#v1")), [v1]);
    key("rotate", "db", &[]);
    let v3 = find(session, by_label("db"))[0];
    assert_eq!(number(session, v3, CKA_KEYWARD_VERSION), 3);
    let shown = key("show", "db", &[]);
    let states: Vec<_> = shown["versions"].as_array().unwrap().iter().map(|v| v["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["deactivated", "deactivated", "active"]);
    // An archived label is not the application's to change.
    let mut template = by_label("mine");
    let rv = c!(C_SetAttributeValue, session, v1, template.raw().as_mut_ptr(), 1);
    assert_eq!(rv, CKR_ACTION_PROHIBITED);
}

#[test]
fn a_rotation_carries_traits_and_periods_over_and_only_an_active_key_rotates() {
    let running = start();
    let session = running.session;
    let v1 = aes(session, "period", b"p");
    key("schedule", "period", &["--activation", "-1h", "--protect-stop", "+1d", "--deactivation", "+2d"]);
    key("rotate", "period", &[]);
    let v2 = find(session, by_label("period"))[0];
    let span = |key, end, start| number(session, key, end) - number(session, key, start);
    let length = span(v2, CKA_KEYWARD_PROTECT_STOP_DATE, CKA_KEYWARD_ACTIVATION_DATE);
    assert!((86_400 + 3_600..86_400 + 3_660).contains(&length), "{length}");
    assert_eq!(value(session, v2, CKA_EXTRACTABLE), value(session, v1, CKA_EXTRACTABLE));
    key("suspend", "period", &["--reason", "no"]);
    let (exit, said) = refused(&key_arguments("rotate", "period", &[]));
    assert!(exit == 6 && said.contains("suspended"), "{said}");
    let (exit, said) = refused(&key_arguments("rotate", "period", &["--stage"]));
    assert!(exit == 6, "{said}");
}

/// `openssl` on a file; what it prints.
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "openssl {arguments:?}: {err}");
    format!("{out}{err}")
}

fn signs(session: CK_SESSION_HANDLE, ty: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) -> CK_RV {
    let by = [mechanism(ty)];
    let rv = c!(C_SignInit, session, ptr(&by), key);
    if rv == CKR_OK {
        ok!(C_SessionCancel, session, CKF_SIGN);
    }
    rv
}

fn make_pair(
    session: CK_SESSION_HANDLE,
    label: &str,
    ty: CK_MECHANISM_TYPE,
    public: Template,
) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let named =
        |template: Template| template.yes(CKA_TOKEN).bytes(CKA_LABEL, label.as_bytes()).bytes(CKA_ID, label.as_bytes());
    pair(session, ty, named(public), named(Template::new()))
}

#[test]
fn a_key_pair_rotates_in_stages_with_a_request_a_certificate_and_an_overlap() {
    let running = start();
    let session = running.session;
    let (_, old) = make_pair(session, "web", CKM_EC_KEY_PAIR_GEN, Template::new().bytes(CKA_EC_PARAMS, P256));
    let (exit, said) = refused(&key_arguments("rotate", "web", &[]));
    assert!(exit == 6 && said.contains("--stage"), "never silently: {said}");
    let csr = scratch("web.csr");
    let csr_text = csr.to_str().unwrap();
    key(
        "rotate",
        "web",
        &["--stage", "--subject", "CN=www.example.org,O=Example", "--dns", "www.example.org", "--csr", csr_text],
    );
    let seen = openssl(&["req", "-in", csr_text, "-noout", "-verify", "-subject", "-text"]);
    assert!(seen.contains("www.example.org") && seen.contains("DNS:www.example.org"), "{seen}");
    let private = |label: &str| by_label(label).number(CKA_CLASS, CKO_PRIVATE_KEY);
    let staged = find(session, private("web#v2"))[0];
    assert_eq!(find(session, private("web")), [old], "the old one is in force");
    assert_eq!(number(session, staged, CKA_KEYWARD_STATE), 1);
    assert_eq!(signs(session, CKM_ECDSA, staged), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_eq!(signs(session, CKM_ECDSA, old), CKR_OK);
    let (exit, said) = refused(&key_arguments("rotate", "web", &["--stage"]));
    assert!(exit == 6 && said.contains("staged already"), "{said}");
    // A CA of this test's own signs it.
    let (ca, crt) = (scratch("ca.pem"), scratch("web.crt"));
    let (ca_text, crt_text) = (ca.to_str().unwrap(), crt.to_str().unwrap());
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        ca_text,
        "-out",
        ca_text,
        "-subj",
        "/CN=ca",
    ]);
    let of_ca = std::fs::read_to_string(&ca).unwrap();
    assert!(of_ca.contains("CERTIFICATE"));
    let ca_key = scratch("ca.key");
    openssl(&["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", ca_key.to_str().unwrap()]);
    openssl(&["req", "-x509", "-new", "-key", ca_key.to_str().unwrap(), "-out", ca_text, "-subj", "/CN=ca"]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        csr_text,
        "-CA",
        ca_text,
        "-CAkey",
        ca_key.to_str().unwrap(),
        "-CAcreateserial",
        "-out",
        crt_text,
    ]);
    let (exit, said) = refused(&key_arguments("certify", "web#v2", &[ca_text]));
    assert!(exit == 6 && said.contains("another key"), "{said}");
    key("certify", "web", &[crt_text]);
    assert_eq!(find(session, by_label("web#v2").number(CKA_CLASS, CKO_CERTIFICATE)).len(), 1);
    key("activate", "web#v2", &["--overlap", "1h"]);
    assert_eq!(find(session, private("web")), [staged]);
    assert_eq!(find(session, by_label("web").number(CKA_CLASS, CKO_PUBLIC_KEY)).len(), 1);
    assert_eq!(
        find(session, by_label("web").number(CKA_CLASS, CKO_CERTIFICATE)).len(),
        1,
        "its certificate came along"
    );
    assert_eq!(signs(session, CKM_ECDSA, staged), CKR_OK);
    assert_eq!(signs(session, CKM_ECDSA, old), CKR_OK, "a server that holds the handle goes on through the overlap");
    assert_eq!(value(session, old, CKA_LABEL).unwrap(), b"web#v1");
    assert_eq!(find(session, private("web").bytes(CKA_ID, b"web")), [old]);
    let left =
        number(session, old, CKA_KEYWARD_DEACTIVATION_DATE) - number(session, staged, CKA_KEYWARD_ACTIVATION_DATE);
    assert_eq!(left, 3600);
    // The next request takes subject and names from the certificate.
    let next = key("rotate", "web", &["--stage"]);
    std::fs::write(&csr, next["csr"].as_str().unwrap()).unwrap();
    let seen = openssl(&["req", "-in", csr_text, "-noout", "-verify", "-subject"]);
    assert!(seen.contains("www.example.org"), "{seen}");
    for path in [csr, ca, crt, ca_key] {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn requests_are_signed_by_rsa_pss_and_by_edwards_keys_too() {
    let running = start();
    let session = running.session;
    make_pair(session, "rsa-csr", CKM_RSA_PKCS_KEY_PAIR_GEN, Template::new().number(CKA_MODULUS_BITS, 2048));
    const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
    make_pair(session, "ed-csr", CKM_EC_EDWARDS_KEY_PAIR_GEN, Template::new().bytes(CKA_EC_PARAMS, ED25519));
    let csr = scratch("other.csr");
    for (label, more) in [("rsa-csr", &["--pss", "--hash", "sha384"][..]), ("ed-csr", &[])] {
        let made = key("rotate", label, &[&["--stage", "--subject", "CN=x"], more].concat());
        std::fs::write(&csr, made["csr"].as_str().unwrap()).unwrap();
        openssl(&["req", "-in", csr.to_str().unwrap(), "-noout", "-verify"]);
    }
    let _ = std::fs::remove_file(csr);
}

#[test]
fn requests_of_every_other_kind_of_key_are_verified_by_others_or_by_c_verify() {
    use base64ct::Encoding;
    use x509_cert::der::{Decode, Encode};
    let running = start();
    let session = running.session;
    const ED448: &[u8] = &[6, 3, 0x2b, 0x65, 0x71];
    make_pair(session, "rsa1-csr", CKM_RSA_PKCS_KEY_PAIR_GEN, Template::new().number(CKA_MODULUS_BITS, 2048));
    make_pair(session, "ed448-csr", CKM_EC_EDWARDS_KEY_PAIR_GEN, Template::new().bytes(CKA_EC_PARAMS, ED448));
    let csr = scratch("others.csr");
    for (label, named) in [("rsa1-csr", "sha256WithRSAEncryption"), ("ed448-csr", "ED448")] {
        let made = key("rotate", label, &["--stage", "--subject", "CN=x"]);
        std::fs::write(&csr, made["csr"].as_str().unwrap()).unwrap();
        let seen = openssl(&["req", "-in", csr.to_str().unwrap(), "-noout", "-verify", "-text"]);
        assert!(seen.contains(named), "{seen}");
    }
    let _ = std::fs::remove_file(csr);
    // OpenSSL 3.0 knows none of these: the key of the request verifies what was signed, and nothing else.
    for (label, generate, verify, key_type, set, oid) in [
        ("mldsa-csr", CKM_ML_DSA_KEY_PAIR_GEN, CKM_ML_DSA, CKK_ML_DSA, CKP_ML_DSA_65, "2.16.840.1.101.3.4.3.18"),
        (
            "slh-csr",
            CKM_SLH_DSA_KEY_PAIR_GEN,
            CKM_SLH_DSA,
            CKK_SLH_DSA,
            CKP_SLH_DSA_SHA2_128F,
            "2.16.840.1.101.3.4.3.21",
        ),
    ] {
        make_pair(session, label, generate, Template::new().number(CKA_PARAMETER_SET, set));
        let made = key("rotate", label, &["--stage", "--subject", "CN=x"]);
        let lines: String = made["csr"].as_str().unwrap().lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64ct::Base64::decode_vec(&lines).unwrap();
        let request = x509_cert::request::CertReq::from_der(&der).unwrap();
        assert_eq!(request.algorithm.oid.to_string(), oid);
        assert_eq!(request.info.public_key.algorithm, request.algorithm, "RFC 9881, RFC 9909: without parameters");
        let public = request.info.public_key.subject_public_key.raw_bytes();
        let template = Template::new().number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, key_type);
        let template = template.number(CKA_PARAMETER_SET, set).bytes(CKA_VALUE, public).yes(CKA_VERIFY);
        let verifier = create(session, template);
        let mut signed = request.info.to_der().unwrap();
        let by = [mechanism(verify)];
        let signature = request.signature.raw_bytes();
        let check = |data: &[u8]| {
            ok!(C_VerifyInit, session, ptr(&by), verifier);
            c!(C_Verify, session, ptr(data), len(data), ptr(signature), len(signature))
        };
        assert_eq!(check(&signed), CKR_OK, "{label}");
        signed[10] ^= 1;
        assert_eq!(check(&signed), CKR_SIGNATURE_INVALID, "{label}");
    }
}

/// Which is offered only where the configuration asks for old mechanisms.
#[test]
fn requests_of_dsa_keys_are_verified_by_openssl() {
    drop(start());
    let conf = std::env::var("KEYWARD_CONF").unwrap();
    let before = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{before}mechanisms = 'all'\n")).unwrap();
    let running = start();
    let session = running.session;
    let (domain, mut template) = ([mechanism(CKM_DSA_PARAMETER_GEN)], Template::new().number(CKA_PRIME_BITS, 1024));
    let (raw, mut parameters) = (template.raw(), 0);
    let (at, count) = (raw.as_mut_ptr(), len(raw));
    ok!(C_GenerateKey, session, ptr(&domain), at, count, &raw mut parameters);
    let public = [CKA_PRIME, CKA_SUBPRIME, CKA_BASE]
        .into_iter()
        .fold(Template::new(), |template, ty| template.bytes(ty, &value(session, parameters, ty).unwrap()));
    let csr = scratch("dsa.csr");
    make_pair(session, "dsa-csr", CKM_DSA_KEY_PAIR_GEN, public);
    let made = key("rotate", "dsa-csr", &["--stage", "--subject", "CN=x"]);
    std::fs::write(&csr, made["csr"].as_str().unwrap()).unwrap();
    let seen = openssl(&["req", "-in", csr.to_str().unwrap(), "-noout", "-verify", "-text"]);
    assert!(seen.contains("dsa_with_SHA256"), "{seen}");
    let (exit, said) = refused(&key_arguments("request", "dsa-csr#v2", &["--hash", "sha512"]));
    assert!(exit == 2 && said.contains("SHA-256"), "{said}");
    let _ = std::fs::remove_file(csr);
    std::fs::write(&conf, before).unwrap();
}

#[test]
fn what_is_wrapped_under_an_older_version_is_rewrapped() {
    let running = start();
    let session = running.session;
    let kek = aes(session, "kek", b"kek");
    let target = aes_key(session, &[5; 32]);
    let by = [mechanism(CKM_AES_KEY_WRAP_KWP)];
    let wrapped = output(|out, out_len| c!(C_WrapKey, session, ptr(&by), kek, target, out, out_len)).unwrap();
    let file = scratch("wrapped");
    std::fs::write(&file, &wrapped).unwrap();
    key("rotate", "kek", &[]);
    let done = key("rewrap", "kek", &[file.to_str().unwrap()]);
    assert_eq!((&done["rewrapped"][0]["from"], &done["rewrapped"][0]["to"]), (&1.into(), &2.into()));
    let anew = std::fs::read(&file).unwrap();
    assert_ne!(anew, wrapped);
    let newest = find(session, by_label("kek"))[0];
    let mut template = secret(CKK_AES);
    let (raw, mut made) = (template.raw(), 0);
    let (at, count) = (raw.as_mut_ptr(), len(raw));
    ok!(C_UnwrapKey, session, ptr(&by), newest, ptr(&anew), len(&anew), at, count, &raw mut made);
    assert_eq!(value(session, made, CKA_VALUE).unwrap(), [5; 32]);
    let again = key("rewrap", "kek", &[file.to_str().unwrap()]);
    assert!(again["rewrapped"].as_array().unwrap().is_empty(), "idempotent");
    std::fs::write(&file, b"no wrapped key at all...").unwrap();
    assert_eq!(refused(&key_arguments("rewrap", "kek", &[file.to_str().unwrap()])).0, 1);
    let _ = std::fs::remove_file(file);
}
