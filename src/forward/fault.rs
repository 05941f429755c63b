//! What went wrong with a call: the HSM's own code, or ours.

use cryptoki_sys::*;

use super::apart::OVERDUE;
use crate::error::{Code, Error};
use crate::log;

#[derive(Debug)]
pub enum Fault {
    Hsm(CK_RV),
    Own(Error),
}

pub type Outcome<T> = Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Own(error)
    }
}

impl From<Code> for Fault {
    fn from(code: Code) -> Fault {
        Fault::Own(code.into())
    }
}

impl From<CK_RV> for Fault {
    fn from(rv: CK_RV) -> Fault {
        Fault::Hsm(rv)
    }
}

/// For the functions of a session: its token was there, and is not any more.
pub fn removed(error: Error) -> Error {
    if error.code() == Code::TokenNotPresent { error.recode(Code::DeviceRemoved) } else { error }
}

/// An HSM's code as ours: one of the specification stays; one of no specification is `CKR_DEVICE_ERROR`, with a log line.
pub fn error_of(rv: CK_RV, name: &str) -> Error {
    if rv == OVERDUE {
        return Code::DeviceError.because(format!("{name}: the HSM's module did not return in time"));
    }
    match Code::from_ckr(rv) {
        Some(code @ (Code::DeviceError | Code::DeviceRemoved | Code::TokenNotPresent | Code::GeneralError)) => {
            code.because(format!("{name}: the HSM's module answered {}", code.name()))
        }
        Some(code) => code.into(),
        None => {
            log!(Warn, "{name}: the HSM's module answered {rv:#x}, which is no code of PKCS#11");
            Code::DeviceError.because(format!("{name}: the HSM's module answered {rv:#x}, which is no code of PKCS#11"))
        }
    }
}
