//! The functions that are one call of the token: handles in, handles out.

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::{Session, handle_code, key_handle};
use crate::error::{Code, Error, Result};
use crate::token::{Answers, Attribute, Mechanism, MessageParams, ObjectId, Token};

impl Session {
    /// `C_CreateObject`.
    pub fn create(&self, template: Vec<Attribute>) -> Result<CK_OBJECT_HANDLE> {
        self.slot.handle(self.slot.token.create(self.caller(), template)?)
    }

    /// `C_CopyObject`. `CKR_OBJECT_HANDLE_INVALID`.
    pub fn copy(&self, object: CK_OBJECT_HANDLE, template: Vec<Attribute>) -> Result<CK_OBJECT_HANDLE> {
        let object = self.slot.object(object)?;
        self.slot.handle(self.slot.token.copy(self.caller(), object, template)?)
    }

    /// `C_DestroyObject`. `CKR_OBJECT_HANDLE_INVALID`.
    pub fn destroy(&self, object: CK_OBJECT_HANDLE) -> Result<()> {
        self.slot.token.destroy(self.caller(), self.slot.object(object)?)
    }

    /// `C_GetObjectSize`, in bytes. `CKR_OBJECT_HANDLE_INVALID`.
    pub fn size(&self, object: CK_OBJECT_HANDLE) -> Result<u64> {
        self.slot.token.size(self.caller(), self.slot.object(object)?)
    }

    /// `C_GetAttributeValue`: one answer per type, in order. `CKR_OBJECT_HANDLE_INVALID`.
    pub fn get(&self, object: CK_OBJECT_HANDLE, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let answers = self.slot.token.get(self.caller(), self.slot.object(object)?, types)?;
        if answers.len() != types.len() {
            Err(Code::GeneralError.because("the token answered for another number of attributes"))?;
        }
        Ok(answers)
    }

    /// `C_SetAttributeValue`. `CKR_OBJECT_HANDLE_INVALID`.
    pub fn set(&self, object: CK_OBJECT_HANDLE, template: Vec<Attribute>) -> Result<()> {
        self.slot.token.set(self.caller(), self.slot.object(object)?, template)
    }

    /// `C_GenerateKey`.
    pub fn generate_key(&self, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<CK_OBJECT_HANDLE> {
        let made = self.slot.token.generate_key(self.caller(), mechanism, template);
        self.slot.handle(self.ended(made)?)
    }

    /// `C_GenerateKeyPair`: the public key and the private key.
    pub fn generate_key_pair(
        &self,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let made = self.slot.token.generate_key_pair(self.caller(), mechanism, public, private);
        let (public, private) = self.ended(made)?;
        Ok((self.slot.handle(public)?, self.slot.handle(private)?))
    }

    /// `C_WrapKey`. `CKR_WRAPPING_KEY_HANDLE_INVALID`, `CKR_KEY_HANDLE_INVALID`.
    pub fn wrap(
        &self,
        mechanism: &Mechanism,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let work = |token: &dyn Token, wrapping, key| token.wrap(self.caller(), mechanism, wrapping, key);
        self.ended(self.wrapping(wrapping, key, work)).map(Zeroizing::new)
    }

    /// How long the result of [`Session::wrap`] or [`Session::wrap_authenticated`] will be, in bytes; `None` where only the
    /// wrapping shows it. Their codes.
    pub fn wrapped_len(
        &self,
        mechanism: &Mechanism,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<Option<usize>> {
        self.wrapping(wrapping, key, |token, wrapping, key| token.wrapped_len(self.caller(), mechanism, wrapping, key))
    }

    /// `C_WrapKeyAuthenticated`: the wrapped key, and its parameters with IV and tag. The codes of [`Session::wrap`].
    pub fn wrap_authenticated(
        &self,
        mechanism: &Mechanism,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<(Vec<u8>, MessageParams)> {
        let work = |token: &dyn Token, wrapping, key| token.wrap_authenticated(self.caller(), mechanism, wrapping, key);
        self.ended(self.wrapping(wrapping, key, work))
    }

    /// Whether both handles are those of objects. `CKR_WRAPPING_KEY_HANDLE_INVALID`, `CKR_KEY_HANDLE_INVALID`.
    pub fn wrapping_keys(&self, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE) -> Result<()> {
        self.wrapping(wrapping, key, |token, wrapping, key| {
            token.get(self.caller(), wrapping, &[])?;
            token.get(self.caller(), key, &[]).map(drop)
        })
    }

    /// Whether the handle is that of an object. `CKR_UNWRAPPING_KEY_HANDLE_INVALID`.
    pub fn unwrapping_key(&self, unwrapping: CK_OBJECT_HANDLE) -> Result<()> {
        let known = self.slot.object(unwrapping).and_then(|key| self.slot.token.get(self.caller(), key, &[]));
        known.map(drop).map_err(handle_code(Code::UnwrappingKeyHandleInvalid))
    }

    /// Finds both keys for `work`, and which of them a bad handle was.
    fn wrapping<T>(
        &self,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        work: impl FnOnce(&dyn Token, ObjectId, ObjectId) -> Result<T>,
    ) -> Result<T> {
        let wrapping_code = handle_code(Code::WrappingKeyHandleInvalid);
        let wrapping = self.slot.object(wrapping).map_err(&wrapping_code)?;
        let key = self.slot.object(key).map_err(key_handle)?;
        let token = &*self.slot.token;
        work(token, wrapping, key).map_err(|error: Error| {
            let unknown = |object| token.get(self.caller(), object, &[CKA_CLASS]).is_err();
            match error.code() == Code::ObjectHandleInvalid && unknown(wrapping) {
                true => wrapping_code(error),
                false => key_handle(error),
            }
        })
    }

    /// `C_UnwrapKey`. `CKR_UNWRAPPING_KEY_HANDLE_INVALID`.
    pub fn unwrap(
        &self,
        mechanism: &Mechanism,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<CK_OBJECT_HANDLE> {
        let code = handle_code(Code::UnwrappingKeyHandleInvalid);
        let unwrapping = self.slot.object(unwrapping).map_err(&code)?;
        let made = self.slot.token.unwrap(self.caller(), mechanism, unwrapping, wrapped, template);
        self.slot.handle(self.ended(made).map_err(&code)?)
    }

    /// `C_DeriveKey`. `CKR_KEY_HANDLE_INVALID`.
    pub fn derive(
        &self,
        mechanism: &Mechanism,
        base: CK_OBJECT_HANDLE,
        template: Vec<Attribute>,
    ) -> Result<DerivedHandles> {
        let base = self.slot.object(base).map_err(key_handle)?;
        let derived = self.slot.token.derive(self.caller(), mechanism, base, template);
        let derived = self.ended(derived).map_err(key_handle)?;
        Ok(DerivedHandles {
            key: derived.key.map(|key| self.slot.handle(key)).transpose()?,
            further: derived.further.into_iter().map(|key| self.slot.handle(key)).collect::<Result<_>>()?,
            bytes: derived.bytes,
        })
    }

    /// The length of [`Session::encapsulate`]'s ciphertext. `CKR_KEY_HANDLE_INVALID`.
    pub fn encapsulated_len(&self, mechanism: &Mechanism, public: CK_OBJECT_HANDLE) -> Result<usize> {
        let public = self.slot.object(public).map_err(key_handle)?;
        self.slot.token.encapsulated_len(self.caller(), mechanism, public).map_err(key_handle)
    }

    /// `C_EncapsulateKey`: the ciphertext and the new key. `CKR_KEY_HANDLE_INVALID`.
    pub fn encapsulate(
        &self,
        mechanism: &Mechanism,
        public: CK_OBJECT_HANDLE,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, CK_OBJECT_HANDLE)> {
        let public = self.slot.object(public).map_err(key_handle)?;
        let made = self.slot.token.encapsulate(self.caller(), mechanism, public, template);
        let (ciphertext, key) = self.ended(made).map_err(key_handle)?;
        Ok((ciphertext, self.slot.handle(key)?))
    }

    /// `C_DecapsulateKey`. `CKR_UNWRAPPING_KEY_HANDLE_INVALID`.
    pub fn decapsulate(
        &self,
        mechanism: &Mechanism,
        private: CK_OBJECT_HANDLE,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<CK_OBJECT_HANDLE> {
        let code = handle_code(Code::UnwrappingKeyHandleInvalid);
        let private = self.slot.object(private).map_err(&code)?;
        let key = self.slot.token.decapsulate(self.caller(), mechanism, private, ciphertext, template);
        self.slot.handle(self.ended(key).map_err(&code)?)
    }
}

/// [`crate::token::Derived`], by handles.
pub struct DerivedHandles {
    pub key: Option<CK_OBJECT_HANDLE>,
    pub further: Vec<CK_OBJECT_HANDLE>,
    pub bytes: Vec<Vec<u8>>,
}
