//! What a thief says when it is asked: the truth, what was true once, and what never was.

use tidecast_engine::clock::Clock;
use tidecast_engine::store::{Store, StoredBytes};
use tidecast_proto::id::{ChunkId, ObjectId, RootVersion};
use tidecast_proto::manifest::Manifest;
use tidecast_proto::wire::{
    BundleHeader, ChunkHeader, Encoding, FetchBundle, FrameType, ObjectHeader, ObjectName,
    PROTOCOL, RefusalReason, Refused, Request, Welcome, frame,
};

use super::{Loot, Thief};

impl Thief {
    pub(super) fn reply(&self, request: &Request) -> Vec<u8> {
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
            root_version: RootVersion(root_version),
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
    pub(super) fn head(&self) -> Option<Vec<u8>> {
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
    pub(super) fn manifest(&self, id: ObjectId) -> Option<Manifest> {
        let release = {
            // Whoever calls may hold the lock on the loot; the store knows as well.
            let store = self.open_store()?;
            let stored = store.releases().into_iter().find(|r| r.manifest == id)?;
            store.manifest(stored.release).ok()??
        };
        release.reopen(&id).ok()
    }

    pub(super) fn open_store(&self) -> Option<&Store> {
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

    pub(super) fn unasked_bundle(&self) -> Vec<u8> {
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
