//! A slot as this process sees it: its token, its sessions' count, and the rules between sessions and logins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cryptoki_sys::*;

use super::hold;
use crate::error::{Code, Error, Result};
use crate::token::{Caller, ObjectId, SessionId, Token, TokenInfo, User};

/// A slot. Its number in this process (`ordinal`) is part of its objects' handles.
pub struct Slot {
    pub id: CK_SLOT_ID,
    pub token: Arc<dyn Token>,
    ordinal: u16,
    /// [`Token::approved_only`], which no call must ask for.
    pub approved_only: bool,
    /// No token yet: what `C_InitToken` fills.
    blank: AtomicBool,
    /// Was there once, and is no longer.
    gone: AtomicBool,
    gate: Mutex<Gate>,
}

/// How many sessions are open, and how many SO logins are under way: what the rules between them need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    pub read_only: u64,
    pub read_write: u64,
    so_logins: u64,
}

impl Gate {
    pub fn sessions(self) -> u64 {
        self.read_only.saturating_add(self.read_write)
    }
}

// A handle holds the slot beside the object's 52 bits.
const _: () = assert!(size_of::<CK_OBJECT_HANDLE>() == 8, "Keyward needs a 64-bit CK_ULONG");

impl Slot {
    /// Ordinals from here on do not fit a handle.
    pub const ORDINALS: usize = 1 << (64 - ObjectId::BITS);

    pub fn new(id: CK_SLOT_ID, ordinal: u16, token: Arc<dyn Token>, blank: bool) -> Slot {
        Slot {
            id,
            approved_only: token.approved_only(),
            token,
            ordinal,
            blank: AtomicBool::new(blank),
            gone: AtomicBool::new(false),
            gate: Mutex::new(Gate::default()),
        }
    }

    pub fn is_blank(&self) -> bool {
        self.blank.load(Ordering::Acquire)
    }

    pub fn set_blank(&self, blank: bool) {
        self.blank.store(blank, Ordering::Release);
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether that is news.
    pub fn set_gone(&self, gone: bool) -> bool {
        self.gone.swap(gone, Ordering::AcqRel) != gone
    }

    /// The handle of an object of this slot's token. `CKR_GENERAL_ERROR` where the token broke its word on the size.
    pub fn handle(&self, object: ObjectId) -> Result<CK_OBJECT_HANDLE> {
        if object.0 == 0 || object.0 >> ObjectId::BITS != 0 {
            Err(Code::GeneralError.because("the token numbered an object outside of the range of handles"))?;
        }
        Ok((u64::from(self.ordinal) << ObjectId::BITS) | object.0)
    }

    /// The object of a handle; `CKR_OBJECT_HANDLE_INVALID` for 0 and for a handle of another slot.
    pub fn object(&self, handle: CK_OBJECT_HANDLE) -> Result<ObjectId> {
        let id = handle & ((1 << ObjectId::BITS) - 1);
        if id == 0 || handle >> ObjectId::BITS != u64::from(self.ordinal) {
            Err(Code::ObjectHandleInvalid)?;
        }
        Ok(ObjectId(id))
    }

    pub fn counts(&self) -> Gate {
        *hold(&self.gate)
    }

    /// `CKR_TOKEN_NOT_PRESENT` where the token is gone.
    pub fn present(&self) -> Result<&dyn Token> {
        if self.is_gone() { Err(Code::TokenNotPresent.into()) } else { Ok(&*self.token) }
    }

    pub fn info(&self) -> Result<TokenInfo> {
        self.present()?.info()
    }

    /// Counts a session in. `CKR_SESSION_READ_WRITE_SO_EXISTS`, `CKR_TOKEN_NOT_RECOGNIZED` while there is no token yet,
    /// `CKR_TOKEN_WRITE_PROTECTED`, and what the token says.
    pub fn enter(&self, session: SessionId, read_write: bool) -> Result<()> {
        let token = self.present()?;
        if self.is_blank() && !self.filled_elsewhere(token) {
            Err(Code::TokenNotRecognized.because("the token is not initialised"))?;
        }
        let mut gate = hold(&self.gate);
        if !read_write && (gate.so_logins > 0 || token.logged_in() == Some(User::SecurityOfficer)) {
            Err(Code::SessionReadWriteSoExists)?;
        }
        token.open_session(Caller { session, read_write })?;
        *gate.count(read_write) += 1;
        Ok(())
    }

    /// Another process may have initialised the token since the slots were listed.
    fn filled_elsewhere(&self, token: &dyn Token) -> bool {
        let filled = token.info().is_ok_and(|info| info.flags & CKF_TOKEN_INITIALIZED != 0);
        if filled {
            self.set_blank(false);
        }
        filled
    }

    /// Counts a session out; the last one logs out.
    pub fn leave(&self, session: SessionId, read_write: bool) {
        self.token.close_session(session);
        let mut gate = hold(&self.gate);
        let count = gate.count(read_write);
        *count = count.saturating_sub(1);
        self.log_out_if_empty(*gate);
    }

    fn log_out_if_empty(&self, gate: Gate) {
        if gate.sessions() == 0 && self.token.logged_in().is_some() {
            // Nobody is left who could be told.
            let _ = self.token.logout();
        }
    }

    /// `C_InitToken`. No session can be opened meanwhile. `CKR_SESSION_EXISTS`, and what the token says.
    pub fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        let gate = hold(&self.gate);
        if gate.sessions() > 0 {
            Err(Code::SessionExists)?;
        }
        // A blank slot that another process's token has pushed aside can still be filled.
        if self.is_gone() && !self.is_blank() {
            Err(Code::TokenNotPresent)?;
        }
        self.token.initialize(so_pin, label)?;
        self.set_blank(false);
        Ok(())
    }

    /// `C_Login` as the SO or the user; `C_LoginUser` with a name. `CKR_SESSION_READ_ONLY_EXISTS`, `CKR_USER_ALREADY_LOGGED_IN`,
    /// `CKR_USER_ANOTHER_ALREADY_LOGGED_IN`, and what the token says of the PIN.
    pub fn login(&self, caller: Caller, user: User, name: Option<&str>, pin: &[u8]) -> Result<()> {
        let _under_way = match user {
            User::SecurityOfficer => Some(SoLogin::start(self)?),
            User::User => None,
        };
        if let Some(already) = self.token.logged_in() {
            let named = name.map(str::to_owned).or_else(|| self.token.name_before(pin));
            let same = already == user && named.as_deref() == self.token.login_name().as_deref();
            Err(if same { Code::UserAlreadyLoggedIn } else { Code::UserAnotherAlreadyLoggedIn })?;
        }
        // No lock is held here: deriving the key takes tens of milliseconds.
        match name {
            None => self.token.login(caller, user, pin)?,
            Some(name) => self.token.login_named(caller, user, name, pin)?,
        }
        let gate = hold(&self.gate);
        self.log_out_if_empty(*gate);
        if gate.sessions() == 0 { Err(Error::from(Code::SessionClosed)) } else { Ok(()) }
    }
}

impl Gate {
    fn count(&mut self, read_write: bool) -> &mut u64 {
        if read_write { &mut self.read_write } else { &mut self.read_only }
    }
}

/// While it lives no read-only session opens.
struct SoLogin<'a>(&'a Slot);

impl SoLogin<'_> {
    fn start(slot: &Slot) -> Result<SoLogin<'_>> {
        let mut gate = hold(&slot.gate);
        if gate.read_only > 0 {
            Err(Code::SessionReadOnlyExists)?;
        }
        gate.so_logins = gate.so_logins.saturating_add(1);
        Ok(SoLogin(slot))
    }
}

impl Drop for SoLogin<'_> {
    fn drop(&mut self) {
        let mut gate = hold(&self.0.gate);
        gate.so_logins = gate.so_logins.saturating_sub(1);
    }
}
