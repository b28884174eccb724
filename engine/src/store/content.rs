//! What a file is made of, as far as the store knows.

use tidecast_proto::{
    id::{ListId, ObjectId, RecipeId},
    list::List,
    manifest::File,
    recipe::Recipe,
};

use super::record::Kind;
use super::snapshot::Snapshot;
use super::{Store, StoreError};

/// The chunks of a file as it is served.
///
/// # Errors
/// [`StoreError::Missing`] or [`StoreError::WrongContent`].
pub(super) fn stored_list(snapshot: &Snapshot, file: &File) -> Result<List, StoreError> {
    match file.list {
        Some(id) => list(snapshot, id, file.size),
        // A manifest with a longer file and no list is refused when it is read.
        None => List::of_small_file(file.hash, file.size).ok_or(StoreError::Missing {
            kind: Kind::List.name(),
            id: ObjectId(file.hash.0),
        }),
    }
}

/// What a recipe works on.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The recipe, encoded.
    pub(crate) recipe: Vec<u8>,
    pub(crate) list_id: ListId,
    pub(crate) list: List,
}

/// What `recipe`, which must be of `file`, works on.
///
/// # Errors
/// As [`stored_list`].
pub(super) fn opened_list(
    snapshot: &Snapshot,
    file: &File,
    recipe: RecipeId,
) -> Result<Opened, StoreError> {
    let bytes = opened(snapshot, Kind::Recipe, recipe.0)?;
    let decoded = Recipe::decode(&bytes, recipe, file.size)
        .map_err(|_| wrong_content(Kind::Recipe, recipe.0))?;
    let list_id = decoded.opened();
    let list = list(snapshot, list_id, decoded.opened_bytes())?;
    Ok(Opened {
        recipe: bytes,
        list_id,
        list,
    })
}

impl Store {
    /// The chunks of a file as it is served.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::WrongContent`].
    pub(crate) fn list_of(&self, file: &File) -> Result<List, StoreError> {
        stored_list(&self.shared.current.load(), file)
    }

    /// Whether all that `file` is made of is there, as it is served and as it opens: what the newest release must have.
    pub(crate) fn holds(&self, file: &File) -> bool {
        let snapshot = self.shared.current.load();
        let all = |list: &List| {
            let mut chunks = list.entries().iter();
            chunks.all(|entry| snapshot.places(Kind::Chunk, &entry.id.0).next().is_some())
        };
        let opened = || match file.recipe {
            None => true,
            Some(recipe) => {
                opened_list(&snapshot, file, recipe).is_ok_and(|opened| all(&opened.list))
            }
        };
        stored_list(&snapshot, file).is_ok_and(|list| all(&list)) && opened()
    }

    /// What `recipe`, which must be of `file`, works on.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::WrongContent`].
    pub(crate) fn opened_of(&self, file: &File, recipe: RecipeId) -> Result<Opened, StoreError> {
        opened_list(&self.shared.current.load(), file, recipe)
    }
}

fn list(snapshot: &Snapshot, id: ListId, size: u64) -> Result<List, StoreError> {
    let bytes = opened(snapshot, Kind::List, id.0)?;
    List::decode(&bytes, id, size).map_err(|_| wrong_content(Kind::List, id.0))
}

fn opened(snapshot: &Snapshot, kind: Kind, id: [u8; 32]) -> Result<Vec<u8>, StoreError> {
    let stored = snapshot.find(kind, &id).ok_or(StoreError::Missing {
        kind: kind.name(),
        id: ObjectId(id),
    })?;
    stored.open().map_err(|_| wrong_content(kind, id))
}

fn wrong_content(kind: Kind, id: [u8; 32]) -> StoreError {
    StoreError::WrongContent {
        kind: kind.name(),
        id: ObjectId(id),
    }
}
