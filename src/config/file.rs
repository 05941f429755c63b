//! A configuration file, and what is said about one that is wrong.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::places::Places;
use super::slots::{Leads, Loaded, WrittenSlot};
use super::{
    AuditField, AuditMode, AuditRules, Config, EcdsaNonces, FreeSlot, KdfPreset, LogLevel, LogRules, Mechanisms,
    PinKind, PinRules,
};
use crate::error::{Code, Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tokens: Option<Spanned<PathBuf>>,
    device_secret: Option<Spanned<PathBuf>>,
    free_slot: Option<FreeSlot>,
    mechanisms: Option<Spanned<toml::Value>>,
    ecdsa_nonces: Option<EcdsaNonces>,
    kdf: Option<KdfPreset>,
    pin: Option<WrittenPin>,
    log: Option<WrittenLog>,
    audit: Option<WrittenAudit>,
    slot: Option<Vec<Spanned<WrittenSlot>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenPin {
    min_len: Option<Spanned<usize>>,
    max_len: Option<Spanned<usize>>,
    max_failures: Option<Spanned<u32>>,
    require: Option<Vec<PinKind>>,
    refuse_simple: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenLog {
    level: Option<LogLevel>,
    file: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenAudit {
    directory: Option<Spanned<PathBuf>>,
    login: Option<AuditMode>,
    key_use: Option<AuditMode>,
    public_use: Option<AuditMode>,
    max_size: Option<Spanned<u64>>,
    redact: Option<Vec<AuditField>>,
}

/// A file's text with its name: turns a place in it into a sentence.
pub(super) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    home: Option<&'a Path>,
}

/// The configuration in `path`; `None` where there is no such file.
pub fn read(path: &Path, places: &Places) -> Result<Option<Config>> {
    // Opening a named pipe would wait for a writer; a device such as /dev/null may stand for an empty file.
    let kind = std::fs::metadata(path).ok().as_ref().and_then(crate::os::not_a_file);
    if let Some(kind) = kind.filter(|kind| *kind != "a device") {
        return Err(Code::GeneralError.because(format!(
            "configuration file {}: it is {kind}; put a text file in TOML there, or name another in KEYWARD_CONF",
            path.display()
        )));
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let source = Source { path, text: &text, home: places.home.as_deref() };
    let written: Written = toml::from_str(&text).map_err(|error| source.malformed(&error))?;
    source.config(written, places).map(Some)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => {
            "let the user of this process read it (chmod, chown), or name another file in KEYWARD_CONF"
        }
        ErrorKind::InvalidData => "it must be UTF-8 text in TOML",
        _ => "it must be a readable text file",
    };
    Code::GeneralError.because(format!("configuration file {}: cannot be read: {error}; {advice}", path.display()))
}

impl Source<'_> {
    fn config(&self, written: Written, places: &Places) -> Result<Config> {
        let tokens = self.path_of(written.tokens)?;
        let device_secret = self.source_of(written.device_secret)?;
        let base = match (&tokens, &device_secret) {
            // Nothing is left to the user's data directory, so there need not be one.
            (Some(_), Some(_)) => Path::new("/"),
            _ => places.data()?,
        };
        let default = Config::within(base);
        let tokens = tokens.unwrap_or(default.tokens);
        let (mut slots, mut ha) = (Vec::new(), Vec::new());
        let mut loaded = Loaded::default();
        for slot in written.slot.unwrap_or_default() {
            let at = slot.span().start;
            let leads = self.slot(slot, &tokens)?;
            leads.members().try_for_each(|member| loaded.agree(member)).map_err(|why| self.wrong(at, &why))?;
            match leads {
                Leads::ToOne(rules) => slots.push(rules),
                Leads::ToSeveral(rules) => ha.push(rules),
            }
        }
        Ok(Config {
            source: Some(self.path.to_owned()),
            audit: written.audit.map(|audit| self.audit(audit, &tokens)).transpose()?,
            tokens,
            device_secret: device_secret.unwrap_or(default.device_secret),
            free_slot: written.free_slot.unwrap_or(default.free_slot),
            mechanisms: written.mechanisms.map_or(Ok(default.mechanisms), |value| self.mechanisms(value))?,
            ecdsa_nonces: written.ecdsa_nonces.unwrap_or(default.ecdsa_nonces),
            kdf: written.kdf.unwrap_or(default.kdf),
            pin: self.pin(written.pin.unwrap_or_default())?,
            log: self.log(written.log.unwrap_or_default())?,
            slots,
            ha,
        })
    }

    fn pin(&self, written: WrittenPin) -> Result<PinRules> {
        let default = PinRules::default();
        let max_len = self.within(written.max_len, "pin.max_len", 1..=PinRules::LONGEST)?.unwrap_or(default.max_len);
        // A file that lowers only the maximum means no minimum above it.
        let least = default.min_len.min(max_len);
        let min_len = self.within(written.min_len, "pin.min_len", 1..=max_len)?.unwrap_or(least);
        let max_failures = self
            .within(written.max_failures, "pin.max_failures", 1..=PinRules::MOST_FAILURES)?
            .unwrap_or(default.max_failures);
        let require = written.require.unwrap_or(default.require);
        let refuse_simple = written.refuse_simple.unwrap_or(default.refuse_simple);
        Ok(PinRules { min_len, max_len, max_failures, require, refuse_simple })
    }

    fn log(&self, written: WrittenLog) -> Result<LogRules> {
        let default = LogRules::default();
        Ok(LogRules { level: written.level.unwrap_or(default.level), file: self.path_of(written.file)? })
    }

    /// Beside the token directory, unless the table says where.
    fn audit(&self, written: WrittenAudit, tokens: &Path) -> Result<AuditRules> {
        let beside = tokens.parent().unwrap_or(Path::new("/")).join("audit");
        let default = AuditRules::within(self.path_of(written.directory)?.unwrap_or(beside));
        let sizes = AuditRules::LEAST_SIZE..=i64::MAX as u64;
        Ok(AuditRules {
            login: written.login.unwrap_or(default.login),
            key_use: written.key_use.unwrap_or(default.key_use),
            public_use: written.public_use.unwrap_or(default.public_use),
            max_size: self.within(written.max_size, "audit.max_size", sizes)?.unwrap_or(default.max_size),
            redact: written.redact.unwrap_or(default.redact),
            ..default
        })
    }

    pub(super) fn within<T: PartialOrd + std::fmt::Display + Copy>(
        &self,
        value: Option<Spanned<T>>,
        key: &str,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>> {
        let Some(value) = value else { return Ok(None) };
        let at = value.span().start;
        let value = value.into_inner();
        if !range.contains(&value) {
            let (least, most) = range.into_inner();
            return Err(self.wrong(at, &format!("{key} is {value}; expected {least} to {most}")));
        }
        Ok(Some(value))
    }

    /// Absolute, under `~/`, or relative to the file's own directory.
    pub(super) fn path_of(&self, written: Option<Spanned<PathBuf>>) -> Result<Option<PathBuf>> {
        let Some(written) = written else { return Ok(None) };
        let at = written.span().start;
        let path = written.into_inner();
        if path.as_os_str().is_empty() {
            return Err(self.wrong(at, "the path is empty; expected an absolute path, or one that starts with ~/"));
        }
        if let Ok(rest) = path.strip_prefix("~") {
            let home =
                self.home.ok_or_else(|| self.wrong(at, "~ stands for HOME, which is not set; write the whole path"))?;
            return Ok(Some(home.join(rest)));
        }
        Ok(Some(self.path.parent().unwrap_or(Path::new("/")).join(path)))
    }

    /// A path, or a named source of the device secret, which is no path and stays as it is written.
    fn source_of(&self, written: Option<Spanned<PathBuf>>) -> Result<Option<PathBuf>> {
        match written {
            Some(value) if super::names_a_source(value.get_ref()) => Ok(Some(value.into_inner())),
            other => self.path_of(other),
        }
    }

    pub(super) fn mechanisms(&self, written: Spanned<toml::Value>) -> Result<Mechanisms> {
        let at = written.span().start;
        let wrong = |found: &str| {
            self.wrong(
                at,
                &format!(
                    "mechanisms is {found}; expected \"modern\", \"all\", \"approved\", a list of names such as [\"AES_GCM\"], \
                     or a list of names each with - before it, which are taken away from \"modern\""
                ),
            )
        };
        match written.into_inner() {
            toml::Value::String(word) if word == "modern" => Ok(Mechanisms::Modern),
            toml::Value::String(word) if word == "all" => Ok(Mechanisms::All),
            toml::Value::String(word) if word == "approved" => Ok(Mechanisms::Approved),
            toml::Value::Array(list) => {
                let names: Option<Vec<&str>> = list.iter().map(toml::Value::as_str).collect();
                listed(&names.ok_or_else(|| wrong("a list of other things than names"))?).map_err(wrong)
            }
            other => Err(wrong(&other.to_string())),
        }
    }

    fn malformed(&self, error: &toml::de::Error) -> Error {
        self.wrong(error.span().map_or(0, |span| span.start), error.message())
    }

    pub(super) fn wrong(&self, at: usize, what: &str) -> Error {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count().saturating_add(1);
        // The parser's own messages may have several lines; a log line may not.
        let what = what.trim().replace('\n', ", ");
        Code::GeneralError.because(format!(
            "configuration file {}, line {line}: {what}. Correct that line; the keys are in the README, \"Configuration\"",
            self.path.display()
        ))
    }
}

fn listed(names: &[&str]) -> Result<Mechanisms, &'static str> {
    let removed: Vec<String> = names.iter().filter_map(|name| name.strip_prefix('-')).map(str::to_owned).collect();
    match (names.len(), removed.len()) {
        (0, _) => Err("an empty list, which would leave tokens without any"),
        (all, taken) if all == taken => Ok(Mechanisms::Without(removed)),
        (_, 0) => Ok(Mechanisms::Only(names.iter().map(|name| (*name).to_owned()).collect())),
        _ => Err("a list that mixes names with and without -"),
    }
}
