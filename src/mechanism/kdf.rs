//! Key derivation functions.

use super::table::Row;

pub const ROWS: &[Row] = &[];
