//! Publishing: from a tree to a signed release. SPEC §7.
