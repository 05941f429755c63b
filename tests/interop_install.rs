//! scripts/install and scripts/package with what was just built: the installed library and program work from where they
//! were put, and nothing is left when they are removed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("keyward-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Library and program of this build, side by side: Cargo may have left an older library beside the program.
fn built(scratch: &Scratch) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_keyward"));
    let beside = program.parent().unwrap();
    let dated = |path: PathBuf| Some((path.metadata().ok()?.modified().ok()?, path));
    let found = [beside.join("libkeyward.so"), beside.join("deps/libkeyward.so")].into_iter().filter_map(dated);
    let from = scratch.path("from");
    std::fs::create_dir_all(&from).unwrap();
    std::fs::copy(found.max().expect("cargo builds libkeyward.so with the tests").1, from.join("libkeyward.so"))
        .unwrap();
    std::fs::copy(program, from.join("keyward")).unwrap();
    from
}

fn script(name: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name));
    command
}

fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{said}\n{}", String::from_utf8_lossy(&stderr));
    said
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_users_installation_works_and_goes_without_trace() {
    let scratch = Scratch::new("install");
    let from = built(&scratch);
    let home = scratch.path("home");
    let install = |words: &[&str]| {
        let mut command = script("install");
        command.args(words).env("HOME", &home).env_remove("XDG_CONFIG_HOME");
        done(&mut command)
    };
    install(&["--user", "--from", from.to_str().unwrap()]);
    let local = home.join(".local");
    let module = local.join("lib/libkeyward.so");
    assert_eq!(
        std::fs::read_to_string(home.join(".config/pkcs11/modules/keyward.module")).unwrap(),
        format!("module: {}\n", module.display())
    );
    assert!(local.join("share/man/man1/keyward-token-init.1.gz").is_file());
    assert!(local.join("share/bash-completion/completions/keyward").is_file());

    let mut program = Command::new(local.join("bin/keyward"));
    program.env("HOME", &home).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME").env_remove("KEYWARD_CONF");
    std::fs::write(scratch.path("pins"), "12345678\n123456\n").unwrap();
    let pins = scratch.path("pins");
    program.args(["token", "init", "--label", "installed", "--so-pin-file"]).arg(&pins).arg("--pin-file").arg(&pins);
    done(&mut program);
    let mut client = Command::new("pkcs11-tool");
    client.arg("--module").arg(&module).args(["--list-token-slots"]).env("HOME", &home);
    client.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME").env_remove("KEYWARD_CONF");
    assert!(done(&mut client).contains("installed"));

    // A second time over the first, as an upgrade does.
    install(&["--user", "--from", from.to_str().unwrap()]);
    install(&["--user", "--uninstall"]);
    let left = files(&home);
    let of_the_token = |path: &PathBuf| path.starts_with(local.join("share/keyward"));
    assert!(!left.is_empty() && left.iter().all(of_the_token), "only the token is left: {left:?}");
    assert!(!local.join("share/keyward/installed").exists());
}

#[test]
fn the_debian_package_installs_and_removes_cleanly() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        panic!("dpkg-deb is needed");
    }
    let scratch = Scratch::new("package");
    let from = built(&scratch);
    let mut package = script("package");
    package.arg("--from").arg(&from).env("CARGO_TARGET_DIR", scratch.path("target"));
    // A debug build takes a minute to compress.
    package.env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    let package = PathBuf::from(done(&mut package).trim());
    let control = done(Command::new("dpkg-deb").arg("--field").arg(&package));
    assert!(control.contains(&format!("Version: {}", env!("CARGO_PKG_VERSION"))), "{control}");
    assert!(control.contains("Depends: libc6"), "{control}");

    // A package database of its own: the machine's stays as it is.
    let root = scratch.path("root");
    for directory in ["etc", "var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/dpkg/triggers"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    std::fs::write(root.join("var/lib/dpkg/available"), "").unwrap();
    let dpkg = || {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display())).arg(format!("--log={}", scratch.path("log").display()));
        command.args(["--force-not-root", "--force-depends", "--force-script-chrootless"]);
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
        command
    };
    done(dpkg().arg("--install").arg(&package));
    for path in ["lib/libkeyward.so", "bin/keyward", "include/keyward.h", "share/p11-kit/modules/keyward.module"] {
        assert!(root.join("usr").join(path).is_file(), "{path}");
    }
    // The user of the system's tokens, where this machine can make one in that root.
    if Command::new("systemd-sysusers").arg("--version").output().is_ok() {
        assert!(std::fs::read_to_string(root.join("etc/passwd")).unwrap().contains("keyward:"));
        assert!(root.join("var/lib/keyward").is_dir());
    }
    let version = done(Command::new(root.join("usr/bin/keyward")).arg("--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    done(dpkg().args(["--purge", "keyward"]));
    assert_eq!(files(&root.join("usr")), Vec::<PathBuf>::new());
    assert!(!root.join("usr/bin").exists() && !root.join("usr/lib/systemd").exists());
}
