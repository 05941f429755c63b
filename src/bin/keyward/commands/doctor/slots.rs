//! Each slot that leads to an HSM: does its module load, and is the token there?

use keyward::config::{Config, MemberRules, SlotRules};
use keyward::module;
use keyward::overlay::Place;

use super::{Findings, Grade};
use crate::report::shown;

pub fn check(config: &Config, findings: &mut Findings) {
    let members = config.ha.iter().flat_map(|ha| {
        let alone = |rules: &MemberRules| SlotRules { label: None, filter: ha.filter.clone(), member: rules.clone() };
        ha.members.iter().map(move |member| alone(&member.rules))
    });
    for rules in &config.slots.iter().cloned().chain(members).collect::<Vec<_>>() {
        let subject = format!("module {}", rules.member.module.display());
        match module::look(rules) {
            Ok(info) => {
                findings.good(&subject, format!("token {}, serial {}", shown(&info.label), shown(&info.serial)))
            }
            Err(error) => {
                let found = error.why().map_or_else(|| error.to_string(), str::to_owned);
                let advice = "its slot is left out until then, or the HA slot does without it; the other tokens are not touched by this";
                findings.add(Grade::Error, &subject, found, advice);
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
