//! From a request's headers and a file's facts to status and headers. Touches no file. SPEC §9.6.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use http::{Method, Response, StatusCode};

use super::conditions::{self, Outcome, Validators};
use super::range::{self, ByteRange, Selected};

/// Last second that still has a four-digit year, which the date format demands: 9999-12-31.
const HTTP_DATE_S_MAX: u64 = 253_402_300_799;

/// Asked of a client while connections are at their cap. freshclam ignores the header and comes
/// back after 5 s by itself; others should not come sooner.
pub(super) const RETRY_BUSY_S: u32 = 5;

/// Asked of a client while no release is live or a file is being mended.
pub(super) const RETRY_UNAVAILABLE_S: u32 = 60;

/// Names that carry their version never change: a day in caches covers the rush after a release,
/// and a withdrawn one is gone a day later.
const CACHE_VERSIONED: &str = "public, max-age=86400, immutable";

/// Every other name: caches may keep it but ask first. A cached header that is older than the DNS
/// record makes clients loop or give up, and asking costs a 304.
const CACHE_REVALIDATE: &str = "no-cache";

/// Errors and status: a cached 404 for a cdiff would outlive the cdiff's arrival.
const CACHE_NEVER: &str = "no-store";

/// What is known of a file before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: u64,
    pub(super) validators: Validators,
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
}

impl Facts {
    pub(super) fn new(name: &str, size: u64, validators: Validators) -> Self {
        Self {
            size,
            validators,
            content_type: content_type(name),
            cache_control: cache_control(name),
        }
    }
}

/// How a request for an existing file is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// 200
    Whole,
    /// 206
    Part(ByteRange),
    /// 304
    NotModified,
    /// 412
    ConditionFailed,
    /// 416
    Unsatisfiable,
}

impl Decision {
    fn status(self) -> StatusCode {
        match self {
            Self::Whole => StatusCode::OK,
            Self::Part(_) => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::ConditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// Offset and length of the file's bytes that a GET is answered with; `None` for those answers
    /// that carry none.
    pub(super) fn stretch(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Self::Whole => Some((0, size)),
            Self::Part(range) => Some((range.first, range.length())),
            Self::NotModified | Self::ConditionFailed | Self::Unsatisfiable => None,
        }
    }
}

/// Decides on a GET or HEAD. `Range` belongs to GET alone (RFC 9110 §14.2).
pub(super) fn decide(method: &Method, headers: &HeaderMap, facts: &Facts) -> Decision {
    match conditions::evaluate(headers, &facts.validators) {
        Outcome::NotModified => return Decision::NotModified,
        Outcome::Failed => return Decision::ConditionFailed,
        Outcome::Proceed => {}
    }
    if method != Method::GET || !conditions::range_applies(headers, &facts.validators) {
        return Decision::Whole;
    }
    let Some(header) = conditions::single(headers, &RANGE) else {
        return Decision::Whole;
    };
    match range::select(header, facts.size) {
        Selected::Whole => Decision::Whole,
        Selected::Part(range) => Decision::Part(range),
        Selected::Unsatisfiable => Decision::Unsatisfiable,
    }
}

/// Status and headers for `decision`, body still to be put in. (`Date` is added by hyper.)
pub(super) fn head(decision: Decision, facts: &Facts) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = decision.status();
    let headers = response.headers_mut();
    set(headers, ETAG, facts.validators.etag.to_string());
    set(
        headers,
        LAST_MODIFIED,
        http_date(facts.validators.last_modified_s),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(facts.cache_control));
    match decision.stretch(facts.size) {
        Some((_, length)) => {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(facts.content_type));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        // RFC 9110 §15.4.5 wants no more in a 304 than what a cache needs.
        None if decision == Decision::NotModified => {}
        None => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
    }
    match decision {
        Decision::Part(ByteRange { first, last }) => {
            let value = format!("bytes {first}-{last}/{}", facts.size);
            set(headers, CONTENT_RANGE, value);
        }
        Decision::Unsatisfiable => {
            set(headers, CONTENT_RANGE, format!("bytes */{}", facts.size));
        }
        Decision::Whole | Decision::NotModified | Decision::ConditionFailed => {}
    }
    response
}

/// Status and headers for a short text of the server's own, which is never cached.
pub(super) fn own_text(
    status: StatusCode,
    length: usize,
    content_type: &'static str,
) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(CACHE_NEVER));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Adds `Retry-After`.
pub(super) fn retry_after<B>(mut response: Response<B>, seconds: u32) -> Response<B> {
    let value = HeaderValue::from(seconds);
    response.headers_mut().insert(RETRY_AFTER, value);
    response
}

/// Unix seconds in the form of RFC 9110 §5.6.7; what lies after the year 9999 becomes its end.
pub(super) fn http_date(unix_s: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_s.min(HTTP_DATE_S_MAX)))
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Tags, dates and ranges are printable ASCII by construction; nothing foreign gets here.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// Databases and whatever is not known are plain bytes, so that no browser or proxy interprets
/// them; the rest is what an operator puts beside them.
fn content_type(name: &str) -> &'static str {
    if name == "timestamp" {
        return TEXT;
    }
    match extension(name) {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" | "md5" | "md" | "asc" | "log" => TEXT,
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => JSON,
        "xml" => "application/xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "ico" => "image/vnd.microsoft.icon",
        "pdf" => "application/pdf",
        _ => BINARY,
    }
}

fn cache_control(name: &str) -> &'static str {
    let unsigned = name.strip_suffix(".sign").unwrap_or(name);
    let versioned = match unsigned.rsplit_once('.') {
        Some((_, "cdiff")) => true,
        // `daily-27000.cvd.sign`; the `.cvd` it belongs to is never under a versioned name.
        Some((stem, "cvd")) if unsigned.len() < name.len() => {
            stem.rsplit_once('-').is_some_and(|(_, version)| {
                !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit())
            })
        }
        _ => false,
    };
    if versioned {
        CACHE_VERSIONED
    } else {
        CACHE_REVALIDATE
    }
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

#[cfg(test)]
mod tests {
    use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE};

    use super::super::conditions::EntityTag;
    use super::*;

    /// Build times of the genuine `test-1.cvd` and `test-6.cvd`.
    const BUILT_1: &str = "Tue, 22 Jun 2021 18:58:22 GMT";
    const BUILT_6: &str = "Wed, 23 Jun 2021 01:34:05 GMT";
    const BUILT_6_S: u64 = 1_624_412_045;

    fn facts(name: &str, size: u64, last_modified_s: u64) -> Facts {
        let validators = Validators {
            etag: EntityTag::of_hash(&[0xab; 32]),
            last_modified_s,
        };
        Facts::new(name, size, validators)
    }

    fn ask(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn answer(facts: &Facts, lines: &[(HeaderName, &str)]) -> (u16, u64) {
        let decision = decide(&Method::GET, &ask(lines), facts);
        let length = decision.stretch(facts.size).map_or(0, |(_, length)| length);
        (head(decision, facts).status().as_u16(), length)
    }

    fn header(response: &Response<()>, name: HeaderName) -> Option<&str> {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap())
    }

    /// The exchanges freshclam 1.4.6 has with a mirror, by `libfreshclam_internal.c`.
    #[test]
    fn freshclam_gets_the_answers_it_was_measured_to_want() {
        let probe = (RANGE, "bytes=0-511");
        let since = |date| (IF_MODIFIED_SINCE, date);
        let cvd = facts("test.cvd", 9952, BUILT_6_S);
        for (claim, file, request, wanted) in [
            ("first probe", &cvd, vec![probe.clone()], (206, 512)),
            ("whole file", &cvd, vec![], (200, 9952)),
            (
                "probe by an old client",
                &cvd,
                vec![probe.clone(), since(BUILT_1)],
                (206, 512),
            ),
            (
                "old client, whole file",
                &cvd,
                vec![since(BUILT_1)],
                (200, 9952),
            ),
            (
                "probe by an up-to-date client",
                &cvd,
                vec![probe.clone(), since(BUILT_6)],
                (304, 0),
            ),
            (
                "whole file, up to date",
                &cvd,
                vec![since(BUILT_6)],
                (304, 0),
            ),
            (
                "cdiff",
                &facts("test-2.cdiff", 765, BUILT_6_S + 100),
                vec![],
                (200, 765),
            ),
            (
                "empty cdiff: take the whole file",
                &facts("test-3.cdiff", 0, BUILT_6_S + 100),
                vec![],
                (200, 0),
            ),
            (
                "custom database, fetched after the switch",
                &facts("local.hdb", 47, BUILT_6_S - 1),
                vec![since(BUILT_6)],
                (304, 0),
            ),
            (
                "custom database, switched in since",
                &facts("local.hdb", 47, BUILT_6_S + 1),
                vec![since(BUILT_6)],
                (200, 47),
            ),
            (
                "cvdupdate's first request",
                &cvd,
                vec![since("Thu, 01 Jan 1970 00:00:00 GMT")],
                (200, 9952),
            ),
        ] {
            assert_eq!(answer(file, &request), wanted, "{claim}");
        }
    }

    #[test]
    fn a_part_says_which_and_of_how_much() {
        let facts = facts("test.cvd", 9952, BUILT_6_S);
        let response = head(
            decide(&Method::GET, &ask(&[(RANGE, "bytes=-52")]), &facts),
            &facts,
        );
        assert_eq!(response.status(), 206);
        assert_eq!(
            header(&response, CONTENT_RANGE),
            Some("bytes 9900-9951/9952")
        );
        assert_eq!(header(&response, CONTENT_LENGTH), Some("52"));
        assert_eq!(header(&response, ACCEPT_RANGES), Some("bytes"));
        assert_eq!(header(&response, LAST_MODIFIED), Some(BUILT_6));
        let tag = format!("\"{}\"", "ab".repeat(16));
        assert_eq!(header(&response, ETAG), Some(tag.as_str()));
    }

    #[test]
    fn an_unsatisfiable_range_says_the_size() {
        let facts = facts("test.cvd", 9952, BUILT_6_S);
        let response = head(
            decide(&Method::GET, &ask(&[(RANGE, "bytes=9952-")]), &facts),
            &facts,
        );
        assert_eq!(response.status(), 416);
        assert_eq!(header(&response, CONTENT_RANGE), Some("bytes */9952"));
        assert_eq!(header(&response, CONTENT_LENGTH), Some("0"));
    }

    #[test]
    fn a_stale_if_range_gets_the_whole_file() {
        let facts = facts("test.cvd", 9952, BUILT_6_S);
        let tag = facts.validators.etag.to_string();
        let range = (RANGE, "bytes=100-199");
        for (validator, wanted) in [
            (tag.as_str(), (206, 100)),
            (BUILT_6, (206, 100)),
            ("\"other\"", (200, 9952)),
            (BUILT_1, (200, 9952)),
        ] {
            let request = [range.clone(), (IF_RANGE, validator)];
            assert_eq!(answer(&facts, &request), wanted, "{validator}");
        }
    }

    #[test]
    fn a_304_carries_validators_and_no_length() {
        let facts = facts("test.cvd", 9952, BUILT_6_S);
        let request = ask(&[(IF_NONE_MATCH, "*")]);
        let response = head(decide(&Method::GET, &request, &facts), &facts);
        assert_eq!(response.status(), 304);
        assert!(header(&response, ETAG).is_some());
        assert_eq!(header(&response, LAST_MODIFIED), Some(BUILT_6));
        assert_eq!(header(&response, CONTENT_LENGTH), None);
    }

    #[test]
    fn head_ignores_range() {
        let facts = facts("test.cvd", 9952, BUILT_6_S);
        let request = ask(&[(RANGE, "bytes=0-511")]);
        assert_eq!(decide(&Method::HEAD, &request, &facts), Decision::Whole);
    }

    #[test]
    fn only_names_with_a_version_are_cached_unasked() {
        for (name, wanted) in [
            ("daily-27000.cdiff", CACHE_VERSIONED),
            ("daily-27000.cdiff.sign", CACHE_VERSIONED),
            ("daily-27000.cvd.sign", CACHE_VERSIONED),
            ("daily.cvd", CACHE_REVALIDATE),
            ("daily-27000.cvd", CACHE_REVALIDATE),
            ("daily-.cvd.sign", CACHE_REVALIDATE),
            ("extra.hdb", CACHE_REVALIDATE),
            ("local_logo.png", CACHE_REVALIDATE),
        ] {
            assert_eq!(cache_control(name), wanted, "{name}");
        }
    }

    #[test]
    fn databases_are_bytes_and_pages_are_pages() {
        for (name, wanted) in [
            ("daily.cvd", BINARY),
            ("daily-2.cdiff", BINARY),
            ("extra.hdb", BINARY),
            ("viruses.db", BINARY),
            ("database/viruses.md5", TEXT),
            ("timestamp", TEXT),
            ("index.html", "text/html; charset=utf-8"),
            ("local_logo.png", "image/png"),
        ] {
            assert_eq!(content_type(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_time_past_the_format_is_its_last_second() {
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
