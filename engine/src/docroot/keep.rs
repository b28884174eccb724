//! What is kept of the live release besides its files, so that the next one can build on them: recipes, and lists of
//! opened contents beside those of the files. SPEC §8.3.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use tidecast_proto::id::{ListId, RecipeId};
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::recipe::Recipe;

use super::Docroot;
use super::build::Build;
use super::error::DocrootError;
use super::files;
use super::layout::{Folders, RECIPES};
use super::reuse;

/// The recipe `id`, if it is stored whole.
pub(super) fn stored_recipe(
    folders: &Folders,
    id: &RecipeId,
) -> Result<Option<Recipe>, DocrootError> {
    let recipes = match files::open_folder(&folders.state, RECIPES) {
        Ok(recipes) => recipes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(folders.fault("open", RECIPES)(error)),
    };
    let bytes = match files::read_whole(recipes, &id.to_string(), limits::RECIPE_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
        other => other.map_err(folders.fault("read", &format!("{RECIPES}/{id}")))?,
    };
    Ok(bytes.and_then(|bytes| Recipe::decode_any(&bytes, *id).ok()))
}

/// Stores a recipe. It is hashed whenever it is read, so it is not synced.
fn store_recipe(folders: &Folders, id: &RecipeId, recipe: &Recipe) -> Result<(), DocrootError> {
    let recipes = folders.subfolder(RECIPES, 0o755)?;
    let bytes = recipe.encode();
    files::write_unsynced(recipes, &id.to_string(), &bytes, false)
        .map_err(folders.write_fault(&format!("{RECIPES}/{id}"), bytes.len()))
}

/// Removes recipes that are not in `keep`.
pub(super) fn prune_recipes(
    folders: &Folders,
    keep: &HashSet<RecipeId>,
) -> Result<(), DocrootError> {
    let fault = || folders.fault("clear", RECIPES);
    let recipes = match files::open_folder(&folders.state, RECIPES) {
        Ok(recipes) => recipes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault()(error)),
    };
    for name in files::names(&recipes).map_err(fault())? {
        let kept = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .is_some_and(|id: RecipeId| keep.contains(&id));
        if !kept {
            files::unlink(&recipes, name.as_os_str()).map_err(fault())?;
        }
    }
    Ok(())
}

impl Build {
    /// The recipe `id` of a file of `size` bytes, if it is on this disk.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk; a damaged recipe is simply not known.
    pub fn known_recipe(
        &self,
        id: &RecipeId,
        size: u64,
    ) -> Result<Option<Arc<Recipe>>, DocrootError> {
        let found = stored_recipe(&self.folders, id)?;
        Ok(found
            .filter(|recipe| recipe.file_bytes() == size)
            .map(Arc::new))
    }

    /// Keeps a recipe, which [`Recipe::decode`] has checked.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn add_recipe(&self, id: &RecipeId, recipe: &Recipe) -> Result<(), DocrootError> {
        store_recipe(&self.folders, id, recipe)
    }
}

/// What is missing of the live release for the next one to build on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Recipes, each with its file's size.
    pub recipes: Vec<(RecipeId, u64)>,
    /// Lists of opened contents whose recipes are here, each with its content's size.
    pub lists: Vec<(ListId, u64)>,
}

impl Docroot {
    /// What the next release would want to build on and is not on this disk. Lists become known with their recipes:
    /// ask again when those have been added.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn gaps(&self) -> Result<Gaps, DocrootError> {
        let mut gaps = Gaps::default();
        let Some(live) = &self.live else {
            return Ok(gaps);
        };
        let mut seen = HashSet::new();
        for file in &live.manifest().files {
            let Some(id) = file.recipe.filter(|id| seen.insert(*id)) else {
                continue;
            };
            let Some(recipe) = stored_recipe(&self.folders, &id)? else {
                gaps.recipes.push((id, file.size));
                continue;
            };
            let (list, bytes) = (recipe.opened(), recipe.opened_bytes());
            if reuse::stored_list(&self.folders, &list, bytes)?.is_none() {
                gaps.lists.push((list, bytes));
            }
        }
        Ok(gaps)
    }

    /// Keeps a recipe of the live release, which [`Recipe::decode`] has checked.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn add_recipe(&self, id: &RecipeId, recipe: &Recipe) -> Result<(), DocrootError> {
        store_recipe(&self.folders, id, recipe)
    }

    /// Keeps a list of the live release, which [`List::decode`] has checked.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn add_list(&self, id: &ListId, list: &List) -> Result<(), DocrootError> {
        reuse::store_list(&self.folders, id, list)
    }
}
