//! What many connected mirrors cost a master that has nothing to say, and how fast they hear.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tidecast_engine::sample::{self, Day, Feed, Scale};

use crate::Bench;
use crate::fresh::Arena;
use crate::listeners::{Listener, Polled, admitted_keys};
use crate::report::{Row, Target};
use crate::tidecast::{Site, lossless};

/// Mirrors in the scenarios: a large public feed has about as many.
const MIRRORS: usize = 60;
/// How long memory and connections get to come to rest before they are looked at.
const REST: Duration = Duration::from_secs(1);

/// A poll on a connection that is kept open, beside rsync's look at the same tree.
pub(crate) fn held_poll(bench: &Bench, arena: &Arena<'_>, scenario: &str) -> Result<Vec<Row>> {
    let site = &arena.site;
    let keys = admitted_keys(site, 1)?;
    let mut polls = Vec::new();
    runtime()?.block_on(async {
        let listener = Listener::connect(site, &keys[0]).await?;
        tokio::time::sleep(REST).await;
        for _ in 0..bench.runs {
            polls.push(listener.poll().await?);
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let rsync = vec![arena.rsync_unchanged_bytes()?; polls.len()];
    let row = |metric, unit, value: fn(&Polled) -> f64| {
        Row::new(scenario, metric, unit, polls.iter().map(value).collect())
    };
    Ok(vec![
        row("poll, held connection, payload", "B", |p| p.payload_bytes).beside(rsync),
        row("the same with IP headers", "B", |p| p.wire_bytes).target(Target::AtMost(600.0)),
        row("poll, held connection", "ms", |p| p.seconds * 1e3),
    ])
}

/// Memory per idle mirror, and the way of an announcement.
pub(crate) fn fanout(bench: &Bench) -> Result<Vec<Row>> {
    let (mut per_mirror, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
    let (mut alone, mut full) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let folder = bench.folder()?;
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree)?;
        let mut feed = Feed::new(1, SMALL);
        feed.write(&tree)?;
        let site = Site::create(&bench.tidecast, folder.path())?;
        site.publish(&tree)?;
        let master = site.master()?;
        let keys = admitted_keys(&site, MIRRORS)?;
        runtime()?.block_on(async {
            let mut listeners = vec![Listener::connect(&site, &keys[0]).await?];
            tokio::time::sleep(REST).await;
            let with_one = master.anon_kib()?;
            for key in &keys[1..] {
                listeners.push(Listener::connect(&site, key).await?);
            }
            tokio::time::sleep(REST).await;
            let with_all = master.anon_kib()?;
            let others = lossless(MIRRORS as u64 - 1);
            per_mirror.push((lossless(with_all) - lossless(with_one)) / others);
            alone.push(lossless(with_one));
            full.push(lossless(with_all));

            feed.advance(Day::Ordinary)?;
            feed.write_update(&tree)?;
            let waiting: Vec<_> = listeners
                .into_iter()
                .map(|mut listener| tokio::spawn(async move { listener.announced().await }))
                .collect();
            // The command's own process must not hold up the threads that listen.
            tokio::task::block_in_place(|| site.publish(&tree))?;
            let mut heard = Vec::new();
            for listener in waiting {
                heard.push(listener.await??);
            }
            let issued = head_issued_ms(&site.status()?)?;
            heard.sort_by(f64::total_cmp);
            first.push(heard.first().context("no listener")? - issued);
            last.push(heard.last().context("no listener")? - issued);
            Ok::<_, anyhow::Error>(())
        })?;
    }
    let name = "60 mirrors connected";
    Ok(vec![
        Row::new(name, "master's RssAnon per idle mirror", "KiB", per_mirror)
            .target(Target::AtMost(64.0)),
        Row::new(name, "master's RssAnon with one", "KiB", alone),
        Row::new(name, "master's RssAnon with all", "KiB", full),
        Row::new(name, "head signed to first mirror told", "ms", first),
        Row::new(name, "head signed to last mirror told", "ms", last).target(Target::AtMost(100.0)),
    ])
}

/// Large enough to be a feed, small enough to be published in a moment.
const SMALL: Scale = Scale {
    hash_lines: 3_000,
    logical_lines: 1_000,
    main_lines: 1_000,
};

fn head_issued_ms(status: &Value) -> Result<f64> {
    let issued = status
        .pointer("/newest/head_issued_ms")
        .and_then(Value::as_f64);
    issued.with_context(|| format!("no newest.head_issued_ms in {status}"))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

/// Fills a tree with `count` small files.
pub(crate) fn small_files(count: u32) -> impl FnOnce(&Path) -> Result<()> {
    move |tree| Ok(sample::small_files(tree, count, 1)?)
}
