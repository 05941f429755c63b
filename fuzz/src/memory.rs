//! What earlier calls of an input gave, to be fed to those that undo or check it: a signature with what was signed, a wrapped
//! key, a saved state.

use cryptoki_sys::CK_FLAGS;
use keyward::mechanism::table::Row;

use crate::functions::F;
use crate::shapes;

/// Which remembered bytes an argument takes.
#[derive(Clone, Copy, PartialEq)]
enum Fed {
    Input,
    Output,
    Aad,
}

use Fed::{Aad, Input, Output};

/// The last operation that gave something, and what it gave.
#[derive(Default)]
pub struct Memory {
    row: Option<&'static Row>,
    key: usize,
    input: Vec<u8>,
    output: Vec<u8>,
    aad: Vec<u8>,
    /// The parameter's tag, written by an authenticated wrapping.
    pub tag: Option<[u8; 16]>,
    signing: Option<(&'static Row, usize)>,
    /// What was fed to it.
    parts: Vec<u8>,
    encrypting: Option<(&'static Row, usize)>,
}

/// Whether the function undoes or checks what another made, by the same mechanism and the key's other half.
pub fn undoes(f: F) -> bool {
    use F::*;
    matches!(
        f,
        C_VerifyInit
            | C_VerifySignatureInit
            | C_MessageVerifyInit
            | C_VerifyRecoverInit
            | C_DecryptInit
            | C_UnwrapKey
            | C_UnwrapKeyAuthenticated
            | C_DecapsulateKey
    )
}

/// What each of the function's inputs takes, in order.
fn fed(f: F) -> &'static [Fed] {
    use F::*;
    match f {
        C_Verify | C_VerifyMessage | C_VerifyMessageNext => &[Input, Output],
        C_VerifyUpdate | C_VerifySignature | C_VerifySignatureUpdate => &[Input],
        C_VerifyFinal | C_VerifySignatureInit | C_VerifyRecover | C_SetOperationState => &[Output],
        C_Decrypt | C_DecryptUpdate | C_DecryptDigestUpdate | C_DecryptVerifyUpdate => &[Output],
        C_UnwrapKey | C_DecapsulateKey => &[Output],
        C_UnwrapKeyAuthenticated => &[Output, Aad],
        _ => &[],
    }
}

impl Memory {
    /// The mechanism to take for this function, of those with its flag.
    pub fn row(&self, f: F, flag: CK_FLAGS) -> Option<&'static Row> {
        self.row.filter(|row| undoes(f) && row.offers() & flag != 0)
    }

    pub fn key(&self, f: F) -> Option<usize> {
        Some(self.key).filter(|key| undoes(f) && *key != 0)
    }

    /// The bytes for the function's `nth` input.
    pub fn feed(&self, f: F, nth: usize) -> Option<&[u8]> {
        let bytes = match fed(f).get(nth)? {
            Input => &self.input,
            Output => &self.output,
            Aad => &self.aad,
        };
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Takes note of a call that succeeded: its mechanism and key, its first input, its output.
    pub fn note(&mut self, f: F, row: Option<&'static Row>, key: usize, input: &[u8], output: &[u8]) {
        use F::*;
        match f {
            C_EncryptInit => self.encrypting = row.map(|row| (row, key)),
            C_SignInit | C_MessageSignInit | C_SignRecoverInit => {
                self.signing = row.map(|row| (row, key));
                self.parts.clear();
            }
            C_SignMessageBegin => self.parts.clear(),
            C_SignUpdate => self.parts.extend_from_slice(input),
            C_SignEncryptUpdate => {
                self.parts.extend_from_slice(input);
                self.keep(self.encrypting, &[], output);
            }
            C_SignFinal | C_SignMessageNext => {
                self.parts.extend_from_slice(input);
                let parts = self.parts.clone();
                self.keep(self.signing, &parts, output);
            }
            C_Sign | C_SignMessage | C_SignRecover => self.keep(self.signing, input, output),
            C_Encrypt | C_EncryptUpdate | C_DigestEncryptUpdate => self.keep(self.encrypting, input, output),
            C_GetOperationState => self.keep(None, &[], output),
            C_EncapsulateKey | C_WrapKey => self.keep(row.map(|row| (row, key)), &[], output),
            C_WrapKeyAuthenticated => {
                self.keep(row.map(|row| (row, key)), &[], output);
                self.aad = input.to_vec();
            }
            _ => {}
        }
    }

    fn keep(&mut self, by: Option<(&'static Row, usize)>, input: &[u8], output: &[u8]) {
        if output.is_empty() {
            return;
        }
        (self.row, self.key) = by.map_or((None, 0), |(row, key)| (Some(row), key));
        (self.input, self.output, self.tag) = (input.to_vec(), output.to_vec(), None);
        self.aad.clear();
    }
}

/// The words of an authenticated wrapping's parameter in which its tag's address stands.
pub const TAG: usize = 4;

const _: () = assert!(shapes::MESSAGES[0].len() > TAG);
