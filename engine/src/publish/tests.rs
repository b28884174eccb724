//! What publishing promises, on real folders.
