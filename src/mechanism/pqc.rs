//! ML-KEM, ML-DSA and SLH-DSA (PKCS#11 3.2: ML-KEM, ML-DSA, SLH-DSA).

use std::sync::Arc;

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::digest::of_hash;
use super::key::Key;
use super::pqc_attributes::{private_attributes, public_attributes, set_of};
use super::table::{Does, Kem, NOTHING, Offer, Pair, ParamKind, Row};
use crate::crypto::ml_dsa::Mu;
use crate::crypto::pqc::Hedge;
use crate::crypto::prehash::{Prefix, Prehash, PrehashHasher};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::secret::SecretBytes;
use crate::token::{Operation, Params, Size, Step, Use};

/// What the rows of a key type share: the sizes are those of its public keys, in bytes.
const ML_KEM: Row = row(&[CKK_ML_KEM], (800, 1568));
const ML_DSA: Row = row(&[CKK_ML_DSA], (1312, 2592));
const SLH_DSA: Row = row(&[CKK_SLH_DSA], (32, 64));

const fn row(keys: &'static [CK_KEY_TYPE], size: (u64, u64)) -> Row {
    Row {
        ty: 0,
        name: "",
        keys,
        size,
        flags: 0,
        params: ParamKind::None,
        offer: Offer::On,
        approved: true,
        hash: None,
        does: NOTHING,
    }
}

macro_rules! rows {
    ($($family:ident: $generate:ident, $($pure:ident, $given:ident, $($hashed:ident = $hash:ident,)*)?;)*) => {
        pub const ROWS: &[Row] = &[
            Row { ty: CKM_ML_KEM, name: "CKM_ML_KEM", ..ENCAPSULATES },
            $(
                Row { ty: $generate, name: stringify!($generate), ..generates($family) },
                $(
                    Row { ty: $pure, name: stringify!($pure), ..signs($family, ParamKind::SignContext, None) },
                    Row { ty: $given, name: stringify!($given), ..signs($family, ParamKind::HashSignContext, None) },
                    $(Row {
                        ty: $hashed,
                        name: stringify!($hashed),
                        ..signs($family, ParamKind::SignContext, Some($hash))
                    },)*
                )?
            )*
        ];
    };
}

rows! {
    ML_KEM: CKM_ML_KEM_KEY_PAIR_GEN,;
    ML_DSA: CKM_ML_DSA_KEY_PAIR_GEN,
        CKM_ML_DSA,
        CKM_HASH_ML_DSA,
        CKM_HASH_ML_DSA_SHA224 = CKM_SHA224,
        CKM_HASH_ML_DSA_SHA256 = CKM_SHA256,
        CKM_HASH_ML_DSA_SHA384 = CKM_SHA384,
        CKM_HASH_ML_DSA_SHA512 = CKM_SHA512,
        CKM_HASH_ML_DSA_SHA3_224 = CKM_SHA3_224,
        CKM_HASH_ML_DSA_SHA3_256 = CKM_SHA3_256,
        CKM_HASH_ML_DSA_SHA3_384 = CKM_SHA3_384,
        CKM_HASH_ML_DSA_SHA3_512 = CKM_SHA3_512,
        CKM_HASH_ML_DSA_SHAKE128 = CKM_SHAKE_128_KEY_DERIVATION,
        CKM_HASH_ML_DSA_SHAKE256 = CKM_SHAKE_256_KEY_DERIVATION,;
    SLH_DSA: CKM_SLH_DSA_KEY_PAIR_GEN,
        CKM_SLH_DSA,
        CKM_HASH_SLH_DSA,
        CKM_HASH_SLH_DSA_SHA224 = CKM_SHA224,
        CKM_HASH_SLH_DSA_SHA256 = CKM_SHA256,
        CKM_HASH_SLH_DSA_SHA384 = CKM_SHA384,
        CKM_HASH_SLH_DSA_SHA512 = CKM_SHA512,
        CKM_HASH_SLH_DSA_SHA3_224 = CKM_SHA3_224,
        CKM_HASH_SLH_DSA_SHA3_256 = CKM_SHA3_256,
        CKM_HASH_SLH_DSA_SHA3_384 = CKM_SHA3_384,
        CKM_HASH_SLH_DSA_SHA3_512 = CKM_SHA3_512,
        CKM_HASH_SLH_DSA_SHAKE128 = CKM_SHAKE_128_KEY_DERIVATION,
        CKM_HASH_SLH_DSA_SHAKE256 = CKM_SHAKE_256_KEY_DERIVATION,;
}

const ENCAPSULATES: Row = Row {
    flags: CKF_ENCAPSULATE | CKF_DECAPSULATE,
    does: Does { kem: Some(Kem { ciphertext_len, encapsulate, decapsulate }), ..NOTHING },
    ..ML_KEM
};

const fn generates(family: Row) -> Row {
    Row { flags: CKF_GENERATE_KEY_PAIR, does: Does { generate_pair: Some(generate_pair), ..NOTHING }, ..family }
}

const fn signs(family: Row, params: ParamKind, hash: Option<CK_MECHANISM_TYPE>) -> Row {
    Row { flags: CKF_SIGN | CKF_VERIFY, params, hash, does: Does { begin: Some(begin), ..NOTHING }, ..family }
}

/// The codes of `set_of`, for the public key's template.
fn generate_pair(row: &'static Row, _: &Params, public: &Attributes, _: &Attributes) -> Result<Pair> {
    let set = set_of(*row.keys.first().ok_or(Code::GeneralError)?, public)?;
    let key = set.generate()?;
    Ok(Pair { public: public_attributes(set, &key.public)?, private: private_attributes(set, &key)? })
}

fn ciphertext_len(key: &Key) -> Result<usize> {
    Ok(key.ml_kem_public()?.ciphertext_len())
}

/// `CKR_MECHANISM_PARAM_INVALID`, `CKR_KEY_TYPE_INCONSISTENT`.
fn encapsulate(params: &Params, key: &Key) -> Result<(Vec<u8>, SecretBytes)> {
    no_params(params)?;
    key.ml_kem_public()?.encapsulate()
}

/// `CKR_MECHANISM_PARAM_INVALID`, `CKR_KEY_TYPE_INCONSISTENT`, `CKR_WRAPPED_KEY_LEN_RANGE`.
fn decapsulate(params: &Params, key: &Key, ciphertext: &[u8]) -> Result<SecretBytes> {
    no_params(params)?;
    key.ml_kem_private()?.decapsulate(ciphertext)
}

fn no_params(params: &Params) -> Result<()> {
    if *params == Params::None { Ok(()) } else { Err(Code::MechanismParamInvalid)? }
}

/// The hash that a `CKM_` names. There is none for SHAKE as a digest; clients write that of its key derivation.
/// `CKR_MECHANISM_PARAM_INVALID`.
fn prehash_of(ckm: CK_MECHANISM_TYPE) -> Result<Prehash> {
    Ok(match ckm {
        CKM_SHAKE_128_KEY_DERIVATION => Prehash::Shake128,
        CKM_SHAKE_256_KEY_DERIVATION => Prehash::Shake256,
        _ => Prehash::Fixed(of_hash(ckm)?),
    })
}

/// What row and parameters say about a signature.
struct Terms {
    hedge: Hedge,
    /// The hash that stands for the message.
    prehash: Option<Prehash>,
    prefix: Prefix,
}

impl Terms {
    /// `CKR_MECHANISM_PARAM_INVALID`
    fn of(row: &Row, signs: bool, params: &Params) -> Result<Terms> {
        let hash_in_params = row.params == ParamKind::HashSignContext;
        let (hedge, context, hash) = match params {
            Params::None if !hash_in_params => (CKH_HEDGE_PREFERRED, &[][..], row.hash),
            Params::SignContext { hedge, context, hash: Some(hash) } if hash_in_params => {
                (*hedge, &**context, Some(*hash))
            }
            Params::SignContext { hedge, context, hash: None } if !hash_in_params => (*hedge, &**context, row.hash),
            _ => Err(Code::MechanismParamInvalid)?,
        };
        let prehash = hash.map(prehash_of).transpose()?;
        let prefix = match prehash {
            None => Prefix::pure(context)?,
            Some(prehash) => Prefix::hashed(prehash, context)?,
        };
        // "On verification the hedgeVariant parameter is ignored."
        let hedge = match hedge {
            CKH_HEDGE_PREFERRED | CKH_HEDGE_REQUIRED => Hedge::Random,
            CKH_DETERMINISTIC_REQUIRED => Hedge::Deterministic,
            _ if signs => Err(Code::MechanismParamInvalid)?,
            _ => Hedge::Random,
        };
        Ok(Terms { hedge, prehash, prefix })
    }
}

/// The message, as far as it has come.
enum Message {
    /// ML-DSA hashes it once.
    Streamed(Mu),
    /// SLH-DSA reads it twice, and for verification needs the signature before.
    Kept(Zeroizing<Vec<u8>>),
    Hashed(PrehashHasher),
    /// Its hash will be given, in one part.
    Given(Prehash),
}

impl Message {
    fn new(row: &Row, key: &Key, terms: &Terms) -> Message {
        match (terms.prehash, mu_of(key)) {
            (Some(prehash), _) if row.params == ParamKind::HashSignContext => Message::Given(prehash),
            (Some(prehash), _) => Message::Hashed(prehash.hasher()),
            (None, Some(mut mu)) => {
                mu.update(terms.prefix.bytes());
                Message::Streamed(mu)
            }
            (None, None) => Message::Kept(Zeroizing::default()),
        }
    }
}

/// The beginning of mu, under an ML-DSA key.
fn mu_of(key: &Key) -> Option<Mu> {
    match key {
        Key::MlDsaPublic(key) => Some(key.mu()),
        Key::MlDsaPrivate(key) => Some(key.mu()),
        _ => None,
    }
}

/// What the algorithm works on.
enum Input<'a> {
    Mu(Zeroizing<[u8; 64]>),
    Parts([&'a [u8]; 2]),
}

/// Signing or verifying. `CKR_KEY_TYPE_INCONSISTENT`, `CKR_MECHANISM_PARAM_INVALID`.
fn begin(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key.ok_or(Code::KeyHandleInvalid)?;
    let [family] = row.keys else { Err(Code::GeneralError)? };
    let signs = match (what, *family, &**key) {
        (Use::Sign, CKK_ML_DSA, Key::MlDsaPrivate(_)) | (Use::Sign, CKK_SLH_DSA, Key::SlhDsaPrivate(_)) => true,
        (Use::Verify | Use::VerifySignature, CKK_ML_DSA, Key::MlDsaPublic(_))
        | (Use::Verify | Use::VerifySignature, CKK_SLH_DSA, Key::SlhDsaPublic(_)) => false,
        (Use::Sign | Use::Verify | Use::VerifySignature, ..) => Err(Code::KeyTypeInconsistent)?,
        _ => Err(Code::KeyFunctionNotPermitted)?,
    };
    let terms = Terms::of(row, signs, params)?;
    let message = Message::new(row, key, &terms);
    Ok(Box::new(Signing { row, what, key: key.clone(), terms, message }))
}

struct Signing {
    row: &'static Row,
    what: Use,
    key: Arc<Key>,
    terms: Terms,
    message: Message,
}

impl Signing {
    /// Gives the key, the terms and what they are for to `act`: `input` is the message in one piece, `None` after updates.
    fn over<T>(&mut self, input: Option<&[u8]>, act: impl FnOnce(&Key, &Terms, Input) -> Result<T>) -> Result<T> {
        let hash;
        let text = match &mut self.message {
            Message::Streamed(mu) => {
                mu.update(input.unwrap_or_default());
                return act(&self.key, &self.terms, Input::Mu(mu.clone().finish()));
            }
            Message::Kept(kept) => input.unwrap_or(kept),
            Message::Hashed(hasher) => {
                hasher.update(input.unwrap_or_default());
                hash = hasher.finish();
                &hash
            }
            Message::Given(prehash) => {
                let text = input.ok_or(Code::FunctionNotSupported)?;
                if text.len() != prehash.len() {
                    Err(Code::DataLenRange)?;
                }
                text
            }
        };
        let parts = [self.terms.prefix.bytes(), text];
        let input = match mu_of(&self.key) {
            Some(mut mu) => {
                parts.iter().for_each(|part| mu.update(part));
                Input::Mu(mu.finish())
            }
            None => Input::Parts(parts),
        };
        act(&self.key, &self.terms, input)
    }

    fn sign(&mut self, input: Option<&[u8]>, out: &mut [u8]) -> Result<usize> {
        self.over(input, |key, terms, input| match (key, input) {
            (Key::MlDsaPrivate(key), Input::Mu(mu)) => key.sign(&mu, terms.hedge, out),
            (Key::SlhDsaPrivate(key), Input::Parts(parts)) => key.sign(&parts, terms.hedge, out),
            _ => Err(Code::KeyTypeInconsistent)?,
        })
    }
}

impl Operation for Signing {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(match (step, &*self.key) {
            (Step::Update, _) => 0,
            (_, Key::MlDsaPrivate(key)) => key.signature_len(),
            (_, Key::SlhDsaPrivate(key)) => key.signature_len(),
            _ => Err(Code::KeyTypeInconsistent)?,
        }))
    }

    /// A hash given by the caller comes in one part; and so does what `C_Verify` checks with SLH-DSA (PKCS#11 3.2, SLH-DSA,
    /// table of functions, footnote 1).
    fn multi_part(&self) -> bool {
        match self.message {
            Message::Streamed(_) | Message::Hashed(_) => true,
            Message::Kept(_) => self.what != Use::Verify,
            Message::Given(_) => false,
        }
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        match &mut self.message {
            Message::Streamed(mu) => mu.update(input),
            Message::Hashed(hasher) => hasher.update(input),
            Message::Kept(kept) => {
                kept.try_reserve(input.len()).map_err(|_| Code::HostMemory)?;
                kept.extend_from_slice(input);
            }
            Message::Given(_) => Err(Code::FunctionNotSupported)?,
        }
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        self.sign(None, out)
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.sign(Some(input), out)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        self.over(input, |key, _, input| match (key, input) {
            (Key::MlDsaPublic(key), Input::Mu(mu)) => key.verify(&mu, signature),
            (Key::SlhDsaPublic(key), Input::Parts(parts)) => key.verify(&parts, signature),
            _ => Err(Code::KeyTypeInconsistent)?,
        })
    }

    fn restart(&mut self, params: &Params) -> bool {
        let Ok(terms) = Terms::of(self.row, self.what == Use::Sign, params) else { return false };
        self.message = Message::new(self.row, &self.key, &terms);
        self.terms = terms;
        true
    }
}
