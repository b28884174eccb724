//! One file's content: what it builds on, its runs, and the file that comes of them. SPEC §5.6, §8.7.

use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use tidecast_proto::bundle::{
    self, BundleError, Form, Origins, PartKind, RunPart, bytes_of, check_run, check_run_size,
};
use tidecast_proto::chunker::Chunker;
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::recipe::Recipe;

use super::fault::BundleFault;
use super::parts::Parts;
use crate::docroot::{Build, DocrootError};
use crate::packing::delta::open_in;
use crate::rebuild::{
    self, Bases, Delivery, MissingChunks, MissingError, Place, RebuildError, Source, Target,
};

/// Chunks of all bases of one section: twice what the longest list holds. Origins take some 100 bytes for each.
pub(super) const BASE_CHUNKS_MAX: usize = 2 * limits::LIST_BYTES / 36;

/// The content that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The file's number in the manifest.
    pub(crate) at: u32,
    /// The list of the content.
    pub(crate) list: Arc<List>,
    /// Set when that is the opened content.
    pub(crate) recipe: Option<Arc<Recipe>>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is there, verified.
    Whole,
    /// The base with this index is not what it was; in words, with what is wrong.
    Damaged(usize, String),
    /// Another file came out.
    Differs,
    /// Chunks that were to be here are not: asked for later, they may be.
    Lacking,
    /// The disk has no room for what a rebuild puts aside.
    NoRoom,
}

/// Where missing chunks come from.
pub(crate) enum Delivered<'a> {
    /// RUN parts.
    Runs(&'a mut Parts),
    /// The spool.
    Spool,
}

impl Delivered<'_> {
    fn read_bytes(&self) -> u64 {
        match self {
            Self::Runs(parts) => parts.read_bytes(),
            Self::Spool => 0,
        }
    }
}

/// The name of a content that a section builds on, and how to have it.
pub(crate) fn live_base(
    build: &mut Build,
    chunker: &Chunker,
    file: u32,
    form: Form,
) -> Result<Option<Source>, DocrootError> {
    let Some(live) = build.live().cloned() else {
        return Ok(None);
    };
    let Some(file) = live.manifest().files.get(file as usize) else {
        return Ok(None);
    };
    build.live_source(file, form == Form::Opened, chunker)
}

/// Makes the file of `wanted` out of `bases` and what is delivered. Runs that were verified are spooled, whatever becomes
/// of the file.
///
/// # Errors
/// [`BundleFault`]: what was delivered, or the disk; the file is then to be had another way.
pub(crate) fn make(
    build: &mut Build,
    wanted: &Wanted,
    bases: &[Source],
    delivered: Delivered<'_>,
) -> Result<Made, BundleFault> {
    let manifest = build.manifest().clone();
    let file = manifest
        .files
        .get(wanted.at as usize)
        .ok_or(BundleFault::OtherRelease)?;
    let path = file.path.as_str();
    let lists: Vec<Arc<List>> = bases.iter().map(|base| base.list.clone()).collect();
    let lists: Vec<&List> = lists.iter().map(|list| &**list).collect();
    let got = lists.iter().map(|list| list.entries().len()).sum();
    if got > BASE_CHUNKS_MAX {
        return Err(BundleFault::TooManyChunks {
            path: path.into(),
            got,
            limit: BASE_CHUNKS_MAX,
        });
    }
    let origins = Origins::new(&wanted.list, &lists);
    let mut out = build.begin_file(wanted.at)?;
    let scratch = build.scratch();
    let mut sound = std::mem::take(&mut build.sound);
    let mut incoming = Incoming {
        delivered,
        build,
        wanted: &wanted.list,
        origins: &origins,
        lists: &lists,
        lacking: false,
        disk: None,
    };
    let target = Target {
        hash: file.hash,
        bytes: file.size,
        list: &wanted.list,
        recipe: wanted.recipe.as_deref(),
        origins: &origins,
    };
    let before = incoming.delivered.read_bytes();
    let rebuilt = rebuild::rebuild(
        target,
        bases,
        &mut incoming,
        &mut out,
        scratch.as_fd(),
        &mut sound,
    );
    let read_bytes = incoming.delivered.read_bytes() - before;
    let Incoming { lacking, disk, .. } = incoming;
    build.sound = sound;
    match rebuilt {
        Ok(rebuilt) => {
            // Runs count as what they have on the wire; chunks were counted opened all along.
            let fetched = match read_bytes {
                0 => rebuilt.missing_bytes,
                read => read.min(rebuilt.missing_bytes),
            };
            build.finish_file(wanted.at, &out, fetched)?;
            Ok(Made::Whole)
        }
        Err(_) if disk.is_some() => Err(disk.map_or(BundleFault::OtherRelease, Into::into)),
        Err(_) if lacking => Ok(Made::Lacking),
        Err(error) => judge(build, wanted.at, path, error),
    }
}

/// Sorts by who is at fault.
fn judge(build: &Build, at: u32, path: &str, error: RebuildError) -> Result<Made, BundleFault> {
    match error {
        RebuildError::Damaged { base, damage } => Ok(Made::Damaged(base, chain(&damage))),
        RebuildError::Read { base, source } => Ok(Made::Damaged(base, chain(&source))),
        RebuildError::Differs { .. } => Ok(Made::Differs),
        RebuildError::Missing(MissingError::Base(error)) => judge(build, at, path, *error),
        RebuildError::NoSpace {
            place: Place::Scratch,
        } => Ok(Made::NoRoom),
        RebuildError::NoSpace { .. } => {
            let full = rustix::io::Errno::NOSPC.into();
            Err(build.write_fault(at, full).into())
        }
        RebuildError::Write { source, .. } => Err(build.write_fault(at, source).into()),
        RebuildError::Missing(MissingError::Failed(source) | MissingError::Unfit(source)) => {
            Err(match source.downcast::<BundleFault>() {
                Ok(fault) => *fault,
                Err(_) => BundleFault::OtherRelease,
            })
        }
        source => Err(BundleFault::Rebuild {
            path: path.into(),
            source,
        }),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Missing chunks on their way into a rebuild.
struct Incoming<'a, 'b> {
    delivered: Delivered<'a>,
    build: &'b mut Build,
    wanted: &'b List,
    origins: &'b Origins,
    lists: &'b [&'b List],
    /// The spool does not have a chunk.
    lacking: bool,
    /// Our own disk failed.
    disk: Option<DocrootError>,
}

impl MissingChunks for Incoming<'_, '_> {
    fn next(&mut self, from: usize, bases: &mut dyn Bases) -> Result<Delivery, MissingError> {
        match &mut self.delivered {
            Delivered::Spool => self.spooled(from),
            Delivered::Runs(parts) => {
                let body = parts.expect(PartKind::RUN, "RUN")?;
                self.run(from, body, bases)
            }
        }
    }
}

impl Incoming<'_, '_> {
    /// Opens one run and checks every chunk in it.
    fn run(
        &mut self,
        from: usize,
        body: Vec<u8>,
        bases: &mut dyn Bases,
    ) -> Result<Delivery, MissingError> {
        let fault = |error: BundleError| MissingError::from(BundleFault::from(error));
        let run = RunPart::decode(&body).map_err(fault)?;
        let range = self.origins.next_run(from, &run).map_err(fault)?;
        let target = &self.wanted.entries()[range.clone()];
        let mut ranges = Vec::with_capacity(run.bases.len());
        for base in &run.bases {
            ranges.push(bundle::base_bytes(*base, self.lists).map_err(fault)?);
        }
        check_run_size(target, &ranges).map_err(fault)?;
        let mut prefix = Vec::new();
        for (base, bytes) in run.bases.iter().zip(ranges) {
            bases.read(base.base, bytes, &mut prefix)?;
        }
        // Within `RUN_BYTES`: it was just checked.
        let bytes_max = usize::try_from(bytes_of(target)).unwrap_or(0);
        let at = body.len() - run.frame.len();
        let opened = open_in(body, at, &prefix, bytes_max).map_err(|source| {
            MissingError::from(BundleFault::Packed {
                kind: PartKind::RUN,
                source,
            })
        })?;
        drop(prefix);
        check_run(target, &opened).map_err(fault)?;
        let mut rest = opened.as_slice();
        for entry in target {
            let (chunk, after) = rest.split_at(entry.len as usize);
            tracing::trace!(chunk = %entry.id, bytes = entry.len, "received");
            if let Err(error) = self.build.spool_chunk(&entry.id, chunk) {
                return Err(self.failed(error));
            }
            rest = after;
        }
        Ok(Delivery {
            chunks: range.len(),
            bytes: Bytes::from(opened),
        })
    }

    /// The missing chunks from `from` on that the spool has.
    fn spooled(&mut self, from: usize) -> Result<Delivery, MissingError> {
        let mut bytes = Vec::new();
        let mut chunks = 0;
        let entries = self.wanted.entries().iter().zip(self.origins.all());
        for (entry, origin) in entries.skip(from) {
            let full = bytes.len() + entry.len as usize > limits::RUN_BYTES;
            if *origin != bundle::Origin::Missing || full {
                break;
            }
            match self.build.read_spooled(&entry.id, &mut bytes) {
                Ok(true) => chunks += 1,
                Ok(false) => break,
                Err(error) => return Err(self.failed(error)),
            }
        }
        if chunks == 0 {
            self.lacking = true;
            return Err(MissingError::Failed("not in the spool".into()));
        }
        Ok(Delivery {
            chunks,
            bytes: Bytes::from(bytes),
        })
    }

    fn failed(&mut self, error: DocrootError) -> MissingError {
        self.disk = Some(error);
        MissingError::Failed("the disk".into())
    }
}
