//! PINs: how a role's PIN gives the master key, and how wrong ones are counted.

use argon2::{Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq;

use super::device::DeviceSecret;
use super::engine::{AuthRow, Batch, Flush, Store, TokenRows, Tries};
use super::format::{HeaderBytes, Kdf, Login, Reader, WRAPPED};
use super::keys::{Master, Role};
use super::seal::{Key, Sealer, hmac};
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

fn kek(device: &DeviceSecret, uuid: &[u8; 16], role: Role, login: &Login, pin: &[u8]) -> Result<Sealer> {
    let stretched = stretch(login.kdf, &login.salt, pin)?;
    let info: [&[u8]; 4] = [b"keyward kek", uuid, &[role as u8], &login.generation.to_be_bytes()];
    Ok(Sealer::new(&device.salt_for(&stretched, &info)?))
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
    let sealed = kek(device, uuid, role, &login, pin)?.seal(&wrap_aad(uuid, role), plain.expose())?;
    login.wrapped = sealed.try_into().map_err(|_| Code::GeneralError)?;
    Ok(login)
}

/// The master key; `None`: it was another PIN.
fn open(device: &DeviceSecret, uuid: &[u8; 16], role: Role, login: &Login, pin: &[u8]) -> Result<Option<Master>> {
    let Some(plain) = kek(device, uuid, role, login, pin)?.open(&wrap_aad(uuid, role), &login.wrapped) else {
        return Ok(None);
    };
    let mut from = Reader(&plain);
    Ok(Some(Master { version: from.u32()?, key: Secret::new(from.array()?) }))
}

fn wrap_aad(uuid: &[u8; 16], role: Role) -> Vec<u8> {
    [b"keyward master key", uuid.as_slice(), &[role as u8]].concat()
}

/// A row with its counter, bound to token and role by the device secret.
pub fn row_of(device: &DeviceSecret, uuid: &[u8; 16], role: Role, login: &Login, failures: u32) -> Result<AuthRow> {
    let record = login.encode();
    Ok(AuthRow { mac: mac(device, uuid, role, failures, &record)?.to_vec(), record, failures })
}

fn mac(device: &DeviceSecret, uuid: &[u8; 16], role: Role, failures: u32, record: &[u8]) -> Result<[u8; 32]> {
    let key = device.derive(b"keyward auth", uuid)?;
    Ok(hmac(&key, &[&[role as u8], &failures.to_be_bytes(), record]))
}

/// The role's login and its wrong tries; `None`: the role has no PIN. `CKR_DEVICE_ERROR` where the row was altered.
pub fn login_of(device: &DeviceSecret, uuid: &[u8; 16], role: Role, rows: &TokenRows) -> Result<Option<(Login, u32)>> {
    let Some((_, row)) = rows.auth.iter().find(|(r, _)| *r == role as u8) else { return Ok(None) };
    let expected = mac(device, uuid, role, row.failures, &row.record)?;
    if !bool::from(expected.as_slice().ct_eq(&row.mac)) {
        let why = format!("the login record of the {} is damaged or was altered; see keyward doctor", role.name());
        return Err(Code::DeviceError.because(why));
    }
    Ok(Some((Login::decode(&row.record)?, row.failures)))
}

/// One try of one PIN.
pub struct Try<'a> {
    pub store: &'a dyn Store,
    pub device: &'a DeviceSecret,
    pub role: Role,
    pub max: u32,
}

/// What a good PIN gave.
pub struct Good {
    pub uuid: [u8; 16],
    pub master: Master,
    pub login: Login,
}

impl Try<'_> {
    /// Counts the try durably, tries, and takes the count back if the PIN was good.
    /// `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`.
    pub fn run(&self, pin: &[u8]) -> Result<Good> {
        let mut held = self.store.tries(Tries::Together)?;
        let raised = match self.raise() {
            // Perhaps only because good tries of other processes are still under way: wait until none is.
            Err(e) if e.code() == Code::PinLocked => {
                drop(held);
                held = self.store.tries(Tries::Alone)?;
                self.raise()?
            }
            other => other?,
        };
        let outcome = open(self.device, &raised.uuid, self.role, &raised.login, pin)?;
        match outcome {
            Some(master) => {
                self.settle(&raised, |_| 0)?;
                drop(held);
                Ok(Good { uuid: raised.uuid, master, login: raised.login })
            }
            None => {
                // A good try elsewhere may have cleared our count meanwhile.
                self.settle(&raised, |now| if now < raised.failures { now.saturating_add(1) } else { now })?;
                let left = self.max.saturating_sub(raised.failures);
                Err(Code::PinIncorrect.because(format!("wrong PIN of the {}; {left} tries left", self.role.name())))
            }
        }
    }

    fn raise(&self) -> Result<Raised> {
        let mut raised = None;
        self.store.write(Flush::Before, &mut |batch| {
            let (header, login, failures) = self.read(batch)?;
            if failures >= self.max {
                return Err(locked(self.role));
            }
            let failures = failures.saturating_add(1);
            batch.set_auth(self.role as u8, &row_of(self.device, &header.uuid, self.role, &login, failures)?)?;
            raised = Some(Raised { uuid: header.uuid, login, failures });
            Ok(())
        })?;
        raised.ok_or_else(|| Code::GeneralError.into())
    }

    /// Rewrites the counter, unless the PIN or the token has been replaced meanwhile, or it would stay as it is.
    /// A lower count need not be flushed: losing it to a power cut errs on the safe side.
    fn settle(&self, raised: &Raised, count: impl Fn(u32) -> u32) -> Result<()> {
        let flush = if count(raised.failures) < raised.failures { Flush::Later } else { Flush::Before };
        if flush == Flush::Before {
            let now = self.now()?;
            if now.is_none_or(|now| count(now) == now) {
                return Ok(());
            }
        }
        self.store.write(flush, &mut |batch| {
            let (header, login, now) = self.read(batch)?;
            if header.uuid != raised.uuid || login != raised.login || count(now) == now {
                return Ok(());
            }
            batch.set_auth(self.role as u8, &row_of(self.device, &header.uuid, self.role, &login, count(now))?)
        })
    }

    fn now(&self) -> Result<Option<u32>> {
        let rows = self.store.token()?;
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        Ok(login_of(self.device, &uuid, self.role, &rows)?.map(|(_, failures)| failures))
    }

    fn read(&self, batch: &dyn Batch) -> Result<(HeaderBytes, Login, u32)> {
        let rows = batch.token()?;
        let header = HeaderBytes::decode(&rows.meta.header)?;
        let found = login_of(self.device, &header.uuid, self.role, &rows)?;
        let (login, failures) = found.ok_or_else(|| no_pin(self.role))?;
        Ok((header, login, failures))
    }

    /// The same on a medium that cannot be written: `failures` so far are the caller's to keep.
    pub fn run_unrecorded(&self, pin: &[u8], failures: u32) -> Result<Good> {
        let rows = self.store.token()?;
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        let found = login_of(self.device, &uuid, self.role, &rows)?;
        let (login, recorded) = found.ok_or_else(|| no_pin(self.role))?;
        if recorded.saturating_add(failures) >= self.max {
            return Err(locked(self.role));
        }
        match open(self.device, &uuid, self.role, &login, pin)? {
            Some(master) => Ok(Good { uuid, master, login }),
            None => Err(Code::PinIncorrect.because(format!("wrong PIN of the {}", self.role.name()))),
        }
    }
}

struct Raised {
    uuid: [u8; 16],
    login: Login,
    failures: u32,
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
        Role::User => Code::UserPinNotInitialized.because("the security officer has not set the user's PIN yet"),
        Role::SecurityOfficer => Code::DeviceError.because("the security officer's login record is missing"),
    }
}
