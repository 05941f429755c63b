//! One row per mechanism: `C_GetMechanismList`, `C_GetMechanismInfo`, every `*Init` check, the program, the docs and the
//! policy read it.

use std::sync::Arc;

use cryptoki_sys::*;

use super::key::Key;
use super::plan;
pub use super::plan::{Base, MakePlan};
use crate::config::Mechanisms;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::object::build::Heritage;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Operation, Params, Use};

/// Which `CK_*_PARAMS` a mechanism takes: `abi/params.rs` decodes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// No parameter; a non-empty one is `CKR_MECHANISM_PARAM_INVALID`.
    None,
    /// An IV or nonce of exactly this many bytes.
    Iv(usize),
    /// An IV of this many bytes, or no parameter: the standard's default value.
    OptionalIv(usize),
    Ctr,
    Gcm,
    /// `CK_CCM_PARAMS` or `CK_CCM_WRAP_PARAMS`.
    Ccm,
    ChaCha20,
    Salsa20,
    SalsaAead,
    MacLength,
    Pss,
    Oaep,
    Ecdh,
    /// `CK_EDDSA_PARAMS`, or none.
    Eddsa,
    /// `CK_SIGN_ADDITIONAL_CONTEXT`, or none.
    SignContext,
    /// `CK_HASH_SIGN_ADDITIONAL_CONTEXT`: the hash is a parameter.
    HashSignContext,
    RsaAesWrap,
    EcdhAesWrap,
    Object,
    Data,
    /// `CK_AES_CBC_ENCRYPT_DATA_PARAMS` and its kin, with an IV of so many bytes.
    CbcData(usize),
    Number,
    /// A bare number of any length, most significant byte first: the other party's public value.
    Integer,
    Hkdf,
    /// `CK_PKCS5_PBKD2_PARAMS2`, or its predecessor.
    Pbkdf2,
    /// `CK_SP800_108_KDF_PARAMS`.
    Kbkdf,
    /// `CK_SP800_108_FEEDBACK_KDF_PARAMS`.
    FeedbackKbkdf,
    /// `CK_TLS12_MASTER_KEY_DERIVE_PARAMS`.
    TlsMaster,
    /// `CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS`.
    TlsExtendedMaster,
    TlsKeyMaterial,
    TlsKdf,
    TlsMac,
    IkePrf,
    Ike1Prf,
    /// `CK_IKE1_EXTENDED_DERIVE_PARAMS`.
    Ike1Extended,
    /// `CK_IKE2_PRF_PLUS_DERIVE_PARAMS`.
    Ike2PrfPlus,
    /// `CK_OTP_PARAMS`.
    Otp,
}

/// Whether a mechanism is offered without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    On,
    /// Compiled in; off unless the configuration asks for it.
    Legacy,
}

/// Generates, derives, begins: what a row can do. Wrapping is `begin(Use::Encrypt)` in one call, unwrapping
/// `begin(Use::Decrypt)`, whether or not the row also offers encryption to applications.
pub struct Does {
    pub begin: Option<Begin>,
    /// Signs so instead, where each signature takes something of the key away for good.
    pub spend: Option<Spending>,
    /// To a multiple of how many bytes `C_WrapKey` fills up with zeros what it wraps; 1 where the mechanism takes any
    /// length. (As a cipher, such a mechanism refuses other lengths.)
    pub wrap_multiple: usize,
    /// The key's own attributes (`CKA_VALUE`, ...); the template says the length and parameters wanted.
    pub generate: Option<Generate>,
    /// Those of the public key and of the private key.
    pub generate_pair: Option<GeneratePair>,
    /// Class of what `generate` makes.
    pub generates: CK_OBJECT_CLASS,
    /// Most derivations: the value of one object.
    pub derive: Option<Derive>,
    /// Derivations that make several objects, other attributes than the value, or bytes for the parameters.
    pub derive_all: Option<DeriveAll>,
    /// What a derivation starts from, and what it is to make.
    pub base: Base,
    pub plan: MakePlan,
    /// What a derived key takes over from its base keys.
    pub heritage: fn(&[&Attributes]) -> Heritage,
    pub kem: Option<Kem>,
    /// The key that comes of a `kem`'s shared secret, where its length in bytes is said.
    pub shared: Shared,
}

/// Signing with a key that is used up by it. [`Row::does`]'s `begin` only verifies then.
pub struct Spending {
    /// Length of the signature in bytes. `CKR_MECHANISM_PARAM_INVALID`.
    pub size: fn(&'static Row, &Params, &Attributes) -> Result<usize>,
    /// Prepares the signature of a message, from the key's attributes as they now are, secret ones too.
    pub spend: fn(&'static Row, &Params, &Attributes, &[u8]) -> Result<Spent>,
}

/// A signature to come.
pub struct Spent {
    /// What must be durable in the key, and seen by every other process, before `produce` is called. Empty: nothing changes.
    pub attributes: Vec<Attribute>,
    /// Signs the message, which is the same again.
    pub produce: Produce,
}

pub type Produce = Box<dyn FnOnce(&[u8]) -> Result<Vec<u8>> + Send>;

/// A key encapsulation mechanism.
pub struct Kem {
    /// Length of the ciphertext for this public key.
    pub ciphertext_len: fn(&Key) -> Result<usize>,
    /// Ciphertext and shared secret, as [`Does::shared`] takes it.
    pub encapsulate: Encapsulate,
    pub decapsulate: Decapsulate,
}

pub type Begin = fn(&'static Row, Use, &Params, Option<&Arc<Key>>) -> Result<Box<dyn Operation>>;
pub type Generate = fn(&'static Row, &Params, &Attributes) -> Result<Vec<Attribute>>;
pub type GeneratePair = fn(&'static Row, &Params, &Attributes, &Attributes) -> Result<Pair>;
pub type Encapsulate = fn(&Params, &Key) -> Result<(Vec<u8>, SecretBytes)>;
pub type Decapsulate = fn(&Params, &Key, &[u8]) -> Result<SecretBytes>;
pub type Derive = fn(&Derivation<'_>) -> Result<SecretBytes>;
pub type Shared = fn(&Params, SecretBytes, Option<usize>) -> Result<SecretBytes>;
pub type DeriveAll = fn(&Derivation<'_>) -> Result<Made>;

/// The rule of most derivations; the simple ones (concatenate, XOR, extract) have [`Heritage::bound`].
fn history(bases: &[&Attributes]) -> Heritage {
    bases.first().map_or(Heritage::bound(&[]), |base| Heritage::history(base))
}

/// Of a shared secret the leading bytes; `CKR_KEY_SIZE_RANGE` where it has fewer.
fn leading_bytes(_: &Params, secret: SecretBytes, length: Option<usize>) -> Result<SecretBytes> {
    super::generic::leading(secret.expose(), length)
}

pub const NOTHING: Does = Does {
    begin: None,
    spend: None,
    wrap_multiple: 1,
    generate: None,
    generate_pair: None,
    generates: CKO_SECRET_KEY,
    derive: None,
    derive_all: None,
    base: Base::Key,
    plan: plan::one_secret,
    heritage: history,
    kem: None,
    shared: leading_bytes,
};

impl Does {
    /// Derives. `CKR_MECHANISM_INVALID` where the row cannot, and the codes of the row's own function.
    pub fn derived(&self, from: &Derivation<'_>) -> Result<Made> {
        match (self.derive_all, self.derive) {
            (Some(derive), _) => derive(from),
            (None, Some(derive)) => derive(from).map(Made::from),
            (None, None) => Err(Code::MechanismInvalid.into()),
        }
    }
}

pub struct Pair {
    pub public: Vec<Attribute>,
    pub private: Vec<Attribute>,
}

/// What a derivation works from.
pub struct Derivation<'a> {
    pub row: &'static Row,
    pub params: &'a Params,
    pub base: &'a Arc<Key>,
    /// Every attribute of the base key, secret ones too.
    pub attributes: &'a dyn Fn() -> Result<Attributes>,
    /// The keys that [`Params::objects`] names, in that order.
    pub others: &'a [Arc<Key>],
    /// Length in bytes of the key wanted, where the template or its key type says it; the row's own rule otherwise.
    pub length: Option<usize>,
    /// The same of each further key of the plan.
    pub further: &'a [Option<usize>],
}

impl<'a> Derivation<'a> {
    /// From one key alone to one key.
    pub fn new(row: &'static Row, params: &'a Params, base: &'a Arc<Key>, length: Option<usize>) -> Derivation<'a> {
        let attributes = &|| Err(Code::GeneralError.into());
        Derivation { row, params, base, attributes, others: &[], length, further: &[] }
    }
}

/// What a derivation made.
pub struct Made {
    /// Each object's own attributes, in the plan's order: the key before the further ones.
    pub objects: Vec<Vec<Attribute>>,
    /// Bytes that go back into the parameters, in the order of the parameters.
    pub bytes: Vec<Vec<u8>>,
}

impl Made {
    /// Secret keys of these values.
    pub fn values(values: impl IntoIterator<Item = SecretBytes>) -> Made {
        let object = |value: SecretBytes| vec![Attribute::bytes(CKA_VALUE, value.expose())];
        Made { objects: values.into_iter().map(object).collect(), bytes: Vec::new() }
    }
}

impl From<SecretBytes> for Made {
    fn from(value: SecretBytes) -> Made {
        Made::values([value])
    }
}

/// A mechanism.
pub struct Row {
    pub ty: CK_MECHANISM_TYPE,
    /// As in the specification: `CKM_AES_CBC`.
    pub name: &'static str,
    /// Key types (`CKK_`) that it works on, generates, or derives from; empty for digests.
    pub keys: &'static [CK_KEY_TYPE],
    /// `ulMinKeySize`, `ulMaxKeySize`, in the unit that the specification gives for the mechanism.
    pub size: (u64, u64),
    /// `CKF_` of `CK_MECHANISM_INFO`: uses, and the EC flags.
    pub flags: CK_FLAGS,
    pub params: ParamKind,
    pub offer: Offer,
    /// Approved by FIPS 140-3 (SP 800-140C/D), under the conditions of `mechanism::approved`.
    pub approved: bool,
    /// `CKM_` of the digest in a hash-then-sign, HMAC or KDF row.
    pub hash: Option<CK_MECHANISM_TYPE>,
    pub does: Does,
}

impl Row {
    /// Whether this row's flags allow `what`.
    pub fn allows(&self, what: Use) -> bool {
        self.offers() & flag_of(what) != 0
    }

    /// `CKF_` of `CK_MECHANISM_INFO`, with those that follow from others: what signs, signs messages too, but where the
    /// init brings the IV, which would then be the same for all of them, or where each signature uses the key up.
    pub fn offers(&self) -> CK_FLAGS {
        let mut flags = self.flags;
        if self.does.spend.is_none() && self.params != ParamKind::Gcm {
            for (one, messages) in [(CKF_SIGN, CKF_MESSAGE_SIGN), (CKF_VERIFY, CKF_MESSAGE_VERIFY)] {
                flags |= if self.flags & one != 0 { messages } else { 0 };
            }
        }
        let signs = flags & (CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY) != 0;
        flags | if signs && self.signs_in_parts() { CKF_MULTI_MESSAGE } else { 0 }
    }

    /// Key pairs without a hash take the message whole, but for those that hash it themselves; MACs take it in parts.
    fn signs_in_parts(&self) -> bool {
        const PAIRS: &[CK_KEY_TYPE] = &[CKK_RSA, CKK_DSA, CKK_EC, CKK_HSS, CKK_XMSS, CKK_XMSSMT];
        self.hash.is_some() || !self.keys.iter().any(|key| PAIRS.contains(key))
    }
}

/// `CKF_` of `CK_MECHANISM_INFO` for a use; 0 where there is none.
pub const fn flag_of(what: Use) -> CK_FLAGS {
    match what {
        Use::Encrypt => CKF_ENCRYPT,
        Use::Decrypt => CKF_DECRYPT,
        Use::Digest => CKF_DIGEST,
        Use::Sign => CKF_SIGN,
        Use::SignRecover => CKF_SIGN_RECOVER,
        Use::Verify | Use::VerifySignature => CKF_VERIFY,
        Use::VerifyRecover => CKF_VERIFY_RECOVER,
        Use::MessageEncrypt => CKF_MESSAGE_ENCRYPT,
        Use::MessageDecrypt => CKF_MESSAGE_DECRYPT,
        Use::MessageSign => CKF_MESSAGE_SIGN,
        Use::MessageVerify => CKF_MESSAGE_VERIFY,
        Use::Random => 0,
    }
}

/// The families' rows; the order is that of `C_GetMechanismList`.
const FAMILIES: &[&[Row]] = &[
    super::rsa::ROWS,
    super::ec::ROWS,
    super::ecdsa::ROWS,
    super::ec_wrap::ROWS,
    super::dh::ROWS,
    super::dsa::ROWS,
    super::pqc::ROWS,
    super::trees::ROWS,
    super::aes::ROWS,
    super::cipher::ROWS,
    super::salsa::ROWS,
    super::digest::ROWS,
    super::mac::ROWS,
    super::kdf::ROWS,
    super::kdf::hkdf::ROWS,
    super::kdf::pbkdf2::ROWS,
    super::kdf::sp800_108::ROWS,
    super::kdf::tls::ROWS,
    super::kdf::ike::ROWS,
    super::kdf::public_key::ROWS,
    super::generic::ROWS,
    super::otp::ROWS,
    // Last: clients that take the first mechanism for a use must not meet the one that does nothing.
    super::null::ROWS,
];

/// Every row, legacy ones too.
pub fn all() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().flat_map(|rows| rows.iter())
}

/// The row of `ty`; `CKR_MECHANISM_INVALID`.
pub fn row(ty: CK_MECHANISM_TYPE) -> Result<&'static Row> {
    static BY_TYPE: once_cell::sync::Lazy<crate::numbers::NumberMap<CK_MECHANISM_TYPE, &'static Row>> =
        once_cell::sync::Lazy::new(|| all().map(|row| (row.ty, row)).collect());
    Ok(BY_TYPE.get(&ty).copied().ok_or(Code::MechanismInvalid)?)
}

/// The rows that a configuration offers, in the table's order. A name of no mechanism is an error that says so.
pub fn enabled(choice: &Mechanisms) -> Result<Vec<&'static Row>> {
    let modern = |row: &&'static Row| row.offer == Offer::On;
    Ok(match choice {
        Mechanisms::All => all().collect(),
        Mechanisms::Approved => all().filter(|row| row.approved).collect(),
        Mechanisms::Modern => all().filter(modern).collect(),
        Mechanisms::Only(names) => {
            let named = named(names)?;
            all().filter(|row| named.contains(&row.ty)).collect()
        }
        Mechanisms::Without(names) => {
            let named = named(names)?;
            all().filter(modern).filter(|row| !named.contains(&row.ty)).collect()
        }
    })
}

/// The row of a name, with or without `CKM_`, in any case.
pub fn by_name(name: &str) -> Option<&'static Row> {
    let bare = |name: &str| name.trim().to_ascii_uppercase().trim_start_matches("CKM_").to_owned();
    all().find(|row| bare(row.name) == bare(name))
}

fn named(names: &[String]) -> Result<Vec<CK_MECHANISM_TYPE>> {
    let find = |name: &String| match by_name(name) {
        Some(row) => Ok(row.ty),
        None => Err(Code::FunctionFailed.because(format!(
            "the configuration's `mechanisms` names {name:?}, which is no mechanism of this build; \
             `keyward mechanisms --all` lists them"
        ))),
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_stands_once_and_names_itself() {
        let mut seen = std::collections::HashSet::new();
        for row in all() {
            assert!(seen.insert(row.ty), "{} stands twice", row.name);
            assert!(by_name(row.name.trim_start_matches("CKM_")).is_some_and(|found| found.ty == row.ty));
            assert!(row.size.0 <= row.size.1, "{}", row.name);
        }
    }

    #[test]
    fn a_name_of_no_mechanism_is_refused() {
        let error = enabled(&Mechanisms::Only(vec!["CKM_ROT13".into()])).err().map(|e| e.to_string());
        assert!(error.is_some_and(|text| text.contains("ROT13")));
    }
}
