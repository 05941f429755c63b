//! Keys as DER: SubjectPublicKeyInfo (RFC 5280) and PrivateKeyInfo (RFC 5958), for RSA (RFC 8017), short Weierstrass curves
//! (RFC 5480, RFC 5915), Edwards and Montgomery curves (RFC 8410).

use pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef};
use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use pkcs8::der::{self, Decode, Encode};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::EcPrivateKey;
use zeroize::Zeroizing;

use super::curve::{Curve, Form};
use super::rsa::Numbers;
use crate::error::{Code, Error, Result};
use crate::secret::{Secret, SecretBytes};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const HSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.3.17");
const XMSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.6.34");
const XMSS_MT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.6.35");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A public key; big-endian numbers, or a point in its curve's standard encoding.
#[derive(Clone, Copy)]
pub enum Public<'a> {
    Rsa { n: &'a [u8], e: &'a [u8] },
    Curve { curve: Curve, point: &'a [u8] },
}

/// A private key. A curve's is the scalar, big-endian and as long as the order, or the bytes of RFC 8032 or RFC 7748.
pub enum Private<T> {
    Rsa(Numbers<T>),
    Curve { curve: Curve, value: T },
}

/// The stateful hash-based schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    Hss,
    Xmss,
    XmssMt,
}

/// SubjectPublicKeyInfo of such a scheme: the key as its own standard encodes it, in no further structure (RFC 9708, RFC 9802).
pub fn encode_tree(scheme: Tree, key: &[u8]) -> Result<Vec<u8>> {
    let oid = match scheme {
        Tree::Hss => HSS,
        Tree::Xmss => XMSS,
        Tree::XmssMt => XMSS_MT,
    };
    let algorithm = AlgorithmIdentifierRef { oid, parameters: None };
    let info = |subject_public_key| SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der();
    BitStringRef::from_bytes(key).and_then(info).map_err(unencodable)
}

/// The values come from ourselves: that they cannot be encoded is our own fault.
fn unencodable(_: der::Error) -> Error {
    Code::GeneralError.into()
}

fn undecodable(_: der::Error) -> Error {
    Code::WrappedKeyInvalid.because("the private key is no well-formed PKCS #8 structure")
}

fn oid_of(curve: Curve) -> Result<ObjectIdentifier> {
    Ok(ObjectIdentifier::from_bytes(curve.oid()).map_err(|_| Code::GeneralError)?)
}

/// The algorithm identifier; `named` holds the curve's while the result borrows it.
fn curve_algorithm<'a>(curve: Curve, named: &'a ObjectIdentifier) -> AlgorithmIdentifierRef<'a> {
    match curve.form() {
        Form::Weierstrass => AlgorithmIdentifierRef { oid: EC, parameters: Some(AnyRef::from(named)) },
        Form::Edwards | Form::Montgomery => AlgorithmIdentifierRef { oid: *named, parameters: None },
    }
}

const RSA_ALGORITHM: AlgorithmIdentifierRef<'static> =
    AlgorithmIdentifierRef { oid: RSA, parameters: Some(AnyRef::NULL) };

/// SubjectPublicKeyInfo.
pub fn encode_public(key: Public) -> Result<Vec<u8>> {
    let info = |algorithm, key: &[u8]| {
        let subject_public_key = BitStringRef::from_bytes(key)?;
        SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der()
    };
    match key {
        Public::Rsa { n, e } => UintRef::new(n)
            .and_then(|modulus| RsaPublicKeyRef { modulus, public_exponent: UintRef::new(e)? }.to_der())
            .and_then(|key| info(RSA_ALGORITHM, &key)),
        Public::Curve { curve, point } => info(curve_algorithm(curve, &oid_of(curve)?), point),
    }
    .map_err(unencodable)
}

/// PrivateKeyInfo, version 1, as PKCS#11 3.2, "Wrapping/unwrapping private keys", wants it: no attributes, and an
/// ECPrivateKey without parameters and public key.
pub fn encode_private(key: Private<&[u8]>) -> Result<SecretBytes> {
    let info =
        |algorithm, key: &[u8]| Ok(Secret::new(PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key)?).to_der()?));
    match key {
        Private::Rsa(numbers) => rsa_private_der(numbers).and_then(|key| info(RSA_ALGORITHM, &key)),
        Private::Curve { curve, value } => {
            let inner = match curve.form() {
                Form::Weierstrass => EcPrivateKey { private_key: value, parameters: None, public_key: None }.to_der(),
                Form::Edwards | Form::Montgomery => OctetStringRef::new(value).and_then(|value| value.to_der()),
            };
            let named = oid_of(curve)?;
            inner.map(Zeroizing::new).and_then(|key| info(curve_algorithm(curve, &named), &key))
        }
    }
    .map_err(unencodable)
}

fn rsa_private_der(numbers: Numbers<&[u8]>) -> der::Result<Zeroizing<Vec<u8>>> {
    let [n, e, d, p, q, dp, dq, qinv] = numbers.map(UintRef::new);
    let key = RsaPrivateKeyRef {
        modulus: n?,
        public_exponent: e?,
        private_exponent: d?,
        prime1: p?,
        prime2: q?,
        exponent1: dp?,
        exponent2: dq?,
        coefficient: qinv?,
        other_prime_infos: None,
    };
    Ok(Zeroizing::new(key.to_der()?))
}

/// A PrivateKeyInfo or OneAsymmetricKey. What it says of the public key is not read: the private key decides.
/// `CKR_WRAPPED_KEY_INVALID` where it is malformed or of an algorithm not known here, `CKR_CURVE_NOT_SUPPORTED`,
/// `CKR_DOMAIN_PARAMS_INVALID` for a curve that has no name.
pub fn decode_private(info: &[u8]) -> Result<Private<Zeroizing<Vec<u8>>>> {
    let info = PrivateKeyInfoRef::from_der(info).map_err(undecodable)?;
    let key = info.private_key.as_bytes();
    if info.algorithm.oid == RSA {
        return Ok(Private::Rsa(rsa_numbers(key)?));
    }
    let (curve, value) = if info.algorithm.oid == EC {
        let parameters = info.algorithm.parameters.ok_or(Code::DomainParamsInvalid)?;
        let named = parameters.decode_as::<ObjectIdentifier>().map_err(|_| Code::DomainParamsInvalid)?;
        let curve = Curve::from_oid(named.as_bytes()).filter(|curve| curve.form() == Form::Weierstrass);
        let key = EcPrivateKey::from_der(key).map_err(undecodable)?;
        (curve.ok_or(Code::CurveNotSupported)?, key.private_key)
    } else {
        let curve = Curve::from_oid(info.algorithm.oid.as_bytes()).filter(|curve| curve.form() != Form::Weierstrass);
        let curve = curve.ok_or_else(|| {
            Code::WrappedKeyInvalid.because(format!("a private key of algorithm {} is not known", info.algorithm.oid))
        })?;
        (curve, <&OctetStringRef>::from_der(key).map_err(undecodable)?.as_bytes())
    };
    Ok(Private::Curve { curve, value: Zeroizing::new(value.to_vec()) })
}

fn rsa_numbers(key: &[u8]) -> Result<Numbers<Zeroizing<Vec<u8>>>> {
    let key = RsaPrivateKeyRef::from_der(key).map_err(undecodable)?;
    if key.other_prime_infos.is_some() {
        Err(Code::WrappedKeyInvalid.because("an RSA key of more than two primes"))?;
    }
    let all = [
        key.modulus,
        key.public_exponent,
        key.private_exponent,
        key.prime1,
        key.prime2,
        key.exponent1,
        key.exponent2,
        key.coefficient,
    ];
    Ok(all.map(|number| Zeroizing::new(number.as_bytes().to_vec())))
}
