//! IKE (PKCS#11 3.2, IKE Mechanisms; RFC 2409, RFC 7296).

use cryptoki_sys::*;

use super::super::generic::{MAX_SECRET, leading};
use super::super::plan::{Plan, Request, Wanted, said};
use super::super::prf::{key_type_of, of_any_key, of_mechanism};
use super::super::secret_key::SecretKey;
use super::super::table::{Derivation, Derive, Does, MakePlan, NOTHING, ParamKind, Row};
use super::{base, derivation, others};
use crate::crypto::kdf::counted;
use crate::crypto::prf::Prf;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;
use crate::token::{Ike1PrfParams, IkeExpandParams, IkePrfParams, Params};

pub const ROWS: &[Row] = &[
    row(CKM_IKE2_PRF_PLUS_DERIVE, "CKM_IKE2_PRF_PLUS_DERIVE", ParamKind::Ike2PrfPlus, plan_long, prf_plus),
    row(CKM_IKE_PRF_DERIVE, "CKM_IKE_PRF_DERIVE", ParamKind::IkePrf, plan_first, first),
    row(CKM_IKE1_PRF_DERIVE, "CKM_IKE1_PRF_DERIVE", ParamKind::Ike1Prf, plan_typed, further),
    row(CKM_IKE1_EXTENDED_DERIVE, "CKM_IKE1_EXTENDED_DERIVE", ParamKind::Ike1Extended, plan_long, extended),
];

const fn row(ty: CK_MECHANISM_TYPE, name: &'static str, params: ParamKind, plan: MakePlan, derive: Derive) -> Row {
    Row { does: Does { derive: Some(derive), plan, ..NOTHING }, ..derivation(ty, name, params) }
}

/// Without another word the key is one of the PRF.
fn plan_first(request: Request<'_>) -> Result<Plan> {
    let Params::IkePrf(params) = request.params else { return Err(Code::MechanismParamInvalid.into()) };
    Wanted::secret_of(request.template, key_type_of(params.prf)?).map(Plan::one)
}

fn plan_typed(request: Request<'_>) -> Result<Plan> {
    said(&request.template, CKA_KEY_TYPE)?.ok_or(Code::TemplateIncomplete)?;
    Wanted::secret(request.template).map(Plan::one)
}

fn plan_long(request: Request<'_>) -> Result<Plan> {
    said(&request.template, CKA_VALUE_LEN)?.ok_or(Code::TemplateIncomplete)?;
    Wanted::secret(request.template).map(Plan::one)
}

fn prf_of(mechanism: CK_MECHANISM_TYPE, from: &Derivation<'_>) -> Result<Prf> {
    of_mechanism(mechanism, SecretKey::of(Some(from.base))?)
}

/// SKEYID, SKEYSEED: one value of the PRF. `CKR_ARGUMENTS_BAD` for a rekeying with the nonces as key,
/// `CKR_KEY_SIZE_RANGE` for another length than the value's.
fn first(from: &Derivation<'_>) -> Result<SecretBytes> {
    let Params::IkePrf(params) = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    let IkePrfParams { prf, data_as_key, new_key, initiator, responder } = &**params;
    let value = match (data_as_key, new_key) {
        (true, Some(_)) => return Err(Code::ArgumentsBad.because("a rekeying has no use for the nonces as key")),
        (true, None) => {
            let nonces = SecretBytes::new([&**initiator, &**responder].concat());
            of_any_key(*prf, nonces)?.over(&[base(from)?])
        }
        (false, _) => {
            let new_key = others(from)?.first().copied().unwrap_or_default();
            prf_of(*prf, from)?.over(&[new_key, initiator, responder])
        }
    };
    match from.length {
        Some(length) if length != value.len() => Err(Code::KeySizeRange.into()),
        _ => Ok(SecretBytes::copy_from(&value)),
    }
}

/// SKEYID_d, _a and _e: one value, or its leading bytes. `CKR_KEY_SIZE_RANGE` for more.
fn further(from: &Derivation<'_>) -> Result<SecretBytes> {
    let Params::Ike1Prf(params) = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    let Ike1PrfParams { prf, shared: _, previous: _, initiator, responder, number } = &**params;
    let keys = others(from)?;
    let shared = keys.first().copied().ok_or(Code::GeneralError)?;
    let previous = keys.get(1).copied().unwrap_or_default();
    let value = prf_of(*prf, from)?.over(&[previous, shared, initiator, responder, &[*number]]);
    leading(&value, from.length)
}

/// The PRF, the optional key, the data, and the length of a long key. `CKR_KEY_SIZE_RANGE` for more than 255 values.
fn expansion<'a>(from: &Derivation<'a>) -> Result<(Prf, &'a [u8], &'a [u8], usize)> {
    let Params::IkeExpand(params) = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    let IkeExpandParams { prf, key: _, data } = &**params;
    let prf = prf_of(*prf, from)?;
    let length = from.length.ok_or(Code::TemplateIncomplete)?;
    if !(1..=MAX_SECRET.min(255 * prf.len())).contains(&length) {
        return Err(Code::KeySizeRange.into());
    }
    Ok((prf, others(from)?.first().copied().unwrap_or_default(), data, length))
}

/// RFC 7296, 2.13.
fn prf_plus(from: &Derivation<'_>) -> Result<SecretBytes> {
    let (prf, key, data, length) = expansion(from)?;
    let mut out = SecretBytes::zeroed(length);
    counted(&prf, &[key, data], out.expose_mut())?;
    Ok(out)
}

/// RFC 2409, appendix B and 5.5. A short key without anything mixed in is the base key's leading bytes. (The section of
/// PKCS#11 would have it so too where there is extra data: then every key of Quick Mode without PFS would be the same.)
fn extended(from: &Derivation<'_>) -> Result<SecretBytes> {
    let (prf, key, data, length) = expansion(from)?;
    let alone = key.is_empty() && data.is_empty();
    if alone && length <= prf.len() {
        return leading(base(from)?, Some(length));
    }
    let mut out = SecretBytes::zeroed(length);
    prf.fill(out.expose_mut(), |input, number, previous| {
        input.update(previous);
        input.update(key);
        input.update(data);
        if alone && number == 1 {
            input.update(&[0]);
        }
    });
    Ok(out)
}
