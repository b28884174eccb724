//! How a master hands out bundles, seen from outside: raw connections over loopback.

mod support;

use quinn::{Connection, RecvStream};
use support::{RunningMaster, World, noise};
use tidecast_engine::master::{self, ExportError, Feed};
use tidecast_engine::quic::{self, Bind, read_frame, write_frame};
use tidecast_engine::store::Store;
use tidecast_proto::bundle::{Header, PartHeader, PartKind};
use tidecast_proto::id::{ListId, ObjectId, ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::wire::{
    BundleHeader, FetchBundle, FetchRuns, FrameType, Hello, PROTOCOL, Request, Serves,
};

/// A node that speaks the protocol by hand.
struct Node {
    connection: Connection,
    _endpoint: quinn::Endpoint,
}

impl Node {
    /// Admitted, with the release `holds` in its docroot.
    async fn welcome(world: &World, master: &RunningMaster, holds: ObjectId) -> Self {
        let key = SecretKey::from_seed(&[9; 32]);
        world.admit(key.public());
        master.master.reload().unwrap();
        let endpoint = quic::client(Bind::any_port_for(master.address).unwrap(), &key).unwrap();
        let connecting = endpoint.connect(master.address, "tidecast").unwrap();
        let node = Self {
            connection: connecting.await.unwrap(),
            _endpoint: endpoint,
        };
        let hello = Hello {
            protocol: PROTOCOL,
            feed: world.feed,
            root_version: RootVersion(1),
            seqs: Vec::new(),
            release: ReleaseNumber(1),
            manifest: Some(holds),
            serves: Serves::NOTHING,
            name: String::new(),
            contact: String::new(),
            hosts: Vec::new(),
            extensions: Vec::new(),
        };
        let mut answer = node.ask(&hello.to_frame().unwrap()).await;
        let (kind, _) = read_frame(&mut answer).await.unwrap().unwrap();
        assert_eq!(kind, FrameType::WELCOME);
        node
    }

    async fn ask(&self, frame: &[u8]) -> RecvStream {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        write_frame(&mut send, frame).await.unwrap();
        send.finish().unwrap();
        receive
    }

    /// The frames that come unasked on the next stream.
    async fn told(&self) -> Vec<(FrameType, Vec<u8>)> {
        frames(self.connection.accept_uni().await.unwrap()).await
    }

    async fn fetch(&self, request: Request) -> Vec<(FrameType, Vec<u8>)> {
        frames(self.ask(&request.to_frame()).await).await
    }
}

async fn frames(mut stream: RecvStream) -> Vec<(FrameType, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(frame) = read_frame(&mut stream).await.unwrap() {
        frames.push(frame);
    }
    frames
}

/// Header and bytes of a bundle in these frames; a master may ask for patience before it.
fn bundle(frames: &[(FrameType, Vec<u8>)]) -> (BundleHeader, Vec<u8>) {
    let mut frames = frames
        .iter()
        .skip_while(|(kind, _)| *kind == FrameType::WAIT);
    let (kind, body) = frames.next().unwrap();
    assert_eq!(*kind, FrameType::BUNDLE);
    let header = BundleHeader::decode(body).unwrap();
    let mut bytes = Vec::new();
    for (kind, body) in frames {
        assert_eq!(*kind, FrameType::PART);
        bytes.extend_from_slice(body);
    }
    assert_eq!(bytes.len() as u64, header.bytes);
    (header, bytes)
}

fn parts(mut bytes: &[u8]) -> Vec<(PartKind, &[u8])> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (header, used) = PartHeader::parse(bytes).unwrap().unwrap();
        let (body, rest) = bytes[used..].split_at(header.body_bytes);
        parts.push((header.kind, body));
        bytes = rest;
    }
    parts
}

const ABSENT: (FrameType, Vec<u8>) = (FrameType::ABSENT, Vec::new());

/// A file that changes in the middle from release to release.
fn edition(number: u8) -> Vec<u8> {
    let mut content = noise(1, 600_000);
    content[300_000] = number;
    content
}

fn publish(world: &World, number: u8) -> ObjectId {
    world.publish(&[("big", &edition(number))]).manifest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundle_follows_the_announcement_of_a_release_and_no_fresh_head() {
    let world = World::new();
    let first = publish(&world, 1);
    let master = RunningMaster::start(&world);
    let node = Node::welcome(&world, &master, first).await;
    let second = publish(&world, 2);
    master.master.reload().unwrap();
    let told = node.told().await;
    assert_eq!(told[0].0, FrameType::ANNOUNCE);
    let (header, bytes) = bundle(&told[1..]);
    assert_eq!((header.from, header.to), (first, second));
    let parts = parts(&bytes);
    assert_eq!(
        parts[0],
        (PartKind::HEADER, &Header { from: first }.encode()[..])
    );
    assert_eq!(parts[1], (PartKind::HEAD, &told[0].1[..]));
    assert_eq!(parts[2].0, PartKind::MANIFEST);
    assert_eq!(parts.last(), Some(&(PartKind::END, &b""[..])));
    assert!(bytes.len() < 2_000, "{} bytes", bytes.len());

    world.clock.advance_ms(master::RESIGN_MS);
    master.master.reload().unwrap();
    let told = node.told().await;
    assert_eq!((told.len(), told[0].0), (1, FrameType::ANNOUNCE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_older_release_leads_to_the_newest_and_nothing_else_does() {
    let world = World::new();
    let first = publish(&world, 1);
    let second = publish(&world, 2);
    let third = publish(&world, 3);
    let master = RunningMaster::start(&world);
    let node = Node::welcome(&world, &master, first).await;
    let fetch = |from, to| Request::Bundle(FetchBundle { from, to });
    let both = tokio::join!(
        node.fetch(fetch(first, third)),
        node.fetch(fetch(first, third))
    );
    assert_eq!(bundle(&both.0), bundle(&both.1));
    let (header, bytes) = bundle(&both.0);
    assert_eq!((header.from, header.to), (first, third));
    let manifests = parts(&bytes)
        .into_iter()
        .filter(|(kind, _)| *kind == PartKind::MANIFEST);
    assert_eq!(manifests.count(), 1);

    assert_eq!(node.fetch(fetch(first, second)).await, [ABSENT]);
    assert_eq!(node.fetch(fetch(ObjectId::of(b"?"), third)).await, [ABSENT]);
    assert_eq!(node.fetch(fetch(third, third)).await, [ABSENT]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_made_for_lists_the_store_has() {
    let world = World::new();
    let list = |number| {
        let report = world.publish(&[("big", &edition(number))]);
        let feed = Feed::load(&world.master_state()).unwrap();
        let store = Store::open(&feed.store_folder()).unwrap();
        let signed = store.manifest(report.release).unwrap().unwrap();
        let manifest = signed.reopen(&report.manifest).unwrap();
        (report.manifest, manifest.file("big").unwrap().list.unwrap())
    };
    let ((first, old), (_, new)) = (list(1), list(2));
    let master = RunningMaster::start(&world);
    let node = Node::welcome(&world, &master, first).await;
    let fetch = |list, base| {
        Request::Runs(FetchRuns {
            list,
            bases: vec![base],
        })
    };
    let (header, bytes) = bundle(&node.fetch(fetch(new, old)).await);
    assert_eq!(header, BundleHeader::of_runs(header.bytes));
    let kinds: Vec<PartKind> = parts(&bytes).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [PartKind::RUN, PartKind::END]);
    assert!(bytes.len() < 100, "{} bytes", bytes.len());
    let unknown = ListId::of(b"unknown");
    assert_eq!(node.fetch(fetch(new, unknown)).await, [ABSENT]);
    assert_eq!(node.fetch(fetch(unknown, old)).await, [ABSENT]);
}

#[test]
fn an_exported_bundle_begins_with_a_live_head_and_is_whole() {
    let world = World::new();
    let first = publish(&world, 1);
    publish(&world, 2);
    let state = world.master_state();
    // A master that only signs.
    master::Master::open(&state, std::sync::Arc::new(world.clock.clone())).unwrap();
    let head = master::newest_head(&state).unwrap().unwrap();
    let feed = Feed::load(&state).unwrap();
    let store = Store::open(&feed.store_folder()).unwrap();
    let path = world.path("carried.bundle");
    let export = |from, now| master::export(&feed, &store, &head, ReleaseNumber(from), &path, now);
    let exported = export(1, world.now()).unwrap();
    assert_eq!((exported.from.0, exported.to.0), (1, 2));
    assert_eq!((exported.files, exported.whole_bytes), (1, 600_000));
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, exported.bytes);
    let parts = parts(&bytes);
    assert_eq!(
        parts[0],
        (PartKind::HEADER, &Header { from: first }.encode()[..])
    );
    assert_eq!(parts[1], (PartKind::HEAD, &head[..]));
    assert_eq!(parts.last().unwrap().0, PartKind::END);

    assert!(matches!(
        export(2, world.now()),
        Err(ExportError::Newest(_))
    ));
    let unknown = export(7, world.now()).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "release 7 is not in the store, which has 1 to 2"
    );
    let late = exported.expires.plus(1);
    assert!(matches!(export(1, late), Err(ExportError::Head(_))));
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "what was there stays");
}
