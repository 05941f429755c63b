//! The C boundary: the functions that an application calls.
//!
//! Each is a row of `table`. A function that needs the module or a session looks that up before it looks at its other
//! arguments: a call before `C_Initialize` answers `CKR_CRYPTOKI_NOT_INITIALIZED` whatever else is wrong with it.

#![allow(unsafe_code)]

mod advice;
pub mod args;
mod general;
mod guard;
mod keys;
mod messages;
mod operations;
pub mod params;
mod derivation;
mod returned;
pub mod table;
mod template;

pub use table::{FUNCTIONS, Function, function_list_2_40, function_list_3_0, function_list_3_2};
