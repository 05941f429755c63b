//! Certificates (section 4.6).

use cryptoki_sys::*;

use crate::crypto::check_value::Check;
use crate::object::row::note::VERIFIED;
use crate::object::row::{Compute, Row, rows};

const CATEGORY: &[(CK_ULONG, &str)] = &[
    (0, "CK_CERTIFICATE_CATEGORY_UNSPECIFIED"),
    (1, "CK_CERTIFICATE_CATEGORY_TOKEN_USER"),
    (2, "CK_CERTIFICATE_CATEGORY_AUTHORITY"),
    (3, "CK_CERTIFICATE_CATEGORY_OTHER_ENTITY"),
];
const MIDP: &[(CK_ULONG, &str)] = &[
    (0, "CK_SECURITY_DOMAIN_UNSPECIFIED"),
    (1, "CK_SECURITY_DOMAIN_MANUFACTURER"),
    (2, "CK_SECURITY_DOMAIN_OPERATOR"),
    (3, "CK_SECURITY_DOMAIN_THIRD_PARTY"),
];

/// `CKA_PUBLIC_KEY_INFO` is not verified: "Cryptoki does not enforce the relationship".
pub const CERTIFICATE: &[Row] = rows! {
    CKA_CERTIFICATE_TYPE: Ulong, [1];
    CKA_TRUSTED: Bool, [8, 10] = False;
    CKA_CERTIFICATE_CATEGORY: OneOf(CATEGORY), [] = Number(0);
    CKA_CHECK_VALUE: Bytes, [VERIFIED] = Computed(Compute::Check(Check::Sha1));
    CKA_START_DATE: Date, [] = Empty;
    CKA_END_DATE: Date, [] = Empty;
    CKA_PUBLIC_KEY_INFO: Bytes, [] = Empty;
};

/// Where the certificate is to be found, in place of it, and what it holds: X.509 and WTLS.
const BY_URL: &[Row] = rows! {
    CKA_VALUE: Bytes, [1];
    CKA_URL: Text, [] = Empty;
    CKA_HASH_OF_SUBJECT_PUBLIC_KEY: Bytes, [] = Empty;
    CKA_HASH_OF_ISSUER_PUBLIC_KEY: Bytes, [] = Empty;
    CKA_NAME_HASH_ALGORITHM: Ulong, [] = Number(CKM_SHA_1);
    CKA_SUBJECT: Bytes, [1];
    CKA_ISSUER: Bytes, [8] = Empty;
};

const X_509_ONLY: &[Row] = rows! {
    CKA_ID: Bytes, [8] = Empty;
    CKA_SERIAL_NUMBER: Bytes, [8] = Empty;
    CKA_JAVA_MIDP_SECURITY_DOMAIN: OneOf(MIDP), [] = Number(0);
};

pub const X_509: &[&[Row]] = &[BY_URL, X_509_ONLY];
pub const WTLS: &[&[Row]] = &[BY_URL];
pub const X_509_ATTRIBUTE: &[&[Row]] = &[rows! {
    CKA_OWNER: Bytes, [1];
    CKA_AC_ISSUER: Bytes, [8] = Empty;
    CKA_SERIAL_NUMBER: Bytes, [8] = Empty;
    CKA_ATTR_TYPES: Bytes, [8] = Empty;
    CKA_VALUE: Filled, [1];
}];
