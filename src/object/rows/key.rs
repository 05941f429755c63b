//! What all keys, all public, all private and all secret keys have.

use crate::crypto::check_value::Check;
use crate::object::row::note::VERIFIED;
use crate::object::row::{Compute, Row, rows};

/// Section 4.7. `CKA_ALLOWED_MECHANISMS` is absent where nothing is restricted: clients read an empty list as "none".
/// The validation flags are the token's own word: not to be set by `C_CreateObject` either (2).
pub const KEY: &[Row] = rows! {
    CKA_KEY_TYPE: Ulong, [1, 5];
    CKA_ID: Bytes, [8] = Empty;
    CKA_START_DATE: Date, [8] = Empty;
    CKA_END_DATE: Date, [8] = Empty;
    CKA_DERIVE: Bool, [8] = Use;
    CKA_LOCAL: Bool, [2, 4, 6] = Computed(Compute::Local);
    CKA_KEY_GEN_MECHANISM: Ulong, [2, 4, 6] = Computed(Compute::KeyGenMechanism);
    CKA_ALLOWED_MECHANISMS: Ulongs, [];
    CKA_OBJECT_VALIDATION_FLAGS: Ulong, [2, 4, 6] = Number(0);
};

/// Section 4.8. `CKA_PUBLIC_CRC64_VALUE` comes with the rows of the key types that have the value it is taken of.
pub const PUBLIC: &[Row] = rows! {
    CKA_SUBJECT: Bytes, [8] = Empty;
    CKA_ENCRYPT: Bool, [8] = Use;
    CKA_VERIFY: Bool, [8] = Use;
    CKA_VERIFY_RECOVER: Bool, [8] = Use;
    CKA_WRAP: Bool, [8] = Use;
    CKA_ENCAPSULATE: Bool, [8] = Use;
    CKA_TRUSTED: Bool, [8, 10] = False;
    CKA_WRAP_TEMPLATE: Template, [];
    CKA_ENCAPSULATE_TEMPLATE: Template, [];
    CKA_PUBLIC_KEY_INFO: Bytes, [VERIFIED] = Empty;
};

/// Section 4.9.
pub const PRIVATE: &[Row] = rows! {
    CKA_SUBJECT: Bytes, [8] = Empty;
    CKA_SENSITIVE: Bool, [8, 11] = True;
    CKA_DECRYPT: Bool, [8] = Use;
    CKA_SIGN: Bool, [8] = Use;
    CKA_SIGN_RECOVER: Bool, [8] = Use;
    CKA_UNWRAP: Bool, [8] = Use;
    CKA_DECAPSULATE: Bool, [8] = Use;
    CKA_EXTRACTABLE: Bool, [8, 12] = False;
    CKA_ALWAYS_SENSITIVE: Bool, [2, 4, 6] = Computed(Compute::AlwaysSensitive);
    CKA_NEVER_EXTRACTABLE: Bool, [2, 4, 6] = Computed(Compute::NeverExtractable);
    CKA_WRAP_WITH_TRUSTED: Bool, [8, 11] = False;
    CKA_UNWRAP_TEMPLATE: Template, [];
    CKA_DECAPSULATE_TEMPLATE: Template, [];
    CKA_ALWAYS_AUTHENTICATE: Bool, [] = False;
    CKA_PUBLIC_KEY_INFO: Bytes, [8, VERIFIED] = Empty;
    CKA_DERIVE_TEMPLATE: Template, [];
};

/// Section 4.10.
pub const SECRET: &[Row] = rows! {
    CKA_SENSITIVE: Bool, [8, 11] = True;
    CKA_ENCRYPT: Bool, [8] = Use;
    CKA_DECRYPT: Bool, [8] = Use;
    CKA_SIGN: Bool, [8] = Use;
    CKA_VERIFY: Bool, [8] = Use;
    CKA_WRAP: Bool, [8] = Use;
    CKA_UNWRAP: Bool, [8] = Use;
    CKA_EXTRACTABLE: Bool, [8, 12] = False;
    CKA_ALWAYS_SENSITIVE: Bool, [2, 4, 6] = Computed(Compute::AlwaysSensitive);
    CKA_NEVER_EXTRACTABLE: Bool, [2, 4, 6] = Computed(Compute::NeverExtractable);
    /// `C_SetAttributeValue` may empty it.
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Sha1));
    CKA_WRAP_WITH_TRUSTED: Bool, [8, 11] = False;
    CKA_TRUSTED: Bool, [8, 10] = False;
    CKA_WRAP_TEMPLATE: Template, [];
    CKA_UNWRAP_TEMPLATE: Template, [];
    CKA_DERIVE_TEMPLATE: Template, [];
    CKA_VALUE_LEN: Ulong, [2, 3, VERIFIED] = Computed(Compute::Length(cryptoki_sys::CKA_VALUE));
};

/// Section 4.11 and the parameters' own sections; `CKA_PRIVATE` is as with all storage objects.
pub const DOMAIN: &[Row] = rows! {
    CKA_KEY_TYPE: Ulong, [1];
    CKA_LOCAL: Bool, [2, 4] = Computed(Compute::Local);
};

/// Keys that hold state: a copy would use it twice (HSS private key objects).
pub const STATEFUL: &[Row] = rows! {
    CKA_SENSITIVE: Always(true), [8, 11] = True;
    CKA_EXTRACTABLE: Always(false), [8, 12] = False;
    CKA_COPYABLE: Always(false), [8, 12] = False;
};
