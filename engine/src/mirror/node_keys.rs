//! Which key this node shows to whom: the present one, and for a while the one before, where only that one is admitted.
//! SPEC §8.1.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tidecast_proto::id::Timestamp;
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::wire::RefusalReason;

use super::NODE_KEY;
use super::rotate::NEXT_NODE_KEY;
use crate::durable::{self, FileError};
use crate::keyfile::{self, KeyFileError};

/// The key before [`NODE_KEY`], while some upstream may know only that one.
pub const OLD_NODE_KEY: &str = "node.old.key";

/// How long the former key is kept where an upstream never answers: its operators had a month, and a key that nobody
/// uses any more is one that nobody misses when it is stolen.
const FORMER_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;

/// Which of this node's keys a connection was dialled with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Shown {
    #[default]
    Present,
    Former,
}

/// What an upstream said to the present key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Welcome,
    /// It may not be here, whatever becomes of the former one.
    Revoked,
    /// Unknown there: the former key is shown in its place.
    Unknown,
    /// Unknown there, and so is the former one.
    BothUnknown,
}

/// The key before the present one, and which upstreams need it. SPEC §10.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerKey {
    /// The former public key.
    pub node_key: String,
    /// Upstreams that do not know the present key yet: their operators have to admit it.
    pub needed_by: Vec<String>,
    /// Upstreams that have not answered since the mirror started.
    pub unanswered: Vec<String>,
}

#[derive(Debug)]
struct Former {
    key: SecretKey,
    /// When the present key took its place.
    since: Timestamp,
    /// By upstream; bounded by those there are.
    answers: BTreeMap<String, Answer>,
}

#[derive(Debug)]
struct Keys {
    present: SecretKey,
    /// An upstream has refused the present key as revoked: it does not live on as the former one.
    revoked: bool,
    former: Option<Former>,
}

/// This node's keys.
#[derive(Debug)]
pub(super) struct NodeKeys {
    state: PathBuf,
    keys: Mutex<Keys>,
}

/// Where the keys are that only rotation knows of.
fn old_path(state: &Path) -> PathBuf {
    state.join(OLD_NODE_KEY)
}

/// The former key, and since when it is that.
fn load_former(state: &Path, present: &PublicKey) -> Result<Option<Former>, KeyFileError> {
    let path = old_path(state);
    let key = match keyfile::load(&path) {
        Ok(key) => key,
        Err(KeyFileError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if key.public() == *present {
        // Killed before the next key took its place: this is a second name of the present one.
        return Ok(None);
    }
    // The change time is that of the renaming: giving a file another name counts as a change.
    let facts = std::fs::metadata(&path).map_err(FileError::at("look at", &path))?;
    let since = u64::try_from(facts.ctime()).unwrap_or(0);
    Ok(Some(Former {
        key,
        since: Timestamp(since.saturating_mul(1000)),
        answers: BTreeMap::new(),
    }))
}

impl NodeKeys {
    /// Reads them. A former key that cannot be read is as good as none: it was only a help.
    ///
    /// # Errors
    /// [`KeyFileError`] of the present one.
    pub(super) fn load(state: &Path) -> Result<Self, KeyFileError> {
        let present = keyfile::load(&state.join(NODE_KEY))?;
        let former = load_former(state, &present.public()).unwrap_or_else(|error| {
            tracing::warn!(%error, "the former node key cannot be used");
            None
        });
        Ok(Self {
            state: state.to_owned(),
            keys: Mutex::new(Keys {
                present,
                revoked: false,
                former,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one this node is known by.
    pub(super) fn present(&self) -> SecretKey {
        self.lock().present.clone()
    }

    /// The one to show to `upstream`.
    pub(super) fn for_upstream(&self, upstream: &str) -> (SecretKey, Shown) {
        let keys = self.lock();
        match &keys.former {
            Some(former) if former.answers.get(upstream) == Some(&Answer::Unknown) => {
                (former.key.clone(), Shown::Former)
            }
            _ => (keys.present.clone(), Shown::Present),
        }
    }

    /// The key that a connection was dialled with; the present one where the former is gone.
    pub(super) fn shown(&self, shown: Shown) -> SecretKey {
        let keys = self.lock();
        match (&keys.former, shown) {
            (Some(former), Shown::Former) => former.key.clone(),
            _ => keys.present.clone(),
        }
    }

    /// The former key, unless it was given up.
    pub(super) fn former(&self) -> Option<PublicKey> {
        self.lock()
            .former
            .as_ref()
            .map(|former| former.key.public())
    }

    /// `upstream` lets in the key that was shown. Says whether it is one that let only the former one in before.
    pub(super) fn welcomed(&self, upstream: &str, shown: Shown) -> bool {
        let mut keys = self.lock();
        let Some(former) = keys.former.as_mut().filter(|_| shown == Shown::Present) else {
            return false;
        };
        let before = former.answers.insert(upstream.into(), Answer::Welcome);
        before == Some(Answer::Unknown)
    }

    /// `upstream` refuses the key that was shown. Says whether to show it the other one now.
    pub(super) fn refused(&self, upstream: &str, shown: Shown, reason: RefusalReason) -> bool {
        // Only keys that are not known can lack room to wait.
        let unknown = matches!(reason, RefusalReason::PENDING | RefusalReason::FULL);
        let mut keys = self.lock();
        if shown == Shown::Present && reason == RefusalReason::REVOKED {
            keys.revoked = true;
        }
        let Some(former) = &mut keys.former else {
            return false;
        };
        let (answer, other) = match shown {
            Shown::Former if reason == RefusalReason::REVOKED => {
                drop(keys);
                tracing::warn!(
                    upstream,
                    "the former node key is revoked there and shown to nobody any more"
                );
                self.forget_former();
                return true;
            }
            Shown::Former if unknown => (Answer::BothUnknown, true),
            Shown::Present if reason == RefusalReason::REVOKED => (Answer::Revoked, false),
            Shown::Present if unknown => match former.answers.get(upstream) {
                Some(Answer::BothUnknown) => return false,
                _ => (Answer::Unknown, true),
            },
            _ => return false,
        };
        former.answers.insert(upstream.into(), answer);
        other
    }

    /// Which of `upstreams` have not said yet that the present key may come, or may not.
    pub(super) fn unsettled(&self, upstreams: &[String]) -> Vec<String> {
        let keys = self.lock();
        let Some(former) = &keys.former else {
            return Vec::new();
        };
        let settled = |upstream: &&String| {
            let answer = former.answers.get(*upstream);
            !matches!(answer, Some(Answer::Welcome | Answer::Revoked))
        };
        upstreams.iter().filter(settled).cloned().collect()
    }

    /// Gives up the former key once nobody needs it, or too much time has passed.
    pub(super) fn settle(&self, upstreams: &[String], now: Timestamp) {
        let Some(since) = self.lock().former.as_ref().map(|former| former.since) else {
            return;
        };
        let left = self.unsettled(upstreams);
        let over = now.0.saturating_sub(since.0) >= FORMER_KEPT_MS;
        if over && !left.is_empty() {
            tracing::warn!(
                upstreams = left.join(" "),
                "the former node key was kept for 30 days and is removed; these upstreams have not let the present one in"
            );
        }
        if over || left.is_empty() {
            self.forget_former();
        }
        if let Some(former) = &mut self.lock().former {
            former.answers.retain(|name, _| upstreams.contains(name));
        }
    }

    /// Removes the former key.
    pub(super) fn forget_former(&self) {
        self.lock().former = None;
        if let Err(error) = remove(&old_path(&self.state)) {
            tracing::error!(%error, "the former node key could not be removed: remove it by hand");
        }
    }

    /// Whether the present key was refused as revoked anywhere.
    pub(super) fn is_revoked(&self) -> bool {
        self.lock().revoked
    }

    /// The next key becomes this node's, in one step: a crash leaves the old one or the new one. `keep`: the present
    /// one is the former from now on; `answers` says what upstreams made of the next one.
    ///
    /// # Errors
    /// [`FileError`]; the present key still is.
    pub(super) fn take(
        &self,
        next: SecretKey,
        keep: bool,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<(), FileError> {
        let mut keys = self.lock();
        let present = self.state.join(NODE_KEY);
        let old = old_path(&self.state);
        if keep {
            durable::second_name(&present, &old)?;
        } else {
            remove(&old)?;
        }
        let waiting = self.state.join(NEXT_NODE_KEY);
        std::fs::rename(&waiting, &present).map_err(FileError::at("rename to", &present))?;
        durable::sync_folder_of(&present)?;
        let before = std::mem::replace(&mut keys.present, next);
        let unknown = asked.unknown.iter().map(|u| (u.clone(), Answer::Unknown));
        let welcome = asked.by.iter().map(|u| (u.clone(), Answer::Welcome));
        keys.former = keep.then(|| Former {
            key: before,
            since: now,
            answers: unknown.chain(welcome).collect(),
        });
        keys.revoked = false;
        Ok(())
    }

    /// How the former key stands.
    pub(super) fn status(&self, upstreams: &[String]) -> Option<FormerKey> {
        let keys = self.lock();
        let former = keys.former.as_ref()?;
        let with = |wanted: &[Option<&Answer>]| {
            let all = upstreams.iter();
            all.filter(|name| wanted.contains(&former.answers.get(*name)))
                .cloned()
                .collect()
        };
        Some(FormerKey {
            node_key: former.key.public().to_string(),
            needed_by: with(&[Some(&Answer::Unknown), Some(&Answer::BothUnknown)]),
            unanswered: with(&[None]),
        })
    }
}

/// What upstreams said to a next key.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The first that lets it in.
    pub(super) by: Option<String>,
    /// Those asked before it that do not know it.
    pub(super) unknown: Vec<String>,
}

fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => durable::sync_folder_of(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::at("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a:1";
    const B: &str = "b:1";
    const NOW: Timestamp = Timestamp(1_000_000);

    struct Place {
        folder: tempfile::TempDir,
        keys: NodeKeys,
        old: PublicKey,
        new: PublicKey,
    }

    impl Place {
        /// The next key was taken: A knows it, B does not.
        fn rotated() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let old = keyfile::generate_at(&folder.path().join(NODE_KEY)).unwrap();
            let next = keyfile::generate_at(&folder.path().join(NEXT_NODE_KEY)).unwrap();
            let keys = NodeKeys::load(folder.path()).unwrap();
            let new = next.public();
            let asked = Asked {
                by: Some(A.into()),
                unknown: Vec::new(),
            };
            keys.take(next, true, &asked, NOW).unwrap();
            Self {
                folder,
                keys,
                old: old.public(),
                new,
            }
        }

        fn shows(&self, upstream: &str) -> PublicKey {
            self.keys.for_upstream(upstream).0.public()
        }

        fn is_kept(&self) -> bool {
            let there = self.folder.path().join(OLD_NODE_KEY).exists();
            assert_eq!(there, self.keys.former().is_some());
            there
        }
    }

    fn both() -> [String; 2] {
        [A.into(), B.into()]
    }

    #[test]
    fn the_former_key_is_shown_where_only_it_is_known_and_goes_when_all_know_the_present_one() {
        let place = Place::rotated();
        let keys = &place.keys;
        assert!(place.is_kept());
        assert_eq!((place.shows(A), place.shows(B)), (place.new, place.new));
        assert!(keys.refused(B, Shown::Present, RefusalReason::PENDING));
        assert_eq!((place.shows(A), place.shows(B)), (place.new, place.old));
        assert!(!keys.welcomed(B, Shown::Former));
        keys.settle(&both(), NOW);
        assert!(place.is_kept());
        assert_eq!(keys.status(&both()).unwrap().needed_by, [B]);
        assert!(keys.welcomed(B, Shown::Present), "it may come back");
        assert_eq!(place.shows(B), place.new);
        keys.settle(&both(), NOW);
        assert!(!place.is_kept());
        assert_eq!(keys.status(&both()), None);
    }

    #[test]
    fn a_former_key_that_anybody_has_revoked_is_shown_to_nobody() {
        let place = Place::rotated();
        assert!(place.keys.refused(B, Shown::Present, RefusalReason::FULL));
        assert!(place.keys.refused(B, Shown::Former, RefusalReason::REVOKED));
        assert_eq!(place.shows(B), place.new);
        assert!(!place.is_kept());
        let again = place
            .keys
            .refused(B, Shown::Present, RefusalReason::PENDING);
        assert!(!again, "there is no other key any more");
        assert!(
            NodeKeys::load(place.folder.path())
                .unwrap()
                .former()
                .is_none()
        );
    }

    #[test]
    fn where_neither_key_is_known_the_present_one_waits() {
        let place = Place::rotated();
        assert!(
            place
                .keys
                .refused(B, Shown::Present, RefusalReason::PENDING)
        );
        assert!(place.keys.refused(B, Shown::Former, RefusalReason::PENDING));
        assert_eq!(place.shows(B), place.new);
        assert!(
            !place
                .keys
                .refused(B, Shown::Present, RefusalReason::PENDING)
        );
        assert_eq!(place.keys.status(&both()).unwrap().needed_by, [B]);
    }

    #[test]
    fn an_upstream_that_never_answers_keeps_the_former_key_for_30_days() {
        let place = Place::rotated();
        place.keys.settle(&both(), NOW.plus(FORMER_KEPT_MS - 1));
        assert!(place.is_kept());
        assert_eq!(place.keys.status(&both()).unwrap().unanswered, [B]);
        // A start forgets who has answered, and nothing else.
        let again = NodeKeys::load(place.folder.path()).unwrap();
        assert_eq!(again.former(), Some(place.old));
        assert_eq!(again.unsettled(&both()), both());
        place.keys.settle(&both(), NOW.plus(FORMER_KEPT_MS));
        assert!(!place.is_kept());
    }

    #[test]
    fn killed_before_the_next_key_was_taken_a_mirror_has_no_former_one() {
        let folder = tempfile::tempdir().unwrap();
        let key = keyfile::generate_at(&folder.path().join(NODE_KEY)).unwrap();
        let old = folder.path().join(OLD_NODE_KEY);
        durable::second_name(&folder.path().join(NODE_KEY), &old).unwrap();
        let keys = NodeKeys::load(folder.path()).unwrap();
        assert_eq!(keys.present().public(), key.public());
        assert_eq!(keys.former(), None);
    }
}
