//! A series of cases from one seed, and the tally of what came of them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::rng::Rng;

/// What was tried, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    tried: BTreeMap<String, u64>,
    outcomes: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn tried(&mut self, kind: &str) {
        *self.tried.entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn outcome(&mut self, what: &str) {
        *self.outcomes.entry(what.to_owned()).or_default() += 1;
    }

    /// Counts a refusal under the name of its rule.
    pub(crate) fn refused(&mut self, error: &impl Debug) {
        self.outcome(&format!("refused: {}", rule(error)));
    }

    /// How often an outcome begins so.
    pub(crate) fn count(&self, beginning: &str) -> u64 {
        let of = |(what, n): (&String, &u64)| what.starts_with(beginning).then_some(*n);
        self.outcomes.iter().filter_map(of).sum()
    }

    pub(crate) fn print(&self, name: &str) {
        println!("{name}:");
        for (kind, n) in &self.tried {
            println!("  {n:>9}  tried: {kind}");
        }
        for (what, n) in &self.outcomes {
            println!("  {n:>9}  {what}");
        }
    }
}

/// The variants of an error, outermost first, and the field of a bad one: `Signed Codec NotCanonical`.
fn rule(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(['(', ' ', '{', ')']) {
        match word.chars().next() {
            Some(first) if first.is_ascii_uppercase() => words.push(word),
            Some(_) => break,
            None => {}
        }
    }
    let field = text
        .split("field: \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    words.extend(field);
    words.join(" ")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Whether the full figures are asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("TIDECAST_LONG").is_some()
}

/// So many cases in the form that was asked for.
pub(crate) fn cases(short: u64, full: u64) -> u64 {
    number("TIDECAST_CASES").unwrap_or(if long() { full } else { short })
}

/// Says how to repeat a case that failed.
struct Repeat<'a> {
    name: &'a str,
    seed: u64,
    case: u64,
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed, case } = self;
            eprintln!(
                "case {case} failed; it alone: TIDECAST_SEED={seed} TIDECAST_CASE={case} cargo test -p tidecast-proto --test attacks {name} -- --nocapture"
            );
        }
    }
}

/// Runs `count` cases, each with numbers of its own, and prints the tally.
pub(crate) fn run(name: &str, count: u64, mut case: impl FnMut(&mut Rng, &mut Tally)) -> Tally {
    let seed = number("TIDECAST_SEED").unwrap_or(1);
    let range = match number("TIDECAST_CASE") {
        Some(only) => only..only + 1,
        None => 0..count,
    };
    println!("{name}: seed {seed}, cases {range:?}");
    let began = std::time::Instant::now();
    let mut tally = Tally::default();
    for index in range {
        let _repeat = Repeat {
            name,
            seed,
            case: index,
        };
        case(&mut Rng::new(seed, index), &mut tally);
    }
    tally.print(&format!("{name}, {:.1} s", began.elapsed().as_secs_f64()));
    tally
}
