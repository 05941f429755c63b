//! `keyward user`: the named users of a token, their roles, PINs and second factors.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::{Args, Subcommand};
use keyward::store::{Keys, Role, Roles, SlotFile, totp_uri};
use keyward::token::TokenInfo;
use serde_json::json;

use crate::choice::TokenChoice;
use crate::commands::audit::note_by;
use crate::commands::upkeep;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{NewPin, Pin, Reader, SoPin};
use crate::report::{Report, cell, shown, table};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a named user with a role and a PIN
    Add(Add),
    /// List the named users, their roles and the state of their PINs
    List(TokenChoice),
    /// Remove a user; where they are logged in they are logged out at their next use
    Remove(Remove),
    /// Set a user's PIN anew; unlocks a locked one
    Pin(ResetPin),
    /// Give a user other roles, from their next use on
    Role(SetRoles),
    /// One-time codes as a second factor
    #[command(subcommand)]
    Totp(Totp),
}

#[derive(Subcommand, Debug)]
pub enum Totp {
    /// Make a secret, and print it for an authenticator
    Enrol(Enrol),
    /// Remove the second factor
    Remove(Enrol),
}

const ROLES: &str = "Roles: officer (policy, users and PINs; logs in as the SO), user (uses keys), operator (makes, changes and \
destroys keys), auditor (reads the audit record), backup (makes backups), approver (signs approvals). Duties are kept apart: only \
user and operator go together. A user logs in by C_LoginUser, or by C_Login with the PIN NAME:PIN.";

#[derive(Args, Debug)]
#[command(after_help = ROLES)]
pub struct Add {
    /// The user's name
    name: String,
    /// A role; user and operator may be given together
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
    roles: Vec<Roles>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    new: NewPin,
}

/// The token, and the officer who does it.
#[derive(Args, Debug)]
pub struct By {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Remove {
    /// The user's name
    #[arg(required_unless_present = "damaged", conflicts_with = "damaged")]
    name: Option<String>,
    /// Remove every record that was damaged or altered
    #[arg(long)]
    damaged: bool,
    #[command(flatten)]
    by: By,
}

#[derive(Args, Debug)]
pub struct ResetPin {
    /// The user's name
    name: String,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    new: NewPin,
}

#[derive(Args, Debug)]
#[command(after_help = ROLES)]
pub struct SetRoles {
    /// The user's name
    name: String,
    /// A role; user and operator may be given together
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
    roles: Vec<Roles>,
    #[command(flatten)]
    by: By,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The code of six digits (RFC 6238, SHA-1, 30 seconds) stands behind the PIN from then on, PIN:123456, wherever the \
user logs in; `keyward` asks for it at a terminal. A code counts once, and a wrong one is a wrong PIN. Whoever loses the secret of \
the SO's own login needs a named officer to remove it."
)]
pub struct Enrol {
    /// The user's name
    #[arg(required_unless_present = "so", conflicts_with = "so")]
    name: Option<String>,
    /// The SO's own login
    #[arg(long)]
    so: bool,
    #[command(flatten)]
    by: By,
}

fn role(text: &str) -> std::result::Result<Roles, String> {
    Roles::parse(text).ok_or_else(|| "expected officer, user, operator, auditor, backup or approver".to_owned())
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Add(arguments) => add(context, arguments),
        Command::List(choice) => list(context, choice),
        Command::Remove(arguments) => remove(context, arguments),
        Command::Pin(arguments) => reset(context, arguments),
        Command::Role(arguments) => set_roles(context, arguments),
        Command::Totp(Totp::Enrol(arguments)) => totp(context, arguments, true),
        Command::Totp(Totp::Remove(arguments)) => totp(context, arguments, false),
    }
}

/// A token's slot file under an officer's keys.
struct Desk<'a> {
    context: &'a Context,
    file: SlotFile,
    info: TokenInfo,
    keys: Arc<Keys>,
    reader: Reader,
}

impl By {
    fn open<'a>(&self, context: &'a Context) -> Result<Desk<'a>> {
        let (file, info) = upkeep::open(context, &self.choice)?;
        let mut reader = Reader::default();
        let pin = reader.read(&self.so_pin.source(), "SO PIN")?;
        let pin = coded(&file, Role::SecurityOfficer, pin)?;
        let keys = file.unlock(Role::SecurityOfficer, &pin).map_err(Failure::of("cannot log in as the SO"))?;
        Ok(Desk { context, file, info, keys, reader })
    }
}

/// With the code of the second factor, asked for at a terminal where it is missing.
pub fn coded(file: &SlotFile, role: Role, pin: Pin) -> Result<Pin> {
    match file.lacks_code(role, &pin) && std::io::stdin().is_terminal() {
        true => Reader::with_code(&pin),
        false => Ok(pin),
    }
}

impl Desk<'_> {
    /// On record first: what is not to be recorded is not to be done.
    fn note(&self, operation: &str, rule: &str) -> Result<()> {
        let by = self.keys.standing().map_or("so", |standing| standing.name.as_str());
        note_by(self.context, by, operation, self.info.serial.trim_end(), rule).map(drop)
    }

    fn done(&self, text: String, name: &str) -> Report {
        Report::new(text, json!({ "user": name, "serial": self.info.serial.trim_end(), "done": true }))
    }
}

fn only_said(text: String) -> Result<Report> {
    Ok(Report::new(text, json!({ "done": false })))
}

fn together(roles: &[Roles]) -> Result<Roles> {
    let roles = roles.iter().fold(Roles::default(), |all, role| all.with(*role));
    roles.check().map_err(|error| Failure::new(Exit::Usage, error.why().unwrap_or_default().to_owned()))?;
    Ok(roles)
}

fn check_pin(context: &Context, pin: &Pin) -> Result<()> {
    context.config()?.pin.check(pin).map_err(Failure::of("the new PIN is refused"))
}

fn add(context: &Context, arguments: &Add) -> Result<Report> {
    let roles = together(&arguments.roles)?;
    let (name, duties) = (&arguments.name, roles.names().join(" and "));
    if arguments.by.dry_run {
        return only_said(format!("User {} would be made, with the role {duties}.", shown(name)));
    }
    let mut desk = arguments.by.open(context)?;
    let pin = desk.reader.read_new(&arguments.new.source(), &format!("PIN of {name}"))?;
    check_pin(context, &pin)?;
    desk.note("user_add", &format!("{name}: {duties}"))?;
    desk.file.add_user(&desk.keys, name, roles, &pin).map_err(Failure::of("cannot make the user"))?;
    Ok(desk.done(format!("User {} is made, with the role {duties}.", shown(name)), name))
}

fn list(context: &Context, choice: &TokenChoice) -> Result<Report> {
    let (file, _) = upkeep::open(context, choice)?;
    let (users, damaged) = file.users().map_err(Failure::of("cannot read the users"))?;
    let state = |user: &keyward::store::UserInfo| match (user.pin.locked(), user.pin.failures) {
        (true, _) => "locked".to_owned(),
        (false, 0) => "ready".to_owned(),
        (false, wrong) => format!("{wrong} wrong tries"),
    };
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let totp = if user.totp { "yes" } else { "no" };
            vec![cell(&user.name), user.roles.names().join(" "), state(user), totp.to_owned()]
        })
        .collect();
    let json: Vec<_> = users
        .iter()
        .map(|user| {
            let (names, failures) = (user.roles.names(), user.pin.failures);
            json!({ "name": user.name, "roles": names, "failures": failures, "locked": user.pin.locked(), "totp": user.totp })
        })
        .collect();
    let mut text = table(&["NAME", "ROLES", "PIN", "SECOND FACTOR"], &rows);
    if users.is_empty() {
        text = "The token has no named users.\n".to_owned();
    }
    if damaged > 0 {
        text.push_str(&format!("{damaged} records are damaged or were altered: `keyward user remove --damaged`\n"));
    }
    let exit = if damaged > 0 { Exit::Unsound } else { Exit::Done };
    Ok(Report { text, json: json!({ "users": json, "damaged": damaged }), exit })
}

fn remove(context: &Context, arguments: &Remove) -> Result<Report> {
    let name = arguments.name.as_deref().unwrap_or("(damaged records)");
    if arguments.by.dry_run {
        return only_said(format!("User {} would be removed.", shown(name)));
    }
    context
        .confirm(&format!("User {} is removed for good; their roles and second factor go with them.", shown(name)))?;
    let desk = arguments.by.open(context)?;
    desk.note("user_remove", name)?;
    let removed = match &arguments.name {
        Some(name) => desk.file.remove_user(&desk.keys, name),
        None => desk.file.remove_damaged_users(&desk.keys).map(drop),
    };
    removed.map_err(Failure::of("cannot remove the user"))?;
    Ok(desk.done(format!("User {} is removed.", shown(name)), name))
}

fn reset(context: &Context, arguments: &ResetPin) -> Result<Report> {
    let name = &arguments.name;
    if arguments.by.dry_run {
        return only_said(format!("The PIN of user {} would be set.", shown(name)));
    }
    let mut desk = arguments.by.open(context)?;
    let pin = desk.reader.read_new(&arguments.new.source(), &format!("New PIN of {name}"))?;
    check_pin(context, &pin)?;
    desk.note("user_pin", name)?;
    desk.file.reset_user_pin(&desk.keys, name, &pin).map_err(Failure::of("cannot set the PIN"))?;
    Ok(desk.done(format!("The PIN of user {} is set.", shown(name)), name))
}

fn set_roles(context: &Context, arguments: &SetRoles) -> Result<Report> {
    let roles = together(&arguments.roles)?;
    let (name, duties) = (&arguments.name, roles.names().join(" and "));
    if arguments.by.dry_run {
        return only_said(format!("User {} would have the role {duties}.", shown(name)));
    }
    let desk = arguments.by.open(context)?;
    desk.note("user_role", &format!("{name}: {duties}"))?;
    desk.file.set_roles(&desk.keys, name, roles).map_err(Failure::of("cannot change the roles"))?;
    Ok(desk.done(format!("User {} has the role {duties}.", shown(name)), name))
}

fn totp(context: &Context, arguments: &Enrol, wanted: bool) -> Result<Report> {
    let name = arguments.name.as_deref();
    let who = name.unwrap_or("so");
    let verb = if wanted { "have" } else { "lose" };
    if arguments.by.dry_run {
        return only_said(format!("{} would {verb} a second factor.", shown(who)));
    }
    let desk = arguments.by.open(context)?;
    desk.note(if wanted { "totp_enrol" } else { "totp_remove" }, who)?;
    let secret =
        desk.file.set_totp(&desk.keys, name, wanted).map_err(Failure::of("cannot change the second factor"))?;
    let Some(secret) = secret else {
        return Ok(desk.done(format!("{} has no second factor any more.", shown(who)), who));
    };
    let uri = totp_uri(&secret, desk.info.label.trim_end(), who);
    let text = format!(
        "{uri}\n\nGive this to an authenticator: it is shown once. From now on the code stands behind the PIN, PIN:123456."
    );
    Ok(Report::new(text, json!({ "user": who, "serial": desk.info.serial.trim_end(), "done": true, "uri": uri })))
}
