//! The keys of a token with what is known of each, and what is to be said of them: `keyward key list`, and the reports.

use std::collections::HashMap;

use clap::Args;
use cryptoki_sys::*;
use keyward::audit_log;
use keyward::crypto::curve::Curve;
use keyward::lifecycle::{State, clock};
use keyward::object::{Attributes, life};
use keyward::token::*;
use serde_json::{Value as Json, json};

use crate::choice::TokenChoice;
use crate::commands::duty::admit_beside;
use crate::commands::key::attributes;
use crate::commands::object::find;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names;
use crate::pins::{ByPin, Reader, UserPin};
use crate::report::{Report, cell, table};
use crate::session::Session;

/// Whose keys.
#[derive(Args, Debug)]
pub struct Reach {
    #[command(flatten)]
    pub choice: TokenChoice,
    #[command(flatten)]
    pub pin: UserPin,
    /// Days before its end from which a key is told to expire
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub warn: u64,
    #[command(flatten)]
    by: ByPin,
    /// Leave out what only the audit record says: uses, last uses, backups, events
    #[arg(long)]
    no_record: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Last use and use count come from the audit record, where one is kept; where a token has auditors, say --by NAME, or \
--no-record to do without. Findings: weak, extractable, readable, \
wrap_and_decrypt, expired, expires, unbounded (no end date), old (in use for more than three years), clock (it was set back), imported, unused (for a year). Exit code 7: a \
key has a finding that is an error.

Examples:
  keyward key list --token web
  keyward key list --findings --json
  keyward key list --warn 60 --state active
  keyward key list --token web --no-record"
)]
pub struct List {
    #[command(flatten)]
    reach: Reach,
    /// Only keys in this state: active, suspended, ...
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only keys with findings
    #[arg(long)]
    findings: bool,
}

/// `2026-11-28`, UTC.
pub fn day(time: u64) -> String {
    clock::text(time).chars().take(10).collect()
}

/// How a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    Note,
    Warning,
    Error,
}

impl Weight {
    pub fn name(self) -> &'static str {
        match self {
            Weight::Note => "note",
            Weight::Warning => "warning",
            Weight::Error => "error",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    pub weight: Weight,
    pub what: String,
}

/// One key.
pub struct Key {
    pub label: String,
    pub unique_id: String,
    pub class: String,
    pub key_type: String,
    pub bits: Option<u64>,
    pub state: State,
    pub version: u64,
    pub policy_class: String,
    /// Seconds since 1970.
    pub created: Option<u64>,
    /// It was made or changed then, which is yet to come.
    pub ahead: Option<u64>,
    pub ends: Option<u64>,
    pub extractable: bool,
    pub sensitive: bool,
    pub local: bool,
    pub uses: Vec<&'static str>,
    /// From the record: uses that were done, and the time of the last.
    pub count: Option<u64>,
    pub last_use: Option<u64>,
    pub findings: Vec<Finding>,
}

/// All keys of a token, and what the record says of its care.
pub struct Inventory {
    pub label: String,
    pub serial: String,
    /// Who made what holds the keys, and its model.
    pub maker: (String, String),
    pub flags: CK_FLAGS,
    pub keys: Vec<Key>,
    pub objects: usize,
    pub record: std::result::Result<Record, Without>,
    pub now: u64,
}

/// Why there is nothing of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    NotKept,
    LeftOut,
}

impl Without {
    pub fn why(self) -> &'static str {
        match self {
            Without::NotKept => "no audit record is kept",
            Without::LeftOut => "the audit record was left out (--no-record)",
        }
    }
}

/// What the audit record shows.
#[derive(Default)]
pub struct Record {
    pub lines: u64,
    pub whole: bool,
    pub findings: usize,
    pub events: HashMap<(String, String), u64>,
    pub last_backup: Option<u64>,
    pub last_drill: Option<u64>,
    uses: HashMap<String, (u64, u64)>,
}

const TOLD: [CK_ATTRIBUTE_TYPE; 17] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_LABEL,
    CKA_UNIQUE_ID,
    CKA_MODULUS_BITS,
    CKA_MODULUS,
    CKA_VALUE_LEN,
    CKA_EC_PARAMS,
    CKA_EXTRACTABLE,
    CKA_SENSITIVE,
    CKA_LOCAL,
    CKA_KEYWARD_STATE,
    CKA_KEYWARD_VERSION,
    CKA_KEYWARD_CLASS,
    CKA_KEYWARD_CREATION_DATE,
    CKA_KEYWARD_STATE_DATE,
    CKA_PUBLIC_KEY_INFO,
];

const ENDS: [CK_ATTRIBUTE_TYPE; 3] =
    [CKA_KEYWARD_PROTECT_STOP_DATE, CKA_KEYWARD_DEACTIVATION_DATE, CKA_KEYWARD_PROCESS_STOP_DATE];

const USES: [(CK_ATTRIBUTE_TYPE, &str); 10] = [
    (CKA_SIGN, "sign"),
    (CKA_VERIFY, "verify"),
    (CKA_ENCRYPT, "encrypt"),
    (CKA_DECRYPT, "decrypt"),
    (CKA_WRAP, "wrap"),
    (CKA_UNWRAP, "unwrap"),
    (CKA_DERIVE, "derive"),
    (CKA_ENCAPSULATE, "encapsulate"),
    (CKA_DECAPSULATE, "decapsulate"),
    (CKA_SIGN_RECOVER, "sign-recover"),
];

/// The events that use a key.
const USE_OPERATIONS: [&str; 16] = [
    "sign",
    "sign_recover",
    "sign_request",
    "verify",
    "verify_recover",
    "encrypt",
    "decrypt",
    "message_encrypt",
    "message_decrypt",
    "message_sign",
    "message_verify",
    "wrap",
    "unwrap",
    "derive",
    "encapsulate",
    "decapsulate",
];

const YEAR: u64 = 365 * clock::DAY;

impl Inventory {
    pub fn read(context: &Context, reach: &Reach) -> Result<Inventory> {
        let (slot, info) = reach.choice.of(context.slots()?)?;
        let pin = Reader::default().read(&reach.pin.source(), "User PIN")?;
        let mut session = Session::open(&slot.token, false)?;
        session.login(User::User, &pin)?;
        let record = match reach.no_record {
            true => Err(Without::LeftOut),
            false => record(context, &reach.by, info.serial.trim_end())?.ok_or(Without::NotKept),
        };
        let now = clock::now();
        let objects = find(&session, Vec::new())?.len();
        let mut keys = Vec::new();
        for class in [CKO_PRIVATE_KEY, CKO_SECRET_KEY] {
            for object in find(&session, vec![Attribute::ulong(CKA_CLASS, class), Attribute::bool(CKA_TOKEN, true)])? {
                keys.push(key(&session, object, record.as_ref().ok(), now, reach.warn)?);
            }
        }
        keys.sort_by(|one, other| (&one.label, one.version).cmp(&(&other.label, other.version)));
        let text = |text: &str| text.trim_end().to_owned();
        Ok(Inventory {
            label: text(&info.label),
            serial: text(&info.serial),
            maker: (text(&info.manufacturer), text(&info.model)),
            flags: info.flags,
            keys,
            objects,
            record,
            now,
        })
    }
}

fn key(session: &Session, object: ObjectId, record: Option<&Record>, now: u64, warn: u64) -> Result<Key> {
    let types: Vec<CK_ATTRIBUTE_TYPE> =
        TOLD.into_iter().chain(ENDS).chain(USES.iter().map(|(ty, _)| *ty)).chain(life::DECIDING).collect();
    let known = attributes(session, object, &types)?;
    let text = |ty| String::from_utf8_lossy(known.bytes(ty).unwrap_or_default()).into_owned();
    let unique_id = text(CKA_UNIQUE_ID);
    let used = record.map(|record| record.uses.get(&unique_id).copied().unwrap_or_default());
    let mut key = Key {
        label: text(CKA_LABEL),
        class: known.ulong(CKA_CLASS).map(names::class).unwrap_or_default(),
        key_type: known.ulong(CKA_KEY_TYPE).map(names::key_type).unwrap_or_default(),
        bits: bits(&known),
        state: life::life(&known).state_at(now),
        version: life::version_of(&known),
        policy_class: text(CKA_KEYWARD_CLASS),
        created: known.ulong(CKA_KEYWARD_CREATION_DATE),
        ahead: life::ahead_of(&known, now),
        ends: ENDS.iter().filter_map(|ty| known.ulong(*ty)).min(),
        extractable: known.is_true(CKA_EXTRACTABLE),
        sensitive: known.is_true(CKA_SENSITIVE),
        local: known.is_true(CKA_LOCAL),
        uses: USES.iter().filter(|(ty, _)| known.is_true(*ty)).map(|(_, name)| *name).collect(),
        count: used.map(|(count, _)| count),
        last_use: used.map(|(_, last)| last).filter(|last| *last > 0),
        unique_id,
        findings: Vec::new(),
    };
    key.findings = findings(&key, now, warn);
    Ok(key)
}

/// Security-relevant size; `None`: not told by a number of bits.
fn bits(known: &Attributes) -> Option<u64> {
    let bytes = |ty| known.bytes(ty).map(|bytes| bytes.len() as u64 * 8);
    match known.ulong(CKA_KEY_TYPE)? {
        CKK_RSA => known.ulong(CKA_MODULUS_BITS).or_else(|| bytes(CKA_MODULUS)),
        CKK_DES => Some(56),
        CKK_DES2 => Some(80),
        CKK_DES3 => Some(112),
        // The parameters are a named curve's DER; its OID follows tag and length.
        CKK_EC => Curve::from_oid(known.bytes(CKA_EC_PARAMS)?.get(2..)?).map(|curve| u64::from(curve.bits())),
        CKK_EC_EDWARDS | CKK_EC_MONTGOMERY => None,
        _ => known.ulong(CKA_VALUE_LEN).map(|len| len * 8),
    }
}

/// What is to be said of a key. The limits are those of NIST SP 800-57 Part 1, 5.3.6 and 5.6.
fn findings(key: &Key, now: u64, warn: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut tell = |rule, weight, what: String| found.push(Finding { rule, weight, what });
    let gone = matches!(key.state, State::Destroyed | State::PendingDestroy);
    if gone {
        return found;
    }
    let protects = matches!(key.state, State::Active | State::PreActive);
    let least = match (key.key_type.as_str(), key.class.as_str()) {
        ("rsa", _) => 2048,
        ("ec", _) => 224,
        (_, "secret-key") => 112,
        _ => 0,
    };
    if let Some(bits) = key.bits.filter(|bits| *bits < least && protects) {
        tell("weak", Weight::Error, format!("{bits} bits, at least {least} are needed for 112 bits of strength"));
    }
    if key.state == State::Compromised {
        tell("compromised", Weight::Warning, "compromised: destroy it once nothing needs it".to_owned());
    }
    if !key.sensitive && key.extractable {
        tell("readable", Weight::Error, "its value can be read in clear by whoever has logged in".to_owned());
    } else if key.extractable {
        tell("extractable", Weight::Warning, "it can be wrapped out of the token".to_owned());
    }
    let has = |name: &str| key.uses.contains(&name);
    if has("wrap") && has("decrypt") || has("unwrap") && has("encrypt") {
        let what = "it wraps and decrypts (or unwraps and encrypts): keys can be taken out through it";
        tell("wrap_and_decrypt", Weight::Error, what.to_owned());
    }
    match key.ends {
        Some(end) if end <= now && key.state == State::Active => {
            tell("expired", Weight::Error, format!("past its end, {}", day(end)));
        }
        Some(end) if protects && end > now && end - now <= warn * clock::DAY => {
            tell("expires", Weight::Warning, format!("ends in {} days, {}", (end - now) / clock::DAY, day(end)));
        }
        None if protects => tell("unbounded", Weight::Note, "no end date is set".to_owned()),
        _ => {}
    }
    let age = key.created.map(|created| now.saturating_sub(created));
    if let Some(age) = age.filter(|age| *age > 3 * YEAR && protects) {
        tell("old", Weight::Warning, format!("in use for {} years", age / YEAR));
    }
    if let Some(date) = key.ahead {
        let what = format!(
            "made or changed {}, which is yet to come: the clock was set back, and dates count again",
            day(date)
        );
        tell("clock", Weight::Warning, what);
    }
    if !key.local {
        tell("imported", Weight::Note, "made elsewhere: copies may exist".to_owned());
    }
    let idle = key.count == Some(0) || key.last_use.is_some_and(|last| now.saturating_sub(last) > YEAR);
    if idle && protects && age.is_some_and(|age| age > YEAR) {
        tell("unused", Weight::Note, "not used for a year".to_owned());
    }
    found
}

/// What the record says, where one is kept and can be read. Where a token has auditors it is theirs to read, as in `keyward audit`.
fn record(context: &Context, by: &ByPin, serial: &str) -> Result<Option<Record>> {
    let config = context.config()?;
    let Some(log) = keyward::module::audit_log(&config) else { return Ok(None) };
    if !log.directory().exists() {
        return Ok(None);
    }
    admit_beside(context, by, serial)?;
    let failed = Failure::of("cannot read the audit record");
    let mut record = Record::default();
    audit_log::lines(log.directory(), |_, line| {
        if line.is_own() {
            return Ok(());
        }
        let seconds = line.micros().unwrap_or(0) / 1_000_000;
        *record.events.entry((line.op.clone(), line.result.clone())).or_default() += 1;
        match line.op.as_str() {
            "backup" if line.is_good() => record.last_backup = Some(seconds),
            "drill" if line.is_good() => record.last_drill = Some(seconds),
            operation if line.is_good() && USE_OPERATIONS.contains(&operation) => {
                // A wrapping, unwrapping or base key is used as well.
                for key in [line.key, line.with].into_iter().filter(|key| !key.is_empty()) {
                    let used = record.uses.entry(key).or_default();
                    *used = (used.0 + 1, used.1.max(seconds));
                }
            }
            _ => {}
        }
        Ok(())
    })
    .map_err(&failed)?;
    let (keys, head) = log.keys().map_err(&failed)?;
    let found = audit_log::verify(log.directory(), Some((keys, head)), None).map_err(&failed)?;
    (record.lines, record.whole, record.findings) = (found.lines, found.findings.is_empty(), found.findings.len());
    Ok(Some(record))
}

impl Key {
    /// `ec 256`.
    pub fn kind(&self) -> String {
        self.bits.map_or_else(|| self.key_type.clone(), |bits| format!("{} {bits}", self.key_type))
    }

    pub fn json(&self) -> Json {
        json!({
            "label": self.label, "unique_id": self.unique_id, "class": self.class, "key_type": self.key_type, "bits": self.bits,
            "state": self.state.name(), "version": self.version, "policy_class": self.policy_class,
            "created": self.created.map(clock::text), "ends": self.ends.map(clock::text),
            "extractable": self.extractable, "sensitive": self.sensitive, "local": self.local, "uses": self.uses,
            "use_count": self.count, "last_use": self.last_use.map(clock::text),
            "findings": self.findings.iter().map(|finding| json!({
                "rule": finding.rule, "weight": finding.weight.name(), "what": finding.what,
            })).collect::<Vec<_>>(),
        })
    }

    pub fn worst(&self) -> Option<Weight> {
        self.findings.iter().map(|finding| finding.weight).max()
    }
}

pub fn list(context: &Context, arguments: &List) -> Result<Report> {
    let inventory = Inventory::read(context, &arguments.reach)?;
    let wanted = |key: &&Key| {
        arguments.state.as_ref().is_none_or(|state| key.state.name() == state)
            && (!arguments.findings || !key.findings.is_empty())
    };
    let keys: Vec<&Key> = inventory.keys.iter().filter(wanted).collect();
    let date = |date: Option<u64>| date.map_or_else(|| "-".to_owned(), day);
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            vec![
                cell(&key.label),
                key.kind(),
                key.state.name().to_owned(),
                key.version.to_string(),
                cell(&key.policy_class),
                date(key.created),
                date(key.ends),
                date(key.last_use),
                key.count.map_or_else(|| "-".to_owned(), |count| count.to_string()),
                cell(&key.findings.iter().map(|finding| finding.rule).collect::<Vec<_>>().join(",")),
            ]
        })
        .collect();
    let head = ["LABEL", "TYPE", "STATE", "VERSION", "CLASS", "MADE", "ENDS", "LAST USE", "USES", "FINDINGS"];
    let worst = keys.iter().filter_map(|key| key.worst()).max();
    let exit = if worst == Some(Weight::Error) { Exit::Unsound } else { Exit::Done };
    Ok(Report { text: table(&head, &rows), json: keys.iter().map(|key| key.json()).collect(), exit })
}
