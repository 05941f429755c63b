//! A suite of tests of the software token, run through a slot that leads to it: Keyward in front of Keyward. The environment says so:
//! `KEYWARD_TEST_THROUGH=isolated` (the inner one in a process of its own).

use std::path::{Path, PathBuf};
use std::process::Command;

/// The configuration to give the library in the place of `inner`, if the tests are to go through a slot: its token has been made, with
/// these PINs.
pub fn in_front_of(inner: &Path, library: &Path, so_pin: &str, pin: &str) -> Option<PathBuf> {
    match std::env::var("KEYWARD_TEST_THROUGH").ok()?.as_str() {
        "isolated" => {}
        other => panic!("KEYWARD_TEST_THROUGH is {other}; expected isolated"),
    }
    let words = ["token", "init", "--label", "test", "--so-pin-env", "OFFICER", "--pin-env", "USER_PIN"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.arg("--config").arg(inner).args(words).env("OFFICER", so_pin).env("USER_PIN", pin);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outer = inner.with_file_name("outer.toml");
    let place = inner.parent().unwrap().display();
    let text = format!(
        "tokens = '{place}/outer-tokens'\ndevice_secret = '{place}/outer-device'\nfree_slot = 'never'\nmechanisms = 'all'\n\
         [log]\nfile = '{place}/outer.log'\nlevel = 'info'\n\
         [[slot]]\nkind = 'forward'\nmodule = '{}'\nindex = 0\nsecurity_officer = true\nisolate = true\n\
         helper = '{}'\nenvironment = {{ KEYWARD_CONF = '{}' }}\n",
        library.display(),
        env!("CARGO_BIN_EXE_keyward"),
        inner.display()
    );
    std::fs::write(&outer, text).unwrap();
    Some(outer)
}
