//! The `.info` member: what the container's header says, once more, and what its members must be.

use alloc::boxed::Box;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use super::header::decimal;
use super::{DatabaseError, Header, MEMBER_BYTES_MAX, PublicKey, hex};

/// Largest `.info` kept in memory: [`MEMBERS_MAX`](super::MEMBERS_MAX) lines of the longest possible name,
/// size and sum, and the two lines around them, stay below it.
pub const INFO_BYTES_MAX: u64 = 1 << 20;

/// A line `name:size:sha256` of an `.info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedMember<'a> {
    /// The member's name; not empty, otherwise unchecked.
    pub name: &'a str,
    /// Its exact size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// An `.info` as it reads; its signature is not checked before [`Info::verify`].
///
/// Line 1 repeats the container's header with `X` for MD5 and signature; then one line per member except
/// `COPYING` and the `.info` itself; last `DSIG:<signature>` over all bytes above it (`sigtool/sigtool.c`,
/// `writeinfo`; `libclamav/readdb.c`, `cli_loadinfo`). An unsigned container has no last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info<'a> {
    /// Line 1.
    pub header: Header,
    /// In the order of the lines.
    pub members: Vec<ListedMember<'a>>,
    /// What the signature covers.
    signed: &'a [u8],
    /// The line number and text of the signature.
    dsig: Option<(usize, &'a str)>,
}

impl<'a> Info<'a> {
    /// Reads an `.info`; the caller has bounded it by [`INFO_BYTES_MAX`].
    ///
    /// # Errors
    /// `InfoLine` or `InfoHeader`: the file is at fault. Lines below the signature are refused, although
    /// clients ignore them: nobody vouches for those.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DatabaseError> {
        let fault = |line, what| Err(DatabaseError::InfoLine { line, what });
        let mut header = None;
        let mut members = Vec::new();
        let mut signed = bytes;
        let mut dsig = None;
        let mut rest = bytes;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let start = bytes.len() - rest.len();
            let end = rest.iter().position(|b| *b == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[], |end| &rest[end + 1..]);

            let text = match core::str::from_utf8(line) {
                Ok(text) if line.iter().all(|b| (b' '..=b'~').contains(b)) => text,
                _ => return fault(number, "not printable ASCII"),
            };
            if dsig.is_some() {
                return fault(
                    number,
                    "text below the DSIG line, which no signature covers",
                );
            }
            if header.is_none() {
                let parsed = Header::parse_text(text);
                header = Some(parsed.map_err(|error| DatabaseError::InfoHeader(Box::new(error)))?);
            } else if let Some(text) = text.strip_prefix("DSIG:") {
                signed = &bytes[..start];
                dsig = Some((number, text));
            } else {
                match listed(text) {
                    Some(member) => members.push(member),
                    None => return fault(number, "not name:size:SHA-256"),
                }
            }
        }
        match header {
            Some(header) => Ok(Self {
                header,
                members,
                signed,
                dsig,
            }),
            None => fault(1, "the file is empty"),
        }
    }

    /// Whether the signature holds under `key`.
    ///
    /// # Errors
    /// `InfoUnsigned` or `InfoSignature`: the file's builder is at fault, or whoever edited it.
    pub fn verify(&self, key: &PublicKey) -> Result<(), DatabaseError> {
        let (line, dsig) = self.dsig.ok_or(DatabaseError::InfoUnsigned)?;
        let digest = Sha256::digest(self.signed);
        key.verify_pss(&digest.into(), dsig)
            .map_err(|source| DatabaseError::InfoSignature { line, source })
    }

    /// The line number of the signature, where there is one.
    #[must_use]
    pub fn dsig_line(&self) -> Option<usize> {
        self.dsig.map(|(line, _)| line)
    }
}

fn listed(line: &str) -> Option<ListedMember<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let size = decimal(fields.next()?).filter(|size| *size <= MEMBER_BYTES_MAX)?;
    let sha256 = hex::decode(fields.next()?)?;
    fields
        .next()
        .is_none()
        .then_some(ListedMember { name, size, sha256 })
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::prelude::*;

    use super::super::samples::INFO;
    use super::*;

    const HEAD: &str = "ClamAV-VDB:22 Jun 2021 14-58 -0400:1:0:81:X:X:tester:1624388302\n";

    fn with_lines(lines: &str) -> String {
        format!("{HEAD}{lines}")
    }

    fn sum(digit: &str) -> String {
        digit.repeat(64)
    }

    #[test]
    fn lines_are_read_in_order() {
        let text = with_lines(&format!(
            "b.ndb:7:{}\na.hdb:0:{}\nDSIG:abc\n",
            sum("0"),
            sum("f")
        ));
        let info = Info::parse(text.as_bytes()).unwrap();
        assert_eq!(info.header.unix_time_s, Some(1_624_388_302));
        assert_eq!(
            info.members,
            [
                ListedMember {
                    name: "b.ndb",
                    size: 7,
                    sha256: [0; 32]
                },
                ListedMember {
                    name: "a.hdb",
                    size: 0,
                    sha256: [0xff; 32]
                },
            ]
        );
        assert_eq!(info.dsig_line(), Some(4));
        assert_eq!(info.signed, &text.as_bytes()[..text.find("DSIG").unwrap()]);
    }

    #[test]
    fn the_last_line_feed_may_be_missing() {
        let text = with_lines("DSIG:abc");
        assert_eq!(Info::parse(text.as_bytes()).unwrap().dsig_line(), Some(2));
    }

    #[test]
    fn lines_that_clients_misread_are_refused() {
        let good = sum("0");
        for line in [
            "",
            "a.ndb",
            "a.ndb:1",
            ":1:0",
            &format!(":1:{good}"),
            &format!("a.ndb:1:{good}:"),
            &format!("a.ndb:+1:{good}"),
            &format!("a.ndb::{good}"),
            &format!("a.ndb:4294967296:{good}"),
            &format!("a.ndb:1:{}", &good[1..]),
            &format!("a.ndb:1:{}", sum("A")),
            &format!("a.ndb:1:{good}\r"),
        ] {
            let text = with_lines(&format!("{line}\nDSIG:abc\n"));
            assert!(
                matches!(
                    Info::parse(text.as_bytes()),
                    Err(DatabaseError::InfoLine { line: 2, .. })
                ),
                "{line:?}"
            );
        }
    }

    #[test]
    fn nothing_may_stand_below_the_signature() {
        for below in ["\n", "a.ndb:1:0\n", "DSIG:abc\n"] {
            let text = with_lines(&format!("DSIG:abc\n{below}"));
            assert!(matches!(
                Info::parse(text.as_bytes()),
                Err(DatabaseError::InfoLine { line: 3, .. })
            ));
        }
    }

    #[test]
    fn the_first_line_must_be_a_header() {
        assert!(matches!(
            Info::parse(b""),
            Err(DatabaseError::InfoLine { line: 1, .. })
        ));
        for text in ["\n", "DSIG:abc\n", "a.ndb:1:0\n", "ClamAV-VDB:x:1:0\n"] {
            assert!(
                matches!(
                    Info::parse(text.as_bytes()),
                    Err(DatabaseError::InfoHeader(_))
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_signature_covers_every_byte_above_it() {
        let above = with_lines(&format!("a.ndb:1:{}\n", sum("0")));
        let dsig = INFO.sign_pss(&Sha256::digest(&above).into());
        let good = format!("{above}DSIG:{dsig}\n");
        assert_eq!(
            Info::parse(good.as_bytes()).unwrap().verify(&INFO.public),
            Ok(())
        );
        let forged = good.replace("a.ndb:1:", "a.ndb:2:");
        assert!(matches!(
            Info::parse(forged.as_bytes()).unwrap().verify(&INFO.public),
            Err(DatabaseError::InfoSignature { line: 3, .. })
        ));
        assert_eq!(
            Info::parse(above.as_bytes()).unwrap().verify(&INFO.public),
            Err(DatabaseError::InfoUnsigned)
        );
    }

    #[test]
    fn the_largest_list_fits_the_bound() {
        let line = 100 + 1 + 10 + 1 + 64 + 1;
        let around = 2 * super::super::HEADER_BYTES;
        assert!((super::super::MEMBERS_MAX * line + around) as u64 <= INFO_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = Info::parse(&bytes);
        }

        #[test]
        fn arbitrary_lines_never_panic(lines in "([a-z.]{0,3}:?[0-9]{0,3}:?[0-9a-f]{0,65}\n?|DSIG:[a-z]{0,3}\n?){0,5}") {
            let _ = Info::parse(with_lines(&lines).as_bytes());
        }
    }
}
