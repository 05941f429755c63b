//! `Token` over our own objects: login, object store, generate, derive, wrap, and the beginning of operations.

mod access;
mod begin;
mod built_in;
mod derive;
mod handle;
mod kem;
mod keys;
mod life;
mod manage;
mod object;
mod policy;
mod rotate;
mod search;
mod shelf;
mod stateful;
mod views;
mod wrap;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use cryptoki_sys::*;
use parking_lot::{Mutex, RwLock};

use crate::error::Result;
use crate::store::SlotFile;
use crate::token::*;

pub use manage::{index_of, is_policy, policy_text};
pub use shelf::{Shelf, Shelved};

/// A software token: one slot file, or the place where one will stand.
pub struct Soft {
    path: PathBuf,
    serial: String,
    environment: Arc<shelf::Environment>,
    /// Changed by [`Soft::change_state`] alone.
    state: RwLock<access::State>,
    views: views::Views,
    /// The slot file of `state`, once there is one: it stays the same, and who asks for no more needs no lock, whose word all
    /// threads would write to.
    file: OnceLock<Arc<SlotFile>>,
    /// Counts everything in this process that could change the answer of a `begin`.
    changes: AtomicU64,
    objects: Arc<object::Objects>,
    policy: RwLock<policy::Held>,
    /// One change of login or PIN at a time; held across the key derivation, which nobody else waits for.
    authenticating: Mutex<()>,
}

impl Token for Soft {
    fn info(&self) -> Result<TokenInfo> {
        self.token_info()
    }

    fn mechanisms(&self) -> Vec<CK_MECHANISM_TYPE> {
        self.environment.enabled().map(|row| row.ty).collect()
    }

    fn mechanism_info(&self, ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo> {
        let row = self.environment.row(ty)?;
        Ok(MechanismInfo { min_key: row.size.0, max_key: row.size.1, flags: row.offers() })
    }

    fn approved_only(&self) -> bool {
        self.environment.config.mechanisms == crate::config::Mechanisms::Approved
    }

    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        self.init_token(so_pin, label)
    }

    fn open_session(&self, caller: Caller) -> Result<()> {
        self.check_session(caller)
    }

    fn close_session(&self, session: SessionId) {
        self.end_session(session);
    }

    fn login(&self, _caller: Caller, user: User, pin: &[u8]) -> Result<()> {
        self.log_in(user, None, pin)
    }

    fn login_named(&self, _caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()> {
        self.log_in(user, Some(name), pin)
    }

    fn login_name(&self) -> Option<Arc<str>> {
        self.logged_in_name()
    }

    fn wants_code(&self, user: User, pin: &[u8]) -> bool {
        self.lacks_code(user, pin)
    }

    fn name_before(&self, pin: &[u8]) -> Option<String> {
        self.named_before(pin)
    }

    fn reauthenticate(&self, _caller: Caller, pin: &[u8]) -> Result<()> {
        self.log_in_again(pin)
    }

    fn logout(&self) -> Result<()> {
        self.log_out()
    }

    fn logged_in(&self) -> Option<User> {
        self.state.read().user()
    }

    fn init_pin(&self, _caller: Caller, pin: &[u8]) -> Result<()> {
        self.init_user_pin(pin)
    }

    fn set_pin(&self, _caller: Caller, old: &[u8], new: &[u8]) -> Result<()> {
        self.change_pin(old, new)
    }

    fn create(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        self.create_object(caller, template)
    }

    fn create_all(&self, caller: Caller, templates: Vec<Vec<Attribute>>) -> Result<Vec<ObjectId>> {
        self.create_objects(caller, templates)
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        self.copy_object(caller, object, template)
    }

    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()> {
        self.destroy_object(caller, object)
    }

    fn size(&self, _caller: Caller, object: ObjectId) -> Result<u64> {
        self.object_size(object)
    }

    fn get(&self, _caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        self.attributes(object, types)
    }

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        self.set_attributes(caller, object, template)
    }

    fn find(&self, _caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        self.search(template)
    }

    fn begin(
        &self,
        _caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        self.begin_operation(what, mechanism, key, spare)
    }

    fn digest_key(&self, _caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        self.digest_key_value(digest, key)
    }

    fn restore(&self, _caller: Caller, what: Use, state: &[u8]) -> Result<Begun> {
        self.restore_operation(what, state)
    }

    fn generate_key(&self, caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId> {
        self.generate_secret(caller, mechanism, template)
    }

    fn generate_key_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        self.generate_pair(caller, mechanism, public, private)
    }

    fn wrap(&self, _caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.wrap_key(mechanism, wrapping, key)
    }

    fn wrapped_len(
        &self,
        _caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        self.wrapped_key_len(mechanism, wrapping, key)
    }

    fn wrap_authenticated(
        &self,
        _caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        self.wrap_key_authenticated(mechanism, wrapping, key)
    }

    fn unwrap(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.unwrap_key(caller, mechanism, unwrapping, wrapped, template)
    }

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        self.derive_key(caller, mechanism, base, template)
    }

    fn encapsulated_len(&self, _caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        self.encapsulated_key_len(mechanism, public)
    }

    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        self.encapsulate_key(caller, mechanism, public, template)
    }

    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        self.decapsulate_key(caller, mechanism, private, ciphertext, template)
    }

    fn keeps_life(&self) -> bool {
        true
    }

    fn change_life(&self, caller: Caller, order: &Order) -> Result<()> {
        self.change_key_life(caller, order)
    }

    fn rotate(&self, caller: Caller, rotation: &Rotation) -> Result<Rotated> {
        self.rotate_key(caller, rotation)
    }

    fn prove(&self, _caller: Caller, key: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>> {
        self.prove_possession(key, mechanism, request)
    }

    fn policy(&self) -> Result<Option<Arc<SignedPolicy>>> {
        self.policy_in_force()
    }

    fn reserve_uses(&self, _caller: Caller, key: ObjectId, uses: u64, limit: u64) -> Result<u64> {
        self.reserve_key_uses(key, uses, limit)
    }

    fn spend(&self, approvals: &[([u8; 16], u64)], now: u64) -> Result<()> {
        self.spend_approvals(approvals, now)
    }

    fn backed_up(&self, key: ObjectId) -> Result<bool> {
        self.key_backed_up(key)
    }

    fn apply_policy(&self, _caller: Caller, text: &str, at: u64, _approvals: &[String]) -> Result<()> {
        self.sign_policy(text, at)
    }

    fn take_over(&self, caller: Caller, order: &TakeOver) -> Result<()> {
        self.take_over_label(caller, order)
    }
}
