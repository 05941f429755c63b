//! Checking a whole token, and accepting it as found.

use super::engine::{Batch, Flush, ObjectRow, TokenRows};
use super::keys::Keys;
use super::ledger::{Ledger, Sum, stored_summand};
use super::slot_file::SlotFile;
use crate::error::Result;

/// What [`SlotFile::verify`] found. Private objects are checked with the keys of a login only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub objects: u64,
    /// Not checked for want of a login.
    pub unchecked: u64,
    /// Ids whose record does not open.
    pub damaged: Vec<u64>,
    /// Ids that a search for their attributes may miss.
    pub unindexed: Vec<u64>,
    /// Entries of the index that belong to no object, or that an object does not name. Known after a login only.
    pub stray_entries: u64,
    /// Objects were removed, replayed or slipped in behind the token's back, or the sealed state is damaged.
    pub tampered: bool,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.unindexed.is_empty() && self.stray_entries == 0 && !self.tampered
    }
}

/// One pass over all objects.
struct Pass<'a> {
    keys: &'a Keys,
    report: Report,
    named_entries: u64,
    public: Sum,
    private: Sum,
}

impl SlotFile {
    /// Opens every record that `keys` can (the security officer's check private ones too, without reading them out),
    /// compares the index and the multiset hash, in one snapshot. Holds up forks of this process meanwhile.
    /// `CKR_DEVICE_ERROR` only where the file cannot be read at all.
    pub fn verify(&self, keys: &Keys) -> Result<Report> {
        let mut pass = Pass::new(keys);
        let (rows, entries) = self.store.scan(&mut |batch, id| pass.visit(batch, id))?;
        Ok(pass.judge(&rows, entries))
    }

    /// Seals the state anew over what is there, after a person has decided to go on with a token that
    /// [`SlotFile::verify`] found tampered with. Needs the keys of a login. Errors as for [`SlotFile::commit`].
    pub fn accept_as_found(&self, keys: &Keys) -> Result<()> {
        keys.private_half().ok_or(crate::error::Code::UserNotLoggedIn)?;
        self.store.write(Flush::Before, &mut |batch| {
            let mut rows = self.same_token(batch, &keys.uuid)?;
            let mut pass = Pass::new(keys);
            let mut after = 0;
            while let Some(id) = batch.next_object(after)? {
                pass.visit(batch, id)?;
                after = id;
            }
            let commits = Ledger::open(keys, &rows.meta).map_or(0, |ledger| ledger.commits);
            let total = pass.report.objects;
            let mut ledger = Ledger { commits, total, public: pass.public, private: Some(pass.private) };
            ledger.close(keys, &mut rows.meta)?;
            batch.set_meta(&rows.meta)
        })
    }
}

impl Pass<'_> {
    fn new(keys: &Keys) -> Pass<'_> {
        let (public, private) = (Sum::default(), Sum::default());
        Pass { keys, report: Report::default(), named_entries: 0, public, private }
    }

    fn visit(&mut self, batch: &dyn Batch, id: u64) -> Result<()> {
        self.report.objects = self.report.objects.saturating_add(1);
        let Some(row) = batch.get(id)? else { return Ok(()) };
        let half = match (row.private, self.keys.private_half()) {
            (false, _) => self.keys.public_half(),
            (true, Some(half)) => half,
            (true, None) => {
                self.report.unchecked = self.report.unchecked.saturating_add(1);
                return Ok(());
            }
        };
        let sum = if row.private { &mut self.private } else { &mut self.public };
        sum.add(&stored_summand(half, &row, batch)?);
        let opened = half.open_attrs(&row);
        let secret_opens = row.secret_version == 0 || self.secret_opens(batch, &row)?;
        match opened {
            Ok(opened) if secret_opens => self.visit_index(batch, id, &opened.tags),
            _ => {
                self.report.damaged.push(id);
                Ok(())
            }
        }
    }

    fn secret_opens(&self, batch: &dyn Batch, row: &ObjectRow) -> Result<bool> {
        let half = if row.private { self.keys.private_half() } else { Some(self.keys.public_half()) };
        let sealed = batch.secret(row.id)?.and_then(|s| s.sealed).unwrap_or_default();
        Ok(half.is_some_and(|half| half.open_secret(row, &sealed).is_ok()))
    }

    fn visit_index(&mut self, batch: &dyn Batch, id: u64, tags: &[[u8; 16]]) -> Result<()> {
        let mut missing = false;
        for tag in tags {
            match batch.has_tag(tag, id)? {
                true => self.named_entries = self.named_entries.saturating_add(1),
                false => missing = true,
            }
        }
        if missing {
            self.report.unindexed.push(id);
        }
        Ok(())
    }

    fn judge(mut self, rows: &TokenRows, entries: u64) -> Report {
        let whole = self.keys.private_half().is_some();
        if whole && self.report.damaged.is_empty() {
            self.report.stray_entries = entries.saturating_sub(self.named_entries);
        }
        let total = self.report.objects;
        self.report.tampered = match Ledger::open(self.keys, &rows.meta) {
            Ok(ledger) => {
                let private_differs = ledger.private.is_some_and(|sum| sum != self.private);
                ledger.public != self.public || ledger.total != total || private_differs
            }
            Err(_) => true,
        };
        self.report
    }
}
