//! What is approved of a mechanism whose row is: its uses, sizes, hashes and parameters. By our own reading of SP 800-131A r2, SP
//! 800-140C and -140D and the implementation guidance of FIPS 140-3; nobody has validated this module, and nothing here
//! claims so.

use cryptoki_sys::*;

use super::key;
use super::key_attributes::curve_of;
use super::table::{ParamKind, Row, row};
use crate::crypto::curve::{Curve, Form};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::token::{Bytes, Generator, MessageParams, Params};

/// What is asked: a use (`CKF_`) of a key, or a key made from a template.
struct Asked<'a> {
    ty: CK_MECHANISM_TYPE,
    usage: CK_FLAGS,
    params: &'a Params,
    /// The key's attributes but for the secret ones, or the template's.
    key: &'a Attributes,
}

/// A condition of some rows.
struct Rule {
    /// For people; also in docs/mechanisms.md.
    says: &'static str,
    of: fn(&Row) -> bool,
    kept: fn(&Asked<'_>) -> bool,
}

const MAKES_SIGNATURES: CK_FLAGS = CKF_SIGN | CKF_MESSAGE_SIGN;

const RULES: &[Rule] = &[
    // SP 800-131A r2, tables 2 and 5; FIPS 186-5, 5.1.
    Rule {
        says: "2048 bits or more",
        of: |row| row.keys.contains(&CKK_RSA),
        kept: |asked| rsa_bits(asked.key) >= 2048,
    },
    // SP 800-186, 3.2.1; SP 800-56A r3, table 24. Brainpool curves and secp256k1 are for compatibility alone.
    Rule {
        says: "NIST curves",
        of: |row| row.keys.contains(&CKK_EC),
        kept: |asked| asked.key.ulong(CKA_KEY_TYPE) == Some(CKK_EC) && on_nist_curve(asked.key),
    },
    // SP 800-131A r2, tables 8 and 9: 112 bits.
    Rule {
        says: "keys of 14 bytes or more",
        of: |row| row.keys.contains(&CKK_GENERIC_SECRET),
        kept: |asked| long_enough(asked.key),
    },
    // FIPS 186-5, 5.4: the salt is no longer than the hash; SP 800-131A r2, table 8: no signature over SHA-1.
    Rule {
        says: "no SHA-1, and a salt no longer than the hash",
        of: |row| row.params == ParamKind::Pss,
        kept: |asked| match asked.params {
            Params::Pss(pss) => {
                let len = super::digest::of_hash(pss.hash).map_or(0, |digest| digest.len());
                pss.hash != CKM_SHA_1 && pss.mgf != CKG_MGF1_SHA1 && pss.salt_len <= len as u64
            }
            _ => false,
        },
    },
    // SP 800-140C, SP 800-140D: what a parameter names is approved itself.
    Rule {
        says: "approved hashes",
        of: |row| names_a_hash(row.params),
        kept: |asked| named(asked.params).into_iter().all(is_approved),
    },
    // SP 800-38D, 8; implementation guidance C.H: the IV that encrypts comes from inside the module.
    Rule {
        says: "to encrypt, by the message functions and with a generated IV",
        of: |row| matches!(row.ty, CKM_AES_GCM | CKM_AES_GMAC),
        kept: |asked| match asked.params {
            Params::Gcm { .. } => asked.usage & (CKF_ENCRYPT | CKF_WRAP | MAKES_SIGNATURES) == 0,
            Params::Message { message, .. } => {
                asked.usage & (CKF_MESSAGE_ENCRYPT | CKF_WRAP) == 0 || message.generator != Generator::Given
            }
            _ => true,
        },
    },
    // SP 800-38D, 5.2.1.2; SP 800-38C, appendix B.2.
    Rule {
        says: "a tag of 96 bits or more with GCM, 64 with CCM",
        of: |row| matches!(row.ty, CKM_AES_GCM | CKM_AES_GMAC | CKM_AES_CCM),
        kept: |asked| match asked.params {
            Params::Gcm { tag_bits, .. } => *tag_bits >= 96,
            Params::Ccm { mac_len, .. } => *mac_len >= 8,
            Params::Message { message, .. } => message.tag_len >= if asked.ty == CKM_AES_CCM { 8 } else { 12 },
            _ => true,
        },
    },
    // SP 800-107 r1, 5.3.3; SP 800-38B, appendix A.2, asks for 64 bits of a CMAC.
    Rule {
        says: "a MAC of 64 bits or more",
        of: |row| row.params == ParamKind::MacLength && row.flags & CKF_SIGN != 0,
        kept: |asked| matches!(asked.params, Params::MacLength(len) if *len >= 8),
    },
    // SP 800-132, 5.
    Rule {
        says: "a salt of 16 bytes and 1000 iterations, or more",
        of: |row| row.ty == CKM_PKCS5_PBKD2,
        kept: |asked| match asked.params {
            Params::Pbkdf2(pbkdf2) => pbkdf2.salt.len() >= 16 && pbkdf2.iterations >= 1000,
            _ => false,
        },
    },
    // SP 800-208, 7: key pairs are made and sign in hardware.
    Rule {
        says: "verification",
        of: |row| row.keys.contains(&CKK_HSS),
        kept: |asked| asked.usage & MAKES_SIGNATURES == 0,
    },
];

/// Whether this is approved; `CKR_OPERATION_NOT_VALIDATED` where not. `usage` is the `CKF_` of what is done, `key` the attributes
/// of the key that does it, or the template of what a generating mechanism makes.
pub fn check(row: &Row, usage: CK_FLAGS, params: &Params, key: &Attributes) -> Result<()> {
    if !row.approved {
        return Err(Code::OperationNotValidated.because(format!("{} is not approved", row.name)));
    }
    let asked = Asked { ty: row.ty, usage, params, key };
    match RULES.iter().find(|rule| (rule.of)(row) && !(rule.kept)(&asked)) {
        None => Ok(()),
        Some(rule) => Err(Code::OperationNotValidated.because(format!("{} is approved for: {}", row.name, rule.says))),
    }
}

/// The same of one message of an operation that was begun as approved: its parameters may be others.
pub fn check_message(ty: CK_MECHANISM_TYPE, usage: CK_FLAGS, message: &MessageParams) -> Result<()> {
    let params = Params::Message { message: message.clone(), aad: Bytes::new() };
    check(row(ty)?, usage, &params, &Attributes::new())
}

/// For people: under what conditions a row is approved.
pub fn conditions(row: &Row) -> impl Iterator<Item = &'static str> + '_ {
    RULES.iter().filter(|rule| row.approved && (rule.of)(row)).map(|rule| rule.says)
}

/// Whether a key itself is one that approved mechanisms may use.
pub fn is_approved_key(attributes: &Attributes) -> bool {
    match attributes.ulong(CKA_KEY_TYPE) {
        Some(CKK_RSA) => rsa_bits(attributes) >= 2048,
        Some(CKK_EC) => on_nist_curve(attributes),
        Some(CKK_EC_EDWARDS | CKK_ML_KEM | CKK_ML_DSA | CKK_SLH_DSA) => true,
        Some(CKK_AES | CKK_AES_XTS) => true,
        Some(ty) => super::table::all().any(|row| row.approved && row.keys.contains(&ty)) && long_enough(attributes),
        None => false,
    }
}

fn rsa_bits(key: &Attributes) -> u64 {
    key.ulong(CKA_MODULUS_BITS).or_else(|| key::bits(key)).unwrap_or(0)
}

fn on_nist_curve(key: &Attributes) -> bool {
    let curve = key.bytes(CKA_EC_PARAMS).and_then(|params| curve_of(params, Form::Weierstrass).ok());
    matches!(curve, Some(Curve::P224 | Curve::P256 | Curve::P384 | Curve::P521))
}

/// What has no length is no key (a data object), or of a type whose keys all have the same.
fn long_enough(key: &Attributes) -> bool {
    key.ulong(CKA_KEY_TYPE) != Some(CKK_DES) && key.ulong(CKA_VALUE_LEN).is_none_or(|len| len >= 14)
}

/// Whether parameters of this kind name a hash or a PRF: [`named`] finds it.
fn names_a_hash(kind: ParamKind) -> bool {
    use ParamKind::*;
    matches!(
        kind,
        Pss | Oaep
            | RsaAesWrap
            | HashSignContext
            | Hkdf
            | Kbkdf
            | FeedbackKbkdf
            | TlsMaster
            | TlsExtendedMaster
            | TlsKeyMaterial
            | TlsKdf
            | TlsMac
            | IkePrf
            | Ike1Prf
            | Ike1Extended
            | Ike2PrfPlus
    )
}

/// The hashes and PRFs that parameters name.
fn named(params: &Params) -> Vec<CK_MECHANISM_TYPE> {
    match params {
        Params::Pss(pss) => vec![pss.hash],
        Params::Oaep(oaep) | Params::RsaAesWrap { oaep, .. } => vec![oaep.hash],
        Params::Hkdf(hkdf) => vec![hkdf.hash],
        Params::Kbkdf(kbkdf) => vec![kbkdf.prf],
        Params::SignContext { hash, .. } => hash.iter().copied().collect(),
        Params::TlsMaster(tls) => vec![tls.hash],
        Params::TlsKeyMaterial(tls) => vec![tls.hash],
        Params::TlsKdf(tls) => vec![tls.prf],
        Params::TlsMac(tls) => vec![tls.prf],
        Params::IkePrf(ike) => vec![ike.prf],
        Params::Ike1Prf(ike) => vec![ike.prf],
        Params::IkeExpand(ike) => vec![ike.prf],
        _ => Vec::new(),
    }
}

/// SHAKE goes by the numbers of the derivations, which are not approved themselves.
fn is_approved(ty: CK_MECHANISM_TYPE) -> bool {
    matches!(ty, CKM_SHAKE_128_KEY_DERIVATION | CKM_SHAKE_256_KEY_DERIVATION) || row(ty).is_ok_and(|row| row.approved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Attribute, PssParams};

    fn code(ty: CK_MECHANISM_TYPE, usage: CK_FLAGS, params: &Params, key: &[Attribute]) -> Option<Code> {
        check(row(ty).unwrap(), usage, params, &key.iter().cloned().collect()).err().map(|e| e.code())
    }

    #[test]
    fn sizes_hashes_and_parameters_decide() {
        const NOT: Option<Code> = Some(Code::OperationNotValidated);
        let rsa = |bits| [Attribute::ulong(CKA_KEY_TYPE, CKK_RSA), Attribute::ulong(CKA_MODULUS_BITS, bits)];
        let none = &Params::None;
        assert_eq!(code(CKM_SHA256_RSA_PKCS, CKF_VERIFY, none, &rsa(2048)), None);
        assert_eq!(code(CKM_SHA256_RSA_PKCS, CKF_VERIFY, none, &rsa(1024)), NOT);
        assert_eq!(code(CKM_SHA1_RSA_PKCS, CKF_VERIFY, none, &rsa(2048)), NOT);
        assert_eq!(code(CKM_RSA_PKCS, CKF_DECRYPT, none, &rsa(2048)), NOT);
        let pss = |hash, mgf, salt_len| Params::Pss(PssParams { hash, mgf, salt_len });
        let sign = |params: &Params| code(CKM_RSA_PKCS_PSS, CKF_SIGN, params, &rsa(3072));
        assert_eq!(sign(&pss(CKM_SHA256, CKG_MGF1_SHA256, 32)), None);
        assert_eq!(sign(&pss(CKM_SHA256, CKG_MGF1_SHA256, 33)), NOT);
        assert_eq!(sign(&pss(CKM_SHA_1, CKG_MGF1_SHA1, 20)), NOT);
        assert_eq!(sign(&pss(CKM_BLAKE2B_256, CKG_MGF1_SHA256, 20)), NOT);
        let curve = |oid: &[u8]| [Attribute::ulong(CKA_KEY_TYPE, CKK_EC), Attribute::bytes(CKA_EC_PARAMS, oid)];
        let (p256, k1) = (&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7][..], &[6, 5, 0x2b, 0x81, 4, 0, 10][..]);
        assert_eq!(code(CKM_ECDSA_SHA256, CKF_SIGN, none, &curve(p256)), None);
        assert_eq!(code(CKM_ECDSA_SHA256, CKF_SIGN, none, &curve(k1)), NOT);
        assert_eq!(code(CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR, none, &curve(k1)), NOT);
        let montgomery = [Attribute::ulong(CKA_KEY_TYPE, CKK_EC_MONTGOMERY)];
        assert_eq!(code(CKM_ECDH1_DERIVE, CKF_DERIVE, none, &montgomery), NOT);
        let secret = |len| [Attribute::ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET), Attribute::ulong(CKA_VALUE_LEN, len)];
        assert_eq!(code(CKM_SHA256_HMAC, CKF_SIGN, none, &secret(14)), None);
        assert_eq!(code(CKM_SHA256_HMAC, CKF_SIGN, none, &secret(13)), NOT);
        let des = [Attribute::ulong(CKA_KEY_TYPE, CKK_DES)];
        assert_eq!(code(CKM_SHA256_HMAC, CKF_SIGN, none, &des), NOT);
        assert_eq!(code(CKM_SHA256_HMAC_GENERAL, CKF_SIGN, &Params::MacLength(8), &secret(32)), None);
        assert_eq!(code(CKM_SHA256_HMAC_GENERAL, CKF_SIGN, &Params::MacLength(7), &secret(32)), NOT);
        let gcm = |tag_bits| Params::Gcm { iv: [0; 12][..].into(), aad: [][..].into(), tag_bits };
        assert_eq!(code(CKM_AES_GCM, CKF_DECRYPT, &gcm(128), &[]), None);
        assert_eq!(code(CKM_AES_GCM, CKF_DECRYPT, &gcm(64), &[]), NOT);
        assert_eq!(code(CKM_AES_GCM, CKF_ENCRYPT, &gcm(128), &[]), NOT, "an IV of the caller's");
        let message = |ty, tag_len| {
            let message = MessageParams { tag_len, generator: Generator::Random, ..MessageParams::default() };
            check_message(ty, CKF_MESSAGE_ENCRYPT, &message).err().map(|e| e.code())
        };
        assert_eq!((message(CKM_AES_GCM, 12), message(CKM_AES_GCM, 11)), (None, NOT));
        assert_eq!((message(CKM_AES_CCM, 8), message(CKM_AES_CCM, 6)), (None, NOT));
        assert_eq!(code(CKM_HSS, CKF_VERIFY, none, &[]), None);
        assert_eq!(code(CKM_HSS, CKF_SIGN, none, &[]), NOT);
    }
}
