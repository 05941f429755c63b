//! A slot that leads to another PKCS#11 module: SoftHSM, directly and behind a module that does wrong on demand.

// `c!` calls any C function with whatever the test means to pass.
#![allow(clippy::macro_metavars_in_unsafe)]

mod apart;
mod approved;
mod audited;
mod chosen;
mod faults;
mod ha;
mod ha_identity;
mod ha_overlay;
mod ha_program;
mod loss;
mod modules;
mod named;
mod newer;
mod overlay;
mod parity;
mod program;
mod rights;
mod scene;
mod several;
mod threads;
mod through;
