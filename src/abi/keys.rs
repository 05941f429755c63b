//! Object and key management.

use cryptoki_sys::*;

use super::args::{In, Maybe, Out, OutFound, Place};
use super::messages::Parameter;
use super::{params, returned, template};
use crate::error::{Code, Result};
use crate::module;
use crate::session::{Done, Room, Session};
use crate::token::{Bytes, Mechanism, MessageParams};

type Template = In<CK_ATTRIBUTE>;

fn mechanism(session: &Session, mechanism: Maybe<CK_MECHANISM>) -> Result<Mechanism> {
    params::decode(&mechanism.required()?, &session.slot)
}

pub(super) fn create(session: CK_SESSION_HANDLE, template: Template, place: Place<CK_OBJECT_HANDLE>) -> Result<()> {
    let session = module::session(session)?;
    place.check()?;
    place.put(session.create(template::read(template)?)?)
}

pub(super) fn copy(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: Template,
    place: Place<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    place.check()?;
    place.put(session.copy(object, template::read(template)?)?)
}

pub(super) fn destroy(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<()> {
    module::session(session)?.destroy(object)
}

pub(super) fn size(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, place: Place<CK_ULONG>) -> Result<()> {
    let session = module::session(session)?;
    place.check()?;
    place.put(session.size(object)?)
}

pub(super) fn get(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: Template) -> Result<()> {
    let session = module::session(session)?;
    template::answer(template, |types| session.get(object, types))
}

pub(super) fn set(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: Template) -> Result<()> {
    module::session(session)?.set(object, template::read(template)?)
}

pub(super) fn find_init(session: CK_SESSION_HANDLE, template: Template) -> Result<()> {
    module::session(session)?.find(template::read(template)?)
}

pub(super) fn find(session: CK_SESSION_HANDLE, found: OutFound) -> Result<()> {
    let session = module::session(session)?;
    found.fill(|max, put| session.found(max, put))
}

pub(super) fn find_final(session: CK_SESSION_HANDLE) -> Result<()> {
    module::session(session)?.found_all()
}

pub(super) fn generate(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    template: Template,
    place: Place<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    place.check()?;
    place.put(session.generate_key(&mechanism(&session, by)?, template::read(template)?)?)
}

pub(super) fn generate_pair(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    public: (Template, Place<CK_OBJECT_HANDLE>),
    private: (Template, Place<CK_OBJECT_HANDLE>),
) -> Result<()> {
    let session = module::session(session)?;
    public.1.check().and(private.1.check())?;
    let by = mechanism(&session, by)?;
    let (public_key, private_key) =
        session.generate_key_pair(&by, template::read(public.0)?, template::read(private.0)?)?;
    public.1.put(public_key).and(private.1.put(private_key))
}

pub(super) fn wrap(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: Out,
) -> Result<()> {
    let session = module::session(session)?;
    let given = by.required()?;
    if let Some(parameter) = Parameter::of_wrapping(&given)? {
        let message = wrap_message(&session, (given.mechanism, &parameter), (wrapping, key), out, true)?;
        return message.map_or(Ok(()), |message| parameter.put_iv(&message));
    }
    let by = params::decode(&given, &session.slot)?;
    out.produce(&In::NONE, |_, room| match room {
        Room::Ask => match session.wrapped_len(&by, wrapping, key)? {
            Some(len) => Ok(Done::Needs(len)),
            None => deliver(&[&session.wrap(&by, wrapping, key)?], Room::Ask),
        },
        room => deliver(&[&session.wrap(&by, wrapping, key)?], room),
    })
}

/// `C_WrapKeyAuthenticated`.
pub(super) fn wrap_authenticated(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    aad: In,
    out: Out,
) -> Result<()> {
    let session = module::session(session)?;
    let given = by.required()?;
    // Where both are wrong, the handle is named.
    let mut parameter =
        Parameter::of_mechanism(&given).or_else(|e| session.wrapping_keys(wrapping, key).and(Err(e)))?;
    parameter.check_tag()?;
    parameter.aad = aad.copy()?;
    match wrap_message(&session, (given.mechanism, &parameter), (wrapping, key), out, false)? {
        Some(message) => parameter.put_iv(&message).and(parameter.put_tag(&message)),
        None => Ok(()),
    }
}

/// Wraps as one message; the tag behind the key where it has no other place. The message's parameters as they are
/// afterwards, if the result has reached the caller: only then do they go there too.
fn wrap_message(
    session: &Session,
    (ty, parameter): (CK_MECHANISM_TYPE, &Parameter),
    (wrapping, key): (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
    out: Out,
    tag_behind: bool,
) -> Result<Option<MessageParams>> {
    let by = Mechanism { ty, params: parameter.to_params() };
    let mut after = None;
    out.produce(&In::NONE, |_, room| {
        if let (Room::Ask, Some(len)) = (&room, session.wrapped_len(&by, wrapping, key)?) {
            let behind = if tag_behind { parameter.message.tag_len } else { 0 };
            return Ok(Done::Needs(len.saturating_add(behind)));
        }
        let (wrapped, message) = session.wrap_authenticated(&by, wrapping, key)?;
        let tag: &[u8] = if tag_behind { &message.tag } else { &[] };
        let done = deliver(&[&wrapped, tag], room)?;
        after = matches!(done, Done::Wrote(_)).then_some(message);
        Ok(done)
    })?;
    Ok(after)
}

/// A result at hand, in parts, into the caller's buffer.
fn deliver(parts: &[&[u8]], room: Room<'_>) -> Result<Done> {
    let needed = parts.iter().map(|part| part.len()).sum();
    let Room::Fill(out) = room else { return Ok(Done::Needs(needed)) };
    let Some(out) = out.get_mut(..needed) else { return Ok(Done::Needs(needed)) };
    out.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    Ok(Done::Wrote(needed))
}

pub(super) fn unwrap(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: In,
    template: Template,
    place: Place<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    place.check()?;
    let given = by.required()?;
    let wrapped = wrapped.bytes()?;
    let (by, wrapped) = match Parameter::of_wrapping(&given)? {
        Some(mut parameter) => {
            let len = wrapped.len().checked_sub(parameter.message.tag_len).ok_or(Code::WrappedKeyLenRange)?;
            let (key, tag) = wrapped.split_at_checked(len).ok_or(Code::WrappedKeyLenRange)?;
            parameter.message.tag = Bytes::from_slice(tag);
            (Mechanism { ty: given.mechanism, params: parameter.to_params() }, key)
        }
        None => (params::decode(&given, &session.slot)?, wrapped),
    };
    place.put(session.unwrap(&by, unwrapping, wrapped, template::read(template)?)?)
}

/// `C_UnwrapKeyAuthenticated`; `given` is the wrapped key and the associated data.
pub(super) fn unwrap_authenticated(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    unwrapping: CK_OBJECT_HANDLE,
    (wrapped, aad): (In, In),
    template: Template,
    place: Place<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    place.check()?;
    let given = by.required()?;
    let mut parameter = Parameter::of_mechanism(&given).or_else(|e| session.unwrapping_key(unwrapping).and(Err(e)))?;
    parameter.check_tag()?;
    parameter.aad = aad.copy()?;
    let by = Mechanism { ty: given.mechanism, params: parameter.to_params() };
    place.put(session.unwrap(&by, unwrapping, wrapped.bytes()?, template::read(template)?)?)
}

/// `C_DeriveKey`. `CKR_ARGUMENTS_BAD` without a place for the handle, where the mechanism makes a key to return there.
pub(super) fn derive(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    base: CK_OBJECT_HANDLE,
    template: Template,
    place: Place<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    let returned = returned::of(&by.required()?)?;
    if returned.beside_key() {
        place.check()?;
    }
    let by = mechanism(&session, by)?;
    let derived = session.derive(&by, base, template::read(template)?).inspect_err(|error| returned.blame(error))?;
    if let Some(key) = derived.key {
        place.put(key)?;
    }
    returned.put(&derived)
}

/// `C_EncapsulateKey`. A length query and a too small buffer make no key.
pub(super) fn encapsulate(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    public: CK_OBJECT_HANDLE,
    template: Template,
    out: Out,
    place: Place<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    let by = mechanism(&session, by)?;
    out.produce(&In::NONE, |_, room| {
        let needed = session.encapsulated_len(&by, public)?;
        let Room::Fill(out) = room else { return Ok(Done::Needs(needed)) };
        let Some(out) = out.get_mut(..needed) else { return Ok(Done::Needs(needed)) };
        place.check()?;
        let (ciphertext, key) = session.encapsulate(&by, public, template::read(template)?)?;
        if ciphertext.len() != needed {
            Err(Code::GeneralError.because("a ciphertext of another length than announced"))?;
        }
        out.copy_from_slice(&ciphertext);
        place.put(key)?;
        Ok(Done::Wrote(needed))
    })
}

pub(super) fn decapsulate(
    session: CK_SESSION_HANDLE,
    by: Maybe<CK_MECHANISM>,
    private: CK_OBJECT_HANDLE,
    ciphertext: In,
    template: Template,
    place: Place<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    place.check()?;
    let by = mechanism(&session, by)?;
    place.put(session.decapsulate(&by, private, ciphertext.bytes()?, template::read(template)?)?)
}
