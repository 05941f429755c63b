//! Ed448 and Ed448ph (RFC 8032). RustCrypto stands behind them.

use ed448_goldilocks::{PreHash, SecretKey, Signature, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::eddsa::{MAX_CONTEXT_LEN, Scheme};
use super::random;
use super::shake::shake256;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// Length in bytes of private and of public keys.
pub const KEY_LEN: usize = 57;
/// Length in bytes of signatures.
pub const SIGNATURE_LEN: usize = 114;
/// Length in bytes of a pre-hash: of SHAKE256.
const PREHASH_LEN: usize = 64;

/// A message hashed before.
struct Hashed<'a>(&'a [u8]);

impl PreHash for Hashed<'_> {
    fn fill_bytes(&mut self, out: &mut [u8]) {
        out.iter_mut().zip(self.0).for_each(|(to, from)| *to = *from);
    }
}

/// The context of a scheme, and the pre-hash of those that have one. `CKR_MECHANISM_PARAM_INVALID` for a context of more
/// than [`MAX_CONTEXT_LEN`] bytes.
fn parts<'a>(scheme: Scheme<'a>, message: &[u8]) -> Result<(&'a [u8], Option<SecretBytes>)> {
    let (context, prehash) = match scheme {
        Scheme::Pure => (&[][..], None),
        Scheme::Context(context) => (context, None),
        Scheme::Prehashed(context) => (context, Some(shake256(message, PREHASH_LEN))),
    };
    if context.len() > MAX_CONTEXT_LEN { Err(Code::MechanismParamInvalid.into()) } else { Ok((context, prehash)) }
}

pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the bytes are a point of the curve, and not its neutral one.
    pub fn new(encoded: &[u8]) -> Result<PublicKey> {
        let encoded: [u8; KEY_LEN] = encoded.try_into().map_err(|_| Code::AttributeValueInvalid)?;
        Ok(PublicKey(VerifyingKey::from_bytes(&encoded).map_err(|_| Code::AttributeValueInvalid)?))
    }

    /// The message itself is given to every scheme. `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<()> {
        let signature: &[u8; SIGNATURE_LEN] = signature.try_into().map_err(|_| Code::SignatureLenRange)?;
        let (context, prehash) = parts(scheme, message)?;
        // Of the last byte of R only the top bit is used (RFC 8032, 5.2.2); the library ignores the others.
        if signature.get(KEY_LEN - 1).is_none_or(|last| last & 0x7f != 0) {
            Err(Code::SignatureInvalid)?;
        }
        let signature = Signature::from_bytes(signature);
        let verified = match prehash {
            Some(prehash) => self.0.verify_prehashed(&signature, Some(context), Hashed(prehash.expose())),
            None => self.0.verify_ctx(&signature, context, message),
        };
        Ok(verified.map_err(|_| Code::SignatureInvalid)?)
    }
}

/// It wipes itself on drop.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless `seed` is [`KEY_LEN`] bytes.
    pub fn new(seed: &[u8]) -> Result<PrivateKey> {
        let seed: Zeroizing<[u8; KEY_LEN]> = Zeroizing::new(seed.try_into().map_err(|_| Code::AttributeValueInvalid)?);
        Ok(PrivateKey(SigningKey::from(SecretKey::from(*seed))))
    }

    pub fn generate() -> Result<PrivateKey> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        random::fill(&mut *seed)?;
        PrivateKey::new(&*seed)
    }

    pub fn seed(&self) -> SecretBytes {
        SecretBytes::copy_from(self.0.as_bytes())
    }

    pub fn public(&self) -> [u8; KEY_LEN] {
        self.0.verifying_key().to_bytes()
    }

    /// The message itself is given to every scheme. `out` has at least [`SIGNATURE_LEN`] bytes; returns how many were
    /// written.
    pub fn sign(&self, scheme: Scheme, message: &[u8], out: &mut [u8]) -> Result<usize> {
        let out: &mut [u8; SIGNATURE_LEN] = out.first_chunk_mut().ok_or(Code::GeneralError)?;
        let (context, prehash) = parts(scheme, message)?;
        let signature = match prehash {
            Some(prehash) => self.0.sign_prehashed(Some(context), Hashed(prehash.expose())),
            None => self.0.sign_ctx(context, message),
        };
        *out = signature.map_err(|_| Code::FunctionFailed)?.to_bytes();
        Ok(SIGNATURE_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.4 and 7.5: one octet without and with context, and "abc" pre-hashed.
    #[test]
    fn the_signatures_of_rfc_8032() {
        let check = |seed: &str, public: &str, scheme: Scheme, message: &[u8], expected: &str| {
            let key = PrivateKey::new(&hex::decode(seed).unwrap()).unwrap();
            assert_eq!(hex::encode(key.public()), public);
            let mut signature = [0; SIGNATURE_LEN];
            assert_eq!(key.sign(scheme, message, &mut signature).unwrap(), SIGNATURE_LEN);
            assert_eq!(hex::encode(signature), expected);
            let public = PublicKey::new(&key.public()).unwrap();
            public.verify(scheme, message, &signature).unwrap();
            let refused = public.verify(Scheme::Context(b"other"), message, &signature).unwrap_err().code();
            assert_eq!(refused, Code::SignatureInvalid);
            assert_eq!(public.verify(scheme, message, &signature[1..]).unwrap_err().code(), Code::SignatureLenRange);
        };
        check(
            "c4eab05d357007c632f3dbb48489924d552b08fe0c353a0d4a1f00acda2c463afbea67c5e8d2877c5e3bc397a659949ef8021e954e0a12274e",
            "43ba28f430cdff456ae531545f7ecd0ac834a55d9358c0372bfa0c6c6798c0866aea01eb00742802b8438ea4cb82169c235160627b4c3a9480",
            Scheme::Pure,
            &[3],
            "26b8f91727bd62897af15e41eb43c377efb9c610d48f2335cb0bd0087810f4352541b143c4b981b7e18f62de8ccdf633fc1bf037ab7cd779\
             805e0dbcc0aae1cbcee1afb2e027df36bc04dcecbf154336c19f0af7e0a6472905e799f1953d2a0ff3348ab21aa4adafd1d234441cf807c0\
             3a00",
        );
        check(
            "c4eab05d357007c632f3dbb48489924d552b08fe0c353a0d4a1f00acda2c463afbea67c5e8d2877c5e3bc397a659949ef8021e954e0a12274e",
            "43ba28f430cdff456ae531545f7ecd0ac834a55d9358c0372bfa0c6c6798c0866aea01eb00742802b8438ea4cb82169c235160627b4c3a9480",
            Scheme::Context(b"foo"),
            &[3],
            "d4f8f6131770dd46f40867d6fd5d5055de43541f8c5e35abbcd001b32a89f7d2151f7647f11d8ca2ae279fb842d607217fce6e042f6815ea\
             000c85741de5c8da1144a6a1aba7f96de42505d7a7298524fda538fccbbb754f578c1cad10d54d0d5428407e85dcbc98a49155c13764e66c\
             3c00",
        );
        check(
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42ef7822e0d5104127dc05d6dbefde69e3ab2cec7c867c6e2c49",
            "259b71c19f83ef77a7abd26524cbdb3161b590a48f7d17de3ee0ba9c52beb743c09428a131d6b1b57303d90d8132c276d5ed3d5d01c0f53880",
            Scheme::Prehashed(b""),
            b"abc",
            "822f6901f7480f3d5f562c592994d9693602875614483256505600bbc281ae381f54d6bce2ea911574932f52a4e6cadd78769375ec3ffd1b\
             801a0d9b3f4030cd433964b6457ea39476511214f97469b57dd32dbc560a9a94d00bff07620464a3ad203df7dc7ce360c3cd3696d9d9fab9\
             0f00",
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(PrivateKey::new(&[1; 56]).err().unwrap().code(), Code::AttributeValueInvalid);
        let mut neutral = [0; KEY_LEN];
        neutral[0] = 1;
        for bad in [&neutral[..], &[0xff; KEY_LEN], &[0; 56]] {
            assert_eq!(PublicKey::new(bad).err().unwrap().code(), Code::AttributeValueInvalid);
        }
        let key = PrivateKey::generate().unwrap();
        let code = key.sign(Scheme::Context(&[0; 256]), b"", &mut [0; SIGNATURE_LEN]).unwrap_err().code();
        assert_eq!(code, Code::MechanismParamInvalid);
    }
}
