//! Every number within a parameter that names something (a hash, a mask, a PRF, a KDF, a kind of field): known, or refused with
//! `CKR_MECHANISM_PARAM_INVALID`.
#![allow(non_snake_case)] // Fields of the C structures, by their names.

use std::ptr::{from_mut, null_mut};

use cryptoki_sys::*;
use keyward::mechanism::table::{self, ParamKind};

use crate::module::{Attr, attributes, mechanism, ulong};
use crate::parameters::{hkdf, oaep, pss};
use crate::world::{F, Table, World};

const UNKNOWN: CK_ULONG = 0x7777;
const INVALID: CK_RV = CKR_MECHANISM_PARAM_INVALID;
/// Nothing, nothing known, and mechanisms of other kinds: a cipher, a signature, a MAC.
const NO_HASHES: [CK_ULONG; 6] = [0, UNKNOWN, CKM_AES_CBC, CKM_SHA256_RSA_PKCS, CKM_SHA256_HMAC, CK_ULONG::MAX];
const NO_PRFS: [CK_ULONG; 5] = [0, UNKNOWN, CKM_AES_CBC, CKM_SHA256, CK_ULONG::MAX];
const NO_MASKS: [CK_ULONG; 4] = [0, 0xa, UNKNOWN, CK_ULONG::MAX];
const NO_KDFS: [CK_ULONG; 3] = [0, UNKNOWN, CK_ULONG::MAX];

pub fn each_is_known_or_refused(world: &World) -> Vec<String> {
    let mut table = Table::new("a number that names nothing");
    let rows: [fn(&World, &mut Table); 8] =
        [of_pss, of_oaep, of_agreement, of_hkdf, of_kbkdf, of_hashed, of_tls, of_ike];
    rows.iter().for_each(|rows| rows(world, &mut table));
    table.wrong(400)
}

/// A parameter in each of these functions.
fn each<P>(
    world: &World,
    table: &mut Table,
    (ty, functions): (CK_MECHANISM_TYPE, &[F]),
    key_type: CK_KEY_TYPE,
    (what, mut parameter, expected): (String, P, CK_RV),
) {
    let (public, private) = world.pair(key_type);
    for &function in functions {
        let key = if function.is_public() { public } else { private };
        let seen = world.begin(function, mechanism(ty, &mut parameter), key);
        table.add(format!("{ty:#x} {function:?}, {what}"), seen, expected);
    }
}

fn of_pss(world: &World, table: &mut Table) {
    let both = [F::Sign, F::Verify];
    for row in table::all().filter(|row| row.params == ParamKind::Pss) {
        // Where the mechanism names the hash, every other is wrong.
        let own = row.hash.unwrap_or(CKM_SHA256);
        let wrong = [CKM_SHA_1, CKM_SHA384].into_iter().filter(|hash| row.hash.is_some_and(|own| own != *hash));
        let hashes =
            NO_HASHES.into_iter().chain(wrong).map(|hash| (format!("hash {hash:#x}"), pss(hash, CKG_MGF1_SHA256, 20)));
        let masks = NO_MASKS.map(|mask| (format!("mask {mask:#x}"), pss(own, mask, 20)));
        for (what, parameter) in hashes.chain(masks) {
            each(world, table, (row.ty, &both), CKK_RSA, (what, parameter, INVALID));
        }
        each(world, table, (row.ty, &both), CKK_RSA, ("known".into(), pss(own, CKG_MGF1_SHA256, 20), CKR_OK));
    }
}

fn of_oaep(world: &World, table: &mut Table) {
    let begun = [F::Encrypt, F::Decrypt];
    let known = CKZ_DATA_SPECIFIED;
    let hashes = NO_HASHES.map(|hash| (format!("hash {hash:#x}"), oaep(hash, CKG_MGF1_SHA256, known)));
    let masks = NO_MASKS.map(|mask| (format!("mask {mask:#x}"), oaep(CKM_SHA256, mask, known)));
    let sources = [2, UNKNOWN].map(|source| (format!("source {source:#x}"), oaep(CKM_SHA256, CKG_MGF1_SHA256, source)));
    for (what, mut inner) in hashes.into_iter().chain(masks).chain(sources) {
        let all = [F::Encrypt, F::Decrypt, F::Wrap, F::Unwrap];
        each(world, table, (CKM_RSA_PKCS_OAEP, &all), CKK_RSA, (what.clone(), inner, INVALID));
        let parameter = CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, pOAEPParams: &raw mut inner };
        each(world, table, (CKM_RSA_AES_KEY_WRAP, &[F::Wrap, F::Unwrap]), CKK_RSA, (what, parameter, INVALID));
    }
    // pkcs11-provider names neither for the defaults, on which RFC 8017 and OpenSSL agree: SHA-1.
    each(world, table, (CKM_RSA_PKCS_OAEP, &begun), CKK_RSA, ("neither".into(), oaep(0, 0, known), CKR_OK));
    let named = oaep(CKM_SHA256, CKG_MGF1_SHA256, known);
    each(world, table, (CKM_RSA_PKCS_OAEP, &begun), CKK_RSA, ("named".into(), named, CKR_OK));
}

fn of_agreement(world: &World, table: &mut Table) {
    let mut shared = [1u8; 4];
    for (ty, key_type, attribute) in [
        (CKM_ECDH1_DERIVE, CKK_EC, CKA_EC_POINT),
        (CKM_ECDH1_DERIVE, CKK_EC_MONTGOMERY, CKA_EC_POINT),
        (CKM_ECDH1_COFACTOR_DERIVE, CKK_EC, CKA_EC_POINT),
        (CKM_X9_42_DH_DERIVE, CKK_X9_42_DH, CKA_VALUE),
    ] {
        let (public, _) = world.pair(key_type);
        let mut point = world.module.value(public, attribute);
        let mut parameter = |kdf, (pSharedData, ulSharedDataLen)| CK_ECDH1_DERIVE_PARAMS {
            kdf,
            ulSharedDataLen,
            pSharedData,
            ulPublicDataLen: point.len() as CK_ULONG,
            pPublicData: point.as_mut_ptr(),
        };
        let (none, some) = ((null_mut(), 0), (shared.as_mut_ptr(), 4));
        for kdf in NO_KDFS {
            let case = (format!("kdf {kdf:#x}"), parameter(kdf, none), INVALID);
            each(world, table, (ty, &[F::Derive]), key_type, case);
        }
        let case = ("CKD_NULL with shared data".into(), parameter(CKD_NULL, some), INVALID);
        each(world, table, (ty, &[F::Derive]), key_type, case);
        let case = ("CKD_NULL".into(), parameter(CKD_NULL, none), CKR_OK);
        each(world, table, (ty, &[F::Derive]), key_type, case);
        // As a KEM, without a public key among the parameters.
        for kdf in NO_KDFS {
            let parameter = CK_ECDH1_DERIVE_PARAMS {
                kdf,
                ulSharedDataLen: 0,
                pSharedData: null_mut(),
                ulPublicDataLen: 0,
                pPublicData: null_mut(),
            };
            if table::row(ty).unwrap().flags & CKF_ENCAPSULATE != 0 {
                each(world, table, (ty, &[F::Encapsulate]), key_type, (format!("kdf {kdf:#x}"), parameter, INVALID));
            }
        }
    }
    for kdf in NO_KDFS {
        let parameter =
            CK_ECDH_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, kdf, ulSharedDataLen: 0, pSharedData: null_mut() };
        let by = (CKM_ECDH_AES_KEY_WRAP, &[F::Wrap, F::Unwrap][..]);
        each(world, table, by, CKK_EC, (format!("kdf {kdf:#x}"), parameter, INVALID));
    }
}

fn of_hkdf(world: &World, table: &mut Table) {
    let key = world.secret(CKK_GENERIC_SECRET, &[5; 48]);
    for ty in [CKM_HKDF_DERIVE, CKM_HKDF_DATA] {
        // A data object has another template: there the steps and the salt alone, which are read before it.
        let hashes = if ty == CKM_HKDF_DERIVE { &NO_HASHES[..] } else { &[] };
        let hashes = hashes.iter().map(|hash| (format!("hash {hash:#x}"), hkdf(*hash)));
        let salts = [0, 3, 8, UNKNOWN, CK_ULONG::MAX];
        let salts = salts
            .map(|ulSaltType| (format!("salt {ulSaltType:#x}"), CK_HKDF_PARAMS { ulSaltType, ..hkdf(CKM_SHA256) }));
        let neither = CK_HKDF_PARAMS { bExtract: CK_FALSE, bExpand: CK_FALSE, ..hkdf(CKM_SHA256) };
        let cases = hashes.chain(salts).chain([("no step".into(), neither)]);
        for (what, mut parameter) in cases {
            table.add(
                format!("HKDF {ty:#x}, {what}"),
                world.begin(F::Derive, mechanism(ty, &mut parameter), key),
                INVALID,
            );
        }
        let salt = CK_HKDF_PARAMS { ulSaltType: CKF_HKDF_SALT_KEY, ..hkdf(CKM_SHA256) };
        for hSaltKey in [0, CK_ULONG::MAX] {
            let mut parameter = CK_HKDF_PARAMS { hSaltKey, ..salt };
            let seen = world.begin(F::Derive, mechanism(ty, &mut parameter), key);
            table.add(format!("HKDF {ty:#x}, no such salt"), seen, CKR_KEY_HANDLE_INVALID);
        }
    }
}

fn counter(bits: CK_ULONG) -> CK_SP800_108_COUNTER_FORMAT {
    CK_SP800_108_COUNTER_FORMAT { bLittleEndian: CK_FALSE, ulWidthInBits: bits }
}

fn length(method: CK_ULONG, bits: CK_ULONG) -> CK_SP800_108_DKM_LENGTH_FORMAT {
    CK_SP800_108_DKM_LENGTH_FORMAT { dkmLengthMethod: method, bLittleEndian: CK_FALSE, ulWidthInBits: bits }
}

fn field<V>(type_: CK_ULONG, value: &mut V) -> CK_PRF_DATA_PARAM {
    CK_PRF_DATA_PARAM { type_, pValue: from_mut(value).cast(), ulValueLen: size_of::<V>() as CK_ULONG }
}

fn of_kbkdf(world: &World, table: &mut Table) {
    const ITERATION: CK_ULONG = CK_SP800_108_ITERATION_VARIABLE;
    let key = world.secret(CKK_GENERIC_SECRET, &[5; 48]);
    let empty = |type_| CK_PRF_DATA_PARAM { type_, pValue: null_mut(), ulValueLen: 0 };
    let (mut wide, mut odd, mut no_width, mut endless) = (counter(32), counter(12), counter(0), counter(CK_ULONG::MAX));
    let (mut five, mut sum) = (counter(40), length(CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS, 32));
    let (mut method, mut narrow, mut handle, mut byte) =
        (length(3, 32), length(CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS, 8), CK_ULONG::MAX, 7u8);
    for ty in [CKM_SP800_108_COUNTER_KDF, CKM_SP800_108_FEEDBACK_KDF, CKM_SP800_108_DOUBLE_PIPELINE_KDF] {
        let counts = ty == CKM_SP800_108_COUNTER_KDF;
        let iteration = if counts { field(ITERATION, &mut wide) } else { empty(ITERATION) };
        let other = if counts { empty(ITERATION) } else { field(ITERATION, &mut wide) };
        let mut add =
            |what: &str, prf, fields: &[CK_PRF_DATA_PARAM], further: (*mut CK_DERIVED_KEY, CK_ULONG), expected| {
                let mut fields = fields.to_vec();
                let (pDataParams, ulNumberOfDataParams) = (fields.as_mut_ptr(), fields.len() as CK_ULONG);
                let (pAdditionalDerivedKeys, ulAdditionalDerivedKeys) = further;
                let mut plain = CK_SP800_108_KDF_PARAMS {
                    prfType: prf,
                    ulNumberOfDataParams,
                    pDataParams,
                    ulAdditionalDerivedKeys,
                    pAdditionalDerivedKeys,
                };
                let mut feedback = CK_SP800_108_FEEDBACK_KDF_PARAMS {
                    prfType: prf,
                    ulNumberOfDataParams,
                    pDataParams,
                    ulIVLen: 0,
                    pIV: null_mut(),
                    ulAdditionalDerivedKeys,
                    pAdditionalDerivedKeys,
                };
                let by = match ty {
                    CKM_SP800_108_FEEDBACK_KDF => mechanism(ty, &mut feedback),
                    _ => mechanism(ty, &mut plain),
                };
                table.add(format!("KBKDF {ty:#x}, {what}"), world.begin(F::Derive, by, key), expected);
            };
        let none = (null_mut(), 0);
        for prf in NO_PRFS {
            add(&format!("prf {prf:#x}"), prf, &[iteration], none, INVALID);
        }
        // "For an AES-CMAC PRF the base key must be of type CKK_AES."
        for prf in [CKM_AES_CMAC, CKM_DES3_CMAC] {
            add(&format!("prf {prf:#x} under a generic key"), prf, &[iteration], none, CKR_KEY_TYPE_INCONSISTENT);
        }
        let hmac = CKM_SHA256_HMAC;
        for type_ in [0, 7, UNKNOWN, CK_ULONG::MAX] {
            add(&format!("field {type_:#x}"), hmac, &[iteration, field(type_, &mut byte)], none, INVALID);
        }
        add("no iteration", hmac, &[field(CK_SP800_108_BYTE_ARRAY, &mut byte)], none, INVALID);
        add("no field", hmac, &[], none, INVALID);
        add("two iterations", hmac, &[iteration, iteration], none, INVALID);
        add("the other modes' iteration", hmac, &[other], none, INVALID);
        add("bytes of none", hmac, &[iteration, empty(CK_SP800_108_BYTE_ARRAY)], none, INVALID);
        add("a length of no method", hmac, &[iteration, field(CK_SP800_108_DKM_LENGTH, &mut method)], none, INVALID);
        add("a length too long for it", hmac, &[iteration, field(CK_SP800_108_DKM_LENGTH, &mut narrow)], none, INVALID);
        let twice = [iteration, field(CK_SP800_108_DKM_LENGTH, &mut sum), field(CK_SP800_108_DKM_LENGTH, &mut sum)];
        add("two lengths", hmac, &twice, none, INVALID);
        add("one length", hmac, &twice[..2], none, CKR_OK);
        let key_field = field(CK_SP800_108_KEY_HANDLE, &mut handle);
        add("no such key", hmac, &[iteration, key_field], none, CKR_KEY_HANDLE_INVALID);
        for (what, format) in [("odd", &mut odd), ("no", &mut no_width), ("endless", &mut endless), ("five", &mut five)]
        {
            let of = if counts {
                vec![field(ITERATION, format)]
            } else {
                vec![iteration, field(CK_SP800_108_COUNTER, format)]
            };
            add(&format!("{what} bits of counter"), hmac, &of, none, INVALID);
        }
        let with_counter = [iteration, field(CK_SP800_108_COUNTER, &mut wide)];
        add("a counter", hmac, &with_counter, none, if counts { INVALID } else { CKR_OK });
        // Further keys: told of but not there, and without a place for the handle.
        add("one key at NULL", hmac, &[iteration], (null_mut(), 1), INVALID);
        let wanted: [Attr; 1] = [ulong(CKA_VALUE_LEN, 16)];
        let mut wanted = attributes(&wanted);
        let mut placeless = CK_DERIVED_KEY { pTemplate: wanted.as_mut_ptr(), ulAttributeCount: 1, phKey: null_mut() };
        add("no place for a key", hmac, &[iteration], (&raw mut placeless, 1), INVALID);
        // More keys than anyone has.
        add("endless keys", hmac, &[iteration], (&raw mut placeless, CK_ULONG::MAX), INVALID);
    }
}

fn of_hashed(world: &World, table: &mut Table) {
    let context = |hedgeVariant, ulContextLen, pContext, hash| CK_HASH_SIGN_ADDITIONAL_CONTEXT {
        hedgeVariant,
        pContext,
        ulContextLen,
        hash,
    };
    let mut long = [0u8; 256];
    let both = [F::Sign, F::Verify];
    for (ty, key_type) in [(CKM_HASH_ML_DSA, CKK_ML_DSA), (CKM_HASH_SLH_DSA, CKK_SLH_DSA)] {
        for hash in NO_HASHES {
            let parameter = context(CKH_HEDGE_PREFERRED, 0, null_mut(), hash);
            each(world, table, (ty, &both), key_type, (format!("hash {hash:#x}"), parameter, INVALID));
        }
        let parameter = context(CKH_HEDGE_PREFERRED, 256, long.as_mut_ptr(), CKM_SHA256);
        each(world, table, (ty, &both), key_type, ("a long context".into(), parameter, INVALID));
        let parameter = context(CKH_HEDGE_PREFERRED, 255, long.as_mut_ptr(), CKM_SHA256);
        each(world, table, (ty, &both), key_type, ("known".into(), parameter, CKR_OK));
        // "On verification the hedgeVariant parameter is ignored."
        for hedge in [3, UNKNOWN, CK_ULONG::MAX] {
            let parameter = context(hedge as CK_HEDGE_TYPE, 0, null_mut(), CKM_SHA256);
            each(world, table, (ty, &[F::Sign]), key_type, (format!("hedge {hedge:#x}"), parameter, INVALID));
            each(world, table, (ty, &[F::Verify]), key_type, (format!("hedge {hedge:#x}"), parameter, CKR_OK));
        }
    }
    for (ty, key_type) in [
        (CKM_ML_DSA, CKK_ML_DSA),
        (CKM_HASH_ML_DSA_SHA256, CKK_ML_DSA),
        (CKM_SLH_DSA, CKK_SLH_DSA),
        (CKM_HASH_SLH_DSA_SHA256, CKK_SLH_DSA),
    ] {
        for hedge in [3, UNKNOWN, CK_ULONG::MAX] {
            let parameter = CK_SIGN_ADDITIONAL_CONTEXT {
                hedgeVariant: hedge as CK_HEDGE_TYPE,
                pContext: null_mut(),
                ulContextLen: 0,
            };
            each(world, table, (ty, &[F::Sign]), key_type, (format!("hedge {hedge:#x}"), parameter, INVALID));
            each(world, table, (ty, &[F::Verify]), key_type, (format!("hedge {hedge:#x}"), parameter, CKR_OK));
        }
    }
}

fn of_tls(world: &World, table: &mut Table) {
    let secret = world.secret(CKK_GENERIC_SECRET, &[3; 48]);
    let (mut client, mut server, mut label) = ([1u8; 32], [2u8; 32], *b"label");
    let RandomInfo = CK_SSL3_RANDOM_DATA {
        pClientRandom: client.as_mut_ptr(),
        ulClientRandomLen: 32,
        pServerRandom: server.as_mut_ptr(),
        ulServerRandomLen: 32,
    };
    let mut add = |ty, hash: CK_ULONG, function, by| {
        table.add(format!("TLS {ty:#x}, hash {hash:#x}"), world.begin(function, by, secret), INVALID);
    };
    for hash in NO_HASHES {
        for ty in [CKM_TLS12_MASTER_KEY_DERIVE, CKM_TLS12_MASTER_KEY_DERIVE_DH] {
            let pVersion = null_mut();
            let mut p = CK_TLS12_MASTER_KEY_DERIVE_PARAMS { RandomInfo, pVersion, prfHashMechanism: hash };
            add(ty, hash, F::Derive, mechanism(ty, &mut p));
        }
        for ty in [CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE, CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH] {
            let mut p = CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS {
                prfHashMechanism: hash,
                pSessionHash: client.as_mut_ptr(),
                ulSessionHashLen: 32,
                pVersion: null_mut(),
            };
            add(ty, hash, F::Derive, mechanism(ty, &mut p));
        }
        for ty in [CKM_TLS_KDF, CKM_TLS12_KDF] {
            let mut p = CK_TLS_KDF_PARAMS {
                prfMechanism: hash,
                pLabel: label.as_mut_ptr(),
                ulLabelLength: 5,
                RandomInfo,
                pContextData: null_mut(),
                ulContextDataLength: 0,
            };
            add(ty, hash, F::Derive, mechanism(ty, &mut p));
        }
        let mut p = CK_TLS_MAC_PARAMS { prfHashMechanism: hash, ulMacLength: 12, ulServerOrClient: 1 };
        add(CKM_TLS12_MAC, hash, F::Sign, mechanism(CKM_TLS12_MAC, &mut p));
        add(CKM_TLS_MAC, hash, F::Sign, mechanism(CKM_TLS_MAC, &mut p));
    }
    for sender in [0, 3, UNKNOWN] {
        let mut p = CK_TLS_MAC_PARAMS { prfHashMechanism: CKM_SHA256, ulMacLength: 12, ulServerOrClient: sender };
        add(CKM_TLS12_MAC, sender, F::Verify, mechanism(CKM_TLS12_MAC, &mut p));
    }
}

fn of_ike(world: &World, table: &mut Table) {
    let key = world.secret(CKK_GENERIC_SECRET, &[3; 32]);
    let mut nonce = [1u8; 16];
    let (pointer, len) = (nonce.as_mut_ptr(), 16);
    for prf in NO_PRFS {
        let mut add =
            |ty, by| table.add(format!("IKE {ty:#x}, prf {prf:#x}"), world.begin(F::Derive, by, key), INVALID);
        let mut p = CK_IKE2_PRF_PLUS_DERIVE_PARAMS {
            prfMechanism: prf,
            bHasSeedKey: CK_FALSE,
            hSeedKey: 0,
            pSeedData: pointer,
            ulSeedDataLen: len,
        };
        add(CKM_IKE2_PRF_PLUS_DERIVE, mechanism(CKM_IKE2_PRF_PLUS_DERIVE, &mut p));
        let mut p = CK_IKE1_EXTENDED_DERIVE_PARAMS {
            prfMechanism: prf,
            bHasKeygxy: CK_FALSE,
            hKeygxy: 0,
            pExtraData: pointer,
            ulExtraDataLen: len,
        };
        add(CKM_IKE1_EXTENDED_DERIVE, mechanism(CKM_IKE1_EXTENDED_DERIVE, &mut p));
        let mut p = CK_IKE1_PRF_DERIVE_PARAMS {
            prfMechanism: prf,
            bHasPrevKey: CK_FALSE,
            hKeygxy: key,
            hPrevKey: 0,
            pCKYi: pointer,
            ulCKYiLen: 8,
            pCKYr: pointer,
            ulCKYrLen: 8,
            keyNumber: 0,
        };
        add(CKM_IKE1_PRF_DERIVE, mechanism(CKM_IKE1_PRF_DERIVE, &mut p));
    }
    for source in [0, 2, UNKNOWN] {
        let mut p = CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: source,
            pSaltSourceData: pointer.cast(),
            ulSaltSourceDataLen: len,
            iterations: 10,
            prf: CKP_PKCS5_PBKD2_HMAC_SHA256,
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: pointer,
            ulPasswordLen: len,
        };
        let by = mechanism(CKM_PKCS5_PBKD2, &mut p);
        table.add(format!("PBKDF2, salt source {source:#x}"), world.begin(F::Generate, by, 0), INVALID);
    }
}
