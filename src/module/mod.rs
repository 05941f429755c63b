//! The process-wide state: initialised or not, the sessions, the slots, and what a fork leaves of them.
//!
//! Everything hangs on a chain of worlds, one per process of a line of forks. A child finds itself in a world of another
//! epoch and starts its own with `C_Initialize`; what it inherited stays as it was, neither dropped nor locked, since a
//! lock may be held by a thread that did not come along. Nothing here has a destructor at exit or at unload.

mod elsewhere;
mod slots;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cryptoki_sys::*;
use once_cell::race::OnceBox;

pub use crate::forward::{APART, Threads, serve as serve_apart, survey};
pub use crate::session::Slot;
pub use elsewhere::{look, open_ha, open_overlay, overlay_of};
pub use slots::{Module, Opener, Source, audit_log, compose, open_slots, set_opener};

use crate::config::{Config, LogLevel, LogRules};
use crate::error::{Code, Result};
use crate::log::Level;
use crate::numbers::NumberMap;
use crate::os::fork_epoch;
use crate::session::{Session, hold};
use crate::token::SessionId;

const SHARDS: usize = 64;

/// Each on cache lines of its own: threads in sessions of their own do not disturb each other.
#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<NumberMap<u64, Arc<Session>>>);

/// One process's state.
struct World {
    epoch: u64,
    /// Held through `C_Initialize` and `C_Finalize`: one at a time.
    change: Mutex<()>,
    module: RwLock<Option<Arc<Module>>>,
    sessions: [Shard; SHARDS],
    ordinals: slots::Ordinals,
    /// The world of this process's child, as the child sees it.
    next: OnceBox<World>,
}

static FIRST: OnceBox<World> = OnceBox::new();

/// The next session's number. It goes on across `C_Finalize` and in a child, so that a stale handle never means
/// another session.
static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

impl World {
    /// This process's world, if it ever called `C_Initialize`.
    fn current() -> Option<&'static World> {
        let epoch = fork_epoch();
        let mut world = FIRST.get()?;
        while world.epoch != epoch {
            world = world.next.get()?;
        }
        Some(world)
    }

    fn current_or_new() -> &'static World {
        let epoch = fork_epoch();
        let new = || {
            Box::new(World {
                epoch,
                change: Mutex::new(()),
                module: RwLock::new(None),
                sessions: std::array::from_fn(|_| Shard::default()),
                ordinals: slots::Ordinals::default(),
                next: OnceBox::new(),
            })
        };
        let mut world = FIRST.get_or_init(new);
        while world.epoch != epoch {
            world = world.next.get_or_init(new);
        }
        world
    }

    fn module(&self) -> Result<Arc<Module>> {
        let module = self.module.read().unwrap_or_else(PoisonError::into_inner);
        module.clone().ok_or(Code::CryptokiNotInitialized.into())
    }

    #[allow(clippy::indexing_slicing)] // a remainder of the number of shards
    fn shard(&self, session: u64) -> &RwLock<NumberMap<u64, Arc<Session>>> {
        &self.sessions[session as usize % SHARDS].0
    }

    fn open_sessions(&self, wanted: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut sessions = Vec::new();
        for shard in &self.sessions {
            let shard = shard.0.read().unwrap_or_else(PoisonError::into_inner);
            sessions.extend(shard.values().filter(|session| wanted(session)).cloned());
        }
        sessions
    }

    fn remove(&self, session: u64) -> Option<Arc<Session>> {
        self.shard(session).write().unwrap_or_else(PoisonError::into_inner).remove(&session)
    }
}

/// `C_Initialize`. `CKR_CRYPTOKI_ALREADY_INITIALIZED`, what is wrong with the configuration, and `CKR_NEED_TO_CREATE_THREADS` where an
/// HSM's module cannot do without the threads that the application forbids.
pub fn initialize(threads: Threads) -> Result<()> {
    initialize_with(|| {
        let config = Config::load().inspect_err(|_| log_as(&Config::log_without()))?;
        let config = Arc::new(config);
        log_as(&config.log);
        slots::opener()(config, threads)
    })
}

fn log_as(rules: &LogRules) {
    let level = match rules.level {
        LogLevel::Off => None,
        LogLevel::Error => Some(Level::Error),
        LogLevel::Warn => Some(Level::Warn),
        LogLevel::Info => Some(Level::Info),
        LogLevel::Debug => Some(Level::Debug),
    };
    crate::log::configure(level, rules.file.clone());
}

/// As [`initialize`], over the given slots. For tests, and for programs that compose their own.
pub fn initialize_with(open: impl FnOnce() -> Result<Box<dyn Source>>) -> Result<()> {
    let world = World::current_or_new();
    let _one_at_a_time = hold(&world.change);
    if world.module().is_ok() {
        Err(Code::CryptokiAlreadyInitialized)?;
    }
    let module = Module::new(open()?, Arc::clone(&world.ordinals));
    *world.module.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(module));
    Ok(())
}

/// `C_Finalize`: closes all sessions, logs out, lets go of the slots. `CKR_CRYPTOKI_NOT_INITIALIZED`.
pub fn finalize() -> Result<()> {
    let world = World::current().ok_or(Code::CryptokiNotInitialized)?;
    let _one_at_a_time = hold(&world.change);
    let module = world.module.write().unwrap_or_else(PoisonError::into_inner).take();
    let module = module.ok_or(Code::CryptokiNotInitialized)?;
    module.close();
    for session in world.open_sessions(|_| true) {
        if world.remove(session.id.0).is_some() {
            session.close();
        }
    }
    Ok(())
}

/// The module, for what needs no session. `CKR_CRYPTOKI_NOT_INITIALIZED`.
pub fn module() -> Result<Arc<Module>> {
    World::current().ok_or(Code::CryptokiNotInitialized)?.module()
}

/// The session of a handle. `CKR_CRYPTOKI_NOT_INITIALIZED`, also in a forked child; `CKR_SESSION_HANDLE_INVALID`.
pub fn session(handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
    let world = World::current().ok_or(Code::CryptokiNotInitialized)?;
    let found = world.shard(handle).read().unwrap_or_else(PoisonError::into_inner).get(&handle).cloned();
    match found {
        Some(session) => Ok(session),
        None => world.module().and(Err(Code::SessionHandleInvalid.into())),
    }
}

/// `C_OpenSession`: the new handle, never given before in this process.
pub fn open_session(slot: CK_SLOT_ID, read_write: bool) -> Result<CK_SESSION_HANDLE> {
    let world = World::current().ok_or(Code::CryptokiNotInitialized)?;
    let slot = world.module()?.slot(slot)?;
    let handle = NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
    let session = Arc::new(Session::open(SessionId(handle), slot, read_write)?);
    world.shard(handle).write().unwrap_or_else(PoisonError::into_inner).insert(handle, session);
    // A `C_Finalize` in another thread may have missed it.
    world.module().inspect_err(|_| drop(close_session(handle)))?;
    Ok(handle)
}

/// `C_CloseSession`. `CKR_SESSION_HANDLE_INVALID`.
pub fn close_session(handle: CK_SESSION_HANDLE) -> Result<()> {
    let world = World::current().ok_or(Code::CryptokiNotInitialized)?;
    match world.remove(handle) {
        Some(session) => session.close(),
        None => world.module().and(Err(Code::SessionHandleInvalid.into()))?,
    }
    Ok(())
}

/// `C_CloseAllSessions`. `CKR_SLOT_ID_INVALID`.
pub fn close_all_sessions(slot: CK_SLOT_ID) -> Result<()> {
    let world = World::current().ok_or(Code::CryptokiNotInitialized)?;
    let slot = world.module()?.slot(slot)?;
    for session in world.open_sessions(|session| session.slot.id == slot.id) {
        if world.remove(session.id.0).is_some() {
            session.close();
        }
    }
    Ok(())
}

/// `C_Logout`: of all the application's sessions with the token. `CKR_USER_NOT_LOGGED_IN`.
pub fn logout(session: &Session) -> Result<()> {
    session.logout()?;
    let world = World::current().ok_or(Code::CryptokiNotInitialized)?;
    let slot = session.slot.id;
    world.open_sessions(|session| session.slot.id == slot).iter().for_each(|session| session.after_logout());
    Ok(())
}
