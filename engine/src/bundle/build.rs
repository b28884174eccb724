//! The core of a bundle, section by section.

use std::io::Write;

use tidecast_proto::bundle::{FilePart, Form, PartKind, put_part};
use tidecast_proto::codec;
use tidecast_proto::limits;
use tidecast_proto::manifest::{File, Manifest};

use super::choose::{Choice, Chosen};
use super::content::packed_bytes;
use super::report::{BundleReport, FileShare};
use super::section::Runs;
use super::{BundleBuildError, content::Content};
use crate::packing::delta::{Effort, pack_with_prefix};
use crate::store::Store;

/// More missing content than this may have come from another file, which is then looked for.
const MOVED_BYTES: u64 = 4 * 1024 * 1024;

/// Another file is a base when one in this many samples of what is missing is in it.
const MOVED_SHARE: u32 = 32;

/// An opened section is kept in memory until it is known to be worth it.
const SECTION_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes that a bundle may have beyond what the whole files cost: manifest, recipes, lists.
const SLACK_BYTES: u64 = 64 * 1024;

/// Writes the core of the bundle from one release to another: MANIFEST, sections, END.
///
/// Everything it needs is sealed in `store`. Memory is bounded: a run with its bases, one section of an opened file.
///
/// # Errors
/// [`BundleBuildError`]; what was written is no bundle.
pub fn build(
    store: &Store,
    from: &Manifest,
    to: &Manifest,
    out: &mut dyn Write,
) -> Result<BundleReport, BundleBuildError> {
    let mut choice = Choice::new(store, from, to);
    let order = choice.order();
    let mut core = Core {
        limit: whole_bytes(store, order.iter().filter_map(|at| file(to, *at))) + SLACK_BYTES,
        out,
        report: BundleReport::default(),
    };
    let effort = |bytes: &[u8]| Effort::of(bytes.len());
    let (signed, prefix) = (to.to_bytes(), codec::encode(&**from));
    let manifest = pack_with_prefix(&signed, &prefix, effort(&signed))?;
    if manifest.len() > limits::MANIFEST_DELTA_BYTES {
        return Err(BundleBuildError::ManifestTooLarge {
            got: manifest.len(),
            limit: limits::MANIFEST_DELTA_BYTES,
        });
    }
    core.report.manifest_bytes = core.part(PartKind::MANIFEST, &manifest)?;
    for at in order {
        let Some(file) = file(to, at) else { continue };
        let gone = || BundleBuildError::Gone {
            what: format!("what {} of release {} is made of", file.path, to.release),
        };
        let mut chosen = choice.section(at).ok_or_else(gone)?;
        if chosen.form == Form::Opened {
            let most = SECTION_BYTES.min(file.size / 4 * 3).max(SLACK_BYTES);
            let mut section = Vec::new();
            match core_of(store, &choice, file, &mut chosen, most, &mut section) {
                Ok(share) => {
                    core.write(&section)?;
                    core.report.files.push(share);
                    choice.complete(at, Form::Opened);
                    continue;
                }
                // Its content is not what it was: better take the file as it is.
                Err(BundleBuildError::TooLarge { .. } | BundleBuildError::Gone { .. }) => {
                    chosen = choice.stored(at).ok_or_else(gone)?;
                    chosen.reason = "cheaper";
                }
                Err(error) => return Err(error),
            }
        }
        let most = core.limit.saturating_sub(core.report.bytes);
        let share = core_of(store, &choice, file, &mut chosen, most, &mut core)?;
        core.report.files.push(share);
        choice.complete(at, Form::Stored);
    }
    core.part(PartKind::END, &[])?;
    Ok(core.report)
}

fn file(manifest: &Manifest, at: u32) -> Option<&File> {
    manifest.files.get(at as usize)
}

/// What a mirror would fetch to have these files whole.
fn whole_bytes<'a>(store: &Store, files: impl Iterator<Item = &'a File>) -> u64 {
    let whole = |file: &File| {
        let list = Content::of(store, file, Form::Stored)?.list;
        packed_bytes(store, list.entries().iter().map(|entry| &entry.id))
    };
    files.fold(0, |sum: u64, file| {
        sum.saturating_add(whole(file).unwrap_or(file.size))
    })
}

/// Where the core goes, and how much of it there is.
struct Core<'a> {
    out: &'a mut dyn Write,
    limit: u64,
    report: BundleReport,
}

impl Core<'_> {
    fn part(&mut self, kind: PartKind, body: &[u8]) -> Result<u64, BundleBuildError> {
        let mut part = Vec::new();
        put_part(kind, body, &mut part);
        self.write(&part)?;
        Ok(part.len() as u64)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BundleBuildError> {
        self.write_all(bytes)?;
        if self.report.bytes > self.limit {
            return Err(BundleBuildError::TooLarge { limit: self.limit });
        }
        Ok(())
    }
}

impl Write for Core<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.report.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes one section: FILE, RECIPE, LIST, RUNs, whose runs have at most `most` bytes.
fn core_of(
    store: &Store,
    choice: &Choice<'_>,
    file: &File,
    chosen: &mut Chosen,
    most: u64,
    out: &mut dyn Write,
) -> Result<FileShare, BundleBuildError> {
    let runs = plan(store, choice, file, chosen)?;
    let mut part = |kind, body: &[u8]| -> Result<u64, BundleBuildError> {
        let mut part = Vec::new();
        put_part(kind, body, &mut part);
        out.write_all(&part)?;
        Ok(part.len() as u64)
    };
    let bases: Vec<_> = chosen.bases.iter().map(|(base, _)| *base).collect();
    let first = chosen.bases.first().map(|(_, content)| content);
    let own = FilePart {
        file: chosen.file,
        form: chosen.form,
        bases: bases.clone(),
    };
    let mut recipe_bytes = part(PartKind::FILE, &own.encode())?;
    if let Some(recipe) = &chosen.content.recipe {
        let prefix = first.and_then(|base| base.recipe.as_deref());
        let packed = pack_with_prefix(recipe, prefix.unwrap_or_default(), Effort::Most)?;
        recipe_bytes += part(PartKind::RECIPE, &packed)?;
    }
    let mut list_bytes = 0;
    if chosen.form == Form::Opened || file.list.is_some() {
        let prefix = first.map(|base| base.list.encode()).unwrap_or_default();
        let list = chosen.content.list.encode();
        let packed = pack_with_prefix(&list, &prefix, Effort::of(list.len()))?;
        list_bytes = part(PartKind::LIST, &packed)?;
    }
    let sums = runs.write(most, out)?;
    Ok(FileShare {
        file: chosen.file,
        path: file.path.as_str().to_owned(),
        form: chosen.form,
        bases,
        reused_bytes: runs.reused_bytes(),
        missing_bytes: runs.missing_bytes(),
        recipe_bytes,
        list_bytes,
        run_bytes: sums.bytes,
        runs: sums.runs,
        reason: chosen.reason,
    })
}

/// What the section's runs are made by. When much is missing of an opened content, other old contents that hold it become
/// bases.
fn plan<'a>(
    store: &'a Store,
    choice: &Choice<'_>,
    file: &File,
    chosen: &mut Chosen,
) -> Result<Runs<'a>, BundleBuildError> {
    let runs = |chosen: &Chosen| {
        let list = |(base, content): &(_, Content)| (*base, content.list.clone());
        let bases = chosen.bases.iter().map(list).collect();
        Runs::new(store, chosen.content.list.clone(), chosen.form, bases)
    };
    let mut planned = runs(chosen);
    if chosen.form == Form::Opened && planned.missing_bytes() > MOVED_BYTES {
        let own = chosen.bases.len();
        chosen.bases.extend(choice.elsewhere(file));
        chosen.bases.truncate(limits::BUNDLE_BASES);
        let (found, asked) = runs(chosen).sample_all()?;
        let mut at = 0;
        chosen.bases.retain(|_| {
            let share = found.get(at).copied().unwrap_or(0);
            at += 1;
            at <= own || share.saturating_mul(MOVED_SHARE) > asked
        });
        planned = runs(chosen);
        planned.sample_all()?;
    } else {
        planned.sample_new();
    }
    Ok(planned)
}
