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
use crate::runner::{Counts, Record, Verdict};

/// The profiles that have mandatory cases: identifier, name, and how the names of their cases begin.
const PROFILES: &[(CK_PROFILE_ID, &str, &str)] = &[
    (CKP_BASELINE_PROVIDER, "Baseline Provider", "BL-M-"),
    (CKP_EXTENDED_PROVIDER, "Extended Provider", "EXT-M-"),
    (CKP_AUTHENTICATION_TOKEN, "Authentication Token", "AUTH-M-"),
    (CKP_PUBLIC_CERTIFICATES_TOKEN, "Public Certificates Token", "CERT-M-"),
];

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
        counts: Counts::new(),
    }
}

/// Compares the token's profile objects with the mandatory cases just replayed: a profile is claimed exactly if it holds,
/// since the object is itself a condition of the profile. A claim whose case was not among these is told.
pub fn claims(env: &Env, replayed: &[Record]) -> Record {
    let start = Instant::now();
    let claimed = isolated(Duration::from_secs(env.timeout), !env.verbose, || claimed(env));
    let (verdict, reason) = match claimed {
        Ok(Ok(claimed)) => judge(&claimed, replayed),
        Ok(Err(Stop::Fail(why))) => (Verdict::Fail, why),
        Ok(Err(Stop::Skip(why))) => (Verdict::Skip, why),
        Err(lost) => (Verdict::Fail, crate::runner::place(&lost)),
    };
    Record {
        id: "profiles/claims".to_owned(),
        section: "4.16".to_owned(),
        verdict,
        reason,
        seconds: start.elapsed().as_secs_f64(),
        counts: Counts::new(),
    }
}

/// The profiles that the token's objects name; a login is not needed to see them.
fn claimed(env: &Env) -> Result<Vec<CK_PROFILE_ID>, Stop> {
    let mut t = T::new(env)?;
    let s = t.session()?;
    let objects = s.find(&Template::of(CKO_PROFILE))?;
    Ok(objects.into_iter().map(|o| s.get_ulong(o, CKA_PROFILE_ID)).collect::<Result<_, _>>()?)
}

fn judge(claimed: &[CK_PROFILE_ID], replayed: &[Record]) -> (Verdict, String) {
    let (mut wrong, mut notes) = (Vec::new(), Vec::new());
    for (id, name, prefix) in PROFILES {
        let prefix = format!("profiles/{prefix}");
        let mut cases = replayed.iter().filter(|r| r.id.starts_with(&prefix)).peekable();
        match (claimed.contains(id), cases.peek().is_some(), cases.all(|r| r.verdict == Verdict::Pass)) {
            (true, true, false) => wrong.push(format!("{name} is claimed, and its case does not pass")),
            (true, false, _) => notes.push(format!("{name} is claimed, its case was not replayed")),
            (false, true, true) => wrong.push(format!("{name} passes, and no profile object says so")),
            _ => {}
        }
    }
    let known = |id: &CK_PROFILE_ID| PROFILES.iter().any(|(known, ..)| known == id);
    notes.extend(claimed.iter().filter(|id| !known(id)).map(|id| format!("profile {id:#x} has no mandatory case")));
    let verdict = if wrong.is_empty() { Verdict::Pass } else { Verdict::Fail };
    wrong.append(&mut notes);
    (verdict, wrong.join("; "))
}

fn run(env: &Env, file: &Path, strict: bool) -> Result<Vec<String>, Stop> {
    let text = std::fs::read_to_string(file).map_err(|e| Stop::Fail(format!("{}: {e}", file.display())))?;
    let steps = xml::case(&text).map_err(|e| Stop::Fail(format!("{}: {e}", file.display())))?;
    let mut t = T::new(env)?;
    let slot = t.slot()?;
    if matches!(env.choice, Choice::Own(_)) {
        prepare(&mut t, &text)?;
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

/// Fills our own token with what a mandatory case looks for: an RSA pair of the labels that it names, or else five public
/// certificates, so that the order in which a search finds them does not matter.
fn prepare(t: &mut T<'_>, case: &str) -> Outcome {
    t.fresh()?;
    let s = t.user()?;
    let on_token = |label: &str, private: bool| {
        Template::new().flag(CKA_TOKEN, true).flag(CKA_PRIVATE, private).text(CKA_LABEL, label)
    };
    if case.contains("testrsa-") {
        let soft = Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
        rsa_key::import_with(s, &on_token("testrsa-pub", false), &on_token("testrsa-pri", true).with(&soft))?;
        return Ok(());
    }
    for i in 0..5u8 {
        let certificate = Template::of(CKO_CERTIFICATE)
            .ulong(CKA_CERTIFICATE_TYPE, CKC_X_509)
            .bytes(CKA_SUBJECT, &[0x30, 0])
            .bytes(CKA_ID, &[i])
            .bytes(CKA_VALUE, &[0x30, 3, 2, 1, i]);
        s.create(&certificate.with(&on_token(&format!("certificate {i}"), false)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_and_its_case_go_together() {
        let record = |id: &str, verdict| Record {
            id: format!("profiles/{id}"),
            section: String::new(),
            verdict,
            reason: String::new(),
            seconds: 0.0,
            counts: Counts::new(),
        };
        let replayed = [record("BL-M-1-32", Verdict::Pass), record("AUTH-M-1-32", Verdict::Fail)];
        let baseline = CKP_BASELINE_PROVIDER;
        assert_eq!(judge(&[baseline], &replayed), (Verdict::Pass, String::new()));
        assert_eq!(judge(&[], &replayed).0, Verdict::Fail, "a profile object is a condition of the profile");
        assert_eq!(judge(&[baseline, CKP_AUTHENTICATION_TOKEN], &replayed).0, Verdict::Fail);
        let (verdict, told) = judge(&[baseline, CKP_EXTENDED_PROVIDER, CKP_HKDF_TLS_TOKEN], &replayed);
        assert_eq!(verdict, Verdict::Pass);
        assert!(told.contains("Extended Provider is claimed, its case was not replayed"), "{told}");
        assert!(told.contains("no mandatory case"), "{told}");
    }
}
