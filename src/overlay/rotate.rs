//! The next version of a logical key, made where the others are.

use std::borrow::Cow;

use cryptoki_sys::*;

use super::Shared;
use super::book::{Entry, View};
use super::bound::Bound;
use super::identity::{Identity, ask};
use super::life::Subject;
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Result};
use crate::lifecycle::{Dates, State, clock, version};
use crate::mechanism::table::{self, ParamKind, Row};
use crate::object::{Attributes, life};
use crate::os;
use crate::token::*;
use x509_cert::der::{Decode, Encode};
use x509_cert::request::CertReqInfo;

/// What a new version takes over from the one before, as far as the HSM tells it.
const SECRET: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_PRIVATE,
    CKA_MODIFIABLE,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
    CKA_WRAP_WITH_TRUSTED,
    CKA_VALUE_LEN,
];
const PRIVATE: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_PRIVATE,
    CKA_MODIFIABLE,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_SIGN_RECOVER,
    CKA_UNWRAP,
    CKA_DERIVE,
    CKA_DECAPSULATE,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_WRAP_WITH_TRUSTED,
];
const PUBLIC: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_PRIVATE,
    CKA_MODIFIABLE,
    CKA_ENCRYPT,
    CKA_VERIFY,
    CKA_VERIFY_RECOVER,
    CKA_WRAP,
    CKA_DERIVE,
    CKA_ENCAPSULATE,
    CKA_MODULUS_BITS,
    CKA_PUBLIC_EXPONENT,
    CKA_EC_PARAMS,
    CKA_PARAMETER_SET,
    CKA_PRIME,
    CKA_SUBPRIME,
    CKA_BASE,
];

/// Where a version stands in its logical key.
struct Line {
    family: Vec<u8>,
    label: Vec<u8>,
    /// The new one's.
    version: u64,
}

impl Line {
    /// Into the record of a version that is shown under `label`.
    fn join(&self, record: &mut Attributes, version: u64, label: &[u8]) {
        record.put(Attribute::bytes(CKA_KEYWARD_LOGICAL_KEY, &self.family));
        record.put(Attribute::ulong(CKA_KEYWARD_VERSION, version));
        record.put(Attribute::bytes(CKA_LABEL, label));
    }
}

impl Shared {
    pub fn rotate(&self, caller: Caller, rotation: &Rotation) -> Result<Rotated> {
        let view = self.book.view()?;
        let old = self.subject(&view, caller, rotation.key)?;
        let state = life::life(&old.key.attributes).state_at(rotation.by.at);
        if state != State::Active || !old.key.identity.on_token {
            return Err(Code::ActionProhibited
                .because(format!("only an active token key is rotated; this one is {}", state.name())));
        }
        match (old.key.identity.class, rotation.stage) {
            (CKO_SECRET_KEY, false) => self.rotate_secret(&view, caller, &old, &rotation.by),
            (CKO_SECRET_KEY, true) => {
                Err(Code::ActionProhibited.because("a secret key is rotated at once, without a stage"))
            }
            (CKO_PRIVATE_KEY, true) => self.stage_pair(&view, caller, &old),
            (CKO_PRIVATE_KEY, false) => Err(Code::ActionProhibited.because(
                "a key pair is rotated in stages: `key rotate --stage`, then its certificate, then `key activate`",
            )),
            _ => Err(Code::ActionProhibited.because("name the private key, or the secret key")),
        }
    }

    fn line(&self, view: &View, old: &Subject) -> Result<Line> {
        let attributes = &old.key.attributes;
        let versions = self.versions(view, attributes)?;
        let last = versions.iter().map(|record| life::version_of(&record.attributes)).max().unwrap_or(1);
        if let Some(staged) = versions.iter().find(|r| life::state(&r.attributes) == State::PreActive) {
            return Err(Code::ActionProhibited.because(format!(
                "version {} is staged already: activate or destroy it first",
                life::version_of(&staged.attributes)
            )));
        }
        let family = attributes.bytes(CKA_KEYWARD_LOGICAL_KEY).map(<[u8]>::to_vec);
        Ok(Line {
            family: family.unwrap_or_else(|| old.key.unique_id()),
            label: version::logical(old.key.label(), life::version_of(attributes)).to_vec(),
            version: last.checked_add(1).ok_or(Code::DeviceMemory)?,
        })
    }

    /// What the HSM makes the next version of: of the same traits, with an ID of its own.
    fn template(
        &self,
        caller: Caller,
        old: ObjectId,
        traits: &[CK_ATTRIBUTE_TYPE],
        line: &Line,
        id: &[u8],
    ) -> Result<Vec<Attribute>> {
        let known = ask(&*self.inner, caller, old, traits)?;
        let fixed = matches!(
            ask(&*self.inner, caller, old, &[CKA_KEY_TYPE])?.ulong(CKA_KEY_TYPE),
            Some(CKK_DES | CKK_DES2 | CKK_DES3 | CKK_CHACHA20)
        );
        let empty = |a: &Attribute| matches!(&a.value, Value::Bytes(bytes) if bytes.is_empty());
        let mut template: Vec<Attribute> = known.into_iter().filter(|a| !empty(a)).collect();
        template.retain(|a| !(a.ty == CKA_VALUE_LEN && fixed));
        template.push(Attribute::bool(CKA_TOKEN, true));
        template.push(Attribute::bytes(CKA_ID, id));
        // In the HSM each version keeps a label of its own; which of them holds the logical key's, the overlay says.
        template.push(Attribute::bytes(CKA_LABEL, &version::archived(&line.label, line.version)));
        Ok(template)
    }

    /// The HSM's mechanism that makes such keys: the one that made the old version, else the first without parameters.
    fn generator(&self, caller: Caller, old: &Subject, flag: CK_FLAGS, makes: fn(&Row) -> bool) -> Result<Mechanism> {
        let key_type = old.key.identity.key_type;
        let offered = |row: &&'static Row| {
            let known = row.keys.contains(&key_type) && row.params == ParamKind::None && makes(row);
            known && self.inner.mechanism_info(row.ty).is_ok_and(|info| info.flags & flag != 0)
        };
        let before = ask(&*self.inner, caller, old.object, &[CKA_KEY_GEN_MECHANISM])?.ulong(CKA_KEY_GEN_MECHANISM);
        let same = before.and_then(|ty| table::row(ty).ok()).filter(offered);
        let row = same.or_else(|| table::all().find(offered));
        let row =
            row.ok_or_else(|| Code::MechanismInvalid.because("no mechanism of the HSM makes keys of this type"))?;
        Ok(Mechanism { ty: row.ty, params: Params::None })
    }

    fn rotate_secret(&self, view: &View, caller: Caller, old: &Subject, by: &Authority) -> Result<Rotated> {
        let line = self.line(view, old)?;
        let mechanism = self.generator(caller, old, CKF_GENERATE, |row| row.does.generate.is_some())?;
        let id: [u8; 16] = os::random_array()?;
        let template = self.template(caller, old.object, SECRET, &line, &id)?;
        let made = self.inner.generate_key(caller, &mechanism, template)?;
        let record = || -> Result<()> {
            let mut next = self.successor(caller, old, &line, &line.label, made)?;
            life::enter(&mut next, State::Active, by);
            let dates = Dates { activation: Some(by.at), ..life::period(&old.key.attributes, by.at) };
            life::set_dates(&mut next, &dates);
            let of = life::version_of(&old.key.attributes);
            let mut before = old.record();
            line.join(&mut before, of, &version::archived(&line.label, of));
            life::supersede(&mut before, 0, by);
            let steps = [Some(Entry::New(next)), old.step(Some(before))];
            self.book.commit(view, steps.into_iter().flatten().collect()).map(drop)
        };
        self.kept(caller, &[made], record())?;
        Ok(Rotated { key: made, public: None, version: line.version })
    }

    /// The next pair, pre-active. The old one only learns that it has a successor.
    fn stage_pair(&self, view: &View, caller: Caller, old: &Subject) -> Result<Rotated> {
        let line = self.line(view, old)?;
        let mechanism = self.generator(caller, old, CKF_GENERATE_KEY_PAIR, |row| row.does.generate_pair.is_some())?;
        let halves = self.pair(view, caller, old.object)?;
        let public = halves.get(1).ok_or_else(|| {
            Code::ActionProhibited.because("the public key of this pair is not in the HSM: import it, with the same ID")
        })?;
        let id: [u8; 16] = os::random_array()?;
        let public_template = self.template(caller, public.object, PUBLIC, &line, &id)?;
        let private_template = self.template(caller, old.object, PRIVATE, &line, &id)?;
        let (new_public, new_private) =
            self.inner.generate_key_pair(caller, &mechanism, public_template, private_template)?;
        let record = || -> Result<()> {
            let mut steps = Vec::new();
            let shown = version::archived(&line.label, line.version);
            for made in [new_private, new_public] {
                let mut next = self.successor(caller, old, &line, &shown, made)?;
                next.put(Attribute::ulong(CKA_KEYWARD_STATE, State::PreActive as CK_ULONG));
                steps.push(Entry::New(next));
            }
            for half in [old, public] {
                let mut known = half.record();
                let (of, shown) = (life::version_of(&known), half.key.label().to_vec());
                line.join(&mut known, of, &shown);
                steps.extend(half.step(Some(known)));
            }
            self.book.commit(view, steps).map(drop)
        };
        self.kept(caller, &[new_private, new_public], record())?;
        Ok(Rotated { key: new_private, public: Some(new_public), version: line.version })
    }

    /// The record of a new version.
    fn successor(
        &self,
        caller: Caller,
        old: &Subject,
        line: &Line,
        shown: &[u8],
        made: ObjectId,
    ) -> Result<Attributes> {
        let identity = Identity::of(&*self.inner, caller, made)?.ok_or(Code::GeneralError)?;
        let mut record = Attributes::new();
        if let Some(class) = old.key.attributes.get(CKA_KEYWARD_CLASS) {
            record.put(Attribute { ty: CKA_KEYWARD_CLASS, value: class.clone() });
        }
        record.put(Attribute::ulong(CKA_KEYWARD_CREATION_DATE, clock::now()));
        line.join(&mut record, line.version, shown);
        identity.write(&mut record);
        Ok(record)
    }

    /// Keys that could not be recorded go again.
    fn kept(&self, caller: Caller, made: &[ObjectId], recorded: Result<()>) -> Result<()> {
        self.objects.forget_all();
        recorded.inspect_err(|_| {
            made.iter().for_each(|object| drop(self.inner.destroy(caller, *object)));
        })
    }

    /// Signs a certificate request by the key that it is for, and nothing else.
    pub fn prove(&self, caller: Caller, object: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>> {
        let view = self.book.view()?;
        let key = self.bound(&view, caller, object).and_then(Bound::key)?;
        let state = life::life(&key.attributes).state_at(clock::now());
        if !matches!(state, State::PreActive | State::Active) {
            return Err(
                Code::KeyFunctionNotPermitted.because(format!("a key that is {} asks for nothing", state.name()))
            );
        }
        let info = self.get(caller, object, &[CKA_PUBLIC_KEY_INFO])?;
        let own = match info.first() {
            Some(Answer::Value(Value::Bytes(bytes))) if !bytes.is_empty() => Some(bytes.to_vec()),
            _ => None,
        };
        let of = CertReqInfo::from_der(request).and_then(|info| info.public_key.to_der()).ok();
        if own.is_none() || of != own {
            return Err(Code::DataInvalid.because("this is no certificate request for the public key of this pair"));
        }
        let (mechanism, message) = self.hashed_here(mechanism, request);
        let mut operation = self.inner.begin(caller, Use::Sign, &mechanism, Some(object), None)?.operation;
        signed(&mut *operation, &message)
    }

    /// Many HSMs sign by ECDSA a hash alone.
    fn hashed_here<'a>(&self, mechanism: &'a Mechanism, request: &'a [u8]) -> (Cow<'a, Mechanism>, Cow<'a, [u8]>) {
        let digest = match mechanism.ty {
            CKM_ECDSA_SHA256 => Digest::Sha256,
            CKM_ECDSA_SHA384 => Digest::Sha384,
            CKM_ECDSA_SHA512 => Digest::Sha512,
            _ => return (Cow::Borrowed(mechanism), Cow::Borrowed(request)),
        };
        match self.inner.mechanism_info(mechanism.ty) {
            Ok(_) => (Cow::Borrowed(mechanism), Cow::Borrowed(request)),
            Err(_) => {
                let plain = Mechanism { ty: CKM_ECDSA, params: Params::None };
                (Cow::Owned(plain), Cow::Owned(hash(digest, request).to_vec()))
            }
        }
    }
}

/// A signature in one step, by whichever side keeps the convention of output.
fn signed(operation: &mut dyn Operation, message: &[u8]) -> Result<Vec<u8>> {
    /// More than any signature of a certificate request.
    const LONGEST: usize = 64 << 10;
    let mut signature = vec![0; LONGEST];
    let len = match operation.convey(Step::Whole, message, Some(&mut signature)) {
        Some(conveyed) => match conveyed? {
            Conveyed::Wrote(len) => len,
            Conveyed::Needs(_) => return Err(Code::GeneralError.into()),
        },
        None => operation.whole(message, &mut signature)?,
    };
    signature.truncate(len);
    Ok(signature)
}
