//! Object and key management.

use cryptoki_sys::*;

use super::args::{In, Maybe, Out, OutFound, Place};
use super::{params, returned, template};
use crate::error::{Code, Result};
use crate::module;
use crate::session::{Done, Room, Session};
use crate::token::Mechanism;

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
    let by = mechanism(&session, by)?;
    out.fill(|| session.wrap(&by, wrapping, key))
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
    let by = mechanism(&session, by)?;
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
