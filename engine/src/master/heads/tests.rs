//! What the head service promises, whatever befalls the machine.

use super::*;
use crate::chain_log::{ChainLogError, Step};
use crate::master::heads::log::HEADS_LOG;
use crate::small_disk::SmallDisk;
use tidecast_proto::id::Epoch;
use tidecast_proto::manifest::{Flags, ManifestBody, SignedManifest};
use tidecast_proto::root::{Root, SignedRoot};
use tidecast_proto::trust::{HeadError, Trust, Verdict};

/// 2026-01-01.
const NOW: Timestamp = Timestamp(1_767_225_600_000);
const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

fn head_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

/// A feed of one key, made without a folder.
struct World {
    feed: FeedId,
    first: SignedRoot,
    root: Root,
}

impl World {
    fn new() -> Self {
        let key = SecretKey::from_seed(&[1; 32]);
        let body = tidecast_proto::root::RootBody {
            version: tidecast_proto::id::RootVersion(1),
            epoch: Epoch(0),
            feed: tidecast_proto::id::FeedName::new("test").unwrap(),
            expires: NOW.plus(200 * YEAR_MS),
            root_keys: vec![key.public()],
            root_threshold: 1,
            release_keys: vec![key.public()],
            release_threshold: 1,
            added_threshold: 1,
            head_keys: vec![head_key().public()],
            head_ttl_max_ms: 6 * HOUR_MS,
            masters: Vec::new(),
            chunking: tidecast_proto::chunker::Chunking::default(),
            revoked_manifests: Vec::new(),
            release_min: ReleaseNumber(0),
            extensions: Vec::new(),
        };
        let first = SignedRoot::sign(&body, &[&key]).unwrap();
        let feed = FeedId(first.id().0);
        let root = first.clone().verify_first(&feed).unwrap();
        Self { feed, first, root }
    }

    fn manifest(&self, release: u64, notes: &str) -> Manifest {
        let body = ManifestBody {
            feed: self.feed,
            epoch_min: Epoch(0),
            release: ReleaseNumber(release),
            previous: None,
            anchor: None,
            created: NOW,
            notes: notes.into(),
            files: Vec::new(),
            flags: Flags::default(),
            extensions: Vec::new(),
        };
        let signed = SignedManifest::sign(&body, &[&SecretKey::from_seed(&[1; 32])]).unwrap();
        signed.verify_stored(&self.root, &self.feed).unwrap()
    }

    fn sign(
        &self,
        signer: &mut HeadSigner,
        release: u64,
        now: Timestamp,
    ) -> Result<IssuedHead, HeadsError> {
        signer.sign(self.feed, &self.root, &self.manifest(release, ""), now)
    }

    fn trust(&self) -> Trust {
        Trust::begin(&self.feed, self.first.clone()).unwrap()
    }
}

fn open(state: &Path) -> HeadSigner {
    HeadSigner::open(state, head_key()).unwrap()
}

fn judge(trust: &mut Trust, head: &IssuedHead, clock: Timestamp) -> Result<Verdict, HeadError> {
    let now = trust.now(clock);
    trust.accept_head(SignedHead::from_bytes(&head.bytes).unwrap(), now)
}

#[test]
fn numbers_rise_over_restarts_and_the_newest_head_is_kept() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    assert!(newest_head(folder.path()).unwrap().is_none());
    let mut last = Seq(0);
    for round in 0..5 {
        let mut signer = open(folder.path());
        for _ in 0..3 {
            let head = world.sign(&mut signer, 1 + round, NOW).unwrap();
            assert!(head.body.seq > last);
            last = head.body.seq;
            let newest = newest_head(folder.path()).unwrap();
            assert_eq!(newest, Some(head.bytes));
        }
    }
    let (release, _) = announced(folder.path()).unwrap().unwrap();
    assert_eq!(release, ReleaseNumber(5));
}

#[test]
fn an_older_release_or_another_one_under_its_number_is_never_announced_again() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let mut signer = open(folder.path());
    let head = world.sign(&mut signer, 7, NOW).unwrap();
    for mut signer in [signer, open(folder.path())] {
        let refused = |result: Result<IssuedHead, HeadsError>| {
            let error = result.unwrap_err();
            assert!(error.is_contradiction() && error.advice().contains("--above 7"));
            error.to_string()
        };
        assert!(refused(world.sign(&mut signer, 6, NOW)).contains("has announced release 7"));
        let other = world.manifest(7, "another");
        refused(signer.sign(world.feed, &world.root, &other, NOW));
        // What was announced is served on while it lives.
        let good = |now| signer.still_good(&world.root, now).map(|head| head.id);
        assert_eq!(good(NOW), Some(head.id));
        assert_eq!(good(NOW.plus(6 * HOUR_MS)), None);
    }
    let mut signer = open(folder.path());
    world.sign(&mut signer, 7, NOW).unwrap();
    world.sign(&mut signer, 8, NOW).unwrap();
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_no_number_that_is_used_twice() {
    let world = World::new();
    let writes = (0..314).step_by(13).map(Step::Written);
    let steps = [Step::Made, Step::Unsynced, Step::Unnamed];
    for step in steps.into_iter().chain(writes) {
        for before in [0, 2] {
            let folder = tempfile::tempdir().unwrap();
            let mut signer = open(folder.path());
            let mut seen = std::collections::BTreeMap::new();
            let mut handed_out = |head: IssuedHead| {
                assert!(seen.insert(head.body.seq, head.id).is_none(), "{step:?}");
            };
            for _ in 0..before {
                handed_out(world.sign(&mut signer, 1, NOW).unwrap());
            }
            signer.log.fail_at = Some(step);
            let error = world.sign(&mut signer, 2, NOW).unwrap_err();
            assert!(error.leaves_the_last(), "{step:?}: {error}");
            // On in the same process, and in a new one; with a clock that stands still.
            handed_out(world.sign(&mut signer, 3, NOW).unwrap());
            let mut again = open(folder.path());
            handed_out(world.sign(&mut again, 4, NOW).unwrap());
            let newest = again.last();
            assert!(seen.keys().all(|seq| *seq <= newest));
        }
    }
}

#[test]
fn on_a_full_disk_nothing_is_signed_and_room_lets_it_go_on() {
    let Some(disk) = SmallDisk::mount("64k") else {
        crate::skip::skip(
            "on_a_full_disk_nothing_is_signed_and_room_lets_it_go_on",
            "mounting is not allowed",
        );
        return;
    };
    let world = World::new();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 50_000]).unwrap();
    let mut signer = open(disk.path());
    let mut last = None;
    let error = loop {
        match world.sign(&mut signer, 1, NOW) {
            Ok(head) => last = Some(head),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, HeadsError::Log(ChainLogError::File(_))),
        "{error}"
    );
    let last = last.unwrap();
    assert_eq!(newest_head(disk.path()).unwrap(), Some(last.bytes));
    std::fs::remove_file(&ballast).unwrap();
    assert!(world.sign(&mut signer, 1, NOW).unwrap().body.seq > last.body.seq);
}

#[test]
fn a_changed_log_stops_signing_and_says_what_to_do() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join(HEADS_LOG);
    let mut signer = open(folder.path());
    for _ in 0..3 {
        world.sign(&mut signer, 1, NOW).unwrap();
    }
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(17) {
        let mut changed = whole.clone();
        changed[at] ^= 0x20;
        std::fs::write(&path, changed).unwrap();
        let error = HeadSigner::open(folder.path(), head_key()).unwrap_err();
        assert!(error.advice().contains("backup"), "{error}");
    }
    // A record that was taken out.
    let third = whole.len() / 3;
    std::fs::write(&path, [&whole[..third], &whole[2 * third..]].concat()).unwrap();
    assert!(HeadSigner::open(folder.path(), head_key()).is_err());
}

#[test]
fn an_earlier_versions_number_and_head_are_taken_over_once() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let head = world.sign(&mut open(elsewhere.path()), 5, NOW).unwrap();
    let (seq, newest) = (
        folder.path().join(log::EARLIER_SEQ),
        folder.path().join(log::EARLIER_HEAD),
    );
    let later = NOW.plus(77);
    std::fs::write(&seq, format!("{}\n", later.0)).unwrap();
    std::fs::write(&newest, &head.bytes).unwrap();
    assert_eq!(
        newest_head(folder.path()).unwrap(),
        Some(head.bytes.clone())
    );

    let mut signer = open(folder.path());
    assert!(!seq.exists() && !newest.exists());
    assert_eq!(signer.last(), Seq(later.0));
    assert!(world.sign(&mut signer, 4, NOW).is_err());
    assert!(world.sign(&mut signer, 5, NOW).unwrap().body.seq > Seq(later.0));

    // Killed between the two: the log knows the number, and the file is still there.
    std::fs::write(&seq, format!("{}\n", later.0)).unwrap();
    let records = |state: &Path| {
        let mut count = 0;
        crate::chain_log::read(&state.join(HEADS_LOG), &log::FORMAT, &mut |_| count += 1).unwrap();
        count
    };
    assert_eq!(records(folder.path()), 2);
    open(folder.path());
    assert!(!seq.exists());
    assert_eq!(records(folder.path()), 2);

    std::fs::write(&seq, "seven\n").unwrap();
    let error = HeadSigner::open(folder.path(), head_key()).unwrap_err();
    assert!(matches!(error, HeadsError::BadCounter { .. }));
}

#[test]
fn restored_from_a_backup_with_a_dead_clock_a_master_does_not_count_the_same_numbers_again() {
    let world = World::new();
    let dead = Timestamp(5_000);
    let mut seen = std::collections::BTreeMap::new();
    for backup_has in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        if backup_has > 0 {
            world.sign(&mut open(folder.path()), 1, NOW).unwrap();
        }
        let path = folder.path().join(HEADS_LOG);
        let backup = std::fs::read(&path).unwrap_or_default();
        for _restore in 0..20 {
            std::fs::write(&path, &backup).unwrap();
            let mut signer = open(folder.path());
            for _ in 0..5 {
                let head = world.sign(&mut signer, 1, dead).unwrap();
                let before = seen.insert(head.body.seq, head.id);
                assert!(before.is_none(), "number {} twice", head.body.seq);
            }
        }
    }
    assert_eq!(seen.len(), 200);
}

#[test]
fn the_clock_is_the_number_while_it_is_right() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    for hours in 0..4 {
        let now = NOW.plus(hours * HOUR_MS);
        let head = world.sign(&mut open(folder.path()), 1, now).unwrap();
        assert_eq!(head.body.seq, Seq(now.0));
    }
}

#[test]
fn what_a_mirror_has_seen_raises_the_number() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let mut signer = open(folder.path());
    let seen = Seq(NOW.0 + 99_000);
    signer.raise(seen);
    assert_eq!(
        world.sign(&mut signer, 1, NOW).unwrap().body.seq,
        Seq(seen.0 + 1)
    );
}

#[test]
fn at_the_last_number_nothing_is_signed_and_nothing_panics() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let mut signer = open(folder.path());
    signer.raise(Seq(u64::MAX));
    let error = world.sign(&mut signer, 1, NOW).unwrap_err();
    assert!(matches!(error, HeadsError::Exhausted));
    signer = open(folder.path());
    signer.raise(Seq(u64::MAX - 1));
    assert!(world.sign(&mut signer, 1, Timestamp(1)).is_err());
}

/// A master whose clock stands in 2106 for an hour: mirrors refuse what it says then, and take what it says after.
#[test]
fn mirrors_go_on_after_a_masters_clock_was_a_century_ahead_for_an_hour() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let mut signer = open(folder.path());
    let (mut one, mut late) = (world.trust(), world.trust());
    let good = world.sign(&mut signer, 1, NOW).unwrap();
    judge(&mut one, &good, NOW).unwrap();
    for hour in 1..=2 {
        let far = world
            .sign(&mut signer, 1, NOW.plus(80 * YEAR_MS + hour))
            .unwrap();
        for trust in [&mut one, &mut late] {
            let now = NOW.plus(hour * HOUR_MS);
            let refused = judge(trust, &far, now).unwrap_err();
            assert!(matches!(refused, HeadError::FromTheFuture { .. }));
        }
    }
    // A restart in between makes numbers jump; they rise all the same.
    for mut signer in [signer, open(folder.path())] {
        let now = NOW.plus(3 * HOUR_MS);
        let right = world.sign(&mut signer, 1, now).unwrap();
        assert_eq!(right.body.issued, now);
        for trust in [&mut one, &mut late] {
            judge(trust, &right, now).unwrap();
            assert_eq!(trust.now(Timestamp(0)), now);
            assert!(!trust.is_stale(now));
        }
    }
}

#[test]
fn mirrors_go_on_when_a_masters_clock_steps_back_and_forth() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let mut signer = open(folder.path());
    let mut trust = world.trust();
    let minutes: [i64; 7] = [0, 5, -5, 9, -9, 1, 0];
    for (hour, minutes) in (0..).zip(minutes) {
        let now = NOW.plus(hour * HOUR_MS);
        let theirs = Timestamp(now.0.saturating_add_signed(minutes * 60_000));
        let head = world.sign(&mut signer, 1 + hour, theirs).unwrap();
        judge(&mut trust, &head, now).unwrap();
    }
}

/// Signs for the folder in `TIDECAST_SIGNER` until it is killed; says what it hands out. Releases rise with restarts.
#[test]
#[ignore = "the child of the next test"]
fn signs_until_killed() {
    use std::io::Write as _;
    let folder = std::env::var_os("TIDECAST_SIGNER").unwrap();
    let world = World::new();
    let mut signer = open(Path::new(&folder));
    let release = 1 + std::process::id() as u64 % 7;
    let release = signer.announced().map_or(release, |(r, _)| r.0 + release);
    for round in 0.. {
        // The clock of a machine whose battery is empty: it helps nobody to tell numbers apart.
        let now = Timestamp(1_000 + round);
        let head = world.sign(&mut signer, release + round / 4, now).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "handed out {} {}", head.body.seq, head.id).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn killed_at_any_moment_no_two_heads_under_one_number_ever_left() {
    use std::process::{Command, Stdio};
    let kills: u64 = match std::env::var_os("TIDECAST_LONG") {
        Some(_) => 1_000,
        None => 100,
    };
    let folder = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "master::heads::tests::signs_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("TIDECAST_SIGNER", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(std::time::Duration::from_millis(10 + (random >> 33) % 40));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines().filter(|line| line.starts_with("handed out")) {
            let mut words = line.split(' ').skip(2);
            let (Some(seq), Some(id)) = (words.next(), words.next()) else {
                continue;
            };
            // The last line may be cut.
            if id.len() == 64 {
                let before = seen.insert(seq.to_owned(), id.to_owned());
                assert!(before.is_none_or(|before| before == id), "number {seq}");
            }
        }
        let failed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!failed.contains("panicked"), "{failed}");
    }
    // What left it stands in the log, and its chain is whole.
    let mut logged = std::collections::BTreeMap::new();
    crate::chain_log::read(
        &folder.path().join(HEADS_LOG),
        &log::FORMAT,
        &mut |record| {
            let signed = SignedHead::from_bytes(&record.body).unwrap();
            let seq = signed.claims().unwrap().seq.to_string();
            logged.insert(seq, signed.id().to_string());
        },
    )
    .unwrap();
    println!(
        "{kills} kills, {} heads handed out, {} in the log",
        seen.len(),
        logged.len()
    );
    assert!(seen.len() > 20);
    assert!(seen.iter().all(|(seq, id)| logged.get(seq) == Some(id)));
}
