//! A docroot without links, for web servers that refuse them: a real folder that changes places with the next one as a
//! whole. SPEC §8.16.
//!
//! Everything else is kept as ever, in a docroot of the usual layout beside it. What stands in front of that follows from
//! what is live there, so there is nothing to recover: it is looked at, and made again if it is not the live tree.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;
use tidecast_proto::id::FeedId;
use tidecast_proto::manifest::ManifestBody;

use super::error::DocrootError;
use super::files::{self, FolderCache, Found, Kind};
use super::layout::{self, Folders, TIMESTAMP};
use super::timestamp::TIMESTAMP_BYTES;
use super::tree::{self, LiveTree};
use super::{Docroot, peek, removed};

/// The folder that is about to be shown, and for a moment the one that was.
const FRONT: &str = "front";
/// `timestamp` on its way there.
const FRONT_TIMESTAMP: &str = "front.timestamp";

/// Why a folder cannot change places with another as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// It would go with the folder, and come back only a moment later.
    #[error("it holds {0}, which is yours and would not be there at every instant")]
    Operators(String),
    /// What the usual layout keeps in a docroot.
    #[error("it holds .tidecast: it has the layout with links")]
    OtherLayout,
    /// Only the system could put another folder there.
    #[error("it is a mount point")]
    MountPoint,
    /// The link would change places, not the folder.
    #[error("it is a symbolic link")]
    Link,
}

impl Obstacle {
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Operators(_) => {
                "move it out of the docroot and let the web server find it there (Alias in Apache); or let the server follow links (Options FollowSymLinks) and take `layout` out of mirror.toml"
            }
            Self::OtherLayout => {
                "name a new folder as docroot and remove this one later, or take `layout` out of mirror.toml"
            }
            Self::MountPoint => "name a folder below it as docroot",
            Self::Link => "name the folder itself as docroot",
        }
    }
}

/// What showing the live release came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whether another folder stands there now.
    pub exchanged: bool,
    /// Foreign files that stood there, and where they are now, below the folder that everything is kept in.
    pub moved_away: Vec<String>,
}

type Identity = ((u32, u32), u64);

fn identity(found: &Found) -> Identity {
    (found.device, found.record.inode)
}

/// What web clients see.
struct Front {
    path: PathBuf,
    parent: OwnedFd,
    name: OsString,
    /// What stands there, if anything does.
    folder: Option<Arc<OwnedFd>>,
}

impl Front {
    fn find(path: &Path) -> Result<Self, DocrootError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused(path, Obstacle::MountPoint));
        };
        let parent = layout::open_docroot(parent)?;
        let fault = DocrootError::at("look at", path);
        let folder = match files::look(&parent, name).map_err(fault)?.map(|f| f.kind) {
            None => None,
            Some(Kind::Folder) => {
                let opened = files::open_folder(&parent, name);
                Some(Arc::new(opened.map_err(DocrootError::at("open", path))?))
            }
            Some(Kind::Link) => return Err(refused(path, Obstacle::Link)),
            Some(_) => {
                return Err(DocrootError::NotAFolder {
                    path: path.to_owned(),
                });
            }
        };
        Ok(Self {
            path: path.to_owned(),
            parent,
            name: name.to_owned(),
            folder,
        })
    }

    /// Whether it may change places with another folder.
    fn check(&self) -> Result<(), DocrootError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let fault = || DocrootError::at("read", &self.path);
        let device = |at: &OwnedFd| files::look_at(at).map(|found| found.device);
        if device(folder).map_err(fault())? != device(&self.parent).map_err(fault())? {
            return Err(refused(&self.path, Obstacle::MountPoint));
        }
        for name in files::names(folder).map_err(fault())? {
            if name == layout::STATE {
                return Err(refused(&self.path, Obstacle::OtherLayout));
            }
            let hidden_folder = || {
                let found = files::look(folder, name.as_os_str());
                found.map(|found| found.is_some_and(|found| found.kind == Kind::Folder))
            };
            // A hidden file is linked into the next folder as well, which no folder can be.
            let operators = name.as_bytes().starts_with(b"local_")
                || (name.as_bytes().starts_with(b".") && hidden_folder().map_err(fault())?);
            if operators {
                let name = name.to_string_lossy().into_owned();
                return Err(refused(&self.path, Obstacle::Operators(name)));
            }
        }
        Ok(())
    }

    /// Whether it is the tree, file by file the same, and nothing else but hidden files and `timestamp`.
    fn differs(
        &self,
        manifest: &ManifestBody,
        tree: &Arc<OwnedFd>,
    ) -> Result<Option<String>, DocrootError> {
        let Some(folder) = &self.folder else {
            return Ok(Some("it is missing".into()));
        };
        let fault = || DocrootError::at("read", &self.path);
        let (mut here, mut there) = (
            FolderCache::reading(folder.clone()),
            FolderCache::reading(tree.clone()),
        );
        let mut known = HashSet::new();
        for file in &manifest.files {
            let path = file.path.as_str();
            let found = here.look(path).map_err(fault())?;
            let kept = there.look(path).map_err(fault())?;
            if found.is_none() || found.as_ref().map(identity) != kept.as_ref().map(identity) {
                return Ok(Some(format!("{path} is missing or another one")));
            }
            known.insert(path);
            let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            known.extend(folders);
        }
        let timestamp = files::look(folder, TIMESTAMP).map_err(fault())?;
        if timestamp.is_some_and(|found| found.kind != Kind::File) {
            return Ok(Some(format!("{TIMESTAMP} is no file")));
        }
        let stranger = stranger(folder, "", &known).map_err(fault())?;
        Ok(stranger.map(|path| format!("{path} is not of the release")))
    }
}

/// The first name below `folder` that is not `known`.
fn stranger(folder: &OwnedFd, prefix: &str, known: &HashSet<&str>) -> io::Result<Option<String>> {
    for name in files::names(folder)? {
        let top = prefix.is_empty();
        if top && (name == TIMESTAMP || name.as_bytes().starts_with(b".")) {
            continue;
        }
        let path = format!("{prefix}{}", name.to_string_lossy());
        if !known.contains(path.as_str()) {
            return Ok(Some(path));
        }
        if files::look(folder, name.as_os_str())?.is_some_and(|f| f.kind == Kind::Folder) {
            let inner = files::open_folder(folder, name.as_os_str())?;
            if let Some(found) = stranger(&inner, &format!("{path}/"), known)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn refused(path: &Path, obstacle: Obstacle) -> DocrootError {
    DocrootError::NotExchangeable {
        path: path.to_owned(),
        obstacle,
    }
}

/// Whether the folder at `front` can change places with another as a whole. Changes nothing.
///
/// # Errors
/// [`DocrootError::NotExchangeable`]; else of the disk.
pub fn check_front(front: &Path) -> Result<(), DocrootError> {
    Front::find(front)?.check()
}

/// What of the folder at `front` is not the live release that is kept at `kept`; `None` if nothing. Changes nothing.
///
/// # Errors
/// [`DocrootError`]; else of the disk.
pub fn verify_front(
    front: &Path,
    kept: &Path,
    feed: &FeedId,
) -> Result<Option<String>, DocrootError> {
    let (Some(live), Some(folders)) = (peek(kept, feed)?, Folders::open(kept)?) else {
        return Ok(None);
    };
    let tree = tree::open_tree(&folders, live.manifest.release)?;
    Front::find(front)?.differs(&live.manifest, &tree)
}

impl Docroot {
    /// Has web clients look at a folder at `path`, which must lie beside this docroot, in place of this docroot itself.
    pub fn set_front(&mut self, path: &Path) {
        self.front = Some(path.to_owned());
    }

    /// Makes the folder that web clients see the live release, if there is such a folder and it is not yet. It changes
    /// places with the one before in one instant; what was foreign in that is moved away.
    ///
    /// # Errors
    /// [`DocrootError::NotExchangeable`]; else of the disk. Clients see what they saw before, whole.
    pub fn show(&mut self) -> Result<Shown, DocrootError> {
        let mut shown = Shown::default();
        let Some(path) = self.front.clone() else {
            return Ok(shown);
        };
        self.check_still_ours()?;
        let front = Front::find(&path)?;
        self.clear_front(&front, &mut shown)?;
        front.check()?;
        let Some(live) = self.live.clone() else {
            return Ok(shown);
        };
        if front.differs(live.manifest(), &live.folder())?.is_none() {
            self.show_timestamp(&front)?;
            return Ok(shown);
        }
        self.build_front(&front, &live)?;
        // Building takes a while, and an operator may be at work.
        front.check()?;
        self.exchange_front(&front)?;
        shown.exchanged = true;
        self.clear_front(&Front::find(&path)?, &mut shown)?;
        Ok(shown)
    }

    fn build_front(&self, front: &Front, live: &LiveTree) -> Result<(), DocrootError> {
        let folders = &self.folders;
        rustix::fs::mkdirat(&folders.state, FRONT, Mode::from_raw_mode(0o700))
            .map_err(folders.fault("build", FRONT))?;
        let folder = Arc::new(
            files::open_folder(&folders.state, FRONT).map_err(folders.fault("build", FRONT))?,
        );
        // A link changes the ctime of both names.
        let unchanged = self.as_recorded(live)?;
        let mut from = FolderCache::reading(live.folder());
        let mut to = FolderCache::making(folder.clone());
        for file in &live.manifest().files {
            let path = file.path.as_str();
            let (from, name) = from.place(path).map_err(folders.fault("link", path))?;
            let (to, _) = to.place(path).map_err(folders.fault("link", path))?;
            rustix::fs::linkat(from, name, to, name, AtFlags::empty())
                .map_err(folders.fault("link", path))?;
        }
        self.record_again(live, &unchanged)?;
        if let Some(bytes) = self.timestamp_bytes()? {
            files::write_unsynced(&folder, TIMESTAMP, &bytes, false)
                .map_err(folders.fault("build", FRONT))?;
        }
        let mut mode = 0o755;
        if let Some(shown) = &front.folder {
            for name in files::names(shown).map_err(folders.fault("build", FRONT))? {
                if name.as_bytes().starts_with(b".") {
                    match rustix::fs::linkat(shown, &name, &folder, &name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        // Of a file of somebody else's the system may refuse links.
                        Err(_) => {
                            let name = name.to_string_lossy().into_owned();
                            return Err(refused(&front.path, Obstacle::Operators(name)));
                        }
                    }
                }
            }
            mode = files::look_at(shown)
                .map_err(folders.fault("build", FRONT))?
                .mode;
            self.same_owner(shown, &folder)?;
        }
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode))
            .map_err(folders.fault("build", FRONT))?;
        rustix::fs::syncfs(&folder).map_err(folders.fault("build", FRONT))
    }

    /// Whoever may read the folder that is shown must be able to read the next.
    fn same_owner(&self, shown: &OwnedFd, next: &OwnedFd) -> Result<(), DocrootError> {
        let fault = || self.folders.fault("change the owner of", FRONT);
        let owners =
            |folder: &OwnedFd| rustix::fs::fstat(folder).map(|stat| (stat.st_uid, stat.st_gid));
        let (uid, gid) = owners(shown).map_err(fault())?;
        if (uid, gid) != owners(next).map_err(fault())? {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(next, Some(uid), Some(gid)).map_err(fault())?;
        }
        Ok(())
    }

    fn exchange_front(&self, front: &Front) -> Result<(), DocrootError> {
        let state = &self.folders.state;
        let flags = match front.folder {
            Some(_) => RenameFlags::EXCHANGE,
            None => RenameFlags::NOREPLACE,
        };
        rustix::fs::renameat_with(state, FRONT, &front.parent, &front.name, flags).map_err(
            |error| match error {
                Errno::BUSY | Errno::XDEV => refused(&front.path, Obstacle::MountPoint),
                error => DocrootError::at("exchange", &front.path)(error),
            },
        )?;
        rustix::fs::fsync(&front.parent).map_err(DocrootError::at("sync", &front.path))?;
        self.folders.sync_state()
    }

    fn timestamp_bytes(&self) -> Result<Option<Vec<u8>>, DocrootError> {
        files::read_whole(&self.folders.state, TIMESTAMP, TIMESTAMP_BYTES)
            .map_err(self.folders.fault("read", TIMESTAMP))
    }

    fn show_timestamp(&self, front: &Front) -> Result<(), DocrootError> {
        let (Some(folder), Some(bytes)) = (&front.folder, self.timestamp_bytes()?) else {
            return Ok(());
        };
        let fault = || DocrootError::at("write", &front.path);
        let has = files::read_whole(folder, TIMESTAMP, TIMESTAMP_BYTES);
        if has.is_ok_and(|has| has.as_ref() == Some(&bytes)) {
            return Ok(());
        }
        let state = &self.folders.state;
        files::write_unsynced(state, FRONT_TIMESTAMP, &bytes, false).map_err(fault())?;
        files::rename(state, FRONT_TIMESTAMP, folder, TIMESTAMP).map_err(fault())
    }

    /// Takes apart the folder that was shown before, or that was not shown yet when this program ended: links to files of
    /// our trees go, and everything else goes where it belongs.
    fn clear_front(&self, front: &Front, shown: &mut Shown) -> Result<(), DocrootError> {
        let folders = &self.folders;
        let old = match files::open_folder(&folders.state, FRONT) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(folders.fault("clear", FRONT)(error)),
        };
        let mut trees = Vec::new();
        for release in tree::releases_on_disk(folders)? {
            trees.push(FolderCache::reading(tree::open_tree(folders, release)?));
        }
        for name in files::names(&old).map_err(folders.fault("clear", FRONT))? {
            if name == TIMESTAMP && is_ours(&old) {
                files::unlink(&old, TIMESTAMP).map_err(folders.fault("clear", FRONT))?;
            } else if layout::may_touch(&name) {
                self.clear_name(&old, &name, "", &mut trees, shown)?;
            } else {
                self.give_back(&old, &name, front, shown)?;
            }
        }
        match rustix::fs::unlinkat(&folders.state, FRONT, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(folders.fault("clear", FRONT)(error)),
        }
    }

    fn clear_name(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        prefix: &str,
        trees: &mut [FolderCache],
        shown: &mut Shown,
    ) -> Result<(), DocrootError> {
        let folders = &self.folders;
        let Some(found) = files::look(folder, name).map_err(folders.fault("clear", FRONT))? else {
            return Ok(());
        };
        // Of ours every name is text.
        let path = name.to_str().map(|name| format!("{prefix}{name}"));
        let mut kept = Vec::new();
        for tree in trees.iter_mut() {
            if let Some(path) = &path {
                kept.extend(tree.look(path).map_err(folders.fault("clear", FRONT))?);
            }
        }
        match found.kind {
            Kind::Folder if kept.iter().any(|kept| kept.kind == Kind::Folder) => {
                let inner =
                    files::open_folder(folder, name).map_err(folders.fault("clear", FRONT))?;
                let prefix = format!("{}/", path.unwrap_or_default());
                for name in files::names(&inner).map_err(folders.fault("clear", FRONT))? {
                    self.clear_name(&inner, &name, &prefix, trees, shown)?;
                }
                rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
                    .map_err(folders.fault("clear", FRONT))
            }
            Kind::File if kept.iter().any(|kept| identity(kept) == identity(&found)) => {
                files::unlink(folder, name).map_err(folders.fault("clear", FRONT))
            }
            _ => {
                let to = removed::move_away(folders, self.now(), folder, name)?;
                shown.moved_away.push(to);
                Ok(())
            }
        }
    }

    /// An operator's name: hidden files are in the folder that is shown as well; what came a moment before the exchange
    /// follows it.
    fn give_back(
        &self,
        old: &OwnedFd,
        name: &OsStr,
        front: &Front,
        shown: &mut Shown,
    ) -> Result<(), DocrootError> {
        let folders = &self.folders;
        let was = files::look(old, name).map_err(folders.fault("clear", FRONT))?;
        if let Some(folder) = &front.folder {
            let is = files::look(folder, name).map_err(folders.fault("clear", FRONT))?;
            if is.is_some() && is.as_ref().map(identity) == was.as_ref().map(identity) {
                return files::unlink(old, name).map_err(folders.fault("clear", FRONT));
            }
            match rustix::fs::renameat_with(old, name, folder, name, RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                Err(error) => return Err(folders.fault("clear", FRONT)(error)),
            }
        }
        let to = removed::move_away(folders, self.now(), old, name)?;
        shown.moved_away.push(to);
        Ok(())
    }
}

/// Whether `timestamp` in a folder that was shown is the one that we wrote there.
fn is_ours(folder: impl AsFd) -> bool {
    let bytes = files::read_whole(folder, TIMESTAMP, TIMESTAMP_BYTES);
    let bytes = bytes.ok().flatten().unwrap_or_default();
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let is_number = |line: &[u8]| !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    lines.next().is_some_and(is_number)
}
