//! The overlay file: a slot file of its own, which holds for each key that is not simply active a record of its life, and
//! the policy (docs/ARCHITECTURE.md, "Keys in an HSM").

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::*;
use parking_lot::{Mutex, RwLock};

use super::identity::Identity;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::lifecycle::State;
use crate::lifecycle::policy::{Adopt, Policy};
use crate::object::{Attributes, codec, life, policy};
use crate::store::{Change, DeviceSecret, Keys, Role, Rules, SecretChange, SlotFile};
use crate::token::*;

/// Up to so many records are all looked through whenever others have changed the file.
const LOOKED_THROUGH: u64 = 1000;
/// Index entries read at a time.
const BATCH: usize = 64;

/// What a record is found by, beside attributes. These types are no attributes of objects.
pub const BY_PLACE: CK_ATTRIBUTE_TYPE = KEYWARD_BASE | 0x101;
pub const BY_PRINT: CK_ATTRIBUTE_TYPE = KEYWARD_BASE | 0x102;
/// The HSM's own label and unique ID, where they are others than those shown.
pub const HSM_LABEL: CK_ATTRIBUTE_TYPE = KEYWARD_BASE | 0x103;
pub const HSM_UNIQUE: CK_ATTRIBUTE_TYPE = KEYWARD_BASE | 0x104;
const BY_TRAIT: CK_ATTRIBUTE_TYPE = KEYWARD_BASE | 0x105;

/// Something that a search must know of the records as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// To be destroyed, or destroyed.
    Hidden,
    /// A version of a logical key: its label is another than the HSM's.
    Version,
}

impl Trait {
    const fn tag(self) -> &'static [u8] {
        match self {
            Trait::Hidden => b"hidden",
            Trait::Version => b"version",
        }
    }
}

/// Where an overlay file lies, and how it is opened.
#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub path: PathBuf,
    device_secret: PathBuf,
    rules: Rules,
}

impl Place {
    pub fn of(config: &Config, name: &str) -> Place {
        Place {
            name: name.to_owned(),
            path: config.tokens.join(format!("{name}.overlay")),
            device_secret: config.device_secret.clone(),
            rules: Rules { kdf: config.kdf, max_failures: config.pin.max_failures },
        }
    }

    /// Makes the file, with its administrator's PIN. The codes of [`SlotFile::create`].
    pub fn create(&self, label: &str, pin: &[u8]) -> Result<()> {
        let directory = self.path.parent().unwrap_or(&self.path);
        crate::os::create_private_dirs(directory)?;
        // A fresh secret beside files that are sealed with another would hide that theirs is lost.
        let load = if sealed_files(directory) { DeviceSecret::load } else { DeviceSecret::load_or_create };
        let device = Arc::new(load(&self.device_secret)?);
        let serial: [u8; 8] = crate::os::random_array()?;
        let serial = format!("{:016x}", u64::from_be_bytes(serial));
        SlotFile::create(&self.path, device, self.rules, &serial, label, pin).map(drop)
    }

    /// Whether this machine remembers a file of that name.
    pub fn is_remembered(&self) -> bool {
        let device = DeviceSecret::load(&self.device_secret).ok();
        let anchor = device.and_then(|device| Some(device.anchors()?.join(format!("{}.anchor", self.name))));
        anchor.is_some_and(|anchor| anchor.exists())
    }

    /// Whether the file can be used as it is. `CKR_DEVICE_ERROR` says why not.
    pub fn check(&self) -> Result<()> {
        Book::new(self.clone()).view().map(drop)
    }

    /// Opens the file. The codes of [`SlotFile::open`].
    pub fn open(&self) -> Result<SlotFile> {
        let device = Arc::new(DeviceSecret::load(&self.device_secret)?);
        SlotFile::open(&self.path, device, self.rules)
    }
}

/// Whether there is any file that hangs on a device secret.
fn sealed_files(directory: &Path) -> bool {
    let mut entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|ending| ending == "slot" || ending == "overlay"))
}

/// The file as one call sees it.
pub struct View {
    pub file: Arc<SlotFile>,
    pub keys: Arc<Keys>,
    pub epoch: u64,
}

/// A key's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: u64,
    version: u64,
    pub attributes: Attributes,
}

/// What is to become of a record.
pub enum Entry {
    New(Attributes),
    Changed(Arc<Record>, Attributes),
    Gone(Arc<Record>),
}

struct Opened {
    file: Arc<SlotFile>,
    keys: Arc<Keys>,
    /// The epoch at which the file was last looked through.
    sound: AtomicU64,
}

/// What is read again only when the file has changed.
#[derive(Default)]
struct Held {
    epoch: u64,
    policy: Option<Arc<SignedPolicy>>,
    adopt: Adopt,
    hidden: bool,
    versions: bool,
}

pub struct Book {
    place: Place,
    opened: RwLock<Option<Arc<Opened>>>,
    held: RwLock<Held>,
    officer: Mutex<Option<Arc<Keys>>>,
    /// One change of the administrator's login at a time.
    pub authenticating: Mutex<()>,
}

fn unusable(name: &str, error: Error) -> Error {
    let why = error.why().unwrap_or(error.code().name());
    Code::DeviceError.because(format!("the overlay {name} of this slot cannot be used, and so no key of it: {why}"))
}

impl Book {
    pub fn new(place: Place) -> Book {
        Book {
            place,
            opened: RwLock::default(),
            held: RwLock::default(),
            officer: Mutex::default(),
            authenticating: Mutex::default(),
        }
    }

    /// The file as it is now. `CKR_DEVICE_ERROR` where it is gone, is an older copy, or was altered: then no key is used.
    pub fn view(&self) -> Result<View> {
        self.try_view().map_err(|error| unusable(&self.place.name, error))
    }

    fn try_view(&self) -> Result<View> {
        let known = self.opened.read().clone();
        let opened = match known {
            Some(opened) => opened,
            None => self.open()?,
        };
        let epoch = opened.file.epoch();
        if epoch == 0 {
            return Err(self.missing());
        }
        if opened.sound.load(Ordering::Acquire) != epoch {
            match opened.file.vouch(&opened.keys, LOOKED_THROUGH) {
                Ok(()) => opened.sound.store(epoch, Ordering::Release),
                Err(error) => {
                    // What stands there may be mended by putting another file there.
                    *self.opened.write() = None;
                    return Err(error);
                }
            }
        }
        Ok(View { file: Arc::clone(&opened.file), keys: Arc::clone(&opened.keys), epoch })
    }

    fn open(&self) -> Result<Arc<Opened>> {
        if !self.place.path.exists() {
            return Err(self.missing());
        }
        let file = self.place.open()?;
        let keys = file.public_keys()?;
        let opened = Arc::new(Opened { file: Arc::new(file), keys, sound: AtomicU64::new(0) });
        *self.opened.write() = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn missing(&self) -> Error {
        Code::DeviceError.because(format!(
            "there is no file {}; restore it, or make the first one with `keyward overlay init`",
            self.place.path.display()
        ))
    }

    /// Whether the file can be used: for the flags of the token.
    pub fn is_sound(&self) -> bool {
        self.try_view().is_ok()
    }

    fn held<T>(&self, view: &View, take: impl Fn(&Held) -> T) -> Result<T> {
        {
            let held = self.held.read();
            if held.epoch == view.epoch {
                return Ok(take(&held));
            }
        }
        let signed = policy::in_force(&view.file)?;
        let adopt = signed.as_ref().and_then(|signed| Policy::parse(&signed.text).ok()).map(|policy| policy.adopt);
        let any = |what: Trait| -> Result<bool> {
            Ok(!view.file.find(&view.keys, &[(BY_TRAIT, what.tag())], 0, 1)?.is_empty())
        };
        let (hidden, versions) = (any(Trait::Hidden)?, any(Trait::Version)?);
        let mut held = self.held.write();
        // The same policy stays the same, so that whoever has looked it through need not do so again.
        if held.policy.as_deref() != signed.as_ref() {
            held.policy = signed.map(Arc::new);
        }
        (held.epoch, held.adopt, held.hidden, held.versions) =
            (view.epoch, adopt.unwrap_or_default(), hidden, versions);
        Ok(take(&held))
    }

    pub fn policy(&self) -> Result<Option<Arc<SignedPolicy>>> {
        let view = self.view()?;
        self.held(&view, |held| held.policy.clone())
    }

    /// What becomes of a key that has no record.
    pub fn adopts(&self, view: &View) -> Result<State> {
        Ok(match self.held(view, |held| held.adopt)? {
            Adopt::Active => State::Active,
            Adopt::PreActive => State::PreActive,
        })
    }

    /// Whether any record has this trait.
    pub fn has(&self, view: &View, what: Trait) -> Result<bool> {
        self.held(view, |held| if what == Trait::Hidden { held.hidden } else { held.versions })
    }

    pub fn sign_policy(&self, text: &str, at: u64) -> Result<()> {
        let view = self.view()?;
        let officer = self.officer.lock().clone();
        let officer = officer.ok_or_else(|| Code::UserNotLoggedIn.because("that is the security officer's to do"))?;
        policy::sign(&view.file, &view.keys, &officer, text, at)?;
        self.written(&view);
        Ok(())
    }

    pub fn officer_is_in(&self) -> bool {
        self.officer.lock().is_some()
    }

    /// The login of the overlay's administrator, who is this slot's security officer.
    pub fn log_officer_in(&self, pin: &[u8]) -> Result<()> {
        let keys = self.view()?.file.unlock(Role::SecurityOfficer, pin)?;
        *self.officer.lock() = Some(keys);
        Ok(())
    }

    /// Whether the pin is the officer's; a locked one ends the login.
    pub fn is_officer(&self, pin: &[u8]) -> Result<()> {
        let unlocked = self.view()?.file.unlock(Role::SecurityOfficer, pin).map(drop);
        if unlocked.as_ref().is_err_and(|error| error.code() == Code::PinLocked) {
            self.log_officer_out();
        }
        unlocked
    }

    /// Whether there was a login to end.
    pub fn log_officer_out(&self) -> bool {
        self.officer.lock().take().is_some()
    }

    pub fn change_pin(&self, old: &[u8], new: &[u8]) -> Result<()> {
        self.view()?.file.set_pin(Role::SecurityOfficer, old, new)
    }

    /// The records under these values; all of them where there are none.
    pub fn find(&self, view: &View, index: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Result<Vec<Arc<Record>>> {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let entries = view.file.find(&view.keys, index, after, BATCH)?;
            for entry in &entries {
                found.extend(self.read(view, entry.id)?);
            }
            match entries.last() {
                Some(last) if entries.len() == BATCH => after = last.id,
                _ => return Ok(found),
            }
        }
    }

    /// A record; `None`: it is gone, or is none (the policy).
    pub fn read(&self, view: &View, id: u64) -> Result<Option<Arc<Record>>> {
        let Some(row) = view.file.read(&view.keys, id)? else { return Ok(None) };
        let attributes = codec::decode(&row.attrs)?;
        let record = Record { id, version: row.version, attributes };
        Ok(life::is_key(&record.attributes).then(|| Arc::new(record)))
    }

    /// Makes all steps in one durable transaction; the new records' ids in their order.
    pub fn commit(&self, view: &View, steps: Vec<Entry>) -> Result<Vec<u64>> {
        let changes = steps.into_iter().map(|step| match step {
            Entry::New(attributes) => Change::Insert {
                private: false,
                attrs: codec::encode(&attributes).expose().clone(),
                secret: None,
                index: index(&attributes),
            },
            Entry::Changed(record, attributes) => Change::Update {
                id: record.id,
                version: record.version,
                private: false,
                attrs: codec::encode(&attributes).expose().clone(),
                secret: SecretChange::Keep,
                index: index(&attributes),
            },
            Entry::Gone(record) => Change::Delete { id: record.id },
        });
        let made = view.file.commit_together(&view.keys, changes.collect())?;
        self.written(view);
        Ok(made)
    }

    /// Sees to it that nothing of what was removed is left in the file.
    pub fn forget_removed(&self, view: &View) -> Result<()> {
        view.file.forget_removed()
    }

    /// What this process has written itself need not be looked through.
    fn written(&self, view: &View) {
        if let Some(opened) = &*self.opened.read() {
            let _ = opened.sound.compare_exchange(view.epoch, opened.file.epoch(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// What a record is found by.
fn index(record: &Attributes) -> Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)> {
    let identity = Identity::of_record(record);
    let mut index = vec![(BY_PLACE, identity.place())];
    index.extend(identity.print.map(|print| (BY_PRINT, print.to_vec())));
    let own = [HSM_UNIQUE, CKA_UNIQUE_ID, CKA_KEYWARD_LOGICAL_KEY, CKA_CLASS];
    index.extend(own.into_iter().filter_map(|ty| Some((ty, record.bytes(ty)?.to_vec()))));
    index.push((CKA_KEYWARD_STATE, (life::state(record) as CK_ULONG).to_ne_bytes().to_vec()));
    if life::state(record).hidden() {
        index.push((BY_TRAIT, Trait::Hidden.tag().to_vec()));
    }
    if record.bytes(CKA_KEYWARD_LOGICAL_KEY).is_some() {
        index.push((BY_TRAIT, Trait::Version.tag().to_vec()));
        index.extend(record.bytes(CKA_LABEL).map(|label| (CKA_LABEL, label.to_vec())));
    }
    index.retain(|(_, value)| !value.is_empty());
    index
}
