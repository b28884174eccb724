//! Row "forged": objects with something changed, by somebody without a key. Nothing but what was signed is ever taken.
//!
//! Bundles are read by the engine: `engine/tests/insider.rs` does the same to whole bundle streams.

use std::collections::BTreeSet;

use tidecast_proto::head::{Head, SignedHead};
use tidecast_proto::id::{ChunkId, ListId, RecipeId};
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::SignedManifest;
use tidecast_proto::receipt::SignedReceipt;
use tidecast_proto::recipe::{Deflate, Recipe, RecipeBody, Segment};
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;

use crate::altered::{Change, change};
use crate::life::Life;
use crate::rng::Rng;
use crate::series::{Tally, cases, run};
use crate::support::{NOW, newer};

/// What a mirror can be offered, and in what it believes then.
enum Target {
    FirstRoot(Vec<u8>),
    NextRoot(Box<Trust>, Vec<u8>),
    Head(Box<Trust>, Vec<u8>),
    Manifest(Box<Trust>, Box<Head>, Vec<u8>),
    Receipt(Vec<u8>),
    List(ListId, u64, Vec<u8>),
    Recipe(RecipeId, u64, Vec<u8>),
}

impl Target {
    fn name(&self) -> &'static str {
        match self {
            Self::FirstRoot(_) => "first root",
            Self::NextRoot(..) => "next root",
            Self::Head(..) => "head",
            Self::Manifest(..) => "manifest",
            Self::Receipt(_) => "receipt",
            Self::List(..) => "list",
            Self::Recipe(..) => "recipe",
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::FirstRoot(bytes)
            | Self::NextRoot(_, bytes)
            | Self::Head(_, bytes)
            | Self::Manifest(_, _, bytes)
            | Self::Receipt(bytes)
            | Self::List(_, _, bytes)
            | Self::Recipe(_, _, bytes) => bytes,
        }
    }

    /// Offers `bytes` in the place of the object. `Ok` brings the body that was taken.
    fn offer(&self, life: &Life, bytes: &[u8], tally: &mut Tally) -> Option<Vec<u8>> {
        macro_rules! taken {
            ($result:expr) => {
                match $result {
                    Ok(taken) => Some(taken),
                    Err(error) => {
                        tally.refused(&error);
                        None
                    }
                }
            };
        }
        match self {
            Self::FirstRoot(_) => {
                let signed = taken!(SignedRoot::from_bytes(bytes))?;
                let body = signed.body().to_vec();
                taken!(Trust::begin(&life.id, signed)).map(|_| body)
            }
            Self::NextRoot(trust, _) => {
                let signed = taken!(SignedRoot::from_bytes(bytes))?;
                let body = signed.body().to_vec();
                taken!(trust.clone().accept_root(signed)).map(|()| body)
            }
            Self::Head(trust, _) => {
                let signed = taken!(SignedHead::from_bytes(bytes))?;
                let body = signed.body().to_vec();
                let before = trust.to_bytes();
                let mut after = trust.clone();
                let taken = taken!(after.accept_head(signed, NOW)).map(|_| body);
                assert!(
                    taken.is_some() || after.to_bytes() == before,
                    "a refused head left a trace"
                );
                taken
            }
            Self::Manifest(trust, head, _) => {
                let signed = taken!(SignedManifest::from_bytes(bytes))?;
                let body = signed.body().to_vec();
                taken!(trust.verify_manifest(signed, head)).map(|_| body)
            }
            Self::Receipt(_) => {
                let signed = taken!(SignedReceipt::from_bytes(bytes))?;
                let body = signed.body().to_vec();
                taken!(signed.verify(&life.node.public(), &life.id)).map(|_| body)
            }
            Self::List(id, size, _) => {
                taken!(List::decode(bytes, *id, *size)).map(|list| list.encode())
            }
            Self::Recipe(id, size, _) => {
                taken!(Recipe::decode(bytes, *id, *size)).map(|recipe| recipe.encode())
            }
        }
    }
}

fn targets(life: &Life) -> Vec<Target> {
    let mut targets = vec![
        Target::FirstRoot(life.roots[0].to_bytes()),
        Target::Receipt(life.receipt().to_bytes()),
    ];
    for version in 1..life.roots.len() {
        let next = life.roots[version].to_bytes();
        targets.push(Target::NextRoot(Box::new(life.trust(version)), next));
    }
    for (version, installed, number) in [
        (1, 0, 1),
        (1, 2, 3),
        (3, 4, 5),
        (4, 5, 6),
        (5, 8, 9),
        (5, 5, 11),
    ] {
        let mut trust = life.trust(version);
        if installed > 0 {
            life.install(&mut trust, 500, installed);
        }
        let release = life.releases.iter().find(|r| r.number == number).unwrap();
        let head = life.fresh_head(&trust, 501, release);
        targets.push(Target::Head(Box::new(trust.clone()), head.to_bytes()));
        let head = newer(&mut trust, head);
        let bytes = release.manifest.to_bytes();
        targets.push(Target::Manifest(Box::new(trust), Box::new(head), bytes));
    }
    let list = list(7);
    let (id, size) = (list.id(), list.total_bytes());
    targets.push(Target::List(id, size, list.encode()));
    let recipe = recipe(id);
    let (id, size) = (recipe.id(), recipe.file_bytes());
    targets.push(Target::Recipe(id, size, recipe.encode()));
    targets
}

fn list(chunks: u32) -> List {
    let entry = |n: u32| Entry {
        id: ChunkId::of(&n.to_le_bytes()),
        len: 1000 + n,
    };
    List::new((0..chunks).map(entry).collect()).unwrap()
}

fn recipe(opened: ListId) -> Recipe {
    let deflate = Deflate::new(tidecast_proto::deflate::Parameters::SIGTOOL, 7021, 3000);
    let segments = vec![
        Segment::Literal(b"ClamAV-VDB:".to_vec()),
        Segment::Deflate(deflate),
        Segment::Literal(b"tail".to_vec()),
    ];
    Recipe::new(RecipeBody { opened, segments }).unwrap()
}

#[test]
fn nothing_that_was_changed_on_the_way_is_taken() {
    let (life, other) = (Life::new(40), Life::new(120));
    let targets = targets(&life);
    let others = self::targets(&other);
    let pieces: Vec<&[u8]> = targets.iter().chain(&others).map(Target::bytes).collect();
    // Every offer is sound before it is changed.
    for target in &targets {
        let taken = target.offer(&life, target.bytes(), &mut Tally::default());
        assert!(taken.is_some(), "{}", target.name());
    }
    let signed: BTreeSet<Vec<u8>> = targets
        .iter()
        .filter_map(|target| target.offer(&life, target.bytes(), &mut Tally::default()))
        .collect();
    let count = cases(60_000, 1_000_000);
    let name = "nothing_that_was_changed_on_the_way_is_taken";
    let tally = run(name, count, |rng, tally| {
        forge(&life, &targets, &pieces, &signed, rng, tally);
    });
    let whole = tally.count("refused") + tally.count("the signed body") + tally.count("no change");
    println!("  accepted: {}", tally.count("ACCEPTED"));
    assert_eq!(tally.count("ACCEPTED"), 0);
    assert!(whole >= 1);
}

fn forge(
    life: &Life,
    targets: &[Target],
    pieces: &[&[u8]],
    signed: &BTreeSet<Vec<u8>>,
    rng: &mut Rng,
    tally: &mut Tally,
) {
    let target = rng.pick(targets);
    let mut bytes = target.bytes().to_vec();
    let kind = *rng.pick(&Change::ALL);
    let piece = *rng.pick(pieces);
    bytes = change(kind, &bytes, piece, rng);
    if rng.once_in(4) {
        let (again, piece) = (*rng.pick(&Change::ALL), *rng.pick(pieces));
        bytes = change(again, &bytes, piece, rng);
    }
    if bytes == target.bytes() {
        // Two equal stretches changed places, or the like.
        return tally.outcome("no change came of it");
    }
    tally.tried(&format!("{} {kind:?}", target.name()));
    if let Some(body) = target.offer(life, &bytes, tally) {
        // A signature that is not needed may be missing or damaged.
        let whole = target.offer(life, target.bytes(), &mut Tally::default());
        if Some(&body) == whole.as_ref() {
            tally.outcome("the signed body, with fewer good signatures than it had");
        } else {
            assert!(
                !signed.contains(&body),
                "an object of another place was taken"
            );
            tally.outcome("ACCEPTED");
        }
    }
}
