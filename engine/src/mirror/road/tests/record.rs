//! A record of what was believed that is lost, foreign or cannot be written keeps a mirror from installing for as long as that
//! lasts, and never from serving.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidecast_proto::mirror::SyncOutcome;

use super::kit::{Feed, Fixed, Made, NOW, Release, build};
use crate::chain_log;
use crate::docroot::DocrootError;
use crate::mirror::history::{FORMAT, Step, TRUST_LOG, damaged_name};
use crate::mirror::work::RootSource;
use crate::mirror::{Mirror, MirrorError, SyncError, SyncReport};
use crate::small_disk::SmallDisk;

/// A feed of two releases, and a mirror at the first of them.
struct Scene {
    feed: Feed,
    new: Release,
    /// Absent while it is stopped.
    running: Option<Arc<Mirror>>,
}

impl Scene {
    async fn of(feed: Feed) -> Self {
        let old = feed.release(1, None, &[("f", Made::plain(b"one"))]);
        let new = feed.release(2, Some(&old), &[("f", Made::plain(b"two"))]);
        let running = Some(feed.mirror_at(&old).await);
        Self { feed, new, running }
    }

    fn mirror(&self) -> &Arc<Mirror> {
        self.running.as_ref().unwrap()
    }

    fn state(&self) -> PathBuf {
        self.feed.folder.path().join("state")
    }

    fn log(&self) -> PathBuf {
        self.state().join(TRUST_LOG)
    }

    /// Stops the mirror, has `meanwhile` done, and starts it again.
    fn restart_after(&mut self, meanwhile: impl FnOnce(&Self)) {
        let config = self.mirror().config().clone();
        self.running = None;
        meanwhile(self);
        let asked = Instant::now();
        let (mirror, _) = loop {
            match Mirror::open(&self.state(), config.clone(), Arc::new(Fixed)) {
                // The old one's disk thread is just letting go of it.
                Err(MirrorError::Docroot(DocrootError::InUse { .. }))
                    if asked.elapsed() < Duration::from_secs(10) =>
                {
                    std::thread::yield_now();
                }
                opened => break opened.unwrap(),
            }
        };
        self.running = Some(mirror);
    }

    async fn install(&self) -> Result<(), SyncError> {
        let work = self.mirror().work();
        let nobody = RootSource::Carried(Vec::new().into_iter());
        let (trust, head) = work.judge(&self.new.head, NOW, nobody).await?;
        build(&work, &self.new).await;
        let mut report = SyncReport::default();
        work.go_live(&trust, &head, NOW, &self.new.manifest, &mut report)
            .await
    }

    /// The release that is served, and its file.
    async fn served(&self) -> (u64, Vec<u8>) {
        self.mirror().publish_site().await;
        let file = self.feed.served("f").unwrap();
        (self.mirror().status().release, file)
    }

    fn warns(&self) -> bool {
        let warnings = self.mirror().status().warnings;
        warnings.iter().any(|warning| warning.about == "trust_log")
    }

    /// Releases by the log, from where it begins: it reads to its end.
    fn told(&self) -> Vec<u64> {
        let mut releases = Vec::new();
        let take = &mut |record: &chain_log::Record| {
            releases.push(match Step::decode(record).unwrap().1 {
                Step::Began { installed, .. } => installed.map_or(0, |i| i.release.0),
                Step::Installed { installed, .. } => installed.release.0,
                other => panic!("{other:?}"),
            });
        };
        chain_log::read(&self.log(), &FORMAT, take).unwrap();
        releases
    }
}

#[tokio::test]
async fn a_record_that_is_replaced_while_it_is_in_use_is_begun_anew_and_the_release_installed() {
    let other = {
        let scene = Scene::of(Feed::seeded(9)).await;
        fs::read(scene.log()).unwrap()
    };
    type Replaced<'a> = (&'a str, Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>, bool);
    let cases: [Replaced<'_>; 5] = [
        ("removed", Box::new(|_| None), false),
        ("emptied", Box::new(|_| Some(Vec::new())), false),
        (
            "cut",
            Box::new(|log| Some(log[..log.len() / 2].to_vec())),
            true,
        ),
        ("another", Box::new(move |_| Some(other.clone())), true),
        (
            "added to",
            Box::new(|log| Some([log, &[7; 300]].concat())),
            true,
        ),
    ];
    for (what, replace, is_kept) in cases {
        let scene = Scene::of(Feed::new()).await;
        let before = fs::read(scene.log()).unwrap();
        fs::remove_file(scene.log()).unwrap();
        let now = replace(&before);
        if let Some(now) = &now {
            fs::write(scene.log(), now).unwrap();
        }
        scene
            .install()
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(scene.served().await, (2, b"two".to_vec()), "{what}");
        assert_eq!(scene.told(), [1, 2], "{what}");
        let kept = fs::read(scene.state().join(damaged_name(1))).ok();
        assert_eq!(kept, now.filter(|_| is_kept), "{what}");
        assert!(!scene.warns(), "{what}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_tried_again_while_the_release_is_served() {
    let mut scene = Scene::of(Feed::new()).await;
    let away = scene.state().join("away");
    scene.restart_after(|scene| {
        fs::rename(scene.log(), &away).unwrap();
        // Whoever runs the tests may be allowed to read everything; nobody reads a folder.
        fs::create_dir(scene.log()).unwrap();
    });
    assert_eq!(scene.served().await, (1, b"one".to_vec()));
    assert!(scene.warns());
    let error = scene.install().await.unwrap_err();
    assert_eq!(error.outcome(), SyncOutcome::LocalFault, "{error}");
    scene.mirror().tidy().await;
    assert!(scene.warns());
    assert_eq!(scene.served().await, (1, b"one".to_vec()));

    fs::remove_dir(scene.log()).unwrap();
    fs::rename(&away, scene.log()).unwrap();
    scene.mirror().tidy().await;
    assert!(!scene.warns());
    scene.install().await.unwrap();
    assert_eq!(scene.served().await, (2, b"two".to_vec()));
    assert_eq!(scene.told(), [0, 1, 2]);
}

#[tokio::test]
async fn a_damaged_record_on_a_full_disk_waits_for_room_while_the_release_is_served() {
    let Some(disk) = SmallDisk::mount("1m") else {
        let test = "a_damaged_record_on_a_full_disk_waits_for_room_while_the_release_is_served";
        crate::skip::skip(test, "no right to mount a small disk");
        return;
    };
    let feed = Feed::new();
    std::os::unix::fs::symlink(disk.path(), feed.folder.path().join("state")).unwrap();
    let mut scene = Scene::of(feed).await;
    let filler = disk.path().join("filler");
    scene.restart_after(|scene| {
        let mut log = fs::read(scene.log()).unwrap();
        log[20] ^= 1;
        fs::write(scene.log(), log).unwrap();
        fs::write(&filler, vec![1; 4 << 20]).unwrap_err();
    });
    assert_eq!(scene.served().await, (1, b"one".to_vec()));
    assert!(scene.warns());
    let error = scene.install().await.unwrap_err();
    assert_eq!(error.outcome(), SyncOutcome::LocalFault, "{error}");
    assert_eq!(scene.served().await, (1, b"one".to_vec()));

    fs::remove_file(&filler).unwrap();
    scene.mirror().tidy().await;
    assert!(!scene.warns());
    scene.install().await.unwrap();
    assert_eq!(scene.served().await, (2, b"two".to_vec()));
    assert_eq!(scene.told(), [1, 2]);
    assert!(scene.state().join(damaged_name(1)).exists());
}

/// A state folder from a backup beside a docroot that went on.
#[tokio::test]
async fn a_counter_that_cannot_rise_to_the_docroots_release_keeps_nothing_from_being_served() {
    let mut scene = Scene::of(Feed::new()).await;
    let counters = scene.state().join("counters");
    let (before, log) = (fs::read(&counters).unwrap(), fs::read(scene.log()).unwrap());
    scene.install().await.unwrap();
    let away = scene.state().join("away");
    scene.restart_after(|scene| {
        fs::write(&counters, &before).unwrap();
        fs::write(&away, &log).unwrap();
        fs::remove_file(scene.log()).unwrap();
        fs::create_dir(scene.log()).unwrap();
    });
    assert_eq!(scene.served().await, (2, b"two".to_vec()));
    assert!(scene.warns());
    // It binds all the same: nothing older is taken.
    let work = scene.mirror().work();
    let installed = work.beliefs.with(|trust| trust.installed_release().0);
    assert_eq!(installed, Some(2));

    fs::remove_dir(scene.log()).unwrap();
    fs::rename(&away, scene.log()).unwrap();
    let nobody = RootSource::Carried(Vec::new().into_iter());
    work.judge(&scene.new.head, NOW, nobody).await.unwrap();
    assert_eq!(scene.told(), [0, 1, 2]);
}
