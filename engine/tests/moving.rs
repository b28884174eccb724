//! A master that moves to another address is found by every mirror that had the root in time.

mod support;

use support::{RunningMaster, World};
use tidecast_engine::master::{Feed, ROOT_KEY};
use tidecast_engine::{keyfile, roots};
use tidecast_proto::id::RootVersion;
use tidecast_proto::root::{RootBody, SignedRoot};

/// A new root that says where the masters are from now on.
fn move_to(world: &World, addresses: Vec<String>) {
    let state = world.master_state();
    let feed = Feed::load(&state).unwrap();
    let mut body: RootBody = (*feed.root).clone();
    body.version = RootVersion(body.version.0 + 1);
    body.masters[0].addresses = addresses;
    let key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
    let root = SignedRoot::sign(&body, &[&key]).unwrap();
    roots::store(&state.join("roots"), body.version, &root).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_masters_new_address_in_the_root_is_asked_when_the_old_one_is_gone() {
    let world = World::new();
    world.publish(&[("a", b"1")]);
    let old = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &old.upstream());
    old.master.reload().unwrap();
    mirror.sync_once().await.unwrap();

    // Where the master will be: a port that was free a moment ago.
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    move_to(&world, vec![address.to_string()]);
    world.publish(&[("a", b"2")]);
    let place = old.address;
    drop(old);
    let still = eventually_at(&world, place).await;
    mirror.sync_once().await.unwrap();
    assert_eq!(world.served("m", "a").unwrap(), b"2");

    drop(still);
    world.publish(&[("a", b"3")]);
    let _new = eventually_at(&world, address).await;
    let report = mirror.sync_once().await.unwrap();
    assert!(report.switched, "{report:?}");
    assert_eq!(world.served("m", "a").unwrap(), b"3");
}

/// The socket of the one before goes a moment after it.
async fn eventually_at(world: &World, address: std::net::SocketAddr) -> RunningMaster {
    support::eventually("the address is free", || {
        std::net::UdpSocket::bind(address).is_ok()
    })
    .await;
    RunningMaster::start_at(world, address)
}
