use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keyward-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn find(&self, env: &[(&str, &str)]) -> Result<Config> {
        let env: HashMap<&str, OsString> = env.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
        Config::find(&|name| env.get(name).cloned(), &self.0.join("etc/keyward.toml"))
    }

    /// What `text` means, with a home.
    fn read(&self, text: &str) -> Result<Config> {
        let path = self.file("given.toml", text);
        self.find(&[("KEYWARD_CONF", path.to_str().unwrap()), ("HOME", "/home/nobody")])
    }

    fn complaint(&self, text: &str) -> String {
        let error = self.read(text).unwrap_err();
        assert_eq!(error.code(), Code::GeneralError);
        error.why().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_a_file_everything_lies_under_the_data_directory() {
    let scratch = Scratch::new();
    let config = scratch.find(&[("HOME", "/home/ada")]).unwrap();
    assert_eq!(config, Config::within(Path::new("/home/ada/.local/share/keyward")));
    assert_eq!(config.tokens, Path::new("/home/ada/.local/share/keyward/tokens"));
    let config = scratch.find(&[("HOME", "/home/ada"), ("XDG_DATA_HOME", "/data")]).unwrap();
    assert_eq!(config.device_secret, Path::new("/data/keyward/device.secret"));
}

#[test]
fn a_relative_xdg_directory_counts_as_unset() {
    let config = Scratch::new().find(&[("HOME", "/home/ada"), ("XDG_DATA_HOME", "data")]).unwrap();
    assert_eq!(config.tokens, Path::new("/home/ada/.local/share/keyward/tokens"));
}

#[test]
fn without_a_home_the_error_says_what_to_set() {
    let error = Scratch::new().find(&[]).unwrap_err();
    let why = error.why().unwrap();
    assert!(why.contains("HOME") && why.contains("KEYWARD_CONF") && why.contains("tokens"), "{why}");
}

#[test]
fn a_file_that_names_both_places_needs_no_home() {
    let scratch = Scratch::new();
    scratch.file("etc/keyward.toml", "tokens = '/srv/t'\ndevice_secret = '/srv/d'\n");
    assert_eq!(scratch.find(&[]).unwrap().tokens, Path::new("/srv/t"));
    scratch.file("etc/keyward.toml", "tokens = '/srv/t'\n");
    assert!(scratch.find(&[]).unwrap_err().why().unwrap().contains("HOME"));
}

#[test]
fn the_environments_file_comes_before_the_users_and_that_before_the_systems() {
    let scratch = Scratch::new();
    let home = scratch.0.to_str().unwrap();
    let system = scratch.file("etc/keyward.toml", "free_slot = 'never'");
    assert_eq!(scratch.find(&[("HOME", home)]).unwrap().source, Some(system));
    let user = scratch.file(".config/keyward/keyward.toml", "free_slot = 'always'");
    assert_eq!(scratch.find(&[("HOME", home)]).unwrap().source, Some(user));
    let xdg = scratch.file("xdg/keyward/keyward.toml", "");
    let xdg_home = scratch.0.join("xdg");
    let env = [("HOME", home), ("XDG_CONFIG_HOME", xdg_home.to_str().unwrap())];
    assert_eq!(scratch.find(&env).unwrap().source, Some(xdg));
    let named = scratch.file("named.toml", "");
    let env = [("HOME", home), ("KEYWARD_CONF", named.to_str().unwrap())];
    assert_eq!(scratch.find(&env).unwrap().source, Some(named));
}

#[test]
fn a_file_named_by_the_environment_must_be_there() {
    let scratch = Scratch::new();
    let error = scratch.find(&[("HOME", "/home/ada"), ("KEYWARD_CONF", "/nowhere/k.toml")]).unwrap_err();
    assert!(error.why().unwrap().contains("/nowhere/k.toml"));
    assert!(scratch.find(&[("HOME", "/home/ada"), ("KEYWARD_CONF", "")]).is_ok(), "an empty variable counts as unset");
}

#[test]
fn every_key_takes_effect() {
    let scratch = Scratch::new();
    let config = scratch
        .read(
            "tokens = '/t'\ndevice_secret = '/d'\nfree_slot = 'always'\nmechanisms = 'all'\nkdf = 'strong'\n\
             ecdsa_nonces = 'deterministic'\n[pin]\nmin_len = 6\nmax_len = 32\nmax_failures = 3\n\
             require = ['letter', 'digit']\nrefuse_simple = true\n[log]\nlevel = 'debug'\nfile = '/l'\n\
             [audit]\ndirectory = '/a'\nlogin = 'off'\nkey_use = 'required'\npublic_use = 'durable'\nmax_size = 5000\n\
             redact = ['host', 'exe', 'label']\n",
        )
        .unwrap();
    let expected = Config {
        source: config.source.clone(),
        tokens: "/t".into(),
        device_secret: "/d".into(),
        free_slot: FreeSlot::Always,
        mechanisms: Mechanisms::All,
        ecdsa_nonces: EcdsaNonces::Deterministic,
        kdf: KdfPreset::Strong,
        pin: PinRules {
            min_len: 6,
            max_len: 32,
            max_failures: 3,
            require: vec![PinKind::Letter, PinKind::Digit],
            refuse_simple: true,
        },
        log: LogRules { level: LogLevel::Debug, file: Some("/l".into()) },
        audit: Some(AuditRules {
            directory: "/a".into(),
            login: AuditMode::Off,
            key_use: AuditMode::Required,
            public_use: AuditMode::Durable,
            max_size: 5000,
            redact: vec![AuditField::Host, AuditField::Exe, AuditField::Label],
        }),
        slots: Vec::new(),
        ha: Vec::new(),
    };
    assert_eq!(config, expected);
}

#[test]
fn the_record_lies_beside_the_tokens_unless_it_is_said_where() {
    let scratch = Scratch::new();
    assert_eq!(scratch.read("tokens = '/srv/k/tokens'").unwrap().audit, None);
    let audit = scratch.read("tokens = '/srv/k/tokens'\n[audit]").unwrap().audit.unwrap();
    assert_eq!(audit, AuditRules::within("/srv/k/audit".into()));
    for wrong in ["max_size = 1", "key_use = 'always'", "redact = ['pin']"] {
        assert!(scratch.complaint(&format!("[audit]\n{wrong}")).contains("line 2"), "{wrong}");
    }
}

#[test]
fn paths_may_start_at_the_home_or_at_the_file() {
    let scratch = Scratch::new();
    let config = scratch.read("tokens = '~/keys'\ndevice_secret = 'secret'").unwrap();
    assert_eq!(config.tokens, Path::new("/home/nobody/keys"));
    assert_eq!(config.device_secret, scratch.0.join("secret"));
    assert!(scratch.complaint("tokens = ''").contains("line 1"));
    scratch.file("etc/keyward.toml", "tokens = '~/t'\ndevice_secret = '/d'");
    assert!(scratch.find(&[]).unwrap_err().why().unwrap().contains("HOME"));
}

#[test]
fn mechanisms_are_a_word_or_a_list() {
    let scratch = Scratch::new();
    let read = |text: &str| scratch.read(text).unwrap().mechanisms;
    assert_eq!(read("mechanisms = 'modern'"), Mechanisms::Modern);
    assert_eq!(read("mechanisms = 'approved'"), Mechanisms::Approved);
    assert_eq!(
        read("mechanisms = ['AES_GCM', 'CKM_ECDSA']"),
        Mechanisms::Only(vec!["AES_GCM".into(), "CKM_ECDSA".into()])
    );
    assert_eq!(read("mechanisms = ['-SHA_1']"), Mechanisms::Without(vec!["SHA_1".into()]));
    for wrong in ["'ancient'", "[]", "['A', '-B']", "[1]", "true"] {
        let said = scratch.complaint(&format!("kdf = 'strong'\nmechanisms = {wrong}"));
        assert!(said.contains("line 2") && said.contains("\"modern\""), "{said}");
    }
}

#[test]
fn a_mistake_is_told_with_file_line_and_what_was_expected() {
    let scratch = Scratch::new();
    for (text, line, word) in [
        ("\n\ntoken = '/t'", 3, "tokens"),
        ("free_slot = 'sometimes'", 1, "always"),
        ("ecdsa_nonces = 'none'", 1, "deterministic"),
        ("kdf = 7", 1, "string"),
        ("[pin]\nmin_len = 0", 2, "1 to 255"),
        ("[pin]\nmax_len = 256", 2, "1 to 255"),
        ("[pin]\nmin_len = 9\nmax_len = 8", 2, "1 to 8"),
        ("[pin]\nrequire = ['digits']", 2, "symbol"),
        ("[pin]\nrefuse_simple = 'yes'", 2, "boolean"),
        ("[pin]\nmax_failures = 0", 2, "1000000"),
        ("[pin]\nmax_failures = -1", 2, "u32"),
        ("[log]\nlevel = 'loud'", 2, "debug"),
        ("[log]\ncolour = true", 2, "level"),
        ("tokens = '/a'\ntokens = '/b'", 2, "duplicate"),
        ("tokens = \n", 1, "line 1"),
        ("[[slot]]\nkind = 'soft'", 2, "forward"),
        ("[[slot]]\nkind = 'forward'", 1, "module"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\ntoken = 'a'\nserial = '1'", 1, "not several"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\npin = '1234'", 4, "file:PATH"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\nobjects = ['web']", 4, "pkcs11:"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\nvendor_mechanisms = ['ECDSA']", 4, "0x80000001"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\ncolour = 'red'", 4, "unknown field"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\ndeadline = 5", 4, "isolate = true"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\nisolate = true\ndeadline = 0", 5, "86400"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\nisolate = false\nhelper = '/h'", 5, "isolate = true"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\nisolate = true\nenvironment = { 'a=b' = 'c' }", 5, "variable"),
        ("[[slot]]\nmodule = '/m'", 1, "no `kind`"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\nmirror = 'pin'", 1, "kind = \"ha\""),
        ("[[slot]]\nkind = 'ha'", 1, "label"),
        ("[[slot]]\nkind = 'ha'\nlabel = 'x'\noverlay = '../x'", 1, "lower-case letters"),
        (
            "[[slot]]\nkind = 'ha'\nlabel = 'x'\noverlay = 'x'\n[[slot.member]]\nname = 'a'\nmodule = '/m'\nsessions = 1",
            1,
            "more than one session",
        ),
        ("[[slot]]\nkind = 'ha'\nlabel = 'x'\nmodule = '/m'", 1, "[[slot.member]]"),
        ("[[slot]]\nkind = 'ha'\nlabel = 'x'\n[[slot.member]]\nname = 'a'\nmodule = '/m'", 1, "two or more"),
        ("[[slot]]\nkind = 'ha'\nlabel = 'x'\n[[slot.member]]\nmodule = '/m'", 4, "`name`"),
        (
            "[[slot]]\nkind = 'ha'\nlabel = 'x'\nmirror = 'wrap'\n[[slot.member]]\nname = 'a'\nmodule = '/m'\n[[slot.member]]\nname = 'b'\nmodule = '/n'",
            1,
            "wrapping_key",
        ),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\noverlay = '../x'", 1, "lower-case letters"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\noverlay = '0123456789abcdef'", 1, "lower-case letters"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\noverlay = 'x'\nsecurity_officer = true", 1, "administrator"),
        ("[[slot]]\nkind = 'forward'\nmodule = '/m'\noverlay = 'x'\nsessions = 1", 1, "more than one session"),
        (
            "[[slot]]\nkind = 'forward'\nmodule = '/m'\ninit_args = 'a'\n[[slot]]\nkind = 'forward'\nmodule = '/m'\ntoken = 'b'",
            5,
            "init_args",
        ),
        (
            "[[slot]]\nkind = 'forward'\nmodule = '/m'\n[[slot]]\nkind = 'ha'\nlabel = 'x'\n[[slot.member]]\nname = 'a'\nmodule = '/n'\n[[slot.member]]\nname = 'b'\nmodule = '/m'\nquirks = 'luna'",
            4,
            "quirks",
        ),
    ] {
        let said = scratch.complaint(text);
        assert!(said.contains(&format!("given.toml, line {line}: ")) && said.contains(word), "{text:?}: {said}");
        assert!(!said.contains('\n'), "one log line: {said}");
    }
}

#[test]
fn new_pins_are_held_against_the_rules() {
    let rules = |require: &[PinKind], refuse_simple| PinRules {
        require: require.to_vec(),
        refuse_simple,
        ..PinRules::default()
    };
    let code = |rules: &PinRules, pin: &str| rules.check(pin.as_bytes()).err().map(|error| error.code());
    let plain = rules(&[], false);
    assert_eq!((code(&plain, "1111"), code(&plain, "111")), (None, Some(Code::PinLenRange)));
    let all = [PinKind::Lower, PinKind::Upper, PinKind::Digit, PinKind::Symbol];
    let strict = rules(&all, false);
    assert_eq!(code(&strict, "aB3$"), None);
    for lacking in ["AB3$", "ab3$", "aBc$", "aB34"] {
        assert_eq!(code(&strict, lacking), Some(Code::PinTooWeak), "{lacking}");
    }
    let letters = rules(&[PinKind::Letter], false);
    assert_eq!((code(&letters, "12é4"), code(&letters, "1234")), (None, Some(Code::PinTooWeak)));
    assert_eq!(letters.check(&[b'1', b'2', b'3', 0xe9]).err(), None, "Latin-1");
    let subtle = rules(&[], true);
    for simple in ["1111", "1234", "dcba", "éééé"] {
        assert_eq!(code(&subtle, simple), Some(Code::PinTooWeak), "{simple}");
    }
    for fine in ["1224", "1357", "123a", "9012"] {
        assert_eq!(code(&subtle, fine), None, "{fine}");
    }
}

#[test]
fn a_lower_maximum_alone_lowers_the_minimum() {
    assert_eq!(Scratch::new().read("[pin]\nmax_len = 2").unwrap().pin.min_len, 2);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_passed_over() {
    let scratch = Scratch::new();
    let user = scratch.0.join(".config/keyward/keyward.toml");
    std::fs::create_dir_all(&user).unwrap();
    let error = scratch.find(&[("HOME", scratch.0.to_str().unwrap())]).unwrap_err();
    assert!(error.why().unwrap().contains("is a directory"), "{error}");
    std::fs::remove_dir(&user).unwrap();
    std::fs::write(&user, [0xff, 0xfe]).unwrap();
    assert!(scratch.find(&[("HOME", scratch.0.to_str().unwrap())]).unwrap_err().why().unwrap().contains("UTF-8"));
    std::fs::set_permissions(&user, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser reads any file: then the text itself is what is wrong.
    assert!(scratch.find(&[("HOME", scratch.0.to_str().unwrap())]).is_err());
}

#[test]
fn the_environment_sets_the_log() {
    let scratch = Scratch::new();
    let home = ("HOME", "/home/ada");
    let config = scratch.find(&[home, ("KEYWARD_LOG", "debug"), ("KEYWARD_LOG_FILE", "/tmp/l")]).unwrap();
    assert_eq!(config.log, LogRules { level: LogLevel::Debug, file: Some("/tmp/l".into()) });
    let error = scratch.find(&[home, ("KEYWARD_LOG", "loud")]).unwrap_err();
    assert!(error.why().unwrap().contains("KEYWARD_LOG=loud"));
}
