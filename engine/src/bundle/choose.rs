//! Which files get a section, in which order, in which form, and what each is built on.

use std::collections::{BTreeMap, BTreeSet};

use tidecast_proto::bundle::{ContentRef, Form, Side};
use tidecast_proto::database::DatabaseFile;
use tidecast_proto::limits;
use tidecast_proto::manifest::{File, ManifestBody};
use tidecast_proto::plan::Plan;

use super::content::Content;
use crate::store::Store;

/// Files up to here come first and opened, so that what comes later can build on them: a `.cdiff` holds the lines that
/// its database gains.
const SMALL_BYTES: u64 = 1024 * 1024;

/// Both releases, and what of the new one the receiver has by now.
pub(super) struct Choice<'a> {
    pub(super) store: &'a Store,
    pub(super) old: &'a ManifestBody,
    pub(super) new: &'a ManifestBody,
    /// Old files by the [shape](shape) of their paths.
    alike: BTreeMap<String, Vec<u32>>,
    /// Contents of sections that are complete.
    complete: BTreeSet<ContentRef>,
}

/// What a section carries, and what it builds on.
pub(super) struct Chosen {
    pub(super) file: u32,
    pub(super) form: Form,
    pub(super) content: Content,
    pub(super) bases: Vec<(ContentRef, Content)>,
    pub(super) reason: &'static str,
}

impl<'a> Choice<'a> {
    pub(super) fn new(store: &'a Store, old: &'a ManifestBody, new: &'a ManifestBody) -> Self {
        let mut alike: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (at, file) in (0..).zip(&old.files) {
            alike.entry(shape(file.path.as_str())).or_default().push(at);
        }
        Self {
            store,
            old,
            new,
            alike,
            complete: BTreeSet::new(),
        }
    }

    /// The files that get a section, by their indices in the new manifest: scripts, then other small ones, then the
    /// rest by path.
    pub(super) fn order(&self) -> Vec<u32> {
        let plan = Plan::new(self.new, Some(self.old));
        let mut files: Vec<(u8, usize, &str, u32)> = plan
            .to_build()
            .filter_map(|file| {
                let path = file.path.as_str();
                let at = index_of(self.new, path)?;
                // Within a kind numbers rise when longer names count as larger.
                Some(match DatabaseFile::of(path) {
                    DatabaseFile::Cdiff { .. } => (0, path.len(), path, at),
                    _ if file.size <= SMALL_BYTES => (1, 0, path, at),
                    _ => (2, 0, path, at),
                })
            })
            .collect();
        files.sort_unstable();
        files.into_iter().map(|(.., at)| at).collect()
    }

    /// The form in which a file is cheapest, with its bases; `None` when the store no longer holds its list.
    pub(super) fn section(&self, at: u32) -> Option<Chosen> {
        let file = self.new.files.get(at as usize)?;
        let before = self.before(file);
        if let Some(content) = Content::of(self.store, file, Form::Opened) {
            let own = before.and_then(|before| self.old_content(before, Form::Opened));
            // Without an older one, a large file would be deflated again for nothing.
            if own.is_some() || file.size <= SMALL_BYTES {
                let mut bases: Vec<_> = own.into_iter().collect();
                self.add_scripts(file, before, &mut bases);
                return Some(Chosen {
                    file: at,
                    form: Form::Opened,
                    content,
                    bases,
                    reason: "in_bundle",
                });
            }
        }
        self.stored(at)
    }

    /// The file as it is.
    pub(super) fn stored(&self, at: u32) -> Option<Chosen> {
        let file = self.new.files.get(at as usize)?;
        let own = self.before(file);
        let own = own.and_then(|before| self.old_content(before, Form::Stored));
        Some(Chosen {
            file: at,
            form: Form::Stored,
            content: Content::of(self.store, file, Form::Stored)?,
            bases: own.into_iter().collect(),
            reason: if file.recipe.is_some() {
                "no_base"
            } else {
                "not_opened"
            },
        })
    }

    /// From now on the receiver has this content.
    pub(super) fn complete(&mut self, file: u32, form: Form) {
        self.complete.insert(ContentRef {
            side: Side::New,
            file,
            form,
        });
    }

    /// Opened contents of other old files that are large enough to hold what moved, as bases.
    pub(super) fn elsewhere(&self, file: &File) -> impl Iterator<Item = (ContentRef, Content)> {
        let before = self.before(file);
        let large = move |(at, old): (u32, &'a File)| {
            (old.recipe.is_some() && old.size > SMALL_BYTES && Some(at) != before).then_some(at)
        };
        (0..)
            .zip(&self.old.files)
            .filter_map(large)
            .filter_map(|at| self.old_content(at, Form::Opened))
    }

    /// The old file that this one comes from: the same content, the same path, the same database, or the one before it
    /// in a row of numbered names.
    fn before(&self, file: &File) -> Option<u32> {
        let path = file.path.as_str();
        if let Some(at) = index_of(self.old, path) {
            return Some(at);
        }
        let place = |path: &str| (path.len(), path.to_owned());
        let row = self.alike.get(&shape(path));
        let names = row.into_iter().flatten().filter_map(|at| {
            let old = self.old.files.get(*at as usize)?;
            Some((place(old.path.as_str()), *at))
        });
        let own = place(path);
        let nearest = names
            .clone()
            .filter(|(name, _)| *name < own)
            .max()
            .or_else(|| names.min());
        if let Some((_, at)) = nearest {
            return Some(at);
        }
        let name = &file.database.as_ref()?.name;
        (0..).zip(&self.old.files).find_map(|(at, old)| {
            let same = old.database.as_ref()?.name == *name;
            (same && old.path.parent() == file.path.parent()).then_some(at)
        })
    }

    fn old_content(&self, at: u32, form: Form) -> Option<(ContentRef, Content)> {
        let file = self.old.files.get(at as usize)?;
        let content = Content::of(self.store, file, form)?;
        let side = Side::Old;
        Some((
            ContentRef {
                side,
                file: at,
                form,
            },
            content,
        ))
    }

    /// Adds the scripts that lead from the old version of a database to the new one, the newest first: they hold its new
    /// lines.
    fn add_scripts(
        &self,
        file: &File,
        before: Option<u32>,
        bases: &mut Vec<(ContentRef, Content)>,
    ) {
        let DatabaseFile::Container { name, .. } = DatabaseFile::of(file.path.as_str()) else {
            return;
        };
        let version = |file: &File| file.database.as_ref().map(|database| database.version);
        let old = before.and_then(|at| self.old.files.get(at as usize));
        let (from, to) = (old.and_then(version).unwrap_or(0), version(file));
        let mut scripts: Vec<(u64, u32)> = (0..)
            .zip(&self.new.files)
            .filter_map(
                |(at, script)| match DatabaseFile::of(script.path.as_str()) {
                    DatabaseFile::Cdiff {
                        name: of,
                        version: leads_to,
                    } if of == name && script.path.parent() == file.path.parent() => {
                        let leads_to = u64::from(leads_to.0);
                        let between = leads_to > from && to.is_none_or(|to| leads_to <= to);
                        between.then_some((leads_to, at))
                    }
                    _ => None,
                },
            )
            .collect();
        scripts.sort_unstable();
        for (_, at) in scripts.into_iter().rev() {
            if bases.len() >= limits::BUNDLE_BASES {
                return;
            }
            // Empty scripts tell clients to take the whole database.
            let holds = |(_, content): &(_, Content)| content.list.total_bytes() > 0;
            bases.extend(self.new_content(at).filter(holds));
        }
    }

    /// A file of the new release in the form in which the receiver has it: from its section, or because the old release
    /// has the same.
    fn new_content(&self, at: u32) -> Option<(ContentRef, Content)> {
        let file = self.new.files.get(at as usize)?;
        for form in [Form::Opened, Form::Stored] {
            let side = Side::New;
            let content = ContentRef {
                side,
                file: at,
                form,
            };
            if self.complete.contains(&content) {
                return Some((content, Content::of(self.store, file, form)?));
            }
        }
        let old = index_of(self.old, file.path.as_str())?;
        let same = self.old.files.get(old as usize)?.same_as(file);
        same.then(|| self.old_content(old, Form::Opened)).flatten()
    }
}

fn index_of(manifest: &ManifestBody, path: &str) -> Option<u32> {
    let found = manifest
        .files
        .binary_search_by(|file| file.path.as_str().cmp(path));
    u32::try_from(found.ok()?).ok()
}

/// A path with each number in it replaced: what names of one row have in common.
fn shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    for char in path.chars() {
        match char {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            other => shape.push(other),
        }
    }
    shape
}
