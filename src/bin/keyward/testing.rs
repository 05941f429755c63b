//! A token in memory, for the tests of the commands: it keeps the joint's promises as far as they call on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use cryptoki_sys::*;
use keyward::config::Config;
use keyward::error::{Code, Result};
use keyward::object::Attributes;
use keyward::token::*;

use crate::cli::Cli;
use crate::commands;
use crate::context::Context;
use crate::failure::Failure;
use crate::report::Report;
use crate::slots::Slot;

#[derive(Default)]
struct State {
    label: String,
    made: bool,
    so_pin: Vec<u8>,
    user_pin: Option<Vec<u8>>,
    failures: u32,
    login: Option<User>,
    sessions: Vec<Caller>,
    objects: BTreeMap<ObjectId, Attributes>,
}

pub struct Double {
    serial: &'static str,
    state: Mutex<State>,
}

impl Double {
    pub fn blank(serial: &'static str) -> Arc<Double> {
        Arc::new(Double { serial, state: Mutex::default() })
    }

    /// With SO PIN `12345678` and user PIN `1234`.
    pub fn made(serial: &'static str, label: &str) -> Arc<Double> {
        let double = Double::blank(serial);
        double.initialize(b"12345678", label).unwrap();
        double.state.lock().unwrap().user_pin = Some(b"1234".to_vec());
        double
    }

    pub fn with(self: Arc<Double>, id: u64, attributes: &[Attribute]) -> Arc<Double> {
        self.state.lock().unwrap().objects.insert(ObjectId(id), attributes.iter().cloned().collect());
        self
    }

    pub fn objects(&self) -> Vec<u64> {
        self.state.lock().unwrap().objects.keys().map(|id| id.0).collect()
    }

    pub fn user_pin(&self) -> Option<Vec<u8>> {
        self.state.lock().unwrap().user_pin.clone()
    }

    pub fn so_pin(&self) -> Vec<u8> {
        self.state.lock().unwrap().so_pin.clone()
    }

    /// Nothing left open, nobody left logged in.
    pub fn at_rest(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.sessions.is_empty() && state.login.is_none()
    }

    fn slot(self: &Arc<Double>) -> Slot {
        let id = u64::from_str_radix(self.serial, 16).unwrap() & 0x7fff_ffff;
        Slot { id, token: self.clone(), blank: !self.state.lock().unwrap().made }
    }
}

fn visible(state: &State, object: &Attributes) -> bool {
    state.login == Some(User::User) || !object.is_true(CKA_PRIVATE)
}

struct Found(Vec<ObjectId>);

impl Search for Found {
    fn next(&mut self, max: usize) -> Result<Vec<ObjectId>> {
        let rest = self.0.split_off(max.min(self.0.len()));
        Ok(std::mem::replace(&mut self.0, rest))
    }
}

impl Token for Double {
    fn info(&self) -> Result<TokenInfo> {
        let state = self.state.lock().unwrap();
        let pin = |set: bool| if set { CKF_USER_PIN_INITIALIZED } else { 0 };
        let tries = if state.failures == 2 { CKF_USER_PIN_FINAL_TRY } else { 0 };
        let locked = if state.failures >= 3 { CKF_USER_PIN_LOCKED } else { 0 };
        Ok(TokenInfo {
            label: format!("{:<32}", state.label),
            manufacturer: "Tests".into(),
            model: "Double".into(),
            serial: self.serial.into(),
            flags: CKF_LOGIN_REQUIRED | pin(state.user_pin.is_some()) | tries | locked,
            max_sessions: 0,
            pin_len: 4..=16,
            hardware: (1, 0),
            firmware: (1, 0),
        })
    }

    fn mechanisms(&self) -> Vec<CK_MECHANISM_TYPE> {
        Vec::new()
    }

    fn mechanism_info(&self, _: CK_MECHANISM_TYPE) -> Result<MechanismInfo> {
        Err(Code::MechanismInvalid.into())
    }

    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.made && state.so_pin != so_pin {
            return Err(Code::PinIncorrect.into());
        }
        *state = State { label: label.into(), made: true, so_pin: so_pin.into(), ..State::default() };
        Ok(())
    }

    fn open_session(&self, caller: Caller) -> Result<()> {
        self.state.lock().unwrap().sessions.push(caller);
        Ok(())
    }

    fn close_session(&self, session: SessionId) {
        self.state.lock().unwrap().sessions.retain(|caller| caller.session != session);
    }

    fn login(&self, _: Caller, user: User, pin: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        let right = match user {
            User::SecurityOfficer => state.so_pin == pin,
            User::User if state.failures >= 3 => return Err(Code::PinLocked.into()),
            User::User => state.user_pin.as_deref().ok_or(Code::UserPinNotInitialized)? == pin,
        };
        if !right {
            state.failures += u32::from(user == User::User);
            return Err(Code::PinIncorrect.into());
        }
        state.login = Some(user);
        Ok(())
    }

    fn reauthenticate(&self, _: Caller, _: &[u8]) -> Result<()> {
        Err(Code::FunctionNotSupported.into())
    }

    fn logout(&self) -> Result<()> {
        self.state.lock().unwrap().login.take().map(|_| ()).ok_or(Code::UserNotLoggedIn.into())
    }

    fn logged_in(&self) -> Option<User> {
        self.state.lock().unwrap().login
    }

    fn init_pin(&self, caller: Caller, pin: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.login != Some(User::SecurityOfficer) || !caller.read_write {
            return Err(Code::UserNotLoggedIn.into());
        }
        state.failures = 0;
        state.user_pin = Some(pin.into());
        Ok(())
    }

    fn set_pin(&self, caller: Caller, old: &[u8], new: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if !caller.read_write {
            return Err(Code::SessionReadOnly.into());
        }
        let so = state.login == Some(User::SecurityOfficer);
        let present = if so { state.so_pin.clone() } else { state.user_pin.clone().unwrap_or_default() };
        if present != old {
            return Err(Code::PinIncorrect.into());
        }
        if so {
            state.so_pin = new.into()
        } else {
            state.user_pin = Some(new.into())
        }
        Ok(())
    }

    fn create(&self, _: Caller, _: Vec<Attribute>) -> Result<ObjectId> {
        Err(Code::FunctionNotSupported.into())
    }

    fn copy(&self, _: Caller, _: ObjectId, _: Vec<Attribute>) -> Result<ObjectId> {
        Err(Code::FunctionNotSupported.into())
    }

    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if !caller.read_write {
            return Err(Code::SessionReadOnly.into());
        }
        state.objects.remove(&object).map(|_| ()).ok_or(Code::ObjectHandleInvalid.into())
    }

    fn size(&self, _: Caller, _: ObjectId) -> Result<u64> {
        Err(Code::FunctionNotSupported.into())
    }

    fn get(&self, _: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let state = self.state.lock().unwrap();
        let object = state.objects.get(&object).ok_or(Code::ObjectHandleInvalid)?;
        let sensitive = object.is_true(CKA_SENSITIVE);
        let answer = |ty: &CK_ATTRIBUTE_TYPE| match object.get(*ty) {
            Some(_) if sensitive && *ty == CKA_VALUE => Answer::Sensitive,
            Some(value) => Answer::Value(value.clone()),
            None => Answer::Absent,
        };
        Ok(types.iter().map(answer).collect())
    }

    fn set(&self, _: Caller, _: ObjectId, _: Vec<Attribute>) -> Result<()> {
        Err(Code::FunctionNotSupported.into())
    }

    fn find(&self, _: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        let state = self.state.lock().unwrap();
        let fits = |object: &Attributes| template.iter().all(|wanted| object.get(wanted.ty) == Some(&wanted.value));
        let objects = state.objects.iter().filter(|(_, object)| visible(&state, object) && fits(object));
        Ok(Box::new(Found(objects.map(|(id, _)| *id).collect())))
    }

    fn begin(&self, _: Caller, _: Use, _: &Mechanism, _: Option<ObjectId>, _: Option<Begun>) -> Result<Begun> {
        Err(Code::FunctionNotSupported.into())
    }

    fn digest_key(&self, _: Caller, _: &mut dyn Operation, _: ObjectId) -> Result<()> {
        Err(Code::FunctionNotSupported.into())
    }

    fn generate_key(&self, _: Caller, _: &Mechanism, _: Vec<Attribute>) -> Result<ObjectId> {
        Err(Code::FunctionNotSupported.into())
    }

    fn generate_key_pair(
        &self,
        _: Caller,
        _: &Mechanism,
        _: Vec<Attribute>,
        _: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        Err(Code::FunctionNotSupported.into())
    }

    fn wrap(&self, _: Caller, _: &Mechanism, _: ObjectId, _: ObjectId) -> Result<Vec<u8>> {
        Err(Code::FunctionNotSupported.into())
    }

    fn unwrap(&self, _: Caller, _: &Mechanism, _: ObjectId, _: &[u8], _: Vec<Attribute>) -> Result<ObjectId> {
        Err(Code::FunctionNotSupported.into())
    }

    fn derive(&self, _: Caller, _: &Mechanism, _: ObjectId, _: Vec<Attribute>) -> Result<Derived> {
        Err(Code::FunctionNotSupported.into())
    }
}

/// Runs a command line against these tokens, as a shell would.
pub fn keyward(tokens: &[&Arc<Double>], line: &str) -> std::result::Result<Report, Failure> {
    let words = std::iter::once("keyward").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let tokens: Vec<Arc<Double>> = tokens.iter().map(|token| Arc::clone(token)).collect();
    let open = move |_: Arc<Config>| Ok(tokens.iter().map(Double::slot).collect());
    let context = Context::for_test(Config::within(Path::new("/nonexistent")), cli.yes, Box::new(open));
    commands::run(&context, cli)
}

/// A file of lines, as `--pin-file` reads it, removed at the end.
pub struct PinFile(std::path::PathBuf);

impl PinFile {
    pub fn new(lines: &str) -> PinFile {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keyward-pin-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, lines).unwrap();
        PinFile(path)
    }
}

impl std::fmt::Display for PinFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Drop for PinFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
