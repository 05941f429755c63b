//! Ed25519 and X25519, over curve25519-dalek's group.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Refused, Result};
use crate::crypto::ed25519::{Form, MAX_CONTEXT_LEN};

/// dom2 of RFC 8032, 2, in parts, and what is signed instead of the message. Refused for a context of a length that the
/// scheme has not.
fn domain<'a>(form: Form<'a>, message: &'a [u8]) -> Result<([Vec<u8>; 2], &'a [u8])> {
    let (flag, context, message) = match form {
        Form::Pure => return Ok(([Vec::new(), Vec::new()], message)),
        Form::Context([]) => return Err(Refused),
        Form::Context(context) => (0, context, message),
        Form::Prehashed(digest, context) => (1, context, &digest[..]),
    };
    if context.len() > MAX_CONTEXT_LEN {
        return Err(Refused);
    }
    let head = [b"SigEd25519 no Ed25519 collisions".as_slice(), &[flag, context.len() as u8]].concat();
    Ok(([head, context.to_vec()], message))
}

/// The hash of the parts as a scalar.
fn scalar(domain: &[Vec<u8>; 2], parts: &[&[u8]]) -> Scalar {
    let mut hash = Sha512::new();
    domain.iter().for_each(|part| hash.update(part));
    parts.iter().for_each(|part| hash.update(part));
    Scalar::from_bytes_mod_order_wide(&Zeroizing::new(hash.finalize().into()))
}

/// The secret scalar, and the prefix that makes nonces (RFC 8032, 5.1.5).
fn expand(seed: &[u8; 32]) -> (Zeroizing<Scalar>, Zeroizing<[u8; 32]>) {
    let hash: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(seed).into());
    let (mut low, mut prefix) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    low.iter_mut().chain(prefix.iter_mut()).zip(hash.iter()).for_each(|(to, from)| *to = *from);
    (Zeroizing::new(Scalar::from_bytes_mod_order(clamp_integer(*low))), prefix)
}

/// Fills `private` with seed and public key; gives the public key.
pub(in crate::crypto) fn ed25519_from_seed(seed: &[u8; 32], private: &mut [u8; 64]) -> [u8; 32] {
    let (secret, _) = expand(seed);
    let public = EdwardsPoint::mul_base(&secret).compress().0;
    private.iter_mut().zip(seed.iter().chain(&public)).for_each(|(to, from)| *to = *from);
    public
}

/// `private` is seed and public key.
pub(in crate::crypto) fn ed25519_sign(
    form: Form,
    private: &[u8; 64],
    message: &[u8],
    out: &mut [u8; 64],
) -> Result<()> {
    let (seed, public) = private.split_first_chunk::<32>().ok_or(Refused)?;
    let (domain, message) = domain(form, message)?;
    let (secret, prefix) = expand(seed);
    let nonce = Zeroizing::new(scalar(&domain, &[&*prefix, message]));
    let commitment = EdwardsPoint::mul_base(&nonce).compress();
    let challenge = scalar(&domain, &[&commitment.0, public, message]);
    let answer = *nonce + challenge * *secret;
    out.iter_mut().zip(commitment.0.iter().chain(answer.as_bytes())).for_each(|(to, from)| *to = *from);
    Ok(())
}

/// Without the cofactor; S must be below the order.
pub(in crate::crypto) fn ed25519_verify(
    form: Form,
    public: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<()> {
    let (domain, message) = domain(form, message)?;
    let (commitment, answer) = signature.split_first_chunk::<32>().ok_or(Refused)?;
    let answer = answer.try_into().map_err(|_| Refused)?;
    let answer = Scalar::from_canonical_bytes(answer).into_option().ok_or(Refused)?;
    let key = CompressedEdwardsY(*public).decompress().ok_or(Refused)?;
    // Neither a sign where x is 0 nor a y that is not below the prime is an encoding (RFC 8032, 5.1.3); the crate takes both.
    if key.compress().0 != *public {
        return Err(Refused);
    }
    let challenge = scalar(&domain, &[commitment, public, message]);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&challenge, &-key, &answer);
    if expected.compress().0 == *commitment { Ok(()) } else { Err(Refused) }
}

pub(in crate::crypto) fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(*private).0
}

/// Refused where the shared value is all zero: the peer's value is of small order (RFC 7748, 6.1).
pub(in crate::crypto) fn x25519(private: &[u8; 32], peer: &[u8; 32], out: &mut [u8; 32]) -> Result<()> {
    *out = MontgomeryPoint(*peer).mul_clamped(*private).0;
    if bool::from(out.ct_eq(&[0; 32])) { Err(Refused) } else { Ok(()) }
}
