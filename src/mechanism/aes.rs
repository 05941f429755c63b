//! AES modes and key wrapping.

use super::table::Row;

pub const ROWS: &[Row] = &[];
