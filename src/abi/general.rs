//! General-purpose, slot, token and session functions.

use std::time::{SystemTime, UNIX_EPOCH};

use cryptoki_sys::*;

use super::args::{self, In, Maybe, OutList, Place};
use super::table;
use crate::error::{Code, Result};
use crate::module::{self, Threads};
use crate::session::Who;
use crate::token::{TokenInfo, User};

/// `"PKCS 11"`, the one interface name of the specification.
pub(super) const INTERFACE_NAME: &[u8] = b"PKCS 11\0";

/// `C_Initialize`. We lock with the operating system's means and create no thread, so that all but one way of calling
/// it is fine: callbacks of which the application insists that they be used are `CKR_CANT_LOCK`. HSMs' modules lock as we do, and hear
/// whether they may create threads.
pub(super) fn initialize(args: Maybe<CK_C_INITIALIZE_ARGS>) -> Result<()> {
    let mut threads = Threads::Allowed;
    if let Some(args) = args.get() {
        let CK_C_INITIALIZE_ARGS { CreateMutex, DestroyMutex, LockMutex, UnlockMutex, flags, pReserved } = args;
        let given = [CreateMutex.is_some(), DestroyMutex.is_some(), LockMutex.is_some(), UnlockMutex.is_some()];
        if !pReserved.is_null() || given.contains(&true) && given.contains(&false) {
            Err(Code::ArgumentsBad)?;
        }
        if given.contains(&true) && flags & CKF_OS_LOCKING_OK == 0 {
            Err(Code::CantLock.because("the application wants only its own mutexes used; set CKF_OS_LOCKING_OK"))?;
        }
        threads = Threads::of_flags(flags);
    }
    module::initialize(threads)
}

pub(super) fn finalize(reserved: *const std::ffi::c_void) -> Result<()> {
    module::module()?;
    if !reserved.is_null() {
        Err(Code::ArgumentsBad)?;
    }
    module::finalize()
}

fn version(part: &str) -> u8 {
    part.parse().unwrap_or(0)
}

pub(super) fn info(place: Place<CK_INFO>) -> Result<()> {
    module::module()?;
    place.put(CK_INFO {
        cryptokiVersion: CK_VERSION { major: 3, minor: 2 },
        manufacturerID: args::padded("Keyward project"),
        flags: 0,
        libraryDescription: args::padded("Keyward PKCS#11 provider"),
        libraryVersion: CK_VERSION {
            major: version(env!("CARGO_PKG_VERSION_MAJOR")),
            minor: version(env!("CARGO_PKG_VERSION_MINOR")),
        },
    })
}

/// `C_GetInterface`. Without a name or version: 3.2. `CKR_ARGUMENTS_BAD` where none of ours is meant.
pub(super) fn interface(
    name: Maybe<u8>,
    version: Maybe<CK_VERSION>,
    place: Place<*mut CK_INTERFACE>,
    flags: CK_FLAGS,
) -> Result<()> {
    place.check()?;
    let ours = INTERFACE_NAME.split_last().map_or(INTERFACE_NAME, |(_, name)| name);
    if name.get().is_some() && args::c_string(name, ours.len()).as_deref() != Some(ours) {
        Err(Code::ArgumentsBad)?;
    }
    let version = version.get().map(|version| (version.major, version.minor));
    let found = table::interfaces()
        .iter()
        .find(|interface| version.is_none_or(|wanted| wanted == interface.version) && interface.has(flags));
    place.put(found.ok_or(Code::ArgumentsBad)?.as_ptr())
}

pub(super) fn interface_list(list: OutList<CK_INTERFACE>) -> Result<()> {
    let all = table::interfaces().each_ref().map(|interface| interface.get());
    list.fill(&all)
}

/// `C_GetSlotList`. Asking for the number looks again for tokens. In every slot of ours there is a token, though
/// perhaps not initialised.
pub(super) fn slot_list(list: OutList<CK_SLOT_ID>) -> Result<()> {
    let module = module::module()?;
    let slots = if list.asks() { module.refresh() } else { module.slots() }?;
    list.fill(&slots.iter().map(|slot| slot.id).collect::<Vec<_>>())
}

pub(super) fn slot_info(slot: CK_SLOT_ID, place: Place<CK_SLOT_INFO>) -> Result<()> {
    let slot = module::module()?.slot(slot)?;
    place.put(CK_SLOT_INFO {
        slotDescription: args::padded(&format!("Keyward slot {}", slot.id)),
        manufacturerID: args::padded("Keyward project"),
        flags: if slot.is_gone() { 0 } else { CKF_TOKEN_PRESENT },
        hardwareVersion: CK_VERSION { major: 0, minor: 0 },
        firmwareVersion: CK_VERSION { major: 0, minor: 0 },
    })
}

pub(super) fn token_info(slot: CK_SLOT_ID, place: Place<CK_TOKEN_INFO>) -> Result<()> {
    let slot = module::module()?.slot(slot)?;
    place.check()?;
    let info = slot.info()?;
    let counts = slot.counts();
    let TokenInfo { label, manufacturer, model, serial, flags, max_sessions, pin_len, hardware, firmware } = info;
    let version = |(major, minor)| CK_VERSION { major, minor };
    place.put(CK_TOKEN_INFO {
        label: args::padded(&label),
        manufacturerID: args::padded(&manufacturer),
        model: args::padded(&model),
        serialNumber: args::padded(&serial),
        // Dual functions are the session's composition of two operations: every token has them.
        flags: flags | CKF_DUAL_CRYPTO_OPERATIONS,
        ulMaxSessionCount: max_sessions,
        ulSessionCount: counts.sessions(),
        ulMaxRwSessionCount: max_sessions,
        ulRwSessionCount: counts.read_write,
        ulMaxPinLen: *pin_len.end(),
        ulMinPinLen: *pin_len.start(),
        ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
        hardwareVersion: version(hardware),
        firmwareVersion: version(firmware),
        utcTime: if flags & CKF_CLOCK_ON_TOKEN != 0 { utc_time(SystemTime::now()) } else { [b' '; 16] },
    })
}

/// `YYYYMMDDhhmmss00` (PKCS#11 3.2, `CK_TOKEN_INFO`).
fn utc_time(now: SystemTime) -> [u8; 16] {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of year 0, in eras of 400 years (the proleptic Gregorian calendar).
    let days = days.saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    args::padded(&format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00"))
}

pub(super) fn mechanism_list(slot: CK_SLOT_ID, list: OutList<CK_MECHANISM_TYPE>) -> Result<()> {
    list.fill(&module::module()?.slot(slot)?.present()?.mechanisms())
}

pub(super) fn mechanism_info(slot: CK_SLOT_ID, ty: CK_MECHANISM_TYPE, place: Place<CK_MECHANISM_INFO>) -> Result<()> {
    let slot = module::module()?.slot(slot)?;
    place.check()?;
    let info = slot.present()?.mechanism_info(ty)?;
    place.put(CK_MECHANISM_INFO { ulMinKeySize: info.min_key, ulMaxKeySize: info.max_key, flags: info.flags })
}

pub(super) fn init_token(slot: CK_SLOT_ID, pin: In, label: In) -> Result<()> {
    let slot = module::module()?.slot(slot)?;
    let label = args::label(&label)?;
    // As a PIN at login: NULL stands for a protected authentication path.
    let pin = match pin.pin()? {
        Some(pin) => pin,
        None if slot.token.info()?.flags & CKF_PROTECTED_AUTHENTICATION_PATH != 0 => &[],
        None => Err(Code::ArgumentsBad)?,
    };
    slot.initialize(pin, &label)
}

pub(super) fn wait_for_slot_event(
    flags: CK_FLAGS,
    place: Place<CK_SLOT_ID>,
    reserved: *const std::ffi::c_void,
) -> Result<()> {
    let module = module::module()?;
    place.check()?;
    if !reserved.is_null() {
        Err(Code::ArgumentsBad)?;
    }
    place.put(module.wait(flags & CKF_DONT_BLOCK == 0)?)
}

/// `C_OpenSession`. The callback is accepted and, as the specification allows, never called.
pub(super) fn open_session(slot: CK_SLOT_ID, flags: CK_FLAGS, place: Place<CK_SESSION_HANDLE>) -> Result<()> {
    module::module()?;
    place.check()?;
    if flags & CKF_SERIAL_SESSION == 0 {
        Err(Code::SessionParallelNotSupported)?;
    }
    if flags & CKF_ASYNC_SESSION != 0 {
        Err(Code::SessionAsyncNotSupported)?;
    }
    place.put(module::open_session(slot, flags & CKF_RW_SESSION != 0)?)
}

pub(super) fn session_info(session: CK_SESSION_HANDLE, place: Place<CK_SESSION_INFO>) -> Result<()> {
    place.put(module::session(session)?.info())
}

pub(super) fn session_cancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) -> Result<()> {
    module::session(session)?.cancel_all(flags);
    Ok(())
}

pub(super) fn login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: In) -> Result<()> {
    log_in(session, user, pin, None)
}

fn log_in(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: In, name: Option<&str>) -> Result<()> {
    let session = module::session(session)?;
    let who = match user {
        CKU_SO => Who::Role(User::SecurityOfficer),
        CKU_USER => Who::Role(User::User),
        CKU_CONTEXT_SPECIFIC => Who::ForOperation,
        _ => Err(Code::UserTypeInvalid)?,
    };
    session.login(who, name, pin.pin()?)
}

/// `C_LoginUser`; without a name it is `C_Login`. A name is UTF-8: nobody has another.
pub(super) fn login_user(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: In, name: In) -> Result<()> {
    module::session(session)?;
    match std::str::from_utf8(name.bytes()?) {
        Ok("") => login(session, user, pin),
        Ok(name) => log_in(session, user, pin, Some(name)),
        Err(_) => Err(Code::PinIncorrect.because("the name of the user is no UTF-8")),
    }
}

pub(super) fn logout(session: CK_SESSION_HANDLE) -> Result<()> {
    module::logout(&*module::session(session)?)
}

pub(super) fn init_pin(session: CK_SESSION_HANDLE, pin: In) -> Result<()> {
    module::session(session)?.init_pin(pin.pin()?)
}

pub(super) fn set_pin(session: CK_SESSION_HANDLE, old: In, new: In) -> Result<()> {
    module::session(session)?.set_pin(old.pin()?, new.pin()?)
}

/// The functions of the times of parallel sessions (PKCS#11 3.2, 5.17).
pub(super) fn parallel(session: CK_SESSION_HANDLE) -> Result<()> {
    module::session(session)?;
    Err(Code::FunctionNotParallel.into())
}

/// `C_GetSessionValidationFlags`: in the approved mode whether the last operation was an approved one. This module is validated by
/// nobody, and no validation object explains the flag; an HSM's module that a slot leads to has flags of its own.
/// `CKR_ARGUMENTS_BAD` for an unknown type.
pub(super) fn validation_flags(
    session: CK_SESSION_HANDLE,
    ty: CK_SESSION_VALIDATION_FLAGS_TYPE,
    place: Place<CK_FLAGS>,
) -> Result<()> {
    let session = module::session(session)?;
    if ty != CKS_LAST_VALIDATION_OK {
        Err(Code::ArgumentsBad)?;
    }
    place.put(session.validation_flags()?)
}

/// `C_AsyncComplete`, `C_AsyncGetID`, `C_AsyncJoin`: `C_OpenSession` opens synchronous sessions only, so that no function
/// is ever under way, which each says in its own `code`. `CKR_ARGUMENTS_BAD` without a function's name.
pub(super) fn no_async(session: CK_SESSION_HANDLE, function: Maybe<u8>, code: Code) -> Result<()> {
    module::session(session)?;
    function.required()?;
    Err(code.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_reads_as_the_specification_writes_it() {
        let at = |seconds| utc_time(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(&at(0), b"1970010100000000");
        assert_eq!(&at(951_782_399), b"2000022823595900");
        assert_eq!(&at(951_782_400), b"2000022900000000");
        assert_eq!(&at(1_735_689_599), b"2024123123595900");
        assert_eq!(&at(4_107_542_400), b"2100030100000000");
    }
}
