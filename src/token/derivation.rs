//! Parameters of key derivations, and of the MACs that come with them.

use cryptoki_sys::*;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::{Attribute, Bytes, ObjectId, Params};

/// Secret bytes among parameters: wiped on drop, not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// `CK_HKDF_PARAMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HkdfParams {
    pub extract: bool,
    pub expand: bool,
    pub hash: CK_MECHANISM_TYPE,
    pub salt: HkdfSalt,
    pub info: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HkdfSalt {
    None,
    Data(Bytes),
    Key(ObjectId),
}

/// `CK_PKCS5_PBKD2_PARAMS2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pbkdf2Params {
    pub salt: Bytes,
    pub iterations: u64,
    /// `CKP_PKCS5_PBKD2_HMAC_`.
    pub prf: CK_PKCS5_PBKD2_PSEUDO_RANDOM_FUNCTION_TYPE,
    pub password: Hidden,
}

/// `CK_SP800_108_KDF_PARAMS` and `CK_SP800_108_FEEDBACK_KDF_PARAMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KbkdfParams {
    pub prf: CK_MECHANISM_TYPE,
    pub fields: Vec<KbkdfField>,
    /// Of the feedback mode; empty in the others.
    pub iv: Bytes,
    /// The templates of the additional derived keys.
    pub further: Vec<Vec<Attribute>>,
}

/// `CK_PRF_DATA_PARAM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KbkdfField {
    /// A counter in the counter mode alone.
    Iteration(Option<NumberFormat>),
    Counter(NumberFormat),
    /// The length in bits of the keys, or of the segments that they are cut from.
    Length {
        of_segments: bool,
        format: NumberFormat,
    },
    Bytes(Bytes),
    Key(ObjectId),
}

/// `CK_SP800_108_COUNTER_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    pub little_endian: bool,
    pub bits: u64,
}

/// `CK_SSL3_RANDOM_DATA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRandoms {
    pub client: Bytes,
    pub server: Bytes,
}

/// `CK_TLS12_MASTER_KEY_DERIVE_PARAMS` and `CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsMasterParams {
    pub hash: CK_MECHANISM_TYPE,
    pub seed: TlsSeed,
    /// The caller has a place for the client's version.
    pub wants_version: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSeed {
    Randoms(TlsRandoms),
    SessionHash(Bytes),
}

/// `CK_TLS12_KEY_MAT_PARAMS`; sizes in bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsKeyMaterialParams {
    pub mac_bits: u64,
    pub key_bits: u64,
    pub iv_bits: u64,
    pub export: bool,
    pub randoms: TlsRandoms,
    pub hash: CK_MECHANISM_TYPE,
}

/// `CK_TLS_KDF_PARAMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsKdfParams {
    /// A hash, or `CKM_TLS_PRF` for that of TLS 1.0 and 1.1.
    pub prf: CK_MECHANISM_TYPE,
    pub label: Bytes,
    pub randoms: TlsRandoms,
    /// RFC 5705 tells no context from an empty one.
    pub context: Option<Bytes>,
}

/// `CK_TLS_MAC_PARAMS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsMacParams {
    /// A hash, or `CKM_TLS_PRF` for that of TLS 1.0 and 1.1.
    pub prf: CK_MECHANISM_TYPE,
    /// In bytes.
    pub length: u64,
    /// 1: server, 2: client.
    pub sender: u64,
}

/// `CK_IKE_PRF_DERIVE_PARAMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkePrfParams {
    pub prf: CK_MECHANISM_TYPE,
    pub data_as_key: bool,
    /// There for a rekeying.
    pub new_key: Option<ObjectId>,
    pub initiator: Bytes,
    pub responder: Bytes,
}

/// `CK_IKE1_PRF_DERIVE_PARAMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ike1PrfParams {
    pub prf: CK_MECHANISM_TYPE,
    pub shared: ObjectId,
    pub previous: Option<ObjectId>,
    pub initiator: Bytes,
    pub responder: Bytes,
    pub number: u8,
}

/// `CK_IKE1_EXTENDED_DERIVE_PARAMS` and `CK_IKE2_PRF_PLUS_DERIVE_PARAMS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeExpandParams {
    pub prf: CK_MECHANISM_TYPE,
    pub key: Option<ObjectId>,
    pub data: Bytes,
}

impl Params {
    /// The keys among the parameters, in their order there.
    pub fn objects(&self) -> SmallVec<[ObjectId; 2]> {
        match self {
            Params::Object(id) => std::iter::once(*id).collect(),
            Params::Hkdf(params) => match params.salt {
                HkdfSalt::Key(id) if params.extract => std::iter::once(id).collect(),
                _ => SmallVec::new(),
            },
            Params::Kbkdf(params) => {
                let key = |field: &KbkdfField| if let KbkdfField::Key(id) = field { Some(*id) } else { None };
                params.fields.iter().filter_map(key).collect()
            }
            Params::IkePrf(params) => params.new_key.into_iter().collect(),
            Params::Ike1Prf(params) => std::iter::once(params.shared).chain(params.previous).collect(),
            Params::IkeExpand(params) => params.key.into_iter().collect(),
            _ => SmallVec::new(),
        }
    }

    /// Puts other numbers in the place of the keys', in their order there.
    pub fn map_objects<E>(&mut self, mut map: impl FnMut(&mut ObjectId) -> Result<(), E>) -> Result<(), E> {
        match self {
            Params::Object(id) => map(id),
            Params::Hkdf(params) => match &mut params.salt {
                HkdfSalt::Key(id) => map(id),
                _ => Ok(()),
            },
            Params::Kbkdf(params) => params.fields.iter_mut().try_for_each(|field| match field {
                KbkdfField::Key(id) => map(id),
                _ => Ok(()),
            }),
            Params::IkePrf(params) => params.new_key.iter_mut().try_for_each(map),
            Params::Ike1Prf(params) => {
                map(&mut params.shared)?;
                params.previous.iter_mut().try_for_each(map)
            }
            Params::IkeExpand(params) => params.key.iter_mut().try_for_each(map),
            _ => Ok(()),
        }
    }

    /// The templates among the parameters: of keys that are made beside the one that the call is for.
    pub fn templates(&self) -> &[Vec<Attribute>] {
        match self {
            Params::Kbkdf(params) => &params.further,
            _ => &[],
        }
    }
}
