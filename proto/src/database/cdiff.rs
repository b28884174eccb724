//! The frame of a `.cdiff`: header, packed script, signature.

use sha2::{Digest, Sha256};

use super::header::decimal;
use super::{
    DSIG_CHARS_MAX, DatabaseError, DatabaseFile, DatabaseVersion, PublicKey, Verified,
    VerifyPolicy, is_stock_name,
};

/// Fewest bytes of a cdiff that is not empty: clients read its last 350 before anything else.
pub const CDIFF_BYTES_MIN: usize = DSIG_CHARS_MAX;

const MAGIC: &[u8] = b"ClamAV-Diff:";

/// Header bytes searched for its colons: the magic and two numbers of at most ten digits fit twice.
const HEADER_SEARCH_BYTES: usize = 64;

/// A checked `.cdiff`, which turns one version of a database into the next.
///
/// `ClamAV-Diff:<version>:<script length>:`, one gzip stream, `:`, signature over every byte before that
/// last colon (`libclamav_rust/src/cdiff.rs`). [`ScriptCheck`](super::ScriptCheck) reads the opened script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cdiff<'a> {
    /// The version it leads to, by the file's name.
    pub version: DatabaseVersion,
    /// Absent in a file of no bytes, which is legal and tells clients to take the whole `.cvd`; and under
    /// [`VerifyPolicy::None`] in one that does not read.
    pub content: Option<CdiffContent<'a>>,
    /// How much of it was checked. An empty file promises nothing and is as genuine as any.
    pub verified: Verified,
}

/// What a `.cdiff` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CdiffContent<'a> {
    /// Length of the opened script by the header. Clients only print it.
    pub script_bytes: u64,
    /// The gzip stream. The caller inflates it, in bounded pieces, and refuses bytes behind its end.
    pub packed: &'a [u8],
}

impl<'a> Cdiff<'a> {
    /// Checks the whole file `bytes` at `path` as `policy` asks.
    ///
    /// # Errors
    /// `FileName` where `path` names no cdiff; `CdiffForm`, `CdiffVersion`; under
    /// [`VerifyPolicy::Genuine`] and a stock name `CdiffSignature`. The file is at fault.
    pub fn check(policy: VerifyPolicy, path: &str, bytes: &'a [u8]) -> Result<Self, DatabaseError> {
        Self::with_key(policy, path, bytes, PublicKey::CDIFF)
    }

    pub(super) fn with_key(
        policy: VerifyPolicy,
        path: &str,
        bytes: &'a [u8],
        key: PublicKey,
    ) -> Result<Self, DatabaseError> {
        let DatabaseFile::Cdiff { name, version } = DatabaseFile::of(path) else {
            return Err(DatabaseError::FileName {
                file_name: path.into(),
                expected: "<name>-<version>.cdiff",
            });
        };
        let cdiff = |content, verified| Self {
            version,
            content,
            verified,
        };
        if policy == VerifyPolicy::None {
            let content = Frame::parse(bytes).ok().map(|frame| frame.content);
            return Ok(cdiff(content, Verified::None));
        }
        let signed = policy == VerifyPolicy::Genuine && is_stock_name(name);
        let verified = if signed {
            Verified::Genuine
        } else {
            Verified::Header
        };
        if bytes.is_empty() {
            return Ok(cdiff(None, verified));
        }
        let frame = Frame::parse(bytes)?;
        if frame.version != version {
            return Err(DatabaseError::CdiffVersion {
                header: frame.version,
                name: version,
            });
        }
        if signed {
            let digest = Sha256::digest(frame.signed);
            key.verify_pss(&digest.into(), frame.dsig)
                .map_err(DatabaseError::CdiffSignature)?;
        }
        Ok(cdiff(Some(frame.content), verified))
    }
}

/// The parts of a cdiff.
struct Frame<'a> {
    version: DatabaseVersion,
    content: CdiffContent<'a>,
    signed: &'a [u8],
    dsig: &'a str,
}

impl<'a> Frame<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DatabaseError> {
        let fault = |what| DatabaseError::CdiffForm { what };
        if !bytes.starts_with(MAGIC) {
            return Err(fault("it does not start with \"ClamAV-Diff:\""));
        }
        if bytes.len() < CDIFF_BYTES_MIN {
            return Err(fault("it is shorter than 350 bytes"));
        }
        let (version, rest) = number(&bytes[MAGIC.len()..]).ok_or(fault(
            "header field 2 (version) is not a number below 4294967296",
        ))?;
        let (script_bytes, rest) = number(rest).ok_or(fault(
            "header field 3 (script length) is not a number below 4294967296",
        ))?;

        // The last 350 bytes, as far as they lie behind the header.
        let tail = &rest[rest.len().saturating_sub(DSIG_CHARS_MAX)..];
        let colon = tail
            .iter()
            .rposition(|b| *b == b':')
            .ok_or(fault("no ':' before a signature in its last 350 bytes"))?;
        let dsig = core::str::from_utf8(&tail[colon + 1..])
            .map_err(|_| fault("what follows its last ':' is not text"))?;
        let footer = tail.len() - colon;
        let packed = &rest[..rest.len() - footer];
        if !packed.starts_with(&[0x1f, 0x8b]) {
            return Err(fault("no gzip stream follows its header"));
        }
        Ok(Self {
            version: DatabaseVersion(version),
            content: CdiffContent {
                script_bytes: u64::from(script_bytes),
                packed,
            },
            signed: &bytes[..bytes.len() - footer],
            dsig,
        })
    }
}

/// A decimal number that ends in a colon, and what follows that.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let head = &bytes[..bytes.len().min(HEADER_SEARCH_BYTES)];
    let colon = head.iter().position(|b| *b == b':')?;
    let digits = core::str::from_utf8(&bytes[..colon]).ok()?;
    let number = u32::try_from(decimal(digits)?).ok()?;
    Some((number, &bytes[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::super::samples::{self, cdiff};
    use super::*;

    /// Incompressible, so that the file is longer than the shortest one.
    fn script() -> Vec<u8> {
        let noise = (0_u32..80).map(|i| format!("ADD {:08x}\n", i.wrapping_mul(2_654_435_761)));
        let lines: alloc::string::String = noise.collect();
        format!("OPEN test.ndb\n{lines}CLOSE\n").into_bytes()
    }

    fn check<'a>(
        policy: VerifyPolicy,
        path: &str,
        bytes: &'a [u8],
    ) -> Result<Cdiff<'a>, DatabaseError> {
        Cdiff::with_key(policy, path, bytes, samples::CDIFF.public)
    }

    #[test]
    fn a_signed_cdiff_gives_up_its_script() {
        let bytes = cdiff("7", &script());
        let cdiff = check(VerifyPolicy::Genuine, "x/daily-7.cdiff", &bytes).unwrap();
        assert_eq!(cdiff.version, DatabaseVersion(7));
        assert_eq!(cdiff.verified, Verified::Genuine);
        let content = cdiff.content.unwrap();
        assert_eq!(content.script_bytes, script().len() as u64);
        assert_eq!(samples::gunzip(content.packed), Some(script()));
    }

    #[test]
    fn any_flipped_bit_is_refused_under_a_stock_name() {
        let good = cdiff("7", &script());
        // Every seventh bit: the step is coprime to eight, so each bit of a byte gets its turn.
        for bit in (0..good.len() * 8).step_by(7) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                check(VerifyPolicy::Genuine, "daily-7.cdiff", &bad).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_cdiff_under_another_key_is_refused_under_a_stock_name_only() {
        let bytes = cdiff("7", &script());
        assert!(matches!(
            Cdiff::check(VerifyPolicy::Genuine, "daily-7.cdiff", &bytes),
            Err(DatabaseError::CdiffSignature(_))
        ));
        let own = Cdiff::check(VerifyPolicy::Genuine, "own-7.cdiff", &bytes).unwrap();
        assert_eq!(own.verified, Verified::Header);
        let header = Cdiff::check(VerifyPolicy::Header, "daily-7.cdiff", &bytes).unwrap();
        assert_eq!(header.verified, Verified::Header);
    }

    #[test]
    fn the_name_must_carry_the_headers_version() {
        let bytes = cdiff("7", &script());
        for policy in [VerifyPolicy::Genuine, VerifyPolicy::Header] {
            assert_eq!(
                check(policy, "daily-8.cdiff", &bytes),
                Err(DatabaseError::CdiffVersion {
                    header: DatabaseVersion(7),
                    name: DatabaseVersion(8)
                })
            );
        }
        let unchecked = check(VerifyPolicy::None, "daily-8.cdiff", &bytes).unwrap();
        assert_eq!(unchecked.verified, Verified::None);
    }

    #[test]
    fn no_bytes_at_all_are_legal_but_few_are_not() {
        let empty = check(VerifyPolicy::Genuine, "daily-8.cdiff", b"").unwrap();
        assert_eq!((empty.version, empty.content), (DatabaseVersion(8), None));
        let bytes = cdiff("8", &script());
        for cut in [1, 11, 12, 40, 349, 350, bytes.len() - 1] {
            assert!(
                check(VerifyPolicy::Genuine, "daily-8.cdiff", &bytes[..cut]).is_err(),
                "{cut}"
            );
        }
    }

    #[test]
    fn other_files_under_the_name_are_told_apart() {
        let mut page = b"<html>\n".to_vec();
        page.resize(1000, b'x');
        assert!(matches!(
            check(VerifyPolicy::Header, "daily-8.cdiff", &page),
            Err(DatabaseError::CdiffForm { .. })
        ));
        let none = check(VerifyPolicy::None, "daily-8.cdiff", &page).unwrap();
        assert_eq!(none.content, None);
        assert!(matches!(
            check(VerifyPolicy::None, "daily.cvd", &page),
            Err(DatabaseError::FileName { .. })
        ));
        for version in ["", "x", "-1", "+1", "4294967296", "99999999999999999999"] {
            assert!(matches!(
                check(
                    VerifyPolicy::Header,
                    "daily-1.cdiff",
                    &cdiff(version, &script())
                ),
                Err(DatabaseError::CdiffForm { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            head in "(ClamAV-Diff:)?[0-9:]{0,30}",
            tail in prop::collection::vec(any::<u8>(), 0..800),
        ) {
            let bytes = [head.as_bytes(), &tail].concat();
            let _ = Frame::parse(&bytes);
            let _ = Cdiff::check(VerifyPolicy::Header, "daily-1.cdiff", &bytes);
        }
    }
}
