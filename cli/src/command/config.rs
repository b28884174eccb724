//! `tidecast config check`.

use serde::Serialize;
use tidecast_engine::config::{self, Layout, MirrorConfig};
use tidecast_engine::docroot::{Docroot, check_front};
use tidecast_engine::keyfile;
use tidecast_engine::master::{Feed, MASTER_CONFIG};
use tidecast_engine::mirror::{MIRROR_CONFIG, NODE_KEY};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Role, Shell};

/// What can be done with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Config {
    /// Check the configuration, and that keys and docroot can be used. Changes nothing.
    Check,
}

#[derive(Debug, Serialize)]
struct Checked {
    role: &'static str,
    config: String,
    ok: bool,
}

impl Config {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let (role, name) = match shell.role()? {
            Role::Master => {
                let feed = Feed::load(&shell.state)?;
                feed.node_key()?;
                feed.head_key()?;
                ("master", MASTER_CONFIG)
            }
            Role::Mirror => {
                check_mirror(shell)?;
                ("mirror", MIRROR_CONFIG)
            }
        };
        let checked = Checked {
            role,
            config: shell.state.join(name).display().to_string(),
            ok: true,
        };
        let text = format!("{}: a usable {role}'s configuration\n", checked.config);
        shell.result(&checked, &text)?;
        Ok(Exit::Ok)
    }
}

fn check_mirror(shell: &Shell<'_>) -> Result<(), Failure> {
    let path = shell.state.join(MIRROR_CONFIG);
    let config: MirrorConfig = config::load(&path)?;
    let feed = config.feed_id(&path)?;
    config.clamd_address(&path)?;
    config.hook(&path)?;
    for upstream in &config.upstreams {
        super::join::check_upstream(upstream).map_err(|failure| Failure {
            exit: Exit::Config,
            what: format!("{}: upstreams: {}", path.display(), failure.what),
            ..failure
        })?;
    }
    keyfile::load(&shell.state.join(NODE_KEY))?;
    match config.layout {
        Layout::Links => drop(Docroot::survey(&config.docroot, &feed)?),
        Layout::Exchange => {
            check_front(&config.docroot)?;
            Docroot::survey(&config.kept_docroot(), &feed)?;
        }
    }
    Ok(())
}
