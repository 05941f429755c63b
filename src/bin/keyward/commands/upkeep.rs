//! `keyward token verify`, `compact`, `backup-file`, `rotate-key`, `accept` and `delete`: the care of a slot file.
//!
//! These work on the slot file itself, below the `Token` that applications see.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use keyward::module;
use keyward::store::{self, DeviceSecret, Keys, Role, Roles, Rules, SlotFile};
use keyward::token::TokenInfo;
use serde_json::json;

use crate::choice::TokenChoice;
use crate::commands::audit::note;
use crate::commands::duty::on_duty;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{ByPin, Reader, SoPin, Source, UserPin};
use crate::report::{Report, fields, shown};

#[derive(Args, Debug)]
#[command(after_help = "Without a login only public objects can be opened; the others are counted.")]
pub struct Verify {
    #[command(flatten)]
    choice: TokenChoice,
    /// Log in as the user, so that private objects and the whole index are checked too
    #[arg(long, short)]
    login: bool,
    #[command(flatten)]
    pin: UserPin,
}

#[derive(Args, Debug)]
pub struct Compact {
    #[command(flatten)]
    choice: TokenChoice,
    /// Say which token would be compacted, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "The copy is consistent whatever other processes do meanwhile, and opens only with this \
machine's device secret, which it does not contain. Put back in place of the slot file it is an older copy of the \
token: see `keyward token accept`.")]
pub struct BackupFile {
    /// The file to make; it must not exist yet
    file: PathBuf,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    by: ByPin,
}

#[derive(Args, Debug)]
#[command(
    after_help = "All private objects are sealed anew under a new master key. Applications that are logged in go \
on; they follow by themselves within a week. Both PINs are needed, since the new key is wrapped under both."
)]
pub struct RotateKey {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    pin: UserPin,
    /// Say what would be done, and do nothing; no PIN is asked for
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "For a slot file that was restored from a backup, or in which `keyward token verify` found \
objects removed or put back by others. Whatever the file then holds counts as right from now on.")]
pub struct Accept {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    so_pin: SoPin,
    /// Say what would be done, and do nothing; no PIN is asked for
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Every object of the token is deleted, and overwritten in the slot file, before the file itself is removed; \
applications that have it open see the token go. What remains are backups that were made before: only with their custodians can \
it be brought back. An audit record keeps what is in it, and gets a line of this. A token of an HSM is not deleted so."
)]
pub struct Delete {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
    /// Say what would be done, and do nothing; no PIN is asked for
    #[arg(long)]
    dry_run: bool,
}

/// The chosen token's slot file, or the overlay of an HSM's.
fn open_any(context: &Context, choice: &TokenChoice) -> Result<(SlotFile, TokenInfo)> {
    let config = context.config()?;
    let (slot, info) = choice.of(context.slots()?)?;
    let opened = match module::overlay_of(&config, slot.id) {
        Some(place) => place.open(),
        None => {
            let path = config.tokens.join(format!("{}.slot", info.serial.trim_end()));
            let rules = Rules { kdf: config.kdf, max_failures: config.pin.max_failures };
            DeviceSecret::load(&config.device_secret).and_then(|d| SlotFile::open(&path, Arc::new(d), rules))
        }
    };
    Ok((opened.map_err(Failure::of("cannot open the slot file"))?, info))
}

/// The chosen token's slot file, with its keys.
pub fn open(context: &Context, choice: &TokenChoice) -> Result<(SlotFile, TokenInfo)> {
    let (slot, _) = choice.of(context.slots()?)?;
    match module::overlay_of(&context.config()?, slot.id) {
        Some(_) => Err(Failure::new(
            Exit::Refused,
            "the keys of this token are in an HSM: its maker's tools back them up, and `keyward token backup-file` its overlay",
        )),
        None => open_any(context, choice),
    }
}

/// A line on the terminal, rewritten as work goes on; nothing where no terminal is.
struct Progress {
    doing: &'static str,
    percent: Option<u64>,
}

impl Progress {
    fn new(doing: &'static str) -> Progress {
        Progress { doing, percent: None }
    }

    fn step(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
        if self.percent.replace(percent) == Some(percent) || !std::io::stderr().is_terminal() {
            return;
        }
        let filled = usize::try_from(percent / 5).unwrap_or(0);
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "\r{} [{:<20}] {percent:>3} % of {total}", self.doing, "#".repeat(filled));
        let _ = out.flush();
    }

    fn end(self) {
        if self.percent.is_some() && std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

pub fn verify(context: &Context, arguments: &Verify) -> Result<Report> {
    let (file, info) = open_any(context, &arguments.choice)?;
    let source = arguments.pin.source();
    let keys: Arc<Keys> = if arguments.login || source != Source::Terminal {
        let pin = Reader::default().read(&source, "User PIN")?;
        file.unlock(Role::User, &pin).map_err(Failure::of("cannot log in"))?
    } else {
        file.public_keys().map_err(Failure::of("cannot read the token"))?
    };
    let mut progress = Progress::new("Checking");
    let found = file.verify_with(&keys, &mut |done, total| progress.step(done, total));
    progress.end();
    Ok(described(&info, &found.map_err(Failure::of("cannot read the slot file"))?))
}

fn described(info: &TokenInfo, found: &store::Report) -> Report {
    let label = shown(info.label.trim_end());
    let mut lines = vec![("objects", found.objects.to_string())];
    if found.unchecked > 0 {
        lines.push(("not checked", format!("{} private objects: say --login", found.unchecked)));
    }
    let listed = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    if !found.damaged.is_empty() {
        lines.push(("damaged", format!("objects {}: delete them, or restore a backup", listed(&found.damaged))));
    }
    if !found.unindexed.is_empty() {
        lines.push(("index", format!("objects {} are not found by all their attributes", listed(&found.unindexed))));
    }
    if found.stray_entries > 0 {
        lines.push(("index", format!("{} entries belong to no object", found.stray_entries)));
    }
    if found.tampered {
        lines.push(("tampered", "objects were removed or put back behind the token's back".to_owned()));
    }
    if let Some(why) = &found.older {
        lines.push(("older copy", why.clone()));
    }
    lines.extend(found.faults.iter().map(|fault| ("structure", fault.clone())));
    let verdict = if found.is_clean() { "sound" } else { "NOT SOUND" };
    let text = format!("Token \"{label}\" is {verdict}\n{}", fields(lines));
    let json = json!({
        "serial": info.serial.trim_end(),
        "sound": found.is_clean(),
        "objects": found.objects,
        "unchecked": found.unchecked,
        "damaged": found.damaged,
        "unindexed": found.unindexed,
        "stray_entries": found.stray_entries,
        "tampered": found.tampered,
        "older_copy": found.older,
        "structure": found.faults,
    });
    let exit = if found.is_clean() { Exit::Done } else { Exit::Unsound };
    Report { text, json, exit }
}

/// What a dry run answers.
fn would_be(text: String, info: &TokenInfo) -> Report {
    Report::new(text, json!({ "serial": info.serial.trim_end(), "done": false }))
}

pub fn compact(context: &Context, arguments: &Compact) -> Result<Report> {
    let (file, info) = open_any(context, &arguments.choice)?;
    if arguments.dry_run {
        return Ok(would_be(format!("Token \"{}\" would be compacted.", shown(info.label.trim_end())), &info));
    }
    let (before, after) = file.compact().map_err(Failure::of("cannot compact the slot file"))?;
    let text = format!("Token \"{}\": {before} bytes before, {after} after", shown(info.label.trim_end()));
    Ok(Report::new(text, json!({ "serial": info.serial.trim_end(), "before": before, "after": after })))
}

pub fn backup_file(context: &Context, arguments: &BackupFile) -> Result<Report> {
    let (file, info) = open_any(context, &arguments.choice)?;
    let to = std::path::absolute(&arguments.file)
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", arguments.file.display())))?;
    on_duty(&file, Roles::BACKUP, &arguments.by.source())?;
    file.backup(&to).map_err(Failure::of("cannot write the backup"))?;
    let text = format!(
        "Token \"{}\" is copied to {}. It opens only with this machine's device secret: keep a copy of that too, apart.",
        shown(info.label.trim_end()),
        to.display()
    );
    Ok(Report::new(text, json!({ "serial": info.serial.trim_end(), "file": to })))
}

pub fn rotate_key(context: &Context, arguments: &RotateKey) -> Result<Report> {
    let (file, info) = open_any(context, &arguments.choice)?;
    let header = file.header().map_err(Failure::of("cannot read the token"))?;
    if arguments.dry_run {
        let text = format!(
            "Token \"{}\" would get a new master key; the SO PIN{} needed.",
            shown(info.label.trim_end()),
            if header.user_pin_set { " and the user PIN are" } else { " is" }
        );
        return Ok(would_be(text, &info));
    }
    let mut reader = Reader::default();
    let so_pin = reader.read(&arguments.so_pin.source(), "SO PIN")?;
    let user_pin = match header.user_pin_set {
        true => Some(reader.read(&arguments.pin.source(), "User PIN")?),
        false => None,
    };
    let mut progress = Progress::new("Sealing anew");
    let user_pin = user_pin.as_ref().map(|pin| pin.as_slice());
    let done = file.rotate(&so_pin, user_pin, &mut |done, total| progress.step(done, total));
    progress.end();
    done.map_err(Failure::of("cannot rotate the master key"))?;
    let text = format!("Token \"{}\" has a new master key.", shown(info.label.trim_end()));
    Ok(Report::new(text, json!({ "serial": info.serial.trim_end(), "rotated": true })))
}

pub fn accept(context: &Context, arguments: &Accept) -> Result<Report> {
    let (file, info) = open_any(context, &arguments.choice)?;
    let label = shown(info.label.trim_end());
    if arguments.dry_run {
        let unsound = file.header().map_err(Failure::of("cannot read the token"))?.unsound;
        let how = if unsound { "though it is older than what was seen, or damaged" } else { "which it is already" };
        return Ok(would_be(format!("The slot file of token \"{label}\" would be accepted as it is, {how}."), &info));
    }
    context.confirm(&format!(
        "What the slot file of token \"{label}\" now holds will count as right, also where it is older than what this \
         machine has seen."
    ))?;
    // An overlay has no user of its own.
    let header = file.header().map_err(Failure::of("cannot read the token"))?;
    let (role, source, name) = match header.user_pin_set {
        true => (Role::User, arguments.pin.source(), "User PIN"),
        false => (Role::SecurityOfficer, arguments.so_pin.source(), "SO PIN"),
    };
    let pin = Reader::default().read(&source, name)?;
    file.accept(role, &pin).map_err(Failure::of("cannot accept the slot file"))?;
    let text = format!("The slot file of token \"{label}\" is accepted as it is.");
    Ok(Report::new(text, json!({ "serial": info.serial.trim_end(), "accepted": true })))
}

pub fn delete(context: &Context, arguments: &Delete) -> Result<Report> {
    let (file, info) = open(context, &arguments.choice)?;
    let (label, serial) = (shown(info.label.trim_end()), info.serial.trim_end());
    let objects = file.count().map_err(Failure::of("cannot read the token"))?;
    let what = format!("token \"{label}\" ({serial}) with its {objects} objects");
    if arguments.dry_run {
        return Ok(would_be(format!("Deleted would be {what}."), &info));
    }
    context.confirm(&format!("Deleted for good will be {what}."))?;
    let so_pin = Reader::default().read(&arguments.so_pin.source(), "SO PIN")?;
    file.check_pin(Role::SecurityOfficer, &so_pin).map_err(Failure::of("cannot delete the token"))?;
    // On record first: what is not to be recorded is not to be done.
    note(context, "delete_token", serial, &format!("label {label}, {objects} objects"))?;
    file.remove(&so_pin).map_err(Failure::of("cannot delete the token"))?;
    Ok(Report::new(
        format!("Deleted is {what}."),
        json!({ "serial": serial, "label": label, "objects": objects, "done": true }),
    ))
}
