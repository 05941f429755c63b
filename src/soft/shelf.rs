//! The token directory: every software token of this configuration, and the place for the next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use cryptoki_sys::*;
use once_cell::sync::OnceCell;
use parking_lot::{Mutex, RwLock};

use super::Soft;
use super::access::State;
use super::object::{Object, Objects};
use crate::config::{Config, FreeSlot, Mechanisms};
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Result};
use crate::mechanism::table::{self, Row};
use crate::mechanism::{approved, ecdsa};
use crate::numbers::NumberMap;
use crate::object::Attributes;
use crate::store::{DeviceSecret, Rules, SlotFile};
use crate::token::{APPROVED_FLAG, Attribute, Params, Token};

/// What all tokens of one configuration share.
pub struct Environment {
    pub config: Arc<Config>,
    device: OnceCell<Arc<DeviceSecret>>,
    enabled: NumberMap<CK_MECHANISM_TYPE, &'static Row>,
    pub(super) built_in: OnceCell<Vec<Arc<Object>>>,
}

impl Environment {
    fn new(config: Arc<Config>) -> Result<Environment> {
        let asked = |row: &'static Row| (row.ty, ecdsa::with_nonces(row, config.ecdsa_nonces));
        let enabled = table::enabled(&config.mechanisms)?.into_iter().map(asked).collect();
        Ok(Environment { config, device: OnceCell::new(), enabled, built_in: OnceCell::new() })
    }

    /// The rows that the configuration offers, in the table's order.
    pub fn enabled(&self) -> impl Iterator<Item = &'static Row> {
        table::all().filter(|row| self.enabled.contains_key(&row.ty))
    }

    /// `CKR_MECHANISM_INVALID` also for a row that the configuration leaves out.
    pub fn row(&self, ty: CK_MECHANISM_TYPE) -> Result<&'static Row> {
        Ok(self.enabled.get(&ty).copied().ok_or(Code::MechanismInvalid)?)
    }

    /// In the approved mode, whether a use of a row is approved (see [`approved::check`]): `CKR_OPERATION_NOT_VALIDATED`.
    pub(super) fn approve(&self, row: &Row, usage: CK_FLAGS, params: &Params, key: &Attributes) -> Result<()> {
        match self.config.mechanisms {
            Mechanisms::Approved => approved::check(row, usage, params, key),
            _ => Ok(()),
        }
    }

    /// Whether what was approved once is so again without a look: in the approved mode, where nothing is said that could be otherwise.
    pub(super) fn approves_again(&self, params: &Params) -> bool {
        self.config.mechanisms != Mechanisms::Approved || *params == Params::None
    }

    /// What an approved operation made says so (PKCS#11 3.2, validation objects, key object state), where it is a key that may
    /// be used so. The flag is one that no validation object explains: nobody has validated this module.
    pub(super) fn mark(&self, made: &mut Attributes) {
        let key = made.get(CKA_OBJECT_VALIDATION_FLAGS).is_some();
        if key && self.config.mechanisms == Mechanisms::Approved && approved::is_approved_key(made) {
            made.put(Attribute::ulong(CKA_OBJECT_VALIDATION_FLAGS, APPROVED_FLAG));
        }
    }

    /// The device secret. It is made only for the first token: a fresh one beside existing slot files would hide that
    /// theirs is lost.
    pub fn device_secret(&self, first: bool) -> Result<Arc<DeviceSecret>> {
        let path = &self.config.device_secret;
        let load = || if first { DeviceSecret::load_or_create(path) } else { DeviceSecret::load(path) };
        self.device.get_or_try_init(|| load().map(Arc::new)).cloned()
    }

    /// Whether the directory holds no slot file, and no overlay.
    pub fn empty(&self) -> bool {
        let overlays = || {
            let mut entries = std::fs::read_dir(&self.config.tokens).into_iter().flatten().flatten();
            entries.any(|entry| entry.path().extension().is_some_and(|ending| ending == "overlay"))
        };
        serials(&self.config.tokens).is_ok_and(|serials| serials.is_empty()) && !overlays()
    }

    pub fn rules(&self) -> Rules {
        Rules { kdf: self.config.kdf, max_failures: self.config.pin.max_failures }
    }

    /// `CKR_PIN_LEN_RANGE`, `CKR_PIN_TOO_WEAK`.
    pub fn check_pin(&self, pin: &[u8]) -> Result<()> {
        self.config.pin.check(pin)
    }
}

/// One entry of the shelf.
pub struct Shelved {
    /// Low 31 bits of the serial: the slot ID, the same in every process.
    pub slot: u64,
    pub token: Arc<dyn Token>,
    /// No token yet: what `C_InitToken` fills. Its slot ID is already the one that the token will have.
    pub blank: bool,
}

pub struct Shelf {
    environment: Arc<Environment>,
    /// By serial. Only grows while the process lives: a token keeps its place though its file be removed.
    tokens: Mutex<BTreeMap<String, Arc<Soft>>>,
}

impl Shelf {
    pub fn open(config: Arc<Config>) -> Result<Shelf> {
        Ok(Shelf { environment: Arc::new(Environment::new(config)?), tokens: Mutex::default() })
    }

    /// What stands there now, by serial, a free place last; a token keeps its `Arc` from call to call.
    pub fn list(&self) -> Result<Vec<Shelved>> {
        let serials = serials(&self.environment.config.tokens)?;
        let mut tokens = self.tokens.lock();
        let mut listed = Vec::with_capacity(serials.len().saturating_add(1));
        for serial in &serials {
            let soft = match tokens.get(serial) {
                Some(soft) => soft.clone(),
                None => Arc::new(self.stand(serial, true)),
            };
            soft.appear();
            tokens.insert(serial.clone(), soft.clone());
            listed.push(Shelved { slot: slot_of(serial), token: soft, blank: false });
        }
        if self.shows_free_slot(serials.len()) {
            let serial = self.next_serial(&serials);
            // A place whose slot file was removed is free again, but not by the name of what stood there.
            let free = tokens.get(&serial).filter(|soft| soft.state.read().blank()).cloned();
            let soft = free.unwrap_or_else(|| Arc::new(self.stand(&serial, false)));
            tokens.insert(serial.clone(), soft.clone());
            listed.push(Shelved { slot: slot_of(&serial), token: soft, blank: true });
        }
        Ok(listed)
    }

    fn shows_free_slot(&self, tokens: usize) -> bool {
        match self.environment.config.free_slot {
            FreeSlot::Auto => tokens == 0,
            FreeSlot::Always => true,
            FreeSlot::Never => false,
        }
    }

    fn path(&self, serial: &str) -> PathBuf {
        self.environment.config.tokens.join(format!("{serial}.slot"))
    }

    fn stand(&self, serial: &str, exists: bool) -> Soft {
        let soft = Soft {
            path: self.path(serial),
            serial: serial.to_owned(),
            environment: self.environment.clone(),
            state: RwLock::new(State::default()),
            views: super::views::Views::new(),
            file: OnceLock::new(),
            changes: AtomicU64::new(1),
            objects: Arc::new(Objects::new()),
            policy: RwLock::default(),
            authenticating: Mutex::new(()),
        };
        if exists {
            soft.appear();
        }
        soft
    }

    /// The serial of the next token of this directory. It is computed, not drawn, so that the free slot has the same ID in
    /// every process; the machine's ID makes it differ between machines, the count between the tokens of one directory.
    fn next_serial(&self, taken: &[String]) -> String {
        let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
        let directory = self.environment.config.tokens.as_os_str().as_encoded_bytes();
        let slots: Vec<u64> = taken.iter().map(|serial| slot_of(serial)).collect();
        let mut count = 0u64;
        loop {
            let input = [b"keyward token serial\0".as_slice(), &machine, b"\0", directory, b"\0", &count.to_be_bytes()];
            let digest = hash(Digest::Sha256, &input.concat());
            let serial: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            if slot_of(&serial) != 0 && !slots.contains(&slot_of(&serial)) {
                return serial;
            }
            count = count.wrapping_add(1);
        }
    }
}

impl Soft {
    /// Opens the slot file if it is not open: it was there from the start, or another process has made it.
    fn appear(&self) {
        if !self.state.read().blank() {
            return;
        }
        let appeared = self.change_state(|state| {
            if !state.blank() {
                return false;
            }
            let opened = self
                .environment
                .device_secret(false)
                .and_then(|device| SlotFile::open(&self.path, device, self.environment.rules()));
            *state = State::new(Some(opened));
            if let Some(file) = &state.file {
                let _ = self.file.set(file.clone());
            }
            true
        });
        if appeared {
            self.changed();
        }
    }
}

/// The serials of the slot files, sorted. A directory that does not exist yet holds none.
fn serials(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let mut serials = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unreadable(directory, &error))?.file_name();
        if let Some(serial) = name.to_str().and_then(|name| name.strip_suffix(".slot"))
            && is_serial(serial)
        {
            serials.push(serial.to_owned());
        }
    }
    serials.sort();
    Ok(serials)
}

fn is_serial(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Low 31 bits of the serial.
fn slot_of(serial: &str) -> u64 {
    u64::from_str_radix(serial, 16).unwrap_or_default() & 0x7fff_ffff
}

fn unreadable(directory: &Path, error: &std::io::Error) -> crate::error::Error {
    Code::DeviceError.because(format!(
        "cannot read the token directory {}: {error}; check its owner and permissions, or the `tokens` line of the configuration",
        directory.display()
    ))
}
