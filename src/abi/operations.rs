//! Encryption, decryption, digests, signatures, verification, random numbers, and the states of operations.

use cryptoki_sys::*;

use super::args::{In, Maybe, Out, OutExact};
use super::messages::Parameter;
use super::params;
use crate::error::Result;
use crate::mechanism::table;
use crate::module;
use crate::token::{Mechanism, Params, Step, Use};

/// `C_*Init`; without a mechanism it cancels (PKCS#11 3.0).
pub(super) fn begin(
    session: CK_SESSION_HANDLE,
    what: Use,
    mechanism: Maybe<CK_MECHANISM>,
    key: Option<CK_OBJECT_HANDLE>,
) -> Result<()> {
    let session = module::session(session)?;
    match mechanism.get() {
        None => session.cancel(what),
        Some(given) => {
            let mechanism = match what {
                Use::MessageEncrypt | Use::MessageDecrypt => messages_of(&given)?,
                _ => params::decode(&given, &session.slot)?,
            };
            session.begin(what, &mechanism, key)
        }
    }
}

/// A mechanism for messages to encrypt: with the parameters of one, or without, since each message brings its own.
fn messages_of(mechanism: &CK_MECHANISM) -> Result<Mechanism> {
    let ty = mechanism.mechanism;
    let params = match mechanism.ulParameterLen {
        0 => table::row(ty).map(|_| Params::None)?,
        _ => Parameter::of_mechanism(mechanism)?.to_params(),
    };
    Ok(Mechanism { ty, params })
}

/// The functions with output.
pub(super) fn run(session: CK_SESSION_HANDLE, what: Use, step: Step, input: In, out: Out) -> Result<()> {
    let session = module::session(session)?;
    out.produce(&input, |input, room| session.run(what, step, input, room))
}

/// The updates without output.
pub(super) fn feed(session: CK_SESSION_HANDLE, what: Use, input: In) -> Result<()> {
    module::session(session)?.feed(what, input.bytes()?)
}

pub(super) fn verify(session: CK_SESSION_HANDLE, input: In, signature: In) -> Result<()> {
    module::session(session)?.verify(Use::Verify, Some(input.bytes()?), Some(signature.bytes()?))
}

pub(super) fn verify_final(session: CK_SESSION_HANDLE, signature: In) -> Result<()> {
    module::session(session)?.verify(Use::Verify, None, Some(signature.bytes()?))
}

pub(super) fn encrypt_and_feed(session: CK_SESSION_HANDLE, fed: Use, input: In, out: Out) -> Result<()> {
    let session = module::session(session)?;
    out.produce(&input, |input, room| session.encrypt_and_feed(fed, input, room))
}

pub(super) fn decrypt_and_feed(session: CK_SESSION_HANDLE, fed: Use, input: In, out: Out) -> Result<()> {
    let session = module::session(session)?;
    out.produce(&input, |input, room| session.decrypt_and_feed(fed, input, room))
}

pub(super) fn digest_key(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<()> {
    module::session(session)?.digest_key(key)
}

pub(super) fn seed_random(session: CK_SESSION_HANDLE, seed: In) -> Result<()> {
    module::session(session)?.seed(seed.bytes()?)
}

pub(super) fn generate_random(session: CK_SESSION_HANDLE, out: OutExact) -> Result<()> {
    let session = module::session(session)?;
    out.fill(|out| session.random(out))
}

pub(super) fn operation_state(session: CK_SESSION_HANDLE, out: Out) -> Result<()> {
    let session = module::session(session)?;
    out.fill(|| session.save())
}

pub(super) fn set_operation_state(
    session: CK_SESSION_HANDLE,
    state: In,
    encryption: CK_OBJECT_HANDLE,
    authentication: CK_OBJECT_HANDLE,
) -> Result<()> {
    module::session(session)?.restore(state.bytes()?, encryption, authentication)
}
