//! A root as people and programs read it.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use tidecast_engine::durable::{self, Access};
use tidecast_proto::ceremony::{Quorum, Signatures, changes_between, concerns};
use tidecast_proto::fingerprint;
use tidecast_proto::id::{FeedId, Timestamp};
use tidecast_proto::key::PublicKey;
use tidecast_proto::root::{RootBody, SignedRoot};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::shell::now_ms;
use crate::text;

/// A root with what there is to say about it. SPEC §10.4.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    file: Option<String>,
    version: u64,
    feed: String,
    /// Of the first root only: it is what mirrors are told.
    fingerprint: Option<String>,
    words: Option<String>,
    epoch: u64,
    expires_ms: u64,
    root_keys: Vec<String>,
    root_threshold: u16,
    release_keys: Vec<String>,
    release_threshold: u16,
    added_threshold: u16,
    head_keys: Vec<String>,
    masters: Vec<MasterLine>,
    release_min: u64,
    revoked_manifests: Vec<String>,
    /// The root it was compared with.
    previous: Option<u64>,
    changes: Vec<String>,
    concerns: Vec<String>,
    signed_by_old: Option<Signed>,
    signed_by_own: Signed,
    idle_signatures: Vec<String>,
    /// Whether mirrors take it, as far as is known here.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct MasterLine {
    name: String,
    node_key: String,
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Signed {
    needed: u64,
    missing: u64,
    signed: Vec<String>,
    open: Vec<String>,
}

fn texts(keys: &[PublicKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

impl From<&Quorum> for Signed {
    fn from(quorum: &Quorum) -> Self {
        Self {
            needed: quorum.needed as u64,
            missing: quorum.missing() as u64,
            signed: texts(&quorum.signed),
            open: texts(&quorum.open),
        }
    }
}

impl Report {
    /// Looks at `signed`, which says `body`, beside `previous` if that is at hand.
    pub(super) fn new(
        file: Option<&Path>,
        signed: &SignedRoot,
        body: &RootBody,
        previous: Option<&RootBody>,
    ) -> Result<Self, Failure> {
        let unreadable = |error: tidecast_proto::signed::SignedError| {
            Failure::new(Exit::Data, format!("not a usable root: {error}"))
        };
        let state: Signatures = signed.signatures(previous).map_err(unreadable)?;
        let first = (body.version.0 == 1).then(|| FeedId(signed.id().0));
        let masters = body.masters.iter().map(|master| MasterLine {
            name: master.name.clone(),
            node_key: master.node_key.to_string(),
            addresses: master.addresses.clone(),
        });
        let said = concerns(previous, body, Timestamp(now_ms()));
        Ok(Self {
            file: file.map(|file| file.display().to_string()),
            version: body.version.0,
            feed: body.feed.to_string(),
            fingerprint: first.map(|feed| feed.to_string()),
            words: first.map(|feed| fingerprint::to_words(&feed)),
            epoch: body.epoch.0,
            expires_ms: body.expires.0,
            root_keys: texts(&body.root_keys),
            root_threshold: body.root_threshold,
            release_keys: texts(&body.release_keys),
            release_threshold: body.release_threshold,
            added_threshold: body.added_threshold,
            head_keys: texts(&body.head_keys),
            masters: masters.collect(),
            release_min: body.release_min.0,
            revoked_manifests: body
                .revoked_manifests
                .iter()
                .map(ToString::to_string)
                .collect(),
            previous: previous.map(|previous| previous.version.0),
            changes: previous.map_or(Vec::new(), |previous| {
                let changes = changes_between(previous, body);
                changes.iter().map(ToString::to_string).collect()
            }),
            concerns: said.iter().map(ToString::to_string).collect(),
            signed_by_old: state.old.as_ref().map(Signed::from),
            signed_by_own: Signed::from(&state.own),
            idle_signatures: texts(&state.idle),
            complete: state.complete() && (body.version.0 == 1 || previous.is_some()),
        })
    }

    /// What to show before anybody signs, and after.
    pub(super) fn text(&self, now: u64) -> String {
        let mut text = String::new();
        // Writing into a string has no way to fail.
        let left = match self.expires_ms.checked_sub(now) {
            Some(left) => format!("in {}", text::span(left)),
            None => "OVER".into(),
        };
        let _ = writeln!(
            text,
            "root {} of feed {}, epoch {}, expires {} ({left})",
            self.version,
            text::plain(&self.feed),
            self.epoch,
            text::date(self.expires_ms),
        );
        if let (Some(fingerprint), Some(words)) = (&self.fingerprint, &self.words) {
            let _ = writeln!(text, "fingerprint   {fingerprint}\nin words      {words}");
        }
        let (release, added) = (self.release_threshold, self.added_threshold);
        self.keys(
            &mut text,
            "root keys",
            &self.root_keys,
            &format!("{}", self.root_threshold),
        );
        let release = match added {
            added if added == release => release.to_string(),
            added => format!("{release} ({added} where ClamAV's own databases are only added)"),
        };
        self.keys(&mut text, "release keys", &self.release_keys, &release);
        self.keys(&mut text, "head keys", &self.head_keys, "1");
        for master in &self.masters {
            let at = match &master.addresses[..] {
                [] => "no address".into(),
                addresses => text::plain(&addresses.join(" ")),
            };
            let name = text::plain(&master.name);
            let _ = writeln!(
                text,
                "master        {name} {}\n              at {at}",
                master.node_key
            );
        }
        if self.release_min > 0 {
            let _ = writeln!(text, "lowest release accepted: {}", self.release_min);
        }
        if let Some(previous) = self.previous {
            let _ = writeln!(text, "\nchanges since root {previous}");
            for change in &self.changes {
                let _ = writeln!(text, "  {}", text::plain(change));
            }
            if self.changes.is_empty() {
                text.push_str("  none but its number\n");
            }
        } else if self.version > 1 {
            let _ = writeln!(
                text,
                "\nroot {} is not at hand: what changes is NOT known; name it with --against",
                self.version - 1
            );
        }
        if !self.concerns.is_empty() {
            text.push_str("\nthink of this\n");
            for concern in &self.concerns {
                let _ = writeln!(text, "  ! {}", text::plain(concern));
            }
        }
        text.push_str("\nsignatures\n");
        if let (Some(old), Some(previous)) = (&self.signed_by_old, self.previous) {
            old.line(&mut text, &format!("root {previous}'s keys"));
        }
        self.signed_by_own.line(&mut text, "its own keys");
        for key in &self.idle_signatures {
            let _ = writeln!(text, "  {key} signed, too, and counts for nothing");
        }
        text
    }

    fn keys(&self, text: &mut String, what: &str, keys: &[String], needed: &str) {
        let count = keys.len();
        let _ = writeln!(text, "{what:<13} {needed} of {count} must sign");
        for key in keys {
            let _ = writeln!(text, "              {key}");
        }
    }
}

impl Signed {
    fn line(&self, text: &mut String, whose: &str) {
        let have = self.signed.len();
        let more = match self.missing {
            0 => "enough".into(),
            missing => format!("{missing} more needed"),
        };
        let _ = writeln!(text, "  {have} of {} by {whose}: {more}", self.needed);
        if self.missing > 0 {
            for key in &self.open {
                let _ = writeln!(text, "    could be {key}");
            }
        }
    }
}

/// Keeps a root in a file of its own, which must not exist.
pub(super) fn create(path: &Path, signed: &SignedRoot) -> Result<(), Failure> {
    if path.exists() {
        let what = format!("{} exists; nothing was changed", path.display());
        return Err(Failure::new(Exit::CannotCreate, what).hint("name another file with --out"));
    }
    Ok(durable::create(path, &signed.to_bytes(), Access::Everyone)?)
}
