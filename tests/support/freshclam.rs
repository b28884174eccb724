//! The real freshclam, away from the machine's own ClamAV.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// How a client is told of its mirrors (freshclam.conf(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a stock client: header probe of the `.cvd`, then cdiffs.
    DatabaseMirror,
    /// As behind a company's mirror: asks for the `.cld` first, whole files only.
    PrivateMirror,
}

/// A freshclam with a database folder of its own.
#[derive(Debug)]
pub(crate) struct Freshclam {
    folder: TempDir,
    /// Additional configuration lines.
    pub(crate) settings: Vec<String>,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit code; 0 also when everything was up to date.
    pub(crate) code: Option<i32>,
    /// What it said, both streams.
    pub(crate) output: String,
}

impl Freshclam {
    /// `None`, after [`super::skip`], when freshclam is not installed.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let program = super::program(test, "freshclam", "clamav-freshclam")?;
        let folder = tempfile::tempdir().unwrap();
        // Under its own path the distribution's AppArmor profile would confine it to /var/lib/clamav.
        std::fs::copy(program, folder.path().join("freshclam")).unwrap();
        std::fs::create_dir(folder.path().join("db")).unwrap();
        Some(Self {
            folder,
            settings: Vec::new(),
        })
    }

    /// Its database folder.
    pub(crate) fn databases(&self) -> PathBuf {
        self.folder.path().join("db")
    }

    /// Gives it a database as if fetched before.
    pub(crate) fn put(&self, name: &str, from: &Path) {
        std::fs::copy(from, self.databases().join(name)).unwrap();
    }

    /// Updates once from the mirrors on these ports of 127.0.0.1, in order, without any DNS query.
    /// `only` names one database (`test`, `custom`); `None` is an ordinary run over daily, main and
    /// bytecode.
    pub(crate) fn run(&self, mode: Mode, ports: &[u16], only: Option<&str>) -> Outcome {
        let config = self.folder.path().join("freshclam.conf");
        std::fs::write(&config, self.configuration(mode, ports)).unwrap();
        let mut command = Command::new(self.folder.path().join("freshclam"));
        command
            .arg("--no-dns")
            .arg("--stdout")
            .arg("--config-file")
            .arg(config);
        if let Some(database) = only {
            command.arg(format!("--update-db={database}"));
        }
        let ran = command
            .stdin(Stdio::null())
            // A proxy of the machine's must not see what goes to loopback.
            .env("no_proxy", "127.0.0.1")
            .output()
            .unwrap();
        let mut output = String::from_utf8_lossy(&ran.stdout).into_owned();
        output.push_str(&String::from_utf8_lossy(&ran.stderr));
        Outcome {
            code: ran.status.code(),
            output,
        }
    }

    /// What it holds now: file name to version as the file's header states it; 0 for a file
    /// without such a header.
    pub(crate) fn versions(&self) -> BTreeMap<String, u32> {
        let mut versions = BTreeMap::new();
        for entry in std::fs::read_dir(self.databases()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name != "freshclam.dat" && path.is_file() {
                versions.insert(name, version_of(&path));
            }
        }
        versions
    }

    fn configuration(&self, mode: Mode, ports: &[u16]) -> String {
        let mut text = String::from("LogVerbose yes\nConnectTimeout 10\nReceiveTimeout 20\n");
        // As root it would otherwise become "clamav", who may not enter the temporary folder.
        let owner = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let _ = writeln!(text, "DatabaseOwner {owner}");
        let _ = writeln!(text, "DatabaseDirectory {}", self.databases().display());
        for port in ports {
            let _ = match mode {
                Mode::DatabaseMirror => writeln!(text, "DatabaseMirror http://127.0.0.1:{port}"),
                Mode::PrivateMirror => writeln!(text, "PrivateMirror http://127.0.0.1:{port}"),
            };
        }
        for setting in &self.settings {
            let _ = writeln!(text, "{setting}");
        }
        text
    }
}

/// Field 3 of a database's header.
fn version_of(path: &Path) -> u32 {
    let bytes = std::fs::read(path).unwrap();
    let header = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).into_owned();
    let mut fields = header.split(':');
    if fields.next() != Some("ClamAV-VDB") {
        return 0;
    }
    let version = fields.nth(1);
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}
