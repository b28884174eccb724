//! The real freshclam against real mirrors: what it asks and what it gets is, request by request,
//! what it gets from any well-kept mirror. The rows were recorded with freshclam 1.4.6 and a plain
//! web server.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use support::freshclam::{Freshclam, Mode, Outcome};
use support::http::get;
use support::process::free_port;
use support::relay::Relay;
use support::servers::{Kind, WebServer};
use support::world::{Mirror, World};

const EXIT_OK: Option<i32> = Some(0);

/// The `test` databases and everything around them.
struct Genuine(PathBuf);

impl Genuine {
    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `test.cvd` of `version` with the cdiffs in `cdiffs`.
    fn release(&self, version: u32, cdiffs: impl IntoIterator<Item = u32>) -> Vec<Owned> {
        let mut files = vec![(
            "test.cvd".to_owned(),
            self.file(&format!("test-{version}.cvd")),
        )];
        for number in cdiffs {
            let name = format!("test-{number}.cdiff");
            let bytes = self.file(&name);
            files.push((name, bytes));
        }
        files
    }
}

type Owned = (String, Vec<u8>);

fn publish(world: &World, files: &[Owned]) -> u64 {
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    world.publish(&files)
}

/// A feed that demands genuine signatures, a mirror that serves it, a client, and the relay
/// between them.
struct Scene {
    data: Genuine,
    client: Freshclam,
    relay: Relay,
    mirror: Mirror,
    world: World,
}

impl Scene {
    /// Serves `test.cvd` of `version` with the cdiffs in `cdiffs`.
    fn new(
        test: &str,
        version: u32,
        cdiffs: impl IntoIterator<Item = u32> + Clone,
    ) -> Option<Self> {
        Self::serving(test, |data| data.release(version, cdiffs.clone()))
    }

    fn serving(test: &str, files: impl FnOnce(&Genuine) -> Vec<Owned>) -> Option<Self> {
        let data = Genuine(support::genuine(test)?);
        let client = Freshclam::new(test)?;
        let world = World::running("genuine");
        let release = publish(&world, &files(&data));
        let mirror = world.serving("mirror");
        mirror.reaches(release);
        let relay = Relay::to(mirror.http());
        Some(Self {
            data,
            client,
            relay,
            mirror,
            world,
        })
    }

    /// Gives the client `test.cvd` of `version` as if fetched before.
    fn start_with(&self, version: u32) {
        let file = self.data.path(&format!("test-{version}.cvd"));
        self.client.put("test.cvd", &file);
    }

    /// One run over `test` and the exchanges it took.
    #[track_caller]
    fn rows(&self, mode: Mode) -> Vec<String> {
        let outcome = self.client.run(mode, &[self.relay.port()], Some("test"));
        assert_eq!(outcome.code, EXIT_OK, "{}", outcome.output);
        self.relay.rows()
    }

    fn holds(&self, name: &str, version: u32) {
        let expected = BTreeMap::from([(name.to_owned(), version)]);
        assert_eq!(self.client.versions(), expected);
    }
}

#[test]
fn a_first_fetch_and_then_a_304() {
    let test = "a_first_fetch_and_then_a_304";
    let Some(scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    let rows = scene.rows(Mode::DatabaseMirror);
    assert_eq!(rows, ["/test.cvd R -> 206/512", "/test.cvd -> 200/9952"]);
    scene.holds("test.cvd", 6);
    let rows = scene.rows(Mode::DatabaseMirror);
    assert_eq!(rows, ["/test.cvd R I(23 Jun 2021 01:34:05) -> 304/0"]);
}

#[test]
fn an_update_over_five_versions_by_cdiffs() {
    let test = "an_update_over_five_versions_by_cdiffs";
    let Some(scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    scene.start_with(1);
    let rows = scene.rows(Mode::DatabaseMirror);
    let expected = [
        "/test.cvd R I(22 Jun 2021 18:58:22) -> 206/512",
        "/test-2.cdiff -> 200/765",
        "/test-3.cdiff -> 200/1637",
        "/test-4.cdiff -> 200/945",
        "/test-5.cdiff -> 200/993",
        "/test-6.cdiff -> 200/973",
    ];
    assert_eq!(rows, expected);
    scene.holds("test.cld", 6);
    let rows = scene.rows(Mode::DatabaseMirror);
    assert_eq!(rows, ["/test.cvd R I(23 Jun 2021 01:34:05) -> 304/0"]);
}

#[test]
fn a_client_without_scripted_updates_takes_the_whole_file() {
    let test = "a_client_without_scripted_updates_takes_the_whole_file";
    let Some(mut scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    scene.start_with(1);
    scene.client.settings.push("ScriptedUpdates no".to_owned());
    let expected = [
        "/test.cvd R I(22 Jun 2021 18:58:22) -> 206/512",
        "/test.cvd I(22 Jun 2021 18:58:22) -> 200/9952",
    ];
    assert_eq!(scene.rows(Mode::DatabaseMirror), expected);
    scene.holds("test.cvd", 6);
}

#[test]
fn a_private_mirrors_client_asks_for_the_cld_first() {
    let test = "a_private_mirrors_client_asks_for_the_cld_first";
    let Some(scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    let expected = [
        "/test.cld R -> 404",
        "/test.cvd R -> 206/512",
        "/test.cvd -> 200/9952",
    ];
    assert_eq!(scene.rows(Mode::PrivateMirror), expected);
    scene.holds("test.cvd", 6);
    let expected = [
        "/test.cld R I(23 Jun 2021 01:34:05) -> 404",
        "/test.cvd R I(23 Jun 2021 01:34:05) -> 304/0",
    ];
    assert_eq!(scene.rows(Mode::PrivateMirror), expected);
}

#[test]
fn an_old_private_mirrors_client_takes_the_whole_file() {
    let test = "an_old_private_mirrors_client_takes_the_whole_file";
    let Some(scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    scene.start_with(1);
    let expected = [
        "/test.cld R I(22 Jun 2021 18:58:22) -> 404",
        "/test.cvd R I(22 Jun 2021 18:58:22) -> 206/512",
        "/test.cvd I(22 Jun 2021 18:58:22) -> 200/9952",
    ];
    assert_eq!(scene.rows(Mode::PrivateMirror), expected);
    scene.holds("test.cvd", 6);
}

/// A `.cld` that a client of ours made is served to others as it is.
#[test]
fn a_cld_made_by_freshclam_can_be_published() {
    let test = "a_cld_made_by_freshclam_can_be_published";
    let Some(scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    scene.start_with(1);
    scene.rows(Mode::DatabaseMirror);
    let made = fs::read(scene.client.databases().join("test.cld")).unwrap();
    let mut files = scene.data.release(6, 2..=6);
    files[0] = ("test.cld".to_owned(), made.clone());
    let release = publish(&scene.world, &files);
    scene.mirror.reaches(release);
    fs::remove_file(scene.client.databases().join("test.cld")).unwrap();
    let whole = format!("/test.cld -> 200/{}", made.len());
    let expected = ["/test.cld R -> 206/512", whole.as_str()];
    assert_eq!(scene.rows(Mode::PrivateMirror), expected);
    scene.holds("test.cld", 6);
    let rows = scene.rows(Mode::PrivateMirror);
    assert_eq!(rows, ["/test.cld R I(23 Jun 2021 01:34:05) -> 304/0"]);
}

#[test]
fn an_ordinary_run_takes_daily_main_and_bytecode() {
    let test = "an_ordinary_run_takes_daily_main_and_bytecode";
    let Some(scene) = Scene::serving(test, |data| {
        vec![
            ("daily.cvd".to_owned(), data.file("test-6.cvd")),
            ("main.cvd".to_owned(), data.file("test-5.cvd")),
            ("bytecode.cvd".to_owned(), data.file("bytecode.cvd")),
        ]
    }) else {
        return;
    };
    let run = || {
        let ports = [scene.relay.port()];
        let outcome = scene.client.run(Mode::DatabaseMirror, &ports, None);
        assert_eq!(outcome.code, EXIT_OK, "{}", outcome.output);
        scene.relay.rows()
    };
    let expected = [
        "/daily.cvd R -> 206/512",
        "/daily.cvd -> 200/9952",
        "/main.cvd R -> 206/512",
        "/main.cvd -> 200/9818",
        "/bytecode.cvd R -> 206/512",
        "/bytecode.cvd -> 200/60449",
    ];
    assert_eq!(run(), expected);
    let held = [("bytecode.cvd", 19), ("daily.cvd", 6), ("main.cvd", 5)];
    let held = held.map(|(name, version)| (name.to_owned(), version));
    assert_eq!(scene.client.versions(), BTreeMap::from(held));
    let again = run();
    assert_eq!(again.len(), 3, "{again:?}");
    assert!(
        again.iter().all(|row| row.ends_with("-> 304/0")),
        "{again:?}"
    );
}

/// One version behind, freshclam waits for the patch and keeps what it has.
#[test]
fn without_the_last_cdiff_a_client_keeps_its_database() {
    let test = "without_the_last_cdiff_a_client_keeps_its_database";
    let Some(scene) = Scene::new(test, 6, 2..=5) else {
        return;
    };
    scene.start_with(5);
    let expected = [
        "/test.cvd R I(23 Jun 2021 01:31:42) -> 206/512",
        "/test-6.cdiff -> 404",
        "/test-6.cdiff -> 404",
        "/test-6.cdiff -> 404",
    ];
    assert_eq!(scene.rows(Mode::DatabaseMirror), expected);
    scene.holds("test.cvd", 5);
}

#[test]
fn a_gap_in_the_cdiffs_costs_a_client_two_runs() {
    let test = "a_gap_in_the_cdiffs_costs_a_client_two_runs";
    let Some(scene) = Scene::new(test, 6, 2..=3) else {
        return;
    };
    scene.start_with(1);
    let expected = [
        "/test.cvd R I(22 Jun 2021 18:58:22) -> 206/512",
        "/test-2.cdiff -> 200/765",
        "/test-3.cdiff -> 200/1637",
        "/test-4.cdiff -> 404",
        "/test-4.cdiff -> 404",
        "/test-4.cdiff -> 404",
    ];
    assert_eq!(scene.rows(Mode::DatabaseMirror), expected);
    scene.holds("test.cld", 3);
    let expected = [
        "/test.cvd R I(23 Jun 2021 00:40:09) -> 206/512",
        "/test-4.cdiff -> 404",
        "/test-4.cdiff -> 404",
        "/test-4.cdiff -> 404",
        "/test.cvd I(23 Jun 2021 00:40:09) -> 200/9952",
    ];
    assert_eq!(scene.rows(Mode::DatabaseMirror), expected);
    scene.holds("test.cvd", 6);
}

#[test]
fn a_mirror_that_is_down_is_passed_over() {
    let test = "a_mirror_that_is_down_is_passed_over";
    let Some(scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    let ports = [free_port(), scene.relay.port()];
    let outcome = scene.client.run(Mode::DatabaseMirror, &ports, Some("test"));
    assert_eq!(outcome.code, EXIT_OK, "{}", outcome.output);
    let expected = ["/test.cvd R -> 206/512", "/test.cvd -> 200/9952"];
    assert_eq!(scene.relay.rows(), expected);
    scene.holds("test.cvd", 6);
}

#[test]
fn a_mirror_of_another_feed_is_passed_over() {
    let test = "a_mirror_of_another_feed_is_passed_over";
    let Some(scene) = Scene::new(test, 6, 2..=6) else {
        return;
    };
    let other = World::running("none");
    let release = other.publish(&[("other.hdb", b"nothing of ClamAV's")]);
    let lacking = other.serving("lacking");
    lacking.reaches(release);
    let first = Relay::to(lacking.http());
    let ports = [first.port(), scene.relay.port()];
    let outcome = scene.client.run(Mode::DatabaseMirror, &ports, Some("test"));
    assert_eq!(outcome.code, EXIT_OK, "{}", outcome.output);
    assert_eq!(first.rows(), ["/test.cvd R -> 404"; 3]);
    let expected = ["/test.cvd R -> 206/512", "/test.cvd -> 200/9952"];
    assert_eq!(scene.relay.rows(), expected);
    scene.holds("test.cvd", 6);
}

/// Clients poll without a pause while six releases go live.
fn no_run_fails_while_releases_go_live(test: &str, front: Option<Kind>) {
    let Some(scene) = Scene::new(test, 1, []) else {
        return;
    };
    let server = front.map(|kind| WebServer::start(test, kind, &scene.mirror.docroot));
    let port = match &server {
        None => scene.mirror.http(),
        Some(Some(server)) => server.port(),
        Some(None) => return,
    };
    let relay = Relay::to(port);
    let over = AtomicBool::new(false);
    let poll = |client: &Freshclam| -> Vec<(Outcome, Option<u32>)> {
        let mut runs = Vec::new();
        loop {
            let last = over.load(Ordering::SeqCst);
            let outcome = client.run(Mode::DatabaseMirror, &[relay.port()], Some("test"));
            runs.push((outcome, client.versions().values().max().copied()));
            if last {
                return runs;
            }
        }
    };
    let other = Freshclam::new(test).unwrap();
    let all = std::thread::scope(|scope| {
        let pollers = [&scene.client, &other].map(|client| scope.spawn(|| poll(client)));
        let hot = scope.spawn(|| {
            let mut statuses = BTreeMap::<u16, u32>::new();
            while !over.load(Ordering::SeqCst) {
                for target in ["/test.cvd", "/test-4.cdiff", "/.tidecast/current/test.cvd"] {
                    *statuses.entry(get(port, target, &[]).status).or_default() += 1;
                }
            }
            statuses
        });
        for version in 2..=6 {
            let release = publish(&scene.world, &scene.data.release(version, 2..=version));
            scene.mirror.reaches(release);
        }
        over.store(true, Ordering::SeqCst);
        let statuses = hot.join().unwrap();
        let only: Vec<u16> = statuses.keys().copied().collect();
        assert_eq!(only, [200, 404], "{statuses:?}");
        pollers.map(|poller| poller.join().unwrap())
    });
    for runs in all {
        let versions: Vec<Option<u32>> = runs.iter().map(|(_, version)| *version).collect();
        for (outcome, _) in &runs {
            assert_eq!(outcome.code, EXIT_OK, "{versions:?} {}", outcome.output);
        }
        assert!(versions.is_sorted(), "{versions:?}");
        assert_eq!(versions.last(), Some(&Some(6)), "{versions:?}");
    }
    let statuses: Vec<u16> = relay
        .take()
        .iter()
        .map(|exchange| exchange.status)
        .collect();
    assert!(
        statuses
            .iter()
            .all(|status| [200, 206, 304].contains(status)),
        "{statuses:?}"
    );
}

#[test]
fn no_run_fails_while_releases_go_live_on_a_mirror() {
    no_run_fails_while_releases_go_live("no_run_fails_while_releases_go_live_on_a_mirror", None);
}

#[test]
fn no_run_fails_while_releases_go_live_behind_nginx() {
    no_run_fails_while_releases_go_live(
        "no_run_fails_while_releases_go_live_behind_nginx",
        Some(Kind::Nginx),
    );
}

#[test]
fn no_run_fails_while_releases_go_live_behind_apache() {
    no_run_fails_while_releases_go_live(
        "no_run_fails_while_releases_go_live_behind_apache",
        Some(Kind::Apache),
    );
}

/// The exchanges of a first fetch, of a client that is up to date, and of an update by cdiffs after
/// a switch, with the docroot served by somebody else's server.
fn a_web_server_on_the_docroot_answers_like_the_mirror(test: &str, kind: Kind) {
    let Some(scene) = Scene::new(test, 4, 2..=4) else {
        return;
    };
    let Some(server) = WebServer::start(test, kind, &scene.mirror.docroot) else {
        return;
    };
    let relay = Relay::to(server.port());
    let update = || {
        let outcome = scene
            .client
            .run(Mode::DatabaseMirror, &[relay.port()], Some("test"));
        assert_eq!(outcome.code, EXIT_OK, "{}", outcome.output);
        relay.rows()
    };
    let expected = ["/test.cvd R -> 206/512", "/test.cvd -> 200/9653"];
    assert_eq!(update(), expected);
    let unchanged = ["/test.cvd R I(23 Jun 2021 01:29:36) -> 304/0"];
    assert_eq!(update(), unchanged);
    let release = publish(&scene.world, &scene.data.release(6, 2..=6));
    scene.mirror.reaches(release);
    let expected = [
        "/test.cvd R I(23 Jun 2021 01:29:36) -> 206/512",
        "/test-5.cdiff -> 200/993",
        "/test-6.cdiff -> 200/973",
    ];
    assert_eq!(update(), expected);
    scene.holds("test.cld", 6);
    assert_eq!(update(), ["/test.cvd R I(23 Jun 2021 01:34:05) -> 304/0"]);
    for target in [
        "/.tidecast",
        "/.tidecast/",
        "/.tidecast/current/test.cvd",
        "/",
    ] {
        assert_eq!(get(server.port(), target, &[]).status, 404, "{target}");
    }
}

#[test]
fn nginx_on_the_docroot_answers_like_the_mirror() {
    let test = "nginx_on_the_docroot_answers_like_the_mirror";
    a_web_server_on_the_docroot_answers_like_the_mirror(test, Kind::Nginx);
}

#[test]
fn apache_on_the_docroot_answers_like_the_mirror() {
    let test = "apache_on_the_docroot_answers_like_the_mirror";
    a_web_server_on_the_docroot_answers_like_the_mirror(test, Kind::Apache);
}
