//! Hidden options that have the words of `softhsm2-util`, for scripts that already exist. Here alone a PIN may stand
//! on the command line, since those scripts put it there.

use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use crate::choice::{TokenChoice, slot_id};
use crate::commands::object::{self, HexBytes, transfer};
use crate::commands::token::{self, Making};
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::pins::{Pin, Reader, Source};
use crate::report::Report;

#[derive(Args, Debug, Default)]
pub struct Options {
    #[arg(long, hide = true, requires = "label", group = "action")]
    init_token: bool,
    #[arg(long, hide = true)]
    show_slots: bool,
    #[arg(long, hide = true, requires = "label", group = "action", value_name = "FILE")]
    import: Option<PathBuf>,
    #[arg(long, hide = true, requires = "init_token")]
    free: bool,
    #[arg(long, hide = true, requires = "action", conflicts_with = "free", value_parser = slot_id)]
    slot: Option<u64>,
    #[arg(long, hide = true, requires = "import", conflicts_with = "slot")]
    token: Option<String>,
    #[arg(long, hide = true, requires = "import", conflicts_with_all = ["slot", "token"])]
    serial: Option<String>,
    #[arg(long, hide = true, requires = "action", value_parser = token::label)]
    label: Option<String>,
    #[arg(long, hide = true, requires = "import", value_parser = object::hex_bytes)]
    id: Option<HexBytes>,
    #[arg(long, hide = true, requires = "init_token")]
    so_pin: Option<String>,
    #[arg(long, hide = true, requires = "action")]
    pin: Option<String>,
    #[arg(long, hide = true, requires = "import")]
    file_pin: Option<String>,
}

pub fn run(context: &Context, options: Options) -> Result<Report> {
    match options {
        Options { init_token: true, .. } => init(context, options),
        Options { import: Some(_), .. } => import(context, options),
        Options { show_slots: true, .. } => token::list(context),
        _ => Err(Failure::new(Exit::Usage, "say what to do: see `keyward --help`")),
    }
}

fn import(context: &Context, options: Options) -> Result<Report> {
    let choice = TokenChoice { token: options.token, serial: options.serial, slot: options.slot };
    let wanted = transfer::Import::one(options.import.unwrap_or_default(), options.label, options.id, choice);
    transfer::import_by(context, &wanted, &source(options.pin), source(options.file_pin))
}

fn source(given: Option<String>) -> Source {
    given.map_or(Source::Terminal, |text| Source::Given(Zeroizing::new(text)))
}

fn init(context: &Context, options: Options) -> Result<Report> {
    let slot = match options.slot {
        None => token::free(context.slots_with_free()?)?,
        Some(id) => chosen(context, id)?,
    };
    let label = options.label.unwrap_or_default();
    let mut reader = Reader::default();
    let so_pin = read(&mut reader, options.so_pin, "New SO PIN")?;
    let user_pin = Some(read(&mut reader, options.pin, "New user PIN")?);
    token::make(&slot, &Making { label, so_pin, user_pin })
}

/// The slot with this number, blank or with a token that is made anew.
fn chosen(context: &Context, id: u64) -> Result<crate::slots::Slot> {
    let mut slots = context.slots_with_free()?;
    if let Some(at) = slots.iter().position(|slot| slot.id == id && slot.blank) {
        return Ok(slots.swap_remove(at));
    }
    let (slot, info) = TokenChoice { slot: Some(id), ..TokenChoice::default() }.of(slots)?;
    context.confirm(&format!("All objects of the token in slot {id} ({}) will be deleted.", info.serial.trim_end()))?;
    Ok(slot)
}

fn read(reader: &mut Reader, given: Option<String>, prompt: &str) -> Result<Pin> {
    reader.read_new(&source(given), prompt)
}
