//! The commands, one file per group.

pub mod approval;
pub mod audit;
pub mod backup;
pub mod compat;
pub mod completion;
pub mod config;
pub mod doctor;
pub mod duty;
pub mod ha;
pub mod inventory;
pub mod key;
pub mod maintain;
pub mod manual;
pub mod mechanisms;
pub mod migrate;
pub mod object;
pub mod overlay;
pub mod pin;
pub mod policy;
pub mod report;
pub mod token;
pub mod upkeep;
pub mod user;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::context::Context;
use crate::failure::Result;
use crate::report::Report;

pub fn run(context: &Context, cli: Cli) -> Result<Report> {
    match cli.command {
        Some(Command::Token(command)) => token::run(context, &command),
        Some(Command::Key(command)) => key::run(context, &command),
        Some(Command::Object(command)) => object::run(context, &command),
        Some(Command::Approval(command)) => approval::run(&command),
        Some(Command::Overlay(command)) => overlay::run(context, &command),
        Some(Command::Policy(command)) => policy::run(context, &command),
        Some(Command::Maintain(arguments)) => maintain::run(context, &arguments),
        Some(Command::User(command)) => user::run(context, &command),
        Some(Command::Pin(command)) => pin::run(context, &command),
        Some(Command::Audit(command)) => audit::run(context, &command),
        Some(Command::Migrate(arguments)) => migrate::run(context, &arguments),
        Some(Command::Ha(command)) => ha::run(context, &command),
        Some(Command::Backup(command)) => backup::run(context, &command),
        Some(Command::Report(command)) => report::run(context, &command),
        Some(Command::Mechanisms(arguments)) => mechanisms::run(context, &arguments),
        Some(Command::Config(ConfigCommand::Show)) => config::show(context),
        Some(Command::Doctor) => Ok(doctor::run(context)),
        Some(Command::Completion(arguments)) => Ok(completion::run(&arguments)),
        Some(Command::Manual(arguments)) => manual::run(&arguments),
        None => compat::run(context, cli.compat),
    }
}
