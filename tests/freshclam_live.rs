//! Eight real freshclams poll without a pause while releases go live: none ever says that something is not genuine, and
//! none ever holds a file that was not signed. Through the mirror's own server, nginx and Apache.
//!
//! In the environment:
//! - `TIDECAST_LONG`      the counts of the long form
//! - `TIDECAST_ROUNDS`    that many feeds on which `test` goes from version 1 to 6; 1, long 20
//! - `TIDECAST_SWITCHES`  that many releases of a custom database; 6, long 100

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use support::container::{hdb_line, unsigned};
use support::freshclam::{Freshclam, Mode, Outcome};
use support::servers::{Kind, WebServer};
use support::world::{Mirror, World};

const CLIENTS: usize = 8;

/// `test` ends here.
const NEWEST: u32 = 6;

/// Header of a database, and block of a tar, in bytes.
const BLOCK: usize = 512;

/// What freshclam says of a file that is not as signed, in lower case (ClamAV's `libfreshclam_internal.c`, `cvd.c`,
/// `dsig.c`).
const NOT_GENUINE: [&str; 9] = [
    "corrupt",
    "malformed",
    "broken",
    "can't verify",
    "verification",
    "incorrect digital signature",
    "failed to load",
    "test failed",
    "md5",
];

fn number(name: &str, short: u32, long: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) if support::long() => long,
        Err(_) => short,
    }
}

/// What serves the docroot: its port, and the server if it is not the mirror itself.
fn front(test: &str, kind: Option<Kind>, mirror: &Mirror) -> Option<(u16, Option<WebServer>)> {
    match kind {
        None => Some((mirror.http(), None)),
        Some(kind) => {
            let server = WebServer::start(test, kind, &mirror.docroot)?;
            Some((server.port(), Some(server)))
        }
    }
}

/// The first line that says so.
fn not_genuine(output: &str) -> Option<String> {
    let mut lines = output.lines().map(str::to_lowercase);
    // Its own notes, which a first run has not written yet.
    lines.find(|line| {
        !line.contains("freshclam.dat") && NOT_GENUINE.iter().any(|word| line.contains(word))
    })
}

/// What clients did together.
#[derive(Debug, Default)]
struct Figures {
    runs: u64,
    /// Runs after which the client held another version than before.
    updates: u64,
    failed: Vec<String>,
}

impl Figures {
    /// Takes in a run and what is wrong with it or with what the client holds now.
    fn run(&mut self, outcome: &Outcome, wrong: Option<String>) {
        self.runs += 1;
        let word = not_genuine(&outcome.output);
        if outcome.code != Some(0) || word.is_some() || wrong.is_some() {
            let why = format!("{wrong:?} {word:?} {:?}\n{}", outcome.code, outcome.output);
            self.failed.push(why);
        }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.updates += other.updates;
        self.failed.extend(other.failed);
    }

    #[track_caller]
    fn settle(&self, what: &str) {
        println!("{what}: {self}");
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n"));
        assert!(self.updates > 0, "nobody saw anything change");
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs of freshclam, {} updates, {} failed verifications",
            self.runs,
            self.updates,
            self.failed.len()
        )
    }
}

/// Everybody's figures.
fn joined<'s>(clients: impl IntoIterator<Item = ScopedJoinHandle<'s, Figures>>) -> Figures {
    let mut all = Figures::default();
    for client in clients {
        all.add(client.join().unwrap());
    }
    all
}

/// Sets a flag when it goes, also when its test fails.
struct Ending<'t>(&'t AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The members of a database's tar, packed or not.
fn members(database: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut tar = database[BLOCK..].to_vec();
    if tar.starts_with(&[0x1f, 0x8b]) {
        let mut opened = Vec::new();
        MultiGzDecoder::new(tar.as_slice())
            .read_to_end(&mut opened)
            .unwrap();
        tar = opened;
    }
    let mut members = BTreeMap::new();
    let mut rest = tar.as_slice();
    while rest.len() >= BLOCK && rest[0] != 0 {
        let text = |from: usize, to: usize| {
            let field = String::from_utf8_lossy(&rest[from..to]).into_owned();
            field.trim_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        members.insert(text(0, 100), rest[BLOCK..BLOCK + size].to_vec());
        rest = &rest[(BLOCK + size.next_multiple_of(BLOCK)).min(rest.len())..];
    }
    members
}

/// The `test` databases as they were signed, and what patches lead to.
struct Signed {
    cvds: BTreeMap<u32, Vec<u8>>,
    cdiffs: BTreeMap<u32, Vec<u8>>,
    members: BTreeMap<u32, BTreeMap<String, Vec<u8>>>,
}

impl Signed {
    fn read(data: &Path) -> Self {
        let file = |name: String| fs::read(data.join(name)).unwrap();
        let cvds: BTreeMap<u32, Vec<u8>> = (1..=NEWEST)
            .map(|version| (version, file(format!("test-{version}.cvd"))))
            .collect();
        Self {
            members: cvds.iter().map(|(v, cvd)| (*v, members(cvd))).collect(),
            cdiffs: (2..=NEWEST)
                .map(|version| (version, file(format!("test-{version}.cdiff"))))
                .collect(),
            cvds,
        }
    }

    fn publish(&self, world: &World, version: u32) -> u64 {
        let cdiffs = self.cdiffs.range(..=version);
        let names: Vec<String> = cdiffs
            .clone()
            .map(|(v, _)| format!("test-{v}.cdiff"))
            .collect();
        let mut files = vec![("test.cvd", self.cvds[&version].as_slice())];
        for (name, (_, bytes)) in names.iter().zip(cdiffs) {
            files.push((name.as_str(), bytes.as_slice()));
        }
        world.publish(&files)
    }

    /// Whether a client's file is a signed one: a `.cvd` byte for byte; a `.cld`, which freshclam has put together from
    /// patches, in every member.
    fn is_signed(&self, name: &str, version: u32, bytes: &[u8]) -> bool {
        match name {
            "test.cvd" => self.cvds.get(&version).is_some_and(|cvd| cvd == bytes),
            "test.cld" => self.members.get(&version) == Some(&members(bytes)),
            _ => false,
        }
    }

    /// Polls until the last release is live, and once more.
    fn poll(&self, client: &Freshclam, mode: Mode, port: u16, over: &AtomicBool) -> Figures {
        let mut figures = Figures::default();
        let mut held = 0;
        loop {
            let last = over.load(Ordering::SeqCst);
            let outcome = client.run(mode, &[port], Some("test"));
            let versions = client.versions();
            let mut wrong = None;
            for (name, version) in &versions {
                let bytes = fs::read(client.databases().join(name)).unwrap();
                if !self.is_signed(name, *version, &bytes) {
                    wrong = Some(format!("{name} {version} is not as signed"));
                }
            }
            let newest = versions.values().max().copied().unwrap_or(0);
            if newest < held || versions.len() != 1 || last && newest != NEWEST {
                wrong = Some(format!("holds {versions:?} after {held}"));
            }
            figures.updates += u64::from(newest != held);
            held = newest;
            figures.run(&outcome, wrong);
            if last {
                return figures;
            }
        }
    }
}

/// Three kinds of clients: with patches, with whole files, behind a company's mirror.
fn clients(test: &str) -> Option<Vec<(Freshclam, Mode)>> {
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = Freshclam::new(test)?;
        let mode = match number % 4 {
            3 => Mode::PrivateMirror,
            2 => {
                client.settings.push("ScriptedUpdates no".to_owned());
                Mode::DatabaseMirror
            }
            _ => Mode::DatabaseMirror,
        };
        clients.push((client, mode));
    }
    Some(clients)
}

fn everybody_follows_test(test: &str, kind: Option<Kind>) {
    let Some(data) = support::genuine(test) else {
        return;
    };
    let signed = Signed::read(&data);
    let rounds = number("TIDECAST_ROUNDS", 1, 20);
    let mut figures = Figures::default();
    let begun = Instant::now();
    for _ in 0..rounds {
        let Some(clients) = clients(test) else {
            return;
        };
        let world = World::running("genuine");
        let mirror = world.serving("mirror");
        mirror.reaches(signed.publish(&world, 1));
        let Some((port, _server)) = front(test, kind, &mirror) else {
            return;
        };
        let over = AtomicBool::new(false);
        let ending = Ending(&over);
        figures.add(std::thread::scope(|scope| {
            let ending = ending;
            let (signed, over) = (&signed, &over);
            let polling: Vec<_> = clients
                .iter()
                .map(|(client, mode)| scope.spawn(move || signed.poll(client, *mode, port, over)))
                .collect();
            for version in 2..=NEWEST {
                mirror.reaches(signed.publish(&world, version));
            }
            drop(ending);
            joined(polling)
        }));
    }
    let seconds = begun.elapsed().as_secs();
    figures.settle(&format!(
        "{kind:?}, {rounds} rounds of test 1 -> {NEWEST}, {CLIENTS} clients, {seconds} s"
    ));
}

#[test]
fn everybody_follows_test_through_the_mirror() {
    everybody_follows_test("everybody_follows_test_through_the_mirror", None);
}

#[test]
fn everybody_follows_test_through_nginx() {
    everybody_follows_test("everybody_follows_test_through_nginx", Some(Kind::Nginx));
}

#[test]
fn everybody_follows_test_through_apache() {
    everybody_follows_test("everybody_follows_test_through_apache", Some(Kind::Apache));
}

/// The name under which a feed of its own publishes.
const CUSTOM: &str = "own.cud";

fn custom(version: u32) -> Vec<u8> {
    let hdb: String = (0..=version)
        .map(|line| hdb_line(&line.to_le_bytes(), &format!("Tests.Custom-{line}")))
        .collect();
    unsigned("own", version, &hdb)
}

/// Polls until the last release is live and its time is past, and once more.
fn poll_custom(client: &Freshclam, port: u16, published: &[Vec<u8>], over: &AtomicBool) -> Figures {
    let mut figures = Figures::default();
    let mut held = None;
    loop {
        let last = over.load(Ordering::SeqCst);
        let outcome = client.run(Mode::DatabaseMirror, &[port], Some("custom"));
        let bytes = fs::read(client.databases().join(CUSTOM));
        let now = bytes
            .ok()
            .and_then(|bytes| published.iter().position(|one| *one == bytes));
        let wrong = match now {
            None => Some("holds what nobody published".to_owned()),
            Some(_) if now < held => Some(format!("{now:?} after {held:?}")),
            Some(number) if last && number + 1 != published.len() => {
                Some(format!("{number} in the end"))
            }
            Some(_) => None,
        };
        figures.updates += u64::from(now != held);
        held = now;
        figures.run(&outcome, wrong);
        if last {
            return figures;
        }
    }
}

fn everybody_follows_a_custom_database(test: &str, kind: Option<Kind>) {
    let switches = number("TIDECAST_SWITCHES", 6, 100);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let Some(client) = Freshclam::new(test) else {
            return;
        };
        clients.push(client);
    }
    let published: Vec<Vec<u8>> = (1..=1 + switches).map(custom).collect();
    let world = World::running("genuine");
    let mirror = world.serving("mirror");
    let publish = |bytes: &[u8]| mirror.reaches(world.publish(&[(CUSTOM, bytes)]));
    publish(&published[0]);
    let Some((port, _server)) = front(test, kind, &mirror) else {
        return;
    };
    for client in &mut clients {
        let url = format!("DatabaseCustomURL http://127.0.0.1:{port}/{CUSTOM}");
        client.settings.push(url);
    }
    let begun = Instant::now();
    let over = AtomicBool::new(false);
    let ending = Ending(&over);
    let figures = std::thread::scope(|scope| {
        let ending = ending;
        let (published, over) = (&published, &over);
        let polling: Vec<_> = clients
            .iter()
            .map(|client| scope.spawn(move || poll_custom(client, port, published, over)))
            .collect();
        for bytes in &published[1..] {
            publish(bytes);
        }
        // Until then Apache takes the file's time for a mistake and may say that nothing is new.
        mirror.wait_for_the_stamp(CUSTOM);
        drop(ending);
        joined(polling)
    });
    let seconds = begun.elapsed().as_secs();
    figures.settle(&format!(
        "{kind:?}, {switches} switches of {CUSTOM}, {CLIENTS} clients, {seconds} s"
    ));
}

#[test]
fn everybody_follows_a_custom_database_through_the_mirror() {
    let test = "everybody_follows_a_custom_database_through_the_mirror";
    everybody_follows_a_custom_database(test, None);
}

#[test]
fn everybody_follows_a_custom_database_through_nginx() {
    let test = "everybody_follows_a_custom_database_through_nginx";
    everybody_follows_a_custom_database(test, Some(Kind::Nginx));
}

#[test]
fn everybody_follows_a_custom_database_through_apache() {
    let test = "everybody_follows_a_custom_database_through_apache";
    everybody_follows_a_custom_database(test, Some(Kind::Apache));
}

/// The words that freshclam has for a file that is not as signed are looked for, and a wrong file is seen.
#[test]
fn a_failed_verification_is_seen() {
    let test = "a_failed_verification_is_seen";
    let Some(data) = support::genuine(test) else {
        return;
    };
    let Some(client) = Freshclam::new(test) else {
        return;
    };
    let signed = Signed::read(&data);
    let folder = tempfile::tempdir().unwrap();
    let mut damaged = signed.cvds[&6].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(folder.path().join("test.cvd"), &damaged).unwrap();
    for (version, bytes) in &signed.cvds {
        assert!(signed.is_signed("test.cvd", *version, bytes));
        assert!(signed.is_signed("test.cld", *version, bytes));
    }
    assert!(!signed.is_signed("test.cvd", 6, &damaged));
    assert!(!signed.is_signed("test.cld", 5, &signed.cvds[&6]));
    for kind in Kind::ALL {
        let Some(server) = WebServer::start(test, kind, folder.path()) else {
            return;
        };
        let outcome = client.run(Mode::DatabaseMirror, &[server.port()], Some("test"));
        let said = outcome.output.to_lowercase();
        assert!(NOT_GENUINE.iter().any(|word| said.contains(word)), "{said}");
        let mut figures = Figures::default();
        figures.run(&outcome, None);
        assert_eq!(figures.failed.len(), 1, "{said}");
    }
}
