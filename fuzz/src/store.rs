//! What a master finds in its store.

use tidecast_engine::foreign;
use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::limits;

use crate::memory;

const INDEX_ENTRY_BYTES: usize = 48;

/// A sealed pack, its index's place and hash set right when its first byte is odd, which no fuzzer guesses: every record
/// lies in the file, in order, has one spelling, and a sound one is what its name says.
pub fn pack(bytes: &[u8]) {
    let [choice, pack @ ..] = bytes else {
        return;
    };
    let mut pack = pack.to_vec();
    if choice % 2 == 1 && pack.len() >= 16 + 48 {
        let trailer = pack.len() - 48;
        let room = (trailer - 16) / INDEX_ENTRY_BYTES;
        let count = usize::from(choice / 2) % (room + 1);
        let index_at = trailer - count * INDEX_ENTRY_BYTES;
        let hash = blake3::hash(&pack[index_at..trailer]);
        pack[trailer..trailer + 32].copy_from_slice(hash.as_bytes());
        let place = u32::try_from(index_at).expect("short").to_le_bytes();
        pack[trailer + 32..trailer + 36].copy_from_slice(&place);
        let count = u32::try_from(count).expect("few").to_le_bytes();
        pack[trailer + 36..trailer + 40].copy_from_slice(&count);
    }
    let whole = pack.len();
    let Ok(records) = foreign::pack(pack) else {
        return;
    };
    let mut last = None;
    for record in records {
        assert!(record.stored.len() < whole);
        assert_eq!(foreign::record(&record.head), Some(record.head));
        let (head, id) = record.head.split_at(12);
        let name = (head[0], id.to_vec());
        assert!(last.as_ref() < Some(&name));
        last = Some(name);
        // A chunk or a list, as it is.
        if record.sound && head[1] == 0 && head[0] <= 1 {
            assert_eq!(blake3::hash(&record.stored).as_bytes(), id);
        }
    }
}

/// The pack a writer left open: the records that are whole are kept, the rest is cut off, and reading it again changes
/// nothing.
pub fn open_pack(bytes: &[u8]) {
    let file = memory::file(bytes);
    let kept = foreign::open_pack(file.try_clone().expect("a file")).expect("memory");
    let (len, records) = kept;
    assert_eq!(file.metadata().expect("a file").len(), len as u64);
    assert!(len <= bytes.len() && (len == 0 || len >= 16 + records * 45));
    assert_eq!(foreign::open_pack(file).expect("memory"), kept);
}

/// The file of a release, its length set right when its first byte is odd: what it holds is within the limits.
pub fn release_file(bytes: &[u8]) {
    let [choice, file @ ..] = bytes else {
        return;
    };
    let mut file = file.to_vec();
    if choice % 2 == 1 && file.len() > 44 {
        let stored = u32::try_from(file.len() - 44).expect("short");
        file[4..8].copy_from_slice(&stored.to_le_bytes());
        if file[1] == 0 {
            file[8..12].copy_from_slice(&stored.to_le_bytes());
        }
    }
    let release = ReleaseNumber(u64::from(choice / 2));
    if let Ok(manifest) = foreign::release_file(file.clone(), release) {
        assert_eq!(manifest.release, release);
        assert_eq!(manifest.id().0, file[12..44]);
        assert!(manifest.signed().body_len() <= limits::MANIFEST_BYTES);
    }
}

/// A cache of what was published, its hash set right; and the names of files in a store. What reads is written the same
/// length again, and reads.
pub fn stat_cache(bytes: &[u8]) {
    if let Some(split) = bytes.len().checked_sub(32) {
        let (body, _) = bytes.split_at(split);
        let whole = [body, blake3::hash(body).as_bytes()].concat();
        if let Ok(again) = foreign::stat_cache(&whole) {
            assert!(again.len() <= whole.len().max(128));
            let third = foreign::stat_cache(&again).expect("our own");
            assert_eq!(third.len(), again.len());
        }
    }
    let _ = foreign::stat_cache(bytes);
    if let Ok(name) = core::str::from_utf8(bytes)
        && let Some(again) = foreign::store_name(name)
    {
        assert!(again.eq_ignore_ascii_case(name));
    }
}
