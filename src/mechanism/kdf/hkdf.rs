//! HKDF (PKCS#11 3.2, HKDF Mechanisms; RFC 5869).

use cryptoki_sys::*;

use super::super::digest::of_hash;
use super::super::generic::{MAX_SECRET, generate_any_length};
use super::super::plan::{Base, Plan, Request, Wanted, said};
use super::super::table::{Derivation, Does, NOTHING, ParamKind, Row};
use super::{base, derivation, others};
use crate::crypto::kdf::{hkdf_expand, hkdf_extract};
use crate::error::{Code, Result};
use crate::secret::SecretBytes;
use crate::token::{Attribute, HkdfParams, HkdfSalt, Params};

const DERIVES: Does = Does { derive: Some(derive), base: Base::KeyOrData, plan: plan_key, ..NOTHING };

pub const ROWS: &[Row] = &[
    Row { does: DERIVES, ..row(CKM_HKDF_DERIVE, "CKM_HKDF_DERIVE") },
    Row { does: Does { plan: plan_data, ..DERIVES }, ..row(CKM_HKDF_DATA, "CKM_HKDF_DATA") },
    Row {
        keys: &[CKK_HKDF],
        flags: CKF_GENERATE,
        params: ParamKind::None,
        does: Does { generate: Some(generate_any_length), ..NOTHING },
        ..row(CKM_HKDF_KEY_GEN, "CKM_HKDF_KEY_GEN")
    },
];

const fn row(ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
    Row {
        keys: &[CKK_HKDF, CKK_GENERIC_SECRET],
        size: (1, MAX_SECRET as CK_ULONG),
        ..derivation(ty, name, ParamKind::Hkdf)
    }
}

fn params(params: &Params) -> Result<&HkdfParams> {
    match params {
        Params::Hkdf(params) if params.extract || params.expand => Ok(params),
        _ => Err(Code::MechanismParamInvalid.because("HKDF must extract, expand, or both")),
    }
}

fn plan_key(request: Request<'_>) -> Result<Plan> {
    check_data(&request)?;
    Wanted::secret(request.template).map(Plan::one)
}

/// A data object has no `CKA_VALUE_LEN`: the template's says the length of its value.
fn plan_data(request: Request<'_>) -> Result<Plan> {
    check_data(&request)?;
    let mut template: Vec<Attribute> = request.template;
    let length = said(&template, CKA_VALUE_LEN)?;
    template.retain(|attribute| attribute.ty != CKA_VALUE_LEN);
    let length = length.map(usize::try_from).transpose().map_err(|_| Code::AttributeValueInvalid)?;
    Ok(Plan::one(Wanted { class: CKO_DATA, key_type: None, template, length }))
}

/// A data object as the base is as long as the hash, and extracted from with a salt (PKCS#11 3.2, HKDF derive).
fn check_data(request: &Request<'_>) -> Result<()> {
    let params = params(request.params)?;
    if request.base.ulong(CKA_CLASS) != Some(CKO_DATA) {
        return Ok(());
    }
    if !params.extract || params.salt == HkdfSalt::None {
        return Err(Code::MechanismParamInvalid.because("a data object is extracted from, with a salt"));
    }
    let found = request.base.bytes(CKA_VALUE).map_or(0, <[u8]>::len);
    if found != of_hash(params.hash)?.len() {
        return Err(Code::KeySizeRange.because(format!("a data object of {found} bytes is not as long as the hash")));
    }
    Ok(())
}

/// `CKR_MECHANISM_PARAM_INVALID` for an unknown hash; `CKR_TEMPLATE_INCOMPLETE` where it expands to no known length;
/// `CKR_KEY_SIZE_RANGE` for more than 255 digests, and for an extracted key of another length than the digest.
fn derive(from: &Derivation<'_>) -> Result<SecretBytes> {
    let HkdfParams { extract, expand, hash, salt, info } = params(from.params)?;
    let digest = of_hash(*hash)?;
    let extracted = if *extract {
        let salt = match salt {
            HkdfSalt::None => &[][..],
            HkdfSalt::Data(salt) => salt,
            HkdfSalt::Key(_) => others(from)?.first().copied().ok_or(Code::GeneralError)?,
        };
        Some(hkdf_extract(digest, salt, base(from)?))
    } else {
        None
    };
    let key = extracted.as_deref().map_or_else(|| base(from), Ok)?;
    if !expand {
        return match from.length {
            Some(length) if length != digest.len() => Err(Code::KeySizeRange.into()),
            _ => Ok(SecretBytes::copy_from(key)),
        };
    }
    let length = from.length.ok_or(Code::TemplateIncomplete)?;
    if !(1..=MAX_SECRET).contains(&length) {
        return Err(Code::KeySizeRange.into());
    }
    let mut out = SecretBytes::zeroed(length);
    hkdf_expand(digest, key, info, out.expose_mut())?;
    Ok(out)
}
