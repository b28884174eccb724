//! What a path's file is to a ClamAV client.

use alloc::format;
use alloc::string::String;

use super::DatabaseVersion;

/// Databases whose signatures stock clients insist on under [`VerifyPolicy::Genuine`](super::VerifyPolicy).
///
/// The first four have been official ones; `test` and `valhalla` are names freshclam takes as well. Clients
/// that are given another name by `DatabaseCustomURL` ask its `.cvd` or `.cld` for the official signature all
/// the same (`libclamav/cvd.c`), so a database of one's own belongs into a `.cud`, unless the clients that
/// fetch it were built with another key.
pub const STOCK_NAMES: [&str; 6] = [
    "daily",
    "main",
    "bytecode",
    "safebrowsing",
    "test",
    "valhalla",
];

/// Whether `name` (without extension) is one of [`STOCK_NAMES`]. Case counts.
#[must_use]
pub fn is_stock_name(name: &str) -> bool {
    STOCK_NAMES.contains(&name)
}

/// The three kinds of database container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// Made by the signing master.
    Cvd,
    /// Made by a client from a `.cvd` and cdiffs: MD5 and outer signature are `X`.
    Cld,
    /// Made by anybody: no signatures.
    Cud,
}

impl Container {
    /// The file extension, without its dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Cvd => "cvd",
            Self::Cld => "cld",
            Self::Cud => "cud",
        }
    }
}

/// What a file is, by its path alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFile<'a> {
    /// `<name>.cvd`, `<name>.cld` or `<name>.cud`; check it with [`CvdCheck`](super::CvdCheck).
    Container {
        /// `daily` of `daily.cvd`.
        name: &'a str,
        /// By its extension.
        container: Container,
    },
    /// `<name>-<version>.cdiff`; check it with [`Cdiff`](super::Cdiff).
    Cdiff {
        /// `daily` of `daily-27780.cdiff`.
        name: &'a str,
        /// The version the script leads to.
        version: DatabaseVersion,
    },
    /// A detached signature; must travel with the very bytes it signs.
    Sign(SignedFile<'a>),
    /// Anything else: `.hdb`, pictures, a `.cdiff` no client will ask for.
    Other,
}

impl<'a> DatabaseFile<'a> {
    /// Classifies the last component of a `/`-separated path. Extensions are lower case, as clients ask
    /// for them.
    #[must_use]
    pub fn of(path: &'a str) -> Self {
        let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
        if let Some(signed) = SignedFile::of_sign(file) {
            return Self::Sign(signed);
        }
        if let Some(stem) = file.strip_suffix(".cdiff") {
            return match versioned(stem) {
                Some((name, version)) => Self::Cdiff { name, version },
                None => Self::Other,
            };
        }
        for container in [Container::Cvd, Container::Cld, Container::Cud] {
            let name = file
                .strip_suffix(container.extension())
                .and_then(|stem| stem.strip_suffix('.'));
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                return Self::Container { name, container };
            }
        }
        Self::Other
    }
}

/// The file a `.sign` was made for.
///
/// ClamAV 1.5 refuses a file whose `.sign` is present but does not fit, with no way back to the older
/// signatures. So a publisher must never pair a `.sign` with other bytes: when the file changes and
/// the `.sign` does not, the `.sign` must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedFile<'a> {
    /// `<name>-<version>.cvd.sign` signs `<name>.cvd`, but only while that file has this version.
    Container {
        /// `daily` of `daily-27780.cvd.sign`.
        name: &'a str,
        /// The version `<name>.cvd` must have.
        version: DatabaseVersion,
    },
    /// `<file>.sign` signs `<file>` beside it: a cdiff, or a custom database such as `extra.hdb`.
    Beside(&'a str),
}

impl<'a> SignedFile<'a> {
    /// The file that the `.sign` at `path` belongs to; `None` where `path` names no `.sign`.
    #[must_use]
    pub fn of_sign(path: &'a str) -> Option<Self> {
        let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
        let signed = file
            .strip_suffix(".sign")
            .filter(|signed| !signed.is_empty())?;
        let container = signed.strip_suffix(".cvd").and_then(versioned);
        Some(match container {
            Some((name, version)) => Self::Container { name, version },
            None => Self::Beside(signed),
        })
    }

    /// Name of the signed file, in the folder of the `.sign`.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::Container { name, .. } => format!("{name}.cvd"),
            Self::Beside(file) => String::from(*file),
        }
    }

    /// Whether the `.sign` is for `file_name` (no folder), a container of `version` if it is one.
    ///
    /// True says that the names pair, not that the bytes do: those nobody but a client can check here.
    #[must_use]
    pub fn is_for(&self, file_name: &str, version: Option<DatabaseVersion>) -> bool {
        match self {
            Self::Container {
                version: signed, ..
            } => version == Some(*signed) && self.file_name() == file_name,
            Self::Beside(signed) => *signed == file_name,
        }
    }
}

/// Splits `<name>-<version>`. Only the spelling that clients ask for counts: no leading zeros.
fn versioned(stem: &str) -> Option<(&str, DatabaseVersion)> {
    let (name, digits) = stem.rsplit_once('-')?;
    let canonical =
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if name.is_empty() || !canonical {
        return None;
    }
    Some((name, DatabaseVersion(digits.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, container: Container) -> DatabaseFile<'_> {
        DatabaseFile::Container { name, container }
    }

    #[test]
    fn a_path_is_classified_by_its_last_component() {
        assert_eq!(
            DatabaseFile::of("daily.cvd"),
            container("daily", Container::Cvd)
        );
        assert_eq!(
            DatabaseFile::of("a.cvd/main.cld"),
            container("main", Container::Cld)
        );
        assert_eq!(
            DatabaseFile::of("x/y/my-own.v2.cud"),
            container("my-own.v2", Container::Cud)
        );
        assert_eq!(
            DatabaseFile::of("x/my-db-7.cdiff"),
            DatabaseFile::Cdiff {
                name: "my-db",
                version: DatabaseVersion(7)
            }
        );
        assert_eq!(
            DatabaseFile::of("x/daily-7.cvd.sign"),
            DatabaseFile::Sign(SignedFile::Container {
                name: "daily",
                version: DatabaseVersion(7)
            })
        );
    }

    #[test]
    fn names_no_client_asks_for_are_other() {
        for path in [
            "",
            "daily",
            ".cvd",
            "cvd",
            "dailycvd",
            "daily.CVD",
            "daily.cvd.bak",
            "extra.hdb",
            "daily.cdiff",
            "daily-.cdiff",
            "-7.cdiff",
            "daily-07.cdiff",
            "daily-+7.cdiff",
            "daily-7x.cdiff",
            "daily-4294967296.cdiff",
            ".sign",
            "x/",
        ] {
            assert_eq!(DatabaseFile::of(path), DatabaseFile::Other, "{path:?}");
        }
    }

    #[test]
    fn a_versioned_cvd_sign_belongs_to_the_plain_cvd_of_that_version_only() {
        let signed = SignedFile::of_sign("sub/daily-27780.cvd.sign").unwrap();
        assert_eq!(signed.file_name(), "daily.cvd");
        assert!(signed.is_for("daily.cvd", Some(DatabaseVersion(27780))));
        assert!(!signed.is_for("daily.cvd", Some(DatabaseVersion(27781))));
        assert!(!signed.is_for("daily.cvd", None));
        assert!(!signed.is_for("main.cvd", Some(DatabaseVersion(27780))));
        assert!(!signed.is_for("daily-27780.cvd", Some(DatabaseVersion(27780))));
    }

    #[test]
    fn other_signs_belong_to_the_file_beside_them() {
        let cdiff = SignedFile::of_sign("daily-7.cdiff.sign").unwrap();
        assert_eq!(cdiff, SignedFile::Beside("daily-7.cdiff"));
        assert!(cdiff.is_for("daily-7.cdiff", None));
        assert!(!cdiff.is_for("daily-8.cdiff", None));
        let custom = SignedFile::of_sign("extra.hdb.sign").unwrap();
        assert_eq!(custom.file_name(), "extra.hdb");
        assert_eq!(SignedFile::of_sign("daily.cvd"), None);
    }

    #[test]
    fn stock_names_are_exact() {
        assert!(is_stock_name("daily"));
        assert!(!is_stock_name("Daily"));
        assert!(!is_stock_name("daily2"));
    }
}
