//! A feed whose bundles are made by hand, each part as a test wants it, and a mirror that takes them from files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidecast_proto::bundle::{
    BaseRange, ContentRef, FilePart, Form, Header, Origins, PartKind, RunPart, Side, put_part,
};
use tidecast_proto::chunker::{Chunker, Chunking};
use tidecast_proto::deflate::Parameters;
use tidecast_proto::head::{HeadBody, Phase, SignedHead};
use tidecast_proto::id::{
    ChunkId, Epoch, FeedId, FeedName, FileHash, ReleaseNumber, RootVersion, Seq, Timestamp,
};
use tidecast_proto::key::SecretKey;
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::{File, Flags, Manifest, ManifestBody, SignedManifest};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::recipe::{Deflate, Recipe, RecipeBody, Segment};
use tidecast_proto::root::{RootBody, SignedRoot};

use crate::clock::Clock;
use crate::config::MirrorConfig;
use crate::mirror::work::{Begin, RootSource, Work, building};
use crate::mirror::{Mirror, NODE_KEY, SyncReport};
use crate::packing::delta::{Effort, pack_with_prefix};
use crate::rebuild::tests::zlib;
use crate::{keyfile, roots};

/// 2026-11-21 18:35:37 UTC.
pub(super) const NOW: Timestamp = Timestamp(1_795_286_137_000);
const HOUR_MS: u64 = 3_600_000;

#[derive(Debug)]
pub(super) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A file of a release.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) bytes: Vec<u8>,
    pub(super) stored: List,
    /// What it opens to, its list and its recipe.
    pub(super) opened: Option<(Vec<u8>, List, Recipe)>,
}

impl Made {
    pub(super) fn plain(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            stored: list(bytes),
            opened: None,
        }
    }

    /// As sigtool packs.
    pub(super) fn cvd(content: &[u8]) -> Self {
        Self::packed(content, Parameters::SIGTOOL)
    }

    /// Packed as `really`, while its recipe says that sigtool did.
    pub(super) fn packed(content: &[u8], really: Parameters) -> Self {
        let packed = zlib::deflate(content, really);
        let list_of = list(content);
        let segments = vec![
            Segment::Literal(b"ClamAV-VDB:".to_vec()),
            Segment::Deflate(Deflate::new(
                Parameters::SIGTOOL,
                content.len() as u64,
                packed.len() as u64,
            )),
            Segment::Literal(b"tail".to_vec()),
        ];
        let bytes = [&b"ClamAV-VDB:"[..], &packed, b"tail"].concat();
        let opened = list_of.id();
        let recipe = Recipe::new(RecipeBody { opened, segments }).unwrap();
        Self {
            stored: list(&bytes),
            bytes,
            opened: Some((content.to_vec(), list_of, recipe)),
        }
    }

    pub(super) fn content(&self, form: Form) -> (&[u8], &List) {
        match (form, &self.opened) {
            (Form::Opened, Some((content, list, _))) => (content, list),
            _ => (&self.bytes, &self.stored),
        }
    }
}

fn chunker() -> Chunker {
    Chunker::new(Chunking::default())
}

fn list(content: &[u8]) -> List {
    let entry = |chunk: &[u8]| Entry {
        id: ChunkId::of(chunk),
        len: u32::try_from(chunk.len()).unwrap(),
    };
    List::new(chunker().chunks(content).map(entry).collect()).unwrap()
}

/// Lines like a database's.
pub(super) fn lines(seed: u32, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count * 12];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    let mut text = String::new();
    for (at, bytes) in bytes.chunks(12).enumerate() {
        text.push_str(&format!("Win.Trojan.Agent-{seed}-{at}:0:*:"));
        for byte in bytes {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
    }
    text.into_bytes()
}

/// A release and everything in it.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) manifest: Arc<Manifest>,
    pub(super) files: BTreeMap<String, Made>,
    pub(super) head: Vec<u8>,
}

/// A section as a test wants it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) path: &'static str,
    pub(super) form: Form,
    pub(super) bases: Vec<(Side, &'static str, Form)>,
}

pub(super) struct Feed {
    pub(super) folder: tempfile::TempDir,
    root_key: SecretKey,
    /// Signs releases and heads, and is the master's.
    pub(super) key: SecretKey,
    pub(super) root: SignedRoot,
    pub(super) id: FeedId,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self::seeded(1)
    }

    pub(super) fn seeded(seed: u8) -> Self {
        let (root_key, key) = (
            SecretKey::from_seed(&[seed; 32]),
            SecretKey::from_seed(&[seed + 1; 32]),
        );
        let root = SignedRoot::sign(&root_body(&root_key, &key, 1), &[&root_key]).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            id: FeedId(root.id().0),
            root_key,
            key,
            root,
        }
    }

    /// The next root, as a bundle carries it.
    pub(super) fn next_root(&self) -> Vec<u8> {
        self.next_root_with(|_| ()).to_bytes()
    }

    /// The same with a change made to it before it is signed.
    pub(super) fn next_root_with(&self, change: impl FnOnce(&mut RootBody)) -> SignedRoot {
        let mut body = root_body(&self.root_key, &self.key, 2);
        change(&mut body);
        SignedRoot::sign(&body, &[&self.root_key]).unwrap()
    }

    pub(super) fn release(
        &self,
        number: u64,
        previous: Option<&Release>,
        files: &[(&str, Made)],
    ) -> Release {
        let mut files: Vec<_> = files.to_vec();
        files.sort_by_key(|(path, _)| *path);
        let listed = files.iter().map(|(path, made)| File {
            path: ReleasePath::new(*path).unwrap(),
            size: made.bytes.len() as u64,
            executable: false,
            mtime_s: 0,
            hash: FileHash::of(&made.bytes),
            list: (made.stored.entries().len() > 1).then(|| made.stored.id()),
            recipe: made.opened.as_ref().map(|(_, _, recipe)| recipe.id()),
            database: None,
        });
        let body = ManifestBody {
            feed: self.id,
            epoch_min: Epoch(0),
            release: ReleaseNumber(number),
            previous: previous.map(|release| release.manifest.id()),
            anchor: None,
            created: NOW,
            notes: String::new(),
            files: listed.collect(),
            flags: Flags::default(),
            extensions: Vec::new(),
        };
        let signed = SignedManifest::sign(&body, &[&self.key]).unwrap();
        let id = signed.id();
        let manifest = Arc::new(signed.reopen(&id).unwrap());
        let head = self.head(&manifest, number, Phase::LIVE, RootVersion(1));
        Release {
            manifest,
            files: files.into_iter().map(|(p, m)| (p.into(), m)).collect(),
            head,
        }
    }

    pub(super) fn head(
        &self,
        manifest: &Manifest,
        seq: u64,
        phase: Phase,
        root_version: RootVersion,
    ) -> Vec<u8> {
        let body = HeadBody {
            feed: self.id,
            epoch: Epoch(0),
            seq: Seq(seq),
            issued: NOW,
            expires: NOW.plus(6 * HOUR_MS),
            release: manifest.release,
            manifest: manifest.id(),
            manifest_bytes: manifest.signed().body_len() as u64,
            root_version,
            phase,
            extensions: Vec::new(),
        };
        SignedHead::sign(&body, &[&self.key]).unwrap().to_bytes()
    }

    pub(super) fn docroot(&self) -> PathBuf {
        self.folder.path().join("docroot")
    }

    /// A mirror that serves `release`, with the recipes and lists that a sync would have left.
    pub(super) async fn mirror_at(&self, release: &Release) -> Arc<Mirror> {
        self.mirror_of("192.0.2.1:9", release).await
    }

    /// The same, that asks `upstream`.
    pub(super) async fn mirror_of(&self, upstream: &str, release: &Release) -> Arc<Mirror> {
        let state = self.folder.path().join("state");
        std::fs::create_dir_all(&state).unwrap();
        keyfile::load_or_generate(&state.join(NODE_KEY)).unwrap();
        roots::store(&state.join("roots"), RootVersion(1), &self.root).unwrap();
        std::fs::create_dir_all(self.docroot()).unwrap();
        let config = MirrorConfig {
            fingerprint: self.id.to_string(),
            upstreams: vec![upstream.into()],
            docroot: self.docroot(),
            scrub_s: 0,
            ..MirrorConfig::default()
        };
        let (mirror, _) = Mirror::open(&state, config, Arc::new(Fixed)).unwrap();
        let work = mirror.work();
        let carried = RootSource::Carried(Vec::new().into_iter());
        let (trust, head) = work.judge(&release.head, NOW, carried).await.unwrap();
        build(&work, release).await;
        let mut report = SyncReport::default();
        work.go_live(&trust, &head, NOW, &release.manifest, &mut report)
            .await
            .unwrap();
        let files = release.files.clone();
        work.disk
            .run(move |disk| {
                for (_, list, recipe) in files.values().filter_map(|made| made.opened.as_ref()) {
                    disk.docroot.add_recipe(&recipe.id(), recipe).unwrap();
                    disk.docroot.add_list(&list.id(), list).unwrap();
                }
            })
            .await
            .unwrap();
        mirror
    }

    /// Puts a bundle where it can be imported from.
    pub(super) fn file(&self, bundle: &[u8]) -> PathBuf {
        let path = self.folder.path().join("bundle");
        std::fs::write(&path, bundle).unwrap();
        path
    }

    /// Forgets what attempts have built.
    pub(super) fn forget_attempts(&self) {
        let state = self.docroot().join(".tidecast");
        let _ = std::fs::remove_dir_all(state.join("new"));
        let _ = std::fs::remove_file(state.join("spool"));
    }

    pub(super) fn served(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.docroot().join(path)).ok()
    }
}

/// Builds a release as far as the switch.
pub(super) async fn build(work: &Work, release: &Release) {
    work.begin(&release.manifest, Begin::Release).await.unwrap();
    let files = release.files.clone();
    work.disk
        .run(move |disk| {
            let build = building(disk).unwrap();
            for (id, _) in build.missing_lists().unwrap() {
                let made = files.values().find(|made| made.stored.id() == id).unwrap();
                build.add_list(id, made.stored.clone()).unwrap();
            }
            build.start(&chunker()).unwrap();
            for chunk in files.values().flat_map(|m| chunks(&m.bytes, &m.stored)) {
                build.put(&ChunkId::of(&chunk), &chunk).unwrap();
            }
        })
        .await
        .unwrap();
}

fn root_body(root_key: &SecretKey, key: &SecretKey, version: u64) -> RootBody {
    RootBody {
        version: RootVersion(version),
        epoch: Epoch(0),
        feed: FeedName::new("test").unwrap(),
        expires: NOW.plus(1000 * HOUR_MS),
        root_keys: vec![root_key.public()],
        root_threshold: 1,
        release_keys: vec![key.public()],
        release_threshold: 1,
        added_threshold: 1,
        head_keys: vec![key.public()],
        head_ttl_max_ms: 6 * HOUR_MS,
        masters: vec![tidecast_proto::root::Master {
            name: "master".into(),
            node_key: key.public(),
            addresses: Vec::new(),
        }],
        chunking: Chunking::default(),
        revoked_manifests: Vec::new(),
        release_min: ReleaseNumber(0),
        extensions: Vec::new(),
    }
}

pub(super) fn chunks<'a>(content: &'a [u8], list: &'a List) -> impl Iterator<Item = Vec<u8>> + 'a {
    list.with_offsets().map(|(at, entry)| {
        let at = usize::try_from(at).unwrap();
        content[at..at + entry.len as usize].to_vec()
    })
}

pub(super) fn pack(bytes: &[u8], prefix: &[u8]) -> std::io::Result<Vec<u8>> {
    pack_with_prefix(bytes, prefix, Effort::of(bytes.len()))
}

/// What comes before the sections.
pub(super) fn preamble(old: &Release, new: &Release, head: &[u8], roots: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header {
        from: old.manifest.id(),
    };
    put_part(PartKind::HEADER, &header.encode(), &mut out);
    put_part(PartKind::HEAD, head, &mut out);
    for root in roots {
        put_part(PartKind::ROOT, root, &mut out);
    }
    let manifest = pack(&new.manifest.to_bytes(), old.manifest.signed().body()).unwrap();
    put_part(PartKind::MANIFEST, &manifest, &mut out);
    out
}

/// The number of a file in its release.
pub(super) fn number(release: &Release, path: &str) -> u32 {
    let files = &release.manifest.files;
    let at = files.iter().position(|file| file.path.as_str() == path);
    u32::try_from(at.unwrap()).unwrap()
}

/// One section as a master makes it.
pub(super) fn section(old: &Release, new: &Release, plan: &Plan) -> Vec<u8> {
    let mut out = Vec::new();
    let side = |side| if side == Side::Old { old } else { new };
    let refs = plan.bases.iter().map(|(of, path, form)| ContentRef {
        side: *of,
        file: number(side(*of), path),
        form: *form,
    });
    let part = FilePart {
        file: number(new, plan.path),
        form: plan.form,
        bases: refs.collect(),
    };
    put_part(PartKind::FILE, &part.encode(), &mut out);
    let made = &new.files[plan.path];
    let first = plan
        .bases
        .first()
        .map(|(of, path, form)| (&side(*of).files[*path], *form));
    if plan.form == Form::Opened {
        let prefix = first
            .filter(|(_, form)| *form == Form::Opened)
            .and_then(|(made, _)| made.opened.as_ref())
            .map(|(_, _, recipe)| recipe.encode())
            .unwrap_or_default();
        let recipe = made.opened.as_ref().unwrap().2.encode();
        put_part(PartKind::RECIPE, &pack(&recipe, &prefix).unwrap(), &mut out);
    }
    let wanted = made.content(plan.form).1;
    if plan.form == Form::Opened || wanted.entries().len() > 1 {
        let prefix = first
            .map(|(made, form)| made.content(form).1.encode())
            .unwrap_or_default();
        put_part(
            PartKind::LIST,
            &pack(&wanted.encode(), &prefix).unwrap(),
            &mut out,
        );
    }
    out.extend(runs_of(old, new, plan));
    out
}

/// The runs of a section.
pub(super) fn runs_of(old: &Release, new: &Release, plan: &Plan) -> Vec<u8> {
    let mut out = Vec::new();
    let side = |side| if side == Side::Old { old } else { new };
    let (content, wanted) = new.files[plan.path].content(plan.form);
    let bases: Vec<(&[u8], &List)> = plan
        .bases
        .iter()
        .map(|(of, path, form)| side(*of).files[*path].content(*form))
        .collect();
    let lists: Vec<&List> = bases.iter().map(|(_, list)| *list).collect();
    let origins = Origins::new(wanted, &lists);
    for range in origins.missing() {
        let before = &wanted.entries()[..range.start];
        let from: usize = before.iter().map(|e| e.len as usize).sum();
        let len: usize = wanted.entries()[range.clone()]
            .iter()
            .map(|e| e.len as usize)
            .sum();
        let mut prefix = Vec::new();
        let mut ranges = Vec::new();
        for (base, (content, list)) in bases.iter().enumerate() {
            prefix.extend_from_slice(content);
            ranges.push(BaseRange {
                base: u32::try_from(base).unwrap(),
                first: 0,
                count: u32::try_from(list.entries().len()).unwrap(),
            });
        }
        let frame = pack(&content[from..from + len], &prefix).unwrap();
        let run = RunPart {
            chunks: u32::try_from(range.len()).unwrap(),
            bases: ranges,
            frame: &frame,
        };
        put_part(PartKind::RUN, &run.encode(), &mut out);
    }
    out
}

/// A whole bundle.
pub(super) fn bundle(old: &Release, new: &Release, head: &[u8], plans: &[Plan]) -> Vec<u8> {
    let mut out = preamble(old, new, head, &[]);
    for plan in plans {
        out.extend(section(old, new, plan));
    }
    put_part(PartKind::END, &[], &mut out);
    out
}
