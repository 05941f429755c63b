//! Every command of the program: what it answers where all is well, as one JSON document, and its exit code for each way
//! in which it can be refused.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;
use serde_json::Value;

use crate::harness::{Template, len, open, ptr, secret, value};
use crate::{Home, c, ok, text};

/// A command as it is given in the scene below, and what of this can go wrong with it:
/// `C` the configuration, `T` the token, `P` the user PIN, `S` the SO PIN, `O` the object.
struct Row(&'static str, &'static str, &'static str);

/// In the order in which they can be given. `@` is the scene's directory; a row without a command is a line for openssl.
const ROWS: &[Row] = &[
    Row("token init", "--label made --so-pin-env SO --pin-env ONE", "C"),
    Row("token list", "", "C"),
    Row("token info", "--token web", "CT"),
    Row("token verify", "--token web --pin-env ONE", "CTP"),
    Row("token compact", "--token web", "CT"),
    Row("token backup-file", "@/copy.slot --token web", "CT"),
    Row("token rotate-key", "--token web --so-pin-env SO --pin-env ONE", "CTPS"),
    Row("token accept", "--token web --pin-env ONE", "CTP"),
    Row("object list", "--token web --pin-env ONE", "CTP"),
    Row("object show", "--label tls --token web --pin-env ONE", "CTPO"),
    Row("object export", "--label tls --token web --pin-env ONE", "CTPO"),
    Row("object import", "@/ca.key @/ca.crt --label ca --token web --pin-env ONE", "CTP"),
    Row("object import-softhsm", "@/softhsm --source-pin-env SIX --token web --pin-env ONE", "CTP"),
    Row("object import-kryoptic", "@/token.sql --source-pin-env SIX --token web --pin-env ONE", "CTP"),
    Row("object delete", "--label aes --token web --pin-env ONE", "CTPO"),
    Row("key list", "--token web --pin-env ONE", "CTP"),
    Row("key show", "--label db --token web --pin-env ONE", "CTPO"),
    Row("key suspend", "--label db --reason test --token web --pin-env ONE", "CTPO"),
    Row("key resume", "--label db --token web --pin-env ONE", "CTPO"),
    Row("key schedule", "--label db --protect-stop +1y --token web --pin-env ONE", "CTPO"),
    Row("key rotate", "--label tls --stage --subject CN=x --csr @/tls.csr --token web --pin-env ONE", "CTPO"),
    Row("key request", "--label tls#v2 --subject CN=x --token web --pin-env ONE", "CTPO"),
    Row("", "x509 -req -in @/tls.csr -CA @/ca.crt -CAkey @/ca.key -out @/tls.crt -days 90", ""),
    Row("key certify", "@/tls.crt --label tls#v2 --token web --pin-env ONE", "CTPO"),
    Row("key activate", "--label tls#v2 --token web --pin-env ONE", "CTPO"),
    Row("key deactivate", "--label old --token web --pin-env ONE", "CTPO"),
    Row("key revoke", "--label old --reason test --compromised --token web --pin-env ONE", "CTPO"),
    Row("key destroy", "--label old --token web --pin-env ONE", "CTPO"),
    Row("key recover", "--label old --token web --pin-env ONE", "CTPO"),
    Row("key purge", "--label old --token web --pin-env ONE", "CTPO"),
    Row(
        "key import",
        "@/wrapped --wrapped-by kek --wrapping kwp --key-type AES --label imported --token web --pin-env ONE",
        "CTPO",
    ),
    Row("key rewrap", "@/wrapped --label kek --token web --pin-env ONE", "CTPO"),
    Row("key export", "--label db --format jwk --output @/db.jwk --token web --pin-env ONE", "CTPO"),
    Row("key transfer", "--label db --to-token mail --to-pin-env ONE --token web --pin-env ONE", "CTPO"),
    Row("maintain", "--token web --pin-env ONE", "CTP"),
    Row("migrate", "--from mail --to made --source-pin-env ONE --pin-env ONE --dry-run", "CP"),
    Row("audit show", "", "C"),
    Row("audit verify", "", "C"),
    Row("audit report", "", "C"),
    Row("audit export", "--output @/audit.jsonl", "C"),
    Row("audit rotate", "", "C"),
    Row("report compliance", "--token mail --pin-env ONE", "CTP"),
    Row("report html", "--token web --pin-env ONE --output @/web.html", "CTP"),
    Row("report metrics", "--token web --pin-env ONE --output @/web.prom", "CTP"),
    Row("policy init", "@/new.toml", ""),
    Row("policy check", "@/policy.toml --token web --pin-env ONE", "CTP"),
    Row("policy apply", "@/policy.toml --token web --so-pin-env SO", "CTS"),
    Row("policy show", "--token web", "CT"),
    Row("approval new-key", "@/alice.key --name alice", ""),
    Row(
        "approval sign",
        "--key @/alice.key --name alice --serial 0123456789abcdef --policy @/policy.toml --output @/a",
        "",
    ),
    Row("approval show", "@/a", ""),
    Row("approval request", "--serial 0123456789abcdef --policy @/policy.toml --output @/request", ""),
    Row("user add", "anna --role user --so-pin-env SO --new-pin-env TWO --token mail", "CTS"),
    Row("user list", "--token mail", "CT"),
    Row("user role", "anna --role operator --so-pin-env SO --token mail", "CTS"),
    Row("user pin", "anna --so-pin-env SO --new-pin-env ONE --token mail", "CTS"),
    Row("user totp enrol", "anna --so-pin-env SO --token mail", "CTS"),
    Row("user totp remove", "anna --so-pin-env SO --token mail", "CTS"),
    Row("user remove", "anna --so-pin-env SO --token mail", "CTS"),
    Row("pin change", "--token mail --pin-env ONE --new-pin-env TWO", "CTP"),
    Row("pin reset", "--token mail --so-pin-env SO --new-pin-env ONE", "CTS"),
    Row("backup create", "@/web.kwb --threshold 1 --custodian safe=print --token web", "CT"),
    Row("backup verify", "@/web.kwb --share @/web.kwb.share-1-safe.txt --pin-env ONE", ""),
    Row("backup drill", "@/web.kwb --share @/web.kwb.share-1-safe.txt --so-pin-env SO --pin-env ONE", "C"),
    Row("token delete", "--token web --so-pin-env SO", "CTS"),
    Row("backup restore", "@/web.kwb --share @/web.kwb.share-1-safe.txt --so-pin-env SO --pin-env ONE", "C"),
    Row("mechanisms", "", "C"),
    Row("config show", "", "C"),
    Row("doctor", "", ""),
    Row("completion", "bash", ""),
    Row("manual", "@/man", ""),
];

struct Scene(Home);

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    fn line(&self, line: &str) -> String {
        line.replace('@', self.0.0.to_str().unwrap())
    }

    fn openssl(&self, line: &str) {
        let line = self.line(line);
        let output = Command::new("openssl").args(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    }

    /// Two tokens, with a record kept, and no keys yet.
    fn bare() -> Scene {
        let scene = Scene(Home::new());
        scene.0.config("[pin]\nmax_failures = 3\n[audit]\n");
        for label in ["web", "mail"] {
            scene.0.done(&format!("token init --label {label} --so-pin-env SO --pin-env ONE"));
        }
        let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";
        scene.openssl(&format!("req -x509 {curve} -nodes -keyout @/ca.key -out @/ca.crt -subj /CN=ca -days 90"));
        // The scene's keys have every use.
        let protection = "[protection]\nallow_wrap_and_decrypt = true\nallow_unwrap_and_encrypt = true\n";
        std::fs::write(scene.path("policy.toml"), format!("version = 1\nname = \"test\"\n{protection}")).unwrap();
        let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/softhsm");
        std::os::unix::fs::symlink(samples, scene.path("softhsm")).unwrap();
        std::fs::write(scene.path("token.sql"), crate::kryoptic::sample()).unwrap();
        std::fs::create_dir(scene.path("man")).unwrap();
        // Without these their commands would not get as far as the token.
        std::fs::copy(scene.path("ca.crt"), scene.path("tls.crt")).unwrap();
        std::fs::write(scene.path("wrapped"), [0; 24]).unwrap();
        scene
    }

    /// And the keys that the rows name.
    fn new() -> Scene {
        let scene = Scene::bare();
        scene.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out @/tls.key");
        scene.0.done(&scene.line("object import @/tls.key --label tls --extractable --token web --pin-env ONE"));
        scene.make_secrets();
        scene
    }

    /// Secret keys, which no command makes: an application's.
    fn make_secrets(&self) {
        static ONE: Mutex<()> = Mutex::new(());
        let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let conf = self.path(".config/keyward/keyward.toml");
        // SAFETY: behind the lock of those that have the module, and it is not initialised yet.
        unsafe { std::env::set_var("KEYWARD_CONF", conf) };
        // SAFETY: as above.
        unsafe { std::env::set_var("HOME", &self.0.0) };
        ok!(C_Initialize, null_mut());
        let slot = self.0.done("token info --token web")["slot"].as_u64().unwrap();
        let session = open(slot);
        ok!(C_Login, session, CKU_USER, ptr(b"1234"), 4);
        let make = |label: &str, uses: [CK_ATTRIBUTE_TYPE; 2]| {
            let by = [crate::harness::mechanism(CKM_AES_KEY_GEN)];
            let uses = uses.into_iter().chain([CKA_EXTRACTABLE, CKA_TOKEN]);
            let template = Template::new().number(CKA_VALUE_LEN, 32).bytes(CKA_LABEL, label.as_bytes());
            let mut template = uses.fold(template, Template::yes);
            let (raw, mut key) = (template.raw(), 0);
            ok!(C_GenerateKey, session, ptr(&by), raw.as_mut_ptr(), len(raw), &raw mut key);
            assert_eq!(value(session, key, CKA_LABEL), Ok(label.as_bytes().to_vec()));
            key
        };
        let kek = make("kek", [CKA_WRAP, CKA_UNWRAP]);
        for label in ["db", "old"] {
            make(label, [CKA_ENCRYPT, CKA_DECRYPT]);
        }
        let passing = crate::harness::create(session, secret(CKK_AES).bytes(CKA_VALUE, &[7; 16]));
        let by = [crate::harness::mechanism(CKM_AES_KEY_WRAP_KWP)];
        let wrap = |out, room| c!(C_WrapKey, session, ptr(&by), kek, passing, out, room);
        std::fs::write(self.path("wrapped"), crate::harness::output(wrap).unwrap()).unwrap();
        ok!(C_Finalize, null_mut());
    }

    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        let output = self.0.command(&self.line(line)).envs(crate::PINS).env("SIX", "123456").output().unwrap();
        (output.status.code(), text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
    }

    /// The row's line with `old` in it replaced: this exit code, nothing on standard output, an error in JSON.
    #[track_caller]
    fn refused(&self, row: &Row, (old, new): (&str, &str), exit: i32) {
        assert!(row.1.contains(old), "{} has no {old}", row.0);
        let line = format!("{} {} --yes --json", row.0, row.1.replace(old, new));
        let (code, out, err) = self.run(&line);
        assert_eq!(code, Some(exit), "{line}: {err}");
        assert_eq!(out, "", "{line}");
        let error: Value = serde_json::from_str(&err).unwrap_or_else(|error| panic!("{line}: {error}: {err}"));
        assert_eq!(error["error"]["exit"], exit, "{line}");
        assert!(error["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{line}: {err}");
    }
}

/// Those of which this can go wrong.
fn rows(what: char) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.2.contains(what))
}

/// The commands below this one that have none below themselves, as the program's own help lists them.
fn leaves(home: &Home, words: &str, found: &mut Vec<String>) {
    let output = home.run(&format!("{words} --help"));
    assert_eq!(output.status.code(), Some(0), "{words} --help");
    let help = text(&output.stdout);
    let below = help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
    let names = below.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).filter(|n| *n != "help").collect();
    if names.is_empty() {
        assert!(help.contains("Example") && help.contains(&format!("keyward {words}")), "{words}: no example:\n{help}");
        found.push(words.to_owned());
    }
    for name in names {
        leaves(home, format!("{words} {name}").trim(), found);
    }
}

/// Commands about slots that lead to HSMs, which need one: their own tests have them.
const ELSEWHERE: &[&str] = &["ha ", "overlay "];

#[test]
fn every_command_is_in_the_table_and_has_its_example() {
    let mut found = Vec::new();
    leaves(&Home::new(), "", &mut found);
    let here = |words: &&str| !ELSEWHERE.iter().any(|group| words.starts_with(group));
    let found: BTreeSet<&str> = found.iter().map(String::as_str).filter(here).collect();
    let known: BTreeSet<&str> = ROWS.iter().map(|row| row.0).filter(|words| !words.is_empty()).collect();
    assert_eq!(found, known);
}

/// Commands that change nothing on a token, nor in its record.
const HARMLESS: &[&str] = &[
    "token list",
    "token info",
    "token verify",
    "token backup-file",
    "object list",
    "object show",
    "object export",
    "key list",
    "key show",
    "key request",
    "audit show",
    "audit verify",
    "audit report",
    "audit export",
    "report compliance",
    "report html",
    "report metrics",
    "policy init",
    "policy check",
    "policy show",
    "approval new-key",
    "approval sign",
    "approval show",
    "approval request",
    "user list",
    "backup verify",
    "mechanisms",
    "config show",
    "doctor",
    "completion",
    "manual",
];

/// These may find something in the scene, which is 7; `migrate` a key that may not leave.
const FINDERS: &[&str] = &["key list", "report compliance", "audit report", "migrate"];

impl Scene {
    /// The files that there are, and in each slot file the objects in their versions, and the PINs.
    fn state(&self) -> Vec<String> {
        let mut state = Vec::new();
        let mut directories = vec![self.0.0.clone()];
        while let Some(directory) = directories.pop() {
            for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                let name = path.display().to_string();
                match () {
                    () if path.is_dir() && !path.is_symlink() => directories.push(path),
                    () if name.ends_with(".slot") => state.push(format!("{name} {}", contents(&path))),
                    () if ["-wal", "-shm", "-lock"].iter().any(|end| name.ends_with(end)) => {}
                    () => state.push(name),
                }
            }
        }
        state.sort();
        state
    }
}

fn contents(slot_file: &std::path::Path) -> String {
    let connection = rusqlite::Connection::open(slot_file).unwrap();
    let sql = "SELECT (SELECT group_concat(id || '.' || version) FROM obj),
        (SELECT group_concat(role || hex(record)) FROM auth WHERE role < 3), hex(header) FROM meta";
    let row = connection.query_row(sql, [], |row| {
        let text = |at| row.get::<_, Option<String>>(at).map(Option::unwrap_or_default);
        Ok([text(0)?, text(1)?, text(2)?].join(" "))
    });
    row.unwrap()
}

/// One document of JSON each; and what is only tried changes nothing.
#[test]
fn every_command_answers_in_json_and_a_dry_run_changes_nothing() {
    let scene = Scene::new();
    let json = |line: &str, out: &str| {
        let answer: Result<Value, _> = serde_json::from_str(out);
        assert!(answer.is_ok_and(|answer| answer.is_object() || answer.is_array()), "{line}: {out}");
    };
    for Row(words, arguments, _) in ROWS {
        if words.is_empty() {
            scene.openssl(arguments);
            continue;
        }
        let dry = text(&scene.0.run(&format!("{words} --help")).stdout).contains("--dry-run");
        assert_eq!(dry, !HARMLESS.contains(words), "{words}");
        let line = format!("{words} {arguments} --yes --json");
        if dry {
            let before = scene.state();
            let dry = format!("{} --dry-run", line.replace(" --dry-run", ""));
            let (code, out, err) = scene.run(&dry);
            let found = FINDERS.contains(words) && code == Some(7);
            assert!(code == Some(0) || found, "{dry}: {code:?} {err}{out}");
            json(&dry, &out);
            assert_eq!(scene.state(), before, "{dry}");
        }
        let (code, out, err) = scene.run(&line);
        let found = FINDERS.contains(words) && code == Some(7);
        assert!(code == Some(0) || found, "{line}: {code:?} {err}{out}");
        json(&line, &out);
        assert_eq!(err, "", "{line}");
    }
}

#[test]
fn a_wrong_word_is_2_for_every_command() {
    let home = Home::new();
    for Row(words, ..) in ROWS.iter().filter(|row| !row.0.is_empty()) {
        let output = home.run(&format!("{words} --no-such-option"));
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(output.stdout.is_empty() && text(&output.stderr).contains("--no-such-option"), "{words}");
    }
    assert!(!home.data().exists());
}

#[test]
fn an_unusable_configuration_is_3_for_every_command_that_reads_it() {
    let scene = Scene::bare();
    scene.0.config("kdf = 'weak'\n");
    for row in rows('C') {
        scene.refused(row, ("", ""), 3);
    }
    // The others do not look at it.
    for row in ROWS.iter().filter(|row| row.2.is_empty() && !row.0.is_empty()) {
        let (code, ..) = scene.run(&format!("{} {}", row.0, row.1));
        assert_ne!(code, Some(3), "{}", row.0);
    }
}

#[test]
fn no_such_token_is_4_for_every_command_that_takes_one() {
    let scene = Scene::bare();
    for row in rows('T') {
        let token = if row.1.contains("--token web") { "--token web" } else { "--token mail" };
        scene.refused(row, (token, "--token nobody"), 4);
    }
}

#[test]
fn no_such_object_is_4_for_every_command_that_takes_one() {
    let scene = Scene::bare();
    for row in rows('O') {
        scene.refused(row, ("--label ", "--label no-"), 4);
    }
}

/// Every row in one of several scenes at the same time: after a wrong PIN a token lets its users wait.
fn in_turns(rows: Vec<&'static Row>, work: impl Fn(&Scene, &Row) + Sync) {
    const SCENES: usize = 6;
    std::thread::scope(|scope| {
        for first in 0..SCENES {
            let (rows, work) = (&rows, &work);
            scope.spawn(move || {
                let scene = Scene::bare();
                rows.iter().skip(first).step_by(SCENES).for_each(|row| work(&scene, row));
            });
        }
    });
}

#[test]
fn a_wrong_user_pin_is_5_for_every_command_that_takes_it() {
    in_turns(rows('P').filter(|row| row.0 != "migrate").collect(), |scene, row| {
        scene.refused(row, (" --pin-env ONE", " --pin-env WRONG"), 5);
        // A good one forgets the wrong one.
        let token = if row.1.contains("--token web") { "web" } else { "mail" };
        scene.0.done(&format!("token verify --token {token} --pin-env ONE"));
    });
}

#[test]
fn a_wrong_so_pin_is_5_for_every_command_that_takes_it() {
    in_turns(rows('S').collect(), |scene, row| scene.refused(row, ("--so-pin-env SO", "--so-pin-env WRONG"), 5));
}

#[test]
fn a_locked_pin_is_5_and_says_who_unlocks_it() {
    let scene = Scene::bare();
    std::thread::scope(|scope| {
        for token in ["web", "mail"] {
            let scene = &scene;
            scope.spawn(move || {
                for _ in 0..3 {
                    let (code, ..) = scene.run(&format!("token verify --token {token} --pin-env WRONG"));
                    assert_eq!(code, Some(5));
                }
            });
        }
    });
    for row in rows('P').filter(|row| !["migrate", "token rotate-key"].contains(&row.0)) {
        scene.refused(row, ("", ""), 5);
        let (_, _, said) = scene.run(&format!("{} {} --yes", row.0, row.1));
        assert!(said.contains("CKR_PIN_LOCKED") && said.contains("pin reset"), "{}: {said}", row.0);
    }
}
