//! How many connections are served, in all and per address. SPEC §9.1.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::network::counted_address;

/// Connections that may be told 503 at one time; past it they are closed unanswered, because a
/// refusal costs a task and a socket too.
const REFUSALS_MAX: usize = 256;

/// Counts open connections; clones share the counts.
#[derive(Clone)]
pub(super) struct Admission {
    limits: AdmissionLimits,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct AdmissionLimits {
    pub(super) connections_max: usize,
    pub(super) per_address_max: usize,
    pub(super) count_loopback: bool,
}

#[derive(Default)]
struct Counts {
    served: usize,
    refused: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// What happens to a new connection. Its place is free again when the value is dropped.
pub(super) enum Admitted {
    Serve(Place),
    Refuse(Place),
    Drop,
}

/// A counted connection.
pub(super) struct Place {
    counts: Arc<Mutex<Counts>>,
    kind: PlaceKind,
}

#[derive(Clone, Copy)]
enum PlaceKind {
    Served { address: Option<IpAddr> },
    Refused,
}

impl Admission {
    pub(super) fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            counts: Arc::default(),
        }
    }

    pub(super) fn admit(&self, remote: IpAddr) -> Admitted {
        let address = self.counted_address(remote);
        let mut counts = lock(&self.counts);
        let from_address = address.map_or(0, |key| {
            counts.by_address.get(&key).copied().unwrap_or_default()
        });
        let full = counts.served >= self.limits.connections_max;
        if full || from_address >= self.limits.per_address_max {
            if counts.refused >= REFUSALS_MAX {
                return Admitted::Drop;
            }
            counts.refused += 1;
            return Admitted::Refuse(self.place(PlaceKind::Refused));
        }
        counts.served += 1;
        if let Some(key) = address {
            *counts.by_address.entry(key).or_default() += 1;
        }
        Admitted::Serve(self.place(PlaceKind::Served { address }))
    }

    fn place(&self, kind: PlaceKind) -> Place {
        Place {
            counts: Arc::clone(&self.counts),
            kind,
        }
    }

    /// The address `remote` has its cap under. Loopback is a reverse proxy that speaks for many.
    fn counted_address(&self, remote: IpAddr) -> Option<IpAddr> {
        let remote = remote.to_canonical();
        counted_address(remote).or(self.limits.count_loopback.then_some(remote))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        match self.kind {
            PlaceKind::Refused => counts.refused -= 1,
            PlaceKind::Served { address } => {
                counts.served -= 1;
                if let Some(key) = address
                    && let Some(count) = counts.by_address.get_mut(&key)
                {
                    *count -= 1;
                    // The map holds open connections only, so it is no longer than their cap.
                    if *count == 0 {
                        counts.by_address.remove(&key);
                    }
                }
            }
        }
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections_max: usize, per_address_max: usize) -> Admission {
        Admission::new(AdmissionLimits {
            connections_max,
            per_address_max,
            count_loopback: false,
        })
    }

    fn served(admission: &Admission, address: &str) -> Option<Place> {
        match admission.admit(address.parse().unwrap()) {
            Admitted::Serve(place) => Some(place),
            Admitted::Refuse(_) | Admitted::Drop => None,
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let admission = admission(2, 2);
        let first = served(&admission, "192.0.2.1");
        let second = served(&admission, "192.0.2.2");
        assert!(first.is_some() && second.is_some());
        assert!(served(&admission, "192.0.2.3").is_none());
        drop(first);
        assert!(served(&admission, "192.0.2.3").is_some());
        drop(second);
        assert!(lock(&admission.counts).by_address.is_empty());
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let admission = admission(100, 2);
        let _held = [
            served(&admission, "192.0.2.1"),
            served(&admission, "::ffff:192.0.2.1"),
        ];
        assert!(served(&admission, "192.0.2.1").is_none());
        assert!(served(&admission, "192.0.2.2").is_some());
    }

    #[test]
    fn a_reverse_proxy_on_loopback_has_no_cap_of_its_own() {
        let admission = admission(3, 1);
        let held = ["127.0.0.1", "::1", "127.0.0.1"].map(|address| served(&admission, address));
        assert!(held.iter().all(Option::is_some));
        assert!(served(&admission, "127.0.0.1").is_none());
    }

    #[test]
    fn refusals_are_bounded_too() {
        let admission = admission(0, 0);
        let address: IpAddr = [192, 0, 2, 1].into();
        let refused: Vec<_> = (0..REFUSALS_MAX)
            .map(|_| admission.admit(address))
            .collect();
        assert!(refused.iter().all(|it| matches!(it, Admitted::Refuse(_))));
        assert!(matches!(admission.admit(address), Admitted::Drop));
        drop(refused);
        assert!(matches!(admission.admit(address), Admitted::Refuse(_)));
    }
}
