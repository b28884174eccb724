//! Rows "forged", "re-signed" and "replay" of the attacks, on a real mirror: whole bundle streams against a real state folder and
//! docroot. What a docroot shows is always one signed release, byte for byte; nothing outside it is written, and `local_*`
//! stays.
//!
//! `cargo test -p tidecast-engine --test insider -- --nocapture`; `TIDECAST_LONG=1` for the full figures, `TIDECAST_SEED` for others.
//! The rules alone are attacked in `proto/tests/attacks`.

#[path = "../../proto/tests/attacks/altered.rs"]
mod altered;
#[path = "../../proto/tests/attacks/fields.rs"]
#[allow(dead_code, reason = "manifests and heads are what a bundle carries")]
mod fields;
#[path = "insider/killed.rs"]
mod killed;
#[path = "../../proto/tests/attacks/raw.rs"]
#[allow(dead_code, reason = "as above")]
mod raw;
#[path = "../../proto/tests/attacks/rng.rs"]
mod rng;
#[path = "insider/stage.rs"]
mod stage;
mod support;

use std::collections::BTreeMap;

use altered::{Change, change};
use fields::Fields as _;
use rng::Rng;
use stage::{Stage, split};
use tidecast_proto::codec;
use tidecast_proto::limits;
use tidecast_proto::manifest::SignedManifest;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn cases(short: u64, full: u64) -> u64 {
    let long = std::env::var_os("TIDECAST_LONG").is_some();
    number("TIDECAST_CASES", if long { full } else { short })
}

fn print(name: &str, count: u64, seed: u64, tally: &BTreeMap<String, u64>) {
    println!("{name}: {count} cases of seed {seed}, 0 accepted, 0 panics");
    for (what, n) in tally {
        println!("  {n:>8}  {what}");
    }
}

/// Prints what reproduces a case that fails.
struct Repeat(u64, u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {}, case {}: TIDECAST_SEED={0} and a TIDECAST_CASES beyond {1} reach it again",
                self.0, self.1
            );
        }
    }
}

#[tokio::test]
async fn a_bundle_that_was_changed_on_the_way_brings_the_signed_release_or_nothing() {
    let mut stage = Stage::new().await;
    let (bundle, next) = (stage.bundle.clone(), stage.next.clone());
    let mut tally = BTreeMap::new();
    // As it is, it brings release 2.
    assert_eq!(stage.import(&bundle, &next, &mut tally).await, Some(2));
    tally.clear();
    let (count, seed) = (cases(150, 20_000), number("TIDECAST_SEED", 1));
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let kind = *rng.pick(&Change::ALL);
        let bytes = change(kind, &bundle, &bundle, &mut rng);
        if bytes != bundle && stage.import(&bytes, &next, &mut tally).await.is_some() {
            *tally
                .entry("brought the signed release all the same".into())
                .or_default() += 1;
        }
    }
    print("changed bundles", count, seed, &tally);
    assert!(tally.keys().any(|what| what.starts_with("refused")));
}

#[tokio::test]
async fn what_an_insider_signs_never_leaves_the_docroot_and_never_shows_what_it_does_not_name() {
    let mut stage = Stage::new().await;
    let sound = codec::encode(&stage.next);
    let sections = stage.sections().to_vec();
    let mut tally = BTreeMap::new();
    let (count, seed) = (cases(150, 20_000), number("TIDECAST_SEED", 1));
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let mut raw: raw::Manifest =
            codec::decode_exact("raw", &sound, limits::MANIFEST_BYTES).unwrap();
        for _ in 0..rng.below(3) {
            raw.change(&mut rng);
        }
        let body = codec::encode(&raw);
        let sections = match rng.below(4) {
            0 => change(*rng.pick(&Change::ALL), &sections, &sections, &mut rng),
            _ => sections.clone(),
        };
        let other_head = rng.once_in(6);
        let bytes = stage.signed_bundle(
            &body,
            raw.release,
            |head| {
                if other_head {
                    head.change(&mut rng);
                }
            },
            &sections,
        );
        // What is live afterwards, if anything came of it, is what was signed.
        let signed = SignedManifest::from_bytes(&stage.sign("manifest", &stage.release_key, &body));
        let shown = signed.ok().and_then(|signed| {
            let id = signed.id();
            signed.reopen(&id).ok().map(|manifest| (*manifest).clone())
        });
        let shown = shown.unwrap_or_else(|| stage.live.clone());
        stage.import(&bytes, &shown, &mut tally).await;
        if other_head {
            stage.mirror = None;
        }
    }
    print("signed by an insider", count, seed, &tally);
    assert!(tally.contains_key("switched") && tally.len() > 4);
}

/// Parts of several releases' bundles and of two feeds', in one stream.
#[tokio::test]
async fn parts_of_different_bundles_never_make_another_release() {
    let mut stage = Stage::new().await;
    let (other, next) = (Stage::new().await, stage.next.clone());
    let mut changed = stage.next.clone();
    changed.notes = "another".into();
    let sections = stage.sections().to_vec();
    let third = stage.signed_bundle(&codec::encode(&changed), 2, |_| (), &sections);
    let sources = [split(&stage.bundle), split(&other.bundle), split(&third)];
    let mut tally = BTreeMap::new();
    let (count, seed) = (cases(100, 5_000), number("TIDECAST_SEED", 1));
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let lead = rng.pick(&sources).clone();
        let (mut bytes, mut manifest_of) = (Vec::new(), 0);
        for (at, part) in lead.iter().enumerate() {
            let from = rng.below(sources.len());
            let part = if rng.once_in(3) {
                sources[from].get(at).unwrap_or(part)
            } else {
                part
            };
            bytes.extend_from_slice(part);
            manifest_of = manifest_of.max(usize::from(part == &sources[2][1]));
        }
        let shown = if manifest_of == 1 { &changed } else { &next };
        stage.import(&bytes, shown, &mut tally).await;
    }
    print("mixed bundles", count, seed, &tally);
}
