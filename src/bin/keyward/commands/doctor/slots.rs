//! Each slot that leads to an HSM: does its module load, and is the token there?

use std::collections::BTreeMap;
use std::time::Duration;

use cryptoki_sys::{CK_FLAGS, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED};
use keyward::config::{Config, IsolationRules, MemberRules, SlotRules};
use keyward::error::{Code, Error};
use keyward::module;
use keyward::overlay::Place;
use keyward::token::TokenInfo;

use super::{Findings, Grade};
use crate::report::shown;

/// What there is to say of a module in the application's own process.
const WITHIN: &str =
    "where it crashes or hangs, so does the application: `isolate = true` gives it a process of its own";

/// How long a module may take for a call, where the configuration does not say.
const DEADLINE: Duration = Duration::from_secs(10);

enum Failed {
    Apart(Error),
    AsConfigured(Error),
}

/// Looks as the library would. In a process of its own first: of a module that brings down the one it is in there would be nothing to
/// read.
fn look(rules: &SlotRules) -> Result<TokenInfo, Failed> {
    if rules.member.isolation.is_none() {
        let mut apart = rules.clone();
        let helper = std::env::current_exe().ok();
        apart.member.isolation = Some(IsolationRules { deadline: DEADLINE, helper, environment: BTreeMap::new() });
        match module::look(&apart) {
            Err(error) if error.code() == Code::DeviceError => return Err(Failed::Apart(error)),
            _ => {}
        }
    }
    module::look(rules).map_err(Failed::AsConfigured)
}

fn pin(subject: &str, flags: CK_FLAGS, findings: &mut Findings) {
    let (found, advice) = match flags {
        flags if flags & CKF_USER_PIN_LOCKED != 0 => {
            ("the user PIN is locked", "the HSM's own security officer sets a new one")
        }
        flags if flags & CKF_USER_PIN_FINAL_TRY != 0 => {
            ("one more wrong user PIN locks it", "a right login sets the count back")
        }
        _ => return,
    };
    findings.add(Grade::Warning, subject, found, advice);
}

pub fn check(config: &Config, findings: &mut Findings) {
    let members = config.ha.iter().flat_map(|ha| {
        let alone = |rules: &MemberRules| SlotRules { label: None, filter: ha.filter.clone(), member: rules.clone() };
        ha.members.iter().map(move |member| alone(&member.rules))
    });
    for rules in &config.slots.iter().cloned().chain(members).collect::<Vec<_>>() {
        let subject = format!("module {}", rules.member.module.display());
        let why = |error: Error| error.why().map_or_else(|| error.to_string(), str::to_owned);
        match look(rules) {
            Ok(info) => {
                findings.good(&subject, format!("token {}, serial {}", shown(&info.label), shown(&info.serial)));
                pin(&subject, info.flags, findings);
                if rules.member.isolation.is_none() {
                    findings.add(Grade::Note, &subject, "it runs in the application's own process", WITHIN);
                }
            }
            Err(Failed::Apart(error)) => findings.add(Grade::Error, &subject, why(error), WITHIN),
            Err(Failed::AsConfigured(error)) => {
                let advice = "its slot is left out until then, or the HA slot does without it; the other tokens are not touched by this";
                findings.add(Grade::Error, &subject, why(error), advice);
            }
        }
        if let Some(name) = &rules.filter.overlay {
            let subject = format!("overlay {name}");
            match Place::of(config, name).check() {
                Ok(()) => findings.good(&subject, "sound".to_owned()),
                Err(error) => {
                    let advice = "no key of its slot is used until then; `keyward token verify` looks at the file";
                    findings.add(Grade::Error, &subject, error.why().unwrap_or_default().to_owned(), advice);
                }
            }
        }
    }
}
