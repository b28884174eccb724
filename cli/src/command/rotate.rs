//! `tidecast node rotate`.

use serde::Serialize;
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::keyfile;
use tidecast_engine::mirror::{self, MIRROR_CONFIG, NEXT_NODE_KEY, NODE_KEY, NextKey};
use tidecast_proto::key::PublicKey;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Role, Shell};

/// Give this mirror another node key, without a moment in which it may not fetch.
///
/// Makes the new key beside the old one, shows it to the masters, and prints what their operator types to admit it in
/// place of the old one. Once a master lets the new key in, a running mirror goes on with it by itself; without one,
/// type this again. A master's node key changes by a new root. Exit status: 0 the new key is in use, 1 it is a master's
/// state, 69 no upstream answered, 77 the new key waits to be admitted.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {}

#[derive(Debug, Serialize)]
struct Rotated {
    node_key: String,
    old_node_key: String,
    /// Whether a running mirror goes on with it by itself.
    daemon: bool,
}

impl Rotate {
    pub(super) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        if shell.role()? == Role::Master {
            return Err(Failure::new(
                Exit::General,
                "a master's node key changes by a new root, which tells mirrors whom to believe",
            )
            .hint(
                "make it with `tidecast key new node --next`, name it in a root with `tidecast root rotate --master-key NAME=KEY --out FILE`, have that signed, and install it with `tidecast root install FILE`",
            ));
        }
        let config: MirrorConfig = config::load(&shell.state.join(MIRROR_CONFIG))?;
        let old = keyfile::load(&shell.state.join(NODE_KEY))?.public();
        let next = keyfile::load_or_generate(&shell.state.join(NEXT_NODE_KEY))?.public();
        let asked = control::ask(&shell.state, &control::Command::Reload).await;
        let (daemon, state) = match asked {
            Ok(_) => (true, state(shell, next)?),
            Err(ControlError::NotRunning { .. }) => {
                (false, mirror::rotate(&shell.state, &config).await?)
            }
            Err(ControlError::Failed(what)) => {
                return Err(Failure::new(Exit::Unavailable, what).hint(
                    "the new key is made and the old one still in use; the running mirror tries again every 30 s",
                ));
            }
            Err(error) => return Err(error.into()),
        };
        let rotated = Rotated {
            node_key: next.to_string(),
            old_node_key: old.to_string(),
            daemon,
        };
        match state {
            NextKey::Taken(_) | NextKey::None => {
                let text =
                    format!("node key  {next}\nthe old one, {old}, can be revoked if it was not\n");
                shell.result(&rotated, &text)?;
                Ok(Exit::Ok)
            }
            NextKey::Waiting(_) => {
                let then = if daemon {
                    "; this mirror then goes on with it by itself"
                } else {
                    "; then type `tidecast node rotate` again"
                };
                Err(Failure::new(
                    Exit::NoPermission,
                    format!("pending: the new key {next} waits to be admitted"),
                )
                .hint(match mirror::masters(&shell.state, &config)? {
                    0 | 1 => format!(
                        "on the master, type: tidecast node admit {next} --replaces {old}{then}"
                    ),
                    // One that revokes the old key takes it from this mirror everywhere.
                    masters => format!(
                        "on each of the {masters} masters, type: tidecast node admit {next}{then}; once `tidecast status` here shows no old key, type there: tidecast node revoke {old}"
                    ),
                }))
            }
        }
    }
}

/// What a running mirror made of the next key.
fn state(shell: &Shell<'_>, next: PublicKey) -> Result<NextKey, Failure> {
    let present = keyfile::load(&shell.state.join(NODE_KEY))?.public();
    Ok(if present == next {
        NextKey::Taken(next)
    } else {
        NextKey::Waiting(next)
    })
}
