//! The C functions over a real software token: what the double of `abi_boundary` cannot show.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

#[path = "abi_soft/built_in.rs"]
mod built_in;
#[path = "abi_soft/harness.rs"]
mod harness;
#[path = "abi_soft/kem.rs"]
mod kem;
#[path = "abi_soft/meanwhile.rs"]
mod meanwhile;
#[path = "abi_soft/messages.rs"]
mod messages;
#[path = "abi_soft/newer.rs"]
mod newer;
#[path = "abi_soft/signed.rs"]
mod signed;
#[path = "abi_soft/stateful.rs"]
mod stateful;
#[path = "abi_soft/small_stacks.rs"]
mod small_stacks;
#[path = "abi_soft/states.rs"]
mod states;
#[path = "abi_soft/steady.rs"]
mod steady;
#[path = "abi_soft/wrapping.rs"]
mod wrapping;
