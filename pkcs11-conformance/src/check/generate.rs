//! Key generation, derivation and encapsulation.

use cryptoki_sys::*;

use super::keys::{ED448, ED25519, Kind, P224, P256, P384, P521, SECP256K1, X448, X25519};
use super::{Need, Row, Test};
use crate::context::{Outcome, Stop, T, ensure, equal, one_of, refused, same_bytes, skip};
use crate::data::{Hash, Mech, Template};
use crate::ffi::{Rv, Session};
use crate::functions::F;
use crate::names::name_of;

pub static ROWS: &[Row] = &[
    Row("secret/value-length", "5.18.1", &[Need::User, Need::Mech(CKM_AES_KEY_GEN, CKF_GENERATE)], value_length),
    Row("secret/bad-length", "5.18.1", &[Need::User, Need::Mech(CKM_AES_KEY_GEN, CKF_GENERATE)], bad_length),
    Row("secret/wrong-class-or-type", "5.18.1", &[Need::User, Need::Mech(CKM_AES_KEY_GEN, CKF_GENERATE)], wrong_class),
    Row("secret/value-in-template", "5.18.1", &[Need::User, Need::Mech(CKM_AES_KEY_GEN, CKF_GENERATE)], value_given),
    Row("secret/distinct-values", "5.18.1", &[Need::User, Need::Mech(CKM_AES_KEY_GEN, CKF_GENERATE)], distinct),
    Row("secret/pair-mechanism", "5.18.1", &[Need::User, Need::Mech(CKM_EC_KEY_PAIR_GEN, 0)], pair_mechanism),
    Row(
        "secret/key-sizes-of-mechanism-info",
        "5.5.6",
        &[Need::User, Need::Mech(CKM_AES_KEY_GEN, CKF_GENERATE)],
        aes_sizes,
    ),
    Row("rsa/modulus-bits", "6.1.4", &[Need::User, Need::Mech(CKM_RSA_PKCS_KEY_PAIR_GEN, 0)], rsa_bits),
    Row("rsa/bad-bits", "6.1.4", &[Need::User, Need::Mech(CKM_RSA_PKCS_KEY_PAIR_GEN, 0)], rsa_bad_bits),
    Row("rsa/no-modulus-bits", "6.1.4", &[Need::User, Need::Mech(CKM_RSA_PKCS_KEY_PAIR_GEN, 0)], rsa_no_bits),
    Row("rsa/default-exponent", "6.1.4", &[Need::User, Need::Mech(CKM_RSA_PKCS_KEY_PAIR_GEN, 0)], rsa_exponent),
    Row("ec/no-parameters", "6.3.9", &[Need::User, Need::Mech(CKM_EC_KEY_PAIR_GEN, 0)], ec_no_params),
    Row("ec/unknown-curve", "6.3.9", &[Need::User, Need::Mech(CKM_EC_KEY_PAIR_GEN, 0)], ec_unknown),
    Row("ec/point-is-octet-string", "6.3.3", &[Need::User, Need::Mech(CKM_EC_KEY_PAIR_GEN, 0)], ec_point),
    Row("ec/public-key-import", "6.3.3", &[Need::User, Need::Mech(CKM_ECDSA, CKF_VERIFY)], ec_import),
    Row("ec/point-not-on-curve", "6.3.3", &[Need::User, Need::Mech(CKM_ECDSA, CKF_VERIFY)], ec_bad_point),
    Row("pair/all-or-nothing", "5.18.2", &[Need::User, Need::Mech(CKM_EC_KEY_PAIR_GEN, 0)], pair_atomic),
    Row("pair/public-key-info", "4.11", &[Need::User, Need::Mech(CKM_EC_KEY_PAIR_GEN, 0)], public_key_info),
    Row("derive/ecdh-agrees", "6.3.17", &[Need::User, Need::Mech(CKM_ECDH1_DERIVE, CKF_DERIVE)], ecdh_agrees),
    Row("derive/x25519-agrees", "6.3.17", &[Need::User, Need::Mech(CKM_EC_MONTGOMERY_KEY_PAIR_GEN, 0)], x25519_agrees),
    Row("derive/ecdh-kdf", "6.3.16", &[Need::User, Need::Mech(CKM_ECDH1_DERIVE, CKF_DERIVE)], ecdh_kdf),
    Row("derive/ecdh-bad-point", "6.3.17", &[Need::User, Need::Mech(CKM_ECDH1_DERIVE, CKF_DERIVE)], ecdh_bad_point),
    Row(
        "derive/no-permission",
        "5.18.5",
        &[Need::User, Need::Mech(CKM_ECDH1_DERIVE, CKF_DERIVE)],
        derive_not_permitted,
    ),
    Row("derive/attributes", "5.18.5", &[Need::User, Need::Mech(CKM_ECDH1_DERIVE, CKF_DERIVE)], derived_attributes),
    Row("derive/too-long", "6.3.17", &[Need::User, Need::Mech(CKM_ECDH1_DERIVE, CKF_DERIVE)], derive_too_long),
    Row(
        "derive/sensitivity-is-inherited",
        "6.29",
        &[Need::User, Need::Mech(CKM_CONCATENATE_BASE_AND_DATA, CKF_DERIVE)],
        inherits,
    ),
    Row(
        "derive/concatenate",
        "6.29",
        &[Need::User, Need::Mech(CKM_CONCATENATE_BASE_AND_DATA, CKF_DERIVE)],
        concatenate,
    ),
    Row(
        "derive/cbc-encrypt-data",
        "6.17",
        &[Need::User, Need::Mech(CKM_AES_CBC_ENCRYPT_DATA, CKF_DERIVE)],
        by_encryption,
    ),
    Row("derive/hkdf-expand", "6.51", &[Need::User, Need::Mech(CKM_HKDF_DERIVE, CKF_DERIVE)], hkdf),
    Row("kem/round-trip", "5.18.8", &[Need::User, Need::Mech(CKM_ML_KEM, CKF_ENCAPSULATE | CKF_DECAPSULATE)], kem),
    Row("kem/changed-ciphertext", "5.18.9", &[Need::User, Need::Mech(CKM_ML_KEM, CKF_DECAPSULATE)], kem_changed),
    Row("kem/wrong-length", "5.18.9", &[Need::User, Need::Mech(CKM_ML_KEM, CKF_DECAPSULATE)], kem_length),
];

const KINDS: &[(&str, Kind)] = &[
    ("aes-128", Kind::Aes(16)),
    ("aes-256", Kind::Aes(32)),
    ("aes-xts-512", Kind::AesXts(64)),
    ("des3", Kind::Des3),
    ("chacha20", Kind::ChaCha20),
    ("generic-20", Kind::Generic(20)),
    ("p224", Kind::Ec(P224)),
    ("p256", Kind::Ec(P256)),
    ("p384", Kind::Ec(P384)),
    ("p521", Kind::Ec(P521)),
    ("secp256k1", Kind::Ec(SECP256K1)),
    ("ed25519", Kind::Edwards(ED25519)),
    ("ed448", Kind::Edwards(ED448)),
    ("x25519", Kind::Montgomery(X25519)),
    ("x448", Kind::Montgomery(X448)),
    ("ml-dsa-44", Kind::MlDsa(CKP_ML_DSA_44)),
    ("ml-dsa-87", Kind::MlDsa(CKP_ML_DSA_87)),
    ("ml-kem-512", Kind::MlKem(CKP_ML_KEM_512)),
    ("ml-kem-1024", Kind::MlKem(CKP_ML_KEM_1024)),
    ("slh-dsa-shake-128f", Kind::SlhDsa(CKP_SLH_DSA_SHAKE_128F)),
];

/// The rows, and for each kind of key that the token generates: what its attributes say.
pub fn tests(mechanisms: &[CK_MECHANISM_TYPE]) -> Vec<Test> {
    let mut tests: Vec<Test> = super::rows("generate", ROWS).collect();
    for (name, kind) in KINDS.iter().filter(|(_, k)| mechanisms.contains(&k.generator())) {
        let section = if kind.is_pair() { F::C_GenerateKeyPair.section() } else { F::C_GenerateKey.section() };
        let id = format!("generate/{name}/attributes");
        tests.push(Test::new(id, section, &[Need::User], move |t| generated_attributes(t, *kind)));
        let id = format!("generate/{name}/token-object");
        let needs = [Need::User, Need::Writable];
        tests.push(Test::new(id, section, &needs, move |t| generated_on_token(t, *kind)));
    }
    tests
}

/// A key, or a skip where the token lacks the curve or parameter set.
fn make(kind: Kind, s: Session, extra: &Template) -> Result<super::keys::Keys, Stop> {
    kind.make_with(s, extra).map_err(|stop| match stop {
        Stop::Fail(why) if super::operations::lacks_key_kind(&why) => Stop::Skip(why),
        stop => stop,
    })
}

fn generated_attributes(t: &mut T<'_>, kind: Kind) -> Outcome {
    let s = t.user()?;
    let keys = make(kind, s, &Template::new())?;
    let halves = if kind.is_pair() {
        vec![(keys.public, CKO_PUBLIC_KEY), (keys.private, CKO_PRIVATE_KEY)]
    } else {
        vec![(keys.private, CKO_SECRET_KEY)]
    };
    for (handle, class) in halves {
        equal("CKA_CLASS", s.get_ulong(handle, CKA_CLASS)?, class)?;
        equal("CKA_KEY_TYPE", s.get_ulong(handle, CKA_KEY_TYPE)?, kind.key_type())?;
        equal("CKA_LOCAL", s.get_bool(handle, CKA_LOCAL)?, true)?;
        let by = s.get_ulong(handle, CKA_KEY_GEN_MECHANISM)?;
        ensure(by == kind.generator(), || format!("CKA_KEY_GEN_MECHANISM is {}", name_of("CKM_", by)))?;
        if class != CKO_PUBLIC_KEY {
            equal("CKA_SENSITIVE", s.get_bool(handle, CKA_SENSITIVE)?, false)?;
            equal("CKA_ALWAYS_SENSITIVE", s.get_bool(handle, CKA_ALWAYS_SENSITIVE)?, false)?;
            equal("CKA_NEVER_EXTRACTABLE", s.get_bool(handle, CKA_NEVER_EXTRACTABLE)?, false)?;
        }
    }
    match kind {
        Kind::Aes(n) | Kind::AesXts(n) | Kind::Generic(n) => {
            equal("length of CKA_VALUE", s.get(keys.private, CKA_VALUE)?.len() as u64, n)?;
            equal("CKA_VALUE_LEN", s.get_ulong(keys.private, CKA_VALUE_LEN)?, n)
        }
        Kind::Ec(oid) | Kind::Edwards(oid) | Kind::Montgomery(oid) => {
            same_bytes("CKA_EC_PARAMS of the public key", &s.get(keys.public, CKA_EC_PARAMS)?, oid)?;
            same_bytes("CKA_EC_PARAMS of the private key", &s.get(keys.private, CKA_EC_PARAMS)?, oid)
        }
        Kind::MlDsa(set) | Kind::MlKem(set) | Kind::SlhDsa(set) => {
            equal("CKA_PARAMETER_SET", s.get_ulong(keys.private, CKA_PARAMETER_SET)?, set)
        }
        _ => Ok(()),
    }
}

/// Generated on the token, the key is there after another C_Initialize and works by what it was allowed.
fn generated_on_token(t: &mut T<'_>, kind: Kind) -> Outcome {
    let label = Template::new().text(CKA_LABEL, "generated on the token");
    let sweep = |s: Session| -> Outcome {
        for o in s.find(&label)? {
            s.destroy(o)?;
        }
        Ok(())
    };
    let s = t.user()?;
    sweep(s)?;
    make(kind, s, &label.clone().flag(CKA_TOKEN, true))?;
    t.finalize()?;
    let s = t.user()?;
    let found = s.find(&label)?.len();
    sweep(s)?;
    equal("objects after another C_Initialize", found, if kind.is_pair() { 2 } else { 1 })
}

fn readable() -> Template {
    Template::new().flag(CKA_TOKEN, false).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true)
}

fn value_length(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let made = s.generate(&Mech::new(CKM_AES_KEY_GEN), &readable());
    refused("C_GenerateKey without CKA_VALUE_LEN", made, &[CKR_TEMPLATE_INCOMPLETE, CKR_ATTRIBUTE_VALUE_INVALID])
}

const BAD_LENGTH: &[CK_RV] =
    &[CKR_ATTRIBUTE_VALUE_INVALID, CKR_KEY_SIZE_RANGE, CKR_TEMPLATE_INCONSISTENT, CKR_TEMPLATE_INCOMPLETE];

fn bad_length(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    for n in [0, 1, 15, 17, 33, 1 << 20, CK_ULONG::MAX] {
        let made = s.generate(&Mech::new(CKM_AES_KEY_GEN), &readable().ulong(CKA_VALUE_LEN, n));
        refused(&format!("an AES key of {n} bytes"), made, BAD_LENGTH)?;
    }
    Ok(())
}

fn wrong_class(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let ok = readable().ulong(CKA_VALUE_LEN, 16);
    for (what, bad) in [
        ("class private key", ok.clone().ulong(CKA_CLASS, CKO_PRIVATE_KEY)),
        ("key type RSA", ok.clone().ulong(CKA_KEY_TYPE, CKK_RSA)),
    ] {
        let allowed = [CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID];
        refused(&format!("C_GenerateKey with {what}"), s.generate(&Mech::new(CKM_AES_KEY_GEN), &bad), &allowed)?;
    }
    let right = ok.with(&Template::key(CKO_SECRET_KEY, CKK_AES));
    s.generate(&Mech::new(CKM_AES_KEY_GEN), &right)?;
    Ok(())
}

fn value_given(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let bad = readable().ulong(CKA_VALUE_LEN, 16).bytes(CKA_VALUE, &[1; 16]);
    let allowed =
        [CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID];
    refused("C_GenerateKey with CKA_VALUE", s.generate(&Mech::new(CKM_AES_KEY_GEN), &bad), &allowed)
}

fn distinct(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let value = || -> Result<Vec<u8>, Stop> { Ok(s.get(Kind::Aes(32).make(s)?.private, CKA_VALUE)?) };
    let (a, b) = (value()?, value()?);
    ensure(a != b, || "two generated keys are equal".into())
}

fn pair_mechanism(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let made = s.generate(&Mech::new(CKM_EC_KEY_PAIR_GEN), &readable().bytes(CKA_EC_PARAMS, P256));
    refused("C_GenerateKey with a pair's mechanism", made, &[CKR_MECHANISM_INVALID])
}

fn aes_sizes(t: &mut T<'_>) -> Outcome {
    let info = t.mechanism(CKM_AES_KEY_GEN, CKF_GENERATE)?;
    // Sizes of AES keys are told in bytes (section 6.10.3).
    let s = t.user()?;
    for n in [info.ulMinKeySize, info.ulMaxKeySize] {
        s.generate(&Mech::new(CKM_AES_KEY_GEN), &readable().ulong(CKA_VALUE_LEN, n))?;
    }
    Ok(())
}

fn rsa_pair(s: Session, public: &Template) -> crate::ffi::Call<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    s.generate_pair(
        &Mech::new(CKM_RSA_PKCS_KEY_PAIR_GEN),
        &Template::new().flag(CKA_TOKEN, false).with(public),
        &readable(),
    )
}

fn rsa_bits(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let bits = Template::new().ulong(CKA_MODULUS_BITS, 2048).bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1]);
    let (public, private) = rsa_pair(s, &bits)?;
    equal("CKA_MODULUS_BITS", s.get_ulong(public, CKA_MODULUS_BITS)?, 2048)?;
    let modulus = s.get(public, CKA_MODULUS)?;
    ensure(modulus.len() == 256 && modulus[0] >= 0x80, || format!("modulus of {} bytes", modulus.len()))?;
    same_bytes("CKA_MODULUS of the private key", &s.get(private, CKA_MODULUS)?, &modulus)?;
    same_bytes("CKA_PUBLIC_EXPONENT", &s.get(private, CKA_PUBLIC_EXPONENT)?, &[1, 0, 1])
}

fn rsa_bad_bits(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    for bits in [0, 1, 100, 1 << 30] {
        let bad = Template::new().ulong(CKA_MODULUS_BITS, bits).bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1]);
        refused(&format!("an RSA key of {bits} bits"), rsa_pair(s, &bad), BAD_LENGTH)?;
    }
    Ok(())
}

fn rsa_no_bits(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let bad = Template::new().bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1]);
    refused("an RSA key without CKA_MODULUS_BITS", rsa_pair(s, &bad), BAD_LENGTH)
}

fn rsa_exponent(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let (public, _) = rsa_pair(s, &Template::new().ulong(CKA_MODULUS_BITS, 2048))?;
    same_bytes("default CKA_PUBLIC_EXPONENT", &s.get(public, CKA_PUBLIC_EXPONENT)?, &[1, 0, 1])
}

fn ec_pair(
    s: Session,
    public: &Template,
    private: &Template,
) -> crate::ffi::Call<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    let session = Template::new().flag(CKA_TOKEN, false);
    s.generate_pair(&Mech::new(CKM_EC_KEY_PAIR_GEN), &session.clone().with(public), &session.with(private))
}

fn ec_no_params(t: &mut T<'_>) -> Outcome {
    let made = ec_pair(t.user()?, &Template::new(), &Template::new());
    refused(
        "an EC key without CKA_EC_PARAMS",
        made,
        &[CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT, CKR_DOMAIN_PARAMS_INVALID],
    )
}

fn ec_unknown(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let allowed =
        [CKR_CURVE_NOT_SUPPORTED, CKR_DOMAIN_PARAMS_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCONSISTENT];
    for bad in [&[6, 3, 0x2A, 3, 4][..], &[0x30, 0], &[5, 0], b"garbage", &[6, 0x7F, 1]] {
        let made = ec_pair(s, &Template::new().bytes(CKA_EC_PARAMS, bad), &Template::new());
        refused(&format!("EC parameters {}", crate::context::hex(bad)), made, &allowed)?;
    }
    Ok(())
}

/// The point without its OCTET STRING header.
fn point(s: Session, public: CK_OBJECT_HANDLE) -> Result<Vec<u8>, Stop> {
    let der = s.get(public, CKA_EC_POINT)?;
    match der.as_slice() {
        [4, n, rest @ ..] if usize::from(*n) == rest.len() => Ok(rest.to_vec()),
        [4, 0x81, n, rest @ ..] if usize::from(*n) == rest.len() => Ok(rest.to_vec()),
        _ => Err(Stop::Fail(format!("CKA_EC_POINT is no OCTET STRING: {}", crate::context::hex(&der)))),
    }
}

fn ec_point(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let (public, _) = ec_pair(s, &Template::new().bytes(CKA_EC_PARAMS, P256), &Template::new())?;
    let p = point(s, public)?;
    ensure(p.len() == 65 && p[0] == 4, || format!("the point is {}", crate::context::hex(&p)))
}

fn ec_public(s: Session, point: &[u8]) -> crate::ffi::Call<CK_OBJECT_HANDLE> {
    s.create(
        &Template::key(CKO_PUBLIC_KEY, CKK_EC)
            .flag(CKA_TOKEN, false)
            .flag(CKA_VERIFY, true)
            .bytes(CKA_EC_PARAMS, P256)
            .bytes(CKA_EC_POINT, point),
    )
}

fn ec_import(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let keys = Kind::Ec(P256).make(s)?;
    let ecdsa = Mech::new(CKM_ECDSA);
    s.init(F::C_SignInit, &ecdsa, keys.private)?;
    let signature = s.run(F::C_Sign, &[0x22; 32])?;
    let copy = ec_public(s, &s.get(keys.public, CKA_EC_POINT)?)?;
    s.init(F::C_VerifyInit, &ecdsa, copy)?;
    s.feed2(F::C_Verify, &[0x22; 32], &signature)?;
    Ok(())
}

/// A point off the curve is refused: when the key is made or when it is used.
fn ec_bad_point(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let bad = [&[4u8, 65, 4][..], &[1; 64]].concat();
    let Ok(key) = ec_public(s, &bad) else { return Ok(()) };
    if s.init(F::C_VerifyInit, &Mech::new(CKM_ECDSA), key).is_err() {
        return Ok(());
    }
    let verdict = s.feed2(F::C_Verify, &[0x22; 32], &[1; 64]);
    ensure(verdict.is_err(), || "a signature by a point off the curve was accepted".into())
}

/// A pair whose private half cannot be made leaves no public half behind.
fn pair_atomic(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let label = Template::new().text(CKA_LABEL, "half a pair");
    let bad = label.clone().flag(CKA_LOCAL, true);
    let made = ec_pair(s, &label.clone().bytes(CKA_EC_PARAMS, P256), &bad);
    ensure(made.is_err(), || "CKA_LOCAL in the private template was taken".into())?;
    equal("objects left behind", s.find(&label)?.len(), 0)
}

fn public_key_info(t: &mut T<'_>) -> Outcome {
    if t.api.list.version.0 < 3 {
        return skip("CKA_PUBLIC_KEY_INFO may be absent in 2.40");
    }
    let s = t.user()?;
    let keys = Kind::Ec(P256).make(s)?;
    let info = s.get(keys.public, CKA_PUBLIC_KEY_INFO)?;
    ensure(info.ends_with(&point(s, keys.public)?) && info.first() == Some(&0x30), || {
        format!("CKA_PUBLIC_KEY_INFO is {}", crate::context::hex(&info))
    })?;
    same_bytes("of the private key", &s.get(keys.private, CKA_PUBLIC_KEY_INFO)?, &info)
}

fn derived(extra: &Template) -> Template {
    readable().with(&Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)).with(extra)
}

/// Both sides derive the same secret.
fn agrees(
    s: Session,
    kind: Kind,
    ty: CK_MECHANISM_TYPE,
    kdf: CK_EC_KDF_TYPE,
    shared: &[u8],
    len: Option<u64>,
) -> Outcome {
    let (a, b) = (make(kind, s, &Template::new())?, make(kind, s, &Template::new())?);
    let template = len.map_or(derived(&Template::new()), |n| derived(&Template::new().ulong(CKA_VALUE_LEN, n)));
    let side = |mine: CK_OBJECT_HANDLE, theirs: CK_OBJECT_HANDLE| -> Result<Vec<u8>, Stop> {
        let mut mech = Mech::ecdh(kdf, shared, &point(s, theirs)?);
        mech.ty = ty;
        let key = s.derive(&mech, mine, &template)?;
        Ok(s.get(key, CKA_VALUE)?)
    };
    let (one, two) = (side(a.private, b.public)?, side(b.private, a.public)?);
    same_bytes("the two sides' secrets", &one, &two)?;
    ensure(one.iter().any(|b| *b != 0), || "the secret is zero".into())?;
    len.map_or(Ok(()), |n| equal("length of the secret", one.len() as u64, n))
}

fn ecdh_agrees(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    for (curve, len) in [(P256, 32), (P384, 48), (P521, 66)] {
        agrees(s, Kind::Ec(curve), CKM_ECDH1_DERIVE, CKD_NULL, b"", Some(len))?;
        agrees(s, Kind::Ec(curve), CKM_ECDH1_DERIVE, CKD_NULL, b"", None)?;
        agrees(s, Kind::Ec(curve), CKM_ECDH1_DERIVE, CKD_NULL, b"", Some(16))?;
    }
    Ok(())
}

fn x25519_agrees(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    agrees(s, Kind::Montgomery(X25519), CKM_ECDH1_DERIVE, CKD_NULL, b"", Some(32))
}

fn ecdh_kdf(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    match agrees(s, Kind::Ec(P256), CKM_ECDH1_DERIVE, CKD_SHA256_KDF, b"shared info", Some(48)) {
        Err(Stop::Fail(why)) if why.contains("MECHANISM_PARAM_INVALID") => skip("the token has no CKD_SHA256_KDF"),
        outcome => outcome,
    }
}

fn ecdh_bad_point(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let keys = Kind::Ec(P256).make(s)?;
    let off_curve = [&[4u8][..], &[1; 64]].concat();
    for bad in [off_curve, vec![], vec![4; 10], vec![0]] {
        let made = s.derive(
            &Mech::ecdh(CKD_NULL, b"", &bad),
            keys.private,
            &derived(&Template::new().ulong(CKA_VALUE_LEN, 32)),
        );
        let allowed =
            [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD, CKR_DOMAIN_PARAMS_INVALID, CKR_PUBLIC_KEY_INVALID];
        refused(&format!("C_DeriveKey with point {}", crate::context::hex(&bad)), made, &allowed)?;
    }
    Ok(())
}

fn derive_not_permitted(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let keys = Kind::Ec(P256).make(s)?;
    let p = point(s, keys.public)?;
    s.set(keys.private, &Template::new().flag(CKA_DERIVE, false))?;
    let made =
        s.derive(&Mech::ecdh(CKD_NULL, b"", &p), keys.private, &derived(&Template::new().ulong(CKA_VALUE_LEN, 32)));
    refused("C_DeriveKey without CKA_DERIVE", made, &[CKR_KEY_FUNCTION_NOT_PERMITTED])
}

fn ecdh(s: Session, template: &Template) -> Result<crate::ffi::Call<CK_OBJECT_HANDLE>, Stop> {
    let keys = Kind::Ec(P256).make(s)?;
    Ok(s.derive(&Mech::ecdh(CKD_NULL, b"", &point(s, keys.public)?), keys.private, template))
}

fn derived_attributes(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let key =
        ecdh(s, &derived(&Template::new().ulong(CKA_VALUE_LEN, 32).text(CKA_LABEL, "derived").flag(CKA_SIGN, true)))??;
    equal("CKA_LOCAL", s.get_bool(key, CKA_LOCAL)?, false)?;
    equal("CKA_ALWAYS_SENSITIVE", s.get_bool(key, CKA_ALWAYS_SENSITIVE)?, false)?;
    equal("CKA_SIGN", s.get_bool(key, CKA_SIGN)?, true)?;
    same_bytes("CKA_LABEL", &s.get(key, CKA_LABEL)?, b"derived")
}

fn derive_too_long(t: &mut T<'_>) -> Outcome {
    let made = ecdh(t.user()?, &derived(&Template::new().ulong(CKA_VALUE_LEN, 33)))?;
    refused("33 bytes of a P-256 secret", made, BAD_LENGTH)
}

fn base(s: Session, extra: &Template) -> crate::ffi::Call<CK_OBJECT_HANDLE> {
    let t = readable().with(&Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)).bytes(CKA_VALUE, &[9; 16]);
    s.create(&t.flag(CKA_DERIVE, true).with(extra))
}

fn inherits(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let hard = base(s, &Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false))?;
    let mech = Mech::string_data(CKM_CONCATENATE_BASE_AND_DATA, b"more");
    let made = s.derive(&mech, hard, &derived(&Template::new()));
    let Ok(key) = made else {
        return refused("a readable key from a sensitive one", made, &[CKR_TEMPLATE_INCONSISTENT]);
    };
    let rv = s.get(key, CKA_VALUE).map_or_else(|r| r.rv, |_| Rv(CKR_OK));
    one_of("reading a key derived from a sensitive one", rv, &[CKR_ATTRIBUTE_SENSITIVE])
}

fn concatenate(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let key = base(s, &Template::new())?;
    let made = s.derive(&Mech::string_data(CKM_CONCATENATE_BASE_AND_DATA, b"more"), key, &derived(&Template::new()))?;
    same_bytes("base and data", &s.get(made, CKA_VALUE)?, &[&[9; 16][..], b"more"].concat())
}

/// The derived value is the data encrypted with the base key.
fn by_encryption(t: &mut T<'_>) -> Outcome {
    t.mechanism(CKM_AES_CBC, CKF_ENCRYPT)?;
    let s = t.user()?;
    let key = Kind::Aes(32).make(s)?.private;
    let mech = Mech::cbc_encrypt_data([4; 16], &[0x5B; 32]);
    let made = s.derive(&mech, key, &derived(&Template::new().ulong(CKA_VALUE_LEN, 32)))?;
    s.init(F::C_EncryptInit, &Mech::bytes(CKM_AES_CBC, &[4; 16]), key)?;
    same_bytes("derived value", &s.get(made, CKA_VALUE)?, &s.run(F::C_Encrypt, &[0x5B; 32])?)
}

/// HKDF-Expand, case 1 of RFC 5869.
fn hkdf(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let unhex = super::rsa_key::unhex;
    let prk = unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    let okm = unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    let key = base(s, &Template::new().bytes(CKA_VALUE, &prk))?;
    let mech = Mech::hkdf(CKM_HKDF_DERIVE, false, true, Hash::SHA256, b"", &unhex("f0f1f2f3f4f5f6f7f8f9"));
    let made = s.derive(&mech, key, &derived(&Template::new().ulong(CKA_VALUE_LEN, 42)))?;
    same_bytes("derived", &s.get(made, CKA_VALUE)?, &okm)
}

fn kem(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let keys = make(Kind::MlKem(CKP_ML_KEM_768), s, &Template::new())?;
    let mech = Mech::new(CKM_ML_KEM);
    let (sent, ours) = s.encapsulate(&mech, keys.public, &derived(&Template::new()))?;
    equal("length of the ciphertext", sent.len(), 1088)?;
    let theirs = s.decapsulate(&mech, keys.private, &sent, &derived(&Template::new()))?;
    let secret = s.get(ours, CKA_VALUE)?;
    equal("length of the secret", secret.len(), 32)?;
    same_bytes("the two sides' secrets", &s.get(theirs, CKA_VALUE)?, &secret)
}

/// ML-KEM rejects implicitly: another secret, no error.
fn kem_changed(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let keys = make(Kind::MlKem(CKP_ML_KEM_768), s, &Template::new())?;
    let mech = Mech::new(CKM_ML_KEM);
    let (mut sent, ours) = s.encapsulate(&mech, keys.public, &derived(&Template::new()))?;
    sent[0] ^= 1;
    let theirs = s.decapsulate(&mech, keys.private, &sent, &derived(&Template::new()))?;
    ensure(s.get(ours, CKA_VALUE)? != s.get(theirs, CKA_VALUE)?, || "a changed ciphertext gave the same secret".into())
}

fn kem_length(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let keys = make(Kind::MlKem(CKP_ML_KEM_768), s, &Template::new())?;
    for n in [0, 1, 1087, 1089] {
        let made = s.decapsulate(&Mech::new(CKM_ML_KEM), keys.private, &vec![1; n], &derived(&Template::new()));
        let allowed = [
            CKR_WRAPPED_KEY_LEN_RANGE,
            CKR_WRAPPED_KEY_INVALID,
            CKR_ENCRYPTED_DATA_LEN_RANGE,
            CKR_ENCRYPTED_DATA_INVALID,
            CKR_ARGUMENTS_BAD,
        ];
        refused(&format!("C_DecapsulateKey of {n} bytes"), made, &allowed)?;
    }
    Ok(())
}
