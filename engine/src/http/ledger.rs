//! Which response the bytes on a connection belong to.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::access_log::{AccessLog, AccessRecord};
use super::stats::{FileKind, HttpStats};

/// Where finished records go.
#[derive(Clone)]
pub(super) struct Recorder {
    pub(super) stats: Arc<HttpStats>,
    pub(super) log: Option<Arc<dyn AccessLog>>,
}

impl Recorder {
    fn record(&self, record: &AccessRecord) {
        self.stats.count(record);
        if let Some(log) = &self.log {
            log.line(record);
        }
    }
}

/// Follows one connection's outgoing bytes and records each response when its last byte was taken
/// by the kernel, or, with what was sent until then, when the connection ends.
///
/// A body that was handed to hyper may never leave, so what is counted is the stream itself: a head
/// ends at its first empty line, the body after it has the length announced by [`Self::expect`].
pub(super) struct Ledger {
    recorder: Recorder,
    remote: IpAddr,
    /// Responses not wholly sent, oldest first. HTTP/1 answers one request at a time, so there are
    /// at most two: one in the write buffer and one being made.
    expected: VecDeque<Expected>,
    position: Position,
    /// A request was taken on whose response is not announced yet.
    answering: bool,
    answered_any: bool,
}

struct Expected {
    record: AccessRecord,
    body_bytes: u64,
}

enum Position {
    /// In a head, of which these bytes are kept: the first 12, for the status.
    Head { start: Vec<u8>, line_ends: u8 },
    /// In a body that has so many bytes to come.
    Body { rest: u64 },
}

impl Position {
    fn start() -> Self {
        Self::Head {
            start: Vec::new(),
            line_ends: 0,
        }
    }
}

impl Ledger {
    pub(super) fn new(recorder: Recorder, remote: IpAddr) -> Self {
        Self {
            recorder,
            remote,
            expected: VecDeque::new(),
            position: Position::start(),
            answering: false,
            answered_any: false,
        }
    }

    /// Says that a request is being answered.
    pub(super) fn begin(&mut self) {
        self.answering = true;
    }

    /// Announces the next response: its record so far and the length of the body that follows its
    /// head on the wire.
    pub(super) fn expect(&mut self, record: AccessRecord, body_bytes: u64) {
        self.answering = false;
        self.expected.push_back(Expected { record, body_bytes });
    }

    /// Whether everything asked for so far was sent.
    pub(super) fn is_settled(&self) -> bool {
        self.expected.is_empty() && !self.answering && self.answered_any
    }

    /// Takes note of bytes the kernel took.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.position {
                Position::Head { start, line_ends } => {
                    let (used, ended) = scan_head(bytes, start, line_ends);
                    if ended {
                        self.head_ended();
                    }
                    &bytes[used..]
                }
                Position::Body { rest } => {
                    let taken =
                        usize::try_from(*rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
                    *rest -= taken as u64;
                    let ended = *rest == 0;
                    if let Some(front) = self.expected.front_mut() {
                        front.record.body_bytes += taken as u64;
                    }
                    if ended {
                        self.response_ended();
                    }
                    &bytes[taken..]
                }
            };
        }
    }

    fn head_ended(&mut self) {
        if self.expected.is_empty() {
            // hyper refused a request by itself before it could be understood.
            let status = match &self.position {
                Position::Head { start, .. } => status_of(start),
                Position::Body { .. } => None,
            };
            let record = self.not_understood(status.unwrap_or(400));
            self.expect(record, 0);
        }
        match self.expected.front() {
            Some(front) if front.body_bytes > 0 => {
                self.position = Position::Body {
                    rest: front.body_bytes,
                };
            }
            _ => self.response_ended(),
        }
    }

    fn response_ended(&mut self) {
        self.position = Position::start();
        self.answered_any = true;
        if let Some(mut done) = self.expected.pop_front() {
            done.record.complete = true;
            self.recorder.record(&done.record);
        }
    }

    fn not_understood(&self, status: u16) -> AccessRecord {
        AccessRecord {
            remote: self.remote,
            received_s: unix_now_s(),
            request: String::new(),
            status,
            body_bytes: 0,
            complete: false,
            referer: None,
            user_agent: None,
            kind: FileKind::Other,
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        for cut in self.expected.drain(..) {
            self.recorder.record(&cut.record);
        }
    }
}

/// Reads on in a head; says how many bytes belong to it and whether it ended with them.
fn scan_head(bytes: &[u8], start: &mut Vec<u8>, line_ends: &mut u8) -> (usize, bool) {
    const STATUS_END: usize = "HTTP/1.1 200".len();
    for (index, &byte) in bytes.iter().enumerate() {
        if start.len() < STATUS_END {
            start.push(byte);
        }
        match byte {
            b'\n' => *line_ends += 1,
            b'\r' => {}
            _ => *line_ends = 0,
        }
        if *line_ends == 2 {
            return (index + 1, true);
        }
    }
    (bytes.len(), false)
}

fn status_of(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

/// Now, in Unix seconds.
pub(super) fn unix_now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<(u16, u64, bool)>>);

    impl AccessLog for Seen {
        fn line(&self, record: &AccessRecord) {
            let seen = (record.status, record.body_bytes, record.complete);
            self.0.lock().unwrap().push(seen);
        }
    }

    fn ledger() -> (Ledger, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let recorder = Recorder {
            stats: Arc::default(),
            log: Some(Arc::clone(&seen) as Arc<dyn AccessLog>),
        };
        (Ledger::new(recorder, [127, 0, 0, 1].into()), seen)
    }

    fn record(status: u16) -> AccessRecord {
        AccessRecord {
            status,
            body_bytes: 0,
            complete: false,
            ..AccessRecord::sample()
        }
    }

    /// The stream of a 200 with five bytes, a 304, and a 200 with two, cut at every place.
    #[test]
    fn bytes_are_counted_to_their_response_however_they_are_cut() {
        let head = "HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        let stream = format!("{head}12\r\n\nHTTP/1.1 304 Not Modified\r\n\r\n{head}ab");
        for cut in 0..stream.len() {
            let (mut ledger, seen) = ledger();
            ledger.expect(record(200), 5);
            ledger.expect(record(304), 0);
            ledger.expect(record(200), 2);
            ledger.sent(&stream.as_bytes()[..cut]);
            ledger.sent(&stream.as_bytes()[cut..]);
            assert!(ledger.is_settled());
            let wanted = [(200, 5, true), (304, 0, true), (200, 2, true)];
            assert_eq!(*seen.0.lock().unwrap(), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn a_connection_that_ends_early_records_what_was_sent() {
        let (mut ledger, seen) = ledger();
        ledger.expect(record(200), 1000);
        ledger.sent(b"HTTP/1.1 200 OK\r\n\r\n123");
        assert!(!ledger.is_settled());
        drop(ledger);
        assert_eq!(*seen.0.lock().unwrap(), [(200, 3, false)]);
    }

    #[test]
    fn a_refusal_of_hypers_own_is_recorded_with_its_status() {
        let (mut ledger, seen) = ledger();
        ledger.sent(b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n");
        assert_eq!(*seen.0.lock().unwrap(), [(431, 0, true)]);
    }
}
