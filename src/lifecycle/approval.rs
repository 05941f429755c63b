//! Approvals: a named person's signature under one act on one thing, for a time. What a policy marks needs several.

use serde::{Deserialize, Serialize};

use super::clock;
use crate::crypto::digest::{Digest, hash};
use crate::crypto::ed25519::{PrivateKey, PublicKey, SIGNATURE_LEN, Scheme};
use crate::error::{Code, Result};
use crate::os;

/// What can be approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Of the key with this unique ID: hiding it, or destroying it for good.
    Destroy,
    /// Of the policy with this SHA-256 in hexadecimal.
    Policy,
    /// Of the key with this unique ID: wrapping it out of the token once.
    Export,
    /// Of the backup with this ID.
    Restore,
}

impl Act {
    pub const fn name(self) -> &'static str {
        match self {
            Act::Destroy => "destroy",
            Act::Policy => "policy",
            Act::Export => "export",
            Act::Restore => "restore",
        }
    }
}

/// Who wants what done, for approvers to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub act: Act,
    /// A key's unique ID, a policy's digest, a backup's ID.
    pub subject: String,
    /// The token's serial.
    pub token: String,
    /// Who will do it: a named user of the token, or an approver's name. They approve nothing of it.
    pub requester: String,
}

/// One approval, as its file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    pub act: Act,
    /// A key's unique ID, a policy's digest, a backup's ID.
    pub subject: String,
    /// The token's serial.
    pub token: String,
    /// As the policy names the approver.
    pub approver: String,
    /// As in [`Request`]; empty: whoever does it.
    #[serde(default)]
    pub requester: String,
    /// 16 random bytes in hexadecimal: no approval is another's twin, and each counts once.
    pub nonce: String,
    /// Seconds since 1970 from which on it no longer counts.
    pub until: u64,
    /// Ed25519, in hexadecimal.
    pub signature: String,
}

/// What an act needs approvals for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub act: Act,
    pub subject: &'a str,
    pub token: &'a str,
    /// The named user who does it, if it is one.
    pub by: Option<&'a str>,
    pub now: u64,
}

/// Approvals that count, to be marked as used: what names each, and until when it would count.
pub type Spent = Vec<([u8; 16], u64)>;

impl Request {
    /// `CKR_ARGUMENTS_BAD`.
    pub fn parse(text: &str) -> Result<Request> {
        toml::from_str(text).map_err(|e| Code::ArgumentsBad.because(format!("this is no request: {e}")))
    }

    pub fn render(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Code::GeneralError.because(e.to_string()))
    }

    /// Approved by whose seed this is. `CKR_ACTION_PROHIBITED` where that is the requester.
    pub fn sign(&self, seed: &[u8], approver: &str, until: u64) -> Result<Approval> {
        if self.requester == approver {
            return Err(Code::ActionProhibited.because(format!("{approver} asks for it: somebody else must approve")));
        }
        let mut approval = Approval {
            act: self.act,
            subject: self.subject.clone(),
            token: self.token.clone(),
            approver: approver.to_owned(),
            requester: self.requester.clone(),
            nonce: hex(&os::random_array::<16>()?),
            until,
            signature: String::new(),
        };
        let mut signature = vec![0; SIGNATURE_LEN];
        PrivateKey::new(seed)?.sign(Scheme::Pure, &approval.message(), &mut signature)?;
        approval.signature = hex(&signature);
        Ok(approval)
    }
}

impl Approval {
    /// `CKR_ARGUMENTS_BAD`.
    pub fn parse(text: &str) -> Result<Approval> {
        toml::from_str(text).map_err(|e| Code::ArgumentsBad.because(format!("this is no approval: {e}")))
    }

    pub fn render(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Code::GeneralError.because(e.to_string()))
    }

    /// Each part with its length, so that no two approvals share a message.
    fn message(&self) -> Vec<u8> {
        let until = self.until.to_be_bytes();
        let texts = [&self.subject, &self.token, &self.approver, &self.requester, &self.nonce];
        let mut message = b"keyward approval 2".to_vec();
        let act = self.act.name().as_bytes();
        for part in std::iter::once(act).chain(texts.into_iter().map(String::as_bytes)).chain([&until[..]]) {
            message.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }

    /// What names it among those that have been used.
    fn id(&self) -> [u8; 16] {
        hash(Digest::Sha256, &self.message()).first_chunk().copied().unwrap_or_default()
    }

    /// Why it does not count for this act; `None`: it does.
    fn fault(&self, asked: &Asked<'_>, key: Option<&str>) -> Option<String> {
        let by = &self.approver;
        let same = (self.act, self.subject.as_str()) == (asked.act, asked.subject)
            && self.token.eq_ignore_ascii_case(asked.token);
        if !same {
            return Some(format!("{by}'s approval is of something else"));
        }
        if self.until <= asked.now {
            return Some(format!("{by}'s approval ended {}", clock::text(self.until)));
        }
        if asked.by == Some(by.as_str()) || self.requester == *by {
            return Some(format!("{by} asks for it, and so does not approve it"));
        }
        if let Some(doer) = asked.by
            && !self.requester.is_empty()
            && self.requester != doer
        {
            return Some(format!("{by}'s approval is for {}, not for {doer}", self.requester));
        }
        let Some(key) = key.and_then(unhex) else { return Some(format!("the policy knows no approver {by}")) };
        let signature = unhex(&self.signature).unwrap_or_default();
        let valid = PublicKey::new(&key).and_then(|key| key.verify(Scheme::Pure, &self.message(), &signature));
        valid.err().map(|_| format!("{by}'s signature is wrong"))
    }
}

/// Whether `texts` hold `needed` approvals by different approvers; those that count. `CKR_ACTION_PROHIBITED` says what is missing.
pub fn check<'a>(
    texts: &[String],
    needed: u32,
    asked: &Asked<'_>,
    key_of: impl Fn(&str) -> Option<&'a str>,
) -> Result<Spent> {
    let (mut by, mut faults): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut spent = Spent::new();
    for text in texts {
        let approval = Approval::parse(text)?;
        match approval.fault(asked, key_of(&approval.approver)) {
            Some(fault) => faults.push(fault),
            None if by.contains(&approval.approver) => {}
            None => {
                spent.push((approval.id(), approval.until));
                by.push(approval.approver);
            }
        }
    }
    let given = u32::try_from(by.len()).unwrap_or(u32::MAX);
    if given >= needed {
        return Ok(spent);
    }
    let faults = if faults.is_empty() { String::new() } else { format!("; {}", faults.join("; ")) };
    Err(Code::ActionProhibited.because(format!(
        "the policy asks for {needed} approvals of {}, {given} are there{faults}: see `keyward approval sign`",
        asked.subject
    )))
}

/// The subject of a policy's approval.
pub fn digest(text: &str) -> String {
    hex(&hash(Digest::Sha256, text.as_bytes()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digits = pairs.iter().all(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.then(|| pairs.iter().map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvals_count_by_approver_act_subject_token_requester_and_time() {
        let keys = [[1u8; 32], [2; 32], [3; 32]];
        let public: Vec<String> = keys.iter().map(|seed| hex(&PrivateKey::new(seed).unwrap().public())).collect();
        let names = ["alice", "bob", "carol"];
        let key_of = |name: &str| names.iter().position(|n| *n == name).map(|at| public[at].as_str());
        let sign_for = |at: usize, act, subject: &str, token: &str, requester: &str, until| {
            let (subject, token, requester) = (subject.into(), token.into(), requester.into());
            let request = Request { act, subject, token, requester };
            request.sign(&keys[at], names[at], until).unwrap().render().unwrap()
        };
        let sign = |at, act, subject: &str, token: &str, until| sign_for(at, act, subject, token, "dave", until);
        let asked = Asked { act: Act::Destroy, subject: "id", token: "00ff", by: Some("dave"), now: 100 };
        let checked = |texts: &[String]| check(texts, 2, &asked, key_of).map_err(|e| e.why().unwrap().to_owned());
        let (alice, bob) = (sign(0, Act::Destroy, "id", "00ff", 200), sign(1, Act::Destroy, "id", "00FF", 200));
        let spent = checked(&[alice.clone(), bob.clone()]).unwrap();
        assert_eq!(spent.len(), 2);
        assert_ne!(spent[0].0, checked(&[sign(0, Act::Destroy, "id", "00ff", 200), bob]).unwrap()[0].0, "no twins");
        for (other, said) in [
            (sign(0, Act::Destroy, "id", "00ff", 300), "1 are there"),
            (sign(1, Act::Policy, "id", "00ff", 200), "something else"),
            (sign(1, Act::Export, "id", "00ff", 200), "something else"),
            (sign(1, Act::Destroy, "other", "00ff", 200), "something else"),
            (sign(1, Act::Destroy, "id", "0000", 200), "something else"),
            (sign(1, Act::Destroy, "id", "00ff", 100), "ended"),
            (sign_for(1, Act::Destroy, "id", "00ff", "erin", 200), "for erin, not for dave"),
            (sign(1, Act::Destroy, "id", "00ff", 200).replace("200", "201"), "signature is wrong"),
            (sign(1, Act::Destroy, "id", "00ff", 200).replace("dave", ""), "signature is wrong"),
            (sign(1, Act::Destroy, "id", "00ff", 200).replace("bob", "mallory"), "knows no approver"),
            (sign(1, Act::Destroy, "id", "00ff", 200).replace("bob", "dave"), "does not approve it"),
        ] {
            assert!(checked(&[alice.clone(), other.clone()]).unwrap_err().contains(said), "{other}");
        }
        assert!(check(&["nonsense".into()], 1, &asked, key_of).is_err());
        let own = Request { act: Act::Policy, subject: "x".into(), token: "00".into(), requester: "bob".into() };
        assert_eq!(own.sign(&keys[1], "bob", 200).unwrap_err().code(), Code::ActionProhibited);
    }
}
