//! How an [`ObjectId`] of a software token is made up.
//!
//! Bit 0: a session object. Bits 1 to 40: the object's number (the row of the slot file, or this process's count of
//! session objects). Bits 41 to 51: for a private object the count of the login under which the handle was given, so that
//! handles to private objects end with their login (PKCS#11 3.2, C_Logout) without a map of every handle; 0 else.

use crate::error::{Code, Result};
use crate::token::ObjectId;

const NUMBER_BITS: u32 = 40;
const LOGIN_BITS: u32 = ObjectId::BITS - NUMBER_BITS - 1;

/// Logins are counted 1 .. LOGINS and round again: a wrap can revive only a handle to the very same object.
pub const LOGINS: u64 = (1 << LOGIN_BITS) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Token,
    Session,
}

/// An object's number in its place: the key of every table in this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number {
    pub place: Place,
    pub number: u64,
}

/// `login`: the running count for a private object, 0 for a public one.
pub fn encode(at: Number, login: u64) -> Result<ObjectId> {
    if at.number == 0 || at.number >> NUMBER_BITS != 0 || login > LOGINS {
        return Err(
            Code::DeviceMemory.because("the token's object numbers are used up; move its objects to a new token")
        );
    }
    let place = u64::from(at.place == Place::Session);
    Ok(ObjectId(login << (NUMBER_BITS + 1) | at.number << 1 | place))
}

pub fn decode(id: ObjectId) -> (Number, u64) {
    let place = if id.0 & 1 == 1 { Place::Session } else { Place::Token };
    let number = (id.0 >> 1) & ((1 << NUMBER_BITS) - 1);
    (Number { place, number }, id.0 >> (NUMBER_BITS + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_comes_apart_as_it_was_made() {
        for (place, number, login) in
            [(Place::Token, 1, 0), (Place::Session, (1 << 40) - 1, LOGINS), (Place::Token, 77, 5)]
        {
            let id = encode(Number { place, number }, login).unwrap();
            assert!(id.0 != 0 && id.0 >> ObjectId::BITS == 0);
            assert_eq!(decode(id), (Number { place, number }, login));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for (number, login) in [(0, 0), (1 << 40, 0), (1, LOGINS + 1)] {
            assert_eq!(encode(Number { place: Place::Token, number }, login).unwrap_err().code(), Code::DeviceMemory);
        }
    }
}
