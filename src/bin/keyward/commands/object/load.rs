//! Objects of other tokens into ours: many in one transaction, and each by itself where one is refused.

use cryptoki_sys::*;
use keyward::error::{Code, Error};
use keyward::token::{Answer, Attribute, ObjectId, Value as Stored};
use serde_json::json;

use crate::choice::TokenChoice;
use crate::context::Context;
use crate::failure::{Exit, Result};
use crate::report::Report;
use crate::session::Session;

/// Objects in one transaction. A transaction touches most pages of a large token's index: rather few of them.
const BATCH: usize = 20_000;

/// An object as another token had it.
pub struct Foreign {
    /// What messages call it.
    pub name: String,
    pub attributes: Vec<Attribute>,
}

impl Foreign {
    fn template(&self) -> Vec<Attribute> {
        self.attributes.iter().filter(|attribute| settable(attribute)).cloned().collect()
    }

    /// Whether the key arrived as it was, where the other token kept its check value.
    fn is_whole(&self, session: &Session, object: ObjectId) -> Result<(), Error> {
        let was = self.attributes.iter().find(|attribute| attribute.ty == CKA_CHECK_VALUE).map(|check| &check.value);
        let Some(Stored::Bytes(was)) = was else { return Ok(()) };
        let now = session.token.get(session.caller, object, &[CKA_CHECK_VALUE])?;
        match now.first() {
            Some(Answer::Value(Stored::Bytes(is))) if !was.is_empty() && *was != *is => {
                session.token.destroy(session.caller, object)?;
                Err(Code::DataInvalid.because("its check value is not that of the key imported"))
            }
            _ => Ok(()),
        }
    }
}

/// What a dry run tells: the objects were read, and would go into this token.
pub fn would_load(context: &Context, choice: &TokenChoice, objects: &[Foreign]) -> Result<Report> {
    choice.of(context.slots()?)?;
    let names: Vec<&str> = objects.iter().map(|one| one.name.as_str()).collect();
    let text = format!("{} objects would be imported", objects.len());
    Ok(Report::new(text, json!({ "would_import": objects.len(), "objects": names, "done": false })))
}

/// Makes them all; names those that the token refuses.
pub fn load(session: &Session, objects: Vec<Foreign>) -> Result<Report> {
    let (mut imported, mut refused) = (0u64, Vec::new());
    for batch in objects.chunks(BATCH) {
        let made: Vec<Result<ObjectId, Error>> =
            match session.token.create_all(session.caller, batch.iter().map(Foreign::template).collect()) {
                Ok(ids) => ids.into_iter().map(Ok).collect(),
                Err(_) => batch.iter().map(|one| session.token.create(session.caller, one.template())).collect(),
            };
        for (one, made) in batch.iter().zip(made) {
            match made.and_then(|object| one.is_whole(session, object)) {
                Ok(()) => imported = imported.saturating_add(1),
                Err(error) => refused.push(format!("{}: {error}", one.name)),
            }
        }
    }
    let mut text = format!("{imported} objects imported");
    refused.iter().for_each(|line| text.push_str(&format!("\nrefused: {line}")));
    let exit = if refused.is_empty() { Exit::Done } else { Exit::Failed };
    Ok(Report { text, json: json!({ "imported": imported, "refused": refused }), exit })
}

/// Whether `C_CreateObject` takes it: not what the token itself sets, and not what another token keeps for its
/// own use, or empty.
fn settable(attribute: &Attribute) -> bool {
    const OWN: [CK_ATTRIBUTE_TYPE; 9] = [
        CKA_LOCAL,
        CKA_KEY_GEN_MECHANISM,
        CKA_ALWAYS_SENSITIVE,
        CKA_NEVER_EXTRACTABLE,
        CKA_MODULUS_BITS,
        CKA_VALUE_LEN,
        CKA_CHECK_VALUE,
        CKA_PUBLIC_KEY_INFO,
        CKA_UNIQUE_ID,
    ];
    let empty = match &attribute.value {
        Stored::Bytes(bytes) => bytes.is_empty(),
        Stored::Template(inner) => inner.is_empty(),
    };
    // Only the SO may say that something is trusted; saying that it is not goes without saying.
    let untrusted = attribute.ty == CKA_TRUSTED;
    !empty && !untrusted && attribute.ty < 0x8000_0000 && !OWN.contains(&attribute.ty)
}
