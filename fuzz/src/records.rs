//! What is decoded from bytes that come from a file: object records, private keys, configuration, profile cases.

use std::path::PathBuf;

use cryptoki_sys::*;
use keyward::config::Config;
use keyward::mechanism::key_attributes as key;
use keyward::object::{Attributes, codec, names};
use keyward::token::{Attribute, Value};

/// What decodes encodes to the same bytes, and can be shown.
pub fn object(data: &[u8]) {
    let Ok(object) = codec::decode(data) else { return };
    let again = codec::encode(&object);
    assert_eq!(codec::encoded_len(&object), again.expose().len());
    let decoded = codec::decode(again.expose()).expect("what was encoded decodes");
    assert!(decoded == object, "the encoding keeps the object");
    for attribute in object.iter() {
        names::render(&object, attribute.ty, &attribute.value);
    }
}

pub fn object_seeds() -> Vec<Vec<u8>> {
    let nested = Value::Template(vec![Attribute::bool(CKA_SIGN, true), Attribute::ulong(CKA_KEY_TYPE, CKK_AES)]);
    let whole: Attributes = [
        Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
        Attribute::ulong(CKA_KEY_TYPE, CKK_AES),
        Attribute::bool(CKA_TOKEN, true),
        Attribute::bytes(CKA_LABEL, b"a label"),
        Attribute::bytes(CKA_VALUE, &[7; 32]),
        Attribute { ty: CKA_WRAP_TEMPLATE, value: nested },
    ]
    .into_iter()
    .collect();
    let small: Attributes = [Attribute::ulong(CKA_CLASS, CKO_DATA)].into_iter().collect();
    [whole, small].iter().map(|object| codec::encode(object).expose().to_vec()).collect()
}

/// A PKCS#8 key as `C_UnwrapKey` and `keyward object import` take it; what is taken has a public key and goes back.
pub fn private_key(data: &[u8]) {
    let Ok(attributes) = key::pkcs8_to_attributes(data) else { return };
    let mut whole: Attributes = attributes.into_iter().collect();
    whole.put(Attribute::ulong(CKA_CLASS, CKO_PRIVATE_KEY));
    let _ = key::validate(&whole);
    let _ = key::public_key_info(&whole);
    let _ = key::public_of(&whole);
    if let Ok(info) = key::private_to_pkcs8(&whole) {
        assert!(key::pkcs8_to_attributes(info.expose()).is_ok(), "what was written can be read");
    }
}

pub fn private_key_seeds() -> Vec<Vec<u8>> {
    include_str!("keys.txt").lines().map(unhex).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("keyward-fuzz-{}-{name}", std::process::id()))
}

/// A configuration file: an error is a sentence that names the file.
pub fn config(data: &[u8]) {
    let path = scratch("keyward.toml");
    std::fs::write(&path, data).expect("a scratch file");
    if let Err(error) = Config::load_file(&path) {
        assert!(error.to_string().contains("keyward.toml"), "{error}");
    }
    let _ = std::fs::remove_file(&path);
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    [
        "tokens = '/srv/tokens'\ndevice_secret = '~/device'\nfree_slot = 'always'\nmechanisms = ['AES_GCM', 'ECDSA']\n\
         kdf = 'strong'\n[pin]\nmin_len = 6\nmax_len = 64\nmax_failures = 3\n[log]\nlevel = 'info'\nfile = 'k.log'\n",
        "mechanisms = ['-SHA_1']\n[pin]\nrequire = ['digit', 'letter']\nrefuse_simple = true\n",
        "",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

pub fn profile(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = crate::xml::case(text);
    }
}

pub fn profile_seeds() -> Vec<Vec<u8>> {
    let text = "<PKCS11>\n# a note\n<C_Initialize/><C_Initialize rv=\"OK\"/><C_GetSlotList><TokenPresent value=\"true\"/>\
                <SlotList/></C_GetSlotList><C_GetSlotList rv=\"OK\"><SlotList length=\"${n}\"/></C_GetSlotList></PKCS11>";
    vec![text.as_bytes().to_vec()]
}
