//! The library beside this program, and its registration with p11-kit.

use std::path::{Path, PathBuf};

use super::{Findings, Grade};

const LIBRARY: &str = "libkeyward.so";
const MARK: &[u8] = b"keyward-build-version=";

/// Where to look; tests have their own.
pub struct Places {
    /// Directories where the library may be, the likeliest first.
    pub libraries: Vec<PathBuf>,
    /// Directories of p11-kit module files; what comes first overrides by file name.
    pub modules: Vec<PathBuf>,
}

impl Places {
    pub fn of_this_process() -> Places {
        let program = std::env::current_exe().ok();
        let beside = program.as_deref().and_then(Path::parent).map(Path::to_owned);
        let prefix = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
        let under = |base: &Path| ["lib", "lib64", "lib/pkcs11", "lib64/pkcs11"].map(|end| base.join(end));
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let user = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or(home.map(|home| home.join(".config")));
        Places {
            libraries: beside.into_iter().chain(prefix.iter().flat_map(|prefix| under(prefix))).collect(),
            modules: user
                .into_iter()
                .map(|user| user.join("pkcs11/modules"))
                .chain(["/etc/pkcs11/modules", "/usr/share/p11-kit/modules"].map(PathBuf::from))
                .collect(),
        }
    }
}

pub fn check(places: &Places, findings: &mut Findings) {
    let beside = places.libraries.iter().map(|directory| directory.join(LIBRARY)).find(|path| path.is_file());
    match &beside {
        Some(path) => version("library", path, findings),
        None => findings.add(
            Grade::Note,
            "library",
            format!("no {LIBRARY} beside this program"),
            "give applications the path at which you installed it",
        ),
    }
    registration(places, findings);
}

/// The library's version is read from its bytes: to load it would run it.
fn version(subject: &str, path: &Path, findings: &mut Findings) {
    let shown = path.display();
    let own = env!("CARGO_PKG_VERSION");
    match std::fs::read(path).map(|bytes| marked_version(&bytes)) {
        Ok(Some(found)) if found == own => findings.good(subject, format!("{shown}, version {found}")),
        Ok(Some(found)) => findings.add(
            Grade::Error,
            subject,
            format!("{shown} is version {found}, this program is {own}"),
            "install both from one release",
        ),
        Ok(None) => findings.add(Grade::Error, subject, format!("{shown} is not Keyward's library"), "install it anew"),
        Err(error) => findings.add(Grade::Error, subject, format!("{shown}: {error}"), "let this user read it"),
    }
}

/// What stands between the mark and the semicolon; the mark alone, as in this very search, does not count.
fn marked_version(bytes: &[u8]) -> Option<String> {
    let starts = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    starts
        .filter_map(|(at, _)| {
            let rest = bytes.get(at.checked_add(MARK.len())?..)?;
            let text: Vec<u8> = rest.iter().copied().take(32).take_while(|byte| *byte != b';').collect();
            let sound = text.first()?.is_ascii_digit() && text.len() < 32;
            sound.then(|| String::from_utf8_lossy(&text).into_owned())
        })
        .next()
}

fn registration(places: &Places, findings: &mut Findings) {
    const SUBJECT: &str = "p11-kit";
    let mut found = false;
    for (file, module) in places.modules.iter().flat_map(|directory| registered(directory)) {
        found = true;
        let path = PathBuf::from(&module);
        // A bare name is looked up in p11-kit's own module directory, which only p11-kit knows.
        match (path.is_absolute(), path.is_file()) {
            (true, true) => version(SUBJECT, &path, findings),
            (true, false) => findings.add(
                Grade::Error,
                SUBJECT,
                format!("{} names {module}, which is not there", file.display()),
                "correct its `module:` line",
            ),
            (false, _) => findings.good(SUBJECT, format!("registered in {} as {module}", file.display())),
        }
    }
    if !found {
        let advice = "applications that use p11-kit do not see Keyward; to change that, write a file keyward.module \
                      with the line `module: /path/to/libkeyward.so` into /etc/pkcs11/modules or ~/.config/pkcs11/modules";
        findings.add(Grade::Note, SUBJECT, "not registered", advice);
    }
}

/// The module files of `directory` that name our library.
fn registered(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries.filter(|path| path.extension().is_some_and(|end| end == "module"));
    files
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            let module = text.lines().find_map(|line| line.trim().strip_prefix("module:"))?.trim().to_owned();
            (Path::new(&module).file_name()? == LIBRARY).then_some((path, module))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_bytes() {
        assert_eq!(marked_version(b"..keyward-build-version=\0..keyward-build-version=1.2.3;.."), Some("1.2.3".into()));
        assert_eq!(marked_version(b"..keyward-build-version=1.2.3"), Some("1.2.3".into()));
        assert_eq!(marked_version(b"another library"), None);
        assert_eq!(marked_version(keyward::config::BUILD_MARK.as_bytes()), Some(env!("CARGO_PKG_VERSION").into()));
    }

    #[test]
    fn a_registration_that_leads_nowhere_is_an_error() {
        let directory = std::env::temp_dir().join(format!("keyward-modules-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("other.module"), "module: /usr/lib/other.so\n").unwrap();
        let places = Places { libraries: vec![], modules: vec![directory.clone()] };
        let round = || {
            let mut findings = Findings::default();
            check(&places, &mut findings);
            findings
        };
        assert_eq!(round().worst(), Grade::Note, "another module is none of ours");
        std::fs::write(directory.join("keyward.module"), "# ours\nmodule: /nowhere/libkeyward.so\n").unwrap();
        let findings = round();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(findings.worst(), Grade::Error);
        assert!(findings.0.iter().any(|one| one.found.contains("/nowhere/libkeyward.so")));
    }
}
