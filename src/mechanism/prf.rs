//! The pseudo-random functions that parameters of derivations name.

use cryptoki_sys::*;

use super::digest::of_hash;
use super::secret_key::SecretKey;
use crate::crypto::aes::BLOCK;
use crate::crypto::block::Cipher;
use crate::crypto::prf::Prf;
use crate::error::{Code, Result};
use crate::secret::SecretBytes;

/// The function of `mechanism`, a MAC, under `key`. `CKR_MECHANISM_PARAM_INVALID` for another mechanism,
/// `CKR_KEY_SIZE_RANGE` where the cipher has no such key.
pub(super) fn of_mechanism(mechanism: CK_MECHANISM_TYPE, key: &SecretKey) -> Result<Prf> {
    Ok(match mechanism {
        CKM_AES_CMAC => {
            let (aes, subkeys) = key.cmac(Cipher::Aes)?;
            Prf::Block(aes, subkeys)
        }
        CKM_DES3_CMAC => {
            let (des, subkeys) = key.cmac(Cipher::TripleDes)?;
            Prf::Block(des, subkeys)
        }
        CKM_AES_XCBC_MAC => {
            let (aes, subkeys) = key.xcbc()?;
            Prf::Block(aes, subkeys)
        }
        _ => Prf::Hmac(key.hmac(of_hash(hash_of(mechanism)?)?)?),
    })
}

/// `CKR_KEY_TYPE_INCONSISTENT` where `mechanism` is a cipher's MAC, and the key none of the cipher (PKCS#11 3.2, SP800-108 Key
/// Derivation).
pub(super) fn takes(mechanism: CK_MECHANISM_TYPE, key_type: CK_KEY_TYPE) -> Result<()> {
    let takes = match mechanism {
        CKM_AES_CMAC | CKM_AES_XCBC_MAC => key_type == CKK_AES,
        CKM_DES3_CMAC => matches!(key_type, CKK_DES2 | CKK_DES3),
        _ => true,
    };
    if takes {
        Ok(())
    } else {
        Err(Code::KeyTypeInconsistent.because("the MAC of a cipher is a PRF under its own keys"))
    }
}

/// The hash (`CKM_`) of an HMAC mechanism.
fn hash_of(hmac: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_TYPE> {
    let row = super::mac::ROWS.iter().find(|row| row.ty == hmac && row.params == super::table::ParamKind::None);
    Ok(row.filter(|row| row.does.begin.is_some()).and_then(|row| row.hash).ok_or(Code::MechanismParamInvalid)?)
}

/// Key type of such a function's keys: those that it is at home with.
pub(super) fn key_type_of(mechanism: CK_MECHANISM_TYPE) -> Result<CK_KEY_TYPE> {
    match mechanism {
        CKM_AES_CMAC | CKM_AES_XCBC_MAC => Ok(CKK_AES),
        CKM_DES3_CMAC => Ok(CKK_DES3),
        _ => {
            hash_of(mechanism)?;
            let row = super::mac::ROWS.iter().find(|row| row.ty == mechanism);
            let own = row.and_then(|row| row.keys.iter().find(|ty| **ty != CKK_GENERIC_SECRET));
            Ok(own.copied().unwrap_or(CKK_GENERIC_SECRET))
        }
    }
}

/// As [`of_mechanism`], under a key of any length: what AES takes no key of is brought to its length, as IKE has it
/// (RFC 4434, 2, for XCBC; RFC 4615, 3, for CMAC).
pub(super) fn of_any_key(mechanism: CK_MECHANISM_TYPE, key: SecretBytes) -> Result<Prf> {
    let shortened = match mechanism {
        CKM_AES_CMAC | CKM_AES_XCBC_MAC if key.len() == BLOCK => key,
        CKM_AES_XCBC_MAC if key.len() < BLOCK => {
            let mut padded = SecretBytes::zeroed(BLOCK);
            padded.expose_mut().iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
            padded
        }
        CKM_AES_CMAC | CKM_AES_XCBC_MAC => {
            let zeros = SecretKey::new(SecretBytes::zeroed(BLOCK));
            SecretBytes::copy_from(&of_mechanism(mechanism, &zeros)?.over(&[key.expose()]))
        }
        _ => key,
    };
    of_mechanism(mechanism, &SecretKey::new(shortened))
}
