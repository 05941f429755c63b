//! ML-DSA, from the message representative mu on.

use super::Result;
use super::lattice::{Algorithm, Pkey, Signer};
use crate::crypto::ml_dsa::{MU_LEN, Set};
use crate::secret::SecretBytes;

impl Set {
    const fn algorithm(self) -> Algorithm {
        match self {
            Set::MlDsa44 => Algorithm::ML_DSA_44,
            Set::MlDsa65 => Algorithm::ML_DSA_65,
            Set::MlDsa87 => Algorithm::ML_DSA_87,
        }
    }

    const fn signer(self) -> Signer {
        match self {
            Set::MlDsa44 => Signer::ML_DSA_44,
            Set::MlDsa65 => Signer::ML_DSA_65,
            Set::MlDsa87 => Signer::ML_DSA_87,
        }
    }
}

pub(in crate::crypto) struct PublicKey(Pkey);

impl PublicKey {
    /// Refused where the length is wrong: any bytes of the right length are a public key.
    pub fn new(set: Set, key: &[u8]) -> Result<PublicKey> {
        Pkey::dsa_public(set.algorithm(), key).map(PublicKey)
    }

    /// ML-DSA.Verify_internal from its second half on.
    pub fn verify(&self, mu: &[u8; MU_LEN], signature: &[u8]) -> Result<()> {
        self.0.verify_mu(mu, signature)
    }
}

pub(in crate::crypto) struct PrivateKey {
    signer: Signer,
    value: SecretBytes,
    public: Vec<u8>,
}

impl PrivateKey {
    /// From the seed or from the expanded key, which the length decides. Refused for any other length, and where an expanded
    /// key's parts do not belong together.
    pub fn new(set: Set, key: &[u8]) -> Result<PrivateKey> {
        let handle = Pkey::dsa_private(set.algorithm(), key)?;
        let (mut value, mut public) = (SecretBytes::zeroed(set.private_len()), vec![0; set.public_len()]);
        handle.private(value.expose_mut())?;
        handle.public(&mut public)?;
        Ok(PrivateKey { signer: set.signer(), value, public })
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
        self.signer.sign(self.value.expose(), mu, random, out)
    }
}
