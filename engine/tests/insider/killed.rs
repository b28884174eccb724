//! A mirror that is killed while it imports, again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidecast_proto::bundle::{PartHeader, PartKind, put_part};
use tidecast_proto::codec;
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{ObjectId, ReleaseNumber};

use crate::rng::Rng;
use crate::stage::{Stage, check_docroot, copy, live_release, open, split};
use crate::{Repeat, cases, number};

/// Where the child of [`no_kill_brings_anything_back`] finds its folder and fingerprint.
const CHILD: &str = "TIDECAST_TEST_CHILD";

/// Imports everything there is again and again, in any order, until somebody ends it. Does nothing in a run of its own: it is the
/// other process of the test below.
#[tokio::test]
async fn child_that_imports_until_it_is_killed() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let [folder, fingerprint, seed]: [&str; 3] =
        told.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let folder = Path::new(folder);
    let mirror = open(folder, fingerprint).expect("the state of a killed process opens");
    let mut rng = Rng::new(seed.parse().unwrap(), 0);
    let mut bundles: Vec<PathBuf> = std::fs::read_dir(folder.join("bundles"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    bundles.sort();
    loop {
        let bundle: &PathBuf = rng.pick(&bundles);
        let _ = mirror.import(bundle, None).await;
    }
}

#[tokio::test]
async fn no_kill_brings_anything_back() {
    let mut stage = Stage::new().await;
    let folder = stage.world.path("killed");
    copy(&stage.template, &folder);
    std::fs::create_dir(folder.join("bundles")).unwrap();
    let fingerprint = stage.world.feed.to_string();
    // Releases 2 to 40 from whatever comes before, all of the same content but for the notes: each bundle needs no
    // sections beyond the first one's.
    let sections = stage.sections().to_vec();
    let mut manifests = BTreeMap::from([(1, stage.live.clone())]);
    let mut from = stage.live_id;
    for release in 2..=40_u64 {
        let mut body = stage.next.clone();
        body.release = ReleaseNumber(release);
        body.previous = Some(from);
        body.notes = format!("Release {release}\n");
        let bytes = codec::encode(&body);
        let id = ObjectId::of(&bytes);
        stage.live_id = from;
        let sections = if release == 2 {
            sections.clone()
        } else {
            end()
        };
        let bundle = stage.signed_bundle(&bytes, release, |_| (), &sections);
        std::fs::write(folder.join(format!("bundles/{release:02}")), bundle).unwrap();
        manifests.insert(release, body);
        from = id;
    }
    let (count, seed) = (cases(30, 400), number("TIDECAST_SEED", 1));
    let (mut live, mut seqs, mut restarts) = (1, 0, 0);
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed::child_that_imports_until_it_is_killed", "--exact"])
            .env(
                CHILD,
                format!("{}\n{fingerprint}\n{case}", folder.display()),
            )
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + rng.below(120) as u64));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(
            !status.success() && status.code().is_none(),
            "it ended by itself: {status}"
        );
        let mirror = open(&folder, &fingerprint).expect("the state of a killed process opens");
        let now = live_release(&folder.join("m.docroot"));
        assert!(now >= live, "release {live} went back to {now}");
        check_docroot(&folder.join("m.docroot"), &manifests[&now]);
        let counters = std::fs::read(folder.join("m.state/counters")).unwrap();
        // Each head's number is in it, and the counters of a killed mirror read back in `open`.
        let issued = highest_seq(&counters, &folder.join("bundles"));
        assert!(issued >= seqs, "a head's number went back");
        (live, seqs) = (now, issued);
        restarts += 1;
        drop(mirror);
    }
    println!("{restarts} kills, release {live} at the end, 0 regressions");
    assert!(live > 2 || count < 10);
}

fn end() -> Vec<u8> {
    let mut out = Vec::new();
    put_part(PartKind::END, &[], &mut out);
    out
}

/// The number of the newest of the heads whose bytes the counters hold.
fn highest_seq(counters: &[u8], bundles: &Path) -> u64 {
    let heads = std::fs::read_dir(bundles).unwrap().filter_map(|entry| {
        let parts = split(&std::fs::read(entry.unwrap().path()).unwrap());
        let (_, used) = PartHeader::parse(&parts[1]).unwrap().unwrap();
        let head = parts[1][used..].to_vec();
        let held = counters.windows(head.len()).any(|window| window == head);
        held.then(|| {
            SignedHead::from_bytes(&head)
                .unwrap()
                .claims()
                .unwrap()
                .seq
                .0
        })
    });
    heads.max().unwrap_or(0)
}
