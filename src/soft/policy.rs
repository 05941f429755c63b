//! The policy of the token, which searches that do not name its class do not show.

use std::sync::Arc;

use super::Soft;
use super::handle::{self, Number, Place};
use crate::error::Result;
use crate::object::policy;
use crate::token::{ObjectId, SignedPolicy};

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
        let read = policy::in_force(&view.file)?;
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

    /// `CKR_USER_NOT_LOGGED_IN` but for the security officer; `CKR_ARGUMENTS_BAD` for a policy that is broken.
    pub(super) fn sign_policy(&self, text: &str, at: u64) -> Result<()> {
        let view = self.view()?;
        let officer = self.officer_keys()?;
        if let Some(number) = policy::sign(&view.file, &view.keys, &officer, text, at)? {
            self.objects.remove(Number { place: Place::Token, number });
        }
        self.changed();
        Ok(())
    }
}
