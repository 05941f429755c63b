//! The slots of this configuration, as far as the commands need them.

use std::sync::Arc;

use keyward::config::Config;
use keyward::error::Result;
use keyward::module;
use keyward::token::Token;

pub struct Slot {
    pub id: u64,
    pub token: Arc<dyn Token>,
    /// No token yet.
    pub blank: bool,
}

pub fn open_slots(config: Arc<Config>) -> Result<Vec<Slot>> {
    let slots = module::open_slots(config)?;
    Ok(slots.iter().map(|slot| Slot { id: slot.id, token: slot.token.clone(), blank: slot.is_blank() }).collect())
}
