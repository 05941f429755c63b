//! Objects: finding, reading, changing.

use super::engine::{Batch, Flush, ObjectRow, Tag};
use super::format::HeaderBytes;
use super::keys::{Half, Keys};
use super::ledger::{Ledger, stored_summand, summand};
use super::slot_file::SlotFile;
use crate::error::{Code, Error, Result};
use crate::secret::SecretBytes;

/// What a search finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub private: bool,
}

/// An object as read, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: u64,
    /// Rises with each change; [`Change::Update`] names the one that it was made from.
    pub version: u64,
    pub private: bool,
    pub attrs: Vec<u8>,
    pub has_secret: bool,
    pub(super) secret_version: u64,
}

/// What becomes of an object's secret in an update.
#[derive(Debug)]
pub enum SecretChange {
    Keep,
    Set(Option<SecretBytes>),
}

/// One step of a transaction. `index`: the values (with their attribute types) that the object is found by.
#[derive(Debug)]
pub enum Change {
    Insert { private: bool, attrs: Vec<u8>, secret: Option<SecretBytes>, index: Vec<(u64, Vec<u8>)> },
    Update { id: u64, version: u64, private: bool, attrs: Vec<u8>, secret: SecretChange, index: Vec<(u64, Vec<u8>)> },
    Delete { id: u64 },
}

impl Change {
    pub(super) fn is_insert(&self) -> bool {
        matches!(self, Change::Insert { .. })
    }
}

/// Ids and versions fit the engine's signed 64 bits.
const MAX: u64 = i64::MAX as u64;

impl SlotFile {
    /// Objects with an id above `after` whose index holds *all* of the given values, ascending by id, at most `limit`;
    /// without values, all objects. Private ones only with the user's keys. `CKR_DEVICE_ERROR`.
    pub fn find(&self, keys: &Keys, index: &[(u64, &[u8])], after: u64, limit: usize) -> Result<Vec<Entry>> {
        let search = Wanted::new(keys, index, after, limit)?;
        let mut found = Vec::new();
        self.store.read(&mut |rows| {
            found = search.among(rows)?;
            Ok(())
        })?;
        // Reading notices where the file was replaced.
        self.still_newest(keys).map(|()| found)
    }

    /// As [`SlotFile::find`], with the objects as they were at that moment; `None` in place of one that cannot be read, which the
    /// log names.
    pub fn find_read(
        &self,
        keys: &Keys,
        index: &[(u64, &[u8])],
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Option<Record>)>> {
        let search = Wanted::new(keys, index, after, limit)?;
        let mut found = Vec::new();
        self.store.read(&mut |rows| {
            let entries = search.among(rows)?;
            found = entries.iter().map(|entry| Ok((entry.id, rows.get(entry.id)?))).collect::<Result<_>>()?;
            Ok(())
        })?;
        self.still_newest(keys)?;
        let open = |row: Option<ObjectRow>| self.open_row(keys, row?).ok().flatten();
        Ok(found.into_iter().map(|(id, row)| (id, open(row))).collect())
    }

    /// An object's attributes. `None`: there is none, or a private one and no user's keys.
    /// `CKR_DEVICE_ERROR`: this record is damaged (others are not touched by that).
    /// `CKR_DEVICE_REMOVED`: the token has been initialised anew since the keys were made.
    pub fn read(&self, keys: &Keys, id: u64) -> Result<Option<Record>> {
        let Some(row) = self.store.get(id)? else { return Ok(None) };
        self.still_newest(keys)?;
        self.open_row(keys, row)
    }

    fn open_row(&self, keys: &Keys, row: ObjectRow) -> Result<Option<Record>> {
        let id = row.id;
        if row.private && !keys.reads_private() {
            return Ok(None);
        }
        let opened = self.half_of(keys, row.private, row.key_version)?.open_attrs(&row);
        let opened = opened.map_err(|e| self.blame(keys, id, e))?;
        Ok(Some(Record {
            id,
            version: row.version,
            private: row.private,
            attrs: opened.attrs,
            has_secret: row.secret_version != 0,
            secret_version: row.secret_version,
        }))
    }

    /// The secret of an object that was read; `None` if it has none. Errors as for [`SlotFile::read`];
    /// `CKR_FUNCTION_FAILED` where the object was changed or removed meanwhile: read it again.
    pub fn secret(&self, keys: &Keys, record: &Record) -> Result<Option<SecretBytes>> {
        if !record.has_secret {
            return Ok(None);
        }
        keys.half(record.private)?;
        let stored = self.store.secret(record.id)?.ok_or_else(|| gone(record.id))?;
        // Not the key version: a rotation of the master key meanwhile changes nothing in what is sealed.
        if (stored.private, stored.secret_version) != (record.private, record.secret_version) {
            return Err(changed(record.id));
        }
        let half = self.half_of(keys, record.private, stored.key_version)?;
        let row = ObjectRow {
            id: record.id,
            version: record.version,
            key_version: stored.key_version,
            private: record.private,
            secret_version: record.secret_version,
            attrs: Vec::new(),
        };
        let opened = half.open_secret(&row, stored.sealed.as_deref().unwrap_or_default());
        opened.map(Some).map_err(|e| self.blame(keys, record.id, e))
    }

    /// Makes all changes in one durable transaction, or none; returns the ids of the inserted objects in their order.
    /// `CKR_FUNCTION_FAILED`: an object is no longer of the version named; `CKR_OBJECT_HANDLE_INVALID`: it is gone;
    /// `CKR_USER_NOT_LOGGED_IN`: it is private; `CKR_DEVICE_REMOVED`: the token has been initialised anew;
    /// `CKR_TOKEN_WRITE_PROTECTED`, `CKR_DEVICE_MEMORY`, `CKR_DEVICE_ERROR`.
    pub fn commit(&self, keys: &Keys, changes: Vec<Change>) -> Result<Vec<u64>> {
        self.write_changes(keys, changes.iter())
    }

    pub(super) fn write_changes<'c>(
        &self,
        keys: &Keys,
        changes: impl Iterator<Item = &'c Change> + Clone,
    ) -> Result<Vec<u64>> {
        let mut made = Vec::new();
        self.write(Flush::Before, &mut |batch, _| {
            made.clear();
            let rows = batch.token()?;
            if HeaderBytes::decode(&rows.meta.header)?.uuid != keys.uuid {
                return Err(initialised_anew());
            }
            self.follow(keys, &rows)?;
            let mut meta = rows.meta;
            let ledger = Ledger::open(keys, &meta)?;
            let mut writer = Writer { batch, keys, ledger, next: None, entries: Vec::new() };
            for change in changes.clone() {
                made.extend(writer.apply(change)?);
            }
            writer.enter()?;
            writer.ledger.close(keys, &mut meta)?;
            batch.set_meta(&meta)
        })?;
        Ok(made)
    }

    /// All objects, private ones included, whoever asks.
    pub fn count(&self) -> Result<u64> {
        let (_, keys, rows) = self.open_public()?;
        Ok(Ledger::open(&keys, &rows.meta)?.total)
    }

    /// A seal that does not open may only mean that the keys are those of an earlier initialisation.
    fn blame(&self, keys: &Keys, id: u64, error: Error) -> Error {
        match self.uuid() {
            Ok(uuid) if uuid != keys.uuid => initialised_anew(),
            _ => {
                self.tell(id, &error);
                error
            }
        }
    }

    /// The half under which an object was sealed, perhaps after a rotation that these keys have not followed yet.
    fn half_of<'k>(&self, keys: &'k Keys, private: bool, key_version: u32) -> Result<&'k Half> {
        if let Some(half) = keys.half_of(private, key_version) {
            return Ok(half);
        }
        self.follow_now(keys)?;
        // Still none: the number was altered, and the seal will not open.
        keys.half_of(private, key_version).map_or_else(|| keys.half(private), Ok)
    }
}

fn initialised_anew() -> Error {
    Code::DeviceRemoved.because("the token has been initialised anew since the login")
}

fn changed(id: u64) -> Error {
    Code::FunctionFailed.because(format!("object {id} was changed by another session or process meanwhile"))
}

fn gone(id: u64) -> Error {
    Code::ObjectHandleInvalid.because(format!("object {id} was removed by another session or process"))
}

/// What is looked for.
struct Wanted {
    /// By the index: the tags of public and of private objects, as far as those are seen.
    tags: Vec<(bool, Vec<Tag>)>,
    private: bool,
    after: u64,
    limit: usize,
}

impl Wanted {
    fn new(keys: &Keys, index: &[(u64, &[u8])], after: u64, limit: usize) -> Result<Wanted> {
        let private = keys.reads_private();
        let mut tags = Vec::new();
        if !index.is_empty() {
            for private in [false, true].into_iter().take(1 + usize::from(private)) {
                let half = keys.half(private)?;
                tags.push((private, index.iter().map(|(ty, value)| half.tag(*ty, value)).collect()));
            }
        }
        Ok(Wanted { tags, private, after: after.min(MAX), limit })
    }

    fn among(&self, rows: &dyn Batch) -> Result<Vec<Entry>> {
        if self.tags.is_empty() {
            let listed = rows.list(self.private, self.after, self.limit)?;
            return Ok(listed.into_iter().map(|(id, private)| Entry { id, private }).collect());
        }
        let mut found = Vec::new();
        for (private, tags) in &self.tags {
            let ids = rows.find(*private, tags, self.after, self.limit)?;
            found.extend(ids.into_iter().map(|id| Entry { id, private: *private }));
        }
        found.sort_unstable_by_key(|entry| entry.id);
        found.truncate(self.limit);
        Ok(found)
    }
}

/// One transaction's hands.
struct Writer<'a> {
    batch: &'a dyn Batch,
    keys: &'a Keys,
    ledger: Ledger,
    /// The id of the next object; `None`: to be asked for.
    next: Option<u64>,
    /// Index entries of inserted objects, still to be made.
    entries: Vec<(bool, Tag, u64)>,
}

impl Writer<'_> {
    /// The id of an inserted object.
    fn apply(&mut self, change: &Change) -> Result<Option<u64>> {
        match change {
            Change::Insert { private, attrs, secret, index } => {
                self.insert(*private, attrs, secret.as_ref(), index).map(Some)
            }
            Change::Update { id, version, private, attrs, secret, index } => {
                let old = self.existing(*id)?;
                if old.version != *version {
                    return Err(changed(*id));
                }
                self.update(old, *private, attrs, secret, index).map(|()| None)
            }
            Change::Delete { id } => self.delete(*id).map(|()| None),
        }
    }

    fn insert(
        &mut self,
        private: bool,
        attrs: &[u8],
        secret: Option<&SecretBytes>,
        index: &[(u64, Vec<u8>)],
    ) -> Result<u64> {
        let half = self.keys.half(private)?;
        let id = match self.next {
            Some(id) if id <= MAX => id,
            _ => self.batch.next_id()?,
        };
        self.next = id.checked_add(1);
        let (tags, secret_version) = (tags(half, index), u64::from(secret.is_some()));
        let mut row =
            ObjectRow { id, version: 1, key_version: half.version, private, secret_version, attrs: Vec::new() };
        half.seal_attrs(&mut row, &tags, attrs)?;
        let sealed = secret.map(|s| half.seal_secret(&row, s)).transpose()?;
        self.batch.insert(&row, sealed.as_deref())?;
        self.entries.extend(tags.into_iter().map(|tag| (private, tag, id)));
        self.ledger.sum(private)?.add(&summand(half, &row, sealed.as_deref()));
        self.ledger.total = self.ledger.total.wrapping_add(1);
        Ok(id)
    }

    /// Makes the index entries of what was inserted, in the index's order: a tag may stand anywhere in it, and so each page
    /// is written once, however many objects come at a time.
    fn enter(&mut self) -> Result<()> {
        self.entries.sort_unstable();
        self.entries.iter().try_for_each(|(private, tag, id)| self.batch.add_tag(*private, tag, *id))
    }

    fn update(
        &mut self,
        old: ObjectRow,
        private: bool,
        attrs: &[u8],
        secret: &SecretChange,
        index: &[(u64, Vec<u8>)],
    ) -> Result<()> {
        let half = self.keys.half(private)?;
        let old_tags = self.keys.half(old.private)?.open_attrs(&old)?.tags;
        let before = stored_summand(self.keys.half(old.private)?, &old, self.batch)?;
        let version = old.version.checked_add(1).filter(|v| *v <= MAX).ok_or(Code::DeviceMemory)?;
        let mut row = ObjectRow { version, private, key_version: half.version, ..old.clone() };
        let sealed = self.new_secret(&old, &mut row, half, secret)?;
        let tags = tags(half, index);
        half.seal_attrs(&mut row, &tags, attrs)?;
        self.batch.update(&row, sealed.as_ref().map(|s| s.as_deref()))?;
        let stays = old.private == private;
        let mut gone = old_tags.iter().filter(|tag| !(stays && tags.contains(tag)));
        gone.try_for_each(|tag| self.batch.drop_tag(old.private, tag, row.id))?;
        let mut new = tags.iter().filter(|tag| !(stays && old_tags.contains(tag)));
        new.try_for_each(|tag| self.batch.add_tag(private, tag, row.id))?;
        self.ledger.sum(old.private)?.subtract(&before);
        let after = stored_summand(half, &row, self.batch)?;
        self.ledger.sum(private)?.add(&after);
        Ok(())
    }

    /// What to write for the secret, `None` leaving it; sets `row.secret_version`.
    fn new_secret(
        &self,
        old: &ObjectRow,
        row: &mut ObjectRow,
        half: &Half,
        change: &SecretChange,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let moved;
        let secret = match change {
            SecretChange::Keep if old.secret_version == 0 => return Ok(None),
            SecretChange::Keep if (old.private, old.key_version) == (row.private, row.key_version) => return Ok(None),
            SecretChange::Keep => {
                let stored = self.batch.secret(old.id)?.and_then(|s| s.sealed).unwrap_or_default();
                moved = Some(self.keys.half(old.private)?.open_secret(old, &stored)?);
                moved.as_ref()
            }
            SecretChange::Set(secret) => secret.as_ref(),
        };
        row.secret_version = if secret.is_some() { row.version } else { 0 };
        secret.map(|s| half.seal_secret(row, s)).transpose().map(Some)
    }

    fn delete(&mut self, id: u64) -> Result<()> {
        let row = self.existing(id)?;
        let half = self.keys.half(row.private)?;
        let before = stored_summand(half, &row, self.batch)?;
        match half.open_attrs(&row) {
            Ok(opened) => opened.tags.iter().try_for_each(|tag| self.batch.drop_tag(row.private, tag, id))?,
            // A damaged record can be removed like any other.
            Err(_) => self.batch.drop_all_tags(id)?,
        }
        self.batch.delete(id)?;
        self.ledger.sum(row.private)?.subtract(&before);
        self.ledger.total = self.ledger.total.wrapping_sub(1);
        Ok(())
    }

    fn existing(&self, id: u64) -> Result<ObjectRow> {
        let row = self.batch.get(id)?.ok_or_else(|| gone(id))?;
        match row.private && !self.keys.reads_private() {
            true => Err(gone(id)),
            false => Ok(row),
        }
    }
}

fn tags(half: &Half, index: &[(u64, Vec<u8>)]) -> Vec<Tag> {
    let mut tags: Vec<Tag> = index.iter().map(|(ty, value)| half.tag(*ty, value)).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}
