//! A mirror that was left without a word for hours, by what scripts see of it.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tidecast_engine::clock::{Clock, SystemClock};
use tidecast_engine::config;
use tidecast_engine::master::Master as Engine;
use tidecast_engine::mirror::{MIRROR_CONFIG, Mirror};
use tidecast_engine::quic::Bind;
use tidecast_proto::id::Timestamp;

use crate::command::{Master, Place, tidecast};

/// Seven hours ago: a head of then has expired.
#[derive(Debug)]
struct ThatMorning;

impl Clock for ThatMorning {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 - 7 * 3_600_000)
    }
}

/// A mirror that got release 1 from a master at `address` seven hours ago and has heard nothing since.
fn left_alone(place: &Place, address: SocketAddr) {
    place.tree("tree", &["a.hdb"]);
    assert_eq!(place.publish("tree").code, 0);
    let status = place.run("master", &["status", "--json"]).judged();
    let (upstream, docroot) = (address.to_string(), place.text("docroot"));
    let mut join = vec!["join", &upstream, "--docroot", &docroot, "--json"];
    join.extend(["--fingerprint", status["fingerprint"].as_str().unwrap()]);
    let key = place.run("mirror", &join).object()["node_key"].clone();
    place
        .run("master", &["node", "admit", key.as_str().unwrap()])
        .says("admitted");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let master = Engine::open(&place.path("master"), Arc::new(ThatMorning)).unwrap();
        let endpoint = master.listen(Bind::udp(address).unwrap()).unwrap();
        tokio::spawn(Arc::new(master).serve(endpoint, std::future::pending()));
        let config = config::load(&place.path("mirror").join(MIRROR_CONFIG)).unwrap();
        let clock = Arc::new(ThatMorning);
        let (mirror, _) = Mirror::open(&place.path("mirror"), config, clock).unwrap();
        assert!(mirror.sync_once().await.unwrap().switched);
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}

fn second_line(place: &Place) -> String {
    let text = fs::read_to_string(place.path("docroot/timestamp")).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_stale_mirror_ends_status_and_sync_with_75_and_serves_on() {
    let place = Place::with_feed();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    left_alone(&place, address);

    let status = place.run("mirror", &["status", "--json"]).object_and(75);
    assert_eq!(
        (&status["stale"], &status["release"]),
        (&true.into(), &1.into())
    );
    assert_eq!(status["daemon"], false);
    let shown = place.run("mirror", &["status"]);
    assert!(
        shown.code == 75 && shown.out.contains("\nstale        since 60 min ago\n"),
        "{shown:?}"
    );
    let master = place.run("master", &["status", "--json"]).object_and(75);
    assert_eq!(master["stale"], true);

    assert!(!second_line(&place).starts_with("stale"));
    place
        .run("mirror", &["sync"])
        .refused(75, &["stale: nobody vouches for release 1"]);
    assert!(second_line(&place).starts_with("stale "));

    let (_daemon, web) = serve(&place);
    let asked = place.run("mirror", &["sync"]);
    asked.refused(75, &["stale: nobody vouches for release 1"]);
    place.run("mirror", &["status", "--json"]).object_and(75);
    let file = crate::http::get(web, "/a.hdb", &[]);
    assert_eq!((file.status, &*file.body), (200, &b"content of a.hdb"[..]));
    assert_eq!(crate::http::get(web, "/healthz", &[]).status, 503);

    let (_master, _) = Master::start(&place, &["--listen", &address.to_string()]);
    place.run("mirror", &["sync", "--json"]).object();
    place.run("mirror", &["status", "--json"]).object();
    assert!(!second_line(&place).starts_with("stale"));
}

/// The mirror's daemon, and its port for clients.
fn serve(place: &Place) -> (Master, u16) {
    use std::io::{BufRead as _, BufReader};
    let mut child = tidecast(&place.path("mirror"))
        .args(["mirror", "--json", "--http", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address: SocketAddr = started["http"].as_str().unwrap().parse().unwrap();
    (Master(child), address.port())
}
