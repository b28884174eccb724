//! Entity tags, dates and the conditional headers. SPEC §9.4.
//!
//! Grammar and comparison: RFC 9110 §8.8, §13.

use std::fmt;
use std::time::UNIX_EPOCH;

use http::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};

/// An entity tag; `opaque` stands between the quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntityTag {
    pub(crate) weak: bool,
    pub(crate) opaque: String,
}

impl EntityTag {
    /// The tag of content with this BLAKE3 hash: its first 32 hex digits, the same on every mirror.
    pub(crate) fn of_hash(hash: &[u8; 32]) -> Self {
        let mut opaque = blake3::Hash::from_bytes(*hash).to_hex().to_string();
        opaque.truncate(32);
        Self {
            weak: false,
            opaque,
        }
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.weak { "W/" } else { "" };
        write!(f, "{prefix}\"{}\"", self.opaque)
    }
}

/// What a client can hold a file's state by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    pub(crate) etag: EntityTag,
    /// Unix seconds.
    pub(crate) last_modified_s: u64,
}

/// What the conditional headers come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Proceed,
    /// 304
    NotModified,
    /// 412
    Failed,
}

/// Evaluates the conditional headers of a GET or HEAD in the order of RFC 9110 §13.2.2.
pub(crate) fn evaluate(headers: &HeaderMap, current: &Validators) -> Outcome {
    if headers.contains_key(IF_MATCH) {
        if !any_tag_matches(headers, &IF_MATCH, &current.etag, Comparison::Strong) {
            return Outcome::Failed;
        }
    } else if let Some(date_s) = single_date(headers, &IF_UNMODIFIED_SINCE)
        && current.last_modified_s > date_s
    {
        return Outcome::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if any_tag_matches(headers, &IF_NONE_MATCH, &current.etag, Comparison::Weak) {
            return Outcome::NotModified;
        }
    } else if let Some(date_s) = single_date(headers, &IF_MODIFIED_SINCE)
        && current.last_modified_s <= date_s
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether `Range` counts: there is no `If-Range`, or it names the current state exactly.
pub(crate) fn range_applies(headers: &HeaderMap, current: &Validators) -> bool {
    if !headers.contains_key(IF_RANGE) {
        return true;
    }
    let Some(value) = single(headers, &IF_RANGE) else {
        return false;
    };
    let mut tags = Tags(value);
    match tags.next() {
        Some(tag) => {
            let only_one = tags.next().is_none();
            only_one && Comparison::Strong.holds(&tag, &current.etag)
        }
        None => parse_date_s(value) == Some(current.last_modified_s),
    }
}

/// A header's value if it came exactly once; two of them contradict each other and count as none.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

fn single_date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    parse_date_s(single(headers, name)?)
}

fn parse_date_s(text: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

impl Comparison {
    fn holds(self, theirs: &ReceivedTag<'_>, ours: &EntityTag) -> bool {
        let either_is_weak = theirs.weak || ours.weak;
        theirs.opaque == ours.opaque && (matches!(self, Self::Weak) || !either_is_weak)
    }
}

fn any_tag_matches(
    headers: &HeaderMap,
    name: &HeaderName,
    current: &EntityTag,
    comparison: Comparison,
) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.trim() == "*" || Tags(value).any(|tag| comparison.holds(&tag, current)))
}

struct ReceivedTag<'a> {
    weak: bool,
    opaque: &'a str,
}

/// The tags of a list. A comma may stand inside the quotes, so splitting at commas would be wrong.
/// Ends at the first thing that is not a tag.
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = ReceivedTag<'a>;

    fn next(&mut self) -> Option<ReceivedTag<'a>> {
        let rest = self.0.trim_start_matches([' ', '\t', ',']);
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        self.0 = after;
        Some(ReceivedTag { weak, opaque })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// 1994-11-06 08:49:37
    const MODIFIED_S: u64 = 784_111_777;
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SECOND_BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SECOND_AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn current() -> Validators {
        Validators {
            etag: EntityTag {
                weak: false,
                opaque: "abc".to_owned(),
            },
            last_modified_s: MODIFIED_S,
        }
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn if_modified_since_compares_to_the_second() {
        for (date, wanted) in [
            (SECOND_BEFORE, Outcome::Proceed),
            (MODIFIED, Outcome::NotModified),
            (SECOND_AFTER, Outcome::NotModified),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Outcome::NotModified),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Outcome::Proceed),
            ("yesterday", Outcome::Proceed),
        ] {
            let headers = headers(&[(IF_MODIFIED_SINCE, date)]);
            assert_eq!(evaluate(&headers, &current()), wanted, "{date}");
        }
    }

    #[test]
    fn if_none_match_takes_lists_stars_and_weak_tags() {
        for (list, wanted) in [
            ("\"abc\"", Outcome::NotModified),
            ("W/\"abc\"", Outcome::NotModified),
            ("*", Outcome::NotModified),
            ("\"x\", \"a,b\" ,W/\"abc\"", Outcome::NotModified),
            ("\"x\",\"abcd\"", Outcome::Proceed),
            ("abc", Outcome::Proceed),
            ("\"abc", Outcome::Proceed),
        ] {
            let headers = headers(&[(IF_NONE_MATCH, list)]);
            assert_eq!(evaluate(&headers, &current()), wanted, "{list}");
        }
    }

    #[test]
    fn if_none_match_silences_if_modified_since() {
        let headers = headers(&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, SECOND_AFTER)]);
        assert_eq!(evaluate(&headers, &current()), Outcome::Proceed);
    }

    #[test]
    fn two_dates_count_as_none() {
        let headers = [MODIFIED, SECOND_AFTER]
            .into_iter()
            .map(|date| (IF_MODIFIED_SINCE, HeaderValue::from_static(date)));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        assert_eq!(evaluate(&map, &current()), Outcome::Proceed);
    }

    #[test]
    fn preconditions_that_fail_are_said_so() {
        for (name, value, wanted) in [
            (IF_MATCH, "\"abc\"", Outcome::Proceed),
            (IF_MATCH, "*", Outcome::Proceed),
            (IF_MATCH, "W/\"abc\"", Outcome::Failed),
            (IF_MATCH, "\"x\"", Outcome::Failed),
            (IF_UNMODIFIED_SINCE, MODIFIED, Outcome::Proceed),
            (IF_UNMODIFIED_SINCE, SECOND_BEFORE, Outcome::Failed),
        ] {
            let headers = headers(&[(name.clone(), value)]);
            assert_eq!(evaluate(&headers, &current()), wanted, "{name}: {value}");
        }
    }

    #[test]
    fn if_range_wants_the_exact_strong_state() {
        for (value, wanted) in [
            ("\"abc\"", true),
            ("W/\"abc\"", false),
            ("\"x\"", false),
            ("\"abc\", \"x\"", false),
            (MODIFIED, true),
            (SECOND_AFTER, false),
            (SECOND_BEFORE, false),
            ("nonsense", false),
        ] {
            let headers = headers(&[(IF_RANGE, value)]);
            assert_eq!(range_applies(&headers, &current()), wanted, "{value}");
        }
        assert!(range_applies(&HeaderMap::new(), &current()));
    }

    #[test]
    fn a_tag_is_the_first_half_of_the_hash_in_quotes() {
        let tag = EntityTag::of_hash(blake3::hash(b"").as_bytes());
        assert_eq!(tag.to_string(), "\"af1349b9f5f9a1a6a0404dea36dcc949\"");
    }

    proptest! {
        #[test]
        fn no_header_value_panics(value in "[ -~]{0,60}") {
            for name in [IF_MATCH, IF_NONE_MATCH, IF_RANGE, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
                let headers = headers(&[(name, &value)]);
                let _ = evaluate(&headers, &current());
                let _ = range_applies(&headers, &current());
            }
        }
    }
}
