//! What is wrong in a key, or in the key for a mechanism.

use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::mechanism::table;
use keyward::object::schema;

use crate::module::{Attr, bytes, mechanism, no, plain, ulong, yes};
use crate::world::{ED25519, F, FUNCTIONS, P256, Table, World, X25519, secret_length, secret_template};

const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 34];
const X448: &[u8] = &[6, 3, 0x2b, 0x65, 0x6f];

fn octets(point: &[u8]) -> Vec<u8> {
    [&[4, point.len() as u8], point].concat()
}

pub fn ec(key_type: CK_KEY_TYPE, curve: &[u8], point: &[u8]) -> Vec<Attr> {
    vec![
        ulong(CKA_CLASS, CKO_PUBLIC_KEY),
        ulong(CKA_KEY_TYPE, key_type),
        bytes(CKA_EC_PARAMS, curve),
        bytes(CKA_EC_POINT, &octets(point)),
    ]
}

fn ecdh(public: &mut [u8]) -> CK_ECDH1_DERIVE_PARAMS {
    CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: null_mut(),
        ulPublicDataLen: public.len() as CK_ULONG,
        pPublicData: public.as_mut_ptr(),
    }
}

/// The seven u-coordinates of small order on Curve25519 below 2^255 (RFC 7748, 6.1; "May the Fourth Be With You", section 2).
fn small_orders() -> Vec<[u8; 32]> {
    let hex = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    hex.iter().map(|text| hex::decode(text).unwrap().try_into().unwrap()).collect()
}

pub fn points(world: &World) -> Vec<String> {
    let mut table = Table::new("a point off the curve, or of small order");
    let (public, private) = world.pair(CKK_EC);
    let good = world.module.value(public, CKA_EC_POINT)[2..].to_vec();
    assert_eq!(good.len(), 65);
    let mut off = good.clone();
    off[64] ^= 1;
    let mut above = vec![0xff; 65];
    above[0] = 4;
    let mut compressed_off = vec![2; 33];
    // x = 1 is no x-coordinate of P-256.
    compressed_off[1..].fill(0);
    compressed_off[32] = 1;
    let infinity = vec![0];
    let short = good[..64].to_vec();
    let long = [&good[..], &[0]].concat();
    let hybrid = [&[8], &good[1..]].concat();
    for (what, point) in [
        ("off the curve", &off),
        ("above the field", &above),
        ("compressed, no such x", &compressed_off),
        ("infinity", &infinity),
        ("too short", &short),
        ("too long", &long),
        ("of no form", &hybrid),
    ] {
        let created = world.try_create(&ec(CKK_EC, P256, point));
        table.add(format!("P-256 {what}, create"), created, CKR_ATTRIBUTE_VALUE_INVALID);
        let mut raw = point.clone();
        let mut p = ecdh(&mut raw);
        for ty in [CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE] {
            let seen = world.begin(F::Derive, mechanism(ty, &mut p), private);
            table.add(format!("P-256 {what}, derive {ty:#x}"), seen, CKR_PUBLIC_KEY_INVALID);
        }
    }
    table.add("P-384, a point of P-256", world.try_create(&ec(CKK_EC, P384, &good)), CKR_ATTRIBUTE_VALUE_INVALID);
    table.add("a point of its curve", world.try_create(&ec(CKK_EC, P256, &good)), CKR_OK);

    // The Montgomery curves take every number as a key, and refuse to agree on nothing.
    let (_, private) = world.pair(CKK_EC_MONTGOMERY);
    for mut point in small_orders() {
        let mut p = ecdh(&mut point);
        let seen = world.begin(F::Derive, mechanism(CKM_ECDH1_DERIVE, &mut p), private);
        table.add(format!("X25519 {:02x?}...", &p_bytes(&p)[..2]), seen, CKR_PUBLIC_KEY_INVALID);
    }
    for len in [0, 31, 33] {
        let mut point = vec![9; len];
        let mut p = ecdh(&mut point);
        let seen = world.begin(F::Derive, mechanism(CKM_ECDH1_DERIVE, &mut p), private);
        table.add(format!("X25519 of {len} bytes"), seen, CKR_PUBLIC_KEY_INVALID);
        let created = world.try_create(&ec(CKK_EC_MONTGOMERY, X25519, &point));
        table.add(format!("X25519 of {len} bytes, create"), created, CKR_ATTRIBUTE_VALUE_INVALID);
    }
    // On Curve448 these are 0, 1 and p - 1 (RFC 7748, 4.2).
    let (_, private) = world.module.generate_pair(
        CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
        &[bytes(CKA_EC_PARAMS, X448)],
        &[yes(CKA_DERIVE), no(CKA_TOKEN)],
    );
    let (zero, mut one, mut last) = (vec![0; 56], vec![0; 56], vec![0xff; 56]);
    (one[0], last[0], last[28]) = (1, 0xfe, 0xfe);
    for (what, mut point) in
        [("0", zero), ("1", one), ("p - 1", last), ("55 bytes", vec![9; 55]), ("57 bytes", vec![9; 57])]
    {
        let mut p = ecdh(&mut point);
        let seen = world.begin(F::Derive, mechanism(CKM_ECDH1_DERIVE, &mut p), private);
        table.add(format!("X448 {what}"), seen, CKR_PUBLIC_KEY_INVALID);
    }
    let created = world.try_create(&ec(CKK_EC_MONTGOMERY, X448, &[9; 57]));
    table.add("X448 of 57 bytes, create", created, CKR_ATTRIBUTE_VALUE_INVALID);
    // y = 2 is no y-coordinate of Ed25519.
    let mut no_point = [0; 32];
    no_point[0] = 2;
    table.add(
        "Ed25519, no point",
        world.try_create(&ec(CKK_EC_EDWARDS, ED25519, &no_point)),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    let created = world.try_create(&ec(CKK_EC_EDWARDS, ED25519, &[1; 31]));
    table.add("Ed25519 of 31 bytes", created, CKR_ATTRIBUTE_VALUE_INVALID);

    // Diffie-Hellman: 0, 1, p - 1 and above.
    let (public, private) = world.pair(CKK_DH);
    let prime = world.module.value(public, CKA_PRIME);
    let mut last = prime.clone();
    *last.last_mut().unwrap() -= 1;
    for mut value in [vec![0], vec![1], last, prime.clone(), [&[1], &prime[..]].concat()] {
        let by = CK_MECHANISM {
            mechanism: CKM_DH_PKCS_DERIVE,
            pParameter: value.as_mut_ptr().cast(),
            ulParameterLen: value.len() as CK_ULONG,
        };
        let seen = world.begin(F::Derive, by, private);
        table.add(format!("DH {:02x?}... of {}", value[0], value.len()), seen, CKR_PUBLIC_KEY_INVALID);
    }
    table.wrong(45)
}

/// Private keys that are none: no scalar of the curve, or no seed of its length.
pub fn private_values(world: &World) -> Vec<String> {
    let mut table = Table::new("a private value out of its range");
    // The order of P-256 (SP 800-186, 3.2.1.3), and the largest key.
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let mut last = order.clone();
    last[31] -= 1;
    for (what, key_type, curve, value, expected) in [
        ("P-256, the last", CKK_EC, P256, &last[..], CKR_OK),
        ("P-256, zero", CKK_EC, P256, &[0; 32], CKR_ATTRIBUTE_VALUE_INVALID),
        ("P-256, the order", CKK_EC, P256, &order, CKR_ATTRIBUTE_VALUE_INVALID),
        ("P-256, ones", CKK_EC, P256, &[0xff; 32], CKR_ATTRIBUTE_VALUE_INVALID),
        ("P-256, none", CKK_EC, P256, &[], CKR_ATTRIBUTE_VALUE_INVALID),
        ("P-256, longer", CKK_EC, P256, &[1; 33], CKR_ATTRIBUTE_VALUE_INVALID),
        ("Ed25519, short", CKK_EC_EDWARDS, ED25519, &[1; 31], CKR_ATTRIBUTE_VALUE_INVALID),
        ("Ed25519, long", CKK_EC_EDWARDS, ED25519, &[1; 33], CKR_ATTRIBUTE_VALUE_INVALID),
        ("X25519, short", CKK_EC_MONTGOMERY, X25519, &[1; 31], CKR_ATTRIBUTE_VALUE_INVALID),
        ("X448, long", CKK_EC_MONTGOMERY, X448, &[1; 57], CKR_ATTRIBUTE_VALUE_INVALID),
    ] {
        let created = world.try_create(&[
            ulong(CKA_CLASS, CKO_PRIVATE_KEY),
            ulong(CKA_KEY_TYPE, key_type),
            bytes(CKA_EC_PARAMS, curve),
            bytes(CKA_VALUE, value),
        ]);
        table.add(what, created, expected);
    }
    table.wrong(10)
}

fn p_bytes(p: &CK_ECDH1_DERIVE_PARAMS) -> Vec<u8> {
    // SAFETY: the pointer and its length are those of a live array.
    unsafe { std::slice::from_raw_parts(p.pPublicData, p.ulPublicDataLen as usize) }.to_vec()
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<Attr> {
    vec![
        ulong(CKA_CLASS, CKO_PUBLIC_KEY),
        ulong(CKA_KEY_TYPE, CKK_RSA),
        bytes(CKA_MODULUS, modulus),
        bytes(CKA_PUBLIC_EXPONENT, exponent),
        yes(CKA_VERIFY),
        yes(CKA_ENCRYPT),
    ]
}

pub fn moduli(world: &World) -> Vec<String> {
    let mut table = Table::new("an even or tiny modulus");
    let value = CKR_ATTRIBUTE_VALUE_INVALID;
    let usual: &[u8] = &[1, 0, 1];
    let (public, _) = world.pair(CKK_RSA);
    let good = world.module.value(public, CKA_MODULUS);
    let mut even = good.clone();
    even[255] &= 0xfe;
    for (what, modulus, exponent, expected) in [
        ("good", &good[..], usual, CKR_OK),
        ("even", &even, usual, value),
        ("of one byte", &[15], usual, value),
        ("of 64 bytes", &[0xfd; 64], usual, value),
        ("empty", &[], usual, value),
        ("zero", &[0; 256], usual, value),
        ("exponent 1", &good, &[1], value),
        ("exponent 0", &good, &[0], value),
        ("an even exponent", &good, &[1, 0, 0], value),
        ("an exponent above the modulus", &good, &[0xff; 256], value),
        ("longer than any", &[0xfd; 2049], usual, value),
    ] {
        table.add(format!("modulus {what}"), world.try_create(&rsa(modulus, exponent)), expected);
    }
    let generated = |bits: CK_ULONG, exponent: Option<&[u8]>| {
        let mut public = vec![ulong(CKA_MODULUS_BITS, bits)];
        public.extend(exponent.map(|e| bytes(CKA_PUBLIC_EXPONENT, e)));
        world.try_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public)
    };
    for bits in [0, 1, 512, 1023, 1024, 2047, 16385, CK_ULONG::MAX] {
        table.add(format!("generate {bits} bits"), generated(bits, None), value);
    }
    for exponent in [&[0][..], &[1], &[2], &[1, 0, 0]] {
        let seen = generated(2048, Some(exponent));
        table.add(format!("generate with exponent {exponent:?}"), seen, CKR_TEMPLATE_INCONSISTENT);
    }
    table.wrong(23)
}

/// Every mechanism in every use with a key: one of another type.
pub fn wrong_types(world: &World) -> Vec<String> {
    let mut table = Table::new("a key of another type");
    let (rsa_public, rsa_private) = world.pair(CKK_RSA);
    let aes = world.aes();
    for row in table::all().filter(|row| !row.keys.is_empty()) {
        for (_, function) in FUNCTIONS.iter().filter(|(flag, _)| row.flags & flag != 0) {
            let public = matches!(function, F::Encrypt | F::Verify | F::VerifyRecover | F::Wrap | F::Encapsulate);
            let key = match row.keys.contains(&CKK_AES) {
                false => aes,
                true if row.keys.contains(&CKK_RSA) => continue,
                true if public => rsa_public,
                true => rsa_private,
            };
            let expected = match function {
                F::Digest | F::Generate | F::GeneratePair => continue,
                F::Wrap => CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
                F::Unwrap | F::Decapsulate => CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
                _ => CKR_KEY_TYPE_INCONSISTENT,
            };
            // A structure is judged before the key: those mechanisms are in the table of parameters.
            let Some(mut parameter) = good_enough(row.params) else { continue };
            let by = parameter.mechanism(row.ty);
            table.add(format!("{} {function:?}", row.name), world.begin(*function, by, key), expected);
        }
    }
    table.wrong(200)
}

/// A parameter that is right; `None` where it is a structure.
pub fn good_enough(kind: table::ParamKind) -> Option<Bytes> {
    use table::ParamKind::*;
    Some(Bytes(match kind {
        Iv(len) => vec![0; len],
        Integer => vec![2],
        Number | MacLength => 8u64.to_ne_bytes().to_vec(),
        None | OptionalIv(_) | Eddsa | SignContext | Otp => Vec::new(),
        _ => return Option::None,
    }))
}

pub struct Bytes(Vec<u8>);

impl Bytes {
    pub fn mechanism(&mut self, ty: CK_MECHANISM_TYPE) -> CK_MECHANISM {
        match self.0.len() {
            0 => plain(ty),
            len => {
                CK_MECHANISM { mechanism: ty, pParameter: self.0.as_mut_ptr().cast(), ulParameterLen: len as CK_ULONG }
            }
        }
    }
}

/// Secret keys of a length that their type does not have, created and generated.
pub fn wrong_sizes(world: &World) -> Vec<String> {
    let mut table = Table::new("a key of the wrong size");
    let secrets = table::all().flat_map(|row| row.keys).copied().filter(|ty| is_secret(*ty));
    for key_type in secrets.collect::<std::collections::BTreeSet<_>>() {
        let name = schema::KEY_TYPES.iter().find(|row| row.value == key_type).map_or("?", |row| row.name);
        let good = secret_template(key_type, &vec![0x31; secret_length(key_type)]);
        table.add(format!("{name} of its length"), world.try_create(&good), CKR_OK);
        let empty = world.try_create(&secret_template(key_type, &[]));
        // HMAC takes an empty key (RFC 2104), and so do the keys of any length.
        let expected = if is_of_any_length(key_type) { CKR_OK } else { CKR_ATTRIBUTE_VALUE_INVALID };
        table.add(format!("{name}, empty"), empty, expected);
        if !is_of_any_length(key_type) {
            for len in [1, secret_length(key_type) + 1] {
                let seen = world.try_create(&secret_template(key_type, &vec![0x31; len]));
                table.add(format!("{name} of {len}"), seen, CKR_ATTRIBUTE_VALUE_INVALID);
            }
        }
    }
    let (ml_kem, _) = world.pair(CKK_ML_KEM);
    let value = world.module.value(ml_kem, CKA_VALUE);
    for (what, key) in [("short", &value[1..]), ("long", &[&value[..], &[0]].concat())] {
        let created = world.try_create(&[
            ulong(CKA_CLASS, CKO_PUBLIC_KEY),
            ulong(CKA_KEY_TYPE, CKK_ML_KEM),
            ulong(CKA_PARAMETER_SET, CKP_ML_KEM_768),
            bytes(CKA_VALUE, key),
        ]);
        table.add(format!("ML-KEM, too {what}"), created, CKR_ATTRIBUTE_VALUE_INVALID);
    }
    table.wrong(60)
}

fn is_secret(key_type: CK_KEY_TYPE) -> bool {
    !matches!(
        key_type,
        CKK_RSA
            | CKK_EC
            | CKK_EC_EDWARDS
            | CKK_EC_MONTGOMERY
            | CKK_ML_KEM
            | CKK_ML_DSA
            | CKK_SLH_DSA
            | CKK_DSA
            | CKK_DH
            | CKK_X9_42_DH
            | CKK_HSS
            | CKK_XMSS
            | CKK_XMSSMT
            | CKK_HOTP
    )
}

fn is_of_any_length(key_type: CK_KEY_TYPE) -> bool {
    !matches!(
        key_type,
        CKK_AES
            | CKK_AES_XTS
            | CKK_DES
            | CKK_DES2
            | CKK_DES3
            | CKK_CAMELLIA
            | CKK_ARIA
            | CKK_SEED
            | CKK_CHACHA20
            | CKK_SALSA20
            | CKK_POLY1305
    )
}
