//! The command line, driven as an operator or a script drives it: what it refuses, what it says, how it ends.

#[path = "cli/auditing.rs"]
mod auditing;
#[path = "support/command.rs"]
mod command;
#[path = "support/http.rs"]
#[allow(dead_code, reason = "each test file uses a part of this module")]
mod http;
#[path = "cli/joining.rs"]
mod joining;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/nodes.rs"]
mod nodes;
#[path = "cli/publishing.rs"]
mod publishing;
#[path = "cli/running.rs"]
mod running;
#[path = "cli/saying.rs"]
mod saying;
#[path = "cli/stale.rs"]
mod stale;
