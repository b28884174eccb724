//! How large a feed is.

/// Lines of a feed's databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// File hashes in `daily`; about 32 packed bytes each.
    pub hash_lines: u32,
    /// Pattern signatures in `daily`; about 60 packed bytes each.
    pub logical_lines: u32,
    /// Signatures in `main`, most of them hashes; about 30 packed bytes each.
    pub main_lines: u32,
}

impl Scale {
    /// A few MB in all, made in a fraction of a second.
    pub const DEMO: Self = Self {
        hash_lines: 30_000,
        logical_lines: 8_000,
        main_lines: 25_000,
    };

    /// A feed whose `.cvd` files are about `mb` million bytes together, two thirds of them `daily`:
    /// real feeds are near 150 (October 2025: 2.1 million signatures in daily, 6.6 million in main).
    #[must_use]
    pub const fn packed_mb(mb: u32) -> Self {
        Self {
            hash_lines: mb * 12_250,
            logical_lines: mb * 4_973,
            main_lines: mb * 11_479,
        }
    }

    /// A feed whose `daily.cvd` is about `daily` million bytes and whose `main.cvd` is about `main`.
    ///
    /// Real ones: `daily` 60.7 in February 2023, with 192 million bytes opened.
    #[must_use]
    pub const fn daily_and_main_mb(daily: u32, main: u32) -> Self {
        Self {
            hash_lines: daily * 18_375,
            logical_lines: daily * 7_460,
            main_lines: main * 34_436,
        }
    }
}
