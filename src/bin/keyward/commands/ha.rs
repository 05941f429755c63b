//! `keyward ha`: how the members of a slot over several HSMs stand, and bringing them in line.

use std::sync::Arc;

use clap::{Args, Subcommand};
use keyward::ha::{Ha, MemberReport, Object, Standing, Step, Survey};
use keyward::lifecycle::clock;
use keyward::module;
use keyward::token::{Caller, SessionId, Token, User};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{Reader, Source, UserPin};
use crate::report::{Report, cell, fields, shown, table};
use crate::session::Session;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Which members are there, and what some of them lack
    Status(Status),
    /// Carry what only some members have to the others
    Sync(Sync),
}

#[derive(Args, Debug)]
#[command(
    after_help = "For monitoring: the exit code is 0 where every member is there, holds every object once and has nothing \
left to destroy; 7 where that is not so; 1 where no member is there. Private objects are compared only after a login: with \
a PIN option, or by itself where the configuration has the PIN of every member. BREAKER is what the applications on this machine \
have found last. A member that is back destroys what it still has to as soon as this command reaches it."
)]
pub struct Status {
    /// Label of the slot, where there are several of this kind
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
    #[command(flatten)]
    pin: UserPin,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Public objects are made anew; keys go wrapped under the key that wrapping_key names, if they are extractable. \
What may not leave its HSM, and what cannot be told apart, is named and stays; nothing is deleted."
)]
pub struct Sync {
    /// Label of the slot, where there are several of this kind
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pin: UserPin,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Status(arguments) => status(context, arguments),
        Command::Sync(arguments) => sync(context, arguments),
    }
}

fn chosen(context: &Context, label: Option<&String>) -> Result<Arc<Ha>> {
    let all = module::open_ha(&context.config()?).map_err(Failure::of("cannot open the HSMs"))?;
    let labels: Vec<String> = all.iter().map(|ha| shown(ha.label())).collect();
    let mut fitting = all.into_iter().filter(|ha| label.is_none_or(|label| ha.label() == label));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(Arc::new(one)),
        (Some(_), Some(_)) => {
            Err(Failure::new(Exit::Refused, format!("choose by --token: there are {}", labels.join(", "))))
        }
        (None, _) if labels.is_empty() => {
            Err(Failure::new(Exit::NotFound, "the configuration has no slot of kind = \"ha\"; see docs/ha.md"))
        }
        (None, _) => Err(Failure::new(Exit::NotFound, format!("no such slot; there are {}", labels.join(", ")))),
    }
}

/// Where every member's PIN is in the configuration, what is asked for is not looked at.
fn pin(ha: &Ha, pin: &UserPin) -> Result<Option<crate::pins::Pin>> {
    match pin.source() {
        Source::Terminal if ha.has_own_pins() => Ok(Some(crate::pins::Pin::default())),
        Source::Terminal => Ok(None),
        source => Reader::default().read(&source, "User PIN").map(Some),
    }
}

fn status(context: &Context, arguments: &Status) -> Result<Report> {
    let ha = chosen(context, arguments.token.as_ref())?;
    let token: Arc<dyn Token> = ha.clone();
    let pin = pin(&ha, &arguments.pin)?;
    let mut refused = None;
    let survey = match Session::open(&token, true) {
        Ok(mut session) => {
            if let Some(pin) = &pin {
                refused = session.login(User::User, pin).err();
            }
            ha.survey(session.caller)
        }
        // Nobody is there: then each member says why.
        Err(_) => ha.survey(Caller { session: SessionId(u64::MAX), read_write: true }),
    };
    let sound = refused.is_none() && survey.members.iter().all(is_sound) && survey.objects.iter().all(is_settled);
    let there = survey.members.iter().filter(|member| member.reached.is_ok()).count();
    let exit = match (sound, there) {
        (true, _) => Exit::Done,
        (false, 0) => Exit::Failed,
        (false, _) => Exit::Unsound,
    };
    let refused = refused.map(|failure| failure.message);
    let logged_in = survey.members.iter().any(|member| member.logged_in == Some(true));
    let text = text(&ha, &survey, refused.as_deref(), logged_in);
    let json = json!({
        "label": ha.label(),
        "sound": sound,
        "logged_in": logged_in,
        "login_refused": refused,
        "members": survey.members.iter().map(member_json).collect::<Vec<_>>(),
        "objects": {
            "on_all": survey.objects.iter().filter(|object| is_settled(object)).count(),
            "on_some": survey.objects.iter().filter(|object| !object.everywhere()).map(|object| object_json(object, &survey)).collect::<Vec<_>>(),
            "ambiguous": survey.objects.iter().filter(|object| object.ambiguous()).map(|object| object_json(object, &survey)).collect::<Vec<_>>(),
        },
    });
    Ok(Report { exit, ..Report::new(text, json) })
}

fn is_sound(member: &MemberReport) -> bool {
    member.reached.is_ok() && member.tombstones.is_empty() && member.logged_in != Some(false)
}

fn is_settled(object: &Object) -> bool {
    object.everywhere() && !object.ambiguous()
}

/// Of the applications, if any has noted it.
fn breaker(member: &MemberReport) -> &'static str {
    match member.note {
        Some((true, ..)) => Standing::Open.name(),
        _ => member.breaker.name(),
    }
}

fn text(ha: &Ha, survey: &Survey, refused: Option<&str>, logged_in: bool) -> String {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let rows: Vec<Vec<String>> = survey
        .members
        .iter()
        .map(|member| {
            let event = member.note.as_ref().map(|(open, at, why)| {
                let what = if *open { format!("left alone: {}", shown(why)) } else { "back".to_owned() };
                format!("{} {what}", clock::text(*at))
            });
            let failure = member.reached.as_ref().err().map(|error| shown(&error.to_string()));
            vec![
                cell(&member.name),
                yes(member.reached.is_ok()),
                member.logged_in.map_or("-".to_owned(), yes),
                breaker(member).to_owned(),
                member.tombstones.len().to_string(),
                failure.or(event).unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let mut text = table(&["MEMBER", "REACHED", "LOGIN", "BREAKER", "TO DESTROY", "LAST EVENT"], &rows);
    let on_all = survey.objects.iter().filter(|object| is_settled(object)).count();
    let compared = if logged_in { "all token objects" } else { "public objects only (not logged in)" };
    text.push('\n');
    text.push_str(&fields([
        ("slot", shown(ha.label())),
        ("compared", compared.to_owned()),
        ("on every member that is there", on_all.to_string()),
    ]));
    if let Some(refused) = refused {
        text.push_str(&format!("login: {}\n", shown(refused)));
    }
    let unsettled = survey.objects.iter().filter(|object| !is_settled(object));
    let rows: Vec<Vec<String>> = unsettled.map(|object| vec![shown(&object.name), counts(object, survey)]).collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["NOT ON ALL, OR TWICE", "COPIES"], &rows));
    }
    text
}

fn counts(object: &Object, survey: &Survey) -> String {
    let count = |(member, count): (&MemberReport, &Option<usize>)| {
        format!("{} {}", shown(&member.name), count.map_or("?".to_owned(), |count| count.to_string()))
    };
    survey.members.iter().zip(&object.copies).map(count).collect::<Vec<_>>().join(", ")
}

fn member_json(member: &MemberReport) -> Value {
    let note =
        member.note.as_ref().map(|(open, at, why)| json!({ "left_alone": open, "at": clock::text(*at), "why": why }));
    let info = member.reached.as_ref().ok();
    json!({
        "name": member.name,
        "reached": member.reached.is_ok(),
        "error": member.reached.as_ref().err().map(ToString::to_string),
        "logged_in": member.logged_in,
        "breaker": breaker(member),
        "token": info.map(|info| info.label.trim_end()),
        "serial": info.map(|info| info.serial.trim_end()),
        "tombstones": member.tombstones,
        "last_event": note,
    })
}

fn object_json(object: &Object, survey: &Survey) -> Value {
    let copies: serde_json::Map<String, Value> =
        survey.members.iter().zip(&object.copies).map(|(member, count)| (member.name.clone(), json!(count))).collect();
    json!({ "object": object.name, "copies": copies })
}

fn sync(context: &Context, arguments: &Sync) -> Result<Report> {
    let ha = chosen(context, arguments.token.as_ref())?;
    let token: Arc<dyn Token> = ha.clone();
    let mut session = Session::open(&token, true)?;
    let pin = match pin(&ha, &arguments.pin)? {
        Some(pin) => pin,
        None => Reader::default().read(&arguments.pin.source(), "User PIN")?,
    };
    session.login(User::User, &pin)?;
    let survey = ha.survey(session.caller);
    let steps = ha.sync(session.caller, &survey, arguments.dry_run);
    let done = |step: &Step| match &step.result {
        Ok(()) if arguments.dry_run => "would be carried".to_owned(),
        Ok(()) => "carried".to_owned(),
        Err(error) => format!("STAYS: {}", error.why().map_or_else(|| error.to_string(), shown)),
    };
    let mut rows: Vec<Vec<String>> =
        steps.iter().map(|step| vec![shown(&step.object), shown(&step.member), done(step)]).collect();
    let twice = survey.objects.iter().filter(|object| object.ambiguous());
    rows.extend(twice.clone().map(|object| {
        vec![shown(&object.name), "-".to_owned(), format!("STAYS: not to be told apart ({})", counts(object, &survey))]
    }));
    let away: Vec<&str> =
        survey.members.iter().filter(|member| member.reached.is_err()).map(|member| member.name.as_str()).collect();
    let mut text = match rows.is_empty() {
        true => "Every member that is there has every object.\n".to_owned(),
        false => table(&["OBJECT", "TO", "RESULT"], &rows),
    };
    if !away.is_empty() {
        text.push_str(&format!("Not there: {}\n", shown(&away.join(", "))));
    }
    let json = json!({
        "steps": steps.iter().map(|step| json!({
            "object": step.object, "to": step.member, "stays": step.result.is_err(), "result": done(step),
        })).collect::<Vec<_>>(),
        "ambiguous": twice.map(|object| object_json(object, &survey)).collect::<Vec<_>>(),
        "away": away,
    });
    let sound = away.is_empty() && rows.iter().all(|row| !row.iter().any(|cell| cell.starts_with("STAYS")));
    Ok(Report { exit: if sound { Exit::Done } else { Exit::Unsound }, ..Report::new(text, json) })
}
