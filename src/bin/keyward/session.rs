//! One session with a token, closed and logged out again whatever happens.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyward::error::Code;
use keyward::token::{Caller, SessionId, Token, User};

use crate::failure::{Failure, Result};
use crate::pins::{Pin, Reader};

pub struct Session {
    pub token: Arc<dyn Token>,
    pub caller: Caller,
    logged_in: bool,
}

impl Session {
    pub fn open(token: &Arc<dyn Token>, read_write: bool) -> Result<Session> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let caller = Caller { session: SessionId(NEXT.fetch_add(1, Ordering::Relaxed)), read_write };
        token.open_session(caller).map_err(Failure::of("cannot open a session"))?;
        Ok(Session { token: token.clone(), caller, logged_in: false })
    }

    pub fn login(&mut self, user: User, pin: &Pin) -> Result<()> {
        let doing = match user {
            User::SecurityOfficer => "cannot log in as the SO",
            User::User => "cannot log in",
        };
        let coded;
        let pin = match self.token.wants_code(user, pin) && std::io::stdin().is_terminal() {
            true => {
                coded = Reader::with_code(pin)?;
                &coded
            }
            false => pin,
        };
        self.token.login(self.caller, user, pin).map_err(|error| {
            // The token's own sentence may already count the tries.
            let locked_soon = error.code() == Code::PinIncorrect && error.why().is_none();
            let mut failure = Failure::of(doing)(error);
            if let Some(warning) = locked_soon.then(|| self.last_tries(user)).flatten() {
                failure.message.push_str(warning);
            }
            failure
        })?;
        self.logged_in = true;
        Ok(())
    }

    /// What the token's flags say after a wrong PIN.
    fn last_tries(&self, user: User) -> Option<&'static str> {
        use cryptoki_sys::*;
        let flags = self.token.info().ok()?.flags;
        let (final_try, low, locked) = match user {
            User::SecurityOfficer => (CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_COUNT_LOW, CKF_SO_PIN_LOCKED),
            User::User => (CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_LOCKED),
        };
        let is = |flag: CK_FLAGS| flags & flag != 0;
        match (is(locked), is(final_try), is(low)) {
            (true, _, _) => Some("; the PIN is locked now"),
            (_, true, _) => Some("; one more wrong PIN locks it"),
            (_, _, true) => Some("; further wrong PINs will lock it"),
            _ => None,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.logged_in {
            let _ = self.token.logout();
        }
        self.token.close_session(self.caller.session);
    }
}
