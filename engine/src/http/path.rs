//! From a request target to a name that is safe to open. SPEC §9.2.

/// Longest decoded path looked at, in bytes: what Linux takes in one call (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

/// Prefix of the names that belong to the mirror's operator.
const LOCAL_PREFIX: &str = "local_";

/// What a request target asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestPath {
    /// `/`
    Root,
    /// Anything below it.
    Name(SafeName),
}

/// A relative path without empty parts, parts that begin with a dot, NUL or backslash.
///
/// Comes only out of [`decode`], so holding one means the checks were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SafeName(String);

impl SafeName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is the operator's (`local_*` at the top level, or below such a directory).
    pub(crate) fn is_local(&self) -> bool {
        self.0.starts_with(LOCAL_PREFIX)
    }
}

/// Decodes the path part of a request target, or says `None`, which is answered 404.
///
/// Repeated slashes count as one, as with Apache: a client whose mirror is configured as
/// `http://mirror/` asks for `//daily.cvd`. An encoded slash, a broken escape and text that is not
/// UTF-8 name nothing here.
pub(crate) fn decode(target: &str) -> Option<RequestPath> {
    let rest = target.strip_prefix('/')?;
    let decoded = percent_decode(rest.as_bytes())?;
    if decoded.len() > PATH_BYTES_MAX {
        return None;
    }
    let decoded = String::from_utf8(decoded).ok()?;
    if decoded.bytes().any(|byte| matches!(byte, 0 | b'\\')) {
        return None;
    }
    let mut name = String::with_capacity(decoded.len());
    for part in decoded.split('/').filter(|part| !part.is_empty()) {
        if part.starts_with('.') {
            return None;
        }
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(part);
    }
    if name.is_empty() {
        return Some(RequestPath::Root);
    }
    // A directory's address; there are no listings.
    if decoded.ends_with('/') {
        return None;
    }
    Some(RequestPath::Name(SafeName(name)))
}

fn percent_decode(raw: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let value = hex_digit(*bytes.next()?)? << 4 | hex_digit(*bytes.next()?)?;
        // Splitting after decoding would let `%2f` make parts that a proxy in front never saw.
        if value == b'/' {
            return None;
        }
        decoded.push(value);
    }
    Some(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(target: &str) -> Option<String> {
        match decode(target) {
            Some(RequestPath::Name(name)) => Some(name.0),
            Some(RequestPath::Root) => Some(String::new()),
            None => None,
        }
    }

    #[test]
    fn ordinary_names_decode() {
        for (target, wanted) in [
            ("/", ""),
            ("//", ""),
            ("/daily.cvd", "daily.cvd"),
            ("//daily.cvd", "daily.cvd"),
            ("/database//viruses.md5", "database/viruses.md5"),
            ("/d%61ily%2ecvd", "daily.cvd"),
            ("/local_a%20b.png", "local_a b.png"),
            ("/a+b", "a+b"),
        ] {
            assert_eq!(name(target).as_deref(), Some(wanted), "{target}");
        }
    }

    #[test]
    fn unsafe_and_broken_targets_name_nothing() {
        for target in [
            "",
            "*",
            "daily.cvd",
            "/..",
            "/../etc/passwd",
            "/a/../b",
            "/%2e%2e/etc/passwd",
            "/.%2e/x",
            "/.tidecast/current/daily.cvd",
            "/%2etidecast/x",
            "/a/.hidden",
            "/./daily.cvd",
            "/a\\b",
            "/a%5cb",
            "/a%00b",
            "/a%2fb",
            "/a%2Fb",
            "/a%",
            "/a%4",
            "/a%zz",
            "/%ff",
            "/dir/",
        ] {
            assert_eq!(name(target), None, "{target}");
        }
        assert_eq!(name(&format!("/{}", "a".repeat(PATH_BYTES_MAX + 1))), None);
    }

    #[test]
    fn only_the_first_part_makes_a_name_local() {
        for (target, wanted) in [
            ("/local_logo.png", true),
            ("/local_dir/x", true),
            ("/pub/local_x", false),
            ("/Local_x", false),
        ] {
            let Some(RequestPath::Name(name)) = decode(target) else {
                panic!("{target} did not decode");
            };
            assert_eq!(name.is_local(), wanted, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_target_decodes_to_an_unsafe_name(
            target in "/?([a-zA-Z.%/\\\\]|%2[eEfF]|%5[cC]|%00|\\.\\.|\\PC){0,40}",
        ) {
            if let Some(RequestPath::Name(name)) = decode(&target) {
                let name = name.as_str();
                prop_assert!(!name.is_empty());
                prop_assert!(!name.contains(['\0', '\\']));
                for part in name.split('/') {
                    prop_assert!(!part.is_empty());
                    prop_assert!(!part.starts_with('.'));
                }
            }
        }
    }
}
