//! A bundle's sections, one after the other, into the tree that is being built. SPEC §5.7, §8.7.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidecast_proto::bundle::{ContentRef, FilePart, Form, PartKind, Side};
use tidecast_proto::chunker::Chunker;
use tidecast_proto::id::ObjectId;
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::recipe::Recipe;
use tidecast_proto::signed;

use super::fault::BundleFault;
use super::parts::Parts;
use super::section::{Delivered, Made, Wanted, live_base, make};
use crate::docroot::{Build, DocrootError};
use crate::packing::delta::{open_in, open_with_prefix};
use crate::rebuild::Source;

/// Opens the manifest `id` that came as a delta of the live one. What it is worth, its signatures say.
///
/// # Errors
/// [`BundleFault`]; [`BundleFault::OtherRelease`] when it is another one.
pub(crate) fn open_manifest(
    packed: Vec<u8>,
    live: &Manifest,
    id: &ObjectId,
) -> Result<SignedManifest, BundleFault> {
    let bytes =
        open_in(packed, 0, live.signed().body(), limits::MANIFEST_BYTES).map_err(|source| {
            BundleFault::Packed {
                kind: PartKind::MANIFEST,
                source,
            }
        })?;
    // Before anything of it is copied: it may be 16 MiB of anything.
    if signed::body_of(&bytes).map(ObjectId::of) != Some(*id) {
        return Err(BundleFault::OtherRelease);
    }
    Ok(SignedManifest::from_bytes(&bytes)?)
}

/// What came of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// What became of the file.
    pub(crate) made: Made,
    /// Bytes of the bundle that it took.
    pub(crate) bytes: u64,
    /// Path of the base that is damaged, if one is.
    pub(crate) damaged: Option<String>,
}

/// What came of a bundle.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// By file number, for each section that was read to its end.
    pub(crate) sections: BTreeMap<u32, Section>,
    /// Files that were linked and then found damaged: they are to be built after all.
    pub(crate) damaged: Vec<ReleasePath>,
    /// What stopped it, if it did not end well.
    pub(crate) fault: Option<BundleFault>,
}

/// A content of the new release that later sections may build on.
struct Complete {
    form: Form,
    list: Arc<List>,
    recipe: Option<Arc<Recipe>>,
}

/// Reads sections to the bundle's end, and builds their files.
pub(crate) struct Application<'a> {
    build: &'a mut Build,
    parts: &'a mut Parts,
    chunker: &'a Chunker,
    complete: BTreeMap<u32, Complete>,
    applied: Applied,
}

/// Applies the sections of a bundle to `build`, whose live tree is the release that it starts from. Blocks.
///
/// # Errors
/// [`DocrootError`]: this machine's disk. What is wrong with the bundle is in [`Applied::fault`]; what was verified by then is kept.
pub(crate) fn apply(
    build: &mut Build,
    parts: &mut Parts,
    chunker: &Chunker,
) -> Result<Applied, DocrootError> {
    let mut application = Application {
        build,
        parts,
        chunker,
        complete: BTreeMap::new(),
        applied: Applied::default(),
    };
    match application.run() {
        Ok(()) => {}
        Err(BundleFault::Disk(error)) => return Err(error),
        Err(fault) => application.applied.fault = Some(fault),
    }
    Ok(application.applied)
}

impl Application<'_> {
    fn run(&mut self) -> Result<(), BundleFault> {
        loop {
            let before = self.parts.read_bytes();
            let Some(part) = self.parts.section()? else {
                return Ok(());
            };
            let (made, damaged) = self.section(&part)?;
            let section = Section {
                made,
                bytes: self.parts.read_bytes() - before,
                damaged,
            };
            self.applied.sections.insert(part.file, section);
        }
    }

    fn section(&mut self, part: &FilePart) -> Result<(Made, Option<String>), BundleFault> {
        let manifest = self.build.manifest().clone();
        let file = manifest
            .files
            .get(part.file as usize)
            .ok_or_else(|| BundleFault::Section {
                path: format!("file {}", part.file),
                what: "not in the release",
            })?;
        let path = || file.path.to_string();
        let refused = |what| BundleFault::Section { path: path(), what };
        // Each file once: what a bundle opens to is bounded by its manifest.
        if self.applied.sections.contains_key(&part.file) {
            return Err(BundleFault::Twice { path: path() });
        }
        let mut bases = Vec::with_capacity(part.bases.len());
        for base in &part.bases {
            bases.push(self.base(*base)?);
        }
        if let Some(None) = bases.first() {
            // Recipe and list are packed against what is not here.
            self.parts.skip_section()?;
            return Ok((Made::Lacking, None));
        }
        let known = bases.first().and_then(Option::as_ref);
        let recipe = match (part.form, &file.recipe) {
            (Form::Stored, _) => None,
            (Form::Opened, None) => return Err(refused("opened, but it has no recipe")),
            (Form::Opened, Some(id)) => {
                let body = self.parts.expect(PartKind::RECIPE, "RECIPE")?;
                let prefix = known.and_then(|base| base.recipe.as_ref());
                let prefix = prefix.map(|recipe| recipe.encode()).unwrap_or_default();
                let bytes = open(PartKind::RECIPE, &body, &prefix, limits::RECIPE_BYTES)?;
                let recipe = Recipe::decode(&bytes, *id, file.size)?;
                self.build.add_recipe(id, &recipe)?;
                Some(Arc::new(recipe))
            }
        };
        let named = match (&recipe, &file.list) {
            (Some(recipe), _) => Some((recipe.opened(), recipe.opened_bytes())),
            (None, list) => list.map(|id| (id, file.size)),
        };
        let list = match named {
            Some((id, bytes)) => {
                let body = self.parts.expect(PartKind::LIST, "LIST")?;
                let prefix = known.map(|base| base.list.encode()).unwrap_or_default();
                let list = open(PartKind::LIST, &body, &prefix, limits::LIST_BYTES)?;
                let list = List::decode(&list, id, bytes)?;
                self.build.add_list(id, list.clone())?;
                Arc::new(list)
            }
            None => List::of_small_file(file.hash, file.size)
                .map(Arc::new)
                .ok_or_else(|| refused("longer than one chunk and without a list"))?,
        };
        let complete = Complete {
            form: part.form,
            list: list.clone(),
            recipe: recipe.clone(),
        };
        let made = self.make(part, bases, list, recipe)?;
        if made.0 == Made::Whole {
            self.complete.insert(part.file, complete);
        }
        Ok(made)
    }

    fn make(
        &mut self,
        part: &FilePart,
        bases: Vec<Option<Source>>,
        list: Arc<List>,
        recipe: Option<Arc<Recipe>>,
    ) -> Result<(Made, Option<String>), BundleFault> {
        if self.build.has(part.file as usize) {
            // Linked, or completed by an earlier attempt.
            self.parts.skip_section()?;
            return Ok((Made::Whole, None));
        }
        let gone = bases.iter().position(Option::is_none);
        let sources: Vec<Source> = bases.into_iter().flatten().collect();
        let (made, base) = match gone {
            Some(base) => (Made::Lacking, Some(base)),
            None => {
                let wanted = Wanted {
                    at: part.file,
                    list,
                    recipe,
                };
                let made = make(self.build, &wanted, &sources, Delivered::Runs(self.parts))?;
                let base = match &made {
                    Made::Damaged(base, _) => Some(*base),
                    _ => None,
                };
                (made, base)
            }
        };
        let damaged = base
            .filter(|_| matches!(made, Made::Damaged(..)))
            .and_then(|base| part.bases.get(base))
            .copied();
        // At once: the bundle may end here.
        if let Some(base) = damaged {
            self.condemn(base)?;
        }
        if made != Made::Whole {
            self.parts.skip_section()?;
        }
        Ok((made, damaged.map(|base| self.path_of(base))))
    }

    /// A base that is damaged must not go live again as a file that did not change.
    fn condemn(&mut self, base: ContentRef) -> Result<(), BundleFault> {
        let at = match base.side {
            Side::New => Some(base.file),
            Side::Old => self.build.unchanged_since(base.file),
        };
        let Some(at) = at.filter(|at| self.build.has(*at as usize)) else {
            return Ok(());
        };
        self.build.condemn(at)?;
        self.complete.remove(&at);
        self.applied.sections.remove(&at);
        let manifest = self.build.manifest();
        self.applied
            .damaged
            .extend(manifest.files.get(at as usize).map(|f| f.path.clone()));
        Ok(())
    }

    /// What a section builds on; `None` when it cannot be had here.
    fn base(&mut self, content: ContentRef) -> Result<Option<Source>, BundleFault> {
        match content.side {
            Side::Old => {
                let live = self.build.live();
                if live.is_none_or(|live| content.file as usize >= live.manifest().files.len()) {
                    return Err(BundleFault::Section {
                        path: format!("file {}", content.file),
                        what: "not in the release it is to be built on",
                    });
                }
                Ok(live_base(
                    self.build,
                    self.chunker,
                    content.file,
                    content.form,
                )?)
            }
            Side::New => match self.complete.get(&content.file) {
                Some(complete) if complete.form == content.form => {
                    let (list, recipe) = (complete.list.clone(), complete.recipe.clone());
                    Ok(self
                        .build
                        .built_source(content.file as usize, list, recipe)?)
                }
                // One that could not be made takes with it what builds on it; one that never came is the maker's fault.
                _ if self.applied.sections.contains_key(&content.file) => Ok(None),
                _ => Err(BundleFault::Section {
                    path: self.path_of(content),
                    what: "built on before it is complete",
                }),
            },
        }
    }

    fn path_of(&self, content: ContentRef) -> String {
        let file = match content.side {
            Side::New => self.build.manifest().files.get(content.file as usize),
            Side::Old => {
                let live = self.build.live();
                live.and_then(|live| live.manifest().files.get(content.file as usize))
            }
        };
        file.map_or_else(
            || format!("file {}", content.file),
            |file| file.path.to_string(),
        )
    }
}

fn open(
    kind: PartKind,
    packed: &[u8],
    prefix: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, BundleFault> {
    open_with_prefix(packed, prefix, bytes_max)
        .map_err(|source| BundleFault::Packed { kind, source })
}
