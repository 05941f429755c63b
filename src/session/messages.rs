//! Message-based operations: the messages within one, and how each of them ends (PKCS#11 3.2, 5.9, 5.11, 5.14, 5.16).
//!
//! The operation itself lasts until its `Final`. A message ends with its last part or with an error; a length query and a
//! too small buffer keep it.

use super::active::{Active, Done, Operations, Room};
use super::{Session, hold};
use crate::error::{Code, Result};
use crate::mechanism::approved;
use crate::mechanism::table::flag_of;
use crate::token::{MessageParams, Step, Use};

/// Which part of a message a call brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it in one call.
    Whole,
    /// `C_*MessageBegin`: no data yet.
    First,
    Next,
    Last,
}

impl Part {
    fn step(self) -> Step {
        match self {
            Part::Whole => Step::Whole,
            Part::First | Part::Next => Step::Update,
            Part::Last => Step::Finish,
        }
    }

    fn ends(self) -> bool {
        matches!(self, Part::Whole | Part::Last)
    }

    /// `CKR_OPERATION_ACTIVE` within another message, `CKR_OPERATION_NOT_INITIALIZED` outside of any,
    /// `CKR_FUNCTION_NOT_SUPPORTED` for parts of what can only be done whole.
    fn fits(self, active: &Active) -> Result<()> {
        match self {
            Part::Whole | Part::First if active.in_message => Err(Code::OperationActive.into()),
            Part::Next | Part::Last if !active.in_message => Err(Code::OperationNotInitialized.into()),
            Part::First if !active.begun.operation.multi_part() => {
                Err(Code::FunctionNotSupported.because("this mechanism takes a message in one call only"))
            }
            _ => Ok(()),
        }
    }
}

impl Operations {
    /// The rule. While `work` runs the operation is out of its place: a panic ends it.
    fn message(
        &mut self,
        what: Use,
        part: Part,
        asks: bool,
        work: impl FnOnce(&mut Active) -> Result<Done>,
    ) -> Result<Done> {
        let place = self.active(what);
        let mut active = place.take().ok_or(Code::OperationNotInitialized)?;
        if let Err(error) = part.fits(&active) {
            *place = Some(active);
            return Err(error);
        }
        if active.locked() && !asks {
            *place = Some(active);
            return Err(Code::UserNotLoggedIn.because("the key asks for a context-specific login before each message"));
        }
        let done = work(&mut active);
        let over = match &done {
            Ok(Done::Needs(_)) => false,
            Ok(Done::Wrote(_)) => part.ends(),
            Err(_) => true,
        };
        if over {
            // One login, one message.
            active.authenticated = false;
        }
        active.in_message = !over && (active.in_message || part == Part::First);
        *place = Some(active);
        done
    }
}

/// Runs `work` where the result fits; nothing happens before that is known.
fn into_room(
    active: &mut Active,
    step: Step,
    input: usize,
    room: Room<'_>,
    work: impl FnOnce(&mut Active, &mut [u8]) -> Result<usize>,
) -> Result<Done> {
    let needed = active.begun.operation.size(step, input)?.bound();
    let Room::Fill(out) = room else { return Ok(Done::Needs(needed)) };
    let Some(out) = out.get_mut(..needed) else { return Ok(Done::Needs(needed)) };
    work(active, out).map(Done::Wrote)
}

impl Session {
    /// `C_EncryptMessage`, `C_DecryptMessage` and their parts. What is generated of `params`, and the tag of an encrypted
    /// message, is in them afterwards. `CKR_OPERATION_NOT_INITIALIZED`, `CKR_OPERATION_ACTIVE` amid another message,
    /// `CKR_USER_NOT_LOGGED_IN` where the key asks for a context-specific login, and what the operation says.
    pub fn cipher_message(
        &self,
        what: Use,
        part: Part,
        params: &mut MessageParams,
        aad: &[u8],
        input: &[u8],
        room: Room<'_>,
    ) -> Result<Done> {
        let asks = matches!(room, Room::Ask) && part != Part::First;
        let done = hold(&self.state).operations.message(what, part, asks, |active| {
            if self.slot.approved_only && matches!(part, Part::First | Part::Whole) {
                approved::check_message(active.mechanism, flag_of(what), params)?;
            }
            if part == Part::First {
                return active.begun.operation.start_message(Some(params), aad).map(|()| Done::Wrote(0));
            }
            into_room(active, part.step(), input.len(), room, |active, out| {
                let operation = &mut active.begun.operation;
                match part {
                    Part::Next => operation.update(input, out),
                    Part::Last => operation.end_message(params, input, out),
                    Part::First | Part::Whole => {
                        operation.start_message(Some(params), aad)?;
                        operation.end_message(params, input, out)
                    }
                }
            })
        });
        self.stepped(part.step(), done)
    }

    /// `C_SignMessage` and its parts; the codes of [`Session::cipher_message`].
    pub fn sign_message(&self, part: Part, input: &[u8], room: Room<'_>) -> Result<Done> {
        let asks = matches!(room, Room::Ask) && part.ends();
        let done = hold(&self.state).operations.message(Use::MessageSign, part, asks, |active| match part {
            Part::First | Part::Next => feed(active, part, input),
            Part::Whole | Part::Last => into_room(active, part.step(), input.len(), room, |active, out| {
                let operation = &mut active.begun.operation;
                if part == Part::Whole {
                    operation.start_message(None, &[])?;
                    return operation.whole(input, out);
                }
                operation.update(input, &mut [])?;
                operation.finish(out)
            }),
        });
        self.stepped(part.step(), done)
    }

    /// `C_VerifyMessage` and its parts; `signature` counts for the whole and for the last. `CKR_SIGNATURE_INVALID`,
    /// `CKR_SIGNATURE_LEN_RANGE`, and the codes of [`Session::cipher_message`].
    pub fn verify_message(&self, part: Part, input: &[u8], signature: &[u8]) -> Result<()> {
        let done = hold(&self.state).operations.message(Use::MessageVerify, part, false, |active| {
            match part {
                Part::First | Part::Next => return feed(active, part, input),
                Part::Whole => {
                    active.begun.operation.start_message(None, &[])?;
                    active.begun.operation.verify(Some(input), signature)?;
                }
                Part::Last => {
                    active.begun.operation.update(input, &mut [])?;
                    active.begun.operation.verify(None, signature)?;
                }
            }
            Ok(Done::Wrote(0))
        });
        self.stepped(part.step(), done).map(drop)
    }

    /// `C_Message*Final`. `CKR_OPERATION_NOT_INITIALIZED`; `CKR_OPERATION_ACTIVE` amid a message.
    pub fn end_messages(&self, what: Use) -> Result<()> {
        let mut state = hold(&self.state);
        let place = state.operations.active(what);
        if place.as_ref().ok_or(Code::OperationNotInitialized)?.in_message {
            Err(Code::OperationActive.because("a message in parts has not ended"))?;
        }
        let ended = place.take().map(|active| active.begun);
        *state.operations.spare(what) = ended;
        Ok(())
    }
}

/// The parts of a signed message that bring no signature.
fn feed(active: &mut Active, part: Part, input: &[u8]) -> Result<Done> {
    let operation = &mut active.begun.operation;
    match part {
        Part::First => operation.start_message(None, &[])?,
        _ => drop(operation.update(input, &mut [])?),
    }
    Ok(Done::Wrote(0))
}
