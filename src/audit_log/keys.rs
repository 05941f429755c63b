//! The keys of the record, all from one secret of this machine.

use crate::crypto::digest::Digest;
use crate::crypto::ed25519::{PrivateKey, PublicKey, SIGNATURE_LEN, Scheme};
use crate::crypto::hmac::HmacKey;
use crate::crypto::kdf::hkdf_expand;
use crate::error::Result;
use crate::secret::Secret;

/// Signs checkpoints, authenticates the head, hides redacted values.
pub struct AuditKeys {
    signing: PrivateKey,
    pub(super) head: HmacKey,
    redaction: HmacKey,
}

impl AuditKeys {
    /// From 32 bytes that nobody but the writers of the record has.
    pub fn new(root: &Secret<[u8; 32]>) -> Result<AuditKeys> {
        let key = |purpose: &[u8]| -> Result<Secret<[u8; 32]>> {
            let mut key = Secret::new([0; 32]);
            hkdf_expand(Digest::Sha256, root.expose(), purpose, key.expose_mut())?;
            Ok(key)
        };
        let mac = |purpose| Ok::<_, crate::error::Error>(HmacKey::new(Digest::Sha256, key(purpose)?.expose()));
        Ok(AuditKeys {
            signing: PrivateKey::new(key(b"keyward audit checkpoint")?.expose())?,
            head: mac(b"keyward audit head")?,
            redaction: mac(b"keyward audit redaction")?,
        })
    }

    pub fn public(&self) -> [u8; 32] {
        self.signing.public()
    }

    /// The signature of a checkpoint: over its number and the hash of the line before it.
    pub(super) fn sign(&self, seq: u64, prev: &str) -> Result<[u8; SIGNATURE_LEN]> {
        let mut signature = [0; SIGNATURE_LEN];
        self.signing.sign(Scheme::Pure, &signed(seq, prev), &mut signature)?;
        Ok(signature)
    }

    /// What stands in the place of a redacted value: the same for the same value.
    pub(super) fn hidden(&self, value: &str) -> String {
        let mac = self.redaction.mac(value.as_bytes());
        mac.iter().take(8).fold("redacted:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }
}

pub(super) fn is_signed(public: &[u8; 32], seq: u64, prev: &str, signature: &[u8]) -> bool {
    PublicKey::new(public).is_ok_and(|key| key.verify(Scheme::Pure, &signed(seq, prev), signature).is_ok())
}

fn signed(seq: u64, prev: &str) -> Vec<u8> {
    format!("keyward audit checkpoint\n{seq}\n{prev}").into_bytes()
}
