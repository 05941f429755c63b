//! Checking a whole token.

use super::engine::{Batch, ObjectRow, TokenRows};
use super::format::HeaderBytes;
use super::keys::Keys;
use super::ledger::{Ledger, Sum, stored_summand};
use super::slot_file::SlotFile;
use crate::error::{Code, Result};

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
    /// The file is an older copy of the token: why so.
    pub older: Option<String>,
    /// What the engine finds wrong with the file's structure.
    pub faults: Vec<String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        let whole = self.damaged.is_empty() && self.unindexed.is_empty() && self.stray_entries == 0;
        whole && !self.tampered && self.older.is_none() && self.faults.is_empty()
    }
}

/// One pass over all objects.
pub(super) struct Pass<'a> {
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
        self.verify_with(keys, &mut |_, _| {})
    }

    /// The same; `progress` hears the objects checked and how many there are.
    pub fn verify_with(&self, keys: &Keys, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        let total = self.count().unwrap_or(0);
        let older = self.newest_rows().err().filter(|e| e.code() == Code::DeviceError);
        self.follow_now(keys)?;
        let mut pass = Pass::new(keys);
        let (rows, entries) = self.store.scan(&mut |batch, id| {
            pass.visit(batch, id)?;
            progress(pass.report.objects, total);
            Ok(())
        })?;
        let report = pass.judge(&rows, entries);
        let older = older.map(|error| error.why().unwrap_or_default().to_owned());
        Ok(Report { older, faults: self.store.check()?, ..report })
    }
}

impl SlotFile {
    /// For those who read public objects without a login, and must not be shown less than there is: it is the newest state
    /// known, and, where it has at most `most` objects, all of them are there and untouched. `CKR_DEVICE_ERROR` says what is
    /// wrong, `CKR_DEVICE_REMOVED` that it is another token by now.
    pub fn vouch(&self, keys: &Keys, most: u64) -> Result<()> {
        let (rows, _) = self.newest_rows()?;
        if HeaderBytes::decode(&rows.meta.header)?.uuid != keys.uuid {
            return Err(Code::DeviceRemoved.because("the slot file is another token's by now"));
        }
        if Ledger::open(keys, &rows.meta)?.total > most {
            return Ok(());
        }
        let mut pass = Pass::new(keys);
        let (rows, entries) = self.store.scan(&mut |batch, id| pass.visit(batch, id))?;
        let report = pass.judge(&rows, entries);
        match report.tampered || !report.damaged.is_empty() || !report.unindexed.is_empty() {
            true => Err(Code::DeviceError.because(
                "records of the slot file were changed, removed or put back by others: `keyward token verify` says which",
            )),
            false => Ok(()),
        }
    }
}

impl Pass<'_> {
    pub(super) fn new(keys: &Keys) -> Pass<'_> {
        let (public, private) = (Sum::default(), Sum::default());
        Pass { keys, report: Report::default(), named_entries: 0, public, private }
    }

    pub(super) fn visit(&mut self, batch: &dyn Batch, id: u64) -> Result<()> {
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
        let half = self.keys.half_of(row.private, row.key_version).unwrap_or(half);
        let opened = half.open_attrs(&row);
        let secret_opens = row.secret_version == 0 || self.secret_opens(batch, &row)?;
        match opened {
            Ok(opened) if secret_opens => self.visit_index(batch, &row, &opened.tags),
            _ => {
                self.report.damaged.push(id);
                Ok(())
            }
        }
    }

    fn secret_opens(&self, batch: &dyn Batch, row: &ObjectRow) -> Result<bool> {
        let half = self.keys.half_of(row.private, row.key_version);
        let sealed = batch.secret(row.id)?.and_then(|s| s.sealed).unwrap_or_default();
        Ok(half.is_some_and(|half| half.open_secret(row, &sealed).is_ok()))
    }

    fn visit_index(&mut self, batch: &dyn Batch, row: &ObjectRow, tags: &[[u8; 16]]) -> Result<()> {
        let mut missing = false;
        for tag in tags {
            match batch.has_tag(row.private, tag, row.id)? {
                true => self.named_entries = self.named_entries.saturating_add(1),
                false => missing = true,
            }
        }
        if missing {
            self.report.unindexed.push(row.id);
        }
        Ok(())
    }

    /// The ledger of what was visited, after `commits` and the state `here`.
    pub(super) fn ledger(self, commits: u64, here: [u8; 32]) -> Ledger {
        let (public, private) = (self.public, Some(self.private));
        Ledger { commits, total: self.report.objects, public, private, before: None, here }
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
