//! Who is logged in: one login for all members, also for those that come back.

use std::sync::Arc;

use super::Group;
use crate::error::{Code, Result};
use crate::ha::member::{Member, is_loss};
use crate::log;
use crate::os::coarse_millis;
use crate::secret::SecretBytes;
use crate::token::*;

pub(super) struct Access {
    user: User,
    name: Option<Arc<str>>,
    /// For the members that were away.
    pin: SecretBytes,
}

impl Group {
    pub fn logged_in(&self) -> Option<User> {
        self.access.read().as_ref().map(|access| access.user)
    }

    pub fn login_name(&self) -> Option<Arc<str>> {
        self.access.read().as_ref()?.name.clone()
    }

    /// Of all members that are there. A PIN that the first of them refuses is not tried on the others; one that refuses it
    /// after another has taken it is left out of what needs the login.
    pub fn login(&self, caller: Caller, user: User, name: Option<&str>, pin: &[u8]) -> Result<()> {
        if user == User::SecurityOfficer {
            return Err(Code::UserTypeInvalid.because(format!(
                "{}: the security officer does not log in to a slot of several HSMs, but to each of them",
                self.name
            )));
        }
        let mut taken = false;
        let mut failure = None;
        for (at, member) in self.members.iter().enumerate() {
            if !member.breaker.admits(coarse_millis()) {
                continue;
            }
            let entered = member.open(caller).and_then(|()| enter(member.token()?, caller, user, name, pin));
            match entered {
                Ok(()) => {
                    self.succeeded(at);
                    taken = true;
                }
                Err(error) if error.code() == Code::UserAlreadyLoggedIn => taken = true,
                Err(error) if is_loss(error.code()) => {
                    self.failed(at, &error);
                    failure = Some(error);
                }
                Err(error) if taken => {
                    log!(
                        Error,
                        "{}: member {} refuses the login that others have taken: {error}",
                        self.name,
                        member.name
                    );
                }
                Err(error) => return Err(error),
            }
        }
        if !taken {
            return Err(failure.map_or_else(|| self.nobody(), |error| self.away(&error.to_string())));
        }
        *self.access.write() = Some(Access { user, name: name.map(Arc::from), pin: SecretBytes::copy_from(pin) });
        Ok(())
    }

    pub fn logout(&self) {
        *self.access.write() = None;
        for token in self.members.iter().filter_map(|member| member.token().ok()) {
            if token.logged_in().is_some() {
                let _ = token.logout();
            }
        }
        self.objects.end_private();
    }

    pub fn enter(&self, caller: Caller) {
        self.sessions.lock().insert(caller.session);
    }

    pub fn leave(&self, session: SessionId) {
        self.objects.end_session(session);
        self.members.iter().for_each(|member| member.close(session));
        let last = {
            let mut sessions = self.sessions.lock();
            sessions.remove(&session) && sessions.is_empty()
        };
        if last {
            *self.access.write() = None;
            self.objects.end_private();
        }
    }

    /// Logs a member in that was away, with a PIN that it has not refused.
    pub(super) fn follow(&self, member: &Member, caller: Caller) -> Result<()> {
        let access = self.access.read();
        let Some(access) = access.as_ref() else { return Ok(()) };
        let token = member.token()?;
        if token.logged_in().is_some() || member.has_refused(access.pin.expose()) {
            return Ok(());
        }
        match enter(token, caller, access.user, access.name.as_deref(), access.pin.expose()) {
            Ok(()) => Ok(()),
            Err(error) if is_loss(error.code()) => Err(error),
            // What is public can still be used there.
            Err(error) if error.code() == Code::UserAlreadyLoggedIn => Ok(()),
            Err(error) => {
                log!(Error, "{}: member {} refuses the login: {error}", self.name, member.name);
                Ok(())
            }
        }
    }
}

fn enter(token: &Arc<dyn Token>, caller: Caller, user: User, name: Option<&str>, pin: &[u8]) -> Result<()> {
    match name {
        None => token.login(caller, user, pin),
        Some(name) => token.login_named(caller, user, name, pin),
    }
}
