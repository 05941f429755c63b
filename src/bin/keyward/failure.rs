//! What goes wrong: an exit code, and a sentence that says what to do next.

use std::fmt;

use keyward::error::{Code, Error};
use serde_json::json;

/// The program's exit codes, as `keyward --help` lists them; 2 is the command line's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Configuration = 3,
    NotFound = 4,
    Pin = 5,
    Refused = 6,
    Unsound = 7,
    NotConfirmed = 8,
    Attention = 9,
}

#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub code: Option<Code>,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), code: None }
    }

    /// The library's own error while `doing` something: `Failure::of("cannot log in")(error)`.
    pub fn of(doing: &str) -> impl Fn(Error) -> Failure + '_ {
        move |error| {
            let said = error.why().map_or_else(|| plain_words(error.code()).to_owned(), str::to_owned);
            let advice = advice(error.code());
            let stop = if advice.is_empty() { "" } else { "; " };
            Failure {
                exit: exit_of(error.code()),
                message: format!("{doing}: {said}{stop}{advice} ({})", error.code().name()),
                code: Some(error.code()),
            }
        }
    }

    pub fn render(&self, json: bool) -> String {
        if !json {
            return format!("keyward: {}", self.message);
        }
        let code = self.code.map(Code::name);
        json!({ "error": { "message": self.message, "code": code, "exit": self.exit as u8 } }).to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn exit_of(code: Code) -> Exit {
    match code {
        Code::PinIncorrect
        | Code::PinInvalid
        | Code::PinLenRange
        | Code::PinExpired
        | Code::PinLocked
        | Code::PinTooWeak
        | Code::UserPinNotInitialized => Exit::Pin,
        Code::TokenNotPresent | Code::SlotIdInvalid | Code::ObjectHandleInvalid => Exit::NotFound,
        Code::ActionProhibited
        | Code::AttributeReadOnly
        | Code::KeyFunctionNotPermitted
        | Code::SessionReadOnly
        | Code::SessionExists
        | Code::TokenWriteProtected
        | Code::UserNotLoggedIn => Exit::Refused,
        _ => Exit::Failed,
    }
}

/// For an error without a sentence of its own.
fn plain_words(code: Code) -> &'static str {
    match code {
        Code::PinIncorrect => "the PIN is wrong",
        Code::PinLenRange => "the PIN is shorter or longer than the token allows",
        Code::PinInvalid => "the PIN has characters that the token does not allow",
        Code::PinTooWeak => "the PIN is too weak",
        Code::PinLocked => "the PIN is locked after too many wrong tries",
        Code::PinExpired => "the PIN has expired",
        Code::UserPinNotInitialized => "the token has no user PIN yet",
        Code::UserNotLoggedIn => "that needs a login",
        Code::ActionProhibited => "the object's own attributes forbid that",
        Code::SessionReadOnly | Code::TokenWriteProtected => "the token is read-only here",
        Code::TokenNotRecognized => "the slot file is damaged, or sealed under another device secret",
        Code::TokenNotPresent => "there is no such token any more",
        Code::ObjectHandleInvalid => "there is no such object any more",
        Code::FunctionNotSupported => "this build does not offer that",
        _ => "the token refused",
    }
}

fn advice(code: Code) -> &'static str {
    match code {
        Code::PinLocked => "`keyward pin reset` sets a new user PIN; a locked SO PIN cannot be reset",
        Code::UserPinNotInitialized => "set one with `keyward pin reset`",
        Code::UserNotLoggedIn => "give a PIN: --login, --pin-file, --pin-fd or --pin-env",
        Code::PinLenRange => "`keyward token info` shows the lengths allowed",
        Code::TokenNotRecognized | Code::DeviceError => "`keyward doctor` says more",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_sentence_and_gains_advice_and_code() {
        let failure = Failure::of("cannot log in")(Code::PinLocked.into());
        assert_eq!(failure.exit, Exit::Pin);
        assert!(failure.message.starts_with("cannot log in: the PIN is locked"), "{failure}");
        assert!(failure.message.contains("pin reset") && failure.message.ends_with("(CKR_PIN_LOCKED)"), "{failure}");
        let failure = Failure::of("cannot open")(Code::DeviceError.because("the disk is full"));
        assert!(failure.message.starts_with("cannot open: the disk is full; "), "{failure}");
    }

    #[test]
    fn json_carries_the_code_and_the_exit() {
        let text = Failure::of("cannot log in")(Code::PinIncorrect.into()).render(true);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"]["code"], "CKR_PIN_INCORRECT");
        assert_eq!(value["error"]["exit"], 5);
    }
}
