//! SPEC.md against the code: limits, numbers, sections that comments cite, and every test vector, byte for byte.
//!
//! After a change of the format on purpose, `UPDATE_SPEC=1 cargo test -p tidecast --test spec` writes the vectors
//! of SPEC.md §11 and the fuzz seeds anew (tests that read them meanwhile may fail: run again without it); look at
//! the difference before you commit it. Under `CI` that is refused: a format must not change unseen. The bundle of
//! §11.9 is compared by what its frames open to, for zstd's next version may pack the same content into other bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tidecast_proto::{
    addition::Vouched,
    bundle::{FilePart, Header, PartHeader, PartKind, RunPart},
    chunker::Chunking,
    deflate::{Batch, Encoder, Parser, Status, Tokenizer},
    fingerprint,
    head::SignedHead,
    id::{ChunkId, FeedId, ObjectId, RecipeId},
    key::{PublicKey, SecretKey, Signature},
    limits,
    list::List,
    manifest::SignedManifest,
    name::{NameError, ReleasePath},
    receipt::{ServingState, SignedReceipt},
    recipe::Recipe,
    road::{Road, RoadReason},
    root::SignedRoot,
    trust::Trust,
    wire::{
        Answer, Encoding, FRAME_HEADER_BYTES, FrameType, Hello, ObjectKind, RefusalReason, Refused,
        Request, Welcome, parse_header,
    },
};

#[path = "spec/bundle.rs"]
mod bundle;
#[path = "spec/page.rs"]
mod page;
#[path = "spec/seeds.rs"]
mod seeds;
#[path = "spec/vectors.rs"]
mod vectors;
#[path = "../proto/tests/deflate/support/zlib.rs"]
mod zlib;

use bundle::Reader;
use page::{Page, unhex};
use vectors::Vectors;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn spec() -> Page {
    Page::read(&top().join("SPEC.md"))
}

fn number(text: &str) -> usize {
    let digits = text.replace(',', "");
    match digits.strip_prefix("0x") {
        Some(hex) => usize::from_str_radix(hex, 16).expect("a hexadecimal number"),
        None => digits.parse().expect("a number"),
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    let stated: BTreeMap<String, usize> = spec()
        .table("2", "name | value")
        .into_iter()
        .map(|row| {
            assert!(
                row.len() == 4 && !row[3].is_empty(),
                "{row:?} lacks its reason"
            );
            (row[0].clone(), number(&row[1]))
        })
        .collect();
    let real: BTreeMap<String, usize> = limits::ALL
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    assert_eq!(stated, real);
}

#[test]
fn the_frame_types_and_their_longest_bodies_are_those_of_the_code() {
    let rows = spec().table("6.2", "type | name");
    let stated: BTreeSet<(u8, String)> = rows
        .iter()
        .map(|row| {
            (
                u8::try_from(number(&row[0])).expect("a byte"),
                row[1].clone(),
            )
        })
        .collect();
    let real: BTreeSet<(u8, String)> = FrameType::ALL
        .iter()
        .map(|(kind, name)| (kind.0, (*name).to_owned()))
        .collect();
    assert_eq!(stated, real);
    for row in rows {
        let limit = number(&row[2]);
        let header = |len: usize| {
            let [a, b, c, d] = u32::try_from(len).expect("short").to_le_bytes();
            parse_header([u8::try_from(number(&row[0])).expect("a byte"), a, b, c, d])
        };
        assert!(header(limit).is_ok(), "{row:?}");
        assert!(header(limit + 1).is_err(), "{row:?}");
    }
}

#[test]
fn the_parts_of_a_bundle_and_their_longest_bodies_are_those_of_the_code() {
    let rows = spec().table("5.7", "kind | name");
    let stated: Vec<(usize, String, usize)> = rows
        .iter()
        .map(|row| (number(&row[0]), row[1].clone(), number(&row[2])))
        .collect();
    let real: Vec<(usize, String, usize)> = PartKind::ALL
        .iter()
        .map(|(kind, name, limit)| (kind.0.into(), (*name).to_owned(), *limit))
        .collect();
    assert_eq!(stated, real);
}

#[test]
fn the_recipe_and_part_vectors_decode() {
    let stated = Stated(spec().vectors());
    let bytes = stated.bytes("recipe");
    let recipe = Recipe::decode(&bytes, RecipeId::of(&bytes), 500_118).expect("adds up");
    assert_eq!(recipe.opened().0, stated.bytes("list id")[..]);
    assert_eq!(recipe.opened_bytes(), 1_000_000);
    assert_eq!(recipe.id().0, stated.bytes("recipe id")[..]);
    for (kind, name, _) in PartKind::ALL {
        let read: fn(&[u8]) -> bool = match *kind {
            PartKind::HEADER => |body| Header::decode(body).is_ok_and(|it| it.encode() == body),
            PartKind::FILE => |body| FilePart::decode(body).is_ok_and(|it| it.encode() == body),
            PartKind::RUN => |body| RunPart::decode(body).is_ok_and(|it| it.encode() == body),
            PartKind::END => <[u8]>::is_empty,
            // Signed objects and zstd frames: the bundle of §11.9 has them.
            _ => continue,
        };
        let bytes = stated.bytes(&format!("part {name}"));
        let (header, used) = PartHeader::parse(&bytes)
            .expect("a part")
            .expect("all in view");
        assert_eq!(header.kind, *kind);
        assert_eq!(header.body_bytes, bytes.len() - used);
        assert!(read(&bytes[used..]), "{name}");
    }
}

#[test]
fn the_deflate_vectors_are_what_zlib_makes_and_open_to_the_tokens_it_chose() {
    let stated = Stated(spec().vectors());
    let plain = format!("{}\n", stated.0["deflate plain"]);
    let mut streams = BTreeSet::new();
    for (name, parameters) in vectors::deflates() {
        let packed = stated.bytes(&format!("deflate {name}"));
        assert_eq!(packed, zlib::deflate(plain.as_bytes(), parameters));
        let bytes = (plain.clone().into_bytes(), packed.len());
        assert_eq!(zlib::inflate(&packed, plain.len()), Some(bytes));

        let (mut parser, mut read) = (Parser::new(), Batch::default());
        let mut at = 0;
        loop {
            let step = parser.advance(&packed[at..], &mut read).expect("sound");
            at += step.consumed;
            assert!(!step.stored && step.status != Status::NeedInput);
            if step.status == Status::End {
                break;
            }
        }
        assert_eq!((at, &read.plain[..]), (packed.len(), plain.as_bytes()));
        let mut found = Batch::default();
        let mut tokenizer = Tokenizer::new(parameters, plain.len() as u64, 0);
        tokenizer.push_new(plain.as_bytes(), &mut found);
        tokenizer.finish(&mut found);
        assert_eq!(found.tokens, read.tokens, "{name}");
        let mut encoder = Encoder::new(parameters, plain.len() as u64);
        let mut again = Vec::new();
        encoder.push(&read.tokens, &read.plain, &mut again);
        encoder.finish(&mut again);
        assert_eq!(again, packed, "{name}");
        streams.insert(packed);
    }
    assert_eq!(streams.len(), 2, "the parameters do not show");
}

#[test]
fn the_bundle_vector_leads_from_one_release_to_the_next() {
    let stated = Stated(spec().vectors());
    let bytes = stated.bytes(BUNDLE);
    assert!(bytes.len() < 2560, "{} bytes", bytes.len());
    let read = read_bundle(&stated.0, &stated.0[BUNDLE]);
    let kinds: Vec<String> = read
        .parts
        .iter()
        .map(|part| part.kind.to_string())
        .collect();
    assert_eq!(
        kinds.join(" "),
        "HEADER HEAD ROOT MANIFEST FILE RECIPE LIST RUN FILE RUN END"
    );
    let part = |kind| {
        let part = read.parts.iter().find(|part| part.kind == kind);
        part.expect("one of each kind")
    };
    let old = SignedManifest::from_bytes(&stated.bytes("bundle old manifest"));
    let old = old.expect("well formed");
    let header = Header::decode(&part(PartKind::HEADER).said).expect("a HEADER part");
    assert_eq!(header.from, old.id());
    let recipe = stated.bytes("bundle old recipe");
    let old_body = old.clone().reopen(&old.id()).expect("a legal body");
    assert_eq!(old_body.files[0].recipe, Some(RecipeId::of(&recipe)));

    // Who holds root 1 believes all of it.
    let root = SignedRoot::from_bytes(&stated.bytes("root")).expect("well formed");
    let feed = FeedId(root.id().0);
    let mut trust = Trust::begin(&feed, root).expect("the fingerprint fits");
    let next = SignedRoot::from_bytes(&part(PartKind::ROOT).said).expect("well formed");
    trust.accept_root(next).expect("the next root");
    let head = SignedHead::from_bytes(&part(PartKind::HEAD).said).expect("well formed");
    let verdict = trust.accept_head(head, vectors::NOW).expect("a good head");
    let new = SignedManifest::from_bytes(&part(PartKind::MANIFEST).opened).expect("well formed");
    let new = trust
        .verify_manifest(new, verdict.head())
        .and_then(Vouched::whole)
        .expect("the head's manifest");
    new.check_replaces(&old_body).expect("a legal successor");

    // Each file hashed to what the manifest says when it was read; these are the ones the text describes.
    let expected = bundle::Content::new();
    assert_eq!(new.files.len(), read.files.len());
    assert_eq!(read.files["lines.hdb.gz"], expected.packed());
    assert_eq!(
        read.files["note.txt"],
        b"This is release 5 of the vectors.\n"
    );
    let plain = &part(PartKind::RUN).opened;
    assert_eq!(plain, bundle::lines((0..42).filter(|n| *n != 7)).as_bytes());
}

/// The numbers a function has a word for, other than its word for the rest.
fn words(word: impl Fn(u16) -> &'static str) -> Vec<(String, String)> {
    (0..=u16::MAX)
        .filter(|n| word(*n) != "unknown")
        .map(|n| (n.to_string(), word(n).to_owned()))
        .collect()
}

#[test]
fn the_other_numbers_are_those_of_the_code() {
    assert_eq!(
        spec().pairs("6.3", "reason | word"),
        words(|n| RefusalReason(n).code())
    );
    let states = words(|n| u8::try_from(n).map_or("unknown", |n| ServingState(n).word()));
    assert_eq!(spec().pairs("3.5", "state | word"), states);
    let packings = [("0", "plain"), ("1", "zstd")];
    assert_eq!(
        spec().pairs("5.3", "encoding | word"),
        page::owned(&packings)
    );
    assert_eq!((Encoding::PLAIN.0, Encoding::ZSTD.0), (0, 1));
    let kinds = [("1", "manifest"), ("2", "list"), ("3", "recipe")];
    assert_eq!(spec().pairs("6.4", "kind | object"), page::owned(&kinds));
    let real = [ObjectKind::MANIFEST, ObjectKind::LIST, ObjectKind::RECIPE];
    assert_eq!(real.map(|kind| kind.0), [1, 2, 3]);
    use tidecast_engine::quic::close_code::{
        CORRUPT, DONE, FULL, PROTOCOL, REFUSED, SHUTDOWN, TOO_SLOW,
    };
    let codes: Vec<(String, String)> = [
        (DONE, "done"),
        (SHUTDOWN, "shutdown"),
        (PROTOCOL, "protocol"),
        (REFUSED, "refused"),
        (CORRUPT, "corrupt"),
        (TOO_SLOW, "too slow"),
        (FULL, "full"),
    ]
    .map(|(code, word)| (code.into_inner().to_string(), word.to_owned()))
    .to_vec();
    assert_eq!(spec().pairs("6.8", "code | word"), codes);
}

#[test]
fn the_roads_and_their_reasons_are_those_of_the_code() {
    let words = |header| -> Vec<String> {
        let rows = spec().table("8.6", header).into_iter();
        rows.map(|row| row[0].clone()).collect()
    };
    assert_eq!(
        words("road | what is received"),
        Road::ALL.map(Road::code),
        "cheapest first"
    );
    assert_eq!(
        words("reason | why this road and no cheaper one"),
        RoadReason::ALL.map(RoadReason::code)
    );
}

/// Families of an OpenMetrics page: name, type, labels.
fn families(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut name = String::new();
    for line in page.lines() {
        if let Some(said) = line.strip_prefix("# TYPE ") {
            let (of, kind) = said.split_once(' ').expect("a name and a type");
            name = of.to_owned();
            families.insert(of.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((sample, labels)) = line.split_once('{') {
            assert!(sample.starts_with(&name), "{line}");
            let labels = labels.split_once('}').expect("a closed brace").0;
            for label in labels.split(',') {
                let label = label.split_once('=').expect("a label").0;
                families
                    .get_mut(&name)
                    .expect("after its type")
                    .1
                    .insert(label.to_owned());
            }
        }
    }
    families
}

#[test]
fn the_metrics_are_those_of_the_code() {
    use std::sync::Arc;
    use tidecast_engine::clock::{Clock as _, SystemClock};
    use tidecast_engine::http::HttpReport;
    use tidecast_engine::metrics::Metrics;
    use tidecast_engine::{config::MirrorConfig, keyfile, master, mirror};
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let feed = master::NewFeed {
        name: tidecast_proto::id::FeedName::new("t").expect("a name"),
        state: &path("master"),
        keys: &path("keys"),
        verify: tidecast_proto::database::VerifyPolicy::None,
        master_name: String::new(),
        addresses: Vec::new(),
    };
    let feed = master::init(feed, SystemClock.now()).expect("a feed");
    let clock = Arc::new(SystemClock);
    let master = master::Master::open(&path("master"), clock.clone()).expect("a master");
    let master = families(&Metrics::of_master(Arc::new(master)).text());

    fs::create_dir(path("mirror")).expect("a folder");
    keyfile::load_or_generate(&path("mirror").join(mirror::NODE_KEY)).expect("a key");
    let text = format!(
        "fingerprint = \"{feed}\"\nupstreams = [\"x\"]\ndocroot = \"{}\"\n",
        path("docroot").display()
    );
    let config = path("mirror").join(mirror::MIRROR_CONFIG);
    fs::write(&config, text).expect("written");
    let config: MirrorConfig = tidecast_engine::config::load(&config).expect("a configuration");
    let (mirror, _) = mirror::Mirror::open(&path("mirror"), config, clock).expect("a mirror");
    let web = Arc::new(HttpReport::default);
    let mirror = families(&Metrics::of_mirror(mirror, Some(web)).text());

    let mut stated: BTreeSet<String> = BTreeSet::new();
    for row in spec().table("10.6", "name | type") {
        let [name, kind, labels, on, _] = &row[..] else {
            panic!("{row:?}");
        };
        assert!(stated.insert(name.clone()), "{name} stands twice");
        let (labels, only_on) = match labels.split_once(", on a master only") {
            Some((labels, _)) => (labels, "master"),
            None => (labels.as_str(), "both"),
        };
        let labels: BTreeSet<String> = labels
            .split(", ")
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect();
        for (daemon, real) in [("master", &master), ("mirror", &mirror)] {
            let expected = (on == "both" || on == daemon).then(|| {
                let labels = match only_on == "both" || only_on == daemon {
                    true => labels.clone(),
                    false => BTreeSet::new(),
                };
                (kind.clone(), labels)
            });
            assert_eq!(real.get(name), expected.as_ref(), "{name} on a {daemon}");
        }
    }
    let real: BTreeSet<String> = master.keys().chain(mirror.keys()).cloned().collect();
    assert_eq!(real, stated);
}

#[test]
fn names_are_judged_as_the_table_says() {
    let rows = spec().table("11.7", "name | verdict");
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let name = page::spelled(&row[0]);
        let verdict = match ReleasePath::new(name.clone()) {
            Ok(_) => "accepted",
            Err(NameError::Empty) => "empty",
            Err(NameError::Character(_)) => "character",
            Err(NameError::Dot) => "dot",
            Err(NameError::Local) => "local",
            Err(NameError::Timestamp) => "timestamp",
            Err(NameError::Long(_)) => "long",
            Err(NameError::Deep) => "deep",
            Err(_) => "another reason",
        };
        assert_eq!(verdict, row[1], "{name:?}");
    }
}

#[test]
fn every_section_the_code_cites_exists() {
    let sections = spec().sections();
    let mut files = Vec::new();
    for folder in ["proto", "engine", "cli", "tests", "fuzz/targets"] {
        page::rust_files(&top().join(folder), &mut files);
    }
    let mut cited = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        for section in page::citations(&text) {
            cited += 1;
            let chapter = section.split('.').next().expect("not empty");
            assert!(sections.contains(chapter), "{}: §{section}", file.display());
            // A chapter without sections is not written yet.
            let written = sections
                .iter()
                .any(|s| s.starts_with(&format!("{chapter}.")));
            assert!(
                !written || sections.contains(&section),
                "{}: §{section}",
                file.display()
            );
        }
    }
    assert!(cited > 40, "{cited} citations");
}

#[test]
fn every_vector_is_made_again_byte_for_byte() {
    let made = Vectors::make();
    let path = top().join("SPEC.md");
    if std::env::var_os("UPDATE_SPEC").is_some() {
        assert!(
            std::env::var_os("CI").is_none(),
            "vectors are not rewritten in CI"
        );
        let page = Page::read(&path).with_vectors(&made.texts);
        fs::write(&path, page).expect("SPEC.md is writable");
        made.write_seeds(&top().join("fuzz/seeds"));
    }
    let stated = Page::read(&path).vectors();
    let names = |vectors: &BTreeMap<String, String>| vectors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&stated), names(&made.texts));
    for (name, text) in &made.texts {
        // Another version of zstd may pack other bytes of the same content.
        if name == BUNDLE {
            assert!(read_bundle(&stated, text).parts == read_bundle(&stated, &stated[name]).parts);
        } else {
            assert_eq!(&stated[name], text, "vector {name}");
        }
    }
}

/// The vector that holds zstd frames: it is compared by what they open to.
const BUNDLE: &str = "bundle";

fn read_bundle(stated: &BTreeMap<String, String>, bundle: &str) -> Reader {
    let old = unhex(&stated["bundle old manifest"]);
    let old = SignedManifest::from_bytes(&old).expect("well formed");
    Reader::read(&old, &unhex(bundle))
}

#[test]
fn the_fuzzers_begin_with_the_vectors() {
    let stated_bundle = Stated(spec().vectors()).bytes(BUNDLE);
    for (path, made) in &Vectors::make().seeds {
        let file = top().join("fuzz/seeds").join(path);
        let kept = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let expected = match path.as_str() {
            "parts/bundle" | "bundle/bundle" => &stated_bundle,
            _ => made,
        };
        assert_eq!(&kept, expected, "{}", file.display());
    }
}

/// The vectors as SPEC.md has them, whoever made them.
struct Stated(BTreeMap<String, String>);

impl Stated {
    fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(&self.0[name])
    }
}

#[test]
fn every_object_vector_decodes_and_verifies() {
    let stated = Stated(spec().vectors());
    for line in stated.0["keys"].lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let seed = unhex(fields[1]).try_into().expect("32 bytes");
        assert_eq!(SecretKey::from_seed(&seed).public().to_string(), fields[2]);
    }
    for name in ["root", "manifest", "head", "receipt"] {
        let body = stated.bytes(&format!("{name} body"));
        let id = stated.bytes(&format!("{name} id"));
        assert_eq!(ObjectId::of(&body).0[..], id[..], "{name}");
        // The message as §3.1 says, put together here from the text alone.
        let prefix = stated.bytes(&format!("{name} prefix"));
        assert_eq!(prefix, format!("tidecast/{name}/v1\0").as_bytes());
        let message = [prefix, body.clone()].concat();
        let mut whole = (body.len() as u64).to_le_bytes().to_vec();
        whole.extend_from_slice(&body);
        let signatures = stated.0[&format!("{name} signatures")].clone();
        whole.extend_from_slice(&(signatures.lines().count() as u64).to_le_bytes());
        for line in signatures.lines() {
            let (key, signature) = line.split_once(' ').expect("key, signature");
            let key: PublicKey = key.parse().expect("a key");
            let signature: [u8; 64] = unhex(signature).try_into().expect("64 bytes");
            assert!(key.verifies(&message, &Signature(signature)), "{name}");
            whole.extend_from_slice(key.as_bytes());
            whole.extend_from_slice(&signature);
        }
        assert_eq!(whole, stated.bytes(name), "{name}");
    }

    let root = SignedRoot::from_bytes(&stated.bytes("root")).expect("well formed");
    let feed = fingerprint::parse(&stated.0["fingerprint words"]).expect("24 words");
    assert_eq!(feed, FeedId(root.id().0));
    assert_eq!(fingerprint::parse(&stated.0["root id"]), Ok(feed));
    let mut trust = Trust::begin(&feed, root).expect("the fingerprint fits");
    let head = SignedHead::from_bytes(&stated.bytes("head")).expect("well formed");
    let verdict = trust.accept_head(head, vectors::NOW).expect("a good head");
    let manifest = SignedManifest::from_bytes(&stated.bytes("manifest")).expect("well formed");
    let manifest = trust
        .verify_manifest(manifest, verdict.head())
        .and_then(Vouched::whole)
        .expect("the head's manifest");
    trust.install(&manifest);
    let [database, noise] = &manifest.files[..] else {
        panic!("{} files", manifest.files.len())
    };
    assert_eq!(database.path.as_str(), "daily.cvd");
    assert_eq!(database.database.as_ref().map(|d| d.version), Some(27_800));
    let list = stated.bytes("list");
    let list = List::decode(&list, noise.list.expect("a list"), noise.size).expect("its list");
    assert_eq!(list.total_bytes(), 1_000_000);

    let receipt = SignedReceipt::from_bytes(&stated.bytes("receipt")).expect("well formed");
    let node = trust.root().masters[0].node_key;
    let receipt = receipt.verify(&vectors::mirror_key().public(), &feed);
    let receipt = receipt.expect("signed by the mirror");
    assert_eq!(receipt.manifest, manifest.id());
    assert_ne!(vectors::mirror_key().public(), node);
    assert_eq!(receipt.extensions[0].tag, 7);
}

#[test]
fn every_frame_vector_decodes() {
    let stated = Stated(spec().vectors());
    for (kind, name) in FrameType::ALL {
        let bytes = stated.bytes(&format!("frame {name}"));
        let (header, body) = bytes
            .split_first_chunk::<FRAME_HEADER_BYTES>()
            .expect("a header");
        assert_eq!(parse_header(*header), Ok((*kind, body.len())), "{name}");
        let known = match *kind {
            FrameType::WELCOME => Welcome::decode(body).is_ok(),
            FrameType::REFUSED => Refused::decode(body).is_ok(),
            FrameType::ADMITTED => body.is_empty(),
            FrameType::RECEIPT => body == stated.bytes("receipt"),
            FrameType::HELLO => Hello::decode(body).is_ok(),
            FrameType::POLL
            | FrameType::FETCH_ROOT
            | FrameType::FETCH_OBJECT
            | FrameType::FETCH_CHUNKS
            | FrameType::FETCH_BUNDLE
            | FrameType::FETCH_RUNS => {
                Request::decode(*kind, body).is_ok_and(|request| request.to_frame() == bytes)
            }
            _ => Answer::decode(*kind, body.to_vec()).is_ok(),
        };
        assert!(known, "{name}");
    }
}

/// §5.1 as its text describes it, one byte at a time, without the crate.
fn cut(content: &[u8], chunking: Chunking) -> usize {
    let gear: Vec<u64> = (0..=255_u8)
        .map(|byte| vectors::md5_head(&[byte; 64]) ^ chunking.seed)
        .collect();
    let masks: Vec<u64> = spec()
        .table("5.1", "row | mask")
        .into_iter()
        .map(|row| u64::from_str_radix(&row[1][2..], 16).expect("a mask"))
        .collect();
    let bits = f64::from(chunking.avg).log2().round();
    let mask = |offset: i32| {
        (7..=21)
            .zip(&masks)
            .find(|(n, _)| f64::from(*n) == bits + f64::from(offset))
            .map(|(_, mask)| *mask)
            .expect("a row for it")
    };
    let (strict, lax) = (
        mask(i32::from(chunking.level)),
        mask(-i32::from(chunking.level)),
    );
    let (min, avg) = (chunking.min as usize, chunking.avg as usize);
    let n = content.len().min(chunking.max as usize);
    if content.len() <= min {
        return content.len();
    }
    let mut hash = 0_u64;
    for i in min..n - n % 2 {
        hash = (hash << 1).wrapping_add(gear[usize::from(content[i])]);
        if hash & (if i < avg { strict } else { lax }) == 0 {
            return i;
        }
    }
    n
}

#[test]
fn the_cutting_rule_as_written_cuts_as_the_vectors_say() {
    let noise = vectors::noise();
    let stated = Stated(spec().vectors());
    for (vector, chunking) in vectors::chunkings() {
        let mut rest = &noise[..];
        for line in stated.0[vector].lines() {
            let (len, id) = line.split_once(' ').expect("length, id");
            let (chunk, behind) = rest.split_at(cut(rest, chunking));
            assert_eq!(chunk.len(), number(len), "{vector}");
            assert_eq!(ChunkId::of(chunk).to_string(), id, "{vector}");
            rest = behind;
        }
        assert!(rest.is_empty(), "{vector}");
    }
}
