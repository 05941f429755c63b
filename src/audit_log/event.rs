//! What happened, and the line that says so.

use std::borrow::Cow;
use std::fmt::Write;

use super::time;

/// Which of the configuration's modes an event goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Keys made, changed, destroyed, taken out; PINs set; tokens initialised. Always durable.
    Admin,
    Login,
    KeyUse,
    PublicUse,
}

/// A key as the record names it, written out beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName {
    /// `,"key":"...","label":"..."` and the version where there is one.
    fields: String,
    /// As the second key of an event: `,"with":"..."`.
    with: String,
    /// A label that is not told, and what stands for it: in what is said of the key too.
    hidden: Option<(String, String)>,
}

impl KeyName {
    pub fn new(unique_id: &str, label: &str, version: Option<u64>) -> KeyName {
        let mut fields = String::new();
        field(&mut fields, "key", unique_id);
        field(&mut fields, "label", label);
        if let Some(version) = version {
            let _ = write!(fields, ",\"version\":{version}");
        }
        let mut with = String::new();
        field(&mut with, "with", unique_id);
        KeyName { fields, with, hidden: None }
    }

    /// With a label that is told as `shown` alone.
    pub fn redacted(unique_id: &str, label: &str, shown: &str, version: Option<u64>) -> KeyName {
        let hidden = (!label.is_empty()).then(|| (label.to_owned(), shown.to_owned()));
        KeyName { hidden, ..KeyName::new(unique_id, shown, version) }
    }

    fn censored<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.hidden {
            Some((label, shown)) if text.contains(label.as_str()) => Cow::Owned(text.replace(label.as_str(), shown)),
            _ => Cow::Borrowed(text),
        }
    }
}

/// One event. What is `None` or empty does not stand in the line.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub class: Class,
    /// `sign`, `login`, `destroy`, ...
    pub operation: &'a str,
    pub slot: u64,
    /// The token's serial.
    pub token: &'a str,
    /// `user`, `so`, or a named user.
    pub user: &'a str,
    pub key: Option<&'a KeyName>,
    /// The wrapping key, the base of a derivation.
    pub with: Option<&'a KeyName>,
    pub mechanism: &'a str,
    /// `CKR_...`.
    pub result: &'a str,
    /// Why it was refused, or what an administrator gave as reason.
    pub rule: &'a str,
}

impl<'a> Event<'a> {
    pub fn new(class: Class, operation: &'a str) -> Event<'a> {
        Event {
            class,
            operation,
            slot: 0,
            token: "",
            user: "",
            key: None,
            with: None,
            mechanism: "",
            result: "",
            rule: "",
        }
    }

    /// Writes all but the line's end: what stands before it is the writer's.
    pub(super) fn write(&self, line: &mut String) {
        if !self.token.is_empty() {
            let _ = write!(line, ",\"slot\":{}", self.slot);
            field(line, "token", self.token);
        }
        let filled = |line: &mut String, name, value: &str| {
            if !value.is_empty() {
                field(line, name, value);
            }
        };
        filled(line, "user", self.user);
        field(line, "op", self.operation);
        if let Some(key) = self.key {
            line.push_str(&key.fields);
        }
        if let Some(with) = self.with {
            line.push_str(&with.with);
        }
        filled(line, "mechanism", self.mechanism);
        filled(line, "result", self.result);
        let with = self.with.map_or(Cow::Borrowed(self.rule), |with| with.censored(self.rule));
        filled(line, "rule", &self.key.map_or(Cow::Borrowed(&*with), |key| key.censored(&with)));
    }
}

/// The time of a line; the part that changes once a second is kept.
pub(super) struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { second: u64::MAX, text: String::new() }
    }

    pub fn write(&mut self, line: &mut String, micros: u64) {
        let second = micros / 1_000_000;
        if self.second != second {
            self.text = time::text(micros);
            self.text.truncate("2026-11-28T17:49:52.".len());
            self.second = second;
        }
        line.push_str(&self.text);
        let _ = write!(line, "{:06}Z", micros % 1_000_000);
    }
}

/// `,"name":"value"`, escaped as JSON (RFC 8259, 7).
pub(super) fn field(line: &mut String, name: &str, value: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":\"");
    escape(line, value);
    line.push('"');
}

pub(super) fn escape(line: &mut String, value: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if value.bytes().all(plain) {
        return line.push_str(value);
    }
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

/// 64 digits of a hash.
pub(super) fn hex(line: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?');
    for part in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(part) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        let written = digits.get(..part.len().saturating_mul(2)).and_then(|digits| std::str::from_utf8(digits).ok());
        line.push_str(written.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_label_gives_one_line_of_json_that_says_it() {
        for label in ["", "tls", "a\"b\\c", "new\nline\u{1b}[2J", "schlüssel \u{2028}", "\u{0}"] {
            let key = KeyName::new("id", label, Some(3));
            let mut line = "{\"seq\":1".to_owned();
            Event { key: Some(&key), ..Event::new(Class::KeyUse, "sign") }.write(&mut line);
            line.push('}');
            assert!(!line.contains('\n'));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["label"], label);
            assert_eq!(read["version"], 3);
        }
    }

    #[test]
    fn a_label_that_is_not_told_stands_in_no_reason_either() {
        let key = KeyName::redacted("id", "payroll", "redacted:0011", None);
        let mut line = "{\"seq\":1".to_owned();
        let rule = "payroll is used up: rotate payroll";
        Event { key: Some(&key), rule, ..Event::new(Class::KeyUse, "sign") }.write(&mut line);
        assert!(!line.contains("payroll") && line.contains("rotate redacted:0011"), "{line}");
    }
}
