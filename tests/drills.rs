//! Runs `DRILLS.md`: every block of that page, in its order, with the real program. After each drill a mirror must have
//! fetched a release that was published after it.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::command::tidecast;
use support::process::eventually;
use support::world::Daemon;

const PAGE: &str = include_str!("DRILLS.md");

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Typed, and ends.
    Typed,
    /// Stays; one before it that does the same job is ended first.
    Daemon,
}

#[derive(Debug)]
struct Block {
    kind: Kind,
    text: String,
}

/// A section of the page with its blocks.
#[derive(Debug)]
struct Drill {
    title: String,
    blocks: Vec<Block>,
}

fn drills(page: &str) -> Vec<Drill> {
    let mut drills: Vec<Drill> = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (&mut open, line) {
            (Some(_), "```") => {
                let block = open.take().unwrap();
                drills.last_mut().unwrap().blocks.push(block);
            }
            (Some(block), line) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, "```sh" | "```sh daemon") => {
                let kind = match line {
                    "```sh" => Kind::Typed,
                    _ => Kind::Daemon,
                };
                let text = String::new();
                open = Some(Block { kind, text });
            }
            (None, line) => {
                assert!(!line.starts_with("```"), "a block nobody runs: {line}");
                if let Some(title) = line.strip_prefix("## ") {
                    drills.push(Drill {
                        title: title.into(),
                        blocks: Vec::new(),
                    });
                }
            }
        }
    }
    assert!(open.is_none(), "the last block does not end");
    drills
}

/// The place where the page is followed.
struct Stage {
    folder: tempfile::TempDir,
    master_address: String,
    master: Option<Daemon>,
    mirror: Option<(Daemon, PathBuf)>,
}

impl Stage {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["anna", "ben", "cleo", "publisher", "bin", "tree"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let passphrase = path.join("cleo/passphrase");
        fs::write(&passphrase, "correct horse battery staple\n").unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_tidecast"));
        std::os::unix::fs::symlink(program, path.join("bin/tidecast")).unwrap();
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        Self {
            master_address: free.local_addr().unwrap().to_string(),
            folder,
            master: None,
            mirror: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Follows a block as somebody who types it would.
    fn run(&mut self, title: &str, block: &Block) {
        match block.kind {
            Kind::Typed => self.typed(title, &block.text),
            Kind::Daemon => {
                for line in block.text.lines() {
                    self.daemon(line);
                }
            }
        }
    }

    fn typed(&self, title: &str, text: &str) {
        let bin = self.path("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let ran = Command::new("sh")
            .args(["-euxc", text])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("MASTER", &self.master_address)
            .env_remove("TIDECAST_STATE")
            .env_remove("TIDECAST_PASSPHRASE_FILE")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{title}: {}\n{}\n{}",
            ran.status,
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// `tidecast --state STATE master ...` or `tidecast --state STATE mirror`.
    fn daemon(&mut self, line: &str) {
        let line = line.replace("$MASTER", &self.master_address);
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["tidecast", "--state", state, role, rest @ ..] = &words[..] else {
            panic!("no daemon: {line}")
        };
        let mut command = tidecast(&self.path(state));
        command
            .args([role, "--json"])
            .args(rest)
            .current_dir(self.folder.path());
        let log = self.path(&format!("{state}.log"));
        match *role {
            "master" => {
                self.master.take().map(|mut old| old.stop());
                self.master = Some(Daemon::start(&mut command, &log));
            }
            "mirror" => {
                self.mirror.take().map(|(mut old, _)| old.stop());
                let daemon = Daemon::start(&mut command, &log);
                let docroot = daemon.started["docroot"].as_str().unwrap().into();
                self.mirror = Some((daemon, docroot));
            }
            other => panic!("no daemon: {other}"),
        }
    }

    /// Whether the mirror serves what was in the tree.
    fn serves(&self, content: &str) -> bool {
        self.mirror.as_ref().is_some_and(|(_, docroot)| {
            fs::read_to_string(docroot.join("drill.hdb")).is_ok_and(|served| served == content)
        })
    }
}

#[test]
fn after_each_drill_of_the_page_a_mirror_has_what_was_published_after_it() {
    if support::program(
        "after_each_drill_of_the_page_a_mirror_has_what_was_published_after_it",
        "openssl",
        "openssl",
    )
    .is_none()
    {
        return;
    }
    let mut stage = Stage::new();
    let drills = drills(PAGE);
    for drill in &drills {
        fs::write(stage.path("tree/drill.hdb"), &drill.title).unwrap();
        for block in &drill.blocks {
            // A mirror that was joined anew is started by a later block: its state moves away under no daemon.
            if block.text.contains("mv mirror ") {
                stage.mirror.take().map(|(mut old, _)| old.stop());
            }
            stage.run(&drill.title, block);
        }
        let served = eventually(|| stage.serves(&drill.title));
        let log = |name: &str| fs::read_to_string(stage.path(name)).unwrap_or_default();
        assert!(
            served,
            "{}: the mirror did not get the release\nmaster: {}\nmirror: {}",
            drill.title,
            log("master.log"),
            log("mirror.log")
        );
    }
    println!(
        "{} drills, each ended with a new release on the mirror",
        drills.len()
    );
}

/// Every role has its drill; the page cannot lose one unnoticed.
#[test]
fn the_page_has_a_drill_for_every_role() {
    let drills = drills(PAGE);
    for part in [
        "passphrase is forgotten",
        "root key is lost",
        "release key is lost",
        "head key is lost",
        "master's node key is lost",
        "mirror's node key is stolen",
        "mirror's node key is lost",
        "expire",
        "the rest cannot sign",
    ] {
        let found = drills.iter().filter(|drill| drill.title.contains(part));
        let commands: usize = found.map(|drill| drill.blocks.len()).sum();
        assert!(commands > 0, "{part}");
    }
}
