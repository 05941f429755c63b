//! The rows, as the tables of PKCS#11 3.2 have them. Where a footnote differs from the table's, a comment says why.

pub mod certificate;
pub mod common;
pub mod key;
pub mod lifecycle;
pub mod named;
pub mod other;
pub mod pair;
pub mod pqc;
pub mod secret;
