//! Bundles that are well made and mean harm: numbers at their limits, circles, more than there is.

use std::time::{Duration, Instant};

use tidecast_proto::bundle::{
    BaseRange, ContentRef, FilePart, Form, PartKind, RunPart, Side, put_part,
};
use tidecast_proto::id::ChunkId;
use tidecast_proto::list::{Entry, List};

use super::kit::*;
use super::whole::{all_served, day, plans};
use crate::mirror::ImportError;

/// Imports what `sections` makes, and brings what was said against it.
async fn refused(sections: impl FnOnce(&Release, &Release, &mut Vec<u8>)) -> String {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let mirror = feed.mirror_at(&old).await;
    let mut bytes = preamble(&old, &new, &new.head, &[]);
    sections(&old, &new, &mut bytes);
    put_part(PartKind::END, &[], &mut bytes);
    let began = Instant::now();
    let error = mirror.import(&feed.file(&bytes), None).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(all_served(&feed, &old));
    match &error {
        ImportError::Incomplete {
            fault: Some(fault), ..
        } => fault.to_string(),
        error => error.to_string(),
    }
}

fn content(side: Side, file: u32, form: Form) -> ContentRef {
    ContentRef { side, file, form }
}

fn file_part(file: u32, form: Form, bases: Vec<ContentRef>, out: &mut Vec<u8>) {
    let part = FilePart { file, form, bases };
    put_part(PartKind::FILE, &part.encode(), out);
}

#[tokio::test]
async fn circles_repetitions_and_numbers_outside_are_refused() {
    let told = refused(|old, new, out| {
        // The database is built on the script, which has not come yet.
        out.extend(section(old, new, &plans()[1]));
    })
    .await;
    assert!(told.contains("before it is complete"), "{told}");

    let told = refused(|old, new, out| {
        out.extend(section(old, new, &plans()[0]));
        out.extend(section(old, new, &plans()[0]));
    })
    .await;
    assert!(told.contains("two sections"), "{told}");

    let told = refused(|_, _, out| file_part(u32::MAX, Form::Stored, Vec::new(), out)).await;
    assert!(told.contains("not in the release"), "{told}");

    let told = refused(|_, new, out| {
        let bases = vec![content(Side::Old, 4_000_000_000, Form::Opened)];
        file_part(number(new, "daily.cvd"), Form::Opened, bases, out);
    })
    .await;
    assert!(told.contains("not in the release"), "{told}");

    let told = refused(|_, new, out| {
        file_part(number(new, "notes.txt"), Form::Opened, Vec::new(), out);
    })
    .await;
    assert!(told.contains("no recipe"), "{told}");
}

#[tokio::test]
async fn a_run_that_opens_to_more_or_is_made_of_too_much_is_refused() {
    let with_run = |run: RunPart<'_>| {
        let body = run.encode();
        move |old: &Release, new: &Release, out: &mut Vec<u8>| {
            out.extend(section(old, new, &plans()[0]));
            let whole = section(old, new, &plans()[1]);
            // Everything of the section but its run.
            let mut at = 0;
            while whole[at] != PartKind::RUN.0 {
                let (header, used) = tidecast_proto::bundle::PartHeader::parse(&whole[at..])
                    .unwrap()
                    .unwrap();
                at += used + header.body_bytes;
            }
            out.extend(&whole[..at]);
            put_part(PartKind::RUN, &body, out);
        }
    };
    let bomb = pack(&vec![0; 8 << 20], b"").unwrap();
    let run = RunPart {
        chunks: 1,
        bases: Vec::new(),
        frame: &bomb,
    };
    let told = refused(with_run(run)).await;
    assert!(told.contains("does not open"), "{told}");

    let everything = BaseRange {
        base: 0,
        first: 0,
        count: u32::MAX,
    };
    let run = RunPart {
        chunks: 1,
        bases: vec![everything],
        frame: &bomb,
    };
    let told = refused(with_run(run)).await;
    assert!(told.contains("chunk"), "{told}");

    let run = RunPart {
        chunks: u32::MAX,
        bases: Vec::new(),
        frame: &bomb,
    };
    let told = refused(with_run(run)).await;
    assert!(told.contains("missing chunk"), "{told}");

    let missing_base = BaseRange {
        base: 7,
        first: 0,
        count: 1,
    };
    let run = RunPart {
        chunks: 1,
        bases: vec![missing_base],
        frame: &bomb,
    };
    let told = refused(with_run(run)).await;
    assert!(told.contains("base 7"), "{told}");
}

#[tokio::test]
async fn a_run_made_for_another_base_brings_nothing() {
    let told = refused(|old, new, out| {
        out.extend(section(old, new, &plans()[0]));
        // The right section of a mirror whose old database was another one.
        let mut elsewhere = old.clone();
        let other = Made::cvd(&lines(5, 6000));
        let ours = elsewhere.files["daily.cvd"].clone();
        let (_, list, recipe) = ours.opened.unwrap();
        let (content, ..) = other.opened.unwrap();
        let kept = content[..usize::try_from(list.total_bytes())
            .unwrap()
            .min(content.len())]
            .to_vec();
        elsewhere.files.insert(
            "daily.cvd".into(),
            Made {
                opened: Some((kept, list, recipe)),
                ..ours
            },
        );
        out.extend(section(&elsewhere, new, &plans()[1]));
    })
    .await;
    assert!(
        told.contains("hashes to something else") || told.contains("does not open"),
        "{told}"
    );
}

#[tokio::test]
async fn a_list_of_all_the_chunks_there_can_be_is_not_the_files_list() {
    let entry = |n: u32| Entry {
        id: ChunkId::of(&n.to_le_bytes()),
        len: 262_144,
    };
    let list = List::new((0..116_000).map(entry).collect())
        .unwrap()
        .encode();
    let packed = pack(&list, b"").unwrap();
    let told = refused(|old, new, out| {
        let whole = section(old, new, &plans()[0]);
        let mut at = 0;
        while whole[at] != PartKind::LIST.0 {
            let (header, used) = tidecast_proto::bundle::PartHeader::parse(&whole[at..])
                .unwrap()
                .unwrap();
            at += used + header.body_bytes;
        }
        out.extend(&whole[..at]);
        put_part(PartKind::LIST, &packed, out);
    })
    .await;
    assert!(told.contains("list hashes to"), "{told}");
}
