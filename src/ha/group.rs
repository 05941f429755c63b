//! The members together: whose turn it is, who is there, who is logged in; and the one way by which all calls reach them.

mod access;
mod resolve;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cryptoki_sys::*;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use self::access::Access;
use super::identity::{self, Held};
use super::member::{Member, Part, is_loss, is_trouble};
use super::objects::Objects;
use super::state::{self, Note, State};
use crate::config::{HaRules, Order};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::os::coarse_millis;
use crate::token::*;

pub struct Group {
    pub name: String,
    pub rules: HaRules,
    pub members: Vec<Member>,
    pub objects: Objects,
    pub state: State,
    pub serial: String,
    turn: AtomicUsize,
    access: RwLock<Option<Access>>,
    sessions: Mutex<HashSet<SessionId>>,
    /// When the members that nobody uses are looked at next.
    next_check: AtomicU64,
}

/// Members by their place in the list.
pub type Places = SmallVec<[usize; 8]>;

/// What was found on the way through the members, for the one error at its end.
#[derive(Default)]
struct Findings {
    ambiguous: Option<Error>,
    /// A member that may have it is not there.
    away: Option<Error>,
    refused: Option<Error>,
}

impl Group {
    pub fn new(rules: HaRules, slot: u64, parts: Vec<Part>) -> Group {
        let check = u64::try_from(rules.patience.check.as_millis()).unwrap_or(u64::MAX);
        Group {
            name: format!("HA slot {:?}", rules.label),
            members: parts.into_iter().map(|part| Member::new(part, rules.patience)).collect(),
            objects: Objects::default(),
            state: State::new(&rules.state, slot),
            serial: format!("{slot:016x}"),
            turn: AtomicUsize::new(0),
            access: RwLock::new(None),
            sessions: Mutex::default(),
            next_check: AtomicU64::new(coarse_millis().saturating_add(check)),
            rules,
        }
    }

    /// In the order in which they are asked.
    pub fn order(&self) -> Places {
        let count = self.members.len();
        let first = match self.rules.order {
            Order::Priority => 0,
            Order::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1),
        };
        (first..count).chain(0..first).collect()
    }

    pub fn member(&self, at: usize) -> Result<&Member> {
        self.members.get(at).ok_or_else(|| Code::GeneralError.into())
    }

    /// Whether a token is that member's.
    pub fn is(&self, at: usize, token: &Arc<dyn Token>) -> bool {
        self.members.get(at).and_then(|member| member.token().ok()).is_some_and(|own| Arc::ptr_eq(own, token))
    }

    // ---- health ----

    pub fn succeeded(&self, at: usize) {
        let Some(member) = self.members.get(at) else { return };
        member.has_answered();
        if member.breaker.succeeded() {
            log!(Warn, "{}: member {} is back", self.name, member.name);
            self.objects.look_again(at);
            self.note(member, false, "");
        }
    }

    /// What a member answered, for its breaker.
    pub fn failed(&self, at: usize, error: &Error) {
        let Some(member) = self.members.get(at).filter(|_| is_loss(error.code())) else { return };
        if member.breaker.failed(coarse_millis()) {
            log!(Warn, "{}: member {} is left alone for a while: {error}", self.name, member.name);
            self.note(member, true, &error.to_string());
        }
    }

    fn note(&self, member: &Member, open: bool, why: &str) {
        let (member, why) = (member.name.clone(), why.to_owned());
        self.state.note(&Note { member, open, why, at: state::now(), process: std::process::id() });
    }

    /// Looks at one member that has not been used for a while, so that its loss is known before it is needed.
    fn check_in_passing(&self) {
        let (now, due) = (coarse_millis(), self.next_check.load(Ordering::Relaxed));
        if now < due {
            return;
        }
        let check = u64::try_from(self.rules.patience.check.as_millis()).unwrap_or(u64::MAX);
        // Spread over the members, and by one caller alone.
        let next = now.saturating_add(check / self.members.len().max(1) as u64);
        if self.next_check.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let quiet =
            |(_, member): &(usize, &Member)| now.saturating_sub(member.answered.load(Ordering::Relaxed)) >= check;
        let longest = self
            .members
            .iter()
            .enumerate()
            .filter(quiet)
            .min_by_key(|(_, member)| member.answered.load(Ordering::Relaxed));
        if let Some((at, member)) = longest
            && member.breaker.admits(now)
        {
            match member.token().and_then(|token| token.info()) {
                Ok(_) => self.succeeded(at),
                Err(error) => self.failed(at, &error),
            }
        }
    }

    // ---- calls ----

    /// A member that can be used: open, logged in, and without what was destroyed meanwhile.
    pub fn ready(&self, at: usize, caller: Caller) -> Result<&Arc<dyn Token>> {
        let member = self.member(at)?;
        if !member.breaker.admits(coarse_millis()) {
            return Err(
                Code::DeviceRemoved.because(format!("member {} has failed and is left alone for a while", member.name))
            );
        }
        let enter = || -> Result<&Arc<dyn Token>> {
            let token = member.token()?;
            member.open(caller)?;
            let user = self.logged_in();
            if user.is_some() && token.logged_in() != user {
                let _one = member.entering.lock();
                self.follow(member, caller)?;
            }
            // A member that was away may have to destroy something, by the word of another process.
            match member.breaker.is_clean() {
                true => self.state.refresh_if_old()?,
                false => self.state.refresh()?,
            }
            if self.state.any() {
                self.bury(at, token, caller)?;
            }
            Ok(token)
        };
        enter().inspect_err(|error| self.failed(at, error))
    }

    /// Destroys on a member what was destroyed while it was away.
    fn bury(&self, at: usize, token: &Arc<dyn Token>, caller: Caller) -> Result<()> {
        let member = self.member(at)?;
        if self.state.pending(&member.name).is_empty() {
            return Ok(());
        }
        let _one = member.entering.lock();
        // Those that another thread has left.
        for stone in self.state.pending(&member.name) {
            let name = stone.identity.name();
            let caller = Caller { read_write: true, ..caller };
            let gone = match identity::held(&**token, caller, &stone.identity) {
                Ok(Held::One(object)) => token.destroy(caller, object).map(|()| true),
                // Before a login private objects are not seen.
                Ok(Held::No) => Ok(!stone.private || token.logged_in() == Some(User::User)),
                Ok(Held::Several) => {
                    log!(
                        Error,
                        "{}: member {} has several of {name}, which was destroyed: destroy them there",
                        self.name,
                        member.name
                    );
                    Ok(false)
                }
                Err(error) => Err(error),
            };
            match gone {
                Ok(true) => {
                    log!(
                        Warn,
                        "{}: {name}, destroyed while member {} was away, is gone there too",
                        self.name,
                        member.name
                    );
                    self.state.remove(&member.name, &stone.identity.fingerprint)?;
                }
                Ok(false) => {}
                Err(error) if is_loss(error.code()) => return Err(error),
                Err(error) => log!(Error, "{}: {name} is still on member {}: {error}", self.name, member.name),
            }
        }
        Ok(())
    }

    /// Works with objects on one member. `None`: it does not have them all.
    pub fn once<T>(
        &self,
        at: usize,
        caller: Caller,
        ids: &[ObjectId],
        work: impl Fn(&Arc<dyn Token>, &[ObjectId]) -> Result<T>,
    ) -> Result<Option<T>> {
        let token = self.ready(at, caller)?;
        // Once more where the member knows an object by another number than it did.
        for last in [false, true] {
            let found = self.resolve_all(at, token, caller, ids).inspect_err(|error| self.failed(at, error))?;
            let Some(found) = found else { return Ok(None) };
            let error = match work(token, &found) {
                Ok(result) => {
                    self.succeeded(at);
                    return Ok(Some(result));
                }
                Err(error) => error,
            };
            match is_loss(error.code()) {
                true => self.failed(at, &error),
                false => self.succeeded(at),
            }
            let of_a_handle = matches!(error.code(), Code::ObjectHandleInvalid | Code::KeyHandleInvalid);
            match of_a_handle && self.lost_track(at, token, caller, ids, &found) {
                true if last => return Ok(None),
                true => {}
                false => return Err(error),
            }
        }
        Ok(None)
    }

    /// Works with objects on the first member that can, in this order, and says which that was. Where a member fails in the
    /// middle of it, the next one is asked only if `replay` says that twice is as good as once.
    pub fn among<T>(
        &self,
        order: Places,
        replay: bool,
        caller: Caller,
        ids: &[ObjectId],
        work: impl Fn(&Arc<dyn Token>, &[ObjectId]) -> Result<T>,
    ) -> Result<(usize, T)> {
        self.check_in_passing();
        if let Some(id) = ids.iter().find(|id| self.objects.entry(**id).is_none()) {
            let place = ids.iter().position(|other| other == id).unwrap_or(0);
            return Err(Error::from(Code::ObjectHandleInvalid).of(place));
        }
        let mut findings = Findings::default();
        for at in order {
            let begun = std::cell::Cell::new(false);
            let done = self.once(at, caller, ids, |token, found| {
                begun.set(true);
                work(token, found)
            });
            match done {
                Ok(Some(result)) => return Ok((at, result)),
                Ok(None) => {}
                Err(error) if begun.get() && (!replay || !is_trouble(error.code())) => return Err(error),
                Err(error) if is_loss(error.code()) => findings.away = Some(error),
                Err(error) if error.code() == Code::ObjectHandleInvalid => findings.ambiguous = Some(error),
                Err(error) => findings.refused = Some(error),
            }
        }
        Err(self.concluded(findings))
    }

    fn concluded(&self, findings: Findings) -> Error {
        let Findings { ambiguous, away, refused } = findings;
        if let Some(error) = ambiguous.or(refused) {
            return error;
        }
        match away {
            Some(error) => self.away(&error.to_string()),
            None => Code::ObjectHandleInvalid.because(format!("{}: no member has the object any more", self.name)),
        }
    }

    fn away(&self, why: &str) -> Error {
        Code::DeviceRemoved.because(format!("{}: no member that is there can do it: {why}", self.name))
    }

    fn nobody(&self) -> Error {
        self.away("all have failed and are left alone for a while")
    }

    /// As [`Group::among`] in the configured order.
    pub fn on<T>(
        &self,
        replay: bool,
        caller: Caller,
        ids: &[ObjectId],
        work: impl Fn(&Arc<dyn Token>, &[ObjectId]) -> Result<T>,
    ) -> Result<(usize, T)> {
        self.among(self.order(), replay, caller, ids, work)
    }

    /// Where a member answers without a session: its information, its mechanisms.
    pub fn answers<T>(&self, ask: impl Fn(&Arc<dyn Token>) -> Result<T>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut failure = None;
        for (at, member) in self.members.iter().enumerate() {
            if !member.breaker.admits(coarse_millis()) {
                continue;
            }
            match member.token().and_then(&ask) {
                Ok(answer) => {
                    self.succeeded(at);
                    all.push(answer);
                }
                Err(error) => {
                    self.failed(at, &error);
                    failure = Some(error);
                }
            }
        }
        match (all.is_empty(), failure) {
            (false, _) => Ok(all),
            (true, Some(error)) => Err(error),
            (true, None) => Err(self.nobody()),
        }
    }
}

/// The mechanism with a member's numbers of objects, which follow those of the call itself.
pub fn translated(mechanism: &Mechanism, own: &[ObjectId]) -> Mechanism {
    let mut mechanism = mechanism.clone();
    let mut own = own.iter();
    let _ = mechanism.params.map_objects(|id| {
        *id = *own.next().ok_or(())?;
        Ok::<(), ()>(())
    });
    mechanism
}

/// The objects of a call: its own, and those among the parameters of its mechanism.
pub fn objects_of(own: &[ObjectId], mechanism: &Mechanism) -> SmallVec<[ObjectId; 4]> {
    own.iter().copied().chain(mechanism.params.objects()).collect()
}

/// An HSM's own flags, of all of them.
pub fn common_flags(all: &[TokenInfo]) -> CK_FLAGS {
    let any = |flag: CK_FLAGS| all.iter().any(|info| info.flags & flag != 0);
    let every = |flag: CK_FLAGS| !all.is_empty() && all.iter().all(|info| info.flags & flag != 0);
    let of = |flags: &[CK_FLAGS], has: &dyn Fn(CK_FLAGS) -> bool| {
        flags.iter().filter(|flag| has(**flag)).fold(0, |sum, flag| sum | flag)
    };
    // What an application must do holds if any member asks for it; what it may rely on, if all have it.
    of(&[CKF_LOGIN_REQUIRED, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_TO_BE_CHANGED], &any)
        | of(
            &[
                CKF_RNG,
                CKF_TOKEN_INITIALIZED,
                CKF_USER_PIN_INITIALIZED,
                CKF_USER_PIN_LOCKED,
                CKF_WRITE_PROTECTED,
                CKF_PROTECTED_AUTHENTICATION_PATH,
            ],
            &every,
        )
}
