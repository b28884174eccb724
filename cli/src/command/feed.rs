//! `tidecast feed init`.

use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::config;
use tidecast_engine::master::{self, NewFeed};
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::fingerprint;
use tidecast_proto::id::FeedName;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{self, Shell};

/// What can be done to feeds.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Feed {
    Init(Init),
}

impl Feed {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        match self {
            Self::Init(init) => init.run(shell),
        }
    }
}

/// Make a new feed with its keys, and print the fingerprint that mirrors are told.
///
/// Root and release keys go to the keys folder, which belongs on the machine that publishes and nowhere else; the
/// master's state gets only the keys a master needs. Nothing that exists is ever replaced. Exit status: 0 made,
/// 65 with --root: the roots are no chain, or name other keys than the folder holds, 66 a root or key is missing,
/// 73 there is a feed already.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The feed's name: a-z, 0-9, dot, underscore and hyphen.
    #[arg(long, value_name = "NAME", required_unless_present = "roots")]
    feed: Option<String>,
    /// Instead of making keys and a root: the signed roots of a feed, 1 to the newest. The state folder holds the head
    /// and node keys that the newest names.
    #[arg(long = "root", value_name = "FILE", conflicts_with_all = ["feed", "keys", "addresses"])]
    roots: Vec<PathBuf>,
    /// Where root and release keys go.
    ///
    /// Default: the state folder's name with -keys behind it; without --state, /etc/tidecast/keys for root and
    /// ~/.config/tidecast/keys (XDG) otherwise.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// What publishing demands of databases: all that ClamAV's clients check, or header and MD5, or nothing.
    #[arg(long, value_name = "POLICY", default_value = "genuine", value_parser = ["genuine", "header", "none"])]
    verify: String,
    /// Where mirrors reach this master; may be given up to 8 times.
    #[arg(long = "address", value_name = "HOST:PORT")]
    addresses: Vec<String>,
    /// What mirrors' operators call this master.
    #[arg(long, value_name = "NAME", default_value = "master")]
    name: String,
}

#[derive(Debug, Serialize)]
struct Made {
    feed: String,
    fingerprint: String,
    words: String,
    state: String,
    /// Absent where the keys were made elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<String>,
}

impl Init {
    fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let verify = config::parse_policy(&self.verify)
            .ok_or_else(|| Failure::usage(format!("--verify {:?} is no policy", self.verify)))?;
        if !self.roots.is_empty() {
            return from_roots(shell, &self.roots, verify);
        }
        let feed = self.feed.unwrap_or_default();
        let name = FeedName::new(&feed)
            .map_err(|why| Failure::usage(format!("--feed {feed:?}: {why}")))?;
        let keys = self.keys.unwrap_or_else(|| shell::default_keys(shell));
        let new = NewFeed {
            name,
            state: &shell.state,
            keys: &keys,
            verify,
            master_name: self.name,
            addresses: self.addresses,
        };
        let id = master::init(new, SystemClock.now())?;
        let made = Made {
            feed,
            fingerprint: id.to_string(),
            words: fingerprint::to_words(&id),
            state: shell.state.display().to_string(),
            keys: Some(keys.display().to_string()),
        };
        let text = render(
            &made,
            &shell.command("publish TREE"),
            &shell.command("master"),
        );
        shell.result(&made, &text)?;
        Ok(Exit::Ok)
    }
}

/// Makes a master of a feed whose roots were made elsewhere.
fn from_roots(shell: &mut Shell<'_>, files: &[PathBuf], verify: VerifyPolicy) -> Outcome {
    let mut roots = Vec::new();
    for file in files {
        roots.push(super::root::at_hand::read(file)?);
    }
    roots.sort_by_key(|(_, body)| body.version);
    let name = roots.last().map(|(_, body)| body.feed.to_string());
    let publish = match roots.last() {
        Some((_, body)) if body.release_threshold > 1 => "release propose TREE",
        _ => "publish TREE",
    };
    let signed = roots.into_iter().map(|(signed, _)| signed).collect();
    let id = master::init_from_roots(&shell.state, signed, verify)?;
    let made = Made {
        feed: name.unwrap_or_default(),
        fingerprint: id.to_string(),
        words: fingerprint::to_words(&id),
        state: shell.state.display().to_string(),
        keys: None,
    };
    let text = render(&made, &shell.command(publish), &shell.command("master"));
    shell.result(&made, &text)?;
    Ok(Exit::Ok)
}

fn render(made: &Made, publish: &str, master: &str) -> String {
    let words: Vec<&str> = made.words.split(' ').collect();
    let words: Vec<String> = words.chunks(8).map(|line| line.join(" ")).collect();
    let keys = made.keys.as_ref().map_or(String::new(), |keys| {
        format!("\nkeys         {keys}  (keep them, and a copy, off the master)")
    });
    format!(
        "feed         {}\nfingerprint  {}\nin words     {}\nstate        {}{keys}\n\n\
         Give mirrors the fingerprint by a way you trust: letter, telephone, a page over HTTPS.\nNext: {publish}\n      {master}\n",
        made.feed,
        made.fingerprint,
        words.join("\n             "),
        made.state,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::id::FeedId;

    #[test]
    fn the_fingerprint_is_shown_in_both_forms() {
        let feed = FeedId::of(b"root 1");
        let made = Made {
            feed: "clamav".into(),
            fingerprint: feed.to_string(),
            words: fingerprint::to_words(&feed),
            state: "/state".into(),
            keys: Some("/keys".into()),
        };
        let text = render(&made, "publish", "master");
        assert!(text.contains(&feed.to_string()));
        let shown: Vec<&str> = text.split_whitespace().collect();
        let words: Vec<&str> = made.words.split(' ').collect();
        assert!(shown.windows(24).any(|window| window == words), "{text}");
    }
}
