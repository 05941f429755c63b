//! The active operations of a session, and THE rule of when one ends: a length query or a too small buffer keeps it, so
//! does a successful update; anything else ends it (PKCS#11 3.2, 5.2, and each function's own words).

use cryptoki_sys::CK_MECHANISM_TYPE;
use zeroize::Zeroizing;

use crate::error::{Code, Result};
use crate::token::{Begun, Bytes, Conveyed, Operation, Size, Step, Use};

/// Where a result may go.
pub enum Room<'a> {
    /// Nowhere: how long would it be?
    Ask,
    Fill(&'a mut [u8]),
}

/// How a step with output went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Wrote(usize),
    /// The answer to [`Room::Ask`], or the buffer is too small; nothing was written.
    Needs(usize),
}

/// A result that did not fit, for the next call of the same step with the same input.
struct Pending {
    step: Step,
    input: Zeroizing<Vec<u8>>,
    result: Zeroizing<Vec<u8>>,
}

pub(super) struct Active {
    pub(super) begun: Begun,
    pub(super) mechanism: CK_MECHANISM_TYPE,
    /// Rises from operation to operation: which was begun last?
    pub(super) order: u64,
    pub(super) authenticated: bool,
    /// A part has been fed.
    pub(super) updated: bool,
    /// A key's value has been fed: the state must not leave.
    pub(super) holds_key: bool,
    /// A message has begun in parts and not ended.
    pub(super) in_message: bool,
    /// What `C_VerifySignatureInit` was given.
    pub(super) signature: Bytes,
    pending: Option<Pending>,
}

impl Active {
    pub(super) fn new(begun: Begun, mechanism: CK_MECHANISM_TYPE) -> Active {
        Active {
            begun,
            mechanism,
            order: 0,
            authenticated: false,
            updated: false,
            holds_key: false,
            in_message: false,
            signature: Bytes::new(),
            pending: None,
        }
    }

    /// Still waits for its context-specific login.
    pub(super) fn locked(&self) -> bool {
        self.begun.reauthenticate && !self.authenticated
    }

    /// `CKR_FUNCTION_NOT_SUPPORTED` for a part of what can only be done whole (what OpenSC takes for an ordinary
    /// answer); `CKR_OPERATION_NOT_INITIALIZED` for the whole after parts.
    fn allows(&self, step: Step) -> Result<()> {
        match step {
            Step::Whole if self.updated => Err(Code::OperationNotInitialized.into()),
            Step::Update | Step::Finish if !self.begun.operation.multi_part() => {
                Err(Code::FunctionNotSupported.because("this mechanism works in one call only"))
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: Step, input: &[u8], room: Room<'_>) -> Result<Done> {
        self.allows(step)?;
        if let Some(pending) = self.pending.take() {
            return self.deliver(pending, step, input, room);
        }
        let room = match self.convey(step, input, room)? {
            Ok(done) => return Ok(done),
            Err(room) => room,
        };
        let size = self.begun.operation.size(step, input.len())?;
        let Room::Fill(out) = room else { return Ok(Done::Needs(size.bound())) };
        match (out.get_mut(..size.bound()), size) {
            (Some(out), _) => self.perform(step, input, out).map(Done::Wrote),
            (None, Size::Exactly(needed)) => Ok(Done::Needs(needed)),
            (None, Size::AtMost(bound)) => self.perform_aside(step, input, bound, out),
        }
    }

    /// By the operation's own keeping of the convention, if it has that; else the room comes back.
    fn convey<'a>(&mut self, step: Step, input: &[u8], room: Room<'a>) -> Result<Result<Done, Room<'a>>> {
        let (out, asks) = match room {
            Room::Fill(out) => (out, false),
            Room::Ask => (&mut [][..], true),
        };
        let conveyed = self.begun.operation.convey(step, input, (!asks).then_some(&mut *out));
        let Some(conveyed) = conveyed else { return Ok(Err(if asks { Room::Ask } else { Room::Fill(out) })) };
        Ok(Ok(match conveyed? {
            Conveyed::Needs(needs) => Done::Needs(needs),
            Conveyed::Wrote(wrote) => {
                self.updated |= step == Step::Update;
                Done::Wrote(wrote)
            }
        }))
    }

    fn perform(&mut self, step: Step, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let operation = &mut self.begun.operation;
        let wrote = match step {
            Step::Whole => operation.whole(input, out),
            Step::Update => operation.update(input, out),
            Step::Finish => operation.finish(out),
        }?;
        self.updated |= step == Step::Update;
        if wrote > out.len() {
            Err(Code::GeneralError.because("an operation wrote more than it said"))?;
        }
        if wrote > 0 && operation.has_distances() {
            // It is in its place: the length was known, so `out` is the caller's own.
            let address = out.as_ptr() as usize;
            crate::mechanism::otp::addressed(out.get_mut(..wrote).unwrap_or_default(), address);
        }
        Ok(wrote)
    }

    /// Where the buffer may be long enough or not, only the result shows.
    fn perform_aside(&mut self, step: Step, input: &[u8], bound: usize, out: &mut [u8]) -> Result<Done> {
        let mut result = zeroed(bound)?;
        let wrote = self.perform(step, input, &mut result)?;
        result.truncate(wrote);
        let input = copied(input)?;
        self.fit(Pending { step, input, result }, Room::Fill(out))
    }

    fn deliver(&mut self, pending: Pending, step: Step, input: &[u8], room: Room<'_>) -> Result<Done> {
        if pending.step != step || *pending.input != input {
            Err(Code::FunctionFailed.because("an earlier result waits for a larger buffer; fetch it first"))?;
        }
        self.fit(pending, room)
    }

    fn fit(&mut self, pending: Pending, room: Room<'_>) -> Result<Done> {
        let needed = pending.result.len();
        match room {
            Room::Fill(out) if out.len() >= needed => {
                out.iter_mut().zip(pending.result.iter()).for_each(|(to, from)| *to = *from);
                Ok(Done::Wrote(needed))
            }
            _ => {
                self.pending = Some(pending);
                Ok(Done::Needs(needed))
            }
        }
    }
}

fn zeroed(len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    bytes.try_reserve_exact(len).map_err(|_| Code::HostMemory)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

fn copied(from: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = zeroed(from.len())?;
    bytes.copy_from_slice(from);
    Ok(bytes)
}

/// A session's operations: at most one active per use, and the last ended one of each use, kept to be begun again
/// without allocating.
#[derive(Default)]
pub(super) struct Operations {
    active: [Option<Active>; Use::COUNT],
    spare: [Option<Begun>; Use::COUNT],
    /// How many were begun.
    begun: u64,
}

impl Operations {
    #[allow(clippy::indexing_slicing)] // one place per use
    pub(super) fn active(&mut self, what: Use) -> &mut Option<Active> {
        &mut self.active[what as usize]
    }

    #[allow(clippy::indexing_slicing)] // one place per use
    pub(super) fn spare(&mut self, what: Use) -> &mut Option<Begun> {
        &mut self.spare[what as usize]
    }

    pub(super) fn begin(&mut self, what: Use, active: Active) -> &mut Active {
        self.begun = self.begun.wrapping_add(1);
        let order = self.begun;
        self.active(what).insert(Active { order, ..active })
    }

    pub(super) fn all_active(&mut self) -> impl Iterator<Item = &mut Active> {
        self.active.iter_mut().flatten()
    }

    /// Forgets what stands on private objects.
    pub(super) fn end_private(&mut self) {
        self.active.iter_mut().for_each(|active| drop(active.take_if(|active| active.begun.private)));
        self.spare.iter_mut().for_each(|spare| drop(spare.take_if(|spare| spare.private)));
    }

    /// The rule. While `work` runs the operation is out of its place: a panic ends it too.
    fn during(&mut self, what: Use, asks: bool, work: impl FnOnce(&mut Active) -> Result<Kept>) -> Result<Done> {
        let mut active = self.active(what).take().ok_or(Code::OperationNotInitialized)?;
        if active.locked() && !asks {
            return Err(Code::UserNotLoggedIn.because("the key asks for a context-specific login before each use"));
        }
        let Kept { done, ended } = work(&mut active)?;
        match (done, ended) {
            (Done::Wrote(_), true) => *self.spare(what) = Some(active.begun),
            _ => *self.active(what) = Some(active),
        }
        Ok(done)
    }

    /// One step with output.
    pub(super) fn run(&mut self, what: Use, step: Step, input: &[u8], room: Room<'_>) -> Result<Done> {
        let asks = matches!(room, Room::Ask);
        self.during(what, asks, |active| {
            let done = active.step(step, input, room)?;
            Ok(Kept { done, ended: step != Step::Update })
        })
    }

    /// An update without output: digest, sign, verify.
    pub(super) fn feed(&mut self, what: Use, input: &[u8]) -> Result<()> {
        self.alter(what, |operation| operation.update(input, &mut []).map(|_| ()))
    }

    /// Feeds the operation by other means than bytes.
    pub(super) fn alter(&mut self, what: Use, by: impl FnOnce(&mut dyn Operation) -> Result<()>) -> Result<()> {
        self.during(what, false, |active| {
            active.allows(Step::Update)?;
            by(&mut *active.begun.operation)?;
            active.updated = true;
            Ok(Kept { done: Done::Wrote(0), ended: false })
        })?;
        Ok(())
    }

    /// `signature`: `None` where the operation was begun with it.
    pub(super) fn verify(&mut self, what: Use, input: Option<&[u8]>, signature: Option<&[u8]>) -> Result<()> {
        self.during(what, false, |active| {
            active.allows(if input.is_some() { Step::Whole } else { Step::Finish })?;
            active.begun.operation.verify(input, signature.unwrap_or(&active.signature))?;
            Ok(Kept { done: Done::Wrote(0), ended: true })
        })?;
        Ok(())
    }

    /// Both halves of a dual function must be active, and ready for an update.
    fn both(&mut self, one: Use, other: Use) -> Result<()> {
        for what in [one, other] {
            let active = self.active(what).as_ref().ok_or(Code::OperationNotInitialized)?;
            active.allows(Step::Update)?;
            if active.locked() {
                Err(Code::UserNotLoggedIn)?;
            }
        }
        Ok(())
    }

    /// `C_DigestEncryptUpdate`, `C_SignEncryptUpdate`. Only what was encrypted is fed.
    pub(super) fn encrypt_and_feed(&mut self, fed: Use, input: &[u8], room: Room<'_>) -> Result<Done> {
        self.both(Use::Encrypt, fed)?;
        let done = self.run(Use::Encrypt, Step::Update, input, room)?;
        if let Done::Wrote(_) = done {
            self.feed_second(Use::Encrypt, fed, input)?;
        }
        Ok(done)
    }

    /// `C_DecryptDigestUpdate`, `C_DecryptVerifyUpdate`. Only what reached the caller is fed.
    pub(super) fn decrypt_and_feed(&mut self, fed: Use, input: &[u8], room: Room<'_>) -> Result<Done> {
        self.both(Use::Decrypt, fed)?;
        let Room::Fill(out) = room else { return self.run(Use::Decrypt, Step::Update, input, Room::Ask) };
        let done = self.run(Use::Decrypt, Step::Update, input, Room::Fill(&mut *out))?;
        if let Done::Wrote(wrote) = done {
            self.feed_second(Use::Decrypt, fed, out.get(..wrote).ok_or(Code::GeneralError)?)?;
        }
        Ok(done)
    }

    /// The two halves would no longer agree after an error in the second: both end.
    fn feed_second(&mut self, first: Use, fed: Use, input: &[u8]) -> Result<()> {
        self.feed(fed, input).inspect_err(|_| *self.active(first) = None)
    }
}

/// How `work` leaves an operation that met no error.
struct Kept {
    done: Done,
    /// Done with, if the result was written.
    ended: bool,
}
