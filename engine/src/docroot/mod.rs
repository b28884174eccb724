//! The docroot: trees, the switch, recovery. SPEC §8.
