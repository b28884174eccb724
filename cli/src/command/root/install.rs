//! `tidecast root install`.

use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::master::{self, Feed};
use tidecast_engine::store::Store;
use tidecast_engine::vouched;
use tidecast_proto::ceremony::KeyRole;

use super::at_hand;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;

/// Put signed roots into a master's state; mirrors fetch them from there.
///
/// To be done on every master. Keys made with `tidecast key new --next` that the newest root names take the place of
/// those it does not name. A running master goes on under the new root at once. Exit status: 0 installed, or they were
/// already, 65 one does not follow, is not signed by enough keys, or contradicts one that is installed, 66 a file is
/// missing, 78 this is no master's state.
#[derive(Debug, clap::Args)]
pub(crate) struct Install {
    /// The roots, in any order; those that are installed already do no harm.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Installed {
    from: u64,
    to: u64,
    switched: Vec<&'static str>,
    told: bool,
    warnings: Vec<String>,
}

impl Install {
    pub(super) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let mut offered = Vec::new();
        for path in &self.files {
            offered.push(at_hand::read(path)?.0);
        }
        let done = master::install(&shell.state, offered)?;
        let mut warnings = Vec::new();
        let told = match control::ask(&shell.state, &control::Command::Reload).await {
            Ok(_) => true,
            Err(ControlError::NotRunning { .. }) => false,
            Err(error) => {
                warnings.push(format!(
                    "the running master did not take up everything: {error}"
                ));
                true
            }
        };
        warnings.extend(concerns(shell)?);
        let installed = Installed {
            from: done.from.0,
            to: done.root.version.0,
            switched: done.switched.iter().map(|role| role.word()).collect(),
            told,
            warnings,
        };
        let text = render(&installed);
        shell.result(&installed, &text)?;
        Ok(Exit::Ok)
    }
}

/// What this master cannot do under its newest root.
fn concerns(shell: &Shell<'_>) -> Result<Vec<String>, Failure> {
    let feed = Feed::load(&shell.state)?;
    let version = feed.root.version;
    let mut concerns = Vec::new();
    for (role, key) in [
        (KeyRole::Head, feed.head_key()?.public()),
        (KeyRole::Node, feed.node_key()?.public()),
    ] {
        if !feed.root.names(role, &key) {
            concerns.push(format!(
                "root {version} does not name this master's {role} key {key}"
            ));
        }
    }
    let folder = feed.store_folder();
    let store = folder.exists().then(|| Store::open(&folder)).transpose()?;
    let concern = store
        .map(|store| vouched::concern_of_newest(&store, &feed.root, &feed.id))
        .transpose()?;
    if let Some((release, error)) = concern.flatten() {
        concerns.push(format!(
            "release {release} cannot be announced under root {version} ({error}); {}",
            vouched::advice(release, version, &error)
        ));
    }
    Ok(concerns)
}

fn render(installed: &Installed) -> String {
    let mut text = match installed.to - installed.from {
        0 => format!("root {} was installed already", installed.to),
        1 => format!("root {} installed", installed.to),
        _ => format!("roots {} to {} installed", installed.from + 1, installed.to),
    };
    if !installed.told {
        text.push_str(", in force from the next start of the master on");
    }
    text.push('\n');
    for role in &installed.switched {
        text.push_str(&format!("this master goes on with its next {role} key\n"));
    }
    for warning in &installed.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}
