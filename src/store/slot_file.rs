//! One open token: its header, its PINs, its life from initialisation to initialisation.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use super::anchor::{Anchor, state_hash};
use super::auth::{Count, Good, Holder, Try, is_stronger, kdf_of, login_for, login_of, remembered, row_of};
use super::device::DeviceSecret;
use super::engine::{AuthRow, Batch, Flush, MetaRow, Store, TokenRows};
use super::format::HeaderBytes;
use super::group::Group;
use super::keys::{Account, Keys, Master, Role};
use super::ledger::{Ledger, Sum};
use super::sqlite::Sqlite;
use crate::config::KdfPreset;
use crate::error::{Code, Result};
use crate::os;

/// What the configuration says of PINs. The store does not judge a PIN's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For PINs set from now on; each login record keeps its own.
    pub kdf: KdfPreset,
    /// Wrong PINs until the role is locked.
    pub max_failures: u32,
}

/// Wrong tries of a role, a try under way included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinState {
    pub failures: u32,
    pub max: u32,
}

impl PinState {
    /// `CKF_USER_PIN_COUNT_LOW`, `CKF_SO_PIN_COUNT_LOW`.
    pub fn count_low(self) -> bool {
        self.failures > 0
    }

    /// `CKF_USER_PIN_FINAL_TRY`, `CKF_SO_PIN_FINAL_TRY`.
    pub fn final_try(self) -> bool {
        self.failures.saturating_add(1) == self.max
    }

    /// `CKF_USER_PIN_LOCKED`, `CKF_SO_PIN_LOCKED`.
    pub fn locked(self) -> bool {
        self.failures >= self.max
    }
}

/// What may be known of a token without login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub label: String,
    /// 16 lower-case hexadecimal digits.
    pub serial: String,
    /// New with each initialisation.
    pub uuid: [u8; 16],
    /// Seconds since 1970 at which the token was last initialised.
    pub created: u64,
    pub user_pin_set: bool,
    /// There are named users who log in with `CKU_USER`.
    pub named_users: bool,
    pub so: PinState,
    pub user: PinState,
    /// The medium or the permissions allow reading only.
    pub read_only: bool,
    /// `CKF_ERROR_STATE`: it is an older copy, or damaged objects were met since it was opened. The log says which.
    pub unsound: bool,
}

/// Most bytes of a label.
const LABEL: usize = 255;

/// One open token. Any thread may call at any time; after a fork the child's first call opens the file anew.
pub struct SlotFile {
    pub(super) store: Arc<dyn Store>,
    pub(super) path: PathBuf,
    pub(super) device: Arc<DeviceSecret>,
    pub(super) rules: Rules,
    /// The incarnation of the file that was last found to be the newest state known.
    pub(super) judged: AtomicU64,
    /// Damaged objects that the log has named; 0 stands for the token itself.
    told: Mutex<BTreeSet<u64>>,
    /// Wrong tries of this process where none can be recorded, by account.
    unrecorded: Mutex<HashMap<u8, u32>>,
    /// The public keys, and the epoch at which they were made.
    public: Mutex<Option<(u64, Arc<Keys>)>>,
    pub(super) group: Group,
}

/// A token just initialised: header, label and the security officer's login, and the keys that open them.
struct Fresh {
    keys: Keys,
    header: Vec<u8>,
    label: Vec<u8>,
    so: AuthRow,
}

impl SlotFile {
    /// Makes the file of a new token, which appears under its name complete or not at all. `serial`: 16 hexadecimal
    /// digits; `label`: at most 255 bytes; `so_pin`: the security officer's.
    ///
    /// `CKR_ARGUMENTS_BAD`; `CKR_FUNCTION_FAILED` where the name is taken; `CKR_TOKEN_WRITE_PROTECTED`,
    /// `CKR_DEVICE_MEMORY` (disk full), `CKR_DEVICE_ERROR`.
    pub fn create(
        path: &Path,
        device: Arc<DeviceSecret>,
        rules: Rules,
        serial: &str,
        label: &str,
        so_pin: &[u8],
    ) -> Result<SlotFile> {
        let serial = match u64::from_str_radix(serial, 16) {
            Ok(number) if serial.len() == 16 && !serial.starts_with('+') => number,
            _ => return Err(Code::ArgumentsBad.because(format!("the serial {serial:?} is not 16 hexadecimal digits"))),
        };
        let fresh = Fresh::make(&device, rules, os::random_array()?, serial, label, so_pin)?;
        if let Some(anchor) = Anchor::new(&device, path).filter(|_| !path.exists()) {
            anchor.forget()?;
        }
        let meta = fresh.meta(Ledger::default())?;
        Sqlite::create(path, &meta, &[(Role::SecurityOfficer as u8, fresh.so)])?;
        SlotFile::open(path, device, rules)
    }

    /// Opens an existing token.
    /// `CKR_TOKEN_NOT_RECOGNIZED`: no slot file, a damaged or a newer one, or of another device secret;
    /// `CKR_DEVICE_REMOVED`: no such file; `CKR_GENERAL_ERROR`: its permissions are too loose;
    /// `CKR_TOKEN_WRITE_PROTECTED`: it cannot be opened as things are; `CKR_DEVICE_ERROR`.
    pub fn open(path: &Path, device: Arc<DeviceSecret>, rules: Rules) -> Result<SlotFile> {
        let store: Arc<dyn Store> = Sqlite::open(path)?;
        let file = SlotFile {
            store,
            path: path.to_owned(),
            device,
            rules,
            // No incarnation has this number before all others had it.
            judged: AtomicU64::new(u64::MAX),
            told: Mutex::default(),
            unrecorded: Mutex::default(),
            public: Mutex::default(),
            group: Group::default(),
        };
        file.header()?;
        Ok(file)
    }

    /// `C_InitToken` on a token that is: its objects and the user's PIN go, keys and UUID are new, the serial and the
    /// security officer's PIN stay. Ids go on: none is given twice. `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`,
    /// `CKR_ARGUMENTS_BAD`, `CKR_FUNCTION_FAILED` (initialised by another process meanwhile), and those of writing.
    pub fn reinitialise(&self, so_pin: &[u8], label: &str) -> Result<()> {
        let good = self.recorded(Role::SecurityOfficer, so_pin)?;
        let (header, ..) = self.open_public()?;
        let so_pin = good.bare(so_pin);
        let fresh = Fresh::make(&self.device, self.rules, os::random_array()?, header.serial, label, so_pin)?;
        self.write(Flush::Before, &mut |batch, mark| {
            let rows = self.same_token(batch, &good.uuid)?;
            let public = Keys::public(&self.device, good.uuid)?;
            let known = mark.map_or(0, |mark| mark.commits);
            let commits = Ledger::open(&public, &rows.meta).map_or(known, |ledger| ledger.commits);
            batch.wipe()?;
            batch.set_meta(&fresh.meta(Ledger { commits, here: state_hash(&rows.meta), ..Ledger::default() })?)?;
            batch.set_auth(Role::SecurityOfficer as u8, &fresh.so)
        })
    }

    /// Whether this is the role's PIN, as a login would find; nothing is unlocked. Errors as for [`SlotFile::unlock`].
    pub fn check_pin(&self, role: Role, pin: &[u8]) -> Result<()> {
        self.recorded(role, pin).map(drop)
    }

    /// Ends the token: its objects go as in [`SlotFile::reinitialise`], are overwritten, and the file is removed. Who stops
    /// half way leaves an empty token with the same SO PIN. Errors as for `reinitialise`, and those of removing a file.
    pub fn remove(self, so_pin: &[u8]) -> Result<()> {
        self.reinitialise(so_pin, &self.header()?.label)?;
        // Where somebody reads an older state meanwhile, it goes with the file.
        let _ = self.forget_removed();
        let SlotFile { store, path, device, .. } = self;
        // The engine, when it closes, may still write: before the file goes, not after.
        drop(store);
        Sqlite::remove(&path)?;
        Anchor::new(&device, &path).map_or(Ok(()), |anchor| anchor.forget())
    }

    /// `CKR_TOKEN_NOT_RECOGNIZED`, `CKR_DEVICE_ERROR`, `CKR_DEVICE_REMOVED`.
    pub fn header(&self) -> Result<Header> {
        // In this order: see `newest`.
        let mark = self.anchor().and_then(|anchor| anchor.read());
        let (header, keys, rows) = self.open_public()?;
        let sound = self.judge(&rows, mark.as_ref());
        let label = keys.public_half().state.open(&label_aad(&rows.meta.header), &rows.meta.label);
        let label = label
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
            .ok_or_else(|| Code::TokenNotRecognized.because("the slot file's header is damaged or was altered"))?;
        let state = |role: Role| -> Result<Option<PinState>> {
            let login = login_of(&self.device, &header.uuid, role, &rows)?;
            let count = login.map(|(login, count)| remembered(count, &login, role, &header.uuid, mark.as_ref()));
            Ok(count.map(|count| PinState { failures: count.failures, max: self.rules.max_failures }))
        };
        let none = PinState { failures: 0, max: self.rules.max_failures };
        let user = state(Role::User)?;
        // What is wrong with it costs the officer's login, and no application.
        let so = state(Role::SecurityOfficer).unwrap_or_else(|error| {
            self.tell(0, &error);
            None
        });
        Ok(Header {
            label,
            serial: format!("{:016x}", header.serial),
            uuid: header.uuid,
            created: header.created,
            user_pin_set: user.is_some(),
            named_users: self.names(&rows).iter().any(|(_, profile)| !profile.roles.is_officer()),
            so: so.unwrap_or(none),
            user: user.unwrap_or(none),
            read_only: !self.store.is_writable(),
            unsound: sound.is_err() || self.has_told(),
        })
    }

    /// The keys that a PIN gives. The try is on record, durably, before it is made; a clean login costs one flush. A named user's
    /// PIN stands behind the name, `NAME:PIN`, and the code of a second factor behind the PIN, `PIN:123456`.
    /// `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`; `CKR_USER_TYPE_INVALID` for a named user of the
    /// other role.
    pub fn unlock(&self, role: Role, pin: &[u8]) -> Result<Arc<Keys>> {
        self.unlock_as(false, role, pin)
    }

    /// The same for the user of that name; a name that nobody has is a wrong PIN. `CKR_USER_TYPE_INVALID` also where the token has
    /// no named users at all.
    pub fn unlock_named(&self, role: Role, name: &str, pin: &[u8]) -> Result<Arc<Keys>> {
        match self.account_named(name)? {
            Some(account) => self.unlock_account(false, role, account, pin),
            None if !self.has_named_users()? => {
                Err(Code::UserTypeInvalid.because("the token's users have no names; log in without one"))
            }
            None => {
                super::auth::pretend(self.rules.kdf, pin)?;
                Err(Code::PinIncorrect.because(format!("wrong PIN of the user {name}")))
            }
        }
    }

    pub(super) fn unlock_as(&self, accepting: bool, role: Role, pin: &[u8]) -> Result<Arc<Keys>> {
        match self.account_before(pin)? {
            Some((account, rest)) => self.unlock_account(accepting, role, account, rest),
            None => self.unlock_account(accepting, role, role.into(), pin),
        }
    }

    fn unlock_account(&self, accepting: bool, role: Role, account: Account, pin: &[u8]) -> Result<Arc<Keys>> {
        self.check_type(role, account)?;
        let writable = self.store.is_writable();
        let good = match writable {
            true => Try { accepting, ..self.attempt(account)? }.run(pin)?,
            false => self.unrecorded(account, pin)?,
        };
        if writable && !accepting {
            self.tidy(good.bare(pin), &good);
        }
        self.keys_of(good)
    }

    fn keys_of(&self, good: Good) -> Result<Arc<Keys>> {
        let (role, standing) = good.standing();
        let index = self.carried(&good)?;
        let Good { uuid, master, office, .. } = good;
        let keys = match master {
            Some(master) => Keys::after_login(&self.device, uuid, role, master, index.as_ref())?,
            None => Keys::without_master(&self.device, uuid, role)?,
        };
        Ok(Arc::new(keys.with_office(role, office).with_standing(standing)))
    }

    /// What is due at a login and may as well wait for the next one.
    fn tidy(&self, pin: &[u8], good: &Good) {
        let stronger = match is_stronger(kdf_of(self.rules.kdf), good.login.kdf) {
            true => self.replace_login(pin, good),
            false => Ok(()),
        };
        for result in [stronger, self.end_succession(good)] {
            if let Err(error) = result {
                crate::log!(Info, "{}: left for the next login: {error}", self.path.display());
            }
        }
    }

    /// What may be read without login.
    pub fn public_keys(&self) -> Result<Arc<Keys>> {
        // Sampled first: what changes meanwhile is seen at the next call.
        let epoch = self.epoch();
        let kept = || self.public.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((at, keys)) = &*kept()
            && *at == epoch
        {
            return Ok(keys.clone());
        }
        let (_, keys, _) = self.open_public()?;
        let keys = Arc::new(keys);
        *kept() = Some((epoch, keys.clone()));
        Ok(keys)
    }

    /// Replaces a role's own PIN by its old one. Errors as for [`SlotFile::unlock`]; `CKR_FUNCTION_FAILED` where another process
    /// replaced it meanwhile.
    pub fn set_pin(&self, role: Role, old: &[u8], new: &[u8]) -> Result<()> {
        let good = self.recorded(role, old)?;
        self.replace_login(new, &good)
    }

    /// [`SlotFile::set_pin`] of the user of that name.
    pub fn set_pin_named(&self, role: Role, name: &str, old: &[u8], new: &[u8]) -> Result<()> {
        let account = self.account_named(name)?.ok_or(Code::PinIncorrect)?;
        self.check_type(role, account)?;
        let good = self.attempt(account)?.run(old)?;
        self.replace_login(new, &good)
    }

    fn replace_login(&self, new: &[u8], good: &Good) -> Result<()> {
        let account = good.account;
        let generation = good.login.generation.checked_add(1).ok_or(Code::DeviceMemory)?;
        let pepper = good.profile.as_ref().and_then(|profile| profile.pepper.as_ref());
        let holder = Holder { device: &self.device, uuid: &good.uuid, account, pepper };
        let mut login = login_for(holder, (new, generation, self.rules.kdf), &good.held)?;
        self.write(Flush::Before, &mut |batch, _| {
            let rows = self.same_token(batch, &good.uuid)?;
            match login_of(&self.device, &good.uuid, account, &rows)? {
                Some((now, _)) if now.same_pin(&good.login) => login.tail = now.tail,
                _ => return Err(Code::FunctionFailed.because("another process changed this PIN meanwhile")),
            }
            self.touch(batch, &rows, account, &mut login)?;
            batch.set_auth(account.0, &row_of(&self.device, &good.uuid, account, &login, Count::default())?)
        })
    }

    /// Sets the user's PIN by the security officer's keys, forgetting wrong tries. Private objects stay readable.
    /// `CKR_USER_NOT_LOGGED_IN` for other keys; `CKR_FUNCTION_FAILED`: the token has been initialised meanwhile.
    pub fn init_user_pin(&self, so: &Keys, pin: &[u8]) -> Result<()> {
        let (header, _, rows) = self.open_public()?;
        self.follow(so, &rows)?;
        let master = so.master_for_pin_reset()?;
        let before = login_of(&self.device, &header.uuid, Role::User, &rows);
        // A damaged record of the user is what this call mends.
        let generation = before.ok().flatten().map_or(1, |(login, _)| login.generation.saturating_add(1));
        let holder = Holder { device: &self.device, uuid: &so.uuid, account: Role::User.into(), pepper: None };
        let login = login_for(holder, (pin, generation, self.rules.kdf), master)?;
        self.write(Flush::Before, &mut |batch, _| {
            let now = HeaderBytes::decode(&self.same_token(batch, &so.uuid)?.meta.header)?;
            if now.key_version != master.version {
                return Err(Code::FunctionFailed.because("another process rotated the master key meanwhile"));
            }
            let row = row_of(&self.device, &so.uuid, Role::User.into(), &login, Count::default())?;
            batch.set_auth(Role::User as u8, &row)
        })
    }

    /// Changes whenever any process committed anything, and when the file was replaced. Sample it *before* reading what
    /// is to be kept. Some nanoseconds.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.store.epoch()
    }

    pub(super) fn uuid(&self) -> Result<[u8; 16]> {
        Ok(HeaderBytes::decode(&self.store.token()?.meta.header)?.uuid)
    }

    /// A consistent copy as a new file, by the engine's own means: others read and write meanwhile. Put back, it is an
    /// older copy of the token ([`SlotFile::accept`]). `CKR_FUNCTION_FAILED`: the name is taken; `CKR_DEVICE_MEMORY`,
    /// `CKR_DEVICE_ERROR`, `CKR_TOKEN_WRITE_PROTECTED`.
    pub fn backup(&self, to: &Path) -> Result<()> {
        self.store.backup(to)
    }

    /// Makes the file of a token that is to take the place of this one, under another device secret and a new master key: with
    /// its serial, label and UUID, which the policy's signature covers, and no objects. Errors as for [`SlotFile::create`].
    pub fn successor(&self, path: &Path, device: Arc<DeviceSecret>, so_pin: &[u8]) -> Result<SlotFile> {
        let (header, ..) = self.open_public()?;
        let label = self.header()?.label;
        let fresh = Fresh::make(&device, self.rules, header.uuid, header.serial, &label, so_pin)?;
        let meta = fresh.meta(Ledger::default())?;
        Sqlite::create(path, &meta, &[(Role::SecurityOfficer as u8, fresh.so)])?;
        SlotFile::open(path, device, self.rules)
    }

    /// Puts a token that was made elsewhere into its place, whole and durable. What this machine remembered of a former
    /// token of that name is forgotten. The codes of [`SlotFile::backup`].
    pub fn settle(&self, to: &Path, device: &DeviceSecret) -> Result<()> {
        if let Some(anchor) = Anchor::new(device, to).filter(|_| !to.exists()) {
            anchor.forget()?;
        }
        self.store.backup(to)
    }

    /// Gives the space of removed objects back; returns the bytes before and after. Other writers wait meanwhile.
    pub fn compact(&self) -> Result<(u64, u64)> {
        self.store.compact()
    }

    /// Sees to it that nothing of what was removed or overwritten is left in the file or its log. `CKR_FUNCTION_FAILED` where
    /// another process's reading kept it from that: to be repeated.
    pub fn forget_removed(&self) -> Result<()> {
        self.store.cut_log()
    }

    pub(super) fn told(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.told.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn open_public(&self) -> Result<(HeaderBytes, Keys, TokenRows)> {
        let rows = self.store.token()?;
        let header = HeaderBytes::decode(&rows.meta.header)?;
        if self.device.check(&header.uuid)? != header.device_check {
            let why = "the slot file belongs to another device secret than the one configured: use the secret of the \
                       machine that made it";
            return Err(Code::TokenNotRecognized.because(why));
        }
        let keys = Keys::public(&self.device, header.uuid)?;
        Ok((header, keys, rows))
    }

    fn attempt(&self, account: Account) -> Result<Try<'_>> {
        let who = self.shown(account)?;
        Ok(Try { file: self, device: &self.device, account, who, max: self.rules.max_failures, accepting: false })
    }

    /// Of a role's own PIN.
    pub(super) fn recorded(&self, role: Role, pin: &[u8]) -> Result<Good> {
        self.attempt(role.into())?.run(pin)
    }

    fn unrecorded(&self, account: Account, pin: &[u8]) -> Result<Good> {
        let failures = {
            let mut counts = self.unrecorded.lock().unwrap_or_else(|e| e.into_inner());
            let count = counts.entry(account.0).or_default();
            let before = *count;
            *count = count.saturating_add(1);
            before
        };
        let outcome = self.attempt(account)?.run_unrecorded(pin, failures);
        if outcome.is_ok() {
            self.unrecorded.lock().unwrap_or_else(|e| e.into_inner()).remove(&account.0);
        }
        outcome
    }

    /// `CKR_FUNCTION_FAILED` where it is another initialisation's.
    pub(super) fn same_token(&self, batch: &dyn Batch, uuid: &[u8; 16]) -> Result<TokenRows> {
        let rows = batch.token()?;
        match HeaderBytes::decode(&rows.meta.header)?.uuid == *uuid {
            true => Ok(rows),
            false => Err(Code::FunctionFailed.because("another process initialised the token meanwhile")),
        }
    }
}

impl Fresh {
    fn make(
        device: &DeviceSecret,
        rules: Rules,
        uuid: [u8; 16],
        serial: u64,
        label: &str,
        so_pin: &[u8],
    ) -> Result<Fresh> {
        if label.len() > LABEL {
            return Err(Code::ArgumentsBad.because(format!("the label has {} bytes, at most {LABEL}", label.len())));
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let header = HeaderBytes { uuid, serial, created, key_version: 1, device_check: device.check(&uuid)? }.encode();
        let master = Master::random(1)?;
        let account = Account::from(Role::SecurityOfficer);
        let holder = Holder { device, uuid: &uuid, account, pepper: None };
        let login = login_for(holder, (so_pin, 1, rules.kdf), &master)?;
        let so = row_of(device, &uuid, account, &login, Count::default())?;
        let keys = Keys::after_login(device, uuid, Role::SecurityOfficer, master, None)?;
        let label = keys.public_half().state.seal(&label_aad(&header), label.as_bytes())?;
        Ok(Fresh { keys, header, label, so })
    }

    /// Its row, where `ledger` says what was before; there are no objects.
    fn meta(&self, ledger: Ledger) -> Result<MetaRow> {
        let (header, label) = (self.header.clone(), self.label.clone());
        let mut meta = MetaRow { header, label, public_state: Vec::new(), private_state: Vec::new() };
        Ledger { private: Some(Sum::default()), ..ledger }.close(&self.keys, &mut meta)?;
        Ok(meta)
    }
}

pub(super) fn label_aad(header: &[u8]) -> Vec<u8> {
    [b"keyward label", header].concat()
}
