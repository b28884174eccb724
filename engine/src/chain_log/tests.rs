//! What a chained log promises.

use super::*;
use crate::small_disk::SmallDisk;

const FORMAT: Format = Format {
    domain: "tidecast chain log, of a test",
    body_bytes_max: 64,
};
const KIND: RecordKind = RecordKind(3);

fn append(log: &mut ChainLog, body: &[u8]) -> Result<(), ChainLogError> {
    log.begin(&mut |_| {})?.append(&[(KIND, body.to_vec())])
}

fn open(path: &Path) -> Result<(ChainLog, Vec<Vec<u8>>), ChainLogError> {
    let mut bodies = Vec::new();
    let log = ChainLog::open(path, &FORMAT, &mut |record| {
        bodies.push(record.body.clone());
    })?;
    Ok((log, bodies))
}

fn three(path: &Path) {
    let (mut log, _) = open(path).unwrap();
    for body in [&b"one"[..], b"", b"three"] {
        append(&mut log, body).unwrap();
    }
}

#[test]
fn what_was_appended_is_read_and_built_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    three(&path);
    let (mut log, bodies) = open(&path).unwrap();
    assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
    append(&mut log, b"four").unwrap();
    assert_eq!(open(&path).unwrap().1.len(), 4);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    three(&path);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            std::fs::write(&path, &flipped).unwrap();
            let error = open(&path).map(|(log, _)| log.end).unwrap_err();
            assert!(matches!(error, ChainLogError::Damaged { .. }), "{at}.{bit}");
        }
    }
}

#[test]
fn a_record_taken_out_or_moved_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    three(&path);
    let whole = std::fs::read(&path).unwrap();
    let (first, second) = (73 + 3, 73);
    let (one, rest) = whole.split_at(first);
    let (two, three) = rest.split_at(second);
    for wrong in [
        [one, three].concat(),
        [two, three].concat(),
        [two, one, three].concat(),
        [one, three, two].concat(),
        [one, one, two, three].concat(),
    ] {
        std::fs::write(&path, &wrong).unwrap();
        let error = open(&path).map(|(log, _)| log.end).unwrap_err();
        let chain = |error| {
            matches!(
                error,
                ChainLogError::Damaged {
                    fault: Fault::Chain,
                    ..
                }
            )
        };
        assert!(chain(error));
    }
}

#[test]
fn a_log_of_another_kind_is_not_read() {
    const OTHER: Format = Format {
        domain: "tidecast chain log, of another test",
        body_bytes_max: 64,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    three(&path);
    assert!(read(&path, &OTHER, &mut |_| {}).is_err());
}

#[test]
fn what_a_crash_left_is_cut_back_wherever_it_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    // So that the last record lies across the end of a sector, at each of its bytes in turn.
    for length in (0..=64).step_by(9) {
        std::fs::write(&path, b"").unwrap();
        let (mut log, _) = open(&path).unwrap();
        append(&mut log, &vec![1; length]).unwrap();
        for _ in 0..4 {
            append(&mut log, &[2; 64 - 30]).unwrap();
        }
        let begin = usize::try_from(log.end.bytes).unwrap();
        append(&mut log, b"last").unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert!(begin < 512 + 64 && whole.len() > 512 - 64);
        for cut in begin..whole.len() {
            check_cut(&path, &whole[..cut]);
        }
        if (begin + 1..whole.len() - 16).contains(&512) {
            let mut unwritten = whole.clone();
            unwritten[512..].fill(0);
            check_cut(&path, &unwritten);
        }
        let mut unwritten = whole.clone();
        unwritten[begin..].fill(0);
        check_cut(&path, &unwritten);
    }
}

fn check_cut(path: &Path, left: &[u8]) {
    std::fs::write(path, left).unwrap();
    let (mut log, bodies) = open(path).unwrap();
    assert_eq!(bodies.len(), 5, "{}", left.len());
    if !left.len().is_multiple_of(16) && left.last() != Some(&0) {
        return;
    }
    append(&mut log, b"again").unwrap();
    assert_eq!(open(path).unwrap().1[5], b"again");
}

#[test]
fn two_writers_build_on_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (mut a, mut b) = (open(&path).unwrap().0, open(&path).unwrap().0);
    for round in 0..10_u8 {
        append(&mut a, &[round, 0]).unwrap();
        let mut seen = Vec::new();
        b.begin(&mut |record| seen.push(record.body.clone()))
            .unwrap()
            .append(&[(KIND, vec![round, 1])])
            .unwrap();
        assert!(seen.contains(&vec![round, 0]));
    }
    assert_eq!(open(&path).unwrap().1.len(), 20);
}

#[test]
fn a_file_put_in_its_place_stops_whoever_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, backup) = (folder.path().join("log"), folder.path().join("backup"));
    three(&path);
    std::fs::copy(&path, &backup).unwrap();
    let (mut log, _) = open(&path).unwrap();
    append(&mut log, b"four").unwrap();
    std::fs::rename(&backup, &path).unwrap();
    assert!(matches!(
        append(&mut log, b"five"),
        Err(ChainLogError::Replaced { .. })
    ));
}

#[test]
fn a_failure_at_any_step_leaves_a_log_that_goes_on() {
    let steps = [Step::Made, Step::Unsynced, Step::Unnamed];
    let writes = (0..=73 + 4).step_by(7).map(Step::Written);
    for step in steps.into_iter().chain(writes) {
        // Every step when the file is new and when it is not.
        for before in [0, 2] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let (mut log, _) = open(&path).unwrap();
            for _ in 0..before {
                append(&mut log, b"ok").unwrap();
            }
            log.fail_at = Some(step);
            append(&mut log, b"four").unwrap_err();
            assert_eq!(open(&path).unwrap().1.len(), before, "{step:?}");
            append(&mut log, b"then").unwrap();
            let bodies = open(&path).unwrap().1;
            assert_eq!(
                (bodies.len(), &bodies[before][..]),
                (before + 1, &b"then"[..])
            );
        }
    }
}

#[test]
fn a_full_disk_stops_appends_and_room_lets_them_go_on() {
    let Some(disk) = SmallDisk::mount("64k") else {
        crate::skip::skip(
            "a_full_disk_stops_appends_and_room_lets_them_go_on",
            "mounting is not allowed",
        );
        return;
    };
    let path = disk.path().join("log");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 40_000]).unwrap();
    let (mut log, _) = open(&path).unwrap();
    let mut count = 0;
    while append(&mut log, &[7; 64]).is_ok() {
        count += 1;
    }
    assert_eq!(open(&path).unwrap().1.len(), count);
    std::fs::remove_file(&ballast).unwrap();
    append(&mut log, b"on").unwrap();
    assert_eq!(open(&path).unwrap().1.len(), count + 1);
}
