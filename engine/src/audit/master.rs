//! The replay of a master.

use std::path::Path;

use super::ledger::Ledger;
use super::roots::Roots;
use super::{AuditError, heads, releases};
use crate::config::{self, MasterConfig};
use crate::master::MASTER_CONFIG;

pub(super) fn audit(ledger: &mut Ledger, state: &Path) -> Result<(), AuditError> {
    ledger.report.role = "master";
    let path = state.join(MASTER_CONFIG);
    let config: MasterConfig = config::load(&path)?;
    let feed = config.feed_id(&path)?;
    let roots = Roots::walk(ledger, state, &feed)?;
    if roots.newest().is_none() {
        // Without a root everything else is somebody's word.
        return Ok(());
    }
    // Before the store: what a daemon publishes meanwhile is no discrepancy.
    let announced = heads::replay(ledger, state, &roots, &feed)?;
    releases::check(ledger, &state.join("store"), &roots, &feed, &announced)
}
