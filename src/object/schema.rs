//! Which rows a class has: classes, key types and certificate types are rows themselves, and a [`Schema`] is what they
//! come to for one class and one type.

use std::collections::HashMap;

use cryptoki_sys::*;
use once_cell::sync::Lazy;

use super::Attributes;
use super::row::Row;
use super::rows::{certificate, common, key, lifecycle, named, other, pair, pqc, secret};
use crate::token::CKO_KEYWARD_POLICY;

/// How an object comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `C_CreateObject`.
    Create,
    /// `C_GenerateKey`, `C_GenerateKeyPair`.
    Generate,
    /// `C_UnwrapKey`, `C_UnwrapKeyAuthenticated`.
    Unwrap,
    /// `C_DeriveKey`, `C_EncapsulateKey`, `C_DecapsulateKey`.
    Derive,
    /// The token's own objects: profiles, mechanisms. Nothing is forbidden, nobody but the token asks.
    Token,
}

/// What holds between attributes; the codes are those of a template that breaks it.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// One of these is there and not empty. `CKR_TEMPLATE_INCOMPLETE`.
    AnyOf(&'static [CK_ATTRIBUTE_TYPE]),
    /// If the first is true, the second is. `CKR_TEMPLATE_INCONSISTENT`.
    Implies(CK_ATTRIBUTE_TYPE, CK_ATTRIBUTE_TYPE),
    /// If the first is not empty, none of the others is. `CKR_TEMPLATE_INCOMPLETE`.
    Calls(CK_ATTRIBUTE_TYPE, &'static [CK_ATTRIBUTE_TYPE]),
    /// If any of `of` has a value out of `is`, the others are there and not empty. `CKR_TEMPLATE_INCOMPLETE`.
    When { of: &'static [CK_ATTRIBUTE_TYPE], is: &'static [CK_ULONG], needs: &'static [CK_ATTRIBUTE_TYPE] },
    /// The first is an array with as many entries as the second says. `CKR_TEMPLATE_INCONSISTENT`.
    Count(CK_ATTRIBUTE_TYPE, CK_ATTRIBUTE_TYPE),
    /// While this is true, only the security officer changes the object. `CKR_ACTION_PROHIBITED`.
    Frozen(CK_ATTRIBUTE_TYPE),
}

/// An object class.
#[derive(Debug)]
pub struct Class {
    pub class: CK_OBJECT_CLASS,
    /// `CKO_SECRET_KEY`.
    pub name: &'static str,
    /// The attribute that divides it further.
    pub subtype: Option<CK_ATTRIBUTE_TYPE>,
    pub origins: &'static [Origin],
    rows: &'static [&'static [Row]],
    rules: &'static [Rule],
}

/// A class, with the rows and rules that a type adds to it.
type InClass = (CK_OBJECT_CLASS, &'static [&'static [Row]], &'static [Rule]);

/// A type within classes: a key type, a certificate type, a hardware feature.
#[derive(Debug)]
pub struct Subtype {
    pub value: CK_ULONG,
    /// `CKK_AES`.
    pub name: &'static str,
    /// Usage attributes that are `CK_TRUE` unless the template says otherwise.
    uses: &'static [CK_ATTRIBUTE_TYPE],
    /// The classes that have this type, with the rows that they add.
    classes: &'static [InClass],
}

use Origin::{Create, Derive, Generate, Token, Unwrap};

const fn class(
    class: CK_OBJECT_CLASS,
    name: &'static str,
    subtype: Option<CK_ATTRIBUTE_TYPE>,
    origins: &'static [Origin],
    rows: &'static [&'static [Row]],
    rules: &'static [Rule],
) -> Class {
    Class { class, name, subtype, origins, rows, rules }
}

macro_rules! classes {
    ($($name:ident, $subtype:expr, $origins:expr, $rows:expr, $rules:expr;)*) => {
        &[$(class($name, stringify!($name), $subtype, &$origins, &$rows, &$rules)),*]
    };
}

/// Later rows stand in for earlier ones of the same attribute.
pub static CLASSES: &[Class] = classes! {
    CKO_DATA, None, [Create, Derive], [common::OBJECT, common::STORAGE, other::DATA], [];
    CKO_CERTIFICATE, Some(CKA_CERTIFICATE_TYPE), [Create], [common::OBJECT, common::STORAGE, certificate::CERTIFICATE],
        [Rule::Frozen(CKA_TRUSTED)];
    CKO_PUBLIC_KEY, Some(CKA_KEY_TYPE), [Create, Generate, Derive], [common::OBJECT, common::STORAGE, key::KEY, lifecycle::LIFE, key::PUBLIC], [];
    CKO_PRIVATE_KEY, Some(CKA_KEY_TYPE), [Create, Generate, Unwrap, Derive],
        [common::OBJECT, common::STORAGE, common::PRIVATE_BY_DEFAULT, key::KEY, lifecycle::LIFE, key::PRIVATE],
        [Rule::Implies(CKA_ALWAYS_AUTHENTICATE, CKA_PRIVATE)];
    CKO_SECRET_KEY, Some(CKA_KEY_TYPE), [Create, Generate, Unwrap, Derive],
        [common::OBJECT, common::STORAGE, common::PRIVATE_BY_DEFAULT, key::KEY, lifecycle::LIFE, key::SECRET], [];
    CKO_HW_FEATURE, Some(CKA_HW_FEATURE_TYPE), [Token], [common::OBJECT, common::BUILT_IN, other::FEATURE], [];
    CKO_DOMAIN_PARAMETERS, Some(CKA_KEY_TYPE), [Create, Generate], [common::OBJECT, common::STORAGE, key::DOMAIN], [];
    CKO_MECHANISM, None, [Token], [common::OBJECT, common::BUILT_IN, other::MECHANISM], [];
    CKO_OTP_KEY, Some(CKA_KEY_TYPE), [Create, Generate, Unwrap, Derive],
        [common::OBJECT, common::STORAGE, common::PRIVATE_BY_DEFAULT, key::KEY, lifecycle::LIFE, key::SECRET, secret::OTP], [];
    CKO_PROFILE, None, [Token], [common::OBJECT, common::BUILT_IN, other::PROFILE], [];
    CKO_KEYWARD_POLICY, None, [Token], [common::OBJECT, common::BUILT_IN, lifecycle::POLICY], [];
    CKO_VALIDATION, None, [Token], [common::OBJECT, common::BUILT_IN, other::VALIDATION], [];
    CKO_TRUST, None, [Create], [common::OBJECT, common::STORAGE, other::TRUST],
        [Rule::When {
            of: other::TRUST_PURPOSES,
            is: &[1, 2, 4],
            needs: &[CKA_HASH_OF_CERTIFICATE, CKA_NAME_HASH_ALGORITHM],
        }];
};

type PerClass = &'static [InClass];

macro_rules! subtypes {
    ($($name:ident, [$($use:ident),*], $classes:expr;)*) => {
        &[$(Subtype { value: $name, name: stringify!($name), uses: &[$($use),*], classes: $classes }),*]
    };
}

macro_rules! pair {
    ($public:expr, $private:expr) => {
        pair!($public, $private, [])
    };
    ($public:expr, $private:expr, $rules:expr) => {
        &[(CKO_PUBLIC_KEY, &[$public], &[]), (CKO_PRIVATE_KEY, &[$private], &$rules)]
    };
}

macro_rules! pair_and_domain {
    ($public:expr, $private:expr, $domain:expr) => {
        &[
            (CKO_PUBLIC_KEY, &[$public], &[]),
            (CKO_PRIVATE_KEY, &[$private], &[]),
            (CKO_DOMAIN_PARAMETERS, &[$domain], &[]),
        ]
    };
}

const fn secret_key(rows: &'static [&'static [Row]; 1]) -> [InClass; 1] {
    [(CKO_SECRET_KEY, rows, &[])]
}

const ANY_LENGTH: PerClass = &secret_key(&[secret::ANY_LENGTH]);
const EXACTLY_32: PerClass = &secret_key(&[secret::EXACTLY_32]);
const EC: PerClass = pair!(pair::EC_PUBLIC, pair::EC_PRIVATE);
const XMSS: PerClass =
    &[(CKO_PUBLIC_KEY, &[pqc::XMSS_PUBLIC], &[]), (CKO_PRIVATE_KEY, &[key::STATEFUL, pqc::XMSS_PRIVATE], &[])];
const HSS: PerClass = &[
    (CKO_PUBLIC_KEY, &[pqc::HSS_PUBLIC], &[]),
    (
        CKO_PRIVATE_KEY,
        &[key::STATEFUL, pqc::HSS_PRIVATE],
        &[Rule::Count(CKA_HSS_LMS_TYPES, CKA_HSS_LEVELS), Rule::Count(CKA_HSS_LMOTS_TYPES, CKA_HSS_LEVELS)],
    ),
];
const SEED_OR_VALUE: Rule = Rule::AnyOf(&[CKA_SEED, CKA_VALUE]);

/// Key types. The uses are those that a mechanism of the type has; `CKA_DERIVE` is among them only where nothing else
/// is.
pub static KEY_TYPES: &[Subtype] = subtypes! {
    CKK_RSA, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_SIGN_RECOVER, CKA_VERIFY_RECOVER, CKA_WRAP, CKA_UNWRAP],
        pair!(pair::RSA_PUBLIC, pair::RSA_PRIVATE);
    CKK_DSA, [CKA_SIGN, CKA_VERIFY],
        pair_and_domain!(pair::SUBGROUP_PUBLIC, pair::SUBGROUP_PRIVATE, pair::DSA_DOMAIN);
    CKK_DH, [CKA_DERIVE], pair_and_domain!(pair::DH_PUBLIC, pair::DH_PRIVATE, pair::DH_DOMAIN);
    CKK_X9_42_DH, [CKA_DERIVE], pair_and_domain!(pair::SUBGROUP_PUBLIC, pair::SUBGROUP_PRIVATE, pair::X9_42_DOMAIN);
    CKK_EC, [CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], EC;
    CKK_EC_EDWARDS, [CKA_SIGN, CKA_VERIFY], EC;
    CKK_EC_MONTGOMERY, [CKA_DERIVE, CKA_WRAP, CKA_UNWRAP], EC;
    CKK_ML_KEM, [CKA_ENCAPSULATE, CKA_DECAPSULATE], pair!(pqc::ML_KEM_PUBLIC, pqc::ML_KEM_PRIVATE, [SEED_OR_VALUE]);
    CKK_ML_DSA, [CKA_SIGN, CKA_VERIFY], pair!(pqc::ML_DSA_PUBLIC, pqc::ML_DSA_PRIVATE, [SEED_OR_VALUE]);
    CKK_SLH_DSA, [CKA_SIGN, CKA_VERIFY], pair!(pqc::SLH_DSA_PUBLIC, pqc::SLH_DSA_PRIVATE);
    CKK_HSS, [CKA_SIGN, CKA_VERIFY], HSS;
    CKK_XMSS, [CKA_SIGN, CKA_VERIFY], XMSS;
    CKK_XMSSMT, [CKA_SIGN, CKA_VERIFY], XMSS;
    CKK_GENERIC_SECRET, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_HKDF, [CKA_DERIVE], ANY_LENGTH;
    CKK_AES, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::AES]);
    CKK_AES_XTS, [CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::AES_XTS]);
    CKK_DES, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::DES]);
    CKK_DES2, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::DES2]);
    CKK_DES3, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::DES3]);
    CKK_CAMELLIA, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::CAMELLIA]);
    CKK_ARIA, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::ARIA]);
    CKK_SEED, [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP], &secret_key(&[secret::SEED]);
    CKK_CHACHA20, [CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP], EXACTLY_32;
    CKK_SALSA20, [CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP], EXACTLY_32;
    CKK_POLY1305, [CKA_SIGN, CKA_VERIFY], EXACTLY_32;
    CKK_MD5_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA_1_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_RIPEMD128_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_RIPEMD160_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA224_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA256_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA384_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA512_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA512_224_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA512_256_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA512_T_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA3_224_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA3_256_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA3_384_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_SHA3_512_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_BLAKE2B_160_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_BLAKE2B_256_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_BLAKE2B_384_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_BLAKE2B_512_HMAC, [CKA_SIGN, CKA_VERIFY], ANY_LENGTH;
    CKK_HOTP, [CKA_SIGN, CKA_VERIFY], &[(CKO_OTP_KEY, &[secret::HOTP], &[])];
    CKK_SECURID, [CKA_SIGN, CKA_VERIFY], &[(CKO_OTP_KEY, &[secret::SECURID], &[])];
    CKK_ACTI, [CKA_SIGN, CKA_VERIFY], &[(CKO_OTP_KEY, &[], &[])];
};

/// A certificate is there or to be had by its URL, and then the hashes say which it is (4.6).
const BY_URL: &[Rule] = &[
    Rule::AnyOf(&[CKA_VALUE, CKA_URL]),
    Rule::Calls(CKA_URL, &[CKA_HASH_OF_SUBJECT_PUBLIC_KEY, CKA_HASH_OF_ISSUER_PUBLIC_KEY]),
];

pub static CERTIFICATE_TYPES: &[Subtype] = subtypes! {
    CKC_X_509, [], &[(CKO_CERTIFICATE, certificate::X_509, BY_URL)];
    CKC_X_509_ATTR_CERT, [], &[(CKO_CERTIFICATE, certificate::X_509_ATTRIBUTE, &[])];
    CKC_WTLS, [], &[(CKO_CERTIFICATE, certificate::WTLS, BY_URL)];
};

pub static FEATURES: &[Subtype] = subtypes! {
    CKH_MONOTONIC_COUNTER, [], &[(CKO_HW_FEATURE, &[other::COUNTER], &[])];
    CKH_CLOCK, [], &[(CKO_HW_FEATURE, &[other::CLOCK], &[])];
    CKH_USER_INTERFACE, [], &[(CKO_HW_FEATURE, &[other::USER_INTERFACE], &[])];
};

/// The types that an attribute of this kind divides its class by.
pub fn subtypes(attribute: CK_ATTRIBUTE_TYPE) -> &'static [Subtype] {
    match attribute {
        CKA_KEY_TYPE => KEY_TYPES,
        CKA_CERTIFICATE_TYPE => CERTIFICATE_TYPES,
        CKA_HW_FEATURE_TYPE => FEATURES,
        _ => &[],
    }
}

/// A class and a type, with all their rows.
#[derive(Debug)]
pub struct Schema {
    pub class: &'static Class,
    pub subtype: Option<&'static Subtype>,
    /// Sorted by type.
    rows: Vec<&'static Row>,
    rules: Vec<Rule>,
}

impl Schema {
    /// The schema of a class and, where the class is divided, a type.
    pub fn find(class: CK_OBJECT_CLASS, subtype: Option<CK_ULONG>) -> Option<&'static Schema> {
        // Sorted: every reading of an attribute asks, and some steps of a search cost less than a hash that resists attack.
        static ALL: Lazy<Vec<Schema>> = Lazy::new(|| {
            let whole = CLASSES.iter().filter(|c| c.subtype.is_none()).map(|c| Schema::compose(c, None));
            let mut all: Vec<Schema> = whole.chain(divided()).collect();
            all.sort_by_key(Schema::key);
            all
        });
        let at = ALL.binary_search_by_key(&(class, subtype), Schema::key).ok()?;
        ALL.get(at)
    }

    fn key(&self) -> (CK_OBJECT_CLASS, Option<CK_ULONG>) {
        (self.class.class, self.subtype.map(|subtype| subtype.value))
    }

    /// That of an object; `None` where its class or type is none of ours.
    pub fn of(object: &Attributes) -> Option<&'static Schema> {
        let class = class_row(object.ulong(CKA_CLASS)?)?;
        match class.subtype {
            None => Schema::find(class.class, None),
            Some(attribute) => Schema::find(class.class, Some(object.ulong(attribute)?)),
        }
    }

    pub fn row(&self, ty: CK_ATTRIBUTE_TYPE) -> Option<&'static Row> {
        let at = self.rows.binary_search_by_key(&ty, |row| row.ty).ok()?;
        self.rows.get(at).copied()
    }

    pub fn rows(&self) -> impl Iterator<Item = &'static Row> + '_ {
        self.rows.iter().copied()
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether the type is made for the use that this attribute grants.
    pub fn made_for(&self, usage: CK_ATTRIBUTE_TYPE) -> bool {
        self.subtype.is_some_and(|t| t.uses.contains(&usage))
    }

    fn compose(class: &'static Class, added: Option<&'static Subtype>) -> Schema {
        let (further, rules): (&[&[Row]], &[Rule]) = added
            .and_then(|t| t.classes.iter().find(|(of, _, _)| *of == class.class))
            .map_or((&[], &[]), |(_, rows, rules)| (*rows, *rules));
        let mut rows: Vec<&'static Row> = Vec::new();
        for row in class.rows.iter().chain(further).flat_map(|rows| rows.iter()) {
            match rows.iter_mut().find(|earlier| earlier.ty == row.ty) {
                Some(earlier) => *earlier = row,
                None => rows.push(row),
            }
        }
        rows.sort_unstable_by_key(|row| row.ty);
        Schema { class, subtype: added, rows, rules: class.rules.iter().chain(rules).copied().collect() }
    }
}

fn divided() -> impl Iterator<Item = Schema> {
    CLASSES.iter().flat_map(|class| {
        let types = class.subtype.map_or(&[][..], subtypes).iter();
        types.filter(|t| t.classes.iter().any(|(of, _, _)| *of == class.class)).map(|t| Schema::compose(class, Some(t)))
    })
}

pub fn class_row(class: CK_OBJECT_CLASS) -> Option<&'static Class> {
    CLASSES.iter().find(|row| row.class == class)
}

/// Every row of every class, and the named ones that none has. An attribute may come several times.
pub fn all_rows() -> impl Iterator<Item = &'static Row> {
    let classes = CLASSES.iter().flat_map(|class| class.rows.iter().copied());
    let types = [KEY_TYPES, CERTIFICATE_TYPES, FEATURES].into_iter().flatten();
    let further = types.flat_map(|t| t.classes.iter()).flat_map(|(_, rows, _)| rows.iter().copied());
    classes.chain(further).chain([named::NAMED]).flatten()
}

/// A row of that attribute, of whichever class has it; good for its name and its shape.
pub fn any_row(ty: CK_ATTRIBUTE_TYPE) -> Option<&'static Row> {
    static BY_TYPE: Lazy<HashMap<CK_ATTRIBUTE_TYPE, &'static Row>> =
        Lazy::new(|| all_rows().map(|row| (row.ty, row)).collect());
    BY_TYPE.get(&ty).copied()
}
