//! A secret key with what its algorithms precompute: schedules, GCM tables, HMAC states.

use crate::secret::SecretBytes;

pub struct SecretKey {
    value: SecretBytes,
}

impl SecretKey {
    pub fn new(value: SecretBytes) -> SecretKey {
        SecretKey { value }
    }

    pub fn value(&self) -> &[u8] {
        self.value.expose()
    }
}
