//! Keys that come of other keys: `C_DeriveKey`.

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::begin::permit;
use super::keys::{imposed, value_length};
use super::manage::may_keep;
use super::object::Object;
use crate::error::{Code, Error, Result};
use crate::mechanism::key::Key;
use crate::mechanism::plan::{Base, Plan, Request, Wanted};
use crate::mechanism::secret_key::SecretKey;
use crate::mechanism::table::{Derivation, Row};
use crate::object::Attributes;
use crate::object::build::{self, Draft, Given, Heritage, Origin};
use crate::secret::SecretBytes;
use crate::token::{Attribute, Caller, Derived, Mechanism, ObjectId, Params};

/// An object to make, its template judged.
struct Judged {
    draft: Draft,
    /// In bytes; `None`: the mechanism's rule.
    length: Option<usize>,
}

impl Soft {
    pub(super) fn derive_key(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived> {
        let row = self.row_for(mechanism, CKF_DERIVE)?;
        let params = &mechanism.params;
        let view = self.view()?;
        let base = self.base_object(&view, base, row)?;
        self.environment.approve(row, CKF_DERIVE, params, &base.attributes)?;
        let others = self.other_keys(&view, row, params)?;
        std::iter::once(&base).chain(&others).try_for_each(|key| view.may_use(key))?;
        let plan = plan(row, params, &base.attributes, template)?;
        let has_key = plan.key.is_some();
        let judged = judge(&view, caller, plan)?;
        let lengths: Vec<Option<usize>> = judged.iter().map(|judged| judged.length).collect();
        let (length, further) = match lengths.split_first() {
            Some((first, further)) if has_key => (*first, further),
            _ => (None, &*lengths),
        };
        let prepared = others.iter().map(|other| other.key(&view)).collect::<Result<Vec<_>>>()?;
        let made = row.does.derived(&Derivation {
            row,
            params,
            base: &base_key(&view, &base)?,
            attributes: &|| base.whole(&view),
            others: &prepared,
            length,
            further,
        })?;
        let parents: Vec<&Attributes> = std::iter::once(&base).chain(&others).map(|o| &o.attributes).collect();
        let mut objects = finish(judged, made.objects, (row.does.heritage)(&parents), has_key)?;
        objects.iter_mut().for_each(|made| self.environment.mark(made));
        let mut ids = self.keep(&view, caller, &objects)?.into_iter();
        let key = if has_key { ids.next() } else { None };
        Ok(Derived { key, further: ids.collect(), bytes: made.bytes })
    }

    /// What the derivation starts from, if the row takes it.
    fn base_object(&self, view: &View, id: ObjectId, row: &Row) -> Result<Arc<Object>> {
        if row.does.base == Base::KeyOrData
            && let Ok(object) = self.object(view, id)
            && object.class() == Some(CKO_DATA)
        {
            return Ok(object);
        }
        let object = self.key_object(view, id, Code::KeyHandleInvalid)?;
        match row.does.base {
            Base::PrivateKey if object.class() != Some(CKO_PRIVATE_KEY) => Err(Code::KeyTypeInconsistent.into()),
            // Its public half says nothing that a signature does not say.
            Base::PrivateKey => Ok(object),
            Base::Key | Base::KeyOrData => permit(&object, row, CKA_DERIVE, Code::KeyTypeInconsistent).map(|()| object),
        }
    }

    /// The keys among the parameters. They must be such as could be derived from, but for that of the simple derivations
    /// (`Params::Object`), of which the specification asks nothing.
    fn other_keys(&self, view: &View, row: &Row, params: &Params) -> Result<Vec<Arc<Object>>> {
        let find = |id: ObjectId| {
            let object = self.key_object(view, id, Code::KeyHandleInvalid)?;
            if matches!(params, Params::Object(_)) || object.attributes.is_true(CKA_DERIVE) {
                return Ok(object);
            }
            Err(Code::KeyFunctionNotPermitted
                .because(format!("a key among the parameters of {} lacks CKA_DERIVE", row.name)))
        };
        params.objects().into_iter().map(find).collect()
    }
}

fn plan(row: &'static Row, params: &Params, base: &Attributes, template: Vec<Attribute>) -> Result<Plan> {
    let imposed = |template: Vec<Attribute>| imposed(base, CKA_DERIVE_TEMPLATE, template);
    let further = params.templates().iter().enumerate();
    let further =
        further.map(|(at, template)| imposed(template.clone()).map_err(|e| e.of(at))).collect::<Result<Vec<_>>>()?;
    (row.does.plan)(Request { row, params, base, template: imposed(template)?, further })
}

/// An error of a further key says which; that of the key itself does not.
fn blamed(error: Error, at: usize, has_key: bool) -> Error {
    match at.checked_sub(usize::from(has_key)) {
        Some(further) => error.of(further),
        None => error,
    }
}

fn judge(view: &View, caller: Caller, plan: Plan) -> Result<Vec<Judged>> {
    let has_key = plan.key.is_some();
    let judge = |wanted: Wanted| {
        let Wanted { class, key_type, template, length } = wanted;
        let draft = build::draft(Origin::Derive, &view.maker(), Some(class), key_type, template)?;
        may_keep(view, caller, &draft)?;
        let length = length.or_else(|| value_length(draft.attributes()));
        Ok(Judged { draft, length })
    };
    let all = plan.key.into_iter().chain(plan.further).enumerate();
    all.map(|(at, wanted)| judge(wanted).map_err(|e| blamed(e, at, has_key))).collect()
}

fn finish(
    judged: Vec<Judged>,
    made: Vec<Vec<Attribute>>,
    heritage: Heritage,
    has_key: bool,
) -> Result<Vec<Attributes>> {
    if judged.len() != made.len() {
        return Err(Code::GeneralError.because("the mechanism made another number of objects than it planned"));
    }
    let finish = |(at, (judged, attributes)): (usize, (Judged, Vec<Attribute>))| {
        let given = Given { attributes, heritage: Some(heritage), ..Given::default() };
        judged.draft.finish(given).map_err(|e| blamed(e, at, has_key))
    };
    judged.into_iter().zip(made).enumerate().map(finish).collect()
}

/// The prepared key. A data object's value stands for a secret key's (PKCS#11 3.2, HKDF derive).
fn base_key(view: &View, base: &Object) -> Result<Arc<Key>> {
    if base.class() != Some(CKO_DATA) {
        return base.key(view);
    }
    let whole = base.whole(view)?;
    let value = whole.bytes(CKA_VALUE).unwrap_or_default();
    Ok(Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(value)))))
}
