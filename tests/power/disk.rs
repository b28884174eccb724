//! A disk in memory that remembers every write and every flush, and what is left of it when the power fails.
//!
//! A disk may keep, lose or reorder writes until a flush that came after them has been answered; then they are there for
//! good. It writes sectors whole. Those are the only promises that a cut keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// The image is kept in pieces of this size.
const PAGE: usize = 4096;
const PAGE_BYTES: u64 = PAGE as u64;

type Page = [u8; PAGE];

/// What a disk holds. Cheap to copy: pages are shared until one is written to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// By number; what is not there is zeros.
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Image {
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) {
        for (page, inside, part) in pieces(at, into.len()) {
            match self.pages.get(&page) {
                Some(bytes) => into[part.clone()].copy_from_slice(&bytes[inside..][..part.len()]),
                None => into[part].fill(0),
            }
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        for (page, inside, part) in pieces(at, bytes.len()) {
            let page = self
                .pages
                .entry(page)
                .or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[inside..][..part.len()].copy_from_slice(&bytes[part]);
        }
    }

    fn zero(&mut self, at: u64, len: u64) {
        let whole = at.div_ceil(PAGE_BYTES)..(at + len) / PAGE_BYTES;
        if whole.is_empty() {
            self.write(at, &vec![0; usize::try_from(len).unwrap()]);
            return;
        }
        let (first, last) = (whole.start * PAGE_BYTES, whole.end * PAGE_BYTES);
        let gone: Vec<u64> = self.pages.range(whole).map(|(page, _)| *page).collect();
        for page in gone {
            self.pages.remove(&page);
        }
        self.write(at, &vec![0; usize::try_from(first - at).unwrap()]);
        self.write(last, &vec![0; usize::try_from(at + len - last).unwrap()]);
    }

    /// The part of a write that begins `skip` bytes into it and is `len` bytes long.
    fn apply(&mut self, op: &Op, skip: u64, len: u64) {
        match op {
            Op::Write { at, bytes } => {
                let (skip_at, len) = (usize::try_from(skip), usize::try_from(len));
                self.write(at + skip, &bytes[skip_at.unwrap()..][..len.unwrap()]);
            }
            Op::Zero { at, .. } => self.zero(at + skip, len),
            Op::Flush => {}
        }
    }
}

/// A stretch of a disk page by page: its number, where in it, which part of the stretch.
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let here = at + done as u64;
        let inside = usize::try_from(here % PAGE_BYTES).unwrap();
        let part = done..len.min(done + PAGE - inside);
        done = part.end;
        Some((here / PAGE_BYTES, inside, part))
    })
}

/// What a disk was told.
#[derive(Debug, Clone)]
enum Op {
    Write { at: u64, bytes: Arc<[u8]> },
    Zero { at: u64, len: u64 },
    Flush,
}

impl Op {
    fn at(&self) -> u64 {
        match self {
            Self::Write { at, .. } | Self::Zero { at, .. } => *at,
            Self::Flush => 0,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Write { bytes, .. } => bytes.len() as u64,
            Self::Zero { len, .. } => *len,
            Self::Flush => 0,
        }
    }
}

/// Close enough that a cut is made in milliseconds, far enough apart for memory.
const CHECKPOINT_OPS: usize = 128;

/// What a disk held, and everything it was told since, in order.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    ops: Vec<Op>,
    /// What the disk held before every [`CHECKPOINT_OPS`]th entry, so that no cut has to begin with the first.
    checkpoints: Vec<Image>,
}

impl Log {
    fn beginning_with(image: Image) -> Self {
        Self {
            ops: Vec::new(),
            checkpoints: vec![image],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Notes what the disk is told while it holds `image`.
    fn push(&mut self, op: Op, image: &Image) {
        if self.ops.len() == self.checkpoints.len() * CHECKPOINT_OPS {
            self.checkpoints.push(image.clone());
        }
        self.ops.push(op);
    }

    /// What the disk holds once `len` entries of the log are on it.
    fn image_after(&self, len: usize) -> Image {
        let checkpoint = (len / CHECKPOINT_OPS).min(self.checkpoints.len() - 1);
        let mut image = self.checkpoints[checkpoint].clone();
        for op in &self.ops[checkpoint * CHECKPOINT_OPS..len] {
            image.apply(op, 0, op.len());
        }
        image
    }

    /// The power fails at a moment between `from` and `to` of the log, and so do writes that no flush covers: which ones
    /// is for `seed` to say, and for nothing else. Sectors of `sector_bytes` are written whole or not at all.
    pub(crate) fn cut(&self, from: usize, to: usize, sector_bytes: u64, seed: u64) -> (Image, Cut) {
        let mut dice = Dice::new(seed);
        let at = self.moment(from, to, &mut dice);
        let flushes = |op: &Op| matches!(op, Op::Flush);
        let flushed = self.ops[..at].iter().rposition(flushes).unwrap_or(0);
        let mut image = self.image_after(flushed);
        let loose = &self.ops[flushed..at];
        let manner = Manner::ALL[dice.below(Manner::ALL.len())];
        // Of eight.
        let kept_of_eight = [1, 4, 7][dice.below(3)];
        let mut cut = Cut {
            at,
            loose: loose.len(),
            loose_bytes: loose.iter().map(Op::len).sum(),
            kept_bytes: 0,
            manner,
        };
        for (number, op) in loose.iter().enumerate() {
            let is_last = number + 1 == loose.len();
            let torn = match manner {
                Manner::NothingKept => continue,
                Manner::LastTorn => is_last,
                Manner::Writes => false,
                Manner::Sectors => true,
            };
            let mut skip = 0;
            while skip < op.len() {
                let len = if torn {
                    // As the sectors lie on the disk, not as the write begins.
                    let sector = sector_bytes - (op.at() + skip) % sector_bytes;
                    sector.min(op.len() - skip)
                } else {
                    op.len()
                };
                if manner == Manner::LastTorn && !is_last || dice.below(8) < kept_of_eight {
                    image.apply(op, skip, len);
                    cut.kept_bytes += len;
                }
                skip += len;
            }
        }
        (image, cut)
    }

    /// Half of the cuts fall on any write alike, half between any two flushes alike: a switch is short and writes little.
    fn moment(&self, from: usize, to: usize, dice: &mut Dice) -> usize {
        let any = from + dice.below(to - from + 1);
        if dice.below(2) == 0 {
            return any;
        }
        let flushes: Vec<usize> = (from..to)
            .filter(|at| matches!(self.ops[*at], Op::Flush))
            .collect();
        if flushes.is_empty() {
            return any;
        }
        let chosen = dice.below(flushes.len());
        let begin = chosen.checked_sub(1).map_or(from, |at| flushes[at] + 1);
        // With one write at least, if there is one: a cut just after a flush is what a disk makes of it that keeps nothing.
        let first = (begin + 1).min(flushes[chosen]);
        first + dice.below(flushes[chosen] - first + 1)
    }
}

/// How a disk forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    NothingKept,
    /// All is there but sectors of the write under way.
    LastTorn,
    /// Whole writes are there or not.
    Writes,
    Sectors,
}

impl Manner {
    const ALL: [Self; 4] = [
        Self::NothingKept,
        Self::LastTorn,
        Self::Writes,
        Self::Sectors,
    ];
}

/// A power cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// That many entries of the log came before it.
    pub(crate) at: usize,
    /// How many of those no flush covers.
    loose: usize,
    loose_bytes: u64,
    kept_bytes: u64,
    manner: Manner,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            loose,
            loose_bytes,
            kept_bytes,
            manner,
        } = self;
        write!(
            f,
            "{at} {manner:?}: {kept_bytes} of {loose_bytes} bytes kept that {loose} writes since the last flush had brought"
        )
    }
}

/// A disk, the log of a whole story on it, and of what happened since its last power cut.
#[derive(Debug)]
pub(crate) struct Disk {
    image: Image,
    story: Log,
    after_cut: Option<Log>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            image: Image::default(),
            story: Log::beginning_with(Image::default()),
            after_cut: None,
        }
    }

    fn take(&mut self, op: Op) {
        let log = self.after_cut.as_mut().unwrap_or(&mut self.story);
        log.push(op.clone(), &self.image);
        self.image.apply(&op, 0, op.len());
    }

    pub(crate) fn read(&self, at: u64, into: &mut [u8]) {
        self.image.read(at, into);
    }

    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.take(Op::Write {
            at,
            bytes: bytes.into(),
        });
    }

    pub(crate) fn zero(&mut self, at: u64, len: u64) {
        self.take(Op::Zero { at, len });
    }

    pub(crate) fn flush(&mut self) {
        self.take(Op::Flush);
    }

    /// Writes the whole story down.
    pub(crate) fn save(&self, out: &mut impl Write) -> io::Result<()> {
        for op in &self.story.ops {
            let kind = match op {
                Op::Flush => 0_u8,
                Op::Zero { .. } => 1,
                Op::Write { .. } => 2,
            };
            out.write_all(&[kind])?;
            out.write_all(&op.at().to_le_bytes())?;
            out.write_all(&op.len().to_le_bytes())?;
            if let Op::Write { bytes, .. } = op {
                out.write_all(bytes)?;
            }
        }
        Ok(())
    }

    /// A disk to which all happens that was written down.
    pub(crate) fn load(saved: &mut impl Read) -> io::Result<Self> {
        let mut disk = Self::new();
        let mut header = [0; 17];
        loop {
            match saved.read_exact(&mut header) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(disk),
                other => other?,
            }
            let number =
                |from: usize| u64::from_le_bytes(header[from..from + 8].try_into().unwrap());
            let (at, len) = (number(1), number(9));
            match header[0] {
                0 => disk.flush(),
                1 => disk.zero(at, len),
                _ => {
                    let mut bytes = vec![0; usize::try_from(len).unwrap()];
                    saved.read_exact(&mut bytes)?;
                    disk.write(at, &bytes);
                }
            }
        }
    }

    /// Entries of the story so far.
    pub(crate) fn story_len(&self) -> usize {
        self.story.len()
    }

    /// The disk is what a power cut somewhere between `from` and `to` of the story left.
    pub(crate) fn cut_story(&mut self, from: usize, to: usize, sector: u64, seed: u64) -> Cut {
        let (image, cut) = self.story.cut(from, to, sector, seed);
        self.go_on_from(image);
        cut
    }

    /// The disk is what a second power cut left, since the last one.
    pub(crate) fn cut_again(&mut self, sector: u64, seed: u64) -> Cut {
        let log = self.after_cut.as_ref().unwrap_or(&self.story);
        let (image, cut) = log.cut(0, log.len(), sector, seed);
        self.go_on_from(image);
        cut
    }

    fn go_on_from(&mut self, image: Image) {
        self.image = image.clone();
        self.after_cut = Some(Log::beginning_with(image));
    }
}

/// Numbers that follow from a seed (Vigna's splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `limit` - 1.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % limit as u64).unwrap()
    }
}

mod tests {
    use super::{Disk, Image};

    const SECTOR: u64 = 512;

    fn byte(image: &Image, at: u64) -> u8 {
        let mut byte = [0];
        image.read(at, &mut byte);
        byte[0]
    }

    #[test]
    fn what_was_written_is_read_across_pages_and_zeros_are_zeros() {
        let mut disk = Disk::new();
        disk.write(4000, &[7; 9000]);
        disk.zero(4096, 4096 + 512);
        let mut read = [1; 9002];
        disk.read(3999, &mut read);
        let expected: Vec<u8> = (3999..13_001)
            .map(|at| match at {
                4096..8704 | 3999 | 13_000 => 0,
                _ => 7,
            })
            .collect();
        assert_eq!(read[..], expected);
    }

    #[test]
    fn no_cut_loses_what_was_flushed_or_knows_what_came_after_it() {
        let mut disk = Disk::new();
        disk.write(0, &[1; 8192]);
        disk.flush();
        let flushed = disk.story_len();
        disk.write(0, &[2; 8192]);
        let written = disk.story_len();
        disk.write(8192, &[3; 512]);
        let log = disk.story.clone();
        let mut seen = [false; 3];
        for seed in 0..200 {
            let (image, cut) = log.cut(flushed, written, SECTOR, seed);
            assert!(cut.at >= flushed && cut.at <= written);
            assert_eq!(byte(&image, 8192), 0);
            let sectors: Vec<u8> = (0..16).map(|n| byte(&image, n * SECTOR)).collect();
            for n in 0..16 {
                let (first, last) = (n * SECTOR, n * SECTOR + SECTOR - 1);
                assert_eq!(byte(&image, first), byte(&image, last), "a torn sector");
            }
            assert!(sectors.iter().all(|byte| [1, 2].contains(byte)));
            let is_new = |byte: &u8| *byte == 2;
            seen[0] |= !sectors.iter().any(is_new);
            seen[1] |= sectors.iter().all(is_new);
            seen[2] |= sectors.iter().any(is_new) && !sectors.iter().all(is_new);
        }
        assert_eq!(seen, [true; 3], "lost, kept and torn");
    }

    #[test]
    fn one_seed_is_one_cut() {
        let mut disk = Disk::new();
        for n in 0..50 {
            disk.write(n * 4096, &[u8::try_from(n).unwrap() + 1; 4096]);
        }
        let mut saved = Vec::new();
        disk.save(&mut saved).unwrap();
        let mut loaded = Disk::load(&mut &saved[..]).unwrap();
        let of = |disk: &mut Disk, seed: u64| {
            let cut = disk.cut_story(0, 50, SECTOR, seed).to_string();
            let mut bytes = vec![0; 50 * 4096];
            disk.read(0, &mut bytes);
            (cut, bytes)
        };
        let first = of(&mut disk, 1);
        assert!(first == of(&mut disk, 1) && first == of(&mut loaded, 1));
        assert!(first != of(&mut disk, 2));
    }
}
