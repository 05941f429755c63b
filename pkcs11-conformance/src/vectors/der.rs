//! The little DER that vectors come in: signatures of two numbers, and public keys of curves.

/// A DER element of this tag at the front: its contents, and what follows. Only the shortest form of a length.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        n if *n < 0x80 => (usize::from(*n), rest),
        0x81 => rest.split_first().filter(|(n, _)| **n >= 0x80).map(|(n, rest)| (usize::from(*n), rest))?,
        _ => return None,
    };
    (*found == tag && rest.len() >= len).then(|| rest.split_at(len))
}

/// A number that is not negative, in its shortest form, without the zero in front.
fn natural(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (number, rest) = element(2, bytes)?;
    let plain = match number {
        [0] => &[],
        [0, second, ..] if *second >= 0x80 => &number[1..],
        [first, ..] if (1..0x80).contains(first) => number,
        _ => return None,
    };
    Some((plain, rest))
}

/// A signature in DER as PKCS#11 has it, r and s of `len` bytes each; `None` for what only DER can hold.
pub fn signature(der: &[u8], len: usize) -> Option<Vec<u8>> {
    let (inner, []) = element(0x30, der)? else { return None };
    let (r, rest) = natural(inner)?;
    let (s, []) = natural(rest)? else { return None };
    let padded = |n: &[u8]| Some([&vec![0; len.checked_sub(n.len())?], n].concat());
    Some([padded(r)?, padded(s)?].concat())
}

const EC_PUBLIC_KEY: &[u8] = &[6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];

/// The point of a SubjectPublicKeyInfo that names this curve (DER of its OID), as octets.
pub fn point<'a>(info: &'a [u8], curve: &[u8]) -> Option<&'a [u8]> {
    let (inner, []) = element(0x30, info)? else { return None };
    let (algorithm, rest) = element(0x30, inner)?;
    let (bits, []) = element(3, rest)? else { return None };
    let (unused, point) = bits.split_first()?;
    (algorithm == [EC_PUBLIC_KEY, curve].concat() && *unused == 0).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_come_out_padded_or_not_at_all() {
        assert_eq!(signature(&[0x30, 6, 2, 1, 1, 2, 1, 2], 2), Some(vec![0, 1, 0, 2]));
        assert_eq!(signature(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 2], 1), Some(vec![0x80, 2]));
        for wrong in [
            &[0x30, 6, 2, 1, 0x81, 2, 1, 2][..],
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 2],
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 2],
            &[0x30, 6, 2, 1, 1, 2, 1, 2, 0],
            &[0x30, 7, 2, 2, 1, 1, 2, 1, 2],
            &[],
        ] {
            assert_eq!(signature(wrong, 1), None, "{wrong:?}");
        }
    }
}
