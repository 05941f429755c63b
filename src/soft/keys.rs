//! Keys that come of chance.

use cryptoki_sys::*;

use super::Soft;
use super::manage::may_keep;
use crate::error::{Code, Result};
use crate::mechanism::key;
use crate::mechanism::plan::said;
use crate::mechanism::table::Row;
use crate::object::Attributes;
use crate::object::build::{self, Draft, Given, Origin};
use crate::token::{Attribute, Caller, Mechanism, ObjectId, Value};

impl Soft {
    pub(super) fn generate_secret(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let row = self.row_for(mechanism, CKF_GENERATE)?;
        let view = self.view()?;
        let key_type = key_type(row, &template)?;
        let draft = build::draft(Origin::Generate, &view.maker(), Some(row.does.generates), Some(key_type), template)?;
        may_keep(&view, caller, &draft)?;
        self.environment.approve(row, CKF_GENERATE, &mechanism.params, draft.attributes())?;
        let own = row.does.generate.ok_or(Code::MechanismInvalid)?(row, &mechanism.params, draft.attributes())?;
        self.keep_made(&view, caller, draft.finish(generated(row, own))?)
    }

    pub(super) fn generate_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)> {
        let row = self.row_for(mechanism, CKF_GENERATE_KEY_PAIR)?;
        let view = self.view()?;
        let draft = |class, template: Vec<Attribute>| {
            let key_type = key_type(row, &template)?;
            let draft = build::draft(Origin::Generate, &view.maker(), Some(class), Some(key_type), template)?;
            may_keep(&view, caller, &draft).map(|()| draft)
        };
        let public = draft(CKO_PUBLIC_KEY, public)?;
        let private = draft(CKO_PRIVATE_KEY, private)?;
        self.environment.approve(row, CKF_GENERATE_KEY_PAIR, &mechanism.params, public.attributes())?;
        let generate = row.does.generate_pair.ok_or(Code::MechanismInvalid)?;
        let mut pair = generate(row, &mechanism.params, public.attributes(), private.attributes())?;
        let info = public_key_info(&public, &pair.public)?;
        pair.public.push(info.clone());
        pair.private.push(info);
        let mut public = public.finish(generated(row, pair.public))?;
        let mut private = private.finish(generated(row, pair.private))?;
        self.environment.mark(&mut public);
        self.environment.mark(&mut private);
        match self.keep(&view, caller, &[public, private])?[..] {
            [public, private] => Ok((public, private)),
            _ => Err(Code::GeneralError.into()),
        }
    }

    /// The row of a mechanism that has this `CKF_`; `CKR_MECHANISM_INVALID`.
    pub(super) fn row_for(&self, mechanism: &Mechanism, flag: CK_FLAGS) -> Result<&'static Row> {
        let row = self.environment.row(mechanism.ty)?;
        if row.flags & flag == 0 { Err(Code::MechanismInvalid.into()) } else { Ok(row) }
    }
}

/// The key type to generate: the template's, where the mechanism makes such keys, else the mechanism's first.
fn key_type(row: &Row, template: &[Attribute]) -> Result<CK_KEY_TYPE> {
    match said(template, CKA_KEY_TYPE)? {
        None => Ok(*row.keys.first().ok_or(Code::MechanismInvalid)?),
        Some(ty) if row.keys.contains(&ty) => Ok(ty),
        Some(_) => Err(Code::TemplateInconsistent.because(format!("{} makes keys of another type", row.name))),
    }
}

fn generated(row: &Row, own: Vec<Attribute>) -> Given {
    Given { attributes: own, mechanism: Some(row.ty), heritage: None }
}

/// `CKA_PUBLIC_KEY_INFO` of a pair just made.
fn public_key_info(draft: &Draft, own: &[Attribute]) -> Result<Attribute> {
    let mut whole = draft.attributes().clone();
    own.iter().cloned().for_each(|attribute| whole.put(attribute));
    Ok(Attribute::bytes(CKA_PUBLIC_KEY_INFO, &key::public_key_info(&whole)?))
}

/// The caller's template with the one that the key in use imposes.
pub(super) fn imposed(key: &Attributes, which: CK_ATTRIBUTE_TYPE, template: Vec<Attribute>) -> Result<Vec<Attribute>> {
    match key.get(which) {
        Some(Value::Template(more)) => build::impose(template, more),
        _ => Ok(template),
    }
}

/// Bytes of the secret key wanted: `CKA_VALUE_LEN`, or what its type says; `None`: neither does.
pub(super) fn value_length(wanted: &Attributes) -> Option<usize> {
    let stated = wanted.ulong(CKA_VALUE_LEN).and_then(|len| usize::try_from(len).ok());
    stated.or_else(|| build::fixed_length(wanted))
}
