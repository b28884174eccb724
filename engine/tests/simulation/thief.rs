//! A hostile host among the mirrors' upstreams: with keys stolen from a master, or with none but its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tidecast_engine::clock::Clock;
use tidecast_engine::quic::{self, read_frame};
use tidecast_engine::store::{Store, StoredBytes};
use tidecast_proto::id::{ChunkId, ObjectId, ReleaseNumber};
use tidecast_proto::key::SecretKey;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::wire::{
    BundleHeader, ChunkHeader, Encoding, FetchBundle, FrameType, ObjectHeader, ObjectName,
    PROTOCOL, RefusalReason, Refused, Request, Wait, Welcome, frame,
};

use crate::chance::Chance;
use crate::clock::{EPOCH_MS, HostClock};
use crate::forgery::Forger;
use crate::network::HostNetwork;
use crate::trace;

/// What hostile hosts did, by name.
pub(crate) type Tally = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// What a thief knows: everything that is public, and what it stole.
#[derive(Debug, Default)]
pub(crate) struct Loot {
    /// Every root so far.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Every head that was seen, oldest first.
    pub(crate) heads: Vec<Vec<u8>>,
    /// Releases, oldest first.
    pub(crate) releases: Vec<(ReleaseNumber, ObjectId)>,
}

/// The world as it was at one moment.
#[derive(Debug)]
pub(crate) struct Frozen {
    head: Vec<u8>,
    roots: u64,
    newest: (ReleaseNumber, ObjectId),
}

/// A hostile host.
pub(crate) struct Thief {
    pub(crate) name: String,
    pub(crate) network: HostNetwork,
    pub(crate) clock: HostClock,
    /// What it shows in TLS.
    pub(crate) node_key: SecretKey,
    pub(crate) loot: Arc<Mutex<Loot>>,
    /// The store of a master, which it could have fetched piece by piece.
    pub(crate) store_folder: PathBuf,
    pub(crate) store: OnceLock<Option<Store>>,
    /// How many answers in a hundred are what a master would have said.
    pub(crate) honest: u64,
    /// From when on it shows a world in which nothing new happens, in milliseconds.
    pub(crate) freezes_ms: Option<u64>,
    pub(crate) frozen: OnceLock<Frozen>,
    pub(crate) chance: Mutex<Chance>,
    pub(crate) forger: Option<Forger>,
    pub(crate) tally: Tally,
}

impl std::fmt::Debug for Thief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Thief").field(&self.name).finish()
    }
}

/// What becomes of an answer, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// Never comes.
    Stall,
    /// Comes a byte a second.
    Trickle,
    /// Its stream is reset.
    Reset,
    /// The connection is closed instead.
    Hangup,
    /// Ends in the middle.
    Cut,
    /// A bit is wrong.
    Flip,
    /// Something else altogether.
    Garbage,
    /// Patience is asked for, again and again.
    Wait,
    /// The frame says it is as long as can be.
    Huge,
}

impl Thief {
    fn says(&self, what: &'static str) {
        *self.tally.lock().unwrap().entry(what).or_default() += 1;
        trace::note(&self.name, format_args!("attack: {what}"));
    }

    fn draw<T>(&self, with: impl FnOnce(&mut Chance) -> T) -> T {
        with(&mut self.chance.lock().unwrap())
    }

    /// What it shows of the world, if it hides what came later.
    fn frozen(&self) -> Option<&Frozen> {
        let since = EPOCH_MS + self.freezes_ms?;
        if self.clock.now().0 < since {
            return None;
        }
        let loot = self.loot.lock().unwrap();
        let (head, newest) = (loot.heads.last()?, *loot.releases.last()?);
        Some(self.frozen.get_or_init(|| Frozen {
            head: head.clone(),
            roots: loot.roots.len() as u64,
            newest,
        }))
    }

    /// The head of a world in which nothing happens: fresh as long as it has a key to sign it with.
    fn frozen_head(&self, frozen: &Frozen) -> Vec<u8> {
        self.says("frozen head");
        let fresh = self.forger.as_ref().and_then(|forger| {
            let manifest = self.manifest(frozen.newest.1)?;
            forger.fresh(&frozen.head, &manifest, self.clock.now())
        });
        fresh.unwrap_or_else(|| frozen.head.clone())
    }

    fn is_honest(&self) -> bool {
        // Whoever freezes wants to be stayed with.
        if self.frozen.get().is_some() {
            return true;
        }
        self.draw(|chance| chance.below(100)) < self.honest
    }

    /// Serves for as long as the host is up.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        let bind = self.network.bind(4873)?;
        let endpoint = quic::server(bind, &self.node_key)?;
        tokio::spawn(self.clone().throw_packets());
        while let Some(incoming) = endpoint.accept().await {
            let thief = self.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else {
                    return;
                };
                tokio::spawn(thief.clone().speak_unasked(connection.clone()));
                while let Ok((send, receive)) = connection.accept_bi().await {
                    let question = thief.clone().answer(connection.clone(), send, receive);
                    tokio::spawn(question);
                }
            });
        }
        Ok(())
    }

    /// Datagrams that are no QUIC, to the masters.
    async fn throw_packets(self: Arc<Self>) {
        let Ok(socket) = turmoil::net::UdpSocket::bind("0.0.0.0:0").await else {
            return;
        };
        loop {
            let (pause, bytes, to) = self.draw(|chance| {
                let len = usize::try_from(chance.between(1, 1400)).unwrap();
                let to = *chance.pick(&crate::feed::MASTERS);
                (chance.between(5, 60), chance.bytes(len), to)
            });
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let _ = socket.try_send_to(&bytes, (turmoil::lookup(to), 4873));
        }
    }

    /// Announcements with and without bundles, and frames that nobody asked for.
    async fn speak_unasked(self: Arc<Self>, connection: Connection) {
        let mut unfinished = Vec::new();
        loop {
            let pause = self.draw(|chance| chance.between(1, 90));
            tokio::time::sleep(Duration::from_secs(pause)).await;
            if connection.close_reason().is_some() {
                return;
            }
            if self.frozen().is_some() {
                continue;
            }
            let Ok(mut stream) = connection.open_uni().await else {
                return;
            };
            let bytes = match self.draw(|chance| chance.below(6)) {
                0 => frame(FrameType::ADMITTED, &[]),
                1 => {
                    self.says("unasked garbage");
                    self.draw(|chance| chance.bytes(200))
                }
                2 => frame(FrameType::RECEIPT, b"not yours to send"),
                kind => {
                    let Some(head) = self.head() else {
                        continue;
                    };
                    self.says("unasked head");
                    let mut bytes = frame(FrameType::ANNOUNCE, &head);
                    if kind > 3 {
                        self.says("unasked bundle");
                        bytes.extend(self.unasked_bundle());
                    }
                    bytes
                }
            };
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
            if self.draw(|chance| chance.one_in(4)) {
                self.says("unasked stall");
                unfinished.push(stream);
            } else {
                let _ = stream.finish();
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        connection: Connection,
        mut send: SendStream,
        mut receive: RecvStream,
    ) {
        let Ok(Some((kind, body))) = read_frame(&mut receive).await else {
            return;
        };
        let Ok(request) = Request::decode(kind, &body) else {
            return;
        };
        let way = if self.is_honest() {
            Way::Plain
        } else {
            self.way(&request)
        };
        if let Some(store) = self.open_store() {
            let _ = store.refresh();
        }
        let mut bytes = self.reply(&request);
        match way {
            Way::Plain => {}
            Way::Stall => std::future::pending().await,
            Way::Trickle => {
                for byte in bytes {
                    if send.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                return;
            }
            Way::Reset => {
                let _ = send.reset(VarInt::from_u32(7));
                return;
            }
            Way::Hangup => return connection.close(VarInt::from_u32(9), b"goodbye"),
            Way::Cut => bytes.truncate(self.draw(|chance| chance.index(bytes.len()))),
            Way::Flip => self.draw(|chance| {
                let at = chance.index(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }),
            Way::Garbage => bytes = self.draw(|chance| chance.bytes(300)),
            Way::Wait => {
                let wait = Wait { ms: u32::MAX }.to_frame();
                bytes = wait.repeat(4);
                let _ = send.write_all(&bytes).await;
                std::future::pending::<()>().await;
            }
            Way::Huge => bytes[1..5].copy_from_slice(&u32::MAX.to_le_bytes()),
        }
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
        // Kept until it was read.
        let _ = send.stopped().await;
    }

    fn way(&self, request: &Request) -> Way {
        let (what, way) = self.draw(|chance| match chance.below(20) {
            0 => ("stall", Way::Stall),
            1 => ("trickle", Way::Trickle),
            2 => ("stream reset", Way::Reset),
            3 => ("hangup", Way::Hangup),
            4 | 5 => ("cut short", Way::Cut),
            6..10 => ("flipped bit", Way::Flip),
            10 => ("garbage", Way::Garbage),
            11 => ("endless patience", Way::Wait),
            12 => ("u32::MAX length", Way::Huge),
            _ => ("plain", Way::Plain),
        });
        // A mirror that never gets past the greeting never sees the rest.
        if matches!(request, Request::Hello(_) | Request::Root(_))
            && self.draw(|chance| chance.below(4)) > 0
        {
            return Way::Plain;
        }
        if way != Way::Plain {
            self.says(what);
        }
        way
    }

    fn reply(&self, request: &Request) -> Vec<u8> {
        match request {
            Request::Hello(_) => self.greeting(),
            Request::Root(version) => self.root(version.0),
            // The mirror has seen all there is.
            Request::Poll(_) if self.frozen().is_some() && self.forger.is_none() => {
                self.says("frozen");
                frame(FrameType::UNCHANGED, &[])
            }
            Request::Poll(_) => match self.head() {
                Some(head) => frame(FrameType::ANNOUNCE, &head),
                None => frame(FrameType::UNCHANGED, &[]),
            },
            Request::Object(name) => self.object(*name),
            Request::Chunks(ids) => ids.iter().flat_map(|id| self.chunk(id)).collect(),
            Request::Bundle(fetch) => self.bundle(*fetch),
            Request::Runs(_) => {
                if self.is_honest() {
                    return absent();
                }
                self.says("garbage runs");
                let bytes = self.draw(|chance| chance.bytes(700));
                let mut runs = BundleHeader::of_runs(bytes.len() as u64).to_frame();
                runs.extend(frame(FrameType::PART, &bytes));
                runs
            }
        }
    }

    fn greeting(&self) -> Vec<u8> {
        if !self.is_honest() && self.draw(|chance| chance.one_in(6)) {
            self.says("refusal");
            let reasons = [
                RefusalReason::PENDING,
                RefusalReason::REVOKED,
                RefusalReason::PROTOCOL,
                RefusalReason::WRONG_FEED,
            ];
            let reason = self.draw(|chance| *chance.pick(&reasons));
            return Refused::new(reason, "go away").to_frame();
        }
        let head = self.head();
        let newest = self.loot.lock().unwrap().roots.len() as u64;
        let root_version = match self.draw(|chance| chance.below(4)) {
            _ if self.frozen().is_some() => self.frozen().map_or(1, |frozen| frozen.roots),
            // Hides the newest root, or speaks of one that is not there.
            0 => 1,
            1 => newest + 3,
            _ => newest,
        };
        Welcome {
            protocol: PROTOCOL,
            root_version: tidecast_proto::id::RootVersion(root_version),
            head,
            extensions: Vec::new(),
        }
        .to_frame()
    }

    fn root(&self, version: u64) -> Vec<u8> {
        if self.frozen().is_some_and(|frozen| version > frozen.roots) {
            return absent();
        }
        let honest = self.is_honest() || version == 1;
        let loot = self.loot.lock().unwrap();
        let of = |version: u64| {
            let index = usize::try_from(version).ok()?.checked_sub(1)?;
            Some(frame(FrameType::ROOT, loot.roots.get(index)?))
        };
        if honest {
            return of(version).unwrap_or_else(absent);
        }
        let forged = match &self.forger {
            Some(forger) if self.draw(|chance| chance.one_in(2)) => {
                self.says("forged root");
                forger.root(&loot, version)
            }
            _ => None,
        };
        forged.map_or_else(
            || {
                self.says("hidden or old root");
                of(version - 1).unwrap_or_else(absent)
            },
            |root| frame(FrameType::ROOT, &root),
        )
    }

    /// A head to show: true, old, none, or forged.
    fn head(&self) -> Option<Vec<u8>> {
        if let Some(frozen) = self.frozen() {
            return Some(self.frozen_head(frozen));
        }
        let honest = self.is_honest();
        let loot = self.loot.lock().unwrap();
        let newest = loot.heads.last().cloned();
        if honest {
            return newest;
        }
        match self.draw(|chance| chance.below(6)) {
            0 => newest,
            1 => None,
            2 => {
                self.says("damaged head");
                let mut head = newest?;
                self.draw(|chance| {
                    let at = chance.index(head.len());
                    head[at] ^= 1 << chance.below(8);
                });
                Some(head)
            }
            3 if self.forger.is_some() => self.forged_head(&loot),
            4 if self.forger.is_some() => self.forged_head(&loot),
            _ => {
                self.says("replayed head");
                let index = self.draw(|chance| chance.index(loot.heads.len()));
                loot.heads.get(index).cloned()
            }
        }
    }

    fn forged_head(&self, loot: &Loot) -> Option<Vec<u8>> {
        let forger = self.forger.as_ref()?;
        let newest = loot.releases.last()?;
        let manifest = self.manifest(newest.1)?;
        let (what, head) =
            self.draw(|chance| forger.head(chance, loot, &manifest, self.clock.now()))?;
        self.says(what);
        Some(head)
    }

    /// A true manifest.
    fn manifest(&self, id: ObjectId) -> Option<Manifest> {
        let release = {
            // Whoever calls may hold the lock on the loot; the store knows as well.
            let store = self.open_store()?;
            let stored = store.releases().into_iter().find(|r| r.manifest == id)?;
            store.manifest(stored.release).ok()??
        };
        release.reopen(&id).ok()
    }

    fn open_store(&self) -> Option<&Store> {
        let store = self
            .store
            .get_or_init(|| Store::open(&self.store_folder).ok());
        store.as_ref()
    }

    fn object(&self, name: ObjectName) -> Vec<u8> {
        let forged = match (&self.forger, name) {
            (Some(forger), ObjectName::Manifest(id)) => forger.manifest(&id),
            _ => None,
        };
        let opened = forged.or_else(|| {
            let store = self.open_store()?;
            let other = !self.is_honest() && self.draw(|chance| chance.one_in(4));
            let stored = match name {
                ObjectName::Manifest(id) => {
                    let id = if other {
                        self.says("another release's manifest");
                        store.releases().first()?.manifest
                    } else {
                        id
                    };
                    store.manifest_bytes_packed(&id)
                }
                ObjectName::List(id) => store.list(&id),
                ObjectName::Recipe(id) => store.recipe(&id),
            };
            stored?.open().ok()
        });
        let Some(opened) = opened else {
            return absent();
        };
        let mut header = ObjectHeader {
            encoding: Encoding::PLAIN,
            opened_bytes: opened.len() as u64,
            packed_bytes: opened.len() as u64,
        };
        if !self.is_honest() && self.draw(|chance| chance.one_in(10)) {
            self.says("wrong length");
            header.packed_bytes = self.draw(|chance| chance.below(1 << 40));
        }
        let mut bytes = header.to_frame();
        for part in opened.chunks(1 << 16) {
            bytes.extend(frame(FrameType::PART, part));
        }
        bytes
    }

    fn chunk(&self, id: &ChunkId) -> Vec<u8> {
        let Some(StoredBytes {
            encoding,
            opened_len,
            bytes,
        }) = self.open_store().and_then(|store| store.chunk(id))
        else {
            return absent();
        };
        let mut header = ChunkHeader {
            encoding,
            opened_bytes: opened_len,
        };
        let mut bytes = bytes.to_vec();
        if !self.is_honest() {
            match self.draw(|chance| chance.below(5)) {
                0 => {
                    self.says("wrong chunk");
                    bytes = self.draw(|chance| chance.bytes(bytes.len()));
                    header.encoding = Encoding::PLAIN;
                    header.opened_bytes = u32::try_from(bytes.len()).unwrap();
                }
                1 => {
                    self.says("chunk called absent");
                    return absent();
                }
                2 => {
                    self.says("chunk that opens to 4 GiB");
                    header.opened_bytes = u32::MAX;
                }
                _ => {}
            }
        }
        let mut frame = header.to_frame_start(bytes.len());
        frame.extend(bytes);
        frame
    }

    /// The bundle that a master would send, or one spoiled.
    fn bundle(&self, fetch: FetchBundle) -> Vec<u8> {
        let Some((front, core)) = self.true_bundle(fetch) else {
            return absent();
        };
        let mut bytes = [front, core].concat();
        if !self.is_honest() {
            self.spoil(&mut bytes);
        }
        let header = BundleHeader {
            from: fetch.from,
            to: fetch.to,
            bytes: bytes.len() as u64,
        };
        let mut frames = header.to_frame();
        for part in bytes.chunks(1 << 14) {
            frames.extend(frame(FrameType::PART, part));
        }
        frames
    }

    fn spoil(&self, bytes: &mut Vec<u8>) {
        self.says("spoiled bundle");
        self.draw(|chance| match chance.below(4) {
            0 => bytes.truncate(chance.index(bytes.len())),
            1 => {
                let at = chance.index(bytes.len());
                let junk = chance.bytes(40);
                bytes.splice(at..at, junk);
            }
            2 => {
                // A stretch of it stands in another's place.
                let (from, to) = (chance.index(bytes.len()), chance.index(bytes.len()));
                let len = 64.min(bytes.len() - from.max(to));
                let stretch = bytes[from..from + len].to_vec();
                bytes[to..to + len].copy_from_slice(&stretch);
            }
            _ => {
                for _ in 0..chance.between(1, 4) {
                    let at = chance.index(bytes.len());
                    bytes[at] ^= 1 << chance.below(8);
                }
            }
        });
    }

    /// Front and core of the bundle a master has ready.
    fn true_bundle(&self, fetch: FetchBundle) -> Option<(Vec<u8>, Vec<u8>)> {
        let loot = self.loot.lock().unwrap();
        let number = |id: ObjectId| loot.releases.iter().find(|(_, known)| *known == id);
        let (from, to) = (number(fetch.from)?.0, number(fetch.to)?.0);
        let path = self
            .store_folder
            .join("bundles")
            .join(format!("{from}-{to}.bundle"));
        let mut core = std::fs::read(path).ok()?;
        core.truncate(core.len().checked_sub(32)?);
        let head = loot.heads.last()?;
        let front = tidecast_engine::bundle::front(fetch.from, head, &loot.roots);
        Some((front, core))
    }

    fn unasked_bundle(&self) -> Vec<u8> {
        let ends = {
            let loot = self.loot.lock().unwrap();
            let [.., from, to] = &loot.releases[..] else {
                return Vec::new();
            };
            (from.1, to.1)
        };
        let (from, to) = ends;
        self.bundle(FetchBundle { from, to })
    }
}

fn absent() -> Vec<u8> {
    frame(FrameType::ABSENT, &[])
}
