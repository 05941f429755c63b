//! Keys that come of other keys or of chance: generate, wrap, unwrap, derive.

use cryptoki_sys::*;

use super::Soft;
use super::begin::{begin, permit, reauthenticates};
use crate::error::{Code, Error, Result};
use crate::mechanism::key;
use crate::mechanism::table::{Derivation, Row};
use crate::object::{self, Attributes, Given, Origin};
use crate::secret::SecretBytes;
use crate::token::{Attribute, Caller, Derived, Mechanism, ObjectId, Params, Use};

impl Soft {
    pub(super) fn generate_secret(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let row = self.row_for(mechanism, CKF_GENERATE)?;
        let view = self.view()?;
        let wanted: Attributes = template.iter().cloned().collect();
        let own = row.does.generate.ok_or(Code::MechanismInvalid)?(row, &mechanism.params, &wanted)?;
        let given = Given::generated(mechanism.ty, own);
        let key_type = key_type(row, &wanted)?;
        let made =
            object::make(Origin::Generate, &view.maker(), Some(CKO_SECRET_KEY), Some(key_type), template, given)?;
        self.keep_one(&view, caller, made)
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
        let wanted: [Attributes; 2] = [&public, &private].map(|template| template.iter().cloned().collect());
        let [wanted_public, wanted_private] = &wanted;
        let types = [key_type(row, wanted_public)?, key_type(row, wanted_private)?];
        let generate = row.does.generate_pair.ok_or(Code::MechanismInvalid)?;
        let pair = generate(row, &mechanism.params, wanted_public, wanted_private)?;
        let make = |class, key_type, template, own| {
            let given = Given::generated(mechanism.ty, own);
            object::make(Origin::Generate, &view.maker(), Some(class), Some(key_type), template, given)
        };
        let public = make(CKO_PUBLIC_KEY, types[0], public, pair.public)?;
        let private = make(CKO_PRIVATE_KEY, types[1], private, pair.private)?;
        let [public, private] = self.keep(&view, caller, [public, private])?;
        Ok((public, private))
    }

    pub(super) fn wrap_key(&self, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        let row = self.row_for(mechanism, CKF_WRAP)?;
        let view = self.view()?;
        let wrapper = self.key_object(&view, wrapping, Code::WrappingKeyHandleInvalid)?;
        permit(&wrapper, row, CKA_WRAP, Code::WrappingKeyTypeInconsistent)?;
        let target = self.key_object(&view, key, Code::KeyHandleInvalid)?;
        may_be_wrapped(&target.attributes, &wrapper.attributes)?;
        let whole = target.whole(&view)?;
        if !object::template_allows(&wrapper.attributes, CKA_WRAP_TEMPLATE, &whole) {
            return Err(Code::KeyHandleInvalid.into());
        }
        let plain = match target.class() {
            Some(CKO_SECRET_KEY) => SecretBytes::copy_from(whole.bytes(CKA_VALUE).ok_or(Code::KeyNotWrappable)?),
            Some(CKO_PRIVATE_KEY) => key::private_to_pkcs8(&whole).map_err(|e| e.recode(Code::KeyNotWrappable))?,
            _ => return Err(Code::KeyNotWrappable.into()),
        };
        let wrapper_key = wrapper.key(&view)?;
        let mut operation = begin(row, Use::Encrypt, &mechanism.params, Some(&wrapper_key)).map_err(wrapping_code)?;
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
        let template = object::with_template(&unwrapper.attributes, CKA_UNWRAP_TEMPLATE, template)?;
        let wanted: Attributes = template.iter().cloned().collect();
        let class = wanted.ulong(CKA_CLASS).ok_or(Code::TemplateIncomplete)?;
        let unwrapper_key = unwrapper.key(&view)?;
        let mut operation =
            begin(row, Use::Decrypt, &mechanism.params, Some(&unwrapper_key)).map_err(unwrapping_code)?;
        let size = operation.size(crate::token::Step::Whole, wrapped.len()).map_err(unwrapping_code)?;
        let mut plain = SecretBytes::zeroed(size.bound());
        let len = operation.whole(wrapped, plain.expose_mut()).map_err(unwrapping_code)?;
        let own = unwrapped(class, plain.expose().get(..len).ok_or(Code::GeneralError)?, &wanted)?;
        let made = object::make(Origin::Unwrap, &view.maker(), None, None, template, Given::unwrapped(own))?;
        key::validate(&made).map_err(|e| e.recode(Code::WrappedKeyInvalid))?;
        self.keep_one(&view, caller, made)
    }

    pub(super) fn derive_key(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        let row = self.row_for(mechanism, CKF_DERIVE)?;
        let view = self.view()?;
        let base = self.key_object(&view, base, Code::KeyHandleInvalid)?;
        permit(&base, row, CKA_DERIVE, Code::KeyTypeInconsistent)?;
        let other = match mechanism.params {
            Params::Object(id) => Some(self.key_object(&view, id, Code::KeyHandleInvalid)?),
            _ => None,
        };
        let template = object::with_template(&base.attributes, CKA_DERIVE_TEMPLATE, template)?;
        let wanted: Attributes = template.iter().cloned().collect();
        let key_type = wanted.ulong(CKA_KEY_TYPE).unwrap_or(CKK_GENERIC_SECRET);
        let derivation = Derivation {
            row,
            params: &mechanism.params,
            base: &base.key(&view)?,
            other: other.as_ref().map(|other| other.key(&view)).transpose()?.as_ref(),
            length: object::value_length(key_type, &wanted)?,
        };
        let value = row.does.derive.ok_or(Code::MechanismInvalid)?(&derivation)?;
        let own = vec![Attribute::bytes(CKA_VALUE, value.expose())];
        let parents: Vec<&Attributes> = std::iter::once(&base).chain(&other).map(|o| &o.attributes).collect();
        let given = Given::derived(own, &parents);
        let class = wanted.ulong(CKA_CLASS).unwrap_or(CKO_SECRET_KEY);
        let made = object::make(Origin::Derive, &view.maker(), Some(class), Some(key_type), template, given)?;
        Ok(Derived { key: Some(self.keep_one(&view, caller, made)?), ..Derived::default() })
    }

    /// The row of a mechanism that has this `CKF_`; `CKR_MECHANISM_INVALID`.
    fn row_for(&self, mechanism: &Mechanism, flag: CK_FLAGS) -> Result<&'static Row> {
        let row = self.environment.row(mechanism.ty)?;
        if row.flags & flag == 0 { Err(Code::MechanismInvalid.into()) } else { Ok(row) }
    }
}

/// The key type to generate: the template's, where the mechanism makes such keys, else the mechanism's first.
fn key_type(row: &Row, wanted: &Attributes) -> Result<CK_KEY_TYPE> {
    match wanted.bytes(CKA_KEY_TYPE).map(|_| wanted.ulong(CKA_KEY_TYPE)) {
        None => Ok(*row.keys.first().ok_or(Code::MechanismInvalid)?),
        Some(None) => Err(Code::AttributeValueInvalid.into()),
        Some(Some(ty)) if row.keys.contains(&ty) => Ok(ty),
        Some(Some(_)) => Err(Code::TemplateInconsistent.into()),
    }
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

/// The attributes that the unwrapped bytes give a key of `class`.
fn unwrapped(class: CK_OBJECT_CLASS, plain: &[u8], wanted: &Attributes) -> Result<Vec<Attribute>> {
    match class {
        CKO_SECRET_KEY => {
            let key_type = wanted.ulong(CKA_KEY_TYPE).ok_or(Code::TemplateIncomplete)?;
            let value = match object::value_length(key_type, wanted)? {
                None => plain,
                // Mechanisms without padding of their own deliver whole blocks: CKA_VALUE_LEN says where the key ends.
                Some(len) if len <= plain.len() => plain.get(..len).ok_or(Code::WrappedKeyLenRange)?,
                Some(_) => return Err(Code::WrappedKeyLenRange.into()),
            };
            Ok(vec![Attribute::bytes(CKA_VALUE, value)])
        }
        CKO_PRIVATE_KEY => {
            let own = key::pkcs8_to_attributes(plain).map_err(|e| e.recode(Code::WrappedKeyInvalid))?;
            let own_type: Attributes = own.iter().cloned().collect();
            match (wanted.ulong(CKA_KEY_TYPE), own_type.ulong(CKA_KEY_TYPE)) {
                (None, _) => Err(Code::TemplateIncomplete.into()),
                (wanted, own) if wanted != own => Err(Code::WrappedKeyInvalid.into()),
                _ => Ok(own),
            }
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
