//! Templates inside attributes: `CKA_WRAP_TEMPLATE`, `CKA_UNWRAP_TEMPLATE` and their kin (PKCS#11 3.2, "Template
//! attributes").

use super::schema;
use crate::error::{Code, Result};
use crate::token::{Attribute, Value};

/// How deep templates may lie in each other; 1 is a template without a further one in it.
pub const MAX_DEPTH: usize = 4;

/// The form of a nested template: known attributes, each once, each of its shape. To which class they will be put is
/// not known yet. `CKR_ATTRIBUTE_TYPE_INVALID`, `CKR_ATTRIBUTE_VALUE_INVALID`, `CKR_TEMPLATE_INCONSISTENT`.
pub fn check(template: &[Attribute]) -> Result<()> {
    check_to(template, MAX_DEPTH)
}

fn check_to(template: &[Attribute], depth: usize) -> Result<()> {
    let left = depth.checked_sub(1).ok_or(Code::TemplateInconsistent)?;
    let mut types: Vec<_> = template.iter().map(|a| a.ty).collect();
    types.sort_unstable();
    types.dedup();
    if types.len() != template.len() {
        Err(Code::TemplateInconsistent)?;
    }
    template.iter().try_for_each(|attribute| {
        let row = schema::any_row(attribute.ty).ok_or(Code::AttributeTypeInvalid)?;
        match (&attribute.value, row.kind.shape()) {
            (Value::Template(inner), super::row::Shape::Template) => check_to(inner, left),
            (Value::Bytes(bytes), shape) if shape.fits(bytes) => Ok(()),
            _ => Err(Code::AttributeValueInvalid.into()),
        }
    })
}
