//! C_FindObjects and its siblings.

use cryptoki_sys::*;

use super::{Need, Row};
use crate::context::{Outcome, T, ensure, equal, one_of, refused};
use crate::data::Template;
use crate::ffi::{Rv, Session};

pub static ROWS: &[Row] = &[
    Row("empty-template-finds-all", "5.7.7", &[Need::User, Need::Writable], all),
    Row("every-attribute-must-match", "5.7.7", &[Need::User, Need::Writable], all_must_match),
    Row("exact-match-only", "5.7.7", &[Need::User, Need::Writable], exact),
    Row("in-portions", "5.7.8", &[Need::User, Need::Writable], portions),
    Row("zero-room", "5.7.8", &[Need::User, Need::Writable], zero_room),
    Row("twice-init", "5.7.7", &[Need::Token], twice),
    Row("final-ends", "5.7.9", &[Need::Token], final_ends),
    Row("two-sessions", "5.7.7", &[Need::User, Need::Writable], two_sessions),
    Row("by-unique-id", "5.7.7", &[Need::User, Need::Writable], unique_id),
    Row("absent-attribute", "5.7.7", &[Need::User, Need::Writable], absent),
    Row("destroyed-not-found", "5.7.3", &[Need::User, Need::Writable], destroyed),
    Row("by-new-label", "5.7.6", &[Need::User, Need::Writable], relabelled),
    Row("sensitive-value-does-not-match", "beyond 5.7.7", &[Need::User], sensitive_value),
    Row("thousand-objects", "5.7.8", &[Need::User, Need::Writable], thousand),
];

fn object(label: &str, id: u8) -> Template {
    Template::of(CKO_DATA)
        .flag(CKA_TOKEN, false)
        .flag(CKA_PRIVATE, false)
        .text(CKA_LABEL, label)
        .text(CKA_APPLICATION, "search test")
        .bytes(CKA_OBJECT_ID, &[6, 1, id])
}

fn some(s: Session, n: u8) -> Result<Vec<CK_OBJECT_HANDLE>, crate::context::Stop> {
    (0..n).map(|i| Ok(s.create(&object(&format!("object {i}"), i))?)).collect()
}

fn ours() -> Template {
    Template::new().text(CKA_APPLICATION, "search test")
}

fn all(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let made = some(s, 3)?;
    let found = s.find(&Template::new())?;
    ensure(made.iter().all(|o| found.contains(o)), || "an object is missing from a search for all".into())?;
    let mut unique = found.clone();
    unique.sort_unstable();
    unique.dedup();
    equal("distinct handles", unique.len(), found.len())
}

fn all_must_match(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let made = some(s, 3)?;
    let search = ours().text(CKA_LABEL, "object 1");
    equal("found", s.find(&search)?, vec![made[1]])?;
    let none = search.bytes(CKA_OBJECT_ID, &[6, 1, 2]);
    equal("found with one attribute that differs", s.find(&none)?.len(), 0)
}

fn exact(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    some(s, 1)?;
    for label in ["object", "object 0 ", "Object 0", "", "bject 0"] {
        equal("found", s.find(&ours().text(CKA_LABEL, label))?.len(), 0)?;
    }
    Ok(())
}

fn portions(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let mut made = some(s, 7)?;
    s.find_init(&ours())?;
    let mut found = Vec::new();
    for want in [3, 3, 1, 0, 0] {
        let part = s.find_next(3)?;
        equal("number in this portion", part.len(), want)?;
        found.extend(part);
    }
    s.find_final()?;
    found.sort_unstable();
    made.sort_unstable();
    equal("all portions", found, made)
}

fn zero_room(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    some(s, 2)?;
    s.find_init(&ours())?;
    match s.find_next(0) {
        Ok(none) => equal("found with room for none", none.len(), 0)?,
        Err(r) => one_of("C_FindObjects with room for none", r.rv, &[CKR_ARGUMENTS_BAD])?,
    }
    equal("found afterwards", s.find_next(10)?.len(), 2)
}

fn twice(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    s.find_init(&Template::new())?;
    refused("second C_FindObjectsInit", s.find_init(&Template::new()), &[CKR_OPERATION_ACTIVE])?;
    s.find_next(1)?;
    s.find_final()?;
    Ok(())
}

fn final_ends(t: &mut T<'_>) -> Outcome {
    let s = t.session()?;
    s.find_init(&Template::new())?;
    s.find_final()?;
    refused("C_FindObjects", s.find_next(1), &[CKR_OPERATION_NOT_INITIALIZED])?;
    refused("C_FindObjectsFinal", s.find_final(), &[CKR_OPERATION_NOT_INITIALIZED])?;
    s.find_init(&Template::new())?;
    s.find_final()?;
    Ok(())
}

fn two_sessions(t: &mut T<'_>) -> Outcome {
    let (a, b) = (t.user()?, t.user()?);
    let made = some(a, 2)?;
    a.find_init(&ours().text(CKA_LABEL, "object 0"))?;
    b.find_init(&ours().text(CKA_LABEL, "object 1"))?;
    equal("found in one session", a.find_next(5)?, vec![made[0]])?;
    equal("found in the other", b.find_next(5)?, vec![made[1]])
}

fn unique_id(t: &mut T<'_>) -> Outcome {
    if t.api.list.version.0 < 3 {
        return crate::context::skip("CKA_UNIQUE_ID came with 3.0");
    }
    let s = t.user()?;
    let made = some(s, 3)?;
    let id = s.get(made[1], CKA_UNIQUE_ID)?;
    equal("found by unique ID", s.find(&Template::new().bytes(CKA_UNIQUE_ID, &id))?, vec![made[1]])
}

fn absent(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    some(s, 2)?;
    let rv = s.find_init(&ours().bytes(CKA_MODULUS, &[1])).map_or_else(|r| r.rv, |()| Rv(CKR_OK));
    one_of("C_FindObjectsInit", rv, &[CKR_OK, CKR_ATTRIBUTE_TYPE_INVALID])?;
    if rv.0 == CKR_OK {
        equal("data objects with a modulus", s.find_next(5)?.len(), 0)?;
    }
    Ok(())
}

fn destroyed(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let made = some(s, 2)?;
    s.destroy(made[0])?;
    equal("found", s.find(&ours())?, vec![made[1]])?;
    refused("C_GetAttributeValue", s.get(made[0], CKA_LABEL), &[CKR_OBJECT_HANDLE_INVALID])?;
    refused("second C_DestroyObject", s.destroy(made[0]), &[CKR_OBJECT_HANDLE_INVALID])
}

fn relabelled(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let made = some(s, 1)?;
    s.set(made[0], &Template::new().text(CKA_LABEL, "new label"))?;
    equal("found by the new label", s.find(&ours().text(CKA_LABEL, "new label"))?, made)?;
    equal("found by the old label", s.find(&ours().text(CKA_LABEL, "object 0"))?.len(), 0)
}

/// A search must not be an oracle for a value that cannot be read.
fn sensitive_value(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let value = [0x42u8; 16];
    let key = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, true)
        .flag(CKA_EXTRACTABLE, false)
        .bytes(CKA_VALUE, &value);
    s.create(&key)?;
    let search = Template::of(CKO_SECRET_KEY).bytes(CKA_VALUE, &value);
    match s.find(&search) {
        Ok(found) => equal("sensitive keys found by value", found.len(), 0),
        Err(r) => one_of("C_FindObjectsInit", r.rv, &[CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID]),
    }
}

fn thousand(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    for i in 0..1000 {
        s.create(&object(&format!("one of many {i}"), 1))?;
    }
    equal("found", s.find(&ours())?.len(), 1000)?;
    equal("found by label", s.find(&ours().text(CKA_LABEL, "one of many 777"))?.len(), 1)
}
