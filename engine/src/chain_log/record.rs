//! One record of a chained log: its bytes, and what its hash covers. SPEC §7.14.

use super::Format;

/// What a record is about; each log has its own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKind(pub u8);

/// A record's name: the hash of everything before it in the log, by way of the one before, and of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHash(pub(super) [u8; 32]);

impl RecordHash {
    /// What stands for the record before the first.
    pub(crate) const NONE: Self = Self([0; 32]);
    pub(super) const LEN: usize = 32;
}

/// A record that is whole and follows from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts from 1.
    pub number: u64,
    /// Where it begins in the file, in bytes.
    pub at: u64,
    /// What it is about.
    pub kind: RecordKind,
    /// What it says.
    pub body: Vec<u8>,
}

/// Length of the body, kind, hash of the record before, and a check over these three: a damaged length must not make
/// a record look as if a crash had cut it short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) body_len: u32,
    pub(super) kind: RecordKind,
    pub(super) previous: RecordHash,
}

impl Header {
    const CHECKED: usize = 4 + 1 + RecordHash::LEN;
    pub(super) const LEN: usize = Self::CHECKED + 4;

    fn encode(self, format: &Format) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[4] = self.kind.0;
        bytes[5..Self::CHECKED].copy_from_slice(&self.previous.0);
        let check = check(format, &bytes[..Self::CHECKED]);
        bytes[Self::CHECKED..].copy_from_slice(&check);
        bytes
    }

    /// `None` when the bytes are not what a writer wrote.
    pub(super) fn decode(format: &Format, bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (checked, found) = bytes.split_at(Self::CHECKED);
        if check(format, checked) != found {
            return None;
        }
        let (length, rest) = checked.split_first_chunk::<4>()?;
        let (kind, previous) = rest.split_first()?;
        Some(Self {
            body_len: u32::from_le_bytes(*length),
            kind: RecordKind(*kind),
            previous: RecordHash(previous.try_into().ok()?),
        })
    }
}

fn check(format: &Format, checked: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = hash(format, checked, &[]).0;
    [a, b, c, d]
}

/// The hash of a record: of its header and its body, in the domain of its log.
pub(super) fn hash(format: &Format, header: &[u8], body: &[u8]) -> RecordHash {
    let mut hasher = blake3::Hasher::new_derive_key(format.domain);
    RecordHash(*hasher.update(header).update(body).finalize().as_bytes())
}

/// A record's bytes, and its hash.
///
/// # Errors
/// The length, when it is over the log's limit.
pub(crate) fn encode(
    format: &Format,
    previous: RecordHash,
    kind: RecordKind,
    body: &[u8],
) -> Result<(Vec<u8>, RecordHash), usize> {
    let body_len = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= format.body_bytes_max)
        .ok_or(body.len())?;
    let header = Header {
        body_len,
        kind,
        previous,
    }
    .encode(format);
    let hash = hash(format, &header, body);
    Ok(([&header[..], body, &hash.0].concat(), hash))
}
