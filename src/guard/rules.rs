//! The policy in force, with its names looked up.

use std::sync::Arc;

use cryptoki_sys::*;

use super::process;
use crate::error::{Code, Error, Result};
use crate::lifecycle::policy::{Backup, Breach, Class, Facts, Rotation};
use crate::lifecycle::{Life, Policy, State, clock};
use crate::mechanism::{key, table};
use crate::object::schema::{self, Schema};
use crate::object::{Attributes, life, names};
use crate::token::*;

/// Which attribute grants which use.
const GRANTS: [(CK_ATTRIBUTE_TYPE, &str); 11] = [
    (CKA_ENCRYPT, "encrypt"),
    (CKA_DECRYPT, "decrypt"),
    (CKA_SIGN, "sign"),
    (CKA_SIGN_RECOVER, "sign"),
    (CKA_VERIFY, "verify"),
    (CKA_VERIFY_RECOVER, "verify"),
    (CKA_WRAP, "wrap"),
    (CKA_UNWRAP, "unwrap"),
    (CKA_DERIVE, "derive"),
    (CKA_ENCAPSULATE, "encapsulate"),
    (CKA_DECAPSULATE, "decapsulate"),
];

/// Mechanisms that show tampering with what they wrapped, or are made for keys (RFC 3394, RFC 5649).
const WRAPPING: [CK_MECHANISM_TYPE; 9] = [
    CKM_AES_KEY_WRAP,
    CKM_AES_KEY_WRAP_PAD,
    CKM_AES_KEY_WRAP_KWP,
    CKM_AES_GCM,
    CKM_AES_CCM,
    CKM_CHACHA20_POLY1305,
    CKM_RSA_PKCS_OAEP,
    CKM_RSA_AES_KEY_WRAP,
    CKM_ECDH_AES_KEY_WRAP,
];

/// What the guard asks a token of a key, beside [`life::DECIDING`].
pub const GOVERNING: [CK_ATTRIBUTE_TYPE; 10] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_LABEL,
    CKA_ID,
    CKA_KEYWARD_VERSION,
    CKA_KEYWARD_CLASS,
    CKA_START_DATE,
    CKA_END_DATE,
    CKA_UNIQUE_ID,
    CKA_KEYWARD_CREATION_DATE,
];

/// What each version of a key has of its own: a class that asks for it does not hold the next version.
const OF_A_VERSION: [CK_ATTRIBUTE_TYPE; 9] = [
    CKA_ID,
    CKA_UNIQUE_ID,
    CKA_CHECK_VALUE,
    CKA_KEY_GEN_MECHANISM,
    CKA_PUBLIC_KEY_INFO,
    CKA_MODULUS,
    CKA_EC_POINT,
    CKA_START_DATE,
    CKA_END_DATE,
];

pub struct Rules {
    pub signed: Arc<SignedPolicy>,
    policy: Policy,
    /// What was looked up for each class.
    classes: Vec<Found>,
    /// What classes ask for in their `match` beside what stands in [`Facts`], with the policy's names.
    asked: Vec<(CK_ATTRIBUTE_TYPE, String)>,
}

struct Found {
    /// By number.
    mechanisms: Option<Vec<CK_MECHANISM_TYPE>>,
    /// This process is one of those who may use the keys.
    one_of_them: bool,
}

impl Rules {
    /// `CKR_ARGUMENTS_BAD` for a policy that is broken or names what does not exist.
    pub fn of(signed: Arc<SignedPolicy>) -> Result<Rules> {
        let policy = Policy::parse(&signed.text)?;
        let wrong = |class: &Class, name: &str, what: &str| {
            Err(Code::ArgumentsBad.because(format!("the policy: class {}: {name:?} is no {what}", class.name)))
        };
        let (mut classes, mut asked) = (Vec::with_capacity(policy.classes.len()), Vec::new());
        for class in &policy.classes {
            for name in class.matches.attributes.keys() {
                let Some(ty) = names::attribute_type(name) else { return wrong(class, name, "attribute") };
                if !may_be_asked(ty) {
                    return wrong(class, name, "attribute to match by: it is hidden, or changes by itself");
                }
                if class.rotation == Rotation::Automatic && OF_A_VERSION.contains(&ty) {
                    return wrong(class, name, "attribute that a rotated key keeps: match by the label");
                }
                asked.push((ty, name.clone()));
            }
            let types = class.key_types.iter().flatten().chain(class.min_bits.keys()).chain(&class.matches.key_type);
            for name in types {
                if names::key_type_number(name).is_none() {
                    return wrong(class, name, "key type");
                }
            }
            let mut mechanisms = class.mechanisms.as_ref().map(|_| Vec::new());
            for name in class.mechanisms.iter().flatten() {
                match table::by_name(name) {
                    Some(row) => mechanisms.iter_mut().for_each(|list| list.push(row.ty)),
                    None => return wrong(class, name, "mechanism of this build"),
                }
            }
            classes.push(Found { mechanisms, one_of_them: class.who.as_ref().is_none_or(process::is_one_of) });
        }
        asked.sort();
        asked.dedup();
        Ok(Rules { signed, policy, classes, asked })
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The class that governs an object, with what was looked up for it.
    fn class(&self, facts: &Facts) -> Option<(&Class, &Found)> {
        let class = self.policy.class_of(facts)?;
        let at = self.policy.classes.iter().position(|one| one.name == class.name)?;
        Some((class, self.classes.get(at)?))
    }

    pub fn class_of(&self, object: &Attributes) -> Option<&Class> {
        self.policy.class_of(&self.facts(object))
    }

    /// Whether a class asks for what may show only once an object is made.
    pub fn asks(&self) -> bool {
        !self.asked.is_empty()
    }

    /// These attributes, and those that some class asks for.
    pub fn asking(&self, types: &[CK_ATTRIBUTE_TYPE]) -> Vec<CK_ATTRIBUTE_TYPE> {
        let more = self.asked.iter().map(|(ty, _)| *ty).filter(|ty| !types.contains(ty));
        types.iter().copied().chain(more).collect()
    }

    /// What is known beforehand of the next version of a key.
    pub fn next_version(object: &Attributes) -> Attributes {
        let mut next: Attributes = object.iter().filter(|a| !OF_A_VERSION.contains(&a.ty)).cloned().collect();
        if object.get(CKA_LOCAL).is_some() {
            next.put(Attribute::bool(CKA_LOCAL, true));
        }
        next
    }

    fn facts(&self, object: &Attributes) -> Facts {
        let value = |(ty, name): &(CK_ATTRIBUTE_TYPE, String)| {
            Some((name.clone(), names::render(object, *ty, object.get(*ty)?)))
        };
        Facts { attributes: self.asked.iter().filter_map(value).collect(), ..facts(object) }
    }

    /// Whether a key must be in a backup before it is used.
    pub fn waits_for_backup(&self, object: &Attributes) -> bool {
        let hides = !matches!(object.ulong(CKA_CLASS), Some(CKO_PUBLIC_KEY));
        hides && self.class_of(object).is_some_and(|class| class.backup == Backup::Required)
    }

    /// Why a use is refused although the key's state allows it, and until when the answer holds. `user`: the name of who has
    /// logged in; an answer that hangs on it is for this time alone.
    pub fn refuses(
        &self,
        object: &Attributes,
        mechanism: CK_MECHANISM_TYPE,
        user: impl FnOnce() -> Option<Arc<str>>,
        now: u64,
    ) -> (Option<String>, u64) {
        let Some((class, found)) = self.class(&self.facts(object)) else { return (None, u64::MAX) };
        let name = &class.name;
        if !found.one_of_them {
            let names = class.who.as_ref().map(|who| who.names.as_slice()).unwrap_or_default();
            let named = !names.is_empty() && user().is_some_and(|user| names.iter().any(|name| **name == *user));
            return match (names, named) {
                ([], _) => (Some(format!("class {name} is not for this account or program")), u64::MAX),
                (_, false) => (Some(format!("class {name} is not for this user, account or program")), 0),
                (_, true) => (Self::refuses_class(class, found, mechanism, now).0, 0),
            };
        }
        Self::refuses_class(class, found, mechanism, now)
    }

    fn refuses_class(class: &Class, found: &Found, mechanism: CK_MECHANISM_TYPE, now: u64) -> (Option<String>, u64) {
        let name = &class.name;
        if found.mechanisms.as_ref().is_some_and(|list| !list.contains(&mechanism)) {
            return (Some(format!("class {name} does not allow this mechanism")), u64::MAX);
        }
        match class.hours.map(|hours| hours.at(now)) {
            Some((false, until)) => (Some(format!("class {name} is not used at this hour")), until),
            Some((true, until)) => (None, until),
            None => (None, u64::MAX),
        }
    }

    /// The life of a key under its class: with the standard dates where they count, and with its cryptoperiod.
    pub fn life(&self, object: &Attributes, mut known: Life) -> Life {
        let Some(class) = self.class_of(object) else { return known };
        if class.enforce_dates {
            let date = |ty| object.bytes(ty).and_then(clock::of_day);
            let dates = &mut known.dates;
            dates.activation = dates.activation.max(date(CKA_START_DATE));
            let end = date(CKA_END_DATE).map(|day| day.saturating_add(clock::DAY));
            dates.deactivation = [dates.deactivation, end].into_iter().flatten().min();
            if dates.activation.is_some() && known.state == State::Active {
                known.state = State::PreActive;
            }
        }
        // A signer that owns its rollover also owns the end of its keys.
        if class.rotation != Rotation::External {
            let dates = &mut known.dates;
            let begin = dates.activation.or(object.ulong(CKA_KEYWARD_CREATION_DATE));
            let end = |period: Option<u64>| Some(begin?.saturating_add(period?));
            dates.protect_stop = [dates.protect_stop, end(class.cryptoperiod)].into_iter().flatten().min();
            dates.process_stop = [dates.process_stop, end(class.process_period)].into_iter().flatten().min();
        }
        known
    }

    /// May a key of these attributes be made? `CKR_ATTRIBUTE_VALUE_INVALID`, `CKR_TEMPLATE_INCONSISTENT`.
    pub fn judge(&self, object: &Attributes) -> Result<()> {
        if !life::is_key(object) {
            return Ok(());
        }
        self.policy.judge(&self.facts(object)).map_err(|breach| refusal(&breach))
    }

    /// Whether a mechanism may wrap. `CKR_MECHANISM_INVALID`.
    pub fn may_wrap_by(&self, mechanism: CK_MECHANISM_TYPE) -> Result<()> {
        if self.policy.protection.allow_any_wrapping || WRAPPING.contains(&mechanism) {
            return Ok(());
        }
        Err(Code::MechanismInvalid
            .because("the policy allows wrapping only by mechanisms made for keys, such as AES-KWP"))
    }

    /// Whether the one key may wrap the other. `CKR_WRAPPING_KEY_SIZE_RANGE`.
    pub fn may_wrap(&self, wrapping: &Attributes, key: &Attributes) -> Result<()> {
        let judged = self.policy.wraps(&facts(wrapping), &facts(key));
        judged.map_err(|breach| Code::WrappingKeySizeRange.because(format!("the policy: {}", breach.why)))
    }

    /// What the template leaves open and the policy does not grant is off: a choice that is the token's to make.
    pub fn complete(&self, class: CK_OBJECT_CLASS, key_type: Option<CK_KEY_TYPE>, template: &mut Vec<Attribute>) {
        let mut wanted: Attributes = template.iter().cloned().collect();
        if wanted.get(CKA_CLASS).is_none() {
            wanted.put(Attribute::ulong(CKA_CLASS, class));
        }
        if let (None, Some(key_type)) = (wanted.get(CKA_KEY_TYPE), key_type) {
            wanted.put(Attribute::ulong(CKA_KEY_TYPE, key_type));
        }
        let Some(schema) = Schema::of(&wanted) else { return };
        let granted = self.class_of(&wanted).and_then(|class| class.uses.as_ref());
        for (ty, name) in GRANTS {
            if wanted.get(ty).is_some() || schema.row(ty).is_none() {
                continue;
            }
            let off = match granted {
                Some(uses) => !uses.iter().any(|usage| usage == name),
                // Keys that wrap are made for it; others would mix roles without being asked to.
                None => matches!(ty, CKA_WRAP | CKA_UNWRAP),
            };
            if off {
                template.push(Attribute::bool(ty, false));
            }
        }
    }
}

fn refusal(breach: &Breach) -> Error {
    let code = if breach.value { Code::AttributeValueInvalid } else { Code::TemplateInconsistent };
    code.because(format!("the policy: {}", breach.why))
}

/// Whether a class may be chosen by it: every process sees it alike at any time, and only a person's act changes it.
fn may_be_asked(ty: CK_ATTRIBUTE_TYPE) -> bool {
    let hidden = schema::all_rows().any(|row| row.ty == ty && row.secret());
    !hidden && !names::is_template(ty) && ty & CKA_VENDOR_DEFINED == 0
}

/// What a policy looks at, of an object or of a template that says it all.
fn facts(object: &Attributes) -> Facts {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let class = object.ulong(CKA_CLASS).unwrap_or_default();
    let hides = matches!(class, CKO_PRIVATE_KEY | CKO_SECRET_KEY | CKO_OTP_KEY);
    let short = |name: Option<&str>, prefix: &str| name.unwrap_or_default().trim_start_matches(prefix).to_owned();
    let schema = Schema::of(object);
    let granted = |ty: CK_ATTRIBUTE_TYPE| {
        let by_default = || schema.is_some_and(|schema| schema.row(ty).is_some() && schema.made_for(ty));
        object.bool(ty).unwrap_or_else(by_default)
    };
    let bits = object.ulong(CKA_MODULUS_BITS);
    let bits = bits.or_else(|| object.ulong(CKA_VALUE_LEN)?.checked_mul(8)).or_else(|| key::bits(object));
    let mut uses: Vec<&'static str> = GRANTS.iter().filter(|(ty, _)| granted(*ty)).map(|(_, name)| *name).collect();
    uses.dedup();
    Facts {
        label: text(life::logical_label(object)),
        class: short(names::class(class), "CKO_").to_lowercase().replace('_', "-"),
        id: object.bytes(CKA_ID).unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect(),
        key_type: short(object.ulong(CKA_KEY_TYPE).and_then(names::key_type), "CKK_"),
        bits,
        tag: object.bytes(CKA_KEYWARD_CLASS).map(text),
        extractable: hides && object.is_true(CKA_EXTRACTABLE),
        insensitive: hides && object.bool(CKA_SENSITIVE) == Some(false),
        uses,
        attributes: Vec::new(),
    }
}
