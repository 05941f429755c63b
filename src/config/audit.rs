//! The `[audit]` table: what is recorded, where, and what happens when it cannot be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How much a class of events insists on its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditMode {
    Off,
    /// What cannot be recorded is logged, and done all the same.
    BestEffort,
    /// Refused (`CKR_DEVICE_ERROR`) where it cannot be recorded.
    Required,
    /// Also flushed to the medium before the answer.
    Durable,
}

/// A field of the record that can be replaced by a keyed hash: equal values stay recognisable, and are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditField {
    Host,
    Exe,
    Label,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRules {
    pub directory: PathBuf,
    /// Logins, logouts and wrong PINs.
    pub login: AuditMode,
    /// Uses of private and secret keys, and refused ones.
    pub key_use: AuditMode,
    /// Uses that give away and prove nothing: verification and encryption by a public key, digests.
    pub public_use: AuditMode,
    /// Bytes after which a new file is begun.
    pub max_size: u64,
    pub redact: Vec<AuditField>,
}

impl AuditRules {
    pub const LEAST_SIZE: u64 = 4096;

    /// The modes of a table that says nothing else. Administrative events are always durable.
    pub fn within(directory: PathBuf) -> AuditRules {
        AuditRules {
            directory,
            login: AuditMode::BestEffort,
            key_use: AuditMode::BestEffort,
            public_use: AuditMode::Off,
            max_size: 64 << 20,
            redact: Vec::new(),
        }
    }
}
