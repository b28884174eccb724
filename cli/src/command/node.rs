//! `tidecast node`: who may fetch from this master.

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::master::{
    self, ConnectedNode, Decision, Details, Feed, MasterStatus, Node as Known, Nodes,
    SettingsChange,
};
use tidecast_proto::key::PublicKey;

use super::node_settings::Settings;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Shell, now_ms};
use crate::text;

/// Fewest digits of a key that name a node: nobody shares so many by chance, or by trying keys for years.
const PREFIX_DIGITS_MIN: usize = 16;

/// Digits of a key that lists show; enough to name it to `admit`.
const SHOWN_DIGITS: usize = 16;

/// What can be done to nodes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Node {
    /// List nodes: admitted, waiting to be admitted, and revoked; with -v also notes and limits.
    List,
    /// Let a node fetch. A waiting mirror is told within a second.
    Admit(Admit),
    /// Change what you call a node and what it may have, at once.
    Set(Set),
    /// Let a node fetch no longer; its connection is closed at once.
    Revoke(Which),
    Rotate(super::rotate::Rotate),
}

/// Which node.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its key: 64 hex digits, or the first 16 or more of them; or the name of a node that was admitted once.
    #[arg(value_name = "KEY")]
    key: String,
}

/// Which node, in whose place, and what is to be different for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Admit {
    #[command(flatten)]
    which: Which,
    /// The node whose place it takes, named in the same way: its details go over to the new key, and it is revoked.
    #[arg(long, value_name = "KEY")]
    replaces: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// Which node, and what is to be different for it.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Set {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Serialize)]
struct Decided {
    node_key: String,
    state: &'static str,
    name: String,
    contact: String,
    hosts: Vec<String>,
    #[serde(flatten)]
    settings: Shown,
    /// Whether a running master acts on it already.
    told: bool,
}

/// Settings that have no field elsewhere.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_bytes_per_s: Option<u64>,
    connections_max: usize,
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    daemon: bool,
    nodes: &'a [ConnectedNode],
}

impl Node {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let this = match self {
            Self::Rotate(command) => return command.run(shell).await,
            this => this,
        };
        // Also says so when this is no master's state.
        Feed::load(&shell.state)?;
        let (nodes, daemon) = known(shell).await?;
        match this {
            Self::List => {
                let text = render(&nodes, daemon, now_ms(), shell.verbose);
                let listed = Listed {
                    daemon,
                    nodes: &nodes,
                };
                shell.result(&listed, &text)?;
            }
            Self::Admit(admit) => {
                let (key, node) = admit.which.find(&nodes)?;
                let change = admit.settings.change();
                match admit.replaces {
                    None => decide(shell, key, node, Decision::Admit, &change).await?,
                    Some(old) => {
                        let (old, _) = Which { key: old }.find(&nodes)?;
                        replace(shell, old, key, &change).await?;
                    }
                }
            }
            Self::Set(set) => {
                let (key, _) = set.which.find(&nodes)?;
                let change = set.settings.change();
                if change.is_empty() {
                    return Err(Failure::usage("nothing is to be set")
                        .hint("name what: --name, --note, --contact, --rate, --connections"));
                }
                let node = Nodes::set(&shell.state, key, &change)?;
                tell(shell, key, node).await?;
            }
            Self::Revoke(which) => {
                let (key, node) = which.find(&nodes)?;
                decide(
                    shell,
                    key,
                    node,
                    Decision::Revoke,
                    &SettingsChange::default(),
                )
                .await?;
            }
            // Taken care of above: it is a mirror's.
            Self::Rotate(_) => {}
        }
        Ok(Exit::Ok)
    }
}

/// Every node the master knows of; from disk when no daemon runs, and then nobody is waiting.
async fn known(shell: &Shell<'_>) -> Result<(Vec<ConnectedNode>, bool), Failure> {
    match control::ask(&shell.state, &control::Command::Status).await {
        Ok(value) => {
            let status: MasterStatus = serde_json::from_value(value).map_err(|error| {
                Failure::new(Exit::Internal, format!("the master's answer: {error}"))
            })?;
            Ok((status.nodes, true))
        }
        Err(ControlError::NotRunning { .. }) => {
            let nodes = Nodes::load(&shell.state)?;
            Ok((ConnectedNode::all_listed(&nodes), false))
        }
        Err(error) => Err(error.into()),
    }
}

impl Which {
    /// The node meant; one nobody has heard of only by its whole key.
    fn find<'a>(
        &self,
        nodes: &'a [ConnectedNode],
    ) -> Result<(PublicKey, Option<&'a ConnectedNode>), Failure> {
        let wanted = self.key.trim();
        if let Ok(key) = wanted.to_ascii_lowercase().parse::<PublicKey>() {
            let text = key.to_string();
            return Ok((key, nodes.iter().find(|node| node.node_key == text)));
        }
        let found: Vec<&ConnectedNode> = nodes.iter().filter(|node| names(node, wanted)).collect();
        let shown = text::plain(wanted);
        match found[..] {
            [node] => {
                let key = node.node_key.parse().map_err(|_| {
                    Failure::new(Exit::Internal, format!("{} is no key", node.node_key))
                })?;
                Ok((key, Some(node)))
            }
            [] if nodes.iter().any(|node| is_called(node, wanted)) => Err(Failure::new(
                Exit::NoInput,
                format!("a node that waits calls itself {shown:?}, as anybody could"),
            )
            .hint("name it by 16 or more digits of its key, and make sure by telephone or mail that they are right")),
            [] => Err(Failure::new(
                Exit::NoInput,
                format!("no node is called {shown:?}"),
            )
            .hint(
                "`tidecast node list` shows who waits; or give the whole key that `tidecast join` printed, 64 hex digits",
            )),
            _ => {
                let keys: Vec<&str> = found.iter().map(|node| short(&node.node_key)).collect();
                let what = format!("{shown:?} could be any of {}", keys.join(", "));
                Err(Failure::usage(what).hint("give more digits of the key"))
            }
        }
    }
}

/// Whether `wanted` is the beginning of this node's key, or the name of one that somebody has decided about: what a
/// stranger calls itself names nobody.
fn names(node: &ConnectedNode, wanted: &str) -> bool {
    let is_prefix = wanted.len() >= PREFIX_DIGITS_MIN
        && node
            .node_key
            .get(..wanted.len())
            .is_some_and(|digits| digits.eq_ignore_ascii_case(wanted));
    is_prefix || (node.state != "pending" && is_called(node, wanted))
}

fn is_called(node: &ConnectedNode, name: &str) -> bool {
    !name.is_empty() && node.name == name
}

async fn decide(
    shell: &mut Shell<'_>,
    key: PublicKey,
    node: Option<&ConnectedNode>,
    decision: Decision,
    change: &SettingsChange,
) -> Result<(), Failure> {
    // Of one that was decided about before, what it said then is kept: its name here may be the operator's.
    let waits = node.filter(|node| node.state == "pending");
    let details = waits.map(|node| Details {
        name: node.name.clone(),
        contact: node.contact.clone(),
        hosts: node.hosts.clone(),
    });
    let now = SystemClock.now();
    let node = Nodes::decide_and_set(&shell.state, key, decision, details, change, now)?;
    tell(shell, key, node).await
}

/// Lets `new` in with what is known of `old`, and `old` out.
async fn replace(
    shell: &mut Shell<'_>,
    old: PublicKey,
    new: PublicKey,
    change: &SettingsChange,
) -> Result<(), Failure> {
    if old == new {
        return Err(Failure::usage("a key cannot take its own place")
            .hint("name the new key first, and the old one behind --replaces"));
    }
    let node = master::replace(&shell.state, old, new, change, SystemClock.now())?;
    shell.note(&format!("revoked {old}"));
    tell(shell, new, node).await
}

/// Has a running master take up what was decided, and prints it.
async fn tell(shell: &mut Shell<'_>, key: PublicKey, node: Known) -> Result<(), Failure> {
    let told = match control::ask(&shell.state, &control::Command::Reload).await {
        Ok(_) => true,
        Err(ControlError::NotRunning { .. }) => false,
        Err(error) => {
            shell.note(&format!(
                "warning: the running master did not take it up: {error}"
            ));
            false
        }
    };
    let settings = Shown {
        connections_max: node.connections_max(),
        note: node.settings.note.clone(),
        rate_bytes_per_s: node.settings.rate_bytes_per_s,
    };
    let decided = Decided {
        node_key: key.to_string(),
        state: if node.admitted { "admitted" } else { "revoked" },
        name: node.settings.name.unwrap_or(node.name),
        contact: node.settings.contact.unwrap_or(node.contact),
        hosts: node.hosts,
        settings,
        told,
    };
    let name = match decided.name.as_str() {
        "" => String::new(),
        name => format!(" ({})", text::plain(name)),
    };
    let when = if told {
        ""
    } else {
        ", from the next start of the master on"
    };
    let text = format!("{} {}{name}{when}\n", decided.state, decided.node_key);
    shell.result(&decided, &text)
}

/// The digits of a key that a list has room for.
pub(super) fn short(key: &str) -> &str {
    key.get(..SHOWN_DIGITS).unwrap_or(key)
}

/// Nodes as a table.
pub(super) fn render(nodes: &[ConnectedNode], daemon: bool, now: u64, verbose: bool) -> String {
    let mut rows: Vec<(u8, Vec<String>)> = nodes
        .iter()
        .map(|node| {
            let seen = match (node.connected, node.receipt_ms) {
                (true, _) => "connected".into(),
                (false, Some(receipt)) => format!("receipt {}", text::ago(receipt, now)),
                (false, None) => "-".into(),
            };
            let release = node.release.filter(|release| *release > 0);
            let mut row = vec![
                node.state.clone(),
                short(&node.node_key).to_owned(),
                text::plain(&node.name),
                release.map_or("-".into(), |release| release.to_string()),
                seen,
                node.address.clone().unwrap_or_else(|| "-".into()),
                text::plain(&node.contact),
                text::plain(&node.hosts.join(" ")),
            ];
            if verbose {
                row.extend(limits(node));
            }
            let order = match node.state.as_str() {
                "pending" => 0,
                "admitted" => 1,
                _ => 2,
            };
            (order, row)
        })
        .collect();
    rows.sort_by_key(|(order, _)| *order);
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    let mut text = if rows.is_empty() {
        "no nodes\n".into()
    } else {
        let mut headings = vec![
            "STATE", "KEY", "NAME", "RELEASE", "SEEN", "ADDRESS", "CONTACT", "HOSTS",
        ];
        if verbose {
            headings.extend(["RATE", "CONNECTIONS", "NOTE"]);
        }
        text::table(&headings, &[false, false, false, true], &rows)
    };
    if !daemon {
        text.push_str("no master runs on this state: who waits or is connected is not known\n");
    }
    text
}

/// What a node may have, and what was written about it.
fn limits(node: &ConnectedNode) -> [String; 3] {
    let rate = node.rate_bytes_per_s;
    let rate = rate.map_or("-".into(), |rate| format!("{}/s", text::bytes(rate)));
    let most = node.connections_max;
    let connections = most.map_or("-".into(), |most| format!("{} of {most}", node.connections));
    let note = text::plain(node.note.as_deref().unwrap_or_default());
    [rate, connections, note]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    fn node(seed: u8, name: &str, state: &str) -> ConnectedNode {
        ConnectedNode {
            node_key: SecretKey::from_seed(&[seed; 32]).public().to_string(),
            state: state.into(),
            connected: state == "pending",
            name: name.into(),
            contact: "a@example.org".into(),
            ..ConnectedNode::default()
        }
    }

    fn find(key: &str, nodes: &[ConnectedNode]) -> Result<String, Exit> {
        let which = Which { key: key.into() };
        which
            .find(nodes)
            .map(|(key, _)| key.to_string())
            .map_err(|failure| failure.exit)
    }

    #[test]
    fn a_node_is_named_by_its_key_sixteen_digits_of_it_or_its_name() {
        let nodes = [node(1, "alpha", "admitted"), node(2, "beta", "pending")];
        let key = &nodes[0].node_key;
        for name in [key.as_str(), &key[..16], &key[..40], "alpha"] {
            assert_eq!(find(name, &nodes).as_ref(), Ok(key), "{name}");
        }
        assert_eq!(find(&key.to_uppercase(), &nodes).as_ref(), Ok(key));
    }

    #[test]
    fn fifteen_digits_an_unknown_name_and_an_empty_one_name_nobody() {
        let nodes = [node(1, "", "pending")];
        for name in [&nodes[0].node_key[..15], "gamma", ""] {
            assert_eq!(find(name, &nodes), Err(Exit::NoInput), "{name}");
        }
    }

    #[test]
    fn two_nodes_of_one_name_are_not_guessed_between() {
        let nodes = [node(1, "alpha", "revoked"), node(2, "alpha", "admitted")];
        assert_eq!(find("alpha", &nodes), Err(Exit::Usage));
    }

    #[test]
    fn a_node_that_waits_is_never_named_by_what_it_calls_itself() {
        let nodes = [node(1, "alpha", "pending"), node(2, "beta", "admitted")];
        assert_eq!(find("alpha", &nodes), Err(Exit::NoInput));
        let taken = [node(1, "beta", "pending"), node(2, "beta", "admitted")];
        assert_eq!(find("beta", &taken).as_ref(), Ok(&taken[1].node_key));
        let digits = &nodes[0].node_key[..16];
        assert_eq!(find(digits, &nodes).as_ref(), Ok(&nodes[0].node_key));
    }

    #[test]
    fn a_stranger_is_admitted_by_the_whole_key_only() {
        let key = SecretKey::from_seed(&[9; 32]).public().to_string();
        assert_eq!(find(&key, &[]).as_ref(), Ok(&key));
        assert_eq!(find(&key[..63], &[]), Err(Exit::NoInput));
    }

    #[test]
    fn those_who_wait_are_listed_first() {
        let text = render(
            &[node(1, "a", "admitted"), node(2, "b", "pending")],
            true,
            0,
            false,
        );
        assert!(text.find("pending") < text.find("admitted"), "{text}");
    }
}
