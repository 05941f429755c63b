//! Keyward: a PKCS#11 provider over an encrypted slot file.
//!
//! The floors stand here from top to bottom. A module names only modules below it; `scripts/layers` reads this order
//! and fails CI on an upward `use`. docs/ARCHITECTURE.md says what each room is for.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented
    )
)]

pub mod abi;
pub mod module;
pub mod session;
pub mod guard;
pub mod backup;
pub mod ha;
pub mod soft;
pub mod overlay;
pub mod forward;
pub mod mechanism;
pub mod object;
pub mod token;
pub mod lifecycle;
pub mod store;
pub mod audit_log;
pub mod crypto;
pub mod config;
pub mod secret;
pub mod log;
pub mod time;
pub mod os;
pub mod error;
pub mod numbers;
