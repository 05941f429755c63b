//! HMAC (PKCS#11 3.2, "Hash-Based Message Authentication Codes"), and the operation that every MAC shares.

use std::sync::Arc;

use cryptoki_sys::*;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aes::gcm::tag_len;
use super::digest::{digest_of, is_approved, offer};
use super::generic::{MAX_SECRET, generate_any_length};
use super::key::Key;
use super::secret_key::SecretKey;
use super::table::{Does, NOTHING, ParamKind, Row};
use crate::crypto::digest::{Digest, Hasher, MAX_LEN};
use crate::crypto::hmac::HmacKey;
use crate::crypto::sha512t::Bits;
use crate::error::{Code, Error, Result};
use crate::token::{Operation, Params, Size, Step, Use};

/// The rows of a hash: HMAC, HMAC of a given length, key generation where there is one.
macro_rules! rows {
    ($($hash:ident $key:ident: $hmac:ident, $general:ident $(, $generate:ident)?;)*) => {
        pub const ROWS: &[Row] = &[$(
            hmac($hmac, stringify!($hmac), $hash, params_of($hash), &[CKK_GENERIC_SECRET, $key]),
            hmac($general, stringify!($general), $hash, ParamKind::MacLength, &[CKK_GENERIC_SECRET, $key]),
            $(key_gen($generate, stringify!($generate), $hash, &[$key]),)?
        )*];
    };
}

rows! {
    CKM_SHA_1 CKK_SHA_1_HMAC: CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL, CKM_SHA_1_KEY_GEN;
    CKM_SHA224 CKK_SHA224_HMAC: CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL, CKM_SHA224_KEY_GEN;
    CKM_SHA256 CKK_SHA256_HMAC: CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL, CKM_SHA256_KEY_GEN;
    CKM_SHA384 CKK_SHA384_HMAC: CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL, CKM_SHA384_KEY_GEN;
    CKM_SHA512 CKK_SHA512_HMAC: CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL, CKM_SHA512_KEY_GEN;
    CKM_SHA512_224 CKK_SHA512_224_HMAC:
        CKM_SHA512_224_HMAC, CKM_SHA512_224_HMAC_GENERAL, CKM_SHA512_224_KEY_GEN;
    CKM_SHA512_256 CKK_SHA512_256_HMAC:
        CKM_SHA512_256_HMAC, CKM_SHA512_256_HMAC_GENERAL, CKM_SHA512_256_KEY_GEN;
    CKM_SHA3_224 CKK_SHA3_224_HMAC: CKM_SHA3_224_HMAC, CKM_SHA3_224_HMAC_GENERAL, CKM_SHA3_224_KEY_GEN;
    CKM_SHA3_256 CKK_SHA3_256_HMAC: CKM_SHA3_256_HMAC, CKM_SHA3_256_HMAC_GENERAL, CKM_SHA3_256_KEY_GEN;
    CKM_SHA3_384 CKK_SHA3_384_HMAC: CKM_SHA3_384_HMAC, CKM_SHA3_384_HMAC_GENERAL, CKM_SHA3_384_KEY_GEN;
    CKM_SHA3_512 CKK_SHA3_512_HMAC: CKM_SHA3_512_HMAC, CKM_SHA3_512_HMAC_GENERAL, CKM_SHA3_512_KEY_GEN;
    CKM_SHA512_T CKK_SHA512_T_HMAC: CKM_SHA512_T_HMAC, CKM_SHA512_T_HMAC_GENERAL, CKM_SHA512_T_KEY_GEN;
    CKM_BLAKE2B_160 CKK_BLAKE2B_160_HMAC:
        CKM_BLAKE2B_160_HMAC, CKM_BLAKE2B_160_HMAC_GENERAL, CKM_BLAKE2B_160_KEY_GEN;
    CKM_BLAKE2B_256 CKK_BLAKE2B_256_HMAC:
        CKM_BLAKE2B_256_HMAC, CKM_BLAKE2B_256_HMAC_GENERAL, CKM_BLAKE2B_256_KEY_GEN;
    CKM_BLAKE2B_384 CKK_BLAKE2B_384_HMAC:
        CKM_BLAKE2B_384_HMAC, CKM_BLAKE2B_384_HMAC_GENERAL, CKM_BLAKE2B_384_KEY_GEN;
    CKM_BLAKE2B_512 CKK_BLAKE2B_512_HMAC:
        CKM_BLAKE2B_512_HMAC, CKM_BLAKE2B_512_HMAC_GENERAL, CKM_BLAKE2B_512_KEY_GEN;
    CKM_MD5 CKK_MD5_HMAC: CKM_MD5_HMAC, CKM_MD5_HMAC_GENERAL;
    CKM_RIPEMD160 CKK_RIPEMD160_HMAC: CKM_RIPEMD160_HMAC, CKM_RIPEMD160_HMAC_GENERAL;
}

/// HMAC has none, but with SHA-512/t, which must be told t: its three rows that compute take it in bits, and give all the
/// bytes that hold them. (Of HMAC_GENERAL the specification says as much of t as of a length; there is one number.)
const fn params_of(hash: CK_MECHANISM_TYPE) -> ParamKind {
    if hash == CKM_SHA512_T { ParamKind::MacLength } else { ParamKind::None }
}

const fn hmac(
    ty: CK_MECHANISM_TYPE,
    name: &'static str,
    hash: CK_MECHANISM_TYPE,
    params: ParamKind,
    keys: &'static [CK_KEY_TYPE],
) -> Row {
    Row {
        ty,
        name,
        keys,
        size: (1, MAX_SECRET as CK_ULONG),
        flags: CKF_SIGN | CKF_VERIFY,
        params,
        offer: offer(hash),
        approved: is_approved(hash),
        hash: Some(hash),
        does: Does { begin: Some(begin), ..NOTHING },
    }
}

const fn key_gen(
    ty: CK_MECHANISM_TYPE,
    name: &'static str,
    hash: CK_MECHANISM_TYPE,
    keys: &'static [CK_KEY_TYPE],
) -> Row {
    Row {
        flags: CKF_GENERATE,
        does: Does { generate: Some(generate_any_length), ..NOTHING },
        ..hmac(ty, name, hash, ParamKind::None, keys)
    }
}

fn begin(row: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = SecretKey::of(key)?.hmac(digest_of(row, params)?)?;
    let length = match key.digest() {
        Digest::Sha512T(bits) => Length::Truncated(bits),
        digest => Length::of(row, digest.len()),
    };
    begin_mac(Hmac { message: key.start(), key }, length, what, params)
}

struct Hmac {
    key: Arc<HmacKey>,
    message: Hasher,
}

impl Mac for Hmac {
    fn update(&mut self, data: &[u8]) {
        self.message.update(data);
    }

    fn finish(&mut self, out: &mut [u8; MAX_LEN]) {
        for (to, from) in out.iter_mut().zip(self.key.finish(&mut self.message).iter()) {
            *to = *from;
        }
    }

    fn reset(&mut self) {
        self.message = self.key.start();
    }
}

/// A running MAC of any algorithm.
pub(super) trait Mac: Send + 'static {
    fn update(&mut self, data: &[u8]);

    /// Writes the whole MAC at the front of `out`, and begins anew.
    fn finish(&mut self, out: &mut [u8; MAX_LEN]);

    /// Forgets the message so far.
    fn reset(&mut self);

    /// Begins a message under new parameters, whose length the operation has seen to.
    fn start(&mut self, params: &Params) -> Result<()> {
        let _ = params;
        self.reset();
        Ok(())
    }

    /// What an algorithm whose steps can fail has met with.
    fn failed(&mut self) -> Option<Error> {
        None
    }
}

/// The rule of a mechanism for its MAC's length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Always(usize),
    /// As the parameters say, from 1 to this.
    UpTo(usize),
    /// As `CK_GCM_PARAMS` has it.
    Tag,
    /// That of SHA-512/t: the parameter is t.
    Truncated(Bits),
}

impl Length {
    /// A row without parameters gives the whole MAC, of `full` bytes.
    pub(super) fn of(row: &Row, full: usize) -> Length {
        if row.params == ParamKind::MacLength { Length::UpTo(full) } else { Length::Always(full) }
    }

    /// `CKR_MECHANISM_PARAM_INVALID`
    fn under(self, params: &Params) -> Result<usize> {
        match (self, params) {
            (Length::Always(len), Params::None) => Ok(len),
            (Length::UpTo(full), &Params::MacLength(len)) => {
                let len = usize::try_from(len).ok().filter(|len| (1..=full).contains(len));
                Ok(len.ok_or(Code::MechanismParamInvalid)?)
            }
            (Length::Tag, &Params::Gcm { tag_bits, .. }) => tag_len(tag_bits),
            (Length::Truncated(bits), &Params::MacLength(t)) if Bits::new(t) == Some(bits) => Ok(bits.len()),
            _ => Err(Code::MechanismParamInvalid.into()),
        }
    }
}

/// Signing or verifying with `mac`. `CKR_MECHANISM_PARAM_INVALID`, or `CKR_MECHANISM_INVALID` for another use.
pub(super) fn begin_mac(mac: impl Mac, length: Length, what: Use, params: &Params) -> Result<Box<dyn Operation>> {
    if !matches!(what, Use::Sign | Use::Verify) {
        return Err(Code::MechanismInvalid.into());
    }
    Ok(Box::new(MacOperation { mac, length, len: length.under(params)? }))
}

struct MacOperation<M> {
    mac: M,
    length: Length,
    len: usize,
}

impl<M: Mac> MacOperation<M> {
    fn mac(&mut self) -> Result<Zeroizing<[u8; MAX_LEN]>> {
        let mut mac = Zeroizing::new([0; MAX_LEN]);
        self.mac.finish(&mut mac);
        self.mac.failed().map_or(Ok(mac), Err)
    }
}

impl<M: Mac> Operation for MacOperation<M> {
    fn size(&mut self, step: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(if step == Step::Update { 0 } else { self.len }))
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.mac.update(input);
        Ok(0)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        let mac = self.mac()?;
        let (out, mac) = out.get_mut(..self.len).zip(mac.get(..self.len)).ok_or(Code::GeneralError)?;
        out.copy_from_slice(mac);
        Ok(self.len)
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        if signature.len() != self.len {
            return Err(Code::SignatureLenRange.into());
        }
        self.mac.update(input.unwrap_or_default());
        let good = self.mac()?.get(..self.len).ok_or(Code::GeneralError)?.ct_eq(signature);
        if good.into() { Ok(()) } else { Err(Code::SignatureInvalid.into()) }
    }

    fn restart(&mut self, params: &Params) -> bool {
        let Ok(len) = self.length.under(params) else { return false };
        self.len = len;
        self.mac.start(params).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::of_row;
    use super::super::testing;
    use super::*;
    use crate::crypto::digest::Digest;
    use crate::secret::SecretBytes;
    use crate::token::Attribute;

    fn begin_row(row: &'static Row, what: Use, params: &Params) -> Result<Box<dyn Operation>, Code> {
        let key = Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(b"short"))));
        row.does.begin.unwrap()(row, what, params, Some(&key)).map_err(|e| e.code())
    }

    fn rows(params: ParamKind) -> impl Iterator<Item = &'static Row> {
        let truncated = Some(CKM_SHA512_T);
        ROWS.iter().filter(move |row| row.does.begin.is_some() && row.params == params && row.hash != truncated)
    }

    fn expected(row: &Row, data: &[u8]) -> Vec<u8> {
        HmacKey::new(of_row(row).unwrap(), b"short").mac(data).to_vec()
    }

    #[test]
    fn signs_and_verifies_whole_in_parts_and_again() {
        let mut seen = 0;
        for row in rows(ParamKind::None) {
            let mac = expected(row, b"one two");
            let mut sign = begin_row(row, Use::Sign, &Params::None).unwrap();
            let mut verify = begin_row(row, Use::Verify, &Params::None).unwrap();
            for _ in 0..2 {
                let mut out = vec![0; mac.len()];
                assert_eq!(sign.size(Step::Update, 3).unwrap(), Size::Exactly(0));
                assert_eq!(sign.size(Step::Finish, 0).unwrap(), Size::Exactly(mac.len()));
                sign.update(b"one", &mut []).unwrap();
                sign.update(b" two", &mut []).unwrap();
                assert_eq!((sign.finish(&mut out).unwrap(), &out), (mac.len(), &mac), "{}", row.name);
                verify.verify(Some(b"one two"), &mac).unwrap();
                assert!(sign.restart(&Params::None) && verify.restart(&Params::None));
                sign.update(b"left behind", &mut []).unwrap();
                verify.update(b"left behind", &mut []).unwrap();
                assert!(sign.restart(&Params::None) && verify.restart(&Params::None));
                sign.whole(b"one two", &mut out).unwrap();
                assert_eq!(out, mac, "{}", row.name);
                verify.update(b"one two", &mut []).unwrap();
                verify.verify(None, &mac).unwrap();
                assert!(sign.restart(&Params::None) && verify.restart(&Params::None));
            }
            let refused = verify.verify(Some(b"one twO"), &mac).unwrap_err().code();
            assert_eq!(refused, Code::SignatureInvalid);
            assert!(verify.restart(&Params::None));
            let refused = verify.verify(Some(b"one two"), &mac[1..]).unwrap_err().code();
            assert_eq!(refused, Code::SignatureLenRange);
            assert_eq!(begin_row(row, Use::Sign, &Params::MacLength(4)).err(), Some(Code::MechanismParamInvalid));
            assert_eq!(begin_row(row, Use::Encrypt, &Params::None).err(), Some(Code::MechanismInvalid));
            seen += 1;
        }
        assert_eq!(seen, Digest::ALL.len());
    }

    #[test]
    fn a_length_from_1_to_the_digests_and_no_other() {
        let mut seen = 0;
        for row in rows(ParamKind::MacLength) {
            let mac = expected(row, b"data");
            for len in 1..=mac.len() {
                let params = Params::MacLength(len as u64);
                let mut out = vec![0; len];
                let mut sign = begin_row(row, Use::Sign, &params).unwrap();
                assert_eq!(sign.whole(b"data", &mut out).unwrap(), len);
                assert_eq!(out, mac[..len], "{}", row.name);
                begin_row(row, Use::Verify, &params).unwrap().verify(Some(b"data"), &out).unwrap();
                // Another length under the same key.
                assert!(sign.restart(&Params::MacLength(1)));
                assert_eq!(sign.size(Step::Whole, 0).unwrap(), Size::Exactly(1));
            }
            for bad in [Params::MacLength(0), Params::MacLength(mac.len() as u64 + 1), Params::None] {
                assert_eq!(begin_row(row, Use::Sign, &bad).err(), Some(Code::MechanismParamInvalid), "{}", row.name);
            }
            seen += 1;
        }
        assert_eq!(seen, Digest::ALL.len());
    }

    #[test]
    fn sha512_t_takes_t_in_bits() {
        for ty in [CKM_SHA512_T_HMAC, CKM_SHA512_T_HMAC_GENERAL] {
            for (t, same) in [(224, CKM_SHA512_224_HMAC), (256, CKM_SHA512_256_HMAC)] {
                let expected = testing::whole(same, Use::Sign, &Params::None, b"short", b"data");
                assert_eq!(testing::whole(ty, Use::Sign, &Params::MacLength(t), b"short", b"data"), expected);
            }
            testing::mac_in_parts(ty, b"key", &Params::MacLength(100), 13);
            for bad in [0, 384, 512, u64::MAX] {
                let refused = testing::begin(ty, Use::Sign, &Params::MacLength(bad), b"key").err();
                assert_eq!(refused, Some(Code::MechanismParamInvalid));
            }
            // Another t is another function: a new operation.
            let mut sign = testing::begin(ty, Use::Sign, &Params::MacLength(100), b"key").unwrap();
            assert!(!sign.restart(&Params::MacLength(101)));
        }
    }

    /// RFC 2202, case 2 (MD5); RFC 2286, case 2 (RIPEMD-160); BLAKE2b by another implementation (Python's hashlib).
    #[test]
    fn the_older_and_other_hashes() {
        for (ty, mac) in [
            (CKM_MD5_HMAC, "750c783e6ab0b503eaa86e310a5db738"),
            (CKM_RIPEMD160_HMAC, "dda6c0213a485a9e24f4742064a7f033b43c4069"),
            (CKM_BLAKE2B_160_HMAC, "c4728ccc2f7600f89d9a480514910b9f5daf3dd6"),
            (CKM_BLAKE2B_256_HMAC, "3cf096eeeb2202a250db168c4823a44ef4618ebabb225789386fed316131e3a0"),
            (
                CKM_BLAKE2B_384_HMAC,
                "e87f61624bc6c1db706a1efcc98e7e98c0ab8fea0978dbd87e2852406fdd313c87968c5b825847f3c04d975b8b88598d",
            ),
            (
                CKM_BLAKE2B_512_HMAC,
                "6ff884f8ddc2a6586b3c98a4cd6ebdf14ec10204b6710073eb5865ade37a2643b8807c1335d107ecdb9ffeaeb6828c4625ba172c66379efcd222c2de11727ab4",
            ),
        ] {
            let made = testing::whole(ty, Use::Sign, &Params::None, b"Jefe", b"what do ya want for nothing?");
            assert_eq!(made, Ok(testing::hex(mac)), "{ty:#x}");
        }
    }

    #[test]
    fn a_key_of_each_hash_is_generated() {
        let generators: Vec<&Row> = ROWS.iter().filter(|row| row.does.generate.is_some()).collect();
        // None for MD5 and RIPEMD-160; one for SHA-512/t.
        assert_eq!(generators.len(), Digest::ALL.len() - 2 + 1);
        for row in generators {
            let template = [Attribute::ulong(CKA_VALUE_LEN, 20)].into_iter().collect();
            let made = row.does.generate.unwrap()(row, &Params::None, &template).unwrap();
            let made: crate::object::Attributes = made.into_iter().collect();
            assert_eq!(made.bytes(CKA_VALUE).map(<[u8]>::len), Some(20), "{}", row.name);
            // The key type generated is one that the hash's own HMAC row takes.
            let own = |hmac: &&Row| hmac.does.begin.is_some() && hmac.hash == row.hash;
            let taken = ROWS.iter().find(own).unwrap().keys;
            assert!(row.keys.iter().all(|key| taken.contains(key)), "{}", row.name);
        }
    }
}
