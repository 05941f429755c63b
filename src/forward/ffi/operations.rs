//! The functions of operations: `C_*Init` and what follows them.

use std::ptr::null_mut;

use cryptoki_sys::*;

use super::encode::{Encoded, EncodedMessage};
use super::{Local, calls};
use crate::forward::call::{MessagePart, Reply, Rv};
use crate::token::{Mechanism, MessageParams, Step, Use};

type Init = CK_C_SignInit;
type Whole = CK_C_Sign;
type Last = CK_C_SignFinal;
type Feed = CK_C_SignUpdate;

/// A function that the module lacks.
const MISSING: CK_RV = CKR_FUNCTION_NOT_SUPPORTED;

pub(super) fn input(bytes: &[u8]) -> (*mut u8, CK_ULONG) {
    // Not NULL even for nothing: some modules refuse (NULL, 0) that the specification allows.
    (bytes.as_ptr().cast_mut(), bytes.len() as CK_ULONG)
}

/// Output by the convention of PKCS#11 3.2, 5.2. A module that says it wrote more than there was room for is not believed.
pub(super) fn output(out: Option<&mut [u8]>, call: impl FnOnce(*mut u8, *mut CK_ULONG) -> CK_RV) -> Rv<Reply> {
    let asks = out.is_none();
    let (place, room) = match out {
        Some(out) => (out.as_mut_ptr(), out.len()),
        None => (null_mut(), 0),
    };
    let mut length = room as CK_ULONG;
    let rv = call(place, &raw mut length);
    let told = usize::try_from(length).ok().filter(|told| *told <= calls::LONGEST);
    match rv {
        CKR_OK if asks => told.map(Reply::Needs).ok_or(CKR_DEVICE_ERROR),
        CKR_OK => told.filter(|told| *told <= room).map(Reply::Wrote).ok_or(CKR_DEVICE_ERROR),
        CKR_BUFFER_TOO_SMALL => told.map(Reply::Needs).ok_or(CKR_DEVICE_ERROR),
        rv => Err(rv),
    }
}

impl Local {
    fn init(&self, what: Use) -> Rv<Init> {
        let table = &self.table;
        Ok(match what {
            Use::Encrypt => table.C_EncryptInit,
            Use::Decrypt => table.C_DecryptInit,
            Use::Sign => table.C_SignInit,
            Use::SignRecover => table.C_SignRecoverInit,
            // A signature that is given first is only kept for later: the older functions do.
            Use::Verify | Use::VerifySignature => table.C_VerifyInit,
            Use::VerifyRecover => table.C_VerifyRecoverInit,
            Use::MessageEncrypt => table.C_MessageEncryptInit,
            Use::MessageDecrypt => table.C_MessageDecryptInit,
            Use::MessageSign => table.C_MessageSignInit,
            Use::MessageVerify => table.C_MessageVerifyInit,
            Use::Digest | Use::Random => return Err(CKR_GENERAL_ERROR),
        })
    }

    pub(super) fn begin(
        &self,
        session: CK_SESSION_HANDLE,
        what: Use,
        mechanism: &Mechanism,
        key: Option<CK_OBJECT_HANDLE>,
    ) -> Rv<Reply> {
        let mut messages;
        let mut encoded;
        let messages_of = match (&mechanism.params, what) {
            (crate::token::Params::Message { message, .. }, Use::MessageEncrypt | Use::MessageDecrypt) => Some(message),
            _ => None,
        };
        let mut raw = match messages_of {
            Some(message) => {
                messages = EncodedMessage::of(mechanism.ty, message);
                let (parameter, length) = messages.raw();
                CK_MECHANISM { mechanism: mechanism.ty, pParameter: parameter, ulParameterLen: length }
            }
            None => {
                encoded = Encoded::new(mechanism, self.quirks.short_gcm);
                encoded.mechanism()
            }
        };
        let rv = if what == Use::Digest {
            // SAFETY: the call's promise.
            unsafe { self.table.C_DigestInit.ok_or(MISSING)?(session, &raw mut raw) }
        } else {
            // SAFETY: the call's promise.
            unsafe { self.init(what)?.ok_or(MISSING)?(session, &raw mut raw, key.unwrap_or(CK_INVALID_HANDLE)) }
        };
        calls::done(rv)
    }

    fn whole(&self, what: Use, step: Step) -> Rv<Whole> {
        let table = &self.table;
        Ok(match (what, step) {
            (Use::Encrypt, Step::Whole) => table.C_Encrypt,
            (Use::Encrypt, Step::Update) => table.C_EncryptUpdate,
            (Use::Decrypt, Step::Whole) => table.C_Decrypt,
            (Use::Decrypt, Step::Update) => table.C_DecryptUpdate,
            (Use::Digest, Step::Whole) => table.C_Digest,
            (Use::Sign, Step::Whole) => table.C_Sign,
            (Use::SignRecover, Step::Whole) => table.C_SignRecover,
            (Use::VerifyRecover, Step::Whole) => table.C_VerifyRecover,
            _ => return Err(MISSING),
        })
    }

    fn last(&self, what: Use) -> Rv<Last> {
        let table = &self.table;
        Ok(match what {
            Use::Encrypt => table.C_EncryptFinal,
            Use::Decrypt => table.C_DecryptFinal,
            Use::Digest => table.C_DigestFinal,
            Use::Sign => table.C_SignFinal,
            _ => return Err(MISSING),
        })
    }

    pub(super) fn run(
        &self,
        session: CK_SESSION_HANDLE,
        what: Use,
        step: Step,
        data: &[u8],
        out: Option<&mut [u8]>,
    ) -> Rv<Reply> {
        let (data, data_len) = input(data);
        if step == Step::Finish {
            let function = self.last(what)?.ok_or(MISSING)?;
            // SAFETY: the call's promise.
            return output(out, |place, length| unsafe { function(session, place, length) });
        }
        let function = self.whole(what, step)?.ok_or(MISSING)?;
        // SAFETY: the call's promise.
        output(out, |place, length| unsafe { function(session, data, data_len, place, length) })
    }

    pub(super) fn feed(&self, session: CK_SESSION_HANDLE, what: Use, data: &[u8]) -> Rv<Reply> {
        let table = &self.table;
        let function: Feed = match what {
            Use::Digest => table.C_DigestUpdate,
            Use::Sign => table.C_SignUpdate,
            Use::Verify | Use::VerifySignature => table.C_VerifyUpdate,
            _ => return Err(MISSING),
        };
        let (data, len) = input(data);
        // SAFETY: the call's promise.
        calls::done(unsafe { function.ok_or(MISSING)?(session, data, len) })
    }

    pub(super) fn verify(&self, session: CK_SESSION_HANDLE, data: Option<&[u8]>, signature: &[u8]) -> Rv<Reply> {
        let (tag, tag_len) = input(signature);
        let Some(data) = data else {
            // SAFETY: the call's promise.
            return calls::done(unsafe { self.table.C_VerifyFinal.ok_or(MISSING)?(session, tag, tag_len) });
        };
        let (data, len) = input(data);
        // SAFETY: the call's promise.
        calls::done(unsafe { self.table.C_Verify.ok_or(MISSING)?(session, data, len, tag, tag_len) })
    }

    /// A message to encrypt or to decrypt.
    #[allow(clippy::too_many_arguments)] // as many as the C function has
    pub(super) fn message(
        &self,
        session: CK_SESSION_HANDLE,
        what: Use,
        part: MessagePart,
        ty: CK_MECHANISM_TYPE,
        before: &MessageParams,
        aad: &[u8],
        data: &[u8],
        out: Option<&mut [u8]>,
    ) -> Rv<Reply> {
        let table = &self.table;
        let encrypts = what == Use::MessageEncrypt;
        let mut params = EncodedMessage::of(ty, before);
        let (parameter, parameter_len) = params.raw();
        let ((aad, aad_len), (data, data_len)) = (input(aad), input(data));
        let reply = match part {
            MessagePart::First => {
                let function = if encrypts { table.C_EncryptMessageBegin } else { table.C_DecryptMessageBegin };
                let function = function.ok_or(MISSING)?;
                // SAFETY: the call's promise; the places of IV and tag are those of `params`.
                calls::done(unsafe { function(session, parameter, parameter_len, aad, aad_len) })?;
                Reply::Wrote(0)
            }
            MessagePart::Whole => {
                let function = if encrypts { table.C_EncryptMessage } else { table.C_DecryptMessage };
                let function = function.ok_or(MISSING)?;
                // SAFETY: as above.
                output(out, |place, length| unsafe {
                    function(session, parameter, parameter_len, aad, aad_len, data, data_len, place, length)
                })?
            }
            MessagePart::Next | MessagePart::Last => {
                let function = if encrypts { table.C_EncryptMessageNext } else { table.C_DecryptMessageNext };
                let function = function.ok_or(MISSING)?;
                let flags = if part == MessagePart::Last { CKF_END_OF_MESSAGE } else { 0 };
                // SAFETY: as above.
                output(out, |place, length| unsafe {
                    function(session, parameter, parameter_len, data, data_len, place, length, flags)
                })?
            }
        };
        match reply {
            Reply::Wrote(wrote) => Ok(Reply::Message(Box::new(params.after(before)), wrote)),
            other => Ok(other),
        }
    }

    /// A message to sign or to verify. Signatures have no parameters.
    pub(super) fn signed_message(
        &self,
        session: CK_SESSION_HANDLE,
        what: Use,
        part: MessagePart,
        data: &[u8],
        signature: &[u8],
        out: Option<&mut [u8]>,
    ) -> Rv<Reply> {
        let table = &self.table;
        let ((data, len), (tag, tag_len)) = (input(data), input(signature));
        let (none, signs) = (null_mut(), what == Use::MessageSign);
        if part == MessagePart::First {
            let function = if signs { table.C_SignMessageBegin } else { table.C_VerifyMessageBegin };
            // SAFETY: the call's promise.
            return calls::done(unsafe { function.ok_or(MISSING)?(session, none, 0) });
        }
        if signs {
            if part == MessagePart::Whole {
                let function = table.C_SignMessage.ok_or(MISSING)?;
                // SAFETY: the call's promise.
                return output(out, |place, length| unsafe { function(session, none, 0, data, len, place, length) });
            }
            let function = table.C_SignMessageNext.ok_or(MISSING)?;
            if part == MessagePart::Next {
                // SAFETY: the call's promise; without a place for the length the message goes on.
                return calls::done(unsafe { function(session, none, 0, data, len, null_mut(), null_mut()) });
            }
            // SAFETY: the call's promise.
            return output(out, |place, length| unsafe { function(session, none, 0, data, len, place, length) });
        }
        let (function, tag, tag_len) = match part {
            MessagePart::Whole => (table.C_VerifyMessage, tag, tag_len),
            MessagePart::Next => (table.C_VerifyMessageNext, null_mut(), 0),
            _ => (table.C_VerifyMessageNext, tag, tag_len),
        };
        // SAFETY: the call's promise.
        calls::done(unsafe { function.ok_or(MISSING)?(session, none, 0, data, len, tag, tag_len) })
    }

    pub(super) fn messages_end(&self, session: CK_SESSION_HANDLE, what: Use) -> Rv<Reply> {
        let table = &self.table;
        let function = match what {
            Use::MessageEncrypt => table.C_MessageEncryptFinal,
            Use::MessageDecrypt => table.C_MessageDecryptFinal,
            Use::MessageSign => table.C_MessageSignFinal,
            _ => table.C_MessageVerifyFinal,
        };
        // SAFETY: the call's promise.
        calls::done(unsafe { function.ok_or(MISSING)?(session) })
    }
}
