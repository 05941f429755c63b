//! Well-formed arguments, so that inputs get past the first check: mechanism parameters by their kind, templates by what
//! they make, and what is called after what.

use cryptoki_sys::*;
use keyward::mechanism::table::ParamKind;

use crate::functions::F;

/// A word of a structure.
#[derive(Clone, Copy)]
pub enum W {
    /// A number.
    N(u64),
    /// A pointer to bytes; how many the next word tells.
    P(&'static [u8]),
    /// A pointer to an array of words.
    S(&'static [W]),
}

use W::{N, P, S};

const BYTES: &[u8] = &[0x11; 64];
/// The base point of P-256, a valid public key.
const POINT: &[u8] = &[
    4, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 3, 0x7d,
    0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a,
    0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb,
    0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
];
pub const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const OAEP: &[W] = &[N(CKM_SHA_1), N(CKG_MGF1_SHA1), N(CKZ_DATA_SPECIFIED), P(BYTES), N(4)];
const COUNTER: &[W] = &[N(0), N(32)];
const COUNTED: &[W] = &[N(CK_SP800_108_ITERATION_VARIABLE), S(COUNTER), N(16)];
const SEEDS: &[W] = &[P(BYTES), N(32), P(BYTES), N(32)];

/// A parameter of this kind, as words, and its length in bytes.
pub fn parameter(kind: ParamKind) -> (&'static [W], usize) {
    let words: &[W] = match kind {
        ParamKind::None | ParamKind::Eddsa | ParamKind::SignContext => &[],
        ParamKind::Iv(n) | ParamKind::OptionalIv(n) => return (&[N(1), N(2), N(3), N(4)], n),
        ParamKind::Ctr => &[N(128), N(0), N(1)],
        ParamKind::Gcm => &[P(BYTES), N(12), N(96), P(BYTES), N(8), N(128)],
        ParamKind::Ccm => &[N(16), P(BYTES), N(12), P(BYTES), N(8), N(16)],
        ParamKind::ChaCha20 => &[P(BYTES), N(32), P(BYTES), N(96)],
        ParamKind::Salsa20 => &[P(BYTES), P(BYTES), N(64)],
        ParamKind::SalsaAead => &[P(BYTES), N(12), P(BYTES), N(8)],
        ParamKind::MacLength | ParamKind::Number => &[N(8)],
        ParamKind::Pss => &[N(CKM_SHA256), N(CKG_MGF1_SHA256), N(32)],
        ParamKind::Oaep => OAEP,
        ParamKind::Ecdh => &[N(CKD_NULL), N(0), N(0), N(65), P(POINT)],
        ParamKind::HashSignContext => &[N(0), N(0), N(0), N(CKM_SHA256)],
        ParamKind::RsaAesWrap => &[N(256), S(OAEP)],
        ParamKind::EcdhAesWrap => &[N(256), N(CKD_SHA256_KDF), N(0), N(0)],
        ParamKind::Data => &[P(BYTES), N(16)],
        ParamKind::CbcData(8) => &[N(0), P(BYTES), N(16)],
        ParamKind::CbcData(_) => &[N(0), N(0), P(BYTES), N(32)],
        ParamKind::Integer => &[N(5)],
        // Extract and expand, two bytes in the first word.
        ParamKind::Hkdf => &[N(0x0101), N(CKM_SHA256), N(CKF_HKDF_SALT_DATA), P(BYTES), N(16), N(0), P(BYTES), N(8)],
        ParamKind::Kbkdf => &[N(CKM_SHA256_HMAC), N(1), S(COUNTED), N(0), N(0)],
        ParamKind::FeedbackKbkdf => &[N(CKM_SHA256_HMAC), N(1), S(COUNTED), N(16), P(BYTES), N(0), N(0)],
        ParamKind::TlsMaster => &[P(BYTES), N(32), P(BYTES), N(32), P(BYTES), N(CKM_SHA256)],
        ParamKind::TlsExtendedMaster => &[N(CKM_SHA256), P(BYTES), N(32), P(BYTES)],
        ParamKind::TlsKdf => &[N(CKM_SHA256), P(BYTES), N(8), P(BYTES), N(32), P(BYTES), N(32), P(BYTES), N(8)],
        ParamKind::TlsMac => &[N(CKM_SHA256), N(12), N(1)],
        ParamKind::IkePrf => &[N(CKM_SHA256_HMAC), N(0), N(0), P(BYTES), N(16), P(BYTES), N(16), N(0)],
        ParamKind::Ike1Prf => &[N(CKM_SHA256_HMAC), N(0), N(0), N(0), P(BYTES), N(16), P(BYTES), N(16), N(0)],
        ParamKind::Ike1Extended => &[N(CKM_SHA256_HMAC), N(0), N(0), P(BYTES), N(16)],
        ParamKind::Ike2PrfPlus => &[N(CKM_SHA256_HMAC), N(0), N(0), P(BYTES), N(16)],
        _ => SEEDS,
    };
    (words, words.len() * 8)
}

/// The parameter of a message: for GCM, and for CCM.
pub const MESSAGES: [&[W]; 2] = [
    &[P(BYTES), N(12), N(0), N(CKG_NO_GENERATE), P(BYTES), N(128)],
    &[N(16), P(BYTES), N(12), N(0), N(CKG_GENERATE), P(BYTES), N(16)],
];

type Field = (CK_ATTRIBUTE_TYPE, &'static [u8]);

const YES: &[u8] = &[1];
const SECRET: &[u8] = &CKO_SECRET_KEY.to_ne_bytes();
const USES: [Field; 6] = [
    (CKA_ENCRYPT, YES),
    (CKA_DECRYPT, YES),
    (CKA_SIGN, YES),
    (CKA_DERIVE, YES),
    (CKA_WRAP, YES),
    (CKA_EXTRACTABLE, YES),
];

/// A template that the function takes: the first or the second one; `choice` is among several.
pub fn template(f: F, mechanism: CK_MECHANISM_TYPE, second: bool, choice: usize) -> Vec<Field> {
    const AES: &[u8] = &CKK_AES.to_ne_bytes();
    const GENERIC: &[u8] = &CKK_GENERIC_SECRET.to_ne_bytes();
    const LEN: &[u8] = &16u64.to_ne_bytes();
    let own: &[Field] = match f {
        F::C_CreateObject => match choice % 4 {
            0 => &[(CKA_CLASS, SECRET), (CKA_KEY_TYPE, AES), (CKA_VALUE, &[1; 16])],
            1 => &[(CKA_CLASS, const { &CKO_DATA.to_ne_bytes() }), (CKA_VALUE, BYTES)],
            2 => &[
                (CKA_CLASS, const { &CKO_CERTIFICATE.to_ne_bytes() }),
                (CKA_CERTIFICATE_TYPE, const { &CKC_X_509.to_ne_bytes() }),
                (CKA_SUBJECT, &[0x30, 0]),
                (CKA_VALUE, &[0x30, 0]),
            ],
            _ => &[
                (CKA_CLASS, const { &CKO_PUBLIC_KEY.to_ne_bytes() }),
                (CKA_KEY_TYPE, const { &CKK_EC.to_ne_bytes() }),
                (CKA_EC_PARAMS, P256),
                (CKA_EC_POINT, POINT),
            ],
        },
        F::C_GenerateKey => &[(CKA_VALUE_LEN, LEN)],
        F::C_GenerateKeyPair if second => &[(CKA_SIGN, YES)],
        F::C_GenerateKeyPair => match mechanism {
            CKM_EC_EDWARDS_KEY_PAIR_GEN => &[(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x70])],
            CKM_EC_MONTGOMERY_KEY_PAIR_GEN => &[(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x6e])],
            CKM_ML_KEM_KEY_PAIR_GEN => &[(CKA_PARAMETER_SET, const { &CKP_ML_KEM_512.to_ne_bytes() })],
            CKM_ML_DSA_KEY_PAIR_GEN => &[(CKA_PARAMETER_SET, const { &CKP_ML_DSA_44.to_ne_bytes() })],
            _ => &[(CKA_EC_PARAMS, P256)],
        },
        F::C_UnwrapKey | F::C_UnwrapKeyAuthenticated => &[(CKA_CLASS, SECRET), (CKA_KEY_TYPE, GENERIC)],
        F::C_DeriveKey | F::C_EncapsulateKey | F::C_DecapsulateKey => {
            &[(CKA_CLASS, SECRET), (CKA_KEY_TYPE, GENERIC), (CKA_VALUE_LEN, LEN)]
        }
        _ => &[],
    };
    let secret = matches!(f, F::C_GenerateKey | F::C_DeriveKey) || own.first() == Some(&(CKA_CLASS, SECRET));
    own.iter().copied().chain(USES.into_iter().filter(|_| secret)).collect()
}

/// What an operation goes on with once this function began it.
pub fn next(f: F) -> &'static [F] {
    use F::*;
    match f {
        C_EncryptInit => &[C_Encrypt, C_EncryptUpdate, C_EncryptFinal, C_DigestInit, C_SignInit],
        C_DecryptInit => &[C_Decrypt, C_DecryptUpdate, C_DecryptFinal, C_DigestInit, C_VerifyInit],
        C_DigestInit => &[
            C_Digest,
            C_DigestUpdate,
            C_DigestFinal,
            C_DigestKey,
            C_GetOperationState,
            C_DigestEncryptUpdate,
            C_DecryptDigestUpdate,
        ],
        C_SignInit => &[C_Sign, C_SignUpdate, C_SignFinal, C_SignEncryptUpdate],
        // What was made is checked, or taken apart.
        C_Sign | C_SignFinal => &[C_VerifyInit, C_VerifySignatureInit],
        C_SignMessage | C_SignMessageNext => &[C_SignMessageNext, C_MessageVerifyInit],
        C_Encrypt | C_EncryptUpdate => &[C_DecryptInit],
        C_GetOperationState => &[C_SetOperationState],
        C_WrapKey => &[C_UnwrapKey],
        C_WrapKeyAuthenticated => &[C_UnwrapKeyAuthenticated],
        C_EncapsulateKey => &[C_DecapsulateKey],
        C_SignRecover => &[C_VerifyRecoverInit],
        C_SignRecoverInit => &[C_SignRecover],
        C_VerifyInit => &[C_Verify, C_VerifyUpdate, C_VerifyFinal, C_DecryptVerifyUpdate],
        C_VerifyRecoverInit => &[C_VerifyRecover],
        C_VerifySignatureInit => &[C_VerifySignature, C_VerifySignatureUpdate, C_VerifySignatureFinal],
        C_MessageEncryptInit => &[C_EncryptMessage, C_EncryptMessageBegin, C_EncryptMessageNext, C_MessageEncryptFinal],
        C_MessageDecryptInit => &[C_DecryptMessage, C_DecryptMessageBegin, C_DecryptMessageNext, C_MessageDecryptFinal],
        C_MessageSignInit => &[C_SignMessage, C_SignMessageBegin, C_SignMessageNext, C_MessageSignFinal],
        C_MessageVerifyInit => &[C_VerifyMessage, C_VerifyMessageBegin, C_VerifyMessageNext, C_MessageVerifyFinal],
        _ => &[],
    }
}

/// Whether it signs or verifies a message.
pub fn signs_messages(f: F) -> bool {
    use F::*;
    matches!(
        f,
        C_SignMessage
            | C_SignMessageBegin
            | C_SignMessageNext
            | C_VerifyMessage
            | C_VerifyMessageBegin
            | C_VerifyMessageNext
    )
}

/// `CKF_` of the mechanisms that the function takes.
pub fn flag(f: F) -> CK_FLAGS {
    use F::*;
    match f {
        C_EncryptInit => CKF_ENCRYPT,
        C_DecryptInit => CKF_DECRYPT,
        C_DigestInit => CKF_DIGEST,
        C_SignInit => CKF_SIGN,
        C_SignRecoverInit => CKF_SIGN_RECOVER,
        C_VerifyInit | C_VerifySignatureInit => CKF_VERIFY,
        C_VerifyRecoverInit => CKF_VERIFY_RECOVER,
        C_MessageEncryptInit | C_WrapKeyAuthenticated => CKF_MESSAGE_ENCRYPT,
        C_MessageDecryptInit | C_UnwrapKeyAuthenticated => CKF_MESSAGE_DECRYPT,
        C_MessageSignInit => CKF_MESSAGE_SIGN,
        C_MessageVerifyInit => CKF_MESSAGE_VERIFY,
        C_GenerateKey => CKF_GENERATE,
        C_GenerateKeyPair => CKF_GENERATE_KEY_PAIR,
        C_WrapKey => CKF_WRAP,
        C_UnwrapKey => CKF_UNWRAP,
        C_DeriveKey => CKF_DERIVE,
        C_EncapsulateKey => CKF_ENCAPSULATE,
        C_DecapsulateKey => CKF_DECAPSULATE,
        _ => 0,
    }
}
