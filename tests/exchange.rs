//! A docroot without links, which changes places with the next one as a whole, for web servers that refuse links.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::command;
use support::http::get;
use support::servers::{Kind, WebServer};
use support::world::{Mirror, World};

/// The daemon looks every 30 s; test machines are busy.
const A_MINUTE: Duration = Duration::from_secs(75);

fn within(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Release `number` of a feed in which names come and go.
fn files(number: u64) -> BTreeMap<String, Vec<u8>> {
    let content = format!("{number}\n").into_bytes();
    let mut files = BTreeMap::from([("always".to_owned(), content.clone())]);
    files.insert("stays".into(), vec![7; 50_000]);
    files.insert("folder/inside".into(), content.clone());
    files.insert(format!("only{number}"), content);
    files
}

fn publish(world: &World, number: u64) {
    let files = files(number);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (&**n, &**b)).collect();
    assert_eq!(world.publish(&files), number);
}

fn exchanged(world: &World, name: &str) -> Mirror {
    let mirror = world.admitted(name);
    let path = mirror.state.join("mirror.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("layout = \"exchange\"\n{config}")).unwrap();
    mirror
}

/// What stands in a docroot but for hidden files and `timestamp`; every file must be one.
fn shown(docroot: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for path in command::names(docroot) {
        let name = path
            .strip_prefix(docroot)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        assert!(!path.is_symlink(), "{name} is a link");
        if path.is_file() && !name.starts_with('.') && name != "timestamp" {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

fn shows(mirror: &Mirror, number: u64) -> bool {
    mirror.docroot.exists() && shown(&mirror.docroot) == files(number)
}

fn is_clean(mirror: &Mirror) -> bool {
    mirror.run(&["verify", "--json"]).code == 0
}

/// Where everything is kept.
fn kept(mirror: &Mirror) -> PathBuf {
    let name = mirror.docroot.file_name().unwrap().to_str().unwrap();
    mirror.docroot.with_file_name(format!(".{name}.tidecast"))
}

#[test]
fn under_an_apache_that_refuses_links_no_release_is_torn_and_no_name_is_ever_refused() {
    const TEST: &str =
        "under_an_apache_that_refuses_links_no_release_is_torn_and_no_name_is_ever_refused";
    let world = World::running("none");
    let mut mirror = exchanged(&world, "mirror");
    publish(&world, 1);
    assert_eq!(mirror.run(&["sync"]).code, 0);
    assert!(shows(&mirror, 1));
    fs::write(mirror.docroot.join(".htaccess"), b"# mine").unwrap();
    let hidden = fs::metadata(mirror.docroot.join(".htaccess"))
        .unwrap()
        .ino();
    let refuse_links = |snippet: &str| snippet.replace("Options FollowSymLinks", "Options None");
    let server = WebServer::start_with(TEST, Kind::Apache, &mirror.docroot, refuse_links);
    let Some(server) = server else {
        return;
    };
    mirror.start();
    let last = if support::long() { 300 } else { 30 };
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let until_stopped = |read: &mut dyn FnMut()| {
        while !stop.load(Ordering::Relaxed) {
            read();
            reads.fetch_add(1, Ordering::Relaxed);
        }
    };
    let docroot = mirror.docroot.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until_stopped(&mut || {
                for name in ["/always", "/stays", "/folder/inside", "/timestamp"] {
                    let status = get(server.port(), name, &[]).status;
                    assert_eq!(status, 200, "{name}");
                }
            });
        });
        scope.spawn(|| {
            until_stopped(&mut || {
                assert_eq!(fs::read(docroot.join(".htaccess")).unwrap(), b"# mine");
                fs::read(docroot.join("always")).unwrap();
            });
        });
        scope.spawn(|| {
            until_stopped(&mut || {
                // In one folder, whatever stands under its path meanwhile.
                let folder = fs::File::open(&docroot).unwrap();
                let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
                let at = PathBuf::from(format!("/proc/self/fd/{number}"));
                let a = fs::read(at.join("always"));
                let b = fs::read(at.join("folder/inside"));
                // It was taken apart meanwhile, or they are of one release.
                if let (Ok(a), Ok(b)) = (a, b) {
                    assert_eq!(a, b);
                }
            });
        });
        for number in 2..=last {
            publish(&world, number);
            assert!(
                within(A_MINUTE, || shows(&mirror, number)),
                "{}",
                mirror.log()
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{last} releases, {} reads", reads.load(Ordering::Relaxed));
    let now = fs::metadata(mirror.docroot.join(".htaccess"))
        .unwrap()
        .ino();
    assert_eq!(now, hidden);
    assert!(is_clean(&mirror));
    assert!(kept(&mirror).join(".tidecast/removed").read_dir().is_err());
    // Nothing was hashed over for having been linked once more.
    assert!(mirror.status()["mended"].is_null(), "{}", mirror.status());
}

#[test]
fn a_mirror_killed_at_any_moment_shows_one_whole_release() {
    let world = World::running("none");
    let mut mirror = exchanged(&world, "mirror");
    publish(&world, 1);
    mirror.start();
    assert!(within(A_MINUTE, || shows(&mirror, 1)), "{}", mirror.log());
    let rounds = if support::long() { 200 } else { 12 };
    let ours = kept(&mirror).join(".tidecast");
    let docroot = mirror.docroot.clone();
    let mut cut = 0;
    for number in 2..2 + rounds {
        // Each round waits for another step of the way.
        let front = ours.join("front");
        let reached = || match number % 4 {
            0 => ours.join(format!("r{number}")).exists(),
            1 => front.exists(),
            2 => front.join("folder").exists(),
            _ => docroot.join(format!("only{number}")).exists(),
        };
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| publish(&world, number));
            let begun = Instant::now();
            while !reached() && !docroot.join(format!("only{number}")).exists() {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "{}",
                    mirror.log()
                );
                std::hint::spin_loop();
            }
            mirror.daemon().kill();
            publishing.join().unwrap();
        });
        let now = shown(&mirror.docroot);
        assert!(
            now == files(number) || now == files(number - 1),
            "{number}: {now:?}"
        );
        cut += u32::from(front.exists());
        mirror.start();
        assert!(
            within(A_MINUTE, || shows(&mirror, number)),
            "{}",
            mirror.log()
        );
        assert!(within(A_MINUTE, || !front.exists()));
    }
    println!("{rounds} kills, {cut} of them while a folder was being built or taken apart");
    assert!(is_clean(&mirror));
    let moved = ours.join("removed");
    assert!(moved.read_dir().is_err(), "{:?}", command::names(&moved));
}

#[test]
fn what_cannot_change_places_is_refused_with_why_and_what_to_do() {
    type Given = fn(&Path);
    let cases: [(&str, Given, &str); 4] = [
        (
            "local",
            |d| fs::create_dir_all(d.join("local_stats")).unwrap(),
            "local_stats",
        ),
        (
            "hidden",
            |d| fs::create_dir_all(d.join(".git")).unwrap(),
            ".git",
        ),
        (
            "links",
            |d| fs::create_dir_all(d.join(".tidecast")).unwrap(),
            "layout with links",
        ),
        (
            "link",
            |d| {
                fs::create_dir(d.with_extension("real")).unwrap();
                symlink(d.with_extension("real"), d).unwrap();
            },
            "symbolic link",
        ),
    ];
    let world = World::running("none");
    publish(&world, 1);
    for (name, given, what) in cases {
        let mirror = exchanged(&world, name);
        given(&mirror.docroot);
        for arguments in [&["config", "check"][..], &["sync"], &["mirror"]] {
            mirror
                .run(arguments)
                .refused(78, &["cannot change places", what]);
        }
    }
    // One that appears later stops the next release, not what is shown.
    let mut mirror = exchanged(&world, "later");
    mirror.start();
    assert!(within(A_MINUTE, || shows(&mirror, 1)), "{}", mirror.log());
    let mine = mirror.docroot.join("local_mine");
    fs::write(&mine, b"mine").unwrap();
    publish(&world, 2);
    let said = || {
        let fault = mirror.status()["last_error"].clone();
        let advice = fault["advice"].as_str().unwrap_or_default().to_owned();
        fault["what"]
            .as_str()
            .unwrap_or_default()
            .contains("local_mine")
            && advice.contains("Alias")
    };
    assert!(within(A_MINUTE, said), "{}", mirror.status());
    assert_eq!(fs::read(mirror.docroot.join("always")).unwrap(), b"1\n");
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    fs::rename(&mine, world.path("mine")).unwrap();
    assert!(within(A_MINUTE, || shows(&mirror, 2)), "{}", mirror.log());
    assert!(within(A_MINUTE, || mirror.status()["last_error"].is_null()));
}

#[test]
fn what_was_there_before_or_comes_by_accident_is_kept_and_the_release_made_whole_again() {
    let world = World::running("none");
    let mut mirror = exchanged(&world, "mirror");
    // What an older mirror script left.
    fs::create_dir_all(mirror.docroot.join("folder")).unwrap();
    fs::write(mirror.docroot.join("always"), b"older").unwrap();
    fs::write(mirror.docroot.join("folder/his"), b"his").unwrap();
    fs::write(mirror.docroot.join("timestamp"), b"never\n").unwrap();
    publish(&world, 1);
    mirror.start();
    assert!(within(A_MINUTE, || shows(&mirror, 1)), "{}", mirror.log());
    let removed = kept(&mirror).join(".tidecast/removed");
    let holds = |bytes: &[u8]| {
        let all = command::names(&removed);
        all.iter()
            .any(|path| path.is_file() && fs::read(path).unwrap() == bytes)
    };
    assert!(within(A_MINUTE, || holds(b"older")
        && holds(b"his")
        && holds(b"never\n")));
    let first = fs::read_to_string(mirror.docroot.join("timestamp")).unwrap();
    assert!(
        first.lines().next().unwrap().parse::<u64>().is_ok(),
        "{first}"
    );

    // Accidents.
    fs::remove_file(mirror.docroot.join("stays")).unwrap();
    fs::remove_file(mirror.docroot.join("always")).unwrap();
    fs::write(mirror.docroot.join("always"), b"accident").unwrap();
    assert_eq!(
        mirror.run(&["verify", "--json"]).object_and(65)["fault_count"],
        1
    );
    assert!(within(A_MINUTE, || shows(&mirror, 1)), "{}", mirror.log());
    assert!(within(A_MINUTE, || holds(b"accident") && is_clean(&mirror)));
    let mended = mirror.status()["mended"].to_string();
    assert!(mended.contains("made anew"), "{mended}");
    publish(&world, 2);
    assert!(within(A_MINUTE, || shows(&mirror, 2)), "{}", mirror.log());
    // Our own web server is told a moment later.
    let served = || get(mirror.http(), "/always", &[]).body == b"2\n";
    assert!(within(A_MINUTE, served), "{}", mirror.log());
}
