//! What a key's attributes say: checked, brought to the standard form, completed, and as DER.
//!
//! Accepted is what applications are known to write; given back is one form.

use cryptoki_sys::*;
use pkcs8::ObjectIdentifier;
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{Decode, Encode, Tag, Tagged};
use zeroize::Zeroizing;

use super::{finite_attributes, pqc_attributes, tree_attributes};
use crate::crypto::curve::{Curve, Form};
use crate::crypto::keyinfo::{self, Private, Public};
use crate::crypto::rsa::{self, Numbers};
use crate::crypto::{ec, eddsa, xdh};
use crate::error::{Code, Error, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::Attribute;

/// Class and key type, as far as they decide which attributes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Secret,
    RsaPublic,
    RsaPrivate,
    CurvePublic(Form),
    CurvePrivate(Form),
    /// HOTP.
    Otp,
    /// DSA and Diffie-Hellman: see `finite_attributes`.
    FinitePublic,
    FinitePrivate,
    /// ML-KEM, ML-DSA, SLH-DSA: see `pqc_attributes`.
    PqcPublic,
    PqcPrivate,
    /// HSS, XMSS, XMSS^MT: see `tree_attributes`.
    TreePublic,
    TreePrivate,
}

/// `CKR_KEY_TYPE_INCONSISTENT` where the class or key type has no cryptography here.
pub fn kind(attributes: &Attributes) -> Result<Kind> {
    let class = attributes.ulong(CKA_CLASS).ok_or(Code::KeyTypeInconsistent)?;
    let key_type = attributes.ulong(CKA_KEY_TYPE).ok_or(Code::KeyTypeInconsistent)?;
    Ok(match (class, key_type) {
        (CKO_SECRET_KEY, _) => Kind::Secret,
        (CKO_OTP_KEY, CKK_HOTP) => Kind::Otp,
        (CKO_PUBLIC_KEY, CKK_RSA) => Kind::RsaPublic,
        (CKO_PRIVATE_KEY, CKK_RSA) => Kind::RsaPrivate,
        (CKO_PUBLIC_KEY, _) if finite_attributes::scheme_of(key_type).is_some() => Kind::FinitePublic,
        (CKO_PRIVATE_KEY, _) if finite_attributes::scheme_of(key_type).is_some() => Kind::FinitePrivate,
        (CKO_PUBLIC_KEY, _) if pqc_attributes::is_pqc(key_type) => Kind::PqcPublic,
        (CKO_PRIVATE_KEY, _) if pqc_attributes::is_pqc(key_type) => Kind::PqcPrivate,
        (CKO_PUBLIC_KEY, _) if tree_attributes::is_tree(key_type) => Kind::TreePublic,
        (CKO_PRIVATE_KEY, _) if tree_attributes::is_tree(key_type) => Kind::TreePrivate,
        (CKO_PUBLIC_KEY, _) => Kind::CurvePublic(form_of(key_type)?),
        (CKO_PRIVATE_KEY, _) => Kind::CurvePrivate(form_of(key_type)?),
        _ => Err(Code::KeyTypeInconsistent)?,
    })
}

fn form_of(key_type: CK_KEY_TYPE) -> Result<Form> {
    Ok(match key_type {
        CKK_EC => Form::Weierstrass,
        CKK_EC_EDWARDS => Form::Edwards,
        CKK_EC_MONTGOMERY => Form::Montgomery,
        _ => Err(Code::KeyTypeInconsistent)?,
    })
}

fn key_type_of(form: Form) -> CK_KEY_TYPE {
    match form {
        Form::Weierstrass => CKK_EC,
        Form::Edwards => CKK_EC_EDWARDS,
        Form::Montgomery => CKK_EC_MONTGOMERY,
    }
}

/// An attribute that the key cannot do without; `CKR_TEMPLATE_INCOMPLETE`.
pub fn needed(attributes: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> Result<&[u8]> {
    Ok(attributes.bytes(ty).ok_or(Code::TemplateIncomplete)?)
}

/// Where the numbers of an RSA private key stand.
pub const RSA_NUMBERS: Numbers<CK_ATTRIBUTE_TYPE> = [
    CKA_MODULUS,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EXPONENT_1,
    CKA_EXPONENT_2,
    CKA_COEFFICIENT,
];

/// An empty value counts as none: some applications write the attributes that they do not know so.
pub fn rsa_numbers(attributes: &Attributes) -> Numbers<Option<&[u8]>> {
    RSA_NUMBERS.map(|ty| attributes.bytes(ty).filter(|value| !value.is_empty()))
}

/// What `pkcs11-tool` 0.23 writes for curve25519: the length is one too many.
const OPENSC_CURVE25519: &[u8] = b"\x13\x0bcurve25519";

/// The curve that `CKA_EC_PARAMS` names, by OID or `curveName`; of the `form` that the key type or mechanism asks for.
/// `CKR_CURVE_NOT_SUPPORTED` for another curve, `CKR_DOMAIN_PARAMS_INVALID` for what names none.
pub fn curve_of(parameters: &[u8], form: Form) -> Result<Curve> {
    let unnamed =
        |_| Code::DomainParamsInvalid.because("CKA_EC_PARAMS holds neither an object identifier nor a curve's name");
    if parameters == OPENSC_CURVE25519 && form == Form::Montgomery {
        return Ok(Curve::X25519);
    }
    let any = AnyRef::from_der(parameters).map_err(unnamed)?;
    let curve = match any.tag() {
        Tag::ObjectIdentifier => {
            let oid = any.decode_as::<ObjectIdentifier>().map_err(unnamed)?;
            Curve::from_oid(oid.as_bytes())
        }
        Tag::PrintableString | Tag::Utf8String => std::str::from_utf8(any.value()).ok().and_then(Curve::from_name),
        _ => Err(Code::DomainParamsInvalid)?,
    };
    Ok(curve.filter(|curve| curve.form() == form).ok_or(Code::CurveNotSupported)?)
}

/// The standard form of `CKA_EC_PARAMS`: the object identifier of the standards; the `curveName` of the specification
/// stays on Edwards and Montgomery curves, where it is as common (PKCS#11 3.2, Edwards public key objects).
pub fn standard_parameters(curve: Curve, given: &[u8]) -> Result<Vec<u8>> {
    let name = curve.names().first().map(|name| name.as_bytes());
    let named = AnyRef::from_der(given).ok().filter(|any| any.tag() == Tag::PrintableString);
    if curve.form() != Form::Weierstrass && named.is_some_and(|any| Some(any.value()) == name) {
        return Ok(given.to_vec());
    }
    let oid = ObjectIdentifier::from_bytes(curve.oid()).map_err(|_| Code::GeneralError)?;
    Ok(oid.to_der().map_err(|_| Code::GeneralError)?)
}

/// A public key's bytes, from a DER OCTET STRING or as they are; not yet checked to be a point.
/// `CKR_ATTRIBUTE_VALUE_INVALID` where the length fits neither.
pub fn point_bytes(curve: Curve, given: &[u8]) -> Result<&[u8]> {
    let fits = |point: &&[u8]| {
        point.len() == curve.public_len() || (curve.form() == Form::Weierstrass && point.len() == 1 + curve.field_len())
    };
    let unwrapped = || <&OctetStringRef>::from_der(given).ok().map(OctetStringRef::as_bytes).filter(fits);
    let point = Some(given).filter(fits).or_else(unwrapped);
    point.ok_or_else(|| {
        Code::AttributeValueInvalid.because(format!("a public key of {} bytes does not fit its curve", given.len()))
    })
}

/// The standard form of `CKA_EC_POINT`. PKCS#11 3.2 has Edwards and Montgomery keys bare, yet the clients in use read
/// a DER OCTET STRING for every curve.
pub fn standard_point(point: &[u8]) -> Result<Vec<u8>> {
    OctetStringRef::new(point).and_then(|point| point.to_der()).map_err(|_| Code::GeneralError.into())
}

/// A public key on a curve; the point checked, and uncompressed.
pub(super) fn curve_and_point(attributes: &Attributes, form: Form) -> Result<(Curve, Vec<u8>)> {
    let curve = curve_of(needed(attributes, CKA_EC_PARAMS)?, form)?;
    let given = point_bytes(curve, needed(attributes, CKA_EC_POINT)?)?;
    let point = match form {
        Form::Weierstrass => ec::uncompressed(curve, given)?,
        Form::Edwards => eddsa::PublicKey::new(curve, given).map(|_| given.to_vec())?,
        // Every number is a key.
        Form::Montgomery => given.to_vec(),
    };
    Ok((curve, point))
}

pub(super) fn curve_and_value(attributes: &Attributes, form: Form) -> Result<(Curve, &[u8])> {
    let curve = curve_of(needed(attributes, CKA_EC_PARAMS)?, form)?;
    Ok((curve, needed(attributes, CKA_VALUE)?))
}

/// The value of a private key in its full length, and its public key.
fn private_and_public(curve: Curve, value: &[u8]) -> Result<(SecretBytes, Vec<u8>)> {
    Ok(match curve.form() {
        Form::Weierstrass => {
            let key = ec::PrivateKey::new(curve, value)?;
            (key.scalar()?, key.public()?)
        }
        Form::Edwards => {
            let key = eddsa::PrivateKey::new(curve, value)?;
            (key.seed(), key.public())
        }
        Form::Montgomery => {
            let key = xdh::PrivateKey::new(curve, value)?;
            (key.scalar(), key.public())
        }
    })
}

/// Checks a key that comes from outside, brings its attributes to their standard form and adds those that follow from
/// the others: `CKA_MODULUS_BITS` of a public key, the primes and exponents of an RSA private key that came without.
/// Secret keys pass as they are. Idempotent. `CKR_TEMPLATE_INCOMPLETE`, `CKR_ATTRIBUTE_VALUE_INVALID` (also: too small,
/// too large), `CKR_CURVE_NOT_SUPPORTED`, `CKR_DOMAIN_PARAMS_INVALID`, `CKR_KEY_TYPE_INCONSISTENT`.
pub fn normalise(attributes: &mut Attributes) -> Result<()> {
    match kind(attributes)? {
        Kind::FinitePublic | Kind::FinitePrivate => finite_attributes::normalise(attributes)?,
        Kind::PqcPublic => pqc_attributes::check_public(attributes)?,
        Kind::PqcPrivate => pqc_attributes::normalise_private(attributes)?,
        Kind::TreePublic => tree_attributes::normalise_public(attributes)?,
        Kind::TreePrivate => tree_attributes::refuse_private()?,
        Kind::Secret | Kind::Otp => {}
        Kind::RsaPublic => normalise_rsa_public(attributes)?,
        Kind::RsaPrivate => normalise_rsa_private(attributes)?,
        Kind::CurvePublic(form) => {
            let (curve, point) = curve_and_point(attributes, form)?;
            attributes.put(Attribute::bytes(CKA_EC_POINT, &standard_point(&point)?));
            put_parameters(attributes, curve)?;
        }
        Kind::CurvePrivate(form) => {
            let (curve, value) = curve_and_value(attributes, form)?;
            let (value, point) = private_and_public(curve, value)?;
            // Some applications give the public key with the private one: it must be this key's.
            if attributes.bytes(CKA_EC_POINT).is_some_and(|point| !point.is_empty()) {
                if curve_and_point(attributes, form)?.1 != point {
                    Err(mismatch("CKA_EC_POINT"))?;
                }
                attributes.put(Attribute::bytes(CKA_EC_POINT, &standard_point(&point)?));
            }
            attributes.put(Attribute::bytes(CKA_VALUE, value.expose()));
            put_parameters(attributes, curve)?;
        }
    }
    Ok(())
}

fn mismatch(what: &str) -> Error {
    Code::AttributeValueInvalid.because(format!("{what} does not belong to this private key"))
}

fn put_parameters(attributes: &mut Attributes, curve: Curve) -> Result<()> {
    let standard = standard_parameters(curve, needed(attributes, CKA_EC_PARAMS)?)?;
    attributes.put(Attribute::bytes(CKA_EC_PARAMS, &standard));
    Ok(())
}

pub(super) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    number.iter().position(|&byte| byte != 0).map_or(&[], |start| number.split_at(start).1)
}

fn normalise_rsa_public(attributes: &mut Attributes) -> Result<()> {
    let (n, e) = (needed(attributes, CKA_MODULUS)?, needed(attributes, CKA_PUBLIC_EXPONENT)?);
    let key = rsa::PublicKey::new(n, e)?;
    for attribute in rsa_public_attributes(without_leading_zeros(n), without_leading_zeros(e), key.bits()) {
        attributes.put(attribute);
    }
    Ok(())
}

fn normalise_rsa_private(attributes: &mut Attributes) -> Result<()> {
    let key = rsa::PrivateKey::new(rsa_numbers(attributes))?;
    if key.bits() < rsa::MIN_STRONG_BITS {
        Err(Code::AttributeValueInvalid.because(format!(
            "an RSA private key of {} bits; {} are the least (shorter public keys may verify)",
            key.bits(),
            rsa::MIN_STRONG_BITS
        )))?;
    }
    rsa_private_attributes(&key)?.into_iter().for_each(|attribute| attributes.put(attribute));
    Ok(())
}

/// A public key's own attributes.
pub(super) fn rsa_public_attributes(n: &[u8], e: &[u8], bits: usize) -> Vec<Attribute> {
    vec![
        Attribute::bytes(CKA_MODULUS, n),
        Attribute::bytes(CKA_PUBLIC_EXPONENT, e),
        Attribute::ulong(CKA_MODULUS_BITS, bits as CK_ULONG),
    ]
}

/// A private key's own attributes.
pub(super) fn rsa_private_attributes(key: &rsa::PrivateKey) -> Result<Vec<Attribute>> {
    let numbers = key.numbers()?;
    Ok(RSA_NUMBERS.into_iter().zip(&numbers).map(|(ty, number)| Attribute::bytes(ty, number)).collect())
}

/// [`normalise`] without changing anything: would this key do? The same codes.
pub fn validate(attributes: &Attributes) -> Result<()> {
    normalise(&mut attributes.clone())
}

/// The size of a key in bits, as policies speak of it: of the modulus, the curve, the secret value. `None` where the
/// attributes do not say it.
pub fn bits(attributes: &Attributes) -> Option<u64> {
    match kind(attributes).ok()? {
        Kind::FinitePublic | Kind::FinitePrivate => finite_attributes::bits(attributes),
        Kind::PqcPublic | Kind::PqcPrivate => pqc_attributes::bits(attributes),
        Kind::TreePublic | Kind::TreePrivate => None,
        Kind::Secret | Kind::Otp => u64::try_from(attributes.bytes(CKA_VALUE)?.len()).ok()?.checked_mul(8),
        Kind::RsaPublic | Kind::RsaPrivate => {
            let n = without_leading_zeros(attributes.bytes(CKA_MODULUS)?);
            let first = u64::from(n.first()?.leading_zeros());
            u64::try_from(n.len()).ok()?.checked_mul(8)?.checked_sub(first)
        }
        Kind::CurvePublic(form) | Kind::CurvePrivate(form) => {
            Some(curve_of(attributes.bytes(CKA_EC_PARAMS)?, form).ok()?.bits().into())
        }
    }
}

/// The public key's own attributes (neither class nor key type), of a private or a public key.
/// `CKR_KEY_TYPE_INCONSISTENT` for a secret key, and the codes of [`normalise`].
pub fn public_of(attributes: &Attributes) -> Result<Vec<Attribute>> {
    match kind(attributes)? {
        Kind::FinitePublic | Kind::FinitePrivate => finite_attributes::public_of(attributes),
        Kind::PqcPublic | Kind::PqcPrivate => pqc_attributes::public_of(attributes),
        Kind::TreePublic | Kind::TreePrivate => tree_attributes::public_of(attributes),
        Kind::Secret | Kind::Otp => Err(Code::KeyTypeInconsistent)?,
        Kind::RsaPublic | Kind::RsaPrivate => {
            let (n, e) = (needed(attributes, CKA_MODULUS)?, needed(attributes, CKA_PUBLIC_EXPONENT)?);
            let key = rsa::PublicKey::new(n, e)?;
            Ok(rsa_public_attributes(without_leading_zeros(n), without_leading_zeros(e), key.bits()))
        }
        Kind::CurvePublic(form) => {
            let (curve, point) = curve_and_point(attributes, form)?;
            curve_public_attributes(curve, needed(attributes, CKA_EC_PARAMS)?, &point)
        }
        Kind::CurvePrivate(form) => {
            let (curve, value) = curve_and_value(attributes, form)?;
            let (_, point) = private_and_public(curve, value)?;
            curve_public_attributes(curve, needed(attributes, CKA_EC_PARAMS)?, &point)
        }
    }
}

/// A public key's own attributes; `parameters` as the application gave them.
pub(super) fn curve_public_attributes(curve: Curve, parameters: &[u8], point: &[u8]) -> Result<Vec<Attribute>> {
    Ok(vec![
        Attribute::bytes(CKA_EC_PARAMS, &standard_parameters(curve, parameters)?),
        Attribute::bytes(CKA_EC_POINT, &standard_point(point)?),
    ])
}

/// `CKA_PUBLIC_KEY_INFO`, the DER of SubjectPublicKeyInfo, of a public or a private key. The codes of [`public_of`].
pub fn public_key_info(attributes: &Attributes) -> Result<Vec<u8>> {
    match kind(attributes)? {
        Kind::FinitePublic | Kind::FinitePrivate => finite_attributes::public_key_info(attributes),
        Kind::PqcPublic | Kind::PqcPrivate => pqc_attributes::public_key_info(attributes),
        Kind::TreePublic | Kind::TreePrivate => tree_attributes::public_key_info(attributes),
        Kind::Secret | Kind::Otp => Err(Code::KeyTypeInconsistent)?,
        Kind::RsaPublic | Kind::RsaPrivate => {
            let (n, e) = (needed(attributes, CKA_MODULUS)?, needed(attributes, CKA_PUBLIC_EXPONENT)?);
            keyinfo::encode_public(Public::Rsa { n, e })
        }
        Kind::CurvePublic(form) => {
            let (curve, point) = curve_and_point(attributes, form)?;
            keyinfo::encode_public(Public::Curve { curve, point: &point })
        }
        Kind::CurvePrivate(form) => {
            let (curve, value) = curve_and_value(attributes, form)?;
            let (_, point) = private_and_public(curve, value)?;
            keyinfo::encode_public(Public::Curve { curve, point: &point })
        }
    }
}

/// The PrivateKeyInfo that `C_WrapKey` encrypts (PKCS#11 3.2, Wrapping/unwrapping private keys).
/// `CKR_KEY_NOT_WRAPPABLE` for what is no private key of a type known here, and the codes of [`normalise`].
pub fn private_to_pkcs8(attributes: &Attributes) -> Result<SecretBytes> {
    match kind(attributes).map_err(|error| error.recode(Code::KeyNotWrappable))? {
        Kind::FinitePrivate => finite_attributes::to_pkcs8(attributes),
        Kind::PqcPrivate => pqc_attributes::to_pkcs8(attributes),
        Kind::RsaPrivate => {
            let numbers = rsa::PrivateKey::new(rsa_numbers(attributes))?.numbers()?;
            keyinfo::encode_private(Private::Rsa(numbers.each_ref().map(|number| number.as_slice())))
        }
        Kind::CurvePrivate(form) => {
            let (curve, value) = curve_and_value(attributes, form)?;
            let (value, _) = private_and_public(curve, value)?;
            keyinfo::encode_private(Private::Curve { curve, value: value.expose() })
        }
        Kind::Otp | Kind::TreePublic | Kind::TreePrivate => Err(Code::KeyNotWrappable)?,
        Kind::Secret | Kind::RsaPublic | Kind::CurvePublic(_) | Kind::FinitePublic | Kind::PqcPublic => {
            Err(Code::KeyNotWrappable)?
        }
    }
}

/// The attributes that an unwrapped PrivateKeyInfo contributes: `CKA_KEY_TYPE` and the key's own, in standard form.
/// `CKR_WRAPPED_KEY_INVALID` where it is malformed, its numbers do not belong together, or the key is too short;
/// `CKR_CURVE_NOT_SUPPORTED`, `CKR_DOMAIN_PARAMS_INVALID`.
pub fn pkcs8_to_attributes(der: &[u8]) -> Result<Vec<Attribute>> {
    let mut attributes = Attributes::new();
    attributes.put(Attribute::ulong(CKA_CLASS, CKO_PRIVATE_KEY));
    let own = match pqc_attributes::from_pkcs8(der)? {
        None => finite_attributes::from_pkcs8(der)?,
        own => own,
    };
    match own {
        Some(own) => own.into_iter().for_each(|attribute| attributes.put(attribute)),
        None => put_private(&mut attributes, keyinfo::decode_private(der)?)?,
    }
    normalise(&mut attributes).map_err(|error| match error.code() {
        Code::AttributeValueInvalid | Code::TemplateIncomplete | Code::TemplateInconsistent => {
            error.recode(Code::WrappedKeyInvalid)
        }
        _ => error,
    })?;
    attributes.remove(CKA_CLASS);
    Ok(attributes.iter().cloned().collect())
}

fn put_private(attributes: &mut Attributes, key: Private<Zeroizing<Vec<u8>>>) -> Result<()> {
    match key {
        Private::Rsa(numbers) => {
            attributes.put(Attribute::ulong(CKA_KEY_TYPE, CKK_RSA));
            for (ty, number) in RSA_NUMBERS.into_iter().zip(&numbers) {
                attributes.put(Attribute::bytes(ty, number));
            }
            Ok(())
        }
        Private::Curve { curve, value } => put_curve_private(attributes, curve, &value),
    }
}

fn put_curve_private(attributes: &mut Attributes, curve: Curve, value: &Zeroizing<Vec<u8>>) -> Result<()> {
    attributes.put(Attribute::ulong(CKA_KEY_TYPE, key_type_of(curve.form())));
    attributes.put(Attribute::bytes(CKA_EC_PARAMS, &standard_parameters(curve, &[])?));
    attributes.put(Attribute::bytes(CKA_VALUE, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
    const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

    fn key(class: CK_OBJECT_CLASS, key_type: CK_KEY_TYPE, own: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Attributes {
        let own = own.iter().map(|(ty, value)| Attribute::bytes(*ty, value));
        own.chain([Attribute::ulong(CKA_CLASS, class), Attribute::ulong(CKA_KEY_TYPE, key_type)]).collect()
    }

    fn code(mut attributes: Attributes) -> Option<Code> {
        let before = attributes.clone();
        assert_eq!(validate(&attributes).err(), normalise(&mut attributes).err());
        let refused = validate(&before).err().map(|error| error.code());
        if refused.is_some() {
            assert_eq!(before, attributes, "a refused key is left as it was");
        }
        refused
    }

    #[test]
    fn curves_are_known_by_any_of_their_names() {
        let names: [(&[u8], Form, Curve, &[u8]); 8] = [
            (P256, Form::Weierstrass, Curve::P256, P256),
            (b"\x13\x0aprime256v1", Form::Weierstrass, Curve::P256, P256),
            (b"\x0c\x09secp256r1", Form::Weierstrass, Curve::P256, P256),
            (ED25519, Form::Edwards, Curve::Ed25519, ED25519),
            (ED25519_NAME, Form::Edwards, Curve::Ed25519, ED25519_NAME),
            (b"\x13\x07Ed25519", Form::Edwards, Curve::Ed25519, ED25519),
            (b"\x06\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01", Form::Edwards, Curve::Ed25519, ED25519),
            (OPENSC_CURVE25519, Form::Montgomery, Curve::X25519, b"\x06\x03\x2b\x65\x6e"),
        ];
        for (given, form, curve, standard) in names {
            assert_eq!(curve_of(given, form).unwrap(), curve);
            assert_eq!(standard_parameters(curve, given).unwrap(), standard);
        }
        let wrong: [(&[u8], Form, Code); 9] = [
            (P256, Form::Edwards, Code::CurveNotSupported),
            (ED25519, Form::Weierstrass, Code::CurveNotSupported),
            (b"\x06\x05\x2b\x81\x04\x00\x09", Form::Weierstrass, Code::CurveNotSupported),
            (b"\x13\x03abc", Form::Weierstrass, Code::CurveNotSupported),
            (b"\x30\x03\x02\x01\x01", Form::Weierstrass, Code::DomainParamsInvalid),
            (b"\x05\x00", Form::Weierstrass, Code::DomainParamsInvalid),
            (b"", Form::Weierstrass, Code::DomainParamsInvalid),
            (&P256[..9], Form::Weierstrass, Code::DomainParamsInvalid),
            (b"secp256r1", Form::Weierstrass, Code::DomainParamsInvalid),
        ];
        for (given, form, code) in wrong {
            assert_eq!(curve_of(given, form).unwrap_err().code(), code, "{given:02x?}");
        }
    }

    #[test]
    fn points_come_in_four_ways_and_leave_in_one() {
        let point = ec::PrivateKey::generate(Curve::P256).unwrap().public().unwrap();
        let mut compressed = vec![2 + (point[64] & 1)];
        compressed.extend_from_slice(&point[1..33]);
        let standard = standard_point(&point).unwrap();
        assert_eq!(standard, [&[0x04, 65][..], &point].concat());
        for given in [&point, &compressed, &standard, &standard_point(&compressed).unwrap()] {
            let mut public = key(CKO_PUBLIC_KEY, CKK_EC, &[(CKA_EC_PARAMS, P256), (CKA_EC_POINT, given)]);
            normalise(&mut public).unwrap();
            assert_eq!(public.bytes(CKA_EC_POINT), Some(&standard[..]));
            assert_eq!(bits(&public), Some(256));
        }
        let mut off = point.clone();
        off[64] ^= 1;
        for wrong in [&off[..], &point[..64], b"", &standard_point(&off).unwrap(), &standard_point(&standard).unwrap()]
        {
            let public = key(CKO_PUBLIC_KEY, CKK_EC, &[(CKA_EC_PARAMS, P256), (CKA_EC_POINT, wrong)]);
            assert_eq!(code(public), Some(Code::AttributeValueInvalid), "{wrong:02x?}");
        }
        let bare = [1; 32];
        for given in [&bare[..], &standard_point(&bare).unwrap()] {
            let own = [(CKA_EC_PARAMS, ED25519_NAME), (CKA_EC_POINT, given)];
            let mut public = key(CKO_PUBLIC_KEY, CKK_EC_EDWARDS, &own);
            normalise(&mut public).unwrap();
            assert_eq!(public.bytes(CKA_EC_POINT), Some(&[&[0x04, 32][..], &bare].concat()[..]));
            assert_eq!(public.bytes(CKA_EC_PARAMS), Some(ED25519_NAME));
        }
    }

    #[test]
    fn private_curve_keys_are_completed_and_checked() {
        let private = |own: &[_]| key(CKO_PRIVATE_KEY, CKK_EC, own);
        let mut short = private(&[(CKA_EC_PARAMS, P256), (CKA_VALUE, &[9])]);
        normalise(&mut short).unwrap();
        assert_eq!(short.bytes(CKA_VALUE).unwrap(), [&[0; 31][..], &[9]].concat());
        let public: Attributes = public_of(&short).unwrap().into_iter().collect();
        let point = public.bytes(CKA_EC_POINT).unwrap();
        assert_eq!(code(private(&[(CKA_EC_PARAMS, P256), (CKA_VALUE, &[9]), (CKA_EC_POINT, &point[2..])])), None);
        let other = private(&[(CKA_EC_PARAMS, P256), (CKA_VALUE, &[8]), (CKA_EC_POINT, point)]);
        assert_eq!(code(other), Some(Code::AttributeValueInvalid));
        assert_eq!(code(private(&[(CKA_EC_PARAMS, P256), (CKA_VALUE, &[0; 32])])), Some(Code::AttributeValueInvalid));
        assert_eq!(code(private(&[(CKA_EC_PARAMS, P256)])), Some(Code::TemplateIncomplete));
        assert_eq!(code(private(&[(CKA_VALUE, &[9])])), Some(Code::TemplateIncomplete));
        assert_eq!(code(private(&[(CKA_EC_PARAMS, ED25519), (CKA_VALUE, &[9; 32])])), Some(Code::CurveNotSupported));
        let edwards =
            |len| key(CKO_PRIVATE_KEY, CKK_EC_EDWARDS, &[(CKA_EC_PARAMS, ED25519), (CKA_VALUE, &[9; 33][..len])]);
        assert_eq!(code(edwards(32)), None);
        assert_eq!(code(edwards(31)), Some(Code::AttributeValueInvalid));
        assert_eq!(code(edwards(33)), Some(Code::AttributeValueInvalid));
    }

    #[test]
    fn rsa_keys_are_completed_and_checked() {
        let made = rsa::PrivateKey::generate(2048, &[1, 0, 1]).unwrap();
        let whole: Attributes = rsa_private_attributes(&made).unwrap().into_iter().collect();
        let whole: Vec<_> = RSA_NUMBERS.iter().map(|&ty| (ty, whole.bytes(ty).unwrap().to_vec())).collect();
        let some = |count: usize| {
            let own: Vec<_> = whole.iter().take(count).map(|(ty, number)| (*ty, number.as_slice())).collect();
            key(CKO_PRIVATE_KEY, CKK_RSA, &own)
        };
        let mut completed = some(3);
        normalise(&mut completed).unwrap();
        // Which prime comes first is the library's choice where the key was made.
        let primes = |of: &Attributes| {
            let mut both = [CKA_PRIME_1, CKA_PRIME_2].map(|ty| of.bytes(ty).unwrap().to_vec());
            both.sort();
            both
        };
        assert_eq!(primes(&completed), primes(&some(8)));
        assert_eq!(code(completed.clone()), None);
        assert_eq!(bits(&completed), Some(2048));
        assert_eq!(code(some(2)), Some(Code::TemplateIncomplete));
        let mut wrong = some(8);
        wrong.put(Attribute::bytes(CKA_EXPONENT_1, &[3]));
        assert_eq!(code(wrong), Some(Code::AttributeValueInvalid));

        let padded = [&[0, 0][..], &whole[0].1].concat();
        let mut public = key(CKO_PUBLIC_KEY, CKK_RSA, &[(CKA_MODULUS, &padded), (CKA_PUBLIC_EXPONENT, &[0, 1, 0, 1])]);
        assert_eq!(bits(&public), Some(2048));
        normalise(&mut public).unwrap();
        let expected: Attributes = public_of(&completed).unwrap().into_iter().collect();
        assert!(expected.iter().all(|attribute| public.get(attribute.ty) == Some(&attribute.value)));
        assert_eq!(public_key_info(&public).unwrap(), public_key_info(&completed).unwrap());
        let small = key(CKO_PUBLIC_KEY, CKK_RSA, &[(CKA_MODULUS, &[0xff; 127]), (CKA_PUBLIC_EXPONENT, &[3])]);
        assert_eq!(code(small), Some(Code::AttributeValueInvalid));
    }

    #[test]
    fn what_is_no_private_key_is_not_wrappable_as_one() {
        let secret = key(CKO_SECRET_KEY, CKK_AES, &[(CKA_VALUE, &[1; 16])]);
        assert_eq!(private_to_pkcs8(&secret).unwrap_err().code(), Code::KeyNotWrappable);
        assert_eq!(public_of(&secret).unwrap_err().code(), Code::KeyTypeInconsistent);
        assert_eq!(bits(&secret), Some(128));
        assert_eq!(code(secret), None);
        let data = key(CKO_DATA, CKK_AES, &[]);
        assert_eq!(private_to_pkcs8(&data).unwrap_err().code(), Code::KeyNotWrappable);
        for der in [&b""[..], b"\x30\x00", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(pkcs8_to_attributes(der).unwrap_err().code(), Code::WrappedKeyInvalid);
        }
    }
}
