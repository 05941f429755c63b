//! What the rest of the house records by: the modes, one chain per process, and the common flush.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use once_cell::sync::OnceCell;

use super::chain::Chain;
use super::event::{Class, Event, KeyName};
use super::keys::AuditKeys;
use crate::config::{AuditField, AuditMode, AuditRules};
use crate::error::{Code, Error, Result};
use crate::os::{self, LockFile, fork_epoch};
use crate::secret::Secret;

/// The secret of the record, and the directory for its head.
pub type Root = (Secret<[u8; 32]>, PathBuf);

/// The record of one configuration, for one process. Opened at the first event.
pub struct Log {
    rules: AuditRules,
    root: Box<dyn Fn() -> Result<Root> + Send + Sync>,
    keys: OnceCell<(Arc<AuditKeys>, PathBuf)>,
    open: Mutex<Option<Open>>,
    /// The last line that is on the medium. Whoever holds it flushes for all who wait.
    flushed: Mutex<u64>,
    durable: AtomicU64,
    /// When a best-effort event last could not be recorded, in coarse milliseconds.
    complained: AtomicU64,
    /// The process that made it: a child's own `C_Initialize` makes another.
    epoch: u64,
}

struct Open {
    lock: LockFile,
    chain: Chain,
}

/// Lines written under one hold of the lock between processes.
const AT_ONCE: usize = 64;
/// Warnings of lost best-effort events are this many milliseconds apart.
const QUIET: u64 = 10_000;

impl Log {
    pub fn new(rules: AuditRules, root: impl Fn() -> Result<Root> + Send + Sync + 'static) -> Log {
        Log {
            rules,
            root: Box::new(root),
            keys: OnceCell::new(),
            open: Mutex::new(None),
            flushed: Mutex::new(0),
            durable: AtomicU64::new(0),
            complained: AtomicU64::new(0),
            epoch: fork_epoch(),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.rules.directory
    }

    pub fn mode(&self, class: Class) -> AuditMode {
        match class {
            Class::Admin => AuditMode::Durable,
            Class::Login => self.rules.login,
            Class::KeyUse => self.rules.key_use,
            Class::PublicUse => self.rules.public_use,
        }
    }

    pub fn wants(&self, class: Class) -> bool {
        self.mode(class) != AuditMode::Off
    }

    /// A key's name as the configuration lets it be told.
    pub fn key_name(&self, unique_id: &str, label: &str, version: Option<u64>) -> KeyName {
        if !self.rules.redact.contains(&AuditField::Label) {
            return KeyName::new(unique_id, label, version);
        }
        let hidden = self.keys().map_or_else(|_| "redacted".to_owned(), |(keys, _)| keys.hidden(label));
        KeyName::redacted(unique_id, label, &hidden, version)
    }

    /// Records an event by the mode of its class. `CKR_DEVICE_ERROR`: it must be on record and cannot be.
    pub fn record(&self, event: &Event<'_>) -> Result<()> {
        self.record_all(event.class, std::iter::once(*event))
    }

    /// The same for several events of one class, with one flush for all of them.
    pub fn record_all<'a>(&self, class: Class, events: impl IntoIterator<Item = Event<'a>>) -> Result<()> {
        let mode = self.mode(class);
        if mode == AuditMode::Off {
            return Ok(());
        }
        let insist = mode >= AuditMode::Required;
        let mut events = events.into_iter().peekable();
        let mut last = None;
        while let Some(first) = events.peek().copied() {
            let durable = self.durable.load(Ordering::Relaxed);
            // Not all at once: other processes wait for the lock.
            let append = |chain: &mut Chain| {
                events.by_ref().take(AT_ONCE).try_fold(0, |_, event| chain.append(&event, insist, durable))
            };
            match self.with_chain(append) {
                Ok(seq) => last = Some(seq),
                Err(error) if insist => return Err(refused(&error)),
                Err(error) => {
                    self.complain(&first, &error);
                    return Ok(());
                }
            }
        }
        match last {
            Some(seq) if mode == AuditMode::Durable => self.flush(seq).map_err(|error| refused(&error)),
            _ => Ok(()),
        }
    }

    /// Before something that cannot be undone: `CKR_DEVICE_ERROR` where its event must be on record and could not be.
    pub fn ready(&self, class: Class) -> Result<()> {
        match self.mode(class) {
            AuditMode::Off | AuditMode::BestEffort => Ok(()),
            AuditMode::Required | AuditMode::Durable => self.with_chain(Chain::ready).map_err(|error| refused(&error)),
        }
    }

    /// Begins a new file; `accept`: also after damage, which then counts as known. `CKR_DEVICE_ERROR`, and those of
    /// writing.
    pub fn rotate(&self, accept: bool) -> Result<()> {
        self.with_chain(|chain| chain.rotate_now(accept))
    }

    /// The number of the last line that this process knows; `None`: it has not looked.
    pub fn last(&self) -> Option<u64> {
        hold(&self.open).as_ref().map(|open| open.chain.seq())
    }

    /// The keys of the record, and where its head lies.
    pub fn keys(&self) -> Result<&(Arc<AuditKeys>, PathBuf)> {
        self.keys.get_or_try_init(|| {
            let (root, head) = (self.root)()?;
            Ok((Arc::new(AuditKeys::new(&root)?), head))
        })
    }

    fn with_chain<T>(&self, work: impl FnOnce(&mut Chain) -> Result<T>) -> Result<T> {
        if fork_epoch() != self.epoch {
            // Its locks may be held by threads that did not come along.
            return Err(Code::CryptokiNotInitialized.into());
        }
        let mut open = hold(&self.open);
        let path = || self.rules.directory.join("audit.lock");
        let lock = |error: std::io::Error| os::failed("lock", &path(), &error);
        match &mut *open {
            Some(Open { lock: file, chain }) => file.during(|| work(chain)).map_err(lock)?,
            None => {
                os::create_private_dirs(&self.rules.directory)?;
                let (keys, head) = self.keys()?;
                let file = LockFile::open(&path()).map_err(lock)?;
                let (chain, done) = file
                    .during(|| {
                        let mut chain = Chain::open(&self.rules, Arc::clone(keys), head)?;
                        let done = work(&mut chain);
                        Ok::<_, Error>((chain, done))
                    })
                    .map_err(lock)??;
                *open = Some(Open { lock: file, chain });
                done
            }
        }
    }

    /// Group commit: one flush serves all lines that were written before it began.
    fn flush(&self, seq: u64) -> Result<()> {
        let mut flushed = hold(&self.flushed);
        if *flushed >= seq {
            return Ok(());
        }
        let written = hold(&self.open).as_ref().map(|open| (open.chain.seq(), open.chain.file()));
        let (upto, file) = written.ok_or(Code::DeviceError)?;
        file.sync_data().map_err(|error| os::failed("flush", &self.rules.directory, &error))?;
        *flushed = upto;
        self.durable.fetch_max(upto, Ordering::Relaxed);
        Ok(())
    }

    fn complain(&self, event: &Event<'_>, error: &Error) {
        let (now, last) = (os::coarse_millis().max(1), self.complained.load(Ordering::Relaxed));
        if last == 0 || now.saturating_sub(last) >= QUIET {
            self.complained.store(now, Ordering::Relaxed);
            crate::log!(Warn, "not on record: {} ({error})", event.operation);
        }
    }
}

fn refused(error: &Error) -> Error {
    Code::DeviceError.because(format!("refused, since it cannot be put on record: {error}"))
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
