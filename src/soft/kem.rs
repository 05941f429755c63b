//! `C_EncapsulateKey` and `C_DecapsulateKey`: by a KEM of its own, or by wrapping a fresh key (RSA; PKCS#11 3.2, 6.1).

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::begin::{begin, permit};
use super::keys::{imposed, value_length};
use super::manage::may_keep;
use super::object::Object;
use crate::crypto::random;
use crate::error::{Code, Error, Result};
use crate::mechanism::plan::said;
use crate::mechanism::table::Row;
use crate::object::Attributes;
use crate::object::build::{self, Draft, Given, Origin};
use crate::secret::SecretBytes;
use crate::token::{Attribute, Caller, Mechanism, ObjectId, Step, Use, Value};

impl Soft {
    pub(super) fn encapsulated_key_len(&self, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        let view = self.view()?;
        let (row, object) = self.encapsulator(&view, mechanism, public)?;
        let key = object.key(&view)?;
        match &row.does.kem {
            Some(kem) => (kem.ciphertext_len)(&key),
            None => Ok(begin(row, Use::Encrypt, &mechanism.params, Some(&key))?.size(Step::Whole, 0)?.bound()),
        }
    }

    pub(super) fn encapsulate_key(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        let view = self.view()?;
        let (row, object) = self.encapsulator(&view, mechanism, public)?;
        let draft = secret_draft(&view, caller, template)?;
        let key = object.key(&view)?;
        let length = value_length(draft.attributes());
        let (ciphertext, value) = match &row.does.kem {
            Some(kem) => {
                let (ciphertext, secret) = (kem.encapsulate)(&mechanism.params, &key)?;
                (ciphertext, (row.does.shared)(&mechanism.params, secret, length)?)
            }
            None => {
                let length = length.ok_or(Code::TemplateIncomplete.because("how long is the key to be?"))?;
                let mut value = SecretBytes::zeroed(length.min(MAX_WRAPPED));
                random::fill(value.expose_mut())?;
                let mut operation = begin(row, Use::Encrypt, &mechanism.params, Some(&key))?;
                let size = operation.size(Step::Whole, length).map_err(too_long)?;
                let mut ciphertext = vec![0; size.bound()];
                let len = operation.whole(value.expose(), &mut ciphertext).map_err(too_long)?;
                ciphertext.truncate(len);
                (ciphertext, value)
            }
        };
        let made = draft.finish(given(&value))?;
        if let Some(Value::Template(template)) = object.attributes.get(CKA_ENCAPSULATE_TEMPLATE)
            && !build::template_allows(template, &made)
        {
            return Err(Code::KeyHandleInvalid.because("CKA_ENCAPSULATE_TEMPLATE allows no such key"));
        }
        Ok((ciphertext, self.keep_made(&view, caller, made)?))
    }

    pub(super) fn decapsulate_key(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let row = self.row_for(mechanism, CKF_DECAPSULATE)?;
        let view = self.view()?;
        let object = self.unwrapper(&view, private, row, CKA_DECAPSULATE)?;
        self.environment.approve(row, CKF_DECAPSULATE, &mechanism.params, &object.attributes)?;
        let template = imposed(&object.attributes, CKA_DECAPSULATE_TEMPLATE, template)?;
        let Some(kem) = &row.does.kem else {
            let template = with_class(template)?;
            return self.unwrap_under(&view, caller, (row, &mechanism.params), &object, ciphertext, template);
        };
        let draft = secret_draft(&view, caller, template)?;
        let key = object.key(&view)?;
        let secret = (kem.decapsulate)(&mechanism.params, &key, ciphertext).map_err(decapsulation_code)?;
        let value = (row.does.shared)(&mechanism.params, secret, value_length(draft.attributes()))?;
        let made = draft.finish(given(&value))?;
        self.keep_made(&view, caller, made)
    }

    fn encapsulator(
        &self,
        view: &View,
        mechanism: &Mechanism,
        public: ObjectId,
    ) -> Result<(&'static Row, Arc<Object>)> {
        let row = self.row_for(mechanism, CKF_ENCAPSULATE)?;
        let object = self.key_object(view, public, Code::KeyHandleInvalid)?;
        view.may_use(&object)?;
        permit(&object, row, CKA_ENCAPSULATE, Code::KeyTypeInconsistent)?;
        if object.class() != Some(CKO_PUBLIC_KEY) {
            return Err(Code::KeyTypeInconsistent.into());
        }
        self.environment.approve(row, CKF_ENCAPSULATE, &mechanism.params, &object.attributes)?;
        Ok((row, object))
    }
}

/// More than any RSA modulus has room for: the operation refuses it.
const MAX_WRAPPED: usize = 4096;

/// What the key is to be: a generic secret unless the template says otherwise.
fn derived_kind(template: &[Attribute]) -> Result<(CK_OBJECT_CLASS, CK_KEY_TYPE)> {
    let (class, key_type) = (said(template, CKA_CLASS)?, said(template, CKA_KEY_TYPE)?);
    Ok((class.unwrap_or(CKO_SECRET_KEY), key_type.unwrap_or(CKK_GENERIC_SECRET)))
}

/// A secret key to be made, a generic secret unless the template says otherwise.
fn secret_draft(view: &View, caller: Caller, template: Vec<Attribute>) -> Result<Draft> {
    let (class, key_type) = derived_kind(&template)?;
    let draft = build::draft(Origin::Derive, &view.maker(), Some(class), Some(key_type), template)?;
    may_keep(view, caller, &draft).map(|()| draft)
}

/// The template with the class and key type that [`secret_draft`] would give it.
fn with_class(template: Vec<Attribute>) -> Result<Vec<Attribute>> {
    let (class, key_type) = derived_kind(&template)?;
    let mut all: Attributes = template.into_iter().collect();
    all.put(Attribute::ulong(CKA_CLASS, class));
    all.put(Attribute::ulong(CKA_KEY_TYPE, key_type));
    Ok(all.into_iter().collect())
}

/// A key whose value both sides know has no history (PKCS#11 3.2, `C_EncapsulateKey`).
fn given(value: &SecretBytes) -> Given {
    Given { attributes: vec![Attribute::bytes(CKA_VALUE, value.expose())], ..Given::default() }
}

fn too_long(error: Error) -> Error {
    match error.code() {
        Code::DataLenRange | Code::DataInvalid => error.recode(Code::KeySizeRange),
        _ => error,
    }
}

/// The codes that `C_DecapsulateKey` lists, from those of the families.
fn decapsulation_code(error: Error) -> Error {
    match error.code() {
        Code::PublicKeyInvalid | Code::EncryptedDataInvalid => error.recode(Code::WrappedKeyInvalid),
        Code::EncryptedDataLenRange => error.recode(Code::WrappedKeyLenRange),
        Code::KeyTypeInconsistent => error.recode(Code::UnwrappingKeyTypeInconsistent),
        _ => error,
    }
}
