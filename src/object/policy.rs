//! The policy as a slot file keeps it: a public object that the security officer signs.

use cryptoki_sys::*;

use super::build::{self, Given, Maker, Origin};
use super::{Attributes, codec};
use crate::crypto::ed25519::{PublicKey, Scheme};
use crate::error::{Code, Error, Result};
use crate::lifecycle::Policy;
use crate::store::{Change, Keys, SlotFile};
use crate::token::*;

/// The policy in force; `None`: there is none. `CKR_DEVICE_ERROR` where it was altered.
pub fn in_force(file: &SlotFile) -> Result<Option<SignedPolicy>> {
    let public = file.public_keys()?;
    match kept(file, &public)? {
        Some((_, attributes)) => checked(file, &attributes).map(Some),
        None => Ok(None),
    }
}

/// Signs a policy with the security officer's keys and puts it in the place of the present one, whose row is returned.
/// `public`: the keys under which it is kept. `CKR_ARGUMENTS_BAD` for a policy that is broken, and those of writing.
pub fn sign(file: &SlotFile, keys: &Keys, officer: &Keys, text: &str, at: u64) -> Result<Option<u64>> {
    Policy::parse(text)?;
    let public = file.public_keys()?;
    let before = kept(file, &public)?;
    let number = before.as_ref().and_then(|(_, policy)| policy.ulong(CKA_KEYWARD_POLICY_NUMBER)).unwrap_or(0);
    let number = number.checked_add(1).ok_or(Code::DeviceMemory)?;
    let (key, signature) = officer.sign_as_officer(&SignedPolicy::message(&file.header()?.uuid, number, at, text))?;
    let template = vec![
        Attribute::bool(CKA_TOKEN, true),
        Attribute::bytes(CKA_VALUE, text.as_bytes()),
        Attribute::ulong(CKA_KEYWARD_POLICY_NUMBER, number),
        Attribute::ulong(CKA_KEYWARD_STATE_DATE, at),
        Attribute::bytes(CKA_KEYWARD_POLICY_KEY, &key),
        Attribute::bytes(CKA_KEYWARD_POLICY_SIGNATURE, &signature),
    ];
    let class = Some(CKO_KEYWARD_POLICY);
    let made = build::make(Origin::Token, &Maker::default(), class, None, template, Given::default())?;
    let row = before.map(|(row, _)| row);
    let mut changes: Vec<Change> = row.iter().map(|id| Change::Delete { id: *id }).collect();
    let index = [CKA_UNIQUE_ID, CKA_CLASS].into_iter().filter_map(|ty| Some((ty, made.bytes(ty)?.to_vec())));
    changes.push(Change::Insert {
        private: false,
        attrs: codec::encode(&made).expose().clone(),
        secret: None,
        index: index.collect(),
    });
    file.commit(keys, changes)?;
    Ok(row)
}

fn kept(file: &SlotFile, public: &Keys) -> Result<Option<(u64, Attributes)>> {
    let class = CKO_KEYWARD_POLICY.to_ne_bytes();
    let found = file.find(public, &[(CKA_CLASS, &class)], 0, 2)?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => {
            let Some(record) = file.read(public, one.id)? else { return Ok(None) };
            Ok(Some((one.id, codec::decode(&record.attrs)?)))
        }
        _ => Err(altered("there are two")),
    }
}

fn altered(how: &str) -> Error {
    Code::DeviceError.because(format!(
        "the token's policy was altered ({how}): the security officer applies it anew with `keyward policy apply`"
    ))
}

/// The policy of an object, its signature checked.
fn checked(file: &SlotFile, attributes: &Attributes) -> Result<SignedPolicy> {
    let policy = parts(attributes).ok_or_else(|| altered("it lacks a part"))?;
    let message = SignedPolicy::message(&file.header()?.uuid, policy.number, policy.at, &policy.text);
    let valid = PublicKey::new(&policy.key).and_then(|key| key.verify(Scheme::Pure, &message, &policy.signature));
    valid.map_err(|_| altered("its signature is wrong"))?;
    Ok(policy)
}

fn parts(attributes: &Attributes) -> Option<SignedPolicy> {
    Some(SignedPolicy {
        text: String::from_utf8(attributes.bytes(CKA_VALUE)?.to_vec()).ok()?,
        number: attributes.ulong(CKA_KEYWARD_POLICY_NUMBER)?,
        at: attributes.ulong(CKA_KEYWARD_STATE_DATE)?,
        key: attributes.bytes(CKA_KEYWARD_POLICY_KEY)?.to_vec(),
        signature: attributes.bytes(CKA_KEYWARD_POLICY_SIGNATURE)?.to_vec(),
    })
}
