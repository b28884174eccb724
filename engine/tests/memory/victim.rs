//! The process that is attacked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::master::Master;
use tidecast_engine::mirror::Mirror;
use tidecast_engine::quic::Bind;

/// How long a mirror is at it.
const ATTEMPT: Duration = Duration::from_secs(8);

/// Anonymous memory of this process, in bytes.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}

/// Looks every few milliseconds until the process ends.
fn watch() -> (u64, Arc<AtomicU64>) {
    let base = anonymous();
    let peak = Arc::new(AtomicU64::new(base));
    let seen = peak.clone();
    std::thread::spawn(move || {
        loop {
            seen.fetch_max(anonymous(), Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    (base, peak)
}

/// Victims in a process of their own.
pub(crate) struct Victim {
    child: Child,
    stdin: Option<ChildStdin>,
    out: BufReader<ChildStdout>,
}

impl Victim {
    fn start(role: &str, world: &Path, more: &[(&str, String)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "--test-threads=1",
                "victim::victim",
            ])
            .env("TIDECAST_VICTIM", role)
            .env("TIDECAST_WORLD", world)
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            stdin: child.stdin.take(),
            out: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn line(&mut self, begins: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(
                self.out.read_line(&mut line).unwrap() > 0,
                "the victim has ended"
            );
            // The test harness has a word before it.
            if let Some((_, rest)) = line.split_once(begins) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The mirror `name`, which looks at `upstream` once, for some seconds; or, if it `stays`, goes on as a daemon does.
    pub(crate) fn mirror(
        world: &Path,
        name: &str,
        fingerprint: String,
        upstream: SocketAddr,
        stays: bool,
    ) -> Self {
        let mut more = vec![
            ("TIDECAST_MIRROR", name.to_owned()),
            ("TIDECAST_FINGERPRINT", fingerprint),
            ("TIDECAST_UPSTREAM", upstream.to_string()),
        ];
        if stays {
            more.push(("TIDECAST_STAYS", "yes".to_owned()));
        }
        Self::start("mirror", world, &more)
    }

    /// A master, and where it listens.
    pub(crate) fn master(world: &Path) -> (Self, SocketAddr) {
        let mut victim = Self::start("master", world, &[]);
        let address = victim.line("LISTENS ").parse().unwrap();
        (victim, address)
    }

    /// Its growth in bytes, once its work is done.
    pub(crate) fn growth(mut self) -> u64 {
        // A master goes on until then.
        drop(self.stdin.take());
        let grown: u64 = self.line("GREW ").parse().unwrap();
        let _ = self.child.wait();
        grown
    }
}

#[test]
#[ignore = "the process that the other tests attack"]
fn victim() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let world = std::env::var("TIDECAST_WORLD").unwrap();
    let world = Path::new(&world);
    let (base, peak) = match std::env::var("TIDECAST_VICTIM").unwrap().as_str() {
        "mirror" => runtime.block_on(be_mirror(world)),
        _ => runtime.block_on(be_master(world)),
    };
    println!("GREW {}", peak.load(Ordering::SeqCst) - base);
    runtime.shutdown_background();
}

async fn be_mirror(world: &Path) -> (u64, Arc<AtomicU64>) {
    let name = std::env::var("TIDECAST_MIRROR").unwrap();
    let config = MirrorConfig {
        fingerprint: std::env::var("TIDECAST_FINGERPRINT").unwrap(),
        upstreams: vec![std::env::var("TIDECAST_UPSTREAM").unwrap()],
        docroot: world.join(format!("{name}.docroot")),
        name: name.clone(),
        scrub_s: 0,
        ..MirrorConfig::default()
    };
    let state = world.join(format!("{name}.state"));
    let (mirror, _) = Mirror::open(&state, config, Arc::new(SystemClock)).unwrap();
    let watched = watch();
    // One connection: after it the allocator keeps some of what was freed, for each thread that freed it.
    if std::env::var_os("TIDECAST_STAYS").is_some() {
        let _ = tokio::time::timeout(ATTEMPT, mirror.run(std::future::pending())).await;
    } else {
        let _ = tokio::time::timeout(ATTEMPT, mirror.sync_once()).await;
    }
    watched
}

async fn be_master(world: &Path) -> (u64, Arc<AtomicU64>) {
    let master = Arc::new(Master::open(&world.join("master"), Arc::new(SystemClock)).unwrap());
    let bind = Bind::udp(([127, 0, 0, 1], 0).into()).unwrap();
    let endpoint = master.listen(bind).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(master.serve(endpoint, std::future::pending()));
    let watched = watch();
    println!("LISTENS {address}");
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
    watched
}
