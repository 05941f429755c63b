//! PINs: from the terminal without echo, a file, a descriptor, or the environment. Never required on the command line,
//! where every user of the machine can read them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Result};

/// UTF-8 by the specification; passed on as it came.
pub type Pin = Zeroizing<Vec<u8>>;

/// Longer than any PIN that a token takes: where reading stops.
const LONGEST_LINE: usize = 4096;

/// Where one PIN comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Terminal,
    File(PathBuf),
    Descriptor(u32),
    Environment(String),
    /// The command line, for the hidden compatibility options alone.
    Given(Zeroizing<String>),
    /// That of a named user.
    Of(String, Box<Source>),
}

macro_rules! sources {
    ($name:ident, $who:literal, $file:ident, $fd:ident, $env:ident, $group:literal $(, $as:ident: $help:literal)?) => {
        /// At most one source.
        #[derive(Args, Clone, Debug, Default)]
        #[group(skip)]
        pub struct $name {
            #[arg(long, group = $group, value_name = "FILE", help = concat!("Read ", $who, " from a line of this file"))]
            $file: Option<PathBuf>,
            #[arg(long, group = $group, value_name = "N", help = concat!("Read ", $who, " from a line of this open descriptor"))]
            $fd: Option<u32>,
            #[arg(long, group = $group, value_name = "VAR", help = concat!("Take ", $who, " from this environment variable"))]
            $env: Option<String>,
            $(#[arg(long, value_name = "NAME", help = $help)]
            $as: Option<String>,)?
        }

        impl $name {
            pub fn source(&self) -> Source {
                let file = self.$file.clone().map(Source::File);
                let descriptor = || self.$fd.map(Source::Descriptor);
                let variable = || self.$env.clone().map(Source::Environment);
                let source = file.or_else(descriptor).or_else(variable).unwrap_or(Source::Terminal);
                $(if let Some(name) = &self.$as {
                    return Source::Of(name.clone(), Box::new(source));
                })?
                source
            }
        }
    };
}

sources!(
    UserPin,
    "the user PIN",
    pin_file,
    pin_fd,
    pin_env,
    "user-pin",
    user: "Log in as this named user, whose PIN it is then"
);
sources!(
    SoPin,
    "the SO PIN",
    so_pin_file,
    so_pin_fd,
    so_pin_env,
    "so-pin",
    officer: "Log in as this named officer, whose PIN it is then"
);
sources!(
    SourcePin,
    "the PIN or passphrase of what is to be imported",
    source_pin_file,
    source_pin_fd,
    source_pin_env,
    "source-pin"
);
sources!(TargetPin, "the user PIN of the token to transfer to", to_pin_file, to_pin_fd, to_pin_env, "to-pin");
sources!(
    ByPin,
    "the PIN of who does it",
    by_pin_file,
    by_pin_fd,
    by_pin_env,
    "by-pin",
    by: "Who does it, where the token has users of the role auditor or backup that this is kept to"
);
sources!(NewPin, "the new PIN", new_pin_file, new_pin_fd, new_pin_env, "new-pin");

/// Reads the PINs of one command. Two PINs from one file or descriptor are its first and its second line.
#[derive(Default)]
pub struct Reader {
    open: HashMap<PathBuf, File>,
}

impl Reader {
    /// A PIN that exists; `prompt` is what the terminal shows: `"User PIN"`.
    pub fn read(&mut self, source: &Source, prompt: &str) -> Result<Pin> {
        match source {
            Source::Terminal => ask(prompt),
            Source::File(path) => self.line(path, prompt),
            // Opening the descriptor's own name shares a pipe's position and needs no unsafe adoption of the number.
            Source::Descriptor(number) => self.line(&PathBuf::from(format!("/dev/fd/{number}")), prompt),
            Source::Environment(name) => variable(name, prompt),
            Source::Given(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
            Source::Of(name, source) => {
                let pin = self.read(source, &format!("PIN of {name}"))?;
                let mut whole = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
                [name.as_bytes(), b":", &pin].into_iter().for_each(|part| whole.extend_from_slice(part));
                Ok(whole)
            }
        }
    }

    /// The code behind a PIN that is asked for one, from the terminal: `PIN:123456`.
    pub fn with_code(pin: &Pin) -> Result<Pin> {
        let code = ask("Code of the second factor")?;
        let mut whole = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
        [pin.as_slice(), b":", &code].into_iter().for_each(|part| whole.extend_from_slice(part));
        Ok(whole)
    }

    /// A PIN to be set: asked for twice at the terminal.
    pub fn read_new(&mut self, source: &Source, prompt: &str) -> Result<Pin> {
        let first = self.read(source, prompt)?;
        if *source == Source::Terminal && *first != *ask(&format!("{prompt}, again"))? {
            return Err(Failure::new(Exit::Pin, "the two PINs differ; nothing was changed"));
        }
        Ok(first)
    }

    fn line(&mut self, path: &Path, what: &str) -> Result<Pin> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Pin, format!("cannot read the {what} from {}: {error}", path.display()))
        };
        if !self.open.contains_key(path) {
            let file = File::open(path).map_err(failed)?;
            warn_of_readers(path, &file);
            self.open.insert(path.to_owned(), file);
        }
        let Some(file) = self.open.get_mut(path) else {
            return Err(Failure::new(Exit::Failed, "the file was opened and is gone"));
        };
        let line = first_line(file).map_err(failed)?;
        if line.is_empty() {
            let message = format!("the {what} is missing: {} has no further line with text", path.display());
            return Err(Failure::new(Exit::Pin, message));
        }
        Ok(line)
    }
}

/// Byte by byte, so that nothing beyond the line is taken from a pipe, into memory that never moves.
fn first_line(file: &mut File) -> std::io::Result<Pin> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    let mut byte = Zeroizing::new([0u8; 1]);
    while line.len() < LONGEST_LINE && file.read(&mut *byte)? == 1 {
        match *byte {
            [b'\n'] => break,
            [other] => line.push(other),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn ask(prompt: &str) -> Result<Pin> {
    let typed = rpassword::prompt_password(format!("{prompt}: ")).map(Zeroizing::new).map_err(|error| {
        let message = format!(
            "cannot ask for the {prompt} ({error}): there is no terminal; \
             give it by a file, a descriptor or a variable (see --help, ...-file, ...-fd, ...-env)"
        );
        Failure::new(Exit::Pin, message)
    })?;
    Ok(Zeroizing::new(typed.as_bytes().to_vec()))
}

fn variable(name: &str, what: &str) -> Result<Pin> {
    use std::os::unix::ffi::OsStringExt;
    match std::env::var_os(name) {
        Some(value) if !value.is_empty() => Ok(Zeroizing::new(value.into_vec())),
        _ => Err(Failure::new(Exit::Pin, format!("the {what} is missing: the variable {name} is not set or empty"))),
    }
}

/// Secrets mounted into a container are often readable by all, so this warns and does not refuse.
fn warn_of_readers(path: &Path, file: &File) {
    let open_to_others = file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0);
    if open_to_others && std::io::stderr().is_terminal() {
        eprintln!("keyward: warning: other users may read {}: chmod 600 it", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> Scratch {
            let path = std::env::temp_dir().join(format!("keyward-pins-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn two_pins_from_one_file_are_its_lines() {
        let file = Scratch::new("lines", "1234\r\n geheim \n".as_bytes());
        let source = Source::File(file.0.clone());
        let mut reader = Reader::default();
        assert_eq!(**reader.read(&source, "SO PIN").unwrap(), *b"1234");
        assert_eq!(**reader.read(&source, "User PIN").unwrap(), *b" geheim ", "blanks belong to the PIN");
        let failure = reader.read(&source, "User PIN").unwrap_err();
        assert_eq!(failure.exit, Exit::Pin);
        assert!(failure.message.contains("User PIN"), "{failure}");
    }

    #[test]
    fn a_descriptor_gives_line_after_line_and_takes_no_more() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (mut out, mut input) = std::io::pipe().unwrap();
        input.write_all(b"one\ntwo\nrest").unwrap();
        drop(input);
        let source = Source::Descriptor(out.as_raw_fd() as u32);
        let mut reader = Reader::default();
        assert_eq!(**reader.read(&source, "PIN").unwrap(), *b"one");
        assert_eq!(**reader.read(&source, "PIN").unwrap(), *b"two");
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "rest");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let failure = Reader::default().read(&Source::Environment("KEYWARD_NO_SUCH".into()), "PIN").unwrap_err();
        assert!(failure.message.contains("KEYWARD_NO_SUCH"), "{failure}");
    }
}
