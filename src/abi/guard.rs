//! What stands around every entry: no panic crosses it, and what is no ordinary answer is on record.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki_sys::*;

use super::advice::advice;
use crate::error::{Code, Error, Result};
use crate::log;

/// What a call may need of the stack, in bytes, in a debug build too. The host's thread may have less: stunnel's have
/// 64 KiB, of which its TLS library takes a part.
const STACK: usize = 128 * 1024;

/// Runs a call, on a stack of its own where the thread's is too small. A panic is `CKR_GENERAL_ERROR`.
pub(super) fn guard(name: &'static str, call: impl FnOnce() -> Result<()>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(|| stacker::maybe_grow(STACK, 2 * STACK, call))) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(error)) => {
            trace(name, &error);
            error.code().ckr()
        }
        Err(payload) => {
            // Dropping a payload may panic in its turn.
            std::mem::forget(payload);
            let _ = catch_unwind(|| log!(Error, "{name}: an internal error (a panic); please report it"));
            CKR_GENERAL_ERROR
        }
    }
}

#[cold]
fn trace(name: &str, error: &Error) {
    if ordinary(error.code()) {
        return;
    }
    // A failure that the application cannot explain to its user is worth a line without being asked for.
    if error.why().is_some() && ours(error.code()) {
        log!(Warn, "{name}: {error}");
    } else {
        match (error.why(), advice(error.code())) {
            (None, advice) if !advice.is_empty() => log!(Debug, "{name}: {error}: {advice}"),
            _ => log!(Debug, "{name}: {error}"),
        }
    }
}

/// Answers that belong to the ordinary run of things.
fn ordinary(code: Code) -> bool {
    matches!(
        code,
        Code::BufferTooSmall
            | Code::NoEvent
            | Code::AttributeSensitive
            | Code::AttributeTypeInvalid
            | Code::CryptokiAlreadyInitialized
            | Code::UserAlreadyLoggedIn
            | Code::FunctionNotParallel
    )
}

/// Failures of ours or of the machine's, rather than of the call.
fn ours(code: Code) -> bool {
    matches!(
        code,
        Code::GeneralError
            | Code::FunctionFailed
            | Code::HostMemory
            | Code::DeviceError
            | Code::DeviceMemory
            | Code::DeviceRemoved
            | Code::TokenNotPresent
            | Code::TokenNotRecognized
            | Code::TokenWriteProtected
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// strongSwan offers its own mutexes first, and asks again: no warning for an ordinary negotiation.
    #[test]
    fn an_answer_about_locking_is_no_failure_of_ours() {
        assert!(!ours(Code::CantLock));
        assert!(ours(Code::DeviceError));
    }

    #[test]
    fn a_panic_becomes_a_code() {
        assert_eq!(guard("C_Test", || panic!("on purpose")), CKR_GENERAL_ERROR);
        assert_eq!(guard("C_Test", || Err(Code::PinIncorrect.into())), CKR_PIN_INCORRECT);
        assert_eq!(guard("C_Test", || Ok(())), CKR_OK);
    }
}
