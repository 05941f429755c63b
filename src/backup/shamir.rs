//! Shamir's secret sharing over GF(2^8) with the polynomial of AES, byte by byte. Multiplication takes the same steps whatever
//! the values; only the shares' numbers, which are no secret, are divided by.

use zeroize::Zeroizing;

use crate::crypto::random;
use crate::error::{Code, Result};

/// Shares at most: their numbers are the elements of the field but 0.
pub const MOST: u8 = 255;

/// One share: its number, and a byte for each of the secret.
pub type Point = (u8, Zeroizing<Vec<u8>>);

fn mul(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & 0u8.wrapping_sub((b >> bit) & 1);
        a = (a << 1) ^ (0x1b & 0u8.wrapping_sub(a >> 7));
    }
    product
}

/// a^254, which is the inverse; of 0 it is 0.
fn inverse(a: u8) -> u8 {
    let mut power = a;
    let mut product = 1;
    for _ in 1..8 {
        power = mul(power, power);
        product = mul(product, power);
    }
    product
}

/// Splits `secret` into `shares`, any `threshold` of which give it back, and fewer tell nothing of it.
/// `CKR_ARGUMENTS_BAD` unless 1 <= threshold <= shares.
pub fn split(secret: &[u8], threshold: u8, shares: u8) -> Result<Vec<Point>> {
    if threshold == 0 || threshold > shares {
        return Err(Code::ArgumentsBad.because(format!("{threshold} of {shares} shares cannot be")));
    }
    // The coefficients of one polynomial per byte, all of x first, then all of x^2 ...
    let mut coefficients = Zeroizing::new(vec![0u8; secret.len().saturating_mul(usize::from(threshold - 1))]);
    random::fill(&mut coefficients)?;
    let share = |x: u8| {
        let mut value = Zeroizing::new(vec![0u8; secret.len()]);
        // Horner's rule, from the highest power down.
        for row in coefficients.chunks_exact(secret.len().max(1)).rev().chain([secret]) {
            value.iter_mut().zip(row).for_each(|(value, coefficient)| *value = mul(*value, x) ^ coefficient);
        }
        (x, value)
    };
    Ok((1..=shares).map(share).collect())
}

/// The secret that `points` of different numbers determine; too few give another one.
/// `CKR_ARGUMENTS_BAD` where a number is 0 or stands twice, or the lengths differ.
pub fn combine(points: &[Point]) -> Result<Zeroizing<Vec<u8>>> {
    let wrong = || Code::ArgumentsBad.because("the shares do not belong together");
    let len = points.first().ok_or_else(wrong)?.1.len();
    let mut secret = Zeroizing::new(vec![0u8; len]);
    for (x, value) in points {
        // Lagrange's factor at 0: the product of x_j / (x_j - x).
        let mut factor = 1;
        for (other, _) in points.iter().filter(|(other, _)| other != x) {
            factor = mul(factor, mul(*other, inverse(*other ^ *x)));
        }
        let twice = points.iter().filter(|(other, _)| other == x).count() > 1;
        if *x == 0 || twice || value.len() != len {
            return Err(wrong());
        }
        secret.iter_mut().zip(value.iter()).for_each(|(secret, value)| *secret ^= mul(*value, factor));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_that_of_aes() {
        // FIPS 197, 4.2.
        assert_eq!(mul(0x57, 0x83), 0xc1);
        assert_eq!(mul(0x57, 0x13), 0xfe);
        for a in 1..=255 {
            assert_eq!(mul(a, inverse(a)), 1, "{a}");
        }
        assert_eq!(inverse(0), 0);
    }

    #[test]
    fn any_threshold_of_the_shares_gives_the_secret_and_fewer_do_not() {
        let secret: Vec<u8> = (0..32).map(|n| n * 7).collect();
        for (threshold, shares) in [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5), (2, 255)] {
            let all = split(&secret, threshold, shares).unwrap();
            assert_eq!(all.len(), usize::from(shares));
            let need = usize::from(threshold);
            for start in [0, all.len() - need] {
                assert_eq!(*combine(&all[start..start + need]).unwrap(), secret);
            }
            assert_eq!(*combine(&all).unwrap(), secret, "more than needed");
            if need > 1 {
                assert_ne!(*combine(&all[..need - 1]).unwrap(), secret);
            }
        }
    }

    #[test]
    fn one_share_less_fits_every_secret() {
        // With one share of two known, each value of the other gives another secret: nothing is told.
        let known = split(&[42], 2, 2).unwrap().remove(0);
        let secrets: std::collections::HashSet<u8> =
            (0..=255).map(|y| combine(&[known.clone(), (2, Zeroizing::new(vec![y]))]).unwrap()[0]).collect();
        assert_eq!(secrets.len(), 256);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        assert!(split(&[1], 0, 3).is_err() && split(&[1], 4, 3).is_err());
        let shares = split(&[1, 2], 2, 3).unwrap();
        assert!(combine(&[]).is_err());
        assert!(combine(&[shares[0].clone(), shares[0].clone()]).is_err());
        assert!(combine(&[shares[0].clone(), (0, Zeroizing::new(vec![0, 0]))]).is_err());
        assert!(combine(&[shares[0].clone(), (2, Zeroizing::new(vec![0]))]).is_err());
    }
}
