//! The slot file as applications meet it, through the C functions: many processes, forks, slots that come and go, and a
//! token of a million objects.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

mod crowd;
mod forks;
#[path = "../abi_soft/harness.rs"]
#[allow(dead_code)]
mod harness;
mod news;
mod scale;
#[path = "../store_common/mod.rs"]
mod store_common;
mod world;
