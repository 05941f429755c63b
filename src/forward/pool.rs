//! The sessions with an HSM: as many as are needed at once and it allows, each used by one call or operation at a time. The
//! sessions of applications are not those: there may be any number of them.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use parking_lot::{Condvar, Mutex};

use super::call::{Call, Reply, Rv};
use super::fault::{Fault, Outcome};
use super::hsm::Hsm;
use crate::error::{Code, Result};
use crate::token::{SessionId, Use};

/// How long a call waits for a session when all are taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sessions at once with an HSM that states no limit.
const MANY: usize = 4096;

/// An open session with the HSM.
#[derive(Clone, Copy)]
struct Held {
    handle: CK_SESSION_HANDLE,
    epoch: u64,
    /// Which initialisation of the module gave it.
    module: u64,
    /// Session objects were made in it, which end with it.
    owns: bool,
    /// Counts what was done in it that alters its validation flags.
    worked: u64,
}

#[derive(Default)]
struct State {
    /// Of which connection all this is.
    epoch: u64,
    idle: Vec<Held>,
    /// In which an operation could not be ended. They have session objects, and so stay as long as applications have sessions.
    stuck: Vec<Held>,
    /// The handles of this connection's sessions, idle or not.
    live: HashSet<CK_SESSION_HANDLE>,
    /// All that are open, idle or not.
    open: usize,
    most: usize,
    /// Nobody has a session with the token: what comes back is closed.
    deserted: bool,
}

#[derive(Default)]
pub struct Pool {
    state: Mutex<State>,
    freed: Condvar,
    /// Which session a context-specific login is for.
    waiting: Mutex<HashMap<SessionId, (CK_SESSION_HANDLE, u64)>>,
    /// Where the last operation of a session came to its end, in an HSM that has validation flags to tell of it.
    completed: Mutex<HashMap<SessionId, Held>>,
}

impl Pool {
    /// At the connection `epoch`: `most` sessions may be open, and none is.
    pub fn reset(&self, epoch: u64, most: usize) {
        let mut state = self.state.lock();
        state.epoch = epoch;
        state.idle.clear();
        state.stuck.clear();
        state.live.clear();
        state.open = 0;
        state.most = if most == 0 { MANY } else { most };
        self.waiting.lock().clear();
        self.completed.lock().clear();
        self.freed.notify_all();
    }

    pub fn await_login(&self, session: SessionId, lease: &Lease) {
        self.waiting.lock().insert(session, (lease.held.handle, lease.held.module));
    }

    /// The session that waits, and which initialisation of the module gave it.
    pub fn awaiting_login(&self, session: SessionId) -> Option<(CK_SESSION_HANDLE, u64)> {
        self.waiting.lock().get(&session).copied()
    }

    pub fn forget(&self, session: SessionId) {
        self.waiting.lock().remove(&session);
    }

    /// The application has closed it.
    pub fn closed(&self, session: SessionId) {
        self.forget(session);
        self.completed.lock().remove(&session);
    }

    /// The idle session in which this one's last operation came to its end, unless something else was done in it since.
    fn take_completed(&self, session: SessionId) -> Option<Held> {
        let completed = *self.completed.lock().get(&session)?;
        let mut state = self.state.lock();
        let same = |held: &Held| {
            (held.handle, held.epoch, held.worked) == (completed.handle, completed.epoch, completed.worked)
        };
        let at = state.idle.iter().position(same)?;
        Some(state.idle.swap_remove(at))
    }

    pub fn open_up(&self) {
        self.state.lock().deserted = false;
    }

    /// The idle sessions and those that are stuck, for closing; later ones are closed when they come back.
    fn desert(&self) -> Vec<Held> {
        let mut state = self.state.lock();
        state.deserted = true;
        let mut all = std::mem::take(&mut state.stuck);
        state.open = state.open.saturating_sub(all.len());
        drop(state);
        all.extend(self.take_idle());
        all
    }

    /// Whether it may be left open, though of no more use, and is.
    fn leave_stuck(&self, held: Held) -> bool {
        let mut state = self.state.lock();
        let kept = held.epoch == state.epoch && !state.deserted;
        if kept {
            state.stuck.push(held);
        }
        kept
    }

    /// The idle sessions, for closing.
    fn take_idle(&self) -> Vec<Held> {
        let mut state = self.state.lock();
        state.open = state.open.saturating_sub(state.idle.len());
        std::mem::take(&mut state.idle)
    }

    fn give_back(&self, held: Held) -> bool {
        let mut state = self.state.lock();
        let ours = held.epoch == state.epoch;
        let kept = ours && !state.deserted;
        if kept {
            state.idle.push(held);
        } else if ours {
            state.open = state.open.saturating_sub(1);
        }
        self.freed.notify_one();
        kept
    }

    fn lost(&self, held: Held) {
        let mut state = self.state.lock();
        if held.epoch == state.epoch {
            state.open = state.open.saturating_sub(1);
            self.freed.notify_one();
        }
    }
}

/// A session with the HSM that is ours until this is dropped.
pub struct Lease {
    hsm: Arc<Hsm>,
    held: Held,
    worked: Cell<u64>,
    /// An operation is active in it.
    active: Option<Active>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Active {
    Operation(Use),
    Search,
}

impl Lease {
    fn of(hsm: &Arc<Hsm>, held: Held) -> Lease {
        Lease { hsm: Arc::clone(hsm), held, worked: Cell::new(held.worked), active: None }
    }

    pub fn session(&self) -> CK_SESSION_HANDLE {
        self.held.handle
    }

    pub fn epoch(&self) -> u64 {
        self.held.epoch
    }

    pub fn call(&self, call: &Call<'_>) -> Rv<Reply> {
        self.count(call);
        self.hsm.module.call_of(self.held.module, call, None)
    }

    pub fn fill(&self, call: &Call<'_>, out: &mut [u8]) -> Rv<Reply> {
        self.count(call);
        self.hsm.module.call_of(self.held.module, call, Some(out))
    }

    fn count(&self, call: &Call<'_>) {
        if call.is_work() {
            self.worked.set(self.worked.get().wrapping_add(1));
        }
    }

    /// An operation of this session of the application's has come to its end here, and nothing was done since.
    pub fn completed(&self, session: SessionId) {
        if self.hsm.validates() {
            let held = Held { worked: self.worked.get(), ..self.held };
            self.hsm.pool.completed.lock().insert(session, held);
        }
    }

    /// A session object was made in it.
    pub fn owns(&mut self) {
        self.held.owns = true;
    }

    pub fn set_active(&mut self, active: Option<Active>) {
        self.active = active;
    }

    /// Frees the session of its operation, or fails.
    fn cancel(&self, active: Active) -> Rv<()> {
        let session = self.held.handle;
        match active {
            Active::Search => self.call(&Call::FindEnd { session }).map(drop),
            Active::Operation(what) => {
                let cancel = || self.call(&Call::Cancel { session, flags: flag(what) }).map(drop);
                match what {
                    // Their own end will do, unless one of the messages is not over.
                    Use::MessageEncrypt | Use::MessageDecrypt | Use::MessageSign | Use::MessageVerify => {
                        self.call(&Call::MessagesEnd { session, what }).map(drop).or_else(|_| cancel())
                    }
                    _ => cancel(),
                }
            }
        }
    }

    /// Does not go back to the others.
    pub fn discard(mut self) {
        self.active = None;
        self.hsm.close(self.held, self.hsm.epoch());
        self.held.epoch = 0;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let epoch = self.hsm.epoch();
        if self.held.epoch == 0 || epoch == 0 {
            return;
        }
        if self.held.epoch != epoch {
            return self.hsm.end_stale(self.held);
        }
        if let Some(active) = self.active.take()
            && self.cancel(active).is_err()
        {
            // It cannot be used again, nor closed while it keeps its objects.
            if !(self.held.owns && self.hsm.pool.leave_stuck(self.held)) {
                self.hsm.close(self.held, epoch);
            }
            return;
        }
        if !self.hsm.pool.give_back(Held { worked: self.worked.get(), ..self.held }) {
            self.hsm.end_session(self.held);
        }
    }
}

fn flag(what: Use) -> CK_FLAGS {
    match what {
        Use::Encrypt => CKF_ENCRYPT,
        Use::Decrypt => CKF_DECRYPT,
        Use::Digest => CKF_DIGEST,
        Use::Sign => CKF_SIGN,
        Use::SignRecover => CKF_SIGN_RECOVER,
        Use::Verify | Use::VerifySignature => CKF_VERIFY,
        Use::VerifyRecover => CKF_VERIFY_RECOVER,
        Use::MessageEncrypt => CKF_MESSAGE_ENCRYPT,
        Use::MessageDecrypt => CKF_MESSAGE_DECRYPT,
        Use::MessageSign => CKF_MESSAGE_SIGN,
        Use::MessageVerify => CKF_MESSAGE_VERIFY,
        Use::Random => 0,
    }
}

impl Hsm {
    /// An idle session, or a new one; waits where all that there may be are taken. `CKR_DEVICE_MEMORY` after 10 seconds.
    pub fn lease(self: &Arc<Self>) -> Result<Lease> {
        let mut reconnected = false;
        loop {
            let epoch = self.connected()?;
            match self.lease_of(epoch) {
                Ok(lease) => return Ok(lease),
                Err(Fault::Hsm(rv)) if self.may_repeat(rv) && !reconnected => {
                    reconnected = true;
                    self.recover(epoch)?;
                }
                Err(fault) => return Err(self.error(fault)),
            }
        }
    }

    pub(super) fn lease_of(self: &Arc<Self>, epoch: u64) -> Outcome<Lease> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.pool.state.lock();
        loop {
            // Another thread has connected anew, or is about to.
            if state.epoch != epoch {
                return Err(Fault::Hsm(CKR_SESSION_HANDLE_INVALID));
            }
            if let Some(held) = state.idle.pop() {
                return Ok(Lease::of(self, held));
            }
            if state.open < state.most {
                state.open = state.open.saturating_add(1);
                drop(state);
                match self.new_session(epoch) {
                    Ok(held) => return Ok(Lease::of(self, held)),
                    Err(rv) => {
                        state = self.pool.state.lock();
                        if state.epoch != epoch {
                            return Err(Fault::Hsm(CKR_SESSION_HANDLE_INVALID));
                        }
                        state.open = state.open.saturating_sub(1);
                        if rv != CKR_SESSION_COUNT || state.open == 0 {
                            return Err(Fault::Hsm(rv));
                        }
                        // So many there may be, and no more.
                        state.most = state.open;
                    }
                }
            } else if self.pool.freed.wait_until(&mut state, until).timed_out() {
                let why = format!(
                    "all {} sessions with the HSM are taken; raise `sessions` in the configuration",
                    state.most
                );
                return Err(Code::DeviceMemory.because(why).into());
            }
        }
    }

    pub(super) fn open_session(&self, slot: CK_SLOT_ID) -> Rv<CK_SESSION_HANDLE> {
        let open = |read_write| self.module.call(&Call::Open { slot, read_write }, None).and_then(Reply::number);
        match open(true) {
            Err(CKR_TOKEN_WRITE_PROTECTED) => open(false),
            other => other,
        }
    }

    fn new_session(&self, epoch: u64) -> Rv<Held> {
        // Asked before: should the module be initialised anew meanwhile, the session counts as one of before.
        let (slot, module) = self.slot_and_module().ok_or(CKR_TOKEN_NOT_PRESENT)?;
        let handle = self.open_session(slot)?;
        let mut state = self.pool.state.lock();
        if state.epoch == epoch {
            state.live.insert(handle);
        }
        drop(state);
        self.learn_of_validation(|| self.module.call_of(module, &Call::Validation { session: handle }, None).is_ok());
        Ok(Held { handle, epoch, module, owns: false, worked: 0 })
    }

    /// `C_GetSessionValidationFlags`: what the HSM says of the last operation of this session of the application's. None where that was
    /// not the last thing done in the HSM's own session, since then nobody knows.
    pub fn validation_flags(self: &Arc<Self>, session: SessionId) -> Result<CK_FLAGS> {
        let Some(held) = self.pool.take_completed(session) else { return Ok(0) };
        let lease = Lease::of(self, held);
        let flags = lease.call(&Call::Validation { session: lease.session() }).and_then(Reply::number);
        flags.map_err(|rv| self.error(rv.into()))
    }

    fn end_session(&self, held: Held) {
        let mut state = self.pool.state.lock();
        if state.epoch == held.epoch {
            state.live.remove(&held.handle);
        }
        drop(state);
        let _ = self.module.call_of(held.module, &Call::Close { session: held.handle }, None);
    }

    /// One of an earlier connection: the HSM may have it still, and with it the login, or have given its number anew.
    fn end_stale(&self, held: Held) {
        if !self.pool.state.lock().live.contains(&held.handle) {
            let _ = self.module.call_of(held.module, &Call::Close { session: held.handle }, None);
        }
    }

    /// Closes the idle sessions of a connection that is given up, where the HSM is still there to hear of it.
    pub(super) fn end_idle(&self) {
        for held in self.pool.take_idle() {
            let closed = self.module.call_of(held.module, &Call::Close { session: held.handle }, None);
            if closed.is_err_and(|rv| self.is_lost(rv)) {
                return;
            }
        }
    }

    /// Closes a session that is of no more use. The login lasts as long as any is open: the last one is replaced first.
    fn close(&self, held: Held, epoch: u64) {
        if held.epoch != epoch {
            return;
        }
        let last = {
            let state = self.pool.state.lock();
            state.open <= 1 && state.most > 1 && !state.deserted
        };
        if last && let Ok(new) = self.new_session(epoch) {
            let mut state = self.pool.state.lock();
            if state.epoch == epoch {
                state.open = state.open.saturating_add(1);
                state.idle.push(new);
            } else {
                drop(state);
                self.end_session(new);
            }
        }
        self.end_session(held);
        self.pool.lost(held);
    }

    /// Nobody has a session with the token any more: nor have we.
    pub fn desert(&self) {
        for held in self.pool.desert() {
            if held.epoch == self.epoch() {
                self.end_session(held);
            }
        }
    }
}
