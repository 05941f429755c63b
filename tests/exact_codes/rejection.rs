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

/// Medians of some hundred decryptions, in turns, of right and of wrong padding: they differ by less than their spread.
pub fn takes_as_long(world: &World) {
    let (_, private) = world.pair(CKK_RSA);
    let good = sealed(world, &padded(&[0x77; 16]));
    let bad: Vec<Vec<u8>> = spoiled().iter().map(|(_, block)| sealed(world, block)).collect();
    let time = |input: &[u8]| {
        let start = Instant::now();
        let (rv, _) = world.once(F::Decrypt, plain(CKM_RSA_PKCS), private, input);
        assert_eq!(rv, CKR_OK);
        start.elapsed().as_nanos()
    };
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..700 {
        right.push(time(&good));
        wrong.push(time(&bad[round % bad.len()]));
    }
    let [right, wrong] = [right, wrong].map(|mut times| {
        times.sort_unstable();
        (times[times.len() / 2], times[3 * times.len() / 4] - times[times.len() / 4])
    });
    let apart = right.0.abs_diff(wrong.0);
    println!("right {} ns, wrong {} ns, quartiles {} and {} ns apart", right.0, wrong.0, right.1, wrong.1);
    assert!(apart < right.1.max(wrong.1).max(right.0 / 50), "{apart} ns apart");
}
