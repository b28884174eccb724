//! Where admitted nodes have come from lately: from there a handshake finds room although strangers fill the house.
//! SPEC §6.1.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;

/// Addresses of one node, an IPv6 /64 being one: a site with two lines and both families has four. A key that comes from
/// everywhere would otherwise open the reserve to whoever shares its addresses.
const ADDRESSES_PER_NODE: usize = 4;

/// Addresses of all nodes; they hold some 400 KiB.
const ADDRESSES_MAX: usize = 4096;

/// How long an address is remembered after a node last came from there: longer than a mirror is down for a holiday, and
/// than a daily `sync` pauses; addresses are given to others later.
const REMEMBERED_MS: u64 = 14 * 24 * 3600 * 1000;

/// Addresses of admitted nodes.
#[derive(Debug, Default)]
pub(super) struct Acquaintance {
    /// When each node last came from each of its addresses.
    nodes: BTreeMap<PublicKey, Vec<(IpAddr, Timestamp)>>,
    /// When any last came from each.
    addresses: BTreeMap<IpAddr, Timestamp>,
}

impl Acquaintance {
    /// An admitted node came from `address`.
    pub(super) fn met(&mut self, node: PublicKey, address: IpAddr, now: Timestamp) {
        let of_node = self.nodes.entry(node).or_default();
        of_node.retain(|(had, _)| *had != address);
        if of_node.len() >= ADDRESSES_PER_NODE {
            // The one it has not come from for longest: each is moved to the end when it comes.
            of_node.remove(0);
        }
        of_node.push((address, now));
        self.prune(now);
    }

    /// Whether an admitted node has come from `address`.
    pub(super) fn includes(&self, address: &IpAddr, now: Timestamp) -> bool {
        let at = self.addresses.get(address);
        at.is_some_and(|at| now.0.saturating_sub(at.0) < REMEMBERED_MS)
    }

    fn prune(&mut self, now: Timestamp) {
        self.nodes.retain(|_, of_node| {
            of_node.retain(|(_, at)| now.0.saturating_sub(at.0) < REMEMBERED_MS);
            !of_node.is_empty()
        });
        let mut all: usize = self.nodes.values().map(Vec::len).sum();
        while all > ADDRESSES_MAX {
            let oldest = self.nodes.iter().min_by_key(|(_, of_node)| of_node[0].1);
            let Some(node) = oldest.map(|(node, _)| *node) else {
                break;
            };
            if let Some(of_node) = self.nodes.get_mut(&node) {
                of_node.remove(0);
                if of_node.is_empty() {
                    self.nodes.remove(&node);
                }
            }
            all -= 1;
        }
        self.addresses.clear();
        for (address, at) in self.nodes.values().flatten() {
            let last = self.addresses.entry(*address).or_insert(*at);
            *last = (*last).max(*at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    fn node(n: u16) -> PublicKey {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&n.to_le_bytes());
        SecretKey::from_seed(&seed).public()
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_node_that_comes_from_everywhere_is_known_at_its_last_four_addresses() {
        let mut known = Acquaintance::default();
        let now = Timestamp(5);
        known.met(node(1), address(9_999), now);
        for n in 0..10_000 {
            known.met(node(2), address(n), now);
        }
        let of_all = (0..10_000).filter(|n| known.includes(&address(*n), now));
        assert_eq!(of_all.collect::<Vec<_>>(), [9_996, 9_997, 9_998, 9_999]);
        // The address that both came from is still the first one's when the second moves on.
        for n in 0..4 {
            known.met(node(2), address(n), now);
        }
        assert!(known.includes(&address(9_999), now));
        assert!(!known.includes(&address(9_998), now));
    }

    #[test]
    fn an_address_is_forgotten_when_nobody_comes_from_there_any_more() {
        let mut known = Acquaintance::default();
        known.met(node(1), address(1), Timestamp(0));
        known.met(node(1), address(2), Timestamp(0));
        let later = Timestamp(REMEMBERED_MS - 1);
        assert!(known.includes(&address(1), later));
        known.met(node(1), address(2), later);
        let over = Timestamp(REMEMBERED_MS);
        assert!(!known.includes(&address(1), over) && known.includes(&address(2), over));
        known.met(node(2), address(3), over);
        assert_eq!(known.nodes[&node(1)].len(), 1);
    }

    #[test]
    fn of_too_many_addresses_the_oldest_goes() {
        let mut known = Acquaintance::default();
        for n in 0..5 {
            for m in 0..4 {
                known.met(node(n), address(u32::from(n) * 4 + m), Timestamp(n.into()));
            }
        }
        known.nodes.insert(
            node(100),
            vec![(address(1_000_000), Timestamp(50)); ADDRESSES_MAX - 20],
        );
        known.met(node(200), address(2_000_000), Timestamp(100));
        assert!(!known.includes(&address(0), Timestamp(100)));
        assert!(known.includes(&address(1), Timestamp(100)));
        assert!(known.includes(&address(2_000_000), Timestamp(100)));
    }
}
