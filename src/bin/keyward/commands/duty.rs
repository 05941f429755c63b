//! Duties that a token keeps to those who have the role for them: reading the audit record, and making backups. Where nobody
//! has the role, nobody is asked.

use std::path::Path;

use clap::Args;
use keyward::config::Config;
use keyward::module;
use keyward::store::{Role, Roles, SlotFile};

use crate::choice::TokenChoice;
use crate::commands::upkeep;
use crate::commands::user::coded;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{ByPin, Pin, Reader, Source};

/// Who reads the record: an auditor of one of the tokens that write it.
#[derive(Args, Clone, Debug, Default)]
pub struct Auditor {
    #[command(flatten)]
    choice: TokenChoice,
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
        let mut tokens = Vec::new();
        for slot in context.slots()?.into_iter().filter(|slot| !slot.blank) {
            let own = TokenChoice { slot: Some(slot.id), ..TokenChoice::default() };
            // What cannot be opened has no users; `keyward doctor` tells of it. The record says what happened to it.
            if module::overlay_of(&config, slot.id).is_none()
                && let Ok((file, info)) = upkeep::open(context, &own)
            {
                tokens.push((file, info.serial.trim_end().to_owned()));
            }
        }
        tokens.retain(|(file, _)| !holders(file, Roles::AUDITOR).is_empty());
        if tokens.is_empty() {
            return Ok(());
        }
        if !self.choice.is_none() {
            let (_, info) = self.choice.of(context.slots()?)?;
            tokens.retain(|(_, serial)| serial == info.serial.trim_end());
        }
        let names: Vec<String> = tokens.iter().flat_map(|(file, _)| holders(file, Roles::AUDITOR)).collect();
        let pin = asked(&self.pin.source(), Roles::AUDITOR, &names)?;
        tokens.retain(|(file, _)| is_held(file, Roles::AUDITOR, &pin));
        match tokens.as_slice() {
            [] => Err(not_theirs(Roles::AUDITOR, &names)),
            [(file, _)] => admitted(file, Roles::AUDITOR, pin).map(drop),
            _ => {
                Err(Failure::new(Exit::Refused, "more than one token has an auditor of this name; choose by --serial"))
            }
        }
    }
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
