//! What is wrong in the data.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::module::gcm::gcm;
use crate::module::{mechanism, plain};
use crate::world::{F, Table, World, wanted};

pub fn truncated(world: &World) -> Vec<String> {
    let mut table = Table::new("a truncated ciphertext");
    let (length, aes) = (CKR_ENCRYPTED_DATA_LEN_RANGE, world.aes());
    let mut iv = [7u8; 16];
    let once = |by, key, input: &[u8]| world.once(F::Decrypt, by, key, input).0;
    let camellia = world.secret(CKK_CAMELLIA, &[1; 32]);
    for (name, ty, key) in [
        ("AES_CBC", CKM_AES_CBC, aes),
        ("AES_CBC_PAD", CKM_AES_CBC_PAD, aes),
        ("CAMELLIA_CBC", CKM_CAMELLIA_CBC, camellia),
        ("CAMELLIA_CBC_PAD", CKM_CAMELLIA_CBC_PAD, camellia),
    ] {
        for len in [1, 15, 17, 31] {
            table.add(format!("{name} of {len}"), once(mechanism(ty, &mut iv), key, &vec![0; len]), length);
        }
    }
    table.add("AES_CBC_PAD of 0", once(mechanism(CKM_AES_CBC_PAD, &mut iv), aes, &[]), length);
    table.add("AES_ECB of 15", once(plain(CKM_AES_ECB), aes, &[0; 15]), length);
    table.add("AES_CTS of 15", once(mechanism(CKM_AES_CTS, &mut iv), aes, &[0; 15]), length);
    // What is cut at a block's end is of a right length: then the padding tells.
    let (_, sealed) = world.once(F::Encrypt, mechanism(CKM_AES_CBC_PAD, &mut iv), aes, &[0xaa; 20]);
    let cut = once(mechanism(CKM_AES_CBC_PAD, &mut iv), aes, &sealed[..16]);
    table.add("AES_CBC_PAD, one block less", cut, CKR_ENCRYPTED_DATA_INVALID);

    sealed_with_tags(world, &mut table);

    let (public, private) = world.pair(CKK_RSA);
    let mut oaep = CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        source: CKZ_DATA_SPECIFIED,
        pSourceData: null_mut(),
        ulSourceDataLen: 0,
    };
    let (_, good) = world.once(F::Encrypt, mechanism(CKM_RSA_PKCS_OAEP, &mut oaep), public, b"secret");
    for (name, by) in [
        ("RSA_PKCS", plain(CKM_RSA_PKCS)),
        ("RSA_X_509", plain(CKM_RSA_X_509)),
        ("OAEP", mechanism(CKM_RSA_PKCS_OAEP, &mut oaep)),
    ] {
        for (what, cut) in
            [("none", &good[..0]), ("a byte less", &good[..255]), ("a byte more", &[&good[..], &[0]].concat())]
        {
            table.add(format!("{name}, {what}"), once(by, private, cut), length);
        }
        table.add(
            format!("{name}, not below the modulus"),
            once(by, private, &[0xff; 256]),
            CKR_ENCRYPTED_DATA_INVALID,
        );
    }
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    let seen = once(mechanism(CKM_RSA_PKCS_OAEP, &mut oaep), private, &flipped);
    table.add("OAEP, another bit", seen, CKR_ENCRYPTED_DATA_INVALID);

    wrapped(world, &mut table);
    table.wrong(85)
}

fn sealed_with_tags(world: &World, table: &mut Table) {
    let (aes, chacha) = (world.aes(), world.secret(CKK_CHACHA20, &[2; 32]));
    let (mut iv, length, invalid) = ([7u8; 12], CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID);
    let mut params = gcm(&mut iv, 128);
    let mut poly =
        CK_SALSA20_CHACHA20_POLY1305_PARAMS { pNonce: iv.as_mut_ptr(), ulNonceLen: 96, pAAD: null_mut(), ulAADLen: 0 };
    for (name, by, key) in [
        ("GCM", mechanism(CKM_AES_GCM, &mut params), aes),
        ("CHACHA20_POLY1305", mechanism(CKM_CHACHA20_POLY1305, &mut poly), chacha),
    ] {
        let (rv, sealed) = world.once(F::Encrypt, by, key, &[0x55; 20]);
        table.add(format!("{name}, encrypt"), rv, CKR_OK);
        for len in [0, 1, 15] {
            table.add(format!("{name} of {len}"), world.once(F::Decrypt, by, key, &sealed[..len]).0, length);
        }
        for len in [16, 20, 35] {
            let (rv, out) = world.once(F::Decrypt, by, key, &sealed[..len]);
            table.add(format!("{name} of {len}"), rv, invalid);
            assert!(out.is_empty(), "{name} gives out what it cannot vouch for");
        }
    }
    let mut ccm = CK_CCM_PARAMS {
        ulDataLen: 20,
        pNonce: iv.as_mut_ptr(),
        ulNonceLen: 12,
        pAAD: null_mut(),
        ulAADLen: 0,
        ulMACLen: 16,
    };
    let by = mechanism(CKM_AES_CCM, &mut ccm);
    let (_, sealed) = world.once(F::Encrypt, by, aes, &[0x55; 20]);
    for len in [0, 15, 35] {
        table.add(format!("CCM of {len}"), world.once(F::Decrypt, by, aes, &sealed[..len]).0, length);
    }
    let mut flipped = sealed.clone();
    flipped[0] ^= 1;
    table.add("CCM, another bit", world.once(F::Decrypt, by, aes, &flipped).0, invalid);
}

fn wrapped(world: &World, table: &mut Table) {
    let (length, invalid, aes) = (CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID, world.aes());
    let target = world.secret(CKK_GENERIC_SECRET, &[6; 16]);
    for (name, ty) in [
        ("KEY_WRAP", CKM_AES_KEY_WRAP),
        ("KEY_WRAP_KWP", CKM_AES_KEY_WRAP_KWP),
        ("KEY_WRAP_PKCS7", CKM_AES_KEY_WRAP_PKCS7),
    ] {
        let sealed = world.module.wrap(plain(ty), aes, target);
        let unwrap = |input: &[u8]| world.unwrap(plain(ty), aes, input, &wanted()).0;
        table.add(format!("{name}, whole"), unwrap(&sealed), CKR_OK);
        for len in [0, 8, sealed.len() - 1] {
            table.add(format!("{name} of {len}"), unwrap(&sealed[..len]), length);
        }
        // Two semiblocks are too few for the one without padding.
        let expected = if ty == CKM_AES_KEY_WRAP { length } else { invalid };
        table.add(format!("{name}, 8 less"), unwrap(&sealed[..sealed.len() - 8]), expected);
        let mut flipped = sealed.clone();
        flipped[3] ^= 1;
        table.add(format!("{name}, another bit"), unwrap(&flipped), invalid);
    }
    wrapped_by_pairs(world, table, target);
    let (public, private) = world.pair(CKK_ML_KEM);
    let (ciphertext, _) = world.encapsulate(public);
    for (what, cut) in [
        ("none", &ciphertext[..0]),
        ("a byte less", &ciphertext[..ciphertext.len() - 1]),
        ("a byte more", &[&ciphertext[..], &[0]].concat()),
    ] {
        table.add(format!("ML-KEM, {what}"), world.decapsulate(private, cut).0, length);
    }
    // Of the right length, but another: implicit rejection gives another secret.
    let mut other = ciphertext.clone();
    other[0] ^= 1;
    let (rv, wrong) = world.decapsulate(private, &other);
    table.add("ML-KEM, another bit", rv, CKR_OK);
    let (rv, right) = world.decapsulate(private, &ciphertext);
    table.add("ML-KEM, whole", rv, CKR_OK);
    assert_ne!(wrong, right);
}

/// RSA, and what wraps by a key made for the one time: that key's ciphertext comes first.
fn wrapped_by_pairs(world: &World, table: &mut Table, target: CK_OBJECT_HANDLE) {
    let (length, invalid) = (CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID);
    let mut oaep = crate::parameters::oaep(CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED);
    let mut inner = oaep;
    let mut rsa = CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, pOAEPParams: &raw mut inner };
    let mut ecdh = CK_ECDH_AES_KEY_WRAP_PARAMS {
        ulAESKeyBits: 256,
        kdf: CKD_SHA256_KDF,
        ulSharedDataLen: 0,
        pSharedData: null_mut(),
    };
    for (name, by, key_type, first) in [
        ("RSA_PKCS_OAEP", mechanism(CKM_RSA_PKCS_OAEP, &mut oaep), CKK_RSA, 256),
        ("RSA_AES_KEY_WRAP", mechanism(CKM_RSA_AES_KEY_WRAP, &mut rsa), CKK_RSA, 256),
        ("ECDH_AES_KEY_WRAP", mechanism(CKM_ECDH_AES_KEY_WRAP, &mut ecdh), CKK_EC, 65),
    ] {
        let (public, private) = world.pair(key_type);
        let sealed = world.module.wrap(by, public, target);
        let unwrap = |input: &[u8]| world.unwrap(by, private, input, &wanted()).0;
        table.add(format!("{name}, whole"), unwrap(&sealed), CKR_OK);
        for len in [0, first - 1, sealed.len() - 1] {
            table.add(format!("{name} of {len}"), unwrap(&sealed[..len]), length);
        }
        table.add(format!("{name}, a byte more"), unwrap(&[&sealed[..], &[0]].concat()), length);
        for at in [first / 2, sealed.len() - 1] {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            table.add(format!("{name}, another bit at {at}"), unwrap(&flipped), invalid);
        }
        if sealed.len() > first {
            table.add(format!("{name}, the key's ciphertext alone"), unwrap(&sealed[..first]), length);
        }
    }
    // PKCS #1 v1.5 tells nothing but the length.
    let (public, private) = world.pair(CKK_RSA);
    let sealed = world.module.wrap(plain(CKM_RSA_PKCS), public, target);
    for len in [0, 255] {
        let seen = world.unwrap(plain(CKM_RSA_PKCS), private, &sealed[..len], &wanted()).0;
        table.add(format!("RSA_PKCS of {len}"), seen, length);
    }
}
