//! Opening a backup, and bringing it back as a token of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Archive;
use super::share::Share;
use crate::error::{Code, Result};
use crate::os;
use crate::soft;
use crate::store::{Change, DeviceSecret, Keys, Report, Role, Rules, SlotFile};

/// How many objects are read at a time.
const BATCH: usize = 512;

/// A backup that its shares have opened, as a slot file in a directory of its own that goes when this is dropped.
pub struct Opened {
    file: SlotFile,
    rules: Rules,
    // Dropped after the file.
    scratch: Scratch,
}

/// Where to restore.
pub enum Target<'a> {
    /// A new token of this machine, under the serial of the backup.
    New { tokens: &'a Path, device: &'a DeviceSecret },
    /// One that is there and holds nothing, with its own PINs.
    Empty { file: &'a SlotFile, user_pin: &'a [u8] },
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub label: String,
    pub serial: String,
    pub objects: u64,
}

impl Opened {
    /// `scratch`: a directory for this account alone, on a file system that may hold the sealed snapshot for a while.
    /// The codes of [`Share::combine`] and [`Archive::extract`], and those of opening a slot file.
    pub fn open(archive: &Archive, shares: &[Share], scratch: &Path, rules: Rules) -> Result<Opened> {
        let key = Share::combine(&archive.header.id, shares)?;
        let scratch = Scratch::new(scratch)?;
        let path = scratch.0.join("snapshot.slot");
        let device = archive.extract(&key, &path)?;
        let file = SlotFile::open(&path, Arc::new(DeviceSecret::from_bytes(*device.expose())), rules)?;
        Ok(Opened { file, rules, scratch })
    }

    /// Checks every record that can be opened: with the user's PIN all, without it the public ones.
    pub fn verify(&self, user_pin: Option<&[u8]>) -> Result<Report> {
        let keys = match user_pin {
            Some(pin) => self.file.unlock(Role::User, pin)?,
            None => self.file.public_keys()?,
        };
        self.file.verify(&keys)
    }

    pub fn has_user_pin(&self) -> Result<bool> {
        Ok(self.file.header()?.user_pin_set)
    }

    /// Brings all objects back, sealed anew under the target's device secret and keys. Both PINs are those of the backup and
    /// stay in force for a new token. Nothing is left half restored.
    ///
    /// `CKR_PIN_INCORRECT`; `CKR_FUNCTION_FAILED` where a token of that serial is there; `CKR_ACTION_PROHIBITED` where the
    /// target holds objects; `CKR_USER_NOT_LOGGED_IN` where a PIN is missing; those of reading and writing.
    pub fn restore(&self, target: &Target<'_>, so_pin: &[u8], user_pin: Option<&[u8]>) -> Result<Restored> {
        let header = self.file.header()?;
        let keys = match (header.user_pin_set, user_pin) {
            (true, Some(pin)) => self.file.unlock(Role::User, pin)?,
            (true, None) => return Err(Code::UserNotLoggedIn.because("the user PIN of the backed up token is needed")),
            (false, _) => self.file.public_keys()?,
        };
        let objects = match target {
            Target::New { tokens, device } => {
                let path = tokens.join(format!("{}.slot", header.serial));
                if path.exists() {
                    let why =
                        format!("{} is there already: a backup restores into a new or an empty token", path.display());
                    return Err(Code::FunctionFailed.because(why));
                }
                // Is it the SO who asks?
                self.file.unlock(Role::SecurityOfficer, so_pin)?;
                let made = self.scratch.0.join(format!("{}.slot", header.serial));
                let detached = Arc::new(device.detached());
                let new = SlotFile::create(&made, detached, self.rules, &header.serial, &header.label, so_pin)?;
                let new_keys = match user_pin.filter(|_| header.user_pin_set) {
                    Some(pin) => {
                        let so = new.unlock(Role::SecurityOfficer, so_pin)?;
                        new.init_user_pin(&so, pin)?;
                        new.unlock(Role::User, pin)?
                    }
                    None => new.public_keys()?,
                };
                let objects = self.copy(&keys, &new, &new_keys)?;
                os::create_private_dirs(tokens)?;
                new.settle(&path, device)?;
                objects
            }
            Target::Empty { file, user_pin } => {
                if file.count()? > 0 {
                    let why = "the token holds objects: a backup restores into a new or an empty one";
                    return Err(Code::ActionProhibited.because(why));
                }
                self.copy(&keys, file, &*file.unlock(Role::User, user_pin)?)?
            }
        };
        Ok(Restored { label: header.label, serial: header.serial, objects })
    }

    /// All objects, in one transaction.
    fn copy(&self, keys: &Keys, to: &SlotFile, to_keys: &Keys) -> Result<u64> {
        let mut changes = Vec::new();
        let mut after = 0;
        loop {
            let found = self.file.find(keys, &[], after, BATCH)?;
            let Some(last) = found.last() else { break };
            after = last.id;
            for entry in found {
                let Some(record) = self.file.read(keys, entry.id)? else { continue };
                changes.push(Change::Insert {
                    private: record.private,
                    secret: self.file.secret(keys, &record)?,
                    index: soft::index_of(&record.attrs)?,
                    attrs: record.attrs,
                });
            }
        }
        let objects = changes.len() as u64;
        let total = self.file.count()?;
        if objects != total {
            let why = format!("{objects} of {total} objects can be read: nothing was restored");
            return Err(Code::DeviceError.because(why));
        }
        if !changes.is_empty() {
            to.commit(to_keys, changes)?;
        }
        Ok(objects)
    }
}

/// A directory (0700) that goes with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Scratch> {
        let number = u64::from_be_bytes(os::random_array()?);
        let path = parent.join(format!(".keyward-restore-{number:016x}"));
        os::create_private_dirs(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
