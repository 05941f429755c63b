//! What `C_DeriveKey` gives back through the mechanism's parameter: further handles, IVs, a protocol version.

use cryptoki_sys::*;

use super::args::{In, OutExact, Place};
use super::derivation::MAX_DERIVED_KEYS;
use super::params::structure;
use crate::error::{Code, Error, Result};
use crate::mechanism::table::{self, ParamKind};
use crate::session::DerivedHandles;

/// The places, found before anything is derived.
pub(super) enum Returned {
    Nothing,
    /// `phKey` of each `CK_DERIVED_KEY`.
    Keys(Vec<Place<CK_OBJECT_HANDLE>>),
    /// The client's version in a TLS pre-master secret.
    Version(Place<CK_VERSION>),
    KeyMaterial(KeyMaterial),
}

/// `CK_SSL3_KEY_MAT_OUT`, and which of it is wanted.
pub(super) struct KeyMaterial {
    place: Place<CK_SSL3_KEY_MAT_OUT>,
    out: CK_SSL3_KEY_MAT_OUT,
    macs: bool,
    keys: bool,
    iv_len: CK_ULONG,
}

/// `CKR_MECHANISM_PARAM_INVALID` where a place is missing.
pub(super) fn of(mechanism: &CK_MECHANISM) -> Result<Returned> {
    // Whether the mechanism is known at all is asked when its parameters are read.
    let Ok(row) = table::row(mechanism.mechanism) else { return Ok(Returned::Nothing) };
    // SAFETY: the caller's promise for a mechanism's parameter (see `args`).
    let parameter = unsafe { In::new(mechanism.pParameter.cast(), mechanism.ulParameterLen) };
    let found = match row.params {
        ParamKind::Kbkdf => {
            let params: CK_SP800_108_KDF_PARAMS = structure(&parameter)?;
            keys(params.pAdditionalDerivedKeys, params.ulAdditionalDerivedKeys)
        }
        ParamKind::FeedbackKbkdf => {
            let params: CK_SP800_108_FEEDBACK_KDF_PARAMS = structure(&parameter)?;
            keys(params.pAdditionalDerivedKeys, params.ulAdditionalDerivedKeys)
        }
        ParamKind::TlsMaster => version(structure::<CK_TLS12_MASTER_KEY_DERIVE_PARAMS>(&parameter)?.pVersion),
        ParamKind::TlsExtendedMaster => {
            version(structure::<CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS>(&parameter)?.pVersion)
        }
        ParamKind::TlsKeyMaterial => key_material(&structure(&parameter)?, row.ty != CKM_TLS12_KEY_SAFE_DERIVE),
        _ => Ok(Returned::Nothing),
    };
    found.map_err(|error| match error.code() {
        Code::ArgumentsBad => error.recode(Code::MechanismParamInvalid),
        _ => error,
    })
}

fn keys(derived: *const CK_DERIVED_KEY, count: CK_ULONG) -> Result<Returned> {
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    let derived = unsafe { In::new(derived, count) }.elements::<4>(MAX_DERIVED_KEYS)?;
    let place = |key: &CK_DERIVED_KEY| {
        // SAFETY: as above.
        let place = unsafe { Place::new(key.phKey) };
        place.check().map(|()| place)
    };
    derived.iter().map(place).collect::<Result<_>>().map(Returned::Keys)
}

fn version(version: *mut CK_VERSION) -> Result<Returned> {
    if version.is_null() {
        return Ok(Returned::Nothing);
    }
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    Ok(Returned::Version(unsafe { Place::new(version) }))
}

fn key_material(params: &CK_TLS12_KEY_MAT_PARAMS, with_ivs: bool) -> Result<Returned> {
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    let place = unsafe { Place::new(params.pReturnedKeyMaterial) };
    let out = place.get()?;
    let iv_len = if with_ivs { params.ulIVSizeInBits / 8 } else { 0 };
    if iv_len > 0 && (out.pIVClient.is_null() || out.pIVServer.is_null()) {
        Err(Code::MechanismParamInvalid)?;
    }
    let (macs, keys) = (params.ulMacSizeInBits > 0, params.ulKeySizeInBits > 0);
    Ok(Returned::KeyMaterial(KeyMaterial { place, out, macs, keys, iv_len }))
}

impl Returned {
    /// Whether `C_DeriveKey` returns a key itself, too.
    pub fn beside_key(&self) -> bool {
        !matches!(self, Returned::KeyMaterial(_))
    }

    /// The template at fault is told by an invalid handle in its place (PKCS#11 3.2, Deriving Additional Keys).
    pub fn blame(&self, error: &Error) {
        if let (Returned::Keys(places), Some(at)) = (self, error.at())
            && let Some(place) = places.get(at)
        {
            // The error stands whether or not this can be written.
            let _ = place.put(CK_INVALID_HANDLE);
        }
    }

    /// `CKR_GENERAL_ERROR` where the token made another number of things than there are places for.
    pub fn put(self, derived: &DerivedHandles) -> Result<()> {
        match self {
            Returned::Nothing => Ok(()),
            Returned::Keys(places) if places.len() == derived.further.len() => {
                places.iter().zip(&derived.further).try_for_each(|(place, key)| place.put(*key))
            }
            Returned::Version(place) => match derived.bytes.first().map(Vec::as_slice) {
                Some(&[major, minor]) => place.put(CK_VERSION { major, minor }),
                _ => Err(Code::GeneralError.into()),
            },
            Returned::KeyMaterial(material) => material.put(derived),
            Returned::Keys(_) => Err(Code::GeneralError.into()),
        }
    }
}

impl KeyMaterial {
    fn put(mut self, derived: &DerivedHandles) -> Result<()> {
        let mut keys = derived.further.iter().copied();
        let mut next = |wanted: bool| if wanted { keys.next().unwrap_or_default() } else { CK_INVALID_HANDLE };
        self.out.hClientMacSecret = next(self.macs);
        self.out.hServerMacSecret = next(self.macs);
        self.out.hClientKey = next(self.keys);
        self.out.hServerKey = next(self.keys);
        self.place.put(self.out)?;
        for (to, iv) in [self.out.pIVClient, self.out.pIVServer].into_iter().zip(&derived.bytes) {
            // SAFETY: the caller promised as much room there as the parameter says.
            unsafe { OutExact::new(to, self.iv_len) }.fill(|out| {
                if out.len() != iv.len() {
                    Err(Code::GeneralError)?;
                }
                out.copy_from_slice(iv);
                Ok(())
            })?;
        }
        Ok(())
    }
}
