//! Data, trust, and what the token itself shows: profiles, mechanisms, validations, hardware features.

use cryptoki_sys::*;

use crate::object::row::{Row, rows};

/// Section 4.5.
pub const DATA: &[Row] = rows! {
    CKA_APPLICATION: Text, [] = Empty;
    CKA_OBJECT_ID: Bytes, [] = Empty;
    CKA_VALUE: Bytes, [] = Empty;
};

pub const TRUST_VALUES: &[(CK_ULONG, &str)] = &[
    (0, "CKT_TRUST_UNKNOWN"),
    (1, "CKT_TRUSTED"),
    (2, "CKT_TRUST_ANCHOR"),
    (3, "CKT_NOT_TRUSTED"),
    (4, "CKT_TRUST_MUST_VERIFY_TRUST"),
];

/// Section 4.16. What is trusted may be set anew (8): the section speaks of `CKA_MODIFIABLE` for these objects.
pub const TRUST: &[Row] = rows! {
    CKA_ISSUER: Bytes, [1];
    CKA_SERIAL_NUMBER: Bytes, [1];
    CKA_HASH_OF_CERTIFICATE: Bytes, [] = Empty;
    CKA_NAME_HASH_ALGORITHM: Ulong, [];
    CKA_TRUST_SERVER_AUTH: OneOf(TRUST_VALUES), [8];
    CKA_TRUST_CLIENT_AUTH: OneOf(TRUST_VALUES), [8];
    CKA_TRUST_CODE_SIGNING: OneOf(TRUST_VALUES), [8];
    CKA_TRUST_EMAIL_PROTECTION: OneOf(TRUST_VALUES), [8];
    CKA_TRUST_IPSEC_IKE: OneOf(TRUST_VALUES), [8];
    CKA_TRUST_TIME_STAMPING: OneOf(TRUST_VALUES), [8];
    CKA_TRUST_OCSP_SIGNING: OneOf(TRUST_VALUES), [8];
};

/// The purposes of a trust object.
pub const TRUST_PURPOSES: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_TRUST_SERVER_AUTH,
    CKA_TRUST_CLIENT_AUTH,
    CKA_TRUST_CODE_SIGNING,
    CKA_TRUST_EMAIL_PROTECTION,
    CKA_TRUST_IPSEC_IKE,
    CKA_TRUST_TIME_STAMPING,
    CKA_TRUST_OCSP_SIGNING,
];

pub const PROFILE: &[Row] = rows! { CKA_PROFILE_ID: Ulong, [1]; };

/// `CKA_SUPPORTED_PARAMETER_SETS` and `CKA_FLAGS` of the working draft have no number in 3.2's headers yet.
pub const MECHANISM: &[Row] = rows! { CKA_MECHANISM_TYPE: Ulong, [1]; };

const VALIDATION_TYPE: &[(CK_ULONG, &str)] = &[
    (0, "CKV_TYPE_UNSPECIFIED"),
    (1, "CKV_TYPE_SOFTWARE"),
    (2, "CKV_TYPE_HARDWARE"),
    (3, "CKV_TYPE_FIRMWARE"),
    (4, "CKV_TYPE_HYBRID"),
];
const AUTHORITY: &[(CK_ULONG, &str)] = &[
    (0, "CKV_AUTHORITY_TYPE_UNSPECIFIED"),
    (1, "CKV_AUTHORITY_TYPE_NIST_CMVP"),
    (2, "CKV_AUTHORITY_TYPE_COMMON_CRITERIA"),
];

pub const VALIDATION: &[Row] = rows! {
    CKA_VALIDATION_TYPE: OneOf(VALIDATION_TYPE), [1];
    CKA_VALIDATION_VERSION: Version, [1];
    CKA_VALIDATION_LEVEL: Ulong, [1];
    CKA_VALIDATION_MODULE_ID: Text, [1];
    CKA_VALIDATION_FLAG: Ulong, [1];
    CKA_VALIDATION_AUTHORITY_TYPE: OneOf(AUTHORITY), [1];
    CKA_VALIDATION_COUNTRY: Text, [] = Empty;
    CKA_VALIDATION_CERTIFICATE_IDENTIFIER: Text, [] = Empty;
    CKA_VALIDATION_CERTIFICATE_URI: Text, [] = Empty;
    CKA_VALIDATION_VENDOR_URI: Text, [] = Empty;
    CKA_VALIDATION_PROFILE: Text, [] = Empty;
};

pub const FEATURE: &[Row] = rows! { CKA_HW_FEATURE_TYPE: Ulong, [1]; };

pub const CLOCK: &[Row] = rows! { CKA_VALUE: Sized(&[16]), [1]; };

pub const COUNTER: &[Row] = rows! {
    CKA_RESET_ON_INIT: Bool, [1];
    CKA_HAS_RESET: Bool, [1];
    CKA_VALUE: Filled, [1];
};

pub const USER_INTERFACE: &[Row] = rows! {
    CKA_PIXEL_X: Ulong, [1];
    CKA_PIXEL_Y: Ulong, [1];
    CKA_RESOLUTION: Ulong, [1];
    CKA_CHAR_ROWS: Ulong, [1];
    CKA_CHAR_COLUMNS: Ulong, [1];
    CKA_COLOR: Bool, [1];
    CKA_BITS_PER_PIXEL: Ulong, [1];
    CKA_CHAR_SETS: Text, [] = Empty;
    CKA_ENCODING_METHODS: Text, [] = Empty;
    CKA_MIME_TYPES: Text, [] = Empty;
};
