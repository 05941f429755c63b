//! RSA, ECDSA, Ed25519 and key agreement.

use cryptoki_sys::*;
use openssl::bn::BigNum;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::encrypt::{Decrypter, Encrypter};
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};

use crate::module::{Attr, DECRYPT, ENCRYPT, Module, bytes, mechanism, no, plain, ulong, yes};

/// Both halves of a pair: ours, and the same public key for OpenSSL.
pub struct Pair {
    public: CK_OBJECT_HANDLE,
    pub private: CK_OBJECT_HANDLE,
    pub openssl: PKey<Public>,
}

pub fn generated(module: &Module, ty: CK_MECHANISM_TYPE, parameters: Attr) -> Pair {
    let (public, private) = module.generate_pair(ty, &[parameters], &[yes(CKA_DERIVE), no(CKA_TOKEN)]);
    let info = module.value(public, CKA_PUBLIC_KEY_INFO);
    assert_eq!(module.value(private, CKA_PUBLIC_KEY_INFO), info);
    Pair { public, private, openssl: PKey::public_key_from_der(&info).unwrap() }
}

pub const HASHES: [(CK_MECHANISM_TYPE, CK_RSA_PKCS_MGF_TYPE, &str); 9] = [
    (CKM_SHA_1, CKG_MGF1_SHA1, "SHA1"),
    (CKM_SHA224, CKG_MGF1_SHA224, "SHA224"),
    (CKM_SHA256, CKG_MGF1_SHA256, "SHA256"),
    (CKM_SHA384, CKG_MGF1_SHA384, "SHA384"),
    (CKM_SHA512, CKG_MGF1_SHA512, "SHA512"),
    (CKM_SHA3_224, CKG_MGF1_SHA3_224, "SHA3-224"),
    (CKM_SHA3_256, CKG_MGF1_SHA3_256, "SHA3-256"),
    (CKM_SHA3_384, CKG_MGF1_SHA3_384, "SHA3-384"),
    (CKM_SHA3_512, CKG_MGF1_SHA3_512, "SHA3-512"),
];

const RSA_PKCS: [CK_MECHANISM_TYPE; 9] = [
    CKM_SHA1_RSA_PKCS,
    CKM_SHA224_RSA_PKCS,
    CKM_SHA256_RSA_PKCS,
    CKM_SHA384_RSA_PKCS,
    CKM_SHA512_RSA_PKCS,
    CKM_SHA3_224_RSA_PKCS,
    CKM_SHA3_256_RSA_PKCS,
    CKM_SHA3_384_RSA_PKCS,
    CKM_SHA3_512_RSA_PKCS,
];

const RSA_PSS: [CK_MECHANISM_TYPE; 9] = [
    CKM_SHA1_RSA_PKCS_PSS,
    CKM_SHA224_RSA_PKCS_PSS,
    CKM_SHA256_RSA_PKCS_PSS,
    CKM_SHA384_RSA_PKCS_PSS,
    CKM_SHA512_RSA_PKCS_PSS,
    CKM_SHA3_224_RSA_PKCS_PSS,
    CKM_SHA3_256_RSA_PKCS_PSS,
    CKM_SHA3_384_RSA_PKCS_PSS,
    CKM_SHA3_512_RSA_PKCS_PSS,
];

pub const ECDSA: [CK_MECHANISM_TYPE; 9] = [
    CKM_ECDSA_SHA1,
    CKM_ECDSA_SHA224,
    CKM_ECDSA_SHA256,
    CKM_ECDSA_SHA384,
    CKM_ECDSA_SHA512,
    CKM_ECDSA_SHA3_224,
    CKM_ECDSA_SHA3_256,
    CKM_ECDSA_SHA3_384,
    CKM_ECDSA_SHA3_512,
];

/// The private key of OpenSSL's as an object of ours, and its public half.
fn imported_rsa(module: &Module, key: &Rsa<Private>) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let public = vec![
        ulong(CKA_CLASS, CKO_PUBLIC_KEY),
        ulong(CKA_KEY_TYPE, CKK_RSA),
        bytes(CKA_MODULUS, &key.n().to_vec()),
        bytes(CKA_PUBLIC_EXPONENT, &key.e().to_vec()),
    ];
    let mut private = public.clone();
    private[0] = ulong(CKA_CLASS, CKO_PRIVATE_KEY);
    private.push(bytes(CKA_PRIVATE_EXPONENT, &key.d().to_vec()));
    (module.create(&public), module.create(&private))
}

pub fn rsa_signatures(module: &Module) {
    let data = b"what is signed";
    let pair = generated(module, CKM_RSA_PKCS_KEY_PAIR_GEN, ulong(CKA_MODULUS_BITS, 2048));
    let theirs = Rsa::generate(3072).unwrap();
    let (their_public, their_private) = imported_rsa(module, &theirs);
    let theirs = PKey::from_rsa(theirs).unwrap();
    for (n, (hash_ty, mgf, name)) in HASHES.into_iter().enumerate() {
        let digest = MessageDigest::from_name(name).unwrap();
        let mut pss = CK_RSA_PKCS_PSS_PARAMS { hashAlg: hash_ty, mgf, sLen: digest.size() as CK_ULONG };
        for padding in [Padding::PKCS1, Padding::PKCS1_PSS] {
            let mut make = || match padding {
                Padding::PKCS1 => plain(RSA_PKCS[n]),
                _ => mechanism(RSA_PSS[n], &mut pss),
            };
            let verifies = |key: &PKey<Public>, signature: &[u8]| {
                let mut verifier = Verifier::new(digest, key).unwrap();
                verifier.set_rsa_padding(padding).unwrap();
                verifier.verify_oneshot(signature, data).unwrap()
            };
            let signature = module.sign(make(), pair.private, data);
            assert!(verifies(&pair.openssl, &signature), "{name}");
            assert!(verifies(&pair.openssl, &module.sign_parts(make(), pair.private, data)), "{name} in parts");
            let public = PKey::public_key_from_der(&theirs.public_key_to_der().unwrap()).unwrap();
            assert!(verifies(&public, &module.sign(make(), their_private, data)), "{name}, an imported key");

            let mut signer = Signer::new(digest, &theirs).unwrap();
            signer.set_rsa_padding(padding).unwrap();
            if padding == Padding::PKCS1_PSS {
                signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            }
            let mut signature = signer.sign_oneshot_to_vec(data).unwrap();
            assert_eq!(module.verify(make(), their_public, data, &signature), CKR_OK, "{name}");
            signature[20] ^= 4;
            assert_eq!(module.verify(make(), their_public, data, &signature), CKR_SIGNATURE_INVALID, "{name}");
        }
    }
}

pub fn rsa_encryption(module: &Module) {
    let theirs = Rsa::generate(2048).unwrap();
    let (public, private) = imported_rsa(module, &theirs);
    let theirs = PKey::from_rsa(theirs).unwrap();
    let data = b"thirty-two bytes of a secret key";
    let both_ways = |make: &mut dyn FnMut() -> CK_MECHANISM, oaep: Option<(MessageDigest, &[u8])>| {
        let padding = if oaep.is_some() { Padding::PKCS1_OAEP } else { Padding::PKCS1 };
        let mut decrypter = Decrypter::new(&theirs).unwrap();
        let mut encrypter = Encrypter::new(&theirs).unwrap();
        decrypter.set_rsa_padding(padding).unwrap();
        encrypter.set_rsa_padding(padding).unwrap();
        if let Some((digest, label)) = oaep {
            decrypter.set_rsa_oaep_md(digest).unwrap();
            decrypter.set_rsa_mgf1_md(digest).unwrap();
            encrypter.set_rsa_oaep_md(digest).unwrap();
            encrypter.set_rsa_mgf1_md(digest).unwrap();
            if !label.is_empty() {
                decrypter.set_rsa_oaep_label(label).unwrap();
                encrypter.set_rsa_oaep_label(label).unwrap();
            }
        }
        let ours = module.cipher_once(&ENCRYPT, make(), public, data);
        let mut out = vec![0; 256];
        let len = decrypter.decrypt(&ours, &mut out).unwrap();
        assert_eq!(&out[..len], data);
        let len = encrypter.encrypt(data, &mut out).unwrap();
        assert_eq!(module.cipher(&DECRYPT, make(), private, &out[..len]), data);
    };
    both_ways(&mut || plain(CKM_RSA_PKCS), None);
    for (hash_ty, mgf, name) in HASHES {
        for label in [b"".as_slice(), b"a label"] {
            let mut params = CK_RSA_PKCS_OAEP_PARAMS {
                hashAlg: hash_ty,
                mgf,
                source: CKZ_DATA_SPECIFIED,
                pSourceData: label.as_ptr().cast_mut().cast(),
                ulSourceDataLen: label.len() as CK_ULONG,
            };
            let digest = MessageDigest::from_name(name).unwrap();
            both_ways(&mut || mechanism(CKM_RSA_PKCS_OAEP, &mut params), Some((digest, label)));
        }
    }
}

/// The curves of which OpenSSL has the names too, with the DER of their OIDs and the length of a number.
fn curves() -> impl Iterator<Item = (Nid, Vec<u8>, usize)> {
    let known: [(Nid, &[u8], usize); 10] = [
        (Nid::SECP224R1, b"\x06\x05\x2b\x81\x04\x00\x21", 28),
        (Nid::X9_62_PRIME256V1, b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 32),
        (Nid::SECP384R1, b"\x06\x05\x2b\x81\x04\x00\x22", 48),
        (Nid::SECP521R1, b"\x06\x05\x2b\x81\x04\x00\x23", 66),
        (Nid::SECP256K1, b"\x06\x05\x2b\x81\x04\x00\x0a", 32),
        (Nid::BRAINPOOL_P256R1, b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x07", 32),
        (Nid::BRAINPOOL_P256T1, b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x08", 32),
        (Nid::BRAINPOOL_P384R1, b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0b", 48),
        (Nid::BRAINPOOL_P512R1, b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0d", 64),
        (Nid::BRAINPOOL_P512T1, b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0e", 64),
    ];
    known.into_iter().map(|(nid, oid, len)| (nid, oid.to_vec(), len))
}

/// r and s of fixed width, as PKCS#11 has them.
fn fixed(signature: &EcdsaSig, len: usize) -> Vec<u8> {
    let number = |n: &openssl::bn::BigNumRef| n.to_vec_padded(len as i32).unwrap();
    [number(signature.r()), number(signature.s())].concat()
}

pub fn ecdsa(module: &Module) {
    let data = b"what is signed";
    for (nid, oid, len) in curves() {
        let pair = generated(module, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, &oid));
        let openssl_public = pair.openssl.ec_key().unwrap();
        let theirs = EcKey::generate(&EcGroup::from_curve_name(nid).unwrap()).unwrap();
        let their_public = imported_ec(module, &oid, &theirs);
        for (n, (_, _, name)) in HASHES.into_iter().enumerate() {
            let digest = hash(MessageDigest::from_name(name).unwrap(), data).unwrap();
            for (ty, input) in [(ECDSA[n], data.as_slice()), (CKM_ECDSA, digest.as_ref())] {
                let signature = module.sign(plain(ty), pair.private, input);
                assert_eq!(signature.len(), 2 * len);
                let (r, s) = signature.split_at(len);
                let (r, s) = (BigNum::from_slice(r).unwrap(), BigNum::from_slice(s).unwrap());
                let parsed = EcdsaSig::from_private_components(r, s).unwrap();
                assert!(parsed.verify(&digest, &openssl_public).unwrap(), "{name} {ty:#x}");

                let mut signature = fixed(&EcdsaSig::sign(&digest, &theirs).unwrap(), len);
                assert_eq!(module.verify(plain(ty), their_public, input, &signature), CKR_OK, "{name} {ty:#x}");
                signature[len / 2] ^= 1;
                assert_eq!(module.verify(plain(ty), their_public, input, &signature), CKR_SIGNATURE_INVALID);
            }
        }
    }
}

fn imported_ec(module: &Module, oid: &[u8], key: &EcKey<Private>) -> CK_OBJECT_HANDLE {
    let mut ctx = openssl::bn::BigNumContext::new().unwrap();
    let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
    let point = key.public_key().to_bytes(key.group(), form, &mut ctx).unwrap();
    module.create(&[
        ulong(CKA_CLASS, CKO_PUBLIC_KEY),
        ulong(CKA_KEY_TYPE, CKK_EC),
        bytes(CKA_EC_PARAMS, oid),
        bytes(CKA_EC_POINT, &octet_string(&point)),
    ])
}

/// DER; points of P-521 need the longer length.
fn octet_string(content: &[u8]) -> Vec<u8> {
    let len = content.len() as u8;
    let header = if len < 128 { vec![4, len] } else { vec![4, 0x81, len] };
    [header, content.to_vec()].concat()
}

pub fn ed25519(module: &Module) {
    let data = b"what is signed";
    let curve = bytes(CKA_EC_PARAMS, b"\x06\x03\x2b\x65\x70");
    let pair = generated(module, CKM_EC_EDWARDS_KEY_PAIR_GEN, curve.clone());
    let signature = module.sign(plain(CKM_EDDSA), pair.private, data);
    let mut verifier = Verifier::new_without_digest(&pair.openssl).unwrap();
    assert!(verifier.verify_oneshot(&signature, data).unwrap());

    let theirs = PKey::generate_ed25519().unwrap();
    let public = module.create(&[
        ulong(CKA_CLASS, CKO_PUBLIC_KEY),
        ulong(CKA_KEY_TYPE, CKK_EC_EDWARDS),
        curve,
        bytes(CKA_EC_POINT, &octet_string(&theirs.raw_public_key().unwrap())),
    ]);
    let mut signature = Signer::new_without_digest(&theirs).unwrap().sign_oneshot_to_vec(data).unwrap();
    assert_eq!(module.verify(plain(CKM_EDDSA), public, data, &signature), CKR_OK);
    signature[5] ^= 1;
    assert_eq!(module.verify(plain(CKM_EDDSA), public, data, &signature), CKR_SIGNATURE_INVALID);
    assert_eq!(module.verify(plain(CKM_EDDSA), pair.public, data, &signature), CKR_SIGNATURE_INVALID);
}

pub fn agreement(module: &Module) {
    for (nid, oid, len) in curves() {
        let pair = generated(module, CKM_EC_KEY_PAIR_GEN, bytes(CKA_EC_PARAMS, &oid));
        let theirs = EcKey::generate(&EcGroup::from_curve_name(nid).unwrap()).unwrap();
        let mut ctx = openssl::bn::BigNumContext::new().unwrap();
        let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
        let point = theirs.public_key().to_bytes(theirs.group(), form, &mut ctx).unwrap();
        agree(module, &pair, &PKey::from_ec_key(theirs).unwrap(), &point, len);
    }
    let curve = bytes(CKA_EC_PARAMS, b"\x06\x03\x2b\x65\x6e");
    let pair = generated(module, CKM_EC_MONTGOMERY_KEY_PAIR_GEN, curve);
    assert_eq!(pair.openssl.id(), Id::X25519);
    let theirs = PKey::generate_x25519().unwrap();
    let point = theirs.raw_public_key().unwrap();
    agree(module, &pair, &theirs, &point, 32);
}

/// The shared secret, bare and through an X9.63 KDF.
fn agree(module: &Module, pair: &Pair, theirs: &PKey<Private>, point: &[u8], len: usize) {
    let mut deriver = Deriver::new(theirs).unwrap();
    deriver.set_peer(&pair.openssl).unwrap();
    let expected = deriver.derive_to_vec().unwrap();
    let derived = |kdf, shared: &[u8], len: usize| {
        let mut params = CK_ECDH1_DERIVE_PARAMS {
            kdf,
            ulSharedDataLen: shared.len() as CK_ULONG,
            pSharedData: if shared.is_empty() { std::ptr::null_mut() } else { shared.as_ptr().cast_mut() },
            ulPublicDataLen: point.len() as CK_ULONG,
            pPublicData: point.as_ptr().cast_mut(),
        };
        let template = [
            ulong(CKA_CLASS, CKO_SECRET_KEY),
            ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
            ulong(CKA_VALUE_LEN, len as CK_ULONG),
            no(CKA_SENSITIVE),
            yes(CKA_EXTRACTABLE),
        ];
        let key = module.derive(mechanism(CKM_ECDH1_DERIVE, &mut params), pair.private, &template);
        module.value(key, CKA_VALUE)
    };
    assert_eq!(derived(CKD_NULL, b"", len), expected);
    assert_eq!(derived(CKD_SHA256_KDF, b"info", 77), openssl_x963(&expected, b"info", 77));
}

/// ANSI X9.63 with SHA-256: the hash of Z, a counter from 1 and the shared information, as often as needed.
fn openssl_x963(z: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let block = |counter: u32| hash(MessageDigest::sha256(), &[z, &counter.to_be_bytes(), info].concat()).unwrap();
    (1..).flat_map(|counter| block(counter).to_vec()).take(len).collect()
}
