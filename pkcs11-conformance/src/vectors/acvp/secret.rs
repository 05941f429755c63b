//! ACVP vectors for digests and secret keys.

use cryptoki_sys::*;
use serde_json::Value;

use super::{other, plain};
use crate::data::{Mech, Template};
use crate::ffi::Session;
use crate::functions::F;
use crate::vectors::symmetric::{self, both_ways, mac_with, with_key, wrapped};
use crate::vectors::{Checked, Got, family, hex, number, same, secret, settle, text, unsupported, wrong};

pub fn digest(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let bits = number(v, "len");
    if !plain(group) || !bits.is_multiple_of(8) {
        return other();
    }
    let Some(f) = family(algorithm) else { return other() };
    let message = hex(v, "msg");
    let message = message.get(..bits as usize / 8).unwrap_or(&message);
    let run = || {
        unsupported(s.init(F::C_DigestInit, &Mech::new(f.digest), 0))?;
        Ok(same(&wrong(s.run(F::C_Digest, message))?, &hex(v, "md")))
    };
    Ok(settle(run()))
}

pub fn hmac(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let bits = if number(v, "macLen") > 0 { number(v, "macLen") } else { number(group, "macLen") };
    let Some(f) = algorithm.strip_prefix("HMAC-").and_then(family) else { return other() };
    if !number(v, "msgLen").is_multiple_of(8) || !number(v, "keyLen").is_multiple_of(8) {
        return other();
    }
    mac_with(s, CKK_GENERIC_SECRET, &f.hmac(bits / 8), &[&hex(v, "key"), &hex(v, "msg"), &hex(v, "mac")])
}

/// Of a message that ends inside a byte only the leading bits are given; then one direction is run, and they are compared.
pub fn cipher(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let (iv, odd) = (hex(v, "iv"), number(v, "payloadLen") % 8);
    let mech = match algorithm {
        _ if !plain(group) => return other(),
        "ACVP-AES-ECB" => Mech::new(CKM_AES_ECB),
        "ACVP-AES-CBC" => Mech::bytes(CKM_AES_CBC, &iv),
        "ACVP-AES-CBC-CS1" if odd == 0 => Mech::bytes(CKM_AES_CTS, &iv),
        "ACVP-AES-OFB" => Mech::bytes(CKM_AES_OFB, &iv),
        "ACVP-AES-CFB1" => Mech::bytes(CKM_AES_CFB1, &iv),
        "ACVP-AES-CFB8" => Mech::bytes(CKM_AES_CFB8, &iv),
        "ACVP-AES-CFB128" => Mech::bytes(CKM_AES_CFB128, &iv),
        "ACVP-AES-CTR" => match iv.try_into() {
            Ok(block) => Mech::ctr(128, block),
            Err(_) => return other(),
        },
        _ => return other(),
    };
    with_key(s, secret(s, CKK_AES, &hex(v, "key")), |key| match odd {
        0 => both_ways(s, v, key, &mech, &hex(v, "pt"), &hex(v, "ct")),
        _ => leading_bits(s, key, &mech, group, v, odd),
    })
}

fn leading_bits(
    s: Session,
    key: CK_OBJECT_HANDLE,
    mech: &Mech,
    group: &Value,
    v: &Value,
    odd: u64,
) -> Result<Got, Got> {
    let (init, run, from, to) = match text(group, "direction") {
        "encrypt" => (F::C_EncryptInit, F::C_Encrypt, "pt", "ct"),
        _ => (F::C_DecryptInit, F::C_Decrypt, "ct", "pt"),
    };
    unsupported(s.init(init, mech, key))?;
    let [mut got, mut want] = [wrong(s.run(run, &hex(v, from)))?, hex(v, to)];
    for last in [got.last_mut(), want.last_mut()].into_iter().flatten() {
        *last &= 0xffu8 << (8 - odd);
    }
    Ok(same(&got, &want))
}

/// The three keys as one; with keying option 2 as the two of `CKK_DES2`.
fn triple_des_key(s: Session, group: &Value, v: &Value) -> Result<CK_OBJECT_HANDLE, Got> {
    let [one, two, three] = ["key1", "key2", "key3"].map(|name| hex(v, name));
    match number(group, "keyingOption") {
        2 => secret(s, CKK_DES2, &[one, two].concat()),
        _ => secret(s, CKK_DES3, &[one, two, three].concat()),
    }
}

pub fn triple_des(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let mech = match algorithm {
        _ if !plain(group) => return other(),
        "ACVP-TDES-ECB" => Mech::new(CKM_DES3_ECB),
        "ACVP-TDES-CBC" => Mech::bytes(CKM_DES3_CBC, &hex(v, "iv")),
        _ => return other(),
    };
    with_key(s, triple_des_key(s, group, v), |key| both_ways(s, v, key, &mech, &hex(v, "pt"), &hex(v, "ct")))
}

/// Single data units of whole bytes: a message of several is several operations.
pub fn xts(s: Session, _: &str, _: &Value, v: &Value) -> Checked {
    if !number(v, "payloadLen").is_multiple_of(8) || v["dataUnitLen"] != v["payloadLen"] {
        return other();
    }
    let unit = match v["sequenceNumber"].as_u64() {
        Some(number) => u128::from(number).to_le_bytes().to_vec(),
        None => hex(v, "tweakValue"),
    };
    let mech = Mech::bytes(CKM_AES_XTS, &unit);
    let key = secret(s, CKK_AES_XTS, &hex(v, "key"));
    with_key(s, key, |key| both_ways(s, v, key, &mech, &hex(v, "pt"), &hex(v, "ct")))
}

pub fn gcm(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let sealed = [hex(v, "ct"), hex(v, "tag")].concat();
    let mech = Mech::gcm(&hex(v, "iv"), &hex(v, "aad"), number(group, "tagLen"));
    with_key(s, secret(s, CKK_AES, &hex(v, "key")), |key| both_ways(s, v, key, &mech, &hex(v, "pt"), &sealed))
}

pub fn gmac(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let mech = symmetric::gmac(&hex(v, "iv"), number(group, "tagLen"));
    mac_with(s, CKK_AES, &mech, &[&hex(v, "key"), &hex(v, "aad"), &hex(v, "tag")])
}

pub fn ccm(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let len = number(group, "payloadLen") as usize / 8;
    let mech = Mech::ccm(len, &hex(v, "iv"), &hex(v, "aad"), number(group, "tagLen") / 8);
    with_key(s, secret(s, CKK_AES, &hex(v, "key")), |key| both_ways(s, v, key, &mech, &hex(v, "pt"), &hex(v, "ct")))
}

pub fn keywrap(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let ty = match algorithm {
        "ACVP-AES-KW" => CKM_AES_KEY_WRAP,
        "ACVP-AES-KWP" => CKM_AES_KEY_WRAP_KWP,
        _ => return other(),
    };
    // The variant with the inverse cipher has no mechanism.
    if text(group, "kwCipher") != "cipher" || !number(group, "payloadLen").is_multiple_of(8) || v["key"].is_null() {
        return other();
    }
    wrapped(s, v, ty, &hex(v, "pt"), &hex(v, "ct"))
}

pub fn cmac(s: Session, algorithm: &str, group: &Value, v: &Value) -> Checked {
    let bytes = number(group, "macLen") / 8;
    let mech = |whole, len, general| if bytes == len { Mech::new(whole) } else { Mech::ulong(general, bytes) };
    let message = if v["message"].is_string() { hex(v, "message") } else { hex(v, "msg") };
    let tag = hex(v, "mac");
    if algorithm == "CMAC-TDES" {
        let mech = mech(CKM_DES3_CMAC, 8, CKM_DES3_CMAC_GENERAL);
        return with_key(s, triple_des_key(s, group, v), |key| symmetric::mac_by(s, key, &mech, &message, &tag));
    }
    mac_with(s, CKK_AES, &mech(CKM_AES_CMAC, 16, CKM_AES_CMAC_GENERAL), &[&hex(v, "key"), &message, &tag])
}

/// The extended master secret, and the key block made of it.
pub fn tls(s: Session, _: &str, group: &Value, v: &Value) -> Checked {
    let Some(f) = family(text(group, "hashAlg")) else { return other() };
    let readable = || {
        Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)
            .flag(CKA_TOKEN, false)
            .flag(CKA_SENSITIVE, false)
            .flag(CKA_EXTRACTABLE, true)
    };
    with_key(s, secret(s, CKK_GENERIC_SECRET, &hex(v, "preMasterSecret")), |pre| {
        let mech = Mech::extended_master(f.digest, &hex(v, "sessionHash"));
        let master = wrong(s.derive(&mech, pre, &readable().flag(CKA_DERIVE, true)))?;
        let value = wrong(s.get(master, CKA_VALUE))?;
        if value != hex(v, "masterSecret") {
            return Ok(same(&value, &hex(v, "masterSecret")));
        }
        let block = hex(v, "keyBlock");
        let mech = Mech::tls_kdf(f.digest, b"key expansion", &hex(v, "serverRandom"), &hex(v, "clientRandom"));
        let got =
            symmetric::derived(s, &mech, master, &readable().ulong(CKA_VALUE_LEN, block.len() as CK_ULONG), &block);
        wrong(s.destroy(master))?;
        got
    })
}
