//! RSA (PKCS#11 3.2, RSA).

use std::sync::Arc;

use cryptoki_sys::*;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::digest::{of_hash, of_row};
use super::key::Key;
use super::key_attributes::{rsa_private_attributes, rsa_public_attributes};
use super::signing::{self, Scheme};
use super::table::{Begin, Does, NOTHING, Offer, Pair, ParamKind, Row};
use crate::crypto::aes::Aes;
use crate::crypto::digest::Digest;
use crate::crypto::rsa::{MAX_BITS, MIN_BITS, MIN_STRONG_BITS, Oaep, PKCS1_OVERHEAD, PrivateKey, Pss, digest_info};
use crate::crypto::{keywrap, random};
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::token::{OaepParams, Operation, Params, PssParams, Size, Step, Use};

const SIGNS: CK_FLAGS = CKF_SIGN | CKF_VERIFY;
const CIPHERS: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP;
/// A fresh secret key, wrapped.
const ENCAPSULATES: CK_FLAGS = CKF_ENCAPSULATE | CKF_DECAPSULATE;
const RECOVERS: CK_FLAGS = CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER;

pub const ROWS: &[Row] = &[
    Row {
        size: (MIN_STRONG_BITS as u64, MAX_BITS as u64),
        flags: CKF_GENERATE_KEY_PAIR,
        approved: true,
        does: Does { generate_pair: Some(generate_pair), ..NOTHING },
        ..row(CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN")
    },
    Row {
        flags: SIGNS | RECOVERS | CIPHERS | ENCAPSULATES,
        does: begins(begin_pkcs1),
        ..row(CKM_RSA_PKCS, "CKM_RSA_PKCS")
    },
    Row { flags: SIGNS | RECOVERS | CIPHERS, does: begins(begin_raw), ..row(CKM_RSA_X_509, "CKM_RSA_X_509") },
    Row {
        size: (MIN_STRONG_BITS as u64, MAX_BITS as u64),
        flags: CIPHERS | ENCAPSULATES,
        params: ParamKind::Oaep,
        approved: true,
        does: begins(begin_oaep),
        ..row(CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP")
    },
    Row {
        size: (MIN_STRONG_BITS as u64, MAX_BITS as u64),
        flags: CKF_WRAP | CKF_UNWRAP,
        params: ParamKind::RsaAesWrap,
        approved: true,
        does: begins(begin_aes_wrap),
        ..row(CKM_RSA_AES_KEY_WRAP, "CKM_RSA_AES_KEY_WRAP")
    },
    Row { offer: Offer::Legacy, approved: false, ..pkcs1(CKM_MD5_RSA_PKCS, "CKM_MD5_RSA_PKCS", CKM_MD5) },
    Row {
        offer: Offer::Legacy,
        approved: false,
        ..pkcs1(CKM_RIPEMD160_RSA_PKCS, "CKM_RIPEMD160_RSA_PKCS", CKM_RIPEMD160)
    },
    Row { offer: Offer::Legacy, approved: false, ..pkcs1(CKM_SHA1_RSA_PKCS, "CKM_SHA1_RSA_PKCS", CKM_SHA_1) },
    pkcs1(CKM_SHA224_RSA_PKCS, "CKM_SHA224_RSA_PKCS", CKM_SHA224),
    pkcs1(CKM_SHA256_RSA_PKCS, "CKM_SHA256_RSA_PKCS", CKM_SHA256),
    pkcs1(CKM_SHA384_RSA_PKCS, "CKM_SHA384_RSA_PKCS", CKM_SHA384),
    pkcs1(CKM_SHA512_RSA_PKCS, "CKM_SHA512_RSA_PKCS", CKM_SHA512),
    pkcs1(CKM_SHA3_224_RSA_PKCS, "CKM_SHA3_224_RSA_PKCS", CKM_SHA3_224),
    pkcs1(CKM_SHA3_256_RSA_PKCS, "CKM_SHA3_256_RSA_PKCS", CKM_SHA3_256),
    pkcs1(CKM_SHA3_384_RSA_PKCS, "CKM_SHA3_384_RSA_PKCS", CKM_SHA3_384),
    pkcs1(CKM_SHA3_512_RSA_PKCS, "CKM_SHA3_512_RSA_PKCS", CKM_SHA3_512),
    pss(CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS", None),
    Row {
        offer: Offer::Legacy,
        approved: false,
        ..pss(CKM_SHA1_RSA_PKCS_PSS, "CKM_SHA1_RSA_PKCS_PSS", Some(CKM_SHA_1))
    },
    pss(CKM_SHA224_RSA_PKCS_PSS, "CKM_SHA224_RSA_PKCS_PSS", Some(CKM_SHA224)),
    pss(CKM_SHA256_RSA_PKCS_PSS, "CKM_SHA256_RSA_PKCS_PSS", Some(CKM_SHA256)),
    pss(CKM_SHA384_RSA_PKCS_PSS, "CKM_SHA384_RSA_PKCS_PSS", Some(CKM_SHA384)),
    pss(CKM_SHA512_RSA_PKCS_PSS, "CKM_SHA512_RSA_PKCS_PSS", Some(CKM_SHA512)),
    pss(CKM_SHA3_224_RSA_PKCS_PSS, "CKM_SHA3_224_RSA_PKCS_PSS", Some(CKM_SHA3_224)),
    pss(CKM_SHA3_256_RSA_PKCS_PSS, "CKM_SHA3_256_RSA_PKCS_PSS", Some(CKM_SHA3_256)),
    pss(CKM_SHA3_384_RSA_PKCS_PSS, "CKM_SHA3_384_RSA_PKCS_PSS", Some(CKM_SHA3_384)),
    pss(CKM_SHA3_512_RSA_PKCS_PSS, "CKM_SHA3_512_RSA_PKCS_PSS", Some(CKM_SHA3_512)),
];

/// What all rows share.
const fn row(ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
    Row {
        ty,
        name,
        keys: &[CKK_RSA],
        size: (MIN_BITS as u64, MAX_BITS as u64),
        flags: 0,
        params: ParamKind::None,
        offer: Offer::On,
        approved: false,
        hash: None,
        does: NOTHING,
    }
}

const fn begins(begin: Begin) -> Does {
    Does { begin: Some(begin), ..NOTHING }
}

const fn pkcs1(ty: CK_MECHANISM_TYPE, name: &'static str, hash: CK_MECHANISM_TYPE) -> Row {
    Row { flags: SIGNS, hash: Some(hash), approved: true, does: begins(begin_pkcs1), ..row(ty, name) }
}

const fn pss(ty: CK_MECHANISM_TYPE, name: &'static str, hash: Option<CK_MECHANISM_TYPE>) -> Row {
    Row { flags: SIGNS, params: ParamKind::Pss, hash, approved: true, does: begins(begin_pss), ..row(ty, name) }
}

/// 65537.
const USUAL_EXPONENT: [u8; 3] = [1, 0, 1];

/// `CKR_TEMPLATE_INCOMPLETE` without `CKA_MODULUS_BITS`, `CKR_ATTRIBUTE_VALUE_INVALID` where it is out of range,
/// `CKR_TEMPLATE_INCONSISTENT` for an exponent that cannot be used.
fn generate_pair(_: &'static Row, _: &Params, public: &Attributes, _: &Attributes) -> Result<Pair> {
    let bits = public.ulong(CKA_MODULUS_BITS).ok_or(Code::TemplateIncomplete)?;
    let bits = usize::try_from(bits).map_err(|_| Code::AttributeValueInvalid)?;
    let e = public.bytes(CKA_PUBLIC_EXPONENT).filter(|e| !e.is_empty()).unwrap_or(&USUAL_EXPONENT);
    let key = PrivateKey::generate(bits, e).map_err(|error| match error.code() {
        // C_GenerateKeyPair has no code for the size of a key that is not there yet.
        Code::KeySizeRange => error.recode(Code::AttributeValueInvalid),
        _ => error,
    })?;
    let [n, e, ..] = key.numbers()?;
    Ok(Pair { public: rsa_public_attributes(&n, &e, key.bits()), private: rsa_private_attributes(&key)? })
}

/// The key, if it is of the half that `what` needs (`CKR_KEY_TYPE_INCONSISTENT`) and long enough for it
/// (`CKR_KEY_SIZE_RANGE`): short moduli only verify.
fn key_for(what: Use, key: Option<&Arc<Key>>) -> Result<Arc<Key>> {
    let key = key.ok_or(Code::KeyHandleInvalid)?;
    let (bits, least) = match what {
        Use::Sign | Use::SignRecover | Use::Decrypt => (key.rsa_private()?.bits(), MIN_STRONG_BITS),
        Use::Encrypt => (key.rsa_public()?.bits(), MIN_STRONG_BITS),
        Use::Verify | Use::VerifyRecover | Use::VerifySignature => (key.rsa_public()?.bits(), MIN_BITS),
        _ => Err(Code::KeyFunctionNotPermitted)?,
    };
    if bits < least {
        Err(Code::KeySizeRange.because(format!("an RSA key of {bits} bits; this use needs {least}")))?;
    }
    Ok(key.clone())
}

/// Length of the modulus in bytes, and in bits.
fn modulus(key: &Key) -> Result<(usize, usize)> {
    match key {
        Key::RsaPublic(key) => Ok((key.len(), key.bits())),
        Key::RsaPrivate(key) => Ok((key.len(), key.bits())),
        _ => Err(Code::KeyTypeInconsistent)?,
    }
}

fn is_signature(what: Use) -> bool {
    matches!(what, Use::Sign | Use::Verify | Use::VerifySignature)
}

fn begin_pkcs1(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key_for(what, key)?;
    if is_signature(what) {
        let prefix = row.hash.map(|_| of_row(row).and_then(digest_info)).transpose()?.unwrap_or_default();
        return signing::begin(row, Pkcs1 { key, prefix });
    }
    begin_block(what, params, key, Padding::Pkcs1)
}

fn begin_raw(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key_for(what, key)?;
    if is_signature(what) { signing::begin(row, Raw { key }) } else { begin_block(what, params, key, Padding::None) }
}

fn begin_oaep(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key_for(what, key)?;
    let Params::Oaep(oaep) = params else { Err(Code::MechanismParamInvalid)? };
    let oaep = oaep_of(oaep, &key)?;
    begin_block(what, params, key, Padding::Oaep(oaep))
}

fn begin_pss(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key_for(what, key)?;
    let pss = pss_of(params, row.hash, &key)?;
    signing::begin(row, PssScheme { key, pss, hash: row.hash })
}

/// RSASSA-PKCS1-v1_5: over a digest with its DigestInfo, or over what the caller gives.
struct Pkcs1 {
    key: Arc<Key>,
    prefix: SmallVec<[u8; 24]>,
}

impl Scheme for Pkcs1 {
    fn signature_len(&self) -> Result<usize> {
        Ok(modulus(&self.key)?.0)
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.key.rsa_private()?.sign_pkcs1(&self.prefix, input, out)
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        self.key.rsa_public()?.verify_pkcs1(&self.prefix, input, signature)
    }
}

/// The bare operation.
struct Raw {
    key: Arc<Key>,
}

impl Scheme for Raw {
    fn signature_len(&self) -> Result<usize> {
        Ok(modulus(&self.key)?.0)
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.key.rsa_private()?.sign_raw(input, out)
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        self.key.rsa_public()?.verify_raw(input, signature)
    }
}

struct PssScheme {
    key: Arc<Key>,
    pss: Pss,
    /// The row's own, which the parameters must repeat.
    hash: Option<CK_MECHANISM_TYPE>,
}

impl Scheme for PssScheme {
    fn signature_len(&self) -> Result<usize> {
        Ok(modulus(&self.key)?.0)
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.key.rsa_private()?.sign_pss(&self.pss, input, out)
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        self.key.rsa_public()?.verify_pss(&self.pss, input, signature)
    }

    fn restart(&mut self, params: &Params) -> bool {
        pss_of(params, self.hash, &self.key).map(|pss| self.pss = pss).is_ok()
    }
}

/// A hash of OAEP and PSS: SHA-1 and NIST's others, which masks are also made with. `CKR_MECHANISM_PARAM_INVALID`.
fn of_mask_hash(ckm: CK_MECHANISM_TYPE) -> Result<Digest> {
    let hash = of_hash(ckm)?;
    if hash == Digest::Sha1 || hash.nist_arc().is_some() { Ok(hash) } else { Err(Code::MechanismParamInvalid.into()) }
}

/// `CKR_MECHANISM_PARAM_INVALID` for a hash that is not the row's, an unknown mask, a salt that the modulus has no room for.
fn pss_of(params: &Params, hash: Option<CK_MECHANISM_TYPE>, key: &Key) -> Result<Pss> {
    let Params::Pss(PssParams { hash: named, mgf, salt_len }) = params else { Err(Code::MechanismParamInvalid)? };
    if hash.is_some_and(|hash| hash != *named) {
        Err(Code::MechanismParamInvalid.because("the PSS parameters name another hash than the mechanism"))?;
    }
    let salt_len = usize::try_from(*salt_len).map_err(|_| Code::MechanismParamInvalid)?;
    let pss = Pss { hash: of_mask_hash(*named)?, mgf: of_mgf(*mgf)?, salt_len };
    if !pss.fits(modulus(key)?.1) {
        Err(Code::MechanismParamInvalid.because("the PSS salt is too long for this key"))?;
    }
    Ok(pss)
}

/// pkcs11-provider sends neither hash nor mask for OAEP's default, SHA-1 (RFC 8017, A.2.1).
fn oaep_of(params: &OaepParams, key: &Key) -> Result<Oaep> {
    let (hash, mgf) = match (params.hash, params.mgf) {
        (0, 0) => (Digest::Sha1, Digest::Sha1),
        (hash, mgf) => (of_mask_hash(hash)?, of_mgf(mgf)?),
    };
    let oaep = Oaep::new(hash, mgf, &params.label);
    if oaep.overhead() > modulus(key)?.0 {
        Err(Code::MechanismParamInvalid.because("the OAEP hash is too long for this key"))?;
    }
    Ok(oaep)
}

/// The hash of MGF1; `CKR_MECHANISM_PARAM_INVALID`.
fn of_mgf(mgf: CK_RSA_PKCS_MGF_TYPE) -> Result<Digest> {
    Ok(match mgf {
        CKG_MGF1_SHA1 => Digest::Sha1,
        CKG_MGF1_SHA224 => Digest::Sha224,
        CKG_MGF1_SHA256 => Digest::Sha256,
        CKG_MGF1_SHA384 => Digest::Sha384,
        CKG_MGF1_SHA512 => Digest::Sha512,
        CKG_MGF1_SHA3_224 => Digest::Sha3_224,
        CKG_MGF1_SHA3_256 => Digest::Sha3_256,
        CKG_MGF1_SHA3_384 => Digest::Sha3_384,
        CKG_MGF1_SHA3_512 => Digest::Sha3_512,
        _ => Err(Code::MechanismParamInvalid)?,
    })
}

enum Padding {
    None,
    Pkcs1,
    Oaep(Oaep),
}

impl Padding {
    fn overhead(&self) -> usize {
        match self {
            Padding::None => 0,
            Padding::Pkcs1 => PKCS1_OVERHEAD,
            Padding::Oaep(oaep) => oaep.overhead(),
        }
    }
}

/// One block in, one block out: encryption, decryption, signatures with recovery. Single-part.
struct Block {
    key: Arc<Key>,
    what: Use,
    padding: Padding,
}

fn begin_block(what: Use, params: &Params, key: Arc<Key>, padding: Padding) -> Result<Box<dyn Operation>> {
    let mut block = Block { key, what, padding };
    if block.restart(params) { Ok(Box::new(block)) } else { Err(Code::MechanismParamInvalid)? }
}

impl Operation for Block {
    fn size(&mut self, _: Step, _: usize) -> Result<Size> {
        let (len, _) = modulus(&self.key)?;
        Ok(match (self.what, &self.padding) {
            (Use::Encrypt | Use::SignRecover, _) | (_, Padding::None) => Size::Exactly(len),
            (_, padding) => Size::AtMost(len.saturating_sub(padding.overhead())),
        })
    }

    fn multi_part(&self) -> bool {
        false
    }

    fn update(&mut self, _: &[u8], _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match (self.what, &self.padding) {
            (Use::Encrypt, Padding::None) => self.key.rsa_public()?.encrypt_raw(input, out),
            (Use::Encrypt, Padding::Pkcs1) => self.key.rsa_public()?.encrypt_pkcs1(input, out),
            (Use::Encrypt, Padding::Oaep(oaep)) => self.key.rsa_public()?.encrypt_oaep(oaep, input, out),
            (Use::Decrypt, Padding::None) => self.key.rsa_private()?.decrypt_raw(input, out),
            (Use::Decrypt, Padding::Pkcs1) => self.key.rsa_private()?.decrypt_pkcs1(input, out),
            (Use::Decrypt, Padding::Oaep(oaep)) => self.key.rsa_private()?.decrypt_oaep(oaep, input, out),
            (Use::SignRecover, Padding::None) => self.key.rsa_private()?.sign_raw(input, out),
            (Use::SignRecover, Padding::Pkcs1) => self.key.rsa_private()?.sign_pkcs1(&[], input, out),
            (Use::VerifyRecover, Padding::None) => self.key.rsa_public()?.recover_raw(input, out),
            (Use::VerifyRecover, Padding::Pkcs1) => self.key.rsa_public()?.recover_pkcs1(input, out),
            _ => Err(Code::KeyFunctionNotPermitted)?,
        }
    }

    fn restart(&mut self, params: &Params) -> bool {
        match (&mut self.padding, params) {
            (Padding::None | Padding::Pkcs1, Params::None) => true,
            (Padding::Oaep(oaep), Params::Oaep(params)) => oaep_of(params, &self.key).map(|new| *oaep = new).is_ok(),
            _ => false,
        }
    }
}

fn begin_aes_wrap(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key_for(what, key)?;
    let Params::RsaAesWrap { aes_bits, oaep } = params else { Err(Code::MechanismParamInvalid)? };
    let aes_len = match aes_bits {
        128 => 16,
        192 => 24,
        256 => 32,
        _ => Err(Code::MechanismParamInvalid.because("the temporary AES key has 128, 192 or 256 bits"))?,
    };
    let oaep = oaep_of(oaep, &key)?;
    Ok(Box::new(AesWrap { key, what, aes_len, oaep }))
}

/// A temporary AES key under OAEP, then what that key wraps (PKCS#11 3.2, RSA AES KEY WRAP).
struct AesWrap {
    key: Arc<Key>,
    what: Use,
    aes_len: usize,
    oaep: Oaep,
}

impl AesWrap {
    fn wrap(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let public = self.key.rsa_public()?;
        let total = public.len().saturating_add(keywrap::padded_len(input.len())?);
        let out = out.get_mut(..total).ok_or(Code::GeneralError)?;
        let (head, tail) = out.split_at_mut(public.len());
        let mut aes = Zeroizing::new([0; 32]);
        let aes = aes.get_mut(..self.aes_len).ok_or(Code::GeneralError)?;
        random::fill(aes)?;
        public.encrypt_oaep(&self.oaep, aes, head)?;
        keywrap::wrap_padded(&Aes::new(aes)?, &keywrap::KWP_IV, input, tail)?;
        Ok(total)
    }

    fn unwrap(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let private = self.key.rsa_private()?;
        let (head, tail) = input.split_at_checked(private.len()).ok_or(Code::EncryptedDataLenRange)?;
        let mut aes = Zeroizing::new(vec![0; private.len()]);
        let len = private.decrypt_oaep(&self.oaep, head, &mut aes)?;
        if len != self.aes_len {
            Err(Code::EncryptedDataInvalid)?;
        }
        let aes = Aes::new(aes.get(..len).ok_or(Code::GeneralError)?)?;
        let room = tail.len().checked_sub(keywrap::SEMIBLOCK).ok_or(Code::EncryptedDataLenRange)?;
        let out = out.get_mut(..room).ok_or(Code::GeneralError)?;
        keywrap::unwrap_padded(&aes, &keywrap::KWP_IV, tail, out)
    }
}

impl Operation for AesWrap {
    fn size(&mut self, _: Step, input: usize) -> Result<Size> {
        let (len, _) = modulus(&self.key)?;
        Ok(match self.what {
            Use::Encrypt => Size::Exactly(len.saturating_add(keywrap::padded_len(input)?)),
            _ => Size::AtMost(input.saturating_sub(len).saturating_sub(keywrap::SEMIBLOCK)),
        })
    }

    fn multi_part(&self) -> bool {
        false
    }

    fn update(&mut self, _: &[u8], _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Code::FunctionNotSupported)?
    }

    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if self.what == Use::Encrypt { self.wrap(input, out) } else { self.unwrap(input, out) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::crypto::rsa::PublicKey;
    use crate::mechanism::table;
    use crate::token::Attribute;

    struct Keys {
        private: Arc<Key>,
        public: Arc<Key>,
        /// Of 1024 bits: it only verifies.
        short: Arc<Key>,
    }

    static KEYS: LazyLock<Keys> = LazyLock::new(|| {
        let private = PrivateKey::generate(2048, &USUAL_EXPONENT).unwrap();
        let [n, e, ..] = private.numbers().unwrap();
        let short = PublicKey::new(&[0xff; 128], &USUAL_EXPONENT).unwrap();
        Keys {
            public: Arc::new(Key::RsaPublic(PublicKey::new(&n, &e).unwrap())),
            private: Arc::new(Key::RsaPrivate(private)),
            short: Arc::new(Key::RsaPublic(short)),
        }
    });

    fn begin(
        mechanism: CK_MECHANISM_TYPE,
        what: Use,
        params: &Params,
        key: &Arc<Key>,
    ) -> Result<Box<dyn Operation>, Code> {
        let row = table::row(mechanism).unwrap();
        row.does.begin.unwrap()(row, what, params, Some(key)).map_err(|error| error.code())
    }

    #[test]
    fn keys_must_be_of_the_right_half_and_long_enough() {
        let code = |what, key| begin(CKM_RSA_PKCS, what, &Params::None, key).err();
        for what in [Use::Sign, Use::SignRecover, Use::Decrypt] {
            assert_eq!(code(what, &KEYS.private), None);
            assert_eq!(code(what, &KEYS.public), Some(Code::KeyTypeInconsistent));
        }
        for what in [Use::Verify, Use::VerifyRecover, Use::VerifySignature] {
            assert_eq!(code(what, &KEYS.public), None);
            assert_eq!(code(what, &KEYS.short), None);
            assert_eq!(code(what, &KEYS.private), Some(Code::KeyTypeInconsistent));
        }
        assert_eq!(code(Use::Encrypt, &KEYS.short), Some(Code::KeySizeRange));
        assert_eq!(code(Use::Digest, &KEYS.public), Some(Code::KeyFunctionNotPermitted));
    }

    #[test]
    fn pss_parameters_are_checked_before_any_data_comes() {
        let good = PssParams { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, salt_len: 32 };
        let code = |mechanism, pss| begin(mechanism, Use::Sign, &Params::Pss(pss), &KEYS.private).err();
        assert_eq!(code(CKM_SHA256_RSA_PKCS_PSS, good), None);
        assert_eq!(code(CKM_SHA256_RSA_PKCS_PSS, PssParams { salt_len: 256 - 34, ..good }), None);
        let wrong = [
            (CKM_SHA384_RSA_PKCS_PSS, good),
            (CKM_SHA256_RSA_PKCS_PSS, PssParams { salt_len: 256 - 33, ..good }),
            (CKM_SHA256_RSA_PKCS_PSS, PssParams { salt_len: u64::MAX, ..good }),
            (CKM_RSA_PKCS_PSS, PssParams { mgf: 0, ..good }),
            (CKM_RSA_PKCS_PSS, PssParams { mgf: 10, ..good }),
            (CKM_RSA_PKCS_PSS, PssParams { hash: CKM_RSA_PKCS, ..good }),
        ];
        for (mechanism, pss) in wrong {
            assert_eq!(code(mechanism, pss), Some(Code::MechanismParamInvalid), "{pss:?}");
        }
        for params in [Params::None, Params::Number(1)] {
            let refused = begin(CKM_RSA_PKCS_PSS, Use::Sign, &params, &KEYS.private).err();
            assert_eq!(refused, Some(Code::MechanismParamInvalid));
        }
    }

    /// RFC 8017, 9.2, note 1, for MD5; ISO 10118-3's identifier for RIPEMD-160.
    #[test]
    fn the_old_hashes_sign_by_their_identifiers() {
        use crate::crypto::digest::hash;
        for (mechanism, digest, prefix) in [
            (
                CKM_MD5_RSA_PKCS,
                Digest::Md5,
                &b"\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10"[..],
            ),
            (
                CKM_RIPEMD160_RSA_PKCS,
                Digest::Ripemd160,
                b"\x30\x21\x30\x09\x06\x05\x2b\x24\x03\x02\x01\x05\x00\x04\x14",
            ),
        ] {
            let sign = |mechanism, input: &[u8]| {
                let mut out = vec![0; 256];
                let mut operation = begin(mechanism, Use::Sign, &Params::None, &KEYS.private).unwrap();
                operation.whole(input, &mut out).unwrap();
                out
            };
            let signature = sign(mechanism, b"message");
            assert_eq!(signature, sign(CKM_RSA_PKCS, &[prefix, &hash(digest, b"message")].concat()));
            let mut verify = begin(mechanism, Use::Verify, &Params::None, &KEYS.public).unwrap();
            verify.verify(Some(b"message"), &signature).unwrap();
            assert!(table::row(mechanism).is_ok_and(|row| row.offer == Offer::Legacy && !row.approved));
        }
        let oaep = OaepParams { hash: CKM_MD5, mgf: CKG_MGF1_SHA1, label: b""[..].into() };
        let refused = begin(CKM_RSA_PKCS_OAEP, Use::Encrypt, &Params::Oaep(oaep), &KEYS.public).err();
        assert_eq!(refused, Some(Code::MechanismParamInvalid));
    }

    #[test]
    fn data_of_the_wrong_length_is_refused() {
        let oaep = Params::Oaep(OaepParams { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, label: b""[..].into() });
        let pss = Params::Pss(PssParams { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, salt_len: 32 });
        let cases = [
            (CKM_RSA_PKCS, Use::Sign, &Params::None, 246, Code::DataLenRange),
            (CKM_RSA_PKCS, Use::SignRecover, &Params::None, 246, Code::DataLenRange),
            (CKM_RSA_PKCS, Use::Encrypt, &Params::None, 246, Code::DataLenRange),
            (CKM_RSA_X_509, Use::Sign, &Params::None, 257, Code::DataLenRange),
            (CKM_RSA_X_509, Use::Encrypt, &Params::None, 257, Code::DataLenRange),
            (CKM_RSA_PKCS_OAEP, Use::Encrypt, &oaep, 256 - 65, Code::DataLenRange),
            (CKM_RSA_PKCS_PSS, Use::Sign, &pss, 31, Code::DataLenRange),
            (CKM_RSA_PKCS_PSS, Use::Sign, &pss, 33, Code::DataLenRange),
            (CKM_RSA_PKCS, Use::Decrypt, &Params::None, 255, Code::EncryptedDataLenRange),
            (CKM_RSA_X_509, Use::Decrypt, &Params::None, 257, Code::EncryptedDataLenRange),
            (CKM_RSA_PKCS_OAEP, Use::Decrypt, &oaep, 0, Code::EncryptedDataLenRange),
        ];
        for (mechanism, what, params, len, code) in cases {
            let key = if what == Use::Encrypt { &KEYS.public } else { &KEYS.private };
            let mut operation = begin(mechanism, what, params, key).unwrap();
            let refused = operation.whole(&vec![1; len], &mut [0; 512]).unwrap_err();
            assert_eq!(refused.code(), code, "{mechanism} {what:?} {len}");
        }
        for (what, code) in [(Use::Sign, Code::DataInvalid), (Use::Decrypt, Code::EncryptedDataInvalid)] {
            let mut operation = begin(CKM_RSA_X_509, what, &Params::None, &KEYS.private).unwrap();
            assert_eq!(operation.whole(&[0xff; 256], &mut [0; 512]).unwrap_err().code(), code);
        }
    }

    #[test]
    fn generation_takes_its_sizes_from_the_template() {
        let row = table::row(CKM_RSA_PKCS_KEY_PAIR_GEN).unwrap();
        let pair = |template: Vec<Attribute>| {
            let template = template.into_iter().collect();
            generate_pair(row, &Params::None, &template, &Attributes::new()).map_err(|error| error.code())
        };
        let bits = |bits| Attribute::ulong(CKA_MODULUS_BITS, bits);
        let exponent = |e: &[u8]| Attribute::bytes(CKA_PUBLIC_EXPONENT, e);
        assert_eq!(pair(vec![exponent(&[3])]).err(), Some(Code::TemplateIncomplete));
        assert_eq!(pair(vec![bits(1024)]).err(), Some(Code::AttributeValueInvalid));
        assert_eq!(pair(vec![bits(CK_ULONG::MAX)]).err(), Some(Code::AttributeValueInvalid));
        assert_eq!(pair(vec![bits(2048), exponent(&[4])]).err(), Some(Code::TemplateInconsistent));
        let made = pair(vec![bits(2048)]).unwrap();
        let public: Attributes = made.public.into_iter().collect();
        let private: Attributes = made.private.into_iter().collect();
        assert_eq!(public.bytes(CKA_PUBLIC_EXPONENT), Some(&USUAL_EXPONENT[..]));
        assert_eq!(public.ulong(CKA_MODULUS_BITS), Some(2048));
        assert_eq!(private.bytes(CKA_MODULUS), public.bytes(CKA_MODULUS));
        assert_eq!(private.len(), 8);
    }
}
