//! The next version of a logical key.

use std::sync::Arc;

use cryptoki_sys::*;

use super::Soft;
use super::access::View;
use super::handle::{Number, Place};
use super::manage::{insert, update_clear};
use super::object::Object;
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Result};
use crate::lifecycle::{Dates, State, version};
use crate::mechanism::key;
use crate::mechanism::table::{ParamKind, Row};
use crate::object::build::{self, Draft, Given, Maker, Origin};
use crate::object::schema::Schema;
use crate::object::{Attributes, life};
use crate::os;
use crate::token::*;
use x509_cert::der::{Decode, Encode};
use x509_cert::request::CertReqInfo;

/// What a new version does not take over from the one before.
const OWN: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_ID,
    CKA_START_DATE,
    CKA_END_DATE,
    CKA_PUBLIC_KEY_INFO,
    CKA_CHECK_VALUE,
    CKA_MODULUS,
    CKA_KEYWARD_ACTIVATION_DATE,
    CKA_KEYWARD_PROTECT_STOP_DATE,
    CKA_KEYWARD_PROCESS_STOP_DATE,
    CKA_KEYWARD_DEACTIVATION_DATE,
];

/// Where a version stands in its logical key.
struct Line {
    family: Vec<u8>,
    label: Vec<u8>,
    /// The new one's.
    version: u64,
}

impl Soft {
    pub(super) fn rotate_key(&self, caller: Caller, rotation: &Rotation) -> Result<Rotated> {
        let view = self.view()?;
        let old = self.key_in_any_state(&view, rotation.key)?;
        view.may_write(caller, old.on_token(), old.private)?;
        let state = life::life(&old.attributes).state_at(rotation.by.at);
        if state != State::Active || !old.on_token() {
            return Err(Code::ActionProhibited
                .because(format!("only an active token key is rotated; this one is {}", state.name())));
        }
        match old.class() {
            Some(CKO_SECRET_KEY) if !rotation.stage => self.rotate_secret(&view, &old, &rotation.by),
            Some(CKO_SECRET_KEY) => {
                Err(Code::ActionProhibited.because("a secret key is rotated at once, without a stage"))
            }
            Some(CKO_PRIVATE_KEY) if rotation.stage => self.stage_pair(&view, &old),
            Some(CKO_PRIVATE_KEY) => Err(Code::ActionProhibited.because(
                "a key pair is rotated in stages: `key rotate --stage`, then its certificate, then `key activate`",
            )),
            _ => Err(Code::ActionProhibited.because("name the private key, or the secret key")),
        }
    }

    fn line(&self, view: &View, old: &Arc<Object>) -> Result<Line> {
        let versions = self.versions(view, old)?;
        let last = versions.iter().map(|object| life::version_of(&object.attributes)).max().unwrap_or(1);
        if let Some(staged) = versions.iter().find(|o| life::state(&o.attributes) == State::PreActive) {
            return Err(Code::ActionProhibited.because(format!(
                "version {} is staged already: activate or destroy it first",
                life::version_of(&staged.attributes)
            )));
        }
        let family = old.attributes.bytes(CKA_KEYWARD_LOGICAL_KEY).or(old.attributes.bytes(CKA_UNIQUE_ID));
        Ok(Line {
            family: family.unwrap_or_default().to_vec(),
            label: life::logical_label(&old.attributes).to_vec(),
            version: last.checked_add(1).ok_or(Code::DeviceMemory)?,
        })
    }

    fn rotate_secret(&self, view: &View, old: &Arc<Object>, by: &Authority) -> Result<Rotated> {
        let line = self.line(view, old)?;
        let key_type = old.attributes.ulong(CKA_KEY_TYPE).ok_or(Code::KeyTypeInconsistent)?;
        let row = self.generator(&old.attributes, key_type, |row| row.does.generate.is_some())?;
        let draft = draft(CKO_SECRET_KEY, key_type, &old.attributes)?;
        let generate = row.does.generate.ok_or(Code::MechanismInvalid)?;
        let own = generate(row, &Params::None, draft.attributes())?;
        let mut new = draft.finish(Given { attributes: own, mechanism: Some(row.ty), heritage: None })?;
        line.join(&mut new, line.version);
        new.put(Attribute::bytes(CKA_LABEL, &line.label));
        new.put(Attribute::bytes(CKA_ID, &os::random_array::<16>()?));
        life::enter(&mut new, State::Active, by);
        life::set_dates(&mut new, &Dates { activation: Some(by.at), ..life::period(&old.attributes, by.at) });
        let mut before = old.attributes.clone();
        let of = life::version_of(&before);
        line.join(&mut before, of);
        before.put(Attribute::bytes(CKA_LABEL, &version::archived(&line.label, of)));
        life::supersede(&mut before, 0, by);
        let made = view.file.commit_together(&view.keys, vec![insert(&new), update_clear(old, &before)])?;
        self.objects.remove(old.at);
        self.changed();
        let key = made.first().ok_or(Code::GeneralError)?;
        let key = view.handle_of(Number { place: Place::Token, number: *key }, new.is_true(CKA_PRIVATE))?;
        Ok(Rotated { key, public: None, version: line.version })
    }

    /// The next pair, pre-active. The old one only learns that it has a successor.
    fn stage_pair(&self, view: &View, old: &Arc<Object>) -> Result<Rotated> {
        let line = self.line(view, old)?;
        let key_type = old.attributes.ulong(CKA_KEY_TYPE).ok_or(Code::KeyTypeInconsistent)?;
        let row = self.generator(&old.attributes, key_type, |row| row.does.generate_pair.is_some())?;
        let halves = self.other_halves(view, old)?;
        let public = match halves.first() {
            Some(public) => public.attributes.clone(),
            None => public_of(old, view)?,
        };
        let public_draft = draft(CKO_PUBLIC_KEY, key_type, &public)?;
        let private_draft = draft(CKO_PRIVATE_KEY, key_type, &old.attributes)?;
        let generate = row.does.generate_pair.ok_or(Code::MechanismInvalid)?;
        let pair = generate(row, &Params::None, public_draft.attributes(), private_draft.attributes())?;
        let mut whole = public_draft.attributes().clone();
        pair.public.iter().cloned().for_each(|attribute| whole.put(attribute));
        let info = key::public_key_info(&whole)?;
        let id: Vec<u8> = hash(Digest::Sha256, &info).iter().take(20).copied().collect();
        let finish = |draft: Draft, mut own: Vec<Attribute>| -> Result<Attributes> {
            own.push(Attribute::bytes(CKA_PUBLIC_KEY_INFO, &info));
            let mut new = draft.finish(Given { attributes: own, mechanism: Some(row.ty), heritage: None })?;
            line.join(&mut new, line.version);
            new.put(Attribute::bytes(CKA_LABEL, &version::archived(&line.label, line.version)));
            new.put(Attribute::bytes(CKA_ID, &id));
            new.put(Attribute::ulong(CKA_KEYWARD_STATE, State::PreActive as CK_ULONG));
            Ok(new)
        };
        let (public, private) = (finish(public_draft, pair.public)?, finish(private_draft, pair.private)?);
        let mut changes = vec![insert(&private), insert(&public)];
        for object in std::iter::once(old).chain(&halves) {
            let mut known = object.attributes.clone();
            let of = life::version_of(&known);
            line.join(&mut known, of);
            changes.push(update_clear(object, &known));
        }
        let made = view.file.commit_together(&view.keys, changes)?;
        for object in std::iter::once(old).chain(&halves) {
            self.objects.remove(object.at);
        }
        self.changed();
        let [key_row, public_row] = made[..] else { return Err(Code::GeneralError.into()) };
        let handle =
            |number, of: &Attributes| view.handle_of(Number { place: Place::Token, number }, of.is_true(CKA_PRIVATE));
        let (key, public) = (handle(key_row, &private)?, handle(public_row, &public)?);
        Ok(Rotated { key, public: Some(public), version: line.version })
    }

    /// Signs a certificate request by the key that it is for, and nothing else.
    pub(super) fn prove_possession(&self, key: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>> {
        let view = self.view()?;
        let object = self.key_in_any_state(&view, key)?;
        let state = life::life(&object.attributes).state_at(crate::lifecycle::clock::now());
        if !matches!(state, State::PreActive | State::Active) {
            return Err(
                Code::KeyFunctionNotPermitted.because(format!("a key that is {} asks for nothing", state.name()))
            );
        }
        let of = CertReqInfo::from_der(request).and_then(|info| info.public_key.to_der());
        if of.ok().as_deref() != object.attributes.bytes(CKA_PUBLIC_KEY_INFO) {
            return Err(Code::DataInvalid.because("this is no certificate request for the public key of this pair"));
        }
        let mut operation = self.begin_operation(Use::Sign, mechanism, Some(key), None)?.operation;
        let mut signature = vec![0; operation.size(Step::Whole, request.len())?.bound()];
        let len = operation.whole(request, &mut signature)?;
        signature.truncate(len);
        Ok(signature)
    }

    /// The mechanism that makes such keys: the one that made the old version, else the first without parameters.
    fn generator(&self, old: &Attributes, key_type: CK_KEY_TYPE, makes: impl Fn(&Row) -> bool) -> Result<&'static Row> {
        let fits = |row: &&'static Row| makes(row) && row.keys.contains(&key_type) && row.params == ParamKind::None;
        let same =
            old.ulong(CKA_KEY_GEN_MECHANISM).and_then(|ty| self.environment.row(ty).ok()).filter(|row| fits(row));
        same.or_else(|| self.environment.enabled().find(fits))
            .ok_or_else(|| Code::MechanismInvalid.because("no mechanism that is enabled here makes keys of this type"))
    }
}

impl Line {
    fn join(&self, object: &mut Attributes, version: u64) {
        object.put(Attribute::bytes(CKA_KEYWARD_LOGICAL_KEY, &self.family));
        object.put(Attribute::ulong(CKA_KEYWARD_VERSION, version));
    }
}

/// A new key's draft, by the traits of the old one.
fn draft(class: CK_OBJECT_CLASS, key_type: CK_KEY_TYPE, old: &Attributes) -> Result<Draft> {
    let schema = Schema::find(class, Some(key_type)).ok_or(Code::KeyTypeInconsistent)?;
    let template = old.iter().filter(|a| !OWN.contains(&a.ty) && schema.row(a.ty).is_some_and(|row| !row.has(4)));
    // A trust that the security officer gave to one key does not pass to another.
    let template = template.filter(|a| a.ty != CKA_TRUSTED).cloned().collect();
    build::draft(Origin::Generate, &Maker::default(), Some(class), Some(key_type), template)
}

/// Where the public half is not kept: what it would be.
fn public_of(private: &Arc<Object>, view: &View) -> Result<Attributes> {
    let mut public: Attributes = key::public_of(&private.whole(view)?)?.into_iter().collect();
    let uses = [(CKA_SIGN, CKA_VERIFY), (CKA_DECRYPT, CKA_ENCRYPT), (CKA_UNWRAP, CKA_WRAP)];
    for (of_private, of_public) in uses {
        public.put(Attribute::bool(of_public, private.attributes.is_true(of_private)));
    }
    public.put(Attribute::bool(CKA_TOKEN, true));
    Ok(public)
}
