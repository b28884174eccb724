//! What the HTTP server serves: one release's tree, held open.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

/// What the signed manifest and this mirror's switch say about one file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    /// Length in bytes. A file on disk of another length is not served.
    pub size: u64,
    /// BLAKE3 of the content; the entity tag comes from it and so is equal on all mirrors.
    pub hash: [u8; 32],
    /// Unix seconds. Build time for `.cvd` and `.cld`, the moment of the switch for all others.
    pub last_modified_s: u64,
}

/// The content of `/timestamp`, which lives outside the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// The whole file.
    pub bytes: Bytes,
    /// Unix seconds.
    pub last_modified_s: u64,
}

/// One release as the HTTP server sees it. Cheap to clone.
///
/// Whoever switches the docroot builds a new one and hands it to [`SiteHandle::publish`]; requests
/// that began before keep the old one, and its open directory, until they end.
#[derive(Debug, Clone)]
pub struct Site {
    /// Number of the release.
    pub release: u64,
    /// Directory of the release's tree (`.tidecast/r<N>`), opened once, so that a download outlives
    /// the tree's renaming or removal.
    pub tree: Arc<OwnedFd>,
    /// Every file of the release by its path relative to `tree`, `/`-separated, without leading `/`.
    pub files: Arc<BTreeMap<String, SiteFile>>,
    /// The docroot itself, for the operator's `local_*` names.
    pub docroot: Arc<OwnedFd>,
    /// Served as `/timestamp`; 404 while `None`.
    pub timestamp: Option<Timestamp>,
}

/// The place where the live [`Site`] is found; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SiteHandle(Arc<ArcSwapOption<Site>>);

impl SiteHandle {
    /// Makes `site` the live one. Requests that start after this see it; earlier ones do not.
    pub fn publish(&self, site: Site) {
        self.0.store(Some(Arc::new(site)));
    }

    /// Takes the live release away: files are answered 503 until the next [`Self::publish`].
    pub fn withdraw(&self) {
        self.0.store(None);
    }

    /// The live site, which stays whole for as long as the caller holds it.
    #[must_use]
    pub fn pin(&self) -> Option<Arc<Site>> {
        self.0.load_full()
    }
}
