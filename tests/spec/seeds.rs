//! Inputs for fuzzers to begin with that are no vectors: files of a store and a docroot, put together by hand as SPEC §7 and
//! §8 say, and vectors with what a target wants in front of them.

use tidecast_proto::{
    chunker::Chunking,
    codec,
    id::{ChunkId, FeedId, FileHash, ListId, ObjectId, RecipeId, Timestamp},
    manifest::{Database, SignedManifest},
    name::ReleasePath,
};

use super::vectors::Vectors;

/// Head of a record of unpacked bytes. SPEC §7.6.
fn record(kind: u8, id: [u8; 32], stored: &[u8]) -> Vec<u8> {
    let len = u32::try_from(stored.len()).expect("short").to_le_bytes();
    [&[kind, 0, 0, 0][..], &len, &len, &id].concat()
}

/// Head, offset of what is stored, both.
struct Records {
    bytes: Vec<u8>,
    entries: Vec<(Vec<u8>, u32)>,
}

impl Records {
    fn of(stored: &[(u8, [u8; 32], &[u8])]) -> Self {
        let mut records = Self {
            bytes: b"tidecast pack 1\n".to_vec(),
            entries: Vec::new(),
        };
        for (kind, id, stored) in stored {
            let head = record(*kind, *id, stored);
            records.bytes.extend(&head);
            let at = u32::try_from(records.bytes.len()).expect("short");
            records.bytes.extend(*stored);
            records.entries.push((head, at));
        }
        records.entries.sort();
        records
    }

    /// With index and trailer.
    fn sealed(&self) -> Vec<u8> {
        let index: Vec<u8> = self
            .entries
            .iter()
            .flat_map(|(head, at)| [head.as_slice(), &at.to_le_bytes()].concat())
            .collect();
        let place = u32::try_from(self.bytes.len()).expect("short");
        let count = u32::try_from(self.entries.len()).expect("few");
        [
            self.bytes.as_slice(),
            &index,
            blake3::hash(&index).as_bytes(),
            &place.to_le_bytes(),
            &count.to_le_bytes(),
            b"packend\n",
        ]
        .concat()
    }
}

impl Vectors {
    fn taken(&self, target: &str) -> Vec<(String, Vec<u8>)> {
        let prefix = format!("{target}/");
        self.seeds
            .iter()
            .filter_map(|(path, bytes)| {
                Some((path.strip_prefix(&prefix)?.to_owned(), bytes.clone()))
            })
            .collect()
    }

    /// The seeds of `from` are seeds of `to`, too, behind `front`.
    fn lend(&mut self, from: &str, to: &str, front: &[u8]) {
        for (name, bytes) in self.taken(from) {
            self.seed(to, &name, [front, &bytes].concat());
        }
    }

    /// Adds them to what the vectors gave. `old` is the manifest that the bundle starts from.
    pub(crate) fn more_seeds(&mut self, old: &SignedManifest) {
        self.lend("objects", "verify", &[]);
        let root = self.seeds["objects/root"].clone();
        self.seed("ceremony", "root", root);
        self.lend("deflate", "again", &[1]);
        self.lend("deflate", "guess", &[2]);
        self.lend("frames", "session", &[0]);
        let taken = self.taken("frames");
        let talk = ["hello", "poll", "fetch_root", "fetch_object", "receipt"];
        let talk = talk.map(|name| {
            let found = taken.iter().find(|(taken, _)| taken == name);
            found.expect("a frame").1.clone()
        });
        for (standing, name) in [
            (0, "admitted_talks"),
            (1, "unknown_talks"),
            (2, "revoked_talks"),
        ] {
            self.seed("session", name, [&[standing][..], &talk.concat()].concat());
        }
        self.seed("bundle", "old_manifest", old.to_bytes());

        let list = self.seeds["list/list"].clone();
        let recipe = self.seeds["recipe/recipe"].clone();
        let chunk = b"a chunk";
        let records = Records::of(&[
            (0, ChunkId::of(chunk).0, chunk),
            (1, ListId::of(&list).0, &list),
            (3, RecipeId::of(&recipe).0, &recipe),
        ]);
        self.seed("pack", "sealed", [&[0][..], &records.sealed()].concat());
        self.seed("pack", "resealed", [&[7][..], &records.sealed()].concat());
        self.seed("open_pack", "three", records.bytes);
        let spooled = |chunk: &[u8]| {
            let len = u32::try_from(chunk.len()).expect("short").to_le_bytes();
            [&ChunkId::of(chunk).0[..], &len, chunk].concat()
        };
        self.seed(
            "spool",
            "two",
            [spooled(chunk), spooled(b"another")].concat(),
        );

        let manifest = self.seeds["objects/manifest"].clone();
        let signed = SignedManifest::from_bytes(&manifest).expect("our own");
        let id = signed.id();
        let release = signed.reopen(&id).expect("our own").release.0;
        let head = record(2, id.0, &manifest);
        let front = u8::try_from(release * 2).expect("a small number");
        self.seed(
            "release_file",
            "release",
            [&[front][..], &head, &manifest].concat(),
        );

        let records = vec![(
            7_u64,
            512_u64,
            1_800_000_000_i64,
            5_u32,
            1_800_000_001_i64,
            6_u32,
        )];
        let index = (1_u8, ObjectId([0xbb; 32]), Some(Timestamp(9)), records);
        self.seed("index", "one_file", codec::encode(&index));
        self.stat_cache();
    }

    fn stat_cache(&mut self) {
        let moment = (1_800_000_000_i64, 5_u32);
        let entry = |path: &str, database: Option<Database>| {
            let entry = codec::encode(&(
                ReleasePath::new(path).expect("a path"),
                (512_u64, moment, moment, 7_u64, 8_u64),
                Timestamp(9),
                FileHash([1; 32]),
                Some(ListId([2; 32])),
                None::<RecipeId>,
                String::new(),
                database,
            ));
            let len = u32::try_from(entry.len()).expect("short").to_le_bytes();
            [&len[..], &entry].concat()
        };
        let database = Database {
            name: "daily".into(),
            version: 5,
            build_time_s: 6,
        };
        let identity = codec::encode(&(FeedId([7; 32]), Chunking::default(), 0_u8));
        let cache = [
            b"tidecast stat 2\n".as_slice(),
            &identity,
            &2_u32.to_le_bytes(),
            &entry("note.txt", None),
            &entry("daily.cvd", Some(database)),
            // The target makes the hash.
            &[0; 32],
        ];
        self.seed("stat_cache", "two_files", cache.concat());
    }
}
