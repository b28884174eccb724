//! What the tests of a rebuild have in common: contents, files made of them, and a provider that knows the new one.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use tidecast_proto::bundle::{Origins, bytes_of};
use tidecast_proto::chunker::{Chunker, Chunking};
use tidecast_proto::deflate::{Parameters, Strategy};
use tidecast_proto::id::{ChunkId, FileHash};
use tidecast_proto::list::{Entry, List};
use tidecast_proto::recipe::{Deflate, Recipe, RecipeBody, Segment};

use super::super::*;
use super::zlib;

/// Parts of a file.
pub(super) enum Made<'a> {
    Literal(&'a [u8]),
    Plain(&'a [u8]),
    Stream(Parameters, &'a [u8]),
}

/// A whole file and what describes it.
#[derive(Clone)]
pub(super) struct Whole {
    pub(super) file: Vec<u8>,
    pub(super) content: Vec<u8>,
    pub(super) list: Arc<List>,
    pub(super) recipe: Option<Arc<Recipe>>,
}

pub(super) const LEVEL_6: Parameters = match Parameters::new(6, Strategy::Default, 8) {
    Ok(parameters) => parameters,
    Err(_) => panic!(),
};

/// Chunks of about 16 KiB, so that small contents have many.
fn list(content: &[u8]) -> List {
    let chunker = Chunker::new(Chunking {
        min: 4 * 1024,
        avg: 16 * 1024,
        max: 64 * 1024,
        ..Chunking::default()
    });
    let entry = |chunk: &[u8]| Entry {
        id: ChunkId::of(chunk),
        len: u32::try_from(chunk.len()).unwrap(),
    };
    List::new(chunker.chunks(content).map(entry).collect()).unwrap()
}

impl Whole {
    /// A file that is chunked as it is.
    pub(super) fn stored(content: &[u8]) -> Self {
        Self {
            file: content.to_vec(),
            content: content.to_vec(),
            list: Arc::new(list(content)),
            recipe: None,
        }
    }

    /// A file that opens.
    pub(super) fn opened(parts: &[Made<'_>]) -> Self {
        let (mut file, mut content, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            match part {
                Made::Literal(bytes) => {
                    file.extend_from_slice(bytes);
                    segments.push(Segment::Literal(bytes.to_vec()));
                }
                Made::Plain(bytes) => {
                    file.extend_from_slice(bytes);
                    content.extend_from_slice(bytes);
                    let bytes = bytes.len() as u64;
                    segments.push(Segment::Plain { bytes });
                }
                Made::Stream(parameters, bytes) => {
                    let packed = zlib::deflate(bytes, *parameters);
                    content.extend_from_slice(bytes);
                    file.extend_from_slice(&packed);
                    let (plain, packed) = (bytes.len() as u64, packed.len() as u64);
                    segments.push(Segment::Deflate(Deflate::new(*parameters, plain, packed)));
                }
            }
        }
        let list = list(&content);
        let opened = list.id();
        Self {
            file,
            content,
            list: Arc::new(list),
            recipe: Some(Arc::new(
                Recipe::new(RecipeBody { opened, segments }).unwrap(),
            )),
        }
    }

    /// As sigtool makes a `.cvd`: a header, and one gzip member.
    pub(super) fn cvd(content: &[u8]) -> Self {
        Self::opened(&[
            Made::Literal(&[b'h'; 522]),
            Made::Stream(Parameters::SIGTOOL, content),
            Made::Literal(&content.len().to_le_bytes()),
        ])
    }

    pub(super) fn source(&self) -> Source {
        self.source_with(&self.file)
    }

    /// Of a file that should be this one but holds `bytes`.
    pub(super) fn source_with(&self, bytes: &[u8]) -> Source {
        Source {
            file: file_with(bytes),
            list: self.list.clone(),
            recipe: self.recipe.clone(),
        }
    }
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Which base ranges are read before the delivery that begins with a chunk.
pub(super) type Reads<'a> = Box<dyn FnMut(usize) -> Vec<(u32, Range<u64>)> + 'a>;

/// Delivers out of the new content, as much at once as it is told.
pub(super) struct FromContent<'a> {
    pub(super) new: &'a Whole,
    pub(super) origins: &'a Origins,
    pub(super) chunks_at_once: usize,
    pub(super) reads: Reads<'a>,
    pub(super) seen: Vec<(u32, Range<usize>, Vec<u8>)>,
    /// Fails at this delivery.
    pub(super) fail_at: Option<(usize, fn() -> MissingError)>,
    pub(super) deliveries: usize,
}

impl MissingChunks for FromContent<'_> {
    fn next(&mut self, from: usize, bases: &mut dyn Bases) -> Result<Delivery, MissingError> {
        if let Some((at, error)) = self.fail_at
            && at == self.deliveries
        {
            return Err(error());
        }
        self.deliveries += 1;
        for (base, range) in (self.reads)(from) {
            let mut bytes = Vec::new();
            bases.read(base, range.clone(), &mut bytes)?;
            let place = |at| usize::try_from(at).unwrap();
            let range = place(range.start)..place(range.end);
            self.seen.push((base, range, bytes));
        }
        let mut stretches = self.origins.missing();
        let stretch = stretches.find(|stretch| stretch.contains(&from)).unwrap();
        let chunks = (stretch.end - from).min(self.chunks_at_once);
        let entries = self.new.list.entries();
        let start = usize::try_from(bytes_of(&entries[..from])).unwrap();
        let len = usize::try_from(bytes_of(&entries[from..from + chunks])).unwrap();
        Ok(Delivery {
            chunks,
            bytes: Bytes::copy_from_slice(&self.new.content[start..start + len]),
        })
    }
}

/// One rebuild, to be changed before it runs.
pub(super) struct Case<'a> {
    pub(super) new: &'a Whole,
    pub(super) bases: Vec<Source>,
    pub(super) chunks_at_once: usize,
    pub(super) reads: Reads<'a>,
    pub(super) seen: Vec<(u32, Range<usize>, Vec<u8>)>,
    pub(super) fail_at: Option<(usize, fn() -> MissingError)>,
    /// The lists that origins are made with, in place of those of the bases.
    pub(super) other_bases: Option<Vec<Arc<List>>>,
}

impl<'a> Case<'a> {
    pub(super) fn new(new: &'a Whole, old: &[&Whole]) -> Self {
        Self {
            new,
            bases: old.iter().map(|old| old.source()).collect(),
            chunks_at_once: usize::MAX,
            reads: Box::new(|_| Vec::new()),
            seen: Vec::new(),
            fail_at: None,
            other_bases: None,
        }
    }

    pub(super) fn origins(&self) -> Origins {
        let lists: Vec<&List> = match &self.other_bases {
            Some(lists) => lists.iter().map(AsRef::as_ref).collect(),
            None => self.bases.iter().map(|base| &*base.list).collect(),
        };
        Origins::new(&self.new.list, &lists)
    }

    /// What came out, also where it failed.
    pub(super) fn run(&mut self) -> (Result<Rebuilt, RebuildError>, Vec<u8>) {
        let mut out = tempfile::tempfile().unwrap();
        let result = self.run_into(&mut out, tempfile::tempdir().unwrap().path());
        out.seek(SeekFrom::Start(0)).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut bytes).unwrap();
        (result, bytes)
    }

    pub(super) fn run_into(
        &mut self,
        out: &mut File,
        scratch: &std::path::Path,
    ) -> Result<Rebuilt, RebuildError> {
        let origins = self.origins();
        let mut provider = FromContent {
            new: self.new,
            origins: &origins,
            chunks_at_once: self.chunks_at_once,
            reads: std::mem::replace(&mut self.reads, Box::new(|_| Vec::new())),
            seen: Vec::new(),
            fail_at: self.fail_at,
            deliveries: 0,
        };
        let target = Target {
            hash: FileHash::of(&self.new.file),
            bytes: self.new.file.len() as u64,
            list: &self.new.list,
            recipe: self.new.recipe.as_deref(),
            origins: &origins,
        };
        let folder = File::open(scratch).unwrap();
        let result = rebuild(
            target,
            &self.bases,
            &mut provider,
            out,
            folder.as_fd(),
            &mut SoundBases::default(),
        );
        self.seen = provider.seen;
        result
    }

    /// Runs it and compares every byte.
    pub(super) fn exact(&mut self) -> Rebuilt {
        let (result, bytes) = self.run();
        let rebuilt = result.unwrap();
        assert!(bytes == self.new.file, "another file");
        rebuilt
    }
}

/// Lines like a signature database's, the same for the same seed.
pub(super) fn lines(seed: u64, bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 200);
    let mut random = Random(seed);
    while text.len() < bytes {
        let number = random.next();
        let name = [
            "Win.Trojan.Agent",
            "Unix.Malware.Mirai",
            "Html.Phishing.Bank",
        ];
        let pattern: String = (0..8 + number % 24)
            .map(|_| format!("{:02x}", random.next() % 251))
            .collect();
        let name = name[usize::try_from(number % 3).unwrap()];
        writeln!(text, "{name}-{}-0:0:*:{pattern}", number % 10_000_000).unwrap();
    }
    text.truncate(bytes);
    text
}

/// Numbers without any meaning (xorshift64*).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap() % end
    }
}

/// `content` with `insert` in place of `range`.
pub(super) fn edited(content: &[u8], range: Range<usize>, insert: &[u8]) -> Vec<u8> {
    [&content[..range.start], insert, &content[range.end..]].concat()
}
