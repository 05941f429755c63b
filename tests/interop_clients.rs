//! Real PKCS#11 clients on the module just built: each script under scripts/interop makes a token in a scratch
//! directory, lets its client work on it, and ends with PASS or `FAIL: why`.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The shared library of this build: beside the program, where Cargo also puts what it links for tests.
fn keyward() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_keyward")).parent().unwrap();
    let built = |path: PathBuf| Some((path.metadata().ok()?.modified().ok()?, path));
    let found = [beside.join("libkeyward.so"), beside.join("deps/libkeyward.so")].into_iter().filter_map(built);
    found.max().expect("cargo builds libkeyward.so with the tests").1
}

/// Runs one script; its last line is the verdict. What it installs or compiles for its client is kept for the next
/// run, the browsers' pictures are kept to be looked at: target/tmp/interop.
fn passes(script: &str, module: &Path, with: Option<&str>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/interop").join(script);
    let mut command = Command::new("bash");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    let pictures = kept.join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    command.arg(&path).arg(module).env("INTEROP_KEEP", kept).env("PICTURES", pictures);
    command.envs(with.map(|variable| (variable, "yes")));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let verdict = said.lines().last().unwrap_or_default();
    assert!(
        output.status.success() && verdict == "PASS",
        "{script} with {}: {}\n{said}\n{}",
        module.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

macro_rules! clients {
    ($($(#[$attribute:meta])* $name:ident: $script:literal,)*) => { $(
        mod $name {
            use super::*;

            #[test]
            $(#[$attribute])*
            fn works_with_keyward() {
                passes($script, &keyward(), None);
            }

            /// Meanwhile other processes make and delete keys and change the PIN, and are killed in the midst of it.
            #[test]
            #[ignore = "long: scripts/test --all"]
            fn works_while_others_change_the_token() {
                passes($script, &keyward(), Some("DISTURB"));
            }

            /// So that a failure above is known to be ours and not the script's.
            #[test]
            $(#[$attribute])*
            fn the_script_is_sound_on_softhsm() {
                passes($script, Path::new(SOFTHSM), None);
            }
        }
    )* };
}

clients! {
    pkcs11_tool: "pkcs11-tool.sh",
    openssl: "openssl.sh",
    openssl_provider: "openssl-provider.sh",
    gnutls: "gnutls.sh",
    p11_kit: "p11-kit.sh",
    openssh: "openssh.sh",
    nss: "nss.sh",
    nginx: "nginx.sh",
    apache: "apache.sh",
    stunnel: "stunnel.sh",
    dnssec: "dnssec.sh",
    gnupg: "gnupg.sh",
    strongswan: "strongswan.sh",
    openvpn: "openvpn.sh",
    osslsigncode: "osslsigncode.sh",
    python: "python.sh",
    rust: "rust.sh",
    systemd_cryptenroll: "systemd-cryptenroll.sh",
    leaving: "leave.sh",
    #[ignore = "valgrind is slow: scripts/test --all"]
    valgrind: "valgrind.sh",
    #[ignore = "Java is large: scripts/test --all"]
    java: "java.sh",
    #[ignore = "Node.js is large: scripts/test --all"]
    node: "node.sh",
    #[ignore = "a browser is large: scripts/test --all"]
    firefox: "firefox.sh",
    #[ignore = "a browser is large: scripts/test --all"]
    chromium: "chromium.sh",
}

/// Whole pages, with the client under valgrind up to its last exit handler. (`valgrind.sh` has a single call of each library, which is
/// soon done.)
mod under_valgrind {
    use super::*;

    macro_rules! clients {
        ($($name:ident: $script:literal,)*) => { $(
            #[test]
            #[ignore = "valgrind is slow: scripts/test --all"]
            fn $name() {
                passes($script, &keyward(), Some("VALGRIND"));
            }
        )* };
    }

    clients! {
        apache: "apache.sh",
        dnssec: "dnssec.sh",
        firefox: "firefox.sh",
        gnupg: "gnupg.sh",
        gnutls: "gnutls.sh",
        java: "java.sh",
        nginx: "nginx.sh",
        node: "node.sh",
        nss: "nss.sh",
        openssh: "openssh.sh",
        openssl: "openssl.sh",
        openssl_provider: "openssl-provider.sh",
        openvpn: "openvpn.sh",
        osslsigncode: "osslsigncode.sh",
        p11_kit: "p11-kit.sh",
        pkcs11_tool: "pkcs11-tool.sh",
        python: "python.sh",
        rust: "rust.sh",
        strongswan: "strongswan.sh",
        stunnel: "stunnel.sh",
        systemd_cryptenroll: "systemd-cryptenroll.sh",
    }
}

#[test]
fn a_file_that_is_no_module_fails_with_a_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/interop/pkcs11-tool.sh");
    let output = Command::new("bash").arg(path).arg(file!()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(said.lines().last().unwrap_or_default().starts_with("FAIL: pkcs11-tool: "), "{said}");
}
