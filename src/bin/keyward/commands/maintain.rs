//! `keyward maintain`: what time has brought. From a systemd timer or cron; it can be repeated, and does only what is due.

use clap::Args;
use cryptoki_sys::*;
use keyward::guard::Rules;
use keyward::lifecycle::policy::{Class, Rotation as Rotating};
use keyward::lifecycle::{Dates, Event, State, clock};
use keyward::object::life;
use keyward::token::*;
use serde_json::{Value as Json, json};

use crate::choice::TokenChoice;
use crate::commands::key::{Found, authority, look, look_by};
use crate::commands::object::{find, read};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pem;
use crate::pins::{Reader, UserPin};
use crate::report::Report;
use crate::session::Session;

#[derive(Args, Debug)]
#[command(
    after_help = "Writes down what dates have brought, rotates what the policy has rotated automatically, stages the next \
version of key pairs ahead of their end, destroys what is past its recovery window, and warns of keys and certificates that end soon. It can be \
repeated at any time. Exit code 0: nothing needs a person; 9: something does, see the output; others: it failed.\n\n\
From cron:\n  17 3 * * *  keyward maintain --token prod --pin-file /etc/keyward/maintain.pin"
)]
pub struct Maintain {
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    pin: UserPin,
    /// Warn of what ends within this time, where the policy says nothing else
    #[arg(long, default_value = "30d", value_parser = clock::parse_span)]
    warn: u64,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// One thing done, or to be told.
struct Note {
    /// `activated`, `rotated`, ...; `warning` needs a person.
    what: &'static str,
    key: Json,
    text: String,
}

struct Work<'a> {
    session: &'a Session,
    rules: Option<Rules>,
    arguments: &'a Maintain,
    now: u64,
    notes: Vec<Note>,
    failed: usize,
}

pub fn run(context: &Context, arguments: &Maintain) -> Result<Report> {
    let (slot, _) = arguments.choice.of(context.slots()?)?;
    if !slot.token.keeps_life() {
        return Err(Failure::new(Exit::Refused, "this token does not keep the life of its keys"));
    }
    let pin = Reader::default().read(&arguments.pin.source(), "User PIN")?;
    let mut session = Session::open(&slot.token, true)?;
    session.login(User::User, &pin)?;
    let signed = session.token.policy().map_err(Failure::of("cannot read the policy"))?;
    let rules = signed.map(Rules::of).transpose().map_err(Failure::of("cannot read the policy"))?;
    let mut work = Work { session: &session, rules, arguments, now: clock::now(), notes: Vec::new(), failed: 0 };
    let keys = work.keys()?;
    for key in &keys {
        work.tend(key);
    }
    work.certificates(&keys)?;
    Ok(work.report())
}

impl Work<'_> {
    /// Every key that is not destroyed; of a pair the private half, public halves only by themselves.
    fn keys(&self) -> Result<Vec<Found>> {
        let states = State::ALL.into_iter().filter(|state| *state != State::Destroyed);
        let mut keys: Vec<Found> = Vec::new();
        for class in [CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_OTP_KEY, CKO_PUBLIC_KEY] {
            let mut halves = Vec::new();
            for state in states.clone() {
                let template = vec![
                    Attribute::ulong(CKA_CLASS, class),
                    Attribute::bool(CKA_TOKEN, true),
                    Attribute::ulong(CKA_KEYWARD_STATE, state as CK_ULONG),
                ];
                for object in find(self.session, template)? {
                    halves.push(look_by(self.session, object, self.rules.as_ref())?);
                }
            }
            let known: Vec<_> = keys.iter().filter_map(Found::public_key_info).map(<[u8]>::to_vec).collect();
            let alone = |key: &Found| key.public_key_info().is_none_or(|info| !known.iter().any(|one| one == info));
            keys.extend(halves.into_iter().filter(|key| class != CKO_PUBLIC_KEY || alone(key)));
        }
        Ok(keys)
    }

    /// One key; what fails with it does not keep the others waiting.
    fn tend(&mut self, key: &Found) {
        let class = self.rules.as_ref().and_then(|rules| rules.class_of(&key.attributes)).cloned();
        if let Some(date) = life::ahead_of(&key.attributes, self.now) {
            let text = "which is yet to come: the clock was set back. Set it right; dates that had passed count again";
            self.note("warning", key, format!("it was made or changed {}, {text}", clock::text(date)));
        }
        let done = self.end(key, class.as_ref()).and_then(|ended| match ended {
            true => Ok(()),
            false => self.follow_dates(key).and_then(|()| self.renew(key, class.as_ref())),
        });
        if let Err(failure) = done {
            self.failed += 1;
            self.note("failed", key, failure.message);
        }
    }

    fn note(&mut self, what: &'static str, key: &Found, text: String) {
        self.notes.push(Note { what, key: key.json(), text });
    }

    /// Destroys what is past its recovery window; whether the key is at its end.
    fn end(&mut self, key: &Found, class: Option<&Class>) -> Result<bool> {
        if key.state() != State::PendingDestroy {
            return Ok(false);
        }
        let over = life::life(&key.attributes).dates.destruction.is_some_and(|date| date <= self.now);
        if over {
            let leave_nothing = class.is_some_and(|class| class.no_tombstone);
            self.change(key, Event::Purge, Dates::default(), "its recovery window is over", leave_nothing)?;
            self.note("destroyed", key, "destroyed: its recovery window is over".to_owned());
        }
        Ok(true)
    }

    /// Writes the state down that the dates have brought.
    fn follow_dates(&mut self, key: &Found) -> Result<()> {
        let kept = life::state(&key.attributes);
        let (event, what, date) = match (kept, key.state()) {
            (State::PreActive, State::Active) => (Event::Activate, "activated", CKA_KEYWARD_ACTIVATION_DATE),
            (State::PreActive | State::Active | State::Suspended, State::Deactivated) => {
                (Event::Deactivate, "deactivated", CKA_KEYWARD_DEACTIVATION_DATE)
            }
            _ => return Ok(()),
        };
        let reached = key.attributes.ulong(date).map(clock::text).unwrap_or_default();
        self.change(key, event, Dates::default(), "its date is reached", false)?;
        self.note(what, key, format!("{what} by its date, {reached}"));
        Ok(())
    }

    /// Rotates, stages or warns, as the end of the key's use comes near.
    fn renew(&mut self, key: &Found, class: Option<&Class>) -> Result<()> {
        if key.state() != State::Active || key.is_archived() {
            return Ok(());
        }
        if class.is_some_and(|class| class.rotation == Rotating::External) {
            return Ok(());
        }
        let known = life::life(&key.attributes);
        let known = self.rules.as_ref().map_or(known, |rules| rules.life(&key.attributes, known));
        let Some(end) = [known.dates.protect_stop, known.dates.deactivation].into_iter().flatten().min() else {
            return Ok(());
        };
        let ahead = class.and_then(|class| class.warn).unwrap_or(self.arguments.warn);
        if end.saturating_sub(ahead) > self.now {
            return Ok(());
        }
        let automatic = class.is_some_and(|class| class.rotation == Rotating::Automatic);
        match (automatic, key.attributes.ulong(CKA_CLASS)) {
            (true, Some(CKO_SECRET_KEY)) if end <= self.now => {
                self.rotate(key, false)?;
                self.note("rotated", key, "rotated: its cryptoperiod is over".to_owned());
            }
            (true, Some(CKO_SECRET_KEY)) => {}
            (true, Some(CKO_PRIVATE_KEY)) if !self.has_staged(key)? => {
                self.rotate(key, true)?;
                let text = format!(
                    "staged: its use ends {}; `keyward key request` gives its certificate request",
                    clock::text(end)
                );
                self.note("staged", key, text);
            }
            _ => {
                let next = match self.has_staged(key)? {
                    true => "activate the staged version",
                    false => "rotate it",
                };
                self.note("warning", key, format!("its use ends {}: {next}", clock::text(end)));
            }
        }
        Ok(())
    }

    /// Warns of certificates that end soon or have ended, unless their key is out of use already.
    fn certificates(&mut self, keys: &[Found]) -> Result<()> {
        let of_token = vec![Attribute::ulong(CKA_CLASS, CKO_CERTIFICATE), Attribute::bool(CKA_TOKEN, true)];
        for object in find(self.session, of_token)? {
            let certificate = look(self.session, object)?;
            let Some(Answer::Value(Value::Bytes(der))) = read(self.session, object, &[CKA_VALUE])?.pop() else {
                continue;
            };
            let Some((parts, end)) = pem::certificate(&der).and_then(|parts| Some((parts.public_key, parts.end()?)))
            else {
                continue;
            };
            let key = keys.iter().find(|key| key.public_key_info() == Some(parts));
            let class = key.and_then(|key| self.rules.as_ref()?.class_of(&key.attributes));
            let ahead = class.and_then(|class| class.warn).unwrap_or(self.arguments.warn);
            let in_use = key.is_none_or(|key| key.state() == State::Active && !key.is_archived());
            if !in_use || end.saturating_sub(ahead) > self.now {
                continue;
            }
            let ends = if end < self.now { "ended" } else { "ends" };
            let next = match key {
                Some(_) => "ask for a new one (`keyward key request`, or `key rotate --stage`)",
                None => "import its successor",
            };
            self.note("warning", &certificate, format!("its certificate {ends} {}: {next}", clock::text(end)));
        }
        Ok(())
    }

    fn has_staged(&self, key: &Found) -> Result<bool> {
        let Some(family) = key.attributes.bytes(CKA_KEYWARD_LOGICAL_KEY) else { return Ok(false) };
        let template = vec![
            Attribute::bytes(CKA_KEYWARD_LOGICAL_KEY, family),
            Attribute::ulong(CKA_KEYWARD_STATE, State::PreActive as CK_ULONG),
        ];
        Ok(!find(self.session, template)?.is_empty())
    }

    fn change(&self, key: &Found, event: Event, dates: Dates, why: &str, leave_nothing: bool) -> Result<()> {
        if self.arguments.dry_run {
            return Ok(());
        }
        let by = authority("maintain", why);
        let order = Order { key: key.object, event, dates, by, alone: false, approvals: Vec::new(), leave_nothing };
        self.session.token.change_life(self.session.caller, &order).map_err(Failure::of("cannot change it"))
    }

    fn rotate(&self, key: &Found, stage: bool) -> Result<()> {
        if self.arguments.dry_run {
            return Ok(());
        }
        let by = authority("maintain", "its cryptoperiod");
        let rotation = Rotation { key: key.object, stage, by };
        self.session.token.rotate(self.session.caller, &rotation).map(drop).map_err(Failure::of("cannot rotate it"))
    }

    fn report(self) -> Report {
        let needs_a_person = self.notes.iter().any(|note| matches!(note.what, "warning" | "staged"));
        let exit = match (self.failed, needs_a_person) {
            (0, false) => Exit::Done,
            (0, true) => Exit::Attention,
            _ => Exit::Failed,
        };
        let would = if self.arguments.dry_run { "would be " } else { "" };
        let line = |note: &Note| {
            let would = if matches!(note.what, "warning" | "failed") { "" } else { would };
            let label = note.key.get("label").and_then(Json::as_str).unwrap_or_default();
            format!("{}: {would}{}", crate::report::cell(label), note.text)
        };
        let lines: Vec<String> = self.notes.iter().map(line).collect();
        let notes: Vec<Json> =
            self.notes.iter().map(|note| json!({ "what": note.what, "key": note.key, "text": note.text })).collect();
        let text = if lines.is_empty() { "Nothing is due.".to_owned() } else { lines.join("\n") };
        Report { text, json: json!({ "done": !self.arguments.dry_run, "notes": notes }), exit }
    }
}
