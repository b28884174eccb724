//! cvdupdate 1.2.0, with which others make mirrors of a mirror.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::dns::NameServer;
use support::relay::Relay;
use support::world::World;

/// cvdupdate with a home of its own.
struct CvdUpdate {
    program: PathBuf,
    home: tempfile::TempDir,
    nameserver: String,
}

impl CvdUpdate {
    fn new(test: &str, nameserver: &NameServer) -> Option<Self> {
        let cached =
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cache/venv/bin/cvdupdate");
        let program = std::env::var_os("TIDECAST_CVDUPDATE").map_or_else(cached, PathBuf::from);
        if !program.is_file() {
            support::skip(test, "cvdupdate 1.2.0 is not installed; run tests/run");
            return None;
        }
        Some(Self {
            program,
            home: tempfile::tempdir().unwrap(),
            nameserver: nameserver.address().to_string(),
        })
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("config.json")
    }

    fn databases(&self) -> PathBuf {
        self.home.path().join("database")
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) {
        let ran = Command::new(&self.program)
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .env("HOME", self.home.path())
            .env("CVDUPDATE_NAMESERVER", &self.nameserver)
            // It wants to know whether there is a newer cvdupdate: not from here.
            .env("https_proxy", "http://127.0.0.1:9")
            .env("no_proxy", "127.0.0.1")
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }

    /// Points it at the mirror on `port`.
    fn set_up(&self, port: u16) {
        let databases = self.databases();
        let logs = self.home.path().join("logs");
        let arguments = [
            "config",
            "set",
            "--dbdir",
            databases.to_str().unwrap(),
            "--logdir",
            logs.to_str().unwrap(),
        ];
        self.run(&arguments);
        let state = self.home.path().join("state.json");
        let text = fs::read_to_string(&state).unwrap();
        let here = format!("http://127.0.0.1:{port}/");
        fs::write(&state, text.replace("https://database.clamav.net/", &here)).unwrap();
        self.run(&["add", "extra.hdb", &format!("{here}extra.hdb")]);
    }
}

#[test]
fn cvdupdate_makes_a_copy_and_keeps_it_current() {
    let test = "cvdupdate_makes_a_copy_and_keeps_it_current";
    let Some(data) = support::genuine(test) else {
        return;
    };
    let record = |daily: u32| format!("1.4.3:4:{daily}:1700000000:0:90:0:19");
    let Some(nameserver) = NameServer::start(&record(5)) else {
        support::skip(
            test,
            "may not listen on UDP port 53 of loopback; run it as root",
        );
        return;
    };
    let Some(client) = CvdUpdate::new(test, &nameserver) else {
        return;
    };
    let file = |name: &str| fs::read(data.join(name)).unwrap();
    let release = |daily: u32| {
        vec![
            ("main.cvd".to_owned(), file("test-4.cvd")),
            ("daily.cvd".to_owned(), file(&format!("test-{daily}.cvd"))),
            (
                format!("daily-{daily}.cdiff"),
                file(&format!("test-{daily}.cdiff")),
            ),
            ("bytecode.cvd".to_owned(), file("bytecode.cvd")),
            (
                "extra.hdb".to_owned(),
                b"44d88612fea8a8f36de82e1278abb02f:68:Eicar\n".to_vec(),
            ),
        ]
    };
    let world = World::running("genuine");
    let publish = |files: &[(String, Vec<u8>)]| {
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        world.publish(&files)
    };
    let mirror = world.serving("mirror");
    let first = release(5);
    mirror.reaches(publish(&first));
    mirror.wait_for_the_stamp("extra.hdb");
    let relay = Relay::to(mirror.http());
    client.set_up(relay.port());
    let update = || -> Vec<String> {
        client.run(&["update"]);
        relay
            .take()
            .into_iter()
            .map(|exchange| format!("{} {}", exchange.target, exchange.status))
            .collect()
    };

    let expected = [
        "/main-4.cdiff 404",
        "/main.cvd?version=4 200",
        "/main-4.cvd.sign 404",
        "/daily-5.cdiff 200",
        "/daily-5.cdiff.sign 404",
        "/daily.cvd?version=5 200",
        "/daily-5.cvd.sign 404",
        "/bytecode-19.cdiff 404",
        "/bytecode.cvd?version=19 200",
        "/bytecode-19.cvd.sign 404",
        "/extra.hdb 200",
        "/extra.hdb.sign 404",
    ];
    assert_eq!(update(), expected);
    for (name, bytes) in &first {
        assert_eq!(
            &fs::read(client.databases().join(name)).unwrap(),
            bytes,
            "{name}"
        );
    }

    let second = release(6);
    mirror.reaches(publish(&second));
    nameserver.say(&record(6));
    let expected = [
        "/main-4.cvd.sign 404",
        "/daily-6.cdiff 200",
        "/daily-6.cdiff.sign 404",
        "/daily.cvd?version=6 200",
        "/daily-6.cvd.sign 404",
        "/bytecode-19.cvd.sign 404",
        "/extra.hdb 304",
        "/extra.hdb.sign 404",
    ];
    assert_eq!(update(), expected);
    for (name, bytes) in &second {
        assert_eq!(
            &fs::read(client.databases().join(name)).unwrap(),
            bytes,
            "{name}"
        );
    }
    let expected = [
        "/main-4.cvd.sign 404",
        "/daily-6.cvd.sign 404",
        "/bytecode-19.cvd.sign 404",
        "/extra.hdb 304",
        "/extra.hdb.sign 404",
    ];
    assert_eq!(update(), expected);
}
