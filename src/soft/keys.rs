//! Keys that come of chance or in wrapped form: generate, wrap, unwrap.

use cryptoki_sys::*;

use super::Soft;
use super::begin::{begin, permit, reauthenticates};
use super::manage::{may_keep, standard_form};
use crate::error::{Code, Error, Result};
use crate::mechanism::key;
use crate::mechanism::plan::said;
use crate::mechanism::table::Row;
use crate::object::Attributes;
use crate::object::build::{self, Draft, Given, Origin};
use crate::secret::SecretBytes;
use crate::token::{Attribute, Caller, Mechanism, ObjectId, Use, Value};

impl Soft {
    pub(super) fn generate_secret(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let row = self.row_for(mechanism, CKF_GENERATE)?;
        let view = self.view()?;
        let key_type = key_type(row, &template)?;
        let draft = build::draft(Origin::Generate, &view.maker(), Some(row.does.generates), Some(key_type), template)?;
        may_keep(&view, caller, &draft)?;
        let own = row.does.generate.ok_or(Code::MechanismInvalid)?(row, &mechanism.params, draft.attributes())?;
        self.keep_one(&view, caller, draft.finish(generated(row, own))?)
    }

    pub(super) fn generate_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        let row = self.row_for(mechanism, CKF_GENERATE_KEY_PAIR)?;
        let view = self.view()?;
        let draft = |class, template: Vec<Attribute>| {
            let key_type = key_type(row, &template)?;
            let draft = build::draft(Origin::Generate, &view.maker(), Some(class), Some(key_type), template)?;
            may_keep(&view, caller, &draft).map(|()| draft)
        };
        let public = draft(CKO_PUBLIC_KEY, public)?;
        let private = draft(CKO_PRIVATE_KEY, private)?;
        let generate = row.does.generate_pair.ok_or(Code::MechanismInvalid)?;
        let mut pair = generate(row, &mechanism.params, public.attributes(), private.attributes())?;
        let info = public_key_info(&public, &pair.public)?;
        pair.public.push(info.clone());
        pair.private.push(info);
        let public = public.finish(generated(row, pair.public))?;
        let private = private.finish(generated(row, pair.private))?;
        match self.keep(&view, caller, &[public, private])?[..] {
            [public, private] => Ok((public, private)),
            _ => Err(Code::GeneralError.into()),
        }
    }

    pub(super) fn wrap_key(&self, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        let row = self.row_for(mechanism, CKF_WRAP)?;
        let view = self.view()?;
        let wrapper = self.key_object(&view, wrapping, Code::WrappingKeyHandleInvalid)?;
        permit(&wrapper, row, CKA_WRAP, Code::WrappingKeyTypeInconsistent)?;
        let target = self.key_object(&view, key, Code::KeyHandleInvalid)?;
        may_be_wrapped(&target.attributes, &wrapper.attributes)?;
        let whole = target.whole(&view)?;
        if let Some(Value::Template(template)) = wrapper.attributes.get(CKA_WRAP_TEMPLATE)
            && !build::template_allows(template, &whole)
        {
            return Err(Code::KeyHandleInvalid.into());
        }
        let plain = plain_form(&whole, row.does.wrap_multiple)?;
        let wrapper_key = wrapper.key(&view)?;
        let mut operation = begin(row, Use::Encrypt, &mechanism.params.for_wrapping(plain.len()), Some(&wrapper_key))
            .map_err(wrapping_code)?;
        let size = operation.size(crate::token::Step::Whole, plain.len()).map_err(wrapping_code)?;
        let mut out = vec![0; size.bound()];
        let len = operation.whole(plain.expose(), &mut out).map_err(wrapping_code)?;
        out.truncate(len);
        Ok(out)
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
        let unwrapper = self.key_object(&view, unwrapping, Code::UnwrappingKeyHandleInvalid)?;
        permit(&unwrapper, row, CKA_UNWRAP, Code::UnwrappingKeyTypeInconsistent)?;
        if reauthenticates(&unwrapper) {
            return Err(Code::UserNotLoggedIn.because(
                "the unwrapping key has CKA_ALWAYS_AUTHENTICATE, and C_UnwrapKey leaves no moment to log in for it",
            ));
        }
        let template = imposed(&unwrapper.attributes, CKA_UNWRAP_TEMPLATE, template)?;
        let draft = build::draft(Origin::Unwrap, &view.maker(), None, None, template)?;
        may_keep(&view, caller, &draft)?;
        let unwrapper_key = unwrapper.key(&view)?;
        let mut operation =
            begin(row, Use::Decrypt, &mechanism.params.for_unwrapping(wrapped.len()), Some(&unwrapper_key))
                .map_err(unwrapping_code)?;
        let size = operation.size(crate::token::Step::Whole, wrapped.len()).map_err(unwrapping_code)?;
        let mut plain = SecretBytes::zeroed(size.bound());
        let len = operation.whole(wrapped, plain.expose_mut()).map_err(unwrapping_code)?;
        let own = unwrapped(plain.expose().get(..len).ok_or(Code::GeneralError)?, draft.attributes())?;
        let made = draft.finish(Given { attributes: own, ..Given::default() })?;
        self.keep_one(&view, caller, made)
    }

    /// The row of a mechanism that has this `CKF_`; `CKR_MECHANISM_INVALID`.
    pub(super) fn row_for(&self, mechanism: &Mechanism, flag: CK_FLAGS) -> Result<&'static Row> {
        let row = self.environment.row(mechanism.ty)?;
        if row.flags & flag == 0 { Err(Code::MechanismInvalid.into()) } else { Ok(row) }
    }
}

/// The key type to generate: the template's, where the mechanism makes such keys, else the mechanism's first.
fn key_type(row: &Row, template: &[Attribute]) -> Result<CK_KEY_TYPE> {
    match said(template, CKA_KEY_TYPE)? {
        None => Ok(*row.keys.first().ok_or(Code::MechanismInvalid)?),
        Some(ty) if row.keys.contains(&ty) => Ok(ty),
        Some(_) => Err(Code::TemplateInconsistent.because(format!("{} makes keys of another type", row.name))),
    }
}

fn generated(row: &Row, own: Vec<Attribute>) -> Given {
    Given { attributes: own, mechanism: Some(row.ty), heritage: None }
}

/// `CKA_PUBLIC_KEY_INFO` of a pair just made.
fn public_key_info(draft: &Draft, own: &[Attribute]) -> Result<Attribute> {
    let mut whole = draft.attributes().clone();
    own.iter().cloned().for_each(|attribute| whole.put(attribute));
    Ok(Attribute::bytes(CKA_PUBLIC_KEY_INFO, &key::public_key_info(&whole)?))
}

/// The caller's template with the one that the key in use imposes.
pub(super) fn imposed(key: &Attributes, which: CK_ATTRIBUTE_TYPE, template: Vec<Attribute>) -> Result<Vec<Attribute>> {
    match key.get(which) {
        Some(Value::Template(more)) => build::impose(template, more),
        _ => Ok(template),
    }
}

/// Bytes of the secret key wanted: `CKA_VALUE_LEN`, or what its type says; `None`: neither does.
pub(super) fn value_length(wanted: &Attributes) -> Option<usize> {
    let stated = wanted.ulong(CKA_VALUE_LEN).and_then(|len| usize::try_from(len).ok());
    stated.or_else(|| build::fixed_length(wanted))
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
fn unwrapped(plain: &[u8], wanted: &Attributes) -> Result<Vec<Attribute>> {
    match wanted.ulong(CKA_CLASS) {
        Some(CKO_SECRET_KEY) => {
            let value = match value_length(wanted) {
                None => plain,
                // Mechanisms without padding of their own deliver whole blocks: CKA_VALUE_LEN says where the key ends.
                Some(len) => plain.get(..len).ok_or(Code::WrappedKeyLenRange)?,
            };
            Ok(vec![Attribute::bytes(CKA_VALUE, value)])
        }
        Some(CKO_PRIVATE_KEY) => {
            let own = key::pkcs8_to_attributes(plain).map_err(|e| e.recode(Code::WrappedKeyInvalid))?;
            let mut whole = wanted.clone();
            own.iter().cloned().for_each(|attribute| whole.put(attribute));
            if whole.ulong(CKA_KEY_TYPE) != wanted.ulong(CKA_KEY_TYPE) {
                return Err(
                    Code::WrappedKeyInvalid.because("the wrapped key is of another type than the template says")
                );
            }
            let mut own = own;
            own.extend(standard_form(&whole).map_err(|e| e.recode(Code::WrappedKeyInvalid))?);
            let own: Attributes = own.into_iter().filter(|a| !matches!(a.ty, CKA_CLASS | CKA_KEY_TYPE)).collect();
            Ok(own.iter().cloned().collect())
        }
        _ => Err(Code::TemplateInconsistent.into()),
    }
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
