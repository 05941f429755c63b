//! Keys that are used up by signing: HOTP and HSS, and what verifies alone: XMSS, XMSS^MT.

use std::io::Read;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

fn hotp_key(session: CK_SESSION_HANDLE, template: Template) -> CK_OBJECT_HANDLE {
    let template = template.number(CKA_CLASS, CKO_OTP_KEY).number(CKA_KEY_TYPE, CKK_HOTP);
    create(session, template.bytes(CKA_VALUE, b"12345678901234567890"))
}

/// What `C_Sign` with CKM_HOTP gives: the value and the counter.
fn otp(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, params: &[CK_OTP_PARAM]) -> Result<(String, u64), CK_RV> {
    let given = CK_OTP_PARAMS { pParams: ptr(params), ulCount: len(params) };
    let mechanism = [with(CKM_HOTP, &given)];
    match c!(C_SignInit, session, ptr(&mechanism), key) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let mut needed = 0;
    ok!(C_Sign, session, null_mut(), 0, null_mut(), &raw mut needed);
    let mut out = vec![0u64; needed.div_ceil(8) as usize];
    match c!(C_Sign, session, null_mut(), 0, out.as_mut_ptr().cast(), &raw mut needed) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let (mut value, mut counter) = (None, None);
    // SAFETY: what the function says that it writes: a structure, and all it points to inside the same buffer.
    let info = unsafe { &*out.as_ptr().cast::<CK_OTP_SIGNATURE_INFO>() };
    let within = out.as_ptr() as usize..out.as_ptr() as usize + needed as usize;
    // SAFETY: as above.
    for param in unsafe { std::slice::from_raw_parts(info.pParams, info.ulCount as usize) } {
        assert!(within.contains(&(param.pValue as usize)), "it points into the caller's buffer");
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(param.pValue.cast::<u8>(), param.ulValueLen as usize) };
        match param.type_ {
            CK_OTP_VALUE => value = Some(String::from_utf8(bytes.to_vec()).unwrap()),
            CK_OTP_COUNTER => counter = Some(u64::from_be_bytes(bytes.try_into().unwrap())),
            CK_OTP_OUTPUT_FORMAT => assert_eq!(bytes, CK_OTP_FORMAT_DECIMAL.to_ne_bytes()),
            other => panic!("parameter {other}"),
        }
    }
    Ok((value.unwrap(), counter.unwrap()))
}

#[allow(non_snake_case)]
fn param(type_: CK_OTP_PARAM_TYPE, value: &[u8]) -> CK_OTP_PARAM {
    CK_OTP_PARAM { type_, pValue: ptr(value).cast(), ulValueLen: len(value) }
}

fn verify_otp(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, counter: &[u8], value: &[u8]) -> CK_RV {
    let params = [param(CK_OTP_COUNTER, counter)];
    let given = CK_OTP_PARAMS { pParams: ptr(&params), ulCount: u64::from(!counter.is_empty()) };
    match c!(C_VerifyInit, session, ptr(&[with(CKM_HOTP, &given)]), key) {
        CKR_OK => c!(C_Verify, session, null_mut(), 0, ptr(value), len(value)),
        rv => rv,
    }
}

/// RFC 4226, appendix D.
const VALUES: [&str; 10] =
    ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];

#[test]
fn hotp_counts_durably_and_gives_the_values_of_the_rfc() {
    let running = start();
    let session = running.session;
    for on_token in [CK_FALSE, CK_TRUE] {
        let key = hotp_key(session, Template::new().bytes(CKA_TOKEN, &[on_token]).yes(CKA_SIGN).yes(CKA_VERIFY));
        for (count, expected) in (0u64..).zip(VALUES) {
            assert_eq!(otp(session, key, &[]), Ok((expected.to_owned(), count)));
            assert_eq!(value(session, key, CKA_OTP_COUNTER), Ok((count + 1).to_be_bytes().to_vec()));
            assert_eq!(verify_otp(session, key, &count.to_be_bytes(), expected.as_bytes()), CKR_OK);
            assert_eq!(
                verify_otp(session, key, &(count + 1).to_be_bytes(), expected.as_bytes()),
                CKR_SIGNATURE_INVALID
            );
        }
        // A counter of the caller's, and another length, leave the key's own where it is.
        let (seven, eight) = (7u64.to_be_bytes(), 8u64.to_ne_bytes());
        assert_eq!(otp(session, key, &[param(CK_OTP_COUNTER, &seven)]), Ok((VALUES[7].to_owned(), 7)));
        let zero = 0u64.to_be_bytes();
        let longer = [param(CK_OTP_COUNTER, &zero), param(CK_OTP_OUTPUT_LENGTH, &eight)];
        assert_eq!(otp(session, key, &longer), Ok(("84755224".to_owned(), 0)));
        assert_eq!(value(session, key, CKA_OTP_COUNTER), Ok(10u64.to_be_bytes().to_vec()));
        ok!(C_DestroyObject, session, key);
    }
}

#[test]
fn hotp_refuses_what_its_key_or_the_rfc_does_not_allow() {
    let running = start();
    let session = running.session;
    let key = hotp_key(session, Template::new().yes(CKA_SIGN).yes(CKA_VERIFY));
    let (short, five, ten) = ([0u8; 7], 5u64.to_ne_bytes(), 10u64.to_ne_bytes());
    let (next, friendly) = (CKF_NEXT_OTP.to_ne_bytes(), CKF_USER_FRIENDLY_OTP.to_ne_bytes());
    let (hexadecimal, count) = (CK_OTP_FORMAT_HEXADECIMAL.to_ne_bytes(), 1u64.to_be_bytes());
    for bad in [
        param(CK_OTP_COUNTER, &short),
        param(CK_OTP_OUTPUT_LENGTH, &five),
        param(CK_OTP_OUTPUT_LENGTH, &ten),
        param(CK_OTP_FLAGS, &next),
        param(CK_OTP_FLAGS, &friendly),
        param(CK_OTP_OUTPUT_FORMAT, &hexadecimal),
        param(CK_OTP_VALUE, b"755224"),
        param(99, b""),
    ] {
        assert_eq!(otp(session, key, &[bad]), Err(CKR_MECHANISM_PARAM_INVALID), "type {}", bad.type_);
    }
    let twice = [param(CK_OTP_COUNTER, &count), param(CK_OTP_COUNTER, &count)];
    assert_eq!(otp(session, key, &twice), Err(CKR_MECHANISM_PARAM_INVALID));
    assert_eq!(verify_otp(session, key, &[], b"755224"), CKR_MECHANISM_PARAM_INVALID, "no counter");
    assert_eq!(verify_otp(session, key, &count, b"28708"), CKR_SIGNATURE_LEN_RANGE);
    // Data, where there is none, takes nothing from the key.
    ok!(C_SignInit, session, ptr(&[mechanism(CKM_HOTP)]), key);
    let (mut out, mut room) = ([0u8; 200], 200);
    assert_eq!(c!(C_Sign, session, ptr(b"x"), 1, out.as_mut_ptr(), &raw mut room), CKR_DATA_LEN_RANGE);
    assert_eq!(value(session, key, CKA_OTP_COUNTER), Ok(Vec::new()));
    // Neither messages nor another key.
    assert_eq!(c!(C_MessageSignInit, session, ptr(&[mechanism(CKM_HOTP)]), key), CKR_MECHANISM_INVALID);
    let aes = aes_key(session, &[1; 16]);
    assert_eq!(c!(C_SignInit, session, ptr(&[mechanism(CKM_HOTP)]), aes), CKR_KEY_TYPE_INCONSISTENT);
    // The last value of a counter is given, and no other after it.
    let last = (u64::MAX - 1).to_be_bytes();
    let key = hotp_key(session, Template::new().yes(CKA_SIGN).bytes(CKA_OTP_COUNTER, &last));
    assert_eq!(otp(session, key, &[]).map(|(_, count)| count), Ok(u64::MAX - 1));
    assert_eq!(otp(session, key, &[]), Err(CKR_KEY_EXHAUSTED));
}

#[test]
fn hotp_keys_are_generated_with_their_counter() {
    let running = start();
    let session = running.session;
    let generate = |mut template: Template| {
        let mut key = 0;
        let raw = template.raw();
        let rv =
            c!(C_GenerateKey, session, ptr(&[mechanism(CKM_HOTP_KEY_GEN)]), raw.as_mut_ptr(), len(raw), &raw mut key);
        if rv == CKR_OK { Ok(key) } else { Err(rv) }
    };
    let key = generate(Template::new().number(CKA_VALUE_LEN, 20).number(CKA_OTP_LENGTH, 8)).unwrap();
    assert_eq!(value(session, key, CKA_CLASS), Ok(CKO_OTP_KEY.to_ne_bytes().to_vec()));
    assert_eq!(value(session, key, CKA_OTP_COUNTER), Ok(vec![0; 8]));
    assert_eq!(otp(session, key, &[]).map(|(text, count)| (text.len(), count)), Ok((8, 0)));
    let key = generate(Template::new().number(CKA_VALUE_LEN, 32).bytes(CKA_OTP_COUNTER, &[0, 0, 0, 0, 0, 0, 1, 0]));
    assert_eq!(otp(session, key.unwrap(), &[]).map(|(_, count)| count), Ok(256));
    assert_eq!(generate(Template::new().number(CKA_VALUE_LEN, 15)), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    assert_eq!(generate(Template::new()), Err(CKR_TEMPLATE_INCOMPLETE));
    let hexadecimal = Template::new().number(CKA_VALUE_LEN, 20).number(CKA_OTP_FORMAT, CK_OTP_FORMAT_HEXADECIMAL);
    assert_eq!(generate(hexadecimal), Err(CKR_ATTRIBUTE_VALUE_INVALID));
}

fn numbers(list: &[CK_ULONG]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

fn hss_pair(
    session: CK_SESSION_HANDLE,
    trees: &[CK_ULONG],
    one_time: &[CK_ULONG],
    on_token: u8,
) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let private = Template::new()
        .number(CKA_HSS_LEVELS, trees.len() as CK_ULONG)
        .bytes(CKA_HSS_LMS_TYPES, &numbers(trees))
        .bytes(CKA_HSS_LMOTS_TYPES, &numbers(one_time))
        .bytes(CKA_TOKEN, &[on_token]);
    pair(session, CKM_HSS_KEY_PAIR_GEN, Template::new(), private)
}

fn sign(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, message: &[u8]) -> Result<Vec<u8>, CK_RV> {
    match c!(C_SignInit, session, ptr(&[mechanism(CKM_HSS)]), key) {
        CKR_OK => output(|out, room| c!(C_Sign, session, ptr(message), len(message), out, room)),
        rv => Err(rv),
    }
}

fn verify(
    session: CK_SESSION_HANDLE,
    ty: CK_MECHANISM_TYPE,
    key: CK_OBJECT_HANDLE,
    message: &[u8],
    signature: &[u8],
) -> CK_RV {
    ok!(C_VerifyInit, session, ptr(&[mechanism(ty)]), key);
    let rv = c!(C_Verify, session, ptr(message), len(message), ptr(signature), len(signature));
    // The same with the signature first, and the message in parts.
    ok!(C_VerifySignatureInit, session, ptr(&[mechanism(ty)]), key, ptr(signature), len(signature));
    for part in message.chunks(message.len() / 2 + 1) {
        ok!(C_VerifySignatureUpdate, session, ptr(part), len(part));
    }
    assert_eq!(c!(C_VerifySignatureFinal, session), rv);
    rv
}

fn remaining(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> u64 {
    let value = value(session, key, CKA_HSS_KEYS_REMAINING).unwrap();
    CK_ULONG::from_ne_bytes(value.try_into().unwrap())
}

/// The one-time key of a signature of one level.
fn leaf(signature: &[u8]) -> u32 {
    u32::from_be_bytes(signature[4..8].try_into().unwrap())
}

#[test]
fn hss_keys_sign_until_they_are_used_up() {
    let running = start();
    let session = running.session;
    for on_token in [CK_FALSE, CK_TRUE] {
        let (public, private) = hss_pair(session, &[10], &[6], on_token);
        for count in 0..32u32 {
            assert_eq!(remaining(session, private), u64::from(32 - count));
            // The length queries inside take nothing.
            let signature = sign(session, private, b"message").unwrap();
            assert_eq!(leaf(&signature), count);
            if count % 13 == 0 {
                assert_eq!(verify(session, CKM_HSS, public, b"message", &signature), CKR_OK);
                assert_eq!(verify(session, CKM_HSS, public, b"massage", &signature), CKR_SIGNATURE_INVALID);
                let cut = &signature[..signature.len() - 1];
                assert_eq!(verify(session, CKM_HSS, public, b"message", cut), CKR_SIGNATURE_LEN_RANGE);
            }
        }
        assert_eq!(remaining(session, private), 0);
        assert_eq!(sign(session, private, b"message"), Err(CKR_KEY_EXHAUSTED));
        ok!(C_DestroyObject, session, private);
        ok!(C_DestroyObject, session, public);
    }
}

#[test]
fn hss_keys_of_several_levels_say_what_they_are() {
    let running = start();
    let session = running.session;
    let (public, private) = hss_pair(session, &[5, 5], &[3, 3], CK_FALSE);
    for (ty, expected) in [(CKA_HSS_LEVELS, 2), (CKA_HSS_LMS_TYPE, 5), (CKA_HSS_LMOTS_TYPE, 3)] {
        assert_eq!(value(session, public, ty), Ok(CK_ULONG::to_ne_bytes(expected).to_vec()));
    }
    assert_eq!(value(session, private, CKA_KEY_GEN_MECHANISM), Ok(CKM_HSS_KEY_PAIR_GEN.to_ne_bytes().to_vec()));
    assert_eq!(remaining(session, private), 1024);
    // In parts.
    ok!(C_SignInit, session, ptr(&[mechanism(CKM_HSS)]), private);
    ok!(C_SignUpdate, session, ptr(b"mess"), 4);
    ok!(C_SignUpdate, session, ptr(b"age"), 3);
    let signature = output(|out, room| c!(C_SignFinal, session, out, room)).unwrap();
    assert_eq!(verify(session, CKM_HSS, public, b"message", &signature), CKR_OK);
    assert_eq!(remaining(session, private), 1023);
    // The public key by itself, as its value alone.
    let point = value(session, public, CKA_VALUE).unwrap();
    let again = Template::new().number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_HSS);
    let again = create(session, again.bytes(CKA_VALUE, &point));
    assert_eq!(value(session, again, CKA_HSS_LEVELS), Ok(2u64.to_ne_bytes().to_vec()));
    assert_eq!(verify(session, CKM_HSS, again, b"message", &signature), CKR_OK);
    assert_eq!(value(session, again, CKA_PUBLIC_KEY_INFO), value(session, private, CKA_PUBLIC_KEY_INFO));
}

/// Nothing that would let the same one-time key sign twice.
#[test]
fn an_hss_private_key_has_no_second_copy() {
    let running = start();
    let session = running.session;
    let (_, private) = hss_pair(session, &[5], &[2], CK_FALSE);
    assert_eq!(value(session, private, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
    let mut copy = 0;
    assert_eq!(c!(C_CopyObject, session, private, null_mut(), 0, &raw mut copy), CKR_ACTION_PROHIBITED);
    for (ty, open) in [(CKA_EXTRACTABLE, CK_TRUE), (CKA_SENSITIVE, CK_FALSE), (CKA_COPYABLE, CK_TRUE)] {
        let mut template = Template::new().bytes(ty, &[open]);
        let raw = template.raw();
        assert_ne!(c!(C_SetAttributeValue, session, private, raw.as_mut_ptr(), 1), CKR_OK);
        let mut template = Template::new()
            .number(CKA_HSS_LEVELS, 1)
            .bytes(CKA_HSS_LMS_TYPES, &numbers(&[5]))
            .bytes(CKA_HSS_LMOTS_TYPES, &numbers(&[2]))
            .bytes(ty, &[open]);
        let (raw, mut handles) = (template.raw(), (0, 0));
        let mechanism = [mechanism(CKM_HSS_KEY_PAIR_GEN)];
        let (public, private) = (&raw mut handles.0, &raw mut handles.1);
        let (template, count) = (raw.as_mut_ptr(), len(raw));
        let rv = c!(C_GenerateKeyPair, session, ptr(&mechanism), null_mut(), 0, template, count, public, private);
        assert_eq!(rv, CKR_ATTRIBUTE_VALUE_INVALID, "{ty:x}");
    }
    let wrapping = aes_key(session, &[1; 16]);
    let (mut out, mut room) = ([0; 9000], 9000);
    let wrapped = c!(
        C_WrapKey,
        session,
        ptr(&[mechanism(CKM_AES_KEY_WRAP_KWP)]),
        wrapping,
        private,
        out.as_mut_ptr(),
        &raw mut room
    );
    assert_eq!(wrapped, CKR_KEY_UNEXTRACTABLE);
    let mut template = Template::new()
        .number(CKA_CLASS, CKO_PRIVATE_KEY)
        .number(CKA_KEY_TYPE, CKK_HSS)
        .number(CKA_HSS_LEVELS, 1)
        .bytes(CKA_HSS_LMS_TYPES, &numbers(&[5]))
        .bytes(CKA_HSS_LMOTS_TYPES, &numbers(&[2]))
        .bytes(CKA_VALUE, &[0; 100]);
    let (raw, mut made) = (template.raw(), 0);
    assert_eq!(c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made), CKR_TEMPLATE_INCONSISTENT);
    // A reader of messages in a row would sign them with one init.
    assert_eq!(c!(C_MessageSignInit, session, ptr(&[mechanism(CKM_HSS)]), private), CKR_MECHANISM_INVALID);
}

#[test]
fn hss_parameters_that_do_not_fit_are_refused() {
    let running = start();
    let session = running.session;
    let generate = |levels: CK_ULONG, trees: &[CK_ULONG], one_time: &[CK_ULONG]| {
        let mut template = Template::new()
            .number(CKA_HSS_LEVELS, levels)
            .bytes(CKA_HSS_LMS_TYPES, &numbers(trees))
            .bytes(CKA_HSS_LMOTS_TYPES, &numbers(one_time));
        let (raw, mut handles) = (template.raw(), (0, 0));
        let mechanism = [mechanism(CKM_HSS_KEY_PAIR_GEN)];
        let (public, private) = (&raw mut handles.0, &raw mut handles.1);
        let (template, count) = (raw.as_mut_ptr(), len(raw));
        c!(C_GenerateKeyPair, session, ptr(&mechanism), null_mut(), 0, template, count, public, private)
    };
    assert_eq!(generate(2, &[5], &[2]), CKR_TEMPLATE_INCONSISTENT);
    assert_eq!(generate(1, &[5], &[2, 2]), CKR_TEMPLATE_INCONSISTENT);
    assert_eq!(generate(1, &[4], &[2]), CKR_ATTRIBUTE_VALUE_INVALID, "no such LMS type");
    assert_eq!(generate(1, &[5], &[17]), CKR_ATTRIBUTE_VALUE_INVALID, "no such LM-OTS type");
    assert_eq!(generate(1, &[5], &[6]), CKR_ATTRIBUTE_VALUE_INVALID, "32 bytes with 24");
    assert_eq!(generate(1, &[8], &[2]), CKR_ATTRIBUTE_VALUE_INVALID, "height 20");
    assert_eq!(generate(0, &[], &[]), CKR_ATTRIBUTE_VALUE_INVALID, "no level");
    assert_eq!(generate(9, &[5; 9], &[2; 9]), CKR_ATTRIBUTE_VALUE_INVALID, "nine levels");
}

/// Two sessions in two threads take turns on one key: no one-time key twice.
#[test]
fn sessions_share_an_hss_key_without_using_a_leaf_twice() {
    let running = start();
    let (_, private) = hss_pair(running.session, &[10], &[6], CK_TRUE);
    let slot = running.slot;
    let sign_some = move || {
        let session = open(slot);
        (0..10).map(|_| leaf(&sign(session, private, b"message").unwrap())).collect::<Vec<_>>()
    };
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(sign_some)).collect();
    let mut leaves: Vec<u32> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    leaves.sort_unstable();
    assert_eq!(leaves, (0..30).collect::<Vec<_>>());
    assert_eq!(remaining(running.session, private), 2);
    ok!(C_DestroyObject, running.session, private);
}

/// Run by [`processes_share_an_hss_key`] in processes of its own: signs with the token's HSS key, and prints each leaf once it has
/// the signature.
#[test]
#[ignore = "part of another test"]
fn child_that_signs() {
    if std::env::var_os("KEYWARD_TEST_CHILD").is_none() {
        return;
    }
    ok!(C_Initialize, null_mut());
    let (mut slots, mut count) = ([0; 4], 4);
    ok!(C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &raw mut count);
    let session = open(slots[0]);
    assert_eq!(login(session, CKU_USER), CKR_OK);
    let key = find(session, Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_HSS))[0];
    for _ in 0..8 {
        println!("\nleaf {}", leaf(&sign(session, key, b"message").unwrap()));
    }
    println!("\nfinished");
}

/// Three processes sign at once with one key, and one of them is killed in the middle: no leaf serves twice.
#[test]
fn processes_share_an_hss_key() {
    let running = start();
    let (_, private) = hss_pair(running.session, &[10], &[6], CK_TRUE);
    let child = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "stateful::child_that_signs", "--ignored", "--nocapture"]);
        command.env("KEYWARD_TEST_CHILD", "1").stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<_> = (0..3).map(|_| child()).collect();
    let mut victim = children.pop().unwrap();
    let mut printed = String::new();
    let mut out = std::io::BufReader::new(victim.stdout.take().unwrap());
    while !printed.contains("leaf") {
        assert_ne!(std::io::BufRead::read_line(&mut out, &mut printed).unwrap(), 0, "{printed}");
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    out.read_to_string(&mut printed).unwrap();
    for child in children {
        let done = child.wait_with_output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(text.contains("finished"), "{text}");
        printed.push_str(&text);
    }
    let mut leaves: Vec<u32> =
        printed.lines().filter_map(|line| line.trim().strip_prefix("leaf ")?.parse().ok()).collect();
    leaves.sort_unstable();
    assert!(leaves.len() >= 17, "{leaves:?}");
    assert!(leaves.windows(2).all(|pair| pair[0] < pair[1]), "{leaves:?}");
    // The next leaf is beyond all of them; what the killed one took is lost.
    let next = leaf(&sign(running.session, private, b"message").unwrap());
    assert!(leaves.iter().all(|leaf| *leaf < next), "{next} after {leaves:?}");
    ok!(C_DestroyObject, running.session, private);
}

/// Scheme, set, public key, message, signature.
fn published() -> Vec<[String; 5]> {
    let packed =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/stateful_signatures.txt.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()).collect()
}

/// Made by other implementations; see the file.
#[test]
fn signatures_of_other_implementations_are_verified() {
    let running = start();
    let session = running.session;
    let public = |ty| Template::new().number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, ty);
    for [scheme, set, value, message, signature] in published() {
        let [value, message, mut signature] = [value, message, signature].map(|text| hex::decode(text).unwrap());
        let number = CK_ULONG::from(u32::from_be_bytes(value[..4].try_into().unwrap()));
        let (ty, template) = match scheme.as_str() {
            "HSS" => (CKM_HSS, public(CKK_HSS)),
            "XMSS" => (CKM_XMSS, public(CKK_XMSS).number(CKA_PARAMETER_SET, number)),
            _ => (CKM_XMSSMT, public(CKK_XMSSMT).number(CKA_PARAMETER_SET, number)),
        };
        let key = create(session, template.bytes(CKA_VALUE, &value));
        assert_eq!(verify(session, ty, key, &message, &signature), CKR_OK, "{set}");
        assert_eq!(verify(session, ty, key, b"other", &signature), CKR_SIGNATURE_INVALID);
        for at in [0, 3, signature.len() / 3, signature.len() / 2, signature.len() - 1] {
            signature[at] ^= 0x10;
            assert_eq!(verify(session, ty, key, &message, &signature), CKR_SIGNATURE_INVALID, "{set}, byte {at}");
            signature[at] ^= 0x10;
        }
        signature.pop();
        assert_eq!(verify(session, ty, key, &message, &signature), CKR_SIGNATURE_LEN_RANGE);
    }
    // The set must be the value's own.
    let value = [&[0, 0, 0, 1][..], &[7; 64]].concat();
    let mut other = public(CKK_XMSS).number(CKA_PARAMETER_SET, 2).bytes(CKA_VALUE, &value);
    let (raw, mut made) = (other.raw(), 0);
    let rv = c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made);
    assert_eq!(rv, CKR_TEMPLATE_INCONSISTENT);
}
