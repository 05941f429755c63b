//! Attributes of the specification that no class here has: a template with one is inconsistent, not unknown.

use crate::object::row::{Row, rows};

pub const NAMED: &[Row] = rows! {
    CKA_SECONDARY_AUTH: Bool, [];
    CKA_AUTH_PIN_FLAGS: Ulong, [];
    CKA_REQUIRED_CMS_ATTRIBUTES: Bytes, [];
    CKA_DEFAULT_CMS_ATTRIBUTES: Bytes, [];
    CKA_SUPPORTED_CMS_ATTRIBUTES: Bytes, [];
    CKA_GOSTR3410_PARAMS: Bytes, [];
    CKA_GOSTR3411_PARAMS: Bytes, [];
    CKA_GOST28147_PARAMS: Bytes, [];
    CKA_X2RATCHET_BAG: Bytes, [7];
    CKA_X2RATCHET_BAGSIZE: Ulong, [];
    CKA_X2RATCHET_BOBS1STMSG: Bool, [];
    CKA_X2RATCHET_CKR: Bytes, [7];
    CKA_X2RATCHET_CKS: Bytes, [7];
    CKA_X2RATCHET_DHP: Bytes, [];
    CKA_X2RATCHET_DHR: Bytes, [];
    CKA_X2RATCHET_DHS: Bytes, [7];
    CKA_X2RATCHET_HKR: Bytes, [7];
    CKA_X2RATCHET_HKS: Bytes, [7];
    CKA_X2RATCHET_ISALICE: Bool, [];
    CKA_X2RATCHET_NHKR: Bytes, [7];
    CKA_X2RATCHET_NHKS: Bytes, [7];
    CKA_X2RATCHET_NR: Ulong, [];
    CKA_X2RATCHET_NS: Ulong, [];
    CKA_X2RATCHET_PNS: Ulong, [];
    CKA_X2RATCHET_RK: Bytes, [7];
};
