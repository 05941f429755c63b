//! `Token` over our own objects.

use std::sync::Arc;

use crate::config::Config;
use crate::error::{Code, Result};
use crate::token::Token;

/// The token directory: every software token of this machine's configuration.
pub struct Shelf {
    config: Arc<Config>,
}

/// One entry of the shelf.
pub struct Shelved {
    /// Low 31 bits of the serial: the slot ID, the same in every process.
    pub slot: u64,
    pub token: Arc<dyn Token>,
    /// No token yet: what `C_InitToken` fills. Its slot ID is already the one that the token will have.
    pub blank: bool,
}

impl Shelf {
    pub fn open(config: Arc<Config>) -> Result<Shelf> {
        Ok(Shelf { config })
    }

    /// What stands there now, in the order of creation; a token keeps its `Arc` from call to call.
    pub fn list(&self) -> Result<Vec<Shelved>> {
        let _ = &self.config;
        Err(Code::FunctionNotSupported.into())
    }
}
