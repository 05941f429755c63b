//! Names of classes, key types, attributes and flags, and how a value is written for people.
//!
//! The attribute, class and key type tables stand in for `keyward::object::names` until that is there: only this file
//! names them.

use cryptoki_sys::*;
use keyward::token::{Answer, Value as Stored};
use serde_json::{Value, json};

use crate::report::shown;

/// How an attribute's value reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Number,
    Class,
    KeyType,
    Mechanism,
    Mechanisms,
    Text,
    Date,
    Bytes,
    Template,
}

macro_rules! named {
    ($($constant:ident,)*) => { &[$(($constant, stringify!($constant)),)*] };
}

macro_rules! attributes {
    ($($kind:ident: $($constant:ident)*;)*) => { &[$($(($constant, stringify!($constant), Kind::$kind),)*)*] };
}

const CLASSES: &[(CK_OBJECT_CLASS, &str)] = named![
    CKO_DATA,
    CKO_CERTIFICATE,
    CKO_PUBLIC_KEY,
    CKO_PRIVATE_KEY,
    CKO_SECRET_KEY,
    CKO_HW_FEATURE,
    CKO_DOMAIN_PARAMETERS,
    CKO_MECHANISM,
    CKO_OTP_KEY,
    CKO_PROFILE,
    CKO_VALIDATION,
    CKO_TRUST,
];

const KEY_TYPES: &[(CK_KEY_TYPE, &str)] = named![
    CKK_RSA,
    CKK_DSA,
    CKK_DH,
    CKK_EC,
    CKK_EC_EDWARDS,
    CKK_EC_MONTGOMERY,
    CKK_GENERIC_SECRET,
    CKK_AES,
    CKK_DES,
    CKK_DES2,
    CKK_DES3,
    CKK_CAMELLIA,
    CKK_ARIA,
    CKK_SEED,
    CKK_CHACHA20,
    CKK_POLY1305,
    CKK_HKDF,
    CKK_SHA_1_HMAC,
    CKK_SHA224_HMAC,
    CKK_SHA256_HMAC,
    CKK_SHA384_HMAC,
    CKK_SHA512_HMAC,
    CKK_ML_KEM,
    CKK_ML_DSA,
    CKK_SLH_DSA,
    CKK_HSS,
    CKK_XMSS,
    CKK_HOTP,
];

pub const ATTRIBUTES: &[(CK_ATTRIBUTE_TYPE, &str, Kind)] = attributes![
    Class: CKA_CLASS;
    KeyType: CKA_KEY_TYPE;
    Text: CKA_LABEL CKA_UNIQUE_ID;
    Bytes: CKA_ID;
    Bool: CKA_TOKEN CKA_PRIVATE CKA_MODIFIABLE CKA_COPYABLE CKA_DESTROYABLE CKA_SENSITIVE CKA_ALWAYS_SENSITIVE
        CKA_EXTRACTABLE CKA_NEVER_EXTRACTABLE CKA_LOCAL CKA_ENCRYPT CKA_DECRYPT CKA_SIGN CKA_SIGN_RECOVER CKA_VERIFY
        CKA_VERIFY_RECOVER CKA_WRAP CKA_UNWRAP CKA_DERIVE CKA_TRUSTED CKA_WRAP_WITH_TRUSTED CKA_ALWAYS_AUTHENTICATE;
    Mechanism: CKA_KEY_GEN_MECHANISM CKA_MECHANISM_TYPE;
    Mechanisms: CKA_ALLOWED_MECHANISMS;
    Date: CKA_START_DATE CKA_END_DATE;
    Number: CKA_CERTIFICATE_TYPE CKA_CERTIFICATE_CATEGORY CKA_NAME_HASH_ALGORITHM CKA_MODULUS_BITS CKA_VALUE_LEN
        CKA_VALUE_BITS CKA_PARAMETER_SET CKA_PROFILE_ID;
    Text: CKA_APPLICATION CKA_URL;
    Bytes: CKA_SUBJECT CKA_ISSUER CKA_SERIAL_NUMBER CKA_CHECK_VALUE CKA_PUBLIC_KEY_INFO CKA_OBJECT_ID CKA_EC_PARAMS
        CKA_EC_POINT CKA_MODULUS CKA_PUBLIC_EXPONENT CKA_PRIVATE_EXPONENT CKA_PRIME_1 CKA_PRIME_2 CKA_EXPONENT_1
        CKA_EXPONENT_2 CKA_COEFFICIENT CKA_PRIME CKA_SUBPRIME CKA_BASE CKA_HASH_OF_SUBJECT_PUBLIC_KEY
        CKA_HASH_OF_ISSUER_PUBLIC_KEY CKA_SEED CKA_VALUE;
    Template: CKA_WRAP_TEMPLATE CKA_UNWRAP_TEMPLATE CKA_DERIVE_TEMPLATE;
];

const TOKEN_FLAGS: &[(CK_FLAGS, &str)] = named![
    CKF_RNG,
    CKF_WRITE_PROTECTED,
    CKF_LOGIN_REQUIRED,
    CKF_USER_PIN_INITIALIZED,
    CKF_RESTORE_KEY_NOT_NEEDED,
    CKF_CLOCK_ON_TOKEN,
    CKF_PROTECTED_AUTHENTICATION_PATH,
    CKF_DUAL_CRYPTO_OPERATIONS,
    CKF_TOKEN_INITIALIZED,
    CKF_USER_PIN_COUNT_LOW,
    CKF_USER_PIN_FINAL_TRY,
    CKF_USER_PIN_LOCKED,
    CKF_USER_PIN_TO_BE_CHANGED,
    CKF_SO_PIN_COUNT_LOW,
    CKF_SO_PIN_FINAL_TRY,
    CKF_SO_PIN_LOCKED,
    CKF_SO_PIN_TO_BE_CHANGED,
    CKF_ERROR_STATE,
];

const MECHANISM_FLAGS: &[(CK_FLAGS, &str)] = named![
    CKF_ENCRYPT,
    CKF_DECRYPT,
    CKF_DIGEST,
    CKF_SIGN,
    CKF_SIGN_RECOVER,
    CKF_VERIFY,
    CKF_VERIFY_RECOVER,
    CKF_GENERATE,
    CKF_GENERATE_KEY_PAIR,
    CKF_WRAP,
    CKF_UNWRAP,
    CKF_DERIVE,
    CKF_MESSAGE_ENCRYPT,
    CKF_MESSAGE_DECRYPT,
    CKF_MESSAGE_SIGN,
    CKF_MESSAGE_VERIFY,
    CKF_ENCAPSULATE,
    CKF_DECAPSULATE,
];

/// `private-key` for `CKO_PRIVATE_KEY`; the number in hex where it has no name.
pub fn class(value: CK_OBJECT_CLASS) -> String {
    short(CLASSES, value, "CKO_")
}

/// `ec-edwards` for `CKK_EC_EDWARDS`.
pub fn key_type(value: CK_KEY_TYPE) -> String {
    short(KEY_TYPES, value, "CKK_")
}

/// From `private-key`, `CKO_PRIVATE_KEY` or a number.
pub fn parse_class(text: &str) -> Result<CK_OBJECT_CLASS, String> {
    parse(CLASSES, text, "CKO_")
}

pub fn parse_key_type(text: &str) -> Result<CK_KEY_TYPE, String> {
    parse(KEY_TYPES, text, "CKK_")
}

/// From `sign`, `generate-key-pair` or `CKF_SIGN`.
pub fn parse_use(text: &str) -> Result<CK_FLAGS, String> {
    parse(MECHANISM_FLAGS, text, "CKF_")
}

pub fn token_flags(flags: CK_FLAGS) -> Vec<String> {
    set_of(TOKEN_FLAGS, flags)
}

pub fn uses(flags: CK_FLAGS) -> Vec<String> {
    set_of(MECHANISM_FLAGS, flags)
}

pub fn mechanism(value: CK_MECHANISM_TYPE) -> String {
    match keyward::mechanism::table::row(value) {
        Ok(row) => row.name.to_owned(),
        Err(_) if value == CK_UNAVAILABLE_INFORMATION => "none".to_owned(),
        Err(_) => format!("{value:#x}"),
    }
}

fn short(table: &[(u64, &'static str)], value: u64, prefix: &str) -> String {
    match table.iter().find(|(number, _)| *number == value) {
        Some((_, name)) => plain(name, prefix),
        None => format!("{value:#x}"),
    }
}

fn plain(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

fn set_of(table: &[(u64, &'static str)], flags: u64) -> Vec<String> {
    table.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| plain(name, "CKF_")).collect()
}

fn parse(table: &[(u64, &'static str)], text: &str, prefix: &str) -> Result<u64, String> {
    let wanted = plain(&text.to_ascii_uppercase().replace('-', "_"), prefix);
    if let Some((number, _)) = table.iter().find(|(_, name)| plain(name, prefix) == wanted) {
        return Ok(*number);
    }
    if let Some(number) = text.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
        return Ok(number);
    }
    let names: Vec<String> = table.iter().map(|(_, name)| plain(name, prefix)).collect();
    Err(format!("expected one of {}, or a number in 0x form", names.join(", ")))
}

/// An attribute for people; `None` where the object has none such.
pub fn render(kind: Kind, answer: &Answer) -> Option<String> {
    Some(match answer {
        Answer::Absent => return None,
        Answer::Sensitive => "(sensitive)".to_owned(),
        Answer::Value(Stored::Template(template)) => format!("({} attributes)", template.len()),
        Answer::Value(Stored::Bytes(bytes)) => render_bytes(kind, bytes),
    })
}

/// An attribute for programs: truth values and numbers as such, bytes in hex, the sensitive as null.
pub fn to_json(kind: Kind, answer: &Answer) -> Option<Value> {
    Some(match answer {
        Answer::Absent => return None,
        Answer::Sensitive => Value::Null,
        Answer::Value(Stored::Template(template)) => json!(template.len()),
        Answer::Value(Stored::Bytes(bytes)) => match (kind, ulong(bytes)) {
            (Kind::Bool, _) => json!(bytes.first().is_some_and(|byte| *byte != CK_FALSE)),
            (Kind::Number, Some(number)) => json!(number),
            (Kind::Text, _) => json!(String::from_utf8_lossy(bytes)),
            (Kind::Mechanisms, _) => json!(mechanisms(bytes)),
            _ => json!(render_bytes(kind, bytes)),
        },
    })
}

fn render_bytes(kind: Kind, bytes: &[u8]) -> String {
    match (kind, ulong(bytes)) {
        (Kind::Bool, _) => if bytes.first().is_some_and(|byte| *byte != CK_FALSE) { "yes" } else { "no" }.to_owned(),
        (Kind::Class, Some(number)) => class(number),
        (Kind::KeyType, Some(number)) => key_type(number),
        (Kind::Mechanism, Some(number)) => mechanism(number),
        (Kind::Number, Some(number)) => number.to_string(),
        (Kind::Mechanisms, _) => mechanisms(bytes).join(" "),
        (Kind::Text, _) => shown(&String::from_utf8_lossy(bytes)),
        (Kind::Date, _) if bytes.len() == 8 => date(bytes),
        _ => hex(bytes),
    }
}

fn mechanisms(bytes: &[u8]) -> Vec<String> {
    let (numbers, _) = bytes.as_chunks::<{ size_of::<CK_ULONG>() }>();
    numbers.iter().map(|number| mechanism(CK_ULONG::from_ne_bytes(*number))).collect()
}

/// `CK_DATE` is eight digits: `20300131`.
fn date(digits: &[u8]) -> String {
    let text = shown(&String::from_utf8_lossy(digits));
    match (text.get(..4), text.get(4..6), text.get(6..)) {
        (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
        _ => text,
    }
}

fn ulong(bytes: &[u8]) -> Option<CK_ULONG> {
    Some(CK_ULONG::from_ne_bytes(bytes.try_into().ok()?))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// From hex digits, with or without colons between bytes.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "expected hexadecimal digits, two for each byte, such as 01a2".to_owned();
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    // Checked here, since the number parser would also take a sign.
    let (pairs, []) = digits.as_chunks::<2>() else { return Err(wrong()) };
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    pairs
        .iter()
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_form_in_which_they_are_written() {
        for (number, _) in CLASSES {
            assert_eq!(parse_class(&class(*number)), Ok(*number));
        }
        for (number, _) in KEY_TYPES {
            assert_eq!(parse_key_type(&key_type(*number)), Ok(*number));
        }
        assert_eq!(class(CKO_PRIVATE_KEY), "private-key");
        assert_eq!(parse_class("CKO_PRIVATE_KEY"), Ok(CKO_PRIVATE_KEY));
        assert_eq!(parse_key_type("EC"), Ok(CKK_EC));
        assert_eq!(parse_class("0x80000001"), Ok(0x8000_0001));
        assert!(parse_class("privat").unwrap_err().contains("private-key"));
    }

    #[test]
    fn no_attribute_stands_in_the_table_twice() {
        let mut types: Vec<_> = ATTRIBUTES.iter().map(|row| row.0).collect();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), ATTRIBUTES.len());
    }

    #[test]
    fn values_read_as_their_kind() {
        let bytes = |bytes: &[u8]| Answer::Value(Stored::Bytes(zeroize::Zeroizing::new(bytes.to_vec())));
        assert_eq!(render(Kind::Bool, &bytes(&[1])).unwrap(), "yes");
        assert_eq!(render(Kind::Date, &bytes(b"20300131")).unwrap(), "2030-01-31");
        assert_eq!(render(Kind::Class, &bytes(&CKO_DATA.to_ne_bytes())).unwrap(), "data");
        assert_eq!(render(Kind::Number, &bytes(&[1])).unwrap(), "01", "not a number by its length: shown as it is");
        assert_eq!(to_json(Kind::Number, &bytes(&7u64.to_ne_bytes())).unwrap(), 7);
        assert_eq!(render(Kind::Bytes, &Answer::Sensitive).unwrap(), "(sensitive)");
        assert_eq!(render(Kind::Bytes, &Answer::Absent), None);
    }

    #[test]
    fn hex_is_whole_bytes() {
        assert_eq!(parse_hex("01:A2"), Ok(vec![1, 0xa2]));
        assert!(parse_hex("012").is_err());
        assert!(parse_hex("+1").is_err());
    }
}
