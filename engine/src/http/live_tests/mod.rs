//! The whole server on loopback, spoken to in raw bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

mod files;
mod limits;

/// No step takes longer, however busy the machine is; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Short enough to wait for, in tests of timeouts.
const SOON: Duration = Duration::from_millis(150);
/// 1994-11-06 08:49:37
const BUILT_S: u64 = 784_111_777;
const BUILT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// Far more than the socket buffers of both ends hold.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, what).await;
    waited.expect("still waiting after the test's whole patience")
}

fn open_dir(path: &Path) -> Arc<std::os::fd::OwnedFd> {
    Arc::new(File::open(path).unwrap().into())
}

/// A docroot on disk with releases in it.
struct Docroot(TempDir);

impl Docroot {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn release(&self, release: u64, files: &[(&str, &[u8])]) -> Site {
        let tree = self.path().join(format!(".tidecast/r{release}"));
        std::fs::create_dir_all(&tree).unwrap();
        let mut listed = BTreeMap::new();
        for &(name, content) in files {
            let path = tree.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
            let file = SiteFile {
                size: content.len() as u64,
                hash: *blake3::hash(content).as_bytes(),
                last_modified_s: BUILT_S,
            };
            listed.insert(name.to_owned(), file);
        }
        Site {
            release,
            tree: open_dir(&tree),
            files: Arc::new(listed),
            docroot: open_dir(self.path()),
            timestamp: None,
        }
    }
}

struct Records(mpsc::UnboundedSender<AccessRecord>);

impl AccessLog for Records {
    fn line(&self, record: &AccessRecord) {
        // The test may have seen enough.
        let _ = self.0.send(record.clone());
    }
}

struct Running {
    address: SocketAddr,
    site: SiteHandle,
    health: HealthHandle,
    stats: Arc<HttpStats>,
    records: mpsc::UnboundedReceiver<AccessRecord>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<ServeSummary>,
}

async fn start(limits: HttpLimits, site: Option<Site>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (log, records) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let options = HttpOptions {
        limits,
        access_log: Some(Arc::new(Records(log))),
        status: Some(Arc::new(|| serde_json::json!({"release": 7}))),
        ..HttpOptions::default()
    };
    let handle = SiteHandle::default();
    if let Some(site) = site {
        handle.publish(site);
    }
    let (stats, health) = (Arc::clone(&options.stats), options.health.clone());
    let serving = serve(listener, handle.clone(), options, async {
        let _ = stopped.await;
    });
    Running {
        address,
        site: handle,
        health,
        stats,
        records,
        stop,
        ended: tokio::spawn(serving),
    }
}

impl Running {
    async fn client(&self) -> Client {
        Client {
            stream: soon(TcpStream::connect(self.address)).await.unwrap(),
            read: Vec::new(),
        }
    }

    async fn ask(&self, request: &str) -> Reply {
        let mut client = self.client().await;
        client.send(request).await;
        client.reply(!request.starts_with("HEAD ")).await
    }

    async fn fetch(&self, target: &str) -> Reply {
        self.ask(&get(target, "Connection: close\r\n")).await
    }

    async fn record(&mut self) -> AccessRecord {
        soon(self.records.recv()).await.unwrap()
    }
}

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: mirror.example\r\n{lines}\r\n")
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Client {
    async fn send(&mut self, bytes: &str) {
        soon(self.stream.write_all(bytes.as_bytes())).await.unwrap();
    }

    async fn read_more(&mut self) -> usize {
        soon(self.stream.read_buf(&mut self.read))
            .await
            .unwrap_or(0)
    }

    async fn read_at_least(&mut self, count: usize) {
        while self.read.len() < count {
            assert_ne!(self.read_more().await, 0, "connection ended too early");
        }
    }

    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|it| it == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert_ne!(self.read_more().await, 0, "no head: {:?}", self.read);
        }
    }

    async fn reply(&mut self, has_body: bool) -> Reply {
        let head = self.head().await;
        let mut reply = Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        };
        assert_eq!(reply.header("transfer-encoding"), None);
        assert_eq!(reply.header("content-encoding"), None);
        if has_body && reply.status != 304 {
            let length = reply.header("content-length").unwrap().parse().unwrap();
            self.read_at_least(length).await;
            reply.body = self.read.drain(..length).collect();
        }
        reply
    }

    /// Everything that still comes until the server closes.
    async fn rest(&mut self) -> &[u8] {
        while self.read_more().await != 0 {}
        &self.read
    }
}

/// Bytes that repeat at a length no block size divides, so that a shifted block shows.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let period: Vec<u8> = (0..251).map(|i: u8| i.wrapping_add(seed)).collect();
    let mut bytes = period.repeat(length / period.len() + 1);
    bytes.truncate(length);
    bytes
}
