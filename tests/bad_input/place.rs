//! A world of tokens whose log and files the tests read.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr::null_mut;
use std::sync::mpsc;
use std::time::Duration;

use cryptoki_sys::*;

use crate::ok;
use crate::world::{World, make_token, slots};

/// A [`World`] that logs all into a file.
pub struct Told(World);

impl Deref for Told {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

/// Set before a module is initialised; each test has the world for itself.
fn set(name: &str, value: &Path) {
    // SAFETY: behind the world's lock, before any other thread of the module's reads it.
    unsafe { std::env::set_var(name, value) };
}

impl Told {
    /// As [`World::new`].
    pub fn new() -> Told {
        let world = World::new();
        set("KEYWARD_LOG", Path::new("debug"));
        set("KEYWARD_LOG_FILE", &world.path("log"));
        Told(world)
    }

    /// As [`World::with_token`].
    pub fn with_token() -> (Told, CK_SLOT_ID) {
        let told = Told::new();
        ok!(C_Initialize, null_mut());
        let slot = make_token(*slots(CK_TRUE).last().unwrap());
        (told, slot)
    }

    /// What was logged since this was last asked.
    pub fn said(&self) -> String {
        let said = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("log"));
        said
    }

    /// One line of the log has all of these words.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        let said = self.said();
        let fits = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(said.lines().any(fits), "no line with {words:?} in:\n{said}");
    }

    /// Runs the test of this name again, in a process that may write nothing here but the log: the superuser may do
    /// anything anywhere. It must succeed.
    #[track_caller]
    pub fn as_nobody(&self, name: &str) {
        std::fs::write(self.path("log"), "").unwrap();
        mode(&self.path("log"), 0o666);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env("KEYWARD_TEST_NOBODY", "yes");
        if is_root() {
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("1 passed"), "{name} ran: {said}");
    }

    /// Every file below the world, but what is told and what the engine keeps beside an open file: its kind and content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        below(&self.path(""), &mut found);
        found
    }

    /// The program over this world's configuration.
    pub fn program(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(line.split_whitespace()).env("KEYWARD_CONF", self.path("keyward.toml"));
        command.env_remove("KEYWARD_LOG").env_remove("KEYWARD_LOG_FILE").env("SO", "12345678").env("ONE", "123456");
        within(60, move || command.output().unwrap())
    }

    /// The program's exit code, and what it said to people.
    pub fn exit(&self, line: &str) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.program(line);
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }
}

fn below(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "log" || ["-wal", "-shm", "-lock"].iter().any(|end| name.ends_with(end)) {
            continue;
        }
        match () {
            () if kind.is_dir() => {
                below(&path, found);
                found.insert(path, b"directory".to_vec());
            }
            () if kind.is_fifo() || kind.is_socket() || kind.is_symlink() => {
                found.insert(path, format!("{kind:?}").into_bytes());
            }
            () => {
                let content = std::fs::read(&path).unwrap_or_default();
                found.insert(path, content);
            }
        }
    }
}

/// Ends in time, or fails: what waits for ever must not keep the tests waiting too.
#[track_caller]
pub fn within<T: Send>(seconds: u64, work: impl FnOnce() -> T + Send) -> T {
    let (done, waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || done.send(work()));
        waiting.recv_timeout(Duration::from_secs(seconds)).unwrap_or_else(|_| {
            eprintln!("it hangs");
            // The thread cannot be ended, and the scope would wait for it.
            std::process::abort()
        })
    })
}

pub fn fifo(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a live NUL-terminated string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

pub fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether a command may have mounts of its own; says so where not.
pub fn may_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]);
    let may = command.output().is_ok_and(|output| output.status.success());
    if !may {
        println!("NOT CHECKED: this account may not mount");
    }
    may
}

/// Whether this is the process that [`Told::as_nobody`] started.
pub fn is_nobody() -> bool {
    std::env::var_os("KEYWARD_TEST_NOBODY").is_some()
}

/// Whether this process has the superuser's rights.
pub fn is_root() -> bool {
    // SAFETY: no argument, cannot fail.
    unsafe { libc::geteuid() == 0 }
}
