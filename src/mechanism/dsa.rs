//! DSA (PKCS#11 3.2, DSA): for what exists already. Legacy, all of it.

use std::sync::Arc;

use cryptoki_sys::*;

use super::finite_attributes::{group, parameters};
use super::key::Key;
use super::signing::{self, Scheme};
use super::table::{Does, NOTHING, Offer, Pair, ParamKind, Row};
use crate::crypto::finite::{MAX_DSA_BITS, MIN_BITS, generate_dsa_parameters};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::token::{Attribute, Operation, Params, Use};

pub const ROWS: &[Row] = &[
    Row {
        flags: CKF_GENERATE_KEY_PAIR,
        does: Does { generate_pair: Some(generate_pair), ..NOTHING },
        ..row(CKM_DSA_KEY_PAIR_GEN, "CKM_DSA_KEY_PAIR_GEN")
    },
    Row {
        flags: CKF_GENERATE,
        does: Does { generate: Some(generate_parameters), generates: CKO_DOMAIN_PARAMETERS, ..NOTHING },
        ..row(CKM_DSA_PARAMETER_GEN, "CKM_DSA_PARAMETER_GEN")
    },
    signs(CKM_DSA, "CKM_DSA", None),
    signs(CKM_DSA_SHA1, "CKM_DSA_SHA1", Some(CKM_SHA_1)),
    signs(CKM_DSA_SHA224, "CKM_DSA_SHA224", Some(CKM_SHA224)),
    signs(CKM_DSA_SHA256, "CKM_DSA_SHA256", Some(CKM_SHA256)),
    signs(CKM_DSA_SHA384, "CKM_DSA_SHA384", Some(CKM_SHA384)),
    signs(CKM_DSA_SHA512, "CKM_DSA_SHA512", Some(CKM_SHA512)),
    signs(CKM_DSA_SHA3_224, "CKM_DSA_SHA3_224", Some(CKM_SHA3_224)),
    signs(CKM_DSA_SHA3_256, "CKM_DSA_SHA3_256", Some(CKM_SHA3_256)),
    signs(CKM_DSA_SHA3_384, "CKM_DSA_SHA3_384", Some(CKM_SHA3_384)),
    signs(CKM_DSA_SHA3_512, "CKM_DSA_SHA3_512", Some(CKM_SHA3_512)),
];

/// What all rows share; sizes are those of the prime, in bits.
const fn row(ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
    Row {
        ty,
        name,
        keys: &[CKK_DSA],
        size: (MIN_BITS as u64, MAX_DSA_BITS as u64),
        flags: 0,
        params: ParamKind::None,
        offer: Offer::Legacy,
        approved: false,
        hash: None,
        does: NOTHING,
    }
}

const fn signs(ty: CK_MECHANISM_TYPE, name: &'static str, hash: Option<CK_MECHANISM_TYPE>) -> Row {
    Row { flags: CKF_SIGN | CKF_VERIFY, hash, does: Does { begin: Some(begin), ..NOTHING }, ..row(ty, name) }
}

/// `CKR_TEMPLATE_INCOMPLETE` without the parameters, `CKR_DOMAIN_PARAMS_INVALID` where they are none of DSA.
fn generate_pair(_: &'static Row, _: &Params, public: &Attributes, _: &Attributes) -> Result<Pair> {
    let group = group(public).map_err(|error| match error.code() {
        Code::AttributeValueInvalid => error.recode(Code::DomainParamsInvalid),
        _ => error,
    })?;
    let value = group.generate(None)?;
    let mut own = parameters(public)?;
    own.push(Attribute::bytes(CKA_VALUE, value.expose()));
    Ok(Pair { public: vec![Attribute::bytes(CKA_VALUE, &group.public(value.expose())?)], private: own })
}

/// `CKR_TEMPLATE_INCOMPLETE` without `CKA_PRIME_BITS`, `CKR_ATTRIBUTE_VALUE_INVALID` where it is out of range.
fn generate_parameters(_: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    template.get(CKA_PRIME_BITS).ok_or(Code::TemplateIncomplete)?;
    let bits = template.ulong(CKA_PRIME_BITS).and_then(|bits| usize::try_from(bits).ok());
    let numbers = generate_dsa_parameters(bits.ok_or(Code::AttributeValueInvalid)?)?;
    let places = [CKA_PRIME, CKA_SUBPRIME, CKA_BASE];
    Ok(places.into_iter().zip(&numbers).map(|(ty, number)| Attribute::bytes(ty, number)).collect())
}

fn begin(row: &'static Row, what: Use, _: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key.ok_or(Code::KeyHandleInvalid)?;
    let private = key.dsa()?.is_private();
    match what {
        Use::Sign if private => {}
        Use::Verify | Use::VerifySignature if !private => {}
        Use::Sign | Use::Verify | Use::VerifySignature => return Err(Code::KeyTypeInconsistent.into()),
        _ => return Err(Code::KeyFunctionNotPermitted.into()),
    }
    signing::begin(row, Dsa { key: key.clone(), any_digest: row.hash.is_some() })
}

/// The lengths in bytes of what `CKM_DSA` signs: those of the digests.
const DIGESTS: [usize; 5] = [20, 28, 32, 48, 64];

struct Dsa {
    key: Arc<Key>,
    any_digest: bool,
}

impl Dsa {
    fn check(&self, input: &[u8]) -> Result<()> {
        if self.any_digest || DIGESTS.contains(&input.len()) { Ok(()) } else { Err(Code::DataLenRange.into()) }
    }
}

impl Scheme for Dsa {
    fn signature_len(&self) -> Result<usize> {
        Ok(self.key.dsa()?.signature_len())
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.check(input)?;
        self.key.dsa()?.sign(input, out)
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        self.check(input)?;
        self.key.dsa()?.verify(input, signature)
    }
}

#[cfg(test)]
mod tests;
