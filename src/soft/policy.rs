//! The policy of the token: a public object that the security officer signs, hidden from searches that do not name its class.

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::handle::{self, Number, Place};
use super::manage::insert;
use super::object::Object;
use crate::crypto::ed25519::{PublicKey, Scheme};
use crate::error::{Code, Error, Result};
use crate::lifecycle::Policy;
use crate::object::Attributes;
use crate::object::build::{self, Given, Maker, Origin};
use crate::store::Change;
use crate::token::*;

/// The policy as this process read it last.
#[derive(Default)]
pub struct Held {
    /// The epoch of the slot file at which that was so; 0: never.
    epoch: u64,
    policy: Option<Arc<SignedPolicy>>,
}

impl Soft {
    /// The policy in force. Cheap while the slot file does not change. `CKR_DEVICE_ERROR` where it was altered: then no
    /// key is used until the security officer applies one anew.
    pub(super) fn policy_in_force(&self) -> Result<Option<Arc<SignedPolicy>>> {
        let view = self.view()?;
        let epoch = view.file.epoch();
        {
            let held = self.policy.read();
            if held.epoch == epoch && epoch != 0 {
                return Ok(held.policy.clone());
            }
        }
        let object = self.policy_object(&view)?;
        let read = object.map(|object| checked(&view, &object.attributes)).transpose()?;
        let mut held = self.policy.write();
        // The same policy stays the same, so that whoever has looked it through need not do so again.
        if held.policy.as_deref() != read.as_ref() {
            held.policy = read.map(Arc::new);
        }
        held.epoch = epoch;
        Ok(held.policy.clone())
    }

    pub(super) fn spend_approvals(&self, approvals: &[([u8; 16], u64)], now: u64) -> Result<()> {
        self.view()?.file.spend(approvals, now)
    }

    pub(super) fn key_backed_up(&self, key: ObjectId) -> Result<bool> {
        let (at, _) = handle::decode(key);
        Ok(at.place == Place::Session || at.number <= self.view()?.file.backed_up()?)
    }

    fn policy_object(&self, view: &View) -> Result<Option<Arc<Object>>> {
        let public = view.file.public_keys()?;
        let class = CKO_KEYWARD_POLICY.to_ne_bytes();
        let found = view.file.find(&public, &[(CKA_CLASS, &class)], 0, 2)?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => self.object_at(view, Number { place: Place::Token, number: one.id }),
            _ => Err(altered("there are two")),
        }
    }

    /// `CKR_USER_NOT_LOGGED_IN` but for the security officer; `CKR_ARGUMENTS_BAD` for a policy that is broken.
    pub(super) fn sign_policy(&self, text: &str, at: u64) -> Result<()> {
        Policy::parse(text)?;
        let view = self.view()?;
        let officer = self.officer_keys()?;
        let before = self.policy_object(&view)?;
        let number = before.as_ref().and_then(|object| object.attributes.ulong(CKA_KEYWARD_POLICY_NUMBER)).unwrap_or(0);
        let number = number.checked_add(1).ok_or(Code::DeviceMemory)?;
        let message = SignedPolicy::message(&view.file.header()?.uuid, number, at, text);
        let (key, signature) = officer.sign_as_officer(&message)?;
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
        let mut changes: Vec<Change> = before.iter().map(|object| Change::Delete { id: object.at.number }).collect();
        changes.push(insert(&made));
        view.file.commit(&view.keys, changes)?;
        if let Some(object) = before {
            self.objects.remove(object.at);
        }
        self.changed();
        Ok(())
    }
}

fn altered(how: &str) -> Error {
    Code::DeviceError.because(format!(
        "the token's policy was altered ({how}): the security officer applies it anew with `keyward policy apply`"
    ))
}

/// The policy of an object, its signature checked.
fn checked(view: &View, attributes: &Attributes) -> Result<SignedPolicy> {
    let policy = parts(attributes).ok_or_else(|| altered("it lacks a part"))?;
    let message = SignedPolicy::message(&view.file.header()?.uuid, policy.number, policy.at, &policy.text);
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
