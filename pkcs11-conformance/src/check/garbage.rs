//! Garbage where structures are expected: an error each time, and no crash.

use cryptoki_sys::*;

use super::keys::Kind;
use super::{Need, Test};
use crate::context::{Outcome, T, fail};
use crate::data::{Field, Mech, Template};
use crate::ffi::Session;
use crate::functions::F;
use crate::names::name_of;
use crate::process::note_step;

/// One test per mechanism that the token lists, and some for templates.
pub fn tests(mechanisms: &[CK_MECHANISM_TYPE]) -> Vec<Test> {
    let mut tests = Vec::new();
    for &ty in mechanisms {
        let id = format!("garbage/parameter/{}", name_of("CKM_", ty).trim_start_matches("CKM_"));
        tests.push(Test::new(id, "5.1.6", &[Need::User], move |t| parameters(t, ty)));
    }
    let mut add = |id: &str, section: &str, run: fn(&mut T<'_>) -> Outcome| {
        tests.push(Test::new(format!("garbage/{id}"), section, &[Need::User], run));
    };
    add("mechanism/unknown", "5.1.6", unknown_mechanisms);
    add("template/null-value-with-length", "4.1.1", null_values);
    add("template/wrong-lengths", "4.1.1", wrong_lengths);
    add("template/nested-garbage", "4.1.1", nested);
    tests
}

/// Parameters that fit no mechanism: none, too short, too long, NULL with a length, and inner pointers that are NULL
/// where their length is not.
fn bad_parameters(ty: CK_MECHANISM_TYPE) -> Vec<Mech> {
    let huge = CK_ULONG::MAX;
    vec![
        Mech::new(ty),
        Mech::bytes(ty, &[1]),
        Mech::bytes(ty, &[0xFF; 7]),
        Mech::bytes(ty, &[0xFF; 1000]),
        Mech::null(ty, 1),
        Mech::null(ty, 16),
        Mech::null(ty, huge),
        Mech::fields(ty, vec![Field::Word(0); 2]),
        Mech::fields(ty, vec![Field::Word(0), Field::Word(huge), Field::Word(0)]),
        Mech::fields(ty, vec![Field::Word(0), Field::Word(16), Field::Word(0), Field::Word(0), Field::Word(16)]),
        Mech::fields(ty, vec![Field::Word(0); 6]),
        Mech::fields(ty, [0, 12, 96, 0, 8, 128].map(Field::Word).to_vec()),
        Mech::fields(ty, vec![Field::Word(0); 9]),
    ]
}

/// Each bad parameter in each function that takes a mechanism. What is returned does not matter here, only that
/// something is, and that the session is good for work afterwards.
fn parameters(t: &mut T<'_>, ty: CK_MECHANISM_TYPE) -> Outcome {
    let s = t.user()?;
    let keys = [Kind::Aes(32), Kind::Generic(32), Kind::Rsa].map(|k| k.make(s));
    let secret = Template::new().flag(CKA_TOKEN, false).ulong(CKA_VALUE_LEN, 16);
    for (step, bad) in bad_parameters(ty).iter().enumerate() {
        note_step(step as u32);
        for key in keys.iter().flatten() {
            for f in [F::C_EncryptInit, F::C_DecryptInit, F::C_SignInit, F::C_VerifyInit] {
                let handle = if matches!(f, F::C_EncryptInit | F::C_VerifyInit) { key.public } else { key.private };
                if s.init(f, bad, handle).is_ok() {
                    finish(s, f);
                }
            }
            let _ = s.wrap(bad, key.public, key.private);
            let _ = s.unwrap(bad, key.private, &[1; 40], &Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET));
            let _ = s.derive(bad, key.private, &Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).with(&secret));
        }
        if s.init(F::C_DigestInit, bad, 0).is_ok() {
            finish(s, F::C_DigestInit);
        }
        if step > 0 {
            let _ = s.generate(bad, &secret);
        }
    }
    s.info()?;
    Ok(())
}

/// Ends an operation that a bad parameter did start.
fn finish(s: Session, init: F) {
    let data = [0x31; 32];
    let _ = match init {
        F::C_EncryptInit => s.run(F::C_Encrypt, &data).map(drop),
        F::C_DecryptInit => s.run(F::C_Decrypt, &data).map(drop),
        F::C_SignInit => s.run(F::C_Sign, &data).map(drop),
        F::C_DigestInit => s.run(F::C_Digest, &data).map(drop),
        _ => s.feed2(F::C_Verify, &data, &data),
    };
}

fn unknown_mechanisms(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let aes = Kind::Aes(32).make(s)?;
    for ty in [0x7FFF_0001, CK_MECHANISM_TYPE::MAX] {
        let m = Mech::new(ty);
        let secret = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).flag(CKA_TOKEN, false).ulong(CKA_VALUE_LEN, 16);
        let results = [
            s.init(F::C_EncryptInit, &m, aes.private),
            s.init(F::C_DecryptInit, &m, aes.private),
            s.init(F::C_SignInit, &m, aes.private),
            s.init(F::C_VerifyInit, &m, aes.private),
            s.init(F::C_DigestInit, &m, 0),
            s.generate(&m, &secret).map(drop),
            s.wrap(&m, aes.private, aes.private).map(drop),
            s.derive(&m, aes.private, &secret).map(drop),
        ];
        for r in results {
            crate::context::refused("an unknown mechanism", r, &[CKR_MECHANISM_INVALID])?;
        }
    }
    Ok(())
}

fn base() -> Template {
    Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).flag(CKA_TOKEN, false).bytes(CKA_VALUE, &[7; 32])
}

const ATTRIBUTES: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CLASS,
    CKA_TOKEN,
    CKA_LABEL,
    CKA_KEY_TYPE,
    CKA_ID,
    CKA_VALUE,
    CKA_START_DATE,
    CKA_ALLOWED_MECHANISMS,
    CKA_WRAP_TEMPLATE,
    CKA_SENSITIVE,
];

/// Attributes with a NULL pointer and a length, in each function that takes a template.
fn null_values(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let object = s.create(&base())?;
    for (i, ty) in ATTRIBUTES.iter().enumerate() {
        note_step(i as u32);
        for length in [1, 8, 32, CK_ULONG::MAX / 2, CK_ULONG::MAX] {
            let bad = base().without(*ty).null(*ty, length);
            let alone = Template::new().null(*ty, length);
            if s.create(&bad).is_ok() || s.copy(object, &alone).is_ok() || s.set(object, &alone).is_ok() {
                return fail(format!("{} as NULL with length {length} was taken", name_of("CKA_", *ty)));
            }
            if s.find_init(&alone).is_ok() {
                s.find_final()?;
            }
        }
    }
    Ok(())
}

/// Lengths that no value of the attribute has.
fn wrong_lengths(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let object = s.create(&base())?;
    for (i, ty) in [CKA_CLASS, CKA_TOKEN, CKA_KEY_TYPE, CKA_START_DATE, CKA_SENSITIVE].iter().enumerate() {
        note_step(i as u32);
        for n in [2, 3, 7, 9, 100] {
            let bad = vec![1; n];
            if s.create(&base().without(*ty).bytes(*ty, &bad)).is_ok() {
                return fail(format!("{} of {n} bytes was taken by C_CreateObject", name_of("CKA_", *ty)));
            }
            if s.set(object, &Template::new().bytes(*ty, &bad)).is_ok() {
                return fail(format!("{} of {n} bytes was taken by C_SetAttributeValue", name_of("CKA_", *ty)));
            }
        }
    }
    Ok(())
}

/// Templates within templates: of a length that is no multiple of an attribute's, with NULL values, three deep.
fn nested(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let aes = Template::key(CKO_SECRET_KEY, CKK_AES).flag(CKA_TOKEN, false).bytes(CKA_VALUE, &[7; 32]);
    let inner = Template::new().flag(CKA_SENSITIVE, true);
    let bad = [
        aes.clone().bytes(CKA_UNWRAP_TEMPLATE, &[1; 7]),
        aes.clone().bytes(CKA_UNWRAP_TEMPLATE, &[0; 24]).null(CKA_WRAP_TEMPLATE, 24),
        aes.clone().array(CKA_UNWRAP_TEMPLATE, Template::new().null(CKA_LABEL, 100)),
        aes.clone().null(CKA_UNWRAP_TEMPLATE, CK_ULONG::MAX),
    ];
    for (i, template) in bad.iter().enumerate() {
        note_step(i as u32);
        if s.create(template).is_ok() {
            return fail(format!("nested template {i} was taken"));
        }
    }
    let deep = inner.clone();
    let deep = Template::new().array(CKA_UNWRAP_TEMPLATE, Template::new().array(CKA_UNWRAP_TEMPLATE, deep));
    let _ = s.create(&aes.clone().array(CKA_UNWRAP_TEMPLATE, deep));
    if let Err(r) = s.create(&aes.array(CKA_UNWRAP_TEMPLATE, inner)) {
        crate::context::one_of("a good CKA_UNWRAP_TEMPLATE", r.rv, &[CKR_ATTRIBUTE_TYPE_INVALID])?;
    }
    Ok(())
}
