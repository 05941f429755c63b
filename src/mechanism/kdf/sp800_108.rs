//! Key-based key derivation (PKCS#11 3.2, SP800-108 Key Derivation), of one key or several.

use cryptoki_sys::*;

use super::super::generic::MAX_SECRET;
use super::super::plan::{Plan, Request, Wanted, fill_protection};
use super::super::prf::{of_mechanism, takes};
use super::super::secret_key::SecretKey;
use super::super::table::{Derivation, Does, Made, NOTHING, ParamKind, Row};
use super::{derivation, others};
use crate::crypto::kbkdf::{self, Field, Format, Mode};
use crate::crypto::prf::Prf;
use crate::error::{Code, Error, Result};
use crate::object::Attributes;
use crate::object::build::Heritage;
use crate::secret::SecretBytes;
use crate::token::{Attribute, KbkdfField, KbkdfParams, NumberFormat, Params};

pub const ROWS: &[Row] = &[
    row(CKM_SP800_108_COUNTER_KDF, "CKM_SP800_108_COUNTER_KDF", ParamKind::Kbkdf),
    row(CKM_SP800_108_FEEDBACK_KDF, "CKM_SP800_108_FEEDBACK_KDF", ParamKind::FeedbackKbkdf),
    row(CKM_SP800_108_DOUBLE_PIPELINE_KDF, "CKM_SP800_108_DOUBLE_PIPELINE_KDF", ParamKind::Kbkdf),
];

const fn row(ty: CK_MECHANISM_TYPE, name: &'static str, params: ParamKind) -> Row {
    Row {
        // In bits, as the section has it.
        size: (8, 8 * MAX_SECRET as CK_ULONG),
        does: Does { derive_all: Some(derive), plan, heritage, ..NOTHING },
        ..derivation(ty, name, params)
    }
}

/// "If the base key or any of the additional input keys": one with a clean history is enough.
fn heritage(parents: &[&Attributes]) -> Heritage {
    Heritage {
        sensitive: false,
        unextractable: false,
        always_sensitive: parents.iter().any(|parent| parent.is_true(CKA_ALWAYS_SENSITIVE)),
        never_extractable: parents.iter().any(|parent| parent.is_true(CKA_NEVER_EXTRACTABLE)),
    }
}

/// What a template leaves open of `CKA_SENSITIVE` and `CKA_EXTRACTABLE` is the base key's. `CKR_KEY_TYPE_INCONSISTENT` for a
/// base key that the PRF is not of.
fn plan(request: Request<'_>) -> Result<Plan> {
    if let (Params::Kbkdf(params), Some(key_type)) = (request.params, request.base.ulong(CKA_KEY_TYPE)) {
        takes(params.prf, key_type)?;
    }
    let wanted = |mut template: Vec<Attribute>| {
        fill_protection(&mut template, request.base);
        Wanted::secret(template)
    };
    let further = request.further.into_iter().enumerate();
    Ok(Plan {
        key: Some(wanted(request.template)?),
        further: further.map(|(at, template)| wanted(template).map_err(|e| e.of(at))).collect::<Result<_>>()?,
    })
}

fn invalid(why: &str) -> Error {
    Code::MechanismParamInvalid.because(why)
}

/// `CKR_MECHANISM_PARAM_INVALID` for an unknown PRF and for fields that the mode does not have; `CKR_KEY_SIZE_RANGE`,
/// `CKR_TEMPLATE_INCOMPLETE` where a key has no length.
fn derive(from: &Derivation<'_>) -> Result<Made> {
    let Params::Kbkdf(params) = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    let mode = mode(from.row, params)?;
    let prf = of_mechanism(params.prf, SecretKey::of(Some(from.base))?)?;
    let lengths = lengths(from)?;
    // No key is made of a part of a value that went into another (Deriving Additional Keys).
    let whole = |length: usize| length.next_multiple_of(prf.len());
    let segments = lengths.iter().map(|&length| whole(length)).sum();
    let values = others(from)?;
    let layout = Layout { mode, keys: lengths.iter().sum(), segments, others: &values };
    let fields = layout.fields(&params.fields)?;
    let mut material = SecretBytes::zeroed(segments);
    kbkdf::derive(&prf, mode, &fields.iter().map(Owned::field).collect::<Vec<_>>(), material.expose_mut())?;
    cut(material.expose(), &lengths, &prf)
}

fn cut(material: &[u8], lengths: &[usize], prf: &Prf) -> Result<Made> {
    let mut rest = material;
    let mut values = Vec::with_capacity(lengths.len());
    for &length in lengths {
        values.push(SecretBytes::copy_from(rest.get(..length).ok_or(Code::GeneralError)?));
        rest = rest.get(length.next_multiple_of(prf.len())..).ok_or(Code::GeneralError)?;
    }
    Ok(Made::values(values))
}

fn mode<'a>(row: &Row, params: &'a KbkdfParams) -> Result<Mode<'a>> {
    match row.ty {
        CKM_SP800_108_COUNTER_KDF => Ok(Mode::Counter),
        CKM_SP800_108_FEEDBACK_KDF => Ok(Mode::Feedback(&params.iv)),
        CKM_SP800_108_DOUBLE_PIPELINE_KDF => Ok(Mode::DoublePipeline),
        _ => Err(Code::GeneralError.into()),
    }
}

fn lengths(from: &Derivation<'_>) -> Result<Vec<usize>> {
    let check = |length: Option<usize>| match length {
        Some(length) if (1..=MAX_SECRET).contains(&length) => Ok(length),
        Some(_) => Err(Error::from(Code::KeySizeRange)),
        None => Err(Code::TemplateIncomplete.because("a key without CKA_VALUE_LEN, of a type that needs it")),
    };
    let further = from.further.iter().enumerate().map(|(at, &length)| check(length).map_err(|e| e.of(at)));
    std::iter::once(check(from.length)).chain(further).collect()
}

/// What decides the input of the PRF beside the fields themselves; lengths in bytes.
struct Layout<'a> {
    mode: Mode<'a>,
    keys: usize,
    segments: usize,
    others: &'a [&'a [u8]],
}

enum Owned<'a> {
    Iteration(Format),
    Counter(Format),
    Fixed(&'a [u8]),
    Number(Vec<u8>),
}

impl Owned<'_> {
    fn field(&self) -> Field<'_> {
        match self {
            Owned::Iteration(format) => Field::Iteration(*format),
            Owned::Counter(format) => Field::Counter(*format),
            Owned::Fixed(bytes) => Field::Fixed(bytes),
            Owned::Number(bytes) => Field::Fixed(bytes),
        }
    }
}

impl<'a> Layout<'a> {
    /// One iteration variable; a counter and a length at most once.
    fn fields(&self, fields: &'a [KbkdfField]) -> Result<Vec<Owned<'a>>> {
        let count = |is: fn(&KbkdfField) -> bool| fields.iter().filter(|field| is(field)).count();
        if count(|field| matches!(field, KbkdfField::Iteration(_))) != 1 {
            return Err(invalid("the iteration variable stands once in the input"));
        }
        if count(|field| matches!(field, KbkdfField::Counter(_))) > 1
            || count(|field| matches!(field, KbkdfField::Length { .. })) > 1
        {
            return Err(invalid("counter and length stand at most once in the input"));
        }
        let mut others = self.others.iter();
        let next = |field| self.field(field, &mut || others.next().copied());
        fields.iter().map(next).collect()
    }

    fn field(&self, field: &'a KbkdfField, other: &mut dyn FnMut() -> Option<&'a [u8]>) -> Result<Owned<'a>> {
        let counter = self.mode == Mode::Counter;
        Ok(match field {
            KbkdfField::Iteration(Some(number)) if counter => Owned::Iteration(format(number, 4)?),
            // Its form is that of a value: the format is not looked at.
            KbkdfField::Iteration(None) if !counter => Owned::Iteration(Format { len: 4, little_endian: false }),
            KbkdfField::Iteration(_) => {
                return Err(invalid("the iteration variable has a format in the counter mode, and only there"));
            }
            KbkdfField::Counter(_) if counter => {
                return Err(invalid("the counter mode has no counter beside the iteration variable"));
            }
            KbkdfField::Counter(number) => Owned::Counter(format(number, 4)?),
            KbkdfField::Length { of_segments, format: number } => {
                let bytes = if *of_segments { self.segments } else { self.keys };
                let bits =
                    u64::try_from(bytes).ok().and_then(|bytes| bytes.checked_mul(8)).ok_or(Code::KeySizeRange)?;
                let written = format(number, 8)?.bytes(bits);
                Owned::Number(written.ok_or_else(|| invalid("the length does not fit into its field"))?)
            }
            KbkdfField::Bytes(bytes) => Owned::Fixed(bytes),
            KbkdfField::Key(_) => Owned::Fixed(other().ok_or(Code::GeneralError)?),
        })
    }
}

/// Whole bytes, as many as `most`.
fn format(number: &NumberFormat, most: usize) -> Result<Format> {
    let len =
        usize::try_from(number.bits / 8).ok().filter(|len| (1..=most).contains(len) && number.bits.is_multiple_of(8));
    let len = len.ok_or_else(|| invalid("a number in the input is 8, 16, 24 or 32 bits wide; a length up to 64"))?;
    Ok(Format { len, little_endian: number.little_endian })
}
