//! The release store of a master. SPEC §7.
