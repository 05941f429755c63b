//! What a test holds: the module, the token to use, and ways to say what was expected.

use std::path::PathBuf;

use cryptoki_sys::*;
use serde::{Deserialize, Serialize};

use crate::data::{Mech, Template};
use crate::ffi::{Api, Call, Refused, Rv, Session};
use crate::functions::F;
use crate::names::name_of;

/// Which token of the module to use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Choice {
    /// The first one with a token present.
    First,
    Slot(CK_SLOT_ID),
    Label(String),
    /// One of our own that tests may destroy: the one that an earlier run made, or a free slot, or the one given.
    Own(Option<CK_SLOT_ID>),
}

/// What the command line said.
#[derive(Clone, Debug)]
pub struct Env {
    pub module: PathBuf,
    /// The module's own string in `pReserved`.
    pub init_args: Option<String>,
    pub choice: Choice,
    pub user_pin: Option<String>,
    pub so_pin: Option<String>,
    /// Seconds that one test may take.
    pub timeout: u64,
    /// Leave the module's own output alone.
    pub verbose: bool,
}

/// Label of the token that we initialise.
pub const LABEL: &str = "pkcs11-conformance";

/// Why a test did not pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stop {
    Fail(String),
    Skip(String),
}

pub type Outcome = Result<(), Stop>;

impl From<Refused> for Stop {
    fn from(r: Refused) -> Self {
        match r.rv.0 {
            CKR_FUNCTION_NOT_SUPPORTED => Stop::Skip(format!("{} is not supported", r.function.name())),
            _ => Stop::Fail(format!("{} returned {}", r.function.name(), r.rv)),
        }
    }
}

pub fn fail<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(why.into()))
}

pub fn skip<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(why.into()))
}

/// Fails with this text unless the condition holds.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Stop::Fail(why())) }
}

/// Fails unless both are equal.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Outcome {
    ensure(got == want, || format!("{what}: got {got:?}, expected {want:?}"))
}

/// Fails unless two strings of bytes are equal; shows them in hexadecimal.
pub fn same_bytes(what: &str, got: &[u8], want: &[u8]) -> Outcome {
    ensure(got == want, || format!("{what}: got {}, expected {}", hex(got), hex(want)))
}

/// Fails unless the return value is one of these.
pub fn one_of(what: &str, rv: Rv, allowed: &[CK_RV]) -> Outcome {
    if rv.0 == CKR_FUNCTION_NOT_SUPPORTED && !allowed.contains(&rv.0) {
        return skip(format!("{what}: not supported"));
    }
    ensure(allowed.contains(&rv.0), || {
        let names: Vec<String> = allowed.iter().map(|r| Rv(*r).to_string()).collect();
        format!("{what} returned {rv}, expected {}", names.join(" or "))
    })
}

/// Fails unless the call was refused with one of these codes.
pub fn refused<T>(what: &str, result: Call<T>, allowed: &[CK_RV]) -> Outcome {
    one_of(what, result.err().map_or(Rv(CKR_OK), |r| r.rv), allowed)
}

pub fn hex(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(48).map(|b| format!("{b:02x}")).collect();
    if bytes.len() > 48 { format!("{shown}... ({} bytes)", bytes.len()) } else { shown }
}

/// One test's view of the module. The module stays loaded until the process ends.
pub struct T<'a> {
    pub env: &'a Env,
    pub api: &'static Api,
    slot: Option<CK_SLOT_ID>,
    initialized: bool,
}

pub const RO: CK_FLAGS = CKF_SERIAL_SESSION;
pub const RW: CK_FLAGS = CKF_SERIAL_SESSION | CKF_RW_SESSION;

impl<'a> T<'a> {
    pub fn new(env: &'a Env) -> Result<Self, Stop> {
        let api = Api::open(&env.module).map_err(Stop::Fail)?;
        Ok(T { env, api: Box::leak(Box::new(api)), slot: None, initialized: false })
    }

    /// Initialises the module, once.
    pub fn init(&mut self) -> Result<&'static Api, Stop> {
        if !self.initialized {
            self.api.initialize(self.env.init_args.as_deref())?;
            self.initialized = true;
        }
        Ok(self.api)
    }

    /// Finalises the module; what [`T::slot`] found is forgotten.
    pub fn finalize(&mut self) -> Outcome {
        self.initialized = false;
        self.slot = None;
        Ok(self.api.finalize()?)
    }

    /// Finalises the module if this test has initialised it.
    pub fn release(&mut self) -> Outcome {
        if self.initialized { self.finalize() } else { Ok(()) }
    }

    /// The slot of the token to test.
    pub fn slot(&mut self) -> Result<CK_SLOT_ID, Stop> {
        self.init()?;
        if self.slot.is_none() {
            self.slot = Some(self.choose()?);
        }
        self.slot.ok_or_else(|| Stop::Skip("no token".into()))
    }

    fn choose(&self) -> Result<CK_SLOT_ID, Stop> {
        let slots = self.api.slots(true)?;
        let labelled = |label: &str| {
            slots.iter().copied().find(|s| self.api.token_info(*s).is_ok_and(|i| padded(&i.label) == label))
        };
        match &self.env.choice {
            Choice::Slot(id) => Some(*id),
            Choice::First => slots.first().copied(),
            Choice::Label(label) => labelled(label),
            Choice::Own(_) => labelled(LABEL),
        }
        .ok_or_else(|| Stop::Skip("the module has no such token".into()))
    }

    pub fn token(&mut self) -> Result<CK_TOKEN_INFO, Stop> {
        let slot = self.slot()?;
        Ok(self.api.token_info(slot)?)
    }

    pub fn open(&mut self, flags: CK_FLAGS) -> Result<Session, Stop> {
        let slot = self.slot()?;
        Ok(Session { api: self.api, h: self.api.open_session(slot, flags)? })
    }

    /// A new session without login: read-write where the token allows it.
    pub fn session(&mut self) -> Result<Session, Stop> {
        let protected = self.token()?.flags & CKF_WRITE_PROTECTED != 0;
        self.open(if protected { RO } else { RW })
    }

    /// A new read-write session, with the user logged in.
    pub fn user(&mut self) -> Result<Session, Stop> {
        let s = self.session()?;
        match s.login(CKU_USER, self.user_pin()?) {
            Err(r) if r.rv.0 != CKR_USER_ALREADY_LOGGED_IN => Err(r.into()),
            _ => Ok(s),
        }
    }

    /// A session fit for cryptography: the user's where a PIN is known, a public one otherwise.
    pub fn ready(&mut self) -> Result<Session, Stop> {
        if self.env.user_pin.is_some() { self.user() } else { self.session() }
    }

    /// A new read-write session, with the security officer logged in.
    pub fn so(&mut self) -> Result<Session, Stop> {
        let s = self.open(RW)?;
        s.login(CKU_SO, self.so_pin()?)?;
        Ok(s)
    }

    pub fn user_pin(&self) -> Result<&'a str, Stop> {
        self.env.user_pin.as_deref().ok_or_else(|| Stop::Skip("no user PIN given".into()))
    }

    pub fn so_pin(&self) -> Result<&'a str, Stop> {
        self.env.so_pin.as_deref().ok_or_else(|| Stop::Skip("no SO PIN given".into()))
    }

    /// Skips unless the module has the function; a module that lists it but does not support it skips at the call.
    pub fn needs(&self, f: F) -> Outcome {
        if self.api.has(f) { Ok(()) } else { skip(format!("the module has no {}", f.name())) }
    }

    /// Skips unless the token has the mechanism for these uses (`CKF_` flags).
    pub fn mechanism(&mut self, ty: CK_MECHANISM_TYPE, uses: CK_FLAGS) -> Result<CK_MECHANISM_INFO, Stop> {
        let slot = self.slot()?;
        match self.api.mechanism_info(slot, ty) {
            Ok(info) if info.flags & uses == uses => Ok(info),
            Ok(_) => skip(format!("{} has not this use", name_of("CKM_", ty))),
            Err(_) => skip(format!("no mechanism {}", name_of("CKM_", ty))),
        }
    }

    /// Makes our token anew: empty, with both PINs. Only for a token that we may destroy.
    pub fn fresh(&mut self) -> Outcome {
        let Choice::Own(asked) = self.env.choice.clone() else { return skip("needs a token that it may destroy") };
        self.init()?;
        let slot = match (self.choose(), asked) {
            (Ok(slot), _) | (Err(_), Some(slot)) => slot,
            (Err(_), None) => self.free_slot()?,
        };
        let so_pin = self.so_pin()?;
        self.api.init_token(slot, so_pin, LABEL)?;
        self.slot = None;
        let s = self.so()?;
        s.feed(F::C_InitPIN, &[], self.user_pin()?.as_bytes())?;
        s.logout()?;
        Ok(s.close()?)
    }

    /// A slot whose token nobody has initialised.
    pub fn free_slot(&self) -> Result<CK_SLOT_ID, Stop> {
        let free = |s: &CK_SLOT_ID| self.api.token_info(*s).is_ok_and(|i| i.flags & CKF_TOKEN_INITIALIZED == 0);
        let slots = self.api.slots(true)?;
        slots.into_iter().find(free).ok_or_else(|| {
            Stop::Fail("no slot with an uninitialised token; name one with --slot, it will be wiped".into())
        })
    }

    /// Generates a secret key in the session; `extra` wins over the defaults.
    pub fn secret(&self, s: Session, gen_by: CK_MECHANISM_TYPE, len: Option<u64>, extra: &Template) -> Call<u64> {
        let t = Template::new().flag(CKA_TOKEN, false).with(extra);
        let t = len.map_or(t.clone(), |n| t.ulong(CKA_VALUE_LEN, n));
        s.generate(&Mech::new(gen_by), &t)
    }
}

/// Text of a field that blanks fill up (section 3.1).
pub fn padded(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end_matches([' ', '\0']).to_owned()
}
