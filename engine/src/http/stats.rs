//! Counters of what was served.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::access_log::AccessRecord;

/// The kinds of file that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Whole databases: `.cvd`, `.cld`, `.cud`.
    Database,
    /// Steps between two versions: `.cdiff`.
    Cdiff,
    /// Everything else, also what does not exist.
    Other,
}

impl FileKind {
    /// The kind of a path, by the end of its name.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path.rsplit_once('.') {
            Some((_, "cvd" | "cld" | "cud")) => Self::Database,
            Some((_, "cdiff")) => Self::Cdiff,
            _ => Self::Other,
        }
    }
}

/// Counters of one HTTP server, all rising. Requests by mirror checkers are left out of the kinds.
#[derive(Debug, Default)]
pub struct HttpStats {
    database: KindStats,
    cdiff: KindStats,
    other: KindStats,
    mirror_checks: AtomicU64,
    connections: AtomicU64,
    connections_refused: AtomicU64,
    connections_dropped: AtomicU64,
    files_unserved: AtomicU64,
}

#[derive(Debug, Default)]
struct KindStats {
    whole: AtomicU64,
    partial: AtomicU64,
    not_modified: AtomicU64,
    client_errors: AtomicU64,
    server_errors: AtomicU64,
    cut_short: AtomicU64,
    body_bytes: AtomicU64,
}

/// [`HttpStats`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSnapshot {
    /// Requests for `.cvd`, `.cld` and `.cud`.
    pub database: KindSnapshot,
    /// Requests for `.cdiff`.
    pub cdiff: KindSnapshot,
    /// All other requests.
    pub other: KindSnapshot,
    /// Requests whose User-Agent begins `ClamAV-MirrorCheck`; counted nowhere else.
    pub mirror_checks: u64,
    /// Connections accepted and served.
    pub connections: u64,
    /// Connections answered 503 because a cap was reached.
    pub connections_refused: u64,
    /// Connections closed without an answer because even refusals were at their cap.
    pub connections_dropped: u64,
    /// Times a file of the release was missing, unreadable or of a wrong size on disk.
    pub files_unserved: u64,
}

/// How a web server does, as status shows it. SPEC §10.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpReport {
    /// What was served since it started.
    #[serde(flatten)]
    pub served: HttpSnapshot,
    /// Lines the access log lost because the disk was too slow or failed.
    pub lines_dropped: u64,
}

/// Requests for one kind of file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSnapshot {
    /// 200
    pub whole: u64,
    /// 206
    pub partial: u64,
    /// 304
    pub not_modified: u64,
    /// 4xx
    pub client_errors: u64,
    /// 5xx
    pub server_errors: u64,
    /// Answers of which not every byte was taken; they are counted above too.
    pub cut_short: u64,
    /// Bytes of bodies really sent, headers not counted.
    pub body_bytes: u64,
}

// Counters are read for display only and order nothing, so relaxed access is enough.
fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl HttpStats {
    /// All counters now. They are read one after the other, not in one instant.
    #[must_use]
    pub fn snapshot(&self) -> HttpSnapshot {
        HttpSnapshot {
            database: self.database.snapshot(),
            cdiff: self.cdiff.snapshot(),
            other: self.other.snapshot(),
            mirror_checks: value(&self.mirror_checks),
            connections: value(&self.connections),
            connections_refused: value(&self.connections_refused),
            connections_dropped: value(&self.connections_dropped),
            files_unserved: value(&self.files_unserved),
        }
    }

    pub(super) fn count(&self, record: &AccessRecord) {
        if record.is_mirror_check() {
            add(&self.mirror_checks, 1);
            return;
        }
        let kind = match record.kind {
            FileKind::Database => &self.database,
            FileKind::Cdiff => &self.cdiff,
            FileKind::Other => &self.other,
        };
        kind.count(record);
    }

    pub(super) fn count_connection(&self) {
        add(&self.connections, 1);
    }

    pub(super) fn count_refused(&self) {
        add(&self.connections_refused, 1);
    }

    pub(super) fn count_dropped(&self) {
        add(&self.connections_dropped, 1);
    }

    pub(super) fn count_unserved(&self) {
        add(&self.files_unserved, 1);
    }
}

impl KindStats {
    fn count(&self, record: &AccessRecord) {
        let by_status = match record.status {
            206 => &self.partial,
            304 => &self.not_modified,
            400..=499 => &self.client_errors,
            500..=599 => &self.server_errors,
            _ => &self.whole,
        };
        add(by_status, 1);
        add(&self.cut_short, u64::from(!record.complete));
        add(&self.body_bytes, record.body_bytes);
    }

    fn snapshot(&self) -> KindSnapshot {
        KindSnapshot {
            whole: value(&self.whole),
            partial: value(&self.partial),
            not_modified: value(&self.not_modified),
            client_errors: value(&self.client_errors),
            server_errors: value(&self.server_errors),
            cut_short: value(&self.cut_short),
            body_bytes: value(&self.body_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str, status: u16, body_bytes: u64) -> AccessRecord {
        AccessRecord {
            kind: FileKind::of(path),
            status,
            body_bytes,
            ..AccessRecord::sample()
        }
    }

    #[test]
    fn requests_are_counted_by_kind_and_status() {
        let stats = HttpStats::default();
        stats.count(&record("daily.cvd", 206, 512));
        stats.count(&record("daily.cvd", 200, 1000));
        stats.count(&record("daily.cld", 404, 10));
        stats.count(&record("daily-2.cdiff", 200, 7));
        stats.count(&record("daily-2.cdiff.sign", 304, 0));
        let counted = stats.snapshot();
        let database = KindSnapshot {
            whole: 1,
            partial: 1,
            client_errors: 1,
            body_bytes: 1522,
            ..KindSnapshot::default()
        };
        assert_eq!(counted.database, database);
        assert_eq!((counted.cdiff.whole, counted.cdiff.body_bytes), (1, 7));
        assert_eq!(counted.other.not_modified, 1);
    }

    #[test]
    fn mirror_checks_are_counted_apart() {
        let stats = HttpStats::default();
        let mut check = record("daily.cvd", 206, 512);
        check.user_agent = Some(http::HeaderValue::from_static("ClamAV-MirrorCheck/2.0"));
        stats.count(&check);
        let wanted = HttpSnapshot {
            mirror_checks: 1,
            ..HttpSnapshot::default()
        };
        assert_eq!(stats.snapshot(), wanted);
    }
}
