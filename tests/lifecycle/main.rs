//! The life of keys: through the C functions in this process, and through the program `keyward` in another one.

#[path = "../abi_soft/harness.rs"]
#[allow(dead_code)]
mod harness;

mod program;
mod states;
mod vendor;
