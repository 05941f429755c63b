//! Login and logout: the states of section 3.3 and what each may see.

use cryptoki_sys::*;

use super::{Need, Row};
use crate::context::{Outcome, RO, RW, Stop, T, ensure, equal, fail, refused, skip};
use crate::data::{Mech, Template};
use crate::ffi::Session;
use crate::functions::F;

pub static ROWS: &[Row] = &[
    Row("user/all-sessions-change", "5.6.8", &[Need::User], user_states),
    Row("user/twice", "5.6.8", &[Need::User], user_twice),
    Row("user/wrong-pin", "5.6.8", &[Need::Own], user_wrong),
    Row("user/counter-flags", "3.2", &[Need::Own], counter_flags),
    Row("user/empty-pin", "5.6.8", &[Need::Own], user_empty),
    Row("user/unknown-type", "5.6.8", &[Need::Token], unknown_type),
    Row("user/context-without-operation", "5.6.8", &[Need::User], context_without),
    Row("user/while-so", "5.6.8", &[Need::User, Need::So], user_while_so),
    Row("so/states", "5.6.8", &[Need::So], so_states),
    Row("so/while-user", "5.6.8", &[Need::User, Need::So], so_while_user),
    Row("so/read-only-exists", "5.6.8", &[Need::So], so_read_only_exists),
    Row("so/no-read-only-afterwards", "5.6.1", &[Need::So], so_no_read_only),
    Row("so/sees-no-private-objects", "4.2", &[Need::User, Need::So, Need::Writable], so_sees_nothing),
    Row("logout/states", "5.6.10", &[Need::User], logout_states),
    Row("logout/not-logged-in", "5.6.10", &[Need::Token], logout_without),
    Row("logout/private-handles-die", "5.6.10", &[Need::User, Need::Writable], logout_handles),
    Row("logout/destroys-private-session-objects", "5.6.10", &[Need::User, Need::Writable], logout_destroys),
    Row("logout/keeps-public-objects", "5.6.10", &[Need::User, Need::Writable], logout_keeps),
    Row("logout/ends-private-key-operation", "beyond 5.6.10", &[Need::User], logout_ends_operation),
    Row("private/not-visible-without-login", "5.7.7", &[Need::User, Need::Writable], private_hidden),
    Row("private/not-created-without-login", "5.7.1", &[Need::User], private_not_created),
    Row("login-user/user-name", "5.6.9", &[Need::User, Need::Fn(F::C_LoginUser)], login_user),
    Row("always-authenticate/needs-context-login", "4.11", &[Need::User], always_authenticate),
    Row("always-authenticate/refusal-ends-operation", "5.13.2", &[Need::User], refusal_ends),
    Row("always-authenticate/wrong-pin", "4.11", &[Need::Own], wrong_context_pin),
];

fn user_states(t: &mut T<'_>) -> Outcome {
    let (ro, rw) = (t.open(RO)?, t.open(RW)?);
    ro.login(CKU_USER, t.user_pin()?)?;
    equal("state of the read-only session", ro.info()?.state, CKS_RO_USER_FUNCTIONS)?;
    equal("state of the read-write session", rw.info()?.state, CKS_RW_USER_FUNCTIONS)?;
    equal("state of a session opened later", t.open(RW)?.info()?.state, CKS_RW_USER_FUNCTIONS)
}

fn user_twice(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    refused("second C_Login", s.login(CKU_USER, t.user_pin()?), &[CKR_USER_ALREADY_LOGGED_IN])?;
    let other = t.open(RO)?;
    refused("C_Login in another session", other.login(CKU_USER, t.user_pin()?), &[CKR_USER_ALREADY_LOGGED_IN])
}

fn user_wrong(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let s = t.session()?;
    refused("C_Login with a wrong PIN", s.login(CKU_USER, "not the PIN"), &[CKR_PIN_INCORRECT])?;
    equal("state after it", s.info()?.state, CKS_RW_PUBLIC_SESSION)?;
    s.login(CKU_USER, t.user_pin()?)?;
    Ok(())
}

/// A failure sets COUNT_LOW (or FINAL_TRY), a success clears it.
fn counter_flags(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let counting = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
    equal("PIN flags of a new token", t.token()?.flags & counting, 0)?;
    let s = t.session()?;
    let _ = s.login(CKU_USER, "not the PIN");
    ensure(t.token()?.flags & counting != 0, || "no PIN flag after a wrong PIN".into())?;
    s.login(CKU_USER, t.user_pin()?)?;
    equal("PIN flags after a right PIN", t.token()?.flags & counting, 0)
}

fn user_empty(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let s = t.session()?;
    refused(
        "C_Login with an empty PIN",
        s.login(CKU_USER, ""),
        &[CKR_PIN_INCORRECT, CKR_ARGUMENTS_BAD, CKR_PIN_LEN_RANGE],
    )
}

fn unknown_type(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    refused("C_Login of type 77", s.login(77, "anything"), &[CKR_USER_TYPE_INVALID])
}

fn context_without(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let login = s.login(CKU_CONTEXT_SPECIFIC, t.user_pin()?);
    refused("context-specific login without an operation", login, &[CKR_OPERATION_NOT_INITIALIZED])
}

fn user_while_so(t: &mut T<'_>) -> Outcome {
    let s = t.so()?;
    let login = s.login(CKU_USER, t.user_pin()?);
    refused("C_Login of the user", login, &[CKR_USER_ANOTHER_ALREADY_LOGGED_IN, CKR_USER_TOO_MANY_TYPES])
}

fn so_states(t: &mut T<'_>) -> Outcome {
    let other = t.open(RW)?;
    let s = t.so()?;
    equal("state", s.info()?.state, CKS_RW_SO_FUNCTIONS)?;
    equal("state of another session", other.info()?.state, CKS_RW_SO_FUNCTIONS)?;
    s.logout()?;
    equal("state after C_Logout", other.info()?.state, CKS_RW_PUBLIC_SESSION)
}

fn so_while_user(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let login = s.login(CKU_SO, t.so_pin()?);
    refused("C_Login of the SO", login, &[CKR_USER_ANOTHER_ALREADY_LOGGED_IN, CKR_USER_TOO_MANY_TYPES])
}

fn so_read_only_exists(t: &mut T<'_>) -> Outcome {
    let (_ro, rw) = (t.open(RO)?, t.open(RW)?);
    refused("C_Login of the SO", rw.login(CKU_SO, t.so_pin()?), &[CKR_SESSION_READ_ONLY_EXISTS])
}

fn so_no_read_only(t: &mut T<'_>) -> Outcome {
    t.so()?;
    let slot = t.slot()?;
    refused("C_OpenSession read-only", t.api.open_session(slot, RO), &[CKR_SESSION_READ_WRITE_SO_EXISTS])
}

fn private(label: &str) -> Template {
    Template::of(CKO_DATA).flag(CKA_PRIVATE, true).text(CKA_LABEL, label)
}

/// Runs `body` while a private token object of this label exists; the user is logged out for it.
fn with_private(t: &mut T<'_>, label: &str, body: impl FnOnce(&mut T<'_>) -> Outcome) -> Outcome {
    let s = t.user()?;
    let object = Template::new().flag(CKA_TOKEN, true).with(&private(label));
    s.create(&object)?;
    s.logout()?;
    let outcome = body(t);
    let slot = t.slot()?;
    t.api.close_all_sessions(slot)?;
    let s = t.user()?;
    for o in s.find(&private(label))? {
        s.destroy(o)?;
    }
    outcome
}

fn so_sees_nothing(t: &mut T<'_>) -> Outcome {
    with_private(t, "hidden from the SO", |t| {
        let s = t.so()?;
        equal("private objects that the SO finds", s.find(&private("hidden from the SO"))?.len(), 0)
    })
}

fn private_hidden(t: &mut T<'_>) -> Outcome {
    with_private(t, "hidden", |t| {
        let s = t.session()?;
        equal("private objects found without login", s.find(&private("hidden"))?.len(), 0)?;
        equal("found by label", s.find(&Template::new().text(CKA_LABEL, "hidden"))?.len(), 0)?;
        s.login(CKU_USER, t.user_pin()?)?;
        equal("found after login", s.find(&private("hidden"))?.len(), 1)
    })
}

fn private_not_created(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    let made = s.create(&private("never").flag(CKA_TOKEN, false));
    refused("C_CreateObject of a private object", made, &[CKR_USER_NOT_LOGGED_IN])
}

fn logout_states(t: &mut T<'_>) -> Outcome {
    let (ro, rw) = (t.open(RO)?, t.user()?);
    rw.logout()?;
    equal("state of the read-only session", ro.info()?.state, CKS_RO_PUBLIC_SESSION)?;
    let state = rw.info()?.state;
    ensure(matches!(state, CKS_RW_PUBLIC_SESSION | CKS_RO_PUBLIC_SESSION), || format!("state {state}"))
}

fn logout_without(t: &mut T<'_>) -> Outcome {
    refused("C_Logout without login", t.session()?.logout(), &[CKR_USER_NOT_LOGGED_IN])
}

fn logout_handles(t: &mut T<'_>) -> Outcome {
    with_private(t, "handle dies", |t| {
        let s = t.user()?;
        let Some(&object) = s.find(&private("handle dies"))?.first() else { return fail("object not found") };
        s.logout()?;
        refused("C_GetAttributeValue after C_Logout", s.get(object, CKA_LABEL), &[CKR_OBJECT_HANDLE_INVALID])?;
        s.login(CKU_USER, t.user_pin()?)?;
        refused("the old handle after another C_Login", s.get(object, CKA_LABEL), &[CKR_OBJECT_HANDLE_INVALID])
    })
}

fn logout_destroys(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let object = s.create(&private("gone at logout").flag(CKA_TOKEN, false))?;
    s.logout()?;
    s.login(CKU_USER, t.user_pin()?)?;
    refused("C_GetAttributeValue", s.get(object, CKA_LABEL), &[CKR_OBJECT_HANDLE_INVALID])?;
    equal("objects found", s.find(&private("gone at logout"))?.len(), 0)
}

fn logout_keeps(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let public = Template::of(CKO_DATA).flag(CKA_PRIVATE, false).flag(CKA_TOKEN, false).text(CKA_LABEL, "public");
    let object = s.create(&public)?;
    s.logout()?;
    equal("label after C_Logout", s.get(object, CKA_LABEL)?, b"public".to_vec())
}

/// An operation on a private key does not outlive the login that allowed it.
fn logout_ends_operation(t: &mut T<'_>) -> Outcome {
    t.mechanism(CKM_SHA256_HMAC, CKF_SIGN)?;
    let s = t.user()?;
    let key =
        t.secret(s, CKM_GENERIC_SECRET_KEY_GEN, Some(32), &Template::new().flag(CKA_PRIVATE, true).yes(&[CKA_SIGN]))?;
    s.init(F::C_SignInit, &Mech::new(CKM_SHA256_HMAC), key)?;
    s.logout()?;
    match s.run(F::C_Sign, b"data") {
        Ok(_) => fail("C_Sign with a private key worked after C_Logout"),
        Err(_) => Ok(()),
    }
}

fn login_user(t: &mut T<'_>) -> Outcome {
    let (s, pin) = (t.session()?, t.user_pin()?);
    let login = |name: &[u8]| {
        let words = [CKU_USER as usize, pin.as_ptr() as usize, pin.len()];
        s.feed(F::C_LoginUser, &words, name)
    };
    match login(b"") {
        Err(r) if r.rv.0 == CKR_FUNCTION_NOT_SUPPORTED => skip("C_LoginUser is not supported"),
        Err(r) => Err(r.into()),
        Ok(()) => {
            let state = s.info()?.state;
            ensure(matches!(state, CKS_RW_USER_FUNCTIONS | CKS_RO_USER_FUNCTIONS), || format!("state {state}"))?;
            refused("C_LoginUser again", login(b""), &[CKR_USER_ALREADY_LOGGED_IN])
        }
    }
}

/// A key with CKA_ALWAYS_AUTHENTICATE, in a session of the user's.
fn careful_key(t: &mut T<'_>) -> Result<(Session, CK_OBJECT_HANDLE), Stop> {
    t.mechanism(CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR)?;
    t.mechanism(CKM_ECDSA, CKF_SIGN)?;
    let s = t.user()?;
    let public = Template::new().flag(CKA_TOKEN, false).bytes(CKA_EC_PARAMS, super::keys::P256).flag(CKA_VERIFY, true);
    let private = Template::new().flag(CKA_TOKEN, false).flag(CKA_PRIVATE, true).yes(&[
        CKA_SIGN,
        CKA_SENSITIVE,
        CKA_ALWAYS_AUTHENTICATE,
    ]);
    Ok((s, s.generate_pair(&Mech::new(CKM_EC_KEY_PAIR_GEN), &public, &private)?.1))
}

/// The key signs once per context-specific login.
fn always_authenticate(t: &mut T<'_>) -> Outcome {
    let (s, key) = careful_key(t)?;
    for _ in 0..2 {
        s.init(F::C_SignInit, &Mech::new(CKM_ECDSA), key)?;
        s.login(CKU_CONTEXT_SPECIFIC, t.user_pin()?)?;
        s.run(F::C_Sign, &[1; 32])?;
    }
    s.init(F::C_SignInit, &Mech::new(CKM_ECDSA), key)?;
    refused("C_Sign after the login was used", s.run(F::C_Sign, &[1; 32]), &[CKR_USER_NOT_LOGGED_IN])
}

/// Only a query or too little room keep the operation: a refusal for want of a login ends it like any other.
fn refusal_ends(t: &mut T<'_>) -> Outcome {
    let (s, key) = careful_key(t)?;
    s.init(F::C_SignInit, &Mech::new(CKM_ECDSA), key)?;
    refused("C_Sign without login", s.run(F::C_Sign, &[1; 32]), &[CKR_USER_NOT_LOGGED_IN])?;
    refused("C_Sign again", s.run(F::C_Sign, &[1; 32]), &[CKR_OPERATION_NOT_INITIALIZED])
}

/// A wrong PIN in the context-specific login leaves key and session as they are.
fn wrong_context_pin(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let (s, key) = careful_key(t)?;
    s.init(F::C_SignInit, &Mech::new(CKM_ECDSA), key)?;
    refused("context-specific C_Login", s.login(CKU_CONTEXT_SPECIFIC, "not the PIN"), &[CKR_PIN_INCORRECT])?;
    equal("state", s.info()?.state, CKS_RW_USER_FUNCTIONS)?;
    refused("C_Sign", s.run(F::C_Sign, &[1; 32]), &[CKR_USER_NOT_LOGGED_IN])
}
