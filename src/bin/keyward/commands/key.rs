//! `keyward key`: the life of keys (docs/lifecycle.md).

mod change;
mod import;
mod request;
mod rotate;
mod target;
mod transfer;

pub use target::{Found, attributes, authority, hex, look, look_by};

use clap::Subcommand;

use crate::commands::inventory;
use crate::context::Context;
use crate::failure::Result;
use crate::report::Report;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List keys with state, age, end, last use and findings
    List(inventory::List),
    /// Put a pre-active key into force; of a staged version also take the label over
    Activate(change::Activate),
    /// Stop a key from protecting anything new, for a time
    Suspend(change::Suspend),
    /// Put a suspended key into force again
    Resume(change::Plain),
    /// End a key's use for signing and encrypting; verifying and decrypting go on
    Deactivate(change::Deactivate),
    /// Deactivate a key for a reason, or with --compromised end every use of it
    Revoke(change::Revoke),
    /// Set the dates at which a key's use begins and ends
    Schedule(change::Schedule),
    /// Hide a key, and destroy it when its recovery window is over
    Destroy(change::Destroy),
    /// Bring a key back that is still in its recovery window
    Recover(change::Plain),
    /// Destroy a key now and for good: it cannot be brought back from the slot file
    Purge(change::Purge),
    /// Make the next version of a key
    Rotate(rotate::Rotate),
    /// Print the certificate request of a staged key, or of one in force
    Request(rotate::Request),
    /// Import the certificate of a staged or present version
    Certify(rotate::Certify),
    /// Wrap keys anew under the newest version of their wrapping key
    Rewrap(rotate::Rewrap),
    /// Write an extractable key to a file: PKCS#8 under a passphrase, JWK
    Export(transfer::Export),
    /// Unwrap a key that an HSM or another program has wrapped for a key of the token
    Import(import::Import),
    /// Move a copy of an extractable key into another token, never in clear
    Transfer(transfer::Transfer),
    /// Show the state, the dates and the versions of a key
    Show(change::Show),
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    match command {
        Command::List(arguments) => inventory::list(context, arguments),
        Command::Activate(arguments) => change::activate(context, arguments),
        Command::Suspend(arguments) => change::suspend(context, arguments),
        Command::Resume(arguments) => change::resume(context, arguments),
        Command::Deactivate(arguments) => change::deactivate(context, arguments),
        Command::Revoke(arguments) => change::revoke(context, arguments),
        Command::Schedule(arguments) => change::schedule(context, arguments),
        Command::Destroy(arguments) => change::destroy(context, arguments),
        Command::Recover(arguments) => change::recover(context, arguments),
        Command::Purge(arguments) => change::purge(context, arguments),
        Command::Rotate(arguments) => rotate::rotate(context, arguments),
        Command::Request(arguments) => rotate::request(context, arguments),
        Command::Certify(arguments) => rotate::certify(context, arguments),
        Command::Rewrap(arguments) => rotate::rewrap(context, arguments),
        Command::Export(arguments) => transfer::export(context, arguments),
        Command::Import(arguments) => import::import(context, arguments),
        Command::Transfer(arguments) => transfer::transfer(context, arguments),
        Command::Show(arguments) => change::show(context, arguments),
    }
}
