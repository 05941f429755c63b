//! Is this the newest state of the token that this machine has seen? And what else speaks against the slot file.

use std::sync::atomic::Ordering;

use super::anchor::{Anchor, Found, Mark, Tries, state_hash};
use super::engine::{Batch, Flush, TokenRows};
use super::format::{HeaderBytes, Login};
use super::keys::{Account, Keys, Role};
use super::ledger::Ledger;
use super::slot_file::SlotFile;
use super::users::Register;
use super::verify::Pass;
use crate::error::{Code, Error, Result};

/// Damaged objects remembered, for the log to name each once.
const TOLD: usize = 1000;

/// What a transaction does; it is told what this machine remembers of the token.
type Work<'a> = dyn FnMut(&dyn Batch, Option<&Mark>) -> Result<()> + 'a;

impl SlotFile {
    pub(super) fn anchor(&self) -> Option<Anchor<'_>> {
        Anchor::new(&self.device, &self.path)
    }

    /// The token's rows, which are the newest known, and what is remembered of it. `CKR_DEVICE_ERROR`: an older copy.
    pub(super) fn newest_rows(&self) -> Result<(TokenRows, Option<Mark>)> {
        // In this order: the anchor is never ahead of what is read after it.
        let mark = self.anchor().and_then(|anchor| anchor.read());
        let rows = self.store.token()?;
        self.judge(&rows, mark.as_ref())?;
        Ok((rows, mark))
    }

    /// `CKR_DEVICE_ERROR` where rows read after `mark` are those of an older copy.
    pub(super) fn judge(&self, rows: &TokenRows, mark: Option<&Mark>) -> Result<()> {
        let Some(anchor) = mark else { return Ok(()) };
        let (mark, before) = self.mark_of(rows, Some(anchor))?;
        match (Found { mark: &mark, before }).against(anchor) {
            Some(error) => {
                self.tell(0, &error);
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Before private objects are read from a file that took the place of another: is it the newest?
    pub(super) fn still_newest(&self, keys: &Keys) -> Result<()> {
        let incarnation = self.store.incarnation();
        if keys.role().is_some() && self.judged.load(Ordering::Acquire) != incarnation {
            self.newest_rows()?;
            self.judged.store(incarnation, Ordering::Release);
        }
        Ok(())
    }

    /// What the rows say, and the hash of the state before them.
    fn mark_of(&self, rows: &TokenRows, remembered: Option<&Mark>) -> Result<(Mark, Option<[u8; 32]>)> {
        let uuid = HeaderBytes::decode(&rows.meta.header)?.uuid;
        let ledger = Ledger::open(&Keys::public(&self.device, uuid)?, &rows.meta)?;
        let mut mark = Mark { uuid, commits: ledger.commits, state: state_hash(&rows.meta), ..Mark::default() };
        for (tries, role) in mark.tries.iter_mut().zip([Role::SecurityOfficer, Role::User]) {
            let row = rows.auth.iter().find(|(number, _)| *number == role as u8).map(|(_, row)| row);
            *tries = match row.map(|row| (Login::decode(&row.record), row.failures)) {
                Some((Ok(login), failures)) => Tries { generation: login.generation, failures },
                // A damaged record is told as such by whoever needs it.
                Some((Err(_), _)) => remembered.map(|known| known.of(role.into(), 0)).unwrap_or_default(),
                None => Tries::default(),
            };
        }
        // As for the roles: a damaged register is told as such by whoever needs it.
        let known = || remembered.map(|known| known.register).unwrap_or_default();
        mark.register = Register::of(&self.device, &uuid, rows).map_or_else(|_| known(), |register| register.version);
        let wrong = rows.auth.iter().filter(|(number, row)| Account(*number).is_named() && row.failures > 0);
        mark.named = wrong.map(|(number, row)| (*number, u8::try_from(row.failures).unwrap_or(u8::MAX))).collect();
        Ok((mark, ledger.before))
    }

    /// A transaction on a token that is the newest known, and remembered once it is durable.
    pub(super) fn write(&self, flush: Flush, work: &mut Work<'_>) -> Result<()> {
        self.write_as(false, flush, work)
    }

    /// The same; `accepting` also an older copy.
    pub(super) fn write_as(&self, accepting: bool, flush: Flush, work: &mut Work<'_>) -> Result<()> {
        let anchor = self.anchor();
        let mut after = None;
        self.store.write(flush, &mut |batch| {
            let remembered = anchor.as_ref().and_then(Anchor::read);
            if !accepting {
                self.judge(&batch.token()?, remembered.as_ref())?;
            }
            work(batch, remembered.as_ref())?;
            if anchor.is_some() {
                // Whoever accepts mends a state that may not open yet.
                after = self.mark_of(&batch.token()?, remembered.as_ref()).ok();
            }
            Ok(())
        })?;
        if let (Some(anchor), Some((mark, _))) = (anchor, after) {
            anchor.update(|old| Some(merged(old, mark)));
        }
        Ok(())
    }

    /// Goes on with a slot file as it is found: an older copy restored on purpose, or one that [`SlotFile::verify`] found
    /// tampered with. A person has decided so. The state is sealed anew over what is there, and counts as the newest from
    /// now on. Wrong tries that this machine remembers still count. Errors as for [`SlotFile::unlock`].
    pub fn accept(&self, role: Role, pin: &[u8]) -> Result<()> {
        let keys = self.unlock_as(true, role, pin)?;
        self.seal_anew(&keys)
    }

    /// The same for whoever is logged in already: not for older copies, to which nobody can log in.
    pub fn accept_as_found(&self, keys: &Keys) -> Result<()> {
        keys.private_half().ok_or(Code::UserNotLoggedIn)?;
        self.seal_anew(keys)
    }

    fn seal_anew(&self, keys: &Keys) -> Result<()> {
        let mut sealed = None;
        self.write_as(true, Flush::Before, &mut |batch, remembered| {
            let mut rows = self.same_token(batch, &keys.uuid)?;
            self.follow(keys, &rows)?;
            let mut pass = Pass::new(keys);
            let mut after = 0;
            while let Some(id) = batch.next_object(after)? {
                pass.visit(batch, id)?;
                after = id;
            }
            let known = remembered.map_or(0, |mark| mark.commits);
            let commits = Ledger::open(keys, &rows.meta).map_or(0, |ledger| ledger.commits).max(known);
            let mut ledger = pass.ledger(commits, state_hash(&rows.meta));
            ledger.close(keys, &mut rows.meta)?;
            batch.set_meta(&rows.meta)?;
            sealed = Some(self.mark_of(&rows, None)?.0);
            Ok(())
        })?;
        if let (Some(anchor), Some(mark)) = (self.anchor(), sealed) {
            anchor.update(|_| Some(mark));
        }
        self.told().clear();
        Ok(())
    }

    /// Notes and logs what is wrong with an object (0: with the token), once.
    pub(super) fn tell(&self, id: u64, error: &Error) {
        let mut told = self.told();
        if told.len() < TOLD && told.insert(id) {
            crate::log!(Error, "{}: {error}", self.path.display());
        }
    }

    /// Whether anything wrong has been noticed since the file was opened.
    pub(super) fn has_told(&self) -> bool {
        !self.told().is_empty()
    }
}

/// What is remembered after `new` was written. Another process may have been faster from its commit to the anchor.
fn merged(old: Option<Mark>, new: Mark) -> Mark {
    let Some(old) = old else { return new };
    let tries = newer(old.tries, new.tries);
    let (users, named) = match old.register > new.register {
        true => (old.register, old.named.clone()),
        false => (new.register, new.named.clone()),
    };
    match (old.uuid == new.uuid, old.commits > new.commits) {
        (true, true) => Mark { tries, register: users, named, ..old },
        (true, false) => Mark { tries, register: users, named, ..new },
        (false, true) => old,
        (false, false) => new,
    }
}

fn newer([old_so, old_user]: [Tries; 2], [new_so, new_user]: [Tries; 2]) -> [Tries; 2] {
    let later = |old: Tries, new: Tries| if old.generation > new.generation { old } else { new };
    [later(old_so, new_so), later(old_user, new_user)]
}
