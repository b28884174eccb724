//! Where a command finds the proposal, the feed's root, and what came before.

use std::path::{Path, PathBuf};

use tidecast_engine::master::{Feed, MASTER_CONFIG, RELEASE_KEY};
use tidecast_engine::proposal::{Folder, Proposal};
use tidecast_engine::roots;
use tidecast_engine::store::Store;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::manifest::{ManifestBody, SignedManifest};
use tidecast_proto::root::{Root, SignedRoot};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::shell::{self, Shell};
use crate::unlock::Unlock;

/// A feed's newest root, from a chain that begins with its first.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) root: Root,
    pub(super) feed: FeedId,
}

/// The root that was named, or the one of this state; `None` where there is neither.
pub(super) fn trusted(named: Option<&Path>, shell: &Shell<'_>) -> Result<Option<Trusted>, Failure> {
    let kept = shell.state.join("roots");
    let path = match named {
        Some(path) => path,
        None if kept.is_dir() => &kept,
        None => return Ok(None),
    };
    let chain = if path.is_dir() {
        roots::load(path)?
    } else {
        let bytes = read(path, limits::ROOT_BYTES)?;
        let root = SignedRoot::from_bytes(&bytes);
        vec![root.map_err(|error| unusable(path, &error.to_string()))?]
    };
    let mut chain = chain.into_iter();
    let first = chain
        .next()
        .ok_or_else(|| unusable(path, "there is none"))?;
    let feed = FeedId(first.id().0);
    let refused = |error: tidecast_proto::root::RootError| unusable(path, &error.to_string());
    let mut root = first.verify_first(&feed).map_err(refused)?;
    for next in chain {
        root = next.verify_next(&root).map_err(refused)?;
    }
    Ok(Some(Trusted { root, feed }))
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::Data, format!("the roots in {}: {why}", path.display()))
        .hint("name the file of the feed's first root, or the folder `roots` of a master or mirror that holds every root from the first on")
}

/// What to say to somebody who must know the root and does not.
pub(super) fn no_root() -> Failure {
    Failure::new(Exit::NoInput, "the feed's root is not at hand")
        .hint("name it with --root: the folder `roots` of a master or mirror, or the file of the first root")
}

/// The master's store, if this state has one.
pub(super) fn store(shell: &Shell<'_>) -> Result<Option<Store>, Failure> {
    if !shell.state.join(MASTER_CONFIG).exists() {
        return Ok(None);
    }
    let feed = Feed::load(&shell.state)?;
    Ok(Some(Store::open(&feed.store_folder())?))
}

/// A proposal and the file it was read from.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) proposal: Proposal,
    /// Whether it is the master's own copy.
    pub(super) open: bool,
}

/// The proposal in a file, or the open one that `what` names.
pub(super) fn proposal(what: &str, store: Option<&Store>) -> Result<Found, Failure> {
    let path = PathBuf::from(what);
    if path.is_file() {
        return Ok(Found {
            proposal: Proposal::read(&path)?,
            open: store.is_some_and(|store| Folder::of(store).holds(&path)),
            path,
        });
    }
    let Some(store) = store else {
        return Err(
            Failure::new(Exit::NoInput, format!("there is no file {what}")).hint("check the path"),
        );
    };
    let open = Folder::of(store).find(what)?;
    Ok(Found {
        path: open.path,
        proposal: open.proposal,
        open: true,
    })
}

/// The manifest that a proposal follows: from a file, or from the store.
pub(super) fn previous(
    named: Option<&Path>,
    id: ObjectId,
    store: Option<&Store>,
) -> Result<Option<ManifestBody>, Failure> {
    let bytes = match named {
        Some(path) => Some(read(path, limits::MANIFEST_BYTES)?),
        None => None,
    };
    let signed = match (&bytes, store) {
        (Some(bytes), _) => SignedManifest::from_bytes(bytes).ok(),
        (None, Some(store)) => {
            let releases = store.releases();
            let found = releases.iter().find(|stored| stored.manifest == id);
            match found {
                Some(stored) => store.manifest(stored.release)?,
                None => None,
            }
        }
        (None, None) => None,
    };
    let body = signed.filter(|signed| signed.id() == id);
    let body = body.and_then(|signed| signed.claims().ok());
    match (named, &body) {
        (Some(path), None) => {
            let what = format!(
                "{} is not the manifest that this one follows",
                path.display()
            );
            Err(Failure::new(Exit::Data, what).hint(format!("it must be {id}")))
        }
        _ => Ok(body),
    }
}

/// What a stored release says, with its signatures.
pub(super) fn release(
    store: &Store,
    number: ReleaseNumber,
) -> Result<Option<(SignedManifest, ManifestBody)>, Failure> {
    let Some(signed) = store.manifest(number)? else {
        return Ok(None);
    };
    let body = signed.claims();
    let body = body.map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    Ok(Some((signed, body)))
}

/// The key in a file, or the release key of this state's keys.
pub(super) fn key(
    named: Option<&Path>,
    unlock: &Unlock,
    shell: &Shell<'_>,
) -> Result<SecretKey, Failure> {
    match named {
        Some(path) => unlock.load(path),
        None => unlock.load(&shell::default_keys(shell).join(RELEASE_KEY)),
    }
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let read = tidecast_engine::durable::read_optional(path, limit)?;
    read.ok_or_else(|| {
        Failure::new(
            Exit::NoInput,
            format!("there is no file {}", path.display()),
        )
        .hint("check the path")
    })
}
