//! What the web server and `status` show of a mirror.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Mirror, MirrorStatus};
use crate::docroot::{TIMESTAMP_BYTES, is_marked_stale};
use crate::http::{Health, Site, SiteFile, Timestamp};
use crate::warning::Warning;

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
                self.after.is_live(live.release().0);
                let timestamp = read_timestamp(&path);
                {
                    let mut present = self.present();
                    present.switched_ms = Some(live.switched().0);
                    if let Some(timestamp) = &timestamp {
                        present.marked_stale = Some(is_marked_stale(&timestamp.bytes));
                    }
                }
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
                    timestamp,
                });
            }
            Ok(None) => self.site.withdraw(),
            Err(error) => tracing::error!(%error, "disk"),
        }
        self.publish_health();
    }

    pub(super) fn publish_health(&self) {
        let health = match self.site.pin() {
            None => Health::NoRelease,
            Some(site) => match self.stale_since_ms() {
                Some(since_ms) => Health::Stale {
                    release: site.release,
                    since_s: since_ms / 1000,
                },
                None => Health::Serving {
                    release: site.release,
                },
            },
        };
        self.health.set(health);
    }

    /// How this mirror is.
    #[must_use]
    pub fn status(&self) -> MirrorStatus {
        let mut status = MirrorStatus {
            role: "mirror".into(),
            fingerprint: self.feed.to_string(),
            node_key: self.node_key().to_string(),
            former_key: self.keys.status(&self.upstreams().1),
            docroot: self.config.docroot.display().to_string(),
            progress: *self.progress.borrow(),
            scrub: self.scrub.status(),
            ..MirrorStatus::default()
        };
        let clock = self.clock.now();
        self.beliefs.with(|trust| status.believe(trust, clock));
        let trust = self.beliefs.trust();
        status.hold(self.hold.now().as_ref(), trust.as_ref());
        let trouble = self.beliefs.trouble();
        status.warnings.extend(trouble.map(|why| Warning {
            about: "trust_log".into(),
            level: "alarm".into(),
            what: format!("nothing new is installed: trust.log cannot be written: {why}"),
            days: None,
        }));
        if let Some(site) = self.site.pin() {
            status.release = site.release;
        }
        {
            status.after = self.after.status();
            let present = self.present();
            status.connection = present.connection.clone();
            status.last_sync = present.last_sync.clone();
            let docroot = present.docroot_fault.clone();
            status.last_error = present.last_error.clone().or(docroot);
            status.mended = present.mended.clone();
            status.switched_ms = present.switched_ms;
            status.last_success_ms = present.last_success_ms;
            if let Some(link) = &present.link {
                let (received, sent) = link.traffic();
                status.connection.received_bytes = received;
                status.connection.sent_bytes = sent;
            }
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
