//! A mirror: keeps a docroot at the newest release.

mod status;

pub use status::{ConnectionStatus, Fault, MirrorStatus, Progress, SyncPlan, SyncReport};
