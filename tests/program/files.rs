//! Keys and certificates in files of all ages, in and out, held against OpenSSL.

use std::path::PathBuf;
use std::process::Command;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::Value;

use crate::kryoptic::{der, oid, sequence};
use crate::{Home, PINS, text};

struct Files(Home);

impl Files {
    fn new() -> Files {
        let home = Home::new();
        home.done("token init --label t --so-pin-env SO --pin-env ONE");
        Files(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    /// What it prints; `PASS` in its environment is the passphrase.
    fn openssl(&self, line: &str) -> String {
        let mut command = Command::new("openssl");
        command.args(line.split_whitespace()).env("PASS", "open sesame").current_dir(&self.0.0);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn keyward(&self, line: &str) -> (Option<i32>, Value, String) {
        let mut command = self.0.command(&format!("{line} --json --yes"));
        command.envs(PINS).env("PASS", "open sesame").current_dir(&self.0.0);
        let output = command.output().unwrap();
        let out = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), out, text(&output.stderr).to_owned())
    }

    #[track_caller]
    fn good(&self, line: &str) -> Value {
        let (code, out, said) = self.keyward(line);
        assert_eq!(code, Some(0), "{line}: {said}");
        out
    }

    /// The file holds this key, under the passphrase and no other.
    #[track_caller]
    fn holds(&self, file: &str, key: &str, what: &str) {
        let import = format!("object import {file} --label {file} --pin-env ONE");
        let (code, _, said) = self.keyward(&format!("{import} --source-pin-env WRONG"));
        assert!(code == Some(5) && said.contains("passphrase is wrong"), "{what}: {said}");
        self.good(&format!("{import} --source-pin-env PASS"));
        let exported = self.good(&format!("object export --class private-key --label {file} --pin-env ONE"));
        assert_eq!(exported["pem"].as_str().unwrap(), self.openssl(&format!("pkey -in {key} -pubout")), "{what}");
    }
}

#[test]
fn keys_that_were_encrypted_long_ago_are_imported() {
    let files = Files::new();
    files.openssl("genrsa -out rsa.pem 2048");
    files.openssl("ecparam -name secp384r1 -genkey -noout -out ec.pem");
    let legacy = "-provider legacy -provider default";
    for (at, cipher) in ["-aes128", "-aes256", "-des3", "-des"].iter().enumerate() {
        files.openssl(&format!("rsa -in rsa.pem -traditional {cipher} -passout env:PASS -out old.{at} {legacy}"));
        files.openssl(&format!("ec -in ec.pem {cipher} -passout env:PASS -out oldec.{at} {legacy}"));
        for (file, key) in [(format!("old.{at}"), "rsa.pem"), (format!("oldec.{at}"), "ec.pem")] {
            let written = std::fs::read_to_string(files.path(&file)).unwrap();
            assert!(written.contains("Proc-Type: 4,ENCRYPTED"), "{file}: {written}");
            files.holds(&file, key, cipher);
        }
    }
    for (at, scheme) in ["PBE-MD5-DES", "PBE-SHA1-DES", "PBE-MD5-RC2-64", "PBE-SHA1-RC2-64"].iter().enumerate() {
        files.openssl(&format!("pkcs8 -topk8 -in ec.pem -v1 {scheme} -passout env:PASS -out pbes1.{at} {legacy}"));
        files.holds(&format!("pbes1.{at}"), "ec.pem", scheme);
    }
    let camellia = files.path("camellia.pem");
    files.openssl("rsa -in rsa.pem -traditional -camellia128 -passout env:PASS -out camellia.pem");
    let (code, _, said) = files.keyward("object import camellia.pem --pin-env ONE --source-pin-env PASS");
    assert!(code == Some(1) && said.contains("CAMELLIA-128-CBC") && said.contains("openssl pkcs8 -topk8"), "{said}");
    std::fs::write(camellia, "-----BEGIN RSA PRIVATE KEY-----\nComment: x\n\nAAAA\n-----END RSA PRIVATE KEY-----\n")
        .unwrap();
    let (code, _, said) = files.keyward("object import camellia.pem --pin-env ONE");
    assert!(code == Some(1) && said.contains("headers that are not known"), "{said}");
}

/// The content of the first element, and what follows it.
fn inside(input: &[u8]) -> (&[u8], &[u8]) {
    let (head, len) = match input[1] {
        0x81 => (3, usize::from(input[2])),
        0x82 => (4, usize::from(input[2]) << 8 | usize::from(input[3])),
        short => (2, usize::from(short)),
    };
    input[head..].split_at(len)
}

/// RFC 9579, put on a file that has no MAC.
fn with_pbmac1(file: &[u8], passphrase: &[u8]) -> Vec<u8> {
    let (all, _) = inside(file);
    let (_, info) = inside(all);
    let (_, content) = inside(inside(info).0);
    let (safe, _) = inside(inside(content).0);
    let (salt, mut key) = ([5u8; 16], [0u8; 48]);
    openssl::pkcs5::pbkdf2_hmac(passphrase, &salt, 2048, MessageDigest::sha384(), &mut key).unwrap();
    let key = PKey::hmac(&key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha512(), &key).unwrap();
    signer.update(safe).unwrap();
    let mac = signer.sign_to_vec().unwrap();
    let named = |arcs: &[u8], parameters: Vec<u8>| sequence(&[oid(arcs), parameters]);
    let rsadsi = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d];
    let prf = named(&[&rsadsi[..], &[2, 10]].concat(), der(5, &[]));
    let pbkdf2 = sequence(&[der(4, &salt), der(2, &[8, 0]), der(2, &[48]), prf]);
    let function = named(&[&rsadsi[..], &[1, 5, 12]].concat(), pbkdf2);
    let scheme = named(&[&rsadsi[..], &[2, 11]].concat(), der(5, &[]));
    let pbmac1 = named(&[&rsadsi[..], &[1, 5, 14]].concat(), sequence(&[function, scheme]));
    let data = sequence(&[sequence(&[pbmac1, der(4, &mac)]), der(4, &[0]), der(2, &[1])]);
    sequence(&[der(2, &[3]), info.to_vec(), data])
}

#[test]
fn a_pkcs12_file_with_pbmac1_is_imported() {
    let files = Files::new();
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout rsa.pem -out rsa.crt -subj /CN=rsa -days 30");
    files.openssl("pkcs12 -export -in rsa.crt -inkey rsa.pem -passout env:PASS -nomac -out bare.pfx");
    let bare = std::fs::read(files.path("bare.pfx")).unwrap();
    let mut file = with_pbmac1(&bare, b"open sesame");
    std::fs::write(files.path("pbmac1.pfx"), &file).unwrap();
    files.holds("pbmac1.pfx", "rsa.pem", "PBMAC1");
    // One bit of what the MAC is of.
    let at = file.len() / 2;
    file[at] ^= 1;
    std::fs::write(files.path("changed.pfx"), &file).unwrap();
    let (code, ..) = files.keyward("object import changed.pfx --pin-env ONE --source-pin-env PASS");
    assert_eq!(code, Some(5));
}

#[test]
fn a_key_is_exported_as_pkcs12_with_its_certificates() {
    let files = Files::new();
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.pem -out ca.crt -subj /CN=ca -days 30");
    files.openssl("ecparam -name prime256v1 -genkey -noout -out ec.pem");
    files.openssl("req -new -key ec.pem -subj /CN=leaf -out leaf.csr");
    files.openssl("x509 -req -in leaf.csr -CA ca.crt -CAkey ca.pem -days 20 -out leaf.crt");
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout x.pem -out other.crt -subj /CN=other -days 30");
    files.good("object import ec.pem leaf.crt --label gr\u{fc}n --extractable --pin-env ONE");
    files.good("object import ca.crt other.crt --label others --pin-env ONE");
    let export = "key export --label gr\u{fc}n --format pfx --pin-env ONE --new-pin-env PASS";
    assert_eq!(files.good(&format!("{export} --output dry.pfx --dry-run"))["exported"], false);
    assert!(!files.path("dry.pfx").exists());
    files.good(&format!("{export} --output leaf.pfx"));
    let shown = files.openssl("pkcs12 -in leaf.pfx -passin env:PASS -nodes");
    assert!(shown.contains("friendlyName: gr"), "{shown}");
    assert_eq!(shown.matches("BEGIN CERTIFICATE").count(), 2, "its own, and its issuer's: {shown}");
    let of = |key: &str| files.openssl(&format!("pkey -in {key} -pubout"));
    files.openssl("pkcs12 -in leaf.pfx -passin env:PASS -nodes -nocerts -out back.pem");
    assert_eq!(of("back.pem"), of("ec.pem"));
    files.openssl("pkcs12 -in leaf.pfx -passin env:PASS -nokeys -clcerts -out back.crt");
    assert_eq!(files.openssl("x509 -in back.crt"), files.openssl("x509 -in leaf.crt"));
    files.openssl("pkcs12 -in leaf.pfx -passin env:PASS -nokeys -cacerts -out back-ca.crt");
    assert_eq!(files.openssl("x509 -in back-ca.crt"), files.openssl("x509 -in ca.crt"));
    let info = Command::new("openssl")
        .args(["pkcs12", "-in", "leaf.pfx", "-passin", "env:PASS", "-info", "-noout"])
        .env("PASS", "open sesame")
        .current_dir(&files.0.0)
        .output()
        .unwrap();
    let info = text(&info.stderr);
    assert!(info.contains("AES-256-CBC") && info.contains("hmacWithSHA256") && info.contains("MAC: sha256"), "{info}");
    // And ours reads it again: key, public key, two certificates.
    let again = files.good("object import leaf.pfx --pin-env ONE --source-pin-env PASS --id 77");
    assert_eq!(again["imported"], 4);
    // A key that may not leave does not.
    files.good("object import x.pem --label x --pin-env ONE");
    let (code, _, said) =
        files.keyward("key export --label x --format pfx --output x.pfx --pin-env ONE --new-pin-env PASS");
    assert!(code != Some(0) && said.contains("CKR_KEY_UNEXTRACTABLE") && !files.path("x.pfx").exists(), "{said}");
}

#[test]
fn certificates_that_end_are_told_ahead() {
    let files = Files::new();
    files.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out soon.crt -subj /CN=soon -days 20");
    files.openssl("req -x509 -key key.pem -out later.crt -subj /CN=later -days 300");
    files.good("object import key.pem --label web --pin-env ONE");
    files.good("object import later.crt --label later --pin-env ONE");
    assert_eq!(files.good("maintain --pin-env ONE")["notes"], Value::Array(vec![]));
    files.good("object import soon.crt --label soon --pin-env ONE");
    let notes = |line: &str| {
        let (code, out, said) = files.keyward(line);
        let told = out["notes"].as_array().unwrap_or_else(|| panic!("{said}")).clone();
        (code, told.iter().map(|note| note["key"]["label"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), out)
    };
    let (code, labels, out) = notes("maintain --pin-env ONE");
    assert_eq!((code, labels), (Some(9), vec!["soon".to_owned()]), "{out}");
    let note = out["notes"][0]["text"].as_str().unwrap();
    assert!(note.contains("its certificate ends 20") && note.contains("keyward key request"), "{note}");
    assert_eq!(notes("maintain --pin-env ONE --warn 10d").0, Some(0));
    assert_eq!(notes("maintain --pin-env ONE --warn 1y").1.len(), 2);
    // Of a key that is out of use nobody needs a new certificate.
    files.good("key deactivate --label web --pin-env ONE");
    assert_eq!(notes("maintain --pin-env ONE --warn 1y").0, Some(0));
}

#[test]
fn a_share_for_an_ec_key_is_opened_by_openssl() {
    let files = Files::new();
    for curve in ["prime256v1", "secp521r1"] {
        files.openssl(&format!("ecparam -name {curve} -genkey -noout -out eve.key"));
        files.openssl("ec -in eve.key -pubout -out eve.pem");
        files.good(&format!("backup create {curve} --threshold 1 --custodian eve=eve.pem"));
        let share = format!("{curve}.share-1-eve.cms");
        let bytes = std::fs::read(files.path(&share)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("KEYWARD-SHARE"), "{curve}: it is encrypted");
        files.openssl(&format!("cms -decrypt -inform DER -inkey eve.key -in {share} -out eve.txt"));
        let drill = format!("backup drill {curve} --share eve.txt --so-pin-env SO --pin-env ONE");
        assert_eq!(files.good(&drill)["drill"], true, "{curve}");
        let (code, _, said) = files.keyward(&drill.replace("eve.txt", &share));
        assert!(code == Some(1) && said.contains("its custodian must open it first"), "{curve}: {said}");
    }
    files.openssl("genpkey -algorithm ed25519 -out ed.key");
    files.openssl("pkey -in ed.key -pubout -out ed.pem");
    let (code, _, said) = files.keyward("backup create ed --threshold 1 --custodian ed=ed.pem");
    assert!(code == Some(2) && said.contains("age recipient"), "{said}");
}
