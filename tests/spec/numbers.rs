//! The numbers that SPEC.md states, against the constants of the code.

use std::collections::{BTreeMap, BTreeSet};

use tidecast_proto::{
    bundle::PartKind,
    limits,
    receipt::ServingState,
    road::{Road, RoadReason},
    wire::{Encoding, FrameType, ObjectKind, RefusalReason, parse_header},
};

use crate::page::{self, number};
use crate::spec;

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
