//! The one error of what stands behind the algorithms (`aws`, `rust`).

use crate::error::{Code, Error};

/// The library did not do it: the values given are not what the function needs, or memory or randomness ran out. The caller
/// knows which code that means; without saying so, it is `CKR_FUNCTION_FAILED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl From<Refused> for Error {
    fn from(_: Refused) -> Error {
        Code::FunctionFailed.into()
    }
}

pub(super) type Result<T> = std::result::Result<T, Refused>;
