//! Telling others of a switch: the operator's hook and a clamd. SPEC §8.15.
//!
//! Whom a release is owed to follows from two facts on disk, the live release and the last one they were told of, so that a
//! crash between switch and telling owes it still. Neither ever holds up a switch: releases that come meanwhile become one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::plan::Plan;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::hook::{self, Ended};
use super::{MIRROR_CONFIG, Mirror, clamd};
use crate::config::{ClamdAddress, ConfigError, HookConfig, MirrorConfig};
use crate::durable::{self, Access};

/// The record's name in the state folder.
const AFTER: &str = "after-switch";

/// Longest record that is read, in bytes.
const AFTER_BYTES: usize = 64 * 1024;

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Hook,
    Clamd,
}

impl Whom {
    pub(super) const ALL: [Self; 2] = [Self::Hook, Self::Clamd];

    fn word(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Clamd => "clamd",
        }
    }
}

/// How telling somebody of a switch went, the last time. SPEC §10.3.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AfterStatus {
    /// `hook` or `clamd`; empty on disk, where it is the key.
    #[serde(default)]
    pub whom: String,
    /// The last release it was told of, 0 for none. A hook that ran was told, whatever it made of it.
    pub release: u64,
    /// The release this is about.
    pub tried_release: u64,
    /// When that ended, in Unix milliseconds.
    pub at_ms: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether it went well.
    pub ok: bool,
    /// What happened.
    pub what: String,
    /// What to do, if it did not go well.
    #[serde(default)]
    pub advice: String,
}

/// How one telling went.
struct Outcome {
    /// Not to be told of this release again.
    told: bool,
    ok: bool,
    what: String,
    advice: &'static str,
}

/// Those who are to be told, and what they were told last.
#[derive(Debug)]
pub(super) struct After {
    hook: Option<HookConfig>,
    clamd: Option<ClamdAddress>,
    path: PathBuf,
    last: Mutex<BTreeMap<String, AfterStatus>>,
    /// The live release, for those who wait for the next.
    live: watch::Sender<u64>,
    stop: Arc<AtomicBool>,
    /// Held while a hook runs.
    running: tokio::sync::Mutex<()>,
}

impl After {
    /// As configured, with what the state folder says of the last time.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub(super) fn of(state: &Path, config: &MirrorConfig) -> Result<Self, ConfigError> {
        let named = state.join(MIRROR_CONFIG);
        Ok(Self {
            hook: config.hook(&named)?.cloned(),
            clamd: config.clamd_address(&named)?,
            path: state.join(AFTER),
            last: Mutex::new(read(state)),
            live: watch::Sender::new(0),
            stop: Arc::default(),
            running: tokio::sync::Mutex::default(),
        })
    }

    /// This release is served now.
    pub(super) fn is_live(&self, release: u64) {
        self.live.send_if_modified(|live| {
            let changed = *live != release;
            *live = release;
            changed
        });
    }

    fn wants(&self, whom: Whom) -> bool {
        match whom {
            Whom::Hook => self.hook.is_some(),
            Whom::Clamd => self.clamd.is_some(),
        }
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<String, AfterStatus>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last release it was told of, 0 for none.
    fn told(&self, whom: Whom) -> u64 {
        self.last().get(whom.word()).map_or(0, |last| last.release)
    }

    /// How it went for those who are configured.
    pub(super) fn status(&self) -> Vec<AfterStatus> {
        let wanted = Whom::ALL.into_iter().filter(|whom| self.wants(*whom));
        named(&self.last(), wanted)
    }

    fn record(&self, whom: Whom, status: AfterStatus) {
        let bytes = {
            let mut last = self.last();
            last.insert(whom.word().to_owned(), status);
            // Strings, numbers and flags always make JSON.
            serde_json::to_vec(&*last).unwrap_or_default()
        };
        if let Err(error) = durable::write(&self.path, &bytes, Access::Everyone) {
            // It is told once more after the next start, which it has to bear anyway.
            tracing::warn!(%error, "what was told of this switch is not written down");
        }
    }
}

fn read(state: &Path) -> BTreeMap<String, AfterStatus> {
    let bytes = durable::read_optional(&state.join(AFTER), AFTER_BYTES);
    // One that does not read is none: they are told once more.
    let bytes = bytes.ok().flatten().unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn named(
    last: &BTreeMap<String, AfterStatus>,
    wanted: impl Iterator<Item = Whom>,
) -> Vec<AfterStatus> {
    wanted
        .filter_map(|whom| {
            Some(AfterStatus {
                whom: whom.word().into(),
                ..last.get(whom.word())?.clone()
            })
        })
        .collect()
}

/// How it went the last time by what lies on disk, for those whom `config` names.
pub(super) fn status_on_disk(state: &Path, config: &MirrorConfig) -> Vec<AfterStatus> {
    let wanted = Whom::ALL.into_iter().filter(|whom| match whom {
        Whom::Hook => config.hook.is_some(),
        Whom::Clamd => config.clamd.is_some(),
    });
    named(&read(state), wanted)
}

impl Mirror {
    /// Tells everybody of each release that goes live, until told to stop.
    pub(super) fn follow(self: &Arc<Self>) -> Following {
        let mut tasks = JoinSet::new();
        for whom in Whom::ALL.into_iter().filter(|whom| self.after.wants(*whom)) {
            let mirror = self.clone();
            tasks.spawn(async move {
                let mut live = mirror.after.live.subscribe();
                while !mirror.after.stop.load(Ordering::Relaxed) {
                    // Marked as seen before it is looked at: what comes during the telling is told right after it.
                    let release = *live.borrow_and_update();
                    if release > 0 {
                        mirror.tell_owed(whom).await;
                    }
                    if live.changed().await.is_err() {
                        return;
                    }
                }
            });
        }
        Following {
            mirror: self.clone(),
            tasks,
        }
    }

    /// Tells everybody of the live release who was not told of it, and waits for them. What went wrong comes back in
    /// sentences.
    pub async fn follow_up(&self) -> Vec<String> {
        let (hook, clamd) = tokio::join!(self.tell_owed(Whom::Hook), self.tell_owed(Whom::Clamd));
        [hook, clamd].into_iter().flatten().collect()
    }

    /// Returns what went wrong.
    async fn tell_owed(&self, whom: Whom) -> Option<String> {
        if !self.after.wants(whom) {
            return None;
        }
        let previous = self.after.told(whom);
        let found = self.disk.run(move |disk| {
            let live = disk.docroot.current()?.manifest().clone();
            // Against what they know, which several switches may lie behind.
            let known = disk.docroot.kept_manifest(ReleaseNumber(previous));
            Some((live, known.ok().flatten()))
        });
        let (manifest, known) = found.await.ok()??;
        let release = manifest.release.0;
        if release == previous {
            return None;
        }
        let begun = Instant::now();
        let outcome = match whom {
            Whom::Hook => {
                let environment = self.environment(&manifest, previous, known.as_deref());
                self.run_hook(environment).await?
            }
            Whom::Clamd => self.reload_clamd().await?,
        };
        let seconds = begun.elapsed().as_secs_f64();
        let word = whom.word();
        self.counters.told(word, outcome.ok);
        let what = format!("{word}: {}", outcome.what);
        match outcome.ok {
            true => tracing::info!(release, seconds, "{what}"),
            false => tracing::warn!(release, seconds, advice = outcome.advice, "{what}"),
        }
        let status = AfterStatus {
            whom: String::new(),
            release: if outcome.told { release } else { previous },
            tried_release: release,
            at_ms: self.clock.now().0,
            seconds,
            ok: outcome.ok,
            what: outcome.what,
            advice: outcome.advice.into(),
        };
        self.after.record(whom, status);
        (!outcome.ok).then(|| format!("{what}; {}", outcome.advice))
    }

    /// What a hook is told. Whatever is not known is not set.
    fn environment(
        &self,
        manifest: &Manifest,
        previous: u64,
        known: Option<&Manifest>,
    ) -> Vec<(&'static str, String)> {
        let docroot = std::path::absolute(&self.config.docroot);
        let state = std::path::absolute(&self.state);
        let path = |path: std::io::Result<PathBuf>, or: &Path| {
            path.unwrap_or_else(|_| or.to_owned()).display().to_string()
        };
        let name = self.beliefs.with(|trust| trust.root().feed.to_string());
        let mut all = vec![
            ("TIDECAST_FEED", name.unwrap_or_default()),
            ("TIDECAST_FINGERPRINT", self.feed.to_string()),
            ("TIDECAST_RELEASE", manifest.release.to_string()),
            ("TIDECAST_MANIFEST", manifest.id().to_string()),
            ("TIDECAST_PREVIOUS", previous.to_string()),
            ("TIDECAST_DOCROOT", path(docroot, &self.config.docroot)),
            ("TIDECAST_STATE", path(state, &self.state)),
        ];
        if previous == 0 || known.is_some() {
            let plan = Plan::new(manifest, known.map(|known| &**known));
            let changed = plan.to_build().count().to_string();
            all.push(("TIDECAST_FILES_CHANGED", changed));
            all.push(("TIDECAST_FILES_REMOVED", plan.removed.len().to_string()));
        }
        all
    }

    /// `None` when the mirror stops meanwhile: it is owed still.
    async fn run_hook(&self, environment: Vec<(&'static str, String)>) -> Option<Outcome> {
        let hook = self.after.hook.clone()?;
        let _running = self.after.running.lock().await;
        let (stop, timeout_s) = (self.after.stop.clone(), hook.timeout_s);
        let program = hook.command.first().cloned().unwrap_or_default();
        let running = tokio::task::spawn_blocking(move || {
            hook::run(&hook, &environment, &stop, &mut |line| {
                tracing::info!("hook says: {line}");
            })
        });
        let failed = |told, what, advice| {
            Some(Outcome {
                told,
                ok: false,
                what,
                advice,
            })
        };
        match running.await.ok()? {
            Ok(Ended::Stopped) => None,
            Ok(Ended::Itself(status)) if status.success() => Some(Outcome {
                told: true,
                ok: true,
                what: format!("{program} ended well"),
                advice: "",
            }),
            Ok(Ended::Itself(status)) => failed(
                true,
                format!("{program} ended with {status}"),
                "see what it said in the log; it is run again after the next switch",
            ),
            Ok(Ended::TooLong) => failed(
                true,
                format!("{program} ran longer than {timeout_s} s and was ended"),
                "make it faster, or raise `timeout_s` below [hook] in mirror.toml",
            ),
            Err(error) => failed(
                false,
                format!("{program} cannot be run: {error}"),
                "correct `command` below [hook] in mirror.toml, or the program's permissions, and restart the daemon",
            ),
        }
    }

    async fn reload_clamd(&self) -> Option<Outcome> {
        let address = self.after.clamd.as_ref()?;
        Some(match clamd::reload(address).await {
            Ok(()) => Outcome {
                told: true,
                ok: true,
                what: format!("{address} reloads its databases"),
                advice: "",
            },
            Err(error) => Outcome {
                told: false,
                ok: false,
                what: error.to_string(),
                advice: error.advice(),
            },
        })
    }
}

/// Those who tell others, as long as a mirror runs.
pub(super) struct Following {
    mirror: Arc<Mirror>,
    tasks: JoinSet<()>,
}

impl Following {
    /// Ends them; a hook that runs is told to end, and ended by force if it does not.
    pub(super) async fn end(mut self) {
        self.mirror.after.stop.store(true, Ordering::Relaxed);
        // Only a hook is waited for, and only while one runs: everything else waits for something that may never come.
        drop(self.mirror.after.running.lock().await);
        self.tasks.shutdown().await;
    }
}
