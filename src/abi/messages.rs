//! Message-based encryption, decryption, signatures and verification; verification of a signature given first; and the
//! parameters that a message, or a wrapped key, brings and takes away.

use cryptoki_sys::*;

use super::args::{In, Maybe, Out, OutExact, Plain};
use super::params;
use crate::error::{Code, Error, Result};
use crate::mechanism::table::{self, ParamKind};
use crate::module;
use crate::session::{Done, Part, Room, Session};
use crate::token::{Bytes, Generator, MessageParams, Params, Use};

/// Longest tag that any mechanism has, in bytes.
const MAX_TAG: usize = 16;

/// A message's parameters, and where the generated ones of them go.
pub(super) struct Parameter {
    pub(super) message: MessageParams,
    pub(super) aad: Bytes,
    iv: OutExact,
    tag: OutExact,
}

/// The fields that `CK_GCM_MESSAGE_PARAMS` and its kin have in common; lengths in bytes.
struct Fields {
    iv: *mut u8,
    iv_len: CK_ULONG,
    fixed_bits: CK_ULONG,
    generator: CK_GENERATOR_FUNCTION,
    tag: *mut u8,
    tag_len: CK_ULONG,
    data_len: Option<CK_ULONG>,
    aad: (*mut u8, CK_ULONG),
}

const NO_AAD: (*mut u8, CK_ULONG) = (std::ptr::null_mut(), 0);

/// The structure of a mechanism's messages: an AEAD cipher needs its arm here, and no more. `CKR_MECHANISM_PARAM_INVALID`.
fn fields(kind: ParamKind, parameter: &In) -> Result<Fields> {
    match kind {
        ParamKind::Gcm => {
            let CK_GCM_MESSAGE_PARAMS { pIv, ulIvLen, ulIvFixedBits, ivGenerator, pTag, ulTagBits } =
                params::structure(parameter)?;
            Ok(Fields {
                iv: pIv,
                iv_len: ulIvLen,
                fixed_bits: ulIvFixedBits,
                generator: ivGenerator,
                tag: pTag,
                tag_len: whole_bytes(ulTagBits)?,
                data_len: None,
                aad: NO_AAD,
            })
        }
        ParamKind::Ccm => {
            let CK_CCM_MESSAGE_PARAMS {
                ulDataLen,
                pNonce,
                ulNonceLen,
                ulNonceFixedBits,
                nonceGenerator,
                pMAC,
                ulMACLen,
            } = params::structure(parameter)?;
            Ok(Fields {
                iv: pNonce,
                iv_len: ulNonceLen,
                fixed_bits: ulNonceFixedBits,
                generator: nonceGenerator,
                tag: pMAC,
                tag_len: ulMACLen,
                data_len: Some(ulDataLen),
                aad: NO_AAD,
            })
        }
        ParamKind::SalsaAead => {
            let CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS { pNonce, ulNonceLen, pTag } = params::structure(parameter)?;
            Ok(Fields {
                iv: pNonce,
                iv_len: params::nonce_len(ulNonceLen)?,
                fixed_bits: 0,
                generator: CKG_NO_GENERATE,
                tag: pTag,
                tag_len: MAX_TAG as CK_ULONG,
                data_len: None,
                aad: NO_AAD,
            })
        }
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// The structure of `C_WrapKey` that lets the token make the IV; `None` where it is another one.
fn wrap_fields(kind: ParamKind, parameter: &In) -> Result<Option<Fields>> {
    let tag = std::ptr::null_mut();
    Ok(match kind {
        ParamKind::Gcm => match parameter.structure() {
            None => None,
            Some(CK_GCM_WRAP_PARAMS { pIv, ulIvLen, ulIvFixedBits, ivGenerator, pAAD, ulAADLen, ulTagBits }) => {
                Some(Fields {
                    iv: pIv,
                    iv_len: ulIvLen,
                    fixed_bits: ulIvFixedBits,
                    generator: ivGenerator,
                    tag,
                    tag_len: whole_bytes(ulTagBits)?,
                    data_len: None,
                    aad: (pAAD, ulAADLen),
                })
            }
        },
        ParamKind::Ccm => parameter.structure().map(|found: CK_CCM_WRAP_PARAMS| Fields {
            iv: found.pNonce,
            iv_len: found.ulNonceLen,
            fixed_bits: found.ulNonceFixedBits,
            generator: found.nonceGenerator,
            tag,
            tag_len: found.ulMACLen,
            data_len: Some(found.ulDataLen),
            aad: (found.pAAD, found.ulAADLen),
        }),
        _ => None,
    })
}

fn whole_bytes(bits: CK_ULONG) -> Result<CK_ULONG> {
    if bits.is_multiple_of(8) { Ok(bits / 8) } else { Err(Code::MechanismParamInvalid.into()) }
}

impl Parameter {
    fn of(fields: Fields) -> Result<Parameter> {
        let Fields { iv, iv_len, fixed_bits, generator, tag, tag_len, data_len, aad } = fields;
        let generator = match generator {
            CKG_NO_GENERATE => Generator::Given,
            CKG_GENERATE => Generator::Any,
            CKG_GENERATE_COUNTER => Generator::Counter,
            CKG_GENERATE_RANDOM => Generator::Random,
            CKG_GENERATE_COUNTER_XOR => Generator::CounterXor,
            _ => Err(Code::MechanismParamInvalid)?,
        };
        let short = usize::try_from(tag_len).ok().filter(|len| *len <= MAX_TAG).ok_or(Code::MechanismParamInvalid)?;
        // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`). A tag that is not there yet
        // is NULL, and no such memory.
        let (given_iv, given_tag, given_aad, iv, tag) = unsafe {
            let tag_in = In::new(tag.cast_const(), if tag.is_null() { 0 } else { tag_len });
            let (iv_in, aad_in) = (In::new(iv.cast_const(), iv_len), In::new(aad.0.cast_const(), aad.1));
            (iv_in.copy()?, tag_in.copy()?, aad_in.copy()?, OutExact::new(iv, iv_len), OutExact::new(tag, tag_len))
        };
        let message = MessageParams { iv: given_iv, fixed_bits, generator, tag_len: short, tag: given_tag, data_len };
        Ok(Parameter { message, aad: given_aad, iv, tag })
    }

    /// Of a message under the session's active operation.
    fn of_message(session: &Session, what: Use, parameter: &In) -> Result<Parameter> {
        let kind = table::row(session.mechanism(what)?)?.params;
        fields(kind, parameter).and_then(Parameter::of).map_err(in_parameter)
    }

    /// Of a mechanism that is begun with the parameters of messages. `CKR_MECHANISM_INVALID`.
    pub(super) fn of_mechanism(mechanism: &CK_MECHANISM) -> Result<Parameter> {
        let kind = table::row(mechanism.mechanism)?.params;
        fields(kind, &params::parameter(mechanism)).and_then(Parameter::of).map_err(in_parameter)
    }

    /// Of `C_WrapKey`, `C_UnwrapKey` with the structure made for them; `None` where it is another one.
    pub(super) fn of_wrapping(mechanism: &CK_MECHANISM) -> Result<Option<Parameter>> {
        let Ok(kind) = table::row(mechanism.mechanism).map(|row| row.params) else { return Ok(None) };
        let found = wrap_fields(kind, &params::parameter(mechanism)).map_err(in_parameter)?;
        found.map(|fields| Parameter::of(fields).map_err(in_parameter)).transpose()
    }

    /// As the operation's own parameters.
    pub(super) fn to_params(&self) -> Params {
        Params::Message { message: self.message.clone(), aad: self.aad.clone() }
    }

    /// Whether the tag has a place, before anything is done whose result must not be lost. `CKR_MECHANISM_PARAM_INVALID`.
    pub(super) fn check_tag(&self) -> Result<()> {
        self.tag.check().map_err(in_parameter)
    }

    pub(super) fn put_iv(&self, message: &MessageParams) -> Result<()> {
        put(&self.iv, &message.iv)
    }

    pub(super) fn put_tag(&self, message: &MessageParams) -> Result<()> {
        put(&self.tag, &message.tag)
    }
}

fn put(place: &OutExact, bytes: &[u8]) -> Result<()> {
    place.fill(|out| match out.len() == bytes.len() {
        true => {
            out.copy_from_slice(bytes);
            Ok(())
        }
        false => Err(Code::GeneralError.because("parameters of another length than given")),
    })
}

/// Which argument was bad, we know here.
fn in_parameter(error: Error) -> Error {
    if error.code() == Code::ArgumentsBad { error.recode(Code::MechanismParamInvalid) } else { error }
}

/// What a call brings: its parameter, associated data, and data.
pub(super) struct Message {
    pub(super) parameter: In,
    pub(super) aad: In,
    pub(super) data: In,
}

/// `C_EncryptMessage`, `C_DecryptMessage`.
pub(super) fn cipher(session: CK_SESSION_HANDLE, what: Use, message: Message, out: Out) -> Result<()> {
    let session = module::session(session)?;
    finish(&session, what, Part::Whole, &message, out)
}

/// `C_EncryptMessageBegin`, `C_DecryptMessageBegin`.
pub(super) fn cipher_begin(session: CK_SESSION_HANDLE, what: Use, parameter: In, aad: In) -> Result<()> {
    let session = module::session(session)?;
    let parameter = Parameter::of_message(&session, what, &parameter)?;
    let mut message = parameter.message.clone();
    session.cipher_message(what, Part::First, &mut message, aad.bytes()?, &[], Room::Ask)?;
    if what == Use::MessageEncrypt { parameter.put_iv(&message) } else { Ok(()) }
}

/// `C_EncryptMessageNext`, `C_DecryptMessageNext`. `CKR_ARGUMENTS_BAD` for unknown flags.
pub(super) fn cipher_next(
    session: CK_SESSION_HANDLE,
    what: Use,
    message: Message,
    out: Out,
    flags: CK_FLAGS,
) -> Result<()> {
    let session = module::session(session)?;
    match flags {
        CKF_END_OF_MESSAGE => finish(&session, what, Part::Last, &message, out),
        // Nothing of the parameters counts before the end.
        0 => out.produce(&message.data, |data, room| {
            session.cipher_message(what, Part::Next, &mut unused(), &[], data, room)
        }),
        _ => Err(Code::ArgumentsBad.into()),
    }
}

fn unused() -> MessageParams {
    let (iv, tag) = (Bytes::new(), Bytes::new());
    MessageParams { iv, fixed_bits: 0, generator: Generator::Given, tag_len: 0, tag, data_len: None }
}

/// The whole message, or its last part.
fn finish(session: &Session, what: Use, part: Part, call: &Message, out: Out) -> Result<()> {
    let parameter = Parameter::of_message(session, what, &call.parameter)?;
    let encrypts = what == Use::MessageEncrypt;
    if encrypts {
        parameter.check_tag()?;
    }
    let mut message = parameter.message.clone();
    let mut wrote = false;
    out.produce_from([&call.data, &call.aad], |[data, aad], room| {
        let done = session.cipher_message(what, part, &mut message, aad, data, room)?;
        wrote = matches!(done, Done::Wrote(_));
        Ok(done)
    })?;
    if encrypts && wrote {
        if part == Part::Whole {
            parameter.put_iv(&message)?;
        }
        parameter.put_tag(&message)?;
    }
    Ok(())
}

/// No signature mechanism has parameters of a message. `CKR_MECHANISM_PARAM_INVALID`.
fn no_parameter(parameter: &In) -> Result<()> {
    if parameter.is_empty() { Ok(()) } else { Err(Code::MechanismParamInvalid.into()) }
}

/// The session of a signed message, after what is wrong with the call in general.
fn signed(session: CK_SESSION_HANDLE, what: Use, parameter: &In) -> Result<std::sync::Arc<Session>> {
    let session = module::session(session)?;
    session.mechanism(what)?;
    no_parameter(parameter)?;
    Ok(session)
}

/// `C_SignMessage`.
pub(super) fn sign(session: CK_SESSION_HANDLE, parameter: In, data: In, out: Out) -> Result<()> {
    let session = signed(session, Use::MessageSign, &parameter)?;
    out.produce(&data, |data, room| session.sign_message(Part::Whole, data, room))
}

/// `C_SignMessageBegin`.
pub(super) fn sign_begin(session: CK_SESSION_HANDLE, parameter: In) -> Result<()> {
    let session = signed(session, Use::MessageSign, &parameter)?;
    session.sign_message(Part::First, &[], Room::Ask).map(drop)
}

/// `C_SignMessageNext`: the last part is the one with a place for the signature's length.
pub(super) fn sign_next(session: CK_SESSION_HANDLE, parameter: In, data: In, out: Out) -> Result<()> {
    let session = signed(session, Use::MessageSign, &parameter)?;
    if out.is_none() {
        return session.sign_message(Part::Next, data.bytes()?, Room::Ask).map(drop);
    }
    out.produce(&data, |data, room| session.sign_message(Part::Last, data, room))
}

/// `C_VerifyMessage`.
pub(super) fn verify(session: CK_SESSION_HANDLE, parameter: In, data: In, signature: In) -> Result<()> {
    let session = signed(session, Use::MessageVerify, &parameter)?;
    session.verify_message(Part::Whole, data.bytes()?, signature.bytes()?)
}

/// `C_VerifyMessageBegin`.
pub(super) fn verify_begin(session: CK_SESSION_HANDLE, parameter: In) -> Result<()> {
    signed(session, Use::MessageVerify, &parameter)?.verify_message(Part::First, &[], &[])
}

/// `C_VerifyMessageNext`: the last part is the one with a signature.
pub(super) fn verify_next(session: CK_SESSION_HANDLE, parameter: In, data: In, signature: In) -> Result<()> {
    let session = signed(session, Use::MessageVerify, &parameter)?;
    if signature.is_null() {
        return session.verify_message(Part::Next, data.bytes()?, &[]);
    }
    session.verify_message(Part::Last, data.bytes()?, signature.bytes()?)
}

/// `C_Message*Final`.
pub(super) fn end(session: CK_SESSION_HANDLE, what: Use) -> Result<()> {
    module::session(session)?.end_messages(what)
}

/// `C_VerifySignatureInit`; without a mechanism it cancels.
pub(super) fn begin_with_signature(
    session: CK_SESSION_HANDLE,
    mechanism: Maybe<CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
    signature: In,
) -> Result<()> {
    let session = module::session(session)?;
    match mechanism.get() {
        None => session.cancel(Use::VerifySignature),
        Some(mechanism) => {
            let mechanism = params::decode(&mechanism, &session.slot)?;
            session.begin_with(Use::VerifySignature, &mechanism, Some(key), signature.bytes()?)
        }
    }
}

/// `C_VerifySignature`, and without data `C_VerifySignatureFinal`.
pub(super) fn verify_signature(session: CK_SESSION_HANDLE, data: Option<In>) -> Result<()> {
    let session = module::session(session)?;
    let data = data.as_ref().map(In::bytes).transpose()?;
    session.verify(Use::VerifySignature, data, None)
}

// SAFETY: pointers and integers.
unsafe impl Plain for CK_GCM_MESSAGE_PARAMS {}
// SAFETY: as above.
unsafe impl Plain for CK_GCM_WRAP_PARAMS {}
// SAFETY: as above.
unsafe impl Plain for CK_CCM_MESSAGE_PARAMS {}
// SAFETY: as above.
unsafe impl Plain for CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS {}
