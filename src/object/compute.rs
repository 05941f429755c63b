//! Attributes that the token finds by itself.

use cryptoki_sys::*;

use super::Attributes;
use super::row::Compute;
use super::schema::Origin;
use crate::crypto::check_value;
use crate::error::{Code, Result};
use crate::lifecycle::{State, clock};
use crate::token::{Attribute, CKA_KEYWARD_ACTIVATION_DATE};

/// What a derived key takes over from the keys that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heritage {
    /// The key cannot be made less sensitive than this.
    pub sensitive: bool,
    /// The key cannot be made extractable.
    pub unextractable: bool,
    pub always_sensitive: bool,
    pub never_extractable: bool,
}

impl Heritage {
    /// The rule of most derivations (ECDH, HKDF, digests): the template is free, but the history is the base key's.
    pub fn history(base: &Attributes) -> Heritage {
        Heritage { sensitive: false, unextractable: false, ..Heritage::bound(&[base]) }
    }

    /// The rule of the simple derivations (concatenate, XOR, extract): the key is as sensitive as the strictest base.
    pub fn bound(bases: &[&Attributes]) -> Heritage {
        Heritage {
            sensitive: bases.iter().any(|b| b.bool(CKA_SENSITIVE) != Some(false)),
            unextractable: bases.iter().any(|b| !b.is_true(CKA_EXTRACTABLE)),
            always_sensitive: bases.iter().all(|b| b.is_true(CKA_ALWAYS_SENSITIVE)),
            never_extractable: bases.iter().all(|b| b.is_true(CKA_NEVER_EXTRACTABLE)),
        }
    }
}

/// What the computations may know beside the attributes.
pub struct Circumstances {
    pub origin: Origin,
    pub mechanism: Option<CK_MECHANISM_TYPE>,
    pub heritage: Option<Heritage>,
}

/// The value; `None` where the object has not what it is taken of. `CKR_FUNCTION_FAILED` where the system gives no
/// randomness.
pub fn compute(ty: CK_ATTRIBUTE_TYPE, what: Compute, of: &Attributes, by: &Circumstances) -> Result<Option<Attribute>> {
    let bytes = |value: &[u8]| Attribute::bytes(ty, value);
    Ok(match what {
        Compute::UniqueId => Some(bytes(unique_id()?.as_bytes())),
        Compute::Length(source) => of.bytes(source).map(|v| Attribute::ulong(ty, v.len() as CK_ULONG)),
        Compute::Bits(source) => of.bytes(source).map(|v| Attribute::ulong(ty, bits(v))),
        Compute::Check(check) => of.bytes(CKA_VALUE).and_then(|v| check.of(v)).map(|c| bytes(&c)),
        Compute::Crc64(source) => of.bytes(source).map(|v| bytes(&check_value::crc64(v))),
        Compute::Local => Some(Attribute::bool(ty, by.origin == Origin::Generate)),
        Compute::KeyGenMechanism => Some(Attribute::ulong(ty, generated_by(by))),
        Compute::Now => Some(Attribute::ulong(ty, clock::now())),
        Compute::State => {
            let ahead = of.ulong(CKA_KEYWARD_ACTIVATION_DATE).is_some_and(|date| date > clock::now());
            ahead.then(|| Attribute::ulong(ty, State::PreActive as CK_ULONG))
        }
        Compute::AlwaysSensitive => {
            Some(Attribute::bool(ty, of.is_true(CKA_SENSITIVE) && history(by, |heritage| heritage.always_sensitive)))
        }
        Compute::NeverExtractable => Some(Attribute::bool(
            ty,
            of.bool(CKA_EXTRACTABLE) == Some(false) && history(by, |heritage| heritage.never_extractable),
        )),
    })
}

/// Keys that came from outside have been in clear somewhere: created, unwrapped and (de)capsulated ones have no
/// history.
fn history(by: &Circumstances, of: impl Fn(&Heritage) -> bool) -> bool {
    by.origin == Origin::Generate || by.heritage.as_ref().is_some_and(of)
}

fn generated_by(by: &Circumstances) -> CK_ULONG {
    match by.origin {
        Origin::Generate => by.mechanism.unwrap_or(CK_UNAVAILABLE_INFORMATION),
        _ => CK_UNAVAILABLE_INFORMATION,
    }
}

/// Length in bits of a big integer, leading zeros not counted.
fn bits(value: &[u8]) -> CK_ULONG {
    let value = super::significant(value);
    let unused = value.first().map_or(0, |top| top.leading_zeros());
    (value.len() as CK_ULONG).saturating_mul(8).saturating_sub(CK_ULONG::from(unused))
}

/// A random UUID (version 4, RFC 9562).
pub fn unique_id() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|e| Code::FunctionFailed.because(format!("the system gave no randomness: {e}")))?;
    let id = u128::from_be_bytes(random) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{id:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| text.get(range).unwrap_or_default());
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_are_uuids_and_differ() {
        let (a, b) = (unique_id().unwrap(), unique_id().unwrap());
        assert_ne!(a, b);
        for id in [a, b] {
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
            assert!(id.char_indices().all(|(at, c)| [8, 13, 18, 23].contains(&at) == (c == '-')), "{id}");
        }
    }

    #[test]
    fn bits_of_integers() {
        for (value, expected) in [(&[][..], 0), (&[0], 0), (&[1], 1), (&[0, 0x80, 0], 16), (&[0xff; 32], 256)] {
            assert_eq!(bits(value), expected, "{value:?}");
        }
    }
}
