//! Parameters of key derivations to owned [`Params`].

use cryptoki_sys::*;

use super::args::{In, Maybe};
use super::params::{Find, bytes, invalid, structure};
use super::template;
use crate::error::Result;
use crate::mechanism::table::ParamKind;
use crate::token::*;

/// Additional keys of one derivation.
pub(super) const MAX_DERIVED_KEYS: usize = 256;

/// Fields of a PRF's input. More is nothing that a protocol has.
const MAX_FIELDS: usize = 256;

/// `None` for a kind that is no derivation's.
pub(super) fn decode(kind: ParamKind, parameter: &In, object: Find) -> Result<Option<Params>> {
    Ok(Some(match kind {
        ParamKind::Integer => Params::Data(parameter.copy()?),
        ParamKind::Hkdf => hkdf(parameter, object)?,
        ParamKind::Pbkdf2 => pbkdf2(parameter)?,
        ParamKind::Kbkdf | ParamKind::FeedbackKbkdf => kbkdf(kind, parameter, object)?,
        ParamKind::TlsMaster | ParamKind::TlsExtendedMaster => tls_master(kind, parameter)?,
        ParamKind::TlsKeyMaterial => tls_key_material(parameter)?,
        ParamKind::TlsKdf => tls_kdf(parameter)?,
        ParamKind::TlsMac => {
            let CK_TLS_MAC_PARAMS { prfHashMechanism, ulMacLength, ulServerOrClient } = structure(parameter)?;
            Params::TlsMac(TlsMacParams { prf: prfHashMechanism, length: ulMacLength, sender: ulServerOrClient })
        }
        ParamKind::IkePrf => ike_prf(parameter, object)?,
        ParamKind::Ike1Prf => ike1_prf(parameter, object)?,
        ParamKind::Ike1Extended => {
            let CK_IKE1_EXTENDED_DERIVE_PARAMS { prfMechanism, bHasKeygxy, hKeygxy, pExtraData, ulExtraDataLen } =
                structure(parameter)?;
            ike_expand(prfMechanism, (bHasKeygxy, hKeygxy), (pExtraData, ulExtraDataLen), object)?
        }
        ParamKind::Ike2PrfPlus => {
            let CK_IKE2_PRF_PLUS_DERIVE_PARAMS { prfMechanism, bHasSeedKey, hSeedKey, pSeedData, ulSeedDataLen } =
                structure(parameter)?;
            ike_expand(prfMechanism, (bHasSeedKey, hSeedKey), (pSeedData, ulSeedDataLen), object)?
        }
        _ => return Ok(None),
    }))
}

fn hkdf(parameter: &In, object: Find) -> Result<Params> {
    let CK_HKDF_PARAMS {
        bExtract,
        bExpand,
        prfHashMechanism,
        ulSaltType,
        pSalt,
        ulSaltLen,
        hSaltKey,
        pInfo,
        ulInfoLen,
    } = structure(parameter)?;
    let (extract, expand) = (bExtract != CK_FALSE, bExpand != CK_FALSE);
    // What a step that is not taken would need is ignored (PKCS#11 3.2, HKDF derive).
    let salt = match ulSaltType {
        _ if !extract => HkdfSalt::None,
        CKF_HKDF_SALT_NULL => HkdfSalt::None,
        CKF_HKDF_SALT_DATA => HkdfSalt::Data(bytes(pSalt, ulSaltLen)?),
        CKF_HKDF_SALT_KEY => HkdfSalt::Key(object(hSaltKey)?),
        _ => Err(invalid())?,
    };
    let info = if expand { bytes(pInfo, ulInfoLen)? } else { Bytes::new() };
    Ok(Params::Hkdf(Box::new(HkdfParams { extract, expand, hash: prfHashMechanism, salt, info })))
}

fn pbkdf2(parameter: &In) -> Result<Params> {
    // Both structures have the same layout but for the last field: in the older one a pointer to the length, which can be
    // told of a length only by its size as a number.
    let CK_PKCS5_PBKD2_PARAMS2 {
        saltSource,
        pSaltSourceData,
        ulSaltSourceDataLen,
        iterations,
        prf,
        pPrfData: _,
        ulPrfDataLen,
        pPassword,
        ulPasswordLen,
    } = structure(parameter)?;
    if saltSource != CKZ_SALT_SPECIFIED || ulPrfDataLen != 0 {
        Err(invalid())?;
    }
    let len = if ulPasswordLen > MAX_PASSWORD { pointed_length(ulPasswordLen)? } else { ulPasswordLen };
    let salt = bytes(pSaltSourceData.cast(), ulSaltSourceDataLen)?;
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    let password = Hidden(unsafe { In::new(pPassword.cast_const(), len) }.secret_copy()?);
    Ok(Params::Pbkdf2(Box::new(Pbkdf2Params { salt, iterations, prf, password })))
}

/// Passwords that are taken, in bytes. Below this address no process has memory: executables start at 4 MiB or far above.
const MAX_PASSWORD: CK_ULONG = (1 << 22) - 1;

/// The length that `CK_PKCS5_PBKD2_PARAMS` points to.
fn pointed_length(pointer: CK_ULONG) -> Result<CK_ULONG> {
    let pointer = usize::try_from(pointer).map_err(|_| invalid())? as *const CK_ULONG;
    if !pointer.is_aligned() {
        Err(invalid())?;
    }
    // SAFETY: no password has this length, so that the caller gave the older structure, and the pointer in it.
    let length = unsafe { Maybe::new(pointer) }.get().ok_or_else(invalid)?;
    if length > MAX_PASSWORD { Err(invalid()) } else { Ok(length) }
}

fn kbkdf(kind: ParamKind, parameter: &In, object: Find) -> Result<Params> {
    let (prf, fields, iv, derived) = if kind == ParamKind::Kbkdf {
        let CK_SP800_108_KDF_PARAMS {
            prfType,
            ulNumberOfDataParams,
            pDataParams,
            ulAdditionalDerivedKeys,
            pAdditionalDerivedKeys,
        } = structure(parameter)?;
        let derived = (pAdditionalDerivedKeys, ulAdditionalDerivedKeys);
        (prfType, (pDataParams, ulNumberOfDataParams), Bytes::new(), derived)
    } else {
        let CK_SP800_108_FEEDBACK_KDF_PARAMS {
            prfType,
            ulNumberOfDataParams,
            pDataParams,
            ulIVLen,
            pIV,
            ulAdditionalDerivedKeys,
            pAdditionalDerivedKeys,
        } = structure(parameter)?;
        let derived = (pAdditionalDerivedKeys, ulAdditionalDerivedKeys);
        (prfType, (pDataParams, ulNumberOfDataParams), bytes(pIV, ulIVLen)?, derived)
    };
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    let fields = unsafe { In::new(fields.0.cast_const(), fields.1) }.elements::<8>(MAX_FIELDS)?;
    // SAFETY: as above.
    let derived = unsafe { In::new(derived.0.cast_const(), derived.1) }.elements::<4>(MAX_DERIVED_KEYS)?;
    let template = |key: &CK_DERIVED_KEY| {
        // SAFETY: as above.
        template::read(unsafe { In::new(key.pTemplate.cast_const(), key.ulAttributeCount) })
    };
    Ok(Params::Kbkdf(Box::new(KbkdfParams {
        prf,
        fields: fields.iter().map(|field| kbkdf_field(field, object)).collect::<Result<_>>()?,
        iv,
        further: derived.iter().map(template).collect::<Result<_>>()?,
    })))
}

fn kbkdf_field(field: &CK_PRF_DATA_PARAM, object: Find) -> Result<KbkdfField> {
    // SAFETY: the caller's promise for what a mechanism's parameter points to (see `args`).
    let value = unsafe { In::new(field.pValue.cast::<u8>().cast_const(), field.ulValueLen) };
    let number = || -> Result<NumberFormat> {
        let CK_SP800_108_COUNTER_FORMAT { bLittleEndian, ulWidthInBits } = structure(&value)?;
        Ok(NumberFormat { little_endian: bLittleEndian != CK_FALSE, bits: ulWidthInBits })
    };
    Ok(match field.type_ {
        CK_SP800_108_ITERATION_VARIABLE if value.is_empty() => KbkdfField::Iteration(None),
        CK_SP800_108_ITERATION_VARIABLE => KbkdfField::Iteration(Some(number()?)),
        CK_SP800_108_COUNTER => KbkdfField::Counter(number()?),
        CK_SP800_108_DKM_LENGTH => {
            let CK_SP800_108_DKM_LENGTH_FORMAT { dkmLengthMethod, bLittleEndian, ulWidthInBits } = structure(&value)?;
            let of_segments = match dkmLengthMethod {
                CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS => false,
                CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS => true,
                _ => Err(invalid())?,
            };
            let format = NumberFormat { little_endian: bLittleEndian != CK_FALSE, bits: ulWidthInBits };
            KbkdfField::Length { of_segments, format }
        }
        CK_SP800_108_BYTE_ARRAY if value.is_empty() => Err(invalid())?,
        CK_SP800_108_BYTE_ARRAY => KbkdfField::Bytes(value.copy()?),
        CK_SP800_108_KEY_HANDLE => KbkdfField::Key(object(structure::<CK_ULONG>(&value)?)?),
        _ => Err(invalid())?,
    })
}

fn randoms(info: &CK_SSL3_RANDOM_DATA) -> Result<TlsRandoms> {
    Ok(TlsRandoms {
        client: bytes(info.pClientRandom, info.ulClientRandomLen)?,
        server: bytes(info.pServerRandom, info.ulServerRandomLen)?,
    })
}

fn tls_master(kind: ParamKind, parameter: &In) -> Result<Params> {
    let (hash, seed, version) = if kind == ParamKind::TlsMaster {
        let CK_TLS12_MASTER_KEY_DERIVE_PARAMS { RandomInfo, pVersion, prfHashMechanism } = structure(parameter)?;
        (prfHashMechanism, TlsSeed::Randoms(randoms(&RandomInfo)?), pVersion)
    } else {
        let CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS { prfHashMechanism, pSessionHash, ulSessionHashLen, pVersion } =
            structure(parameter)?;
        (prfHashMechanism, TlsSeed::SessionHash(bytes(pSessionHash, ulSessionHashLen)?), pVersion)
    };
    Ok(Params::TlsMaster(Box::new(TlsMasterParams { hash, seed, wants_version: !version.is_null() })))
}

fn tls_key_material(parameter: &In) -> Result<Params> {
    let CK_TLS12_KEY_MAT_PARAMS {
        ulMacSizeInBits,
        ulKeySizeInBits,
        ulIVSizeInBits,
        bIsExport,
        RandomInfo,
        pReturnedKeyMaterial: _,
        prfHashMechanism,
    } = structure(parameter)?;
    Ok(Params::TlsKeyMaterial(Box::new(TlsKeyMaterialParams {
        mac_bits: ulMacSizeInBits,
        key_bits: ulKeySizeInBits,
        iv_bits: ulIVSizeInBits,
        export: bIsExport != CK_FALSE,
        randoms: randoms(&RandomInfo)?,
        hash: prfHashMechanism,
    })))
}

fn tls_kdf(parameter: &In) -> Result<Params> {
    let CK_TLS_KDF_PARAMS { prfMechanism, pLabel, ulLabelLength, RandomInfo, pContextData, ulContextDataLength } =
        structure(parameter)?;
    let context = bytes(pContextData, ulContextDataLength)?;
    Ok(Params::TlsKdf(Box::new(TlsKdfParams {
        prf: prfMechanism,
        label: bytes(pLabel, ulLabelLength)?,
        randoms: randoms(&RandomInfo)?,
        context: (!pContextData.is_null()).then_some(context),
    })))
}

/// The key of a handle that a flag says is there.
fn key_if(there: CK_BBOOL, key: CK_OBJECT_HANDLE, object: Find) -> Result<Option<ObjectId>> {
    if there == CK_FALSE { Ok(None) } else { object(key).map(Some) }
}

fn ike_prf(parameter: &In, object: Find) -> Result<Params> {
    let CK_IKE_PRF_DERIVE_PARAMS { prfMechanism, bDataAsKey, bRekey, pNi, ulNiLen, pNr, ulNrLen, hNewKey } =
        structure(parameter)?;
    Ok(Params::IkePrf(Box::new(IkePrfParams {
        prf: prfMechanism,
        data_as_key: bDataAsKey != CK_FALSE,
        new_key: key_if(bRekey, hNewKey, object)?,
        initiator: bytes(pNi, ulNiLen)?,
        responder: bytes(pNr, ulNrLen)?,
    })))
}

fn ike1_prf(parameter: &In, object: Find) -> Result<Params> {
    let CK_IKE1_PRF_DERIVE_PARAMS {
        prfMechanism,
        bHasPrevKey,
        hKeygxy,
        hPrevKey,
        pCKYi,
        ulCKYiLen,
        pCKYr,
        ulCKYrLen,
        keyNumber,
    } = structure(parameter)?;
    Ok(Params::Ike1Prf(Box::new(Ike1PrfParams {
        prf: prfMechanism,
        shared: object(hKeygxy)?,
        previous: key_if(bHasPrevKey, hPrevKey, object)?,
        initiator: bytes(pCKYi, ulCKYiLen)?,
        responder: bytes(pCKYr, ulCKYrLen)?,
        number: keyNumber,
    })))
}

fn ike_expand(
    prf: CK_MECHANISM_TYPE,
    key: (CK_BBOOL, CK_OBJECT_HANDLE),
    data: (*mut CK_BYTE, CK_ULONG),
    object: Find,
) -> Result<Params> {
    let (key, data) = (key_if(key.0, key.1, object)?, bytes(data.0, data.1)?);
    Ok(Params::IkeExpand(Box::new(IkeExpandParams { prf, key, data })))
}
