//! Is this use of this key allowed now? The life of the key and the policy of the token decide (docs/lifecycle.md).
//!
//! The gate is asked wherever a key comes into use: at `begin`, and in the functions of one call. A handle that was found
//! long ago is asked about like any other, and a change that another process made counts from the next use on.

use std::sync::Arc;

use cryptoki_sys::*;
use parking_lot::RwLock;

use super::VALUES;
use super::delegate::pass_on;
use super::gate::Gate;
use super::limits::Counts;
use super::rules::{GOVERNING, Rules};
use crate::error::{Code, Error, Result};
use crate::lifecycle::approval::{self, Act, Asked};
use crate::lifecycle::policy::{Limits, Rotation as Rotating};
use crate::lifecycle::state::Lenience;
use crate::lifecycle::{Dates, Event, Purpose, State, Verdict, clock};
use crate::mechanism::table;
use crate::object::{Attributes, life};
use crate::token::*;

/// A token whose keys are used only as their life and its policy allow.
pub struct Governed {
    inner: Arc<dyn Token>,
    gate: Gate,
    counts: Counts,
    /// The policy as it was looked through last.
    rules: RwLock<Option<Arc<Rules>>>,
    /// Approvals for what is asked next.
    presented: RwLock<Vec<String>>,
    clock: fn() -> u64,
}

/// Which side of the cryptoperiod a use is on; `None`: it takes no key.
const fn purpose(what: Use) -> Option<Purpose> {
    match what {
        Use::Encrypt | Use::MessageEncrypt | Use::Sign | Use::MessageSign | Use::SignRecover => Some(Purpose::Protect),
        Use::Decrypt
        | Use::MessageDecrypt
        | Use::Verify
        | Use::MessageVerify
        | Use::VerifySignature
        | Use::VerifyRecover => Some(Purpose::Process),
        Use::Digest | Use::Random => None,
    }
}

/// What shows whether a key that was made keeps to the policy.
const MADE: [CK_ATTRIBUTE_TYPE; 24] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_LABEL,
    CKA_ID,
    CKA_KEYWARD_VERSION,
    CKA_KEYWARD_CLASS,
    CKA_EXTRACTABLE,
    CKA_SENSITIVE,
    CKA_VALUE_LEN,
    CKA_MODULUS_BITS,
    CKA_MODULUS,
    CKA_EC_PARAMS,
    CKA_PARAMETER_SET,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
    CKA_ENCAPSULATE,
    CKA_DECAPSULATE,
    CKA_SIGN_RECOVER,
    CKA_VERIFY_RECOVER,
];

/// What decides about the end of a key, beside [`GOVERNING`].
const ENDING: [CK_ATTRIBUTE_TYPE; 2] = [CKA_KEYWARD_STATE, CKA_KEYWARD_DESTRUCTION_DATE];

impl Governed {
    /// The token itself where it keeps no life of its keys.
    pub fn around(token: Arc<dyn Token>) -> Arc<dyn Token> {
        match token.keeps_life() {
            true => {
                let (gate, counts, rules) = (Gate::new(), Counts::default(), RwLock::new(None));
                let presented = RwLock::default();
                Arc::new(Governed { inner: token, gate, counts, rules, presented, clock: clock::now })
            }
            false => token,
        }
    }

    /// The policy in force. `CKR_DEVICE_ERROR` where it was altered or names what this build lacks: then no key is used.
    fn rules(&self) -> Result<Option<Arc<Rules>>> {
        let signed = match self.inner.policy() {
            Ok(Some(signed)) => signed,
            Ok(None) => return Ok(None),
            Err(error) if error.code() == Code::DeviceError => return Err(error),
            // No token, or none any more: the call itself will say so.
            Err(_) => return Ok(None),
        };
        if let Some(rules) = &*self.rules.read()
            && Arc::ptr_eq(&rules.signed, &signed)
        {
            return Ok(Some(rules.clone()));
        }
        let rules = Arc::new(Rules::of(signed).map_err(|error| error.recode(Code::DeviceError))?);
        *self.rules.write() = Some(rules.clone());
        Ok(Some(rules))
    }

    /// `None` where the token itself will have something to say of the handle.
    fn try_read(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Option<Attributes>> {
        let answers = match self.inner.get(caller, object, types) {
            Ok(answers) => answers,
            Err(error) if matches!(error.code(), Code::ObjectHandleInvalid | Code::UserNotLoggedIn) => return Ok(None),
            Err(error) => return Err(error),
        };
        let known = types.iter().zip(answers).filter_map(|(ty, answer)| match answer {
            Answer::Value(value) => Some(Attribute { ty: *ty, value }),
            _ => None,
        });
        Ok(Some(known.collect()))
    }

    fn read(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Option<Attributes> {
        self.try_read(caller, object, types).ok().flatten()
    }

    /// What decides of a key. What cannot be told decides nothing: the error is the answer.
    fn look(&self, caller: Caller, key: ObjectId, rules: Option<&Arc<Rules>>) -> Result<Option<Attributes>> {
        match rules {
            None => self.try_read(caller, key, &life::DECIDING),
            Some(rules) => self.try_read(caller, key, &rules.asking(&[&life::DECIDING[..], &GOVERNING].concat())),
        }
    }

    /// The verdict, why it is a refusal, and what else limits the use.
    fn judge(
        &self,
        caller: Caller,
        key: ObjectId,
        purpose: Purpose,
        mechanism: CK_MECHANISM_TYPE,
    ) -> Result<(Verdict, Option<String>, Limits)> {
        let rules = self.rules()?;
        let Some(object) = self.look(caller, key, rules.as_ref())? else {
            return Ok((Verdict { allowed: true, until: 0 }, None, Limits::default()));
        };
        let now = (self.clock)();
        let (mut known, mut lenience) = (life::life(&object), Lenience::default());
        if let Some(rules) = &rules {
            known = rules.life(&object, known);
            lenience = rules.class_of(&object).map(|class| class.lenience()).unwrap_or_default();
        }
        let verdict = known.judge(purpose, lenience, now);
        if !verdict.allowed {
            let state = known.state_at(now).name();
            let side = match purpose {
                Purpose::Protect => "protects nothing new",
                Purpose::Process => "opens and verifies nothing",
            };
            let why =
                format!("the key is {state}, or past its dates: it {side}; `keyward key show` tells when and why");
            return Ok((verdict, Some(why), Limits::default()));
        }
        let Some(rules) = rules else { return Ok((verdict, None, Limits::default())) };
        if rules.waits_for_backup(&object) && !self.inner.backed_up(key)? {
            let why =
                "its class wants the key in a verified backup first: `keyward backup create`, then `backup verify`";
            let verdict = Verdict { allowed: false, ..verdict };
            return Ok((verdict, Some(why.to_owned()), Limits::default()));
        }
        let (why, until) = rules.refuses(&object, mechanism, || self.inner.login_name(), now);
        let limits = match purpose {
            Purpose::Protect => rules.class_of(&object).map(|class| class.limits()).unwrap_or_default(),
            Purpose::Process => Limits::default(),
        };
        Ok((Verdict { allowed: why.is_none(), until: verdict.until.min(until) }, why, limits))
    }

    /// `code` where the key may not be used so now; what its limits leave of it is taken.
    fn check(
        &self,
        caller: Caller,
        key: ObjectId,
        purpose: Purpose,
        mechanism: CK_MECHANISM_TYPE,
        code: Code,
    ) -> Result<()> {
        let limits = self.allow(caller, key, purpose, mechanism, code)?;
        self.spend(caller, key, limits).map_err(|error| error.recode(code))
    }

    /// The same without a use: for who only asks how long the answer will be.
    fn allow(
        &self,
        caller: Caller,
        key: ObjectId,
        purpose: Purpose,
        mechanism: CK_MECHANISM_TYPE,
        code: Code,
    ) -> Result<Limits> {
        match self.judge(caller, key, purpose, mechanism)? {
            (_, None, limits) => Ok(limits),
            (_, Some(why), _) => Err(code.because(why)),
        }
    }

    /// Counts a use where the key's class limits them.
    fn spend(&self, caller: Caller, key: ObjectId, limits: Limits) -> Result<()> {
        if limits == Limits::default() {
            return Ok(());
        }
        let reserve = |uses, limit| self.inner.reserve_uses(caller, key, uses, limit);
        self.counts.spend(key, limits, (self.clock)(), reserve)
    }

    #[cold]
    fn refusal(&self, caller: Caller, key: ObjectId, purpose: Purpose, mechanism: CK_MECHANISM_TYPE) -> Error {
        let why = self.judge(caller, key, purpose, mechanism).ok().and_then(|(_, why, _)| why);
        Code::KeyFunctionNotPermitted.because(why.unwrap_or_else(|| "the key may not be used so".to_owned()))
    }

    /// The state now, of a key that can be seen.
    fn state(&self, caller: Caller, key: ObjectId) -> Result<Option<State>> {
        let known = self.try_read(caller, key, &life::DECIDING)?;
        Ok(known.map(|known| life::life(&known).state_at((self.clock)())))
    }

    /// A suspended or a compromised key does not leave, and others only by mechanisms that the policy allows.
    /// Where the key's class asks for approvals of that, those presented are used up with `spend`.
    fn may_wrap(
        &self,
        caller: Caller,
        by: &Mechanism,
        (wrapping, key): (ObjectId, ObjectId),
        spend: bool,
    ) -> Result<Limits> {
        let limits = self.allow(caller, wrapping, Purpose::Protect, by.ty, Code::WrappingKeyHandleInvalid)?;
        if let Some(rules) = self.rules()? {
            rules.may_wrap_by(by.ty)?;
            if rules.policy().protection.wrap_by_as_strong {
                let known = |object| Ok::<_, Error>(self.try_read(caller, object, &MADE)?.unwrap_or_default());
                rules.may_wrap(&known(wrapping)?, &known(key)?)?;
            }
            self.may_export(caller, &rules, key, spend)?;
        }
        match self.state(caller, key)? {
            Some(state @ (State::Suspended | State::Compromised)) => {
                Err(Code::KeyNotWrappable.because(format!("a key that is {} is not wrapped", state.name())))
            }
            _ => Ok(limits),
        }
    }

    fn may_export(&self, caller: Caller, rules: &Rules, key: ObjectId, spend: bool) -> Result<()> {
        let Some(object) = self.read(caller, key, &rules.asking(&GOVERNING)) else { return Ok(()) };
        let needed = rules.class_of(&object).map_or(0, |class| class.approve_export);
        if needed == 0 || object.ulong(CKA_CLASS) == Some(CKO_PUBLIC_KEY) {
            return Ok(());
        }
        let unique_id = String::from_utf8_lossy(object.bytes(CKA_UNIQUE_ID).unwrap_or_default()).into_owned();
        let presented = self.presented.read().clone();
        self.approved(rules, &presented, needed, (Act::Export, &unique_id), spend)
            .map_err(|error| error.recode(Code::KeyNotWrappable))
    }

    /// A key whose class protects it against export or destruction, or wants it backed up, stays in the class.
    fn stays_in_class(&self, rules: &Rules, before: &Attributes, after: &Attributes) -> Result<()> {
        let Some(class) = rules.class_of(before).filter(|class| class.is_bound()) else { return Ok(()) };
        match rules.class_of(after).is_some_and(|new| new.name == class.name) {
            true => Ok(()),
            false => {
                Err(Code::ActionProhibited.because(format!("the key may not leave the policy's class {}", class.name)))
            }
        }
    }

    /// [`Governed::may_wrap`], and a use of the wrapping key.
    fn wraps(&self, caller: Caller, by: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<()> {
        let limits = self.may_wrap(caller, by, (wrapping, key), true)?;
        self.spend(caller, wrapping, limits).map_err(|error| error.recode(Code::WrappingKeyHandleInvalid))
    }

    /// `CKR_ACTION_PROHIBITED` unless the object is in one of these states; what is no key always is.
    fn only_while(&self, caller: Caller, object: ObjectId, states: &[State], what: &str) -> Result<()> {
        match self.state(caller, object)? {
            Some(state) if !states.contains(&state) => {
                Err(Code::ActionProhibited.because(format!("a key that is {} is not {what}", state.name())))
            }
            _ => Ok(()),
        }
    }

    /// A template, completed and judged. `also`: what else is known of the object, from the function or the other half.
    fn admit(
        &self,
        mut template: Vec<Attribute>,
        class: CK_OBJECT_CLASS,
        also: &[Attribute],
    ) -> Result<Vec<Attribute>> {
        let Some(rules) = self.rules()? else { return Ok(template) };
        let known = |ty| also.iter().find(|a| a.ty == ty);
        let key_type = known(CKA_KEY_TYPE).and_then(|a| [a.clone()].into_iter().collect::<Attributes>().ulong(a.ty));
        rules.complete(class, key_type, &mut template);
        let mut whole: Attributes = also.iter().cloned().collect();
        whole.put(Attribute::ulong(CKA_CLASS, class));
        template.iter().cloned().for_each(|attribute| whole.put(attribute));
        rules.judge(&whole)?;
        Ok(template)
    }

    /// A key that is only known once it is made; one that breaks the policy goes again.
    fn admit_made(&self, caller: Caller, made: ObjectId) -> Result<ObjectId> {
        let Some(rules) = self.rules()? else { return Ok(made) };
        let judged = self.read(caller, made, &rules.asking(&MADE)).map_or(Ok(()), |object| rules.judge(&object));
        match judged {
            Ok(()) => Ok(made),
            Err(error) => {
                let _ = self.inner.destroy(caller, made);
                Err(error)
            }
        }
    }

    /// [`Governed::admit_made`] for keys that come together: all or none.
    fn admit_all(&self, caller: Caller, made: &[ObjectId]) -> Result<()> {
        for (at, key) in made.iter().enumerate() {
            if let Err(error) = self.admit_made(caller, *key) {
                for (_, other) in made.iter().enumerate().filter(|(other, _)| *other != at) {
                    let _ = self.inner.destroy(caller, *other);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The same for what was judged by its template, where a class asks for what the token itself has filled in.
    fn admit_completed(&self, caller: Caller, made: &[ObjectId]) -> Result<()> {
        match self.rules()? {
            Some(rules) if rules.asks() => self.admit_all(caller, made),
            _ => Ok(()),
        }
    }

    /// `CKR_ACTION_PROHIBITED` where approvals are missing, or have been used. With `spend` they are used up, durably, before what
    /// they are for is done: if that fails, it is asked for anew.
    fn approved(
        &self,
        rules: &Rules,
        approvals: &[String],
        needed: u32,
        (act, subject): (Act, &str),
        spend: bool,
    ) -> Result<()> {
        if needed == 0 {
            return Ok(());
        }
        let serial = self.inner.info()?.serial;
        let (by, now) = (self.inner.login_name(), (self.clock)());
        let asked = Asked { act, subject, token: serial.trim_end(), by: by.as_deref(), now };
        let key_of = |name: &str| rules.policy().approvers.get(name).map(String::as_str);
        let used = approval::check(approvals, needed, &asked, key_of)?;
        if spend { self.inner.spend(&used, now) } else { Ok(()) }
    }

    fn class_said(template: &[Attribute], default: CK_OBJECT_CLASS) -> CK_OBJECT_CLASS {
        let said = template.iter().rfind(|attribute| attribute.ty == CKA_CLASS);
        let class = said.cloned().and_then(|attribute| Attributes::from_iter([attribute]).ulong(CKA_CLASS));
        class.unwrap_or(default)
    }
}

impl Token for Governed {
    pass_on! {
        info() -> Result<TokenInfo>;
        mechanisms() -> Vec<CK_MECHANISM_TYPE>;
        mechanism_info(ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo>;
        takes_opaque(ty: CK_MECHANISM_TYPE) -> bool;
        initialize(so_pin: &[u8], label: &str) -> Result<()>;
        open_session(caller: Caller) -> Result<()>;
        close_session(session: SessionId);
        login(caller: Caller, user: User, pin: &[u8]) -> Result<()>;
        login_named(caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()>;
        login_name() -> Option<Arc<str>>;
        name_before(pin: &[u8]) -> Option<String>;
        wants_code(user: User, pin: &[u8]) -> bool;
        reauthenticate(caller: Caller, pin: &[u8]) -> Result<()>;
        logout() -> Result<()>;
        logged_in() -> Option<User>;
        init_pin(caller: Caller, pin: &[u8]) -> Result<()>;
        set_pin(caller: Caller, old: &[u8], new: &[u8]) -> Result<()>;
        size(caller: Caller, object: ObjectId) -> Result<u64>;
        find(caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>>;
        restore(caller: Caller, what: Use, state: &[u8]) -> Result<Begun>;
        approved_only() -> bool;
        validation_flags(caller: Caller) -> Result<Option<CK_FLAGS>>;
        keeps_life() -> bool;
        prove(caller: Caller, key: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>>;
        take_over(caller: Caller, order: &TakeOver) -> Result<()>;
        policy() -> Result<Option<Arc<SignedPolicy>>>;
        spend(approvals: &[([u8; 16], u64)], now: u64) -> Result<()>;
        backed_up(key: ObjectId) -> Result<bool>;
        reserve_uses(caller: Caller, key: ObjectId, uses: u64, limit: u64) -> Result<u64>;
    }

    fn present(&self, approvals: Vec<String>) -> Result<()> {
        *self.presented.write() = approvals;
        Ok(())
    }

    /// The value of a key that leaves with approvals only is shown to nobody.
    fn get(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let mut answers = self.inner.get(caller, object, types)?;
        let shown =
            |(ty, answer): (&CK_ATTRIBUTE_TYPE, &Answer)| VALUES.contains(ty) && matches!(answer, Answer::Value(_));
        if types.iter().zip(&answers).any(shown)
            && let Some(rules) = self.rules()?
            && let Some(found) = self.read(caller, object, &rules.asking(&GOVERNING))
            && found.ulong(CKA_CLASS) != Some(CKO_PUBLIC_KEY)
            && rules.class_of(&found).is_some_and(|class| class.approve_export > 0)
        {
            let hidden = types.iter().zip(&mut answers).filter(|(ty, answer)| shown((ty, answer)));
            hidden.for_each(|(_, answer)| *answer = Answer::Sensitive);
        }
        Ok(answers)
    }

    /// A policy that names what this build does not have is refused before it is signed.
    fn apply_policy(&self, caller: Caller, text: &str, at: u64, approvals: &[String]) -> Result<()> {
        Rules::of(Arc::new(SignedPolicy { text: text.to_owned(), ..SignedPolicy::default() }))?;
        // One that was altered asks for nothing any more: the security officer must be able to mend it.
        if let Ok(Some(rules)) = self.rules() {
            let needed = rules.policy().approve_policy;
            self.approved(&rules, approvals, needed, (Act::Policy, &approval::digest(text)), true)?;
        }
        self.inner.apply_policy(caller, text, at, approvals)
    }

    fn change_life(&self, caller: Caller, order: &Order) -> Result<()> {
        if matches!(order.event, Event::Destroy | Event::Purge)
            && let Some(rules) = self.rules()?
            && let Some(key) = self.read(caller, order.key, &rules.asking(&[&GOVERNING[..], &ENDING].concat()))
        {
            let needed = rules.class_of(&key).map_or(0, |class| class.approve_destroy);
            let known = life::life(&key);
            // What was approved once, and has only waited for the end of its window, needs no second approval.
            let over = known.dates.destruction.is_some_and(|date| date <= (self.clock)());
            if !(known.state == State::PendingDestroy && over) {
                let subject = String::from_utf8_lossy(key.bytes(CKA_UNIQUE_ID).unwrap_or_default());
                self.approved(&rules, &order.approvals, needed, (Act::Destroy, &subject), true)?;
            }
        }
        self.inner.change_life(caller, order)
    }

    fn rotate(&self, caller: Caller, rotation: &Rotation) -> Result<Rotated> {
        if let Some(rules) = self.rules()?
            && let Some(object) = self.read(caller, rotation.key, &rules.asking(&MADE))
        {
            rules.judge(&object).map_err(|error| error.recode(Code::ActionProhibited))?;
            if rules.class_of(&object).is_some_and(|class| class.rotation == Rotating::External) {
                return Err(Code::ActionProhibited
                    .because("the policy leaves the rotation of this key to its signer (rotation = \"external\")"));
            }
            let next = Rules::next_version(&object);
            let class = |object| rules.class_of(object).map(|class| class.name.clone());
            if let Some(name) = class(&object).filter(|name| class(&next).as_ref() != Some(name)) {
                return Err(Code::ActionProhibited.because(format!(
                    "the policy's class {name} has the key by what each version has of its own, such as the ID: match by the label"
                )));
            }
        }
        self.inner.rotate(caller, rotation)
    }

    fn create(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        let class = Governed::class_said(&template, CK_UNAVAILABLE_INFORMATION);
        let made = self.inner.create(caller, self.admit(template, class, &[])?)?;
        self.admit_completed(caller, &[made])?;
        Ok(made)
    }

    fn create_all(&self, caller: Caller, templates: Vec<Vec<Attribute>>) -> Result<Vec<ObjectId>> {
        let admitted = templates.into_iter().map(|template| {
            let class = Governed::class_said(&template, CK_UNAVAILABLE_INFORMATION);
            self.admit(template, class, &[])
        });
        let made = self.inner.create_all(caller, admitted.collect::<Result<_>>()?)?;
        self.admit_completed(caller, &made)?;
        Ok(made)
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        self.only_while(caller, object, &[State::Active], "copied")?;
        if let Some(rules) = self.rules()?
            && let Some(before) = self.read(caller, object, &rules.asking(&MADE))
        {
            let mut after = before.clone();
            template.iter().cloned().for_each(|attribute| after.put(attribute));
            self.stays_in_class(&rules, &before, &after)?;
        }
        let made = self.inner.copy(caller, object, template)?;
        self.admit_made(caller, made)
    }

    /// Where the key's class keeps a recovery window the key is only hidden; elsewhere a governed key leaves a tombstone.
    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()> {
        let Some(rules) = self.rules()? else { return self.inner.destroy(caller, object) };
        let on_token = |found: &Attributes| found.is_true(CKA_TOKEN) && life::is_key(found);
        let found = self.read(caller, object, &rules.asking(&[&GOVERNING[..], &[CKA_TOKEN]].concat())).filter(on_token);
        let Some(class) = found.as_ref().and_then(|found| rules.class_of(found)) else {
            return self.inner.destroy(caller, object);
        };
        let (event, destruction) = match class.recovery_window {
            Some(window) => (Event::Destroy, Some((self.clock)().saturating_add(window))),
            None => (Event::Purge, None),
        };
        let by = Authority { actor: super::process::actor(), reason: "C_DestroyObject".into(), at: (self.clock)() };
        let dates = Dates { destruction, ..Dates::default() };
        let order = Order {
            key: object,
            event,
            dates,
            by,
            alone: true,
            approvals: Vec::new(),
            leave_nothing: class.no_tombstone,
        };
        self.change_life(caller, &order)
    }

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        let states = [State::PreActive, State::Active, State::Suspended, State::Deactivated];
        self.only_while(caller, object, &states, "changed")?;
        if let Some(rules) = self.rules()?
            && let Some(mut whole) = self.read(caller, object, &rules.asking(&MADE))
        {
            let before = whole.clone();
            template.iter().cloned().for_each(|attribute| whole.put(attribute));
            rules.judge(&whole).map_err(|error| error.recode(Code::ActionProhibited))?;
            self.stays_in_class(&rules, &before, &whole)?;
        }
        self.inner.set(caller, object, template)
    }

    fn generate_key(&self, caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId> {
        let Ok(row) = table::row(mechanism.ty) else { return self.inner.generate_key(caller, mechanism, template) };
        let class = Governed::class_said(&template, row.does.generates);
        let also: Vec<Attribute> = row.keys.first().map(|ty| Attribute::ulong(CKA_KEY_TYPE, *ty)).into_iter().collect();
        let made = self.inner.generate_key(caller, mechanism, self.admit(template, class, &also)?)?;
        self.admit_completed(caller, &[made])?;
        Ok(made)
    }

    fn generate_key_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        let Ok(row) = table::row(mechanism.ty) else {
            return self.inner.generate_key_pair(caller, mechanism, public, private);
        };
        let mut also: Vec<Attribute> =
            row.keys.first().map(|ty| Attribute::ulong(CKA_KEY_TYPE, *ty)).into_iter().collect();
        // The private key is as large as the public one.
        let sizes = [CKA_KEY_TYPE, CKA_MODULUS_BITS, CKA_EC_PARAMS];
        also.extend(public.iter().filter(|a| sizes.contains(&a.ty)).cloned());
        let public = self.admit(public, CKO_PUBLIC_KEY, &also)?;
        let private = self.admit(private, CKO_PRIVATE_KEY, &also)?;
        let made = self.inner.generate_key_pair(caller, mechanism, public, private)?;
        self.admit_completed(caller, &[made.0, made.1])?;
        Ok(made)
    }

    fn begin(
        &self,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        // The token first: its stamp is older than the verdict, so a change that comes between is seen at the next use.
        let mut begun = self.inner.begin(caller, what, mechanism, key, spare)?;
        let (Some(key), Some(purpose)) = (key, purpose(what)) else { return Ok(begun) };
        // Restarted: the stamp is the one for which it was cleared.
        if begun.cleared_until == u64::MAX {
            return Ok(begun);
        }
        let kind = ((what as u64) << 48) ^ mechanism.ty;
        let (verdict, limits) = match self.gate.held(key, kind, &begun.stamp, self.clock) {
            Some(held) => held,
            None => {
                let (verdict, _, limits) = self.judge(caller, key, purpose, mechanism.ty)?;
                self.gate.keep(key, kind, &begun.stamp, (verdict, limits));
                (verdict, limits)
            }
        };
        if !verdict.allowed {
            return Err(self.refusal(caller, key, purpose, mechanism.ty));
        }
        self.spend(caller, key, limits)?;
        if limits == Limits::default() && begun.stamp.state != (0, 0) {
            begun.cleared_until = verdict.until;
        }
        Ok(begun)
    }

    fn digest_key(&self, caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        self.check(caller, key, Purpose::Protect, CK_UNAVAILABLE_INFORMATION, Code::KeyIndigestible)?;
        self.inner.digest_key(caller, digest, key)
    }

    fn wrap(&self, caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.wraps(caller, mechanism, wrapping, key)?;
        self.inner.wrap(caller, mechanism, wrapping, key)
    }

    fn wrapped_len(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        self.may_wrap(caller, mechanism, (wrapping, key), false)?;
        self.inner.wrapped_len(caller, mechanism, wrapping, key)
    }

    fn wrap_authenticated(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        self.wraps(caller, mechanism, wrapping, key)?;
        self.inner.wrap_authenticated(caller, mechanism, wrapping, key)
    }

    fn unwrap(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.check(caller, unwrapping, Purpose::Process, mechanism.ty, Code::UnwrappingKeyHandleInvalid)?;
        let class = Governed::class_said(&template, CK_UNAVAILABLE_INFORMATION);
        let template = self.admit(template, class, &[])?;
        let made = self.inner.unwrap(caller, mechanism, unwrapping, wrapped, template)?;
        self.admit_made(caller, made)
    }

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        for key in std::iter::once(base).chain(mechanism.params.objects()) {
            self.check(caller, key, Purpose::Protect, mechanism.ty, Code::KeyHandleInvalid)?;
        }
        let class = Governed::class_said(&template, CKO_SECRET_KEY);
        let also = [Attribute::ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET)];
        let template = self.admit(template, class, &also)?;
        let derived = self.inner.derive(caller, mechanism, base, template)?;
        let made: Vec<ObjectId> = derived.key.into_iter().chain(derived.further.iter().copied()).collect();
        self.admit_all(caller, &made)?;
        Ok(derived)
    }

    fn encapsulated_len(&self, caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        self.allow(caller, public, Purpose::Protect, mechanism.ty, Code::KeyHandleInvalid)?;
        self.inner.encapsulated_len(caller, mechanism, public)
    }

    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        self.check(caller, public, Purpose::Protect, mechanism.ty, Code::KeyHandleInvalid)?;
        let class = Governed::class_said(&template, CKO_SECRET_KEY);
        let template = self.admit(template, class, &[])?;
        let (ciphertext, made) = self.inner.encapsulate(caller, mechanism, public, template)?;
        Ok((ciphertext, self.admit_made(caller, made)?))
    }

    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.check(caller, private, Purpose::Process, mechanism.ty, Code::UnwrappingKeyHandleInvalid)?;
        let class = Governed::class_said(&template, CKO_SECRET_KEY);
        let template = self.admit(template, class, &[])?;
        let made = self.inner.decapsulate(caller, mechanism, private, ciphertext, template)?;
        self.admit_made(caller, made)
    }
}
