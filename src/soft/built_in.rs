//! What the token itself shows: one object per mechanism that the configuration offers, and one per profile.

use std::sync::Arc;

use cryptoki_sys::*;

use super::handle::{Number, Place};
use super::object::{Object, session_object};
use super::shelf::Environment;
use crate::error::Result;
use crate::object::build::{self, Given, Maker, Origin};
use crate::token::Attribute;

/// The profiles (PKCS#11 Profiles 3.2) whose mandatory cases `pkcs11-conformance profiles` replays and finds passing; it fails
/// where this list says more or less.
const PROFILES: &[(CK_PROFILE_ID, &str)] = &[
    (CKP_BASELINE_PROVIDER, "Baseline Provider"),
    (CKP_EXTENDED_PROVIDER, "Extended Provider"),
    (CKP_AUTHENTICATION_TOKEN, "Authentication Token"),
    (CKP_PUBLIC_CERTIFICATES_TOKEN, "Public Certificates Token"),
];

/// Built-in objects are numbered from here, beside the session objects, whose count never comes so far.
const FIRST: u64 = 1 << 39;

impl Environment {
    /// The built-in objects, made at their first use; the same in every process.
    fn built_in(&self) -> Result<&[Arc<Object>]> {
        Ok(self.built_in.get_or_try_init(|| self.build())?)
    }

    fn build(&self) -> Result<Vec<Arc<Object>>> {
        let mechanisms = self.enabled().map(|row| (CKO_MECHANISM, CKA_MECHANISM_TYPE, row.ty, row.name));
        let profiles = PROFILES.iter().map(|(id, name)| (CKO_PROFILE, CKA_PROFILE_ID, *id, *name));
        let all = mechanisms.chain(profiles);
        (FIRST..).zip(all).map(|(number, (class, ty, value, name))| object(number, class, ty, value, name)).collect()
    }

    /// The built-in object with this number in [`Place::Session`].
    pub(super) fn built_in_at(&self, number: u64) -> Result<Option<Arc<Object>>> {
        let Some(at) = number.checked_sub(FIRST).and_then(|at| usize::try_from(at).ok()) else { return Ok(None) };
        Ok(self.built_in()?.get(at).cloned())
    }

    /// Those of a class. Applications that know nothing of such objects do not meet them: a search must name their class, as
    /// PKCS#11 2.40 had it for hardware features.
    pub(super) fn built_in_of(&self, class: Option<CK_OBJECT_CLASS>) -> Result<Vec<Arc<Object>>> {
        match class {
            Some(CKO_MECHANISM | CKO_PROFILE) => {
                Ok(self.built_in()?.iter().filter(|object| object.class() == class).cloned().collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

fn object(
    number: u64,
    class: CK_OBJECT_CLASS,
    ty: CK_ATTRIBUTE_TYPE,
    value: CK_ULONG,
    name: &str,
) -> Result<Arc<Object>> {
    let template = vec![Attribute::ulong(ty, value), Attribute::bytes(CKA_LABEL, name.as_bytes())];
    // The same in every process, unlike one that is drawn.
    let id = Attribute::bytes(CKA_UNIQUE_ID, format!("keyward-{class:x}-{value:x}").as_bytes());
    let given = Given { attributes: vec![id], ..Given::default() };
    let attributes = build::make(Origin::Token, &Maker::default(), Some(class), None, template, given)?;
    Ok(Arc::new(session_object(Number { place: Place::Session, number }, &attributes)))
}
