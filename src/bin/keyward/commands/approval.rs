//! `keyward approval`: a person's signature under one act, for a time. A policy asks for several where it matters.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyward::crypto::ed25519::PrivateKey;
use keyward::lifecycle::approval::{Act, Approval, Request, digest, hex, unhex};
use keyward::lifecycle::clock;
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Result};
use crate::report::Report;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make an approver's key, and print the line for the policy's [approvers]
    NewKey(NewKey),
    /// Write down what is to be approved, for the approvers to sign
    Request(Ask),
    /// Approve the destruction or the export of a key, a policy, or a restore
    Sign(Sign),
    /// Show what an approval or a request is of
    Show(Show),
}

#[derive(Args, Debug)]
pub struct NewKey {
    /// The file to make; it must not exist yet, and only you can read it
    file: PathBuf,
    /// The approver's name, as the policy will have it
    #[arg(long)]
    name: String,
}

/// What is to be approved.
#[derive(Args, Debug)]
pub struct What {
    /// The token's serial number
    #[arg(long)]
    serial: Option<String>,
    /// That the key with this unique ID is destroyed
    #[arg(long, value_name = "UNIQUE-ID", group = "act")]
    destroy: Option<String>,
    /// This policy file
    #[arg(long, value_name = "FILE", group = "act")]
    policy: Option<PathBuf>,
    /// That the key with this unique ID is wrapped out of the token, once
    #[arg(long, value_name = "UNIQUE-ID", group = "act")]
    export: Option<String>,
    /// That the backup with this ID is restored (`backup verify` shows it)
    #[arg(long, value_name = "BACKUP-ID", group = "act")]
    restore: Option<String>,
    /// Who will do it, and so approves nothing of it: a named user of the token, or an approver
    #[arg(long, value_name = "NAME")]
    requester: Option<String>,
}

impl What {
    fn request(&self) -> Result<Request> {
        let (act, subject) = match (&self.destroy, &self.policy, &self.export, &self.restore) {
            (Some(unique_id), ..) => (Act::Destroy, unique_id.clone()),
            (_, Some(path), ..) => (Act::Policy, digest(&read(path)?)),
            (_, _, Some(unique_id), _) => (Act::Export, unique_id.clone()),
            (.., Some(backup)) => (Act::Restore, backup.clone()),
            _ => return Err(Failure::new(Exit::Usage, "approve what? --destroy, --policy, --export or --restore")),
        };
        let which = || Failure::new(Exit::Usage, "on which token? --serial: `keyward token list` shows it");
        let token = self.serial.clone().ok_or_else(which)?;
        Ok(Request { act, subject, token, requester: self.requester.clone().unwrap_or_default() })
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  keyward approval request --serial 0123456789abcdef --requester dave \\\n    \
--export 9fd4ca5b-5335-44b6-acfb-f5a2e7f10c93 --output export.request")]
pub struct Ask {
    #[command(flatten)]
    what: What,
    /// Write the request to this file, which must not exist yet, instead of printing it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  keyward approval sign --key alice.key --name alice --serial 0123456789abcdef \\\n    \
--destroy 9fd4ca5b-5335-44b6-acfb-f5a2e7f10c93 --output alice.approval\n  \
keyward key purge --unique-id 9fd4... --approval alice.approval --approval bob.approval"
)]
pub struct Sign {
    /// The approver's key
    #[arg(long)]
    key: PathBuf,
    /// The approver's name in the policy
    #[arg(long)]
    name: String,
    /// Approve what this request says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["serial", "act", "requester"])]
    request: Option<PathBuf>,
    #[command(flatten)]
    what: What,
    /// For how long the approval counts
    #[arg(long, default_value = "7d", value_parser = clock::parse_span)]
    valid: u64,
    /// Write the approval to this file, which must not exist yet, instead of printing it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Show {
    /// The approval
    file: PathBuf,
}

/// The approvals of these files, as a token takes them.
pub fn read_all(files: &[PathBuf]) -> Result<Vec<String>> {
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", path.display())))
}

pub fn run(command: &Command) -> Result<Report> {
    match command {
        Command::NewKey(arguments) => new_key(arguments),
        Command::Request(arguments) => request(arguments),
        Command::Sign(arguments) => sign(arguments),
        Command::Show(arguments) => show(arguments),
    }
}

fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))
}

fn new_key(arguments: &NewKey) -> Result<Report> {
    let key = PrivateKey::generate().map_err(Failure::of("cannot make a key"))?;
    let seed = Zeroizing::new(format!("{}\n", hex(key.seed().expose())));
    create(&arguments.file, 0o600, &seed)?;
    let (name, public) = (&arguments.name, hex(&key.public()));
    let text = format!("For the policy:\n\n[approvers]\n{name} = \"{public}\"");
    Ok(Report::new(text, json!({ "name": name, "public_key": public, "file": arguments.file })))
}

fn sign(arguments: &Sign) -> Result<Report> {
    let text = Zeroizing::new(read(&arguments.key)?);
    let seed = unhex(text.trim()).map(Zeroizing::new).filter(|seed| seed.len() == 32);
    let seed = seed.ok_or_else(|| Failure::new(Exit::Failed, "this is no approver's key: see `approval new-key`"))?;
    let request = match &arguments.request {
        Some(path) => Request::parse(&read(path)?).map_err(Failure::of("cannot read the request"))?,
        None => arguments.what.request()?,
    };
    let until = clock::now().saturating_add(arguments.valid);
    let signed = request.sign(&seed, &arguments.name, until).and_then(|approval| approval.render());
    let approval = signed.map_err(Failure::of("cannot sign"))?;
    let until = clock::text(until);
    let json = json!({ "approval": approval, "subject": request.subject, "until": until });
    match &arguments.output {
        None => Ok(Report::new(approval, json)),
        Some(path) => {
            create(path, 0o644, &approval)?;
            Ok(Report::new(format!("The approval is in {}; it counts until {until}.", path.display()), json))
        }
    }
}

fn request(arguments: &Ask) -> Result<Report> {
    let request = arguments.what.request()?;
    let text = request.render().map_err(Failure::of("cannot write the request"))?;
    let json = json!({ "request": text, "act": request.act.name(), "subject": request.subject });
    match &arguments.output {
        None => Ok(Report::new(text, json)),
        Some(path) => {
            create(path, 0o644, &text)?;
            Ok(Report::new(format!("The request is in {}.", path.display()), json))
        }
    }
}

fn act_text(act: Act) -> &'static str {
    match act {
        Act::Destroy => "the destruction of the key",
        Act::Policy => "the policy with the SHA-256",
        Act::Export => "one export of the key",
        Act::Restore => "the restoring of the backup",
    }
}

fn show(arguments: &Show) -> Result<Report> {
    let text = read(&arguments.file)?;
    if let Ok(request) = Request::parse(&text) {
        let (what, subject) = (act_text(request.act), &request.subject);
        let who = if request.requester.is_empty() { "Somebody" } else { &request.requester };
        let said = format!("{who} asks for {what} {subject} on token {}. Nobody has signed it.", request.token);
        let json = json!({
            "act": request.act.name(),
            "subject": subject,
            "token": request.token,
            "requester": request.requester,
            "signed": false,
        });
        return Ok(Report::new(said, json));
    }
    let approval = Approval::parse(&text).map_err(Failure::of("cannot read the approval"))?;
    let until = clock::text(approval.until);
    let asked = if approval.requester.is_empty() { String::new() } else { format!(" by {}", approval.requester) };
    let text = format!(
        "{} approves {} {}{asked} on token {}, once, until {until}. The signature is checked where it is used.",
        approval.approver,
        act_text(approval.act),
        approval.subject,
        approval.token
    );
    let json = json!({
        "act": approval.act.name(),
        "approver": approval.approver,
        "requester": approval.requester,
        "subject": approval.subject,
        "token": approval.token,
        "until": until,
        "signed": true,
    });
    Ok(Report::new(text, json))
}
