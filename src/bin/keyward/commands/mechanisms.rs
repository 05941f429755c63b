//! `keyward mechanisms`: the rows of the mechanism table, or those that a token offers; alone or beside another module's.

mod compare;

use std::path::PathBuf;

use clap::Args;
use keyward::config::{Config, Mechanisms};
use keyward::mechanism::table::{self, Offer, Row};
use keyward::mechanism::{approved, provenance};
use serde_json::{Value, json};

use crate::choice::{TokenChoice, slot_id};
use crate::context::Context;
use crate::failure::Result;
use crate::names;
use crate::report::{self, Report};

#[derive(Args, Debug, Default)]
pub struct Arguments {
    #[command(flatten)]
    choice: TokenChoice,
    /// Only names that contain this, whatever its case
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only mechanisms for this use: sign, encrypt, derive, generate-key-pair, ...
    #[arg(long = "use", value_name = "USE", value_parser = names::parse_use)]
    usage: Option<u64>,
    /// Only mechanisms that work on keys of this type: rsa, ec, aes, ...
    #[arg(long, value_name = "TYPE", value_parser = names::parse_key_type)]
    key_type: Option<u64>,
    /// Only mechanisms approved by FIPS 140-3
    #[arg(long)]
    approved: bool,
    /// Also those that the configuration leaves off
    #[arg(long, conflicts_with_all = ["token", "serial", "slot"])]
    all: bool,
    /// Only what differs from this PKCS#11 module, which is loaded and asked: any maker's shared library
    #[arg(long, value_name = "MODULE")]
    compare: Option<PathBuf>,
    /// The other module's slot to ask; otherwise what any of its tokens offers
    #[arg(long, value_name = "ID", value_parser = slot_id, requires = "compare")]
    compare_slot: Option<u64>,
    /// What the other module wants in pReserved of C_Initialize
    #[arg(long, value_name = "TEXT", requires = "compare")]
    compare_init_args: Option<String>,
}

/// A mechanism as it is offered: by a token, whose sizes and uses may be narrower than its row's, or by the table.
struct Offered {
    row: &'static Row,
    flags: u64,
    size: (u64, u64),
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<Report> {
    let offered =
        if arguments.choice.is_none() { by_table(context, arguments.all)? } else { by_token(context, arguments)? };
    if let Some(module) = &arguments.compare {
        return compare::run(arguments, module, &offered);
    }
    let kept: Vec<Offered> = offered.into_iter().filter(|one| arguments.keeps(one)).collect();
    let rows: Vec<Vec<String>> = kept
        .iter()
        .map(|one| {
            let uses = names::uses(one.flags).join(" ");
            vec![one.row.name.to_owned(), sizes(one.size), marks(one.row).join(","), report::cell(&uses)]
        })
        .collect();
    let text = report::table(&["MECHANISM", "SIZES", "MARKS", "USES"], &rows);
    Ok(Report::new(text, kept.iter().map(described).collect()))
}

fn sizes((least, most): (u64, u64)) -> String {
    if most == 0 { "-".to_owned() } else { format!("{least}-{most}") }
}

fn by_table(context: &Context, all: bool) -> Result<Vec<Offered>> {
    let config = if all { None } else { Some(context.config()?) };
    let rows = table::all().filter(|row| config.as_ref().is_none_or(|config| offers(config, row)));
    Ok(rows.map(|row| Offered { row, flags: row.flags, size: row.size }).collect())
}

fn by_token(context: &Context, arguments: &Arguments) -> Result<Vec<Offered>> {
    let (slot, _) = arguments.choice.of(context.slots()?)?;
    let types = slot.token.mechanisms();
    Ok(types
        .into_iter()
        .filter_map(|ty| {
            let (row, info) = (table::row(ty).ok()?, slot.token.mechanism_info(ty).ok()?);
            Some(Offered { row, flags: info.flags, size: (info.min_key, info.max_key) })
        })
        .collect())
}

/// Whether the configuration offers `row`.
fn offers(config: &Config, row: &Row) -> bool {
    let named = |names: &[String]| names.iter().any(|name| is_name_of(name, row));
    match &config.mechanisms {
        Mechanisms::All => true,
        Mechanisms::Approved => row.approved,
        Mechanisms::Modern => row.offer == Offer::On,
        Mechanisms::Only(names) => named(names),
        Mechanisms::Without(names) => row.offer == Offer::On && !named(names),
    }
}

/// With or without `CKM_`.
pub fn is_name_of(name: &str, row: &Row) -> bool {
    row.name == name || row.name.strip_prefix("CKM_") == Some(name)
}

impl Arguments {
    fn keeps(&self, one: &Offered) -> bool {
        self.name.as_ref().is_none_or(|part| one.row.name.contains(&part.to_ascii_uppercase()))
            && self.usage.is_none_or(|usage| one.flags & usage != 0)
            && self.key_type.is_none_or(|ty| one.row.keys.contains(&ty))
            && (!self.approved || one.row.approved)
    }
}

fn marks(row: &Row) -> Vec<&'static str> {
    let approved = if row.approved { "approved" } else { "-" };
    match row.offer {
        Offer::On => vec![approved],
        Offer::Legacy => vec![approved, "legacy"],
    }
}

fn described(one: &Offered) -> Value {
    json!({
        "name": one.row.name,
        "type": one.row.ty,
        "key_types": one.row.keys.iter().map(|ty| names::key_type(*ty)).collect::<Vec<_>>(),
        "least_size": one.size.0,
        "most_size": one.size.1,
        "uses": names::uses(one.flags),
        "approved": one.row.approved,
        "approved_for": approved::conditions(one.row).collect::<Vec<_>>(),
        "parameters": provenance::parameters(one.row.params),
        "library": provenance::library(one.row),
        "peers": provenance::peers(one.row),
        "legacy": one.row.offer == Offer::Legacy,
    })
}
