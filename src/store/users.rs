//! Named users: what belongs to one (the *profile*, sealed behind the login record), and the *register*, which says which
//! records are in force. docs/slot-file.md, "Users".
//!
//! The master key reaches a user in a box sealed to a public key of theirs, whose private half comes of their PIN. So the
//! security officer gives and takes the master key, and rotates it, without knowing a PIN.

use super::device::DeviceSecret;
use super::engine::{AuthRow, TokenRows};
use super::format::Reader;
use super::keys::{Account, Master};
use super::seal::{Key, Sealer, hkdf};
use crate::crypto::ml_kem::{self, Set};
use crate::crypto::pqc::Private;
use crate::crypto::x25519;
use crate::error::{Code, Error, Result};
use crate::os;
use crate::secret::{Secret, SecretBytes};

/// What a user may do. Exclusive but for [`Roles::USER`] with [`Roles::OPERATOR`], which together are what the token's own
/// user PIN gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u16);

impl Roles {
    /// Policy, users and PINs. Never uses a key.
    pub const OFFICER: Roles = Roles(1);
    /// Uses keys.
    pub const USER: Roles = Roles(2);
    /// Makes, changes, rotates and destroys keys and other token objects. Does not use them.
    pub const OPERATOR: Roles = Roles(4);
    /// Reads and verifies the audit record.
    pub const AUDITOR: Roles = Roles(8);
    /// Makes and verifies backups.
    pub const BACKUP: Roles = Roles(16);
    /// Signs approvals.
    pub const APPROVER: Roles = Roles(32);

    const NAMES: [(Roles, &'static str); 6] = [
        (Roles::OFFICER, "officer"),
        (Roles::USER, "user"),
        (Roles::OPERATOR, "operator"),
        (Roles::AUDITOR, "auditor"),
        (Roles::BACKUP, "backup"),
        (Roles::APPROVER, "approver"),
    ];

    pub fn parse(name: &str) -> Option<Roles> {
        Roles::NAMES.iter().find(|(_, known)| *known == name).map(|(role, _)| *role)
    }

    pub fn names(self) -> Vec<&'static str> {
        Roles::NAMES.iter().filter(|(role, _)| self.has(*role)).map(|(_, name)| *name).collect()
    }

    pub const fn with(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    pub const fn has(self, role: Roles) -> bool {
        self.0 & role.0 != 0
    }

    /// Logs in with `CKU_SO`; the others with `CKU_USER`.
    pub const fn is_officer(self) -> bool {
        self.has(Roles::OFFICER)
    }

    /// Whether they need the master key.
    pub const fn hold_master(self) -> bool {
        self.has(Roles::OFFICER.with(Roles::USER).with(Roles::OPERATOR))
    }

    /// `CKR_ARGUMENTS_BAD` for none, and for duties that are kept apart.
    pub fn check(self) -> Result<()> {
        let apart = self.0.count_ones() > 1 && self != Roles::USER.with(Roles::OPERATOR);
        match (self.0, apart) {
            (0, _) => Err(Code::ArgumentsBad.because("a user needs a role")),
            (_, false) => Ok(()),
            (_, true) => Err(Code::ArgumentsBad.because(format!(
                "the roles {} are kept apart; only user and operator go together",
                self.names().join(" and ")
            ))),
        }
    }
}

/// A named user at the moment of their login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub name: String,
    pub roles: Roles,
    pub(super) account: Account,
    pub(super) revision: u32,
}

/// What belongs to an account beside its PIN.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Profile {
    /// Rises with each change of the record; the register has it too.
    pub revision: u32,
    pub roles: Roles,
    /// Empty for the security officer's own.
    pub name: String,
    /// Takes the device secret's place in a named user's key, and travels with a backup.
    pub pepper: Option<Secret<[u8; 32]>>,
    pub public: Vec<u8>,
    /// The master key, sealed to `public`; empty where the roles need none.
    pub sealed_master: Vec<u8>,
    pub totp: Option<SecretBytes>,
    /// The last step whose code was accepted.
    pub step: u64,
}

const PROFILE: u8 = 1;
/// Longest name in bytes.
const NAME: usize = 32;

impl Profile {
    pub fn duplicate(&self) -> Profile {
        Profile {
            revision: self.revision,
            roles: self.roles,
            name: self.name.clone(),
            pepper: self.pepper.as_ref().map(Secret::duplicate),
            public: self.public.clone(),
            sealed_master: self.sealed_master.clone(),
            totp: self.totp.as_ref().map(Secret::duplicate),
            step: self.step,
        }
    }

    pub fn seal(&self, device: &DeviceSecret, uuid: &[u8; 16], account: Account) -> Result<Vec<u8>> {
        let mut plain = vec![PROFILE];
        plain.extend_from_slice(&self.revision.to_be_bytes());
        plain.extend_from_slice(&self.roles.0.to_be_bytes());
        plain.extend_from_slice(&self.step.to_be_bytes());
        let pepper = self.pepper.as_ref().map_or(&[][..], |pepper| pepper.expose());
        let totp = self.totp.as_ref().map_or(&[][..], |secret| secret.expose());
        for part in [self.name.as_bytes(), pepper, &self.public, &self.sealed_master, totp] {
            let len = u16::try_from(part.len()).map_err(|_| Code::GeneralError)?;
            plain.extend_from_slice(&len.to_be_bytes());
            plain.extend_from_slice(part);
        }
        let plain = SecretBytes::new(plain);
        sealer(device, uuid)?.seal(&aad(uuid, account), plain.expose())
    }

    /// `CKR_DEVICE_ERROR` where it does not open or is of a later kind.
    pub fn open(device: &DeviceSecret, uuid: &[u8; 16], account: Account, tail: &[u8]) -> Result<Profile> {
        let plain = sealer(device, uuid)?.open(&aad(uuid, account), tail).ok_or_else(|| altered(account))?;
        let mut from = Reader(&plain);
        if from.array()? != [PROFILE] {
            return Err(Code::DeviceError.because("a user's record is of a later kind: install a newer keyward"));
        }
        let revision = from.u32()?;
        let roles = Roles(from.u16()?);
        let step = from.u64()?;
        let mut part = || -> Result<Vec<u8>> {
            let len = usize::from(from.u16()?);
            let (part, rest) = from.0.split_at_checked(len).ok_or_else(|| altered(account))?;
            from.0 = rest;
            Ok(part.to_vec())
        };
        let name = String::from_utf8(part()?).map_err(|_| altered(account))?;
        let pepper = SecretBytes::new(part()?);
        let pepper = pepper.expose().as_slice().try_into().ok().map(Secret::new);
        let (public, sealed_master, totp) = (part()?, part()?, part()?);
        let totp = (!totp.is_empty()).then(|| SecretBytes::new(totp));
        Ok(Profile { revision, roles, name, pepper, public, sealed_master, totp, step })
    }
}

fn sealer(device: &DeviceSecret, uuid: &[u8; 16]) -> Result<Sealer> {
    Ok(Sealer::new(&device.derive(b"keyward profile", uuid)?))
}

fn aad(uuid: &[u8; 16], account: Account) -> Vec<u8> {
    [b"keyward profile", uuid.as_slice(), &[account.0]].concat()
}

pub(super) fn altered(account: Account) -> Error {
    let who = account.name();
    Code::DeviceError.because(format!("the login record of a {who} is damaged or was altered; see keyward doctor"))
}

/// `CKR_ARGUMENTS_BAD` unless it is a name: 1 to 32 bytes, letters, digits and `. _ - @`, not one of the roles' own.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || "._-@".contains(c);
    if name.is_empty() || name.len() > NAME || !name.chars().all(plain) || ["so", "user"].contains(&name) {
        let why = "a user's name has 1 to 32 bytes, letters, digits and . _ - @ only, and is neither so nor user";
        return Err(Code::ArgumentsBad.because(why));
    }
    Ok(())
}

/// The private half of a user's key pair: X25519 and ML-KEM-768, both from what the PIN gives.
struct Opener {
    x25519: x25519::PrivateKey,
    ml_kem: ml_kem::PrivateKey,
}

const KEM: Set = Set::MlKem768;

impl Opener {
    fn of(user_key: &Key) -> Result<Opener> {
        let part = |name: &[u8]| hkdf(&[], user_key.expose(), &[b"keyward box", name]);
        let (d, z) = (part(b" d")?, part(b" z")?);
        let seed = SecretBytes::new([d.expose().as_slice(), z.expose()].concat());
        let x25519 = x25519::PrivateKey::new(part(b" x25519")?.expose())?;
        Ok(Opener { x25519, ml_kem: ml_kem::PrivateKey::from_seed(KEM, seed.expose())? })
    }

    fn public(&self) -> Result<Vec<u8>> {
        Ok([self.x25519.public().as_slice(), &self.ml_kem.public()?].concat())
    }
}

/// The public key that goes with what a PIN gives.
pub(super) fn public_of(user_key: &Key) -> Result<Vec<u8>> {
    Opener::of(user_key)?.public()
}

/// For whom a master key is sealed.
pub(super) struct Addressee<'a> {
    pub device: &'a DeviceSecret,
    pub uuid: &'a [u8; 16],
    pub account: Account,
    pub public: &'a [u8],
}

impl Addressee<'_> {
    /// An ephemeral X25519 key, an ML-KEM ciphertext, and the master key under what both and the device secret give.
    pub fn seal(&self, master: &Master) -> Result<Vec<u8>> {
        let (point, kem) = self.public.split_at_checked(x25519::KEY_LEN).ok_or_else(|| altered(self.account))?;
        let ephemeral = x25519::PrivateKey::generate()?;
        let (ciphertext, shared) = ml_kem::PublicKey::new(KEM, kem)?.encapsulate()?;
        let head = [ephemeral.public().as_slice(), &ciphertext].concat();
        let key = self.key(&ephemeral.agree(point)?, &shared, &head)?;
        let mut plain = Secret::new([0u8; 36]);
        let bytes = master.version.to_be_bytes().into_iter().chain(master.key.expose().iter().copied());
        plain.expose_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        let sealed = Sealer::new(&key).seal(&self.aad(), plain.expose())?;
        Ok([head, sealed].concat())
    }

    /// `CKR_DEVICE_ERROR` where it was not sealed to this user.
    pub fn open(&self, user_key: &Key, sealed: &[u8]) -> Result<Master> {
        let opener = Opener::of(user_key)?;
        let at = x25519::KEY_LEN.saturating_add(KEM.ciphertext_len());
        let (head, sealed) = sealed.split_at_checked(at).ok_or_else(|| altered(self.account))?;
        let (point, ciphertext) = head.split_at_checked(x25519::KEY_LEN).ok_or_else(|| altered(self.account))?;
        let key = self.key(&opener.x25519.agree(point)?, &opener.ml_kem.decapsulate(ciphertext)?, head)?;
        let plain = Sealer::new(&key).open(&self.aad(), sealed).ok_or_else(|| altered(self.account))?;
        let mut from = Reader(&plain);
        Ok(Master { version: from.u32()?, key: Secret::new(from.array()?) })
    }

    fn key(&self, agreed: &SecretBytes, shared: &SecretBytes, head: &[u8]) -> Result<Key> {
        let both = SecretBytes::new([agreed.expose().as_slice(), shared.expose()].concat());
        let both = hkdf(&[], both.expose(), &[b"keyward box secrets"])?;
        self.device.salt_for(&both, &[b"keyward box", self.uuid, head, self.public])
    }

    fn aad(&self) -> Vec<u8> {
        [b"keyward box", self.uuid.as_slice(), &[self.account.0]].concat()
    }
}

/// Which records are in force. One row under the device secret's MAC; its version stands in the anchor too, so that an
/// older register shows, and with it every older record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Register {
    /// Rises with each change; 0: there never was one.
    pub version: u64,
    /// Objects up to this id are in a backup that was verified.
    pub backed_up: u64,
    /// Accounts with a profile, and its revision.
    pub accounts: Vec<(Account, u32)>,
    /// Approvals that have been used, and until when they would count.
    pub spent: Vec<([u8; 16], u64)>,
}

/// Number of the row.
pub(super) const REGISTER: u8 = 18;

impl Register {
    pub fn of(device: &DeviceSecret, uuid: &[u8; 16], rows: &TokenRows) -> Result<Register> {
        let Some((_, row)) = rows.auth.iter().find(|(number, _)| *number == REGISTER) else {
            return Ok(Register::default());
        };
        super::auth::check_mac(device, uuid, REGISTER, row)?;
        Register::decode(&row.record)
    }

    pub fn revision(&self, account: Account) -> Option<u32> {
        self.accounts.iter().find(|(known, _)| *known == account).map(|(_, revision)| *revision)
    }

    /// Names a record of that revision; `None`: no record any more.
    pub fn set(&mut self, account: Account, revision: Option<u32>) {
        self.accounts.retain(|(known, _)| *known != account);
        self.accounts.extend(revision.map(|revision| (account, revision)));
    }

    /// The revision of a record that this change brings into force: above every one that was.
    pub fn next(&self) -> Result<u32> {
        let next = self.version.checked_add(1).and_then(|next| u32::try_from(next).ok());
        next.ok_or_else(|| Code::DeviceMemory.because("the token's users have been changed too often"))
    }

    /// A number that no user has.
    pub fn free(&self) -> Result<Account> {
        let mut numbers = (Account::FIRST..Account::FIRST.saturating_add(Account::NAMED)).map(Account);
        numbers
            .find(|account| self.revision(*account).is_none())
            .ok_or_else(|| Code::DeviceMemory.because(format!("a token has at most {} users", Account::NAMED)))
    }

    pub fn row(&self, device: &DeviceSecret, uuid: &[u8; 16]) -> Result<AuthRow> {
        super::auth::sealed_row(device, uuid, REGISTER, self.encode()?)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = [self.version.to_be_bytes(), self.backed_up.to_be_bytes()].concat();
        let count = |len: usize| u16::try_from(len).map(u16::to_be_bytes).map_err(|_| Code::DeviceMemory);
        bytes.extend_from_slice(&count(self.accounts.len())?);
        for (account, revision) in &self.accounts {
            bytes.push(account.0);
            bytes.extend_from_slice(&revision.to_be_bytes());
        }
        bytes.extend_from_slice(&count(self.spent.len())?);
        for (id, until) in &self.spent {
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(&until.to_be_bytes());
        }
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Register> {
        let mut from = Reader(bytes);
        let (version, backed_up) = (from.u64()?, from.u64()?);
        let accounts = (0..from.u16()?).map(|_| Ok((Account(from.array::<1>()?[0]), from.u32()?)));
        let accounts = accounts.collect::<Result<_>>()?;
        let spent = (0..from.u16()?).map(|_| Ok((from.array()?, from.u64()?))).collect::<Result<_>>()?;
        Ok(Register { version, backed_up, accounts, spent })
    }
}

/// A fresh pepper.
pub(super) fn pepper() -> Result<Secret<[u8; 32]>> {
    Ok(Secret::new(os::random_array()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duties_are_kept_apart() {
        let both = Roles::USER.with(Roles::OPERATOR);
        assert!(both.check().is_ok() && both.hold_master() && !both.is_officer());
        assert!(Roles::default().check().is_err());
        for (one, _) in Roles::NAMES {
            assert!(one.check().is_ok());
            for (other, _) in Roles::NAMES.iter().filter(|(other, _)| *other != one && one.with(*other) != both) {
                assert!(one.with(*other).check().is_err(), "{:?}", one.with(*other).names());
            }
        }
        assert!(!Roles::AUDITOR.hold_master() && !Roles::BACKUP.hold_master() && !Roles::APPROVER.hold_master());
        assert_eq!(Roles::parse("auditor"), Some(Roles::AUDITOR));
        assert_eq!(Roles::parse("root"), None);
    }

    #[test]
    fn a_box_opens_for_its_user_on_its_token_alone() {
        let (device, elsewhere) = (DeviceSecret::from_bytes([1; 32]), DeviceSecret::from_bytes([7; 32]));
        let (key, other) = (Key::new([2; 32]), Key::new([3; 32]));
        let public = public_of(&key).unwrap();
        let to = |device, uuid, number| Addressee { device, uuid, account: Account(number), public: &public };
        let master = Master { version: 9, key: Key::new([4; 32]) };
        let sealed = to(&device, &[5; 16], 40).seal(&master).unwrap();
        let opened = to(&device, &[5; 16], 40).open(&key, &sealed).unwrap();
        assert_eq!((opened.version, opened.key.expose()), (9, master.key.expose()));
        assert!(to(&device, &[5; 16], 40).open(&other, &sealed).is_err());
        assert!(to(&device, &[5; 16], 41).open(&key, &sealed).is_err());
        assert!(to(&device, &[6; 16], 40).open(&key, &sealed).is_err());
        assert!(to(&elsewhere, &[5; 16], 40).open(&key, &sealed).is_err());
        assert!(to(&device, &[5; 16], 40).open(&key, &sealed[1..]).is_err());
        assert!(to(&device, &[5; 16], 40).open(&key, &[]).is_err());
    }

    #[test]
    fn profiles_and_registers_read_back_and_refuse_to_be_cut() {
        let device = DeviceSecret::from_bytes([1; 32]);
        let profile = Profile {
            revision: 3,
            roles: Roles::USER,
            name: "anna".into(),
            pepper: Some(Secret::new([9; 32])),
            public: vec![1; 1216],
            sealed_master: vec![2; 40],
            totp: Some(SecretBytes::copy_from(&[3; 20])),
            step: 77,
        };
        let sealed = profile.seal(&device, &[5; 16], Account(40)).unwrap();
        assert_eq!(Profile::open(&device, &[5; 16], Account(40), &sealed).unwrap(), profile);
        assert!(Profile::open(&device, &[5; 16], Account(41), &sealed).is_err());
        let register =
            Register { version: 4, backed_up: 8, accounts: vec![(Account(40), 3)], spent: vec![([1; 16], 99)] };
        let bytes = register.encode().unwrap();
        assert_eq!(Register::decode(&bytes).unwrap(), register);
        for len in 0..bytes.len() {
            assert!(Register::decode(&bytes[..len]).is_err());
        }
        assert_eq!(register.free().unwrap(), Account(32));
    }

    #[test]
    fn names_are_plain() {
        for good in ["anna", "a", "jürgen", "ops.team-1@example"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "so", "user", "a b", "a:b", "a\n", &"x".repeat(33)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
