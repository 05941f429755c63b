//! Is this use of this key allowed now? The life of the key decides (docs/lifecycle.md).
//!
//! The gate is asked wherever a key comes into use: at `begin`, and in the functions of one call. A handle that was found
//! long ago is asked about like any other, and a change that another process made counts from the next use on.

use std::sync::Arc;

use cryptoki_sys::*;
use smallvec::SmallVec;

use super::delegate::pass_on;
use super::gate::Gate;
use crate::error::{Code, Error, Result};
use crate::lifecycle::state::Lenience;
use crate::lifecycle::{Life, Purpose, State, Verdict, clock};
use crate::object::{Attributes, life};
use crate::token::*;

/// A token whose keys are used only as their life allows.
pub struct Governed {
    inner: Arc<dyn Token>,
    gate: Gate,
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

impl Governed {
    /// The token itself where it keeps no life of its keys.
    pub fn around(token: Arc<dyn Token>) -> Arc<dyn Token> {
        match token.keeps_life() {
            true => Arc::new(Governed { inner: token, gate: Gate::new(), clock: clock::now }),
            false => token,
        }
    }

    /// The life of a key; `None` where the token itself will have something to say of the handle.
    fn life(&self, caller: Caller, key: ObjectId) -> Option<Life> {
        let answers = self.inner.get(caller, key, &life::DECIDING).ok()?;
        let known = life::DECIDING.iter().zip(answers).filter_map(|(ty, answer)| match answer {
            Answer::Value(value) => Some(Attribute { ty: *ty, value }),
            _ => None,
        });
        Some(life::life(&known.collect::<Attributes>()))
    }

    fn verdict(&self, caller: Caller, key: ObjectId, purpose: Purpose) -> Verdict {
        match self.life(caller, key) {
            Some(life) => life.judge(purpose, Lenience::default(), (self.clock)()),
            None => Verdict { allowed: true, until: 0 },
        }
    }

    /// `code` where the key may not be used so now.
    fn check(&self, caller: Caller, key: ObjectId, purpose: Purpose, code: Code) -> Result<()> {
        match self.verdict(caller, key, purpose).allowed {
            true => Ok(()),
            false => Err(self.refusal(caller, key, purpose, code)),
        }
    }

    #[cold]
    fn refusal(&self, caller: Caller, key: ObjectId, purpose: Purpose, code: Code) -> Error {
        let state = self.life(caller, key).map_or("unknown", |life| life.state_at((self.clock)()).name());
        let side = match purpose {
            Purpose::Protect => "protects nothing new",
            Purpose::Process => "opens and verifies nothing",
        };
        code.because(format!("the key is {state}, or past its dates: it {side}; `keyward key show` tells when and why"))
    }

    /// The state now, of a key that can be seen.
    fn state(&self, caller: Caller, key: ObjectId) -> Option<State> {
        Some(self.life(caller, key)?.state_at((self.clock)()))
    }

    /// Whether a key may leave wrapped: a suspended or a compromised one may not. `CKR_KEY_NOT_WRAPPABLE`.
    fn may_leave(&self, caller: Caller, key: ObjectId) -> Result<()> {
        match self.state(caller, key) {
            Some(state @ (State::Suspended | State::Compromised)) => {
                Err(Code::KeyNotWrappable.because(format!("a key that is {} is not wrapped", state.name())))
            }
            _ => Ok(()),
        }
    }

    fn may_wrap(&self, caller: Caller, wrapping: ObjectId, key: ObjectId) -> Result<()> {
        self.check(caller, wrapping, Purpose::Protect, Code::WrappingKeyHandleInvalid)?;
        self.may_leave(caller, key)
    }

    /// `CKR_ACTION_PROHIBITED` unless the object is in one of these states; what is no key always is.
    fn only_while(&self, caller: Caller, object: ObjectId, states: &[State], what: &str) -> Result<()> {
        match self.state(caller, object) {
            Some(state) if !states.contains(&state) => {
                Err(Code::ActionProhibited.because(format!("a key that is {} is not {what}", state.name())))
            }
            _ => Ok(()),
        }
    }
}

impl Token for Governed {
    pass_on! {
        info() -> Result<TokenInfo>;
        mechanisms() -> Vec<CK_MECHANISM_TYPE>;
        mechanism_info(ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo>;
        initialize(so_pin: &[u8], label: &str) -> Result<()>;
        open_session(caller: Caller) -> Result<()>;
        close_session(session: SessionId);
        login(caller: Caller, user: User, pin: &[u8]) -> Result<()>;
        reauthenticate(caller: Caller, pin: &[u8]) -> Result<()>;
        logout() -> Result<()>;
        logged_in() -> Option<User>;
        init_pin(caller: Caller, pin: &[u8]) -> Result<()>;
        set_pin(caller: Caller, old: &[u8], new: &[u8]) -> Result<()>;
        create(caller: Caller, template: Vec<Attribute>) -> Result<ObjectId>;
        destroy(caller: Caller, object: ObjectId) -> Result<()>;
        size(caller: Caller, object: ObjectId) -> Result<u64>;
        get(caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<SmallVec<[Answer; 8]>>;
        find(caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>>;
        restore(caller: Caller, what: Use, state: &[u8]) -> Result<Begun>;
        generate_key(caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId>;
        generate_key_pair(caller: Caller, mechanism: &Mechanism, public: Vec<Attribute>, private: Vec<Attribute>) -> Result<(ObjectId, ObjectId)>;
        approved_only() -> bool;
        keeps_life() -> bool;
        change_life(caller: Caller, order: &Order) -> Result<()>;
        rotate(caller: Caller, rotation: &Rotation) -> Result<Rotated>;
        prove(caller: Caller, key: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>>;
        take_over(caller: Caller, order: &TakeOver) -> Result<()>;
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        self.only_while(caller, object, &[State::Active], "copied")?;
        self.inner.copy(caller, object, template)
    }

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        let states = [State::PreActive, State::Active, State::Suspended, State::Deactivated];
        self.only_while(caller, object, &states, "changed")?;
        self.inner.set(caller, object, template)
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
        let begun = self.inner.begin(caller, what, mechanism, key, spare)?;
        let (Some(key), Some(purpose)) = (key, purpose(what)) else { return Ok(begun) };
        let kind = what as u8;
        let allowed = self.gate.held(key, kind, &begun.stamp, self.clock).unwrap_or_else(|| {
            let verdict = self.verdict(caller, key, purpose);
            self.gate.keep(key, kind, &begun.stamp, verdict);
            verdict.allowed
        });
        match allowed {
            true => Ok(begun),
            false => Err(self.refusal(caller, key, purpose, Code::KeyFunctionNotPermitted)),
        }
    }

    fn digest_key(&self, caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        self.check(caller, key, Purpose::Protect, Code::KeyIndigestible)?;
        self.inner.digest_key(caller, digest, key)
    }

    fn wrap(&self, caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.may_wrap(caller, wrapping, key)?;
        self.inner.wrap(caller, mechanism, wrapping, key)
    }

    fn wrapped_len(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        self.may_wrap(caller, wrapping, key)?;
        self.inner.wrapped_len(caller, mechanism, wrapping, key)
    }

    fn wrap_authenticated(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        self.may_wrap(caller, wrapping, key)?;
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
        self.check(caller, unwrapping, Purpose::Process, Code::UnwrappingKeyHandleInvalid)?;
        self.inner.unwrap(caller, mechanism, unwrapping, wrapped, template)
    }

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        for key in std::iter::once(base).chain(mechanism.params.objects()) {
            self.check(caller, key, Purpose::Protect, Code::KeyHandleInvalid)?;
        }
        self.inner.derive(caller, mechanism, base, template)
    }

    fn encapsulated_len(&self, caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        self.check(caller, public, Purpose::Protect, Code::KeyHandleInvalid)?;
        self.inner.encapsulated_len(caller, mechanism, public)
    }

    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        self.check(caller, public, Purpose::Protect, Code::KeyHandleInvalid)?;
        self.inner.encapsulate(caller, mechanism, public, template)
    }

    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.check(caller, private, Purpose::Process, Code::UnwrappingKeyHandleInvalid)?;
        self.inner.decapsulate(caller, mechanism, private, ciphertext, template)
    }
}
