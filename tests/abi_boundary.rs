//! The C functions over a token that the tests make: every rule of the boundary, the module and the session.

// `c!` calls what its arguments name, and the tests know what they pass.
#![allow(clippy::macro_metavars_in_unsafe)]

#[path = "abi_boundary/arguments.rs"]
mod arguments;
#[path = "abi_boundary/c_host.rs"]
mod c_host;
#[path = "abi_boundary/double.rs"]
mod double;
#[path = "abi_boundary/garbage.rs"]
mod garbage;
#[path = "abi_boundary/logins.rs"]
mod logins;
#[path = "abi_boundary/module.rs"]
mod module;
#[path = "abi_boundary/operations.rs"]
mod operations;
#[path = "abi_boundary/steady.rs"]
mod steady;
