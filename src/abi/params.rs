//! `CK_MECHANISM` and the `CK_*_PARAMS` behind it to an owned [`Mechanism`], by the mechanism row's kind of parameter.
//!
//! Checked here is the form: lengths, pointers, enumerators of the structure itself. What the values mean is the row's.

use cryptoki_sys::*;

use super::args::{In, Plain};
use super::derivation;
use crate::error::{Code, Error, Result};
use crate::mechanism::table::{self, ParamKind};
use crate::session::Slot;
use crate::token::{Bytes, Mechanism, OaepParams, ObjectId, OtpParams, Params, PssParams};

/// `CK_GCM_PARAMS` as PKCS#11 2.20 to 2.40's text, and many clients, have it: without `ulIvBits`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ShortGcmParams {
    iv: *mut u8,
    iv_len: CK_ULONG,
    aad: *mut u8,
    aad_len: CK_ULONG,
    tag_bits: CK_ULONG,
}

// SAFETY: pointers and integers.
unsafe impl Plain for ShortGcmParams {}

/// `CKR_MECHANISM_INVALID` for an unknown mechanism; `CKR_MECHANISM_PARAM_INVALID`; `CKR_KEY_HANDLE_INVALID` for a key
/// among the parameters that is not of this slot.
pub(super) fn decode(mechanism: &CK_MECHANISM, slot: &Slot) -> Result<Mechanism> {
    let kind = match table::row(mechanism.mechanism) {
        Ok(row) => row.params,
        Err(_) if slot.token.takes_opaque(mechanism.mechanism) => {
            return Ok(Mechanism { ty: mechanism.mechanism, params: Params::Opaque(parameter(mechanism).copy()?) });
        }
        Err(error) => return Err(error),
    };
    let params = decode_kind(kind, &parameter(mechanism), &|handle| slot.object(handle)).map_err(|error| {
        match error.code() {
            // Which argument was bad, we know here.
            Code::ArgumentsBad => error.recode(Code::MechanismParamInvalid),
            Code::ObjectHandleInvalid => error.recode(Code::KeyHandleInvalid),
            _ => error,
        }
    })?;
    Ok(Mechanism { ty: mechanism.mechanism, params })
}

/// The parameter of a mechanism, as bytes.
pub(super) fn parameter(mechanism: &CK_MECHANISM) -> In {
    // SAFETY: the caller's promise for a mechanism's parameter (see `args`).
    unsafe { In::new(mechanism.pParameter.cast(), mechanism.ulParameterLen) }
}

pub(super) fn invalid() -> Error {
    Code::MechanismParamInvalid.into()
}

/// Finds the object of a handle among the parameters.
pub(super) type Find<'a> = &'a dyn Fn(CK_OBJECT_HANDLE) -> Result<ObjectId>;

fn decode_kind(kind: ParamKind, parameter: &In, object: Find) -> Result<Params> {
    match kind {
        // Some clients pass a pointer with no length.
        ParamKind::None if parameter.is_empty() => Ok(Params::None),
        ParamKind::None => Err(invalid()),
        ParamKind::OptionalIv(_) | ParamKind::Eddsa | ParamKind::SignContext if parameter.is_empty() => {
            Ok(Params::None)
        }
        ParamKind::Iv(len) | ParamKind::OptionalIv(len) => iv(parameter, len),
        ParamKind::Ctr => {
            let CK_AES_CTR_PARAMS { ulCounterBits, cb } = structure(parameter)?;
            Ok(Params::Ctr { counter_bits: ulCounterBits, block: cb })
        }
        ParamKind::Gcm => gcm(parameter),
        ParamKind::Ccm => ccm(parameter),
        ParamKind::ChaCha20 => {
            let CK_CHACHA20_PARAMS { pBlockCounter, blockCounterBits, pNonce, ulNonceBits } = structure(parameter)?;
            salsa(pBlockCounter, blockCounterBits, pNonce, ulNonceBits)
        }
        ParamKind::Salsa20 => {
            let CK_SALSA20_PARAMS { pBlockCounter, pNonce, ulNonceBits } = structure(parameter)?;
            salsa(pBlockCounter, 64, pNonce, ulNonceBits)
        }
        ParamKind::SalsaAead => {
            let CK_SALSA20_CHACHA20_POLY1305_PARAMS { pNonce, ulNonceLen, pAAD, ulAADLen } = structure(parameter)?;
            Ok(Params::SalsaAead { nonce: bytes(pNonce, nonce_len(ulNonceLen)?)?, aad: bytes(pAAD, ulAADLen)? })
        }
        ParamKind::MacLength => Ok(Params::MacLength(structure::<CK_ULONG>(parameter)?)),
        ParamKind::Number => Ok(Params::Number(structure::<CK_ULONG>(parameter)?)),
        ParamKind::Object => Ok(Params::Object(object(structure::<CK_ULONG>(parameter)?)?)),
        ParamKind::Pss => {
            let CK_RSA_PKCS_PSS_PARAMS { hashAlg, mgf, sLen } = structure(parameter)?;
            Ok(Params::Pss(PssParams { hash: hashAlg, mgf, salt_len: sLen }))
        }
        ParamKind::Oaep => Ok(Params::Oaep(oaep(parameter)?)),
        ParamKind::Ecdh => ecdh(parameter),
        ParamKind::Eddsa => eddsa(parameter),
        ParamKind::RsaAesWrap => rsa_aes_wrap(parameter),
        ParamKind::EcdhAesWrap => ecdh_aes_wrap(parameter),
        ParamKind::SignContext => {
            let CK_SIGN_ADDITIONAL_CONTEXT { hedgeVariant, pContext, ulContextLen } = structure(parameter)?;
            Ok(Params::SignContext { hedge: hedgeVariant, context: bytes(pContext, ulContextLen)?, hash: None })
        }
        ParamKind::HashSignContext => {
            let CK_HASH_SIGN_ADDITIONAL_CONTEXT { hedgeVariant, pContext, ulContextLen, hash } = structure(parameter)?;
            Ok(Params::SignContext { hedge: hedgeVariant, context: bytes(pContext, ulContextLen)?, hash: Some(hash) })
        }
        ParamKind::Otp => otp(parameter),
        ParamKind::Data => {
            let CK_KEY_DERIVATION_STRING_DATA { pData, ulLen } = structure(parameter)?;
            Ok(Params::Data(bytes(pData, ulLen)?))
        }
        ParamKind::CbcData(8) => {
            let CK_DES_CBC_ENCRYPT_DATA_PARAMS { iv, pData, length } = structure(parameter)?;
            Ok(Params::CbcData { iv: iv[..].into(), data: bytes(pData, length)? })
        }
        ParamKind::CbcData(_) => {
            let CK_AES_CBC_ENCRYPT_DATA_PARAMS { iv, pData, length } = structure(parameter)?;
            Ok(Params::CbcData { iv: iv[..].into(), data: bytes(pData, length)? })
        }
        _ => derivation::decode(kind, parameter, object)?.ok_or_else(|| Code::GeneralError.into()),
    }
}

pub(super) fn structure<P: Plain>(parameter: &In) -> Result<P> {
    parameter.structure().ok_or_else(|| {
        let (found, expected) = (parameter.len(), size_of::<P>());
        Code::MechanismParamInvalid.because(format!("a parameter of {found} bytes; {expected} expected"))
    })
}

/// Bytes that a parameter points to.
pub(super) fn bytes(ptr: *const u8, len: CK_ULONG) -> Result<Bytes> {
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    unsafe { In::new(ptr, len) }.copy()
}

fn iv(parameter: &In, len: usize) -> Result<Params> {
    if parameter.bytes()?.len() == len { Ok(Params::Iv(parameter.copy()?)) } else { Err(invalid()) }
}

fn gcm(parameter: &In) -> Result<Params> {
    let short = match parameter.structure() {
        Some(short) => short,
        None => {
            let CK_GCM_PARAMS { pIv, ulIvLen, ulIvBits: _, pAAD, ulAADLen, ulTagBits } = structure(parameter)?;
            ShortGcmParams { iv: pIv, iv_len: ulIvLen, aad: pAAD, aad_len: ulAADLen, tag_bits: ulTagBits }
        }
    };
    let (iv, aad) = (bytes(short.iv, short.iv_len)?, bytes(short.aad, short.aad_len)?);
    Ok(Params::Gcm { iv, aad, tag_bits: short.tag_bits })
}

fn ccm(parameter: &In) -> Result<Params> {
    let params = match parameter.structure() {
        Some(params) => params,
        None => {
            let CK_CCM_WRAP_PARAMS {
                ulDataLen,
                pNonce,
                ulNonceLen,
                ulNonceFixedBits: _,
                nonceGenerator,
                pAAD,
                ulAADLen,
                ulMACLen,
            } = structure(parameter)?;
            if nonceGenerator != CKG_NO_GENERATE {
                return Err(Code::MechanismParamInvalid.because("a CCM nonce is taken, not generated: CKG_NO_GENERATE"));
            }
            CK_CCM_PARAMS { ulDataLen, pNonce, ulNonceLen, pAAD, ulAADLen, ulMACLen }
        }
    };
    let CK_CCM_PARAMS { ulDataLen, pNonce, ulNonceLen, pAAD, ulAADLen, ulMACLen } = params;
    let (nonce, aad) = (bytes(pNonce, ulNonceLen)?, bytes(pAAD, ulAADLen)?);
    Ok(Params::Ccm { data_len: ulDataLen, nonce, aad, mac_len: ulMACLen })
}

/// The block counter's bytes are in the ciphers' own order, the lowest first. The nonce of RFC 8439 goes with a counter of
/// 32 bits, the others with 64 (PKCS#11 3.2, ChaCha20 mechanism); there 32 do, with zeros above.
fn salsa(counter: *const u8, counter_bits: CK_ULONG, nonce: *const u8, nonce_bits: CK_ULONG) -> Result<Params> {
    if !matches!((counter_bits, nonce_bits), (32, 64 | 96 | 192) | (64, 64 | 192)) {
        return Err(invalid());
    }
    let counter = bytes(counter, counter_bits / 8)?;
    let block = counter.iter().rev().fold(0, |block, byte| (block << 8) | u64::from(*byte));
    Ok(Params::Salsa { block, nonce: bytes(nonce, nonce_bits / 8)? })
}

/// In bytes. The specification has bits; clients are known to give bytes, and no length is the one as well as the other.
pub(super) fn nonce_len(len: CK_ULONG) -> Result<CK_ULONG> {
    match len {
        64 | 96 | 192 => Ok(len / 8),
        8 | 12 | 24 => Ok(len),
        _ => Err(invalid()),
    }
}

fn oaep(parameter: &In) -> Result<OaepParams> {
    let CK_RSA_PKCS_OAEP_PARAMS { hashAlg, mgf, source, pSourceData, ulSourceDataLen } = structure(parameter)?;
    let label = bytes(pSourceData.cast(), ulSourceDataLen)?;
    // No source means no label.
    if source != CKZ_DATA_SPECIFIED && (source != 0 || !label.is_empty()) {
        return Err(invalid());
    }
    let (hash, mgf) = match (hashAlg, mgf) {
        // pkcs11-provider names neither where the application leaves both open: SHA-1, by RFC 8017 and by OpenSSL.
        (0, 0) => (CKM_SHA_1, CKG_MGF1_SHA1),
        // Of the other half they think differently: OpenSSL takes the same hash for the mask, RFC 8017 SHA-1.
        (0, _) | (_, 0) => {
            return Err(
                Code::MechanismParamInvalid.because("OAEP's parameters name a hash and a mask function, or neither")
            );
        }
        named => named,
    };
    Ok(OaepParams { hash, mgf, label })
}

fn ecdh(parameter: &In) -> Result<Params> {
    let CK_ECDH1_DERIVE_PARAMS { kdf, ulSharedDataLen, pSharedData, ulPublicDataLen, pPublicData } =
        structure(parameter)?;
    let (shared, public) = (bytes(pSharedData, ulSharedDataLen)?, bytes(pPublicData, ulPublicDataLen)?);
    Ok(Params::Ecdh { kdf, shared, public })
}

fn eddsa(parameter: &In) -> Result<Params> {
    let CK_EDDSA_PARAMS { phFlag, ulContextDataLen, pContextData } = structure(parameter)?;
    Ok(Params::Eddsa { prehash: phFlag != CK_FALSE, context: bytes(pContextData, ulContextDataLen)? })
}

/// Without a structure everything is as the key has it. `CKR_MECHANISM_PARAM_INVALID` also for a type that stands twice.
fn otp(parameter: &In) -> Result<Params> {
    /// One of each type.
    const MOST: usize = 8;
    let mut otp = OtpParams::default();
    if parameter.is_empty() {
        return Ok(Params::Otp(Box::new(otp)));
    }
    let CK_OTP_PARAMS { pParams, ulCount } = structure(parameter)?;
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    let given = unsafe { In::new(pParams.cast_const(), ulCount) }.elements::<MOST>(MOST)?;
    let mut seen = Vec::new();
    for CK_OTP_PARAM { type_, pValue, ulValueLen } in given {
        let value = bytes(pValue.cast(), ulValueLen)?;
        let number = || value.as_slice().try_into().map(CK_ULONG::from_ne_bytes).map_err(|_| invalid());
        match type_ {
            _ if seen.contains(&type_) => Err(invalid())?,
            CK_OTP_PIN => otp.pin = true,
            CK_OTP_CHALLENGE => otp.challenge = true,
            CK_OTP_TIME => otp.time = true,
            CK_OTP_COUNTER => {
                let counter = value.as_slice().try_into().map_err(|_| {
                    Code::MechanismParamInvalid.because("CK_OTP_COUNTER has 8 bytes, the most significant first")
                })?;
                otp.counter = Some(u64::from_be_bytes(counter));
            }
            CK_OTP_FLAGS => otp.flags = number()?,
            CK_OTP_OUTPUT_LENGTH => otp.length = Some(number()?),
            CK_OTP_OUTPUT_FORMAT => otp.format = Some(number()?),
            _ => Err(invalid())?,
        }
        seen.push(type_);
    }
    Ok(Params::Otp(Box::new(otp)))
}

fn rsa_aes_wrap(parameter: &In) -> Result<Params> {
    let CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits, pOAEPParams } = structure(parameter)?;
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    let inner = unsafe { In::new(pOAEPParams.cast(), size_of::<CK_RSA_PKCS_OAEP_PARAMS>() as CK_ULONG) };
    Ok(Params::RsaAesWrap { aes_bits: ulAESKeyBits, oaep: oaep(&inner)? })
}

fn ecdh_aes_wrap(parameter: &In) -> Result<Params> {
    let CK_ECDH_AES_KEY_WRAP_PARAMS { ulAESKeyBits, kdf, ulSharedDataLen, pSharedData } = structure(parameter)?;
    Ok(Params::EcdhAesWrap { aes_bits: ulAESKeyBits, kdf, shared: bytes(pSharedData, ulSharedDataLen)? })
}

#[cfg(test)]
#[allow(non_snake_case)]
mod tests {
    use std::ptr::null_mut;

    use super::*;

    fn decoded<P>(kind: ParamKind, params: &P) -> Result<Params> {
        decoded_len(kind, params, size_of::<P>())
    }

    fn decoded_len<P>(kind: ParamKind, params: &P, len: usize) -> Result<Params> {
        // SAFETY: the lengths that the tests give are at most the structure's.
        let parameter = unsafe { In::new((&raw const *params).cast(), len as CK_ULONG) };
        decode_kind(kind, &parameter, &|handle| match handle {
            7 => Ok(ObjectId(7)),
            _ => Err(Code::ObjectHandleInvalid.into()),
        })
    }

    fn bytes(of: &[u8]) -> Bytes {
        Bytes::from_slice(of)
    }

    #[test]
    fn no_parameter_is_none_with_or_without_a_pointer() {
        assert_eq!(decoded_len(ParamKind::None, &0u8, 0), Ok(Params::None));
        assert!(decoded_len(ParamKind::None, &0u8, 1).is_err());
        assert_eq!(decoded_len(ParamKind::Eddsa, &0u8, 0), Ok(Params::None));
        assert_eq!(decoded_len(ParamKind::OptionalIv(8), &0u8, 0), Ok(Params::None));
    }

    #[test]
    fn an_iv_has_its_length() {
        let iv = [3u8; 16];
        assert_eq!(decoded(ParamKind::Iv(16), &iv), Ok(Params::Iv(bytes(&iv))));
        assert_eq!(decoded_len(ParamKind::OptionalIv(8), &iv, 8), Ok(Params::Iv(bytes(&iv[..8]))));
        for len in [0, 15] {
            assert_eq!(decoded_len(ParamKind::Iv(16), &iv, len).unwrap_err().code(), Code::MechanismParamInvalid);
        }
    }

    #[test]
    fn gcm_comes_in_both_layouts() {
        let (mut iv, mut aad) = ([1u8; 12], [2u8; 3]);
        let (iv_len, aad_len) = (iv.len() as CK_ULONG, aad.len() as CK_ULONG);
        let expected = Params::Gcm { iv: bytes(&iv), aad: bytes(&aad), tag_bits: 128 };
        let (pIv, pAAD) = (iv.as_mut_ptr(), aad.as_mut_ptr());
        let long = CK_GCM_PARAMS { pIv, ulIvLen: iv_len, ulIvBits: 96, pAAD, ulAADLen: aad_len, ulTagBits: 128 };
        assert_eq!(decoded(ParamKind::Gcm, &long), Ok(expected.clone()));
        let short = ShortGcmParams { iv: pIv, iv_len, aad: pAAD, aad_len, tag_bits: 128 };
        assert_eq!(decoded(ParamKind::Gcm, &short), Ok(expected));
        assert_eq!(decoded_len(ParamKind::Gcm, &long, 32).unwrap_err().code(), Code::MechanismParamInvalid);
        let lost = CK_GCM_PARAMS { pIv: null_mut(), ..long };
        assert_eq!(decoded(ParamKind::Gcm, &lost).unwrap_err().code(), Code::ArgumentsBad);
    }

    #[test]
    fn ccm_comes_for_data_and_for_wrapping() {
        let (mut nonce, mut aad) = ([1u8; 12], [2u8; 3]);
        let expected = Params::Ccm { data_len: 20, nonce: bytes(&nonce), aad: bytes(&aad), mac_len: 8 };
        let (pNonce, pAAD) = (nonce.as_mut_ptr(), aad.as_mut_ptr());
        let data = CK_CCM_PARAMS { ulDataLen: 20, pNonce, ulNonceLen: 12, pAAD, ulAADLen: 3, ulMACLen: 8 };
        assert_eq!(decoded(ParamKind::Ccm, &data), Ok(expected.clone()));
        let wrap = CK_CCM_WRAP_PARAMS {
            ulDataLen: 20,
            pNonce,
            ulNonceLen: 12,
            ulNonceFixedBits: 0,
            nonceGenerator: CKG_NO_GENERATE,
            pAAD,
            ulAADLen: 3,
            ulMACLen: 8,
        };
        assert_eq!(decoded(ParamKind::Ccm, &wrap), Ok(expected));
        let generated = CK_CCM_WRAP_PARAMS { nonceGenerator: CKG_GENERATE_RANDOM, ..wrap };
        assert_eq!(decoded(ParamKind::Ccm, &generated).unwrap_err().code(), Code::MechanismParamInvalid);
        let lost = CK_CCM_PARAMS { pNonce: null_mut(), ..data };
        assert_eq!(decoded(ParamKind::Ccm, &lost).unwrap_err().code(), Code::ArgumentsBad);
        assert_eq!(decoded_len(ParamKind::Ccm, &wrap, 56).unwrap_err().code(), Code::MechanismParamInvalid);
    }

    #[test]
    fn block_counters_and_nonces_have_the_lengths_of_their_variant() {
        let (mut counter, mut nonce) = ([1u8, 2, 0, 0, 0, 0, 0, 0x80], [5u8; 24]);
        let (pBlockCounter, pNonce) = (counter.as_mut_ptr(), nonce.as_mut_ptr());
        let chacha = |blockCounterBits, ulNonceBits| {
            decoded(ParamKind::ChaCha20, &CK_CHACHA20_PARAMS { pBlockCounter, blockCounterBits, pNonce, ulNonceBits })
        };
        let (short, long) = (0x201, 0x8000_0000_0000_0201);
        for (bits, nonce_bits, block) in
            [(32, 96, short), (64, 64, long), (64, 192, long), (32, 64, short), (32, 192, short)]
        {
            let expected = Params::Salsa { block, nonce: bytes(&[5; 24][..nonce_bits / 8]) };
            assert_eq!(chacha(bits, nonce_bits as u64), Ok(expected), "{bits} {nonce_bits}");
        }
        for (bits, nonce_bits) in [(64, 96), (0, 96), (32, 0), (32, 12), (33, 96), (u64::MAX, 96), (32, u64::MAX)] {
            assert_eq!(
                chacha(bits, nonce_bits).unwrap_err().code(),
                Code::MechanismParamInvalid,
                "{bits} {nonce_bits}"
            );
        }
        let salsa = |ulNonceBits| {
            decoded(ParamKind::Salsa20, &CK_SALSA20_PARAMS { pBlockCounter, pNonce, ulNonceBits }).map_err(|e| e.code())
        };
        assert_eq!(salsa(192), Ok(Params::Salsa { block: long, nonce: bytes(&[5; 24]) }));
        assert_eq!(salsa(96), Err(Code::MechanismParamInvalid));
        let mut aad = [2u8; 3];
        let (pAAD, ulAADLen) = (aad.as_mut_ptr(), 3);
        for (ulNonceLen, nonce_len) in [(96, 12), (12, 12), (64, 8), (8, 8), (192, 24), (24, 24)] {
            let params = CK_SALSA20_CHACHA20_POLY1305_PARAMS { pNonce, ulNonceLen, pAAD, ulAADLen };
            let expected = Params::SalsaAead { nonce: bytes(&[5; 24][..nonce_len]), aad: bytes(&[2; 3]) };
            assert_eq!(decoded(ParamKind::SalsaAead, &params), Ok(expected), "{ulNonceLen}");
        }
        let params = CK_SALSA20_CHACHA20_POLY1305_PARAMS { pNonce, ulNonceLen: 16, pAAD, ulAADLen };
        assert_eq!(decoded(ParamKind::SalsaAead, &params).unwrap_err().code(), Code::MechanismParamInvalid);
    }

    #[test]
    fn oaep_without_hash_and_mask_is_sha_1() {
        let mut label = *b"L";
        let plain =
            CK_RSA_PKCS_OAEP_PARAMS { hashAlg: 0, mgf: 0, source: 0, pSourceData: null_mut(), ulSourceDataLen: 0 };
        let expected = OaepParams { hash: CKM_SHA_1, mgf: CKG_MGF1_SHA1, label: bytes(b"") };
        assert_eq!(decoded(ParamKind::Oaep, &plain), Ok(Params::Oaep(expected)));
        for half in [
            CK_RSA_PKCS_OAEP_PARAMS { hashAlg: CKM_SHA256, ..plain },
            CK_RSA_PKCS_OAEP_PARAMS { mgf: CKG_MGF1_SHA256, ..plain },
        ] {
            assert_eq!(decoded(ParamKind::Oaep, &half).unwrap_err().code(), Code::MechanismParamInvalid);
        }
        let labelled = CK_RSA_PKCS_OAEP_PARAMS {
            hashAlg: CKM_SHA256,
            mgf: CKG_MGF1_SHA384,
            source: CKZ_DATA_SPECIFIED,
            pSourceData: label.as_mut_ptr().cast(),
            ulSourceDataLen: 1,
        };
        let oaep = OaepParams { hash: CKM_SHA256, mgf: CKG_MGF1_SHA384, label: bytes(b"L") };
        assert_eq!(decoded(ParamKind::Oaep, &labelled), Ok(Params::Oaep(oaep.clone())));
        let sourceless = CK_RSA_PKCS_OAEP_PARAMS { source: 0, ..labelled };
        assert!(decoded(ParamKind::Oaep, &sourceless).is_err(), "a label of no source");
        let mut inner = labelled;
        let wrap = CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, pOAEPParams: &raw mut inner };
        assert_eq!(decoded(ParamKind::RsaAesWrap, &wrap), Ok(Params::RsaAesWrap { aes_bits: 256, oaep }));
        let without = CK_RSA_AES_KEY_WRAP_PARAMS { pOAEPParams: null_mut(), ..wrap };
        assert_eq!(decoded(ParamKind::RsaAesWrap, &without).unwrap_err().code(), Code::MechanismParamInvalid);
    }

    #[test]
    fn the_plain_structures_keep_their_fields_apart() {
        let ctr = CK_AES_CTR_PARAMS { ulCounterBits: 32, cb: [9; 16] };
        assert_eq!(decoded(ParamKind::Ctr, &ctr), Ok(Params::Ctr { counter_bits: 32, block: [9; 16] }));
        let pss = CK_RSA_PKCS_PSS_PARAMS { hashAlg: 1, mgf: 2, sLen: 3 };
        assert_eq!(decoded(ParamKind::Pss, &pss), Ok(Params::Pss(PssParams { hash: 1, mgf: 2, salt_len: 3 })));
        assert_eq!(decoded(ParamKind::MacLength, &8u64), Ok(Params::MacLength(8)));
        assert_eq!(decoded(ParamKind::Number, &9u64), Ok(Params::Number(9)));
        assert_eq!(decoded(ParamKind::Object, &7u64), Ok(Params::Object(ObjectId(7))));
        assert_eq!(decoded(ParamKind::Object, &8u64).unwrap_err().code(), Code::ObjectHandleInvalid);
    }

    #[test]
    fn pointers_within_are_followed() {
        let (mut one, mut two) = (*b"shared", *b"public!");
        let ecdh = CK_ECDH1_DERIVE_PARAMS {
            kdf: CKD_NULL,
            ulSharedDataLen: 6,
            pSharedData: one.as_mut_ptr(),
            ulPublicDataLen: 7,
            pPublicData: two.as_mut_ptr(),
        };
        let (shared, public) = (bytes(&one), bytes(&two));
        let expected = Params::Ecdh { kdf: CKD_NULL, shared: shared.clone(), public };
        assert_eq!(decoded(ParamKind::Ecdh, &ecdh), Ok(expected));
        let eddsa = CK_EDDSA_PARAMS { phFlag: CK_TRUE, ulContextDataLen: 6, pContextData: one.as_mut_ptr() };
        let expected = Params::Eddsa { prehash: true, context: shared.clone() };
        assert_eq!(decoded(ParamKind::Eddsa, &eddsa), Ok(expected));
        let sign = CK_SIGN_ADDITIONAL_CONTEXT {
            hedgeVariant: CKH_DETERMINISTIC_REQUIRED,
            pContext: one.as_mut_ptr(),
            ulContextLen: 6,
        };
        let expected = |hash| Params::SignContext { hedge: CKH_DETERMINISTIC_REQUIRED, context: shared.clone(), hash };
        assert_eq!(decoded(ParamKind::SignContext, &sign), Ok(expected(None)));
        let CK_SIGN_ADDITIONAL_CONTEXT { hedgeVariant, pContext, ulContextLen } = sign;
        let hashed = CK_HASH_SIGN_ADDITIONAL_CONTEXT { hedgeVariant, pContext, ulContextLen, hash: CKM_SHA512 };
        assert_eq!(decoded(ParamKind::HashSignContext, &hashed), Ok(expected(Some(CKM_SHA512))));
        let data = CK_KEY_DERIVATION_STRING_DATA { pData: one.as_mut_ptr(), ulLen: 6 };
        assert_eq!(decoded(ParamKind::Data, &data), Ok(Params::Data(shared.clone())));
        let cbc = CK_AES_CBC_ENCRYPT_DATA_PARAMS { iv: [4; 16], pData: one.as_mut_ptr(), length: 6 };
        let expected = Params::CbcData { iv: [4; 16][..].into(), data: shared.clone() };
        assert_eq!(decoded(ParamKind::CbcData(16), &cbc), Ok(expected));
        let cbc = CK_DES_CBC_ENCRYPT_DATA_PARAMS { iv: [4; 8], pData: one.as_mut_ptr(), length: 6 };
        let expected = Params::CbcData { iv: [4; 8][..].into(), data: shared.clone() };
        assert_eq!(decoded(ParamKind::CbcData(8), &cbc), Ok(expected));
        let wrap = CK_ECDH_AES_KEY_WRAP_PARAMS {
            ulAESKeyBits: 128,
            kdf: CKD_NULL,
            ulSharedDataLen: 6,
            pSharedData: one.as_mut_ptr(),
        };
        let expected = Params::EcdhAesWrap { aes_bits: 128, kdf: CKD_NULL, shared };
        assert_eq!(decoded(ParamKind::EcdhAesWrap, &wrap), Ok(expected));
        let absurd = CK_KEY_DERIVATION_STRING_DATA { ulLen: CK_ULONG::MAX, ..data };
        assert_eq!(decoded(ParamKind::Data, &absurd).unwrap_err().code(), Code::ArgumentsBad);
    }
}
