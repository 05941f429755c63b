//! The key-based key derivation functions of SP 800-108 over any [`Prf`] and any layout of its input.

use zeroize::Zeroizing;

use super::prf::{Prf, Running};
use crate::error::{Code, Result};

/// How the values follow from each other (SP 800-108 r1, 4.1 to 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'a> {
    Counter,
    /// From this initial value, which may be empty.
    Feedback(&'a [u8]),
    DoublePipeline,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Width in bytes, 1 to 8.
    pub len: usize,
    pub little_endian: bool,
}

impl Format {
    /// `None` where the number does not fit.
    pub fn bytes(self, number: u64) -> Option<Vec<u8>> {
        let mut bytes = number.to_le_bytes();
        let (kept, rest) = bytes.split_at_mut_checked(self.len)?;
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        if !self.little_endian {
            kept.reverse();
        }
        Some(kept.to_vec())
    }
}

/// A part of the input of each value.
pub enum Field<'a> {
    /// What the mode iterates: the counter, the value before, A(i). The format is the counter's.
    Iteration(Format),
    Counter(Format),
    Fixed(&'a [u8]),
}

/// Fills `out`. `CKR_KEY_SIZE_RANGE` where a counter is too narrow for as many values.
pub fn derive(prf: &Prf, mode: Mode<'_>, fields: &[Field<'_>], out: &mut [u8]) -> Result<()> {
    let last = u64::try_from(out.len().div_ceil(prf.len())).map_err(|_| Code::KeySizeRange)?;
    let counts = |field: &Field<'_>| match field {
        Field::Iteration(format) if mode == Mode::Counter => Some(*format),
        Field::Counter(format) => Some(*format),
        _ => None,
    };
    let wide = |format: Format| format.bytes(last).is_some();
    if u32::try_from(last).is_err() || !fields.iter().filter_map(counts).all(wide) {
        return Err(Code::KeySizeRange.because("more key than the counter can number"));
    }
    let fixed: Vec<&[u8]> =
        fields.iter().filter_map(|field| if let Field::Fixed(bytes) = field { Some(*bytes) } else { None }).collect();
    let mut chain = prf.chain(&Zeroizing::new(fixed.concat()));
    prf.fill(out, |input, number, previous| {
        let iterated = match mode {
            Mode::Counter => Zeroizing::default(),
            Mode::Feedback(iv) if previous.is_empty() => Zeroizing::new(iv.to_vec()),
            Mode::Feedback(_) => Zeroizing::new(previous.to_vec()),
            Mode::DoublePipeline => chain(),
        };
        fields.iter().for_each(|field| feed(input, field, mode, u64::from(number), &iterated));
    });
    Ok(())
}

fn feed(input: &mut Running<'_>, field: &Field<'_>, mode: Mode<'_>, number: u64, iterated: &[u8]) {
    let count = |input: &mut Running<'_>, format: &Format| {
        // That it fits was seen for the last number.
        input.update(&format.bytes(number).unwrap_or_default());
    };
    match field {
        Field::Fixed(bytes) => input.update(bytes),
        Field::Counter(format) => count(input, format),
        Field::Iteration(format) if mode == Mode::Counter => count(input, format),
        Field::Iteration(_) => input.update(iterated),
    }
}
