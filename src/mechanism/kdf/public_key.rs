//! The public key of a private key (PKCS#11 3.2, Public key from private key).

use cryptoki_sys::*;

use super::super::key;
use super::super::plan::{Base, Plan, Request, Wanted, fill};
use super::super::table::{Derivation, Does, Made, NOTHING, ParamKind, Row};
use super::derivation;
use crate::error::{Code, Result};
use crate::token::{Attribute, Value};

pub const ROWS: &[Row] = &[Row {
    keys: &[
        CKK_RSA,
        CKK_DSA,
        CKK_DH,
        CKK_X9_42_DH,
        CKK_EC,
        CKK_EC_EDWARDS,
        CKK_EC_MONTGOMERY,
        CKK_ML_KEM,
        CKK_ML_DSA,
        CKK_SLH_DSA,
    ],
    size: (0, 0),
    does: Does { derive_all: Some(derive), base: Base::PrivateKey, plan, ..NOTHING },
    ..derivation(CKM_PUB_KEY_FROM_PRIV_KEY, "CKM_PUB_KEY_FROM_PRIV_KEY", ParamKind::None)
}];

/// What the public key takes over, and from which attribute of the private key, unless the template says otherwise.
const TAKEN: [(CK_ATTRIBUTE_TYPE, CK_ATTRIBUTE_TYPE); 11] = [
    (CKA_ENCRYPT, CKA_DECRYPT),
    (CKA_VERIFY, CKA_SIGN),
    (CKA_VERIFY_RECOVER, CKA_SIGN_RECOVER),
    (CKA_WRAP, CKA_UNWRAP),
    (CKA_ENCAPSULATE, CKA_DECAPSULATE),
    (CKA_DERIVE, CKA_DERIVE),
    (CKA_ID, CKA_ID),
    (CKA_START_DATE, CKA_START_DATE),
    (CKA_END_DATE, CKA_END_DATE),
    (CKA_SUBJECT, CKA_SUBJECT),
    (CKA_ALLOWED_MECHANISMS, CKA_ALLOWED_MECHANISMS),
];

fn plan(request: Request<'_>) -> Result<Plan> {
    let mut template = request.template;
    for (ty, from) in TAKEN {
        if let Some(Value::Bytes(value)) = request.base.get(from) {
            fill(&mut template, Attribute::bytes(ty, value));
        }
    }
    let key_type = request.base.ulong(CKA_KEY_TYPE).ok_or(Code::KeyTypeInconsistent)?;
    Ok(Plan::one(Wanted { class: CKO_PUBLIC_KEY, key_type: Some(key_type), template, length: None }))
}

/// `CKR_KEY_TYPE_INCONSISTENT` for a key type without cryptography here.
fn derive(from: &Derivation<'_>) -> Result<Made> {
    let whole = (from.attributes)()?;
    let mut own = key::public_of(&whole)?;
    own.push(Attribute::bytes(CKA_PUBLIC_KEY_INFO, &key::public_key_info(&whole)?));
    if let Some(generated_by) = whole.ulong(CKA_KEY_GEN_MECHANISM) {
        own.push(Attribute::ulong(CKA_KEY_GEN_MECHANISM, generated_by));
    }
    Ok(Made { objects: vec![own], bytes: Vec::new() })
}
