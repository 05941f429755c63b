//! The audit record, backup and reports, from outside: through the C ABI in processes of their own, and by the program.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

mod backup;
mod damage;
mod export;
mod modes;
mod place;
mod processes;
mod reports;
#[path = "../script_common/mod.rs"]
mod script;
mod transfer;
mod worker;
