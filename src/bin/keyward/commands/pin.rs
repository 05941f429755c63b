//! `keyward pin`: change a PIN, or set a new user PIN as the SO.

use clap::{Args, Subcommand};
use keyward::token::User;
use serde_json::json;

use crate::choice::TokenChoice;
use crate::commands::token::set_user_pin;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::pins::{NewPin, Reader, SoPin, UserPin};
use crate::report::{Report, shown};
use crate::session::Session;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Change the user PIN, or with --so the SO PIN
    Change(Change),
    /// Set a new user PIN as the SO; unlocks a locked one
    Reset(Reset),
}

#[derive(Args, Debug)]
pub struct Change {
    /// Change the SO PIN instead of the user PIN
    #[arg(long, conflicts_with = "user-pin")]
    so: bool,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    new: NewPin,
    /// Check the present PIN, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Reset {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    new: NewPin,
    /// Check the SO PIN, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Change(arguments) => change(context, arguments),
        Command::Reset(arguments) => reset(context, arguments),
    }
}

fn change(context: &Context, arguments: &Change) -> Result<Report> {
    let (slot, info) = arguments.choice.of(context.slots()?)?;
    let (user, name, source) = match arguments.so {
        true => (User::SecurityOfficer, "SO PIN", arguments.so_pin.source()),
        false => (User::User, "user PIN", arguments.pin.source()),
    };
    let mut reader = Reader::default();
    let old = reader.read(&source, &format!("Present {name}"))?;
    let mut session = Session::open(&slot.token, true)?;
    session.login(user, &old)?;
    let label = shown(info.label.trim_end());
    if arguments.dry_run {
        return Ok(done(&format!("The {name} of token \"{label}\" would be changed."), name, &info.serial, false));
    }
    // The new one is asked for only once the old one is known to be right.
    let new = reader.read_new(&arguments.new.source(), &format!("New {name}"))?;
    slot.token.set_pin(session.caller, &old, &new).map_err(Failure::of(&format!("cannot change the {name}")))?;
    Ok(done(&format!("The {name} of token \"{label}\" is changed."), name, &info.serial, true))
}

fn reset(context: &Context, arguments: &Reset) -> Result<Report> {
    let (slot, info) = arguments.choice.of(context.slots()?)?;
    let mut reader = Reader::default();
    let so_pin = reader.read(&arguments.so_pin.source(), "SO PIN")?;
    let label = shown(info.label.trim_end());
    if arguments.dry_run {
        Session::open(&slot.token, true)?.login(User::SecurityOfficer, &so_pin)?;
        let text = format!("The user PIN of token \"{label}\" would be set.");
        return Ok(done(&text, "user PIN", &info.serial, false));
    }
    let new = reader.read_new(&arguments.new.source(), "New user PIN")?;
    set_user_pin(&slot.token, &so_pin, &new)?;
    Ok(done(&format!("The user PIN of token \"{label}\" is set."), "user PIN", &info.serial, true))
}

fn done(text: &str, what: &str, serial: &str, done: bool) -> Report {
    Report::new(text.to_owned(), json!({ "changed": what, "serial": serial.trim_end(), "done": done }))
}

#[cfg(test)]
mod tests;
