//! Generic secret keys, and the simple key derivations.

use super::table::Row;

pub const ROWS: &[Row] = &[];
