//! Upstreams that make a mirror hold as much as they can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::{TransportConfig, VarInt};
use tidecast_engine::sample::{Day, Feed, Scale};
use tidecast_proto::limits;
use tidecast_proto::wire::{BundleHeader, ChunkHeader, Encoding, FrameType, ObjectHeader, frame};

use crate::support::staller::{At, Heedless, How, Offer, Staller};
use crate::support::upstream;
use crate::support::wire::{Relay, Rule};
use crate::support::{RunningMaster, World, noise};
use crate::victim::Victim;

/// Rows of the table, each with a mirror of its own.
const CASES: usize = 12;

/// What it sends unasked meanwhile: most of a connection's window, so that little is left for the answer.
const FILLS: usize = 4 << 20;

fn heedless(transport: &mut TransportConfig) {
    transport
        .congestion_controller_factory(Arc::new(Heedless))
        .send_window(64 << 20)
        .max_concurrent_bidi_streams(VarInt::from_u32(64));
}

fn part(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(limits::FRAME_BYTES)
        .flat_map(|bytes| frame(FrameType::PART, bytes))
        .collect()
}

/// An object of noise that is as long as it may be.
fn object(encoding: Encoding, most: usize) -> Vec<u8> {
    let (opened, packed) = match encoding {
        Encoding::PLAIN => (most, noise(1, most)),
        _ => {
            let opened = noise(1, most - 4096);
            (opened.len(), zstd::bulk::compress(&opened, 1).unwrap())
        }
    };
    let header = ObjectHeader {
        encoding,
        opened_bytes: opened as u64,
        packed_bytes: packed.len() as u64,
    };
    [header.to_frame(), part(&packed)].concat()
}

/// The same without its last byte: the mirror goes on waiting with all of it in its hands.
fn unfinished(object: Vec<u8>) -> How {
    How::Stop(object[..object.len() - 1].to_vec())
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn bundle(from: [u8; 32], head: &[u8], to: [u8; 32]) -> Vec<u8> {
    let start = [&b"\x89tidebn\x01"[..], &from].concat();
    let manifest = noise(4, limits::MANIFEST_BYTES);
    let mut bytes = Vec::new();
    for (kind, body) in [(1, &start[..]), (2, head), (4, &manifest)] {
        bytes.push(kind);
        bytes.extend(varint(body.len()));
        bytes.extend_from_slice(body);
    }
    let header = BundleHeader {
        from: tidecast_proto::id::ObjectId(from),
        to: tidecast_proto::id::ObjectId(to),
        bytes: bytes.len() as u64,
    };
    [header.to_frame(), part(&bytes)].concat()
}

fn run() -> Vec<u8> {
    let body = [vec![1, 0], noise(5, limits::RUN_BYTES)].concat();
    let run = [&[8], &varint(body.len())[..], &body].concat();
    [
        BundleHeader::of_runs(run.len() as u64).to_frame(),
        part(&run),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_upstream_makes_a_mirror_grow_by_more_than_32_mib() {
    let world = World::new();
    let small = Scale {
        hash_lines: 3_000,
        logical_lines: 500,
        main_lines: 100,
    };
    let mut feed = Feed::new(7, small);
    let made = world.path("made");
    std::fs::create_dir_all(&made).unwrap();
    let publish = |feed: &Feed, seed: u64| {
        feed.write(&made).unwrap();
        let database = std::fs::read(made.join("daily.cvd")).unwrap();
        // Files with lists, which are asked for side by side.
        let long: Vec<_> = (0..8)
            .map(|n| (format!("f{n}"), noise(seed + n, 300_000)))
            .collect();
        let mut files: Vec<(&str, &[u8])> = vec![("daily.cvd", &database)];
        files.extend(long.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
        world.publish(&files).manifest
    };
    let old = publish(&feed, 100);
    {
        let master = RunningMaster::start(&world);
        for n in 0..CASES {
            let mirror = world.admitted_mirror(&format!("m{n}"), &master.upstream());
            master.master.reload().unwrap();
            mirror.sync_once().await.unwrap();
        }
    }
    let old_head = upstream::newest_head(&world);
    feed.advance(Day::Ordinary).unwrap();
    let new = publish(&feed, 200);
    let offer = Offer::of(&world, old_head);
    let chunk = ChunkHeader {
        encoding: Encoding::PLAIN,
        opened_bytes: u32::try_from(limits::CHUNK_BYTES).unwrap(),
    };
    let chunk = [
        chunk.to_frame_start(limits::CHUNK_BYTES),
        noise(6, limits::CHUNK_BYTES),
    ]
    .concat();
    let unasked = [
        frame(FrameType::ANNOUNCE, offer.head()),
        BundleHeader {
            from: old,
            to: new,
            bytes: limits::UNASKED_BUNDLE_BYTES as u64,
        }
        .to_frame(),
        part(&noise(7, limits::UNASKED_BUNDLE_BYTES)),
    ]
    .concat();
    let (manifest, list) = (limits::MANIFEST_BYTES, limits::LIST_BYTES);
    let (plain, packed) = (Encoding::PLAIN, Encoding::ZSTD);
    let held = |at, encoding, most| (at, unfinished(object(encoding, most)));
    let whole = |at, encoding, most| (at, How::End(object(encoding, most)));
    let cases = [
        (
            "the longest manifest, held",
            held(At::Manifest, plain, manifest),
        ),
        (
            "the longest manifest, wrong",
            whole(At::Manifest, plain, manifest),
        ),
        (
            "the longest packed manifest, held",
            held(At::Manifest, packed, manifest),
        ),
        (
            "the longest packed manifest, wrong",
            whole(At::Manifest, packed, manifest),
        ),
        ("the longest lists, held", held(At::List, plain, list)),
        (
            "the longest packed lists, wrong",
            whole(At::List, packed, list),
        ),
        (
            "a bundle with the longest manifest",
            (At::Bundle, How::Stop(bundle(old.0, offer.head(), new.0))),
        ),
        ("the longest run", (At::Runs, How::End(run()))),
        (
            "chunks that nobody asked for",
            (At::Chunk, How::Endless(Vec::new(), chunk)),
        ),
        (
            "bundles that nobody asked for",
            (At::News, How::Streams(unasked)),
        ),
    ];
    let folder = world.folder.path().to_owned();
    let mut running = Vec::new();
    let mut attack = |name, stays, address, staller: Staller, relay: Option<Relay>| {
        let mirror = format!("m{}", running.len());
        let (folder, fingerprint) = (folder.clone(), world.feed.to_string());
        running.push(tokio::spawn(async move {
            let grown = tokio::task::spawn_blocking(move || {
                Victim::mirror(&folder, &mirror, fingerprint, address, stays).growth()
            });
            let grown = grown.await.unwrap();
            assert!(staller.times.load(Ordering::SeqCst) > 0, "{name}");
            drop(relay);
            (name, grown)
        }));
    };
    for (name, (at, how)) in cases {
        let fills = if at == At::News { 0 } else { FILLS };
        let staller = Staller::start_filling(&offer, at, how, heedless, fills);
        attack(name, at == At::News, staller.address, staller, None);
    }
    for (name, piece) in [
        ("streams of 2 MiB with a hole in front", 2 << 20),
        ("streams of a thousand holes", 300),
    ] {
        let holes = Arc::new(AtomicBool::new(false));
        let how = How::Holes(holes.clone(), 2 << 20, piece);
        let staller = Staller::start(&offer, At::Chunk, how, heedless);
        let relay = Relay::start_with(staller.address, Rule::ServerHoles, holes).await;
        attack(name, false, relay.address, staller, Some(relay));
    }
    let mut rows = Vec::new();
    for row in running {
        rows.push(row.await.unwrap());
    }
    crate::judge(&rows);
}
