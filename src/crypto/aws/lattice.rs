//! The bindings to AWS-LC for ML-KEM and ML-DSA.
//!
//! All but one function are of its public interface. ML-DSA signatures are made by the function below it, which takes the
//! randomness from its caller: the public one cannot make the deterministic variant.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use aws_lc_sys as ffi;

use super::{Refused, Result, done, made};

/// One of AWS-LC's algorithms, by the number that it has there.
#[derive(Clone, Copy)]
pub(super) struct Algorithm(c_int);

impl Algorithm {
    pub const ML_KEM_512: Algorithm = Algorithm(ffi::NID_MLKEM512);
    pub const ML_KEM_768: Algorithm = Algorithm(ffi::NID_MLKEM768);
    pub const ML_KEM_1024: Algorithm = Algorithm(ffi::NID_MLKEM1024);
    pub const ML_DSA_44: Algorithm = Algorithm(ffi::NID_MLDSA44);
    pub const ML_DSA_65: Algorithm = Algorithm(ffi::NID_MLDSA65);
    pub const ML_DSA_87: Algorithm = Algorithm(ffi::NID_MLDSA87);
}

/// A key of any algorithm. Threads may share it: nothing changes it once it is made.
pub(super) struct Pkey(NonNull<ffi::EVP_PKEY>);

// SAFETY: nothing in an `EVP_PKEY` belongs to a thread.
unsafe impl Send for Pkey {}
// SAFETY: the operations below only read the key; its count of references is atomic.
unsafe impl Sync for Pkey {}

impl Drop for Pkey {
    fn drop(&mut self) {
        // SAFETY: we own this reference, and nothing uses it after this.
        unsafe { ffi::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// One running operation.
struct Context(NonNull<ffi::EVP_PKEY_CTX>);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: we own the pointer, and nothing uses it after this.
        unsafe { ffi::EVP_PKEY_CTX_free(self.0.as_ptr()) }
    }
}

type GetRaw = unsafe extern "C" fn(*const ffi::EVP_PKEY, *mut u8, *mut usize) -> c_int;

impl Pkey {
    fn context(&self) -> Result<Context> {
        // SAFETY: a live key, of which the context takes a reference; NULL: no engine.
        made(unsafe { ffi::EVP_PKEY_CTX_new(self.0.as_ptr(), ptr::null_mut()) }).map(Context)
    }

    /// ML-KEM.KeyGen_internal of d || z.
    pub fn kem_from_seed(algorithm: Algorithm, seed: &[u8]) -> Result<Pkey> {
        // SAFETY: takes no pointer but NULL, for no engine; the result is checked for NULL.
        let context = Context(made(unsafe { ffi::EVP_PKEY_CTX_new_id(ffi::EVP_PKEY_KEM, ptr::null_mut()) })?);
        let (mut key, mut len) = (ptr::null_mut(), seed.len());
        // SAFETY: a live context; the seed's pointer and length are those of one slice; `key` takes a new key.
        unsafe {
            done(ffi::EVP_PKEY_CTX_kem_set_params(context.0.as_ptr(), algorithm.0))?;
            done(ffi::EVP_PKEY_keygen_init(context.0.as_ptr()))?;
            done(ffi::EVP_PKEY_keygen_deterministic(context.0.as_ptr(), &mut key, seed.as_ptr(), &mut len))?;
        }
        made(key).map(Pkey)
    }

    /// Refused where the length is wrong; [`Pkey::encapsulate`] refuses what is no encapsulation key.
    pub fn kem_public(algorithm: Algorithm, key: &[u8]) -> Result<Pkey> {
        // SAFETY: the pointer and the length are those of one slice, which is copied.
        made(unsafe { ffi::EVP_PKEY_kem_new_raw_public_key(algorithm.0, key.as_ptr(), key.len()) }).map(Pkey)
    }

    /// Refused unless both are keys, and of each other (FIPS 203, 7.1 and 7.3).
    pub fn kem_pair(algorithm: Algorithm, public: &[u8], private: &[u8]) -> Result<Pkey> {
        let (from, len) = (public.as_ptr(), public.len());
        // SAFETY: pointers and lengths are those of one slice each, which are copied.
        let key = Pkey(made(unsafe {
            ffi::EVP_PKEY_kem_new_raw_key(algorithm.0, from, len, private.as_ptr(), private.len())
        })?);
        // SAFETY: a live key, which the function only reads.
        done(unsafe { ffi::EVP_PKEY_kem_check_key(key.0.as_ptr()) })?;
        Ok(key)
    }

    /// ML-KEM.Encaps_internal. Refused unless the key passes the modulus check and all lengths are the algorithm's.
    pub fn encapsulate(&self, seed: &[u8], ciphertext: &mut [u8], shared: &mut [u8]) -> Result<()> {
        let context = self.context()?;
        let (mut len, mut shared_len, mut seed_len) = (ciphertext.len(), shared.len(), seed.len());
        // SAFETY: a live context; each pointer goes with the length of its slice.
        done(unsafe {
            ffi::EVP_PKEY_encapsulate_deterministic(
                context.0.as_ptr(),
                ciphertext.as_mut_ptr(),
                &mut len,
                shared.as_mut_ptr(),
                &mut shared_len,
                seed.as_ptr(),
                &mut seed_len,
            )
        })?;
        if (len, shared_len) == (ciphertext.len(), shared.len()) { Ok(()) } else { Err(Refused) }
    }

    /// ML-KEM.Decaps. Refused unless both lengths are the algorithm's.
    pub fn decapsulate(&self, ciphertext: &[u8], shared: &mut [u8]) -> Result<()> {
        let context = self.context()?;
        let (from, mut len) = (ciphertext.as_ptr(), shared.len());
        // SAFETY: a live context; each pointer goes with the length of its slice.
        done(unsafe {
            ffi::EVP_PKEY_decapsulate(context.0.as_ptr(), shared.as_mut_ptr(), &mut len, from, ciphertext.len())
        })?;
        if len == shared.len() { Ok(()) } else { Err(Refused) }
    }

    /// Refused where the length is wrong: any bytes of the right length are an ML-DSA public key.
    pub fn dsa_public(algorithm: Algorithm, key: &[u8]) -> Result<Pkey> {
        // SAFETY: the pointer and the length are those of one slice, which is copied.
        made(unsafe { ffi::EVP_PKEY_pqdsa_new_raw_public_key(algorithm.0, key.as_ptr(), key.len()) }).map(Pkey)
    }

    /// From the seed or from the expanded key, which the length decides; the public key comes with it. Refused where an
    /// expanded key's parts do not belong together.
    pub fn dsa_private(algorithm: Algorithm, key: &[u8]) -> Result<Pkey> {
        // SAFETY: the pointer and the length are those of one slice, which is copied.
        made(unsafe { ffi::EVP_PKEY_pqdsa_new_raw_private_key(algorithm.0, key.as_ptr(), key.len()) }).map(Pkey)
    }

    /// ML-DSA.Verify_internal from its second half on: what is signed is mu, of 64 bytes.
    pub fn verify_mu(&self, mu: &[u8; 64], signature: &[u8]) -> Result<()> {
        let context = self.context()?;
        let (from, len) = (signature.as_ptr(), signature.len());
        // SAFETY: a live context; each pointer goes with the length of its slice.
        unsafe {
            done(ffi::EVP_PKEY_verify_init(context.0.as_ptr()))?;
            done(ffi::EVP_PKEY_verify(context.0.as_ptr(), from, len, mu.as_ptr(), mu.len()))
        }
    }

    /// The public key's bytes; refused unless `out` is exactly as long.
    pub fn public(&self, out: &mut [u8]) -> Result<()> {
        self.raw(ffi::EVP_PKEY_get_raw_public_key, out)
    }

    /// The expanded private key's bytes; refused unless `out` is exactly as long, and for a public key.
    pub fn private(&self, out: &mut [u8]) -> Result<()> {
        self.raw(ffi::EVP_PKEY_get_raw_private_key, out)
    }

    fn raw(&self, get: GetRaw, out: &mut [u8]) -> Result<()> {
        let mut len = out.len();
        // SAFETY: a live key; the function writes at most `len` bytes, the length of the slice.
        done(unsafe { get(self.0.as_ptr(), out.as_mut_ptr(), &mut len) })?;
        if len == out.len() { Ok(()) } else { Err(Refused) }
    }
}

/// `ml_dsa_extmu_*_sign_internal` of AWS-LC's crypto/fipsmodule/ml_dsa/ml_dsa.h, version 0.47: private key, signature and
/// its length, mu and its length, a prefix (unused with mu) and its length, 32 bytes of randomness.
type SignMu =
    unsafe extern "C" fn(*const u8, *mut u8, *mut usize, *const u8, usize, *const u8, usize, *const u8) -> c_int;

macro_rules! sign_mu {
    ($($name:ident = $symbol:literal;)*) => {
        // SAFETY: the prototypes are those of the header named at `SignMu`, in the version that Cargo.lock holds; no
        // compiler compares them, so they are to be read again with each new version.
        unsafe extern "C" {
            $(#[link_name = concat!(env!("AWS_LC_PREFIX"), $symbol)]
            fn $name(
                private: *const u8,
                signature: *mut u8,
                signature_len: *mut usize,
                mu: *const u8,
                mu_len: usize,
                prefix: *const u8,
                prefix_len: usize,
                random: *const u8,
            ) -> c_int;)*
        }
    };
}

sign_mu! {
    sign_mu_44 = "ml_dsa_extmu_44_sign_internal";
    sign_mu_65 = "ml_dsa_extmu_65_sign_internal";
    sign_mu_87 = "ml_dsa_extmu_87_sign_internal";
}

/// What signs for a parameter set, and the lengths in bytes that it takes for granted.
#[derive(Clone, Copy)]
pub(super) struct Signer {
    sign: SignMu,
    private_len: usize,
    signature_len: usize,
}

impl Signer {
    pub const ML_DSA_44: Signer = Signer { sign: sign_mu_44, private_len: 2560, signature_len: 2420 };
    pub const ML_DSA_65: Signer = Signer { sign: sign_mu_65, private_len: 4032, signature_len: 3309 };
    pub const ML_DSA_87: Signer = Signer { sign: sign_mu_87, private_len: 4896, signature_len: 4627 };

    /// ML-DSA.Sign_internal from its second half on: mu is signed, `random` is rnd. Refused unless `private` and `out`
    /// have exactly the lengths of the set.
    pub fn sign(self, private: &[u8], mu: &[u8; 64], random: &[u8; 32], out: &mut [u8]) -> Result<()> {
        if private.len() != self.private_len || out.len() != self.signature_len {
            return Err(Refused);
        }
        let mut len = 0;
        // SAFETY: the lengths that the function takes for granted are checked above, or those of the arrays; it does not
        // read the empty prefix.
        done(unsafe {
            (self.sign)(
                private.as_ptr(),
                out.as_mut_ptr(),
                &mut len,
                mu.as_ptr(),
                mu.len(),
                ptr::null(),
                0,
                random.as_ptr(),
            )
        })?;
        if len == out.len() { Ok(()) } else { Err(Refused) }
    }
}
