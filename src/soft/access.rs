//! Who is logged in, and what that opens.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cryptoki_sys::*;

use super::Soft;
use super::handle::{self, LOGINS, Number};
use super::object::Object;
use crate::error::{Code, Result};
use crate::store::{Header, Keys, PinState, Role, Roles, SlotFile};
use crate::token::{Caller, ObjectId, SessionId, TokenInfo, User};

/// What changes with logins and with the token's initialisation.
#[derive(Default)]
pub struct State {
    /// `None`: no token stands here yet.
    pub(super) file: Option<Arc<SlotFile>>,
    /// Why the slot file could not be opened, for `C_GetTokenInfo` and the log.
    damaged: Option<crate::error::Error>,
    login: Option<Login>,
    /// Counts the logins of users, 1 .. [`LOGINS`] and round again: part of every handle to a private object.
    count: u64,
}

struct Login {
    user: User,
    keys: Arc<Keys>,
    named: Option<Named>,
    /// What calls see while it lasts; the user's alone.
    view: Option<View>,
}

/// Of a named user's login.
struct Named {
    name: Arc<str>,
    roles: Roles,
    /// The epoch of the slot file at which they were found to be in force.
    checked: u64,
}

/// What the token's own user PIN gives.
const BOTH: Roles = Roles::USER.with(Roles::OPERATOR);

impl Login {
    fn new(user: User, keys: Arc<Keys>, checked: u64) -> Login {
        let named = keys.standing().map(|standing| Named {
            name: standing.name.as_str().into(),
            roles: standing.roles,
            checked,
        });
        Login { user, keys, named, view: None }
    }

    /// What calls see from now on, until the roles change.
    fn look(&mut self, file: &Arc<SlotFile>, count: u64) {
        let (file, keys, roles) = (file.clone(), self.keys.clone(), self.roles());
        let seen = Seen { file, keys, user: Some(self.user), roles, count };
        self.view = (self.user == User::User).then(|| View(Arc::new(seen)));
    }

    fn roles(&self) -> Roles {
        match (&self.named, self.user) {
            (Some(named), _) => named.roles,
            (None, User::User) => BOTH,
            (None, User::SecurityOfficer) => Roles::OFFICER,
        }
    }
}

impl State {
    pub fn new(opened: Option<Result<SlotFile>>) -> State {
        match opened {
            None => State::default(),
            Some(Ok(file)) => State { file: Some(Arc::new(file)), ..State::default() },
            Some(Err(error)) => State { damaged: Some(error), ..State::default() },
        }
    }

    pub fn user(&self) -> Option<User> {
        self.login.as_ref().map(|login| login.user)
    }

    pub fn blank(&self) -> bool {
        self.file.is_none() && self.damaged.is_none()
    }

    fn file(&self) -> Result<&Arc<SlotFile>> {
        match (&self.file, &self.damaged) {
            (Some(file), _) => Ok(file),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => {
                Err(Code::TokenNotRecognized.because("the token is not initialised: run `keyward token init`"))
            }
        }
    }
}

/// One call's view of the token.
#[derive(Clone)]
pub struct View(Arc<Seen>);

/// What a call may read, under whose keys.
#[derive(Clone)]
pub struct Seen {
    pub file: Arc<SlotFile>,
    /// The user's keys after a user's login, else those that open public objects only: the SO sees no private object.
    pub keys: Arc<Keys>,
    pub user: Option<User>,
    roles: Roles,
    count: u64,
}

impl Deref for View {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.0
    }
}

impl View {
    /// The same with a count of references of its own.
    pub fn apart(&self) -> View {
        View(Arc::new(Seen::clone(self)))
    }

    /// Whether it is the very same, copied nowhere apart.
    pub fn is(&self, other: &View) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn sees_private(&self) -> bool {
        self.user == Some(User::User) && self.roles.has(BOTH) && self.keys.reads_private()
    }

    /// `CKR_USER_NOT_LOGGED_IN` where a named user's roles do not let them use keys: whatever the function, it is not they whom
    /// it wants.
    pub fn may_use(&self, object: &Object) -> Result<()> {
        match object.private && !self.roles.has(Roles::USER) {
            true => Err(Code::UserNotLoggedIn.because("keys are used by those who have the role user")),
            false => Ok(()),
        }
    }

    pub fn security_officer(&self) -> bool {
        self.user == Some(User::SecurityOfficer)
    }

    /// The handle of an object for this application.
    pub fn handle(&self, object: &Object) -> Result<ObjectId> {
        self.handle_of(object.at, object.private)
    }

    pub fn handle_of(&self, at: Number, private: bool) -> Result<ObjectId> {
        handle::encode(at, if private { self.count } else { 0 })
    }

    /// Whether a handle that names login `count` can name `object` now.
    pub fn honours(&self, object: &Object, count: u64) -> bool {
        if object.private { self.sees_private() && count == self.count } else { count == 0 }
    }

    /// May `caller` make, change or destroy an object of this kind? (PKCS#11 3.2, 5.6: session states.)
    pub fn may_write(&self, caller: Caller, on_token: bool, private: bool) -> Result<()> {
        if private && !self.sees_private() {
            return Err(Code::UserNotLoggedIn.into());
        }
        if on_token && self.user == Some(User::User) && !self.roles.has(Roles::OPERATOR) {
            return Err(
                Code::UserNotLoggedIn.because("token objects are made and changed by those who have the role operator")
            );
        }
        if on_token && !caller.read_write {
            return Err(Code::SessionReadOnly.into());
        }
        Ok(())
    }
}

impl Soft {
    pub(super) fn view(&self) -> Result<View> {
        if let Some(view) = self.views.get() {
            return Ok(view);
        }
        self.check_standing()?;
        let state = self.state.read();
        match &state.login {
            Some(Login { view: Some(view), named: None, .. }) => return Ok(self.views.keep(view)),
            // Whose standing is to be checked each time.
            Some(Login { view: Some(view), .. }) => return Ok(view.clone()),
            _ => {}
        }
        let file = state.file()?.clone();
        let (user, count) = (state.user(), state.count);
        let roles = state.login.as_ref().map(Login::roles).unwrap_or_default();
        drop(state);
        Ok(View(Arc::new(Seen { keys: file.public_keys()?, file, user, roles, count })))
    }

    /// Every change of the state.
    pub(super) fn change_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write();
        let done = change(&mut state);
        self.views.forget();
        done
    }

    /// Whether a named user is still one, once anything has changed in the token; who is none any more is logged out, and new
    /// roles count at once.
    fn check_standing(&self) -> Result<()> {
        let (file, keys, epoch) = {
            let state = self.state.read();
            let Some(Login { keys, named: Some(named), .. }) = &state.login else { return Ok(()) };
            let file = state.file()?;
            let epoch = file.epoch();
            if epoch == named.checked && epoch != 0 {
                return Ok(());
            }
            (file.clone(), keys.clone(), epoch)
        };
        let Some(standing) = keys.standing() else { return Ok(()) };
        match file.still(standing, &keys)? {
            Some(now) => {
                let changed = self.change_state(|state| {
                    let count = state.count;
                    // Another thread may have logged out meanwhile.
                    let login = state.login.as_mut().filter(|login| Arc::ptr_eq(&login.keys, &keys));
                    let Some((named, login)) = login.and_then(|login| Some((login.named.take()?, login))) else {
                        return false;
                    };
                    let changed = named.roles != now;
                    login.named = Some(Named { roles: now, checked: epoch, ..named });
                    if changed {
                        login.look(&file, count);
                    }
                    changed
                });
                if changed {
                    self.changed();
                }
            }
            None => {
                let same = self.state.read().login.as_ref().is_some_and(|login| Arc::ptr_eq(&login.keys, &keys));
                if same {
                    crate::log!(Warn, "user {} has been removed, or has other duties now: logged out", standing.name);
                    self.forget_login();
                }
            }
        }
        Ok(())
    }

    pub(super) fn logged_in_name(&self) -> Option<Arc<str>> {
        Some(self.state.read().login.as_ref()?.named.as_ref()?.name.clone())
    }

    pub(super) fn lacks_code(&self, user: User, pin: &[u8]) -> bool {
        let file = self.state.read().file().ok().cloned();
        file.is_some_and(|file| file.lacks_code(role(user), pin))
    }

    pub(super) fn named_before(&self, pin: &[u8]) -> Option<String> {
        let file = self.state.read().file().ok()?.clone();
        file.name_before(pin)
    }

    /// What an operation's stamp holds of this token: equal stamps mean that nothing has changed here or in another
    /// process. `None` where there is no token.
    pub(super) fn stamp(&self) -> Option<(u64, u64)> {
        Some((self.changes.load(Ordering::Acquire), self.file.get()?.epoch()))
    }

    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn check_session(&self, _caller: Caller) -> Result<()> {
        self.state.read().file().map(|_| ())
    }

    pub(super) fn end_session(&self, session: SessionId) {
        if self.objects.end_session(session) {
            self.changed();
        }
    }

    /// `C_InitToken`: a new slot file, or the old one emptied under its SO's PIN.
    pub(super) fn init_token(&self, so_pin: &[u8], label: &str) -> Result<()> {
        let _one = self.authenticating.lock();
        self.environment.check_pin(so_pin)?;
        let existing = {
            let state = self.state.read();
            if state.blank() { None } else { Some(state.file()?.clone()) }
        };
        match existing {
            Some(file) => file.reinitialise(so_pin, label)?,
            None => {
                let device = self.environment.device_secret(self.environment.empty())?;
                let rules = self.environment.rules();
                let file = SlotFile::create(&self.path, device, rules, &self.serial, label, so_pin)?;
                // Another thread may have met the new file on the disk.
                let file = self.change_state(|state| state.file.get_or_insert(Arc::new(file)).clone());
                let _ = self.file.set(file);
            }
        }
        self.change_state(|state| state.login = None);
        self.objects.forget_all();
        self.changed();
        Ok(())
    }

    /// Of the user of that name, or, without one, of the user whom the PIN names (`NAME:PIN`), or else the role's own.
    pub(super) fn log_in(&self, user: User, name: Option<&str>, pin: &[u8]) -> Result<()> {
        let _one = self.authenticating.lock();
        // Who has been removed is no longer logged in.
        self.check_standing()?;
        let file = {
            let state = self.state.read();
            let file = state.file()?.clone();
            if let Some(login) = &state.login {
                let before = if name.is_none() { file.name_before(pin) } else { None };
                let same = login.named.as_ref().map(|named| &*named.name) == name.or(before.as_deref());
                return Err(match same && login.user == user {
                    true => Code::UserAlreadyLoggedIn.into(),
                    false => Code::UserAnotherAlreadyLoggedIn.into(),
                });
            }
            file
        };
        let epoch = file.epoch();
        let keys = match name {
            Some(name) => file.unlock_named(role(user), name, pin)?,
            None => file.unlock(role(user), pin)?,
        };
        self.change_state(|state| {
            state.count = state.count % LOGINS + 1;
            let mut login = Login::new(user, keys, epoch);
            login.look(&file, state.count);
            state.login = Some(login);
        });
        self.changed();
        Ok(())
    }

    /// For `CKU_CONTEXT_SPECIFIC`. A locked PIN also logs the user out (PKCS#11 3.2, private key objects).
    pub(super) fn log_in_again(&self, pin: &[u8]) -> Result<()> {
        let _one = self.authenticating.lock();
        self.check_standing()?;
        let (user, name, file) = {
            let state = self.state.read();
            let login = state.login.as_ref().ok_or(Code::UserNotLoggedIn)?;
            (login.user, login.named.as_ref().map(|named| named.name.clone()), state.file()?.clone())
        };
        let unlocked = match name {
            None => file.unlock(role(user), pin),
            // With or without the name before it.
            Some(name) => file.unlock_named(role(user), &name, without_name(pin, &name)),
        };
        match unlocked {
            Ok(_) => Ok(()),
            Err(error) => {
                if error.code() == Code::PinLocked {
                    self.forget_login();
                }
                Err(error)
            }
        }
    }

    pub(super) fn log_out(&self) -> Result<()> {
        if self.state.read().login.is_none() {
            return Err(Code::UserNotLoggedIn.into());
        }
        self.forget_login();
        Ok(())
    }

    fn forget_login(&self) {
        self.change_state(|state| state.login = None);
        self.objects.forget_private();
        self.changed();
    }

    pub(super) fn init_user_pin(&self, pin: &[u8]) -> Result<()> {
        self.check_standing()?;
        let _one = self.authenticating.lock();
        self.environment.check_pin(pin)?;
        let (file, keys) = {
            let state = self.state.read();
            match &state.login {
                Some(Login { user: User::SecurityOfficer, keys, .. }) => (state.file()?.clone(), keys.clone()),
                _ => return Err(Code::UserNotLoggedIn.into()),
            }
        };
        file.init_user_pin(&keys, pin)
    }

    /// The keys that only the security officer's login gives. `CKR_USER_NOT_LOGGED_IN`.
    pub(super) fn officer_keys(&self) -> Result<Arc<Keys>> {
        self.check_standing()?;
        match &self.state.read().login {
            Some(Login { user: User::SecurityOfficer, keys, .. }) => Ok(keys.clone()),
            _ => Err(Code::UserNotLoggedIn.because("that is the security officer's to do")),
        }
    }

    /// Of who is logged in; else of the user whom the old PIN names, or the user's own.
    pub(super) fn change_pin(&self, old: &[u8], new: &[u8]) -> Result<()> {
        let _one = self.authenticating.lock();
        let (login, name, file) = {
            let state = self.state.read();
            let name = state.login.as_ref().and_then(|login| Some(login.named.as_ref()?.name.to_string()));
            (state.user(), name, state.file()?.clone())
        };
        let role = role(login.unwrap_or(User::User));
        match name.or_else(|| if login.is_none() { file.name_before(old) } else { None }) {
            None => {
                self.environment.check_pin(new)?;
                file.set_pin(role, old, new)
            }
            Some(name) => {
                let (old, new) = (without_name(old, &name), without_name(new, &name));
                self.environment.check_pin(new)?;
                file.set_pin_named(role, &name, old, new)
            }
        }
    }

    pub(super) fn token_info(&self) -> Result<TokenInfo> {
        let rules = &self.environment.config.pin;
        let state = self.state.read();
        let header = if state.blank() { None } else { Some(state.file()?.header()?) };
        Ok(TokenInfo {
            label: header.as_ref().map(|h| h.label.clone()).unwrap_or_default(),
            manufacturer: "Keyward".into(),
            model: "Software token".into(),
            serial: self.serial.clone(),
            flags: CKF_RNG
                | CKF_LOGIN_REQUIRED
                | CKF_DUAL_CRYPTO_OPERATIONS
                | CKF_RESTORE_KEY_NOT_NEEDED
                | header.as_ref().map_or(0, flags),
            max_sessions: 0,
            pin_len: rules.min_len as u64..=rules.max_len as u64,
            hardware: (0, 0),
            firmware: crate::config::version(),
        })
    }
}

/// A PIN without the name of its user before it.
fn without_name<'p>(pin: &'p [u8], name: &str) -> &'p [u8] {
    pin.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")).unwrap_or(pin)
}

fn role(user: User) -> Role {
    match user {
        User::SecurityOfficer => Role::SecurityOfficer,
        User::User => Role::User,
    }
}

/// `CKF_` of `CK_TOKEN_INFO` that come from the token's header.
fn flags(header: &Header) -> CK_FLAGS {
    let mut flags = CKF_TOKEN_INITIALIZED;
    if header.read_only {
        flags |= CKF_WRITE_PROTECTED;
    }
    if header.unsound {
        flags |= CKF_ERROR_STATE;
    }
    if header.user_pin_set || header.named_users {
        flags |= CKF_USER_PIN_INITIALIZED;
    }
    flags |= pin_flags(&header.user, [CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED]);
    flags | pin_flags(&header.so, [CKF_SO_PIN_COUNT_LOW, CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_LOCKED])
}

/// Count low: at least one wrong try since the last success; final try; locked.
fn pin_flags(state: &PinState, [low, last, locked]: [CK_FLAGS; 3]) -> CK_FLAGS {
    match state.max.saturating_sub(state.failures) {
        0 => locked,
        1 => low | last,
        _ if state.failures > 0 => low,
        _ => 0,
    }
}
