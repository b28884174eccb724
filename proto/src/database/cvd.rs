//! Checks a `.cvd`, `.cld` or `.cud` as its bytes stream by.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::{
    Container, Database, DatabaseError, DatabaseFile, Header, INFO_BYTES_MAX, Info, PublicKey,
    TarEvent, TarReader, Verified, VerifyPolicy, hex, is_stock_name,
};

/// Most opened bytes read from one container: ten times the largest official tar (192 MB in 2023),
/// and what a 32-bit client could still load.
pub const OPENED_BYTES_MAX: u64 = 2 << 30;

/// Whether a container's body, the bytes from offset 512 on, is a plain tar; otherwise it is gzip.
///
/// Seven bytes decide, as in `libclamav/cvd.c`, `cli_tgzload`: the tar's first member is `COPYING`.
#[must_use]
pub fn is_plain_body(body: &[u8]) -> bool {
    body.starts_with(b"COPYING")
}

/// The check of one container, bytes in and a [`Database`] out.
///
/// 1. [`CvdCheck::new`] with the file's first 512 bytes.
/// 2. Where [`CvdCheck::wants_packed`]: every byte from offset 512 on, in order, to [`CvdCheck::packed`].
/// 3. Where [`CvdCheck::wants_opened`]: the same bytes inflated, or as they are where
///    [`is_plain_body`], to [`CvdCheck::opened`].
/// 4. [`CvdCheck::finish`].
///
/// What the caller must see to: that the opened bytes are what the packed ones inflate to; that
/// inflating goes on over several gzip members and that bytes behind the last one, or a stream that
/// breaks off, are refused; and that a step of inflating hands out a bounded piece (gzip expands up to
/// 1,032 times). The sum of the pieces is bounded here by [`OPENED_BYTES_MAX`]: stop at the first error.
///
/// Memory: the `.info` and one sum per member, below 2 MiB whatever the file.
#[derive(Debug)]
pub struct CvdCheck {
    name: String,
    container: Container,
    policy: VerifyPolicy,
    keys: Keys,
    /// Absent only under [`VerifyPolicy::None`].
    header: Option<Header>,
    /// The header's MD5, where it is to be compared.
    md5: Option<[u8; 16]>,
    packed: Md5,
    opened_bytes: u64,
    tar: TarReader,
    contents: Contents,
    /// The first error, so that a caller who goes on cannot end well.
    failure: Option<DatabaseError>,
}

/// Whose signatures count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) outer: PublicKey,
    pub(super) info: PublicKey,
}

impl Keys {
    const OFFICIAL: Self = Self {
        outer: PublicKey::OUTER,
        info: PublicKey::INFO,
    };
}

impl CvdCheck {
    /// Starts the check of the file at `path` with its first 512 bytes (more are not looked at).
    ///
    /// The outer signature is checked here already: it signs the MD5 in the header.
    ///
    /// # Errors
    /// `FileName` where `path` names no container; else, unless `policy` is `None`, what
    /// [`Header::parse`] returns, `HeaderField` or `OuterSignature`: the file is at fault.
    pub fn new(policy: VerifyPolicy, path: &str, header: &[u8]) -> Result<Self, DatabaseError> {
        Self::with_keys(policy, path, header, Keys::OFFICIAL)
    }

    pub(super) fn with_keys(
        policy: VerifyPolicy,
        path: &str,
        header: &[u8],
        keys: Keys,
    ) -> Result<Self, DatabaseError> {
        let DatabaseFile::Container { name, container } = DatabaseFile::of(path) else {
            return Err(DatabaseError::FileName {
                file_name: path.to_owned(),
                expected: "<name>.cvd, .cld or .cud",
            });
        };
        let header = match (policy, Header::parse(header)) {
            (_, Ok(header)) => Some(header),
            (VerifyPolicy::None, Err(_)) => None,
            (_, Err(error)) => return Err(error),
        };
        let mut md5 = None;
        if let (
            Some(header),
            VerifyPolicy::Genuine | VerifyPolicy::Header,
            Container::Cvd | Container::Cud,
        ) = (&header, policy, container)
        {
            let sum = hex::decode(&header.md5).ok_or_else(|| DatabaseError::HeaderField {
                field: 6,
                name: "MD5",
                value: header.md5.clone(),
                expected: "32 lower-case hexadecimal digits",
            })?;
            if (policy, container) == (VerifyPolicy::Genuine, Container::Cvd) && is_stock_name(name)
            {
                let signed = keys.outer.verify_md5(&sum, &header.dsig);
                signed.map_err(DatabaseError::OuterSignature)?;
            }
            md5 = Some(sum);
        }
        Ok(Self {
            name: name.to_owned(),
            container,
            policy,
            keys,
            header,
            md5,
            packed: Md5::new(),
            opened_bytes: 0,
            tar: TarReader::new(),
            contents: Contents::default(),
            failure: None,
        })
    }

    /// What the header says; absent only where it does not parse under [`VerifyPolicy::None`].
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Whether [`Self::packed`] must see the body.
    #[must_use]
    pub fn wants_packed(&self) -> bool {
        self.md5.is_some()
    }

    /// Whether [`Self::opened`] must see the opened body.
    #[must_use]
    pub fn wants_opened(&self) -> bool {
        self.policy == VerifyPolicy::Genuine
    }

    /// Takes the next bytes of the body as they are in the file.
    pub fn packed(&mut self, bytes: &[u8]) {
        if self.wants_packed() {
            self.packed.update(bytes);
        }
    }

    /// Takes the next bytes of the opened body.
    ///
    /// # Errors
    /// `OpenedTooLarge`, or what is wrong with the tar and its members: the file is at fault. Stop
    /// inflating then; [`Self::finish`] will return the same error.
    pub fn opened(&mut self, bytes: &[u8]) -> Result<(), DatabaseError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if !self.wants_opened() {
            return Ok(());
        }
        self.opened_bytes = self.opened_bytes.saturating_add(bytes.len() as u64);
        let result = if self.opened_bytes > OPENED_BYTES_MAX {
            Err(DatabaseError::OpenedTooLarge)
        } else {
            self.tar.push(bytes, |event| self.contents.take(event))
        };
        if let Err(error) = &result {
            self.failure = Some(error.clone());
        }
        result
    }

    /// Says that the file ends here, and judges it.
    ///
    /// `None` comes back only under [`VerifyPolicy::None`], for a file without a header that parses.
    ///
    /// # Errors
    /// The first of: `Md5`; the error of [`Self::opened`]; `TarTruncated`; `InfoMissing` and what is
    /// wrong with `.info` or its signature; `HeaderDiffersFromInfo`; what is wrong with a member.
    /// The file is at fault, and nothing of it should be published.
    pub fn finish(mut self) -> Result<Option<Database>, DatabaseError> {
        let Some(header) = self.header else {
            return Ok(None);
        };
        if let Some(claimed) = self.md5 {
            let got: [u8; 16] = self.packed.finalize().into();
            if got != claimed {
                return Err(DatabaseError::Md5 {
                    header: header.md5,
                    file: hex::encode(&got),
                });
            }
        }
        let mut own_name = None;
        let verified = match self.policy {
            VerifyPolicy::None => Verified::None,
            VerifyPolicy::Header => Verified::Header,
            VerifyPolicy::Genuine => {
                if let Some(failure) = self.failure {
                    return Err(failure);
                }
                self.tar.finish()?;
                let info = self
                    .contents
                    .info
                    .take()
                    .ok_or(DatabaseError::InfoMissing)?;
                own_name = info_stem(&info.name).map(ToOwned::to_owned);
                let info = Info::parse(&info.bytes)?;
                let verified = match (self.container, info.dsig_line()) {
                    // Not told to look for a signature, clients take its line for a member's.
                    (Container::Cud, Some(line)) => {
                        return Err(DatabaseError::InfoLine {
                            line,
                            what: "a signature, which clients do not expect in a .cud",
                        });
                    }
                    (Container::Cvd | Container::Cld, _) if is_stock_name(&self.name) => {
                        info.verify(&self.keys.info)?;
                        Verified::Genuine
                    }
                    _ => Verified::Contents,
                };
                same_header(&header, &info.header)?;
                self.contents.compare(&info)?;
                verified
            }
        };
        Ok(Some(Database {
            name: self.name,
            version: header.version,
            build_time_s: header.build_time_s(),
            signatures: header.signatures,
            verified,
            own_name,
        }))
    }
}

/// What `.info` repeats of the header must be equal (`libclamav/cvd.c`, `cli_cvdload`).
fn same_header(header: &Header, info: &Header) -> Result<(), DatabaseError> {
    // A missing time counts as zero, as for clients.
    let seconds = |header: &Header| header.unix_time_s.unwrap_or(0);
    for (field, name, header, info) in [
        (
            3,
            "version",
            u64::from(header.version.0),
            u64::from(info.version.0),
        ),
        (
            4,
            "signatures",
            u64::from(header.signatures),
            u64::from(info.signatures),
        ),
        (
            5,
            "functionality level",
            u64::from(header.level),
            u64::from(info.level),
        ),
        (9, "Unix time", seconds(header), seconds(info)),
    ] {
        if header != info {
            return Err(DatabaseError::HeaderDiffersFromInfo {
                field,
                name,
                header: header.to_string(),
                info: info.to_string(),
            });
        }
    }
    Ok(())
}

/// What has been seen of the members.
#[derive(Debug, Default)]
struct Contents {
    members: BTreeMap<String, Sum>,
    info: Option<InfoMember>,
    current: Current,
}

#[derive(Debug)]
struct Sum {
    size: u64,
    sha256: [u8; 32],
}

#[derive(Debug)]
struct InfoMember {
    name: String,
    bytes: Vec<u8>,
}

/// The member passing by.
#[derive(Debug, Default)]
enum Current {
    /// None, or one that nobody checks.
    #[default]
    Ignored,
    Info,
    Summed {
        name: String,
        size: u64,
        sha256: Sha256,
    },
}

impl Contents {
    fn take(&mut self, event: TarEvent<'_>) -> Result<(), DatabaseError> {
        match event {
            TarEvent::Member { name, size } => self.start(name, size)?,
            TarEvent::Data(bytes) => match (&mut self.current, &mut self.info) {
                (Current::Summed { sha256, .. }, _) => sha256.update(bytes),
                (Current::Info, Some(info)) => info.bytes.extend_from_slice(bytes),
                _ => {}
            },
            TarEvent::End => {
                if let Current::Summed { name, size, sha256 } = core::mem::take(&mut self.current) {
                    let sha256 = sha256.finalize().into();
                    self.members.insert(name, Sum { size, sha256 });
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, name: &str, size: u64) -> Result<(), DatabaseError> {
        let name = name.to_owned();
        self.current = if name == "COPYING" {
            Current::Ignored
        } else if is_info(&name) {
            if let Some(first) = &self.info {
                let first = first.name.clone();
                return Err(DatabaseError::InfoTwice {
                    first,
                    second: name,
                });
            }
            if size > INFO_BYTES_MAX {
                return Err(DatabaseError::InfoTooLarge { name, size });
            }
            // Grows with what arrives, never by what is claimed.
            let bytes = Vec::new();
            self.info = Some(InfoMember { name, bytes });
            Current::Info
        } else if self.members.contains_key(&name) {
            return Err(DatabaseError::MemberTwice { name });
        } else {
            let sha256 = Sha256::new();
            Current::Summed { name, size, sha256 }
        };
        Ok(())
    }

    /// Whether the members are exactly those listed.
    ///
    /// Clients do not miss a listed member that is not there; we do, because a database without
    /// half of its members is still not the one that was signed.
    fn compare(mut self, info: &Info<'_>) -> Result<(), DatabaseError> {
        for listed in &info.members {
            let name = || listed.name.to_owned();
            let Some(got) = self.members.remove(listed.name) else {
                return Err(DatabaseError::MemberMissing { name: name() });
            };
            if got.size != listed.size {
                return Err(DatabaseError::MemberSize {
                    name: name(),
                    got: got.size,
                    listed: listed.size,
                });
            }
            if got.sha256 != listed.sha256 {
                return Err(DatabaseError::MemberSum {
                    name: name(),
                    got: hex::encode(&got.sha256),
                    listed: hex::encode(&listed.sha256),
                });
            }
        }
        match self.members.pop_first() {
            Some((name, _)) => Err(DatabaseError::MemberUnlisted { name }),
            None => Ok(()),
        }
    }
}

/// By its last five characters in either case, whatever stands before (`libclamav/cvd.c`).
///
/// No check compares it with the file's name, because clients do not either.
fn is_info(name: &str) -> bool {
    info_stem(name).is_some()
}

/// `daily` of `daily.info`.
fn info_stem(name: &str) -> Option<&str> {
    const SUFFIX: &str = ".info";
    let at = name.len().checked_sub(SUFFIX.len()).filter(|at| *at > 0)?;
    let (stem, suffix) = name.split_at_checked(at)?;
    suffix.eq_ignore_ascii_case(SUFFIX).then_some(stem)
}

#[cfg(test)]
#[path = "cvd_tests.rs"]
mod tests;
