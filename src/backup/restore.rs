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
        Ok(Opened { file, scratch })
    }

    /// Checks every record that can be opened: with the user's PIN all, without it the public ones.
    pub fn verify(&self, user_pin: Option<&[u8]>) -> Result<Report> {
        let keys = match user_pin {
            Some(pin) => self.file.unlock(Role::User, pin)?,
            None => self.file.public_keys()?,
        };
        self.file.verify(&keys)
    }

    /// Whether private objects can be opened by somebody: by the user PIN, or a named user's.
    pub fn has_user_pin(&self) -> Result<bool> {
        let header = self.file.header()?;
        Ok(header.user_pin_set || header.named_users)
    }

    /// Of the token that was backed up: new with each of its initialisations.
    pub fn uuid(&self) -> Result<[u8; 16]> {
        Ok(self.file.header()?.uuid)
    }

    /// The last object that is in the backup.
    pub fn last_object(&self, user_pin: &[u8]) -> Result<u64> {
        self.file.last_object(&*self.file.unlock(Role::User, user_pin)?)
    }

    /// The policy that was in force, as its text; `None`: there was none.
    pub fn policy(&self) -> Result<Option<String>> {
        let keys = self.file.public_keys()?;
        let mut after = 0;
        loop {
            let found = self.file.find(&keys, &[], after, BATCH)?;
            let Some(last) = found.last() else { return Ok(None) };
            after = last.id;
            for entry in found {
                if let Some(record) = self.file.read(&keys, entry.id)?
                    && let Some(text) = soft::policy_text(&record.attrs)?
                {
                    return Ok(Some(text));
                }
            }
        }
    }

    /// Brings all objects back, sealed anew under the target's device secret and keys. Both PINs are those of the backup and
    /// stay in force for a new token. Nothing is left half restored.
    ///
    /// `CKR_PIN_INCORRECT`; `CKR_FUNCTION_FAILED` where a token of that serial is there; `CKR_ACTION_PROHIBITED` where the
    /// target holds objects; `CKR_USER_NOT_LOGGED_IN` where a PIN is missing; those of reading and writing.
    pub fn restore(&self, target: &Target<'_>, so_pin: &[u8], user_pin: Option<&[u8]>) -> Result<Restored> {
        let header = self.file.header()?;
        let keys = match (header.user_pin_set || header.named_users, user_pin) {
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
                if self.file.name_before(so_pin).is_some() {
                    let why =
                        "the PIN of the SO's own login is needed, not a named officer's: it is the new token's too";
                    return Err(Code::UserTypeInvalid.because(why));
                }
                // Is it the SO who asks?
                self.file.unlock(Role::SecurityOfficer, so_pin)?;
                let so_pin = self.file.bare_pin(Role::SecurityOfficer, so_pin)?;
                let made = self.scratch.0.join(format!("{}.slot", header.serial));
                let detached = Arc::new(device.detached());
                let new = self.file.successor(&made, detached, so_pin)?;
                let so = new.unlock(Role::SecurityOfficer, so_pin)?;
                if let Some(pin) = user_pin.filter(|_| header.user_pin_set) {
                    if self.file.name_before(pin).is_some() {
                        let why = "the token's own user PIN is needed, not a named user's: it is the new token's too";
                        return Err(Code::UserTypeInvalid.because(why));
                    }
                    new.init_user_pin(&so, pin)?;
                }
                self.file.carry_users(&new, &so)?;
                let new_keys = match user_pin.filter(|_| header.user_pin_set || header.named_users) {
                    Some(pin) => new.unlock(Role::User, pin)?,
                    None => new.public_keys()?,
                };
                let objects = self.copy(&keys, &new, &new_keys, true)?;
                // What was restored is in this backup.
                new.note_backup(new.last_object(&new_keys)?)?;
                os::create_private_dirs(tokens)?;
                new.settle(&path, device)?;
                objects
            }
            Target::Empty { file, user_pin } => {
                if file.count()? > 0 {
                    let why = "the token holds objects: a backup restores into a new or an empty one";
                    return Err(Code::ActionProhibited.because(why));
                }
                self.copy(&keys, file, &*file.unlock(Role::User, user_pin)?, false)?
            }
        };
        Ok(Restored { label: header.label, serial: header.serial, objects })
    }

    /// All objects, in one transaction; returns how many. The policy goes along only where the token stays the same one: its
    /// signature is for that token.
    fn copy(&self, keys: &Keys, to: &SlotFile, to_keys: &Keys, same_token: bool) -> Result<u64> {
        let mut changes = Vec::new();
        let mut left = 0u64;
        let mut after = 0;
        loop {
            let found = self.file.find(keys, &[], after, BATCH)?;
            let Some(last) = found.last() else { break };
            after = last.id;
            for entry in found {
                let Some(record) = self.file.read(keys, entry.id)? else { continue };
                if !same_token && soft::is_policy(&record.attrs)? {
                    left = left.saturating_add(1);
                    continue;
                }
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
        if objects.saturating_add(left) != total {
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
