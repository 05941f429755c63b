//! Which key a command means, and in whose name it acts.

use std::os::unix::fs::MetadataExt;

use clap::Args;
use cryptoki_sys::*;
use keyward::guard::Rules;
use keyward::lifecycle::{State, clock};
use keyward::object::{Attributes, life};
use keyward::token::*;
use serde_json::{Value as Json, json};

use crate::choice::TokenChoice;
use crate::commands::object::{HexBytes, find, hex_bytes};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names;
use crate::pins::{Reader, UserPin};
use crate::report::cell;
use crate::session::Session;

/// Which key: all conditions given must hold. A label alone means the newest active version.
#[derive(Args, Clone, Debug, Default)]
pub struct Target {
    /// The key with this label; older and staged versions are label#v1, label#v2 ...
    #[arg(long)]
    pub label: Option<String>,
    /// The key with this CKA_ID, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = hex_bytes)]
    pub id: Option<HexBytes>,
    /// The key with this CKA_UNIQUE_ID
    #[arg(long, value_name = "ID")]
    pub unique_id: Option<String>,
    #[command(flatten)]
    pub choice: TokenChoice,
    #[command(flatten)]
    pub pin: UserPin,
}

/// A key that was found: of a pair the private half, where it is there.
pub struct Found {
    pub object: ObjectId,
    pub attributes: Attributes,
}

/// What is read of a key to tell of it.
const TOLD: [CK_ATTRIBUTE_TYPE; 21] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_LABEL,
    CKA_ID,
    CKA_UNIQUE_ID,
    CKA_PUBLIC_KEY_INFO,
    CKA_SIGN,
    CKA_KEYWARD_STATE,
    CKA_KEYWARD_VERSION,
    CKA_KEYWARD_LOGICAL_KEY,
    CKA_KEYWARD_CLASS,
    CKA_KEYWARD_ACTIVATION_DATE,
    CKA_KEYWARD_PROTECT_STOP_DATE,
    CKA_KEYWARD_PROCESS_STOP_DATE,
    CKA_KEYWARD_DEACTIVATION_DATE,
    CKA_KEYWARD_COMPROMISE_DATE,
    CKA_KEYWARD_DESTRUCTION_DATE,
    CKA_KEYWARD_CREATION_DATE,
    CKA_KEYWARD_STATE_DATE,
    CKA_KEYWARD_STATE_REASON,
    CKA_KEYWARD_STATE_ACTOR,
];

impl Found {
    pub fn text(&self, ty: CK_ATTRIBUTE_TYPE) -> String {
        String::from_utf8_lossy(self.attributes.bytes(ty).unwrap_or_default()).into_owned()
    }

    pub fn label(&self) -> String {
        cell(&self.text(CKA_LABEL))
    }

    pub fn state(&self) -> State {
        life::life(&self.attributes).state_at(clock::now())
    }

    pub fn version(&self) -> u64 {
        life::version_of(&self.attributes)
    }

    pub fn public_key_info(&self) -> Option<&[u8]> {
        self.attributes.bytes(CKA_PUBLIC_KEY_INFO).filter(|info| !info.is_empty())
    }

    /// An older version, or a staged one: the label is another's.
    pub fn is_archived(&self) -> bool {
        life::logical_label(&self.attributes).len() < self.attributes.bytes(CKA_LABEL).map_or(0, <[u8]>::len)
    }

    pub fn json(&self) -> Json {
        let date = |ty| self.attributes.ulong(ty).map(clock::text);
        json!({
            "label": self.text(CKA_LABEL),
            "id": self.attributes.bytes(CKA_ID).map(hex),
            "unique_id": self.text(CKA_UNIQUE_ID),
            "class": self.attributes.ulong(CKA_CLASS).map(names::class),
            "key_type": self.attributes.ulong(CKA_KEY_TYPE).map(names::key_type),
            "state": self.state().name(),
            "version": self.version(),
            "created": date(CKA_KEYWARD_CREATION_DATE),
            "activation": date(CKA_KEYWARD_ACTIVATION_DATE),
            "protect_stop": date(CKA_KEYWARD_PROTECT_STOP_DATE),
            "process_stop": date(CKA_KEYWARD_PROCESS_STOP_DATE),
            "deactivation": date(CKA_KEYWARD_DEACTIVATION_DATE),
            "compromise": date(CKA_KEYWARD_COMPROMISE_DATE),
            "destruction": date(CKA_KEYWARD_DESTRUCTION_DATE),
            "since": date(CKA_KEYWARD_STATE_DATE),
            "reason": self.text(CKA_KEYWARD_STATE_REASON),
            "actor": self.text(CKA_KEYWARD_STATE_ACTOR),
        })
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a token says of an object.
pub fn look(session: &Session, object: ObjectId) -> Result<Found> {
    Ok(Found { object, attributes: attributes(session, object, &TOLD)? })
}

/// The same, with what the classes of a policy ask for.
pub fn look_by(session: &Session, object: ObjectId, rules: Option<&Rules>) -> Result<Found> {
    let types = rules.map_or_else(|| TOLD.to_vec(), |rules| rules.asking(&TOLD));
    Ok(Found { object, attributes: attributes(session, object, &types)? })
}

/// Those of these attributes that the object has and shows.
pub fn attributes(session: &Session, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Attributes> {
    let answers = session.token.get(session.caller, object, types).map_err(Failure::of("cannot read a key"))?;
    let known = types.iter().zip(answers).filter_map(|(ty, answer)| match answer {
        Answer::Value(value) => Some(Attribute { ty: *ty, value }),
        _ => None,
    });
    Ok(known.collect())
}

impl Target {
    pub fn template(&self) -> Vec<Attribute> {
        let text = |ty, text: &Option<String>| text.as_ref().map(|text| Attribute::bytes(ty, text.as_bytes()));
        let id = self.id.as_ref().map(|id| Attribute::bytes(CKA_ID, &id.0));
        [id, text(CKA_LABEL, &self.label), text(CKA_UNIQUE_ID, &self.unique_id)].into_iter().flatten().collect()
    }

    /// A session in which the user may change keys.
    pub fn session(&self, context: &Context) -> Result<Session> {
        let (slot, _) = self.choice.of(context.slots()?)?;
        if !slot.token.keeps_life() {
            return Err(Failure::new(Exit::Refused, "this token does not keep the life of its keys"));
        }
        let pin = Reader::default().read(&self.pin.source(), "User PIN")?;
        let mut session = Session::open(&slot.token, true)?;
        session.login(User::User, &pin)?;
        Ok(session)
    }

    /// The keys that fit, in these states where any are given: of pairs the private halves, public ones only by themselves.
    pub fn all(&self, session: &Session, states: &[State]) -> Result<Vec<Found>> {
        let template = self.template();
        if template.is_empty() {
            return Err(Failure::new(Exit::Usage, "say which key: --label, --id or --unique-id"));
        }
        let mut found = Vec::new();
        for class in [CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_OTP_KEY, CKO_PUBLIC_KEY] {
            let mut template = template.clone();
            template.push(Attribute::ulong(CKA_CLASS, class));
            let mut objects = Vec::new();
            if states.is_empty() {
                objects = find(session, template)?;
            } else {
                for state in states {
                    let mut template = template.clone();
                    template.push(Attribute::ulong(CKA_KEYWARD_STATE, *state as CK_ULONG));
                    objects.extend(find(session, template)?);
                }
            }
            let keys = objects.into_iter().map(|object| look(session, object)).collect::<Result<Vec<_>>>()?;
            let info = |key: &Found| key.attributes.bytes(CKA_PUBLIC_KEY_INFO).map(<[u8]>::to_vec);
            let known: Vec<_> = found.iter().map(info).collect();
            found.extend(keys.into_iter().filter(|key| class != CKO_PUBLIC_KEY || !known.contains(&info(key))));
        }
        Ok(found)
    }

    /// The one key that fits.
    pub fn one(&self, session: &Session, states: &[State]) -> Result<Found> {
        let mut found = self.all(session, states)?;
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(last), false) => {
                found.push(last);
                let listed: Vec<String> =
                    found.iter().map(|key| format!("  {}  {}", key.text(CKA_UNIQUE_ID), key.label())).collect();
                let message = format!("several keys fit; choose one by --unique-id:\n{}", listed.join("\n"));
                Err(Failure::new(Exit::Refused, message))
            }
            (None, _) => {
                let states: Vec<_> = states.iter().map(|state| state.name()).collect();
                let which = if states.is_empty() { String::new() } else { format!(" that is {}", states.join(" or ")) };
                Err(Failure::new(Exit::NotFound, format!("no such key{which}")))
            }
        }
    }
}

/// In whose name: the account that runs the program, and the command.
pub fn authority(command: &str, reason: &str) -> Authority {
    let uid = std::fs::metadata("/proc/self").map(|meta| meta.uid().to_string());
    let account = std::env::var("SUDO_USER").or(std::env::var("USER")).unwrap_or_default();
    let who = uid.map_or_else(|_| "uid unknown".to_owned(), |uid| format!("uid {uid}"));
    let account = if account.is_empty() { String::new() } else { format!(" ({account})") };
    Authority { actor: format!("{who}{account}, keyward {command}"), reason: reason.to_owned(), at: clock::now() }
}
