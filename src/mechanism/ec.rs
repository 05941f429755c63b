//! Elliptic curves: Weierstrass, Edwards, Montgomery.

use super::table::Row;

pub const ROWS: &[Row] = &[];
