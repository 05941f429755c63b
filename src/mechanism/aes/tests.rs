//! Parts against the whole, restarts, lengths and codes. Published vectors are in tests/symmetric.

use super::super::table::row;
use super::super::testing::{
    self, begin as begin_with, cipher_in_parts, data, derive, in_parts, key, mac_in_parts, step,
};
use super::*;
use crate::object::Attributes;
use crate::token::{Attribute, Step};

const KEY: [u8; 32] = [
    0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81, 0x1f, 0x35, 0x2c,
    0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
];

fn begin(ty: CK_MECHANISM_TYPE, what: Use, params: &Params) -> Result<Box<dyn Operation>, Code> {
    begin_with(ty, what, params, &KEY)
}

fn whole(ty: CK_MECHANISM_TYPE, what: Use, params: &Params, input: &[u8]) -> Result<Vec<u8>, Code> {
    testing::whole(ty, what, params, &KEY, input)
}

fn iv_of(byte: u8) -> Params {
    Params::Iv([byte; BLOCK].as_slice().into())
}

fn gcm_params(iv: &[u8], tag_bits: u64) -> Params {
    Params::Gcm { iv: iv.into(), aad: b"header"[..].into(), tag_bits }
}

/// Every cipher that takes parts, with two sets of parameters, and the step in which its lengths go.
fn ciphers() -> Vec<(CK_MECHANISM_TYPE, Params, Params, usize)> {
    let counter = |bits, byte| Params::Ctr { counter_bits: bits, block: [byte; BLOCK] };
    vec![
        (CKM_AES_ECB, Params::None, Params::None, 16),
        (CKM_AES_CBC, iv_of(1), iv_of(2), 16),
        (CKM_AES_CBC_PAD, iv_of(1), iv_of(2), 1),
        (CKM_AES_CTR, counter(128, 1), counter(32, 2), 1),
        (CKM_AES_OFB, iv_of(1), iv_of(2), 1),
        (CKM_AES_CFB1, iv_of(1), iv_of(2), 1),
        (CKM_AES_CFB8, iv_of(1), iv_of(2), 1),
        (CKM_AES_CFB64, iv_of(1), iv_of(2), 1),
        (CKM_AES_CFB128, iv_of(1), iv_of(2), 1),
        (CKM_AES_GCM, gcm_params(&[1; 12], 128), gcm_params(&[2; 60], 96), 1),
    ]
}

#[test]
fn parts_make_the_whole_at_every_split_in_both_directions_and_again_after_a_restart() {
    for (ty, params, others, multiple) in ciphers() {
        let lengths = [0, 1, 15, 16, 17, 31, 32, 33, 48, 64, 80].into_iter().filter(|len| len % multiple == 0);
        cipher_in_parts(ty, &KEY, |_| params.clone(), |_| others.clone(), lengths);
    }
}

fn ccm_params(len: usize, nonce: &[u8], mac_len: u64) -> Params {
    Params::Ccm { data_len: len as u64, nonce: nonce.into(), aad: b"header"[..].into(), mac_len }
}

/// The lengths at which bytes are kept, stolen and released in another way.
const STEALING: [usize; 14] = [16, 17, 20, 31, 32, 33, 36, 47, 48, 49, 63, 64, 65, 100];

#[test]
fn ciphers_with_rules_for_their_lengths_in_parts() {
    cipher_in_parts(CKM_AES_CTS, &KEY, |_| iv_of(1), |_| iv_of(2), STEALING.into_iter());
    for key in [&data(32), &data(64)] {
        cipher_in_parts(CKM_AES_XTS, key, |_| iv_of(1), |_| iv_of(2), STEALING.into_iter());
        // Past one batch of blocks.
        cipher_in_parts(CKM_AES_XTS, key, |_| iv_of(1), |_| iv_of(2), [530].into_iter());
    }
    let one = |len| ccm_params(len, &[1; 7], 16);
    let other = |len| ccm_params(len, &[2; 13], 4);
    cipher_in_parts(CKM_AES_CCM, &KEY, one, other, [0, 1, 15, 16, 17, 33, 64].into_iter());
}

/// SP 800-38A's addendum: CS1 is CBC over data filled up with zeros, without the bytes of the last block but one that the
/// zeros stand for.
#[test]
fn cts_is_cbc_without_the_stolen_bytes() {
    for len in STEALING {
        let plain = data(len);
        let filled = [&plain[..], &vec![0; len.next_multiple_of(BLOCK) - len]].concat();
        let mut expected = whole(CKM_AES_CBC, Use::Encrypt, &iv_of(5), &filled).unwrap();
        let last = filled.len() - BLOCK;
        expected.drain(last - (filled.len() - len)..last);
        assert_eq!(whole(CKM_AES_CTS, Use::Encrypt, &iv_of(5), &plain), Ok(expected), "{len}");
    }
}

/// IEEE 1619, 5.3: whole blocks each by their own tweak; only a part of a block steals from the one before.
#[test]
fn xts_blocks_do_not_depend_on_their_neighbours() {
    let key = data(64);
    let sealed = |len| testing::whole(CKM_AES_XTS, Use::Encrypt, &iv_of(5), &key, &data(len)).unwrap();
    let long = sealed(640);
    for blocks in 1..40 {
        assert_eq!(sealed(blocks * BLOCK), long[..blocks * BLOCK], "{blocks}");
        let stolen = sealed(blocks * BLOCK + 5);
        assert_eq!(stolen[blocks * BLOCK..], long[(blocks - 1) * BLOCK..][..5], "{blocks}");
    }
}

#[test]
fn stealing_needs_a_block_and_a_data_unit_has_an_end() {
    for (ty, key) in [(CKM_AES_CTS, &KEY[..]), (CKM_AES_XTS, &data(64))] {
        for (what, code) in [(Use::Encrypt, Code::DataLenRange), (Use::Decrypt, Code::EncryptedDataLenRange)] {
            for len in [0, 1, 15] {
                assert_eq!(testing::whole(ty, what, &iv_of(1), key, &data(len)), Err(code), "{ty:#x} {len}");
                let mut operation = begin_with(ty, what, &iv_of(1), key).unwrap();
                assert_eq!(in_parts(&mut *operation, &[&data(len)]), Err(code), "{ty:#x} {len}");
                assert!(operation.restart(&iv_of(1)));
                operation.update(&data(len), &mut []).unwrap();
                assert_eq!(operation.finish(&mut [0; 16]).unwrap_err().code(), code, "not only by its size");
            }
            let mut operation = begin_with(ty, what, &iv_of(1), key).unwrap();
            assert_eq!(operation.size(Step::Whole, (1 << 24) + 1).is_err(), ty == CKM_AES_XTS);
            assert!(operation.size(Step::Whole, 1 << 24).is_ok());
        }
    }
}

#[test]
fn an_xts_key_of_two_same_halves_only_decrypts() {
    let weak = [7; 32];
    let refused = begin_with(CKM_AES_XTS, Use::Encrypt, &iv_of(1), &weak).err();
    assert_eq!(refused, Some(Code::KeyFunctionNotPermitted));
    assert!(begin_with(CKM_AES_XTS, Use::Decrypt, &iv_of(1), &weak).is_ok());
    for len in 0..70 {
        let made = testing::generate(CKM_AES_XTS_KEY_GEN, Some(len));
        match len {
            32 | 64 => assert!(made.is_ok_and(|key| key.len() as u64 == len && key[..16] != key[16..32])),
            _ => assert_eq!(made, Err(Code::AttributeValueInvalid)),
        }
    }
}

#[test]
fn ccm_takes_what_it_announces_and_no_other() {
    for what in [Use::Encrypt, Use::Decrypt] {
        for nonce in (0..=20).filter(|len| !(7..=13).contains(len)) {
            let refused = begin(CKM_AES_CCM, what, &ccm_params(20, &vec![1; nonce], 16)).err();
            assert_eq!(refused, Some(Code::MechanismParamInvalid), "{nonce}");
        }
        for mac_len in (0..=20).chain([u64::MAX]) {
            let made = begin(CKM_AES_CCM, what, &ccm_params(20, &[1; 12], mac_len)).err();
            let good = matches!(mac_len, 4 | 6 | 8 | 10 | 12 | 14 | 16);
            assert_eq!(made, (!good).then_some(Code::MechanismParamInvalid), "{mac_len}");
        }
        // With 13 bytes of nonce two are left for the length.
        assert!(begin(CKM_AES_CCM, what, &ccm_params(0xffff, &[1; 13], 16)).is_ok());
        let refused = begin(CKM_AES_CCM, what, &ccm_params(0x10000, &[1; 13], 16)).err();
        assert_eq!(refused, Some(Code::MechanismParamInvalid));
        assert!(begin(CKM_AES_CCM, what, &ccm_params(usize::MAX, &[1; 7], 16)).is_ok());
    }
    let params = ccm_params(20, &[1; 12], 8);
    for len in [0, 19, 21] {
        assert_eq!(whole(CKM_AES_CCM, Use::Encrypt, &params, &data(len)), Err(Code::DataLenRange), "{len}");
        let refused = whole(CKM_AES_CCM, Use::Decrypt, &params, &data(len + 8));
        assert_eq!(refused, Err(Code::EncryptedDataLenRange), "{len}");
        let mut operation = begin(CKM_AES_CCM, Use::Encrypt, &params).unwrap();
        assert_eq!(in_parts(&mut *operation, &[&data(len)]), Err(Code::DataLenRange), "{len}");
    }
    let mut sealed = whole(CKM_AES_CCM, Use::Encrypt, &params, &data(20)).unwrap();
    for bit in 0..sealed.len() * 8 {
        sealed[bit / 8] ^= 1 << (bit % 8);
        let mut out = [0x55; 20];
        let mut operation = begin(CKM_AES_CCM, Use::Decrypt, &params).unwrap();
        assert_eq!(operation.whole(&sealed, &mut out).unwrap_err().code(), Code::EncryptedDataInvalid, "{bit}");
        assert_eq!(out, [0; 20], "wiped");
        sealed[bit / 8] ^= 1 << (bit % 8);
    }
    // Wrapping announces nothing: the length is the key's.
    assert_eq!(ccm_params(0, &[1; 12], 8).for_wrapping(20), params);
    assert_eq!(ccm_params(99, &[1; 12], 8).for_unwrapping(28), params);
    assert_eq!(ccm_params(0, &[1; 12], 8).for_unwrapping(7), ccm_params(0, &[1; 12], 8));
}

/// SP 800-38D, 3: GMAC is the tag of GCM over additional data alone.
#[test]
fn gmac_is_gcms_tag_over_additional_data() {
    let params = |bits| Params::Gcm { iv: [3; 12][..].into(), aad: Default::default(), tag_bits: bits };
    mac_in_parts(CKM_AES_GMAC, &KEY, &params(128), 16);
    mac_in_parts(CKM_AES_GMAC, &KEY, &params(32), 4);
    for len in [0, 1, 16, 40] {
        let sealed = Params::Gcm { iv: [3; 12][..].into(), aad: data(len).into(), tag_bits: 96 };
        let tag = whole(CKM_AES_GCM, Use::Encrypt, &sealed, &[]);
        assert_eq!(whole(CKM_AES_GMAC, Use::Sign, &params(96), &data(len)), tag);
    }
    for bad in [gcm_params(&[3; 12], 128), params(24), params(129), Params::MacLength(16), gcm_params(&[], 128)] {
        assert_eq!(begin(CKM_AES_GMAC, Use::Sign, &bad).err(), Some(Code::MechanismParamInvalid));
    }
}

#[test]
fn macs_in_parts_and_again_after_a_restart() {
    for (ty, params, len) in [
        (CKM_AES_CMAC, Params::None, 16),
        (CKM_AES_CMAC_GENERAL, Params::MacLength(5), 5),
        (CKM_AES_MAC, Params::None, 8),
        (CKM_AES_MAC_GENERAL, Params::MacLength(16), 16),
        (CKM_AES_XCBC_MAC, Params::None, 16),
        (CKM_AES_XCBC_MAC_96, Params::None, 12),
    ] {
        mac_in_parts(ty, &KEY[..16], &params, len);
    }
    for len in [0, 17, u64::MAX] {
        let refused = begin(CKM_AES_CMAC_GENERAL, Use::Sign, &Params::MacLength(len)).err();
        assert_eq!(refused, Some(Code::MechanismParamInvalid));
    }
    assert_eq!(begin(CKM_AES_XCBC_MAC, Use::Sign, &Params::None).err(), Some(Code::KeySizeRange));
}

/// RFC 3566, 4.6.
#[test]
fn xcbc_vectors() {
    let key: Vec<u8> = (0..16).collect();
    for (len, mac) in [
        (0u8, 0x75f0251d528ac01c4573dfd584d79f29u128),
        (3, 0x5b376580ae2f19afe7219ceef172756f),
        (16, 0xd2a246fa349b68a79998a4394ff7a263),
        (20, 0x47f51b4564966215b8985c63055ed308),
        (32, 0xf54f0ec8d2b9f3d36807734bd5283fd4),
    ] {
        let message: Vec<u8> = (0..len).collect();
        let mut operation = begin_with(CKM_AES_XCBC_MAC, Use::Sign, &Params::None, &key).unwrap();
        assert_eq!(step(&mut *operation, Step::Whole, &message).unwrap(), mac.to_be_bytes(), "{len}");
    }
}

/// CBC-MAC is the last block of CBC from a zero IV over zero-padded data; CFB-64 is written out from SP 800-38A, 6.3.
#[test]
fn modes_without_vectors_follow_their_definition() {
    for len in [1, 16, 40] {
        let message = data(len);
        let padded = [&message[..], &vec![0; len.next_multiple_of(BLOCK) - len]].concat();
        let chained = whole(CKM_AES_CBC, Use::Encrypt, &iv_of(0), &padded).unwrap();
        let mac = whole(CKM_AES_MAC_GENERAL, Use::Sign, &Params::MacLength(16), &message).unwrap();
        assert_eq!(mac, chained[chained.len() - BLOCK..]);
        let half = whole(CKM_AES_MAC, Use::Sign, &Params::None, &message).unwrap();
        assert_eq!(half, mac[..8]);
    }
    let message = data(36);
    let (mut register, mut expected) = ([3; BLOCK].to_vec(), Vec::new());
    for segment in message.chunks(8) {
        let stream = whole(CKM_AES_ECB, Use::Encrypt, &Params::None, &register).unwrap();
        let sealed: Vec<u8> = segment.iter().zip(stream).map(|(a, b)| a ^ b).collect();
        register = [&register[sealed.len()..], &sealed].concat();
        expected.extend(sealed);
    }
    assert_eq!(whole(CKM_AES_CFB64, Use::Encrypt, &iv_of(3), &message), Ok(expected));
}

#[test]
fn lengths_that_are_no_blocks_have_their_codes() {
    for (ty, params) in [(CKM_AES_ECB, Params::None), (CKM_AES_CBC, iv_of(1))] {
        for (what, code) in [(Use::Encrypt, Code::DataLenRange), (Use::Decrypt, Code::EncryptedDataLenRange)] {
            assert_eq!(whole(ty, what, &params, &[0; 17]), Err(code));
            assert_eq!(in_parts(&mut *begin(ty, what, &params).unwrap(), &[&[0; 17]]), Err(code));
            let mut operation = begin(ty, what, &params).unwrap();
            operation.update(&[0; 17], &mut [0; 16]).unwrap();
            assert_eq!(operation.finish(&mut [0; 16]).unwrap_err().code(), code, "not only by its size");
            assert_eq!(operation.size(Step::Update, usize::MAX).unwrap_err().code(), code);
        }
    }
    for bad in [0, 1, 15, 17] {
        let refused = whole(CKM_AES_CBC_PAD, Use::Decrypt, &iv_of(1), &vec![0; bad]);
        assert_eq!(refused, Err(Code::EncryptedDataLenRange), "{bad}");
    }
    assert_eq!(
        whole(CKM_AES_GCM, Use::Decrypt, &gcm_params(&[1; 12], 128), &[0; 15]),
        Err(Code::EncryptedDataLenRange)
    );
}

#[test]
fn every_padding_but_the_right_ones_is_refused() {
    for last in 0..=255u8 {
        for good in 0..=16u8 {
            let mut block = [0xaa; BLOCK];
            block[BLOCK - usize::from(good)..].fill(last);
            let sealed = whole(CKM_AES_CBC, Use::Encrypt, &iv_of(1), &block).unwrap();
            let opened = whole(CKM_AES_CBC_PAD, Use::Decrypt, &iv_of(1), &sealed);
            let last = *block.last().unwrap();
            let padding = usize::from(last);
            let right = (1..=BLOCK).contains(&padding) && block[BLOCK - padding..].iter().all(|&byte| byte == last);
            let expected = if right { Ok(block[..BLOCK - padding].to_vec()) } else { Err(Code::EncryptedDataInvalid) };
            assert_eq!(opened, expected, "{block:02x?}");
        }
    }
}

/// "E.g. if ulCounterBits = 2 and the counter bits start as 1 then only 3 blocks of data can be processed."
#[test]
fn a_counter_never_runs_over() {
    let params = |bits, last| {
        let mut block = [0xff; BLOCK];
        block[BLOCK - 1] = last;
        Params::Ctr { counter_bits: bits, block }
    };
    for (bits, last, blocks) in
        [(2, 0b1111_1101, 3), (1, 0, 2), (1, 1, 1), (8, 0xfe, 2), (127, 0xff, 1), (128, 0xff, 1)]
    {
        for what in [Use::Encrypt, Use::Decrypt] {
            let fits = data(blocks * BLOCK);
            assert!(whole(CKM_AES_CTR, what, &params(bits, last), &fits).is_ok(), "{bits}");
            let over = data(blocks * BLOCK + 1);
            assert_eq!(whole(CKM_AES_CTR, what, &params(bits, last), &over), Err(Code::DataLenRange), "{bits}");
            let mut operation = begin(CKM_AES_CTR, what, &params(bits, last)).unwrap();
            step(&mut *operation, Step::Update, &fits).unwrap();
            assert_eq!(operation.update(&[0], &mut [0]).unwrap_err().code(), Code::DataLenRange);
        }
    }
    for bits in [0, 129, u64::MAX] {
        assert_eq!(begin(CKM_AES_CTR, Use::Encrypt, &params(bits, 0)).err(), Some(Code::MechanismParamInvalid));
    }
}

#[test]
fn gcm_releases_nothing_before_the_tag_and_wipes_after_a_wrong_one() {
    let params = gcm_params(&[1; 12], 128);
    let mut sealed = whole(CKM_AES_GCM, Use::Encrypt, &params, &data(40)).unwrap();
    let mut operation = begin(CKM_AES_GCM, Use::Decrypt, &params).unwrap();
    assert_eq!(step(&mut *operation, Step::Update, &sealed), Ok(vec![]));
    assert_eq!(step(&mut *operation, Step::Finish, &[]), Ok(data(40)));
    sealed[3] ^= 1;
    let mut out = [0x55; 40];
    assert!(operation.restart(&params));
    assert_eq!(operation.whole(&sealed, &mut out).unwrap_err().code(), Code::EncryptedDataInvalid);
    assert_eq!(out, [0; 40]);
    assert!(operation.restart(&params));
    operation.update(&sealed, &mut []).unwrap();
    out.fill(0x55);
    assert_eq!(operation.finish(&mut out).unwrap_err().code(), Code::EncryptedDataInvalid);
    assert_eq!(out, [0; 40]);
}

#[test]
fn gcm_takes_tags_of_4_to_16_bytes_and_any_iv_but_none() {
    let full = whole(CKM_AES_GCM, Use::Encrypt, &gcm_params(&[1; 12], 128), &data(20)).unwrap();
    for bits in (0..=140).chain([u64::MAX]) {
        let params = gcm_params(&[1; 12], bits);
        let sealed = whole(CKM_AES_GCM, Use::Encrypt, &params, &data(20));
        if bits % 8 == 0 && (32..=128).contains(&bits) {
            assert_eq!(sealed.as_deref(), Ok(&full[..20 + bits as usize / 8]));
            assert_eq!(whole(CKM_AES_GCM, Use::Decrypt, &params, &sealed.unwrap()), Ok(data(20)));
        } else {
            assert_eq!(sealed, Err(Code::MechanismParamInvalid), "{bits}");
        }
    }
    // Long after short and short after long, in one operation: each as in a new one.
    let mut operation = begin(CKM_AES_GCM, Use::Encrypt, &gcm_params(&[1; 12], 128)).unwrap();
    for len in [1, 16, 17, 1000, 12, 64, 8, 2000, 5] {
        let params = gcm_params(&vec![9; len], 128);
        assert!(operation.restart(&params));
        let sealed = step(&mut *operation, Step::Whole, &data(20));
        assert_eq!(sealed, whole(CKM_AES_GCM, Use::Encrypt, &params, &data(20)), "{len}");
    }
    assert!(!operation.restart(&gcm_params(&[], 128)));
    let refused = begin(CKM_AES_GCM, Use::Encrypt, &gcm_params(&[], 128)).err();
    assert_eq!(refused, Some(Code::MechanismParamInvalid));
}

#[test]
fn key_wrapping_with_the_standard_and_with_given_values() {
    let given = |len| Params::Iv(vec![0x17; len].into());
    for (ty, iv_len, least, multiple) in [
        (CKM_AES_KEY_WRAP, 8, 16, 8),
        (CKM_AES_KEY_WRAP_PKCS7, 8, 8, 1),
        (CKM_AES_KEY_WRAP_KWP, 4, 1, 1),
        (CKM_AES_KEY_WRAP_PAD, 4, 1, 1),
    ] {
        for len in 0..=40 {
            let key = data(len);
            let wrapped = whole(ty, Use::Encrypt, &Params::None, &key);
            if len < least || len % multiple != 0 {
                assert_eq!(wrapped, Err(Code::DataLenRange), "{ty:#x} {len}");
                continue;
            }
            let wrapped = wrapped.unwrap();
            assert!(wrapped.len() > len && wrapped.len().is_multiple_of(8));
            assert_eq!(whole(ty, Use::Decrypt, &Params::None, &wrapped), Ok(key.clone()), "{ty:#x} {len}");
            let otherwise = whole(ty, Use::Encrypt, &given(iv_len), &key).unwrap();
            assert_ne!(otherwise, wrapped);
            assert_eq!(whole(ty, Use::Decrypt, &given(iv_len), &otherwise), Ok(key), "{ty:#x} {len}");
            let refused = whole(ty, Use::Decrypt, &Params::None, &otherwise);
            assert_eq!(refused, Err(Code::EncryptedDataInvalid), "{ty:#x} {len}");
            for bit in 0..wrapped.len() * 8 {
                let mut wrong = wrapped.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                let mut operation = begin(ty, Use::Decrypt, &Params::None).unwrap();
                let mut out = vec![0x55; wrong.len() - 8];
                assert_eq!(operation.whole(&wrong, &mut out).unwrap_err().code(), Code::EncryptedDataInvalid);
                assert!(out.iter().all(|&byte| byte == 0), "{ty:#x} {len}: wiped");
            }
        }
        for len in [0, 7, 8, 15, 25] {
            let refused = whole(ty, Use::Decrypt, &Params::None, &vec![0; len]);
            assert_eq!(refused, Err(Code::EncryptedDataLenRange), "{ty:#x} {len}");
        }
        let refused = begin(ty, Use::Encrypt, &given(12 - iv_len)).err();
        assert_eq!(refused, Some(Code::MechanismParamInvalid));
        let mut operation = begin(ty, Use::Encrypt, &Params::None).unwrap();
        assert!(!operation.multi_part());
        assert!(operation.restart(&given(iv_len)) && !operation.restart(&given(12 - iv_len)));
    }
}

/// What RFC 5649 lets a wrapper get wrong: the length in the initial value, and padding that is not zero.
#[test]
fn kwp_with_a_lying_length_or_padding_is_refused() {
    let wrapped_raw = |length: u32, block: &[u8]| {
        let iv = [KWP_IV, length.to_be_bytes()].concat();
        if block.len() == 8 {
            whole(CKM_AES_ECB, Use::Encrypt, &Params::None, &[&iv[..], block].concat()).unwrap()
        } else {
            whole(CKM_AES_KEY_WRAP, Use::Encrypt, &Params::Iv(iv[..].into()), block).unwrap()
        }
    };
    for (len, good) in [(8, 1..=8), (16, 9..=16), (24, 17..=24)] {
        for length in (0..=40).chain([u32::MAX]) {
            let opened = whole(CKM_AES_KEY_WRAP_KWP, Use::Decrypt, &Params::None, &wrapped_raw(length, &vec![0; len]));
            let expected = match good.contains(&length) {
                true => Ok(vec![0; length as usize]),
                false => Err(Code::EncryptedDataInvalid),
            };
            assert_eq!(opened, expected, "{len} {length}");
        }
        for at in 1..=7 {
            let mut block = vec![0; len];
            block[len - at] = 1;
            for padding in 0..8 {
                let sealed = wrapped_raw((len - padding) as u32, &block);
                let opened = whole(CKM_AES_KEY_WRAP_KWP, Use::Decrypt, &Params::None, &sealed);
                assert_eq!(opened.is_ok(), at > padding, "{len} {at} {padding}");
            }
        }
    }
}

#[test]
fn keys_parameters_and_uses_that_do_not_fit() {
    for row in ROWS.iter().filter(|row| row.does.begin.is_some()) {
        let signs = row.flags & CKF_SIGN != 0;
        let what = if signs { Use::Sign } else { Use::Encrypt };
        let params = match row.params {
            ParamKind::Iv(_) => iv_of(1),
            ParamKind::Ctr => Params::Ctr { counter_bits: 64, block: [0; BLOCK] },
            ParamKind::Gcm => Params::Gcm { iv: [1; 12][..].into(), aad: Default::default(), tag_bits: 128 },
            ParamKind::Ccm => ccm_params(4, &[1; 12], 16),
            ParamKind::MacLength => Params::MacLength(8),
            _ => Params::None,
        };
        let begin = |what, params: &Params, key: Option<&Arc<Key>>| {
            row.does.begin.unwrap()(row, what, params, key).err().map(|e| e.code())
        };
        let good = key(if row.ty == CKM_AES_XTS { &KEY } else { &KEY[..16] });
        assert_eq!(begin(what, &params, Some(&good)), None, "{}", row.name);
        for len in [0, 15, 17, 33] {
            let bad = key(&vec![1; len]);
            assert_eq!(begin(what, &params, Some(&bad)), Some(Code::KeySizeRange), "{}", row.name);
        }
        assert_eq!(begin(what, &params, None), Some(Code::KeyHandleInvalid), "{}", row.name);
        let stray = Params::Data(Default::default());
        assert_eq!(begin(what, &stray, Some(&good)), Some(Code::MechanismParamInvalid), "{}", row.name);
        let wrong = if signs { Use::Encrypt } else { Use::Sign };
        assert_eq!(begin(wrong, &params, Some(&good)), Some(Code::MechanismInvalid), "{}", row.name);
    }
}

#[test]
fn keys_are_generated_in_the_three_sizes_and_no_other() {
    let row = row(CKM_AES_KEY_GEN).unwrap();
    let generate = |template: &Attributes| row.does.generate.unwrap()(row, &Params::None, template);
    for len in 0..40 {
        let template: Attributes = [Attribute::ulong(CKA_VALUE_LEN, len)].into_iter().collect();
        match generate(&template) {
            Ok(made) => {
                let made: Attributes = made.into_iter().collect();
                assert_eq!(made.bytes(CKA_VALUE).unwrap().len() as u64, len);
                assert!(matches!(len, 16 | 24 | 32));
            }
            Err(e) => assert_eq!((e.code(), matches!(len, 16 | 24 | 32)), (Code::AttributeValueInvalid, false)),
        }
    }
    assert_eq!(generate(&Attributes::new()).unwrap_err().code(), Code::TemplateIncomplete);
}

#[test]
fn derivation_encrypts_the_data() {
    let ecb = |len, length| derive(CKM_AES_ECB_ENCRYPT_DATA, &Params::Data(data(len).into()), &KEY, length);
    let cbc = |len, length| {
        let params = Params::CbcData { iv: [1; BLOCK][..].into(), data: data(len).into() };
        derive(CKM_AES_CBC_ENCRYPT_DATA, &params, &KEY, length)
    };
    let by_ecb = whole(CKM_AES_ECB, Use::Encrypt, &Params::None, &data(48)).unwrap();
    let by_cbc = whole(CKM_AES_CBC, Use::Encrypt, &iv_of(1), &data(48)).unwrap();
    assert_eq!((ecb(48, None), cbc(48, None)), (Ok(by_ecb.clone()), Ok(by_cbc.clone())));
    assert_eq!((ecb(48, Some(32)), cbc(48, Some(24))), (Ok(by_ecb[..32].to_vec()), Ok(by_cbc[..24].to_vec())));
    assert_eq!((ecb(16, Some(17)), cbc(16, Some(32))), (Err(Code::DataLenRange), Err(Code::DataLenRange)));
    for bad in [0, 15, 17] {
        assert_eq!(ecb(bad, Some(16)), Err(Code::MechanismParamInvalid));
        assert_eq!(cbc(bad, Some(16)), Err(Code::MechanismParamInvalid));
    }
}
