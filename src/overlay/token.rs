//! The joint: what the overlay adds to each function of the token below.

use std::sync::Arc;

use cryptoki_sys::*;

use super::book::{Entry, Trait};
use super::bound::{Bound, tombstone_of};
use super::making::Wish;
use super::{Overlay, Shared};
use crate::error::{Code, Result};
use crate::lifecycle::policy::Policy;
use crate::token::*;

/// Writes the methods of `Token` that only pass on.
macro_rules! pass_on {
    ($to:ident: $($name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?;)*) => {
        $(fn $name(&self, $($arg: $ty),*) $(-> $out)? {
            pass_on!(@ $to self).$name($($arg),*)
        })*
    };
    (@ inner $self:ident) => { $self.shared.inner };
    (@ shared $self:ident) => { $self.shared };
}

impl Shared {
    /// A key of a function of one call: known, and not hidden. The codes are those that the function lists for the handle.
    fn fits(&self, caller: Caller, key: ObjectId, invalid: Code) -> Result<()> {
        let view = self.book.view()?;
        self.fit(&view, caller, key, invalid).map_err(|error| match error.code() {
            Code::KeyFunctionNotPermitted => error.recode(invalid),
            _ => error,
        })
    }

    /// `CKR_OBJECT_HANDLE_INVALID` for what is hidden.
    fn visible(&self, caller: Caller, object: ObjectId) -> Result<()> {
        let view = self.book.view()?;
        if !self.book.has(&view, Trait::Hidden)? {
            return Ok(());
        }
        match self.bound(&view, caller, object)? {
            Bound::Key(key) if key.state().hidden() => Err(Code::ObjectHandleInvalid.into()),
            _ => Ok(()),
        }
    }

    fn begin(
        &self,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: ObjectId,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        // Sampled first: whatever changes while the operation begins makes its stamp an old one.
        let view = self.book.view()?;
        let mark = self.mark(&view);
        let spare = spare.map(|mut spare| {
            spare.stamp.state.1 ^= mark;
            spare
        });
        // First, as it may need a session with the HSM that the operation would hold.
        self.fit(&view, caller, key, Code::KeyHandleInvalid)?;
        let mut begun = self.inner.begin(caller, what, mechanism, Some(key), spare)?;
        begun.stamp.state.1 ^= mark;
        Ok(begun)
    }

    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()> {
        self.visible(caller, object)?;
        let view = self.book.view()?;
        let bound = self.bound(&view, caller, object)?;
        self.inner.destroy(caller, object)?;
        self.objects.forget(object);
        if let Bound::Key(key) = bound
            && let Some(record) = &key.record
        {
            self.book.commit(&view, vec![Entry::Gone(Arc::clone(record))])?;
        }
        Ok(())
    }

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        self.visible(caller, object)?;
        if template.iter().any(|attribute| super::search::is_own(attribute.ty)) {
            return Err(Code::AttributeReadOnly.because("the life of a key is changed with `keyward key`"));
        }
        let view = self.book.view()?;
        let Bound::Key(key) = self.bound(&view, caller, object)? else {
            return self.inner.set(caller, object, template);
        };
        let version = key.attributes.bytes(CKA_KEYWARD_LOGICAL_KEY).is_some();
        if version && template.iter().any(|attribute| attribute.ty == CKA_LABEL) {
            return Err(Code::ActionProhibited.because("the label of a version follows that of the logical key"));
        }
        let dates: Vec<_> =
            template.iter().filter(|a| matches!(a.ty, CKA_START_DATE | CKA_END_DATE)).cloned().collect();
        self.inner.set(caller, object, template)?;
        self.objects.read_anew(object);
        // What it is known again by may be another now.
        if let Some(record) = &key.record
            && let Some(identity) = super::identity::Identity::of(&*self.inner, caller, object)?
        {
            let mut next = record.attributes.clone();
            identity.write(&mut next);
            for date in dates {
                if next.get(date.ty).is_some() {
                    next.put(date);
                }
            }
            if next != record.attributes {
                self.book.commit(&view, vec![Entry::Changed(Arc::clone(record), next)])?;
            }
        }
        Ok(())
    }
}

impl Token for Overlay {
    pass_on! { inner:
        mechanisms() -> Vec<CK_MECHANISM_TYPE>;
        mechanism_info(ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo>;
        takes_opaque(ty: CK_MECHANISM_TYPE) -> bool;
        approved_only() -> bool;
        validation_flags(caller: Caller) -> Result<Option<CK_FLAGS>>;
        restore(caller: Caller, what: Use, state: &[u8]) -> Result<Begun>;
    }

    pass_on! { shared:
        open_session(caller: Caller) -> Result<()>;
        close_session(session: SessionId);
        login(caller: Caller, user: User, pin: &[u8]) -> Result<()>;
        login_named(caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()>;
        login_name() -> Option<Arc<str>>;
        reauthenticate(caller: Caller, pin: &[u8]) -> Result<()>;
        logout() -> Result<()>;
        logged_in() -> Option<User>;
        set_pin(caller: Caller, old: &[u8], new: &[u8]) -> Result<()>;
        destroy(caller: Caller, object: ObjectId) -> Result<()>;
        get(caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers>;
        set(caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()>;
        change_life(caller: Caller, order: &Order) -> Result<()>;
        reserve_uses(caller: Caller, key: ObjectId, uses: u64, limit: u64) -> Result<u64>;
        rotate(caller: Caller, rotation: &Rotation) -> Result<Rotated>;
        prove(caller: Caller, key: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>>;
        take_over(caller: Caller, order: &TakeOver) -> Result<()>;
    }

    fn info(&self) -> Result<TokenInfo> {
        let mut info = self.shared.inner.info()?;
        if !self.shared.book.is_sound() {
            info.flags |= CKF_ERROR_STATE;
        }
        Ok(info)
    }

    fn initialize(&self, _so_pin: &[u8], _label: &str) -> Result<()> {
        Err(Code::TokenWriteProtected.because("an HSM with an overlay is initialised with its maker's tools"))
    }

    fn init_pin(&self, _caller: Caller, _pin: &[u8]) -> Result<()> {
        Err(Code::FunctionNotSupported.because("the user's PIN is the HSM's, and set with its maker's tools"))
    }

    fn keeps_life(&self) -> bool {
        true
    }

    fn policy(&self) -> Result<Option<Arc<SignedPolicy>>> {
        self.shared.book.policy()
    }

    fn spend(&self, approvals: &[([u8; 16], u64)], now: u64) -> Result<()> {
        self.shared.book.view()?.file.spend(approvals, now)
    }

    fn apply_policy(&self, _caller: Caller, text: &str, at: u64, _approvals: &[String]) -> Result<()> {
        super::suits(&Policy::parse(text)?)?;
        self.shared.book.sign_policy(text, at)
    }

    fn create(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        let wish = Wish::of(template)?;
        let make = || self.shared.inner.create(caller, wish.theirs.clone());
        self.shared.making(caller, &[&wish], make, |made| vec![*made])
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        self.shared.visible(caller, object)?;
        let wish = self.shared.copy_wish(caller, object, template)?;
        let make = || self.shared.inner.copy(caller, object, wish.theirs.clone());
        self.shared.making(caller, &[&wish], make, |made| vec![*made])
    }

    fn size(&self, caller: Caller, object: ObjectId) -> Result<u64> {
        self.shared.visible(caller, object)?;
        self.shared.inner.size(caller, object)
    }

    fn find(&self, caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        self.shared.search(caller, template)
    }

    fn begin(
        &self,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        match key {
            Some(key) if tombstone_of(key).is_some() => Err(Code::KeyHandleInvalid.into()),
            Some(key) => self.shared.begin(caller, what, mechanism, key, spare),
            None => self.shared.inner.begin(caller, what, mechanism, None, spare),
        }
    }

    fn digest_key(&self, caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        self.shared.fits(caller, key, Code::KeyHandleInvalid)?;
        self.shared.inner.digest_key(caller, digest, key)
    }

    fn generate_key(&self, caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId> {
        let wish = Wish::of_key(template)?;
        let make = || self.shared.inner.generate_key(caller, mechanism, wish.theirs.clone());
        self.shared.making(caller, &[&wish], make, |made| vec![*made])
    }

    fn generate_key_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        let (public, private) = (Wish::of_key(public)?, Wish::of_key(private)?);
        let make = || {
            let (public, private) = (public.theirs.clone(), private.theirs.clone());
            self.shared.inner.generate_key_pair(caller, mechanism, public, private)
        };
        self.shared.making(caller, &[&public, &private], make, |(public, private)| vec![*public, *private])
    }

    fn wrap(&self, caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.shared.fits(caller, wrapping, Code::WrappingKeyHandleInvalid)?;
        self.shared.fits(caller, key, Code::KeyHandleInvalid)?;
        self.shared.inner.wrap(caller, mechanism, wrapping, key)
    }

    fn wrapped_len(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        self.shared.fits(caller, wrapping, Code::WrappingKeyHandleInvalid)?;
        self.shared.fits(caller, key, Code::KeyHandleInvalid)?;
        self.shared.inner.wrapped_len(caller, mechanism, wrapping, key)
    }

    fn wrap_authenticated(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        self.shared.fits(caller, wrapping, Code::WrappingKeyHandleInvalid)?;
        self.shared.fits(caller, key, Code::KeyHandleInvalid)?;
        self.shared.inner.wrap_authenticated(caller, mechanism, wrapping, key)
    }

    fn unwrap(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.shared.fits(caller, unwrapping, Code::UnwrappingKeyHandleInvalid)?;
        let wish = Wish::of_key(template)?;
        let make = || self.shared.inner.unwrap(caller, mechanism, unwrapping, wrapped, wish.theirs.clone());
        self.shared.making(caller, &[&wish], make, |made| vec![*made])
    }

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        for key in std::iter::once(base).chain(mechanism.params.objects()) {
            self.shared.fits(caller, key, Code::KeyHandleInvalid)?;
        }
        let wish = Wish::of_key(template)?;
        let make = || self.shared.inner.derive(caller, mechanism, base, wish.theirs.clone());
        self.shared.making(caller, &[&wish], make, |made| made.key.iter().chain(&made.further).copied().collect())
    }

    fn encapsulated_len(&self, caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        self.shared.fits(caller, public, Code::KeyHandleInvalid)?;
        self.shared.inner.encapsulated_len(caller, mechanism, public)
    }

    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        self.shared.fits(caller, public, Code::KeyHandleInvalid)?;
        let wish = Wish::of_key(template)?;
        let make = || self.shared.inner.encapsulate(caller, mechanism, public, wish.theirs.clone());
        self.shared.making(caller, &[&wish], make, |(_, made)| vec![*made])
    }

    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.shared.fits(caller, private, Code::UnwrappingKeyHandleInvalid)?;
        let wish = Wish::of_key(template)?;
        let make = || self.shared.inner.decapsulate(caller, mechanism, private, ciphertext, wish.theirs.clone());
        self.shared.making(caller, &[&wish], make, |made| vec![*made])
    }
}
