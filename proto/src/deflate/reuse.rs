//! The tokens of a new stream, taken over from an old one wherever both have the same bytes.
//!
//! What zlib decides for a byte depends on the window before it, the longest match behind it, and a state that shows
//! in the tokens right after a match, or after a long row of literals. So tokens are copied up to shortly before the
//! end of an equal range; from there on zlib's search runs, until it is in a state in which the old stream was at
//! the same byte, with the same window.

use alloc::vec::Vec;
use core::mem;

use super::{
    parameters::Parameters,
    search::{Known, Matcher},
    stretch::OldStretch,
    token::{Batch, MATCH_BYTES_MAX, Token, WINDOW_BYTES},
};

/// A token is decided in the step after its first byte, which looks at a longest match's bytes.
const DECIDED_BYTES: u64 = 1 + MATCH_BYTES_MAX as u64;
/// Near the end of a stream zlib follows other rules: tokens whose decision saw an end, old or new, are not copied.
const END_BYTES: u64 = 600;
/// Literals in a row after which no match can have been pending before them: a pending match gives way only to a
/// longer one, and 258 is the longest.
const LITERALS_KNOWN: usize = 257;
/// Equal ranges shorter than this never give a token, unless they are the start of both streams.
pub(super) const EQUAL_BYTES_MIN: u64 = WINDOW_BYTES as u64 + DECIDED_BYTES;
/// Bytes before a token boundary that a search from there on may need: the window, and the literals back to a known
/// state.
const HISTORY_BYTES: usize = WINDOW_BYTES + 4 * MATCH_BYTES_MAX;

/// Makes the tokens that zlib would make of a stream.
///
/// Holds less than 1 MiB, however long the stream. What it appends to a [`Batch`] is about as long as the piece it
/// was called with (a whole window more when a search catches up), and always tokens with exactly the plain bytes
/// they stand for, so every batch can go to the encoder on its own.
///
/// Equal ranges are taken on trust: where one is not equal, the outcome is not what zlib would make, and whoever asked
/// for it finds that by the hash of the whole. Nothing else can go wrong.
#[derive(Debug)]
pub struct Tokenizer {
    matcher: Matcher,
    new_bytes: u64,
    old_bytes: u64,
    /// New plain bytes taken in.
    received: u64,
    copying: bool,
    range: Option<EqualRange>,
    /// Copying is not taken up before this byte: every restart costs a window, so it must have been searched for one.
    resume_from: u64,
    /// Old tokens, by new positions: those that the search passes by, or those that may not be copied yet.
    old: OldTokens,
    /// While copying: the last bytes taken in.
    history: Vec<u8>,
    /// While copying: end of what was given out.
    copied: u64,
    copied_bytes: u64,
    /// While copying: the last place the search could start from.
    known: Known,
    /// The search gives tokens up to here a second time.
    given_before: u64,
    scratch: Batch,
}

/// Where new bytes equal old ones.
#[derive(Debug, Clone, Copy)]
struct EqualRange {
    /// Old position of the byte that comes next.
    old_next: u64,
    /// New position from which on no token's decision may have looked at bytes.
    end: u64,
    /// New position from which on the window is equal.
    window_from: u64,
}

impl Tokenizer {
    /// For a stream of `new_bytes` plain bytes; `old_bytes` is the plain length of the old one, 0 when there is none.
    #[must_use]
    pub fn new(parameters: Parameters, new_bytes: u64, old_bytes: u64) -> Self {
        Self {
            matcher: Matcher::new(parameters, new_bytes),
            new_bytes,
            old_bytes,
            received: 0,
            copying: false,
            range: None,
            resume_from: 0,
            old: OldTokens::default(),
            history: Vec::new(),
            copied: 0,
            copied_bytes: 0,
            known: Known {
                at: 0,
                literal_waits: false,
            },
            given_before: 0,
            scratch: Batch::default(),
        }
    }

    /// Takes in new plain bytes of which nothing is known. Bytes beyond the promised length are ignored.
    pub fn push_new(&mut self, plain: &[u8], out: &mut Batch) {
        self.leave_copying();
        self.range = None;
        self.old.lose();
        self.search(self.clip(plain), out);
    }

    /// Takes in new plain bytes that are a stretch of the old stream. Stretches that follow each other in the old
    /// stream are one range; a range shorter than the window is only searched.
    pub fn push_same(&mut self, old: OldStretch<'_>, out: &mut Batch) {
        let plain = self.clip(old.plain);
        if plain.len() < old.plain.len() || !self.matcher.can_restart() {
            self.push_new(plain, out);
            return;
        }
        self.follow(&old);
        let (covered_from, covered_to) = old.covered;
        let (before, plain) = plain.split_at(covered_from.min(plain.len()));
        if !before.is_empty() {
            self.leave_copying();
            self.old.lose();
            self.search(before, out);
        }
        let mut covered = covered_to.saturating_sub(covered_from).min(plain.len());
        let mut plain = plain;
        let mut tokens = old.tokens;
        while covered > 0 && !tokens.is_empty() {
            let end = self.range.map_or(0, |range| range.end);
            if self.copying && self.old.end == self.received && self.received < end {
                let (count, bytes) = if self.received + covered as u64 <= end {
                    (tokens.len(), covered)
                } else {
                    fitting(tokens, near(end - self.received).min(covered))
                };
                if count > 0 {
                    self.copy(&plain[..bytes], &tokens[..count], out);
                    plain = &plain[bytes..];
                    tokens = &tokens[count..];
                    covered -= bytes;
                    continue;
                }
            }
            self.leave_copying();
            let (count, bytes) = fitting(tokens, self.matcher.room().min(covered));
            if count == 0 {
                break;
            }
            self.old.append(self.received, &tokens[..count]);
            let fed = self.matcher.feed(&plain[..bytes]);
            self.received += fed as u64;
            plain = &plain[fed..];
            tokens = &tokens[count..];
            covered -= bytes;
            self.seek(out);
        }
        if !plain.is_empty() {
            if self.copying && plain.len() <= MATCH_BYTES_MAX {
                self.copy(plain, &[], out);
            } else {
                self.leave_copying();
                self.search(plain, out);
            }
            self.old.end = u64::MAX;
        }
    }

    /// Gives out the rest. The stream ends here, also if fewer bytes came than were promised.
    pub fn finish(&mut self, out: &mut Batch) {
        self.leave_copying();
        self.range = None;
        self.matcher.end_here();
        self.search(&[], out);
        self.give(out, Matcher::finish);
    }

    /// Plain bytes whose tokens were taken over so far; all others were searched.
    #[must_use]
    pub const fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// What of `plain` belongs to the stream.
    fn clip<'a>(&self, plain: &'a [u8]) -> &'a [u8] {
        &plain[..plain.len().min(near(self.new_bytes - self.received))]
    }

    /// Goes on in the current equal range or begins one.
    fn follow(&mut self, old: &OldStretch<'_>) {
        let old_next = old.at.saturating_add(old.plain.len() as u64);
        if let Some(range) = &mut self.range
            && range.old_next == old.at
        {
            range.old_next = old_next;
            return;
        }
        self.leave_copying();
        self.old.lose();
        let start = self.received;
        let old_left = self.old_bytes.saturating_sub(old.at);
        let both_start = start == 0 && old.at == 0;
        if both_start {
            // Right after a match or at the start, zlib's state is the same.
            self.old = OldTokens {
                after_match: true,
                ..OldTokens::default()
            };
        }
        self.range = Some(EqualRange {
            old_next,
            end: start
                .saturating_add(old_left)
                .min(self.new_bytes)
                .saturating_sub(END_BYTES),
            // The whole window, not only what zlib looks back: it also hides that position 0 matches nothing.
            window_from: if both_start {
                0
            } else {
                start + WINDOW_BYTES as u64
            },
        });
    }

    /// Searches bytes to which no old tokens are known.
    fn search(&mut self, mut plain: &[u8], out: &mut Batch) {
        loop {
            let fed = self.matcher.feed(plain);
            self.received += fed as u64;
            plain = &plain[fed..];
            self.give(out, |matcher, out| matcher.run(u64::MAX, false, out));
            if plain.is_empty() {
                return;
            }
        }
    }

    /// Searches until bytes are short or copying can be taken up.
    fn seek(&mut self, out: &mut Batch) {
        let from = match self.range {
            Some(range) => range.window_from.max(self.resume_from),
            None => u64::MAX,
        };
        loop {
            let at = self.matcher.at();
            if at >= from && self.take_up(out) {
                return;
            }
            self.give(out, |matcher, out| {
                if at < from {
                    matcher.run(from, false, out);
                } else {
                    matcher.run(at + LITERALS_KNOWN as u64, true, out);
                }
            });
            if self.matcher.at() == at {
                self.old.drop_before(self.matcher.given());
                return;
            }
        }
    }

    /// Takes up copying if the old stream was in the same state here.
    fn take_up(&mut self, out: &mut Batch) -> bool {
        let (Some(known), Some(range)) = (self.matcher.known(), self.range) else {
            return false;
        };
        let decided = known.decided();
        self.old.drop_before(decided);
        let same = self.old.at == decided
            && decided + DECIDED_BYTES <= range.end.min(self.received)
            && decided >= self.given_before
            && if known.literal_waits {
                self.old.literals_follow(LITERALS_KNOWN)
            } else {
                self.old.after_match && !self.old.is_empty()
            };
        if !same {
            return false;
        }
        self.copying = true;
        self.copied = decided;
        self.known = known;
        self.history.clear();
        let from = decided.saturating_sub(HISTORY_BYTES as u64);
        self.history.extend_from_slice(self.matcher.held_from(from));
        self.copy(&[], &[], out);
        true
    }

    /// Takes over the tokens held back and those of `plain`, as far as the equal range is known to reach.
    fn copy(&mut self, plain: &[u8], tokens: &[Token], out: &mut Batch) {
        let received = self.received + plain.len() as u64;
        let end = self.range.map_or(0, |range| range.end).min(received);
        // No token may begin behind this.
        let Some(last) = end.checked_sub(DECIDED_BYTES) else {
            self.old.append(self.received, tokens);
            self.take_in(plain);
            return;
        };
        let held = self.old.take_until(last);
        let bytes = near(self.old.at - self.copied);
        let history_at = self.received - self.history.len() as u64;
        let start = near(self.copied - history_at);
        out.plain
            .extend(self.history.iter().skip(start).take(bytes));
        out.tokens.extend_from_slice(self.old.taken(held));
        self.copied += bytes as u64;
        self.copied_bytes += bytes as u64;
        self.known = known_after(self.known, self.copied, self.old.taken(held));
        if !self.old.is_empty() || tokens.is_empty() {
            self.old.append(self.received, tokens);
            self.take_in(plain);
            return;
        }
        let mut taken = tokens.len();
        let mut taken_bytes = plain.len();
        while let Some(token) = taken.checked_sub(1).and_then(|index| tokens.get(index)) {
            let start = taken_bytes.saturating_sub(token.plain_bytes());
            if self.received + start as u64 <= last {
                break;
            }
            taken -= 1;
            taken_bytes = start;
        }
        out.plain.extend_from_slice(&plain[..taken_bytes]);
        out.tokens.extend_from_slice(&tokens[..taken]);
        self.copied += taken_bytes as u64;
        self.copied_bytes += taken_bytes as u64;
        self.known = known_after(self.known, self.copied, &tokens[..taken]);
        self.old.restart(
            self.copied,
            tokens[..taken]
                .last()
                .map_or(self.old.after_match, |token| !token.is_literal()),
        );
        self.old.append(self.copied, &tokens[taken..]);
        self.take_in(plain);
    }

    /// Remembers the last bytes while copying.
    fn take_in(&mut self, plain: &[u8]) {
        self.received += plain.len() as u64;
        if plain.len() >= HISTORY_BYTES {
            self.history.clear();
            self.history
                .extend_from_slice(&plain[plain.len() - HISTORY_BYTES..]);
            return;
        }
        self.history.extend_from_slice(plain);
        if self.history.len() > 4 * HISTORY_BYTES {
            self.history.drain(..self.history.len() - HISTORY_BYTES);
        }
    }

    /// Goes back to the last known state and searches from there on.
    fn leave_copying(&mut self) {
        if !mem::take(&mut self.copying) {
            return;
        }
        let history_at = self.received - self.history.len() as u64;
        self.matcher.restart(self.known, history_at, &self.history);
        self.given_before = self.copied;
        self.resume_from = self.known.at + WINDOW_BYTES as u64;
        self.old.lose();
    }

    /// Runs the search and leaves out what copying gave before.
    fn give(&mut self, out: &mut Batch, run: impl FnOnce(&mut Matcher, &mut Batch)) {
        let from = self.matcher.given();
        if from >= self.given_before {
            run(&mut self.matcher, out);
            return;
        }
        self.scratch.clear();
        run(&mut self.matcher, &mut self.scratch);
        let skip = near(self.given_before - from);
        let mut at = 0;
        let mut tokens = self.scratch.tokens.iter();
        while at < skip {
            let Some(token) = tokens.next() else {
                return;
            };
            at += token.plain_bytes();
        }
        // Ends elsewhere only if the range was not equal: any tokens of the right bytes will do.
        let plain = self.scratch.plain.get(skip..).unwrap_or_default();
        out.tokens.extend(
            plain
                .iter()
                .take(at - skip)
                .map(|byte| Token::literal(*byte)),
        );
        out.tokens.extend(tokens);
        out.plain.extend_from_slice(plain);
    }
}

/// The last known state at or before `end`, where `tokens` end, when it was `known` before them.
fn known_after(known: Known, end: u64, tokens: &[Token]) -> Known {
    let last = tokens.iter().rev().take(LITERALS_KNOWN);
    if let Some(literals) = last.clone().position(|token| !token.is_literal()) {
        return Known {
            at: end - literals as u64,
            literal_waits: false,
        };
    }
    // Only literals since `known`, so the first of the last 257 has no match pending.
    match end.checked_sub(LITERALS_KNOWN as u64 - 1) {
        Some(at) if at > known.at => Known {
            at,
            literal_waits: true,
        },
        _ => known,
    }
}

/// The first tokens that stand for at most `room` bytes: how many, and the bytes they stand for.
fn fitting(tokens: &[Token], room: usize) -> (usize, usize) {
    let mut bytes = 0;
    for (count, token) in tokens.iter().enumerate() {
        let after = bytes + token.plain_bytes();
        if after > room {
            return (count, bytes);
        }
        bytes = after;
    }
    (tokens.len(), bytes)
}

/// A count of bytes in memory; what is larger only needs to stay larger than any of them.
fn near(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Old tokens in a row, at the new positions their bytes have.
#[derive(Debug, Default)]
struct OldTokens {
    tokens: Vec<Token>,
    /// Tokens before this one are done with.
    first: usize,
    /// New position of the first token's first byte.
    at: u64,
    /// New position behind the last token.
    end: u64,
    /// What comes right before the first token is known to be a match, or the start of the stream.
    after_match: bool,
}

impl OldTokens {
    fn is_empty(&self) -> bool {
        self.first == self.tokens.len()
    }

    /// What comes next does not follow these.
    fn lose(&mut self) {
        self.restart(u64::MAX, false);
    }

    fn restart(&mut self, at: u64, after_match: bool) {
        self.tokens.clear();
        self.first = 0;
        self.at = at;
        self.end = at;
        self.after_match = after_match;
    }

    fn append(&mut self, at: u64, tokens: &[Token]) {
        if self.end != at {
            self.restart(at, false);
        }
        if self.first > 0 {
            self.tokens.drain(..self.first);
            self.first = 0;
        }
        self.tokens.extend_from_slice(tokens);
        let bytes: usize = tokens.iter().map(|token| token.plain_bytes()).sum();
        self.end += bytes as u64;
    }

    fn drop_before(&mut self, at: u64) {
        while let Some(token) = self.tokens.get(self.first) {
            let end = self.at + token.plain_bytes() as u64;
            if end > at {
                return;
            }
            self.first += 1;
            self.at = end;
            self.after_match = !token.is_literal();
        }
    }

    /// Drops the tokens that begin at `last` or before and says how many.
    fn take_until(&mut self, last: u64) -> usize {
        let first = self.first;
        while let Some(token) = self.tokens.get(self.first)
            && self.at <= last
        {
            self.first += 1;
            self.at += token.plain_bytes() as u64;
            self.after_match = !token.is_literal();
        }
        self.first - first
    }

    /// The last `count` tokens dropped.
    fn taken(&self, count: usize) -> &[Token] {
        &self.tokens[self.first - count..self.first]
    }

    fn literals_follow(&self, count: usize) -> bool {
        self.tokens[self.first..]
            .get(..count)
            .is_some_and(|tokens| tokens.iter().all(|token| token.is_literal()))
    }
}
