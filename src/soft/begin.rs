//! The beginning of operations: `C_*Init`.

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::object::Object;
use crate::crypto::random::Generator;
use crate::error::{Code, Result};
use crate::mechanism::key::Key;
use crate::mechanism::messages;
use crate::mechanism::table::{Row, flag_of};
use crate::object::Attributes;
use crate::token::{Begun, Mechanism, ObjectId, Operation, Params, Size, Stamp, Step, Use};

impl Soft {
    pub(super) fn begin_operation(
        &self,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun> {
        if what == Use::Random {
            return Ok(begun(Box::new(Random(Generator::new()?)), Stamp::default()));
        }
        // Sampled first: whatever changes while this operation is built makes its stamp an old one.
        let state = self.stamp().ok_or(Code::TokenNotRecognized)?;
        let stamp = Stamp { mechanism: mechanism.ty, key, state };
        if let Some(mut spare) = spare
            && spare.stamp == stamp
            && self.environment.approves_again(&mechanism.params)
            && spare.operation.restart(&mechanism.params)
        {
            return Ok(spare);
        }
        let row = self.environment.row(mechanism.ty)?;
        if !row.allows(what) {
            return Err(Code::MechanismInvalid.into());
        }
        let Some(id) = key else {
            self.environment.approve(row, flag_of(what), &mechanism.params, &Attributes::new())?;
            return Ok(begun(begin(row, what, &mechanism.params, None)?, stamp));
        };
        unless_changed(|| self.begin_on_key(what, row, &mechanism.params, id, stamp))
    }

    fn begin_on_key(&self, what: Use, row: &'static Row, params: &Params, id: ObjectId, stamp: Stamp) -> Result<Begun> {
        let view = self.view()?;
        let object = self.key_object(&view, id, Code::KeyHandleInvalid)?;
        view.may_use(&object)?;
        permit(&object, row, usage(what), Code::KeyTypeInconsistent)?;
        self.environment.approve(row, flag_of(what), params, &object.attributes)?;
        let operation = match &row.does.spend {
            Some(spending) if what == Use::Sign => self.stateful(&view, &object, row, spending, params)?,
            _ => begin(row, what, params, Some(&object.key(&view)?))?,
        };
        Ok(Begun {
            operation,
            reauthenticate: reauthenticates(&object),
            private: object.private,
            stamp,
            cleared_until: 0,
        })
    }

    /// The object of a key handle, under the function's own code for a bad one.
    pub(super) fn key_object(&self, view: &View, id: ObjectId, invalid: Code) -> Result<Arc<Object>> {
        let object = self.object(view, id).map_err(|error| match error.code() {
            Code::ObjectHandleInvalid => invalid.into(),
            _ => error,
        })?;
        match object.class() {
            Some(CKO_PUBLIC_KEY | CKO_PRIVATE_KEY | CKO_SECRET_KEY | CKO_OTP_KEY) => Ok(object),
            _ => Err(invalid.into()),
        }
    }

    /// `C_DigestKey`: secret keys only, and only such as could also be read or are meant to be digested
    /// (PKCS#11 3.2, C_DigestKey).
    pub(super) fn digest_key_value(&self, digest: &mut dyn Operation, id: ObjectId) -> Result<()> {
        let view = self.view()?;
        let object = self.key_object(&view, id, Code::KeyHandleInvalid)?;
        if object.class() != Some(CKO_SECRET_KEY) {
            return Err(Code::KeyIndigestible.into());
        }
        view.may_use(&object)?;
        let secret = object.secret(&view)?;
        let value = secret.bytes(CKA_VALUE).ok_or(Code::KeyIndigestible)?;
        digest.digest_key(value)
    }

    /// `C_SetOperationState`, for digests.
    pub(super) fn restore_operation(&self, what: Use, state: &[u8]) -> Result<Begun> {
        if what != Use::Digest {
            return Err(Code::SavedStateInvalid.into());
        }
        Ok(begun(crate::mechanism::digest::restore(state)?, Stamp::default()))
    }
}

/// How often an object that others change meanwhile is read.
const READINGS: usize = 16;

/// Again where it fails since another process changed the object between the reading of its two halves: the store says
/// `CKR_FUNCTION_FAILED`, and the next reading finds the new record.
pub(super) fn unless_changed<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..READINGS {
        match attempt() {
            Err(error) if error.code() == Code::FunctionFailed => {}
            other => return other,
        }
    }
    attempt()
}

fn begun(operation: Box<dyn Operation>, stamp: Stamp) -> Begun {
    Begun { operation, reauthenticate: false, private: false, stamp, cleared_until: 0 }
}

/// Runs the row's constructor.
pub(super) fn begin(
    row: &'static Row,
    what: Use,
    params: &Params,
    key: Option<&Arc<Key>>,
) -> Result<Box<dyn Operation>> {
    messages::begin(row, what, params, key)
}

/// The attribute that allows a key this use.
const fn usage(what: Use) -> CK_ATTRIBUTE_TYPE {
    match what {
        Use::Encrypt | Use::MessageEncrypt => CKA_ENCRYPT,
        Use::Decrypt | Use::MessageDecrypt => CKA_DECRYPT,
        Use::Sign | Use::MessageSign => CKA_SIGN,
        Use::SignRecover => CKA_SIGN_RECOVER,
        Use::Verify | Use::MessageVerify | Use::VerifySignature => CKA_VERIFY,
        Use::VerifyRecover => CKA_VERIFY_RECOVER,
        // Neither takes a key: no object has this attribute.
        Use::Digest | Use::Random => CK_ATTRIBUTE_TYPE::MAX,
    }
}

/// Whether `object` may be used by `row` where `usage` (`CKA_SIGN`, ...) must be true. `inconsistent` is the function's
/// code for a key of the wrong type.
pub(super) fn permit(object: &Object, row: &Row, usage: CK_ATTRIBUTE_TYPE, inconsistent: Code) -> Result<()> {
    let attributes = &object.attributes;
    let key_type = attributes.ulong(CKA_KEY_TYPE).ok_or(inconsistent)?;
    if !row.keys.contains(&key_type) {
        return Err(inconsistent.into());
    }
    if !attributes.is_true(usage) {
        return Err(Code::KeyFunctionNotPermitted.into());
    }
    if !allowed(attributes, row.ty) {
        return Err(Code::MechanismInvalid.because(format!(
            "the key's CKA_ALLOWED_MECHANISMS does not hold {}; choose a mechanism that it holds",
            row.name
        )));
    }
    Ok(())
}

/// `CKA_ALLOWED_MECHANISMS`; without it every mechanism is allowed.
fn allowed(attributes: &Attributes, ty: CK_MECHANISM_TYPE) -> bool {
    match attributes.bytes(CKA_ALLOWED_MECHANISMS) {
        Some(list) => list.chunks_exact(size_of::<CK_MECHANISM_TYPE>()).any(|entry| entry == ty.to_ne_bytes()),
        None => true,
    }
}

pub(super) fn reauthenticates(object: &Object) -> bool {
    object.class() == Some(CKO_PRIVATE_KEY) && object.attributes.is_true(CKA_ALWAYS_AUTHENTICATE)
}

/// `C_GenerateRandom` and `C_SeedRandom` of one session.
struct Random(Generator);

impl Operation for Random {
    fn size(&mut self, _step: Step, _input: usize) -> Result<Size> {
        Ok(Size::AtMost(usize::MAX))
    }

    /// Mixes `input` in.
    fn update(&mut self, input: &[u8], _out: &mut [u8]) -> Result<usize> {
        self.0.mix(input)?;
        Ok(0)
    }

    /// Fills `out`.
    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.0.fill(out)?;
        Ok(out.len())
    }
}
