//! The policy of a token: one TOML file, signed into the slot by the security officer. Names only, no C types; what it
//! names is looked up by the guard.

mod judge;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::approval::unhex;
use super::clock;
use super::state::Lenience;
use crate::error::{Code, Result};

pub use judge::{Breach, Facts};

/// The uses of a key, as a policy names them.
pub const USES: [&str; 9] =
    ["encrypt", "decrypt", "sign", "verify", "wrap", "unwrap", "derive", "encapsulate", "decapsulate"];

/// The longest file that is read, in bytes.
pub const LONGEST: usize = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Of this format: 1.
    pub version: u32,
    pub name: String,
    #[serde(default)]
    pub protection: Protection,
    /// Those who approve, by name: their Ed25519 public keys in hexadecimal.
    #[serde(default)]
    pub approvers: BTreeMap<String, String>,
    /// Approvals that the next policy needs.
    #[serde(default)]
    pub approve_policy: u32,
    /// Approvals that restoring a backup of the token needs.
    #[serde(default)]
    pub approve_restore: u32,
    /// What becomes of keys of an HSM that were not made through its slot here, and that nobody has spoken of yet.
    #[serde(default)]
    pub adopt: Adopt,
    /// The first that matches a key governs it; what none matches is not governed.
    #[serde(default, rename = "class")]
    pub classes: Vec<Class>,
}

/// Against attacks that the API itself allows. What is only allowed here holds as soon as there is a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protection {
    /// One key may both wrap and decrypt: whoever may use it reads every key that may be wrapped.
    pub allow_wrap_and_decrypt: bool,
    /// One key may both unwrap and encrypt: whoever may use it brings in keys of their own choice.
    pub allow_unwrap_and_encrypt: bool,
    /// Wrapping by mechanisms that do not show tampering.
    pub allow_any_wrapping: bool,
    /// A key is wrapped only by keys that are as strong as it is (SP 800-57 Part 1, table 2).
    pub wrap_by_as_strong: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: String,
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// `RSA`, `EC`, `AES`; without it any.
    pub key_types: Option<Vec<String>>,
    /// Least size in bits, by key type.
    #[serde(default)]
    pub min_bits: BTreeMap<String, u64>,
    /// `CKM_...`; without it any.
    pub mechanisms: Option<Vec<String>>,
    /// Out of [`USES`]; without it any.
    pub uses: Option<Vec<String>>,
    /// Whether keys may be made that can leave wrapped; without it, yes.
    pub extractable: Option<bool>,
    /// Whether private and secret keys may show their value; without it, yes.
    pub insensitive: Option<bool>,
    /// For how long after activation a key protects.
    #[serde(default, deserialize_with = "span")]
    pub cryptoperiod: Option<u64>,
    /// For how long after activation it processes what was protected.
    #[serde(default, deserialize_with = "span")]
    pub process_period: Option<u64>,
    #[serde(default)]
    pub rotation: Rotation,
    /// For how long a version that was replaced still signs.
    #[serde(default, deserialize_with = "span")]
    pub overlap: Option<u64>,
    /// How long ahead of its end a key is warned of.
    #[serde(default, deserialize_with = "span")]
    pub warn: Option<u64>,
    /// `C_DestroyObject` hides a key for so long before it is destroyed.
    #[serde(default, deserialize_with = "span")]
    pub recovery_window: Option<u64>,
    /// Approvals that hiding or destroying a key needs.
    #[serde(default)]
    pub approve_destroy: u32,
    /// Approvals that wrapping a key out of the token needs, each time. Its value never shows then.
    #[serde(default)]
    pub approve_export: u32,
    /// Whether a key must be in a verified backup before it is used.
    #[serde(default)]
    pub backup: Backup,
    /// A destroyed key leaves no tombstone.
    #[serde(default)]
    pub no_tombstone: bool,
    /// `CKA_START_DATE` and `CKA_END_DATE` count, whoever set them.
    #[serde(default)]
    pub enforce_dates: bool,
    /// A compromised key still decrypts and verifies.
    #[serde(default)]
    pub compromised_may_process: bool,
    /// How often a key may protect in its life, in all processes together.
    pub usage_limit: Option<u64>,
    /// How often within a time in one process: `100/m`, `10000/1h`.
    #[serde(default, deserialize_with = "rate")]
    pub rate_limit: Option<Rate>,
    /// Who may use the keys; without it, whoever logs in.
    pub who: Option<Who>,
    /// When they may be used: `Mo-Fr 08:00-18:00`, UTC.
    #[serde(default, deserialize_with = "hours")]
    pub hours: Option<Hours>,
}

/// All that is given must hold; each list wants one of its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Patterns of the logical key's label: `*` stands for any text, `?` for one character.
    pub label: Vec<String>,
    /// `private-key`, `public-key`, `secret-key`, `otp-key`.
    pub class: Vec<String>,
    pub key_type: Vec<String>,
    /// Patterns of `CKA_ID` in hexadecimal.
    pub id: Vec<String>,
    /// Patterns of any other attribute's value by its name, as `keyward object show` prints it. What the key lacks fits none.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// Every key.
    pub all: bool,
}

/// The first state of a key that others have made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adopt {
    #[default]
    Active,
    /// It does nothing until somebody activates it.
    PreActive,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotation {
    /// `keyward maintain` warns, a person rotates.
    #[default]
    Manual,
    /// `keyward maintain` rotates secret keys at the end of their cryptoperiod, and stages key pairs ahead of it.
    Automatic,
    /// A signer that owns its rollover, such as a DNSSEC signer, makes and removes its keys itself.
    External,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backup {
    #[default]
    Optional,
    /// A private or secret key of the token is not used before it is in a backup that `keyward backup verify` has opened.
    Required,
}

/// One of all that is given is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Who {
    /// Accounts, by name or number.
    pub users: Vec<String>,
    /// Groups, by name or number.
    pub groups: Vec<String>,
    /// Absolute paths of programs.
    pub executables: Vec<String>,
    /// Named users of the token, or of the HSM behind it.
    pub names: Vec<String>,
}

/// So many uses within so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub uses: u64,
    pub span: u64,
}

/// What limits how often a key is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub rate: Option<Rate>,
    pub uses: Option<u64>,
}

/// Hours of days of the week, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Monday first.
    days: [bool; 7],
    /// Seconds of the day.
    begin: u64,
    end: u64,
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(from)?;
    clock::parse_span(&text).map(Some).map_err(serde::de::Error::custom)
}

fn hours<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Hours>, D::Error> {
    let text = String::deserialize(from)?;
    Hours::parse(&text).map(Some).map_err(serde::de::Error::custom)
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(from)?;
    Rate::parse(&text).map(Some).map_err(serde::de::Error::custom)
}

impl Rate {
    fn parse(text: &str) -> Result<Rate, String> {
        let wrong = || format!("{text:?} is no rate: expected such as 100/m or 10000/1h");
        let (uses, span) = text.split_once('/').ok_or_else(wrong)?;
        let uses: u64 = uses.parse().map_err(|_| wrong())?;
        let whole = if span.starts_with(|c: char| c.is_ascii_digit()) { span.to_owned() } else { format!("1{span}") };
        match clock::parse_span(&whole) {
            Ok(span) if span > 0 && uses > 0 => Ok(Rate { uses, span }),
            _ => Err(wrong()),
        }
    }
}

impl Hours {
    fn parse(text: &str) -> Result<Hours, String> {
        let wrong = || format!("{text:?} are no hours: expected such as \"Mo-Fr 08:00-18:00\", UTC");
        const DAYS: [&str; 7] = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];
        let day = |name: &str| DAYS.iter().position(|day| *day == name).ok_or_else(wrong);
        let time = |text: &str| -> Result<u64, String> {
            let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
            match (hour.parse::<u64>(), minute.parse::<u64>()) {
                (Ok(hour @ 0..=24), Ok(minute @ 0..60)) if hour * 60 + minute <= 1440 => Ok(hour * 3600 + minute * 60),
                _ => Err(wrong()),
            }
        };
        let (of_week, of_day) = text.split_once(' ').ok_or_else(wrong)?;
        let (first, last) = of_week.split_once('-').unwrap_or((of_week, of_week));
        let (first, last) = (day(first)?, day(last)?);
        let (begin, end) = of_day.split_once('-').ok_or_else(wrong)?;
        let (begin, end) = (time(begin)?, time(end)?);
        if first > last || begin >= end {
            return Err(wrong());
        }
        let mut days = [false; 7];
        days.iter_mut().enumerate().for_each(|(at, day)| *day = (first..=last).contains(&at));
        Ok(Hours { days, begin, end })
    }

    /// Whether `now` is within them, and until when that answer holds.
    pub fn at(&self, now: u64) -> (bool, u64) {
        let (day, second) = (now / clock::DAY, now % clock::DAY);
        // 1970-01-01 was a Thursday.
        let today = usize::try_from((day + 3) % 7).unwrap_or_default();
        let on = self.days.get(today).copied().unwrap_or_default();
        let midnight = (day + 1) * clock::DAY;
        match (on, second) {
            (true, second) if second < self.begin => (false, day * clock::DAY + self.begin),
            (true, second) if second < self.end => (true, day * clock::DAY + self.end),
            _ => (false, midnight),
        }
    }
}

impl Class {
    pub fn limits(&self) -> Limits {
        Limits { rate: self.rate_limit, uses: self.usage_limit }
    }

    /// Whether keys of the class may not leave it by a new label.
    pub fn is_bound(&self) -> bool {
        self.approve_destroy > 0 || self.approve_export > 0 || self.backup == Backup::Required
    }

    pub fn lenience(&self) -> Lenience {
        Lenience { compromised_may_process: self.compromised_may_process }
    }
}

impl Policy {
    /// From TOML. `CKR_ARGUMENTS_BAD` with line and reason where it is broken or contradicts itself.
    pub fn parse(text: &str) -> Result<Policy> {
        if text.len() > LONGEST {
            return Err(Code::ArgumentsBad.because(format!("a policy has at most {LONGEST} bytes")));
        }
        let policy: Policy =
            toml::from_str(text).map_err(|e| Code::ArgumentsBad.because(format!("the policy: {e}")))?;
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Code::ArgumentsBad.because(format!("the policy: {why}")));
        if self.version != 1 {
            return wrong(format!("version {} is not known; this program reads version 1", self.version));
        }
        if let Some((name, _)) = self.approvers.iter().find(|(_, key)| unhex(key).is_none_or(|key| key.len() != 32)) {
            return wrong(format!("the key of approver {name} is not 64 hexadecimal digits: see `approval new-key`"));
        }
        let classes = self.classes.iter().map(|class| class.approve_destroy.max(class.approve_export));
        let most = classes.max().unwrap_or(0).max(self.approve_policy).max(self.approve_restore);
        if usize::try_from(most).is_ok_and(|most| most > self.approvers.len()) {
            return wrong(format!("{most} approvals are asked for, and there are {} approvers", self.approvers.len()));
        }
        for (at, class) in self.classes.iter().enumerate() {
            let name = &class.name;
            if name.is_empty() || self.classes.iter().take(at).any(|earlier| earlier.name == *name) {
                return wrong(format!("class {} has no name of its own", at + 1));
            }
            for usage in class.uses.iter().flatten() {
                if !USES.contains(&usage.as_str()) {
                    return wrong(format!("class {name}: {usage:?} is no use; there are {}", USES.join(", ")));
                }
            }
            for of in &class.matches.class {
                if !["private-key", "public-key", "secret-key", "otp-key"].contains(&of.as_str()) {
                    return wrong(format!("class {name}: {of:?} is no class of keys"));
                }
            }
            for pattern in &class.matches.id {
                if pattern.is_empty() || !pattern.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '*' | '?')) {
                    return wrong(format!("class {name}: {pattern:?} is no pattern of an ID in hexadecimal"));
                }
            }
            if let Some((name_of, _)) = class.matches.attributes.iter().find(|(_, patterns)| patterns.is_empty()) {
                return wrong(format!("class {name}: {name_of} has no pattern"));
            }
            if let (Some(protect), Some(process)) = (class.cryptoperiod, class.process_period)
                && protect > process
            {
                return wrong(format!("class {name}: the process_period ends before the cryptoperiod"));
            }
            if class.rotation == Rotation::Automatic && class.cryptoperiod.is_none() {
                return wrong(format!("class {name}: automatic rotation needs a cryptoperiod"));
            }
            if class.rotation == Rotation::Automatic && !class.matches.id.is_empty() {
                return wrong(format!("class {name}: a rotated key has another ID: match by the label"));
            }
            let given = class.key_types.iter().flatten();
            if let Some(stray) = class
                .min_bits
                .keys()
                .find(|ty| class.key_types.is_some() && !given.clone().any(|given| given.eq_ignore_ascii_case(ty)))
            {
                return wrong(format!("class {name}: min_bits names {stray}, which key_types does not"));
            }
        }
        Ok(())
    }
}

/// Whether `text` fits a pattern of `*` and `?`.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how far it has reached.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reached)) => {
                    star = Some((at, reached + 1));
                    p = at + 1;
                    t = reached + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit() {
        for (pattern, text) in [("*", ""), ("tls-*", "tls-www"), ("*a*b", "xaxxb"), ("k?y", "kéy"), ("db", "db")] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("tls-*", "tl"), ("k?y", "ky"), ("db", "db2"), ("*a", "ab"), ("", "x")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn hours_are_of_days_and_say_how_long_they_hold() {
        let hours = Hours::parse("Mo-Fr 08:00-18:00").unwrap();
        // 2026-11-27 is a Friday.
        let friday = clock::of_day(b"20261127").unwrap();
        assert_eq!(hours.at(friday), (false, friday + 8 * 3600));
        assert_eq!(hours.at(friday + 9 * 3600), (true, friday + 18 * 3600));
        assert_eq!(hours.at(friday + 18 * 3600), (false, friday + clock::DAY));
        assert_eq!(hours.at(friday + clock::DAY), (false, friday + 2 * clock::DAY));
        for bad in ["", "Mo", "Fr-Mo 08:00-18:00", "Mo 18:00-08:00", "Mo 8-18", "Mo 08:00-25:00"] {
            assert!(Hours::parse(bad).is_err(), "{bad}");
        }
        assert!(Hours::parse("Sa-Su 00:00-24:00").is_ok());
    }

    #[test]
    fn a_policy_that_is_broken_or_contradicts_itself_is_refused_with_the_reason() {
        let with = |more: &str| Policy::parse(&format!("version = 1\nname = 'x'\n{more}"));
        assert!(with("[[class]]\nname = 'a'\n").is_ok());
        for (text, said) in [
            ("[[class]]\nname = 'a'\nnonsense = 1\n", "nonsense"),
            ("[[class]]\nname = 'a'\n[[class]]\nname = 'a'\n", "no name of its own"),
            ("[[class]]\nname = 'a'\nuses = ['shred']\n", "shred"),
            ("[[class]]\nname = 'a'\nmatch = { id = ['web'] }\n", "no pattern of an ID"),
            ("[[class]]\nname = 'a'\nmatch = { attributes = { CKA_TOKEN = [] } }\n", "CKA_TOKEN has no pattern"),
            (
                "[[class]]\nname = 'a'\nmatch = { id = ['a1'] }\nrotation = 'automatic'\ncryptoperiod = '1y'\n",
                "another ID",
            ),
            ("[[class]]\nname = 'a'\nrate_limit = 'often'\n", "100/m"),
            ("approve_policy = 2\n", "0 approvers"),
            ("[approvers]\nalice = 'abc'\n", "alice"),
            ("[[class]]\nname = 'a'\nrotation = 'automatic'\n", "cryptoperiod"),
            ("[[class]]\nname = 'a'\ncryptoperiod = '2y'\nprocess_period = '1y'\n", "process_period"),
            ("[[class]]\nname = 'a'\ncryptoperiod = 'long'\n", "90d"),
            ("[[class]]\nname = 'a'\nkey_types = ['EC']\nmin_bits = { RSA = 2048 }\n", "RSA"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.why().unwrap().contains(said), "{text}: {error}");
        }
        assert!(Policy::parse("version = 2\nname = 'x'").is_err());
        assert!(Policy::parse("name = 'x'").is_err());
    }
}
