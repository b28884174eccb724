//! The real freshclam with databases of a feed's own: `DatabaseCustomURL`, which asks with the moment
//! of its last download, not with a build time.

mod support;

use std::fs;
use std::time::{Duration, SystemTime};

use support::container::{hdb_line, unsigned};
use support::freshclam::{Freshclam, Mode, Outcome};
use support::http::get;
use support::relay::{Exchange, Relay};
use support::servers::{Kind, WebServer};
use support::world::{Mirror, World};

/// Publishes one file and waits until the mirror serves it.
fn publish(world: &World, mirror: &Mirror, name: &str, bytes: &[u8]) {
    let release = world.publish(&[(name, bytes)]);
    mirror.reaches(release);
}

fn modified(port: u16, target: &str) -> SystemTime {
    let answer = get(port, target, &[]);
    let modified = answer.header("last-modified").unwrap();
    httpdate::parse_http_date(modified).unwrap()
}

/// First fetch, up to date, a new release.
fn a_custom_database_is_fetched_when_it_changed(
    test: &str,
    front: Option<Kind>,
    name: &str,
    versions: [&[u8]; 2],
) {
    let Some(mut client) = Freshclam::new(test) else {
        return;
    };
    let world = World::running("genuine");
    let mirror = world.serving("mirror");
    publish(&world, &mirror, name, versions[0]);
    let server = front.map(|kind| WebServer::start(test, kind, &mirror.docroot));
    let port = match &server {
        None => mirror.http(),
        Some(Some(server)) => server.port(),
        Some(None) => return,
    };
    let relay = Relay::to(port);
    let target = format!("/{name}");
    let url = format!(
        "DatabaseCustomURL http://127.0.0.1:{}{target}",
        relay.port()
    );
    client.settings.push(url);
    let update = || -> (Outcome, Vec<Exchange>) {
        let outcome = client.run(Mode::DatabaseMirror, &[relay.port()], Some("custom"));
        assert_eq!(outcome.code, Some(0), "{}", outcome.output);
        (outcome, relay.take())
    };
    let held = || fs::read(client.databases().join(name)).unwrap();

    mirror.wait_for_the_stamp(name);
    let (_, exchanges) = update();
    let whole = |bytes: &[u8]| format!("{target} -> 200/{}", bytes.len());
    let rows: Vec<String> = exchanges.iter().map(Exchange::to_string).collect();
    assert_eq!(rows, [whole(versions[0])]);
    assert_eq!(held(), versions[0]);

    let (_, exchanges) = update();
    let rows: Vec<String> = exchanges.iter().map(Exchange::to_string).collect();
    assert_eq!(rows, [format!("{target} I -> 304/0")]);
    let downloaded = fs::metadata(client.databases().join(name)).unwrap();
    let asked = exchanges[0].if_modified_since.as_deref().unwrap();
    let asked = httpdate::parse_http_date(asked).unwrap();
    let apart = downloaded.modified().unwrap().duration_since(asked);
    assert!(apart.unwrap() < Duration::from_secs(1));

    publish(&world, &mirror, name, versions[1]);
    mirror.wait_for_the_stamp(name);
    let (_, exchanges) = update();
    let rows: Vec<String> = exchanges.iter().map(Exchange::to_string).collect();
    assert_eq!(rows, [format!("{target} I -> 200/{}", versions[1].len())]);
    assert_eq!(held(), versions[1]);
}

fn hdb(versions: u32) -> String {
    (0..versions)
        .map(|version| hdb_line(&version.to_le_bytes(), &format!("Tests.Custom-{version}")))
        .collect()
}

#[test]
fn a_plain_hdb_is_fetched_when_it_changed() {
    let test = "a_plain_hdb_is_fetched_when_it_changed";
    let versions = [hdb(1), hdb(2)];
    let versions = [versions[0].as_bytes(), versions[1].as_bytes()];
    a_custom_database_is_fetched_when_it_changed(test, None, "own.hdb", versions);
}

#[test]
fn an_unsigned_cud_is_fetched_when_it_changed() {
    let test = "an_unsigned_cud_is_fetched_when_it_changed";
    let versions = [1, 2].map(|version| unsigned("own", version, &hdb(version)));
    let versions = [versions[0].as_slice(), versions[1].as_slice()];
    a_custom_database_is_fetched_when_it_changed(test, None, "own.cud", versions);
}

#[test]
fn a_plain_hdb_behind_nginx_is_fetched_when_it_changed() {
    let test = "a_plain_hdb_behind_nginx_is_fetched_when_it_changed";
    let versions = [hdb(1), hdb(2)];
    let versions = [versions[0].as_bytes(), versions[1].as_bytes()];
    a_custom_database_is_fetched_when_it_changed(test, Some(Kind::Nginx), "own.hdb", versions);
}

#[test]
fn a_plain_hdb_behind_apache_is_fetched_when_it_changed() {
    let test = "a_plain_hdb_behind_apache_is_fetched_when_it_changed";
    let versions = [hdb(1), hdb(2)];
    let versions = [versions[0].as_bytes(), versions[1].as_bytes()];
    a_custom_database_is_fetched_when_it_changed(test, Some(Kind::Apache), "own.hdb", versions);
}

/// A file that stays the same over a switch keeps its time: nobody fetches it again.
#[test]
fn a_switch_costs_clients_nothing_for_files_that_stayed() {
    let world = World::running("none");
    let mirror = world.serving("mirror");
    let release = world.publish(&[("stays.hdb", b"same"), ("other.hdb", b"1")]);
    mirror.reaches(release);
    let before = modified(mirror.http(), "/stays.hdb");
    let release = world.publish(&[("stays.hdb", b"same"), ("other.hdb", b"2")]);
    mirror.reaches(release);
    assert_eq!(modified(mirror.http(), "/stays.hdb"), before);
    assert!(modified(mirror.http(), "/other.hdb") >= before);
}
