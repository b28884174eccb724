//! A mirror's wall clock that jumps while it runs: during a sync and between two, by a month, by more than a year, to 1970
//! and to 2106. Nothing that is not due is accepted, what is served stays whole, and all is well again by itself.
//!
//! The program runs under libfaketime, which leaves its monotonic clock alone; that it does is asserted.

mod support;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::command::tidecast;
use support::fake_clock::{self, FakeClock};
use support::process::within;
use support::udp::{Line, Weather};
use support::world::{Daemon, Mirror, World, noise};

const DAY_S: i64 = 24 * 3600;
/// 1970-01-02, in Unix seconds.
const IN_1970_S: i64 = DAY_S;
/// 2106-02-08, in Unix seconds: more than 32 bits hold.
const IN_2106_S: i64 = 4_295_030_400;
/// A head lives so long; nothing in a docroot may be dated later than that, and the moment a stamp is ahead, from now.
const HEAD_LIFE_S: i64 = 6 * 3600;
/// How much the machine's business may add to a moment, in seconds.
const SLACK_S: i64 = 120;

/// How fast the lines are, in bytes per second, and how much of the release must be over before the clock jumps.
const BYTES_PER_S: u64 = 400_000;
const UNDER_WAY_BYTES: u64 = 300_000;
const BIG_BYTES: usize = 2_500_000;

/// How long anything may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A way in which a clock goes wrong.
#[derive(Debug, Clone, Copy)]
struct Jump {
    name: &'static str,
    ahead_s: i64,
    /// Exit code of a sync under it: 75 where the clock or the head may be wrong, 65 where the root has expired.
    exit: i32,
    /// How a moment of then begins in a log.
    log: &'static str,
}

impl Jump {
    fn all() -> [Self; 4] {
        let jump = |name, ahead_s, exit, log| Self {
            name,
            ahead_s,
            exit,
            log,
        };
        [
            jump("month-ahead", 30 * DAY_S, 75, ""),
            jump("400-days-back", -400 * DAY_S, 75, ""),
            jump("in-1970", IN_1970_S - now_s(), 75, "1970-01-02T"),
            jump("in-2106", IN_2106_S - now_s(), 65, "2106-02-08T"),
        ]
    }

    fn is_ahead(self) -> bool {
        self.ahead_s > 0
    }
}

/// A mirror whose clock can be set, behind a slow line.
struct Jumper {
    jump: Jump,
    clock: FakeClock,
    line: Line,
    mirror: Mirror,
}

impl Jumper {
    fn status(&self) -> Value {
        self.mirror.status()
    }

    #[track_caller]
    fn comes_to(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        let came = within(PATIENCE, || done(self));
        assert!(
            came,
            "{}: not {what}: {}\n{}",
            self.jump.name,
            self.status(),
            self.mirror.log()
        );
        let seconds = begun.elapsed().as_secs_f64();
        println!("{}: {what} after {seconds:.1} s", self.jump.name);
    }

    fn health(&self) -> (u16, String) {
        let got = support::http::get(self.mirror.http(), "/healthz", &[]);
        (got.status, String::from_utf8(got.body).unwrap())
    }

    fn is_marked_stale(&self) -> bool {
        let text = String::from_utf8(self.mirror.file("timestamp").unwrap()).unwrap();
        text.lines().nth(1).unwrap().starts_with("stale ")
    }

    /// What is shown of a release's new file as Last-Modified, in Unix seconds.
    fn stamp_s(&self, name: &str) -> i64 {
        fs::metadata(self.mirror.docroot.join(name))
            .unwrap()
            .mtime()
    }

    /// Last-Modified is near the moment of the publication, whatever the clock said.
    fn is_dated_well(&self, name: &str, published_s: i64) {
        let stamp = self.stamp_s(name) - published_s;
        println!(
            "{}: {name} is dated {stamp} s after its release",
            self.jump.name
        );
        let earliest = -SLACK_S;
        assert!(
            (earliest..=HEAD_LIFE_S + SLACK_S).contains(&stamp),
            "{}: {stamp}",
            self.jump.name
        );
    }
}

/// Looks at every file of every docroot all the time: each must be whole and of some release, and there.
struct Watch {
    over: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    known: Arc<Mutex<HashMap<String, Vec<blake3::Hash>>>>,
    watching: std::thread::JoinHandle<Vec<String>>,
}

type Known = Arc<Mutex<HashMap<String, Vec<blake3::Hash>>>>;

fn know(known: &Known, files: &[(&str, &[u8])]) {
    let mut known = known.lock().unwrap();
    for (name, bytes) in files {
        let hashes = known.entry((*name).to_owned()).or_default();
        hashes.push(blake3::hash(bytes));
    }
}

impl Watch {
    fn over(docroots: Vec<PathBuf>, known: &Known) -> Self {
        let (over, looks) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (done, count, allowed) = (over.clone(), looks.clone(), known.clone());
        let watching = std::thread::spawn(move || {
            let mut wrong = Vec::new();
            while !done.load(Ordering::Relaxed) && wrong.len() < 10 {
                for docroot in &docroots {
                    let known = allowed.lock().unwrap().clone();
                    for (name, hashes) in &known {
                        let is = fs::read(docroot.join(name)).map(|bytes| blake3::hash(&bytes));
                        if !is.as_ref().is_ok_and(|is| hashes.contains(is)) {
                            wrong.push(format!("{}: {is:?}", docroot.join(name).display()));
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            wrong
        });
        Self {
            over,
            looks,
            known: known.clone(),
            watching,
        }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        let wrong = self.watching.join().unwrap();
        println!("{} looks at files", self.looks.load(Ordering::Relaxed));
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(!self.known.lock().unwrap().is_empty());
    }
}

/// A master restored from a backup of its first release: it signs fresh heads for that.
fn stale_master(world: &mut World) -> Daemon {
    world.stop_master();
    let (state, copy) = (world.path("master"), world.path("backup"));
    let copied = Command::new("cp").arg("-a").arg(&state).arg(&copy).status();
    assert!(copied.unwrap().success());
    world.restart_master();
    let mut command = tidecast(&copy);
    command.args(["master", "--json", "--listen", "127.0.0.1:0"]);
    Daemon::start(&mut command, &world.path("backup.log"))
}

fn add_upstream(state: &Path, upstream: &str) {
    let path = state.join("mirror.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, list) = text.split_once("upstreams = [").unwrap();
    let (list, after) = list.split_once(']').unwrap();
    let list = list.trim().trim_end_matches(',');
    let text = format!("{before}upstreams = [{list}, \"{upstream}\"]{after}");
    fs::write(&path, text.replace("grace_s = 600", "grace_s = 1")).unwrap();
}

fn publish(world: &World, known: &Known, files: &[(&str, &[u8])]) -> u64 {
    know(known, files);
    world.publish(files)
}

#[test]
fn a_mirror_whose_clock_jumps_accepts_nothing_bad_and_recovers_alone() {
    const TEST: &str = "a_mirror_whose_clock_jumps_accepts_nothing_bad_and_recovers_alone";
    let Some(library) = fake_clock::library(TEST) else {
        return;
    };
    let mut world = World::running("none");
    let known = Known::default();
    let common = noise(1, 50_000);
    publish(
        &world,
        &known,
        &[
            ("rules.yar", b"1"),
            ("big.hdb", b"1"),
            ("common.hdb", &common),
        ],
    );
    let upstream = world.upstream().parse().unwrap();
    let mut jumpers: Vec<Jumper> = Jump::all()
        .into_iter()
        .map(|jump| {
            let weather = Weather {
                bytes_per_s: BYTES_PER_S,
                ..Weather::default()
            };
            let line = Line::to(upstream, weather);
            let mirror = world.mirror_of(jump.name, &line.address());
            world.admit(&mirror);
            let clock = FakeClock::new(&library, world.path(&format!("{}.clock", jump.name)));
            Jumper {
                jump,
                clock,
                line,
                mirror,
            }
        })
        .collect();
    let backup = stale_master(&mut world);
    let backup_address = format!("127.0.0.1:{}", backup.port("listen"));
    for Jumper { clock, mirror, .. } in &mut jumpers {
        add_upstream(&mirror.state, &backup_address);
        mirror.start_as(|command| clock.rule(command));
        mirror.reaches(1);
    }
    let docroots = jumpers.iter().map(|j| j.mirror.docroot.clone()).collect();
    let watch = Watch::over(docroots, &known);

    println!("-- the clock jumps during a sync");
    let before: Vec<u64> = jumpers.iter().map(|j| j.line.down_bytes()).collect();
    let big = noise(2, BIG_BYTES);
    let second_s = now_s();
    publish(
        &world,
        &known,
        &[
            ("rules.yar", b"22"),
            ("big.hdb", &big),
            ("common.hdb", &common),
        ],
    );
    for (jumper, before) in jumpers.iter().zip(before) {
        jumper.comes_to("under way", |j| {
            j.line.down_bytes() > before + UNDER_WAY_BYTES
        });
    }
    for Jumper {
        jump,
        clock,
        mirror,
        ..
    } in &jumpers
    {
        assert_eq!(mirror.release(), 1, "{}: not during the sync", jump.name);
        clock.set(jump.ahead_s);
    }
    for jumper in &jumpers {
        // It was judged before the clock jumped, and goes on.
        jumper.comes_to("at release 2", |j| j.mirror.release() == 2);
        jumper.is_dated_well("big.hdb", second_s);
        let jump = jumper.jump;
        if jump.is_ahead() {
            jumper.comes_to("stale", |j| {
                j.status()["stale"] == true && j.is_marked_stale()
            });
            let (status, line) = jumper.health();
            assert!(
                status == 503 && line.starts_with("stale release 2 since "),
                "{line}"
            );
        }
        // The program saw the jump: its log is dated so, or nothing was tested here.
        let log = jumper.mirror.log();
        assert!(log.contains(jump.log), "{log}");
        println!("{}: {}", jump.name, log.lines().last().unwrap());
    }
    for jumper in jumpers.iter().filter(|j| !j.jump.is_ahead()) {
        // Time is never before the last head was issued.
        assert_eq!(jumper.status()["stale"], false, "{}", jumper.jump.name);
        assert!(!jumper.is_marked_stale());
    }
    let of_root = |status: &Value| status["warnings"].to_string().contains("root_expires");
    for jumper in &jumpers {
        let expired = jumper.jump.ahead_s > 10_000 * DAY_S;
        assert_eq!(of_root(&jumper.status()), expired, "{}", jumper.jump.name);
    }

    println!("-- a release while the clock is wrong");
    let old = world.path("1-2.bundle");
    let exported = ["bundle", "export", "--from", "1", old.to_str().unwrap()];
    assert_eq!(world.on_master(&exported).code, 0);
    let third_s = now_s();
    publish(
        &world,
        &known,
        &[
            ("rules.yar", b"333"),
            ("big.hdb", &big),
            ("common.hdb", &common),
        ],
    );
    for jumper in &jumpers {
        if jumper.jump.is_ahead() {
            // By its clock that head has expired.
            jumper.comes_to("told of a head it cannot take", |j| {
                !j.status()["last_error"].is_null()
            });
            println!("{}: {}", jumper.jump.name, jumper.status()["last_error"]);
            assert_eq!(jumper.mirror.release(), 2);
        } else {
            jumper.comes_to("at release 3", |j| j.mirror.release() == 3);
            jumper.is_dated_well("rules.yar", third_s);
        }
    }
    // What clients hold from the time when the clock was wrong.
    let seen: Vec<i64> = jumpers.iter().map(|j| j.stamp_s("rules.yar")).collect();

    println!(
        "-- an older release, carried by hand and offered by a master that forgot the newer ones"
    );
    for jumper in &jumpers {
        let was = jumper.mirror.release();
        let imported = jumper
            .mirror
            .run(&["bundle", "import", old.to_str().unwrap()]);
        println!(
            "{}: {}",
            jumper.jump.name,
            imported.err.lines().next().unwrap_or("taken for current")
        );
        assert_eq!(jumper.mirror.release(), was);
        assert!(imported.code != 0, "{imported:?}");
    }
    let upstream = world.upstream();
    world.master().stop();
    for jumper in &jumpers {
        let was = jumper.mirror.release();
        jumper.comes_to("with the backup", |j| {
            let status = j.status();
            status["connection"]["upstream"] == *backup_address && !status["last_error"].is_null()
        });
        println!(
            "{}: {}",
            jumper.jump.name,
            jumper.status()["last_error"]["what"]
        );
        assert_eq!(jumper.mirror.release(), was, "{}", jumper.jump.name);
    }
    world.restart_master();
    assert_eq!(world.upstream(), upstream);

    println!("-- the clock is right again");
    for jumper in &jumpers {
        jumper.clock.set(0);
    }
    for jumper in &mut jumpers {
        jumper.comes_to("at release 3 and well", |j| {
            let status = j.status();
            j.mirror.release() == 3 && status["stale"] == false && !j.is_marked_stale()
        });
        jumper.comes_to("healthy", |j| {
            j.health() == (200, "ok release 3\n".to_owned())
        });
        assert!(!of_root(&jumper.status()));
    }

    println!("-- and the next release comes as ever");
    let fourth_s = now_s();
    publish(
        &world,
        &known,
        &[
            ("rules.yar", b"4444"),
            ("big.hdb", &big),
            ("common.hdb", &common),
        ],
    );
    for (jumper, seen) in jumpers.iter().zip(seen) {
        jumper.comes_to("at release 4", |j| {
            j.mirror.release() == 4 && j.health() == (200, "ok release 4\n".to_owned())
        });
        jumper.is_dated_well("rules.yar", fourth_s);
        // Whoever got a file while the clock was wrong is not told that it is still the newest.
        let name = jumper.jump.name;
        assert!(jumper.stamp_s("rules.yar") > seen, "{name}");
        let date = UNIX_EPOCH + Duration::from_secs(u64::try_from(seen).unwrap());
        let since = format!("If-Modified-Since: {}", httpdate::fmt_http_date(date));
        let got = support::http::get(jumper.mirror.http(), "/rules.yar", &[&since]);
        assert_eq!((got.status, &*got.body), (200, &b"4444"[..]), "{name}");
        assert_eq!(jumper.mirror.run(&["verify"]).code, 0, "{name}");
        let audited = jumper.mirror.run(&["audit", "--json"]).object();
        assert_eq!(audited["authorised"], true, "{name}: {audited}");
        // Trees of wrong times are let go of like others.
        jumper.comes_to("rid of old trees", |j| {
            let trees = fs::read_dir(j.mirror.docroot.join(".tidecast")).unwrap();
            let names = trees.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names
                .filter(|name| {
                    name.starts_with('r') && !name.contains('.') && name[1..].parse::<u64>().is_ok()
                })
                .count()
                <= 2
        });
    }
    watch.end();
}

#[test]
fn a_sync_by_a_wrong_clock_installs_nothing_and_by_the_right_one_all() {
    const TEST: &str = "a_sync_by_a_wrong_clock_installs_nothing_and_by_the_right_one_all";
    let Some(library) = fake_clock::library(TEST) else {
        return;
    };
    let world = World::running("none");
    world.publish(&[("rules.yar", b"1")]);
    let mirror = world.admitted("mirror");
    let clock = FakeClock::new(&library, world.path("clock"));
    let sync = |ahead_s: i64| {
        clock.set(ahead_s);
        let mut command = tidecast(&mirror.state);
        clock.rule(command.args(["sync", "--json"]));
        support::command::Ran::of(command.output().unwrap())
    };
    for jump in Jump::all() {
        let ran = sync(jump.ahead_s);
        println!(
            "{}: exit {}, {}",
            jump.name,
            ran.code,
            ran.err.lines().next().unwrap()
        );
        assert_eq!(ran.code, jump.exit, "{ran:?}");
        assert_eq!(mirror.release(), 0, "{}", jump.name);
    }
    let right = sync(0).object();
    assert_eq!(
        (&right["to"], &right["switched"]),
        (&1.into(), &true.into())
    );
    world.publish(&[("rules.yar", b"22")]);
    for jump in Jump::all() {
        let ran = sync(jump.ahead_s);
        println!(
            "{}: exit {}, now release {}",
            jump.name,
            ran.code,
            mirror.release()
        );
        if jump.is_ahead() {
            // What is installed is stale by that clock, which is said first.
            assert_eq!(ran.code, 75, "{ran:?}");
        } else {
            // Time is never before the last head was issued, and that was a moment ago.
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    }
    assert_eq!(sync(0).code, 0);
    assert_eq!(mirror.release(), 2);
    assert_eq!(mirror.run(&["verify"]).code, 0);
}
