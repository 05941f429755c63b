//! Runs tests, each in its own process, and keeps what came out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::check::{Need, Test};
use crate::context::{Choice, Env, LABEL, Outcome, Stop, T, padded, skip};
use crate::ffi::Refused;
use crate::functions::FUNCTIONS;
use crate::process::{Lost, isolated, noted};

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Fail,
    Skip,
}

/// By a mechanism's name: vectors accepted and vectors refused.
pub type Counts = BTreeMap<String, [usize; 2]>;

#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub id: String,
    /// Section of the specification, PKCS#11 3.2 as published.
    pub section: String,
    pub verdict: Verdict,
    /// Why, for a failure or a skip.
    pub reason: String,
    pub seconds: f64,
    /// Of a set of vectors that passed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: Counts,
}

/// What the module says of itself, and the token chosen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    pub library: String,
    pub manufacturer: String,
    pub library_version: String,
    pub cryptoki_version: String,
    /// Version of the function list that the tests call through.
    pub list_version: String,
    pub token: Option<String>,
    pub model: Option<String>,
    pub mechanisms: Vec<u64>,
}

/// Looks at the module and, where we may, makes our token.
pub fn probe(env: &Env) -> Result<About, String> {
    let limit = Duration::from_secs(env.timeout.max(60));
    isolated(limit, !env.verbose, || describe(env)).map_err(|l| place(&l)).and_then(|r| {
        r.map_err(|s| match s {
            Stop::Fail(e) | Stop::Skip(e) => e,
        })
    })
}

fn describe(env: &Env) -> Result<About, Stop> {
    let mut t = T::new(env)?;
    let api = t.init()?;
    let info: cryptoki_sys::CK_INFO = api.store(crate::functions::F::C_GetInfo, &[])?;
    let dotted = |v: cryptoki_sys::CK_VERSION| format!("{}.{}", v.major, v.minor);
    if matches!(env.choice, Choice::Own(_)) {
        t.fresh()?;
    }
    let token = match (t.slot(), &env.choice) {
        (Err(e), Choice::Slot(_) | Choice::Label(_) | Choice::Own(_)) => return Err(e),
        (slot, _) => slot.ok(),
    };
    let token_info = token.map(|s| api.token_info(s)).transpose()?;
    let mechanisms = match token {
        Some(s) => api.mechanisms(s).or_else(|r: Refused| if r.rv.0 == 0x54 { Ok(vec![]) } else { Err(r) })?,
        None => Vec::new(),
    };
    Ok(About {
        library: padded(&info.libraryDescription),
        manufacturer: padded(&info.manufacturerID),
        library_version: dotted(info.libraryVersion),
        cryptoki_version: dotted(info.cryptokiVersion),
        list_version: format!("{}.{}", api.list.version.0, api.list.version.1),
        token: token_info.map(|i| padded(&i.label)),
        model: token_info.map(|i| padded(&i.model)),
        mechanisms,
    })
}

/// Runs one test.
pub fn run(env: &Env, test: &Test) -> Record {
    let start = Instant::now();
    let limit = Duration::from_secs(env.timeout * test.patience);
    let result = isolated(limit, !env.verbose, || attempt(env, test));
    let (verdict, reason) = match result {
        Ok(Ok(())) => (Verdict::Pass, String::new()),
        Ok(Err(Stop::Skip(why))) => (Verdict::Skip, why),
        Ok(Err(Stop::Fail(why))) => (Verdict::Fail, why),
        Err(lost) => (Verdict::Fail, place(&lost)),
    };
    Record {
        id: test.id.clone(),
        section: test.section.clone(),
        verdict,
        reason,
        seconds: start.elapsed().as_secs_f64(),
        counts: Counts::new(),
    }
}

fn attempt(env: &Env, test: &Test) -> Outcome {
    let mut t = T::new(env)?;
    for need in &test.needs {
        meets(&mut t, *need)?;
    }
    (test.run)(&mut t)
}

fn meets(t: &mut T<'_>, need: Need) -> Outcome {
    match need {
        Need::Token => t.slot().map(|_| ()),
        Need::User => t.slot().and(t.user_pin()).map(|_| ()),
        Need::So => t.slot().and(t.so_pin()).map(|_| ()),
        Need::Own if matches!(t.env.choice, Choice::Own(_)) => Ok(()),
        Need::Own => skip(format!("needs a token that it may wipe (--init-token), labelled {LABEL}")),
        Need::Writable => match t.token()?.flags & cryptoki_sys::CKF_WRITE_PROTECTED {
            0 => Ok(()),
            _ => skip("the token is write-protected"),
        },
        Need::Fn(f) => t.needs(f),
        Need::Mech(ty, uses) => t.mechanism(ty, uses).map(|_| ()),
    }
}

/// The text for a lost child, with where it was.
pub fn place(lost: &Lost) -> String {
    let (function, step) = noted();
    let inside = function.and_then(|i| FUNCTIONS.get(i as usize)).map(|r| format!(" in {}", r.name));
    let step = step.map(|s| format!(" at step {s}"));
    match lost {
        Lost::Panic(_) => lost.to_string(),
        _ => format!("{lost}{}{}", inside.unwrap_or_default(), step.unwrap_or_default()),
    }
}
