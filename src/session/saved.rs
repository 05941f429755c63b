//! `C_GetOperationState` and `C_SetOperationState`: the states of a session's operations in one string of bytes.
//!
//! ```text
//! "KWST" version=1, then per operation:
//!     use (1 byte), 1 where parts were fed (1 byte), length (4 bytes, big-endian), the operation's own state
//! ```
//! The operation's state is the token's to seal and to check; this frame only tells one from the other.

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::active::{Active, Operations};
use super::{Session, hold};
use crate::error::{Code, Result};
use crate::token::Use;

const MAGIC: &[u8] = b"KWST\x01";

/// What can be saved at all (PKCS#11 3.2, `C_GetOperationState`), and its number in the frame.
const SAVABLE: [(u8, Use); 5] =
    [(1, Use::Encrypt), (2, Use::Decrypt), (3, Use::Digest), (4, Use::Sign), (5, Use::Verify)];

impl Session {
    /// `C_GetOperationState`. `CKR_OPERATION_NOT_INITIALIZED`, `CKR_STATE_UNSAVEABLE`.
    pub fn save(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut state = hold(&self.state);
        let mut saved = Zeroizing::new(MAGIC.to_vec());
        for (number, what) in SAVABLE {
            let Some(active) = state.operations.active(what) else { continue };
            if active.holds_key {
                // What a short secret was hashed into would give it away to whoever tries them all.
                Err(Code::StateUnsaveable.because("the digest holds a key (C_DigestKey)"))?;
            }
            let part = Zeroizing::new(active.begun.operation.save()?);
            saved.extend_from_slice(&[number, u8::from(active.updated)]);
            saved.extend_from_slice(&u32::try_from(part.len()).map_err(|_| Code::StateUnsaveable)?.to_be_bytes());
            saved.extend_from_slice(&part);
        }
        if saved.len() == MAGIC.len() {
            Err(Code::OperationNotInitialized)?;
        }
        Ok(saved)
    }

    /// `C_SetOperationState`: what was active ends. `CKR_SAVED_STATE_INVALID`; `CKR_KEY_NOT_NEEDED` for a key that no
    /// saved operation uses.
    pub fn restore(&self, saved: &[u8], encryption: CK_OBJECT_HANDLE, authentication: CK_OBJECT_HANDLE) -> Result<()> {
        let parts = parse(saved)?;
        let uses = |wanted: &[Use]| parts.iter().any(|part| wanted.contains(&part.what));
        if encryption != CK_INVALID_HANDLE && !uses(&[Use::Encrypt, Use::Decrypt])
            || authentication != CK_INVALID_HANDLE && !uses(&[Use::Sign, Use::Verify])
        {
            Err(Code::KeyNotNeeded)?;
        }
        let mut operations = Operations::default();
        for Part { what, updated, state } in parts {
            let begun = self.slot.token.restore(self.caller(), what, state)?;
            let active = operations.begin(what, Active::new(begun, CK_UNAVAILABLE_INFORMATION));
            active.updated = updated;
        }
        let mut state = hold(&self.state);
        // The generator is no operation of the application's.
        *operations.active(Use::Random) = state.operations.active(Use::Random).take();
        state.operations = operations;
        state.search = None;
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
struct Part<'a> {
    what: Use,
    updated: bool,
    state: &'a [u8],
}

/// The parts of a saved state, each use once.
fn parse(saved: &[u8]) -> Result<Vec<Part<'_>>> {
    let mut rest = saved.strip_prefix(MAGIC).ok_or(Code::SavedStateInvalid)?;
    let mut parts: Vec<Part<'_>> = Vec::new();
    while !rest.is_empty() {
        let (part, after) = parse_part(rest).ok_or(Code::SavedStateInvalid)?;
        if parts.iter().any(|already| already.what == part.what) {
            Err(Code::SavedStateInvalid)?;
        }
        parts.push(part);
        rest = after;
    }
    if parts.is_empty() { Err(Code::SavedStateInvalid.into()) } else { Ok(parts) }
}

fn parse_part(bytes: &[u8]) -> Option<(Part<'_>, &[u8])> {
    let ([number, updated, length @ ..], after) = bytes.split_first_chunk::<6>()?;
    let (state, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let (_, what) = SAVABLE.into_iter().find(|(known, _)| known == number)?;
    if *updated > 1 {
        return None;
    }
    Some((Part { what, updated: *updated == 1, state }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_a_damaged_one_is_refused() {
        let frame = b"KWST\x01\x03\x01\0\0\0\x02ab\x04\0\0\0\0\0";
        let parts = [
            Part { what: Use::Digest, updated: true, state: b"ab" },
            Part { what: Use::Sign, updated: false, state: b"" },
        ];
        assert_eq!(parse(frame).unwrap(), parts);
        for cut in 0..frame.len() {
            // After the first part the frame is whole as it stands.
            if cut != 13 {
                assert_eq!(parse(&frame[..cut]).unwrap_err().code(), Code::SavedStateInvalid, "cut at {cut}");
            }
        }
        assert!(parse(b"KWST\x01\x03\0\0\0\0\0\x03\0\0\0\0\0").is_err(), "the same use twice");
        assert!(parse(b"KWST\x01\x09\0\0\0\0\0").is_err(), "an unknown use");
        assert!(parse(b"KWST\x01\x03\x02\0\0\0\0").is_err(), "an unknown mark");
        assert!(parse(b"KWST\x01\x03\0\xff\xff\xff\xff").is_err(), "a length beyond the end");
    }
}
