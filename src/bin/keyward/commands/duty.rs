//! Duties that a token keeps to those who have the role for them: reading the audit record, and making backups. Where nobody
//! has the role, nobody is asked.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use keyward::config::Config;
use keyward::store::{DeviceSecret, Role, Roles, Rules, SlotFile};

use crate::commands::user::coded;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{ByPin, Pin, Reader, Source};

/// Who reads the record: an auditor of one of the tokens that write it.
#[derive(Args, Clone, Debug, Default)]
pub struct Auditor {
    /// The token whose auditor it is, where users of several tokens have the name
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    #[command(flatten)]
    pin: ByPin,
}

impl Auditor {
    /// Where a token of this configuration has an auditor: asks for one. `directory`: of a record that is not the configured one.
    pub fn admit(&self, context: &Context, directory: Option<&Path>) -> Result<()> {
        let config = context.config()?;
        if directory.is_some_and(|directory| !is_own(&config, directory)) {
            return Ok(());
        }
        let mut tokens = staffed(&config);
        if tokens.is_empty() {
            return Ok(());
        }
        if let Some(serial) = &self.serial {
            tokens.retain(|(known, _)| known.eq_ignore_ascii_case(serial));
        }
        one_of(tokens, &self.pin)
    }
}

/// As `Auditor::admit` for the configured record, where a token was chosen already: its own auditor, where it has some, else any
/// other's, since all tokens write one record.
pub fn admit_beside(context: &Context, pin: &ByPin, serial: &str) -> Result<()> {
    let tokens = staffed(&context.config()?);
    let is_own = |(known, _): &(String, SlotFile)| known.eq_ignore_ascii_case(serial);
    let (own, others): (Vec<_>, Vec<_>) = tokens.into_iter().partition(is_own);
    match (own.is_empty(), others.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => one_of(own, pin),
        (true, false) => one_of(others, pin),
    }
}

/// Asks for an auditor of one of these tokens.
fn one_of(mut tokens: Vec<(String, SlotFile)>, pin: &ByPin) -> Result<()> {
    let names: Vec<String> = tokens.iter().flat_map(|(_, file)| holders(file, Roles::AUDITOR)).collect();
    let pin = asked(&pin.source(), Roles::AUDITOR, &names)?;
    tokens.retain(|(_, file)| is_held(file, Roles::AUDITOR, &pin));
    match tokens.as_slice() {
        [] => Err(not_theirs(Roles::AUDITOR, &names)),
        [(_, file)] => admitted(file, Roles::AUDITOR, pin).map(drop),
        _ => Err(Failure::new(Exit::Refused, "more than one token has an auditor of this name; choose by --serial")),
    }
}

/// The tokens that have auditors, with their serials. The files themselves are looked at: no HSM has to answer for that. What cannot
/// be opened has no users; `keyward doctor` tells of it, and the record what happened to it.
fn staffed(config: &Config) -> Vec<(String, SlotFile)> {
    let Ok(device) = DeviceSecret::load(&config.device_secret).map(Arc::new) else { return Vec::new() };
    let rules = Rules { kdf: config.kdf, max_failures: config.pin.max_failures };
    let paths = std::fs::read_dir(&config.tokens).into_iter().flatten().flatten().map(|entry| entry.path());
    let slots = paths.filter(|path| path.extension().is_some_and(|ending| ending == "slot"));
    let opened = slots.filter_map(|path| {
        let serial = path.file_stem()?.to_str()?.to_owned();
        Some((serial, SlotFile::open(&path, Arc::clone(&device), rules).ok()?))
    });
    opened.filter(|(_, file)| !holders(file, Roles::AUDITOR).is_empty()).collect()
}

/// Where the token has users of this role: asks for one of them. Their name; `None`: nobody was asked.
pub fn on_duty(file: &SlotFile, role: Roles, source: &Source) -> Result<Option<String>> {
    let names = holders(file, role);
    if names.is_empty() {
        return Ok(None);
    }
    let pin = asked(source, role, &names)?;
    match is_held(file, role, &pin) {
        true => admitted(file, role, pin).map(Some),
        false => Err(not_theirs(role, &names)),
    }
}

fn holders(file: &SlotFile, role: Roles) -> Vec<String> {
    let users = file.users().map(|(users, _)| users).unwrap_or_default();
    users.into_iter().filter(|user| user.roles.has(role)).map(|user| user.name).collect()
}

/// Without a try: what names nobody would count as a wrong PIN of the token's own user.
fn is_held(file: &SlotFile, role: Roles, pin: &Pin) -> bool {
    file.name_before(pin).is_some_and(|name| holders(file, role).contains(&name))
}

fn asked(source: &Source, role: Roles, names: &[String]) -> Result<Pin> {
    let read = Reader::default().read(source, "NAME:PIN");
    read.map_err(|failure| Failure::new(failure.exit, format!("{}: {}", kept(role, names), failure.message)))
}

fn admitted(file: &SlotFile, role: Roles, pin: Pin) -> Result<String> {
    let pin = coded(file, Role::User, pin)?;
    let keys = file.unlock(Role::User, &pin).map_err(Failure::of("cannot log in"))?;
    match keys.standing() {
        Some(standing) if standing.roles.has(role) => Ok(standing.name.clone()),
        _ => Err(not_theirs(role, &holders(file, role))),
    }
}

fn kept(role: Roles, names: &[String]) -> String {
    format!("the token keeps this to its users of the role {} ({})", role.names().join(" "), names.join(", "))
}

fn not_theirs(role: Roles, names: &[String]) -> Failure {
    Failure::new(Exit::Refused, format!("{}: say --by NAME", kept(role, names)))
}

fn is_own(config: &Config, directory: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    config.audit.as_ref().is_some_and(|audit| real(&audit.directory) == real(directory))
}
