//! Another local user plants links in a docroot that everybody may write to: nothing outside is written.
//!
//! Once before each sync, so that every name a sync uses meets every kind of link, and once while syncs run, at moments nobody
//! chooses. There the mirror is root's, for whom no permission stands in the way, and the other user has a process of his
//! own, this program again. `TIDECAST_LONG` makes it many times as many releases.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use support::command::{Ran, tidecast};
use support::world::{Mirror, World, noise};

/// `nobody` on Debian and most other systems.
const NOBODY: u32 = 65_534;

/// Names in the docroot that are planted upon.
const NAMES: &[&str] = &["big", "small", "folder", "new", "timestamp", ".tidecast"];

/// The same in `.tidecast`: everything a sync makes, opens or moves, with its temporary names.
const OURS: &[&str] = &[
    "new",
    "mend",
    "current",
    "current.tmp",
    "intent",
    "intent.tmp",
    "timestamp",
    "timestamp.tmp",
    "lists",
    "recipes",
    "spool",
    "swap",
    "removed",
    "trash",
    "lock",
    "feed",
    "feed.tmp",
];

/// Everything below a folder: what it is, whose, what it holds, when it changed.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let mut what = format!(
                "{:o} {}:{} {} {:?}",
                found.mode(),
                found.uid(),
                found.gid(),
                found.len(),
                found.modified().unwrap()
            );
            if found.is_dir() {
                folders.push(path.clone());
            } else if found.is_file() {
                what += &blake3::hash(&fs::read(&path).unwrap()).to_string();
            }
            all.insert(path, what);
        }
    }
    all
}

/// Kinds of links; each leads out of the docroot.
const KINDS: usize = 6;

/// Plants one at `place`.
fn plant(kind: usize, outside: &Path, place: &Path) -> std::io::Result<()> {
    match kind {
        0 => fs::hard_link(outside.join("nobodys"), place),
        1 => symlink(outside.join("made"), place),
        2 => symlink(outside.join("file"), place),
        3 => symlink("../../outside/folder", place),
        // The folder that whoever follows it was started in.
        4 => symlink("/proc/self/cwd", place),
        _ => symlink(outside.join("folder"), place),
    }
}

/// A mirror at release 1, and what lies outside its docroot.
struct Scene {
    mirror: Mirror,
    outside: PathBuf,
    before: BTreeMap<PathBuf, String>,
    notes: Metadata,
}

impl Scene {
    fn new(world: &World) -> Self {
        let outside = world.path("outside");
        fs::create_dir_all(outside.join("folder/folder")).unwrap();
        for file in [
            "file",
            "nobodys",
            "folder/big",
            "folder/small",
            "folder/lock",
            "folder/folder/inner",
        ] {
            fs::write(outside.join(file), format!("content of {file}")).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            chown(outside.join("nobodys"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        publish(world, 1);
        let mirror = world.admitted("m");
        mirror.run(&["sync", "--json"]).object();
        let notes = mirror.docroot.join("local_notes");
        fs::write(&notes, b"mine").unwrap();
        Self {
            before: snapshot(&outside),
            notes: fs::metadata(notes).unwrap(),
            mirror,
            outside,
        }
    }

    /// A sync, started in a folder outside.
    fn sync(&self) -> Ran {
        let mut sync = tidecast(&self.mirror.state);
        sync.args(["sync", "--json"])
            .current_dir(self.outside.join("folder"));
        Ran::of(sync.output().unwrap())
    }

    /// Nothing outside has changed, nor what is the operator's.
    #[track_caller]
    fn is_whole(&self, after: &str) {
        assert_eq!(snapshot(&self.outside), self.before, "after {after}");
        let notes = self.mirror.docroot.join("local_notes");
        let found = fs::metadata(&notes).unwrap();
        assert_eq!(
            (found.ino(), found.modified().unwrap()),
            (self.notes.ino(), self.notes.modified().unwrap()),
            "after {after}"
        );
        assert_eq!(fs::read(notes).unwrap(), b"mine", "after {after}");
    }
}

fn publish(world: &World, number: u64) {
    let (big, inner) = (noise(number, 300_000), noise(number + 1000, 3_000));
    let extra = format!("n{}", number % 3);
    world.publish(&[
        ("big", &big),
        ("small", &number.to_le_bytes()),
        ("folder/inner", &inner),
        ("folder/deep/er", b"same"),
        (&extra, b"comes and goes"),
    ]);
}

#[test]
fn a_link_in_the_place_of_any_name_that_a_sync_uses_leads_no_write_outside() {
    let world = World::running("none");
    let scene = Scene::new(&world);
    let kept = world.path("kept");
    let mut number = 1;
    let (mut good, mut bad) = (0, BTreeMap::<i32, u32>::new());
    let of_release = ["", ".manifest", ".index", ".manifest.tmp", ".index.tmp"];
    let names = NAMES.iter().map(|name| (true, (*name).to_owned()));
    let ours = OURS.iter().map(|name| (false, (*name).to_owned()));
    let of_release = of_release.map(|name| (false, format!("r#{name}")));
    let places = names.chain(ours).chain(of_release);
    for (at, (in_docroot, name)) in places.enumerate() {
        // Each is a release and a sync: half of them, unless there is time.
        let step = if support::long() { 1 } else { 2 };
        for kind in (at % step..KINDS).step_by(step) {
            number += 1;
            publish(&world, number);
            let name = name.replace('#', &number.to_string());
            let place = match in_docroot {
                true => scene.mirror.docroot.join(&name),
                false => scene.mirror.docroot.join(".tidecast").join(&name),
            };
            let was_there = fs::rename(&place, &kept).is_ok();
            plant(kind, &scene.outside, &place).unwrap();
            let ran = scene.sync();
            scene.is_whole(&format!("link {kind} at {name}: {ran:?}"));
            match ran.code {
                0 => good += 1,
                101 | 134 => panic!("link {kind} at {name}: {ran:?}"),
                code => *bad.entry(code).or_default() += 1,
            }
            // What the sync put in its place stays; the link goes, and what stood there before comes back.
            let stands = fs::symlink_metadata(&place);
            if stands.is_ok_and(|found| found.is_symlink() || found.nlink() > 1 && found.is_file())
            {
                let _ = fs::remove_file(&place);
            }
            if was_there && fs::symlink_metadata(&place).is_err() {
                fs::rename(&kept, &place).unwrap();
            }
            let _ = fs::remove_file(&kept);
            let _ = fs::remove_dir_all(&kept);
        }
        let ran = scene.sync();
        assert_eq!(ran.code, 0, "once {name} is free again: {ran:?}");
        let small = scene.mirror.file("small");
        assert_eq!(small.unwrap(), number.to_le_bytes(), "{name}");
    }
    let planted = good + bad.values().sum::<u32>();
    println!("{planted} links before a sync each: {good} ended well, others by exit code {bad:?}");
}

/// The other user's process, ended with the test.
struct Planter(Child);

impl Planter {
    fn start(world: &World, docroot: &Path, outside: &Path) -> Self {
        // Where the tests were built nobody else may be able to look.
        let program = world.path("planter");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let child = Command::new(program)
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "--test-threads=1",
                "planter",
            ])
            .env("TIDECAST_DOCROOT", docroot)
            .env("TIDECAST_OUTSIDE", outside)
            .env("TIDECAST_COUNT", world.path("count"))
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Planter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plants until it is killed. What stood there comes back a moment later, so that syncs get further than their first step.
#[test]
#[ignore = "the other user's process"]
fn planter() {
    let docroot = PathBuf::from(std::env::var_os("TIDECAST_DOCROOT").unwrap());
    let outside = PathBuf::from(std::env::var_os("TIDECAST_OUTSIDE").unwrap());
    let count = PathBuf::from(std::env::var_os("TIDECAST_COUNT").unwrap());
    let ours = docroot.join(".tidecast");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut planted = 0_u64;
    loop {
        let place = if random(4) == 0 {
            docroot.join(NAMES[random(NAMES.len())])
        } else {
            let mut name = OURS[random(OURS.len())].to_owned();
            if random(6) == 0 {
                let release = 1 + random(60);
                name = format!(
                    "r{release}{}",
                    ["", ".manifest", ".index", ".manifest.tmp", ".index.tmp"][random(5)]
                );
            }
            ours.join(name)
        };
        let kept = place.with_file_name(format!("kept-{}", random(1 << 30)));
        let was_there = fs::rename(&place, &kept).is_ok();
        let made = plant(random(KINDS), &outside, &place);
        planted += u64::from(made.is_ok());
        std::thread::sleep(Duration::from_micros(random(3000) as u64));
        let _ = fs::remove_file(&place);
        if was_there {
            // What was made meanwhile is newer.
            if fs::symlink_metadata(&place).is_ok() {
                let _ = fs::remove_file(&kept);
            } else {
                let _ = fs::rename(&kept, &place);
            }
        }
        if random(8) == 0 {
            std::thread::sleep(Duration::from_millis(random(40) as u64));
        }
        if planted.is_multiple_of(64) {
            let _ = fs::write(&count, planted.to_string());
        }
    }
}

/// Whatever is made from now on in these folders, everybody may write there.
fn open_to_all(docroot: &Path) {
    for folder in [docroot.to_owned(), docroot.join(".tidecast")] {
        // Through a link it would be this test that writes outside.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        if let Ok(folder) = rustix::fs::open(&folder, flags, Mode::empty()) {
            let _ = rustix::fs::fchmod(folder, Mode::from_raw_mode(0o777));
        }
    }
}

#[test]
fn links_planted_by_another_user_lead_no_write_outside() {
    let name = "links_planted_by_another_user_lead_no_write_outside";
    let world = World::running("none");
    if !rustix::process::geteuid().is_root() {
        return support::skip(name, "only root can be two users; run it as root");
    }
    fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).unwrap();
    let scene = Scene::new(&world);
    let docroot = &scene.mirror.docroot;
    open_to_all(docroot);
    fs::write(world.path("count"), "0").unwrap();
    chown(world.path("count"), Some(NOBODY), Some(NOBODY)).unwrap();
    let planter = Planter::start(&world, docroot, &scene.outside);
    let releases = if support::long() { 400 } else { 24 };
    let (mut good, mut bad) = (0, BTreeMap::<i32, u32>::new());
    let begun = Instant::now();
    for number in 2..2 + releases {
        publish(&world, number);
        for _ in 0..3 {
            open_to_all(docroot);
            let ran = scene.sync();
            match ran.code {
                0 => good += 1,
                code => *bad.entry(code).or_default() += 1,
            }
            scene.is_whole(&format!("release {number}: {ran:?}"));
        }
    }
    drop(planter);
    let planted: u64 = fs::read_to_string(world.path("count"))
        .unwrap()
        .parse()
        .unwrap_or(0);
    println!(
        "{planted} links planted during {} syncs in {:.0} s: {good} ended well, others by exit code {bad:?}",
        releases * 3,
        begun.elapsed().as_secs_f64()
    );
    scene.is_whole("the end");
    // How many depends on how fast the syncs are: at least several for each.
    assert!(planted > releases * 3 * 3 && good > 0, "{planted} {good}");
    // None of them was a crash.
    assert!(
        !bad.contains_key(&101) && !bad.contains_key(&134),
        "{bad:?}"
    );
}
