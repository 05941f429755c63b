//! Objects that are made, altered and destroyed on several members.
//!
//! What is the same wherever it is done (an object is created, copied, unwrapped, derived) is done on each member. A key that
//! is generated is random: it is carried to the others, wrapped under a key that all hold, or stays where it is. With fewer
//! copies than the configuration asks for, what was made is destroyed again: a key that the next failure would take with it is
//! not handed out.

use std::sync::Arc;

use cryptoki_sys::*;

use super::group::{Group, Places, objects_of, translated};
use super::identity::{self, Seen, is_true, number, read};
use super::member::is_loss;
use super::state::{self, Tombstone};
use crate::config::Mirror;
use crate::error::{Code, Error, Result};
use crate::log;
use crate::object::transfer::{CONTENTS, NAMES_AND_USES, WRAPPINGS, without_defaults};
use crate::token::*;

/// One object on the members that have it.
type Copies = Vec<(usize, ObjectId)>;

pub fn on_token(template: &[Attribute]) -> bool {
    is_true(template, CKA_TOKEN)
}

/// The template with this attribute and no other of its type.
fn with(template: &[Attribute], attribute: Attribute) -> Vec<Attribute> {
    let mut template: Vec<_> = template.iter().filter(|old| old.ty != attribute.ty).cloned().collect();
    template.push(attribute);
    template
}

impl Group {
    fn all(&self) -> Places {
        (0..self.members.len()).collect()
    }

    /// Session objects stay together on the first member that is there, so that they can be used together.
    pub fn order_for(&self, token: bool) -> Places {
        if token { self.order() } else { self.all() }
    }

    /// Our number of what was made.
    pub fn settle(&self, caller: Caller, copies: &[(usize, ObjectId)], token: bool) -> ObjectId {
        let look = || -> Result<Seen> {
            let (at, object) = copies.first().ok_or(Code::GeneralError)?;
            identity::look(&**self.member(*at)?.token()?, caller, *object)
        };
        // That it cannot be looked at yet is no failure of its making: it is only not found on other members.
        let unknown = || Seen { token, private: true, identity: None, unique_id: Answer::Absent };
        let seen = look().unwrap_or_else(|_| unknown());
        self.objects.made(self.members.len(), copies, seen, (!token).then_some(caller.session))
    }

    /// Destroys what was made in vain. What cannot be destroyed now is as soon as its member is back.
    fn undo(&self, caller: Caller, made: &[Copies]) {
        for (at, object) in made.iter().flatten() {
            let Ok(member) = self.member(*at) else { continue };
            let Ok(token) = member.token() else { continue };
            let seen = identity::look(&**token, caller, *object);
            if let Err(error) = token.destroy(caller, *object) {
                log!(Error, "{}: member {} keeps an object that was made in vain: {error}", self.name, member.name);
                if let Ok(Seen { identity: Some(identity), private, .. }) = seen {
                    let member = member.name.clone();
                    let _ = self.state.add(vec![Tombstone { member, identity, private, at: state::now() }]);
                }
            }
        }
    }

    fn too_few(&self, count: usize, last: Option<Error>) -> Error {
        let why = last.map(|error| format!(": {error}")).unwrap_or_default();
        Code::DeviceRemoved.because(format!(
            "{}: a new object would be on {count} of the {} members that the configuration asks for (copies){why}",
            self.name, self.rules.copies
        ))
    }

    /// Whether enough members are there for a new token object. Asked before anything is made.
    fn enough(&self, caller: Caller, token: bool) -> Result<()> {
        if !token || self.rules.copies < 2 {
            return Ok(());
        }
        let (mut there, mut last) = (0usize, None);
        for at in self.all() {
            // A member that had failed is let through once, and this is that once: what it answers decides of the making.
            let sound = self.member(at)?.breaker.is_clean();
            let answered = match sound {
                true => self.ready(at, caller).map(drop),
                false => self.once(at, caller, &[], |token, _| token.info()).map(drop),
            };
            match answered {
                Ok(_) => there = there.saturating_add(1),
                Err(error) => last = Some(error),
            }
        }
        if there < self.rules.copies { Err(self.too_few(there, last)) } else { Ok(()) }
    }

    /// Makes the same on every member that has the objects it is made of. `numbers` are those of what it has made.
    pub fn everywhere<T>(
        &self,
        caller: Caller,
        ids: &[ObjectId],
        token: bool,
        work: impl Fn(&Arc<dyn Token>, &[ObjectId]) -> Result<T>,
        numbers: impl Fn(&mut T) -> Vec<&mut ObjectId>,
    ) -> Result<T> {
        self.enough(caller, token)?;
        let (first, mut result) = self.among(self.order_for(token), false, caller, ids, &work)?;
        let mut made: Vec<Copies> = numbers(&mut result).into_iter().map(|id| vec![(first, *id)]).collect();
        let (mut count, mut last) = (1usize, None);
        for at in self.all().into_iter().filter(|at| token && *at != first) {
            match self.once(at, caller, ids, &work) {
                Ok(Some(mut copy)) => {
                    count = count.saturating_add(1);
                    made.iter_mut().zip(numbers(&mut copy)).for_each(|(made, id)| made.push((at, *id)));
                }
                Ok(None) => {}
                Err(error) => {
                    log!(Warn, "{}: a new object is not on member {at}: {error}", self.name);
                    last = Some(error);
                }
            }
        }
        if token && count < self.rules.copies {
            self.undo(caller, &made);
            return Err(self.too_few(count, last));
        }
        for (id, copies) in numbers(&mut result).into_iter().zip(&made) {
            *id = self.settle(caller, copies, token);
        }
        Ok(result)
    }

    /// Makes something random on one member, and carries it to the others where that is asked for. `keys` are the templates of
    /// what is made, in the order of the numbers that `work` gives.
    pub fn once_and_mirrored(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        keys: Vec<Vec<Attribute>>,
        work: impl Fn(&Arc<dyn Token>, &Mechanism, &[Vec<Attribute>]) -> Result<Vec<ObjectId>>,
    ) -> Result<Vec<ObjectId>> {
        let token = keys.iter().any(|template| on_token(template));
        let mirror = token && self.rules.mirror == Mirror::Wrap;
        self.enough(caller, mirror)?;
        // A key that is to be carried must be extractable until it has been.
        let final_ = |template: &Vec<Attribute>| is_true(template, CKA_EXTRACTABLE);
        let carried: Vec<Vec<Attribute>> = match mirror {
            true => keys
                .iter()
                .enumerate()
                .map(|(at, template)| match at.saturating_add(1) == keys.len() {
                    // The last one is the secret or private key.
                    true => with(template, Attribute::bool(CKA_EXTRACTABLE, true)),
                    false => template.clone(),
                })
                .collect(),
            false => keys.clone(),
        };
        let ids = objects_of(&[], mechanism);
        let (at, made) = self.among(self.order_for(token), false, caller, &ids, |token, own| {
            work(token, &translated(mechanism, own), &carried)
        })?;
        let mut made: Vec<Copies> = made.into_iter().map(|id| vec![(at, id)]).collect();
        if mirror {
            let last = keys.len().saturating_sub(1);
            let extractable = keys.last().is_some_and(final_);
            let carried =
                made.iter_mut().enumerate().filter(|(place, _)| keys.get(*place).is_some_and(|key| on_token(key)));
            let done =
                carried.map(|(place, copies)| self.carry(caller, copies, (place == last).then_some(extractable)));
            if let Err(error) = done.collect::<Result<Vec<()>>>() {
                self.undo(caller, &made);
                return Err(error);
            }
        }
        Ok(made.iter().zip(&keys).map(|(copies, key)| self.settle(caller, copies, on_token(key))).collect())
    }

    /// Carries an object from the one member that has it to all that are there. `extractable`: what a key shall be afterwards.
    fn carry(&self, caller: Caller, copies: &mut Copies, extractable: Option<bool>) -> Result<()> {
        let (from, object) = *copies.first().ok_or(Code::GeneralError)?;
        let mut last = None;
        for to in self.all().into_iter().filter(|to| *to != from) {
            let copied = self.carry_to(caller, (from, object), to, extractable);
            match copied {
                Ok(copy) => copies.push((to, copy)),
                Err(error) => {
                    let name = self.members.get(to).map_or("", |member| member.name.as_str());
                    log!(Warn, "{}: a new object is not on member {name}: {error}", self.name);
                    last = Some(error);
                }
            }
        }
        if copies.len() < self.rules.copies {
            return Err(self.too_few(copies.len(), last));
        }
        match extractable {
            Some(false) => {
                let never = vec![Attribute::bool(CKA_EXTRACTABLE, false)];
                self.member(from)?.token()?.set(caller, object, never)
            }
            _ => Ok(()),
        }
    }

    /// Copies an object of one member to another: what is public is read and made anew, a key goes wrapped.
    pub fn carry_to(
        &self,
        caller: Caller,
        (from, object): (usize, ObjectId),
        to: usize,
        extractable: Option<bool>,
    ) -> Result<ObjectId> {
        let (source, target) = (self.ready(from, caller)?, self.ready(to, caller)?);
        let made = self.carry_between(caller, (source, object), target, extractable);
        made.inspect(|_| self.succeeded(to)).inspect_err(|error| self.failed(to, error))
    }

    fn carry_between(
        &self,
        caller: Caller,
        (source, object): (&Arc<dyn Token>, ObjectId),
        target: &Arc<dyn Token>,
        extractable: Option<bool>,
    ) -> Result<ObjectId> {
        let mut all = read(&**source, caller, object, NAMES_AND_USES)?;
        without_defaults(&mut all);
        all.push(Attribute::bool(CKA_TOKEN, true));
        if !matches!(number(&all, CKA_CLASS), Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY)) {
            all.retain(|attribute| !matches!(attribute.ty, CKA_SENSITIVE | CKA_EXTRACTABLE));
            all.extend(read(&**source, caller, object, CONTENTS)?);
            return target.create(caller, all);
        }
        if let Some(extractable) = extractable {
            all = with(&all, Attribute::bool(CKA_EXTRACTABLE, extractable));
        }
        let mechanism = self.wrapping(source, target)?;
        let (wrapping, unwrapping) = (self.shared_key(source, caller)?, self.shared_key(target, caller)?);
        let wrapped = zeroize::Zeroizing::new(source.wrap(caller, &mechanism, wrapping, object)?);
        target.unwrap(caller, &mechanism, unwrapping, &wrapped, all)
    }

    /// The way of wrapping that both have.
    fn wrapping(&self, source: &Arc<dyn Token>, target: &Arc<dyn Token>) -> Result<Mechanism> {
        let offers = |token: &Arc<dyn Token>, ty, flag: CK_FLAGS| {
            token.mechanism_info(ty).is_ok_and(|info| info.flags & flag != 0)
        };
        let both = |ty: &CK_MECHANISM_TYPE| offers(source, *ty, CKF_WRAP) && offers(target, *ty, CKF_UNWRAP);
        let ty = WRAPPINGS.into_iter().find(both).ok_or_else(|| {
            Code::MechanismInvalid
                .because(format!("{}: two members have no AES key wrapping in common; say mirror = \"pin\"", self.name))
        })?;
        let params = match ty {
            CKM_AES_CBC_PAD => Params::Iv(Bytes::from_slice(&crate::os::random_array::<16>()?)),
            _ => Params::None,
        };
        Ok(Mechanism { ty, params })
    }

    /// A member's key of the label that the configuration names. `CKR_KEY_HANDLE_INVALID` where there is not exactly one.
    fn shared_key(&self, token: &Arc<dyn Token>, caller: Caller) -> Result<ObjectId> {
        let label = self.rules.wrapping_key.as_deref().ok_or(Code::KeyUnextractable)?;
        let template = vec![
            Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
            Attribute::bytes(CKA_LABEL, label.as_bytes()),
            Attribute::bool(CKA_TOKEN, true),
        ];
        match token.find(caller, template)?.next(2)?.as_slice() {
            [one] => Ok(*one),
            found => Err(Code::KeyHandleInvalid.because(format!(
                "{}: a member has {} secret keys labelled {label:?} (wrapping_key); each needs one, of the same value",
                self.name,
                if found.is_empty() { "no" } else { "several" }
            ))),
        }
    }

    /// `C_DestroyObject`: on every member, those that are away by a tombstone.
    pub fn destroy(&self, caller: Caller, id: ObjectId) -> Result<()> {
        let entry = self.objects.entry(id).ok_or(Code::ObjectHandleInvalid)?;
        let Some(identity) = entry.identity.clone() else {
            // On the one member that has it.
            let homes: Places = entry.homes().collect();
            self.among(homes, false, caller, &[id], |token, own| {
                token.destroy(caller, *own.first().ok_or(Code::ObjectHandleInvalid)?)
            })?;
            self.objects.forget(id);
            return Ok(());
        };
        if !caller.read_write {
            return Err(Code::SessionReadOnly.into());
        }
        let (mut here, mut away) = (Vec::new(), Vec::new());
        for at in self.all() {
            let place = self.ready(at, caller).and_then(|token| Ok((token, self.find_now(at, token, caller, id)?)));
            match place {
                Ok((token, Some(object))) => here.push((at, token, object)),
                Ok((_, None)) => {}
                Err(error) if is_loss(error.code()) => away.push((at, error)),
                Err(error) => return Err(error),
            }
        }
        if here.is_empty() {
            return Err(away
                .pop()
                .map_or_else(|| Code::ObjectHandleInvalid.into(), |(_, error)| error.recode(Code::DeviceRemoved)));
        }
        let stone = |at: usize| Tombstone {
            member: self.members.get(at).map(|member| member.name.clone()).unwrap_or_default(),
            identity: (*identity).clone(),
            private: entry.private,
            at: state::now(),
        };
        if !away.is_empty() {
            self.state.add(away.iter().map(|(at, _)| stone(*at)).collect())?;
        }
        let mut destroyed = false;
        for (at, token, object) in here {
            match token.destroy(caller, object) {
                Ok(()) => {
                    self.succeeded(at);
                    destroyed = true;
                }
                Err(error) if matches!(error.code(), Code::ObjectHandleInvalid) => {}
                // The first answer decides; nothing has been done yet.
                Err(error) if !destroyed && !is_loss(error.code()) => {
                    for (away, _) in &away {
                        let stone = stone(*away);
                        self.state.remove(&stone.member, &stone.identity.fingerprint)?;
                    }
                    return Err(error);
                }
                Err(error) => {
                    self.failed(at, &error);
                    self.state.add(vec![stone(at)])?;
                }
            }
        }
        self.objects.forget(id);
        Ok(())
    }

    /// `C_SetAttributeValue`: on every member that has the object, and only while all members are there: a name that one of
    /// them has not heard of would make two objects of one.
    pub fn set(&self, caller: Caller, id: ObjectId, template: &[Attribute]) -> Result<()> {
        let entry = self.objects.entry(id).ok_or(Code::ObjectHandleInvalid)?;
        let places: Places = if entry.identity.is_some() { self.all() } else { entry.homes().collect() };
        let mut here = Vec::new();
        for at in places {
            let token = self.ready(at, caller).map_err(|error| self.must_be_there(error))?;
            if let Some(object) = self.find_now(at, token, caller, id)? {
                here.push((at, token, object));
            }
        }
        if here.is_empty() {
            return Err(Code::ObjectHandleInvalid.into());
        }
        let types: Vec<CK_ATTRIBUTE_TYPE> = template.iter().map(|attribute| attribute.ty).collect();
        let mut done: Vec<(&Arc<dyn Token>, ObjectId, Vec<Attribute>)> = Vec::new();
        for (at, token, object) in &here {
            let before = read(&***token, caller, *object, &types)?;
            match token.set(caller, *object, template.to_vec()) {
                Ok(()) => {
                    self.succeeded(*at);
                    done.push((token, *object, before));
                }
                Err(error) => {
                    self.failed(*at, &error);
                    for (token, object, before) in done {
                        let _ = token.set(caller, object, before);
                    }
                    return Err(error);
                }
            }
        }
        if let Some((_, token, object)) = here.first() {
            self.objects.renamed(id, identity::look(&***token, caller, *object)?);
        }
        Ok(())
    }

    fn must_be_there(&self, error: Error) -> Error {
        let why = format!("{}: attributes are altered only while all members are there: {error}", self.name);
        error.recode(Code::DeviceRemoved).code().because(why)
    }
}
