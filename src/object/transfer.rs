//! What of an object goes with it into another token.

use cryptoki_sys::*;

use crate::token::{Attribute, Value};

/// What an object is called and used for.
pub const NAMES_AND_USES: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CLASS,
    CKA_LABEL,
    CKA_ID,
    CKA_PRIVATE,
    CKA_KEY_TYPE,
    CKA_SUBJECT,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_WRAP_WITH_TRUSTED,
    CKA_START_DATE,
    CKA_END_DATE,
];

/// Takes out restrictions that do not hold: some tokens know no such attribute, others let only the SO speak of it.
pub fn without_defaults(all: &mut Vec<Attribute>) {
    all.retain(|attribute| {
        !matches!(attribute.ty, CKA_ALWAYS_AUTHENTICATE | CKA_WRAP_WITH_TRUSTED)
            || !matches!(&attribute.value, Value::Bytes(bytes) if bytes.as_slice() == [CK_FALSE])
    });
}

/// What a public object consists of.
pub const CONTENTS: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CERTIFICATE_TYPE,
    CKA_ISSUER,
    CKA_SERIAL_NUMBER,
    CKA_VALUE,
    CKA_MODULUS,
    CKA_PUBLIC_EXPONENT,
    CKA_EC_PARAMS,
    CKA_EC_POINT,
    CKA_PARAMETER_SET,
    CKA_APPLICATION,
    CKA_OBJECT_ID,
];

/// Ways to wrap any key under an AES key, the best one first.
pub const WRAPPINGS: [CK_MECHANISM_TYPE; 3] = [CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD, CKM_AES_CBC_PAD];
