//! Changes of state.

use std::path::PathBuf;

use clap::Args;
use cryptoki_sys::*;
use keyward::lifecycle::{Dates, Event, State, clock};
use keyward::token::*;
use serde_json::json;

use super::target::{Found, Target, authority, hex, look};
use crate::commands::approval::read_all;
use crate::commands::object::find;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::report::{Report, cell, fields, table};
use crate::session::Session;

#[derive(Args, Debug)]
pub struct Plain {
    #[command(flatten)]
    target: Target,
    /// Why; it is kept with the key
    #[arg(long, default_value = "")]
    reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Activate {
    #[command(flatten)]
    plain: Plain,
    /// Activate by itself at this time instead of now: 2027-03-01, 2027-03-01T12:00:00Z, +90d
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    at: Option<u64>,
    /// For how long the version that is replaced still signs, since servers hold its handle
    #[arg(long, default_value = "7d", value_parser = clock::parse_span)]
    overlap: u64,
}

#[derive(Args, Debug)]
pub struct Suspend {
    #[command(flatten)]
    target: Target,
    /// Why; it is kept with the key
    #[arg(long)]
    reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Deactivate {
    #[command(flatten)]
    plain: Plain,
    /// At this time instead of now: 2027-03-01, 2027-03-01T12:00:00Z, +90d
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    at: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Revoke {
    #[command(flatten)]
    target: Target,
    /// Why; it is kept with the key
    #[arg(long)]
    reason: String,
    /// The key is, or may be, known to others: nothing is decrypted or verified with it either, unless the policy says so
    #[arg(long)]
    compromised: bool,
    /// Since when it must be thought of as known to others
    #[arg(long, value_parser = time, allow_hyphen_values = true, requires = "compromised")]
    since: Option<u64>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Times are 2027-03-01, 2027-03-01T12:00:00Z, or +90d from now. Example:\n  keyward key schedule \
--label db --protect-stop +1y --deactivation +2y"
)]
pub struct Schedule {
    #[command(flatten)]
    plain: Plain,
    /// When a pre-active key becomes active
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    activation: Option<u64>,
    /// The end of signing, encrypting and wrapping
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    protect_stop: Option<u64>,
    /// The end of verifying, decrypting and unwrapping
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    process_stop: Option<u64>,
    /// When the key is deactivated
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    deactivation: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Destroy {
    #[command(flatten)]
    plain: Plain,
    /// How long the key can still be brought back
    #[arg(long, default_value = "30d", value_parser = clock::parse_span)]
    window: u64,
    /// An approval, where the policy asks for some; may be repeated
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Purge {
    #[command(flatten)]
    plain: Plain,
    /// Keep no tombstone either: label, ID, dates and reason go too
    #[arg(long)]
    leave_nothing: bool,
    /// An approval, where the policy asks for some; may be repeated
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Show {
    #[command(flatten)]
    target: Target,
}

fn time(text: &str) -> std::result::Result<u64, String> {
    clock::parse(text, clock::now())
}

/// One change of one key, as a command asks for it.
struct Change<'a> {
    /// As typed: `key suspend`.
    command: &'a str,
    done: &'a str,
    event: Event,
    dates: Dates,
    reason: &'a str,
    dry_run: bool,
    approvals: Vec<String>,
    leave_nothing: bool,
}

impl<'a> Change<'a> {
    fn new(command: &'a str, done: &'a str, event: Event, reason: &'a str, dry_run: bool) -> Change<'a> {
        let (dates, approvals) = (Dates::default(), Vec::new());
        Change { command, done, event, dates, reason, dry_run, approvals, leave_nothing: false }
    }

    fn make(&self, session: &Session, key: &Found) -> Result<Report> {
        let before = key.state();
        if !self.dry_run {
            let order = Order {
                key: key.object,
                event: self.event,
                dates: self.dates,
                by: authority(self.command, self.reason),
                alone: false,
                approvals: self.approvals.clone(),
                leave_nothing: self.leave_nothing,
            };
            let failed = format!("cannot {} key {}", self.command.trim_start_matches("key "), key.label());
            session.token.change_life(session.caller, &order).map_err(Failure::of(&failed))?;
        }
        let would = if self.dry_run { "would be " } else { "is " };
        let text = format!("Key {} (version {}) {would}{}.", key.label(), key.version(), self.done);
        let json = json!({ "key": key.json(), "before": before.name(), "done": !self.dry_run, "event": self.command });
        Ok(Report::new(text, json))
    }
}

pub fn activate(context: &Context, arguments: &Activate) -> Result<Report> {
    let Plain { target, reason, dry_run } = &arguments.plain;
    let session = target.session(context)?;
    let key = target.one(&session, &[])?;
    let staged = key.attributes.bytes(CKA_KEYWARD_LOGICAL_KEY).is_some() && key.state() == State::PreActive;
    if let Some(at) = arguments.at {
        let mut change = Change::new("key activate", "to be activated by itself", Event::Schedule, reason, *dry_run);
        change.dates.activation = Some(at);
        return change.make(&session, &key);
    }
    if !staged {
        let mut change = Change::new("key activate", "active", Event::Activate, reason, *dry_run);
        change.dates.activation = Some(clock::now());
        return change.make(&session, &key);
    }
    if !dry_run {
        let order = TakeOver { key: key.object, overlap: arguments.overlap, by: authority("key activate", reason) };
        session.token.take_over(session.caller, &order).map_err(Failure::of("cannot activate the staged version"))?;
    }
    let would = if *dry_run { "would take" } else { "takes" };
    let text = format!(
        "Version {} {would} the label; the version before it signs for {} more.",
        key.version(),
        clock::span(arguments.overlap)
    );
    Ok(Report::new(text, json!({ "key": key.json(), "overlap": arguments.overlap, "done": !dry_run })))
}

pub fn suspend(context: &Context, arguments: &Suspend) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let key = arguments.target.one(&session, &[])?;
    Change::new("key suspend", "suspended", Event::Suspend, &arguments.reason, arguments.dry_run).make(&session, &key)
}

pub fn resume(context: &Context, arguments: &Plain) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let key = arguments.target.one(&session, &[])?;
    Change::new("key resume", "active", Event::Resume, &arguments.reason, arguments.dry_run).make(&session, &key)
}

pub fn deactivate(context: &Context, arguments: &Deactivate) -> Result<Report> {
    let Plain { target, reason, dry_run } = &arguments.plain;
    let session = target.session(context)?;
    let key = target.one(&session, &[])?;
    let mut change = match arguments.at {
        None => Change::new("key deactivate", "deactivated", Event::Deactivate, reason, *dry_run),
        Some(_) => Change::new("key deactivate", "to be deactivated by itself", Event::Schedule, reason, *dry_run),
    };
    change.dates.deactivation = Some(arguments.at.unwrap_or_else(clock::now));
    change.make(&session, &key)
}

pub fn revoke(context: &Context, arguments: &Revoke) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let key = arguments.target.one(&session, &[])?;
    if !arguments.compromised {
        let mut change = Change::new("key revoke", "revoked", Event::Deactivate, &arguments.reason, arguments.dry_run);
        change.dates.deactivation = Some(clock::now());
        return change.make(&session, &key);
    }
    if !arguments.dry_run {
        context.confirm(&format!("Key {} will be compromised for good, in every application.", key.label()))?;
    }
    let mut change = Change::new("key revoke", "compromised", Event::Compromise, &arguments.reason, arguments.dry_run);
    change.dates.compromise = Some(arguments.since.unwrap_or_else(clock::now));
    change.make(&session, &key)
}

pub fn schedule(context: &Context, arguments: &Schedule) -> Result<Report> {
    let Plain { target, reason, dry_run } = &arguments.plain;
    let session = target.session(context)?;
    let key = target.one(&session, &[])?;
    let mut change = Change::new("key schedule", "scheduled", Event::Schedule, reason, *dry_run);
    change.dates = Dates {
        activation: arguments.activation,
        protect_stop: arguments.protect_stop,
        process_stop: arguments.process_stop,
        deactivation: arguments.deactivation,
        ..Dates::default()
    };
    change.make(&session, &key)
}

pub fn destroy(context: &Context, arguments: &Destroy) -> Result<Report> {
    let Plain { target, reason, dry_run } = &arguments.plain;
    let session = target.session(context)?;
    let key = target.one(&session, &[])?;
    let end = clock::now().saturating_add(arguments.window);
    if !dry_run {
        let until = clock::text(end);
        context.confirm(&format!("Key {} will vanish now; until {until} it can be recovered.", key.label()))?;
    }
    let done = format!("hidden, and can be recovered until {}", clock::text(end));
    let mut change = Change::new("key destroy", &done, Event::Destroy, reason, *dry_run);
    change.approvals = read_all(&arguments.approval)?;
    change.dates.destruction = Some(end);
    change.make(&session, &key)
}

pub fn recover(context: &Context, arguments: &Plain) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let key = arguments.target.one(&session, &[State::PendingDestroy])?;
    Change::new("key recover", "back", Event::Recover, &arguments.reason, arguments.dry_run).make(&session, &key)
}

pub fn purge(context: &Context, arguments: &Purge) -> Result<Report> {
    let Plain { target, reason, dry_run } = &arguments.plain;
    let session = target.session(context)?;
    let key = target.one(&session, &State::ALL)?;
    if !dry_run {
        context.confirm(&format!("Key {} will be destroyed for good.", key.label()))?;
    }
    let mut change = Change::new("key purge", "destroyed for good", Event::Purge, reason, *dry_run);
    change.approvals = read_all(&arguments.approval)?;
    change.leave_nothing = arguments.leave_nothing;
    change.make(&session, &key)
}

pub fn show(context: &Context, arguments: &Show) -> Result<Report> {
    let session = arguments.target.session(context)?;
    let key = arguments.target.one(&session, &State::ALL).or_else(|_| arguments.target.one(&session, &[]))?;
    let versions = versions(&session, &key)?;
    let date = |ty| key.attributes.ulong(ty).map(clock::text).unwrap_or_default();
    let told = [
        ("label", key.label()),
        ("unique ID", key.text(CKA_UNIQUE_ID)),
        ("ID", cell(&key.attributes.bytes(CKA_ID).map(hex).unwrap_or_default())),
        ("state", key.state().name().to_owned()),
        ("version", key.version().to_string()),
        ("class", key.text(CKA_KEYWARD_CLASS)),
        ("created", date(CKA_KEYWARD_CREATION_DATE)),
        ("activation", date(CKA_KEYWARD_ACTIVATION_DATE)),
        ("protect stop", date(CKA_KEYWARD_PROTECT_STOP_DATE)),
        ("process stop", date(CKA_KEYWARD_PROCESS_STOP_DATE)),
        ("deactivation", date(CKA_KEYWARD_DEACTIVATION_DATE)),
        ("compromise", date(CKA_KEYWARD_COMPROMISE_DATE)),
        ("destruction", date(CKA_KEYWARD_DESTRUCTION_DATE)),
        ("since", date(CKA_KEYWARD_STATE_DATE)),
        ("reason", cell(&key.text(CKA_KEYWARD_STATE_REASON))),
        ("by", cell(&key.text(CKA_KEYWARD_STATE_ACTOR))),
    ];
    let mut text = fields(told.into_iter().filter(|(_, value)| !value.is_empty() && value != "-"));
    if versions.len() > 1 {
        let rows: Vec<Vec<String>> = versions
            .iter()
            .map(|one| {
                vec![one.version().to_string(), one.state().name().to_owned(), one.label(), one.text(CKA_UNIQUE_ID)]
            })
            .collect();
        text.push_str(&format!("\n{}", table(&["VERSION", "STATE", "LABEL", "UNIQUE ID"], &rows)));
    }
    let json = json!({ "key": key.json(), "versions": versions.iter().map(Found::json).collect::<Vec<_>>() });
    Ok(Report::new(text, json))
}

/// Every version of the same logical key and the same half, oldest first, tombstones too.
pub fn versions(session: &Session, key: &Found) -> Result<Vec<Found>> {
    let Some(family) = key.attributes.bytes(CKA_KEYWARD_LOGICAL_KEY) else { return Ok(Vec::new()) };
    let class = key.attributes.ulong(CKA_CLASS).unwrap_or_default();
    let mut all = Vec::new();
    for state in State::ALL {
        let template = vec![
            Attribute::bytes(CKA_KEYWARD_LOGICAL_KEY, family),
            Attribute::ulong(CKA_CLASS, class),
            Attribute::ulong(CKA_KEYWARD_STATE, state as CK_ULONG),
        ];
        for object in find(session, template)? {
            all.push(look(session, object)?);
        }
    }
    all.sort_by_key(Found::version);
    Ok(all)
}
