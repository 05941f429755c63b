//! A slot that leads to another PKCS#11 module: SoftHSM, directly and behind a module that does wrong on demand.

mod faults;
mod loss;
mod modules;
mod rights;
mod scene;
mod through;
