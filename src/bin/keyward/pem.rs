//! PEM blocks (RFC 7468), and the few steps through DER that files of keys and certificates need.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// A block: what it says it is, and its bytes, which may be a key's.
pub struct Block {
    pub label: String,
    pub der: Zeroizing<Vec<u8>>,
    /// What the file calls it beside.
    pub name: Option<String>,
    /// How `der` is encrypted, where headers say so.
    pub sealed: Option<Sealed>,
}

/// The encryption of traditional PEM files: `DEK-Info: AES-256-CBC,A0B1...`
#[derive(Debug, PartialEq, Eq)]
pub struct Sealed {
    pub cipher: String,
    pub iv: Vec<u8>,
}

impl Sealed {
    /// From the headers before an empty line.
    fn parse(headers: &str) -> Option<Sealed> {
        let value = |name: &str| headers.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
        value("Proc-Type:").filter(|kind| kind.replace(' ', "") == "4,ENCRYPTED")?;
        let (cipher, iv) = value("DEK-Info:")?.split_once(',')?;
        Some(Sealed { cipher: cipher.trim().to_owned(), iv: crate::names::parse_hex(iv.trim()).ok()? })
    }
}

/// The blocks of a text, in order; text between them is passed over. `Err`: what is wrong with one.
pub fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, body) = after.split_once("-----").ok_or("a BEGIN line has no end")?;
        let end = format!("-----END {label}-----");
        let (body, next) = body.split_once(&end).ok_or_else(|| format!("there is no \"{end}\""))?;
        let (headers, body) = match body.contains(':') {
            true => body.split_once("\n\n").or_else(|| body.split_once("\r\n\r\n")).unwrap_or((body, "")),
            false => ("", body),
        };
        let sealed = match headers {
            "" => None,
            headers => Some(Sealed::parse(headers).ok_or_else(|| format!("{label} has headers that are not known"))?),
        };
        let mut digits = Zeroizing::new(String::with_capacity(body.len()));
        digits.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
        let der = Base64::decode_vec(&digits).map_err(|error| format!("{label} is no base64: {error}"))?;
        found.push(Block { label: label.to_owned(), der: Zeroizing::new(der), name: None, sealed });
        rest = next;
    }
    Ok(found)
}

/// One block, in lines of 64 characters.
pub fn encode(label: &str, der: &[u8]) -> String {
    let digits = Base64::encode_string(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in digits.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// The first DER element of `input`: its tag, itself with its head, its content, and what follows.
pub struct Element<'a> {
    pub tag: u8,
    pub whole: &'a [u8],
    pub content: &'a [u8],
    pub rest: &'a [u8],
}

pub fn element(input: &[u8]) -> Option<Element<'_>> {
    let (&tag, after) = input.split_first()?;
    let (&first, after) = after.split_first()?;
    let (len, after) = match usize::from(first) {
        short @ 0..=0x7f => (short, after),
        long @ 0x81..=0x84 => {
            let (digits, after) = after.split_at_checked(long & 0x7f)?;
            (digits.iter().fold(0usize, |len, digit| len << 8 | usize::from(*digit)), after)
        }
        _ => return None,
    };
    let (content, rest) = after.split_at_checked(len)?;
    let (whole, _) = input.split_at_checked(input.len().checked_sub(rest.len())?)?;
    Some(Element { tag, whole, content, rest })
}

/// An element of `content`.
pub fn wrapped(tag: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let len = content.len();
    let mut head = vec![tag];
    match len {
        0..=0x7f => head.push(len.to_le_bytes()[0]),
        _ => {
            let digits: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
            head.push(0x80 | digits.len().to_le_bytes()[0]);
            head.extend(digits);
        }
    }
    Zeroizing::new([head.as_slice(), content].concat())
}

/// The parts of a certificate that its object names, each as DER.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    pub serial: &'a [u8],
    pub issuer: &'a [u8],
    pub validity: &'a [u8],
    pub subject: &'a [u8],
    pub public_key: &'a [u8],
}

impl Certificate<'_> {
    /// The last moment at which it counts, in seconds since 1970 (RFC 5280, 4.1.2.5).
    pub fn end(&self) -> Option<u64> {
        const UTC_TIME: u8 = 0x17;
        let end = element(element(element(self.validity)?.content)?.rest)?;
        let text = std::str::from_utf8(end.content).ok()?.strip_suffix('Z')?;
        let text = match (end.tag, text.get(..2)?.parse::<u8>().ok()?) {
            (UTC_TIME, 0..=49) => format!("20{text}"),
            (UTC_TIME, _) => format!("19{text}"),
            _ => text.to_owned(),
        };
        let part = |from: usize, to: usize| text.get(from..to).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
        let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
        let time = format!("{}:{}:{}", part(8, 10)?, part(10, 12)?, part(12, 14)?);
        keyward::lifecycle::clock::parse(&format!("{date}T{time}Z"), 0).ok()
    }
}

/// RFC 5280, 4.1. `None`: this is no certificate.
pub fn certificate(der: &[u8]) -> Option<Certificate<'_>> {
    const SEQUENCE: u8 = 0x30;
    let outer = element(der).filter(|outer| outer.tag == SEQUENCE && outer.rest.is_empty())?;
    let signed = element(outer.content).filter(|signed| signed.tag == SEQUENCE)?;
    let first = element(signed.content)?;
    // The version is explicit, and left out in the first one.
    let serial = if first.tag == 0xa0 { element(first.rest)? } else { first };
    let algorithm = element(serial.rest)?;
    let issuer = element(algorithm.rest)?;
    let validity = element(issuer.rest)?;
    let subject = element(validity.rest)?;
    let public_key = element(subject.rest)?;
    let sequences = [&algorithm, &issuer, &validity, &subject, &public_key];
    let is_one = serial.tag == 0x02 && sequences.iter().all(|part| part.tag == SEQUENCE);
    is_one.then_some(Certificate {
        serial: serial.whole,
        issuer: issuer.whole,
        validity: validity.whole,
        subject: subject.whole,
        public_key: public_key.whole,
    })
}

/// `RSAPrivateKey` (RFC 8017, A.1.2) as PKCS#8.
pub fn pkcs1_to_pkcs8(der: &[u8]) -> Zeroizing<Vec<u8>> {
    const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];
    pkcs8(RSA, der)
}

/// `ECPrivateKey` (RFC 5915) with its named curve as PKCS#8.
pub fn sec1_to_pkcs8(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let mut rest = element(der)?.content;
    while let Some(part) = element(rest) {
        if part.tag == 0xa0 {
            return Some(pkcs8(&[EC, part.content].concat(), der));
        }
        rest = part.rest;
    }
    None
}

fn pkcs8(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    const VERSION: &[u8] = &[0x02, 1, 0];
    let parts = Zeroizing::new([VERSION, &wrapped(0x30, algorithm), &wrapped(0x04, key)].concat());
    wrapped(0x30, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_as_they_were_written() {
        for len in [0usize, 1, 47, 48, 49, 300] {
            let der: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let text = format!("before\n{}between\n{}", encode("ONE", &der), encode("TWO", &[1]));
            let found = blocks(&text).unwrap();
            let labels: Vec<&str> = found.iter().map(|block| block.label.as_str()).collect();
            assert_eq!((labels, found[0].der.as_slice()), (vec!["ONE", "TWO"], der.as_slice()));
        }
        for wrong in ["-----BEGIN X", "-----BEGIN X-----\nAAAA", "-----BEGIN X-----\n!\n-----END X-----"] {
            assert!(blocks(wrong).is_err(), "{wrong}");
        }
        assert!(blocks("nothing").unwrap().is_empty());
    }

    #[test]
    fn elements_are_cut_at_their_length_and_never_beyond() {
        let long = wrapped(0x30, &[7; 300]);
        let read = element(&long).unwrap();
        assert_eq!((read.tag, read.content, read.whole, read.rest), (0x30, &[7; 300][..], long.as_slice(), &[][..]));
        for len in 0..long.len() {
            assert!(element(&long[..len]).is_none());
        }
        assert!(element(&[0x30, 0x80, 0, 0]).is_none(), "no indefinite lengths");
        assert!(element(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]).is_none());
        assert!(certificate(&long).is_none());
    }
}
