//! The roads: how each file of a new release comes to this mirror, and what it falls back to. SPEC §8.6.
//!
//! The choice is made by [`tidecast_proto::road`]; this carries it out. Whatever fails here, the build goes on with what
//! was verified, and [`Sync`] fetches what is still lacking chunk by chunk.

mod bundle;
mod fault;
mod journey;
mod parts;
mod section;
mod take;

pub use fault::BundleFault;
pub(super) use journey::{Journey, Journeys};
pub(crate) use parts::Parts;
pub(super) use parts::pipe;
pub(super) use section::{Delivered, Made, Wanted, make};
pub(super) use take::{ByBundle, Cut};

use std::future::Future;

use tidecast_proto::bundle::{Origin, Origins};
use tidecast_proto::id::ListId;
use tidecast_proto::list::{Entry, List, ListError};
use tidecast_proto::recipe::{Recipe, RecipeError};
use tidecast_proto::road::{Base, Road, Tried};
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::{FetchRuns, ObjectName};

use super::error::SyncError;
use super::sync::{Into, Sync};
use super::work::{Work, building};
use crate::docroot::{DocrootError, SPOOL_BYTES};
use crate::quic::{BundleAnswer, LinkError};

/// What the file before does not have of a content.
#[derive(Debug, Default)]
struct Missing {
    /// What is to be fetched.
    entries: Vec<Entry>,
    /// What an earlier attempt left in the spool.
    spooled_bytes: u64,
}

impl Missing {
    fn is_mostly_spooled(&self) -> bool {
        let lacking: u64 = self.entries.iter().map(|entry| u64::from(entry.len)).sum();
        self.spooled_bytes > lacking
    }
}

impl Sync {
    /// Sends each file that is still lacking along the cheapest road that leads there, until it is there or only whole chunks
    /// are left.
    ///
    /// # Errors
    /// [`SyncError`]: the link or the disk; what was verified is kept.
    pub(super) async fn travel(
        &self,
        trust: &Trust,
        journeys: &mut Journeys,
    ) -> Result<(), SyncError> {
        self.work.look_around(trust, journeys).await?;
        // Once it has made us wait in vain for the runs of one file, it is not asked for those of the next.
        let mut busy = false;
        for journey in journeys.lacking() {
            let mut wanted = None;
            loop {
                let choice = journey.choose();
                match choice.road {
                    Road::Runs | Road::Chunks if wanted.is_none() => {
                        wanted = self.wanted(journey).await?;
                        if wanted.is_none() {
                            journey.facts.opens = false;
                        }
                        continue;
                    }
                    Road::Runs if busy => journey.facts.runs = Tried::Closed,
                    Road::Runs => {
                        if let Some(wanted) = &wanted {
                            busy = self.by_runs(trust, journey, wanted).await?;
                        }
                    }
                    Road::Chunks => {
                        if let Some(wanted) = &wanted {
                            self.by_chunks(trust, journey, wanted).await?;
                        }
                    }
                    Road::Unchanged | Road::Bundle | Road::Whole => break,
                }
                if journey.arrived {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Recipe and list of a file's opened content: from this disk, or fetched. `None` when the upstream has none, or when they
    /// cannot be read although they are what was asked for: their maker's fault, which must not keep the release away.
    async fn wanted(&self, journey: &mut Journey) -> Result<Option<Wanted>, SyncError> {
        let Some(id) = journey.file().recipe else {
            return Ok(None);
        };
        let size = journey.file().size;
        let known = self
            .work
            .disk
            .run(move |disk| building(disk)?.known_recipe(&id, size))
            .await??;
        let recipe = match known {
            Some(recipe) => recipe,
            None => {
                let Some(bytes) = present(self.link.object(ObjectName::Recipe(id)).await)? else {
                    return Ok(None);
                };
                let recipe = match Recipe::decode(&bytes, id, size) {
                    Ok(recipe) => std::sync::Arc::new(recipe),
                    Err(error @ RecipeError::WrongId { .. }) => return Err(error.into()),
                    Err(error) => {
                        journey.unreadable(&error);
                        return Ok(None);
                    }
                };
                let kept = recipe.clone();
                self.work
                    .disk
                    .run(move |disk| building(disk)?.add_recipe(&id, &kept))
                    .await??;
                recipe
            }
        };
        let (id, bytes) = (recipe.opened(), recipe.opened_bytes());
        let known = self
            .work
            .disk
            .run(move |disk| building(disk)?.known_list(&id, bytes))
            .await??;
        let list = match known {
            Some(list) => list,
            None => {
                let Some(found) = present(self.link.object(ObjectName::List(id)).await)? else {
                    return Ok(None);
                };
                let list = match List::decode(&found, id, bytes) {
                    Ok(list) => list,
                    Err(error @ ListError::WrongId { .. }) => return Err(error.into()),
                    Err(error) => {
                        journey.unreadable(&error);
                        return Ok(None);
                    }
                };
                let kept = list.clone();
                self.work
                    .disk
                    .run(move |disk| building(disk)?.add_list(id, kept))
                    .await??;
                std::sync::Arc::new(list)
            }
        };
        Ok(Some(Wanted {
            at: journey.at,
            list,
            recipe: Some(recipe),
        }))
    }

    /// Asks for runs against the list of the file before, and rebuilds. Returns whether the upstream only asked for
    /// patience.
    async fn by_runs(
        &self,
        trust: &Trust,
        journey: &mut Journey,
        wanted: &Wanted,
    ) -> Result<bool, SyncError> {
        journey.facts.runs = Tried::Closed;
        let Some(base) = self.base_list(journey).await? else {
            journey.facts.base = Base::NotOpened;
            return Ok(false);
        };
        let fetch = FetchRuns {
            list: wanted.list.id(),
            bases: vec![base],
        };
        if fetch.bases.contains(&fetch.list) {
            // The same content, packed in another way: nothing is missing, and there is nothing to ask for.
            return Ok(false);
        }
        if let Some(missing) = self.missing(trust, journey, wanted).await?
            && missing.is_mostly_spooled()
        {
            // Runs would bring all of it anew.
            return Ok(false);
        }
        let answer = match self.link.runs(fetch).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(false),
            Err(LinkError::Busy) => {
                let path = &journey.file().path;
                tracing::info!(%path, "{}; it is done without runs", LinkError::Busy);
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };
        let announced = answer.header().bytes;
        if announced > journey.file().size {
            return Ok(false);
        }
        let (chunker, wanted, old) = (Work::chunker(trust), wanted.clone(), journey.old().cloned());
        let made = self
            .feed(answer, |parts| async move {
                let mut parts = parts;
                self.work
                    .disk
                    .run(move |disk| {
                        let build = building(disk)?;
                        let Some(base) = base_of(build, old.as_ref(), &chunker)? else {
                            return Ok(Made::Lacking);
                        };
                        let made = make(build, &wanted, &[base], Delivered::Runs(&mut parts))?;
                        if made == Made::Whole {
                            parts.expect(tidecast_proto::bundle::PartKind::END, "END")?;
                            parts.ended()?;
                        }
                        Ok::<_, BundleFault>(made)
                    })
                    .await
            })
            .await;
        match made {
            (_, Ok(Ok(made))) => journey.came(made, announced, Road::Runs),
            (_, Ok(Err(BundleFault::Disk(error)))) => return Err(error.into()),
            (Err(error), Ok(Err(_))) if is_of_the_link(&error) => return Err(error.into()),
            (_, Ok(Err(fault))) => {
                tracing::warn!(path = %journey.file().path, %fault, "runs are of no use");
                journey.warn(format!(
                    "{}: runs were refused: {fault}",
                    journey.file().path
                ));
            }
            (_, Err(gone)) => return Err(gone.into()),
        }
        Ok(false)
    }

    /// What neither the file before nor the spool has of the opened content; `None` when there is nothing to build on.
    async fn missing(
        &self,
        trust: &Trust,
        journey: &Journey,
        wanted: &Wanted,
    ) -> Result<Option<Missing>, SyncError> {
        let chunker = Work::chunker(trust);
        let (old, list) = (journey.old().cloned(), wanted.list.clone());
        Ok(self
            .work
            .disk
            .run(move |disk| {
                let build = building(disk)?;
                let Some(base) = base_of(build, old.as_ref(), &chunker)? else {
                    return Ok(None);
                };
                let origins = Origins::new(&list, &[&base.list]);
                let mut missing = Missing::default();
                for (entry, origin) in list.entries().iter().zip(origins.all()) {
                    if *origin != Origin::Missing {
                        continue;
                    }
                    if build.has_spooled(&entry.id)? {
                        missing.spooled_bytes += u64::from(entry.len);
                    } else {
                        missing.entries.push(*entry);
                    }
                }
                Ok::<_, DocrootError>(Some(missing))
            })
            .await??)
    }

    /// Fetches the missing chunks of the opened content, and rebuilds.
    async fn by_chunks(
        &self,
        trust: &Trust,
        journey: &mut Journey,
        wanted: &Wanted,
    ) -> Result<(), SyncError> {
        let Some(missing) = self.missing(trust, journey, wanted).await? else {
            journey.facts.base = Base::NotOpened;
            return Ok(());
        };
        let missing = missing.entries;
        let bytes = missing.iter().map(|entry| u64::from(entry.len)).sum();
        journey.facts.missing_opened_bytes = Some(bytes);
        if bytes >= journey.file().size || bytes > SPOOL_BYTES {
            journey.facts.missing_opened_bytes = Some(u64::MAX);
            return Ok(());
        }
        if !missing.is_empty() {
            let ids = missing.iter().map(|entry| entry.id).collect();
            if present(self.fetch_chunks(ids, bytes, Into::Spool).await)?.is_none() {
                // The upstream keeps the file whole only.
                journey.facts.opens = false;
                return Ok(());
            }
        }
        let (chunker, wanted, old) = (Work::chunker(trust), wanted.clone(), journey.old().cloned());
        let made = self
            .work
            .disk
            .run(move |disk| {
                let build = building(disk)?;
                match base_of(build, old.as_ref(), &chunker)? {
                    Some(base) => make(build, &wanted, &[base], Delivered::Spool),
                    None => Ok(Made::Lacking),
                }
            })
            .await?;
        match made {
            Ok(made) => journey.came(made, bytes, Road::Chunks),
            Err(BundleFault::Disk(error)) => return Err(error.into()),
            Err(fault) => {
                journey.warn(format!(
                    "{}: cannot be rebuilt: {fault}",
                    journey.file().path
                ));
                journey.facts.opens = false;
            }
        }
        if !journey.arrived && journey.choose().road == Road::Chunks {
            // The spool let something go: it would again.
            journey.facts.missing_opened_bytes = Some(u64::MAX);
        }
        Ok(())
    }

    /// The list that runs are asked against.
    async fn base_list(&self, journey: &Journey) -> Result<Option<ListId>, SyncError> {
        let Some((id, size)) = journey.old().and_then(|old| Some((old.recipe?, old.size))) else {
            return Ok(None);
        };
        let recipe = self
            .work
            .disk
            .run(move |disk| building(disk)?.known_recipe(&id, size))
            .await??;
        Ok(recipe.map(|recipe| recipe.opened()))
    }

    /// Lets `work` read what `answer` brings, and stops either when the other has ended.
    pub(super) async fn feed<T, W: Future<Output = T>>(
        &self,
        mut answer: BundleAnswer,
        work: impl FnOnce(Parts) -> W,
    ) -> (Result<(), LinkError>, T) {
        let (pieces, receiver) = pipe();
        let feeding = self.link.at_a_useful_rate(async move {
            while let Some(piece) = answer.next().await? {
                // Whoever reads has seen enough.
                if pieces.send(piece.into()).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        let work = work(Parts::new(receiver));
        let (mut feeding, mut work) = (Box::pin(feeding), Box::pin(work));
        tokio::select! {
            fed = &mut feeding => {
                // Lets go of the pipe, which ends the bundle for whoever reads.
                drop(feeding);
                (fed, work.await)
            }
            done = &mut work => (Ok(()), done),
        }
    }
}

impl Work {
    /// Finds out which files are there by now, and what those that are not could be built on.
    ///
    /// # Errors
    /// [`SyncError`] of the disk.
    pub(super) async fn look_around(
        &self,
        trust: &Trust,
        journeys: &mut Journeys,
    ) -> Result<(), SyncError> {
        let chunker = Self::chunker(trust);
        let files: Vec<_> = journeys.all().map(|j| (j.at, j.old().cloned())).collect();
        let found = self
            .disk
            .run(move |disk| {
                let build = building(disk)?;
                let mut found = Vec::with_capacity(files.len());
                for (at, old) in files {
                    let here = build.has(at as usize);
                    let base = match &old {
                        Some(old) if !here && old.recipe.is_some() => {
                            build.live_source(old, true, &chunker)?.is_some()
                        }
                        _ => false,
                    };
                    found.push((here, base));
                }
                Ok::<_, DocrootError>(found)
            })
            .await??;
        for (journey, (here, base)) in journeys.all_mut().zip(found) {
            journey.arrived |= here;
            if base && journey.facts.base == Base::NotOpened {
                journey.facts.base = Base::Opened;
            }
        }
        Ok(())
    }
}

/// The opened content of the file before.
fn base_of(
    build: &mut crate::docroot::Build,
    old: Option<&tidecast_proto::manifest::File>,
    chunker: &tidecast_proto::chunker::Chunker,
) -> Result<Option<crate::rebuild::Source>, DocrootError> {
    match old {
        Some(old) => build.live_source(old, true, chunker),
        None => Ok(None),
    }
}

/// Absence is no error here: it closes a road.
fn present<T, E: std::convert::Into<SyncError>>(
    answer: Result<T, E>,
) -> Result<Option<T>, SyncError> {
    match answer.map_err(std::convert::Into::into) {
        Ok(found) => Ok(Some(found)),
        Err(SyncError::Link(LinkError::Absent { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the connection is gone or too slow, so that falling back on it would not help. A stream that was cut is only
/// a bundle that was cut.
pub(super) fn is_of_the_link(error: &LinkError) -> bool {
    !matches!(
        error,
        LinkError::Protocol(_) | LinkError::Corrupt { .. } | LinkError::Absent { .. }
    )
}

#[cfg(test)]
mod tests;
