//! A token with a key of each type, and calls that give their code.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::mechanism::table::Row;

use crate::module::{Attr, Module, attributes, bytes, no, plain, ulong, yes};

pub const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
pub const X25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x6e];

const SECRET_USES: [CK_ATTRIBUTE_TYPE; 7] =
    [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE];
const PUBLIC_USES: [CK_ATTRIBUTE_TYPE; 6] =
    [CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP, CKA_DERIVE, CKA_ENCAPSULATE];
const PRIVATE_USES: [CK_ATTRIBUTE_TYPE; 6] =
    [CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP, CKA_DERIVE, CKA_DECAPSULATE];

/// More than any result is longer than its input: signatures of SLH-DSA are the longest.
const ROOM: usize = 1 << 16;

/// A function that uses a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum F {
    Encrypt,
    Decrypt,
    Digest,
    Sign,
    SignRecover,
    Verify,
    VerifyRecover,
    Generate,
    GeneratePair,
    Wrap,
    Unwrap,
    Derive,
    Encapsulate,
    Decapsulate,
}

pub const FUNCTIONS: [(CK_FLAGS, F); 14] = [
    (CKF_ENCRYPT, F::Encrypt),
    (CKF_DECRYPT, F::Decrypt),
    (CKF_DIGEST, F::Digest),
    (CKF_SIGN, F::Sign),
    (CKF_SIGN_RECOVER, F::SignRecover),
    (CKF_VERIFY, F::Verify),
    (CKF_VERIFY_RECOVER, F::VerifyRecover),
    (CKF_GENERATE, F::Generate),
    (CKF_GENERATE_KEY_PAIR, F::GeneratePair),
    (CKF_WRAP, F::Wrap),
    (CKF_UNWRAP, F::Unwrap),
    (CKF_DERIVE, F::Derive),
    (CKF_ENCAPSULATE, F::Encapsulate),
    (CKF_DECAPSULATE, F::Decapsulate),
];

impl F {
    /// Whether it takes the public half of a pair.
    pub fn is_public(self) -> bool {
        matches!(self, F::Encrypt | F::Verify | F::VerifyRecover | F::Wrap | F::Encapsulate)
    }
}

pub struct World {
    pub module: Module,
    pairs: RefCell<HashMap<CK_KEY_TYPE, (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)>>,
}

/// The cases of a clause: name, code seen, code expected.
pub struct Table(&'static str, Vec<(String, CK_RV, CK_RV)>);

impl Table {
    pub fn new(clause: &'static str) -> Table {
        Table(clause, Vec::new())
    }

    pub fn add(&mut self, name: impl Into<String>, seen: CK_RV, expected: CK_RV) {
        self.1.push((name.into(), seen, expected));
    }

    /// The cases whose code was another. There are at least so many cases.
    #[must_use]
    pub fn wrong(self, least: usize) -> Vec<String> {
        assert!(self.1.len() >= least, "{}: {} cases only", self.0, self.1.len());
        let told = |(name, seen, expected): &(String, CK_RV, CK_RV)| {
            (seen != expected).then(|| format!("{}: {name}: {seen:#x}, expected {expected:#x}", self.0))
        };
        self.1.iter().filter_map(told).collect()
    }
}

// SAFETY of all calls below: every pointer is to a live Rust value whose length is passed with it.
impl World {
    pub fn new(directory: &Path) -> World {
        World { module: Module::new(directory), pairs: RefCell::default() }
    }

    pub fn secret(&self, key_type: CK_KEY_TYPE, value: &[u8]) -> CK_OBJECT_HANDLE {
        self.module.create(&secret_template(key_type, value))
    }

    pub fn aes(&self) -> CK_OBJECT_HANDLE {
        self.secret(CKK_AES, &[0x42; 32])
    }

    pub fn try_create(&self, template: &[Attr]) -> CK_RV {
        let (mut template, mut handle) = (attributes(template), 0);
        let count = template.len() as CK_ULONG;
        // SAFETY: see above.
        unsafe { self.module.api.C_CreateObject(self.module.session, template.as_mut_ptr(), count, &mut handle) }
    }

    /// The public and the private half of a pair of this type, generated once.
    pub fn pair(&self, key_type: CK_KEY_TYPE) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        if let Some(pair) = self.pairs.borrow().get(&key_type) {
            return *pair;
        }
        let (ty, mut public) = match key_type {
            CKK_RSA => (CKM_RSA_PKCS_KEY_PAIR_GEN, vec![ulong(CKA_MODULUS_BITS, 2048)]),
            CKK_EC => (CKM_EC_KEY_PAIR_GEN, vec![bytes(CKA_EC_PARAMS, P256)]),
            CKK_EC_EDWARDS => (CKM_EC_EDWARDS_KEY_PAIR_GEN, vec![bytes(CKA_EC_PARAMS, ED25519)]),
            CKK_EC_MONTGOMERY => (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, vec![bytes(CKA_EC_PARAMS, X25519)]),
            CKK_ML_KEM => (CKM_ML_KEM_KEY_PAIR_GEN, vec![ulong(CKA_PARAMETER_SET, CKP_ML_KEM_768)]),
            CKK_ML_DSA => (CKM_ML_DSA_KEY_PAIR_GEN, vec![ulong(CKA_PARAMETER_SET, CKP_ML_DSA_65)]),
            CKK_SLH_DSA => (CKM_SLH_DSA_KEY_PAIR_GEN, vec![ulong(CKA_PARAMETER_SET, CKP_SLH_DSA_SHA2_128F)]),
            CKK_DSA | CKK_DH | CKK_X9_42_DH => self.finite(key_type),
            _ => panic!("{key_type:#x}"),
        };
        public.extend(PUBLIC_USES.map(yes));
        let mut private: Vec<Attr> = PRIVATE_USES.map(yes).to_vec();
        private.extend([no(CKA_SENSITIVE), yes(CKA_EXTRACTABLE)]);
        let pair = self.module.generate_pair(ty, &public, &private);
        self.pairs.borrow_mut().insert(key_type, pair);
        pair
    }

    fn finite(&self, key_type: CK_KEY_TYPE) -> (CK_MECHANISM_TYPE, Vec<Attr>) {
        let parameters = self.module.generate(plain(CKM_DSA_PARAMETER_GEN), &[ulong(CKA_PRIME_BITS, 1024)]);
        let get = |types: &[CK_ATTRIBUTE_TYPE]| {
            types.iter().map(|ty| (*ty, self.module.value(parameters, *ty))).collect::<Vec<Attr>>()
        };
        match key_type {
            CKK_DSA => (CKM_DSA_KEY_PAIR_GEN, get(&[CKA_PRIME, CKA_SUBPRIME, CKA_BASE])),
            CKK_DH => (CKM_DH_PKCS_KEY_PAIR_GEN, get(&[CKA_PRIME, CKA_BASE])),
            _ => (CKM_X9_42_DH_KEY_PAIR_GEN, get(&[CKA_PRIME, CKA_SUBPRIME, CKA_BASE])),
        }
    }

    /// A key that the row can use in this function; `None` for the key types that this file has no private key of.
    pub fn key_for(&self, row: &Row, function: F) -> Option<CK_OBJECT_HANDLE> {
        if matches!(function, F::Digest | F::Generate | F::GeneratePair) {
            return Some(0);
        }
        let key_type = *row.keys.first()?;
        match key_type {
            CKK_HSS | CKK_XMSS | CKK_XMSSMT => None,
            CKK_RSA | CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY | CKK_ML_KEM | CKK_ML_DSA | CKK_SLH_DSA | CKK_DSA
            | CKK_DH | CKK_X9_42_DH => {
                let (public, private) = self.pair(key_type);
                Some(if function.is_public() { public } else { private })
            }
            CKK_HOTP => Some(self.module.create(&[
                ulong(CKA_CLASS, CKO_OTP_KEY),
                ulong(CKA_KEY_TYPE, CKK_HOTP),
                bytes(CKA_VALUE, &[7; 20]),
                yes(CKA_SIGN),
                yes(CKA_VERIFY),
            ])),
            _ => Some(self.secret(key_type, &vec![0x31; secret_length(key_type)])),
        }
    }

    /// Begins by this function, and leaves nothing begun.
    pub fn begin(&self, function: F, mut by: CK_MECHANISM, key: CK_OBJECT_HANDLE) -> CK_RV {
        let (api, session, mech) = (&self.module.api, self.module.session, &raw mut by);
        let mut data = *b"sixteen bytes!!!sixteen bytes!!!";
        let (place, len) = (data.as_mut_ptr(), data.len() as CK_ULONG);
        let (mut out, mut room, mut made) = ([0u8; 8192], 8192, [0; 2]);
        // SAFETY: see above.
        unsafe {
            let rv = match function {
                F::Encrypt => api.C_EncryptInit(session, mech, key),
                F::Decrypt => api.C_DecryptInit(session, mech, key),
                F::Digest => api.C_DigestInit(session, mech),
                F::Sign => api.C_SignInit(session, mech, key),
                F::SignRecover => api.C_SignRecoverInit(session, mech, key),
                F::Verify => api.C_VerifyInit(session, mech, key),
                F::VerifyRecover => api.C_VerifyRecoverInit(session, mech, key),
                F::Generate => {
                    let wanted = [ulong(CKA_VALUE_LEN, 32)];
                    let mut wanted = attributes(&wanted);
                    api.C_GenerateKey(session, mech, wanted.as_mut_ptr(), 1, &mut made[0])
                }
                F::GeneratePair => {
                    let [a, b] = &mut made;
                    api.C_GenerateKeyPair(session, mech, null_mut(), 0, null_mut(), 0, a, b)
                }
                F::Wrap => {
                    let target = self.aes();
                    api.C_WrapKey(session, mech, key, target, out.as_mut_ptr(), &mut room)
                }
                F::Unwrap | F::Derive | F::Encapsulate | F::Decapsulate => {
                    let wanted = wanted();
                    let mut wanted = attributes(&wanted);
                    let (template, count) = (wanted.as_mut_ptr(), wanted.len() as CK_ULONG);
                    let new = &mut made[0];
                    match function {
                        F::Unwrap => api.C_UnwrapKey(session, mech, key, place, len, template, count, new),
                        F::Derive => api.C_DeriveKey(session, mech, key, template, count, new),
                        F::Encapsulate => {
                            api.C_EncapsulateKey(session, mech, key, template, count, out.as_mut_ptr(), &mut room, new)
                        }
                        _ => api.C_DecapsulateKey(session, mech, key, template, count, place, len, new),
                    }
                }
            };
            if rv == CKR_OK {
                self.cancel(function);
            }
            rv
        }
    }

    /// Ends what `function` began.
    fn cancel(&self, function: F) {
        let (api, session) = (&self.module.api, self.module.session);
        // SAFETY: see above.
        unsafe {
            match function {
                F::Encrypt => api.C_EncryptInit(session, null_mut(), 0),
                F::Decrypt => api.C_DecryptInit(session, null_mut(), 0),
                F::Digest => api.C_DigestInit(session, null_mut()),
                F::Sign => api.C_SignInit(session, null_mut(), 0),
                F::SignRecover => api.C_SignRecoverInit(session, null_mut(), 0),
                F::Verify => api.C_VerifyInit(session, null_mut(), 0),
                F::VerifyRecover => api.C_VerifyRecoverInit(session, null_mut(), 0),
                _ => CKR_OK,
            };
        }
    }

    /// Begins, and does it in one call: the code of the first that refuses, and what came out.
    pub fn once(&self, function: F, mut by: CK_MECHANISM, key: CK_OBJECT_HANDLE, input: &[u8]) -> (CK_RV, Vec<u8>) {
        let (api, session) = (&self.module.api, self.module.session);
        let (mut out, mut len) = (vec![0; input.len() + ROOM], (input.len() + ROOM) as CK_ULONG);
        let (data, n) = (input.as_ptr().cast_mut(), input.len() as CK_ULONG);
        // SAFETY: see above.
        let rv = unsafe {
            let begun = match function {
                F::Encrypt => api.C_EncryptInit(session, &mut by, key),
                F::Decrypt => api.C_DecryptInit(session, &mut by, key),
                F::Sign => api.C_SignInit(session, &mut by, key),
                _ => panic!("{function:?}"),
            };
            match function {
                _ if begun != CKR_OK => begun,
                F::Encrypt => api.C_Encrypt(session, data, n, out.as_mut_ptr(), &mut len),
                F::Decrypt => api.C_Decrypt(session, data, n, out.as_mut_ptr(), &mut len),
                _ => api.C_Sign(session, data, n, out.as_mut_ptr(), &mut len),
            }
        };
        out.truncate(if rv == CKR_OK { len as usize } else { 0 });
        (rv, out)
    }

    pub fn try_pair(&self, ty: CK_MECHANISM_TYPE, public: &[Attr]) -> CK_RV {
        let (mut public, mut made) = (attributes(public), [0; 2]);
        let [a, b] = &mut made;
        let (template, count) = (public.as_mut_ptr(), public.len() as CK_ULONG);
        let session = self.module.session;
        // SAFETY: see above.
        unsafe { self.module.api.C_GenerateKeyPair(session, &mut plain(ty), template, count, null_mut(), 0, a, b) }
    }

    /// Ciphertext and new key.
    pub fn encapsulate(&self, public: CK_OBJECT_HANDLE) -> (Vec<u8>, CK_OBJECT_HANDLE) {
        let (wanted, mut out, mut len, mut handle) = (wanted(), vec![0; 4096], 4096, 0);
        let mut wanted = attributes(&wanted);
        let (template, count) = (wanted.as_mut_ptr(), wanted.len() as CK_ULONG);
        let session = self.module.session;
        // SAFETY: see above.
        let rv = unsafe {
            let (place, len, handle) = (out.as_mut_ptr(), &mut len, &mut handle);
            self.module.api.C_EncapsulateKey(
                session,
                &mut plain(CKM_ML_KEM),
                public,
                template,
                count,
                place,
                len,
                handle,
            )
        };
        assert_eq!(rv, CKR_OK);
        out.truncate(len as usize);
        (out, handle)
    }

    /// The code, and the new key's value.
    pub fn decapsulate(&self, private: CK_OBJECT_HANDLE, ciphertext: &[u8]) -> (CK_RV, Vec<u8>) {
        let (wanted, mut handle) = (wanted(), 0);
        let mut wanted = attributes(&wanted);
        let (template, count) = (wanted.as_mut_ptr(), wanted.len() as CK_ULONG);
        let (data, len) = (ciphertext.as_ptr().cast_mut(), ciphertext.len() as CK_ULONG);
        let session = self.module.session;
        // SAFETY: see above.
        let rv = unsafe {
            let mut by = plain(CKM_ML_KEM);
            self.module.api.C_DecapsulateKey(session, &mut by, private, template, count, data, len, &mut handle)
        };
        (rv, if rv == CKR_OK { self.module.value(handle, CKA_VALUE) } else { Vec::new() })
    }

    /// Unwraps into a key of this template: the code, and the new handle.
    pub fn unwrap(
        &self,
        mut by: CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &[Attr],
    ) -> (CK_RV, CK_OBJECT_HANDLE) {
        let (mut template, mut handle) = (attributes(template), 0);
        let (data, len) = (wrapped.as_ptr().cast_mut(), wrapped.len() as CK_ULONG);
        let count = template.len() as CK_ULONG;
        // SAFETY: see above.
        let rv = unsafe {
            self.module.api.C_UnwrapKey(
                self.module.session,
                &mut by,
                key,
                data,
                len,
                template.as_mut_ptr(),
                count,
                &mut handle,
            )
        };
        (rv, handle)
    }
}

/// What a key made of other keys is to be.
pub fn wanted() -> Vec<Attr> {
    vec![
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        ulong(CKA_VALUE_LEN, 16),
        no(CKA_SENSITIVE),
        yes(CKA_EXTRACTABLE),
    ]
}

pub fn secret_template(key_type: CK_KEY_TYPE, value: &[u8]) -> Vec<Attr> {
    let own = [
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, key_type),
        bytes(CKA_VALUE, value),
        no(CKA_SENSITIVE),
        yes(CKA_EXTRACTABLE),
    ];
    own.into_iter().chain(SECRET_USES.map(yes)).collect()
}

/// Bytes that a key of this type may have.
pub fn secret_length(key_type: CK_KEY_TYPE) -> usize {
    match key_type {
        CKK_DES => 8,
        CKK_DES2 | CKK_SEED => 16,
        CKK_DES3 => 24,
        CKK_AES_XTS => 64,
        CKK_GENERIC_SECRET => 48,
        _ => 32,
    }
}
