//! A file of the tree: one pass over it, hashed, checked, cut and stored as it streams by; then it is opened.

use std::fs::File;
use std::io::Read;

use rustix::fs::{FileType, fstat};
use tidecast_proto::{
    chunker::Chunker,
    database::VerifyPolicy,
    deflate::Parameters,
    id::{FileHash, ListId, RecipeId, Timestamp},
    list::List,
    recipe::{Recipe, RecipeBody, Segment},
};

use super::cutter::Cutter;
use super::opening::{self, Layout, Limits};
use super::stamp::Stamp;
use super::stat_cache::Entry;
use super::tree::{Found, Tree};
use super::{Progress, PublishError};
use crate::durable::FileError;
use crate::genuine::{Check, in_manifest};
use crate::store::StoreWriter;
use crate::store::explain::{Closed, ClosedReason, Opening};

#[derive(Debug)]
pub(super) struct Ingest<'a> {
    writer: &'a mut StoreWriter,
    cutter: Cutter,
    verify: VerifyPolicy,
    read_bytes: u64,
}

/// What the one pass learns of a file.
struct Content {
    hash: FileHash,
    list: Option<ListId>,
    database: Option<tidecast_proto::database::Database>,
}

impl<'a> Ingest<'a> {
    pub(super) fn new(writer: &'a mut StoreWriter, chunker: Chunker, verify: VerifyPolicy) -> Self {
        Self {
            writer,
            cutter: Cutter::new(chunker),
            verify,
            read_bytes: 0,
        }
    }

    /// Bytes of file content read so far; what opening reads again is not counted.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Whether the store holds all the file is made of, so that what the cache says can be published.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let size = entry.stamp.size;
        let list = match entry.list {
            None => List::of_small_file(entry.hash, size),
            Some(id) => self.stored_list(&id, size),
        };
        let opened = match entry.recipe {
            None => Some(None),
            Some(id) => self.stored_recipe(&id).and_then(|recipe| {
                let same_file = recipe.file_bytes() == size;
                let list = self.stored_list(&recipe.opened(), recipe.opened_bytes())?;
                same_file.then_some(Some(list))
            }),
        };
        let (Some(list), Some(opened)) = (list, opened) else {
            return false;
        };
        let mut entries = opened.iter().chain([&list]).flat_map(List::entries);
        entries.all(|entry| self.writer.contains_chunk(&entry.id))
    }

    fn stored_list(&self, id: &ListId, size: u64) -> Option<List> {
        let bytes = self.writer.store().list(id)?.open().ok()?;
        List::decode(&bytes, *id, size).ok()
    }

    fn stored_recipe(&self, id: &RecipeId) -> Option<Recipe> {
        let bytes = self.writer.store().recipe(id)?.open().ok()?;
        Recipe::decode_any(&bytes, *id).ok()
    }

    /// How the first stream of a recipe was made.
    fn parameters(&self, id: &RecipeId) -> Option<Parameters> {
        let recipe = self.stored_recipe(id)?;
        recipe.segments().iter().find_map(|segment| match segment {
            Segment::Deflate(deflate) => deflate.parameters().ok(),
            _ => None,
        })
    }

    /// Reads a file whole and stores what is new of it. `before` is the recipe that the path had in the release
    /// before: most producers do not change.
    pub(super) fn read(
        &mut self,
        tree: &Tree,
        found: &Found,
        looked_at: Timestamp,
        before: Option<&RecipeId>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Entry, PublishError> {
        let changed = || PublishError::Changed {
            path: found.path.clone(),
        };
        let mut file = match tree.open_file(&found.path) {
            Ok(file) => file,
            // Gone, or something else took its place, since the walk saw it.
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                return Err(changed());
            }
            Err(error) => return Err(error.into()),
        };
        let is_as_found = |file: &File| -> Result<bool, PublishError> {
            let stat = fstat(file).map_err(FileError::at("look at", &tree.path_of(&found.path)))?;
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            Ok(regular && Stamp::of(&stat) == found.stamp)
        };
        if !is_as_found(&file)? {
            return Err(changed());
        }
        let content = self.content(tree, &mut file, found, progress);
        let opening = match &content {
            Ok(_) => {
                progress(Progress::Opening {
                    path: &found.path,
                    size: found.stamp.size,
                });
                self.open(tree, &file, found, before)
            }
            Err(_) => Ok((None, Opening::default())),
        };
        // A half-written database is first of all half-written, so this comes before what was wrong with it.
        if !is_as_found(&file)? {
            return Err(changed());
        }
        let content = content?;
        let (recipe, opening) = opening?;
        Ok(Entry {
            stamp: found.stamp,
            looked_at,
            hash: content.hash,
            list: content.list,
            recipe,
            opening,
            database: in_manifest(&found.path, content.database, found.stamp.mtime_s()),
        })
    }

    fn content(
        &mut self,
        tree: &Tree,
        file: &mut File,
        found: &Found,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Content, PublishError> {
        let at_fault = |source| PublishError::Database {
            path: found.path.clone(),
            source,
        };
        let changed = || PublishError::Changed {
            path: found.path.clone(),
        };
        self.cutter.restart();
        let mut check = Check::new(self.verify, &found.path);
        let mut hasher = blake3::Hasher::new();
        let mut read_bytes = 0_u64;
        loop {
            let room = self.cutter.room();
            let got = file
                .read(room)
                .map_err(FileError::at("read", &tree.path_of(&found.path)))?;
            if got == 0 {
                break;
            }
            let fresh = &room[..got];
            hasher.update(fresh);
            check.push(fresh).map_err(at_fault)?;
            self.cutter.filled(got, self.writer)?;
            read_bytes += got as u64;
            self.read_bytes += got as u64;
            if read_bytes > found.stamp.size {
                return Err(changed());
            }
            // Said now, not after reading the rest.
            if self.cutter.is_too_long() {
                break;
            }
            progress(Progress::Reading {
                path: &found.path,
                read_bytes,
            });
        }
        if read_bytes != found.stamp.size && !self.cutter.is_too_long() {
            return Err(changed());
        }
        let list = self
            .cutter
            .finish(self.writer)?
            .map_err(|source| PublishError::TooLong {
                path: found.path.clone(),
                size: found.stamp.size,
                source,
            })?;
        let database = check.finish().map_err(at_fault)?.container();
        let list = match list.entries().len() {
            0 | 1 => None,
            _ => Some(self.writer.put_list(&list)?.0),
        };
        Ok(Content {
            hash: FileHash(*hasher.finalize().as_bytes()),
            list,
            database,
        })
    }

    /// Opens a file that was read and stores its opened content and recipe, if it rebuilds.
    fn open(
        &mut self,
        tree: &Tree,
        file: &File,
        found: &Found,
        before: Option<&RecipeId>,
    ) -> Result<(Option<RecipeId>, Opening), PublishError> {
        let path = tree.path_of(&found.path);
        let reading =
            |error| PublishError::File(FileError::at("open the streams of", &path)(error));
        let guess = before.and_then(|id| self.parameters(id));
        let looked =
            opening::look(file, found.stamp.size, guess, Limits::USUAL).map_err(reading)?;
        let mut opening = Opening {
            opened: None,
            closed: looked.closed,
        };
        let Some((first, _)) = looked.streams.first() else {
            return Ok((None, opening));
        };
        let stream_at = first.at;
        let layout = Layout::new(file, found.stamp.size, looked.streams).map_err(reading)?;
        self.cutter.restart();
        layout
            .content(file, |piece| {
                self.cutter
                    .push(piece, self.writer)
                    .map_err(ContentError::Store)
            })
            .map_err(|error| match error {
                ContentError::Read(error) => reading(error),
                ContentError::Store(error) => error.into(),
            })?;
        let made = self.cutter.finish(self.writer)?.and_then(|list| {
            let recipe = Recipe::new(RecipeBody {
                opened: list.id(),
                segments: layout.segments().to_vec(),
            })?;
            Ok((list, recipe))
        });
        let (list, recipe) = match made {
            Ok(made) => made,
            // A feed with chunks so small that a list does not hold them all.
            Err(over) => {
                let why = over.to_string();
                let reason = ClosedReason::Limit { why };
                opening.closed = vec![Closed { stream_at, reason }];
                return Ok((None, opening));
            }
        };
        self.writer.put_list(&list)?;
        let (id, _) = self.writer.put_recipe(&recipe)?;
        opening.opened = Some(layout.opened(recipe.opened_bytes()));
        Ok((Some(id), opening))
    }
}

/// What may fail while opened content is stored.
enum ContentError {
    Read(std::io::Error),
    Store(crate::store::StoreError),
}

impl From<std::io::Error> for ContentError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}
