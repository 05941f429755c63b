//! Bad input from outside: to the C functions over a real token, to the program, and in the files that both read. Each is
//! answered with the exact code, told in the log with what to do about it, and has changed nothing.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

mod configuration;
mod full;
mod handles;
#[path = "../abi_soft/harness.rs"]
#[allow(dead_code)]
mod harness;
mod mechanisms;
mod order;
mod place;
mod slot_files;
#[path = "../store_common/mod.rs"]
mod store_common;
mod unwritable;
#[path = "../store_c_abi/world.rs"]
#[allow(dead_code)]
mod world;
