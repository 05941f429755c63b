//! The footnotes of every class, swept over the rows, and the rules that sweeping does not reach.

use cryptoki_sys::*;

use super::build::*;
use super::row::{Kind, Row};
use super::schema::{self, Schema};
use super::{Attributes, build};
use crate::error::{Code, Result};
use crate::token::{Answer, Attribute, Value};

const USER: Maker = Maker { security_officer: false };
const OFFICER: Maker = Maker { security_officer: true };

fn flag(ty: CK_ATTRIBUTE_TYPE, value: bool) -> Attribute {
    Attribute::bool(ty, value)
}

fn num(ty: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Attribute {
    Attribute::ulong(ty, value)
}

fn raw(ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Attribute {
    Attribute::bytes(ty, value)
}

fn nested(ty: CK_ATTRIBUTE_TYPE, template: Vec<Attribute>) -> Attribute {
    Attribute { ty, value: Value::Template(template) }
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.expect_err("refused").code()
}

fn create(template: Vec<Attribute>) -> Result<Attributes> {
    make(Origin::Create, &USER, None, None, template, Given::default())
}

fn secret_key(ty: CK_KEY_TYPE, value: &[u8]) -> Vec<Attribute> {
    vec![num(CKA_CLASS, CKO_SECRET_KEY), num(CKA_KEY_TYPE, ty), raw(CKA_VALUE, value)]
}

fn aes(further: Vec<Attribute>) -> Result<Attributes> {
    create([secret_key(CKK_AES, &[7; 16]), further].concat())
}

fn rsa_private(further: Vec<Attribute>) -> Result<Attributes> {
    let template = vec![
        num(CKA_CLASS, CKO_PRIVATE_KEY),
        num(CKA_KEY_TYPE, CKK_RSA),
        raw(CKA_MODULUS, &[0xff; 256]),
        raw(CKA_PUBLIC_EXPONENT, &[1, 0, 1]),
        raw(CKA_PRIVATE_EXPONENT, &[0x7f; 256]),
    ];
    create([template, further].concat())
}

fn certificate(further: Vec<Attribute>) -> Result<Attributes> {
    let template =
        vec![num(CKA_CLASS, CKO_CERTIFICATE), num(CKA_CERTIFICATE_TYPE, CKC_X_509), raw(CKA_SUBJECT, b"subject")];
    create([template, further].concat())
}

fn generate(ty: CK_KEY_TYPE, template: Vec<Attribute>, value: &[u8]) -> Result<Attributes> {
    let given = Given { attributes: vec![raw(CKA_VALUE, value)], mechanism: Some(CKM_AES_KEY_GEN), heritage: None };
    make(Origin::Generate, &USER, Some(CKO_SECRET_KEY), Some(ty), template, given)
}

fn derive(template: Vec<Attribute>, heritage: Heritage, value: &[u8]) -> Result<Attributes> {
    let given = Given { attributes: vec![raw(CKA_VALUE, value)], mechanism: None, heritage: Some(heritage) };
    make(Origin::Derive, &USER, None, None, template, given)
}

/// Every class with every type.
fn schemas() -> impl Iterator<Item = &'static Schema> {
    schema::CLASSES.iter().flat_map(|class| {
        let types: Vec<_> =
            class.subtype.map_or(vec![None], |a| schema::subtypes(a).iter().map(|t| Some(t.value)).collect());
        types.into_iter().filter_map(|ty| Schema::find(class.class, ty))
    })
}

/// Some value that fits the row.
fn fitting(row: &Row, schema: &Schema) -> Attribute {
    let ty = row.ty;
    match row.kind {
        _ if ty == CKA_CLASS => num(ty, schema.class.class),
        _ if Some(ty) == schema.class.subtype => num(ty, schema.subtype.expect("divided").value),
        Kind::Bool => flag(ty, false),
        Kind::Always(value) => flag(ty, value),
        Kind::Ulong => num(ty, 1),
        Kind::OneOf(list) => num(ty, list[0].0),
        Kind::Ulongs => num(ty, 5),
        Kind::Sized(lengths) | Kind::SizedBySet(lengths) => raw(ty, &vec![1; lengths[0]]),
        Kind::Des(length) => raw(ty, &vec![1; length]),
        Kind::Date => raw(ty, b"20240101"),
        Kind::Version => raw(ty, &[3, 2]),
        Kind::Template => nested(ty, vec![]),
        Kind::Bytes | Kind::Filled | Kind::Integer | Kind::Text => raw(ty, b"x"),
    }
}

/// What `C_CreateObject` must be told, and no more; private keys of lattices need one of two.
fn least(schema: &Schema) -> Vec<Attribute> {
    schema.rows().filter(|row| row.has(1) || row.ty == CKA_SEED).map(|row| fitting(row, schema)).collect()
}

fn origins() -> [(Origin, u8); 3] {
    [(Origin::Create, 2), (Origin::Generate, 4), (Origin::Unwrap, 6)]
}

#[test]
fn every_class_can_be_made_from_what_footnote_1_requires_and_from_nothing_less() {
    let mut made = 0;
    for schema in schemas() {
        let origin = schema.class.origins[0];
        let template = least(schema);
        let object = make(origin, &USER, None, None, template.clone(), Given::default());
        let object =
            object.unwrap_or_else(|e| panic!("{} {:?}: {e}", schema.class.name, schema.subtype.map(|t| t.name)));
        assert!(object.bytes(CKA_UNIQUE_ID).is_some_and(|id| id.len() == 36));
        assert_eq!(Schema::of(&object).map(|s| s.class.class), Some(schema.class.class));
        for row in schema.rows().filter(|row| row.has(1) && row.ty != CKA_PARAMETER_SET) {
            let without = template.iter().filter(|a| a.ty != row.ty).cloned().collect();
            let refused = code(make(origin, &USER, None, None, without, Given::default()));
            assert_eq!(refused, Code::TemplateIncomplete, "{} without {}", schema.class.name, row.name);
        }
        made += 1;
    }
    assert_eq!(made, 76, "classes times types; a new one is to be counted here");
}

#[test]
fn footnotes_2_4_and_6_forbid() {
    let mut forbidden = 0;
    for schema in schemas() {
        for (origin, note) in origins().into_iter().filter(|(origin, _)| schema.class.origins.contains(origin)) {
            for row in schema.rows().filter(|row| row.has(note) && Some(row.ty) != schema.class.subtype) {
                let kind: Vec<_> =
                    schema.rows().filter(|r| r.ty == CKA_CLASS || Some(r.ty) == schema.class.subtype).collect();
                let mut template: Vec<_> = kind.iter().map(|r| fitting(r, schema)).collect();
                template.push(fitting(row, schema));
                let refused = code(draft(origin, &USER, None, None, template));
                assert_eq!(refused, Code::AttributeReadOnly, "{} {origin:?} {}", schema.class.name, row.name);
                forbidden += 1;
            }
        }
    }
    assert!(forbidden > 500, "{forbidden}");
}

#[test]
fn only_footnote_8_changes_in_place_and_four_more_in_a_copy() {
    for schema in schemas().filter(|s| s.class.origins[0] == Origin::Create) {
        let stateful = schema.rows().any(|r| r.ty == CKA_COPYABLE && matches!(r.kind, Kind::Always(_)));
        let object = make(Origin::Create, &OFFICER, None, None, least(schema), Given::default()).unwrap();
        for row in schema.rows() {
            let set = build::set(&OFFICER, &object, vec![fitting(row, schema)]).map_err(|e| e.code());
            assert_eq!(
                set == Err(Code::AttributeReadOnly),
                !may(row, false, &object),
                "{} {}",
                schema.class.name,
                row.name
            );
            let copy = build::copy(&OFFICER, &object, vec![fitting(row, schema)]).map_err(|e| e.code());
            match stateful {
                true => assert_eq!(copy.unwrap_err(), Code::ActionProhibited),
                false => {
                    assert_eq!(copy == Err(Code::AttributeReadOnly), !may(row, true, &object), "copy {}", row.name)
                }
            }
        }
    }
}

/// By the specification's own words, not by the rows: which attributes change, given that `fitting` says false to
/// flags.
fn may(row: &Row, copying: bool, object: &Attributes) -> bool {
    let stuck = matches!(row.ty, CKA_SENSITIVE) && object.is_true(row.ty) && !matches!(row.kind, Kind::Always(_));
    let in_copies = [CKA_TOKEN, CKA_MODIFIABLE, CKA_DESTROYABLE];
    let private = row.ty == CKA_PRIVATE && !object.is_true(CKA_PRIVATE);
    row.has(8) && !stuck || copying && (in_copies.contains(&row.ty) || private)
}

#[test]
fn footnote_7_hides_and_goes_to_the_secret_part() {
    let secrets = [
        CKA_VALUE,
        CKA_SEED,
        CKA_PRIVATE_EXPONENT,
        CKA_PRIME_1,
        CKA_PRIME_2,
        CKA_EXPONENT_1,
        CKA_EXPONENT_2,
        CKA_COEFFICIENT,
    ];
    for schema in schemas() {
        let keys = matches!(schema.class.class, CKO_SECRET_KEY | CKO_PRIVATE_KEY | CKO_OTP_KEY);
        for row in schema.rows() {
            assert_eq!(row.secret(), keys && secrets.contains(&row.ty), "{} {}", schema.class.name, row.name);
        }
    }
}

#[test]
fn sensitive_values_are_not_read_nor_found() {
    let closed = aes(vec![]).unwrap();
    let half = aes(vec![flag(CKA_SENSITIVE, false)]).unwrap();
    let open = aes(vec![flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)]).unwrap();
    let value = raw(CKA_VALUE, &[7; 16]);
    for (object, seen) in [(&closed, false), (&half, false), (&open, true)] {
        assert_eq!(read(object, CKA_VALUE) == Answer::Value(value.value.clone()), seen);
        assert_eq!(read(object, CKA_VALUE) == Answer::Sensitive, !seen);
        assert_eq!(matches(object, std::slice::from_ref(&value)), seen);
        assert_eq!(needs_secret(object, CKA_VALUE), seen);
        assert_eq!(template_allows(std::slice::from_ref(&value), object), seen);
        let (clear, secret) = split(object);
        assert_eq!((clear.get(CKA_VALUE), secret.len()), (None, 1));
        assert_eq!(read(&clear, CKA_VALUE) == Answer::Sensitive, !seen, "the clear part knows what is hidden");
        assert_eq!(&join(clear, secret), object);
    }
    let data = create(vec![num(CKA_CLASS, CKO_DATA)]).unwrap();
    assert_eq!(read(&data, CKA_VALUE), Answer::Value(raw(CKA_VALUE, b"").value), "empty is a value");
    assert_eq!(read(&closed, CKA_MODULUS), Answer::Absent);
    assert_eq!(read(&closed, CKA_ALLOWED_MECHANISMS), Answer::Absent);
    assert_eq!(read(&closed, 0x8000_0001), Answer::Absent);
    let unknown: Attributes = [num(CKA_CLASS, 0x8000_0001), raw(CKA_VALUE, b"x")].into_iter().collect();
    assert_eq!(read(&unknown, CKA_VALUE), Answer::Sensitive, "what we do not understand stays closed");
    assert!(split(&unknown).1.get(CKA_VALUE).is_some());
}

#[test]
fn keys_are_closed_by_default_and_the_rest_is_open() {
    for key in [aes(vec![]).unwrap(), rsa_private(vec![]).unwrap()] {
        for (ty, value) in [
            (CKA_TOKEN, false),
            (CKA_PRIVATE, true),
            (CKA_SENSITIVE, true),
            (CKA_EXTRACTABLE, false),
            (CKA_MODIFIABLE, true),
            (CKA_COPYABLE, true),
            (CKA_DESTROYABLE, true),
            (CKA_DERIVE, false),
            (CKA_SIGN, true),
            (CKA_DECRYPT, true),
            (CKA_UNWRAP, true),
            (CKA_LOCAL, false),
            (CKA_ALWAYS_SENSITIVE, false),
            (CKA_NEVER_EXTRACTABLE, false),
        ] {
            assert_eq!(key.bool(ty), Some(value), "{ty:#x}");
        }
        assert_eq!(key.ulong(CKA_KEY_GEN_MECHANISM), Some(CK_UNAVAILABLE_INFORMATION));
        assert_eq!(key.bytes(CKA_START_DATE), Some(&[][..]));
    }
    assert_eq!(rsa_private(vec![]).unwrap().bool(CKA_ALWAYS_AUTHENTICATE), Some(false));
    for open in [certificate(vec![raw(CKA_VALUE, b"der")]).unwrap(), create(vec![num(CKA_CLASS, CKO_DATA)]).unwrap()] {
        assert_eq!(open.bool(CKA_PRIVATE), Some(false));
    }
}

#[test]
fn usage_follows_the_key_type_and_the_template_may_say_otherwise() {
    let uses = |ty, value: &[u8], usage| create(secret_key(ty, value)).unwrap().bool(usage);
    assert_eq!(uses(CKK_GENERIC_SECRET, b"k", CKA_SIGN), Some(true));
    assert_eq!(uses(CKK_GENERIC_SECRET, b"k", CKA_ENCRYPT), Some(false));
    assert_eq!(uses(CKK_HKDF, b"k", CKA_DERIVE), Some(true));
    assert_eq!(uses(CKK_CHACHA20, &[0; 32], CKA_SIGN), Some(false));
    assert!(
        aes(vec![flag(CKA_DERIVE, true), flag(CKA_SIGN, false)])
            .is_ok_and(|k| k.is_true(CKA_DERIVE) && !k.is_true(CKA_SIGN))
    );
    let point = |ty| {
        vec![num(CKA_CLASS, CKO_PUBLIC_KEY), num(CKA_KEY_TYPE, ty), raw(CKA_EC_PARAMS, b"p"), raw(CKA_EC_POINT, b"q")]
    };
    assert_eq!(create(point(CKK_EC)).unwrap().bool(CKA_DERIVE), Some(false));
    assert_eq!(create(point(CKK_EC)).unwrap().bool(CKA_VERIFY), Some(true));
    assert_eq!(create(point(CKK_EC_MONTGOMERY)).unwrap().bool(CKA_DERIVE), Some(true));
    assert_eq!(create(point(CKK_EC_MONTGOMERY)).unwrap().bool(CKA_VERIFY), Some(false));
}

#[test]
fn templates_are_refused_by_the_exact_code() {
    let cases = [
        (raw(0x8000_0123, b"x"), Code::AttributeTypeInvalid),
        (raw(CKA_MODULUS, b"x"), Code::TemplateInconsistent),
        (raw(CKA_UNIQUE_ID, b"x"), Code::AttributeReadOnly),
        (num(CKA_VALUE_LEN, 16), Code::AttributeReadOnly),
        (flag(CKA_TRUSTED, true), Code::AttributeReadOnly),
        (raw(CKA_SIGN, &[2]), Code::AttributeValueInvalid),
        (raw(CKA_SIGN, &[1, 0, 0, 0]), Code::AttributeValueInvalid),
        (raw(CKA_START_DATE, b"20241301"), Code::AttributeValueInvalid),
        (raw(CKA_ALLOWED_MECHANISMS, &[0; 7]), Code::AttributeValueInvalid),
        (raw(CKA_VALUE, &[7; 15]), Code::TemplateInconsistent),
        (raw(CKA_CHECK_VALUE, b"abc"), Code::AttributeValueInvalid),
        (num(CKA_KEY_TYPE, CKK_DES3), Code::TemplateInconsistent),
        (raw(CKA_WRAP_TEMPLATE, b"x"), Code::AttributeValueInvalid),
        (nested(CKA_LABEL, vec![]), Code::AttributeValueInvalid),
        (nested(CKA_WRAP_TEMPLATE, vec![raw(0x8000_0123, b"x")]), Code::AttributeTypeInvalid),
        (nested(CKA_WRAP_TEMPLATE, vec![raw(CKA_SIGN, b"x")]), Code::AttributeValueInvalid),
        (nested(CKA_WRAP_TEMPLATE, vec![flag(CKA_SIGN, true), flag(CKA_SIGN, true)]), Code::TemplateInconsistent),
    ];
    for (attribute, expected) in cases {
        let ty = attribute.ty;
        assert_eq!(code(aes(vec![attribute])), expected, "{ty:#x}");
    }
    assert!(
        aes(vec![raw(CKA_VALUE, &[7; 16]), flag(CKA_SIGN, true), flag(CKA_SIGN, true)]).is_ok(),
        "the same value twice"
    );
    assert_eq!(code(create(secret_key(CKK_AES, &[0; 17]))), Code::AttributeValueInvalid);
    assert_eq!(code(create(secret_key(CKK_DES3, &[0; 24]))), Code::AttributeValueInvalid, "even parity");
    assert_eq!(code(create(secret_key(CKK_RSA, b"x"))), Code::TemplateInconsistent);
    assert_eq!(code(create(secret_key(0x8000_0001, b"x"))), Code::AttributeValueInvalid);
    assert_eq!(code(create(secret_key(CKK_AES, &[0; 16])[1..].to_vec())), Code::TemplateIncomplete);
    for class in [CKO_PROFILE, CKO_MECHANISM, CKO_VALIDATION, CKO_HW_FEATURE, 0x8000_0001] {
        assert_eq!(code(create(vec![num(CKA_CLASS, class)])), Code::AttributeValueInvalid, "{class:#x}");
    }
}

#[test]
fn templates_nest_four_deep() {
    let deep = |depth: usize| (1..depth).fold(vec![], |inner, _| vec![nested(CKA_UNWRAP_TEMPLATE, inner)]);
    assert!(aes(vec![nested(CKA_UNWRAP_TEMPLATE, deep(4))]).is_ok());
    assert_eq!(code(aes(vec![nested(CKA_UNWRAP_TEMPLATE, deep(5))])), Code::TemplateInconsistent);
}

#[test]
fn checksums_are_computed_verified_and_may_be_declined() {
    let sum = [0x9b, 0xe0, 0x38];
    let found = aes(vec![]).unwrap();
    let found = found.bytes(CKA_CHECK_VALUE).unwrap();
    assert_eq!(found.len(), 3);
    assert_ne!(found, sum);
    assert!(aes(vec![raw(CKA_CHECK_VALUE, found)]).is_ok());
    let without = aes(vec![raw(CKA_CHECK_VALUE, b"")]).unwrap();
    assert_eq!(without.bytes(CKA_CHECK_VALUE), Some(&[][..]));
    let object = aes(vec![]).unwrap();
    assert_eq!(code(set(&USER, &object, vec![raw(CKA_CHECK_VALUE, &sum)])), Code::AttributeValueInvalid);
    let erased = set(&USER, &object, vec![raw(CKA_CHECK_VALUE, b"")]).unwrap();
    assert_eq!(erased.bytes(CKA_CHECK_VALUE), Some(&[][..]));
    // SHA-1 of "abc" starts a9993e.
    let generic = create(secret_key(CKK_GENERIC_SECRET, b"abc")).unwrap();
    assert_eq!(generic.bytes(CKA_CHECK_VALUE), Some(&[0xa9, 0x99, 0x3e][..]));
    assert_eq!(generic.ulong(CKA_VALUE_LEN), Some(3));
}

#[test]
fn generated_keys_know_where_they_come_from() {
    let key = generate(CKK_AES, vec![num(CKA_VALUE_LEN, 16)], &[1; 16]).unwrap();
    for ty in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
        assert!(key.is_true(ty), "{ty:#x}");
    }
    assert_eq!(key.ulong(CKA_KEY_GEN_MECHANISM), Some(CKM_AES_KEY_GEN));
    let open = generate(CKK_AES, vec![flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)], &[1; 16]).unwrap();
    assert!(!open.is_true(CKA_ALWAYS_SENSITIVE) && !open.is_true(CKA_NEVER_EXTRACTABLE));
    assert_eq!(code(generate(CKK_AES, vec![num(CKA_VALUE_LEN, 32)], &[1; 16])), Code::TemplateInconsistent);
    assert_eq!(code(generate(CKK_AES, vec![num(CKA_KEY_TYPE, CKK_DES3)], &[1; 16])), Code::TemplateInconsistent);
    assert_eq!(code(generate(CKK_AES, vec![num(CKA_CLASS, CKO_PRIVATE_KEY)], &[1; 16])), Code::TemplateInconsistent);
    assert_eq!(code(generate(CKK_AES, vec![], &[1; 15])), Code::KeySizeRange);
    assert!(generate(CKK_DES3, vec![], &[0; 24]).is_ok_and(|k| k.bytes(CKA_VALUE) == Some(&[1; 24])), "parity is set");
}

#[test]
fn unwrapped_keys_are_told_by_the_wrapped_keys_codes() {
    let unwrap = |template: Vec<Attribute>, value: &[u8]| {
        let given = Given { attributes: vec![raw(CKA_VALUE, value)], ..Given::default() };
        make(Origin::Unwrap, &USER, None, None, template, given)
    };
    let kind = |ty| vec![num(CKA_CLASS, CKO_SECRET_KEY), num(CKA_KEY_TYPE, ty)];
    let key = unwrap(kind(CKK_AES), &[1; 16]).unwrap();
    assert_eq!(key.ulong(CKA_VALUE_LEN), Some(16));
    assert!(!key.is_true(CKA_LOCAL) && !key.is_true(CKA_ALWAYS_SENSITIVE) && !key.is_true(CKA_NEVER_EXTRACTABLE));
    assert_eq!(code(unwrap(kind(CKK_AES), &[1; 15])), Code::WrappedKeyLenRange);
    let longer = [kind(CKK_AES), vec![num(CKA_VALUE_LEN, 32)]].concat();
    assert_eq!(code(unwrap(longer, &[1; 16])), Code::WrappedKeyLenRange);
    assert_eq!(code(unwrap(kind(CKK_DES3), &[0; 24])), Code::WrappedKeyInvalid);
    assert_eq!(code(unwrap(kind(CKK_DES3), &[0; 23])), Code::WrappedKeyLenRange);
    assert_eq!(code(unwrap(vec![num(CKA_CLASS, CKO_SECRET_KEY)], &[1; 16])), Code::TemplateIncomplete);
    assert_eq!(code(unwrap(vec![num(CKA_CLASS, CKO_PUBLIC_KEY)], &[1; 16])), Code::TemplateInconsistent);
}

#[test]
fn derived_keys_inherit() {
    let closed = generate(CKK_AES, vec![], &[1; 16]).unwrap();
    let open = generate(CKK_AES, vec![flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)], &[1; 16]).unwrap();
    let key = derive(vec![], Heritage::history(&closed), b"value").unwrap();
    assert_eq!(key.ulong(CKA_KEY_TYPE), Some(CKK_GENERIC_SECRET), "neither class nor type said");
    assert!(key.is_true(CKA_ALWAYS_SENSITIVE) && key.is_true(CKA_NEVER_EXTRACTABLE) && !key.is_true(CKA_LOCAL));
    let child = derive(vec![], Heritage::history(&open), b"value").unwrap();
    assert!(!child.is_true(CKA_ALWAYS_SENSITIVE) && !child.is_true(CKA_NEVER_EXTRACTABLE));
    let clear = vec![flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
    let freed = derive(clear.clone(), Heritage::history(&closed), b"value").unwrap();
    assert!(!freed.is_true(CKA_ALWAYS_SENSITIVE) && !freed.is_true(CKA_NEVER_EXTRACTABLE));
    for attribute in &clear {
        let bound = Heritage::bound(&[&open, &closed]);
        assert_eq!(code(derive(vec![attribute.clone()], bound, b"value")), Code::TemplateInconsistent);
    }
    assert!(derive(clear, Heritage::bound(&[&open]), b"value").is_ok());
    let given = Given { attributes: vec![raw(CKA_VALUE, b"kem")], ..Given::default() };
    let kem = make(Origin::Derive, &USER, None, None, vec![], given).unwrap();
    assert!(!kem.is_true(CKA_ALWAYS_SENSITIVE) && !kem.is_true(CKA_NEVER_EXTRACTABLE), "C_EncapsulateKey");
    assert_eq!(
        code(make(Origin::Derive, &USER, None, None, vec![raw(CKA_VALUE, b"x")], Given::default())),
        Code::AttributeReadOnly
    );
}

#[test]
fn what_is_given_stands_and_public_keys_are_verified() {
    let point = vec![
        num(CKA_CLASS, CKO_PUBLIC_KEY),
        num(CKA_KEY_TYPE, CKK_EC),
        raw(CKA_EC_PARAMS, b"curve"),
        raw(CKA_EC_POINT, b"raw"),
    ];
    let given =
        || Given { attributes: vec![raw(CKA_EC_POINT, b"der"), raw(CKA_PUBLIC_KEY_INFO, b"info")], ..Given::default() };
    let with = |info: &[u8]| [point.clone(), vec![raw(CKA_PUBLIC_KEY_INFO, info)]].concat();
    let build = |template, given| make(Origin::Create, &USER, None, None, template, given);
    let object = build(point.clone(), given()).unwrap();
    assert_eq!(object.bytes(CKA_EC_POINT), Some(&b"der"[..]));
    for template in [with(b""), with(b"info")] {
        assert_eq!(build(template, given()).unwrap().bytes(CKA_PUBLIC_KEY_INFO), Some(&b"info"[..]));
    }
    assert_eq!(code(build(with(b"other"), given())), Code::AttributeValueInvalid);
    assert_eq!(code(build(with(b"info"), Given::default())), Code::AttributeTypeInvalid, "nobody could verify it");
    let modulus = rsa_private(vec![]).unwrap();
    assert_eq!(code(rsa_private(vec![raw(CKA_PUBLIC_CRC64_VALUE, &[0; 8])])), Code::AttributeValueInvalid);
    assert!(rsa_private(vec![raw(CKA_PUBLIC_CRC64_VALUE, modulus.bytes(CKA_PUBLIC_CRC64_VALUE).unwrap())]).is_ok());
    let alien = Given { attributes: vec![raw(CKA_MODULUS, b"x")], ..Given::default() };
    assert_eq!(code(make(Origin::Create, &USER, None, None, secret_key(CKK_HKDF, b"x"), alien)), Code::GeneralError);
}

#[test]
fn one_way_attributes_go_one_way() {
    let open = aes(vec![flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)]).unwrap();
    let to = |object: &Attributes, ty, value| set(&USER, object, vec![flag(ty, value)]);
    for (ty, last) in
        [(CKA_SENSITIVE, true), (CKA_EXTRACTABLE, false), (CKA_WRAP_WITH_TRUSTED, true), (CKA_COPYABLE, false)]
    {
        let there = to(&open, ty, last).unwrap();
        assert_eq!(there.bool(ty), Some(last));
        assert!(to(&there, ty, last).is_ok(), "again is no change");
        assert_eq!(code(to(&there, ty, !last)), Code::AttributeReadOnly, "{ty:#x}");
    }
    let sensitive = to(&open, CKA_SENSITIVE, true).unwrap();
    assert!(!sensitive.is_true(CKA_ALWAYS_SENSITIVE));
    assert_eq!(code(copy(&USER, &sensitive, vec![flag(CKA_SENSITIVE, false)])), Code::AttributeReadOnly);
    assert_eq!(code(copy(&USER, &open, vec![flag(CKA_PRIVATE, false)])), Code::AttributeReadOnly);
}

#[test]
fn copies_are_new_objects_with_the_old_history() {
    let key = generate(CKK_AES, vec![flag(CKA_EXTRACTABLE, true)], &[1; 16]).unwrap();
    let plain = copy(&USER, &key, vec![]).unwrap();
    assert_ne!(plain.bytes(CKA_UNIQUE_ID), key.bytes(CKA_UNIQUE_ID));
    let differ = |copy: &Attributes| -> Vec<_> {
        key.iter().filter(|a| copy.get(a.ty) != Some(&a.value)).map(|a| a.ty).collect()
    };
    assert_eq!((differ(&plain), plain.len()), (vec![CKA_UNIQUE_ID], key.len()));
    let template =
        vec![flag(CKA_TOKEN, true), flag(CKA_MODIFIABLE, false), raw(CKA_ID, b"id"), flag(CKA_EXTRACTABLE, false)];
    let stored = copy(&USER, &key, template).unwrap();
    assert_eq!(differ(&stored), [CKA_TOKEN, CKA_UNIQUE_ID, CKA_ID, CKA_EXTRACTABLE, CKA_MODIFIABLE]);
    assert!(!stored.is_true(CKA_NEVER_EXTRACTABLE));
    assert_eq!(code(set(&USER, &stored, vec![raw(CKA_LABEL, b"x")])), Code::ActionProhibited);
    assert!(copy(&USER, &stored, vec![flag(CKA_MODIFIABLE, true)]).is_ok());
    let single = aes(vec![flag(CKA_COPYABLE, false), flag(CKA_DESTROYABLE, false)]).unwrap();
    assert_eq!(code(copy(&USER, &single, vec![])), Code::ActionProhibited);
    assert_eq!(code(may_destroy(&single)), Code::ActionProhibited);
    assert!(may_destroy(&key).is_ok());
    assert_eq!(code(copy(&USER, &key, vec![raw(CKA_UNIQUE_ID, b"mine")])), Code::AttributeReadOnly);
}

#[test]
fn only_the_officer_trusts() {
    let trusted = vec![
        num(CKA_CLASS, CKO_CERTIFICATE),
        num(CKA_CERTIFICATE_TYPE, CKC_X_509),
        raw(CKA_SUBJECT, b"s"),
        raw(CKA_VALUE, b"v"),
        flag(CKA_TRUSTED, true),
    ];
    assert_eq!(code(create(trusted.clone())), Code::AttributeReadOnly);
    let object = make(Origin::Create, &OFFICER, None, None, trusted, Given::default()).unwrap();
    assert_eq!(
        code(set(&USER, &object, vec![raw(CKA_LABEL, b"x")])),
        Code::ActionProhibited,
        "trusted certificates are not modified"
    );
    assert!(set(&OFFICER, &object, vec![flag(CKA_TRUSTED, false)]).is_ok_and(|o| !o.is_true(CKA_TRUSTED)));
    assert!(copy(&USER, &object, vec![flag(CKA_TOKEN, true)]).is_ok_and(|o| o.is_true(CKA_TRUSTED)));
    let forged = vec![raw(CKA_ISSUER, b"another")];
    assert_eq!(code(copy(&USER, &object, forged)), Code::ActionProhibited, "nor in a copy that would still be trusted");
    let key = aes(vec![]).unwrap();
    assert_eq!(code(set(&USER, &key, vec![flag(CKA_TRUSTED, true)])), Code::AttributeReadOnly);
    let wrapping = set(&OFFICER, &key, vec![flag(CKA_TRUSTED, true)]).unwrap();
    assert!(set(&USER, &wrapping, vec![raw(CKA_LABEL, b"x")]).is_ok(), "a trusted key is still the user's");
}

#[test]
fn rules_between_attributes() {
    let lasting = vec![flag(CKA_ALWAYS_AUTHENTICATE, true)];
    assert!(rsa_private(lasting.clone()).is_ok());
    assert_eq!(code(rsa_private([lasting, vec![flag(CKA_PRIVATE, false)]].concat())), Code::TemplateInconsistent);
    assert_eq!(code(certificate(vec![])), Code::TemplateIncomplete);
    assert_eq!(code(certificate(vec![raw(CKA_VALUE, b"")])), Code::TemplateIncomplete);
    let url = vec![raw(CKA_VALUE, b""), raw(CKA_URL, b"http://x")];
    let hashes = vec![raw(CKA_HASH_OF_SUBJECT_PUBLIC_KEY, b"h"), raw(CKA_HASH_OF_ISSUER_PUBLIC_KEY, b"h")];
    assert_eq!(code(certificate(url.clone())), Code::TemplateIncomplete);
    assert!(certificate([url, hashes].concat()).is_ok());
    let sum = certificate(vec![raw(CKA_VALUE, b"abc")]).unwrap();
    assert_eq!(sum.bytes(CKA_CHECK_VALUE), Some(&[0xa9, 0x99, 0x3e][..]));
    assert_eq!(
        code(certificate(vec![raw(CKA_VALUE, b"v"), num(CKA_CERTIFICATE_CATEGORY, 4)])),
        Code::AttributeValueInvalid
    );
    let lattice = |further: Vec<Attribute>| {
        let kind = vec![num(CKA_CLASS, CKO_PRIVATE_KEY), num(CKA_KEY_TYPE, CKK_ML_KEM), num(CKA_PARAMETER_SET, 2)];
        create([kind, further].concat())
    };
    assert_eq!(code(lattice(vec![])), Code::TemplateIncomplete);
    assert!(lattice(vec![raw(CKA_SEED, &[0; 64])]).is_ok() && lattice(vec![raw(CKA_VALUE, &[0; 2400])]).is_ok());
    assert_eq!(
        code(lattice(vec![raw(CKA_VALUE, &[0; 1632])])),
        Code::AttributeValueInvalid,
        "the length of another set"
    );
}

#[test]
fn trust_and_stateful_keys() {
    let trust = |further: Vec<Attribute>| {
        create([vec![num(CKA_CLASS, CKO_TRUST), raw(CKA_ISSUER, b"i"), raw(CKA_SERIAL_NUMBER, b"s")], further].concat())
    };
    assert!(trust(vec![num(CKA_TRUST_SERVER_AUTH, 3)]).is_ok());
    assert_eq!(code(trust(vec![num(CKA_TRUST_SERVER_AUTH, 2)])), Code::TemplateIncomplete);
    let hash = vec![raw(CKA_HASH_OF_CERTIFICATE, b"h"), num(CKA_NAME_HASH_ALGORITHM, CKM_SHA256)];
    assert!(trust([vec![num(CKA_TRUST_SERVER_AUTH, 2)], hash].concat()).is_ok());
    let bare = trust(vec![]).unwrap();
    assert_eq!(code(set(&USER, &bare, vec![num(CKA_TRUST_EMAIL_PROTECTION, 1)])), Code::TemplateInconsistent);
    let hss = |types: &[u8], further: Vec<Attribute>| {
        let kind = vec![
            num(CKA_CLASS, CKO_PRIVATE_KEY),
            num(CKA_KEY_TYPE, CKK_HSS),
            num(CKA_HSS_LEVELS, 2),
            raw(CKA_HSS_LMS_TYPES, types),
            raw(CKA_HSS_LMOTS_TYPES, &[0; 16]),
            raw(CKA_VALUE, b"state"),
        ];
        create([kind, further].concat())
    };
    assert!(hss(&[0; 16], vec![]).is_ok_and(|k| k.bool(CKA_COPYABLE) == Some(false)));
    assert_eq!(code(hss(&[0; 8], vec![])), Code::TemplateInconsistent);
    for open in [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true), flag(CKA_COPYABLE, true)] {
        assert_eq!(code(hss(&[0; 16], vec![open])), Code::AttributeValueInvalid);
    }
}

#[test]
fn searches_compare_what_is_there() {
    let key = rsa_private(vec![raw(CKA_LABEL, b"name")]).unwrap();
    let asks = |template: &[Attribute]| matches(&key, template);
    assert!(asks(&[]));
    assert!(asks(&[num(CKA_CLASS, CKO_PRIVATE_KEY), raw(CKA_LABEL, b"name")]));
    assert!(asks(&[raw(CKA_PUBLIC_EXPONENT, &[0, 0, 1, 0, 1])]), "leading zeros of integers");
    assert!(!asks(&[raw(CKA_LABEL, b"\0name")]));
    for other in [
        raw(CKA_LABEL, b"nam"),
        raw(CKA_LABEL, b""),
        raw(CKA_CLASS, &[3]),
        raw(CKA_ALLOWED_MECHANISMS, b""),
        raw(0xcf53_4301, b""),
    ] {
        assert!(!asks(&[num(CKA_CLASS, CKO_PRIVATE_KEY), other]));
    }
    let one = vec![flag(CKA_SIGN, true), flag(CKA_TOKEN, true)];
    let wrapping = aes(vec![nested(CKA_WRAP_TEMPLATE, one.clone())]).unwrap();
    let other_order = one.into_iter().rev().collect();
    assert!(matches(&wrapping, &[nested(CKA_WRAP_TEMPLATE, other_order)]));
    assert!(!matches(&wrapping, &[nested(CKA_WRAP_TEMPLATE, vec![])]));
}

#[test]
fn imposed_templates_join_or_conflict() {
    let asked = vec![flag(CKA_TOKEN, true), flag(CKA_SENSITIVE, true)];
    let merged = impose(asked.clone(), &[flag(CKA_SENSITIVE, true), flag(CKA_EXTRACTABLE, false)]).unwrap();
    assert_eq!(merged, [asked.clone(), vec![flag(CKA_EXTRACTABLE, false)]].concat());
    assert_eq!(code(impose(asked, &[flag(CKA_TOKEN, false)])), Code::TemplateInconsistent);
}

#[test]
fn built_in_objects_are_nobodys_to_change() {
    let template = vec![num(CKA_CLASS, CKO_PROFILE), num(CKA_PROFILE_ID, 1)];
    let given = Given { attributes: vec![raw(CKA_UNIQUE_ID, b"profile-1")], ..Given::default() };
    let profile = make(Origin::Token, &USER, None, None, template, given).unwrap();
    assert_eq!(profile.bytes(CKA_UNIQUE_ID), Some(&b"profile-1"[..]), "the token may name its own");
    assert!(profile.is_true(CKA_TOKEN));
    assert_eq!(code(set(&OFFICER, &profile, vec![raw(CKA_LABEL, b"x")])), Code::ActionProhibited);
    assert_eq!(code(copy(&OFFICER, &profile, vec![])), Code::ActionProhibited);
    assert_eq!(code(may_destroy(&profile)), Code::ActionProhibited);
}

#[test]
fn a_draft_knows_the_defaults_before_there_is_a_key() {
    let draft =
        draft(Origin::Generate, &USER, Some(CKO_SECRET_KEY), Some(CKK_AES), vec![num(CKA_VALUE_LEN, 32)]).unwrap();
    let known = draft.attributes();
    assert!(
        known.is_true(CKA_PRIVATE)
            && known.ulong(CKA_VALUE_LEN) == Some(32)
            && known.ulong(CKA_KEY_TYPE) == Some(CKK_AES)
    );
    assert_eq!(code(draft.finish(Given::default())), Code::TemplateIncomplete);
}

#[test]
fn sizes_are_those_of_the_encoding() {
    let (small, large) = (aes(vec![]).unwrap(), aes(vec![raw(CKA_LABEL, &[b'x'; 1000])]).unwrap());
    // A thousand bytes and one more for their length.
    assert_eq!(size(&large) - size(&small), 1001);
}

#[test]
fn the_clear_part_alone_can_be_changed() {
    let kind = vec![num(CKA_CLASS, CKO_PRIVATE_KEY), num(CKA_KEY_TYPE, CKK_ML_KEM), num(CKA_PARAMETER_SET, 2)];
    let (clear, secret) = split(&create([kind, vec![raw(CKA_SEED, &[9; 64])]].concat()).unwrap());
    assert_eq!(secret.bytes(CKA_SEED), Some(&[9; 64][..]));
    let renamed = set(&USER, &clear, vec![raw(CKA_LABEL, b"new")]).unwrap();
    assert_eq!(join(renamed, secret).bytes(CKA_LABEL), Some(&b"new"[..]));
}

#[test]
fn generated_pairs_and_parameters_get_their_lengths() {
    let generate = |class, ty, template, attributes| {
        let given = Given { attributes, mechanism: Some(CKM_RSA_PKCS_KEY_PAIR_GEN), heritage: None };
        make(Origin::Generate, &USER, Some(class), Some(ty), template, given)
    };
    let modulus = [&[0, 0x80][..], &[0xff; 255]].concat();
    let parts = vec![raw(CKA_MODULUS, &modulus), raw(CKA_PUBLIC_EXPONENT, &[1, 0, 1])];
    let public = generate(CKO_PUBLIC_KEY, CKK_RSA, vec![num(CKA_MODULUS_BITS, 2048)], parts.clone()).unwrap();
    assert_eq!(public.ulong(CKA_MODULUS_BITS), Some(2048));
    assert!(public.is_true(CKA_LOCAL) && public.get(CKA_SENSITIVE).is_none());
    assert_eq!(public.ulong(CKA_KEY_GEN_MECHANISM), Some(CKM_RSA_PKCS_KEY_PAIR_GEN));
    let told = vec![raw(CKA_MODULUS, &modulus)];
    assert_eq!(code(generate(CKO_PUBLIC_KEY, CKK_RSA, told, parts)), Code::AttributeReadOnly);
    let domain = vec![raw(CKA_PRIME, &[0x80; 128]), raw(CKA_BASE, &[2])];
    let domain = generate(CKO_DOMAIN_PARAMETERS, CKK_DH, vec![num(CKA_PRIME_BITS, 1024)], domain).unwrap();
    assert_eq!((domain.ulong(CKA_PRIME_BITS), domain.bool(CKA_LOCAL)), (Some(1024), Some(true)));
    let curve = vec![raw(CKA_EC_POINT, b"q")];
    assert_eq!(code(generate(CKO_PUBLIC_KEY, CKK_EC, vec![], curve)), Code::TemplateIncomplete, "footnote 3");
}
