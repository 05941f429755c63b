//! ML-KEM, by the `ml-kem` crate. It keeps polynomials on the stack: see [`with_stack`].

#[allow(deprecated)] // The expanded form is one of PKCS#11's.
use ml_kem::ExpandedKeyEncoding;
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{DecapsulationKey, EncapsulationKey, MlKem512, MlKem768, MlKem1024};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Refused, Result};
use crate::crypto::ml_kem::Set;
use crate::crypto::slh_dsa::with_stack;

trait Public: Send + Sync {
    fn encapsulate(&self, message: &[u8; 32], ciphertext: &mut [u8], shared: &mut [u8]) -> Result<()>;
}

trait Private: Send + Sync {
    fn decapsulate(&self, ciphertext: &[u8], shared: &mut [u8]) -> Result<()>;
    fn public(&self, out: &mut [u8]) -> Result<()>;
    fn value(&self, out: &mut [u8]) -> Result<()>;
}

fn copy(from: &[u8], to: &mut [u8]) -> Result<()> {
    if from.len() != to.len() {
        return Err(Refused);
    }
    to.copy_from_slice(from);
    Ok(())
}

// The crate does not name the bound that its key types take.
macro_rules! set {
    ($set:ty, $public:ident, $from_seed:ident, $from_value:ident) => {
        impl Public for EncapsulationKey<$set> {
            fn encapsulate(&self, message: &[u8; 32], ciphertext: &mut [u8], shared: &mut [u8]) -> Result<()> {
                let (made, secret) = self.encapsulate_deterministic(&(*message).into());
                copy(&made, ciphertext)?;
                copy(&Zeroizing::new(secret), shared)
            }
        }

        #[allow(deprecated)]
        impl Private for DecapsulationKey<$set> {
            fn decapsulate(&self, ciphertext: &[u8], shared: &mut [u8]) -> Result<()> {
                let secret = Decapsulate::decapsulate(self, &ciphertext.try_into().map_err(|_| Refused)?);
                copy(&Zeroizing::new(secret), shared)
            }

            fn public(&self, out: &mut [u8]) -> Result<()> {
                copy(&self.encapsulation_key().to_bytes(), out)
            }

            fn value(&self, out: &mut [u8]) -> Result<()> {
                copy(&Zeroizing::new(self.to_expanded_bytes()), out)
            }
        }

        fn $public(key: &[u8]) -> Result<Box<dyn Public>> {
            let key = key.try_into().map_err(|_| Refused)?;
            Ok(Box::new(EncapsulationKey::<$set>::new(&key).map_err(|_| Refused)?))
        }

        fn $from_seed(seed: &[u8]) -> Result<Box<dyn Private>> {
            Ok(Box::new(DecapsulationKey::<$set>::from_seed(seed.try_into().map_err(|_| Refused)?)))
        }

        #[allow(deprecated)]
        fn $from_value(value: &[u8]) -> Result<Box<dyn Private>> {
            let value = Zeroizing::new(value.try_into().map_err(|_| Refused)?);
            Ok(Box::new(DecapsulationKey::<$set>::from_expanded(&value).map_err(|_| Refused)?))
        }
    };
}

set!(MlKem512, public_512, seed_512, value_512);
set!(MlKem768, public_768, seed_768, value_768);
set!(MlKem1024, public_1024, seed_1024, value_1024);

/// An encapsulation key.
pub(in crate::crypto) struct PublicKey(Box<dyn Public>);

impl PublicKey {
    /// Refused where the length is wrong or a coefficient is not below q (FIPS 203, 7.2).
    pub fn new(set: Set, key: &[u8]) -> Result<PublicKey> {
        let make = match set {
            Set::MlKem512 => public_512,
            Set::MlKem768 => public_768,
            Set::MlKem1024 => public_1024,
        };
        with_stack(|| make(key)).map(PublicKey)
    }

    /// ML-KEM.Encaps_internal. Refused unless all lengths are the set's.
    pub fn encapsulate(&self, message: &[u8; 32], ciphertext: &mut [u8], shared: &mut [u8]) -> Result<()> {
        with_stack(|| self.0.encapsulate(message, ciphertext, shared))
    }
}

/// A decapsulation key, with its encapsulation key.
pub(in crate::crypto) struct PrivateKey(Box<dyn Private>);

impl PrivateKey {
    /// ML-KEM.KeyGen_internal of d || z. Refused where the length is wrong.
    pub fn from_seed(set: Set, seed: &[u8]) -> Result<PrivateKey> {
        let make = match set {
            Set::MlKem512 => seed_512,
            Set::MlKem768 => seed_768,
            Set::MlKem1024 => seed_1024,
        };
        with_stack(|| make(seed)).map(PrivateKey)
    }

    /// Refused unless the expanded key has the set's length and its parts belong together (FIPS 203, 7.1 and 7.3).
    pub fn from_value(set: Set, value: &[u8]) -> Result<PrivateKey> {
        let make = match set {
            Set::MlKem512 => value_512,
            Set::MlKem768 => value_768,
            Set::MlKem1024 => value_1024,
        };
        let key = with_stack(|| make(value)).map(PrivateKey)?;
        // The pair-wise consistency test: what the public half encapsulates the private half decapsulates.
        let public = PublicKey::new(set, value.get(set.public_part()).ok_or(Refused)?)?;
        let (mut ciphertext, mut sent, mut received) = (vec![0; set.ciphertext_len()], [0; 32], [0; 32]);
        public.encapsulate(&[0; 32], &mut ciphertext, &mut sent)?;
        key.decapsulate(&ciphertext, &mut received)?;
        if bool::from(sent.ct_eq(&received)) { Ok(key) } else { Err(Refused) }
    }

    /// ML-KEM.Decaps. Refused unless both lengths are the set's.
    pub fn decapsulate(&self, ciphertext: &[u8], shared: &mut [u8]) -> Result<()> {
        with_stack(|| self.0.decapsulate(ciphertext, shared))
    }

    /// The encapsulation key; refused unless `out` is exactly as long.
    pub fn public(&self, out: &mut [u8]) -> Result<()> {
        self.0.public(out)
    }

    /// The expanded decapsulation key; refused unless `out` is exactly as long.
    pub fn value(&self, out: &mut [u8]) -> Result<()> {
        self.0.value(out)
    }
}
