//! Wrapping to a key on a curve (PKCS#11 3.2, "ECDH AES KEY WRAP" and its two successors): an ephemeral key pair agrees with
//! the wrapping key on an AES key, which wraps by KWP.

use std::sync::Arc;

use cryptoki_sys::*;
use pkcs8::der::asn1::AnyRef;
use pkcs8::der::{Decode, Tag, Tagged};

use super::ec::{CURVES, POINTS, agree, ephemeral, expand, of_kdf};
use super::key::Key;
use super::key_attributes::standard_point;
use super::table::{Does, NOTHING, Offer, ParamKind, Row};
use crate::crypto::aes::Aes;
use crate::crypto::curve::Curve;
use crate::crypto::keywrap;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;
use crate::token::{Bytes, Operation, Params, Size, Step, Use};

pub const ROWS: &[Row] = &[
    row(CKM_ECDH_AES_KEY_WRAP, "CKM_ECDH_AES_KEY_WRAP", &[CKK_EC, CKK_EC_MONTGOMERY]),
    row(CKM_ECDH_X_AES_KEY_WRAP, "CKM_ECDH_X_AES_KEY_WRAP", &[CKK_EC_MONTGOMERY]),
    row(CKM_ECDH_COF_AES_KEY_WRAP, "CKM_ECDH_COF_AES_KEY_WRAP", &[CKK_EC]),
];

const fn row(ty: CK_MECHANISM_TYPE, name: &'static str, keys: &'static [CK_KEY_TYPE]) -> Row {
    Row {
        ty,
        name,
        keys,
        size: (224, 521),
        flags: CKF_WRAP | CKF_UNWRAP | CURVES | POINTS,
        params: ParamKind::EcdhAesWrap,
        offer: Offer::On,
        approved: false,
        hash: None,
        does: Does { begin: Some(begin), ..NOTHING },
    }
}

fn begin(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key.ok_or(Code::KeyHandleInvalid)?.clone();
    let Params::EcdhAesWrap { aes_bits, kdf, shared } = params else { Err(Code::MechanismParamInvalid)? };
    let aes_len = match aes_bits {
        128 => 16,
        192 => 24,
        256 => 32,
        _ => Err(Code::MechanismParamInvalid.because("the temporary AES key has 128, 192 or 256 bits"))?,
    };
    let curve = match (what, &*key) {
        (Use::Encrypt, Key::EcPublic(key)) => key.curve(),
        (Use::Decrypt, Key::EcPrivate(key)) => key.curve(),
        (Use::Encrypt, Key::MontgomeryPublic(curve, _)) => *curve,
        (Use::Decrypt, Key::MontgomeryPrivate(key)) => key.curve(),
        (Use::Encrypt | Use::Decrypt, _) => Err(Code::KeyTypeInconsistent)?,
        _ => Err(Code::MechanismInvalid)?,
    };
    if *kdf == CKD_NULL {
        if !shared.is_empty() || curve.field_len() < aes_len {
            Err(Code::MechanismParamInvalid.because("CKD_NULL takes no shared data, and a secret as long as the key"))?;
        }
    } else {
        of_kdf(*kdf)?;
    }
    let framed = row.ty == CKM_ECDH_COF_AES_KEY_WRAP;
    Ok(Box::new(Wrap { key, what, curve, framed, aes_len, kdf: *kdf, shared: shared.clone() }))
}

struct Wrap {
    key: Arc<Key>,
    what: Use,
    curve: Curve,
    /// The ephemeral public key stands in a DER OCTET STRING.
    framed: bool,
    aes_len: usize,
    kdf: CK_EC_KDF_TYPE,
    shared: Bytes,
}

impl Wrap {
    /// Length in bytes of the first part.
    fn head(&self) -> Result<usize> {
        let len = self.curve.public_len();
        Ok(if self.framed { standard_point(&vec![0; len])?.len() } else { len })
    }

    /// The leading bytes of what is derived of the shared secret.
    fn aes(&self, secret: &SecretBytes) -> Result<Aes> {
        if self.kdf == CKD_NULL {
            return Aes::new(secret.expose().get(..self.aes_len).ok_or(Code::GeneralError)?);
        }
        let (digest, order) = of_kdf(self.kdf)?;
        Aes::new(expand(digest, order, secret.expose(), &self.shared, self.aes_len)?.expose())
    }

    fn wrap(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let (public, secret) = ephemeral(&self.key)?;
        let public = if self.framed { standard_point(&public)? } else { public };
        let total = public.len().saturating_add(keywrap::padded_len(input.len())?);
        let out = out.get_mut(..total).ok_or(Code::GeneralError)?;
        let (head, tail) = out.split_at_mut_checked(public.len()).ok_or(Code::GeneralError)?;
        head.copy_from_slice(&public);
        keywrap::wrap_padded(&self.aes(&secret)?, &keywrap::KWP_IV, input, tail)?;
        Ok(total)
    }

    /// The ephemeral public key and the wrapped key. `CKR_ENCRYPTED_DATA_LEN_RANGE`, `CKR_ENCRYPTED_DATA_INVALID`.
    fn parts<'a>(&self, input: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
        if !self.framed {
            return Ok(input.split_at_checked(self.curve.public_len()).ok_or(Code::EncryptedDataLenRange)?);
        }
        let (point, tail) = AnyRef::from_der_partial(input).map_err(|_| Code::EncryptedDataInvalid)?;
        if point.tag() == Tag::OctetString { Ok((point.value(), tail)) } else { Err(Code::EncryptedDataInvalid)? }
    }

    fn unwrap(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let (point, tail) = self.parts(input)?;
        let secret = agree(&self.key, point).map_err(|error| match error.code() {
            Code::PublicKeyInvalid => error.recode(Code::EncryptedDataInvalid),
            _ => error,
        })?;
        let room = tail.len().checked_sub(keywrap::SEMIBLOCK).ok_or(Code::EncryptedDataLenRange)?;
        let out = out.get_mut(..room).ok_or(Code::GeneralError)?;
        keywrap::unwrap_padded(&self.aes(&secret)?, &keywrap::KWP_IV, tail, out)
    }
}

impl Operation for Wrap {
    fn size(&mut self, _: Step, input: usize) -> Result<Size> {
        Ok(match self.what {
            Use::Encrypt => Size::Exactly(self.head()?.saturating_add(keywrap::padded_len(input)?)),
            _ => Size::AtMost(input.saturating_sub(keywrap::SEMIBLOCK)),
        })
    }

    fn multi_part(&self) -> bool {
        false
    }

    fn update(&mut self, _: &[u8], _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if self.what == Use::Encrypt { self.wrap(input, out) } else { self.unwrap(input, out) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::row;
    use super::*;
    use crate::crypto::ec;

    fn run(ty: CK_MECHANISM_TYPE, what: Use, params: &Params, key: &Arc<Key>, input: &[u8]) -> Result<Vec<u8>, Code> {
        let row = row(ty).unwrap();
        let work = || {
            let mut operation = (row.does.begin.unwrap())(row, what, params, Some(key))?;
            let mut out = vec![0; operation.size(Step::Whole, input.len())?.bound()];
            let len = operation.whole(input, &mut out)?;
            out.truncate(len);
            Ok(out)
        };
        work().map_err(|e: crate::error::Error| e.code())
    }

    fn params(aes_bits: u64, kdf: u64, shared: &[u8]) -> Params {
        Params::EcdhAesWrap { aes_bits, kdf, shared: shared.into() }
    }

    fn pair(curve: Curve) -> (Arc<Key>, Arc<Key>) {
        if curve.form() == crate::crypto::curve::Form::Montgomery {
            let private = crate::crypto::xdh::PrivateKey::generate(curve).unwrap();
            let public = private.public();
            return (Arc::new(Key::MontgomeryPublic(curve, public)), Arc::new(Key::MontgomeryPrivate(private)));
        }
        let private = ec::PrivateKey::generate(curve).unwrap();
        let public = ec::PublicKey::new(curve, &private.public().unwrap()).unwrap();
        (Arc::new(Key::EcPublic(public)), Arc::new(Key::EcPrivate(private)))
    }

    #[test]
    fn what_is_wrapped_comes_back_with_every_row() {
        let cases = [
            (CKM_ECDH_AES_KEY_WRAP, Curve::P256, 65),
            (CKM_ECDH_AES_KEY_WRAP, Curve::X25519, 32),
            (CKM_ECDH_X_AES_KEY_WRAP, Curve::X25519, 32),
            (CKM_ECDH_X_AES_KEY_WRAP, Curve::X448, 56),
            (CKM_ECDH_COF_AES_KEY_WRAP, Curve::P256, 67),
            (CKM_ECDH_COF_AES_KEY_WRAP, Curve::P521, 136),
        ];
        for (ty, curve, head) in cases {
            let (public, private) = pair(curve);
            for params in [
                params(256, CKD_NULL, b""),
                params(128, CKD_SHA256_KDF, b"shared"),
                params(192, CKD_SHA512_KDF_SP800, b""),
            ] {
                let wrapped = run(ty, Use::Encrypt, &params, &public, b"a key of some length").unwrap();
                assert_eq!(wrapped.len(), head + 32);
                assert_eq!(run(ty, Use::Decrypt, &params, &private, &wrapped).unwrap(), b"a key of some length");
                let mut broken = wrapped.clone();
                *broken.last_mut().unwrap() ^= 1;
                assert_eq!(run(ty, Use::Decrypt, &params, &private, &broken), Err(Code::EncryptedDataInvalid));
                assert!(run(ty, Use::Decrypt, &params, &private, &wrapped[..head]).is_err());
                assert!(run(ty, Use::Decrypt, &params, &private, &[]).is_err());
            }
            let with = |bits, kdf, shared: &[u8]| run(ty, Use::Encrypt, &params(bits, kdf, shared), &public, b"key");
            assert_eq!(with(127, CKD_NULL, b""), Err(Code::MechanismParamInvalid));
            assert_eq!(with(128, CKD_NULL, b"shared"), Err(Code::MechanismParamInvalid));
            assert_eq!(with(128, 99, b""), Err(Code::MechanismParamInvalid));
            // Each half for its own direction.
            let swapped = run(ty, Use::Encrypt, &params(128, CKD_NULL, b""), &private, b"key");
            assert_eq!(swapped, Err(Code::KeyTypeInconsistent));
        }
    }

    /// The first part is the ephemeral public key: the second can be opened by hand.
    #[test]
    fn the_layout_is_the_specifications() {
        let (public, private) = pair(Curve::P256);
        let wrapped =
            run(CKM_ECDH_AES_KEY_WRAP, Use::Encrypt, &params(128, CKD_NULL, b""), &public, b"0123456789").unwrap();
        let (point, tail) = wrapped.split_at(65);
        let secret = private.ec_private().unwrap().agree(point).unwrap();
        let mut out = [0; 16];
        let aes = Aes::new(&secret.expose()[..16]).unwrap();
        let len = keywrap::unwrap_padded(&aes, &keywrap::KWP_IV, tail, &mut out).unwrap();
        assert_eq!(&out[..len], b"0123456789");
    }
}
