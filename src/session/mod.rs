//! One session: its view of the login, its active operations and its search.
//!
//! A session's own lock is held during its operations' cryptography, and by nothing else for long. Locks are the standard
//! library's: they wait on the lock word itself and keep no table or thread-local data that a fork or an exit could find
//! half-way.

mod active;
mod messages;
mod objects;
mod saved;
mod slot;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use cryptoki_sys::*;

pub use active::{Done, Room};
pub use messages::Part;
pub use objects::DerivedHandles;
pub use slot::{Gate, Slot};

use crate::error::{Code, Error, Result};
use crate::token::{APPROVED_FLAG, Attribute, Bytes, Caller, Mechanism, Params, Search, SessionId, Step, Use, User};
use active::{Active, Operations};

/// The mechanism that [`Use::Random`] is begun with.
pub const RANDOM: Mechanism = Mechanism { ty: CK_UNAVAILABLE_INFORMATION, params: Params::None };

/// How many handles a search is asked for at a time.
const FOUND_AT_ONCE: usize = 4096;

/// Locks; a panic of an earlier holder, answered with `CKR_GENERAL_ERROR`, does not make the lock useless.
pub fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open session.
pub struct Session {
    pub id: SessionId,
    pub slot: Arc<Slot>,
    read_write: bool,
    state: Mutex<State>,
    /// Whether the last operation that ended was an approved one.
    validated: AtomicBool,
}

#[derive(Default)]
struct State {
    operations: Operations,
    search: Option<Box<dyn Search>>,
}

/// `CKU_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Role(User),
    /// `CKU_CONTEXT_SPECIFIC`.
    ForOperation,
}

impl Session {
    /// Opens a session; the codes of [`Slot::enter`].
    pub fn open(id: SessionId, slot: Arc<Slot>, read_write: bool) -> Result<Session> {
        slot.enter(id, read_write)?;
        Ok(Session { id, slot, read_write, state: Mutex::default(), validated: AtomicBool::new(false) })
    }

    /// Ends the session. Does not wait for a call that another thread is making in it: that one's result is still its
    /// own, and what it leaves dies with the last reference.
    pub fn close(&self) {
        match self.state.try_lock() {
            Ok(mut state) => *state = State::default(),
            Err(TryLockError::Poisoned(state)) => *state.into_inner() = State::default(),
            Err(TryLockError::WouldBlock) => {}
        }
        self.slot.leave(self.id, self.read_write);
    }

    /// `C_GetSessionValidationFlags` for `CKS_LAST_VALIDATION_OK`. In the approved mode an operation that is not approved does
    /// not come to its end.
    pub fn validation_flags(&self) -> Result<CK_FLAGS> {
        if let Some(flags) = self.slot.token.validation_flags(self.caller())? {
            return Ok(flags);
        }
        Ok(if self.validated.load(Ordering::Acquire) { APPROVED_FLAG } else { 0 })
    }

    /// Takes note of how an operation ended.
    fn ended<T>(&self, result: Result<T>) -> Result<T> {
        self.validated.store(self.slot.approved_only && result.is_ok(), Ordering::Release);
        result
    }

    /// The same for one that may not have ended.
    fn stepped(&self, step: Step, result: Result<Done>) -> Result<Done> {
        match result {
            Ok(Done::Needs(_)) => result,
            Ok(Done::Wrote(_)) if step == Step::Update => result,
            _ => self.ended(result),
        }
    }

    pub fn caller(&self) -> Caller {
        Caller { session: self.id, read_write: self.read_write }
    }

    /// `C_GetSessionInfo`.
    pub fn info(&self) -> CK_SESSION_INFO {
        let state = match (self.slot.token.logged_in(), self.read_write) {
            (None, false) => CKS_RO_PUBLIC_SESSION,
            (None, true) => CKS_RW_PUBLIC_SESSION,
            (Some(User::User), false) => CKS_RO_USER_FUNCTIONS,
            (Some(User::User), true) => CKS_RW_USER_FUNCTIONS,
            (Some(User::SecurityOfficer), _) => CKS_RW_SO_FUNCTIONS,
        };
        let flags = CKF_SERIAL_SESSION | if self.read_write { CKF_RW_SESSION } else { 0 };
        CK_SESSION_INFO { slotID: self.slot.id, state, flags, ulDeviceError: 0 }
    }

    /// `C_Login`. `pin` is `None` where the caller leaves it to a protected authentication path; `CKR_ARGUMENTS_BAD`
    /// where the token has none. Otherwise the codes of [`Slot::login`], and for a context-specific login
    /// `CKR_OPERATION_NOT_INITIALIZED` where no operation waits for one.
    ///
    /// With a `name`, `C_LoginUser`: `CKR_USER_TYPE_INVALID` where the token has no named users; a context-specific login is that
    /// of who is logged in, else `CKR_USER_ANOTHER_ALREADY_LOGGED_IN`.
    pub fn login(&self, who: Who, name: Option<&str>, pin: Option<&[u8]>) -> Result<()> {
        let pin = self.pin(pin)?;
        match who {
            Who::Role(user) => self.slot.login(self.caller(), user, name, pin),
            Who::ForOperation if name.is_none() || name == self.slot.token.login_name().as_deref() => {
                self.authenticate_operation(pin)
            }
            Who::ForOperation => Err(Code::UserAnotherAlreadyLoggedIn.into()),
        }
    }

    /// One login, one use: of the operation begun last.
    fn authenticate_operation(&self, pin: &[u8]) -> Result<()> {
        let mut state = hold(&self.state);
        let waiting = state.operations.all_active().filter(|active| active.locked()).max_by_key(|active| active.order);
        let active = waiting.ok_or(Code::OperationNotInitialized)?;
        self.slot.token.reauthenticate(self.caller(), pin)?;
        active.authenticated = true;
        Ok(())
    }

    fn pin<'a>(&self, pin: Option<&'a [u8]>) -> Result<&'a [u8]> {
        match pin {
            Some(pin) => Ok(pin),
            None if self.slot.info()?.flags & CKF_PROTECTED_AUTHENTICATION_PATH != 0 => Ok(&[]),
            None => Err(Code::ArgumentsBad.into()),
        }
    }

    /// `C_Logout`, but for the other sessions' operations: [`Session::after_logout`]. `CKR_USER_NOT_LOGGED_IN`.
    pub fn logout(&self) -> Result<()> {
        self.slot.token.logged_in().ok_or(Code::UserNotLoggedIn)?;
        self.slot.token.logout()
    }

    /// Ends the search, and the operations on private objects.
    pub fn after_logout(&self) {
        let mut state = hold(&self.state);
        state.operations.end_private();
        state.search = None;
    }

    /// `C_InitPIN`. `CKR_USER_NOT_LOGGED_IN` but for the SO.
    pub fn init_pin(&self, pin: Option<&[u8]>) -> Result<()> {
        if self.slot.token.logged_in() != Some(User::SecurityOfficer) {
            Err(Code::UserNotLoggedIn)?;
        }
        self.slot.token.init_pin(self.caller(), self.pin(pin)?)
    }

    /// `C_SetPIN`. `CKR_SESSION_READ_ONLY`.
    pub fn set_pin(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Result<()> {
        if !self.read_write {
            Err(Code::SessionReadOnly)?;
        }
        self.slot.token.set_pin(self.caller(), self.pin(old)?, self.pin(new)?)
    }

    /// `C_*Init`. `CKR_OPERATION_ACTIVE`, `CKR_KEY_HANDLE_INVALID`, and what the token says.
    pub fn begin(&self, what: Use, mechanism: &Mechanism, key: Option<CK_OBJECT_HANDLE>) -> Result<()> {
        self.begin_with(what, mechanism, key, &[])
    }

    /// `C_VerifySignatureInit`; as [`Session::begin`].
    pub fn begin_with(
        &self,
        what: Use,
        mechanism: &Mechanism,
        key: Option<CK_OBJECT_HANDLE>,
        signature: &[u8],
    ) -> Result<()> {
        let mut state = hold(&self.state);
        let operations = &mut state.operations;
        if operations.active(what).is_some() {
            Err(Code::OperationActive)?;
        }
        let key = key.map(|key| self.slot.object(key)).transpose().map_err(key_handle)?;
        let spare = operations.spare(what).take();
        let begun = self.slot.token.begin(self.caller(), what, mechanism, key, spare).map_err(key_handle)?;
        let active = operations.begin(what, Active::new(begun, mechanism.ty));
        active.signature = Bytes::from_slice(signature);
        Ok(())
    }

    /// The mechanism of an active operation. `CKR_OPERATION_NOT_INITIALIZED`.
    pub fn mechanism(&self, what: Use) -> Result<CK_MECHANISM_TYPE> {
        let mut state = hold(&self.state);
        let active = state.operations.active(what).as_ref().ok_or(Code::OperationNotInitialized)?;
        Ok(active.mechanism)
    }

    /// `C_*Init` without a mechanism. `CKR_ARGUMENTS_BAD` where there is nothing to cancel: then it is PKCS#11 2.40's
    /// missing argument.
    pub fn cancel(&self, what: Use) -> Result<()> {
        match hold(&self.state).operations.active(what).take() {
            Some(_) => Ok(()),
            None => Err(Code::ArgumentsBad.because("no mechanism given, and no operation to cancel")),
        }
    }

    /// `C_SessionCancel`: flags of operations that are not active, or of none, are ignored.
    pub fn cancel_all(&self, flags: CK_FLAGS) {
        const FLAGS: [(CK_FLAGS, Use); 11] = [
            (CKF_ENCRYPT, Use::Encrypt),
            (CKF_DECRYPT, Use::Decrypt),
            (CKF_DIGEST, Use::Digest),
            (CKF_SIGN, Use::Sign),
            (CKF_SIGN_RECOVER, Use::SignRecover),
            (CKF_VERIFY, Use::Verify),
            (CKF_VERIFY_RECOVER, Use::VerifyRecover),
            (CKF_MESSAGE_ENCRYPT, Use::MessageEncrypt),
            (CKF_MESSAGE_DECRYPT, Use::MessageDecrypt),
            (CKF_MESSAGE_SIGN, Use::MessageSign),
            (CKF_MESSAGE_VERIFY, Use::MessageVerify),
        ];
        let mut state = hold(&self.state);
        for (_, what) in FLAGS.iter().filter(|(flag, _)| flags & flag != 0) {
            *state.operations.active(*what) = None;
        }
        if flags & CKF_VERIFY != 0 {
            *state.operations.active(Use::VerifySignature) = None;
        }
        if flags & CKF_FIND_OBJECTS != 0 {
            state.search = None;
        }
    }

    /// One step of an operation with output. `CKR_OPERATION_NOT_INITIALIZED`, `CKR_USER_NOT_LOGGED_IN` where the key
    /// asks for a context-specific login first (which ends the operation too: PKCS#11 3.2, `C_Sign`), and what the
    /// operation says.
    pub fn run(&self, what: Use, step: Step, input: &[u8], room: Room<'_>) -> Result<Done> {
        self.stepped(step, hold(&self.state).operations.run(what, step, input, room))
    }

    /// `C_DigestUpdate`, `C_SignUpdate`, `C_VerifyUpdate`.
    pub fn feed(&self, what: Use, input: &[u8]) -> Result<()> {
        hold(&self.state).operations.feed(what, input)
    }

    /// `C_Verify`, and without input `C_VerifyFinal`; without a signature their like of an operation begun with one.
    pub fn verify(&self, what: Use, input: Option<&[u8]>, signature: Option<&[u8]>) -> Result<()> {
        self.ended(hold(&self.state).operations.verify(what, input, signature))
    }

    /// `C_DigestEncryptUpdate`, `C_SignEncryptUpdate`: `fed` takes the input of the encryption.
    pub fn encrypt_and_feed(&self, fed: Use, input: &[u8], room: Room<'_>) -> Result<Done> {
        hold(&self.state).operations.encrypt_and_feed(fed, input, room)
    }

    /// `C_DecryptDigestUpdate`, `C_DecryptVerifyUpdate`: `fed` takes the output of the decryption.
    pub fn decrypt_and_feed(&self, fed: Use, input: &[u8], room: Room<'_>) -> Result<Done> {
        hold(&self.state).operations.decrypt_and_feed(fed, input, room)
    }

    /// `C_DigestKey`.
    pub fn digest_key(&self, key: CK_OBJECT_HANDLE) -> Result<()> {
        let (token, caller) = (&self.slot.token, self.caller());
        let mut state = hold(&self.state);
        state.operations.alter(Use::Digest, |digest| {
            let key = self.slot.object(key).map_err(key_handle)?;
            token.digest_key(caller, digest, key).map_err(key_handle)
        })?;
        if let Some(active) = state.operations.active(Use::Digest) {
            active.holds_key = true;
        }
        Ok(())
    }

    /// `C_GenerateRandom`.
    pub fn random(&self, out: &mut [u8]) -> Result<()> {
        self.with_random(|active| {
            let wanted = out.len();
            match active.begun.operation.finish(out)? {
                wrote if wrote == wanted => Ok(()),
                _ => Err(Code::DeviceError.because("the generator gave fewer bytes than asked for")),
            }
        })
    }

    /// `C_SeedRandom`.
    pub fn seed(&self, seed: &[u8]) -> Result<()> {
        self.with_random(|active| active.begun.operation.update(seed, &mut []).map(|_| ()))
    }

    /// The session's generator, begun at its first use; dropped after an error.
    fn with_random(&self, work: impl FnOnce(&mut Active) -> Result<()>) -> Result<()> {
        let mut state = hold(&self.state);
        let mut active = match state.operations.active(Use::Random).take() {
            Some(active) => active,
            None => Active::new(self.slot.token.begin(self.caller(), Use::Random, &RANDOM, None, None)?, RANDOM.ty),
        };
        work(&mut active)?;
        *state.operations.active(Use::Random) = Some(active);
        Ok(())
    }

    /// `C_FindObjectsInit`. `CKR_OPERATION_ACTIVE`.
    pub fn find(&self, template: Vec<Attribute>) -> Result<()> {
        let mut state = hold(&self.state);
        if state.search.is_some() {
            Err(Code::OperationActive)?;
        }
        state.search = Some(self.slot.token.find(self.caller(), template)?);
        Ok(())
    }

    /// `C_FindObjects`: gives each handle to `found`; returns how many. `CKR_OPERATION_NOT_INITIALIZED`.
    pub fn found(&self, max: usize, mut found: impl FnMut(CK_OBJECT_HANDLE)) -> Result<usize> {
        let mut state = hold(&self.state);
        let search = state.search.as_mut().ok_or(Code::OperationNotInitialized)?;
        let mut count = 0;
        while count < max {
            let wanted = (max - count).min(FOUND_AT_ONCE);
            let objects = search.next(wanted)?;
            for object in objects.iter().take(wanted) {
                found(self.slot.handle(*object)?);
                count += 1;
            }
            if objects.len() < wanted {
                break;
            }
        }
        Ok(count)
    }

    /// `C_FindObjectsFinal`. `CKR_OPERATION_NOT_INITIALIZED`.
    pub fn found_all(&self) -> Result<()> {
        hold(&self.state).search.take().map(drop).ok_or(Code::OperationNotInitialized.into())
    }
}

/// `CKR_OBJECT_HANDLE_INVALID` as the functions that take a key name it.
fn key_handle(error: Error) -> Error {
    handle_code(Code::KeyHandleInvalid)(error)
}

/// The one place where the code for an unknown handle becomes the one that a function lists.
fn handle_code(code: Code) -> impl Fn(Error) -> Error {
    move |error| if error.code() == Code::ObjectHandleInvalid { error.recode(code) } else { error }
}
