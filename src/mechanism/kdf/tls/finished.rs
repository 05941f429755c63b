//! The MAC of the Finished messages (PKCS#11 3.2, TLS MAC): the PRF over a label and what the caller hashed.

use std::sync::Arc;

use cryptoki_sys::*;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::super::super::generic::MAX_SECRET;
use super::super::super::key::Key;
use super::super::super::secret_key::SecretKey;
use super::super::super::table::Row;
use super::of_prf;
use crate::crypto::kdf::TlsPrf;
use crate::error::{Code, Result};
use crate::token::{Operation, Params, Size, Step, TlsMacParams, Use};

/// The shortest MAC, in bytes; the only one before TLS 1.2.
const LEAST: usize = 12;

/// Checked parameters.
#[derive(Clone, Copy)]
struct Finished {
    prf: TlsPrf,
    label: &'static [u8],
    len: usize,
}

impl Finished {
    /// `CKR_MECHANISM_PARAM_INVALID`
    fn of(params: &Params) -> Result<Finished> {
        let &Params::TlsMac(TlsMacParams { prf, length, sender }) = params else {
            return Err(Code::MechanismParamInvalid.into());
        };
        let label: &[u8] = match sender {
            1 => b"server finished",
            2 => b"client finished",
            _ => return Err(Code::MechanismParamInvalid.because("the sender is 1, the server, or 2, the client")),
        };
        let most = if prf == CKM_TLS_PRF { LEAST } else { MAX_SECRET };
        let len = usize::try_from(length).ok().filter(|len| (LEAST..=most).contains(len));
        Ok(Finished { prf: of_prf(prf)?, label, len: len.ok_or(Code::MechanismParamInvalid)? })
    }
}

pub(super) fn begin(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    if !matches!(what, Use::Sign | Use::Verify) {
        return Err(Code::MechanismInvalid.into());
    }
    SecretKey::of(key)?;
    let key = key.ok_or(Code::KeyHandleInvalid)?.clone();
    Ok(Box::new(FinishedOperation { key, finished: Finished::of(params)?, data: Zeroizing::default() }))
}

struct FinishedOperation {
    key: Arc<Key>,
    finished: Finished,
    /// Kept: the PRF reads it more than once. It is a handshake's hash, 64 bytes at most.
    data: Zeroizing<Vec<u8>>,
}

impl FinishedOperation {
    fn mac(&mut self) -> Result<Zeroizing<Vec<u8>>> {
        let Finished { prf, label, len } = self.finished;
        let mut mac = Zeroizing::new(vec![0; len]);
        prf.fill(SecretKey::of(Some(&self.key))?.value(), label, &[&self.data], &mut mac);
        Ok(mac)
    }
}

impl Operation for FinishedOperation {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(if step == Step::Update { 0 } else { self.finished.len }))
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.data.extend_from_slice(input);
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        let mac = self.mac()?;
        out.get_mut(..mac.len()).ok_or(Code::GeneralError)?.copy_from_slice(&mac);
        Ok(mac.len())
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        if signature.len() != self.finished.len {
            return Err(Code::SignatureLenRange.into());
        }
        self.data.extend_from_slice(input.unwrap_or_default());
        if self.mac()?.ct_eq(signature).into() { Ok(()) } else { Err(Code::SignatureInvalid.into()) }
    }

    fn restart(&mut self, params: &Params) -> bool {
        self.data.zeroize();
        Finished::of(params).map(|finished| self.finished = finished).is_ok()
    }
}
