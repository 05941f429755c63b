//! `[[slot]]`: the slots beside the software tokens, which lead to the modules of HSMs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::file::Source;
use super::{HaRules, Mechanisms, Mirror, Order};
use crate::error::Result;

/// Which token of an HSM's module is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Chosen {
    /// By `token`: its label.
    Token(String),
    Serial(String),
    /// Its place in the module's list of slots with a token, from 0.
    Index(usize),
}

/// Where the PIN of an HSM comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// The PIN that the application gives is passed on.
    Caller,
    /// The first line of a file.
    File(PathBuf),
    Environment(String),
    /// What a shell command prints first.
    Command(String),
}

/// One token of one HSM's module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRules {
    pub module: PathBuf,
    pub init_args: Option<String>,
    pub chosen: Chosen,
    pub pin: PinSource,
    /// Most sessions that are opened with the HSM at once; 0: as many as it allows.
    pub sessions: usize,
    /// The maker's name; `None`: by the module's file name.
    pub quirks: Option<String>,
    /// `None`: the module is loaded into the application.
    pub isolation: Option<IsolationRules>,
}

/// How a module runs in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsolationRules {
    /// How long a call may take.
    pub deadline: Duration,
    /// The program that the process runs; `None`: `keyward` where it is installed.
    pub helper: Option<PathBuf>,
    /// Variables of the process beside those of the application.
    pub environment: BTreeMap<String, String>,
}

/// Seconds.
const DEADLINE: f64 = 60.0;

/// What applications see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRules {
    /// Names, or numbers of vendor mechanisms; `Modern` and `All`: everything that the HSM has.
    pub mechanisms: Mechanisms,
    /// Vendor mechanisms whose parameters are passed on as they are.
    pub vendor_mechanisms: Vec<u64>,
    /// PKCS#11 URIs (RFC 7512); an object is visible if one of them means it. Empty: all are.
    pub objects: Vec<String>,
    pub read_only: bool,
    /// Whether the security officer may log in, and the token be initialised.
    pub security_officer: bool,
    /// Name of the overlay file in which the life of its keys is kept; `None`: they have none here.
    pub overlay: Option<String>,
}

/// A slot that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRules {
    /// Shown in place of the token's own.
    pub label: Option<String>,
    pub filter: FilterRules,
    pub member: MemberRules,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSlot {
    kind: Option<Kind>,
    pub(super) label: Option<String>,
    mechanisms: Option<Spanned<toml::Value>>,
    vendor_mechanisms: Option<Spanned<Vec<String>>>,
    objects: Option<Spanned<Vec<String>>>,
    read_only: Option<bool>,
    pub(super) security_officer: Option<bool>,
    pub(super) overlay: Option<String>,
    module: Option<Spanned<PathBuf>>,
    init_args: Option<String>,
    token: Option<String>,
    serial: Option<String>,
    index: Option<usize>,
    pin: Option<Spanned<String>>,
    sessions: Option<usize>,
    quirks: Option<String>,
    isolate: Option<bool>,
    deadline: Option<Spanned<f64>>,
    helper: Option<Spanned<PathBuf>>,
    environment: Option<Spanned<BTreeMap<String, String>>>,
    // Of `kind = "ha"`.
    pub(super) name: Option<String>,
    pub(super) order: Option<Order>,
    pub(super) mirror: Option<Mirror>,
    pub(super) wrapping_key: Option<String>,
    pub(super) copies: Option<Spanned<usize>>,
    pub(super) failures: Option<Spanned<u32>>,
    pub(super) retry: Option<Spanned<f64>>,
    pub(super) retry_most: Option<Spanned<f64>>,
    pub(super) check: Option<Spanned<f64>>,
    pub(super) state: Option<Spanned<PathBuf>>,
    pub(super) member: Option<Vec<Spanned<WrittenSlot>>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Forward,
    Ha,
}

/// What a `[[slot]]` leads to.
pub(super) enum Leads {
    ToOne(SlotRules),
    ToSeveral(HaRules),
}

impl Leads {
    pub(super) fn members(&self) -> impl Iterator<Item = &MemberRules> {
        let (one, several) = match self {
            Leads::ToOne(rules) => (Some(&rules.member), [].iter()),
            Leads::ToSeveral(rules) => (None, rules.members.iter()),
        };
        one.into_iter().chain(several.map(|member| &member.rules))
    }
}

/// What the slots so far say of the modules that are loaded into the application. There a module is initialised once for all slots, so
/// that they must say the same of it; in processes of their own each is as its slot has it.
#[derive(Default)]
pub(super) struct Loaded(HashMap<PathBuf, MemberRules>);

impl Loaded {
    pub(super) fn agree(&mut self, member: &MemberRules) -> std::result::Result<(), String> {
        if member.isolation.is_some() {
            return Ok(());
        }
        let path = member.module.canonicalize().unwrap_or_else(|_| member.module.clone());
        let earlier = self.0.entry(path).or_insert_with(|| member.clone());
        let quirks = |rules: &MemberRules| rules.quirks.clone().filter(|name| name != "auto");
        let key = match () {
            () if earlier.init_args != member.init_args => "init_args",
            () if quirks(earlier) != quirks(member) => "quirks",
            () => return Ok(()),
        };
        Err(format!(
            "{key} is not what an earlier slot says of {}, which is loaded into the application once; say the same, or say isolate = true",
            member.module.display()
        ))
    }
}

impl WrittenSlot {
    pub(super) fn has_member_keys(&self) -> bool {
        let WrittenSlot { module, init_args, token, serial, index, pin, sessions, quirks, .. } = self;
        let words = [init_args, token, serial, quirks].into_iter().any(Option::is_some);
        let isolation =
            self.isolate.is_some() || self.deadline.is_some() || self.helper.is_some() || self.environment.is_some();
        words || isolation || module.is_some() || pin.is_some() || index.is_some() || sessions.is_some()
    }

    pub(super) fn has_filter_keys(&self) -> bool {
        let WrittenSlot {
            kind,
            label,
            mechanisms,
            vendor_mechanisms,
            objects,
            read_only,
            security_officer,
            overlay,
            ..
        } = self;
        let lists = vendor_mechanisms.is_some() || objects.is_some() || mechanisms.is_some();
        lists
            || overlay.is_some()
            || kind.is_some()
            || label.is_some()
            || read_only.is_some()
            || security_officer.is_some()
    }
}

impl Source<'_> {
    pub(super) fn slot(&self, written: Spanned<WrittenSlot>, tokens: &std::path::Path) -> Result<Leads> {
        let at = written.span().start;
        let mut written = written.into_inner();
        match written.kind {
            Some(Kind::Ha) => return self.ha(at, written, tokens).map(Leads::ToSeveral),
            Some(Kind::Forward) => {}
            None => return Err(self.wrong(at, "this slot has no `kind`; expected \"forward\" or \"ha\"")),
        }
        self.is_single(at, &written)?;
        if written.name.is_some() {
            return Err(self.wrong(at, "`name` is for the members of a slot with kind = \"ha\"; a slot has a `label`"));
        }
        let filter = self.filter(&mut written)?;
        self.check_overlay(at, &filter, written.sessions)?;
        let label = written.label.take();
        label.as_ref().map_or(Ok(()), |label| self.label_fits(at, label))?;
        Ok(Leads::ToOne(SlotRules { label, filter, member: self.member(at, written)? }))
    }

    pub(super) fn filter(&self, written: &mut WrittenSlot) -> Result<FilterRules> {
        let mechanisms = written.mechanisms.take();
        Ok(FilterRules {
            mechanisms: mechanisms.map_or(Ok(Mechanisms::All), |value| self.mechanisms(value))?,
            vendor_mechanisms: self.numbers(written.vendor_mechanisms.take())?,
            objects: self.uris(written.objects.take())?,
            read_only: written.read_only.unwrap_or(false),
            security_officer: written.security_officer.unwrap_or(false),
            overlay: written.overlay.take(),
        })
    }

    pub(super) fn label_fits(&self, at: usize, label: &str) -> Result<()> {
        match label.len() {
            0..=32 => Ok(()),
            _ => {
                Err(self
                    .wrong(at, "the label of this slot is longer than 32 bytes, the most that PKCS#11 has room for"))
            }
        }
    }

    /// `sessions`: those allowed with each HSM.
    pub(super) fn check_overlay(
        &self,
        at: usize,
        filter: &FilterRules,
        sessions: impl IntoIterator<Item = usize>,
    ) -> Result<()> {
        let Some(name) = &filter.overlay else { return Ok(()) };
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        // Sixteen digits are the name of a slot file.
        if !plain || !(1..=32).contains(&name.len()) || name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit())
        {
            let why = format!("overlay is {name:?}; expected a name of at most 32 lower-case letters, digits and -");
            return Err(self.wrong(at, &why));
        }
        if sessions.into_iter().any(|sessions| sessions == 1) {
            return Err(self.wrong(at, "a slot with an overlay needs more than one session with the HSM"));
        }
        if filter.security_officer {
            let why = "a slot with an overlay has the overlay's administrator for its security officer: leave security_officer out";
            return Err(self.wrong(at, why));
        }
        Ok(())
    }

    pub(super) fn member(&self, at: usize, mut written: WrittenSlot) -> Result<MemberRules> {
        let isolation = self.isolation(&mut written)?;
        let module = self.path_of(written.module)?;
        let module =
            module.ok_or_else(|| self.wrong(at, "this slot names no `module`, the HSM maker's PKCS#11 library"))?;
        let chosen = match (written.token, written.serial, written.index) {
            (Some(label), None, None) => Chosen::Token(label),
            (None, Some(serial), None) => Chosen::Serial(serial),
            (None, None, index) => Chosen::Index(index.unwrap_or(0)),
            _ => return Err(self.wrong(at, "say one of token (its label), serial and index, not several")),
        };
        Ok(MemberRules {
            module,
            init_args: written.init_args,
            chosen,
            pin: self.pin_source(written.pin)?,
            sessions: written.sessions.unwrap_or(0),
            quirks: written.quirks,
            isolation,
        })
    }

    fn isolation(&self, written: &mut WrittenSlot) -> Result<Option<IsolationRules>> {
        let (deadline, helper) = (written.deadline.take(), written.helper.take());
        let environment = written.environment.take();
        if !written.isolate.unwrap_or(false) {
            let named = [
                deadline.as_ref().map(|value| ("deadline", value.span().start)),
                helper.as_ref().map(|value| ("helper", value.span().start)),
                environment.as_ref().map(|value| ("environment", value.span().start)),
            ];
            return match named.into_iter().flatten().next() {
                None => Ok(None),
                Some((key, at)) => Err(self.wrong(
                    at,
                    &format!("{key} needs isolate = true: a module in the application's own process cannot be stopped in a call, nor have an environment of its own"),
                )),
            };
        }
        let seconds = deadline.as_ref().map_or(DEADLINE, |value| *value.get_ref());
        if !(0.01..=86400.0).contains(&seconds) {
            let at = deadline.map_or(0, |value| value.span().start);
            return Err(self.wrong(at, "deadline is outside 0.01 to 86400, in seconds"));
        }
        let environment = match environment {
            None => BTreeMap::new(),
            Some(value) => {
                let at = value.span().start;
                let variables = value.into_inner();
                let fits = |(name, value): (&String, &String)| {
                    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
                };
                if !variables.iter().all(fits) {
                    return Err(self.wrong(at, "environment holds a name or value that no variable can have"));
                }
                variables
            }
        };
        let deadline = Duration::from_secs_f64(seconds);
        Ok(Some(IsolationRules { deadline, helper: self.path_of(helper)?, environment }))
    }

    fn pin_source(&self, written: Option<Spanned<String>>) -> Result<PinSource> {
        let Some(written) = written else { return Ok(PinSource::Caller) };
        let span = written.span();
        let text = written.into_inner();
        Ok(match text.split_once(':') {
            None if text == "caller" => PinSource::Caller,
            Some(("file", path)) if !path.is_empty() => {
                let path = Spanned::new(span, PathBuf::from(path));
                PinSource::File(self.path_of(Some(path))?.unwrap_or_default())
            }
            Some(("env", name)) if !name.is_empty() => PinSource::Environment(name.to_owned()),
            Some(("command", command)) if !command.is_empty() => PinSource::Command(command.to_owned()),
            _ => {
                let why =
                    "pin is of no known form; expected \"caller\", \"file:PATH\", \"env:NAME\" or \"command:COMMAND\"";
                return Err(self.wrong(span.start, why));
            }
        })
    }

    fn numbers(&self, written: Option<Spanned<Vec<String>>>) -> Result<Vec<u64>> {
        let Some(written) = written else { return Ok(Vec::new()) };
        let at = written.span().start;
        let number = |text: &String| {
            let digits = text.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            digits.filter(|number| number & VENDOR != 0).ok_or_else(|| {
                self.wrong(at, &format!("vendor_mechanisms holds {text}; expected numbers such as \"0x80000001\""))
            })
        };
        written.into_inner().iter().map(number).collect()
    }

    fn uris(&self, written: Option<Spanned<Vec<String>>>) -> Result<Vec<String>> {
        let Some(written) = written else { return Ok(Vec::new()) };
        let at = written.span().start;
        let uris = written.into_inner();
        match uris.iter().find(|uri| !uri.starts_with("pkcs11:")) {
            Some(uri) => Err(self.wrong(
                at,
                &format!("objects holds {uri}; expected PKCS#11 URIs such as \"pkcs11:object=web;type=private\""),
            )),
            None => Ok(uris),
        }
    }
}

/// `CKM_VENDOR_DEFINED`.
const VENDOR: u64 = 0x8000_0000;

impl PinSource {
    /// As it is written in a configuration.
    pub fn written(&self) -> String {
        match self {
            PinSource::Caller => "caller".to_owned(),
            PinSource::File(path) => format!("file:{}", path.display()),
            PinSource::Environment(name) => format!("env:{name}"),
            PinSource::Command(command) => format!("command:{command}"),
        }
    }
}
