//! "Did you mean ...?" for a mistyped field of a configuration.

/// Names less alike than this are not worth guessing (0 nothing in common, 1 equal).
const ALIKE_MIN: f64 = 0.7;

/// Reads serde's message about an unknown field, and names the field that was probably meant.
pub(crate) fn for_unknown_field(message: &str) -> Option<String> {
    let names = message.strip_prefix("unknown field ")?;
    let mut quoted = names.split('`').skip(1).step_by(2);
    let typed = quoted.next()?;
    let meant = nearest(typed, quoted)?;
    Some(format!("did you mean `{meant}`?"))
}

/// The candidate most like `typed`, if any is like it at all.
pub(crate) fn nearest<'a>(
    typed: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(typed, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_field_is_offered() {
        let message =
            "unknown field `upstream`, expected one of `fingerprint`, `upstreams`, `docroot`";
        assert_eq!(
            for_unknown_field(message).unwrap(),
            "did you mean `upstreams`?"
        );
        let message = "unknown field `docrot`, expected `docroot` or `name`";
        assert_eq!(
            for_unknown_field(message).unwrap(),
            "did you mean `docroot`?"
        );
    }

    #[test]
    fn nothing_is_guessed_from_nothing_alike_or_from_another_message() {
        assert_eq!(
            for_unknown_field("unknown field `qqq`, expected `docroot` or `name`"),
            None
        );
        assert_eq!(for_unknown_field("missing field `docroot`"), None);
    }
}
