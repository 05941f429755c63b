//! Every attribute of every class of object that C_CreateObject makes: its default, whether it may be set at creation,
//! and whether and how it may be changed. The rules are rows, after the tables of sections 4.5 to 4.12.

use cryptoki_sys::*;

use super::rsa_key;
use super::{Need, Test};
use crate::context::{Outcome, T, equal, one_of, refused, same_bytes, skip};
use crate::data::Template;
use crate::ffi::Rv;
use crate::names::name_of;

/// Classes as the rows name them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    Data,
    Certificate,
    Public,
    Private,
    Secret,
}

use Class::*;

impl Class {
    const ALL: &[Class] = &[Data, Certificate, Public, Private, Secret];

    /// What the class needs and nothing more, but that it lives in the session.
    fn least(self) -> Template {
        let t = match self {
            Data => Template::of(CKO_DATA),
            Certificate => Template::of(CKO_CERTIFICATE)
                .ulong(CKA_CERTIFICATE_TYPE, CKC_X_509)
                .bytes(CKA_SUBJECT, &[0x30, 0])
                .bytes(CKA_VALUE, &[0x30, 3, 2, 1, 1]),
            Public => keep(rsa_key::public_template(), &[CKA_CLASS, CKA_KEY_TYPE, CKA_MODULUS, CKA_PUBLIC_EXPONENT]),
            Private => {
                let uses = [CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP, CKA_SENSITIVE, CKA_EXTRACTABLE];
                uses.iter().fold(rsa_key::private_template(), |t, ty| t.without(*ty))
            }
            Secret => Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[7; 32]),
        };
        t.with(&Template::new().flag(CKA_TOKEN, false))
    }

    fn name(self) -> &'static str {
        match self {
            Data => "data",
            Certificate => "certificate",
            Public => "public",
            Private => "private",
            Secret => "secret",
        }
    }
}

fn keep(t: Template, types: &[CK_ATTRIBUTE_TYPE]) -> Template {
    t.types().into_iter().filter(|ty| !types.contains(ty)).fold(t, |t, ty| t.without(ty))
}

/// What C_CreateObject makes of the attribute.
#[derive(Clone, Copy, PartialEq)]
enum Create {
    /// MUST be given.
    Required,
    /// May be given.
    May,
    /// MUST not be given.
    Never,
}

/// What C_SetAttributeValue makes of it.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    May,
    Never,
    /// To this value only, and not back.
    Only(bool),
    /// Once at this value it stays there.
    Stuck(bool),
    /// The specification leaves it open, or another test has it.
    Open,
}

#[derive(Clone, Copy)]
struct Rule {
    ty: CK_ATTRIBUTE_TYPE,
    section: &'static str,
    classes: &'static [Class],
    /// Value when it is not given; `None` where the token chooses.
    default: Option<&'static [u8]>,
    create: Create,
    change: Change,
    /// A value to set, other than the default.
    sample: &'static [u8],
}

const YES: &[u8] = &[1];
const NO: &[u8] = &[0];
const KEYS: &[Class] = &[Public, Private, Secret];

macro_rules! rules {
    ($($ty:ident $section:literal $classes:expr, $default:expr, $create:ident, $change:expr, $sample:expr;)*) => {
        static RULES: &[Rule] = &[$(Rule {
            ty: $ty, section: $section, classes: $classes, default: $default, create: Create::$create,
            change: $change, sample: $sample,
        }),*];
    };
}

// Columns: attribute, section, classes, default, at creation, by C_SetAttributeValue, a sample.
rules! {
    CKA_TOKEN "4.5" Class::ALL, Some(NO), May, Change::Never, YES;
    CKA_PRIVATE "4.5" Class::ALL, None, May, Change::Never, YES;
    CKA_MODIFIABLE "4.5" Class::ALL, Some(YES), May, Change::Open, NO;
    CKA_COPYABLE "4.5" Class::ALL, Some(YES), May, Change::Stuck(false), NO;
    CKA_DESTROYABLE "4.5" Class::ALL, Some(YES), May, Change::Open, NO;
    CKA_LABEL "4.5" Class::ALL, Some(b""), May, Change::May, b"a label";
    CKA_CLASS "4.2.1" Class::ALL, None, Required, Change::Never, &[0xFF; 8];
    CKA_APPLICATION "4.6" &[Data], Some(b""), May, Change::Open, b"app";
    CKA_OBJECT_ID "4.6" &[Data], Some(b""), May, Change::Open, &[6, 1, 5];
    CKA_VALUE "4.6" &[Data], Some(b""), May, Change::Open, b"value";
    CKA_CERTIFICATE_TYPE "4.7" &[Certificate], None, Required, Change::Never, &[9; 8];
    CKA_TRUSTED "4.7" &[Certificate, Public, Secret], Some(NO), Never, Change::Never, YES;
    CKA_START_DATE "4.7" &[Certificate], Some(b""), May, Change::Open, b"20260102";
    CKA_SUBJECT "4.7.3" &[Certificate], None, Required, Change::Open, &[0x30, 0];
    CKA_VALUE "4.7.3" &[Certificate], None, Required, Change::Never, &[0x30, 0];
    CKA_ID "4.7.3" &[Certificate], Some(b""), May, Change::May, b"an id";
    CKA_ISSUER "4.7.3" &[Certificate], Some(b""), May, Change::May, &[0x30, 0];
    CKA_SERIAL_NUMBER "4.7.3" &[Certificate], Some(b""), May, Change::May, &[2, 1, 5];
    CKA_KEY_TYPE "4.9" KEYS, None, Required, Change::Never, &[0xFF; 8];
    CKA_ID "4.9" KEYS, Some(b""), May, Change::May, b"an id";
    CKA_START_DATE "4.9" KEYS, Some(b""), May, Change::May, b"20260102";
    CKA_END_DATE "4.9" KEYS, Some(b""), May, Change::May, b"20991231";
    CKA_DERIVE "4.9" KEYS, Some(NO), May, Change::May, YES;
    CKA_LOCAL "4.9" KEYS, Some(NO), Never, Change::Never, YES;
    CKA_KEY_GEN_MECHANISM "4.9" KEYS, Some(&[0xFF; 8]), Never, Change::Never, &[0; 8];
    CKA_SUBJECT "4.10" &[Public, Private], Some(b""), May, Change::May, &[0x30, 0];
    CKA_ENCRYPT "4.10" &[Public, Secret], None, May, Change::May, YES;
    CKA_VERIFY "4.10" &[Public, Secret], None, May, Change::May, YES;
    CKA_VERIFY_RECOVER "4.10" &[Public], None, May, Change::May, YES;
    CKA_WRAP "4.10" &[Public, Secret], None, May, Change::May, YES;
    CKA_MODULUS "6.1.2" &[Public, Private], None, Required, Change::Never, &[0xC1; 256];
    CKA_PUBLIC_EXPONENT "6.1.2" &[Public], None, Required, Change::Never, &[3];
    CKA_SENSITIVE "4.11" &[Private, Secret], None, May, Change::Only(true), YES;
    CKA_EXTRACTABLE "4.11" &[Private, Secret], None, May, Change::Only(false), NO;
    CKA_DECRYPT "4.11" &[Private, Secret], None, May, Change::May, YES;
    CKA_SIGN "4.11" &[Private, Secret], None, May, Change::May, YES;
    CKA_SIGN_RECOVER "4.11" &[Private], None, May, Change::May, YES;
    CKA_UNWRAP "4.11" &[Private, Secret], None, May, Change::May, YES;
    CKA_ALWAYS_SENSITIVE "4.11" &[Private, Secret], Some(NO), Never, Change::Never, YES;
    CKA_NEVER_EXTRACTABLE "4.11" &[Private, Secret], Some(NO), Never, Change::Never, YES;
    CKA_WRAP_WITH_TRUSTED "4.11" &[Private, Secret], Some(NO), May, Change::Stuck(true), YES;
    CKA_ALWAYS_AUTHENTICATE "4.11" &[Private], Some(NO), May, Change::Open, YES;
    CKA_VALUE "4.12" &[Secret], None, Required, Change::Never, &[1; 32];
}

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for rule in RULES {
        for class in rule.classes {
            let mut add = |what: &str, run: fn(&mut T<'_>, Class, Rule) -> Outcome| {
                let attribute = name_of("CKA_", rule.ty);
                let id = format!("templates/{}/{}/{what}", class.name(), attribute.trim_start_matches("CKA_"));
                tests.push(Test::new(id, rule.section, &[Need::User], move |t| run(t, *class, *rule)));
            };
            if rule.default.is_some() {
                add("default", default);
            }
            match rule.create {
                Create::Required => add("required", required),
                Create::May => add("given", given),
                Create::Never => add("not-given", not_given),
            }
            match rule.change {
                Change::May => add("changed", changed),
                Change::Never => add("not-changed", not_changed),
                Change::Only(_) | Change::Stuck(_) => add("one-way", one_way),
                Change::Open => {}
            }
        }
    }
    tests
}

fn sample(rule: Rule) -> Template {
    Template::new().bytes(rule.ty, rule.sample)
}

fn default(t: &mut T<'_>, class: Class, rule: Rule) -> Outcome {
    let s = t.user()?;
    let o = s.create(&if rule.ty == CKA_TOKEN { class.least().without(CKA_TOKEN) } else { class.least() })?;
    same_bytes("default", &s.get(o, rule.ty)?, rule.default.unwrap_or_default())
}

const INCOMPLETE: &[CK_RV] = &[CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID];

fn required(t: &mut T<'_>, class: Class, rule: Rule) -> Outcome {
    let s = t.user()?;
    refused("C_CreateObject without it", s.create(&class.least().without(rule.ty)), INCOMPLETE)
}

/// Given at creation, it is what it was given as.
fn given(t: &mut T<'_>, class: Class, rule: Rule) -> Outcome {
    let s = t.user()?;
    let o = s.create(&class.least().with(&sample(rule)))?;
    let value = s.get(o, rule.ty);
    if rule.ty == CKA_TOKEN {
        s.destroy(o)?;
    }
    same_bytes("value", &value?, rule.sample)
}

const READ_ONLY: &[CK_RV] = &[
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_USER_NOT_LOGGED_IN,
];

fn not_given(t: &mut T<'_>, class: Class, rule: Rule) -> Outcome {
    let s = t.user()?;
    refused("C_CreateObject with it", s.create(&class.least().with(&sample(rule))), READ_ONLY)
}

fn changed(t: &mut T<'_>, class: Class, rule: Rule) -> Outcome {
    let s = t.user()?;
    let o = s.create(&class.least())?;
    s.set(o, &sample(rule))?;
    same_bytes("value after the change", &s.get(o, rule.ty)?, rule.sample)
}

fn not_changed(t: &mut T<'_>, class: Class, rule: Rule) -> Outcome {
    let s = t.user()?;
    let o = s.create(&class.least())?;
    let before = s.get_many(o, &[(rule.ty, crate::ffi::Room::Bytes(600))]);
    let same = before.1.first().is_some_and(|(_, v)| v == rule.sample);
    let set = s.set(o, &sample(rule));
    if same && set.is_ok() {
        return skip("the token's default is the sample");
    }
    refused("C_SetAttributeValue", set, READ_ONLY)?;
    let after = s.get_many(o, &[(rule.ty, crate::ffi::Room::Bytes(600))]);
    equal("value after a refused change", after, before)
}

fn one_way(t: &mut T<'_>, class: Class, rule: Rule) -> Outcome {
    let (target, changes) = match rule.change {
        Change::Only(v) => (v, true),
        Change::Stuck(v) => (v, false),
        _ => return skip("no one-way attribute"),
    };
    let s = t.user()?;
    let set = |v| Template::new().flag(rule.ty, v);
    let o = s.create(&class.least().with(&set(target != changes)))?;
    if changes {
        s.set(o, &set(target))?;
    }
    equal("value before", s.get_bool(o, rule.ty)?, target)?;
    let back = s.set(o, &set(!target)).map_or_else(|r| r.rv, |()| Rv(CKR_OK));
    one_of("C_SetAttributeValue back", back, &[READ_ONLY, &[CKR_ACTION_PROHIBITED]].concat())?;
    equal("value after the refused change", s.get_bool(o, rule.ty)?, target)
}
