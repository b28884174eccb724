//! Huffman codes from frequencies, tie for tie as zlib's trees.c makes them (`build_tree`, `gen_bitlen`,
//! `gen_codes`).

/// Symbols of the largest tree: literals and lengths.
const SYMBOLS_MAX: usize = 286;
/// Leaves and inner nodes.
const NODES_MAX: usize = 2 * SYMBOLS_MAX;
/// Longest code of any tree.
const BITS_MAX: usize = 15;

/// A prefix code of `N` symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree<const N: usize> {
    /// Bits per symbol, 0 for those not used.
    pub(super) lengths: [u8; N],
    /// As they are written: first bit lowest.
    pub(super) codes: [u16; N],
    /// The highest symbol with a code.
    pub(super) highest: usize,
}

impl<const N: usize> Tree<N> {
    /// From how often each symbol occurs (together at most 32,768), no code longer than `limit` bits.
    pub(super) fn of_frequencies(frequencies: &[u32; N], limit: u8) -> Self {
        let mut tree = Self {
            lengths: [0; N],
            codes: [0; N],
            highest: 0,
        };
        let mut growth = Growth::new(frequencies);
        growth.merge();
        tree.highest = growth.highest;
        growth.assign_lengths(limit, &mut tree.lengths);
        tree.codes = codes_of(&tree.lengths);
        tree
    }

    /// The first `N` symbols of a code given by its lengths.
    pub(super) fn of_lengths<const M: usize>(lengths: &[u8; M]) -> Self {
        const { assert!(N <= M) };
        let codes = codes_of(lengths);
        Self {
            lengths: core::array::from_fn(|symbol| lengths[symbol]),
            codes: core::array::from_fn(|symbol| codes[symbol]),
            highest: N - 1,
        }
    }
}

/// Canonical codes (RFC 1951 section 3.2.2), bits reversed.
fn codes_of<const N: usize>(lengths: &[u8; N]) -> [u16; N] {
    let mut counts = [0u16; BITS_MAX + 1];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    counts[0] = 0;
    let mut next = [0u16; BITS_MAX + 1];
    for length in 1..=BITS_MAX {
        next[length] = (next[length - 1] + counts[length - 1]) << 1;
    }
    let mut codes = [0; N];
    for (code, &length) in codes.iter_mut().zip(lengths) {
        if length > 0 {
            let next = &mut next[usize::from(length)];
            *code = next.reverse_bits() >> (16 - length);
            *next = next.wrapping_add(1);
        }
    }
    codes
}

/// A tree while it grows: leaves are `0..symbols`, inner nodes follow.
struct Growth {
    symbols: usize,
    highest: usize,
    /// Frequency above, depth in the low 10 bits: zlib's order of nodes is the order of these numbers.
    weights: [u32; NODES_MAX],
    parents: [u16; NODES_MAX],
    /// Nodes, lightest on top, from index 1.
    heap: [u16; SYMBOLS_MAX + 1],
    heap_len: usize,
    /// Nodes as they left the heap; the root is last.
    order: [u16; NODES_MAX],
    order_len: usize,
}

const DEPTH_BITS: u32 = 10;

impl Growth {
    fn new<const N: usize>(frequencies: &[u32; N]) -> Self {
        let mut growth = Self {
            symbols: N,
            highest: 0,
            weights: [0; NODES_MAX],
            parents: [0; NODES_MAX],
            heap: [0; SYMBOLS_MAX + 1],
            heap_len: 0,
            order: [0; NODES_MAX],
            order_len: 0,
        };
        let mut highest = None;
        for (symbol, &frequency) in (0u16..).zip(frequencies) {
            if frequency > 0 {
                growth.weights[usize::from(symbol)] = frequency << DEPTH_BITS;
                growth.push(symbol);
                highest = Some(symbol);
            }
        }
        // The format wants two codes at least.
        while growth.heap_len < 2 {
            let symbol = match highest {
                None => 0,
                Some(symbol) if symbol < 2 => symbol + 1,
                Some(_) => 0,
            };
            highest = highest.max(Some(symbol));
            growth.weights[usize::from(symbol)] = 1 << DEPTH_BITS;
            growth.push(symbol);
        }
        growth.highest = usize::from(highest.unwrap_or(0));
        growth
    }

    const fn push(&mut self, node: u16) {
        self.heap_len += 1;
        self.heap[self.heap_len] = node;
    }

    /// Equal weights go before each other, which decides every tie.
    const fn before(&self, a: u16, b: u16) -> bool {
        self.weights[a as usize] <= self.weights[b as usize]
    }

    fn sift_down(&mut self, mut at: usize) {
        let moved = self.heap[at];
        loop {
            let mut child = at * 2;
            if child > self.heap_len {
                break;
            }
            if child < self.heap_len && self.before(self.heap[child + 1], self.heap[child]) {
                child += 1;
            }
            if self.before(moved, self.heap[child]) {
                break;
            }
            self.heap[at] = self.heap[child];
            at = child;
        }
        self.heap[at] = moved;
    }

    const fn leave(&mut self, node: u16) {
        self.order[self.order_len] = node;
        self.order_len += 1;
    }

    fn merge(&mut self) {
        for at in (1..=self.heap_len / 2).rev() {
            self.sift_down(at);
        }
        let depth_mask = (1 << DEPTH_BITS) - 1;
        for node in self.symbols.. {
            let first = self.heap[1];
            self.heap[1] = self.heap[self.heap_len];
            self.heap_len -= 1;
            self.sift_down(1);
            let second = self.heap[1];
            self.leave(first);
            self.leave(second);
            let (a, b) = (
                self.weights[usize::from(first)],
                self.weights[usize::from(second)],
            );
            self.weights[node] = ((a >> DEPTH_BITS) + (b >> DEPTH_BITS)) << DEPTH_BITS
                | ((a & depth_mask).max(b & depth_mask) + 1);
            // Below NODES_MAX.
            let node = u16::try_from(node).unwrap_or(0);
            self.parents[usize::from(first)] = node;
            self.parents[usize::from(second)] = node;
            self.heap[1] = node;
            if self.heap_len < 2 {
                self.leave(node);
                return;
            }
            self.sift_down(1);
        }
    }

    fn assign_lengths(&self, limit: u8, lengths: &mut [u8]) {
        let mut depths = [0u8; NODES_MAX];
        let mut leaves = [0u16; BITS_MAX + 1];
        let mut overflow = 0i32;
        let limit_index = usize::from(limit);
        let order = &self.order[..self.order_len];
        for &node in order.iter().rev().skip(1) {
            let node = usize::from(node);
            let mut depth = depths[usize::from(self.parents[node])] + 1;
            if depth > limit {
                depth = limit;
                // Inner nodes count too, as in zlib: the repair below relies on it.
                overflow += 1;
            }
            depths[node] = depth;
            if node < self.symbols {
                leaves[usize::from(depth)] += 1;
                lengths[node] = depth;
            }
        }
        if overflow == 0 {
            return;
        }
        while overflow > 0 {
            let Some(length) = (1..limit_index).rev().find(|&length| leaves[length] > 0) else {
                // There is one: fewer symbols than codes of `limit` bits.
                break;
            };
            leaves[length] -= 1;
            leaves[length + 1] += 2;
            leaves[limit_index] -= 1;
            overflow -= 2;
        }
        let mut lightest = order
            .iter()
            .map(|&node| usize::from(node))
            .filter(|&node| node < self.symbols);
        for length in (1..=limit).rev() {
            let count = leaves[usize::from(length)];
            for node in lightest.by_ref().take(usize::from(count)) {
                lengths[node] = length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_two_symbols_are_filled_up_from_the_lowest() {
        assert_eq!(Tree::of_frequencies(&[0; 30], 15).lengths[..3], [1, 1, 0]);
        let mut frequencies = [0; 30];
        frequencies[0] = 9;
        assert_eq!(Tree::of_frequencies(&frequencies, 15).highest, 1);
        let mut frequencies = [0; 30];
        frequencies[7] = 9;
        let tree = Tree::of_frequencies(&frequencies, 15);
        assert_eq!((tree.lengths[0], tree.lengths[7], tree.highest), (1, 1, 7));
    }

    #[test]
    fn no_code_is_longer_than_the_limit_and_all_bit_strings_are_used() {
        let mut frequencies = [0; 30];
        let (mut a, mut b) = (1, 1);
        for frequency in frequencies.iter_mut().take(20) {
            *frequency = a;
            (a, b) = (b, a + b);
        }
        for limit in [7, 9, 15] {
            let tree = Tree::of_frequencies(&frequencies, limit);
            assert_eq!(tree.lengths.iter().max(), Some(&limit));
            let used: u32 = tree
                .lengths
                .iter()
                .filter(|&&length| length > 0)
                .map(|&length| 1 << (15 - length))
                .sum();
            assert_eq!(used, 1 << 15);
        }
    }
}
