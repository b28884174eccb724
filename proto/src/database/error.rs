//! Why a database file was refused.

use alloc::string::String;

use super::dsig::DsigError;
use super::{DatabaseVersion, INFO_BYTES_MAX, MEMBERS_MAX, OPENED_BYTES_MAX};

/// Why a database file was refused: the file is at fault, never the machine.
///
/// The path is not in here; the caller knows it and puts it in front.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The caller's mistake: it asked for the wrong check.
    #[error("{file_name:?} is not named like {expected}")]
    FileName {
        file_name: String,
        expected: &'static str,
    },

    /// An upload that broke off, or a file that is no database.
    #[error("header: only {got} bytes, a database starts with 512")]
    HeaderTruncated { got: usize },

    /// Clients refuse a header that is not printable text (libfreshclam, `remote_cvdhead`).
    #[error("header: byte {byte:#04x} at offset {offset} is not printable ASCII")]
    HeaderByte { offset: usize, byte: u8 },

    /// Not a database at all: an error page saved under its name, for instance.
    #[error("header field 1 (magic) is {got:?}, not \"ClamAV-VDB\"")]
    HeaderMagic { got: String },

    /// Damaged, or built by a broken tool.
    #[error("header field {field} ({name}) is {value:?}, not {expected}")]
    HeaderField {
        field: u8,
        name: &'static str,
        value: String,
        expected: &'static str,
    },

    /// Fewer fields than every client needs.
    #[error("header field {field} ({name}) is missing")]
    HeaderFieldMissing { field: u8, name: &'static str },

    /// Damaged after it was built, most often truncated.
    #[error("header field 6 (MD5) says {header}, the file's bytes from offset 512 give {file}")]
    Md5 { header: String, file: String },

    /// Built without the official key, or the header was edited.
    #[error("header field 7 (signature) does not sign the MD5 of field 6")]
    OuterSignature(#[source] DsigError),

    /// The opened content is larger than anything clients could load.
    #[error("opened content is larger than {OPENED_BYTES_MAX} bytes")]
    OpenedTooLarge,

    /// The tar inside is damaged or of a form that clients refuse (`libclamav/cvd.c`, `cli_tgzload`).
    #[error("tar header at opened offset {offset}: {what}")]
    TarHeader { offset: u64, what: &'static str },

    /// The tar's end is missing.
    #[error("tar ends at opened offset {offset}, {missing} bytes before the end of {what}")]
    TarTruncated {
        offset: u64,
        missing: u64,
        what: String,
    },

    /// Far more than any database has.
    #[error("tar has more than {MEMBERS_MAX} members")]
    TooManyMembers,

    /// Clients would load it twice.
    #[error("member {name} is there twice")]
    MemberTwice { name: String },

    /// Without it clients cannot check anything inside.
    #[error("no .info member")]
    InfoMissing,

    /// Clients read the first and ignore the second; a tool may do the opposite.
    #[error("two .info members, {first} and {second}")]
    InfoTwice { first: String, second: String },

    /// Refused before it is kept in memory.
    #[error("member {name} is {size} bytes, a .info has at most {INFO_BYTES_MAX}")]
    InfoTooLarge { name: String, size: u64 },

    /// Damaged or built by a broken tool.
    #[error(".info line {line}: {what}")]
    InfoLine { line: usize, what: &'static str },

    /// Its first line repeats the header's fields and these do not read.
    #[error(".info line 1 does not read as a header")]
    InfoHeader(#[source] alloc::boxed::Box<DatabaseError>),

    /// Stock clients say "Digital signature not found".
    #[error(".info has no DSIG line")]
    InfoUnsigned,

    /// Forged: the list of members, or the numbers above it, are not what was signed.
    #[error(".info line {line} (DSIG) does not sign the lines above it")]
    InfoSignature {
        line: usize,
        #[source]
        source: DsigError,
    },

    /// The header was edited after the file was signed; the MD5 does not cover it.
    #[error("header field {field} ({name}) says {header}, .info says {info}")]
    HeaderDiffersFromInfo {
        field: u8,
        name: &'static str,
        header: String,
        info: String,
    },

    /// Added after `.info` was written.
    #[error("member {name} is not listed in .info")]
    MemberUnlisted { name: String },

    /// Left out after `.info` was written.
    #[error("member {name} is listed in .info but not there")]
    MemberMissing { name: String },

    /// Changed after `.info` was written.
    #[error("member {name} has {got} bytes, .info says {listed}")]
    MemberSize { name: String, got: u64, listed: u64 },

    /// Changed after `.info` was written.
    #[error("member {name} has SHA-256 {got}, .info says {listed}")]
    MemberSum {
        name: String,
        got: String,
        listed: String,
    },

    /// Damaged, or no cdiff at all.
    #[error("cdiff: {what}")]
    CdiffForm { what: &'static str },

    /// Clients ask by name and would apply the wrong script.
    #[error("cdiff header says version {header}, its name says {name}")]
    CdiffVersion {
        header: DatabaseVersion,
        name: DatabaseVersion,
    },

    /// Damaged, edited, or made without the official key.
    #[error("cdiff: what follows its last ':' does not sign the bytes before it")]
    CdiffSignature(#[source] DsigError),

    /// Clients would stop at this line and fetch the whole database instead.
    #[error("cdiff script line {line}: {what}")]
    Script { line: u64, what: &'static str },
}

impl DatabaseError {
    /// What the person who publishes can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::FileName { .. } => {
                "give the file the name clients ask for, such as daily.cvd or daily-27780.cdiff"
            }
            Self::HeaderTruncated { .. }
            | Self::Md5 { .. }
            | Self::TarTruncated { .. }
            | Self::CdiffForm { .. } => {
                "the file is damaged or was still being written: copy it again from where it was built"
            }
            Self::HeaderByte { .. }
            | Self::HeaderMagic { .. }
            | Self::HeaderField { .. }
            | Self::HeaderFieldMissing { .. } => {
                "look at it with `head -c 512`: it may be an error page or another file under this name"
            }
            Self::OuterSignature(_)
            | Self::InfoUnsigned
            | Self::InfoSignature { .. }
            | Self::CdiffSignature(_) => {
                "stock clients refuse it; fetch the official file again, or publish your own database as \
                 .cud or under another name"
            }
            Self::HeaderDiffersFromInfo { .. } => {
                "the header was changed after the file was built: build or fetch it again"
            }
            Self::CdiffVersion { .. } => "rename the file to the version its header says",
            Self::OpenedTooLarge
            | Self::TarHeader { .. }
            | Self::TooManyMembers
            | Self::MemberTwice { .. }
            | Self::InfoMissing
            | Self::InfoTwice { .. }
            | Self::InfoTooLarge { .. }
            | Self::InfoLine { .. }
            | Self::InfoHeader(_)
            | Self::MemberUnlisted { .. }
            | Self::MemberMissing { .. }
            | Self::MemberSize { .. }
            | Self::MemberSum { .. }
            | Self::Script { .. } => {
                "clients refuse it: build it again with sigtool, or fetch the official file again"
            }
        }
    }
}
