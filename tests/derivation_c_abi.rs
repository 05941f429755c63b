//! Derivations through the C ABI, where more than one handle comes back, and what else the boundary and the token add to
//! the functions that `derivation.rs` tests. One test, since one process holds one configuration.

#[allow(dead_code)] // The ciphers are another test's.
#[path = "openssl_c_abi/module.rs"]
mod module;
#[allow(non_snake_case)] // Fields of the C structures, by their names.
#[path = "derivation_c_abi/kbkdf.rs"]
mod kbkdf;

use std::ptr::{from_mut, null_mut};

use cryptoki_sys::*;
use module::{Attr, Module, attributes, bytes, mechanism, no, plain, ulong, yes};

const NEVER: CK_OBJECT_HANDLE = 0x5a5a;

#[test]
fn derivations_through_the_c_abi() {
    let directory =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("derivation-c-abi-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let module = Module::new(&directory);
    further_keys(&module);
    kbkdf::several_keys(&module);
    key_material(&module);
    master_secrets(&module);
    data_objects(&module);
    public_from_private(&module);
    passwords(&module);
    groups(&module);
    wrapping_on_curves(&module);
    std::fs::remove_dir_all(directory).unwrap();
}

/// A generic secret that may be derived from, and read.
fn base(module: &Module, value: &[u8], more: &[Attr]) -> CK_OBJECT_HANDLE {
    let mut template = vec![
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        bytes(CKA_VALUE, value),
        yes(CKA_DERIVE),
    ];
    template.extend_from_slice(more);
    module.create(&template)
}

fn open() -> [Attr; 2] {
    [no(CKA_SENSITIVE), yes(CKA_EXTRACTABLE)]
}

fn readable(length: CK_ULONG) -> Vec<Attr> {
    [&open()[..], &[ulong(CKA_VALUE_LEN, length)]].concat()
}

fn further_keys(module: &Module) {
    let base = base(module, b"base", &open());
    let mut counter = CK_SP800_108_COUNTER_FORMAT { bLittleEndian: CK_FALSE, ulWidthInBits: 32 };
    let mut fields = [CK_PRF_DATA_PARAM {
        type_: CK_SP800_108_ITERATION_VARIABLE,
        pValue: from_mut(&mut counter).cast(),
        ulValueLen: size_of::<CK_SP800_108_COUNTER_FORMAT>() as CK_ULONG,
    }];
    let mut derive = |templates: [&[Attr]; 2]| {
        let mut lists = templates.map(attributes);
        let mut handles = [NEVER; 2];
        let mut place = handles.iter_mut();
        let mut derived = lists.each_mut().map(|list| CK_DERIVED_KEY {
            pTemplate: list.as_mut_ptr(),
            ulAttributeCount: list.len() as CK_ULONG,
            phKey: from_mut(place.next().unwrap()),
        });
        let mut params = CK_SP800_108_KDF_PARAMS {
            prfType: CKM_SHA256_HMAC,
            ulNumberOfDataParams: 1,
            pDataParams: fields.as_mut_ptr(),
            ulAdditionalDerivedKeys: 2,
            pAdditionalDerivedKeys: derived.as_mut_ptr(),
        };
        let mut first = NEVER;
        let by = mechanism(CKM_SP800_108_COUNTER_KDF, &mut params);
        let rv = module.try_derive(by, base, &readable(32), &mut first);
        (rv, first, handles)
    };
    let aes = [&open()[..], &[ulong(CKA_KEY_TYPE, CKK_AES), ulong(CKA_VALUE_LEN, 16)]].concat();
    let (rv, first, handles) = derive([&readable(5), &aes]);
    assert_eq!(rv, CKR_OK);
    let lengths = [first, handles[0], handles[1]].map(|key| module.value(key, CKA_VALUE).len());
    assert_eq!(lengths, [32, 5, 16]);
    assert_eq!(module.value(handles[1], CKA_KEY_TYPE), CKK_AES.to_ne_bytes());
    // The templates leave the protection open: it is the base key's.
    let (_, _, inherited) = derive([&[ulong(CKA_VALUE_LEN, 5)], &aes]);
    assert_eq!(module.value(inherited[0], CKA_SENSITIVE), [CK_FALSE]);
    assert_eq!(module.value(inherited[0], CKA_VALUE), module.value(handles[0], CKA_VALUE));
    // A template at fault is told, and nothing is made.
    for (bad, rv) in [
        (open().to_vec(), CKR_TEMPLATE_INCOMPLETE),
        (readable(0), CKR_KEY_SIZE_RANGE),
        (vec![ulong(CKA_MODULUS_BITS, 1)], CKR_TEMPLATE_INCONSISTENT),
    ] {
        assert_eq!(derive([&aes, &bad]), (rv, NEVER, [NEVER, CK_INVALID_HANDLE]), "{bad:?}");
    }
}

fn randoms(client: &mut [u8; 32], server: &mut [u8; 32]) -> CK_SSL3_RANDOM_DATA {
    CK_SSL3_RANDOM_DATA {
        pClientRandom: client.as_mut_ptr(),
        ulClientRandomLen: 32,
        pServerRandom: server.as_mut_ptr(),
        ulServerRandomLen: 32,
    }
}

fn key_material(module: &Module) {
    let secret = base(module, &[3; 48], &open());
    let (mut client, mut server) = ([1; 32], [2; 32]);
    let (mut iv_client, mut iv_server) = ([0u8; 4], [0u8; 4]);
    let mut out = CK_SSL3_KEY_MAT_OUT {
        hClientMacSecret: NEVER,
        hServerMacSecret: NEVER,
        hClientKey: NEVER,
        hServerKey: NEVER,
        pIVClient: iv_client.as_mut_ptr(),
        pIVServer: iv_server.as_mut_ptr(),
    };
    let mut params = CK_TLS12_KEY_MAT_PARAMS {
        ulMacSizeInBits: 160,
        ulKeySizeInBits: 128,
        ulIVSizeInBits: 32,
        bIsExport: CK_FALSE,
        RandomInfo: randoms(&mut client, &mut server),
        pReturnedKeyMaterial: &mut out,
        prfHashMechanism: CKM_SHA256,
    };
    let aes = [ulong(CKA_KEY_TYPE, CKK_AES)];
    let by = mechanism(CKM_TLS12_KEY_AND_MAC_DERIVE, &mut params);
    assert_eq!(module.try_derive(by, secret, &aes, null_mut()), CKR_OK);
    let handles = [out.hClientMacSecret, out.hServerMacSecret, out.hClientKey, out.hServerKey];
    assert_eq!(handles.map(|key| module.value(key, CKA_VALUE).len()), [20, 20, 16, 16]);
    assert_ne!(module.value(handles[2], CKA_VALUE), module.value(handles[3], CKA_VALUE));
    assert_eq!(module.value(handles[2], CKA_ENCRYPT), [CK_TRUE]);
    assert_eq!(module.value(handles[0], CKA_SIGN), [CK_TRUE]);
    assert!(iv_client != [0; 4] && iv_server != iv_client);
    // Protection that differs from the master secret's, and a missing place for the results.
    let refused = module.try_derive(by, secret, &[aes[0].clone(), yes(CKA_SENSITIVE)], null_mut());
    assert_eq!(refused, CKR_TEMPLATE_INCONSISTENT);
    out.pIVServer = null_mut();
    assert_eq!(module.try_derive(by, secret, &aes, null_mut()), CKR_MECHANISM_PARAM_INVALID);
    params.ulMacSizeInBits = 0;
    let by = mechanism(CKM_TLS12_KEY_SAFE_DERIVE, &mut params);
    assert_eq!(module.try_derive(by, secret, &aes, null_mut()), CKR_OK);
    assert_eq!((out.hClientMacSecret, out.hServerMacSecret), (CK_INVALID_HANDLE, CK_INVALID_HANDLE));
    assert_eq!(module.value(out.hServerKey, CKA_VALUE).len(), 16);
    params.pReturnedKeyMaterial = null_mut();
    let by = mechanism(CKM_TLS12_KEY_SAFE_DERIVE, &mut params);
    assert_eq!(module.try_derive(by, secret, &aes, null_mut()), CKR_MECHANISM_PARAM_INVALID);
}

fn master_secrets(module: &Module) {
    let mut value = [7; 48];
    value[..2].copy_from_slice(&[3, 3]);
    let before = base(module, &value, &[]);
    let (mut client, mut server) = ([1; 32], [2; 32]);
    let mut version = CK_VERSION { major: 0, minor: 0 };
    let mut params = CK_TLS12_MASTER_KEY_DERIVE_PARAMS {
        RandomInfo: randoms(&mut client, &mut server),
        pVersion: &mut version,
        prfHashMechanism: CKM_SHA256,
    };
    let secret = module.derive(mechanism(CKM_TLS12_MASTER_KEY_DERIVE, &mut params), before, &[]);
    assert_eq!((version.major, version.minor), (3, 3));
    assert_eq!(module.value(secret, CKA_VALUE_LEN), 48u64.to_ne_bytes());
    // It is for TLS alone.
    let mut data = CK_KEY_DERIVATION_STRING_DATA { pData: null_mut(), ulLen: 0 };
    let by = mechanism(CKM_CONCATENATE_BASE_AND_DATA, &mut data);
    assert_eq!(module.try_derive(by, secret, &[], &mut 0), CKR_MECHANISM_INVALID);
    let mut mac = CK_TLS_MAC_PARAMS { prfHashMechanism: CKM_SHA256, ulMacLength: 12, ulServerOrClient: 1 };
    let tag = module.sign(mechanism(CKM_TLS_MAC, &mut mac), secret, b"the handshake's hash");
    assert_eq!(tag.len(), 12);
    assert_eq!(module.verify(mechanism(CKM_TLS_MAC, &mut mac), secret, b"the handshake's hash", &tag), CKR_OK);
    // The place of the key's own handle is needed here.
    let by = mechanism(CKM_TLS12_MASTER_KEY_DERIVE, &mut params);
    assert_eq!(module.try_derive(by, before, &[], null_mut()), CKR_ARGUMENTS_BAD);
}

fn data_objects(module: &Module) {
    let mut salt = *b"salt";
    let mut params = CK_HKDF_PARAMS {
        bExtract: CK_TRUE,
        bExpand: CK_TRUE,
        prfHashMechanism: CKM_SHA256,
        ulSaltType: CKF_HKDF_SALT_DATA,
        pSalt: salt.as_mut_ptr(),
        ulSaltLen: 4,
        hSaltKey: 0,
        pInfo: null_mut(),
        ulInfoLen: 0,
    };
    let secret = base(module, &[9; 32], &[]);
    let data = module.derive(mechanism(CKM_HKDF_DATA, &mut params), secret, &[ulong(CKA_VALUE_LEN, 20)]);
    assert_eq!(module.value(data, CKA_CLASS), CKO_DATA.to_ne_bytes());
    let key = module.derive(mechanism(CKM_HKDF_DERIVE, &mut params), secret, &readable(20));
    assert_eq!(module.value(data, CKA_VALUE), module.value(key, CKA_VALUE));
    // As long as the hash, a data object is a base as the same bytes of a key are.
    let found = |length: usize| {
        let object = module.create(&[ulong(CKA_CLASS, CKO_DATA), bytes(CKA_VALUE, &vec![9; length])]);
        let mut handle = 0;
        let mut params = params;
        let rv = module.try_derive(mechanism(CKM_HKDF_DERIVE, &mut params), object, &readable(20), &mut handle);
        (rv, handle)
    };
    let (rv, same) = found(32);
    assert_eq!((rv, module.value(same, CKA_VALUE)), (CKR_OK, module.value(key, CKA_VALUE)));
    assert_eq!(found(31).0, CKR_KEY_SIZE_RANGE);
    // A salt that is a key must be one to derive from.
    let closed = base(module, b"salt", &[]);
    let fixed = module.create(&[
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        bytes(CKA_VALUE, b"salt"),
        no(CKA_DERIVE),
    ]);
    for (salt, expected) in [(closed, CKR_OK), (fixed, CKR_KEY_FUNCTION_NOT_PERMITTED), (NEVER, CKR_KEY_HANDLE_INVALID)]
    {
        (params.ulSaltType, params.hSaltKey) = (CKF_HKDF_SALT_KEY, salt);
        let mut handle = 0;
        let rv = module.try_derive(mechanism(CKM_HKDF_DERIVE, &mut params), secret, &readable(20), &mut handle);
        assert_eq!(rv, expected);
        if rv == CKR_OK {
            assert_eq!(module.value(handle, CKA_VALUE), module.value(key, CKA_VALUE));
        }
    }
}

/// P-256's and brainpoolP256r1's object identifiers.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const BRAINPOOL_256: &[u8] = &[0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07];

fn public_from_private(module: &Module) {
    for curve in [P256, BRAINPOOL_256] {
        let (public, private) = module.generate_pair(
            CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS,
            &[bytes(CKA_EC_PARAMS, curve)],
            &[bytes(CKA_ID, b"id"), no(CKA_DERIVE)],
        );
        let again = module.derive(plain(CKM_PUB_KEY_FROM_PRIV_KEY), private, &[bytes(CKA_LABEL, b"again")]);
        for ty in [CKA_EC_POINT, CKA_EC_PARAMS, CKA_PUBLIC_KEY_INFO, CKA_KEY_GEN_MECHANISM] {
            assert_eq!(module.value(again, ty), module.value(public, ty), "{ty:#x}");
        }
        let expected: [(CK_ATTRIBUTE_TYPE, &[u8]); 5] = [
            (CKA_ID, b"id"),
            (CKA_LABEL, b"again"),
            (CKA_LOCAL, &[CK_FALSE]),
            (CKA_PRIVATE, &[CK_FALSE]),
            (CKA_VERIFY, &[CK_TRUE]),
        ];
        expected.into_iter().for_each(|(ty, value)| assert_eq!(module.value(again, ty), value, "{ty:#x}"));
        let signature = module.sign(plain(CKM_ECDSA_SHA256), private, b"message");
        assert_eq!(module.verify(plain(CKM_ECDSA_SHA256), again, b"message", &signature), CKR_OK);
        assert_eq!(module.try_derive(plain(CKM_PUB_KEY_FROM_PRIV_KEY), public, &[], &mut 0), CKR_KEY_TYPE_INCONSISTENT);
    }
}

fn passwords(module: &Module) {
    let (mut salt, mut password) = (*b"salt", *b"password");
    let mut new = CK_PKCS5_PBKD2_PARAMS2 {
        saltSource: CKZ_SALT_SPECIFIED,
        pSaltSourceData: salt.as_mut_ptr().cast(),
        ulSaltSourceDataLen: 4,
        iterations: 4096,
        prf: CKP_PKCS5_PBKD2_HMAC_SHA1,
        pPrfData: null_mut(),
        ulPrfDataLen: 0,
        pPassword: password.as_mut_ptr(),
        ulPasswordLen: 8,
    };
    let mut length: CK_ULONG = 8;
    let mut old = CK_PKCS5_PBKD2_PARAMS {
        saltSource: new.saltSource,
        pSaltSourceData: new.pSaltSourceData,
        ulSaltSourceDataLen: 4,
        iterations: 4096,
        prf: new.prf,
        pPrfData: null_mut(),
        ulPrfDataLen: 0,
        pPassword: new.pPassword,
        ulPasswordLen: &mut length,
    };
    let template = [&readable(20)[..], &[ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET)]].concat();
    // RFC 6070.
    let expected = hex::decode("4b007901b765489abead49d926f721d065a429c1").unwrap();
    for by in [mechanism(CKM_PKCS5_PBKD2, &mut new), mechanism(CKM_PKCS5_PBKD2, &mut old)] {
        assert_eq!(module.value(module.generate(by, &template), CKA_VALUE), expected);
    }
    let aes = [&open()[..], &[ulong(CKA_KEY_TYPE, CKK_AES), ulong(CKA_VALUE_LEN, 32)]].concat();
    assert_eq!(module.value(module.generate(mechanism(CKM_PKCS5_PBKD2, &mut new), &aes), CKA_VALUE)[..20], expected);
}

/// DSA's parameters serve X9.42 too.
fn groups(module: &Module) {
    let parameters = module.generate(plain(CKM_DSA_PARAMETER_GEN), &[ulong(CKA_PRIME_BITS, 1024)]);
    assert_eq!(module.value(parameters, CKA_CLASS), CKO_DOMAIN_PARAMETERS.to_ne_bytes());
    assert_eq!(module.value(parameters, CKA_SUBPRIME_BITS), 160u64.to_ne_bytes());
    let group: Vec<Attr> = [CKA_PRIME, CKA_SUBPRIME, CKA_BASE].map(|ty| (ty, module.value(parameters, ty))).to_vec();
    let (public, private) = module.generate_pair(CKM_DSA_KEY_PAIR_GEN, &group, &[]);
    let signature = module.sign(plain(CKM_DSA_SHA256), private, b"message");
    assert_eq!(module.verify(plain(CKM_DSA_SHA256), public, b"message", &signature), CKR_OK);
    assert_eq!(module.verify(plain(CKM_DSA_SHA256), public, b"messagE", &signature), CKR_SIGNATURE_INVALID);

    let pair = || module.generate_pair(CKM_X9_42_DH_KEY_PAIR_GEN, &group, &[yes(CKA_DERIVE)]);
    let (one, other) = (pair(), pair());
    let agree = |private, public| {
        let mut value = module.value(public, CKA_VALUE);
        let mut params = CK_X9_42_DH1_DERIVE_PARAMS {
            kdf: CKD_NULL,
            ulOtherInfoLen: 0,
            pOtherInfo: null_mut(),
            ulPublicDataLen: value.len() as CK_ULONG,
            pPublicData: value.as_mut_ptr(),
        };
        module.value(module.derive(mechanism(CKM_X9_42_DH_DERIVE, &mut params), private, &readable(32)), CKA_VALUE)
    };
    assert_eq!(agree(one.1, other.0), agree(other.1, one.0));

    let group: Vec<Attr> = [CKA_PRIME, CKA_BASE].map(|ty| (ty, module.value(parameters, ty))).to_vec();
    let pair =
        || module.generate_pair(CKM_DH_PKCS_KEY_PAIR_GEN, &group, &[yes(CKA_DERIVE), ulong(CKA_VALUE_BITS, 256)]);
    let (one, other) = (pair(), pair());
    assert_eq!(module.value(one.1, CKA_VALUE_BITS), 256u64.to_ne_bytes());
    let agree = |private, public| {
        let mut value = module.value(public, CKA_VALUE);
        let by = CK_MECHANISM {
            mechanism: CKM_DH_PKCS_DERIVE,
            pParameter: value.as_mut_ptr().cast(),
            ulParameterLen: value.len() as CK_ULONG,
        };
        module.value(module.derive(by, private, &readable(32)), CKA_VALUE)
    };
    assert_eq!(agree(one.1, other.0), agree(other.1, one.0));
}

fn wrapping_on_curves(module: &Module) {
    let (public, private) =
        module.generate_pair(CKM_EC_KEY_PAIR_GEN, &[bytes(CKA_EC_PARAMS, BRAINPOOL_256)], &[yes(CKA_UNWRAP)]);
    let target = base(module, b"a key to wrap", &open());
    let mut shared = *b"shared";
    let mut params = CK_ECDH_AES_KEY_WRAP_PARAMS {
        ulAESKeyBits: 256,
        kdf: CKD_SHA256_KDF,
        ulSharedDataLen: 6,
        pSharedData: shared.as_mut_ptr(),
    };
    for ty in [CKM_ECDH_AES_KEY_WRAP, CKM_ECDH_COF_AES_KEY_WRAP] {
        let wrapped = module.wrap(mechanism(ty, &mut params), public, target);
        let template =
            [&open()[..], &[ulong(CKA_CLASS, CKO_SECRET_KEY), ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET)]].concat();
        let back = module.unwrap(mechanism(ty, &mut params), private, &wrapped, &template);
        assert_eq!(module.value(back, CKA_VALUE), b"a key to wrap");
    }
}
