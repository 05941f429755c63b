//! `keyward migrate`: objects of one token into another, whether software or an HSM's.
//!
//! What is public is read and made anew. A key leaves its token only wrapped, under a random key that both tokens hold for
//! the time of this command. What may not leave is named, and stays; nothing is deleted.

use std::sync::Arc;

use clap::Args;
use cryptoki_sys::*;
use keyward::error::{Code, Error};
use keyward::object::transfer::{CONTENTS, NAMES_AND_USES, WRAPPINGS, without_defaults};
use keyward::token::{Answer, Attribute, Mechanism, ObjectId, Params, Token, User, Value};
use serde_json::json;
use zeroize::Zeroizing;

use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{Reader, SourcePin, UserPin};
use crate::report::{Report, cell, table};
use crate::session::Session;

#[derive(Args, Debug)]
#[command(
    after_help = "Both tokens are slots of the configuration. An object with the same class, label and ID is not made \
twice, so that the command may be given again. The wrapping key is random and gone afterwards; each key is unwrapped as \
sensitive as it was. Keys that may not leave their token (CKA_EXTRACTABLE false, or only wrapped by a trusted key) are named: \
they need new keys, or the HSM maker's own means."
)]
pub struct Arguments {
    /// Label of the token to read
    #[arg(long, value_name = "LABEL")]
    from: String,
    /// Label of the token to write
    #[arg(long, value_name = "LABEL")]
    to: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    source_pin: SourcePin,
}

/// What became of an object.
enum Fate {
    Moved,
    /// In a dry run.
    WouldMove,
    There,
    Stays(String),
}

struct Line {
    class: &'static str,
    label: String,
    id: String,
    fate: Fate,
}

/// The two sides, logged in, with the key that both hold.
struct Way {
    from: Session,
    to: Session,
    mechanism: Mechanism,
    wrapping: ObjectId,
    unwrapping: ObjectId,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<Report> {
    if arguments.from == arguments.to {
        return Err(Failure::new(Exit::Usage, "--from and --to name the same token"));
    }
    let mut reader = Reader::default();
    let mut open = |label: &str, read_write, source, prompt: &str| -> Result<Session> {
        let choice = TokenChoice { token: Some(label.to_owned()), ..TokenChoice::default() };
        let (slot, _) = choice.of(context.slots()?)?;
        let mut session = Session::open(&slot.token, read_write)?;
        session.login(User::User, &reader.read(&source, prompt)?)?;
        Ok(session)
    };
    let from = open(&arguments.from, false, arguments.source_pin.source(), "User PIN of the token to read")?;
    let to = open(&arguments.to, true, arguments.pin.source(), "User PIN of the token to write")?;
    let way = Way::prepare(from, to)?;
    let objects = all_objects(&way.from)?;
    let mut lines = Vec::new();
    for object in objects.into_iter().filter(|object| *object != way.wrapping) {
        lines.extend(way.carry(object, arguments.dry_run)?);
    }
    Ok(report(&lines))
}

fn all_objects(session: &Session) -> Result<Vec<ObjectId>> {
    let doing = "cannot list the objects";
    let on_token = vec![Attribute::bool(CKA_TOKEN, true)];
    let mut search = session.token.find(session.caller, on_token).map_err(Failure::of(doing))?;
    let mut objects = Vec::new();
    loop {
        let found = search.next(256).map_err(Failure::of(doing))?;
        if found.is_empty() {
            return Ok(objects);
        }
        objects.extend(found);
    }
}

fn offers(token: &Arc<dyn Token>, ty: CK_MECHANISM_TYPE, flag: CK_FLAGS) -> bool {
    token.mechanisms().contains(&ty) && token.mechanism_info(ty).is_ok_and(|info| info.flags & flag != 0)
}

impl Way {
    fn prepare(from: Session, to: Session) -> Result<Way> {
        let common = |ty: &CK_MECHANISM_TYPE| offers(&from.token, *ty, CKF_WRAP) && offers(&to.token, *ty, CKF_UNWRAP);
        let ty = WRAPPINGS.into_iter().find(common).ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                "the tokens have no key wrapping in common (AES key wrap with padding, or AES-CBC)",
            )
        })?;
        let params = if ty == CKM_AES_CBC_PAD { Params::Iv(random::<16>()?[..].into()) } else { Params::None };
        let value = Zeroizing::new(random::<32>()?);
        let key = |session: &Session, usage| {
            let template = vec![
                Attribute::ulong(CKA_CLASS, CKO_SECRET_KEY),
                Attribute::ulong(CKA_KEY_TYPE, CKK_AES),
                Attribute::bytes(CKA_VALUE, &*value),
                Attribute::bool(CKA_TOKEN, false),
                Attribute::bool(CKA_PRIVATE, true),
                Attribute::bool(CKA_SENSITIVE, true),
                Attribute::bool(CKA_EXTRACTABLE, false),
                Attribute::bool(usage, true),
            ];
            session.token.create(session.caller, template).map_err(Failure::of("cannot make the wrapping key"))
        };
        let (wrapping, unwrapping) = (key(&from, CKA_WRAP)?, key(&to, CKA_UNWRAP)?);
        Ok(Way { mechanism: Mechanism { ty, params }, wrapping, unwrapping, from, to })
    }

    /// Carries one object over; `None` for what is no object of the user's.
    fn carry(&self, object: ObjectId, dry_run: bool) -> Result<Option<Line>> {
        let doing = "cannot read an object";
        let mut attributes = self.read(object, NAMES_AND_USES).map_err(Failure::of(doing))?;
        let class = number(bytes(&attributes, CKA_CLASS));
        let (name, wrapped) = match class {
            Some(CKO_PRIVATE_KEY) => ("private key", true),
            Some(CKO_SECRET_KEY) => ("secret key", true),
            Some(CKO_PUBLIC_KEY) => ("public key", false),
            Some(CKO_CERTIFICATE) => ("certificate", false),
            Some(CKO_DATA) => ("data", false),
            _ => return Ok(None),
        };
        let text = |ty| String::from_utf8_lossy(bytes(&attributes, ty).unwrap_or_default()).into_owned();
        let hex = bytes(&attributes, CKA_ID).unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
        let (label, id) = (text(CKA_LABEL), hex);
        let fate = if self.is_there(&attributes)? {
            Fate::There
        } else if wrapped && bytes(&attributes, CKA_EXTRACTABLE) != Some(&[CK_TRUE]) {
            Fate::Stays("it may not leave its token (CKA_EXTRACTABLE is false)".to_owned())
        } else if dry_run {
            Fate::WouldMove
        } else {
            without_defaults(&mut attributes);
            attributes.push(Attribute::bool(CKA_TOKEN, true));
            let done = if wrapped { self.rewrap(object, attributes) } else { self.make(object, attributes) };
            done.map_or_else(|error| Fate::Stays(error.to_string()), |_| Fate::Moved)
        };
        Ok(Some(Line { class: name, label, id, fate }))
    }

    fn read(&self, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> keyward::error::Result<Vec<Attribute>> {
        let answers = self.from.token.get(self.from.caller, object, types)?;
        let value = |(ty, answer): (&CK_ATTRIBUTE_TYPE, Answer)| match answer {
            Answer::Value(Value::Bytes(value)) if !value.is_empty() => {
                Some(Attribute { ty: *ty, value: Value::Bytes(value) })
            }
            _ => None,
        };
        Ok(types.iter().zip(answers).filter_map(value).collect())
    }

    /// Whether the other token has an object of this class, label and ID.
    fn is_there(&self, attributes: &[Attribute]) -> Result<bool> {
        let named = |attribute: &&Attribute| matches!(attribute.ty, CKA_CLASS | CKA_LABEL | CKA_ID);
        let template: Vec<Attribute> = attributes.iter().filter(named).cloned().collect();
        if template.len() < 2 {
            return Ok(false);
        }
        let doing = "cannot search the token to write";
        let mut search = self.to.token.find(self.to.caller, template).map_err(Failure::of(doing))?;
        Ok(!search.next(1).map_err(Failure::of(doing))?.is_empty())
    }

    fn rewrap(&self, object: ObjectId, attributes: Vec<Attribute>) -> Result<ObjectId, Error> {
        let wrapped = self.from.token.wrap(self.from.caller, &self.mechanism, self.wrapping, object)?;
        let wrapped = Zeroizing::new(wrapped);
        let unwrap =
            |template| self.to.token.unwrap(self.to.caller, &self.mechanism, self.unwrapping, &wrapped, template);
        unwrap(attributes)
    }

    fn make(&self, object: ObjectId, mut attributes: Vec<Attribute>) -> Result<ObjectId, Error> {
        // A public object has neither of these; some tokens answer for them all the same.
        attributes.retain(|attribute| !matches!(attribute.ty, CKA_SENSITIVE | CKA_EXTRACTABLE));
        attributes.extend(self.read(object, CONTENTS)?);
        match bytes(&attributes, CKA_KEY_TYPE).is_some() || bytes(&attributes, CKA_VALUE).is_some() {
            true => self.to.token.create(self.to.caller, attributes),
            false => Err(Code::TemplateIncomplete.because("its contents cannot be read")),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    keyward::os::random_array().map_err(Failure::of("cannot draw the wrapping key"))
}

fn bytes(attributes: &[Attribute], ty: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
    attributes.iter().find(|attribute| attribute.ty == ty).and_then(|attribute| match &attribute.value {
        Value::Bytes(bytes) => Some(bytes.as_slice()),
        Value::Template(_) => None,
    })
}

fn number(bytes: Option<&[u8]>) -> Option<u64> {
    bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes)
}

fn report(lines: &[Line]) -> Report {
    let fate = |line: &Line| match &line.fate {
        Fate::Moved => "moved".to_owned(),
        Fate::WouldMove => "would be moved".to_owned(),
        Fate::There => "is there already".to_owned(),
        Fate::Stays(why) => format!("STAYS: {why}"),
    };
    let row = |line: &Line| vec![line.class.to_owned(), cell(&line.label), line.id.clone(), fate(line)];
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let json = lines.iter().map(|line| {
        let stays = matches!(line.fate, Fate::Stays(_));
        json!({ "class": line.class, "label": line.label, "id": line.id, "stays": stays, "result": fate(line) })
    });
    let mut report = Report::new(table(&["CLASS", "LABEL", "ID", "RESULT"], &rows), json.collect());
    if lines.iter().any(|line| matches!(line.fate, Fate::Stays(_))) {
        report.exit = Exit::Unsound;
    }
    report
}
