//! The policy: signed by the security officer, enforced when keys are made and used, also by processes that run already.

use std::path::{Path, PathBuf};

use cryptoki_sys::*;
use keyward::token::*;

use crate::harness::*;
use crate::program::{files, key, keyward, refused, run};
use crate::{c, ok};

/// Puts a policy into force while it lives; afterwards one that asks nothing, as other tests use the token too.
pub struct InForce(PathBuf);

pub const NEUTRAL: &str = "version = 1\nname = 'neutral'\n[protection]\nallow_wrap_and_decrypt = true\n\
                       allow_unwrap_and_encrypt = true\nallow_any_wrapping = true\n";

fn apply(path: &Path, text: &str) -> serde_json::Value {
    std::fs::write(path, text).unwrap();
    keyward(&["policy", "apply", path.to_str().unwrap(), "--so-pin-env", "KEYWARD_TEST_PIN"])
}

pub fn in_force(text: &str) -> InForce {
    let path = std::env::temp_dir().join(format!("keyward-lifecycle-{}-policy.toml", std::process::id()));
    apply(&path, &format!("version = 1\nname = 'test'\n{text}"));
    InForce(path)
}

impl Drop for InForce {
    fn drop(&mut self) {
        apply(&self.0, NEUTRAL);
        let _ = std::fs::remove_file(&self.0);
    }
}

fn aes(label: &str) -> Template {
    let template = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
    template.bytes(CKA_LABEL, label.as_bytes())
}

fn generate(session: CK_SESSION_HANDLE, template: Template, bytes: CK_ULONG) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let (by, mut template) = ([mechanism(CKM_AES_KEY_GEN)], template.number(CKA_VALUE_LEN, bytes));
    let (raw, mut made) = (template.raw(), 0);
    match c!(C_GenerateKey, session, ptr(&by), raw.as_mut_ptr(), len(raw), &raw mut made) {
        CKR_OK => Ok(made),
        rv => Err(rv),
    }
}

fn import(session: CK_SESSION_HANDLE, template: Template) -> CK_RV {
    let mut template = template;
    let (raw, mut made) = (template.raw(), 0);
    c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made)
}

fn starts(session: CK_SESSION_HANDLE, ty: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) -> [CK_RV; 2] {
    let by = [mechanism(ty)];
    let encrypt = c!(C_EncryptInit, session, ptr(&by), key);
    let decrypt = c!(C_DecryptInit, session, ptr(&by), key);
    ok!(C_SessionCancel, session, CKF_ENCRYPT | CKF_DECRYPT);
    [encrypt, decrypt]
}

fn truth(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> bool {
    value(session, key, ty).unwrap() == [CK_TRUE]
}

const DATA: &str = "[[class]]\nname = 'data'\nmatch = { label = ['data-*'] }\nkey_types = ['AES']\nmin_bits = { AES = 256 }\n\
                    uses = ['encrypt', 'decrypt']\nextractable = false\n";

#[test]
fn a_template_that_breaks_the_policy_makes_no_key_and_what_it_leaves_open_follows_the_policy() {
    let running = start();
    let session = running.session;
    let _policy = in_force(DATA);
    assert_eq!(generate(session, aes("data-1"), 16), Err(CKR_ATTRIBUTE_VALUE_INVALID), "too short");
    assert_eq!(generate(session, aes("data-1").yes(CKA_EXTRACTABLE), 32), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    assert_eq!(generate(session, aes("data-1").yes(CKA_SIGN), 32), Err(CKR_TEMPLATE_INCONSISTENT), "another use");
    let tagged = aes("data-1").bytes(CKA_KEYWARD_CLASS, b"nowhere");
    assert_eq!(generate(session, tagged, 32), Err(CKR_ATTRIBUTE_VALUE_INVALID), "no such class");
    let key = generate(session, aes("data-1"), 32).unwrap();
    let uses = [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_WRAP, CKA_UNWRAP].map(|ty| truth(session, key, ty));
    assert_eq!(uses, [true, true, false, false, false]);
    let import_as = |label: &str, value: &[u8]| import(session, aes(label).no(CKA_SENSITIVE).bytes(CKA_VALUE, value));
    assert_eq!(import_as("data-2", &[1; 16]), CKR_ATTRIBUTE_VALUE_INVALID);
    assert_eq!(import_as("data-2", &[1; 32]), CKR_OK);
    // Every key is protected against attacks by the API, also one that no class governs.
    let both = || aes("other").yes(CKA_WRAP).yes(CKA_DECRYPT);
    assert_eq!(generate(session, both(), 16), Err(CKR_TEMPLATE_INCONSISTENT));
    assert!(generate(session, aes("other").yes(CKA_WRAP).no(CKA_DECRYPT).no(CKA_ENCRYPT), 16).is_ok());
    // A key cannot become what it may not be made.
    let mut template = Template::new().yes(CKA_SIGN);
    assert_eq!(c!(C_SetAttributeValue, session, key, template.raw().as_mut_ptr(), 1), CKR_ACTION_PROHIBITED);
    let plain = generate(session, aes("plain").yes(CKA_SIGN), 16).unwrap();
    let mut template = Template::new().bytes(CKA_LABEL, b"data-3");
    assert_eq!(c!(C_SetAttributeValue, session, plain, template.raw().as_mut_ptr(), 1), CKR_ACTION_PROHIBITED);
}

#[test]
fn an_unwrapped_key_that_breaks_the_policy_does_not_stay() {
    let running = start();
    let session = running.session;
    let (kek, target) = (aes_key(session, &[1; 32]), aes_key(session, &[2; 16]));
    let kwp = [mechanism(CKM_AES_KEY_WRAP_KWP)];
    let wrapped = output(|out, out_len| c!(C_WrapKey, session, ptr(&kwp), kek, target, out, out_len)).unwrap();
    let _policy = in_force(DATA);
    let unwrap = |label: &str| {
        let (mut template, mut made) = (aes(label).yes(CKA_TOKEN), 0);
        let (raw, wrapped) = (template.raw(), &wrapped);
        let (at, count) = (raw.as_mut_ptr(), len(raw));
        c!(C_UnwrapKey, session, ptr(&kwp), kek, ptr(wrapped), len(wrapped), at, count, &raw mut made)
    };
    assert_eq!(unwrap("data-short"), CKR_ATTRIBUTE_VALUE_INVALID);
    assert!(find(session, Template::new().bytes(CKA_LABEL, b"data-short")).is_empty());
    assert_eq!(unwrap("not-governed"), CKR_OK);
    // Wrapping shows tampering, or it is no wrapping.
    let iv = [0u8; 16];
    let cbc = [CK_MECHANISM { mechanism: CKM_AES_CBC_PAD, pParameter: ptr(&iv).cast(), ulParameterLen: 16 }];
    let mut out_len = 0;
    let rv = c!(C_WrapKey, session, ptr(&cbc), kek, target, std::ptr::null_mut(), &raw mut out_len);
    assert_eq!(rv, CKR_MECHANISM_INVALID);
}

#[test]
fn a_policy_counts_at_the_next_use_of_a_key_that_was_found_before_it() {
    let running = start();
    let session = running.session;
    let key = generate(session, aes("used"), 16).unwrap();
    assert_eq!(starts(session, CKM_AES_ECB, key), [CKR_OK; 2]);
    let no = CKR_KEY_FUNCTION_NOT_PERMITTED;
    let class = |more: &str| format!("[[class]]\nname = 'c'\nmatch = {{ label = ['used', 'in-time'] }}\n{more}\n");
    {
        let _policy = in_force(&class("mechanisms = ['CKM_AES_GCM']"));
        assert_eq!(starts(session, CKM_AES_ECB, key), [no; 2]);
    }
    assert_eq!(starts(session, CKM_AES_ECB, key), [CKR_OK; 2], "and its end too");
    {
        let _policy = in_force(&class("who = { users = ['4294967294'] }"));
        assert_eq!(starts(session, CKM_AES_ECB, key), [no; 2]);
    }
    let program = std::env::current_exe().unwrap();
    {
        let _policy = in_force(&class(&format!("who = {{ executables = ['{}'] }}", program.display())));
        assert_eq!(starts(session, CKM_AES_ECB, key), [CKR_OK; 2]);
    }
    let dated = aes("in-time").bytes(CKA_END_DATE, b"20200101");
    let dated = generate(session, dated, 16).unwrap();
    assert_eq!(starts(session, CKM_AES_ECB, dated), [CKR_OK; 2], "the specification's dates are information");
    let _policy = in_force(&class("enforce_dates = true"));
    assert_eq!(starts(session, CKM_AES_ECB, dated), [no, CKR_OK], "unless the class says so");
}

#[test]
fn a_class_may_be_chosen_by_the_id() {
    let running = start();
    let session = running.session;
    let [of_class, other] =
        [[0xa1, 7], [0xb1, 7]].map(|id| generate(session, aes("id").bytes(CKA_ID, &id), 16).unwrap());
    let _policy = in_force(
        "[[class]]\nname = 'c'\nmatch = { id = ['A1*'] }\nmechanisms = ['CKM_AES_GCM']\nmin_bits = { AES = 256 }\n",
    );
    assert_eq!(starts(session, CKM_AES_ECB, of_class), [CKR_KEY_FUNCTION_NOT_PERMITTED; 2]);
    assert_eq!(starts(session, CKM_AES_ECB, other), [CKR_OK; 2]);
    let made = |id: &[u8]| generate(session, aes("id").bytes(CKA_ID, id), 16).map(drop);
    assert_eq!([made(&[0xa1]), made(&[0xb1])], [Err(CKR_ATTRIBUTE_VALUE_INVALID), Ok(())]);
    generate(session, aes("by-id").yes(CKA_TOKEN).bytes(CKA_ID, &[0xa1, 9]), 32).unwrap();
    let (exit, said) = refused(&crate::program::key_arguments("rotate", "by-id", &[]));
    assert!(exit == 6 && said.contains("class c has the key by what each version has of its own"), "{said}");
}

#[test]
fn a_class_may_be_chosen_by_any_attribute() {
    let running = start();
    let session = running.session;
    let [imported, made] = [import_aes(session, "by-attribute"), generate(session, aes("by-attribute"), 16).unwrap()];
    {
        // What the template does not say and the token fills in.
        let _policy = in_force(
            "[[class]]\nname = 'c'\nmatch = { attributes = { CKA_LOCAL = ['fal*'], CKA_TOKEN = ['false'] } }\n\
             mechanisms = ['CKM_AES_GCM']\nmin_bits = { AES = 256 }\n",
        );
        assert_eq!(starts(session, CKM_AES_ECB, imported), [CKR_KEY_FUNCTION_NOT_PERMITTED; 2]);
        assert_eq!(starts(session, CKM_AES_ECB, made), [CKR_OK; 2]);
        let short = aes("by-attribute").bytes(CKA_VALUE, &[7; 16]);
        assert_eq!(import(session, short), CKR_ATTRIBUTE_VALUE_INVALID);
        assert_eq!(import(session, aes("by-attribute").bytes(CKA_VALUE, &[7; 32])), CKR_OK);
        assert_eq!(find(session, Template::new().bytes(CKA_LABEL, b"by-attribute")).len(), 3, "the short one is gone");
        assert!(generate(session, aes("by-attribute"), 16).is_ok());
    }
    // A change of the attribute is a change of the class, at the next use.
    let _policy = in_force(
        "[protection]\nallow_wrap_and_decrypt = true\nallow_unwrap_and_encrypt = true\n\
         [[class]]\nname = 'c'\nmatch = { attributes = { CKA_START_DATE = ['2020*'] } }\nmechanisms = ['CKM_AES_GCM']\n",
    );
    assert_eq!(starts(session, CKM_AES_ECB, made), [CKR_OK; 2]);
    let mut dated = Template::new().bytes(CKA_START_DATE, b"20200101");
    let raw = dated.raw();
    ok!(C_SetAttributeValue, session, made, raw.as_mut_ptr(), len(raw));
    assert_eq!(starts(session, CKM_AES_ECB, made), [CKR_KEY_FUNCTION_NOT_PERMITTED; 2]);
}

fn import_aes(session: CK_SESSION_HANDLE, label: &str) -> CK_OBJECT_HANDLE {
    let mut template = aes(label).bytes(CKA_VALUE, &[7; 16]).yes(CKA_ENCRYPT).yes(CKA_DECRYPT);
    let (raw, mut made) = (template.raw(), 0);
    ok!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made);
    made
}

#[test]
fn a_class_is_not_chosen_by_what_is_hidden_or_changes_by_itself() {
    let _running = start();
    let path = std::env::temp_dir().join(format!("keyward-lifecycle-{}-asked.toml", std::process::id()));
    for (name, more, said) in [
        ("CKA_VALUE", "", "it is hidden"),
        ("CKA_WRAP_TEMPLATE", "", "it is hidden"),
        ("CKA_NONSENSE", "", "is no attribute"),
        ("CKA_KEYWARD_STATE", "", "changes by itself"),
        ("CKA_CHECK_VALUE", "rotation = 'automatic'\ncryptoperiod = '1y'\n", "a rotated key keeps"),
    ] {
        let class = format!("[[class]]\nname = 'c'\nmatch = {{ attributes = {{ {name} = ['*'] }} }}\n{more}");
        std::fs::write(&path, format!("{NEUTRAL}{class}")).unwrap();
        let (exit, message) = refused(&["policy", "check", "--no-token", path.to_str().unwrap()]);
        assert!(exit == 6 && message.contains(said), "{name}: {message}");
    }
    let _ = std::fs::remove_file(&path);
}

#[test]
fn destruction_waits_where_the_class_keeps_a_window_and_leaves_a_tombstone() {
    let running = start();
    let session = running.session;
    let _policy = in_force(
        "[[class]]\nname = 'kept'\nmatch = { label = ['kept-*'] }\nrecovery_window = '1d'\n\
                            [[class]]\nname = 'gone'\nmatch = { label = ['gone-*'] }\n",
    );
    let kept = generate(session, aes("kept-1").yes(CKA_TOKEN), 16).unwrap();
    ok!(C_DestroyObject, session, kept);
    let by = |label: &str| Template::new().bytes(CKA_LABEL, label.as_bytes());
    assert!(find(session, by("kept-1")).is_empty());
    assert_eq!(c!(C_DestroyObject, session, kept), CKR_OBJECT_HANDLE_INVALID);
    key("recover", "kept-1", &[]);
    assert_eq!(find(session, by("kept-1")), [kept]);
    let gone = generate(session, aes("gone-1").yes(CKA_TOKEN), 16).unwrap();
    ok!(C_DestroyObject, session, gone);
    let tombs = find(session, by("gone-1").number(CKA_KEYWARD_STATE, 5));
    assert_eq!(tombs.len(), 1);
    let mut entries = [
        CK_ATTRIBUTE { type_: CKA_KEYWARD_STATE, pValue: std::ptr::null_mut(), ulValueLen: 0 },
        CK_ATTRIBUTE { type_: CKA_KEYWARD_STATE_REASON, pValue: std::ptr::null_mut(), ulValueLen: 0 },
    ];
    ok!(C_GetAttributeValue, session, tombs[0], entries.as_mut_ptr(), 2);
    assert_eq!(entries[1].ulValueLen, "C_DestroyObject".len() as CK_ULONG);
}

#[test]
fn only_the_security_officer_signs_and_a_broken_policy_changes_nothing() {
    let running = start();
    let session = running.session;
    let _policy = in_force(DATA);
    let before = keyward(&["policy", "show"]);
    assert!(before["policy"].as_str().unwrap().contains("'data'"));
    let path = std::env::temp_dir().join(format!("keyward-lifecycle-{}-broken.toml", std::process::id()));
    for (text, said) in [
        ("version = 1\nname = 'x'\nnonsense = 1\n", "nonsense"),
        ("version = 1\nname = 'x'\n[[class]]\nname = 'c'\nmechanisms = ['CKM_ROT13']\n", "ROT13"),
        ("version = 1\nname = 'x'\n[[class]]\nname = 'c'\nkey_types = ['ENIGMA']\n", "ENIGMA"),
    ] {
        std::fs::write(&path, text).unwrap();
        let arguments = ["policy", "apply", path.to_str().unwrap(), "--so-pin-env", "KEYWARD_TEST_PIN"];
        let (exit, message) = refused(&arguments);
        assert!(exit == 6 && message.contains(said), "{text}: {message}");
    }
    std::fs::write(&path, NEUTRAL).unwrap();
    let wrong = ["policy", "apply", path.to_str().unwrap(), "--so-pin-env", "PATH"];
    assert_eq!(refused(&wrong).0, 5, "another PIN");
    assert_eq!(keyward(&["policy", "show"]), before);
    let _ = std::fs::remove_file(&path);
    // It is an object that only a search for its class shows, and nobody destroys it.
    let found = find(session, Template::new().number(CKA_CLASS, CKO_KEYWARD_POLICY));
    assert_eq!(found.len(), 1);
    assert_eq!(c!(C_DestroyObject, session, found[0]), CKR_ACTION_PROHIBITED);
    assert!(!find(session, Template::new().yes(CKA_TOKEN)).contains(&found[0]));
    let mut made = aes("x").bytes(CKA_VALUE, b"x");
    made = made.number(CKA_CLASS, CKO_KEYWARD_POLICY);
    assert_ne!(import(session, made), CKR_OK);
}

#[test]
fn check_says_what_breaks_a_policy_before_it_is_applied() {
    let running = start();
    let session = running.session;
    generate(session, aes("data-weak").yes(CKA_TOKEN), 16).unwrap();
    let path = std::env::temp_dir().join(format!("keyward-lifecycle-{}-check.toml", std::process::id()));
    std::fs::write(&path, format!("{NEUTRAL}{DATA}")).unwrap();
    let output = run(&["policy", "check", path.to_str().unwrap(), "--pin-env", "KEYWARD_TEST_PIN"]);
    assert_eq!(output.status.code(), Some(6));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let weak = report["breaks"].as_array().unwrap().iter().find(|b| b["key"].as_str().unwrap().contains("data-weak"));
    assert!(weak.unwrap()["why"].as_str().unwrap().contains("at least 256 bits"), "{report}");
    // A dry run of `apply` looks at the token too, without a PIN, and leaves it as it is.
    let before = keyward(&["policy", "show"]);
    generate(session, aes("data-open").yes(CKA_TOKEN).no(CKA_PRIVATE), 16).unwrap();
    let dry = keyward(&["policy", "apply", "--dry-run", path.to_str().unwrap()]);
    let moves: Vec<_> =
        dry["moves"].as_array().unwrap().iter().map(|m| m["key"].as_str().unwrap().to_owned()).collect();
    assert!(dry["done"] == false && moves.iter().any(|key| key.contains("data-open")), "{dry}");
    assert_eq!(keyward(&["policy", "show"]), before);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn the_examples_are_right() {
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policies");
    let mut count = 0;
    for entry in std::fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        keyward(&["policy", "check", "--no-token", path.to_str().unwrap()]);
        count += 1;
    }
    assert!(count >= 7);
}

#[test]
fn a_key_is_used_no_more_often_than_its_class_says() {
    let running = start();
    let session = running.session;
    let _policy = in_force(
        "[[class]]\nname = 'few'\nmatch = { label = ['few'] }\nusage_limit = 3\n\
                            [[class]]\nname = 'slow'\nmatch = { label = ['slow'] }\nrate_limit = '2/1h'\n",
    );
    let encrypts = |key: CK_OBJECT_HANDLE| {
        let by = [mechanism(CKM_AES_ECB)];
        let rv = c!(C_EncryptInit, session, ptr(&by), key);
        if rv == CKR_OK {
            ok!(C_SessionCancel, session, CKF_ENCRYPT);
        }
        rv
    };
    let no = CKR_KEY_FUNCTION_NOT_PERMITTED;
    let few = generate(session, aes("few").yes(CKA_TOKEN), 16).unwrap();
    assert_eq!([(); 5].map(|()| encrypts(few)), [CKR_OK, CKR_OK, CKR_OK, no, no]);
    let used = value(session, few, CKA_KEYWARD_USES).unwrap();
    assert_eq!(used, 3u64.to_ne_bytes(), "counted in the slot file, for other processes too");
    let by = [mechanism(CKM_AES_ECB)];
    assert_eq!(c!(C_DecryptInit, session, ptr(&by), few), CKR_OK, "what was encrypted is still decrypted");
    ok!(C_SessionCancel, session, CKF_DECRYPT);
    let slow = generate(session, aes("slow"), 16).unwrap();
    assert_eq!([(); 3].map(|()| encrypts(slow)), [CKR_OK, CKR_OK, no]);
}

#[test]
fn an_external_signer_keeps_its_rotation() {
    let running = start();
    let session = running.session;
    let _policy = in_force("[[class]]\nname = 'z'\nmatch = { label = ['zone-*'] }\nrotation = 'external'\n");
    generate(session, aes("zone-1").yes(CKA_TOKEN), 16).unwrap();
    let arguments = crate::program::key_arguments("rotate", "zone-1", &[]);
    let (exit, said) = refused(&arguments);
    assert!(exit == 6 && said.contains("external"), "{said}");
}

#[test]
fn a_policy_that_was_altered_in_the_slot_file_stops_every_use() {
    let running = start();
    let session = running.session;
    let policy = in_force(DATA);
    let key = generate(session, aes("safe"), 16).unwrap();
    assert_eq!(starts(session, CKM_AES_ECB, key), [CKR_OK; 2]);
    let slot = files().into_iter().find(|path| path.extension().is_some_and(|ext| ext == "slot")).unwrap();
    let connection = rusqlite::Connection::open(slot).unwrap();
    let found = find(session, Template::new().number(CKA_CLASS, CKO_KEYWARD_POLICY))[0];
    let row = ((found >> 1) & ((1 << 40) - 1)) as i64;
    let sealed: Vec<u8> = connection.query_row("SELECT attrs FROM obj WHERE id = ?1", [row], |row| row.get(0)).unwrap();
    let mut altered = sealed.clone();
    *altered.last_mut().unwrap() ^= 1;
    let put = |bytes: &[u8]| connection.execute("UPDATE obj SET attrs = ?1 WHERE id = ?2", (bytes, row)).unwrap();
    put(&altered);
    assert_eq!(starts(session, CKM_AES_ECB, key), [CKR_DEVICE_ERROR; 2]);
    put(&sealed);
    assert_eq!(starts(session, CKM_AES_ECB, key), [CKR_OK; 2]);
    drop(policy);
}

#[test]
fn hours_and_the_end_of_the_period_are_asked_at_every_use() {
    let running = start();
    let session = running.session;
    let key = generate(session, aes("timed"), 16).unwrap();
    let no = CKR_KEY_FUNCTION_NOT_PERMITTED;
    let class = |more: &str| format!("[[class]]\nname = 't'\nmatch = {{ label = ['timed', 'brief'] }}\n{more}\n");
    let seconds = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    {
        let _policy = in_force(&class("hours = 'Mo-Su 00:00-24:00'"));
        assert_eq!(starts(session, CKM_AES_ECB, key), [CKR_OK; 2]);
    }
    {
        // 1970-01-01 was a Thursday: three days from now it is another day for long enough.
        let days = ["Th", "Fr", "Sa", "Su", "Mo", "Tu", "We"];
        let another = days[((seconds() / 86_400 + 3) % 7) as usize];
        let _policy = in_force(&class(&format!("hours = '{another} 00:00-24:00'")));
        assert_eq!(starts(session, CKM_AES_ECB, key), [no; 2]);
    }
    let _policy = in_force(&class("cryptoperiod = '2s'\nprocess_period = '3s'"));
    let brief = generate(session, aes("brief"), 16).unwrap();
    let began = seconds();
    let mut seen = vec![starts(session, CKM_AES_ECB, brief)];
    while seconds() < began + 6 && *seen.last().unwrap() != [no; 2] {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = starts(session, CKM_AES_ECB, brief);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, [[CKR_OK, CKR_OK], [no, CKR_OK], [no, no]], "first it protects no more, then it opens nothing");
}

#[test]
fn no_key_is_wrapped_by_a_weaker_one_where_the_policy_says_so() {
    let running = start();
    let session = running.session;
    let kek = |label: &str, bytes| {
        let template = aes(label).yes(CKA_WRAP).no(CKA_DECRYPT).no(CKA_ENCRYPT);
        generate(session, template, bytes).unwrap()
    };
    let (weak, strong) = (kek("weak", 16), kek("strong", 32));
    let target = generate(session, aes("target").yes(CKA_EXTRACTABLE), 32).unwrap();
    let (short, kwp) =
        (generate(session, aes("short").yes(CKA_EXTRACTABLE), 16).unwrap(), [mechanism(CKM_AES_KEY_WRAP_KWP)]);
    let wrap = |kek, target| {
        let (mut out, mut out_len) = ([0u8; 64], 64);
        c!(C_WrapKey, session, ptr(&kwp), kek, target, out.as_mut_ptr(), &raw mut out_len)
    };
    assert_eq!([wrap(weak, target), wrap(strong, target)], [CKR_OK; 2]);
    let _policy = in_force("[protection]\nwrap_by_as_strong = true\n");
    let (yes, no) = (CKR_OK, CKR_WRAPPING_KEY_SIZE_RANGE);
    assert_eq!([wrap(weak, target), wrap(strong, target), wrap(weak, short)], [no, yes, yes]);
}

#[test]
fn who_asks_for_the_length_of_a_wrapped_key_has_not_used_the_wrapping_key() {
    let running = start();
    let session = running.session;
    let _policy = in_force("[[class]]\nname = 'two'\nmatch = { label = ['kek'] }\nusage_limit = 2\n");
    let kek = generate(session, aes("kek").yes(CKA_TOKEN).yes(CKA_WRAP).no(CKA_DECRYPT).no(CKA_ENCRYPT), 32).unwrap();
    let target = generate(session, aes("target").yes(CKA_EXTRACTABLE), 16).unwrap();
    let kwp = [mechanism(CKM_AES_KEY_WRAP_KWP)];
    let mut out_len = 0;
    for _ in 0..5 {
        ok!(C_WrapKey, session, ptr(&kwp), kek, target, std::ptr::null_mut(), &raw mut out_len);
    }
    let wrap = || {
        let (mut out, mut out_len) = ([0u8; 64], 64);
        c!(C_WrapKey, session, ptr(&kwp), kek, target, out.as_mut_ptr(), &raw mut out_len)
    };
    assert_eq!([wrap(), wrap(), wrap()], [CKR_OK, CKR_OK, CKR_WRAPPING_KEY_HANDLE_INVALID]);
}
