//! Lattice and hash-based key pairs. The lengths are those of FIPS 203, 204 and 205, in the order of the parameter
//! sets.

use cryptoki_sys::*;

use crate::object::row::note::VERIFIED;
use crate::object::row::{Compute, Row, rows};

type Sets = &'static [(CK_ULONG, &'static str)];

const ML_KEM: Sets = &[(1, "CKP_ML_KEM_512"), (2, "CKP_ML_KEM_768"), (3, "CKP_ML_KEM_1024")];
const ML_DSA: Sets = &[(1, "CKP_ML_DSA_44"), (2, "CKP_ML_DSA_65"), (3, "CKP_ML_DSA_87")];
const SLH_DSA: Sets = &[
    (1, "CKP_SLH_DSA_SHA2_128S"),
    (2, "CKP_SLH_DSA_SHAKE_128S"),
    (3, "CKP_SLH_DSA_SHA2_128F"),
    (4, "CKP_SLH_DSA_SHAKE_128F"),
    (5, "CKP_SLH_DSA_SHA2_192S"),
    (6, "CKP_SLH_DSA_SHAKE_192S"),
    (7, "CKP_SLH_DSA_SHA2_192F"),
    (8, "CKP_SLH_DSA_SHAKE_192F"),
    (9, "CKP_SLH_DSA_SHA2_256S"),
    (10, "CKP_SLH_DSA_SHAKE_256S"),
    (11, "CKP_SLH_DSA_SHA2_256F"),
    (12, "CKP_SLH_DSA_SHAKE_256F"),
];

const SLH_DSA_PUBLIC_LENGTHS: &[usize] = &[32, 32, 32, 32, 48, 48, 48, 48, 64, 64, 64, 64];
const SLH_DSA_PRIVATE_LENGTHS: &[usize] = &[64, 64, 64, 64, 96, 96, 96, 96, 128, 128, 128, 128];

pub const ML_KEM_PUBLIC: &[Row] = rows! {
    CKA_PARAMETER_SET: OneOf(ML_KEM), [1, 3];
    CKA_VALUE: SizedBySet(&[800, 1184, 1568]), [1, 4];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_VALUE));
};

pub const ML_KEM_PRIVATE: &[Row] = rows! {
    CKA_PARAMETER_SET: OneOf(ML_KEM), [1, 4, 6];
    CKA_SEED: Sized(&[64]), [4, 6, 7];
    /// Not 1: the seed alone is enough, and the token finds the value then.
    CKA_VALUE: SizedBySet(&[1632, 2400, 3168]), [4, 6, 7];
};

pub const ML_DSA_PUBLIC: &[Row] = rows! {
    CKA_PARAMETER_SET: OneOf(ML_DSA), [1, 3];
    CKA_VALUE: SizedBySet(&[1312, 1952, 2592]), [1, 4];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_VALUE));
};

pub const ML_DSA_PRIVATE: &[Row] = rows! {
    CKA_PARAMETER_SET: OneOf(ML_DSA), [1, 4, 6];
    CKA_SEED: Sized(&[32]), [4, 6, 7];
    /// Not 1: the seed alone is enough, and the token finds the value then.
    CKA_VALUE: SizedBySet(&[2560, 4032, 4896]), [4, 6, 7];
};

pub const SLH_DSA_PUBLIC: &[Row] = rows! {
    CKA_PARAMETER_SET: OneOf(SLH_DSA), [1, 3];
    CKA_VALUE: SizedBySet(SLH_DSA_PUBLIC_LENGTHS), [1, 4];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_VALUE));
};

pub const SLH_DSA_PRIVATE: &[Row] = rows! {
    CKA_PARAMETER_SET: OneOf(SLH_DSA), [1, 4, 6];
    CKA_VALUE: SizedBySet(SLH_DSA_PRIVATE_LENGTHS), [1, 4, 6, 7];
};

pub const XMSS_PUBLIC: &[Row] = rows! {
    CKA_PARAMETER_SET: Ulong, [1, 3];
    CKA_VALUE: Filled, [1, 4];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_VALUE));
};

pub const XMSS_PRIVATE: &[Row] = rows! {
    CKA_PARAMETER_SET: Ulong, [1, 4, 6];
    CKA_VALUE: Filled, [1, 4, 6, 7];
};

pub const HSS_PUBLIC: &[Row] = rows! {
    CKA_HSS_LEVELS: Ulong, [2, 4];
    CKA_HSS_LMS_TYPE: Ulong, [2, 4];
    CKA_HSS_LMOTS_TYPE: Ulong, [2, 4];
    CKA_VALUE: Filled, [1, 4];
    CKA_PUBLIC_CRC64_VALUE: Bytes, [4, 6, VERIFIED] = Computed(Compute::Crc64(CKA_VALUE));
};

pub const HSS_PRIVATE: &[Row] = rows! {
    CKA_HSS_LEVELS: Ulong, [1, 3];
    CKA_HSS_LMS_TYPES: Ulongs, [1, 3];
    CKA_HSS_LMOTS_TYPES: Ulongs, [1, 3];
    CKA_VALUE: Filled, [1, 4, 6, 7];
    CKA_HSS_KEYS_REMAINING: Ulong, [2, 4, 6];
};
