//! Rows to SQL and back.

use std::path::Path;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, params};

use super::super::engine::{AuthRow, Batch, MetaRow, ObjectRow, SecretRow, Tag, TokenRows};
use super::open::failure;
use crate::error::{Code, Error, Result};

/// Statements on one connection, within the transaction that it is in, if any.
pub struct Transaction<'a> {
    connection: &'a Connection,
    path: &'a Path,
    /// The format of the tables, which is older than ours only where nothing can be written.
    tables: i32,
}

/// Ids and versions as the engine keeps them. What does not fit was never handed out.
fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Code::GeneralError.because("a number of the slot file is out of range"))
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

impl<'a> Transaction<'a> {
    pub fn new(connection: &'a Connection, path: &'a Path, tables: i32) -> Transaction<'a> {
        Transaction { connection, path, tables }
    }

    fn fails(&self, error: rusqlite::Error) -> Error {
        failure(self.path, &error)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql).map_err(|e| self.fails(e))
    }

    fn run(&self, sql: &str, with: impl Params) -> Result<()> {
        self.prepare(sql)?.execute(with).map(drop).map_err(|e| self.fails(e))
    }

    fn one<T>(
        &self,
        sql: &str,
        with: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.prepare(sql)?.query_row(with, read).optional().map_err(|e| self.fails(e))
    }

    fn all<T>(
        &self,
        sql: &str,
        with: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(with, read).and_then(|rows| rows.collect());
        rows.map_err(|e| self.fails(e))
    }

    pub fn begin(&self, how: &str) -> Result<()> {
        if !self.connection.is_autocommit() {
            // A panic left the last one open.
            self.run("ROLLBACK", [])?;
        }
        self.run(how, [])
    }

    /// Commits if `done` is good, else rolls back.
    pub fn end<T>(&self, done: Result<T>) -> Result<T> {
        let ended = done.and_then(|value| self.run("COMMIT", []).map(|()| value));
        if ended.is_err() && !self.connection.is_autocommit() {
            let _ = self.run("ROLLBACK", []);
        }
        ended
    }

    pub fn set_flush(&self, level: &str) -> Result<()> {
        self.connection.pragma_update(None, "synchronous", level).map_err(|e| self.fails(e))
    }

    pub fn write_token(&self, meta: &MetaRow, auth: &[(u8, AuthRow)]) -> Result<()> {
        self.set_meta(meta)?;
        auth.iter().try_for_each(|(role, row)| self.set_auth(*role, row))
    }

    /// The index entries of public or private objects, as parameter 1 says; files that are older and only read do not tell which.
    fn index(&self, name: &str) -> String {
        let half = if self.tables < 4 { "?1 IS NOT NULL".to_owned() } else { format!("{name}.private = ?1") };
        format!("{} {name} WHERE {half}", self.index_table())
    }

    fn index_table(&self) -> &'static str {
        if self.tables < 4 { "idx" } else { "tags" }
    }

    /// A tree of which a page was put in another's place may lead back to where a search came from, for ever.
    fn ascend(&self, after: u64, ids: impl IntoIterator<Item = u64>) -> Result<()> {
        let mut last = after;
        for id in ids {
            if id <= last {
                let shown = self.path.display();
                let why =
                    format!("{shown}: object {id} follows {last}: the slot file is damaged; restore it from a backup");
                return Err(Code::DeviceError.because(why));
            }
            last = id;
        }
        Ok(())
    }

    /// How many public or private objects carry a tag, counted up to 64.
    fn count_some(&self, private: bool, tag: &Tag) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} AND a.tag = ?2 LIMIT 64)", self.index("a"));
        Ok(self.one(&sql, params![private, tag], |row| unsigned(row, 0))?.unwrap_or(0))
    }

    /// What the engine's own check finds.
    pub fn faults(&self) -> Result<Vec<String>> {
        let found: Vec<String> = self.all("PRAGMA quick_check(100)", [], |row| row.get(0))?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    /// Bytes of the file in pages, and of its log.
    pub fn size(&self) -> Result<u64> {
        let number = |sql| Ok::<_, Error>(self.one(sql, [], |row| unsigned(row, 0))?.unwrap_or(0));
        Ok(number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?))
    }

    /// Rewrites the file without its free pages, and the log into it.
    pub fn compact(&self) -> Result<(u64, u64)> {
        let before = self.size()?;
        self.run("VACUUM", [])?;
        // Readers of older states may keep the log from being cut; it then is at the next occasion.
        let cut = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.one(cut, [], |row| row.get::<_, i64>(0))?;
        Ok((before, self.size()?))
    }

    /// Whether the log is cut.
    pub fn cut_log(&self) -> Result<bool> {
        for _ in 0..20 {
            let busy: Option<i64> = self.one("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy == Some(0) {
                return Ok(true);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(false)
    }

    pub fn copy_into(&self, to: &str) -> Result<()> {
        self.run("VACUUM INTO ?1", [to])
    }

    pub fn index_entries(&self) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", self.index_table());
        Ok(self.one(&sql, [], |row| unsigned(row, 0))?.unwrap_or(0))
    }
}

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Batch for Transaction<'_> {
    fn token(&self) -> Result<TokenRows> {
        let meta = self.one("SELECT header, label, public_state, private_state FROM meta", [], |row| {
            Ok(MetaRow {
                header: row.get(0)?,
                label: row.get(1)?,
                public_state: row.get(2)?,
                private_state: row.get(3)?,
            })
        })?;
        let sql = match self.tables {
            ..2 => "SELECT role, record, failures, 0, mac FROM auth",
            _ => "SELECT role, record, failures, tried, mac FROM auth",
        };
        let auth = self.all(sql, [], |row| {
            let (record, failures, mac) = (row.get(1)?, row.get(2)?, row.get(4)?);
            Ok((row.get(0)?, AuthRow { record, failures, tried: unsigned(row, 3)?, mac }))
        })?;
        let meta = meta.ok_or_else(|| Code::TokenNotRecognized.because("the slot file has no header"))?;
        Ok(TokenRows { meta, auth })
    }

    fn get(&self, id: u64) -> Result<Option<ObjectRow>> {
        let Ok(key) = i64::try_from(id) else { return Ok(None) };
        let sql = "SELECT version, key_version, private, secret_version, attrs FROM obj WHERE id = ?1";
        self.one(sql, [key], |row| {
            Ok(ObjectRow {
                id,
                version: unsigned(row, 0)?,
                key_version: row.get(1)?,
                private: row.get(2)?,
                secret_version: unsigned(row, 3)?,
                attrs: row.get(4)?,
            })
        })
    }

    fn secret(&self, id: u64) -> Result<Option<SecretRow>> {
        let Ok(key) = i64::try_from(id) else { return Ok(None) };
        self.one("SELECT key_version, private, secret_version, secret FROM obj WHERE id = ?1", [key], |row| {
            Ok(SecretRow {
                key_version: row.get(0)?,
                private: row.get(1)?,
                secret_version: unsigned(row, 2)?,
                sealed: row.get(3)?,
            })
        })
    }

    /// The rarest tag leads, so that one that all objects carry costs nothing.
    fn find(&self, private: bool, tags: &[Tag], after: u64, limit: usize) -> Result<Vec<u64>> {
        let mut tags: Vec<&Tag> = tags.iter().collect();
        if tags.len() > 1 {
            let mut counted =
                tags.into_iter().map(|tag| Ok((self.count_some(private, tag)?, tag))).collect::<Result<Vec<_>>>()?;
            counted.sort_by_key(|(count, _)| *count);
            tags = counted.into_iter().map(|(_, tag)| tag).collect();
        }
        let Some((first, others)) = tags.split_first() else { return Ok(Vec::new()) };
        let mut sql = format!("SELECT a.id FROM {} AND a.tag = ?2 AND a.id > ?3", self.index("a"));
        for at in 0..others.len() {
            let parameter = at.saturating_add(5);
            let other = self.index("b");
            sql.push_str(&format!(" AND EXISTS (SELECT 1 FROM {other} AND b.tag = ?{parameter} AND b.id = a.id)"));
        }
        sql.push_str(" ORDER BY a.id LIMIT ?4");
        let (start, limit) = (signed(after)?, limited(limit));
        let mut with: Vec<&dyn rusqlite::ToSql> = vec![&private, *first, &start, &limit];
        with.extend(others.iter().map(|tag| *tag as &dyn rusqlite::ToSql));
        let found = self.all(&sql, with.as_slice(), |row| unsigned(row, 0))?;
        self.ascend(after, found.iter().copied())?;
        Ok(found)
    }

    fn list(&self, private: bool, after: u64, limit: usize) -> Result<Vec<(u64, bool)>> {
        let sql = "SELECT id, private FROM obj WHERE id > ?1 AND private <= ?2 ORDER BY id LIMIT ?3";
        let with = params![signed(after)?, private, limited(limit)];
        let found = self.all(sql, with, |row| Ok((unsigned(row, 0)?, row.get(1)?)))?;
        self.ascend(after, found.iter().map(|(id, _)| *id))?;
        Ok(found)
    }

    fn next_object(&self, after: u64) -> Result<Option<u64>> {
        let sql = "SELECT id FROM obj WHERE id > ?1 ORDER BY id LIMIT 1";
        let next = self.one(sql, [signed(after)?], |row| unsigned(row, 0))?;
        self.ascend(after, next)?;
        Ok(next)
    }

    fn has_tag(&self, private: bool, tag: &Tag, id: u64) -> Result<bool> {
        let sql = format!("SELECT 1 FROM {} AND a.tag = ?2 AND a.id = ?3", self.index("a"));
        Ok(self.one(&sql, params![private, tag, signed(id)?], |_| Ok(()))?.is_some())
    }

    fn set_meta(&self, meta: &MetaRow) -> Result<()> {
        let sql =
            "INSERT OR REPLACE INTO meta(one, header, label, public_state, private_state) VALUES (1, ?1, ?2, ?3, ?4)";
        self.run(sql, params![meta.header, meta.label, meta.public_state, meta.private_state])
    }

    fn set_auth(&self, role: u8, row: &AuthRow) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO auth(role, record, failures, tried, mac) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.run(sql, params![role, row.record, row.failures, signed(row.tried)?, row.mac])
    }

    fn drop_auth(&self, role: u8) -> Result<()> {
        self.run("DELETE FROM auth WHERE role = ?1", [role])
    }

    fn next_id(&self) -> Result<u64> {
        let last = self.one("SELECT seq FROM sqlite_sequence WHERE name = 'obj'", [], |row| unsigned(row, 0))?;
        // The sequence was found set back, or ids at the end of their range: never hand one out again.
        let used = self.one("SELECT max(id) FROM obj", [], |row| row.get::<_, Option<i64>>(0))?.flatten();
        let used = used.and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
        let next = last.unwrap_or(0).max(used).checked_add(1).filter(|id| i64::try_from(*id).is_ok());
        next.ok_or_else(|| Code::DeviceMemory.because("the slot file has no object ids left"))
    }

    fn insert(&self, row: &ObjectRow, secret: Option<&[u8]>) -> Result<()> {
        let sql = "INSERT INTO obj(id, version, key_version, private, secret_version, attrs, secret) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (id, version, sealed_in) = (signed(row.id)?, signed(row.version)?, signed(row.secret_version)?);
        self.run(sql, params![id, version, row.key_version, row.private, sealed_in, row.attrs, secret])
    }

    fn update(&self, row: &ObjectRow, secret: Option<Option<&[u8]>>) -> Result<()> {
        let sql = "UPDATE obj SET version = ?2, key_version = ?3, private = ?4, secret_version = ?5, attrs = ?6 \
                   WHERE id = ?1";
        let (id, version, sealed_in) = (signed(row.id)?, signed(row.version)?, signed(row.secret_version)?);
        self.run(sql, params![id, version, row.key_version, row.private, sealed_in, row.attrs])?;
        match secret {
            Some(secret) => self.run("UPDATE obj SET secret = ?2 WHERE id = ?1", params![id, secret]),
            None => Ok(()),
        }
    }

    fn delete(&self, id: u64) -> Result<()> {
        self.run("DELETE FROM obj WHERE id = ?1", [signed(id)?])
    }

    fn add_tag(&self, private: bool, tag: &Tag, id: u64) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO tags(private, tag, id) VALUES (?1, ?2, ?3)";
        self.run(sql, params![private, tag, signed(id)?])
    }

    fn drop_tag(&self, private: bool, tag: &Tag, id: u64) -> Result<()> {
        let sql = "DELETE FROM tags WHERE private = ?1 AND tag = ?2 AND id = ?3";
        self.run(sql, params![private, tag, signed(id)?])
    }

    fn drop_all_tags(&self, id: u64) -> Result<()> {
        self.run("DELETE FROM tags WHERE id = ?1", [signed(id)?])
    }

    fn wipe(&self) -> Result<()> {
        // Row by row, not by truncation: so `secure_delete` overwrites, and the sequence of ids stays.
        ["DELETE FROM obj WHERE true", "DELETE FROM tags WHERE true", "DELETE FROM auth WHERE true"]
            .into_iter()
            .try_for_each(|sql| self.run(sql, []))
    }
}
