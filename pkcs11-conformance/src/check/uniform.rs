//! What holds for every function alike, run over the table of functions: the state of the library, and bad handles,
//! slots and pointers.

use cryptoki_sys::*;

use super::{Need, Test};
use crate::context::{Outcome, RW, T, fail, one_of, skip};
use crate::data::{Mech, RawMech, RawTemplate, Template};
use crate::ffi::{Rv, Session};
use crate::functions::{ALL, Arg, F};
use crate::process::note_step;

/// Places and values for one call of any function, well-formed unless a test changes a word.
struct Frame {
    mech: RawMech,
    template: &'static RawTemplate<'static>,
    bytes: Vec<u8>,
    out: Vec<u8>,
    out_len: CK_ULONG,
    handles: [CK_ULONG; 2],
    store: Vec<u64>,
    text: [u8; 33],
}

/// A handle that no module gave.
const NO_SUCH: usize = 0x7EDC_BA98;

impl Frame {
    fn new(mech: &Mech) -> Self {
        let template: &'static Template = Box::leak(Box::new(Template::of(CKO_DATA)));
        let mut text = [b' '; 33];
        text[32] = 0;
        Frame {
            mech: mech.raw(),
            template: Box::leak(Box::new(template.raw())),
            bytes: vec![0x5A; 256],
            out: vec![0; 4096],
            out_len: 256,
            handles: [0; 2],
            store: vec![0; 256],
            text,
        }
    }

    fn words(&mut self, f: F, session: usize, slot: usize) -> Vec<usize> {
        let mut handles = 0;
        f.row()
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Session => session,
                Arg::Slot => slot,
                Arg::Object | Arg::Key => NO_SUCH,
                Arg::Mechanism => self.mech.pointer(),
                Arg::Template => self.template.pointer(),
                Arg::Count => self.template.count(),
                Arg::In | Arg::Parameter => self.bytes.as_mut_ptr() as usize,
                Arg::Len => 24,
                Arg::Out | Arg::Fill => self.out.as_mut_ptr() as usize,
                Arg::OutLen => &raw mut self.out_len as usize,
                Arg::Handle => {
                    handles += 1;
                    &raw mut self.handles[handles - 1] as usize
                }
                Arg::Store => self.store.as_mut_ptr() as usize,
                Arg::Text => self.text.as_mut_ptr() as usize,
                Arg::Value => match f {
                    F::C_WaitForSlotEvent => CKF_DONT_BLOCK as usize,
                    F::C_OpenSession => RW as usize,
                    _ => 0,
                },
                Arg::Reserved | Arg::Opaque => 0,
            })
            .collect()
    }
}

fn call(t: &T<'_>, f: F, words: &[usize]) -> Rv {
    // SAFETY: the words come from a frame: places are large enough for any function, and a bad one is NULL.
    unsafe { t.api.call(f, words) }
}

/// Functions that work without an initialised library (section 5.4.1).
fn works_always(f: F) -> bool {
    matches!(f, F::C_Initialize | F::C_GetFunctionList | F::C_GetInterfaceList | F::C_GetInterface)
}

/// The two that only ever say that there are no parallel functions (section 5.20).
fn is_legacy(f: F) -> bool {
    matches!(f, F::C_GetFunctionStatus | F::C_CancelFunction)
}

/// Functions that belong to an operation which an Init call must have started.
fn continues_operation(f: F) -> bool {
    let n = f.name();
    let parts = ["Update", "Final", "Begin", "Next"];
    let one_call = ["C_Encrypt", "C_Decrypt", "C_Digest", "C_Sign", "C_Verify", "C_SignRecover", "C_VerifyRecover"];
    let message = ["C_EncryptMessage", "C_DecryptMessage", "C_SignMessage", "C_VerifyMessage", "C_VerifySignature"];
    parts.iter().any(|p| n.ends_with(p))
        || one_call.contains(&n)
        || message.contains(&n)
        || matches!(f, F::C_FindObjects | F::C_DigestKey | F::C_GetOperationState)
}

/// Functions that could count a failure against a PIN, or wipe the token.
fn touches_pins(f: F) -> bool {
    matches!(f, F::C_InitToken | F::C_InitPIN | F::C_SetPIN | F::C_Login | F::C_LoginUser)
}

/// The tests, one per function and property.
pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    let mut add = |what: &str, section: &str, f: F, needs: &[Need], run: fn(&mut T<'_>, F) -> Outcome| {
        let needs = [&[Need::Fn(f)], needs].concat();
        tests.push(Test::new(format!("uniform/{what}/{}", f.name()), section, &needs, move |t| run(t, f)));
    };
    for &f in ALL {
        if !works_always(f) {
            add("not-initialized", "5.4.1", f, &[], not_initialized);
            add("after-finalize", "5.4.2", f, &[], after_finalize);
        }
        if f.has(Arg::Session) {
            add("session-handle", "5.1.2", f, &[Need::Token], session_handle);
        }
        if f.has(Arg::Slot) {
            add("slot-id", f.section(), f, &[], slot_id);
        }
        if f.has(Arg::Object) || (f.has(Arg::Key) && f != F::C_SetOperationState) {
            add("object-handle", f.section(), f, &[Need::Token], object_handle);
        }
        if continues_operation(f) {
            add("no-operation", f.section(), f, &[Need::Token], no_operation);
        }
        if f.row().args.iter().any(|a| a.null_is_bad()) {
            add("null-pointer", f.section(), f, if touches_pins(f) { &[Need::Own] } else { &[] }, null_pointer);
        }
    }
    tests
}

fn expect_uninitialized(t: &T<'_>, f: F) -> Outcome {
    let mut frame = Frame::new(&Mech::new(CKM_SHA256));
    let words = frame.words(f, 1, 0);
    let rv = call(t, f, &words);
    if is_legacy(f) && rv.0 == CKR_FUNCTION_NOT_PARALLEL {
        return Ok(());
    }
    one_of(f.name(), rv, &[CKR_CRYPTOKI_NOT_INITIALIZED])
}

fn not_initialized(t: &mut T<'_>, f: F) -> Outcome {
    expect_uninitialized(t, f)
}

fn after_finalize(t: &mut T<'_>, f: F) -> Outcome {
    t.init()?;
    t.finalize()?;
    expect_uninitialized(t, f)
}

/// Handles that are not a session's: zero, a wild one, and one closed before.
fn session_handle(t: &mut T<'_>, f: F) -> Outcome {
    let closed = t.open(RW).or_else(|_| t.session())?;
    closed.close()?;
    for handle in [0, NO_SUCH, closed.h as usize] {
        let mut frame = Frame::new(&Mech::new(CKM_SHA256));
        let words = frame.words(f, handle, 0);
        let rv = call(t, f, &words);
        if is_legacy(f) && rv.0 == CKR_FUNCTION_NOT_PARALLEL {
            continue;
        }
        one_of(&format!("{} with session {handle:#x}", f.name()), rv, &[CKR_SESSION_HANDLE_INVALID])?;
    }
    Ok(())
}

fn slot_id(t: &mut T<'_>, f: F) -> Outcome {
    let api = t.init()?;
    let slots = api.slots(false)?;
    let wild = (1..).map(|i| 0xF00D_0000 + i).find(|s| !slots.contains(s)).unwrap_or(CK_ULONG::MAX - 1);
    let mut frame = Frame::new(&Mech::new(CKM_SHA256));
    let words = frame.words(f, 0, wild as usize);
    one_of(f.name(), call(t, f, &words), &[CKR_SLOT_ID_INVALID])
}

/// A mechanism that fits the function, of those that the token has.
fn fitting(t: &mut T<'_>, f: F) -> Result<Mech, crate::context::Stop> {
    let gcm = || Mech::gcm(&[7; 12], b"", 128);
    let candidates: Vec<(Mech, CK_FLAGS)> = match f.name() {
        n if n.contains("Message") && n.contains("crypt") => vec![(gcm(), CKF_MESSAGE_ENCRYPT)],
        n if n.contains("MessageSign") => vec![(Mech::new(CKM_SHA256_HMAC), CKF_MESSAGE_SIGN)],
        n if n.contains("MessageVerify") => vec![(Mech::new(CKM_SHA256_HMAC), CKF_MESSAGE_VERIFY)],
        n if n.contains("Authenticated") => vec![(gcm(), CKF_WRAP)],
        n if n.contains("wrap") || n.contains("Wrap") => {
            vec![(Mech::new(CKM_AES_KEY_WRAP), CKF_WRAP), (Mech::new(CKM_RSA_PKCS), CKF_WRAP)]
        }
        n if n.contains("capsulate") => vec![(Mech::new(CKM_ML_KEM), CKF_ENCAPSULATE)],
        n if n.contains("Recover") => vec![(Mech::new(CKM_RSA_PKCS), CKF_SIGN_RECOVER)],
        n if n.contains("crypt") => vec![(Mech::new(CKM_AES_ECB), CKF_ENCRYPT)],
        n if n.contains("Derive") => vec![(Mech::ecdh(CKD_NULL, b"", &[4; 65]), CKF_DERIVE)],
        n if n.contains("Sign") && !n.contains("VerifySignature") => {
            vec![(Mech::new(CKM_SHA256_HMAC), CKF_SIGN), (Mech::new(CKM_RSA_PKCS), CKF_SIGN)]
        }
        n if n.contains("Verify") => {
            vec![(Mech::new(CKM_SHA256_HMAC), CKF_VERIFY), (Mech::new(CKM_RSA_PKCS), CKF_VERIFY)]
        }
        _ => vec![(Mech::new(CKM_SHA256), CKF_DIGEST)],
    };
    let found = candidates.into_iter().find(|(m, uses)| t.mechanism(m.ty, *uses).is_ok());
    found.map_or_else(|| skip("no mechanism for it"), |(m, _)| Ok(m))
}

fn object_handle(t: &mut T<'_>, f: F) -> Outcome {
    let mech = if f.has(Arg::Mechanism) || f == F::C_DigestKey { fitting(t, f)? } else { Mech::new(CKM_SHA256) };
    let s = t.ready()?;
    if f == F::C_DigestKey {
        s.init(F::C_DigestInit, &mech, 0)?;
    }
    let mut frame = Frame::new(&mech);
    let template: &'static Template = Box::leak(Box::new(fitting_template(f)));
    frame.template = Box::leak(Box::new(template.raw()));
    let words = frame.words(f, s.h as usize, 0);
    let allowed: &[CK_RV] = match f {
        F::C_WrapKey => &[CKR_WRAPPING_KEY_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID],
        F::C_UnwrapKey | F::C_DecapsulateKey => {
            &[CKR_UNWRAPPING_KEY_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID]
        }
        // The parameter at hand is not that of a message: either fault may be told first.
        F::C_WrapKeyAuthenticated | F::C_UnwrapKeyAuthenticated => &[
            CKR_WRAPPING_KEY_HANDLE_INVALID,
            CKR_UNWRAPPING_KEY_HANDLE_INVALID,
            CKR_KEY_HANDLE_INVALID,
            CKR_OBJECT_HANDLE_INVALID,
            CKR_MECHANISM_PARAM_INVALID,
        ],
        _ if f.has(Arg::Object) => &[CKR_OBJECT_HANDLE_INVALID],
        _ => &[CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID],
    };
    one_of(f.name(), call(t, f, &words), allowed)
}

/// A template that the function would take, so that only the handle is wrong.
fn fitting_template(f: F) -> Template {
    match f {
        F::C_CopyObject | F::C_GetAttributeValue | F::C_SetAttributeValue => Template::new().text(CKA_LABEL, "x"),
        _ => Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).flag(CKA_TOKEN, false).ulong(CKA_VALUE_LEN, 16),
    }
}

fn no_operation(t: &mut T<'_>, f: F) -> Outcome {
    let s = t.session()?;
    let mut frame = Frame::new(&Mech::new(CKM_SHA256));
    let words = frame.words(f, s.h as usize, 0);
    let rv = call(t, f, &words);
    // A key's handle is checked first by some: both are wrong here.
    let key = if f.has(Arg::Key) { CKR_KEY_HANDLE_INVALID } else { CKR_OPERATION_NOT_INITIALIZED };
    one_of(f.name(), rv, &[CKR_OPERATION_NOT_INITIALIZED, key])
}

/// Starts the operation that the function continues, as far as the token can.
fn start_for(t: &mut T<'_>, f: F, s: Session) {
    let n = f.name();
    let Ok(mech) = fitting(t, f) else { return };
    let usable = Template::new().yes(&[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY]);
    let aes = t.secret(s, CKM_AES_KEY_GEN, Some(32), &usable).unwrap_or(0);
    let mac = || t.secret(s, CKM_GENERIC_SECRET_KEY_GEN, Some(32), &usable).unwrap_or(0);
    let init = |f: F, key| {
        let _ = s.init(f, &mech, key);
    };
    if n.contains("Message") {
        return;
    }
    match n {
        _ if n.starts_with("C_Encrypt") => init(F::C_EncryptInit, aes),
        _ if n.starts_with("C_Decrypt") => init(F::C_DecryptInit, aes),
        _ if n.starts_with("C_Digest") => init(F::C_DigestInit, 0),
        _ if n.starts_with("C_VerifySignature") || n.contains("Recover") => {}
        _ if n.starts_with("C_Sign") => init(F::C_SignInit, mac()),
        _ if n.starts_with("C_Verify") => init(F::C_VerifyInit, mac()),
        "C_FindObjects" => drop(s.find_init(&Template::new())),
        _ => {}
    }
}

/// Each pointer in turn is NULL where that is not allowed: an error, and no crash.
fn null_pointer(t: &mut T<'_>, f: F) -> Outcome {
    if touches_pins(f) {
        t.fresh()?;
    } else if !works_always(f) {
        t.init()?;
    }
    let slot = if works_always(f) { 0 } else { t.slot().unwrap_or(0) as usize };
    for (i, arg) in f.row().args.iter().enumerate().filter(|(_, a)| a.null_is_bad()) {
        // The name of an interface may be NULL: any interface then (section 5.4.6). Since 3.0 an Init call with a NULL
        // mechanism ends the operation, which has its own test.
        let ends = *arg == Arg::Mechanism && f.name().ends_with("Init") && t.api.list.version.0 >= 3;
        if ends || (f == F::C_GetInterface && *arg == Arg::Text) {
            continue;
        }
        let s = if f.has(Arg::Session) { Some(t.ready()?) } else { None };
        if let Some(s) = s.filter(|_| continues_operation(f)) {
            start_for(t, f, s);
        }
        let mut frame = Frame::new(&Mech::new(CKM_SHA256));
        let mut words = frame.words(f, s.map_or(0, |s| s.h as usize), slot);
        words[i] = 0;
        note_step(i as u32);
        let rv = call(t, f, &words);
        if rv.0 == CKR_FUNCTION_NOT_SUPPORTED {
            return skip(format!("{} is not supported", f.name()));
        }
        if rv.0 == CKR_OK {
            return fail(format!("{} took NULL for argument {} and returned CKR_OK", f.name(), i + 1));
        }
        if let Some(s) = s {
            s.close()?;
        }
    }
    Ok(())
}
