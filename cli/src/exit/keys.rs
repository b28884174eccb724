//! What errors about keys and roots mean.

use std::path::Path;

use tidecast_engine::keyfile::KeyFileError;
use tidecast_engine::master::{RELEASE_KEY, ROOT_KEY};
use tidecast_engine::roots::RootsError;

use super::{Diagnose, Exit};

impl Diagnose for KeyFileError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Missing { .. } => Exit::NoInput,
            Self::Open { .. } => Exit::NoPermission,
            Self::WrongPassphrase { .. } | Self::Locked { .. } => Exit::NoPermission,
            Self::Malformed { .. }
            | Self::Encryption { .. }
            | Self::Passphrase { .. }
            | Self::NotText { .. } => Exit::Data,
            _ => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Missing { path } => Some(if is_kept_apart(path) {
                "name the folder that `tidecast feed init` put the keys into, with --keys".into()
            } else {
                "name the state folder with --state; if that is right, restore the key from a backup"
                    .into()
            }),
            Self::Open { path, .. } => Some(format!(
                "if nobody has read it: chmod 600 {}; otherwise make a new key",
                path.display()
            )),
            Self::Malformed { .. } => Some("restore it from a backup".into()),
            Self::Locked { path } => Some(format!(
                "a daemon has nobody to ask: keep this key unencrypted, `openssl pkey -in {0} -out {0}.open` makes such a copy",
                path.display()
            )),
            Self::Encryption { path, .. } => Some(format!(
                "write it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in {0} -out {0}.new`",
                path.display()
            )),
            Self::WrongPassphrase { .. } => Some(
                "try again; if the passphrase is lost, so is the key: tests/DRILLS.md says what to do"
                    .into(),
            ),
            Self::Passphrase { .. } | Self::NotText { .. } => {
                Some("the passphrase is the first line of that file".into())
            }
            Self::Randomness(_) => {
                Some("the system gives no random bytes: look at its log, then restart it".into())
            }
            _ => None,
        }
    }
}

impl Diagnose for RootsError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            _ => Some("restore that file from a backup".into()),
        }
    }
}

/// Whether a key file is one of those that lie in the keys folder and not in the state.
fn is_kept_apart(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(name, Some(ROOT_KEY | RELEASE_KEY))
}
