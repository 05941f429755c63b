//! ML-KEM, ML-DSA and SLH-DSA by the rows of the mechanism table.

mod keys;
mod wycheproof;

use std::sync::Arc;

use cryptoki_sys::*;
use keyward::crypto::digest::{Digest, hash};
use keyward::error::Code;
use keyward::mechanism::key::Key;
use keyward::mechanism::table::{ParamKind, Row, all, row};
use keyward::object::Attributes;
use keyward::token::{Attribute, Operation, Params, Size, Step, Use};

/// A generated pair, as its objects would be.
struct Pair {
    public: Attributes,
    private: Attributes,
}

fn object(class: CK_OBJECT_CLASS, key_type: CK_KEY_TYPE, own: &[Attribute]) -> Attributes {
    let common = [Attribute::ulong(CKA_CLASS, class), Attribute::ulong(CKA_KEY_TYPE, key_type)];
    common.into_iter().chain(own.iter().cloned()).collect()
}

fn try_generate(mechanism: CK_MECHANISM_TYPE, template: &[Attribute]) -> Result<Pair, Code> {
    let row = row(mechanism).unwrap();
    let template: Attributes = template.iter().cloned().collect();
    let made = row.does.generate_pair.unwrap()(row, &Params::None, &template, &Attributes::new());
    let made = made.map_err(|e| e.code())?;
    Ok(Pair {
        public: object(CKO_PUBLIC_KEY, row.keys[0], &made.public),
        private: object(CKO_PRIVATE_KEY, row.keys[0], &made.private),
    })
}

fn generate(mechanism: CK_MECHANISM_TYPE, set: CK_ULONG) -> Pair {
    try_generate(mechanism, &[Attribute::ulong(CKA_PARAMETER_SET, set)]).unwrap()
}

fn prepare(attributes: &Attributes) -> Arc<Key> {
    Arc::new(Key::prepare(attributes).unwrap())
}

fn begin(row: &'static Row, what: Use, params: &Params, key: &Arc<Key>) -> Result<Box<dyn Operation>, Code> {
    row.does.begin.unwrap()(row, what, params, Some(key)).map_err(|e| e.code())
}

fn step(operation: &mut dyn Operation, step: Step, input: &[u8]) -> Result<Vec<u8>, Code> {
    let Size::Exactly(len) = operation.size(step, input.len()).map_err(|e| e.code())? else { panic!("{step:?}") };
    let mut out = vec![0; len];
    let written = match step {
        Step::Whole => operation.whole(input, &mut out),
        Step::Update => operation.update(input, &mut out),
        Step::Finish => operation.finish(&mut out),
    };
    assert_eq!(written.map_err(|e| e.code())?, len, "{step:?}");
    Ok(out)
}

fn in_parts(operation: &mut dyn Operation, message: &[u8]) -> Result<Vec<u8>, Code> {
    for part in message.chunks(message.len() / 3 + 1) {
        step(operation, Step::Update, part)?;
    }
    step(operation, Step::Finish, &[])
}

fn verify(row: &'static Row, params: &Params, key: &Arc<Key>, data: &[u8], signature: &[u8]) -> Result<(), Code> {
    begin(row, Use::Verify, params, key)?.verify(Some(data), signature).map_err(|e| e.code())
}

fn context(hedge: CK_HEDGE_TYPE, context: &[u8]) -> Params {
    Params::SignContext { hedge, context: context.into(), hash: None }
}

/// What most host threads have at least.
const SMALL_STACK: usize = 128 * 1024;

fn on_a_small_stack(test: fn()) {
    std::thread::Builder::new().stack_size(SMALL_STACK).spawn(test).unwrap().join().unwrap();
}

/// The rows that sign messages with keys of a type: not those that want the hash.
fn message_rows(key_type: CK_KEY_TYPE) -> Vec<&'static Row> {
    let rows = all().filter(|row| row.keys == [key_type] && row.flags & CKF_SIGN != 0);
    rows.filter(|row| row.params == ParamKind::SignContext).collect()
}

/// Whole, in parts, by an operation used again; under each hedge; with a context and without; and no other key,
/// message, context, signature or mechanism does.
fn exercise(row: &'static Row, pair: &Pair, other: &'static Row) {
    let (private, public) = (prepare(&pair.private), prepare(&pair.public));
    let message = b"in three or more parts".as_slice();
    let deterministic = context(CKH_DETERMINISTIC_REQUIRED, b"context");
    let mut operation = begin(row, Use::Sign, &deterministic, &private).unwrap();
    let signature = step(&mut *operation, Step::Whole, message).unwrap();
    assert!(operation.restart(&deterministic) && operation.multi_part());
    assert_eq!(in_parts(&mut *operation, message).unwrap(), signature, "{}", row.name);
    assert!(operation.restart(&context(CKH_HEDGE_REQUIRED, b"context")));
    let hedged = step(&mut *operation, Step::Whole, message).unwrap();
    assert_ne!(hedged, signature, "{}", row.name);
    // Verification knows no hedge, not even a wrong one.
    for (params, signature) in [(context(77, b"context"), &signature), (deterministic.clone(), &hedged)] {
        assert_eq!(verify(row, &params, &public, message, signature), Ok(()), "{}", row.name);
    }
    let invalid = Err(Code::SignatureInvalid);
    assert_eq!(verify(row, &Params::None, &public, message, &signature), invalid);
    assert_eq!(verify(row, &context(0, b"other"), &public, message, &signature), invalid);
    assert_eq!(verify(row, &deterministic, &public, b"another message", &signature), invalid);
    assert_eq!(verify(other, &deterministic, &public, message, &signature), invalid, "{}", other.name);
    let mut changed = signature.clone();
    changed[signature.len() / 2] ^= 1;
    assert_eq!(verify(row, &deterministic, &public, message, &changed), invalid);
    for wrong in [&signature[1..], &[&signature[..], &[0]].concat(), &[]] {
        assert_eq!(verify(row, &deterministic, &public, message, wrong), Err(Code::SignatureLenRange));
    }
}

fn every_row(generator: CK_MECHANISM_TYPE, key_type: CK_KEY_TYPE, set: CK_ULONG) {
    let pair = generate(generator, set);
    let rows = message_rows(key_type);
    assert_eq!(rows.len(), 11);
    for (at, row) in rows.iter().enumerate() {
        exercise(row, &pair, rows[(at + 1) % rows.len()]);
    }
}

#[test]
fn ml_dsa_rows() {
    on_a_small_stack(|| {
        for set in [CKP_ML_DSA_44, CKP_ML_DSA_65, CKP_ML_DSA_87] {
            every_row(CKM_ML_DSA_KEY_PAIR_GEN, CKK_ML_DSA, set);
        }
    });
}

#[test]
fn slh_dsa_rows() {
    on_a_small_stack(|| every_row(CKM_SLH_DSA_KEY_PAIR_GEN, CKK_SLH_DSA, CKP_SLH_DSA_SHA2_128F));
}

#[test]
fn slh_dsa_sets() {
    on_a_small_stack(|| {
        let row = row(CKM_SLH_DSA).unwrap();
        for set in CKP_SLH_DSA_SHA2_128S..=CKP_SLH_DSA_SHAKE_256F {
            let pair = generate(CKM_SLH_DSA_KEY_PAIR_GEN, set);
            let mut operation = begin(row, Use::Sign, &Params::None, &prepare(&pair.private)).unwrap();
            let signature = step(&mut *operation, Step::Whole, b"message").unwrap();
            assert_eq!(verify(row, &Params::None, &prepare(&pair.public), b"message", &signature), Ok(()), "{set}");
        }
    });
}

/// The rows that take the hash agree with those that make it.
#[test]
fn a_given_hash_is_the_one_that_is_made() {
    let hashes = [
        (CKM_SHA256, CKM_HASH_ML_DSA_SHA256, CKM_HASH_SLH_DSA_SHA256, Digest::Sha256),
        (CKM_SHA3_384, CKM_HASH_ML_DSA_SHA3_384, CKM_HASH_SLH_DSA_SHA3_384, Digest::Sha3_384),
    ];
    let dsa = generate(CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_65);
    let slh = generate(CKM_SLH_DSA_KEY_PAIR_GEN, CKP_SLH_DSA_SHA2_128F);
    for (ckm, dsa_row, slh_row, digest) in hashes {
        for (pair, given, made) in [(&dsa, CKM_HASH_ML_DSA, dsa_row), (&slh, CKM_HASH_SLH_DSA, slh_row)] {
            let (given, made) = (row(given).unwrap(), row(made).unwrap());
            let params = |hash| Params::SignContext { hedge: 0, context: b"c".as_slice().into(), hash: Some(hash) };
            let digested = hash(digest, b"message");
            let mut operation = begin(given, Use::Sign, &params(ckm), &prepare(&pair.private)).unwrap();
            assert!(!operation.multi_part());
            let signature = step(&mut *operation, Step::Whole, &digested).unwrap();
            let public = prepare(&pair.public);
            assert_eq!(verify(made, &context(0, b"c"), &public, b"message", &signature), Ok(()), "{}", made.name);
            assert_eq!(verify(given, &params(ckm), &public, &digested, &signature), Ok(()));
            assert_eq!(
                verify(given, &params(CKM_SHA3_256), &public, &hash(Digest::Sha3_256, b"message"), &signature),
                Err(Code::SignatureInvalid)
            );
            let short =
                step(&mut *begin(given, Use::Sign, &params(ckm), &prepare(&pair.private)).unwrap(), Step::Whole, b"7");
            assert_eq!(short.unwrap_err(), Code::DataLenRange);
            assert_eq!(verify(given, &params(ckm), &public, b"7", &signature), Err(Code::DataLenRange));
        }
    }
}

#[test]
fn slh_dsa_messages_are_verified_in_parts_only_where_the_signature_is_known_before() {
    let pair = generate(CKM_SLH_DSA_KEY_PAIR_GEN, CKP_SLH_DSA_SHA2_128F);
    let row = row(CKM_SLH_DSA).unwrap();
    let public = prepare(&pair.public);
    let signature = in_parts(&mut *begin(row, Use::Sign, &Params::None, &prepare(&pair.private)).unwrap(), b"message");
    assert!(!begin(row, Use::Verify, &Params::None, &public).unwrap().multi_part());
    let mut operation = begin(row, Use::VerifySignature, &Params::None, &public).unwrap();
    assert!(operation.multi_part());
    step_update(&mut *operation, b"mess");
    step_update(&mut *operation, b"age");
    operation.verify(None, &signature.unwrap()).unwrap();
}

fn step_update(operation: &mut dyn Operation, part: &[u8]) {
    assert_eq!(operation.update(part, &mut []).unwrap(), 0);
}

#[test]
fn parameters_out_of_order_are_refused() {
    let pair = generate(CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_44);
    let (private, public) = (prepare(&pair.private), prepare(&pair.public));
    let with_hash = |hash| Params::SignContext { hedge: 0, context: Default::default(), hash: Some(hash) };
    let refused = |ty, params: &Params| begin(row(ty).unwrap(), Use::Sign, params, &private).err();
    let invalid = Some(Code::MechanismParamInvalid);
    assert_eq!(refused(CKM_ML_DSA, &context(0, &[0; 255])), None);
    assert_eq!(refused(CKM_ML_DSA, &context(0, &[0; 256])), invalid);
    assert_eq!(refused(CKM_ML_DSA, &context(3, b"")), invalid, "no such hedge");
    assert_eq!(refused(CKM_ML_DSA, &with_hash(CKM_SHA256)), invalid);
    assert_eq!(refused(CKM_ML_DSA, &Params::MacLength(8)), invalid);
    assert_eq!(refused(CKM_HASH_ML_DSA, &Params::None), invalid);
    assert_eq!(refused(CKM_HASH_ML_DSA, &context(0, b"")), invalid, "which hash?");
    assert_eq!(refused(CKM_HASH_ML_DSA, &with_hash(CKM_SHA_1)), invalid);
    assert_eq!(refused(CKM_HASH_ML_DSA, &with_hash(CKM_SHA256_HMAC)), invalid);
    assert_eq!(refused(CKM_HASH_ML_DSA, &with_hash(CKM_SHAKE_256_KEY_DERIVATION)), None);
    assert_eq!(refused(CKM_SLH_DSA, &Params::None), Some(Code::KeyTypeInconsistent));
    let wrong_half = begin(row(CKM_ML_DSA).unwrap(), Use::Sign, &Params::None, &public).err();
    assert_eq!(wrong_half, Some(Code::KeyTypeInconsistent));
    let wrong_use = begin(row(CKM_ML_DSA).unwrap(), Use::Encrypt, &Params::None, &public).err();
    assert_eq!(wrong_use, Some(Code::KeyFunctionNotPermitted));
}

#[test]
fn ml_kem_on_a_small_stack() {
    on_a_small_stack(|| {
        let kem = row(CKM_ML_KEM).unwrap().does.kem.as_ref().unwrap();
        for set in [CKP_ML_KEM_512, CKP_ML_KEM_768, CKP_ML_KEM_1024] {
            let pair = generate(CKM_ML_KEM_KEY_PAIR_GEN, set);
            let (private, public) = (prepare(&pair.private), prepare(&pair.public));
            let (ciphertext, shared) = (kem.encapsulate)(&Params::None, &public).unwrap();
            assert_eq!((kem.ciphertext_len)(&public).unwrap(), ciphertext.len());
            assert_eq!((kem.decapsulate)(&Params::None, &private, &ciphertext).unwrap(), shared);
            assert_ne!((kem.encapsulate)(&Params::None, &public).unwrap().1, shared);
            // A changed ciphertext gives another secret, and always the same: no oracle.
            let mut changed = ciphertext.clone();
            changed[7] ^= 1;
            let rejected = (kem.decapsulate)(&Params::None, &private, &changed).unwrap();
            assert_ne!(rejected, shared);
            assert_eq!((kem.decapsulate)(&Params::None, &private, &changed).unwrap(), rejected);
            for wrong in [&ciphertext[1..], &[&ciphertext[..], &[0]].concat(), &[]] {
                let refused = (kem.decapsulate)(&Params::None, &private, wrong).unwrap_err();
                assert_eq!(refused.code(), Code::WrappedKeyLenRange);
            }
            let refused = (kem.encapsulate)(&Params::MacLength(1), &public).unwrap_err();
            assert_eq!(refused.code(), Code::MechanismParamInvalid);
            assert_eq!((kem.encapsulate)(&Params::None, &private).unwrap_err().code(), Code::KeyTypeInconsistent);
            assert_eq!(
                (kem.decapsulate)(&Params::None, &public, &ciphertext).unwrap_err().code(),
                Code::KeyTypeInconsistent
            );
        }
    });
}
