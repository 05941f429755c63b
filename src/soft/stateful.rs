//! Signing with keys that are used up by it: HSS one-time keys, HOTP counters.
//!
//! THE rule: what a signature takes out of the key is durable, and seen by every process, before the signature is even made. A
//! crash in between loses it for good, and gives nothing away. Two processes, or two sessions, that take the same part differ
//! in the version of the record that they change: one of them has to take another.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Soft;
use super::access::View;
use super::begin::unless_changed;
use super::handle::{Number, Place};
use super::manage::update;
use super::object::{Object, Objects};
use crate::error::{Code, Result};
use crate::mechanism::table::{Produce, Row, Spending};
use crate::object::{Attributes, build, codec};
use crate::store::{Keys, SlotFile};
use crate::token::{Operation, Params, Size, Step};

impl Soft {
    /// Begins signing under a row that spends. `CKR_MECHANISM_PARAM_INVALID`, `CKR_KEY_HANDLE_INVALID`.
    pub(super) fn stateful(
        &self,
        view: &View,
        object: &Object,
        row: &'static Row,
        spending: &'static Spending,
        params: &Params,
    ) -> Result<Box<dyn Operation>> {
        let home =
            Home { file: view.file.clone(), keys: view.keys.clone(), objects: self.objects.clone(), at: object.at };
        let len = (spending.size)(row, params, &home.read()?.attributes)?;
        Ok(Box::new(Stateful { row, spending, params: params.clone(), home, len, message: Zeroizing::default() }))
    }
}

/// Where the key is.
struct Home {
    file: Arc<SlotFile>,
    keys: Arc<Keys>,
    objects: Arc<Objects>,
    at: Number,
}

/// The key as it was read: all of its attributes.
struct State {
    attributes: Attributes,
    read: Read,
}

enum Read {
    Session(Arc<Object>),
    /// Its version in the slot file.
    Token(u64),
}

impl Home {
    /// `CKR_KEY_HANDLE_INVALID` where it is gone.
    fn read(&self) -> Result<State> {
        unless_changed(|| self.read_once())
    }

    fn read_once(&self) -> Result<State> {
        match self.at.place {
            Place::Session => {
                let object = self.objects.session_object(self.at.number).ok_or(Code::KeyHandleInvalid)?;
                let secret = object.secret_here().ok_or(Code::KeyHandleInvalid)?.clone();
                let attributes = build::join(object.attributes.clone(), secret);
                Ok(State { attributes, read: Read::Session(object) })
            }
            Place::Token => {
                let record = self.file.read(&self.keys, self.at.number)?.ok_or(Code::KeyHandleInvalid)?;
                let secret = self.file.secret(&self.keys, &record)?;
                let secret = secret.map(|secret| codec::decode(secret.expose())).transpose()?.unwrap_or_default();
                let attributes = build::join(codec::decode(&record.attrs)?, secret);
                Ok(State { attributes, read: Read::Token(record.version) })
            }
        }
    }

    /// Puts `attributes` in the place of what was read, durably; `false` where another was faster.
    fn replace(&self, read: &Read, attributes: &Attributes) -> Result<bool> {
        match read {
            Read::Session(object) => {
                Ok(self.objects.exchange_session_object(object, attributes).ok_or(Code::KeyHandleInvalid)?)
            }
            Read::Token(version) => {
                let change = update(self.at.number, *version, attributes);
                match self.file.commit_together(&self.keys, vec![change]) {
                    Ok(_) => Ok(true),
                    Err(error) if error.code() == Code::FunctionFailed && self.has_changed(*version)? => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn has_changed(&self, version: u64) -> Result<bool> {
        let record = self.file.read(&self.keys, self.at.number)?.ok_or(Code::KeyHandleInvalid)?;
        Ok(record.version != version)
    }
}

struct Stateful {
    row: &'static Row,
    spending: &'static Spending,
    params: Params,
    home: Home,
    /// Of a signature.
    len: usize,
    message: Zeroizing<Vec<u8>>,
}

impl Stateful {
    /// Takes out of the key what the signature of `message` needs.
    fn spend(&self, message: &[u8]) -> Result<Produce> {
        loop {
            let State { mut attributes, read } = self.home.read()?;
            let spent = (self.spending.spend)(self.row, &self.params, &attributes, message)?;
            let changes = !spent.attributes.is_empty();
            spent.attributes.into_iter().for_each(|attribute| attributes.put(attribute));
            if !changes || self.home.replace(&read, &attributes)? {
                return Ok(spent.produce);
            }
        }
    }

    fn sign(&self, message: &[u8], out: &mut [u8]) -> Result<usize> {
        let made = self.spend(message)?(message)?;
        out.get_mut(..made.len()).ok_or(Code::GeneralError)?.copy_from_slice(&made);
        Ok(made.len())
    }
}

impl Operation for Stateful {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(if step == Step::Update { 0 } else { self.len }))
    }

    /// The message is hashed together with what is taken from the key, which is not taken before the last part is there.
    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.message.try_reserve(input.len()).map_err(|_| Code::HostMemory)?;
        self.message.extend_from_slice(input);
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        let message = std::mem::take(&mut self.message);
        self.sign(&message, out)
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.sign(input, out)
    }

    fn has_distances(&self) -> bool {
        matches!(self.params, Params::Otp(_))
    }
}
