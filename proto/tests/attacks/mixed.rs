//! Row "mix and match": objects of several releases and two feeds, each well signed, in every company. Only those that
//! belong together are installed.

use tidecast_proto::addition::Vouched;
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{ChunkId, FileHash, ReleaseNumber};
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::{File, ManifestBody, SignedManifest};
use tidecast_proto::recipe::{Deflate, Recipe, RecipeBody, Segment};
use tidecast_proto::trust::{Trust, Verdict};

use crate::rng::Rng;
use crate::series::{Tally, cases, run};
use crate::support::{Feed, NOW, file, keys, newer, publics, sign};

/// Releases of each feed.
const RELEASES: u64 = 6;

/// Everything of one release that a mirror is sent.
struct Sent {
    head: SignedHead,
    manifest: SignedManifest,
    list: Vec<u8>,
    recipe: Vec<u8>,
    chunk: Vec<u8>,
}

/// One feed, at two roots, with its releases.
struct Feeds {
    trusts: Vec<Trust>,
    sent: Vec<Sent>,
}

fn feed(first: u8) -> Feeds {
    let mut feed = Feed::new();
    if first > 0 {
        feed.root_keys = keys(&[first, first + 1, first + 2]);
        feed.release_keys = keys(&[first + 11, first + 12]);
        feed.head_keys = keys(&[first + 21, first + 22]);
        let mut body = Feed::new().next_root();
        body.version.0 = 1;
        body.root_keys = publics(&feed.root_keys);
        body.release_keys = publics(&feed.release_keys);
        body.head_keys = publics(&feed.head_keys);
        feed.first = sign(&body, &feed.root_keys[..2]);
    }
    let sent: Vec<Sent> = (1..=RELEASES).map(|number| send(&feed, number)).collect();
    let later = feed.trust_after(&feed.next_root());
    let mut third = feed.trust();
    // One that has a release already.
    let head = newer(&mut third, sent[2].head.clone());
    let manifest = third
        .verify_manifest(sent[2].manifest.clone(), &head)
        .and_then(Vouched::whole);
    third.install(&manifest.unwrap());
    Feeds {
        trusts: vec![feed.trust(), later, third],
        sent,
    }
}

fn send(feed: &Feed, number: u64) -> Sent {
    let chunk = [&number.to_le_bytes()[..], &feed.id().0].concat();
    let list = List::new(vec![Entry {
        id: ChunkId::of(&chunk),
        len: u32::try_from(chunk.len()).unwrap(),
    }])
    .unwrap();
    let deflate = Deflate::new(
        tidecast_proto::deflate::Parameters::SIGTOOL,
        chunk.len() as u64,
        90,
    );
    let segments = vec![Segment::Literal(vec![7]), Segment::Deflate(deflate)];
    let recipe = Recipe::new(RecipeBody {
        opened: list.id(),
        segments,
    })
    .unwrap();
    let listed = File {
        size: recipe.file_bytes(),
        hash: FileHash::of(&number.to_be_bytes()),
        list: Some(list.id()),
        recipe: Some(recipe.id()),
        ..file("data.bin", b"")
    };
    let body = ManifestBody {
        files: vec![listed],
        ..feed.manifest_body(number)
    };
    let manifest = sign(&body, &feed.release_keys);
    // Heads of both keys, so that the numbers of neither are in the way.
    let key = usize::try_from(number).unwrap() % 2;
    let head = sign(
        &feed.head_body(number, &manifest, number),
        &feed.head_keys[key..=key],
    );
    Sent {
        head,
        manifest,
        list: list.encode(),
        recipe: recipe.encode(),
        chunk,
    }
}

/// Offers one of each, as a sync would fetch them. Whatever stops it is counted.
fn offer(trust: &Trust, pick: [&Sent; 5], tally: &mut Tally) -> bool {
    let [head, manifest, list, recipe, chunk] = pick;
    let mut trust = trust.clone();
    macro_rules! or_refused {
        ($result:expr) => {
            match $result {
                Ok(good) => good,
                Err(error) => {
                    tally.refused(&error);
                    return false;
                }
            }
        };
    }
    let verdict = or_refused!(trust.accept_head(head.head.clone(), NOW));
    let Verdict::Newer(head) = verdict else {
        tally.outcome("nothing newer");
        return false;
    };
    let vouched = or_refused!(trust.verify_manifest(manifest.manifest.clone(), &head));
    let manifest = or_refused!(vouched.whole());
    let file = &manifest.files[0];
    let made = or_refused!(Recipe::decode(
        &recipe.recipe,
        file.recipe.unwrap(),
        file.size
    ));
    let list = or_refused!(List::decode(&list.list, made.opened(), made.opened_bytes()));
    if list.entries()[0].id != ChunkId::of(&chunk.chunk) {
        tally.outcome("refused: a chunk that hashes to something else");
        return false;
    }
    let before = trust.installed_release();
    trust.install(&manifest);
    assert!(trust.installed_release() > before || before == ReleaseNumber(0));
    true
}

#[test]
fn only_what_belongs_together_is_installed() {
    let feeds = [feed(0), feed(140)];
    let trusts: Vec<(usize, &Trust)> = (0..2)
        .flat_map(|f| feeds[f].trusts.iter().map(move |t| (f, t)))
        .collect();
    let sent: Vec<(usize, usize, &Sent)> = (0..2)
        .flat_map(|f| (0..).zip(&feeds[f].sent).map(move |(r, s)| (f, r, s)))
        .collect();
    let name = "only_what_belongs_together_is_installed";
    let tally = run(name, cases(40_000, 1_200_000), |rng, tally| {
        combine(&trusts, &sent, rng, tally);
    });
    println!(
        "  accepted beside those that belong together: {}",
        tally.count("ACCEPTED")
    );
    assert_eq!(tally.count("ACCEPTED"), 0);
    assert!(std::env::var_os("TIDECAST_CASE").is_some() || tally.count("belong together") > 0);
}

fn combine(
    trusts: &[(usize, &Trust)],
    sent: &[(usize, usize, &Sent)],
    rng: &mut Rng,
    tally: &mut Tally,
) {
    let (feed, trust) = *rng.pick(trusts);
    let leading = *rng.pick(sent);
    // Most of one release, so that every check is reached.
    let pick: Vec<(usize, usize, &Sent)> = (0..5)
        .map(|place| {
            if place == 0 || !rng.once_in(3) {
                leading
            } else {
                *rng.pick(sent)
            }
        })
        .collect();
    let together = pick.iter().all(|one| (one.0, one.1) == (feed, leading.1));
    tally.tried(if together {
        "whole releases"
    } else {
        "combinations"
    });
    let taken = offer(
        trust,
        [pick[0].2, pick[1].2, pick[2].2, pick[3].2, pick[4].2],
        tally,
    );
    match (taken, together) {
        (true, true) => tally.outcome("belong together, installed"),
        (true, false) => tally.outcome("ACCEPTED"),
        (false, _) => {}
    }
}
