//! One file per command: its arguments, what it calls, how it shows what came back.

pub(crate) mod audit;
pub(crate) mod bundle;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod feed;
pub(crate) mod gc;
pub(crate) mod generate;
mod heal;
pub(crate) mod hold;
pub(crate) mod join;
pub(crate) mod key;
pub(crate) mod master;
pub(crate) mod mirror;
pub(crate) mod node;
mod node_settings;
pub(crate) mod publish;
pub(crate) mod release;
pub(crate) mod root;
pub(crate) mod rotate;
pub(crate) mod status;
pub(crate) mod sync;
mod unused_number;
pub(crate) mod verify;
