//! A whole bundle between two small releases: made by the engine, and read as SPEC §5.6 and §5.7 say, with nothing but
//! zstd's own decoder.

use std::collections::BTreeMap;

use tidecast_engine::bundle::{build, front};
use tidecast_engine::store::StoreWriter;
use tidecast_proto::{
    bundle::{ContentRef, FilePart, Form, Origins, PartHeader, PartKind, RunPart, Side, check_run},
    deflate::{Batch, Encoder, Parameters, Tokenizer},
    id::{ChunkId, Epoch, FeedId, FileHash, ObjectId, ReleaseNumber, Timestamp},
    limits,
    list::{Entry, List},
    manifest::{File, Flags, Manifest, ManifestBody, SignedManifest},
    name::ReleasePath,
    recipe::{Deflate, Recipe, RecipeBody, Segment},
};
use zstd::zstd_safe::DCtx;

/// Its two files, in the manifests' order.
const PACKED: &str = "lines.hdb.gz";
const NOTE: &str = "note.txt";

/// What zlib writes for level 9, on Unix, without name and time (RFC 1952 section 2.3).
const GZIP_HEADER: [u8; 10] = *b"\x1f\x8b\x08\0\0\0\0\0\x02\x03";

/// Lines that look like signatures: the first 16 digits of the BLAKE3 hash of `n` as `u64`, then `:n:Vector.Line-n`.
pub(crate) fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    let line = |n: u64| {
        let hash = blake3::hash(&n.to_le_bytes()).to_hex();
        format!("{}:{n}:Vector.Line-{n}\n", &hash[..16])
    };
    numbers.into_iter().map(line).collect()
}

/// `plain` as zlib packs it, by the code that mirrors run.
pub(crate) fn packed(plain: &[u8], parameters: Parameters) -> Vec<u8> {
    let bytes = plain.len() as u64;
    let mut batch = Batch::default();
    let mut tokenizer = Tokenizer::new(parameters, bytes, 0);
    tokenizer.push_new(plain, &mut batch);
    tokenizer.finish(&mut batch);
    let mut out = Vec::new();
    let mut encoder = Encoder::new(parameters, bytes);
    encoder.push(&batch.tokens, &batch.plain, &mut out);
    encoder.finish(&mut out);
    out
}

/// What is in a release of the vectors.
pub(crate) struct Content {
    release: ReleaseNumber,
    lines: String,
    note: String,
}

impl Content {
    /// What the mirror has.
    pub(crate) fn old() -> Self {
        Self::of(4, lines(0..40))
    }

    /// What it is to have: line 7 is gone, 40 and 41 are new.
    pub(crate) fn new() -> Self {
        Self::of(5, lines((0..42).filter(|n| *n != 7)))
    }

    fn of(release: u64, lines: String) -> Self {
        Self {
            release: ReleaseNumber(release),
            lines,
            note: format!("This is release {release} of the vectors.\n"),
        }
    }

    /// The `.gz` file.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let plain = self.lines.as_bytes();
        let mut crc = flate2::Crc::new();
        crc.update(plain);
        let trailer = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
        let stream = packed(plain, Parameters::SIGTOOL);
        [&GZIP_HEADER[..], &stream, &trailer].concat()
    }

    pub(crate) fn recipe(&self) -> Recipe {
        let file = self.packed();
        let (head, rest) = file.split_at(GZIP_HEADER.len());
        let (stream, tail) = rest.split_at(rest.len() - 8);
        let (plain, bytes) = (self.lines.len() as u64, stream.len() as u64);
        Recipe::new(RecipeBody {
            opened: one_chunk(self.lines.as_bytes()).id(),
            segments: vec![
                Segment::Literal(head.to_vec()),
                Segment::Deflate(Deflate::new(Parameters::SIGTOOL, plain, bytes)),
                Segment::Literal(tail.to_vec()),
            ],
        })
        .expect("possible numbers")
    }

    /// Its manifest's body.
    pub(crate) fn body(&self, feed: FeedId, previous: Option<ObjectId>) -> ManifestBody {
        let file = |path: &str, content: &[u8], recipe| File {
            path: ReleasePath::new(path).expect("a legal path"),
            size: content.len() as u64,
            executable: false,
            mtime_s: 1_799_000_000,
            hash: FileHash::of(content),
            list: None,
            recipe,
            database: None,
        };
        ManifestBody {
            feed,
            epoch_min: Epoch(0),
            release: self.release,
            previous,
            anchor: None,
            created: Timestamp(1_800_000_000_000),
            notes: String::new(),
            files: vec![
                file(PACKED, &self.packed(), Some(self.recipe().id())),
                file(NOTE, self.note.as_bytes(), None),
            ],
            flags: Flags::default(),
            extensions: Vec::new(),
        }
    }

    fn put(&self, store: &mut StoreWriter, manifest: &SignedManifest) {
        for content in [self.lines.as_bytes(), self.note.as_bytes(), &self.packed()] {
            let stored = store.put_chunk(&ChunkId::of(content), content);
            stored.expect("a temporary folder is writable");
        }
        let list = store.put_list(&one_chunk(self.lines.as_bytes()));
        list.expect("a temporary folder is writable");
        let recipe = store.put_recipe(&self.recipe());
        recipe.expect("a temporary folder is writable");
        let added = store.add_release(self.release, manifest);
        added.expect("a temporary folder is writable");
    }
}

fn one_chunk(content: &[u8]) -> List {
    let len = u32::try_from(content.len()).expect("a chunk's length");
    let id = ChunkId::of(content);
    List::new(vec![Entry { id, len }]).expect("a legal list")
}

/// The bundle between the two, with `head` and `root` in front.
pub(crate) fn make(
    old: &SignedManifest,
    new: &SignedManifest,
    head: &[u8],
    root: Vec<u8>,
) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = StoreWriter::open(folder.path()).expect("a temporary folder is writable");
    let mut manifest = |content: Content, signed: &SignedManifest| {
        content.put(&mut store, signed);
        let id = signed.id();
        signed.clone().reopen(&id).expect("a legal manifest")
    };
    let (old, new) = (manifest(Content::old(), old), manifest(Content::new(), new));
    let mut bundle = front(old.id(), head, &[root]);
    build(store.store(), &old, &new, &mut bundle).expect("all of it is in the store");
    bundle
}

/// A part as its reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    /// The body, without the zstd frame of kinds that have one.
    pub(crate) said: Vec<u8>,
    /// What the frame opens to.
    pub(crate) opened: Vec<u8>,
}

/// What a reader has complete.
struct Held {
    list: List,
    recipe: Vec<u8>,
}

/// A mirror with the old release, reading a bundle.
pub(crate) struct Reader {
    old_body: Vec<u8>,
    held: Vec<(ContentRef, Held)>,
    chunks: BTreeMap<ChunkId, Vec<u8>>,
    /// As read, in order.
    pub(crate) parts: Vec<Part>,
    /// The new release's files, made of what came.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// The frame's magic number is left out in bundles (RFC 8878 section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

fn unpack(frame: &[u8], prefix: &[u8], bytes_max: usize) -> Vec<u8> {
    let frame = [&MAGIC, frame].concat();
    let mut context = DCtx::create();
    context.ref_prefix(prefix).expect("any prefix will do");
    let mut opened = Vec::with_capacity(bytes_max.min(1 << 20));
    let read = context.decompress(&mut opened, &frame);
    read.unwrap_or_else(|code| panic!("{}", zstd::zstd_safe::get_error_name(code)));
    opened
}

impl Reader {
    /// Reads it to its end; everything is checked against the id that names it.
    pub(crate) fn read(old: &SignedManifest, bundle: &[u8]) -> Self {
        let content = Content::old();
        let mut reader = Self {
            old_body: old.body().to_vec(),
            held: Vec::new(),
            chunks: BTreeMap::new(),
            parts: Vec::new(),
            files: BTreeMap::new(),
        };
        let own = |file, form| ContentRef {
            side: Side::Old,
            file,
            form,
        };
        let packed = content.packed();
        let recipe = content.recipe().encode();
        let lines = content.lines.as_bytes();
        reader.hold(own(0, Form::Opened), lines, recipe);
        reader.hold(own(0, Form::Stored), &packed, Vec::new());
        reader.hold(own(1, Form::Stored), content.note.as_bytes(), Vec::new());

        let mut bodies = bodies(bundle).into_iter().peekable();
        let mut due = [PartKind::HEADER, PartKind::HEAD, PartKind::ROOT].into_iter();
        while let Some((kind, body)) = bodies.next_if(|(kind, _)| *kind != PartKind::MANIFEST) {
            assert_eq!(Some(kind), due.next());
            reader.take(kind, body, Vec::new());
        }
        let (_, frame) = bodies.next().expect("a manifest");
        let manifest = unpack(frame, &reader.old_body, limits::MANIFEST_BYTES);
        reader.take(PartKind::MANIFEST, &[], manifest.clone());
        let manifest = SignedManifest::from_bytes(&manifest).expect("well formed");
        let id = manifest.id();
        let manifest = manifest.reopen(&id).expect("a legal body");
        let mut rest: Vec<_> = bodies.collect();
        assert_eq!(rest.pop(), Some((PartKind::END, &[][..])));
        for section in rest.chunk_by(|_, (next, _)| *next != PartKind::FILE) {
            reader.section(&manifest, section);
        }
        reader.take(PartKind::END, &[], Vec::new());
        reader
    }

    fn take(&mut self, kind: PartKind, said: &[u8], opened: Vec<u8>) {
        let said = said.to_vec();
        self.parts.push(Part { kind, said, opened });
    }

    fn hold(&mut self, of: ContentRef, content: &[u8], recipe: Vec<u8>) {
        let list = one_chunk(content);
        self.chunks.insert(list.entries()[0].id, content.to_vec());
        self.held.push((of, Held { list, recipe }));
    }

    fn content(&self, list: &List) -> Vec<u8> {
        let chunks = list.entries().iter().map(|entry| &self.chunks[&entry.id]);
        chunks.flatten().copied().collect()
    }

    /// One file: its recipe and list, its runs, then the file itself.
    fn section(&mut self, manifest: &Manifest, parts: &[(PartKind, &[u8])]) {
        let section = FilePart::decode(parts[0].1).expect("a FILE part");
        let file = &manifest.files[section.file as usize];
        self.take(PartKind::FILE, parts[0].1, Vec::new());
        let held = |of: &ContentRef| {
            let found = self.held.iter().find(|(held, _)| held == of);
            let (_, held) = found.expect("a base that is complete");
            (held.list.clone(), held.recipe.clone())
        };
        let bases: Vec<(List, Vec<u8>)> = section.bases.iter().map(held).collect();
        let mut recipe = None;
        let mut list = List::of_small_file(file.hash, file.size);
        let mut at = 0;
        for (kind, body) in &parts[1..] {
            match *kind {
                PartKind::RECIPE => {
                    let prefix = bases.first().map(|(_, recipe)| &recipe[..]);
                    let opened = unpack(body, prefix.unwrap_or_default(), limits::RECIPE_BYTES);
                    let id = file.recipe.expect("a file that opens");
                    let decoded = Recipe::decode(&opened, id, file.size).expect("the manifest's");
                    recipe = Some(decoded);
                    self.take(*kind, &[], opened);
                }
                PartKind::LIST => {
                    let prefix = bases.first().map(|(list, _)| list.encode());
                    let opened = unpack(body, &prefix.unwrap_or_default(), limits::LIST_BYTES);
                    let (id, bytes) = match &recipe {
                        Some(recipe) => (recipe.opened(), recipe.opened_bytes()),
                        None => (file.list.expect("a long file"), file.size),
                    };
                    list = Some(List::decode(&opened, id, bytes).expect("the one that is named"));
                    self.take(*kind, &[], opened);
                }
                _ => {
                    assert_eq!(*kind, PartKind::RUN);
                    let list = list.as_ref().expect("in front of the runs");
                    at = self.run(list, &bases, at, body);
                }
            }
        }
        let list = list.expect("every file has a list");
        let content = self.content(&list);
        let made = match &recipe {
            Some(recipe) => rebuilt(recipe, &content),
            None => content,
        };
        assert_eq!(FileHash::of(&made), file.hash, "{}", file.path);
        let of = ContentRef {
            side: Side::New,
            file: section.file,
            form: section.form,
        };
        let recipe = recipe.map(|recipe| recipe.encode()).unwrap_or_default();
        self.held.push((of, Held { list, recipe }));
        self.files.insert(file.path.as_str().to_owned(), made);
    }

    /// Takes in a run; `at` is the first chunk of the list that none before it was about.
    fn run(&mut self, list: &List, bases: &[(List, Vec<u8>)], at: usize, body: &[u8]) -> usize {
        let run = RunPart::decode(body).expect("a RUN part");
        let lists: Vec<&List> = bases.iter().map(|(list, _)| list).collect();
        let origins = Origins::new(list, &lists);
        let target = origins.next_run(at, &run).expect("chunks that are missing");
        let mut prefix = Vec::new();
        for range in &run.bases {
            let entries = lists[range.base as usize].entries();
            let first = range.first as usize;
            for entry in &entries[first..first + range.count as usize] {
                prefix.extend_from_slice(&self.chunks[&entry.id]);
            }
        }
        let opened = unpack(run.frame, &prefix, limits::RUN_BYTES);
        let entries = &list.entries()[target.clone()];
        check_run(entries, &opened).expect("what the list names");
        let mut rest = &opened[..];
        for entry in entries {
            let (chunk, behind) = rest.split_at(entry.len as usize);
            self.chunks.insert(entry.id, chunk.to_vec());
            rest = behind;
        }
        self.take(PartKind::RUN, &body[..body.len() - run.frame.len()], opened);
        target.end
    }
}

/// SPEC §5.5.
fn rebuilt(recipe: &Recipe, content: &[u8]) -> Vec<u8> {
    let mut rest = content;
    let mut take = |bytes: u64| {
        let bytes = usize::try_from(bytes).expect("a small file");
        rest.split_off(..bytes)
            .expect("as much as the recipe takes")
    };
    let mut file = Vec::new();
    for segment in recipe.segments() {
        match segment {
            Segment::Literal(bytes) => file.extend_from_slice(bytes),
            Segment::Plain { bytes } => file.extend_from_slice(take(*bytes)),
            Segment::Deflate(deflate) => {
                let parameters = deflate.parameters().expect("zlib's");
                file.extend(packed(take(deflate.plain_bytes), parameters));
            }
        }
    }
    assert!(rest.is_empty());
    file
}

fn bodies(mut bundle: &[u8]) -> Vec<(PartKind, &[u8])> {
    let mut bodies = Vec::new();
    while !bundle.is_empty() {
        let (header, used) = PartHeader::parse(bundle)
            .expect("a part")
            .expect("all in view");
        let (body, rest) = bundle[used..].split_at(header.body_bytes);
        bodies.push((header.kind, body));
        bundle = rest;
    }
    bodies
}
