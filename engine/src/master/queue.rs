//! Who may have something built: few at a time, and every node one thing, so that none keeps the others waiting.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidecast_proto::key::PublicKey;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// A limited number of places, of which a node has at most one.
#[derive(Debug, Clone)]
pub(super) struct Places {
    shared: Arc<Shared>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<BTreeSet<PublicKey>>,
    freed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<PublicKey>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    node: PublicKey,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.node);
        self.shared.freed.notify_waiters();
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            shared: Arc::default(),
            most,
        }
    }

    /// A place for `node`; `None` when others have them all, or the one it has already is not free by `deadline`.
    pub(super) async fn take(&self, node: PublicKey, deadline: Instant) -> Option<Place> {
        loop {
            // Made before looking: what is freed from here on wakes it.
            let freed = self.shared.freed.notified();
            {
                let mut taken = self.shared.lock();
                if !taken.contains(&node) {
                    if taken.len() >= self.most {
                        return None;
                    }
                    taken.insert(node);
                    return Some(Place {
                        shared: Arc::clone(&self.shared),
                        node,
                    });
                }
            }
            timeout_at(deadline, freed).await.ok()?;
        }
    }
}

/// Where things are built one after the other: each takes a whole core and a good deal of memory.
#[derive(Debug)]
pub(super) struct Queue {
    places: Places,
    turn: Arc<Semaphore>,
}

/// A place in the queue, on the way to its turn.
#[derive(Debug)]
pub(super) struct Queued {
    place: Place,
    turn: Arc<Semaphore>,
    deadline: Instant,
}

/// The one who builds; the next one's turn comes when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Queue {
    /// A queue of at most `most` nodes, the one whose turn it is included.
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: Places::new(most),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// A place for `node`, whose turn must come within `patience` from now; `None` as [`Places::take`].
    pub(super) async fn enter(&self, node: PublicKey, patience: Duration) -> Option<Queued> {
        let deadline = Instant::now() + patience;
        Some(Queued {
            place: self.places.take(node, deadline).await?,
            turn: Arc::clone(&self.turn),
            deadline,
        })
    }
}

impl Queued {
    /// Waits for its turn; `None` when it does not come in time.
    pub(super) async fn turn(self) -> Option<Turn> {
        let permit = timeout_at(self.deadline, self.turn.acquire_owned()).await;
        Some(Turn {
            // Never closed.
            _permit: permit.ok()?.ok()?,
            _place: self.place,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    const LONG: Duration = Duration::from_secs(3600);

    fn node(number: u8) -> PublicKey {
        SecretKey::from_seed(&[number; 32]).public()
    }

    #[tokio::test]
    async fn a_node_has_one_place_and_its_second_question_waits_outside_the_queue() {
        let queue = Queue::new(2);
        let building = queue.enter(node(1), LONG).await.unwrap();
        let building = building.turn().await.unwrap();
        assert!(queue.enter(node(1), Duration::ZERO).await.is_none());
        // The other place is free for somebody else, the turn is not.
        let second = queue.enter(node(2), LONG).await.unwrap();
        let third = queue.enter(node(1), LONG);
        let (third, second) = tokio::join!(third, async {
            tokio::task::yield_now().await;
            drop(building);
            second.turn().await
        });
        assert!(third.is_some() && second.is_some());
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_at_once() {
        let queue = Queue::new(2);
        let first = queue.enter(node(1), LONG).await;
        let second = queue.enter(node(2), LONG).await;
        assert!(first.is_some() && second.is_some());
        assert!(queue.enter(node(3), LONG).await.is_none());
        drop(first);
        assert!(queue.enter(node(3), LONG).await.is_some());
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_in_time_is_given_up_with_its_place() {
        let queue = Queue::new(2);
        let building = queue.enter(node(1), LONG).await.unwrap().turn().await;
        let late = queue.enter(node(2), Duration::ZERO).await.unwrap();
        assert!(late.turn().await.is_none());
        let again = queue.enter(node(2), LONG).await.unwrap();
        drop(building);
        assert!(again.turn().await.is_some());
    }
}
