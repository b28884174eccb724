//! Looking after a docroot between releases: names, links and sizes. SPEC §8.11.

use tidecast_proto::name::ReleasePath;

use super::build::mode_of;
use super::error::DocrootError;
use super::files::{self, FolderCache, Kind};
use super::layout::{self, TIMESTAMP};
use super::links::{self, Settled, Standing};
use super::{Docroot, adopt, rot, switch};

/// What was not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MendReport {
    /// Names whose links were missing or led elsewhere.
    pub restored: Vec<String>,
    /// Links of ours under names that are not of the release.
    pub removed: usize,
    /// Foreign files, and where they are now.
    pub moved_away: Vec<String>,
    /// Files whose times or inode had changed and whose content is right all the same.
    pub touched: usize,
    /// Files of the live tree that are missing or hold something else: build them again with
    /// [`Docroot::begin_repair`].
    pub damaged: Vec<ReleasePath>,
    /// What an operator should look at, as sentences.
    pub warnings: Vec<String>,
}

impl MendReport {
    /// Whether everything was as it should be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl Docroot {
    /// Checks every name and link of the docroot and the identity and times of every file in the live tree, and
    /// corrects what can be without fetching anything.
    ///
    /// # Errors
    /// [`DocrootError`]: the docroot was replaced, or the disk fails.
    pub fn mend(&mut self) -> Result<MendReport, DocrootError> {
        self.check_still_ours()?;
        let mut report = MendReport::default();
        let Some(live) = self.live.clone() else {
            return Ok(report);
        };
        let folders = self.folders.clone();
        let tree = layout::tree_name(live.release());
        let current = files::link_target(&folders.state, layout::CURRENT)
            .map_err(folders.fault("read", layout::CURRENT))?;
        if current.as_deref() != Some(&tree) {
            adopt::set_current(&folders, &tree)?;
            report.restored.push(layout::CURRENT.to_owned());
        }
        self.mend_names(&layout::top_names(live.manifest()), &mut report)?;

        let mut cache = FolderCache::reading(live.folder());
        let mut records = live.records().to_vec();
        let mut buffer = Vec::new();
        let mut changed = false;
        for (file, record) in live.manifest().files.iter().zip(&mut records) {
            let path = file.path.as_str();
            let fault = |action| folders.fault(action, path);
            let Some(found) = cache.look(path).map_err(fault("look at"))? else {
                report.damaged.push(file.path.clone());
                continue;
            };
            if found.record == *record && found.mode & 0o777 == mode_of(file) {
                continue;
            }
            let right = found.kind == Kind::File
                && found.mode & 0o777 == mode_of(file)
                && found.record.size == file.size
                && {
                    let opened = cache.open(path).map_err(fault("open"))?;
                    let hash = rot::hash_of(&opened, &mut buffer).map_err(fault("read"))?;
                    hash == Some(file.hash)
                };
            if !right {
                report.damaged.push(file.path.clone());
                continue;
            }
            let (folder, name) = cache.place(path).map_err(fault("open"))?;
            if (found.record.mtime_s, found.record.mtime_ns) != (record.mtime_s, record.mtime_ns) {
                files::set_mtime(&folder, name, record.mtime_s, record.mtime_ns)
                    .map_err(fault("set the time of"))?;
            }
            if let Some(now) = files::look(&folder, name).map_err(fault("look at"))? {
                *record = now.record;
            }
            report.touched += 1;
            changed = true;
        }
        if changed {
            live.replace_records(records);
            switch::record_live(&folders, &live)?;
        }
        Ok(report)
    }

    fn mend_names(&self, names: &[&str], report: &mut MendReport) -> Result<(), DocrootError> {
        let folders = &self.folders;
        report
            .moved_away
            .extend(links::clear_swap(folders, self.now())?);
        let standing = links::standing(folders)?;
        for name in names {
            let had = standing.get(std::ffi::OsStr::new(name));
            let target = layout::settled_target(name);
            if matches!(had, Some(Standing::Ours(has)) if *has == target) {
                continue;
            }
            match links::put(folders, self.now(), name, &target)? {
                Settled::AsItWas => {}
                Settled::Added | Settled::Pointed => report.restored.push((*name).to_owned()),
                Settled::Replaced(to) => {
                    report.restored.push((*name).to_owned());
                    report.warnings.push(links::was_yours(name, &to));
                    report.moved_away.push(to);
                }
            }
        }
        for (name, standing) in &standing {
            if name
                .to_str()
                .is_some_and(|name| names.binary_search(&name).is_ok())
            {
                continue;
            }
            match standing {
                Standing::Ours(_) => match links::remove(folders, self.now(), name)? {
                    Some(to) => report.moved_away.push(to),
                    None => report.removed += 1,
                },
                Standing::Foreign => match links::move_away(folders, self.now(), name) {
                    Ok(to) => report.moved_away.extend(to),
                    Err(error) => report.warnings.push(format!("{error}; it stays")),
                },
            }
        }
        let written = files::look(&folders.state, TIMESTAMP)
            .map_err(folders.fault("look at", TIMESTAMP))?
            .is_some();
        if written && let Some(to) = self.link_timestamp()? {
            report.warnings.push(links::was_yours(TIMESTAMP, &to));
            report.moved_away.push(to);
        }
        folders.sync_docroot()
    }

    /// Makes the reserved name lead to our file. Returns where an operator's file of that name is now.
    pub(super) fn link_timestamp(&self) -> Result<Option<String>, DocrootError> {
        let folders = &self.folders;
        let target = format!("{}/{TIMESTAMP}", layout::STATE);
        Ok(match links::put(folders, self.now(), TIMESTAMP, &target)? {
            Settled::Replaced(to) => Some(to),
            _ => None,
        })
    }
}
