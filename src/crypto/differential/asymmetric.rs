//! Numbers, RSA and DSA.

use super::{Inputs, flipped, same_verdict};
use crate::crypto::rsa::RsaNumbers;
use crate::crypto::{aws, rust};

type Number = aws::number::Number;
type Other = rust::number::Number;

fn both(bytes: &[u8]) -> (Number, Other) {
    (Number::from_be(bytes).unwrap(), Other::from_be(bytes).unwrap())
}

fn same(one: super::Result<Number>, other: super::Result<Other>, about: &str) {
    same_verdict(&one, &other, about);
    if let (Ok(one), Ok(other)) = (one, other) {
        assert_eq!(one.bytes().unwrap(), other.bytes().unwrap(), "{about}");
        assert_eq!(one.bits(), other.bits(), "{about}");
    }
}

#[test]
fn numbers() {
    let mut inputs = Inputs::new("numbers");
    for round in 0..200 {
        let lens = [inputs.below(70), inputs.below(70), 1 + inputs.below(64)];
        let [mut a, mut b, mut m] = lens.map(|len| inputs.bytes(len));
        if round % 7 == 0 {
            a = vec![0; 3];
        }
        if round % 11 == 0 {
            b = vec![0, 0, 1];
        }
        if round % 5 == 0 {
            m.insert(0, 0);
        }
        let ((a1, a2), (b1, b2), (m1, m2)) = (both(&a), both(&b), both(&m));
        let about = format!("a {a:02x?}, b {b:02x?}, m {m:02x?}");
        assert_eq!((a1.is_one(), a1.is_odd()), (a2.is_one(), a2.is_odd()), "{about}");
        assert_eq!((a1.larger_than(&b1), a1 == b1), (a2.larger_than(&b2), a2 == b2), "{about}");
        if a1.bits() > 0 {
            assert_eq!(a1.trailing_zeros(), a2.trailing_zeros(), "{about}");
        }
        same(a1.times(&b1), a2.times(&b2), &about);
        same(a1.over(&b1), a2.over(&b2), &about);
        same(a1.modulo(&m1), a2.modulo(&m2), &about);
        same(a1.minus(1), a2.minus(1), &about);
        same(a1.shifted_right(round), a2.shifted_right(round), &about);
        same(a1.gcd(&b1), a2.gcd(&b2), &about);
        for len in [0, 3, 64, 70] {
            let (mut one, mut other) = (vec![7; len], vec![7; len]);
            same_verdict(&a1.to_be(&mut one), &a2.to_be(&mut other), &about);
            assert!(a1.to_be(&mut one).is_err() || one == other, "{about}");
        }
        *m.last_mut().unwrap() |= 1;
        let (m1, m2) = both(&m);
        if m1.bits() > 1 {
            let (base1, base2) = (a1.modulo(&m1).unwrap(), a2.modulo(&m2).unwrap());
            same(base1.power(&b1, &m1), base2.power(&b2, &m2), &about);
        }
        same(m1.power(&b1, &m1), m2.power(&b2, &m2), &about);
    }
    for limit in [0, 1, 2] {
        let (one, other) = both(&[limit]);
        same_verdict(
            &Number::random_below(&one),
            &Other::random_below(&other),
            &format!("a number from 2 below {limit}"),
        );
    }
    let (one, other) = both(&[3]);
    same(Number::random_below(&one), Other::random_below(&other), "the only number from 2 below 3");
}

fn parts<N>(numbers: &[Vec<u8>], read: impl Fn(&[u8]) -> N) -> RsaNumbers<N> {
    let [n, e, d, p, q, dp, dq, qinv] = std::array::from_fn(|at| read(&numbers[at]));
    RsaNumbers { n, e, d, p, q, dp, dq, qinv }
}

type Keys = (super::Result<aws::rsa::RsaKey>, super::Result<rust::rsa::RsaKey>);

fn keys(numbers: &[Vec<u8>]) -> Keys {
    let one = aws::rsa::RsaKey::private(&parts(numbers, |bytes| Number::from_be(bytes).unwrap()));
    (one, rust::rsa::RsaKey::private(&parts(numbers, |bytes| Other::from_be(bytes).unwrap())))
}

#[test]
fn rsa_keys_of_the_one_work_by_the_other() {
    let mut inputs = Inputs::new("rsa");
    for (bits, e, by_rust) in [(1024, &[3][..], true), (2048, &[1, 0, 1], true), (2048, &[1, 0, 0, 1], false)] {
        let (e1, e2) = both(e);
        let made = match by_rust {
            true => rust::rsa::RsaKey::generate(bits, &e2).unwrap().numbers().unwrap(),
            false => aws::rsa::RsaKey::generate(bits, &e1).unwrap().numbers().unwrap(),
        };
        let numbers = made.map(|number| number.to_vec());
        assert_eq!(&*numbers[1], e);
        assert_eq!(numbers[0].len() * 8, bits);
        let (one, other) = keys(&numbers);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.numbers().unwrap(), other.numbers().unwrap());
        let (n1, n2) = both(&numbers[0]);
        let public = aws::rsa::RsaKey::public(&n1, &e1).unwrap();
        let public_other = rust::rsa::RsaKey::public(&n2, &e2).unwrap();
        for round in 0..3 {
            let mut text = inputs.bytes(numbers[0].len());
            text[0] = if round == 0 { 0 } else { text[0] & 0x7f };
            let mut outs = vec![vec![0; text.len()]; 4];
            one.private_operation(&text, &mut outs[0]).unwrap();
            other.private_operation(&text, &mut outs[1]).unwrap();
            assert_eq!(outs[0], outs[1]);
            let signed = outs[0].clone();
            public.public_operation(&signed, &mut outs[2]).unwrap();
            public_other.public_operation(&signed, &mut outs[3]).unwrap();
            assert_eq!((&outs[2], &outs[3]), (&text, &text));
        }
        // Wrong lengths, and numbers not below the modulus.
        for input in
            [&numbers[0][..], &numbers[0][1..], &vec![0xff; numbers[0].len()], &[&[0][..], &numbers[0]].concat()]
        {
            let mut out = vec![0; numbers[0].len()];
            let verdicts = (public.public_operation(input, &mut out), public_other.public_operation(input, &mut out));
            same_verdict(&verdicts.0, &verdicts.1, "a public operation");
            let verdicts = (one.private_operation(input, &mut out), other.private_operation(input, &mut out));
            same_verdict(&verdicts.0, &verdicts.1, "a private operation");
        }
        let verdicts = (
            public.private_operation(&[1; 256], &mut [0; 256]),
            public_other.private_operation(&[1; 256], &mut [0; 256]),
        );
        same_verdict(&verdicts.0, &verdicts.1, "a private operation by a public key");
    }
}

#[test]
fn rsa_refuses_the_same_numbers() {
    let (e1, _) = both(&[1, 0, 1]);
    let numbers = aws::rsa::RsaKey::generate(2048, &e1).unwrap().numbers().unwrap().map(|number| number.to_vec());
    for wrong in 0..8 {
        for bit in [0, 1, 8 * (numbers[wrong].len() - 1)] {
            let mut changed = numbers.clone();
            changed[wrong] = flipped(&changed[wrong], bit);
            let (one, other) = keys(&changed);
            same_verdict(&one, &other, &format!("number {wrong} with bit {bit} changed"));
        }
        for word in [0, 1, 2, 3] {
            let mut changed = numbers.clone();
            changed[wrong] = vec![word];
            let (one, other) = keys(&changed);
            same_verdict(&one, &other, &format!("number {wrong} replaced by {word}"));
        }
    }
    let mut swapped = numbers.clone();
    swapped.swap(3, 4);
    let (one, other) = keys(&swapped);
    same_verdict(&one, &other, "primes swapped");
    let mut padded = numbers.clone();
    padded.iter_mut().for_each(|number| number.insert(0, 0));
    let (one, other) = keys(&padded);
    assert_eq!(one.unwrap().numbers().unwrap(), other.unwrap().numbers().unwrap());
    // Public keys.
    let mut even = numbers[0].clone();
    even[255] &= 0xfe;
    for n in [&numbers[0], &even, &vec![0], &vec![1], &vec![0x11]] {
        for e in [&[0][..], &[1], &[2], &[3], &[1, 0, 0, 0, 1], &[1, 0, 0, 0, 0], &[0x7f; 255], &[0x7f; 256], n] {
            let ((n1, n2), (e1, e2)) = (both(n), both(e));
            let verdicts = (aws::rsa::RsaKey::public(&n1, &e1), rust::rsa::RsaKey::public(&n2, &e2));
            if n.len() == 256 {
                same_verdict(&verdicts.0, &verdicts.1, &format!("e {e:02x?}"));
            }
        }
    }
}

/// p, q, g and a public value with its private one.
fn dsa(parameters: &[Vec<u8>; 3], public: &[u8], private: &[u8]) -> (aws::finite::DsaKey, rust::finite::DsaKey) {
    let one = parameters.each_ref().map(|number| Number::from_be(number).unwrap());
    let other = parameters.each_ref().map(|number| Other::from_be(number).unwrap());
    let ((public1, public2), (private1, private2)) = (both(public), both(private));
    let one = aws::finite::DsaKey::new(one, public1, Some(private1)).unwrap();
    (one, rust::finite::DsaKey::new(other, public2, Some(private2)).unwrap())
}

#[test]
fn dsa_signatures_of_the_one_verify_by_the_other() {
    let mut inputs = Inputs::new("dsa");
    let made = [aws::finite::DsaKey::parameters(1024).unwrap(), rust::finite::DsaKey::parameters(1024).unwrap()];
    for parameters in &made {
        let [p, q, g] = parameters;
        assert_eq!((p.len(), q.len()), (128, 20));
        let ((p1, _), (q1, _), (g1, _)) = (both(p), both(q), both(g));
        assert!(p1.modulo(&q1).unwrap().is_one() && g1.power(&q1, &p1).unwrap().is_one());
        let mut private = inputs.bytes(20);
        private[0] &= 0x7f;
        let public = g1.power(&both(&private).0, &p1).unwrap().bytes().unwrap();
        let (one, other) = dsa(parameters, &public, &private);
        for len in [0, 1, 19, 20, 21, 32, 64] {
            let digest = inputs.bytes(len);
            let (mut r, mut s) = (vec![0; 20], vec![0; 20]);
            for by_rust in [true, false] {
                if by_rust {
                    other.sign(&digest, &mut r, &mut s).unwrap();
                } else {
                    one.sign(&digest, &mut r, &mut s).unwrap();
                }
                let zero = vec![0; 20];
                for (r, s, good) in [
                    (&r, &s, true),
                    (&r, &flipped(&s, 100), false),
                    (&flipped(&r, 100), &s, false),
                    (&zero, &s, false),
                    (&r, &zero, false),
                    (q, &s, false),
                    (&r, q, false),
                ] {
                    let verdicts = (one.verify(&digest, r, s), other.verify(&digest, r, s));
                    same_verdict(&verdicts.0, &verdicts.1, &format!("r {r:02x?}, s {s:02x?}, digest of {len} bytes"));
                    assert_eq!(verdicts.0.is_ok(), good);
                }
            }
        }
    }
}

#[test]
fn safe_primes() {
    // Short ones are found at once.
    let primes = [
        aws::finite::safe_prime(256).unwrap().bytes().unwrap(),
        rust::finite::safe_prime(256).unwrap().bytes().unwrap(),
    ];
    for prime in primes {
        let ((p1, p2), (base, _), (modulus, _)) = (both(&prime), both(&[2]), both(&[24]));
        assert_eq!(*p1.modulo(&modulus).unwrap().bytes().unwrap(), [23]);
        assert_eq!(p1.bits(), 256);
        let half = p1.shifted_right(1).unwrap();
        // 2 has the prime order (p - 1) / 2, and both pass Fermat's test by the one and the other's own.
        assert!(base.power(&half, &p1).unwrap().is_one());
        assert!(both(&[3]).0.power(&half.minus(1).unwrap(), &half).unwrap().is_one());
        assert!(crypto_primes::is_prime(crypto_primes::Flavor::Safe, &p2.shortened()));
    }
}
