//! One HSM of several: its token, what is known of its health, and the sessions that are open with it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::breaker::Breaker;
use crate::config::Patience;
use crate::error::{Code, Error, Result};
use crate::os::coarse_millis;
use crate::token::*;

/// Says whether the HSM has refused a PIN, so that it is not sent a second time.
pub type Refused = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A member as it is given to [`super::Ha::new`].
pub struct Part {
    pub name: String,
    /// Or why there is none in this process: the module cannot be loaded.
    pub token: Result<Arc<dyn Token>>,
    /// The configuration says where its PIN comes from.
    pub own_pin: bool,
    pub refused: Refused,
}

pub struct Member {
    pub name: String,
    pub own_pin: bool,
    token: Result<Arc<dyn Token>>,
    refused: Refused,
    pub breaker: Breaker,
    sessions: RwLock<HashSet<SessionId>>,
    /// One thread logs in or clears up; the others wait.
    pub entering: Mutex<()>,
    /// When it last answered, in milliseconds.
    pub answered: AtomicU64,
}

/// Whether the code says that the member is not there.
pub fn is_loss(code: Code) -> bool {
    matches!(
        code,
        Code::DeviceError
            | Code::DeviceRemoved
            | Code::TokenNotPresent
            | Code::TokenNotRecognized
            | Code::CryptokiNotInitialized
            | Code::LibraryLoadFailed
            | Code::SessionHandleInvalid
            | Code::SessionClosed
    )
}

/// Whether another member may do better, though this one is there.
pub fn is_trouble(code: Code) -> bool {
    is_loss(code)
        || matches!(
            code,
            Code::GeneralError
                | Code::FunctionFailed
                | Code::HostMemory
                | Code::DeviceMemory
                | Code::SessionCount
                | Code::TokenResourceExceeded
                | Code::UserNotLoggedIn
        )
}

impl Member {
    pub fn new(part: Part, patience: Patience) -> Member {
        let Part { name, token, own_pin, refused } = part;
        Member {
            name,
            own_pin,
            token,
            refused,
            breaker: Breaker::new(patience),
            sessions: RwLock::default(),
            entering: Mutex::new(()),
            answered: AtomicU64::new(0),
        }
    }

    pub fn token(&self) -> Result<&Arc<dyn Token>> {
        self.token.as_ref().map_err(Error::clone)
    }

    /// Sees to it that the session is open here too.
    pub fn open(&self, caller: Caller) -> Result<()> {
        if self.sessions.read().contains(&caller.session) {
            return Ok(());
        }
        self.token()?.open_session(caller)?;
        self.sessions.write().insert(caller.session);
        Ok(())
    }

    pub fn close(&self, session: SessionId) {
        if self.sessions.write().remove(&session)
            && let Ok(token) = &self.token
        {
            token.close_session(session);
        }
    }

    pub fn has_refused(&self, pin: &[u8]) -> bool {
        (self.refused)(pin)
    }

    pub fn has_answered(&self) {
        self.answered.store(coarse_millis(), Ordering::Relaxed);
    }
}
