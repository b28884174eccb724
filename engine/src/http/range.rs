//! The `Range` header. SPEC §9.5.
//!
//! Grammar: RFC 9110 §14.1.2.

/// A stretch of a file, both ends included; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl ByteRange {
    pub(crate) fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a `Range` header comes to for a file of known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selected {
    /// The header is not a single byte range; it is ignored.
    Whole,
    /// Send this part.
    Part(ByteRange),
    /// No byte of the file is asked for.
    Unsatisfiable,
}

/// Reads `header` for a file of `size` bytes.
///
/// Several ranges in one header are ignored: no client of a mirror sends them, and answering them
/// would need multipart bodies.
pub(crate) fn select(header: &str, size: u64) -> Selected {
    let Some((unit, spec)) = header.split_once('=') else {
        return Selected::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selected::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Selected::Whole;
    };
    match (number(first), number(last)) {
        // A suffix: the last so many bytes.
        (None, Some(length)) if first.is_empty() => {
            if length == 0 || size == 0 {
                return Selected::Unsatisfiable;
            }
            part(size.saturating_sub(length), size - 1, size)
        }
        (Some(first), None) if last.is_empty() => part(first, u64::MAX, size),
        (Some(first), Some(last)) if first <= last => part(first, last, size),
        _ => Selected::Whole,
    }
}

fn part(first: u64, last: u64, size: u64) -> Selected {
    if first >= size {
        return Selected::Unsatisfiable;
    }
    Selected::Part(ByteRange {
        first,
        last: last.min(size - 1),
    })
}

/// Decimal digits only; what does not fit is as good as the largest number.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn bytes(first: u64, last: u64) -> Selected {
        Selected::Part(ByteRange { first, last })
    }

    #[test]
    fn single_ranges_are_cut_to_the_file() {
        for (header, wanted) in [
            ("bytes=0-511", bytes(0, 511)),
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=500-", bytes(500, 999)),
            ("bytes=900-2000", bytes(900, 999)),
            ("bytes=-1", bytes(999, 999)),
            ("bytes=-5000", bytes(0, 999)),
            ("Bytes= 0-9 ", bytes(0, 9)),
            ("bytes=0-99999999999999999999999", bytes(0, 999)),
            ("bytes=1000-", Selected::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selected::Unsatisfiable),
            ("bytes=-0", Selected::Unsatisfiable),
        ] {
            assert_eq!(select(header, 1000), wanted, "{header}");
        }
    }

    #[test]
    fn anything_else_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=0-5",
            "bytes=0-1,5-6",
            "bytes=0-1,",
            "bytes=0--1",
            "bytes=1 -2",
        ] {
            assert_eq!(select(header, 1000), Selected::Whole, "{header}");
        }
    }

    #[test]
    fn an_empty_file_has_no_satisfiable_range() {
        for header in ["bytes=0-511", "bytes=0-", "bytes=-1"] {
            assert_eq!(select(header, 0), Selected::Unsatisfiable, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_selected_part_always_lies_inside_the_file(
            header in "(bytes=)?[0-9]{0,25}-?[0-9]{0,25}|\\PC{0,30}",
            size in any::<u64>(),
        ) {
            if let Selected::Part(range) = select(&header, size) {
                prop_assert!(range.first <= range.last);
                prop_assert!(range.last < size);
                prop_assert!(range.length() <= size);
            }
        }
    }
}
