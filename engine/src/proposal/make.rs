//! From contents to a manifest that sigmakers can sign.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tidecast_proto::addition::NotAnAddition;
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::id::{FeedId, ReleaseNumber, Timestamp};
use tidecast_proto::manifest::{Anchor, File, Flags, Manifest, ManifestBody};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::root::Root;

use super::{Folder, Proposal, ProposalError};
use crate::durable::FileError;
use crate::genuine::{ProveError, prove};
use crate::publish::content::{self, Content, Terms};
use crate::publish::manifest::{self, Previous};
use crate::publish::tree::Tree;
use crate::publish::{Change, Progress, changes};
use crate::store::explain::{self, FileOpening};
use crate::store::proposals::PROPOSALS_MAX;
use crate::store::{Store, StoreWriter};
use crate::vouched;

/// What a release is to hold.
#[derive(Debug, Clone)]
pub enum What<'a> {
    /// Exactly what lies in a folder.
    Tree(&'a Path),
    /// What the newest release holds, but for these.
    Changes {
        /// Files, by the path each is to have.
        add: BTreeMap<ReleasePath, PathBuf>,
        /// Paths that are to go.
        remove: BTreeSet<ReleasePath>,
    },
    /// Files whose content is in the store; a release of these takes the whole threshold.
    Files(Vec<File>),
}

/// What to propose, and under which terms.
#[derive(Debug)]
pub struct ProposeRequest<'a> {
    /// What it is to hold.
    pub what: What<'a>,
    /// The feed's newest root.
    pub root: &'a Root,
    /// The feed.
    pub feed: FeedId,
    /// How much of a database is checked.
    pub verify: VerifyPolicy,
    /// The change log.
    pub notes: String,
    /// What this release may do that others may not.
    pub flags: Flags,
    /// Where publishing remembers what it has read.
    pub cache: &'a Path,
    /// Now.
    pub now: Timestamp,
    /// Its number is above this one, whatever the store holds: one restored from an old backup knows too little.
    pub above: ReleaseNumber,
    /// Propose it although the newest release holds the same files.
    pub even_if_unchanged: bool,
}

/// A proposal that was made.
#[derive(Debug)]
pub struct Proposed {
    /// What is to be signed.
    pub proposal: Proposal,
    /// Where it lies.
    pub path: PathBuf,
    /// Everything that differs from the newest release, in path order.
    pub changes: Vec<Change>,
    /// Why it takes the whole threshold although fewer signatures suffice for additions.
    pub not_an_addition: Option<String>,
    /// Bytes added to the store.
    pub new_bytes: u64,
    /// Bytes of file content that were read.
    pub read_bytes: u64,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

/// Takes contents into the store and makes the manifest that is to be signed. It is open until another release is made.
///
/// # Errors
/// [`ProposalError`]; nothing was proposed. What was stored on the way is found again by the next try.
pub fn propose(
    writer: &mut StoreWriter,
    request: ProposeRequest<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Proposed, ProposalError> {
    let stored_before = writer.stored_bytes();
    let terms = Terms {
        root: request.root,
        feed: request.feed,
        verify: request.verify,
        notes: &request.notes,
        flags: request.flags,
        now: request.now,
        above: request.above,
    };
    if terms.root.expired(terms.now) {
        return Err(ProposalError::RootExpired);
    }
    let folder = Folder::of(writer.store());
    let previous = Previous::of(writer.store(), terms.root, &terms.feed)?;
    let follows = |open: &super::Open| open.proposal.body().previous == previous.id();
    if folder.all()?.iter().filter(|open| follows(open)).count() >= PROPOSALS_MAX {
        return Err(ProposalError::TooMany);
    }
    let mut content = Content::default();
    let mut tree = None;
    match request.what {
        What::Tree(path) => {
            let opened = Tree::open(path)?;
            let cache = Some(request.cache);
            content = content::take(writer, &terms, &opened, cache, previous.body(), progress)?;
            tree = Some(opened);
        }
        What::Changes { add, remove } => {
            let opened = Tree::of_files(add);
            content = content::take(writer, &terms, &opened, None, previous.body(), progress)?;
            content.files = merged(previous.body(), &remove, content.files)?;
            tree = Some(opened);
        }
        What::Files(files) => content.files = files,
    }
    let mut warnings = std::mem::take(&mut content.warnings);
    let files = std::mem::take(&mut content.files);
    let mut body = manifest::checked_body(&terms, &previous, files, &mut warnings)?;
    if previous.holds_the_same(&body) && !request.even_if_unchanged {
        return Err(ProposalError::Unchanged(previous.number()));
    }
    manifest::check_follows(&body, previous.body())?;
    let mut not_an_addition = None;
    if terms.root.added_threshold < terms.root.release_threshold {
        let found = match &tree {
            Some(tree) => anchor(writer.store(), &terms, &previous, &body, tree)?,
            None => Err("it puts back what was there before".into()),
        };
        match found {
            Ok(anchor) => body.anchor = Some(anchor),
            Err(why) => not_an_addition = Some(why),
        }
    }
    let changes = changes(&body, previous.body());
    let proposal = Proposal::new(body)?;
    progress(Progress::Sealing);
    writer.seal()?;
    let openings = openings(
        writer.store(),
        &previous,
        &proposal,
        content.openings.split_off(0),
    );
    let path = folder.put(&proposal, openings)?;
    content.remember(request.cache);
    warnings.append(&mut content.warnings);
    Ok(Proposed {
        proposal,
        path,
        changes,
        not_an_addition,
        new_bytes: writer.stored_bytes() - stored_before,
        read_bytes: content.read_bytes,
        warnings,
    })
}

/// What became of the streams of all files: of those that were not read just now, what is known of them already.
fn openings(
    store: &Store,
    previous: &Previous,
    proposal: &Proposal,
    read: Vec<FileOpening>,
) -> Vec<FileOpening> {
    let known = explain::load(store.folder(), previous.number())
        .ok()
        .flatten();
    let known = known.map(|known| known.openings).unwrap_or_default();
    let unchanged = |path: &str| {
        let before = previous.body().and_then(|body| body.file(path));
        let now = proposal.body().file(path);
        now.zip(before)
            .is_some_and(|(now, before)| now.same_as(before))
    };
    let mut openings: BTreeMap<String, FileOpening> = known
        .into_iter()
        .filter(|file| unchanged(&file.path))
        .chain(read)
        .map(|file| (file.path.clone(), file))
        .collect();
    openings.retain(|path, _| proposal.body().file(path).is_some());
    openings.into_values().collect()
}

/// The newest release's files without some, with others in their place or beside them.
fn merged(
    previous: Option<&ManifestBody>,
    remove: &BTreeSet<ReleasePath>,
    added: Vec<File>,
) -> Result<Vec<File>, ProposalError> {
    let before = previous.map_or(&[][..], |body| &body.files);
    let mut files: BTreeMap<ReleasePath, File> = before
        .iter()
        .map(|file| (file.path.clone(), file.clone()))
        .collect();
    for path in remove {
        if files.remove(path).is_none() {
            return Err(ProposalError::NoSuchFile(path.clone()));
        }
    }
    files.extend(added.into_iter().map(|file| (file.path.clone(), file)));
    Ok(files.into_values().collect())
}

/// What `body` only adds to; otherwise why it is no addition.
fn anchor(
    store: &Store,
    terms: &Terms<'_>,
    previous: &Previous,
    body: &ManifestBody,
    tree: &Tree,
) -> Result<Result<Anchor, String>, ProposalError> {
    let Some(before) = previous.manifest() else {
        return Ok(Err("it is the feed's first release".into()));
    };
    let Some((anchor, whole)) = whole_before(store, terms, previous, before)? else {
        let why = "too few of today's release keys signed the release it would add to";
        return Ok(Err(why.into()));
    };
    if !anchor.bears(body.release) {
        return Ok(Err(NotAnAddition::TooFar(body.release).to_string()));
    }
    let added = match body
        .additions_to(&whole)
        .and_then(|added| body.additions_to(before).map(|_| added))
    {
        Ok(added) => added,
        Err(why) => return Ok(Err(why.to_string())),
    };
    for file in added {
        let proved = before
            .file(file.path.as_str())
            .filter(|_| before.anchor.is_some());
        if proved.is_some_and(|old| file.same_as(old) && file.database == old.database) {
            continue;
        }
        // Mirrors will ask the same; a feed that checks less when it publishes would find out too late.
        let mut content = tree.open_file(&file.path)?;
        match prove(file, &mut content) {
            Ok(()) => {}
            Err(ProveError::Unproved(why)) => return Ok(Err(why.to_string())),
            Err(ProveError::Read(error)) => {
                let path = tree.path_of(&file.path);
                return Err(FileError::at("read", &path)(error).into());
            }
        }
    }
    Ok(Ok(anchor))
}

/// The newest release that the whole threshold signed, if today's keys still did.
fn whole_before(
    store: &Store,
    terms: &Terms<'_>,
    previous: &Previous,
    before: &Manifest,
) -> Result<Option<(Anchor, Manifest)>, ProposalError> {
    if !previous.is_acceptable() {
        return Ok(None);
    }
    let Some(anchor) = before.anchor else {
        let anchor = Anchor {
            release: before.release,
            manifest: before.id(),
        };
        return Ok(Some((anchor, before.clone())));
    };
    let found = vouched::find(store, anchor)?;
    let whole = found.and_then(|found| found.verify_stored(terms.root, &terms.feed).ok());
    Ok(whole.map(|whole| (anchor, whole)))
}
