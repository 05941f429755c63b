//! The message functions, with CKM_AES_GCM.

use cryptoki_sys::*;

use super::keys::Kind;
use super::{Need, Row};
use crate::context::{Outcome, Stop, T, equal, refused, same_bytes};
use crate::data::{Field, Mech, RawMech};
use crate::ffi::{Call, Refused, Session, check};
use crate::functions::F;

const NEEDS: &[Need] = &[
    Need::User,
    Need::Fn(F::C_MessageEncryptInit),
    Need::Mech(CKM_AES_GCM, CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT),
];

pub static ROWS: &[Row] = &[
    Row("gcm/equals-one-shot", "5.9.2", NEEDS, equals_one_shot),
    Row("gcm/several-messages", "5.9.1", NEEDS, several),
    Row("gcm/in-parts", "5.9.4", NEEDS, in_parts),
    Row("gcm/changed-tag", "5.11.2", NEEDS, changed_tag),
    Row("gcm/generated-iv", "6.13", NEEDS, generated_iv),
    Row("gcm/after-final", "5.9.5", NEEDS, after_final),
    Row("gcm/whole-amid-parts", "5.9.2", NEEDS, whole_amid_parts),
    Row("gcm/does-not-block-c-encrypt-init", "5.9.1", NEEDS, beside_encrypt),
];

const IV: usize = 12;
const AAD: &[u8] = b"additional data";

/// `CK_GCM_MESSAGE_PARAMS`, as often as a message needs it. The buffers are the IV and the tag.
fn parameters(iv: &[u8; IV], tag: &[u8; 16], generator: CK_GENERATOR_FUNCTION) -> RawMech {
    let word = |n: CK_ULONG| Field::Word(n);
    Mech::fields(
        CKM_AES_GCM,
        vec![
            Field::Pointer(iv.to_vec()),
            word(IV as CK_ULONG),
            word(0),
            word(generator),
            Field::Pointer(tag.to_vec()),
            word(128),
        ],
    )
    .raw()
}

/// A whole message; the parameter's buffers are changed by the call.
fn message(s: Session, f: F, p: &mut RawMech, aad: &[u8], data: &[u8]) -> Call<Vec<u8>> {
    let [place, len] = p.parameter();
    let head = [place, len, aad.as_ptr() as usize, aad.len(), data.as_ptr() as usize, data.len()];
    let out = s.output(f, &head, crate::ffi::Room::Bytes(data.len() + 64));
    check(f, out.rv).map(|()| out.bytes)
}

fn begin(s: Session, f: F, p: &mut RawMech, aad: &[u8]) -> Call<()> {
    let [place, len] = p.parameter();
    s.feed(f, &[place, len], aad)
}

fn next(s: Session, f: F, p: &mut RawMech, data: &[u8], last: bool) -> Call<Vec<u8>> {
    let [place, len] = p.parameter();
    let mut out = vec![0u8; data.len() + 64];
    let mut n = out.len() as CK_ULONG;
    let flags = if last { CKF_END_OF_MESSAGE } else { 0 };
    let rest = [place, len, data.as_ptr() as usize, data.len(), out.as_mut_ptr() as usize, &raw mut n as usize];
    s.plain(f, &[&rest[..], &[flags as usize]].concat())?;
    out.truncate(n as usize);
    Ok(out)
}

fn tag_of(p: &RawMech) -> [u8; 16] {
    p.buffer(1).and_then(|t| t.try_into().ok()).unwrap_or_default()
}

fn start(t: &mut T<'_>) -> Result<(Session, CK_OBJECT_HANDLE), Stop> {
    let s = t.user()?;
    let key = Kind::Aes(32).make(s)?.private;
    s.init(F::C_MessageEncryptInit, &Mech::new(CKM_AES_GCM), key)?;
    Ok((s, key))
}

fn encrypt(s: Session, iv: &[u8; IV], data: &[u8]) -> Call<(Vec<u8>, [u8; 16])> {
    let mut p = parameters(iv, &[0; 16], CKG_NO_GENERATE);
    let out = message(s, F::C_EncryptMessage, &mut p, AAD, data)?;
    Ok((out, tag_of(&p)))
}

fn decrypt(s: Session, iv: &[u8; IV], tag: &[u8; 16], data: &[u8]) -> Call<Vec<u8>> {
    message(s, F::C_DecryptMessage, &mut parameters(iv, tag, CKG_NO_GENERATE), AAD, data)
}

fn equals_one_shot(t: &mut T<'_>) -> Outcome {
    let (s, key) = start(t)?;
    let (sealed, tag) = encrypt(s, &[3; IV], b"a message")?;
    s.plain(F::C_MessageEncryptFinal, &[])?;
    s.init(F::C_EncryptInit, &Mech::gcm(&[3; IV], AAD, 128), key)?;
    let whole = s.run(F::C_Encrypt, b"a message")?;
    same_bytes("ciphertext and tag", &[sealed.as_slice(), &tag].concat(), &whole)
}

fn several(t: &mut T<'_>) -> Outcome {
    let (s, key) = start(t)?;
    let sealed: Vec<_> = (0..5u8).map(|i| encrypt(s, &[i; IV], &[i; 40])).collect::<Result<_, Refused>>()?;
    s.plain(F::C_MessageEncryptFinal, &[])?;
    s.init(F::C_MessageDecryptInit, &Mech::new(CKM_AES_GCM), key)?;
    for (i, (data, tag)) in sealed.iter().enumerate() {
        same_bytes("message", &decrypt(s, &[i as u8; IV], tag, data)?, &[i as u8; 40])?;
    }
    Ok(s.plain(F::C_MessageDecryptFinal, &[])?)
}

fn in_parts(t: &mut T<'_>) -> Outcome {
    let (s, key) = start(t)?;
    let (whole, whole_tag) = encrypt(s, &[9; IV], &[7; 50])?;
    let mut p = parameters(&[9; IV], &[0; 16], CKG_NO_GENERATE);
    begin(s, F::C_EncryptMessageBegin, &mut p, AAD)?;
    let mut parts = next(s, F::C_EncryptMessageNext, &mut p, &[7; 20], false)?;
    parts.extend(next(s, F::C_EncryptMessageNext, &mut p, &[7; 30], true)?);
    same_bytes("ciphertext in parts", &parts, &whole)?;
    same_bytes("tag", &tag_of(&p), &whole_tag)?;
    s.plain(F::C_MessageEncryptFinal, &[])?;
    s.init(F::C_MessageDecryptInit, &Mech::new(CKM_AES_GCM), key)?;
    let mut p = parameters(&[9; IV], &whole_tag, CKG_NO_GENERATE);
    begin(s, F::C_DecryptMessageBegin, &mut p, AAD)?;
    let mut back = next(s, F::C_DecryptMessageNext, &mut p, &whole[..33], false)?;
    back.extend(next(s, F::C_DecryptMessageNext, &mut p, &whole[33..], true)?);
    same_bytes("decrypted in parts", &back, &[7; 50])
}

fn changed_tag(t: &mut T<'_>) -> Outcome {
    let (s, key) = start(t)?;
    let (sealed, mut tag) = encrypt(s, &[9; IV], &[7; 50])?;
    s.plain(F::C_MessageEncryptFinal, &[])?;
    s.init(F::C_MessageDecryptInit, &Mech::new(CKM_AES_GCM), key)?;
    tag[0] ^= 1;
    let allowed = [CKR_AEAD_DECRYPT_FAILED, CKR_ENCRYPTED_DATA_INVALID];
    refused("C_DecryptMessage with another tag", decrypt(s, &[9; IV], &tag, &sealed), &allowed)?;
    tag[0] ^= 1;
    same_bytes("the next message", &decrypt(s, &[9; IV], &tag, &sealed)?, &[7; 50])
}

fn generated_iv(t: &mut T<'_>) -> Outcome {
    let (s, _) = start(t)?;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut p = parameters(&[0; IV], &[0; 16], CKG_GENERATE_RANDOM);
        match message(s, F::C_EncryptMessage, &mut p, AAD, b"data") {
            Err(r) if r.rv.0 == CKR_MECHANISM_PARAM_INVALID => return crate::context::skip("no generated IVs"),
            out => drop(out?),
        }
        seen.push(p.buffer(0).unwrap_or_default().to_vec());
    }
    seen.sort();
    seen.dedup();
    equal("distinct generated IVs", seen.len(), 4)
}

fn after_final(t: &mut T<'_>) -> Outcome {
    let (s, _) = start(t)?;
    s.plain(F::C_MessageEncryptFinal, &[])?;
    refused("C_EncryptMessage", encrypt(s, &[1; IV], b"x"), &[CKR_OPERATION_NOT_INITIALIZED])?;
    refused("C_MessageEncryptFinal", s.plain(F::C_MessageEncryptFinal, &[]), &[CKR_OPERATION_NOT_INITIALIZED])
}

fn whole_amid_parts(t: &mut T<'_>) -> Outcome {
    let (s, _) = start(t)?;
    let mut p = parameters(&[9; IV], &[0; 16], CKG_NO_GENERATE);
    begin(s, F::C_EncryptMessageBegin, &mut p, AAD)?;
    let allowed = [CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED, CKR_FUNCTION_FAILED];
    refused("C_EncryptMessage amid a message in parts", encrypt(s, &[1; IV], b"x"), &allowed)
}

/// Message and plain operations: the second C_MessageEncryptInit is refused.
fn beside_encrypt(t: &mut T<'_>) -> Outcome {
    let (s, key) = start(t)?;
    let again = s.init(F::C_MessageEncryptInit, &Mech::new(CKM_AES_GCM), key);
    refused("second C_MessageEncryptInit", again, &[CKR_OPERATION_ACTIVE])?;
    encrypt(s, &[1; IV], b"still works")?;
    Ok(())
}
