//! How each file of a release came, for the report. SPEC §10.3.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidecast_proto::manifest::{File, Manifest};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::road::{Base, BundleState, Choice, Road, RoadFacts, RoadReason, Tried};

use super::super::status::{FILES_TOLD, FileRoad, RoadTotal, SyncReport};
use super::bundle::Section;
use super::section::Made;
use super::take::ByBundle;

/// One file on its way.
#[derive(Debug)]
pub(crate) struct Journey {
    /// Its number in the manifest.
    pub(crate) at: u32,
    manifest: Arc<Manifest>,
    /// The live release, and the file's number there.
    old: Option<(Arc<Manifest>, usize)>,
    /// What its road depends on.
    pub(crate) facts: RoadFacts,
    /// Whether it is there.
    pub(crate) arrived: bool,
    /// The road it came along, and why; an earlier attempt may have brought it.
    came: Option<Choice>,
    received_bytes: u64,
    warnings: Vec<String>,
}

impl Journey {
    fn begin(
        manifest: &Arc<Manifest>,
        at: u32,
        old: Option<(Arc<Manifest>, usize)>,
        base: Base,
        bundle: BundleState,
    ) -> Self {
        let file = &manifest.files[at as usize];
        Self {
            at,
            manifest: manifest.clone(),
            old,
            facts: RoadFacts {
                base,
                opens: file.recipe.is_some(),
                bundle,
                runs: Tried::NotYet,
                differs: false,
                // Until it is known, it is worth finding out.
                missing_opened_bytes: Some(0),
                whole_bytes: file.size,
            },
            arrived: false,
            came: None,
            received_bytes: 0,
            warnings: Vec::new(),
        }
    }

    /// Takes in what its section of the bundle came to.
    fn passed(&mut self, section: Section) {
        match (section.made, section.damaged) {
            (Made::Damaged(_, what), Some(base)) => {
                self.facts.base = Base::Damaged;
                self.received_bytes += section.bytes;
                let path = self.file().path.clone();
                self.warnings.push(format!(
                    "{base} is damaged on this disk ({what}); {path} is fetched whole"
                ));
            }
            (made, _) => self.came(made, section.bytes, Road::Bundle),
        }
    }

    /// What it is to be.
    pub(crate) fn file(&self) -> &File {
        &self.manifest.files[self.at as usize]
    }

    /// What the live release has under its path.
    pub(crate) fn old(&self) -> Option<&File> {
        let (live, at) = self.old.as_ref()?;
        live.files.get(*at)
    }

    /// The road to take now.
    pub(crate) fn choose(&self) -> Choice {
        self.facts.choose()
    }

    /// Tells the operator.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Tells the operator that what describes its opened content is of no use.
    pub(crate) fn unreadable(&mut self, error: &dyn std::error::Error) {
        let path = self.file().path.clone();
        tracing::warn!(%path, %error, "what describes its opened content cannot be used");
        self.warn(format!("{path}: {error}; it is fetched whole"));
    }

    /// Takes in what a rebuild along `road` came to.
    pub(crate) fn came(&mut self, made: Made, received_bytes: u64, road: Road) {
        let reason = self.choose().reason;
        self.received_bytes += received_bytes;
        match made {
            Made::Whole => {
                self.arrived = true;
                self.came = Some(Choice::new(road, reason));
            }
            Made::Damaged(_, what) => {
                self.facts.base = Base::Damaged;
                let path = self.file().path.clone();
                self.warnings.push(format!(
                    "{path}: the old file is damaged on this disk ({what}); the new one is fetched whole"
                ));
            }
            Made::Differs => self.differs(),
            Made::NoRoom => {
                self.facts.opens = false;
                let path = self.file().path.clone();
                self.warnings.push(format!(
                    "{path}: the disk has no room to rebuild it; it is fetched whole"
                ));
            }
            Made::Lacking => {}
        }
    }

    fn differs(&mut self) {
        self.facts.differs = true;
        let path = self.file().path.clone();
        self.warnings.push(format!(
            "{path}: rebuilt, it is not the file that was published; it is fetched whole"
        ));
    }

    fn final_choice(&self) -> Choice {
        self.came.unwrap_or_else(|| {
            if self.arrived {
                return Choice::new(Road::Unchanged, RoadReason::Same);
            }
            let choice = self.choose();
            // What no other road brought came whole.
            match choice.road {
                Road::Whole => choice,
                _ => Choice::new(Road::Whole, choice.reason),
            }
        })
    }
}

/// The files of one release that are not simply linked.
#[derive(Debug)]
pub(crate) struct Journeys {
    /// Files to build; none on a fresh mirror, where all go one way.
    files: Vec<Journey>,
    /// A release for a mirror that has none.
    fresh: Option<Arc<Manifest>>,
    /// Files that were linked, and their bytes.
    unchanged: (u64, u64),
    /// Bytes of each file that came as chunks of the file as it is.
    whole: HashMap<u32, u64>,
    bundle_bytes: u64,
    warnings: Vec<String>,
}

impl Journeys {
    /// What is known when the bundle has been applied, or there is none.
    pub(crate) fn new(
        manifest: &Arc<Manifest>,
        live: Option<&Arc<Manifest>>,
        by_bundle: ByBundle,
    ) -> Self {
        let mut journeys = Self {
            files: Vec::new(),
            fresh: live.is_none().then(|| manifest.clone()),
            unchanged: (0, 0),
            whole: HashMap::new(),
            bundle_bytes: by_bundle.bytes,
            warnings: Vec::new(),
        };
        let Some(live) = live else {
            return journeys;
        };
        let ByBundle {
            found,
            too_dear,
            given_up,
            applied,
            damaged,
            ..
        } = by_bundle;
        if let Some(fault) = &applied.fault {
            journeys.warnings.push(format!(
                "the bundle was refused: {fault}; what was verified is kept, the rest is fetched another way"
            ));
        }
        let damaged: HashSet<&str> = damaged
            .iter()
            .chain(&applied.damaged)
            .map(ReleasePath::as_str)
            .collect();
        let mut sections = applied.sections;
        for (at, file) in manifest.files.iter().enumerate() {
            let old = live
                .files
                .binary_search_by(|old| old.path.cmp(&file.path))
                .ok();
            let same = old.is_some_and(|old| file.same_as(&live.files[old]));
            if same && !damaged.contains(file.path.as_str()) {
                journeys.unchanged.0 += 1;
                journeys.unchanged.1 += file.size;
                continue;
            }
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let section = sections.remove(&at);
            let bundle = match (&section, &applied.fault) {
                _ if !found => BundleState::Absent,
                _ if too_dear => BundleState::TooDear,
                _ if given_up => BundleState::Failed,
                (Some(section), _) if section.made == Made::Whole => {
                    BundleState::Good { holds_file: true }
                }
                (Some(_), _) | (None, Some(_)) => BundleState::Failed,
                (None, None) => BundleState::Good { holds_file: false },
            };
            let base = match old {
                Some(_) if same => Base::Damaged,
                Some(_) => Base::NotOpened,
                None => Base::None,
            };
            let old = old.map(|at| (live.clone(), at));
            let mut journey = Journey::begin(manifest, at, old, base, bundle);
            if let Some(section) = section {
                journey.passed(section);
            }
            journeys.files.push(journey);
        }
        journeys
    }

    /// Files of the live release that are built again.
    pub(crate) fn of_repair(live: &Arc<Manifest>, damaged: &[ReleasePath]) -> Self {
        let number = |path| live.files.binary_search_by(|file| file.path.cmp(path)).ok();
        let files = damaged.iter().filter_map(number).map(|at| {
            let old = Some((live.clone(), at));
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            Journey::begin(live, at, old, Base::Damaged, BundleState::Absent)
        });
        Self {
            files: files.collect(),
            fresh: None,
            unchanged: (0, 0),
            whole: HashMap::new(),
            bundle_bytes: 0,
            warnings: Vec::new(),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Journey> {
        self.files.iter()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Journey> {
        self.files.iter_mut()
    }

    /// Those that are not there yet.
    pub(crate) fn lacking(&mut self) -> impl Iterator<Item = &mut Journey> {
        self.files.iter_mut().filter(|journey| !journey.arrived)
    }

    /// What is still lacking comes as chunks of the files as they are, with so many bytes each.
    pub(crate) fn whole(&mut self, by_file: HashMap<u32, u64>) {
        self.whole = by_file;
    }

    /// Puts everything into the report, and each file that was built into the log.
    pub(crate) fn tell(self, report: &mut SyncReport) {
        let mut totals: BTreeMap<Road, RoadTotal> = BTreeMap::new();
        if self.unchanged.0 > 0 {
            let total = totals.entry(Road::Unchanged).or_default();
            (total.files, total.bytes) = self.unchanged;
        }
        report.bundle_bytes = self.bundle_bytes;
        report.warnings.extend(self.warnings);
        let whole = |at: u32| self.whole.get(&at).copied().unwrap_or(0);
        let mut tell = |file: &File, choice: Choice, received_bytes: u64| {
            let (road, reason) = (choice.road, choice.reason);
            let bytes = file.size;
            tracing::info!(path = %file.path, %road, %reason, bytes, received_bytes, "file");
            let total = totals.entry(road).or_default();
            total.files += 1;
            total.bytes += bytes;
            total.received_bytes += received_bytes;
            if report.files.len() < FILES_TOLD {
                report.files.push(FileRoad {
                    path: file.path.to_string(),
                    road: road.code().into(),
                    reason: reason.code().into(),
                    bytes,
                    received_bytes,
                });
            }
        };
        if let Some(manifest) = &self.fresh {
            for (at, file) in manifest.files.iter().enumerate() {
                let choice = Choice::new(Road::Whole, RoadReason::Fresh);
                tell(file, choice, whole(u32::try_from(at).unwrap_or(u32::MAX)));
            }
        }
        for journey in self.files {
            let received_bytes = journey.received_bytes + whole(journey.at);
            tell(journey.file(), journey.final_choice(), received_bytes);
            report.warnings.extend(journey.warnings);
        }
        report.roads = totals
            .into_iter()
            .map(|(road, total)| RoadTotal {
                road: road.code().into(),
                ..total
            })
            .collect();
    }
}
