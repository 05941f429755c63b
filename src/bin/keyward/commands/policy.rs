//! `keyward policy`: what the token's keys may be, and who may do what with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use cryptoki_sys::*;
use keyward::guard::Rules;
use keyward::lifecycle::clock;
use keyward::module;
use keyward::object::Attributes;
use keyward::overlay;
use keyward::token::*;
use serde_json::{Value as Json, json};

use crate::choice::TokenChoice;
use crate::commands::approval::read_all;
use crate::commands::key::{attributes, hex};
use crate::commands::object::find;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::names;
use crate::pins::{Reader, SoPin, Source, UserPin};
use crate::report::{Report, shown};
use crate::session::Session;

/// What `policy init` writes.
const TEMPLATE: &str = include_str!("../../../../docs/policies/template.toml");

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Write a policy to start from, with everything explained
    Init(Init),
    /// Check a policy file: is it right, and which keys of the token break it
    Check(Check),
    /// Sign a policy as the SO and put it into force
    Apply(Apply),
    /// Show the policy in force
    Show(TokenChoice),
}

#[derive(Args, Debug)]
pub struct Init {
    /// The file to make; without it, the policy is printed
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples are in docs/policies. With --login the token's private keys are checked too. Exit code 6 \
where the policy is right and keys break it."
)]
pub struct Check {
    /// The policy file
    file: PathBuf,
    /// Check the file alone, without a token
    #[arg(long)]
    no_token: bool,
    #[command(flatten)]
    choice: TokenChoice,
    /// Log in as the user, so that private keys are checked too
    #[arg(long, short)]
    login: bool,
    #[command(flatten)]
    pin: UserPin,
}

#[derive(Args, Debug)]
#[command(after_help = "Keys that break the policy are not changed: it holds for new keys, and for every use.")]
pub struct Apply {
    /// The policy file
    file: PathBuf,
    #[command(flatten)]
    choice: TokenChoice,
    #[command(flatten)]
    so_pin: SoPin,
    /// An approval, where the present policy asks for some; may be repeated
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
    /// Say what it would change, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::Init(arguments) => init(arguments),
        Command::Check(arguments) => check(context, arguments),
        Command::Apply(arguments) => apply(context, arguments),
        Command::Show(choice) => show(context, choice),
    }
}

fn init(arguments: &Init) -> Result<Report> {
    let Some(path) = &arguments.file else {
        return Ok(Report::new(TEMPLATE.to_owned(), json!({ "policy": TEMPLATE })));
    };
    let written =
        std::fs::File::create_new(path).and_then(|mut file| std::io::Write::write_all(&mut file, TEMPLATE.as_bytes()));
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
    let text = format!("{} holds a policy to start from; check it with `keyward policy check`.", path.display());
    Ok(Report::new(text, json!({ "file": path })))
}

/// The file's text, and the policy that it is.
fn read(path: &Path) -> Result<(String, Rules)> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", path.display())))?;
    let signed = SignedPolicy { text: text.clone(), ..SignedPolicy::default() };
    let wrong = |error: keyward::error::Error| {
        Failure::new(Exit::Refused, format!("{}: {}", path.display(), error.why().unwrap_or("it is broken")))
    };
    Ok((text, Rules::of(Arc::new(signed)).map_err(wrong)?))
}

fn check(context: &Context, arguments: &Check) -> Result<Report> {
    let (text, rules) = read(&arguments.file)?;
    let name = shown(&rules.policy().name);
    if arguments.no_token {
        return Ok(Report::new(format!("Policy {name:?} is right."), json!({ "policy": name, "right": true })));
    }
    let mut session = suited(context, &arguments.choice, &rules)?;
    if arguments.login || arguments.pin.source() != Source::Terminal {
        let pin = Reader::default().read(&arguments.pin.source(), "User PIN")?;
        session.login(User::User, &pin)?;
    }
    compared(&session, &text, &rules)
}

/// A session at a token that can have the policy.
fn suited(context: &Context, choice: &TokenChoice, rules: &Rules) -> Result<Session> {
    let (slot, _) = choice.of(context.slots()?)?;
    if module::overlay_of(&context.config()?, slot.id).is_some() {
        overlay::suits(rules.policy()).map_err(Failure::of("this token cannot have the policy"))?;
    }
    Session::open(&slot.token, false)
}

/// What the policy would change for the keys that the session sees.
fn compared(session: &Session, text: &str, rules: &Rules) -> Result<Report> {
    let name = shown(&rules.policy().name);
    let present = session.token.policy().map_err(Failure::of("cannot read the policy in force"))?;
    let before = present.as_ref().and_then(|signed| Rules::of(signed.clone()).ok());
    let mut lines = vec![match &present {
        None => format!("Policy {name:?} is right; the token has none yet."),
        Some(signed) if signed.text == text => format!("Policy {name:?} is the one in force."),
        Some(signed) => format!("Policy {name:?} is right; policy {} is in force.", signed.number),
    }];
    let (mut broken, mut moved) = (Vec::new(), Vec::new());
    for key in keys(session, rules, before.as_ref())? {
        let named = described(&key);
        let class = rules.class_of(&key).map(|class| class.name.clone());
        let was = before.as_ref().and_then(|rules| rules.class_of(&key)).map(|class| class.name.clone());
        if class != was {
            let name = |class: &Option<String>| class.clone().unwrap_or_else(|| "no class".to_owned());
            lines.push(format!("moves   {named}: from {} to {}", name(&was), name(&class)));
            moved.push(json!({ "key": named, "from": was, "to": class }));
        }
        if let Err(error) = rules.judge(&key) {
            lines.push(format!("breaks  {named}: {}", error.why().unwrap_or_default()));
            broken.push(json!({ "key": named, "why": error.why() }));
        }
    }
    let exit = if broken.is_empty() { Exit::Done } else { Exit::Refused };
    let json = json!({ "policy": name, "right": true, "breaks": broken, "moves": moved });
    Ok(Report { text: lines.join("\n"), json, exit })
}

/// What is read of a key to judge it.
const JUDGED: [CK_ATTRIBUTE_TYPE; 25] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_LABEL,
    CKA_ID,
    CKA_UNIQUE_ID,
    CKA_KEYWARD_VERSION,
    CKA_KEYWARD_CLASS,
    CKA_EXTRACTABLE,
    CKA_SENSITIVE,
    CKA_VALUE_LEN,
    CKA_MODULUS_BITS,
    CKA_MODULUS,
    CKA_EC_PARAMS,
    CKA_PARAMETER_SET,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_SIGN_RECOVER,
    CKA_VERIFY_RECOVER,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
    CKA_ENCAPSULATE,
    CKA_DECAPSULATE,
];

fn keys(session: &Session, rules: &Rules, before: Option<&Rules>) -> Result<Vec<Attributes>> {
    let types = before.map_or_else(|| JUDGED.to_vec(), |before| before.asking(&JUDGED));
    let (types, mut keys) = (rules.asking(&types), Vec::new());
    for class in [CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_PUBLIC_KEY, CKO_OTP_KEY] {
        for object in find(session, vec![Attribute::ulong(CKA_CLASS, class)])? {
            keys.push(attributes(session, object, &types)?);
        }
    }
    Ok(keys)
}

fn described(key: &Attributes) -> String {
    let text = |ty| shown(&String::from_utf8_lossy(key.bytes(ty).unwrap_or_default()));
    let class = names::class(key.ulong(CKA_CLASS).unwrap_or_default());
    format!("{class} {} ({})", text(CKA_LABEL), text(CKA_UNIQUE_ID))
}

fn apply(context: &Context, arguments: &Apply) -> Result<Report> {
    let (text, rules) = read(&arguments.file)?;
    let name = shown(&rules.policy().name);
    if arguments.dry_run {
        return dry(context, arguments, &text, &rules);
    }
    let approvals = read_all(&arguments.approval)?;
    let (slot, _) = arguments.choice.of(context.slots()?)?;
    let pin = Reader::default().read(&arguments.so_pin.source(), "SO PIN")?;
    let mut session = Session::open(&slot.token, true)?;
    session.login(User::SecurityOfficer, &pin)?;
    let applied = session.token.apply_policy(session.caller, &text, clock::now(), &approvals);
    applied.map_err(Failure::of("cannot apply the policy"))?;
    let signed = session.token.policy().map_err(Failure::of("cannot read the policy back"))?;
    let number = signed.map_or(0, |signed| signed.number);
    let text = format!("Policy {name:?} is in force, as number {number}.");
    Ok(Report::new(text, json!({ "policy": name, "number": number, "done": true })))
}

/// What `apply` would do, without a PIN: of the approvals that the present policy asks for, whether so many are given; of the keys,
/// those that anybody sees.
fn dry(context: &Context, arguments: &Apply, text: &str, rules: &Rules) -> Result<Report> {
    let session = suited(context, &arguments.choice, rules)?;
    let mut report = compared(&session, text, rules)?;
    // Like one that is applied, it may be broken by keys that are there.
    report.exit = Exit::Done;
    let present = session.token.policy().map_err(Failure::of("cannot read the policy in force"))?;
    let needed = present.and_then(|signed| Rules::of(signed).ok()).map_or(0, |rules| rules.policy().approve_policy);
    let given = read_all(&arguments.approval)?.len();
    report
        .text
        .push_str("\nIt would be signed; private keys were not looked at (`keyward policy check --login` does).");
    if usize::try_from(needed).is_ok_and(|needed| needed > given) {
        report
            .text
            .push_str(&format!("\nThe policy in force asks for {needed} approvals of the next; given: {given}."));
        report.exit = Exit::Refused;
    }
    if let Json::Object(map) = &mut report.json {
        map.extend([
            ("done".to_owned(), json!(false)),
            ("approvals".to_owned(), json!({ "given": given, "needed": needed })),
        ]);
    }
    Ok(report)
}

fn show(context: &Context, choice: &TokenChoice) -> Result<Report> {
    let (slot, _) = choice.of(context.slots()?)?;
    let session = Session::open(&slot.token, false)?;
    let signed = session.token.policy().map_err(Failure::of("cannot read the policy"))?;
    let Some(signed) = signed else {
        return Ok(Report::new("The token has no policy.".to_owned(), json!({ "policy": Json::Null })));
    };
    let key = hex(&signed.key);
    let head = format!("# Number {}, signed {} by the SO's key {key}.\n", signed.number, clock::text(signed.at));
    let json = json!({
        "policy": signed.text,
        "number": signed.number,
        "signed": clock::text(signed.at),
        "key": key,
    });
    Ok(Report::new(format!("{head}{}", signed.text), json))
}
