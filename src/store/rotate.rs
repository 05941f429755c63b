//! Rotating the token's master key while others use the token.
//!
//! All private objects are sealed anew in one transaction; whoever reads meanwhile reads the state before it. Processes
//! that are logged in go on: a record of *succession* hands them the new key. It opens only to who has both the old
//! master key and the device secret, and goes a week later. The index key is carried over, so that no search misses.

use std::time::{SystemTime, UNIX_EPOCH};

use super::auth::{Count, Good, Holder, account_of, login_for, login_of, row_of};
use super::device::DeviceSecret;
use super::engine::{AuthRow, Batch, Flush, ObjectRow, TokenRows};
use super::format::{HeaderBytes, Login, Reader};
use super::keys::{Account, Half, Keys, Master, Role};
use super::ledger::{Ledger, Sum, stored_summand};
use super::seal::{Key, Sealer, hkdf};
use super::slot_file::{SlotFile, label_aad};
use super::users::{Addressee, Register};
use crate::error::{Code, Error, Result};
use crate::secret::Secret;

/// Numbers of records that stand beside the roles' logins.
const SUCCESSION: u8 = 16;
const CARRIED: u8 = 17;

/// Seconds for which processes that are logged in can follow.
const SUCCESSION_LASTS: u64 = 7 * 24 * 3600;

impl SlotFile {
    /// Gives the token a new master key and seals all private objects anew under it. `user_pin` is needed where the user
    /// has a PIN. `progress` hears the objects done and how many there are. Other writers wait until it is through.
    ///
    /// `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`; `CKR_USER_NOT_LOGGED_IN` where the user's PIN is not given;
    /// `CKR_FUNCTION_FAILED` where another process changed a PIN meanwhile; those of writing.
    pub fn rotate(&self, so_pin: &[u8], user_pin: Option<&[u8]>, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let so = self.recorded(Role::SecurityOfficer, so_pin)?;
        let user = user_pin.map(|pin| self.recorded(Role::User, pin)).transpose()?;
        let old = &so.held;
        if user.as_ref().is_some_and(|user| (user.uuid, user.held.version) != (so.uuid, old.version)) {
            return Err(meanwhile());
        }
        let fresh = Master::random(old.version.checked_add(1).ok_or(Code::DeviceMemory)?)?;
        let mut logins = vec![(&so, Role::SecurityOfficer, self.wrap_anew(&so, so_pin, &fresh)?)];
        if let (Some(user), Some(pin)) = (&user, user_pin) {
            logins.push((user, Role::User, self.wrap_anew(user, pin, &fresh)?));
        }
        let carried = self.carried(&so)?;
        self.write(Flush::Before, &mut |batch, _| {
            let rows = self.same_token(batch, &so.uuid)?;
            self.check_unchanged(&rows, &logins)?;
            let master = Master { version: old.version, key: old.key.duplicate() };
            let keys = Keys::after_login(&self.device, so.uuid, Role::User, master, carried.as_ref())?;
            Rotation { file: self, batch, keys: &keys }.run(&rows, &fresh, progress)?;
            for (_, role, login) in &mut logins {
                let now = login_of(&self.device, &so.uuid, *role, &rows)?;
                login.tail = now.map(|(now, _)| now.tail).unwrap_or_default();
                let row = row_of(&self.device, &so.uuid, (*role).into(), login, Count::default())?;
                batch.set_auth(*role as u8, &row)?;
            }
            self.hand_on(batch, &rows, &fresh)?;
            batch.set_auth(SUCCESSION, &succession(&self.device, &so.uuid, old, &fresh)?)
        })
    }

    fn wrap_anew(&self, good: &Good, pin: &[u8], fresh: &Master) -> Result<Login> {
        let generation = good.login.generation.checked_add(1).ok_or(Code::DeviceMemory)?;
        let holder = Holder { device: &self.device, uuid: &good.uuid, account: good.account, pepper: None };
        login_for(holder, (good.bare(pin), generation, self.rules.kdf), fresh)
    }

    /// Seals the fresh master key to every named user who had the old one.
    fn hand_on(&self, batch: &dyn Batch, rows: &TokenRows, fresh: &Master) -> Result<()> {
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        let mut register = Register::of(&self.device, &uuid, rows)?;
        let named: Vec<Account> = register.accounts.iter().map(|(account, _)| *account).collect();
        for account in named.into_iter().filter(|account| account.is_named()) {
            // A damaged record stays as it is: its user's PIN is to be set anew.
            let Ok(Some((mut login, count, Some(mut profile)))) = account_of(&self.device, &uuid, account, rows) else {
                continue;
            };
            if profile.sealed_master.is_empty() {
                continue;
            }
            let to = Addressee { device: &self.device, uuid: &uuid, account, public: &profile.public };
            profile.sealed_master = to.seal(fresh)?;
            profile.revision = register.next()?;
            register.set(account, Some(profile.revision));
            login.tail = profile.seal(&self.device, &uuid, account)?;
            batch.set_auth(account.0, &row_of(&self.device, &uuid, account, &login, count)?)?;
        }
        match register.accounts.is_empty() {
            true => Ok(()),
            false => self.keep_register(batch, &uuid, register),
        }
    }

    fn check_unchanged(&self, rows: &TokenRows, logins: &[(&Good, Role, Login)]) -> Result<()> {
        for role in [Role::SecurityOfficer, Role::User] {
            let known = logins.iter().find(|(_, of, _)| *of == role).map(|(good, ..)| good);
            match (login_of(&self.device, &logins_uuid(logins), role, rows)?, known) {
                (Some((now, _)), Some(good)) if now.same_pin(&good.login) => {}
                (None, None) => {}
                (Some(_), None) => {
                    let why = "the user's PIN is needed too: the new master key is wrapped under both PINs";
                    return Err(Code::UserNotLoggedIn.because(why));
                }
                _ => return Err(meanwhile()),
            }
        }
        Ok(())
    }

    /// The index key that goes with the master key of a login; `None`: it is the master key's own.
    pub(super) fn carried(&self, good: &Good) -> Result<Option<Key>> {
        let row = good.auth.iter().find(|(number, _)| *number == CARRIED);
        let (Some((_, row)), Some(master)) = (row, &good.master) else { return Ok(None) };
        let sealer = carrier(&good.uuid, master)?;
        let plain = sealer.open(&carried_aad(&good.uuid, master.version), &row.record).ok_or_else(|| {
            Code::DeviceError.because("the record of the index key is damaged or was altered; see keyward doctor")
        })?;
        Ok(Some(Secret::new(Reader(&plain).array()?)))
    }

    /// Brings the keys of a login to the master key of `rows`. `CKR_USER_NOT_LOGGED_IN`: they cannot follow any more.
    pub(super) fn follow(&self, keys: &Keys, rows: &TokenRows) -> Result<()> {
        let header = HeaderBytes::decode(&rows.meta.header)?;
        let Some(last) = keys.master() else { return Ok(()) };
        if last.version >= header.key_version || header.uuid != keys.uuid {
            return Ok(());
        }
        let row = rows.auth.iter().find(|(number, _)| *number == SUCCESSION);
        let next = row.and_then(|(_, row)| open_succession(&self.device, &header.uuid, last, &row.record));
        match next {
            Some(next) if next.version == header.key_version => keys.succeed(next),
            _ => Err(rotated()),
        }
    }

    /// [`SlotFile::follow`] to the token as it is now.
    pub(super) fn follow_now(&self, keys: &Keys) -> Result<()> {
        self.follow(keys, &self.store.token()?)
    }

    /// At a login: removes a succession whose time is over.
    pub(super) fn end_succession(&self, good: &Good) -> Result<()> {
        let over = |record: &[u8]| {
            let made = Reader(record).u64().unwrap_or(0);
            // A clock that was set back ends it early rather than never.
            now().checked_sub(made).is_none_or(|age| age > SUCCESSION_LASTS)
        };
        if !good.auth.iter().any(|(number, row)| *number == SUCCESSION && over(&row.record)) {
            return Ok(());
        }
        self.write(Flush::Before, &mut |batch, _| {
            let rows = self.same_token(batch, &good.uuid)?;
            match rows.auth.iter().any(|(number, row)| *number == SUCCESSION && over(&row.record)) {
                true => batch.drop_auth(SUCCESSION),
                false => Ok(()),
            }
        })
    }
}

fn logins_uuid(logins: &[(&Good, Role, Login)]) -> [u8; 16] {
    logins.first().map(|(good, ..)| good.uuid).unwrap_or_default()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn meanwhile() -> Error {
    Code::FunctionFailed.because("another process changed a PIN or the token meanwhile; nothing was rotated")
}

fn rotated() -> Error {
    let why = "the token's master key was rotated, too long ago or more than once since this login: log in again";
    Code::UserNotLoggedIn.because(why)
}

/// The transaction's hands.
struct Rotation<'a> {
    file: &'a SlotFile,
    batch: &'a dyn Batch,
    /// Of the old master key first, then of the new one as well.
    keys: &'a Keys,
}

impl Rotation<'_> {
    fn run(&self, rows: &TokenRows, fresh: &Master, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let mut header = HeaderBytes::decode(&rows.meta.header)?;
        let old_version = self.old()?.version;
        if header.key_version != old_version {
            return Err(meanwhile());
        }
        let mut ledger = Ledger::open(self.keys, &rows.meta)?;
        self.keys.succeed(Master { version: fresh.version, key: fresh.key.duplicate() })?;
        ledger.private = Some(self.objects(old_version, ledger.total, progress)?);
        let label = self.keys.public_half().state.open(&label_aad(&rows.meta.header), &rows.meta.label);
        let label =
            label.ok_or_else(|| Code::DeviceError.because("the slot file's header is damaged or was altered"))?;
        let mut meta = rows.meta.clone();
        header.key_version = fresh.version;
        meta.header = header.encode();
        meta.label = self.keys.public_half().state.seal(&label_aad(&meta.header), &label)?;
        ledger.close(self.keys, &mut meta)?;
        self.batch.set_meta(&meta)?;
        let index = self.keys.half(true)?.index();
        let record = carrier(&header.uuid, fresh)?.seal(&carried_aad(&header.uuid, fresh.version), index.expose())?;
        self.batch.set_auth(CARRIED, &bare(record))
    }

    fn old(&self) -> Result<&Half> {
        self.keys.half(true)
    }

    /// Seals all private objects anew; returns their sum.
    fn objects(&self, old: u32, total: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<Sum> {
        let half = self.keys.half(true)?;
        let (mut sum, mut after, mut done) = (Sum::default(), 0, 0u64);
        while let Some(id) = self.batch.next_object(after)? {
            after = id;
            done = done.saturating_add(1);
            progress(done, total);
            let Some(row) = self.batch.get(id)?.filter(|row| row.private) else { continue };
            let row = match self.object(&row, old, half) {
                Ok(row) => row,
                // A damaged record stays as it is, and costs only itself.
                Err(error) => {
                    self.file.tell(id, &error);
                    row
                }
            };
            sum.add(&stored_summand(half, &row, self.batch)?);
        }
        Ok(sum)
    }

    fn object(&self, old_row: &ObjectRow, old: u32, half: &Half) -> Result<ObjectRow> {
        let before = self.keys.half_of(true, old).ok_or(Code::GeneralError)?;
        let opened = before.open_attrs(old_row)?;
        let mut row = ObjectRow { key_version: half.version, ..old_row.clone() };
        let secret = match old_row.secret_version {
            0 => None,
            _ => {
                let stored = self.batch.secret(row.id)?.and_then(|secret| secret.sealed).unwrap_or_default();
                Some(half.seal_secret(&row, &before.open_secret(old_row, &stored)?)?)
            }
        };
        half.seal_attrs(&mut row, &opened.tags, &opened.attrs)?;
        self.batch.update(&row, Some(secret.as_deref()))?;
        Ok(row)
    }
}

/// A record without a count.
fn bare(record: Vec<u8>) -> AuthRow {
    AuthRow { record, failures: 0, tried: 0, mac: Vec::new() }
}

fn carrier(uuid: &[u8; 16], master: &Master) -> Result<Sealer> {
    Ok(Sealer::new(&hkdf(uuid, master.key.expose(), &[b"keyward carried"])?))
}

fn carried_aad(uuid: &[u8; 16], version: u32) -> Vec<u8> {
    [b"keyward carried index", uuid.as_slice(), &version.to_be_bytes()].concat()
}

/// Time in clear, then the new master key sealed for who has the old one and the device secret.
fn succession(device: &DeviceSecret, uuid: &[u8; 16], old: &Master, fresh: &Master) -> Result<AuthRow> {
    let made = now().to_be_bytes();
    let mut plain = Secret::new([0u8; 36]);
    let bytes = fresh.version.to_be_bytes().into_iter().chain(fresh.key.expose().iter().copied());
    plain.expose_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let sealed = heir(device, uuid, old)?.seal(&succession_aad(uuid, old.version, &made), plain.expose())?;
    Ok(bare([made.as_slice(), &sealed].concat()))
}

fn open_succession(device: &DeviceSecret, uuid: &[u8; 16], old: &Master, record: &[u8]) -> Option<Master> {
    let (made, sealed) = record.split_first_chunk::<8>()?;
    let plain = heir(device, uuid, old).ok()?.open(&succession_aad(uuid, old.version, made), sealed)?;
    let mut from = Reader(&plain);
    Some(Master { version: from.u32().ok()?, key: Secret::new(from.array().ok()?) })
}

fn heir(device: &DeviceSecret, uuid: &[u8; 16], old: &Master) -> Result<Sealer> {
    Ok(Sealer::new(&device.salt_for(&old.key, &[b"keyward succession", uuid])?))
}

fn succession_aad(uuid: &[u8; 16], version: u32, made: &[u8; 8]) -> Vec<u8> {
    [b"keyward succession", uuid.as_slice(), &version.to_be_bytes(), made].concat()
}
