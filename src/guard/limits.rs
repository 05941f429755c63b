//! How often keys may be used: at what rate in this process, and how often in their life in all of them.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::error::{Code, Result};
use crate::lifecycle::policy::Limits;
use crate::token::ObjectId;

/// Uses are reserved in parts of the limit, so that not each costs a transaction.
const PARTS: u64 = 100;

/// The counts of one token in this process. Keys without a limit never come here.
#[derive(Default)]
pub struct Counts {
    of: Mutex<HashMap<ObjectId, Count>>,
}

#[derive(Default)]
struct Count {
    /// The window of the rate, and the uses in it.
    began: u64,
    used: u64,
    /// Of the uses that were reserved.
    left: u64,
}

impl Counts {
    /// Counts one use. `reserve` takes so many further uses out of the key's own limit, durably, and says how many it got.
    /// `CKR_KEY_FUNCTION_NOT_PERMITTED` where a limit is reached.
    pub fn spend(
        &self,
        key: ObjectId,
        limits: Limits,
        now: u64,
        reserve: impl FnOnce(u64, u64) -> Result<u64>,
    ) -> Result<()> {
        let refused = |why: String| Err(Code::KeyFunctionNotPermitted.because(why));
        let mut counts = self.of.lock();
        let count = counts.entry(key).or_default();
        if let Some(rate) = limits.rate {
            if now.saturating_sub(count.began) >= rate.span {
                (count.began, count.used) = (now, 0);
            }
            if count.used >= rate.uses {
                return refused(format!("the key was used {} times within {} s: wait", count.used, rate.span));
            }
        }
        if let Some(limit) = limits.uses {
            if count.left == 0 {
                count.left = reserve((limit / PARTS).max(1), limit)?;
            }
            count.left = match count.left.checked_sub(1) {
                Some(left) => left,
                None => {
                    return refused(format!("the key has been used {limit} times, as often as it may be: rotate it"));
                }
            };
        }
        count.used = count.used.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::policy::Rate;

    #[test]
    fn a_rate_begins_anew_with_its_window_and_a_limit_never_does() {
        let (counts, key) = (Counts::default(), ObjectId(1));
        let none = |_, _| panic!("nothing to reserve");
        let rate = Limits { rate: Some(Rate { uses: 2, span: 60 }), uses: None };
        let spent: Vec<bool> =
            [0, 59, 59, 60, 61, 62].map(|now| counts.spend(key, rate, 1000 + now, none).is_ok()).into();
        assert_eq!(spent, [true, true, false, true, true, false]);
        let limit = Limits { rate: None, uses: Some(3) };
        let mut left = 3u64;
        let spent: Vec<bool> = (0..5)
            .map(|_| {
                let reserve = |n: u64, _| {
                    let got = n.min(left);
                    left -= got;
                    Ok(got)
                };
                counts.spend(ObjectId(2), limit, 0, reserve).is_ok()
            })
            .collect();
        assert_eq!(spent, [true, true, true, false, false]);
    }
}
