//! The configuration: `KEYWARD_CONF`, then the user's file, then the system's; without any, a working default under the
//! user's data directory.
//!
//! A file that is there must be right: an unknown key or a value out of range is an error that names the file and the
//! line, never a silent default. The C ABI answers `CKR_GENERAL_ERROR` and logs the sentence.

mod audit;
mod file;
mod ha;
mod places;
mod slots;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Code, Result};
pub use audit::{AuditField, AuditMode, AuditRules};
pub use ha::{HaMember, HaRules, Mirror, Order, Patience};
use places::Places;
pub use slots::{Chosen, FilterRules, IsolationRules, MemberRules, PinSource, SlotRules};

/// This library's version, major and minor, for `C_GetInfo` and `C_GetTokenInfo`.
pub fn version() -> (u8, u8) {
    let part = |text: &str| text.parse().unwrap_or(0);
    (part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR")))
}

/// When a slot without a token is shown, for the next `C_InitToken`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FreeSlot {
    /// Only while there is no token.
    Auto,
    Always,
    Never,
}

/// Cost of deriving a key from a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KdfPreset {
    /// Argon2id, 19 MiB, t=2, p=1.
    Standard,
    /// Argon2id, 64 MiB, t=3, p=1.
    Strong,
}

/// `mechanisms = "modern" | "all" | "approved" | [list] | [-list]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanisms {
    /// All rows but the legacy ones.
    Modern,
    All,
    /// Names with or without `CKM_`.
    Only(Vec<String>),
    /// Modern without these.
    Without(Vec<String>),
    /// Those that FIPS 140-3 approves, with the keys and parameters that it approves; a use of others is refused.
    Approved,
}

/// Where the software tokens' ECDSA has its nonces from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EcdsaNonces {
    Random,
    /// From key and message (RFC 6979): the same data signed again gives the same signature.
    Deterministic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinRules {
    /// Bytes, at least 1.
    pub min_len: usize,
    /// Bytes, at most [`PinRules::LONGEST`].
    pub max_len: usize,
    /// Wrong PINs until the role is locked; at least 1.
    pub max_failures: u32,
    /// A new PIN has at least one character of each of these kinds.
    pub require: Vec<PinKind>,
    /// Refuses new PINs that are one character again and again, or a run such as 1234 or dcba.
    pub refuse_simple: bool,
}

/// A kind of character, by Unicode where the PIN is UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinKind {
    Letter,
    Lower,
    Upper,
    Digit,
    /// Neither letter nor digit.
    Symbol,
}

impl PinKind {
    fn holds(self, character: char) -> bool {
        match self {
            PinKind::Letter => character.is_alphabetic(),
            PinKind::Lower => character.is_lowercase(),
            PinKind::Upper => character.is_uppercase(),
            PinKind::Digit => character.is_numeric(),
            PinKind::Symbol => !character.is_alphanumeric(),
        }
    }

    fn article(self) -> &'static str {
        match self {
            PinKind::Letter => "a letter",
            PinKind::Lower => "a lower-case letter",
            PinKind::Upper => "an upper-case letter",
            PinKind::Digit => "a digit",
            PinKind::Symbol => "a character that is neither letter nor digit",
        }
    }
}

impl PinRules {
    pub const LONGEST: usize = 255;
    pub const MOST_FAILURES: u32 = 1_000_000;

    /// Whether a PIN may be set: `CKR_PIN_LEN_RANGE`, `CKR_PIN_TOO_WEAK`.
    pub fn check(&self, pin: &[u8]) -> Result<()> {
        if !(self.min_len..=self.max_len).contains(&pin.len()) {
            let why = format!("a PIN must be {} to {} bytes long", self.min_len, self.max_len);
            return Err(Code::PinLenRange.because(why));
        }
        let missing = self.require.iter().find(|kind| !characters(pin).any(|character| kind.holds(character)));
        if let Some(kind) = missing {
            return Err(Code::PinTooWeak.because(format!("a PIN must have {}", kind.article())));
        }
        if self.refuse_simple && is_simple(pin) {
            let why = "a PIN must not be one character repeated, nor a run such as 1234 or dcba";
            return Err(Code::PinTooWeak.because(why));
        }
        Ok(())
    }
}

/// Of a PIN that is no UTF-8, its bytes.
fn characters(pin: &[u8]) -> impl Iterator<Item = char> {
    let text = std::str::from_utf8(pin).ok();
    let bytes = if text.is_some() { &[] } else { pin };
    text.into_iter().flat_map(str::chars).chain(bytes.iter().map(|byte| char::from(*byte)))
}

/// Whether all steps from one character to the next are the same, and at most one.
fn is_simple(pin: &[u8]) -> bool {
    let mut steps =
        characters(pin).zip(characters(pin).skip(1)).map(|(a, b)| i64::from(u32::from(b)) - i64::from(u32::from(a)));
    let first = steps.next().unwrap_or(0);
    (-1..=1).contains(&first) && steps.all(|step| step == first)
}

impl Default for PinRules {
    fn default() -> PinRules {
        PinRules { min_len: 4, max_len: PinRules::LONGEST, max_failures: 10, require: Vec::new(), refuse_simple: false }
    }
}

/// How much is logged; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    /// Also each refused call of the C ABI. Never a PIN, a secret or a payload.
    Debug,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogRules {
    pub level: LogLevel,
    /// Appended to; `None`: standard error.
    pub file: Option<PathBuf>,
}

impl Default for LogRules {
    fn default() -> LogRules {
        LogRules { level: LogLevel::Warn, file: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that was read; `None`: the built-in default.
    pub source: Option<PathBuf>,
    /// Directory of the slot files, `<serial>.slot`.
    pub tokens: PathBuf,
    /// File of the device secret, 0600, made at first use; or a named source (`credential:`, `command:`, `env:`).
    pub device_secret: PathBuf,
    pub free_slot: FreeSlot,
    pub mechanisms: Mechanisms,
    pub ecdsa_nonces: EcdsaNonces,
    pub kdf: KdfPreset,
    pub pin: PinRules,
    pub log: LogRules,
    /// `None`: nothing is recorded.
    pub audit: Option<AuditRules>,
    /// Slots that lead to the modules of HSMs.
    pub slots: Vec<SlotRules>,
    /// Slots over several HSMs.
    pub ha: Vec<HaRules>,
}

/// Precedes the version inside the built library and the built program, so that `keyward doctor` can compare the two
/// without loading (and running) a library that may be another one.
pub const BUILD_MARK: &str = concat!("keyward-build-version=", env!("CARGO_PKG_VERSION"), ";");

impl Config {
    /// Reads the configuration in effect for this process.
    ///
    /// `CKR_GENERAL_ERROR`, with a sentence for people, where a file is malformed or cannot be read, or where no
    /// file and no home directory say where the tokens are.
    pub fn load() -> Result<Config> {
        // The mark must be referred to, or the linker drops it.
        std::hint::black_box(BUILD_MARK);
        if places::raised_privileges() {
            // A set-user-ID program's environment is its caller's: it may not choose whose tokens are opened.
            return Config::find(&|_| None, Path::new(places::SYSTEM_FILE));
        }
        Config::find(&|name| std::env::var_os(name), Path::new(places::SYSTEM_FILE))
    }

    /// Reads one file instead of looking for one. Errors as of [`Config::load`].
    pub fn load_file(path: &Path) -> Result<Config> {
        file::read(path, &Places::new(&|name| std::env::var_os(name)))?.ok_or_else(|| {
            Code::GeneralError.because(format!("configuration file {}: there is no such file", path.display()))
        })
    }

    /// The built-in values, with the slot files and the device secret under `directory`.
    pub fn within(directory: &Path) -> Config {
        Config {
            source: None,
            tokens: directory.join("tokens"),
            device_secret: directory.join("device.secret"),
            free_slot: FreeSlot::Auto,
            mechanisms: Mechanisms::Modern,
            ecdsa_nonces: EcdsaNonces::Random,
            kdf: KdfPreset::Standard,
            pin: PinRules::default(),
            log: LogRules::default(),
            audit: None,
            slots: Vec::new(),
            ha: Vec::new(),
        }
    }

    /// The files that [`Config::load`] would look at in this process, in its order.
    pub fn candidates() -> Vec<PathBuf> {
        let env = |name: &str| std::env::var_os(name);
        let places = Places::new(&env);
        match places.named {
            Some(named) => vec![named],
            None => places.config.into_iter().chain([PathBuf::from(places::SYSTEM_FILE)]).collect(),
        }
    }

    /// Where the environment alone wants the log: for what is said of a configuration that cannot be read.
    pub fn log_without() -> LogRules {
        let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty() && !places::raised_privileges());
        let level = env("KEYWARD_LOG").and_then(|level| log_level(&level.to_string_lossy()).ok());
        LogRules { level: level.unwrap_or(LogRules::default().level), file: env("KEYWARD_LOG_FILE").map(PathBuf::from) }
    }

    fn find(env: &dyn Fn(&str) -> Option<OsString>, system: &Path) -> Result<Config> {
        let places = Places::new(env);
        let mut config = Config::first_of(&places, system)?;
        if let Some(level) = env("KEYWARD_LOG").filter(|level| !level.is_empty()) {
            config.log.level = log_level(&level.to_string_lossy())?;
        }
        if let Some(file) = env("KEYWARD_LOG_FILE").filter(|file| !file.is_empty()) {
            config.log.file = Some(PathBuf::from(file));
        }
        Ok(config)
    }

    fn first_of(places: &Places, system: &Path) -> Result<Config> {
        if let Some(named) = &places.named {
            return file::read(named, places)?.ok_or_else(|| {
                Code::GeneralError.because(format!(
                    "configuration file {}: there is no such file; KEYWARD_CONF names it: correct or unset KEYWARD_CONF",
                    named.display()
                ))
            });
        }
        for path in places.config.as_deref().into_iter().chain([system]) {
            if let Some(config) = file::read(path, places)? {
                return Ok(config);
            }
        }
        Ok(Config::within(places.data()?))
    }
}

/// Whether a value of `device_secret` names a source other than a file (docs/slot-file.md, "Device secret").
pub fn names_a_source(value: &Path) -> bool {
    let kind = value.to_str().and_then(|text| text.split_once(':')).map(|(kind, _)| kind);
    matches!(kind, Some("credential" | "command" | "env"))
}

fn log_level(name: &str) -> Result<LogLevel> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "off" => LogLevel::Off,
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        _ => Err(Code::GeneralError.because(format!(
            "KEYWARD_LOG={name}: expected one of off, error, warn, info, debug; correct or unset it"
        )))?,
    })
}

#[cfg(test)]
mod tests;
