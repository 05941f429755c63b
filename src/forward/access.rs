//! The login with an HSM, which is one for the whole application, and the credential to log in again with.

use std::borrow::Cow;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cryptoki_sys::*;

use super::call::{Call, Reply};
use super::hsm::Hsm;
use super::pool::Lease;
use crate::config::PinSource;
use crate::error::{Code, Result};
use crate::log;
use crate::secret::SecretBytes;
use crate::token::{Caller, User};

#[derive(Default)]
pub struct Access {
    user: Option<User>,
    /// Where the HSM's users have names.
    name: Option<Arc<str>>,
    /// The caller's PIN, kept while the login lasts, for a login after a loss of the HSM.
    pin: Option<SecretBytes>,
    /// A PIN that the HSM has refused: it is not tried a second time unless a caller asks for it.
    refused: Option<SecretBytes>,
    /// The code of that.
    refusal: Option<Code>,
}

impl Access {
    fn end(&mut self) {
        self.user = None;
        self.name = None;
        self.pin = None;
    }
}

fn number(user: User) -> CK_USER_TYPE {
    match user {
        User::SecurityOfficer => CKU_SO,
        User::User => CKU_USER,
    }
}

/// The first line of a source.
fn first_line(mut bytes: Vec<u8>) -> SecretBytes {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
    let line = SecretBytes::copy_from(bytes.get(..end).unwrap_or_default());
    zeroize::Zeroize::zeroize(&mut bytes);
    line
}

impl Hsm {
    pub fn logged_in(&self) -> Option<User> {
        self.access.lock().user
    }

    pub fn login_name(&self) -> Option<Arc<str>> {
        self.access.lock().name.clone()
    }

    /// The PIN of the configuration; `None` where the caller's counts.
    fn configured_pin(&self) -> Result<Option<SecretBytes>> {
        let missing = |what: String| Code::PinIncorrect.because(format!("{}: no PIN: {what}", self.name));
        let bytes = match &self.rules.pin {
            PinSource::Caller => return Ok(None),
            PinSource::File(path) => {
                std::fs::read(path).map_err(|error| missing(format!("{}: {error}", path.display())))?
            }
            PinSource::Environment(name) => {
                let value = std::env::var_os(name);
                value.ok_or_else(|| missing(format!("the variable {name} is not set")))?.into_encoded_bytes()
            }
            PinSource::Command(command) => {
                let shell = Command::new("/bin/sh").arg("-c").arg(command).stdin(Stdio::null()).output();
                let output = shell.map_err(|error| missing(format!("the command cannot be run: {error}")))?;
                if !output.status.success() {
                    return Err(missing(format!("the command ended with {}", output.status)));
                }
                output.stdout
            }
        };
        Ok(Some(first_line(bytes)))
    }

    /// `C_Login`, and with a name `C_LoginUser`. The caller's PIN is passed on, or the configuration's taken in its place.
    pub fn login(self: &Arc<Self>, user: User, name: Option<&str>, given: &[u8]) -> Result<()> {
        if user == User::SecurityOfficer && !self.filter.security_officer {
            return Err(Code::UserTypeInvalid.because(format!(
                "{}: the security officer does not log in here; say security_officer = true in the configuration to let it",
                self.name
            )));
        }
        let configured = if user == User::User { self.configured_pin()? } else { None };
        let own = configured.is_some();
        if own && name.is_some() {
            return Err(Code::UserTypeInvalid.because(format!(
                "{}: the PIN comes from the configuration, which knows of no names; log in without one",
                self.name
            )));
        }
        let pin = configured.unwrap_or_else(|| SecretBytes::copy_from(given));
        if own && self.access.lock().refused.as_ref() == Some(&pin) {
            return Err(self.refused_before());
        }
        let lease = self.lease()?;
        self.log_in_on(&lease, user, name.map(Arc::from), pin)
    }

    pub fn has_refused(&self, given: &[u8]) -> bool {
        let Some(refused) = self.access.lock().refused.as_ref().map(SecretBytes::duplicate) else { return false };
        let configured = self.configured_pin().ok().flatten();
        refused == configured.unwrap_or_else(|| SecretBytes::copy_from(given))
    }

    fn refused_before(&self) -> crate::error::Error {
        let code = self.access.lock().refusal.unwrap_or(Code::PinIncorrect);
        code.because(format!("{}: the HSM has refused this PIN; it is not tried again. Correct its source", self.name))
    }

    fn log_in_on(&self, lease: &Lease, user: User, name: Option<Arc<str>>, pin: SecretBytes) -> Result<()> {
        let session = lease.session();
        let sent = (!pin.is_empty() || !self.protected_path()).then_some(Cow::Borrowed(pin.expose().as_slice()));
        let called = name.as_deref().map(Cow::Borrowed);
        let answer = lease.call(&Call::Login { session, user: number(user), pin: sent, name: called });
        let mut access = self.access.lock();
        match answer {
            Ok(_) => {
                access.user = Some(user);
                access.name = name;
                access.pin = (user == User::User).then_some(pin);
                access.refused = None;
                Ok(())
            }
            Err(rv @ CKR_USER_ALREADY_LOGGED_IN) => {
                // Another part of the application has logged in to the same module: then so are we.
                access.user = Some(user);
                Err(self.error(rv.into()))
            }
            Err(CKR_FUNCTION_NOT_SUPPORTED) if name.is_some() => Err(Code::UserTypeInvalid
                .because(format!("{}: the module's users have no names; log in without one", self.name))),
            Err(rv) => {
                if matches!(rv, CKR_PIN_INCORRECT | CKR_PIN_LOCKED | CKR_PIN_INVALID | CKR_PIN_LEN_RANGE) {
                    access.refused = Some(pin);
                    access.refusal = Code::from_ckr(rv);
                    log!(Warn, "{}: the HSM refuses the PIN (code {rv:#x})", self.name);
                }
                Err(self.error(rv.into()))
            }
        }
    }

    /// Whether the HSM knows of no login where there is one: it has ended it by itself, without being lost.
    fn has_forgotten(&self, lease: &Lease) -> bool {
        let state = || lease.call(&Call::State { session: lease.session() }).and_then(Reply::number);
        self.logged_in() == Some(User::User) && matches!(state(), Ok(CKS_RO_PUBLIC_SESSION | CKS_RW_PUBLIC_SESSION))
    }

    /// Whether the HSM has forgotten the login since so many reminders, also where another thread has reminded it meanwhile. In this
    /// order: asked the other way about, both would be denied where it is reminded between the two questions.
    pub fn forgot(&self, lease: &Lease, since: u64) -> bool {
        self.has_forgotten(lease) || {
            let _one = self.reminding.lock();
            self.reminders() != since
        }
    }

    /// As [`Hsm::log_in_again`] where the HSM was not lost, and asks for a login. `CKR_USER_NOT_LOGGED_IN` where it does not take the
    /// PIN any more.
    pub fn remind(self: &Arc<Self>, lease: &Lease) -> Result<()> {
        let _one = self.reminding.lock();
        let forgotten = self.has_forgotten(lease);
        if forgotten {
            log!(Warn, "{}: the HSM has forgotten the login; logging in again", self.name);
        }
        self.log_in_again(lease).map_err(|error| error.recode(Code::UserNotLoggedIn))?;
        if forgotten {
            self.objects.doubt_private();
            self.count_reminder();
        }
        Ok(())
    }

    /// After the HSM was lost, or has forgotten the login: the same user once more, with a PIN that it has not refused.
    pub fn log_in_again(self: &Arc<Self>, lease: &Lease) -> Result<()> {
        let (user, name, pin) = {
            let access = self.access.lock();
            (access.user, access.name.clone(), access.pin.as_ref().map(SecretBytes::duplicate))
        };
        let Some(user) = user else { return Ok(()) };
        let again = match (user, pin) {
            (User::User, Some(pin)) => {
                let pin = self.configured_pin()?.unwrap_or(pin);
                if self.access.lock().refused.as_ref() == Some(&pin) {
                    Err(self.refused_before())
                } else {
                    match self.log_in_on(lease, user, name, pin) {
                        Err(error) if error.code() == Code::UserAlreadyLoggedIn => Ok(()),
                        other => other,
                    }
                }
            }
            // An officer's PIN is not kept.
            _ => Err(Code::UserNotLoggedIn.into()),
        };
        again.inspect_err(|_| self.access.lock().end())
    }

    /// `C_Login` with `CKU_CONTEXT_SPECIFIC`, on the session of the operation that waits for it.
    pub fn reauthenticate(self: &Arc<Self>, caller: Caller, pin: &[u8]) -> Result<()> {
        let (session, module) = self.pool.awaiting_login(caller.session).ok_or(Code::OperationNotInitialized)?;
        let configured = self.configured_pin()?;
        let pin = configured.as_ref().map_or(pin, |pin| pin.expose().as_slice());
        let sent = (!pin.is_empty() || !self.protected_path()).then_some(Cow::Borrowed(pin));
        let call = Call::Login { session, user: CKU_CONTEXT_SPECIFIC, pin: sent, name: None };
        self.module.call_of(module, &call, None).map(drop).map_err(|rv| self.error(rv.into()))
    }

    pub fn logout(self: &Arc<Self>) -> Result<()> {
        let lease = self.lease()?;
        let answer = lease.call(&Call::Logout { session: lease.session() });
        self.access.lock().end();
        self.objects.end_private();
        match answer {
            Ok(_) | Err(CKR_USER_NOT_LOGGED_IN) => Ok(()),
            Err(rv) => Err(self.error(rv.into())),
        }
    }

    /// All sessions are closed: the HSM has logged out by itself.
    pub fn login_ended(&self) {
        self.access.lock().end();
        self.objects.end_private();
    }

    pub fn set_pin(self: &Arc<Self>, old: &[u8], new: &[u8]) -> Result<()> {
        let lease = self.lease()?;
        let call = Call::SetPin { session: lease.session(), old: old.into(), new: new.into() };
        lease.call(&call).map_err(|rv| self.error(rv.into()))?;
        let mut access = self.access.lock();
        if access.user == Some(User::User) {
            access.pin = Some(SecretBytes::copy_from(new));
        }
        Ok(())
    }

    pub fn init_pin(self: &Arc<Self>, pin: &[u8]) -> Result<()> {
        let lease = self.lease()?;
        let call = Call::InitPin { session: lease.session(), pin: pin.into() };
        lease.call(&call).map(drop).map_err(|rv| self.error(rv.into()))
    }

    fn protected_path(&self) -> bool {
        self.seen().is_some_and(|info| info.flags & CKF_PROTECTED_AUTHENTICATION_PATH != 0)
    }
}
