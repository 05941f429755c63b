//! What we ask of the operating system directly: fork detection, file modes, locks.
