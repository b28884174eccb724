//! What goes wrong is named, and no wrong file passes.

use std::io::Write;

use tidecast_proto::deflate::Parameters;
use tidecast_proto::recipe::{Recipe, RecipeBody, Segment};

use super::super::*;
use super::kit::*;
use crate::small_disk::SmallDisk;

fn old_and_new() -> (Whole, Whole) {
    let content = lines(30, 500_000);
    let new = edited(&content, 250_000..250_010, b"edit");
    // Old chunks out of order are read in another way.
    let (head, tail) = new.split_at(400_000);
    (
        Whole::cvd(&content),
        Whole::cvd(&[&tail[..50_000], head, &tail[50_000..]].concat()),
    )
}

#[test]
fn a_flipped_byte_in_the_old_file_never_gives_a_wrong_file_and_is_named() {
    let (old, new) = old_and_new();
    let mut random = Random(31);
    let stream_at = 522;
    let mut places: Vec<usize> = (0..40).map(|_| random.below(old.file.len())).collect();
    places.extend([
        0,
        stream_at,
        stream_at + 1,
        old.file.len() - 9,
        old.file.len() - 1,
    ]);
    let mut named = 0;
    for at in places {
        let mut bytes = old.file.clone();
        bytes[at] ^= 1 << random.below(8);
        let mut case = Case::new(&new, &[]);
        case.bases = vec![old.source_with(&bytes)];
        let (result, made) = case.run();
        match result {
            Ok(_) => assert!(made == new.file, "byte {at}: a wrong file passed"),
            Err(RebuildError::Damaged { base: 0, damage }) => {
                named += 1;
                if let Damage::Chunk { at: chunk_at, .. } = damage {
                    assert!(chunk_at <= old.content.len() as u64);
                }
            }
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
    // Only the header and the trailer are not needed, and bytes of chunks that the new file does not have.
    assert!(named >= 30, "{named}");
}

#[test]
fn damage_that_still_parses_is_found_in_its_chunk() {
    let (old, new) = old_and_new();
    let mut content = old.content.clone();
    content[300_000] ^= 1;
    let lying = Whole::cvd(&content);
    let mut segments = lying.recipe.as_ref().unwrap().segments().to_vec();
    let opened = old.list.id();
    let mut case = Case::new(&new, &[]);
    let recipe = Recipe::new(RecipeBody {
        opened,
        segments: std::mem::take(&mut segments),
    });
    case.bases = vec![Source {
        recipe: Some(Arc::new(recipe.unwrap())),
        ..old.source_with(&lying.file)
    }];
    let (result, _) = case.run();
    let Err(RebuildError::Damaged {
        base: 0,
        damage: Damage::Chunk { index, at, .. },
    }) = result
    else {
        panic!("{result:?}");
    };
    let len = u64::from(old.list.entries()[index].len);
    assert!((at..at + len).contains(&300_000));
}

#[test]
fn an_old_file_that_ends_early_is_named_with_the_place() {
    let (old, new) = old_and_new();
    for cut in [0, 100, 522, 600, old.file.len() / 2, old.file.len() - 20] {
        let mut case = Case::new(&new, &[]);
        case.bases = vec![old.source_with(&old.file[..cut])];
        let (result, _) = case.run();
        let Err(RebuildError::Damaged { base: 0, damage }) = result else {
            panic!("{result:?}");
        };
        let expected = old.file.len() as u64;
        // Up to the stream nothing is read.
        let at = cut.max(522) as u64;
        assert_eq!(damage, Damage::Short { at, expected });
    }
    let stored = Whole::stored(&lines(32, 300_000));
    let mut case = Case::new(&stored, &[]);
    case.bases = vec![stored.source_with(&stored.file[..200_000])];
    let short = |damage| matches!(damage, Damage::Short { at: 200_000, .. });
    assert!(
        matches!(case.run().0, Err(RebuildError::Damaged { base: 0, damage }) if short(damage))
    );
}

#[test]
fn a_producer_with_another_zlib_is_told_from_a_damaged_base() {
    let content = lines(33, 300_000);
    let old = Whole::cvd(&content);
    let mut new = Whole::cvd(&edited(&content, 1000..1001, b""));
    // The same content, packed in a way that the recipe does not say.
    let last = new.file.len() - 20;
    new.file[last] ^= 1;
    let (result, _) = Case::new(&new, &[&old]).run();
    assert!(
        matches!(result, Err(RebuildError::Differs { got_bytes, .. }) if got_bytes == new.file.len() as u64)
    );
}

#[test]
fn more_comes_out_than_the_recipe_says_and_it_ends_soon() {
    let content = lines(34, 4_000_000);
    let mut new = Whole::cvd(&content);
    // A recipe that promises a file of a tenth of the length.
    let recipe = new.recipe.as_ref().unwrap();
    let segments = recipe.segments().iter().map(|segment| match segment {
        Segment::Deflate(deflate) => Segment::Deflate(tidecast_proto::recipe::Deflate::new(
            Parameters::SIGTOOL,
            deflate.plain_bytes,
            deflate.packed_bytes / 10,
        )),
        other => other.clone(),
    });
    let body = RecipeBody {
        opened: recipe.opened(),
        segments: segments.collect(),
    };
    let recipe = Recipe::new(body).unwrap();
    new.file
        .truncate(usize::try_from(recipe.file_bytes()).unwrap());
    new.recipe = Some(Arc::new(recipe));
    let (result, made) = Case::new(&new, &[]).run();
    assert!(matches!(result, Err(RebuildError::Differs { .. })));
    assert!(made.len() < new.file.len() + 1_000_000, "{}", made.len());
}

#[test]
fn a_provider_that_fails_midway_ends_it_and_is_named() {
    let content = lines(35, 1_000_000);
    let old = Whole::cvd(&content);
    let new = edited(&content, 900_000..900_001, b"and");
    let new = Whole::cvd(&edited(&new, 100..105, b"edit"));
    let mut case = Case::new(&new, &[&old]);
    case.fail_at = Some((1, || MissingError::Failed("the link is down".into())));
    let (result, _) = case.run();
    assert!(matches!(
        result,
        Err(RebuildError::Missing(MissingError::Failed(_)))
    ));
    // A run that does not fit is the provider's fault, unless the base it was opened with is damaged.
    case.fail_at = Some((1, || MissingError::Unfit("wrong bytes".into())));
    let (result, _) = case.run();
    assert!(matches!(
        result,
        Err(RebuildError::Missing(MissingError::Unfit(_)))
    ));
    let mut bytes = old.file.clone();
    let last = bytes.len() - 30;
    bytes[last] ^= 0x10;
    case.bases = vec![old.source_with(&bytes)];
    assert!(matches!(
        case.run().0,
        Err(RebuildError::Damaged { base: 0, .. })
    ));
    // A base that cannot be read is not the provider's fault either.
    case.fail_at = None;
    case.reads = Box::new(|_| vec![(7, 0..1)]);
    assert!(matches!(case.run().0, Err(RebuildError::Impossible(_))));
}

#[test]
fn lists_and_recipes_that_disagree_are_refused() {
    let old = Whole::cvd(&lines(36, 100_000));
    let new = Whole::cvd(&lines(36, 90_000));
    let mut other = new.clone();
    other.list = old.list.clone();
    assert!(matches!(
        Case::new(&other, &[&old]).run().0,
        Err(RebuildError::Impossible(_))
    ));
    let mut case = Case::new(&new, &[&old]);
    case.bases[0].list = new.list.clone();
    assert!(matches!(case.run().0, Err(RebuildError::Impossible(_))));
    // Origins that were made with another base.
    let mut case = Case::new(&new, &[&old]);
    case.other_bases = Some(Vec::new());
    let mut case_without = Case::new(&new, &[]);
    case_without.other_bases = Some(vec![old.list.clone()]);
    assert!(case.run().0.is_ok());
    assert!(matches!(
        case_without.run().0,
        Err(RebuildError::Impossible(_))
    ));
}

#[test]
fn a_full_disk_is_said_and_which_file_did_not_fit() {
    let Some(disk) = SmallDisk::mount("1m") else {
        crate::skip::skip(
            "a_full_disk_is_said_and_which_file_did_not_fit",
            "may not mount a small disk here",
        );
        return;
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let content = lines(37, 6_000_000);
    let old = Whole::cvd(&content);
    let (a, b) = content.split_at(2_000_000);
    let new = Whole::cvd(&[b, a].concat());
    assert!(new.file.len() > 1 << 20);
    let mut case = Case::new(&new, &[&old]);
    let mut out = File::create(disk.path().join("out")).unwrap();
    let result = case.run_into(&mut out, elsewhere.path());
    assert!(
        matches!(
            result,
            Err(RebuildError::NoSpace {
                place: Place::Output
            })
        ),
        "{result:?}"
    );
    drop(out);
    std::fs::remove_file(disk.path().join("out")).unwrap();
    let mut out = tempfile::tempfile().unwrap();
    let result = case.run_into(&mut out, disk.path());
    assert!(
        matches!(
            result,
            Err(RebuildError::NoSpace {
                place: Place::Scratch
            })
        ),
        "{result:?}"
    );
    // Nothing is left behind.
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    let mut file = File::create(disk.path().join("after")).unwrap();
    file.write_all(&[1; 900_000]).unwrap();
}
