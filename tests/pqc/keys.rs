//! Keys by their attributes and as PKCS #8.

use cryptoki_sys::*;
use keyward::error::Code;
use keyward::mechanism::key::Key;
use keyward::mechanism::key_attributes::*;
use keyward::object::Attributes;
use keyward::token::Attribute;

use super::{Pair, generate, object, try_generate};

const GENERATORS: [(CK_MECHANISM_TYPE, CK_ULONG); 5] = [
    (CKM_ML_KEM_KEY_PAIR_GEN, CKP_ML_KEM_512),
    (CKM_ML_KEM_KEY_PAIR_GEN, CKP_ML_KEM_1024),
    (CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_44),
    (CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_87),
    (CKM_SLH_DSA_KEY_PAIR_GEN, CKP_SLH_DSA_SHAKE_192F),
];

fn without(attributes: &Attributes, ty: CK_ATTRIBUTE_TYPE) -> Attributes {
    attributes.iter().filter(|attribute| attribute.ty != ty).cloned().collect()
}

fn with(attributes: &Attributes, ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Attributes {
    let mut changed = attributes.clone();
    changed.put(Attribute::bytes(ty, value));
    changed
}

fn changed(attributes: &Attributes, ty: CK_ATTRIBUTE_TYPE, at: usize) -> Attributes {
    let mut value = attributes.bytes(ty).unwrap().to_vec();
    value[at] ^= 1;
    with(attributes, ty, &value)
}

fn normalised(attributes: &Attributes) -> Result<Attributes, Code> {
    let mut attributes = attributes.clone();
    normalise(&mut attributes).map_err(|e| e.code())?;
    Ok(attributes)
}

fn has_seed(pair: &Pair) -> bool {
    pair.private.bytes(CKA_SEED).is_some()
}

#[test]
fn generation_needs_a_parameter_set_that_there_is() {
    for (generator, _) in GENERATORS {
        assert_eq!(try_generate(generator, &[]).err(), Some(Code::TemplateIncomplete));
        for number in [0, 4 + 9, CK_ULONG::MAX] {
            let refused = try_generate(generator, &[Attribute::ulong(CKA_PARAMETER_SET, number)]).err();
            assert_eq!(refused, Some(Code::ParameterSetNotSupported), "{number}");
        }
        let refused = try_generate(generator, &[Attribute::bytes(CKA_PARAMETER_SET, &[1])]).err();
        assert_eq!(refused, Some(Code::AttributeValueInvalid));
    }
}

#[test]
fn generated_keys_are_whole_and_new() {
    for (generator, set) in GENERATORS {
        let (pair, other) = (generate(generator, set), generate(generator, set));
        assert_ne!(pair.private.bytes(CKA_VALUE), other.private.bytes(CKA_VALUE));
        assert_eq!(has_seed(&pair), generator != CKM_SLH_DSA_KEY_PAIR_GEN);
        for half in [&pair.public, &pair.private] {
            assert_eq!(half.ulong(CKA_PARAMETER_SET), Some(set));
            assert_eq!(normalised(half).unwrap(), *half, "already in its standard form");
            assert_eq!(bits(half), Some(pair.public.bytes(CKA_VALUE).unwrap().len() as u64 * 8));
            let public: Attributes = public_of(half).unwrap().into_iter().collect();
            assert_eq!(public.bytes(CKA_VALUE), pair.public.bytes(CKA_VALUE));
            assert_eq!(public_key_info(half).unwrap(), public_key_info(&pair.public).unwrap());
        }
    }
}

#[test]
fn a_private_key_may_come_as_seed_value_or_both() {
    for (generator, set) in GENERATORS {
        let pair = generate(generator, set);
        assert_eq!(normalised(&with(&pair.private, CKA_SEED, b"")).unwrap(), without(&pair.private, CKA_SEED));
        assert_eq!(normalised(&without(&without(&pair.private, CKA_SEED), CKA_VALUE)), Err(Code::TemplateIncomplete));
        if !has_seed(&pair) {
            assert_eq!(normalised(&with(&pair.private, CKA_SEED, &[1; 32])), Err(Code::TemplateInconsistent));
            continue;
        }
        assert_eq!(normalised(&without(&pair.private, CKA_VALUE)).unwrap(), pair.private);
        assert_eq!(normalised(&with(&pair.private, CKA_VALUE, b"")).unwrap(), pair.private);
        assert_eq!(normalised(&changed(&pair.private, CKA_SEED, 0)), Err(Code::TemplateInconsistent));
        assert_eq!(normalised(&changed(&pair.private, CKA_VALUE, 0)), Err(Code::TemplateInconsistent));
        assert_eq!(normalised(&with(&pair.private, CKA_SEED, &[1; 31])), Err(Code::AttributeValueInvalid));
    }
}

#[test]
fn keys_that_are_none_are_refused() {
    for (generator, set) in GENERATORS {
        let pair = generate(generator, set);
        let private = without(&pair.private, CKA_SEED);
        for half in [&pair.public, &private] {
            let len = half.bytes(CKA_VALUE).unwrap().len();
            for len in [0, 1, len - 1, len + 1] {
                let refused = normalised(&with(half, CKA_VALUE, &vec![0; len])).unwrap_err();
                assert!(matches!(refused, Code::AttributeValueInvalid | Code::TemplateIncomplete), "{refused:?}");
            }
            assert_eq!(normalised(&without(half, CKA_PARAMETER_SET)), Err(Code::TemplateIncomplete));
            let other_set = with(half, CKA_PARAMETER_SET, &CK_ULONG::MAX.to_ne_bytes());
            assert_eq!(normalised(&other_set), Err(Code::ParameterSetNotSupported));
            assert!(Key::prepare(half).is_ok());
        }
        // A hash inside each private key holds its parts together.
        let at = if generator == CKM_ML_KEM_KEY_PAIR_GEN { private.bytes(CKA_VALUE).unwrap().len() - 40 } else { 70 };
        assert_eq!(normalised(&changed(&private, CKA_VALUE, at)), Err(Code::AttributeValueInvalid), "{generator}");
    }
    let kem = generate(CKM_ML_KEM_KEY_PAIR_GEN, CKP_ML_KEM_768).public;
    let len = kem.bytes(CKA_VALUE).unwrap().len();
    assert_eq!(normalised(&with(&kem, CKA_VALUE, &vec![0xff; len])), Err(Code::AttributeValueInvalid), "modulus");
}

#[test]
fn pkcs8_and_back() {
    for (generator, set) in GENERATORS {
        let pair = generate(generator, set);
        let key_type = pair.private.ulong(CKA_KEY_TYPE).unwrap();
        for given in [pair.private.clone(), without(&pair.private, CKA_SEED)] {
            let der = private_to_pkcs8(&given).unwrap();
            let back = pkcs8_to_attributes(der.expose()).unwrap();
            assert_eq!(object(CKO_PRIVATE_KEY, key_type, &back), given);
            for damaged in [&der.expose()[1..], &der.expose()[..der.len() - 1], &[&der.expose()[..], &[0]].concat()] {
                assert_eq!(pkcs8_to_attributes(damaged).unwrap_err().code(), Code::WrappedKeyInvalid);
            }
        }
        assert_eq!(private_to_pkcs8(&pair.public).unwrap_err().code(), Code::KeyNotWrappable);
    }
}

/// RFC 9881, 6 and RFC 9935, 6: the seed alone, in a context tag.
#[test]
fn pkcs8_of_a_seed_alone() {
    let kem = generate(CKM_ML_KEM_KEY_PAIR_GEN, CKP_ML_KEM_768).private;
    let dsa = generate(CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_65).private;
    for (key, head) in
        [(kem, "3054020100300b0609608648016503040402044280 40"), (dsa, "3034020100300b0609608648016503040312042280 20")]
    {
        let mut der = hex::decode(head.replace(' ', "")).unwrap();
        der.extend_from_slice(key.bytes(CKA_SEED).unwrap());
        let key_type = key.ulong(CKA_KEY_TYPE).unwrap();
        assert_eq!(object(CKO_PRIVATE_KEY, key_type, &pkcs8_to_attributes(&der).unwrap()), key);
        der.pop();
        assert_eq!(pkcs8_to_attributes(&der).unwrap_err().code(), Code::WrappedKeyInvalid);
    }
}

/// Both in one structure, of two keys.
#[test]
fn pkcs8_of_two_halves_that_are_strangers() {
    let (one, two) =
        (generate(CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_44), generate(CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_44));
    let mut mixed = one.private.clone();
    mixed.put(Attribute::bytes(CKA_SEED, two.private.bytes(CKA_SEED).unwrap()));
    let der = private_to_pkcs8(&mixed).unwrap();
    assert_eq!(pkcs8_to_attributes(der.expose()).unwrap_err().code(), Code::WrappedKeyInvalid);
}
