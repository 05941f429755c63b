//! Replays test cases of the PKCS#11 Profiles, or any file of their form, against a module.

mod marshal;
mod play;
mod xml;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::check::rsa_key;
use crate::context::{Choice, Env, Outcome, Stop, T};
use crate::data::Template;
use crate::process::isolated;
use crate::runner::{Record, Verdict};

/// All `.xml` files of these files and folders, in order of their names.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let inside = entries.filter_map(|e| e.ok().map(|e| e.path()));
        all.extend(inside.filter(|p| p.extension().is_some_and(|x| x == "xml")));
    }
    all.sort();
    if all.is_empty() { Err("no .xml file there".to_owned()) } else { Ok(all) }
}

/// Replays one file in a process of its own. With `strict`, differences that the profile document does not list as
/// variable are failures; without it they are told with the result.
pub fn replay(env: &Env, file: &Path, strict: bool) -> Record {
    let start = Instant::now();
    let result = isolated(Duration::from_secs(env.timeout), !env.verbose, || run(env, file, strict));
    let (verdict, reason) = match result {
        Ok(Ok(notes)) => (Verdict::Pass, notes.join("; ")),
        Ok(Err(Stop::Fail(why))) => (Verdict::Fail, why),
        Ok(Err(Stop::Skip(why))) => (Verdict::Skip, why),
        Err(lost) => (Verdict::Fail, crate::runner::place(&lost)),
    };
    let name = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    Record {
        id: format!("profiles/{name}"),
        section: "Profiles 3.2, 5".to_owned(),
        verdict,
        reason,
        seconds: start.elapsed().as_secs_f64(),
    }
}

fn run(env: &Env, file: &Path, strict: bool) -> Result<Vec<String>, Stop> {
    let text = std::fs::read_to_string(file).map_err(|e| Stop::Fail(format!("{}: {e}", file.display())))?;
    let steps = xml::case(&text).map_err(|e| Stop::Fail(format!("{}: {e}", file.display())))?;
    let mut t = T::new(env)?;
    let slot = t.slot()?;
    if matches!(env.choice, Choice::Own(_)) {
        prepare(&mut t)?;
    }
    t.release()?;
    let mut player = play::Player::new(&t, slot);
    for (i, step) in steps.iter().enumerate() {
        player.step(step).map_err(|stop| match stop {
            Stop::Fail(why) => Stop::Fail(format!("step {}: {why}", i + 1)),
            skip => skip,
        })?;
    }
    match player.notes {
        notes if strict && !notes.is_empty() => Err(Stop::Fail(notes.join("; "))),
        notes => Ok(notes),
    }
}

/// Fills our own token with what the mandatory cases look for: an RSA pair of given labels, and five public objects of
/// which at least one is a certificate.
fn prepare(t: &mut T<'_>) -> Outcome {
    t.fresh()?;
    let s = t.user()?;
    let on_token = |label: &str, private: bool| {
        Template::new().flag(CKA_TOKEN, true).flag(CKA_PRIVATE, private).text(CKA_LABEL, label)
    };
    for i in 0..3u8 {
        let certificate = Template::of(CKO_CERTIFICATE)
            .ulong(CKA_CERTIFICATE_TYPE, CKC_X_509)
            .bytes(CKA_SUBJECT, &[0x30, 0])
            .bytes(CKA_ID, &[i])
            .bytes(CKA_VALUE, &[0x30, 3, 2, 1, i]);
        s.create(&certificate.with(&on_token(&format!("certificate {i}"), false)))?;
    }
    let data = Template::of(CKO_DATA).bytes(CKA_VALUE, b"data of the profile test");
    s.create(&data.with(&on_token("data", false)))?;
    let soft = Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
    rsa_key::import_with(s, &on_token("testrsa-pub", false), &on_token("testrsa-pri", true).with(&soft))?;
    Ok(())
}
