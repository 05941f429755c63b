//! `Token` over several tokens that stand for each other: a slot over several HSMs (docs/ha.md).
//!
//! ```text
//! Ha (the joint) -> Group (whose turn, who is there, one way for all calls) -> Member -> a forwarded token
//!                     objects: our numbers over the members'     identity: what makes them one
//!                     state: tombstones, on the disk             breaker: who is left alone, and until when
//! ```
//! No thread runs: a member is tried again, and looked at, in passing by the calls of applications.

mod breaker;
mod group;
mod identity;
mod making;
mod member;
mod objects;
mod operation;
mod search;
mod state;
mod survey;

use std::sync::Arc;

use cryptoki_sys::*;
use smallvec::SmallVec;

pub use breaker::Standing;
pub use member::{Part, Refused};
pub use survey::{MemberReport, Object, Step, Survey};

use self::group::{Group, common_flags, objects_of, translated};
use self::making::on_token;
use self::operation::{Running, of_key};
use self::search::{Merged, Nothing};
use crate::config::HaRules;
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Error, Result};
use crate::token::*;

/// Several tokens as one.
pub struct Ha(Arc<Group>);

/// The slot's ID, the same in every process: 31 bits of what the configuration calls it.
pub fn slot_id(label: &str, count: u32) -> u64 {
    let text = [b"keyward ha slot\0", label.as_bytes(), &count.to_be_bytes()].concat();
    let digest = hash(Digest::Sha256, &text);
    digest.iter().take(4).fold(0u64, |id, byte| (id << 8) | u64::from(*byte)) & 0x7fff_ffff
}

impl Ha {
    /// Over these members, in the order of their priority.
    pub fn new(rules: HaRules, slot: u64, parts: Vec<Part>) -> Ha {
        Ha(Arc::new(Group::new(rules, slot, parts)))
    }

    pub fn label(&self) -> &str {
        &self.0.rules.label
    }

    /// Whether every member's PIN comes from the configuration.
    pub fn has_own_pins(&self) -> bool {
        self.0.members.iter().all(|member| member.own_pin)
    }

    fn read<T>(
        &self,
        caller: Caller,
        object: ObjectId,
        work: impl Fn(&Arc<dyn Token>, ObjectId) -> Result<T>,
    ) -> Result<T> {
        // From the member that it was met on, if that is there: what each HSM says of it in its own way does not change then.
        let homes = self.0.objects.entry(object).ok_or(Code::ObjectHandleInvalid)?;
        let homes: SmallVec<[usize; 8]> = homes.homes().collect();
        let others = (0..self.0.members.len()).filter(|at| !homes.contains(at));
        let order = homes.iter().copied().chain(others).collect();
        let work =
            |token: &Arc<dyn Token>, own: &[ObjectId]| work(token, *own.first().ok_or(Code::ObjectHandleInvalid)?);
        self.0.among(order, true, caller, &[object], work).map(|(_, result)| result)
    }

    /// Two keys and those of the mechanism, on a member that has them all.
    fn wrapping<T>(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
        work: impl Fn(&Arc<dyn Token>, &Mechanism, ObjectId, ObjectId) -> Result<T>,
    ) -> Result<T> {
        let ids = objects_of(&[wrapping, key], mechanism);
        let done = self.0.on(true, caller, &ids, |token, own| match own {
            [wrapping, key, rest @ ..] => work(token, &translated(mechanism, rest), *wrapping, *key),
            _ => Err(Code::GeneralError.into()),
        });
        done.map(|(_, result)| result)
    }
}

fn one(id: &mut ObjectId) -> Vec<&mut ObjectId> {
    vec![id]
}

fn every(made: &mut Derived) -> Vec<&mut ObjectId> {
    made.key.iter_mut().chain(made.further.iter_mut()).collect()
}

impl Token for Ha {
    fn info(&self) -> Result<TokenInfo> {
        let all = self.0.answers(|token| token.info())?;
        let first = all.first().ok_or(Code::DeviceRemoved)?;
        let longest = all.iter().map(|info| *info.pin_len.start()).max().unwrap_or(0);
        let shortest = all.iter().map(|info| *info.pin_len.end()).min().unwrap_or(0);
        Ok(TokenInfo {
            label: self.0.rules.label.clone(),
            manufacturer: "Keyward".to_owned(),
            model: "HA".to_owned(),
            serial: self.0.serial.clone(),
            flags: common_flags(&all),
            max_sessions: 0,
            pin_len: longest..=shortest.max(longest),
            hardware: first.hardware,
            firmware: first.firmware,
        })
    }

    /// What every member offers that is there.
    fn mechanisms(&self) -> Vec<CK_MECHANISM_TYPE> {
        let mut lists = self.0.answers(|token| Ok(token.mechanisms())).unwrap_or_default().into_iter();
        let mut common = lists.next().unwrap_or_default();
        for list in lists.filter(|list| !list.is_empty()) {
            common.retain(|ty| list.contains(ty));
        }
        common
    }

    fn mechanism_info(&self, ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo> {
        let all = self.0.answers(|token| match token.mechanism_info(ty) {
            Err(error) if error.code() == Code::MechanismInvalid => Ok(None),
            other => other.map(Some),
        })?;
        let all: Option<Vec<MechanismInfo>> = all.into_iter().collect();
        let common = all.unwrap_or_default().into_iter().reduce(|one, other| MechanismInfo {
            min_key: one.min_key.max(other.min_key),
            max_key: one.max_key.min(other.max_key),
            flags: one.flags & other.flags,
        });
        Ok(common.ok_or(Code::MechanismInvalid)?)
    }

    fn takes_opaque(&self, ty: CK_MECHANISM_TYPE) -> bool {
        self.0.members.iter().filter_map(|member| member.token().ok()).all(|token| token.takes_opaque(ty))
    }

    fn initialize(&self, _so_pin: &[u8], _label: &str) -> Result<()> {
        Err(Code::TokenWriteProtected
            .because(format!("{}: initialise each member itself, not the slot over them", self.0.name)))
    }

    fn open_session(&self, caller: Caller) -> Result<()> {
        // That there is a session to be had is the answer to give now; those with the others are opened when they are needed.
        let opened = self.0.among((0..self.0.members.len()).collect(), true, caller, &[], |_, _| Ok(()));
        opened.map(|_| self.0.enter(caller)).inspect_err(|_| self.0.leave(caller.session))
    }

    fn close_session(&self, session: SessionId) {
        self.0.leave(session);
    }

    fn login(&self, caller: Caller, user: User, pin: &[u8]) -> Result<()> {
        self.0.login(caller, user, None, pin)
    }

    fn login_named(&self, caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()> {
        self.0.login(caller, user, Some(name), pin)
    }

    fn login_name(&self) -> Option<Arc<str>> {
        self.0.login_name()
    }

    fn reauthenticate(&self, caller: Caller, pin: &[u8]) -> Result<()> {
        for member in self.0.members.iter().filter_map(|member| member.token().ok()) {
            match member.reauthenticate(caller, pin) {
                Err(error) if error.code() == Code::OperationNotInitialized => {}
                other => return other,
            }
        }
        Err(Code::OperationNotInitialized.into())
    }

    fn logout(&self) -> Result<()> {
        self.0.logout();
        Ok(())
    }

    fn logged_in(&self) -> Option<User> {
        self.0.logged_in()
    }

    fn init_pin(&self, _caller: Caller, _pin: &[u8]) -> Result<()> {
        Err(Code::UserNotLoggedIn.into())
    }

    fn set_pin(&self, _caller: Caller, _old: &[u8], _new: &[u8]) -> Result<()> {
        Err(Code::FunctionNotSupported
            .because(format!("{}: change the PIN of each member itself, through its own module", self.0.name)))
    }

    fn create(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId> {
        let token = on_token(&template);
        self.0.everywhere(caller, &[], token, |token, _| token.create(caller, template.clone()), one)
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId> {
        let entry = self.0.objects.entry(object).ok_or(Code::ObjectHandleInvalid)?;
        let said = template.iter().any(|attribute| attribute.ty == CKA_TOKEN);
        let token = if said { on_token(&template) } else { entry.token };
        let work = |token: &Arc<dyn Token>, own: &[ObjectId]| {
            token.copy(caller, *own.first().ok_or(Code::ObjectHandleInvalid)?, template.clone())
        };
        self.0.everywhere(caller, &[object], token, work, one)
    }

    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()> {
        self.0.destroy(caller, object)
    }

    fn size(&self, caller: Caller, object: ObjectId) -> Result<u64> {
        self.read(caller, object, |token, object| token.size(caller, object))
    }

    fn get(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let mut answers = self.read(caller, object, |token, object| token.get(caller, object, types))?;
        // Each HSM has its own: the object has the one that it was first seen with. An overlay must not go by that: in another
        // process it may be another member's.
        if types.contains(&CKA_UNIQUE_ID) {
            let entry = self.0.objects.entry(object).filter(|entry| entry.unique_id != Answer::Absent);
            let shown = match self.0.rules.filter.overlay {
                Some(_) => Some(Answer::Absent),
                None => entry.map(|entry| entry.unique_id),
            };
            for (_, answer) in types.iter().zip(answers.iter_mut()).filter(|(ty, _)| **ty == CKA_UNIQUE_ID) {
                shown.iter().for_each(|shown| answer.clone_from(shown));
            }
        }
        Ok(answers)
    }

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()> {
        self.0.set(caller, object, &template)
    }

    fn find(&self, caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        if self.0.rules.filter.overlay.is_some() && template.iter().any(|attribute| attribute.ty == CKA_UNIQUE_ID) {
            return Ok(Box::new(Nothing));
        }
        Merged::begin(&self.0, caller, template)
    }

    fn begin(
        &self,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        if let Some(mut spare) = spare
            && spare.stamp == Running::stamp(mechanism, key)
            && spare.operation.restart(&mechanism.params)
        {
            return Ok(spare);
        }
        Running::begin(&self.0, caller, what, mechanism, key)
    }

    fn digest_key(&self, _caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()> {
        digest.digest_key(&key.0.to_ne_bytes())
    }

    fn restore(&self, caller: Caller, what: Use, state: &[u8]) -> Result<Begun> {
        Running::restore(&self.0, caller, what, state)
    }

    fn generate_key(&self, caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId> {
        let made = self.0.once_and_mirrored(caller, mechanism, vec![template], |token, mechanism, keys| {
            let [key] = keys else { return Err(Code::GeneralError.into()) };
            token.generate_key(caller, mechanism, key.clone()).map(|id| vec![id])
        })?;
        Ok(made.into_iter().next().ok_or(Code::GeneralError)?)
    }

    fn generate_key_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        let made = self.0.once_and_mirrored(caller, mechanism, vec![public, private], |token, mechanism, keys| {
            let [public, private] = keys else { return Err(Code::GeneralError.into()) };
            let (public, private) = token.generate_key_pair(caller, mechanism, public.clone(), private.clone())?;
            Ok(vec![public, private])
        })?;
        let [public, private] = made.as_slice() else { return Err(Code::GeneralError.into()) };
        Ok((*public, *private))
    }

    fn wrap(&self, caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.wrapping(caller, mechanism, wrapping, key, |token, mechanism, wrapping, key| {
            token.wrap(caller, mechanism, wrapping, key)
        })
    }

    fn wrapped_len(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        self.wrapping(caller, mechanism, wrapping, key, |token, mechanism, wrapping, key| {
            token.wrapped_len(caller, mechanism, wrapping, key)
        })
    }

    fn wrap_authenticated(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        self.wrapping(caller, mechanism, wrapping, key, |token, mechanism, wrapping, key| {
            token.wrap_authenticated(caller, mechanism, wrapping, key)
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
        let ids = objects_of(&[unwrapping], mechanism);
        let work = |token: &Arc<dyn Token>, own: &[ObjectId]| match own {
            [key, rest @ ..] => token.unwrap(caller, &translated(mechanism, rest), *key, wrapped, template.clone()),
            [] => Err(Code::GeneralError.into()),
        };
        self.0.everywhere(caller, &ids, on_token(&template), work, one)
    }

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        let ids = objects_of(&[base], mechanism);
        let work = |token: &Arc<dyn Token>, own: &[ObjectId]| match own {
            [base, rest @ ..] => token.derive(caller, &translated(mechanism, rest), *base, template.clone()),
            [] => Err(Code::GeneralError.into()),
        };
        self.0.everywhere(caller, &ids, on_token(&template), work, every).map_err(|error| of_key(error, Some(base)))
    }

    fn encapsulated_len(&self, caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        let done = self.read(caller, public, |token, public| token.encapsulated_len(caller, mechanism, public));
        done.map_err(|error| of_key(error, Some(public)))
    }

    /// The new key is random: it stays on the member that made it.
    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        if on_token(&template) && self.0.rules.copies > 1 {
            return Err(Code::TemplateInconsistent.because(format!(
                "{}: an encapsulated key stays on the member that made it: make it a session object",
                self.0.name
            )));
        }
        let ids = objects_of(&[public], mechanism);
        let order = self.0.order_for(on_token(&template));
        let (at, (ciphertext, key)) = self.0.among(order, false, caller, &ids, |token, own| match own {
            [public, rest @ ..] => token.encapsulate(caller, &translated(mechanism, rest), *public, template.clone()),
            [] => Err(Error::from(Code::GeneralError)),
        })?;
        Ok((ciphertext, self.0.settle(caller, &[(at, key)], on_token(&template))))
    }

    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let ids = objects_of(&[private], mechanism);
        let work = |token: &Arc<dyn Token>, own: &[ObjectId]| match own {
            [key, rest @ ..] => {
                token.decapsulate(caller, &translated(mechanism, rest), *key, ciphertext, template.clone())
            }
            [] => Err(Code::GeneralError.into()),
        };
        self.0.everywhere(caller, &ids, on_token(&template), work, one)
    }
}
