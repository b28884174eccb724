//! Releases to build bundles between, and a receiver that believes nothing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use tidecast_proto::bundle::{
    ContentRef, FilePart, Form, Origins, PartHeader, PartKind, RunPart, Side, base_bytes,
    check_run, check_run_size,
};
use tidecast_proto::chunker::{Chunker, Chunking};
use tidecast_proto::codec;
use tidecast_proto::deflate::Parameters;
use tidecast_proto::id::{ChunkId, Epoch, FeedId, FileHash, ObjectId, ReleaseNumber, Timestamp};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::{Database, File, Flags, Manifest, ManifestBody, SignedManifest};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::recipe::{Deflate, Recipe, RecipeBody, Segment};

use crate::packing::delta::open_with_prefix;
use crate::store::{Store, StoreWriter};

/// A store that releases are put into.
pub(super) struct Shelf {
    pub(super) folder: tempfile::TempDir,
    writer: StoreWriter,
    chunker: Chunker,
    releases: u64,
}

impl Shelf {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            writer: StoreWriter::open(folder.path()).unwrap(),
            folder,
            chunker: Chunker::new(Chunking::default()),
            releases: 0,
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.writer.store()
    }

    /// Makes a release of these files; those with gzip in them are stored opened as well.
    pub(super) fn release(&mut self, files: &[(&str, &[u8])]) -> Manifest {
        let files = files.iter().map(|(path, bytes)| self.file(path, bytes));
        let mut files: Vec<File> = files.collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        self.releases += 1;
        let body = ManifestBody {
            feed: FeedId::of(b"feed"),
            epoch_min: Epoch(0),
            release: ReleaseNumber(self.releases),
            previous: (self.releases > 1).then(|| ObjectId::of(b"the one before")),
            anchor: None,
            created: Timestamp(1_767_258_000_000 + self.releases * 86_400_000),
            notes: String::new(),
            files,
            flags: Flags::default(),
            extensions: Vec::new(),
        };
        let key = SecretKey::from_seed(&[7; 32]);
        let signed = SignedManifest::sign(&body, &[&key]).unwrap();
        self.writer.add_release(body.release, &signed).unwrap();
        let id = signed.id();
        signed.reopen(&id).unwrap()
    }

    /// The folder's files as a release.
    pub(super) fn release_of(&mut self, folder: &Path) -> Manifest {
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        };
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(read).collect();
        let files: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        self.release(&files)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> File {
        let stored = self.content(bytes);
        let list = (stored.entries().len() > 1).then(|| self.writer.put_list(&stored).unwrap().0);
        let recipe = opened(bytes).map(|(start, plain)| {
            let opened = self.content(&plain);
            let opened = self.writer.put_list(&opened).unwrap().0;
            let (head, rest) = bytes.split_at(start);
            let (packed, tail) = rest.split_at(rest.len() - 8 - trailer_bytes(path, bytes));
            let deflate =
                Deflate::new(Parameters::SIGTOOL, plain.len() as u64, packed.len() as u64);
            let segments = vec![
                Segment::Literal(head.into()),
                Segment::Deflate(deflate),
                Segment::Literal(tail.into()),
            ];
            let recipe = Recipe::new(RecipeBody { opened, segments }).unwrap();
            self.writer.put_recipe(&recipe).unwrap().0
        });
        let version = path.ends_with(".cvd").then(|| {
            let header = String::from_utf8_lossy(&bytes[..512]).into_owned();
            header.split(':').nth(2).unwrap().parse().unwrap()
        });
        File {
            path: ReleasePath::new(path).unwrap(),
            size: bytes.len() as u64,
            executable: false,
            mtime_s: 1_767_258_000 + self.releases,
            hash: FileHash::of(bytes),
            list,
            recipe,
            database: version.map(|version| Database {
                name: path.trim_end_matches(".cvd").into(),
                version,
                build_time_s: 1_767_258_000 + version * 86_400,
            }),
        }
    }

    fn content(&mut self, mut bytes: &[u8]) -> List {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(self.chunker.cut(bytes));
            let id = ChunkId::of(chunk);
            self.writer.put_chunk(&id, chunk).unwrap();
            let len = u32::try_from(chunk.len()).unwrap();
            entries.push(Entry { id, len });
            bytes = rest;
        }
        List::new(entries).unwrap()
    }
}

/// Where the deflate stream of a sample file begins, and what it holds.
fn opened(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let gzip = bytes.windows(4).position(|at| at == [0x1f, 0x8b, 8, 0])?;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&bytes[gzip..])
        .read_to_end(&mut plain)
        .ok()?;
    Some((gzip + 10, plain))
}

/// Bytes of a sample file after its gzip.
fn trailer_bytes(path: &str, bytes: &[u8]) -> usize {
    match path.ends_with(".cdiff") {
        true => bytes.iter().rev().take_while(|byte| **byte != b':').count() + 1,
        false => 0,
    }
}

/// A mirror that has the old release and reads a core.
pub(super) struct Receiver<'a> {
    store: &'a Store,
    old: &'a Manifest,
    contents: BTreeMap<(Side, u32, u8), Held>,
}

struct Held {
    list: List,
    recipe: Vec<u8>,
    bytes: Vec<u8>,
}

/// Parts of a core.
pub(super) fn parts(mut core: &[u8]) -> Vec<(PartKind, Vec<u8>)> {
    let mut parts = Vec::new();
    while !core.is_empty() {
        let (header, used) = PartHeader::parse(core).unwrap().unwrap();
        let (body, rest) = core[used..].split_at(header.body_bytes);
        parts.push((header.kind, body.to_vec()));
        core = rest;
    }
    parts
}

impl<'a> Receiver<'a> {
    pub(super) fn new(store: &'a Store, old: &'a Manifest) -> Self {
        Self {
            store,
            old,
            contents: BTreeMap::new(),
        }
    }

    /// Reads a core as the specification says and checks everything against what is signed. Returns the new manifest and
    /// how many files had sections.
    pub(super) fn apply(&mut self, core: &[u8]) -> (Manifest, usize) {
        let parts = parts(core);
        let mut parts = parts
            .iter()
            .map(|(kind, body)| (*kind, &body[..]))
            .peekable();
        let manifest = parts.next_if(|(kind, _)| *kind == PartKind::MANIFEST);
        let prefix = codec::encode(&**self.old);
        let body = manifest.expect("a MANIFEST first").1;
        let signed = open_with_prefix(body, &prefix, limits::MANIFEST_BYTES).unwrap();
        let signed = SignedManifest::from_bytes(&signed).unwrap();
        let id = signed.id();
        let new = signed.reopen(&id).unwrap();
        let mut sections = 0;
        while let Some((_, body)) = parts.next_if(|(kind, _)| *kind == PartKind::FILE) {
            let section = FilePart::decode(body).unwrap();
            let file = &new.files[section.file as usize];
            for base in &section.bases {
                self.hold(*base);
            }
            let key = |c: &ContentRef| (c.side, c.file, c.form as u8);
            let bases: Vec<&Held> = section
                .bases
                .iter()
                .map(|b| &self.contents[&key(b)])
                .collect();
            let first = bases.first();
            let mut held = Held {
                list: List::new(Vec::new()).unwrap(),
                recipe: Vec::new(),
                bytes: Vec::new(),
            };
            let recipe = parts.next_if(|(kind, _)| *kind == PartKind::RECIPE);
            assert_eq!(recipe.is_some(), section.form == Form::Opened);
            let list = parts.next_if(|(kind, _)| *kind == PartKind::LIST);
            assert_eq!(
                list.is_some(),
                section.form == Form::Opened || file.list.is_some()
            );
            let list_prefix = first.map(|base| base.list.encode()).unwrap_or_default();
            let list = list
                .map(|(_, body)| open_with_prefix(body, &list_prefix, limits::LIST_BYTES).unwrap());
            if let Some((_, body)) = recipe {
                let prefix = first.map(|base| &base.recipe[..]).unwrap_or_default();
                held.recipe = open_with_prefix(body, prefix, limits::RECIPE_BYTES).unwrap();
                let recipe = Recipe::decode(&held.recipe, file.recipe.unwrap(), file.size).unwrap();
                let list = list.unwrap();
                held.list = List::decode(&list, recipe.opened(), recipe.opened_bytes()).unwrap();
            } else {
                held.list = match list {
                    Some(list) => List::decode(&list, file.list.unwrap(), file.size).unwrap(),
                    None => List::of_small_file(file.hash, file.size).unwrap(),
                };
            }
            let lists: Vec<&List> = bases.iter().map(|base| &base.list).collect();
            let origins = Origins::new(&held.list, &lists);
            let mut chunks: BTreeMap<ChunkId, Vec<u8>> = BTreeMap::new();
            let mut from = 0;
            while let Some((_, body)) = parts.next_if(|(kind, _)| *kind == PartKind::RUN) {
                let run = RunPart::decode(body).unwrap();
                let range = origins.next_run(from, &run).unwrap();
                let target = &held.list.entries()[range.clone()];
                let ranges = run
                    .bases
                    .iter()
                    .map(|r| (r.base, base_bytes(*r, &lists).unwrap()));
                let ranges: Vec<_> = ranges.collect();
                let bytes: Vec<_> = ranges.iter().map(|(_, range)| range.clone()).collect();
                check_run_size(target, &bytes).unwrap();
                let prefix: Vec<u8> = ranges
                    .iter()
                    .flat_map(|(base, range)| {
                        let at = |at| usize::try_from(at).unwrap();
                        let (start, end) = (at(range.start), at(range.end));
                        bases[*base as usize].bytes[start..end].iter().copied()
                    })
                    .collect();
                let opened = open_with_prefix(run.frame, &prefix, limits::RUN_BYTES).unwrap();
                check_run(target, &opened).unwrap();
                let mut rest = &opened[..];
                for entry in target {
                    let (chunk, after) = rest.split_at(entry.len as usize);
                    chunks.insert(entry.id, chunk.into());
                    rest = after;
                }
                from = range.end;
            }
            for base in &bases {
                for (at, entry) in base.list.with_offsets() {
                    let at = usize::try_from(at).unwrap();
                    let chunk = &base.bytes[at..at + entry.len as usize];
                    chunks.entry(entry.id).or_insert_with(|| chunk.into());
                }
            }
            for entry in held.list.entries() {
                held.bytes.extend_from_slice(&chunks[&entry.id]);
            }
            if section.form == Form::Stored {
                assert_eq!(FileHash::of(&held.bytes), file.hash, "{}", file.path);
            }
            self.contents
                .insert((Side::New, section.file, section.form as u8), held);
            sections += 1;
        }
        assert_eq!(parts.next(), Some((PartKind::END, &b""[..])));
        assert_eq!(parts.next(), None);
        (new, sections)
    }

    /// Has a content of the old release at hand; one of the new release must have had its section.
    fn hold(&mut self, content: ContentRef) {
        let key = (content.side, content.file, content.form as u8);
        if self.contents.contains_key(&key) {
            return;
        }
        assert_eq!(content.side, Side::Old, "{content:?} has not come yet");
        let file = &self.old.files[content.file as usize];
        let found = super::super::content::Content::of(self.store, file, content.form).unwrap();
        let mut bytes = Vec::new();
        super::super::content::read(self.store, found.list.entries(), &mut bytes).unwrap();
        let held = Held {
            list: (*found.list).clone(),
            recipe: found.recipe.unwrap_or_default(),
            bytes,
        };
        self.contents.insert(key, held);
    }
}
