//! What is wrong in the numbers that keys stand on: curves, groups, primes that do not belong to their modulus.

use cryptoki_sys::*;

use crate::keys::ec;
use crate::module::{Attr, bytes, ulong};
use crate::world::{ED25519, P256, Table, World, X25519};

const P192: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1];

pub fn curves(world: &World) -> Vec<String> {
    let mut table = Table::new("a curve that is not offered, or none");
    let (other, none) = (CKR_CURVE_NOT_SUPPORTED, CKR_DOMAIN_PARAMS_INVALID);
    for (what, key_type, ty, curve, expected) in [
        ("P-192", CKK_EC, CKM_EC_KEY_PAIR_GEN, P192, other),
        ("Ed25519 for P-256", CKK_EC, CKM_EC_KEY_PAIR_GEN, ED25519, other),
        ("P-256 for Ed25519", CKK_EC_EDWARDS, CKM_EC_EDWARDS_KEY_PAIR_GEN, P256, other),
        ("Ed25519 for X25519", CKK_EC_MONTGOMERY, CKM_EC_MONTGOMERY_KEY_PAIR_GEN, ED25519, other),
        ("X25519 for Ed25519", CKK_EC_EDWARDS, CKM_EC_EDWARDS_KEY_PAIR_GEN, X25519, other),
        ("nothing", CKK_EC, CKM_EC_KEY_PAIR_GEN, &[], CKR_ATTRIBUTE_VALUE_INVALID),
        ("half an identifier", CKK_EC, CKM_EC_KEY_PAIR_GEN, &P256[..6], none),
        ("a byte more", CKK_EC, CKM_EC_KEY_PAIR_GEN, &[P256, &[0]].concat(), none),
        ("an integer", CKK_EC, CKM_EC_KEY_PAIR_GEN, &[2, 1, 1], none),
    ] {
        table.add(format!("{what}, generate"), world.try_pair(ty, &[bytes(CKA_EC_PARAMS, curve)]), expected);
        table.add(format!("{what}, create"), world.try_create(&ec(key_type, curve, &[4; 65])), expected);
    }
    table.wrong(18)
}

/// With this one of the numbers as another.
fn with(numbers: &[Attr], ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Vec<Attr> {
    numbers.iter().map(|(own, old)| bytes(*own, if *own == ty { value } else { old })).collect()
}

pub fn groups(world: &World) -> Vec<String> {
    let mut table = Table::new("numbers that make no group");
    for (name, key_type, ty, types) in [
        ("DSA", CKK_DSA, CKM_DSA_KEY_PAIR_GEN, &[CKA_PRIME, CKA_SUBPRIME, CKA_BASE][..]),
        ("DH", CKK_DH, CKM_DH_PKCS_KEY_PAIR_GEN, &[CKA_PRIME, CKA_BASE]),
        ("X9.42 DH", CKK_X9_42_DH, CKM_X9_42_DH_KEY_PAIR_GEN, &[CKA_PRIME, CKA_SUBPRIME, CKA_BASE]),
    ] {
        let (public, _) = world.pair(key_type);
        let numbers: Vec<Attr> = types.iter().map(|ty| bytes(*ty, &world.module.value(public, *ty))).collect();
        let prime = numbers[0].1.clone();
        let value = world.module.value(public, CKA_VALUE);
        let mut even = prime.clone();
        *even.last_mut().unwrap() ^= 1;
        let changed = [
            ("an even prime", CKA_PRIME, even.clone()),
            ("a tiny prime", CKA_PRIME, vec![23]),
            ("no prime", CKA_PRIME, vec![]),
            ("a prime of zeros", CKA_PRIME, vec![0; 128]),
            ("base 0", CKA_BASE, vec![0]),
            ("base 1", CKA_BASE, vec![1]),
            ("base p - 1", CKA_BASE, even),
            ("base p", CKA_BASE, prime),
            ("an even subprime", CKA_SUBPRIME, vec![0x80; 20]),
            ("subprime 1", CKA_SUBPRIME, vec![1]),
        ];
        for (what, which, number) in changed.iter().filter(|(_, which, _)| types.contains(which)) {
            let wrong = with(&numbers, *which, number);
            let (value_alone, of_group) = (CKR_ATTRIBUTE_VALUE_INVALID, CKR_DOMAIN_PARAMS_INVALID);
            let expected = if number.is_empty() { value_alone } else { of_group };
            table.add(format!("{name}, {what}, generate"), world.try_pair(ty, &wrong), expected);
            let own = [ulong(CKA_CLASS, CKO_PUBLIC_KEY), ulong(CKA_KEY_TYPE, key_type), bytes(CKA_VALUE, &value)];
            let created = world.try_create(&[&own[..], &wrong].concat());
            table.add(format!("{name}, {what}, create"), created, CKR_ATTRIBUTE_VALUE_INVALID);
        }
    }
    table.wrong(50)
}

/// Numbers of an RSA private key that do not belong together, each with all others right.
pub fn rsa_numbers(world: &World) -> Vec<String> {
    let mut table = Table::new("numbers of RSA that do not belong together");
    let (_, private) = world.pair(CKK_RSA);
    let types = [
        CKA_MODULUS,
        CKA_PUBLIC_EXPONENT,
        CKA_PRIVATE_EXPONENT,
        CKA_PRIME_1,
        CKA_PRIME_2,
        CKA_EXPONENT_1,
        CKA_EXPONENT_2,
        CKA_COEFFICIENT,
    ];
    let numbers: Vec<Attr> = types.iter().map(|ty| bytes(*ty, &world.module.value(private, *ty))).collect();
    let created = |numbers: &[Attr]| {
        let own = [ulong(CKA_CLASS, CKO_PRIVATE_KEY), ulong(CKA_KEY_TYPE, CKK_RSA)];
        world.try_create(&[&own[..], numbers].concat())
    };
    table.add("all right", created(&numbers), CKR_OK);
    for (ty, right) in &numbers {
        let mut odd = right.clone();
        *odd.last_mut().unwrap() ^= 2;
        let mut even = right.clone();
        *even.last_mut().unwrap() ^= 1;
        for (what, value) in [("another", &odd), ("of other parity", &even), ("1", &vec![1])] {
            let seen = created(&with(&numbers, *ty, value));
            table.add(format!("{ty:#x} {what}"), seen, CKR_ATTRIBUTE_VALUE_INVALID);
        }
    }
    // Modulus and exponents alone: the primes follow from them, or do not.
    table.add("three numbers", created(&numbers[..3]), CKR_OK);
    table.add("two numbers", created(&numbers[..2]), CKR_TEMPLATE_INCOMPLETE);
    let seen = created(&with(&numbers[..3], CKA_PRIVATE_EXPONENT, &[3]));
    table.add("an exponent that is no inverse", seen, CKR_ATTRIBUTE_VALUE_INVALID);
    table.wrong(28)
}
