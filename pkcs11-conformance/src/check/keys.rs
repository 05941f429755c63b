//! Keys for tests: made in the session, by import where the module lets us and by generation otherwise.

use cryptoki_sys::*;

use crate::context::{Stop, skip};
use crate::data::{Mech, Template};
use crate::ffi::Session;

/// A kind of key, and how the tests get one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// For digests.
    None,
    /// AES of this many bytes.
    Aes(u64),
    /// AES-XTS of this many bytes.
    AesXts(u64),
    Des3,
    ChaCha20,
    /// A generic secret of this many bytes.
    Generic(u64),
    Rsa,
    /// A key on this curve (DER of the OID).
    Ec(&'static [u8]),
    Edwards(&'static [u8]),
    Montgomery(&'static [u8]),
    Dsa,
    /// Parameter set.
    MlDsa(CK_ULONG),
    MlKem(CK_ULONG),
    SlhDsa(CK_ULONG),
}

pub const P224: &[u8] = &[6, 5, 0x2B, 0x81, 4, 0, 33];
pub const P256: &[u8] = &[6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
pub const P384: &[u8] = &[6, 5, 0x2B, 0x81, 4, 0, 34];
pub const P521: &[u8] = &[6, 5, 0x2B, 0x81, 4, 0, 35];
pub const SECP256K1: &[u8] = &[6, 5, 0x2B, 0x81, 4, 0, 10];
pub const ED25519: &[u8] = &[6, 3, 0x2B, 0x65, 0x70];
pub const ED448: &[u8] = &[6, 3, 0x2B, 0x65, 0x71];
pub const X25519: &[u8] = &[6, 3, 0x2B, 0x65, 0x6E];
pub const X448: &[u8] = &[6, 3, 0x2B, 0x65, 0x6F];

/// Two handles of one key: the secret or private half, and the one that undoes its work (the same for a secret key).
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    pub private: CK_OBJECT_HANDLE,
    pub public: CK_OBJECT_HANDLE,
}

/// All uses of a secret key.
const SECRET_USES: &[CK_ATTRIBUTE_TYPE] =
    &[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE];

impl Kind {
    pub fn is_pair(self) -> bool {
        !matches!(self, Kind::None | Kind::Aes(_) | Kind::AesXts(_) | Kind::Des3 | Kind::ChaCha20 | Kind::Generic(_))
    }

    /// How it is generated.
    pub fn generator(self) -> CK_MECHANISM_TYPE {
        match self {
            Kind::None => 0,
            Kind::Aes(_) => CKM_AES_KEY_GEN,
            Kind::AesXts(_) => CKM_AES_XTS_KEY_GEN,
            Kind::Des3 => CKM_DES3_KEY_GEN,
            Kind::ChaCha20 => CKM_CHACHA20_KEY_GEN,
            Kind::Generic(_) => CKM_GENERIC_SECRET_KEY_GEN,
            Kind::Rsa => CKM_RSA_PKCS_KEY_PAIR_GEN,
            Kind::Ec(_) => CKM_EC_KEY_PAIR_GEN,
            Kind::Edwards(_) => CKM_EC_EDWARDS_KEY_PAIR_GEN,
            Kind::Montgomery(_) => CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
            Kind::Dsa => CKM_DSA_KEY_PAIR_GEN,
            Kind::MlDsa(_) => CKM_ML_DSA_KEY_PAIR_GEN,
            Kind::MlKem(_) => CKM_ML_KEM_KEY_PAIR_GEN,
            Kind::SlhDsa(_) => CKM_SLH_DSA_KEY_PAIR_GEN,
        }
    }

    /// The key type as the attribute tells it.
    pub fn key_type(self) -> CK_KEY_TYPE {
        match self {
            Kind::None | Kind::Generic(_) => CKK_GENERIC_SECRET,
            Kind::Aes(_) => CKK_AES,
            Kind::AesXts(_) => CKK_AES_XTS,
            Kind::Des3 => CKK_DES3,
            Kind::ChaCha20 => CKK_CHACHA20,
            Kind::Rsa => CKK_RSA,
            Kind::Ec(_) => CKK_EC,
            Kind::Edwards(_) => CKK_EC_EDWARDS,
            Kind::Montgomery(_) => CKK_EC_MONTGOMERY,
            Kind::Dsa => CKK_DSA,
            Kind::MlDsa(_) => CKK_ML_DSA,
            Kind::MlKem(_) => CKK_ML_KEM,
            Kind::SlhDsa(_) => CKK_SLH_DSA,
        }
    }

    /// Uses of the private and of the public half.
    fn uses(self) -> (&'static [CK_ATTRIBUTE_TYPE], &'static [CK_ATTRIBUTE_TYPE]) {
        match self {
            Kind::Rsa => (
                &[CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP],
                &[CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP],
            ),
            Kind::Ec(_) => (&[CKA_SIGN, CKA_DERIVE], &[CKA_VERIFY]),
            Kind::Montgomery(_) => (&[CKA_DERIVE], &[]),
            Kind::MlKem(_) => (&[CKA_DECAPSULATE], &[CKA_ENCAPSULATE]),
            _ => (&[CKA_SIGN], &[CKA_VERIFY]),
        }
    }

    /// Templates for generating a pair: public and private.
    pub fn pair_templates(self) -> (Template, Template) {
        let (private_uses, public_uses) = self.uses();
        let session = || Template::new().flag(CKA_TOKEN, false);
        let public = session().yes(public_uses);
        let private = session().yes(private_uses).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
        let public = match self {
            Kind::Rsa => public.ulong(CKA_MODULUS_BITS, 2048).bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1]),
            Kind::Ec(oid) | Kind::Edwards(oid) | Kind::Montgomery(oid) => public.bytes(CKA_EC_PARAMS, oid),
            Kind::MlDsa(set) | Kind::MlKem(set) | Kind::SlhDsa(set) => public.ulong(CKA_PARAMETER_SET, set),
            _ => public,
        };
        (public, private)
    }

    /// Template for generating or creating a secret key, readable and with all uses.
    pub fn secret_template(self) -> Template {
        let t = Template::new()
            .flag(CKA_TOKEN, false)
            .flag(CKA_SENSITIVE, false)
            .flag(CKA_EXTRACTABLE, true)
            .yes(SECRET_USES);
        match self {
            Kind::Aes(n) | Kind::AesXts(n) | Kind::Generic(n) => t.ulong(CKA_VALUE_LEN, n),
            _ => t,
        }
    }

    /// Makes a key with all its uses; `extra` is added to the secret key's or both halves' templates.
    pub fn make_with(self, s: Session, extra: &Template) -> Result<Keys, Stop> {
        if self == Kind::None {
            return Ok(Keys { private: 0, public: 0 });
        }
        if self == Kind::Rsa
            && let Ok(keys) = super::rsa_key::import(s, extra)
        {
            return Ok(keys);
        }
        if self == Kind::Dsa {
            return skip("no DSA domain parameters among the test's keys");
        }
        let m = Mech::new(self.generator());
        if !self.is_pair() {
            let key = s.generate(&m, &self.secret_template().with(extra))?;
            return Ok(Keys { private: key, public: key });
        }
        let (public, private) = self.pair_templates();
        let (public, private) = s.generate_pair(&m, &public.with(extra), &private.with(extra))?;
        Ok(Keys { private, public })
    }

    pub fn make(self, s: Session) -> Result<Keys, Stop> {
        self.make_with(s, &Template::new())
    }
}
