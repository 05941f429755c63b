//! The functions of PKCS#11 3.0 and 3.2, which Keyward behind the faulty module offers: what they do through a slot, and any code or
//! number at any of them.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::modules::{add_users, inner, login_as};
use crate::scene::*;
use crate::{c, ok};

const GCM: CK_ULONG = size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG;

/// The slot's lines, in front of Keyward behind the faulty module, both in one process of their own.
fn started() -> Running {
    let scene = Scene::new();
    inner(&scene, "inner");
    add_users(&scene, "inner", &["anna"]);
    let lines = format!(
        "token = 'inner'\nisolate = true\nenvironment = {{ KEYWARD_CONF = '{}', FAULTY_MODULE = '{}', FAULTY_INTERFACE = '3.2' }}",
        scene.place.join("inner.toml").display(),
        library().display()
    );
    scene.start(faulty(), &lines)
}

/// Which functions said `CKR_OK`.
#[derive(Default)]
struct Went(Vec<&'static str>);

/// Calls it, and takes note; whether it said `CKR_OK`.
macro_rules! went {
    ($went:ident, $name:ident $(, $arg:expr)* $(,)?) => {{
        let ok = c!($name $(, $arg)*) == CKR_OK;
        if ok {
            $went.0.push(stringify!($name));
        }
        ok
    }};
}

fn message_params<'a>(iv: &'a mut [u8; 12], tag: &'a mut [u8; 16]) -> [CK_GCM_MESSAGE_PARAMS; 1] {
    [CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_NO_GENERATE,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 128,
    }]
}

fn sealed_messages(went: &mut Went, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) {
    let (mut iv, mut tag, data, by) = ([3; 12], [0; 16], [7u8; 40], [plain(CKM_AES_GCM)]);
    let params = message_params(&mut iv, &mut tag);
    let p = ptr(&params).cast();
    let (mut out, mut out_len, mut rest_len, mut back) = ([0u8; 128], 64, 64, [0u8; 128]);
    if went!(went, C_MessageEncryptInit, session, ptr(&by), key) {
        went!(
            went,
            C_EncryptMessage,
            session,
            p,
            GCM,
            null_mut(),
            0,
            ptr(&data),
            40,
            out.as_mut_ptr(),
            &raw mut out_len
        );
        if went!(went, C_EncryptMessageBegin, session, p, GCM, null_mut(), 0) {
            out_len = 64;
            let (out, len, rest) = (out.as_mut_ptr(), &raw mut out_len, ptr(&data[16..]));
            went!(went, C_EncryptMessageNext, session, p, GCM, ptr(&data), 16, out, len, 0);
            // SAFETY: behind what the first part wrote there is room for the rest.
            let (behind, len) = (unsafe { out.add(16) }, &raw mut rest_len);
            went!(went, C_EncryptMessageNext, session, p, GCM, rest, 24, behind, len, CKF_END_OF_MESSAGE);
        }
        went!(went, C_MessageEncryptFinal, session);
    }
    let (mut whole_len, mut part_len, mut last_len) = (64, 64, 64);
    if went!(went, C_MessageDecryptInit, session, ptr(&by), key) {
        let (back, rest) = (back.as_mut_ptr(), ptr(&out[16..]));
        went!(went, C_DecryptMessage, session, p, GCM, null_mut(), 0, ptr(&out), 40, back, &raw mut whole_len);
        if went!(went, C_DecryptMessageBegin, session, p, GCM, null_mut(), 0) {
            went!(went, C_DecryptMessageNext, session, p, GCM, ptr(&out), 16, back, &raw mut part_len, 0);
            let (len, flags) = (&raw mut last_len, CKF_END_OF_MESSAGE);
            went!(went, C_DecryptMessageNext, session, p, GCM, rest, 24, back, len, flags);
        }
        went!(went, C_MessageDecryptFinal, session);
    }
    std::hint::black_box((&mut iv, &mut tag));
}

fn signed_messages(went: &mut Went, session: CK_SESSION_HANDLE, public: CK_OBJECT_HANDLE, private: CK_OBJECT_HANDLE) {
    let (by, data, none) = ([plain(CKM_ECDSA_SHA256)], [7u8; 40], null_mut());
    let (mut out, mut out_len) = ([0u8; 64], 64);
    if went!(went, C_MessageSignInit, session, ptr(&by), private) {
        if went!(went, C_SignMessageBegin, session, none, 0) {
            let len = &raw mut out_len;
            went!(went, C_SignMessageNext, session, none, 0, ptr(&data), 20, null_mut(), null_mut());
            went!(went, C_SignMessageNext, session, none, 0, ptr(&data[20..]), 20, out.as_mut_ptr(), len);
        }
        out_len = 64;
        went!(went, C_SignMessage, session, none, 0, ptr(&data), 40, out.as_mut_ptr(), &raw mut out_len);
        went!(went, C_MessageSignFinal, session);
    }
    if went!(went, C_MessageVerifyInit, session, ptr(&by), public) {
        went!(went, C_VerifyMessage, session, none, 0, ptr(&data), 40, ptr(&out), 64);
        if went!(went, C_VerifyMessageBegin, session, none, 0) {
            went!(went, C_VerifyMessageNext, session, none, 0, ptr(&data), 40, ptr(&out), 64);
        }
        went!(went, C_MessageVerifyFinal, session);
    }
    let (signature, half) = (ptr(&out), ptr(&data[20..]));
    if went!(went, C_VerifySignatureInit, session, ptr(&by), public, signature, 64) {
        went!(went, C_VerifySignature, session, ptr(&data), 40);
    }
    if went!(went, C_VerifySignatureInit, session, ptr(&by), public, signature, 64) {
        went!(went, C_VerifySignatureUpdate, session, ptr(&data), 20);
        went!(went, C_VerifySignatureUpdate, session, half, 20);
        went!(went, C_VerifySignatureFinal, session);
    }
    if c!(C_SignInit, session, ptr(&by), private) == CKR_OK {
        went!(went, C_SessionCancel, session, CKF_SIGN);
    }
}

fn kem_pair(session: CK_SESSION_HANDLE) -> Option<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    let (mut public, mut private) =
        (raw(&[number(CKA_PARAMETER_SET, CKP_ML_KEM_768), yes(CKA_ENCAPSULATE)]), raw(&[yes(CKA_DECAPSULATE)]));
    let (by, mut one, mut other) = ([plain(CKM_ML_KEM_KEY_PAIR_GEN)], 0, 0);
    let (p, s) = (public.as_mut_ptr(), private.as_mut_ptr());
    let rv = c!(C_GenerateKeyPair, session, ptr(&by), p, 2, s, 1, &raw mut one, &raw mut other);
    (rv == CKR_OK).then_some((one, other))
}

fn keys_in_transit(went: &mut Went, session: CK_SESSION_HANDLE, wrapping: CK_OBJECT_HANDLE) {
    let template = [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES), yes(CKA_EXTRACTABLE)];
    let (mut template, mut made, mut out, mut out_len) = (raw(&template), 0, [0u8; 2048], 2048);
    let (t, count) = (template.as_mut_ptr(), len(&template));
    if let Some((public, private)) = kem_pair(session) {
        let (by, p, len) = ([plain(CKM_ML_KEM)], out.as_mut_ptr(), &raw mut out_len);
        if went!(went, C_EncapsulateKey, session, ptr(&by), public, t, count, p, len, &raw mut made) {
            went!(went, C_DecapsulateKey, session, ptr(&by), private, t, count, p, out_len, &raw mut made);
        }
    }
    let Ok(key) = try_generate(session, CKM_AES_KEY_GEN, &aes_template(&[yes(CKA_EXTRACTABLE)])) else { return };
    let (mut iv, mut tag) = ([3; 12], [0; 16]);
    let params = message_params(&mut iv, &mut tag);
    let (by, p) = ([with(CKM_AES_GCM, &params[0])], out.as_mut_ptr());
    out_len = 2048;
    if went!(went, C_WrapKeyAuthenticated, session, ptr(&by), wrapping, key, null_mut(), 0, p, &raw mut out_len) {
        let len = out_len;
        let made = &raw mut made;
        went!(went, C_UnwrapKeyAuthenticated, session, ptr(&by), wrapping, p, len, t, count, null_mut(), 0, made);
    }
    std::hint::black_box((&mut iv, &mut tag));
}

/// One of each thing that 3.0 and 3.2 have added, whatever it answers.
fn everything(running: &Running) -> Went {
    let (mut went, mut session) = (Went::default(), 0);
    let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    if c!(C_OpenSession, running.slot(), flags, null_mut(), None, &raw mut session) != CKR_OK {
        return went;
    }
    if login_as(session, "anna", "anna-1234") == CKR_OK {
        went.0.push("C_LoginUser");
    }
    if let Ok(key) = try_generate(session, CKM_AES_KEY_GEN, &aes_template(&[])) {
        sealed_messages(&mut went, session, key);
        keys_in_transit(&mut went, session, key);
    }
    if let Ok((public, private)) = try_session_pair(session) {
        signed_messages(&mut went, session, public, private);
    }
    let mut flags = 0;
    went!(went, C_GetSessionValidationFlags, session, CKS_LAST_VALIDATION_OK, &raw mut flags);
    c!(C_Logout, session);
    c!(C_CloseSession, session);
    went
}

/// Those that go on to the module; that a signature comes first is ours to keep in mind.
const CALLED: &[&str] = &[
    "C_LoginUser",
    "C_MessageEncryptInit",
    "C_EncryptMessage",
    "C_EncryptMessageBegin",
    "C_EncryptMessageNext",
    "C_MessageEncryptFinal",
    "C_MessageDecryptInit",
    "C_DecryptMessage",
    "C_DecryptMessageBegin",
    "C_DecryptMessageNext",
    "C_MessageDecryptFinal",
    "C_MessageSignInit",
    "C_SignMessage",
    "C_SignMessageBegin",
    "C_SignMessageNext",
    "C_MessageSignFinal",
    "C_MessageVerifyInit",
    "C_VerifyMessage",
    "C_VerifyMessageBegin",
    "C_VerifyMessageNext",
    "C_MessageVerifyFinal",
    "C_EncapsulateKey",
    "C_DecapsulateKey",
    "C_SessionCancel",
    "C_WrapKeyAuthenticated",
    "C_UnwrapKeyAuthenticated",
    "C_GetSessionValidationFlags",
];

/// Where a function answers with a length or a handle: its argument, and how many bytes behind its beginning.
const NUMBERS: &[(&str, u8, u8)] = &[
    ("C_EncryptMessage", 9, 0),
    ("C_EncryptMessage", 2, 8),
    ("C_EncryptMessageBegin", 2, 8),
    ("C_EncryptMessageNext", 7, 0),
    ("C_DecryptMessage", 9, 0),
    ("C_DecryptMessageNext", 7, 0),
    ("C_SignMessage", 7, 0),
    ("C_SignMessageNext", 7, 0),
    ("C_EncapsulateKey", 7, 0),
    ("C_EncapsulateKey", 8, 0),
    ("C_DecapsulateKey", 8, 0),
    ("C_WrapKeyAuthenticated", 8, 0),
    ("C_UnwrapKeyAuthenticated", 10, 0),
    ("C_GetSessionValidationFlags", 3, 0),
];

fn after_any_fault_all_is_well(running: &Running, faults: impl IntoIterator<Item = String>) {
    for fault in faults {
        running.scene.faults(&fault);
        everything(running);
        running.scene.faults("");
        if ["crash", "exit"].iter().any(|end| fault.contains(end)) {
            // Past the pause after helpers that died one after the other: an application that starts over does not wait for it.
            ok!(C_Finalize, null_mut());
            ok!(C_Initialize, null_mut());
        }
        let session = running.open();
        assert_eq!(login(session, CKU_USER, PIN), CKR_OK, "after {fault}");
        let (public, private) = try_session_pair(session).unwrap();
        let signature = try_sign(session, private, &[2; 32]).unwrap();
        assert_eq!(verify(session, public, &[2; 32], &signature), CKR_OK, "after {fault}");
        ok!(C_CloseSession, session);
    }
}

#[test]
fn the_functions_of_the_newer_versions_go_through_and_any_code_of_theirs_does_no_harm() {
    let running = started();
    let went = everything(&running);
    for name in CALLED {
        assert!(went.0.contains(name), "{name} did not go through\n{}", running.scene.log());
        assert!(running.scene.calls(name) > 0, "{name} did not come to the module");
    }
    // A third of them; all with every kind of fault below.
    after_any_fault_all_is_well(&running, CALLED.iter().step_by(3).map(|name| format!("{name} rv 0x30 1")));
}

#[test]
fn any_number_in_an_answer_of_theirs_does_no_harm() {
    let faults = |(name, place, offset): &(&str, u8, u8)| format!("{name} number {place} 0x7fffffffffffffff {offset}");
    after_any_fault_all_is_well(&started(), NUMBERS.iter().step_by(2).map(faults));
}

#[test]
#[ignore = "every function times a dozen faults: some minutes"]
fn every_kind_of_fault_in_them_does_no_harm() {
    let kinds = [
        "rv 0x05 2",
        "rv 0x30 1",
        "rv 0x32 2",
        "rv 0x54",
        "rv 0x90 2",
        "rv 0xb3 2",
        "rv 0x101 2",
        "rv 0x150",
        "rv 0x87654321",
        "crash once",
        "exit",
    ];
    let running = started();
    let faults = CALLED.iter().flat_map(|name| kinds.map(|kind| format!("{name} {kind}")));
    let numbers = ["0", "1", "0xffffffffffffffff", "1000000"];
    let garbled = NUMBERS
        .iter()
        .flat_map(|(name, place, offset)| numbers.map(|number| format!("{name} number {place} {number} {offset}")));
    after_any_fault_all_is_well(&running, faults.chain(garbled));
}
