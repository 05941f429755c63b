//! Who is logged in: the HSM's user, or the overlay's administrator, who is this slot's security officer. The HSM's own security
//! officer has no business here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use crate::error::{Code, Result};
use crate::token::*;

impl Shared {
    pub fn open_session(&self, caller: Caller) -> Result<()> {
        self.inner.open_session(caller)?;
        self.sessions.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    pub fn close_session(&self, session: SessionId) {
        self.inner.close_session(session);
        self.objects.end_session(session);
        if self.sessions.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.book.log_officer_out();
            self.objects.forget_all();
        }
    }

    pub fn logged_in(&self) -> Option<User> {
        if self.book.officer_is_in() { Some(User::SecurityOfficer) } else { self.inner.logged_in() }
    }

    pub fn login(&self, caller: Caller, user: User, pin: &[u8]) -> Result<()> {
        self.enter(user, || match user {
            User::SecurityOfficer => self.book.log_officer_in(pin),
            User::User => self.inner.login(caller, user, pin),
        })
    }

    /// The overlay's administrator has no name.
    pub fn login_named(&self, caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()> {
        self.enter(user, || match user {
            User::SecurityOfficer => Err(Code::UserTypeInvalid.into()),
            User::User => self.inner.login_named(caller, user, name, pin),
        })
    }

    pub fn login_name(&self) -> Option<Arc<str>> {
        if self.book.officer_is_in() { None } else { self.inner.login_name() }
    }

    fn enter(&self, user: User, log_in: impl FnOnce() -> Result<()>) -> Result<()> {
        let _one = self.book.authenticating.lock();
        match (self.logged_in(), user) {
            (Some(now), wanted) if now == wanted => return Err(Code::UserAlreadyLoggedIn.into()),
            (Some(_), _) => return Err(Code::UserAnotherAlreadyLoggedIn.into()),
            (None, _) => log_in()?,
        }
        self.objects.forget_all();
        Ok(())
    }

    pub fn reauthenticate(&self, caller: Caller, pin: &[u8]) -> Result<()> {
        match self.book.officer_is_in() {
            true => self.book.is_officer(pin),
            false => self.inner.reauthenticate(caller, pin),
        }
    }

    pub fn logout(&self) -> Result<()> {
        let _one = self.book.authenticating.lock();
        self.objects.forget_all();
        if self.book.log_officer_out() { Ok(()) } else { self.inner.logout() }
    }

    pub fn set_pin(&self, caller: Caller, old: &[u8], new: &[u8]) -> Result<()> {
        match self.book.officer_is_in() {
            true => self.book.change_pin(old, new),
            false => self.inner.set_pin(caller, old, new),
        }
    }
}
