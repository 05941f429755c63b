//! The parameters of a line, as the structures of the C ABI.

use std::any::Any;
use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::mechanism::table;

use super::module::{Module, mechanism, ulong};
use super::{Line, key, open, secret};

/// A mechanism, and what its parameter points to.
pub struct Parameter {
    pub mechanism: CK_MECHANISM,
    _kept: Vec<Box<dyn Any>>,
}

/// Keeps what pointers point to.
#[derive(Default)]
struct Keep(Vec<Box<dyn Any>>);

impl Keep {
    fn one<T: 'static>(&mut self, value: T) -> *mut T {
        let mut boxed = Box::new(value);
        let place = &raw mut *boxed;
        self.0.push(boxed);
        place
    }

    /// Of a text in hexadecimal: where the bytes are, and how many.
    fn bytes(&mut self, text: &str) -> (*mut u8, CK_ULONG) {
        let mut bytes = hex::decode(text).unwrap();
        let (place, len) = (bytes.as_mut_ptr(), bytes.len() as CK_ULONG);
        self.0.push(Box::new(bytes));
        (if len == 0 { null_mut() } else { place }, len)
    }

    fn randoms(&mut self, client: &str, server: &str) -> CK_SSL3_RANDOM_DATA {
        let ((client, client_len), (server, server_len)) = (self.bytes(client), self.bytes(server));
        CK_SSL3_RANDOM_DATA {
            pClientRandom: client,
            ulClientRandomLen: client_len,
            pServerRandom: server,
            ulServerRandomLen: server_len,
        }
    }
}

fn number(text: &str) -> CK_ULONG {
    match text {
        "CKG_MGF1_SHA1" => CKG_MGF1_SHA1,
        "CKG_MGF1_SHA224" => CKG_MGF1_SHA224,
        "CKG_MGF1_SHA256" => CKG_MGF1_SHA256,
        "CKG_MGF1_SHA384" => CKG_MGF1_SHA384,
        "CKG_MGF1_SHA512" => CKG_MGF1_SHA512,
        "CKG_MGF1_SHA3_224" => CKG_MGF1_SHA3_224,
        "CKG_MGF1_SHA3_256" => CKG_MGF1_SHA3_256,
        "CKG_MGF1_SHA3_384" => CKG_MGF1_SHA3_384,
        "CKG_MGF1_SHA3_512" => CKG_MGF1_SHA3_512,
        "CKD_NULL" => CKD_NULL,
        "CKD_SHA256_KDF" => CKD_SHA256_KDF,
        name if name.starts_with("CKM_") => table::by_name(name).unwrap().ty,
        digits => digits.parse().unwrap(),
    }
}

#[allow(non_snake_case)] // The structures' own names.
pub fn parameter(module: &Module, line: &Line) -> Parameter {
    let (ty, mut keep) = (line.row.ty, Keep::default());
    let parts: Vec<&str> = line.text("p").split(':').collect();
    macro_rules! of {
        ($structure:expr) => {{
            let structure = $structure;
            let place = keep.one(structure);
            // SAFETY: just made, and kept.
            mechanism(ty, unsafe { &mut *place })
        }};
    }
    let bare = |(place, len): (*mut u8, CK_ULONG)| CK_MECHANISM {
        mechanism: ty,
        pParameter: place.cast(),
        ulParameterLen: len,
    };
    let mechanism = match (line.what.as_str(), &parts[..]) {
        ("keys", _) | (_, [""]) => bare((null_mut(), 0)),
        ("password", [salt, iterations, password]) => {
            let ((salt, salt_len), (password, password_len)) = (keep.bytes(salt), keep.bytes(password));
            of!(CK_PKCS5_PBKD2_PARAMS2 {
                saltSource: CKZ_SALT_SPECIFIED,
                pSaltSourceData: salt.cast(),
                ulSaltSourceDataLen: salt_len,
                iterations: number(iterations),
                prf: CKP_PKCS5_PBKD2_HMAC_SHA1,
                pPrfData: null_mut(),
                ulPrfDataLen: 0,
                pPassword: password,
                ulPasswordLen: password_len,
            })
        }
        (_, ["iv" | "raw", iv]) => bare(keep.bytes(iv)),
        (_, ["num", value]) => of!(number(value)),
        (_, ["ctr", bits, block]) => {
            of!(CK_AES_CTR_PARAMS { ulCounterBits: number(bits), cb: hex::decode(block).unwrap().try_into().unwrap() })
        }
        (_, ["gcm", iv, aad, bits]) => {
            let ((pIv, ulIvLen), (pAAD, ulAADLen)) = (keep.bytes(iv), keep.bytes(aad));
            of!(CK_GCM_PARAMS { pIv, ulIvLen, ulIvBits: 8 * ulIvLen, pAAD, ulAADLen, ulTagBits: number(bits) })
        }
        (_, ["ccm", len, nonce, aad, mac]) => {
            let ((pNonce, ulNonceLen), (pAAD, ulAADLen)) = (keep.bytes(nonce), keep.bytes(aad));
            let (ulDataLen, ulMACLen) = (number(len), number(mac));
            of!(CK_CCM_PARAMS { ulDataLen, pNonce, ulNonceLen, pAAD, ulAADLen, ulMACLen })
        }
        (_, ["chacha", counter, nonce]) => {
            let ((pBlockCounter, len), (pNonce, nonce_len)) = (keep.bytes(counter), keep.bytes(nonce));
            of!(CK_CHACHA20_PARAMS { pBlockCounter, blockCounterBits: 8 * len, pNonce, ulNonceBits: 8 * nonce_len })
        }
        (_, ["salsa", counter, nonce]) => {
            let ((pBlockCounter, _), (pNonce, nonce_len)) = (keep.bytes(counter), keep.bytes(nonce));
            of!(CK_SALSA20_PARAMS { pBlockCounter, pNonce, ulNonceBits: 8 * nonce_len })
        }
        (_, ["aead", nonce, aad]) => {
            let ((pNonce, len), (pAAD, ulAADLen)) = (keep.bytes(nonce), keep.bytes(aad));
            of!(CK_SALSA20_CHACHA20_POLY1305_PARAMS { pNonce, ulNonceLen: 8 * len, pAAD, ulAADLen })
        }
        (_, ["pss", hash, mgf, salt]) => {
            of!(CK_RSA_PKCS_PSS_PARAMS { hashAlg: number(hash), mgf: number(mgf), sLen: number(salt) })
        }
        (_, ["oaep", hash, mgf]) => of!(oaep(hash, mgf)),
        (_, ["rsaaes", bits, hash, mgf]) => {
            let pOAEPParams = keep.one(oaep(hash, mgf));
            of!(CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: number(bits), pOAEPParams })
        }
        (_, ["ecdh", kdf, shared, public]) => {
            let ((pSharedData, ulSharedDataLen), (pPublicData, ulPublicDataLen)) =
                (keep.bytes(shared), keep.bytes(public));
            of!(CK_ECDH1_DERIVE_PARAMS { kdf: number(kdf), ulSharedDataLen, pSharedData, ulPublicDataLen, pPublicData })
        }
        (_, ["ecdhwrap", bits, kdf, shared]) => {
            let (pSharedData, ulSharedDataLen) = keep.bytes(shared);
            let (ulAESKeyBits, kdf) = (number(bits), number(kdf));
            of!(CK_ECDH_AES_KEY_WRAP_PARAMS { ulAESKeyBits, kdf, ulSharedDataLen, pSharedData })
        }
        (_, ["data", data]) => {
            let (pData, ulLen) = keep.bytes(data);
            of!(CK_KEY_DERIVATION_STRING_DATA { pData, ulLen })
        }
        (_, ["key", value]) => of!(module.create(&secret(CKK_GENERIC_SECRET, &hex::decode(value).unwrap()))),
        (_, ["cbcdata", iv, data]) => {
            let (pData, length) = keep.bytes(data);
            let iv = hex::decode(iv).unwrap();
            match iv.len() {
                8 => of!(CK_DES_CBC_ENCRYPT_DATA_PARAMS { iv: iv.try_into().unwrap(), pData, length }),
                _ => of!(CK_AES_CBC_ENCRYPT_DATA_PARAMS { iv: iv.try_into().unwrap(), pData, length }),
            }
        }
        (_, ["eddsa", prehashed, context]) => {
            let (pContextData, ulContextDataLen) = keep.bytes(context);
            let phFlag = CK_BBOOL::from(*prehashed == "1");
            of!(CK_EDDSA_PARAMS { phFlag, ulContextDataLen, pContextData })
        }
        (_, ["ctx", context]) => {
            let (pContext, ulContextLen) = keep.bytes(context);
            of!(CK_SIGN_ADDITIONAL_CONTEXT { hedgeVariant: CKH_HEDGE_PREFERRED, pContext, ulContextLen })
        }
        (_, ["hashctx", hash, context]) => {
            let (pContext, ulContextLen) = keep.bytes(context);
            let (hedgeVariant, hash) = (CKH_HEDGE_PREFERRED, number(hash));
            of!(CK_HASH_SIGN_ADDITIONAL_CONTEXT { hedgeVariant, pContext, ulContextLen, hash })
        }
        (_, ["hkdf", hash, salt, info]) => {
            let ((pSalt, ulSaltLen), (pInfo, ulInfoLen)) = (keep.bytes(salt), keep.bytes(info));
            of!(CK_HKDF_PARAMS {
                bExtract: CK_TRUE,
                bExpand: CK_TRUE,
                prfHashMechanism: number(hash),
                ulSaltType: CKF_HKDF_SALT_DATA,
                pSalt,
                ulSaltLen,
                hSaltKey: 0,
                pInfo,
                ulInfoLen,
            })
        }
        (_, ["kbkdf", prf, fixed]) => {
            let fields = fields(ty, fixed, &mut keep);
            let fields = keep.one(fields);
            of!(CK_SP800_108_KDF_PARAMS {
                prfType: number(prf),
                // SAFETY: just made, and kept.
                ulNumberOfDataParams: unsafe { (*fields).len() } as CK_ULONG,
                // SAFETY: as above.
                pDataParams: unsafe { (*fields).as_mut_ptr() },
                ulAdditionalDerivedKeys: 0,
                pAdditionalDerivedKeys: null_mut(),
            })
        }
        (_, ["feedback", prf, iv, fixed]) => {
            let (pIV, ulIVLen) = keep.bytes(iv);
            let fields = fields(ty, fixed, &mut keep);
            let fields = keep.one(fields);
            of!(CK_SP800_108_FEEDBACK_KDF_PARAMS {
                prfType: number(prf),
                // SAFETY: just made, and kept.
                ulNumberOfDataParams: unsafe { (*fields).len() } as CK_ULONG,
                // SAFETY: as above.
                pDataParams: unsafe { (*fields).as_mut_ptr() },
                ulIVLen,
                pIV,
                ulAdditionalDerivedKeys: 0,
                pAdditionalDerivedKeys: null_mut(),
            })
        }
        (_, ["tlsmaster", client, server]) => {
            let RandomInfo = keep.randoms(client, server);
            let pVersion = version(line, &mut keep);
            of!(CK_TLS12_MASTER_KEY_DERIVE_PARAMS { RandomInfo, pVersion, prfHashMechanism: CKM_SHA256 })
        }
        (_, ["tlsextended", hash]) => {
            let (pSessionHash, ulSessionHashLen) = keep.bytes(hash);
            let pVersion = version(line, &mut keep);
            let prfHashMechanism = CKM_SHA256;
            of!(CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS {
                prfHashMechanism,
                pSessionHash,
                ulSessionHashLen,
                pVersion
            })
        }
        (_, ["tlskdf", label, client, server, context]) => {
            let ((pLabel, ulLabelLength), RandomInfo) = (keep.bytes(label), keep.randoms(client, server));
            let (pContextData, ulContextDataLength) = keep.bytes(context);
            let prfMechanism = CKM_SHA256;
            of!(CK_TLS_KDF_PARAMS {
                prfMechanism,
                pLabel,
                ulLabelLength,
                RandomInfo,
                pContextData,
                ulContextDataLength
            })
        }
        (_, ["tlsmac", length, sender]) => {
            let (ulMacLength, ulServerOrClient) = (number(length), number(sender));
            of!(CK_TLS_MAC_PARAMS { prfHashMechanism: CKM_SHA256, ulMacLength, ulServerOrClient })
        }
        (_, ["ike", initiator, responder]) => {
            let ((pNi, ulNiLen), (pNr, ulNrLen)) = (keep.bytes(initiator), keep.bytes(responder));
            of!(CK_IKE_PRF_DERIVE_PARAMS {
                prfMechanism: CKM_SHA256_HMAC,
                bDataAsKey: CK_TRUE,
                bRekey: CK_FALSE,
                pNi,
                ulNiLen,
                pNr,
                ulNrLen,
                hNewKey: 0,
            })
        }
        (_, ["ike1", shared, initiator, responder, count]) => {
            let hKeygxy = module.create(&secret(CKK_GENERIC_SECRET, &hex::decode(shared).unwrap()));
            let ((pCKYi, ulCKYiLen), (pCKYr, ulCKYrLen)) = (keep.bytes(initiator), keep.bytes(responder));
            of!(CK_IKE1_PRF_DERIVE_PARAMS {
                prfMechanism: CKM_SHA256_HMAC,
                bHasPrevKey: CK_FALSE,
                hKeygxy,
                hPrevKey: 0,
                pCKYi,
                ulCKYiLen,
                pCKYr,
                ulCKYrLen,
                keyNumber: count.parse().unwrap(),
            })
        }
        (_, ["ikeext", data]) => {
            let ((pExtraData, ulExtraDataLen), prfMechanism) = (keep.bytes(data), CKM_SHA256_HMAC);
            let (bHasKeygxy, hKeygxy) = (CK_FALSE, 0);
            of!(CK_IKE1_EXTENDED_DERIVE_PARAMS { prfMechanism, bHasKeygxy, hKeygxy, pExtraData, ulExtraDataLen })
        }
        (_, ["ikeplus", data]) => {
            let ((pSeedData, ulSeedDataLen), prfMechanism) = (keep.bytes(data), CKM_SHA256_HMAC);
            let (bHasSeedKey, hSeedKey) = (CK_FALSE, 0);
            of!(CK_IKE2_PRF_PLUS_DERIVE_PARAMS { prfMechanism, bHasSeedKey, hSeedKey, pSeedData, ulSeedDataLen })
        }
        (_, ["otp", counter]) => {
            let (value, ulValueLen) = keep.bytes(counter);
            let pParams = keep.one(CK_OTP_PARAM { type_: CK_OTP_COUNTER, pValue: value.cast(), ulValueLen });
            of!(CK_OTP_PARAMS { pParams, ulCount: 1 })
        }
        other => panic!("{}: parameters {other:?}", line.row.name),
    };
    Parameter { mechanism, _kept: keep.0 }
}

fn oaep(hash: &str, mgf: &str) -> CK_RSA_PKCS_OAEP_PARAMS {
    CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: number(hash),
        mgf: number(mgf),
        source: CKZ_DATA_SPECIFIED,
        pSourceData: null_mut(),
        ulSourceDataLen: 0,
    }
}

/// Where the version goes, which the derivations for Diffie-Hellman do without.
fn version(line: &Line, keep: &mut Keep) -> *mut CK_VERSION {
    if line.text("v") == "1" { keep.one(CK_VERSION { major: 0, minor: 0 }) } else { null_mut() }
}

/// A counter of 32 bits, and fixed bytes; what is fed back before them where there is any.
#[allow(non_snake_case)]
fn fields(ty: CK_MECHANISM_TYPE, fixed: &str, keep: &mut Keep) -> Vec<CK_PRF_DATA_PARAM> {
    let counter = keep.one(CK_SP800_108_COUNTER_FORMAT { bLittleEndian: CK_FALSE, ulWidthInBits: 32 }).cast();
    let len = size_of::<CK_SP800_108_COUNTER_FORMAT>() as CK_ULONG;
    let (fixed, fixed_len) = keep.bytes(fixed);
    let field = |type_, pValue, ulValueLen| CK_PRF_DATA_PARAM { type_, pValue, ulValueLen };
    let bytes = field(CK_SP800_108_BYTE_ARRAY, fixed.cast(), fixed_len);
    match ty {
        CKM_SP800_108_COUNTER_KDF => vec![field(CK_SP800_108_ITERATION_VARIABLE, counter, len), bytes],
        _ => vec![
            field(CK_SP800_108_ITERATION_VARIABLE, null_mut(), 0),
            field(CK_SP800_108_COUNTER, counter, len),
            bytes,
        ],
    }
}

/// `CKM_TLS12_KEY_AND_MAC_DERIVE` and its kin: all keys and IVs, in the order of the key block.
pub fn key_material(module: &Module, line: &Line) {
    let parts: Vec<&str> = line.text("p").split(':').collect();
    let [mac, client, server] = parts[..] else { panic!("{}", line.row.name) };
    let (mut keep, mac) = (Keep::default(), mac.parse::<usize>().unwrap());
    let (mut client_iv, mut server_iv) = ([0u8; 4], [0u8; 4]);
    let mut made = CK_SSL3_KEY_MAT_OUT {
        hClientMacSecret: 0,
        hServerMacSecret: 0,
        hClientKey: 0,
        hServerKey: 0,
        pIVClient: client_iv.as_mut_ptr(),
        pIVServer: server_iv.as_mut_ptr(),
    };
    let mut params = CK_TLS12_KEY_MAT_PARAMS {
        ulMacSizeInBits: 8 * mac as CK_ULONG,
        ulKeySizeInBits: 128,
        ulIVSizeInBits: if mac > 0 { 32 } else { 0 },
        bIsExport: CK_FALSE,
        RandomInfo: keep.randoms(client, server),
        pReturnedKeyMaterial: &raw mut made,
        prfHashMechanism: CKM_SHA256,
    };
    let template = [&open()[..], &[ulong(CKA_KEY_TYPE, CKK_AES)]].concat();
    let by = mechanism(line.row.ty, &mut params);
    assert_eq!(module.try_derive(by, key(module, line, CKO_SECRET_KEY), &template, null_mut()), CKR_OK);
    let macs = if mac > 0 { vec![made.hClientMacSecret, made.hServerMacSecret] } else { Vec::new() };
    let keys = macs.into_iter().chain([made.hClientKey, made.hServerKey]);
    let mut block: Vec<u8> = keys.flat_map(|key| module.value(key, CKA_VALUE)).collect();
    if mac > 0 {
        block.extend([client_iv, server_iv].concat());
    }
    assert_eq!(block, line.bytes("out"), "{}", line.row.name);
}
