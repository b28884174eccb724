//! The last step: a signed release becomes visible, with what explains it and the bundle that carries it.

use tidecast_proto::manifest::{Manifest, SignedManifest};

use super::PublishError;
use crate::bundle::{BundleBuildError, BundleCache, BundleReport};
use crate::store::StoreWriter;
use crate::store::explain::{self, FileOpening};

/// Makes `signed`, which may follow `previous`, the newest release. Returns the bundle from the one before.
///
/// # Errors
/// [`PublishError`]; readers of the store see what they saw before.
pub(crate) fn seal(
    writer: &mut StoreWriter,
    previous: Option<&Manifest>,
    signed: &SignedManifest,
    openings: Vec<FileOpening>,
    warnings: &mut Vec<String>,
) -> Result<Option<BundleReport>, PublishError> {
    let body = signed
        .clone()
        .reopen(&signed.id())
        .map_err(PublishError::Successor)?;
    let explanation = explain::Explanation {
        openings,
        roads: None,
    };
    let folder = writer.store().folder().to_owned();
    // Before the release, so that whoever sees the one finds the other.
    if let Err(error) = explain::save(&folder, body.release, &explanation) {
        warnings.push(format!("the release cannot be explained later: {error}"));
    }
    let bundle = bundle(writer, previous, &body, warnings)?;
    writer.add_release(body.release, signed)?;
    Ok(bundle)
}

/// Builds the bundle from the release before, so that it can go out with the announcement. A release stands without one.
fn bundle(
    writer: &mut StoreWriter,
    previous: Option<&Manifest>,
    to: &Manifest,
    warnings: &mut Vec<String>,
) -> Result<Option<BundleReport>, PublishError> {
    let Some(from) = previous else {
        return Ok(None);
    };
    writer.seal()?;
    let store = writer.store();
    // What is obsolete by then, the next reader of the cache removes; what it may hold at most is the master's to say.
    let cache = BundleCache::new(store.folder(), u64::MAX);
    match cache.build(store, from, to) {
        Ok(report) => {
            let roads = report.roads();
            if let Err(error) = explain::save_roads(store.folder(), to.release, &roads) {
                warnings.push(format!("the roads cannot be explained later: {error}"));
            }
            Ok(Some(report))
        }
        // Nobody is helped by it, and nothing is wrong.
        Err(BundleBuildError::TooLarge { .. }) => Ok(None),
        Err(error) => {
            warnings.push(format!("mirrors fetch chunks instead of a bundle: {error}"));
            Ok(None)
        }
    }
}
