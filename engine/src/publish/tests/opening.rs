//! Which files open, and what is said of those that do not.

use std::io::Write;

use flate2::{Compression, Crc, GzBuilder};
use tidecast_proto::chunker::Chunker;
use tidecast_proto::deflate::{Batch, Encoder, Parameters, Strategy, Token, Tokenizer};
use tidecast_proto::id::ChunkId;
use tidecast_proto::limits;
use tidecast_proto::list::Entry;
use tidecast_proto::recipe::{Recipe, Segment};

use super::*;
use crate::store::explain::{self, Closed, ClosedReason, Opened, Opening, StrategyName, Streams};

#[path = "../../../../proto/tests/deflate/support/zlib.rs"]
mod zlib;

const SIGTOOL: Parameters = Parameters::SIGTOOL;

fn parameters(level: u8, strategy: Strategy, memory_level: u8) -> Parameters {
    Parameters::new(level, strategy, memory_level).unwrap()
}

/// Lines like those of a database, `len` bytes of them.
fn text(seed: u8, len: usize) -> Vec<u8> {
    let noise = noise(seed, len / 4 + 64);
    let mut text = Vec::with_capacity(len + 80);
    for (count, line) in noise.chunks(16).cycle().enumerate() {
        if text.len() >= len {
            break;
        }
        let hash: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{hash}:{}:Win.Trojan.Agent-{count}:73", line[0]).unwrap();
    }
    text.truncate(len);
    text
}

fn header(flags: u8, fields: &[u8]) -> Vec<u8> {
    [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 2, 3], fields].concat()
}

fn trailer(plain: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(plain);
    [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat()
}

/// A gzip as stock zlib makes it.
fn gzip(plain: &[u8], parameters: Parameters) -> Vec<u8> {
    [
        header(0, &[]),
        zlib::deflate(plain, parameters),
        trailer(plain),
    ]
    .concat()
}

/// A gzip of another producer.
fn foreign(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::new(9));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Publishes one file and returns what became of it.
fn opening_of(name: &str, content: &[u8]) -> Opening {
    let feed = Feed::new();
    feed.write(name, content);
    let report = feed.publish().unwrap();
    assert_eq!(report.warnings, [""; 0]);
    let opening = match report.openings.as_slice() {
        [] => Opening::default(),
        [one] => {
            assert_eq!((one.path.as_str(), one.bytes), (name, content.len() as u64));
            one.opening.clone()
        }
        more => panic!("{more:?}"),
    };
    assert_eq!(feed.content(1, name), content, "whole, for fresh mirrors");
    let recipe = feed.manifest(1).file(name).unwrap().recipe;
    assert_eq!(recipe.is_some(), opening.opened.is_some());
    if recipe.is_some() {
        assert_eq!(rebuilt(&feed, 1, name), content, "from its opened content");
    }
    let verified = feed.store().verify();
    assert_eq!(verified.problems, [""; 0]);
    let told = explain::load(feed.store().folder(), ReleaseNumber(1)).unwrap();
    assert_eq!(told.unwrap().openings, report.openings);
    opening
}

fn opened(name: &str, content: &[u8]) -> Opened {
    let opening = opening_of(name, content);
    assert_eq!(opening.closed, [], "{name}");
    opening.opened.expect(name)
}

fn closed(name: &str, content: &[u8]) -> Closed {
    let opening = opening_of(name, content);
    assert_eq!(opening.opened, None, "{name}");
    let [closed] = opening.closed.as_slice() else {
        panic!("{name}: {opening:?}");
    };
    closed.clone()
}

fn recipe(feed: &Feed, release: u64, path: &str) -> Recipe {
    let manifest = feed.manifest(release);
    let file = manifest.file(path).unwrap();
    let id = file.recipe.expect("the file opens");
    let bytes = feed.store().recipe(&id).unwrap().open().unwrap();
    Recipe::decode(&bytes, id, file.size).unwrap()
}

fn opened_content(feed: &Feed, recipe: &Recipe) -> Vec<u8> {
    let store = feed.store();
    let id = recipe.opened();
    let list = store.list(&id).unwrap().open().unwrap();
    let list = List::decode(&list, id, recipe.opened_bytes()).unwrap();
    let chunks = list.entries().iter();
    chunks
        .flat_map(|entry| store.chunk(&entry.id).unwrap().open().unwrap())
        .collect()
}

/// A file made of its opened content, as a mirror without an old one would.
fn rebuilt(feed: &Feed, release: u64, path: &str) -> Vec<u8> {
    let recipe = recipe(feed, release, path);
    let content = opened_content(feed, &recipe);
    let mut content = content.as_slice();
    let mut take = |bytes: u64| {
        let (now, later) = content.split_at(usize::try_from(bytes).unwrap());
        content = later;
        now
    };
    let mut file = Vec::new();
    for segment in recipe.segments() {
        match segment {
            Segment::Literal(bytes) => file.extend_from_slice(bytes),
            Segment::Plain { bytes } => file.extend_from_slice(take(*bytes)),
            Segment::Deflate(deflate) => {
                let (parameters, bytes) = (deflate.parameters().unwrap(), deflate.plain_bytes);
                let mut tokenizer = Tokenizer::new(parameters, bytes, 0);
                let mut encoder = Encoder::new(parameters, bytes);
                let mut batch = Batch::default();
                tokenizer.push_new(take(bytes), &mut batch);
                tokenizer.finish(&mut batch);
                encoder.push(&batch.tokens, &batch.plain, &mut file);
                encoder.finish(&mut file);
            }
        }
    }
    assert!(content.is_empty());
    file
}

#[test]
fn what_stock_zlib_made_opens_with_its_parameters() {
    let plain = text(1, 300_000);
    for (level, strategy, memory_level) in [
        (9, Strategy::Filtered, 8),
        (6, Strategy::Filtered, 8),
        (9, Strategy::Default, 8),
        (6, Strategy::Default, 8),
        (1, Strategy::Default, 8),
        (3, Strategy::Default, 9),
        (4, Strategy::Default, 1),
        (6, Strategy::Huffman, 8),
        (6, Strategy::Rle, 8),
        (6, Strategy::Fixed, 5),
    ] {
        let parameters = parameters(level, strategy, memory_level);
        let file = gzip(&plain, parameters);
        let opened = opened("x.gz", &file);
        assert_eq!(opened.opened_bytes, 300_000);
        assert_eq!(opened.segments, 3);
        let expected = Streams {
            parameters: parameters.into(),
            count: 1,
            packed_bytes: file.len() as u64 - 18,
        };
        assert_eq!(opened.streams, [expected]);
    }
}

#[test]
fn small_and_empty_streams_open_too() {
    for len in [0, 1, 10, 100, 1_000] {
        for parameters in [SIGTOOL, parameters(6, Strategy::Default, 8)] {
            let opened = opened("x.gz", &gzip(&text(2, len), parameters));
            assert_eq!(opened.opened_bytes, len as u64);
        }
    }
    // Random bytes are stored, which loses the tokens.
    let opened = opened("x.gz", &gzip(&noise(3, 200_000), SIGTOOL));
    assert_eq!(opened.opened_bytes, 200_000);
}

#[test]
fn a_stream_longer_than_the_sample_opens_through_two_threads() {
    let plain = text(4, 3_000_000);
    let opened = opened("x.gz", &gzip(&plain, SIGTOOL));
    assert_eq!(opened.opened_bytes, 3_000_000);
}

#[test]
fn streams_are_found_behind_database_headers() {
    let plain = text(5, 50_000);
    let database = [vec![b' '; 512], gzip(&plain, SIGTOOL)].concat();
    for name in ["daily.cvd", "daily.cld", "daily.cud"] {
        assert_eq!(opened(name, &database).opened_bytes, 50_000, "{name}");
    }
    let packed = gzip(&plain, parameters(6, Strategy::Filtered, 8));
    let cdiff = [&b"ClamAV-Diff:2:50000:"[..], &packed, b":", &[b'x'; 350]].concat();
    assert_eq!(opened("daily-2.cdiff", &cdiff).opened_bytes, 50_000);
}

#[test]
fn every_optional_header_field_is_understood() {
    let plain = text(6, 10_000);
    let stream = zlib::deflate(&plain, SIGTOOL);
    let fields = b"\x04\x00\x1f\x8b\x08\x00name\0comment\0\x12\x34";
    let file = [header(0x1f, fields), stream, trailer(&plain)].concat();
    assert_eq!(opened("x.gz", &file).opened_bytes, 10_000);
}

#[test]
fn several_members_and_a_gzip_inside_another_file_open() {
    let (one, two) = (text(7, 40_000), text(8, 30_000));
    let members = [
        gzip(&one, SIGTOOL),
        gzip(&two, parameters(6, Strategy::Default, 8)),
    ]
    .concat();
    let both = opened("x.gz", &members);
    assert_eq!((both.opened_bytes, both.segments), (70_000, 5));
    assert_eq!(both.streams.len(), 2);
    assert_eq!(both.streams[0].parameters.strategy, StrategyName::Filtered);

    // Long stretches around it are opened content as they are, short ones part of the recipe.
    let around = noise(9, 600_000);
    let inside = [&around[..500_000], &gzip(&one, SIGTOOL), &around[500_000..]].concat();
    let inside = opened("image.bin", &inside);
    assert_eq!(
        (inside.opened_bytes, inside.segments),
        (640_000 + 10 + 8, 3)
    );
}

#[test]
fn a_gzip_in_a_gzip_is_opened_once() {
    let inner = gzip(&text(10, 100_000), SIGTOOL);
    let outer = gzip(&inner, SIGTOOL);
    assert_eq!(opened("x.gz.gz", &outer).opened_bytes, inner.len() as u64);
}

#[test]
fn a_wrong_checksum_length_or_garbage_behind_the_end_is_part_of_the_recipe() {
    let plain = text(11, 20_000);
    let good = gzip(&plain, SIGTOOL);
    for at in [good.len() - 8, good.len() - 1] {
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        assert_eq!(opened("x.gz", &wrong).opened_bytes, 20_000);
    }
    let cut = &good[..good.len() - 8];
    assert_eq!(opened("x.gz", cut).segments, 2);
    let garbage = [&good[..], &noise(12, 5_000)].concat();
    assert_eq!(opened("x.gz", &garbage).opened_bytes, 25_008);
}

#[test]
fn another_producer_is_stored_whole_and_said_where_it_differs() {
    let plain = text(13, 400_000);
    let file = foreign(&plain);
    let closed = closed("x.gz", &file);
    assert_eq!(closed.stream_at, 10);
    let ClosedReason::Differs {
        at,
        affected_bytes,
        nearest,
    } = closed.reason
    else {
        panic!("{closed:?}");
    };
    // The oracle says the same, for the parameters that are named.
    assert_eq!(nearest.strategy, StrategyName::Default);
    let strategy = Strategy::Default;
    let stock = gzip(
        &plain,
        parameters(nearest.level, strategy, nearest.memory_level),
    );
    let mut pairs = stock.iter().zip(&file).enumerate().skip(10);
    let (differs, _) = pairs.find(|(_, (a, b))| a != b).unwrap();
    assert_eq!(at, differs as u64);
    assert_eq!(affected_bytes, (file.len() - 8 - differs) as u64);
}

/// A stream like zlib's, but for one match behind `from` that is written as literals.
fn without_one_match(plain: &[u8], from: usize) -> Vec<u8> {
    let mut tokenizer = Tokenizer::new(SIGTOOL, plain.len() as u64, 0);
    let mut batch = Batch::default();
    tokenizer.push_new(plain, &mut batch);
    tokenizer.finish(&mut batch);
    let (mut at, mut tokens, mut left_out) = (0, Vec::new(), false);
    for token in batch.tokens {
        let bytes = token.plain_bytes();
        if at > from && !token.is_literal() && !left_out {
            left_out = true;
            tokens.extend(plain[at..at + bytes].iter().copied().map(Token::literal));
        } else {
            tokens.push(token);
        }
        at += bytes;
    }
    assert!(left_out);
    let mut encoder = Encoder::new(SIGTOOL, plain.len() as u64);
    let mut stream = Vec::new();
    encoder.push(&tokens, plain, &mut stream);
    encoder.finish(&mut stream);
    stream
}

#[test]
fn a_difference_far_behind_the_sample_is_told_by_its_byte() {
    let plain = text(14, 2_500_000);
    let stream = without_one_match(&plain, 2_000_000);
    assert_eq!(zlib::inflate(&stream, plain.len()).unwrap().0, plain);
    let stock = zlib::deflate(&plain, SIGTOOL);
    let differs = stock.iter().zip(&stream).position(|(a, b)| a != b).unwrap();
    let file = [header(0, &[]), stream.clone(), trailer(&plain)].concat();
    let expected = ClosedReason::Differs {
        at: 10 + differs as u64,
        affected_bytes: (stream.len() - differs) as u64,
        nearest: SIGTOOL.into(),
    };
    assert_eq!(closed("x.gz", &file).reason, expected);
}

#[test]
fn a_guess_that_fails_behind_the_sample_is_followed_by_the_next() {
    // So few matches that every level finds the same ones; then text, where they differ.
    let mut plain = noise(15, 1_200_000);
    plain.iter_mut().for_each(|byte| *byte &= 0x7f);
    plain.extend(text(15, 200_000));
    let made = parameters(6, Strategy::Default, 8);
    let opened = opened("x.gz", &gzip(&plain, made));
    assert_eq!(opened.streams[0].parameters, made.into());
}

#[test]
fn damaged_streams_are_stored_whole_and_say_what_is_wrong() {
    let plain = text(16, 20_000);
    let good = gzip(&plain, SIGTOOL);
    let gz = |stream: &[u8]| [&header(0, &[]), stream].concat();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("cut", good[..good.len() / 2].to_vec(), "cut"),
        ("type", gz(&[0x07, 0, 0, 0]), "block type"),
        (
            "stored",
            gz(&[0x01, 5, 0, 5, 0, 1, 2, 3, 4, 5]),
            "complement",
        ),
        // Dynamic, 19 code lengths of one bit, which tells two apart.
        (
            "codes",
            gz(&[
                0x05, 0xe0, 0x93, 0x24, 0x49, 0x92, 0x24, 0x49, 0x92, 0x24, 0,
            ]),
            "over-subscribed",
        ),
        // Fixed: a match of three at distance one, before anything.
        ("distance", gz(&[0x03, 0x02, 0x00]), "before the start"),
    ];
    for (name, file, why) in cases {
        let closed = closed(name, &file);
        let ClosedReason::Damaged { at, why: told } = &closed.reason else {
            panic!("{name}: {closed:?}");
        };
        assert!(told.contains(why), "{name}: {told}");
        assert!((10..=file.len() as u64).contains(at), "{name}: {at}");
    }
}

#[test]
fn a_chance_header_is_nothing_to_tell() {
    let mut bytes = noise(17, 100_000);
    for at in [5_000, 50_000, 99_980] {
        bytes[at..at + 4].copy_from_slice(&[0x1f, 0x8b, 8, 0]);
    }
    assert_eq!(opening_of("noise.bin", &bytes), Opening::default());
    assert_eq!(opening_of("empty", &[]), Opening::default());
    assert_eq!(opening_of("text", &text(18, 300_000)), Opening::default());
}

#[test]
fn bad_streams_among_good_ones_stay_as_they_are() {
    let (one, two) = (text(19, 30_000), text(20, 50_000));
    let file = [gzip(&one, SIGTOOL), foreign(&two), gzip(&two, SIGTOOL)].concat();
    let opening = opening_of("mixed.gz", &file);
    let opened = opening.opened.unwrap();
    assert_eq!(opened.streams[0].count, 2);
    assert_eq!(opening.closed.len(), 1);
    assert!(matches!(
        opening.closed[0].reason,
        ClosedReason::Differs { .. }
    ));
}

#[test]
fn more_streams_than_a_recipe_holds_leave_the_rest_as_it_is() {
    let member = gzip(&text(21, 300), SIGTOOL);
    let opening = opening_of("many.gz", &member.repeat(600));
    let opened = opening.opened.unwrap();
    assert_eq!(opened.streams[0].count, 511);
    assert!(opened.segments <= limits::RECIPE_SEGMENTS as u64);
    assert!(matches!(
        opening.closed[0].reason,
        ClosedReason::Limit { .. }
    ));
}

#[test]
fn the_stat_cache_brings_back_recipe_and_outcome() {
    let feed = Feed::new();
    feed.write("good.gz", &gzip(&text(22, 50_000), SIGTOOL));
    feed.write("bad.gz", &foreign(&text(22, 50_000)));
    feed.write("x", b"1");
    let first = feed.publish().unwrap();
    assert_eq!(first.openings.len(), 2);
    feed.write("x", b"2");
    let second = feed.publish().unwrap();
    assert_eq!((second.release, second.read_bytes), (ReleaseNumber(2), 1));
    assert_eq!(second.openings, first.openings);
    let recipe_of = |release| feed.manifest(release).file("good.gz").unwrap().recipe;
    assert_eq!(recipe_of(1), recipe_of(2));
    let told = explain::load(feed.store().folder(), ReleaseNumber(2)).unwrap();
    assert_eq!(told.unwrap().openings, first.openings);
}

#[test]
fn genuine_databases_open() {
    let Some(folder) = std::env::var_os("TIDECAST_TESTDATA").map(PathBuf::from) else {
        crate::skip::skip(
            "genuine_databases_open",
            "set TIDECAST_TESTDATA to a folder with ClamAV's test-1.cvd to test-6.cvd",
        );
        return;
    };
    for number in 1..=6 {
        let name = format!("test-{number}.cvd");
        let file = fs::read(folder.join(&name)).unwrap();
        let opened = opened(&name, &file);
        assert_eq!(opened.streams[0].parameters, SIGTOOL.into(), "{name}");
    }
    for number in 2..=6 {
        let name = format!("test-{number}.cdiff");
        let file = fs::read(folder.join(&name)).unwrap();
        opened(&name, &file);
    }
}

/// The store of `feed` again, without recipes and without what they open to.
fn without_opened_content(feed: &Feed, path: &str) -> StoreWriter {
    let mut writer = StoreWriter::open(&feed.folder.path().join("other")).unwrap();
    let whole = feed.content(1, path);
    let chunker = Chunker::new(Chunking::default());
    let entries = chunker.chunks(&whole).map(|chunk| {
        let id = ChunkId::of(chunk);
        writer.put_chunk(&id, chunk).unwrap();
        let len = u32::try_from(chunk.len()).unwrap();
        Entry { id, len }
    });
    let list = List::new(entries.collect()).unwrap();
    writer.put_list(&list).unwrap();
    let manifest = feed.store().manifest(ReleaseNumber(1)).unwrap().unwrap();
    writer.add_release(ReleaseNumber(1), &manifest).unwrap();
    writer
}

#[test]
fn verifying_the_store_misses_recipe_list_and_chunks_of_opened_content() {
    let feed = Feed::new();
    feed.write("x.gz", &gzip(&text(23, 700_000), SIGTOOL));
    feed.publish().unwrap();
    let recipe = recipe(&feed, 1, "x.gz");
    let list = feed.store().list(&recipe.opened()).unwrap().open().unwrap();
    let list = List::decode(&list, recipe.opened(), recipe.opened_bytes()).unwrap();
    let mut writer = without_opened_content(&feed, "x.gz");
    let problem = |writer: &mut StoreWriter| {
        writer.seal().unwrap();
        let problems = writer.store().verify().problems;
        assert_eq!(problems.len(), 1);
        problems[0].clone()
    };
    let found = problem(&mut writer);
    assert!(
        found.contains(&format!("recipe {} is missing", recipe.id())),
        "{found}"
    );
    writer.put_recipe(&recipe).unwrap();
    let found = problem(&mut writer);
    assert!(
        found.contains(&format!("list {} is missing", recipe.opened())),
        "{found}"
    );
    writer.put_list(&list).unwrap();
    let found = problem(&mut writer);
    let first = list.entries()[0].id;
    assert!(
        found.contains(&format!("chunk {first} is missing")),
        "{found}"
    );
    let content = opened_content(&feed, &recipe);
    for chunk in Chunker::new(Chunking::default()).chunks(&content) {
        writer.put_chunk(&ChunkId::of(chunk), chunk).unwrap();
    }
    writer.seal().unwrap();
    assert!(writer.store().verify().is_good());
}
