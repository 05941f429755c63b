//! The care of a slot file by the program `keyward`, and the C ABI's view of it.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Of the files to be imported; not ASCII alone, since PKCS#12 takes it as UTF-16.
const PASSPHRASE: &str = "gehe\u{ef}m 7";

struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let dir = std::env::temp_dir().join(format!("keyward-care-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let shown = dir.display();
        let text = format!("tokens = \"{shown}/tokens\"\ndevice_secret = \"{shown}/secret/device.secret\"\n");
        std::fs::write(dir.join("keyward.toml"), text).unwrap();
        Home(dir)
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.env("KEYWARD_CONF", self.0.join("keyward.toml")).env_remove("KEYWARD_LOG");
        command.env("SO", "12345678").env("USER_PIN", "123456").env("WRONG", "000000");
        command.env("PASS", PASSPHRASE).args(["--json", "--yes"]).args(line.split_whitespace()).output().unwrap()
    }

    fn good(&self, line: &str) -> serde_json::Value {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn token(name: &str) -> Home {
        let home = Home::new(name);
        home.good("token init --label care --so-pin-env SO --pin-env USER_PIN");
        home
    }

    fn slot_file(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.0.join("tokens")).unwrap().flatten().map(|entry| entry.path());
        entries.into_iter().find(|path| path.extension().is_some_and(|end| end == "slot")).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn verify_compact_backup_and_rotation_work_on_a_sound_token() {
    let home = Home::token("sound");
    let sound = home.good("token verify --pin-env USER_PIN");
    assert_eq!((&sound["sound"], &sound["unchecked"]), (&true.into(), &0.into()));
    home.good("token rotate-key --so-pin-env SO --pin-env USER_PIN");
    assert!(home.good("token compact")["after"].as_u64().unwrap() > 0);
    assert_eq!(home.good("token verify --pin-env USER_PIN")["sound"], true);
    let backup = home.0.join("copy.slot");
    home.good(&format!("token backup-file {}", backup.display()));
    assert_eq!(
        home.run(&format!("token backup-file {}", backup.display())).status.code(),
        Some(1),
        "never overwritten"
    );
    assert_eq!(home.run("token rotate-key --so-pin-env SO --pin-env WRONG").status.code(), Some(5));
}

#[test]
fn a_restored_backup_is_told_and_accepted() {
    let home = Home::token("restored");
    let backup = home.0.join("copy.slot");
    home.good(&format!("token backup-file {}", backup.display()));
    // Any commit after it makes the copy an older one.
    home.good("token rotate-key --so-pin-env SO --pin-env USER_PIN");
    let slot = home.slot_file();
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{rest}", slot.display()));
    }
    std::fs::rename(&backup, &slot).unwrap();

    let verify = home.run("token verify");
    assert_eq!(verify.status.code(), Some(7));
    let told: serde_json::Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert!(told["older_copy"].as_str().unwrap().contains("commits"), "{told}");
    let info = home.good("token info");
    assert!(
        info["flags"].as_array().unwrap().iter().any(|flag| flag.as_str().unwrap().contains("error-state")),
        "{info}"
    );
    assert_eq!(home.run("doctor").status.code(), Some(7));
    let login = home.run("object list --pin-env USER_PIN");
    assert!(!login.status.success());
    assert!(String::from_utf8_lossy(&login.stderr).contains("older copy"));

    assert_eq!(home.run("token accept --pin-env WRONG").status.code(), Some(5));
    home.good("token accept --pin-env USER_PIN");
    assert_eq!(home.good("token verify --pin-env USER_PIN")["sound"], true);
    home.good("object list --pin-env USER_PIN");
}

#[test]
fn a_device_secret_may_come_from_a_command_or_a_credential() {
    let home = Home::new("sources");
    let digits = "0123456789abcdef".repeat(4);
    let credentials = home.0.join("credentials");
    std::fs::create_dir_all(&credentials).unwrap();
    std::fs::write(credentials.join("device"), format!("{digits}\n")).unwrap();
    let configure = |source: &str| {
        let text = format!("tokens = \"{}/tokens\"\ndevice_secret = \"{source}\"\n", home.0.display());
        std::fs::write(home.0.join("keyward.toml"), text).unwrap();
    };
    configure(&format!("command:/bin/echo {digits}"));
    home.good("token init --label x --so-pin-env SO --pin-env USER_PIN");
    configure("credential:device");
    let command = |credentials: Option<&PathBuf>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.env("KEYWARD_CONF", home.0.join("keyward.toml")).env("USER_PIN", "123456");
        command.env_remove("CREDENTIALS_DIRECTORY");
        if let Some(path) = credentials {
            command.env("CREDENTIALS_DIRECTORY", path);
        }
        command.args(["token", "verify", "--pin-env", "USER_PIN"]).output().unwrap().status
    };
    assert!(command(Some(&credentials)).success());
    assert!(!command(None).success());
    configure(&format!("command:/bin/echo {}", "f".repeat(64)));
    assert!(!home.run("token verify --pin-env USER_PIN").status.success(), "another secret opens nothing");
}

fn labels(listed: &serde_json::Value) -> Vec<String> {
    let of = |one: &serde_json::Value, name| one[name].as_str().unwrap_or_default().to_owned();
    let all = listed.as_array().unwrap().iter();
    let mut all: Vec<String> =
        all.map(|one| format!("{} {} {}", of(one, "class"), of(one, "label"), of(one, "id"))).collect();
    all.sort();
    all
}

fn softhsm_is_imported_whole(name: &str, directory: &str) {
    let home = Home::token(name);
    let line = format!("object import-softhsm {directory} --pin-env USER_PIN");
    assert_eq!(home.run(&format!("{line} --source-pin-env WRONG")).status.code(), Some(5));
    let done = home.good(&format!("{line} --source-pin-env USER_PIN"));
    assert_eq!((&done["imported"], done["refused"].as_array().unwrap().len()), (&5.into(), 0), "{done}");
    let listed = home.good("object list --pin-env USER_PIN");
    let expected = [
        "private-key eckey 02",
        "private-key rsakey 01",
        "public-key eckey 02",
        "public-key rsakey 01",
        "secret-key aeskey 03",
    ];
    assert_eq!(labels(&listed), expected);
    // The halves belong together: their public keys are the same.
    for id in ["01", "02"] {
        let pem = |class: &str| {
            home.good(&format!("object export --class {class} --id {id} --pin-env USER_PIN"))["pem"].clone()
        };
        assert!(pem("private-key").as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
        assert_eq!(pem("private-key"), pem("public-key"));
    }
}

#[test]
fn a_softhsm_token_directory_is_imported_whole() {
    softhsm_is_imported_whole("softhsm", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/softhsm"));
}

/// The sample was made by SoftHSM of May 2026, built with its database back end.
#[test]
fn a_softhsm_database_is_imported_whole() {
    let directory = std::env::temp_dir().join(format!("keyward-softhsm-db-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let sample = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/softhsm-db/sqlite3.db.gz"));
    let mut database = std::fs::File::create(directory.join("sqlite3.db")).unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(sample.unwrap()), &mut database).unwrap();
    softhsm_is_imported_whole("softhsm-db", directory.to_str().unwrap());
    std::fs::remove_dir_all(&directory).unwrap();
}

fn openssl(home: &Home, line: &str) {
    let status = Command::new("openssl")
        .args(line.split_whitespace())
        .env("PASS", PASSPHRASE)
        .current_dir(&home.0)
        .output()
        .unwrap();
    assert!(status.status.success(), "{line}: {}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn keys_and_certificates_come_from_files_and_go_to_files() {
    let home = Home::token("files");
    openssl(&home, "req -x509 -newkey rsa:2048 -nodes -keyout rsa.pem -out rsa.crt -subj /CN=rsa -days 30");
    openssl(&home, "rsa -in rsa.pem -out rsa1.pem -traditional");
    openssl(&home, "ecparam -name prime256v1 -genkey -out ec.pem");
    openssl(&home, "genpkey -algorithm ed25519 -outform DER -out ed.der");
    openssl(&home, "x509 -in rsa.crt -outform DER -out rsa.der");
    let path = |name: &str| home.0.join(name).display().to_string();
    let import = |names: &str, label: &str| {
        let files: Vec<String> = names.split(' ').map(path).collect();
        home.good(&format!("object import {} --label {label} --pin-env USER_PIN", files.join(" ")))["imported"].clone()
    };
    assert_eq!(import("rsa.pem rsa.der", "first"), 3);
    assert_eq!(import("rsa1.pem rsa.crt", "second"), 3);
    assert_eq!(import("ec.pem", "ec"), 2);
    assert_eq!(import("ed.der", "ed"), 2);
    let listed = home.good("object list --label first --pin-env USER_PIN");
    let ids: std::collections::BTreeSet<&str> =
        listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1, "key and certificate belong together: {listed}");

    let der = path("out.der");
    home.good(&format!("object export --class certificate --label first --der --output {der}"));
    assert_eq!(std::fs::read(&der).unwrap(), std::fs::read(path("rsa.der")).unwrap());
    for (label, file, form) in [("second", "rsa.pem", "PEM"), ("ec", "ec.pem", "PEM"), ("ed", "ed.der", "DER")] {
        openssl(&home, &format!("pkey -in {file} -inform {form} -pubout -out expected.pem"));
        let out = path(&format!("{label}.pub"));
        home.good(&format!("object export --class private-key --label {label} --output {out} --pin-env USER_PIN"));
        assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(path("expected.pem")).unwrap(), "{label}");
        assert!(
            !home.run(&format!("object export --label {label} --output {out}")).status.success(),
            "never overwritten"
        );
    }
    std::fs::write(path("wrong.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(!home.run(&format!("object import {} --pin-env USER_PIN", path("wrong.pem"))).status.success());
}

fn count(home: &Home) -> usize {
    home.good("object list --pin-env USER_PIN").as_array().unwrap().len()
}

#[test]
fn files_under_a_passphrase_are_imported() {
    let home = Home::token("passphrase");
    let path = |name: &str| home.0.join(name).display().to_string();
    openssl(&home, "req -x509 -newkey rsa:2048 -nodes -keyout rsa.pem -out rsa.crt -subj /CN=rsa -days 30");
    openssl(&home, "ecparam -name prime256v1 -genkey -noout -out ec.pem");
    openssl(&home, "req -x509 -key ec.pem -out ec.crt -subj /CN=ec -days 30");
    let public = |key: &str| {
        openssl(&home, &format!("pkey -in {key} -pubout -out expected.pem"));
        std::fs::read_to_string(path("expected.pem")).unwrap()
    };
    let pass = "-passout env:PASS";
    let keys = [
        ("-v2 aes-256-cbc", "PEM", "ec.pem"),
        ("-v2 aes128", "DER", "rsa.pem"),
        ("-v2 des3 -v2prf hmacWithSHA1", "PEM", "rsa.pem"),
        ("-scrypt", "DER", "ec.pem"),
        ("-v1 PBE-SHA1-3DES", "PEM", "ec.pem"),
    ];
    for (at, (options, form, key)) in keys.iter().enumerate() {
        openssl(&home, &format!("pkcs8 -topk8 -in {key} {options} {pass} -outform {form} -out locked.{at}"));
        let import = format!("object import {} --label k{at} --pin-env USER_PIN", path(&format!("locked.{at}")));
        let before = count(&home);
        assert_eq!(home.run(&format!("{import} --source-pin-env WRONG")).status.code(), Some(5), "{options}");
        assert_eq!(count(&home), before, "{options}");
        assert_eq!(home.good(&format!("{import} --source-pin-env PASS"))["imported"], 2, "{options}");
        let exported = home.good(&format!("object export --class private-key --label k{at} --pin-env USER_PIN"));
        assert_eq!(exported["pem"].as_str().unwrap(), public(key), "{options}");
    }
    let files = [
        ("-in rsa.crt -inkey rsa.pem -certfile ec.crt", "rsa.pem", 4),
        ("-in ec.crt -inkey ec.pem -macalg sha512 -iter 5000", "ec.pem", 3),
        ("-in rsa.crt -inkey rsa.pem -legacy", "rsa.pem", 3),
        ("-in ec.crt -inkey ec.pem -legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-2DES", "ec.pem", 3),
        ("-in ec.crt -inkey ec.pem -certpbe NONE -keypbe NONE", "ec.pem", 3),
        ("-in ec.crt -nokeys -nomac", "", 1),
    ];
    for (at, (options, key, objects)) in files.iter().enumerate() {
        openssl(&home, &format!("pkcs12 -export {options} {pass} -name friend{at} -caname ca -out {at}.pfx"));
        let import = format!("object import {} --pin-env USER_PIN", path(&format!("{at}.pfx")));
        let before = count(&home);
        // Of a file with neither MAC nor encryption, no passphrase is wrong.
        if !key.is_empty() {
            assert_eq!(home.run(&format!("{import} --source-pin-env WRONG")).status.code(), Some(5), "{options}");
            assert_eq!(count(&home), before, "{options}");
        }
        assert_eq!(home.good(&format!("{import} --source-pin-env PASS"))["imported"], *objects, "{options}");
        if !key.is_empty() {
            let export = format!("object export --class private-key --label friend{at} --pin-env USER_PIN");
            assert_eq!(home.good(&export)["pem"].as_str().unwrap(), public(key), "{options}");
            let certificate = home.good(&format!("object list --class certificate --label friend{at}"));
            let private = home.good(&format!("object list --class private-key --label friend{at} --pin-env USER_PIN"));
            assert_eq!(certificate[0]["id"], private[0]["id"], "{options}");
        }
    }
    // The words of softhsm2-util.
    openssl(&home, "pkcs8 -topk8 -in ec.pem -passout pass:x1 -out util.pem");
    let util = format!("--import {} --token care --label util --id a1 --pin 123456", path("util.pem"));
    assert_eq!(home.run(&format!("{util} --file-pin wrong")).status.code(), Some(5));
    assert_eq!(home.good(&format!("{util} --file-pin x1"))["imported"], 2);
    assert_eq!(home.good("object list --label util --class public-key")[0]["id"], "a1");
    // Cut off anywhere, or with any byte changed, a file is refused; nothing is made, and nothing panics.
    let whole = std::fs::read(path("0.pfx")).unwrap();
    let before = count(&home);
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut torn = whole.clone();
        torn[at] ^= 0x41;
        for bytes in [&torn[..], &whole[..at]] {
            std::fs::write(path("torn.pfx"), bytes).unwrap();
            let torn =
                home.run(&format!("object import {} --pin-env USER_PIN --source-pin-env PASS", path("torn.pfx")));
            assert!(matches!(torn.status.code(), Some(1 | 5)), "{at}: {torn:?}");
        }
    }
    assert_eq!(count(&home), before);
}

/// NSS writes its PKCS#12 files without lengths (BER).
#[test]
fn what_pk12util_writes_is_imported() {
    let home = Home::token("nss");
    openssl(&home, "req -x509 -newkey rsa:2048 -nodes -keyout rsa.pem -out rsa.crt -subj /CN=rsa -days 30");
    openssl(&home, "pkcs12 -export -in rsa.crt -inkey rsa.pem -passout env:PASS -name friend -out in.pfx");
    let run = |program: &str, line: &str| {
        let done = Command::new(program).args(line.split_whitespace()).current_dir(&home.0).output().unwrap();
        assert!(done.status.success(), "{program} {line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::create_dir(home.0.join("db")).unwrap();
    std::fs::write(home.0.join("pass"), PASSPHRASE).unwrap();
    run("certutil", "-N -d db --empty-password");
    run("pk12util", "-i in.pfx -d db -w pass");
    run("pk12util", "-o out.pfx -n friend -d db -w pass");
    let file = home.0.join("out.pfx").display().to_string();
    assert_eq!(home.good(&format!("object import {file} --pin-env USER_PIN --source-pin-env PASS"))["imported"], 3);
    assert_eq!(
        home.good("object list --class private-key --label friend --pin-env USER_PIN").as_array().unwrap().len(),
        1
    );
}
