//! What zlib was told is found from the start of what it made.

use tidecast_proto::deflate::{CANDIDATES_MAX, Candidate, Head, LevelHint, Parameters, Strategy};

use crate::{
    search::{STRATEGIES, difference, one_of, parameters, searched},
    support::{
        effort,
        inputs::{Random, binary, mixture, signatures},
        parse, zlib,
    },
};

fn candidates(packed: &[u8], hint: LevelHint) -> Vec<Candidate> {
    let mut head = Head::default();
    let read = parse(packed, u64::MAX, packed.len(), |batch, step| {
        head.push(batch, step);
    });
    assert!(read.is_ok());
    let candidates = head.search(hint).candidates;
    assert!(candidates.len() <= CANDIDATES_MAX);
    candidates
}

/// One of the candidates makes the whole stream again.
fn check(plain: &[u8], told: Parameters, case: &str) {
    let packed = zlib::deflate(plain, told);
    let found = candidates(&packed, LevelHint::None);
    let mut last = Vec::new();
    for candidate in &found {
        assert_eq!(candidate.differs_at, None, "{case}, {told:?}");
        (_, last) = searched(plain, candidate.parameters, 70_000, &mut Random(1));
        if last == packed {
            return;
        }
    }
    panic!(
        "{case}, {told:?}: {found:?}, {}",
        difference(&last, &packed)
    );
}

#[test]
fn sigtools_parameters_are_found_first() {
    let plain = signatures(&mut Random(1), 2_000_000);
    let packed = zlib::deflate(&plain, Parameters::SIGTOOL);
    let found = candidates(&packed, LevelHint::from_extra_flags(2));
    assert_eq!(
        found.first().map(|found| found.parameters),
        Some(Parameters::SIGTOOL)
    );
}

#[test]
fn every_parameter_is_found_again() {
    let mut random = Random(2);
    let inputs = [
        ("signatures", signatures(&mut random, 60_000)),
        ("binary", binary(&mut random, 60_000)),
        ("mixture", mixture(&mut random, 60_000)),
    ];
    for (name, plain) in &inputs {
        for strategy in STRATEGIES {
            for level in 1..=9 {
                let memory_level = one_of(&mut random, &[8, 8, 9, 5, 2]);
                check(plain, parameters(level, strategy, memory_level), name);
            }
        }
    }
}

#[test]
fn short_streams_are_made_again_by_what_is_found() {
    for seed in 0..80 * effort() {
        let mut random = Random(seed);
        let len = one_of(&mut random, &[0, 1, 30, 500, 6_000]);
        let plain = mixture(&mut random, len);
        let strategy = one_of(&mut random, &STRATEGIES);
        let level = 1 + u8::try_from(random.below(9)).expect("a digit");
        check(
            &plain,
            parameters(level, strategy, 8),
            &format!("seed {seed}"),
        );
    }
}

/// zlib-rs searches otherwise at this level; that the place is named is what an operator is shown.
#[test]
fn a_stream_that_zlib_did_not_make_names_where_it_differs() {
    use std::io::Write;
    let plain = mixture(&mut Random(3), 300_000);
    let mut other = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    other.write_all(&plain).expect("into memory");
    let packed = other.finish().expect("into memory");
    let found = candidates(&packed, LevelHint::None);
    assert!(found.len() <= 1, "{found:?}");
    if let [found] = found[..] {
        assert!(found.differs_at.is_some());
        assert_eq!(found.parameters.strategy(), Strategy::Default);
    }
}
