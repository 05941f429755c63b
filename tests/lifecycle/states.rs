//! States, dates, and the gate at every use, also for handles found earlier and for changes of another process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cryptoki_sys::*;
use keyward::token::*;

use crate::harness::*;
use crate::program::{files, key, key_arguments, refused};
use crate::{c, ok};

fn now() -> CK_ULONG {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn named(template: Template, label: &str) -> Template {
    template.yes(CKA_TOKEN).bytes(CKA_LABEL, label.as_bytes())
}

fn token_key(session: CK_SESSION_HANDLE, label: &str) -> CK_OBJECT_HANDLE {
    create(session, named(secret(CKK_AES).yes(CKA_DERIVE), label).bytes(CKA_VALUE, &[9; 16]))
}

fn p256(session: CK_SESSION_HANDLE, label: &str) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let public = named(Template::new().bytes(CKA_EC_PARAMS, P256), label);
    pair(session, CKM_EC_KEY_PAIR_GEN, public, named(Template::new().yes(CKA_DERIVE), label))
}

fn number(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
    value(session, object, ty).ok().map(|bytes| CK_ULONG::from_ne_bytes(bytes.try_into().unwrap()))
}

fn state(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_ULONG {
    number(session, object, CKA_KEYWARD_STATE).unwrap()
}

const PRE_ACTIVE: CK_ULONG = 1;
const ACTIVE: CK_ULONG = 2;
const DEACTIVATED: CK_ULONG = 3;
const COMPROMISED: CK_ULONG = 4;
const DESTROYED: CK_ULONG = 5;
const SUSPENDED: CK_ULONG = 6;
const PENDING: CK_ULONG = 7;

/// What `C_SignInit` says; an operation that began is finished.
fn sign(session: CK_SESSION_HANDLE, ty: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) -> CK_RV {
    let by = [mechanism(ty)];
    let rv = c!(C_SignInit, session, ptr(&by), key);
    if rv == CKR_OK {
        let (mut out, mut out_len) = ([0; 512], 512);
        ok!(C_Sign, session, ptr(&[7; 32]), 32, out.as_mut_ptr(), &raw mut out_len);
    }
    rv
}

fn begun(session: CK_SESSION_HANDLE, rv: CK_RV, flag: CK_FLAGS) -> CK_RV {
    if rv == CKR_OK {
        ok!(C_SessionCancel, session, flag);
    }
    rv
}

fn ecb(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> [CK_RV; 2] {
    let by = [mechanism(CKM_AES_ECB)];
    let encrypt = begun(session, c!(C_EncryptInit, session, ptr(&by), key), CKF_ENCRYPT);
    [encrypt, begun(session, c!(C_DecryptInit, session, ptr(&by), key), CKF_DECRYPT)]
}

fn wrap(session: CK_SESSION_HANDLE, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, CK_RV> {
    let by = [mechanism(CKM_AES_KEY_WRAP_KWP)];
    output(|out, out_len| c!(C_WrapKey, session, ptr(&by), wrapping, key, out, out_len))
}

fn unwrap(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, wrapped: &[u8]) -> CK_RV {
    let by = [mechanism(CKM_AES_KEY_WRAP_KWP)];
    let mut template = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
    let (raw, mut made) = (template.raw(), 0);
    let (at, count) = (raw.as_mut_ptr(), len(raw));
    c!(C_UnwrapKey, session, ptr(&by), key, ptr(wrapped), len(wrapped), at, count, &raw mut made)
}

fn derive(session: CK_SESSION_HANDLE, base: CK_OBJECT_HANDLE) -> CK_RV {
    let data = [5u8; 16];
    let params = CK_KEY_DERIVATION_STRING_DATA { pData: ptr(&data), ulLen: 16 };
    let by = [with(CKM_AES_ECB_ENCRYPT_DATA, &params)];
    let mut template = Template::new().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
    template = template.number(CKA_VALUE_LEN, 16);
    let (raw, mut made) = (template.raw(), 0);
    c!(C_DeriveKey, session, ptr(&by), base, raw.as_mut_ptr(), len(raw), &raw mut made)
}

#[test]
fn a_suspension_in_another_process_stops_a_handle_found_earlier_at_its_next_use() {
    let running = start();
    let session = running.session;
    let (public, private) = p256(session, "suspended-here");
    // Twice, so that the second use is restarted from the first.
    assert_eq!([sign(session, CKM_ECDSA, private), sign(session, CKM_ECDSA, private)], [CKR_OK; 2]);
    key("suspend", "suspended-here", &["--reason", "under investigation"]);
    assert_eq!(sign(session, CKM_ECDSA, private), CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_eq!((state(session, private), state(session, public)), (SUSPENDED, SUSPENDED), "both halves");
    let by = [mechanism(CKM_ECDSA)];
    let verify = begun(session, c!(C_VerifyInit, session, ptr(&by), public), CKF_VERIFY);
    assert_eq!(verify, CKR_OK, "what was signed is still verified");
    assert_eq!(value(session, private, CKA_KEYWARD_STATE_REASON).unwrap(), b"under investigation");
    let actor = value(session, private, CKA_KEYWARD_STATE_ACTOR).unwrap();
    assert!(String::from_utf8(actor).unwrap().ends_with("keyward key suspend"));
    let (exit, said) = refused(&key_arguments("suspend", "suspended-here", &["--reason", "again"]));
    assert!(exit == 6 && said.contains("only one that is active"), "{exit}: {said}");
    key("resume", "suspended-here", &[]);
    assert_eq!(sign(session, CKM_ECDSA, private), CKR_OK);
}

#[test]
fn each_state_refuses_with_the_code_that_the_function_lists() {
    let running = start();
    let session = running.session;
    let (key_a, target) = (token_key(session, "gate"), aes_key(session, &[3; 16]));
    let wrapped = wrap(session, key_a, target).unwrap();
    let copy = |object| {
        let (mut made, mut template) = (0, Template::new().no(CKA_TOKEN));
        c!(C_CopyObject, session, object, template.raw().as_mut_ptr(), 1, &raw mut made)
    };
    assert_eq!((ecb(session, key_a), derive(session, key_a), copy(key_a)), ([CKR_OK; 2], CKR_OK, CKR_OK));
    for (command, more, can_decrypt) in [
        ("suspend", &["--reason", "r"][..], true),
        ("deactivate", &[], true),
        ("revoke", &["--reason", "r", "--compromised"], false),
    ] {
        key(command, "gate", more);
        let no = CKR_KEY_FUNCTION_NOT_PERMITTED;
        assert_eq!(ecb(session, key_a), [no, if can_decrypt { CKR_OK } else { no }], "{command}");
        assert_eq!(wrap(session, key_a, target), Err(CKR_WRAPPING_KEY_HANDLE_INVALID), "{command}");
        let unwrapped = if can_decrypt { CKR_OK } else { CKR_UNWRAPPING_KEY_HANDLE_INVALID };
        assert_eq!(unwrap(session, key_a, &wrapped), unwrapped, "{command}");
        assert_eq!(derive(session, key_a), CKR_KEY_HANDLE_INVALID, "{command}");
        assert_eq!(copy(key_a), CKR_ACTION_PROHIBITED, "{command}");
    }
    assert_eq!(state(session, key_a), COMPROMISED);
    let other = aes_key(session, &[4; 16]);
    assert_eq!(wrap(session, other, key_a), Err(CKR_KEY_NOT_WRAPPABLE), "a compromised key does not leave");
    let (exit, _) = refused(&key_arguments("resume", "gate", &[]));
    assert_eq!((exit, state(session, key_a)), (6, COMPROMISED), "compromised is for good");
    let digest = [mechanism(CKM_SHA256)];
    ok!(C_DigestInit, session, ptr(&digest));
    assert_eq!(c!(C_DigestKey, session, key_a), CKR_KEY_INDIGESTIBLE);
}

#[test]
fn dates_act_by_themselves_and_show_in_the_standard_attributes() {
    let running = start();
    let session = running.session;
    let begin = now() + 2;
    let made = named(secret(CKK_AES), "dated").bytes(CKA_VALUE, &[1; 16]);
    let made = made.number(CKA_KEYWARD_ACTIVATION_DATE, begin).number(CKA_KEYWARD_DEACTIVATION_DATE, begin + 2);
    let key = create(session, made);
    let no = CKR_KEY_FUNCTION_NOT_PERMITTED;
    assert_eq!((state(session, key), ecb(session, key)), (PRE_ACTIVE, [no, no]));
    assert_eq!(value(session, key, CKA_START_DATE).unwrap().len(), 8, "mirrored to the day");
    let until = |second: CK_ULONG| {
        while now() < second {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(begin);
    assert_eq!(ecb(session, key), [CKR_OK; 2]);
    until(begin + 2);
    // Nothing has changed in the slot file: the clock alone decides.
    assert_eq!(ecb(session, key), [no, CKR_OK]);
}

#[test]
fn dates_that_contradict_each_other_make_no_key() {
    let running = start();
    let session = running.session;
    let template = secret(CKK_AES).bytes(CKA_VALUE, &[1; 16]).number(CKA_KEYWARD_ACTIVATION_DATE, now() + 100);
    let mut template = template.number(CKA_KEYWARD_DEACTIVATION_DATE, now() + 50);
    let (raw, mut made) = (template.raw(), 0);
    let rv = c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made);
    assert_eq!(rv, CKR_TEMPLATE_INCONSISTENT);
}

#[test]
fn an_application_neither_sets_nor_changes_the_state() {
    let running = start();
    let session = running.session;
    let key = token_key(session, "read-only-state");
    assert_eq!((state(session, key), number(session, key, CKA_KEYWARD_VERSION)), (ACTIVE, Some(1)));
    assert!(number(session, key, CKA_KEYWARD_CREATION_DATE).unwrap() >= now() - 60);
    let mut changed = Template::new().number(CKA_KEYWARD_STATE, SUSPENDED);
    let raw = changed.raw();
    assert_eq!(c!(C_SetAttributeValue, session, key, raw.as_mut_ptr(), 1), CKR_ATTRIBUTE_READ_ONLY);
    let mut made = 0;
    let mut template = secret(CKK_AES).bytes(CKA_VALUE, &[1; 16]).number(CKA_KEYWARD_STATE, ACTIVE);
    let raw = template.raw();
    let rv = c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made);
    assert_eq!(rv, CKR_ATTRIBUTE_READ_ONLY);
    let found = find(session, Template::new().bytes(CKA_LABEL, b"read-only-state").number(CKA_KEYWARD_STATE, ACTIVE));
    assert_eq!(found, [key], "the state that is implied is found");
}

#[test]
fn a_key_to_be_destroyed_is_hidden_and_can_be_recovered_until_it_is_purged() {
    let running = start();
    let session = running.session;
    let handle = token_key(session, "doomed");
    let by_label = || Template::new().bytes(CKA_LABEL, b"doomed");
    key("destroy", "doomed", &["--window", "1d"]);
    assert!(find(session, by_label()).is_empty());
    assert_eq!(ecb(session, handle), [CKR_KEY_HANDLE_INVALID; 2]);
    assert_eq!(value(session, handle, CKA_LABEL), Err(CKR_OBJECT_HANDLE_INVALID));
    assert_eq!(find(session, by_label().number(CKA_KEYWARD_STATE, PENDING)).len(), 1, "who asks for the state sees it");
    key("recover", "doomed", &[]);
    assert_eq!((find(session, by_label()), ecb(session, handle)), (vec![handle], [CKR_OK; 2]));
    key("destroy", "doomed", &[]);
    key("purge", "doomed", &["--reason", "end of contract"]);
    let tombs = find(session, by_label().number(CKA_KEYWARD_STATE, DESTROYED));
    assert_eq!(tombs.len(), 1, "a tombstone for the audit");
    assert_eq!(state(session, tombs[0]), DESTROYED);
    assert_eq!(refused(&key_arguments("recover", "doomed", &[])).0, 4);
    key("purge", "doomed", &["--leave-nothing"]);
    assert!(find(session, by_label().number(CKA_KEYWARD_STATE, DESTROYED)).is_empty());
}

/// Every sealed secret of the slot file, as the engine holds it.
fn sealed_secrets() -> Vec<Vec<u8>> {
    let slot = files().into_iter().find(|path| path.extension().is_some_and(|ext| ext == "slot")).unwrap();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(slot, flags).unwrap();
    let mut all = connection.prepare("SELECT secret FROM obj WHERE secret IS NOT NULL").unwrap();
    all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn anywhere(needle: &[u8]) -> bool {
    files().iter().any(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn a_purged_key_is_nowhere_in_the_slot_file_nor_in_its_log() {
    let running = start();
    let session = running.session;
    let before = sealed_secrets();
    // An RSA key's secret part, of some hundred bytes, and changes that leave older pages behind.
    let template = Template::new().number(CKA_MODULUS_BITS, 2048);
    pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, named(template, "to-purge"), named(Template::new(), "to-purge"));
    for label in ["filler-1", "filler-2", "filler-3"] {
        token_key(session, label);
    }
    let made: Vec<_> = sealed_secrets().into_iter().filter(|secret| !before.contains(secret)).collect();
    let rsa = made.iter().max_by_key(|secret| secret.len()).unwrap();
    let (head, tail) = (&rsa[..32], &rsa[rsa.len() - 32..]);
    assert!(rsa.len() > 500 && anywhere(head) && anywhere(tail), "the test finds what is there");
    key("suspend", "to-purge", &["--reason", "a change in between"]);
    assert!(anywhere(head));
    key("purge", "to-purge", &["--reason", "gone"]);
    assert!(!sealed_secrets().contains(rsa));
    assert!(!anywhere(head) && !anywhere(tail), "free pages and the log hold nothing of it");
}

#[test]
fn a_version_that_is_destroyed_elsewhere_while_in_use_fails_cleanly() {
    let running = start();
    let session = running.session;
    let handle = token_key(session, "in-use");
    let by = [mechanism(CKM_AES_ECB)];
    ok!(C_EncryptInit, session, ptr(&by), handle);
    key("purge", "in-use", &["--reason", "while it is used"]);
    // The operation that runs is finished; the next one has no key any more.
    let (mut out, mut out_len) = ([0; 16], 16);
    ok!(C_Encrypt, session, ptr(&[1; 16]), 16, out.as_mut_ptr(), &raw mut out_len);
    assert_eq!(ecb(session, handle), [CKR_KEY_HANDLE_INVALID; 2]);
}

#[test]
fn a_deactivated_key_has_its_end_date() {
    let running = start();
    let session = running.session;
    let handle = token_key(session, "ended");
    key("deactivate", "ended", &["--at", "+1d"]);
    assert_eq!((state(session, handle), ecb(session, handle)), (ACTIVE, [CKR_OK; 2]));
    key("deactivate", "ended", &[]);
    assert_eq!(state(session, handle), DEACTIVATED);
    assert_eq!(value(session, handle, CKA_END_DATE).unwrap().len(), 8);
    assert!(number(session, handle, CKA_KEYWARD_DEACTIVATION_DATE).unwrap() <= now());
}
