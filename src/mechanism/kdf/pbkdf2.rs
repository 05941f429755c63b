//! PBKDF2 (PKCS#11 3.2, "PKCS #5 PBKDF2 key generation"; RFC 8018).

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::super::generic::MAX_SECRET;
use super::super::table::{Does, NOTHING, ParamKind, Row};
use super::derivation;
use crate::crypto::digest::Digest;
use crate::crypto::hmac::HmacKey;
use crate::crypto::kdf::pbkdf2;
use crate::error::{Code, Result};
use crate::object::{Attributes, build};
use crate::token::{Attribute, Params, Value};

pub const ROWS: &[Row] = &[Row {
    flags: CKF_GENERATE,
    does: Does { generate: Some(generate), ..NOTHING },
    ..derivation(CKM_PKCS5_PBKD2, "CKM_PKCS5_PBKD2", ParamKind::Pbkdf2)
}];

/// `CKR_MECHANISM_PARAM_INVALID`; `CKR_TEMPLATE_INCOMPLETE` without a length; `CKR_KEY_SIZE_RANGE`.
fn generate(_: &'static Row, params: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    let Params::Pbkdf2(params) = params else { return Err(Code::MechanismParamInvalid.into()) };
    if params.iterations == 0 {
        return Err(Code::MechanismParamInvalid.because("PBKDF2 iterates at least once"));
    }
    let stated = template.get(CKA_VALUE_LEN).map(|_| {
        let len = template.ulong(CKA_VALUE_LEN).and_then(|len| usize::try_from(len).ok());
        len.filter(|len| (1..=MAX_SECRET).contains(len)).ok_or(Code::AttributeValueInvalid)
    });
    let length = stated.transpose()?.or_else(|| build::fixed_length(template)).ok_or(Code::TemplateIncomplete)?;
    let key = HmacKey::new(of_prf(params.prf)?, &params.password.0);
    let mut value = Zeroizing::new(vec![0; length]);
    pbkdf2(&key, &params.salt, params.iterations, &mut value);
    Ok(vec![Attribute { ty: CKA_VALUE, value: Value::Bytes(value) }])
}

fn of_prf(prf: CK_PKCS5_PBKD2_PSEUDO_RANDOM_FUNCTION_TYPE) -> Result<Digest> {
    Ok(match prf {
        CKP_PKCS5_PBKD2_HMAC_SHA1 => Digest::Sha1,
        CKP_PKCS5_PBKD2_HMAC_SHA224 => Digest::Sha224,
        CKP_PKCS5_PBKD2_HMAC_SHA256 => Digest::Sha256,
        CKP_PKCS5_PBKD2_HMAC_SHA384 => Digest::Sha384,
        CKP_PKCS5_PBKD2_HMAC_SHA512 => Digest::Sha512,
        CKP_PKCS5_PBKD2_HMAC_SHA512_224 => Digest::Sha512_224,
        CKP_PKCS5_PBKD2_HMAC_SHA512_256 => Digest::Sha512_256,
        _ => return Err(Code::MechanismParamInvalid.into()),
    })
}
