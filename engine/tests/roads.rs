//! A day of a feed of signature databases crosses the wire: with a real master, which opens, bundles and pushes.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use support::{RunningMaster, RunningMirror, World, eventually};
use tidecast_engine::mirror::{Mirror, SyncReport, plan};
use tidecast_engine::sample::{Day, Feed, Scale};
use tidecast_proto::id::ReleaseNumber;

type Files = BTreeMap<String, Vec<u8>>;

fn read(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(path).unwrap())
    });
    files.collect()
}

/// Two days of a small feed.
fn two_days(world: &World) -> (Files, Files) {
    let small = Scale {
        hash_lines: 8_000,
        logical_lines: 3_000,
        main_lines: 2_000,
    };
    let mut feed = Feed::new(7, small);
    let folder = world.path("made");
    std::fs::create_dir_all(&folder).unwrap();
    feed.write(&folder).unwrap();
    let first = read(&folder);
    feed.advance(Day::Ordinary).unwrap();
    feed.write(&folder).unwrap();
    (first, read(&folder))
}

fn publish(world: &World, files: &Files) {
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    world.publish(&files);
}

fn served(world: &World, mirror: &str, files: &Files) -> bool {
    let right =
        |(name, bytes): (&String, &Vec<u8>)| world.served(mirror, name).as_deref() == Some(bytes);
    files.iter().all(right)
}

fn road_of<'a>(report: &'a SyncReport, path: &str) -> (&'a str, &'a str) {
    let file = report.files.iter().find(|file| file.path == path).unwrap();
    (&file.road, &file.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_day_costs_a_bundle_and_the_dry_run_says_so_before() {
    let world = World::new();
    let (first, second) = two_days(&world);
    publish(&world, &first);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    let report = mirror.sync_once().await.unwrap();
    assert_eq!(road_of(&report, "daily.cvd"), ("whole", "fresh"));
    assert!(served(&world, "m", &first));

    publish(&world, &second);
    master.master.reload().unwrap();
    let clock = std::sync::Arc::new(world.clock.clone());
    let planned = plan(&world.path("m.state"), mirror.config(), clock)
        .await
        .unwrap();
    let bundle = planned.bundle_bytes.unwrap();
    assert!(planned.files.iter().all(|file| file.road == "bundle"));

    let report = mirror.sync_once().await.unwrap();
    assert!(served(&world, "m", &second), "{report:?}");
    assert_eq!(road_of(&report, "daily.cvd"), ("bundle", "in_bundle"));
    assert!(report.warnings.is_empty(), "{report:?}");
    assert_eq!(report.bundle_bytes, bundle);
    let whole = second["daily.cvd"].len() as u64;
    assert!(report.received_bytes * 4 < whole, "{report:?} for {whole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_mirror_is_sent_the_bundle_and_asks_for_nothing() {
    let world = World::new();
    let (first, second) = two_days(&world);
    publish(&world, &first);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    let daemon = RunningMirror::start(&mirror);
    eventually("the first day", || served(&world, "m", &first)).await;
    eventually("a report", || mirror.status().last_sync.is_some()).await;
    publish(&world, &second);
    master.master.reload().unwrap();
    eventually("the second day", || served(&world, "m", &second)).await;
    eventually("its report", || report_of(&mirror).to == 2).await;
    let report = report_of(&mirror);
    assert_eq!(road_of(&report, "daily.cvd"), ("bundle", "in_bundle"));
    // The bundle came before the sync began and is counted; what was received since is next to nothing.
    let beside = report.received_bytes.checked_sub(report.bundle_bytes);
    assert!(beside.is_some_and(|bytes| bytes < 1200), "{report:?}");
    daemon.stop().await;
}

fn report_of(mirror: &Mirror) -> SyncReport {
    mirror.status().last_sync.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_exported_to_a_file_is_imported_elsewhere() {
    let world = World::new();
    let (first, second) = two_days(&world);
    publish(&world, &first);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    publish(&world, &second);
    master.master.reload().unwrap();
    let file = world.path("carried");
    export(&world, &file);
    drop(master);
    let report = mirror.import(&file, None).await.unwrap();
    assert!(
        report.switched && served(&world, "m", &second),
        "{report:?}"
    );
    let again = mirror.import(&file, None).await.unwrap();
    assert_eq!((again.reason.as_str(), again.switched), ("current", false));
}

fn export(world: &World, file: &Path) {
    use tidecast_engine::master;
    let feed = master::Feed::load(&world.master_state()).unwrap();
    let store = tidecast_engine::store::Store::open(&feed.store_folder()).unwrap();
    let head = master::newest_head(&world.master_state()).unwrap().unwrap();
    master::export(&feed, &store, &head, ReleaseNumber(1), file, world.now()).unwrap();
}
