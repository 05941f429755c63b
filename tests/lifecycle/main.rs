//! The life of keys: through the C functions in this process, and through the program `keyward` in another one.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

#[path = "../abi_soft/harness.rs"]
#[allow(dead_code)]
mod harness;

mod approval;
mod maintain;
mod policy;
mod program;
mod rotation;
mod states;
mod vendor;
