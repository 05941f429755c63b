//! AES key wrapping: KW (RFC 3394, SP 800-38F 6.2), KWP (RFC 5649, SP 800-38F 6.3). In place, without allocation.
//!
//! Written here over single blocks because AWS-LC's KWP takes no other initial value than the standard's.

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use super::aes::{Aes, BLOCK, Block};
use crate::error::{Code, Result};

/// Length of a semiblock in bytes.
pub const SEMIBLOCK: usize = 8;

type Semiblock = [u8; SEMIBLOCK];

/// RFC 3394, 2.2.3.1.
pub const KW_IV: Semiblock = [0xa6; SEMIBLOCK];
/// RFC 5649, 3: the half of the initial value before the length.
pub const KWP_IV: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

/// Wraps what stands in `buffer` after its first 8 bytes, in place. `CKR_DATA_LEN_RANGE` unless that is two or more
/// whole semiblocks.
pub fn wrap(key: &Aes, iv: &Semiblock, buffer: &mut [u8]) -> Result<()> {
    let (first, data) = buffer.split_first_chunk_mut().ok_or(Code::DataLenRange)?;
    if data.len() < 2 * SEMIBLOCK || !data.len().is_multiple_of(SEMIBLOCK) {
        return Err(Code::DataLenRange.into());
    }
    *first = wrap_in_place(key, iv, data);
    Ok(())
}

/// Unwraps `input` into as many leading bytes of `out` as `input` has, less 8. `CKR_ENCRYPTED_DATA_LEN_RANGE`, or `CKR_ENCRYPTED_DATA_INVALID`
/// where the initial value is another; then `out` is wiped.
pub fn unwrap(key: &Aes, iv: &Semiblock, input: &[u8], out: &mut [u8]) -> Result<()> {
    let out = start_unwrap(input, out, 3)?;
    let found = unwrap_in_place(key, input, out)?;
    accept(found.ct_eq(iv), out)
}

/// Length of the wrapping by [`wrap_padded`] of `len` bytes; `CKR_DATA_LEN_RANGE` unless `len` is in 1..2^32.
pub fn padded_len(len: usize) -> Result<usize> {
    if len == 0 || u32::try_from(len).is_err() {
        return Err(Code::DataLenRange.into());
    }
    Ok(len.checked_next_multiple_of(SEMIBLOCK).and_then(|len| len.checked_add(SEMIBLOCK)).ok_or(Code::DataLenRange)?)
}

/// Wraps `input`, of 1 to 2^32 - 1 bytes, into the [`padded_len`] bytes of `out`.
pub fn wrap_padded(key: &Aes, iv: &[u8; 4], input: &[u8], out: &mut [u8]) -> Result<()> {
    let total = padded_len(input.len())?;
    let initial = initial_value(iv, input.len() as u32);
    let (first, rest) = out.get_mut(..total).and_then(<[u8]>::split_first_chunk_mut).ok_or(Code::GeneralError)?;
    let (data, zeros) = rest.split_at_mut_checked(input.len()).ok_or(Code::GeneralError)?;
    data.copy_from_slice(input);
    zeros.fill(0);
    if let Ok(only) = <&mut Semiblock>::try_from(&mut *rest) {
        let mut block = join(&initial, only);
        key.encrypt_block(&mut block);
        (*first, *only) = halves(&block);
    } else {
        *first = wrap_in_place(key, &initial, rest);
    }
    Ok(())
}

/// As [`unwrap`]; the plaintext is as many leading bytes of `out` as is returned, and what follows it there is wiped.
pub fn unwrap_padded(key: &Aes, iv: &[u8; 4], input: &[u8], out: &mut [u8]) -> Result<usize> {
    let out = start_unwrap(input, out, 2)?;
    let found = match <&Block>::try_from(input) {
        Ok(only) => {
            let mut block = *only;
            key.decrypt_block(&mut block);
            let (found, data) = halves(&block);
            out.copy_from_slice(&data);
            block.zeroize();
            found
        }
        Err(_) => unwrap_in_place(key, input, out)?,
    };
    let [head @ .., a, b, c, d] = found;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    // RFC 5649, 3: the head, the length, and that the padding is zeros, all looked at whatever the others say.
    let padding = out.len().wrapping_sub(len);
    let mut good = head.ct_eq(iv) & Choice::from(u8::from(padding < SEMIBLOCK));
    let mut bits = 0;
    for (from_end, byte) in out.iter().rev().take(SEMIBLOCK - 1).enumerate() {
        bits |= byte & u8::from(from_end < padding).wrapping_neg();
    }
    good &= bits.ct_eq(&0);
    accept(good, out)?;
    out.get_mut(len..).unwrap_or_default().zeroize();
    Ok(len)
}

fn initial_value(iv: &[u8; 4], len: u32) -> Semiblock {
    let ([a, b, c, d], [e, f, g, h]) = (*iv, len.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

/// Checks the lengths; gives `out` at the length of the data.
fn start_unwrap<'a>(input: &[u8], out: &'a mut [u8], least: usize) -> Result<&'a mut [u8]> {
    if input.len() < least * SEMIBLOCK || !input.len().is_multiple_of(SEMIBLOCK) {
        return Err(Code::EncryptedDataLenRange.into());
    }
    Ok(out.get_mut(..input.len() - SEMIBLOCK).ok_or(Code::GeneralError)?)
}

fn accept(good: Choice, out: &mut [u8]) -> Result<()> {
    if good.into() {
        return Ok(());
    }
    out.zeroize();
    Err(Code::EncryptedDataInvalid.into())
}

/// RFC 3394, 2.2.1, over two or more semiblocks; gives the integrity register.
fn wrap_in_place(key: &Aes, iv: &Semiblock, data: &mut [u8]) -> Semiblock {
    let (semiblocks, _) = data.as_chunks_mut::<SEMIBLOCK>();
    let mut register = *iv;
    let mut step = 0u64;
    for _ in 0..6 {
        for semiblock in semiblocks.iter_mut() {
            step += 1;
            let mut block = join(&register, semiblock);
            key.encrypt_block(&mut block);
            (register, *semiblock) = halves(&block);
            register = mixed(register, step);
        }
    }
    register
}

/// RFC 3394, 2.2.2.
fn unwrap_in_place(key: &Aes, input: &[u8], data: &mut [u8]) -> Result<Semiblock> {
    let (register, rest) = input.split_first_chunk().ok_or(Code::GeneralError)?;
    data.copy_from_slice(rest);
    let (semiblocks, _) = data.as_chunks_mut::<SEMIBLOCK>();
    let mut register = *register;
    let mut step = 6 * semiblocks.len() as u64;
    for _ in 0..6 {
        for semiblock in semiblocks.iter_mut().rev() {
            let mut block = join(&mixed(register, step), semiblock);
            key.decrypt_block(&mut block);
            (register, *semiblock) = halves(&block);
            block.zeroize();
            step -= 1;
        }
    }
    Ok(register)
}

fn mixed(register: Semiblock, step: u64) -> Semiblock {
    (u64::from_be_bytes(register) ^ step).to_be_bytes()
}

fn join(high: &Semiblock, low: &Semiblock) -> Block {
    ((u128::from(u64::from_be_bytes(*high)) << 64) | u128::from(u64::from_be_bytes(*low))).to_be_bytes()
}

fn halves(block: &Block) -> (Semiblock, Semiblock) {
    let value = u128::from_be_bytes(*block);
    (((value >> (8 * BLOCK / 2)) as u64).to_be_bytes(), (value as u64).to_be_bytes())
}
