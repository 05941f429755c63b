//! A share as custodians keep it: one line of text that says to which backup it belongs and shows a typing mistake.

use zeroize::Zeroizing;

use super::shamir::{self, Point};
use crate::crypto::digest::{Digest, hash};
use crate::error::{Code, Result};
use crate::secret::Secret;

const KIND: &str = "KEYWARD-SHARE-1";

/// One of `of` shares, of which `threshold` are needed.
#[derive(Clone)]
pub struct Share {
    /// The backup's ID, 32 hexadecimal digits.
    pub backup: String,
    pub threshold: u8,
    pub of: u8,
    point: Point,
}

impl Share {
    /// Splits the key of a backup.
    pub fn split(backup: &str, key: &Secret<[u8; 32]>, threshold: u8, of: u8) -> Result<Vec<Share>> {
        let points = shamir::split(key.expose(), threshold, of)?;
        Ok(points.into_iter().map(|point| Share { backup: backup.to_owned(), threshold, of, point }).collect())
    }

    /// The key of the backup. `CKR_ARGUMENTS_BAD`: too few, twice the same, or of different backups.
    pub fn combine(backup: &str, shares: &[Share]) -> Result<Secret<[u8; 32]>> {
        let wrong = |why: String| Code::ArgumentsBad.because(why);
        if let Some(other) = shares.iter().find(|share| share.backup != backup) {
            let why = format!("share {} belongs to backup {}, not to {backup}", other.number(), other.backup);
            return Err(wrong(why));
        }
        let mut numbers: Vec<u8> = shares.iter().map(Share::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let needed = shares.first().map_or(1, |share| share.threshold);
        if numbers.len() < usize::from(needed) {
            return Err(wrong(format!("{} different shares are given, {needed} are needed", numbers.len())));
        }
        let mut points: Vec<Point> = shares.iter().map(|share| share.point.clone()).collect();
        points.sort_by_key(|(number, _)| *number);
        points.dedup_by_key(|(number, _)| *number);
        points.truncate(usize::from(needed));
        let key = shamir::combine(&points)?;
        let key: &[u8; 32] = key.as_slice().try_into().map_err(|_| wrong("the shares have another length".into()))?;
        Ok(Secret::new(*key))
    }

    pub fn number(&self) -> u8 {
        self.point.0
    }

    pub fn text(&self) -> Zeroizing<String> {
        let digits = self.point.1.iter().fold(Zeroizing::new(String::with_capacity(64)), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        });
        let body = format!("{KIND}:{}:{}:{}:{}:{}", self.backup, self.threshold, self.of, self.point.0, *digits);
        Zeroizing::new(format!("{body}:{}", check(&body)))
    }

    /// `CKR_ARGUMENTS_BAD` with what is wrong.
    pub fn parse(text: &str) -> Result<Share> {
        let wrong = |why: &str| Code::ArgumentsBad.because(format!("the share cannot be read: {why}"));
        let text = text.trim();
        let (body, sum) =
            text.rsplit_once(':').ok_or_else(|| wrong("expected a line that begins with KEYWARD-SHARE-1"))?;
        let fields: Vec<&str> = body.split(':').collect();
        let [KIND, backup, threshold, of, number, digits] = fields[..] else {
            return Err(wrong("expected a line that begins with KEYWARD-SHARE-1"));
        };
        if check(body) != sum.to_ascii_lowercase() {
            return Err(wrong("its check digits do not fit: it was mistyped or cut"));
        }
        let small = |text: &str| text.parse::<u8>().ok().filter(|number| *number > 0);
        let (Some(threshold), Some(of), Some(number)) = (small(threshold), small(of), small(number)) else {
            return Err(wrong("its numbers are out of range"));
        };
        let bytes: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        let bytes = bytes.filter(|bytes| bytes.len() == 32).ok_or_else(|| wrong("it holds no 32 bytes"))?;
        Ok(Share { backup: backup.to_owned(), threshold, of, point: (number, Zeroizing::new(bytes)) })
    }
}

fn check(body: &str) -> String {
    let digest = hash(Digest::Sha256, body.as_bytes());
    digest.iter().take(4).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back_from_their_text_and_say_what_is_wrong() {
        let key = Secret::new([9; 32]);
        let shares = Share::split("ab12", &key, 2, 3).unwrap();
        let texts: Vec<String> = shares.iter().map(|share| share.text().to_string()).collect();
        let read: Vec<Share> = texts.iter().map(|text| Share::parse(&format!(" {text}\n")).unwrap()).collect();
        assert!(Share::combine("ab12", &read[1..]).unwrap() == key);
        assert!(Share::combine("ab12", &read).unwrap() == key, "more than needed");
        let why = |shares: &[Share]| Share::combine("ab12", shares).err().unwrap().why().unwrap().to_owned();
        assert!(why(&read[..1]).contains("1 different shares are given, 2 are needed"));
        assert!(why(&[read[0].clone(), read[0].clone()]).contains("1 different"));
        assert!(Share::combine("other", &read).err().unwrap().why().unwrap().contains("belongs to backup ab12"));
        for at in 0..texts[0].len() {
            let mut wrong = texts[0].clone();
            let other = if texts[0].as_bytes()[at] == b'1' { "2" } else { "1" };
            wrong.replace_range(at..=at, other);
            assert!(Share::parse(&wrong).is_err(), "{at}");
        }
    }
}
