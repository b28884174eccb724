//! The codes at the head of a dynamic block (RFC 1951 section 3.2.7).
#![expect(
    clippy::cast_possible_truncation,
    reason = "what is cast is masked to a few bits, or a symbol or table index"
)]

use super::{
    bits::Bits,
    decode_table::{BadCode, CodeLengthTable},
    parse::{CodeTables, Codes, ParseFault},
};

const LITERALS_MAX: usize = 286;
const DISTANCES_MAX: usize = 30;
/// Code length symbols: lengths and three kinds of run.
pub(super) const CODE_LENGTHS: usize = 19;
const END_OF_BLOCK: usize = 256;

/// The order in which the lengths of code length codes are written.
pub(super) const CODE_LENGTH_ORDER: [u8; CODE_LENGTHS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

#[derive(Clone, Copy)]
enum Stage {
    Counts,
    CodeLengthCodes,
    Lengths,
}

/// A header that may arrive in pieces.
pub(super) struct DynamicHeader {
    stage: Stage,
    literals: usize,
    distances: usize,
    code_lengths: usize,
    /// Lengths read in this stage.
    read: usize,
    lengths: [u8; LITERALS_MAX + DISTANCES_MAX],
    code_length_lengths: [u8; CODE_LENGTHS],
    table: CodeLengthTable,
}

pub(super) enum HeaderStep {
    NeedInput,
    Done,
}

const fn refused(bad: BadCode, codes: Codes) -> ParseFault {
    match bad {
        BadCode::Oversubscribed => ParseFault::Oversubscribed(codes),
        BadCode::Incomplete => ParseFault::Incomplete(codes),
    }
}

impl DynamicHeader {
    pub(super) const fn new() -> Self {
        Self {
            stage: Stage::Counts,
            literals: 0,
            distances: 0,
            code_lengths: 0,
            read: 0,
            lengths: [0; LITERALS_MAX + DISTANCES_MAX],
            code_length_lengths: [0; CODE_LENGTHS],
            table: CodeLengthTable::new(),
        }
    }

    /// Reads on; at the end of the header `tables` are built.
    pub(super) fn advance(
        &mut self,
        bits: &mut Bits<'_>,
        tables: &mut CodeTables,
    ) -> Result<HeaderStep, ParseFault> {
        loop {
            let more = match self.stage {
                Stage::Counts => self.counts(bits)?,
                Stage::CodeLengthCodes => self.code_length_codes(bits)?,
                Stage::Lengths => {
                    if self.read == self.literals + self.distances {
                        self.build(tables)?;
                        return Ok(HeaderStep::Done);
                    }
                    self.length(bits)?
                }
            };
            if more.is_none() {
                return Ok(HeaderStep::NeedInput);
            }
        }
    }

    fn counts(&mut self, bits: &mut Bits<'_>) -> Result<Option<()>, ParseFault> {
        let Some(counts) = bits.take(14) else {
            return Ok(None);
        };
        self.literals = (counts & 31) as usize + 257;
        self.distances = (counts >> 5 & 31) as usize + 1;
        self.code_lengths = (counts >> 10 & 15) as usize + 4;
        if self.literals > LITERALS_MAX || self.distances > DISTANCES_MAX {
            return Err(ParseFault::TooManyCodes {
                literals: (counts & 31) as u16 + 257,
                distances: (counts >> 5 & 31) as u16 + 1,
            });
        }
        self.stage = Stage::CodeLengthCodes;
        Ok(Some(()))
    }

    fn code_length_codes(&mut self, bits: &mut Bits<'_>) -> Result<Option<()>, ParseFault> {
        if self.read < self.code_lengths {
            let Some(length) = bits.take(3) else {
                return Ok(None);
            };
            self.code_length_lengths[usize::from(CODE_LENGTH_ORDER[self.read])] = length as u8;
            self.read += 1;
            return Ok(Some(()));
        }
        self.table
            .build(&self.code_length_lengths)
            .map_err(|bad| refused(bad, Codes::CodeLengths))?;
        self.read = 0;
        self.stage = Stage::Lengths;
        Ok(Some(()))
    }

    fn length(&mut self, bits: &mut Bits<'_>) -> Result<Option<()>, ParseFault> {
        bits.has(14);
        let (symbol, code_bits) = self.table.look(bits.hold);
        let extra_bits = match symbol {
            16 => 2,
            17 => 3,
            18 => 7,
            _ => 0,
        };
        if bits.count < code_bits + extra_bits {
            return Ok(None);
        }
        let extra = (bits.hold >> code_bits & ((1 << extra_bits) - 1)) as usize;
        let (value, times) = match symbol {
            16 => {
                let Some(&previous) = self.read.checked_sub(1).and_then(|at| self.lengths.get(at))
                else {
                    return Err(ParseFault::Repeat);
                };
                (previous, extra + 3)
            }
            17 => (0, extra + 3),
            18 => (0, extra + 11),
            length => (length as u8, 1),
        };
        let end = self.read + times;
        if end > self.literals + self.distances {
            return Err(ParseFault::Repeat);
        }
        self.lengths[self.read..end].fill(value);
        self.read = end;
        bits.skip(code_bits + extra_bits);
        Ok(Some(()))
    }

    fn build(&self, tables: &mut CodeTables) -> Result<(), ParseFault> {
        if self.lengths[END_OF_BLOCK] == 0 {
            return Err(ParseFault::NoEndOfBlock);
        }
        let (literals, rest) = self.lengths.split_at(self.literals);
        tables
            .literals
            .build(literals)
            .map_err(|bad| refused(bad, Codes::Literals))?;
        tables
            .distances
            .build(&rest[..self.distances])
            .map_err(|bad| refused(bad, Codes::Distances))
    }
}
