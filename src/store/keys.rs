//! The key hierarchy (docs/slot-file.md, "Keys").

use std::sync::OnceLock;

use zeroize::Zeroizing;

use super::device::DeviceSecret;
use super::engine::{ObjectRow, Tag};
use super::format::{decode_attrs, encode_attrs};
use super::seal::{Key, Part, Sealer, aad, hkdf, hmac};
use super::users::Standing;
use crate::crypto::ed25519::{PrivateKey, SIGNATURE_LEN, Scheme};
use crate::error::{Code, Error, Result};
use crate::secret::{Secret, SecretBytes};

/// Who has a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    SecurityOfficer = 1,
    User = 2,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::SecurityOfficer => "security officer",
            Role::User => "user",
        }
    }
}

/// Whose login record: its number. 1 and 2 are the roles' own; named users have those from [`Account::FIRST`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Account(pub u8);

impl Account {
    pub const FIRST: u8 = 32;
    /// How many named users a token has at most.
    pub const NAMED: u8 = 128;

    pub fn is_named(self) -> bool {
        self.0 >= Account::FIRST
    }

    /// The role whose own record it is.
    pub fn role(self) -> Option<Role> {
        [Role::SecurityOfficer, Role::User].into_iter().find(|role| *role as u8 == self.0)
    }

    pub fn name(self) -> &'static str {
        self.role().map_or("named user", Role::name)
    }
}

impl From<Role> for Account {
    fn from(role: Role) -> Account {
        Account(role as u8)
    }
}

/// What a process may read of one token: the public half always, the private half after the user's login. Belongs to
/// the token as it was initialised when they were made; after another initialisation they open nothing.
pub struct Keys {
    pub(super) uuid: [u8; 16],
    role: Option<Role>,
    public: Half,
    private: Option<Link>,
    /// The seed of the security officer's signatures.
    office: Option<Key>,
    /// As whom; `None` for the roles' own logins.
    standing: Option<Standing>,
}

/// A master key and what comes of it. Each rotation that these keys live through adds a link; the last counts. Links
/// stay, so that reading needs no lock.
struct Link {
    master: Master,
    half: Half,
    next: OnceLock<Box<Link>>,
}

/// The token's random master key.
pub(super) struct Master {
    pub version: u32,
    pub key: Key,
}

impl Master {
    pub fn random(version: u32) -> Result<Master> {
        Ok(Master { version, key: Secret::new(crate::os::random_array()?) })
    }
}

impl Keys {
    pub(super) fn public(device: &DeviceSecret, uuid: [u8; 16]) -> Result<Keys> {
        let root = device.derive(b"keyward public", &uuid)?;
        Ok(Keys {
            uuid,
            role: None,
            public: Half::of(&root, &uuid, 1, None)?,
            private: None,
            office: None,
            standing: None,
        })
    }

    /// `index`: the index key that earlier master keys left (see `rotate`); `None`: the master key's own.
    pub(super) fn after_login(
        device: &DeviceSecret,
        uuid: [u8; 16],
        role: Role,
        master: Master,
        index: Option<&Key>,
    ) -> Result<Keys> {
        let half = Half::of(&master.key, &uuid, master.version, index)?;
        let private = Link { master, half, next: OnceLock::new() };
        Ok(Keys { role: Some(role), private: Some(private), ..Keys::public(device, uuid)? })
    }

    /// After the login of somebody whose roles give no master key.
    pub(super) fn without_master(device: &DeviceSecret, uuid: [u8; 16], role: Role) -> Result<Keys> {
        Ok(Keys { role: Some(role), ..Keys::public(device, uuid)? })
    }

    pub(super) fn with_standing(self, standing: Option<Standing>) -> Keys {
        Keys { standing, ..self }
    }

    /// The named user whose login gave them, as it stood then.
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    pub(super) fn with_office(self, role: Role, office: Key) -> Keys {
        Keys { office: (role == Role::SecurityOfficer).then_some(office), ..self }
    }

    /// Signs in the security officer's name: the public key (Ed25519), and the signature. It is another key with each new PIN
    /// of the officer's. `CKR_USER_NOT_LOGGED_IN` for anybody else.
    pub fn sign_as_officer(&self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let seed =
            self.office.as_ref().ok_or_else(|| Code::UserNotLoggedIn.because("only the security officer signs"))?;
        let key = PrivateKey::new(seed.expose())?;
        let mut signature = vec![0; SIGNATURE_LEN];
        key.sign(Scheme::Pure, message, &mut signature)?;
        Ok((key.public().to_vec(), signature))
    }

    /// Goes on with a new master key: the index key stays.
    pub(super) fn succeed(&self, master: Master) -> Result<()> {
        let Some(last) = self.last() else { return Ok(()) };
        let half = Half::of(&master.key, &self.uuid, master.version, Some(&last.half.index))?;
        // Another thread may have been first, with the same.
        let _ = last.next.set(Box::new(Link { master, half, next: OnceLock::new() }));
        Ok(())
    }

    fn last(&self) -> Option<&Link> {
        let mut last = self.private.as_ref()?;
        while let Some(next) = last.next.get() {
            last = next;
        }
        Some(last)
    }

    /// Whose login gave them; `None` without login.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// Whether they read private objects: the user's do. The security officer's only hand the master key on.
    pub fn reads_private(&self) -> bool {
        self.role == Some(Role::User) && self.private.is_some()
    }

    /// The half for new objects of that kind; `CKR_USER_NOT_LOGGED_IN`.
    pub(super) fn half(&self, private: bool) -> Result<&Half> {
        match (private, self.private_half()) {
            (false, _) => Ok(&self.public),
            (true, Some(half)) if self.reads_private() => Ok(half),
            (true, _) => Err(Code::UserNotLoggedIn.because("private objects need the user's login")),
        }
    }

    /// The half under which an object was sealed; `None`: a private one, under a master key not known here.
    pub(super) fn half_of(&self, private: bool, key_version: u32) -> Option<&Half> {
        if !private {
            return Some(&self.public);
        }
        let mut link = self.private.as_ref()?;
        while link.half.version != key_version {
            link = link.next.get()?;
        }
        Some(&link.half)
    }

    /// The private half whoever has logged in: the security officer may check and reset, not read.
    pub(super) fn private_half(&self) -> Option<&Half> {
        self.last().map(|link| &link.half)
    }

    pub(super) fn master(&self) -> Option<&Master> {
        self.last().map(|link| &link.master)
    }

    pub(super) fn public_half(&self) -> &Half {
        &self.public
    }

    /// What `C_InitPIN` wraps anew for the user; `CKR_USER_NOT_LOGGED_IN` unless the security officer has logged in.
    pub(super) fn master_for_pin_reset(&self) -> Result<&Master> {
        match (self.master(), self.role) {
            (Some(master), Some(Role::SecurityOfficer)) => Ok(master),
            _ => Err(Code::UserNotLoggedIn.because("only the security officer sets the user's PIN")),
        }
    }
}

/// The keys for public or for private objects.
pub(super) struct Half {
    uuid: [u8; 16],
    pub version: u32,
    attrs: Sealer,
    secret: Key,
    index: Key,
    digest: Key,
    pub state: Sealer,
}

/// An object's attributes, opened.
pub(super) struct Opened {
    pub tags: Vec<Tag>,
    pub attrs: Vec<u8>,
}

impl Half {
    fn of(root: &Key, uuid: &[u8; 16], version: u32, index: Option<&Key>) -> Result<Half> {
        let key = |purpose: &[u8]| hkdf(uuid, root.expose(), &[purpose]);
        Ok(Half {
            uuid: *uuid,
            version,
            attrs: Sealer::new(&key(b"keyward attrs")?),
            secret: key(b"keyward secret")?,
            index: index.map_or_else(|| key(b"keyward index"), |index| Ok(index.duplicate()))?,
            digest: key(b"keyward digest")?,
            state: Sealer::new(&key(b"keyward state")?),
        })
    }

    /// The key of the index, for those who carry it over to the next master key.
    pub fn index(&self) -> &Key {
        &self.index
    }

    /// The blind index tag of an attribute's value.
    pub fn tag(&self, ty: u64, value: &[u8]) -> Tag {
        let len = u64::try_from(value.len()).unwrap_or(u64::MAX).to_be_bytes();
        hmac(&self.index, &[&ty.to_be_bytes(), &len, value]).first_chunk().copied().unwrap_or_default()
    }

    /// Seals attributes into `row.attrs`; all its other fields must be final.
    pub fn seal_attrs(&self, row: &mut ObjectRow, tags: &[Tag], attrs: &[u8]) -> Result<()> {
        let plain = Zeroizing::new(encode_attrs(tags, attrs)?);
        row.attrs = self.attrs.seal(&aad(&self.uuid, row, Part::Attrs), &plain)?;
        Ok(())
    }

    /// `CKR_DEVICE_ERROR` where the record is damaged.
    pub fn open_attrs(&self, row: &ObjectRow) -> Result<Opened> {
        let plain = self.attrs.open(&aad(&self.uuid, row, Part::Attrs), &row.attrs).ok_or_else(|| damaged(row.id))?;
        let (tags, attrs) = decode_attrs(&plain)?;
        Ok(Opened { tags, attrs: attrs.to_vec() })
    }

    /// The secret of an object, under a key of its own.
    pub fn seal_secret(&self, row: &ObjectRow, secret: &SecretBytes) -> Result<Vec<u8>> {
        self.secret_key(row)?.seal(&aad(&self.uuid, row, Part::Secret), secret.expose())
    }

    /// `CKR_DEVICE_ERROR` where it is damaged.
    pub fn open_secret(&self, row: &ObjectRow, sealed: &[u8]) -> Result<SecretBytes> {
        let opened = self.secret_key(row)?.open(&aad(&self.uuid, row, Part::Secret), sealed);
        let mut plain = opened.ok_or_else(|| damaged(row.id))?;
        Ok(Secret::new(std::mem::take(&mut *plain)))
    }

    fn secret_key(&self, row: &ObjectRow) -> Result<Sealer> {
        let (id, version) = (row.id.to_be_bytes(), row.key_version.to_be_bytes());
        Ok(Sealer::new(&hkdf(&[], self.secret.expose(), &[b"keyward object", &id, &version])?))
    }

    /// An object's summand of the multiset hash.
    pub fn summand(&self, row: &ObjectRow, attrs_tag: [u8; 16], secret_tag: [u8; 16]) -> [u8; 32] {
        hmac(&self.digest, &[&aad(&self.uuid, row, Part::Attrs), &attrs_tag, &secret_tag])
    }
}

fn damaged(id: u64) -> Error {
    let why =
        format!("object {id} of the slot file is damaged or was altered: its seal does not open; see keyward doctor");
    Code::DeviceError.because(why)
}
