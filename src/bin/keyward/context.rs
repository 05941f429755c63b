//! What every command starts from: the configuration, the slots, and leave to delete.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use keyward::config::{Config, FreeSlot};

use crate::failure::{Exit, Failure, Result};
use crate::slots::{self, Slot};

type Open = Box<dyn Fn(Arc<Config>) -> keyward::error::Result<Vec<Slot>>>;

pub struct Context {
    file: Option<PathBuf>,
    /// `--yes`.
    agreed: bool,
    open: Open,
    #[cfg(test)]
    given: Option<Config>,
}

impl Context {
    pub fn new(file: Option<PathBuf>, agreed: bool) -> Context {
        Context {
            file,
            agreed,
            open: Box::new(slots::open_slots),
            #[cfg(test)]
            given: None,
        }
    }

    #[cfg(test)]
    pub fn for_test(config: Config, agreed: bool, open: Open) -> Context {
        Context { file: None, agreed, open, given: Some(config) }
    }

    /// The library's own error, for those who tell more about it.
    pub fn try_config(&self) -> keyward::error::Result<Config> {
        #[cfg(test)]
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        match &self.file {
            Some(file) => Config::load_file(file),
            None => Config::load(),
        }
    }

    pub fn config(&self) -> Result<Config> {
        self.try_config().map_err(|error| {
            Failure::new(Exit::Configuration, error.why().unwrap_or("the configuration is wrong").to_owned())
        })
    }

    /// The tokens, and a free slot where the configuration shows one.
    pub fn slots(&self) -> Result<Vec<Slot>> {
        let config = self.config()?;
        self.try_slots(config).map_err(Failure::of("cannot open the tokens"))
    }

    /// The tokens and a free slot, whatever the configuration shows to applications.
    pub fn slots_with_free(&self) -> Result<Vec<Slot>> {
        let config = Config { free_slot: FreeSlot::Always, ..self.config()? };
        self.try_slots(config).map_err(Failure::of("cannot open the tokens"))
    }

    pub fn try_slots(&self, config: Config) -> keyward::error::Result<Vec<Slot>> {
        (self.open)(Arc::new(config))
    }

    /// Asks on the terminal, unless `--yes` was given.
    pub fn confirm(&self, question: &str) -> Result<()> {
        if self.agreed {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(Failure::new(
                Exit::NotConfirmed,
                format!("{question} There is no terminal to ask at: say --yes if you mean it"),
            ));
        }
        eprint!("{question} Type yes to go on: ");
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).map_err(|error| Failure::new(Exit::NotConfirmed, error.to_string()))?;
        match answer.trim() {
            "yes" => Ok(()),
            _ => Err(Failure::new(Exit::NotConfirmed, "not confirmed; nothing was changed")),
        }
    }
}
