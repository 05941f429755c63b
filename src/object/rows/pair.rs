//! Key pairs and domain parameters over integers and curves.

use cryptoki_sys::*;

use crate::object::row::note::VERIFIED;
use crate::object::row::{Compute, Row, rows};

pub const RSA_PUBLIC: &[Row] = rows! {
    CKA_MODULUS: Integer, [1, 4];
    CKA_MODULUS_BITS: Ulong, [2, 3] = Computed(Compute::Bits(CKA_MODULUS));
    CKA_PUBLIC_EXPONENT: Integer, [1];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_MODULUS));
};

pub const RSA_PRIVATE: &[Row] = rows! {
    CKA_MODULUS: Integer, [1, 4, 6];
    CKA_PUBLIC_EXPONENT: Integer, [1, 4, 6];
    CKA_PRIVATE_EXPONENT: Integer, [1, 4, 6, 7];
    CKA_PRIME_1: Integer, [4, 6, 7];
    CKA_PRIME_2: Integer, [4, 6, 7];
    CKA_EXPONENT_1: Integer, [4, 6, 7];
    CKA_EXPONENT_2: Integer, [4, 6, 7];
    CKA_COEFFICIENT: Integer, [4, 6, 7];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_MODULUS));
};

/// All three kinds of curve keys.
pub const EC_PUBLIC: &[Row] = rows! {
    CKA_EC_PARAMS: Filled, [1, 3];
    CKA_EC_POINT: Filled, [1, 4];
};

pub const EC_PRIVATE: &[Row] = rows! {
    CKA_EC_PARAMS: Filled, [1, 4, 6];
    CKA_VALUE: Integer, [1, 4, 6, 7];
};

/// DSA and X9.42 DH.
pub const SUBGROUP_PUBLIC: &[Row] = rows! {
    CKA_PRIME: Integer, [1, 3];
    CKA_SUBPRIME: Integer, [1, 3];
    CKA_BASE: Integer, [1, 3];
    CKA_VALUE: Integer, [1, 4];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_VALUE));
};

pub const SUBGROUP_PRIVATE: &[Row] = rows! {
    CKA_PRIME: Integer, [1, 4, 6];
    CKA_SUBPRIME: Integer, [1, 4, 6];
    CKA_BASE: Integer, [1, 4, 6];
    CKA_VALUE: Integer, [1, 4, 6, 7];
};

pub const DH_PUBLIC: &[Row] = rows! {
    CKA_PRIME: Integer, [1, 3];
    CKA_BASE: Integer, [1, 3];
    CKA_VALUE: Integer, [1, 4];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_VALUE));
};

pub const DH_PRIVATE: &[Row] = rows! {
    CKA_PRIME: Integer, [1, 4, 6];
    CKA_BASE: Integer, [1, 4, 6];
    CKA_VALUE: Integer, [1, 4, 6, 7];
    CKA_VALUE_BITS: Ulong, [2] = Computed(Compute::Bits(CKA_VALUE));
};

pub const DSA_DOMAIN: &[Row] = rows! {
    CKA_PRIME: Integer, [1, 4];
    CKA_SUBPRIME: Integer, [1, 4];
    CKA_BASE: Integer, [1, 4];
    CKA_PRIME_BITS: Ulong, [2, 3] = Computed(Compute::Bits(CKA_PRIME));
    /// Not in the table of DSA, but `CKM_DSA_PROBABILISTIC_PARAMETER_GEN` takes it.
    CKA_SUBPRIME_BITS: Ulong, [2] = Computed(Compute::Bits(CKA_SUBPRIME));
};

pub const DH_DOMAIN: &[Row] = rows! {
    CKA_PRIME: Integer, [1, 4];
    CKA_BASE: Integer, [1, 4];
    CKA_PRIME_BITS: Ulong, [2, 3] = Computed(Compute::Bits(CKA_PRIME));
};

pub const X9_42_DOMAIN: &[Row] = rows! {
    CKA_PRIME: Integer, [1, 4];
    CKA_BASE: Integer, [1, 4];
    CKA_SUBPRIME: Integer, [1, 4];
    CKA_PRIME_BITS: Ulong, [2, 3] = Computed(Compute::Bits(CKA_PRIME));
    CKA_SUBPRIME_BITS: Ulong, [2, 3] = Computed(Compute::Bits(CKA_SUBPRIME));
};
