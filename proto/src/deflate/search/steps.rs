//! zlib's matchers, step by step: `deflate_slow`, `deflate_fast`, `deflate_rle` and `deflate_huff` in its deflate.c.

use core::ops::Range;

use super::{
    super::token::{DISTANCES, LENGTHS, MATCH_BYTES_MAX, MATCH_BYTES_MIN, Token},
    DISTANCE_MAX, Tokens,
    tuning::Tuning,
};

/// Longest match the filtered strategy drops.
const FILTERED_BYTES_MAX: usize = 5;
/// zlib's `TOO_FAR`: a match of three bytes from farther away costs more than three literals.
const FAR_THREE_DISTANCE: usize = 4096;
/// Length of no match.
const NO_MATCH: usize = MATCH_BYTES_MIN - 1;

/// Between two steps. Positions count from the buffer's start.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// The byte whose step comes next.
    pub(super) at: usize,
    /// The byte before waits to become a literal or the start of the pending match.
    pub(super) literal_waits: bool,
    /// The pending match, which begins at the byte before; 2 when there is none.
    pub(super) length: usize,
    pub(super) distance: usize,
}

impl State {
    pub(super) const fn start() -> Self {
        Self {
            at: 0,
            literal_waits: false,
            length: NO_MATCH,
            distance: 0,
        }
    }

    /// End of the tokens decided.
    pub(super) const fn decided(&self) -> usize {
        self.at - self.literal_waits as usize
    }
}

/// What the steps between two slides see.
pub(super) struct Scene<'a> {
    pub(super) bytes: &'a [u8],
    /// End of the input, counted from the buffer's start.
    pub(super) total: usize,
    /// No step begins here or later.
    pub(super) fence: usize,
    /// Stop after the first match.
    pub(super) until_match: bool,
    pub(super) tuning: Tuning,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) distance: usize,
}

/// Limits of one search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Only what is longer counts.
    pub(super) beat: usize,
    /// Candidates looked at, at most.
    pub(super) chain: usize,
    /// A match this long is taken at once.
    pub(super) nice: usize,
    /// No match is longer.
    pub(super) most: usize,
}

/// Earlier positions whose bytes may be equal.
pub(super) trait Links {
    /// Bytes that must follow a position for it to be inserted.
    const HASHED_BYTES: usize;
    /// Only matches longer than the filtered strategy's limit are found.
    const FILTERED: bool;

    /// Inserts a position and says which one stood there before, 0 when none.
    fn insert(&mut self, bytes: &[u8], at: usize) -> usize;

    /// The nearest of the longest matches, from `head` on, which must lie within the distance limit.
    fn longest(&self, bytes: &[u8], at: usize, head: usize, reach: Reach) -> Option<Match>;

    /// All positions become one window less.
    fn slide(&mut self);

    fn clear(&mut self);
}

/// Inserts anew what a search from `inserted.end` on can find.
pub(super) fn refill<L: Links>(bytes: &[u8], total: usize, inserted: Range<usize>, links: &mut L) {
    links.clear();
    for at in inserted {
        if at + L::HASHED_BYTES <= total {
            links.insert(bytes, at);
        }
    }
}

/// Levels 4 to 9: a match is given out only when the next byte has no longer one. True when stopped after a match.
pub(super) fn lazy<L: Links>(
    scene: &Scene<'_>,
    state: &mut State,
    links: &mut L,
    tokens: &mut Tokens,
) -> bool {
    let Scene {
        bytes,
        total,
        fence,
        until_match,
        tuning,
    } = *scene;
    let State {
        mut at,
        mut literal_waits,
        mut length,
        mut distance,
    } = *state;
    let mut stopped = false;
    while at < fence {
        let ahead = total - at;
        let head = if ahead >= L::HASHED_BYTES {
            links.insert(bytes, at)
        } else {
            0
        };
        let pending = Match { length, distance };
        length = NO_MATCH;
        if head != 0 && pending.length < tuning.lazy && at - head <= DISTANCE_MAX {
            let reach = Reach {
                beat: pending.length,
                chain: if pending.length >= tuning.good {
                    tuning.chain >> 2
                } else {
                    tuning.chain
                },
                nice: tuning.nice.min(ahead),
                most: MATCH_BYTES_MAX.min(ahead),
            };
            if let Some(found) = links.longest(bytes, at, head, reach)
                && (L::FILTERED
                    || found.length > MATCH_BYTES_MIN
                    || found.distance <= FAR_THREE_DISTANCE)
            {
                debug_assert!(!L::FILTERED || found.length > FILTERED_BYTES_MAX);
                length = found.length;
                distance = found.distance;
            }
        }
        if pending.length >= MATCH_BYTES_MIN && length <= pending.length {
            tokens.push(copy(pending));
            let end = at - 1 + pending.length;
            let insert_end = end.min((total + 1).saturating_sub(L::HASHED_BYTES));
            for inside in at + 1..insert_end {
                links.insert(bytes, inside);
            }
            at = end;
            literal_waits = false;
            length = NO_MATCH;
            if until_match {
                stopped = true;
                break;
            }
        } else {
            if literal_waits {
                tokens.push(Token::literal(bytes[at - 1]));
            }
            literal_waits = true;
            at += 1;
        }
    }
    *state = State {
        at,
        literal_waits,
        length,
        distance,
    };
    stopped
}

/// Levels 1 to 3: the first match is taken. True when stopped after a match.
pub(super) fn greedy<L: Links>(
    scene: &Scene<'_>,
    state: &mut State,
    links: &mut L,
    tokens: &mut Tokens,
) -> bool {
    let tuning = scene.tuning;
    let mut at = state.at;
    let mut stopped = false;
    while at < scene.fence {
        let ahead = scene.total - at;
        let mut found = None;
        if ahead >= L::HASHED_BYTES {
            let head = links.insert(scene.bytes, at);
            if head != 0 && at - head <= DISTANCE_MAX {
                let reach = Reach {
                    beat: NO_MATCH,
                    chain: tuning.chain,
                    nice: tuning.nice.min(ahead),
                    most: MATCH_BYTES_MAX.min(ahead),
                };
                found = links.longest(scene.bytes, at, head, reach);
            }
        }
        let Some(found) = found else {
            tokens.push(Token::literal(scene.bytes[at]));
            at += 1;
            continue;
        };
        tokens.push(copy(found));
        let end = at + found.length;
        if found.length <= tuning.lazy && ahead - found.length >= MATCH_BYTES_MIN {
            for inside in at + 1..end {
                links.insert(scene.bytes, inside);
            }
        }
        at = end;
        if scene.until_match {
            stopped = true;
            break;
        }
    }
    state.at = at;
    stopped
}

/// `Z_RLE`: a match is a repetition of the byte before. True when stopped after a match.
pub(super) fn runs(scene: &Scene<'_>, state: &mut State, tokens: &mut Tokens) -> bool {
    while state.at < scene.fence {
        let at = state.at;
        let most = MATCH_BYTES_MAX.min(scene.total - at);
        let length = match at.checked_sub(1) {
            None => 0,
            Some(before) => super::chains::common(scene.bytes, before, at, most),
        };
        if length >= MATCH_BYTES_MIN {
            tokens.push(copy(Match {
                length,
                distance: 1,
            }));
            state.at += length;
            if scene.until_match {
                return true;
            }
        } else {
            tokens.push(Token::literal(scene.bytes[at]));
            state.at += 1;
        }
    }
    false
}

/// `Z_HUFFMAN_ONLY`.
pub(super) fn literals(scene: &Scene<'_>, state: &mut State, tokens: &mut Tokens) -> bool {
    let literals = &scene.bytes[state.at..scene.fence];
    tokens.extend(literals.iter().map(|byte| Token::literal(*byte)));
    state.at = scene.fence;
    false
}

/// Symbol and extra bits of every length, as in a token. The longest is always symbol 285, although 284 could say it.
#[expect(clippy::cast_possible_truncation, reason = "29 codes of up to 5 bits")]
const LENGTH_PARTS: [u32; MATCH_BYTES_MAX + 1] = {
    let mut parts = [0; MATCH_BYTES_MAX + 1];
    let mut code = 0;
    while code < LENGTHS.len() {
        let (first, bits) = LENGTHS[code];
        let mut extra = 0;
        while extra < 1 << bits {
            parts[first as usize + extra] = (257 + code as u32) | ((extra as u32) << 9);
            extra += 1;
        }
        code += 1;
    }
    parts
};

/// The token of a match.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most one window")]
fn copy(found: Match) -> Token {
    let far = found.distance as u32 - 1;
    // Two symbols for each power of two: DISTANCES in one line.
    let (symbol, extra) = if far < 4 {
        (far, 0)
    } else {
        let bits = 30 - far.leading_zeros();
        (2 * bits + (far >> bits), far & ((1 << bits) - 1))
    };
    debug_assert_eq!(
        found.distance as u32,
        u32::from(DISTANCES[symbol as usize].0) + extra
    );
    Token(LENGTH_PARTS[found.length] | symbol << 14 | extra << 19)
}
