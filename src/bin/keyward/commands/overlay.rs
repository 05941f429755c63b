//! `keyward overlay`: the file in which the life of an HSM's keys is kept.

use clap::{Args, Subcommand};
use cryptoki_sys::*;
use keyward::lifecycle::{Dates, Event, State, clock};
use keyward::module;
use keyward::overlay::Place;
use keyward::token::*;
use serde_json::json;

use crate::choice::TokenChoice;
use crate::commands::key::{authority, look};
use crate::commands::object::find;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{Reader, SoPin, UserPin};
use crate::report::{Report, cell, shown};
use crate::session::Session;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make the overlay file of a slot, with its administrator's PIN
    Init(Init),
    /// Take note of the keys that are in the HSM now
    Adopt(Adopt),
}

#[derive(Args, Debug)]
#[command(
    after_help = "The slot names its overlay in the configuration: overlay = \"NAME\". From then on no key of it is used before \
the file is there. The administrator's PIN is this slot's SO PIN: it signs the policy."
)]
pub struct Init {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Keys that others have made in the HSM get a record, and are active from now on: their cryptoperiod begins today. \
With adopt = \"pre-active\" in the policy, keys that come later do nothing until they are adopted or activated."
)]
pub struct Adopt {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    /// Why; it is kept with the keys
    #[arg(long, default_value = "adopted")]
    reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Init(arguments) => init(context, arguments),
        Command::Adopt(arguments) => adopt(context, arguments),
    }
}

fn place(context: &Context, slot: u64) -> Result<Place> {
    module::overlay_of(&context.config()?, slot).ok_or_else(|| {
        let message =
            "this slot has no overlay; name one in its [[slot]] table of the configuration: overlay = \"NAME\"";
        Failure::new(Exit::Refused, message)
    })
}

fn init(context: &Context, arguments: &Init) -> Result<Report> {
    let (slot, info) = arguments.choice.of(context.slots()?)?;
    let place = place(context, slot.id)?;
    if place.path.exists() {
        return Err(Failure::new(Exit::Refused, format!("{} is there already", place.path.display())));
    }
    if place.is_remembered() {
        context.confirm(&format!(
            "This machine remembers an overlay {}, which is gone. If it is not restored, the states of its keys are forgotten, \
             and what was suspended or destroyed counts as active.",
            place.name
        ))?;
    }
    let pin = Reader::default().read_new(&arguments.so_pin.source(), "New SO PIN of the overlay")?;
    context.config()?.pin.check(&pin).map_err(Failure::of("this PIN cannot be set"))?;
    place.create(info.label.trim_end(), &pin).map_err(Failure::of("cannot make the overlay"))?;
    let text = format!(
        "The keys of token \"{}\" are governed by {}. Keep copies of it: `keyward token backup-file`.",
        shown(info.label.trim_end()),
        place.path.display()
    );
    Ok(Report::new(text, json!({ "overlay": place.name, "file": place.path })))
}

fn adopt(context: &Context, arguments: &Adopt) -> Result<Report> {
    let (slot, _) = arguments.choice.of(context.slots()?)?;
    place(context, slot.id)?;
    let pin = Reader::default().read(&arguments.pin.source(), "User PIN")?;
    let mut session = Session::open(&slot.token, true)?;
    session.login(User::User, &pin)?;
    let (mut adopted, mut lines) = (Vec::new(), Vec::new());
    for class in [CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_PUBLIC_KEY] {
        let template = vec![Attribute::ulong(CKA_CLASS, class), Attribute::bool(CKA_TOKEN, true)];
        for object in find(&session, template)? {
            let key = look(&session, object)?;
            let known = [CKA_KEYWARD_CREATION_DATE, CKA_KEYWARD_STATE_DATE];
            if known.iter().any(|ty| key.attributes.get(*ty).is_some()) {
                continue;
            }
            let event = if key.state() == State::PreActive { Event::Activate } else { Event::Schedule };
            let order = Order {
                key: object,
                event,
                dates: Dates { activation: Some(clock::now()), ..Dates::default() },
                by: authority("overlay adopt", &arguments.reason),
                alone: true,
                approvals: Vec::new(),
                leave_nothing: false,
            };
            let done = match arguments.dry_run {
                true => Ok(()),
                false => session.token.change_life(session.caller, &order),
            };
            let would = if arguments.dry_run { "would be adopted" } else { "adopted" };
            let how = done.map_or_else(|error| format!("NOT adopted: {error}"), |()| would.to_owned());
            lines.push(format!("{} {}: {how}", cell(&key.label()), key.text(CKA_UNIQUE_ID)));
            adopted.push(json!({ "key": key.json(), "result": how }));
        }
    }
    let text = if lines.is_empty() { "Every key has its record.".to_owned() } else { lines.join("\n") };
    Ok(Report::new(text, json!({ "adopted": adopted, "done": !arguments.dry_run })))
}
