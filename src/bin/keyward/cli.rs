//! The command line as a whole; each command group's arguments are in its own file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    approval, audit, backup, compat, completion, ha, key, maintain, manual, mechanisms, migrate, object, overlay, pin,
    policy, report, token, user,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: a file, the device, the library
  2  the command line is wrong
  3  the configuration is wrong or missing
  4  no such token or object
  5  the PIN is wrong, locked, not set, or not allowed
  6  refused: by the token's rules, or because the choice was ambiguous
  7  `doctor`, a check or a report found something
  8  not confirmed
  9  `maintain`: done, and something needs a person

PINs come from the terminal, or from --pin-file, --pin-fd or --pin-env (and --so-pin-..., --new-pin-...).
A file or descriptor gives one line per PIN.";

#[derive(Parser, Debug)]
#[command(name = "keyward", version, about = "Administers Keyward tokens", after_help = EXIT_CODES)]
#[command(args_conflicts_with_subcommands = false, arg_required_else_help = true)]
pub struct Cli {
    /// Print the result, and errors, as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Read this configuration file instead of looking for one
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Do not ask before something is deleted
    #[arg(long, short, global = true)]
    pub yes: bool,

    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub compat: compat::Options,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make, list and describe tokens
    #[command(subcommand)]
    Token(token::Command),
    /// List, show and delete the objects of a token
    #[command(subcommand)]
    Object(object::Command),
    /// Activate, suspend, rotate, revoke and destroy keys
    #[command(subcommand)]
    Key(key::Command),
    /// Govern the keys of an HSM: the file that their life is kept in
    #[command(subcommand)]
    Overlay(overlay::Command),
    /// Check, sign and show the token's policy
    #[command(subcommand)]
    Policy(policy::Command),
    /// Approve, as one of several, what the policy asks approvals for
    #[command(subcommand)]
    Approval(approval::Command),
    /// Do what time has brought: activate, rotate, deactivate, destroy, and warn ahead
    Maintain(maintain::Maintain),
    /// Add, change and remove the token's named users
    #[command(subcommand)]
    User(user::Command),
    /// Change or reset a PIN
    #[command(subcommand)]
    Pin(pin::Command),
    /// Read, check, export and rotate the audit record
    #[command(subcommand)]
    Audit(audit::Command),
    /// Move objects between tokens, software ones or an HSM's
    Migrate(migrate::Arguments),
    /// Slots over several HSMs: how their members stand
    #[command(subcommand)]
    Ha(ha::Command),
    /// Back tokens up under the shares of custodians, and restore them
    #[command(subcommand)]
    Backup(backup::Command),
    /// Compliance facts, an HTML page, figures for Prometheus
    #[command(subcommand)]
    Report(report::Command),
    /// List the mechanisms of this build, or those that a token offers
    Mechanisms(mechanisms::Arguments),
    /// Show the configuration in effect
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check the installation; each finding says what to do
    Doctor,
    /// Print a completion script for a shell
    Completion(completion::Arguments),
    /// Write the manual pages into a directory
    Manual(manual::Arguments),
}

#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print the configuration in effect, as a complete configuration file
    Show,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
