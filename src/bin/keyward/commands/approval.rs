//! `keyward approval`: a person's signature under one act, for a time. A policy asks for several where it matters.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyward::crypto::ed25519::PrivateKey;
use keyward::lifecycle::approval::{Act, Approval, digest, hex, unhex};
use keyward::lifecycle::clock;
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Result};
use crate::report::Report;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make an approver's key, and print the line for the policy's [approvers]
    NewKey(NewKey),
    /// Approve the destruction of a key, or a policy
    Sign(Sign),
    /// Show what an approval is of
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
    /// The token's serial number
    #[arg(long)]
    serial: String,
    /// Approve that the key with this unique ID is destroyed
    #[arg(long, value_name = "UNIQUE-ID", conflicts_with = "policy", required_unless_present = "policy")]
    destroy: Option<String>,
    /// Approve this policy file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
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
    let (act, subject) = match (&arguments.destroy, &arguments.policy) {
        (Some(unique_id), _) => (Act::Destroy, unique_id.clone()),
        (None, Some(path)) => (Act::Policy, digest(&read(path)?)),
        (None, None) => return Err(Failure::new(Exit::Usage, "approve what? --destroy or --policy")),
    };
    let until = clock::now().saturating_add(arguments.valid);
    let approval = Approval::sign(&seed, act, &subject, &arguments.serial, &arguments.name, until)
        .and_then(|approval| approval.render())
        .map_err(Failure::of("cannot sign"))?;
    let until = clock::text(until);
    let json = json!({ "approval": approval, "subject": subject, "until": until });
    match &arguments.output {
        None => Ok(Report::new(approval, json)),
        Some(path) => {
            create(path, 0o644, &approval)?;
            Ok(Report::new(format!("The approval is in {}; it counts until {until}.", path.display()), json))
        }
    }
}

fn show(arguments: &Show) -> Result<Report> {
    let approval = Approval::parse(&read(&arguments.file)?).map_err(Failure::of("cannot read the approval"))?;
    let what = match approval.act {
        Act::Destroy => "the destruction of the key",
        Act::Policy => "the policy with the SHA-256",
    };
    let until = clock::text(approval.until);
    let text = format!(
        "{} approves {what} {} on token {}, until {until}. The signature is checked where it is used.",
        approval.approver, approval.subject, approval.token
    );
    let json =
        json!({ "approver": approval.approver, "subject": approval.subject, "token": approval.token, "until": until });
    Ok(Report::new(text, json))
}
