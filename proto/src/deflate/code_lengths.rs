//! How a dynamic block writes its codes: lengths, run-length coded, in a code of their own (RFC 1951 section 3.2.7;
//! `scan_tree` and `send_tree` of zlib's trees.c).

use alloc::vec::Vec;

use super::{
    bit_writer::BitWriter,
    block_header::{CODE_LENGTH_ORDER, CODE_LENGTHS},
    trees::Tree,
};

const LIMIT_BITS: u8 = 7;
const REPEAT: u8 = 16;
const ZEROS_SHORT: u8 = 17;
const ZEROS_LONG: u8 = 18;

/// The head of a dynamic block behind its three type bits.
pub(super) struct CodeLengths {
    /// Code length symbols and the values of their extra bits.
    runs: Vec<(u8, u8)>,
    tree: Tree<CODE_LENGTHS>,
    /// HLIT, HDIST, HCLEN as written.
    counts: [usize; 3],
    /// Bits of it all.
    pub(super) bits: u64,
}

const fn extra_bits(symbol: u8) -> u8 {
    match symbol {
        REPEAT => 2,
        ZEROS_SHORT => 3,
        ZEROS_LONG => 7,
        _ => 0,
    }
}

/// Appends the runs of one tree's lengths.
fn scan(lengths: &[u8], runs: &mut Vec<(u8, u8)>) {
    let mut previous = None;
    let mut count = 0;
    let window = |length, next: Option<u8>| match next {
        Some(0) => (138, 3),
        next if next == length => (6, 3),
        _ => (7, 4),
    };
    let (mut longest, mut shortest) = window(None, lengths.first().copied());
    for (index, &length) in lengths.iter().enumerate() {
        let next = lengths.get(index + 1).copied();
        count += 1;
        if count < longest && next == Some(length) {
            continue;
        }
        if count < shortest {
            runs.extend((0..count).map(|_| (length, 0)));
        } else if length != 0 {
            if previous != Some(length) {
                runs.push((length, 0));
                count -= 1;
            }
            runs.push((REPEAT, count - 3));
        } else if count <= 10 {
            runs.push((ZEROS_SHORT, count - 3));
        } else {
            runs.push((ZEROS_LONG, count - 11));
        }
        count = 0u8;
        previous = Some(length);
        (longest, shortest) = window(previous, next);
    }
}

impl CodeLengths {
    pub(super) fn new<const L: usize, const D: usize>(
        literals: &Tree<L>,
        distances: &Tree<D>,
    ) -> Self {
        let mut runs = Vec::with_capacity(L + D);
        scan(&literals.lengths[..=literals.highest], &mut runs);
        scan(&distances.lengths[..=distances.highest], &mut runs);
        let mut frequencies = [0; CODE_LENGTHS];
        for &(symbol, _) in &runs {
            frequencies[usize::from(symbol)] += 1;
        }
        let tree = Tree::of_frequencies(&frequencies, LIMIT_BITS);
        let written = CODE_LENGTH_ORDER
            .iter()
            .rposition(|&symbol| tree.lengths[usize::from(symbol)] > 0)
            .map_or(4, |last| (last + 1).max(4));
        let run_bits: u64 = runs
            .iter()
            .map(|&(symbol, _)| u64::from(tree.lengths[usize::from(symbol)] + extra_bits(symbol)))
            .sum();
        Self {
            runs,
            counts: [literals.highest + 1 - 257, distances.highest, written - 4],
            bits: 14 + 3 * written as u64 + run_bits,
            tree,
        }
    }

    pub(super) fn write(&self, writer: &mut BitWriter, out: &mut Vec<u8>) {
        let [literals, distances, written] = self.counts;
        writer.put(literals as u64, 5, out);
        writer.put(distances as u64, 5, out);
        writer.put(written as u64, 4, out);
        for &symbol in &CODE_LENGTH_ORDER[..written + 4] {
            writer.put(u64::from(self.tree.lengths[usize::from(symbol)]), 3, out);
        }
        for &(symbol, extra) in &self.runs {
            let index = usize::from(symbol);
            let length = u32::from(self.tree.lengths[index]);
            writer.put(u64::from(self.tree.codes[index]), length, out);
            writer.put(u64::from(extra), u32::from(extra_bits(symbol)), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lengths: &[u8]) -> Vec<(u8, u8)> {
        let mut runs = Vec::new();
        scan(lengths, &mut runs);
        runs
    }

    #[test]
    fn a_run_after_a_full_run_may_be_shorter() {
        assert_eq!(runs(&[5; 7]), [(5, 0), (REPEAT, 3)]);
        assert_eq!(runs(&[5; 10]), [(5, 0), (REPEAT, 3), (REPEAT, 0)]);
        assert_eq!(runs(&[5; 3]), [(5, 0); 3]);
        assert_eq!(runs(&[0; 149]), [(ZEROS_LONG, 127), (ZEROS_LONG, 0)]);
        assert_eq!(runs(&[0, 0, 3]), [(0, 0), (0, 0), (3, 0)]);
    }
}
