//! `tidecast root new`.

use std::path::PathBuf;

use tidecast_engine::master::HEAD_TTL_MS;
use tidecast_proto::chunker::Chunking;
use tidecast_proto::id::{Epoch, FeedName, ReleaseNumber, RootVersion};
use tidecast_proto::root::{RootBody, SignedRoot};

use super::{options, report};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Shell, now_ms};
use crate::unlock::Unlock;

/// Draft the first root of a feed, to be signed by the holders of its root keys.
///
/// A KEY is 64 hex digits, or a file with a public or private key. The draft is signed with `tidecast root sign`; a
/// master is made of it with `tidecast feed init --root FILE`. Its hash is the feed's fingerprint, whoever signs it.
/// Exit status: 0 drafted, 2 no such root can be, 66 a key's file is missing, 73 the file exists.
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Where the draft goes.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// The feed's name: a-z, 0-9, dot, underscore and hyphen.
    #[arg(long, value_name = "NAME")]
    feed: String,
    /// A key that signs roots; give all of them.
    #[arg(long = "root-key", value_name = "KEY", required = true)]
    root_keys: Vec<String>,
    /// How many of them must sign a root. Default: more than half.
    #[arg(long, value_name = "M")]
    root_threshold: Option<u16>,
    /// A key that signs releases; give all of them.
    #[arg(long = "release-key", value_name = "KEY", required = true)]
    release_keys: Vec<String>,
    /// How many of them must sign a release. Default: more than half.
    #[arg(long, value_name = "M")]
    release_threshold: Option<u16>,
    /// How many must sign a release that does nothing but add newer databases that ClamAV signed.
    #[arg(long, value_name = "M", default_value_t = 1)]
    added_threshold: u16,
    /// The key a master signs heads with; one for each master.
    #[arg(long = "head-key", value_name = "KEY", required = true)]
    head_keys: Vec<String>,
    /// A master: its name, its node key, and where mirrors reach it.
    #[arg(
        long = "master",
        value_name = "NAME=KEY@HOST:PORT[,..]",
        required = true
    )]
    masters: Vec<String>,
    /// How long the root lives.
    #[arg(long, value_name = "N", default_value_t = 400)]
    days: u64,
    #[command(flatten)]
    unlock: Unlock,
}

impl New {
    pub(super) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let unlock = &self.unlock;
        let feed = FeedName::new(&self.feed)
            .map_err(|why| Failure::usage(format!("--feed {:?}: {why}", self.feed)))?;
        let root_keys = options::keys("--root-key", &self.root_keys, unlock)?;
        let release_keys = options::keys("--release-key", &self.release_keys, unlock)?;
        let masters = self
            .masters
            .iter()
            .map(|text| options::master(text, unlock));
        let mut masters = masters.collect::<Result<Vec<_>, _>>()?;
        masters.sort_by_key(|master| master.node_key);
        let threshold =
            |given: Option<u16>, keys: usize| given.unwrap_or_else(|| options::majority(keys));
        let body = RootBody {
            version: RootVersion(1),
            epoch: Epoch(0),
            feed,
            expires: options::expires(self.days)?,
            root_threshold: threshold(self.root_threshold, root_keys.len()),
            root_keys,
            release_threshold: threshold(self.release_threshold, release_keys.len()),
            release_keys,
            added_threshold: self.added_threshold,
            head_keys: options::keys("--head-key", &self.head_keys, unlock)?,
            head_ttl_max_ms: HEAD_TTL_MS,
            masters,
            chunking: Chunking::default(),
            revoked_manifests: Vec::new(),
            release_min: ReleaseNumber(0),
            extensions: Vec::new(),
        };
        let signed = SignedRoot::sign(&body, &[])
            .map_err(|error| Failure::usage(format!("no such root can be: {error}")))?;
        report::create(&self.out, &signed)?;
        let report = report::Report::new(Some(&self.out), &signed, &body, None)?;
        let mut text = report.text(now_ms());
        let file = self.out.display();
        text.push_str(&format!(
            "\ndraft in {file}\nNext: each holder of a root key types\n      {}\n",
            shell.command(&format!("root sign {file} --key KEYFILE"))
        ));
        shell.result(&report, &text)?;
        Ok(Exit::Ok)
    }
}
