//! The stateful hash-based signatures: HSS, and the verification of XMSS and XMSS^MT (PKCS#11 3.2: HSS, XMSS and XMSS^MT).
//! (XMSS keys are not made here: RFC 8391 leaves the state to its holder, and SP 800-208 to hardware. HSS keys are, for
//! those who have nothing else: their state is spent durably, before each signature.)

use std::sync::Arc;

use cryptoki_sys::*;

use super::key::Key;
use super::signing::{self, Scheme};
use super::table::{Does, NOTHING, Offer, Pair, ParamKind, Row, Spending, Spent};
use super::tree_attributes::hss_numbers;
use crate::crypto::hss::{PrivateKey, PublicKey};
use crate::crypto::lms::Kind;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::object::row::numbers;
use crate::token::{Attribute, Operation, Params, Use};

/// `ulMinKeySize` and `ulMaxKeySize` are not used.
const HSS: Row = Row {
    ty: CKM_HSS,
    name: "CKM_HSS",
    keys: &[CKK_HSS],
    size: (0, 0),
    flags: CKF_SIGN | CKF_VERIFY,
    params: ParamKind::None,
    offer: Offer::On,
    approved: true,
    hash: None,
    does: Does { begin: Some(begin), spend: Some(Spending { size: signature_len, spend }), ..NOTHING },
};

const VERIFIES: Row = Row { flags: CKF_VERIFY, does: Does { begin: Some(begin), ..NOTHING }, ..HSS };

pub const ROWS: &[Row] = &[
    Row {
        ty: CKM_HSS_KEY_PAIR_GEN,
        name: "CKM_HSS_KEY_PAIR_GEN",
        flags: CKF_GENERATE_KEY_PAIR,
        // SP 800-208, section 7: key pairs are made, and sign, in hardware that never gives them away.
        approved: false,
        does: Does { generate_pair: Some(generate_pair), ..NOTHING },
        ..HSS
    },
    HSS,
    Row { ty: CKM_XMSS, name: "CKM_XMSS", keys: &[CKK_XMSS], ..VERIFIES },
    Row { ty: CKM_XMSSMT, name: "CKM_XMSSMT", keys: &[CKK_XMSSMT], ..VERIFIES },
];

/// The trees that a private key's template asks for. `CKR_TEMPLATE_INCOMPLETE`; `CKR_TEMPLATE_INCONSISTENT` where the lists
/// are not as long as `CKA_HSS_LEVELS` says; `CKR_ATTRIBUTE_VALUE_INVALID` for numbers of no sets, or not of one kind.
fn kinds(template: &Attributes) -> Result<Vec<Kind>> {
    let list =
        |ty| -> Result<Vec<CK_ULONG>> { Ok(numbers(template.bytes(ty).ok_or(Code::TemplateIncomplete)?).collect()) };
    let levels = template.ulong(CKA_HSS_LEVELS).ok_or(Code::TemplateIncomplete)?;
    let (trees, one_time) = (list(CKA_HSS_LMS_TYPES)?, list(CKA_HSS_LMOTS_TYPES)?);
    if [trees.len(), one_time.len()].iter().any(|len| *len as CK_ULONG != levels) {
        Err(Code::TemplateInconsistent.because("as many LMS and LM-OTS types as CKA_HSS_LEVELS says are needed"))?;
    }
    let kind = |(tree, one_time): (CK_ULONG, CK_ULONG)| {
        let kind = u32::try_from(tree).ok().zip(u32::try_from(one_time).ok());
        kind.and_then(|(tree, one_time)| Kind::new(tree, one_time)).ok_or_else(|| {
            Code::AttributeValueInvalid.because(format!(
                "LMS type {tree} with LM-OTS type {one_time}: both must be of SP 800-208 and of one hash function and length"
            ))
        })
    };
    trees.into_iter().zip(one_time).map(kind).collect()
}

/// Takes seconds for trees of height 15.
fn generate_pair(_: &'static Row, _: &Params, _: &Attributes, private: &Attributes) -> Result<Pair> {
    let key = PrivateKey::generate(&kinds(private)?)?;
    let value = key.public()?;
    let numbers = hss_numbers(&PublicKey::new(&value)?);
    let public = numbers.into_iter().chain([Attribute::bytes(CKA_VALUE, &value)]).collect();
    Ok(Pair { public, private: state(&key) })
}

/// The attributes that change with each signature.
fn state(key: &PrivateKey) -> Vec<Attribute> {
    let remaining = key.remaining().min(u32::MAX.into());
    vec![
        Attribute::bytes(CKA_VALUE, key.encode().expose()),
        Attribute::ulong(CKA_HSS_KEYS_REMAINING, remaining as CK_ULONG),
    ]
}

fn private_of(attributes: &Attributes) -> Result<PrivateKey> {
    PrivateKey::decode(attributes.bytes(CKA_VALUE).ok_or(Code::KeyTypeInconsistent)?)
}

fn signature_len(_: &'static Row, params: &Params, attributes: &Attributes) -> Result<usize> {
    match params {
        Params::None => Ok(private_of(attributes)?.signature_len()),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// `CKR_KEY_EXHAUSTED`
fn spend(_: &'static Row, _: &Params, attributes: &Attributes, _: &[u8]) -> Result<Spent> {
    let one = private_of(attributes)?.spend()?;
    Ok(Spent { attributes: state(one.state()), produce: Box::new(move |message| one.sign(message)) })
}

/// Verification. `CKR_KEY_TYPE_INCONSISTENT`, `CKR_MECHANISM_PARAM_INVALID`.
fn begin(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    if *params != Params::None {
        Err(Code::MechanismParamInvalid)?;
    }
    let key = key.ok_or(Code::KeyHandleInvalid)?.clone();
    match (what, &*key) {
        (Use::Verify, Key::HssPublic(_) | Key::XmssPublic(_)) => signing::begin(row, Verifier(key)),
        _ => Err(Code::KeyTypeInconsistent.into()),
    }
}

struct Verifier(Arc<Key>);

impl Scheme for Verifier {
    fn signature_len(&self) -> Result<usize> {
        Err(Code::KeyFunctionNotPermitted.into())
    }

    fn sign(&self, _: &[u8], _: &mut [u8]) -> Result<usize> {
        Err(Code::KeyFunctionNotPermitted.into())
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        match &*self.0 {
            Key::HssPublic(key) => key.verify(&[input], signature),
            Key::XmssPublic(key) => key.verify(&[input], signature),
            _ => Err(Code::KeyTypeInconsistent.into()),
        }
    }
}
