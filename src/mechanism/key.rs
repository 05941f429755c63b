//! A prepared key: parsed once, with what its algorithm precomputes, cached with its object while the login lasts.
//!
//! What other rooms ask of a key's attributes is in `key_attributes`, and named here too.

use cryptoki_sys::*;

use super::key_attributes::{Kind, curve_and_point, curve_and_value, kind, needed, rsa_numbers};
pub use super::key_attributes::{
    bits, normalise, pkcs8_to_attributes, private_to_pkcs8, public_key_info, public_of, validate,
};
use super::otp::OtpKey;
use super::pqc_attributes::{prepare_private, prepare_public};
use super::secret_key::SecretKey;
use super::tree_attributes;
use crate::crypto::curve::{Curve, Form};
use crate::crypto::{ec, eddsa, finite, hss, ml_dsa, ml_kem, rsa, slh_dsa, xdh, xmss};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;

/// One variant per kind of key. The families add what they precompute inside their variant's type.
// Each key stands alone behind an `Arc`: no array pays for the largest.
#[allow(clippy::large_enum_variant)]
pub enum Key {
    /// A secret key of any type.
    Secret(SecretKey),
    RsaPublic(rsa::PublicKey),
    RsaPrivate(rsa::PrivateKey),
    EcPublic(ec::PublicKey),
    EcPrivate(ec::PrivateKey),
    EdwardsPublic(eddsa::PublicKey),
    EdwardsPrivate(eddsa::PrivateKey),
    /// The other party's half: its bytes are all there is to it.
    MontgomeryPublic(Curve, Vec<u8>),
    MontgomeryPrivate(xdh::PrivateKey),
    MlKemPublic(ml_kem::PublicKey),
    MlKemPrivate(ml_kem::PrivateKey),
    MlDsaPublic(ml_dsa::PublicKey),
    MlDsaPrivate(ml_dsa::PrivateKey),
    SlhDsaPublic(slh_dsa::PublicKey),
    SlhDsaPrivate(slh_dsa::PrivateKey),
    HssPublic(hss::PublicKey),
    /// XMSS^MT too.
    XmssPublic(xmss::PublicKey),
    Otp(OtpKey),
    /// Either half.
    Dsa(finite::Dsa),
    DhPublic(finite::DhPublic),
    DhPrivate(finite::DhPrivate),
}

/// One accessor per variant: the key, or `CKR_KEY_TYPE_INCONSISTENT`.
macro_rules! accessors {
    ($($name:ident: $variant:ident($ty:ty),)*) => {
        impl Key {
            $(pub fn $name(&self) -> Result<&$ty> {
                match self {
                    Key::$variant(key) => Ok(key),
                    _ => Err(Code::KeyTypeInconsistent)?,
                }
            })*
        }
    };
}

accessors! {
    secret: Secret(SecretKey),
    rsa_public: RsaPublic(rsa::PublicKey),
    rsa_private: RsaPrivate(rsa::PrivateKey),
    ec_public: EcPublic(ec::PublicKey),
    ec_private: EcPrivate(ec::PrivateKey),
    edwards_public: EdwardsPublic(eddsa::PublicKey),
    edwards_private: EdwardsPrivate(eddsa::PrivateKey),
    otp: Otp(OtpKey),
    dsa: Dsa(finite::Dsa),
    dh_public: DhPublic(finite::DhPublic),
    dh_private: DhPrivate(finite::DhPrivate),
    ml_kem_public: MlKemPublic(ml_kem::PublicKey),
    ml_kem_private: MlKemPrivate(ml_kem::PrivateKey),
}

impl Key {
    /// From an object's attributes, secret ones included. `CKR_KEY_TYPE_INCONSISTENT` where the class or key type
    /// has no cryptography here; else the codes of `key_attributes::normalise`.
    pub fn prepare(attributes: &Attributes) -> Result<Key> {
        Ok(match kind(attributes)? {
            Kind::Secret => Key::Secret(SecretKey::new(SecretBytes::copy_from(needed(attributes, CKA_VALUE)?))),
            Kind::Otp => Key::Otp(OtpKey::new(attributes)?),
            Kind::TreePublic => tree_attributes::prepare_public(attributes)?,
            // Its state is read anew for each signature.
            Kind::TreePrivate => Err(Code::KeyTypeInconsistent)?,
            Kind::RsaPublic => Key::RsaPublic(rsa::PublicKey::new(
                needed(attributes, CKA_MODULUS)?,
                needed(attributes, CKA_PUBLIC_EXPONENT)?,
            )?),
            Kind::RsaPrivate => Key::RsaPrivate(rsa::PrivateKey::new(rsa_numbers(attributes))?),
            Kind::FinitePublic | Kind::FinitePrivate => super::finite_attributes::prepare(attributes)?,
            Kind::PqcPublic => prepare_public(attributes)?,
            Kind::PqcPrivate => prepare_private(attributes)?,
            Kind::CurvePublic(form) => {
                let (curve, point) = curve_and_point(attributes, form)?;
                match form {
                    Form::Weierstrass => Key::EcPublic(ec::PublicKey::new(curve, &point)?),
                    Form::Edwards => Key::EdwardsPublic(eddsa::PublicKey::new(curve, &point)?),
                    Form::Montgomery => Key::MontgomeryPublic(curve, point),
                }
            }
            Kind::CurvePrivate(form) => {
                let (curve, value) = curve_and_value(attributes, form)?;
                match form {
                    Form::Weierstrass => Key::EcPrivate(ec::PrivateKey::new(curve, value)?),
                    Form::Edwards => Key::EdwardsPrivate(eddsa::PrivateKey::new(curve, value)?),
                    Form::Montgomery => Key::MontgomeryPrivate(xdh::PrivateKey::new(curve, value)?),
                }
            }
        })
    }
}
