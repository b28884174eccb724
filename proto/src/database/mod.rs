//! ClamAV databases: what a file is, what version it carries, and whether clients will believe it.
//!
//! A reader who never saw ClamAV needs four facts.
//!
//! **What the files are.** A *database* has a name (`daily`, `main`, `bytecode`) and a version that
//! only rises. `daily.cvd` holds the whole of it; `daily-27780.cdiff` is a signed edit script that turns
//! version 27779 into 27780; a `.cld` is what a client has after applying such scripts, and a `.cud` is
//! a container somebody built without the signing key. A `.sign` beside them is a detached PKCS#7
//! signature over one file's bytes, read by ClamAV 1.5 and later.
//!
//! **A container has three layers, and each has its own check.**
//!
//! | layer | bytes | what vouches for it |
//! |---|---|---|
//! | outer | 512 bytes of text, then a tar, gzip-compressed or plain | the header names the MD5 of every byte from offset 512 on, and an RSA signature of that MD5 |
//! | info | the tar's one `<name>.info` member | an RSA-2048 PSS signature in its own last line |
//! | members | all other members of the tar but `COPYING` | `.info` lists each with size and SHA-256 |
//!
//! The outer signature covers neither the version nor any other header field: a forged version passes
//! it. What stops the forger is that `.info` repeats version, number of signatures, functionality level
//! and build time under its own signature, and the two must agree. No layer covers the database's
//! *name*: clients take a genuine `test` database under the name `daily.cvd`, and so do we. Who must not be
//! handed one in another's place asks for [`Database::own_name`], and of a script [`Script::is_for`].
//!
//! **Which layers count depends on the kind.** Clients skip the outer layer of a `.cld`, because they
//! made it themselves; and they ask no signature of a `.cud`, but show its detections as
//! `UNOFFICIAL`. Sums and sizes of members count in all three.
//!
//! **A publisher must check, because clients fail badly.** A file they refuse is fetched three times per
//! run by every client of every mirror, and the run ends without an update. So the publisher refuses it
//! first. How much it checks is the feed's [`VerifyPolicy`].
//!
//! The code: [`DatabaseFile`] says from the path what a file is. [`CvdCheck`] takes a container's bytes
//! in pieces and ends in a [`Database`] or a [`DatabaseError`]; [`Cdiff`] does the same for a script in
//! memory, [`ScriptCheck`] for its commands. Inflating is the caller's work (nothing here does it), and
//! so `CvdCheck` wants both the packed and the opened bytes. `.sign` files are carried, not verified;
//! [`SignedFile`] says which bytes one must travel with.
//!
//! Sources: `libclamav/cvd.c`, `libclamav/dsig.c`, `libclamav/readdb.c`, `libclamav_rust/src/cdiff.rs`,
//! `libclamav_rust/src/codesign.rs`, `sigtool/sigtool.c` and `common/tar.c` of ClamAV 1.4 to 1.6.

mod cdiff;
mod cvd;
mod dsig;
mod error;
mod file;
mod header;
mod hex;
mod info;
mod script;
mod tar;

#[cfg(test)]
mod genuine;
#[cfg(test)]
mod samples;

pub use cdiff::{CDIFF_BYTES_MIN, Cdiff, CdiffContent};
pub use cvd::{CvdCheck, OPENED_BYTES_MAX, is_plain_body};
pub use dsig::{DSIG_CHARS_MAX, DsigError, PublicKey, decode_number, encode_number};
pub use error::DatabaseError;
pub use file::{Container, DatabaseFile, STOCK_NAMES, SignedFile, is_stock_name};
pub use header::{HEADER_BYTES, Header};
pub use info::{INFO_BYTES_MAX, Info, ListedMember};
pub use script::{COMMAND_BYTES_MAX, OtherScript, Script, ScriptCheck};
pub use tar::{MEMBER_BYTES_MAX, MEMBERS_MAX, TarEvent, TarReader};

use alloc::string::String;
use core::fmt;

/// Version of a database: field 3 of a container's header, the number in a `.cdiff`'s name.
///
/// Clients hold it in an `unsigned int` (`libclamav/clamav.h`, `struct cl_cvd`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseVersion(pub u32);

impl fmt::Display for DatabaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much of a database a publisher checks; fixed when a feed is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VerifyPolicy {
    /// Everything clients check. Under a [stock name](STOCK_NAMES) a `.cvd` and a `.cdiff` need the
    /// genuine signatures, a `.cld` that of its `.info`. For other names and every `.cud`: header, MD5,
    /// `.info` and members, no signature.
    Genuine,
    /// The header parses and its MD5 is that of the file. For feeds signed with somebody else's key.
    Header,
    /// Nothing. The version is still read where the header parses.
    None,
}

/// What was found true of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verified {
    /// All three layers, signatures included.
    Genuine,
    /// Header, MD5, `.info` and members agree; nobody signed it.
    Contents,
    /// The header parses and its MD5 is that of the file (a `.cld` carries no MD5).
    Header,
    /// Nothing: the numbers are only what the header says.
    None,
}

/// A database container, as far as its [`Verified`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The file's name without its extension: `daily`.
    pub name: String,
    /// Version by the header.
    pub version: DatabaseVersion,
    /// Build time in Unix seconds, see [`Header::build_time_s`]: the `Last-Modified` of a `.cvd` or `.cld`.
    /// Not that of a `.cud`: clients compare those with the moment of their own download.
    pub build_time_s: Option<u64>,
    /// Number of signatures by the header.
    pub signatures: u32,
    /// How much of this was checked.
    pub verified: Verified,
    /// The name its builder gave its `.info`: `daily` of `daily.info`. Clients do not compare it with the file's
    /// name; whoever must not be handed one genuine database in another's place does. Absent where the container
    /// was not opened.
    pub own_name: Option<String>,
}
