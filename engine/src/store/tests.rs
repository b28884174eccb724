//! What the store promises, on real folders.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tidecast_proto::{
    id::{ChunkId, Epoch, FeedId, FileHash, ReleaseNumber, Timestamp},
    key::SecretKey,
    list::{Entry, List},
    manifest::{File, Flags, ManifestBody, SignedManifest},
    name::ReleasePath,
};

use super::open_pack::full_disk;
use super::*;

/// Deterministic bytes without structure.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn put(writer: &mut StoreWriter, bytes: &[u8]) -> Result<bool, StoreError> {
    writer.put_chunk(&ChunkId::of(bytes), bytes)
}

fn opened(store: &Store, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(store.chunk(&ChunkId::of(bytes))?.open().unwrap())
}

fn manifest(release: u64, content: &[u8]) -> SignedManifest {
    let body = ManifestBody {
        feed: FeedId([1; 32]),
        epoch_min: Epoch(0),
        release: ReleaseNumber(release),
        previous: None,
        anchor: None,
        created: Timestamp(0),
        notes: "compresses ".repeat(20),
        files: vec![File {
            path: ReleasePath::new("file").unwrap(),
            size: content.len() as u64,
            executable: false,
            mtime_s: 0,
            hash: FileHash::of(content),
            list: None,
            recipe: None,
            database: None,
        }],
        flags: Flags::default(),
        extensions: Vec::new(),
    };
    SignedManifest::sign(&body, &[&SecretKey::from_seed(&[1; 32])]).unwrap()
}

fn open_pack(folder: &Path) -> PathBuf {
    folder.join("packs/open")
}

fn sealed_packs(folder: &Path) -> Vec<PathBuf> {
    let packs = fs::read_dir(folder.join("packs")).unwrap();
    packs
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "pack"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn what_is_put_is_read_back_by_another_reader(
        chunks in proptest::collection::vec(proptest::collection::vec(0_u8..4, 1..3000), 1..20),
        seal_after in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = StoreWriter::open(folder.path()).unwrap();
        let seal_after = seal_after.index(chunks.len());
        for (at, chunk) in chunks.iter().enumerate() {
            let known = chunks[..at].contains(chunk);
            prop_assert_eq!(put(&mut writer, chunk).unwrap(), !known);
            if at == seal_after {
                writer.seal().unwrap();
            }
        }
        writer.seal().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for chunk in &chunks {
            prop_assert_eq!(opened(&store, chunk), Some(chunk.clone()));
        }
        prop_assert!(store.verify().is_good());
        prop_assert_eq!(store.chunk(&ChunkId([7; 32])), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_lies_where_the_open_pack_was_a_writer_begins(
        headed in any::<bool>(),
        // Small bytes, so that some record heads are possible.
        left in proptest::collection::vec(0_u8..3, 0..300),
    ) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("packs")).unwrap();
        let head: &[u8] = if headed { b"tidecast pack 1\n" } else { b"" };
        fs::write(open_pack(folder.path()), [head, &left].concat()).unwrap();
        let mut writer = StoreWriter::open(folder.path()).unwrap();
        put(&mut writer, b"chunk").unwrap();
        writer.seal().unwrap();
        prop_assert_eq!(opened(writer.store(), b"chunk"), Some(b"chunk".to_vec()));
        prop_assert!(writer.store().verify().is_good());
    }
}

#[test]
fn a_pack_is_named_by_the_hash_of_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    put(&mut writer, b"chunk").unwrap();
    writer.seal().unwrap();
    let [pack] = sealed_packs(folder.path()).try_into().unwrap();
    let hash = blake3::hash(&fs::read(&pack).unwrap()).to_hex();
    assert_eq!(
        pack.file_name().unwrap().to_str().unwrap(),
        format!("{hash}.pack")
    );
    assert!(!open_pack(folder.path()).exists());
}

#[test]
fn a_chunk_and_a_list_of_one_name_are_two_things() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let entry = Entry {
        id: ChunkId::of(b"x"),
        len: 1,
    };
    let list = List::new(vec![entry, entry]).unwrap();
    let (id, new) = writer.put_list(&list).unwrap();
    assert!(new && writer.contains_list(&id) && !writer.contains_chunk(&ChunkId(id.0)));
    assert!(!writer.put_list(&list).unwrap().1);
    writer.seal().unwrap();
    let stored = writer.store().list(&id).unwrap();
    assert_eq!(List::decode(&stored.open().unwrap(), id, 2), Ok(list));
    assert!(writer.store().chunk(&ChunkId(id.0)).is_none());
}

#[test]
fn a_second_writer_is_refused_and_told_who_holds_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let first = StoreWriter::open(folder.path()).unwrap();
    let error = StoreWriter::open(folder.path()).unwrap_err();
    let pid = std::process::id().to_string();
    assert!(matches!(&error, StoreError::Locked { holder: Some(holder), .. } if *holder == pid));
    assert!(error.to_string().contains(&pid), "{error}");
    drop(first);
    StoreWriter::open(folder.path()).unwrap();
}

#[test]
fn a_reader_sees_a_release_after_refreshing_and_not_before_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let reader = Store::open(folder.path()).unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    put(&mut writer, b"content").unwrap();
    assert!(!reader.refresh().unwrap());
    assert_eq!(opened(&reader, b"content"), None);

    let signed = manifest(1, b"content");
    writer.add_release(ReleaseNumber(1), &signed).unwrap();
    assert_eq!(
        reader.newest(),
        None,
        "a snapshot does not change by itself"
    );
    assert!(reader.refresh().unwrap());
    assert!(!reader.refresh().unwrap());
    assert_eq!(opened(&reader, b"content").unwrap(), b"content");
    assert_eq!(reader.newest().unwrap().manifest, signed.id());
    assert_eq!(
        reader.manifest(ReleaseNumber(1)).unwrap(),
        Some(signed.clone())
    );
    assert_eq!(reader.manifest(ReleaseNumber(2)).unwrap(), None);
    let packed = reader.manifest_bytes_packed(&signed.id()).unwrap();
    assert!(packed.bytes.len() < packed.opened_len as usize);
    assert_eq!(packed.open().unwrap(), signed.to_bytes());
    assert!(reader.verify().is_good());
    assert!(matches!(
        writer.add_release(ReleaseNumber(1), &manifest(1, b"other")),
        Err(StoreError::ReleaseExists(ReleaseNumber(1)))
    ));
}

#[test]
fn a_crash_at_any_byte_of_the_open_pack_loses_only_what_was_not_whole() {
    let chunks = [noise(1, 40), b"text ".repeat(40), noise(2, 30)];
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    put(&mut writer, b"sealed before").unwrap();
    writer.seal().unwrap();
    let mut ends = vec![0];
    for chunk in &chunks {
        put(&mut writer, chunk).unwrap();
        ends.push(fs::metadata(open_pack(folder.path())).unwrap().len());
    }
    drop(writer);
    let whole = fs::read(open_pack(folder.path())).unwrap();
    for len in 0..=whole.len() {
        // What a power cut leaves: the file cut, or its right length with zeros where nothing was written.
        for zeros in [0, 100] {
            let mut left = whole[..len].to_vec();
            left.resize(len + zeros, 0);
            fs::write(open_pack(folder.path()), &left).unwrap();
            let writer = StoreWriter::open(folder.path()).unwrap();
            for (chunk, end) in chunks.iter().zip(&ends[1..]) {
                let id = ChunkId::of(chunk);
                assert_eq!(
                    writer.contains_chunk(&id),
                    *end <= len as u64,
                    "cut at {len}"
                );
            }
            assert!(opened(writer.store(), b"sealed before").is_some());
        }
    }
    // And the last of those goes on well.
    fs::write(open_pack(folder.path()), &whole[..whole.len() - 1]).unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    for chunk in &chunks {
        put(&mut writer, chunk).unwrap();
    }
    writer.seal().unwrap();
    for chunk in &chunks {
        assert_eq!(opened(writer.store(), chunk).as_ref(), Some(chunk));
    }
    assert!(writer.store().verify().is_good());
}

#[test]
fn a_crash_between_the_index_and_the_name_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    put(&mut writer, b"one").unwrap();
    put(&mut writer, b"two").unwrap();
    writer.seal().unwrap();
    drop(writer);
    let before = sealed_packs(folder.path());
    fs::rename(&before[0], open_pack(folder.path())).unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    assert!(!put(&mut writer, b"one").unwrap() && !put(&mut writer, b"two").unwrap());
    writer.seal().unwrap();
    assert_eq!(sealed_packs(folder.path()), before);
    assert!(writer.store().verify().is_good());
}

#[test]
fn a_flipped_byte_of_the_open_pack_never_gets_sealed() {
    let chunks = [noise(1, 40), noise(2, 30)];
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    for chunk in &chunks {
        put(&mut writer, chunk).unwrap();
    }
    drop(writer);
    let whole = fs::read(open_pack(folder.path())).unwrap();
    for at in 0..whole.len() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("packs")).unwrap();
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(open_pack(folder.path()), &bad).unwrap();
        let mut writer = StoreWriter::open(folder.path()).unwrap();
        assert!(
            !writer.contains_chunk(&ChunkId::of(&chunks[1])),
            "byte {at}"
        );
        writer.seal().unwrap();
        assert!(writer.store().verify().is_good(), "byte {at}");
    }
}

#[test]
fn a_disk_that_fills_up_at_any_byte_harms_nothing_and_the_next_try_succeeds() {
    let chunks = [noise(1, 40), noise(2, 30)];
    let needed = 16 + 2 * (44 + 48) + 70 + 48;
    for room in 0..=needed {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = StoreWriter::open(folder.path()).unwrap();
        put(&mut writer, b"sealed before").unwrap();
        writer.seal().unwrap();
        full_disk::BYTES_LEFT.set(Some(room));
        let mut publish = || {
            for chunk in &chunks {
                put(&mut writer, chunk)?;
            }
            writer.seal()
        };
        let outcome = publish();
        assert_eq!(outcome.is_ok(), room == needed, "{room}");
        if let Err(error) = outcome {
            assert!(error.advice().contains("make room"), "{error}");
            full_disk::BYTES_LEFT.set(None);
            assert_eq!(
                opened(&Store::open(folder.path()).unwrap(), &chunks[0]),
                None
            );
            publish().unwrap();
        }
        full_disk::BYTES_LEFT.set(None);
        let store = Store::open(folder.path()).unwrap();
        assert!(opened(&store, &chunks[1]).is_some() && opened(&store, b"sealed before").is_some());
        assert!(store.verify().is_good());
    }
}

#[test]
fn packs_stay_within_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let mut chunk = noise(0, 256 * 1024);
    let chunks = PACK_BYTES / chunk.len() + 8;
    for n in 0..chunks {
        chunk[..8].copy_from_slice(&n.to_le_bytes());
        put(&mut writer, &chunk).unwrap();
    }
    for n in 0..=PACK_RECORDS {
        put(&mut writer, format!("small {n}").as_bytes()).unwrap();
    }
    writer.seal().unwrap();
    let packs = sealed_packs(folder.path());
    assert_eq!(packs.len(), 3);
    for pack in packs {
        assert!(fs::metadata(pack).unwrap().len() <= PACK_BYTES as u64);
    }
    let report = Store::open(folder.path()).unwrap().verify();
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!(report.records, chunks + PACK_RECORDS + 1);
}

#[test]
fn a_damaged_pack_is_named_when_the_store_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    put(&mut writer, b"chunk").unwrap();
    writer.seal().unwrap();
    let [pack] = sealed_packs(folder.path()).try_into().unwrap();
    let whole = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, &whole[..whole.len() - 1]).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(
        error,
        StoreError::Pack {
            source: PackError::Trailer,
            ..
        }
    ));
    assert!(
        error.to_string().contains(pack.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn verify_finds_a_flipped_byte_of_content_and_what_a_release_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    put(&mut writer, b"content").unwrap();
    writer
        .add_release(ReleaseNumber(1), &manifest(1, b"content"))
        .unwrap();
    writer
        .add_release(ReleaseNumber(2), &manifest(2, b"never stored"))
        .unwrap();
    let [pack] = sealed_packs(folder.path()).try_into().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[16 + 44] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, &bytes).unwrap();
    let report = Store::open(folder.path()).unwrap().verify();
    let [name, content, lacks] = report.problems.try_into().unwrap();
    assert!(name.contains("hash in its name"), "{name}");
    assert!(
        content.contains(&ChunkId::of(b"content").to_string()),
        "{content}"
    );
    assert!(lacks.contains("release 2, file: chunk"), "{lacks}");
    assert_eq!((report.packs, report.records, report.releases), (1, 1, 2));
}

#[test]
fn a_damaged_or_misplaced_release_file_is_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    writer
        .add_release(ReleaseNumber(1), &manifest(1, b"x"))
        .unwrap();
    drop(writer);
    let path = folder.path().join("releases/1.manifest");
    let good = fs::read(&path).unwrap();
    let replace = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    let id = manifest(1, b"x").id();
    let read = || Store::open(folder.path())?.manifest(ReleaseNumber(1));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        replace(&bad);
        match read() {
            Err(_) => {}
            // Signatures are outside the hash, they are checked against the root; and a packed form has bits that
            // mean nothing.
            Ok(signed) => assert_eq!(signed.map(|signed| signed.id()), Some(id), "byte {at}"),
        }
        replace(&good[..at]);
        assert!(read().is_err(), "cut at {at}");
    }
    replace(&good);
    fs::rename(&path, folder.path().join("releases/7.manifest")).unwrap();
    let report = Store::open(folder.path()).unwrap().verify();
    assert!(report.problems[0].contains("holds release 1"), "{report:?}");
}

#[test]
fn leftovers_of_a_crash_are_removed_and_foreign_files_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    writer
        .add_release(ReleaseNumber(1), &manifest(1, b"x"))
        .unwrap();
    drop(writer);
    let temporary = folder.path().join("releases/2.manifest.77.tmp");
    let foreign = folder.path().join("packs/README");
    fs::write(&temporary, "half").unwrap();
    fs::write(&foreign, "not ours").unwrap();
    let writer = StoreWriter::open(folder.path()).unwrap();
    assert!(!temporary.exists() && foreign.exists());
    assert_eq!(writer.store().releases().len(), 1);
}

#[test]
fn what_is_too_long_or_empty_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    for bytes in [vec![], vec![0; 256 * 1024 + 1]] {
        assert!(matches!(
            put(&mut writer, &bytes),
            Err(StoreError::Length { .. })
        ));
    }
    assert!(put(&mut writer, &vec![0; 256 * 1024]).unwrap());
}
