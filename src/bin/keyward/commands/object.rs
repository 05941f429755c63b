//! `keyward object`: list, show and delete the objects of a token.

use clap::{Args, Subcommand};
use cryptoki_sys::*;
use keyward::token::{Answer, Attribute, ObjectId, User, Value as Stored};
use serde_json::{Map, Value, json};

use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names::{self, ATTRIBUTES, Kind};
use crate::pins::{Reader, Source, UserPin};
use crate::report::{Report, cell, fields, table};
use crate::session::Session;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List objects; private ones only with a login
    List(List),
    /// Show all attributes that may leave the token
    Show(Chosen),
    /// Delete objects
    Delete(Delete),
}

/// Which objects: all conditions given must hold.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Objects with this label
    #[arg(long)]
    label: Option<String>,
    /// Objects with this CKA_ID, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = hex_bytes)]
    id: Option<HexBytes>,
    /// Objects of this class: private-key, certificate, ...
    #[arg(long, value_parser = names::parse_class)]
    class: Option<u64>,
    /// Keys of this type: rsa, ec, aes, ...
    #[arg(long, value_name = "TYPE", value_parser = names::parse_key_type)]
    key_type: Option<u64>,
    /// The object with this CKA_UNIQUE_ID
    #[arg(long, value_name = "ID")]
    unique_id: Option<String>,
}

/// A type of its own, since clap takes a plain vector for a list of arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexBytes(Vec<u8>);

fn hex_bytes(text: &str) -> std::result::Result<HexBytes, String> {
    names::parse_hex(text).map(HexBytes)
}

#[derive(Args, Debug)]
pub struct Reach {
    #[command(flatten)]
    choice: TokenChoice,
    /// Log in as the user, so that private objects are seen too; asks for the PIN unless an option gives it
    #[arg(long, short)]
    login: bool,
    #[command(flatten)]
    pin: UserPin,
}

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Args, Debug)]
pub struct Chosen {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    chosen: Chosen,
    /// Delete all that fit, and not only a single one
    #[arg(long)]
    all: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::List(arguments) => list(context, arguments),
        Command::Show(arguments) => show(context, arguments),
        Command::Delete(arguments) => delete(context, arguments),
    }
}

impl Filter {
    fn template(&self) -> Vec<Attribute> {
        let text = |ty, text: &Option<String>| text.as_ref().map(|text| Attribute::bytes(ty, text.as_bytes()));
        [
            self.class.map(|class| Attribute::ulong(CKA_CLASS, class)),
            self.key_type.map(|ty| Attribute::ulong(CKA_KEY_TYPE, ty)),
            self.id.as_ref().map(|id| Attribute::bytes(CKA_ID, &id.0)),
            text(CKA_LABEL, &self.label),
            text(CKA_UNIQUE_ID, &self.unique_id),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Reach {
    fn open(&self, context: &Context, read_write: bool) -> Result<Session> {
        let (slot, _) = self.choice.of(context.slots()?)?;
        let source = self.pin.source();
        let pin = match (self.login, &source) {
            (false, Source::Terminal) => None,
            _ => Some(Reader::default().read(&source, "User PIN")?),
        };
        let mut session = Session::open(&slot.token, read_write)?;
        if let Some(pin) = pin {
            session.login(User::User, &pin)?;
        }
        Ok(session)
    }
}

impl Chosen {
    /// At least one condition, so that a bare `delete` deletes nothing.
    fn objects(&self, session: &Session) -> Result<Vec<ObjectId>> {
        let template = self.filter.template();
        if template.is_empty() {
            let message = "say which object: --label, --id, --class, --key-type or --unique-id";
            return Err(Failure::new(Exit::Usage, message));
        }
        let found = find(session, template)?;
        if found.is_empty() {
            let more = if self.reach.login || self.reach.pin.source() != Source::Terminal {
                ""
            } else {
                " (private objects are found only with --login)"
            };
            return Err(Failure::new(Exit::NotFound, format!("no such object{more}")));
        }
        Ok(found)
    }
}

fn find(session: &Session, template: Vec<Attribute>) -> Result<Vec<ObjectId>> {
    const BATCH: usize = 256;
    let failed = Failure::of("cannot search");
    let mut search = session.token.find(session.caller, template).map_err(&failed)?;
    let mut found = Vec::new();
    loop {
        let batch = search.next(BATCH).map_err(&failed)?;
        let last = batch.len() < BATCH;
        found.extend(batch);
        if last {
            return Ok(found);
        }
    }
}

/// The columns of a listing.
const BRIEF: [(CK_ATTRIBUTE_TYPE, Kind); 9] = [
    (CKA_CLASS, Kind::Class),
    (CKA_KEY_TYPE, Kind::KeyType),
    (CKA_LABEL, Kind::Text),
    (CKA_ID, Kind::Bytes),
    (CKA_UNIQUE_ID, Kind::Text),
    (CKA_PRIVATE, Kind::Bool),
    (CKA_SENSITIVE, Kind::Bool),
    (CKA_EXTRACTABLE, Kind::Bool),
    (CKA_TOKEN, Kind::Bool),
];

struct Brief {
    class: String,
    key_type: String,
    label: String,
    id: String,
    traits: Vec<&'static str>,
    json: Value,
}

fn brief(session: &Session, object: ObjectId) -> Result<Brief> {
    let types = BRIEF.map(|(ty, _)| ty);
    let answers = session.token.get(session.caller, object, &types).map_err(Failure::of("cannot read an object"))?;
    let mut text = BRIEF.iter().zip(&answers).map(|((_, kind), answer)| names::render(*kind, answer));
    let mut next = || text.next().flatten().unwrap_or_default();
    let (class, key_type, label, id, _) = (next(), next(), next(), next(), next());
    let is = |ty| {
        let at = types.iter().position(|one| *one == ty);
        matches!(at.and_then(|at| answers.get(at)), Some(Answer::Value(Stored::Bytes(bytes))) if bytes.first() == Some(&CK_TRUE))
    };
    let traits = [(CKA_PRIVATE, "private"), (CKA_SENSITIVE, "sensitive"), (CKA_EXTRACTABLE, "extractable")];
    let traits = traits.into_iter().filter(|(ty, _)| is(*ty)).map(|(_, name)| name).collect();
    let json: Map<String, Value> =
        ["class", "key_type", "label", "id", "unique_id", "private", "sensitive", "extractable"]
            .into_iter()
            .zip(BRIEF.iter().zip(&answers))
            .filter_map(|(name, ((_, kind), answer))| Some((name.to_owned(), names::to_json(*kind, answer)?)))
            .collect();
    Ok(Brief { class, key_type, label, id, traits, json: Value::Object(json) })
}

fn briefs(session: &Session, objects: &[ObjectId]) -> Result<Vec<Brief>> {
    objects.iter().map(|object| brief(session, *object)).collect()
}

fn listing(briefs: &[Brief]) -> String {
    let rows: Vec<Vec<String>> = briefs
        .iter()
        .map(|one| {
            vec![cell(&one.class), cell(&one.key_type), cell(&one.label), cell(&one.id), cell(&one.traits.join(","))]
        })
        .collect();
    table(&["CLASS", "TYPE", "LABEL", "ID", "TRAITS"], &rows)
}

fn list(context: &Context, arguments: &List) -> Result<Report> {
    let session = arguments.reach.open(context, false)?;
    let briefs = briefs(&session, &find(&session, arguments.filter.template())?)?;
    Ok(Report::new(listing(&briefs), briefs.into_iter().map(|one| one.json).collect()))
}

fn show(context: &Context, arguments: &Chosen) -> Result<Report> {
    let session = arguments.reach.open(context, false)?;
    let types: Vec<CK_ATTRIBUTE_TYPE> = ATTRIBUTES.iter().map(|row| row.0).collect();
    let (mut texts, mut objects) = (Vec::new(), Vec::new());
    for object in arguments.objects(&session)? {
        let answers =
            session.token.get(session.caller, object, &types).map_err(Failure::of("cannot read the object"))?;
        let known = || ATTRIBUTES.iter().zip(&answers);
        let lines = known().filter_map(|((_, name, kind), answer)| Some((*name, names::render(*kind, answer)?)));
        texts.push(fields(lines));
        let json =
            known().filter_map(|((_, name, kind), answer)| Some(((*name).to_owned(), names::to_json(*kind, answer)?)));
        objects.push(Value::Object(json.collect()));
    }
    Ok(Report::new(texts.join("\n"), Value::Array(objects)))
}

fn delete(context: &Context, arguments: &Delete) -> Result<Report> {
    let session = arguments.chosen.reach.open(context, true)?;
    let objects = arguments.chosen.objects(&session)?;
    let briefs = briefs(&session, &objects)?;
    if objects.len() > 1 && !arguments.all {
        let message =
            format!("{} objects fit; say --all, or choose more narrowly:\n{}", objects.len(), listing(&briefs));
        return Err(Failure::new(Exit::Refused, message.trim_end().to_owned()));
    }
    let what = match objects.len() {
        1 => "This object".to_owned(),
        many => format!("These {many} objects"),
    };
    context.confirm(&format!("{}{what} will be deleted for good.", listing(&briefs)))?;
    for (done, object) in objects.iter().enumerate() {
        session
            .token
            .destroy(session.caller, *object)
            .map_err(Failure::of(&format!("{done} of {} deleted; cannot delete the next", objects.len())))?;
    }
    let json: Vec<Value> = briefs.into_iter().map(|one| one.json).collect();
    Ok(Report::new(format!("{} deleted", objects.len()), json!({ "deleted": json })))
}

#[cfg(test)]
mod tests;
