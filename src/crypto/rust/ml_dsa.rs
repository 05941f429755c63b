//! ML-DSA from the message representative mu on, by the `ml-dsa` crate. It keeps polynomials on the stack: see [`with_stack`].

use std::convert::Infallible;
use std::ops::Range;
use std::result;

use crypto_bigint::rand_core::{TryCryptoRng, TryRng};
use ml_dsa::{ExpandedSigningKey, KeyExport, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, VerifyingKey};
use zeroize::Zeroizing;

use super::ml_dsa_key::belongs;
use super::{Refused, Result};
use crate::crypto::ml_dsa::{MU_LEN, SEED_LEN, Set};
use crate::crypto::shake::shake256;
use crate::crypto::slh_dsa::with_stack;
use crate::secret::SecretBytes;

trait Verify: Send + Sync {
    fn verify(&self, mu: &[u8; MU_LEN], signature: &[u8]) -> Result<()>;
}

trait Sign: Send + Sync {
    fn sign(&self, mu: &[u8; MU_LEN], random: &[u8; 32], out: &mut [u8]) -> Result<()>;
}

/// Gives the 32 bytes of rnd, which a signature asks for once.
struct Given<'a>(&'a [u8; 32]);

impl TryRng for Given<'_> {
    type Error = Infallible;

    // The crate asks for neither of these two.
    fn try_next_u32(&mut self) -> result::Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> result::Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> result::Result<(), Infallible> {
        out.iter_mut().zip(self.0).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}

impl<P: MlDsaParams + Send + Sync> Verify for VerifyingKey<P> {
    fn verify(&self, mu: &[u8; MU_LEN], signature: &[u8]) -> Result<()> {
        let signature = Signature::<P>::try_from(signature).map_err(|_| Refused)?;
        if self.verify_mu(&(*mu).into(), &signature) { Ok(()) } else { Err(Refused) }
    }
}

impl<P: MlDsaParams + Send + Sync> Sign for ExpandedSigningKey<P> {
    fn sign(&self, mu: &[u8; MU_LEN], random: &[u8; 32], out: &mut [u8]) -> Result<()> {
        let signature = self.sign_mu_randomized(&(*mu).into(), &mut Given(random)).map_err(|_| Refused)?;
        let signature = signature.encode();
        if signature.len() != out.len() {
            return Err(Refused);
        }
        out.copy_from_slice(&signature);
        Ok(())
    }
}

fn public<P: MlDsaParams + Send + Sync + 'static>(key: &[u8]) -> Result<Box<dyn Verify>> {
    Ok(Box::new(VerifyingKey::<P>::decode(&key.try_into().map_err(|_| Refused)?)))
}

/// Where tr stands in an expanded key.
const TR: Range<usize> = 64..128;

/// The signing key, its expanded form and its public key.
type Made = (Box<dyn Sign>, SecretBytes, Vec<u8>);

#[allow(deprecated)] // The expanded form is one of PKCS#11's.
fn private<P: MlDsaParams + Send + Sync + 'static>(set: Set, key: &[u8]) -> Result<Made> {
    let made = if key.len() == SEED_LEN {
        let seed = Zeroizing::new(key.try_into().map_err(|_| Refused)?);
        Box::new(ExpandedSigningKey::<P>::from_seed(&seed))
    } else {
        if key.len() != set.private_len() || !belongs(set, key) {
            return Err(Refused);
        }
        let key = Zeroizing::new(key.try_into().map_err(|_| Refused)?);
        Box::new(ExpandedSigningKey::<P>::from_expanded(&key))
    };
    let public = made.verifying_key().to_bytes().to_vec();
    // tr is the public key's hash.
    if key.get(TR).is_some_and(|tr| tr != shake256(&public, TR.len()).expose().as_slice()) {
        return Err(Refused);
    }
    let value = SecretBytes::copy_from(&Zeroizing::new(made.to_expanded()));
    Ok((made, value, public))
}

pub(in crate::crypto) struct PublicKey(Box<dyn Verify>);

impl PublicKey {
    /// Refused where the length is wrong: any bytes of the right length are a public key.
    pub fn new(set: Set, key: &[u8]) -> Result<PublicKey> {
        let make = match set {
            Set::MlDsa44 => public::<MlDsa44>,
            Set::MlDsa65 => public::<MlDsa65>,
            Set::MlDsa87 => public::<MlDsa87>,
        };
        with_stack(|| make(key)).map(PublicKey)
    }

    /// ML-DSA.Verify_internal from its second half on.
    pub fn verify(&self, mu: &[u8; MU_LEN], signature: &[u8]) -> Result<()> {
        with_stack(|| self.0.verify(mu, signature))
    }
}

pub(in crate::crypto) struct PrivateKey {
    key: Box<dyn Sign>,
    value: SecretBytes,
    public: Vec<u8>,
}

impl PrivateKey {
    /// From the seed or from the expanded key, which the length decides. Refused for any other length, and where an expanded
    /// key's parts do not belong together.
    pub fn new(set: Set, key: &[u8]) -> Result<PrivateKey> {
        let make = match set {
            Set::MlDsa44 => private::<MlDsa44>,
            Set::MlDsa65 => private::<MlDsa65>,
            Set::MlDsa87 => private::<MlDsa87>,
        };
        let (key, value, public) = with_stack(|| make(set, key))?;
        Ok(PrivateKey { key, value, public })
    }

    /// The expanded key.
    pub fn value(&self) -> &[u8] {
        self.value.expose()
    }

    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// ML-DSA.Sign_internal from its second half on; `random` is rnd. Refused unless `out` has a signature's length.
    pub fn sign(&self, mu: &[u8; MU_LEN], random: &[u8; 32], out: &mut [u8]) -> Result<()> {
        with_stack(|| self.key.sign(mu, random, out))
    }
}
