//! What is wrong in a mechanism's parameter.

use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::mechanism::table::{self, ParamKind};

use crate::module::gcm::gcm;
use crate::module::{mechanism, plain};
use crate::world::{F, FUNCTIONS, Table, World};

const UNKNOWN: CK_ULONG = 0x7777;

/// Every mechanism in every use: three bytes are the parameter of none.
pub fn wrong_lengths(world: &World) -> Vec<String> {
    let mut table = Table::new("a parameter of the wrong length");
    for row in table::all() {
        for (_, function) in FUNCTIONS.iter().filter(|(flag, _)| row.flags & flag != 0) {
            let Some(key) = world.key_for(row, *function) else { continue };
            let name = |what: &str| format!("{} {function:?}, {what}", row.name);
            // Where the parameter is a number of any length, it is the other side's public value: none, or zero, is no such.
            let (integer, derives) = (row.params == ParamKind::Integer, *function == F::Derive);
            let expected = if integer && derives { CKR_PUBLIC_KEY_INVALID } else { CKR_MECHANISM_PARAM_INVALID };
            let mut three = [0u8; 3];
            let by = mechanism(row.ty, &mut three);
            table.add(name("three bytes"), world.begin(*function, by, key), expected);
            // NULL that claims a length is no parameter at all.
            let by = CK_MECHANISM { mechanism: row.ty, pParameter: null_mut(), ulParameterLen: 3 };
            table.add(name("NULL of three"), world.begin(*function, by, key), CKR_MECHANISM_PARAM_INVALID);
            if needs_one(row.params) && (derives || !integer) {
                table.add(name("none"), world.begin(*function, plain(row.ty), key), expected);
            }
        }
    }
    table.wrong(700)
}

fn needs_one(kind: ParamKind) -> bool {
    use ParamKind::*;
    !matches!(kind, None | OptionalIv(_) | Eddsa | SignContext | Otp)
}

pub fn pss(hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, salt: CK_ULONG) -> CK_RSA_PKCS_PSS_PARAMS {
    CK_RSA_PKCS_PSS_PARAMS { hashAlg: hash, mgf, sLen: salt }
}

pub fn oaep(hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, source: CK_ULONG) -> CK_RSA_PKCS_OAEP_PARAMS {
    CK_RSA_PKCS_OAEP_PARAMS { hashAlg: hash, mgf, source, pSourceData: null_mut(), ulSourceDataLen: 0 }
}

pub fn unknown_hashes(world: &World) -> Vec<String> {
    let mut table = Table::new("an unknown hash, PRF or KDF");
    let invalid = CKR_MECHANISM_PARAM_INVALID;
    let (rsa_public, rsa) = world.pair(CKK_RSA);
    let generic = world.secret(CKK_GENERIC_SECRET, &[5; 48]);
    for hash in [UNKNOWN, CKM_AES_CBC, CKM_SHA256_HMAC, 0] {
        let mut p = pss(hash, CKG_MGF1_SHA256, 32);
        table.add("PSS", world.begin(F::Sign, mechanism(CKM_RSA_PKCS_PSS, &mut p), rsa), invalid);
        table.add("PSS, verify", world.begin(F::Verify, mechanism(CKM_RSA_PKCS_PSS, &mut p), rsa_public), invalid);
        let mut p = oaep(hash, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED);
        table.add("OAEP", world.begin(F::Encrypt, mechanism(CKM_RSA_PKCS_OAEP, &mut p), rsa_public), invalid);
        table.add("OAEP, wrap", world.begin(F::Wrap, mechanism(CKM_RSA_PKCS_OAEP, &mut p), rsa_public), invalid);
        let mut p = hkdf(hash);
        table.add("HKDF", world.begin(F::Derive, mechanism(CKM_HKDF_DERIVE, &mut p), generic), invalid);
        let mut p = CK_HASH_SIGN_ADDITIONAL_CONTEXT {
            hedgeVariant: CKH_HEDGE_PREFERRED,
            pContext: null_mut(),
            ulContextLen: 0,
            hash,
        };
        let (_, ml_dsa) = world.pair(CKK_ML_DSA);
        table.add("HASH_ML_DSA", world.begin(F::Sign, mechanism(CKM_HASH_ML_DSA, &mut p), ml_dsa), invalid);
        let mut p = CK_TLS_MAC_PARAMS { prfHashMechanism: hash, ulMacLength: 12, ulServerOrClient: 1 };
        table.add("TLS12_MAC", world.begin(F::Sign, mechanism(CKM_TLS12_MAC, &mut p), generic), invalid);
    }
    for prf in [UNKNOWN, CKM_SHA256, CKM_AES_CBC, 0] {
        let mut p = CK_SP800_108_KDF_PARAMS {
            prfType: prf,
            ulNumberOfDataParams: 0,
            pDataParams: null_mut(),
            ulAdditionalDerivedKeys: 0,
            pAdditionalDerivedKeys: null_mut(),
        };
        table.add("KBKDF", world.begin(F::Derive, mechanism(CKM_SP800_108_COUNTER_KDF, &mut p), generic), invalid);
        let mut nonce = [1u8; 16];
        let mut p = CK_IKE_PRF_DERIVE_PARAMS {
            prfMechanism: prf,
            bDataAsKey: CK_TRUE,
            bRekey: CK_FALSE,
            pNi: nonce.as_mut_ptr(),
            ulNiLen: 16,
            pNr: nonce.as_mut_ptr(),
            ulNrLen: 16,
            hNewKey: 0,
        };
        table.add("IKE", world.begin(F::Derive, mechanism(CKM_IKE_PRF_DERIVE, &mut p), generic), invalid);
        let mut p = CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: nonce.as_mut_ptr().cast(),
            ulSaltSourceDataLen: 16,
            iterations: 1000,
            prf: if prf == 0 { UNKNOWN } else { prf },
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: nonce.as_mut_ptr(),
            ulPasswordLen: 16,
        };
        table.add("PBKDF2", world.begin(F::Generate, mechanism(CKM_PKCS5_PBKD2, &mut p), 0), invalid);
    }
    let (public, ec) = world.pair(CKK_EC);
    let mut point = world.module.value(public, CKA_EC_POINT);
    let mut p = CK_ECDH1_DERIVE_PARAMS {
        kdf: UNKNOWN,
        ulSharedDataLen: 0,
        pSharedData: null_mut(),
        ulPublicDataLen: point.len() as CK_ULONG,
        pPublicData: point.as_mut_ptr(),
    };
    table.add("ECDH", world.begin(F::Derive, mechanism(CKM_ECDH1_DERIVE, &mut p), ec), invalid);
    p.kdf = CKD_NULL;
    table.add("ECDH, known", world.begin(F::Derive, mechanism(CKM_ECDH1_DERIVE, &mut p), ec), CKR_OK);
    let mut p =
        CK_ECDH_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, kdf: UNKNOWN, ulSharedDataLen: 0, pSharedData: null_mut() };
    table.add("ECDH wrap", world.begin(F::Wrap, mechanism(CKM_ECDH_AES_KEY_WRAP, &mut p), public), invalid);
    table.wrong(40)
}

pub fn hkdf(hash: CK_MECHANISM_TYPE) -> CK_HKDF_PARAMS {
    CK_HKDF_PARAMS {
        bExtract: CK_TRUE,
        bExpand: CK_TRUE,
        prfHashMechanism: hash,
        ulSaltType: CKF_HKDF_SALT_NULL,
        pSalt: null_mut(),
        ulSaltLen: 0,
        hSaltKey: 0,
        pInfo: null_mut(),
        ulInfoLen: 0,
    }
}

/// A mask that nobody knows, a hash that is not the mechanism's, a salt that does not fit. A mask of another hash than the
/// message's is no error: RFC 8017 allows it.
pub fn inconsistent_masks(world: &World) -> Vec<String> {
    let mut table = Table::new("hash, mask and salt that do not go together");
    let invalid = CKR_MECHANISM_PARAM_INVALID;
    let (public, private) = world.pair(CKK_RSA);
    for (what, ty, mut p, expected) in [
        ("unknown mask", CKM_RSA_PKCS_PSS, pss(CKM_SHA256, UNKNOWN, 32), invalid),
        ("no mask", CKM_RSA_PKCS_PSS, pss(CKM_SHA256, 0, 32), invalid),
        ("unknown mask", CKM_SHA256_RSA_PKCS_PSS, pss(CKM_SHA256, UNKNOWN, 32), invalid),
        ("another hash", CKM_SHA256_RSA_PKCS_PSS, pss(CKM_SHA384, CKG_MGF1_SHA256, 32), invalid),
        ("another hash", CKM_SHA3_256_RSA_PKCS_PSS, pss(CKM_SHA256, CKG_MGF1_SHA3_256, 32), invalid),
        ("salt too long", CKM_RSA_PKCS_PSS, pss(CKM_SHA256, CKG_MGF1_SHA256, 223), invalid),
        ("salt without end", CKM_RSA_PKCS_PSS, pss(CKM_SHA256, CKG_MGF1_SHA256, CK_ULONG::MAX), invalid),
        ("the longest salt", CKM_RSA_PKCS_PSS, pss(CKM_SHA256, CKG_MGF1_SHA256, 222), CKR_OK),
        ("another hash's mask", CKM_RSA_PKCS_PSS, pss(CKM_SHA256, CKG_MGF1_SHA1, 32), CKR_OK),
    ] {
        table.add(format!("PSS {what}, sign"), world.begin(F::Sign, mechanism(ty, &mut p), private), expected);
        table.add(format!("PSS {what}, verify"), world.begin(F::Verify, mechanism(ty, &mut p), public), expected);
    }
    for (what, mut p, expected) in [
        ("unknown mask", oaep(CKM_SHA256, UNKNOWN, CKZ_DATA_SPECIFIED), invalid),
        ("no mask", oaep(CKM_SHA256, 0, CKZ_DATA_SPECIFIED), invalid),
        ("no hash", oaep(0, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED), invalid),
        ("neither", oaep(0, 0, CKZ_DATA_SPECIFIED), CKR_OK),
        ("unknown source", oaep(CKM_SHA256, CKG_MGF1_SHA256, UNKNOWN), invalid),
        ("another hash's mask", oaep(CKM_SHA256, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED), CKR_OK),
    ] {
        let by = mechanism(CKM_RSA_PKCS_OAEP, &mut p);
        table.add(format!("OAEP {what}, encrypt"), world.begin(F::Encrypt, by, public), expected);
        table.add(format!("OAEP {what}, decrypt"), world.begin(F::Decrypt, by, private), expected);
    }
    table.wrong(26)
}

/// Tags that are too short, too long, or no whole bytes.
pub fn tags(world: &World) -> Vec<String> {
    let mut table = Table::new("a tag that is too short or too long");
    let (aes, invalid) = (world.aes(), CKR_MECHANISM_PARAM_INVALID);
    let mut iv = [9u8; 12];
    for (bits, expected) in [
        (0, invalid),
        (8, invalid),
        (24, invalid),
        (31, invalid),
        (33, invalid),
        (136, invalid),
        (CK_ULONG::MAX, invalid),
        (32, CKR_OK),
        (128, CKR_OK),
    ] {
        let mut p = gcm(&mut iv, bits);
        for function in [F::Encrypt, F::Decrypt] {
            let seen = world.begin(function, mechanism(CKM_AES_GCM, &mut p), aes);
            table.add(format!("GCM {function:?} {bits} bits"), seen, expected);
        }
        table.add(format!("GMAC {bits} bits"), world.begin(F::Sign, mechanism(CKM_AES_GMAC, &mut p), aes), expected);
    }
    for (len, expected) in [(0, invalid), (2, invalid), (3, invalid), (5, invalid), (18, invalid), (4, CKR_OK)] {
        let mut p = CK_CCM_PARAMS {
            ulDataLen: 16,
            pNonce: iv.as_mut_ptr(),
            ulNonceLen: 12,
            pAAD: null_mut(),
            ulAADLen: 0,
            ulMACLen: len,
        };
        for function in [F::Encrypt, F::Decrypt] {
            let seen = world.begin(function, mechanism(CKM_AES_CCM, &mut p), aes);
            table.add(format!("CCM {function:?} {len} bytes"), seen, expected);
        }
    }
    // The general MACs: no tag at all, and more than the whole.
    let signs = |flags| flags & CKF_SIGN != 0;
    let general = table::all().filter(|row| row.params == ParamKind::MacLength && signs(row.flags));
    for row in general {
        let key = world.key_for(row, F::Sign).unwrap();
        // Of SHA-512/t the number is t, in bits.
        let most = if row.name.contains("SHA512_T") { 513 } else { 65 };
        for mut len in [0u64, most, CK_ULONG::MAX] {
            for function in [F::Sign, F::Verify] {
                let seen = world.begin(function, mechanism(row.ty, &mut len), key);
                table.add(format!("{} {function:?} {len}", row.name), seen, invalid);
            }
        }
    }
    for (ty, len) in [(CKM_TLS12_MAC, 0), (CKM_TLS12_MAC, CK_ULONG::MAX)] {
        let mut p = CK_TLS_MAC_PARAMS { prfHashMechanism: CKM_SHA256, ulMacLength: len, ulServerOrClient: 1 };
        let key = world.secret(CKK_GENERIC_SECRET, &[3; 48]);
        table.add(format!("TLS12_MAC {len}"), world.begin(F::Sign, mechanism(ty, &mut p), key), invalid);
    }
    table.wrong(150)
}

/// One message under an IV that the module makes.
fn message(world: &World, iv: &mut [u8], fixed: CK_ULONG, generator: CK_GENERATOR_FUNCTION) -> CK_RV {
    let (mut tag, mut text, mut sealed, mut len) = ([0u8; 16], *b"text", [0u8; 4], 4);
    let mut p = CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: iv.len() as CK_ULONG,
        ulIvFixedBits: fixed,
        ivGenerator: generator,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 128,
    };
    // SAFETY: live values with their lengths.
    unsafe {
        world.module.api.C_EncryptMessage(
            world.module.session,
            (&raw mut p).cast(),
            size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG,
            null_mut(),
            0,
            text.as_mut_ptr(),
            4,
            sealed.as_mut_ptr(),
            &raw mut len,
        )
    }
}

/// The standard forbids a second message under one IV where the module makes them (`CK_GENERATOR_FUNCTION`): a counter that has run
/// through is at an end, and counted IVs do not mix with given ones.
pub fn ivs_made_twice(world: &World) -> Vec<String> {
    let mut table = Table::new("an IV made twice");
    let begin = || {
        // SAFETY: a live mechanism.
        let rv = unsafe {
            world.module.api.C_MessageEncryptInit(world.module.session, &mut plain(CKM_AES_GCM), world.aes())
        };
        assert_eq!(rv, CKR_OK);
    };
    let end = || {
        // SAFETY: a session.
        assert_eq!(unsafe { world.module.api.C_MessageEncryptFinal(world.module.session) }, CKR_OK);
    };
    begin();
    let (mut iv, mut seen) = ([0u8; 12], std::collections::HashSet::new());
    for n in 0..256 {
        table.add(format!("counted {n}"), message(world, &mut iv, 88, CKG_GENERATE_COUNTER), CKR_OK);
        assert!(seen.insert(iv), "made twice: {iv:?}");
    }
    table.add("counted past the end", message(world, &mut iv, 88, CKG_GENERATE_COUNTER), CKR_FUNCTION_FAILED);
    end();
    begin();
    table.add("given", message(world, &mut iv, 0, CKG_NO_GENERATE), CKR_OK);
    let mixed = message(world, &mut iv, 32, CKG_GENERATE_COUNTER);
    table.add("counted after given", mixed, CKR_MECHANISM_PARAM_INVALID);
    end();
    begin();
    table.add("counted", message(world, &mut iv, 32, CKG_GENERATE_COUNTER), CKR_OK);
    table.add("given after counted", message(world, &mut iv, 0, CKG_NO_GENERATE), CKR_MECHANISM_PARAM_INVALID);
    table.add("another layout", message(world, &mut iv, 40, CKG_GENERATE_COUNTER), CKR_MECHANISM_PARAM_INVALID);
    end();
    begin();
    table.add("too few random bits", message(world, &mut iv, 64, CKG_GENERATE_RANDOM), CKR_MECHANISM_PARAM_INVALID);
    end();
    table.wrong(260)
}
