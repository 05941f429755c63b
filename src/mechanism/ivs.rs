//! The IVs of the messages under one init: none is made twice (PKCS#11 3.2, `CK_GENERATOR_FUNCTION`).

use crate::crypto::random;
use crate::error::{Code, Error, Result};
use crate::token::{Bytes, Generator, MessageParams};

/// The fewest bits that are drawn at random: with fewer, two inits under one key would soon meet.
const MIN_RANDOM_BITS: usize = 64;

/// SP 800-38D, 8.3: so many IVs of random origin under one key.
const MAX_RANDOM: u64 = 1 << 32;

/// Makes the IVs of one init. The first message that has its IV generated decides how it is done, and the layout; from then
/// on both stay.
#[derive(Default)]
pub(super) struct IvMaker {
    series: Option<Series>,
    /// An IV came from the caller: it may be one that a counter would reach.
    given: bool,
}

struct Series {
    generator: Generator,
    fixed_bits: usize,
    /// What the counter is added to, or combined with. As long as the IV.
    base: Bytes,
    /// The IV made last.
    last: Bytes,
    next: u64,
}

impl IvMaker {
    /// Forgets the series: a new init.
    pub(super) fn reset(&mut self) {
        *self = IvMaker::default();
    }

    /// Puts the message's IV into `params`. `CKR_MECHANISM_PARAM_INVALID` for too few free bits, or for another way of
    /// making it than before; `CKR_FUNCTION_FAILED` once all are used up.
    pub(super) fn make(&mut self, params: &mut MessageParams) -> Result<()> {
        let generator = match params.generator {
            Generator::Given => return self.take(params),
            Generator::Any | Generator::Random => Generator::Random,
            counted => counted,
        };
        let bits = params.iv.len().checked_mul(8).ok_or(Code::MechanismParamInvalid)?;
        let fixed_bits = usize::try_from(params.fixed_bits).map_err(|_| Code::MechanismParamInvalid)?;
        let free = bits.checked_sub(fixed_bits).ok_or(Code::MechanismParamInvalid)?;
        let series = match &mut self.series {
            Some(series) => series.continued(generator, fixed_bits, &params.iv)?,
            None if generator != Generator::Random && self.given => Err(mixed())?,
            none => none.insert(Series::begin(generator, fixed_bits, free, &params.iv)?),
        };
        series.step(free, &mut params.iv)
    }

    fn take(&mut self, params: &MessageParams) -> Result<()> {
        if params.iv.is_empty() {
            Err(Code::MechanismParamInvalid)?;
        }
        self.given = true;
        match &self.series {
            Some(series) if series.generator != Generator::Random => Err(mixed()),
            _ => Ok(()),
        }
    }
}

fn mixed() -> Error {
    Code::MechanismParamInvalid.because("IVs counted and IVs made otherwise do not go together: begin a new operation")
}

impl Series {
    fn begin(generator: Generator, fixed_bits: usize, free: usize, iv: &[u8]) -> Result<Series> {
        let least = if generator == Generator::Random { MIN_RANDOM_BITS } else { 1 };
        if free < least {
            Err(Code::MechanismParamInvalid.because(format!("an IV with {free} free bits; {least} are needed")))?;
        }
        let mut base = Bytes::from_elem(0, iv.len());
        match generator {
            Generator::Random => random::fill(&mut base)?,
            Generator::CounterXor => base.copy_from_slice(iv),
            _ => {}
        }
        Ok(Series { generator, fixed_bits, base, last: Bytes::new(), next: 0 })
    }

    /// The same series, for a message that asks for the same.
    fn continued(&mut self, generator: Generator, fixed_bits: usize, iv: &[u8]) -> Result<&mut Series> {
        if self.generator != generator || self.fixed_bits != fixed_bits || self.base.len() != iv.len() {
            Err(mixed())?;
        }
        // "The value of the non-fixed portion passed must not vary": it is the first one, or still the one written back.
        if generator == Generator::CounterXor && !self.same_free(iv, &self.base) && !self.same_free(iv, &self.last) {
            Err(Code::MechanismParamInvalid.because("the IV's free part is not that of the messages before"))?;
        }
        Ok(self)
    }

    fn same_free(&self, one: &[u8], other: &[u8]) -> bool {
        let pairs = one.iter().zip(other).enumerate();
        one.len() == other.len() && pairs.into_iter().all(|(at, (a, b))| (a ^ b) & !fixed(self.fixed_bits, at) == 0)
    }

    fn step(&mut self, free: usize, iv: &mut [u8]) -> Result<()> {
        let beyond = u32::try_from(free).ok().and_then(|free| 1u64.checked_shl(free)).unwrap_or(u64::MAX);
        let limit = if self.generator == Generator::Random { beyond.min(MAX_RANDOM) } else { beyond };
        if self.next >= limit {
            Err(Code::FunctionFailed.because("no IV is left: begin a new operation, or use another key"))?;
        }
        let counter = self.next.to_be_bytes();
        let mut carry = false;
        // From the last byte, where the counter's last one stands too. What is random goes on by one from message to
        // message, as SP 800-38D, 8.2.2 allows: so it cannot return.
        for (from_end, (to, base)) in iv.iter_mut().zip(&self.base).rev().enumerate() {
            let count = counter.iter().rev().nth(from_end).copied().unwrap_or_default();
            let made = if self.generator == Generator::CounterXor {
                base ^ count
            } else {
                let (sum, first) = base.overflowing_add(count);
                let (sum, second) = sum.overflowing_add(u8::from(carry));
                carry = first || second;
                sum
            };
            let kept = fixed(self.fixed_bits, self.base.len().saturating_sub(from_end).saturating_sub(1));
            *to = (*to & kept) | (made & !kept);
        }
        self.next = self.next.saturating_add(1);
        self.last.clear();
        self.last.extend_from_slice(iv);
        Ok(())
    }
}

/// The bits of byte `at` that belong to the fixed part.
fn fixed(fixed_bits: usize, at: usize) -> u8 {
    let here = fixed_bits.saturating_sub(at.saturating_mul(8)).min(8);
    (0xff00_u16 >> here) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(generator: Generator, iv: &[u8], fixed_bits: u64) -> MessageParams {
        let (iv, tag) = (Bytes::from_slice(iv), Bytes::new());
        MessageParams { iv, fixed_bits, generator, tag_len: 16, tag, data_len: None }
    }

    fn made(maker: &mut IvMaker, generator: Generator, iv: &[u8], fixed_bits: u64) -> Result<Bytes> {
        let mut params = params(generator, iv, fixed_bits);
        maker.make(&mut params).map(|()| params.iv)
    }

    #[test]
    fn a_counter_starts_at_zero_behind_the_fixed_bits() {
        let mut maker = IvMaker::default();
        for count in 0..260u16 {
            let iv = made(&mut maker, Generator::Counter, &[0xab, 0xcd, 0xff, 0xff, 0xff], 12).unwrap();
            assert_eq!(iv[..], [0xab, 0xc0, 0, (count >> 8) as u8, count as u8]);
        }
    }

    #[test]
    fn a_counter_ends_rather_than_return() {
        let mut maker = IvMaker::default();
        let ivs: Vec<u8> = (0..4).map(|_| made(&mut maker, Generator::Counter, &[0xfc], 6).unwrap()[0]).collect();
        assert_eq!(ivs, [0xfc, 0xfd, 0xfe, 0xff]);
        let over = made(&mut maker, Generator::Counter, &[0xfc], 6).unwrap_err();
        assert_eq!(over.code(), Code::FunctionFailed);
    }

    #[test]
    fn a_counter_is_combined_with_what_the_caller_gave_first() {
        let mut maker = IvMaker::default();
        let given = [0xaa, 0x55, 0x55];
        assert_eq!(made(&mut maker, Generator::CounterXor, &given, 8).unwrap()[..], [0xaa, 0x55, 0x55]);
        assert_eq!(made(&mut maker, Generator::CounterXor, &given, 8).unwrap()[..], [0xaa, 0x55, 0x54]);
        // The caller may leave what was written back.
        let iv = made(&mut maker, Generator::CounterXor, &[0xaa, 0x55, 0x54], 8).unwrap();
        assert_eq!(iv[..], [0xaa, 0x55, 0x57]);
        let other = made(&mut maker, Generator::CounterXor, &[0xaa, 0, 0], 8).unwrap_err();
        assert_eq!(other.code(), Code::MechanismParamInvalid);
    }

    #[test]
    fn what_is_random_differs_between_inits_and_never_within_one() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20 {
            let mut maker = IvMaker::default();
            for at in 0..50 {
                let generator = if at % 2 == 0 { Generator::Any } else { Generator::Random };
                let iv = made(&mut maker, generator, &[7; 12], 32).unwrap();
                assert_eq!(iv[..4], [7; 4], "the fixed part");
                assert!(seen.insert(iv));
            }
        }
    }

    #[test]
    fn a_carry_goes_through_the_free_part_and_no_further() {
        let mut series = Series::begin(Generator::Random, 8, 64, &[9; 9]).unwrap();
        series.base = Bytes::from_slice(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let mut iv = [9; 9];
        series.step(64, &mut iv).unwrap();
        assert_eq!(iv, [9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        series.step(64, &mut iv).unwrap();
        assert_eq!(iv, [9, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn counted_ivs_and_others_do_not_mix_nor_change_their_layout() {
        let refused = |maker: &mut IvMaker, generator, iv: &[u8], fixed_bits| {
            assert_eq!(made(maker, generator, iv, fixed_bits).unwrap_err().code(), Code::MechanismParamInvalid);
        };
        let mut maker = IvMaker::default();
        made(&mut maker, Generator::Counter, &[0; 12], 32).unwrap();
        refused(&mut maker, Generator::Given, &[0; 12], 32);
        refused(&mut maker, Generator::Random, &[0; 12], 32);
        refused(&mut maker, Generator::Counter, &[0; 12], 40);
        refused(&mut maker, Generator::Counter, &[0; 13], 32);
        maker.reset();
        made(&mut maker, Generator::Given, &[0; 12], 0).unwrap();
        refused(&mut maker, Generator::Counter, &[0; 12], 32);
        made(&mut maker, Generator::Any, &[0; 12], 32).unwrap();
        made(&mut maker, Generator::Given, &[0; 12], 0).unwrap();
    }

    #[test]
    fn too_few_free_bits_are_refused() {
        for (generator, fixed_bits) in [
            (Generator::Any, 96),
            (Generator::Random, 33),
            (Generator::Counter, 96),
            (Generator::CounterXor, 97),
            (Generator::Counter, u64::MAX),
        ] {
            let refused = made(&mut IvMaker::default(), generator, &[0; 12], fixed_bits).unwrap_err();
            assert_eq!(refused.code(), Code::MechanismParamInvalid, "{generator:?} {fixed_bits}");
        }
        assert!(made(&mut IvMaker::default(), Generator::Given, &[], 0).is_err());
    }
}
