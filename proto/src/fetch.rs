//! Which chunks to ask for next. SPEC §6.4.

use alloc::{collections::VecDeque, vec::Vec};

use crate::id::ChunkId;
use crate::limits;

/// Hands out the missing chunks in requests of [`limits::CHUNKS_PER_REQUEST`], at most
/// [`limits::REQUESTS_IN_FLIGHT`] of them under way: what a cut connection can cost is one such window.
#[derive(Debug)]
pub struct ChunkQueue {
    missing: VecDeque<ChunkId>,
    in_flight: usize,
}

impl ChunkQueue {
    /// The chunks to fetch, in the order wanted, each once.
    #[must_use]
    pub fn new(missing: Vec<ChunkId>) -> Self {
        Self {
            missing: missing.into(),
            in_flight: 0,
        }
    }

    /// The next request to send, if one may be sent now.
    pub fn next_request(&mut self) -> Option<Vec<ChunkId>> {
        if self.in_flight >= limits::REQUESTS_IN_FLIGHT || self.missing.is_empty() {
            return None;
        }
        self.in_flight += 1;
        let count = self.missing.len().min(limits::CHUNKS_PER_REQUEST);
        Some(self.missing.drain(..count).collect())
    }

    /// A request was answered to its end.
    pub fn request_ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Whether every request was sent and answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.in_flight == 0 && self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_requests_of_64_and_no_chunk_twice() {
        let ids: Vec<ChunkId> = (0..300_u32)
            .map(|n| ChunkId::of(&n.to_le_bytes()))
            .collect();
        let mut queue = ChunkQueue::new(ids.clone());
        let mut asked = Vec::new();
        for _ in 0..4 {
            let request = queue.next_request().unwrap();
            assert_eq!(request.len(), 64);
            asked.extend(request);
        }
        assert_eq!(queue.next_request(), None);
        queue.request_ended();
        asked.extend(queue.next_request().unwrap());
        assert_eq!(asked, ids);
        assert_eq!(queue.next_request(), None);
        for _ in 0..4 {
            assert!(!queue.is_done());
            queue.request_ended();
        }
        assert!(queue.is_done());
    }
}
