//! `tidecast root rotate`.

use std::path::PathBuf;

use tidecast_engine::master::HEAD_TTL_MS;
use tidecast_proto::ceremony::{EpochChange, KeyChanges, MasterChange, RootChanges};
use tidecast_proto::id::{ObjectId, ReleaseNumber};
use tidecast_proto::root::{RootBody, SignedRoot};

use super::{at_hand, options, report};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Shell, now_ms};
use crate::unlock::Unlock;

/// Draft the next root, to be signed by holders of the old root's keys and of its own.
///
/// Begins with the newest root of the state folder, or with the one in --from; what no option names stays as it is. A
/// KEY is 64 hex digits, or a file with a public or private key. Where a head key is removed the epoch rises, so that
/// mirrors forget everything that key has signed. Exit status: 0 drafted, 2 no such root can be, 66 there is no root to
/// begin with, 73 the file exists.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// Where the draft goes.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// The root before it. Default: the newest of the state folder.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// A key that signs roots from then on.
    #[arg(long = "add-root-key", value_name = "KEY")]
    add_root_keys: Vec<String>,
    /// A key that no longer does.
    #[arg(long = "remove-root-key", value_name = "KEY")]
    remove_root_keys: Vec<String>,
    /// How many root keys must sign.
    #[arg(long, value_name = "M")]
    root_threshold: Option<u16>,
    /// A key that signs releases from then on.
    #[arg(long = "add-release-key", value_name = "KEY")]
    add_release_keys: Vec<String>,
    /// A key that no longer does.
    #[arg(long = "remove-release-key", value_name = "KEY")]
    remove_release_keys: Vec<String>,
    /// How many release keys must sign.
    #[arg(long, value_name = "M")]
    release_threshold: Option<u16>,
    /// How many must sign a release that does nothing but add newer databases that ClamAV signed.
    #[arg(long, value_name = "M")]
    added_threshold: Option<u16>,
    /// A key that signs heads from then on.
    #[arg(long = "add-head-key", value_name = "KEY")]
    add_head_keys: Vec<String>,
    /// A key that no longer does.
    #[arg(long = "remove-head-key", value_name = "KEY")]
    remove_head_keys: Vec<String>,
    /// A new master, or another in the place of the one of that name.
    #[arg(long = "master", value_name = "NAME=KEY@HOST:PORT[,..]")]
    masters: Vec<String>,
    /// Another node key for the master of that name.
    #[arg(long = "master-key", value_name = "NAME=KEY")]
    master_keys: Vec<String>,
    /// Other addresses for the master of that name.
    #[arg(long = "master-address", value_name = "NAME=HOST:PORT[,..]")]
    master_addresses: Vec<String>,
    /// A master that is none any more.
    #[arg(long = "remove-master", value_name = "NAME")]
    remove_masters: Vec<String>,
    /// Raise the epoch: masters sign their heads anew, and mirrors forget the numbers of the old ones.
    #[arg(long, conflicts_with = "keep_epoch")]
    new_epoch: bool,
    /// Keep the epoch although a head key is removed: it was in good hands to the end.
    #[arg(long)]
    keep_epoch: bool,
    /// A manifest that must not be installed any more.
    #[arg(long = "revoke-manifest", value_name = "ID")]
    revoke: Vec<String>,
    /// Releases below this one are refused from then on.
    #[arg(long, value_name = "N")]
    release_min: Option<u64>,
    /// Longest life of a head.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=720))]
    head_life: Option<u64>,
    /// How long the root lives, from now.
    #[arg(long, value_name = "N", default_value_t = 400)]
    days: u64,
    #[command(flatten)]
    unlock: Unlock,
}

impl Rotate {
    pub(super) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let previous = self.previous(shell)?;
        let body = previous
            .next(&self.changes()?, options::expires(self.days)?)
            .map_err(|error| {
                Failure::usage(error.to_string())
                    .hint("`tidecast root show` says what the present root holds")
            })?;
        let signed = SignedRoot::sign(&body, &[])
            .map_err(|error| Failure::usage(format!("no such root can be: {error}")))?;
        report::create(&self.out, &signed)?;
        let report = report::Report::new(Some(&self.out), &signed, &body, Some(&previous))?;
        let mut text = report.text(now_ms());
        let file = self.out.display();
        text.push_str(&format!(
            "\ndraft in {file}\nNext: holders of root keys type\n      {}\n      and then, on every master\n      {}\n",
            shell.command(&format!("root sign {file} --key KEYFILE")),
            shell.command(&format!("root install {file}")),
        ));
        shell.result(&report, &text)?;
        Ok(Exit::Ok)
    }

    fn previous(&self, shell: &Shell<'_>) -> Result<RootBody, Failure> {
        if let Some(path) = &self.from {
            return Ok(at_hand::read(path)?.1);
        }
        let chain = at_hand::chain(shell)?;
        let newest = chain.as_ref().and_then(|chain| chain.newest()).cloned();
        newest.ok_or_else(|| {
            let what = format!("{} holds no root to begin with", shell.state.display());
            Failure::new(Exit::NoInput, what)
                .hint("name a master's or mirror's state folder with --state, or a root's file with --from")
        })
    }

    fn changes(&self) -> Result<RootChanges, Failure> {
        let keys = |add: (&str, &[String]), remove: (&str, &[String]), threshold| {
            Ok::<_, Failure>(KeyChanges {
                add: options::keys(add.0, add.1, &self.unlock)?,
                remove: options::keys(remove.0, remove.1, &self.unlock)?,
                threshold,
            })
        };
        let revoke = self.revoke.iter().map(|id| {
            id.parse::<ObjectId>()
                .map_err(|error| Failure::usage(format!("--revoke-manifest {id:?}: {error}")))
        });
        Ok(RootChanges {
            root: keys(
                ("--add-root-key", &self.add_root_keys),
                ("--remove-root-key", &self.remove_root_keys),
                self.root_threshold,
            )?,
            release: keys(
                ("--add-release-key", &self.add_release_keys),
                ("--remove-release-key", &self.remove_release_keys),
                self.release_threshold,
            )?,
            head: keys(
                ("--add-head-key", &self.add_head_keys),
                ("--remove-head-key", &self.remove_head_keys),
                None,
            )?,
            added_threshold: self.added_threshold,
            masters: self.master_changes()?,
            epoch: match (self.new_epoch, self.keep_epoch) {
                (true, _) => EpochChange::Raise,
                (false, true) => EpochChange::Keep,
                (false, false) => EpochChange::WithHeadKeys,
            },
            head_ttl_max_ms: self.head_life.map(|hours| hours * (HEAD_TTL_MS / 6)),
            revoke: revoke.collect::<Result<_, _>>()?,
            release_min: self.release_min.map(ReleaseNumber),
        })
    }

    /// Those that go first, so that another may have their name or key.
    fn master_changes(&self) -> Result<Vec<MasterChange>, Failure> {
        let mut changes: Vec<MasterChange> = self
            .remove_masters
            .iter()
            .cloned()
            .map(MasterChange::Remove)
            .collect();
        for given in &self.master_keys {
            let (name, key) = options::named("--master-key", given, "NAME=KEY")?;
            let key = self.unlock.public_key("--master-key", key)?;
            changes.push(MasterChange::Key(name, key));
        }
        for given in &self.master_addresses {
            let option = "--master-address";
            let (name, list) = options::named(option, given, "NAME=HOST:PORT")?;
            let addresses = options::addresses(option, list)?;
            changes.push(MasterChange::Addresses(name, addresses));
        }
        for given in &self.masters {
            changes.push(MasterChange::Set(options::master(given, &self.unlock)?));
        }
        Ok(changes)
    }
}
