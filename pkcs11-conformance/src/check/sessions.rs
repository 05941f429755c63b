//! Sessions: their states, limits, and what ends with them.

use cryptoki_sys::*;

use super::{Need, Row};
use crate::context::{Outcome, RO, RW, T, ensure, equal, fail, refused, skip};
use crate::data::{Mech, Template};
use crate::functions::F;

pub static ROWS: &[Row] = &[
    Row("open/serial-flag-required", "5.6.1", &[Need::Token], serial_required),
    Row("open/states", "3.3", &[Need::Token], states),
    Row("open/distinct-handles", "5.6.1", &[Need::Token], distinct),
    Row("open/many", "5.6.1", &[Need::Token], many),
    Row("open/async-flag", "5.6.1", &[Need::Token], asynchronous),
    Row("info/slot-and-flags", "5.6.4", &[Need::Token], info),
    Row("close/handle-dies", "5.6.2", &[Need::Token], close),
    Row("close/twice", "5.6.2", &[Need::Token], close_twice),
    Row("close/destroys-session-objects", "5.6.2", &[Need::User, Need::Writable], close_destroys),
    Row("close/leaves-others", "5.6.2", &[Need::User, Need::Writable], close_leaves_others),
    Row("close/last-logs-out", "5.6.2", &[Need::User], last_logs_out),
    Row("close-all/closes", "5.6.3", &[Need::Token], close_all),
    Row("close-all/logs-out", "5.6.3", &[Need::User], close_all_logs_out),
    Row("object/seen-by-all-sessions", "5.7.1", &[Need::User, Need::Writable], shared_object),
    Row("object/stale-handle-stays-dead", "beyond 5.7.3", &[Need::User, Need::Writable], stale_handle),
    Row("read-only/session-object", "5.7.1", &[Need::User, Need::Writable], ro_session_object),
    Row("read-only/no-token-object", "5.7.1", &[Need::User, Need::Writable], ro_token_object),
    Row("read-only/no-destroy", "5.7.3", &[Need::User, Need::Writable], ro_destroy),
    Row("read-only/no-set", "5.7.6", &[Need::User, Need::Writable], ro_set),
    Row("cancel/no-flags", "5.6.5", &[Need::Token, Need::Fn(F::C_SessionCancel)], cancel_nothing),
    Row("cancel/digest", "5.6.5", &[Need::Mech(CKM_SHA256, CKF_DIGEST), Need::Fn(F::C_SessionCancel)], cancel_digest),
    Row("cancel/search", "5.6.5", &[Need::Token, Need::Fn(F::C_SessionCancel)], cancel_search),
    Row(
        "cancel/leaves-others",
        "5.6.5",
        &[Need::Mech(CKM_SHA256, CKF_DIGEST), Need::Fn(F::C_SessionCancel)],
        cancel_other,
    ),
    Row("parallel/not-parallel", "5.20", &[Need::Token], not_parallel),
    Row("state/digest-saved-and-restored", "5.6.7", &[Need::Mech(CKM_SHA256, CKF_DIGEST)], operation_state),
    Row("state/garbage", "5.6.7", &[Need::Token], operation_state_garbage),
    Row(
        "validation-flags/known-type",
        "5.6.11",
        &[Need::Token, Need::Fn(F::C_GetSessionValidationFlags)],
        validation_flags,
    ),
];

fn serial_required(t: &mut T<'_>) -> Outcome {
    let slot = t.slot()?;
    for flags in [0, CKF_RW_SESSION] {
        let opened = t.api.open_session(slot, flags);
        refused("C_OpenSession without CKF_SERIAL_SESSION", opened, &[CKR_SESSION_PARALLEL_NOT_SUPPORTED])?;
    }
    Ok(())
}

fn states(t: &mut T<'_>) -> Outcome {
    equal("state of a read-only session", t.open(RO)?.info()?.state, CKS_RO_PUBLIC_SESSION)?;
    if t.token()?.flags & CKF_WRITE_PROTECTED == 0 {
        equal("state of a read-write session", t.open(RW)?.info()?.state, CKS_RW_PUBLIC_SESSION)?;
    }
    Ok(())
}

fn distinct(t: &mut T<'_>) -> Outcome {
    let mut handles: Vec<CK_SESSION_HANDLE> = Vec::new();
    for _ in 0..10 {
        handles.push(t.open(RO)?.h);
    }
    ensure(!handles.contains(&CK_INVALID_HANDLE), || "a session with handle 0".into())?;
    handles.sort_unstable();
    handles.dedup();
    equal("distinct handles of 10 sessions", handles.len(), 10)
}

fn many(t: &mut T<'_>) -> Outcome {
    let max = t.token()?.ulMaxSessionCount;
    let limit = if max == CK_EFFECTIVELY_INFINITE || max == CK_UNAVAILABLE_INFORMATION { 2000 } else { max.min(2000) };
    let mut open = Vec::new();
    while (open.len() as CK_ULONG) < limit {
        match t.open(RO) {
            Ok(s) => open.push(s),
            Err(_) => return fail(format!("session {} of {limit} refused", open.len() + 1)),
        }
    }
    for s in &open {
        equal("state", s.info()?.state, CKS_RO_PUBLIC_SESSION)?;
    }
    open.into_iter().try_for_each(|s| s.close()).map_err(Into::into)
}

fn asynchronous(t: &mut T<'_>) -> Outcome {
    let slot = t.slot()?;
    if t.api.list.version < (3, 2) {
        return skip("asynchronous sessions came with 3.2");
    }
    match t.api.open_session(slot, RO | CKF_ASYNC_SESSION) {
        Ok(_) => ensure(t.token()?.flags & CKF_ASYNC_SESSION_SUPPORTED != 0, || {
            "an asynchronous session on a token without CKF_ASYNC_SESSION_SUPPORTED".into()
        }),
        refusal => refused("C_OpenSession", refusal, &[CKR_SESSION_ASYNC_NOT_SUPPORTED]),
    }
}

fn info(t: &mut T<'_>) -> Outcome {
    let slot = t.slot()?;
    let ro = t.open(RO)?.info()?;
    equal("slot and flags", (ro.slotID, ro.flags), (slot, RO))?;
    if t.token()?.flags & CKF_WRITE_PROTECTED == 0 {
        let rw = t.open(RW)?.info()?;
        equal("slot and flags", (rw.slotID, rw.flags), (slot, RW))?;
    }
    Ok(())
}

fn close(t: &mut T<'_>) -> Outcome {
    let (a, b) = (t.open(RO)?, t.open(RO)?);
    a.close()?;
    refused("C_GetSessionInfo of a closed session", a.info(), &[CKR_SESSION_HANDLE_INVALID])?;
    b.info()?;
    let c = t.open(RO)?;
    ensure(c.h != a.h, || format!("handle {:#x} of a closed session came back at once", a.h))
}

fn close_twice(t: &mut T<'_>) -> Outcome {
    let s = t.open(RO)?;
    s.close()?;
    refused("second C_CloseSession", s.close(), &[CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED])
}

fn data(label: &str) -> Template {
    Template::of(CKO_DATA).flag(CKA_TOKEN, false).flag(CKA_PRIVATE, false).text(CKA_LABEL, label)
}

fn close_destroys(t: &mut T<'_>) -> Outcome {
    let (keep, gone) = (t.user()?, t.user()?);
    let object = gone.create(&data("session object"))?;
    equal("label seen from another session", keep.get(object, CKA_LABEL)?, b"session object".to_vec())?;
    gone.close()?;
    refused("C_GetAttributeValue", keep.get(object, CKA_LABEL), &[CKR_OBJECT_HANDLE_INVALID])?;
    equal("objects found", keep.find(&data("session object"))?.len(), 0)
}

fn close_leaves_others(t: &mut T<'_>) -> Outcome {
    let (keep, gone) = (t.user()?, t.user()?);
    let object = keep.create(&data("kept object"))?;
    gone.close()?;
    equal("label after another session closed", keep.get(object, CKA_LABEL)?, b"kept object".to_vec())
}

fn shared_object(t: &mut T<'_>) -> Outcome {
    let (a, b) = (t.user()?, t.open(RO)?);
    let object = a.create(&data("shared"))?;
    equal("label in another session", b.get(object, CKA_LABEL)?, b"shared".to_vec())?;
    equal("found in another session", b.find(&data("shared"))?, vec![object])?;
    b.destroy(object)?;
    refused("C_GetAttributeValue", a.get(object, CKA_LABEL), &[CKR_OBJECT_HANDLE_INVALID])
}

/// The handle of a destroyed object does not come to mean another one.
fn stale_handle(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let old = s.create(&data("first"))?;
    s.destroy(old)?;
    for _ in 0..100 {
        let new = s.create(&data("next"))?;
        ensure(new != old, || format!("handle {old:#x} of a destroyed object came back"))?;
    }
    refused("C_GetAttributeValue", s.get(old, CKA_LABEL), &[CKR_OBJECT_HANDLE_INVALID])
}

fn last_logs_out(t: &mut T<'_>) -> Outcome {
    let (a, b) = (t.user()?, t.user()?);
    a.close()?;
    let state = b.info()?.state;
    ensure(matches!(state, CKS_RW_USER_FUNCTIONS | CKS_RO_USER_FUNCTIONS), || {
        format!("state {state} after one of two sessions closed")
    })?;
    b.close()?;
    equal("state of a session after the last one closed", t.open(RO)?.info()?.state, CKS_RO_PUBLIC_SESSION)
}

fn close_all(t: &mut T<'_>) -> Outcome {
    let (a, b) = (t.open(RO)?, t.open(RO)?);
    let slot = t.slot()?;
    t.api.close_all_sessions(slot)?;
    for s in [a, b] {
        refused("C_GetSessionInfo", s.info(), &[CKR_SESSION_HANDLE_INVALID])?;
    }
    t.api.close_all_sessions(slot)?;
    Ok(())
}

fn close_all_logs_out(t: &mut T<'_>) -> Outcome {
    t.user()?;
    let slot = t.slot()?;
    t.api.close_all_sessions(slot)?;
    equal("state of a new session", t.open(RO)?.info()?.state, CKS_RO_PUBLIC_SESSION)
}

fn ro_session_object(t: &mut T<'_>) -> Outcome {
    let s = t.open(RO)?;
    let object = s.create(&data("in a read-only session"))?;
    s.destroy(object)?;
    Ok(())
}

fn ro_token_object(t: &mut T<'_>) -> Outcome {
    let s = t.open(RO)?;
    let made = s.create(&data("never").without(CKA_TOKEN).flag(CKA_TOKEN, true));
    refused("C_CreateObject of a token object", made, &[CKR_SESSION_READ_ONLY])?;
    let key = Template::new().flag(CKA_TOKEN, true).flag(CKA_PRIVATE, false).ulong(CKA_VALUE_LEN, 16);
    let made = s.generate(&Mech::new(CKM_GENERIC_SECRET_KEY_GEN), &key);
    let allowed = [CKR_SESSION_READ_ONLY, CKR_MECHANISM_INVALID];
    refused("C_GenerateKey of a token object", made, &allowed)
}

/// A token object, made in a read-write session and destroyed at the end.
fn with_token_object(t: &mut T<'_>, body: impl FnOnce(&mut T<'_>, CK_OBJECT_HANDLE) -> Outcome) -> Outcome {
    let s = t.user()?;
    let object = s.create(&data("read-only test").with(&Template::new().flag(CKA_TOKEN, true)))?;
    let outcome = body(t, object);
    s.destroy(object)?;
    outcome
}

fn ro_destroy(t: &mut T<'_>) -> Outcome {
    with_token_object(t, |t, object| {
        refused("C_DestroyObject of a token object", t.open(RO)?.destroy(object), &[CKR_SESSION_READ_ONLY])
    })
}

fn ro_set(t: &mut T<'_>) -> Outcome {
    with_token_object(t, |t, object| {
        let set = t.open(RO)?.set(object, &Template::new().text(CKA_LABEL, "changed"));
        refused("C_SetAttributeValue of a token object", set, &[CKR_SESSION_READ_ONLY])?;
        equal("label", t.open(RO)?.get(object, CKA_LABEL)?, b"read-only test".to_vec())
    })
}

fn cancel_nothing(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    s.plain(F::C_SessionCancel, &[0])?;
    // Flags of operations that are not active are ignored.
    s.plain(F::C_SessionCancel, &[(CKF_ENCRYPT | CKF_DIGEST | CKF_SIGN | CKF_FIND_OBJECTS) as usize])?;
    Ok(())
}

fn cancel_digest(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    s.init(F::C_DigestInit, &Mech::new(CKM_SHA256), 0)?;
    s.plain(F::C_SessionCancel, &[CKF_DIGEST as usize])?;
    refused("C_DigestUpdate", s.feed(F::C_DigestUpdate, &[], b"x"), &[CKR_OPERATION_NOT_INITIALIZED])?;
    s.init(F::C_DigestInit, &Mech::new(CKM_SHA256), 0)?;
    Ok(())
}

fn cancel_search(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    s.find_init(&Template::new())?;
    s.plain(F::C_SessionCancel, &[CKF_FIND_OBJECTS as usize])?;
    refused("C_FindObjects", s.find_next(1), &[CKR_OPERATION_NOT_INITIALIZED])
}

fn cancel_other(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    s.init(F::C_DigestInit, &Mech::new(CKM_SHA256), 0)?;
    s.plain(F::C_SessionCancel, &[(CKF_SIGN | CKF_ENCRYPT) as usize])?;
    s.feed(F::C_DigestUpdate, &[], b"x")?;
    Ok(())
}

fn not_parallel(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    for f in [F::C_GetFunctionStatus, F::C_CancelFunction] {
        refused(f.name(), s.plain(f, &[]), &[CKR_FUNCTION_NOT_PARALLEL])?;
    }
    Ok(())
}

fn operation_state(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    let sha = Mech::new(CKM_SHA256);
    s.init(F::C_DigestInit, &sha, 0)?;
    let whole = s.run(F::C_Digest, b"first second third")?;
    s.init(F::C_DigestInit, &sha, 0)?;
    s.feed(F::C_DigestUpdate, &[], b"first second ")?;
    let state = match s.end(F::C_GetOperationState) {
        Err(r) if r.rv.0 == CKR_STATE_UNSAVEABLE => return skip("the token saves no digest's state"),
        state => state?,
    };
    s.feed(F::C_DigestUpdate, &[], b"something else")?;
    let other = t.session()?;
    for into in [s, other] {
        into.restore(&state)?;
        into.feed(F::C_DigestUpdate, &[], b"third")?;
        equal("digest after restoring", into.end(F::C_DigestFinal)?, whole.clone())?;
    }
    Ok(())
}

fn operation_state_garbage(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    refused("C_SetOperationState", s.restore(&[0x5A; 200]), &[CKR_SAVED_STATE_INVALID])
}

fn validation_flags(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    let flags: CK_FLAGS = t.api.store(F::C_GetSessionValidationFlags, &[s.h as usize, 1])?;
    ensure(flags & !0xFFFF_FFFF == 0, || format!("flags {flags:#x}"))
}
