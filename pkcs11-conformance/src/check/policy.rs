//! Rules that keys carry: templates for what is wrapped, unwrapped and derived, trust, and authenticated wrapping.

use cryptoki_sys::*;

use super::keys::{Kind, P256};
use super::{Need, Row};
use crate::context::{Outcome, Stop, T, equal, refused, same_bytes, skip};
use crate::data::{Field, Mech, RawMech, Template};
use crate::ffi::{Call, Room, Session, check};
use crate::functions::F;

const WRAPS: Need = Need::Mech(CKM_AES_KEY_WRAP, CKF_WRAP | CKF_UNWRAP);

pub static ROWS: &[Row] = &[
    Row("wrap-template/must-match", "4.10", &[Need::User, WRAPS], wrap_template),
    Row("unwrap-template/applies", "4.11", &[Need::User, WRAPS], unwrap_template),
    Row("unwrap-template/conflict", "4.11", &[Need::User, WRAPS], unwrap_template_conflict),
    Row("derive-template/applies", "4.11", &[Need::User, Need::Mech(CKM_ECDH1_DERIVE, CKF_DERIVE)], derive_template),
    Row("templates/read-back", "5.7.5", &[Need::User, WRAPS], read_back),
    Row("trusted/so-sets-it", "4.10", &[Need::User, Need::So, Need::Writable, WRAPS], trusted),
    Row(
        "authenticated-wrap/round-trip",
        "5.18.6",
        &[Need::User, Need::Fn(F::C_WrapKeyAuthenticated), Need::Mech(CKM_AES_GCM, CKF_WRAP | CKF_UNWRAP)],
        authenticated,
    ),
];

fn readable(kind: CK_KEY_TYPE) -> Template {
    Template::key(CKO_SECRET_KEY, kind).flag(CKA_TOKEN, false).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true)
}

/// An AES key that wraps and unwraps, with this rule; skips where the token knows no such attribute.
fn wrapping(s: Session, rule: CK_ATTRIBUTE_TYPE, inner: &Template) -> Result<CK_OBJECT_HANDLE, Stop> {
    let t = readable(CKK_AES).bytes(CKA_VALUE, &[8; 32]).yes(&[CKA_WRAP, CKA_UNWRAP]).array(rule, inner.clone());
    ruled(s.create(&t))
}

fn ruled<R>(made: Call<R>) -> Result<R, Stop> {
    match made {
        Err(r) if r.rv.0 == CKR_ATTRIBUTE_TYPE_INVALID => skip("the token knows no such rule"),
        made => Ok(made?),
    }
}

fn target(s: Session, extra: &Template) -> Call<CK_OBJECT_HANDLE> {
    s.create(&readable(CKK_GENERIC_SECRET).bytes(CKA_VALUE, &[3; 24]).with(extra))
}

fn by_key_wrap() -> Mech {
    Mech::new(CKM_AES_KEY_WRAP)
}

/// Only a key that matches the wrapping key's template is wrapped.
fn wrap_template(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let key = wrapping(s, CKA_WRAP_TEMPLATE, &Template::new().flag(CKA_SIGN, true))?;
    s.wrap(&by_key_wrap(), key, target(s, &Template::new().flag(CKA_SIGN, true))?)?;
    let other = target(s, &Template::new().flag(CKA_SIGN, false))?;
    refused(
        "C_WrapKey of a key that does not match",
        s.wrap(&by_key_wrap(), key, other),
        &[CKR_KEY_HANDLE_INVALID, CKR_KEY_NOT_WRAPPABLE],
    )
}

fn wrapped(s: Session, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, Stop> {
    Ok(s.wrap(&by_key_wrap(), key, target(s, &Template::new())?)?)
}

/// What the template says, the unwrapped key has.
fn unwrap_template(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let key = wrapping(s, CKA_UNWRAP_TEMPLATE, &Template::new().flag(CKA_EXTRACTABLE, false).flag(CKA_DERIVE, true))?;
    let bare = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).flag(CKA_TOKEN, false);
    let back = s.unwrap(&by_key_wrap(), key, &wrapped(s, key)?, &bare)?;
    equal("CKA_EXTRACTABLE", s.get_bool(back, CKA_EXTRACTABLE)?, false)?;
    equal("CKA_DERIVE", s.get_bool(back, CKA_DERIVE)?, true)
}

fn unwrap_template_conflict(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let key = wrapping(s, CKA_UNWRAP_TEMPLATE, &Template::new().flag(CKA_EXTRACTABLE, false))?;
    let wanted = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).flag(CKA_TOKEN, false).flag(CKA_EXTRACTABLE, true);
    let back = s.unwrap(&by_key_wrap(), key, &wrapped(s, key)?, &wanted);
    refused("C_UnwrapKey against the template", back, &[CKR_TEMPLATE_INCONSISTENT])
}

fn derive_template(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let (public, private) = Kind::Ec(P256).pair_templates();
    let private = private.array(CKA_DERIVE_TEMPLATE, Template::new().flag(CKA_EXTRACTABLE, false));
    let (public, private) = ruled(s.generate_pair(&Mech::new(CKM_EC_KEY_PAIR_GEN), &public, &private))?;
    let der = s.get(public, CKA_EC_POINT)?;
    let derive = |extractable: bool| {
        let t = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
            .flag(CKA_TOKEN, false)
            .ulong(CKA_VALUE_LEN, 32)
            .flag(CKA_EXTRACTABLE, extractable);
        s.derive(&Mech::ecdh(CKD_NULL, b"", der.get(2..).unwrap_or_default()), private, &t)
    };
    derive(false)?;
    refused("C_DeriveKey against the template", derive(true), &[CKR_TEMPLATE_INCONSISTENT])
}

/// The number of attributes in a template of a key comes back with its length query.
fn read_back(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let inner = Template::new().flag(CKA_SIGN, true).text(CKA_LABEL, "inner");
    let key = wrapping(s, CKA_WRAP_TEMPLATE, &inner)?;
    let (rv, got) = s.get_many(key, &[(CKA_WRAP_TEMPLATE, Room::Query)]);
    crate::context::one_of("C_GetAttributeValue", rv, &[CKR_OK])?;
    equal("length", got.first().and_then(|(n, _)| *n), Some(2 * size_of::<CK_ATTRIBUTE>()))
}

/// The security officer alone makes a key trusted; then it wraps what wants a trusted one.
fn trusted(t: &mut T<'_>) -> Outcome {
    let label = Template::new().text(CKA_LABEL, "to be trusted");
    let s = t.user()?;
    let wanted = readable(CKK_AES)
        .bytes(CKA_VALUE, &[8; 32])
        .yes(&[CKA_WRAP, CKA_UNWRAP])
        .with(&label.clone().flag(CKA_TOKEN, true).flag(CKA_PRIVATE, false));
    let key = s.create(&wanted)?;
    let outcome = trusted_wraps(t, s, key, &label);
    let slot = t.slot()?;
    t.api.close_all_sessions(slot)?;
    let s = t.user()?;
    s.find(&label)?.into_iter().try_for_each(|o| s.destroy(o))?;
    outcome
}

fn trusted_wraps(t: &mut T<'_>, s: Session, key: CK_OBJECT_HANDLE, label: &Template) -> Outcome {
    let careful = |s| target(s, &Template::new().flag(CKA_WRAP_WITH_TRUSTED, true));
    let refusal = s.wrap(&by_key_wrap(), key, careful(s)?);
    refused("C_WrapKey with an untrusted key", refusal, &[CKR_KEY_NOT_WRAPPABLE])?;
    s.logout()?;
    s.login(CKU_SO, t.so_pin()?)?;
    let found = s.find(label)?;
    let Some(&seen) = found.first() else { return skip("the SO does not see public keys") };
    s.set(seen, &Template::new().flag(CKA_TRUSTED, true))?;
    s.logout()?;
    s.login(CKU_USER, t.user_pin()?)?;
    let found = s.find(label)?;
    let Some(&key) = found.first() else { return skip("the key is gone") };
    s.wrap(&by_key_wrap(), key, careful(s)?)?;
    Ok(())
}

/// `CK_GCM_MESSAGE_PARAMS` for wrapping: IV and tag are its buffers.
fn parameter(tag: &[u8; 16]) -> RawMech {
    let fields = vec![
        Field::Pointer(vec![6; 12]),
        Field::Word(12),
        Field::Word(0),
        Field::Word(CKG_NO_GENERATE),
        Field::Pointer(tag.to_vec()),
        Field::Word(128),
    ];
    Mech::fields(CKM_AES_GCM, fields).raw()
}

fn authenticated(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let with = Kind::Aes(32).make(s)?.private as usize;
    let key = target(s, &Template::new())?;
    let aad = b"associated";
    let mut p = parameter(&[0; 16]);
    let head = [p.pointer(), with, key as usize, aad.as_ptr() as usize, aad.len()];
    let out = s.output(F::C_WrapKeyAuthenticated, &head, Room::Bytes(4096));
    check(F::C_WrapKeyAuthenticated, out.rv)?;
    let tag: [u8; 16] = p.buffer(1).and_then(|t| t.try_into().ok()).unwrap_or_default();
    let unwrap = |tag: &[u8; 16], aad: &[u8]| {
        let t = readable(CKK_GENERIC_SECRET);
        let (raw, mut p, mut handle) = (t.raw(), parameter(tag), 0 as CK_OBJECT_HANDLE);
        let words = [
            p.pointer(),
            with,
            out.bytes.as_ptr() as usize,
            out.bytes.len(),
            raw.pointer(),
            raw.count(),
            aad.as_ptr() as usize,
            aad.len(),
            &raw mut handle as usize,
        ];
        s.plain(F::C_UnwrapKeyAuthenticated, &words).map(|()| handle)
    };
    let back = unwrap(&tag, aad)?;
    same_bytes("value", &s.get(back, CKA_VALUE)?, &[3; 24])?;
    let allowed = [CKR_AEAD_DECRYPT_FAILED, CKR_WRAPPED_KEY_INVALID, CKR_ENCRYPTED_DATA_INVALID];
    refused("C_UnwrapKeyAuthenticated with other associated data", unwrap(&tag, b"something else"), &allowed)?;
    refused("C_UnwrapKeyAuthenticated with another tag", unwrap(&[1; 16], aad), &allowed)
}
