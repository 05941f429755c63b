//! Objects: creating, reading, changing, copying, destroying.

use cryptoki_sys::*;

use super::keys::Kind;
use super::{Need, Row};
use crate::context::{Outcome, T, ensure, equal, fail, one_of, refused, same_bytes, skip};
use crate::data::{Mech, Template};
use crate::ffi::{Room, Session};
use crate::functions::F;

pub static ROWS: &[Row] = &[
    Row("create/data", "4.6", &[Need::User, Need::Writable], create_data),
    Row("create/token-object-survives", "5.7.1", &[Need::User, Need::Writable], survives),
    Row("create/no-class", "4.1.1", &[Need::User], no_class),
    Row("create/unknown-class", "4.1.1", &[Need::User], unknown_class),
    Row("create/unknown-attribute", "4.1.1", &[Need::User], unknown_attribute),
    Row("create/wrong-length-bool", "4.1.1", &[Need::User], wrong_length),
    Row("create/read-only-attribute", "4.1.1", &[Need::User], read_only_attribute),
    Row("create/incomplete-keys", "4.1.1", &[Need::User], incomplete),
    Row("create/attribute-of-other-class", "4.1.1", &[Need::User], other_class),
    Row("create/conflicting-values", "4.1.1", &[Need::User], conflicting),
    Row("create/key-local-flags", "5.7.1", &[Need::User], imported_flags),
    Row("create/trusted-by-user", "4.10", &[Need::User], trusted),
    Row("defaults/data", "4.5", &[Need::User], defaults_data),
    Row("defaults/secret-key", "4.9", &[Need::User], defaults_secret),
    Row("defaults/generated-private-key", "4.11", &[Need::User], defaults_private),
    Row("unique-id/assigned-and-distinct", "4.2.2", &[Need::User], unique_id),
    Row("unique-id/not-settable", "4.2.2", &[Need::User], unique_id_read_only),
    Row("get/length-query", "5.7.5", &[Need::User], get_query),
    Row("get/too-small", "5.7.5", &[Need::User], get_too_small),
    Row("get/all-processed", "5.7.5", &[Need::User], get_all_processed),
    Row("get/absent-attribute", "5.7.5", &[Need::User], get_absent),
    Row("get/sensitive", "5.7.5", &[Need::User], get_sensitive),
    Row("get/unextractable", "5.7.5", &[Need::User], get_unextractable),
    Row("get/no-attributes", "5.7.5", &[Need::User], get_none),
    Row("get/empty-value", "5.7.5", &[Need::User], get_empty),
    Row("set/label", "5.7.6", &[Need::User], set_label),
    Row("set/all-or-nothing", "5", &[Need::User], set_all_or_nothing),
    Row("set/not-modifiable", "5.7.6", &[Need::User], set_unmodifiable),
    Row("set/fixed-attributes", "4.1.2", &[Need::User], set_fixed),
    Row("set/sensitive-one-way", "4.12", &[Need::User], sensitive_one_way),
    Row("set/extractable-one-way", "4.12", &[Need::User], extractable_one_way),
    Row("set/modifiable-one-way", "4.5", &[Need::User], modifiable_one_way),
    Row("set/token-object-persists", "5.7.6", &[Need::User, Need::Writable], set_persists),
    Row("copy/data", "5.7.2", &[Need::User], copy_data),
    Row("copy/session-to-token", "5.7.2", &[Need::User, Need::Writable], copy_to_token),
    Row("copy/not-copyable", "5.7.2", &[Need::User], copy_forbidden),
    Row("copy/sensitive-one-way", "5.7.2", &[Need::User], copy_sensitive),
    Row("copy/unique-id-new", "5.7.2", &[Need::User], copy_unique_id),
    Row("copy/original-untouched", "5.7.2", &[Need::User], copy_leaves_original),
    Row("destroy/not-destroyable", "5.7.3", &[Need::User], destroy_forbidden),
    Row("destroy/token-object", "5.7.3", &[Need::User, Need::Writable], destroy_token),
    Row("size/of-object", "5.7.4", &[Need::User], size),
    Row("key/always-sensitive", "4.12", &[Need::User], always_sensitive),
    Row("key/gen-mechanism", "4.9", &[Need::User], gen_mechanism),
    Row("key/check-value", "4.12", &[Need::User], check_value),
    Row("key/allowed-mechanisms", "4.9", &[Need::User], allowed_mechanisms),
    Row("key/start-and-end-date", "4.9", &[Need::User], dates),
    Row("certificate/x509", "4.7.3", &[Need::User], certificate),
    Row("certificate/incomplete", "4.7.3", &[Need::User], certificate_incomplete),
    Row("profile/read-only", "4.16", &[Need::Token], profiles),
];

const LABEL: &str = "objects test";

fn data() -> Template {
    Template::of(CKO_DATA)
        .flag(CKA_TOKEN, false)
        .flag(CKA_PRIVATE, false)
        .text(CKA_LABEL, LABEL)
        .text(CKA_APPLICATION, "application")
        .bytes(CKA_VALUE, b"value")
}

fn secret() -> Template {
    Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
        .bytes(CKA_VALUE, &[7; 32])
}

fn token(t: Template) -> Template {
    t.with(&Template::new().flag(CKA_TOKEN, true))
}

/// Destroys what is left of the token objects with this label.
fn sweep(s: Session, label: &str) -> Outcome {
    for o in s.find(&Template::new().flag(CKA_TOKEN, true).text(CKA_LABEL, label))? {
        s.destroy(o)?;
    }
    Ok(())
}

fn create_data(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    for ty in [CKA_LABEL, CKA_APPLICATION, CKA_VALUE] {
        same_bytes("attribute", &s.get(o, ty)?, data().value(ty).unwrap_or_default())?;
    }
    equal("CKA_CLASS", s.get_ulong(o, CKA_CLASS)?, CKO_DATA)
}

fn survives(t: &mut T<'_>) -> Outcome {
    let label = "survives";
    let s = t.user()?;
    sweep(s, label)?;
    s.create(&token(data()).with(&Template::new().text(CKA_LABEL, label)))?;
    t.finalize()?;
    let s = t.user()?;
    let found = s.find(&Template::new().text(CKA_LABEL, label))?;
    equal("found after another C_Initialize", found.len(), 1)?;
    same_bytes("value", &s.get(found[0], CKA_VALUE)?, b"value")?;
    sweep(s, label)
}

/// The three that callers are asked not to tell apart (section 5.1.8, 5).
const BAD_TEMPLATE: &[CK_RV] = &[CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID];

fn no_class(t: &mut T<'_>) -> Outcome {
    refused("C_CreateObject without class", t.user()?.create(&data().without(CKA_CLASS)), BAD_TEMPLATE)?;
    let allowed = [BAD_TEMPLATE, &[CKR_ARGUMENTS_BAD]].concat();
    refused("C_CreateObject of nothing", t.user()?.create(&Template::new()), &allowed)
}

fn unknown_class(t: &mut T<'_>) -> Outcome {
    let made = t.user()?.create(&Template::of(0x7FFF_0001).flag(CKA_TOKEN, false));
    refused("C_CreateObject of an unknown class", made, BAD_TEMPLATE)
}

fn unknown_attribute(t: &mut T<'_>) -> Outcome {
    let made = t.user()?.create(&data().bytes(0x3FFF_0001, b"x"));
    refused("C_CreateObject with an unknown attribute", made, &[CKR_ATTRIBUTE_TYPE_INVALID])
}

fn wrong_length(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    for (what, bad) in [
        ("a boolean of 2 bytes", data().without(CKA_PRIVATE).bytes(CKA_PRIVATE, &[0, 0])),
        ("a class of 1 byte", data().without(CKA_CLASS).bytes(CKA_CLASS, &[0])),
        ("an empty boolean", data().without(CKA_TOKEN).bytes(CKA_TOKEN, &[])),
    ] {
        refused(what, s.create(&bad), BAD_TEMPLATE)?;
    }
    Ok(())
}

fn read_only_attribute(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    for (name, bad) in [
        ("CKA_LOCAL", secret().flag(CKA_LOCAL, true)),
        ("CKA_ALWAYS_SENSITIVE", secret().flag(CKA_ALWAYS_SENSITIVE, true)),
        ("CKA_NEVER_EXTRACTABLE", secret().flag(CKA_NEVER_EXTRACTABLE, true)),
        ("CKA_KEY_GEN_MECHANISM", secret().ulong(CKA_KEY_GEN_MECHANISM, CKM_AES_KEY_GEN)),
    ] {
        let allowed = [CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT];
        refused(&format!("C_CreateObject with {name}"), s.create(&bad), &allowed)?;
    }
    Ok(())
}

fn incomplete(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let ec = |class| Template::key(class, CKK_EC).flag(CKA_TOKEN, false);
    for (what, bad) in [
        ("a secret key without value", secret().without(CKA_VALUE)),
        ("a secret key without key type", secret().without(CKA_KEY_TYPE)),
        ("an RSA public key without modulus", super::rsa_key::public_template().without(CKA_MODULUS)),
        ("an RSA private key without exponent", super::rsa_key::private_template().without(CKA_PRIVATE_EXPONENT)),
        ("an EC public key without point", ec(CKO_PUBLIC_KEY).bytes(CKA_EC_PARAMS, super::keys::P256)),
        ("an EC private key without parameters", ec(CKO_PRIVATE_KEY).bytes(CKA_VALUE, &[1; 32])),
    ] {
        // A private key may be complete by its primes; without them the exponent is needed.
        let bad = bad.without(CKA_PRIME_1).without(CKA_PRIME_2);
        refused(&format!("C_CreateObject of {what}"), s.create(&bad), BAD_TEMPLATE)?;
    }
    Ok(())
}

fn other_class(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let allowed = [CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_TYPE_INVALID];
    refused("a data object with CKA_MODULUS", s.create(&data().bytes(CKA_MODULUS, &[1; 16])), &allowed)?;
    refused("a secret key with CKA_MODULUS", s.create(&secret().bytes(CKA_MODULUS, &[1; 16])), &allowed)
}

fn conflicting(t: &mut T<'_>) -> Outcome {
    let made = t.user()?.create(&data().text(CKA_LABEL, "another label"));
    refused("C_CreateObject with two labels", made, BAD_TEMPLATE)
}

fn flags_are(s: Session, o: CK_OBJECT_HANDLE, want: &[(CK_ATTRIBUTE_TYPE, bool)]) -> Outcome {
    for (ty, value) in want {
        equal(&crate::names::name_of("CKA_", *ty), s.get_bool(o, *ty)?, *value)?;
    }
    Ok(())
}

fn imported_flags(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let imported = [(CKA_LOCAL, false), (CKA_ALWAYS_SENSITIVE, false), (CKA_NEVER_EXTRACTABLE, false)];
    flags_are(s, s.create(&secret())?, &imported)?;
    let hard = Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
    flags_are(s, s.create(&secret().with(&hard))?, &imported)
}

fn trusted(t: &mut T<'_>) -> Outcome {
    let made = t.user()?.create(&secret().flag(CKA_TRUSTED, true));
    let allowed =
        [CKR_ATTRIBUTE_READ_ONLY, CKR_USER_NOT_LOGGED_IN, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID];
    refused("CKA_TRUSTED set by the user", made, &allowed)
}

fn defaults_data(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&Template::of(CKO_DATA))?;
    flags_are(s, o, &[(CKA_TOKEN, false), (CKA_MODIFIABLE, true), (CKA_COPYABLE, true), (CKA_DESTROYABLE, true)])?;
    for ty in [CKA_LABEL, CKA_APPLICATION, CKA_OBJECT_ID, CKA_VALUE] {
        same_bytes("default", &s.get(o, ty)?, b"")?;
    }
    Ok(())
}

fn defaults_secret(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let key = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[7; 32]);
    let o = s.create(&key)?;
    flags_are(s, o, &[(CKA_TOKEN, false), (CKA_DERIVE, false), (CKA_LOCAL, false), (CKA_MODIFIABLE, true)])?;
    for ty in [CKA_ID, CKA_START_DATE, CKA_END_DATE, CKA_LABEL] {
        same_bytes("default", &s.get(o, ty)?, b"")?;
    }
    equal("CKA_KEY_GEN_MECHANISM", s.get_ulong(o, CKA_KEY_GEN_MECHANISM)?, CK_UNAVAILABLE_INFORMATION)
}

fn defaults_private(t: &mut T<'_>) -> Outcome {
    t.mechanism(CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR)?;
    let s = t.user()?;
    let public = Template::new().bytes(CKA_EC_PARAMS, super::keys::P256);
    let (public, private) = s.generate_pair(&Mech::new(CKM_EC_KEY_PAIR_GEN), &public, &Template::new())?;
    flags_are(s, public, &[(CKA_TOKEN, false), (CKA_LOCAL, true), (CKA_TRUSTED, false)])?;
    flags_are(
        s,
        private,
        &[(CKA_TOKEN, false), (CKA_LOCAL, true), (CKA_ALWAYS_AUTHENTICATE, false), (CKA_WRAP_WITH_TRUSTED, false)],
    )?;
    let same = |a, b| Ok::<_, crate::context::Stop>((s.get_bool(private, a)?, s.get_bool(private, b)?));
    let (sensitive, always) = same(CKA_SENSITIVE, CKA_ALWAYS_SENSITIVE)?;
    equal("CKA_ALWAYS_SENSITIVE of a new key", always, sensitive)?;
    let (extractable, never) = same(CKA_EXTRACTABLE, CKA_NEVER_EXTRACTABLE)?;
    equal("CKA_NEVER_EXTRACTABLE of a new key", never, !extractable)
}

fn needs_unique_id(t: &T<'_>) -> Outcome {
    if t.api.list.version.0 < 3 { skip("CKA_UNIQUE_ID came with 3.0") } else { Ok(()) }
}

fn unique_id(t: &mut T<'_>) -> Outcome {
    needs_unique_id(t)?;
    let s = t.user()?;
    let (a, b) = (s.create(&data())?, s.create(&data())?);
    let ids = (s.get(a, CKA_UNIQUE_ID)?, s.get(b, CKA_UNIQUE_ID)?);
    ensure(!ids.0.is_empty() && ids.0 != ids.1, || format!("unique IDs {ids:?}"))?;
    ensure(std::str::from_utf8(&ids.0).is_ok(), || "the unique ID is not text".into())
}

fn unique_id_read_only(t: &mut T<'_>) -> Outcome {
    needs_unique_id(t)?;
    let s = t.user()?;
    let mine = Template::new().text(CKA_UNIQUE_ID, "mine");
    let allowed = [CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT];
    refused("C_CreateObject with CKA_UNIQUE_ID", s.create(&data().with(&mine)), &allowed)?;
    let o = s.create(&data())?;
    refused("C_SetAttributeValue of CKA_UNIQUE_ID", s.set(o, &mine), &allowed)
}

fn get_query(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    let (rv, lens) = s.get_many(o, &[(CKA_LABEL, Room::Query), (CKA_VALUE, Room::Query), (CKA_TOKEN, Room::Query)]);
    one_of("C_GetAttributeValue", rv, &[CKR_OK])?;
    let lens: Vec<_> = lens.iter().map(|(n, _)| *n).collect();
    equal("lengths", lens, vec![Some(LABEL.len()), Some(5), Some(1)])
}

fn get_too_small(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    let (rv, got) = s.get_many(o, &[(CKA_LABEL, Room::Bytes(3)), (CKA_VALUE, Room::Bytes(100))]);
    one_of("C_GetAttributeValue with too little room", rv, &[CKR_BUFFER_TOO_SMALL])?;
    equal("length of the one that did not fit", got[0].0, None)?;
    same_bytes("the one that fitted", &got[1].1, b"value")
}

/// One attribute that is sensitive, one absent, one too long and one good: the good one is returned.
fn get_all_processed(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let hard = Template::new().flag(CKA_SENSITIVE, true).text(CKA_LABEL, "a label").bytes(CKA_ID, b"id");
    let o = s.create(&secret().with(&hard))?;
    let ask = [
        (CKA_VALUE, Room::Bytes(100)),
        (CKA_MODULUS, Room::Bytes(100)),
        (CKA_LABEL, Room::Bytes(2)),
        (CKA_ID, Room::Bytes(100)),
    ];
    let (rv, got) = s.get_many(o, &ask);
    let allowed = [CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL];
    one_of("C_GetAttributeValue", rv, &allowed)?;
    let lens: Vec<_> = got.iter().map(|(n, _)| *n).collect();
    equal("lengths", lens, vec![None, None, None, Some(2)])?;
    same_bytes("CKA_ID", &got[3].1, b"id")
}

fn get_absent(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    for ty in [CKA_MODULUS, 0x3FFF_0001] {
        let (rv, got) = s.get_many(o, &[(ty, Room::Query)]);
        one_of("C_GetAttributeValue of an absent attribute", rv, &[CKR_ATTRIBUTE_TYPE_INVALID])?;
        equal("length", got[0].0, None)?;
    }
    Ok(())
}

fn unreadable(s: Session, o: CK_OBJECT_HANDLE) -> Outcome {
    for room in [Room::Query, Room::Bytes(100)] {
        let (rv, got) = s.get_many(o, &[(CKA_VALUE, room)]);
        one_of("C_GetAttributeValue of a value that stays inside", rv, &[CKR_ATTRIBUTE_SENSITIVE])?;
        equal("length", got[0].0, None)?;
    }
    Ok(())
}

fn get_sensitive(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    unreadable(s, s.create(&secret().with(&Template::new().flag(CKA_SENSITIVE, true)))?)
}

fn get_unextractable(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    unreadable(s, s.create(&secret().with(&Template::new().flag(CKA_EXTRACTABLE, false)))?)
}

fn get_none(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    let (rv, _) = s.get_many(o, &[]);
    one_of("C_GetAttributeValue of no attributes", rv, &[CKR_OK, CKR_ARGUMENTS_BAD])
}

fn get_empty(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&Template::of(CKO_DATA).flag(CKA_TOKEN, false).bytes(CKA_VALUE, b""))?;
    let (rv, got) = s.get_many(o, &[(CKA_VALUE, Room::Query)]);
    one_of("C_GetAttributeValue", rv, &[CKR_OK])?;
    equal("length of an empty value", got[0].0, Some(0))
}

fn set_label(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    s.set(o, &Template::new().text(CKA_LABEL, "changed"))?;
    same_bytes("label", &s.get(o, CKA_LABEL)?, b"changed")?;
    same_bytes("value", &s.get(o, CKA_VALUE)?, b"value")
}

/// A refused change leaves all attributes of the call as they were.
fn set_all_or_nothing(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&secret().text(CKA_LABEL, LABEL))?;
    let set = s.set(o, &Template::new().text(CKA_LABEL, "changed").flag(CKA_LOCAL, true));
    refused("C_SetAttributeValue", set, &[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT])?;
    same_bytes("label", &s.get(o, CKA_LABEL)?, LABEL.as_bytes())
}

fn set_unmodifiable(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data().flag(CKA_MODIFIABLE, false))?;
    let set = s.set(o, &Template::new().text(CKA_LABEL, "changed"));
    refused("C_SetAttributeValue of an unmodifiable object", set, &[CKR_ACTION_PROHIBITED])?;
    same_bytes("label", &s.get(o, CKA_LABEL)?, LABEL.as_bytes())
}

fn set_fixed(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&secret())?;
    for (name, change) in [
        ("CKA_CLASS", Template::of(CKO_DATA)),
        ("CKA_TOKEN", Template::new().flag(CKA_TOKEN, true)),
        ("CKA_PRIVATE", Template::new().flag(CKA_PRIVATE, false)),
        ("CKA_KEY_TYPE", Template::new().ulong(CKA_KEY_TYPE, CKK_AES)),
        ("CKA_VALUE", Template::new().bytes(CKA_VALUE, &[1; 32])),
        ("CKA_LOCAL", Template::new().flag(CKA_LOCAL, true)),
        ("CKA_ALWAYS_SENSITIVE", Template::new().flag(CKA_ALWAYS_SENSITIVE, true)),
        ("CKA_NEVER_EXTRACTABLE", Template::new().flag(CKA_NEVER_EXTRACTABLE, true)),
        ("CKA_COPYABLE", Template::new().flag(CKA_COPYABLE, false)),
    ] {
        let result = s.set(o, &change);
        // CKA_COPYABLE may go from true to false; nothing else of these may change.
        if name == "CKA_COPYABLE" {
            continue;
        }
        let allowed = [CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT];
        refused(&format!("C_SetAttributeValue of {name}"), result, &allowed)?;
    }
    Ok(())
}

/// The attribute goes one way only, by C_SetAttributeValue.
fn one_way(t: &mut T<'_>, start: Template, ty: CK_ATTRIBUTE_TYPE, first: bool, allowed: &[CK_RV]) -> Outcome {
    let s = t.user()?;
    let set = |v| Template::new().flag(ty, v);
    let o = s.create(&start.with(&set(first)))?;
    s.set(o, &set(!first))?;
    equal("value after the change", s.get_bool(o, ty)?, !first)?;
    refused("C_SetAttributeValue back", s.set(o, &set(first)), allowed)?;
    equal("value after the refused change", s.get_bool(o, ty)?, !first)
}

fn sensitive_one_way(t: &mut T<'_>) -> Outcome {
    one_way(t, secret(), CKA_SENSITIVE, false, &[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT])
}

fn extractable_one_way(t: &mut T<'_>) -> Outcome {
    one_way(t, secret(), CKA_EXTRACTABLE, true, &[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT])
}

/// An object made unmodifiable stays so. The specification lets CKA_MODIFIABLE be set at creation or copy only.
fn modifiable_one_way(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data().flag(CKA_MODIFIABLE, false))?;
    let set = s.set(o, &Template::new().flag(CKA_MODIFIABLE, true));
    refused("C_SetAttributeValue of CKA_MODIFIABLE", set, &[CKR_ACTION_PROHIBITED, CKR_ATTRIBUTE_READ_ONLY])
}

fn set_persists(t: &mut T<'_>) -> Outcome {
    let (label, changed) = ("to be changed", "was changed");
    let s = t.user()?;
    sweep(s, label)?;
    sweep(s, changed)?;
    let o = s.create(&token(data()).with(&Template::new().text(CKA_LABEL, label)))?;
    s.set(o, &Template::new().text(CKA_LABEL, changed))?;
    t.finalize()?;
    let s = t.user()?;
    equal("found by the new label", s.find(&Template::new().text(CKA_LABEL, changed))?.len(), 1)?;
    sweep(s, changed)
}

fn copy_data(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    let copy = s.copy(o, &Template::new().text(CKA_LABEL, "a copy"))?;
    ensure(copy != o, || "the copy has the original's handle".into())?;
    same_bytes("label of the copy", &s.get(copy, CKA_LABEL)?, b"a copy")?;
    same_bytes("value of the copy", &s.get(copy, CKA_VALUE)?, b"value")
}

fn copy_leaves_original(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    let copy = s.copy(o, &Template::new().text(CKA_LABEL, "a copy"))?;
    same_bytes("label of the original", &s.get(o, CKA_LABEL)?, LABEL.as_bytes())?;
    s.destroy(copy)?;
    same_bytes("label of the original", &s.get(o, CKA_LABEL)?, LABEL.as_bytes())
}

fn copy_to_token(t: &mut T<'_>) -> Outcome {
    let label = "copied to token";
    let s = t.user()?;
    sweep(s, label)?;
    let o = s.create(&data())?;
    s.copy(o, &Template::new().flag(CKA_TOKEN, true).text(CKA_LABEL, label))?;
    t.finalize()?;
    let s = t.user()?;
    equal("found after another C_Initialize", s.find(&Template::new().text(CKA_LABEL, label))?.len(), 1)?;
    sweep(s, label)
}

fn copy_forbidden(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data().flag(CKA_COPYABLE, false))?;
    refused("C_CopyObject", s.copy(o, &Template::new()), &[CKR_ACTION_PROHIBITED])
}

fn copy_sensitive(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&secret())?;
    let copy = s.copy(o, &Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false))?;
    flags_are(
        s,
        copy,
        &[
            (CKA_SENSITIVE, true),
            (CKA_EXTRACTABLE, false),
            (CKA_ALWAYS_SENSITIVE, false),
            (CKA_NEVER_EXTRACTABLE, false),
        ],
    )?;
    unreadable(s, copy)?;
    let allowed = [CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT];
    refused("a copy less sensitive", s.copy(copy, &Template::new().flag(CKA_SENSITIVE, false)), &allowed)?;
    refused("a copy more extractable", s.copy(copy, &Template::new().flag(CKA_EXTRACTABLE, true)), &allowed)
}

fn copy_unique_id(t: &mut T<'_>) -> Outcome {
    needs_unique_id(t)?;
    let s = t.user()?;
    let o = s.create(&data())?;
    let copy = s.copy(o, &Template::new())?;
    ensure(s.get(o, CKA_UNIQUE_ID)? != s.get(copy, CKA_UNIQUE_ID)?, || "the copy has the same unique ID".into())
}

fn destroy_forbidden(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data().flag(CKA_DESTROYABLE, false))?;
    refused("C_DestroyObject", s.destroy(o), &[CKR_ACTION_PROHIBITED])?;
    same_bytes("label", &s.get(o, CKA_LABEL)?, LABEL.as_bytes())
}

fn destroy_token(t: &mut T<'_>) -> Outcome {
    let label = "to be destroyed";
    let s = t.user()?;
    sweep(s, label)?;
    let o = s.create(&token(data()).with(&Template::new().text(CKA_LABEL, label)))?;
    s.destroy(o)?;
    t.finalize()?;
    equal("found after another C_Initialize", t.user()?.find(&Template::new().text(CKA_LABEL, label))?.len(), 0)
}

fn size(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&data())?;
    match t.api.store::<CK_ULONG>(F::C_GetObjectSize, &[s.h as usize, o as usize]) {
        Ok(CK_UNAVAILABLE_INFORMATION) => Ok(()),
        Ok(n) => ensure(n > 0, || "size 0".into()),
        Err(r) => one_of("C_GetObjectSize", r.rv, &[CKR_INFORMATION_SENSITIVE]),
    }
}

fn generate_secret(t: &mut T<'_>, s: Session, extra: &Template) -> Result<CK_OBJECT_HANDLE, crate::context::Stop> {
    t.mechanism(CKM_GENERIC_SECRET_KEY_GEN, CKF_GENERATE)?;
    Ok(t.secret(s, CKM_GENERIC_SECRET_KEY_GEN, Some(32), extra)?)
}

fn always_sensitive(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let soft = Template::new().flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    let hard = Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
    let o = generate_secret(t, s, &hard)?;
    flags_are(s, o, &[(CKA_LOCAL, true), (CKA_ALWAYS_SENSITIVE, true), (CKA_NEVER_EXTRACTABLE, true)])?;
    let o = generate_secret(t, s, &soft)?;
    s.set(o, &hard)?;
    flags_are(s, o, &[(CKA_LOCAL, true), (CKA_ALWAYS_SENSITIVE, false), (CKA_NEVER_EXTRACTABLE, false)])
}

fn gen_mechanism(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = generate_secret(t, s, &Template::new())?;
    equal("CKA_KEY_GEN_MECHANISM", s.get_ulong(o, CKA_KEY_GEN_MECHANISM)?, CKM_GENERIC_SECRET_KEY_GEN)?;
    let made = s.create(&secret())?;
    equal("of an imported key", s.get_ulong(made, CKA_KEY_GEN_MECHANISM)?, CK_UNAVAILABLE_INFORMATION)
}

/// The check value of an AES key: the first three bytes of a zero block encrypted.
fn check_value(t: &mut T<'_>) -> Outcome {
    t.mechanism(CKM_AES_ECB, CKF_ENCRYPT)?;
    let s = t.user()?;
    let keys = Kind::Aes(16).make(s)?;
    s.init(F::C_EncryptInit, &Mech::new(CKM_AES_ECB), keys.private)?;
    let block = s.run(F::C_Encrypt, &[0; 16])?;
    match s.get(keys.private, CKA_CHECK_VALUE) {
        Err(r) if r.rv.0 == CKR_ATTRIBUTE_TYPE_INVALID => skip("CKA_CHECK_VALUE is optional and not there"),
        value => same_bytes("CKA_CHECK_VALUE", &value?, &block[..3]),
    }
}

fn allowed_mechanisms(t: &mut T<'_>) -> Outcome {
    t.mechanism(CKM_SHA256_HMAC, CKF_SIGN)?;
    t.mechanism(CKM_SHA512_HMAC, CKF_SIGN)?;
    let s = t.user()?;
    let only = Template::new().flag(CKA_SIGN, true).ulong(CKA_ALLOWED_MECHANISMS, CKM_SHA256_HMAC);
    let o = s.create(&secret().with(&only))?;
    same_bytes("CKA_ALLOWED_MECHANISMS", &s.get(o, CKA_ALLOWED_MECHANISMS)?, &CKM_SHA256_HMAC.to_ne_bytes())?;
    let other = s.init(F::C_SignInit, &Mech::new(CKM_SHA512_HMAC), o);
    refused(
        "C_SignInit with a mechanism not allowed",
        other,
        &[CKR_MECHANISM_INVALID, CKR_KEY_FUNCTION_NOT_PERMITTED],
    )?;
    s.init(F::C_SignInit, &Mech::new(CKM_SHA256_HMAC), o)?;
    Ok(())
}

fn dates(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&secret().text(CKA_START_DATE, "20200102").text(CKA_END_DATE, "20991231"))?;
    same_bytes("CKA_START_DATE", &s.get(o, CKA_START_DATE)?, b"20200102")?;
    same_bytes("CKA_END_DATE", &s.get(o, CKA_END_DATE)?, b"20991231")?;
    let bad = s.create(&secret().text(CKA_START_DATE, "2020"));
    refused("a start date of 4 bytes", bad, BAD_TEMPLATE)
}

fn x509() -> Template {
    Template::of(CKO_CERTIFICATE)
        .flag(CKA_TOKEN, false)
        .flag(CKA_PRIVATE, false)
        .ulong(CKA_CERTIFICATE_TYPE, CKC_X_509)
        .bytes(CKA_SUBJECT, &[0x30, 0])
        .bytes(CKA_ID, b"id")
        .bytes(CKA_VALUE, &[0x30, 3, 2, 1, 1])
}

fn certificate(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let o = s.create(&x509())?;
    for ty in [CKA_SUBJECT, CKA_ID, CKA_VALUE] {
        same_bytes("attribute", &s.get(o, ty)?, x509().value(ty).unwrap_or_default())?;
    }
    flags_are(s, o, &[(CKA_TRUSTED, false), (CKA_TOKEN, false), (CKA_MODIFIABLE, true)])?;
    equal("CKA_CERTIFICATE_CATEGORY", s.get_ulong(o, CKA_CERTIFICATE_CATEGORY)?, CK_CERTIFICATE_CATEGORY_UNSPECIFIED)?;
    same_bytes("CKA_ISSUER", &s.get(o, CKA_ISSUER)?, b"")
}

fn certificate_incomplete(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    for ty in [CKA_CERTIFICATE_TYPE, CKA_SUBJECT, CKA_VALUE] {
        let what = format!("a certificate without {}", crate::names::name_of("CKA_", ty));
        refused(&what, s.create(&x509().without(ty)), BAD_TEMPLATE)?;
    }
    Ok(())
}

/// Profile objects tell known profiles, and nobody makes them.
fn profiles(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    for o in s.find(&Template::of(CKO_PROFILE))? {
        let id = s.get_ulong(o, CKA_PROFILE_ID)?;
        ensure(id != CKP_INVALID_ID, || "a profile object with an invalid ID".into())?;
    }
    match s.create(&Template::of(CKO_PROFILE).ulong(CKA_PROFILE_ID, CKP_BASELINE_PROVIDER)) {
        Ok(_) => fail("a profile object could be created"),
        Err(r) => ensure(r.rv.0 != CKR_GENERAL_ERROR, || format!("C_CreateObject of a profile returned {}", r.rv)),
    }
}
