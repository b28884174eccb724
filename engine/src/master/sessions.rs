//! Who is connected, and what is known of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::receipt::ReceiptBody;
use tidecast_proto::wire::Hello;

/// Connections from one address that have not been let in.
const STRANGERS_PER_ADDRESS: usize = 8;

/// What is known of one connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) node: PublicKey,
    pub(super) address: SocketAddr,
    pub(super) connected: Timestamp,
    pub(super) hello: Option<Hello>,
    pub(super) welcome: bool,
    pub(super) receipt: Option<ReceiptBody>,
}

/// Every connection by a number of its own, and the last receipt of every node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    next: AtomicUsize,
    peers: Mutex<BTreeMap<usize, Peer>>,
    receipts: Mutex<BTreeMap<PublicKey, ReceiptBody>>,
    handshakes: AtomicUsize,
}

/// A handshake under way; over when dropped.
#[derive(Debug)]
pub(super) struct Handshake(Arc<Sessions>);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sessions {
    /// How many handshakes are under way.
    pub(super) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Counts one more until the result is dropped.
    pub(super) fn begin_handshake(self: &Arc<Self>) -> Handshake {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        Handshake(self.clone())
    }

    /// Takes in a connection, unless there are too many of its kind.
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> Option<Entry> {
        let mut peers = self.lock();
        let strangers = peers.values().filter(|p| !p.welcome);
        let (mut all, mut here) = (0, 0);
        for stranger in strangers {
            all += 1;
            here += usize::from(stranger.address.ip() == peer.address.ip());
        }
        // Loopback stands for everybody behind a local relay or test.
        if all >= limits::PENDING_NODES
            || (here >= STRANGERS_PER_ADDRESS && !peer.address.ip().is_loopback())
        {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        peers.insert(number, peer);
        drop(peers);
        Some(Entry {
            sessions: self.clone(),
            number,
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
}

impl Entry {
    pub(super) fn update(&self, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.sessions.lock().get_mut(&self.number) {
            change(peer);
        }
    }

    /// Keeps a receipt; only admitted nodes get this far, so the map is bounded by their number.
    pub(super) fn receipt(&self, node: PublicKey, receipt: ReceiptBody) {
        self.sessions.lock_receipts().insert(node, receipt.clone());
        self.update(|peer| peer.receipt = Some(receipt));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.number);
    }
}
