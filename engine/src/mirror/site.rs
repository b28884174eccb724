//! What the web server and `status` show of a mirror.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Mirror, MirrorStatus};
use crate::http::{Health, Site, SiteFile, Timestamp};

/// Longest `timestamp` file that is read, in bytes.
const TIMESTAMP_BYTES: usize = 8 * 1024;

impl Mirror {
    /// Hands the live tree to the web server. Requests under way keep the tree they began with.
    pub async fn publish_site(&self) {
        let found = self
            .disk
            .run(|disk| {
                let live = disk.docroot.current()?.clone();
                Some((live, disk.docroot.folder(), disk.docroot.path().to_owned()))
            })
            .await;
        match found {
            Ok(Some((live, docroot, path))) => {
                let files = live
                    .site_files()
                    .map(|file| {
                        let served = SiteFile {
                            size: file.size,
                            hash: file.hash.0,
                            last_modified_s: file.last_modified_s,
                        };
                        (file.path.to_string(), served)
                    })
                    .collect::<BTreeMap<_, _>>();
                self.site.publish(Site {
                    release: live.release().0,
                    tree: live.folder(),
                    files: Arc::new(files),
                    docroot,
                    timestamp: read_timestamp(&path),
                });
            }
            Ok(None) => self.site.withdraw(),
            Err(error) => tracing::error!(%error, "disk"),
        }
        self.publish_health().await;
    }

    pub(super) async fn publish_health(&self) {
        let health = match self.site.pin() {
            None => Health::NoRelease,
            Some(site) if self.is_stale().await => Health::Stale {
                release: site.release,
                since_s: self.head_expires_ms().await.unwrap_or(0) / 1000,
            },
            Some(site) => Health::Serving {
                release: site.release,
            },
        };
        self.health.set(health);
    }

    async fn head_expires_ms(&self) -> Option<u64> {
        let guard = self.trust.lock().await;
        let (_, head) = guard.as_ref()?.newest_head()?;
        Some(head.expires.0)
    }

    /// How this mirror is.
    pub async fn status(&self) -> MirrorStatus {
        let mut status = MirrorStatus {
            role: "mirror".into(),
            fingerprint: self.feed.to_string(),
            node_key: self.node_key.public().to_string(),
            docroot: self.config.docroot.display().to_string(),
            progress: *self.progress.borrow(),
            ..MirrorStatus::default()
        };
        // A sync holds the trust while it runs; what it changes is shown when it has ended.
        if let Ok(guard) = self.trust.try_lock()
            && let Some(trust) = guard.as_ref()
        {
            let now = trust.now(self.clock.now());
            status.feed = Some(trust.root().feed.to_string());
            status.stale = trust.is_stale(now);
            status.head_expires_ms = trust.newest_head().map(|(_, head)| head.expires.0);
            status.root_expires_ms = Some(trust.root().expires.0);
            status.equivocators = trust
                .equivocators()
                .map(|(key, _)| key.to_string())
                .collect();
        }
        if let Some(site) = self.site.pin() {
            status.release = site.release;
        }
        {
            let present = self.present();
            status.connection = present.connection.clone();
            status.last_sync = present.last_sync.clone();
            status.last_error = present.last_error.clone();
            if let Some(link) = &present.link {
                let (received, sent) = link.traffic();
                status.connection.received_bytes = received;
                status.connection.sent_bytes = sent;
            }
        }
        if status.progress.release == 0
            && let Ok(Some(switched)) = self
                .disk
                .run(|disk| disk.docroot.current().map(|live| live.switched()))
                .await
        {
            status.switched_ms = Some(switched.0);
        }
        status
    }
}

fn read_timestamp(docroot: &std::path::Path) -> Option<Timestamp> {
    let bytes =
        crate::durable::read_optional(&docroot.join("timestamp"), TIMESTAMP_BYTES).ok()??;
    let first = bytes.split(|b| *b == b'\n').next()?;
    let last_modified_s = std::str::from_utf8(first).ok()?.parse().ok()?;
    Some(Timestamp {
        bytes: bytes.into(),
        last_modified_s,
    })
}
