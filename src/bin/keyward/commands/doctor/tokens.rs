//! Each token: does it open, and in what state is it?

use cryptoki_sys::*;
use keyward::config::{Config, Mechanisms};
use keyward::mechanism::table;

use super::{Findings, Grade, exists, files};
use crate::commands::mechanisms::is_name_of;
use crate::context::Context;
use crate::report::shown;

/// Opens nothing where nothing is there, since opening may make the directory and the device secret.
pub fn check(context: &Context, config: &Config, findings: &mut Findings) {
    let files = files::slot_files(&config.tokens);
    if files.is_empty() {
        findings.add(Grade::Note, "tokens", "there is none", "make one with `keyward token init --label NAME`");
        return;
    }
    if !exists(&config.device_secret) && !keyward::config::names_a_source(&config.device_secret) {
        return;
    }
    // Those that lead elsewhere are looked at by themselves, and not in this process before they have shown that they can be.
    let own = Config { slots: Vec::new(), ha: Vec::new(), ..config.clone() };
    let slots = match context.try_slots(own) {
        Ok(slots) => slots,
        Err(error) => {
            findings.add(Grade::Error, "tokens", error.to_string(), "the findings above may say why");
            return;
        }
    };
    let tokens: Vec<_> = slots.iter().filter(|slot| !slot.blank).collect();
    for slot in &tokens {
        match slot.token.info() {
            Ok(info) => state(&format!("token {}", shown(info.label.trim_end())), slot.id, info.flags, findings),
            Err(error) => findings.add(
                Grade::Error,
                &format!("slot {}", slot.id),
                error.to_string(),
                "restore the slot file from a backup; other tokens are not touched by this",
            ),
        }
    }
    if tokens.len() < files.len() {
        let found = format!("{} slot files, but {} tokens open", files.len(), tokens.len());
        findings.add(
            Grade::Error,
            "tokens",
            found,
            "run again with KEYWARD_LOG=debug, which names the file that does not open",
        );
    }
}

fn state(subject: &str, id: u64, flags: CK_FLAGS, findings: &mut Findings) {
    let is = |flag: CK_FLAGS| flags & flag != 0;
    if is(CKF_ERROR_STATE) {
        findings.add(
            Grade::Error,
            subject,
            "the slot file is an older copy of this token, or holds damaged objects",
            "`keyward token verify --login` says what; `keyward token accept` goes on with what is there",
        );
        return;
    }
    match () {
        () if is(CKF_USER_PIN_LOCKED) => {
            findings.add(
                Grade::Warning,
                subject,
                "the user PIN is locked",
                "the SO sets a new one: `keyward pin reset`",
            );
        }
        () if is(CKF_SO_PIN_LOCKED) => findings.add(
            Grade::Warning,
            subject,
            "the SO PIN is locked",
            "the user's keys still work; a new user PIN can no longer be set: plan a move to a new token",
        ),
        () if is(CKF_USER_PIN_FINAL_TRY) => {
            findings.add(
                Grade::Warning,
                subject,
                "one more wrong user PIN locks it",
                "a right login sets the count back",
            );
        }
        () if !is(CKF_USER_PIN_INITIALIZED) => {
            findings.add(Grade::Note, subject, "no user PIN yet", "the SO sets it: `keyward pin reset`");
        }
        () => findings.good(subject, format!("slot {id}")),
    }
}

/// The names in the configuration that no row has.
pub fn unknown_mechanisms(config: &Config) -> Vec<&str> {
    let names = match &config.mechanisms {
        Mechanisms::Only(names) | Mechanisms::Without(names) => names.as_slice(),
        Mechanisms::Modern | Mechanisms::All | Mechanisms::Approved => &[],
    };
    let known = |name: &str| table::all().any(|row| is_name_of(name, row));
    names.iter().map(String::as_str).filter(|name| !known(name)).collect()
}
