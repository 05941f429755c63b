//! PINs: how a role's PIN gives the master key, and how wrong ones are counted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use argon2::{Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq;

use super::anchor::Mark;
use super::device::DeviceSecret;
use super::engine::{AuthRow, Batch, Flush, TokenRows, Tries};
use super::format::{HeaderBytes, Kdf, Login, Reader, WRAPPED};
use super::keys::{Master, Role};
use super::seal::{Key, Sealer, hkdf, hmac};
use super::slot_file::SlotFile;
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

fn kek(device: &DeviceSecret, uuid: &[u8; 16], role: Role, login: &Login, pin: &[u8]) -> Result<Key> {
    let stretched = stretch(login.kdf, &login.salt, pin)?;
    let info: [&[u8]; 4] = [b"keyward kek", uuid, &[role as u8], &login.generation.to_be_bytes()];
    device.salt_for(&stretched, &info)
}

/// A login record for `pin`. Slow, as is its purpose: never inside a transaction.
pub fn login_for(
    device: &DeviceSecret,
    uuid: &[u8; 16],
    role: Role,
    (pin, generation, preset): (&[u8], u32, KdfPreset),
    master: &Master,
) -> Result<Login> {
    let kdf = kdf_of(preset);
    let mut login = Login { kdf, salt: os::random_array()?, generation, wrapped: [0; WRAPPED] };
    let mut plain = Secret::new([0u8; 36]);
    let bytes = master.version.to_be_bytes().into_iter().chain(master.key.expose().iter().copied());
    plain.expose_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let sealed = Sealer::new(&kek(device, uuid, role, &login, pin)?).seal(&wrap_aad(uuid, role), plain.expose())?;
    login.wrapped = sealed.try_into().map_err(|_| Code::GeneralError)?;
    Ok(login)
}

/// The master key, and a key that this login alone gives; `None`: it was another PIN.
fn open(
    device: &DeviceSecret,
    uuid: &[u8; 16],
    role: Role,
    login: &Login,
    pin: &[u8],
) -> Result<Option<(Master, Key)>> {
    let kek = kek(device, uuid, role, login, pin)?;
    let Some(plain) = Sealer::new(&kek).open(&wrap_aad(uuid, role), &login.wrapped) else {
        return Ok(None);
    };
    let mut from = Reader(&plain);
    let office = hkdf(&[], kek.expose(), &[b"keyward office"])?;
    Ok(Some((Master { version: from.u32()?, key: Secret::new(from.array()?) }, office)))
}

fn wrap_aad(uuid: &[u8; 16], role: Role) -> Vec<u8> {
    [b"keyward master key", uuid.as_slice(), &[role as u8]].concat()
}

/// A row with its counter, bound to token and role by the device secret.
pub fn row_of(device: &DeviceSecret, uuid: &[u8; 16], role: Role, login: &Login, count: Count) -> Result<AuthRow> {
    let record = login.encode();
    let mac = mac(device, uuid, role, count, &record)?.to_vec();
    Ok(AuthRow { record, failures: count.failures, tried: count.tried, mac })
}

/// Wrong tries since the last good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tries under way included.
    pub failures: u32,
    /// When the last of them turned out wrong, in milliseconds since 1970; 0: none has yet.
    pub tried: u64,
}

fn mac(device: &DeviceSecret, uuid: &[u8; 16], role: Role, count: Count, record: &[u8]) -> Result<[u8; 32]> {
    let key = device.derive(b"keyward auth", uuid)?;
    // Rows of the first format know no time; as the record has one length, the two forms cannot be mistaken.
    let tried = count.tried.to_be_bytes();
    let tried: &[u8] = if count.tried == 0 { &[] } else { &tried };
    Ok(hmac(&key, &[&[role as u8], &count.failures.to_be_bytes(), record, tried]))
}

/// The role's login and its wrong tries; `None`: the role has no PIN. `CKR_DEVICE_ERROR` where the row was altered.
pub fn login_of(
    device: &DeviceSecret,
    uuid: &[u8; 16],
    role: Role,
    rows: &TokenRows,
) -> Result<Option<(Login, Count)>> {
    let Some((_, row)) = rows.auth.iter().find(|(r, _)| *r == role as u8) else { return Ok(None) };
    let count = Count { failures: row.failures, tried: row.tried };
    let expected = mac(device, uuid, role, count, &row.record)?;
    if !bool::from(expected.as_slice().ct_eq(&row.mac)) {
        let why = format!("the login record of the {} is damaged or was altered; see keyward doctor", role.name());
        return Err(Code::DeviceError.because(why));
    }
    Ok(Some((Login::decode(&row.record)?, count)))
}

/// The wrong tries that this machine remembers of the PIN now in force, where they are more than the row says: the row
/// may have been put back.
pub fn remembered(count: Count, login: &Login, role: Role, uuid: &[u8; 16], mark: Option<&Mark>) -> Count {
    let known = mark.filter(|mark| mark.uuid == *uuid).map(|mark| mark.of(role));
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
    pub role: Role,
    pub max: u32,
    /// Also where the slot file was found to be an older copy, which is about to be accepted.
    pub accepting: bool,
}

/// What a good PIN gave.
pub struct Good {
    pub uuid: [u8; 16],
    pub master: Master,
    /// What this role's login alone gives: HKDF(KEK, "keyward office").
    pub office: Key,
    pub login: Login,
    /// All records of the moment at which the login stood there.
    pub auth: Vec<(u8, AuthRow)>,
}

impl Try<'_> {
    /// Waits out the pause that earlier wrong tries have earned, counts the try durably, tries, and takes the count back
    /// if the PIN was good. `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`; `CKR_DEVICE_ERROR`
    /// where the slot file is an older copy.
    pub fn run(&self, pin: &[u8]) -> Result<Good> {
        self.wait()?;
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
        let outcome = open(self.device, &raised.uuid, self.role, &raised.login, pin)?;
        match outcome {
            Some((master, office)) => {
                self.settle(&raised, |_| Count::default())?;
                drop(held);
                Ok(Good { uuid: raised.uuid, master, office, login: raised.login, auth: raised.auth })
            }
            None => {
                // A good try elsewhere may have cleared our count meanwhile.
                let least = raised.failures;
                self.settle(&raised, |count| {
                    let missing = u32::from(count.failures < least);
                    Count { failures: count.failures.saturating_add(missing), tried: now() }
                })?;
                let left = self.max.saturating_sub(raised.failures);
                Err(Code::PinIncorrect.because(format!("wrong PIN of the {}; {left} tries left", self.role.name())))
            }
        }
    }

    /// Outside of every lock: whoever waits keeps nobody else from a good try.
    fn wait(&self) -> Result<()> {
        let rows = self.file.store.token()?;
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        if let Some((_, count)) = login_of(self.device, &uuid, self.role, &rows)?
            && count.failures < self.max
        {
            std::thread::sleep(still_to_wait(count, now()));
        }
        Ok(())
    }

    fn raise(&self) -> Result<Raised> {
        let mut raised = None;
        self.file.write_as(self.accepting, Flush::Before, &mut |batch, mark| {
            let (rows, header, login, count) = self.read(batch)?;
            let count = remembered(count, &login, self.role, &header.uuid, mark);
            if count.failures >= self.max {
                return Err(locked(self.role));
            }
            let count = Count { failures: count.failures.saturating_add(1), ..count };
            batch.set_auth(self.role as u8, &row_of(self.device, &header.uuid, self.role, &login, count)?)?;
            raised = Some(Raised { uuid: header.uuid, login, failures: count.failures, auth: rows.auth });
            Ok(())
        })?;
        raised.ok_or_else(|| Code::GeneralError.into())
    }

    /// Rewrites the counter, unless the PIN or the token has been replaced meanwhile, or it would stay as it is. Need not
    /// be flushed: what a power cut loses is a lower count, or the time of a try that is counted already.
    fn settle(&self, raised: &Raised, change: impl Fn(Count) -> Count) -> Result<()> {
        self.file.write_as(self.accepting, Flush::Later, &mut |batch, _| {
            let (_, header, login, now) = self.read(batch)?;
            let then = change(now);
            if header.uuid != raised.uuid || login != raised.login || then == now {
                return Ok(());
            }
            batch.set_auth(self.role as u8, &row_of(self.device, &header.uuid, self.role, &login, then)?)
        })
    }

    fn read(&self, batch: &dyn Batch) -> Result<(TokenRows, HeaderBytes, Login, Count)> {
        let rows = batch.token()?;
        let header = HeaderBytes::decode(&rows.meta.header)?;
        let found = login_of(self.device, &header.uuid, self.role, &rows)?;
        let (login, count) = found.ok_or_else(|| no_pin(self.role))?;
        Ok((rows, header, login, count))
    }

    /// The same on a medium that cannot be written: `failures` so far are the caller's to keep.
    pub fn run_unrecorded(&self, pin: &[u8], failures: u32) -> Result<Good> {
        let (rows, mark) = self.file.newest_rows()?;
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        let found = login_of(self.device, &uuid, self.role, &rows)?;
        let (login, recorded) = found.ok_or_else(|| no_pin(self.role))?;
        let recorded = remembered(recorded, &login, self.role, &uuid, mark.as_ref()).failures;
        if recorded.saturating_add(failures) >= self.max {
            return Err(locked(self.role));
        }
        match open(self.device, &uuid, self.role, &login, pin)? {
            Some((master, office)) => Ok(Good { uuid, master, office, login, auth: rows.auth }),
            None => Err(Code::PinIncorrect.because(format!("wrong PIN of the {}", self.role.name()))),
        }
    }
}

struct Raised {
    uuid: [u8; 16],
    login: Login,
    failures: u32,
    auth: Vec<(u8, AuthRow)>,
}

fn locked(role: Role) -> Error {
    let way = match role {
        Role::User => "the security officer can set a new one",
        Role::SecurityOfficer => "the token must be made anew",
    };
    Code::PinLocked.because(format!("the PIN of the {} is locked after too many wrong tries: {way}", role.name()))
}

fn no_pin(role: Role) -> Error {
    match role {
        Role::User => Code::UserPinNotInitialized
            .because("the security officer has not set the user's PIN yet: C_InitPIN, or `keyward pin reset`"),
        Role::SecurityOfficer => Code::DeviceError.because("the security officer's login record is missing"),
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
