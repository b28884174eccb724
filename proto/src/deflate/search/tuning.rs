//! How hard each level searches: `configuration_table` in zlib's deflate.c.

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// A pending match this long quarters the search for a better one.
    pub(super) good: usize,
    /// A pending match this long ends the search for a better one; greedy: longest match whose bytes are all inserted.
    pub(super) lazy: usize,
    /// A match this long is taken at once.
    pub(super) nice: usize,
    /// Candidates looked at.
    pub(super) chain: usize,
}

impl Tuning {
    pub(super) const fn of(level: u8) -> Self {
        let (good, lazy, nice, chain) = match level {
            1 => (4, 4, 8, 4),
            2 => (4, 5, 16, 8),
            3 => (4, 6, 32, 32),
            4 => (4, 4, 16, 16),
            5 => (8, 16, 32, 32),
            6 => (8, 16, 128, 128),
            7 => (8, 32, 128, 256),
            8 => (32, 128, 258, 1024),
            _ => (32, 258, 258, 4096),
        };
        Self {
            good,
            lazy,
            nice,
            chain,
        }
    }
}
