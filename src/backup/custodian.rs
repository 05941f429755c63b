//! Who keeps a share, and the form in which they get it.

use pkcs1::RsaPublicKeyRef;
use pkcs8::ObjectIdentifier;
use pkcs8::der::Decode;
use pkcs8::spki::SubjectPublicKeyInfoRef;

use super::age::Recipient;
use super::share::Share;
use crate::crypto::curve::Curve;
use crate::crypto::digest::Digest;
use crate::crypto::ec;
use crate::crypto::rsa::{Oaep, PublicKey};

use crate::error::{Code, Result};

/// `rsaEncryption` (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// `id-ecPublicKey` (RFC 5480), `id-X25519` (RFC 8410).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
const CURVES: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

/// Whose eyes alone a share is for.
pub enum Kind {
    Age(Recipient),
    /// An RSA public key: OAEP with SHA-256.
    Rsa(PublicKey),
    /// Nobody's: the share is printed, to be kept in a safe.
    Print,
}

pub struct Custodian {
    /// Part of the share's file name.
    pub name: String,
    pub kind: Kind,
}

impl Custodian {
    /// From a SubjectPublicKeyInfo of RSA, X25519, or EC on P-256, P-384 or P-521. `CKR_KEY_TYPE_INCONSISTENT`: another kind of key.
    pub fn with_public_key(name: &str, der: &[u8]) -> Result<Custodian> {
        let wrong = || {
            let why = "only RSA, X25519, P-256, P-384 and P-521 public keys take a share; use an age recipient instead";
            Code::KeyTypeInconsistent.because(why)
        };
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| wrong())?;
        let bits = info.subject_public_key.as_bytes().ok_or_else(wrong)?;
        let recipient = match info.algorithm.oid {
            RSA => None,
            X25519 => Some(Recipient::X25519(bits.try_into().map_err(|_| wrong())?)),
            EC => {
                let curve = info.algorithm.parameters_oid().ok().and_then(|oid| Curve::from_oid(oid.as_bytes()));
                let curve = curve.filter(|curve| CURVES.contains(curve)).ok_or_else(wrong)?;
                // Checked to be a point, and brought to its long form.
                Some(Recipient::Ec(curve, ec::PublicKey::new(curve, bits)?.point()?))
            }
            _ => return Err(wrong()),
        };
        if let Some(recipient) = recipient {
            return Ok(Custodian { name: name.to_owned(), kind: Kind::Age(recipient) });
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
            Kind::Print => Ok((format!("{}\n", *text).into_bytes(), "txt")),
        }
    }
}
