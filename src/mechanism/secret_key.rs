//! A secret key with what its algorithms precompute: schedules, GCM's table, CMAC's subkeys, HMAC's keyed states. Each is made at its
//! first use and shared by every operation after it.

use std::sync::{Arc, OnceLock};

use super::key::Key;
use crate::crypto::aes::Aes;
use crate::crypto::block::{BlockCipher, Cipher};
use crate::crypto::cmac::{self, Subkeys};
use crate::crypto::digest::Digest;
use crate::crypto::gcm::GcmKey;
use crate::crypto::hmac::HmacKey;
use crate::crypto::stealing::XtsKey;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

pub struct SecretKey {
    value: SecretBytes,
    aes: OnceLock<Arc<Aes>>,
    gcm: OnceLock<Arc<GcmKey>>,
    /// Of a cipher that is not AES. A key has one type, and so one cipher.
    other: OnceLock<(Cipher, Arc<dyn BlockCipher>)>,
    cmac: OnceLock<(Cipher, Arc<Subkeys>)>,
    xcbc: OnceLock<(Arc<Aes>, Arc<Subkeys>)>,
    xts: OnceLock<Arc<XtsKey>>,
    hmac: [OnceLock<Arc<HmacKey>>; Digest::ALL.len()],
}

impl SecretKey {
    pub fn new(value: SecretBytes) -> SecretKey {
        SecretKey {
            value,
            aes: OnceLock::new(),
            gcm: OnceLock::new(),
            other: OnceLock::new(),
            cmac: OnceLock::new(),
            xcbc: OnceLock::new(),
            xts: OnceLock::new(),
            hmac: Default::default(),
        }
    }

    /// The secret key that an operation was begun with. `CKR_KEY_HANDLE_INVALID` where there is none,
    /// `CKR_KEY_TYPE_INCONSISTENT` where it is a key of another class.
    pub fn of(key: Option<&Arc<Key>>) -> Result<&SecretKey> {
        match key.ok_or(Code::KeyHandleInvalid)?.as_ref() {
            Key::Secret(key) => Ok(key),
            #[allow(unreachable_patterns)] // While it is the only variant.
            _ => Err(Code::KeyTypeInconsistent.into()),
        }
    }

    pub fn value(&self) -> &[u8] {
        self.value.expose()
    }

    /// As an AES key; `CKR_KEY_SIZE_RANGE` unless it has 16, 24 or 32 bytes.
    pub fn aes(&self) -> Result<Arc<Aes>> {
        once(&self.aes, || Ok(Arc::new(Aes::new(self.value())?)))
    }

    /// As [`SecretKey::aes`].
    pub fn gcm(&self) -> Result<Arc<GcmKey>> {
        once(&self.gcm, || Ok(Arc::new(GcmKey::new(self.value())?)))
    }

    /// As a key of `cipher`; `CKR_KEY_SIZE_RANGE` where that has no keys of this length.
    pub fn block(&self, cipher: Cipher) -> Result<Arc<dyn BlockCipher>> {
        match cipher {
            Cipher::Aes => Ok(self.aes()?),
            _ => once_of(&self.other, cipher, || cipher.key(self.value())),
        }
    }

    /// As [`SecretKey::block`], with CMAC's subkeys.
    pub fn cmac(&self, cipher: Cipher) -> Result<(Arc<dyn BlockCipher>, Arc<Subkeys>)> {
        let key = self.block(cipher)?;
        let subkeys = once_of(&self.cmac, cipher, || Ok(Arc::new(Subkeys::cmac(&*key))))?;
        Ok((key, subkeys))
    }

    /// `CKR_KEY_SIZE_RANGE` unless it has 16 bytes.
    pub fn xcbc(&self) -> Result<(Arc<Aes>, Arc<Subkeys>)> {
        once(&self.xcbc, || {
            let (aes, subkeys) = cmac::xcbc(self.value())?;
            Ok((Arc::new(aes), Arc::new(subkeys)))
        })
    }

    /// `CKR_KEY_SIZE_RANGE` unless it has 32 or 64 bytes.
    pub fn xts(&self) -> Result<Arc<XtsKey>> {
        once(&self.xts, || Ok(Arc::new(XtsKey::new(self.value())?)))
    }

    /// Those of SHA-512/t are too many to be kept.
    pub fn hmac(&self, digest: Digest) -> Result<Arc<HmacKey>> {
        let place = Digest::ALL.iter().position(|&d| d == digest).and_then(|at| self.hmac.get(at));
        let make = || Ok(Arc::new(HmacKey::new(digest, self.value())));
        place.map_or_else(make, |place| once(place, make))
    }
}

/// What `place` holds, made now if it is empty. Two threads may both make it; one result stays.
fn once<T: Clone>(place: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<T> {
    match place.get() {
        Some(value) => Ok(value.clone()),
        None => {
            let made = make()?;
            Ok(place.get_or_init(|| made).clone())
        }
    }
}

/// As [`once`], where what is kept is `cipher`'s; another cipher's is made anew each time.
fn once_of<T: Clone>(place: &OnceLock<(Cipher, T)>, cipher: Cipher, make: impl Fn() -> Result<T>) -> Result<T> {
    match once(place, || Ok((cipher, make()?)))? {
        (of, value) if of == cipher => Ok(value),
        _ => make(),
    }
}
