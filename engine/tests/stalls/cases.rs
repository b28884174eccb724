//! One row for each way to misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use quinn::{TransportConfig, VarInt};
use tidecast_proto::wire::{
    BundleHeader, ChunkHeader, Encoding, FrameType, ObjectHeader, Wait, frame,
};

use crate::support::staller::{At, How, Offer, Staller};
use crate::support::wire::{Relay, Rule};

/// What a mirror has when it meets this upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing, not even a root.
    Fresh,
    /// The release before; it looks once.
    Behind,
    /// The release before, and the upstream says that is the newest; it stays connected.
    Idle,
}

#[derive(Debug, Clone)]
enum Bad {
    Staller(At, How, fn(&mut TransportConfig)),
    Wire(Rule),
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) start: Start,
    /// Whether somebody asks the mirror to look for news once it is connected.
    pub(crate) asks: bool,
    bad: Bad,
}

/// It, until dropped.
pub(crate) enum Upstream {
    Staller(Staller),
    Wire(Relay),
}

impl Upstream {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Staller(staller) => staller.address,
            Self::Wire(relay) => relay.address,
        }
    }
}

impl Case {
    /// Starts it; what is counted is how often it misbehaved.
    pub(crate) async fn upstream(
        &self,
        offer: &Arc<Offer>,
        good: SocketAddr,
    ) -> (Upstream, Arc<AtomicUsize>) {
        match &self.bad {
            Bad::Staller(at, how, grants) => {
                let staller = Staller::start(offer, *at, how.clone(), grants);
                let times = staller.times.clone();
                if *at == At::Nowhere {
                    // What it grants is all that is wrong.
                    times.store(1, std::sync::atomic::Ordering::SeqCst);
                }
                (Upstream::Staller(staller), times)
            }
            Bad::Wire(rule) => {
                let relay = Relay::start(good, *rule).await;
                let times = relay.dropped.clone();
                (Upstream::Wire(relay), times)
            }
        }
    }
}

fn row(name: &'static str, start: Start, at: At, how: How) -> Case {
    Case {
        name,
        start,
        asks: at == At::Poll,
        bad: Bad::Staller(at, how, |_| {}),
    }
}

fn grants(name: &'static str, start: Start, grants: fn(&mut TransportConfig)) -> Case {
    Case {
        name,
        start,
        asks: false,
        bad: Bad::Staller(At::Nowhere, How::Resets, grants),
    }
}

fn wire(name: &'static str, rule: Rule) -> Case {
    Case {
        name,
        start: Start::Fresh,
        asks: false,
        bad: Bad::Wire(rule),
    }
}

/// A frame's header that claims `length` bytes.
fn claims(kind: FrameType, length: u32) -> Vec<u8> {
    [&[kind.0], &length.to_le_bytes()[..]].concat()
}

fn object(encoding: Encoding, opened_bytes: u64, packed_bytes: u64) -> Vec<u8> {
    ObjectHeader {
        encoding,
        opened_bytes,
        packed_bytes,
    }
    .to_frame()
}

fn part(bytes: &[u8]) -> Vec<u8> {
    frame(FrameType::PART, bytes)
}

/// A zstd frame of a few KB that opens to `mb` MiB of zeros and says it holds `says`, if anything.
fn bomb(mb: usize) -> Vec<u8> {
    zstd::bulk::compress(&vec![0; mb << 20], 3).unwrap()
}

/// BUNDLE frame of runs or of a bundle that claims `bytes`, without saying from where to where.
fn runs(bytes: u64) -> Vec<u8> {
    BundleHeader::of_runs(bytes).to_frame()
}

fn chunk(encoding: Encoding, opened_bytes: u32, packed: &[u8]) -> Vec<u8> {
    let header = ChunkHeader {
        encoding,
        opened_bytes,
    };
    [&header.to_frame_start(packed.len()), packed].concat()
}

/// Patience asked for again and again.
fn wait(ms: u32) -> Vec<u8> {
    Wait { ms }.to_frame()
}

pub(crate) fn all() -> Vec<Case> {
    use At::*;
    use How::*;
    use Start::*;
    let none = Vec::new;
    let plain = Encoding::PLAIN;
    let packed = Encoding::ZSTD;
    let middle = |kind| [claims(kind, 60), vec![7; 20]].concat();
    let mut rows = vec![
        wire("dial_nobody_answers", Rule::Silence),
        wire("dial_noise_answers", Rule::Noise),
        wire("handshake_half_done", Rule::ClientOnce),
        wire("handshake_one_datagram_of_the_server", Rule::ServerOnce),
        grants("grants_no_stream_to_ask", Fresh, |t| {
            t.max_concurrent_bidi_streams(VarInt::from_u32(0));
        }),
        grants("grants_no_byte_to_ask", Fresh, |t| {
            t.stream_receive_window(VarInt::from_u32(0));
        }),
        grants("grants_no_byte_at_all", Fresh, |t| {
            t.receive_window(VarInt::from_u32(0));
        }),
        grants("lets_no_receipt_through", Fresh, |t| {
            t.max_concurrent_uni_streams(VarInt::from_u32(0));
        }),
        row("root_silence", Fresh, Root, Stop(none())),
        row(
            "root_header",
            Fresh,
            Root,
            Stop(claims(FrameType::ROOT, 900)),
        ),
        row("root_drip", Fresh, Root, Drip(claims(FrameType::ROOT, 900))),
        row(
            "root_u32_max",
            Fresh,
            Root,
            Stop(claims(FrameType::ROOT, u32::MAX)),
        ),
        row("hello_silence", Fresh, Hello, Stop(none())),
        row("hello_half_a_header", Fresh, Hello, Stop(vec![2, 0, 1])),
        row(
            "hello_middle",
            Fresh,
            Hello,
            Stop(middle(FrameType::WELCOME)),
        ),
        row(
            "hello_drip",
            Fresh,
            Hello,
            Drip(claims(FrameType::WELCOME, 900)),
        ),
        row(
            "hello_u32_max",
            Fresh,
            Hello,
            Stop(claims(FrameType::WELCOME, u32::MAX)),
        ),
        row("hello_wait", Fresh, Hello, Endless(none(), wait(1))),
        row(
            "hello_endless",
            Fresh,
            Hello,
            Endless(none(), part(&[1; 1000])),
        ),
        row("poll_silence", Idle, Poll, Stop(none())),
        row(
            "poll_drip",
            Idle,
            Poll,
            Drip(claims(FrameType::ANNOUNCE, 900)),
        ),
        row("poll_wait", Idle, Poll, Endless(none(), wait(60_000))),
        row("news_silence", Idle, News, Stop(vec![7])),
        row("news_middle", Idle, News, Stop(middle(FrameType::ANNOUNCE))),
        row(
            "news_drip",
            Idle,
            News,
            Drip(claims(FrameType::ANNOUNCE, 900)),
        ),
        row(
            "news_u32_max",
            Idle,
            News,
            Stop(claims(FrameType::ANNOUNCE, u32::MAX)),
        ),
        row(
            "news_endless",
            Idle,
            News,
            Endless(none(), part(&[1; 1000])),
        ),
        row("news_resets", Idle, News, Resets),
        row(
            "news_flood_of_nudges",
            Idle,
            News,
            Streams(frame(FrameType::ADMITTED, &[])),
        ),
        row(
            "news_flood_of_heads",
            Idle,
            News,
            Streams(frame(FrameType::ANNOUNCE, &[1; 900])),
        ),
        row("bundle_silence", Behind, Bundle, Stop(none())),
        row(
            "bundle_header",
            Behind,
            Bundle,
            Stop(claims(FrameType::BUNDLE, 72)),
        ),
        row("bundle_another", Behind, Bundle, Stop(runs(1000))),
        row("bundle_wait", Behind, Bundle, Endless(none(), wait(1))),
    ];
    for (at, silence, head, header, half, drip, nothing, more, u32_max) in [
        (
            Manifest,
            "manifest_silence",
            "manifest_header",
            "manifest_part_header",
            "manifest_part_middle",
            "manifest_drip",
            "manifest_empty_parts",
            "manifest_endless",
            "manifest_u32_max",
        ),
        (
            Recipe,
            "recipe_silence",
            "recipe_header",
            "recipe_part_header",
            "recipe_part_middle",
            "recipe_drip",
            "recipe_empty_parts",
            "recipe_endless",
            "recipe_u32_max",
        ),
        (
            List,
            "list_silence",
            "list_header",
            "list_part_header",
            "list_part_middle",
            "list_drip",
            "list_empty_parts",
            "list_endless",
            "list_u32_max",
        ),
    ] {
        let begun = object(plain, 1000, 1000);
        let start = if at == Manifest { Fresh } else { Behind };
        let with = |more: Vec<u8>| [begun.clone(), more].concat();
        rows.extend([
            row(silence, start, at, Stop(none())),
            row(head, start, at, Stop(begun.clone())),
            row(header, start, at, Stop(with(claims(FrameType::PART, 1000)))),
            row(half, start, at, Stop(with(middle(FrameType::PART)))),
            row(drip, start, at, Drip(with(claims(FrameType::PART, 1000)))),
            row(nothing, start, at, Endless(begun.clone(), part(&[]))),
            row(more, start, at, Endless(begun.clone(), part(&[1; 999]))),
            row(
                u32_max,
                start,
                at,
                Stop(claims(FrameType::OBJECT, u32::MAX)),
            ),
        ]);
    }
    let bytes = bomb(64);
    let length = bytes.len() as u64;
    rows.extend([
        row(
            "object_opens_to_u64_max",
            Fresh,
            Manifest,
            End(object(packed, u64::MAX, 1000)),
        ),
        row(
            "object_of_u64_max",
            Fresh,
            Manifest,
            End(object(plain, 1000, u64::MAX)),
        ),
        row(
            "object_wait",
            Fresh,
            Manifest,
            Endless(none(), wait(60_000)),
        ),
        row(
            "object_part_u32_max",
            Fresh,
            Manifest,
            Stop([object(plain, 1000, 1000), claims(FrameType::PART, u32::MAX)].concat()),
        ),
        row(
            "object_bomb",
            Fresh,
            Manifest,
            End([object(packed, 1 << 20, length), part(&bytes)].concat()),
        ),
        row(
            "list_bomb",
            Behind,
            List,
            End([object(packed, 4 << 20, length), part(&bytes)].concat()),
        ),
        row("chunk_silence", Fresh, Chunk, Stop(none())),
        row(
            "chunk_header",
            Fresh,
            Chunk,
            Stop(claims(FrameType::CHUNK, 60_000)),
        ),
        row(
            "chunk_middle",
            Fresh,
            Chunk,
            Stop([claims(FrameType::CHUNK, 60_000), vec![0; 30_000]].concat()),
        ),
        row(
            "chunk_drip",
            Fresh,
            Chunk,
            Drip(claims(FrameType::CHUNK, 60_000)),
        ),
        row(
            "chunk_u32_max",
            Fresh,
            Chunk,
            Stop(claims(FrameType::CHUNK, u32::MAX)),
        ),
        row(
            "chunk_opens_to_u32_max",
            Fresh,
            Chunk,
            End(chunk(packed, u32::MAX, &[0; 100])),
        ),
        row(
            "chunk_bomb",
            Fresh,
            Chunk,
            End(chunk(packed, 1 << 18, &bomb(1024))),
        ),
        row(
            "chunk_empty",
            Fresh,
            Chunk,
            Endless(none(), claims(FrameType::CHUNK, 0)),
        ),
        row(
            "chunk_endless",
            Fresh,
            Chunk,
            Endless(none(), chunk(plain, 1000, &[1; 1000])),
        ),
        row("chunk_wait", Fresh, Chunk, Endless(none(), wait(60_000))),
        row("runs_silence", Behind, Runs, Stop(none())),
        row("runs_header", Behind, Runs, Stop(runs(1000))),
        row(
            "runs_part_header",
            Behind,
            Runs,
            Stop([runs(1000), claims(FrameType::PART, 1000)].concat()),
        ),
        row(
            "runs_part_middle",
            Behind,
            Runs,
            Stop([runs(1000), claims(FrameType::PART, 900), vec![8; 20]].concat()),
        ),
        row(
            "runs_drip",
            Behind,
            Runs,
            Drip([runs(1000), claims(FrameType::PART, 900)].concat()),
        ),
        row(
            "runs_endless",
            Behind,
            Runs,
            Endless(runs(u64::MAX), part(&[0; 1000])),
        ),
        row(
            "runs_empty_parts",
            Behind,
            Runs,
            Endless(runs(1000), part(&[])),
        ),
        row("runs_wait", Behind, Runs, Endless(none(), wait(1))),
        // A RUN part of eight bytes of body that claims one chunk, no base, and a frame without end.
        row(
            "runs_bomb",
            Behind,
            Runs,
            End({
                let packed = bomb(1024);
                // Without the magic number, as runs are.
                let body = [&[1, 0], &packed[4..]].concat();
                let run = [&[8], &varint(body.len())[..], &body].concat();
                [runs(run.len() as u64), part(&run)].concat()
            }),
        ),
    ]);
    rows
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
