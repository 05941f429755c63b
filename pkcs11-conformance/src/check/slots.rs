//! Slots, tokens and mechanisms: what they say of themselves, and making a token.

use cryptoki_sys::*;

use super::{Need, Row};
use crate::context::{LABEL, Outcome, RO, RW, T, ensure, equal, fail, one_of, padded, refused, skip};
use crate::data::Template;
use crate::ffi::Rv;
use crate::functions::F;
use crate::names::name_of;

pub static ROWS: &[Row] = &[
    Row("list/count-query", "5.5.1", &[], list_query),
    Row("list/too-small", "5.5.1", &[Need::Token], list_too_small),
    Row("list/present-is-subset", "5.5.1", &[], list_present),
    Row("list/stable", "5.5.1", &[], list_stable),
    Row("info/flags-and-text", "5.5.2", &[], slot_info),
    Row("token/text-and-counts", "5.5.3", &[Need::Token], token_info),
    Row("token/session-counts", "3.2", &[Need::Token], session_counts),
    Row("token/flags-agree", "3.2", &[Need::Token], token_flags),
    Row("event/dont-block", "5.5.4", &[], event_dont_block),
    Row("event/finalize-unblocks", "5.5.4", &[], event_unblocks),
    Row("mechanisms/count-query", "5.5.5", &[Need::Token], mechanisms_query),
    Row("mechanisms/too-small", "5.5.5", &[Need::Token], mechanisms_too_small),
    Row("mechanisms/no-duplicates", "5.5.5", &[Need::Token], mechanisms_unique),
    Row("mechanisms/info-of-each", "5.5.6", &[Need::Token], mechanism_infos),
    Row("mechanisms/info-of-unknown", "5.5.6", &[Need::Token], mechanism_unknown),
    Row("init-token/wrong-so-pin", "5.5.7", &[Need::Own], init_wrong_pin),
    Row("init-token/session-exists", "5.5.7", &[Need::Own], init_with_session),
    Row("init-token/wipes-objects", "5.5.7", &[Need::Own], init_wipes),
    Row("init-token/user-pin-gone", "5.5.7", &[Need::Own], init_forgets_pin),
    Row("init-token/label", "5.5.7", &[Need::Own], init_label),
    Row("init-pin/needs-so", "5.5.8", &[Need::Own], init_pin_needs_so),
    Row("init-pin/length-range", "5.5.8", &[Need::Own], init_pin_length),
    Row("init-pin/resets-user-pin", "5.5.8", &[Need::Own], init_pin_resets),
    Row("set-pin/user", "5.5.9", &[Need::Own], set_pin_user),
    Row("set-pin/so", "5.5.9", &[Need::Own], set_pin_so),
    Row("set-pin/public-session", "5.5.9", &[Need::Own], set_pin_public),
    Row("set-pin/wrong-old", "5.5.9", &[Need::Own], set_pin_wrong),
    Row("set-pin/read-only-session", "5.5.9", &[Need::Own], set_pin_read_only),
    Row("set-pin/length-range", "5.5.9", &[Need::Own], set_pin_length),
];

fn list_query(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    for present in [0, 1] {
        let (rv, count, _) = api.list_of::<CK_SLOT_ID>(F::C_GetSlotList, &[present], None);
        one_of("C_GetSlotList(NULL)", rv, &[CKR_OK])?;
        let (rv, again, list) = api.list_of::<CK_SLOT_ID>(F::C_GetSlotList, &[present], Some(count.max(1)));
        one_of("C_GetSlotList", rv, &[CKR_OK])?;
        equal("number of slots", (again, list.len()), (count, count))?;
    }
    Ok(())
}

fn list_too_small(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    let all = api.slots(true)?.len();
    let (rv, count, _) = api.list_of::<CK_SLOT_ID>(F::C_GetSlotList, &[1], Some(all - 1));
    one_of("C_GetSlotList with too little room", rv, &[CKR_BUFFER_TOO_SMALL])?;
    equal("count written", count, all)
}

fn list_present(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    let (all, present) = (api.slots(false)?, api.slots(true)?);
    ensure(present.iter().all(|s| all.contains(s)), || "a slot with token is not among all slots".into())?;
    for s in &all {
        let info: CK_SLOT_INFO = api.store(F::C_GetSlotInfo, &[*s as usize])?;
        equal("CKF_TOKEN_PRESENT and being listed", info.flags & CKF_TOKEN_PRESENT != 0, present.contains(s))?;
    }
    Ok(())
}

fn list_stable(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    let first = api.slots(false)?;
    t.finalize()?;
    let second = t.init()?.slots(false)?;
    equal("slot IDs after another C_Initialize", second, first)
}

fn text(what: &str, field: &[u8]) -> Outcome {
    ensure(!field.contains(&0), || format!("{what} is not padded with blanks"))?;
    ensure(std::str::from_utf8(field).is_ok(), || format!("{what} is not UTF-8"))
}

fn slot_info(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    for s in api.slots(false)? {
        let info: CK_SLOT_INFO = api.store(F::C_GetSlotInfo, &[s as usize])?;
        text("slotDescription", &info.slotDescription)?;
        text("manufacturerID", &info.manufacturerID)?;
        let known = CKF_TOKEN_PRESENT | CKF_REMOVABLE_DEVICE | CKF_HW_SLOT;
        equal("unknown slot flags", info.flags & !known, 0)?;
    }
    Ok(())
}

fn token_info(t: &mut T<'_>) -> Outcome {
    let info = t.token()?;
    text("label", &info.label)?;
    text("manufacturerID", &info.manufacturerID)?;
    text("model", &info.model)?;
    text("serialNumber", &info.serialNumber)?;
    ensure(info.ulMinPinLen <= info.ulMaxPinLen, || {
        format!("PIN lengths from {} to {}", info.ulMinPinLen, info.ulMaxPinLen)
    })?;
    let clock = info.flags & CKF_CLOCK_ON_TOKEN != 0;
    let digits = info.utcTime[..14].iter().all(u8::is_ascii_digit);
    ensure(!clock || digits, || format!("utcTime {:?} of a token with a clock", info.utcTime))?;
    let known = |n: CK_ULONG| n == CK_UNAVAILABLE_INFORMATION || n == CK_EFFECTIVELY_INFINITE;
    let within = |n, max| known(n) || known(max) || n <= max;
    ensure(within(info.ulSessionCount, info.ulMaxSessionCount), || "more sessions than the maximum".into())?;
    ensure(within(info.ulFreePublicMemory, info.ulTotalPublicMemory), || "more free than total memory".into())
}

fn session_counts(t: &mut T<'_>) -> Outcome {
    let before = t.token()?;
    if before.ulSessionCount == CK_UNAVAILABLE_INFORMATION {
        return skip("the token does not tell its number of sessions");
    }
    let ro = t.open(RO)?;
    let rw = t.open(RW).ok();
    let writers = CK_ULONG::from(rw.is_some());
    let during = t.token()?;
    let added = (during.ulSessionCount - before.ulSessionCount, during.ulRwSessionCount - before.ulRwSessionCount);
    equal("sessions and read-write sessions added", added, (1 + writers, writers))?;
    ro.close()?;
    rw.map_or(Ok(()), |s| s.close())?;
    let after = t.token()?;
    equal("sessions after closing", after.ulSessionCount, before.ulSessionCount)
}

fn token_flags(t: &mut T<'_>) -> Outcome {
    let info = t.token()?;
    let has = |f| info.flags & f != 0;
    ensure(has(CKF_TOKEN_INITIALIZED) || !has(CKF_USER_PIN_INITIALIZED), || {
        "a user PIN on a token that is not initialised".into()
    })?;
    ensure(!has(CKF_LOGIN_REQUIRED) || has(CKF_USER_PIN_INITIALIZED) || t.env.user_pin.is_none(), || {
        "the PIN given is good but CKF_USER_PIN_INITIALIZED is not set".into()
    })?;
    let s = t.session()?;
    let random = s.random(16);
    match has(CKF_RNG) {
        true => random.map(|_| ()).map_err(Into::into),
        false => refused("C_GenerateRandom without CKF_RNG", random, &[CKR_RANDOM_NO_RNG]),
    }
}

fn event_dont_block(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    let mut slot: CK_SLOT_ID = 0;
    let words = [CKF_DONT_BLOCK as usize, &raw mut slot as usize, 0];
    // SAFETY: a place for a slot's ID.
    let rv = unsafe { api.call(F::C_WaitForSlotEvent, &words) };
    one_of("C_WaitForSlotEvent without blocking", rv, &[CKR_NO_EVENT, CKR_OK])
}

/// A thread that waits for an event is let go by C_Finalize. A module may not support waiting.
fn event_unblocks(t: &mut T<'_>) -> Outcome {
    let api = t.init()?;
    let waiting = std::thread::spawn(move || {
        let mut slot: CK_SLOT_ID = 0;
        // SAFETY: a place for a slot's ID.
        unsafe { api.call(F::C_WaitForSlotEvent, &[0, &raw mut slot as usize, 0]) }
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    if waiting.is_finished() {
        let rv = waiting.join().unwrap_or(Rv(CKR_GENERAL_ERROR));
        return one_of("a C_WaitForSlotEvent that does not wait", rv, &[CKR_OK, CKR_NO_EVENT]);
    }
    t.finalize()?;
    let rv = waiting.join().unwrap_or(Rv(CKR_GENERAL_ERROR));
    one_of("the C_WaitForSlotEvent let go", rv, &[CKR_CRYPTOKI_NOT_INITIALIZED])
}

fn mechanisms_query(t: &mut T<'_>) -> Outcome {
    let (slot, api) = (t.slot()? as usize, t.api);
    let (rv, count, _) = api.list_of::<CK_MECHANISM_TYPE>(F::C_GetMechanismList, &[slot], None);
    one_of("C_GetMechanismList(NULL)", rv, &[CKR_OK])?;
    let (rv, again, list) = api.list_of::<CK_MECHANISM_TYPE>(F::C_GetMechanismList, &[slot], Some(count.max(1)));
    one_of("C_GetMechanismList", rv, &[CKR_OK])?;
    equal("number of mechanisms", (again, list.len()), (count, count))
}

fn mechanisms_too_small(t: &mut T<'_>) -> Outcome {
    let slot = t.slot()?;
    let all = t.api.mechanisms(slot)?.len();
    if all == 0 {
        return skip("the token has no mechanisms");
    }
    let (rv, count, _) = t.api.list_of::<CK_MECHANISM_TYPE>(F::C_GetMechanismList, &[slot as usize], Some(all - 1));
    one_of("C_GetMechanismList with too little room", rv, &[CKR_BUFFER_TOO_SMALL])?;
    equal("count written", count, all)
}

fn mechanisms_unique(t: &mut T<'_>) -> Outcome {
    let slot = t.slot()?;
    let mut list = t.api.mechanisms(slot)?;
    list.sort_unstable();
    let twice: Vec<String> = list.windows(2).filter(|w| w[0] == w[1]).map(|w| name_of("CKM_", w[0])).collect();
    ensure(twice.is_empty(), || format!("listed twice: {}", twice.join(", ")))
}

fn mechanism_infos(t: &mut T<'_>) -> Outcome {
    let slot = t.slot()?;
    for m in t.api.mechanisms(slot)? {
        let info = t.api.mechanism_info(slot, m)?;
        ensure(info.ulMinKeySize <= info.ulMaxKeySize, || format!("{}: key sizes reversed", name_of("CKM_", m)))?;
        ensure(info.flags != 0, || format!("{} has no use", name_of("CKM_", m)))?;
    }
    Ok(())
}

fn mechanism_unknown(t: &mut T<'_>) -> Outcome {
    let slot = t.slot()?;
    for m in [0x7FFF_0001, CK_MECHANISM_TYPE::MAX] {
        refused("C_GetMechanismInfo", t.api.mechanism_info(slot, m), &[CKR_MECHANISM_INVALID])?;
    }
    Ok(())
}

fn init_wrong_pin(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let slot = t.slot()?;
    refused("C_InitToken with a wrong PIN", t.api.init_token(slot, "not the PIN", LABEL), &[CKR_PIN_INCORRECT])?;
    t.user()?;
    Ok(())
}

fn init_with_session(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let _s = t.session()?;
    let (slot, pin) = (t.slot()?, t.so_pin()?);
    refused("C_InitToken with a session open", t.api.init_token(slot, pin, LABEL), &[CKR_SESSION_EXISTS])
}

fn init_wipes(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let object = Template::of(CKO_DATA).flag(CKA_TOKEN, true).flag(CKA_PRIVATE, false).text(CKA_LABEL, "wiped");
    let s = t.user()?;
    s.create(&object)?;
    equal("objects before", s.find(&object)?.len(), 1)?;
    let slot = t.slot()?;
    t.api.close_all_sessions(slot)?;
    t.fresh()?;
    equal("objects after C_InitToken", t.user()?.find(&object)?.len(), 0)
}

fn init_forgets_pin(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let (slot, so_pin) = (t.slot()?, t.so_pin()?);
    t.api.init_token(slot, so_pin, LABEL)?;
    t.finalize()?;
    equal("CKF_USER_PIN_INITIALIZED", t.token()?.flags & CKF_USER_PIN_INITIALIZED, 0)?;
    let (s, pin) = (t.session()?, t.user_pin()?);
    refused("C_Login without user PIN", s.login(CKU_USER, pin), &[CKR_USER_PIN_NOT_INITIALIZED])
}

fn init_label(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let info = t.token()?;
    equal("label", padded(&info.label).as_str(), LABEL)?;
    let wanted = CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED | CKF_LOGIN_REQUIRED;
    equal("flags of a token with both PINs", info.flags & wanted, wanted)
}

fn init_pin_needs_so(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let pin = "another-pin";
    let init = |s: crate::ffi::Session| s.feed(F::C_InitPIN, &[], pin.as_bytes());
    refused("C_InitPIN in a public session", init(t.session()?), &[CKR_USER_NOT_LOGGED_IN])?;
    refused("C_InitPIN by the user", init(t.user()?), &[CKR_USER_NOT_LOGGED_IN])
}

/// PINs one shorter than the least and one longer than the most; those that the token's limits allow to exist.
fn bad_pins(info: &CK_TOKEN_INFO) -> Vec<String> {
    let short = (info.ulMinPinLen > 1).then(|| "1".repeat(info.ulMinPinLen as usize - 1));
    let long = (info.ulMaxPinLen < 1 << 20).then(|| "1".repeat(info.ulMaxPinLen as usize + 1));
    short.into_iter().chain(long).collect()
}

fn init_pin_length(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let info = t.token()?;
    let s = t.so()?;
    for pin in bad_pins(&info) {
        let what = format!("C_InitPIN of {} bytes", pin.len());
        refused(&what, s.feed(F::C_InitPIN, &[], pin.as_bytes()), &[CKR_PIN_LEN_RANGE, CKR_PIN_INVALID])?;
    }
    Ok(())
}

fn init_pin_resets(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let s = t.so()?;
    s.feed(F::C_InitPIN, &[], b"another-pin")?;
    s.logout()?;
    let old = t.user_pin()?;
    refused("C_Login with the old PIN", s.login(CKU_USER, old), &[CKR_PIN_INCORRECT])?;
    s.login(CKU_USER, "another-pin")?;
    Ok(())
}

fn set_pin_user(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let (s, old) = (t.user()?, t.user_pin()?);
    s.feed2(F::C_SetPIN, old.as_bytes(), b"another-pin")?;
    equal("state after C_SetPIN", s.info()?.state, CKS_RW_USER_FUNCTIONS)?;
    s.logout()?;
    refused("C_Login with the old PIN", s.login(CKU_USER, old), &[CKR_PIN_INCORRECT])?;
    s.login(CKU_USER, "another-pin")?;
    Ok(())
}

fn set_pin_so(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let (s, old) = (t.so()?, t.so_pin()?);
    s.feed2(F::C_SetPIN, old.as_bytes(), b"another-pin")?;
    s.logout()?;
    refused("C_Login with the old PIN", s.login(CKU_SO, old), &[CKR_PIN_INCORRECT])?;
    s.login(CKU_SO, "another-pin")?;
    s.feed2(F::C_SetPIN, b"another-pin", old.as_bytes())?;
    Ok(())
}

/// In a public session C_SetPIN changes the user's PIN.
fn set_pin_public(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let (s, old) = (t.session()?, t.user_pin()?);
    s.feed2(F::C_SetPIN, old.as_bytes(), b"another-pin")?;
    equal("state after C_SetPIN", s.info()?.state, CKS_RW_PUBLIC_SESSION)?;
    s.login(CKU_USER, "another-pin")?;
    Ok(())
}

fn set_pin_wrong(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let s = t.user()?;
    refused("C_SetPIN", s.feed2(F::C_SetPIN, b"not the PIN", b"another-pin"), &[CKR_PIN_INCORRECT])?;
    s.logout()?;
    s.login(CKU_USER, t.user_pin()?)?;
    Ok(())
}

fn set_pin_read_only(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let (s, old) = (t.open(RO)?, t.user_pin()?);
    refused("C_SetPIN", s.feed2(F::C_SetPIN, old.as_bytes(), b"another-pin"), &[CKR_SESSION_READ_ONLY])
}

fn set_pin_length(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let info = t.token()?;
    let (s, old) = (t.user()?, t.user_pin()?);
    for pin in bad_pins(&info) {
        let rv = s.feed2(F::C_SetPIN, old.as_bytes(), pin.as_bytes()).map_or_else(|r| r.rv, |()| Rv(CKR_OK));
        match rv.0 {
            CKR_OK => return fail(format!("C_SetPIN took a PIN of {} bytes", pin.len())),
            _ => one_of("C_SetPIN", rv, &[CKR_PIN_LEN_RANGE, CKR_PIN_INVALID])?,
        }
    }
    Ok(())
}
