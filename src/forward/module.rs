//! A loaded and initialised module, shared by all slots that lead to it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cryptoki_sys::{CK_FLAGS, CKF_LIBRARY_CANT_CREATE_OS_THREADS, CKR_SESSION_HANDLE_INVALID};
use parking_lot::{Mutex, RwLock};

use super::apart::Apart;
use super::call::{Call, Driver, Reply, Rv};
use super::ffi::Local;
use super::quirks::{self, Quirks};
use crate::config::{IsolationRules, MemberRules};
use crate::error::{Code, Result};
use crate::log;

/// How long the calls of other threads are waited for before a module is initialised anew.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Module {
    path: PathBuf,
    driver: Box<dyn Driver>,
    pub quirks: Quirks,
    /// Held by calls for reading. Counts how often the module was initialised; 0: not yet.
    gate: RwLock<u64>,
}

impl Module {
    pub fn call(&self, call: &Call<'_>, out: Option<&mut [u8]>) -> Rv<Reply> {
        let _in = self.gate.read();
        self.driver.call(call, out)
    }

    /// A call with a handle that the module gave when it was initialised for the time `count`. Since then initialised anew, it
    /// may have given the same number to somebody else.
    pub fn call_of(&self, count: u64, call: &Call<'_>, out: Option<&mut [u8]>) -> Rv<Reply> {
        let now = self.gate.read();
        if *now != count {
            return Err(CKR_SESSION_HANDLE_INVALID);
        }
        self.driver.call(call, out)
    }

    /// Initialises the module if that has not been done; which time it was.
    pub fn started(&self) -> Result<u64> {
        let count = *self.gate.read();
        if count > 0 && self.driver.alive() { Ok(count) } else { self.restart(count) }
    }

    /// Initialises the module anew, unless somebody has since the time `seen`.
    pub fn restart(&self, seen: u64) -> Result<u64> {
        let Some(mut count) = self.gate.try_write_for(PATIENCE) else {
            return Err(Code::DeviceError.because(format!(
                "the module {}: a call in it does not return, so that it cannot be initialised anew; restart the application",
                self.path.display()
            )));
        };
        if *count != seen {
            return Ok(*count);
        }
        if seen > 0 {
            log!(Info, "the module {}: initialising it anew", self.path.display());
            self.driver.stop();
        }
        self.driver.start()?;
        *count = seen.saturating_add(1);
        Ok(*count)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.driver.stop();
    }
}

/// Whether the application lets a module start threads in its process. We ourselves start none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    #[default]
    Allowed,
    Forbidden,
}

impl Threads {
    pub fn of_flags(flags: CK_FLAGS) -> Threads {
        if flags & CKF_LIBRARY_CANT_CREATE_OS_THREADS == 0 { Threads::Allowed } else { Threads::Forbidden }
    }

    pub fn flags(self) -> CK_FLAGS {
        if self == Threads::Forbidden { CKF_LIBRARY_CANT_CREATE_OS_THREADS } else { 0 }
    }
}

/// What slots share a module by. One in this process is the same for all (the configuration sees to it that they say the same of
/// it); a process of its own serves those that say the same.
#[derive(PartialEq, Eq, Hash)]
struct Shared {
    path: PathBuf,
    apart: Option<(IsolationRules, Option<String>, &'static str)>,
}

/// The modules of a configuration, each loaded once.
#[derive(Default)]
pub struct Modules {
    threads: Threads,
    loaded: Mutex<HashMap<Shared, Weak<Module>>>,
}

impl Modules {
    pub fn new(threads: Threads) -> Modules {
        Modules { threads, loaded: Mutex::default() }
    }

    /// Where threads are forbidden, a module that cannot do without is `CKR_NEED_TO_CREATE_THREADS`, which only `C_Initialize` may
    /// answer: so the modules in this process are initialised now. What else is wrong with one is for its slot to find out.
    pub fn agree(&self) -> Result<()> {
        if self.threads == Threads::Allowed {
            return Ok(());
        }
        let loaded: Vec<_> = self
            .loaded
            .lock()
            .iter()
            .filter(|(shared, _)| shared.apart.is_none())
            .map(|(_, module)| module.upgrade())
            .collect();
        for module in loaded.into_iter().flatten() {
            match module.started() {
                Err(error) if error.code() == Code::NeedToCreateThreads => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// `CKR_LIBRARY_LOAD_FAILED`, `CKR_GENERAL_ERROR` for an unknown maker.
    pub fn load(&self, rules: &MemberRules) -> Result<Arc<Module>> {
        let quirks = quirks_of(rules)?;
        let path = rules.module.canonicalize().unwrap_or_else(|_| rules.module.clone());
        let mut modules = self.loaded.lock();
        let apart = rules.isolation.clone().map(|isolation| (isolation, rules.init_args.clone(), quirks.name));
        let key = Shared { path, apart };
        if let Some(module) = modules.get(&key).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let driver = driver(rules, quirks, self.threads)?;
        let module = Arc::new(Module { path: key.path.clone(), driver, quirks, gate: RwLock::new(0) });
        modules.insert(key, Arc::downgrade(&module));
        Ok(module)
    }
}

/// The module in this process, or in one of its own, whose threads are not the application's.
fn driver(rules: &MemberRules, quirks: Quirks, threads: Threads) -> Result<Box<dyn Driver>> {
    let init_args = rules.init_args.as_deref();
    if let Some(isolation) = &rules.isolation {
        return Ok(Box::new(Apart::new(&rules.module, init_args, quirks, isolation)?));
    }
    let local = Local::load(&rules.module, init_args, quirks, threads)?;
    log!(Debug, "the module {}: PKCS#11 {}.{}", rules.module.display(), local.version().0, local.version().1);
    Ok(Box::new(local))
}

fn quirks_of(rules: &MemberRules) -> Result<Quirks> {
    match rules.quirks.as_deref() {
        None | Some("auto") => Ok(quirks::of_module(&rules.module)),
        Some(name) => quirks::named(name).ok_or_else(|| {
            let known: Vec<&str> = quirks::names().collect();
            Code::GeneralError.because(format!(
                "quirks is {name:?} in the configuration; expected \"auto\" or one of {}",
                known.join(", ")
            ))
        }),
    }
}
