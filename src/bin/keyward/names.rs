//! Names as the program writes and reads them (`private-key` for `CKO_PRIVATE_KEY`), and values of attributes as text and
//! as JSON. The names themselves are those of the library's tables.

use cryptoki_sys::*;
use keyward::object::row::Shape;
use keyward::object::schema::{self, Schema};
use keyward::object::{Attributes, names, row};
use keyward::token::{Answer, Value as Stored};
use serde_json::{Value, json};

macro_rules! named {
    ($($constant:ident,)*) => { &[$(($constant, stringify!($constant)),)*] };
}

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

/// What else a mechanism's flags say.
const FURTHER_FLAGS: &[(CK_FLAGS, &str)] = named![
    CKF_HW,
    CKF_MULTI_MESSAGE,
    CKF_FIND_OBJECTS,
    CKF_EC_F_P,
    CKF_EC_F_2M,
    CKF_EC_ECPARAMETERS,
    CKF_EC_OID,
    CKF_EC_UNCOMPRESS,
    CKF_EC_COMPRESS,
    CKF_EC_CURVENAME,
    CKF_EXTENSION,
];

/// `private-key` for `CKO_PRIVATE_KEY`; the number in hex where it has no name.
pub fn class(value: CK_OBJECT_CLASS) -> String {
    short(names::class(value), value, "CKO_")
}

/// `ec-edwards` for `CKK_EC_EDWARDS`.
pub fn key_type(value: CK_KEY_TYPE) -> String {
    short(names::key_type(value), value, "CKK_")
}

/// From `private-key`, `CKO_PRIVATE_KEY` or a number.
pub fn parse_class(text: &str) -> Result<CK_OBJECT_CLASS, String> {
    let known = || schema::CLASSES.iter().map(|class| class.name);
    parse(names::class_number(&upper(text)), text, "CKO_", known())
}

pub fn parse_key_type(text: &str) -> Result<CK_KEY_TYPE, String> {
    let known = || schema::KEY_TYPES.iter().map(|ty| ty.name);
    parse(names::key_type_number(&upper(text)), text, "CKK_", known())
}

/// From `sign`, `generate-key-pair` or `CKF_SIGN`.
pub fn parse_use(text: &str) -> Result<CK_FLAGS, String> {
    let wanted = plain(&upper(text), "CKF_");
    let found = MECHANISM_FLAGS.iter().find(|(_, name)| plain(name, "CKF_") == wanted);
    parse(found.map(|(flag, _)| *flag), text, "CKF_", MECHANISM_FLAGS.iter().map(|(_, name)| *name))
}

pub fn token_flags(flags: CK_FLAGS) -> Vec<String> {
    set_of(TOKEN_FLAGS, flags)
}

pub fn uses(flags: CK_FLAGS) -> Vec<String> {
    set_of(MECHANISM_FLAGS, flags)
}

/// The uses, and what else the flags say.
pub fn flags(flags: CK_FLAGS) -> Vec<String> {
    [uses(flags), set_of(FURTHER_FLAGS, flags)].concat()
}

pub fn mechanism(value: CK_MECHANISM_TYPE) -> String {
    match keyward::mechanism::table::row(value) {
        Ok(row) => row.name.to_owned(),
        Err(_) if value == CK_UNAVAILABLE_INFORMATION => "unavailable".to_owned(),
        Err(_) => format!("{value:#x}"),
    }
}

fn short(name: Option<&str>, value: u64, prefix: &str) -> String {
    name.map_or_else(|| format!("{value:#x}"), |name| plain(name, prefix))
}

fn plain(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

fn upper(text: &str) -> String {
    text.to_ascii_uppercase().replace('-', "_")
}

fn set_of(table: &[(u64, &'static str)], flags: u64) -> Vec<String> {
    table.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| plain(name, "CKF_")).collect()
}

fn parse<'a>(
    found: Option<u64>,
    text: &str,
    prefix: &str,
    known: impl Iterator<Item = &'a str>,
) -> Result<u64, String> {
    let number = || u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    found.or_else(number).ok_or_else(|| {
        let names: Vec<String> = known.map(|name| plain(name, prefix)).collect();
        format!("expected one of {}, or a number in 0x form", names.join(", "))
    })
}

/// The attributes that tell an object's class and its division.
pub const DIVISIONS: [CK_ATTRIBUTE_TYPE; 4] = [CKA_CLASS, CKA_KEY_TYPE, CKA_CERTIFICATE_TYPE, CKA_HW_FEATURE_TYPE];

/// What an object with these [`DIVISIONS`] may have, what names it first; everything known where the class is none of ours.
pub fn attributes_of(object: &Attributes) -> Vec<(CK_ATTRIBUTE_TYPE, &'static str)> {
    const FIRST: [CK_ATTRIBUTE_TYPE; 5] = [CKA_CLASS, CKA_KEY_TYPE, CKA_LABEL, CKA_ID, CKA_UNIQUE_ID];
    let mut all: Vec<_> = match Schema::of(object) {
        Some(schema) => schema.rows().map(|row| (row.ty, row.name)).collect(),
        None => schema::all_rows().map(|row| (row.ty, row.name)).collect(),
    };
    all.sort_by_key(|(ty, name)| (FIRST.iter().position(|first| first == ty).unwrap_or(FIRST.len()), *name));
    all.dedup();
    all
}

/// An attribute for people; `None` where the object has none such.
pub fn text(ty: CK_ATTRIBUTE_TYPE, answer: &Answer) -> Option<String> {
    match answer {
        Answer::Absent => None,
        Answer::Sensitive => Some("(sensitive)".to_owned()),
        Answer::Value(value) => Some(value_text(ty, value)),
    }
}

fn value_text(ty: CK_ATTRIBUTE_TYPE, value: &Stored) -> String {
    let Stored::Bytes(bytes) = value else { return names::render(&Attributes::new(), ty, value) };
    match (ty, row::number(bytes)) {
        (CKA_CLASS, Some(number)) => class(number),
        (CKA_KEY_TYPE, Some(number)) => key_type(number),
        (CKA_KEY_GEN_MECHANISM | CKA_MECHANISM_TYPE | CKA_NAME_HASH_ALGORITHM, Some(number)) => mechanism(number),
        (CKA_ALLOWED_MECHANISMS, _) => row::numbers(bytes).map(mechanism).collect::<Vec<_>>().join(" "),
        _ => names::render(&Attributes::new(), ty, value),
    }
}

/// An attribute for programs: truth values and plain numbers as such, bytes in hex, the sensitive as null.
pub fn to_json(ty: CK_ATTRIBUTE_TYPE, answer: &Answer) -> Option<Value> {
    let value = match answer {
        Answer::Absent => return None,
        Answer::Sensitive => return Some(Value::Null),
        Answer::Value(value) => value,
    };
    let shape = schema::any_row(ty).map_or(Shape::Bytes, |row| row.kind.shape());
    let text = value_text(ty, value);
    Some(match (shape, value) {
        (Shape::Bool, Stored::Bytes(bytes)) => json!(bytes.first().is_some_and(|byte| *byte != CK_FALSE)),
        (Shape::Ulong, _) => text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
        (Shape::Ulongs, _) => json!(text.split_whitespace().collect::<Vec<_>>()),
        _ => json!(text),
    })
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
    use keyward::token::Attribute;

    use super::*;

    #[test]
    fn names_are_read_in_the_form_in_which_they_are_written() {
        for row in schema::CLASSES {
            assert_eq!(parse_class(&class(row.class)), Ok(row.class));
        }
        for row in schema::KEY_TYPES {
            assert_eq!(parse_key_type(&key_type(row.value)), Ok(row.value));
        }
        for (flag, _) in MECHANISM_FLAGS {
            assert_eq!(parse_use(&uses(*flag).concat()), Ok(*flag));
        }
        assert_eq!(class(CKO_PRIVATE_KEY), "private-key");
        assert_eq!(parse_class("CKO_PRIVATE_KEY"), Ok(CKO_PRIVATE_KEY));
        assert_eq!(parse_key_type("EC"), Ok(CKK_EC));
        assert_eq!(parse_class("0x80000001"), Ok(0x8000_0001));
        assert!(parse_class("privat").unwrap_err().contains("private-key"));
    }

    #[test]
    fn a_class_lists_its_own_attributes_names_first_and_each_once() {
        let key = [Attribute::ulong(CKA_CLASS, CKO_PRIVATE_KEY), Attribute::ulong(CKA_KEY_TYPE, CKK_RSA)];
        let listed = attributes_of(&key.into_iter().collect());
        let types: Vec<_> = listed.iter().map(|(ty, _)| *ty).collect();
        assert_eq!(types[..3], [CKA_CLASS, CKA_KEY_TYPE, CKA_LABEL]);
        assert!(types.contains(&CKA_PRIVATE_EXPONENT) && !types.contains(&CKA_EC_POINT));
        let unknown = attributes_of(&Attributes::new());
        let mut once: Vec<_> = unknown.iter().map(|(ty, _)| *ty).collect();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), unknown.len());
    }

    #[test]
    fn values_read_as_their_kind() {
        let answer = |attribute: Attribute| (attribute.ty, Answer::Value(attribute.value));
        let both = |attribute: Attribute| {
            let (ty, answer) = answer(attribute);
            (text(ty, &answer).unwrap(), to_json(ty, &answer).unwrap())
        };
        assert_eq!(both(Attribute::bool(CKA_SIGN, true)), ("true".into(), json!(true)));
        assert_eq!(both(Attribute::ulong(CKA_CLASS, CKO_DATA)), ("data".into(), json!("data")));
        assert_eq!(both(Attribute::ulong(CKA_MODULUS_BITS, 2048)), ("2048".into(), json!(2048)));
        assert_eq!(both(Attribute::bytes(CKA_ID, &[1, 0xab])), ("01ab".into(), json!("01ab")));
        let none = CK_UNAVAILABLE_INFORMATION;
        assert_eq!(both(Attribute::ulong(CKA_KEY_GEN_MECHANISM, none)).1, json!("unavailable"));
        assert_eq!(text(CKA_VALUE, &Answer::Sensitive).unwrap(), "(sensitive)");
        assert_eq!(to_json(CKA_VALUE, &Answer::Sensitive), Some(Value::Null));
        assert_eq!(text(CKA_VALUE, &Answer::Absent), None);
    }

    #[test]
    fn hex_is_whole_bytes() {
        assert_eq!(parse_hex("01:A2"), Ok(vec![1, 0xa2]));
        assert!(parse_hex("012").is_err());
        assert!(parse_hex("+1").is_err());
    }
}
