//! SoftHSM's database back end: `sqlite3.db`, with a table for each kind of attribute. Its values have the machine's own
//! byte order.

use std::collections::BTreeMap;
use std::path::Path;

use cryptoki_sys::CKA_ALLOWED_MECHANISMS;
use rusqlite::{Connection, OpenFlags};
use zeroize::Zeroizing;

use super::{Attributes, Contents, Value};

pub const NAME: &str = "sqlite3.db";

/// The object that is the token itself.
const TOKEN: i64 = 1;

/// What a table's values are.
type Reading = fn(u64, rusqlite::types::ValueRef<'_>) -> Option<Value>;

const TABLES: [(&str, Reading); 4] = [
    ("attribute_boolean", |_, value| Some(Value::Bool(value.as_i64().ok()? != 0))),
    ("attribute_integer", |_, value| Some(Value::Number(value.as_i64().ok()?.cast_unsigned()))),
    ("attribute_binary", |ty, value| {
        let bytes = value.as_blob_or_null().ok()?.unwrap_or_default();
        match ty {
            CKA_ALLOWED_MECHANISMS => mechanisms(bytes).map(Value::Mechanisms),
            _ => Some(Value::Bytes(Zeroizing::new(bytes.to_vec()))),
        }
    }),
    ("attribute_array", |_, value| template(value.as_blob_or_null().ok()?.unwrap_or_default()).map(Value::Template)),
];

pub fn read(directory: &Path) -> Result<Contents, String> {
    let path = directory.join(NAME);
    let mut objects =
        all(&path).map_err(|error| format!("{}: no token of SoftHSM, or damaged: {error}", path.display()))?;
    let token = objects.remove(&TOKEN).ok_or_else(|| format!("{}: there is no token in it", path.display()))?;
    let named = objects.into_iter().map(|(id, object)| (format!("{}, object {id}", path.display()), object));
    Ok(Contents { token, objects: named.collect() })
}

fn all(path: &Path) -> rusqlite::Result<BTreeMap<i64, Attributes>> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut objects: BTreeMap<i64, Attributes> = BTreeMap::new();
    for (table, reading) in TABLES {
        // Whoever removes an object leaves no attributes behind, unless another program did.
        let sql = format!(
            "SELECT object_id, type, value FROM {table} WHERE object_id IN (SELECT id FROM object) ORDER BY id"
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let ty = row.get::<_, i64>(1)?.cast_unsigned();
            let value = reading(ty, row.get_ref(2)?).ok_or(rusqlite::Error::InvalidQuery)?;
            objects.entry(row.get(0)?).or_default().push((ty, value));
        }
    }
    Ok(objects)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (head, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_ne_bytes(*head))
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
}

fn mechanisms(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(number(&mut bytes)?);
    }
    Some(found)
}

/// Types, kinds (of four bytes) and values.
fn template(mut rest: &[u8]) -> Option<Attributes> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let ty = number(&mut rest)?;
        let (kind, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        let value = match u32::from_ne_bytes(*kind) {
            1 => {
                let (byte, tail) = rest.split_first()?;
                rest = tail;
                Value::Bool(*byte != 0)
            }
            2 => Value::Number(number(&mut rest)?),
            3 => Value::Bytes(Zeroizing::new(counted(&mut rest)?.to_vec())),
            5 => Value::Mechanisms(mechanisms(counted(&mut rest)?)?),
            _ => return None,
        };
        found.push((ty, value));
    }
    Some(found)
}
