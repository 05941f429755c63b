//! `keyward object`: list, show and delete the objects of a token.

mod kryoptic;
mod load;
mod softhsm;
pub mod transfer;

use clap::{Args, Subcommand};
use cryptoki_sys::*;
use keyward::object::Attributes;
use keyward::token::{Answer, Attribute, ObjectId, User};
use serde_json::{Map, Value, json};

use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names;
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
    /// Import private keys and certificates from PEM, DER and PKCS#12 files
    Import(transfer::Import),
    /// Import all objects of a SoftHSM token directory
    ImportSofthsm(softhsm::Import),
    /// Import all objects of a Kryoptic token's database
    ImportKryoptic(kryoptic::Import),
    /// Export certificates and public keys
    Export(transfer::Export),
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
pub struct HexBytes(pub Vec<u8>);

pub fn hex_bytes(text: &str) -> std::result::Result<HexBytes, String> {
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
    /// Say what would be deleted, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::List(arguments) => list(context, arguments),
        Command::Show(arguments) => show(context, arguments),
        Command::Delete(arguments) => delete(context, arguments),
        Command::Import(arguments) => transfer::import(context, arguments),
        Command::ImportSofthsm(arguments) => softhsm::import(context, arguments),
        Command::ImportKryoptic(arguments) => kryoptic::import(context, arguments),
        Command::Export(arguments) => transfer::export(context, arguments),
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

pub fn find(session: &Session, template: Vec<Attribute>) -> Result<Vec<ObjectId>> {
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

/// What a listing tells of an object, with its names in JSON.
const BRIEF: [(CK_ATTRIBUTE_TYPE, &str); 8] = [
    (CKA_CLASS, "class"),
    (CKA_KEY_TYPE, "key_type"),
    (CKA_LABEL, "label"),
    (CKA_ID, "id"),
    (CKA_UNIQUE_ID, "unique_id"),
    (CKA_PRIVATE, "private"),
    (CKA_SENSITIVE, "sensitive"),
    (CKA_EXTRACTABLE, "extractable"),
];

struct Brief {
    /// Class, key type, label, ID, and which of the truth values hold.
    columns: Vec<String>,
    json: Value,
}

fn brief(session: &Session, object: ObjectId) -> Result<Brief> {
    let answers = read(session, object, &BRIEF.map(|(ty, _)| ty))?;
    let known: Vec<(&str, Option<String>, Option<Value>)> = BRIEF
        .iter()
        .zip(&answers)
        .map(|((ty, name), answer)| (*name, names::text(*ty, answer), names::to_json(*ty, answer)))
        .collect();
    let column = |wanted: &str| known.iter().find(|one| one.0 == wanted).and_then(|one| one.1.clone());
    let mut columns: Vec<String> =
        ["class", "key_type", "label", "id"].map(|name| cell(&column(name).unwrap_or_default())).into();
    let holding = known.iter().filter(|one| one.2 == Some(Value::Bool(true))).map(|one| one.0);
    columns.push(cell(&holding.collect::<Vec<_>>().join(",")));
    let json: Map<String, Value> =
        known.into_iter().filter_map(|(name, _, json)| Some((name.to_owned(), json?))).collect();
    Ok(Brief { columns, json: Value::Object(json) })
}

pub fn read(session: &Session, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Vec<Answer>> {
    let answers = session.token.get(session.caller, object, types).map_err(Failure::of("cannot read an object"))?;
    Ok(answers.into_vec())
}

fn briefs(session: &Session, objects: &[ObjectId]) -> Result<Vec<Brief>> {
    objects.iter().map(|object| brief(session, *object)).collect()
}

fn listing(briefs: &[Brief]) -> String {
    let rows: Vec<Vec<String>> = briefs.iter().map(|one| one.columns.clone()).collect();
    table(&["CLASS", "TYPE", "LABEL", "ID", "TRAITS"], &rows)
}

fn list(context: &Context, arguments: &List) -> Result<Report> {
    let session = arguments.reach.open(context, false)?;
    let briefs = briefs(&session, &find(&session, arguments.filter.template())?)?;
    Ok(Report::new(listing(&briefs), briefs.into_iter().map(|one| one.json).collect()))
}

fn show(context: &Context, arguments: &Chosen) -> Result<Report> {
    let session = arguments.reach.open(context, false)?;
    let (mut texts, mut objects) = (Vec::new(), Vec::new());
    for object in arguments.objects(&session)? {
        let known = whole(&session, object)?;
        let lines = known.iter().filter_map(|(ty, name, answer)| Some((*name, names::text(*ty, answer)?)));
        texts.push(fields(lines));
        let json =
            known.iter().filter_map(|(ty, name, answer)| Some(((*name).to_owned(), names::to_json(*ty, answer)?)));
        objects.push(Value::Object(json.collect()));
    }
    Ok(Report::new(texts.join("\n"), Value::Array(objects)))
}

/// All that an object's class has, with the names.
fn whole(session: &Session, object: ObjectId) -> Result<Vec<(CK_ATTRIBUTE_TYPE, &'static str, Answer)>> {
    let divisions = names::DIVISIONS.iter().zip(read(session, object, &names::DIVISIONS)?);
    let own: Attributes = divisions
        .filter_map(|(ty, answer)| match answer {
            Answer::Value(value) => Some(Attribute { ty: *ty, value }),
            _ => None,
        })
        .collect();
    let rows = names::attributes_of(&own);
    let types: Vec<CK_ATTRIBUTE_TYPE> = rows.iter().map(|(ty, _)| *ty).collect();
    let answers = read(session, object, &types)?;
    Ok(rows.into_iter().zip(answers).map(|((ty, name), answer)| (ty, name, answer)).collect())
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
    let json = |briefs: Vec<Brief>| briefs.into_iter().map(|one| one.json).collect::<Vec<Value>>();
    if arguments.dry_run {
        let text = format!("{} would be deleted:\n{}", objects.len(), listing(&briefs));
        return Ok(Report::new(text, json!({ "would_delete": json(briefs), "done": false })));
    }
    context.confirm(&format!("{what} will be deleted for good:\n{}", listing(&briefs)))?;
    for (done, object) in objects.iter().enumerate() {
        session
            .token
            .destroy(session.caller, *object)
            .map_err(Failure::of(&format!("{done} of {} deleted; cannot delete the next", objects.len())))?;
    }
    Ok(Report::new(format!("{} deleted", objects.len()), json!({ "deleted": json(briefs) })))
}

#[cfg(test)]
mod tests;
