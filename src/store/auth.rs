//! PINs: how a role's PIN gives the master key, and how wrong ones are counted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use argon2::{Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq;

use super::anchor::Mark;
use super::device::DeviceSecret;
use super::engine::{AuthRow, Batch, Flush, TokenRows, Tries};
use super::format::{HeaderBytes, Kdf, LOGIN, Login, Reader, WRAPPED};
use super::keys::{Account, Master, Role};
use super::seal::{Key, Sealer, hkdf, hmac};
use super::slot_file::SlotFile;
use super::totp;
use super::users::{Addressee, Profile, Register, Standing, altered};
use crate::config::KdfPreset;
use crate::error::{Code, Error, Result};
use crate::os;
use crate::secret::Secret;

pub fn kdf_of(preset: KdfPreset) -> Kdf {
    match preset {
        KdfPreset::Standard => Kdf { memory_kib: 19 * 1024, passes: 2, lanes: 1 },
        KdfPreset::Strong => Kdf { memory_kib: 64 * 1024, passes: 3, lanes: 1 },
    }
}

/// Whether guessing costs more under `one` than under `other`.
pub fn is_stronger(one: Kdf, other: Kdf) -> bool {
    let work = |kdf: Kdf| u64::from(kdf.memory_kib).saturating_mul(u64::from(kdf.passes));
    work(one) > work(other) && one.memory_kib >= other.memory_kib
}

/// S: the PIN stretched.
fn stretch(kdf: Kdf, salt: &[u8; 16], pin: &[u8]) -> Result<Key> {
    let params = Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32))
        .map_err(|e| Code::DeviceError.because(format!("a login record's Argon2 parameters are refused: {e}")))?;
    let mut key: Key = Secret::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(pin, salt, key.expose_mut())
        .map_err(|e| Code::HostMemory.because(format!("Argon2 failed: {e}")))?;
    Ok(key)
}

/// Whose PIN it is. A named user's pepper takes the device secret's place.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub device: &'a DeviceSecret,
    pub uuid: &'a [u8; 16],
    pub account: Account,
    pub pepper: Option<&'a Key>,
}

impl Holder<'_> {
    fn kek(&self, login: &Login, pin: &[u8]) -> Result<Key> {
        let stretched = stretch(login.kdf, &login.salt, pin)?;
        let info: [&[u8]; 4] = [b"keyward kek", self.uuid, &[self.account.0], &login.generation.to_be_bytes()];
        match self.pepper {
            None => self.device.salt_for(&stretched, &info),
            Some(pepper) => hkdf(pepper.expose(), stretched.expose(), &info),
        }
    }

    fn wrap_aad(&self) -> Vec<u8> {
        [b"keyward master key", self.uuid.as_slice(), &[self.account.0]].concat()
    }
}

/// Costs what a try of a PIN costs, for a name that nobody has.
pub fn pretend(preset: KdfPreset, pin: &[u8]) -> Result<()> {
    stretch(kdf_of(preset), &[0; 16], pin).map(drop)
}

/// A login record for `pin`, without a tail, that wraps `held`: the master key, for a named user a key of their own. Slow,
/// as is its purpose: never inside a transaction.
pub fn login_for(
    holder: Holder<'_>,
    (pin, generation, preset): (&[u8], u32, KdfPreset),
    held: &Master,
) -> Result<Login> {
    let kdf = kdf_of(preset);
    let salt = os::random_array()?;
    let mut login = Login { kdf, salt, generation, wrapped: [0; WRAPPED], tail: Vec::new() };
    let mut plain = Secret::new([0u8; 36]);
    let bytes = held.version.to_be_bytes().into_iter().chain(held.key.expose().iter().copied());
    plain.expose_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let sealed = Sealer::new(&holder.kek(&login, pin)?).seal(&holder.wrap_aad(), plain.expose())?;
    login.wrapped = sealed.try_into().map_err(|_| Code::GeneralError)?;
    Ok(login)
}

/// What the record wraps, and a key that this login alone gives; `None`: it was another PIN.
fn open(holder: Holder<'_>, login: &Login, pin: &[u8]) -> Result<Option<(Master, Key)>> {
    let kek = holder.kek(login, pin)?;
    let Some(plain) = Sealer::new(&kek).open(&holder.wrap_aad(), &login.wrapped) else {
        return Ok(None);
    };
    let mut from = Reader(&plain);
    let office = hkdf(&[], kek.expose(), &[b"keyward office"])?;
    Ok(Some((Master { version: from.u32()?, key: Secret::new(from.array()?) }, office)))
}

/// A row with its counter, bound to token and account by the device secret.
pub fn row_of(
    device: &DeviceSecret,
    uuid: &[u8; 16],
    account: Account,
    login: &Login,
    count: Count,
) -> Result<AuthRow> {
    let record = login.encode();
    let mac = mac(device, uuid, account.0, count, &record)?.to_vec();
    Ok(AuthRow { record, failures: count.failures, tried: count.tried, mac })
}

/// A row that counts nothing.
pub fn sealed_row(device: &DeviceSecret, uuid: &[u8; 16], number: u8, record: Vec<u8>) -> Result<AuthRow> {
    let mac = mac(device, uuid, number, Count::default(), &record)?.to_vec();
    Ok(AuthRow { record, failures: 0, tried: 0, mac })
}

/// Wrong tries since the last good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tries under way included.
    pub failures: u32,
    /// When the last of them turned out wrong, in milliseconds since 1970; 0: none has yet.
    pub tried: u64,
}

fn mac(device: &DeviceSecret, uuid: &[u8; 16], number: u8, count: Count, record: &[u8]) -> Result<[u8; 32]> {
    let key = device.derive(b"keyward auth", uuid)?;
    let (failures, tried) = (count.failures.to_be_bytes(), count.tried.to_be_bytes());
    if Account(number).role().is_none() || record.len() != LOGIN {
        let len = u64::try_from(record.len()).unwrap_or(u64::MAX).to_be_bytes();
        return Ok(hmac(&key, &[b"keyward auth 3", &[number], &failures, &tried, &len, record]));
    }
    // Rows of the first format know no time; as the record has one length, the two forms cannot be mistaken.
    let tried: &[u8] = if count.tried == 0 { &[] } else { &tried };
    Ok(hmac(&key, &[&[number], &failures, record, tried]))
}

/// `CKR_DEVICE_ERROR` where the row was altered.
pub fn check_mac(device: &DeviceSecret, uuid: &[u8; 16], number: u8, row: &AuthRow) -> Result<Count> {
    let count = Count { failures: row.failures, tried: row.tried };
    let expected = mac(device, uuid, number, count, &row.record)?;
    if !bool::from(expected.as_slice().ct_eq(&row.mac)) {
        return Err(altered(Account(number)));
    }
    Ok(count)
}

/// An account's login, its wrong tries, and what else belongs to it; `None`: there is no PIN. `CKR_DEVICE_ERROR` where the row
/// was altered, or is none that the register has in force.
pub fn account_of(
    device: &DeviceSecret,
    uuid: &[u8; 16],
    account: Account,
    rows: &TokenRows,
) -> Result<Option<(Login, Count, Option<Profile>)>> {
    let Some((_, row)) = rows.auth.iter().find(|(number, _)| *number == account.0) else { return Ok(None) };
    let count = check_mac(device, uuid, account.0, row)?;
    let login = Login::decode(&row.record)?;
    let profile = match login.tail.is_empty() {
        true => None,
        false => Some(Profile::open(device, uuid, account, &login.tail)?),
    };
    if account == Account::from(Role::User) && profile.is_none() {
        // Never has one: a damaged register costs applications nothing.
        return Ok(Some((login, count, None)));
    }
    let in_force = Register::of(device, uuid, rows)?.revision(account);
    if profile.as_ref().map(|profile| profile.revision) != in_force || (account.is_named() && profile.is_none()) {
        return Err(altered(account));
    }
    Ok(Some((login, count, profile)))
}

/// [`account_of`] without what else belongs to it.
pub fn login_of(
    device: &DeviceSecret,
    uuid: &[u8; 16],
    account: impl Into<Account>,
    rows: &TokenRows,
) -> Result<Option<(Login, Count)>> {
    Ok(account_of(device, uuid, account.into(), rows)?.map(|(login, count, _)| (login, count)))
}

/// The wrong tries that this machine remembers of the PIN now in force, where they are more than the row says: the row
/// may have been put back.
pub fn remembered(
    count: Count,
    login: &Login,
    account: impl Into<Account>,
    uuid: &[u8; 16],
    mark: Option<&Mark>,
) -> Count {
    let account = account.into();
    let known = mark.filter(|mark| mark.uuid == *uuid).map(|mark| mark.of(account, login.generation));
    let failures = known.filter(|known| known.generation == login.generation).map_or(0, |known| known.failures);
    Count { failures: count.failures.max(failures), ..count }
}

/// How long the next try waits after so many wrong ones: nothing after the first, then half a second, doubled with each.
fn pause(failures: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30);
    match failures.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_millis(500).saturating_mul(1 << doublings.min(8)).min(LONGEST),
    }
}

/// What is left of the pause, by a clock that may have been set back: never more than the whole pause.
fn still_to_wait(count: Count, now: u64) -> Duration {
    if count.tried == 0 {
        return Duration::ZERO;
    }
    let whole = pause(count.failures);
    let elapsed = now.checked_sub(count.tried).map_or(Duration::ZERO, Duration::from_millis);
    whole.saturating_sub(elapsed)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0).max(1)
}

/// One try of one PIN.
pub struct Try<'a> {
    pub file: &'a SlotFile,
    pub device: &'a DeviceSecret,
    pub account: Account,
    /// For people: `security officer`, `user anna`.
    pub who: String,
    pub max: u32,
    /// Also where the slot file was found to be an older copy, which is about to be accepted.
    pub accepting: bool,
}

/// What a good PIN gave.
pub struct Good {
    pub uuid: [u8; 16],
    pub account: Account,
    /// What the record wraps.
    pub held: Master,
    /// `None`: a named user whose roles need none.
    pub master: Option<Master>,
    /// What this login alone gives: HKDF(KEK, "keyward office").
    pub office: Key,
    pub login: Login,
    pub profile: Option<Profile>,
    /// All records of the moment at which the login stood there.
    pub auth: Vec<(u8, AuthRow)>,
    /// Bytes of the PIN without the code behind it.
    pin: usize,
}

impl Good {
    /// The PIN that was tried, without the code behind it.
    pub fn bare<'p>(&self, pin: &'p [u8]) -> &'p [u8] {
        pin.get(..self.pin).unwrap_or(pin)
    }

    /// As whom; the role with which they log in.
    pub fn standing(&self) -> (Role, Option<Standing>) {
        match (self.account.role(), &self.profile) {
            (Some(role), _) => (role, None),
            (None, None) => (Role::User, None),
            (None, Some(profile)) => {
                let role = if profile.roles.is_officer() { Role::SecurityOfficer } else { Role::User };
                let (name, roles) = (profile.name.clone(), profile.roles);
                (role, Some(Standing { name, roles, account: self.account, revision: profile.revision }))
            }
        }
    }
}

/// An account as a try finds it.
struct Found {
    rows: TokenRows,
    uuid: [u8; 16],
    login: Login,
    count: Count,
    profile: Option<Profile>,
}

impl Found {
    fn secret(&self) -> Option<&crate::secret::SecretBytes> {
        self.profile.as_ref()?.totp.as_ref()
    }
}

impl Try<'_> {
    /// Waits out the pause that earlier wrong tries have earned, counts the try durably, tries, and takes the count back
    /// if the PIN was good. Where the account has a second factor its code stands behind the PIN, `PIN:123456`, and a wrong one
    /// is a wrong try. `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`; `CKR_DEVICE_ERROR`
    /// where the slot file is an older copy.
    pub fn run(&self, pin: &[u8]) -> Result<Good> {
        let (pin, code) = self.wait(pin)?;
        let mut held = self.file.store.tries(Tries::Together)?;
        let raised = match self.raise() {
            // Perhaps only because good tries of other processes are still under way: wait until none is.
            Err(e) if e.code() == Code::PinLocked => {
                drop(held);
                held = self.file.store.tries(Tries::Alone)?;
                self.raise()?
            }
            other => other?,
        };
        let opened = open(self.holder(&raised), &raised.login, pin)?;
        let good = match opened {
            Some(opened) if self.settle_good(&raised, code)? => opened,
            _ => return Err(self.settle_wrong(&raised)?),
        };
        drop(held);
        self.good(raised, good, pin)
    }

    fn holder<'a>(&'a self, found: &'a Found) -> Holder<'a> {
        let pepper = found.profile.as_ref().and_then(|profile| profile.pepper.as_ref());
        Holder { device: self.device, uuid: &found.uuid, account: self.account, pepper }
    }

    fn good(&self, found: Found, (held, office): (Master, Key), pin: &[u8]) -> Result<Good> {
        let Found { rows, uuid, login, profile, .. } = found;
        let account = self.account;
        let master = match (&profile, account.is_named()) {
            (Some(profile), true) if profile.sealed_master.is_empty() => None,
            (Some(profile), true) => {
                let addressee = Addressee { device: self.device, uuid: &uuid, account, public: &profile.public };
                Some(addressee.open(&held.key, &profile.sealed_master)?)
            }
            _ => Some(Master { version: held.version, key: held.key.duplicate() }),
        };
        Ok(Good { uuid, account, held, master, office, login, profile, auth: rows.auth, pin: pin.len() })
    }

    /// The code behind a PIN, where the account asks for one. A try without it is none.
    fn coded<'p>(&self, found: &Found, pin: &'p [u8]) -> Result<(&'p [u8], &'p [u8])> {
        match (found.secret().is_some(), totp::split(pin)) {
            (false, _) => Ok((pin, &[])),
            (true, Some(parts)) => Ok(parts),
            (true, None) => Err(Code::PinIncorrect.because(format!(
                "the {} has a second factor: give the PIN, a colon and the code of six digits (PIN:123456)",
                self.who
            ))),
        }
    }

    /// Outside of every lock: whoever waits keeps nobody else from a good try.
    fn wait<'p>(&self, pin: &'p [u8]) -> Result<(&'p [u8], &'p [u8])> {
        let found = self.find(self.file.store.token()?)?;
        let parts = self.coded(&found, pin)?;
        if found.count.failures < self.max {
            std::thread::sleep(still_to_wait(found.count, now()));
        }
        Ok(parts)
    }

    fn raise(&self) -> Result<Found> {
        let mut raised = None;
        self.file.write_as(self.accepting, Flush::Before, &mut |batch, mark| {
            let mut found = self.find(batch.token()?)?;
            // Of named users the anchor does not know the PIN: another register, another PIN perhaps.
            let register = Register::of(self.device, &found.uuid, &found.rows);
            let same = |mark: &&Mark| register.as_ref().is_ok_and(|register| register.version == mark.register);
            let mark = mark.filter(|mark| !self.account.is_named() || same(mark));
            found.count = remembered(found.count, &found.login, self.account, &found.uuid, mark);
            if found.count.failures >= self.max {
                return Err(self.locked());
            }
            found.count.failures = found.count.failures.saturating_add(1);
            self.keep(batch, &found)?;
            raised = Some(found);
            Ok(())
        })?;
        raised.ok_or_else(|| Code::GeneralError.into())
    }

    fn keep(&self, batch: &dyn Batch, found: &Found) -> Result<()> {
        batch.set_auth(self.account.0, &row_of(self.device, &found.uuid, self.account, &found.login, found.count)?)
    }

    /// Takes the count back after a good PIN, if its code is good too. Whether it is. That it was used is durable first.
    fn settle_good(&self, raised: &Found, code: &[u8]) -> Result<bool> {
        let flush = if raised.secret().is_some() { Flush::Before } else { Flush::Later };
        let mut good = true;
        self.settle(raised, flush, |found| {
            if let (Some(secret), Some(profile)) = (found.secret(), found.profile.as_ref()) {
                let accepted = totp::accept(secret.expose(), code, now() / 1000, profile.step);
                let Some(step) = accepted else {
                    good = false;
                    return Ok(());
                };
                let profile = Profile { step, ..found.profile.take().unwrap_or_default() };
                found.login.tail = profile.seal(self.device, &found.uuid, self.account)?;
                found.profile = Some(profile);
            }
            found.count = Count::default();
            Ok(())
        })?;
        Ok(good)
    }

    fn settle_wrong(&self, raised: &Found) -> Result<Error> {
        // A good try elsewhere may have cleared our count meanwhile.
        let least = raised.count.failures;
        self.settle(raised, Flush::Later, |found| {
            let missing = u32::from(found.count.failures < least);
            found.count = Count { failures: found.count.failures.saturating_add(missing), tried: now() };
            Ok(())
        })?;
        let left = self.max.saturating_sub(least);
        let what = if raised.secret().is_some() { "PIN or code" } else { "PIN" };
        Ok(Code::PinIncorrect.because(format!("wrong {what} of the {}; {left} tries left", self.who)))
    }

    /// Rewrites the row, unless the PIN or the token has been replaced meanwhile, or it would stay as it is. Need not
    /// be flushed where only the counter changes: what a power cut loses is a lower count, or the time of a try that is counted
    /// already.
    fn settle(&self, raised: &Found, flush: Flush, mut change: impl FnMut(&mut Found) -> Result<()>) -> Result<()> {
        self.file.write_as(self.accepting, flush, &mut |batch, _| {
            let mut found = self.find(batch.token()?)?;
            let before = (found.count, found.login.clone());
            if found.uuid != raised.uuid || !found.login.same_pin(&raised.login) {
                return Ok(());
            }
            change(&mut found)?;
            if (found.count, &found.login) == (before.0, &before.1) { Ok(()) } else { self.keep(batch, &found) }
        })
    }

    fn find(&self, rows: TokenRows) -> Result<Found> {
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        let found = account_of(self.device, &uuid, self.account, &rows)?;
        let (login, count, profile) = found.ok_or_else(|| no_pin(self.account))?;
        Ok(Found { rows, uuid, login, count, profile })
    }

    /// The same on a medium that cannot be written: `failures` so far are the caller's to keep. An account with a second factor
    /// cannot log in: `CKR_TOKEN_WRITE_PROTECTED`.
    pub fn run_unrecorded(&self, pin: &[u8], failures: u32) -> Result<Good> {
        let (rows, mark) = self.file.newest_rows()?;
        let found = self.find(rows)?;
        if found.secret().is_some() {
            let why = "the token cannot be written here, so a code could be used twice: log in where it can be written";
            return Err(Code::TokenWriteProtected.because(why));
        }
        let recorded = remembered(found.count, &found.login, self.account, &found.uuid, mark.as_ref()).failures;
        if recorded.saturating_add(failures) >= self.max {
            return Err(self.locked());
        }
        match open(self.holder(&found), &found.login, pin)? {
            Some(opened) => self.good(found, opened, pin),
            None => Err(Code::PinIncorrect.because(format!("wrong PIN of the {}", self.who))),
        }
    }

    fn locked(&self) -> Error {
        let way = match self.account.role() {
            Some(Role::SecurityOfficer) => "the token must be made anew",
            _ => "the security officer can set a new one",
        };
        Code::PinLocked.because(format!("the PIN of the {} is locked after too many wrong tries: {way}", self.who))
    }
}

fn no_pin(account: Account) -> Error {
    match account.role() {
        Some(Role::User) => Code::UserPinNotInitialized
            .because("the security officer has not set the user's PIN yet: C_InitPIN, or `keyward pin reset`"),
        Some(Role::SecurityOfficer) => Code::DeviceError.because("the security officer's login record is missing"),
        None => Code::PinIncorrect.because("the token has no such user"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_a_clock_set_back_cannot_lengthen_them() {
        let pauses: Vec<u128> = (0..8).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 500, 1000, 2000, 4000, 8000, 16000]);
        assert_eq!(pause(u32::MAX), Duration::from_secs(30));
        let count = Count { failures: 3, tried: 10_000 };
        assert_eq!(still_to_wait(count, 10_400), Duration::from_millis(600));
        assert_eq!(still_to_wait(count, 11_000), Duration::ZERO);
        assert_eq!(still_to_wait(count, 5), Duration::from_secs(1));
        assert_eq!(still_to_wait(Count { tried: 0, ..count }, 10_000), Duration::ZERO);
    }

    #[test]
    fn presets_are_ordered() {
        let (standard, strong) = (kdf_of(KdfPreset::Standard), kdf_of(KdfPreset::Strong));
        assert!(is_stronger(strong, standard) && !is_stronger(standard, strong) && !is_stronger(strong, strong));
    }
}
