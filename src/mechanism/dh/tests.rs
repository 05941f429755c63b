use std::sync::Arc;

use super::*;
use crate::crypto::finite::{Group, Numbers};
use crate::mechanism::key;
use crate::mechanism::table::row as row_of;

// A group of NIST's ACVP samples for DSA: 1024 bits, with a subgroup of 160.
const P: &str = "8a1a1ff1cb359d1aa4a637ecd04a6507e7dca8a385649ee29576ffcda75058dc38ae0381518908b47dcd9bd6b28fad17\
     fe26535e23b814c94dd0624b0b654db2a73b1a43381f5b4eb73e1eac4244dcd76576def55b6a50e4413bdf6aab9085c3\
     e5cf01aea2f22172af9e88970f136e979b237f55f465bdfcb50908a4236c1ccf";
const G: &str = "2e82ea1d29d2c2fd081b8286fd45f80dd332dfa495c8f3059b58d5ad7538ea7b450c79f4d55f09ff3dcd685a53ad92b8\
     9c4731b1069fe731218919600bf9f84d231c069df6c0cc9b63a829797ed1ff6dbebb46bd70dd03b01c843d87d95cad9f\
     6d0e3f097eefed20f57dc59ca9e26a891876a578188a03ffcd4c032430eb13e0";
const Q: &str = "aa2f6f154caa9ccad9fd067fbb4cd5a750e32f13";

/// A public key's template: the group's numbers.
fn template(key_type: CK_KEY_TYPE) -> Attributes {
    let number = |ty, text: &str| Attribute::bytes(ty, &hex::decode(text).unwrap());
    let mut all = vec![Attribute::ulong(CKA_KEY_TYPE, key_type), number(CKA_PRIME, P), number(CKA_BASE, G)];
    all.extend((key_type != CKK_DH).then(|| number(CKA_SUBPRIME, Q)));
    all.into_iter().collect()
}

/// Both halves, whole.
pub(in crate::mechanism) fn pair(ty: CK_MECHANISM_TYPE, private: Vec<Attribute>) -> Result<(Attributes, Attributes)> {
    let row = row_of(ty).unwrap();
    let template = template(row.keys[0]);
    let made = row.does.generate_pair.unwrap()(row, &Params::None, &template, &private.into_iter().collect())?;
    let class = |class| vec![Attribute::ulong(CKA_CLASS, class), Attribute::ulong(CKA_KEY_TYPE, row.keys[0])];
    let public = template.iter().cloned().chain(class(CKO_PUBLIC_KEY)).chain(made.public).collect();
    Ok((public, class(CKO_PRIVATE_KEY).into_iter().chain(made.private).collect()))
}

fn derived(
    ty: CK_MECHANISM_TYPE,
    params: &Params,
    private: &Attributes,
    length: Option<usize>,
) -> Result<Vec<u8>, Code> {
    let key = Arc::new(Key::prepare(private).unwrap());
    let row = row_of(ty).unwrap();
    let from = Derivation::new(row, params, &key, length);
    row.does.derive.unwrap()(&from).map(|value| value.expose().clone()).map_err(|e| e.code())
}

fn x9_42(kdf: u64, shared: &[u8], public: &[u8]) -> Params {
    Params::Ecdh { kdf, shared: shared.into(), public: public.into() }
}

#[test]
fn both_sides_agree_and_values_outside_of_the_group_are_refused() {
    for (pairs, derives) in
        [(CKM_DH_PKCS_KEY_PAIR_GEN, CKM_DH_PKCS_DERIVE), (CKM_X9_42_DH_KEY_PAIR_GEN, CKM_X9_42_DH_DERIVE)]
    {
        let params = |public: &[u8]| match derives {
            CKM_DH_PKCS_DERIVE => Params::Data(public.into()),
            _ => x9_42(CKD_NULL, &[], public),
        };
        let (one, other) = (pair(pairs, vec![]).unwrap(), pair(pairs, vec![]).unwrap());
        let value = |key: &Attributes| key.bytes(CKA_VALUE).unwrap().to_vec();
        let shared = derived(derives, &params(&value(&other.0)), &one.1, None).unwrap();
        assert_eq!(shared.len(), 128);
        assert_eq!(derived(derives, &params(&value(&one.0)), &other.1, None).as_ref(), Ok(&shared));
        // Truncation takes away the leading bytes.
        assert_eq!(derived(derives, &params(&value(&one.0)), &other.1, Some(16)), Ok(shared[112..].to_vec()));
        assert_eq!(derived(derives, &params(&value(&one.0)), &other.1, Some(129)), Err(Code::KeySizeRange));
        let prime = hex::decode(P).unwrap();
        let mut last = prime.clone();
        *last.last_mut().unwrap() -= 1;
        for bad in [&[][..], &[0], &[1], &last, &prime, &[0xff; 129]] {
            assert_eq!(derived(derives, &params(bad), &one.1, None), Err(Code::PublicKeyInvalid), "{bad:02x?}");
        }
        // 2 is no member of the subgroup, which only X9.42 knows.
        assert_eq!(derived(derives, &params(&[2]), &one.1, None).is_ok(), derives == CKM_DH_PKCS_DERIVE);
    }
}

#[test]
fn private_values_of_the_length_wanted() {
    for bits in [160, 256, 1023] {
        let (public, private) = pair(CKM_DH_PKCS_KEY_PAIR_GEN, vec![Attribute::ulong(CKA_VALUE_BITS, bits)]).unwrap();
        let value = private.bytes(CKA_VALUE).unwrap();
        assert_eq!(8 * value.len() as u64 - u64::from(value[0].leading_zeros()), bits);
        key::validate(&public).and_then(|()| key::validate(&private)).unwrap();
    }
    for bits in [0, 159, 1025, u64::MAX] {
        let refused = pair(CKM_DH_PKCS_KEY_PAIR_GEN, vec![Attribute::ulong(CKA_VALUE_BITS, bits)]).unwrap_err();
        assert_eq!(refused.code(), Code::AttributeValueInvalid);
    }
}

#[test]
fn numbers_that_make_no_group_are_refused() {
    let [p, q, g] = [P, Q, G].map(|text| hex::decode(text).unwrap());
    let mut even = p.clone();
    *even.last_mut().unwrap() ^= 1;
    let mut other = q.clone();
    *other.last_mut().unwrap() ^= 2;
    let good = Numbers { p: &p, q: Some(&q), g: &g };
    assert!(Group::new(good).is_ok());
    for bad in [
        Numbers { p: &even, ..good },
        Numbers { p: &p[1..], q: None, ..good },
        Numbers { g: &[1], ..good },
        Numbers { g: &p, ..good },
        Numbers { g: &[2], ..good },
        Numbers { q: Some(&other), ..good },
        Numbers { q: Some(&[]), ..good },
    ] {
        assert_eq!(Group::new(bad).err().map(|e| e.code()), Some(Code::AttributeValueInvalid));
    }
}

/// RFC 2631, 2.1.6: the first example.
#[test]
fn keying_material_of_rfc_2631() {
    let secret: Vec<u8> = (0..20).collect();
    let other = hex::decode("301d3013060b2a864886f70d0109100306040400000001a2060404000000c0").unwrap();
    let counter = counter_of(&other).unwrap();
    let key = expand_asn1(&secret, &other, counter, 24).unwrap();
    assert_eq!(hex::encode(key.expose()), "a09661392376f7044d9052a397883246b67f5f1ef63eb5fb");
    for bad in ["", "3000", "301d", "300e300c06022a030406000000000001", "30083006020101040101"] {
        let refused = counter_of(&hex::decode(bad).unwrap()).unwrap_err().code();
        assert_eq!(refused, Code::MechanismParamInvalid, "{bad}");
    }
}

#[test]
fn x9_42_with_its_functions() {
    let one = pair(CKM_X9_42_DH_KEY_PAIR_GEN, vec![]).unwrap();
    let other = pair(CKM_X9_42_DH_KEY_PAIR_GEN, vec![]).unwrap();
    let public = other.0.bytes(CKA_VALUE).unwrap();
    let derive = |kdf, shared: &[u8], length| derived(CKM_X9_42_DH_DERIVE, &x9_42(kdf, shared, public), &one.1, length);
    let secret = derive(CKD_NULL, b"", None).unwrap();
    let mut first = Hasher::new(Digest::Sha1);
    [&secret[..], &[0, 0, 0, 1], b"info"].into_iter().for_each(|part| first.update(part));
    assert_eq!(derive(CKD_SHA1_KDF_CONCATENATE, b"info", Some(20)).unwrap(), first.finish().to_vec());
    assert_eq!(derive(CKD_NULL, b"info", None), Err(Code::MechanismParamInvalid));
    assert_eq!(derive(CKD_SHA1_KDF_ASN1, b"info", Some(16)), Err(Code::MechanismParamInvalid));
    assert_eq!(derive(CKD_SHA256_KDF, b"", Some(16)), Err(Code::MechanismParamInvalid));
}

#[test]
fn keys_come_back_from_their_wrapped_form() {
    for ty in [CKM_DH_PKCS_KEY_PAIR_GEN, CKM_X9_42_DH_KEY_PAIR_GEN, CKM_DSA_KEY_PAIR_GEN] {
        let (public, private) = pair(ty, vec![]).unwrap();
        let wrapped = key::private_to_pkcs8(&private).unwrap();
        let own: Attributes = key::pkcs8_to_attributes(wrapped.expose()).unwrap().into_iter().collect();
        for attribute in private.iter().filter(|attribute| attribute.ty != CKA_CLASS) {
            assert_eq!(own.get(attribute.ty), Some(&attribute.value), "{:x}", attribute.ty);
        }
        // The public key follows from the private one.
        assert_eq!(key::public_key_info(&private).unwrap(), key::public_key_info(&public).unwrap());
        let again: Attributes = key::public_of(&private).unwrap().into_iter().collect();
        assert_eq!(again.bytes(CKA_VALUE), public.bytes(CKA_VALUE));
        assert_eq!(key::bits(&private), Some(1024));
        let mut other = private.clone();
        other.put(Attribute::bytes(CKA_VALUE, &[0]));
        assert_eq!(key::validate(&other).unwrap_err().code(), Code::AttributeValueInvalid);
    }
}

#[test]
fn what_is_encapsulated_is_decapsulated() {
    for (pairs, ty, params) in [
        (CKM_DH_PKCS_KEY_PAIR_GEN, CKM_DH_PKCS_DERIVE, Params::Data(Default::default())),
        (CKM_X9_42_DH_KEY_PAIR_GEN, CKM_X9_42_DH_DERIVE, x9_42(CKD_NULL, &[], &[])),
    ] {
        let (public, private) = pair(pairs, vec![]).unwrap();
        let (public, private) = (Key::prepare(&public).unwrap(), Key::prepare(&private).unwrap());
        let does = &row_of(ty).unwrap().does;
        let kem = does.kem.as_ref().unwrap();
        let (ciphertext, secret) = (kem.encapsulate)(&params, &public).unwrap();
        assert_eq!(ciphertext.len(), (kem.ciphertext_len)(&public).unwrap());
        let again = (kem.decapsulate)(&params, &private, &ciphertext).unwrap();
        assert!(again == secret);
        let key = (does.shared)(&params, secret, Some(16)).unwrap();
        assert_eq!(key.expose()[..], again.expose()[112..]);
        assert_eq!((kem.decapsulate)(&params, &private, &[1]).unwrap_err().code(), Code::PublicKeyInvalid);
    }
}
