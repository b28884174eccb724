//! Readers hammer a docroot while releases go live, and while its mirror is killed: no file is torn, none missing, no two
//! are mixed, none dangles, and what is the operator's stays (SPEC §8).
//!
//! The releases are small and follow each other as fast as they can be published; every file says which release it is of
//! and whether it is whole. One test checks the readers: an ordinary mirror script breaks all of that, and they see it.
//!
//! In the environment:
//! - `TIDECAST_LONG`      the counts of the long form
//! - `TIDECAST_SWITCHES`  that many switches; 60, long 2,500
//! - `TIDECAST_KILLS`     that many kills; 15, long 500
//! - `TIDECAST_SEED`      what the moments and names follow from; printed

#[path = "readers/behind_apache.rs"]
mod behind_apache;
#[path = "readers/connection.rs"]
mod connection;
#[path = "readers/feed.rs"]
mod feed;
#[path = "readers/files.rs"]
mod files;
#[path = "readers/kills.rs"]
mod kills;
#[path = "readers/ordinary.rs"]
mod ordinary;
mod support;
#[path = "readers/tally.rs"]
mod tally;
#[path = "readers/web.rs"]
mod web;

use std::fs;
use std::path::Path;
use std::thread::Scope;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use behind_apache::Plain;
use kills::Killed;
use support::process::{eventually, free_port};
use support::servers::{Kind, WebServer};
use support::world::{Mirror, World};
use tally::{Random, Tally, Wrong};
use tidecast_engine::mirror::MIRROR_CONFIG;
use web::Server;

/// How long a replaced tree is kept, in seconds; an operator's mirror keeps it ten minutes.
const GRACE_S: u64 = 1;

/// Releases that may be published and not live: a name that stays must not be about to go in one that is under way.
const AHEAD_MAX: u64 = feed::PASSES - 2;

/// How long the ordinary script may take to be found out.
const PATIENCE: Duration = Duration::from_secs(60);

fn number(name: &str, short: u64, long: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) if support::long() => long,
        Err(_) => short,
    }
}

/// Another one each time, unless it is given.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::from(now.subsec_nanos());
    let seed = number("TIDECAST_SEED", now, now);
    println!("TIDECAST_SEED={seed}");
    seed
}

/// A mirror that lets go of old trees soon.
fn hasty(world: &World) -> Mirror {
    let mirror = world.admitted("mirror");
    let path = mirror.state.join(MIRROR_CONFIG);
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("grace_s = ").unwrap();
    let after = after.split_once('\n').map_or("", |(_, after)| after);
    fs::write(&path, format!("{before}grace_s = {GRACE_S}\n{after}")).unwrap();
    mirror
}

/// Everybody who reads files and asks the mirror's own server, until the tally is over.
fn readers<'scope>(
    scope: &'scope Scope<'scope, '_>,
    docroot: &'scope Path,
    http: (u16, Server),
    tally: &'scope Tally,
    seed: u64,
) {
    let (port, server) = http;
    scope.spawn(move || files::pairs(docroot, tally, seed));
    scope.spawn(move || files::comings(docroot, tally, seed + 1));
    scope.spawn(move || files::dawdling(docroot, tally, seed + 2));
    scope.spawn(move || files::locals(docroot, tally));
    scope.spawn(move || web::whole_files(port, server, tally, seed + 3));
    scope.spawn(move || web::ranges(port, server, tally, seed + 4));
}

#[test]
fn readers_see_whole_releases_while_releases_go_live() {
    let switches = number("TIDECAST_SWITCHES", 60, 2_500);
    let seed = seed();
    let world = World::running("none");
    let mut mirror = hasty(&world);
    mirror.start();
    feed::publish(&world, 1);
    mirror.reaches(1);
    files::lay_out_local(&mirror.docroot);
    let tally = Tally::default();
    tally.begin(1);
    let begun = Instant::now();
    let over = Ending(&tally);
    std::thread::scope(|scope| {
        let over = over;
        let http = (mirror.http(), Server::Stays);
        readers(scope, &mirror.docroot, http, &tally, seed);
        for release in 2..2 + switches {
            tally.begin(release);
            feed::publish(&world, release);
            let live = || mirror.release() == release;
            assert!(eventually(live), "{}", mirror.log());
        }
        drop(over);
    });
    let seconds = begun.elapsed().as_secs();
    println!("{switches} switches in {seconds} s, trees kept {GRACE_S} s");
    tally.settle();
    for kind in [
        "files: A, B, A across a switch",
        "HTTP: two ranges of one release",
        "HTTP: a range, then the whole of a newer release",
        "files: a name that comes and goes, there",
        "files: a name that comes and goes, not there",
    ] {
        assert!(tally.looks(kind) > 0, "nobody saw: {kind}");
    }
}

/// Ends the readers also when their test fails.
struct Ending<'t>(&'t Tally);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[test]
fn readers_see_whole_releases_while_the_mirror_is_killed() {
    let test = "readers_see_whole_releases_while_the_mirror_is_killed";
    let kills = number("TIDECAST_KILLS", 15, 500);
    let seed = seed();
    let world = World::running("none");
    let mirror = hasty(&world);
    let port = free_port();
    let mut killed = Killed::new(&mirror, port);
    killed.start();
    feed::publish(&world, 1);
    // Written once the first release is served.
    let timestamp = mirror.docroot.join("timestamp");
    assert!(eventually(|| timestamp.exists()), "{}", killed.log());
    files::lay_out_local(&mirror.docroot);
    let Some(apache) = WebServer::start(test, Kind::Apache, &mirror.docroot) else {
        return;
    };
    let tally = Tally::default();
    tally.begin(1);
    let plain = Plain::default();
    let begun = Instant::now();
    let over = Ending(&tally);
    std::thread::scope(|scope| {
        let over = over;
        let docroot = mirror.docroot.as_path();
        let (tally, plain, world) = (&tally, &plain, &world);
        readers(scope, docroot, (port, Server::Dies), tally, seed);
        let behind = apache.port();
        scope.spawn(move || behind_apache::kept(behind, tally, seed + 5));
        scope.spawn(move || behind_apache::added(behind, tally));
        scope.spawn(move || behind_apache::dropped(behind, tally));
        scope.spawn(move || plain.unlink(docroot, tally, seed + 6));
        scope.spawn(move || plain.ask(behind, tally));
        scope.spawn(move || Plain::swap(docroot, tally, seed + 8));
        scope.spawn(move || Plain::ask_for_the_swapped(behind, tally));
        let publisher = scope.spawn(|| {
            while !tally.is_over() {
                let release = tally.begun() + 1;
                if release > mirror.release() + AHEAD_MAX {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                tally.begin(release);
                feed::publish(world, release);
            }
        });
        let mut random = Random::new(seed + 7);
        for kill in 0..kills {
            killed.kill_sometime(&mut random, || mirror.release());
            if let Err(why) = killed.check(tally.begun()) {
                tally.wrong(Wrong::Mixed, format!("after kill {kill}: {why}"));
            }
            killed.start();
        }
        drop(over);
        publisher.join().unwrap();
    });
    let seconds = begun.elapsed().as_secs();
    let newest = tally.begun();
    println!("{kills} kills and {newest} releases in {seconds} s; killed {killed}");
    assert!(
        eventually(|| mirror.release() == newest),
        "{}",
        killed.log()
    );
    killed.check(newest).unwrap();
    tally.settle();
    println!("{}", behind_apache::compare(&tally, newest).unwrap());
    if support::long() {
        killed.fell_everywhere();
    }
}

/// What `rsync` and its like do to a docroot, and a server that forgets conditions: the readers see each of it.
#[test]
fn the_readers_see_what_an_ordinary_script_breaks() {
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let docroot = folder.path();
    ordinary::lay_out(docroot, 1);
    files::lay_out_local(docroot);
    let tally = Tally::default();
    tally.begin(1);
    let forgetful = ordinary::serve_without_conditions();
    let expected = [
        Wrong::Torn,
        Wrong::Missing,
        Wrong::Mixed,
        Wrong::Dangling,
        Wrong::Touched,
    ];
    let http = Tally::default();
    http.begin(1);
    let over = [Ending(&tally), Ending(&http)];
    std::thread::scope(|scope| {
        let over = over;
        let tally = &tally;
        let http = &http;
        scope.spawn(move || files::pairs(docroot, tally, seed));
        scope.spawn(move || files::comings(docroot, tally, seed + 1));
        scope.spawn(move || files::locals(docroot, tally));
        scope.spawn(move || web::ranges(forgetful, Server::Stays, http, seed + 2));
        let begun = Instant::now();
        let mut release = 1;
        while begun.elapsed() < PATIENCE {
            release += 1;
            tally.begin(release);
            ordinary::update(docroot, release);
            if expected.iter().all(|wrong| tally.count(*wrong) > 0) && http.count(Wrong::Torn) > 0 {
                break;
            }
        }
        drop(over);
    });
    println!("{tally}\n{http}");
    for wrong in expected {
        assert!(tally.count(wrong) > 0, "nobody saw: {wrong:?}");
    }
    assert!(http.count(Wrong::Torn) > 0, "nobody saw mixed ranges");
}

/// A link that leads nowhere, a file that is written in place and one that is deleted first are seen behind Apache, too.
#[test]
fn the_readers_behind_apache_see_what_an_ordinary_script_breaks() {
    let test = "the_readers_behind_apache_see_what_an_ordinary_script_breaks";
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let docroot = folder.path().join("docroot");
    ordinary::lay_out(&docroot, 1);
    let Some(apache) = WebServer::start(test, Kind::Apache, &docroot) else {
        return;
    };
    let tally = Tally::default();
    tally.begin(1);
    let expected = [Wrong::Torn, Wrong::Missing, Wrong::Forbidden];
    let over = Ending(&tally);
    std::thread::scope(|scope| {
        let over = over;
        let tally = &tally;
        scope.spawn(|| behind_apache::kept(apache.port(), tally, seed));
        let begun = Instant::now();
        let mut release = 1;
        while begun.elapsed() < PATIENCE {
            release += 1;
            tally.begin(release);
            ordinary::update(&docroot, release);
            if expected.iter().all(|wrong| tally.count(*wrong) > 0) {
                break;
            }
        }
        drop(over);
    });
    println!("{tally}");
    for wrong in expected {
        assert!(tally.count(wrong) > 0, "nobody saw: {wrong:?}");
    }
}

/// The comparison can fail: more than chance, and nothing to compare.
#[test]
fn more_than_befalls_plain_files_is_too_much() {
    use behind_apache::no_more_than;
    assert!(no_more_than((500, 10), (5_000, 100)).is_ok());
    assert!(no_more_than((500, 40), (5_000, 100)).is_err());
    assert!(no_more_than((500, 0), (5_000, 0)).is_ok());
    assert!(no_more_than((0, 0), (5_000, 100)).is_err());
    assert!(no_more_than((500, 1), (0, 0)).is_err());
}
