//! What happened, line by line: hashed, so that two runs can be compared, and printed on request.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock::Elapsed;

/// The trace of the run on this thread.
struct Trace {
    hasher: blake3::Hasher,
    elapsed: Elapsed,
    /// Named differently in each run.
    folder: String,
    print: bool,
    line: String,
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// Begins a trace on this thread. With `TIDECAST_TRACE` set, every line is printed as well.
pub(crate) fn begin(elapsed: &Elapsed, folder: &str) {
    let trace = Trace {
        hasher: blake3::Hasher::new(),
        elapsed: elapsed.clone(),
        folder: folder.into(),
        print: std::env::var_os("TIDECAST_TRACE").is_some(),
        line: String::new(),
    };
    TRACE.with(|slot| *slot.borrow_mut() = Some(trace));
}

/// Ends it: a hash of everything that was noted.
pub(crate) fn end() -> String {
    TRACE.with(|slot| {
        let trace = slot.borrow_mut().take().unwrap();
        trace.hasher.finalize().to_hex()[..16].to_owned()
    })
}

/// Notes a line about `who`.
pub(crate) fn note(who: &str, what: fmt::Arguments<'_>) {
    TRACE.with(|slot| {
        // A thread that belongs to no run, or one whose run is over.
        let Ok(mut slot) = slot.try_borrow_mut() else {
            return;
        };
        let Some(trace) = slot.as_mut() else {
            return;
        };
        let mut line = std::mem::take(&mut trace.line);
        line.clear();
        let _ = writeln!(line, "{:9.3} {who:>9} {what}", Seconds(trace.elapsed.ms()));
        if line.contains(&trace.folder) {
            line = line.replace(&trace.folder, "~");
        }
        trace.hasher.update(line.as_bytes());
        if trace.print {
            eprint!("{line}");
        }
        trace.line = line;
    });
}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Notes a packet: who sent how much to whom. Not printed, there are too many.
pub(crate) fn packet(who: &str, to: std::net::SocketAddr, bytes: usize, fate: &str) {
    TRACE.with(|slot| {
        if let Ok(mut slot) = slot.try_borrow_mut()
            && let Some(trace) = slot.as_mut()
        {
            let mut line = std::mem::take(&mut trace.line);
            line.clear();
            let _ = writeln!(line, "{} {who} {to} {bytes} {fate}", trace.elapsed.ms());
            trace.hasher.update(line.as_bytes());
            if trace.print && std::env::var_os("TIDECAST_PACKETS").is_some() {
                eprint!("{line}");
            }
            trace.line = line;
        }
    });
}

/// What the engine logs belongs to the trace: it says most about why something went the way it did.
#[derive(Debug, Default)]
pub(crate) struct EngineLog;

thread_local! {
    /// Names of the spans made so far, and those entered now: the simulator opens one for each node.
    static SPANS: RefCell<(Vec<String>, Vec<usize>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Writes fields down; a span's `name` or everything of an event.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

struct Name(String);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.0 = value.to_owned();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Subscriber for EngineLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        (metadata.is_span() && metadata.name() == "node")
            || (metadata.is_event()
                && *metadata.level() <= Level::DEBUG
                && metadata.target().starts_with("tidecast"))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut name = Name(String::new());
        span.record(&mut name);
        SPANS.with_borrow_mut(|(names, _)| {
            let index = names.iter().position(|known| *known == name.0);
            let index = index.unwrap_or_else(|| {
                names.push(name.0);
                names.len() - 1
            });
            Id::from_u64(index as u64 + 1)
        })
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let who = SPANS.with_borrow(|(names, entered)| {
            let index = entered.last().copied();
            index.and_then(|index| names.get(index)).cloned()
        });
        note(who.as_deref().unwrap_or("-"), format_args!("{}", line.0));
    }

    fn enter(&self, span: &Id) {
        let index = usize::try_from(span.into_u64() - 1).unwrap();
        SPANS.with_borrow_mut(|(_, entered)| entered.push(index));
    }

    fn exit(&self, _: &Id) {
        SPANS.with_borrow_mut(|(_, entered)| {
            entered.pop();
        });
    }
}
