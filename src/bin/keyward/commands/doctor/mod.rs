//! `keyward doctor`: looks at everything that must be right, changes nothing, and says of each finding what to do.

mod files;
mod installation;
mod slots;
mod tokens;

use std::path::Path;

use keyward::config::Config;
use serde_json::json;

use crate::context::Context;
use crate::failure::Exit;
use crate::report::{Report, table};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Good,
    /// Worth knowing; nothing need be done.
    Note,
    Warning,
    Error,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Grade::Good => "ok",
            Grade::Note => "note",
            Grade::Warning => "warning",
            Grade::Error => "ERROR",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Finding {
    pub grade: Grade,
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do; empty for what is good.
    pub advice: String,
}

/// The findings of one round.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn good(&mut self, subject: &str, found: impl Into<String>) {
        self.add(Grade::Good, subject, found, "");
    }

    pub fn add(&mut self, grade: Grade, subject: &str, found: impl Into<String>, advice: impl Into<String>) {
        let (found, advice) = (found.into(), advice.into());
        self.0.push(Finding { grade, subject: subject.to_owned(), found, advice });
    }

    fn worst(&self) -> Grade {
        self.0.iter().map(|one| one.grade).max().unwrap_or(Grade::Good)
    }
}

pub fn run(context: &Context) -> Report {
    let mut findings = Findings::default();
    if let Some(config) = configuration(context, &mut findings) {
        files::check(&config, &mut findings);
        tokens::check(context, &config, &mut findings);
        slots::check(&config, &mut findings);
    }
    installation::check(&installation::Places::of_this_process(), &mut findings);
    report(&findings)
}

fn configuration(context: &Context, findings: &mut Findings) -> Option<Config> {
    let config = match context.try_config() {
        Ok(config) => config,
        Err(error) => {
            let found = error.why().unwrap_or("it is wrong");
            findings.add(Grade::Error, "configuration", found, "until then applications see no token");
            return None;
        }
    };
    match &config.source {
        Some(path) => findings.good("configuration", path.display().to_string()),
        None => findings.good("configuration", "built-in defaults, no file"),
    }
    for name in tokens::unknown_mechanisms(&config) {
        findings.add(
            Grade::Error,
            "configuration",
            format!("mechanisms: there is no mechanism {name}"),
            "`keyward mechanisms --all` lists the names",
        );
    }
    Some(config)
}

fn report(findings: &Findings) -> Report {
    let rows: Vec<Vec<String>> = findings
        .0
        .iter()
        .map(|one| {
            let stop = if one.advice.is_empty() { "" } else { "; " };
            vec![one.grade.word().to_owned(), one.subject.clone(), format!("{}{stop}{}", one.found, one.advice)]
        })
        .collect();
    let json = findings.0.iter().map(|one| {
        let grade = one.grade.word().to_ascii_lowercase();
        json!({ "grade": grade, "subject": one.subject, "found": one.found, "advice": one.advice })
    });
    let mut report = Report::new(table(&["GRADE", "SUBJECT", "FINDING"], &rows), json.collect());
    if findings.worst() == Grade::Error {
        report.exit = Exit::Unsound;
    }
    report
}

/// Also a dangling link exists.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests;
