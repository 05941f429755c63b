//! `mechanisms = "approved"` on a slot that leads to an HSM: the same conditions as for our own keys, asked of what the HSM says of
//! its key. A condition that the HSM leaves without an answer is not kept.

use cryptoki_sys::*;

use super::Forward;
use super::hsm::Hsm;
use crate::error::{Code, Result};
use crate::mechanism::approved;
use crate::mechanism::table::{self, Row, flag_of};
use crate::object::Attributes;
use crate::token::*;

/// What the conditions are about. All of them stay as they are while the key exists, so that an HSM is asked once.
const ASKED: [CK_ATTRIBUTE_TYPE; 6] =
    [CKA_CLASS, CKA_KEY_TYPE, CKA_MODULUS_BITS, CKA_MODULUS, CKA_EC_PARAMS, CKA_VALUE_LEN];

impl Forward {
    /// Whether the slot offers this use (`CKF_`) of a key, or of none. `CKR_MECHANISM_INVALID`, `CKR_OPERATION_NOT_VALIDATED`.
    pub(super) fn allows(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        usage: CK_FLAGS,
        key: Option<ObjectId>,
    ) -> Result<()> {
        self.offers(mechanism)?;
        let Some(row) = self.judged(mechanism)? else { return Ok(()) };
        let known = match key {
            None => Attributes::new(),
            Some(key) => match self.known(caller, key) {
                // The HSM will say so, by the code of the function.
                Err(error) if error.code() == Code::ObjectHandleInvalid => return Ok(()),
                known => known?,
            },
        };
        approved::check(row, usage, &mechanism.params, &known)
    }

    /// The same for a key that is made of a template.
    pub(super) fn allows_making(&self, mechanism: &Mechanism, usage: CK_FLAGS, template: &[Attribute]) -> Result<()> {
        self.offers(mechanism)?;
        let Some(row) = self.judged(mechanism)? else { return Ok(()) };
        let mut wanted: Attributes = template.iter().cloned().collect();
        if let (None, Some(ty)) = (wanted.ulong(CKA_KEY_TYPE), row.keys.first()) {
            wanted.put(Attribute::ulong(CKA_KEY_TYPE, *ty));
        }
        approved::check(row, usage, &mechanism.params, &wanted)
    }

    /// The row by which it is judged; `None` outside of the mode, and for what the configuration lets pass by number.
    fn judged(&self, mechanism: &Mechanism) -> Result<Option<&'static Row>> {
        let filter = &self.hsm.filter;
        let judged = filter.approved_only() && !filter.opaque(mechanism.ty);
        judged.then(|| table::row(mechanism.ty)).transpose()
    }

    fn known(&self, caller: Caller, key: ObjectId) -> Result<Attributes> {
        let answers = self.get(caller, key, &ASKED)?;
        let told = ASKED.into_iter().zip(answers).filter_map(|(ty, answer)| match answer {
            Answer::Value(value) => Some(Attribute { ty, value }),
            _ => None,
        });
        let mut known: Attributes = told.collect();
        let untold = known.ulong(CKA_CLASS) == Some(CKO_SECRET_KEY) && known.ulong(CKA_VALUE_LEN).is_none();
        if untold && !has_one_length(&known) {
            known.put(Attribute::ulong(CKA_VALUE_LEN, 0));
        }
        Ok(known)
    }
}

impl Hsm {
    /// Whether a message may have these parameters. `CKR_OPERATION_NOT_VALIDATED`.
    pub(super) fn allows_message(&self, ty: CK_MECHANISM_TYPE, what: Use, message: &MessageParams) -> Result<()> {
        match self.filter.approved_only() && !self.filter.opaque(ty) {
            true => approved::check_message(ty, flag_of(what), message),
            false => Ok(()),
        }
    }
}

/// Whether keys of this type have no `CKA_VALUE_LEN`, since all are of one length.
fn has_one_length(key: &Attributes) -> bool {
    matches!(key.ulong(CKA_KEY_TYPE), Some(CKK_DES | CKK_DES2 | CKK_DES3 | CKK_SEED | CKK_CHACHA20 | CKK_POLY1305))
}
