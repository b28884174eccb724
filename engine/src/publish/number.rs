//! Numbers of releases: the next one, and how far ahead one may be. SPEC §7.5, §7.8.

use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::limits;

use super::PublishError;

/// How many releases this master may have forgotten: numbers are finite, and one that was used up is used up for good,
/// so neither the word of one node nor a slip of the hand may take more of them than fewer keys may
/// (`ADDITIONS_PER_ANCHOR`, a release a day for eleven years). Whoever lost more makes a root with a higher `release_min`.
const FORGOTTEN_MAX: u64 = limits::ADDITIONS_PER_ANCHOR as u64;

/// The highest release that may have been made, when `known` is the highest that the store, this master's heads or
/// its root's floor know of. A number beyond is not believed, whoever names it.
#[must_use]
pub fn believable(known: ReleaseNumber) -> ReleaseNumber {
    ReleaseNumber(known.0.saturating_add(FORGOTTEN_MAX))
}

/// The number of the release after `newest` and above `above`, not below `floor`.
///
/// # Errors
/// [`PublishError::NumbersUsedUp`]; there is none.
pub fn next_release(
    newest: ReleaseNumber,
    floor: ReleaseNumber,
    above: ReleaseNumber,
) -> Result<ReleaseNumber, PublishError> {
    let last = newest.max(above);
    let next = last.0.checked_add(1);
    let next = next.ok_or(PublishError::NumbersUsedUp { last })?;
    Ok(ReleaseNumber(next).max(floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_next_number_and_none_follows_the_last() {
        let next = |newest, floor, above| {
            let [newest, floor, above] = [newest, floor, above].map(ReleaseNumber);
            next_release(newest, floor, above).map(|next| next.0)
        };
        assert_eq!(next(3, 0, 0).unwrap(), 4);
        assert_eq!(next(3, 9, 0).unwrap(), 9);
        assert_eq!(next(3, 0, 7).unwrap(), 8);
        assert_eq!(next(3, 0, u64::MAX - 1).unwrap(), u64::MAX);
        for (newest, above) in [(u64::MAX, 0), (3, u64::MAX)] {
            let refused = next(newest, 0, above).unwrap_err();
            assert!(matches!(refused, PublishError::NumbersUsedUp { .. }));
        }
    }
}
