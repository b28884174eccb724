//! The command line, driven as an operator or a script drives it: what it refuses, what it says, how it ends.

#[path = "cli/auditing.rs"]
mod auditing;
#[path = "support/command.rs"]
mod command;
#[path = "cli/joining.rs"]
mod joining;
#[path = "cli/nodes.rs"]
mod nodes;
#[path = "cli/publishing.rs"]
mod publishing;
#[path = "cli/running.rs"]
mod running;
#[path = "cli/saying.rs"]
mod saying;
