//! What came with PKCS#11 3.2: trust objects, and the seeds of lattice keys.

use cryptoki_sys::*;

use crate::harness::*;
use crate::{c, ok};

const ANCHOR: CK_ULONG = CKT_TRUST_ANCHOR as CK_ULONG;
const DISTRUSTED: CK_ULONG = CKT_NOT_TRUSTED as CK_ULONG;

fn create(session: CK_SESSION_HANDLE, mut template: Template) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let (raw, mut made) = (template.raw(), 0);
    match c!(C_CreateObject, session, raw.as_mut_ptr(), len(raw), &raw mut made) {
        CKR_OK => Ok(made),
        rv => Err(rv),
    }
}

#[test]
fn a_trust_object_says_what_a_certificate_is_trusted_for() {
    let running = start();
    let session = running.session;
    let trust = || {
        Template::new().number(CKA_CLASS, CKO_TRUST).bytes(CKA_ISSUER, b"issuer").bytes(CKA_SERIAL_NUMBER, &[2, 1, 7])
    };
    // Who is trusted is known by the certificate's hash; who is not, by name alone.
    assert_eq!(create(session, trust().number(CKA_TRUST_SERVER_AUTH, ANCHOR)), Err(CKR_TEMPLATE_INCOMPLETE));
    assert_eq!(create(session, trust().number(CKA_TRUST_SERVER_AUTH, 77)), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    let nameless = Template::new().number(CKA_CLASS, CKO_TRUST).bytes(CKA_ISSUER, b"issuer");
    assert_eq!(create(session, nameless), Err(CKR_TEMPLATE_INCOMPLETE));
    let whole = trust()
        .yes(CKA_TOKEN)
        .bytes(CKA_HASH_OF_CERTIFICATE, &[9; 32])
        .number(CKA_NAME_HASH_ALGORITHM, CKM_SHA256)
        .number(CKA_TRUST_SERVER_AUTH, ANCHOR)
        .number(CKA_TRUST_EMAIL_PROTECTION, DISTRUSTED);
    let object = create(session, whole).unwrap();
    assert_eq!(value(session, object, CKA_PRIVATE), Ok(vec![CK_FALSE]));
    assert_eq!(value(session, object, CKA_MODIFIABLE), Ok(vec![CK_TRUE]));
    // Anybody finds it by issuer and serial number, logged in or not.
    ok!(C_Logout, session);
    assert_eq!(find(session, trust()), [object]);
    assert_eq!(value(session, object, CKA_TRUST_SERVER_AUTH), Ok(ANCHOR.to_ne_bytes().to_vec()));
    assert_eq!(value(session, object, CKA_TRUST_EMAIL_PROTECTION), Ok(DISTRUSTED.to_ne_bytes().to_vec()));
    assert_eq!(login(session, CKU_USER), CKR_OK);
    let mut change = Template::new().number(CKA_TRUST_SERVER_AUTH, DISTRUSTED);
    let raw = change.raw();
    ok!(C_SetAttributeValue, session, object, raw.as_mut_ptr(), len(raw));
    assert_eq!(value(session, object, CKA_TRUST_SERVER_AUTH), Ok(DISTRUSTED.to_ne_bytes().to_vec()));
    ok!(C_DestroyObject, session, object);
}

/// For ML-KEM and ML-DSA: a key comes as its seed, gives its value and its public half, and its seed back where it may.
#[test]
fn a_lattice_key_is_its_seed() {
    let running = start();
    let session = running.session;
    for (key_type, set, seed_len) in [(CKK_ML_KEM, CKP_ML_KEM_768, 64), (CKK_ML_DSA, CKP_ML_DSA_65, 32)] {
        let private = || {
            Template::new()
                .number(CKA_CLASS, CKO_PRIVATE_KEY)
                .number(CKA_KEY_TYPE, key_type)
                .number(CKA_PARAMETER_SET, set)
        };
        let seed: Vec<u8> = (0..seed_len).map(|n| n as u8).collect();
        let open = || private().no(CKA_SENSITIVE).yes(CKA_EXTRACTABLE).yes(CKA_DERIVE);
        let key = create(session, open().bytes(CKA_SEED, &seed)).unwrap();
        assert_eq!(value(session, key, CKA_SEED), Ok(seed.clone()));
        let expanded = value(session, key, CKA_VALUE).unwrap();
        assert!(expanded.len() > 2000);
        // Seed and value together, if they belong together; the value alone makes a key without a seed.
        assert!(create(session, open().bytes(CKA_SEED, &seed).bytes(CKA_VALUE, &expanded)).is_ok());
        let mut other = seed.clone();
        other[0] ^= 1;
        let torn = create(session, open().bytes(CKA_SEED, &other).bytes(CKA_VALUE, &expanded));
        assert_eq!(torn, Err(CKR_TEMPLATE_INCONSISTENT));
        let bare = create(session, open().bytes(CKA_VALUE, &expanded)).unwrap();
        assert_ne!(value(session, bare, CKA_SEED).unwrap_or_default(), seed);
        assert_eq!(value(session, bare, CKA_VALUE), Ok(expanded.clone()));
        assert_eq!(create(session, open().bytes(CKA_SEED, &seed[1..])), Err(CKR_ATTRIBUTE_VALUE_INVALID));
        assert_eq!(create(session, open()), Err(CKR_TEMPLATE_INCOMPLETE));
        let public = |key| {
            let mut made = 0;
            ok!(C_DeriveKey, session, ptr(&[mechanism(CKM_PUB_KEY_FROM_PRIV_KEY)]), key, ptr(&[]), 0, &raw mut made);
            value(session, made, CKA_VALUE).unwrap()
        };
        assert_eq!(public(key), public(bare));
        // Sensitive by default, the seed like the value.
        let hidden = create(session, private().bytes(CKA_SEED, &seed)).unwrap();
        for ty in [CKA_SEED, CKA_VALUE] {
            assert_eq!(value(session, hidden, ty), Err(CKR_ATTRIBUTE_SENSITIVE), "{ty:#x}");
        }
        // A pair that was made here has a seed too, from which it can be made again.
        let private = Template::new().no(CKA_SENSITIVE).yes(CKA_EXTRACTABLE).yes(CKA_DERIVE);
        let mut halves = (Template::new().number(CKA_PARAMETER_SET, set), private);
        let (one, other, mut made) = (halves.0.raw(), halves.1.raw(), [0; 2]);
        let ty = if key_type == CKK_ML_KEM { CKM_ML_KEM_KEY_PAIR_GEN } else { CKM_ML_DSA_KEY_PAIR_GEN };
        let (a, b) = (one.as_mut_ptr(), other.as_mut_ptr());
        let [first, second] = &mut made;
        ok!(C_GenerateKeyPair, session, ptr(&[mechanism(ty)]), a, len(one), b, len(other), first, second);
        let drawn = value(session, made[1], CKA_SEED).unwrap();
        assert_eq!(drawn.len(), seed_len);
        let again = create(session, open().bytes(CKA_SEED, &drawn)).unwrap();
        assert_eq!(value(session, again, CKA_VALUE), value(session, made[1], CKA_VALUE));
        assert_eq!(public(again), value(session, made[0], CKA_VALUE).unwrap());
    }
}
