//! How many connections a node has, and who leaves when they are too many: the oldest, for a mirror that comes back
//! must get in before its old connection is given up. SPEC §7.4.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tokio::sync::Notify;

use super::settings::CONNECTIONS;
use super::{Master, Node};

/// How long a node that was too many is warned about after the last time.
const REMEMBERED_MS: u64 = 24 * 3600 * 1000;

/// A connection's number, and how it is told to leave.
type Member = (u64, Arc<Notify>);

/// The connections of each node that is let in, oldest first.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    next: AtomicU64,
    members: Mutex<BTreeMap<PublicKey, VecDeque<Member>>>,
    /// When a node was too many last; only nodes that are listed get this far.
    crowded: Mutex<BTreeMap<PublicKey, Timestamp>>,
}

/// A connection's place among those of its node; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Membership {
    crowd: Arc<Crowd>,
    node: PublicKey,
    number: u64,
}

impl Crowd {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PublicKey, VecDeque<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_crowded(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Timestamp>> {
        self.crowded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a connection, which is told through `leave` when it is one of the oldest of more than `most`.
    pub(super) fn enter(
        self: &Arc<Self>,
        node: PublicKey,
        leave: Arc<Notify>,
        most: usize,
        now: Timestamp,
    ) -> Membership {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut members = self.lock();
        members.entry(node).or_default().push_back((number, leave));
        drop(members);
        self.hold_to(&node, most, now);
        Membership {
            crowd: self.clone(),
            node,
            number,
        }
    }

    /// Tells the oldest of more than `most` to leave.
    fn hold_to(&self, node: &PublicKey, most: usize, now: Timestamp) {
        let mut members = self.lock();
        let Some(of_node) = members.get_mut(node) else {
            return;
        };
        let surplus = of_node.len().saturating_sub(most);
        for (_, leave) in of_node.drain(..surplus) {
            // Kept for whoever waits only later.
            leave.notify_one();
        }
        drop(members);
        if surplus > 0 {
            self.lock_crowded().insert(*node, now);
        }
    }

    /// Holds every node to what it may have now, and forgets what is long past.
    pub(super) fn take_over(&self, most: impl Fn(&PublicKey) -> usize, now: Timestamp) {
        let nodes: Vec<PublicKey> = self.lock().keys().copied().collect();
        for node in nodes {
            self.hold_to(&node, most(&node), now);
        }
        let mut crowded = self.lock_crowded();
        crowded.retain(|_, at| now.0.saturating_sub(at.0) < REMEMBERED_MS);
    }

    /// How many connections a node has.
    pub(super) fn connections(&self, node: &PublicKey) -> usize {
        self.lock().get(node).map_or(0, VecDeque::len)
    }

    /// When a node was too many last, within a day of `now`.
    pub(super) fn crowded(&self, node: &PublicKey, now: Timestamp) -> Option<Timestamp> {
        let at = self.lock_crowded().get(node).copied()?;
        (now.0.saturating_sub(at.0) < REMEMBERED_MS).then_some(at)
    }
}

impl Master {
    /// Takes in a connection of a node that is welcome.
    pub(super) fn enter_crowd(&self, node: PublicKey, leave: Arc<Notify>) -> Membership {
        let most = self.connections_max(&node);
        self.crowd.enter(node, leave, most, self.clock.now())
    }

    fn connections_max(&self, node: &PublicKey) -> usize {
        let view = self.view.load();
        let node = view.nodes.0.get(node);
        node.map_or(CONNECTIONS, Node::connections_max)
    }

    /// Makes what the list of nodes says now bind connections that are up.
    pub(super) fn hold_to_settings(&self) {
        self.paces.take_over(&self.view.load().nodes);
        let now = self.clock.now();
        self.crowd.take_over(|node| self.connections_max(node), now);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut members = self.crowd.lock();
        if let Some(of_node) = members.get_mut(&self.node) {
            of_node.retain(|(number, _)| *number != self.number);
            if of_node.is_empty() {
                members.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tidecast_proto::key::SecretKey;

    #[test]
    fn the_oldest_leave_when_a_node_is_too_many_and_it_is_remembered_for_a_day() {
        let crowd: Arc<Crowd> = Arc::default();
        let [node, other] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
        let told: Vec<Arc<Notify>> = (0..4).map(|_| Arc::default()).collect();
        let leaves = |n: usize| told[n].notified().now_or_never().is_some();
        let now = Timestamp(1);
        let enter = |n: usize, most| crowd.enter(node, told[n].clone(), most, now);
        let kept: Vec<_> = (0..2).map(|n| enter(n, 2)).collect();
        let _other = crowd.enter(other, Arc::default(), 1, now);
        assert!(!leaves(0) && crowd.crowded(&node, now).is_none());
        let third = enter(2, 2);
        assert!(leaves(0) && !leaves(1));
        assert_eq!(crowd.connections(&node), 2);
        assert_eq!(crowd.crowded(&node, now), Some(now));
        assert_eq!(crowd.crowded(&other, now), None);
        // It leaves twice: told, then dropped.
        drop(kept);
        assert_eq!(crowd.connections(&node), 1);
        let fourth = enter(3, 2);
        crowd.take_over(|_| 1, Timestamp(2));
        assert!(leaves(2) && !leaves(3));
        drop((third, fourth));
        assert_eq!(crowd.connections(&node), 0);
        crowd.take_over(|_| 1, Timestamp(2 + REMEMBERED_MS));
        assert!(crowd.lock_crowded().is_empty() && crowd.lock().len() == 1);
    }
}
