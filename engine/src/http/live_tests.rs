//! The whole server on loopback, spoken to in raw bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

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

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| ((i + seed) % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_arrives_whole_with_all_its_headers() {
    let docroot = Docroot::new();
    let content = pattern(300_000, 0);
    let mut server = start(
        HttpLimits::default(),
        Some(docroot.release(1, &[("daily.cvd", &content)])),
    )
    .await;
    let reply = server
        .ask(&get(
            "/daily.cvd?version=7",
            "User-Agent: ClamAV/1.4.6\r\nAccept-Encoding: gzip\r\nConnection: close\r\n",
        ))
        .await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(reply.body == content);
    let tag = format!("\"{}\"", &blake3::hash(&content).to_hex()[..32]);
    for (name, wanted) in [
        ("content-length", "300000"),
        ("last-modified", BUILT),
        ("etag", tag.as_str()),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
        ("cache-control", "no-cache"),
        ("connection", "close"),
    ] {
        assert_eq!(reply.header(name), Some(wanted), "{name}");
    }
    assert!(reply.header("date").is_some());
    let record = server.record().await;
    assert_eq!(record.request, "GET /daily.cvd?version=7 HTTP/1.1");
    assert_eq!((record.status, record.body_bytes), (200, 300_000));
    assert!(record.complete);
    assert_eq!(server.stats.snapshot().database.body_bytes, 300_000);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("daily.cvd", b"content")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    client.send("GET /daily.cvd HTTP/1.0\r\n\r\n").await;
    let reply = client.reply(true).await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"content"[..])
    );
    assert_eq!(reply.header("content-length"), Some("7"));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("daily.cvd", b"content"), ("empty.cdiff", b"")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    for (target, length) in [("/daily.cvd", "7"), ("/empty.cdiff", "0"), ("/none", "10")] {
        let request = format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.send(&request).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.header("content-length"), Some(length), "{target}");
    }
    client
        .send(&get("/daily.cvd", "Connection: close\r\n"))
        .await;
    assert_eq!(client.reply(true).await.body, b"content");
}

#[tokio::test]
async fn other_methods_are_told_which_are_allowed() {
    let docroot = Docroot::new();
    let server = start(
        HttpLimits::default(),
        Some(docroot.release(1, &[("a", b"a")])),
    )
    .await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let request = format!("{method} /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let reply = server.ask(&request).await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
}

#[tokio::test]
async fn ranges_and_conditions_hold_on_the_wire() {
    let docroot = Docroot::new();
    let content = pattern(400_000, 3);
    let site = docroot.release(1, &[("test.cvd", &content)]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    let tag = format!("\"{}\"", &blake3::hash(&content).to_hex()[..32]);
    for (lines, status, wanted) in [
        ("Range: bytes=0-511\r\n".to_owned(), 206, &content[..512]),
        (
            "Range: bytes=-1000\r\n".to_owned(),
            206,
            &content[399_000..],
        ),
        (
            "Range: bytes=100000-\r\n".to_owned(),
            206,
            &content[100_000..],
        ),
        ("Range: bytes=0-1,5-6\r\n".to_owned(), 200, &content[..]),
        ("Range: bytes=400000-\r\n".to_owned(), 416, &[]),
        (
            format!("Range: bytes=0-9\r\nIf-Range: {tag}\r\n"),
            206,
            &content[..10],
        ),
        (
            "Range: bytes=0-9\r\nIf-Range: \"old\"\r\n".to_owned(),
            200,
            &content[..],
        ),
        (
            format!("Range: bytes=0-511\r\nIf-Modified-Since: {BUILT}\r\n"),
            304,
            &[],
        ),
        (format!("If-None-Match: W/{tag}\r\n"), 304, &[]),
    ] {
        client.send(&get("/test.cvd", &lines)).await;
        let reply = client.reply(true).await;
        assert_eq!(reply.status, status, "{lines}");
        assert!(reply.body == wanted, "{lines}");
        assert_eq!(reply.header("etag"), Some(tag.as_str()), "{lines}");
        if status == 416 {
            assert_eq!(reply.header("content-range"), Some("bytes */400000"));
        }
    }
}

#[tokio::test]
async fn two_requests_in_one_packet_are_answered_in_order_and_logged_apart() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", b"first"), ("b.cdiff", b"second!")]);
    let mut server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    let both = get("/a.cvd", "") + &get("/b.cdiff", "Connection: close\r\n");
    client.send(&both).await;
    assert_eq!(client.reply(true).await.body, b"first");
    assert_eq!(client.reply(true).await.body, b"second!");
    assert_eq!(client.rest().await, b"");
    for (request, bytes) in [("GET /a.cvd HTTP/1.1", 5), ("GET /b.cdiff HTTP/1.1", 7)] {
        let record = server.record().await;
        assert_eq!(
            (record.request.as_str(), record.body_bytes),
            (request, bytes)
        );
    }
}

#[tokio::test]
async fn what_is_hidden_or_absent_is_404_and_never_403() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("sub/a.cvd", b"a"), ("b", b"b")]);
    std::fs::write(docroot.path().join(".htpasswd"), b"secret").unwrap();
    std::fs::write(docroot.path().join("foreign"), b"not in the release").unwrap();
    let server = start(HttpLimits::default(), Some(site)).await;
    for target in [
        "/",
        "/sub",
        "/sub/",
        "/none.cvd",
        "/foreign",
        "/b/",
        "/b/c",
        "/timestamp",
        "/.htpasswd",
        "/%2ehtpasswd",
        "/.tidecast/r1/b",
        "/../b",
        "/sub/../b",
        "/%2e%2e/b",
        "/sub/%2e%2e/b",
        "/sub%2fa.cvd",
        "/b%00",
        "/sub%5ca.cvd",
        "/local_none",
        "/local_/../b",
    ] {
        let reply = server.fetch(target).await;
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{target}");
    }
    assert_eq!(server.fetch("//sub/a.cvd").await.status, 200);
}

#[tokio::test]
async fn the_root_is_the_releases_index_if_it_has_one() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("index.html", b"<p>hello")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let reply = server.fetch("/").await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"<p>hello"[..])
    );
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
}

#[tokio::test]
async fn operators_files_are_served_with_their_own_times() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a", b"a")]);
    let logo = docroot.path().join("local_logo.png");
    std::fs::write(&logo, b"png").unwrap();
    let modified = UNIX_EPOCH + Duration::from_secs(BUILT_S);
    File::options()
        .write(true)
        .open(&logo)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    std::fs::create_dir_all(docroot.path().join("local_dir/.git")).unwrap();
    std::fs::write(docroot.path().join("local_dir/a.txt"), b"fresh").unwrap();
    std::fs::write(docroot.path().join("local_dir/.git/config"), b"x").unwrap();
    symlink("/etc/passwd", docroot.path().join("local_passwd")).unwrap();
    let server = start(HttpLimits::default(), Some(site)).await;

    let reply = server.fetch("/local_logo.png").await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"png"[..]));
    assert_eq!(reply.header("last-modified"), Some(BUILT));
    assert_eq!(reply.header("content-type"), Some("image/png"));
    let tag = reply.header("etag").unwrap();
    let lines = format!("Connection: close\r\nIf-None-Match: {tag}\r\n");
    assert_eq!(
        server.ask(&get("/local_logo.png", &lines)).await.status,
        304
    );
    let lines = "Connection: close\r\nRange: bytes=1-\r\n";
    assert_eq!(server.ask(&get("/local_logo.png", lines)).await.body, b"ng");

    let reply = server.fetch("/local_dir/a.txt").await;
    assert_eq!(reply.body, b"fresh");
    for target in ["/local_dir", "/local_dir/.git/config", "/local_passwd"] {
        assert_eq!(server.fetch(target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn a_download_ends_with_the_release_it_began_with() {
    let docroot = Docroot::new();
    let (old, new) = (pattern(LARGE_BYTES, 0), pattern(LARGE_BYTES, 100));
    let site = docroot.release(1, &[("daily.cvd", &old)]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    client.send(&get("/daily.cvd", "")).await;
    let head = client.head().await;
    client.read_at_least(1000).await;

    server
        .site
        .publish(docroot.release(2, &[("daily.cvd", &new)]));
    std::fs::remove_dir_all(docroot.path().join(".tidecast/r1")).unwrap();
    let during = server.fetch("/daily.cvd").await;
    assert!(
        during.body == new,
        "a request after the switch sees the new release"
    );

    client.read_at_least(LARGE_BYTES).await;
    assert!(
        client.read == old,
        "the download under way stays in the old one"
    );
    assert!(head.contains(&blake3::hash(&old).to_hex()[..32]));
    client.read.clear();
    client
        .send(&get("/daily.cvd", "Range: bytes=0-511\r\n"))
        .await;
    assert!(client.reply(true).await.body == new[..512]);
}

#[tokio::test]
async fn a_released_file_that_is_not_as_signed_is_503_and_counted() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", b"12345"), ("b.cvd", b"12345")]);
    let tree = docroot.path().join(".tidecast/r1");
    std::fs::write(tree.join("a.cvd"), b"1234").unwrap();
    std::fs::remove_file(tree.join("b.cvd")).unwrap();
    let server = start(HttpLimits::default(), Some(site)).await;
    for request in [
        get("/a.cvd", ""),
        get("/a.cvd", "Range: bytes=0-1\r\n"),
        "HEAD /a.cvd HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        get("/b.cvd", ""),
    ] {
        let reply = server.ask(&request).await;
        assert_eq!(reply.status, 503, "{request}");
        assert_eq!(reply.header("retry-after"), Some("60"));
    }
    assert_eq!(server.stats.snapshot().files_unserved, 4);
}

#[tokio::test]
async fn a_file_cut_during_a_download_ends_it_short_and_is_logged_so() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", &pattern(LARGE_BYTES, 0))]);
    let mut server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    client.send(&get("/a.cvd", "")).await;
    client.head().await;
    let file = docroot.path().join(".tidecast/r1/a.cvd");
    File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let received = client.rest().await.len() as u64;
    let record = server.record().await;
    assert!(received < LARGE_BYTES as u64);
    assert!(!record.complete);
    assert_eq!((record.status, record.body_bytes), (200, received));
}

#[tokio::test]
async fn before_the_first_release_everything_is_503() {
    let docroot = Docroot::new();
    let server = start(HttpLimits::default(), None).await;
    for target in ["/daily.cvd", "/", "/timestamp", "/local_logo.png"] {
        let reply = server.fetch(target).await;
        assert_eq!(reply.status, 503, "{target}");
        assert_eq!(reply.header("retry-after"), Some("60"), "{target}");
    }
    server
        .site
        .publish(docroot.release(1, &[("daily.cvd", b"x")]));
    assert_eq!(server.fetch("/daily.cvd").await.status, 200);
    server.site.withdraw();
    assert_eq!(server.fetch("/daily.cvd").await.status, 503);
}

#[tokio::test]
async fn health_status_and_timestamp_answer_unless_the_release_has_such_a_file() {
    let docroot = Docroot::new();
    let server = start(HttpLimits::default(), None).await;
    let reply = server.fetch("/healthz").await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (503, &b"no release yet\n"[..])
    );
    server.health.set(Health::Serving { release: 7 });
    let reply = server.fetch("/healthz").await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"ok release 7\n"[..])
    );
    server.health.set(Health::Stale {
        release: 7,
        since_s: BUILT_S,
    });
    assert_eq!(server.fetch("/healthz").await.status, 503);
    let reply = server.fetch("/status.json").await;
    assert_eq!(reply.body, b"{\"release\":7}\n");
    assert_eq!(reply.header("content-type"), Some("application/json"));

    let mut site = docroot.release(8, &[("healthz", b"signed")]);
    site.timestamp = Some(Timestamp {
        bytes: Bytes::from_static(b"784111777\nhead"),
        last_modified_s: BUILT_S,
    });
    server.site.publish(site);
    assert_eq!(server.fetch("/healthz").await.body, b"signed");
    let reply = server.fetch("/timestamp").await;
    assert_eq!(reply.body, b"784111777\nhead");
    assert_eq!(reply.header("last-modified"), Some(BUILT));
    let lines = "Connection: close\r\nRange: bytes=10-\r\n";
    assert_eq!(server.ask(&get("/timestamp", lines)).await.body, b"head");
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_dropped() {
    let limits = HttpLimits {
        header_timeout: SOON,
        ..HttpLimits::default()
    };
    let server = start(limits, None).await;
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(client.rest().await, b"");
    let mut silent = server.client().await;
    assert_eq!(silent.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_asks_nothing_more_is_let_go() {
    let limits = HttpLimits {
        header_timeout: PATIENCE * 2,
        idle_timeout: SOON,
        ..HttpLimits::default()
    };
    let docroot = Docroot::new();
    let server = start(limits, Some(docroot.release(1, &[("a", b"a")]))).await;
    let mut client = server.client().await;
    for _ in 0..2 {
        client.send(&get("/a", "")).await;
        assert_eq!(client.reply(true).await.body, b"a");
    }
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped_and_one_that_left_is_logged() {
    let limits = HttpLimits {
        write_stall_timeout: SOON,
        ..HttpLimits::default()
    };
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", &pattern(LARGE_BYTES, 0))]);
    let mut server = start(limits, Some(site)).await;
    let mut stalled = server.client().await;
    stalled.send(&get("/a.cvd", "")).await;
    let record = server.record().await;
    assert!(!record.complete);
    assert!(record.body_bytes > 0 && record.body_bytes < LARGE_BYTES as u64);

    let mut leaving = server.client().await;
    leaving.send(&get("/a.cvd", "")).await;
    leaving.head().await;
    leaving.read_at_least(100_000).await;
    let received = leaving.read.len() as u64;
    drop(leaving);
    let record = server.record().await;
    assert_eq!((record.status, record.complete), (200, false));
    assert!(record.body_bytes >= received && record.body_bytes < LARGE_BYTES as u64);
    assert_eq!(server.stats.snapshot().database.cut_short, 2);
}

#[tokio::test]
async fn past_a_cap_clients_are_told_503_until_a_place_is_free() {
    let docroot = Docroot::new();
    let by_address = HttpLimits {
        connections_per_address_max: 1,
        count_loopback: true,
        ..HttpLimits::default()
    };
    let in_all = HttpLimits {
        connections_max: 1,
        ..HttpLimits::default()
    };
    for limits in [by_address, in_all] {
        let site = docroot.release(1, &[("a", b"a")]);
        let server = start(limits, Some(site)).await;
        let mut holder = server.client().await;
        holder.send(&get("/a", "")).await;
        assert_eq!(holder.reply(true).await.status, 200);
        let mut refused = server.client().await;
        refused.send(&get("/a", "")).await;
        let reply = refused.reply(true).await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("retry-after"), Some("5"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(refused.rest().await, b"");
        holder.send(&get("/a", "Connection: close\r\n")).await;
        assert_eq!(holder.reply(true).await.status, 200);
        assert_eq!(holder.rest().await, b"");
        // The place is given back a moment after the client sees the end.
        soon(async { while server.fetch("/a").await.status != 200 {} }).await;
        assert!(server.stats.snapshot().connections_refused >= 1);
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_logged_without_a_request_line() {
    let mut server = start(HttpLimits::default(), None).await;
    let mut client = server.client().await;
    client.send("\u{1}nonsense\r\n\r\n").await;
    assert_eq!(client.reply(true).await.status, 400);
    let record = server.record().await;
    assert_eq!((record.request.as_str(), record.status), ("", 400));

    let mut client = server.client().await;
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    client.send(&get("/", &long)).await;
    assert_eq!(client.reply(true).await.status, 431);
    assert_eq!(server.record().await.status, 431);
}

#[tokio::test]
async fn mirror_checks_are_logged_but_not_counted() {
    let docroot = Docroot::new();
    let mut server = start(
        HttpLimits::default(),
        Some(docroot.release(1, &[("a.cvd", b"a")])),
    )
    .await;
    let lines = "User-Agent: ClamAV-MirrorCheck/1.0\r\nConnection: close\r\n";
    assert_eq!(server.ask(&get("/a.cvd", lines)).await.status, 200);
    assert!(server.record().await.is_mirror_check());
    let counted = server.stats.snapshot();
    assert_eq!(counted.mirror_checks, 1);
    assert_eq!(counted.database, KindSnapshot::default());
}

#[tokio::test]
async fn a_shutdown_lets_downloads_end_and_closes_idle_connections() {
    let docroot = Docroot::new();
    let content = pattern(LARGE_BYTES, 0);
    let site = docroot.release(1, &[("a.cvd", &content), ("b", b"b")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut idle = server.client().await;
    idle.send(&get("/b", "")).await;
    assert_eq!(idle.reply(true).await.status, 200);
    let mut busy = server.client().await;
    busy.send(&get("/a.cvd", "")).await;
    busy.head().await;
    server.stop.send(()).unwrap();
    assert_eq!(idle.rest().await, b"");
    assert!(soon(TcpStream::connect(server.address)).await.is_err());
    assert!(busy.rest().await == content);
    let summary = soon(server.ended).await.unwrap();
    assert_eq!(summary, ServeSummary { connections_cut: 0 });
}

#[tokio::test]
async fn a_shutdown_waits_for_no_one_past_the_drain_timeout() {
    let limits = HttpLimits {
        drain_timeout: SOON,
        ..HttpLimits::default()
    };
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", &pattern(LARGE_BYTES, 0))]);
    let server = start(limits, Some(site)).await;
    let mut busy = server.client().await;
    busy.send(&get("/a.cvd", "")).await;
    busy.head().await;
    server.stop.send(()).unwrap();
    let summary = soon(server.ended).await.unwrap();
    assert_eq!(summary, ServeSummary { connections_cut: 1 });
    assert!(busy.rest().await.len() < LARGE_BYTES);
}

#[tokio::test]
async fn requests_end_up_as_lines_in_a_file() {
    let docroot = Docroot::new();
    let path = docroot.path().join("access.log");
    let log = Arc::new(FileAccessLog::open(&path).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = SiteHandle::default();
    handle.publish(docroot.release(1, &[("test.cvd", &pattern(9952, 0))]));
    let options = HttpOptions {
        access_log: Some(Arc::clone(&log) as Arc<dyn AccessLog>),
        ..HttpOptions::default()
    };
    let serving = tokio::spawn(serve(listener, handle, options, std::future::pending()));
    let mut client = Client {
        stream: soon(TcpStream::connect(address)).await.unwrap(),
        read: Vec::new(),
    };
    let lines = "Range: bytes=0-511\r\nUser-Agent: ClamAV/1.4.6\r\nConnection: close\r\n";
    client.send(&get("/test.cvd", lines)).await;
    assert_eq!(client.reply(true).await.status, 206);
    assert_eq!(client.rest().await, b"");
    log.flush();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("127.0.0.1 - - ["), "{text}");
    let end = " +0000] \"GET /test.cvd HTTP/1.1\" 206 512 \"-\" \"ClamAV/1.4.6\"\n";
    assert!(text.ends_with(end), "{text}");
    serving.abort();
}
