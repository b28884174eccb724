//! Proves a file of an addition: ClamAV signed it, for this very name, and it is what the manifest says. SPEC §3.3.

use std::io::Read;

use tidecast_proto::database::{
    Container, DatabaseFile, OtherScript, Verified, VerifyPolicy, is_stock_name,
};
use tidecast_proto::manifest::File;
use tidecast_proto::name::ReleasePath;

use super::check::{Check, DatabaseFault, Found};

/// Bytes read at once.
const PIECE_BYTES: usize = 128 * 1024;

/// Why a file must not be served on the word of fewer keys. Whoever signed the release is at fault.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproved {
    /// Not signed by ClamAV, damaged, or nothing its clients would take.
    #[error("{path} is not ClamAV's: {source}")]
    Fault {
        path: ReleasePath,
        source: DatabaseFault,
    },
    /// Nothing that ClamAV signs at all.
    #[error("{path} is nothing that ClamAV signs")]
    NoDatabase { path: ReleasePath },
    /// A genuine database in another's place: clients would load it twice, and the other one not at all.
    #[error("{path} holds another database of ClamAV's: {name}")]
    OtherName { path: ReleasePath, name: String },
    /// A genuine script in another's place: clients would fail at it and fetch the whole database.
    #[error("{path} is another script of ClamAV's: {why}")]
    OtherScript { path: ReleasePath, why: OtherScript },
    /// The manifest would have clients told another version or build time.
    #[error("{path}: the release says its {field} is {stated}, it is {is}")]
    Misstated {
        path: ReleasePath,
        field: &'static str,
        stated: u64,
        is: String,
    },
}

/// Why a file was not proved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProveError {
    /// It is not what it must be.
    #[error(transparent)]
    Unproved(#[from] Unproved),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
}

/// Reads `content`, which has the hash that `file` states, to its end. Memory stays bounded: a piece, and the whole of a cdiff.
///
/// # Errors
/// [`ProveError`].
pub(crate) fn prove(file: &File, content: &mut impl Read) -> Result<(), ProveError> {
    let path = &file.path;
    let fault = |source| Unproved::Fault {
        path: path.clone(),
        source,
    };
    let mut check = Check::new(VerifyPolicy::Genuine, path);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let got = match content.read(&mut piece) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        check.push(&piece[..got]).map_err(fault)?;
    }
    let found = check.finish().map_err(fault)?;
    let no_database = || Unproved::NoDatabase { path: path.clone() };
    match DatabaseFile::of(path.as_str()) {
        DatabaseFile::Cdiff { name, version } if is_stock_name(name) => match found {
            Found::Script(script) => script.is_for(name, version).map_err(|why| {
                let path = path.clone();
                Unproved::OtherScript { path, why }.into()
            }),
            // An empty one promises nothing.
            _ => Err(no_database().into()),
        },
        DatabaseFile::Container {
            name,
            container: Container::Cvd,
        } => {
            let found = found
                .container()
                .filter(|found| found.verified == Verified::Genuine);
            let found = found.ok_or_else(no_database)?;
            if found.own_name.as_deref() != Some(name) {
                return Err(Unproved::OtherName {
                    path: path.clone(),
                    name: found.own_name.unwrap_or_default(),
                }
                .into());
            }
            let stated = file.database.as_ref().ok_or_else(no_database)?;
            let misstated = |field, stated, is: Option<u64>| Unproved::Misstated {
                path: path.clone(),
                field,
                stated,
                is: is.map_or("not stated in it".into(), |is| is.to_string()),
            };
            let version = u64::from(found.version.0);
            if stated.version != version {
                return Err(misstated("version", stated.version, Some(version)).into());
            }
            // It is served as Last-Modified: a wrong one keeps clients from ever asking again.
            if found.build_time_s != Some(stated.build_time_s) {
                return Err(
                    misstated("build time", stated.build_time_s, found.build_time_s).into(),
                );
            }
            Ok(())
        }
        _ => Err(no_database().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tidecast_proto::id::FileHash;
    use tidecast_proto::manifest::Database;

    use super::*;

    fn file(path: &str, bytes: &[u8], version: u64, build_time_s: u64) -> File {
        let path = ReleasePath::new(path).unwrap();
        let name = path.as_str().split(['.', '-']).next().unwrap().to_owned();
        File {
            size: bytes.len() as u64,
            executable: false,
            mtime_s: 0,
            hash: FileHash::of(bytes),
            list: None,
            recipe: None,
            database: path.as_str().ends_with(".cvd").then_some(Database {
                name,
                version,
                build_time_s,
            }),
            path,
        }
    }

    fn why(file: &File, mut bytes: &[u8]) -> Option<String> {
        match prove(file, &mut bytes) {
            Ok(()) => None,
            Err(ProveError::Unproved(unproved)) => Some(unproved.to_string()),
            Err(ProveError::Read(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn what_clamav_did_not_sign_is_not_proved() {
        let bytes = [b"ClamAV-VDB:not one".as_slice(), &[b' '; 600]].concat();
        assert!(why(&file("daily.cvd", &bytes, 1, 1), &bytes).is_some());
        assert!(why(&file("daily.cvd", b"", 1, 1), b"").is_some());
        assert!(why(&file("daily-2.cdiff", b"", 1, 1), b"").is_some());
        assert!(
            why(
                &file("daily-2.cdiff", b"ClamAV-Diff:", 1, 1),
                b"ClamAV-Diff:"
            )
            .is_some()
        );
        let read_me = why(&file("readme.txt", b"x", 1, 1), b"x").unwrap();
        assert!(read_me.contains("nothing that ClamAV signs"), "{read_me}");
        assert!(why(&file("own.cvd", &bytes, 1, 1), &bytes).is_some());
    }

    #[test]
    fn what_is_genuine_is_proved_only_for_its_own_name_version_and_build_time() {
        let test = "what_is_genuine_is_proved_only_for_its_own_name_version_and_build_time";
        let Some(folder) = std::env::var_os("TIDECAST_TESTDATA").map(PathBuf::from) else {
            crate::skip::skip(
                test,
                "set TIDECAST_TESTDATA to a folder with ClamAV's test-1.cvd to test-6.cvd",
            );
            return;
        };
        let bytes = std::fs::read(folder.join("test-6.cvd")).unwrap();
        let built = 1_624_412_045;
        assert_eq!(why(&file("test.cvd", &bytes, 6, built), &bytes), None);
        assert_eq!(why(&file("sub/test.cvd", &bytes, 6, built), &bytes), None);
        let other = why(&file("daily.cvd", &bytes, 6, built), &bytes).unwrap();
        assert_eq!(other, "daily.cvd holds another database of ClamAV's: test");
        let version = why(&file("test.cvd", &bytes, 7, built), &bytes).unwrap();
        assert!(version.contains("version is 7, it is 6"), "{version}");
        let time = why(&file("test.cvd", &bytes, 6, built + 1), &bytes).unwrap();
        assert!(time.contains("build time"), "{time}");
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(why(&file("test.cvd", &flipped, 6, built), &flipped).is_some());

        let cdiff = std::fs::read(folder.join("test-6.cdiff")).unwrap();
        assert_eq!(why(&file("test-6.cdiff", &cdiff, 0, 0), &cdiff), None);
        assert_eq!(why(&file("sub/test-6.cdiff", &cdiff, 0, 0), &cdiff), None);
        assert!(why(&file("test-5.cdiff", &cdiff, 0, 0), &cdiff).is_some());
        // ClamAV signed it and the version is right; only the script says whose it is.
        let other = why(&file("daily-6.cdiff", &cdiff, 0, 0), &cdiff).unwrap();
        assert_eq!(
            other,
            "daily-6.cdiff is another script of ClamAV's: it edits test.info"
        );
    }
}
