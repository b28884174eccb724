//! The inner loop of parsing: symbols of one coded block -> tokens and plain bytes.

use alloc::vec::Vec;

use super::{
    bits::Bits,
    decode_table::{DISTANCE_SYMBOLS, Entry, LITERAL_SYMBOLS},
    parse::{BUFFER_BYTES, CodeTables, ParseFault},
    token::Token,
};

/// Tokens gathered before they go to the caller's list; small enough for the first-level cache.
const STAGE_TOKENS: usize = 1024;
/// Most tokens of one round: four look-ups of two literals, then a match.
const ROUND_TOKENS: usize = 10;

/// Tokens on their way to a list.
pub(super) struct Staged<'a> {
    list: &'a mut Vec<Token>,
    stage: [Token; STAGE_TOKENS],
    len: usize,
}

impl<'a> Staged<'a> {
    pub(super) const fn new(list: &'a mut Vec<Token>) -> Self {
        Self {
            list,
            stage: [Token(0); STAGE_TOKENS],
            len: 0,
        }
    }

    /// There is room: the caller flushes in time.
    fn push(&mut self, token: Token) {
        self.stage[self.len] = token;
        self.len += 1;
    }

    pub(super) fn flush(&mut self) {
        self.list.extend_from_slice(&self.stage[..self.len]);
        self.len = 0;
    }
}

/// Plain bytes and where they go on.
pub(super) struct Copied<'a> {
    pub(super) buffer: &'a mut [u8; BUFFER_BYTES],
    pub(super) at: &'a mut usize,
    /// The stretch is full once `at` reaches it.
    pub(super) limit: usize,
}

/// Why the loop stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    EndOfBlock,
    Full,
    NeedInput,
}

/// The codes of RFC 1951 section 3.2.6.
pub(super) fn build_fixed(tables: &mut CodeTables) {
    let mut lengths = [8u8; LITERAL_SYMBOLS];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    // Both are complete codes, which no table refuses.
    let literals = tables.literals.build(&lengths);
    let distances = tables.distances.build(&[5; DISTANCE_SYMBOLS]);
    debug_assert!(literals.is_ok() && distances.is_ok());
}

/// Reads symbols until the block ends, the stretch is full or the input is used up.
pub(super) fn copy(
    tables: &CodeTables,
    bits: &mut Bits<'_>,
    tokens: &mut Staged<'_>,
    plain: &mut Copied<'_>,
) -> Result<Run, ParseFault> {
    loop {
        if fast(tables, bits, tokens, plain)? {
            return Ok(Run::EndOfBlock);
        }
        if *plain.at >= plain.limit {
            return Ok(Run::Full);
        }
        if tokens.len + ROUND_TOKENS > STAGE_TOKENS {
            tokens.flush();
            continue;
        }
        // The last bytes of this input.
        if let Some(run) = careful(tables, bits, tokens, plain)? {
            return Ok(run);
        }
    }
}

/// Rounds of up to nine symbols while 16 bytes of input are there; `true` at the end of the block.
#[inline(always)]
fn fast(
    tables: &CodeTables,
    bits: &mut Bits<'_>,
    tokens: &mut Staged<'_>,
    plain: &mut Copied<'_>,
) -> Result<bool, ParseFault> {
    let input = bits.input;
    let stage = &mut tokens.stage;
    let buffer = &mut *plain.buffer;
    let (mut hold, mut count, mut at) = (bits.hold, bits.count, bits.at);
    let (mut staged, mut to) = (tokens.len, *plain.at);

    // Ors in eight bytes and keeps those that fit; bits above `count` repeat what the next refill brings.
    macro_rules! refill {
        () => {
            let Some(next) = input.get(at..).and_then(<[u8]>::first_chunk) else {
                break Ok(false);
            };
            hold |= u64::from_le_bytes(*next) << count;
            at += (63 - count as usize) >> 3;
            count |= 56;
        };
    }
    macro_rules! emit {
        ($entry:expr) => {
            stage[staged] = Token::literal($entry.first());
            stage[staged + 1] = Token::literal($entry.second());
            buffer[to] = $entry.first();
            buffer[to + 1] = $entry.second();
            staged += $entry.literals();
            to += $entry.literals();
            hold >>= $entry.bits();
            count -= $entry.bits();
        };
    }
    let outcome = loop {
        if at + 16 > input.len() || to >= plain.limit || staged + ROUND_TOKENS > STAGE_TOKENS {
            break Ok(false);
        }
        refill!();
        let mut entry = tables.literals.look(hold);
        if entry.is_literals() {
            emit!(entry);
            entry = tables.literals.look(hold);
            if entry.is_literals() {
                emit!(entry);
                entry = tables.literals.look(hold);
                if entry.is_literals() {
                    emit!(entry);
                    entry = tables.literals.look(hold);
                    if entry.is_literals() {
                        emit!(entry);
                        continue;
                    }
                }
            }
            refill!();
        }
        entry = tables.literals.resolve(entry, hold);
        if !entry.is_value() {
            if entry.is_literals() {
                emit!(entry);
                continue;
            }
            if entry.is_end() {
                hold >>= entry.bits();
                count -= entry.bits();
                break Ok(true);
            }
            break Err(ParseFault::LiteralCode);
        }
        let mut rest = hold >> entry.bits();
        let length_extra = low(rest, entry.extra_bits());
        rest >>= entry.extra_bits();
        let distance = tables.distances.look(rest);
        if !distance.is_value() {
            break Err(ParseFault::DistanceCode);
        }
        rest >>= distance.bits();
        let distance_extra = low(rest, distance.extra_bits());
        let back = (distance.distance_base() + distance_extra) as usize;
        if back > to {
            break Err(too_far(back));
        }
        hold = rest >> distance.extra_bits();
        count -= entry.bits() + entry.extra_bits() + distance.bits() + distance.extra_bits();
        stage[staged] = token(entry, length_extra, distance, distance_extra);
        staged += 1;
        to = copy_match(
            buffer,
            to,
            back,
            (entry.length_base() + length_extra) as usize,
        );
    };
    bits.hold = hold & ((1 << count) - 1);
    bits.count = count;
    bits.at = at;
    tokens.len = staged;
    *plain.at = to;
    outcome
}

/// One symbol with no bit read beyond it; `None` when it was a token.
fn careful(
    tables: &CodeTables,
    bits: &mut Bits<'_>,
    tokens: &mut Staged<'_>,
    plain: &mut Copied<'_>,
) -> Result<Option<Run>, ParseFault> {
    bits.fill();
    let entry = tables
        .literals
        .resolve(tables.literals.look(bits.hold), bits.hold);
    if entry.is_literals() {
        if entry.first_bits() > bits.count {
            return Ok(Some(Run::NeedInput));
        }
        tokens.push(Token::literal(entry.first()));
        plain.buffer[*plain.at] = entry.first();
        *plain.at += 1;
        bits.skip(entry.first_bits());
        return Ok(None);
    }
    let mut used = entry.bits() + entry.extra_bits();
    if used > bits.count {
        return Ok(Some(Run::NeedInput));
    }
    if entry.is_end() {
        bits.skip(entry.bits());
        return Ok(Some(Run::EndOfBlock));
    }
    if !entry.is_value() {
        return Err(ParseFault::LiteralCode);
    }
    let length_extra = low(bits.hold >> entry.bits(), entry.extra_bits());
    let distance = tables.distances.look(bits.hold >> used);
    let extra_at = used + distance.bits();
    used = extra_at + distance.extra_bits();
    if used > bits.count {
        return Ok(Some(Run::NeedInput));
    }
    if !distance.is_value() {
        return Err(ParseFault::DistanceCode);
    }
    let distance_extra = low(bits.hold >> extra_at, distance.extra_bits());
    let back = (distance.distance_base() + distance_extra) as usize;
    if back > *plain.at {
        return Err(too_far(back));
    }
    bits.skip(used);
    tokens.push(token(entry, length_extra, distance, distance_extra));
    *plain.at = copy_match(
        plain.buffer,
        *plain.at,
        back,
        (entry.length_base() + length_extra) as usize,
    );
    Ok(None)
}

/// The lowest `bits` (at most 13).
#[inline(always)]
const fn low(hold: u64, bits: u32) -> u32 {
    (hold & ((1 << bits) - 1) & 0x1fff) as u32
}

#[inline(always)]
const fn token(length: Entry, length_extra: u32, distance: Entry, distance_extra: u32) -> Token {
    Token(
        length.length_symbol()
            | length_extra << 9
            | distance.distance_symbol() << 14
            | distance_extra << 19,
    )
}

#[cold]
fn too_far(distance: usize) -> ParseFault {
    ParseFault::Distance {
        // At most 32768.
        distance: u16::try_from(distance).unwrap_or(u16::MAX),
    }
}

/// Copies `length` bytes from `back` bytes before `to` and returns where they end. May write a few bytes beyond.
#[inline(always)]
fn copy_match(buffer: &mut [u8; BUFFER_BYTES], to: usize, back: usize, length: usize) -> usize {
    const STEP: usize = 16;
    let from = to - back;
    if back >= STEP {
        let mut done = 0;
        loop {
            buffer.copy_within(from + done..from + done + STEP, to + done);
            done += STEP;
            if done >= length {
                break;
            }
        }
    } else if back == 1 {
        let byte = buffer[from];
        buffer[to..to + length].fill(byte);
    } else {
        for index in 0..length {
            buffer[to + index] = buffer[from + index];
        }
    }
    to + length
}
