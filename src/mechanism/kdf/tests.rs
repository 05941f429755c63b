use std::sync::Arc;

use super::*;
use crate::error::Code;
use crate::mechanism::key::Key;
use crate::token::Params;

#[test]
fn the_digest_of_the_value_in_the_length_wanted() {
    let base = Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(b"abc"))));
    for row in ROWS {
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
