//! The rule for chunk boundaries, followed from its text alone.

use tidecast_proto::{chunker::Chunking, id::ChunkId};

use crate::page::number;
use crate::{Stated, spec, vectors};

/// §5.1 as its text describes it, one byte at a time, without the crate.
fn cut(content: &[u8], chunking: Chunking) -> usize {
    let gear: Vec<u64> = (0..=255_u8)
        .map(|byte| vectors::md5_head(&[byte; 64]) ^ chunking.seed)
        .collect();
    let masks: Vec<u64> = spec()
        .table("5.1", "row | mask")
        .into_iter()
        .map(|row| u64::from_str_radix(&row[1][2..], 16).expect("a mask"))
        .collect();
    let bits = f64::from(chunking.avg).log2().round();
    let mask = |offset: i32| {
        (7..=21)
            .zip(&masks)
            .find(|(n, _)| f64::from(*n) == bits + f64::from(offset))
            .map(|(_, mask)| *mask)
            .expect("a row for it")
    };
    let (strict, lax) = (
        mask(i32::from(chunking.level)),
        mask(-i32::from(chunking.level)),
    );
    let (min, avg) = (chunking.min as usize, chunking.avg as usize);
    let n = content.len().min(chunking.max as usize);
    if content.len() <= min {
        return content.len();
    }
    let mut hash = 0_u64;
    for i in min..n - n % 2 {
        hash = (hash << 1).wrapping_add(gear[usize::from(content[i])]);
        if hash & (if i < avg { strict } else { lax }) == 0 {
            return i;
        }
    }
    n
}

#[test]
fn the_cutting_rule_as_written_cuts_as_the_vectors_say() {
    let noise = vectors::noise();
    let stated = Stated(spec().vectors());
    for (vector, chunking) in vectors::chunkings() {
        let mut rest = &noise[..];
        for line in stated.0[vector].lines() {
            let (len, id) = line.split_once(' ').expect("length, id");
            let (chunk, behind) = rest.split_at(cut(rest, chunking));
            assert_eq!(chunk.len(), number(len), "{vector}");
            assert_eq!(ChunkId::of(chunk).to_string(), id, "{vector}");
            rest = behind;
        }
        assert!(rest.is_empty(), "{vector}");
    }
}
