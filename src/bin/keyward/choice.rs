//! Which token a command works on.

use clap::Args;
use keyward::token::TokenInfo;

use crate::failure::{Exit, Failure, Result};
use crate::report::{cell, table};
use crate::slots::Slot;

/// At most one of the three; none where there is only one token.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct TokenChoice {
    /// The token with this label
    #[arg(long, value_name = "LABEL")]
    pub token: Option<String>,
    /// The token with this serial number
    #[arg(long, value_name = "SERIAL")]
    pub serial: Option<String>,
    /// The token in this slot, in decimal or 0x form
    #[arg(long, value_name = "ID", value_parser = slot_id)]
    pub slot: Option<u64>,
}

pub fn slot_id(text: &str) -> std::result::Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a slot number, such as 1234 or 0x4d2".to_owned())
}

impl TokenChoice {
    pub fn is_none(&self) -> bool {
        self.token.is_none() && self.serial.is_none() && self.slot.is_none()
    }

    /// The one token that fits.
    pub fn of(&self, slots: Vec<Slot>) -> Result<(Slot, TokenInfo)> {
        let mut known = Vec::new();
        for slot in slots.into_iter().filter(|slot| !slot.blank) {
            match slot.token.info() {
                Ok(info) => known.push((slot, info)),
                // A damaged token named by its slot must say so; it must not hide the others.
                Err(error) if self.slot == Some(slot.id) => return Err(Failure::of("cannot read the token")(error)),
                Err(_) => {}
            }
        }
        let (mut fitting, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|(slot, info)| self.fits(slot, info));
        match (fitting.pop(), fitting.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(last), false) => {
                fitting.push(last);
                Err(Failure::new(
                    Exit::Refused,
                    format!("more than one token fits; choose by --serial or --slot:\n{}", listed(&fitting)),
                ))
            }
            (None, _) => Err(self.not_found(&others)),
        }
    }

    fn fits(&self, slot: &Slot, info: &TokenInfo) -> bool {
        self.token.as_ref().is_none_or(|label| info.label.trim_end() == label)
            && self.serial.as_ref().is_none_or(|serial| info.serial.trim_end().eq_ignore_ascii_case(serial))
            && self.slot.is_none_or(|id| slot.id == id)
    }

    fn not_found(&self, others: &[(Slot, TokenInfo)]) -> Failure {
        let message = if others.is_empty() {
            "there is no token yet; make one with `keyward token init --label NAME`".to_owned()
        } else {
            format!("no such token; there are:\n{}", listed(others))
        };
        Failure::new(Exit::NotFound, message)
    }
}

fn listed(tokens: &[(Slot, TokenInfo)]) -> String {
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|(slot, info)| vec![cell(info.label.trim_end()), cell(info.serial.trim_end()), slot.id.to_string()])
        .collect();
    table(&["  LABEL", "SERIAL", "SLOT"], &rows.into_iter().map(indented).collect::<Vec<_>>()).trim_end().to_owned()
}

fn indented(mut row: Vec<String>) -> Vec<String> {
    if let Some(first) = row.first_mut() {
        first.insert_str(0, "  ");
    }
    row
}
