//! Templates in, and the answers of `C_GetAttributeValue` out.

use cryptoki_sys::*;
use smallvec::SmallVec;

use super::args::{In, OutExact, Place};
use crate::error::{Code, Result};
use crate::token::{Answer, Answers, Attribute, Value};

/// Attributes in one template, those of nested ones too. More is nothing that an object has.
const MAX_ATTRIBUTES: usize = 4096;

/// Templates within templates: a derived key's template may hold the template of what that key derives.
const MAX_DEPTH: usize = 4;

/// Attributes whose value is a template itself.
fn is_template(ty: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(
        ty,
        CKA_WRAP_TEMPLATE
            | CKA_UNWRAP_TEMPLATE
            | CKA_DERIVE_TEMPLATE
            | CKA_ENCAPSULATE_TEMPLATE
            | CKA_DECAPSULATE_TEMPLATE
    )
}

/// A template of the caller's, copied. `CKR_ARGUMENTS_BAD` for NULL with a length, `CKR_ATTRIBUTE_VALUE_INVALID` for a
/// nested template of broken length or too deep, `CKR_HOST_MEMORY`.
pub(super) fn read(template: In<CK_ATTRIBUTE>) -> Result<Vec<Attribute>> {
    let mut left = MAX_ATTRIBUTES;
    read_level(template, MAX_DEPTH, &mut left)
}

fn read_level(template: In<CK_ATTRIBUTE>, depth: usize, left: &mut usize) -> Result<Vec<Attribute>> {
    let entries: SmallVec<[CK_ATTRIBUTE; 16]> = template.elements(*left)?;
    *left = left.saturating_sub(entries.len());
    entries.iter().map(|entry| Ok(Attribute { ty: entry.type_, value: read_value(entry, depth, left)? })).collect()
}

fn read_value(entry: &CK_ATTRIBUTE, depth: usize, left: &mut usize) -> Result<Value> {
    if !is_template(entry.type_) {
        // SAFETY: the caller's promise for the value of an attribute (see `args`).
        return Ok(Value::Bytes(unsafe { In::new(entry.pValue.cast(), entry.ulValueLen) }.secret_copy()?));
    }
    let size = size_of::<CK_ATTRIBUTE>() as CK_ULONG;
    let depth = depth.checked_sub(1).ok_or(Code::AttributeValueInvalid)?;
    if !entry.ulValueLen.is_multiple_of(size) {
        Err(Code::AttributeValueInvalid)?;
    }
    // SAFETY: as above; the length is that of the whole elements.
    let nested = unsafe { In::new(entry.pValue.cast::<CK_ATTRIBUTE>(), entry.ulValueLen / size) };
    Ok(Value::Template(read_level(nested, depth, left)?))
}

/// The codes that do not stop `C_GetAttributeValue` (PKCS#11 3.2, 5.7.5); the weightiest seen is returned at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    Fine,
    TooSmall,
    Absent,
    Sensitive,
}

/// Asks for the types of a template and writes the answers into it: the whole batch, whatever one entry meets.
/// `CKR_ATTRIBUTE_SENSITIVE`, `CKR_ATTRIBUTE_TYPE_INVALID`, `CKR_BUFFER_TOO_SMALL`, in this order of weight.
pub(super) fn answer(
    template: In<CK_ATTRIBUTE>,
    get: impl FnOnce(&[CK_ATTRIBUTE_TYPE]) -> Result<Answers>,
) -> Result<()> {
    let entries: SmallVec<[CK_ATTRIBUTE; 2]> = template.elements(MAX_ATTRIBUTES)?;
    let types: SmallVec<[CK_ATTRIBUTE_TYPE; 2]> = entries.iter().map(|entry| entry.type_).collect();
    let answers = get(&types)?;
    let mut worst = Worst::Fine;
    for (at, (entry, answer)) in entries.iter().zip(&answers).enumerate() {
        worst = worst.max(match answer {
            Answer::Value(value) => write(*entry, template.place(at), value)?,
            Answer::Sensitive => unavailable(*entry, template.place(at), Worst::Sensitive)?,
            Answer::Absent => unavailable(*entry, template.place(at), Worst::Absent)?,
        });
    }
    match worst {
        Worst::Fine => Ok(()),
        Worst::TooSmall => Err(Code::BufferTooSmall.into()),
        Worst::Absent => Err(Code::AttributeTypeInvalid.into()),
        Worst::Sensitive => Err(Code::AttributeSensitive.into()),
    }
}

fn unavailable(mut entry: CK_ATTRIBUTE, place: Place<CK_ATTRIBUTE>, why: Worst) -> Result<Worst> {
    entry.ulValueLen = CK_UNAVAILABLE_INFORMATION;
    place.put(entry)?;
    Ok(why)
}

fn write(mut entry: CK_ATTRIBUTE, place: Place<CK_ATTRIBUTE>, value: &Value) -> Result<Worst> {
    let needed = match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Template(nested) => nested.len().saturating_mul(size_of::<CK_ATTRIBUTE>()),
    } as CK_ULONG;
    if !entry.pValue.is_null() && entry.ulValueLen < needed {
        return unavailable(entry, place, Worst::TooSmall);
    }
    entry.ulValueLen = needed;
    place.put(entry)?;
    match value {
        _ if entry.pValue.is_null() => Ok(Worst::Fine),
        Value::Bytes(bytes) => write_bytes(&entry, bytes),
        Value::Template(nested) => write_nested(&entry, nested),
    }
}

fn write_bytes(entry: &CK_ATTRIBUTE, bytes: &[u8]) -> Result<Worst> {
    // SAFETY: the caller promised as much room as the entry said, and that was compared with the value's length.
    let out = unsafe { OutExact::new(entry.pValue.cast(), entry.ulValueLen) };
    out.fill(|out| {
        out.copy_from_slice(bytes);
        Ok(())
    })?;
    Ok(Worst::Fine)
}

/// The caller's array holds, in each element, room for that element's value; its type is ours to set.
fn write_nested(entry: &CK_ATTRIBUTE, nested: &[Attribute]) -> Result<Worst> {
    // SAFETY: the caller promised as much room as the entry said, and that was compared with the array's length.
    let array = unsafe { In::new(entry.pValue.cast::<CK_ATTRIBUTE>(), nested.len() as CK_ULONG) };
    let room: SmallVec<[CK_ATTRIBUTE; 16]> = array.elements(nested.len())?;
    let mut worst = Worst::Fine;
    for (at, (element, attribute)) in room.iter().zip(nested).enumerate() {
        let element = CK_ATTRIBUTE { type_: attribute.ty, ..*element };
        worst = worst.max(write(element, array.place(at), &attribute.value)?);
    }
    Ok(worst)
}
