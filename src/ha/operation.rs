//! An operation on one member. Where that fails in a step that is the whole of it, another member makes it once more.

use std::sync::Arc;

use super::group::{Group, objects_of, translated};
use super::member::{is_loss, is_trouble};
use crate::error::{Code, Error, Result};
use crate::token::*;

pub struct Running {
    group: Arc<Group>,
    caller: Caller,
    what: Use,
    /// With our own numbers of objects.
    mechanism: Mechanism,
    key: Option<ObjectId>,
    /// The member that it runs on.
    at: usize,
    inner: Begun,
    /// Something has gone into it that a second begin would not bring back.
    fed: bool,
}

fn start(
    group: &Arc<Group>,
    caller: Caller,
    what: Use,
    mechanism: &Mechanism,
    key: Option<ObjectId>,
    spare: Option<(usize, Begun)>,
) -> Result<(usize, Begun)> {
    let ids = objects_of(key.as_slice(), mechanism);
    let spare = std::cell::RefCell::new(spare);
    let begun = group.on(true, caller, &ids, |token, own| {
        let (key, rest) = match key {
            Some(_) => (own.first().copied(), own.get(1..).unwrap_or_default()),
            None => (None, own),
        };
        let spare = spare.borrow_mut().take_if(|(at, _)| group.is(*at, token)).map(|(_, begun)| begun);
        match rest.is_empty() {
            true => token.begin(caller, what, mechanism, key, spare),
            false => token.begin(caller, what, &translated(mechanism, rest), key, spare),
        }
    });
    begun.map_err(|error| of_key(error, key))
}

/// For functions that take a key, the code is that of keys.
pub fn of_key(error: Error, key: Option<ObjectId>) -> Error {
    match (error.code(), key) {
        (Code::ObjectHandleInvalid, Some(_)) => error.recode(Code::KeyHandleInvalid),
        _ => error,
    }
}

impl Running {
    pub fn begin(
        group: &Arc<Group>,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
    ) -> Result<Begun> {
        let (at, inner) = start(group, caller, what, mechanism, key, None)?;
        let (reauthenticate, private) = (inner.reauthenticate, inner.private);
        let operation = Running {
            group: Arc::clone(group),
            caller,
            what,
            mechanism: mechanism.clone(),
            key,
            at,
            inner,
            fed: false,
        };
        Ok(Begun {
            operation: Box::new(operation),
            reauthenticate,
            private,
            stamp: Running::stamp(mechanism, key),
            cleared_until: 0,
        })
    }

    /// Of an operation whose spare may be started again: on which member is decided then.
    pub fn stamp(mechanism: &Mechanism, key: Option<ObjectId>) -> Stamp {
        Stamp { mechanism: mechanism.ty, key, state: (0, 0) }
    }

    /// `C_SetOperationState`: the state names the member that it is of.
    pub fn restore(group: &Arc<Group>, caller: Caller, what: Use, state: &[u8]) -> Result<Begun> {
        let (at, state) = state.split_first().ok_or(Code::SavedStateInvalid)?;
        let at = usize::from(*at);
        group.member(at).map_err(|error| error.recode(Code::SavedStateInvalid))?;
        let inner = group.once(at, caller, &[], |token, _| token.restore(caller, what, state))?;
        let inner = inner.ok_or(Code::SavedStateInvalid)?;
        let mechanism = Mechanism { ty: inner.stamp.mechanism, params: Params::None };
        let (reauthenticate, private) = (inner.reauthenticate, inner.private);
        let group = Arc::clone(group);
        let operation = Running { group, caller, what, mechanism, key: None, at, inner, fed: true };
        Ok(Begun { operation: Box::new(operation), reauthenticate, private, stamp: Stamp::default(), cleared_until: 0 })
    }

    /// Whether another member may make the step that has failed with this.
    fn may_move(&self, error: &Error, whole: bool) -> bool {
        whole && !self.fed && !self.inner.reauthenticate && is_trouble(error.code())
    }

    /// A step; where its member is lost and the step is the whole operation, again on the members that are left. None of
    /// them is asked twice, since each failure counts against it.
    fn run<T>(&mut self, whole: bool, mut step: impl FnMut(&mut dyn Operation) -> Result<T>) -> Result<T> {
        let mut left = self.group.members.len();
        loop {
            let done = step(&mut *self.inner.operation);
            let Err(error) = done else { return done };
            if is_loss(error.code()) {
                self.group.failed(self.at, &error);
            }
            left = left.saturating_sub(1);
            if left == 0 || !self.may_move(&error, whole) {
                return Err(error);
            }
            let others = self.group.order().into_iter().filter(|at| *at != self.at).collect();
            let (mechanism, key) = (&self.mechanism, self.key);
            let ids = objects_of(key.as_slice(), mechanism);
            let (caller, what) = (self.caller, self.what);
            let begun = self.group.among(others, true, caller, &ids, |token, own| {
                let (key, rest) = match key {
                    Some(_) => (own.first().copied(), own.get(1..).unwrap_or_default()),
                    None => (None, own),
                };
                token.begin(caller, what, &translated(mechanism, rest), key, None)
            });
            let Ok((at, inner)) = begun else { return Err(error) };
            (self.at, self.inner) = (at, inner);
        }
    }

    fn fed<T>(&mut self, done: Result<T>) -> Result<T> {
        self.fed = true;
        done
    }
}

impl Operation for Running {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        self.run(step == Step::Whole, |inner| inner.size(step, input))
    }

    fn convey(&mut self, step: Step, input: &[u8], mut out: Option<&mut [u8]>) -> Option<Result<Conveyed>> {
        let done = self.run(step == Step::Whole, |inner| inner.convey(step, input, out.as_deref_mut()).transpose());
        if step == Step::Update {
            self.fed = true;
        }
        done.transpose()
    }

    fn multi_part(&self) -> bool {
        self.inner.operation.multi_part()
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let done = self.run(false, |inner| inner.update(input, out));
        self.fed(done)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        // Random bytes are as good from any.
        let whole = self.what == Use::Random;
        if whole {
            self.fed = false;
        }
        self.run(whole, |inner| inner.finish(out))
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.run(true, |inner| inner.whole(input, out))
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.run(input.is_some(), |inner| inner.verify(input, signature))
    }

    fn start_message(&mut self, mut params: Option<&mut MessageParams>, aad: &[u8]) -> Result<()> {
        let done = self.run(false, |inner| inner.start_message(params.as_deref_mut(), aad));
        self.fed(done)
    }

    fn end_message(&mut self, params: &mut MessageParams, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.run(false, |inner| inner.end_message(params, input, out))
    }

    /// `value` is our number of the key, as [`super::Ha`] gives it.
    fn digest_key(&mut self, value: &[u8]) -> Result<()> {
        let id = value.try_into().map(u64::from_ne_bytes).map_err(|_| Code::KeyIndigestible)?;
        let (group, caller, at) = (Arc::clone(&self.group), self.caller, self.at);
        let digest = std::cell::RefCell::new(&mut self.inner.operation);
        let done = group.once(at, caller, &[ObjectId(id)], |token, own| {
            let key = *own.first().ok_or(Code::KeyHandleInvalid)?;
            token.digest_key(caller, &mut ***digest.borrow_mut(), key)
        });
        self.fed = true;
        done?.ok_or_else(|| Code::KeyHandleInvalid.because("the key is not on the member that computes the digest"))
    }

    fn restart(&mut self, params: &Params) -> bool {
        if self.mechanism.params != *params {
            self.mechanism.params = params.clone();
        }
        self.fed = false;
        let none: Box<dyn Operation> = Box::new(Nothing);
        let idle =
            Begun { operation: none, reauthenticate: false, private: false, stamp: Stamp::default(), cleared_until: 0 };
        let spare = (self.at, std::mem::replace(&mut self.inner, idle));
        match start(&self.group, self.caller, self.what, &self.mechanism, self.key, Some(spare)) {
            Ok((at, inner)) => {
                (self.at, self.inner) = (at, inner);
                true
            }
            Err(_) => false,
        }
    }

    fn has_distances(&self) -> bool {
        self.inner.operation.has_distances()
    }

    fn save(&self) -> Result<Vec<u8>> {
        let mut state = vec![u8::try_from(self.at).map_err(|_| Code::StateUnsaveable)?];
        state.extend(self.inner.operation.save()?);
        Ok(state)
    }
}

/// In the place of an operation while another one is begun.
struct Nothing;

impl Operation for Nothing {
    fn size(&mut self, _step: Step, _input: usize) -> Result<Size> {
        Err(Code::OperationNotInitialized.into())
    }

    fn update(&mut self, _input: &[u8], _out: &mut [u8]) -> Result<usize> {
        Err(Code::OperationNotInitialized.into())
    }

    fn finish(&mut self, _out: &mut [u8]) -> Result<usize> {
        Err(Code::OperationNotInitialized.into())
    }
}
