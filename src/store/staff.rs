//! Adding, changing and removing named users, by the security officer; and what is kept beside them in the register.

use super::auth::{Count, Holder, account_of, login_for, row_of};
use super::engine::{Batch, Flush, TokenRows};
use super::format::{HeaderBytes, Login};
use super::keys::{Account, Keys, Master, Role};
use super::seal::Key;
use super::slot_file::{PinState, SlotFile};
use super::totp;
use super::users::{Addressee, Profile, REGISTER, Register, Roles, Standing, check_name, pepper, public_of};
use crate::error::{Code, Error, Result};
use crate::os;
use crate::secret::{Secret, SecretBytes};

/// What may be known of a named user without a login, on the machine that holds the device secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub roles: Roles,
    pub pin: PinState,
    /// Has a second factor.
    pub totp: bool,
}

/// Most approvals remembered as used. Those whose time is over are forgotten first.
const SPENT: usize = 4096;

/// The key URI of a second factor, for an authenticator to scan or take.
pub fn totp_uri(secret: &SecretBytes, token: &str, account: &str) -> String {
    totp::uri(secret.expose(), token, account)
}

impl SlotFile {
    /// The named users whose records are sound, by name; and how many are not.
    pub fn users(&self) -> Result<(Vec<UserInfo>, usize)> {
        let (header, _, rows) = self.open_public()?;
        let register = Register::of(&self.device, &header.uuid, &rows)?;
        let mut users = Vec::new();
        let named = register.accounts.iter().filter(|(account, _)| account.is_named()).count();
        for (account, profile) in self.names(&rows) {
            let failures =
                account_of(&self.device, &header.uuid, account, &rows)?.map_or(0, |(_, count, _)| count.failures);
            let pin = PinState { failures, max: self.rules.max_failures };
            users.push(UserInfo { name: profile.name, roles: profile.roles, pin, totp: profile.totp.is_some() });
        }
        users.sort_by(|one, other| one.name.cmp(&other.name));
        let damaged = named.saturating_sub(users.len());
        Ok((users, damaged))
    }

    pub(super) fn has_named_users(&self) -> Result<bool> {
        let (header, _, rows) = self.open_public()?;
        let register = Register::of(&self.device, &header.uuid, &rows)?;
        Ok(register.accounts.iter().any(|(account, _)| account.is_named()))
    }

    /// Whether the security officer's own login has a second factor.
    pub fn officer_has_totp(&self) -> Result<bool> {
        let (header, _, rows) = self.open_public()?;
        let found = account_of(&self.device, &header.uuid, Role::SecurityOfficer.into(), &rows)?;
        Ok(found.and_then(|(_, _, profile)| profile).is_some_and(|profile| profile.totp.is_some()))
    }

    /// Makes a user. `CKR_ARGUMENTS_BAD` for the name or the roles, `CKR_FUNCTION_FAILED` where the name is taken,
    /// `CKR_USER_NOT_LOGGED_IN` but for the security officer's keys, `CKR_DEVICE_MEMORY` where there are too many.
    pub fn add_user(&self, so: &Keys, name: &str, roles: Roles, pin: &[u8]) -> Result<()> {
        check_name(name)?;
        roles.check()?;
        // The number is part of what the PIN's key is bound to; one that is taken meanwhile ends the call.
        let rows = self.newest_rows()?.0;
        let account = Register::of(&self.device, &so.uuid, &rows)?.free()?;
        let profile = Profile { name: name.to_owned(), roles, ..Profile::default() };
        let made = self.fresh(so, account, profile, (pin, 1))?;
        self.as_officer(so, &mut |batch, rows, register, master| {
            if self.names(rows).iter().any(|(_, profile)| profile.name == name) {
                return Err(Code::FunctionFailed.because(format!("there is a user {name} already")));
            }
            if register.revision(account).is_some() {
                return Err(meanwhile());
            }
            let made = (made.0.clone(), made.1.duplicate());
            self.put(batch, register, master, account, made, Count::default())
        })
    }

    /// Removes a user: at their next use of the token, in whichever process, they are logged out.
    /// `CKR_FUNCTION_FAILED`: there is none of that name.
    pub fn remove_user(&self, so: &Keys, name: &str) -> Result<()> {
        self.as_officer(so, &mut |batch, rows, register, _| {
            let account = self.number(rows, name)?;
            register.set(account, None);
            batch.drop_auth(account.0)
        })
    }

    /// Removes the records that do not open; returns how many. `CKR_USER_NOT_LOGGED_IN` but for the security officer.
    pub fn remove_damaged_users(&self, so: &Keys) -> Result<usize> {
        let mut removed = 0usize;
        self.as_officer(so, &mut |batch, rows, register, _| {
            let sound: Vec<Account> = self.names(rows).into_iter().map(|(account, _)| account).collect();
            let listed: Vec<Account> = register.accounts.iter().map(|(account, _)| *account).collect();
            for account in listed.into_iter().filter(|account| account.is_named() && !sound.contains(account)) {
                register.set(account, None);
                batch.drop_auth(account.0)?;
                removed = removed.saturating_add(1);
            }
            Ok(())
        })?;
        Ok(removed)
    }

    /// Sets a user's PIN and forgets wrong tries. A second factor stays. Errors as for [`SlotFile::remove_user`].
    pub fn reset_user_pin(&self, so: &Keys, name: &str, pin: &[u8]) -> Result<()> {
        let rows = self.newest_rows()?.0;
        let account = self.number(&rows, name)?;
        let (login, _, profile) = self.account(&so.uuid, account, &rows)?;
        let generation = login.generation.checked_add(1).ok_or(Code::DeviceMemory)?;
        let made = self.fresh(so, account, profile.duplicate(), (pin, generation))?;
        self.as_officer(so, &mut |batch, rows, register, master| {
            let (_, _, now) = self.account(&so.uuid, account, rows)?;
            if now.revision != profile.revision {
                return Err(meanwhile());
            }
            let (login, mut fresh) = (made.0.clone(), made.1.duplicate());
            fresh.step = now.step;
            self.put(batch, register, master, account, (login, fresh), Count::default())
        })
    }

    /// Gives a user other roles, from the next use on. `CKR_ARGUMENTS_BAD`; else as for [`SlotFile::remove_user`].
    pub fn set_roles(&self, so: &Keys, name: &str, roles: Roles) -> Result<()> {
        roles.check()?;
        self.as_officer(so, &mut |batch, rows, register, master| {
            let account = self.number(rows, name)?;
            let (login, count, mut profile) = self.account(&so.uuid, account, rows)?;
            profile.roles = roles;
            self.put(batch, register, master, account, (login, profile), count)
        })
    }

    /// Gives an account a second factor, or takes it away; returns the new secret. `None` as a name: the security officer's own
    /// login. Errors as for [`SlotFile::remove_user`].
    pub fn set_totp(&self, so: &Keys, name: Option<&str>, wanted: bool) -> Result<Option<SecretBytes>> {
        let secret = match wanted {
            true => Some(SecretBytes::copy_from(&os::random_array::<{ totp::SECRET }>()?)),
            false => None,
        };
        self.as_officer(so, &mut |batch, rows, register, master| {
            let account = match name {
                Some(name) => self.number(rows, name)?,
                None => Role::SecurityOfficer.into(),
            };
            let found = account_of(&self.device, &so.uuid, account, rows)?;
            let (mut login, count, profile) = found.ok_or_else(|| nobody("so"))?;
            let totp = secret.as_ref().map(Secret::duplicate);
            let profile = Profile { totp, step: 0, ..profile.unwrap_or_default() };
            if !account.is_named() && !wanted {
                login.tail = Vec::new();
                register.set(account, None);
                return batch.set_auth(account.0, &row_of(&self.device, &so.uuid, account, &login, count)?);
            }
            self.put(batch, register, master, account, (login, profile), count)
        })?;
        Ok(secret)
    }

    /// Whether the user whose login gave these keys is still one, and with which roles: as of now, in all processes. `None`: not
    /// any more. Always of the roles' own logins.
    pub fn still(&self, standing: &Standing, keys: &Keys) -> Result<Option<Roles>> {
        let rows = self.store.token()?;
        let header = HeaderBytes::decode(&rows.meta.header)?;
        if header.uuid != keys.uuid {
            return Ok(None);
        }
        let Ok(Some((_, _, Some(profile)))) = account_of(&self.device, &header.uuid, standing.account, &rows) else {
            return Ok(None);
        };
        // A number that has gone to somebody else, or an account that needs another kind of login now.
        let other = profile.name != standing.name || profile.roles.hold_master() && keys.master().is_none();
        Ok((!other && profile.roles.is_officer() == standing.roles.is_officer()).then_some(profile.roles))
    }

    /// Brings the named users, and the second factor of the security officer, to a token that takes this one's place
    /// ([`SlotFile::successor`]), with their PINs; what has been used of approvals stays used. How many users.
    /// `CKR_USER_NOT_LOGGED_IN` but for the security officer's keys of the other token.
    pub fn carry_users(&self, to: &SlotFile, so: &Keys) -> Result<usize> {
        let (header, _, rows) = self.open_public()?;
        let register = Register::of(&self.device, &header.uuid, &rows)?;
        let own = account_of(&self.device, &header.uuid, Role::SecurityOfficer.into(), &rows)?;
        let mut carried = Vec::new();
        for (account, profile) in self.names(&rows) {
            if let Some((login, count, _)) = account_of(&self.device, &header.uuid, account, &rows)? {
                carried.push((account, login, count, profile));
            }
        }
        let users = carried.len();
        let officer = own.and_then(|(_, _, profile)| profile);
        if carried.is_empty() && officer.is_none() && register.spent.is_empty() {
            return Ok(0);
        }
        to.as_officer(so, &mut |batch, rows, new, master| {
            new.spent = register.spent.clone();
            for (account, login, count, profile) in &carried {
                to.put(batch, new, master, *account, (login.clone(), profile.duplicate()), *count)?;
            }
            if let Some(profile) = &officer {
                let account = Role::SecurityOfficer.into();
                let found = account_of(&to.device, &so.uuid, account, rows)?;
                let (login, count, _) = found.ok_or_else(|| nobody("so"))?;
                to.put(batch, new, master, account, (login, profile.duplicate()), count)?;
            }
            Ok(())
        })?;
        Ok(users)
    }

    /// The PIN of a role's own login without the code of a second factor behind it.
    pub fn bare_pin<'p>(&self, role: Role, pin: &'p [u8]) -> Result<&'p [u8]> {
        let rows = self.store.token()?;
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        let profile = account_of(&self.device, &uuid, role.into(), &rows)?.and_then(|(_, _, profile)| profile);
        let coded = profile.is_some_and(|profile| profile.totp.is_some());
        Ok(totp::split(pin).filter(|_| coded).map_or(pin, |(bare, _)| bare))
    }

    /// The last object that these keys can see; 0: there is none.
    pub fn last_object(&self, keys: &Keys) -> Result<u64> {
        const PAGE: usize = 512;
        let mut last = 0;
        loop {
            let page = self.find(keys, &[], last, PAGE)?;
            match page.last() {
                Some(entry) => last = entry.id,
                None => return Ok(last),
            }
        }
    }

    /// Whether the account of this PIN has a second factor, and no code stands behind the PIN.
    pub fn lacks_code(&self, role: Role, pin: &[u8]) -> bool {
        let found = || -> Result<bool> {
            let account = self.account_before(pin)?.map_or(role.into(), |(account, _)| account);
            let rows = self.store.token()?;
            let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
            let profile = account_of(&self.device, &uuid, account, &rows)?.and_then(|(_, _, profile)| profile);
            Ok(profile.is_some_and(|profile| profile.totp.is_some()) && totp::split(pin).is_none())
        };
        found().unwrap_or(false)
    }

    /// Whose name stands before the colon of `NAME:PIN`.
    pub fn name_before(&self, pin: &[u8]) -> Option<String> {
        let (account, _) = self.account_before(pin).ok()??;
        let rows = self.store.token().ok()?;
        self.names(&rows).into_iter().find(|(known, _)| *known == account).map(|(_, profile)| profile.name)
    }

    pub(super) fn account_before<'p>(&self, pin: &'p [u8]) -> Result<Option<(Account, &'p [u8])>> {
        let Some(at) = pin.iter().position(|byte| *byte == b':') else { return Ok(None) };
        let (name, rest) = pin.split_at(at);
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        Ok(self.account_named(name)?.zip(rest.get(1..)))
    }

    pub(super) fn account_named(&self, name: &str) -> Result<Option<Account>> {
        let rows = self.store.token()?;
        Ok(self.names(&rows).into_iter().find(|(_, profile)| profile.name == name).map(|(account, _)| account))
    }

    /// `CKR_USER_TYPE_INVALID` where a named user logs in as what they are not.
    pub(super) fn check_type(&self, role: Role, account: Account) -> Result<()> {
        if !account.is_named() {
            return Ok(());
        }
        let rows = self.store.token()?;
        let found = self.names(&rows).into_iter().find(|(known, _)| *known == account);
        let officer = found.is_some_and(|(_, profile)| profile.roles.is_officer());
        match officer == (role == Role::SecurityOfficer) {
            true => Ok(()),
            false if officer => Err(Code::UserTypeInvalid.because("an officer logs in as the SO (CKU_SO)")),
            false => Err(Code::UserTypeInvalid.because("only an officer logs in as the SO: use CKU_USER")),
        }
    }

    /// An account for people.
    pub(super) fn shown(&self, account: Account) -> Result<String> {
        if !account.is_named() {
            return Ok(account.name().to_owned());
        }
        let rows = self.store.token()?;
        let found = self.names(&rows).into_iter().find(|(known, _)| *known == account);
        Ok(found.map_or_else(|| account.name().to_owned(), |(_, profile)| format!("user {}", profile.name)))
    }

    /// The named users whose records are sound.
    pub(super) fn names(&self, rows: &TokenRows) -> Vec<(Account, Profile)> {
        let named = rows.auth.iter().map(|(number, _)| Account(*number)).filter(|account| account.is_named());
        let Ok(header) = HeaderBytes::decode(&rows.meta.header) else { return Vec::new() };
        let opened = named.filter_map(|account| {
            let found = account_of(&self.device, &header.uuid, account, rows).ok()??;
            Some((account, found.2?))
        });
        opened.collect()
    }

    fn number(&self, rows: &TokenRows, name: &str) -> Result<Account> {
        let found = self.names(rows).into_iter().find(|(_, profile)| profile.name == name);
        found.map(|(account, _)| account).ok_or_else(|| nobody(name))
    }

    fn account(&self, uuid: &[u8; 16], account: Account, rows: &TokenRows) -> Result<(Login, Count, Profile)> {
        match account_of(&self.device, uuid, account, rows)? {
            Some((login, count, Some(profile))) => Ok((login, count, profile)),
            _ => Err(meanwhile()),
        }
    }

    /// A record under a new PIN, with a key pair of its own.
    fn fresh(
        &self,
        so: &Keys,
        account: Account,
        profile: Profile,
        (pin, generation): (&[u8], u32),
    ) -> Result<(Login, Profile)> {
        so.master_for_pin_reset()?;
        let user_key: Key = Secret::new(os::random_array()?);
        let public = public_of(&user_key)?;
        let pepper = pepper()?;
        let holder = Holder { device: &self.device, uuid: &so.uuid, account, pepper: Some(&pepper) };
        let held = Master { version: 0, key: user_key };
        let login = login_for(holder, (pin, generation, self.rules.kdf), &held)?;
        Ok((login, Profile { public, pepper: Some(pepper), ..profile }))
    }

    /// Writes a record, in force under the next revision, with the master key if its roles need it.
    fn put(
        &self,
        batch: &dyn Batch,
        register: &mut Register,
        (uuid, master): (&[u8; 16], &Master),
        account: Account,
        (mut login, mut profile): (Login, Profile),
        count: Count,
    ) -> Result<()> {
        if account.is_named() {
            let to = Addressee { device: &self.device, uuid, account, public: &profile.public };
            profile.sealed_master = if profile.roles.hold_master() { to.seal(master)? } else { Vec::new() };
        }
        profile.revision = register.next()?;
        register.set(account, Some(profile.revision));
        login.tail = profile.seal(&self.device, uuid, account)?;
        batch.set_auth(account.0, &row_of(&self.device, uuid, account, &login, count)?)
    }

    /// A transaction of the security officer's on the users.
    fn as_officer(&self, so: &Keys, work: &mut OfficerWork<'_>) -> Result<()> {
        self.write(Flush::Before, &mut |batch, _| {
            let rows = self.same_token(batch, &so.uuid)?;
            self.follow(so, &rows)?;
            let master = so.master_for_pin_reset()?;
            if let Some(standing) = so.standing()
                && self.still(standing, so)?.is_none()
            {
                return Err(Code::UserNotLoggedIn.because("this officer has been removed meanwhile"));
            }
            let mut register = Register::of(&self.device, &so.uuid, &rows)?;
            work(batch, &rows, &mut register, (&so.uuid, master))?;
            self.keep_register(batch, &so.uuid, register)
        })
    }

    /// Writes the register under its next version.
    pub(super) fn keep_register(&self, batch: &dyn Batch, uuid: &[u8; 16], mut register: Register) -> Result<()> {
        register.version = register.version.checked_add(1).ok_or(Code::DeviceMemory)?;
        batch.set_auth(REGISTER, &register.row(&self.device, uuid)?)
    }

    /// Where a login changes its PIN: a record with a profile is in force under its next revision, so that the former one cannot
    /// be put back.
    pub(super) fn touch(&self, batch: &dyn Batch, rows: &TokenRows, account: Account, login: &mut Login) -> Result<()> {
        if login.tail.is_empty() {
            return Ok(());
        }
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        let mut register = Register::of(&self.device, &uuid, rows)?;
        let mut profile = Profile::open(&self.device, &uuid, account, &login.tail)?;
        profile.revision = register.next()?;
        register.set(account, Some(profile.revision));
        login.tail = profile.seal(&self.device, &uuid, account)?;
        self.keep_register(batch, &uuid, register)
    }

    /// Marks approvals as used, durably, all or none: 16 bytes that name each, and until when it would count.
    /// `CKR_ACTION_PROHIBITED` where one has been used already.
    pub fn spend(&self, approvals: &[([u8; 16], u64)], now: u64) -> Result<()> {
        self.on_register(&mut |register| {
            register.spent.retain(|(_, until)| *until > now);
            for (id, until) in approvals {
                if register.spent.iter().any(|(known, _)| known == id) {
                    return Err(Code::ActionProhibited.because("an approval counts once, and this one has been used"));
                }
                if register.spent.len() >= SPENT {
                    return Err(Code::DeviceMemory.because("too many approvals are still in force"));
                }
                register.spent.push((*id, *until));
            }
            Ok(())
        })
    }

    /// Notes that all objects up to this id are in a backup that was verified.
    pub fn note_backup(&self, last: u64) -> Result<()> {
        self.on_register(&mut |register| {
            register.backed_up = register.backed_up.max(last);
            Ok(())
        })
    }

    /// The last object that is in a backup that was verified; 0: none.
    pub fn backed_up(&self) -> Result<u64> {
        let (header, _, rows) = self.open_public()?;
        Ok(Register::of(&self.device, &header.uuid, &rows)?.backed_up)
    }

    fn on_register(&self, change: &mut dyn FnMut(&mut Register) -> Result<()>) -> Result<()> {
        self.write(Flush::Before, &mut |batch, _| {
            let rows = batch.token()?;
            let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
            let mut register = Register::of(&self.device, &uuid, &rows)?;
            change(&mut register)?;
            self.keep_register(batch, &uuid, register)
        })
    }
}

type OfficerWork<'a> = dyn FnMut(&dyn Batch, &TokenRows, &mut Register, (&[u8; 16], &Master)) -> Result<()> + 'a;

fn nobody(name: &str) -> Error {
    Code::FunctionFailed.because(format!("the token has no user {name}: see `keyward user list`"))
}

fn meanwhile() -> Error {
    Code::FunctionFailed.because("another process changed the token's users meanwhile; nothing was changed")
}
