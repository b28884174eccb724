//! What zlib was told when it made a stream. SPEC §5.4.

/// zlib's strategies (`deflateInit2` in zlib.h), in zlib's own numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// `Z_DEFAULT_STRATEGY`.
    Default,
    /// `Z_FILTERED`: drops matches of up to five bytes. What ClamAV's sigtool uses.
    Filtered,
    /// `Z_HUFFMAN_ONLY`: literals only.
    Huffman,
    /// `Z_RLE`: matches of distance one only.
    Rle,
    /// `Z_FIXED`: the fixed codes only.
    Fixed,
}

impl Strategy {
    const ALL: [Self; 5] = [
        Self::Default,
        Self::Filtered,
        Self::Huffman,
        Self::Rle,
        Self::Fixed,
    ];

    /// zlib's number of it, 0 to 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The strategy with zlib's number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// The parameters of one stream. windowBits is always 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameters {
    level: u8,
    strategy: Strategy,
    memory_level: u8,
}

/// Parameters that zlib itself would refuse. Whoever gave them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("level {level}, memLevel {memory_level}: both must be 1 to 9")]
pub struct ParametersError {
    /// As given.
    pub level: u8,
    /// As given.
    pub memory_level: u8,
}

impl Parameters {
    /// Level 9, filtered, memLevel 8: what sigtool packs every database with.
    pub const SIGTOOL: Self = Self {
        level: 9,
        strategy: Strategy::Filtered,
        memory_level: 8,
    };

    /// Level and memLevel from 1 to 9.
    ///
    /// # Errors
    /// [`ParametersError`] when one is outside.
    pub const fn new(
        level: u8,
        strategy: Strategy,
        memory_level: u8,
    ) -> Result<Self, ParametersError> {
        if level == 0 || level > 9 || memory_level == 0 || memory_level > 9 {
            return Err(ParametersError {
                level,
                memory_level,
            });
        }
        Ok(Self {
            level,
            strategy,
            memory_level,
        })
    }

    /// 1 to 9.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// How zlib searches.
    #[must_use]
    pub const fn strategy(self) -> Strategy {
        self.strategy
    }

    /// 1 to 9; sets the hash size and the tokens of a block.
    #[must_use]
    pub const fn memory_level(self) -> u8 {
        self.memory_level
    }

    /// Tokens after which zlib ends a block: 2^(memLevel + 6) - 1.
    #[must_use]
    pub const fn block_tokens(self) -> usize {
        (1 << (self.memory_level + 6)) - 1
    }
}
