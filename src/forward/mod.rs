//! `Token` over another PKCS#11 module: a slot of a real HSM.
//!
//! ```text
//! Forward (the joint) -> Hsm (connection, login, objects, pool of sessions) -> Module (initialised once) -> ffi::Local
//! ```
//! Applications' sessions and object numbers are ours; the HSM's stand behind them and may be lost and made anew.

mod access;
mod apart;
mod approved;
mod call;
mod fault;
mod ffi;
mod filter;
mod hsm;
mod module;
mod objects;
mod operation;
mod pool;
mod quirks;
mod search;
pub mod survey;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cryptoki_sys::*;
use smallvec::SmallVec;

pub use apart::{COMMAND as APART, serve};
pub use module::{Modules, Threads};

use self::call::{Call, Reply};
use self::fault::Outcome;
use self::filter::{Filter, is_true, named};
use self::hsm::Hsm;
use self::operation::{Forwarded, translated};
use self::pool::Lease;
use self::search::Searching;
use crate::config::{FilterRules, MemberRules};
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Result};
use crate::mechanism::table::flag_of;
use crate::token::*;

/// A token of an HSM.
pub struct Forward {
    hsm: Arc<Hsm>,
    label: Option<String>,
}

impl Forward {
    /// Loads the module; the HSM itself is connected to when it is first asked. `CKR_LIBRARY_LOAD_FAILED`, and
    /// `CKR_GENERAL_ERROR` for a rule that names nothing.
    pub fn new(modules: &Modules, rules: &MemberRules, filter: &FilterRules, label: Option<String>) -> Result<Forward> {
        let filter = Filter::new(filter)?;
        let module = modules.load(rules)?;
        Ok(Forward { hsm: Arc::new(Hsm::new(rules.clone(), filter, module)), label })
    }

    /// Whether the HSM can be reached; connects if need be.
    pub fn connected(&self) -> Result<()> {
        self.hsm.connected().map(drop)
    }

    /// Whether both lead to one token of one module in this process.
    pub fn is_on_the_token_of(&self, other: &Forward) -> bool {
        let slot = self.hsm.slot();
        Arc::ptr_eq(&self.hsm.module, &other.hsm.module) && slot.is_some() && slot == other.hsm.slot()
    }

    /// Whether the HSM has refused the PIN that a login with this one would send: it is not to be tried again.
    pub fn has_refused(&self, pin: &[u8]) -> bool {
        self.hsm.has_refused(pin)
    }

    /// Whether the token waits for `C_InitToken`, as it was seen last.
    pub fn blank(&self) -> bool {
        self.hsm.seen().is_some_and(|info| info.flags & CKF_TOKEN_INITIALIZED == 0)
    }
}

/// The slot's ID, the same in every process: 31 bits of what the configuration says of it, whether or not the HSM is there.
pub fn slot_id(rules: &MemberRules, count: u32) -> u64 {
    let mut text = b"keyward forwarded slot\0".to_vec();
    text.extend_from_slice(rules.module.as_os_str().as_encoded_bytes());
    text.extend_from_slice(format!("\0{:?}\0", rules.chosen).as_bytes());
    text.extend_from_slice(&count.to_be_bytes());
    let digest = hash(Digest::Sha256, &text);
    digest.iter().take(4).fold(0u64, |id, byte| (id << 8) | u64::from(*byte)) & 0x7fff_ffff
}

impl Forward {
    /// Makes an object, never twice.
    fn make(
        &self,
        caller: Caller,
        template: &[Attribute],
        make: impl Fn(&mut Lease) -> Outcome<CK_OBJECT_HANDLE>,
    ) -> Result<ObjectId> {
        self.hsm.filter.may_write(caller, template)?;
        let token = is_true(named(template, CKA_TOKEN));
        self.hsm.attempt(false, |lease| {
            let handle = make(lease)?;
            Ok(self.new_object(caller, lease, handle, token))
        })
    }

    fn new_object(&self, caller: Caller, lease: &mut Lease, handle: CK_OBJECT_HANDLE, token: bool) -> ObjectId {
        if !token {
            lease.owns();
        }
        let id = self.hsm.objects.made(handle, lease.epoch(), (!token).then_some(caller.session));
        // What it is must be known before a loss; that it cannot be told yet is no failure of its making.
        let _ = self.hsm.describe(lease, id, handle);
        id
    }

    /// Works with one object of the HSM.
    fn with<T>(
        &self,
        replay: bool,
        id: ObjectId,
        work: impl Fn(&mut Lease, CK_OBJECT_HANDLE) -> Outcome<T>,
    ) -> Result<T> {
        let result = self.hsm.attempt(replay, |lease| {
            let handle = self.hsm.resolve(lease, id)?;
            work(lease, handle)
        });
        result.inspect_err(|error| self.forget_if_gone(id, error.code()))
    }

    /// Lets go of what the HSM no longer has. A key's handle is also refused for a use that is not its own, while its object is
    /// there: then the object is asked for.
    fn forget_if_gone(&self, id: ObjectId, code: Code) {
        let gone = match code {
            Code::ObjectHandleInvalid => true,
            Code::KeyHandleInvalid => {
                let types = Cow::Borrowed(&[CKA_CLASS][..]);
                let asked = self.hsm.attempt(false, |lease| {
                    let object = self.hsm.resolve(lease, id)?;
                    let call = Call::Get { session: lease.session(), object, types: types.clone() };
                    Ok(lease.call(&call).map(drop)?)
                });
                asked.is_err_and(|error| error.code() == Code::ObjectHandleInvalid)
            }
            _ => false,
        };
        if gone {
            self.hsm.objects.forget(id);
        }
    }

    /// Whether the caller may alter this object.
    fn may_alter(&self, caller: Caller, lease: &Lease, id: ObjectId, handle: CK_OBJECT_HANDLE) -> Outcome<()> {
        if caller.read_write && !self.hsm.filter.read_only() {
            return Ok(());
        }
        if self.hsm.describe(lease, id, handle)?.token {
            self.hsm.filter.may_alter(caller)?;
        }
        Ok(())
    }

    fn offers(&self, mechanism: &Mechanism) -> Result<()> {
        if self.hsm.filter.offers(mechanism.ty) { Ok(()) } else { Err(Code::MechanismInvalid.into()) }
    }
}

impl Token for Forward {
    fn info(&self) -> Result<TokenInfo> {
        let mut info = self.hsm.look(|module, slot| module.call(&Call::Token { slot }, None)?.token())?;
        self.hsm.remember(info.clone());
        if let Some(label) = &self.label {
            info.label.clone_from(label);
        }
        if self.hsm.filter.read_only() {
            info.flags |= CKF_WRITE_PROTECTED;
        }
        if self.hsm.rules.pin != crate::config::PinSource::Caller {
            info.flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
        }
        // Applications' sessions are ours, and without number.
        info.max_sessions = 0;
        Ok(info)
    }

    fn mechanisms(&self) -> Vec<CK_MECHANISM_TYPE> {
        let list = self.hsm.look(|module, slot| module.call(&Call::Mechanisms { slot }, None)?.numbers());
        let mut list = list.unwrap_or_default();
        list.retain(|ty| self.hsm.filter.offers(*ty));
        list
    }

    fn mechanism_info(&self, ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo> {
        if !self.hsm.filter.offers(ty) {
            return Err(Code::MechanismInvalid.into());
        }
        self.hsm.look(|module, slot| module.call(&Call::Mechanism { slot, ty }, None)?.mechanism())
    }

    fn takes_opaque(&self, ty: CK_MECHANISM_TYPE) -> bool {
        self.hsm.filter.opaque(ty)
    }

    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        if !self.hsm.filter.security_officer || self.hsm.filter.read_only() {
            return Err(Code::TokenWriteProtected.because(format!(
                "{}: it is not initialised from here; say security_officer = true in the configuration to allow that",
                self.hsm.name
            )));
        }
        self.hsm.desert();
        let initialized = self.hsm.look(|module, slot| {
            let call = Call::Initialize { slot, pin: so_pin.into(), label: label.into() };
            module.call(&call, None).map(drop)
        });
        self.hsm.login_ended();
        initialized
    }

    fn open_session(&self, _caller: Caller) -> Result<()> {
        self.hsm.pool.open_up();
        self.hsm.sessions.fetch_add(1, Ordering::AcqRel);
        // That there is a session to be had is the answer to give now.
        self.hsm.lease().map(drop).inspect_err(|_| {
            self.hsm.sessions.fetch_sub(1, Ordering::AcqRel);
        })
    }

    fn close_session(&self, session: SessionId) {
        for id in self.hsm.objects.owned(session) {
            let _ = self.with(false, id, |lease, object| {
                Ok(lease.call(&Call::Destroy { session: lease.session(), object }).map(drop)?)
            });
            self.hsm.objects.forget(id);
        }
        self.hsm.pool.closed(session);
        if self.hsm.sessions.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.hsm.desert();
            self.hsm.login_ended();
        }
    }

    fn login(&self, _caller: Caller, user: User, pin: &[u8]) -> Result<()> {
        self.hsm.login(user, None, pin)
    }

    fn login_named(&self, _caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()> {
        self.hsm.login(user, Some(name), pin)
    }

    fn login_name(&self) -> Option<Arc<str>> {
        self.hsm.login_name()
    }

    fn reauthenticate(&self, caller: Caller, pin: &[u8]) -> Result<()> {
        self.hsm.reauthenticate(caller, pin)
    }

    fn logout(&self) -> Result<()> {
        self.hsm.logout()
    }

    fn logged_in(&self) -> Option<User> {
        self.hsm.logged_in()
    }

    fn validation_flags(&self, caller: Caller) -> Result<Option<CK_FLAGS>> {
        self.hsm.validation_flags(caller.session).map(Some)
    }

    fn init_pin(&self, caller: Caller, pin: &[u8]) -> Result<()> {
        self.hsm.filter.may_alter(caller)?;
        self.hsm.init_pin(pin)
    }

    fn set_pin(&self, caller: Caller, old: &[u8], new: &[u8]) -> Result<()> {
        self.hsm.filter.may_alter(caller)?;
        self.hsm.set_pin(old, new)
    }

    fn create(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        self.make(caller, &template, |lease| {
            let call = Call::Create { session: lease.session(), template: Cow::Borrowed(&template) };
            Ok(lease.call(&call)?.number()?)
        })
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        let said = named(&template, CKA_TOKEN).map(|value| is_true(Some(value)));
        self.with(false, object, |lease, handle| {
            let token = match said {
                Some(token) => token,
                None => self.hsm.describe(lease, object, handle)?.token,
            };
            if token {
                self.hsm.filter.may_alter(caller)?;
                self.hsm.stays_in_sight(lease, handle, &template)?;
            }
            let call = Call::Copy { session: lease.session(), object: handle, template: Cow::Borrowed(&template) };
            let copy = lease.call(&call)?.number()?;
            Ok(self.new_object(caller, lease, copy, token))
        })
    }

    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()> {
        self.with(false, object, |lease, handle| {
            self.may_alter(caller, lease, object, handle)?;
            lease.call(&Call::Destroy { session: lease.session(), object: handle })?;
            self.hsm.objects.forget(object);
            Ok(())
        })
    }

    fn size(&self, _caller: Caller, object: ObjectId) -> Result<u64> {
        self.with(true, object, |lease, handle| {
            Ok(lease.call(&Call::Size { session: lease.session(), object: handle })?.number()?)
        })
    }

    fn get(&self, _caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        if let Some(kept) = self.hsm.objects.kept(object, types)
            && !types.is_empty()
        {
            return Ok(kept);
        }
        self.with(true, object, |lease, handle| {
            if types.is_empty() {
                return Ok(SmallVec::new());
            }
            let call = Call::Get { session: lease.session(), object: handle, types: Cow::Borrowed(types) };
            let answers = lease.call(&call)?.answers()?;
            self.hsm.objects.keep(object, types, &answers);
            let _ = self.hsm.describe(lease, object, handle);
            Ok(answers)
        })
    }

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        self.with(false, object, |lease, handle| {
            self.may_alter(caller, lease, object, handle)?;
            if self.hsm.describe(lease, object, handle)?.token {
                self.hsm.stays_in_sight(lease, handle, &template)?;
            }
            let call = Call::Set { session: lease.session(), object: handle, template: Cow::Borrowed(&template) };
            lease.call(&call)?;
            self.hsm.objects.altered(object);
            // What it is now must be known before a loss; that it cannot be told yet is no failure of the change.
            let _ = self.hsm.describe(lease, object, handle);
            Ok(())
        })
    }

    fn find(&self, _caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        Searching::begin(&self.hsm, template)
    }

    fn begin(
        &self,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        if what != Use::Random {
            self.allows(caller, mechanism, flag_of(what), key)?;
        }
        let stamp = Stamp { mechanism: mechanism.ty, key, state: (self.hsm.epoch(), 0) };
        if let Some(mut spare) = spare
            && spare.stamp == stamp
            && spare.operation.restart(&mechanism.params)
        {
            return Ok(spare);
        }
        let begun = Forwarded::begin(&self.hsm, caller, what, mechanism, key);
        begun.inspect_err(|error| {
            if let (Code::KeyHandleInvalid, Some(key)) = (error.code(), key) {
                self.forget_if_gone(key, error.code());
            }
        })
    }

    fn digest_key(&self, _caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        digest.digest_key(&key.0.to_ne_bytes())
    }

    fn restore(&self, caller: Caller, what: Use, state: &[u8]) -> Result<Begun> {
        Forwarded::restore(&self.hsm, caller, what, state)
    }

    fn generate_key(&self, caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId> {
        self.allows_making(mechanism, CKF_GENERATE, &template)?;
        self.make(caller, &template, |lease| {
            let by = translated(&self.hsm, lease, mechanism)?;
            let call = Call::Generate { session: lease.session(), mechanism: by, template: Cow::Borrowed(&template) };
            let key = lease.call(&call)?.number()?;
            lease.completed(caller.session);
            Ok(key)
        })
    }

    fn generate_key_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        self.allows_making(mechanism, CKF_GENERATE_KEY_PAIR, &public)?;
        self.hsm.filter.may_write(caller, &public)?;
        self.hsm.filter.may_write(caller, &private)?;
        let token = |template: &[Attribute]| is_true(named(template, CKA_TOKEN));
        self.hsm.attempt(false, |lease| {
            let call = Call::GeneratePair {
                session: lease.session(),
                mechanism: Cow::Borrowed(mechanism),
                public: Cow::Borrowed(&public),
                private: Cow::Borrowed(&private),
            };
            let (one, two) = lease.call(&call)?.pair()?;
            lease.completed(caller.session);
            let one = self.new_object(caller, lease, one, token(&public));
            Ok((one, self.new_object(caller, lease, two, token(&private))))
        })
    }

    fn wrap(&self, caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.allows(caller, mechanism, CKF_WRAP, Some(wrapping))?;
        self.wrapping(mechanism, wrapping, key, |lease, mechanism, wrapping, key| {
            let call = Call::Wrap { session: lease.session(), mechanism, wrapping, key, ask: false };
            let wrapped = lease.call(&call)?.bytes()?;
            lease.completed(caller.session);
            Ok(wrapped)
        })
    }

    fn wrapped_len(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        self.allows(caller, mechanism, CKF_WRAP, Some(wrapping))?;
        let message = matches!(mechanism.params, Params::Message { .. });
        let len = self.wrapping(mechanism, wrapping, key, |lease, mechanism, wrapping, key| {
            let session = lease.session();
            let call = match message {
                true => Call::WrapAuthenticated { session, mechanism, wrapping, key, ask: true },
                false => Call::Wrap { session, mechanism, wrapping, key, ask: true },
            };
            Ok(lease.call(&call)?.needs()?)
        })?;
        Ok(Some(len))
    }

    fn wrap_authenticated(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        self.allows(caller, mechanism, CKF_WRAP, Some(wrapping))?;
        self.wrapping(mechanism, wrapping, key, |lease, mechanism, wrapping, key| {
            let call = Call::WrapAuthenticated { session: lease.session(), mechanism, wrapping, key, ask: false };
            let wrapped = lease.call(&call)?.wrapped()?;
            lease.completed(caller.session);
            Ok(wrapped)
        })
    }

    fn unwrap(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.allows(caller, mechanism, CKF_UNWRAP, Some(unwrapping))?;
        self.make(caller, &template, |lease| {
            let unwrapping = self.hsm.resolve(lease, unwrapping)?;
            let mechanism = translated(&self.hsm, lease, mechanism)?;
            let (wrapped, template) = (Cow::Borrowed(wrapped), Cow::Borrowed(template.as_slice()));
            let call = Call::Unwrap { session: lease.session(), mechanism, unwrapping, wrapped, template };
            let key = lease.call(&call)?.number()?;
            lease.completed(caller.session);
            Ok(key)
        })
    }

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        self.allows(caller, mechanism, CKF_DERIVE, Some(base))?;
        for template in mechanism.params.templates().iter().chain([&template]) {
            self.hsm.filter.may_write(caller, template)?;
        }
        let token = |template: &[Attribute]| is_true(named(template, CKA_TOKEN));
        self.hsm.attempt(false, |lease| {
            let base = self.hsm.resolve(lease, base)?;
            let by = translated(&self.hsm, lease, mechanism)?;
            let call =
                Call::Derive { session: lease.session(), mechanism: by, base, template: Cow::Borrowed(&template) };
            let Reply::Derived { key, further, bytes } = lease.call(&call)? else {
                return Err(Code::GeneralError.into());
            };
            lease.completed(caller.session);
            let templates = mechanism.params.templates();
            let mut made = Derived { bytes, ..Derived::default() };
            made.key = key.map(|key| self.new_object(caller, lease, key, token(&template)));
            for (at, key) in further.into_iter().enumerate() {
                let token = token(templates.get(at).unwrap_or(&template));
                made.further.push(self.new_object(caller, lease, key, token));
            }
            Ok(made)
        })
    }

    fn encapsulated_len(&self, caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        self.allows(caller, mechanism, CKF_ENCAPSULATE, Some(public))?;
        self.with(true, public, |lease, public| {
            let mechanism = translated(&self.hsm, lease, mechanism)?;
            let template = Cow::Borrowed(&[][..]);
            let call = Call::Encapsulate { session: lease.session(), mechanism, public, template, ask: true };
            Ok(lease.call(&call)?.needs()?)
        })
    }

    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        self.allows(caller, mechanism, CKF_ENCAPSULATE, Some(public))?;
        self.hsm.filter.may_write(caller, &template)?;
        let token = is_true(named(&template, CKA_TOKEN));
        self.with(false, public, |lease, public| {
            let mechanism = translated(&self.hsm, lease, mechanism)?;
            let session = lease.session();
            let call = Call::Encapsulate { session, mechanism, public, template: Cow::Borrowed(&template), ask: false };
            let (ciphertext, key) = lease.call(&call)?.encapsulated()?;
            lease.completed(caller.session);
            Ok((ciphertext, self.new_object(caller, lease, key, token)))
        })
    }

    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.allows(caller, mechanism, CKF_DECAPSULATE, Some(private))?;
        self.make(caller, &template, |lease| {
            let private = self.hsm.resolve(lease, private)?;
            let mechanism = translated(&self.hsm, lease, mechanism)?;
            let (ciphertext, template) = (Cow::Borrowed(ciphertext), Cow::Borrowed(template.as_slice()));
            let call = Call::Decapsulate { session: lease.session(), mechanism, private, ciphertext, template };
            let key = lease.call(&call)?.number()?;
            lease.completed(caller.session);
            Ok(key)
        })
    }
}

impl Forward {
    fn wrapping<T>(
        &self,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
        work: impl Fn(&mut Lease, Cow<'_, Mechanism>, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) -> Outcome<T>,
    ) -> Result<T> {
        self.hsm.attempt(true, |lease| {
            let wrapping = self.hsm.resolve(lease, wrapping)?;
            let key = self.hsm.resolve(lease, key)?;
            let by = translated(&self.hsm, lease, mechanism)?;
            work(lease, by, wrapping, key)
        })
    }
}
