//! ClamAV databases in a tree, all of them together. SPEC §7.9.

use std::collections::BTreeMap;

use tidecast_proto::{
    database::{DatabaseFile, DatabaseVersion, SignedFile},
    manifest::{File, ManifestBody, ManifestError},
    name::ReleasePath,
};

use super::PublishError;

/// Most warnings about `.sign` files; a feed has a handful of databases.
const WARNINGS_LISTED: usize = 50;

/// Refuses two containers of one name in one folder (`daily.cvd` beside `daily.cld`).
pub(super) fn check_names_unique(files: &[File]) -> Result<(), PublishError> {
    let mut seen = BTreeMap::new();
    for file in files {
        let Some(key) = place(file) else { continue };
        if let Some(first) = seen.insert(key, &file.path) {
            return Err(PublishError::DatabaseTwice {
                first: first.clone(),
                second: file.path.clone(),
            });
        }
    }
    Ok(())
}

/// Refuses an older version of a database, also when it comes as another kind of container.
pub(super) fn check_none_goes_back(
    body: &ManifestBody,
    previous: &ManifestBody,
) -> Result<(), PublishError> {
    if body.flags.allow_database_rollback {
        return Ok(());
    }
    match going_back(body, previous).first() {
        None => Ok(()),
        Some((file, had, got)) => Err(PublishError::Successor(ManifestError::DatabaseRollback {
            path: file.path.clone(),
            had: *had,
            got: *got,
        })),
    }
}

/// Warns of each database that goes back by permission.
pub(super) fn rollbacks(body: &ManifestBody, previous: Option<&ManifestBody>) -> Vec<String> {
    let back = previous.map(|previous| going_back(body, previous));
    back.unwrap_or_default()
        .into_iter()
        .map(|(file, had, got)| {
            format!(
                "{} goes back from version {had} to {got}: clients that have the newer one may keep it",
                file.path
            )
        })
        .collect()
}

/// The databases that are older than before, with their versions then and now.
fn going_back<'a>(body: &'a ManifestBody, previous: &ManifestBody) -> Vec<(&'a File, u64, u64)> {
    let before: BTreeMap<_, _> = previous
        .files
        .iter()
        .filter_map(|file| Some((place(file)?, file.database.as_ref()?.version)))
        .collect();
    body.files
        .iter()
        .filter_map(|file| {
            let (had, got) = (*before.get(&place(file)?)?, file.database.as_ref()?.version);
            (got < had).then_some((file, had, got))
        })
        .collect()
}

/// Folder and name of a database container.
fn place(file: &File) -> Option<(Option<&str>, &str)> {
    match DatabaseFile::of(file.path.as_str()) {
        DatabaseFile::Container { name, .. } => Some((file.path.parent(), name)),
        _ => None,
    }
}

/// Warns of each `.sign` that has lost the bytes it signs: ClamAV 1.5 refuses a file whose `.sign` does not fit,
/// with no way back to the older signatures (`libclamav_rust/src/codesign.rs`).
pub(super) fn unpaired_signatures(files: &[File], previous: Option<&ManifestBody>) -> Vec<String> {
    let mut warnings = Vec::new();
    for sign in files {
        let Some(signed) = SignedFile::of_sign(sign.path.as_str()) else {
            continue;
        };
        let name = signed.file_name();
        let path = match sign.path.parent() {
            Some(folder) => format!("{folder}/{name}"),
            None => name.clone(),
        };
        let found = files
            .binary_search_by(|file| file.path.as_str().cmp(&path))
            .map(|at| &files[at]);
        let Ok(file) = found else {
            warnings.push(format!("{}: there is no {path} it could sign", sign.path));
            continue;
        };
        let version = file
            .database
            .as_ref()
            .and_then(|database| u32::try_from(database.version).ok());
        let before = |path: &ReleasePath| previous.and_then(|old| old.file(path.as_str()));
        if !signed.is_for(&name, version.map(DatabaseVersion)) {
            let has = version.map_or("no version".to_owned(), |v| format!("version {v}"));
            warnings.push(format!("{}: {path} has {has} now", sign.path));
        } else if let (Some(old_sign), Some(old_file)) = (before(&sign.path), before(&file.path))
            && old_sign.hash == sign.hash
            && old_file.hash != file.hash
        {
            warnings.push(format!("{}: {path} changed and this did not", sign.path));
        }
    }
    let more = warnings.len().saturating_sub(WARNINGS_LISTED);
    warnings.truncate(WARNINGS_LISTED);
    if more > 0 {
        warnings.push(format!("and {more} more .sign files without their bytes"));
    }
    warnings
}
