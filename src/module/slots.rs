//! The slots of an initialised module: where they come from, how they are listed, and what happens to them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use cryptoki_sys::*;

use super::elsewhere::Elsewhere;
use crate::audit_log::Log;
use crate::config::{Config, FreeSlot};
use crate::error::{Code, Result};
use crate::forward::Threads;
use crate::guard::{Audited, Governed};
use crate::session::{Slot, hold};
use crate::soft::{Shelf, Shelved};
use crate::store::DeviceSecret;
use crate::token::Token;

/// How often a blocked `C_WaitForSlotEvent` looks.
const POLL: Duration = Duration::from_millis(200);

/// Where slots come from.
pub trait Source: Send + Sync {
    /// What stands there now; a token keeps its `Arc` from call to call.
    fn list(&self) -> Result<Vec<Shelved>>;

    /// The record of what is done with these tokens; `None`: none is kept.
    fn record(&self) -> Option<Arc<Log>> {
        None
    }
}

/// The software tokens of a configuration, those that its slots lead to, and its record.
struct Configured {
    shelf: Shelf,
    elsewhere: Elsewhere,
    /// A free slot is shown though there are tokens elsewhere.
    free_slot: bool,
    record: Option<Arc<Log>>,
}

impl Source for Configured {
    fn list(&self) -> Result<Vec<Shelved>> {
        let mut listed = self.shelf.list()?;
        let elsewhere = self.elsewhere.list();
        // A place for a first software token is not wanted where there are tokens already.
        if !elsewhere.is_empty() {
            listed.retain(|entry| !entry.blank || self.free_slot);
        }
        listed.extend(elsewhere);
        Ok(listed)
    }

    fn record(&self) -> Option<Arc<Log>> {
        self.record.clone()
    }
}

pub type Opener = fn(Arc<Config>, Threads) -> Result<Box<dyn Source>>;

static OPENER: RwLock<Opener> = RwLock::new(open_source);

/// Every token that the configuration names.
fn open_source(config: Arc<Config>, threads: Threads) -> Result<Box<dyn Source>> {
    Ok(Box::new(Configured {
        record: audit_log(&config),
        elsewhere: Elsewhere::open(&config, threads)?,
        free_slot: config.free_slot == FreeSlot::Always,
        shelf: Shelf::open(config)?,
    }))
}

/// What `C_Initialize` opens in place of the configured tokens. For tests that go through the C functions.
pub fn set_opener(opener: Opener) {
    *OPENER.write().unwrap_or_else(PoisonError::into_inner) = opener;
}

pub(super) fn opener() -> Opener {
    *OPENER.read().unwrap_or_else(PoisonError::into_inner)
}

/// What stands between the C boundary and a token: the guards. What policy refuses is on record too.
pub fn compose(token: Arc<dyn Token>, slot: CK_SLOT_ID, record: Option<Arc<Log>>) -> Arc<dyn Token> {
    let governed = Governed::around(token);
    match record {
        Some(log) => Arc::new(Audited::new(governed, log, slot)),
        None => governed,
    }
}

/// The audit record of a configuration, opened at its first event; `None`: none is kept.
pub fn audit_log(config: &Config) -> Option<Arc<Log>> {
    let rules = config.audit.clone()?;
    let (secret, tokens) = (config.device_secret.clone(), config.tokens.clone());
    let directory = rules.directory.clone();
    let root = move || {
        // Made only for the first token, as the tokens' own rule is.
        let device = match has_slot_files(&tokens) {
            true => DeviceSecret::load(&secret)?,
            false => DeviceSecret::load_or_create(&secret)?,
        };
        let head = device.anchors().unwrap_or(&directory).to_owned();
        Ok((device.derive(b"keyward audit", &[0; 16])?, head))
    };
    Some(Arc::new(Log::new(rules, root)))
}

fn has_slot_files(directory: &std::path::Path) -> bool {
    let mut entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|ending| ending == "slot" || ending == "overlay"))
}

/// The slots of a configuration, as the C functions see them, for a program that needs no C functions.
pub fn open_slots(config: Arc<Config>) -> Result<Vec<Arc<Slot>>> {
    Module::new(open_source(config, Threads::Allowed)?, Ordinals::default()).refresh()
}

/// An initialised module.
pub struct Module {
    source: Box<dyn Source>,
    known: Mutex<Known>,
    /// Slots with news, for `C_WaitForSlotEvent`.
    news: Mutex<VecDeque<CK_SLOT_ID>>,
    woken: Condvar,
    closed: AtomicBool,
}

/// Which number a slot has in this process's object handles. They outlive the module, so that after `C_Finalize` a stale
/// handle never names an object of another slot.
pub(super) type Ordinals = Arc<Mutex<HashMap<CK_SLOT_ID, u16>>>;

struct Known {
    ordinals: Ordinals,
    /// Every slot ever listed.
    slots: Vec<Arc<Slot>>,
    /// As listed last.
    listed: Option<Vec<Arc<Slot>>>,
}

impl Module {
    pub(super) fn new(source: Box<dyn Source>, ordinals: Ordinals) -> Module {
        Module {
            source,
            known: Mutex::new(Known { ordinals, slots: Vec::new(), listed: None }),
            news: Mutex::default(),
            woken: Condvar::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// The slots as listed last; lists them if that has not been done.
    pub fn slots(&self) -> Result<Vec<Arc<Slot>>> {
        let listed = hold(&self.known).listed.clone();
        listed.map_or_else(|| self.refresh(), Ok)
    }

    /// Lists the slots anew: the tokens of other processes appear, known slots keep their IDs.
    pub fn refresh(&self) -> Result<Vec<Arc<Slot>>> {
        let mut known = hold(&self.known);
        let shelved = self.source.list()?;
        let record = self.source.record();
        let listed = shelved.into_iter().map(|entry| known.meet(entry, &record)).collect::<Result<Vec<_>>>()?;
        let mut news = Vec::new();
        for slot in &known.slots {
            let gone = !listed.iter().any(|other| other.id == slot.id);
            let changed = slot.set_gone(gone);
            let new = !known.listed.iter().flatten().any(|other| other.id == slot.id) && !gone;
            if changed || new {
                news.push(slot.id);
            }
        }
        // The first list is no news to anybody.
        if known.listed.replace(listed.clone()).is_some() {
            hold(&self.news).extend(news);
        }
        Ok(listed)
    }

    /// The slot of an ID, whether or not it was ever listed. `CKR_SLOT_ID_INVALID`.
    pub fn slot(&self, id: CK_SLOT_ID) -> Result<Arc<Slot>> {
        let known = |module: &Module| hold(&module.known).slots.iter().find(|slot| slot.id == id).cloned();
        if let Some(slot) = known(self) {
            return Ok(slot);
        }
        self.refresh()?;
        Ok(known(self).ok_or(Code::SlotIdInvalid)?)
    }

    /// `C_WaitForSlotEvent`. `CKR_NO_EVENT`; when it blocks, `CKR_CRYPTOKI_NOT_INITIALIZED` once the module is
    /// finalised.
    pub fn wait(&self, block: bool) -> Result<CK_SLOT_ID> {
        loop {
            if self.closed.load(Ordering::Acquire) {
                Err(Code::CryptokiNotInitialized)?;
            }
            self.refresh()?;
            let mut news = hold(&self.news);
            if let Some(slot) = news.pop_front() {
                return Ok(slot);
            }
            if !block {
                Err(Code::NoEvent)?;
            }
            if !self.closed.load(Ordering::Acquire) {
                drop(self.woken.wait_timeout(news, POLL));
            }
        }
    }

    /// Wakes who waits for an event.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.woken.notify_all();
    }
}

impl Known {
    fn meet(&mut self, entry: Shelved, record: &Option<Arc<Log>>) -> Result<Arc<Slot>> {
        let id = CK_SLOT_ID::from(entry.slot);
        if let Some(slot) = self.slots.iter().find(|slot| slot.id == id) {
            slot.set_blank(entry.blank);
            return Ok(Arc::clone(slot));
        }
        let token = compose(entry.token, id, record.clone());
        let slot = Arc::new(Slot::new(id, ordinal(&self.ordinals, id)?, token, entry.blank));
        self.slots.push(Arc::clone(&slot));
        Ok(slot)
    }
}

/// The number of a slot in this process's object handles. `CKR_DEVICE_MEMORY` after 4096 slots.
fn ordinal(ordinals: &Mutex<HashMap<CK_SLOT_ID, u16>>, id: CK_SLOT_ID) -> Result<u16> {
    let mut ordinals = hold(ordinals);
    let next = ordinals.len();
    if let Some(known) = ordinals.get(&id) {
        return Ok(*known);
    }
    let ordinal = u16::try_from(next).ok().filter(|_| next < Slot::ORDINALS);
    let ordinal = ordinal.ok_or_else(|| Code::DeviceMemory.because("more than 4096 slots in one process"))?;
    ordinals.insert(id, ordinal);
    Ok(ordinal)
}
