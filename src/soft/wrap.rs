//! Keys that leave under another key and come back: wrap and unwrap, with and without a tag of their own.

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::begin::{begin, permit, reauthenticates};
use super::keys::{imposed, value_length};
use super::manage::{may_keep, standard_form};
use super::object::Object;
use crate::error::{Code, Error, Result};
use crate::mechanism::key::{self, Key};
use crate::mechanism::table::Row;
use crate::object::Attributes;
use crate::object::build::{self, Given, Origin};
use crate::secret::SecretBytes;
use crate::token::{
    Attribute, Bytes, Caller, Generator, Mechanism, MessageParams, ObjectId, Operation, Params, Step, Use, Value,
};

/// A wrapping that is allowed: what is encrypted, and under which key.
struct Wrapping {
    row: &'static Row,
    key: Arc<Key>,
    plain: SecretBytes,
}

impl Wrapping {
    fn begin(&self, what: Use, params: &Params) -> Result<Box<dyn Operation>> {
        begin(self.row, what, &params.for_wrapping(self.plain.len()), Some(&self.key)).map_err(wrapping_code)
    }
}

impl Soft {
    pub(super) fn wrap_key(&self, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        let work = self.wrapping(mechanism, wrapping, key)?;
        let mut operation = work.begin(Use::Encrypt, &mechanism.params)?;
        let size = operation.size(Step::Whole, work.plain.len()).map_err(wrapping_code)?;
        let mut out = vec![0; size.bound()];
        let len = operation.whole(work.plain.expose(), &mut out).map_err(wrapping_code)?;
        out.truncate(len);
        Ok(out)
    }

    pub(super) fn wrapped_key_len(
        &self,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        let work = self.wrapping(mechanism, wrapping, key)?;
        let what = match mechanism.params {
            Params::Message { .. } => Use::MessageEncrypt,
            _ => Use::Encrypt,
        };
        match work.begin(what, &mechanism.params)?.size(Step::Whole, work.plain.len()).map_err(wrapping_code)? {
            crate::token::Size::Exactly(len) => Ok(Some(len)),
            crate::token::Size::AtMost(_) => Ok(None),
        }
    }

    pub(super) fn wrap_key_authenticated(
        &self,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        let (mut message, aad) = message_of(&mechanism.params)?;
        // A counter begins at zero with each init, which here is each call: every key would be wrapped under the same IV.
        if matches!(message.generator, Generator::Counter | Generator::CounterXor) {
            Err(Code::MechanismParamInvalid.because("one wrapped key has no counter: use CKG_GENERATE"))?;
        }
        let work = self.wrapping(mechanism, wrapping, key)?;
        message.data_len = message.data_len.map(|_| work.plain.len() as u64);
        let mut operation = work.begin(Use::MessageEncrypt, &mechanism.params)?;
        let size = operation.size(Step::Whole, work.plain.len()).map_err(wrapping_code)?;
        operation.start_message(Some(&mut message), aad).map_err(wrapping_code)?;
        let mut out = vec![0; size.bound()];
        let len = operation.end_message(&mut message, work.plain.expose(), &mut out).map_err(wrapping_code)?;
        out.truncate(len);
        Ok((out, message))
    }

    /// What `C_WrapKey` judges before it encrypts.
    fn wrapping(&self, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Wrapping> {
        let row = self.row_for(mechanism, CKF_WRAP)?;
        let view = self.view()?;
        let wrapper = self.key_object(&view, wrapping, Code::WrappingKeyHandleInvalid)?;
        view.may_use(&wrapper)?;
        permit(&wrapper, row, CKA_WRAP, Code::WrappingKeyTypeInconsistent)?;
        self.environment.approve(row, CKF_WRAP, &mechanism.params, &wrapper.attributes)?;
        let target = self.key_object(&view, key, Code::KeyHandleInvalid)?;
        view.may_use(&target)?;
        may_be_wrapped(&target.attributes, &wrapper.attributes)?;
        let whole = target.whole(&view)?;
        if let Some(Value::Template(template)) = wrapper.attributes.get(CKA_WRAP_TEMPLATE)
            && !build::template_allows(template, &whole)
        {
            return Err(Code::KeyHandleInvalid.into());
        }
        Ok(Wrapping { row, key: wrapper.key(&view)?, plain: plain_form(&whole, row.does.wrap_multiple)? })
    }

    pub(super) fn unwrap_key(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let row = self.row_for(mechanism, CKF_UNWRAP)?;
        let view = self.view()?;
        let unwrapper = self.unwrapper(&view, unwrapping, row, CKA_UNWRAP)?;
        self.environment.approve(row, CKF_UNWRAP, &mechanism.params, &unwrapper.attributes)?;
        let template = imposed(&unwrapper.attributes, CKA_UNWRAP_TEMPLATE, template)?;
        self.unwrap_under(&view, caller, (row, &mechanism.params), &unwrapper, wrapped, template)
    }

    /// The key to unwrap or decapsulate with, if it may be used so.
    pub(super) fn unwrapper(
        &self,
        view: &View,
        key: ObjectId,
        row: &Row,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Arc<Object>> {
        let unwrapper = self.key_object(view, key, Code::UnwrappingKeyHandleInvalid)?;
        view.may_use(&unwrapper)?;
        permit(&unwrapper, row, usage, Code::UnwrappingKeyTypeInconsistent)?;
        if reauthenticates(&unwrapper) {
            return Err(Code::UserNotLoggedIn.because(
                "the key has CKA_ALWAYS_AUTHENTICATE, and a function of one call leaves no moment to log in for it",
            ));
        }
        Ok(unwrapper)
    }

    /// Decrypts a wrapped key, and keeps it.
    pub(super) fn unwrap_under(
        &self,
        view: &View,
        caller: Caller,
        (row, params): (&'static Row, &Params),
        unwrapper: &Object,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let draft = build::draft(Origin::Unwrap, &view.maker(), None, None, template)?;
        may_keep(view, caller, &draft)?;
        let plain = opened(row, params, &unwrapper.key(view)?, wrapped).map_err(unwrapping_code)?;
        let own = unwrapped(row, plain.expose(), draft.attributes())?;
        let made = draft.finish(Given { attributes: own, ..Given::default() })?;
        self.keep_made(view, caller, made)
    }
}

fn message_of(params: &Params) -> Result<(MessageParams, &Bytes)> {
    match params {
        Params::Message { message, aad } => Ok((message.clone(), aad)),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// The decrypted bytes of a wrapped key.
fn opened(row: &'static Row, params: &Params, key: &Arc<Key>, wrapped: &[u8]) -> Result<SecretBytes> {
    let messages = matches!(params, Params::Message { .. });
    let what = if messages { Use::MessageDecrypt } else { Use::Decrypt };
    let params = &params.for_unwrapping(wrapped.len());
    let mut operation = begin(row, what, params, Some(key))?;
    let mut plain = SecretBytes::zeroed(operation.size(Step::Whole, wrapped.len())?.bound());
    let len = if messages {
        let (mut message, aad) = message_of(params)?;
        operation.start_message(Some(&mut message), aad)?;
        operation.end_message(&mut message, wrapped, plain.expose_mut())?
    } else {
        operation.whole(wrapped, plain.expose_mut())?
    };
    Ok(match plain.expose().get(..len).ok_or(Code::GeneralError)? {
        all if all.len() == plain.len() => plain,
        leading => SecretBytes::copy_from(leading),
    })
}

/// `CKA_EXTRACTABLE` and `CKA_WRAP_WITH_TRUSTED`.
fn may_be_wrapped(target: &Attributes, wrapper: &Attributes) -> Result<()> {
    if !target.is_true(CKA_EXTRACTABLE) {
        return Err(Code::KeyUnextractable.into());
    }
    if target.is_true(CKA_WRAP_WITH_TRUSTED) && !wrapper.is_true(CKA_TRUSTED) {
        return Err(Code::KeyNotWrappable.into());
    }
    Ok(())
}

/// What is wrapped of a key: a secret key's value, a private key's PKCS #8; with zeros up to a multiple of `multiple` bytes
/// for mechanisms that do not pad (PKCS#11 3.2, 6.13: C_UnwrapKey's CKA_VALUE_LEN takes them off again).
fn plain_form(whole: &Attributes, multiple: usize) -> Result<SecretBytes> {
    let plain = match whole.ulong(CKA_CLASS) {
        Some(CKO_SECRET_KEY) => SecretBytes::copy_from(whole.bytes(CKA_VALUE).ok_or(Code::KeyNotWrappable)?),
        Some(CKO_PRIVATE_KEY) => key::private_to_pkcs8(whole).map_err(|e| e.recode(Code::KeyNotWrappable))?,
        _ => return Err(Code::KeyNotWrappable.into()),
    };
    let padded = plain.len().next_multiple_of(multiple.max(1));
    if padded == plain.len() {
        return Ok(plain);
    }
    let mut out = SecretBytes::zeroed(padded);
    out.expose_mut().get_mut(..plain.len()).ok_or(Code::GeneralError)?.copy_from_slice(plain.expose());
    Ok(out)
}

/// The attributes that the unwrapped bytes give the key wanted.
fn unwrapped(row: &Row, plain: &[u8], wanted: &Attributes) -> Result<Vec<Attribute>> {
    match wanted.ulong(CKA_CLASS) {
        Some(CKO_SECRET_KEY) => {
            let value = match value_length(wanted) {
                None => plain,
                // Mechanisms without padding of their own deliver whole blocks: the length wanted says where the key
                // ends, or with the zeros before it where it begins.
                Some(len) => match plain.len().checked_sub(len).ok_or(Code::WrappedKeyLenRange)? {
                    // "must not be less than n-7" (AES Key Wrap).
                    8.. if row.ty == CKM_AES_KEY_WRAP => None,
                    rest if row.ty == CKM_RSA_X_509 => plain.get(rest..),
                    _ => plain.get(..len),
                }
                .ok_or(Code::WrappedKeyLenRange)?,
            };
            Ok(vec![Attribute::bytes(CKA_VALUE, value)])
        }
        Some(CKO_PRIVATE_KEY) => unwrapped_private(row, plain, wanted),
        _ => Err(Code::TemplateInconsistent.into()),
    }
}

fn unwrapped_private(row: &Row, plain: &[u8], wanted: &Attributes) -> Result<Vec<Attribute>> {
    // SoftHSM fills up to a multiple of 8 bytes what it gives to a mechanism that would take any length.
    let filled = row.does.wrap_multiple > 1 || row.ty == CKM_AES_KEY_WRAP_PAD;
    let plain = if filled { without_padding(plain) } else { plain };
    let mut own = key::pkcs8_to_attributes(plain).map_err(pkcs8_code)?;
    let mut whole = wanted.clone();
    own.iter().cloned().for_each(|attribute| whole.put(attribute));
    if whole.ulong(CKA_KEY_TYPE) != wanted.ulong(CKA_KEY_TYPE) {
        return Err(Code::WrappedKeyInvalid.because("the wrapped key is of another type than the template says"));
    }
    own.extend(standard_form(&whole).map_err(pkcs8_code)?);
    let own: Attributes = own.into_iter().filter(|a| !matches!(a.ty, CKA_CLASS | CKA_KEY_TYPE)).collect();
    Ok(own.into_iter().collect())
}

/// What is wrong with a private key that was decrypted, but for what the specification has codes of its own for.
fn pkcs8_code(error: Error) -> Error {
    match error.code() {
        Code::CurveNotSupported | Code::DomainParamsInvalid | Code::ParameterSetNotSupported => error,
        _ => error.recode(Code::WrappedKeyInvalid),
    }
}

/// A DER value without the zeros that fill its last block.
fn without_padding(plain: &[u8]) -> &[u8] {
    let cut = der_len(plain).and_then(|len| plain.split_at_checked(len));
    cut.filter(|(_, rest)| rest.iter().all(|byte| *byte == 0)).map_or(plain, |(value, _)| value)
}

/// Length of the DER value that `bytes` begin with, its header included.
fn der_len(bytes: &[u8]) -> Option<usize> {
    let (&[_, first], rest) = bytes.split_first_chunk::<2>()?;
    if first < 0x80 {
        return Some(2 + usize::from(first));
    }
    let digits = usize::from(first & 0x7f);
    let number = rest.get(..digits).filter(|number| (1..=4).contains(&number.len()))?;
    let len = number.iter().fold(0usize, |len, digit| len << 8 | usize::from(*digit));
    len.checked_add(2 + digits)
}

/// The codes that `C_WrapKey` lists, from those of encryption.
fn wrapping_code(error: Error) -> Error {
    match error.code() {
        Code::DataLenRange | Code::DataInvalid => error.recode(Code::KeySizeRange),
        Code::KeyTypeInconsistent => error.recode(Code::WrappingKeyTypeInconsistent),
        Code::KeySizeRange => error.recode(Code::WrappingKeySizeRange),
        _ => error,
    }
}

/// The codes that `C_UnwrapKey` lists, from those of decryption.
fn unwrapping_code(error: Error) -> Error {
    match error.code() {
        Code::EncryptedDataInvalid | Code::AeadDecryptFailed | Code::DataInvalid => {
            error.recode(Code::WrappedKeyInvalid)
        }
        Code::EncryptedDataLenRange | Code::DataLenRange => error.recode(Code::WrappedKeyLenRange),
        Code::KeyTypeInconsistent => error.recode(Code::UnwrappingKeyTypeInconsistent),
        Code::KeySizeRange => error.recode(Code::UnwrappingKeySizeRange),
        _ => error,
    }
}
