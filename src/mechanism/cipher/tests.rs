//! Every row of the family: parts against the whole, restarts, definitions out of ECB, lengths and codes. Published vectors
//! are in tests/symmetric and in `crypto::block`.

use super::super::table::row;
use super::super::testing::*;
use super::*;

/// A key that the row takes.
fn key_of(row: &Row) -> Vec<u8> {
    data(row.size.1 as usize)
}

fn block_of_row(row: &Row) -> usize {
    cipher_of(row).unwrap().block_len()
}

fn iv_of(len: usize, byte: u8) -> Params {
    Params::Iv(vec![byte; len].into())
}

fn rows(flag: CK_FLAGS) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.flags & flag != 0)
}

fn named(row: &Row, end: &str) -> bool {
    row.name.ends_with(end)
}

/// The row of the same cipher with another ending.
fn sibling(row: &Row, end: &str) -> &'static Row {
    ROWS.iter().find(|other| other.keys == row.keys && named(other, end)).unwrap()
}

fn ecb(row: &Row, key: &[u8], block: &[u8]) -> Vec<u8> {
    whole(sibling(row, "_ECB").ty, Use::Encrypt, &Params::None, key, block).unwrap()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// CBC written out of ECB (SP 800-38A, 6.2).
fn cbc(row: &Row, key: &[u8], iv: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut chain = iv.to_vec();
    let blocks = plain.chunks(iv.len()).map(|block| {
        chain = ecb(row, key, &xor(block, &chain));
        chain.clone()
    });
    blocks.collect::<Vec<_>>().concat()
}

#[test]
fn ciphers_in_parts_and_again() {
    let mut seen = 0;
    for row in rows(CKF_ENCRYPT) {
        let (block, key) = (block_of_row(row), key_of(row));
        let params = |byte: u8| match row.params {
            ParamKind::None => Params::None,
            ParamKind::Ctr => Params::Ctr { counter_bits: 32 + u64::from(byte), block: [byte; 16] },
            _ => iv_of(block, byte),
        };
        let any = row.does.wrap_multiple == 1;
        let lengths = [0, 1, 7, 8, 9, 15, 16, 17, 24, 32, 33, 64].into_iter().filter(|len| any || len % block == 0);
        cipher_in_parts(row.ty, &key, |_| params(1), |_| params(2), lengths);
        seen += 1;
    }
    assert_eq!(seen, 5 * 3 + 1);
}

#[test]
fn modes_are_those_of_their_definition() {
    for row in rows(CKF_ENCRYPT) {
        let (block, key) = (block_of_row(row), key_of(row));
        let (plain, iv) = (data(3 * block), vec![7; block]);
        let sealed = |params: &Params| whole(row.ty, Use::Encrypt, params, &key, &plain).unwrap();
        let iv_params = Params::Iv(iv[..].into());
        if named(row, "_CBC") {
            assert_eq!(sealed(&iv_params), cbc(row, &key, &iv, &plain), "{}", row.name);
        } else if named(row, "_CBC_PAD") {
            let padded = [&plain[..], &vec![block as u8; block]].concat();
            assert_eq!(sealed(&iv_params), cbc(row, &key, &iv, &padded), "{}", row.name);
        } else if named(row, "_CTR") {
            let counters = [[7; 15].as_slice(), &[0xfe], &[7; 15], &[0xff]].concat();
            let stream = ecb(row, &key, &counters);
            let params = |bits| Params::Ctr { counter_bits: bits, block: counters[..16].try_into().unwrap() };
            let two = whole(row.ty, Use::Encrypt, &params(8), &key, &plain[..32]).unwrap();
            assert_eq!(two, xor(&plain, &stream));
            assert_eq!(whole(row.ty, Use::Encrypt, &params(8), &key, &plain), Err(Code::DataLenRange));
            assert!(whole(row.ty, Use::Encrypt, &params(12), &key, &plain).is_ok());
            assert_eq!(begin(row.ty, Use::Encrypt, &params(0), &key).err(), Some(Code::MechanismParamInvalid));
        }
    }
}

#[test]
fn macs_are_those_of_their_definition_in_parts_and_again() {
    let mut seen = 0;
    for row in rows(CKF_SIGN) {
        let (block, key) = (block_of_row(row), key_of(row));
        let (full, half) = (block as u64, block / 2);
        let general = row.params == ParamKind::MacLength;
        let cmac = row.name.contains("CMAC");
        let params = |len| if general { Params::MacLength(len) } else { Params::None };
        mac_in_parts(row.ty, &key, &params(full), if general || cmac { block } else { half });
        if general {
            mac_in_parts(row.ty, &key, &params(3), 3);
            for bad in [0, full + 1, u64::MAX] {
                let refused = begin(row.ty, Use::Sign, &params(bad), &key).err();
                assert_eq!(refused, Some(Code::MechanismParamInvalid), "{}", row.name);
            }
        }
        if !cmac {
            let message = data(block * 2 + 1);
            let padded = [&message[..], &vec![0; block - 1]].concat();
            let chained = cbc(row, &key, &vec![0; block], &padded);
            let mac = whole(row.ty, Use::Sign, &params(full), &key, &message).unwrap();
            assert_eq!(mac, chained[2 * block..][..mac.len()], "{}", row.name);
        }
        seen += 1;
    }
    assert_eq!(seen, 4 * 2 + 2);
}

/// SP 800-38B, appendix D.4 of its first edition: three-key and two-key triple DES.
#[test]
fn cmac_with_triple_des() {
    let message = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    for (key, macs) in [
        (
            "8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5",
            ["b7a688e122ffaf95", "8e8f293136283797", "743ddbe0ce2dc2ed", "33e6b1092400eae5"],
        ),
        (
            "4cf15134a2850dd58a3d10ba80570d38",
            ["bd2ebf9a3ba00361", "4ff2ab813c53ce83", "62dd1b471902bd4e", "31b1e431dabc4eb8"],
        ),
    ] {
        for (len, mac) in [0, 8, 20, 32].into_iter().zip(macs) {
            let made = whole(CKM_DES3_CMAC, Use::Sign, &Params::None, &hex(key), &message[..len]);
            assert_eq!(made, Ok(hex(mac)), "{key} {len}");
        }
    }
}

#[test]
fn derivation_encrypts_the_data() {
    let mut seen = 0;
    for row in rows(CKF_DERIVE) {
        let (block, key) = (block_of_row(row), key_of(row));
        let plain = data(3 * block);
        let (params, expected): (fn(usize, &[u8]) -> Params, _) = if row.params == ParamKind::Data {
            (|_, data| Params::Data(data.into()), ecb(row, &key, &plain))
        } else {
            let params = |block: usize, data: &[u8]| Params::CbcData { iv: vec![1; block].into(), data: data.into() };
            (params, cbc(row, &key, &vec![1; block], &plain))
        };
        let run = |data: &[u8], length| derive(row.ty, &params(block, data), &key, length);
        assert_eq!(run(&plain, None).as_ref(), Ok(&expected), "{}", row.name);
        assert_eq!(run(&plain, Some(block + 3)), Ok(expected[..block + 3].to_vec()), "{}", row.name);
        assert_eq!(run(&plain, Some(3 * block + 1)), Err(Code::DataLenRange), "{}", row.name);
        for bad in [0, 1, block - 1, block + 1] {
            assert_eq!(run(&plain[..bad], Some(1)), Err(Code::MechanismParamInvalid), "{}", row.name);
        }
        if row.params != ParamKind::Data {
            let refused = derive(row.ty, &params(24 - block, &plain), &key, None);
            assert_eq!(refused, Err(Code::MechanismParamInvalid), "{}: an IV of another block", row.name);
        }
        seen += 1;
    }
    assert_eq!(seen, 5 * 2);
}

#[test]
fn keys_are_generated_in_their_sizes_and_no_other() {
    let mut seen = 0;
    for row in rows(CKF_GENERATE) {
        let (least, most) = row.size;
        if least == most {
            assert_eq!(generate(row.ty, None).unwrap().len() as u64, most, "{}", row.name);
            assert_ne!(generate(row.ty, Some(most)), generate(row.ty, Some(most)), "{}", row.name);
            assert_eq!(generate(row.ty, Some(most + 1)), Err(Code::TemplateInconsistent), "{}", row.name);
        } else {
            assert_eq!(generate(row.ty, None), Err(Code::TemplateIncomplete), "{}", row.name);
            for len in 0..40 {
                let made = generate(row.ty, Some(len)).map(|value| value.len() as u64);
                let fits = matches!(len, 16 | 24 | 32);
                assert_eq!(made, if fits { Ok(len) } else { Err(Code::AttributeValueInvalid) }, "{}", row.name);
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn keys_parameters_and_uses_that_do_not_fit() {
    for row in ROWS.iter().filter(|row| row.does.begin.is_some()) {
        let (right, wrong) =
            if row.flags & CKF_SIGN != 0 { (Use::Sign, Use::Encrypt) } else { (Use::Encrypt, Use::Sign) };
        let params = match row.params {
            ParamKind::Iv(len) => iv_of(len, 1),
            ParamKind::Ctr => Params::Ctr { counter_bits: 64, block: [0; 16] },
            ParamKind::MacLength => Params::MacLength(4),
            _ => Params::None,
        };
        let good = key_of(row);
        assert!(begin(row.ty, right, &params, &good).is_ok(), "{}", row.name);
        assert_eq!(begin(row.ty, wrong, &params, &good).err(), Some(Code::MechanismInvalid), "{}", row.name);
        for len in [0, 7, 9, 15, 17, 33] {
            let refused = begin(row.ty, right, &params, &vec![1; len]).err();
            assert_eq!(refused, Some(Code::KeySizeRange), "{} {len}", row.name);
        }
        let stray = begin(row.ty, right, &Params::Number(1), &good).err();
        assert_eq!(stray, Some(Code::MechanismParamInvalid), "{}", row.name);
        if let ParamKind::Iv(len) = row.params {
            let refused = begin(row.ty, right, &iv_of(24 - len, 1), &good).err();
            assert_eq!(refused, Some(Code::MechanismParamInvalid), "{}", row.name);
        }
        let none = row_begin_without_key(row, right, &params);
        assert_eq!(none, Some(Code::KeyHandleInvalid), "{}", row.name);
    }
    // A part of a block.
    assert_eq!(whole(CKM_DES_ECB, Use::Encrypt, &Params::None, &[1; 8], &[0; 9]), Err(Code::DataLenRange));
    let refused = whole(CKM_DES3_CBC, Use::Decrypt, &iv_of(8, 1), &[1; 24], &[0; 9]);
    assert_eq!(refused, Err(Code::EncryptedDataLenRange));
    let refused = whole(CKM_DES3_CBC_PAD, Use::Decrypt, &iv_of(8, 1), &[1; 24], &[0; 8]);
    assert_eq!(refused, Err(Code::EncryptedDataInvalid));
    assert!(
        row(CKM_DES3_ECB).unwrap().does.wrap_multiple == 8 && row(CKM_ARIA_CBC_PAD).unwrap().does.wrap_multiple == 1
    );
}

fn row_begin_without_key(row: &'static Row, what: Use, params: &Params) -> Option<Code> {
    row.does.begin.unwrap()(row, what, params, None).err().map(|e| e.code())
}
