//! What of an HSM applications see, and may do.

use std::collections::HashSet;

use cryptoki_sys::*;

use crate::config::{FilterRules, Mechanisms};
use crate::error::{Code, Error, Result};
use crate::mechanism::table::{self, ParamKind};
use crate::token::{Answer, Attribute, Caller, Value};

/// The attributes that a URI speaks of.
pub const NAMING: [CK_ATTRIBUTE_TYPE; 3] = [CKA_CLASS, CKA_LABEL, CKA_ID];

pub struct Filter {
    /// `None`: all that the HSM has and we know.
    mechanisms: Option<HashSet<CK_MECHANISM_TYPE>>,
    without: HashSet<CK_MECHANISM_TYPE>,
    /// Their parameters are passed on as they are.
    opaque: HashSet<CK_MECHANISM_TYPE>,
    objects: Vec<Meant>,
    read_only: bool,
    approved_only: bool,
    pub security_officer: bool,
}

/// The objects that a PKCS#11 URI means.
#[derive(Debug, Default, PartialEq)]
struct Meant {
    label: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    class: Option<CK_OBJECT_CLASS>,
}

fn number(name: &str) -> Result<CK_MECHANISM_TYPE> {
    if let Some(hex) = name.strip_prefix("0x")
        && let Ok(number) = u64::from_str_radix(hex, 16)
    {
        return Ok(number);
    }
    let plain = name.strip_prefix("CKM_").unwrap_or(name);
    let row = table::all().find(|row| row.name.strip_prefix("CKM_") == Some(plain));
    let unknown = || {
        Code::GeneralError.because(format!(
            "mechanisms of a slot in the configuration names {name}, which is no mechanism; see keyward mechanisms"
        ))
    };
    row.map(|row| row.ty).ok_or_else(unknown)
}

/// `%41` to its byte.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (hex, after) = rest.split_first_chunk::<2>()?;
        let hex = std::str::from_utf8(hex).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

impl Meant {
    /// RFC 7512, as far as it speaks of objects; the parts on tokens and modules are left to the slot.
    fn parse(uri: &str) -> Result<Meant> {
        let wrong = |part: &str| {
            Code::GeneralError.because(format!("objects of a slot in the configuration holds {uri}: {part} is not understood; expected object=, id= and type="))
        };
        let path = uri.strip_prefix("pkcs11:").unwrap_or(uri);
        let path = path.split('?').next().unwrap_or(path);
        let mut meant = Meant::default();
        for part in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong(part))?;
            let value = unescaped(value).ok_or_else(|| wrong(part))?;
            match name {
                "object" => meant.label = Some(value),
                "id" => meant.id = Some(value),
                "type" => {
                    meant.class = Some(match value.as_slice() {
                        b"public" => CKO_PUBLIC_KEY,
                        b"private" => CKO_PRIVATE_KEY,
                        b"cert" => CKO_CERTIFICATE,
                        b"secret-key" => CKO_SECRET_KEY,
                        b"data" => CKO_DATA,
                        _ => return Err(wrong(part)),
                    });
                }
                "token" | "serial" | "manufacturer" | "model" => {}
                _ => return Err(wrong(part)),
            }
        }
        Ok(meant)
    }

    fn is(&self, class: Option<&[u8]>, label: Option<&[u8]>, id: Option<&[u8]>) -> bool {
        let same = |wanted: &Option<Vec<u8>>, found: Option<&[u8]>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        same(&self.label, label)
            && same(&self.id, id)
            && same(&self.class.map(|class| class.to_ne_bytes().to_vec()), class)
    }
}

/// The bytes of an answer.
pub fn value(answer: Option<&Answer>) -> Option<&[u8]> {
    match answer {
        Some(Answer::Value(Value::Bytes(bytes))) => Some(bytes),
        _ => None,
    }
}

/// The bytes of an attribute in a template.
pub fn named(template: &[Attribute], ty: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
    template.iter().find(|attribute| attribute.ty == ty).and_then(|attribute| match &attribute.value {
        Value::Bytes(bytes) => Some(bytes.as_slice()),
        Value::Template(_) => None,
    })
}

pub fn is_true(bytes: Option<&[u8]>) -> bool {
    bytes.is_some_and(|bytes| bytes.first().is_some_and(|byte| *byte != CK_FALSE))
}

/// An object that the caller would make and then not see.
pub fn out_of_sight() -> Error {
    Code::TemplateInconsistent.because("the configuration would not show this object (`objects` of the slot)")
}

impl Filter {
    pub fn new(rules: &FilterRules) -> Result<Filter> {
        let numbers = |names: &[String]| names.iter().map(|name| number(name)).collect::<Result<HashSet<_>>>();
        let (mechanisms, without) = match &rules.mechanisms {
            Mechanisms::All | Mechanisms::Modern => (None, HashSet::new()),
            // Of their sizes and hashes, see `approved`.
            Mechanisms::Approved => {
                (Some(table::enabled(&Mechanisms::Approved)?.iter().map(|row| row.ty).collect()), HashSet::new())
            }
            Mechanisms::Only(names) => (Some(numbers(names)?), HashSet::new()),
            Mechanisms::Without(names) => (None, numbers(names)?),
        };
        Ok(Filter {
            mechanisms,
            without,
            opaque: rules.vendor_mechanisms.iter().copied().collect(),
            objects: rules.objects.iter().map(|uri| Meant::parse(uri)).collect::<Result<_>>()?,
            read_only: rules.read_only,
            approved_only: rules.mechanisms == Mechanisms::Approved,
            security_officer: rules.security_officer,
        })
    }

    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether keys, hashes and parameters must be approved too.
    pub fn approved_only(&self) -> bool {
        self.approved_only
    }

    /// Whether this vendor mechanism's parameters are passed on as they are.
    pub fn opaque(&self, ty: CK_MECHANISM_TYPE) -> bool {
        self.opaque.contains(&ty)
    }

    /// A mechanism that is allowed, and whose parameters can be carried over. Of one-time passwords the result cannot: it is a
    /// structure with the module's own pointers.
    pub fn offers(&self, ty: CK_MECHANISM_TYPE) -> bool {
        self.mechanisms.as_ref().is_none_or(|allowed| allowed.contains(&ty) || self.opaque(ty))
            && !self.without.contains(&ty)
            && (self.opaque(ty) || table::row(ty).is_ok_and(|row| row.params != ParamKind::Otp))
    }

    /// Whether every object is visible.
    pub fn shows_all(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether an object with these answers to [`NAMING`] is visible.
    pub fn shows(&self, answers: &[Answer]) -> bool {
        let [class, label, id] = [0, 1, 2].map(|at| value(answers.get(at)));
        self.shows_all() || self.objects.iter().any(|meant| meant.is(class, label, id))
    }

    /// Whether a token object may be made of this template, or altered. `CKR_TOKEN_WRITE_PROTECTED`,
    /// `CKR_SESSION_READ_ONLY`, `CKR_TEMPLATE_INCONSISTENT` for one that would not be visible.
    pub fn may_write(&self, caller: Caller, template: &[Attribute]) -> Result<()> {
        if !is_true(named(template, CKA_TOKEN)) {
            return Ok(());
        }
        self.may_alter(caller)?;
        // Its class may be the mechanism's to say.
        let (class, label, id) = (named(template, CKA_CLASS), named(template, CKA_LABEL), named(template, CKA_ID));
        let seen = |meant: &Meant| Meant {
            class: meant.class.filter(|_| class.is_some()),
            label: meant.label.clone(),
            id: meant.id.clone(),
        };
        if !self.shows_all() && !self.objects.iter().any(|meant| seen(meant).is(class, label, id)) {
            return Err(out_of_sight());
        }
        Ok(())
    }

    /// Whether a token object may be altered.
    pub fn may_alter(&self, caller: Caller) -> Result<()> {
        if self.read_only {
            return Err(Code::TokenWriteProtected.because("the configuration says read_only = true for this slot"));
        }
        if !caller.read_write {
            return Err(Code::SessionReadOnly.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_label_id_and_type() {
        let meant = Meant::parse("pkcs11:token=x;object=my%20key;id=%01%ff;type=private?pin-value=1").unwrap();
        let expected = Meant { label: Some(b"my key".to_vec()), id: Some(vec![1, 255]), class: Some(CKO_PRIVATE_KEY) };
        assert_eq!(meant, expected);
        for wrong in ["pkcs11:object", "pkcs11:colour=red", "pkcs11:id=%0", "pkcs11:type=key"] {
            assert!(Meant::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_all_parts_of_a_uri_fit_is_meant() {
        let meant = Meant::parse("pkcs11:object=a;type=secret-key").unwrap();
        let class = CKO_SECRET_KEY.to_ne_bytes();
        assert!(meant.is(Some(&class), Some(b"a"), None));
        assert!(!meant.is(Some(&class), Some(b"b"), None));
        assert!(!meant.is(Some(&CKO_DATA.to_ne_bytes()), Some(b"a"), None));
        assert!(!meant.is(None, Some(b"a"), None));
    }
}
