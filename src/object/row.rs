//! One row: an attribute of a class, in the words of the specification's tables.

use cryptoki_sys::*;

use crate::crypto::check_value::Check;
use crate::error::{Code, Result};
use crate::lifecycle::State;
use crate::token::{Attribute, Value};

/// What a value must look like. Lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `CK_BBOOL`, `CK_TRUE` or `CK_FALSE` and nothing else.
    Bool,
    /// `CK_BBOOL` that has only this value here.
    Always(bool),
    Ulong,
    /// `CK_ULONG` out of a list, with the specification's names.
    OneOf(&'static [(CK_ULONG, &'static str)]),
    /// Array of `CK_ULONG`.
    Ulongs,
    Bytes,
    /// At least one byte.
    Filled,
    /// One of these lengths.
    Sized(&'static [usize]),
    /// The length at place `CKA_PARAMETER_SET` - 1; any while the set is not known.
    SizedBySet(&'static [usize]),
    /// DES keys of this length with odd parity.
    Des(usize),
    /// Unsigned, most significant byte first, not empty.
    Integer,
    /// Bytes meant as UTF-8. Not checked: labels in local encodings are in use, and nothing here reads them.
    Text,
    /// `CK_DATE`, or empty.
    Date,
    /// `CK_VERSION`.
    Version,
    /// An array of attributes.
    Template,
}

/// What a [`Kind`] comes down to where the class is not known: nested templates, the encoding, the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Bool,
    Ulong,
    Ulongs,
    Bytes,
    Text,
    Date,
    Template,
}

/// Where a value comes from that nobody gave.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// The attribute is absent, unless a footnote makes it required.
    Nobody,
    False,
    True,
    Empty,
    Number(CK_ULONG),
    /// Not kept: what an object that says nothing is read as.
    Implied(CK_ULONG),
    /// `CK_TRUE` where the key type is made for this use, else `CK_FALSE`.
    Use,
    /// From the object's other attributes and its origin, after all else is in place.
    Computed(Compute),
}

#[derive(Clone, Copy, Debug)]
pub enum Compute {
    UniqueId,
    /// Length in bytes of that attribute.
    Length(CK_ATTRIBUTE_TYPE),
    /// Length in bits of that big integer.
    Bits(CK_ATTRIBUTE_TYPE),
    /// Checksum of `CKA_VALUE`; an empty one asks for none.
    Check(Check),
    /// CRC-64 of that attribute.
    Crc64(CK_ATTRIBUTE_TYPE),
    /// Generated here.
    Local,
    KeyGenMechanism,
    AlwaysSensitive,
    NeverExtractable,
    /// The clock's.
    Now,
    /// Pre-active while the date of activation lies ahead; else nothing, which is read as active.
    State,
}

/// An attribute of a class.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub ty: CK_ATTRIBUTE_TYPE,
    /// As in the specification: `CKA_LABEL`.
    pub name: &'static str,
    pub kind: Kind,
    pub source: Source,
    notes: u32,
}

/// Footnotes of our own, beside the specification's 1 to 13 (PKCS#11 3.2, 4.2, table "Common footnotes").
pub mod note {
    /// May be changed by `C_CopyObject` alone.
    pub const COPY: u8 = 20;
    /// A value in the template must be the one that the token finds.
    pub const VERIFIED: u8 = 21;
}

impl Row {
    pub const fn new(ty: CK_ATTRIBUTE_TYPE, name: &'static str, kind: Kind, notes: &[u8], source: Source) -> Row {
        let mut bits = 0;
        let mut rest = notes;
        while let [first, tail @ ..] = rest {
            bits |= 1 << *first;
            rest = tail;
        }
        Row { ty, name, kind, source, notes: bits }
    }

    /// Whether the row carries this footnote.
    pub const fn has(&self, note: u8) -> bool {
        self.notes >> note & 1 == 1
    }

    /// Footnote 7: revealed only if the object is extractable and not sensitive; kept in the sealed secret part.
    pub const fn secret(&self) -> bool {
        self.has(7)
    }

    /// The value that stands where nobody gave one, if it depends on nothing but the key type.
    pub fn default(&self, made_for: bool) -> Option<Attribute> {
        match self.source {
            Source::Nobody | Source::Implied(_) | Source::Computed(_) => None,
            Source::False => Some(Attribute::bool(self.ty, false)),
            Source::True => Some(Attribute::bool(self.ty, true)),
            Source::Use => Some(Attribute::bool(self.ty, made_for)),
            Source::Empty => Some(Attribute::bytes(self.ty, &[])),
            Source::Number(number) => Some(Attribute::ulong(self.ty, number)),
        }
    }

    /// What an object without this attribute is read as.
    pub fn implied(&self) -> Option<Value> {
        let number = match self.source {
            Source::Implied(number) => number,
            Source::Computed(Compute::State) => State::default() as CK_ULONG,
            _ => return None,
        };
        Some(Attribute::ulong(self.ty, number).value)
    }

    /// Sets the parity of a DES key that a derivation or a generator made.
    pub fn mend(&self, value: &mut Value) {
        if let (Kind::Des(_), Value::Bytes(bytes)) = (self.kind, value) {
            bytes.iter_mut().for_each(|b| *b ^= u8::from(b.count_ones() % 2 == 0));
        }
    }

    /// The form of a value. `CKR_ATTRIBUTE_VALUE_INVALID`; `CKR_TEMPLATE_INCONSISTENT` for a template nested too deep
    /// or with an attribute twice. `set`: the object's `CKA_PARAMETER_SET`, where it has one.
    pub fn check(&self, value: &Value, set: Option<CK_ULONG>) -> Result<()> {
        let fits = match (self.kind, value) {
            (Kind::Template, Value::Template(template)) => return super::nested::check(template),
            (Kind::Template, Value::Bytes(_)) | (_, Value::Template(_)) => false,
            (kind, Value::Bytes(bytes)) => kind.fits(bytes, set),
        };
        match fits {
            true => Ok(()),
            false => Err(Code::AttributeValueInvalid.because(format!("{} has no value of its kind", self.name))),
        }
    }
}

impl Kind {
    fn fits(self, bytes: &[u8], set: Option<CK_ULONG>) -> bool {
        match self {
            Kind::Always(value) => matches!(bytes, [b] if *b == u8::from(value)),
            Kind::OneOf(list) => number(bytes).is_some_and(|n| list.iter().any(|(known, _)| *known == n)),
            Kind::Filled | Kind::Integer => !bytes.is_empty(),
            Kind::Sized(lengths) => lengths.contains(&bytes.len()),
            Kind::SizedBySet(lengths) => set.is_none_or(|set| by_set(lengths, set) == Some(bytes.len())),
            Kind::Des(length) => bytes.len() == length && bytes.iter().all(|b| b.count_ones() % 2 == 1),
            Kind::Version => bytes.len() == size_of::<CK_VERSION>(),
            Kind::Bool | Kind::Ulong | Kind::Ulongs | Kind::Bytes | Kind::Text | Kind::Date | Kind::Template => {
                self.shape().fits(bytes)
            }
        }
    }

    pub const fn shape(self) -> Shape {
        match self {
            Kind::Bool | Kind::Always(_) => Shape::Bool,
            Kind::Ulong | Kind::OneOf(_) => Shape::Ulong,
            Kind::Ulongs => Shape::Ulongs,
            Kind::Text => Shape::Text,
            Kind::Date => Shape::Date,
            Kind::Template => Shape::Template,
            Kind::Bytes
            | Kind::Filled
            | Kind::Sized(_)
            | Kind::SizedBySet(_)
            | Kind::Des(_)
            | Kind::Integer
            | Kind::Version => Shape::Bytes,
        }
    }
}

impl Shape {
    pub fn fits(self, bytes: &[u8]) -> bool {
        match self {
            Shape::Bool => matches!(bytes, [CK_FALSE | CK_TRUE]),
            Shape::Ulong => number(bytes).is_some(),
            Shape::Ulongs => bytes.len().is_multiple_of(size_of::<CK_ULONG>()),
            Shape::Date => bytes.is_empty() || date(bytes),
            Shape::Bytes | Shape::Text => true,
            Shape::Template => false,
        }
    }
}

/// One `CK_ULONG`.
pub fn number(bytes: &[u8]) -> Option<CK_ULONG> {
    Some(CK_ULONG::from_ne_bytes(bytes.try_into().ok()?))
}

/// An array of `CK_ULONG`; what is over at the end is left out.
pub fn numbers(bytes: &[u8]) -> impl Iterator<Item = CK_ULONG> + '_ {
    bytes.chunks_exact(size_of::<CK_ULONG>()).filter_map(number)
}

fn by_set(lengths: &[usize], set: CK_ULONG) -> Option<usize> {
    lengths.get(usize::try_from(set.checked_sub(1)?).ok()?).copied()
}

/// `YYYYMMDD` of a day that the Gregorian calendar has.
fn date(bytes: &[u8]) -> bool {
    let digits = |range: std::ops::Range<usize>| -> Option<u32> {
        bytes.get(range)?.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
    };
    let (Some(year), Some(month), Some(day), 8) = (digits(0..4), digits(4..6), digits(6..8), bytes.len()) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Rows as the specification's tables have them: `CKA_X: Kind [footnotes] = Source;`
macro_rules! rows {
    ($($(#[$doc:meta])* $ty:ident : $kind:expr, [$($note:expr),*] $(= $source:expr)?;)*) => {
        &[$($crate::object::row::Row::new(
            cryptoki_sys::$ty,
            stringify!($ty),
            { use $crate::object::row::Kind::*; $kind },
            &[$($note),*],
            { use $crate::object::row::Source::*; rows!(@source $($source)?) },
        )),*]
    };
    (@source) => { Nobody };
    (@source $source:expr) => { $source };
}
pub(super) use rows;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_of_the_calendar() {
        for good in ["20240229", "20000229", "19991231", "00010101"] {
            assert!(date(good.as_bytes()), "{good}");
        }
        for bad in
            ["20230229", "19000229", "20240001", "20241301", "20240431", "2024010", "202401011", "2024010a", "        "]
        {
            assert!(!date(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn kinds_refuse_other_lengths_and_values() {
        let fits = |kind: Kind, bytes: &[u8]| kind.fits(bytes, Some(2));
        assert!(fits(Kind::Bool, &[1]) && fits(Kind::Bool, &[0]));
        assert!(!fits(Kind::Bool, &[2]) && !fits(Kind::Bool, &[]) && !fits(Kind::Bool, &[1, 0]));
        assert!(fits(Kind::Always(false), &[0]) && !fits(Kind::Always(false), &[1]));
        assert!(fits(Kind::Ulong, &[0; 8]) && !fits(Kind::Ulong, &[0; 4]));
        assert!(fits(Kind::Ulongs, &[]) && fits(Kind::Ulongs, &[0; 16]) && !fits(Kind::Ulongs, &[0; 9]));
        assert!(fits(Kind::OneOf(&[(3, "x")]), &3u64.to_ne_bytes()) && !fits(Kind::OneOf(&[(3, "x")]), &[0; 8]));
        assert!(fits(Kind::SizedBySet(&[1, 2]), &[0; 2]) && !fits(Kind::SizedBySet(&[1, 2]), &[0; 1]));
        assert!(!fits(Kind::SizedBySet(&[1]), &[0; 1]), "a parameter set beyond the list");
        assert!(fits(Kind::Des(8), &[1; 8]) && !fits(Kind::Des(8), &[3; 8]) && !fits(Kind::Des(8), &[1; 16]));
        assert!(fits(Kind::Date, b"") && fits(Kind::Date, b"20240101") && !fits(Kind::Date, b"00000000"));
    }
}
