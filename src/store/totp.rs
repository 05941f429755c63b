//! Time-based one-time codes (RFC 6238) as a second factor, of the kind that every authenticator makes: HMAC-SHA-1, six
//! digits, steps of 30 seconds.

use subtle::ConstantTimeEq;

use crate::crypto::digest::Digest;
use crate::crypto::hmac::HmacKey;

/// Bytes of a secret (RFC 4226, 4: at least 16, 20 recommended).
pub const SECRET: usize = 20;
/// Seconds of a step.
pub const STEP: u64 = 30;
const DIGITS: usize = 6;

/// The code of one step, of `digits` decimal digits (RFC 4226, 5.3).
fn code(digest: Digest, secret: &[u8], step: u64, digits: usize) -> String {
    let mac = HmacKey::new(digest, secret).mac(&step.to_be_bytes());
    let at = usize::from(mac.last().copied().unwrap_or_default() & 0x0f);
    let word = mac.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
    let number = u32::from_be_bytes(word) & 0x7fff_ffff;
    let all = format!("{number:010}");
    all.get(all.len().saturating_sub(digits)..).unwrap_or_default().to_owned()
}

/// The step whose code `given` is, `now` seconds since 1970: the present one, the one before or the one after, and later
/// than the `last` one that was accepted. So no code counts twice.
pub fn accept(secret: &[u8], given: &[u8], now: u64, last: u64) -> Option<u64> {
    let present = now / STEP;
    let mut found = None;
    for step in [present.saturating_sub(1), present, present.saturating_add(1)] {
        let expected = code(Digest::Sha1, secret, step, DIGITS);
        // Each is compared, whichever fits.
        if bool::from(expected.as_bytes().ct_eq(given)) && step > last && found.is_none() {
            found = Some(step);
        }
    }
    found
}

/// A PIN and the code behind it, `PIN:123456`; `None`: no code stands there.
pub fn split(pin: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pin.len().checked_sub(DIGITS.saturating_add(1))?;
    let (pin, code) = pin.split_at_checked(at)?;
    let (colon, code) = code.split_first()?;
    (*colon == b':' && code.iter().all(u8::is_ascii_digit)).then_some((pin, code))
}

/// What an authenticator scans or takes (the key URI format), with the secret in base 32 (RFC 4648).
pub fn uri(secret: &[u8], token: &str, account: &str) -> String {
    let (token, account) = (percent(token), percent(account));
    format!(
        "otpauth://totp/Keyward%20{token}:{account}?secret={}&issuer=Keyward%20{token}&algorithm=SHA1&digits={DIGITS}&period={STEP}",
        base32(secret)
    )
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let mut word = [0u8; 8];
        word.iter_mut().skip(3).zip(chunk).for_each(|(to, from)| *to = *from);
        let bits = u64::from_be_bytes(word);
        // Five bits a letter, the last of them filled up with zeros.
        let letters = chunk.len().saturating_mul(8).div_ceil(5);
        for at in 0..letters {
            let shift = 35u32.saturating_sub(5u32.saturating_mul(u32::try_from(at).unwrap_or(0)));
            let five = usize::try_from(bits.checked_shr(shift).unwrap_or(0) & 31).unwrap_or(0);
            text.push(char::from(LETTERS.get(five).copied().unwrap_or(b'A')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B; its secrets have the length of the hash (erratum 2866).
    #[test]
    fn codes_are_those_of_rfc_6238() {
        let secret = b"1234567890123456789012345678901234567890123456789012345678901234";
        let rows = [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ];
        for (time, sha1, sha256, sha512) in rows {
            for (digest, len, expected) in
                [(Digest::Sha1, 20, sha1), (Digest::Sha256, 32, sha256), (Digest::Sha512, 64, sha512)]
            {
                assert_eq!(code(digest, &secret[..len], time / STEP, 8), expected, "{digest:?} at {time}");
            }
        }
    }

    #[test]
    fn a_code_counts_within_one_step_and_once() {
        let secret = [7u8; SECRET];
        let now = 1_700_000_000;
        let step = now / STEP;
        for ahead in [-1i64, 0, 1] {
            let step = step.checked_add_signed(ahead).unwrap();
            let code = code(Digest::Sha1, &secret, step, DIGITS);
            assert_eq!(accept(&secret, code.as_bytes(), now, 0), Some(step));
            assert_eq!(accept(&secret, code.as_bytes(), now, step), None, "a second time");
            assert_eq!(accept(&secret, code.as_bytes(), now + 3 * STEP, 0), None, "too late");
            assert_eq!(accept(&secret, code.as_bytes(), now - 3 * STEP, 0), None, "too early");
        }
        assert_eq!(accept(&secret, b"", now, 0), None);
        assert_eq!(accept(&secret, b"1234567", now, 0), None);
    }

    #[test]
    fn a_pin_and_its_code_are_told_apart() {
        assert_eq!(split(b"1234:567890"), Some((&b"1234"[..], &b"567890"[..])));
        assert_eq!(split(b"a:b:000000"), Some((&b"a:b"[..], &b"000000"[..])));
        assert_eq!(split(b":123456"), Some((&b""[..], &b"123456"[..])));
        for none in [&b""[..], b"123456", b"1234:56789", b"1234:56789x", b"1234567890"] {
            assert_eq!(split(none), None);
        }
    }

    /// RFC 4648, 10, without padding.
    #[test]
    fn base32_is_that_of_rfc_4648() {
        for (text, expected) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(base32(text.as_bytes()), expected);
        }
        assert!(uri(&[0; 20], "my token", "so").starts_with("otpauth://totp/Keyward%20my%20token:so?secret=AAAA"));
    }
}
