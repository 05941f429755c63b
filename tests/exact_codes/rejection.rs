//! RSA PKCS #1 v1.5 decryption tells nothing of the padding, neither by its code nor by its time (Bleichenbacher's attack).

use std::time::Instant;

use cryptoki_sys::*;

use crate::module::{Attr, no, plain, ulong, yes};
use crate::world::{F, Table, World};

/// A raw block, encrypted.
fn sealed(world: &World, block: &[u8; 256]) -> Vec<u8> {
    let (public, _) = world.pair(CKK_RSA);
    let (rv, out) = world.once(F::Encrypt, plain(CKM_RSA_X_509), public, block);
    assert_eq!(rv, CKR_OK);
    out
}

/// A block with this message, rightly padded.
fn padded(message: &[u8]) -> [u8; 256] {
    let mut block = [0x5a; 256];
    block[..2].copy_from_slice(&[0, 2]);
    block[255 - message.len()] = 0;
    block[256 - message.len()..].copy_from_slice(message);
    block
}

/// Blocks whose padding is wrong, each in another way.
fn spoiled() -> Vec<(&'static str, [u8; 256])> {
    let good = padded(&[0x77; 16]);
    let with = |at: usize, byte: u8| {
        let mut block = good;
        block[at] = byte;
        block
    };
    vec![
        ("type 1", with(1, 1)),
        ("type 0", with(1, 0)),
        ("a first byte", with(0, 1)),
        ("a zero in the padding's first eight", with(2, 0)),
        ("a zero at the eighth", with(9, 0)),
        ("no zero", [&[0, 2][..], &[0x5a; 254]].concat().try_into().unwrap()),
        ("nothing right", [0x0b; 256]),
    ]
}

fn generic(len: Option<CK_ULONG>) -> Vec<Attr> {
    let key = [
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        no(CKA_SENSITIVE),
        yes(CKA_EXTRACTABLE),
    ];
    key.into_iter().chain(len.map(|len| ulong(CKA_VALUE_LEN, len))).collect()
}

pub fn pkcs1_says_nothing(world: &World) -> Vec<String> {
    let mut table = Table::new("wrong PKCS #1 v1.5 padding");
    let (_, private) = world.pair(CKK_RSA);
    let open = |input: &[u8]| world.once(F::Decrypt, plain(CKM_RSA_PKCS), private, input);
    let (rv, message) = open(&sealed(world, &padded(&[0x77; 16])));
    table.add("right", rv, CKR_OK);
    assert_eq!(message, [0x77; 16]);
    for (what, block) in spoiled() {
        let input = sealed(world, &block);
        let (rv, once) = open(&input);
        table.add(format!("{what}, decrypt"), rv, CKR_OK);
        let (rv, again) = open(&input);
        table.add(format!("{what}, again"), rv, CKR_OK);
        assert_eq!(once, again, "{what}: the same each time, as a message is");
        assert!(!block.ends_with(&once) || once.is_empty(), "{what}: no bytes of the block");

        // Unwrapped it is a key like any other, of the length that its decryption has.
        let (rv, key) = world.unwrap(plain(CKM_RSA_PKCS), private, &input, &generic(None));
        table.add(format!("{what}, unwrap"), rv, if once.is_empty() { CKR_WRAPPED_KEY_INVALID } else { CKR_OK });
        if rv == CKR_OK {
            assert_eq!(world.module.value(key, CKA_VALUE), once, "{what}");
        }
        // A length wanted: the same code as for a message of that length, rightly padded.
        for len in [1, 16, 32, 245] {
            let like = sealed(world, &padded(&vec![0x77; once.len()]));
            let (wrong, _) = world.unwrap(plain(CKM_RSA_PKCS), private, &input, &generic(Some(len)));
            let (right, _) = world.unwrap(plain(CKM_RSA_PKCS), private, &like, &generic(Some(len)));
            table.add(format!("{what}, unwrap {len}"), wrong, right);
        }
    }
    table.wrong(45)
}

/// Ciphertexts of each class in each measurement, and times that each class is measured.
const CIPHERTEXTS: usize = 64;
const ROUNDS: usize = 20_000;

/// Welch's t between the times of right and of wrong padding, of `C_Decrypt` and of `C_UnwrapKey`. Messages of all lengths are on either
/// side, as implicit rejection invents them of all lengths, and the classes come in an order of chance. Beyond 4.5 they differ.
pub fn takes_as_long(world: &World) {
    let (_, private) = world.pair(CKK_RSA);
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let right: Vec<Vec<u8>> = (0..CIPHERTEXTS).map(|n| sealed(world, &padded(&vec![0x77; 1 + n * 244 / 64]))).collect();
    let open = |input: &[u8]| world.once(F::Decrypt, plain(CKM_RSA_PKCS), private, input);
    let mut wrong = Vec::new();
    while wrong.len() < CIPHERTEXTS {
        let (_, mut block) = spoiled()[wrong.len() % 7];
        // Of those spoiled in the same way each is another.
        block[100..200].iter_mut().for_each(|byte| *byte = 1 + (chance.next() % 255) as u8);
        let input = sealed(world, &block);
        // No message is no key: unwrapping says so, of right padding as of wrong.
        if !open(&input).1.is_empty() {
            wrong.push(input);
        }
    }
    let decrypt = |input: &[u8]| {
        let start = Instant::now();
        let (rv, _) = open(input);
        let time = start.elapsed();
        assert_eq!(rv, CKR_OK);
        time.as_nanos() as f64
    };
    let template = generic(None);
    let unwrap = |input: &[u8]| {
        let start = Instant::now();
        let (rv, key) = world.unwrap(plain(CKM_RSA_PKCS), private, input, &template);
        let time = start.elapsed();
        assert_eq!(rv, CKR_OK);
        // SAFETY: a session, and the key just made.
        assert_eq!(unsafe { world.module.api.C_DestroyObject(world.module.session, key) }, CKR_OK);
        time.as_nanos() as f64
    };
    let mut far = Vec::new();
    for (what, time) in [("C_Decrypt", &decrypt as &dyn Fn(&[u8]) -> f64), ("C_UnwrapKey", &unwrap)] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..2 * ROUNDS {
            let class = (chance.next() & 1) as usize;
            let inputs = [&right, &wrong][class];
            times[class].push(time(&inputs[chance.next() as usize % CIPHERTEXTS]));
        }
        let mut pooled = times.concat();
        pooled.sort_by(f64::total_cmp);
        // What the scheduler adds drowns the rest: the times below a quantile of them all say more.
        for quantile in [100, 90, 50] {
            let most = pooled[(pooled.len() - 1) * quantile / 100];
            let [right, wrong] = times.each_ref().map(|times| below(times, most));
            let halves: [Vec<f64>; 2] = [0, 1].map(|odd| right.iter().skip(odd).step_by(2).copied().collect());
            let (t, within) = (welch(&right, &wrong), welch(&halves[0], &halves[1]));
            let means = [&right, &wrong].map(|times| mean_and_variance(times).0);
            println!(
                "{what}, lower {quantile} %: right {:.0} ns, wrong {:.0} ns, t = {t:.2}; within right {within:.2}; {} and {} calls",
                means[0],
                means[1],
                right.len(),
                wrong.len()
            );
            if t.abs() > 4.5 {
                far.push(format!("{what}, lower {quantile} %: {t:.2}"));
            }
        }
    }
    assert!(far.is_empty(), "{far:?}");
}

/// Marsaglia's xorshift: an order that does not go with anything.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}

fn below(times: &[f64], most: f64) -> Vec<f64> {
    times.iter().copied().filter(|time| *time <= most).collect()
}

fn mean_and_variance(times: &[f64]) -> (f64, f64) {
    let n = times.len() as f64;
    let mean = times.iter().sum::<f64>() / n;
    (mean, times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

fn welch(one: &[f64], other: &[f64]) -> f64 {
    let ((a, va), (b, vb)) = (mean_and_variance(one), mean_and_variance(other));
    (a - b) / (va / one.len() as f64 + vb / other.len() as f64).sqrt()
}
