//! The bindings to AWS-LC: owned handles, byte slices in and out, one error.
//!
//! Every pointer here comes from AWS-LC, is checked for NULL once, and is freed by its owner's `Drop` (AWS-LC wipes what
//! it frees). A failed call leaves nothing in the thread's error queue.

#![allow(unsafe_code)]

pub(super) mod aes;
mod brainpool;
pub(super) mod curve25519;
pub(super) mod ec;
pub(super) mod finite;
pub(super) mod gcm;
mod lattice;
pub(super) mod ml_dsa;
pub(super) mod ml_kem;
pub(super) mod number;
pub(super) mod rsa;
pub(super) mod sha;

use std::ffi::c_int;
use std::ptr::NonNull;

use aws_lc_sys as ffi;

use super::refused::{Refused, Result};

fn refused() -> Refused {
    // SAFETY: touches only this thread's error queue.
    unsafe { ffi::ERR_clear_error() };
    Refused
}

fn done(status: c_int) -> Result<()> {
    if status == 1 { Ok(()) } else { Err(refused()) }
}

fn made<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(refused)
}
