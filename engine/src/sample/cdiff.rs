//! Edits of a member and the `.cdiff` script that says them (ClamAV's `libclamav_rust/src/cdiff.rs`).

use std::io;

use super::pack::Pack;

/// How the lines of one member change. Line numbers count from 0 in the member as it was.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// Ascending, each once.
    pub(super) dropped: Vec<usize>,
    /// Ascending, each once, none of them dropped; texts without newline.
    pub(super) exchanged: Vec<(usize, Vec<u8>)>,
    /// Whole lines with their newlines.
    pub(super) added: Vec<u8>,
}

/// Applies `edits` to `text` and appends the commands that do so to `script`.
pub(super) fn apply(name: &str, text: &[u8], edits: &Edits, script: &mut Vec<u8>) -> Vec<u8> {
    let mut new = Vec::with_capacity(text.len() + edits.added.len());
    let mut dropped = edits.dropped.iter().copied().peekable();
    let mut exchanged = edits.exchanged.iter().peekable();
    script.extend_from_slice(format!("OPEN {name}\n").as_bytes());
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if dropped.next_if_eq(&index).is_some() {
            command(script, b"DEL", index, line);
            script.push(b'\n');
        } else if let Some((_, instead)) = exchanged.next_if(|(at, _)| *at == index) {
            command(script, b"XCHG", index, line);
            script.push(b' ');
            script.extend_from_slice(instead);
            script.push(b'\n');
            new.extend_from_slice(instead);
            new.push(b'\n');
        } else {
            new.extend_from_slice(line);
        }
    }
    for line in edits.added.split_inclusive(|byte| *byte == b'\n') {
        script.extend_from_slice(b"ADD ");
        script.extend_from_slice(line);
    }
    new.extend_from_slice(&edits.added);
    script.extend_from_slice(b"CLOSE\n");
    new
}

/// `WORD number prefix`: the number from 1, the prefix up to 16 characters or the first blank.
fn command(script: &mut Vec<u8>, word: &[u8], index: usize, line: &[u8]) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let prefix = &line[..line.len().min(16)];
    let prefix = prefix.split(|byte| *byte == b' ').next().unwrap_or(prefix);
    script.extend_from_slice(word);
    script.extend_from_slice(format!(" {} ", index + 1).as_bytes());
    script.extend_from_slice(prefix);
}

/// The file that turns `version - 1` into `version`.
pub(super) fn pack(
    version: u32,
    script: &[u8],
    signature: &[u8],
    pack: Pack,
) -> io::Result<Vec<u8>> {
    let mut file = format!("ClamAV-Diff:{version}:{}:", script.len()).into_bytes();
    pack(&[script], &mut file)?;
    file.push(b':');
    file.extend_from_slice(signature);
    Ok(file)
}
