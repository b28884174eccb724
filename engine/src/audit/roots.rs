//! The chain of roots, from the fingerprint on.

use std::path::Path;

use tidecast_proto::id::{FeedId, RootVersion};
use tidecast_proto::root::{Root, SignedRoot};

use super::ledger::{Ledger, Trouble};
use super::{AuditError, RESTORE};
use crate::durable::FileError;

/// Roots that are vouched for, the first at 0.
#[derive(Debug)]
pub(super) struct Roots(pub(super) Vec<Root>);

impl Roots {
    /// Walks the chain in `state` as far as it holds.
    pub(super) fn walk(
        ledger: &mut Ledger,
        state: &Path,
        feed: &FeedId,
    ) -> Result<Self, AuditError> {
        let folder = state.join("roots");
        let signed = match crate::roots::load(&folder).map_err(Trouble::from) {
            Ok(signed) => signed,
            Err(Trouble::Disk(error)) => return Err(error.into()),
            Err(Trouble::Wrong(what)) => {
                ledger.wrong(folder.display().to_string(), what, RESTORE);
                return Ok(Self(Vec::new()));
            }
        };
        let count = signed.len() as u64;
        let mut walked: Vec<Root> = Vec::new();
        for (version, next) in (1_u64..).zip(signed) {
            match verify(next, walked.last(), feed) {
                Ok(root) => {
                    ledger.good(format!(
                        "root {version}, epoch {}: signed by {} of {} root keys",
                        root.epoch,
                        root.root_threshold,
                        root.root_keys.len()
                    ));
                    walked.push(root);
                }
                Err(what) => {
                    let place = folder.join(format!("{version}.root")).display().to_string();
                    ledger.wrong(place, what, RESTORE);
                    break;
                }
            }
        }
        ledger.report.roots = walked.len() as u64;
        if let Some(beyond) = beyond(&folder, count)? {
            ledger.wrong(
                folder.display().to_string(),
                format!("root {beyond} is there, root {} is not", count + 1),
                RESTORE,
            );
        }
        Ok(Self(walked))
    }

    pub(super) fn get(&self, version: RootVersion) -> Option<&Root> {
        let index = usize::try_from(version.0).ok()?.checked_sub(1)?;
        self.0.get(index)
    }

    pub(super) fn newest(&self) -> Option<&Root> {
        self.0.last()
    }
}

fn verify(next: SignedRoot, before: Option<&Root>, feed: &FeedId) -> Result<Root, String> {
    match before {
        None => next.verify_first(feed),
        Some(before) => next.verify_next(before),
    }
    .map_err(|error| error.to_string())
}

/// The first root behind a gap.
fn beyond(folder: &Path, count: u64) -> Result<Option<u64>, AuditError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::at("read", folder)(error).into()),
    };
    let numbers = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let number: u64 = name.to_str()?.strip_suffix(".root")?.parse().ok()?;
        (number > count).then_some(number)
    });
    Ok(numbers.min())
}
