//! Elliptic curves: Weierstrass, Edwards, Montgomery (PKCS#11 3.2, Elliptic Curve), but for ECDSA.

use std::sync::Arc;

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::digest::of_hash;
use super::key::Key;
use super::key_attributes::{curve_of, curve_public_attributes, needed, point_bytes, standard_parameters};
use super::table::{Derivation, Derive, Does, Kem, NOTHING, Offer, Pair, ParamKind, Row};
use crate::crypto::curve::{Curve, Form};
use crate::crypto::digest::{Digest, Hasher};
use crate::crypto::{ec, eddsa, xdh};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Bytes, Operation, Params, Size, Step, Use};

/// Curves over prime fields, named by OID or by `curveName`, points in both encodings.
pub(super) const CURVES: CK_FLAGS = CKF_EC_F_P | CKF_EC_OID | CKF_EC_CURVENAME;
pub(super) const POINTS: CK_FLAGS = CKF_EC_UNCOMPRESS | CKF_EC_COMPRESS;
pub(super) const SIGNS: CK_FLAGS = CKF_SIGN | CKF_VERIFY;

pub const ROWS: &[Row] = &[
    generates(CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN", &[CKK_EC], CURVES | POINTS, (224, 521), true),
    generates(
        CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS,
        "CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS",
        &[CKK_EC],
        CURVES | POINTS,
        (224, 521),
        true,
    ),
    derives(CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE", &[CKK_EC, CKK_EC_MONTGOMERY], (224, 521), derive),
    derives(CKM_ECDH1_COFACTOR_DERIVE, "CKM_ECDH1_COFACTOR_DERIVE", &[CKK_EC], (224, 521), derive_with_cofactor),
    generates(CKM_EC_EDWARDS_KEY_PAIR_GEN, "CKM_EC_EDWARDS_KEY_PAIR_GEN", &[CKK_EC_EDWARDS], CURVES, (255, 448), true),
    Row {
        // GnuTLS generates with the signature mechanism.
        flags: SIGNS | CKF_GENERATE_KEY_PAIR | CURVES,
        params: ParamKind::Eddsa,
        does: Does { begin: Some(begin_eddsa), generate_pair: Some(generate_pair), ..NOTHING },
        ..row(CKM_EDDSA, "CKM_EDDSA", &[CKK_EC_EDWARDS], (255, 448), true)
    },
    generates(
        CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
        "CKM_EC_MONTGOMERY_KEY_PAIR_GEN",
        &[CKK_EC_MONTGOMERY],
        CURVES,
        (255, 448),
        false,
    ),
];

/// What all rows share; sizes are those of the field, in bits.
pub(super) const fn row(
    ty: CK_MECHANISM_TYPE,
    name: &'static str,
    keys: &'static [CK_KEY_TYPE],
    size: (u64, u64),
    approved: bool,
) -> Row {
    Row {
        ty,
        name,
        keys,
        size,
        flags: 0,
        params: ParamKind::None,
        offer: Offer::On,
        approved,
        hash: None,
        does: NOTHING,
    }
}

const fn generates(
    ty: CK_MECHANISM_TYPE,
    name: &'static str,
    keys: &'static [CK_KEY_TYPE],
    flags: CK_FLAGS,
    size: (u64, u64),
    approved: bool,
) -> Row {
    Row {
        flags: CKF_GENERATE_KEY_PAIR | flags,
        does: Does { generate_pair: Some(generate_pair), ..NOTHING },
        ..row(ty, name, keys, size, approved)
    }
}

const fn derives(
    ty: CK_MECHANISM_TYPE,
    name: &'static str,
    keys: &'static [CK_KEY_TYPE],
    size: (u64, u64),
    derive: Derive,
) -> Row {
    Row {
        flags: CKF_DERIVE | CKF_ENCAPSULATE | CKF_DECAPSULATE | CURVES | POINTS,
        params: ParamKind::Ecdh,
        does: Does { derive: Some(derive), kem: Some(KEM), shared: shared_by_kem, ..NOTHING },
        ..row(ty, name, keys, size, true)
    }
}

/// The form of the curves that a row works on.
fn form_of(row: &Row) -> Form {
    match row.keys {
        [CKK_EC_EDWARDS] => Form::Edwards,
        [CKK_EC_MONTGOMERY] => Form::Montgomery,
        _ => Form::Weierstrass,
    }
}

/// `CKR_TEMPLATE_INCOMPLETE` without `CKA_EC_PARAMS`, and the codes of `curve_of`.
fn generate_pair(row: &'static Row, _: &Params, public: &Attributes, _: &Attributes) -> Result<Pair> {
    let given = needed(public, CKA_EC_PARAMS)?;
    let curve = curve_of(given, form_of(row))?;
    let (value, point) = generate(row, curve)?;
    Ok(Pair {
        public: curve_public_attributes(curve, given, &point)?,
        private: vec![
            Attribute::bytes(CKA_EC_PARAMS, &standard_parameters(curve, given)?),
            Attribute::bytes(CKA_VALUE, value.expose()),
        ],
    })
}

fn generate(row: &Row, curve: Curve) -> Result<(SecretBytes, Vec<u8>)> {
    Ok(match curve.form() {
        Form::Weierstrass => {
            let key = match row.ty {
                CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS => ec::PrivateKey::generate_with_extra_bits(curve)?,
                _ => ec::PrivateKey::generate(curve)?,
            };
            (key.scalar()?, key.public()?)
        }
        Form::Edwards => {
            let key = eddsa::PrivateKey::generate(curve)?;
            (key.seed(), key.public())
        }
        Form::Montgomery => {
            let key = xdh::PrivateKey::generate(curve)?;
            (key.scalar(), key.public())
        }
    })
}

fn begin_eddsa(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key.ok_or(Code::KeyHandleInvalid)?;
    let curve = match what {
        Use::Sign => key.edwards_private()?.curve(),
        Use::Verify | Use::VerifySignature => key.edwards_public()?.curve(),
        _ => Err(Code::KeyFunctionNotPermitted)?,
    };
    let (scheme, message) = (SchemeOf::of(curve, params)?, Message::Whole(Zeroizing::default()));
    Ok(Box::new(Eddsa { key: key.clone(), curve, message: message.for_scheme(curve, &scheme), scheme }))
}

/// Which scheme the parameters ask for: `eddsa::Scheme`, owned.
enum SchemeOf {
    Pure,
    Context(Bytes),
    Prehashed(Bytes),
}

impl SchemeOf {
    /// `CKR_MECHANISM_PARAM_INVALID`. Ed25519ctx without a context is not defined by RFC 8032 as something else than
    /// Ed25519, and would not verify as that; Ed448 always has a context, which may be empty.
    fn of(curve: Curve, params: &Params) -> Result<SchemeOf> {
        match params {
            Params::None => Ok(SchemeOf::Pure),
            Params::Eddsa { context, .. } if context.len() > eddsa::MAX_CONTEXT_LEN => {
                Err(Code::MechanismParamInvalid)?
            }
            Params::Eddsa { prehash: true, context } => Ok(SchemeOf::Prehashed(context.clone())),
            Params::Eddsa { prehash: false, context } if curve == Curve::Ed448 || !context.is_empty() => {
                Ok(SchemeOf::Context(context.clone()))
            }
            _ => Err(Code::MechanismParamInvalid.because("Ed25519ctx needs a context of 1 to 255 bytes"))?,
        }
    }

    fn borrowed(&self) -> eddsa::Scheme<'_> {
        match self {
            SchemeOf::Pure => eddsa::Scheme::Pure,
            SchemeOf::Context(context) => eddsa::Scheme::Context(context),
            SchemeOf::Prehashed(context) => eddsa::Scheme::Prehashed(context),
        }
    }
}

/// The message of a multi-part operation.
enum Message {
    /// Kept: these schemes read it twice.
    Whole(Zeroizing<Vec<u8>>),
    Hashed(Box<Hasher>),
}

impl Message {
    /// An empty message of the kind that the scheme asks for; the memory is used again. Ed448ph hashes with SHAKE256, at
    /// the end.
    fn for_scheme(self, curve: Curve, scheme: &SchemeOf) -> Message {
        let hashed = curve == Curve::Ed25519 && matches!(scheme, SchemeOf::Prehashed(_));
        match self {
            Message::Whole(mut kept) if !hashed => {
                kept.clear();
                Message::Whole(kept)
            }
            Message::Hashed(mut hasher) if hashed => {
                hasher.reset();
                Message::Hashed(hasher)
            }
            _ if hashed => Message::Hashed(Box::new(Hasher::new(Digest::Sha512))),
            _ => Message::Whole(Zeroizing::default()),
        }
    }
}

/// EdDSA in its schemes: without parameters, with a context, with a hash before it.
struct Eddsa {
    key: Arc<Key>,
    curve: Curve,
    scheme: SchemeOf,
    message: Message,
}

impl Eddsa {
    /// Gives scheme and message to `act`; what came by updates, or `input` in one piece.
    fn over<T>(
        &mut self,
        input: Option<&[u8]>,
        act: impl FnOnce(&Key, eddsa::Scheme, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let scheme = self.scheme.borrowed();
        match &mut self.message {
            Message::Hashed(hasher) => {
                hasher.update(input.unwrap_or_default());
                act(&self.key, scheme, &hasher.finish())
            }
            Message::Whole(kept) => act(&self.key, scheme, input.unwrap_or(kept)),
        }
    }
}

impl Operation for Eddsa {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(if step == Step::Update { 0 } else { eddsa::signature_len(self.curve) }))
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        match &mut self.message {
            Message::Whole(kept) => kept.extend_from_slice(input),
            Message::Hashed(hasher) => hasher.update(input),
        }
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.over(None, |key, scheme, message| key.edwards_private()?.sign(scheme, message, out))
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.over(Some(input), |key, scheme, message| key.edwards_private()?.sign(scheme, message, out))
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.over(input, |key, scheme, message| key.edwards_public()?.verify(scheme, message, signature))
    }

    fn restart(&mut self, params: &Params) -> bool {
        let Ok(scheme) = SchemeOf::of(self.curve, params) else { return false };
        let message = std::mem::replace(&mut self.message, Message::Whole(Zeroizing::default()));
        self.message = message.for_scheme(self.curve, &scheme);
        self.scheme = scheme;
        true
    }
}

fn derive(work: &Derivation<'_>) -> Result<SecretBytes> {
    let Params::Ecdh { kdf, shared, public } = work.params else { Err(Code::MechanismParamInvalid)? };
    finished(agree(work.base, public)?, *kdf, shared, work.length)
}

/// What the parameters make of an agreed secret.
fn finished(secret: SecretBytes, kdf: CK_EC_KDF_TYPE, shared: &[u8], length: Option<usize>) -> Result<SecretBytes> {
    if kdf == CKD_NULL {
        if !shared.is_empty() {
            Err(Code::MechanismParamInvalid.because("CKD_NULL takes no shared data"))?;
        }
        return truncated(secret, length);
    }
    let (digest, order) = of_kdf(kdf)?;
    expand(digest, order, secret.expose(), shared, length.unwrap_or(secret.len()))
}

/// As a KEM the public key of an ephemeral pair is the ciphertext, in the form in which `C_DeriveKey` takes it.
const KEM: Kem = Kem { ciphertext_len, encapsulate, decapsulate };

fn ciphertext_len(key: &Key) -> Result<usize> {
    match key {
        Key::EcPublic(key) => Ok(key.curve().public_len()),
        Key::MontgomeryPublic(_, point) => Ok(point.len()),
        _ => Err(Code::KeyTypeInconsistent.into()),
    }
}

/// `CKR_MECHANISM_PARAM_INVALID` where the parameters bring a public key: the function's own argument is that.
fn without_public(params: &Params) -> Result<()> {
    match params {
        Params::Ecdh { public, .. } if public.is_empty() => Ok(()),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

fn encapsulate(params: &Params, key: &Key) -> Result<(Vec<u8>, SecretBytes)> {
    without_public(params)?;
    ephemeral(key)
}

/// A public key made for this one time, and what it shares with `key`.
pub(super) fn ephemeral(key: &Key) -> Result<(Vec<u8>, SecretBytes)> {
    match key {
        Key::EcPublic(key) => {
            let once = ec::PrivateKey::generate(key.curve())?;
            Ok((once.public()?, once.agree(&key.point()?)?))
        }
        Key::MontgomeryPublic(curve, point) => {
            let once = xdh::PrivateKey::generate(*curve)?;
            Ok((once.public(), once.agree(point)?))
        }
        _ => Err(Code::KeyTypeInconsistent.into()),
    }
}

/// `CKR_PUBLIC_KEY_INVALID` for a ciphertext that is no public key of the curve.
fn decapsulate(params: &Params, key: &Key, ciphertext: &[u8]) -> Result<SecretBytes> {
    without_public(params)?;
    agree(key, ciphertext)
}

fn shared_by_kem(params: &Params, secret: SecretBytes, length: Option<usize>) -> Result<SecretBytes> {
    let Params::Ecdh { kdf, shared, .. } = params else { Err(Code::MechanismParamInvalid)? };
    finished(secret, *kdf, shared, length)
}

/// All curves here have cofactor 1, where the cofactor method is the plain one.
fn derive_with_cofactor(work: &Derivation<'_>) -> Result<SecretBytes> {
    match &**work.base {
        Key::EcPrivate(_) => derive(work),
        _ => Err(Code::KeyTypeInconsistent)?,
    }
}

/// The shared secret with `public`, raw or as a DER OCTET STRING; `CKR_PUBLIC_KEY_INVALID` where that is no public key of
/// the curve, or one of small order.
pub(super) fn agree(base: &Key, public: &[u8]) -> Result<SecretBytes> {
    let agreed = match base {
        Key::EcPrivate(key) => point_bytes(key.curve(), public).and_then(|point| key.agree(point)),
        Key::MontgomeryPrivate(key) => point_bytes(key.curve(), public).and_then(|point| key.agree(point)),
        _ => Err(Code::KeyTypeInconsistent)?,
    };
    agreed.map_err(|error| match error.code() {
        Code::AttributeValueInvalid => error.recode(Code::PublicKeyInvalid),
        _ => error,
    })
}

/// The last `length` bytes: truncation removes bytes from the leading end (PKCS#11 3.2, ECDH key derivation).
/// `CKR_KEY_SIZE_RANGE` where there are fewer, or none are wanted.
pub(super) fn truncated(secret: SecretBytes, length: Option<usize>) -> Result<SecretBytes> {
    let length = length.unwrap_or(secret.len());
    let start = secret.len().checked_sub(length).filter(|_| length > 0).ok_or_else(|| {
        Code::KeySizeRange.because(format!("{length} bytes of key from a shared secret of {} bytes", secret.len()))
    })?;
    Ok(SecretBytes::copy_from(secret.expose().split_at(start).1))
}

/// What comes first under the hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// ANSI X9.63: secret, counter, shared data.
    SecretFirst,
    /// NIST SP 800-56A: counter, secret, shared data.
    CounterFirst,
}

/// `CKR_MECHANISM_PARAM_INVALID` for a function not offered.
pub(super) fn of_kdf(kdf: CK_EC_KDF_TYPE) -> Result<(Digest, Order)> {
    use Order::{CounterFirst, SecretFirst};
    let (hash, order) = match kdf {
        CKD_SHA1_KDF => (CKM_SHA_1, SecretFirst),
        CKD_SHA224_KDF => (CKM_SHA224, SecretFirst),
        CKD_SHA256_KDF => (CKM_SHA256, SecretFirst),
        CKD_SHA384_KDF => (CKM_SHA384, SecretFirst),
        CKD_SHA512_KDF => (CKM_SHA512, SecretFirst),
        CKD_SHA3_224_KDF => (CKM_SHA3_224, SecretFirst),
        CKD_SHA3_256_KDF => (CKM_SHA3_256, SecretFirst),
        CKD_SHA3_384_KDF => (CKM_SHA3_384, SecretFirst),
        CKD_SHA3_512_KDF => (CKM_SHA3_512, SecretFirst),
        CKD_SHA1_KDF_SP800 => (CKM_SHA_1, CounterFirst),
        CKD_SHA224_KDF_SP800 => (CKM_SHA224, CounterFirst),
        CKD_SHA256_KDF_SP800 => (CKM_SHA256, CounterFirst),
        CKD_SHA384_KDF_SP800 => (CKM_SHA384, CounterFirst),
        CKD_SHA512_KDF_SP800 => (CKM_SHA512, CounterFirst),
        CKD_SHA3_224_KDF_SP800 => (CKM_SHA3_224, CounterFirst),
        CKD_SHA3_256_KDF_SP800 => (CKM_SHA3_256, CounterFirst),
        CKD_SHA3_384_KDF_SP800 => (CKM_SHA3_384, CounterFirst),
        CKD_SHA3_512_KDF_SP800 => (CKM_SHA3_512, CounterFirst),
        _ => Err(Code::MechanismParamInvalid)?,
    };
    Ok((of_hash(hash)?, order))
}

/// The longest key that is derived in this way, in bytes: no key type needs more.
const MAX_EXPANDED: usize = 1 << 20;

/// `length` leading bytes of the hashes over counter, secret and shared data. `CKR_KEY_SIZE_RANGE`.
pub(super) fn expand(digest: Digest, order: Order, secret: &[u8], shared: &[u8], length: usize) -> Result<SecretBytes> {
    if !(1..=MAX_EXPANDED).contains(&length) {
        Err(Code::KeySizeRange)?;
    }
    let mut out = SecretBytes::zeroed(length);
    let mut hasher = Hasher::new(digest);
    for (counter, chunk) in (1u32..).zip(out.expose_mut().chunks_mut(digest.len())) {
        let counter = counter.to_be_bytes();
        let parts = match order {
            Order::SecretFirst => [secret, &counter],
            Order::CounterFirst => [&counter, secret],
        };
        parts.into_iter().for_each(|part| hasher.update(part));
        hasher.update(shared);
        hasher.finish_into(chunk);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::table;

    fn generated(mechanism: CK_MECHANISM_TYPE, parameters: &[u8]) -> Result<Pair> {
        let row = table::row(mechanism)?;
        let template = std::iter::once(Attribute::bytes(CKA_EC_PARAMS, parameters)).collect();
        row.does.generate_pair.unwrap()(row, &Params::None, &template, &Attributes::new())
    }

    #[test]
    fn each_generation_makes_its_own_form_of_curve() {
        let curves: [(_, &[_], &[u8]); 3] = [
            (Form::Weierstrass, &[CKM_EC_KEY_PAIR_GEN], b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
            (Form::Edwards, &[CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA], b"\x13\x0cedwards25519"),
            (Form::Montgomery, &[CKM_EC_MONTGOMERY_KEY_PAIR_GEN], b"\x06\x03\x2b\x65\x6e"),
        ];
        let all = [CKM_EC_KEY_PAIR_GEN, CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA, CKM_EC_MONTGOMERY_KEY_PAIR_GEN];
        for (form, own, parameters) in curves {
            for mechanism in all {
                let pair = generated(mechanism, parameters);
                if own.contains(&mechanism) {
                    let private: Attributes = pair.unwrap().private.into_iter().collect();
                    assert_eq!(private.bytes(CKA_EC_PARAMS), Some(parameters));
                    assert_eq!(
                        curve_of(parameters, form).unwrap().private_len(),
                        private.bytes(CKA_VALUE).unwrap().len()
                    );
                } else {
                    assert_eq!(pair.err().unwrap().code(), Code::CurveNotSupported);
                }
            }
        }
        let row = table::row(CKM_EC_KEY_PAIR_GEN).unwrap();
        let none = generate_pair(row, &Params::None, &Attributes::new(), &Attributes::new());
        assert_eq!(none.err().unwrap().code(), Code::TemplateIncomplete);
    }

    #[test]
    fn keys_of_the_wrong_half_or_type_do_not_begin() {
        let private = Arc::new(Key::EcPrivate(ec::PrivateKey::generate(Curve::P256).unwrap()));
        let edwards = Arc::new(Key::EdwardsPrivate(eddsa::PrivateKey::generate(Curve::Ed25519).unwrap()));
        let code = |mechanism, what, key| {
            let row = table::row(mechanism).unwrap();
            row.does.begin.unwrap()(row, what, &Params::None, key).err().unwrap().code()
        };
        for mechanism in [CKM_ECDSA, CKM_ECDSA_SHA3_256] {
            assert_eq!(code(mechanism, Use::Verify, Some(&private)), Code::KeyTypeInconsistent);
            assert_eq!(code(mechanism, Use::Sign, Some(&edwards)), Code::KeyTypeInconsistent);
            assert_eq!(code(mechanism, Use::Encrypt, Some(&private)), Code::KeyFunctionNotPermitted);
            assert_eq!(code(mechanism, Use::Sign, None), Code::KeyHandleInvalid);
        }
        assert_eq!(code(CKM_EDDSA, Use::Verify, Some(&edwards)), Code::KeyTypeInconsistent);
        assert_eq!(code(CKM_EDDSA, Use::Sign, Some(&private)), Code::KeyTypeInconsistent);
    }
}
