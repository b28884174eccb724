//! The table of metrics against what both daemons show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::http::HttpReport;
use tidecast_engine::metrics::Metrics;
use tidecast_engine::{config::MirrorConfig, keyfile, master, mirror};

use crate::spec;

/// Families of an OpenMetrics page: name, type, labels.
fn families(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut name = String::new();
    for line in page.lines() {
        if let Some(said) = line.strip_prefix("# TYPE ") {
            let (of, kind) = said.split_once(' ').expect("a name and a type");
            name = of.to_owned();
            families.insert(of.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((sample, labels)) = line.split_once('{') {
            assert!(sample.starts_with(&name), "{line}");
            let labels = labels.split_once('}').expect("a closed brace").0;
            for label in labels.split(',') {
                let label = label.split_once('=').expect("a label").0;
                families
                    .get_mut(&name)
                    .expect("after its type")
                    .1
                    .insert(label.to_owned());
            }
        }
    }
    families
}

#[test]
fn the_metrics_are_those_of_the_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let feed = master::NewFeed {
        name: tidecast_proto::id::FeedName::new("t").expect("a name"),
        state: &path("master"),
        keys: &path("keys"),
        verify: tidecast_proto::database::VerifyPolicy::None,
        master_name: String::new(),
        addresses: Vec::new(),
    };
    let feed = master::init(feed, SystemClock.now()).expect("a feed");
    let clock = Arc::new(SystemClock);
    let master = master::Master::open(&path("master"), clock.clone()).expect("a master");
    let master = families(&Metrics::of_master(Arc::new(master)).text());

    fs::create_dir(path("mirror")).expect("a folder");
    keyfile::load_or_generate(&path("mirror").join(mirror::NODE_KEY)).expect("a key");
    let text = format!(
        "fingerprint = \"{feed}\"\nupstreams = [\"x\"]\ndocroot = \"{}\"\n",
        path("docroot").display()
    );
    let config = path("mirror").join(mirror::MIRROR_CONFIG);
    fs::write(&config, text).expect("written");
    let config: MirrorConfig = tidecast_engine::config::load(&config).expect("a configuration");
    let (mirror, _) = mirror::Mirror::open(&path("mirror"), config, clock).expect("a mirror");
    let web = Arc::new(HttpReport::default);
    let mirror = families(&Metrics::of_mirror(mirror, Some(web)).text());

    let mut stated: BTreeSet<String> = BTreeSet::new();
    for row in spec().table("10.6", "name | type") {
        let [name, kind, labels, on, _] = &row[..] else {
            panic!("{row:?}");
        };
        assert!(stated.insert(name.clone()), "{name} stands twice");
        let (labels, only_on) = match labels.split_once(", on a master only") {
            Some((labels, _)) => (labels, "master"),
            None => (labels.as_str(), "both"),
        };
        let labels: BTreeSet<String> = labels
            .split(", ")
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect();
        for (daemon, real) in [("master", &master), ("mirror", &mirror)] {
            let expected = (on == "both" || on == daemon).then(|| {
                let labels = match only_on == "both" || only_on == daemon {
                    true => labels.clone(),
                    false => BTreeSet::new(),
                };
                (kind.clone(), labels)
            });
            assert_eq!(real.get(name), expected.as_ref(), "{name} on a {daemon}");
        }
    }
    let real: BTreeSet<String> = master.keys().chain(mirror.keys()).cloned().collect();
    assert_eq!(real, stated);
}
