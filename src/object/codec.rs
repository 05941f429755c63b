//! The encoding of an object's attributes, as it lies inside sealed records (docs/slot-file.md).
//!
//! ```text
//! object   = version (1 byte, 0x01), list
//! list     = count, entry ...             entries of an object ascend by type; those of a template stand as given
//! entry    = type, tag (1 byte), value
//! value    = 0: length, bytes    1: list    2: number    3: false    4: true    5: count, number ...
//! ```
//! Counts, lengths, types and numbers are little-endian base 128 (LEB128) without superfluous bytes, so that an object
//! has one
//! encoding and it does not depend on the machine's word.

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::Attributes;
use super::row::{Shape, number, numbers};
use super::schema::any_row;
use crate::error::{Code, Error, Result};
use crate::secret::{Secret, SecretBytes};
use crate::token::{Attribute, Value};

const VERSION: u8 = 1;
/// Templates within templates; what `C_CreateObject` admits is less.
const MAX_DEPTH: usize = 8;
/// The shortest entry: a type, and a tag without a value.
const MIN_ENTRY: usize = 2;

const BYTES: u8 = 0;
const LIST: u8 = 1;
const NUMBER: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const NUMBERS: u8 = 5;

/// The encoding. Written at its full length at once: nothing is left behind in memory.
pub fn encode(object: &Attributes) -> SecretBytes {
    let mut out = Vec::with_capacity(encoded_len(object));
    write_object(&mut out, object);
    Secret::new(out)
}

/// Length of [`encode`]'s result, in bytes.
pub fn encoded_len(object: &Attributes) -> usize {
    let mut length = Length(0);
    write_object(&mut length, object);
    length.0
}

/// The object. `CKR_DEVICE_ERROR` for anything that [`encode`] of this or an earlier version did not write.
pub fn decode(bytes: &[u8]) -> Result<Attributes> {
    let mut reader = Reader { rest: bytes };
    let version = reader.byte()?;
    if version != VERSION {
        Err(Code::DeviceError.because(format!("object record of version {version}, this program reads {VERSION}")))?;
    }
    let list = reader.list(MAX_DEPTH)?;
    let ascending = list.windows(2).all(|pair| matches!(pair, [a, b] if a.ty < b.ty));
    match ascending && reader.rest.is_empty() {
        true => Ok(Attributes(list)),
        false => Err(malformed()),
    }
}

fn malformed() -> Error {
    Code::DeviceError.because("malformed object record")
}

trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn varint(&mut self, value: impl Into<u64>) {
        let mut value = value.into();
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
}

struct Length(usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

fn write_object(out: &mut impl Sink, object: &Attributes) {
    out.put(&[VERSION]);
    write_list(out, &object.0);
}

fn write_list(out: &mut impl Sink, list: &[Attribute]) {
    out.varint(list.len() as u64);
    for attribute in list {
        out.varint(attribute.ty);
        match &attribute.value {
            Value::Template(inner) => {
                out.put(&[LIST]);
                write_list(out, inner);
            }
            Value::Bytes(bytes) => write_bytes(out, attribute.ty, bytes),
        }
    }
}

/// In the form of the attribute's kind where the value has it, else as plain bytes.
fn write_bytes(out: &mut impl Sink, ty: CK_ATTRIBUTE_TYPE, bytes: &[u8]) {
    let shape = any_row(ty).map_or(Shape::Bytes, |row| row.kind.shape());
    match (shape, bytes) {
        (Shape::Bool, [CK_FALSE]) => out.put(&[FALSE]),
        (Shape::Bool, [CK_TRUE]) => out.put(&[TRUE]),
        (Shape::Ulong, _) if let Some(value) = number(bytes) => {
            out.put(&[NUMBER]);
            out.varint(value);
        }
        (Shape::Ulongs, _) if shape.fits(bytes) => {
            out.put(&[NUMBERS]);
            out.varint(numbers(bytes).count() as u64);
            numbers(bytes).for_each(|value| out.varint(value));
        }
        _ => {
            out.put(&[BYTES]);
            out.varint(bytes.len() as u64);
            out.put(bytes);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or_else(malformed)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and no last byte but the only one may be zero.
            if part << shift >> shift != part || byte == 0 && shift > 0 {
                return Err(malformed());
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    /// A count of things of which each takes at least `least` bytes of what is left: no allocation out of proportion to the input.
    fn count(&mut self, least: usize) -> Result<usize> {
        let count = usize::try_from(self.varint()?).map_err(|_| malformed())?;
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.rest.len() => Ok(count),
            _ => Err(malformed()),
        }
    }

    /// A `CK_ULONG`, which on this machine may be shorter than where it was written.
    fn number(&mut self) -> Result<CK_ULONG> {
        Ok(usize::try_from(self.varint()?).map_err(|_| malformed())? as CK_ULONG)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Attribute>> {
        let left = depth.checked_sub(1).ok_or_else(malformed)?;
        let count = self.count(MIN_ENTRY)?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(self.entry(left)?);
        }
        Ok(list)
    }

    fn entry(&mut self, depth: usize) -> Result<Attribute> {
        let ty = self.number()?;
        let value = match self.byte()? {
            BYTES => {
                let length = self.count(1)?;
                Zeroizing::new(self.take(length)?.to_vec())
            }
            LIST => return Ok(Attribute { ty, value: Value::Template(self.list(depth)?) }),
            NUMBER => return Ok(Attribute::ulong(ty, self.number()?)),
            FALSE => return Ok(Attribute::bool(ty, false)),
            TRUE => return Ok(Attribute::bool(ty, true)),
            NUMBERS => {
                let count = self.count(1)?;
                let mut bytes = Zeroizing::new(Vec::with_capacity(count.saturating_mul(size_of::<CK_ULONG>())));
                for _ in 0..count {
                    bytes.extend_from_slice(&self.number()?.to_ne_bytes());
                }
                bytes
            }
            _ => return Err(malformed()),
        };
        Ok(Attribute { ty, value: Value::Bytes(value) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn types() -> impl Strategy<Value = CK_ATTRIBUTE_TYPE> {
        let known: Vec<_> = super::super::schema::all_rows().map(|row| row.ty).collect();
        prop_oneof![3 => proptest::sample::select(known), 1 => any::<u64>()]
    }

    fn values() -> impl Strategy<Value = Value> {
        let bytes = prop_oneof![
            any::<bool>().prop_map(|b| vec![u8::from(b)]),
            any::<u64>().prop_map(|n| n.to_ne_bytes().to_vec()),
            proptest::collection::vec(any::<u64>(), 0..4)
                .prop_map(|l| l.iter().flat_map(|n| n.to_ne_bytes()).collect()),
            proptest::collection::vec(any::<u8>(), 0..300),
        ];
        bytes.prop_map(|b| Value::Bytes(Zeroizing::new(b))).prop_recursive(3, 12, 4, |inner| {
            proptest::collection::vec((types(), inner), 0..4)
                .prop_map(|list| Value::Template(list.into_iter().map(|(ty, value)| Attribute { ty, value }).collect()))
        })
    }

    fn objects() -> impl Strategy<Value = Attributes> {
        proptest::collection::vec((types(), values()), 0..20)
            .prop_map(|list| list.into_iter().map(|(ty, value)| Attribute { ty, value }).collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(object in objects()) {
            let bytes = encode(&object);
            prop_assert_eq!(bytes.expose().len(), encoded_len(&object));
            prop_assert_eq!(&decode(bytes.expose()).unwrap(), &object);
        }

        #[test]
        fn every_cut_is_refused(object in objects(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&object);
            let cut = cut.index(bytes.expose().len());
            prop_assert!(decode(&bytes.expose()[..cut]).is_err());
        }

        /// Whatever is accepted is the one encoding of what it means.
        #[test]
        fn a_changed_byte_is_refused_or_another_object(object in objects(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = encode(&object).expose().clone();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            if let Ok(other) = decode(&bytes) {
                prop_assert_ne!(other, object);
            }
        }

        #[test]
        fn garbage_does_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_small_object_is_small_and_stands_as_documented() {
        let object: Attributes = [
            Attribute::ulong(CKA_CLASS, CKO_DATA),
            Attribute::bool(CKA_TOKEN, true),
            Attribute::bytes(CKA_LABEL, b"ab"),
        ]
        .into_iter()
        .collect();
        assert_eq!(encode(&object).expose().as_slice(), [1, 3, 0, NUMBER, 0, 1, TRUE, 3, BYTES, 2, b'a', b'b']);
    }

    #[test]
    fn malformed_records_are_refused() {
        let cases: &[&[u8]] = &[
            &[],
            &[2, 0],
            &[1],
            &[1, 0, 0],
            &[1, 1, 3, 9],
            &[1, 2, 3, TRUE, 3, TRUE],
            &[1, 2, 3, TRUE, 1, TRUE],
            &[1, 1, 3, BYTES, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[1, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[1, 1, 0x83, 0, TRUE],
            &[1, 1, 3, NUMBER, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ];
        for bytes in cases {
            assert_eq!(decode(bytes).map_err(|e| e.code()), Err(Code::DeviceError), "{bytes:?}");
        }
        let deep = |depth: usize| [vec![1], [1, 3, LIST].repeat(depth), vec![0]].concat();
        assert!(decode(&deep(MAX_DEPTH - 1)).is_ok());
        assert!(decode(&deep(MAX_DEPTH)).is_err());
    }
}
