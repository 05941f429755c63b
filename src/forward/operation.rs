//! Operations in the HSM. Each has a session with the HSM to itself from its begin to its end.

use std::borrow::Cow;
use std::sync::Arc;

use cryptoki_sys::*;

use super::call::{Call, MessagePart, Reply, Rv};
use super::fault::{Fault, Outcome, removed};
use super::hsm::Hsm;
use super::pool::{Active, Lease};
use crate::error::{Code, Result};
use crate::token::*;

pub struct Forwarded {
    hsm: Arc<Hsm>,
    caller: Caller,
    what: Use,
    /// With our own numbers of objects.
    mechanism: Mechanism,
    key: Option<ObjectId>,
    lease: Option<Lease>,
    /// Something has gone into it that a second begin would not bring back.
    fed: bool,
    /// Of a verification whose signature came first, in an HSM that cannot verify in parts: all that has come.
    gathered: Option<Vec<u8>>,
    /// Bytes of the running message that have gone in and not yet come out.
    pending: usize,
    /// A message that has begun here, but not yet in the HSM.
    message: Option<(MessageParams, Bytes)>,
    waits_for_login: bool,
    /// How often the HSM had been reminded of the login when this began.
    reminders: u64,
}

/// The mechanism with the HSM's handles in it; borrowed where it has none.
pub fn translated<'a>(hsm: &Hsm, lease: &mut Lease, mechanism: &'a Mechanism) -> Outcome<Cow<'a, Mechanism>> {
    if mechanism.params.objects().is_empty() {
        return Ok(Cow::Borrowed(mechanism));
    }
    let mut own = mechanism.clone();
    own.params.map_objects(|id| -> Outcome<()> {
        *id = ObjectId(hsm.resolve(lease, *id)?);
        Ok(())
    })?;
    Ok(Cow::Owned(own))
}

impl Forwarded {
    /// `C_*Init`.
    pub fn begin(
        hsm: &Arc<Hsm>,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
    ) -> Result<Begun> {
        let operation = Forwarded {
            hsm: Arc::clone(hsm),
            caller,
            what,
            mechanism: mechanism.clone(),
            key,
            lease: None,
            fed: false,
            gathered: None,
            pending: 0,
            message: None,
            waits_for_login: false,
            reminders: 0,
        };
        let stamp = Stamp { mechanism: mechanism.ty, key, state: (hsm.epoch(), 0) };
        let mut operation = Box::new(operation);
        let (private, reauthenticate) = operation.start()?;
        Ok(Begun { operation, reauthenticate, private, stamp, cleared_until: 0 })
    }

    /// Begins in the HSM. Whether the key is private, and asks for a login before each use.
    fn start(&mut self) -> Result<(bool, bool)> {
        self.lease = None;
        self.fed = false;
        self.gathered = None;
        self.pending = 0;
        self.message = None;
        self.reminders = self.hsm.reminders();
        if self.what == Use::Random {
            return Ok((false, false));
        }
        let (hsm, what, mechanism, key) = (&self.hsm, self.what, &self.mechanism, self.key);
        let (lease, rights) = hsm.attempt_keeping(|lease| {
            let handle = key.map(|key| hsm.resolve(lease, key)).transpose()?;
            let known = match (key, handle) {
                (Some(key), Some(handle)) => Some(hsm.describe(lease, key, handle)?),
                _ => None,
            };
            let by = translated(hsm, lease, mechanism)?;
            let session = lease.session();
            lease.call(&Call::Begin { session, what, mechanism: by, key: handle })?;
            lease.set_active(Some(Active::Operation(what)));
            Ok(known.map_or((false, false), |known| (known.private, known.always_authenticate)))
        })?;
        self.waits_for_login = rights.1;
        if rights.1 {
            hsm.pool.await_login(self.caller.session, &lease);
        }
        self.lease = Some(lease);
        Ok(rights)
    }

    fn active(&self) -> Rv<&Lease> {
        self.lease.as_ref().ok_or(CKR_OPERATION_NOT_INITIALIZED)
    }

    /// The HSM has ended the operation: its session is free.
    fn ended(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.set_active(None);
            lease.completed(self.caller.session);
        }
        if self.waits_for_login {
            self.hsm.pool.forget(self.caller.session);
        }
    }

    fn failed(&mut self, rv: CK_RV) -> crate::error::Error {
        if self.is_of_messages() && !self.hsm.is_lost(rv) {
            // The message is over, and not what it is one of.
            (self.fed, self.pending, self.message) = (false, 0, None);
            return self.hsm.error(Fault::Hsm(rv));
        }
        match self.lease.take() {
            Some(lease) if self.hsm.is_lost(rv) => {
                let epoch = lease.epoch();
                lease.discard();
                // For the next call; this one has failed.
                let _ = self.hsm.recover(epoch);
            }
            // By the specification the operation is over; should it not be, the next begin finds out.
            Some(mut lease) => lease.set_active(None),
            None => {}
        }
        self.hsm.error(Fault::Hsm(rv))
    }

    /// A call of the operation. Where the HSM was lost before anything went in, it begins anew, once.
    fn run(&mut self, once_more: bool, mut call: impl FnMut(&Lease) -> Rv<Reply>) -> Result<Reply> {
        if self.lease.is_none() {
            // A restarted one whose session has gone back.
            return Err(Code::OperationNotInitialized.into());
        }
        match self.active().and_then(&mut call) {
            Ok(reply) => Ok(reply),
            Err(rv) if once_more && !self.fed && !self.waits_for_login && self.may_replay(rv) => {
                if let Some(lease) = self.lease.take() {
                    let epoch = lease.epoch();
                    lease.discard();
                    if self.hsm.is_lost(rv) {
                        self.hsm.recover(epoch).map_err(removed)?;
                    }
                }
                self.start()?;
                self.active().and_then(&mut call).map_err(|rv| self.failed(rv))
            }
            Err(rv) => Err(self.failed(rv)),
        }
    }

    /// Nothing was done, or doing it twice is as good as once.
    fn may_replay(&self, rv: CK_RV) -> bool {
        let forgotten = || self.active().is_ok_and(|lease| self.hsm.forgot(lease, self.reminders));
        self.hsm.may_repeat(rv)
            || rv == CKR_USER_NOT_LOGGED_IN && self.hsm.logged_in().is_some()
            || rv == CKR_OPERATION_NOT_INITIALIZED && forgotten()
    }

    fn random(&self, out: &mut [u8]) -> Result<usize> {
        let room = std::cell::RefCell::new(out);
        self.hsm.attempt(true, |lease| {
            let session = lease.session();
            Ok(lease.fill(&Call::Random { session }, &mut room.borrow_mut())?.wrote()?)
        })
    }

    fn is_message_cipher(&self) -> bool {
        matches!(self.what, Use::MessageEncrypt | Use::MessageDecrypt)
    }

    fn is_of_messages(&self) -> bool {
        self.is_message_cipher() || matches!(self.what, Use::MessageSign | Use::MessageVerify)
    }

    /// A further part of what is verified by a signature that came first. An HSM may not take it in parts.
    fn feed_verification(&mut self, input: &[u8]) -> Result<()> {
        if let Some(gathered) = &mut self.gathered {
            gathered.extend_from_slice(input);
            return Ok(());
        }
        let (what, first) = (self.what, !self.fed);
        let call = |lease: &Lease| lease.call(&Call::Feed { session: lease.session(), what, input: input.into() });
        match self.run(false, call) {
            Err(error) if error.code() == Code::FunctionNotSupported && first => {
                self.start()?;
                self.gathered = Some(input.to_vec());
            }
            other => {
                other?;
                self.fed = true;
            }
        }
        Ok(())
    }

    fn signed_message(
        &mut self,
        part: MessagePart,
        input: &[u8],
        signature: &[u8],
        out: Option<&mut [u8]>,
    ) -> Result<Reply> {
        let what = self.what;
        let mut out = out;
        let reply = self.run(part == MessagePart::Whole, |lease| {
            let call = Call::SignedMessage {
                session: lease.session(),
                what,
                part,
                input: input.into(),
                signature: signature.into(),
            };
            match &mut out {
                Some(out) => lease.fill(&call, out),
                None => lease.call(&call),
            }
        })?;
        if matches!(part, MessagePart::Whole | MessagePart::Last) && !matches!(reply, Reply::Needs(_)) {
            self.completed();
        }
        Ok(reply)
    }

    /// A message is over, and what it is one of goes on.
    fn completed(&self) {
        if let Some(lease) = &self.lease {
            lease.completed(self.caller.session);
        }
    }

    fn message(
        &mut self,
        part: MessagePart,
        params: &MessageParams,
        aad: &[u8],
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(MessageParams, usize)> {
        let (what, ty) = (self.what, self.mechanism.ty);
        let reply = self.run(part == MessagePart::Whole, |lease| {
            let call = Call::Message {
                session: lease.session(),
                what,
                part,
                ty,
                params: Cow::Borrowed(params),
                aad: aad.into(),
                input: input.into(),
            };
            lease.fill(&call, out)
        })?;
        reply.message().map_err(|rv| self.failed(rv))
    }

    /// Begins in the HSM the message that has begun here.
    fn begin_message(&mut self) -> Result<Option<MessageParams>> {
        let Some((params, aad)) = self.message.take() else { return Ok(None) };
        let (after, _) = self.message(MessagePart::First, &params, &aad, &[], &mut [])?;
        self.fed = true;
        Ok(Some(after))
    }
}

impl Operation for Forwarded {
    fn size(&mut self, step: Step, input: usize) -> Result<Size> {
        match self.what {
            Use::Random => return Ok(Size::AtMost(usize::MAX)),
            // Tags have their own place.
            Use::MessageEncrypt => return Ok(Size::Exactly(input)),
            // What is decrypted may be kept back until the tag is checked.
            Use::MessageDecrypt => return Ok(Size::AtMost(input.saturating_add(self.pending))),
            Use::MessageSign => {
                let zeros = vec![0; input];
                let part = if step == Step::Whole { MessagePart::Whole } else { MessagePart::Last };
                let reply = self.signed_message(part, &zeros, &[], None)?;
                return reply.needs().map(Size::AtMost).map_err(|rv| self.failed(rv));
            }
            _ => {}
        }
        // Only asked where a decorator stands between: the way of `convey` has the input itself.
        let (what, zeros) = (self.what, vec![0; input]);
        let reply = self.run(step == Step::Whole, |lease| {
            lease.call(&Call::Run { session: lease.session(), what, step, input: zeros.as_slice().into() })
        })?;
        reply.needs().map(Size::AtMost).map_err(|rv| self.failed(rv))
    }

    fn convey(&mut self, step: Step, input: &[u8], mut out: Option<&mut [u8]>) -> Option<Result<Conveyed>> {
        let what = self.what;
        if !matches!(
            what,
            Use::Encrypt | Use::Decrypt | Use::Digest | Use::Sign | Use::SignRecover | Use::VerifyRecover
        ) {
            return None;
        }
        let reply = self.run(step == Step::Whole, |lease| {
            let call = Call::Run { session: lease.session(), what, step, input: Cow::Borrowed(input) };
            match &mut out {
                Some(out) => lease.fill(&call, out),
                None => lease.call(&call),
            }
        });
        Some(match reply {
            Ok(Reply::Needs(needs)) => Ok(Conveyed::Needs(needs)),
            Ok(Reply::Wrote(wrote)) => {
                if step == Step::Update {
                    self.fed = true;
                } else {
                    self.ended();
                }
                Ok(Conveyed::Wrote(wrote))
            }
            Ok(_) => Err(self.failed(CKR_GENERAL_ERROR)),
            Err(error) => Err(error),
        })
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let what = self.what;
        match what {
            Use::Random => {
                let seed = |lease: &mut Lease| {
                    let session = lease.session();
                    Ok(lease.call(&Call::Seed { session, seed: input.into() }).map(drop)?)
                };
                self.hsm.attempt(true, seed)?;
                Ok(0)
            }
            Use::MessageSign | Use::MessageVerify => {
                if !self.fed {
                    self.signed_message(MessagePart::First, &[], &[], None)?;
                    self.fed = true;
                }
                self.signed_message(MessagePart::Next, input, &[], None)?;
                Ok(0)
            }
            Use::MessageEncrypt | Use::MessageDecrypt => {
                self.begin_message()?;
                let none = MessageParams::default();
                let (_, wrote) = self.message(MessagePart::Next, &none, &[], input, out)?;
                self.pending = self.pending.saturating_add(input.len()).saturating_sub(wrote);
                Ok(wrote)
            }
            Use::Encrypt | Use::Decrypt => match self.convey(Step::Update, input, Some(out)) {
                Some(Ok(Conveyed::Wrote(wrote))) => Ok(wrote),
                Some(Err(error)) => Err(error),
                _ => Err(Code::BufferTooSmall.into()),
            },
            Use::VerifySignature => self.feed_verification(input).map(|()| 0),
            _ => {
                self.run(false, |lease| {
                    lease.call(&Call::Feed { session: lease.session(), what, input: input.into() })
                })?;
                self.fed = true;
                Ok(0)
            }
        }
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        match self.what {
            Use::Random => self.random(out),
            Use::MessageSign => {
                let reply = self.signed_message(MessagePart::Last, &[], &[], Some(out))?;
                reply.wrote().map_err(|rv| self.failed(rv))
            }
            _ => self.conveyed(Step::Finish, &[], out),
        }
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if self.what == Use::MessageSign {
            let reply = self.signed_message(MessagePart::Whole, input, &[], Some(out))?;
            return reply.wrote().map_err(|rv| self.failed(rv));
        }
        self.conveyed(Step::Whole, input, out)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        let what = self.what;
        if what == Use::MessageVerify {
            let (part, input) = match input {
                Some(input) => (MessagePart::Whole, input),
                None => (MessagePart::Last, &[][..]),
            };
            return self.signed_message(part, input, signature, None).map(drop);
        }
        let gathered = self.gathered.take();
        let input = gathered.as_deref().or(input);
        self.run(input.is_some(), |lease| {
            let input = input.map(Cow::Borrowed);
            lease.call(&Call::Verify { session: lease.session(), what, input, signature: signature.into() })
        })?;
        self.ended();
        Ok(())
    }

    fn start_message(&mut self, params: Option<&mut MessageParams>, aad: &[u8]) -> Result<()> {
        (self.fed, self.pending) = (false, 0);
        let Some(params) = params else {
            // The whole of it has its own function; the first of several parts comes as an update, with which it begins.
            return Ok(());
        };
        self.hsm.allows_message(self.mechanism.ty, self.what, params)?;
        self.message = Some((params.clone(), Bytes::from_slice(aad)));
        if params.generator != Generator::Given
            && let Some(after) = self.begin_message()?
        {
            *params = after;
        }
        Ok(())
    }

    fn end_message(&mut self, params: &mut MessageParams, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if !self.is_message_cipher() {
            return Err(Code::FunctionNotSupported.into());
        }
        let (part, aad) = match self.message.take() {
            Some((_, aad)) => (MessagePart::Whole, aad),
            None => (MessagePart::Last, Bytes::new()),
        };
        let (after, wrote) = self.message(part, params, &aad, input, out)?;
        *params = after;
        (self.fed, self.pending) = (false, 0);
        self.completed();
        Ok(wrote)
    }

    /// `value` is the number of the key, as [`super::Forward`] gives it: its value does not leave the HSM.
    fn digest_key(&mut self, value: &[u8]) -> Result<()> {
        let id = value.try_into().map(u64::from_ne_bytes).map_err(|_| Code::KeyIndigestible)?;
        let mut lease = self.lease.take().ok_or(Code::OperationNotInitialized)?;
        let key = self.hsm.resolve(&mut lease, ObjectId(id)).map_err(|fault| self.hsm.error(fault))?;
        self.lease = Some(lease);
        self.run(false, |lease| lease.call(&Call::DigestKey { session: lease.session(), key }))?;
        self.fed = true;
        Ok(())
    }

    fn restart(&mut self, params: &Params) -> bool {
        if self.mechanism.params != *params {
            self.mechanism.params = params.clone();
        }
        self.start().is_ok()
    }

    fn save(&self) -> Result<Vec<u8>> {
        let lease = self.active().map_err(|rv| self.hsm.error(rv.into()))?;
        let saved = lease.call(&Call::Save { session: lease.session() }).and_then(Reply::bytes);
        saved.map_err(|rv| self.hsm.error(rv.into()))
    }
}

impl Forwarded {
    fn conveyed(&mut self, step: Step, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match self.convey(step, input, Some(out)) {
            Some(Ok(Conveyed::Wrote(wrote))) => Ok(wrote),
            Some(Ok(Conveyed::Needs(_))) => Err(self.failed(CKR_BUFFER_TOO_SMALL)),
            Some(Err(error)) => Err(error),
            None => Err(Code::FunctionNotSupported.into()),
        }
    }

    /// `C_SetOperationState`: of digests, which need no key.
    pub fn restore(hsm: &Arc<Hsm>, caller: Caller, what: Use, state: &[u8]) -> Result<Begun> {
        let (lease, ()) = hsm.attempt_keeping(|lease| {
            lease.call(&Call::Restore { session: lease.session(), state: state.into() })?;
            lease.set_active(Some(Active::Operation(what)));
            Ok(())
        })?;
        let mechanism = Mechanism { ty: CK_UNAVAILABLE_INFORMATION, params: Params::None };
        let operation = Box::new(Forwarded {
            hsm: Arc::clone(hsm),
            caller,
            what,
            mechanism,
            key: None,
            lease: Some(lease),
            fed: true,
            gathered: None,
            pending: 0,
            message: None,
            waits_for_login: false,
            reminders: hsm.reminders(),
        });
        Ok(Begun { operation, reauthenticate: false, private: false, stamp: Stamp::default(), cleared_until: 0 })
    }
}
