//! Names of attributes, classes and types, and values as people read them: for the program and the log.

use std::collections::HashMap;
use std::fmt::Write;

use cryptoki_sys::*;
use once_cell::sync::Lazy;

use super::Attributes;
use super::row::{Kind, Shape, number, numbers};
use super::schema::{self, Schema};
use crate::token::Value;

/// Key types of the specification that no class here has.
const OTHER_KEY_TYPES: &[(CK_KEY_TYPE, &str)] = &[
    (CKK_KEA, "CKK_KEA"),
    (CKK_RC2, "CKK_RC2"),
    (CKK_RC4, "CKK_RC4"),
    (CKK_CAST, "CKK_CAST"),
    (CKK_CAST3, "CKK_CAST3"),
    (CKK_CAST128, "CKK_CAST128"),
    (CKK_RC5, "CKK_RC5"),
    (CKK_IDEA, "CKK_IDEA"),
    (CKK_SKIPJACK, "CKK_SKIPJACK"),
    (CKK_BATON, "CKK_BATON"),
    (CKK_JUNIPER, "CKK_JUNIPER"),
    (CKK_CDMF, "CKK_CDMF"),
    (CKK_BLOWFISH, "CKK_BLOWFISH"),
    (CKK_TWOFISH, "CKK_TWOFISH"),
    (CKK_GOSTR3410, "CKK_GOSTR3410"),
    (CKK_GOSTR3411, "CKK_GOSTR3411"),
    (CKK_GOST28147, "CKK_GOST28147"),
    (CKK_X2RATCHET, "CKK_X2RATCHET"),
];

/// `CKA_LABEL`.
pub fn attribute(ty: CK_ATTRIBUTE_TYPE) -> Option<&'static str> {
    schema::any_row(ty).map(|row| row.name)
}

/// The attribute of a name, in whatever case, with or without `CKA_`.
pub fn attribute_type(name: &str) -> Option<CK_ATTRIBUTE_TYPE> {
    static BY_NAME: Lazy<HashMap<&'static str, CK_ATTRIBUTE_TYPE>> =
        Lazy::new(|| schema::all_rows().map(|row| (row.name, row.ty)).collect());
    BY_NAME.get(full(name, "CKA_").as_str()).copied()
}

/// `CKO_SECRET_KEY`.
pub fn class(class: CK_OBJECT_CLASS) -> Option<&'static str> {
    schema::class_row(class).map(|row| row.name)
}

/// The class of a name, in whatever case, with or without `CKO_`.
pub fn class_number(name: &str) -> Option<CK_OBJECT_CLASS> {
    let name = full(name, "CKO_");
    schema::CLASSES.iter().find(|row| row.name == name).map(|row| row.class)
}

/// `CKK_AES`.
pub fn key_type(ty: CK_KEY_TYPE) -> Option<&'static str> {
    key_types().find(|(known, _)| *known == ty).map(|(_, name)| name)
}

/// The key type of a name, in whatever case, with or without `CKK_`.
pub fn key_type_number(name: &str) -> Option<CK_KEY_TYPE> {
    let name = full(name, "CKK_");
    key_types().find(|(_, known)| *known == name).map(|(ty, _)| ty)
}

fn key_types() -> impl Iterator<Item = (CK_KEY_TYPE, &'static str)> {
    schema::KEY_TYPES.iter().map(|row| (row.value, row.name)).chain(OTHER_KEY_TYPES.iter().copied())
}

/// `CKC_X_509`.
pub fn certificate_type(ty: CK_CERTIFICATE_TYPE) -> Option<&'static str> {
    schema::CERTIFICATE_TYPES.iter().find(|row| row.value == ty).map(|row| row.name)
}

/// Whether the attribute's value is an array of attributes. `CKF_ARRAY_ATTRIBUTE` does not tell:
/// `CKA_ALLOWED_MECHANISMS` has
/// it, `CKA_ENCAPSULATE_TEMPLATE` has it not.
pub fn is_template(ty: CK_ATTRIBUTE_TYPE) -> bool {
    schema::any_row(ty).is_some_and(|row| row.kind.shape() == Shape::Template)
}

fn full(name: &str, prefix: &str) -> String {
    let name = name.to_ascii_uppercase();
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// An attribute of an object as `keyward object show` prints it: names for numbers, text for text, hexadecimal for the
/// rest.
pub fn render(object: &Attributes, ty: CK_ATTRIBUTE_TYPE, value: &Value) -> String {
    let kind = Schema::of(object).and_then(|schema| schema.row(ty)).or(schema::any_row(ty)).map(|row| row.kind);
    match value {
        Value::Template(template) => {
            let inner = template.iter().map(|a| {
                let name = attribute(a.ty).map_or_else(|| format!("0x{:x}", a.ty), str::to_owned);
                format!("{name}={}", render(&Attributes::new(), a.ty, &a.value))
            });
            format!("{{{}}}", inner.collect::<Vec<_>>().join(", "))
        }
        Value::Bytes(bytes) => render_bytes(kind, ty, bytes),
    }
}

fn render_bytes(kind: Option<Kind>, ty: CK_ATTRIBUTE_TYPE, bytes: &[u8]) -> String {
    let shape = kind.map_or(Shape::Bytes, Kind::shape);
    match (shape, bytes) {
        (_, [major, minor]) if matches!(kind, Some(Kind::Version)) => format!("{major}.{minor}"),
        (Shape::Bool, [value]) => (*value != CK_FALSE).to_string(),
        (Shape::Ulong, _) => number(bytes).map_or_else(|| hex(bytes), |n| render_number(kind, ty, n)),
        (Shape::Ulongs, _) if shape.fits(bytes) => {
            numbers(bytes).map(|n| format!("0x{n:x}")).collect::<Vec<_>>().join(" ")
        }
        (Shape::Text | Shape::Date, _) => printable(bytes).unwrap_or_else(|| hex(bytes)),
        _ => hex(bytes),
    }
}

fn render_number(kind: Option<Kind>, ty: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> String {
    let named = match (ty, kind) {
        (CKA_CLASS, _) => class(value),
        (CKA_KEY_TYPE, _) => key_type(value),
        (CKA_CERTIFICATE_TYPE, _) => certificate_type(value),
        (_, Some(Kind::OneOf(list))) => list.iter().find(|(known, _)| *known == value).map(|(_, name)| *name),
        _ => None,
    };
    match (named, value) {
        (Some(name), _) => name.to_owned(),
        (None, CK_UNAVAILABLE_INFORMATION) => "unavailable".to_owned(),
        (None, _) if matches!(ty, CKA_KEY_GEN_MECHANISM | CKA_NAME_HASH_ALGORITHM | CKA_MECHANISM_TYPE) => {
            format!("0x{value:x}")
        }
        (None, _) => value.to_string(),
    }
}

/// Text that does nothing to a terminal.
fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Attribute;

    #[test]
    fn names_find_their_numbers_and_back() {
        for row in schema::all_rows() {
            assert_eq!(attribute_type(row.name), Some(row.ty), "{}", row.name);
            assert_eq!(attribute(row.ty), Some(row.name));
        }
        assert_eq!(attribute_type("label"), Some(CKA_LABEL));
        assert_eq!(class_number("secret_key"), Some(CKO_SECRET_KEY));
        assert_eq!(class(CKO_PROFILE), Some("CKO_PROFILE"));
        assert_eq!(key_type_number("CKK_aes"), Some(CKK_AES));
        assert_eq!(key_type(CKK_EC), Some("CKK_EC"));
        assert_eq!(key_type(CKK_BLOWFISH), Some("CKK_BLOWFISH"));
        assert_eq!(certificate_type(CKC_WTLS), Some("CKC_WTLS"));
        assert_eq!((attribute_type("nonsense"), attribute(0x8000_0001)), (None, None));
    }

    #[test]
    fn templates_are_known_whatever_the_array_flag_says() {
        assert!(is_template(CKA_WRAP_TEMPLATE) && is_template(CKA_ENCAPSULATE_TEMPLATE));
        assert!(!is_template(CKA_ALLOWED_MECHANISMS) && !is_template(CKA_LABEL) && !is_template(0x8000_0001));
    }

    #[test]
    fn values_are_rendered_by_kind() {
        let show = |a: Attribute| render(&Attributes::new(), a.ty, &a.value);
        assert_eq!(show(Attribute::ulong(CKA_CLASS, CKO_DATA)), "CKO_DATA");
        assert_eq!(show(Attribute::ulong(CKA_KEY_TYPE, 0x8000_0001)), "2147483649");
        assert_eq!(show(Attribute::bool(CKA_TOKEN, true)), "true");
        assert_eq!(show(Attribute::bytes(CKA_LABEL, "Schlüssel".as_bytes())), "Schlüssel");
        assert_eq!(show(Attribute::bytes(CKA_LABEL, b"\x1b[2J")), "1b5b324a");
        assert_eq!(show(Attribute::bytes(CKA_ID, &[0, 0xab])), "00ab");
        assert_eq!(show(Attribute::ulong(CKA_KEY_GEN_MECHANISM, CK_UNAVAILABLE_INFORMATION)), "unavailable");
        assert_eq!(show(Attribute::ulong(CKA_TRUST_SERVER_AUTH, 3)), "CKT_NOT_TRUSTED");
        assert_eq!(show(Attribute::bytes(CKA_VALIDATION_VERSION, &[3, 2])), "3.2");
        let inner = Value::Template(vec![Attribute::bool(CKA_SIGN, false)]);
        assert_eq!(show(Attribute { ty: CKA_WRAP_TEMPLATE, value: inner }), "{CKA_SIGN=false}");
    }
}
