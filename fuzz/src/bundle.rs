//! Lists, recipes and bundles.

use tidecast_engine::foreign;
use tidecast_proto::bundle::{
    FilePart, Header, Origin, Origins, PartHeader, PartKind, RunPart, base_bytes, check_run,
    check_run_size, put_part,
};
use tidecast_proto::id::{ChunkId, ListId, RecipeId};
use tidecast_proto::limits;
use tidecast_proto::list::{Entry, List, ListError};
use tidecast_proto::manifest::SignedManifest;
use tidecast_proto::recipe::{Recipe, Segment};
use tidecast_proto::wire::Encoding;

/// Chunk lists: one spelling, and a sum that holds.
pub fn list(bytes: &[u8]) {
    let id = ListId::of(bytes);
    let size = match List::decode(bytes, id, 0) {
        Ok(_) => 0,
        Err(ListError::WrongTotal { got, .. }) => got,
        Err(_) => return,
    };
    let list = List::decode(bytes, id, size).expect("the size is right");
    assert_eq!(list.encode(), bytes);
    assert!(
        list.entries()
            .iter()
            .all(|entry| entry.len as usize <= limits::CHUNK_BYTES)
    );
    let end = list
        .with_offsets()
        .last()
        .map_or(0, |(at, entry)| at + u64::from(entry.len));
    assert_eq!(end, list.total_bytes());
}

/// Recipes: one spelling, bounded, and segments that add up to the file.
pub fn recipe(bytes: &[u8]) {
    let Ok(recipe) = Recipe::decode_any(bytes, RecipeId::of(bytes)) else {
        return;
    };
    assert_eq!(recipe.encode(), bytes);
    assert!(recipe.opened_bytes() <= limits::OPENED_BYTES as u64);
    let made: u64 = recipe
        .segments()
        .iter()
        .map(|segment| match segment {
            Segment::Literal(bytes) => bytes.len() as u64,
            Segment::Plain { bytes } => *bytes,
            Segment::Deflate(deflate) => {
                deflate.parameters().expect("checked");
                deflate.packed_bytes
            }
        })
        .fold(0, u64::saturating_add);
    assert_eq!(made, recipe.file_bytes());
    let again = Recipe::decode(bytes, recipe.id(), made);
    assert_eq!(again, Ok(recipe));
}

/// A bundle's parts, one after the other, each with one spelling.
pub fn parts(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((header, used))) = PartHeader::parse(rest) {
        let Some(body) = rest.get(used..used + header.body_bytes) else {
            return;
        };
        let again = match header.kind {
            PartKind::HEADER => Header::decode(body).map(|it| it.encode()),
            PartKind::FILE => FilePart::decode(body).map(|it| it.encode()),
            PartKind::RUN => RunPart::decode(body).map(|it| it.encode()),
            _ => Ok(body.to_vec()),
        };
        let Ok(again) = again else { return };
        assert_eq!(again, body);
        let mut part = Vec::new();
        put_part(header.kind, body, &mut part);
        assert_eq!(part, rest[..part.len()]);
        rest = &rest[part.len()..];
    }
}

/// A byte names a chunk and says how long it is.
fn named(names: &[u8]) -> List {
    let entry = |name: &u8| Entry {
        id: ChunkId::of(&[*name]),
        len: 1 + u32::from(*name) * 1000,
    };
    List::new(names.iter().map(entry).collect()).expect("possible lengths")
}

/// The first part of `bytes`, as long as its first byte says, and the rest.
fn prefixed(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes {
        [len, rest @ ..] => rest.split_at(rest.len().min(usize::from(*len))),
        [] => (&[], &[]),
    }
}

/// Runs against lists: what a hostile sender may claim about chunks and bases. Three lists, each with its length in front,
/// then a run.
pub fn run(bytes: &[u8]) {
    let (new, bytes) = prefixed(bytes);
    let (first, bytes) = prefixed(bytes);
    let (second, run) = prefixed(bytes);
    let (new, bases) = (named(new), [named(first), named(second)]);
    let bases: Vec<&List> = bases.iter().collect();
    let origins = Origins::new(&new, &bases);
    assert_eq!(origins.all().len(), new.entries().len());
    let mut last = None;
    for (at, origin) in origins.all().iter().enumerate() {
        let id = new.entries()[at].id;
        match *origin {
            Origin::InOrder { entry } => {
                assert_eq!(bases[0].entries()[entry as usize].id, id);
                assert!(last < Some(entry));
                last = Some(entry);
            }
            Origin::Elsewhere { base, entry } => {
                assert_eq!(bases[base as usize].entries()[entry as usize].id, id);
            }
            Origin::Repeat { entry } => {
                assert!((entry as usize) < at);
                assert_eq!(new.entries()[entry as usize].id, id);
            }
            Origin::Missing => {
                let has = |list: &&List| list.entries().iter().any(|entry| entry.id == id);
                assert!(!bases.iter().any(has));
            }
        }
    }
    let Ok(run) = RunPart::decode(run) else {
        return;
    };
    let Ok(target) = origins.next_run(0, &run) else {
        return;
    };
    let target = &new.entries()[target];
    let ranges: Result<Vec<_>, _> = run.bases.iter().map(|r| base_bytes(*r, &bases)).collect();
    let Ok(ranges) = ranges else { return };
    if check_run_size(target, &ranges).is_ok() {
        assert!(ranges.iter().map(|r| r.end - r.start).sum::<u64>() <= limits::RUN_BYTES as u64);
        // No chunk here has the bytes it is named after.
        assert!(check_run(target, run.frame).is_err() || target.iter().all(|entry| entry.len == 1));
    }
}

/// What the bundle of SPEC §11.9 starts from.
const MANIFEST: &[u8] = include_bytes!("../seeds/bundle/old_manifest");

/// A whole bundle through the mirror's own reader: all of it is read, in order, or it is refused.
pub fn bundle(bytes: &[u8]) {
    let live = SignedManifest::from_bytes(MANIFEST).expect("the vector");
    let id = live.id();
    let live = live.reopen(&id).expect("the vector");
    let Ok(content) = foreign::bundle(bytes.to_vec(), &live) else {
        return;
    };
    assert_eq!(content.read_bytes, bytes.len() as u64);
    assert!(content.roots.len() <= limits::ROOT_WALK);
    assert!(content.head.len() <= limits::SMALL_OBJECT_BYTES);
    let mut kinds = Vec::new();
    let mut rest = bytes;
    while let Ok(Some((header, used))) = PartHeader::parse(rest) {
        kinds.push(header.kind);
        rest = &rest[used + header.body_bytes..];
    }
    assert!(rest.is_empty());
    assert_eq!(kinds.first(), Some(&PartKind::HEADER));
    assert_eq!(kinds.last(), Some(&PartKind::END));
    let sections = kinds.iter().filter(|kind| **kind == PartKind::FILE);
    assert_eq!(sections.count(), content.sections);
    if let Some(manifest) = content.manifest {
        assert!(manifest.body_len() <= limits::MANIFEST_BYTES);
    }
}

/// zstd frames, as objects and as deltas: 3 bytes say how long what comes out may be, the rest is the frame. No more comes
/// out, and objects are exactly as long as they were said to be.
pub fn packed(bytes: &[u8]) {
    let Some(([a, b, c], frame)) = bytes.split_first_chunk() else {
        return;
    };
    // Up to twice the longest object that is opened whole.
    let bytes_max = usize::from_le_bytes([*a, *b, *c, 0, 0, 0, 0, 0]) / 2;
    for encoding in [Encoding::PLAIN, Encoding::ZSTD, Encoding(*a)] {
        if let Ok(opened) = foreign::unpack(encoding, bytes_max, frame) {
            assert_eq!(opened.len(), bytes_max);
        }
    }
    for prefix in [&[][..], MANIFEST] {
        if let Ok(opened) = foreign::undelta(frame, prefix, bytes_max) {
            assert!(opened.len() <= bytes_max);
        }
    }
}
