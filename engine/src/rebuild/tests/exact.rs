//! What comes out, and what it cost.

use tidecast_proto::bundle::bytes_of;
use tidecast_proto::deflate::{Parameters, Strategy};

use super::kit::*;

const MB: usize = 1_000_000;

#[test]
fn an_unchanged_content_is_taken_over_whole() {
    let old = Whole::cvd(&lines(1, MB));
    let rebuilt = Case::new(&old, &[&old]).exact();
    assert_eq!(rebuilt.same_bytes, MB as u64);
    assert_eq!(rebuilt.missing_bytes + rebuilt.scratch_bytes, 0);
}

#[test]
fn small_and_large_edits_anywhere_are_exact_and_cost_what_they_change() {
    let content = lines(2, MB);
    let old = Whole::cvd(&content);
    let large = lines(3, 200_000);
    for at in [0, 5, 100_000, 500_000, MB - 10, MB] {
        for (drop, insert) in [
            (0, &b"x"[..]),
            (1, b""),
            (5, b"y"),
            (100_000, b""),
            (0, &large),
            (150_000, &large),
        ] {
            let range = at..(at + drop).min(content.len());
            let new = Whole::cvd(&edited(&content, range.clone(), insert));
            let mut case = Case::new(&new, &[&old]);
            let rebuilt = case.exact();
            let found = rebuilt.missing_bytes - rebuilt.trimmed_bytes;
            assert!(
                found <= insert.len() as u64,
                "{range:?} + {}: {found} bytes new, {rebuilt:?}",
                insert.len()
            );
            assert_eq!(rebuilt.scratch_bytes, 0);
        }
    }
}

#[test]
fn many_edits_are_exact_however_the_chunks_come() {
    let content = lines(4, 2 * MB);
    let old = Whole::cvd(&content);
    let mut random = Random(5);
    for chunks_at_once in [1, 2, 7, usize::MAX] {
        let mut content = content.clone();
        for _ in 0..12 {
            let at = random.below(content.len());
            let drop = random.below(3) * random.below(2000);
            let insert = lines(random.next(), random.below(3000));
            let end = (at + drop).min(content.len());
            content = edited(&content, at..end, &insert);
        }
        let new = Whole::cvd(&content);
        let mut case = Case::new(&new, &[&old]);
        case.chunks_at_once = chunks_at_once;
        assert_eq!(case.exact().scratch_bytes, 0);
    }
}

#[test]
fn content_that_moved_is_found_in_a_copy_of_the_old_content() {
    let content = lines(6, 3 * MB);
    let old = Whole::cvd(&content);
    let (a, b) = content.split_at(MB);
    let new = Whole::cvd(&[b, a].concat());
    let rebuilt = Case::new(&new, &[&old]).exact();
    assert!(rebuilt.moved_bytes > 900_000 && rebuilt.missing_bytes < 100_000);
    assert_eq!(rebuilt.scratch_bytes, content.len() as u64);
}

#[test]
fn a_small_base_is_opened_in_memory() {
    let content = lines(7, MB);
    let old = Whole::cvd(&content);
    let cdiff = Whole::cvd(&lines(8, 200_000));
    let new = Whole::cvd(&[&content[..], &cdiff.content].concat());
    let rebuilt = Case::new(&new, &[&old, &cdiff]).exact();
    assert!(rebuilt.moved_bytes > 100_000, "{rebuilt:?}");
    assert_eq!(rebuilt.scratch_bytes, 0);
}

#[test]
fn a_chunk_that_comes_again_is_delivered_once() {
    let part = lines(9, 700_000);
    let new = Whole::cvd(&[&part[..], b"between", &part, &part].concat());
    let rebuilt = Case::new(&new, &[]).exact();
    assert!(rebuilt.moved_bytes > 1_200_000, "{rebuilt:?}");
    assert_eq!(rebuilt.scratch_bytes, 0, "fits in memory");
    let part = lines(10, 2 * MB);
    let new = Whole::cvd(&[&part[..], b"between", &part].concat());
    assert!(Case::new(&new, &[]).exact().scratch_bytes > 0);
}

#[test]
fn streams_plain_stretches_and_literals_mix_on_both_sides() {
    let (a, b, c) = (lines(11, MB), lines(12, 300_000), lines(13, MB));
    let old = Whole::opened(&[
        Made::Literal(b"one"),
        Made::Stream(Parameters::SIGTOOL, &a),
        Made::Literal(b"two"),
        Made::Plain(&b),
        Made::Stream(LEVEL_6, &c),
    ]);
    let (a, c) = (edited(&a, 5..9, b"edit"), edited(&c, 500_000..500_001, b""));
    let swapped = Whole::opened(&[
        Made::Stream(Parameters::SIGTOOL, &a),
        Made::Stream(Parameters::SIGTOOL, b""),
        Made::Plain(&b),
        Made::Literal(b"three"),
        Made::Stream(LEVEL_6, &c),
        Made::Plain(b"end"),
    ]);
    assert_eq!(Case::new(&swapped, &[&old]).exact().scratch_bytes, 0);
    // One stream becomes three, three become one, packed becomes plain and the other way round.
    let (first, rest) = c.split_at(400_000);
    for new in [
        Whole::opened(&[
            Made::Stream(Parameters::SIGTOOL, &a[..100_000]),
            Made::Stream(Parameters::SIGTOOL, &a[100_000..]),
            Made::Stream(LEVEL_6, &b),
            Made::Plain(first),
            Made::Stream(LEVEL_6, rest),
        ]),
        Whole::cvd(&[&a[..], &b, &c].concat()),
        Whole::stored(&[&a[..], &b, &c].concat()),
    ] {
        assert!(Case::new(&new, &[&old]).exact().missing_bytes < 200_000);
        assert!(Case::new(&old, &[&new]).exact().missing_bytes < 200_000);
    }
}

#[test]
fn other_parameters_than_before_cost_a_search_and_are_exact() {
    let content = lines(14, MB);
    let old = Whole::cvd(&content);
    for (level, strategy) in [
        (1, Strategy::Default),
        (6, Strategy::Filtered),
        (9, Strategy::Default),
        (9, Strategy::Huffman),
        (9, Strategy::Rle),
        (9, Strategy::Fixed),
    ] {
        let parameters = Parameters::new(level, strategy, 9).unwrap();
        let new = Whole::opened(&[Made::Stream(parameters, &content)]);
        assert_eq!(Case::new(&new, &[&old]).exact().missing_bytes, 0);
    }
}

#[test]
fn stored_files_are_copied_and_spliced() {
    let content = lines(15, MB);
    let new = Whole::stored(&edited(&content, 500_000..500_100, b"edit"));
    let rebuilt = Case::new(&new, &[&Whole::stored(&content)]).exact();
    assert!(rebuilt.missing_bytes < 100_000, "{rebuilt:?}");
}

#[test]
fn files_without_a_base_and_empty_ones_are_made() {
    let empty = Whole::stored(b"");
    let empty_stream = Whole::cvd(b"");
    let tiny = Whole::cvd(b"tiny");
    let text = Whole::cvd(&lines(16, 300_000));
    let random: Vec<u8> = std::iter::repeat_with({
        let mut random = Random(17);
        move || u8::try_from(random.below(256)).unwrap()
    })
    .take(300_000)
    .collect();
    let random = Whole::cvd(&random);
    let zeros = Whole::cvd(&vec![0; 300_000]);
    let all = [&empty, &empty_stream, &tiny, &text, &random, &zeros];
    for new in all {
        Case::new(new, &[]).exact();
        for old in all {
            Case::new(new, &[old]).exact();
        }
    }
}

#[test]
fn runs_find_their_bases_near_the_place_without_a_copy() {
    let content = lines(18, 16 * MB);
    let old = Whole::cvd(&content);
    let new = Whole::cvd(&edited(&content, 2 * MB..6 * MB, &lines(19, 3 * MB)));
    let mut case = Case::new(&new, &[&old]);
    case.chunks_at_once = 50;
    // Each run's base is what stands at the same place of the gap, some before it, and some of what follows.
    let start_of = |from: usize| bytes_of(&new.list.entries()[..from]).min(6_000_000) - 500_000;
    case.reads = Box::new(move |from| vec![(0, start_of(from)..start_of(from) + 4_000_000)]);
    assert_eq!(case.exact().scratch_bytes, 0);
    assert!(case.seen.len() >= 3);
    for (_, range, bytes) in &case.seen {
        assert!(content[range.clone()] == bytes[..]);
    }
    // What lies far off costs a copy, and is the same.
    let mut case = Case::new(&new, &[&old]);
    case.reads = Box::new(|_| vec![(0, 100..5_000), (0, 15_000_000..15_900_000)]);
    assert_eq!(case.exact().scratch_bytes, content.len() as u64);
    for (_, range, bytes) in &case.seen {
        assert!(content[range.clone()] == bytes[..]);
    }
}

#[test]
fn whatever_is_read_out_of_bases_meanwhile_the_file_is_exact() {
    let mut random = Random(20);
    for round in 0..12 {
        let a = lines(random.next(), 200_000 + random.below(2 * MB));
        let b = lines(random.next(), random.below(2 * MB));
        let old = [Whole::cvd(&a), Whole::cvd(&b)];
        let mut content = a.clone();
        for _ in 0..random.below(8) {
            let at = random.below(content.len());
            let end = (at + random.below(300_000)).min(content.len());
            let from = random.below(b.len() + 1);
            let until = (from + random.below(300_000)).min(b.len());
            content = edited(&content, at..end, &b[from..until]);
            let insert = lines(random.next(), random.below(50_000));
            content = edited(&content, at..at, &insert);
        }
        let new = Whole::cvd(&content);
        let mut case = Case::new(&new, &[&old[0], &old[1]]);
        case.chunks_at_once = 1 + random.below(9);
        let lengths = [a.len(), b.len()];
        case.reads = Box::new(move |_| {
            let read = |random: &mut Random| {
                let base = random.below(2);
                let from = random.below(lengths[base] + 1);
                let until = from + random.below(lengths[base] + 1 - from);
                (u32::try_from(base).unwrap(), from as u64..until as u64)
            };
            vec![read(&mut random), read(&mut random)]
        });
        case.exact();
        for (base, range, bytes) in &case.seen {
            assert!(
                old[*base as usize].content[range.clone()] == bytes[..],
                "round {round}"
            );
        }
        random = Random(round + 21);
    }
}
