//! The slots of this configuration.
//!
//! Stands in for `keyward::module::open_slots`, with the same shape, until that is there.

use std::sync::Arc;

use keyward::config::Config;
use keyward::error::Result;
use keyward::soft::Shelf;
use keyward::token::Token;

pub struct Slot {
    pub id: u64,
    pub token: Arc<dyn Token>,
    /// No token yet.
    pub blank: bool,
}

pub fn open_slots(config: Arc<Config>) -> Result<Vec<Slot>> {
    let shelved = Shelf::open(config)?.list()?;
    Ok(shelved.into_iter().map(|one| Slot { id: one.slot, token: one.token, blank: one.blank }).collect())
}
