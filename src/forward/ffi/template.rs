//! Templates to C, and the answers of `C_GetAttributeValue` from it.

use cryptoki_sys::*;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::Local;
use crate::forward::call::Rv;
use crate::token::{Answer, Answers, Attribute, Value};

/// Where an attribute's value goes at the first try; longer ones are asked for again.
const ROOM: usize = 512;

/// The longest value that is believed, in bytes.
const LONGEST: usize = 1 << 24;

/// Attributes of one nested template that are believed.
const MAX_NESTED: usize = 1024;

/// A template as C reads it; the attributes must outlive it.
pub(super) struct Template {
    entries: SmallVec<[CK_ATTRIBUTE; 16]>,
    /// The nested ones, each in its own place on the heap: their entries may be inline.
    #[allow(clippy::vec_box)]
    _nested: Vec<Box<Template>>,
}

impl Template {
    pub(super) fn new(attributes: &[Attribute]) -> Template {
        let mut nested = Vec::new();
        let mut entry = |attribute: &Attribute| {
            let (value, length) = match &attribute.value {
                Value::Bytes(bytes) => (bytes.as_ptr().cast_mut().cast(), bytes.len() as CK_ULONG),
                Value::Template(inner) => {
                    let mut inner = Box::new(Template::new(inner));
                    let (entries, count) = inner.raw();
                    nested.push(inner);
                    (entries.cast(), count.saturating_mul(size_of::<CK_ATTRIBUTE>() as CK_ULONG))
                }
            };
            CK_ATTRIBUTE { type_: attribute.ty, pValue: value, ulValueLen: length }
        };
        let entries = attributes.iter().map(&mut entry).collect();
        Template { entries, _nested: nested }
    }

    pub(super) fn raw(&mut self) -> (*mut CK_ATTRIBUTE, CK_ULONG) {
        let count = self.entries.len() as CK_ULONG;
        (if count == 0 { std::ptr::null_mut() } else { self.entries.as_mut_ptr() }, count)
    }
}

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

/// The codes that do not stop the whole call (PKCS#11 3.2, 5.7.5).
fn of_one_attribute(rv: CK_RV) -> bool {
    matches!(rv, CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID | CKR_BUFFER_TOO_SMALL)
}

impl Local {
    /// One answer per type. All in one call where their values are short and no two of them are refused.
    pub(super) fn attributes(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        types: &[CK_ATTRIBUTE_TYPE],
    ) -> Rv<Answers> {
        if let [one] = types {
            return Ok(std::iter::once(self.attribute(session, object, *one)?).collect());
        }
        let mut rooms = Zeroizing::new(vec![0u8; types.len().saturating_mul(ROOM)]);
        let entry = |(ty, room): (&CK_ATTRIBUTE_TYPE, &mut [u8])| CK_ATTRIBUTE {
            type_: *ty,
            pValue: if is_template(*ty) { std::ptr::null_mut() } else { room.as_mut_ptr().cast() },
            ulValueLen: if is_template(*ty) { 0 } else { ROOM as CK_ULONG },
        };
        let mut entries: SmallVec<[CK_ATTRIBUTE; 16]> =
            types.iter().zip(rooms.chunks_exact_mut(ROOM)).map(entry).collect();
        let rv = match self.get_attributes(session, object, &mut entries) {
            Ok(()) => CKR_OK,
            Err(rv) if of_one_attribute(rv) => rv,
            Err(rv) => return Err(rv),
        };
        // Where one alone is refused, the code is its own.
        let refused = |entry: &CK_ATTRIBUTE| entry.ulValueLen == CK_UNAVAILABLE_INFORMATION;
        let one = entries.iter().filter(|entry| refused(entry)).count() == 1;
        let alone = |entry: &CK_ATTRIBUTE| one && refused(entry);
        let mut answers = SmallVec::new();
        for ((ty, entry), room) in types.iter().zip(&entries).zip(rooms.chunks_exact(ROOM)) {
            let told = usize::try_from(entry.ulValueLen).ok();
            let value = told.and_then(|len| room.get(..len)).filter(|_| !is_template(*ty));
            // A module that stopped at the first refusal has left the others as they were.
            let answered = rv == CKR_OK || entry.ulValueLen != ROOM as CK_ULONG;
            answers.push(match value.filter(|_| answered) {
                Some(value) => Answer::Value(Value::Bytes(Zeroizing::new(value.to_vec()))),
                None if alone(entry) && rv == CKR_ATTRIBUTE_SENSITIVE => Answer::Sensitive,
                None if alone(entry) && rv == CKR_ATTRIBUTE_TYPE_INVALID => Answer::Absent,
                None => self.attribute(session, object, *ty)?,
            });
        }
        Ok(answers)
    }

    /// One attribute by itself.
    fn attribute(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Rv<Answer> {
        if is_template(ty) {
            return self.nested(session, object, ty);
        }
        let mut room = Zeroizing::new(vec![0u8; ROOM]);
        for _ in 0..3 {
            let mut entry =
                [CK_ATTRIBUTE { type_: ty, pValue: room.as_mut_ptr().cast(), ulValueLen: room.len() as CK_ULONG }];
            match self.get_attributes(session, object, &mut entry) {
                Ok(()) => {
                    let value = told_length(&entry).and_then(|len| room.get(..len).map(<[u8]>::to_vec));
                    let value = value.ok_or(CKR_DEVICE_ERROR)?;
                    return Ok(Answer::Value(Value::Bytes(Zeroizing::new(value))));
                }
                Err(CKR_ATTRIBUTE_SENSITIVE) => return Ok(Answer::Sensitive),
                Err(CKR_ATTRIBUTE_TYPE_INVALID) => return Ok(Answer::Absent),
                Err(CKR_BUFFER_TOO_SMALL) => {
                    let mut entry = [CK_ATTRIBUTE { type_: ty, pValue: std::ptr::null_mut(), ulValueLen: 0 }];
                    self.get_attributes(session, object, &mut entry)?;
                    let len = told_length(&entry).filter(|len| *len <= LONGEST).ok_or(CKR_DEVICE_ERROR)?;
                    room = Zeroizing::new(vec![0u8; len]);
                }
                Err(rv) => return Err(rv),
            }
        }
        Err(CKR_DEVICE_ERROR)
    }

    /// `CKA_WRAP_TEMPLATE` and its kin: how many, how long each, and then the values.
    fn nested(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Rv<Answer> {
        let mut entry = [CK_ATTRIBUTE { type_: ty, pValue: std::ptr::null_mut(), ulValueLen: 0 }];
        match self.get_attributes(session, object, &mut entry) {
            Ok(()) => {}
            Err(CKR_ATTRIBUTE_SENSITIVE) => return Ok(Answer::Sensitive),
            Err(CKR_ATTRIBUTE_TYPE_INVALID) => return Ok(Answer::Absent),
            Err(rv) => return Err(rv),
        }
        let count = told_length(&entry).ok_or(CKR_DEVICE_ERROR)? / size_of::<CK_ATTRIBUTE>();
        if count > MAX_NESTED {
            return Err(CKR_DEVICE_ERROR);
        }
        let mut inner = vec![CK_ATTRIBUTE { type_: 0, pValue: std::ptr::null_mut(), ulValueLen: 0 }; count];
        if count == 0 {
            return Ok(Answer::Value(Value::Template(Vec::new())));
        }
        let ask = |inner: &mut Vec<CK_ATTRIBUTE>| {
            let value = inner.as_mut_ptr().cast();
            let mut entry = [CK_ATTRIBUTE {
                type_: ty,
                pValue: value,
                ulValueLen: (count * size_of::<CK_ATTRIBUTE>()) as CK_ULONG,
            }];
            self.get_attributes(session, object, &mut entry)
        };
        ask(&mut inner)?;
        let mut values = Vec::with_capacity(count);
        for attribute in &mut inner {
            let len = told_length(std::slice::from_ref(attribute)).filter(|len| *len <= LONGEST);
            let mut value = Zeroizing::new(vec![0u8; len.ok_or(CKR_DEVICE_ERROR)?]);
            attribute.pValue = value.as_mut_ptr().cast();
            values.push(value);
        }
        ask(&mut inner)?;
        let attributes = inner.iter().zip(values).map(|(attribute, mut value)| {
            value.truncate(told_length(std::slice::from_ref(attribute)).unwrap_or(0));
            Attribute { ty: attribute.type_, value: Value::Bytes(value) }
        });
        Ok(Answer::Value(Value::Template(attributes.collect())))
    }
}

fn told_length(entry: &[CK_ATTRIBUTE]) -> Option<usize> {
    let len = entry.first()?.ulValueLen;
    if len == CK_UNAVAILABLE_INFORMATION { None } else { usize::try_from(len).ok() }
}
