//! The device secret: what a stolen slot file is worthless without.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::seal::{Key, hkdf};
use crate::error::{Code, Error, Result};
use crate::os;
use crate::secret::Secret;

/// 32 bytes of this machine, and where it remembers the newest state of each token.
pub struct DeviceSecret {
    key: Key,
    anchors: Option<PathBuf>,
}

/// Where the secret comes from, as the configuration's `device_secret` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A file of its own (0600), 32 bytes, made at first use.
    File(&'a Path),
    /// `credential:NAME`: a systemd credential (`LoadCredential=`, `LoadCredentialEncrypted=`, also from a TPM).
    Credential(&'a str),
    /// `command:PROGRAM ARGUMENT ...`: what a program prints. No shell; arguments are apart by blanks.
    Command(&'a str),
    /// `env:NAME`: for tests only, since other processes of the account can read it.
    Environment(&'a str),
}

impl<'a> Source<'a> {
    pub fn of(configured: &'a Path) -> Source<'a> {
        let text = configured.to_str().unwrap_or_default();
        match text.split_once(':') {
            Some(("credential", name)) => Source::Credential(name),
            Some(("command", line)) => Source::Command(line),
            Some(("env", name)) => Source::Environment(name),
            _ => Source::File(configured),
        }
    }

    fn shown(self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Credential(name) => format!("(systemd credential {name})"),
            Source::Command(line) => format!("(output of {line})"),
            Source::Environment(name) => format!("(environment variable {name})"),
        }
    }

    fn fails(self, why: &str) -> Error {
        Code::GeneralError.because(format!("the device secret {}: {why}", self.shown()))
    }

    /// Beside the secret's file; for the others in the service's state directory (`StateDirectory=`), if there is one.
    fn anchors(self) -> Option<PathBuf> {
        const NAME: &str = "anchors";
        match self {
            Source::File(path) => path.parent().map(|dir| dir.join(NAME)),
            _ => {
                let first = std::env::var("STATE_DIRECTORY").ok()?;
                let first = PathBuf::from(first.split(':').next()?);
                first.is_absolute().then(|| first.join(NAME))
            }
        }
    }
}

impl DeviceSecret {
    /// Without a place for anchors.
    pub fn from_bytes(bytes: [u8; 32]) -> DeviceSecret {
        DeviceSecret { key: Secret::new(bytes), anchors: None }
    }

    /// With the directory (0700, made when needed) in which the newest state of each token is remembered.
    pub fn with_anchors(self, directory: &Path) -> DeviceSecret {
        DeviceSecret { anchors: Some(directory.to_owned()), ..self }
    }

    /// The 32 bytes themselves: for a backup alone, which another machine must be able to open.
    pub fn expose(&self) -> &[u8; 32] {
        self.key.expose()
    }

    /// The same secret without a place for anchors.
    pub fn detached(&self) -> DeviceSecret {
        DeviceSecret { key: self.key.duplicate(), anchors: None }
    }

    /// Where this machine remembers what must not go back; `None`: nowhere.
    pub fn anchors(&self) -> Option<&Path> {
        self.anchors.as_deref()
    }

    /// Reads the file, which is made first if there is none; of several processes at once all get the same secret.
    /// Other sources are read. Errors as for [`DeviceSecret::load`], and those of a directory that cannot be written.
    pub fn load_or_create(configured: &Path) -> Result<DeviceSecret> {
        if let Source::File(path) = Source::of(configured)
            && !path.exists()
        {
            if let Some(parent) = path.parent() {
                os::create_private_dirs(parent)?;
            }
            let fresh: Key = Secret::new(os::random_array()?);
            os::write_private_new(path, fresh.expose())?;
        }
        DeviceSecret::load(configured)
    }

    /// A path, or a named source (see [`Source`]). `CKR_GENERAL_ERROR` where it is missing, is not 32 bytes long
    /// (a command's and a variable's may also be 64 hexadecimal digits), or a file is open to others.
    pub fn load(configured: &Path) -> Result<DeviceSecret> {
        let source = Source::of(configured);
        let bytes = match source {
            Source::File(path) => {
                if let Some(kind) = std::fs::metadata(path).ok().as_ref().and_then(os::not_a_file) {
                    Err(source.fails(&format!("it is {kind}, expected a file of 32 bytes: correct `device_secret`")))?;
                }
                let mut file = File::open(path).map_err(|e| source.fails(&unreadable(&e)))?;
                os::check_private(path)?;
                start_of(&mut file).map_err(|e| source.fails(&unreadable(&e)))?
            }
            // No look at its permissions: systemd guards the directory, and may let this account in by an ACL.
            Source::Credential(name) => credential(source, name)?,
            Source::Command(line) => output_of(source, line)?,
            Source::Environment(name) => {
                crate::log!(Warn, "the device secret comes from the environment: for tests only");
                let value = std::env::var(name).map_err(|_| source.fails("it is not set"))?;
                Start { bytes: Secret::new(padded(value.as_bytes())), len: value.len() }
            }
        };
        let key = bytes.secret(source)?;
        Ok(DeviceSecret { key, anchors: source.anchors() })
    }

    /// A key for one purpose and one token.
    pub fn derive(&self, purpose: &[u8], uuid: &[u8; 16]) -> Result<Key> {
        hkdf(&[], self.key.expose(), &[purpose, uuid])
    }

    /// A key that needs this secret and another: HKDF(salt = D, ikm = other, info).
    pub fn salt_for(&self, other: &Key, info: &[&[u8]]) -> Result<Key> {
        hkdf(self.key.expose(), other.expose(), info)
    }

    /// What the header shows of the secret.
    pub fn check(&self, uuid: &[u8; 16]) -> Result<[u8; 8]> {
        let key = self.derive(b"keyward device check", uuid)?;
        Ok(key.expose().first_chunk().copied().unwrap_or_default())
    }
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            format!(
                "{error}: without it nothing of this machine's slot files can be read, not by any PIN, and no backup of a \
                 slot file helps. Restore the secret from its own backup; there is no other way"
            )
        }
        _ => format!("cannot read it: {error}"),
    }
}

/// The longest form: 64 digits, an end of line, and one more to know that there is more.
const LONGEST: usize = 67;

/// The first bytes of a source.
struct Start {
    bytes: Secret<[u8; LONGEST]>,
    len: usize,
}

fn padded(text: &[u8]) -> [u8; LONGEST] {
    let mut bytes = [0; LONGEST];
    bytes.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    bytes
}

fn start_of(from: &mut impl Read) -> std::io::Result<Start> {
    let mut start = Start { bytes: Secret::new([0; LONGEST]), len: 0 };
    while let Some(room) = start.bytes.expose_mut().get_mut(start.len..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(read) => start.len = start.len.saturating_add(read),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(start)
}

impl Start {
    fn secret(&self, source: Source<'_>) -> Result<Key> {
        let text = self.bytes.expose().get(..self.len.min(LONGEST)).unwrap_or_default();
        if let Ok(raw) = <&[u8; 32]>::try_from(text) {
            return Ok(Secret::new(*raw));
        }
        let digits = match source {
            Source::File(_) => &[],
            _ => text.trim_ascii_end(),
        };
        if let Some(key) = from_hex(digits) {
            return Ok(key);
        }
        let found = if self.len >= LONGEST { "more".into() } else { self.len.to_string() };
        let form = if matches!(source, Source::File(_)) { "" } else { " (or 64 hexadecimal digits)" };
        Err(source.fails(&format!("it holds {found} bytes, expected 32{form}: restore it from its backup")))
    }
}

fn from_hex(digits: &[u8]) -> Option<Key> {
    let digits: &[u8; 64] = digits.try_into().ok()?;
    let mut key: Key = Secret::new([0; 32]);
    for (byte, pair) in key.expose_mut().iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high?.checked_mul(16)?.checked_add(low?)?).ok()?;
    }
    Some(key)
}

fn credential(source: Source<'_>, name: &str) -> Result<Start> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        source.fails("CREDENTIALS_DIRECTORY is not set: run as a systemd service with LoadCredential=")
    })?;
    if name.is_empty() || name.contains('/') {
        return Err(source.fails("the name of a credential is a plain file name"));
    }
    let path = Path::new(&directory).join(name);
    let opened = File::open(path).and_then(|mut file| start_of(&mut file));
    opened.map_err(|e| source.fails(&unreadable(&e)))
}

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn output_of(source: Source<'_>, line: &str) -> Result<Start> {
    let mut words = line.split_whitespace();
    let program = words.next().ok_or_else(|| source.fails("no program is named"))?;
    if !Path::new(program).is_absolute() {
        return Err(source.fails("name the program by its absolute path"));
    }
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| source.fails(&format!("it cannot be run: {e}")))?;
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill().and_then(|()| child.wait().map(drop));
                return Err(source.fails(&format!("no end after {} seconds; it was stopped", PATIENCE.as_secs())));
            }
            Err(e) => return Err(source.fails(&format!("it was lost: {e}"))),
        }
    };
    if !status.success() {
        return Err(source.fails(&format!("it failed: {status}")));
    }
    let mut output = child.stdout.take().ok_or_else(|| source.fails("its output was lost"))?;
    start_of(&mut output).map_err(|e| source.fails(&format!("cannot read its output: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_read_strictly() {
        let dir = std::env::temp_dir().join(format!("keyward-device-{}", std::process::id()));
        let path = dir.join("made/device.secret");
        let first = DeviceSecret::load_or_create(&path).unwrap();
        let again = DeviceSecret::load_or_create(&path).unwrap();
        assert!(first.key == again.key);
        assert_eq!(first.anchors(), Some(dir.join("made/anchors").as_path()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let loose = DeviceSecret::load(&path).err().unwrap();
        assert!(loose.why().unwrap().contains("chmod 600"), "{loose}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in [0, 31, 33, 64, 100] {
            std::fs::write(&path, vec![b'1'; wrong]).unwrap();
            assert!(DeviceSecret::load(&path).err().unwrap().why().unwrap().contains("expected 32"));
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(DeviceSecret::load(&path).is_err());
    }

    #[test]
    fn named_sources_are_told_from_paths() {
        let of = |text: &'static str| Source::of(Path::new(text));
        assert_eq!(of("/a/credential:b"), Source::File(Path::new("/a/credential:b")));
        assert_eq!(of("credential:d"), Source::Credential("d"));
        assert_eq!(of("command:/bin/x a:b"), Source::Command("/bin/x a:b"));
        assert_eq!(of("env:D"), Source::Environment("D"));
    }

    #[test]
    fn a_command_gives_bytes_or_digits_and_nothing_else() {
        let load = |line: &str| DeviceSecret::load(Path::new(line));
        let digits = "00ff".repeat(16);
        let from_digits = load(&format!("command:/bin/echo {digits}")).unwrap();
        assert_eq!(from_digits.key.expose(), &[0u8, 255].repeat(16)[..]);
        let raw = load("command:/usr/bin/printf 01234567890123456789012345678901").unwrap();
        assert_eq!(raw.key.expose(), b"01234567890123456789012345678901");
        for wrong in [
            "command:/bin/false",
            "command:/bin/echo short",
            "command:echo x",
            "command:/does/not/exist",
            "command:",
            &format!("command:/bin/echo {digits}0"),
            &format!("command:/bin/echo {}", "0g".repeat(32)),
        ] {
            assert_eq!(load(wrong).err().unwrap().code(), Code::GeneralError, "{wrong}");
        }
        assert!(load("env:KEYWARD_NOT_SET_ANYWHERE").err().unwrap().why().unwrap().contains("not set"));
        assert!(load("credential:a/b").is_err());
    }
}
