//! The object model: which attributes each class has (`schema`, over the tables in `rows`), and the one interpreter of
//! those
//! rows (`build`, with `compute` for what the token finds itself and `view` for reading, searching and sealing).

pub mod build;
pub mod codec;
pub mod life;
pub mod names;
pub mod policy;
pub mod row;
pub mod schema;
pub mod transfer;

mod compute;
mod nested;
mod rows;
mod view;

use cryptoki_sys::*;

use crate::error::{Code, Result};
use crate::token::{Attribute, Value};

/// An object's attributes, sorted by type, each type once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<Attribute>);

impl Attributes {
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// A template's attributes. The same value twice counts once; `CKR_TEMPLATE_INCONSISTENT` for two different ones.
    pub fn once_each(mut template: Vec<Attribute>) -> Result<Attributes> {
        template.sort_by_key(|a| a.ty);
        template.dedup();
        match template.windows(2).any(|pair| matches!(pair, [a, b] if a.ty == b.ty)) {
            true => Err(Code::TemplateInconsistent.because("an attribute twice, with different values")),
            false => Ok(Attributes(template)),
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Attribute> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of memory that they take.
    pub fn memory(&self) -> usize {
        memory(&self.0)
    }

    pub fn get(&self, ty: CK_ATTRIBUTE_TYPE) -> Option<&Value> {
        let at = self.0.binary_search_by_key(&ty, |a| a.ty).ok()?;
        self.0.get(at).map(|a| &a.value)
    }

    pub fn bytes(&self, ty: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        match self.get(ty)? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Template(_) => None,
        }
    }

    /// `None` also where the value is not one `CK_ULONG` long.
    pub fn ulong(&self, ty: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        Some(CK_ULONG::from_ne_bytes(self.bytes(ty)?.try_into().ok()?))
    }

    /// `None` also where the value is not one `CK_BBOOL`.
    pub fn bool(&self, ty: CK_ATTRIBUTE_TYPE) -> Option<bool> {
        match self.bytes(ty)? {
            [value] => Some(*value != CK_FALSE),
            _ => None,
        }
    }

    pub fn is_true(&self, ty: CK_ATTRIBUTE_TYPE) -> bool {
        self.bool(ty) == Some(true)
    }

    /// Sets or replaces.
    pub fn put(&mut self, attribute: Attribute) {
        match self.0.binary_search_by_key(&attribute.ty, |a| a.ty) {
            Ok(at) => {
                if let Some(slot) = self.0.get_mut(at) {
                    *slot = attribute;
                }
            }
            Err(at) => self.0.insert(at, attribute),
        }
    }

    pub fn remove(&mut self, ty: CK_ATTRIBUTE_TYPE) -> Option<Attribute> {
        let at = self.0.binary_search_by_key(&ty, |a| a.ty).ok()?;
        Some(self.0.remove(at))
    }
}

fn memory(attributes: &[Attribute]) -> usize {
    // An allocation takes some words of its own, and has a least length.
    let behind = |attribute: &Attribute| match &attribute.value {
        Value::Bytes(bytes) => bytes.capacity().max(16).saturating_add(16),
        Value::Template(inner) => memory(inner),
    };
    attributes.iter().fold(size_of_val(attributes), |sum, attribute| sum.saturating_add(behind(attribute)))
}

impl IntoIterator for Attributes {
    type Item = Attribute;
    type IntoIter = std::vec::IntoIter<Attribute>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A big integer without the zeros that lead it.
fn significant(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(iter: I) -> Self {
        let mut all = Attributes::new();
        iter.into_iter().for_each(|attribute| all.put(attribute));
        all
    }
}

#[cfg(test)]
mod tests;
