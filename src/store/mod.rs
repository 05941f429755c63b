//! The encrypted slot file.
