//! Stops, full disks and damage: what is needed stays whole.

use super::*;

#[test]
fn a_stop_before_any_step_leaves_a_whole_store_and_the_next_collection_ends_the_same() {
    let mut stops = 0;
    let mut end = None;
    for left in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ten_releases(folder.path());
        step::LEFT.set(Some(left));
        let stopped = collect(&mut writer, when(11));
        step::LEFT.set(None);
        drop(writer);
        let store = Store::open(folder.path()).unwrap();
        good(&store);
        // The oldest are gone, if any, and none out of turn.
        let kept = numbers(&store);
        assert!(kept.ends_with(&[8, 9, 10]), "{kept:?}");
        assert!(
            kept.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{kept:?}"
        );

        let mut writer = StoreWriter::open(folder.path()).unwrap();
        collect(&mut writer, when(11)).unwrap();
        assert_eq!(numbers(writer.store()), [8, 9, 10]);
        good(writer.store());
        for number in 1..=10 {
            assert!(has(writer.store(), &lasting(number)));
            assert_eq!(has(writer.store(), &own(number)[3]), number >= 8);
        }
        if stopped.is_ok() {
            end = Some(bytes_in(folder.path()));
            break;
        }
        stops += 1;
    }
    // Seven releases, their folder, sealing what was open, seven copies, sealing them, seven packs.
    assert_eq!(stops, 7 + 1 + 1 + 7 + 1 + 7);
    assert!(end.is_some());
}

#[test]
fn packs_that_nothing_needs_go_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ten_releases(folder.path());
    // A pack of an interrupted publication.
    let abandoned = noise(1, 5_000);
    writer
        .put_chunk(&ChunkId::of(&abandoned), &abandoned)
        .unwrap();
    writer.seal().unwrap();
    full_disk::BYTES_LEFT.set(Some(0));
    let report = collect(&mut writer, when(11)).unwrap();
    assert!(!has(writer.store(), &abandoned));
    assert_eq!((report.releases.len(), report.rewritten_packs), (7, 0));
    let [problem] = report.problems.try_into().unwrap();
    assert!(
        matches!(problem, GcProblem::NoRoom { packs: 7, .. }),
        "{problem}"
    );
    good(writer.store());
    full_disk::BYTES_LEFT.set(None);
    let report = collect(&mut writer, when(11)).unwrap();
    assert_eq!((report.rewritten_packs, report.problems.len()), (7, 0));
    good(writer.store());
}

#[test]
fn a_disk_that_fills_up_while_packs_are_replaced_harms_nothing() {
    for room in (0..).step_by(97) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ten_releases(folder.path());
        full_disk::BYTES_LEFT.set(Some(room));
        let report = collect(&mut writer, when(11)).unwrap();
        full_disk::BYTES_LEFT.set(None);
        good(writer.store());
        drop(writer);
        assert!(!folder.path().join("packs/open").exists(), "{room}");
        good(&Store::open(folder.path()).unwrap());
        if report.problems.is_empty() {
            assert!(room > 7 * 400);
            return;
        }
    }
}

#[test]
fn what_an_interrupted_publication_left_open_survives_a_disk_without_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ten_releases(folder.path());
    let fresh = noise(1, 1_000);
    writer.put_chunk(&ChunkId::of(&fresh), &fresh).unwrap();
    drop(writer);
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    full_disk::BYTES_LEFT.set(Some(0));
    let report = collect(&mut writer, when(11)).unwrap();
    full_disk::BYTES_LEFT.set(None);
    assert!(matches!(
        report.problems[..],
        [GcProblem::NoRoom { packs: 7, .. }]
    ));
    assert_eq!(report.written_bytes, 0);
    drop(writer);
    let writer = StoreWriter::open(folder.path()).unwrap();
    assert!(writer.contains_chunk(&ChunkId::of(&fresh)));
}

#[test]
fn copies_of_many_packs_go_into_as_few_as_can_hold_them_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    // Six packs of 50 MB, 20 MB of each needed: what three leave fits into one.
    let piece = |n: u64| noise(n, 250_000);
    let mut needed = Vec::new();
    for pack in 0..6 {
        for n in 0..200 {
            let chunk = piece(pack * 1_000 + n);
            if n < 80 {
                needed.push(chunk.clone());
            }
            writer.put_chunk(&ChunkId::of(&chunk), &chunk).unwrap();
        }
        writer.seal().unwrap();
    }
    let file = file(&mut writer, "big", &needed);
    release(&mut writer, 1, vec![file]);
    let before = bytes_in(folder.path());
    let mut collection = Collection::begin(&mut writer, &RETENTION, when(1)).unwrap();
    assert_eq!(collection.plan().sparse_packs.count, 6);
    let mut most = 0;
    let mut parts = 0;
    while collection.advance().unwrap() {
        parts += 1;
        most = most.max(bytes_in(folder.path()));
    }
    let report = collection.finish();
    assert_eq!((report.rewritten_packs, most), (6, before));
    assert_eq!(before - bytes_in(folder.path()), report.freed_bytes());
    // Releases, dead packs, and two packs of copies.
    assert_eq!(parts, 2 + 1);
    // Those two and the one with the list.
    assert_eq!(packs(folder.path()).len(), 3);
    good(writer.store());
}

#[test]
fn a_full_disk_does_not_keep_out_the_writer_that_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    drop(ten_releases(folder.path()));
    // What a publication leaves that could not write its first byte.
    fs::write(folder.path().join("packs/open"), []).unwrap();
    full_disk::BYTES_LEFT.set(Some(0));
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let report = collect(&mut writer, when(11)).unwrap();
    full_disk::BYTES_LEFT.set(None);
    assert_eq!(report.releases.len(), 7);
    good(writer.store());
}

#[test]
fn a_damaged_pack_is_told_of_and_left_for_whoever_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    drop(ten_releases(folder.path()));
    // Noise is stored as it is, so it can be found.
    let needed = lasting(3);
    let damaged = packs(folder.path()).into_iter().find_map(|path| {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(needed.len()).position(|at| at == needed)?;
        bytes[at] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        Some(path)
    });
    let damaged = damaged.unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let report = collect(&mut writer, when(11)).unwrap();
    let [problem] = report.problems.try_into().unwrap();
    assert_eq!(
        problem,
        GcProblem::Damaged {
            pack: damaged.clone(),
            kind: "chunk",
            id: ObjectId(ChunkId::of(&lasting(3)).0)
        }
    );
    assert!(damaged.exists());
    assert_eq!(report.rewritten_packs, 6);
    for number in [1, 2, 4, 5, 6, 7] {
        assert!(has(writer.store(), &lasting(number)), "{number}");
    }
    // A problem is looked at again at the next occasion.
    assert!(writer.store().gc_is_due(&RETENTION, when(11)).unwrap());
}

#[test]
fn nothing_is_removed_while_it_cannot_be_told_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ten_releases(folder.path());
    let signed = writer.store().manifest(ReleaseNumber(9)).unwrap().unwrap();
    let manifest = signed.clone().reopen(&signed.id()).unwrap();
    let list = manifest.file("own").unwrap().list.unwrap();
    let snapshot = writer.store().shared.current.load_full();
    let (pack, _) = snapshot.places(Kind::List, &list.0).next().unwrap();
    let path = snapshot.packs()[pack].path().to_owned();
    fs::rename(&path, folder.path().join("away")).unwrap();
    let before = packs(folder.path());
    let error = collect(&mut writer, when(11)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Incomplete { release: ReleaseNumber(9), path, .. } if path.as_str() == "log"),
        "{error}"
    );
    assert!(error.advice().contains("put the missing pack back"));
    assert_eq!(packs(folder.path()), before);
    assert_eq!(numbers(&Store::open(folder.path()).unwrap()).len(), 10);
    // Back in its place, all goes on.
    fs::rename(folder.path().join("away"), &path).unwrap();
    assert_eq!(collect(&mut writer, when(11)).unwrap().releases.len(), 7);
}
