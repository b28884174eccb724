//! The 512 bytes of text at the start of every container.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::{DatabaseError, DatabaseVersion};

/// Length of a container's header: fields joined by `:`, padded with blanks.
pub const HEADER_BYTES: usize = 512;

const MAGIC: &str = "ClamAV-VDB";

/// What a container says about itself. Only the MD5 is covered by the outer signature.
///
/// `ClamAV-VDB:<text time>:<version>:<signatures>:<level>:<md5>:<signature>:<builder>:<Unix time>`, see
/// `libclamav/cvd.c`, `cl_cvdparse`. The ninth field is missing in very old files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Field 2: build time as text, `%d %b %Y %H-%M %z` of the builder's zone.
    pub text_time: String,
    /// Field 3.
    pub version: DatabaseVersion,
    /// Field 4: number of signatures.
    pub signatures: u32,
    /// Field 5: functionality level; an older client only warns.
    pub level: u32,
    /// Field 6: MD5 of every byte from offset 512 on, 32 lower-case digits; `X` in a `.cld`.
    pub md5: String,
    /// Field 7: signature of that MD5; `X` in a `.cld` and where nobody signed.
    pub dsig: String,
    /// Field 8: who built it.
    pub builder: String,
    /// Field 9: build time in Unix seconds.
    pub unix_time_s: Option<u64>,
}

impl Header {
    /// Reads the first [`HEADER_BYTES`] of a file; what follows them is not looked at.
    ///
    /// # Errors
    /// `HeaderTruncated`, `HeaderByte`, `HeaderMagic`, `HeaderField` or `HeaderFieldMissing`: the file
    /// is at fault. Numbers must be plain decimals here although older clients read `12abc` as 12:
    /// newer ones refuse that (`libclamav_rust/src/cvd.rs`).
    pub fn parse(bytes: &[u8]) -> Result<Self, DatabaseError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(DatabaseError::HeaderTruncated { got: bytes.len() });
        };
        // An error page is better named as such than by its first line feed.
        if !bytes.starts_with(MAGIC.as_bytes()) {
            let got = String::from_utf8_lossy(&bytes[..MAGIC.len()]).into_owned();
            return Err(DatabaseError::HeaderMagic { got });
        }
        let unprintable = bytes.iter().position(|b| !(b' '..=b'~').contains(b));
        if let Some(offset) = unprintable {
            let byte = bytes[offset];
            return Err(DatabaseError::HeaderByte { offset, byte });
        }
        // Absent: an error, because every byte has just been found to be ASCII.
        let text = core::str::from_utf8(bytes).unwrap_or_default();
        Self::parse_text(text.trim_end_matches(' '))
    }

    /// Reads the fields without padding, as the first line of `.info` has them.
    ///
    /// # Errors
    /// `HeaderMagic`, `HeaderField` or `HeaderFieldMissing`.
    pub(super) fn parse_text(text: &str) -> Result<Self, DatabaseError> {
        let mut fields = Fields {
            fields: text.split(':'),
            number: 0,
        };
        let magic = fields.text("magic")?;
        if magic != MAGIC {
            let got = magic.to_owned();
            return Err(DatabaseError::HeaderMagic { got });
        }
        Ok(Self {
            text_time: fields.text("build time")?.to_owned(),
            version: DatabaseVersion(fields.count("version")?),
            signatures: fields.count("signatures")?,
            level: fields.count("functionality level")?,
            md5: fields.text("MD5")?.to_owned(),
            dsig: fields.text("signature")?.to_owned(),
            builder: fields.text("builder")?.to_owned(),
            unix_time_s: fields.unix_time_s()?,
        })
    }

    /// Build time in Unix seconds: field 9; where that is missing, field 2 (which has no seconds).
    ///
    /// Clients send the time of their own copy as `If-Modified-Since`, so a mirror must answer with
    /// exactly this as `Last-Modified`. `None` where neither field reads.
    #[must_use]
    pub fn build_time_s(&self) -> Option<u64> {
        self.unix_time_s
            .or_else(|| parse_text_time(&self.text_time))
    }
}

/// The header's fields in order, each named when it fails.
struct Fields<'a> {
    fields: core::str::Split<'a, char>,
    number: u8,
}

impl<'a> Fields<'a> {
    /// The next field, which must be there and not be empty.
    fn text(&mut self, name: &'static str) -> Result<&'a str, DatabaseError> {
        self.number += 1;
        let field = self.number;
        self.fields
            .next()
            .filter(|value| !value.is_empty())
            .ok_or(DatabaseError::HeaderFieldMissing { field, name })
    }

    fn count(&mut self, name: &'static str) -> Result<u32, DatabaseError> {
        let value = self.text(name)?;
        let count = decimal(value).and_then(|count| u32::try_from(count).ok());
        count.ok_or_else(|| DatabaseError::HeaderField {
            field: self.number,
            name,
            value: value.to_owned(),
            expected: "a decimal number below 4294967296",
        })
    }

    fn unix_time_s(&mut self) -> Result<Option<u64>, DatabaseError> {
        self.number += 1;
        let Some(value) = self.fields.next().filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        match decimal(value).filter(|time| *time <= UNIX_TIME_MAX) {
            Some(time) => Ok(Some(time)),
            None => Err(DatabaseError::HeaderField {
                field: self.number,
                name: "Unix time",
                value: value.to_owned(),
                expected: "seconds since 1970 before the year 10000",
            }),
        }
    }
}

/// The end of the year 9999, the last second an HTTP date can say.
const UNIX_TIME_MAX: u64 = 253_402_300_799;

/// A number of digits only; `u64::from_str` alone would take a leading `+`.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Reads `22 Jun 2021 14-58 -0400` as Unix seconds.
///
/// Hours and minutes are joined by `-` because `:` separates the header's fields.
fn parse_text_time(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_ascii_whitespace();
    let day = small(words.next()?, 1..=2)?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month_name)?;
    let year = small(words.next()?, 4..=4)?;
    let (hour, minute) = words.next()?.split_once('-')?;
    let (hour, minute) = (small(hour, 2..=2)?, small(minute, 2..=2)?);
    let zone = words.next()?;
    if words.next().is_some() || hour > 23 || minute > 59 {
        return None;
    }
    let east = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let zone = small(&zone[1..], 4..=4)?;
    let (zone_hours, zone_minutes) = (zone / 100, zone % 100);
    // The widest zone on Earth is 14 hours; a day is beyond any doubt wrong.
    if zone_hours > 23 || zone_minutes > 59 {
        return None;
    }

    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = |month: usize| match month {
        1 if leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    if year < 1970 || day < 1 || day > month_days(month) {
        return None;
    }
    let days = (1970..year).map(|y| 365 + i64::from(leap(y))).sum::<i64>()
        + (0..month).map(month_days).sum::<i64>()
        + day
        - 1;
    let minutes = (days * 24 + hour) * 60 + minute - east * (zone_hours * 60 + zone_minutes);
    u64::try_from(minutes * 60).ok()
}

/// A decimal number of `lengths` digits.
fn small(text: &str, lengths: core::ops::RangeInclusive<usize>) -> Option<i64> {
    if !lengths.contains(&text.len()) {
        return None;
    }
    decimal(text).and_then(|value| i64::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const FIELDS: [&str; 9] = [
        "ClamAV-VDB",
        "22 Jun 2021 14-58 -0400",
        "27780",
        "2076928",
        "90",
        "a4ab60ae1c1c4e8f787459102dcfd90b",
        "ttQeKz",
        "micasnyd",
        "1624388302",
    ];

    fn padded(text: &str) -> Vec<u8> {
        format!("{text:<512}").into_bytes()
    }

    /// The good header with one field replaced.
    fn with_field(field: usize, value: &str) -> Vec<u8> {
        let mut fields = FIELDS;
        fields[field - 1] = value;
        padded(&fields.join(":"))
    }

    #[test]
    fn every_field_is_read() {
        let header = Header::parse(&padded(&FIELDS.join(":"))).unwrap();
        assert_eq!(
            header,
            Header {
                text_time: "22 Jun 2021 14-58 -0400".into(),
                version: DatabaseVersion(27780),
                signatures: 2_076_928,
                level: 90,
                md5: "a4ab60ae1c1c4e8f787459102dcfd90b".into(),
                dsig: "ttQeKz".into(),
                builder: "micasnyd".into(),
                unix_time_s: Some(1_624_388_302),
            }
        );
        assert_eq!(header.build_time_s(), Some(1_624_388_302));
    }

    #[test]
    fn a_missing_ninth_field_is_replaced_by_the_text_time() {
        let header = Header::parse(&padded(&FIELDS[..8].join(":"))).unwrap();
        assert_eq!(header.unix_time_s, None);
        // The same minute as field 9 says: 14:58 four hours west of Greenwich.
        assert_eq!(header.build_time_s(), Some(1_624_388_302 / 60 * 60));
        assert_eq!(Header::parse(&with_field(9, "")).unwrap().unix_time_s, None);
    }

    #[test]
    fn the_first_eight_fields_must_be_there() {
        for have in 1..8 {
            let error = Header::parse(&padded(&FIELDS[..have].join(":"))).unwrap_err();
            let field = u8::try_from(have + 1).unwrap();
            assert!(
                matches!(error, DatabaseError::HeaderFieldMissing { field: f, .. } if f == field),
                "{have} fields: {error}"
            );
        }
        for field in 2..=8 {
            assert!(matches!(
                Header::parse(&with_field(field, "")),
                Err(DatabaseError::HeaderFieldMissing { .. })
            ));
        }
    }

    #[test]
    fn numbers_that_only_some_clients_read_are_refused() {
        for field in [3, 4, 5] {
            for value in ["x", "-1", "+1", "1x", " 1", "1 ", "4294967296", "0x10"] {
                let error = Header::parse(&with_field(field, value)).unwrap_err();
                assert!(
                    matches!(error, DatabaseError::HeaderField { field: f, .. } if usize::from(f) == field),
                    "field {field} {value:?}: {error}"
                );
            }
        }
        for value in ["x", "-1", "1e9", "253402300800", "99999999999999999999"] {
            assert!(matches!(
                Header::parse(&with_field(9, value)),
                Err(DatabaseError::HeaderField { field: 9, .. })
            ));
        }
    }

    #[test]
    fn an_error_page_is_called_one_by_its_first_bytes() {
        let page = padded("<html>\n<head><title>404 Not Found</title></head>");
        let error = Header::parse(&page).unwrap_err();
        assert_eq!(
            alloc::string::ToString::to_string(&error),
            "header field 1 (magic) is \"<html>\\n<he\", not \"ClamAV-VDB\""
        );
        assert!(matches!(
            Header::parse(&with_field(1, "ClamAV-VDBs")),
            Err(DatabaseError::HeaderMagic { .. })
        ));
    }

    #[test]
    fn bytes_clients_refuse_over_http_are_refused() {
        for byte in [0x00, 0x0a, 0x0d, 0x7f, 0x80, 0xff] {
            let mut header = padded(&FIELDS.join(":"));
            header[511] = byte;
            assert_eq!(
                Header::parse(&header),
                Err(DatabaseError::HeaderByte { offset: 511, byte })
            );
        }
    }

    #[test]
    fn a_short_file_is_refused_and_a_long_one_read_to_512() {
        let header = padded(&FIELDS.join(":"));
        assert_eq!(
            Header::parse(&header[..511]),
            Err(DatabaseError::HeaderTruncated { got: 511 })
        );
        assert_eq!(
            Header::parse(&[]),
            Err(DatabaseError::HeaderTruncated { got: 0 })
        );
        let mut long = header.clone();
        long.extend([0; 9]);
        assert_eq!(Header::parse(&long), Header::parse(&header));
    }

    #[test]
    fn text_times_count_leap_years_and_zones() {
        for (text, unix) in [
            ("01 Jan 1970 00-00 +0000", Some(0)),
            ("29 Feb 2024 23-59 +0000", Some(1_709_251_140)),
            ("01 Mar 2100 00-00 +0000", Some(4_107_542_400)),
            ("14 May 2010 09-57 -0400", Some(1_273_845_420)),
            ("1 Jan 2000 05-30 +0530", Some(946_684_800)),
            ("01 Jan 1970 00-00 +0100", None),
            ("29 Feb 2023 00-00 +0000", None),
            ("31 Apr 2023 00-00 +0000", None),
            ("00 Apr 2023 00-00 +0000", None),
            ("01 Foo 2023 00-00 +0000", None),
            ("01 Apr 23 00-00 +0000", None),
            ("01 Apr 2023 24-00 +0000", None),
            ("01 Apr 2023 00-60 +0000", None),
            ("01 Apr 2023 00:00 +0000", None),
            ("01 Apr 2023 00-00 CET", None),
            ("01 Apr 2023 00-00 é000", None),
            ("01 Apr 2023 00-00 +0060", None),
            ("01 Apr 2023 00-00", None),
            ("01 Apr 2023 00-00 +0000 x", None),
            ("", None),
        ] {
            assert_eq!(parse_text_time(text), unix, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Header::parse(&bytes);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(ClamAV-VDB:)?[ -~]{0,500}", time in "\\PC{0,40}") {
            let _ = Header::parse(&padded(&text)).map(|header| header.build_time_s());
            let _ = parse_text_time(&time);
        }
    }
}
