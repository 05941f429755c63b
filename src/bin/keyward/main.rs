//! `keyward`: the administration program.
//!
//! A command takes the [`context::Context`] and its arguments and returns a [`report::Report`], which has one form for
//! people and one for programs; only `main` prints. What goes wrong is a [`failure::Failure`] with an exit code.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented
    )
)]

mod choice;
mod cli;
mod commands;
mod context;
mod examples;
mod failure;
mod names;
mod pem;
mod pfx;
mod pins;
mod report;
mod session;
mod slots;
#[cfg(test)]
mod testing;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::Exit;

fn main() -> ExitCode {
    // Before anything else: the library has started this in the place of a user.
    if std::env::args_os().nth(1).is_some_and(|word| word == keyward::module::APART) {
        return apart();
    }
    let matches = examples::added(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let json = cli.json;
    let context = Context::new(cli.config.clone(), cli.yes);
    let exit = match commands::run(&context, cli) {
        Ok(report) => print(&report.render(json), report.exit),
        Err(failure) => {
            eprintln!("{}", failure.render(json));
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

/// The helper of a slot with `isolate = true`.
fn apart() -> ExitCode {
    match keyward::module::serve_apart() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyward: this command is for the library, which gives it a socket as its input: {error}");
            ExitCode::from(Exit::Usage as u8)
        }
    }
}

/// A reader that has gone away (`keyward object list | head`) is no failure of ours.
fn print(text: &str, exit: Exit) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("keyward: cannot write the result: {error}");
            Exit::Failed
        }
        _ => exit,
    }
}
