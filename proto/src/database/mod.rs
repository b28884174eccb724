//! ClamAV databases: containers, diffs and their signatures.
