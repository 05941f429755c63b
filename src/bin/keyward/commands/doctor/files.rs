//! The token directory, the device secret and the slot files, as the file system shows them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keyward::config::Config;

use super::{Findings, Grade, exists};

/// Bytes (docs/slot-file.md).
const DEVICE_SECRET_LEN: u64 = 32;

pub fn check(config: &Config, findings: &mut Findings) {
    let directory = token_directory(&config.tokens, findings);
    let slot_files = if directory { slot_files(&config.tokens) } else { Vec::new() };
    device_secret(&config.device_secret, !slot_files.is_empty(), findings);
    for path in &slot_files {
        private("slot file", path, findings);
    }
    if let Some(log) = &config.log.file {
        log_file(log, findings);
    }
}

pub fn slot_files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "slot")).collect();
    files.sort();
    files
}

/// Whether it can be looked into.
fn token_directory(path: &Path, findings: &mut Findings) -> bool {
    const SUBJECT: &str = "token directory";
    let shown = path.display();
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = path.ancestors().skip(1).find(|parent| parent.is_dir()).unwrap_or(Path::new("/"));
            match parent.metadata() {
                Ok(meta) if may_write(&meta) => {
                    findings.add(
                        Grade::Note,
                        SUBJECT,
                        format!("{shown} is not there yet"),
                        "the first `keyward token init` makes it",
                    );
                }
                _ => findings.add(
                    Grade::Error,
                    SUBJECT,
                    format!("{shown} is not there, and {} is not writable for this user", parent.display()),
                    "make it, with owner this user and mode 0700, or set `tokens` to another place",
                ),
            }
            return false;
        }
        Err(error) => {
            findings.add(Grade::Error, SUBJECT, format!("{shown}: {error}"), "let this user reach it (chmod, chown)");
            return false;
        }
    };
    if !meta.is_dir() {
        findings.add(Grade::Error, SUBJECT, format!("{shown} is no directory"), "set `tokens` to a directory");
        return false;
    }
    if std::fs::read_dir(path).is_err() {
        findings.add(Grade::Error, SUBJECT, format!("{shown} is not readable for this user"), "chown or chmod it");
        return false;
    }
    let before = findings.0.len();
    modes(SUBJECT, path, &meta, 0o700, findings);
    if !may_write(&meta) {
        findings.add(
            Grade::Warning,
            SUBJECT,
            format!("{shown} is not writable for this user"),
            "tokens can be read only; chown or chmod it to write",
        );
    }
    if let Some((kind, mount)) = mounted(path) {
        file_system(path, &kind, &mount, findings);
    }
    if findings.0.len() == before {
        findings.good(SUBJECT, shown.to_string());
    }
    true
}

fn device_secret(path: &Path, needed: bool, findings: &mut Findings) {
    const SUBJECT: &str = "device secret";
    let shown = path.display();
    if keyward::config::names_a_source(path) {
        match keyward::store::DeviceSecret::load(path) {
            Ok(_) => findings.good(SUBJECT, shown.to_string()),
            Err(error) => findings.add(Grade::Error, SUBJECT, error.to_string(), "correct `device_secret`"),
        }
        return;
    }
    match path.metadata() {
        Ok(meta) if !meta.is_file() => {
            findings.add(Grade::Error, SUBJECT, format!("{shown} is no plain file"), "set `device_secret` to a file");
        }
        Ok(meta) if meta.len() != DEVICE_SECRET_LEN => findings.add(
            Grade::Error,
            SUBJECT,
            format!("{shown} has {} bytes; expected {DEVICE_SECRET_LEN}", meta.len()),
            "restore it from a backup; the tokens cannot be opened without the right one",
        ),
        Ok(_) => private(SUBJECT, path, findings),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && needed => findings.add(
            Grade::Error,
            SUBJECT,
            format!("{shown} is not there, but slot files are"),
            "restore it from a backup, or correct `device_secret`; the tokens cannot be opened without it",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.add(
                Grade::Note,
                SUBJECT,
                format!("{shown} is not there yet"),
                "the first `keyward token init` makes it",
            );
        }
        Err(error) => findings.add(Grade::Error, SUBJECT, format!("{shown}: {error}"), "let this user read it"),
    }
}

/// A file that only its owner, who is this user, may touch.
fn private(subject: &str, path: &Path, findings: &mut Findings) {
    match path.metadata() {
        Ok(meta) => {
            let before = findings.0.len();
            modes(subject, path, &meta, 0o600, findings);
            if findings.0.len() == before {
                findings.good(subject, path.display().to_string());
            }
        }
        Err(error) => {
            findings.add(Grade::Error, subject, format!("{}: {error}", path.display()), "let this user read it")
        }
    }
}

fn modes(subject: &str, path: &Path, meta: &Metadata, wanted: u32, findings: &mut Findings) {
    let mode = meta.mode() & 0o7777;
    let shown = path.display();
    if mode & 0o077 != 0 {
        let found = format!("{shown} has mode {mode:04o}: others may reach it");
        findings.add(Grade::Error, subject, found, format!("chmod {wanted:o} {shown}"));
    }
    if mode & wanted != wanted {
        let found = format!("{shown} has mode {mode:04o}: its owner may not use it fully");
        findings.add(Grade::Warning, subject, found, format!("chmod {wanted:o} {shown}"));
    }
    if let Some(user) = effective_user().filter(|user| *user != meta.uid()) {
        let found = format!("{shown} belongs to user {}, this is user {user}", meta.uid());
        findings.add(Grade::Warning, subject, found, "run as its owner, or chown it");
    }
}

fn log_file(path: &Path, findings: &mut Findings) {
    let place = if exists(path) { Some(path) } else { path.parent() };
    match place.map(Path::metadata) {
        Some(Ok(meta)) if may_write(&meta) => findings.good("log file", path.display().to_string()),
        Some(Ok(_)) => findings.add(
            Grade::Warning,
            "log file",
            format!("{} is not writable", path.display()),
            "chown or chmod it, or set log.file to another place",
        ),
        _ => findings.add(
            Grade::Warning,
            "log file",
            format!("the directory of {} is not there", path.display()),
            "make it, or set log.file to another place",
        ),
    }
}

/// The kernel's own view of who we are: the owner of our entry under /proc.
fn effective_user() -> Option<u32> {
    Path::new("/proc/self").metadata().ok().map(|meta| meta.uid())
}

/// By mode bits; the superuser may always. Group membership is left out, since the directory is to be the owner's alone.
fn may_write(meta: &Metadata) -> bool {
    match effective_user() {
        Some(0) => true,
        Some(user) if user == meta.uid() => meta.mode() & 0o200 != 0,
        _ => meta.mode() & 0o022 != 0,
    }
}

fn file_system(path: &Path, kind: &str, options: &str, findings: &mut Findings) {
    const REMOTE: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs"];
    let shown = path.display();
    if REMOTE.contains(&kind) {
        findings.add(
            Grade::Error,
            "token directory",
            format!("{shown} lies on a network file system ({kind}), which cannot keep several writers apart"),
            "set `tokens` to a local directory",
        );
    }
    if options.split(',').any(|option| option == "ro") {
        findings.add(
            Grade::Warning,
            "token directory",
            format!("{shown} is mounted read-only"),
            "tokens can be read only",
        );
    }
}

/// The type and the options of the file system that holds `path`.
fn mounted(path: &Path) -> Option<(String, String)> {
    holding(&path.canonicalize().ok()?, &std::fs::read_to_string("/proc/self/mounts").ok()?)
}

/// From the lines of /proc/self/mounts: the last of the longest mount points that hold `path`.
fn holding(path: &Path, mounts: &str) -> Option<(String, String)> {
    let fitting = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?.replace("\\040", " ");
        let (kind, options) = (words.next()?, words.next()?);
        path.starts_with(&point).then(|| (point.len(), (kind.to_owned(), options.to_owned())))
    });
    fitting.max_by_key(|(length, _)| *length).map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "a / ext4 rw,x 0 0\nb /srv nfs4 rw 0 0\nc /srv/my\\040keys ext4 ro 0 0\n";
        let kind = |path: &str| holding(Path::new(path), mounts).unwrap();
        assert_eq!(kind("/srv/tokens"), ("nfs4".into(), "rw".into()));
        assert_eq!(kind("/srvx").0, "ext4");
        assert_eq!(kind("/srv/my keys/t").1, "ro");
    }

    #[test]
    fn a_network_file_system_is_an_error() {
        let mut findings = Findings::default();
        file_system(Path::new("/srv"), "nfs4", "rw", &mut findings);
        assert_eq!(findings.worst(), Grade::Error);
        let mut findings = Findings::default();
        file_system(Path::new("/srv"), "ext4", "rw,noatime", &mut findings);
        assert_eq!(findings.worst(), Grade::Good);
    }
}
