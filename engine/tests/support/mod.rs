//! A feed on loopback: a master and mirrors in this process, real sockets and real docroots.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod hostile;
pub(crate) mod staller;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tidecast_engine::clock::{Clock, SystemClock};
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::keyfile;
use tidecast_engine::master::{self, Decision, Feed, Master, NewFeed, Nodes};
use tidecast_engine::mirror::{MIRROR_CONFIG, Mirror, NODE_KEY};
use tidecast_engine::publish::{PublishReport, PublishRequest, publish};
use tidecast_engine::quic::Bind;
use tidecast_engine::store::StoreWriter;
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::id::{FeedId, FeedName, ReleaseNumber, Timestamp};
use tidecast_proto::key::PublicKey;
use tidecast_proto::manifest::Flags;
use tokio::sync::oneshot;

/// A clock that tests move.
#[derive(Debug, Clone)]
pub(crate) struct TestClock(Arc<Mutex<u64>>);

impl TestClock {
    pub(crate) fn at_present() -> Self {
        Self(Arc::new(Mutex::new(SystemClock.now().0)))
    }

    pub(crate) fn advance_ms(&self, ms: u64) {
        *self.0.lock().unwrap() += ms;
    }

    pub(crate) fn go_back_ms(&self, ms: u64) {
        *self.0.lock().unwrap() -= ms;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(*self.0.lock().unwrap())
    }
}

/// A feed with its folders.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) feed: FeedId,
    pub(crate) clock: TestClock,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::at_present();
        let feed = master::init(
            NewFeed {
                name: FeedName::new("test").unwrap(),
                state: &folder.path().join("master"),
                keys: &folder.path().join("keys"),
                verify: VerifyPolicy::None,
                master_name: "master".into(),
                addresses: Vec::new(),
            },
            clock.now(),
        )
        .unwrap();
        Self {
            folder,
            feed,
            clock,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn master_state(&self) -> PathBuf {
        self.path("master")
    }

    /// Publishes exactly these files.
    pub(crate) fn publish(&self, files: &[(&str, &[u8])]) -> PublishReport {
        self.publish_with(files, Flags::default())
    }

    pub(crate) fn publish_with(&self, files: &[(&str, &[u8])], flags: Flags) -> PublishReport {
        let tree = self.path("tree");
        let _ = std::fs::remove_dir_all(&tree);
        for (path, content) in files {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let feed = Feed::load(&self.master_state()).unwrap();
        let key = keyfile::load(&self.path("keys").join(master::RELEASE_KEY)).unwrap();
        let mut writer = StoreWriter::open(&feed.store_folder()).unwrap();
        publish(
            &mut writer,
            &PublishRequest {
                tree: &tree,
                root: &feed.root,
                feed: feed.id,
                keys: &[key],
                verify: feed.verify,
                notes: String::new(),
                flags,
                cache: &feed.publish_cache(),
                now: self.clock.now(),
                even_if_unchanged: false,
                above: ReleaseNumber(0),
            },
            &mut |_| {},
        )
        .unwrap()
    }

    pub(crate) fn admit(&self, key: PublicKey) {
        let now = self.clock.now();
        Nodes::decide(&self.master_state(), key, Decision::Admit, None, now).unwrap();
    }

    pub(crate) fn revoke(&self, key: &PublicKey) {
        let now = self.clock.now();
        Nodes::decide(&self.master_state(), *key, Decision::Revoke, None, now).unwrap();
    }

    /// A mirror called `name`, not yet admitted.
    pub(crate) fn mirror(&self, name: &str, upstreams: &[String]) -> Arc<Mirror> {
        let state = self.path(&format!("{name}.state"));
        std::fs::create_dir_all(&state).unwrap();
        keyfile::load_or_generate(&state.join(NODE_KEY)).unwrap();
        let config = MirrorConfig {
            fingerprint: self.feed.to_string(),
            upstreams: upstreams.to_vec(),
            docroot: self.docroot(name),
            name: name.into(),
            scrub_s: 0,
            ..MirrorConfig::default()
        };
        config::store(&state.join(MIRROR_CONFIG), &config, "A mirror of a test.").unwrap();
        Mirror::open(&state, config, Arc::new(self.clock.clone()))
            .unwrap()
            .0
    }

    /// The same, admitted.
    pub(crate) fn admitted_mirror(&self, name: &str, upstreams: &[String]) -> Arc<Mirror> {
        let mirror = self.mirror(name, upstreams);
        self.admit(mirror.node_key());
        mirror
    }

    pub(crate) fn docroot(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.docroot"))
    }

    pub(crate) fn served(&self, name: &str, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.docroot(name).join(path)).ok()
    }
}

/// A feed whose release 1 is the file `f`, its master, and the mirror `m`, which is admitted and has asked for nothing yet.
pub(crate) fn small_feed() -> (World, RunningMaster, Arc<Mirror>) {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    (world, master, mirror)
}

/// A master that serves until dropped.
pub(crate) struct RunningMaster {
    pub(crate) master: Arc<Master>,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl RunningMaster {
    pub(crate) fn start(world: &World) -> Self {
        Self::start_at(world, ([127, 0, 0, 1], 0).into())
    }

    pub(crate) fn start_at(world: &World, address: SocketAddr) -> Self {
        let master =
            Arc::new(Master::open(&world.master_state(), Arc::new(world.clock.clone())).unwrap());
        let endpoint = master.listen(Bind::udp(address).unwrap()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(master.clone().serve(endpoint, async {
            let _ = stopped.await;
        }));
        Self {
            master,
            address,
            stop: Some(stop),
        }
    }

    pub(crate) fn upstream(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }
}

impl Drop for RunningMaster {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// A mirror's daemon loop.
pub(crate) struct RunningMirror {
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl RunningMirror {
    pub(crate) fn start(mirror: &Arc<Mirror>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(mirror.clone().run(async {
            let _ = stopped.await;
        }));
        Self { stop, running }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }
}

/// Bytes without structure, different for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Waits until `check` holds.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if check() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Opens a mirror again: its docroot's lock goes with the disk thread, a moment after the mirror itself.
pub(crate) async fn reopen(world: &World, state: &Path, config: MirrorConfig) -> Arc<Mirror> {
    let clock = Arc::new(world.clock.clone());
    for _ in 0..500 {
        match Mirror::open(state, config.clone(), clock.clone()) {
            Ok((mirror, _)) => return mirror,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
    panic!("the docroot's lock was never let go");
}
