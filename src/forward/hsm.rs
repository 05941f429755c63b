//! The connection with one token of one HSM: found, lost, found again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use cryptoki_sys::*;
use parking_lot::{Mutex, RwLock};

use super::access::Access;
use super::apart::OVERDUE;
use super::call::{Call, Reply, Rv};
use super::fault::{Fault, Outcome, error_of, removed};
use super::filter::Filter;
use super::module::Module;
use super::objects::Objects;
use super::pool::{Lease, Pool};
use super::quirks;
use crate::config::{Chosen, MemberRules};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::os::coarse_millis;
use crate::token::TokenInfo;

/// Whether the code says that an object is not there.
fn is_of_a_handle(rv: CK_RV) -> bool {
    matches!(
        rv,
        CKR_OBJECT_HANDLE_INVALID
            | CKR_KEY_HANDLE_INVALID
            | CKR_WRAPPING_KEY_HANDLE_INVALID
            | CKR_UNWRAPPING_KEY_HANDLE_INVALID
    )
}

/// How long after a vain attempt the HSM is left alone, in milliseconds.
const PAUSE: u64 = 1000;

pub struct Hsm {
    /// For people: the module and the token.
    pub name: String,
    pub rules: MemberRules,
    pub filter: Filter,
    pub module: Arc<Module>,
    pub pool: Pool,
    pub objects: Objects,
    pub access: Mutex<Access>,
    /// One thread logs in again where the HSM has forgotten the login.
    pub reminding: Mutex<()>,
    /// How often that has happened: handles of private objects of before mean nothing.
    reminders: AtomicU64,
    /// Counts the connections; 0: none yet. Handles of an earlier one mean nothing.
    epoch: AtomicU64,
    /// Whether its sessions have validation flags.
    validates: OnceLock<bool>,
    /// Applications' open sessions.
    pub sessions: AtomicUsize,
    place: RwLock<Place>,
    /// One thread connects; the others wait for it and find its result.
    connecting: Mutex<Attempt>,
}

#[derive(Default)]
struct Place {
    slot: Option<CK_SLOT_ID>,
    info: Option<TokenInfo>,
    /// Which initialisation of the module this was found in.
    module: u64,
}

#[derive(Default)]
struct Attempt {
    /// When the last one was in vain, and why.
    failed: Option<(u64, Error)>,
}

impl Hsm {
    pub fn new(rules: MemberRules, filter: Filter, module: Arc<Module>) -> Hsm {
        let chosen = match &rules.chosen {
            Chosen::Token(label) => format!("token {label:?}"),
            Chosen::Serial(serial) => format!("serial {serial}"),
            Chosen::Index(index) => format!("token no. {index}"),
        };
        Hsm {
            name: format!("{}, {chosen}", module.path().display()),
            rules,
            filter,
            module,
            pool: Pool::default(),
            objects: Objects::default(),
            access: Mutex::default(),
            reminding: Mutex::default(),
            reminders: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            validates: OnceLock::new(),
            sessions: AtomicUsize::new(0),
            place: RwLock::default(),
            connecting: Mutex::default(),
        }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn reminders(&self) -> u64 {
        self.reminders.load(Ordering::Acquire)
    }

    pub fn count_reminder(&self) {
        self.reminders.fetch_add(1, Ordering::AcqRel);
    }

    pub fn validates(&self) -> bool {
        self.validates.get().copied().unwrap_or(false)
    }

    pub fn learn_of_validation(&self, ask: impl FnOnce() -> bool) {
        if self.validates.get().is_none() {
            let _ = self.validates.set(ask());
        }
    }

    pub fn slot(&self) -> Option<CK_SLOT_ID> {
        self.place.read().slot
    }

    /// The slot, and in which initialisation of the module it was found.
    pub fn slot_and_module(&self) -> Option<(CK_SLOT_ID, u64)> {
        let place = self.place.read();
        place.slot.map(|slot| (slot, place.module))
    }

    /// The token as it was at the last look.
    pub fn seen(&self) -> Option<TokenInfo> {
        self.place.read().info.clone()
    }

    pub fn is_lost(&self, rv: CK_RV) -> bool {
        rv == OVERDUE || quirks::lost(self.module.quirks, rv)
    }

    /// Whether the HSM was lost, and the call may go through at once when it is back. Who has waited to the deadline does not
    /// wait a second time.
    pub fn may_repeat(&self, rv: CK_RV) -> bool {
        rv != OVERDUE && self.is_lost(rv)
    }

    pub fn error(&self, fault: Fault) -> Error {
        match fault {
            Fault::Hsm(rv) => error_of(rv, &self.name),
            Fault::Own(error) => error,
        }
    }

    /// The number of the connection; makes the first one. `CKR_TOKEN_NOT_PRESENT`, and what the module says.
    pub fn connected(self: &Arc<Self>) -> Result<u64> {
        match self.epoch() {
            0 => self.recover(0),
            epoch => Ok(epoch),
        }
    }

    /// Connects anew, unless that has happened since the connection `seen`.
    pub fn recover(self: &Arc<Self>, seen: u64) -> Result<u64> {
        let mut attempt = self.connecting.lock();
        if self.epoch() != seen {
            return Ok(self.epoch());
        }
        if let Some((at, why)) = &attempt.failed
            && coarse_millis().saturating_sub(*at) < PAUSE
        {
            return Err(why.clone());
        }
        if seen > 0 {
            log!(Warn, "{}: lost; connecting again", self.name);
        }
        match self.connect(seen) {
            Ok(epoch) => {
                attempt.failed = None;
                if seen > 0 {
                    log!(Warn, "{}: connected again", self.name);
                }
                Ok(epoch)
            }
            Err(error) => {
                attempt.failed = Some((coarse_millis(), error.clone()));
                Err(error)
            }
        }
    }

    fn connect(self: &Arc<Self>, seen: u64) -> Result<u64> {
        let started = self.module.started()?;
        let known = self.place.read().module;
        if seen > 0 && started == known {
            self.end_idle();
        }
        let mut found = self.locate();
        // Where nothing but the sessions is gone, the module need not be disturbed: other slots may use it.
        let usable = |(slot, _): &(CK_SLOT_ID, TokenInfo)| {
            self.open_session(*slot).map(|session| drop(self.module.call(&Call::Close { session }, None))).is_ok()
        };
        let mut count = started;
        if seen > 0 && started == known && !found.as_ref().is_ok_and(usable) {
            count = self.module.restart(started)?;
            found = self.locate();
        }
        let (slot, info) = found?;
        let most = [self.rules.sessions, self.module.quirks.sessions, usize::try_from(info.max_sessions).unwrap_or(0)];
        let most = most.into_iter().filter(|most| *most > 0).min().unwrap_or(0);
        *self.place.write() = Place { slot: Some(slot), info: Some(info), module: count };
        let epoch = seen.saturating_add(1);
        self.pool.reset(epoch, most);
        self.objects.lost();
        // Before other threads may come: they would look in vain for their private objects, and take them for gone.
        let mut kept = None;
        if seen > 0 && self.logged_in().is_some() {
            // Without a login public objects can still be used: it is no failure of the connection.
            let lease = self.lease_of(epoch).map_err(|fault| self.error(fault));
            let again = lease.and_then(|lease| self.log_in_again(kept.insert(lease)));
            if let Err(error) = again {
                log!(Warn, "{}: not logged in again: {error}", self.name);
            }
        }
        self.epoch.store(epoch, Ordering::Release);
        // From here on it is the others' too.
        drop(kept);
        Ok(epoch)
    }

    /// The chosen token. `CKR_TOKEN_NOT_PRESENT` where there is none, or where two have the label.
    fn locate(&self) -> Result<(CK_SLOT_ID, TokenInfo)> {
        let slots = self.module.call(&Call::Slots, None).and_then(Reply::numbers);
        let slots = slots.map_err(|rv| self.error(rv.into()))?;
        let info = |slot: CK_SLOT_ID| self.module.call(&Call::Token { slot }, None).and_then(Reply::token);
        let mut found = Vec::new();
        for (at, slot) in slots.iter().enumerate() {
            if let Chosen::Index(index) = self.rules.chosen {
                if index == at {
                    found.push((*slot, info(*slot).map_err(|rv| self.error(rv.into()))?));
                }
                continue;
            }
            let Ok(info) = info(*slot) else { continue };
            let meant = match &self.rules.chosen {
                Chosen::Token(label) => info.label == *label,
                Chosen::Serial(serial) => info.serial == *serial,
                Chosen::Index(_) => false,
            };
            if meant {
                found.push((*slot, info));
            }
        }
        let count = found.len();
        match (count, found.pop()) {
            (1, Some(found)) => Ok(found),
            (0, _) => Err(Code::TokenNotPresent.because(format!(
                "{}: the module has {} tokens, and not this one",
                self.name,
                slots.len()
            ))),
            _ => Err(Code::TokenNotPresent
                .because(format!("{}: {count} tokens have this label; choose by serial", self.name))),
        }
    }

    /// Looks at the token without a session; after a loss once more.
    pub fn look<T>(self: &Arc<Self>, look: impl Fn(&Module, CK_SLOT_ID) -> Rv<T>) -> Result<T> {
        let mut epoch = self.connected()?;
        for last in [false, true] {
            let slot = self.slot().ok_or(Code::TokenNotPresent)?;
            match look(&self.module, slot) {
                Err(rv) if self.may_repeat(rv) && !last => epoch = self.recover(epoch)?,
                other => return other.map_err(|rv| self.error(rv.into())),
            }
        }
        Err(Code::DeviceError.into())
    }

    pub fn remember(&self, info: TokenInfo) {
        self.place.write().info = Some(info);
    }

    /// Works in a session of its own. After a loss the HSM is connected to again, for the sake of the next call; this one
    /// is made once more only if `replay` says that twice is as good as once.
    pub fn attempt<T>(self: &Arc<Self>, replay: bool, work: impl Fn(&mut Lease) -> Outcome<T>) -> Result<T> {
        self.attempt_with(replay, work).map(|(_, result)| result).map_err(removed)
    }

    /// As [`Hsm::attempt`] with replay, for what goes on in the session: an operation, a search.
    pub fn attempt_keeping<T>(self: &Arc<Self>, work: impl Fn(&mut Lease) -> Outcome<T>) -> Result<(Lease, T)> {
        self.attempt_with(true, work).map_err(removed)
    }

    fn attempt_with<T>(self: &Arc<Self>, replay: bool, work: impl Fn(&mut Lease) -> Outcome<T>) -> Result<(Lease, T)> {
        let (mut replayed, mut relogged, mut cleared) = (!replay, false, false);
        loop {
            let mut lease = self.lease()?;
            let (epoch, reminders) = (lease.epoch(), self.reminders());
            match work(&mut lease) {
                Ok(result) => return Ok((lease, result)),
                Err(Fault::Hsm(rv)) if self.is_lost(rv) => {
                    lease.discard();
                    self.recover(epoch)?;
                    if replayed || !self.may_repeat(rv) {
                        return Err(self.error(rv.into()));
                    }
                    replayed = true;
                }
                // Nothing was done: the HSM has forgotten who is logged in.
                Err(Fault::Hsm(CKR_USER_NOT_LOGGED_IN)) if !relogged && self.logged_in().is_some() => {
                    relogged = true;
                    self.remind(&lease)?;
                }
                // The same, as it looks from a handle: to whoever is not logged in there are no private objects.
                Err(Fault::Hsm(rv)) if !relogged && is_of_a_handle(rv) && self.forgot(&lease, reminders) => {
                    relogged = true;
                    self.remind(&lease)?;
                }
                // A session that an earlier failure has left busy is of no use any more.
                Err(Fault::Hsm(CKR_OPERATION_ACTIVE)) if !cleared => {
                    cleared = true;
                    lease.discard();
                }
                Err(fault) => return Err(self.error(fault)),
            }
        }
    }
}
