//! A database as Kryoptic keeps it, sealed here by OpenSSL after its documentation, and imported whole.

use std::path::Path;

use cryptoki_sys::*;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::symm::{Cipher, encrypt_aead};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::{Home, PINS, text};

pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..=0x7f => vec![tag, len as u8],
        0x80..=0xff => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [head.as_slice(), content].concat()
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

pub fn oid(bytes: &[u8]) -> Vec<u8> {
    der(6, bytes)
}

const RED_HAT: &[u8] = &[0x2b, 6, 1, 4, 1, 0x92, 8, 20];
const PKCS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d];
const KEY: [u8; 32] = [0x6b; 32];

/// `KPD1` under a key that `function` says how to make.
fn sealed(function: Vec<u8>, key: &[u8], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let (iv, mut tag) = ([9u8; 12], [0u8; 8]);
    let data = encrypt_aead(Cipher::aes_256_gcm(), key, Some(&iv), aad, plain, &mut tag).unwrap();
    let gcm = sequence(&[der(4, &iv), der(4, &tag)]);
    let cipher = sequence(&[oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 46]), gcm]);
    let parameters = sequence(&[der(2, &[1]), function, cipher]);
    sequence(&[sequence(&[oid(&[RED_HAT, &[2, 1]].concat()), parameters]), der(4, &data)])
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.update(data).unwrap();
    signer.sign_to_vec().unwrap()
}

/// A secret attribute of the object of this unique ID.
fn secret(id: &str, plain: &[u8]) -> Sql {
    let prf = sequence(&[oid(&[PKCS, &[2, 9]].concat()), der(5, &[])]);
    let parameters = sequence(&[prf, der(4, id.as_bytes()), der(2, &[32])]);
    let function = sequence(&[oid(&[RED_HAT, &[1, 1]].concat()), parameters]);
    // HKDF's expansion to one block.
    let key = hmac(&KEY, &[id.as_bytes(), &[1]].concat());
    Sql::Blob(sealed(function, &key, id.as_bytes(), plain))
}

fn by_pin(pin: &[u8], key: &[u8]) -> Vec<u8> {
    let (salt, mut kek) = ([3u8; 32], [0u8; 32]);
    openssl::pkcs5::pbkdf2_hmac(pin, &salt, 1000, MessageDigest::sha256(), &mut kek).unwrap();
    let prf = sequence(&[oid(&[PKCS, &[2, 9]].concat()), der(5, &[])]);
    let parameters = sequence(&[der(4, &salt), der(2, &[3, 0xe8]), der(2, &[32]), prf]);
    sealed(sequence(&[oid(&[PKCS, &[1, 5, 12]].concat()), parameters]), &kek, b"USER", key)
}

fn number(value: u64) -> Sql {
    Sql::Integer(value as i64)
}

fn yes() -> Sql {
    Sql::Integer(1)
}

fn blob(bytes: &[u8]) -> Sql {
    Sql::Blob(bytes.to_vec())
}

fn label(text: &str) -> Sql {
    Sql::Text(text.to_owned())
}

/// A database with an AES key, an RSA pair and a data object.
fn database(path: &Path, rsa: &Rsa<openssl::pkey::Private>, version: &str) {
    let connection = Connection::open(path).unwrap();
    let tables = "CREATE TABLE meta (name TEXT NOT NULL, id INTEGER, value TEXT, data BLOB, UNIQUE(name, value));
        CREATE TABLE objects (id int NOT NULL, attr int NOT NULL, val blob, UNIQUE (id, attr));";
    connection.execute_batch(tables).unwrap();
    let meta = "INSERT INTO meta (name, value, data) VALUES (?1, ?2, ?3)";
    connection.execute(meta, params!["version", version, Sql::Null]).unwrap();
    connection.execute(meta, params!["USER DATA", "USER", by_pin(b"123456", &KEY)]).unwrap();
    connection.execute(meta, params!["USER DATA", "SO", by_pin(b"87654321", &KEY)]).unwrap();
    let big = |number: &openssl::bn::BigNumRef| number.to_vec();
    let private = "5e0c-rsa";
    let objects: [&[(CK_ATTRIBUTE_TYPE, Sql)]; 4] = [
        &[
            (CKA_CLASS, number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, number(CKK_AES)),
            (CKA_UNIQUE_ID, label("77-aes")),
            (CKA_TOKEN, yes()),
            (CKA_PRIVATE, yes()),
            (CKA_SENSITIVE, number(0)),
            (CKA_EXTRACTABLE, yes()),
            (CKA_LABEL, label("aes")),
            (CKA_ENCRYPT, yes()),
            (CKA_DECRYPT, yes()),
            (CKA_VALUE_LEN, number(16)),
            (CKA_KEY_GEN_MECHANISM, Sql::Integer(-1)),
            (CKA_START_DATE, label("2026-11-28")),
            (CKA_END_DATE, label("")),
            (CKA_VALUE, secret("77-aes", b"sixteen byte key")),
        ],
        &[
            (CKA_CLASS, number(CKO_PRIVATE_KEY)),
            (CKA_KEY_TYPE, number(CKK_RSA)),
            (CKA_UNIQUE_ID, label(private)),
            (CKA_TOKEN, yes()),
            (CKA_PRIVATE, yes()),
            (CKA_SENSITIVE, yes()),
            (CKA_LABEL, label("rsa")),
            (CKA_ID, blob(&[7])),
            (CKA_SIGN, yes()),
            (CKA_MODULUS, Sql::Blob(big(rsa.n()))),
            (CKA_PUBLIC_EXPONENT, Sql::Blob(big(rsa.e()))),
            (CKA_PRIVATE_EXPONENT, secret(private, &big(rsa.d()))),
            (CKA_PRIME_1, secret(private, &big(rsa.p().unwrap()))),
            (CKA_PRIME_2, secret(private, &big(rsa.q().unwrap()))),
            (CKA_EXPONENT_1, secret(private, &big(rsa.dmp1().unwrap()))),
            (CKA_EXPONENT_2, secret(private, &big(rsa.dmq1().unwrap()))),
            (CKA_COEFFICIENT, secret(private, &big(rsa.iqmp().unwrap()))),
        ],
        &[
            (CKA_CLASS, number(CKO_PUBLIC_KEY)),
            (CKA_KEY_TYPE, number(CKK_RSA)),
            (CKA_UNIQUE_ID, label("aa-rsa")),
            (CKA_TOKEN, yes()),
            (CKA_LABEL, label("rsa")),
            (CKA_ID, blob(&[7])),
            (CKA_VERIFY, yes()),
            (CKA_MODULUS, Sql::Blob(big(rsa.n()))),
            (CKA_MODULUS_BITS, number(2048)),
            (CKA_PUBLIC_EXPONENT, Sql::Blob(big(rsa.e()))),
        ],
        &[
            (CKA_CLASS, number(CKO_DATA)),
            (CKA_UNIQUE_ID, label("dd-data")),
            (CKA_TOKEN, yes()),
            (CKA_LABEL, label("note")),
            (CKA_APPLICATION, label("tests")),
            (CKA_VALUE, blob(b"in clear")),
        ],
    ];
    for (id, object) in objects.iter().enumerate() {
        for (ty, value) in *object {
            let row = params![id as i64 + 1, *ty as i64, value];
            connection.execute("INSERT INTO objects VALUES (?1, ?2, ?3)", row).unwrap();
        }
    }
}

/// The file of a database, made once in this process.
pub fn sample() -> &'static [u8] {
    static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let home = Home::new();
        let file = home.0.join("token.sql");
        database(&file, &Rsa::generate(2048).unwrap(), "v1");
        std::fs::read(file).unwrap()
    })
}

fn run(home: &Home, line: &str) -> (Option<i32>, Value, String) {
    let mut command = home.command(&format!("{line} --json"));
    let output = command.envs(PINS).env("SIX", "123456").output().unwrap();
    let out = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), out, text(&output.stderr).to_owned())
}

#[test]
fn a_kryoptic_database_is_imported_whole() {
    let home = Home::new();
    home.done("token init --label t --so-pin-env SO --pin-env ONE");
    let rsa = Rsa::generate(2048).unwrap();
    let file = home.0.join("token.sql");
    database(&file, &rsa, "v1");
    let before = std::fs::read(&file).unwrap();
    let line = format!("object import-kryoptic {} --pin-env ONE", file.display());
    let (code, _, said) = run(&home, &format!("{line} --source-pin-env WRONG"));
    assert!(code == Some(5) && said.contains("PIN of the Kryoptic token is wrong"), "{said}");
    let (code, out, _) = run(&home, &format!("{line} --source-pin-env SIX --dry-run"));
    assert_eq!((code, &out["would_import"]), (Some(0), &4.into()));
    assert_eq!(home.done("object list --pin-env ONE").as_array().unwrap().len(), 0);
    let (code, out, said) = run(&home, &format!("{line} --source-pin-env SIX"));
    assert_eq!((code, &out["imported"]), (Some(0), &4.into()), "{out} {said}");
    assert_eq!(std::fs::read(&file).unwrap(), before, "it is only read");

    let aes = &home.done("object show --label aes --pin-env ONE")[0];
    assert_eq!(aes["CKA_VALUE"], hex::encode("sixteen byte key"));
    assert_eq!((&aes["CKA_LOCAL"], &aes["CKA_EXTRACTABLE"]), (&false.into(), &true.into()));
    let private = &home.done("object show --label rsa --class private-key --pin-env ONE")[0];
    assert_eq!((&private["CKA_SENSITIVE"], &private["CKA_ID"]), (&true.into(), &"07".into()));
    let pem = home.done("object export --label rsa --class private-key --pin-env ONE");
    assert_eq!(pem["pem"], String::from_utf8(rsa.public_key_to_pem().unwrap()).unwrap());
    let data = &home.done("object show --label note --pin-env ONE")[0];
    assert_eq!(data["CKA_VALUE"], hex::encode("in clear"));
}

#[test]
fn what_is_no_database_of_kryoptic_is_said_to_be_none() {
    let home = Home::new();
    home.done("token init --label t --so-pin-env SO --pin-env ONE");
    let file = home.0.join("token.sql");
    let line = format!("object import-kryoptic {} --pin-env ONE --source-pin-env SIX", file.display());
    let refused = |words: &str| {
        let (code, _, said) = run(&home, &line);
        assert!(code == Some(1) && said.contains(words), "{said}");
    };
    refused("no token of Kryoptic");
    std::fs::write(&file, [b'x'; 5000]).unwrap();
    refused("no token of Kryoptic");
    std::fs::remove_file(&file).unwrap();
    database(&file, &Rsa::generate(2048).unwrap(), "v9");
    refused("its version is v9");
    let edit = |sql: &str| Connection::open(&file).unwrap().execute(sql, []).unwrap();
    edit("UPDATE meta SET value = 'v1' WHERE name = 'version'");
    // One secret in the place of another: its name is authenticated with it.
    edit("UPDATE objects SET val = (SELECT val FROM objects WHERE id = 2 AND attr = 292) WHERE id = 1 AND attr = 17");
    refused("a secret of object 1 does not decrypt");
    edit("DELETE FROM meta WHERE value = 'USER'");
    refused("has no user PIN");
    assert_eq!(home.done("object list --pin-env ONE").as_array().unwrap().len(), 0, "nothing was imported");
}
