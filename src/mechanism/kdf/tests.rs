use std::sync::Arc;

use super::*;
use crate::error::Code;
use crate::mechanism::key::Key;
use crate::token::Params;

#[test]
fn the_digest_of_the_value_in_the_length_wanted() {
    let base = Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(b"abc"))));
    for row in ROWS.iter().filter(|row| row.hash.is_some()) {
        let params = if row.params == ParamKind::None { Params::None } else { Params::MacLength(200) };
        let digest = digest_of(row, &params).unwrap();
        let derive = |length| {
            let from = Derivation::new(row, &params, &base, length);
            row.does.derive.unwrap()(&from).map(|value| value.expose().clone()).map_err(|e| e.code())
        };
        let expected = hash(digest, b"abc").to_vec();
        assert_eq!(derive(Some(16)), Ok(expected[..16].to_vec()), "{}", row.name);
        assert_eq!(derive(Some(digest.len() + 1)), Err(Code::KeySizeRange), "{}", row.name);
        assert_eq!(derive(None), Ok(expected), "{}", row.name);
    }
}

/// FIPS 202 of the empty message is the samples' own; the value of a key is any message.
#[test]
fn shake_gives_its_section_s_lengths() {
    for (ty, len, first) in [
        (CKM_SHAKE_128_KEY_DERIVATION, 32, "7f9c2ba4e88f827d616045507605853e"),
        (CKM_SHAKE_256_KEY_DERIVATION, 64, "46b9dd2b0ba88d13233b3feb743eeb24"),
    ] {
        let row = crate::mechanism::table::row(ty).unwrap();
        let base = Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(b""))));
        let derive = |length| {
            let from = Derivation::new(row, &Params::None, &base, length);
            row.does.derive.unwrap()(&from).map(|value| value.expose().clone()).map_err(|e| e.code())
        };
        let whole = derive(None).unwrap();
        assert_eq!((whole.len(), hex::encode(&whole[..16])), (len, first.to_owned()));
        assert_eq!(derive(Some(20)).unwrap(), whole[..20]);
        assert_eq!(derive(Some(len + 1)), Err(Code::KeySizeRange));
    }
}
