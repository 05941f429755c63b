//! `keyward report`: what the facts show, for those who ask: compliance, one page of HTML, figures for Prometheus.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cryptoki_sys::*;
use keyward::lifecycle::{State, clock};
use serde_json::json;

use crate::commands::inventory::{Inventory, Key, Reach, Weight, Without, day};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::report::{Report, shown, table};

mod page;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// What the facts show of NIST SP 800-57, PCI DSS 4, HIPAA and GDPR: never a certificate
    Compliance(Compliance),
    /// Keys, findings and what they mean on one page, without anything from elsewhere
    Html(Html),
    /// Write figures for Prometheus' node exporter (textfile collector)
    Metrics(Metrics),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Each row says what was found, not that a requirement is met: that is for whoever audits. Exit code 7: something \
found speaks against a row.

Examples:
  keyward report compliance --token web
  keyward report compliance --framework pci --json"
)]
pub struct Compliance {
    #[command(flatten)]
    reach: Reach,
    /// Only rows of one: nist, pci, hipaa, gdpr
    #[arg(long, value_name = "NAME", value_parser = ["nist", "pci", "hipaa", "gdpr"])]
    framework: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keyward report html --token web --output web.html")]
pub struct Html {
    #[command(flatten)]
    reach: Reach,
    /// The file to write; it must not exist yet
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "The file is replaced as a whole. Example, from a timer:
  keyward report metrics --token web --pin-file /etc/keyward/pin \\
      --output /var/lib/node_exporter/textfile/keyward.prom")]
pub struct Metrics {
    #[command(flatten)]
    reach: Reach,
    /// The file to write or replace; its name must end in .prom
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Compliance(arguments) => compliance(context, arguments),
        Command::Html(arguments) => html(context, arguments),
        Command::Metrics(arguments) => metrics(context, arguments),
    }
}

/// What the facts say to a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing found speaks against it.
    Shown,
    Against,
    /// The facts at hand say nothing.
    Unknown,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Shown => "shown",
            Verdict::Against => "against",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One requirement, and what was found.
pub struct Row {
    pub framework: &'static str,
    pub item: &'static str,
    pub asks: &'static str,
    pub verdict: Verdict,
    pub facts: String,
}

/// What the requirements are held against, each with what was found.
struct Facts {
    strength: (Verdict, String),
    periods: (Verdict, String),
    expired: (Verdict, String),
    protection: (Verdict, String),
    separation: (Verdict, String),
    compromised: (Verdict, String),
    record: (Verdict, String),
    integrity: (Verdict, String),
    backup: (Verdict, String),
    drill: (Verdict, String),
    encryption: (Verdict, String),
    pins: (Verdict, String),
}

fn named(keys: &[&Key]) -> String {
    let mut names: Vec<String> = keys.iter().take(5).map(|key| shown(&key.label)).collect();
    if keys.len() > 5 {
        names.push(format!("and {} more", keys.len() - 5));
    }
    names.join(", ")
}

impl Facts {
    fn of(inventory: &Inventory) -> Facts {
        let total = inventory.keys.len();
        let with = |rules: &[&str]| -> Vec<&Key> {
            let hit = |key: &&Key| key.findings.iter().any(|finding| rules.contains(&finding.rule));
            inventory.keys.iter().filter(hit).collect()
        };
        let none_with = |rules: &[&str], good: &str, bad: &str| match with(rules) {
            found if found.is_empty() => (Verdict::Shown, format!("{good} (of {total} keys)")),
            found => (Verdict::Against, format!("{} of {total} keys {bad}: {}", found.len(), named(&found))),
        };
        let compromised: Vec<&Key> = inventory.keys.iter().filter(|key| key.state == State::Compromised).collect();
        let record = inventory.record.as_ref().ok();
        let without = || inventory.record.as_ref().err().map_or("", |why| why.why());
        let ago = |time: u64| format!("{}, {} days ago", day(time), inventory.now.saturating_sub(time) / clock::DAY);
        let event = |time: Option<Option<u64>>, what: &str| match time {
            None => (Verdict::Unknown, format!("{}, so none is known of", without())),
            Some(None) => (Verdict::Against, format!("the record knows of no {what}")),
            Some(Some(time)) => (Verdict::Shown, format!("last {what}: {}", ago(time))),
        };
        let locked = inventory.flags & (CKF_USER_PIN_LOCKED | CKF_SO_PIN_LOCKED) != 0;
        Facts {
            strength: none_with(&["weak"], "none is below 112 bits of strength", "are below 112 bits of strength"),
            periods: none_with(
                &["unbounded", "old"],
                "all have an end date",
                "have no end date, or are older than three years",
            ),
            expired: none_with(&["expired"], "none is active past its end", "are active past their end"),
            protection: none_with(&["readable", "extractable"], "none can leave the token", "can leave the token"),
            separation: none_with(
                &["wrap_and_decrypt"],
                "none wraps and decrypts",
                "wrap and decrypt, or unwrap and encrypt",
            ),
            compromised: match compromised.is_empty() {
                true => (Verdict::Shown, "none is marked compromised; the states of all keys are kept".to_owned()),
                false => (Verdict::Shown, format!("marked compromised and refused: {}", named(&compromised))),
            },
            record: match &inventory.record {
                Ok(record) => (Verdict::Shown, format!("each use and change is recorded: {} lines", record.lines)),
                Err(why @ Without::NotKept) => {
                    (Verdict::Against, format!("{}: the configuration has no [audit] table", why.why()))
                }
                Err(why) => (Verdict::Unknown, why.why().to_owned()),
            },
            integrity: match &inventory.record {
                Err(why) => (Verdict::Unknown, why.why().to_owned()),
                Ok(record) if record.whole => (Verdict::Shown, "hash chain, signatures and end verified".to_owned()),
                Ok(record) => (Verdict::Against, format!("{} findings: `keyward audit verify`", record.findings)),
            },
            backup: event(record.map(|record| record.last_backup), "backup"),
            drill: event(record.map(|record| record.last_drill), "restore drill"),
            encryption: match &inventory.maker {
                (maker, _) if maker == "Keyward" => (
                    Verdict::Shown,
                    "objects are sealed by AES-256-GCM under keys from PIN (Argon2id) and device secret".to_owned(),
                ),
                (maker, model) => (
                    Verdict::Unknown,
                    format!("the keys are in a {model} of {maker}: its maker says how it seals them"),
                ),
            },
            pins: match locked {
                false => (Verdict::Shown, "PINs are required; wrong ones are counted and lock the role".to_owned()),
                true => (Verdict::Against, "a PIN is locked after too many wrong tries".to_owned()),
            },
        }
    }
}

/// The requirements, each held against the facts.
pub fn rows(inventory: &Inventory) -> Vec<Row> {
    let facts = Facts::of(inventory);
    let row = |framework, item, asks, (verdict, text): &(Verdict, String)| Row {
        framework,
        item,
        asks,
        verdict: *verdict,
        facts: text.clone(),
    };
    vec![
        row("nist", "SP 800-57 Pt 1, 5.2", "a key serves one purpose", &facts.separation),
        row("nist", "SP 800-57 Pt 1, 5.3", "each key has a cryptoperiod", &facts.periods),
        row("nist", "SP 800-57 Pt 1, 5.6", "security strength of 112 bits or more", &facts.strength),
        row("nist", "SP 800-57 Pt 1, 6.2", "keys are protected against disclosure", &facts.protection),
        row("nist", "SP 800-57 Pt 1, 7", "key states are kept, also compromise", &facts.compromised),
        row("nist", "SP 800-57 Pt 1, 8.2.2.1", "backup of keys", &facts.backup),
        row("nist", "SP 800-57 Pt 1, 8.2.3", "keys are changed at the end of their period", &facts.expired),
        row("nist", "SP 800-57 Pt 1, 9", "key management is recorded", &facts.record),
        row("pci", "3.6.1", "keys that protect account data are protected", &facts.protection),
        row("pci", "3.7.1", "strong keys are generated", &facts.strength),
        row("pci", "3.7.4", "each key has a defined cryptoperiod", &facts.periods),
        row("pci", "3.7.4", "keys are changed at the end of their cryptoperiod", &facts.expired),
        row("pci", "3.7.5", "weakened or compromised keys are retired", &facts.compromised),
        row("pci", "8.3.4", "invalid tries of authentication are limited", &facts.pins),
        row("pci", "10.2", "access is logged", &facts.record),
        row("pci", "10.3", "logs are protected against change", &facts.integrity),
        row("hipaa", "164.308(a)(7)(ii)(A)", "data backup plan", &facts.backup),
        row("hipaa", "164.308(a)(7)(ii)(D)", "contingency plans are tested", &facts.drill),
        row("hipaa", "164.312(a)(2)(iv)", "encryption and decryption", &facts.encryption),
        row("hipaa", "164.312(b)", "audit controls", &facts.record),
        row("hipaa", "164.312(c)(1)", "integrity", &facts.integrity),
        row("hipaa", "164.312(d)", "authentication", &facts.pins),
        row("gdpr", "Art. 5(2)", "accountability", &facts.record),
        row("gdpr", "Art. 32(1)(a)", "encryption", &facts.encryption),
        row("gdpr", "Art. 32(1)(b)", "confidentiality and integrity", &facts.protection),
        row("gdpr", "Art. 32(1)(c)", "access can be restored", &facts.backup),
        row("gdpr", "Art. 32(1)(d)", "regular testing", &facts.drill),
    ]
}

pub fn framework(name: &str) -> &'static str {
    match name {
        "nist" => "NIST SP 800-57 Rev. 5",
        "pci" => "PCI DSS 4.0.1",
        "hipaa" => "HIPAA",
        _ => "GDPR",
    }
}

fn compliance(context: &Context, arguments: &Compliance) -> Result<Report> {
    let inventory = Inventory::read(context, &arguments.reach)?;
    let chosen = |row: &Row| arguments.framework.as_ref().is_none_or(|name| row.framework == name);
    let rows: Vec<Row> = rows(&inventory).into_iter().filter(chosen).collect();
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let verdict = row.verdict.name().to_owned();
            vec![
                framework(row.framework).to_owned(),
                row.item.to_owned(),
                row.asks.to_owned(),
                verdict,
                row.facts.clone(),
            ]
        })
        .collect();
    let text = format!(
        "What the facts of token \"{}\" show; no certificate, and no substitute for an audit.\n\n{}",
        shown(&inventory.label),
        table(&["FRAMEWORK", "ITEM", "ASKS FOR", "FACTS", "WHAT WAS FOUND"], &lines)
    );
    let json = rows
        .iter()
        .map(|row| {
            json!({
                "framework": row.framework, "item": row.item, "asks": row.asks, "verdict": row.verdict.name(), "facts": row.facts,
            })
        })
        .collect();
    let against = rows.iter().any(|row| row.verdict == Verdict::Against);
    Ok(Report { text, json, exit: if against { Exit::Unsound } else { Exit::Done } })
}

fn html(context: &Context, arguments: &Html) -> Result<Report> {
    let inventory = Inventory::read(context, &arguments.reach)?;
    let page = page::page(&inventory, &rows(&inventory));
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", arguments.output.display()))
    };
    let mut file = std::fs::File::create_new(&arguments.output).map_err(failed)?;
    std::io::Write::write_all(&mut file, page.as_bytes()).map_err(failed)?;
    let text = format!("written to {}", arguments.output.display());
    Ok(Report::new(text, json!({ "file": arguments.output, "keys": inventory.keys.len() })))
}

/// The text format of Prometheus (version 0.0.4).
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        self.0.push_str(&format!("{name}{{{}}} {value}\n", labels.join(",")));
    }
}

fn exposition(inventory: &Inventory) -> String {
    let token = ("token", inventory.label.as_str());
    let mut out = Exposition(String::new());
    out.family("keyward_objects", "gauge", "Objects of the token.");
    out.sample("keyward_objects", &[token], inventory.objects as u64);
    out.family("keyward_keys", "gauge", "Private and secret keys by state.");
    for state in State::ALL {
        let count = inventory.keys.iter().filter(|key| key.state == state).count();
        out.sample("keyward_keys", &[token, ("state", state.name())], count as u64);
    }
    out.family("keyward_key_end_timestamp_seconds", "gauge", "When a key's use ends.");
    for key in &inventory.keys {
        if let Some(end) = key.ends {
            let labels = [token, ("key", key.unique_id.as_str()), ("label", key.label.as_str())];
            out.sample("keyward_key_end_timestamp_seconds", &labels, end);
        }
    }
    out.family("keyward_findings", "gauge", "Findings about keys by weight.");
    for weight in [Weight::Note, Weight::Warning, Weight::Error] {
        let findings = inventory.keys.iter().flat_map(|key| &key.findings);
        let count = findings.filter(|finding| finding.weight == weight).count();
        out.sample("keyward_findings", &[token, ("weight", weight.name())], count as u64);
    }
    out.family("keyward_pin_locked", "gauge", "1 where a role is locked after wrong PINs.");
    for (role, flag) in [("user", CKF_USER_PIN_LOCKED), ("so", CKF_SO_PIN_LOCKED)] {
        out.sample("keyward_pin_locked", &[token, ("role", role)], u64::from(inventory.flags & flag != 0));
    }
    if let Ok(record) = &inventory.record {
        out.family("keyward_audit_whole", "gauge", "1 where the audit record verifies.");
        out.sample("keyward_audit_whole", &[], u64::from(record.whole));
        out.family("keyward_audit_lines", "gauge", "Lines of the audit record that are kept.");
        out.sample("keyward_audit_lines", &[], record.lines);
        out.family("keyward_audit_events", "gauge", "Events in the audit record by operation and result.");
        let mut events: Vec<_> = record.events.iter().collect();
        events.sort();
        for ((operation, result), count) in events {
            out.sample("keyward_audit_events", &[("operation", operation), ("result", result)], *count);
        }
        out.family("keyward_last_backup_timestamp_seconds", "gauge", "The last backup on record; 0: none.");
        out.sample("keyward_last_backup_timestamp_seconds", &[], record.last_backup.unwrap_or(0));
    }
    out.0
}

fn metrics(context: &Context, arguments: &Metrics) -> Result<Report> {
    let path = &arguments.output;
    if path.extension().is_none_or(|extension| extension != "prom") {
        return Err(Failure::new(Exit::Usage, "the collector reads files whose name ends in .prom"));
    }
    let text = exposition(&Inventory::read(context, &arguments.reach)?);
    replace(path, &text)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    Ok(Report::new(
        format!("{samples} figures written to {}", path.display()),
        json!({ "file": path, "samples": samples }),
    ))
}

/// As a whole or not at all: the collector may read at any moment. Others must be able to read it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = std::fs::write(&temporary, text)
        .and_then(|()| std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o644)))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
