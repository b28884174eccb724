//! Runs against lists: what a hostile sender may claim about chunks and bases.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::{
    bundle::{Origin, Origins, RunPart, base_bytes, check_run, check_run_size},
    id::ChunkId,
    limits,
    list::{Entry, List},
};

/// A byte names a chunk and says how long it is.
fn list(names: &[u8]) -> List {
    let entry = |name: &u8| Entry {
        id: ChunkId::of(&[*name]),
        len: 1 + u32::from(*name) * 1000,
    };
    List::new(names.iter().map(entry).collect()).unwrap()
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>)| {
    let (new, first, second, run) = input;
    let (new, bases) = (list(&new), [list(&first), list(&second)]);
    let bases: Vec<&List> = bases.iter().collect();
    let origins = Origins::new(&new, &bases);
    let mut last = None;
    for (at, origin) in origins.all().iter().enumerate() {
        let id = new.entries()[at].id;
        match *origin {
            Origin::InOrder { entry } => {
                assert_eq!(bases[0].entries()[entry as usize].id, id);
                assert!(last < Some(entry));
                last = Some(entry);
            }
            Origin::Elsewhere { base, entry } => {
                assert_eq!(bases[base as usize].entries()[entry as usize].id, id);
            }
            Origin::Repeat { entry } => {
                assert!((entry as usize) < at);
                assert_eq!(new.entries()[entry as usize].id, id);
            }
            Origin::Missing => {}
        }
    }
    let Ok(run) = RunPart::decode(&run) else { return };
    let Ok(target) = origins.next_run(0, &run) else {
        return;
    };
    let target = &new.entries()[target];
    let ranges: Result<Vec<_>, _> = run.bases.iter().map(|r| base_bytes(*r, &bases)).collect();
    let Ok(ranges) = ranges else { return };
    if check_run_size(target, &ranges).is_ok() {
        assert!(ranges.iter().map(|r| r.end - r.start).sum::<u64>() <= limits::RUN_BYTES as u64);
        let _ = check_run(target, run.frame);
    }
});
