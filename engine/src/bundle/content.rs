//! Contents as the store holds them: lists, recipes, and the bytes of chunks.

use std::sync::Arc;

use tidecast_proto::bundle::Form;
use tidecast_proto::id::{ChunkId, ListId};
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::File;

use super::BundleBuildError;
use crate::store::Store;

/// A byte sequence that has a list.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) list: Arc<List>,
    /// The recipe it goes by, encoded, when it is opened content.
    pub(super) recipe: Option<Vec<u8>>,
}

impl Content {
    /// What the store knows of a form of `file`; `None` when the file has no such form, or the store no longer holds
    /// its recipe or list.
    pub(super) fn of(store: &Store, file: &File, form: Form) -> Option<Self> {
        let (list, recipe) = match form {
            Form::Stored => (store.list_of(file).ok()?, None),
            Form::Opened => {
                let opened = store.opened_of(file, file.recipe?).ok()?;
                (opened.list, Some(opened.recipe))
            }
        };
        Some(Self {
            list: Arc::new(list),
            recipe,
        })
    }
}

/// A list, whatever content it is of.
pub(super) fn stored_list(store: &Store, id: &ListId) -> Option<List> {
    List::decode_any(&store.list(id)?.open().ok()?, *id).ok()
}

/// Appends the bytes of chunks.
///
/// # Errors
/// [`BundleBuildError::Gone`] when one is not in the store, or damaged there.
pub(super) fn read(
    store: &Store,
    entries: &[Entry],
    out: &mut Vec<u8>,
) -> Result<(), BundleBuildError> {
    for entry in entries {
        let gone = || BundleBuildError::Gone {
            what: format!("chunk {}", entry.id),
        };
        let bytes = store.chunk(&entry.id).ok_or_else(gone)?.open();
        let bytes = bytes.ok().filter(|bytes| bytes.len() == entry.len as usize);
        out.extend_from_slice(&bytes.ok_or_else(gone)?);
    }
    Ok(())
}

/// Bytes that a mirror would fetch to have these chunks one by one; `None` when the store lacks one.
pub(super) fn packed_bytes<'a>(
    store: &Store,
    ids: impl Iterator<Item = &'a ChunkId>,
) -> Option<u64> {
    let mut bytes = 0_u64;
    for id in ids {
        bytes = bytes.saturating_add(store.chunk(id)?.bytes.len() as u64);
    }
    Some(bytes)
}
