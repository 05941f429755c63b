//! `keyward token`: make, list and describe tokens.

use std::sync::Arc;

use clap::{Args, Subcommand};
use cryptoki_sys::*;
use keyward::token::{Token, TokenInfo, User};
use serde_json::{Value, json};

use crate::choice::TokenChoice;
use crate::commands::upkeep;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names;
use crate::pins::{Pin, Reader, SoPin, Source, UserPin};
use crate::report::{Report, cell, fields, shown, table};
use crate::session::Session;
use crate::slots::Slot;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a new token, or make an existing one anew
    Init(Init),
    /// List the tokens
    List,
    /// Describe one token
    Info(TokenChoice),
    /// Check every object, the index and the seals of a slot file
    Verify(upkeep::Verify),
    /// Give the space of deleted objects back
    Compact(upkeep::Compact),
    /// Write a consistent copy of the slot file while it is in use
    BackupFile(upkeep::BackupFile),
    /// Seal all private objects anew under a new master key
    RotateKey(upkeep::RotateKey),
    /// Accept a slot file as it is found: restored from a backup, or tampered with
    Accept(upkeep::Accept),
    /// Delete a token with all that is in it, for good
    Delete(upkeep::Delete),
}

#[derive(Args, Debug)]
#[command(after_help = "The SO PIN is asked for unless an option gives it. The user PIN is set when an option gives \
it, or when the answer at the terminal is not empty. With --token, --serial or --slot the chosen token is made anew: \
all its objects are deleted, and the SO PIN must be its present one.")]
pub struct Init {
    /// The token's name, at most 32 bytes
    #[arg(long, value_parser = label)]
    label: String,
    #[command(flatten)]
    existing: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    pin: UserPin,
    /// Leave the user PIN unset, without asking
    #[arg(long, conflicts_with = "user-pin")]
    no_user_pin: bool,
    /// Say what would be done, and do nothing; no PIN is asked for
    #[arg(long)]
    dry_run: bool,
}

/// What a token is made with.
pub struct Making {
    pub label: String,
    pub so_pin: Pin,
    pub user_pin: Option<Pin>,
}

/// `CK_TOKEN_INFO` has 32 bytes for it.
pub fn label(text: &str) -> std::result::Result<String, String> {
    match text.len() {
        0 => Err("a token needs a label".to_owned()),
        1..=32 => Ok(text.to_owned()),
        more => Err(format!("at most 32 bytes of UTF-8, this has {more}")),
    }
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Init(arguments) => init(context, arguments),
        Command::List => list(context),
        Command::Info(choice) => info(context, choice),
        Command::Verify(arguments) => upkeep::verify(context, arguments),
        Command::Compact(arguments) => upkeep::compact(context, arguments),
        Command::BackupFile(arguments) => upkeep::backup_file(context, arguments),
        Command::RotateKey(arguments) => upkeep::rotate_key(context, arguments),
        Command::Accept(arguments) => upkeep::accept(context, arguments),
        Command::Delete(arguments) => upkeep::delete(context, arguments),
    }
}

fn init(context: &Context, arguments: &Init) -> Result<Report> {
    let slot = if arguments.existing.is_none() {
        free(context.slots_with_free()?)?
    } else {
        let (slot, info) = arguments.existing.of(context.slots()?)?;
        let name = shown(info.label.trim_end());
        if arguments.dry_run {
            let text =
                format!("Token \"{name}\" ({}) would be made anew, without its objects.", info.serial.trim_end());
            return Ok(would_be(text, arguments, &slot, info.serial.trim_end()));
        }
        context.confirm(&format!("All objects of token \"{name}\" ({}) will be deleted.", info.serial.trim_end()))?;
        slot
    };
    if arguments.dry_run {
        let serial = slot.token.info().map_err(Failure::of("cannot read the free slot"))?.serial;
        let text = format!("Token \"{}\" would be made in slot {}.", shown(&arguments.label), slot.id);
        return Ok(would_be(text, arguments, &slot, serial.trim_end()));
    }
    let mut reader = Reader::default();
    let so_pin = match (arguments.existing.is_none(), arguments.so_pin.source()) {
        (true, source) => reader.read_new(&source, "New SO PIN")?,
        (false, source) => reader.read(&source, "SO PIN")?,
    };
    let user_pin = match arguments.pin.source() {
        _ if arguments.no_user_pin => None,
        // With the SO's PIN from elsewhere nobody may sit at the terminal: then silence means none.
        Source::Terminal if arguments.so_pin.source() != Source::Terminal => None,
        source => Some(reader.read_new(&source, "New user PIN (empty: none)")?).filter(|pin| !pin.is_empty()),
    };
    make(&slot, &Making { label: arguments.label.clone(), so_pin, user_pin })
}

fn would_be(text: String, arguments: &Init, slot: &Slot, serial: &str) -> Report {
    Report::new(text, json!({ "label": arguments.label, "serial": serial, "slot": slot.id, "done": false }))
}

/// The slot in which a new token can be made.
pub fn free(slots: Vec<Slot>) -> Result<Slot> {
    slots
        .into_iter()
        .find(|slot| slot.blank)
        .ok_or_else(|| Failure::new(Exit::Failed, "no free slot; `keyward doctor` checks the token directory"))
}

/// Both PINs are checked against the token's rules before anything is written.
pub fn make(slot: &Slot, making: &Making) -> Result<Report> {
    let allowed = slot.token.info().map_err(Failure::of("cannot read the free slot"))?.pin_len;
    for (pin, who) in [(Some(&making.so_pin), "SO"), (making.user_pin.as_ref(), "user")] {
        if pin.is_some_and(|pin| !allowed.contains(&(pin.len() as u64))) {
            let (least, most) = (allowed.start(), allowed.end());
            return Err(Failure::new(Exit::Pin, format!("the {who} PIN must have {least} to {most} bytes")));
        }
    }
    slot.token.initialize(&making.so_pin, &making.label).map_err(Failure::of("cannot make the token"))?;
    if let Some(pin) = &making.user_pin {
        set_user_pin(&slot.token, &making.so_pin, pin)?;
    }
    let info = slot.token.info().map_err(Failure::of("the token was made, but cannot be read"))?;
    let text = format!(
        "Token \"{}\" made: serial {}, slot {}{}",
        shown(info.label.trim_end()),
        info.serial.trim_end(),
        slot.id,
        if making.user_pin.is_some() { "" } else { "; no user PIN yet: set one with `keyward pin reset`" }
    );
    Ok(Report::new(text, described(slot, &info)))
}

/// `C_InitPIN`, as the SO.
pub fn set_user_pin(token: &Arc<dyn Token>, so_pin: &Pin, pin: &Pin) -> Result<()> {
    let mut session = Session::open(token, true)?;
    session.login(User::SecurityOfficer, so_pin)?;
    token.init_pin(session.caller, pin).map_err(Failure::of("cannot set the user PIN"))
}

pub fn list(context: &Context) -> Result<Report> {
    let slots = context.slots()?;
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for slot in slots.iter().filter(|slot| !slot.blank) {
        match slot.token.info() {
            Ok(info) => {
                rows.push(vec![
                    cell(info.label.trim_end()),
                    cell(info.serial.trim_end()),
                    slot.id.to_string(),
                    state(info.flags).to_owned(),
                ]);
                json.push(described(slot, &info));
            }
            Err(error) => {
                rows.push(vec![
                    "-".to_owned(),
                    "-".to_owned(),
                    slot.id.to_string(),
                    "damaged: see keyward doctor".to_owned(),
                ]);
                json.push(json!({ "slot": slot.id, "error": error.to_string() }));
            }
        }
    }
    Ok(Report::new(table(&["LABEL", "SERIAL", "SLOT", "STATE"], &rows), Value::Array(json)))
}

fn state(flags: CK_FLAGS) -> &'static str {
    let is = |flag: CK_FLAGS| flags & flag != 0;
    match () {
        () if is(CKF_ERROR_STATE) => "damaged or an older copy: see keyward token verify",
        () if is(CKF_USER_PIN_LOCKED) => "user PIN locked",
        () if is(CKF_SO_PIN_LOCKED) => "SO PIN locked",
        () if is(CKF_USER_PIN_FINAL_TRY) => "last try for the user PIN",
        () if !is(CKF_USER_PIN_INITIALIZED) => "no user PIN",
        () => "ready",
    }
}

fn info(context: &Context, choice: &TokenChoice) -> Result<Report> {
    let (slot, info) = choice.of(context.slots()?)?;
    let version = |(major, minor): (u8, u8)| format!("{major}.{minor}");
    let text = fields([
        ("label", cell(info.label.trim_end())),
        ("serial", cell(info.serial.trim_end())),
        ("slot", slot.id.to_string()),
        ("state", state(info.flags).to_owned()),
        ("manufacturer", cell(info.manufacturer.trim_end())),
        ("model", cell(info.model.trim_end())),
        ("hardware version", version(info.hardware)),
        ("firmware version", version(info.firmware)),
        ("PIN length", format!("{} to {} bytes", info.pin_len.start(), info.pin_len.end())),
        ("flags", names::token_flags(info.flags).join(" ")),
        ("mechanisms", slot.token.mechanisms().len().to_string()),
    ]);
    Ok(Report::new(text, described(&slot, &info)))
}

fn described(slot: &Slot, info: &TokenInfo) -> Value {
    json!({
        "label": info.label.trim_end(),
        "serial": info.serial.trim_end(),
        "slot": slot.id,
        "state": state(info.flags),
        "manufacturer": info.manufacturer.trim_end(),
        "model": info.model.trim_end(),
        "hardware_version": format!("{}.{}", info.hardware.0, info.hardware.1),
        "firmware_version": format!("{}.{}", info.firmware.0, info.firmware.1),
        "pin_length": { "least": info.pin_len.start(), "most": info.pin_len.end() },
        "flags": names::token_flags(info.flags),
        "mechanisms": slot.token.mechanisms().len(),
    })
}

#[cfg(test)]
mod tests;
