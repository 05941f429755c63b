use std::sync::Arc;

use super::*;
use crate::testing::{Double, PinFile, keyward};

fn stocked() -> Arc<Double> {
    let label = |text: &str| Attribute::bytes(CKA_LABEL, text.as_bytes());
    let public = [
        Attribute::ulong(CKA_CLASS, CKO_PUBLIC_KEY),
        Attribute::ulong(CKA_KEY_TYPE, CKK_EC),
        Attribute::bytes(CKA_ID, &[1, 2]),
        label("web"),
    ];
    let secret = [
        Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
        Attribute::ulong(CKA_KEY_TYPE, CKK_AES),
        Attribute::bool(CKA_PRIVATE, true),
        Attribute::bool(CKA_SENSITIVE, true),
        Attribute::bytes(CKA_VALUE, b"0123456789abcdef"),
        label("disk"),
    ];
    Double::made("a1", "t").with(1, &public).with(2, &secret)
}

#[test]
fn private_objects_are_listed_only_with_a_login() {
    let token = stocked();
    let report = keyward(&[&token], "object list").unwrap();
    assert_eq!(report.text, "CLASS       TYPE  LABEL  ID    TRAITS\npublic-key  ec    web    0102  -\n");
    let pin = PinFile::new("1234\n");
    let report = keyward(&[&token], &format!("object list --pin-file {pin}")).unwrap();
    assert_eq!(report.json.as_array().unwrap().len(), 2);
    assert_eq!(report.json[1]["sensitive"], true);
    assert!(report.text.contains("secret-key  aes   disk   -     private,sensitive"), "{}", report.text);
    assert!(token.at_rest());
}

#[test]
fn filters_all_must_hold() {
    let token = stocked();
    let count = |line: &str| keyward(&[&token], line).unwrap().json.as_array().unwrap().len();
    assert_eq!(count("object list --label web --id 0102 --class public-key --key-type ec"), 1);
    assert_eq!(count("object list --label web --id 0103"), 0);
}

#[test]
fn show_never_shows_what_is_sensitive() {
    let pin = PinFile::new("1234\n");
    let report = keyward(&[&stocked()], &format!("object show --label disk --pin-file {pin}")).unwrap();
    assert!(report.text.contains("CKA_VALUE      (sensitive)"), "{}", report.text);
    assert!(report.json[0]["CKA_VALUE"].is_null());
    assert_eq!(report.json[0]["CKA_KEY_TYPE"], "aes");
    let printed = report.text + &report.json.to_string();
    assert!(!printed.contains("0123456789abcdef") && !printed.contains("30313233"));
}

#[test]
fn delete_wants_a_choice_and_a_yes() {
    let token = stocked();
    let pin = PinFile::new("1234\n");
    let fail = |line: &str| keyward(&[&token], line).err().unwrap();
    assert_eq!(fail("object delete --yes").exit, Exit::Usage);
    assert_eq!(fail("object delete --label web").exit, Exit::NotConfirmed);
    let hidden = fail("object delete --label disk --yes");
    assert_eq!(hidden.exit, Exit::NotFound);
    assert!(hidden.message.contains("--login"), "{hidden}");
    assert_eq!(token.objects(), [1, 2]);
    let report = keyward(&[&token], &format!("object delete --label disk --yes --pin-file {pin}")).unwrap();
    assert_eq!(report.json["deleted"][0]["label"], "disk");
    assert_eq!(token.objects(), [1]);
    assert!(token.at_rest());
}

#[test]
fn several_are_deleted_only_with_all() {
    let web = [Attribute::bytes(CKA_LABEL, b"web")];
    let token = Double::made("a1", "t").with(1, &web).with(2, &web).with(3, &[]);
    let failure = keyward(&[&token], "object delete --label web --yes").err().unwrap();
    assert_eq!(failure.exit, Exit::Refused);
    assert_eq!(token.objects(), [1, 2, 3]);
    keyward(&[&token], "object delete --label web --yes --all").unwrap();
    assert_eq!(token.objects(), [3]);
}
