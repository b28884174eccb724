//! What a mirror finds in its docroot and its state after a crash, or after somebody else was there.

use std::io::Seek;

use tidecast_engine::foreign;
use tidecast_proto::limits;

use crate::memory;

/// The index of a tree: one spelling.
pub fn index(bytes: &[u8]) {
    if let Some(again) = foreign::index(bytes) {
        assert_eq!(again, bytes);
    }
}

/// The `timestamp` file: it is marked once, and without the mark it is what it was.
pub fn timestamp(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    if let Some(stale) = foreign::marked_timestamp(text, Some(7)) {
        assert_eq!(foreign::marked_timestamp(&stale, Some(8)), None);
        let fresh = foreign::marked_timestamp(&stale, None).expect("it was marked");
        // A carriage return in front of the text's end goes.
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .map(|line| line.trim_end_matches('\r').to_owned())
                .collect()
        };
        assert_eq!(lines(&fresh), lines(text));
    }
}

/// The spool: the records that are whole are kept, the rest is cut off, and reading it again changes nothing.
pub fn spool(bytes: &[u8]) {
    let mut file = memory::file(bytes);
    let kept = foreign::spool(file.try_clone().expect("a file")).expect("memory");
    let (end, chunks) = kept;
    assert_eq!(file.metadata().expect("a file").len(), end);
    assert!(end <= bytes.len() as u64);
    assert!(chunks as u64 * 37 <= end && end <= chunks_bytes(bytes, end));
    file.rewind().expect("a file");
    assert_eq!(foreign::spool(file).expect("memory"), kept);
}

/// Where the last whole record may end at most: each is at most a head and a chunk longer than the one before.
fn chunks_bytes(bytes: &[u8], end: u64) -> u64 {
    let mut at = 0;
    while at < end {
        let head = usize::try_from(at).expect("short") + 32;
        let len = bytes[head..head + 4].try_into().map(u32::from_le_bytes);
        let len = len.expect("four bytes");
        assert!((1..=limits::CHUNK_BYTES).contains(&(len as usize)));
        at += 36 + u64::from(len);
    }
    at
}

/// A chained log, as it is and as records put together from the input: what is handed over is what was written, from the
/// first record on, whatever was changed behind it.
pub fn chain_log(bytes: &[u8]) {
    let read = |bytes: &[u8]| foreign::chain_log(memory::file(bytes)).expect("memory");
    let found = read(bytes);
    let whole = foreign::chain_log_of(&found.records).expect("it was read");
    assert!(bytes.starts_with(&whole));
    if let Some(torn) = found.torn_bytes {
        assert_eq!(whole.len() as u64 + torn, bytes.len() as u64);
    }

    // No fuzzer guesses a hash: the first three bytes say where a good log is cut or changed, the rest what it holds.
    let Some((change, rest)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let records: Vec<_> = rest
        .chunks(97)
        .map(|piece| (piece[0], piece[1..].to_vec()))
        .collect();
    let good = foreign::chain_log_of(&records).expect("short");
    let all = read(&good);
    assert_eq!((&all.records, all.torn_bytes), (&records, Some(0)));
    if good.is_empty() {
        return;
    }
    let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % good.len();
    let cut = read(&good[..at]);
    assert!(records.starts_with(&cut.records), "cut at {at}");
    assert!(cut.torn_bytes.is_some(), "cut at {at} is taken for damage");
    let mut flipped = good;
    flipped[at] ^= change[2].max(1);
    let changed = read(&flipped);
    assert!(
        records.starts_with(&changed.records) && changed.records.len() < records.len(),
        "a changed byte at {at} was not seen"
    );
}

/// A step of a mirror's `trust.log`, its kind first: one spelling.
pub fn trust_log(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    if let Some(again) = foreign::trust_step(*kind, body) {
        assert_eq!(again, (*kind, body.to_vec()));
    }
}
