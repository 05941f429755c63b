//! Fuzz targets: what takes bytes from outside, each a function of arbitrary bytes that must neither panic nor crash.
//!
//! Two ways to run them: the program `keyward-fuzz` mutates seeds blindly, on any toolchain, and is what the tests run for
//! a short time; `guided`, which scripts/fuzz builds with the compiler's coverage counters, is led by libFuzzer.

mod calls;
mod memory;
mod records;
mod shapes;
mod slot_file;
pub mod words;

/// The function table of the black-box checker, so that calls get arguments of the right kinds.
#[allow(dead_code)]
#[path = "../../pkcs11-conformance/src/functions.rs"]
mod functions;
#[allow(dead_code)]
#[path = "../../pkcs11-conformance/src/profiles/xml.rs"]
mod xml;

/// One target.
pub struct Target {
    pub name: &'static str,
    /// What takes the bytes.
    pub run: fn(&[u8]),
    /// Well-formed inputs, from which mutation starts.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub static TARGETS: &[Target] = &[
    Target { name: "calls", run: calls::run, seeds: calls::seeds },
    Target { name: "slot-file", run: slot_file::run, seeds: slot_file::seeds },
    Target { name: "object-record", run: records::object, seeds: records::object_seeds },
    Target { name: "private-key-info", run: records::private_key, seeds: records::private_key_seeds },
    Target { name: "config", run: records::config, seeds: records::config_seeds },
    Target { name: "profile-xml", run: records::profile, seeds: records::profile_seeds },
];

/// Of the functions that the target `calls` may call: those that returned `CKR_OK` to some input, and the others.
pub use calls::reached;

pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
