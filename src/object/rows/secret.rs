//! Secret keys and one-time-password keys by type.

use crate::crypto::check_value::Check;
use crate::object::row::note::VERIFIED;
use crate::object::row::{Compute, Row, rows};

/// Any length, none too (an empty HMAC key is a key): generic secrets, and the keys of HMAC and HKDF. Their checksum
/// is that of all secret keys.
pub const ANY_LENGTH: &[Row] = rows! { CKA_VALUE: Bytes, [1, 4, 6, 7]; };

pub const AES: &[Row] = rows! {
    CKA_VALUE: Sized(&[16, 24, 32]), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Aes));
};

pub const AES_XTS: &[Row] = rows! {
    CKA_VALUE: Sized(&[32, 64]), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::AesXts));
};

pub const CAMELLIA: &[Row] = rows! {
    CKA_VALUE: Sized(&[16, 24, 32]), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Camellia));
};

pub const ARIA: &[Row] = rows! {
    CKA_VALUE: Sized(&[16, 24, 32]), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Aria));
};

pub const SEED: &[Row] = rows! {
    CKA_VALUE: Sized(&[16]), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Seed));
};

/// ChaCha20, Salsa20 and Poly1305.
pub const EXACTLY_32: &[Row] = rows! { CKA_VALUE: Sized(&[32]), [1, 4, 6, 7]; };

pub const DES: &[Row] = rows! {
    CKA_VALUE: Des(8), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Des));
};

pub const DES2: &[Row] = rows! {
    CKA_VALUE: Des(16), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Des));
};

pub const DES3: &[Row] = rows! {
    CKA_VALUE: Des(24), [1, 4, 6, 7];
    CKA_CHECK_VALUE: Bytes, [8, VERIFIED] = Computed(Compute::Check(Check::Des));
};

const FORMAT: &[(cryptoki_sys::CK_ULONG, &str)] = &[
    (0, "CK_OTP_FORMAT_DECIMAL"),
    (1, "CK_OTP_FORMAT_HEXADECIMAL"),
    (2, "CK_OTP_FORMAT_ALPHANUMERIC"),
    (3, "CK_OTP_FORMAT_BINARY"),
];
const REQUIREMENT: &[(cryptoki_sys::CK_ULONG, &str)] =
    &[(0, "CK_OTP_PARAM_IGNORED"), (1, "CK_OTP_PARAM_OPTIONAL"), (2, "CK_OTP_PARAM_MANDATORY")];

/// Section "OTP key objects". The length's default is six digits, as RFC 4226 has it at least.
pub const OTP: &[Row] = rows! {
    CKA_VALUE: Filled, [1, 4, 6, 7];
    CKA_OTP_FORMAT: OneOf(FORMAT), [] = Number(0);
    CKA_OTP_LENGTH: Ulong, [] = Number(6);
    CKA_OTP_USER_FRIENDLY_MODE: Bool, [] = False;
    CKA_OTP_CHALLENGE_REQUIREMENT: OneOf(REQUIREMENT), [] = Number(0);
    CKA_OTP_TIME_REQUIREMENT: OneOf(REQUIREMENT), [] = Number(0);
    CKA_OTP_COUNTER_REQUIREMENT: OneOf(REQUIREMENT), [] = Number(0);
    CKA_OTP_PIN_REQUIREMENT: OneOf(REQUIREMENT), [] = Number(0);
    CKA_OTP_COUNTER: Bytes, [] = Empty;
    CKA_OTP_TIME: Text, [] = Empty;
    CKA_OTP_USER_IDENTIFIER: Text, [] = Empty;
    CKA_OTP_SERVICE_IDENTIFIER: Text, [] = Empty;
    CKA_OTP_SERVICE_LOGO: Bytes, [] = Empty;
    CKA_OTP_SERVICE_LOGO_TYPE: Text, [] = Empty;
};

/// An HOTP key counts: `CKA_OTP_COUNTER` is 8 bytes, and the counter may come from the caller (section "OATH HOTP"). Its values
/// are decimal, of six digits or more (RFC 4226, 5.3).
pub const HOTP: &[Row] = rows! {
    CKA_OTP_FORMAT: OneOf(&[(0, "CK_OTP_FORMAT_DECIMAL")]), [] = Number(0);
    CKA_OTP_LENGTH: OneOf(&[(6, "6"), (7, "7"), (8, "8"), (9, "9")]), [] = Number(6);
    CKA_OTP_COUNTER_REQUIREMENT: OneOf(REQUIREMENT), [] = Number(1);
    CKA_OTP_COUNTER: Sized(&[0, 8]), [] = Empty;
};

pub const SECURID: &[Row] = rows! {
    CKA_OTP_TIME_INTERVAL: Ulong, [] = Number(60);
};
