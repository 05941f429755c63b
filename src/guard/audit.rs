//! Puts on record what is done with a token's keys, and refuses what must be on record and cannot be.
//!
//! Uses are recorded where they begin, before the caller can have anything of them. What changes the token is recorded
//! once it is done, room for the line having been promised before; what was made is destroyed again where even so it could not
//! be recorded. The record itself is `audit_log`'s.

use std::borrow::Cow;
use std::sync::Arc;

use cryptoki_sys::*;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use smallvec::SmallVec;

use super::VALUES;
use super::delegate::pass_on;
use crate::audit_log::{Class, Event, KeyName, Log};
use crate::error::{Error, Result};
use crate::lifecycle;
use crate::mechanism::table;
use crate::numbers::Numbers;
use crate::os::coarse_millis;
use crate::token::*;

/// How many keys' names are kept.
const NAMES: usize = 4096;
/// How long the name of a key is told without a new look, in milliseconds. What other programs change in an HSM says nothing of itself.
const BELIEVED: u64 = 1000;
/// Most bytes of a reason.
const REASON: usize = 300;

/// A token whose events go on record.
pub struct Audited {
    inner: Arc<dyn Token>,
    log: Arc<Log>,
    slot: u64,
    serial: String,
    /// Whether a stamp of the token's tells that a key may have another name now.
    tells: bool,
    names: Cache<ObjectId, Arc<Named>, UnitWeighter, Numbers>,
}

/// An object as an event tells of it.
struct Named {
    name: KeyName,
    /// Of the token when it was read: [`Stamp::state`].
    state: Option<(u64, u64)>,
    /// When it was read, in coarse milliseconds.
    at: u64,
    public: bool,
    secret: bool,
    on_token: bool,
}

impl Audited {
    pub fn new(inner: Arc<dyn Token>, log: Arc<Log>, slot: u64) -> Audited {
        let serial = inner.info().map(|info| info.serial.trim_end().to_owned()).unwrap_or_default();
        let (numbers, cycle) = (Numbers::default(), DefaultLifecycle::default());
        let names = Cache::with(NAMES, NAMES as u64, UnitWeighter, numbers, cycle);
        let tells = inner.keeps_life();
        Audited { inner, log, slot, serial, tells, names }
    }

    fn event<'a>(&'a self, class: Class, operation: &'a str) -> Event<'a> {
        let user = match self.inner.logged_in() {
            Some(user) => self.inner.login_name().map_or(role_name(user), interned),
            None => "",
        };
        Event { slot: self.slot, token: &self.serial, user, ..Event::new(class, operation) }
    }

    /// Records how it went. On failure the caller gets no result.
    fn tell<T>(&self, event: Event<'_>, done: Result<T>, undo: impl FnOnce(T)) -> Result<T> {
        let (result, rule) = match &done {
            Ok(_) => ("CKR_OK", ""),
            Err(error) => (error.code().name(), reason(error)),
        };
        match (self.log.record(&Event { result, rule, ..event }), done) {
            (Ok(()), done) => done,
            (Err(refused), Ok(value)) => {
                undo(value);
                Err(refused)
            }
            (Err(_), Err(error)) => Err(error),
        }
    }

    /// The object's name, read anew once anything has changed in the token, as far as that is known, and once a second.
    fn named(&self, caller: Caller, object: ObjectId, state: Option<(u64, u64)>) -> Option<Arc<Named>> {
        let at = coarse_millis();
        if let Some(known) = self.names.get(&object)
            && at.saturating_sub(known.at) < BELIEVED
            && (!self.tells || state.is_some() && known.state == state)
        {
            return Some(known);
        }
        let types = [CKA_UNIQUE_ID, CKA_LABEL, CKA_CLASS, CKA_TOKEN, CKA_KEYWARD_VERSION, CKA_ID];
        let answers = self.inner.get(caller, object, &types).ok()?;
        let bytes = |at: usize| match answers.get(at) {
            Some(Answer::Value(Value::Bytes(bytes))) => bytes.as_slice(),
            _ => &[],
        };
        let number = |at: usize| bytes(at).try_into().map(CK_ULONG::from_ne_bytes).ok();
        let class = number(2);
        let text = |at| String::from_utf8_lossy(bytes(at));
        let named = Arc::new(Named {
            name: self.log.key_name(&identity(&text(0), bytes(5)), &text(1), number(4)),
            state,
            at,
            public: class == Some(CKO_PUBLIC_KEY),
            secret: matches!(class, Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY)),
            on_token: bytes(3) == [CK_TRUE],
        });
        self.names.insert(object, Arc::clone(&named));
        Some(named)
    }

    /// What is done with keys that exist, and makes none.
    fn using<T>(
        &self,
        caller: Caller,
        operation: &str,
        mechanism: &Mechanism,
        keys: (ObjectId, Option<ObjectId>),
        lasting: bool,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let key = self.named(caller, keys.0, None);
        let with = keys.1.and_then(|with| self.named(caller, with, None));
        let class = match key.as_ref().is_some_and(|key| key.on_token) && lasting {
            true => Class::Admin,
            false => Class::KeyUse,
        };
        self.log.ready(class)?;
        let event = Event {
            key: key.as_ref().map(|key| &key.name),
            with: with.as_ref().map(|with| &with.name),
            mechanism: mechanism_name(mechanism.ty),
            ..self.event(class, operation)
        };
        self.tell(event, work(), drop)
    }

    /// What makes objects: `objects` gives them. One event for each.
    fn making<T>(
        &self,
        caller: Caller,
        what: Making<'_>,
        work: impl FnOnce() -> Result<T>,
        objects: impl Fn(&T) -> SmallVec<[ObjectId; 2]>,
    ) -> Result<T> {
        let class = if what.on_token { Class::Admin } else { Class::KeyUse };
        if !self.log.wants(class) {
            return work();
        }
        self.log.ready(class)?;
        let with = what.from.and_then(|from| self.named(caller, from, None));
        let done = work();
        let event = Event {
            with: with.as_ref().map(|with| &with.name),
            mechanism: what.mechanism.map_or("", |mechanism| mechanism_name(mechanism.ty)),
            ..self.event(class, what.operation)
        };
        let undo = |done| {
            for object in objects(&done) {
                let _ = self.inner.destroy(caller, object);
            }
        };
        let Ok(done) = done else { return self.tell(event, done, undo) };
        let names: Vec<_> = objects(&done).iter().map(|object| self.named(caller, *object, None)).collect();
        let events =
            names.iter().map(|key| Event { key: key.as_ref().map(|key| &key.name), result: "CKR_OK", ..event });
        match self.log.record_all(class, events) {
            Ok(()) => Ok(done),
            Err(refused) => {
                undo(done);
                Err(refused)
            }
        }
    }

    fn logging_in(&self, who: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.log.wants(Class::Login) {
            self.log.ready(Class::Login)?;
        }
        let done = work();
        self.tell(Event { user: who, ..self.event(Class::Login, "login") }, done, |()| drop(self.inner.logout()))
    }

    /// What an administrator does to the token.
    fn administering(&self, operation: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.log.ready(Class::Admin)?;
        let event = self.event(Class::Admin, operation);
        self.tell(event, work(), drop)
    }

    /// What changes or destroys an object.
    fn changing(
        &self,
        caller: Caller,
        operation: &str,
        object: ObjectId,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let key = self.named(caller, object, None);
        let class = if key.as_ref().is_some_and(|key| key.on_token) { Class::Admin } else { Class::KeyUse };
        self.log.ready(class)?;
        let event = Event { key: key.as_ref().map(|key| &key.name), ..self.event(class, operation) };
        let done = self.tell(event, work(), drop);
        self.names.remove(&object);
        done
    }
}

impl Audited {
    /// What an administrator makes of a key's life, with the reason that was given.
    fn governing<T>(
        &self,
        caller: Caller,
        operation: &str,
        key: ObjectId,
        by: &Authority,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let named = self.named(caller, key, None);
        self.log.ready(Class::Admin)?;
        let done = work();
        let (result, refused) = match &done {
            Ok(_) => ("CKR_OK", ""),
            Err(error) => (error.code().name(), reason(error)),
        };
        let key = named.as_ref().map(|key| &key.name);
        let rule = if refused.is_empty() { &by.reason } else { refused };
        let event = Event { key, result, rule, ..self.event(Class::Admin, operation) };
        self.log.record(&event).and(done)
    }
}

const fn life_name(event: lifecycle::Event) -> &'static str {
    match event {
        lifecycle::Event::Activate => "activate",
        lifecycle::Event::Suspend => "suspend",
        lifecycle::Event::Resume => "resume",
        lifecycle::Event::Deactivate => "deactivate",
        lifecycle::Event::Compromise => "revoke",
        lifecycle::Event::Destroy => "destroy",
        lifecycle::Event::Recover => "recover",
        lifecycle::Event::Purge => "purge",
        lifecycle::Event::Schedule => "schedule",
    }
}

/// What [`Audited::making`] is told.
struct Making<'a> {
    operation: &'a str,
    mechanism: Option<&'a Mechanism>,
    /// The base key, the unwrapping key.
    from: Option<ObjectId>,
    /// Whether a token object is made.
    on_token: bool,
}

impl<'a> Making<'a> {
    fn new(operation: &'a str, on_token: bool) -> Making<'a> {
        Making { operation, mechanism: None, from: None, on_token }
    }

    fn by(self, mechanism: &'a Mechanism) -> Making<'a> {
        Making { mechanism: Some(mechanism), ..self }
    }

    fn from(self, key: ObjectId) -> Making<'a> {
        Making { from: Some(key), ..self }
    }
}

/// What the template says; `None`: nothing.
fn token_object(template: &[Attribute]) -> Option<bool> {
    let said = template.iter().find(|attribute| attribute.ty == CKA_TOKEN)?;
    Some(matches!(&said.value, Value::Bytes(value) if value.as_slice() == [CK_TRUE]))
}

fn on_token(template: &[Attribute]) -> bool {
    token_object(template).unwrap_or(false)
}

fn role_name(user: User) -> &'static str {
    match user {
        User::SecurityOfficer => "so",
        User::User => "user",
    }
}

/// The name of a user who is logged in, kept for good: a process meets few of them, and events borrow what they tell.
fn interned(name: Arc<str>) -> &'static str {
    static NAMES: parking_lot::Mutex<Vec<&'static str>> = parking_lot::Mutex::new(Vec::new());
    let mut names = NAMES.lock();
    match names.iter().find(|known| ***known == *name) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(name.to_string().into_boxed_str());
            names.push(kept);
            kept
        }
    }
}

/// How a key is known again in the record: an HSM of before PKCS#11 3.0 has no unique IDs.
fn identity<'a>(unique: &'a str, id: &[u8]) -> Cow<'a, str> {
    match unique.is_empty() && !id.is_empty() {
        true => Cow::Owned(id.iter().fold("id:".to_owned(), |text, byte| format!("{text}{byte:02x}"))),
        false => Cow::Borrowed(unique),
    }
}

fn mechanism_name(ty: CK_MECHANISM_TYPE) -> &'static str {
    table::row(ty).map_or("unknown", |row| row.name)
}

fn reason(error: &Error) -> &str {
    let why = error.why().unwrap_or_default();
    let end = why.char_indices().map(|(at, c)| at.saturating_add(c.len_utf8())).take_while(|end| *end <= REASON).last();
    why.get(..end.unwrap_or(0)).unwrap_or_default()
}

const fn use_name(what: Use) -> &'static str {
    match what {
        Use::Encrypt => "encrypt",
        Use::Decrypt => "decrypt",
        Use::Digest => "digest",
        Use::Sign => "sign",
        Use::SignRecover => "sign_recover",
        Use::Verify | Use::VerifySignature => "verify",
        Use::VerifyRecover => "verify_recover",
        Use::MessageEncrypt => "message_encrypt",
        Use::MessageDecrypt => "message_decrypt",
        Use::MessageSign => "message_sign",
        Use::MessageVerify => "message_verify",
        Use::Random => "random",
    }
}

impl Token for Audited {
    pass_on! {
        info() -> Result<TokenInfo>;
        mechanisms() -> Vec<CK_MECHANISM_TYPE>;
        mechanism_info(ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo>;
        takes_opaque(ty: CK_MECHANISM_TYPE) -> bool;
        open_session(caller: Caller) -> Result<()>;
        close_session(session: SessionId);
        logged_in() -> Option<User>;
        login_name() -> Option<Arc<str>>;
        name_before(pin: &[u8]) -> Option<String>;
        wants_code(user: User, pin: &[u8]) -> bool;
        size(caller: Caller, object: ObjectId) -> Result<u64>;
        find(caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>>;
        restore(caller: Caller, what: Use, state: &[u8]) -> Result<Begun>;
        wrapped_len(
            caller: Caller,
            mechanism: &Mechanism,
            wrapping: ObjectId,
            key: ObjectId
        ) -> Result<Option<usize>>;
        encapsulated_len(caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize>;
        approved_only() -> bool;
        validation_flags(caller: Caller) -> Result<Option<CK_FLAGS>>;
        keeps_life() -> bool;
        policy() -> Result<Option<Arc<SignedPolicy>>>;
        present(approvals: Vec<String>) -> Result<()>;
        spend(approvals: &[([u8; 16], u64)], now: u64) -> Result<()>;
        backed_up(key: ObjectId) -> Result<bool>;
        reserve_uses(caller: Caller, key: ObjectId, uses: u64, limit: u64) -> Result<u64>;
    }

    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        self.administering("init_token", || self.inner.initialize(so_pin, label))
    }

    fn login(&self, caller: Caller, user: User, pin: &[u8]) -> Result<()> {
        let name = self.inner.name_before(pin);
        let who = name.as_deref().unwrap_or(role_name(user));
        self.logging_in(who, || self.inner.login(caller, user, pin))
    }

    fn login_named(&self, caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()> {
        self.logging_in(name, || self.inner.login_named(caller, user, name, pin))
    }

    fn reauthenticate(&self, caller: Caller, pin: &[u8]) -> Result<()> {
        let done = self.inner.reauthenticate(caller, pin);
        self.tell(self.event(Class::Login, "reauthenticate"), done, drop)
    }

    fn logout(&self) -> Result<()> {
        let event = self.event(Class::Login, "logout");
        let done = self.inner.logout();
        let result = done.as_ref().map_or_else(|error| error.code().name(), |()| "CKR_OK");
        // Nobody is kept logged in for want of a record.
        let _ = self.log.record(&Event { result, ..event });
        done
    }

    fn init_pin(&self, caller: Caller, pin: &[u8]) -> Result<()> {
        self.administering("init_pin", || self.inner.init_pin(caller, pin))
    }

    fn set_pin(&self, caller: Caller, old: &[u8], new: &[u8]) -> Result<()> {
        self.administering("set_pin", || self.inner.set_pin(caller, old, new))
    }

    fn create(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        let what = Making::new("create", on_token(&template));
        self.making(caller, what, || self.inner.create(caller, template), |made| SmallVec::from_slice(&[*made]))
    }

    fn create_all(&self, caller: Caller, templates: Vec<Vec<Attribute>>) -> Result<Vec<ObjectId>> {
        let what = Making::new("create", templates.iter().any(|template| on_token(template)));
        let work = || self.inner.create_all(caller, templates);
        self.making(caller, what, work, |made| made.iter().copied().collect())
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        let kept = || self.named(caller, object, None).is_some_and(|original| original.on_token);
        let what = Making::new("copy", token_object(&template).unwrap_or_else(kept)).from(object);
        self.making(caller, what, || self.inner.copy(caller, object, template), |made| SmallVec::from_slice(&[*made]))
    }

    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()> {
        self.changing(caller, "destroy", object, || self.inner.destroy(caller, object))
    }

    fn get(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let answers = self.inner.get(caller, object, types)?;
        let told =
            types.iter().zip(&answers).any(|(ty, answer)| VALUES.contains(ty) && matches!(answer, Answer::Value(_)));
        if !told {
            return Ok(answers);
        }
        let Some(key) = self.named(caller, object, None).filter(|key| key.secret) else { return Ok(answers) };
        let class = if key.on_token { Class::Admin } else { Class::KeyUse };
        self.tell(Event { key: Some(&key.name), ..self.event(class, "read_value") }, Ok(answers), drop)
    }

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        self.changing(caller, "set", object, || self.inner.set(caller, object, template))
    }

    fn begin(
        &self,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        let begun = self.inner.begin(caller, what, mechanism, key, spare);
        let unwanted = !self.log.wants(Class::KeyUse) && !self.log.wants(Class::PublicUse);
        if what == Use::Random || unwanted {
            return begun;
        }
        let state = begun.as_ref().ok().map(|begun| begun.stamp.state);
        let key = key.and_then(|key| self.named(caller, key, state));
        let class = if key.as_ref().is_some_and(|key| !key.public) { Class::KeyUse } else { Class::PublicUse };
        if !self.log.wants(class) {
            return begun;
        }
        let event = Event {
            key: key.as_ref().map(|key| &key.name),
            mechanism: mechanism_name(mechanism.ty),
            ..self.event(class, use_name(what))
        };
        self.tell(event, begun, drop)
    }

    fn digest_key(&self, caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        let named = self.named(caller, key, None);
        let event = Event { key: named.as_ref().map(|key| &key.name), ..self.event(Class::KeyUse, "digest_key") };
        self.tell(event, self.inner.digest_key(caller, digest, key), drop)
    }

    fn generate_key(&self, caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId> {
        let what = Making::new("generate", on_token(&template)).by(mechanism);
        let work = || self.inner.generate_key(caller, mechanism, template);
        self.making(caller, what, work, |made| SmallVec::from_slice(&[*made]))
    }

    fn generate_key_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        let what = Making::new("generate", on_token(&public) || on_token(&private)).by(mechanism);
        let work = || self.inner.generate_key_pair(caller, mechanism, public, private);
        self.making(caller, what, work, |(public, private)| SmallVec::from_slice(&[*private, *public]))
    }

    fn wrap(&self, caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        let work = || self.inner.wrap(caller, mechanism, wrapping, key);
        self.using(caller, "wrap", mechanism, (key, Some(wrapping)), true, work)
    }

    fn wrap_authenticated(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        let work = || self.inner.wrap_authenticated(caller, mechanism, wrapping, key);
        self.using(caller, "wrap", mechanism, (key, Some(wrapping)), true, work)
    }

    fn unwrap(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let what = Making::new("unwrap", on_token(&template)).by(mechanism).from(unwrapping);
        let work = || self.inner.unwrap(caller, mechanism, unwrapping, wrapped, template);
        self.making(caller, what, work, |made| SmallVec::from_slice(&[*made]))
    }

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        let what = Making::new("derive", on_token(&template)).by(mechanism).from(base);
        let work = || self.inner.derive(caller, mechanism, base, template);
        self.making(caller, what, work, |made| made.key.iter().chain(&made.further).copied().collect())
    }

    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        let what = Making::new("encapsulate", on_token(&template)).by(mechanism).from(public);
        let work = || self.inner.encapsulate(caller, mechanism, public, template);
        self.making(caller, what, work, |(_, made)| SmallVec::from_slice(&[*made]))
    }

    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let what = Making::new("decapsulate", on_token(&template)).by(mechanism).from(private);
        let work = || self.inner.decapsulate(caller, mechanism, private, ciphertext, template);
        self.making(caller, what, work, |made| SmallVec::from_slice(&[*made]))
    }

    fn apply_policy(&self, caller: Caller, text: &str, at: u64, approvals: &[String]) -> Result<()> {
        self.administering("apply_policy", || self.inner.apply_policy(caller, text, at, approvals))
    }

    fn change_life(&self, caller: Caller, order: &Order) -> Result<()> {
        let work = || self.inner.change_life(caller, order);
        self.governing(caller, life_name(order.event), order.key, &order.by, work)
    }

    fn rotate(&self, caller: Caller, rotation: &Rotation) -> Result<Rotated> {
        let operation = if rotation.stage { "stage" } else { "rotate" };
        let work = || self.inner.rotate(caller, rotation);
        self.governing(caller, operation, rotation.key, &rotation.by, work)
    }

    fn prove(&self, caller: Caller, key: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>> {
        let work = || self.inner.prove(caller, key, mechanism, request);
        self.using(caller, "sign_request", mechanism, (key, None), false, work)
    }

    fn take_over(&self, caller: Caller, order: &TakeOver) -> Result<()> {
        let work = || self.inner.take_over(caller, order);
        self.governing(caller, "take_over", order.key, &order.by, work)
    }
}
