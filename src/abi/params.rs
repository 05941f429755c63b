//! `CK_MECHANISM` and the `CK_*_PARAMS` behind it to an owned [`Mechanism`], by the mechanism row's kind of parameter.
//!
//! Checked here is the form: lengths, pointers, enumerators of the structure itself. What the values mean is the row's.

use cryptoki_sys::*;

use super::args::{In, Plain};
use crate::error::{Code, Error, Result};
use crate::mechanism::table::{self, ParamKind};
use crate::session::Slot;
use crate::token::{Bytes, Mechanism, OaepParams, Params, PssParams};

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
    let kind = table::row(mechanism.mechanism)?.params;
    // SAFETY: the caller's promise for a mechanism's parameter (see `args`).
    let parameter = unsafe { In::new(mechanism.pParameter.cast(), mechanism.ulParameterLen) };
    let params = decode_kind(kind, &parameter, slot).map_err(|error| match error.code() {
        // Which argument was bad, we know here.
        Code::ArgumentsBad => error.recode(Code::MechanismParamInvalid),
        Code::ObjectHandleInvalid => error.recode(Code::KeyHandleInvalid),
        _ => error,
    })?;
    Ok(Mechanism { ty: mechanism.mechanism, params })
}

fn invalid() -> Error {
    Code::MechanismParamInvalid.into()
}

fn decode_kind(kind: ParamKind, parameter: &In, slot: &Slot) -> Result<Params> {
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
        ParamKind::Object => Ok(Params::Object(slot.object(structure::<CK_ULONG>(parameter)?)?)),
        ParamKind::Pss => {
            let CK_RSA_PKCS_PSS_PARAMS { hashAlg, mgf, sLen } = structure(parameter)?;
            Ok(Params::Pss(PssParams { hash: hashAlg, mgf, salt_len: sLen }))
        }
        ParamKind::Oaep => Ok(Params::Oaep(oaep(parameter)?)),
        ParamKind::Ecdh => ecdh(parameter),
        ParamKind::Eddsa => eddsa(parameter),
        ParamKind::SignContext => {
            let CK_SIGN_ADDITIONAL_CONTEXT { hedgeVariant, pContext, ulContextLen } = structure(parameter)?;
            sign_context(hedgeVariant, pContext, ulContextLen, None)
        }
        ParamKind::HashSignContext => {
            let CK_HASH_SIGN_ADDITIONAL_CONTEXT { hedgeVariant, pContext, ulContextLen, hash } = structure(parameter)?;
            sign_context(hedgeVariant, pContext, ulContextLen, Some(hash))
        }
        ParamKind::RsaAesWrap => rsa_aes_wrap(parameter),
        ParamKind::EcdhAesWrap => ecdh_aes_wrap(parameter),
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
    }
}

fn structure<P: Plain>(parameter: &In) -> Result<P> {
    parameter.structure().ok_or_else(|| {
        let (found, expected) = (parameter.len(), size_of::<P>());
        Code::MechanismParamInvalid.because(format!("a parameter of {found} bytes; {expected} expected"))
    })
}

/// Bytes that a parameter points to.
fn bytes(ptr: *const u8, len: CK_ULONG) -> Result<Bytes> {
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
fn nonce_len(len: CK_ULONG) -> Result<CK_ULONG> {
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
    // pkcs11-provider leaves the defaults of RFC 8017 to the module.
    let hash = if hashAlg == 0 { CKM_SHA_1 } else { hashAlg };
    let mgf = if mgf == 0 { CKG_MGF1_SHA1 } else { mgf };
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

fn sign_context(
    hedge: CK_HEDGE_TYPE,
    context: *const u8,
    len: CK_ULONG,
    hash: Option<CK_MECHANISM_TYPE>,
) -> Result<Params> {
    match hedge {
        CKH_HEDGE_PREFERRED | CKH_HEDGE_REQUIRED | CKH_DETERMINISTIC_REQUIRED => {
            Ok(Params::SignContext { hedge, context: bytes(context, len)?, hash })
        }
        _ => Err(invalid()),
    }
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
