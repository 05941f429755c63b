//! The standards' own numbers, parts against the whole, and every length and parameter that does not fit.

use super::super::table::row;
use super::super::testing::*;
use super::*;

fn at(block: u64, nonce: &[u8]) -> Params {
    Params::Salsa { block, nonce: nonce.into() }
}

fn sealed(nonce: &[u8], aad: &[u8]) -> Params {
    Params::SalsaAead { nonce: nonce.into(), aad: aad.into() }
}

fn stream(ty: CK_MECHANISM_TYPE, params: &Params, key: &[u8], len: usize) -> Vec<u8> {
    whole(ty, Use::Encrypt, params, key, &vec![0; len]).unwrap()
}

/// RFC 8439, 2.4.2; the zero key of the original ChaCha20; eSTREAM's set 1, vector 0, for Salsa20; NaCl's own for XSalsa20.
#[test]
fn streams_of_the_standards() {
    let counting: Vec<u8> = (0..32).collect();
    let text =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would \
        be it.";
    let made = whole(CKM_CHACHA20, Use::Encrypt, &at(1, &hex("000000000000004a00000000")), &counting, text);
    let expected =
        hex("6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357
         1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736
         5af90bbf74a35be6b40b8eedf2785e42874d");
    assert_eq!(made, Ok(expected));
    let expected = hex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7");
    assert_eq!(stream(CKM_CHACHA20, &at(0, &[0; 8]), &[0; 32], 32), expected);
    let key = [&[0x80][..], &[0; 31]].concat();
    let expected = hex("e3be8fdd8beca2e3ea8ef9475b29a6e7003951e1097a5c38d23b7a5fad9f6844
         b22c97559e2723c7cbbd3fe4fc8d9a0744652a83e72a9c461876af4d7ef1a117");
    assert_eq!(stream(CKM_SALSA20, &at(0, &[0; 8]), &key, 64), expected);
    let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
    let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
    let expected = hex("eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880");
    assert_eq!(stream(CKM_SALSA20, &at(0, &nonce), &key, 32), expected);
}

/// RFC 8439, 2.5.2 and the first of A.3.
#[test]
fn poly1305_of_the_standard() {
    let key = hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b");
    let tag = hex("a8061dc1305136c6c22b8baf0c0127a9");
    assert_eq!(whole(CKM_POLY1305, Use::Sign, &Params::None, &key, b"Cryptographic Forum Research Group"), Ok(tag));
    assert_eq!(whole(CKM_POLY1305, Use::Sign, &Params::None, &[0; 32], &[0; 64]), Ok(vec![0; 16]));
    mac_in_parts(CKM_POLY1305, &key, &Params::None, 16);
}

/// draft-agl-tls-chacha20poly1305-04, 7. RFC 8439's construction and XChaCha20's are in tests/symmetric.
#[test]
fn the_older_sealing_of_the_draft() {
    let key = hex("4290bcb154173531f314af57f3be3b5006da371ece272afa1b5dbdd1100a1007");
    let params = sealed(&hex("cd7cf67be39c794a"), &hex("87e229d4500845a079c0"));
    let made = whole(CKM_CHACHA20_POLY1305, Use::Encrypt, &params, &key, &hex("86d09974840bded2a5ca"));
    assert_eq!(made, Ok(hex("e3e446f7ede9a19b62a4677dabf4e3d24b876bb284753896e1d6")));
}

/// Written out from the definition, for both ciphers and all nonces: the stream's block 0 keys Poly1305, block 1 on
/// encrypts.
#[test]
fn sealing_is_that_of_its_definition() {
    for (ty, plain_ty, nonces) in
        [(CKM_CHACHA20_POLY1305, CKM_CHACHA20, &[8, 12, 24][..]), (CKM_SALSA20_POLY1305, CKM_SALSA20, &[8, 24])]
    {
        for &nonce in nonces {
            for (aad_len, len) in [(0, 0), (5, 0), (16, 16), (20, 70)] {
                let (key, nonce, aad, plain) = (data(32), data(nonce), data(aad_len), data(len));
                let mac_key = &stream(plain_ty, &at(0, &nonce), &key, 64)[..32];
                let cipher = whole(plain_ty, Use::Encrypt, &at(1, &nonce), &key, &plain).unwrap();
                let filled = |part: &[u8]| [part, &vec![0; part.len().next_multiple_of(16) - part.len()]].concat();
                let length = |part: &[u8]| (part.len() as u64).to_le_bytes().to_vec();
                let message = if nonce.len() == 8 {
                    [aad.clone(), length(&aad), cipher.clone(), length(&cipher)].concat()
                } else {
                    [filled(&aad), filled(&cipher), length(&aad), length(&cipher)].concat()
                };
                let tag = whole(CKM_POLY1305, Use::Sign, &Params::None, mac_key, &message).unwrap();
                let made = whole(ty, Use::Encrypt, &sealed(&nonce, &aad), &key, &plain);
                assert_eq!(made, Ok([cipher, tag].concat()), "{ty:#x} {} {aad_len} {len}", nonce.len());
            }
        }
    }
}

#[test]
fn ciphers_in_parts_and_again() {
    let lengths = || [0, 1, 15, 16, 17, 63, 64, 65, 130].into_iter();
    for (ty, one, other) in [
        (CKM_CHACHA20, at(0, &[1; 8]), at(7, &[1; 12])),
        (CKM_CHACHA20, at(u64::MAX - 9, &[1; 24]), at(1, &[1; 24])),
        (CKM_SALSA20, at(0, &[1; 8]), at(1 << 40, &[1; 24])),
        (CKM_CHACHA20_POLY1305, sealed(&[1; 12], b"a"), sealed(&[1; 24], b"")),
        (CKM_CHACHA20_POLY1305, sealed(&[1; 8], b"a"), sealed(&[2; 8], &[5; 16])),
        (CKM_SALSA20_POLY1305, sealed(&[1; 24], b"a"), sealed(&[1; 8], &[5; 31])),
    ] {
        cipher_in_parts(ty, &data(32), |_| one.clone(), |_| other.clone(), lengths());
    }
}

/// Block n of a stream is what a stream that begins at n gives first.
#[test]
fn the_block_counter_is_open_and_never_runs_over() {
    for (ty, nonce, last) in [
        (CKM_CHACHA20, 8, u64::MAX),
        (CKM_CHACHA20, 12, u64::from(u32::MAX)),
        (CKM_CHACHA20, 24, u64::MAX),
        (CKM_SALSA20, 8, u64::MAX),
        (CKM_SALSA20, 24, u64::MAX),
    ] {
        let (key, nonce) = (data(32), data(nonce));
        let whole_stream = stream(ty, &at(5, &nonce), &key, 256);
        assert_eq!(stream(ty, &at(7, &nonce), &key, 128), whole_stream[128..]);
        let two_left = at(last - 2, &nonce);
        assert_eq!(stream(ty, &two_left, &key, 128).len(), 128);
        let over = whole(ty, Use::Encrypt, &two_left, &key, &[0; 129]);
        assert_eq!(over, Err(Code::DataLenRange), "{ty:#x} {}", nonce.len());
        let mut operation = begin(ty, Use::Decrypt, &two_left, &key).unwrap();
        step(&mut *operation, Step::Update, &[0; 128]).unwrap();
        assert_eq!(operation.update(&[0], &mut [0]).unwrap_err().code(), Code::DataLenRange);
    }
    let refused = begin(CKM_CHACHA20, Use::Encrypt, &at(1 << 32, &[1; 12]), &data(32)).err();
    assert_eq!(refused, Some(Code::MechanismParamInvalid));
}

#[test]
fn keys_nonces_parameters_and_uses_that_do_not_fit() {
    for row in ROWS.iter().filter(|row| row.does.begin.is_some()) {
        let sealing = row.params == ParamKind::SalsaAead;
        let (right, wrong) =
            if row.flags & CKF_SIGN != 0 { (Use::Sign, Use::Encrypt) } else { (Use::Encrypt, Use::Sign) };
        let params = |nonce: usize| match row.params {
            ParamKind::None => Params::None,
            _ if sealing => sealed(&data(nonce), b"aad"),
            _ => at(0, &data(nonce)),
        };
        let run = |what, params: &Params, key: &[u8]| begin(row.ty, what, params, key).err();
        assert_eq!(run(right, &params(24), &data(32)), None, "{}", row.name);
        assert_eq!(run(wrong, &params(24), &data(32)), Some(Code::MechanismInvalid), "{}", row.name);
        assert_eq!(run(right, &Params::Number(1), &data(32)), Some(Code::MechanismParamInvalid), "{}", row.name);
        for len in [0, 16, 31, 33] {
            assert_eq!(run(right, &params(24), &data(len)), Some(Code::KeySizeRange), "{}", row.name);
        }
        for nonce in (0..30).filter(|_| row.params != ParamKind::None) {
            let good = matches!(nonce, 8 | 24) || nonce == 12 && row.keys.contains(&CKK_CHACHA20);
            let expected = (!good).then_some(Code::MechanismParamInvalid);
            assert_eq!(run(right, &params(nonce), &data(32)), expected, "{} {nonce}", row.name);
        }
    }
}

#[test]
fn nothing_is_released_before_the_tag() {
    for ty in [CKM_CHACHA20_POLY1305, CKM_SALSA20_POLY1305] {
        let (params, key) = (sealed(&[1; 24], b"aad"), data(32));
        let mut message = whole(ty, Use::Encrypt, &params, &key, &data(40)).unwrap();
        for bit in 0..message.len() * 8 {
            message[bit / 8] ^= 1 << (bit % 8);
            let mut operation = begin(ty, Use::Decrypt, &params, &key).unwrap();
            let mut out = [0x55; 40];
            assert_eq!(operation.whole(&message, &mut out).unwrap_err().code(), Code::EncryptedDataInvalid, "{bit}");
            assert_eq!(out, [0; 40], "wiped");
            message[bit / 8] ^= 1 << (bit % 8);
        }
        let other = whole(ty, Use::Decrypt, &sealed(&[1; 24], b"aaD"), &key, &message);
        assert_eq!(other, Err(Code::EncryptedDataInvalid));
        let short = whole(ty, Use::Decrypt, &params, &key, &message[..15]);
        assert_eq!(short, Err(Code::EncryptedDataLenRange));
    }
}

#[test]
fn keys_are_generated() {
    for ty in [CKM_CHACHA20_KEY_GEN, CKM_SALSA20_KEY_GEN, CKM_POLY1305_KEY_GEN] {
        let made = generate(ty, None).unwrap();
        assert_eq!(made.len(), 32);
        assert_ne!(generate(ty, Some(32)).unwrap(), made);
        assert_eq!(generate(ty, Some(16)), Err(Code::TemplateInconsistent));
        assert!(row(ty).unwrap().does.begin.is_none());
    }
}
