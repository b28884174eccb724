//! Who is connected, and what is known of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::receipt::ReceiptBody;
use tidecast_proto::wire::Hello;

use super::acquaintance::Acquaintance;
use crate::network::{counted_address, network_of};

/// Strangers from one IPv4 address or IPv6 /64.
const STRANGERS_PER_ADDRESS: usize = 8;

/// Strangers past those limits that are let stay until they have been told so; more are closed at once, because
/// telling costs a connection, too. Each stays for [`limits::HELLO_MS`] at most.
const TURNED_AWAY_MAX: usize = 64;

/// Handshakes under way beyond which new ones are refused, from addresses that proved themselves, too: each holds
/// some 50 KiB and costs a signature, so these are 25 MiB at worst and a second's work of one core.
const HANDSHAKES_MAX: usize = 8 * limits::HANDSHAKES_BEFORE_RETRY;

/// Further ones for addresses that admitted nodes have come from.
const HANDSHAKES_RESERVED: usize = limits::HANDSHAKES_BEFORE_RETRY;

/// Of these, handshakes of one address that proved itself, an IPv6 /64 being one: a site's mirrors that all start at
/// once have room, and it takes 16 addresses to fill the house. Addresses that have not proved themselves are not
/// counted, or anybody could keep out whoever they name.
const HANDSHAKES_PER_ADDRESS: usize = 32;

/// What a connection counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its key is admitted: strangers never take its place.
    Admitted,
    /// May wait for the operator.
    Stranger,
    /// There is no room for it to wait: it is told so.
    TurnedAway,
}

/// What is known of one connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) node: PublicKey,
    pub(super) address: SocketAddr,
    pub(super) connected: Timestamp,
    pub(super) hello: Option<Hello>,
    pub(super) standing: Standing,
    pub(super) receipt: Option<ReceiptBody>,
}

/// Every connection by a number of its own, and the last receipt of every node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    next: AtomicUsize,
    peers: Mutex<BTreeMap<usize, Peer>>,
    receipts: Mutex<BTreeMap<PublicKey, ReceiptBody>>,
    handshakes: Mutex<Handshakes>,
}

/// Handshakes under way, and who may begin another.
#[derive(Debug, Default)]
struct Handshakes {
    count: usize,
    /// By proved address.
    proved: BTreeMap<IpAddr, usize>,
    /// Where admitted nodes have come from.
    known: Acquaintance,
}

/// What is done about a connection that begins.
#[derive(Debug)]
pub(super) enum Door {
    /// It may shake hands for as long as this is kept.
    Open(Handshake),
    /// Its address must prove itself first.
    Prove,
    /// Enough is under way from its address: it is not answered, and sends again.
    Later,
    /// There is no room for anybody.
    Closed,
}

/// A handshake under way; over when dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    sessions: Arc<Sessions>,
    proved: Option<IpAddr>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut handshakes = self.sessions.lock_handshakes();
        handshakes.count -= 1;
        if let Some(address) = self.proved
            && let Some(count) = handshakes.proved.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                handshakes.proved.remove(&address);
            }
        }
    }
}

impl Sessions {
    /// What is done about a connection that begins from `address`, which has `proved` to receive what is sent there.
    pub(super) fn door(self: &Arc<Self>, address: IpAddr, proved: bool, now: Timestamp) -> Door {
        let mut handshakes = self.lock_handshakes();
        let address = network_of(address);
        let room = if handshakes.known.includes(&address, now) {
            HANDSHAKES_MAX + HANDSHAKES_RESERVED
        } else {
            HANDSHAKES_MAX
        };
        if !proved && handshakes.count >= limits::HANDSHAKES_BEFORE_RETRY {
            return Door::Prove;
        }
        if handshakes.count >= room {
            return Door::Closed;
        }
        if proved {
            let from_here = handshakes.proved.entry(address).or_default();
            if *from_here >= HANDSHAKES_PER_ADDRESS {
                return Door::Later;
            }
            *from_here += 1;
        }
        handshakes.count += 1;
        drop(handshakes);
        Door::Open(Handshake {
            sessions: self.clone(),
            proved: proved.then_some(address),
        })
    }

    /// How many handshakes are under way.
    pub(super) fn handshakes(&self) -> usize {
        self.lock_handshakes().count
    }

    fn lock_handshakes(&self) -> MutexGuard<'_, Handshakes> {
        self.handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a connection: an admitted one always, a stranger as what there is room for.
    pub(super) fn enter(self: &Arc<Self>, mut peer: Peer) -> Option<Entry> {
        if peer.standing == Standing::Admitted {
            let address = network_of(peer.address.ip());
            let mut handshakes = self.lock_handshakes();
            handshakes.known.met(peer.node, address, peer.connected);
        }
        let mut peers = self.lock();
        if peer.standing != Standing::Admitted {
            let address = counted_address(peer.address.ip());
            let (mut strangers, mut from_here, mut turned_away) = (0, 0, 0);
            for other in peers.values() {
                match other.standing {
                    Standing::Admitted => {}
                    Standing::Stranger => {
                        strangers += 1;
                        from_here += usize::from(counted_address(other.address.ip()) == address);
                    }
                    Standing::TurnedAway => turned_away += 1,
                }
            }
            let here_full = address.is_some() && from_here >= STRANGERS_PER_ADDRESS;
            if strangers >= limits::PENDING_NODES || here_full {
                if turned_away >= TURNED_AWAY_MAX {
                    return None;
                }
                peer.standing = Standing::TurnedAway;
            }
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let standing = peer.standing;
        peers.insert(number, peer);
        drop(peers);
        Some(Entry {
            sessions: self.clone(),
            number,
            standing,
        })
    }

    /// A copy of what is known, in order of arrival.
    pub(super) fn snapshot(&self) -> Vec<Peer> {
        self.lock().values().cloned().collect()
    }

    /// The last receipt of a node, connected or not.
    pub(super) fn receipt(&self, node: &PublicKey) -> Option<ReceiptBody> {
        self.lock_receipts().get(node).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_receipts(&self) -> MutexGuard<'_, BTreeMap<PublicKey, ReceiptBody>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the list; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    sessions: Arc<Sessions>,
    number: usize,
    standing: Standing,
}

impl Entry {
    /// What it counted as when it came.
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.sessions.lock().get_mut(&self.number) {
            change(peer);
        }
    }

    /// Keeps a receipt; only admitted nodes get this far, so the map is bounded by their number. Says whether it tells
    /// anything but the time.
    pub(super) fn receipt(&self, node: PublicKey, receipt: ReceiptBody) -> bool {
        let what = |of: &ReceiptBody| (of.manifest, of.state);
        let before = self.sessions.lock_receipts().insert(node, receipt.clone());
        let news = before.is_none_or(|before| what(&before) != what(&receipt));
        self.update(|peer| peer.receipt = Some(receipt));
        news
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    fn peer(address: &str, standing: Standing) -> Peer {
        Peer {
            node: SecretKey::from_seed(&[1; 32]).public(),
            address: SocketAddr::new(address.parse().unwrap(), 4873),
            connected: Timestamp(0),
            hello: None,
            standing,
            receipt: None,
        }
    }

    fn enter(sessions: &Arc<Sessions>, address: &str) -> Option<Entry> {
        sessions.enter(peer(address, Standing::Stranger))
    }

    fn standing(entry: Option<&Entry>) -> Option<Standing> {
        entry.map(Entry::standing)
    }

    #[test]
    fn strangers_never_keep_an_admitted_node_out() {
        let sessions: Arc<Sessions> = Arc::default();
        let strangers: Vec<_> = (0..limits::PENDING_NODES + TURNED_AWAY_MAX)
            .map(|n| enter(&sessions, &format!("192.0.2.{n}")))
            .collect();
        let (wait, rest) = strangers.split_at(limits::PENDING_NODES);
        let all = |entries: &[Option<Entry>], wanted| {
            entries.iter().all(|e| standing(e.as_ref()) == Some(wanted))
        };
        assert!(all(wait, Standing::Stranger) && all(rest, Standing::TurnedAway));
        assert!(enter(&sessions, "198.51.100.1").is_none());
        // From an address that is full as well.
        let admitted = sessions.enter(peer("192.0.2.1", Standing::Admitted));
        assert_eq!(standing(admitted.as_ref()), Some(Standing::Admitted));
        drop(strangers);
        let again = enter(&sessions, "198.51.100.1");
        assert_eq!(standing(again.as_ref()), Some(Standing::Stranger));
    }

    #[test]
    fn a_flood_must_prove_its_addresses_and_each_has_a_share() {
        let sessions: Arc<Sessions> = Arc::default();
        let door =
            |address: &str, proved| sessions.door(address.parse().unwrap(), proved, Timestamp(0));
        let spoofed: Vec<_> = (0..limits::HANDSHAKES_BEFORE_RETRY)
            .map(|_| door("192.0.2.1", false))
            .collect();
        assert!(spoofed.iter().all(|door| matches!(door, Door::Open(_))));
        assert!(matches!(door("192.0.2.1", false), Door::Prove));
        // Whoever was named by others has a whole share once it proves itself.
        let share: Vec<_> = (0..HANDSHAKES_PER_ADDRESS)
            .map(|_| door("192.0.2.1", true))
            .collect();
        assert!(share.iter().all(|door| matches!(door, Door::Open(_))));
        assert!(matches!(door("192.0.2.1", true), Door::Later));
        assert!(matches!(door("192.0.2.2", true), Door::Open(_)));
        drop(share);
        assert!(matches!(door("192.0.2.1", true), Door::Open(_)));
        assert!(sessions.lock_handshakes().proved.is_empty());
    }

    #[test]
    fn a_full_house_keeps_room_for_addresses_of_admitted_nodes() {
        let sessions: Arc<Sessions> = Arc::default();
        let door =
            |address: &str, proved| sessions.door(address.parse().unwrap(), proved, Timestamp(0));
        drop(sessions.enter(peer("198.51.100.1", Standing::Admitted)));
        let full: Vec<_> = (0..HANDSHAKES_MAX)
            .map(|n| door(&format!("192.0.2.{}", n / HANDSHAKES_PER_ADDRESS), true))
            .collect();
        assert!(full.iter().all(|door| matches!(door, Door::Open(_))));
        assert!(matches!(door("203.0.113.1", true), Door::Closed));
        assert!(matches!(door("198.51.100.1", true), Door::Open(_)));
    }

    #[test]
    fn an_ipv6_network_has_one_address_worth_of_strangers_and_loopback_no_cap() {
        let sessions: Arc<Sessions> = Arc::default();
        let held: Vec<_> = (0..STRANGERS_PER_ADDRESS)
            .map(|n| enter(&sessions, &format!("2001:db8:0:1::{n}")))
            .collect();
        let same = enter(&sessions, "2001:db8:0:1:ffff::1");
        assert_eq!(standing(same.as_ref()), Some(Standing::TurnedAway));
        let other = enter(&sessions, "2001:db8:0:2::1");
        assert_eq!(standing(other.as_ref()), Some(Standing::Stranger));
        let local: Vec<_> = (0..=STRANGERS_PER_ADDRESS)
            .map(|_| enter(&sessions, "127.0.0.1"))
            .collect();
        let all_wait = |e: &Option<Entry>| standing(e.as_ref()) == Some(Standing::Stranger);
        assert!(local.iter().all(all_wait) && held.iter().all(all_wait));
    }
}
