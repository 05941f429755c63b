//! Whether the parts of an expanded ML-DSA key belong together, which the `ml-dsa` crate takes for granted: it would sign
//! with what is none, or panic.

use shake::{ExtendableOutput, Shake128, Update, XofReader};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::ml_dsa::Set;

/// Coefficients of a polynomial.
const N: usize = 256;
const Q: u32 = 8_380_417;
/// Bits that are dropped from t.
const D: u32 = 13;
/// The 512th root of unity (FIPS 204, 2.3).
const ZETA: u32 = 1753;
/// 1/256 modulo q.
const NORM: u32 = 8_347_681;
/// Length in bytes of rho, K and tr, which stand first.
const HEAD: usize = 128;
/// Length in bytes of rho.
const RHO: usize = 32;
/// Length in bytes of a packed polynomial of t0.
const T0_LEN: usize = N * D as usize / 8;

type Polynomial = Zeroizing<[u32; N]>;

struct Shape {
    /// Rows and columns of the matrix.
    k: usize,
    l: usize,
    eta: u32,
    /// Bits of a packed coefficient of s1 and s2.
    bits: usize,
}

fn shape(set: Set) -> Shape {
    let (k, l, eta, bits) = match set {
        Set::MlDsa44 => (4, 4, 2, 3),
        Set::MlDsa65 => (6, 5, 4, 4),
        Set::MlDsa87 => (8, 7, 2, 3),
    };
    Shape { k, l, eta, bits }
}

/// Whether s1 and s2 are in their range and t0 is theirs, for an expanded key of the set's length. What tr should be shows
/// with the public key.
pub(super) fn belongs(set: Set, key: &[u8]) -> bool {
    let Shape { k, l, eta, bits } = shape(set);
    let packed = N * bits / 8;
    let (Some(rho), Some(rest)) = (key.get(..RHO), key.get(HEAD..)) else { return false };
    let Some((secrets, t0)) = rest.split_at_checked((k + l) * packed) else { return false };
    let raw: Vec<Polynomial> = secrets.chunks(packed).map(|part| unpacked(part, bits)).collect();
    // All of them are looked at, whatever they are.
    if raw.iter().flat_map(|polynomial| polynomial.iter()).fold(0, |largest, &one| largest.max(one)) > 2 * eta {
        return false;
    }
    let mut secrets = raw.into_iter().map(|mut polynomial| {
        polynomial.iter_mut().for_each(|one| *one = (Q + eta - *one) % Q);
        polynomial
    });
    let s1: Vec<Polynomial> = secrets.by_ref().take(l).map(transformed).collect();
    let rows = (0u8..).zip(secrets).zip(t0.chunks(T0_LEN));
    rows.fold(true, |right, ((row, s2), t0)| right & bool::from(low_part(&product(rho, row, &s1), &s2).ct_eq(t0)))
}

/// Numbers of `bits` bits, the least significant first.
fn unpacked(bytes: &[u8], bits: usize) -> Polynomial {
    let mut out = Zeroizing::new([0; N]);
    // Eight of them fill as many bytes as one has bits.
    for (eight, chunk) in out.chunks_mut(8).zip(bytes.chunks(bits)) {
        let word = chunk.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        for (at, to) in eight.iter_mut().enumerate() {
            *to = word >> (at * bits) & ((1 << bits) - 1);
        }
    }
    out
}

fn times(a: u32, b: u32) -> u32 {
    (u64::from(a) * u64::from(b) % u64::from(Q)) as u32
}

fn power(exponent: u8) -> u32 {
    (0..exponent.reverse_bits()).fold(1, |product, _| times(product, ZETA))
}

/// FIPS 204, algorithm 41.
fn transformed(mut w: Polynomial) -> Polynomial {
    let (mut m, mut len) = (0u8, N / 2);
    while len >= 1 {
        for block in w.chunks_mut(2 * len) {
            m = m.wrapping_add(1);
            let (zeta, (low, high)) = (power(m), block.split_at_mut(len));
            for (a, b) in low.iter_mut().zip(high) {
                let t = times(zeta, *b);
                *b = (*a + Q - t) % Q;
                *a = (*a + t) % Q;
            }
        }
        len /= 2;
    }
    w
}

/// FIPS 204, algorithm 42.
fn transformed_back(mut w: Polynomial) -> Polynomial {
    let (mut m, mut len) = (0u8, 1);
    while len < N {
        for block in w.chunks_mut(2 * len) {
            m = m.wrapping_sub(1);
            let (zeta, (low, high)) = (Q - power(m), block.split_at_mut(len));
            for (a, b) in low.iter_mut().zip(high) {
                let t = *a;
                *a = (t + *b) % Q;
                *b = times(zeta, t + Q - *b);
            }
        }
        len *= 2;
    }
    w.iter_mut().for_each(|one| *one = times(*one, NORM));
    w
}

/// A row of the matrix that rho expands to (algorithm 32), times s1.
fn product(rho: &[u8], row: u8, s1: &[Polynomial]) -> Polynomial {
    let mut sum = Zeroizing::new([0; N]);
    for (column, factor) in (0u8..).zip(s1) {
        let mut seed = Shake128::default();
        seed.update(rho);
        seed.update(&[column, row]);
        let mut reader = seed.finalize_xof();
        // By rejection (algorithm 30).
        let entries = std::iter::repeat_with(|| {
            let mut bytes = [0; 3];
            reader.read(&mut bytes);
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2] & 0x7f, 0])
        });
        let entries = entries.filter(|&entry| entry < Q);
        for ((to, from), entry) in sum.iter_mut().zip(factor.iter()).zip(entries) {
            *to = (*to + times(*from, entry)) % Q;
        }
    }
    transformed_back(sum)
}

/// t0 of t = `product` + s2 (algorithm 35), packed.
fn low_part(product: &Polynomial, s2: &Polynomial) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(T0_LEN));
    let (mut word, mut filled) = (0u64, 0);
    for (a, b) in product.iter().zip(s2.iter()) {
        let t = (a + b) % Q;
        let high = (t + (1 << (D - 1)) - 1) >> D;
        let packed = (1 << (D - 1)) + (high << D) - t;
        word |= u64::from(packed) << filled;
        filled += D;
        while filled >= 8 {
            out.push(word as u8);
            word >>= 8;
            filled -= 8;
        }
    }
    out
}
