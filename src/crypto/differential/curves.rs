//! ECDSA, ECDH, Ed25519 and X25519.

use super::{Inputs, flipped, same_verdict};
use crate::crypto::curve::{Curve, Form as CurveForm};
use crate::crypto::ed25519::Form;
use crate::crypto::nonce::reduced;
use crate::crypto::{aws, rust};

fn curves() -> impl Iterator<Item = Curve> {
    Curve::ALL.iter().copied().filter(|curve| curve.form() == CurveForm::Weierstrass)
}

/// A private key in both.
struct Keys(aws::ec::EcKey, rust::ec::EcKey, Curve);

impl Keys {
    fn of(curve: Curve, scalar: &[u8]) -> Keys {
        let group = aws::ec::Group::of(curve).unwrap();
        let group_other = rust::ec::Group::of(curve).unwrap();
        let one = aws::ec::EcKey::private(group, scalar).unwrap();
        Keys(one, rust::ec::EcKey::private(group_other, scalar).unwrap(), curve)
    }

    /// Made by the one or the other.
    fn generated(curve: Curve, by_rust: bool) -> Keys {
        let mut scalar = vec![0; curve.private_len()];
        if by_rust {
            rust::ec::EcKey::generate(rust::ec::Group::of(curve).unwrap()).unwrap().scalar(&mut scalar).unwrap();
        } else {
            aws::ec::EcKey::generate(aws::ec::Group::of(curve).unwrap()).unwrap().scalar(&mut scalar).unwrap();
        }
        Keys::of(curve, &scalar)
    }

    fn public(&self) -> Vec<u8> {
        let mut points = [vec![0; self.2.public_len()], vec![0; self.2.public_len()]];
        self.0.multiplied_base().unwrap().encode(&mut points[0]).unwrap();
        self.1.multiplied_base().unwrap().encode(&mut points[1]).unwrap();
        assert_eq!(points[0], points[1], "{:?}", self.2);
        points[0].clone()
    }
}

type Points = (super::Result<aws::ec::Point>, super::Result<rust::ec::Point>);

fn points(curve: Curve, encoded: &[u8]) -> Points {
    let group = rust::ec::Group::of(curve).unwrap();
    (aws::ec::Point::decode(aws::ec::Group::of(curve).unwrap(), encoded), rust::ec::Point::decode(group, encoded))
}

/// The number plus or minus a small one.
fn moved(number: &[u8], by: i32) -> Vec<u8> {
    let (mut out, mut carry) = (number.to_vec(), by);
    for byte in out.iter_mut().rev() {
        carry += i32::from(*byte);
        *byte = carry as u8;
        carry >>= 8;
    }
    out
}

fn order(curve: Curve) -> Vec<u8> {
    let mut orders = [vec![0; curve.private_len()], vec![0; curve.private_len()]];
    aws::ec::Group::of(curve).unwrap().order().unwrap().to_be(&mut orders[0]).unwrap();
    rust::ec::Group::of(curve).unwrap().order().unwrap().to_be(&mut orders[1]).unwrap();
    assert_eq!(orders[0], orders[1], "{curve:?}");
    orders[0].clone()
}

#[test]
fn public_points_and_shared_secrets() {
    for curve in curves() {
        let edges = [vec![1], vec![2], moved(&order(curve), -1), moved(&order(curve), -2)];
        for key in
            edges.iter().map(|scalar| Keys::of(curve, scalar)).chain([false, true].map(|by| Keys::generated(curve, by)))
        {
            key.public();
            let peer = Keys::generated(curve, true).public();
            let peers = points(curve, &peer);
            let mut shared = [vec![0; curve.field_len()], vec![0; curve.field_len()]];
            key.0.agree(&peers.0.unwrap(), &mut shared[0]).unwrap();
            key.1.agree(&peers.1.unwrap(), &mut shared[1]).unwrap();
            assert_eq!(shared[0], shared[1], "{curve:?}");
        }
    }
}

#[test]
fn the_same_scalars_are_keys() {
    for curve in curves() {
        let order = order(curve);
        let (group, group_other) = (aws::ec::Group::of(curve).unwrap(), rust::ec::Group::of(curve).unwrap());
        let long = [&[0, 0, 0][..], &moved(&order, -1)].concat();
        let longer = [&[1][..], &order].concat();
        let zeros = vec![0; order.len()];
        let list = [vec![], vec![0], vec![1], zeros, order.clone(), moved(&order, -1), moved(&order, 1), long, longer];
        for scalar in list.iter().chain([&vec![0xff; order.len()]]) {
            let verdicts = (aws::ec::EcKey::private(group, scalar), rust::ec::EcKey::private(group_other, scalar));
            same_verdict(&verdicts.0, &verdicts.1, &format!("{curve:?}, scalar {scalar:02x?}"));
        }
    }
}

#[test]
fn the_same_encodings_are_points() {
    let mut inputs = Inputs::new("points");
    for curve in curves() {
        let point = Keys::generated(curve, false).public();
        let field = curve.field_len();
        let parity = point[2 * field] & 1;
        let compressed = |tag: u8, x: &[u8]| [&[tag][..], x].concat();
        let mut list = vec![
            vec![],
            vec![0; 1 + 2 * field],
            vec![4; 1],
            point[..2 * field].to_vec(),
            [&point[..], &[0]].concat(),
            flipped(&point, 8 * (2 * field)),
            flipped(&point, 8 * field),
            compressed(2 + parity, &point[1..=field]),
            compressed(3 - parity, &point[1..=field]),
            compressed(2, &point[1..field]),
            compressed(2, &vec![0xff; field]),
            compressed(2, &vec![0; field]),
            compressed(5, &point[1..=field]),
            compressed(1, &point[1..]),
        ];
        // Half of all x-coordinates are on the curve.
        for _ in 0..12 {
            let mut x = inputs.bytes(field);
            x[0] &= 1;
            list.push(compressed(2 + inputs.below(2) as u8, &x));
        }
        for encoded in &list {
            let (one, other) = points(curve, encoded);
            same_verdict(&one, &other, &format!("{curve:?}, point {encoded:02x?}"));
            if let (Ok(one), Ok(other)) = (one, other) {
                let mut forms = [vec![0; curve.public_len()], vec![0; curve.public_len()]];
                one.encode(&mut forms[0]).unwrap();
                other.encode(&mut forms[1]).unwrap();
                assert_eq!(forms[0], forms[1]);
            }
        }
    }
}

#[test]
fn ecdsa_signatures_of_the_one_verify_by_the_other() {
    let mut inputs = Inputs::new("ecdsa");
    for curve in curves() {
        let keys = Keys::generated(curve, true);
        let (point, point_other) = points(curve, &keys.public());
        let public = aws::ec::EcKey::public(&point.unwrap()).unwrap();
        let public_other = rust::ec::EcKey::public(&point_other.unwrap()).unwrap();
        let len = curve.private_len();
        let verdicts = |digest: &[u8], r: &[u8], s: &[u8]| {
            let (one, other) = (public.verify(digest, r, s), public_other.verify(digest, r, s));
            same_verdict(&one, &other, &format!("{curve:?}, digest {digest:02x?}, r {r:02x?}, s {s:02x?}"));
            one.is_ok()
        };
        for digest_len in [0, 1, 20, 28, 32, 48, 64, 65, 66, 67, 100] {
            let digest = inputs.bytes(digest_len);
            let (mut r, mut s) = (vec![0; len], vec![0; len]);
            for by_rust in [false, true] {
                if by_rust {
                    keys.1.sign(&digest, &mut r, &mut s).unwrap();
                } else {
                    keys.0.sign(&digest, &mut r, &mut s).unwrap();
                }
                assert!(verdicts(&digest, &r, &s), "{curve:?}, {digest_len}");
                assert!(!verdicts(&digest, &flipped(&r, 8 * len - 3), &s));
                assert!(!verdicts(&digest, &r, &flipped(&s, 8 * len - 3)));
                // The other of the two values of s is as good.
                let high = aws_difference(&order(curve), &s);
                assert!(verdicts(&digest, &r, &high), "{curve:?}");
            }
            let (order, zero) = (order(curve), vec![0; len]);
            for (r, s) in [(&zero, &s), (&r, &zero), (&order, &s), (&r, &order), (&moved(&order, 1), &s), (&vec![], &s)]
            {
                assert!(!verdicts(&digest, r, s));
            }
        }
    }
}

#[test]
fn ecdsa_signatures_with_one_nonce_are_the_same() {
    let mut inputs = Inputs::new("ecdsa nonces");
    for curve in curves() {
        let (keys, order) = (Keys::generated(curve, false), order(curve));
        let last = moved(&order, -1);
        let one = moved(&vec![0; order.len()], 1);
        for at in 0..12 {
            let mut drawn = || reduced(&inputs.bytes(order.len()), &order);
            let nonce = [&one, &last, &drawn()][at.min(2)].clone();
            let hashed = [vec![0; order.len()], last.clone(), drawn()][at.saturating_sub(2).min(2)].clone();
            let mut signatures = [vec![0; 2 * order.len()], vec![0; 2 * order.len()]];
            let [(r, s), (r_other, s_other)] = signatures.each_mut().map(|out| out.split_at_mut(order.len()));
            assert_eq!(keys.0.sign_with(&nonce, &hashed, r, s), Ok(true));
            assert_eq!(keys.1.sign_with(&nonce, &hashed, r_other, s_other), Ok(true));
            assert_eq!(signatures[0], signatures[1], "{curve:?}, nonce {nonce:02x?}, hash {hashed:02x?}");
        }
    }
}

/// `from` less `number`, equally long.
fn aws_difference(from: &[u8], number: &[u8]) -> Vec<u8> {
    let (mut out, mut borrow) = (vec![0; from.len()], 0i32);
    for ((to, a), b) in out.iter_mut().zip(from).zip(number).rev() {
        borrow += i32::from(*a) - i32::from(*b);
        *to = borrow as u8;
        borrow >>= 8;
    }
    out
}

/// Points of small order, the last three in forms that are not the least, and what is no point (see "Taming the many
/// EdDSAs", table 5).
const SPECIAL_POINTS: [&str; 14] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0200000000000000000000000000000000000000000000000000000000000000",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

fn special() -> impl Iterator<Item = [u8; 32]> {
    SPECIAL_POINTS.iter().map(|hex| hex::decode(hex).unwrap().try_into().unwrap())
}

/// L, little-endian.
const ORDER_25519: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[test]
fn ed25519_signatures_are_the_same() {
    let mut inputs = Inputs::new("ed25519");
    for round in 0..25usize {
        let seed = inputs.array();
        let (mut pair, mut pair_other) = ([0; 64], [0; 64]);
        let public = aws::curve25519::ed25519_from_seed(&seed, &mut pair);
        assert_eq!(public, rust::curve25519::ed25519_from_seed(&seed, &mut pair_other));
        assert_eq!(pair, pair_other);
        let (message, digest) = (inputs.bytes(round * 9), inputs.array());
        let context = inputs.bytes([0, 1, 10, 255, 256][round % 5]);
        for form in [Form::Pure, Form::Context(&context), Form::Prehashed(&digest, &context)] {
            let (mut one, mut other) = ([0; 64], [0; 64]);
            let made = aws::curve25519::ed25519_sign(form, &pair, &message, &mut one);
            let made_other = rust::curve25519::ed25519_sign(form, &pair, &message, &mut other);
            same_verdict(&made, &made_other, &format!("a signature with a context of {} bytes", context.len()));
            if made.is_err() {
                let verify = |ok: bool| assert!(!ok);
                verify(aws::curve25519::ed25519_verify(form, &public, &message, &one).is_ok());
                verify(rust::curve25519::ed25519_verify(form, &public, &message, &one).is_ok());
                continue;
            }
            assert_eq!(one, other);
            let order = hex::decode(ORDER_25519).unwrap();
            let mut raised = one;
            let mut carry = 0;
            for (to, from) in raised[32..].iter_mut().zip(&order) {
                carry += u16::from(*to) + u16::from(*from);
                *to = carry as u8;
                carry >>= 8;
            }
            let flip = flipped(&one, inputs.below(512)).try_into().unwrap();
            for (signature, good) in
                [(one, true), (raised, false), (flip, false), ([0; 64], false), ([0xff; 64], false)]
            {
                let verdict = aws::curve25519::ed25519_verify(form, &public, &message, &signature);
                same_verdict(
                    &verdict,
                    &rust::curve25519::ed25519_verify(form, &public, &message, &signature),
                    "a signature",
                );
                assert_eq!(verdict.is_ok(), good);
            }
        }
    }
}

#[test]
fn ed25519_has_the_same_opinion_of_special_points() {
    let mut inputs = Inputs::new("ed25519 points");
    let mut accepted = 0;
    for public in special() {
        for commitment in special() {
            // With S = 0 a key of small order verifies for some messages.
            for _ in 0..8 {
                let message = inputs.bytes(8);
                let signature = [commitment, [0; 32]].concat().try_into().unwrap();
                let one = aws::curve25519::ed25519_verify(Form::Pure, &public, &message, &signature);
                let other = rust::curve25519::ed25519_verify(Form::Pure, &public, &message, &signature);
                same_verdict(&one, &other, &format!("A {public:02x?}, R {commitment:02x?}, message {message:02x?}"));
                accepted += usize::from(one.is_ok());
            }
        }
    }
    assert!(accepted > 0, "some of them verify, else nothing was compared");
}

#[test]
fn x25519() {
    let mut inputs = Inputs::new("x25519");
    for _ in 0..30 {
        let (private, peer) = (inputs.array(), inputs.array());
        assert_eq!(aws::curve25519::x25519_public(&private), rust::curve25519::x25519_public(&private));
        for peer in special().chain([peer, [0xff; 32]]) {
            let (mut one, mut other) = ([0; 32], [0; 32]);
            let verdict = aws::curve25519::x25519(&private, &peer, &mut one);
            same_verdict(
                &verdict,
                &rust::curve25519::x25519(&private, &peer, &mut other),
                &format!("peer {peer:02x?}"),
            );
            assert_eq!(one, other);
        }
    }
}
