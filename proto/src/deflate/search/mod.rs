//! zlib's search for matches: plain bytes in pieces of any size, out the very tokens that zlib finds when it is
//! given the whole input at once.

mod chains;
mod long_chains;
mod steps;
mod tuning;
mod window;

use alloc::vec::Vec;

use self::{
    chains::Chains,
    long_chains::LongChains,
    steps::{Scene, State},
    tuning::Tuning,
    window::{SLIDE_AT, Window},
};
use super::{
    parameters::{Parameters, Strategy},
    token::{Batch, MATCH_BYTES_MAX, Token, WINDOW_BYTES},
};

/// zlib's `MIN_LOOKAHEAD`: with fewer bytes ahead it refills its buffer, which may slide it.
const LOOKAHEAD_BYTES: usize = MATCH_BYTES_MAX + 3 + 1;
/// The farthest that zlib looks back.
pub(super) const DISTANCE_MAX: usize = WINDOW_BYTES - LOOKAHEAD_BYTES;
/// Bytes a step may read ahead: a whole match, and the hash of its last byte.
const STEP_BYTES: usize = MATCH_BYTES_MAX + 8;

/// Where a search can be taken up without knowing what came before, but for the bytes of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The byte whose step comes next.
    pub(super) at: u64,
    /// The byte before it waits to become a literal, with no match pending; otherwise a match has just ended.
    pub(super) literal_waits: bool,
}

impl Known {
    /// End of the tokens that are decided.
    pub(super) const fn decided(self) -> u64 {
        self.at - self.literal_waits as u64
    }
}

/// Searches one stream, or a stretch of it.
#[derive(Debug)]
pub(super) struct Matcher {
    window: Window,
    state: State,
    finder: Finder,
    tuning: Tuning,
    /// Length of the whole stream: its last bytes follow rules of their own.
    total_bytes: u64,
    /// Plain bytes up to here were given out.
    given: u64,
    /// The tables are to be made anew before the next step, when the bytes it needs are there.
    stale: bool,
}

#[derive(Debug)]
enum Finder {
    Lazy(Chains),
    LazyLong(LongChains),
    Greedy(Chains),
    Runs,
    Literals,
}

impl Matcher {
    pub(super) fn new(parameters: Parameters, total_bytes: u64) -> Self {
        let chains = || Chains::new(parameters.memory_level());
        let finder = match (parameters.strategy(), parameters.level()) {
            (Strategy::Huffman, _) => Finder::Literals,
            (Strategy::Rle, _) => Finder::Runs,
            (_, 1..=3) => Finder::Greedy(chains()),
            (Strategy::Filtered, _) => Finder::LazyLong(LongChains::new(parameters.memory_level())),
            _ => Finder::Lazy(chains()),
        };
        Self {
            window: Window::new(),
            state: State::start(),
            finder,
            tuning: Tuning::of(parameters.level()),
            total_bytes,
            given: 0,
            stale: false,
        }
    }

    /// Whether [`Known`] states exist: greedy search leaves bytes out of its tables, so that these depend on all
    /// tokens of the window; runs and literals cost nothing to search.
    pub(super) const fn can_restart(&self) -> bool {
        matches!(self.finder, Finder::Lazy(_) | Finder::LazyLong(_))
    }

    /// The byte whose step comes next.
    pub(super) const fn at(&self) -> u64 {
        self.window.base() + self.state.at as u64
    }

    /// End of the tokens given out.
    pub(super) const fn given(&self) -> u64 {
        self.given
    }

    /// The state, if it is one that shows in the tokens.
    pub(super) const fn known(&self) -> Option<Known> {
        if self.state.length < 3 {
            Some(Known {
                at: self.at(),
                literal_waits: self.state.literal_waits,
            })
        } else {
            None
        }
    }

    /// Bytes that [`Self::feed`] takes now. At least 24 KiB after a [`Self::run`] without a stop.
    pub(super) fn room(&self) -> usize {
        self.window.room()
    }

    /// Takes in as many bytes as fit and says how many.
    pub(super) fn feed(&mut self, plain: &[u8]) -> usize {
        let count = plain.len().min(self.window.room());
        self.window.fill(&plain[..count]);
        count
    }

    /// The bytes from `from` on, as far back as they are still held.
    pub(super) fn held_from(&self, from: u64) -> &[u8] {
        self.window.from(from)
    }

    /// The input ends with what was fed.
    pub(super) fn end_here(&mut self) {
        self.total_bytes = self.window.end();
    }

    /// Searches until bytes are short, `stop` is reached, or, with `until_match`, a match was given out.
    pub(super) fn run(&mut self, stop: u64, until_match: bool, out: &mut Batch) {
        loop {
            let base = self.window.base();
            let total = clamp(self.total_bytes - base);
            // zlib slides when fewer than 262 bytes are ahead in its buffer of 64 KiB; near the end of the input
            // that is one step earlier.
            let slide_at = if total < SLIDE_AT - 1 + LOOKAHEAD_BYTES {
                SLIDE_AT - 1
            } else {
                SLIDE_AT
            };
            if self.state.at >= slide_at {
                self.give(out);
                self.slide();
                continue;
            }
            let filled = self.window.filled();
            let ready = if filled >= total {
                total
            } else {
                filled.saturating_sub(STEP_BYTES)
            };
            let fence = ready.min(slide_at).min(clamp(stop.saturating_sub(base)));
            if self.state.at >= fence {
                break;
            }
            if self.stale {
                self.refill(total);
            }
            let scene = Scene {
                bytes: self.window.bytes(),
                total,
                fence,
                until_match,
                tuning: self.tuning,
            };
            let state = &mut self.state;
            let tokens = &mut out.tokens;
            let stopped = match &mut self.finder {
                Finder::Lazy(chains) => steps::lazy(&scene, state, chains, tokens),
                Finder::LazyLong(chains) => steps::lazy(&scene, state, chains, tokens),
                Finder::Greedy(chains) => steps::greedy(&scene, state, chains, tokens),
                Finder::Runs => steps::runs(&scene, state, tokens),
                Finder::Literals => steps::literals(&scene, state, tokens),
            };
            if stopped {
                break;
            }
        }
        self.give(out);
    }

    /// Gives out the literal that still waits after the last step.
    pub(super) fn finish(&mut self, out: &mut Batch) {
        if self.state.literal_waits {
            self.state.literal_waits = false;
            let last = self.window.bytes()[self.state.at - 1];
            out.tokens.push(Token::literal(last));
            self.give(out);
        }
    }

    /// Takes the search up at `known`. `history` ends at or behind it, begins at `history_at`, and holds the
    /// window's bytes before it (fewer only at the start of the stream).
    pub(super) fn restart(&mut self, known: Known, history_at: u64, history: &[u8]) {
        // What zlib's buffer begins with in this step, had it come here from the start.
        let slide_at = SLIDE_AT as u64;
        let window = WINDOW_BYTES as u64;
        let base = match known.at.checked_sub(slide_at) {
            None => 0,
            Some(past) => (past / window + 1) * window,
        };
        let back = clamp(base.saturating_sub(history_at)).min(history.len());
        self.window.load(
            base,
            clamp(history_at.saturating_sub(base)),
            &history[back..],
        );
        let at = clamp(known.at - base).min(self.window.filled());
        self.state = State {
            at,
            literal_waits: known.literal_waits && at > 0,
            ..State::start()
        };
        self.given = base + self.state.decided() as u64;
        self.stale = true;
    }

    /// Inserts what a step at the current position can find.
    fn refill(&mut self, total: usize) {
        let at = self.state.at;
        let range = at.saturating_sub(DISTANCE_MAX)..at;
        let bytes = self.window.bytes();
        match &mut self.finder {
            Finder::Lazy(chains) | Finder::Greedy(chains) => {
                steps::refill(bytes, total, range, chains);
            }
            Finder::LazyLong(chains) => steps::refill(bytes, total, range, chains),
            Finder::Runs | Finder::Literals => {}
        }
        self.stale = false;
    }

    fn slide(&mut self) {
        self.window.slide();
        self.state.at -= WINDOW_BYTES;
        match &mut self.finder {
            Finder::Lazy(chains) | Finder::Greedy(chains) => steps::Links::slide(chains),
            Finder::LazyLong(chains) => steps::Links::slide(chains),
            Finder::Runs | Finder::Literals => {}
        }
    }

    /// Gives out the plain bytes of the tokens decided by now.
    fn give(&mut self, out: &mut Batch) {
        let decided = self.window.base() + self.state.decided() as u64;
        let count = clamp(decided - self.given);
        out.plain
            .extend_from_slice(&self.window.from(self.given)[..count]);
        self.given = decided;
    }
}

/// Positions inside the buffer are small; what is larger only needs to stay larger than all of them.
fn clamp(bytes: u64) -> usize {
    const FAR: u64 = 1 << 24;
    bytes.min(FAR) as usize
}

/// Token lists grow to what a piece needs; this is the type all finders write to.
type Tokens = Vec<Token>;
