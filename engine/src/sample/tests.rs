//! A made-up feed is what its documentation says: read back by other code than wrote it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::container::hex;
use super::*;

#[path = "../../../benches/src/stock_zlib.rs"]
mod stock_zlib;

const SIGTOOL: Packer = Packer {
    database: stock_zlib::database,
    cdiff: stock_zlib::cdiff,
};

const SMALL: Scale = Scale {
    hash_lines: 900,
    logical_lines: 300,
    main_lines: 200,
};

/// Large enough for a busy day's drops to be few among many.
const MIDDLE: Scale = Scale {
    hash_lines: 6_000,
    logical_lines: 2_000,
    main_lines: 200,
};

/// Header fields and members of a container.
fn open(path: &Path) -> (Vec<String>, Vec<(String, Vec<u8>)>) {
    let bytes = std::fs::read(path).unwrap();
    let (header, body) = bytes.split_at(512);
    assert!(header.iter().all(|byte| (0x20..0x7f).contains(byte)));
    let header = std::str::from_utf8(header).unwrap().trim_end();
    let fields: Vec<String> = header.split(':').map(str::to_owned).collect();
    assert_eq!(fields[5], hex(&Md5::digest(body)));
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(body)
        .read_to_end(&mut tar)
        .unwrap();
    let mut members = Vec::new();
    let mut rest = tar.as_slice();
    while !rest.is_empty() {
        let (head, data) = rest.split_at(512);
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap();
            String::from_utf8(bytes[..end].to_vec()).unwrap()
        };
        let size = usize::from_str_radix(&text(&head[124..136]), 8).unwrap();
        let mut blanked = head.to_vec();
        blanked[148..156].fill(b' ');
        let sum: u32 = blanked.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(text(&head[148..156]), format!("{sum:06o}"));
        members.push((text(&head[..100]), data[..size].to_vec()));
        rest = &data[size.next_multiple_of(512)..];
    }
    (fields, members)
}

/// Applies a cdiff as a client does: lines numbered from 1 as they were at `OPEN`, additions at `CLOSE`.
fn apply(file: &[u8], members: &mut BTreeMap<String, Vec<u8>>) {
    let colons = file.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let text_end = colons.map(|(at, _)| at + 1).nth(2).unwrap();
    let signature = file.iter().rposition(|byte| *byte == b':').unwrap();
    assert_eq!(file.len() - signature - 1, 342);
    let mut script = String::new();
    flate2::read::GzDecoder::new(&file[text_end..signature])
        .read_to_string(&mut script)
        .unwrap();
    let stated = std::str::from_utf8(&file[..text_end]).unwrap();
    let stated: usize = stated.split(':').nth(2).unwrap().parse().unwrap();
    assert_eq!(stated, script.len());

    let mut open = None;
    let mut lines: Vec<Option<String>> = Vec::new();
    for command in script.lines() {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        let edited = |lines: &[Option<String>]| {
            let mut parts = rest.splitn(3, ' ');
            let line = parts.next().unwrap().parse::<usize>().unwrap() - 1;
            let prefix = parts.next().unwrap();
            assert!(lines[line].as_ref().unwrap().starts_with(prefix));
            (line, parts.next().map(str::to_owned))
        };
        match word {
            "OPEN" => {
                assert!(open.replace(rest.to_owned()).is_none());
                let text = String::from_utf8(members[rest].clone()).unwrap();
                lines = text.lines().map(|line| Some(line.to_owned())).collect();
            }
            "ADD" => lines.push(Some(rest.to_owned())),
            "DEL" => {
                let (line, _) = edited(&lines);
                lines[line] = None;
            }
            "XCHG" => {
                let (line, instead) = edited(&lines);
                lines[line] = Some(instead.unwrap());
            }
            "CLOSE" => {
                let kept = lines.drain(..).flatten().map(|line| line + "\n");
                let text: String = kept.collect();
                members.insert(open.take().unwrap(), text.into_bytes());
            }
            other => panic!("unknown command {other}"),
        }
    }
    assert!(open.is_none());
}

#[test]
fn equal_seeds_give_equal_bytes_and_other_seeds_others() {
    let written = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = Feed::new(seed, SMALL);
        feed.advance(Day::Ordinary).unwrap();
        feed.write(folder.path()).unwrap();
        let names = ["main.cvd", "daily.cvd", "bytecode.cvd", "daily-27901.cdiff"];
        names.map(|name| blake3::hash(&std::fs::read(folder.path().join(name)).unwrap()))
    };
    let first = written(1);
    assert_eq!(first, written(1));
    assert!(written(2).iter().all(|hash| !first.contains(hash)));
}

#[test]
fn every_container_has_a_right_header_and_a_right_list_of_its_members() {
    let folder = tempfile::tempdir().unwrap();
    Feed::new(3, SMALL).write(folder.path()).unwrap();
    for (name, version) in [("main", "62"), ("daily", "27900"), ("bytecode", "339")] {
        let (fields, members) = open(&folder.path().join(format!("{name}.cvd")));
        assert_eq!(fields[0], "ClamAV-VDB");
        assert_eq!(fields[1], "01 Jan 2026 09-00 +0000");
        assert_eq!(fields[2], version);
        assert_eq!(fields[6].len(), 171);
        assert_eq!(fields[8], "1767258000");
        assert_eq!(members[0].0, "COPYING");
        assert_eq!(members[1].0, format!("{name}.info"));
        let info = String::from_utf8(members[1].1.clone()).unwrap();
        let mut lines = info.lines();
        let title: Vec<&str> = lines.next().unwrap().split(':').collect();
        assert_eq!(title[2..4], fields[2..4]);
        assert_eq!(title[5..7], ["X", "X"]);
        for (member, text) in &members[2..] {
            let hash = hex(&Sha256::digest(text));
            let expected = format!("{member}:{}:{hash}", text.len());
            assert_eq!(lines.next(), Some(expected.as_str()));
        }
        assert_eq!(lines.next().unwrap().len(), "DSIG:".len() + 342);
        assert_eq!(lines.next(), None);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_cdiff_turns_the_old_members_into_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let daily = folder.path().join("daily.cvd");
    let mut feed = Feed::new(4, SMALL);
    feed.write(folder.path()).unwrap();
    let mut members: BTreeMap<_, _> = open(&daily).1.into_iter().collect();
    for day in [Day::Ordinary, Day::Busy, Day::Ordinary] {
        feed.advance(day).unwrap();
        feed.write_update(folder.path()).unwrap();
        let cdiff = format!("daily-{}.cdiff", feed.daily_version());
        apply(
            &std::fs::read(folder.path().join(cdiff)).unwrap(),
            &mut members,
        );
        let (fields, new) = open(&daily);
        assert_eq!(fields[2], feed.daily_version().to_string());
        assert_eq!(members, new.into_iter().collect());
    }
}

/// How often each line stands in the members that hold signatures.
fn lines(path: &Path) -> BTreeMap<(String, String), i64> {
    let mut counts = BTreeMap::new();
    for (name, text) in open(path).1 {
        if name == "COPYING" || name.ends_with(".info") {
            continue;
        }
        for line in String::from_utf8(text).unwrap().lines() {
            *counts.entry((name.clone(), line.to_owned())).or_default() += 1;
        }
    }
    counts
}

/// Lines added and dropped between two databases.
fn counted(old: &Path, new: &Path) -> (i64, i64) {
    let mut counts = lines(new);
    for (line, count) in lines(old) {
        *counts.entry(line).or_default() -= count;
    }
    let added = counts.values().filter(|count| **count > 0).sum();
    let dropped: i64 = counts.values().filter(|count| **count < 0).sum();
    (added, -dropped)
}

#[test]
fn a_day_adds_and_drops_as_many_lines_as_it_says_and_its_cdiff_has_the_stated_size() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        folder.path().join("old.cvd"),
        folder.path().join("daily.cvd"),
    );
    let mut feed = Feed::new(9, MIDDLE);
    feed.pack_with(SIGTOOL);
    feed.write(folder.path()).unwrap();
    for (day, counts, cdiff_bytes) in [
        (Day::Ordinary, (120, 4), 6_400..7_400),
        (Day::Busy, (2_000, 60), 47_000..53_000),
    ] {
        std::fs::rename(&new, &old).unwrap();
        feed.advance(day).unwrap();
        feed.write_update(folder.path()).unwrap();
        assert_eq!(counted(&old, &new), counts);
        let cdiff = format!("daily-{}.cdiff", feed.daily_version());
        let bytes = folder.path().join(cdiff).metadata().unwrap().len();
        assert!(cdiff_bytes.contains(&bytes), "{day:?}: {bytes} bytes");
    }
}

#[test]
fn new_lines_stand_at_the_ends_of_several_members_and_dropped_ones_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let daily = folder.path().join("daily.cvd");
    let mut feed = Feed::new(10, MIDDLE);
    feed.write(folder.path()).unwrap();
    let old: BTreeMap<_, _> = open(&daily).1.into_iter().collect();
    feed.advance(Day::Busy).unwrap();
    feed.write_update(folder.path()).unwrap();
    let mut grown = 0;
    let mut first_difference = Vec::new();
    for (name, new) in open(&daily).1 {
        let old = &old[&name];
        if name.ends_with(".info") || *old == new {
            continue;
        }
        let old_lines: Vec<&[u8]> = old.split(|byte| *byte == b'\n').collect();
        let last = new.split(|byte| *byte == b'\n').rev().nth(1).unwrap();
        grown += usize::from(!old_lines.contains(&last));
        let equal = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        first_difference.push(equal * 100 / old.len());
    }
    assert_eq!(grown, 5);
    assert!(first_difference.iter().any(|percent| *percent < 10));
}

#[test]
fn rebuilding_main_moves_a_third_of_dailys_lines_and_empties_both_cdiffs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut feed = Feed::new(11, SMALL);
    feed.write(folder.path()).unwrap();
    let all_lines = |name: &str| -> Vec<String> {
        let counts = lines(&path(name)).into_iter();
        counts.map(|((_, line), _)| line).collect()
    };
    let (daily, main) = (all_lines("daily.cvd"), all_lines("main.cvd"));
    feed.rebuild_main();
    feed.write_update(folder.path()).unwrap();
    let (new_daily, new_main) = (all_lines("daily.cvd"), all_lines("main.cvd"));

    let moved = daily.len() - new_daily.len();
    // `daily.ign2` has no counterpart in main and stays; every member rounds down.
    assert!((daily.len() / 3 - 20..=daily.len() / 3).contains(&moved));
    assert_eq!(new_main.len(), main.len() + moved);
    let mut before = [daily, main].concat();
    let mut after = [new_daily, new_main].concat();
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, after);
    for (name, version) in [("main", "63"), ("daily", "27901")] {
        assert_eq!(open(&path(&format!("{name}.cvd"))).0[2], version);
        let cdiff = path(&format!("{name}-{version}.cdiff"));
        assert_eq!(cdiff.metadata().unwrap().len(), 0);
    }
    // The day after is an ordinary one again and leaves main alone.
    let main = std::fs::read(path("main.cvd")).unwrap();
    feed.advance(Day::Ordinary).unwrap();
    feed.write_update(folder.path()).unwrap();
    assert_eq!(main, std::fs::read(path("main.cvd")).unwrap());
    assert!(path("daily-27902.cdiff").metadata().unwrap().len() > 1_000);
}

#[test]
fn a_chain_of_days_leaves_one_cdiff_per_day_and_only_the_newest_databases() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(12, SMALL);
    for _ in 0..30 {
        feed.advance(Day::Ordinary).unwrap();
    }
    feed.write(folder.path()).unwrap();
    assert_eq!(feed.daily_version(), 27_930);
    for version in 27_901..=27_930 {
        let cdiff = folder.path().join(format!("daily-{version}.cdiff"));
        assert!(cdiff.is_file(), "{version}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 30 + 3);
}

#[test]
fn another_packer_changes_the_packed_bytes_and_nothing_inside() {
    let folder = tempfile::tempdir().unwrap();
    let daily = folder.path().join("daily.cvd");
    let mut feed = Feed::new(13, SMALL);
    feed.pack_with(SIGTOOL);
    feed.advance(Day::Ordinary).unwrap();
    feed.write(folder.path()).unwrap();
    let (bytes, (fields, members)) = (std::fs::read(&daily).unwrap(), open(&daily));
    // Ten bytes of gzip header: no time, level 9, Unix.
    assert_eq!(bytes[512..522], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
    feed.pack_with(Packer {
        database: stock_zlib::plain,
        cdiff: stock_zlib::cdiff,
    });
    feed.write_update(folder.path()).unwrap();
    let (new_fields, new_members) = open(&daily);
    assert_eq!(members, new_members);
    assert_eq!(fields[2], new_fields[2]);
    assert_ne!(fields[5], new_fields[5], "the packed bytes' MD5");
}

#[test]
fn small_files_are_as_many_as_asked_and_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    small_files(&a, 501, 7).unwrap();
    small_files(&b, 501, 7).unwrap();
    assert_eq!(std::fs::read_dir(a.join("d000")).unwrap().count(), 500);
    assert_eq!(std::fs::read_dir(a.join("d001")).unwrap().count(), 1);
    let last = Path::new("d001/f00500.txt");
    let bytes = std::fs::read(a.join(last)).unwrap();
    assert!((40..=1_200).contains(&bytes.len()));
    assert_eq!(bytes, std::fs::read(b.join(last)).unwrap());
}

#[test]
fn incompressible_has_the_asked_length_even_when_it_is_odd() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    incompressible(&path, 70_003, 1).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 70_003);
    assert!(zstd::bulk::compress(&bytes, 3).unwrap().len() >= bytes.len());
}
