//! RSA.

use super::table::Row;

pub const ROWS: &[Row] = &[];
