//! Who keeps a share, and the form in which they get it.

use pkcs1::RsaPublicKeyRef;
use pkcs8::ObjectIdentifier;
use pkcs8::der::Decode;
use pkcs8::spki::SubjectPublicKeyInfoRef;

use super::age::Recipient;
use super::cms;
use super::share::Share;
use crate::crypto::curve::Curve;
use crate::crypto::digest::Digest;
use crate::crypto::ec;
use crate::crypto::rsa::{Oaep, PublicKey};
use crate::error::{Code, Result};

/// `rsaEncryption` (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// `id-X25519` (RFC 8410).
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
/// `id-ecPublicKey` (RFC 5480).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Whose eyes alone a share is for.
// A backup has a handful of them.
#[allow(clippy::large_enum_variant)]
pub enum Kind {
    Age(Recipient),
    /// An RSA public key: OAEP with SHA-256.
    Rsa(PublicKey),
    /// A point of a named curve: CMS enveloped data.
    Ec(Curve, Vec<u8>),
    /// Nobody's: the share is printed, to be kept in a safe.
    Print,
}

pub struct Custodian {
    /// Part of the share's file name.
    pub name: String,
    pub kind: Kind,
}

impl Custodian {
    /// From a SubjectPublicKeyInfo. `CKR_KEY_TYPE_INCONSISTENT`: another kind of key than RSA, X25519 and EC on a named curve.
    pub fn with_public_key(name: &str, der: &[u8]) -> Result<Custodian> {
        let wrong = || {
            Code::KeyTypeInconsistent
                .because("only RSA, X25519 and EC keys on named curves take a share; use an age recipient instead")
        };
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| wrong())?;
        if info.algorithm.oid == X25519 {
            let key = info.subject_public_key.as_bytes().and_then(|bits| bits.try_into().ok()).ok_or_else(wrong)?;
            return Ok(Custodian { name: name.to_owned(), kind: Kind::Age(Recipient::of_key(key)) });
        }
        if info.algorithm.oid == EC {
            let named = info.algorithm.parameters_oid().ok();
            let curve = named.and_then(|oid| Curve::from_oid(oid.as_bytes())).ok_or_else(wrong)?;
            let point = info.subject_public_key.as_bytes().ok_or_else(wrong)?;
            let point = ec::PublicKey::new(curve, point).and_then(|key| key.point()).map_err(|_| wrong())?;
            return Ok(Custodian { name: name.to_owned(), kind: Kind::Ec(curve, point) });
        }
        if info.algorithm.oid != RSA {
            return Err(wrong());
        }
        let key =
            RsaPublicKeyRef::try_from(info.subject_public_key.as_bytes().ok_or_else(wrong)?).map_err(|_| wrong())?;
        let key = PublicKey::new(key.modulus.as_bytes(), key.public_exponent.as_bytes())?;
        Ok(Custodian { name: name.to_owned(), kind: Kind::Rsa(key) })
    }

    /// What the custodian gets, and how the name of its file ends.
    pub fn sealed(&self, share: &Share) -> Result<(Vec<u8>, &'static str)> {
        let text = share.text();
        match &self.kind {
            Kind::Age(recipient) => Ok((recipient.encrypt(format!("{}\n", *text).as_bytes())?, "age")),
            Kind::Rsa(key) => {
                let mut out = vec![0; key.len()];
                let len =
                    key.encrypt_oaep(&Oaep::new(Digest::Sha256, Digest::Sha256, &[]), text.as_bytes(), &mut out)?;
                out.truncate(len);
                Ok((out, "rsa"))
            }
            Kind::Ec(curve, point) => Ok((cms::encrypt(*curve, point, format!("{}\n", *text).as_bytes())?, "cms")),
            Kind::Print => Ok((format!("{}\n", *text).into_bytes(), "txt")),
        }
    }
}
