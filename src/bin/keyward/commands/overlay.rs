//! `keyward overlay`: the file in which the life of an HSM's keys is kept.

use std::sync::Arc;

use clap::{Args, Subcommand};
use cryptoki_sys::*;
use keyward::lifecycle::{Dates, Event, State, clock};
use keyward::module;
use keyward::overlay::{Orphan, Place, of_none};
use keyward::token::*;
use serde_json::json;

use crate::choice::TokenChoice;
use crate::commands::audit::note;
use crate::commands::key::{authority, look};
use crate::commands::object::find;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names;
use crate::pins::{Reader, SoPin, UserPin};
use crate::report::{Report, cell, shown};
use crate::session::Session;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make the overlay file of a slot, with its administrator's PIN
    Init(Init),
    /// Take note of the keys that are in the HSM now
    Adopt(Adopt),
    /// Remove the records of keys that others have deleted in the HSM
    Prune(Prune),
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

#[derive(Args, Debug)]
#[command(
    after_help = "Compared is with all keys of the HSM, whatever the slot's filter shows. What was destroyed by Keyward keeps its tombstone; where it is not clear which key a record means it stays. A key that is put back, from a backup of the HSM, after its record was removed is a new one: so the record of a key that was suspended, compromised, deactivated or to be destroyed goes with --any-state alone."
)]
pub struct Prune {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    /// Only the record of this unique ID; may be given several times
    #[arg(long = "unique-id", value_name = "ID")]
    unique_ids: Vec<String>,
    /// Also records of keys that were not simply active
    #[arg(long)]
    any_state: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Init(arguments) => init(context, arguments),
        Command::Adopt(arguments) => adopt(context, arguments),
        Command::Prune(arguments) => prune(context, arguments),
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

fn prune(context: &Context, arguments: &Prune) -> Result<Report> {
    let (slot, info) = arguments.choice.of(context.slots()?)?;
    place(context, slot.id)?;
    let failed = Failure::of("cannot compare the overlay with the HSM");
    let overlays = module::open_overlay(&context.config()?, slot.id).map_err(&failed)?;
    let pin = Reader::default().read(&arguments.pin.source(), "User PIN")?;
    let (mut each, mut first) = (Vec::new(), None);
    // Of several HSMs each is asked by itself: a key that one of them has is no key that is gone.
    for overlay in overlays {
        let overlay = Arc::new(overlay);
        let mut session = Session::open(&(Arc::clone(&overlay) as Arc<dyn Token>), true)?;
        session.login(User::User, &pin)?;
        each.push(overlay.orphans(session.caller).map_err(&failed)?);
        first.get_or_insert(overlay);
    }
    let overlay = first.ok_or_else(|| Failure::new(Exit::Refused, "this slot has no overlay"))?;
    let named = |orphan: &Orphan| arguments.unique_ids.is_empty() || arguments.unique_ids.contains(&orphan.unique_id());
    let found: Vec<Orphan> = of_none(each).into_iter().filter(named).collect();
    let kept = |orphan: &Orphan| match (orphan.unclear, orphan.state()) {
        (true, _) => Some("kept: it is not clear whether a key of the HSM is meant".to_owned()),
        (_, State::Active | State::PreActive) => None,
        (_, _) if arguments.any_state => None,
        (_, state) => Some(format!("kept: the key was {}; --any-state removes it too", state.name())),
    };
    let told = |orphan: &Orphan| (orphan.unique_id(), kept(orphan).unwrap_or_else(|| "without a key".to_owned()));
    let mut text: String = found
        .iter()
        .map(|orphan| {
            let (unique_id, how) = told(orphan);
            format!("{} {} {unique_id}: {how}\n", names::class(orphan.class()), cell(&orphan.label()))
        })
        .collect();
    let json: Vec<_> = found
        .iter()
        .map(|orphan| {
            let (class, state) = (names::class(orphan.class()), orphan.state().name());
            json!({
                "unique_id": orphan.unique_id(), "label": orphan.label(), "class": class, "state": state,
                "kept": kept(orphan),
            })
        })
        .collect();
    let doomed: Vec<Orphan> = found.into_iter().filter(|orphan| kept(orphan).is_none()).collect();
    let mut removed = 0;
    match (doomed.len(), arguments.dry_run) {
        (0, _) => text.push_str("There is no record to remove."),
        (count, true) => text.push_str(&format!("{count} records would be removed.")),
        (count, false) => {
            context.confirm(&format!("{text}{count} records will be removed, and what they say of their keys."))?;
            // On record first: what is not to be recorded is not to be done.
            for orphan in &doomed {
                let what = format!("{}, {}, {}", orphan.unique_id(), shown(&orphan.label()), orphan.state().name());
                note(context, "overlay_prune", info.serial.trim_end(), &what)?;
            }
            removed = overlay.forget(&doomed).map_err(Failure::of("cannot remove the records"))?;
            text.push_str(&format!("{removed} records are removed."));
        }
    }
    Ok(Report::new(text, json!({ "records": json, "removed": removed, "done": !arguments.dry_run })))
}
