//! Each slot that leads to an HSM: does its module load, and is the token there?

use keyward::config::Config;
use keyward::module;

use super::{Findings, Grade};
use crate::report::shown;

pub fn check(config: &Config, findings: &mut Findings) {
    for rules in &config.slots {
        let subject = format!("module {}", rules.member.module.display());
        match module::look(rules) {
            Ok(info) => {
                findings.good(&subject, format!("token {}, serial {}", shown(&info.label), shown(&info.serial)))
            }
            Err(error) => {
                let found = error.why().map_or_else(|| error.to_string(), str::to_owned);
                let advice = "its slot is left out until then; the other tokens are not touched by this";
                findings.add(Grade::Error, &subject, found, advice);
            }
        }
    }
}
